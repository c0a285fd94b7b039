/** The list of keypoints of the designer: chosen, renamed and put in order. */

import { apply, type Design, type DesignEdit } from "./design";
import { h, scrollIntoBox, setAttribute, setText } from "./panel";

export interface ListHands {
  getDesign(): Design;
  getSelected(): string | null;
  select(id: string): void;
  /** Has a name typed in a row. */
  rename(id: string, row: HTMLElement): void;
  /** Whether no name is being typed that cannot be one. */
  isFree(): boolean;
  send(edit: DesignEdit): void;
}

export interface KeypointList {
  readonly element: HTMLElement;
  row(id: string): HTMLElement | undefined;
  render(): void;
}

export function makeKeypointList(hands: ListHands, signal: AbortSignal): KeypointList {
  const list = h("div", { class: "kpwidget-list", role: "listbox", "aria-label": "Keypoints" });
  const points = () => hands.getDesign().points;

  interface Row {
    readonly element: HTMLElement;
    readonly number: HTMLElement;
    readonly dot: HTMLElement;
    readonly label: HTMLElement;
    readonly side: HTMLElement;
  }
  const rows = new Map<string, Row>();
  let dragged: { id: string; to: number } | null = null;

  function makeRow(id: string): Row {
    const grip = h("span", { class: "kpwidget-grip", "aria-hidden": "true", title: "Drag" }, "⠿");
    const number = h("span", { class: "kpwidget-number" });
    const dot = h("span", { class: "kpwidget-dot" });
    const label = h("span", { class: "kpwidget-row-title" });
    const side = h("span", { class: "kpwidget-flag" });
    const element = h(
      "div",
      { class: "kpwidget-row", role: "option", "data-id": id },
      grip,
      number,
      dot,
      label,
      side,
    );
    element.addEventListener("click", () => hands.select(id), { signal });
    element.addEventListener("focus", () => hands.getSelected() !== id && hands.select(id), {
      signal,
    });
    element.addEventListener("dblclick", () => hands.rename(id, element), { signal });
    element.addEventListener(
      "pointerdown",
      (event) => {
        if (event.button !== 0 || !(event.target as Element).closest(".kpwidget-grip")) return;
        event.preventDefault();
        if (!hands.isFree()) return;
        hands.select(id);
        element.setPointerCapture?.(event.pointerId);
        dragged = { id, to: points().findIndex((point) => point.id === id) };
      },
      { signal },
    );
    element.addEventListener(
      "pointermove",
      (event) => {
        if (dragged?.id !== id) return;
        const others = points().filter((point) => point.id !== id);
        const above = others.filter((point) => {
          const box = rows.get(point.id)?.element.getBoundingClientRect();
          return box && event.clientY > box.top + box.height / 2;
        });
        dragged.to = above.length;
        render();
      },
      { signal },
    );
    const drop = (isTaken: boolean) => {
      const done = dragged;
      dragged = null;
      if (!done || done.id !== id) return;
      const from = points().findIndex((point) => point.id === id);
      if (isTaken && done.to !== from) hands.send({ op: "order", id, to: done.to });
      render();
    };
    element.addEventListener("pointerup", () => drop(true), { signal });
    element.addEventListener("pointercancel", () => drop(false), { signal });
    return { element, number, dot, label, side };
  }

  /** What was brought in sight last: the list may be scrolled away from it. */
  let scrolledTo = "";

  function render(): void {
    const selected = hands.getSelected();
    let shown = points();
    if (dragged) {
      const { id, to } = dragged;
      shown = apply(hands.getDesign(), { op: "order", id, to }).points;
    }
    const alive = new Set(shown.map((point) => point.id));
    for (const [id, row] of rows) {
      if (alive.has(id)) continue;
      row.element.remove();
      rows.delete(id);
    }
    const reachable = selected ?? shown[0]?.id;
    let next: ChildNode | null = list.firstChild;
    for (const [k, point] of shown.entries()) {
      const row = rows.get(point.id) ?? makeRow(point.id);
      rows.set(point.id, row);
      setAttribute(row.element, "data-keypoint", point.name);
      setAttribute(row.element, "title", point.definition || point.name);
      setAttribute(row.element, "aria-selected", String(point.id === selected));
      setAttribute(row.element, "tabindex", point.id === reachable ? "0" : "-1");
      row.element.classList.toggle("is-active", point.id === selected);
      row.element.classList.toggle("is-dragged", dragged?.id === point.id);
      setText(row.number, String(k + 1));
      setText(row.label, point.name);
      setText(row.side, point.side ?? "");
      row.dot.style.setProperty("--color", point.color);
      setAttribute(row.dot, "data-side", point.side ?? "none");
      // The row under the pointer stays where it is: moving it would let go of it.
      while (next && next !== row.element && dragged?.id === point.id) {
        const after: ChildNode | null = next.nextSibling;
        list.append(next);
        next = after;
      }
      if (row.element === next) next = next.nextSibling;
      else list.insertBefore(row.element, next);
    }
    const place = `${selected} ${shown.findIndex((point) => point.id === selected)}`;
    const chosen = selected ? rows.get(selected) : undefined;
    if (chosen && scrolledTo !== place && !dragged) scrollIntoBox(list, chosen.element);
    scrolledTo = place;
  }

  return { element: list, row: (id) => rows.get(id)?.element, render };
}
