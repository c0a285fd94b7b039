/**
 * A schema that is being drawn: the contract with Python, and what an edit does to it. No DOM.
 *
 * Every name that crosses the wire is written here and in `kpwidget/widget/designer.py`;
 * `tests/widget/test_designer.py` compares them. Python is the truth: `apply` shows an edit until
 * Python's answer is there.
 */

import { toScreen, type Viewport, type Xy } from "./viewport";

export interface DesignPoint {
  /** What the keypoint is called on the wire, whatever its name. */
  readonly id: string;
  readonly name: string;
  /** Image pixels. */
  readonly x: number;
  readonly y: number;
  readonly color: string;
  readonly side: "left" | "right" | null;
  readonly definition: string;
}

/** What is wrong at one place of the text: line and column from 1, `start` to `end` in UTF-16. */
export interface TextProblem {
  readonly message: string;
  readonly line: number;
  readonly column: number;
  readonly start: number;
  readonly end: number;
}

/** What became of the text that the edit `seq` of the view `client` has sent. */
export interface Reading {
  readonly client: string;
  readonly seq: number;
  readonly kind: string;
  /** Names of the categories to choose from. */
  readonly choices: readonly string[];
  readonly problems: readonly TextProblem[];
}

export interface Applied {
  readonly client: string;
  readonly seq: number;
}

/** Two keypoints by their ids. */
export type Two = readonly [a: string, b: string];

export interface Design {
  /** The last edit of each view that has been taken. */
  readonly applied: readonly Applied[];
  readonly name: string;
  readonly points: readonly DesignPoint[];
  readonly edges: readonly Two[];
  /** Left and right, as the metadata has them. */
  readonly pairs: readonly Two[];
  readonly text: string;
  /** What undo would take back; empty: nothing. */
  readonly undo: string;
  readonly redo: string;
  readonly reading: Reading | null;
}

export interface Sheet {
  /** Empty for a blank sheet. */
  readonly name: string;
  readonly width: number;
  readonly height: number;
}

/** Edits of one `burst` are one step of undo. */
export type DesignEdit =
  | { op: "add"; id: string; name: string; x: number; y: number }
  | { op: "move"; id: string; x: number; y: number; burst?: string }
  | { op: "remove"; id: string }
  | { op: "rename"; id: string; name: string }
  | { op: "order"; id: string; to: number }
  | { op: "color"; id: string; color: string; burst?: string }
  | { op: "define"; id: string; text: string; burst?: string }
  /** The corners of a box in image pixels; null takes the picture away. */
  | { op: "crop"; id: string; box: readonly [number, number, number, number] | null }
  | { op: "join"; a: string; b: string }
  | { op: "part"; a: string; b: string }
  | { op: "pair"; left: string; right: string | null }
  | { op: "title"; name: string }
  | { op: "text"; text: string; choice: number | null; burst?: string }
  | { op: "undo" }
  | { op: "redo" }
  | { op: "try" };

export const DESIGN_OPS = [
  "add",
  "move",
  "remove",
  "rename",
  "order",
  "color",
  "define",
  "crop",
  "join",
  "part",
  "pair",
  "title",
  "text",
  "undo",
  "redo",
  "try",
] as const;

/** Longest text that Python reads, in characters. */
export const MAX_TEXT = 2_000_000;

/** A small picture of a keypoint, PNG or JPEG, that Python has looked at. */
export interface Reference {
  readonly id: string;
  readonly url: string;
}

export interface DesignTraits {
  design: Design;
  references: readonly Reference[];
  sheet: Sheet;
  picture: DataView | null;
  trial: string | null;
  height: number;
}

export const DESIGN_TRAITS = [
  "design",
  "references",
  "sheet",
  "picture",
  "trial",
  "height",
] as const;

const same = (one: Two, a: string, b: string) =>
  (one[0] === a && one[1] === b) || (one[0] === b && one[1] === a);

/** The drawing after an edit, as far as it can be told without Python. */
export function apply(design: Design, edit: DesignEdit): Design {
  const { points, edges, pairs } = design;
  const change = (id: string, fields: Partial<DesignPoint>): Design => ({
    ...design,
    points: points.map((point) => (point.id === id ? { ...point, ...fields } : point)),
  });
  switch (edit.op) {
    case "add": {
      if (points.some((point) => point.id === edit.id)) return design;
      const { id, name, x, y } = edit;
      const point = { id, name, x, y, color: "#888888", side: null, definition: "" };
      return { ...design, points: [...points, point] };
    }
    case "move":
      return change(edit.id, { x: edit.x, y: edit.y });
    case "rename":
      return change(edit.id, { name: edit.name });
    case "color":
      return change(edit.id, { color: edit.color });
    case "define":
      return change(edit.id, { definition: edit.text });
    case "remove": {
      const isLeft = (two: Two) => !two.includes(edit.id);
      return {
        ...design,
        points: points.filter((point) => point.id !== edit.id),
        edges: edges.filter(isLeft),
        pairs: pairs.filter(isLeft),
      };
    }
    case "order": {
      const moved = points.find((point) => point.id === edit.id);
      if (!moved) return design;
      const rest = points.filter((point) => point !== moved);
      rest.splice(edit.to, 0, moved);
      return { ...design, points: rest };
    }
    case "join":
      if (edges.some((edge) => same(edge, edit.a, edit.b))) return design;
      return { ...design, edges: [...edges, [edit.a, edit.b]] };
    case "part":
      return { ...design, edges: edges.filter((edge) => !same(edge, edit.a, edit.b)) };
    case "pair": {
      const { left, right } = edit;
      const others = pairs.filter(
        (pair) => !pair.includes(left) && !(right !== null && pair.includes(right)),
      );
      return { ...design, pairs: right === null ? others : [...others, [left, right]] };
    }
    case "title":
      return { ...design, name: edit.name };
    default:
      return design;
  }
}

/** How far a screen position is from the line between two others, in CSS px. */
export function distanceToLine(at: Xy, a: Xy, b: Xy): number {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const length = dx * dx + dy * dy;
  const t = length === 0 ? 0 : ((at.x - a.x) * dx + (at.y - a.y) * dy) / length;
  const k = Math.min(1, Math.max(0, t));
  return Math.hypot(a.x + k * dx - at.x, a.y + k * dy - at.y);
}

/** The edge nearest to a screen position, within `radius` CSS px. */
export function hitEdge(design: Design, v: Viewport, at: Xy, radius: number): Two | null {
  const places = new Map(design.points.map((point) => [point.id, toScreen(v, point)]));
  let best: Two | null = null;
  let nearest = radius;
  for (const edge of design.edges) {
    const [a, b] = [places.get(edge[0]), places.get(edge[1])];
    if (!a || !b) continue;
    const distance = distanceToLine(at, a, b);
    if (distance > nearest) continue;
    nearest = distance;
    best = edge;
  }
  return best;
}

/** A name that no keypoint has yet: the other side of one that has none, else a number. */
export function suggestName(names: readonly string[]): string {
  const known = new Set(names);
  const last = names.at(-1) ?? "";
  const other = otherSide(last);
  if (other && !known.has(other)) return other;
  for (let n = names.length + 1; ; n++) if (!known.has(`point_${n}`)) return `point_${n}`;
}

/** `left_eye` for `right_eye` and back; null for a name that says no side or several. */
export function otherSide(name: string): string | null {
  const found = [...name.matchAll(/left|right/gi)];
  const match = found.length === 1 ? found[0] : undefined;
  if (!match) return null;
  const word = match[0];
  const isLeft = word.toLowerCase() === "left";
  const plain = isLeft ? "right" : "left";
  const other =
    word === word.toUpperCase()
      ? plain.toUpperCase()
      : word[0] === word[0]?.toUpperCase()
        ? (plain[0] as string).toUpperCase() + plain.slice(1)
        : plain;
  return name.slice(0, match.index) + other + name.slice(match.index + word.length);
}

/** What is wrong with a name that is being typed; empty: nothing. */
export function troubleWithName(design: Design, id: string, name: string): string {
  if (name.trim() === "") return "A keypoint needs a name";
  if (name.length > 200) return "At most 200 characters";
  const k = design.points.findIndex((point) => point.id !== id && point.name === name);
  return k < 0 ? "" : `Keypoint ${k + 1} has this name`;
}

/** The partner of a keypoint, and on which side of the pair the keypoint stands. */
export function pairOf(design: Design, id: string): { other: string; isFirst: boolean } | null {
  for (const [a, b] of design.pairs) {
    if (a === id) return { other: b, isFirst: true };
    if (b === id) return { other: a, isFirst: false };
  }
  return null;
}

/** Pieces of the text for the marks behind the pane; overlapping problems become one mark. */
export function pieces(
  text: string,
  problems: readonly TextProblem[],
): { text: string; isMarked: boolean }[] {
  const found: { text: string; isMarked: boolean }[] = [];
  let at = 0;
  for (const { start, end } of [...problems].sort((a, b) => a.start - b.start)) {
    const from = Math.max(at, Math.min(start, text.length));
    const to = Math.min(Math.max(end, start + 1), text.length);
    if (to <= from) continue;
    if (from > at) found.push({ text: text.slice(at, from), isMarked: false });
    found.push({ text: text.slice(from, to), isMarked: true });
    at = to;
  }
  if (at < text.length) found.push({ text: text.slice(at), isMarked: false });
  return found;
}

type Box = readonly [x0: number, y0: number, x1: number, y1: number];

const overlap = (a: Box, b: Box) =>
  Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) *
  Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));

/** Side of the squares that boxes are looked up by, in CSS px: among many labels only the near. */
const CELL = 64;
/** More squares than there are in a row of any sheet. */
const ROW = 65536;

/** Calls `visit` with each square that a box reaches into. */
function eachCell([x0, y0, x1, y1]: Box, visit: (key: number, left: number, top: number) => void) {
  for (let i = Math.floor(x0 / CELL); i * CELL < x1; i++)
    for (let j = Math.floor(y0 / CELL); j * CELL < y1; j++) visit(i * ROW + j, i * CELL, j * CELL);
}

/** A label is left out where it would cover more than this of itself, unless it is wanted. */
const MOST_COVERED = 0.2;

/**
 * Top left corners of labels in CSS px: right of the point, left, below or above, whichever covers
 * the least of the dots and of the labels before it; null where there is no room.
 */
export function placeLabels(
  labels: readonly { at: Xy; width: number; isWanted: boolean }[],
  dots: readonly Box[],
  height: number,
): (Xy | null)[] {
  const taken = new Map<number, Box[]>();
  const take = (box: Box) =>
    eachCell(box, (key) => {
      const there = taken.get(key);
      if (there) there.push(box);
      else taken.set(key, [box]);
    });
  const covered = ([x0, y0, x1, y1]: Box) => {
    let sum = 0;
    eachCell([x0, y0, x1, y1], (key, left, top) => {
      const there = taken.get(key);
      if (!there) return;
      // What two boxes share is added up by squares: no part of it twice.
      const [a, b] = [Math.max(x0, left), Math.max(y0, top)];
      const part: Box = [a, b, Math.min(x1, left + CELL), Math.min(y1, top + CELL)];
      for (const other of there) sum += overlap(part, other);
    });
    return sum;
  };
  for (const dot of dots) take(dot);
  return labels.map(({ at: { x, y }, width, isWanted }) => {
    const corners: Xy[] = [
      { x: x + 13, y: y - height / 2 },
      { x: x - 13 - width, y: y - height / 2 },
      { x: x - width / 2, y: y + 9 },
      { x: x - width / 2, y: y - 9 - height },
    ];
    const boxes = corners.map((c): Box => [c.x, c.y, c.x + width, c.y + height]);
    const costs = boxes.map(covered);
    const least = Math.min(...costs);
    if (least > MOST_COVERED * width * height && !isWanted) return null;
    const best = costs.indexOf(least);
    take(boxes[best] as Box);
    return corners[best] as Xy;
  });
}
