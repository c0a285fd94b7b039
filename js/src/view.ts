/**
 * Draws on the ink canvas what is in progress. Decides nothing.
 *
 * The shapes are those of `kpwidget/widget/painter.py`, stroke for stroke: what Python has painted
 * and what the ink shows until then must look the same.
 */

import { type Handle, handlesOf } from "./handles";
import type { Category, Look, SceneInstance } from "./model";
import {
  activeInstance,
  categoryOf,
  inkPlan,
  nextName,
  type State,
  startsNewInstance,
  visibilityOf,
} from "./state";
import { type Size, toScreen, type Viewport, type Xy } from "./viewport";

type Ctx = CanvasRenderingContext2D;

const FONT = "600 12px system-ui, sans-serif";

/** Hexadecimal '#rrggbb' as ipycanvas writes its styled colours. */
export function rgba(hex: string, alpha: number): string {
  const n = Number.parseInt(hex.slice(1), 16);
  return `rgba(${(n >> 16) & 255}, ${(n >> 8) & 255}, ${n & 255}, ${alpha})`;
}

/** Path of a keypoint's marker: square on the left side, diamond on the right, circle between. */
function markerPath(
  ctx: Ctx,
  side: "left" | "right" | null,
  x: number,
  y: number,
  r: number,
): void {
  ctx.beginPath();
  if (side === "left") {
    const a = r * 0.9;
    ctx.rect(x - a, y - a, 2 * a, 2 * a);
  } else if (side === "right") {
    const a = r * 1.25;
    ctx.moveTo(x, y - a);
    ctx.lineTo(x + a, y);
    ctx.lineTo(x, y + a);
    ctx.lineTo(x - a, y);
    ctx.closePath();
  } else {
    ctx.arc(x, y, r, 0, 2 * Math.PI);
  }
}

type Mark = {
  readonly at: Xy;
  readonly side: "left" | "right" | null;
  readonly color: string;
};

/** In painter.py's order: circles, then squares, then diamonds. */
const SIDES = [null, "left", "right"] as const;

function fillMarks(ctx: Ctx, marks: readonly Mark[], radius: number, style: string | null): void {
  for (const side of SIDES) {
    for (const mark of marks) {
      if (mark.side !== side) continue;
      ctx.fillStyle = style ?? rgba(mark.color, 1);
      markerPath(ctx, side, mark.at.x, mark.at.y, radius);
      ctx.fill();
    }
  }
}

function strokeMarks(ctx: Ctx, marks: readonly Mark[], radius: number, style: string | null): void {
  for (const side of SIDES) {
    for (const mark of marks) {
      if (mark.side !== side) continue;
      ctx.strokeStyle = style ?? rgba(mark.color, 1);
      markerPath(ctx, side, mark.at.x, mark.at.y, radius);
      ctx.stroke();
    }
  }
}

/** Keypoints: filled when visible, a ring when occluded; all halos first. */
function drawMarks(
  ctx: Ctx,
  look: Look,
  visible: readonly Mark[],
  occluded: readonly Mark[],
  radius: number,
): void {
  const halo = rgba(look.halo, look.haloAlpha);
  fillMarks(ctx, visible, radius + look.haloWidth, halo);
  fillMarks(ctx, visible, radius, null);
  ctx.lineWidth = look.ringWidth + 2 * look.haloWidth;
  strokeMarks(ctx, occluded, radius, halo);
  ctx.lineWidth = look.ringWidth;
  strokeMarks(ctx, occluded, radius, null);
}

function screenPoint(v: Viewport, instance: SceneInstance, k: number): Xy {
  return toScreen(v, {
    x: instance.points[3 * k] as number,
    y: instance.points[3 * k + 1] as number,
  });
}

/** Instances as painter.py paints them on one layer: edges, boxes, keypoints. */
export function drawInstances(
  ctx: Ctx,
  look: Look,
  categories: readonly Category[],
  v: Viewport,
  instances: readonly SceneInstance[],
  isActive: boolean,
): void {
  const halo = rgba(look.halo, look.haloAlpha);
  const width = isActive ? look.activeEdgeWidth : look.edgeWidth;
  const lines: [string, Xy, Xy][] = [];
  const boxes: [string, readonly [number, number, number, number]][] = [];
  const visible: Mark[] = [];
  const occluded: Mark[] = [];
  for (const instance of instances) {
    const category = categories[instance.category];
    if (!category) continue;
    const tint = look.instanceColors[instance.ordinal % look.instanceColors.length] as string;
    for (const [a, b] of category.edges)
      if (visibilityOf(instance, a) && visibilityOf(instance, b))
        lines.push([rgba(tint, 1), screenPoint(v, instance, a), screenPoint(v, instance, b)]);
    if (instance.bbox) boxes.push([rgba(tint, 1), instance.bbox]);
    for (let k = 0; k < category.keypoints.length; k++) {
      const visibility = visibilityOf(instance, k);
      if (!visibility) continue;
      const mark: Mark = {
        at: screenPoint(v, instance, k),
        side: category.sides[k] ?? null,
        color: category.colors[k] as string,
      };
      (visibility === 1 ? occluded : visible).push(mark);
    }
  }
  // The edges of the others have no halo: see painter.py.
  for (const isHalo of isActive ? [true, false] : [false]) {
    ctx.lineWidth = isHalo ? width + 2 * look.edgeHaloWidth : width;
    for (const [tint, p, q] of lines) {
      ctx.strokeStyle = isHalo ? halo : tint;
      ctx.beginPath();
      ctx.moveTo(p.x, p.y);
      ctx.lineTo(q.x, q.y);
      ctx.stroke();
    }
  }
  for (const isHalo of [true, false]) {
    ctx.lineWidth = isHalo ? look.boxWidth + 2 * look.edgeHaloWidth : look.boxWidth;
    for (const [tint, [x, y, w, h]] of boxes) {
      const p = toScreen(v, { x, y });
      ctx.strokeStyle = isHalo ? halo : tint;
      ctx.strokeRect(p.x, p.y, w * v.scale, h * v.scale);
    }
  }
  drawMarks(ctx, look, visible, occluded, isActive ? look.activeRadius : look.radius);
}

/** Arrows as painter.py paints them: all halos first. */
function drawArrows(ctx: Ctx, look: Look, v: Viewport, arrows: readonly number[]): void {
  const lines: [Xy, Xy][] = [];
  for (let i = 0; i + 3 < arrows.length; i += 4) {
    const [x0, y0, x1, y1] = arrows.slice(i, i + 4) as [number, number, number, number];
    const from = toScreen(v, { x: x0, y: y0 });
    const to = toScreen(v, { x: x1, y: y1 });
    const length = Math.hypot(to.x - from.x, to.y - from.y);
    if (length <= 1) continue;
    const head = Math.min(look.arrowHead, 0.6 * length) / length;
    const back = { x: (to.x - from.x) * head, y: (to.y - from.y) * head };
    lines.push([from, to]);
    for (const sign of [0.45, -0.45])
      lines.push([to, { x: to.x - back.x - sign * back.y, y: to.y - back.y + sign * back.x }]);
  }
  for (const isHalo of [true, false]) {
    ctx.strokeStyle = isHalo ? rgba(look.halo, look.haloAlpha) : rgba(look.arrow, 1);
    ctx.lineWidth = look.arrowWidth + (isHalo ? 2 * look.edgeHaloWidth : 0);
    for (const [p, q] of lines) {
      ctx.beginPath();
      ctx.moveTo(p.x, p.y);
      ctx.lineTo(q.x, q.y);
      ctx.stroke();
    }
  }
}

function ring(ctx: Ctx, at: Xy, radius: number): void {
  for (const [style, width] of [
    ["rgba(0, 0, 0, 0.8)", 3.5],
    ["rgba(255, 255, 255, 1)", 1.5],
  ] as const) {
    ctx.strokeStyle = style;
    ctx.lineWidth = width;
    ctx.beginPath();
    ctx.arc(at.x, at.y, radius, 0, 2 * Math.PI);
    ctx.stroke();
  }
}

/** A broken ring around what a finding is about, also where there is no point. */
function drawTarget(ctx: Ctx, at: Xy, radius: number): void {
  for (const [style, width] of [
    ["rgba(0, 0, 0, 0.85)", 5],
    ["#ffd400", 2.5],
  ] as const) {
    ctx.strokeStyle = style;
    ctx.lineWidth = width;
    for (let quarter = 0; quarter < 4; quarter++) {
      const from = (quarter * Math.PI) / 2 + 0.35;
      ctx.beginPath();
      ctx.arc(at.x, at.y, radius, from, from + Math.PI / 2 - 0.7);
      ctx.stroke();
    }
  }
}

function drawCross(ctx: Ctx, { x, y }: Xy): void {
  for (const [style, width] of [
    ["rgba(0, 0, 0, 0.8)", 4],
    ["rgba(255, 255, 255, 1)", 1.5],
  ] as const) {
    ctx.strokeStyle = style;
    ctx.lineWidth = width;
    // Open in the middle, so that what is aimed at is seen.
    for (const [dx, dy] of [
      [1, 0],
      [-1, 0],
      [0, 1],
      [0, -1],
    ] as const) {
      ctx.beginPath();
      ctx.moveTo(x + 4 * dx, y + 4 * dy);
      ctx.lineTo(x + 16 * dx, y + 16 * dy);
      ctx.stroke();
    }
  }
}

/** What the handles show: arrows to all sides, and along the diagonal; halves of it. */
const HANDLE_LINES = {
  move: [
    [0, -6, 0, 6],
    [-6, 0, 6, 0],
    [-2, -4, 0, -6, 2, -4],
    [-2, 4, 0, 6, 2, 4],
    [-4, -2, -6, 0, -4, 2],
    [4, -2, 6, 0, 4, 2],
  ],
  scale: [
    [-4, -4, 4, 4],
    [-4, -1, -4, -4, -1, -4],
    [4, 1, 4, 4, 1, 4],
  ],
} as const;

/** The handles of the active instance, and its frame while one is pointed at. */
function drawHandles(ctx: Ctx, { state, viewport: v, handle }: InkInput, stage: Size): void {
  const handles = handlesOf(state, v, stage);
  if (!handles) return;
  if (handle) {
    const [p, q] = [toScreen(v, handles.low), toScreen(v, handles.high)];
    for (const [style, dash] of [
      ["rgba(0, 0, 0, 0.7)", []],
      ["#ffffff", [4, 4]],
    ] as const) {
      ctx.strokeStyle = style;
      ctx.lineWidth = 1.5;
      ctx.setLineDash([...dash]);
      ctx.strokeRect(p.x, p.y, q.x - p.x, q.y - p.y);
    }
    ctx.setLineDash([]);
  }
  for (const name of ["move", "scale"] as const) {
    const place = handles.at[name];
    if (!place) continue;
    const { x, y } = place;
    ctx.beginPath();
    ctx.arc(x, y, 10, 0, 2 * Math.PI);
    ctx.fillStyle = name === handle ? "#ffffff" : "rgba(255, 255, 255, 0.75)";
    ctx.fill();
    ctx.lineWidth = 1.5;
    ctx.strokeStyle = "rgba(0, 0, 0, 0.85)";
    ctx.stroke();
    for (const line of HANDLE_LINES[name]) {
      ctx.beginPath();
      for (let i = 0; i < line.length; i += 2)
        ctx.lineTo(x + (line[i] as number), y + (line[i + 1] as number));
      ctx.stroke();
    }
  }
}

function drawName(ctx: Ctx, name: string, at: Xy): void {
  ctx.lineWidth = 3;
  ctx.strokeStyle = "rgba(0, 0, 0, 0.85)";
  ctx.strokeText(name, at.x, at.y);
  ctx.fillStyle = "#ffffff";
  ctx.fillText(name, at.x, at.y);
}

export interface InkInput {
  readonly state: State;
  readonly look: Look;
  readonly viewport: Viewport;
  readonly dpr: number;
  /** Where the pointer is, in CSS px of the stage; null when it is elsewhere. */
  readonly pointer: Xy | null;
  readonly hovered: { instance: string; keypoint: number } | null;
  /** The handle under the pointer. */
  readonly handle: Handle | null;
  readonly isBlank: boolean;
  readonly isPlacing: boolean;
  /** The pointer was put there by keys: nothing else shows where it is. */
  readonly hasCross: boolean;
}

/** The keypoint under a pointer that has just been pressed. */
function markPress(ctx: Ctx, { state, look, viewport }: InkInput): void {
  const category = categoryOf(state);
  if (!category || !state.press) return;
  const next = nextName(state);
  const mark: Mark = {
    at: toScreen(viewport, state.press),
    side: category.sides[next] ?? null,
    color: category.colors[next] ?? "#ffffff",
  };
  const isRing = state.press.visibility === 1;
  drawMarks(ctx, look, isRing ? [] : [mark], isRing ? [mark] : [], look.activeRadius);
}

/**
 * Adds a press to the ink as it is: nothing else changes with it.
 *
 * With many edits unanswered the whole ink would cost more than the frame has left.
 */
export function addPress(canvas: HTMLCanvasElement, input: InkInput): void {
  const ctx = canvas.getContext("2d");
  if (!ctx) return;
  ctx.setTransform(input.dpr, 0, 0, input.dpr, 0, 0);
  ctx.lineCap = "butt";
  if (input.isPlacing) markPress(ctx, input);
}

/** Repaints the ink; returns which layers it stands in for. */
export function drawInk(
  canvas: HTMLCanvasElement,
  input: InkInput,
): { hideSkeletons: boolean; hideActive: boolean } {
  const ctx = canvas.getContext("2d");
  if (!ctx) return { hideSkeletons: false, hideActive: false };
  const { state, look, viewport: v, dpr, pointer } = input;
  ctx.setTransform(1, 0, 0, 1, 0, 0);
  ctx.clearRect(0, 0, canvas.width, canvas.height);
  ctx.setTransform(dpr, 0, 0, dpr, 0, 0);
  ctx.lineCap = "butt";
  const plan = inkPlan(state, input.isBlank);
  const activeUid = state.drag?.target.instance ?? state.doc.cursor.instance;
  if (state.showSkeletons) {
    const isActive = (instance: SceneInstance) => instance.uid === activeUid;
    const others = plan.instances.filter((instance) => !isActive(instance));
    drawInstances(ctx, look, state.categories, v, others, false);
    if (plan.hideSkeletons) drawArrows(ctx, look, v, state.scene.arrows);
    drawInstances(ctx, look, state.categories, v, plan.instances.filter(isActive), true);
  }

  const active = activeInstance(state);
  const category = categoryOf(state);
  const next = nextName(state);
  const color = category?.colors[next] ?? "#ffffff";
  const target = state.press ? toScreen(v, state.press) : pointer;
  if (category && target && input.isPlacing && !state.isBoxMode && !state.isWholeMode) {
    // Thin lines to the neighbours that are placed already.
    if (active && !startsNewInstance(state)) {
      ctx.lineWidth = 1;
      ctx.strokeStyle = rgba(color, 0.9);
      for (const [a, b] of category.edges) {
        const other = a === next ? b : b === next ? a : -1;
        if (other < 0 || !visibilityOf(active, other)) continue;
        const p = screenPoint(v, active, other);
        ctx.beginPath();
        ctx.moveTo(p.x, p.y);
        ctx.lineTo(target.x, target.y);
        ctx.stroke();
      }
    }
    markPress(ctx, input);
  }

  const focus = state.scene.focus;
  if (focus?.at) {
    const [x, y] = focus.at;
    const at = toScreen(v, { x, y });
    drawTarget(ctx, at, look.activeRadius + 11);
    const instance = focus.instance ? state.doc.byUid.get(focus.instance) : undefined;
    const name = instance && categoryOf(state, instance)?.keypoints[focus.keypoint];
    ctx.font = FONT;
    ctx.textBaseline = "middle";
    if (name && !state.showNames)
      drawName(ctx, name, { x: at.x + look.activeRadius + 16, y: at.y });
  }
  const selected = state.selected;
  const selectedInstance = selected && state.doc.byUid.get(selected.instance);
  if (selected && selectedInstance && !state.drag && state.showSkeletons) {
    if (visibilityOf(selectedInstance, selected.keypoint))
      ring(ctx, screenPoint(v, selectedInstance, selected.keypoint), look.activeRadius + 5);
  }
  const hovered = input.hovered;
  const hoveredInstance = hovered && state.doc.byUid.get(hovered.instance);
  ctx.font = FONT;
  ctx.textBaseline = "middle";
  if (hovered && hoveredInstance && !state.drag && !state.press && state.showSkeletons)
    ring(ctx, screenPoint(v, hoveredInstance, hovered.keypoint), look.activeRadius + 3.5);
  if (state.showNames && active && state.showSkeletons && !active.hidden) {
    const names = categoryOf(state, active)?.keypoints ?? [];
    for (const [k, name] of names.entries()) {
      if (!visibilityOf(active, k)) continue;
      const at = screenPoint(v, active, k);
      drawName(ctx, name, { x: at.x + look.activeRadius + 5, y: at.y });
    }
  }
  if (input.isPlacing) drawHandles(ctx, input, { w: canvas.width / dpr, h: canvas.height / dpr });
  if (input.hasCross && pointer) drawCross(ctx, pointer);
  const box = state.boxDraft;
  if (box) {
    const p = toScreen(v, { x: Math.min(box.x0, box.x1), y: Math.min(box.y0, box.y1) });
    const w = Math.abs(box.x1 - box.x0) * v.scale;
    const h = Math.abs(box.y1 - box.y0) * v.scale;
    ctx.lineWidth = 3;
    ctx.strokeStyle = "rgba(0, 0, 0, 0.7)";
    ctx.strokeRect(p.x, p.y, w, h);
    ctx.lineWidth = 1;
    ctx.strokeStyle = "#ffffff";
    ctx.strokeRect(p.x, p.y, w, h);
  }
  return plan;
}
