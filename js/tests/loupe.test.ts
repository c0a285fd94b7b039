// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { magnification, placeLoupe } from "../src/loupe";

describe("loupe", () => {
  it("makes image pixels 8 px wide, within 4 to 8 times the stage", () => {
    expect([0.2, 1, 1.6, 2, 10].map(magnification)).toEqual([8, 8, 5, 4, 4]);
  });

  it("lies to the upper right, and on the other side near a border", () => {
    const stage = { w: 800, h: 600 };
    expect(placeLoupe({ x: 300, y: 400 }, stage)).toEqual({ x: 332, y: 235 });
    expect(placeLoupe({ x: 790, y: 400 }, stage)).toEqual({ x: 625, y: 235 });
    expect(placeLoupe({ x: 300, y: 10 }, stage)).toEqual({ x: 332, y: 3 });
  });

  it("never covers the point, and is all on the stage where that is wide enough", () => {
    const sizes = fc.record({
      w: fc.integer({ min: 335, max: 2000 }),
      h: fc.integer({ min: 200, max: 900 }),
    });
    fc.assert(
      fc.property(
        sizes,
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (stage, u, v) => {
          const at = { x: u * stage.w, y: v * stage.h };
          const { x, y } = placeLoupe(at, stage);
          expect(Math.max(x - at.x, at.x - x - 133)).toBeGreaterThan(30);
          expect(x).toBeGreaterThanOrEqual(0);
          expect(x + 133).toBeLessThanOrEqual(stage.w);
          expect(y).toBeGreaterThanOrEqual(0);
          expect(y + 133).toBeLessThanOrEqual(stage.h);
        },
      ),
    );
  });
});
