import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { bindingOf, type Hands, hit, isBound, KEY_TABLE, type KeyLike, listen } from "../src/input";
import { type Action, type PointRef, reduce, type State } from "../src/state";
import { toScreen, type Viewport, type Xy } from "../src/viewport";
import { instance, pointOf, start, wholeFace } from "./builders";
import { key, pointer, wheel } from "./dom";

const event = (name: string, more: Partial<KeyLike> = {}): KeyLike => ({
  key: name,
  ctrlKey: false,
  metaKey: false,
  shiftKey: false,
  altKey: false,
  ...more,
});

describe("the key table", () => {
  const bound = KEY_TABLE.flatMap((row) => row.bind);

  it("binds no key twice, and never Tab", () => {
    expect(bound.length).toBeGreaterThan(20);
    expect(new Set(bound).size).toBe(bound.length);
    expect(bound.filter((name) => name.includes("Tab"))).toEqual([]);
    for (const shiftKey of [false, true]) expect(isBound(event("Tab", { shiftKey }))).toBe(false);
  });

  it("has something to do for every key and says what for every row", () => {
    for (const row of KEY_TABLE) {
      expect(row.bind.length > 0).toBe(row.run !== undefined);
      expect(row.keys === "").toBe(row.does === "");
    }
  });

  it("names every key as bindingOf does", () => {
    for (const name of bound) {
      const [, ctrl, shift, main] = /^(Ctrl\+)?(Shift\+)?(.+)$/s.exec(name) ?? [];
      const made = event(main as string, {
        ctrlKey: ctrl !== undefined,
        shiftKey: shift !== undefined,
      });
      expect(bindingOf(made)).toBe(name);
    }
  });

  it("takes Cmd for Ctrl, capitals for small letters, and signs as they are", () => {
    expect(bindingOf(event("z", { metaKey: true }))).toBe("Ctrl+z");
    expect(bindingOf(event("z", { ctrlKey: true }))).toBe("Ctrl+z");
    expect(bindingOf(event("Z", { metaKey: true, shiftKey: true }))).toBe("Ctrl+Shift+z");
    expect(bindingOf(event("?", { shiftKey: true }))).toBe("?");
    expect(bindingOf(event("?"))).toBe("?");
    expect(bindingOf(event("S"))).toBe("s");
    expect(bindingOf(event("S", { shiftKey: true }))).toBe("Shift+s");
  });

  it("leaves what is Alt's, the browser's and the notebook's alone", () => {
    expect(isBound(event("s", { altKey: true }))).toBe(false);
    for (const name of ["x", "a", "r", "f", "p"])
      expect(isBound(event(name, { ctrlKey: true }))).toBe(false);
    for (const name of ["F5", "F12", "a", "y", "Home", "Shift", "Dead"])
      expect(isBound(event(name))).toBe(false);
  });
});

function keyup(target: Element, name: string): void {
  target.dispatchEvent(new KeyboardEvent("keyup", { key: name, bubbles: true }));
}

/** A stage with hands that write down what is done. */
class Stage {
  readonly root = document.createElement("div");
  readonly ink = document.createElement("canvas");
  readonly actions: Action[] = [];
  readonly controller = new AbortController();
  viewport: Viewport = { scale: 2, tx: 10, ty: 20 };
  pointer: Xy | null = null;
  isReady = true;
  isByKeys = false;
  hold: Xy | null = null;
  left = 0;
  fitted = 0;
  private uid = 0;

  constructor(
    public state: State,
    private readonly viewer: Hands["viewer"] = null,
  ) {
    this.root.tabIndex = 0;
    this.root.append(this.ink);
    document.body.append(this.root);
    const hands: Hands = {
      getState: () => this.state,
      dispatch: (action) => {
        this.actions.push(action);
        this.state = reduce(this.state, action);
      },
      getViewport: () => this.viewport,
      setViewport: (v) => {
        this.viewport = v;
      },
      fit: () => {
        this.fitted += 1;
      },
      stageCenter: () => ({ x: 100, y: 100 }),
      getPointer: () => this.pointer,
      setPointer: (at, isByKeys = false) => {
        this.pointer = at;
        this.isByKeys = isByKeys;
      },
      isPointerByKeys: () => this.isByKeys,
      stageSize: () => ({ w: 200, h: 150 }),
      getHovered: (): PointRef | null =>
        this.pointer && hit(this.state, this.viewport, this.pointer),
      setHold: (at) => {
        this.hold = at;
      },
      isReady: () => this.isReady,
      newUid: () => `new${++this.uid}`,
      leave: () => {
        this.left += 1;
      },
      viewer: this.viewer,
    };
    listen(this.root, this.ink, hands, this.controller.signal);
    this.root.focus();
  }

  done(...types: Action["type"][]): Action[] {
    return this.actions.filter((action) => types.includes(action.type));
  }

  /** Screen position of an image point. */
  at(x: number, y: number): [number, number] {
    const p = toScreen(this.viewport, { x, y });
    return [p.x, p.y];
  }

  clickAt(x: number, y: number, more: PointerEventInit = {}): void {
    pointer(this.ink, "pointermove", x, y, more);
    pointer(this.ink, "pointerdown", x, y, more);
    pointer(this.ink, "pointerup", x, y, more);
  }
}

const twoFaces = () =>
  start({
    instances: [wholeFace("f", 20, 20), wholeFace("g", 60, 40, { ordinal: 1 })],
    cursor: { category: 0, instance: "f", keypoint: null },
  });

let stage: Stage;
beforeEach(() => {
  stage = new Stage(start());
});
afterEach(() => {
  stage.controller.abort();
  document.body.replaceChildren();
  vi.useRealTimers();
});

/** The same with other instances. */
function restart(state: State): void {
  stage.controller.abort();
  stage = new Stage(state);
}

describe("pointer", () => {
  it("a click places what was pressed, in image pixels, and takes the focus", () => {
    stage.root.blur();
    stage.clickAt(10 + 2 * 30.25, 20 + 2 * 40.75);
    expect(document.activeElement).toBe(stage.root);
    expect(stage.done("place")).toEqual([
      { type: "place", x: 30.25, y: 40.75, visibility: 2, uid: "new1" },
    ]);
  });

  it("shows ink at the press and commits at the release", () => {
    pointer(stage.ink, "pointerdown", 50, 60);
    expect(stage.state.press).toEqual({ x: 20, y: 20, visibility: 2 });
    expect(stage.state.pending).toEqual([]);
    pointer(stage.ink, "pointerup", 50, 60);
    expect(stage.state.press).toBeNull();
    expect(stage.state.pending).toHaveLength(1);
  });

  it("within 4 px places where it was pressed", () => {
    pointer(stage.ink, "pointerdown", 50, 60);
    pointer(stage.ink, "pointermove", 54, 60);
    pointer(stage.ink, "pointerup", 54, 60);
    expect(stage.done("place")).toMatchObject([{ x: 20, y: 20 }]);
  });

  it("on empty ground up to 12 px places where it is released", () => {
    pointer(stage.ink, "pointerdown", 50, 60);
    pointer(stage.ink, "pointermove", 60, 60);
    expect(stage.state.press).toMatchObject({ x: 25, y: 20 });
    pointer(stage.ink, "pointerup", 60, 60);
    expect(stage.done("place")).toMatchObject([{ x: 25, y: 20 }]);
  });

  it("further places nothing and says so", () => {
    pointer(stage.ink, "pointerdown", 50, 60);
    pointer(stage.ink, "pointermove", 70, 60);
    pointer(stage.ink, "pointerup", 70, 60);
    expect(stage.done("place")).toEqual([]);
    expect(stage.state.press).toBeNull();
    expect(stage.state.hint).toMatch(/Nothing placed: click without moving/);
  });

  it.each([
    ["Shift+click", { shiftKey: true }],
    ["right click", { button: 2 }],
  ])("%s places the keypoint occluded", (_, more) => {
    stage.clickAt(50, 60, more);
    expect(stage.done("place")).toMatchObject([{ visibility: 1 }]);
  });

  it("opens no context menu", () => {
    expect(pointer(stage.ink, "contextmenu", 50, 60).defaultPrevented).toBe(true);
  });

  it("a press on a point that moves drags it by as much as the pointer", () => {
    restart(twoFaces());
    const [x, y] = stage.at(20, 15);
    pointer(stage.ink, "pointerdown", x + 3, y);
    pointer(stage.ink, "pointermove", x + 6, y);
    expect(stage.state.drag).toBeNull();
    pointer(stage.ink, "pointermove", x + 23, y + 10);
    expect(stage.state.drag).toEqual({ target: { instance: "f", keypoint: 0 }, x: 30, y: 20 });
    expect(stage.state.pending).toEqual([]);
    pointer(stage.ink, "pointerup", x + 23, y + 10);
    expect(pointOf(stage.state, "f", 0)).toEqual([30, 20, 2]);
    expect(stage.state.pending).toHaveLength(1);
    expect(stage.done("place")).toEqual([]);
  });

  it("Esc ends a drag for good, and nothing else", () => {
    restart(twoFaces());
    const [x, y] = stage.at(20, 15);
    pointer(stage.ink, "pointerdown", x, y);
    pointer(stage.ink, "pointermove", x + 20, y);
    key(stage.root, "Escape");
    pointer(stage.ink, "pointermove", x + 30, y);
    pointer(stage.ink, "pointerup", x + 30, y);
    expect(stage.state).toMatchObject({ drag: null, press: null, pending: [] });
    expect(stage.state.doc.cursor.instance).toBe("f");
  });

  it("a click on an old point places the next one over it", () => {
    restart(twoFaces());
    stage.clickAt(...stage.at(20, 15));
    expect(stage.state.doc.byUid.get("new1")?.points.slice(0, 3)).toEqual([20, 15, 2]);
  });

  it("a press on a point of a locked instance neither moves nor places", () => {
    restart(start({ instances: [wholeFace("f", 20, 20, { locked: true })] }));
    const [x, y] = stage.at(20, 15);
    pointer(stage.ink, "pointerdown", x, y);
    pointer(stage.ink, "pointermove", x + 8, y);
    pointer(stage.ink, "pointerup", x + 8, y);
    expect(stage.state.pending).toEqual([]);
    expect(stage.state.hint).toMatch(/locked/);
  });

  it.each([["ctrlKey"], ["metaKey"]])("%s+click selects a point and places nothing", (name) => {
    restart(twoFaces());
    stage.clickAt(...stage.at(60, 35), { [name]: true });
    expect(stage.state.selected).toEqual({ instance: "g", keypoint: 0 });
    expect(stage.state.doc.cursor.instance).toBe("g");
    expect(stage.done("place")).toEqual([]);
    stage.clickAt(...stage.at(90, 70), { [name]: true });
    expect(stage.state.hint).toBe("There is no point to select here.");
    expect(stage.done("place")).toEqual([]);
  });

  it.each([
    ["the middle button", { button: 1 }],
    ["Space held", { button: 0 }],
  ])("pans with %s", (_, more) => {
    if (more.button === 0) key(stage.root, " ");
    pointer(stage.ink, "pointerdown", 50, 60, more);
    pointer(stage.ink, "pointermove", 57, 55, more);
    pointer(stage.ink, "pointermove", 60, 70, more);
    pointer(stage.ink, "pointerup", 60, 70, more);
    expect(stage.viewport).toEqual({ scale: 2, tx: 20, ty: 30 });
    expect(stage.state.pending).toEqual([]);
    expect(stage.done("place", "press")).toEqual([]);
  });

  it("places again after Space is released, and after the focus has gone meanwhile", () => {
    key(stage.root, " ");
    keyup(stage.root, " ");
    stage.clickAt(50, 60);
    expect(stage.done("place")).toHaveLength(1);
    key(stage.root, " ");
    stage.root.dispatchEvent(new FocusEvent("blur"));
    stage.clickAt(52, 62);
    expect(stage.done("place")).toHaveLength(2);
    expect(stage.root.classList.contains("is-panning")).toBe(false);
  });

  it("draws a box in box mode, from any corner, kept inside the image", () => {
    key(stage.root, "b");
    pointer(stage.ink, "pointerdown", ...stage.at(50, 40));
    pointer(stage.ink, "pointermove", ...stage.at(20, -30));
    expect(stage.state.boxDraft).toEqual({ x0: 50, y0: 40, x1: 20, y1: -30 });
    pointer(stage.ink, "pointerup", ...stage.at(20, -30));
    expect(stage.state.doc.instances[0]?.bbox).toEqual([20, 0, 30, 40]);
    expect(stage.state.isBoxMode).toBe(false);
  });

  it("refuses a box smaller than a pixel", () => {
    key(stage.root, "b");
    stage.clickAt(50, 60);
    expect(stage.state.doc.instances).toEqual([]);
    expect(stage.state.hint).toMatch(/smaller than one pixel/);
  });

  it("does nothing while the next image is on its way", () => {
    stage.isReady = false;
    stage.clickAt(50, 60);
    expect(stage.done("place", "press")).toEqual([]);
    expect(stage.state.hint).toMatch(/on its way/);
  });

  it("a cancelled press leaves nothing behind", () => {
    restart(twoFaces());
    const [x, y] = stage.at(20, 15);
    pointer(stage.ink, "pointerdown", x, y);
    pointer(stage.ink, "pointermove", x + 20, y);
    pointer(stage.ink, "pointercancel", x + 20, y);
    expect(stage.state).toMatchObject({ drag: null, press: null });
    expect(stage.state.pending).toEqual([]);
    pointer(stage.ink, "pointerup", x + 20, y);
    expect(stage.state.pending).toEqual([]);
  });

  const touch = (pointerId: number) => ({ pointerType: "touch", pointerId });

  it("a finger that rests for 500 ms places occluded, when it is lifted", () => {
    vi.useFakeTimers();
    pointer(stage.ink, "pointerdown", 50, 60, touch(1));
    expect(stage.hold).toEqual({ x: 50, y: 60 });
    vi.advanceTimersByTime(499);
    expect(stage.state.press).toMatchObject({ visibility: 2 });
    vi.advanceTimersByTime(1);
    expect(stage.state.press).toEqual({ x: 20, y: 20, visibility: 1 });
    expect(stage.done("place")).toEqual([]);
    pointer(stage.ink, "pointerup", 50, 60, touch(1));
    expect(stage.hold).toBeNull();
    expect(stage.done("place")).toMatchObject([{ x: 20, y: 20, visibility: 1 }]);
  });

  it.each([
    ["lifted", "pointerup", 50, [{ visibility: 2 }]],
    ["cancelled", "pointercancel", 50, []],
    ["moved away", "pointermove", 90, []],
  ])("a finger that is %s before does not", (_, type, x, placed) => {
    vi.useFakeTimers();
    pointer(stage.ink, "pointerdown", 50, 60, touch(1));
    vi.advanceTimersByTime(300);
    pointer(stage.ink, type, x, 60, touch(1));
    expect(stage.hold).toBeNull();
    vi.advanceTimersByTime(600);
    pointer(stage.ink, "pointerup", x, 60, touch(1));
    expect(stage.done("place")).toMatchObject(placed);
    expect(stage.state.press).toBeNull();
  });

  it("a second finger ends a press, a drag, a box and the move of a handle", () => {
    vi.useFakeTimers();
    const second = () => {
      pointer(stage.ink, "pointerdown", 150, 120, touch(2));
      vi.advanceTimersByTime(600);
      for (const id of [1, 2]) pointer(stage.ink, "pointerup", 150, 120, touch(id));
      const { press, drag, boxDraft, whole, pending } = stage.state;
      expect({ press, drag, boxDraft, whole }).toEqual({
        press: null,
        drag: null,
        boxDraft: null,
        whole: null,
      });
      expect(stage.hold).toBeNull();
      expect(pending).toEqual([]);
    };
    pointer(stage.ink, "pointerdown", 50, 60, touch(1));
    expect(stage.state.press).not.toBeNull();
    second();
    key(stage.root, "b");
    pointer(stage.ink, "pointerdown", 50, 60, touch(1));
    expect(stage.state.boxDraft).not.toBeNull();
    second();
    restart(twoFaces());
    pointer(stage.ink, "pointerdown", ...stage.at(20, 15), touch(1));
    pointer(stage.ink, "pointermove", ...stage.at(30, 15), touch(1));
    expect(stage.state.drag).not.toBeNull();
    second();
    stage.viewport = { scale: 5, tx: 10, ty: 0 };
    // The points of "f" end at (25, 25), which is (135, 125) on the stage.
    pointer(stage.ink, "pointerdown", 149, 138, touch(1));
    pointer(stage.ink, "pointermove", 140, 130, touch(1));
    expect(stage.state.whole?.scale).toBeLessThan(1);
    second();
  });

  it("a handle moves the whole instance in one step, and a click on it places a point", () => {
    restart(twoFaces());
    stage.viewport = { scale: 5, tx: 10, ty: 0 };
    // The points of "f" begin at (15, 15), which is (85, 75) on the stage.
    pointer(stage.ink, "pointerdown", 71, 61);
    pointer(stage.ink, "pointermove", 96, 71);
    expect(stage.state.pending).toEqual([]);
    pointer(stage.ink, "pointerup", 96, 71);
    expect(pointOf(stage.state, "f", 0)).toEqual([25, 17, 2]);
    expect(stage.state.pending).toHaveLength(1);
    expect(stage.done("place")).toEqual([]);
    stage.clickAt(96, 71);
    expect(stage.done("place")).toMatchObject([{ x: 17.2, y: 14.2 }]);
  });

  it("a palm beside the pen neither moves nor ends what the pen does", () => {
    const pen = { pointerId: 7, pointerType: "pen" };
    const palm = touch(8);
    restart(twoFaces());
    pointer(stage.ink, "pointerdown", ...stage.at(20, 15), pen);
    pointer(stage.ink, "pointermove", ...stage.at(30, 15), pen);
    pointer(stage.ink, "pointerdown", 150, 120, palm);
    pointer(stage.ink, "pointermove", 155, 125, palm);
    expect(stage.state.drag).toMatchObject({ x: 30, y: 15 });
    expect(stage.pointer).toEqual({ x: stage.at(30, 15)[0], y: stage.at(30, 15)[1] });
    pointer(stage.ink, "pointerup", 155, 125, palm);
    expect(stage.state.pending).toEqual([]);
    pointer(stage.ink, "pointerup", ...stage.at(30, 15), pen);
    expect(pointOf(stage.state, "f", 0)).toEqual([30, 15, 2]);
    expect(stage.done("place")).toEqual([]);
  });

  it("a handle that is held moves no other instance than its own", () => {
    restart(twoFaces());
    stage.viewport = { scale: 5, tx: 10, ty: 0 };
    pointer(stage.ink, "pointerdown", 71, 61);
    pointer(stage.ink, "pointermove", 96, 71);
    key(stage.root, "]");
    expect(stage.state.doc.cursor.instance).toBe("g");
    pointer(stage.ink, "pointermove", 100, 80);
    pointer(stage.ink, "pointerup", 100, 80);
    expect(stage.state.pending.filter(({ body }) => body.op === "pose")).toEqual([]);
  });

  it("two fingers zoom and pan and place nothing", () => {
    pointer(stage.ink, "pointerdown", 100, 100, touch(1));
    pointer(stage.ink, "pointerdown", 200, 100, touch(2));
    pointer(stage.ink, "pointermove", 300, 100, touch(2));
    // Twice as far apart, around a middle that went from 150 to 200.
    expect(stage.viewport.scale).toBeCloseTo(4, 9);
    expect(stage.viewport.tx).toBeCloseTo(150 - 2 * (150 - 10) + 50, 9);
    pointer(stage.ink, "pointerup", 300, 100, touch(2));
    pointer(stage.ink, "pointerup", 100, 100, touch(1));
    expect(stage.done("place")).toEqual([]);
    expect(stage.state.press).toBeNull();
    stage.clickAt(100, 100, touch(3));
    expect(stage.done("place")).toHaveLength(1);
  });

  it("forgets the pointer when it leaves, but not in a drag", () => {
    pointer(stage.ink, "pointermove", 50, 60);
    expect(stage.pointer).toEqual({ x: 50, y: 60 });
    pointer(stage.ink, "pointerleave", 50, 60);
    expect(stage.pointer).toBeNull();
    pointer(stage.ink, "pointerdown", 50, 60);
    pointer(stage.ink, "pointerleave", 50, 60);
    expect(stage.pointer).toEqual({ x: 50, y: 60 });
  });

  it("nothing is heard any more after the end", () => {
    stage.controller.abort();
    stage.clickAt(50, 60);
    key(stage.root, "s");
    wheel(stage.ink, 100);
    expect(stage.actions).toEqual([]);
    expect(stage.viewport.scale).toBe(2);
  });
});

describe("hit", () => {
  it("takes the active instance before another that is as near", () => {
    const points = { 0: [20, 20, 2] } as const;
    const state = start({
      instances: [instance("a", points), instance("b", points, { ordinal: 1 })],
      cursor: { category: 0, instance: "a", keypoint: 1 },
    });
    const v = { scale: 1, tx: 0, ty: 0 };
    expect(hit(state, v, { x: 20, y: 20 })?.instance).toBe("a");
    const none = start({ instances: state.scene.instances });
    expect(hit(none, v, { x: 20, y: 20 })?.instance).toBe("b");
  });

  it("does not find what is hidden", () => {
    const hidden = wholeFace("f", 20, 20, { hidden: true });
    const v = { scale: 1, tx: 0, ty: 0 };
    expect(hit(start({ instances: [hidden] }), v, { x: 20, y: 15 })).toBeNull();
    const off = reduce(twoFaces(), { type: "toggle-skeletons" });
    expect(hit(off, v, { x: 20, y: 15 })).toBeNull();
    expect(hit(twoFaces(), v, { x: 20, y: 15 })).toEqual({ instance: "f", keypoint: 0 });
  });
});

describe("wheel", () => {
  it("zooms at the pointer by 15 % a notch when the stage has the focus", () => {
    const done = wheel(stage.ink, -100, { clientX: 110, clientY: 120 });
    expect(done.defaultPrevented).toBe(true);
    expect(stage.viewport.scale).toBeCloseTo(2.3, 9);
    expect(toScreen(stage.viewport, { x: 50, y: 50 })).toEqual({ x: 110, y: 120 });
    wheel(stage.ink, 100, { clientX: 110, clientY: 120 });
    expect(stage.viewport.scale).toBeCloseTo(2, 9);
  });

  it("without the focus scrolls the page, but with Ctrl zooms", () => {
    stage.root.blur();
    const scrolled = wheel(stage.ink, 100);
    expect(scrolled.defaultPrevented).toBe(false);
    expect(stage.viewport.scale).toBe(2);
    const zoomed = wheel(stage.ink, -100, { ctrlKey: true });
    expect(zoomed.defaultPrevented).toBe(true);
    expect(stage.viewport.scale).toBeCloseTo(2.3, 9);
  });

  it("counts lines and pages, and no wheel goes wild", () => {
    wheel(stage.ink, -3, { deltaMode: 1 });
    expect(stage.viewport.scale).toBeCloseTo(2 * 1.15 ** 0.99, 9);
    stage.viewport = { scale: 2, tx: 0, ty: 0 };
    wheel(stage.ink, -1e6);
    expect(stage.viewport.scale).toBeCloseTo(2 * 1.15 ** 3, 9);
  });
});

describe("keys", () => {
  const heard: string[] = [];
  beforeEach(() => {
    heard.length = 0;
    document.body.addEventListener("keydown", (e) => heard.push(e.key), {
      signal: stage.controller.signal,
    });
  });

  it("ours are kept from the notebook, all others reach it untouched", () => {
    expect(key(stage.root, "d").defaultPrevented).toBe(true);
    expect(heard).toEqual([]);
    for (const name of ["Tab", "a", "F5", "Shift"])
      expect(key(stage.root, name).defaultPrevented).toBe(false);
    expect(key(stage.root, "x", { ctrlKey: true }).defaultPrevented).toBe(false);
    expect(heard).toEqual(["Tab", "a", "F5", "Shift", "x"]);
    expect(stage.actions).toEqual([{ type: "toggle-done" }]);
  });

  it("does not listen to what is typed elsewhere, nor to an input method", () => {
    const field = document.createElement("input");
    stage.root.append(field);
    expect(key(field, "s").defaultPrevented).toBe(false);
    expect(key(stage.root, "s", { isComposing: true }).defaultPrevented).toBe(false);
    expect(stage.actions).toEqual([]);
  });

  it.each([
    ["s", {}, { type: "skip" }],
    ["Enter", {}, { type: "finish" }],
    ["Delete", {}, { type: "unlabel", target: null }],
    ["Backspace", {}, { type: "back", hovered: null }],
    ["v", {}, { type: "cycle-visibility", target: null }],
    ["b", {}, { type: "box-mode", isOn: true }],
    ["t", {}, { type: "box-mode", isOn: true, isTemplate: true }],
    ["w", {}, { type: "whole-mode", isOn: true }],
    ["m", {}, { type: "mirror" }],
    ["x", {}, { type: "swap" }],
    ["r", {}, { type: "repeat" }],
    ["c", { ctrlKey: true }, { type: "copy" }],
    ["v", { ctrlKey: true }, { type: "paste", uid: "new1" }],
    ["[", {}, { type: "step-instance", by: -1 }],
    ["PageDown", {}, { type: "step-instance", by: 1 }],
    ["n", {}, { type: "goto", to: "next" }],
    ["p", {}, { type: "goto", to: "previous" }],
    ["u", {}, { type: "goto", to: "unlabeled" }],
    ["h", {}, { type: "toggle-skeletons" }],
    ["g", {}, { type: "toggle-names" }],
    ["?", { shiftKey: true }, { type: "toggle-help" }],
    ["z", { ctrlKey: true }, { type: "undo" }],
    ["z", { metaKey: true }, { type: "undo" }],
    ["Z", { ctrlKey: true, shiftKey: true }, { type: "redo" }],
    ["y", { ctrlKey: true }, { type: "redo" }],
    ["s", { metaKey: true }, { type: "save" }],
  ])("%s %o", (name, more, action) => {
    key(stage.root, name, more);
    expect(stage.actions).toEqual([action]);
  });

  it.each([
    ["ArrowLeft", {}, [-1, 0]],
    ["ArrowDown", { shiftKey: true }, [0, 10]],
    ["ArrowUp", { ctrlKey: true, shiftKey: true }, [0, -0.1]],
  ])("%s %o moves the selected point, or else the cross", (name, more, [dx, dy]) => {
    key(stage.root, name, more);
    // From the middle of the stage (100, 100), by pixels of the image, which are 2 CSS px here.
    expect(stage.actions).toEqual([]);
    expect(stage.isByKeys).toBe(true);
    expect(stage.pointer?.x).toBeCloseTo(100 + 2 * (dx as number), 12);
    expect(stage.pointer?.y).toBeCloseTo(100 + 2 * (dy as number), 12);
    restart(twoFaces());
    stage.state = reduce(stage.state, { type: "select", target: { instance: "f", keypoint: 0 } });
    key(stage.root, name, more);
    const [nudge] = stage.done("nudge") as { dx: number; dy: number }[];
    expect([nudge?.dx, nudge?.dy]).toEqual([
      expect.closeTo(dx as number, 12),
      expect.closeTo(dy as number, 12),
    ]);
  });

  it("the cross stays on the stage, and Space places there when nothing was dragged", () => {
    for (let i = 0; i < 30; i++) key(stage.root, "ArrowRight", { shiftKey: true });
    expect(stage.pointer).toEqual({ x: 200, y: 100 });
    key(stage.root, "ArrowLeft", { shiftKey: true });
    key(stage.root, " ");
    expect(stage.done("place")).toEqual([]);
    keyup(stage.root, " ");
    // (180 - 10) / 2, (100 - 20) / 2
    expect(stage.done("place")).toEqual([
      { type: "place", x: 85, y: 40, visibility: 2, uid: "new1" },
    ]);
    key(stage.root, " ", { shiftKey: true });
    keyup(stage.root, " ");
    expect(stage.done("place").at(-1)).toMatchObject({ visibility: 1 });
  });

  it("Space places nothing where the mouse is, nor after a drag", () => {
    pointer(stage.ink, "pointermove", 110, 120);
    key(stage.root, " ");
    keyup(stage.root, " ");
    expect(stage.done("place")).toEqual([]);
    key(stage.root, "ArrowRight");
    key(stage.root, " ");
    pointer(stage.ink, "pointerdown", 50, 50);
    pointer(stage.ink, "pointermove", 80, 50);
    pointer(stage.ink, "pointerup", 80, 50);
    keyup(stage.root, " ");
    expect(stage.done("place")).toEqual([]);
  });

  it("+ and - zoom about the cross", () => {
    key(stage.root, "+");
    expect(stage.viewport.scale).toBeCloseTo(2.5, 12);
    key(stage.root, "-");
    expect(stage.viewport).toMatchObject({ scale: 2, tx: 10, ty: 20 });
  });

  it("V and Delete act on the point under the pointer", () => {
    restart(twoFaces());
    pointer(stage.ink, "pointermove", ...stage.at(60, 35));
    key(stage.root, "v");
    expect(pointOf(stage.state, "g", 0)).toEqual([60, 35, 1]);
    key(stage.root, "Delete");
    expect(pointOf(stage.state, "g", 0)).toEqual([0, 0, 0]);
  });

  it("F fits and 0 gives a scale of exactly 1 at the pointer", () => {
    key(stage.root, "f");
    expect(stage.fitted).toBe(1);
    pointer(stage.ink, "pointermove", 110, 120);
    key(stage.root, "0");
    expect(stage.viewport).toEqual({ scale: 1, tx: 60, ty: 70 });
  });

  it("a key held down repeats only where that is wanted", () => {
    expect(key(stage.root, "s", { repeat: true }).defaultPrevented).toBe(true);
    expect(stage.done("skip")).toEqual([]);
    key(stage.root, "ArrowLeft", { repeat: true });
    expect(stage.isByKeys).toBe(true);
    key(stage.root, "z", { ctrlKey: true, repeat: true });
    expect(stage.done("undo")).toHaveLength(1);
  });

  describe("digits", () => {
    beforeEach(() => {
      vi.useFakeTimers();
    });

    it("one digit chooses after a pause", () => {
      key(stage.root, "3");
      expect(stage.done("choose")).toEqual([]);
      expect(stage.state.hint).toBe("Keypoint 3 …");
      vi.advanceTimersByTime(700);
      expect(stage.done("choose")).toEqual([{ type: "choose", keypoint: 2 }]);
    });

    it("two digits choose at once", () => {
      key(stage.root, "1");
      key(stage.root, "0");
      expect(stage.done("choose")).toEqual([{ type: "choose", keypoint: 9 }]);
      vi.advanceTimersByTime(5000);
      expect(stage.done("choose")).toHaveLength(1);
    });

    it("another key chooses first and then does its own", () => {
      key(stage.root, "2");
      key(stage.root, "s");
      expect(stage.actions.map((a) => a.type)).toEqual(["hint", "choose", "skip"]);
      expect(stage.state.doc.cursor.keypoint).toBe(2);
    });

    it("Esc takes the digit back", () => {
      key(stage.root, "2");
      key(stage.root, "Escape");
      vi.advanceTimersByTime(5000);
      expect(stage.done("choose")).toEqual([]);
      expect(stage.state.hint).toBe("");
      expect(stage.left).toBe(0);
    });

    it("no digit acts after the end", () => {
      key(stage.root, "2");
      stage.controller.abort();
      vi.advanceTimersByTime(5000);
      expect(stage.done("choose")).toEqual([]);
    });
  });

  describe("Esc", () => {
    const pressesToLeave = () => {
      for (let n = 1; n <= 5; n++) {
        key(stage.root, "Escape");
        if (stage.left) return n;
      }
      return Number.POSITIVE_INFINITY;
    };

    it("leaves at once from rest", () => {
      expect(pressesToLeave()).toBe(1);
    });

    it("first ends what is under way, then the instance, then the focus", () => {
      restart(twoFaces());
      stage.clickAt(...stage.at(20, 15), { ctrlKey: true });
      key(stage.root, "b");
      key(stage.root, "?");
      key(stage.root, "Escape");
      expect(stage.state).toMatchObject({ selected: null, isBoxMode: false, isHelpOpen: false });
      expect(stage.state.doc.cursor.instance).toBe("f");
      key(stage.root, "Escape");
      expect(stage.state.doc.cursor.instance).toBeNull();
      expect(stage.left).toBe(0);
      key(stage.root, "Escape");
      expect(stage.left).toBe(1);
    });

    it("is no trap while another image is on its way", () => {
      restart(twoFaces());
      key(stage.root, "n");
      expect(pressesToLeave()).toBeLessThanOrEqual(3);
    });
  });
});
