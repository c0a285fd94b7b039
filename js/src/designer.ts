/** The schema designer: a sheet to draw on, a list of keypoints, a pane with the metadata. */

import { dataUrl, randomHex } from "./bytes";
import {
  apply,
  type Design,
  type DesignEdit,
  type DesignTraits,
  hitEdge,
  otherSide,
  pairOf,
  suggestName,
  type Two,
  troubleWithName,
} from "./design";
import { draw } from "./drawing";
import { bindingOf, CLICK_SLOP, HIT_RADIUS, takesOver } from "./input";
import { makeKeypointList } from "./keypoint-list";
import { RESEND_FIRST, RESEND_MOST } from "./outbox";
import { button, h, keyHelp, setAttribute, setOptions, setText, svg } from "./panel";
import { makeTextPane } from "./text-pane";
import {
  fitImage,
  hitPoint,
  keepInSight,
  oneToOne,
  pan,
  toImage,
  toScreen,
  type Viewport,
  type Xy,
  zoomAbout,
} from "./viewport";

/** The part of anywidget's model that the designer uses. */
export interface DesignerModel {
  get<K extends keyof DesignTraits>(name: K): DesignTraits[K];
  send(content: {
    kind: "edits";
    client: string;
    base: number;
    edits: readonly (DesignEdit & { seq: number })[];
  }): void;
  on(event: "msg:custom", callback: (message: Notice) => void): void;
  on(event: string, callback: () => void): void;
  off(event: string, callback: unknown): void;
  // biome-ignore lint/suspicious/noExplicitAny: the widget manager is ipywidgets' own, untyped here
  widget_manager: any;
}

interface Notice {
  readonly kind: "notice";
  readonly level: "info" | "error";
  readonly text: string;
}

type Tool = "points" | "edges" | "crop";

/** How near the pointer must be to an edge to choose it, in CSS px. */
const EDGE_RADIUS = 5;
/** Edits unanswered for so long mean a busy kernel, in milliseconds. */
const BUSY = 1500;

interface Gesture {
  readonly kind: "press" | "move" | "edge" | "crop" | "pan";
  readonly start: Xy;
  readonly point: string | null;
  last: Xy;
  hasMoved: boolean;
  /** The press that began it: no other pointer takes part. */
  readonly by: PointerEvent;
}

export interface DesignKey {
  readonly keys: string;
  readonly does: string;
  readonly bind: readonly string[];
}

/** The order is that of the help and of docs/designer.md. */
export const DESIGN_KEYS: readonly DesignKey[] = [
  {
    keys: "click",
    does: "add a keypoint and type its name; on a point or an edge: select",
    bind: [],
  },
  { keys: "Shift+click", does: "add a keypoint on top of a point or an edge", bind: [] },
  { keys: "drag a point", does: "move it", bind: [] },
  { keys: "E", does: "draw edges, or points again", bind: ["e"] },
  { keys: "Alt+drag, drag (edges)", does: "from point to point: an edge", bind: [] },
  { keys: "double click, Enter, F2", does: "rename the keypoint", bind: ["Enter", "F2"] },
  { keys: "Delete", does: "remove the selected edge or keypoint", bind: ["Delete", "Backspace"] },
  { keys: "A", does: "add a keypoint in the middle, to be moved by arrows", bind: ["a"] },
  {
    keys: "arrows",
    does: "move the selected keypoint by 1 px (Shift: 10)",
    bind: ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].flatMap((k) => [k, `Shift+${k}`]),
  },
  {
    keys: "[ ], PageUp PageDown",
    does: "previous, next keypoint",
    bind: ["[", "]", "PageUp", "PageDown"],
  },
  { keys: "Alt+Up, Alt+Down", does: "move it up or down in the list", bind: [] },
  { keys: "C", does: "drag a box: the reference picture of the selected keypoint", bind: ["c"] },
  { keys: "Ctrl+Z", does: "undo", bind: ["Ctrl+z"] },
  { keys: "Ctrl+Shift+Z", does: "redo", bind: ["Ctrl+Shift+z", "Ctrl+y"] },
  { keys: "wheel, Ctrl+wheel, + -", does: "zoom", bind: ["+", "=", "-"] },
  { keys: "middle drag, Ctrl+drag", does: "pan", bind: [] },
  { keys: "F, 0", does: "fit the image; one image pixel per screen pixel", bind: ["f", "0"] },
  { keys: "Esc", does: "stop, select nothing; again: give up the focus", bind: ["Escape"] },
  { keys: "?", does: "this table", bind: ["?"] },
];
const BOUND: ReadonlySet<string> = new Set(DESIGN_KEYS.flatMap(({ bind }) => bind));

/** Puts a designer into `el`; returns what takes it away again. */
export function mountDesigner(model: DesignerModel, el: HTMLElement): () => void {
  const controller = new AbortController();
  const { signal } = controller;
  const client = randomHex(4);
  const sheetOf = model.get("sheet");
  const imageSize = { w: sheetOf.width, h: sheetOf.height };

  let design: Design = model.get("design");
  let pending: { seq: number; edit: DesignEdit }[] = [];
  let seq = 0;
  let acked = 0;
  let sentAt = 0;
  let wait = RESEND_FIRST;
  let oldest: number | null = null;
  let isGone = false;
  let tool: Tool = "points";
  let selected: string | null = null;
  let edge: Two | null = null;
  let viewport: Viewport = { scale: 1, tx: 0, ty: 0 };
  let isFitted = true;
  let size = { w: 0, h: 0 };
  let pointer: Xy | null = null;
  let gesture: Gesture | null = null;
  let hint = "";
  let burst = 0;
  /** Which keypoint's name is being typed. */
  let naming: string | null = null;
  /** The button was pressed here, and what it opens has not come yet. */
  let isTrying = false;

  // -- the page ----------------------------------------------------------------------------------
  const onClick = (element: HTMLElement, run: () => void) =>
    element.addEventListener("click", run, { signal });
  const title = h("input", {
    type: "text",
    class: "kpwidget-title",
    "aria-label": "Name of the schema",
    title: "Name of the schema",
    placeholder: "name of the schema",
    maxlength: "200",
    spellcheck: "false",
  });
  const toolButton = (name: "points" | "edges" | "crop", text: string) => {
    const made = button(name, text);
    made.addEventListener("click", () => setTool(tool === name ? "points" : name), { signal });
    return made;
  };
  const tools = {
    points: toolButton("points", "Points: click to add, drag to move"),
    edges: toolButton("edges", "Edges: drag from point to point (E)"),
    crop: toolButton("crop", "Reference picture of the selected keypoint: drag a box (C)"),
  };
  tools.crop.disabled = sheetOf.name === "";
  const undo = button("undo", "Undo (Ctrl+Z)");
  const redo = button("redo", "Redo (Ctrl+Shift+Z)");
  const remove = button("remove", "Remove the selected edge or keypoint (Delete)");
  const fit = button("fit", "Fit the image (F)");
  const one = button("one", "One image pixel per screen pixel (0)");
  const help = button("help", "Keys (?)");
  const tryIt = h(
    "button",
    { type: "button", class: "kpwidget-try", title: "Label this image with the schema, below" },
    "Try it",
  );
  const summary = h("span", { class: "kpwidget-count" });
  const saved = h("span", { class: "kpwidget-saved" });
  const toolbar = h(
    "div",
    { class: "kpwidget-toolbar", role: "toolbar", "aria-label": "Schema designer" },
    title,
    h("span", { class: "kpwidget-group" }, tools.points, tools.edges, tools.crop),
    h("span", { class: "kpwidget-group" }, undo, redo, remove),
    h("span", { class: "kpwidget-group" }, fit, one),
    h("span", { class: "kpwidget-group kpwidget-right" }, saved, summary, tryIt, help),
  );
  const notices = h("div", { class: "kpwidget-notices", role: "alert" });
  const picture = model.get("picture");
  const paper =
    sheetOf.name && picture
      ? h("img", { class: "kpwidget-poster", alt: "", decoding: "sync", src: dataUrl(picture) })
      : h("div", { class: "kpwidget-poster kpwidget-blank" });
  const drawing = svg("svg", { class: "kpwidget-drawing", "aria-hidden": "true" });
  const namer = h("input", {
    type: "text",
    class: "kpwidget-namer",
    "aria-label": "Name of the keypoint",
    maxlength: "200",
    spellcheck: "false",
    autocomplete: "off",
  });
  const namerTrouble = h("span", { class: "kpwidget-trouble", role: "alert" });
  const namerBox = h("div", { class: "kpwidget-namer-box" }, namer, namerTrouble);
  const invitation = h(
    "div",
    { class: "kpwidget-invitation" },
    "Click to add the first keypoint, or paste names or metadata below.",
  );
  const sheet = h("div", {
    class: "kpwidget-sheet",
    tabindex: "0",
    role: "application",
    "aria-label": "Schema drawing: press ? for the keys, Escape to leave",
    "data-lm-suppress-shortcuts": "true",
  });
  sheet.classList.toggle("is-blank", sheetOf.name === "");
  sheet.append(paper, drawing, invitation);
  const doing = h("span", { class: "kpwidget-doing" });
  const where = h("span", { class: "kpwidget-where" });

  const list = makeKeypointList(
    {
      getDesign: () => design,
      getSelected: () => selected,
      select,
      rename: startNaming,
      isFree: finishNaming,
      send,
    },
    signal,
  );

  const color = h("input", { type: "color", "aria-label": "Colour" });
  const partner = h("select", { "aria-label": "Keypoint on the other side" });
  const swap = button("swap", "Let left and right change places");
  const joinWith = h("select", { "aria-label": "Join with" });
  const definition = h("input", {
    type: "text",
    "aria-label": "Definition",
    placeholder: "where exactly, in one line",
    maxlength: "300",
  });
  const reference = h("img", { class: "kpwidget-reference", alt: "" });
  const crop = h("button", { type: "button", class: "kpwidget-reset" }, "Crop");
  const uncrop = button("remove", "Remove the reference picture");
  const detailName = h("span", { class: "kpwidget-detail-name" });
  const field = (label: string, ...parts: Node[]) =>
    h("div", { class: "kpwidget-field" }, h("span", {}, label), ...parts);
  const details = h(
    "fieldset",
    { class: "kpwidget-details", "aria-label": "The selected keypoint" },
    h("div", { class: "kpwidget-field" }, detailName, color),
    field("Mirrors", partner, swap),
    field("Edge to", joinWith),
    field("Definition", definition),
    field("Picture", reference, crop, uncrop),
  );

  const textPane = makeTextPane(
    {
      client,
      getDesign: () => design,
      send,
      newBurst: () => `text-${client}-${++burst}`,
      leave: () => sheet.focus({ preventScroll: true }),
    },
    signal,
  );
  const helpBox = keyHelp(DESIGN_KEYS, toggleHelp, onClick);
  const frame = h(
    "div",
    { class: "kpwidget kpwidget-designer", "data-lm-suppress-shortcuts": "true" },
    toolbar,
    notices,
    h(
      "div",
      { class: "kpwidget-body" },
      h(
        "div",
        { class: "kpwidget-main" },
        sheet,
        h("div", { class: "kpwidget-status" }, doing, where),
      ),
      h(
        "div",
        { class: "kpwidget-side" },
        h("div", { class: "kpwidget-heading" }, "Keypoints"),
        list.element,
        h("div", { class: "kpwidget-heading" }, "Selected"),
        details,
      ),
    ),
    h("div", { class: "kpwidget-heading" }, "Metadata"),
    textPane.element,
    helpBox,
  );
  const trialBox = h("div", { class: "kpwidget-trial" });
  el.classList.add("kpwidget-host");
  el.append(frame, trialBox);

  // -- edits ---------------------------------------------------------------------------------------
  function send(edit: DesignEdit): number {
    seq += 1;
    pending.push({ seq, edit });
    oldest ??= performance.now();
    deliver(pending.slice(-1));
    refresh();
    return seq;
  }

  function deliver(edits: typeof pending): void {
    sentAt = performance.now();
    try {
      const body = edits.map((one) => ({ ...one.edit, seq: one.seq }));
      model.send({ kind: "edits", client, base: acked, edits: body });
    } catch {
      // The comm is gone with its kernel.
      isGone = true;
    }
  }

  const timer = setInterval(() => {
    if (pending.length > 0 && !isGone && performance.now() - sentAt > wait) {
      // Ever more rarely: all that is sent to a busy kernel waits there.
      wait = Math.min(2 * wait, RESEND_MOST);
      deliver(pending);
    }
    renderSaved();
  }, 500);

  function onDesign(): void {
    const known = model.get("design").applied.find((one) => one.client === client)?.seq ?? 0;
    if (known > acked) {
      acked = known;
      wait = RESEND_FIRST;
      oldest = performance.now();
    }
    pending = pending.filter((one) => one.seq > acked);
    if (pending.length === 0) oldest = null;
    refresh();
  }

  function refresh(): void {
    design = pending.reduce((so, { edit }) => apply(so, edit), model.get("design"));
    const ids = new Set(design.points.map((point) => point.id));
    if (selected && !ids.has(selected)) selected = null;
    if (naming && !ids.has(naming)) stopNaming();
    const kept = edge;
    if (kept && !design.edges.some(([a, b]) => a === kept[0] && b === kept[1])) edge = null;
    render();
  }

  const pointOf = (id: string | null) => design.points.find((point) => point.id === id);
  const nameOf = (id: string) => pointOf(id)?.name ?? "";

  function setTool(next: Tool): void {
    if (next === "crop" && !selected) {
      setHint("Select a keypoint first: the picture is for that one.");
      return;
    }
    tool = next;
    hint = "";
    render();
  }

  function setHint(text: string): void {
    hint = text;
    renderStatus();
  }

  function select(id: string | null): void {
    if (id !== selected) burst += 1;
    selected = id;
    edge = null;
    render();
  }

  function removeSelected(): void {
    if (edge) send({ op: "part", a: edge[0], b: edge[1] });
    else if (selected) {
      const k = design.points.findIndex((point) => point.id === selected);
      const next = design.points[k + 1] ?? design.points[k - 1];
      const gone = selected;
      selected = next?.id ?? null;
      send({ op: "remove", id: gone });
    }
  }

  function addPoint(at: Xy): void {
    const id = `${client}-${seq + 1}`;
    const name = suggestName(design.points.map((point) => point.name));
    selected = id;
    edge = null;
    send({ op: "add", id, name, x: at.x, y: at.y });
    startNaming(id, sheet);
  }

  function step(by: number): void {
    const n = design.points.length;
    if (n === 0) return;
    const k = design.points.findIndex((point) => point.id === selected);
    const next = k < 0 ? (by > 0 ? 0 : n - 1) : Math.min(n - 1, Math.max(0, k + by));
    select(design.points[next]?.id ?? null);
  }

  function reorder(by: number): void {
    const k = design.points.findIndex((point) => point.id === selected);
    const to = k + by;
    if (k < 0 || to < 0 || to >= design.points.length || !selected) return;
    send({ op: "order", id: selected, to });
  }

  // -- names -----------------------------------------------------------------------------------------
  function startNaming(id: string, host: HTMLElement): void {
    if (!finishNaming()) return;
    const point = pointOf(id);
    if (!point) return;
    naming = id;
    namer.value = point.name;
    checkName();
    host.append(namerBox);
    render();
    namer.focus({ preventScroll: true });
    namer.select();
  }

  function checkName(): boolean {
    const trouble = naming ? troubleWithName(design, naming, namer.value) : "";
    setText(namerTrouble, trouble);
    namerTrouble.hidden = trouble === "";
    setAttribute(namer, "aria-invalid", String(trouble !== ""));
    return trouble === "";
  }

  /** Takes the name that is typed; false if it cannot be one: then it stays to be mended. */
  function finishNaming(): boolean {
    if (!naming) return true;
    const [id, name] = [naming, namer.value.trim()];
    if (!checkName()) {
      namer.focus({ preventScroll: true });
      return false;
    }
    stopNaming();
    if (name !== nameOf(id)) send({ op: "rename", id, name });
    return true;
  }

  function stopNaming(): void {
    naming = null;
    namerBox.remove();
    render();
  }

  namer.addEventListener("input", checkName, { signal });
  namer.addEventListener(
    "keydown",
    (event) => {
      event.stopPropagation();
      if (event.isComposing) return;
      const isInList = list.element.contains(namerBox);
      const id = naming;
      if (event.key === "Enter") {
        event.preventDefault();
        if (finishNaming()) back();
      } else if (event.key === "Escape") {
        event.preventDefault();
        stopNaming();
        back();
      } else if (event.key === "Tab") checkName();
      function back(): void {
        if (isInList && id) list.row(id)?.focus({ preventScroll: true });
        else sheet.focus({ preventScroll: true });
      }
    },
    { signal },
  );
  namer.addEventListener(
    "blur",
    () => {
      // What cannot be a name stays there with the reason, and keeps nobody from leaving.
      if (naming && checkName()) finishNaming();
    },
    { signal },
  );
  for (const type of ["pointerdown", "dblclick", "click"] as const)
    namerBox.addEventListener(type, (event) => event.stopPropagation(), { signal });

  // -- the sheet -------------------------------------------------------------------------------------
  const at = (event: { clientX: number; clientY: number }): Xy => {
    const box = sheet.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  function under(screen: Xy): string | null {
    const flat = design.points.flatMap(({ x, y }) => [x, y, 2]);
    const found = hitPoint(viewport, flat, screen, HIT_RADIUS + 2);
    return found ? (design.points[found.keypoint]?.id ?? null) : null;
  }

  const within = (p: Xy): Xy => ({
    x: Math.min(imageSize.w, Math.max(0, p.x)),
    y: Math.min(imageSize.h, Math.max(0, p.y)),
  });

  /** Whether something is under way that another pointer began. */
  const isOthers = (event: PointerEvent) =>
    gesture !== null && gesture.by.pointerId !== event.pointerId;

  sheet.addEventListener(
    "pointerdown",
    (event) => {
      if (gesture && takesOver(event, gesture.by)) gesture = null;
      if (event.button > 1 || gesture) return;
      event.preventDefault();
      const start = at(event);
      pointer = start;
      if (!finishNaming()) return;
      sheet.focus({ preventScroll: true });
      hint = "";
      const point = under(start);
      const isPan = event.button === 1 || event.ctrlKey || event.metaKey;
      const kind = isPan
        ? "pan"
        : tool === "crop"
          ? "crop"
          : point && (tool === "edges" || event.altKey)
            ? "edge"
            : point && !event.shiftKey
              ? "move"
              : "press";
      gesture = { kind, start, point, last: start, hasMoved: false, by: event };
      sheet.setPointerCapture?.(event.pointerId);
      if (kind === "move" || kind === "edge") select(point);
      render();
    },
    { signal },
  );
  sheet.addEventListener(
    "pointermove",
    (event) => {
      if (isOthers(event)) return;
      pointer = at(event);
      if (gesture) {
        const moved = Math.hypot(pointer.x - gesture.start.x, pointer.y - gesture.start.y);
        if (moved > CLICK_SLOP) gesture.hasMoved = true;
        if (gesture.kind === "pan")
          setViewport(pan(viewport, pointer.x - gesture.last.x, pointer.y - gesture.last.y));
        gesture.last = pointer;
      }
      const now = pointedAt();
      const isSame = now.over === drawn.over && now.overEdge === drawn.overEdge;
      // Of a large schema a drawing takes long: not for each move over nothing.
      if (gesture ? gesture.kind !== "pan" : !isSame) renderDrawing();
      renderStatus();
    },
    { signal },
  );
  sheet.addEventListener(
    "pointerup",
    (event) => {
      if (!isOthers(event)) finish(at(event), event.shiftKey);
    },
    { signal },
  );
  sheet.addEventListener(
    "pointercancel",
    (event) => {
      if (isOthers(event)) return;
      gesture = null;
      render();
    },
    { signal },
  );
  sheet.addEventListener(
    "pointerleave",
    () => {
      pointer = null;
      renderDrawing();
      renderStatus();
    },
    { signal },
  );
  sheet.addEventListener(
    "dblclick",
    (event) => {
      const id = under(at(event));
      if (id && naming !== id) startNaming(id, sheet);
    },
    { signal },
  );

  function finish(end: Xy, isOver: boolean): void {
    const done = gesture;
    gesture = null;
    if (!done) return;
    const to = toImage(viewport, end);
    if (done.kind === "move" && done.point && done.hasMoved) {
      const from = pointOf(done.point);
      const grabbed = toImage(viewport, done.start);
      if (from) {
        // The point keeps its place under the pointer.
        const { x, y } = within({ x: from.x + to.x - grabbed.x, y: from.y + to.y - grabbed.y });
        send({ op: "move", id: from.id, x, y });
      } else hint = "This keypoint has been removed meanwhile.";
    } else if (done.kind === "edge" && done.point) {
      const target = under(end);
      if (target && target !== done.point) send({ op: "join", a: done.point, b: target });
      else if (done.hasMoved) hint = "An edge ends on another point: nothing was drawn.";
    } else if (done.kind === "crop" && selected) {
      const [a, b] = [within(toImage(viewport, done.start)), within(to)];
      if (done.hasMoved) {
        const box = [
          Math.min(a.x, b.x),
          Math.min(a.y, b.y),
          Math.max(a.x, b.x),
          Math.max(a.y, b.y),
        ] as const;
        send({ op: "crop", id: selected, box });
        tool = "points";
      } else hint = "Drag a box around the keypoint.";
    } else if (done.kind === "press") press(done, isOver);
    render();
  }

  function press(done: Gesture, isOver: boolean): void {
    if (done.hasMoved) {
      hint = "A drag that begins on no point does nothing; Ctrl+drag pans.";
      return;
    }
    const on = hitEdge(design, viewport, done.start, EDGE_RADIUS);
    const p = toImage(viewport, done.start);
    const isInside = p.x >= 0 && p.y >= 0 && p.x <= imageSize.w && p.y <= imageSize.h;
    if (on && !isOver) {
      selected = null;
      edge = on;
    } else if (tool === "edges") select(null);
    else if (isInside) addPoint(p);
    else hint = "Outside of the image: nothing was added.";
  }

  sheet.addEventListener(
    "wheel",
    (event) => {
      const isFocused = sheet.contains(sheet.ownerDocument.activeElement);
      if (!isFocused && !event.ctrlKey) return;
      event.preventDefault();
      event.stopPropagation();
      const delta = Math.max(-300, Math.min(300, event.deltaY * (event.deltaMode === 1 ? 33 : 1)));
      setViewport(zoomAbout(viewport, 1.15 ** (-delta / 100), at(event)));
    },
    { signal, passive: false },
  );

  function setViewport(next: Viewport): void {
    isFitted = false;
    viewport = keepInSight(next, imageSize, size);
    render();
  }

  function fitNow(): void {
    isFitted = true;
    viewport = fitImage(imageSize, size);
    render();
  }

  const middle = (): Xy => pointer ?? { x: size.w / 2, y: size.h / 2 };
  const observer = new ResizeObserver(() => measure());
  observer.observe(sheet);
  function measure(): void {
    const next = { w: sheet.clientWidth, h: sheet.clientHeight };
    if (next.w === size.w && next.h === size.h) return;
    size = next;
    if (isFitted) fitNow();
    else setViewport(viewport);
  }

  // -- keys ------------------------------------------------------------------------------------------
  /** Does what a key stands for; false if it is none of ours here. */
  function runKey(event: KeyboardEvent): boolean {
    if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      reorder(event.key === "ArrowUp" ? -1 : 1);
      return true;
    }
    const bound = bindingOf(event);
    if (!BOUND.has(bound)) return false;
    const arrow = /^(Shift\+)?Arrow(Left|Right|Up|Down)$/.exec(bound);
    const point = pointOf(selected);
    if (arrow) {
      const by = arrow[1] ? 10 : 1;
      const dx = { Left: -by, Right: by, Up: 0, Down: 0 }[arrow[2] as "Left"];
      const dy = { Left: 0, Right: 0, Up: -by, Down: by }[arrow[2] as "Left"];
      if (point) {
        const { x, y } = within({ x: point.x + dx, y: point.y + dy });
        send({ op: "move", id: point.id, x, y, burst: `nudge-${client}-${burst}` });
      }
      return true;
    }
    const run: Record<string, () => void> = {
      e: () => setTool(tool === "edges" ? "points" : "edges"),
      c: () => (sheetOf.name ? setTool("crop") : setHint("A blank sheet has nothing to crop.")),
      a: () => addPoint({ x: imageSize.w / 2, y: imageSize.h / 2 }),
      f: fitNow,
      "0": () => setViewport(oneToOne(viewport, middle())),
      "-": () => setViewport(zoomAbout(viewport, 1 / 1.25, middle())),
      "[": () => step(-1),
      "]": () => step(1),
      PageUp: () => step(-1),
      PageDown: () => step(1),
      "Ctrl+z": () => send({ op: "undo" }),
      "Ctrl+Shift+z": () => send({ op: "redo" }),
      "Ctrl+y": () => send({ op: "redo" }),
      "?": () => toggleHelp(),
      Escape: stepOut,
    };
    if (bound === "Enter" || bound === "F2") {
      const isRow = selected ? list.row(selected) : undefined;
      if (selected) startNaming(selected, isRow?.matches(":focus") ? isRow : sheet);
    } else if (bound === "Delete" || bound === "Backspace") removeSelected();
    else if (bound === "+" || bound === "=") setViewport(zoomAbout(viewport, 1.25, middle()));
    else run[bound]?.();
    return true;
  }

  function stepOut(): void {
    if (!helpBox.hidden) toggleHelp();
    else if (gesture || tool !== "points" || hint || selected || edge) {
      gesture = null;
      tool = "points";
      hint = "";
      selected = null;
      edge = null;
      render();
    } else (frame.ownerDocument.activeElement as HTMLElement | null)?.blur();
  }

  function toggleHelp(): void {
    helpBox.hidden = !helpBox.hidden;
  }

  const isField = (target: EventTarget | null) =>
    target instanceof Element && target.matches("input, textarea, select");
  frame.addEventListener(
    "keydown",
    (event) => {
      if (event.key === "Tab" || event.isComposing) return;
      if (isField(event.target)) {
        // What is typed here is nobody else's; Esc gives the keyboard back to the drawing.
        event.stopPropagation();
        if (event.key === "Escape") {
          event.preventDefault();
          sheet.focus({ preventScroll: true });
        }
        return;
      }
      const isButton = event.target instanceof Element && event.target.matches("button");
      if (isButton && (event.key === "Enter" || event.key === " ")) {
        event.stopPropagation();
        return;
      }
      const isRow = event.target instanceof Element && event.target.closest("[data-id]") !== null;
      if (isRow && !event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
        step(event.key === "ArrowUp" ? -1 : 1);
        if (selected) list.row(selected)?.focus({ preventScroll: true });
      } else if (!runKey(event)) return;
      event.preventDefault();
      event.stopPropagation();
      if (isRow && selected && !naming) list.row(selected)?.focus({ preventScroll: true });
    },
    { signal },
  );

  // -- controls --------------------------------------------------------------------------------------
  onClick(undo, () => send({ op: "undo" }));
  onClick(redo, () => send({ op: "redo" }));
  onClick(remove, removeSelected);
  onClick(fit, fitNow);
  onClick(one, () => setViewport(oneToOne(viewport, middle())));
  onClick(help, toggleHelp);
  onClick(tryIt, () => {
    if (!finishNaming()) return;
    isTrying = true;
    send({ op: "try" });
    if (model.get("trial")) trialBox.scrollIntoView({ block: "nearest" });
  });
  onClick(crop, () => setTool("crop"));
  onClick(uncrop, () => selected && send({ op: "crop", id: selected, box: null }));
  title.addEventListener(
    "change",
    () => {
      if (title.value.trim()) send({ op: "title", name: title.value.trim() });
      render();
    },
    { signal },
  );
  title.addEventListener(
    "keydown",
    (event) => {
      if (event.key === "Enter") title.blur();
    },
    { signal },
  );
  color.addEventListener(
    "input",
    () => {
      if (selected)
        send({ op: "color", id: selected, color: color.value, burst: `color-${client}-${burst}` });
    },
    { signal },
  );
  color.addEventListener(
    "change",
    () => {
      burst += 1;
    },
    { signal },
  );
  /** Whose definition is being typed: it must not go to the next one that is selected. */
  let defining: string | null = null;
  definition.addEventListener(
    "focus",
    () => {
      defining = selected;
      burst += 1;
    },
    { signal },
  );
  definition.addEventListener(
    "input",
    () => {
      const text = definition.value;
      if (defining) send({ op: "define", id: defining, text, burst: `define-${client}-${burst}` });
    },
    { signal },
  );
  definition.addEventListener(
    "blur",
    () => {
      defining = null;
      render();
    },
    { signal },
  );
  definition.addEventListener(
    "keydown",
    (event) => {
      if (event.key === "Enter") sheet.focus({ preventScroll: true });
    },
    { signal },
  );
  partner.addEventListener(
    "change",
    () => {
      if (!selected) return;
      const other = partner.value;
      if (!other) send({ op: "pair", left: selected, right: null });
      else {
        // The name says the side, if it says one; else the selected one is the left one.
        const isRight = /right/i.test(nameOf(selected)) || /left/i.test(nameOf(other));
        const [left, right] = isRight ? [other, selected] : [selected, other];
        send({ op: "pair", left, right });
      }
    },
    { signal },
  );
  onClick(swap, () => {
    const pair = selected ? pairOf(design, selected) : null;
    if (!pair || !selected) return;
    const [left, right] = pair.isFirst ? [pair.other, selected] : [selected, pair.other];
    send({ op: "pair", left, right });
  });
  joinWith.addEventListener(
    "change",
    () => {
      if (selected && joinWith.value) send({ op: "join", a: selected, b: joinWith.value });
      joinWith.value = "";
    },
    { signal },
  );

  // -- what is shown ---------------------------------------------------------------------------------
  let isRenderPlanned = false;
  function render(): void {
    for (const [name, value] of Object.entries({
      "data-scale": String(viewport.scale),
      "data-tx": String(viewport.tx),
      "data-ty": String(viewport.ty),
      "data-tool": tool,
    }))
      setAttribute(sheet, name, value);
    setAttribute(frame, "data-pending", String(pending.length));
    setAttribute(frame, "data-selected", selected ? nameOf(selected) : "");
    setAttribute(frame, "data-selected-edge", edge ? edge.map(nameOf).join(" – ") : "");
    if (isRenderPlanned) return;
    isRenderPlanned = true;
    requestAnimationFrame(() => {
      isRenderPlanned = false;
      if (signal.aborted) return;
      placePaper();
      renderDrawing();
      list.render();
      renderDetails();
      renderToolbar();
      renderStatus();
      textPane.render();
    });
  }

  function placePaper(): void {
    paper.style.transform = `translate(${viewport.tx}px, ${viewport.ty}px)`;
    paper.style.width = `${viewport.scale * imageSize.w}px`;
    paper.style.height = `${viewport.scale * imageSize.h}px`;
    const point = pointOf(naming);
    if (point && sheet.contains(namerBox)) {
      const { x, y } = toScreen(viewport, point);
      const left = Math.max(4, Math.min(x + 12, size.w - 190));
      const top = Math.max(4, Math.min(y + 10, size.h - 52));
      namerBox.style.transform = `translate(${left}px, ${top}px)`;
    } else namerBox.style.transform = "";
  }

  /** Where a point is on the screen, the one that is dragged under the pointer. */
  function place(point: { id: string; x: number; y: number }): Xy {
    if (gesture?.kind !== "move" || gesture.point !== point.id || !gesture.hasMoved)
      return toScreen(viewport, point);
    const [a, b] = [toImage(viewport, gesture.start), toImage(viewport, gesture.last)];
    return toScreen(viewport, within({ x: point.x + b.x - a.x, y: point.y + b.y - a.y }));
  }

  /** The point, else the edge, under a pointer that is free. */
  function pointedAt(): { over: string | null; overEdge: Two | null } {
    if (!pointer || gesture) return { over: null, overEdge: null };
    const over = under(pointer);
    return { over, overEdge: over ? null : hitEdge(design, viewport, pointer, EDGE_RADIUS) };
  }

  /** What the drawing shows as pointed at. */
  let drawn = pointedAt();
  function renderDrawing(): void {
    drawn = pointedAt();
    const places = new Map(design.points.map((point) => [point.id, place(point)]));
    const from = gesture?.hasMoved ? gesture.start : null;
    const shown = draw({
      design,
      places,
      selected,
      edge,
      ...drawn,
      unnamed: sheet.contains(namerBox) ? naming : null,
      box: from && gesture?.kind === "crop" ? [from, gesture.last] : null,
      line: from && gesture?.kind === "edge" ? drawnEdge(gesture, places) : null,
    });
    drawing.replaceChildren(...shown);
    invitation.hidden = design.points.length > 0;
    sheet.classList.toggle("is-over-point", drawn.over !== null && tool === "points");
  }

  /** The edge that is being drawn: to the point under the pointer, else to the pointer. */
  function drawnEdge(now: Gesture, places: ReadonlyMap<string, Xy>): readonly [Xy, Xy] | null {
    const from = now.point && places.get(now.point);
    const to = under(now.last);
    return from ? [from, (to && places.get(to)) || now.last] : null;
  }

  function renderDetails(): void {
    const point = pointOf(selected);
    details.disabled = !point;
    setText(
      detailName,
      point ? point.name : edge ? edge.map(nameOf).join(" – ") : "no keypoint is selected",
    );
    if (document.activeElement !== color) color.value = point?.color || "#888888";
    const others = design.points.filter((other) => other.id !== selected);
    const joined = new Set(
      design.edges.flatMap(([a, b]) => (a === selected ? [b] : b === selected ? [a] : [])),
    );
    const named = (list: typeof others): [string, string][] =>
      point ? list.map((other) => [other.id, other.name]) : [];
    setOptions(partner, [["", "nothing"], ...named(others)]);
    setOptions(joinWith, [["", "…"], ...named(others.filter((other) => !joined.has(other.id)))]);
    const pair = point ? pairOf(design, point.id) : null;
    if (partner.value !== (pair?.other ?? "")) partner.value = pair?.other ?? "";
    swap.disabled = !pair || otherSide(point?.name ?? "") !== null;
    if (!defining && definition.value !== (point?.definition ?? ""))
      definition.value = point?.definition ?? "";
    const found = model.get("references").find((one) => one.id === selected);
    // Made by Python, or checked by it: a small PNG or JPEG.
    const isPicture = found !== undefined && /^data:image\/(png|jpeg);base64,/.test(found.url);
    reference.hidden = !isPicture;
    if (isPicture) setAttribute(reference, "src", found.url);
    uncrop.disabled = !isPicture;
    crop.disabled = sheetOf.name === "";
  }

  function renderToolbar(): void {
    for (const name of ["points", "edges", "crop"] as const)
      setAttribute(tools[name], "aria-pressed", String(tool === name));
    const { points, edges } = design;
    const plural = (n: number, what: string) => `${n} ${what}${n === 1 ? "" : "s"}`;
    setText(summary, `${plural(points.length, "keypoint")}, ${plural(edges.length, "edge")}`);
    undo.disabled = design.undo === "" && pending.length === 0;
    redo.disabled = design.redo === "";
    setAttribute(undo, "title", design.undo ? `Undo: ${design.undo} (Ctrl+Z)` : "Undo (Ctrl+Z)");
    setAttribute(redo, "title", design.redo ? `Redo: ${design.redo}` : "Redo (Ctrl+Shift+Z)");
    remove.disabled = !selected && !edge;
    tryIt.disabled = points.length === 0;
    if (document.activeElement !== title && title.value !== design.name) title.value = design.name;
    renderSaved();
  }

  function renderSaved(): void {
    const isBusy = oldest !== null && performance.now() - oldest > BUSY;
    const text = isGone ? "kernel gone" : isBusy ? `kernel busy, ${pending.length} waiting` : "";
    setText(saved, text);
    setAttribute(saved, "data-state", isGone ? "gone" : isBusy ? "busy" : "");
  }

  function renderStatus(): void {
    const p = pointer ? toImage(viewport, pointer) : null;
    const isInside = p && p.x >= 0 && p.y >= 0 && p.x <= imageSize.w && p.y <= imageSize.h;
    const zoom = `${(100 * viewport.scale).toFixed(0)} %`;
    setText(where, isInside ? `x ${p.x.toFixed(1)}  y ${p.y.toFixed(1)}  ${zoom}` : zoom);
    setText(doing, hint || describe());
  }

  function describe(): string {
    if (gesture?.kind === "edge") return "Release on another point";
    if (tool === "crop") return `Reference picture of ${nameOf(selected ?? "")}: drag a box`;
    const over = pointer ? under(pointer) : null;
    const on = pointer && !over ? hitEdge(design, viewport, pointer, EDGE_RADIUS) : null;
    const mode = tool === "edges" ? "Edges (E: points)" : "Points (E: edges)";
    if (over)
      return tool === "edges"
        ? `${mode}: drag from ${nameOf(over)} to another point`
        : `${mode}: drag ${nameOf(over)}; Alt+drag: edge; double click: rename`;
    if (on) return `${mode}: click selects the edge ${nameOf(on[0])} – ${nameOf(on[1])}`;
    if (edge) return `${nameOf(edge[0])} – ${nameOf(edge[1])}: Delete removes the edge`;
    return tool === "edges"
      ? `${mode}: drag from point to point`
      : `${mode}: click adds a keypoint (?: keys)`;
  }

  // -- what Python says ------------------------------------------------------------------------------
  function notice(level: Notice["level"], text: string): void {
    const dismiss = h("button", { type: "button", class: "kpwidget-reset" }, "Dismiss");
    const row = h(
      "div",
      { class: "kpwidget-notice", "data-level": level },
      h("span", {}, text),
      dismiss,
    );
    onClick(dismiss, () => {
      row.remove();
      sheet.focus({ preventScroll: true });
    });
    notices.append(row);
    while (notices.children.length > 3) notices.firstChild?.remove();
  }
  const onMessage = (message: Notice) => {
    if (message.kind === "notice") notice(message.level, message.text);
    else throw new Error(`unknown message ${message.kind} from Python`);
  };

  // biome-ignore lint/suspicious/noExplicitAny: a view of another widget, untyped
  let trialView: any = null;
  async function showTrial(): Promise<void> {
    const wanted = model.get("trial");
    trialView?.remove();
    trialView = null;
    trialBox.replaceChildren();
    if (!wanted) return;
    try {
      const manager = model.widget_manager;
      const found = await manager.get_model(wanted.replace(/^IPY_MODEL_/, ""));
      const view = await manager.create_view(found);
      if (signal.aborted || model.get("trial") !== wanted) {
        view.remove();
        return;
      }
      trialView = view;
      trialBox.replaceChildren(view.el);
      trialSize.observe(trialBox);
    } catch (error) {
      notice(
        "error",
        `The annotator could not be shown: ${error instanceof Error ? error.message : error}`,
      );
    }
  }

  /** Who has pressed the button sees what comes of it, as soon as it has its height. */
  const trialSize = new ResizeObserver(() => {
    if (trialBox.offsetHeight < 200) return;
    trialSize.disconnect();
    if (isTrying) trialBox.scrollIntoView({ block: "nearest" });
    isTrying = false;
  });
  const onTrial = () => {
    void showTrial();
  };
  const onHeight = () => {
    sheet.style.height = `${model.get("height")}px`;
  };
  model.on("change:design", onDesign);
  model.on("change:height", onHeight);
  model.on("change:references", render);
  model.on("change:trial", onTrial);
  model.on("msg:custom", onMessage);
  onHeight();
  measure();
  refresh();
  onTrial();

  return () => {
    controller.abort();
    clearInterval(timer);
    observer.disconnect();
    trialSize.disconnect();
    model.off("change:design", onDesign);
    model.off("change:height", onHeight);
    model.off("change:references", render);
    model.off("change:trial", onTrial);
    model.off("msg:custom", onMessage);
    trialView?.remove();
    frame.remove();
    trialBox.remove();
  };
}
