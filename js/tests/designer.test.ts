import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  type Design,
  type DesignEdit,
  type DesignTraits,
  MAX_TEXT,
  type TextProblem,
} from "../src/design";
import { DESIGN_KEYS, type DesignerModel, mountDesigner } from "../src/designer";
import { DESIGN } from "./builders";
import { key, pointer, stubPage, watchListeners } from "./dom";

/** Python's side: what was sent, and answers. */
class Kernel {
  readonly sent: (DesignEdit & { seq: number })[] = [];
  client = "";
  isGone = false;
  readonly traits: DesignTraits = {
    design: DESIGN,
    references: [],
    sheet: { name: "a.png", width: 200, height: 100 },
    picture: null,
    trial: null,
    height: 300,
  };
  private readonly listeners = new Map<string, Set<(message: never) => void>>();
  readonly model = {
    get: (name: keyof DesignTraits) => this.traits[name],
    send: (content: { client: string; edits: (DesignEdit & { seq: number })[] }) => {
      if (this.isGone) throw new Error("no comm");
      this.client = content.client;
      this.sent.push(...content.edits);
    },
    on: (event: string, run: (message: never) => void) => {
      this.listeners.set(event, (this.listeners.get(event) ?? new Set()).add(run));
    },
    off: (event: string, run: (message: never) => void) => {
      this.listeners.get(event)?.delete(run);
    },
    widget_manager: null,
  } as unknown as DesignerModel;

  fire(event: string, message: unknown = null): void {
    for (const run of this.listeners.get(event) ?? []) run(message as never);
  }

  answer(fields: Partial<Design>): void {
    const applied = [{ client: this.client, seq: this.sent.at(-1)?.seq ?? 0 }];
    this.traits.design = { ...this.traits.design, applied, ...fields };
    this.fire("change:design");
  }

  get listening(): number {
    return [...this.listeners.values()].reduce((sum, one) => sum + one.size, 0);
  }
}

let kernel: Kernel;
let el: HTMLElement;
let page: { frames: () => void };
let end: () => void;

const one = <T extends Element>(selector: string) => el.querySelector<T>(selector) as T;
const sheet = () => one<HTMLElement>(".kpwidget-sheet");
const pane = () => one<HTMLTextAreaElement>(".kpwidget-text");
const namer = () => one<HTMLInputElement>(".kpwidget-namer");
const edits = () => kernel.sent.map(({ seq: _, ...edit }) => edit);

/** The sheet is 500 x 300 px: the image of 200 x 100 px is fitted with a margin of 8. */
const SCALE = 484 / 200;
const screen = (x: number, y: number) => [8 + SCALE * x, 150 + SCALE * (y - 50)] as const;

function click(x: number, y: number, more: PointerEventInit = {}): void {
  pointer(sheet(), "pointerdown", ...screen(x, y), more);
  pointer(sheet(), "pointerup", ...screen(x, y), more);
  page.frames();
}

function drag(from: readonly [number, number], to: readonly [number, number], more = {}): void {
  pointer(sheet(), "pointerdown", ...screen(...from), more);
  pointer(sheet(), "pointermove", ...screen(...to), more);
  pointer(sheet(), "pointerup", ...screen(...to), more);
  page.frames();
}

function type(element: HTMLInputElement | HTMLTextAreaElement, text: string): void {
  element.value = text;
  element.dispatchEvent(new Event("input", { bubbles: true }));
}

beforeEach(() => {
  vi.useFakeTimers();
  page = stubPage(500, 300);
  kernel = new Kernel();
  el = document.createElement("div");
  document.body.append(el);
  end = mountDesigner(kernel.model, el);
  page.frames();
});

afterEach(() => {
  end();
  el.remove();
  vi.useRealTimers();
});

describe("the drawing", () => {
  it("says where it is", () => {
    expect(Number(sheet().dataset.scale)).toBeCloseTo(SCALE, 12);
    expect(Number(sheet().dataset.tx)).toBeCloseTo(8, 12);
    expect(Number(sheet().dataset.ty)).toBeCloseTo(150 - 50 * SCALE, 12);
  });

  it("shows a click at once and asks for the name at the place", () => {
    click(50, 80);
    const [edit] = edits();
    expect(edit).toMatchObject({ op: "add", name: "point_4" });
    expect((edit as { x: number }).x).toBeCloseTo(50, 9);
    expect(one(".kpwidget-list [data-keypoint=point_4]")).not.toBeNull();
    expect(document.activeElement).toBe(namer());
    type(namer(), "B");
    expect(one(".kpwidget-trouble").textContent).toBe("Keypoint 2 has this name");
    key(namer(), "Enter");
    expect(document.activeElement).toBe(namer());
    expect(edits()).toHaveLength(1);
    type(namer(), "tip");
    key(namer(), "Enter");
    expect(edits()[1]).toMatchObject({ op: "rename", name: "tip" });
    expect(document.activeElement).toBe(sheet());
  });

  it("keeps what is typed when Python answers meanwhile", () => {
    click(50, 80);
    type(namer(), "half a na");
    kernel.answer({
      points: [...DESIGN.points, { ...DESIGN.points[0], id: "x", name: "X" } as never],
    });
    page.frames();
    // The point that was added has gone, with the box of its name; another one keeps it.
    expect(namer()).toBeNull();
    end();
    kernel = new Kernel();
    end = mountDesigner(kernel.model, el);
    page.frames();
    one<HTMLElement>(".kpwidget-list [data-keypoint=B]").dispatchEvent(new MouseEvent("dblclick"));
    type(namer(), "half a na");
    kernel.answer({ text: "other", undo: "something" });
    page.frames();
    expect(namer().value).toBe("half a na");
    expect(document.activeElement).toBe(namer());
  });

  it("moves a point by as much as the pointer, inside of the image", () => {
    drag([101, 1], [51, 41]);
    const [edit] = edits() as [{ op: string; id: string; x: number; y: number }];
    expect(edit.op).toBe("move");
    expect(edit.id).toBe("b");
    expect([edit.x, edit.y].map((n) => Math.round(n * 1e6) / 1e6)).toEqual([50, 40]);
    drag([50, 40], [-500, 40]);
    expect(edits()[1]).toMatchObject({ op: "move", x: 0 });
  });

  it("a second finger neither moves nor ends what the first one does", () => {
    const finger = (pointerId: number) => ({ pointerId, pointerType: "touch" });
    pointer(sheet(), "pointerdown", ...screen(100, 0), finger(1));
    pointer(sheet(), "pointermove", ...screen(90, 20), finger(1));
    pointer(sheet(), "pointerdown", ...screen(10, 90), finger(2));
    pointer(sheet(), "pointermove", ...screen(20, 90), finger(2));
    pointer(sheet(), "pointerup", ...screen(20, 90), finger(2));
    expect(edits()).toEqual([]);
    pointer(sheet(), "pointerup", ...screen(90, 20), finger(1));
    const [move] = edits() as [{ op: string; x: number; y: number }];
    expect([move.op, Math.round(move.x), Math.round(move.y)]).toEqual(["move", 90, 20]);
    expect(edits()).toHaveLength(1);
  });

  it("a point that is removed while it is dragged is moved no more", () => {
    pointer(sheet(), "pointerdown", ...screen(100, 0));
    pointer(sheet(), "pointermove", ...screen(90, 20));
    key(sheet(), "Delete");
    pointer(sheet(), "pointerup", ...screen(90, 20));
    expect(edits().map((edit) => edit.op)).toEqual(["remove"]);
  });

  it("is drawn anew only where the pointer points at something else", () => {
    const marker = () => one(".kpwidget-drawing [data-keypoint=A]");
    const before = marker();
    for (const x of [50, 55, 60]) pointer(sheet(), "pointermove", ...screen(x, 80));
    expect(marker()).toBe(before);
    expect(one(".kpwidget-ring.is-over")).toBeNull();
    pointer(sheet(), "pointermove", ...screen(100, 0));
    expect(one(".kpwidget-ring.is-over")).not.toBeNull();
    expect(marker()).not.toBe(before);
  });

  it("draws edges with the tool or with Alt, and only onto points", () => {
    drag([100, 0], [0, 50], { altKey: true });
    key(sheet(), "e");
    drag([0, 50], [100, 0]);
    drag([0, 50], [60, 60]);
    expect(edits()).toEqual([
      { op: "join", a: "b", b: "c" },
      { op: "join", a: "c", b: "b" },
    ]);
    page.frames();
    expect(one(".kpwidget-doing").textContent).toMatch(/nothing was drawn/);
  });

  it("selects an edge by a click, and Delete removes it", () => {
    click(50, 0);
    expect(one<HTMLElement>(".kpwidget-designer").dataset.selectedEdge).toBe("A – B");
    key(sheet(), "Delete");
    expect(edits()).toEqual([{ op: "part", a: "a", b: "b" }]);
    click(50, 0, { shiftKey: true });
    expect(edits()[1]?.op).toBe("add");
  });

  it("crops for the selected point", () => {
    key(sheet(), "c");
    expect(one(".kpwidget-doing").textContent).toMatch(/Select a keypoint first/);
    click(100, 0);
    key(sheet(), "c");
    drag([120, 30], [80, 10]);
    const [edit] = edits() as [{ op: string; box: number[] }];
    expect(edit.op).toBe("crop");
    expect(edit.box.map(Math.round)).toEqual([80, 10, 120, 30]);
  });

  it("puts names into the page as text", () => {
    const name = "<img src=x onerror=1>";
    const points = [{ ...DESIGN.points[0], name, definition: name } as never];
    kernel.answer({ points, edges: [], pairs: [], name, text: name, undo: name });
    kernel.fire("msg:custom", { kind: "notice", level: "error", text: name });
    page.frames();
    expect(el.querySelectorAll("[onerror]")).toHaveLength(0);
    expect(one(".kpwidget-drawing text").textContent).toBe(name);
    expect(one(".kpwidget-notice span").textContent).toBe(name);
  });

  it("shows no picture that is not a PNG or JPEG", () => {
    const shown = () => !one<HTMLImageElement>(".kpwidget-reference").hidden;
    click(100, 0);
    kernel.traits.references = [{ id: "b", url: "data:image/svg+xml;base64,AA==" }];
    kernel.fire("change:references");
    page.frames();
    expect(shown()).toBe(false);
    kernel.traits.references = [{ id: "b", url: "data:image/png;base64,AA==" }];
    kernel.fire("change:references");
    page.frames();
    expect(shown()).toBe(true);
  });
});

describe("the keys", () => {
  it("are no others than those of the table, and none of them reaches the notebook", () => {
    const seen: string[] = [];
    el.addEventListener("keydown", (event) => seen.push(event.key));
    click(100, 0);
    for (const { bind } of DESIGN_KEYS)
      for (const bound of bind) {
        const parts = bound.split("+");
        const name = bound.endsWith("+") ? "+" : (parts.at(-1) as string);
        const more = { ctrlKey: parts.includes("Ctrl"), shiftKey: parts.includes("Shift") };
        expect(key(sheet(), name, more).defaultPrevented, bound).toBe(true);
        if (document.activeElement === namer()) key(namer(), "Escape");
      }
    expect(seen).toEqual([]);
    for (const name of ["Tab", "q", "F5"]) expect(key(sheet(), name).defaultPrevented).toBe(false);
    expect(seen).toEqual(["Tab", "q", "F5"]);
    expect(key(pane(), "Tab").defaultPrevented).toBe(false);
  });

  it("nudge in one step, reorder, and leave", () => {
    click(100, 0);
    key(sheet(), "ArrowDown");
    key(sheet(), "ArrowLeft", { shiftKey: true });
    key(sheet(), "ArrowUp", { altKey: true });
    const [first, second, third] = edits() as { burst: string; x: number; y: number }[];
    expect([first?.x, first?.y, second?.x, second?.y]).toEqual([100, 1, 90, 1]);
    expect(first?.burst).toBe(second?.burst);
    expect(third).toEqual({ op: "order", id: "b", to: 0 });
    key(sheet(), "Escape");
    key(sheet(), "Escape");
    expect(document.activeElement).not.toBe(sheet());
  });

  it("typed into a field stay there", () => {
    const seen: string[] = [];
    el.addEventListener("keydown", (event) => seen.push(event.key));
    pane().focus();
    for (const name of ["Delete", "e", "Enter"]) key(pane(), name);
    expect(edits()).toEqual([]);
    expect(seen).toEqual([]);
  });
});

describe("the text pane", () => {
  const reading = (problems: TextProblem[], choices: string[] = []) => ({
    client: kernel.client,
    seq: kernel.sent.at(-1)?.seq ?? 0,
    kind: "metadata",
    problems,
    choices,
  });
  const wrong = { message: "is wrong", line: 1, column: 2, start: 1, end: 3 };

  it("sends what is typed when the typing rests, as one step", () => {
    pane().focus();
    type(pane(), "a");
    vi.advanceTimersByTime(100);
    type(pane(), "ab");
    vi.advanceTimersByTime(300);
    type(pane(), "abc");
    pane().blur();
    const sent = edits() as { op: string; text: string; burst: string }[];
    expect(sent.map(({ op, text }) => [op, text])).toEqual([
      ["text", "ab"],
      ["text", "abc"],
    ]);
    expect(sent[0]?.burst).toBe(sent[1]?.burst);
  });

  it("sends no more of a text than Python reads", () => {
    // Jupyter's closes the connection at 10 MiB (tornado, websocket_max_message_size).
    type(pane(), "漢".repeat(12_000_000));
    vi.advanceTimersByTime(300);
    const edit = edits()[0] as { text: string };
    expect(edit.text.length).toBeGreaterThan(MAX_TEXT);
    expect(new Blob([JSON.stringify(edit)]).size).toBeLessThan(10 * 2 ** 20);
  });

  it("keeps a wrong text, marks its place, and lets it be given up", () => {
    type(pane(), "a<b>c");
    vi.advanceTimersByTime(300);
    kernel.answer({ reading: reading([wrong]), text: "the metadata" });
    page.frames();
    expect([pane().value, pane().dataset.state]).toEqual(["a<b>c", "wrong"]);
    expect(one("mark").textContent).toBe("<b");
    expect(one(".kpwidget-problem").textContent).toBe("line 1, column 2 is wrong");
    one<HTMLElement>(".kpwidget-problem").click();
    expect([pane().selectionStart, pane().selectionEnd]).toEqual([1, 3]);
    kernel.answer({ text: "changed by a click on the drawing" });
    page.frames();
    expect(pane().value).toBe("a<b>c");
    one<HTMLElement>(".kpwidget-said > .kpwidget-reset").click();
    page.frames();
    expect(pane().value).toBe("changed by a click on the drawing");
    expect(el.querySelectorAll("mark, .kpwidget-problem")).toHaveLength(0);
  });

  it("does not copy a text that is too long for marks behind it", () => {
    type(pane(), "a".repeat(MAX_TEXT + 1));
    vi.advanceTimersByTime(300);
    kernel.answer({ reading: reading([{ ...wrong, start: 0, end: 0 }]) });
    page.frames();
    expect(pane().dataset.state).toBe("wrong");
    expect(one(".kpwidget-marks").textContent?.length).toBeLessThan(10);
  });

  it("leaves a good text alone until it is left", () => {
    pane().focus();
    type(pane(), "a,b");
    vi.advanceTimersByTime(300);
    kernel.answer({ reading: reading([]), text: "canonical" });
    page.frames();
    expect([pane().value, pane().dataset.state]).toEqual(["a,b", "good"]);
    pane().blur();
    page.frames();
    expect(pane().value).toBe("canonical");
  });

  it("does not take an old answer for one about what is typed since", () => {
    type(pane(), "a");
    vi.advanceTimersByTime(300);
    const old = reading([wrong]);
    type(pane(), "ab");
    kernel.answer({ reading: old });
    page.frames();
    expect(pane().dataset.state).toBe("waiting");
  });

  it("asks which of several categories is meant", () => {
    type(pane(), "[...]");
    vi.advanceTimersByTime(300);
    kernel.answer({ reading: reading([], ["cat", "<b>dog"]) });
    page.frames();
    const choose = one<HTMLSelectElement>(".kpwidget-choose");
    expect([...choose.options].map((option) => option.text)).toEqual(["choose …", "cat", "<b>dog"]);
    choose.value = "1";
    choose.dispatchEvent(new Event("change"));
    expect(edits().at(-1)).toMatchObject({ op: "text", text: "[...]", choice: 1 });
  });
});

describe("a kernel", () => {
  it("that does not answer is asked again, and told of", () => {
    click(50, 80);
    expect(one<HTMLElement>(".kpwidget-designer").dataset.pending).toBe("1");
    vi.advanceTimersByTime(2000);
    expect(one(".kpwidget-saved").textContent).toBe("kernel busy, 1 waiting");
    vi.advanceTimersByTime(4000);
    expect(kernel.sent.map(({ seq }) => seq)).toEqual([1, 1]);
    kernel.answer({});
    vi.advanceTimersByTime(6000);
    expect(kernel.sent).toHaveLength(2);
    expect(one<HTMLElement>(".kpwidget-designer").dataset.pending).toBe("0");
  });

  it("that is busy for long is asked ever more rarely", () => {
    click(50, 80);
    vi.advanceTimersByTime(30 * 60_000);
    // At 5, 15, 35 and 75 s, then once a minute: 28 times in half an hour.
    const times = kernel.sent.length - 1;
    expect(times).toBeGreaterThan(20);
    expect(times).toBeLessThan(35);
  });

  it("that is gone is told of", () => {
    kernel.isGone = true;
    click(50, 80);
    expect(one(".kpwidget-saved").textContent).toBe("kernel gone");
  });
});

it("is as high as Python says", () => {
  kernel.traits.height = 420;
  kernel.fire("change:height");
  expect(sheet().style.height).toBe("420px");
});

it("leaves nothing behind", () => {
  end();
  const listeners = watchListeners();
  end = mountDesigner(kernel.model, el);
  page.frames();
  expect(listeners.live().length).toBeGreaterThan(20);
  click(50, 80);
  end();
  expect(listeners.live()).toEqual([]);
  expect(kernel.listening).toBe(0);
  expect(el.children).toHaveLength(0);
});
