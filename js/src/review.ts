/** The findings that a viewer walks through: the one that is open, and a list of which a part exists. */

import type { Review, ReviewDeed, ReviewFilter, ReviewRow, ToPython } from "./model";
import { button, h, setAttribute, setOptions, setText } from "./panel";

/** Height of a row of the list in CSS px; the same in style.css. */
const ROW = 24;
/** Rows are asked for once scrolling has rested so many milliseconds. */
const REST = 60;

const STATES = [
  ["open", "open"],
  ["decided", "decided"],
  ["all", "all"],
] as const;
const VERDICTS = { fine: "fine as it is", fixed: "fixed" } as const;
/** Keys of the list and the buttons; on the stage they are those of the key table. */
const KEYS: Record<string, ReviewDeed> = {
  j: "next",
  ArrowDown: "next",
  k: "previous",
  ArrowUp: "previous",
  a: "fine",
  d: "fixed",
  "Ctrl+z": "undo",
  "Ctrl+Shift+z": "redo",
  "Ctrl+y": "redo",
};

export interface ReviewEvents {
  send(message: ToPython): void;
  /** Gives the keyboard back to the stage. */
  focus(): void;
}

export interface ReviewPart {
  readonly element: HTMLElement;
  render(review: Review): void;
  act(deed: ReviewDeed): void;
}

export function makeReview(
  first: Review,
  client: string,
  events: ReviewEvents,
  signal: AbortSignal,
): ReviewPart {
  let review = first;
  let filter: ReviewFilter = first.filter;
  let answered = JSON.stringify(first.filter);
  let rev = 0;

  function send(deed: ReviewDeed, finding: number | null, start = review.start): void {
    rev += 1;
    events.send({ kind: "review", client, rev, do: deed, finding, filter, start });
  }
  function act(deed: ReviewDeed): void {
    const current = review.current?.id ?? null;
    const isDecision = deed === "fine" || deed === "fixed" || deed === "again";
    if (!isDecision) send(deed, null);
    else if (current !== null) send(deed, current);
  }

  const on = <K extends keyof HTMLElementEventMap>(
    element: HTMLElement,
    kind: K,
    run: (event: HTMLElementEventMap[K]) => void,
  ) => element.addEventListener(kind, run, { signal });
  const press = (element: HTMLElement, deed: () => ReviewDeed) =>
    on(element, "click", (event) => {
      act(deed());
      // Who works with the keys stays where they are.
      if (event.detail > 0) events.focus();
    });
  const wordy = (text: string, title: string) => {
    const made = h("button", { type: "button", class: "kpwidget-reset", title }, text);
    return made;
  };

  const previous = button("previous", "Previous finding (K)");
  const next = button("next", "Next finding (J)");
  press(previous, () => "previous");
  press(next, () => "next");
  const place = h("span", { class: "kpwidget-count", role: "status" });
  const chooser = (title: string, change: (value: string) => Partial<ReviewFilter>) => {
    const select = h("select", { title, "aria-label": title });
    on(select, "change", () => {
      filter = { ...filter, ...change(select.value) };
      send("list", null, 0);
    });
    on(select, "keydown", (event) => {
      if (event.key !== "Tab") event.stopPropagation();
    });
    return select;
  };
  const check = chooser("Only findings of this check", (value) => ({ check: value }));
  const severity = chooser("Only findings of this severity", (value) => ({ severity: value }));
  const which = chooser("Open, decided or all findings", (value) => ({
    state: value as ReviewFilter["state"],
  }));
  const counted = h("span", { class: "kpwidget-count" });
  const fine = wordy("Fine as it is", "It is right: not told again until its labels change (A)");
  const fixed = wordy("Fixed", "It was put right: told again if it is still found (D)");
  const again = wordy("Open again", "Take the decision back");
  const undo = button("undo", "Undo what was decided (Ctrl+Z)");
  const redo = button("redo", "Redo (Ctrl+Shift+Z)");
  press(fine, () => "fine");
  press(fixed, () => "fixed");
  press(again, () => "again");
  press(undo, () => "undo");
  press(redo, () => "redo");

  const badge = h("span", { class: "kpwidget-badge" });
  const where = h("strong", {});
  const reason = h("span", {});
  const advice = h("span", { class: "kpwidget-advice" });
  const said = h("span", { class: "kpwidget-verdict" });
  const about = h(
    "div",
    { class: "kpwidget-review-current", role: "status", "aria-live": "polite" },
    badge,
    h("span", {}, where, " ", reason, " ", advice, " ", said),
  );
  const room = h("div", { class: "kpwidget-review-room" });
  const list = h(
    "div",
    { class: "kpwidget-review-list", role: "listbox", tabindex: "0", "aria-label": "Findings" },
    room,
  );
  const element = h(
    "div",
    { class: "kpwidget-browse kpwidget-review", role: "group", "aria-label": "Findings" },
    h(
      "div",
      { class: "kpwidget-browse-row" },
      h("span", { class: "kpwidget-group" }, previous, place, next),
      h("label", {}, h("span", {}, "check"), check),
      h("label", {}, h("span", {}, "severity"), severity),
      h("label", {}, h("span", {}, "show"), which),
      counted,
      h("span", { class: "kpwidget-group kpwidget-right" }, fine, fixed, again, undo, redo),
    ),
    about,
    list,
  );
  on(element, "keydown", (event) => {
    if (event.altKey || event.target instanceof HTMLSelectElement) return;
    const isCtrl = event.ctrlKey || event.metaKey;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const shift = isCtrl && event.shiftKey ? "Shift+" : "";
    const deed = KEYS[`${isCtrl ? "Ctrl+" : ""}${shift}${key}`];
    if (event.key === "Escape" || (event.key === "Enter" && event.target === list)) events.focus();
    else if (deed) act(deed);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  const idOf = (id: number) => `kpwidget-${client}-finding-${id}`;
  const shown = new Map<number, HTMLElement>();
  function makeRow(row: ReviewRow): HTMLElement {
    const made = h("div", { class: "kpwidget-review-row", role: "option", id: idOf(row.id) });
    made.addEventListener("click", () => {
      send("open", row.id);
      events.focus();
    });
    return made;
  }
  function fillRow(made: HTMLElement, row: ReviewRow, at: number): void {
    made.style.transform = `translateY(${at * ROW}px)`;
    const isCurrent = row.id === review.current?.id;
    made.classList.toggle("is-current", isCurrent);
    setAttribute(made, "aria-selected", String(isCurrent));
    setAttribute(made, "data-severity", row.severity);
    setAttribute(made, "data-verdict", row.verdict);
    const key = JSON.stringify(row);
    if (made.dataset.row === key) return;
    made.dataset.row = key;
    made.title = [row.image, row.keypoint, row.reason].filter(Boolean).join("\n");
    const verdict = row.verdict ? VERDICTS[row.verdict] : "";
    const texts = [row.severity, row.check, placeOf(row), row.keypoint, row.reason, verdict];
    made.replaceChildren(...texts.map((text) => h("span", {}, text)));
  }
  /** File name of its image; a finding about no one image must not seem to be about the one shown. */
  const placeOf = ({ image }: ReviewRow) => image.split("/").at(-1) || "whole dataset";

  /** Places in the list that are in sight. */
  const inSight = () => ({
    from: Math.floor(list.scrollTop / ROW),
    to: Math.min(review.count, Math.ceil((list.scrollTop + list.clientHeight) / ROW)),
  });
  let timer: ReturnType<typeof setTimeout> | undefined;
  on(list, "scroll", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const { from, to } = inSight();
      const isThere = from >= review.start && to <= review.start + review.rows.length;
      if (!isThere) send("list", null, Math.max(0, from - Math.floor(review.rows.length / 3)));
    }, REST);
  });
  signal.addEventListener("abort", () => clearTimeout(timer));

  let shownAt = -2;
  let shownCurrent = -1;
  /** Scrolls to what was opened, but does not hold back who scrolls elsewhere. */
  function keepInSight(): void {
    const current = review.current?.id ?? -1;
    if (review.position === shownAt && current === shownCurrent) return;
    shownAt = review.position;
    shownCurrent = current;
    if (shownAt < 0) return;
    const top = shownAt * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW > list.scrollTop + list.clientHeight)
      list.scrollTop = top + ROW - list.clientHeight;
  }

  function renderCurrent(): void {
    const { current } = review;
    about.hidden = current === null && review.open > 0;
    badge.hidden = current === null;
    setText(badge, current?.severity ?? "");
    setAttribute(badge, "data-severity", current?.severity ?? "");
    const done = review.open === 0 ? "Every finding is decided." : "";
    const none = review.open + review.decided === 0 ? "No findings." : done;
    const parts = [current?.check, current?.keypoint, current && placeOf(current)];
    setText(where, current ? `${parts.filter(Boolean).join(", ")}:` : none);
    setText(reason, current ? `${current.reason}.` : "");
    setText(advice, current?.suggestion ? `To do: ${current.suggestion}.` : "");
    const by = current?.by ? ` by ${current.by}` : "";
    setText(said, current?.verdict ? `Called ${VERDICTS[current.verdict]}${by}.` : "");
    const whole = current ? [current.image, current.reason, current.suggestion] : [];
    about.title = whole.filter(Boolean).join("\n");
    for (const one of [fine, fixed]) one.disabled = current === null;
    setAttribute(fine, "aria-pressed", String(current?.verdict === "fine"));
    setAttribute(fixed, "aria-pressed", String(current?.verdict === "fixed"));
    again.hidden = !current?.verdict;
  }

  return {
    element,
    act,
    render(latest) {
      review = latest;
      const came = JSON.stringify(latest.filter);
      if (came !== answered) {
        answered = came;
        filter = latest.filter;
      }
      setOptions(check, [
        ["", "any"],
        ...latest.checks.map((one) => [one, one] as [string, string]),
      ]);
      setOptions(severity, [
        ["", "any"],
        ...latest.severities.map((one) => [one, one] as [string, string]),
      ]);
      setOptions(
        which,
        STATES.map(([value, text]) => [value, text] as [string, string]),
      );
      for (const [select, value] of [
        [check, filter.check],
        [severity, filter.severity],
        [which, filter.state],
      ] as const)
        if (select.value !== value) select.value = value;
      const n = latest.count.toLocaleString();
      setText(
        place,
        `${latest.position < 0 ? "–" : (latest.position + 1).toLocaleString()} / ${n}`,
      );
      const gone = latest.gone ? `, ${latest.gone.toLocaleString()} not there any more` : "";
      setText(
        counted,
        `${latest.open.toLocaleString()} open, ${latest.decided.toLocaleString()} decided${gone}`,
      );
      previous.disabled = latest.count === 0 || latest.position === 0;
      next.disabled = latest.count === 0 || latest.position === latest.count - 1;
      undo.disabled = latest.undo === "";
      redo.disabled = latest.redo === "";
      undo.title = latest.undo ? `Undo: ${latest.undo} (Ctrl+Z)` : "Undo what was decided (Ctrl+Z)";
      renderCurrent();
      list.hidden = latest.count === 0;
      setAttribute(list, "data-state", latest.filter.state);
      room.style.height = `${latest.count * ROW}px`;
      const alive = new Set(latest.rows.map(({ id }) => id));
      for (const [id, made] of shown) {
        if (alive.has(id)) continue;
        made.remove();
        shown.delete(id);
      }
      // In the page they stand as in the list: so they are read out.
      let at: ChildNode | null = room.firstChild;
      for (const [i, row] of latest.rows.entries()) {
        const made = shown.get(row.id) ?? makeRow(row);
        shown.set(row.id, made);
        if (made === at) at = at.nextSibling;
        else room.insertBefore(made, at);
        fillRow(made, row, latest.start + i);
      }
      const { current } = latest;
      if (current && shown.has(current.id))
        setAttribute(list, "aria-activedescendant", idOf(current.id));
      else list.removeAttribute("aria-activedescendant");
      keepInSight();
    },
  };
}
