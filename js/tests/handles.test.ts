// @vitest-environment node
import { describe, expect, it } from "vitest";
import { handlesOf, hitHandle, wholeBy } from "../src/handles";
import { act, start, wholeFace } from "./builders";

const STAGE = { w: 400, h: 300 };
const V = { scale: 5, tx: 10, ty: 20 };

/** A face whose points are 5 px around (30, 30), chosen and whole. */
const chosen = (more = {}) =>
  start({
    instances: [wholeFace("f", 30, 30, more)],
    cursor: { category: 0, instance: "f", keypoint: null },
  });

describe("handles", () => {
  it("lie 14 px outside the corners of the frame, which has points and box in it", () => {
    // (25, 25) is at (135, 145) on the stage, (35, 35) at (185, 195).
    expect(handlesOf(chosen(), V, STAGE)?.at).toEqual({
      move: { x: 121, y: 131 },
      scale: { x: 199, y: 209 },
    });
    const boxed = handlesOf(chosen({ bbox: [20, 26, 4, 4] }), V, STAGE);
    expect(boxed).toMatchObject({ low: { x: 20, y: 25 }, high: { x: 35, y: 35 } });
  });

  it("are there for what is whole, shown, not locked and large enough", () => {
    const of = (state: ReturnType<typeof start>, v = V) => handlesOf(state, v, STAGE) !== null;
    expect(of(chosen())).toBe(true);
    expect(of(chosen({ locked: true }))).toBe(false);
    expect(of(chosen({ hidden: true }))).toBe(false);
    expect(of(act(chosen(), { type: "choose", keypoint: 1 }))).toBe(false);
    expect(of(act(chosen(), { type: "leave" }))).toBe(false);
    expect(of(act(chosen(), { type: "toggle-skeletons" }))).toBe(false);
    expect(of(act(chosen(), { type: "whole-mode", isOn: true }))).toBe(false);
    expect(of(act(chosen(), { type: "box-mode", isOn: true }))).toBe(false);
    // 10 image px are 48 CSS px at 4.8.
    expect(of(chosen(), { ...V, scale: 4.8 })).toBe(true);
    expect(of(chosen(), { ...V, scale: 4.7 })).toBe(false);
  });

  it("are not there where they would cover a keypoint of any instance", () => {
    // The upper handle is at (121, 131), which is (22.2, 22.2) in the image.
    const at = (x: number, y: number, more = {}) =>
      handlesOf(
        start({
          instances: [wholeFace("f", 30, 30), { ...wholeFace("g", x + 5, y + 5), ...more }],
          cursor: { category: 0, instance: "f", keypoint: null },
        }),
        V,
        STAGE,
      )?.at;
    expect(Object.keys(at(60, 60) ?? {})).toEqual(["move", "scale"]);
    expect(Object.keys(at(22.2, 17.2) ?? {})).toEqual(["scale"]);
    expect(Object.keys(at(22.2, 17.2, { hidden: true }) ?? {})).toEqual(["move", "scale"]);
  });

  it("come into the stage where they lie a little outside, and are not far outside", () => {
    // The frame begins at (-5, 145): the handle would be at (-19, 131).
    expect(handlesOf(chosen(), { ...V, tx: -130 }, STAGE)?.at.move).toEqual({ x: 12, y: 131 });
    expect(handlesOf(chosen(), { ...V, tx: -180 }, STAGE)).toBeNull();
  });

  it("take a press 12 px around", () => {
    const handles = handlesOf(chosen(), V, STAGE);
    expect(hitHandle(handles, { x: 133, y: 119 })).toBe("move");
    expect(hitHandle(handles, { x: 187, y: 209 })).toBe("scale");
    expect(hitHandle(handles, { x: 134, y: 131 })).toBeNull();
    expect(hitHandle(null, { x: 121, y: 131 })).toBeNull();
  });

  it("move, and scale about the upper left corner", () => {
    const state = chosen();
    const handles = handlesOf(state, V, STAGE);
    if (!handles) throw new Error("no handles");
    const by = { x: 10, y: 10 };
    expect(wholeBy(state, handles, "move", by)).toEqual({ dx: 10, dy: 10, scale: 1 });
    // The frame of 10 x 10 becomes one of 20 x 20 from (25, 25): its middle goes from 30 to 35.
    const whole = wholeBy(state, handles, "scale", by);
    expect(whole).toEqual({ dx: 5, dy: 5, scale: 2 });
    const grown = act(state, { type: "whole", whole }, { type: "drop-whole" });
    expect(grown.doc.byUid.get("f")?.points.slice(3, 6)).toEqual([25, 35, 2]);
    expect(wholeBy(state, handles, "scale", { x: -99, y: -99 })?.scale).toBe(0.05);
  });
});
