/** The handles of the active instance: where they are, and what a drag of one does. Pure. */

import { activeInstance, frameOf, middle, type State, type Whole } from "./state";
import { type Size, toScreen, type Viewport, type Xy } from "./viewport";

export type Handle = "move" | "scale";

/** Half of the area that takes a press, in CSS px. */
export const HANDLE_RADIUS = 12;
/** How far outside the corner of the frame a handle lies, in CSS px: not on a keypoint there. */
const OUTSIDE = 14;
/** A frame whose longer side is shorter than this has no handles, in CSS px. */
const SMALLEST = 48;
/** A keypoint nearer to the middle of a handle than this would be covered by it, in CSS px. */
const COVERED = 16;
/** Of the smallest scale that a drag makes. */
const LEAST = 0.05;

/** Where the handles lie, in CSS px of the stage, and the frame they hold, in image px. */
export interface Handles {
  readonly at: Readonly<Partial<Record<Handle, Xy>>>;
  readonly low: Xy;
  readonly high: Xy;
}

/**
 * The handles of the active instance, or null.
 *
 * It has some when it is whole, so that they are in nobody's way while it is being placed, large
 * enough on the screen, and can be changed. A handle that would cover a keypoint, of any instance,
 * is not there.
 */
export function handlesOf(state: State, v: Viewport, stage: Size): Handles | null {
  const active = activeInstance(state);
  if (!active || state.doc.cursor.keypoint !== null || active.locked || active.hidden) return null;
  if (!state.showSkeletons || state.isBoxMode || state.isWholeMode || state.whole || state.drag)
    return null;
  const frame = frameOf(active);
  if (!frame) return null;
  const [x, y, w, h] = frame;
  if (Math.max(w, h) * v.scale < SMALLEST) return null;
  const [low, high] = [
    { x, y },
    { x: x + w, y: y + h },
  ];
  const [p, q] = [toScreen(v, low), toScreen(v, high)];
  const move = inSight({ x: p.x - OUTSIDE, y: p.y - OUTSIDE }, stage);
  const scale = inSight({ x: q.x + OUTSIDE, y: q.y + OUTSIDE }, stage);
  if (!move || !scale) return null;
  const at: { move?: Xy; scale?: Xy } = {};
  if (!coversPoint(state, v, move)) at.move = move;
  if (!coversPoint(state, v, scale)) at.scale = scale;
  return { at, low, high };
}

function coversPoint(state: State, v: Viewport, at: Xy): boolean {
  return state.doc.instances.some(({ points, hidden }) => {
    if (hidden) return false;
    for (let i = 0; i < points.length; i += 3) {
      if (!points[i + 2]) continue;
      const p = toScreen(v, { x: points[i] as number, y: points[i + 1] as number });
      if (Math.hypot(p.x - at.x, p.y - at.y) < COVERED) return true;
    }
    return false;
  });
}

/** A place that is a little outside the stage is put inside; null further out. */
function inSight(at: Xy, stage: Size): Xy | null {
  const within = (value: number, most: number) =>
    Math.min(most - HANDLE_RADIUS, Math.max(HANDLE_RADIUS, value));
  const near = { x: within(at.x, stage.w), y: within(at.y, stage.h) };
  return Math.hypot(near.x - at.x, near.y - at.y) <= 3 * OUTSIDE ? near : null;
}

/** The handle under a screen position. */
export function hitHandle(handles: Handles | null, at: Xy): Handle | null {
  for (const name of ["move", "scale"] as const) {
    const place = handles?.at[name];
    if (place && Math.max(Math.abs(place.x - at.x), Math.abs(place.y - at.y)) <= HANDLE_RADIUS)
      return name;
  }
  return null;
}

/** What a drag of a handle by (dx, dy) image px does; the top left corner stays when it scales. */
export function wholeBy(state: State, handles: Handles, name: Handle, by: Xy): Whole | null {
  const active = activeInstance(state);
  const at = active && middle(active);
  if (!at) return null;
  if (name === "move") return { dx: by.x, dy: by.y, scale: 1 };
  const { low, high } = handles;
  const [w, h] = [high.x - low.x, high.y - low.y];
  // Along the diagonal: the corner follows the pointer as far as one scale for both sides can.
  const scale = Math.max(LEAST, 1 + (by.x * w + by.y * h) / (w * w + h * h));
  return { dx: (1 - scale) * (low.x - at.x), dy: (1 - scale) * (low.y - at.y), scale };
}
