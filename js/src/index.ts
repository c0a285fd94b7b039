/** Entry point: wires model, state, input and views; the only file that knows anywidget. */

import { type Browser, makeBrowser } from "./browse";
import { dataUrl, randomHex } from "./bytes";
import { type DesignerModel, mountDesigner } from "./designer";
import { type Handle, handlesOf, hitHandle } from "./handles";
import { hit, listen } from "./input";
import { Layers, type LayerView, type Painted } from "./layers";
import { Loupe } from "./loupe";
import {
  type FromPython,
  LAYERS,
  type LayerName,
  type Model,
  type Scene,
  type SceneFinding,
  type SceneInstance,
  type ViewportMessage,
} from "./model";
import { Outbox, RESEND_FIRST, RESEND_MOST } from "./outbox";
import { h, makePanel } from "./panel";
import { makeReview, type ReviewPart } from "./review";
import {
  type Action,
  activeInstance,
  announce,
  categoryOf,
  countLabeled,
  initialState,
  middle,
  nextName,
  type PointRef,
  reduce,
  type State,
  startsNewInstance,
  visibilityOf,
} from "./state";
import { addPress, drawInk, type InkInput } from "./view";
import {
  cssTransform,
  fitBox,
  fitImage,
  keepInSight,
  letterbox,
  oneToOne,
  reachesPast,
  showsMore,
  toImage,
  toScreen,
  type Viewport,
  type Xy,
} from "./viewport";

/** A viewport is sent after it has been at rest for so long, in milliseconds. */
const REST = 120;
/** A new image that has not been painted by then is shown without its picture. */
const LATE = 4000;
/** How long a view waits to be laid out before it says hello, in milliseconds. */
const LAYOUT = 250;
/** How long a view waits for a picture to show before it asks for the canvases. */
const PREVIEW = 300;
/** Edits unanswered for so long mean a busy kernel. */
const BUSY = 1500;
/** What a viewer does: nothing that would change a label. */
const OF_A_VIEWER: ReadonlySet<Action["type"]> = new Set<Action["type"]>([
  "scene",
  "categories",
  "ack",
  "rejected",
  "painted",
  "notice",
  "dismiss",
  "connected",
  "restore",
  "select",
  "activate",
  "step-instance",
  "leave",
  "flags",
  "goto",
  "toggle-skeletons",
  "toggle-names",
  "toggle-loupe",
  "toggle-help",
  "filter",
  "hint",
]);

export default () => {
  let layers: Layers | null = null;
  return {
    initialize({ model }: { model: Model | DesignerModel }) {
      if (isDesigner(model)) return () => undefined;
      const found = new Layers(model);
      layers = found;
      const onMessage = (message: FromPython, buffers: DataView[]) => {
        if (message.kind === "painting") found.announce(message, model.get("scene"));
        else if (message.kind === "picture")
          found.showPicture(buffers[0] ?? (model.get("preview") as DataView), message.mime);
      };
      model.on("msg:custom", onMessage);
      return () => {
        model.off("msg:custom", onMessage);
        found.dispose();
      };
    },
    render({ model, el }: { model: Model | DesignerModel; el: HTMLElement }) {
      if (isDesigner(model)) return mountDesigner(model, el);
      return mount(model, el, layers ?? new Layers(model));
    },
  };
};

/** One bundle serves all widgets: a designer is told by its trait. */
function isDesigner(model: Model | DesignerModel): model is DesignerModel {
  return (model as DesignerModel).get("design") !== undefined;
}

function isSamePoint(a: PointRef | null, b: PointRef | null): boolean {
  return a?.instance === b?.instance && a?.keypoint === b?.keypoint;
}

function mount(model: Model, el: HTMLElement, layers: Layers): () => void {
  const controller = new AbortController();
  const { signal } = controller;
  const client = randomHex(4);
  const look = model.get("look");
  const isViewer = model.get("browse") !== null;

  // -- the page ----------------------------------------------------------------------------------
  const ink = h("canvas", { class: "kpwidget-ink" });
  // Decoded with the frame that shows it: a large picture would else come some frames later.
  const poster = h("img", { class: "kpwidget-poster", alt: "", decoding: "sync" });
  poster.hidden = true;
  const message = h("div", { class: "kpwidget-message" });
  message.hidden = true;
  const cursorDot = h("span", { class: "kpwidget-dot" });
  const cursorName = h("span", {});
  const cursor = h(
    "div",
    { class: "kpwidget-cursor", "aria-hidden": "true" },
    cursorDot,
    cursorName,
  );
  cursor.hidden = true;
  const hold = h("div", { class: "kpwidget-hold", "aria-hidden": "true" });
  hold.hidden = true;
  const root = h("div", {
    class: "kpwidget-stage",
    tabindex: "0",
    role: "application",
    "aria-label": `Keypoint ${isViewer ? "viewer" : "annotator"}: press ? for the keys, Escape to leave`,
    "data-lm-suppress-shortcuts": "true",
  });
  root.style.height = `${model.get("height")}px`;
  root.append(poster, ink, message, cursor, hold);
  const where = h("span", { class: "kpwidget-where" });
  const doing = h("span", { class: "kpwidget-doing" });
  const status = h("div", { class: "kpwidget-status" }, doing, where);
  const notices = h("div", { class: "kpwidget-notices", role: "alert" });
  const live = h("div", { class: "kpwidget-live", role: "status", "aria-live": "polite" });

  let state: State = {
    ...initialState(client, model.get("scene"), model.get("categories")),
    templates: model.get("templates"),
  };
  let viewport: Viewport = { scale: 1, tx: 0, ty: 0 };
  let size = { w: 0, h: 0 };
  let layoutTimer: ReturnType<typeof setTimeout> | undefined;
  let previewTimer: ReturnType<typeof setTimeout> | undefined;
  let onFirstPicture: () => void = () => undefined;
  const firstPicture = new Promise<void>((resolve) => {
    onFirstPicture = resolve;
  });
  let onLaidOut: () => void = () => undefined;
  const laidOut = new Promise<void>((resolve) => {
    onLaidOut = resolve;
  });
  let dpr = window.devicePixelRatio || 1;
  let isFitted = true;
  let pointer: Xy | null = null;
  let isPointerByKeys = false;
  let hovered: PointRef | null = null;
  let handle: Handle | null = null;
  /** Made when it is wanted: nobody else pays for it. */
  let loupe: Loupe | null = null;
  /** Keys have moved the selected point since the pointer moved: it is what is aimed at. */
  let isNudged = false;
  /** The point under a pointer that has not moved off it since placing it: it gets no ring. */
  let fresh: PointRef | null = null;
  let hasLayers = false;
  let isWelcome = false;
  let isBlank = true;
  /** The still picture has the points in it; the first preview has not. */
  let hasPoints = false;
  let isLeading = false;
  let rev = 0;
  let isLoadingLate = false;
  let loadingTimer: ReturnType<typeof setTimeout> | undefined;
  let held: { scene: Scene; timer: ReturnType<typeof setTimeout> } | null = null;
  const views = new Map<LayerName, LayerView>();

  const panel = makePanel(
    look,
    {
      dispatch,
      fit: fitNow,
      oneToOne: () => setViewport(oneToOne(viewport, center())),
      showFinding,
      focus: () => root.focus({ preventScroll: true }),
    },
    signal,
    isViewer,
    model.get("review") !== null,
  );
  const main = h("div", { class: "kpwidget-main" }, root, status);
  const body = h("div", { class: "kpwidget-body" }, main, panel.side);
  const first = model.get("browse");
  const browser: Browser | null =
    first &&
    makeBrowser(
      first,
      client,
      {
        send: (message) => outbox.send(message),
        goto: (index) => dispatch({ type: "goto", to: index }),
        focus: () => root.focus({ preventScroll: true }),
      },
      signal,
    );
  const findings = model.get("review");
  const toStage = () => root.focus({ preventScroll: true });
  const review: ReviewPart | null =
    findings &&
    makeReview(
      findings,
      client,
      { send: (message) => outbox.send(message), focus: toStage },
      signal,
    );
  if (browser) {
    root.append(browser.grid);
    main.append(browser.strip);
  }
  const frame = h(
    "div",
    { class: "kpwidget", "data-lm-suppress-shortcuts": "true" },
    panel.toolbar,
    ...(browser ? [browser.filters] : []),
    ...(review ? [review.element] : []),
    notices,
    body,
    ...(isViewer ? [] : [panel.bar]),
    panel.help,
    live,
  );
  el.classList.add("kpwidget-host");
  el.append(frame);

  // -- state ---------------------------------------------------------------------------------------
  const outbox = new Outbox(model, client, () => state, {
    onLost: () => dispatch({ type: "connected", isConnected: false }),
  });

  function dispatch(action: Action): void {
    if (isViewer && !OF_A_VIEWER.has(action.type)) return;
    const before = state;
    state = reduce(state, action);
    if (state === before) return;
    if (action.type === "nudge") isNudged = true;
    if (state.pending !== before.pending) outbox.flush();
    if (state.doc !== before.doc) {
      updateHover();
      if (action.type === "place") fresh = hovered;
    }
    showState();
    const isPress = action.type === "press" && action.press !== null && before.press === null;
    if (isPress && state.doc === before.doc && !isInkOld && size.w > 0) addPress(ink, inkInput());
    else drawNow();
    moveCursorLabel();
    renderSoon();
  }

  /** What tests and assistive technology read: at once, not with the next frame. */
  function showState(): void {
    const category = categoryOf(state);
    const data: Record<string, string> = {
      "data-scale": String(viewport.scale),
      "data-tx": String(viewport.tx),
      "data-ty": String(viewport.ty),
      "data-image": state.scene.image?.name ?? "",
      "data-category": category?.name ?? "",
      "data-next-keypoint": category?.keypoints[nextName(state)] ?? "",
      "data-active-instance": state.doc.cursor.instance ?? "",
      "data-pending": String(state.pending.filter((entry) => entry.version === null).length),
    };
    for (const [name, value] of Object.entries(data))
      if (root.getAttribute(name) !== value) root.setAttribute(name, value);
    if (live.textContent !== state.spoken) live.textContent = state.spoken;
  }

  // Lists and figure wait for the first picture, which they would hold up.
  let isRenderPlanned = true;
  function renderSoon(): void {
    if (isRenderPlanned) return;
    isRenderPlanned = true;
    requestAnimationFrame(() => {
      isRenderPlanned = false;
      if (signal.aborted) return;
      const browse = model.get("browse");
      panel.render(state, outbox.isBusy(BUSY), browse);
      if (browser && browse) browser.render(browse, state.categories);
      const findings = model.get("review");
      if (review && findings) review.render(findings);
      renderStatus();
      renderNotices();
    });
  }

  function renderStatus(): void {
    const image = state.scene.image;
    const at = pointer && image ? toImage(viewport, pointer) : null;
    const isInside =
      at && image && at.x >= 0 && at.y >= 0 && at.x <= image.width && at.y <= image.height;
    const zoom = `${(100 * viewport.scale).toFixed(viewport.scale < 0.1 ? 1 : 0)} %`;
    where.textContent = isInside ? `x ${at.x.toFixed(1)}  y ${at.y.toFixed(1)}  ${zoom}` : zoom;
    doing.textContent = state.hint || describe();
    const box = state.isBoxMode ? "box" : state.isWholeMode ? "whole" : "";
    if (root.dataset.mode !== box) root.dataset.mode = box;
  }

  /** What a click will do. */
  function describe(): string {
    const image = state.scene.image;
    if (!image || image.error) return "";
    if (isViewer) return describeInstance(activeInstance(state));
    const category = categoryOf(state);
    const next = category?.keypoints[nextName(state)] ?? "";
    const on = hovered && state.doc.byUid.get(hovered.instance);
    if (on && hovered) {
      const name = state.categories[on.category]?.keypoints[hovered.keypoint];
      const flag = visibilityOf(on, hovered.keypoint) === 1 ? "occluded" : "visible";
      return `${name}, ${flag}: drag to move, V changes the flag; a click places ${next}`;
    }
    if (handle) return `Drag to ${handle} the whole instance; a click places ${next}`;
    const place = startsNewInstance(state)
      ? `Click: ${next} of a new instance (${category?.name})`
      : `Click: ${next}`;
    return `${place} (Shift: occluded, S: skip, ?: keys)`;
  }

  /** Category and number of an instance, as the list of instances has it. */
  function nameOf(instance: SceneInstance): string {
    const ofSet = state.doc.instances.filter((one) => one.set === instance.set);
    const number = ofSet.indexOf(instance) + 1;
    const set = instance.set ? `, ${instance.set}` : "";
    return `${state.categories[instance.category]?.name} ${number}${set}`;
  }

  /** For a viewer: an instance in words. */
  function describeInstance(instance: SceneInstance | null): string {
    if (!instance) return "Point at a keypoint for its name and place; ? shows the keys";
    const category = state.categories[instance.category];
    const n = category?.keypoints.length ?? 0;
    const labeled = `${countLabeled(instance)} of ${n} keypoints labeled`;
    return `${nameOf(instance)}: ${labeled}${instance.note ? `, ${instance.note}` : ""}`;
  }

  /** What others have done, on top of the notices: it stays until it is dealt with. */
  function aboutOthers(): { id: string; text: string; buttons: [string, Action][] }[] {
    const { others, conflicts } = state.scene;
    // What has been answered is on its way, and not asked again.
    const answered = new Set(
      state.pending.map(({ body }) => (body.op === "resolve" ? body.conflict : body.op)),
    );
    const rows: { id: string; text: string; buttons: [string, Action][] }[] = [];
    if (others.edits > 0 && !answered.has("refresh")) {
      const edits = others.edits === 1 ? "1 edit" : `${others.edits} edits`;
      const by = others.who ? ` by ${others.who}` : "";
      rows.push({
        id: `others ${others.edits} ${others.who}`,
        text: `${edits}${by} in another notebook.`,
        buttons: [["Refresh", { type: "refresh" }]],
      });
    }
    for (const { key, text, kept, other } of conflicts) {
      if (answered.has(key)) continue;
      rows.push({
        id: `conflict ${key}`,
        text,
        buttons: [
          [`Keep ${kept}`, { type: "resolve", conflict: key, take: false }],
          [`Take ${other}`, { type: "resolve", conflict: key, take: true }],
        ],
      });
    }
    return rows;
  }

  function renderNotices(): void {
    const rows = aboutOthers();
    const shown = [...notices.children].map((child) => child.getAttribute("data-id"));
    const wanted = [...rows.map(({ id }) => id), ...state.notices.map(({ id }) => String(id))];
    if (shown.join() === wanted.join()) return;
    notices.replaceChildren(
      ...rows.map(({ id, text, buttons }) => noticeRow(id, "info", text, buttons)),
      ...state.notices.map(({ id, level, text }) =>
        noticeRow(String(id), level, text, [["Dismiss", { type: "dismiss", id }]]),
      ),
    );
  }

  function noticeRow(
    id: string,
    level: string,
    text: string,
    buttons: [string, Action][],
  ): HTMLElement {
    const made = buttons.map(([label, action]) => {
      const button = h("button", { type: "button", class: "kpwidget-reset" }, label);
      const choose = () => {
        dispatch(action);
        // The button goes, and the keys meant for the stage would go to the notebook.
        root.focus({ preventScroll: true });
      };
      button.addEventListener("click", choose, { signal });
      return button;
    });
    return h(
      "div",
      { class: "kpwidget-notice", "data-level": level, "data-id": id },
      h("span", {}, text),
      h("span", { class: "kpwidget-choices" }, ...made),
    );
  }

  /** Over the picture: why there is none, or that it is still on its way. */
  function showMessage(): void {
    const image = state.scene.image;
    const isWaiting = held !== null || !layers.hasImage || !isPictureThere();
    const isLate = isLoadingLate && poster.hidden && isWaiting;
    const name = (held?.scene ?? state.scene).image?.name.split("/").at(-1) ?? "";
    const text = image?.error || (isLate ? `Loading ${name} …` : "");
    message.hidden = text === "";
    message.dataset.level = image?.error ? "error" : "info";
    if (message.textContent !== text) message.textContent = text;
  }

  /** A picture that comes quickly needs no announcement. */
  function loadingSoon(): void {
    clearTimeout(loadingTimer);
    isLoadingLate = false;
    loadingTimer = setTimeout(() => {
      isLoadingLate = true;
      showMessage();
    }, 400);
  }

  // -- what is drawn -------------------------------------------------------------------------------
  let isDrawPlanned = false;
  /** Something has changed since the ink was drawn. */
  let isInkOld = false;
  function drawSoon(): void {
    isInkOld = true;
    if (isDrawPlanned) return;
    isDrawPlanned = true;
    requestAnimationFrame(() => {
      isDrawPlanned = false;
      if (signal.aborted) return;
      if (isInkOld) drawNow();
      renderStatus();
    });
  }

  /** Python paints no further than the viewport it was told: what lies past that is inked. */
  function isUncovered(): boolean {
    return (["skeletons", "active"] as const).some((layer) => {
      const painting = layers.painted.get(layer);
      if (!painting) return false;
      const [scale, tx, ty] = painting.viewport;
      const v = { scale, tx, ty };
      const reach = 2 * look.activeRadius;
      return (
        showsMore(v, painting, viewport, size) &&
        state.doc.instances.some(({ points, bbox }) => {
          const [x, y, w, h] = bbox ?? [0, 0, 0, 0];
          const corners = bbox ? [x, y, 2, x + w, y + h, 2] : [];
          return reachesPast(v, painting, [...points, ...corners], reach);
        })
      );
    });
  }

  function inkInput(): InkInput {
    const isPosterOnly = !hasLayers && !poster.hidden && hasPoints && state.pending.length === 0;
    return {
      state,
      look,
      viewport,
      dpr,
      pointer,
      hovered: isSamePoint(hovered, fresh) ? null : hovered,
      handle,
      isBlank: (isBlank && !isPosterOnly) || isUncovered(),
      isPlacing: isReady() && !isViewer,
      hasCross: isPointerByKeys,
    };
  }

  function drawNow(): void {
    if (size.w === 0) return;
    isInkOld = false;
    const stands = drawInk(ink, inkInput());
    const isHidden = !state.showSkeletons;
    show("skeletons", !(isHidden || stands.hideSkeletons));
    show("active", !(isHidden || stands.hideActive));
    // A picture that is late leaves the stage empty: the old one is of another image.
    for (const layer of ["image", "detail"] as const) show(layer, isPictureThere());
    if (state.showLoupe || loupe) showLoupe();
  }

  /** What the loupe is about: the point that is being moved, else where the pointer is. */
  function aimedAt(): Xy | null {
    // Who moves the whole instance aims at no point.
    if (!isReady() || state.scene.image?.error || state.whole) return null;
    const { drag, selected } = state;
    if (drag) return toScreen(viewport, drag);
    const points = selected && state.doc.byUid.get(selected.instance)?.points;
    if (!points || (pointer && !isNudged)) return pointer;
    const [x, y] = points.slice(3 * selected.keypoint, 3 * selected.keypoint + 2);
    return toScreen(viewport, { x: x as number, y: y as number });
  }

  function showLoupe(): void {
    if (!state.showLoupe) {
      loupe?.remove();
      loupe = null;
      return;
    }
    loupe ??= new Loupe(root);
    const { left, top } = ink.getBoundingClientRect();
    const layered = (["image", "detail"] as const).flatMap((layer) => views.get(layer)?.el ?? []);
    loupe.show(
      aimedAt(),
      { size, corner: { x: left, y: top }, dpr },
      viewport.scale,
      poster.hidden ? layered : [poster],
      pictureFilter(),
    );
  }

  function show(layer: LayerName, isShown: boolean): void {
    const view = views.get(layer);
    const visibility = isShown ? "visible" : "hidden";
    if (view && view.el.style.visibility !== visibility) view.el.style.visibility = visibility;
  }

  /** Puts every layer where the viewport wants it: a CSS transform, no kernel. */
  function placeLayers(): void {
    const image = state.scene.image;
    for (const layer of LAYERS) {
      const view = views.get(layer);
      const painting = layers.painted.get(layer);
      if (!view || !painting || !image) continue;
      const pixels = layers.size(layer);
      const style = view.el.style;
      if (layer === "image") {
        // Its sides are rounded apart, so they are scaled apart.
        const [w, high] = painting.picture ?? [1, 1];
        const k = (viewport.scale * image.width) / w;
        const ky = (viewport.scale * image.height) / high;
        setStyle(style, "width", `${pixels.w}px`);
        setStyle(style, "height", `${pixels.h}px`);
        const { tx, ty } = viewport;
        setStyle(style, "transform", `translate(${tx}px, ${ty}px) scale(${k}, ${ky})`);
        setStyle(style, "imageRendering", k * dpr >= 3 ? "pixelated" : "auto");
      } else {
        const [scale, tx, ty] = painting.viewport;
        setStyle(style, "width", `${pixels.w / painting.dpr}px`);
        setStyle(style, "height", `${pixels.h / painting.dpr}px`);
        setStyle(style, "transform", cssTransform({ scale, tx, ty }, viewport));
      }
    }
    for (const layer of ["image", "detail"] as const) {
      const view = views.get(layer);
      if (view) setStyle(view.el.style, "filter", pictureFilter());
    }
    if (!poster.hidden && image) {
      poster.style.transform = `translate(${viewport.tx}px, ${viewport.ty}px)`;
      poster.style.width = `${viewport.scale * image.width}px`;
      poster.style.height = `${viewport.scale * image.height}px`;
    }
  }

  function pictureFilter(): string {
    const { brightness, contrast } = state;
    if (brightness === 1 && contrast === 1) return "none";
    return `brightness(${brightness}) contrast(${contrast})`;
  }

  function setStyle(
    style: CSSStyleDeclaration,
    name: "width" | "height" | "transform" | "filter" | "imageRendering",
    value: string,
  ): void {
    if (style[name] !== value) style[name] = value;
  }

  /** Beside the pointer; on the other side of it near the right edge and the bottom. */
  function putCursorLabel(pointer: Xy, width: number): void {
    const isLeft = pointer.x > size.w - width;
    const isAbove = pointer.y > size.h - 40;
    const x = isLeft ? `calc(${pointer.x - 14}px - 100%)` : `${pointer.x + 14}px`;
    const y = isAbove ? `calc(${pointer.y - 10}px - 100%)` : `${pointer.y + 12}px`;
    cursor.style.transform = `translate(${x}, ${y})`;
  }

  /** What is under the pointer of a viewer. */
  function showHovered(): void {
    const on = hovered && isReady() ? state.doc.byUid.get(hovered.instance) : undefined;
    cursor.hidden = !on || !hovered || !pointer;
    if (!on || !hovered || !pointer) return;
    const k = hovered.keypoint;
    const category = state.categories[on.category];
    const flag = visibilityOf(on, k) === 1 ? "occluded" : "visible";
    const [x, y] = [on.points[3 * k] as number, on.points[3 * k + 1] as number];
    const lines = [`${category?.keypoints[k]}: ${x.toFixed(1)}, ${y.toFixed(1)}, ${flag}`];
    lines.push(nameOf(on));
    if (on.note) lines.push(on.note);
    cursorName.textContent = lines.join("\n");
    cursorDot.style.setProperty("--color", category?.colors[k] ?? "#ffffff");
    cursorDot.dataset.side = category?.sides[k] ?? "none";
    putCursorLabel(pointer, 300);
  }

  function moveCursorLabel(): void {
    if (isViewer) {
      showHovered();
      return;
    }
    const category = categoryOf(state);
    const isShown =
      pointer !== null &&
      isReady() &&
      !state.scene.image?.error &&
      !state.isBoxMode &&
      !state.isWholeMode &&
      !state.whole &&
      !state.drag &&
      category !== undefined;
    if (cursor.hidden === isShown) cursor.hidden = !isShown;
    if (!isShown || !pointer || !category) return;
    const k = nextName(state);
    const name = category.keypoints[k] ?? "";
    if (cursorName.textContent !== name) cursorName.textContent = name;
    const color = category.colors[k] ?? "#ffffff";
    if (cursorDot.style.getPropertyValue("--color") !== color)
      cursorDot.style.setProperty("--color", color);
    cursorDot.dataset.side = category.sides[k] ?? "none";
    putCursorLabel(pointer, 170);
  }

  /** Selects what a finding is about, and brings it into the middle if it is out of sight. */
  function showFinding({ instance: uid, keypoint }: SceneFinding): void {
    const instance = state.doc.byUid.get(uid);
    if (!instance) return;
    const isPlaced = keypoint !== null && visibilityOf(instance, keypoint) > 0;
    if (isPlaced) dispatch({ type: "select", target: { instance: uid, keypoint } });
    else {
      dispatch({ type: "select", target: null });
      dispatch({ type: "activate", instance: uid });
      if (keypoint !== null) dispatch({ type: "choose", keypoint });
    }
    const [x, y] = instance.points.slice(3 * (keypoint ?? 0));
    const at = isPlaced ? { x: x as number, y: y as number } : middle(instance);
    if (!at) return;
    const p = toScreen(viewport, at);
    if (p.x >= 0 && p.y >= 0 && p.x <= size.w && p.y <= size.h) return;
    const { scale } = viewport;
    setViewport({ scale, tx: size.w / 2 - scale * at.x, ty: size.h / 2 - scale * at.y });
  }

  // -- viewport ------------------------------------------------------------------------------------
  const center = (): Xy => ({ x: size.w / 2, y: size.h / 2 });
  const imageSize = () => ({ w: state.scene.image?.width ?? 1, h: state.scene.image?.height ?? 1 });

  /** Changes the viewport and, unless it only follows another view, has Python repaint at it. */
  function setViewport(v: Viewport, options: { follow?: boolean; fitted?: boolean } = {}): void {
    isFitted = options.fitted ?? false;
    viewport = options.follow || isFitted ? v : keepInSight(v, imageSize(), size);
    placeLayers();
    updateHover();
    showState();
    drawNow();
    moveCursorLabel();
    drawSoon();
    if (!options.follow) {
      isLeading = true;
      sendViewportSoon();
    }
  }

  function fitNow(): void {
    setViewport(fitImage(imageSize(), size), { fitted: true });
  }

  let viewportTimer: ReturnType<typeof setTimeout> | undefined;
  let sentAt = 0;
  let isAnswered = true;
  let viewportWait = RESEND_FIRST;
  function sendViewportSoon(delay = REST): void {
    clearTimeout(viewportTimer);
    viewportTimer = setTimeout(() => {
      // One at a time, the latest only: a queue of paintings would lag behind the hand.
      if (!isAnswered && performance.now() - sentAt < 2000) sendViewportSoon(50);
      else sendViewport();
    }, delay);
  }

  function sendViewport(): void {
    if (hasLayers && size.w > 0) outbox.send(newViewport());
  }

  function newViewport(): ViewportMessage {
    rev += 1;
    isAnswered = false;
    sentAt = performance.now();
    isLeading = true;
    return {
      kind: "viewport",
      client,
      rev,
      image: state.scene.image?.index ?? 0,
      viewport: [viewport.scale, viewport.tx, viewport.ty],
      dpr,
      w: size.w,
      h: size.h,
    };
  }

  function resize(): void {
    // An even width keeps the canvas on whole device pixels at a pixel ratio of 1.5.
    const w = 2 * Math.floor(root.clientWidth / 2);
    const hgt = root.clientHeight;
    const ratio = window.devicePixelRatio || 1;
    if (w === 0 || hgt === 0 || (w === size.w && hgt === size.h && ratio === dpr)) return;
    const old = size;
    size = { w, h: hgt };
    onLaidOut();
    dpr = ratio;
    ink.width = Math.round(w * dpr);
    ink.height = Math.round(hgt * dpr);
    ink.style.width = `${w}px`;
    ink.style.height = `${hgt}px`;
    if (isFitted || old.w === 0) {
      setViewport(fitImage(imageSize(), size), { fitted: true, follow: !isLeading });
    } else {
      const dx = (w - old.w) / 2;
      const dy = (hgt - old.h) / 2;
      setViewport(
        { scale: viewport.scale, tx: viewport.tx + dx, ty: viewport.ty + dy },
        { follow: !isLeading },
      );
    }
    if (!isLeading && layers.last) follow(layers.last);
  }

  /** A query is about one pixel ratio: after a change the next one is asked for. */
  function watchRatio(): void {
    const media = window.matchMedia(`(resolution: ${window.devicePixelRatio || 1}dppx)`);
    const onChange = () => {
      resize();
      watchRatio();
    };
    media.addEventListener("change", onChange, { signal, once: true });
  }

  /** Shows what the leading view shows, letterboxed. */
  function follow({ painting }: Painted): void {
    const [scale, tx, ty] = painting.viewport;
    setViewport(letterbox({ scale, tx, ty }, { w: painting.w, h: painting.h }, size), {
      follow: true,
    });
  }

  // -- pointer and keys ----------------------------------------------------------------------------
  function updateHover(): void {
    const found = pointer && !state.drag && isReady() ? hit(state, viewport, pointer) : null;
    hovered = found;
    if (!isSamePoint(found, fresh)) fresh = null;
    root.classList.toggle("is-over-point", found !== null);
    // A cross put there by keys drags nothing.
    const isFree = pointer && !found && !isViewer && !isPointerByKeys && isReady();
    handle = isFree ? hitHandle(handlesOf(state, viewport, size), pointer as Xy) : null;
    if ((root.dataset.handle ?? "") !== (handle ?? "")) root.dataset.handle = handle ?? "";
  }

  function isReady(): boolean {
    return held === null && state.scene.image !== null && isPictureThere();
  }

  /** Whether what is painted, if anything, is of the image whose scene is shown. */
  function isPictureThere(): boolean {
    return layers.last === null || layers.last.scene.image?.index === state.scene.image?.index;
  }

  listen(
    root,
    ink,
    {
      getState: () => state,
      dispatch,
      getViewport: () => viewport,
      setViewport,
      fit: fitNow,
      stageCenter: center,
      getPointer: () => pointer,
      setPointer: (at, isByKeys = false) => {
        // A press comes where the last move was: there is nothing to do again.
        const isSame = at && pointer && at.x === pointer.x && at.y === pointer.y;
        if (isSame && isByKeys === isPointerByKeys) return;
        pointer = at;
        isNudged = false;
        isPointerByKeys = isByKeys && at !== null;
        updateHover();
        moveCursorLabel();
        drawSoon();
      },
      isPointerByKeys: () => isPointerByKeys,
      stageSize: () => size,
      getHovered: () => hovered,
      setHold: (at) => {
        hold.hidden = at === null;
        if (at) hold.style.transform = `translate(${at.x}px, ${at.y}px)`;
      },
      isReady,
      newUid: () => randomHex(6),
      leave: () => {
        root.blur();
        // Keys reach a notebook when it has the focus itself, not the page.
        root.closest<HTMLElement>(".jp-Notebook")?.focus({ preventScroll: true });
      },
      viewer: browser && {
        pick: () => {
          if (state.scene.image) browser.togglePick(state.scene.image.index);
        },
        toggleGrid: (isOpen) => browser.toggleGrid(isOpen),
        review: review && ((deed) => review.act(deed)),
      },
    },
    signal,
  );
  root.addEventListener(
    "focus",
    () => {
      // The view that is used leads: Python paints at its viewport, the others follow.
      if (hasLayers && !isLeading) sendViewport();
    },
    { signal },
  );

  // -- Python ----------------------------------------------------------------------------------------
  function takeScene(scene: Scene): void {
    if (held) clearTimeout(held.timer);
    held = null;
    dispatch({ type: "scene", scene });
    showMessage();
  }

  let focused = -1;
  /** Goes to the finding that was opened, once its picture is there; others may follow. */
  function focusNow(): void {
    const { focus } = state.scene;
    if (!focus || focus.rev === focused || !isLeading || !isReady() || size.w === 0) return;
    focused = focus.rev;
    const { instance, keypoint, box } = focus;
    const target = instance !== null && keypoint >= 0 ? { instance, keypoint } : null;
    dispatch({ type: "select", target });
    if (box) setViewport(fitBox(box, size));
    else fitNow();
  }

  /** A scene of another image waits for its picture: what is clicked is what is seen. */
  const onScene = () => {
    const scene = model.get("scene");
    const isOther =
      scene.image?.index !== state.scene.image?.index || scene.dataset !== state.scene.dataset;
    if (!isOther || !hasLayers) {
      takeScene(scene);
      focusNow();
      return;
    }
    if (held) clearTimeout(held.timer);
    held = { scene, timer: setTimeout(() => showLate(scene), LATE) };
    root.classList.add("is-loading");
    loadingSoon();
    moveCursorLabel();
  };

  function showLate(scene: Scene): void {
    root.classList.remove("is-loading");
    isBlank = true;
    takeScene(scene);
    fitNow();
  }

  /** The frame in which a painting is on the screen: layers and ink change places in it. */
  const onPainted = (painted: Painted) => {
    const { painting, scene } = painted;
    if (painting.client !== client) {
      isLeading = false;
      isAnswered = true; // another view leads: this one's viewport is of no use
    } else if (painting.rev >= rev) {
      isAnswered = true;
      viewportWait = RESEND_FIRST;
    }
    const isOther = scene.image?.index !== state.scene.image?.index;
    if (held && scene.image?.index === held.scene.image?.index) {
      root.classList.remove("is-loading");
      takeScene(held.scene);
    }
    if (painting.layers.includes("skeletons") && painting.layers.includes("active"))
      isBlank = false;
    if (!poster.hidden && painting.layers.includes("image")) poster.hidden = true;
    state = reduce(state, { type: "painted", scene });
    if (isOther && scene.image?.index === state.scene.image?.index) {
      const [scale, tx, ty] = painting.viewport;
      viewport = { scale, tx, ty };
      isFitted = true;
    }
    if (!isLeading) follow(painted);
    else focusNow();
    showMessage();
    placeLayers();
    updateHover();
    showState();
    drawNow();
    moveCursorLabel();
    renderSoon();
  };

  const onMessage = (received: FromPython, buffers: DataView[]) => {
    switch (received.kind) {
      case "tiles":
        browser?.takeTiles(received.version, received.tiles, buffers);
        break;
      case "ack":
        outbox.acknowledge(received.client, received.seq);
        dispatch({
          type: "ack",
          client: received.client,
          seq: received.seq,
          version: received.version,
        });
        if (!state.isConnected) dispatch({ type: "connected", isConnected: true });
        break;
      case "rejected":
        dispatch(
          received.client === client || outbox.knows(received.client)
            ? { type: "rejected", client: received.client, seq: received.seq, why: received.why }
            : { type: "hint", text: received.why },
        );
        break;
      case "notice":
        dispatch({ type: "notice", level: received.level, text: received.text });
        break;
      case "welcome":
        if (received.client === client) isWelcome = true;
        break;
      case "painting":
      case "picture":
        break; // the layers have them
      default:
        dispatch({
          type: "notice",
          level: "error",
          text: `Unknown message from Python: ${String((received as { kind: unknown }).kind)}`,
        });
    }
  };
  const onCategories = () => dispatch({ type: "categories", categories: model.get("categories") });
  const onTemplates = () => dispatch({ type: "templates", templates: model.get("templates") });
  const onHeight = () => {
    root.style.height = `${model.get("height")}px`;
  };
  const onPoster = () => {
    const still = model.get("poster");
    hasPoints = Boolean(still?.byteLength);
    const bytes = hasPoints ? still : model.get("preview");
    if (!bytes || bytes.byteLength === 0 || !isBlank) {
      poster.hidden = true;
      return;
    }
    poster.src = dataUrl(bytes);
    poster.hidden = false;
    placeLayers();
  };
  model.on("change:scene", onScene);
  model.on("change:categories", onCategories);
  model.on("change:templates", onTemplates);
  model.on("change:height", onHeight);
  model.on("change:poster", onPoster);
  model.on("change:preview", onPoster);
  model.on("change:browse", renderSoon);
  model.on("change:review", renderSoon);
  model.on("msg:custom", onMessage);
  const stops: (() => void)[] = [];

  async function connect(): Promise<void> {
    if (model.get("canvases").length === 0) {
      await firstPicture;
      if (signal.aborted) return;
      outbox.sendUntil(() => model.get("canvases").length > 0, { kind: "open" });
    }
    await layers.ready;
    if (signal.aborted) return;
    const made = await Promise.all(LAYERS.map((layer) => layers.createView(layer)));
    if (signal.aborted) {
      for (const view of made) view.remove();
      return;
    }
    for (const [i, view] of made.entries()) {
      const layer = LAYERS[i] as LayerName;
      views.set(layer, view);
      view.el.classList.add("kpwidget-layer");
      root.insertBefore(view.el, ink);
    }
    hasLayers = true;
    stops.push(layers.listen(onPainted));
    stops.push(layers.listenFailure((text) => dispatch({ type: "notice", level: "error", text })));
    for (const layer of ["skeletons", "active"] as const)
      stops.push(
        layers.listenResize(layer, () => {
          isBlank = true;
          drawNow();
        }),
      );
    const onLive = () => {
      if (layers.isLive) outbox.revive();
      else outbox.retire();
      dispatch({ type: "connected", isConnected: layers.isLive });
    };
    stops.push(layers.listenLive(onLive));
    if (!layers.isLive) outbox.retire();
    if (!layers.isLive) dispatch({ type: "connected", isConnected: false });
    // Both in one message, as JupyterLab holds a second one back until the first has made a
    // subshell; so it waits for the view to be laid out. One that is hidden sends its viewport when
    // it gets a size: see resize.
    layoutTimer = setTimeout(onLaidOut, LAYOUT);
    await laidOut;
    clearTimeout(layoutTimer);
    if (signal.aborted) return;
    const isFirst = !layers.hasImage;
    const first = isFirst && size.w > 0 ? newViewport() : null;
    outbox.sendUntil(() => isWelcome, { kind: "hello", client, blank: isFirst, first });
    for (const entries of outbox.claim(state.scene.dataset)) dispatch({ type: "restore", entries });
    isLeading ||= isFirst;
    if (layers.last) onPainted(layers.last);
  }

  poster.addEventListener("load", () => requestAnimationFrame(onFirstPicture), { signal });
  if (state.scene.image?.error || model.get("canvases").length > 0) onFirstPicture();
  else previewTimer = setTimeout(onFirstPicture, PREVIEW);
  onPoster();
  loadingSoon();
  showMessage();
  const observer = new ResizeObserver(() => resize());
  observer.observe(root);
  resize();
  watchRatio();
  window.addEventListener("resize", () => resize(), { signal });
  showState();
  renderSoon();
  const ticker = setInterval(() => {
    outbox.resendLate();
    const isLate = !isAnswered && performance.now() > sentAt + viewportWait;
    if (isLate && isWelcome && !state.scene.image?.error) {
      viewportWait = Math.min(2 * viewportWait, RESEND_MOST);
      sendViewport();
    }
    if (state.pending.some((entry) => entry.version === null)) renderSoon();
  }, 500);
  firstPicture.then(() => {
    isRenderPlanned = false;
    renderSoon();
  });
  connect().catch((error) => {
    clearTimeout(loadingTimer);
    message.hidden = false;
    message.dataset.level = "error";
    message.textContent =
      "The picture cannot be drawn here: this page has no ipycanvas. Install ipycanvas where the " +
      `Jupyter server runs, and reload the page. (${String(error)})`;
  });
  dispatch({ type: "hint", text: "" });
  if (state.scene.image) live.textContent = announce(state);

  return () => {
    if (hasLayers) outbox.send({ kind: "bye", client });
    outbox.retire();
    controller.abort();
    observer.disconnect();
    clearInterval(ticker);
    clearTimeout(viewportTimer);
    clearTimeout(loadingTimer);
    clearTimeout(layoutTimer);
    clearTimeout(previewTimer);
    if (held) clearTimeout(held.timer);
    model.off("change:scene", onScene);
    model.off("change:categories", onCategories);
    model.off("change:templates", onTemplates);
    model.off("change:height", onHeight);
    model.off("change:poster", onPoster);
    model.off("change:preview", onPoster);
    model.off("change:browse", renderSoon);
    model.off("change:review", renderSoon);
    model.off("msg:custom", onMessage);
    for (const stop of stops) stop();
    for (const view of views.values()) view.remove();
    frame.remove();
  };
}
