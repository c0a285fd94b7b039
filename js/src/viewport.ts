/** Where the image lies on the screen: pure functions, no DOM. */

/** The image point (x, y) lies at (tx + scale x, ty + scale y) CSS px from the stage's top left. */
export interface Viewport {
  readonly scale: number;
  readonly tx: number;
  readonly ty: number;
}

export interface Size {
  readonly w: number;
  readonly h: number;
}

export interface Xy {
  readonly x: number;
  readonly y: number;
}

/** Smallest and largest scale a person can reach, in CSS px per image px. */
export const MIN_SCALE = 0.02;
export const MAX_SCALE = 64;

export function toScreen(v: Viewport, p: Xy): Xy {
  return { x: v.tx + v.scale * p.x, y: v.ty + v.scale * p.y };
}

export function toImage(v: Viewport, p: Xy): Xy {
  return { x: (p.x - v.tx) / v.scale, y: (p.y - v.ty) / v.scale };
}

/** The whole image, centred, with a margin in CSS px around it. */
export function fitImage(image: Size, stage: Size, margin = 8): Viewport {
  const w = Math.max(1, stage.w - 2 * margin);
  const h = Math.max(1, stage.h - 2 * margin);
  const scale = Math.min(w / Math.max(1, image.w), h / Math.max(1, image.h));
  return {
    scale,
    tx: (stage.w - scale * image.w) / 2,
    ty: (stage.h - scale * image.h) / 2,
  };
}

/** A part of the image, centred, with a margin in CSS px around it. */
export function fitBox(
  [x, y, w, h]: readonly [number, number, number, number],
  stage: Size,
  margin = 8,
): Viewport {
  const { scale } = fitImage({ w, h }, stage, margin);
  const least = Math.min(MAX_SCALE, scale);
  return {
    scale: least,
    tx: stage.w / 2 - least * (x + w / 2),
    ty: stage.h / 2 - least * (y + h / 2),
  };
}

/** `factor` times larger, with the image point under the screen point `at` staying where it is. */
export function zoomAbout(v: Viewport, factor: number, at: Xy): Viewport {
  // A very wide image may fit at less than the smallest scale: it must not jump from there.
  const smallest = Math.min(MIN_SCALE, v.scale);
  const scale = Math.min(MAX_SCALE, Math.max(smallest, v.scale * factor));
  const k = scale / v.scale;
  return { scale, tx: at.x - (at.x - v.tx) * k, ty: at.y - (at.y - v.ty) * k };
}

/** Exactly 1 CSS px per image px, about the screen point `at`. */
export function oneToOne(v: Viewport, at: Xy): Viewport {
  const p = toImage(v, at);
  return { scale: 1, tx: at.x - p.x, ty: at.y - p.y };
}

export function pan(v: Viewport, dx: number, dy: number): Viewport {
  return { scale: v.scale, tx: v.tx + dx, ty: v.ty + dy };
}

/** At least a corner of the image stays in sight: a picture that is panned away cannot be found. */
export function keepInSight(v: Viewport, image: Size, stage: Size, corner = 40): Viewport {
  const w = v.scale * image.w;
  const h = v.scale * image.h;
  const cx = Math.min(corner, w, stage.w);
  const cy = Math.min(corner, h, stage.h);
  return {
    scale: v.scale,
    tx: Math.min(stage.w - cx, Math.max(cx - w, v.tx)),
    ty: Math.min(stage.h - cy, Math.max(cy - h, v.ty)),
  };
}

/** The viewport `v` of a stage of size `from`, letterboxed into a stage of size `to`. */
export function letterbox(v: Viewport, from: Size, to: Size): Viewport {
  const k = Math.min(to.w / from.w, to.h / from.h);
  return {
    scale: v.scale * k,
    tx: v.tx * k + (to.w - from.w * k) / 2,
    ty: v.ty * k + (to.h - from.h * k) / 2,
  };
}

/** Whether a stage of size `to` shows more of the image at `shown` than one of size `from` at `v`. */
export function showsMore(v: Viewport, from: Size, shown: Viewport, to: Size): boolean {
  const slack = 0.01 / shown.scale;
  const [a, b] = [toImage(v, { x: 0, y: 0 }), toImage(v, { x: from.w, y: from.h })];
  const [c, d] = [toImage(shown, { x: 0, y: 0 }), toImage(shown, { x: to.w, y: to.h })];
  return c.x < a.x - slack || c.y < a.y - slack || d.x > b.x + slack || d.y > b.y + slack;
}

/** Whether a labeled point is out of sight, or not `margin` CSS px inside, at the viewport `v`. */
export function reachesPast(
  v: Viewport,
  size: Size,
  points: readonly number[],
  margin: number,
): boolean {
  for (let k = 0; 3 * k < points.length; k++) {
    if (!points[3 * k + 2]) continue;
    const { x, y } = toScreen(v, { x: points[3 * k] as number, y: points[3 * k + 1] as number });
    if (x < margin || y < margin || x > size.w - margin || y > size.h - margin) return true;
  }
  return false;
}

/** The CSS transform (origin top left) that takes what was painted at `painted` to `shown`. */
export function cssTransform(painted: Viewport, shown: Viewport): string {
  const k = shown.scale / painted.scale;
  const dx = shown.tx - painted.tx * k;
  const dy = shown.ty - painted.ty * k;
  return `translate(${dx}px, ${dy}px) scale(${k})`;
}

/**
 * The labeled point nearest to a screen position, within `radius` CSS px; later ones lie on top.
 *
 * `points` is `[x, y, v, ...]` in image px; returns the keypoint's index, or -1.
 */
export function hitPoint(
  v: Viewport,
  points: readonly number[],
  at: Xy,
  radius: number,
): { keypoint: number; distance: number } | null {
  let best = -1;
  let bestDistance = radius;
  for (let k = 0; 3 * k < points.length; k++) {
    if (!points[3 * k + 2]) continue;
    const dx = v.tx + v.scale * (points[3 * k] as number) - at.x;
    const dy = v.ty + v.scale * (points[3 * k + 1] as number) - at.y;
    const distance = Math.hypot(dx, dy);
    if (distance <= bestDistance) {
      best = k;
      bestDistance = distance;
    }
  }
  return best < 0 ? null : { keypoint: best, distance: bestDistance };
}
