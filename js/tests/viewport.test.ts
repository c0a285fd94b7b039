// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  cssTransform,
  fitImage,
  hitPoint,
  keepInSight,
  letterbox,
  MAX_SCALE,
  MIN_SCALE,
  oneToOne,
  pan,
  toImage,
  toScreen,
  type Viewport,
  zoomAbout,
} from "../src/viewport";

const number = (min: number, max: number) => fc.double({ min, max, noNaN: true });
const viewport = fc.record({
  scale: number(MIN_SCALE, MAX_SCALE),
  tx: number(-5000, 5000),
  ty: number(-5000, 5000),
});
const point = fc.record({ x: number(-3000, 9000), y: number(-3000, 9000) });
const size = fc.record({ w: number(1, 8000), h: number(1, 8000) });

/** CSS px that are no difference to anybody. */
const close = (a: { x: number; y: number }, b: { x: number; y: number }, within = 1e-6) => {
  expect(Math.abs(a.x - b.x)).toBeLessThan(within);
  expect(Math.abs(a.y - b.y)).toBeLessThan(within);
};

describe("viewport", () => {
  it("says where an image point lies, as the DOM contract does", () => {
    expect(toScreen({ scale: 2, tx: 10, ty: -5 }, { x: 3, y: 4 })).toEqual({ x: 16, y: 3 });
    expect(toImage({ scale: 2, tx: 10, ty: -5 }, { x: 16, y: 3 })).toEqual({ x: 3, y: 4 });
  });

  it("the inverse gives back the point", () => {
    fc.assert(
      fc.property(viewport, point, (v, p) => {
        close(toImage(v, toScreen(v, p)), p);
        close(toScreen(v, toImage(v, p)), p);
      }),
    );
  });

  it("zooming keeps the image point under the pointer", () => {
    fc.assert(
      fc.property(viewport, number(0.01, 100), point, (v, factor, at) => {
        const zoomed = zoomAbout(v, factor, at);
        close(toScreen(zoomed, toImage(v, at)), at, 1e-5);
        expect(zoomed.scale).toBeGreaterThanOrEqual(MIN_SCALE);
        expect(zoomed.scale).toBeLessThanOrEqual(MAX_SCALE);
      }),
    );
  });

  it("1:1 is a scale of exactly 1, about the pointer", () => {
    fc.assert(
      fc.property(viewport, point, (v, at) => {
        const one = oneToOne(v, at);
        expect(one.scale).toBe(1);
        close(toScreen(one, toImage(v, at)), at, 1e-5);
      }),
    );
  });

  it("60 notches of the wheel are more than 800 %", () => {
    let v: Viewport = { scale: 0.05, tx: 0, ty: 0 };
    for (let i = 0; i < 60; i++) v = zoomAbout(v, 1.15, { x: 100, y: 100 });
    expect(v.scale).toBeGreaterThan(8);
  });

  it("fits the whole image, centred, touching the margin on one side", () => {
    const v = fitImage({ w: 200, h: 100 }, { w: 416, h: 516 }, 8);
    // 400 px are left for 200: scale 2, and (516 - 200) / 2 above.
    expect(v).toEqual({ scale: 2, tx: 8, ty: 158 });
    fc.assert(
      fc.property(size, size, (image, stage) => {
        const { scale, tx, ty } = fitImage(image, stage, 0);
        const [w, h] = [scale * image.w, scale * image.h];
        expect(Math.max(w / stage.w, h / stage.h)).toBeCloseTo(1, 9);
        expect(tx + w / 2).toBeCloseTo(stage.w / 2, 6);
        expect(ty + h / 2).toBeCloseTo(stage.h / 2, 6);
      }),
    );
  });

  it("fits into a stage without a size and an image without one, with finite numbers", () => {
    for (const v of [
      fitImage({ w: 0, h: 0 }, { w: 300, h: 200 }),
      fitImage({ w: 9, h: 9 }, { w: 0, h: 0 }),
    ]) {
      expect(Object.values(v).every(Number.isFinite)).toBe(true);
      expect(v.scale).toBeGreaterThan(0);
    }
  });

  it("pans by what the hand moves", () => {
    expect(pan({ scale: 3, tx: 1, ty: 2 }, 10, -20)).toEqual({ scale: 3, tx: 11, ty: -18 });
  });

  it("keeps a corner of the image in sight, and leaves what is in sight alone", () => {
    const inSight = fc.tuple(viewport, size, size);
    fc.assert(
      fc.property(inSight, ([v, image, stage]) => {
        const kept = keepInSight(v, image, stage, 40);
        const [w, h] = [v.scale * image.w, v.scale * image.h];
        const left = Math.min(stage.w, kept.tx + w) - Math.max(0, kept.tx);
        const top = Math.min(stage.h, kept.ty + h) - Math.max(0, kept.ty);
        expect(left).toBeGreaterThanOrEqual(Math.min(40, w, stage.w) - 1e-6);
        expect(top).toBeGreaterThanOrEqual(Math.min(40, h, stage.h) - 1e-6);
        expect(keepInSight(kept, image, stage, 40)).toEqual(kept);
      }),
    );
    const centred = { scale: 1, tx: 50, ty: 50 };
    expect(keepInSight(centred, { w: 100, h: 100 }, { w: 200, h: 200 })).toEqual(centred);
  });

  it("letterboxes a stage into one of another shape", () => {
    // 200 x 100 into 100 x 100: half the size, 25 px above and below.
    const v = letterbox({ scale: 4, tx: 20, ty: 30 }, { w: 200, h: 100 }, { w: 100, h: 100 });
    expect(v).toEqual({ scale: 2, tx: 10, ty: 40 });
    fc.assert(
      fc.property(viewport, size, size, (old, from, to) => {
        const now = letterbox(old, from, to);
        for (const corner of [
          { x: 0, y: 0 },
          { x: from.w, y: from.h },
        ]) {
          const p = toScreen(now, toImage(old, corner));
          const slack = 1e-6 * (1 + to.w + to.h);
          expect(p.x).toBeGreaterThan(-slack);
          expect(p.y).toBeGreaterThan(-slack);
          expect(p.x).toBeLessThan(to.w + slack);
          expect(p.y).toBeLessThan(to.h + slack);
        }
        const same = letterbox(old, from, from);
        expect(same.scale).toBe(old.scale);
        close({ x: same.tx, y: same.ty }, { x: old.tx, y: old.ty }, 1e-9);
      }),
    );
  });

  it("the CSS transform takes what was painted to where it is shown", () => {
    expect(cssTransform({ scale: 1, tx: 10, ty: 20 }, { scale: 2, tx: 0, ty: 5 })).toBe(
      "translate(-20px, -35px) scale(2)",
    );
    fc.assert(
      fc.property(viewport, viewport, point, (painted, shown, p) => {
        const found = /^translate\((.+)px, (.+)px\) scale\((.+)\)$/.exec(
          cssTransform(painted, shown),
        );
        const [dx, dy, k] = (found ?? []).slice(1).map(Number) as [number, number, number];
        const on = toScreen(painted, p);
        const slack = 1e-6 * (1 + k) * 1e4;
        close({ x: dx + k * on.x, y: dy + k * on.y }, toScreen(shown, p), slack);
      }),
    );
  });
});

describe("hitPoint", () => {
  const v = { scale: 2, tx: 10, ty: 10 };

  it("measures in screen pixels", () => {
    // (20, 20) lies at (50, 50) on the screen.
    const points = [20, 20, 2];
    expect(hitPoint(v, points, { x: 58, y: 50 }, 8)).toEqual({ keypoint: 0, distance: 8 });
    expect(hitPoint(v, points, { x: 58.01, y: 50 }, 8)).toBeNull();
  });

  it("takes the nearest, and of equally near ones the later, which lies on top", () => {
    const points = [20, 20, 2, 21, 20, 2, 20, 20, 1];
    expect(hitPoint(v, points, { x: 51.5, y: 50 }, 8)?.keypoint).toBe(1);
    expect(hitPoint(v, points, { x: 50, y: 50 }, 8)?.keypoint).toBe(2);
  });

  it("does not find an unlabeled point, and finds nothing in nothing", () => {
    expect(hitPoint(v, [20, 20, 0], { x: 50, y: 50 }, 8)).toBeNull();
    expect(hitPoint(v, [], { x: 50, y: 50 }, 8)).toBeNull();
  });
});
