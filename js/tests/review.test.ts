import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import widget from "../src/index";
import { REVIEW_TABLE } from "../src/input";
import type { Review, ReviewRow, Scene, ToPython } from "../src/model";
import { makeReview, type ReviewPart } from "../src/review";
import { browse, LOOK, scene, wholeFace } from "./builders";
import { key, stubCanvas, stubPage } from "./dom";
import { FakeModel } from "./model";

const HOSTILE = "<img src=x onerror=alert(1)>";

function row(id: number, more: Partial<ReviewRow> = {}): ReviewRow {
  return {
    id,
    severity: "warning",
    check: "sides",
    image: `folder/${id}.png`,
    keypoint: "left",
    reason: `reason ${id}`,
    suggestion: "look",
    verdict: "",
    by: "",
    ...more,
  };
}

function review(more: Partial<Review> = {}): Review {
  const rows = more.rows ?? Array.from({ length: 40 }, (_, i) => row(i));
  return {
    open: 1000,
    decided: 2,
    gone: 0,
    count: 1000,
    position: 0,
    current: rows[0] ?? null,
    start: 0,
    rows,
    checks: ["sides", HOSTILE],
    severities: ["warning"],
    filter: { check: "", severity: "", state: "open" },
    undo: "",
    redo: "",
    ...more,
  };
}

let frames: () => void;
let drawn: ReturnType<typeof stubCanvas>;
const cleanUps: (() => void)[] = [];
beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(performance, "now").mockImplementation(() => Date.now());
  sessionStorage.clear();
  drawn = stubCanvas();
  ({ frames } = stubPage(512, 96)); // four rows of the list
});
afterEach(() => {
  for (const cleanUp of cleanUps.splice(0)) cleanUp();
  document.body.replaceChildren();
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const find = <T extends HTMLElement>(within: Element, selector: string): T => {
  const found = within.querySelector<T>(selector);
  if (!found) throw new Error(`no ${selector}`);
  return found;
};

describe("a list of findings", () => {
  let sent: Extract<ToPython, { kind: "review" }>[];
  let focused: number;

  function show(first: Review): ReviewPart {
    sent = [];
    focused = 0;
    const controller = new AbortController();
    cleanUps.push(() => controller.abort());
    const events = {
      send: (message: ToPython) => void (message.kind === "review" && sent.push(message)),
      focus: () => {
        focused += 1;
      },
    };
    const made = makeReview(first, "me", events, controller.signal);
    document.body.append(made.element);
    made.render(first);
    return made;
  }
  const listed = () => [...document.querySelectorAll<HTMLElement>(".kpwidget-review-row")];
  const deeds = () => sent.map(({ do: deed, finding }) => [deed, finding]);

  it("has room for all, rows for some, and asks for those that are scrolled to", () => {
    const made = show(review());
    expect(find(document.body, ".kpwidget-review-room").style.height).toBe("24000px");
    expect(listed()).toHaveLength(40);
    const list = find(document.body, ".kpwidget-review-list");
    list.scrollTop = 24 * 20;
    list.dispatchEvent(new Event("scroll"));
    vi.advanceTimersByTime(100);
    expect(sent).toEqual([]); // they are there
    list.scrollTop = 24 * 500;
    list.dispatchEvent(new Event("scroll"));
    list.dispatchEvent(new Event("scroll"));
    vi.advanceTimersByTime(100);
    expect(sent.map(({ do: deed, start }) => [deed, start])).toEqual([["list", 487]]);
    const rows = Array.from({ length: 40 }, (_, i) => row(487 + i));
    made.render(review({ start: 487, rows, current: row(0) }));
    expect(listed().map(({ textContent }) => textContent)[0]).toContain("reason 487");
    expect(listed()[0]?.style.transform).toBe("translateY(11688px)");
    expect(list.scrollTop).toBe(24 * 500); // who looks elsewhere is left alone
  });

  it("keeps its rows in the order of the list", () => {
    const made = show(review({ rows: [row(3), row(4)] }));
    made.render(review({ rows: [row(1), row(3), row(4)] }));
    expect(listed().map(({ title }) => title.split("\n")[0])).toEqual([
      "folder/1.png",
      "folder/3.png",
      "folder/4.png",
    ]);
  });

  it("decides by buttons and by keys, and gives the keys back after a click", () => {
    const made = show(review({ undo: "fine: sides" }));
    const press = (name: string) =>
      [...document.querySelectorAll("button")].find(
        (one) => one.textContent === name || one.title.startsWith(name),
      );
    press("Fine as it is")?.dispatchEvent(new MouseEvent("click", { detail: 1 }));
    expect(focused).toBe(1);
    press("Fixed")?.dispatchEvent(new MouseEvent("click", { detail: 0 }));
    expect(focused).toBe(1); // pressed by a key: it stays
    press("Undo: fine: sides")?.click();
    const list = find(document.body, ".kpwidget-review-list");
    for (const name of ["j", "ArrowUp", "a", "D", "Enter"]) key(list, name);
    key(list, "z", { ctrlKey: true });
    key(list, "Z", { ctrlKey: true, shiftKey: true });
    expect(key(list, "q").defaultPrevented).toBe(false);
    expect(deeds()).toEqual([
      ["fine", 0],
      ["fixed", 0],
      ["undo", null],
      ["next", null],
      ["previous", null],
      ["fine", 0],
      ["fixed", 0],
      ["undo", null],
      ["redo", null],
    ]);
    expect(focused).toBe(2);
    listed()[5]?.click();
    expect(deeds().at(-1)).toEqual(["open", 5]);
    sent.length = 0;
    made.render(review({ current: null, position: -1, open: 0, decided: 7, count: 0, rows: [] }));
    made.act("fine");
    expect(sent).toEqual([]);
    expect(press("Fixed")?.disabled).toBe(true);
    expect(document.body.textContent).toContain("Every finding is decided.");
  });

  it("filters, and takes over what Python says is listed", () => {
    const made = show(review());
    const [check, severity, state] = document.querySelectorAll("select");
    const choose = (select: HTMLSelectElement | undefined, value: string) => {
      if (select) select.value = value;
      select?.dispatchEvent(new Event("change"));
    };
    choose(check, HOSTILE);
    choose(state, "all");
    expect(sent.map(({ filter }) => filter)).toEqual([
      { check: HOSTILE, severity: "", state: "open" },
      { check: HOSTILE, severity: "", state: "all" },
    ]);
    made.render(review({ filter: { check: "", severity: "warning", state: "decided" } }));
    expect([check?.value, severity?.value, state?.value]).toEqual(["", "warning", "decided"]);
  });

  it("says of a finding about no one image that it is about the whole dataset", () => {
    const one = row(0, { check: "flags", image: "", keypoint: "" });
    show(review({ rows: [one, row(1, { image: "day 2/b.png" })], current: one }));
    const cells = listed().map((made) => made.children[2]?.textContent);
    expect(cells).toEqual(["whole dataset", "b.png"]);
    const about = find(document.body, ".kpwidget-review-current").textContent;
    expect(about).toContain("flags, whole dataset:");
  });

  it("takes nothing for markup, and says who decided", () => {
    const one = row(0, {
      check: HOSTILE,
      image: HOSTILE,
      keypoint: HOSTILE,
      reason: HOSTILE,
      suggestion: HOSTILE,
      verdict: "fine",
      by: HOSTILE,
    });
    show(review({ rows: [one], current: one, gone: 3 }));
    expect(document.querySelectorAll("img")).toHaveLength(0);
    const about = find(document.body, ".kpwidget-review-current").textContent;
    expect(about).toContain(`Called fine as it is by ${HOSTILE}.`);
    expect(about).toContain(`To do: ${HOSTILE}.`);
    expect(document.body.textContent).toContain("1,000 open, 2 decided, 3 not there any more");
  });
});

describe("a viewer with findings", () => {
  const settle = async () => {
    await vi.advanceTimersByTimeAsync(0);
    frames();
  };
  const focus = {
    rev: 1,
    instance: "f",
    keypoint: 1,
    at: [25, 30],
    box: [15, 20, 20, 20],
  } as const;

  async function open(first: Partial<Scene>) {
    const instances = [wholeFace("f", 30, 30)];
    const cursor = { category: 0, instance: "f", keypoint: null };
    const whole = scene({ instances, cursor, ...first });
    const model = new FakeModel({ browse: browse(), review: review(), scene: whole });
    const made = widget();
    cleanUps.push(made.initialize({ model: model.asModel }));
    const el = document.createElement("div");
    document.body.append(el);
    cleanUps.push(made.render({ model: model.asModel, el }));
    await settle();
    const hello = model.sent.find(({ kind }) => kind === "hello") as { client: string };
    model.paint(1, { client: hello.client, rev: 1 }); // of this view: it leads
    await settle();
    return { model, whole, el, root: find(el, ".kpwidget-stage") };
  }
  const viewport = (root: HTMLElement) =>
    ["scale", "tx", "ty"].map((name) => Number(root.dataset[name]));

  it("zooms to the finding once, and again when it is opened anew", async () => {
    const { model, whole, root, el } = await open({ focus });
    // A box of 20 x 20 px in a stage of 512 x 96 CSS px with a margin of 8: 80 / 20, its middle
    // (25, 30) in the middle of the stage.
    expect(viewport(root)).toEqual([4, 256 - 100, 48 - 120]);
    expect(find(el, '[data-keypoint="left"]').classList.contains("is-selected")).toBe(true);
    key(root, "f");
    const fitted = viewport(root);
    expect(fitted).not.toEqual([4, 156, -72]);
    model.set("scene", { ...whole, version: 2 });
    await settle();
    expect(viewport(root)).toEqual(fitted);
    model.set("scene", { ...whole, version: 3, focus: { ...focus, rev: 2 } });
    await settle();
    expect(viewport(root)).toEqual([4, 156, -72]);
    model.set("scene", { ...whole, version: 4, focus: { ...focus, rev: 3, box: null } });
    await settle();
    expect(viewport(root)).toEqual(fitted);
  });

  it("marks the place, also where there is no point", async () => {
    const { el } = await open({ focus: { ...focus, instance: null, keypoint: -1 } });
    const { log } = drawn(find(el, ".kpwidget-ink"));
    const radius = LOOK.activeRadius + 11;
    const arcs = log.filter(
      ([name, x, y, r]) => name === "arc" && r === radius && x === 256 && y === 48,
    );
    expect(arcs.length).toBeGreaterThanOrEqual(8);
  });

  it("binds each key of its table, those of the plain viewer among them", async () => {
    const { model, root } = await open({});
    const bound = REVIEW_TABLE.flatMap(({ bind }) => [...bind]);
    expect(bound.length).toBe(new Set(bound).size);
    model.sent.length = 0;
    for (const name of ["j", "k", "a", "d"]) expect(key(root, name).defaultPrevented).toBe(true);
    for (const name of ["z", "Z", "y"])
      expect(key(root, name, { ctrlKey: true, shiftKey: name === "Z" }).defaultPrevented).toBe(
        true,
      );
    key(root, "n");
    await settle();
    expect(model.sent.flatMap((one) => (one.kind === "review" ? [one.do] : []))).toEqual([
      "next",
      "previous",
      "fine",
      "fixed",
      "undo",
      "redo",
      "redo",
    ]);
    expect(model.sent.some(({ kind }) => kind === "edits")).toBe(true);
  });
});
