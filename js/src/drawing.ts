/** What the sheet of the designer shows: edges, names and points as SVG. Decides nothing. */

import { type Design, placeLabels, type Two } from "./design";
import { svg } from "./panel";
import type { Xy } from "./viewport";

/** Radius of a point's mark in CSS px; more keypoints than MANY have smaller ones. */
const POINT_SIZE = 6;
const MANY = 40;
const LABEL_HEIGHT = 16;

export interface Drawing {
  readonly design: Design;
  /** Where each point is on the screen, in CSS px, by its id. */
  readonly places: ReadonlyMap<string, Xy>;
  readonly selected: string | null;
  readonly edge: Two | null;
  readonly over: string | null;
  readonly overEdge: Two | null;
  /** Whose name is being typed, in a box of its own. */
  readonly unnamed: string | null;
  /** The edge, or the box of a reference picture, that is being drawn. */
  readonly line: readonly [Xy, Xy] | null;
  readonly box: readonly [Xy, Xy] | null;
}

function line(a: Xy, b: Xy, className: string, stroke?: string): SVGElement {
  const made = svg("line", {
    class: className,
    x1: String(a.x),
    y1: String(a.y),
    x2: String(b.x),
    y2: String(b.y),
  });
  if (stroke) made.style.stroke = stroke;
  return made;
}

function marker(at: Xy, side: string | null, fill: string, r: number): SVGElement {
  const { x, y } = at;
  const a = r * (side === "left" ? 0.9 : 1.25);
  const made =
    side === "left"
      ? svg("rect", {
          x: String(x - a),
          y: String(y - a),
          width: String(2 * a),
          height: String(2 * a),
        })
      : side === "right"
        ? svg("path", { d: `M${x} ${y - a}L${x + a} ${y}L${x} ${y + a}L${x - a} ${y}Z` })
        : svg("circle", { cx: String(x), cy: String(y), r: String(r) });
  made.setAttribute("class", "kpwidget-marker");
  made.style.fill = fill;
  return made;
}

/** The names, each beside its point where it covers the least of what is there. */
function labels({ design, places, selected, over, unnamed }: Drawing): SVGElement[] {
  const isFirst = (point: { id: string }) => point.id === selected || point.id === over;
  const named = design.points.filter((point) => point.id !== unnamed);
  const shown = [...named.filter(isFirst), ...named.filter((point) => !isFirst(point))];
  const dots = [...places.values()].map(({ x, y }) => [x - 9, y - 9, x + 9, y + 9] as const);
  const spots = placeLabels(
    shown.map((point) => ({
      at: places.get(point.id) as Xy,
      width: 7.2 * point.name.length,
      isWanted: isFirst(point),
    })),
    dots,
    LABEL_HEIGHT,
  );
  return shown.flatMap((point, k) => {
    const spot = spots[k];
    if (!spot) return [];
    const label = svg("text", { x: String(spot.x), y: String(spot.y + LABEL_HEIGHT - 4) });
    label.textContent = point.name;
    return [label];
  });
}

/** Everything on the sheet, from below to above. */
export function draw(drawing: Drawing): SVGElement[] {
  const { design, places, selected, edge, over, overEdge } = drawing;
  const byId = new Map(design.points.map((point) => [point.id, point]));
  const parts: SVGElement[] = [];
  for (const two of design.edges) {
    const [a, b] = [places.get(two[0]), places.get(two[1])];
    if (!a || !b) continue;
    const isChosen = edge?.[0] === two[0] && edge[1] === two[1];
    const state = isChosen ? " is-selected" : overEdge === two ? " is-over" : "";
    parts.push(line(a, b, `kpwidget-edge-rim${state}`));
    const made = line(a, b, "kpwidget-edge", byId.get(two[1])?.color);
    made.setAttribute("data-edge", two.map((id) => byId.get(id)?.name).join(" – "));
    parts.push(made);
  }
  if (drawing.line) parts.push(line(...drawing.line, "kpwidget-edge is-drawn"));
  parts.push(...labels(drawing));
  for (const point of design.points) {
    const p = places.get(point.id) as Xy;
    if (point.id === selected || point.id === over) {
      const state = point.id === selected ? "" : " is-over";
      const place = { cx: String(p.x), cy: String(p.y), r: "11" };
      parts.push(svg("circle", { class: `kpwidget-ring${state}`, ...place }));
    }
    const size = design.points.length > MANY ? 0.6 * POINT_SIZE : POINT_SIZE;
    const made = marker(p, point.side, point.color, size);
    made.setAttribute("data-keypoint", point.name);
    parts.push(made);
  }
  if (drawing.box) {
    const [a, b] = drawing.box;
    const [x, y] = [Math.min(a.x, b.x), Math.min(a.y, b.y)];
    const [width, height] = [Math.abs(a.x - b.x), Math.abs(a.y - b.y)];
    const place = { x: String(x), y: String(y), width: String(width), height: String(height) };
    parts.push(svg("rect", { class: "kpwidget-crop-box", ...place }));
  }
  return parts;
}
