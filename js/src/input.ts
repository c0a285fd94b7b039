/** Pointer, wheel and key events become actions. The key table feeds bindings, help and docs. */

import { type Handle, type Handles, handlesOf, hitHandle, wholeBy } from "./handles";
import type { BBox, ReviewDeed } from "./model";
import { type Action, type PointRef, refusal, type State } from "./state";
import { hitPoint, oneToOne, pan, toImage, type Viewport, type Xy, zoomAbout } from "./viewport";

/** A press that moves no further than this is a click, in CSS px. */
export const CLICK_SLOP = 4;
/** A press on nothing that moves further than this places nothing. */
const STRAY_SLOP = 12;
/** How near the pointer must be to a point to grab it, in CSS px. */
export const HIT_RADIUS = 8;
const TOUCH_HIT_RADIUS = 18;
/** How long a first digit waits for a second one, in milliseconds. */
const DIGIT_PAUSE = 700;
/** How long a finger rests until what it places is occluded, in milliseconds; as in style.css. */
const HOLD = 500;
/** Zoom of one notch (100 CSS px of wheel). */
const NOTCH = 1.15;

/** What the keys need from the view they work on. */
export interface Hands {
  getState(): State;
  dispatch(action: Action): void;
  getViewport(): Viewport;
  setViewport(v: Viewport): void;
  fit(): void;
  stageCenter(): Xy;
  /** Where the pointer is over the stage, or null. */
  getPointer(): Xy | null;
  /** `isByKeys`: nobody's hand is on it, so a cross shows where it is. */
  setPointer(at: Xy | null, isByKeys?: boolean): void;
  /** Whether keys have put the pointer where it is. */
  isPointerByKeys(): boolean;
  /** Size of the stage in CSS px. */
  stageSize(): { w: number; h: number };
  getHovered(): PointRef | null;
  /** A finger rests here, and will soon have rested long enough; null: no longer. */
  setHold(at: Xy | null): void;
  /** Another image's picture is not on the screen yet. */
  isReady(): boolean;
  newUid(): string;
  leave(): void;
  /** What a viewer has: it changes nothing. */
  readonly viewer: {
    pick(): void;
    toggleGrid(isOpen?: boolean): boolean;
    /** Walks through findings; null without any. */
    readonly review: ((deed: ReviewDeed) => void) | null;
  } | null;
}

export interface KeyRow {
  /** How the table shows the keys. */
  readonly keys: string;
  readonly does: string;
  /** `Ctrl+Shift+z`; modifiers in this order, letters in lower case. Empty: a row of help only. */
  readonly bind: readonly string[];
  readonly run?: (hands: Hands, bound: string) => void;
}

type Run = (hands: Hands, bound: string) => void;

const send =
  (action: Action) =>
  (hands: Hands): void =>
    hands.dispatch(action);

function nudge(dx: number, dy: number): Run {
  return (hands, bound) => {
    const step = bound.startsWith("Ctrl+Shift+") ? 0.1 : bound.startsWith("Shift+") ? 10 : 1;
    if (hands.getState().selected) {
      hands.dispatch({ type: "nudge", dx: dx * step, dy: dy * step });
      return;
    }
    // No point is selected: the cross moves, by pixels of the image.
    const { scale } = hands.getViewport();
    const from = hands.getPointer() ?? hands.stageCenter();
    const { w, h } = hands.stageSize();
    const within = (value: number, most: number) => Math.min(most, Math.max(0, value));
    const to = { x: from.x + dx * step * scale, y: from.y + dy * step * scale };
    hands.setPointer({ x: within(to.x, w), y: within(to.y, h) }, true);
  };
}

function zoomBy(hands: Hands, factor: number): void {
  const at = hands.getPointer() ?? hands.stageCenter();
  hands.setViewport(zoomAbout(hands.getViewport(), factor, at));
}

const arrow = (name: string) => [`Arrow${name}`, `Shift+Arrow${name}`, `Ctrl+Shift+Arrow${name}`];

function stepOut(hands: Hands): void {
  const state = hands.getState();
  if (
    state.drag ||
    state.press ||
    state.isBoxMode ||
    state.isWholeMode ||
    state.whole ||
    state.isHelpOpen ||
    state.selected
  ) {
    hands.dispatch({ type: "whole-mode", isOn: false });
    hands.dispatch({ type: "drag", drag: null });
    hands.dispatch({ type: "press", press: null });
    hands.dispatch({ type: "box-mode", isOn: false });
    hands.dispatch({ type: "toggle-help", isOpen: false });
    hands.dispatch({ type: "select", target: null });
  } else if ((state.doc.cursor.instance !== null || state.doc.cursor.keypoint) && !refusal(state)) {
    // Where leaving is refused (another image is on its way) the focus must still be given up.
    hands.dispatch({ type: "leave" });
  } else {
    hands.leave();
  }
}

/** One row a key; the order is that of the help. */
export const KEY_TABLE: readonly KeyRow[] = [
  { keys: "click", does: "place the next keypoint, visible", bind: [] },
  { keys: "Shift+click, right click", does: "place it occluded", bind: [] },
  { keys: "tap, long press", does: "with a finger: place it visible, occluded", bind: [] },
  { keys: "drag a point", does: "move it", bind: [] },
  { keys: "Ctrl+click a point", does: "select it", bind: [] },
  { keys: "S", does: "skip this keypoint", bind: ["s"], run: send({ type: "skip" }) },
  {
    keys: "Backspace",
    does: "back one keypoint (point selected: unlabel it)",
    bind: ["Backspace"],
    run: (hands) => hands.dispatch({ type: "back", hovered: hands.getHovered() }),
  },
  {
    keys: "Enter",
    does: "finish the instance early",
    bind: ["Enter"],
    run: send({ type: "finish" }),
  },
  {
    keys: "Esc",
    does: "leave the instance as it is; again: give up the focus",
    bind: ["Escape"],
    run: stepOut,
  },
  { keys: "1 … 99", does: "choose the keypoint that the next click places or moves", bind: [] },
  {
    keys: "V",
    does: "visible or occluded: the point at the cursor, or the selected one",
    bind: ["v"],
    run: (hands) => hands.dispatch({ type: "cycle-visibility", target: hands.getHovered() }),
  },
  {
    keys: "Delete",
    does: "unlabel that point; no point: remove the active instance",
    bind: ["Delete"],
    run: (hands) => hands.dispatch({ type: "unlabel", target: hands.getHovered() }),
  },
  {
    keys: "arrows",
    does: "move the selected point by 1 px (Shift 10, Ctrl+Shift 0.1); no point: the cross",
    bind: arrow("Left"),
    run: nudge(-1, 0),
  },
  { keys: "", does: "", bind: arrow("Right"), run: nudge(1, 0) },
  { keys: "", does: "", bind: arrow("Up"), run: nudge(0, -1) },
  { keys: "", does: "", bind: arrow("Down"), run: nudge(0, 1) },
  {
    keys: "B",
    does: "draw the box of the instance",
    bind: ["b"],
    run: (hands) => hands.dispatch({ type: "box-mode", isOn: !hands.getState().isBoxMode }),
  },
  {
    keys: "T",
    does: "drop the mean pose, or the schema's figure, into a dragged box, to be adjusted",
    bind: ["t"],
    run: (hands) => {
      const { isBoxMode, isTemplate } = hands.getState();
      hands.dispatch({ type: "box-mode", isOn: !(isBoxMode && isTemplate), isTemplate: true });
    },
  },
  { keys: "handles of the box", does: "drag: move, scale the whole active instance", bind: [] },
  {
    keys: "W",
    does: "move the whole instance by dragging, scale it with Shift",
    bind: ["w"],
    run: (hands) => hands.dispatch({ type: "whole-mode", isOn: !hands.getState().isWholeMode }),
  },
  { keys: "M", does: "mirror the instance", bind: ["m"], run: send({ type: "mirror" }) },
  { keys: "X", does: "swap its left and right", bind: ["x"], run: send({ type: "swap" }) },
  {
    keys: "Ctrl+C, Ctrl+V",
    does: "copy the instance, paste it here or in another image",
    bind: ["Ctrl+c"],
    run: send({ type: "copy" }),
  },
  {
    keys: "",
    does: "",
    bind: ["Ctrl+v"],
    run: (hands) => hands.dispatch({ type: "paste", uid: hands.newUid() }),
  },
  {
    keys: "R",
    does: "repeat the instances of the image before",
    bind: ["r"],
    run: send({ type: "repeat" }),
  },
  { keys: "D", does: "image done, not done", bind: ["d"], run: send({ type: "toggle-done" }) },
  {
    keys: "[ ], PageUp PageDown",
    does: "previous, next instance",
    bind: ["[", "PageUp"],
    run: send({ type: "step-instance", by: -1 }),
  },
  { keys: "", does: "", bind: ["]", "PageDown"], run: send({ type: "step-instance", by: 1 }) },
  {
    keys: "N, P",
    does: "next, previous image",
    bind: ["n"],
    run: send({ type: "goto", to: "next" }),
  },
  { keys: "", does: "", bind: ["p"], run: send({ type: "goto", to: "previous" }) },
  {
    keys: "U",
    does: "next unlabeled image",
    bind: ["u"],
    run: send({ type: "goto", to: "unlabeled" }),
  },
  { keys: "Space", does: "place the next keypoint at the cross (Shift: occluded)", bind: [] },
  { keys: "wheel, Ctrl+wheel, pinch", does: "zoom at the cursor", bind: [] },
  {
    keys: "+, -",
    does: "zoom in, out",
    bind: ["+", "="],
    run: (hands) => zoomBy(hands, 1.25),
  },
  { keys: "", does: "", bind: ["-"], run: (hands) => zoomBy(hands, 1 / 1.25) },
  {
    keys: "Space+drag, middle drag, two fingers",
    does: "pan",
    bind: [" "],
    run: () => undefined,
  },
  { keys: "F", does: "fit the image", bind: ["f"], run: (hands) => hands.fit() },
  {
    keys: "0",
    does: "one image pixel per screen pixel",
    bind: ["0"],
    run: (hands) =>
      hands.setViewport(oneToOne(hands.getViewport(), hands.getPointer() ?? hands.stageCenter())),
  },
  { keys: "H", does: "hide skeletons", bind: ["h"], run: send({ type: "toggle-skeletons" }) },
  { keys: "G", does: "show names", bind: ["g"], run: send({ type: "toggle-names" }) },
  {
    keys: "L",
    does: "loupe: what is at the cursor, enlarged",
    bind: ["l"],
    run: send({ type: "toggle-loupe" }),
  },
  {
    keys: "I",
    does: "show where the next keypoint is to be placed: definition and picture",
    bind: ["i"],
    run: send({ type: "toggle-guide" }),
  },
  { keys: "Ctrl+Z", does: "undo", bind: ["Ctrl+z"], run: send({ type: "undo" }) },
  {
    keys: "Ctrl+Shift+Z",
    does: "redo",
    bind: ["Ctrl+Shift+z", "Ctrl+y"],
    run: send({ type: "redo" }),
  },
  { keys: "Ctrl+S", does: "save the labels", bind: ["Ctrl+s"], run: send({ type: "save" }) },
  { keys: "?", does: "this table", bind: ["?"], run: send({ type: "toggle-help" }) },
];

/** The keys of a viewer. */
export const VIEW_TABLE: readonly KeyRow[] = [
  { keys: "click", does: "choose the instance there: its keypoints are listed", bind: [] },
  {
    keys: "N, P, arrows",
    does: "next, previous image of the list",
    bind: ["n", "ArrowRight"],
    run: send({ type: "goto", to: "next" }),
  },
  { keys: "", does: "", bind: ["p", "ArrowLeft"], run: send({ type: "goto", to: "previous" }) },
  {
    keys: "[ ], PageUp PageDown",
    does: "previous, next instance",
    bind: ["[", "PageUp"],
    run: send({ type: "step-instance", by: -1 }),
  },
  { keys: "", does: "", bind: ["]", "PageDown"], run: send({ type: "step-instance", by: 1 }) },
  { keys: "S", does: "pick this image, or not", bind: ["s"], run: (hands) => hands.viewer?.pick() },
  {
    keys: "T",
    does: "thumbnails instead of the picture",
    bind: ["t"],
    run: (hands) => hands.viewer?.toggleGrid(),
  },
  { keys: "drag, Space+drag", does: "pan", bind: [" "], run: () => undefined },
  ...KEY_TABLE.filter(
    ({ keys, bind }) =>
      keys.startsWith("wheel") ||
      ["F", "0", "H", "G", "L", "?", "+, -"].includes(keys) ||
      bind.includes("-"),
  ),
  {
    keys: "Esc",
    does: "close the thumbnails; choose no instance; again: give up the focus",
    bind: ["Escape"],
    run: (hands) => {
      if (!hands.viewer?.toggleGrid(false)) stepOut(hands);
    },
  },
];

const review =
  (deed: ReviewDeed) =>
  (hands: Hands): void =>
    hands.viewer?.review?.(deed);

/** The keys of a viewer with findings. */
export const REVIEW_TABLE: readonly KeyRow[] = [
  { keys: "J, K", does: "next, previous finding", bind: ["j"], run: review("next") },
  { keys: "", does: "", bind: ["k"], run: review("previous") },
  { keys: "A", does: "the finding is fine as it is", bind: ["a"], run: review("fine") },
  { keys: "D", does: "the finding is fixed", bind: ["d"], run: review("fixed") },
  {
    keys: "Ctrl+Z, Ctrl+Shift+Z",
    does: "undo, redo what was decided",
    bind: ["Ctrl+z"],
    run: review("undo"),
  },
  { keys: "", does: "", bind: ["Ctrl+Shift+z", "Ctrl+y"], run: review("redo") },
  ...VIEW_TABLE,
];

const bindings = (table: readonly KeyRow[]) =>
  new Map<string, Run>(
    table.flatMap(({ bind, run }) => (run ? bind.map((bound) => [bound, run] as const) : [])),
  );
const BINDINGS = bindings(KEY_TABLE);
const VIEW_BINDINGS = bindings(VIEW_TABLE);
const REVIEW_BINDINGS = bindings(REVIEW_TABLE);

export interface KeyLike {
  readonly key: string;
  readonly ctrlKey: boolean;
  readonly metaKey: boolean;
  readonly shiftKey: boolean;
  readonly altKey: boolean;
}

/** The binding that a key event stands for; Ctrl is Cmd on macOS. */
export function bindingOf(event: KeyLike): string {
  if (event.altKey) return "";
  const isLetter = event.key.length === 1;
  const key = isLetter ? event.key.toLowerCase() : event.key;
  const ctrl = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  // A sign such as "?" or "[" is what it is, with Shift or without.
  const isSign = isLetter && key.toUpperCase() === key;
  const shift = event.shiftKey && (!isSign || key === " ") ? "Shift+" : "";
  return ctrl + shift + key;
}

/** Whether a key is one of ours. */
export function isBound(event: KeyLike): boolean {
  const bound = bindingOf(event);
  return BINDINGS.has(bound) || /^[0-9]$/.test(bound);
}

export function visibilityOfPress(event: { shiftKey: boolean; button: number }): number {
  return event.shiftKey || event.button === 2 ? 1 : 2;
}

/** The topmost point under a screen position: the active instance's before the others'. */
export function hit(state: State, v: Viewport, at: Xy, radius = HIT_RADIUS): PointRef | null {
  if (!state.showSkeletons) return null;
  const active = state.doc.cursor.instance;
  let best: PointRef | null = null;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const instance of state.doc.instances) {
    if (instance.hidden) continue;
    const found = hitPoint(v, instance.points, at, radius);
    if (!found) continue;
    // Between points that are equally near the active instance wins: it is drawn on top.
    const distance = found.distance - (instance.uid === active ? radius : 0);
    if (distance <= bestDistance) {
      best = { instance: instance.uid, keypoint: found.keypoint };
      bestDistance = distance;
    }
  }
  return best;
}

interface Gesture {
  readonly kind: "press" | "pan" | "box" | "whole" | "none";
  readonly start: Xy;
  last: Xy;
  readonly target: PointRef | null;
  /** The handle it began on, where no point is, and the handles as they were then. */
  readonly handle: Handle | null;
  readonly held: Handles | null;
  visibility: number;
  hasMoved: boolean;
  /** The press that began it: no other pointer takes part. */
  readonly by: PointerEvent;
  /** The instance that was active then. */
  readonly active: string | null;
}

/** Whether a press ends what another one began: that has gone unseen, or is of a palm beside a pen. */
export function takesOver(event: PointerEvent, by: PointerEvent): boolean {
  if (event.pointerId === by.pointerId) return false;
  const { pointerType, isPrimary } = event;
  return pointerType === by.pointerType ? isPrimary : pointerType === "pen";
}

/** Listens on the stage's root and ink; every listener ends with `signal`. */
export function listen(
  root: HTMLElement,
  ink: HTMLCanvasElement,
  hands: Hands,
  signal: AbortSignal,
): void {
  let gesture: Gesture | null = null;
  let isSpaceDown = false;
  /** What a release of Space places; 0 after something was dragged meanwhile. */
  let placedBySpace = 0;
  let digits = "";
  let digitTimer: ReturnType<typeof setTimeout> | undefined;
  let holdTimer: ReturnType<typeof setTimeout> | undefined;
  const touches = new Map<number, Xy>();

  const at = (event: { clientX: number; clientY: number }): Xy => {
    const rect = ink.getBoundingClientRect();
    return { x: event.clientX - rect.left, y: event.clientY - rect.top };
  };

  const choose = () => {
    clearTimeout(digitTimer);
    const n = Number(digits);
    digits = "";
    if (n > 0) hands.dispatch({ type: "choose", keypoint: n - 1 });
  };

  const typeDigit = (digit: string) => {
    clearTimeout(digitTimer);
    digits += digit;
    if (digits.length >= 2) choose();
    else {
      hands.dispatch({ type: "hint", text: `Keypoint ${digits} …` });
      digitTimer = setTimeout(choose, DIGIT_PAUSE);
    }
  };
  signal.addEventListener("abort", () => {
    clearTimeout(digitTimer);
    clearTimeout(holdTimer);
  });

  const stopHold = () => {
    clearTimeout(holdTimer);
    hands.setHold(null);
  };

  /** A finger that rests on the stage places an occluded point. */
  const startHold = (where: Xy) => {
    hands.setHold(where);
    holdTimer = setTimeout(() => {
      const { press } = hands.getState();
      if (gesture?.kind !== "press" || !press) return;
      gesture.visibility = 1;
      hands.dispatch({ type: "press", press: { ...press, visibility: 1 } });
      hands.dispatch({ type: "hint", text: "Occluded: lift the finger to place it." });
    }, HOLD);
  };

  /** Ends what is under way as if it had not begun. */
  const abandon = () => {
    gesture = null;
    stopHold();
    hands.dispatch({ type: "press", press: null });
    hands.dispatch({ type: "drag", drag: null });
    hands.dispatch({ type: "box-draft", draft: null });
    hands.dispatch({ type: "whole", whole: null });
  };

  /** Whether it moves the whole instance. */
  const isHolding = ({ kind, held, handle }: Gesture) =>
    kind === "whole" || (kind === "press" && held !== null && handle !== null);
  /** Another instance can have become active meanwhile: it is not the one to be moved. */
  const isActive = ({ active }: Gesture) => hands.getState().doc.cursor.instance === active;

  root.addEventListener(
    "keydown",
    (event) => {
      if (event.target !== root || event.key === "Tab" || event.isComposing) return;
      const bound = bindingOf(event);
      const { viewer } = hands;
      const isDigit = !viewer && (/^[1-9]$/.test(bound) || (bound === "0" && digits !== ""));
      const viewing = viewer?.review ? REVIEW_BINDINGS : VIEW_BINDINGS;
      const table = viewer ? viewing : BINDINGS;
      const run = isDigit ? null : table.get(bound === "Shift+ " ? " " : bound);
      // What an annotator's key is does nothing in a viewer, nor in the notebook around it.
      if (!isDigit && !run && !(viewer && !event.ctrlKey && isBound(event))) return;
      // Both are needed, here and the attribute on the root: see the keyboard tests.
      event.preventDefault();
      event.stopPropagation();
      if (isDigit) return typeDigit(bound);
      if (digits !== "" && bound === "Escape") {
        clearTimeout(digitTimer);
        digits = "";
        hands.dispatch({ type: "hint", text: "" });
        return;
      }
      if (digits !== "") choose();
      if (gesture && bound === "Escape") return abandon(); // that, and nothing else
      if (bound === " " || bound === "Shift+ ") {
        if (event.repeat) return;
        placedBySpace = hands.isPointerByKeys() && !viewer ? (event.shiftKey ? 1 : 2) : 0;
        isSpaceDown = true;
        root.classList.add("is-panning");
        return;
      }
      if (
        event.repeat &&
        !bound.includes("Arrow") &&
        bound !== "Ctrl+z" &&
        bound !== "Ctrl+Shift+z"
      )
        return;
      run?.(hands, bound);
    },
    { signal },
  );
  root.addEventListener(
    "keyup",
    (event) => {
      if (event.key !== " ") return;
      const at = hands.getPointer();
      if (isSpaceDown && placedBySpace && at && hands.isPointerByKeys() && hands.isReady()) {
        const { x, y } = toImage(hands.getViewport(), at);
        hands.dispatch({ type: "place", x, y, visibility: placedBySpace, uid: hands.newUid() });
      }
      placedBySpace = 0;
      isSpaceDown = false;
      root.classList.remove("is-panning");
      if (event.target === root) event.preventDefault();
    },
    { signal },
  );
  root.addEventListener(
    "blur",
    () => {
      isSpaceDown = false;
      root.classList.remove("is-panning");
    },
    { signal },
  );

  const pinch = (before: readonly Xy[], after: readonly Xy[]) => {
    const [a, b] = before as [Xy, Xy];
    const [c, d] = after as [Xy, Xy];
    const mid = (p: Xy, q: Xy) => ({ x: (p.x + q.x) / 2, y: (p.y + q.y) / 2 });
    const gap = (p: Xy, q: Xy) => Math.max(1, Math.hypot(p.x - q.x, p.y - q.y));
    const from = mid(a, b);
    const to = mid(c, d);
    const zoomed = zoomAbout(hands.getViewport(), gap(c, d) / gap(a, b), from);
    hands.setViewport(pan(zoomed, to.x - from.x, to.y - from.y));
  };

  ink.addEventListener(
    "pointerdown",
    (event) => {
      const where = at(event);
      root.focus({ preventScroll: true });
      event.preventDefault();
      if (gesture && takesOver(event, gesture.by)) abandon();
      const isTouch = event.pointerType === "touch";
      // A palm beside a pen takes no part; a second finger does.
      if (gesture && !(isTouch && gesture.by.pointerType === "touch")) return;
      try {
        ink.setPointerCapture(event.pointerId);
      } catch {
        // A pointer that is gone already (a synthetic event) cannot be captured; nothing is lost.
      }
      hands.setPointer(where);
      if (isTouch) {
        if (event.isPrimary) touches.clear(); // the end of an earlier one may have been missed
        touches.set(event.pointerId, where);
        if (touches.size > 1) {
          abandon();
          hands.setPointer(null); // neither finger aims at anything
          return;
        }
      }
      if (gesture) return;
      const state = hands.getState();
      const v = hands.getViewport();
      const none = {
        start: where,
        last: where,
        target: null,
        handle: null,
        held: null,
        visibility: 2,
        hasMoved: false,
        by: event,
        active: state.doc.cursor.instance,
      };
      if (event.button === 1 || (event.button === 0 && isSpaceDown)) {
        placedBySpace = 0;
        gesture = { ...none, kind: "pan" };
        return;
      }
      if (event.button !== 0 && event.button !== 2) return;
      if (!hands.isReady()) {
        hands.dispatch({ type: "hint", text: "The next image is on its way." });
        return;
      }
      const p = toImage(v, where);
      if (hands.viewer) {
        const near = isTouch ? TOUCH_HIT_RADIUS : HIT_RADIUS;
        gesture = { ...none, kind: "pan", target: hit(state, v, where, near) };
        return;
      }
      if (state.isBoxMode) {
        gesture = { ...none, kind: "box" };
        hands.dispatch({ type: "box-draft", draft: { x0: p.x, y0: p.y, x1: p.x, y1: p.y } });
        return;
      }
      if (state.isWholeMode) {
        gesture = { ...none, kind: "whole" };
        return;
      }
      const radius = isTouch ? TOUCH_HIT_RADIUS : HIT_RADIUS;
      const target = hit(state, v, where, radius);
      if ((event.ctrlKey || event.metaKey) && event.button === 0) {
        gesture = { ...none, kind: target ? "press" : "none", target, visibility: 0 };
        if (target) hands.dispatch({ type: "select", target });
        else hands.dispatch({ type: "hint", text: "There is no point to select here." });
        return;
      }
      const visibility = visibilityOfPress(event);
      const held = target ? null : handlesOf(state, v, hands.stageSize());
      const handle = hitHandle(held, where);
      gesture = { ...none, kind: "press", target, handle, held, visibility };
      hands.dispatch({ type: "press", press: { x: p.x, y: p.y, visibility } });
      if (isTouch && visibility === 2) startHold(where);
    },
    { signal },
  );

  ink.addEventListener(
    "pointermove",
    (event) => {
      const where = at(event);
      if (event.pointerType === "touch" && touches.has(event.pointerId)) {
        const before = [...touches.values()];
        touches.set(event.pointerId, where);
        if (touches.size === 2) {
          pinch(before, [...touches.values()]);
          return;
        }
      }
      if (gesture && gesture.by.pointerId !== event.pointerId) return;
      hands.setPointer(where);
      if (!gesture) return;
      const moved = Math.hypot(where.x - gesture.start.x, where.y - gesture.start.y);
      if (moved > CLICK_SLOP && !gesture.hasMoved) {
        gesture.hasMoved = true;
        stopHold();
      }
      const v = hands.getViewport();
      const p = toImage(v, where);
      if (gesture.kind === "pan") {
        if (hands.viewer && !gesture.hasMoved) return; // a click, perhaps
        hands.setViewport(pan(v, where.x - gesture.last.x, where.y - gesture.last.y));
      } else if (isHolding(gesture) && gesture.hasMoved && !isActive(gesture)) {
        hands.dispatch({ type: "whole", whole: null });
      } else if (gesture.kind === "whole" && gesture.hasMoved) {
        const [dx, dy] = [where.x - gesture.start.x, where.y - gesture.start.y];
        const whole = event.shiftKey
          ? { dx: 0, dy: 0, scale: Math.max(0.05, 1.01 ** (dx - dy)) }
          : { dx: dx / v.scale, dy: dy / v.scale, scale: 1 };
        hands.dispatch({ type: "whole", whole });
      } else if (gesture.kind === "box") {
        const from = toImage(v, gesture.start);
        hands.dispatch({ type: "box-draft", draft: { x0: from.x, y0: from.y, x1: p.x, y1: p.y } });
      } else if (gesture.kind === "press" && gesture.hasMoved) {
        if (gesture.target) {
          // The point moves by as much as the pointer: it does not jump to the cursor.
          const instance = hands.getState().doc.byUid.get(gesture.target.instance);
          if (instance) {
            const i = 3 * gesture.target.keypoint;
            const x = (instance.points[i] as number) + (where.x - gesture.start.x) / v.scale;
            const y = (instance.points[i + 1] as number) + (where.y - gesture.start.y) / v.scale;
            hands.dispatch({ type: "drag", drag: { target: gesture.target, x, y } });
          }
        } else if (gesture.held && gesture.handle) {
          const from = toImage(v, gesture.start);
          const by = { x: p.x - from.x, y: p.y - from.y };
          const whole = wholeBy(hands.getState(), gesture.held, gesture.handle, by);
          hands.dispatch({ type: "whole", whole });
        } else if (gesture.visibility) {
          hands.dispatch({ type: "press", press: { ...p, visibility: gesture.visibility } });
        }
      }
      gesture.last = where;
    },
    { signal },
  );

  const end = (event: PointerEvent, isCancelled: boolean) => {
    touches.delete(event.pointerId);
    const done = gesture;
    if (!done || done.by.pointerId !== event.pointerId) return;
    if (isCancelled) {
      abandon();
      return;
    }
    gesture = null;
    stopHold();
    const where = at(event);
    const state = hands.getState();
    const v = hands.getViewport();
    if (done.kind === "whole" || (done.kind === "press" && state.whole)) {
      hands.dispatch(isActive(done) ? { type: "drop-whole" } : { type: "whole", whole: null });
    } else if (done.kind === "pan" && hands.viewer && !done.hasMoved && event.button === 0) {
      hands.dispatch({ type: "activate", instance: done.target?.instance ?? null });
    } else if (done.kind === "box") {
      const draft = state.boxDraft;
      hands.dispatch({ type: "box-draft", draft: null });
      if (draft) finishBox(hands, draft);
    } else if (done.kind === "press" && state.drag) {
      hands.dispatch({ type: "drop" });
    } else if (done.kind === "press" && done.visibility && state.press) {
      const moved = Math.hypot(where.x - done.start.x, where.y - done.start.y);
      if (moved > STRAY_SLOP) {
        hands.dispatch({ type: "press", press: null });
        hands.dispatch({
          type: "hint",
          text: "Nothing placed: click without moving. To pan, hold Space and drag.",
        });
        return;
      }
      const p = toImage(v, moved > CLICK_SLOP ? where : done.start);
      hands.dispatch({
        type: "place",
        x: p.x,
        y: p.y,
        visibility: done.visibility,
        uid: hands.newUid(),
      });
    }
  };
  ink.addEventListener("pointerup", (event) => end(event, false), { signal });
  ink.addEventListener("pointercancel", (event) => end(event, true), { signal });
  ink.addEventListener(
    "pointerleave",
    () => {
      if (!gesture) hands.setPointer(null);
    },
    { signal },
  );
  // The right button places a point: neither the browser's menu nor that of the notebook's cell.
  const noMenu = (event: Event) => {
    event.preventDefault();
    event.stopPropagation();
  };
  ink.addEventListener("contextmenu", noMenu, { signal });
  ink.addEventListener(
    "wheel",
    (event) => {
      const isFocused = root.contains(root.ownerDocument.activeElement);
      if (!isFocused && !event.ctrlKey) return;
      event.preventDefault();
      event.stopPropagation();
      const unit = event.deltaMode === 1 ? 33 : event.deltaMode === 2 ? 400 : 1;
      const delta = Math.max(-300, Math.min(300, event.deltaY * unit));
      // A pinch on a touchpad comes as small steps of a wheel with Ctrl.
      const strength = event.ctrlKey && Math.abs(event.deltaY) < 50 ? 5 : 1;
      const factor = NOTCH ** ((-delta * strength) / 100);
      hands.setViewport(zoomAbout(hands.getViewport(), factor, at(event)));
    },
    { signal, passive: false },
  );
}

function finishBox(hands: Hands, draft: { x0: number; y0: number; x1: number; y1: number }): void {
  const image = hands.getState().scene.image;
  if (!image) return;
  const clamp = (value: number, max: number) => Math.min(max, Math.max(0, value));
  const x0 = clamp(Math.min(draft.x0, draft.x1), image.width);
  const x1 = clamp(Math.max(draft.x0, draft.x1), image.width);
  const y0 = clamp(Math.min(draft.y0, draft.y1), image.height);
  const y1 = clamp(Math.max(draft.y0, draft.y1), image.height);
  if (x1 - x0 < 1 || y1 - y0 < 1) {
    hands.dispatch({
      type: "hint",
      text: "The box was smaller than one pixel: drag a larger one.",
    });
    return;
  }
  const bbox: BBox = [x0, y0, x1 - x0, y1 - y0];
  hands.dispatch({ type: "box", bbox, uid: hands.newUid() });
}
