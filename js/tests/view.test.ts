import { beforeEach, describe, expect, it } from "vitest";
import type { SceneInstance } from "../src/model";
import { reduce, type State } from "../src/state";
import { drawInk, drawInstances, type InkInput, rgba } from "../src/view";
import { act, FACE, instance, LOOK, STICK, start, wholeFace } from "./builders";
import { type Drawn, RecordingContext, stubCanvas } from "./dom";

const IDENTITY = { scale: 1, tx: 0, ty: 0 };
const HALO = rgba(LOOK.halo, LOOK.haloAlpha);

/** Every fill or stroke with the path and style that it has. */
interface Stroke {
  readonly verb: string;
  readonly style: unknown;
  readonly width: unknown;
  readonly path: readonly Drawn[];
}

function strokesOf(log: readonly Drawn[]): Stroke[] {
  const found: Stroke[] = [];
  let path: Drawn[] = [];
  const style: Record<string, unknown> = {};
  for (const entry of log) {
    const [name, value] = entry;
    if (name.endsWith("=")) style[name] = value;
    else if (name === "beginPath") path = [];
    else if (name === "fill" || name === "stroke") {
      const color = style[name === "fill" ? "fillStyle=" : "strokeStyle="];
      found.push({ verb: name, style: color, width: style["lineWidth="], path });
    } else if (name === "strokeRect") {
      found.push({
        verb: name,
        style: style["strokeStyle="],
        width: style["lineWidth="],
        path: [entry],
      });
    } else path.push(entry);
  }
  return found;
}

function draw(instances: readonly SceneInstance[], isActive = false, v = IDENTITY): Stroke[] {
  const ctx = new RecordingContext();
  drawInstances(ctx as never, LOOK, [FACE, STICK], v, instances, isActive);
  return strokesOf(ctx.log);
}

describe("colours", () => {
  it("are written as ipycanvas writes them", () => {
    expect(rgba("#ff8001", 1)).toBe("rgba(255, 128, 1, 1)");
    expect(rgba("#000000", 0.7)).toBe("rgba(0, 0, 0, 0.7)");
  });
});

describe("markers", () => {
  const single = (k: number, visibility: number, isActive = false) =>
    draw([instance("f", { [k]: [10, 20, visibility] })], isActive);

  it("a visible point between the sides is a filled circle over its halo", () => {
    expect(single(0, 2)).toEqual(
      [
        {
          verb: "fill",
          style: HALO,
          width: 2,
          path: [["arc", 10, 20, 3.5 + 1.25, 0, 2 * Math.PI]],
        },
        {
          verb: "fill",
          style: rgba(FACE.colors[0] as string, 1),
          width: 2,
          path: [["arc", 10, 20, 3.5, 0, 2 * Math.PI]],
        },
      ].map((stroke) => ({ ...stroke, width: expect.any(Number) })),
    );
  });

  it("a point on the left is a square, on the right a diamond", () => {
    const [, left] = single(1, 2);
    expect(left?.path).toEqual([["rect", 10 - 3.15, 20 - 3.15, 6.3, 6.3]]);
    const [, right] = single(2, 2);
    const a = 3.5 * 1.25;
    expect(right?.path).toEqual([
      ["moveTo", 10, 20 - a],
      ["lineTo", 10 + a, 20],
      ["lineTo", 10, 20 + a],
      ["lineTo", 10 - a, 20],
      ["closePath"],
    ]);
  });

  it("an occluded point is a ring over its halo, and no fill", () => {
    const strokes = single(0, 1);
    expect(strokes.map((s) => [s.verb, s.width, s.style])).toEqual([
      ["stroke", 2 + 2 * 1.25, HALO],
      ["stroke", 2, rgba(FACE.colors[0] as string, 1)],
    ]);
  });

  it("the active instance has larger ones", () => {
    expect(single(0, 2, true)[1]?.path).toEqual([["arc", 10, 20, 5, 0, 2 * Math.PI]]);
  });

  it("keep their size on the screen at any zoom", () => {
    const [, at] = draw([instance("f", { 0: [10, 20, 2] })], false, { scale: 3, tx: 1, ty: 2 });
    expect(at?.path).toEqual([["arc", 31, 62, 3.5, 0, 2 * Math.PI]]);
  });

  it("an unlabeled point is not drawn", () => {
    expect(single(0, 0)).toEqual([]);
  });
});

describe("order", () => {
  it("all halos of one kind come before all fills: no halo covers a neighbour", () => {
    const strokes = draw([wholeFace("f", 20, 20), wholeFace("g", 22, 22, { ordinal: 1 })], true);
    const phase = (s: Stroke): string => {
      const kind = s.path[0]?.[0] === "moveTo" && s.path.length === 2 ? "edge" : "mark";
      return `${kind} ${s.verb} ${s.style === HALO ? "halo" : "color"}`;
    };
    const phases = strokes.map(phase).filter((name, i, all) => name !== all[i - 1]);
    expect(phases).toEqual([
      "edge stroke halo",
      "edge stroke color",
      "mark fill halo",
      "mark fill color",
      "mark stroke halo",
      "mark stroke color",
    ]);
  });

  it("edges have the instance's colour, and the widths of the look", () => {
    const strokes = draw([instance("g", { 0: [1, 1, 2], 1: [2, 2, 1] }, { ordinal: 1 })]);
    expect(strokes.filter((s) => s.path.length === 2).length).toBe(1);
    const [line] = strokes;
    expect(line).toMatchObject({
      style: rgba("#ff8000", 1),
      width: 2,
      path: [
        ["moveTo", 1, 1],
        ["lineTo", 2, 2],
      ],
    });
    const wide = draw([wholeFace("f", 9, 9)], true).find((s) => s.path.length === 2);
    expect(wide).toMatchObject({ style: HALO, width: 2.5 + 2 });
  });

  it("an edge needs both its ends", () => {
    const strokes = draw([instance("f", { 0: [1, 1, 2], 3: [5, 5, 2] })]);
    expect(strokes.filter((s) => s.path[0]?.[0] === "moveTo")).toEqual([]);
  });

  it("a given box lies over the edges and under the points", () => {
    const strokes = draw([wholeFace("f", 20, 20, { bbox: [5, 6, 30, 40] })], false, {
      scale: 2,
      tx: 10,
      ty: 0,
    });
    const boxes = strokes.filter((s) => s.verb === "strokeRect");
    expect(boxes.map((s) => [s.width, s.style, s.path[0]])).toEqual([
      [1.5 + 2, HALO, ["strokeRect", 20, 12, 60, 80]],
      [1.5, rgba("#0000ff", 1), ["strokeRect", 20, 12, 60, 80]],
    ]);
    const at = strokes.indexOf(boxes[0] as Stroke);
    expect(strokes.slice(0, at).every((s) => s.path.length === 2)).toBe(true);
  });

  it("colours go round when there are more instances than colours", () => {
    const strokes = draw([instance("f", { 0: [1, 1, 2], 1: [2, 2, 2] }, { ordinal: 2 })]);
    expect(strokes[0]?.style).toBe(rgba("#0000ff", 1));
  });

  it("an instance of a category that is not there is left out", () => {
    expect(draw([{ ...wholeFace("f", 9, 9), category: 9 }])).toEqual([]);
  });
});

describe("ink", () => {
  let contextOf: (canvas: HTMLCanvasElement) => RecordingContext;
  beforeEach(() => {
    contextOf = stubCanvas();
  });

  function ink(state: State, more: Partial<InkInput> = {}) {
    const canvas = document.createElement("canvas");
    const plan = drawInk(canvas, {
      state,
      look: LOOK,
      viewport: IDENTITY,
      dpr: 2,
      pointer: null,
      hovered: null,
      handle: null,
      isBlank: false,
      isPlacing: true,
      hasCross: false,
      ...more,
    });
    const { log } = contextOf(canvas);
    return { plan, log, strokes: strokesOf(log), texts: log.filter(([n]) => n === "fillText") };
  }

  const opened = (cursor = { category: 0, instance: "f" as string | null, keypoint: 1 }) =>
    start({ instances: [instance("f", { 0: [20, 15, 2], 3: [20, 25, 2] })], cursor });
  const painted = (state: State) => reduce(state, { type: "painted", scene: state.scene });

  it("wipes all of the canvas, then draws in CSS pixels", () => {
    const { log } = ink(opened());
    const setUp = log.filter(([name]) => name === "setTransform" || name === "clearRect");
    expect(setUp).toEqual([
      ["setTransform", 1, 0, 0, 1, 0, 0],
      ["clearRect", 0, 0, 300, 150],
      ["setTransform", 2, 0, 0, 2, 0, 0],
    ]);
  });

  it("draws nothing at rest where all is painted", () => {
    const { plan, strokes } = ink(painted(opened()));
    expect(plan).toMatchObject({ hideActive: false, hideSkeletons: false });
    expect(strokes).toEqual([]);
  });

  it("shows a press as the marker it will be", () => {
    const pressed = act(painted(opened()), {
      type: "press",
      press: { x: 10, y: 20, visibility: 1 },
    });
    const { strokes } = ink(pressed);
    const ring = strokes.filter((s) => s.path[0]?.[0] === "rect");
    expect(ring.map((s) => [s.verb, s.style])).toEqual([
      ["stroke", HALO],
      ["stroke", rgba(FACE.colors[1] as string, 1)],
    ]);
  });

  it("draws thin lines from the pointer to the placed neighbours", () => {
    // "left" is joined to "top" and "bottom", both placed.
    const { strokes } = ink(painted(opened()), { pointer: { x: 1, y: 2 } });
    expect(strokes.map((s) => [s.width, ...s.path])).toEqual([
      [1, ["moveTo", 20, 15], ["lineTo", 1, 2]],
      [1, ["moveTo", 20, 25], ["lineTo", 1, 2]],
    ]);
    expect(ink(painted(opened()), { pointer: { x: 1, y: 2 }, isPlacing: false }).strokes).toEqual(
      [],
    );
    const fresh = painted(opened({ category: 0, instance: null, keypoint: 0 }));
    expect(ink(fresh, { pointer: { x: 1, y: 2 } }).strokes).toEqual([]);
  });

  it("rings the hovered and the selected point", () => {
    const state = painted(opened());
    const rings = (strokes: Stroke[]) => strokes.filter((s) => s.path[0]?.[0] === "arc");
    const over = ink(state, { hovered: { instance: "f", keypoint: 0 } });
    expect(rings(over.strokes).map((s) => s.path[0]?.slice(1, 4))).toEqual([
      [20, 15, 8.5],
      [20, 15, 8.5],
    ]);
    const selected = reduce(state, { type: "select", target: { instance: "f", keypoint: 3 } });
    expect(rings(ink(selected).strokes)[0]?.path[0]?.slice(1, 4)).toEqual([20, 25, 10]);
  });

  it("writes the names of the placed points when asked, as text", () => {
    const named = act(painted(opened()), { type: "toggle-names" });
    expect(ink(named).texts.map(([, text]) => text)).toEqual(["top", "bottom"]);
    expect(ink(painted(opened())).texts).toEqual([]);
  });

  it("draws no skeleton, ring or name while skeletons are hidden", () => {
    const hidden = act(opened(), { type: "toggle-names" }, { type: "toggle-skeletons" });
    const { strokes, texts } = ink(hidden, { hovered: { instance: "f", keypoint: 0 } });
    expect([strokes, texts]).toEqual([[], []]);
  });

  it("draws the box under way from any corner", () => {
    const draft = { x0: 30, y0: 40, x1: 10, y1: 5 };
    const { strokes } = ink(act(painted(opened()), { type: "box-draft", draft }));
    expect(strokes.map((s) => s.path[0])).toEqual([
      ["strokeRect", 10, 5, 20, 35],
      ["strokeRect", 10, 5, 20, 35],
    ]);
  });

  it("draws all on a page where nothing is painted, the active one last", () => {
    const state = start({
      instances: [instance("a", { 0: [1, 1, 2] }), instance("b", { 0: [9, 9, 2] }, { ordinal: 1 })],
      cursor: { category: 0, instance: "a", keypoint: 1 },
    });
    const { plan, strokes } = ink(state, { isBlank: true });
    expect(plan).toMatchObject({ hideActive: true, hideSkeletons: true });
    expect(strokes.map((s) => s.path[0]?.slice(1, 4))).toEqual([
      [9, 9, 4.75],
      [9, 9, 3.5],
      [1, 1, 6.25],
      [1, 1, 5],
    ]);
  });
});
