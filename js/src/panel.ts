/** The controls around the stage: toolbar, label stack, keypoint list, schema figure, help. */

import { KEY_TABLE, REVIEW_TABLE, VIEW_TABLE } from "./input";
import type { Browse, Category, Look, SceneFinding, SceneInstance } from "./model";
import {
  type Action,
  activeInstance,
  categoryOf,
  countLabeled,
  nextName,
  openFindings,
  type State,
  visibilityOf,
} from "./state";

const SVG = "http://www.w3.org/2000/svg";

type Attributes = Record<string, string>;

/** An element with attributes and children; text becomes text, never markup. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function svg(tag: string, attributes: Attributes = {}, ...children: Node[]): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Outlines of the icons, drawn in a box of 16 x 16. */
const ICONS = {
  previous: "M10 3 5 8l5 5",
  next: "M6 3l5 5-5 5",
  undo: "M5 3 2 6l3 3M2 6h7a4 4 0 0 1 0 8H6",
  redo: "M11 3l3 3-3 3M14 6H7a4 4 0 0 0 0 8h3",
  fit: "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4",
  one: "M3 5l2-1.5V12M11 5l2-1.5V12M8.5 6.5v.1M8.5 10v.1",
  contrast: "M8 2a6 6 0 1 0 0 12A6 6 0 1 0 8 2M8 2v12M8 5h4.5M8 8h6M8 11h4.5",
  names: "M2 4h7l5 4-5 4H2zM5 8h.1",
  skeleton: "M8 3v5M4 6h8M8 8l-3 5M8 8l3 5",
  loupe: "M6.8 2.3a4.5 4.5 0 1 0 0 9 4.5 4.5 0 1 0 0-9M10.2 10.2 14 14M6.8 4.8v4M4.8 6.8h4",
  guide: "M8 7.500v4M8 4.600v.1M2 8a6 6 0 1 0 12 0A6 6 0 1 0 2 8",
  help: "M5.5 6a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.1.9-1.1 1.8M8 12.6v.1",
  eye: "M1.5 8S4 3.8 8 3.8 14.5 8 14.5 8 12 12.2 8 12.2 1.5 8 1.5 8M8 6.2a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 1 0 0-3.6",
  eyeOff: "M2 2l12 12M1.5 8S4 3.8 8 3.8c4 0 6.500 4.2 6.500 4.2S12 12.2 8 12.2 1.500 8 1.500 8",
  lock: "M4 7h8v6H4zM5.500 7V5a2.500 2.500 0 0 1 5 0v2",
  unlock: "M4 7h8v6H4zM5.500 7V5a2.500 2.500 0 0 1 4.800-1",
  remove: "M3 4.500h10M6.500 4.500V3h3v1.500M4.500 4.500l.6 8.500h5.800l.6-8.500",
  close: "M4 4l8 8M12 4l-8 8",
  points: "M5 5.500a2 2 0 1 0 0-.1M11 11a2 2 0 1 0 0-.1",
  edges: "M4.200 11.800l7.600-7.600M3 13a1.400 1.400 0 1 0 0-.1M11.500 4a1.400 1.400 0 1 0 0-.1",
  crop: "M4.500 1.500v10h10M1.500 4.500h10v10",
  swap: "M4 3 1.500 5.500 4 8M1.500 5.500h11M12 8l2.500 2.500L12 13M14.500 10.500h-11",
  check: "M3 8.500l3.200 3.200L13 4.500",
  repair:
    "M13.400 4.300 11.200 6.600 9.400 4.800l2.200-2.300a3.500 3.500 0 0 0-4.400 4.700L2.600 11.800l1.700 1.700 4.600-4.600a3.500 3.500 0 0 0 4.500-4.600",
  error: "M5.500 2h5L14 5.500v5L10.500 14h-5L2 10.500v-5zM8 5v3.500M8 11v.1",
  warning: "M8 2 14.500 13.500h-13zM8 6.500v3.200M8 11.600v.1",
  note: "M2 8a6 6 0 1 0 12 0A6 6 0 1 0 2 8M8 7.500v4M8 4.600v.1",
  grid: "M2.500 2.500h4v4h-4zM9.500 2.500h4v4h-4zM2.500 9.500h4v4h-4zM9.500 9.500h4v4h-4z",
} as const;

function icon(name: keyof typeof ICONS): SVGElement {
  return svg(
    "svg",
    { viewBox: "0 0 16 16", width: "16", height: "16", "aria-hidden": "true" },
    svg("path", { d: ICONS[name] }),
  );
}

export function button(name: keyof typeof ICONS, title: string, className = ""): HTMLButtonElement {
  return h(
    "button",
    { type: "button", class: `kpwidget-button ${className}`, title, "aria-label": title },
    icon(name),
  );
}

/** Writes text only where it differs: untouched nodes keep their selection and cost nothing. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element: Element, name: string, value: string): void {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

const GONE = "What the journal has comes back when the cells are run again.";
const SAVED = {
  memory: "These labels live in the kernel only: write them with kpwidget.write(...).",
  changed: "Edits since the last save: Ctrl+S saves.",
  kept: "Every edit is on disk, in the journal. Ctrl+S writes the labels file, if there is one.",
  failed: "The journal cannot be written: see the notice. The labels live in the kernel only.",
  saved: "The labels are in the file (COCO keeps no marks of what is done or finished).",
} as const;

const COUNTED = "D marks an image as done. Pauses of more than two minutes do not count.";

const SEVERITIES = { error: "Error", warning: "Warning", note: "Note" } as const;

const FLAGS = ["unlabeled", "occluded", "visible"] as const;

/** The table of the keys, hidden. */
export function keyHelp(
  table: readonly { readonly keys: string; readonly does: string }[],
  close: () => void,
  onClick: (element: HTMLElement, run: () => void) => void,
): HTMLElement {
  const closeHelp = button("close", "Close (?)");
  onClick(closeHelp, close);
  const rows = table
    .filter((row) => row.keys !== "")
    .map((row) => h("div", {}, h("b", {}, row.keys), h("span", {}, row.does)));
  const box = h(
    "div",
    { class: "kpwidget-help", role: "dialog", "aria-label": "Keys" },
    h("div", { class: "kpwidget-help-head" }, h("strong", {}, "Keys and gestures"), closeHelp),
    h("div", { class: "kpwidget-keys" }, ...rows),
  );
  box.hidden = true;
  return box;
}

export interface PanelEvents {
  dispatch(action: Action): void;
  fit(): void;
  oneToOne(): void;
  /** Makes the place of a finding active, and brings it into sight. */
  showFinding(finding: SceneFinding): void;
  /** Gives the keyboard back to the stage after a click on a control. */
  focus(): void;
}

export interface Panel {
  readonly toolbar: HTMLElement;
  readonly side: HTMLElement;
  /** How many images are done, and how long the others may take; not for a viewer. */
  readonly bar: HTMLElement;
  readonly help: HTMLElement;
  /** `browse`: the list of a viewer, null for an annotator. */
  render(state: State, isBusy: boolean, browse: Browse | null): void;
}

export function makePanel(
  look: Look,
  events: PanelEvents,
  signal: AbortSignal,
  isViewer = false,
  hasFindings = false,
): Panel {
  const { dispatch } = events;
  const onClick = (element: HTMLElement, run: () => void) =>
    element.addEventListener(
      "click",
      (event) => {
        run();
        // A click by mouse hands the keyboard back; one by Enter or Space stays on the control.
        if (event.detail > 0) events.focus();
      },
      { signal },
    );

  /** A row that is chosen by a click, but on its buttons, or by Enter or Space. */
  const onChoose = (row: HTMLElement, run: () => void) => {
    row.addEventListener(
      "click",
      (event) => {
        if ((event.target as Element).closest("button")) return;
        run();
        events.focus();
      },
      { signal },
    );
    row.addEventListener(
      "keydown",
      (event) => {
        if (event.target !== row || (event.key !== "Enter" && event.key !== " ")) return;
        event.preventDefault();
        event.stopPropagation();
        run();
      },
      { signal },
    );
  };

  // -- toolbar ---------------------------------------------------------------------------------
  const category = h("select", { class: "kpwidget-category", title: "Category of new instances" });
  category.addEventListener(
    "change",
    () => {
      dispatch({ type: "category", category: Number(category.value) });
      events.focus();
    },
    { signal },
  );
  const previous = button("previous", "Previous image (P)");
  const next = button("next", "Next image (N)");
  onClick(previous, () => dispatch({ type: "goto", to: "previous" }));
  onClick(next, () => dispatch({ type: "goto", to: "next" }));
  const jump = h("input", {
    class: "kpwidget-jump",
    type: "text",
    title: "Go to an image: its number, or a part of its name, and Enter",
    "aria-label": "Go to an image: its number or a part of its name",
    spellcheck: "false",
    autocomplete: "off",
  });
  jump.addEventListener(
    "keydown",
    (event) => {
      event.stopPropagation();
      if (event.key === "Enter" && jump.value.trim()) {
        event.preventDefault();
        dispatch({ type: "goto", to: jump.value.trim() });
        events.focus();
      } else if (event.key === "Escape") {
        event.preventDefault();
        events.focus();
      }
    },
    { signal },
  );
  jump.addEventListener("focus", () => jump.select(), { signal });
  const count = h("span", { class: "kpwidget-count" });
  const name = h("span", { class: "kpwidget-name" });
  const undo = button("undo", "Undo (Ctrl+Z)");
  const redo = button("redo", "Redo (Ctrl+Shift+Z)");
  onClick(undo, () => dispatch({ type: "undo" }));
  onClick(redo, () => dispatch({ type: "redo" }));
  const fit = button("fit", "Fit the image (F)");
  const one = button("one", "One image pixel per screen pixel (0)");
  onClick(fit, events.fit);
  onClick(one, events.oneToOne);
  const skeletons = button("skeleton", "Show skeletons (H)");
  const names = button("names", "Show names (G)");
  onClick(skeletons, () => dispatch({ type: "toggle-skeletons" }));
  onClick(names, () => dispatch({ type: "toggle-names" }));
  const loupe = button("loupe", "Loupe (L)");
  onClick(loupe, () => dispatch({ type: "toggle-loupe" }));
  const guide = button("guide", "Show where the next keypoint is to be placed (I)");
  onClick(guide, () => dispatch({ type: "toggle-guide" }));
  const contrastButton = button("contrast", "Brightness and contrast");
  const range = (label: string) => {
    const input = h("input", { type: "range", min: "0.2", max: "3", step: "0.05", value: "1" });
    input.addEventListener(
      "input",
      () =>
        dispatch({
          type: "filter",
          brightness: Number(brightness.input.value),
          contrast: Number(contrast.input.value),
        }),
      { signal },
    );
    return { input, row: h("label", {}, h("span", {}, label), input) };
  };
  const brightness = range("Brightness");
  const contrast = range("Contrast");
  const reset = h("button", { type: "button", class: "kpwidget-reset" }, "Reset");
  onClick(reset, () => {
    brightness.input.value = "1";
    contrast.input.value = "1";
    dispatch({ type: "filter", brightness: 1, contrast: 1 });
  });
  const filter = h("div", { class: "kpwidget-filter" }, brightness.row, contrast.row, reset);
  filter.hidden = true;
  onClick(contrastButton, () => {
    filter.hidden = !filter.hidden;
    setAttribute(contrastButton, "aria-expanded", String(!filter.hidden));
  });
  const done = h("input", { type: "checkbox" });
  done.addEventListener(
    "change",
    () => {
      dispatch({ type: "toggle-done" });
      events.focus();
    },
    { signal },
  );
  const doneLabel = h("label", { class: "kpwidget-done" }, done, "done");
  // -- progress and pace, below everything ---------------------------------------------------------
  const progress = h("span", { class: "kpwidget-progress" });
  const pace = h("span", { class: "kpwidget-pace" });
  const bar = h(
    "div",
    {
      class: "kpwidget-bar",
      role: "progressbar",
      "aria-label": "Images done",
      "aria-valuemin": "0",
    },
    h("div", { class: "kpwidget-bar-text" }, progress, pace),
  );
  const saved = h("span", { class: "kpwidget-saved" });
  const help = button("help", "Keys (?)");
  onClick(help, () => dispatch({ type: "toggle-help" }));
  const editing = (...parts: Node[]) =>
    isViewer ? [] : [h("span", { class: "kpwidget-group" }, ...parts)];
  const toolbar = h(
    "div",
    {
      class: "kpwidget-toolbar",
      role: "toolbar",
      "aria-label": isViewer ? "Viewer" : "Annotator",
    },
    ...editing(category),
    h("span", { class: "kpwidget-group" }, previous, jump, count, next),
    name,
    ...editing(undo, redo),
    h("span", { class: "kpwidget-group" }, fit, one),
    h(
      "span",
      { class: "kpwidget-group kpwidget-popover" },
      skeletons,
      names,
      loupe,
      ...(isViewer ? [] : [guide]),
      contrastButton,
      filter,
    ),
    h(
      "span",
      { class: "kpwidget-group kpwidget-right" },
      ...(isViewer ? [] : [doneLabel]),
      saved,
      help,
    ),
  );

  // -- label stack -----------------------------------------------------------------------------
  const stack = h("div", { class: "kpwidget-stack", role: "listbox", "aria-label": "Instances" });
  const stackEmpty = h(
    "div",
    { class: "kpwidget-empty" },
    isViewer ? "No instance." : "No instance yet: click in the image.",
  );
  const stackRows = new Map<string, ReturnType<typeof makeStackRow>>();

  function makeStackRow(uid: string) {
    const swatch = h("span", { class: "kpwidget-swatch" });
    const title = h("span", { class: "kpwidget-row-title" });
    const counted = h("span", { class: "kpwidget-row-count" });
    const eye = button("eye", "Hide this instance");
    const lock = button("unlock", "Lock this instance");
    const remove = button("remove", "Remove this instance (Delete)");
    const element = h(
      "div",
      { class: "kpwidget-row", role: "option", tabindex: "0", "data-instance": uid },
      swatch,
      title,
      counted,
      eye,
      ...(isViewer ? [] : [lock, remove]),
    );
    const flags = { hidden: false, locked: false };
    onChoose(element, () => dispatch({ type: "activate", instance: uid }));
    onClick(eye, () => dispatch({ type: "flags", instance: uid, hidden: !flags.hidden }));
    onClick(lock, () => dispatch({ type: "flags", instance: uid, locked: !flags.locked }));
    onClick(remove, () => dispatch({ type: "remove", instance: uid }));
    let shownEye = "";
    let shownLock = "";
    return {
      element,
      update(instance: SceneInstance, n: number, kind: Category, isActive: boolean) {
        flags.hidden = instance.hidden;
        flags.locked = instance.locked;
        const color = look.instanceColors[instance.ordinal % look.instanceColors.length] as string;
        if (swatch.style.backgroundColor !== color) swatch.style.backgroundColor = color;
        setText(title, `${kind.name} ${n}${instance.set ? `, ${instance.set}` : ""}`);
        if (instance.note) setAttribute(element, "title", instance.note);
        setText(counted, `${countLabeled(instance)}/${kind.keypoints.length}`);
        setAttribute(element, "aria-selected", String(isActive));
        element.classList.toggle("is-active", isActive);
        element.classList.toggle("is-unfinished", !instance.finished);
        element.classList.toggle("is-hidden", instance.hidden);
        const eyeIcon = instance.hidden ? "eyeOff" : "eye";
        if (shownEye !== eyeIcon) {
          shownEye = eyeIcon;
          eye.replaceChildren(icon(eyeIcon));
          eye.title = instance.hidden ? "Show this instance" : "Hide this instance";
          eye.setAttribute("aria-label", eye.title);
        }
        const lockIcon = instance.locked ? "lock" : "unlock";
        if (shownLock !== lockIcon) {
          shownLock = lockIcon;
          lock.replaceChildren(icon(lockIcon));
          lock.title = instance.locked ? "Unlock this instance" : "Lock this instance";
          lock.setAttribute("aria-label", lock.title);
        }
      },
    };
  }

  function renderStack(state: State): void {
    const { instances } = state.doc;
    const alive = new Set(instances.map((instance) => instance.uid));
    for (const [uid, row] of stackRows) {
      if (alive.has(uid)) continue;
      row.element.remove();
      stackRows.delete(uid);
    }
    stackEmpty.hidden = instances.length > 0;
    let at: ChildNode | null = stack.firstChild;
    // Each set of a comparison is numbered apart.
    const counted = new Map<string | undefined, number>();
    for (const instance of instances) {
      const number = (counted.get(instance.set) ?? 0) + 1;
      counted.set(instance.set, number);
      const kind = state.categories[instance.category];
      if (!kind) continue;
      let row = stackRows.get(instance.uid);
      if (!row) {
        row = makeStackRow(instance.uid);
        stackRows.set(instance.uid, row);
      }
      const isActive = instance.uid === state.doc.cursor.instance;
      const wasActive = row.element.classList.contains("is-active");
      row.update(instance, number, kind, isActive);
      if (row.element !== at) stack.insertBefore(row.element, at);
      else at = at.nextSibling;
      if (isActive && !wasActive) scrollIntoBox(stack, row.element);
    }
  }

  // -- what is wrong with this image, or may be ------------------------------------------------
  const findingsHead = h("div", { class: "kpwidget-heading" });
  const findingsList = h("div", { role: "list" });
  const untold = h("div", { class: "kpwidget-untold" });
  const findingsScroll = h("div", { class: "kpwidget-found-list" }, findingsList, untold);
  const findingsBox = h(
    "section",
    { class: "kpwidget-found", "aria-label": "Findings" },
    findingsHead,
    findingsScroll,
  );
  findingsBox.hidden = true;
  // Says only how many there are, when that changes: not each reason again with each click.
  const findingsLive = h("div", {
    class: "kpwidget-hidden",
    role: "status",
    "aria-live": "polite",
  });
  const findingRows = new Map<string, ReturnType<typeof makeFindingRow>>();

  function makeFindingRow(key: string) {
    let shown: SceneFinding | null = null;
    const title = h("span", { class: "kpwidget-row-title" });
    const reason = h("div", { class: "kpwidget-reason" });
    const mark = h("span", { class: "kpwidget-severity" });
    const repair = button("repair", "");
    const fine = button("check", "Fine as it is: it is not told again until these labels change");
    const element = h(
      "div",
      { class: "kpwidget-found-row", role: "listitem", tabindex: "0", "data-finding": key },
      h("div", { class: "kpwidget-found-head" }, mark, title, repair, fine),
      reason,
    );
    onChoose(element, () => {
      if (shown) events.showFinding(shown);
    });
    onClick(repair, () => dispatch({ type: "repair", finding: key }));
    onClick(fine, () => dispatch({ type: "decide", finding: key }));
    return {
      element,
      update(finding: SceneFinding, name: string, isSelected: boolean) {
        if (shown?.severity !== finding.severity) mark.replaceChildren(icon(finding.severity));
        shown = finding;
        const text = `${SEVERITIES[finding.severity]}: ${finding.reason}`;
        setText(title, name);
        setText(reason, text);
        setAttribute(element, "data-severity", finding.severity);
        setAttribute(element, "aria-label", `${name}. ${text}. ${finding.suggestion}`);
        setAttribute(element, "title", `${text}. ${finding.suggestion}`);
        element.classList.toggle("is-active", isSelected);
        repair.hidden = finding.repair === "";
        setAttribute(repair, "title", `Repair: ${finding.repair}`);
        setAttribute(repair, "aria-label", `Repair: ${finding.repair}`);
      },
    };
  }

  /** Whether a finding is about the keypoint that is selected or, not placed, the next one. */
  function isChosen(state: State, { instance, keypoint }: SceneFinding): boolean {
    const { selected } = state;
    if (selected) return selected.instance === instance && selected.keypoint === keypoint;
    const { cursor, byUid } = state.doc;
    if (cursor.instance !== instance) return false;
    const active = byUid.get(instance);
    if (keypoint === null || !active) return keypoint === null;
    return cursor.keypoint === keypoint && visibilityOf(active, keypoint) === 0;
  }

  function renderFindings(state: State): void {
    const findings = openFindings(state);
    const keys = new Set(findings.map(({ key }) => key));
    for (const [key, row] of findingRows) {
      if (keys.has(key)) continue;
      // The keys meant for the stage would go to the notebook.
      if (row.element.contains(document.activeElement)) events.focus();
      row.element.remove();
      findingRows.delete(key);
    }
    let opened: HTMLElement | null = null;
    let at: ChildNode | null = findingsList.firstChild;
    for (const finding of findings) {
      const instance = state.doc.byUid.get(finding.instance);
      const kind = instance && state.categories[instance.category];
      if (!kind) continue;
      let row = findingRows.get(finding.key);
      if (!row) {
        row = makeFindingRow(finding.key);
        findingRows.set(finding.key, row);
      }
      const whose = `${kind.name} ${state.doc.instances.indexOf(instance) + 1}`;
      const { keypoint } = finding;
      const name = keypoint === null ? whose : `${kind.keypoints[keypoint]}, ${whose}`;
      const isActive = isChosen(state, finding);
      if (isActive && !row.element.classList.contains("is-active")) opened = row.element;
      row.update(finding, name, isActive);
      if (row.element !== at) findingsList.insertBefore(row.element, at);
      else at = at.nextSibling;
    }
    const more = state.scene.unlisted ?? 0;
    const n = findings.length + more;
    const unlisted = more > 0 ? `, the first ${findings.length} shown` : "";
    const head = `Findings (${n}${unlisted})`;
    const why = state.scene.untold ?? "";
    if (findingsHead.textContent !== head || untold.textContent !== why) {
      findingsBox.hidden = n === 0 && why === "";
      findingsHead.hidden = n === 0;
      findingsHead.textContent = head;
      untold.textContent = why;
      // There is another room for the instances now.
      const active = stackRows.get(state.doc.cursor.instance ?? "");
      if (active) scrollIntoBox(stack, active.element);
    }
    if (opened) scrollIntoBox(findingsScroll, opened);
    setText(findingsLive, n === 0 ? "" : `${n} ${n === 1 ? "finding" : "findings"} in this image.`);
  }

  // -- keypoint list ---------------------------------------------------------------------------
  const keypoints = h("div", {
    class: "kpwidget-keypoints",
    role: "listbox",
    "aria-label": "Keypoints",
  });
  let listed: Category | null = null;
  let keypointRows: { element: HTMLElement; flag: HTMLElement }[] = [];

  function renderKeypoints(state: State): void {
    const kind = categoryOf(state) ?? null;
    if (kind !== listed) {
      listed = kind;
      keypointRows = (kind?.keypoints ?? []).map((label, k) => {
        const side = kind?.sides[k] ?? "none";
        const dot = h("span", { class: "kpwidget-dot", "data-side": side });
        dot.style.setProperty("--color", kind?.colors[k] as string);
        const flag = h("span", { class: "kpwidget-flag" });
        const element = h(
          "div",
          { class: "kpwidget-row", role: "option", tabindex: "-1", "data-keypoint": label },
          h("span", { class: "kpwidget-number" }, String(k + 1)),
          dot,
          h("span", { class: "kpwidget-row-title" }, label),
          flag,
        );
        element.title = label;
        onClick(element, () => dispatch({ type: "choose", keypoint: k }));
        return { element, flag };
      });
      keypoints.replaceChildren(...keypointRows.map((row) => row.element));
    }
    const active = activeInstance(state);
    const chosen = nextName(state);
    // A viewer has no next keypoint.
    const isNew = isViewer || state.doc.cursor.keypoint === null;
    for (const [k, row] of keypointRows.entries()) {
      const visibility = active ? visibilityOf(active, k) : 0;
      const isNext = k === chosen && !isNew;
      const wasNext = row.element.classList.contains("is-next");
      setAttribute(row.element, "data-visibility", String(visibility));
      setText(row.flag, isViewer && !active ? "" : (FLAGS[visibility] ?? ""));
      setAttribute(row.element, "aria-selected", String(isNext));
      row.element.classList.toggle("is-next", isNext);
      const isSelected = state.selected?.keypoint === k;
      const wasSelected = row.element.classList.contains("is-selected");
      row.element.classList.toggle("is-selected", isSelected);
      if (isSelected && !wasSelected) scrollIntoBox(keypoints, row.element);
      if (isNext && !wasNext) scrollIntoBox(keypoints, row.element);
    }
  }

  // -- schema figure ---------------------------------------------------------------------------
  const figure = h("div", { class: "kpwidget-figure" });
  let figured: Category | null = null;
  let dots: SVGElement[] = [];

  function renderFigure(state: State): void {
    const kind = categoryOf(state) ?? null;
    if (kind !== figured) {
      figured = kind;
      dots = [];
      const root = svg("svg", {
        viewBox: "-8 -8 116 116",
        role: "img",
        "aria-label": isViewer ? "Schema" : "Schema: the next keypoint is lit",
      });
      const place = (k: number) => {
        const [x, y] = kind?.layout[k] ?? [0.5, 0.5];
        return { x: String(100 * x), y: String(100 * y) };
      };
      for (const [a, b] of kind?.edges ?? []) {
        const [p, q] = [place(a), place(b)];
        root.append(svg("line", { x1: p.x, y1: p.y, x2: q.x, y2: q.y }));
      }
      const radius = (kind?.keypoints.length ?? 0) > 40 ? "1.6" : "3";
      for (const [k, label] of (kind?.keypoints ?? []).entries()) {
        const p = place(k);
        const title = svg("title");
        title.textContent = label;
        const dot = svg("circle", { cx: p.x, cy: p.y, r: radius }, title);
        dot.style.setProperty("--color", kind?.colors[k] as string);
        dot.addEventListener(
          "click",
          () => {
            dispatch({ type: "choose", keypoint: k });
            events.focus();
          },
          { signal },
        );
        dots.push(dot);
        root.append(dot);
      }
      figure.replaceChildren(root);
    }
    const active = activeInstance(state);
    const chosen = nextName(state);
    for (const [k, dot] of dots.entries()) {
      const isPlaced = active !== null && visibilityOf(active, k) > 0;
      dot.classList.toggle("is-next", k === chosen && !isViewer);
      dot.classList.toggle(
        "is-placed",
        isPlaced && (isViewer || state.doc.cursor.keypoint !== null),
      );
    }
  }

  // -- guide: where the next keypoint is to be placed ------------------------------------------
  const guideName = h("strong", {});
  const guideText = h("span", { class: "kpwidget-guide-text" });
  const guidePicture = h("img", { alt: "" });
  const guideCard = h(
    "div",
    { class: "kpwidget-guide", "aria-live": "polite" },
    h("div", {}, guideName, guideText),
  );
  guideCard.hidden = true;

  function renderGuide(state: State): void {
    const isShown = state.showGuide && !isViewer;
    setAttribute(guide, "aria-pressed", String(isShown));
    guideCard.hidden = !isShown;
    if (!isShown) return;
    const kind = categoryOf(state);
    const next = kind?.keypoints[nextName(state)] ?? "";
    const found = kind?.guides.find((one) => one.keypoint === next);
    setAttribute(guideCard, "data-keypoint", next);
    setText(guideName, next);
    setText(guideText, found?.definition || (found ? "" : "Nothing is said of this keypoint."));
    // Checked by Python: a small PNG or JPEG.
    const picture = found?.picture ?? "";
    if (!/^data:image\/(png|jpeg);base64,/.test(picture)) guidePicture.remove();
    else {
      setAttribute(guidePicture, "src", picture);
      if (!guidePicture.parentNode) guideCard.prepend(guidePicture);
    }
  }

  function renderBar(nDone: number, count: number, words: string): void {
    setText(progress, `${nDone} of ${count} images done`);
    setText(pace, words && `· ${words}`);
    setAttribute(bar, "aria-valuemax", String(count));
    setAttribute(bar, "aria-valuenow", String(nDone));
    const all = [progress.textContent, pace.textContent].filter(Boolean).join(" ");
    setAttribute(bar, "aria-valuetext", all);
    setAttribute(bar, "title", `${all}. ${COUNTED}`);
    setAttribute(doneLabel, "title", `Image done (D): ${progress.textContent}`);
    const share = String(nDone / Math.max(1, count));
    if (bar.style.getPropertyValue("--share") !== share) bar.style.setProperty("--share", share);
  }

  const side = h(
    "div",
    { class: "kpwidget-side" },
    h("div", { class: "kpwidget-heading" }, "Instances"),
    h("div", { class: "kpwidget-stack-box" }, stack, stackEmpty, findingsBox, findingsLive),
    h("div", { class: "kpwidget-heading" }, "Keypoints"),
    keypoints,
    guideCard,
    figure,
  );

  const closeHelp = () => dispatch({ type: "toggle-help", isOpen: false });
  const viewing = hasFindings ? REVIEW_TABLE : VIEW_TABLE;
  const helpBox = keyHelp(isViewer ? viewing : KEY_TABLE, closeHelp, onClick);

  let shownCategories: readonly Category[] | null = null;
  let shownIndex = -2;

  return {
    toolbar,
    side,
    bar,
    help: helpBox,
    render(state, isBusy, browse) {
      if (shownCategories !== state.categories) {
        shownCategories = state.categories;
        category.replaceChildren(
          ...state.categories.map((kind, i) => h("option", { value: String(i) }, kind.name)),
        );
      }
      const at = String(state.doc.cursor.category);
      if (category.value !== at) category.value = at;
      category.disabled = state.categories.length < 2;
      const image = state.scene.image;
      const at0 = browse ? browse.position : (image?.position ?? image?.index ?? -1);
      const n = browse ? browse.count : (image?.count ?? 0);
      const number = at0 < 0 ? "–" : String(at0 + 1);
      if (shownIndex !== at0 || (document.activeElement !== jump && jump.value !== number)) {
        shownIndex = at0;
        jump.value = number;
      }
      setText(count, `/ ${n}`);
      setText(name, image?.name.split("/").at(-1) ?? "");
      setAttribute(
        name,
        "title",
        [image?.name ?? "", image?.note ?? ""].filter(Boolean).join("\n"),
      );
      previous.disabled = !image || at0 === 0 || n === 0;
      next.disabled = !image || at0 === n - 1 || n === 0;
      undo.disabled = state.undoStack.length === 0 && !state.scene.undo;
      redo.disabled = state.redoStack.length === 0 && !state.scene.redo;
      undo.title = state.scene.undo ? `Undo: ${state.scene.undo.label} (Ctrl+Z)` : "Undo (Ctrl+Z)";
      setAttribute(skeletons, "aria-pressed", String(state.showSkeletons));
      setAttribute(names, "aria-pressed", String(state.showNames));
      setAttribute(loupe, "aria-pressed", String(state.showLoupe));
      if (done.checked !== state.doc.isDone) done.checked = state.doc.isDone;
      const wasDone = image?.status === "done" ? 1 : 0;
      const nDone = state.scene.done + (state.doc.isDone ? 1 : 0) - wasDone;
      renderBar(nDone, image?.count ?? 0, state.scene.pace ?? "");
      const waiting = state.pending.filter((entry) => entry.version === null).length;
      const text = !state.isConnected
        ? "kernel gone"
        : isBusy
          ? `kernel busy, ${waiting} waiting`
          : state.scene.saved.text;
      setText(saved, text);
      setAttribute(saved, "title", state.isConnected ? SAVED[state.scene.saved.state] : GONE);
      setAttribute(
        saved,
        "data-state",
        state.isConnected ? (isBusy ? "busy" : state.scene.saved.state) : "gone",
      );
      if (helpBox.hidden === state.isHelpOpen) helpBox.hidden = !state.isHelpOpen;
      renderStack(state);
      renderFindings(state);
      renderKeypoints(state);
      renderFigure(state);
      renderGuide(state);
    },
  };
}

/** Scrolls inside its own box only: `scrollIntoView` would move the notebook. */
export function scrollIntoBox(box: HTMLElement, row: HTMLElement): void {
  // From the box's own top, whichever of its ancestors is positioned.
  const top = row.offsetTop - (row.offsetParent === box ? 0 : box.offsetTop);
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + row.offsetHeight > box.scrollTop + box.clientHeight)
    // Of one that is higher than the box the beginning.
    box.scrollTop = Math.min(top, top + row.offsetHeight - box.clientHeight);
}

/** The choices of a select, kept while they are the same. */
export function setOptions(element: HTMLSelectElement, options: readonly [string, string][]): void {
  const key = JSON.stringify(options);
  if (element.dataset.options === key) return;
  element.dataset.options = key;
  element.replaceChildren(...options.map(([value, text]) => h("option", { value }, text)));
}
