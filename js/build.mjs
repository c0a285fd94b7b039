// Bundles src/index.ts and src/style.css into kpwidget/widget/static/widget.{js,css}.
//
//   node build.mjs            once, minified: what is shipped
//   node build.mjs --watch    again at each change, readable, with a source map inside
//   --src DIR, --outdir DIR   other places (used by the tests of the build)
import { mkdir, stat } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build, context } from "esbuild";

const here = path.dirname(fileURLToPath(import.meta.url));

const { values } = parseArgs({
  options: {
    watch: { type: "boolean", default: false },
    src: { type: "string", default: path.join(here, "src") },
    outdir: { type: "string", default: path.join(here, "..", "kpwidget", "widget", "static") },
  },
});

const entries = { js: path.join(values.src, "index.ts"), css: path.join(values.src, "style.css") };
const missing = [];
for (const file of Object.values(entries)) {
  try {
    await stat(file);
  } catch {
    missing.push(file);
  }
}
if (missing.length > 0) {
  console.error(`build.mjs: no such file: ${missing.join(", ")}. Nothing was built.`);
  process.exit(1);
}

/** @type {import("esbuild").BuildOptions} */
const options = {
  absWorkingDir: here,
  // Two entry points: anywidget takes the module and the style sheet as separate files.
  entryPoints: [
    { in: entries.js, out: "widget" },
    { in: entries.css, out: "widget" },
  ],
  outdir: values.outdir,
  bundle: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  minify: !values.watch,
  sourcemap: values.watch ? "inline" : false,
  metafile: true,
  logLevel: "info",
};

await mkdir(values.outdir, { recursive: true });
if (values.watch) {
  await (await context(options)).watch();
} else {
  const { metafile } = await build(options);
  // A URL import passes esbuild untouched and would then be fetched by the browser: refuse it.
  const outside = Object.entries(metafile.outputs).flatMap(([file, output]) =>
    output.imports.filter((i) => i.external).map((i) => `${file}: ${i.kind} ${i.path}`),
  );
  if (outside.length > 0) {
    console.error(`build.mjs: the bundle must not load anything else:\n${outside.join("\n")}`);
    process.exit(1);
  }
}
