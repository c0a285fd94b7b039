import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    // Files that test pure parts say `@vitest-environment node`: a DOM takes longer than their tests.
    environment: "jsdom",
    // A test that needs longer than this hangs; the pure ones take milliseconds.
    testTimeout: 20_000,
    restoreMocks: true,
    unstubGlobals: true,
    // An empty run must not look like a passing one.
    passWithNoTests: false,
  },
});
