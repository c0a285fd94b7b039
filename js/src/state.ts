/**
 * What the person sees and is doing, as one value, and how an action changes it.
 *
 * Pure: no DOM, no model, no clock, no randomness but what an action brings along. The truth is the
 * scene that Python sends; on top of it lie the edits that Python has not answered yet (`pending`).
 * `doc` is the two together, and all that is drawn or hit-tested comes from it.
 */

import type {
  BBox,
  Category,
  Cursor,
  EditBody,
  Scene,
  SceneFinding,
  SceneInstance,
  Template,
  Token,
  WireCursor,
} from "./model";

/** What an edit changes on the screen until Python's scene includes it. */
export interface Effect {
  readonly uid: string | null;
  /** The instance afterwards; null when it is gone. */
  readonly value: SceneInstance | null;
  readonly cursor: Cursor | null;
  readonly status: "done" | "open" | null;
}

/** An edit that Python has not acknowledged. */
export interface Entry {
  readonly client: string;
  readonly seq: number;
  readonly body: EditBody;
  /** Index of the image it belongs to; -1 when it belongs to none (undo, goto, save). */
  readonly image: number;
  readonly effect: Effect | null;
  /** Scene version that holds it, once acknowledged. */
  readonly version: number | null;
}

/** A step of this view that can be taken back without asking Python what it was. */
export interface LocalStep {
  readonly token: Token;
  readonly image: number;
  readonly uid: string | null;
  readonly before: SceneInstance | null;
  readonly after: SceneInstance | null;
  readonly cursorBefore: Cursor;
  readonly cursorAfter: Cursor;
  readonly statusBefore: "done" | "open";
  readonly statusAfter: "done" | "open";
}

/** Scene and edits together. */
export interface Doc {
  readonly instances: readonly SceneInstance[];
  readonly byUid: ReadonlyMap<string, SceneInstance>;
  readonly cursor: Cursor;
  readonly isDone: boolean;
  /** An image change has been asked for and has not come yet. */
  readonly isLeaving: boolean;
}

export interface PointRef {
  readonly instance: string;
  readonly keypoint: number;
}

export interface Drag {
  readonly target: PointRef;
  readonly x: number;
  readonly y: number;
}

/** A click that is pressed and not yet released: its ink shows already. */
export interface Press {
  readonly x: number;
  readonly y: number;
  readonly visibility: number;
}

/** How the whole active instance is being moved: shift in image px, and scale about its middle. */
export interface Whole {
  readonly dx: number;
  readonly dy: number;
  readonly scale: number;
}

/** An instance that was copied. */
export interface Copied {
  readonly category: number;
  readonly points: readonly number[];
  readonly bbox: BBox | null;
}

export interface BoxDraft {
  readonly x0: number;
  readonly y0: number;
  readonly x1: number;
  readonly y1: number;
}

/** What Python painted last and where, per layer. */
export interface Painted {
  readonly scene: Scene;
  readonly active: string | null;
}

export interface Notice {
  readonly id: number;
  readonly level: "info" | "error";
  readonly text: string;
}

export interface State {
  readonly client: string;
  readonly seq: number;
  readonly scene: Scene;
  readonly categories: readonly Category[];
  readonly templates: readonly (Template | null)[];
  readonly pending: readonly Entry[];
  readonly doc: Doc;
  readonly undoStack: readonly LocalStep[];
  readonly redoStack: readonly LocalStep[];
  readonly selected: PointRef | null;
  readonly drag: Drag | null;
  readonly press: Press | null;
  readonly isBoxMode: boolean;
  readonly boxDraft: BoxDraft | null;
  /** The box that is drawn next takes up the template: the mean pose, or the schema's figure. */
  readonly isTemplate: boolean;
  /** A drag moves the whole active instance. */
  readonly isWholeMode: boolean;
  readonly whole: Whole | null;
  readonly copied: Copied | null;
  readonly painted: Painted | null;
  readonly showSkeletons: boolean;
  readonly showNames: boolean;
  readonly showLoupe: boolean;
  readonly showGuide: boolean;
  readonly isHelpOpen: boolean;
  readonly brightness: number;
  readonly contrast: number;
  readonly isConnected: boolean;
  /** Shown in the status line until the next action. */
  readonly hint: string;
  readonly notices: readonly Notice[];
  /** Spoken by a screen reader. */
  readonly spoken: string;
}

export type Action =
  | { type: "scene"; scene: Scene }
  | { type: "categories"; categories: readonly Category[] }
  | { type: "templates"; templates: readonly (Template | null)[] }
  | { type: "ack"; client: string; seq: number; version: number }
  | { type: "rejected"; client: string; seq: number; why: string }
  | { type: "painted"; scene: Scene }
  | { type: "notice"; level: "info" | "error"; text: string }
  | { type: "dismiss"; id: number }
  | { type: "connected"; isConnected: boolean }
  | { type: "restore"; entries: readonly Entry[] }
  | { type: "press"; press: Press | null }
  | { type: "swap" }
  | { type: "mirror" }
  | { type: "copy" }
  | { type: "paste"; uid: string }
  | { type: "repeat" }
  | { type: "whole-mode"; isOn: boolean }
  | { type: "whole"; whole: Whole | null }
  | { type: "drop-whole" }
  | { type: "place"; x: number; y: number; visibility: number; uid: string }
  | { type: "drag"; drag: Drag | null }
  | { type: "drop" }
  | { type: "select"; target: PointRef | null }
  | { type: "skip" }
  | { type: "back"; hovered: PointRef | null }
  | { type: "finish" }
  | { type: "leave" }
  | { type: "choose"; keypoint: number }
  | { type: "cycle-visibility"; target: PointRef | null }
  | { type: "unlabel"; target: PointRef | null }
  | { type: "nudge"; dx: number; dy: number }
  | { type: "activate"; instance: string | null }
  | { type: "step-instance"; by: 1 | -1 }
  | { type: "remove"; instance: string | null }
  | { type: "flags"; instance: string; hidden?: boolean; locked?: boolean }
  | { type: "category"; category: number }
  | { type: "box-mode"; isOn: boolean; isTemplate?: boolean }
  | { type: "box-draft"; draft: BoxDraft | null }
  | { type: "box"; bbox: BBox; uid: string }
  | { type: "toggle-done" }
  | { type: "goto"; to: number | string }
  | { type: "undo" }
  | { type: "redo" }
  | { type: "save" }
  | { type: "refresh" }
  | { type: "resolve"; conflict: number; take: boolean }
  | { type: "decide" | "repair"; finding: string }
  | { type: "toggle-skeletons" }
  | { type: "toggle-names" }
  | { type: "toggle-loupe" }
  | { type: "toggle-guide" }
  | { type: "toggle-help"; isOpen?: boolean }
  | { type: "filter"; brightness: number; contrast: number }
  | { type: "hint"; text: string };

export function initialState(client: string, scene: Scene, categories: readonly Category[]): State {
  return {
    client,
    seq: 0,
    scene,
    categories,
    templates: [],
    pending: [],
    doc: overlay(scene, []),
    undoStack: [],
    redoStack: [],
    selected: null,
    drag: null,
    press: null,
    isBoxMode: false,
    boxDraft: null,
    isTemplate: false,
    isWholeMode: false,
    whole: null,
    copied: null,
    painted: null,
    showSkeletons: true,
    showNames: false,
    showLoupe: false,
    showGuide: false,
    isHelpOpen: false,
    brightness: 1,
    contrast: 1,
    isConnected: true,
    hint: "",
    notices: [],
    spoken: "",
  };
}

/** The scene with the unanswered edits of its image laid over it. */
export function overlay(scene: Scene, pending: readonly Entry[]): Doc {
  const image = scene.image?.index ?? -1;
  const byUid = new Map(scene.instances.map((instance) => [instance.uid, instance]));
  let cursor = scene.cursor;
  let isDone = scene.image?.status === "done";
  let isLeaving = false;
  let isRestored = false;
  for (const entry of pending) {
    if (entry.body.op === "goto") isLeaving = true;
    if (!entry.effect || entry.image !== image) continue;
    const { uid, value, status } = entry.effect;
    if (uid !== null) {
      if (!value) byUid.delete(uid);
      else {
        isRestored ||= !byUid.has(uid);
        byUid.set(uid, value);
      }
    }
    if (entry.effect.cursor) cursor = entry.effect.cursor;
    if (status) isDone = status === "done";
  }
  const instances = [...byUid.values()];
  // A removal that is undone puts the instance back in its place; a new one has the last ordinal.
  if (isRestored) instances.sort((a, b) => a.ordinal - b.ordinal);
  return { instances, byUid, cursor, isDone, isLeaving };
}

export function categoryOf(state: State, instance?: SceneInstance | null): Category | undefined {
  return state.categories[instance ? instance.category : state.doc.cursor.category];
}

/** The active instance, or null when the next click starts a new one and none is selected. */
export function activeInstance(state: State): SceneInstance | null {
  const uid = state.doc.cursor.instance;
  return uid === null ? null : (state.doc.byUid.get(uid) ?? null);
}

/** Index of the keypoint that the next click places. */
export function nextKeypoint(state: State): number {
  return state.doc.cursor.keypoint ?? 0;
}

/** Whether the next click starts a new instance. */
export function startsNewInstance(state: State): boolean {
  return activeInstance(state) === null || state.doc.cursor.keypoint === null;
}

export function visibilityOf(instance: SceneInstance, keypoint: number): number {
  return instance.points[3 * keypoint + 2] ?? 0;
}

export function countLabeled(instance: { readonly points: readonly number[] }): number {
  let n = 0;
  for (let i = 2; i < instance.points.length; i += 3) if (instance.points[i]) n++;
  return n;
}

/** First unlabeled keypoint at or after `from`, or null. */
export function nextUnlabeled(points: readonly number[], from: number): number | null {
  for (let k = from; 3 * k < points.length; k++) if (!points[3 * k + 2]) return k;
  return null;
}

export function withPoint(
  points: readonly number[],
  keypoint: number,
  x: number,
  y: number,
  visibility: number,
): number[] {
  const changed = points.slice();
  changed[3 * keypoint] = x;
  changed[3 * keypoint + 1] = y;
  changed[3 * keypoint + 2] = visibility;
  return changed;
}

const wire = (cursor: Cursor): WireCursor => [cursor.category, cursor.instance, cursor.keypoint];

function withDoc(state: State): State {
  return { ...state, doc: overlay(state.scene, state.pending) };
}

function say(state: State, text: string): State {
  return { ...state, hint: text, spoken: text };
}

/** Adds an edit to the outbox, with its effect and, if it is a step of its own, the way back. */
function push(
  state: State,
  body: EditBody,
  effect: Effect | null,
  step: { before: SceneInstance | null; uid: string | null } | null,
): State {
  const seq = state.seq + 1;
  const isTakenBack = body.op === "undo" || body.op === "redo";
  const image = "image" in body && !isTakenBack ? body.image : -1;
  const { schemas } = state.scene;
  const stamped = schemas ? { ...body, schemas } : body;
  const entry: Entry = { client: state.client, seq, body: stamped, image, effect, version: null };
  let { undoStack, redoStack } = state;
  if (step) {
    const status = state.doc.isDone ? "done" : "open";
    undoStack = [
      ...undoStack,
      {
        token: [state.client, seq],
        image,
        uid: step.uid,
        before: step.before,
        after: effect?.value ?? null,
        cursorBefore: state.doc.cursor,
        cursorAfter: effect?.cursor ?? state.doc.cursor,
        statusBefore: status,
        statusAfter: effect?.status ?? status,
      },
    ];
    redoStack = [];
  }
  return withDoc({
    ...state,
    seq,
    pending: [...state.pending, entry],
    undoStack,
    redoStack,
    hint: "",
  });
}

/** Why nothing can be edited now, or an empty string. */
export function refusal(state: State): string {
  if (!state.scene.image) return "There is no image.";
  if (state.doc.isLeaving) return "The next image is on its way.";
  return "";
}

function change(
  state: State,
  instance: SceneInstance,
  body: EditBody,
  cursor: Cursor,
  before: SceneInstance | null,
): State {
  return push(
    state,
    body,
    { uid: instance.uid, value: instance, cursor, status: null },
    { uid: instance.uid, before },
  );
}

/** Sets one keypoint of an existing instance; the cursor goes to `cursor`. */
function setPoint(
  state: State,
  instance: SceneInstance,
  keypoint: number,
  x: number,
  y: number,
  visibility: number,
  cursor: Cursor,
): State {
  const image = state.scene.image?.index ?? -1;
  const points = withPoint(instance.points, keypoint, x, y, visibility);
  return change(
    state,
    { ...instance, points, hidden: false },
    {
      op: "point",
      image,
      instance: instance.uid,
      keypoint,
      x,
      y,
      visibility,
      next: wire(cursor),
    },
    cursor,
    instance,
  );
}

function place(state: State, x: number, y: number, visibility: number, uid: string): State {
  const image = state.scene.image;
  const why = refusal(state);
  if (!image || why) return say(state, why);
  if (image.error) return say(state, "This image cannot be shown, so nothing can be placed on it.");
  if (!(x >= 0 && y >= 0 && x <= image.width && y <= image.height))
    return say(state, "Outside the image: nothing was placed.");
  const category = categoryOf(state);
  if (!category) return say(state, "There is no category to label.");
  const isNew = startsNewInstance(state);
  const existing = isNew ? null : activeInstance(state);
  if (existing?.locked) return say(state, "This instance is locked: unlock it in the label stack.");
  const keypoint = isNew && state.doc.cursor.instance !== null ? 0 : nextKeypoint(state);
  const name = category.keypoints[keypoint];
  if (name === undefined) return say(state, "There is no such keypoint.");
  const before: SceneInstance = existing ?? {
    uid,
    category: state.doc.cursor.category,
    ordinal: state.doc.instances.length,
    points: new Array(3 * category.keypoints.length).fill(0),
    finished: false,
    bbox: null,
    hidden: false,
    locked: false,
  };
  const points = withPoint(before.points, keypoint, x, y, visibility);
  const next = nextUnlabeled(points, keypoint + 1);
  const finished = before.finished || next === null;
  const instance: SceneInstance = { ...before, points, finished, hidden: false };
  const cursor: Cursor = {
    category: before.category,
    instance: instance.uid,
    keypoint: before.finished ? null : next,
  };
  const body: EditBody = {
    op: "point",
    image: image.index,
    instance: instance.uid,
    keypoint,
    x,
    y,
    visibility,
    next: wire(cursor),
  };
  if (!existing) body.new = true;
  if (finished && !before.finished) body.finish = true;
  const placed = change({ ...state, selected: null }, instance, body, cursor, existing);
  const flag = visibility === 1 ? ", occluded" : "";
  return { ...placed, spoken: `${name} placed${flag}. ${announce(placed)}` };
}

/** The next keypoint in words. */
export function announce(state: State): string {
  const category = categoryOf(state);
  const name = category?.keypoints[nextName(state)];
  if (name === undefined) return "";
  return startsNewInstance(state) ? `Next: ${name} of a new instance.` : `Next: ${name}.`;
}

/** Index of the next keypoint as shown: the first one when the next click starts a new instance. */
export function nextName(state: State): number {
  if (startsNewInstance(state) && state.doc.cursor.instance !== null) return 0;
  return nextKeypoint(state);
}

function moveOn(state: State, op: "skip" | "cursor", cursor: Cursor): State {
  const image = state.scene.image?.index ?? -1;
  return push(
    state,
    { op, image, next: wire(cursor) },
    { uid: null, value: null, cursor, status: null },
    op === "skip" ? { uid: null, before: null } : null,
  );
}

function skip(state: State): State {
  const why = refusal(state);
  if (why) return say(state, why);
  const category = categoryOf(state);
  if (!category) return state;
  const active = startsNewInstance(state) ? null : activeInstance(state);
  const keypoint = nextName(state);
  const name = category.keypoints[keypoint];
  const at = state.doc.cursor.category;
  let skipped: State;
  if (active) {
    const next = nextUnlabeled(active.points, keypoint + 1);
    const cursor: Cursor = { category: at, instance: active.uid, keypoint: next };
    skipped =
      next === null && !active.finished
        ? finishWith(state, active, cursor)
        : moveOn(state, "skip", cursor);
  } else {
    const next = keypoint + 1 < category.keypoints.length ? keypoint + 1 : 0;
    skipped = moveOn(state, "skip", { category: at, instance: null, keypoint: next });
  }
  return { ...skipped, selected: null, spoken: `${name} skipped. ${announce(skipped)}` };
}

function finishWith(state: State, active: SceneInstance, cursor: Cursor): State {
  const image = state.scene.image?.index ?? -1;
  return change(
    state,
    { ...active, finished: true },
    { op: "finish", image, instance: active.uid, next: wire(cursor) },
    cursor,
    active,
  );
}

function back(state: State): State {
  const why = refusal(state);
  if (why) return say(state, why);
  if (state.selected) return unlabel(state, state.selected);
  const { category, keypoint } = state.doc.cursor;
  const active = activeInstance(state);
  if (!active) {
    if (!keypoint) return say(state, "There is nothing to go back to.");
    return moveOn(state, "skip", { category, instance: null, keypoint: keypoint - 1 });
  }
  if (active.locked) return say(state, "This instance is locked: unlock it in the label stack.");
  let previous = (keypoint ?? active.points.length / 3) - 1;
  if (keypoint === null) while (previous >= 0 && !visibilityOf(active, previous)) previous--;
  if (previous < 0) return say(state, "This is the first keypoint.");
  if (!visibilityOf(active, previous))
    return moveOn(state, "skip", { category, instance: active.uid, keypoint: previous });
  if (countLabeled(active) === 1 && !active.finished && !active.bbox)
    return remove(state, active, { category, instance: null, keypoint: previous });
  const cursor = { category, instance: active.uid, keypoint: previous };
  return setPoint(state, active, previous, 0, 0, 0, cursor);
}

function unlabel(state: State, target: PointRef): State {
  const instance = state.doc.byUid.get(target.instance);
  if (!instance || !visibilityOf(instance, target.keypoint)) return say(state, "No point there.");
  if (instance.locked) return say(state, "This instance is locked: unlock it in the label stack.");
  const isActive = state.doc.cursor.instance === instance.uid;
  const cursor: Cursor =
    isActive || instance.category === state.doc.cursor.category
      ? { category: instance.category, instance: instance.uid, keypoint: target.keypoint }
      : state.doc.cursor;
  const name = state.categories[instance.category]?.keypoints[target.keypoint];
  const changed = setPoint(
    { ...state, selected: null },
    instance,
    target.keypoint,
    0,
    0,
    0,
    cursor,
  );
  return { ...changed, spoken: `${name} unlabeled. ${announce(changed)}` };
}

function remove(state: State, instance: SceneInstance, cursor: Cursor): State {
  const image = state.scene.image?.index ?? -1;
  return push(
    { ...state, selected: null, drag: null },
    { op: "remove", image, instance: instance.uid, next: wire(cursor) },
    { uid: instance.uid, value: null, cursor, status: null },
    { uid: instance.uid, before: instance },
  );
}

/** Where the cursor goes when an instance is chosen: on with an unfinished one, else nowhere. */
function cursorFor(instance: SceneInstance): Cursor {
  let keypoint: number | null = null;
  if (!instance.finished) {
    let last = instance.points.length / 3 - 1;
    while (last >= 0 && !visibilityOf(instance, last)) last--;
    keypoint = nextUnlabeled(instance.points, last + 1) ?? nextUnlabeled(instance.points, 0);
  }
  return { category: instance.category, instance: instance.uid, keypoint };
}

function activate(state: State, uid: string | null): State {
  const why = refusal(state);
  if (why) return say(state, why);
  const instance = uid === null ? null : state.doc.byUid.get(uid);
  if (uid !== null && !instance) return state;
  const cursor: Cursor = instance
    ? cursorFor(instance)
    : { category: state.doc.cursor.category, instance: null, keypoint: 0 };
  const selected = state.selected?.instance === uid ? state.selected : null;
  const moved = moveOn({ ...state, selected }, "cursor", cursor);
  if (!instance) return moved;
  const name = state.categories[instance.category]?.name ?? "";
  return { ...moved, spoken: `${name} ${state.doc.instances.indexOf(instance) + 1} selected.` };
}

function drop(state: State): State {
  const drag = state.drag;
  if (!drag) return state;
  const instance = state.doc.byUid.get(drag.target.instance);
  const done = { ...state, drag: null, selected: drag.target };
  if (!instance) return { ...done, selected: null };
  const image = state.scene.image;
  if (!image) return done;
  const x = Math.min(image.width, Math.max(0, drag.x));
  const y = Math.min(image.height, Math.max(0, drag.y));
  const isActive = state.doc.cursor.instance === instance.uid;
  const cursor = isActive ? state.doc.cursor : cursorFor(instance);
  const visibility = visibilityOf(instance, drag.target.keypoint);
  const name = state.categories[instance.category]?.keypoints[drag.target.keypoint];
  const moved = setPoint(done, instance, drag.target.keypoint, x, y, visibility, cursor);
  return { ...moved, spoken: `${name} moved.` };
}

/** `value` with its flags as they are now: hiding and locking are no undo steps. */
function withFlags(state: State, value: SceneInstance | null): SceneInstance | null {
  const now = value && state.doc.byUid.get(value.uid);
  return value && { ...value, hidden: now?.hidden ?? false, locked: now?.locked ?? false };
}

function undo(state: State): State {
  const step = state.undoStack.at(-1);
  const here = state.scene.image?.index ?? -1;
  if (!step && !state.scene.undo && !state.pending.some((entry) => entry.version === null))
    return say(state, "There is nothing to undo.");
  const effect: Effect | null =
    step && step.image === here
      ? {
          uid: step.uid,
          value: withFlags(state, step.before),
          cursor: step.cursorBefore,
          status: step.statusBefore,
        }
      : null;
  const undone = push({ ...state, selected: null }, { op: "undo", image: here }, effect, null);
  return settleImage(undone, effect !== null, here, {
    undoStack: state.undoStack.slice(0, -1),
    redoStack: step ? [...state.redoStack, step] : [],
  });
}

function redo(state: State): State {
  const step = state.redoStack.at(-1);
  const here = state.scene.image?.index ?? -1;
  // What a step was that Python has just been asked to undo may be known to Python alone.
  const isUndoing = state.pending.at(-1)?.body.op === "undo";
  if (!step && !state.scene.redo && !isUndoing) return say(state, "There is nothing to redo.");
  const effect: Effect | null =
    step && step.image === here
      ? {
          uid: step.uid,
          value: withFlags(state, step.after),
          cursor: step.cursorAfter,
          status: step.statusAfter,
        }
      : null;
  const redone = push({ ...state, selected: null }, { op: "redo", image: here }, effect, null);
  return settleImage(redone, effect !== null, here, {
    undoStack: step ? [...state.undoStack, step] : [],
    redoStack: state.redoStack.slice(0, -1),
  });
}

/** An undo or redo with a known effect belongs to the image it is seen on. */
function settleImage(
  state: State,
  hasEffect: boolean,
  image: number,
  stacks: { undoStack: readonly LocalStep[]; redoStack: readonly LocalStep[] },
): State {
  const last = state.pending.at(-1) as Entry;
  const pending = hasEffect ? [...state.pending.slice(0, -1), { ...last, image }] : state.pending;
  return withDoc({ ...state, ...stacks, pending });
}

const sameToken = (a: Token | null | undefined, b: Token | null | undefined): boolean =>
  a?.[0] === b?.[0] && a?.[1] === b?.[1];

/** With nothing on its way, Python's word on what undo would do decides whether ours still holds. */
function reconcileStacks(state: State): State {
  // An edit that is acknowledged but not in the scene yet is not in its `undo` either.
  if (state.pending.length > 0) return state;
  const { undo: top, redo: redoTop } = state.scene;
  const undoStack = sameToken(top?.token, state.undoStack.at(-1)?.token) ? state.undoStack : [];
  const redoStack = sameToken(redoTop?.token, state.redoStack.at(-1)?.token) ? state.redoStack : [];
  if (undoStack === state.undoStack && redoStack === state.redoStack) return state;
  return { ...state, undoStack, redoStack };
}

/** Drops what the scene holds already, and what points at things that are gone. */
function receiveScene(state: State, scene: Scene): State {
  // What is under way, was done or copied has keypoint indices of a schema that is no more.
  const isMigrated = (scene.schemas ?? "") !== (state.scene.schemas ?? "");
  const pending = state.pending
    .filter((entry) => entry.version === null || entry.version > scene.version)
    .map((entry) => (isMigrated ? { ...entry, effect: null } : entry));
  const isOther =
    isMigrated ||
    scene.image?.index !== state.scene.image?.index ||
    scene.dataset !== state.scene.dataset;
  const { undoStack, redoStack, copied } = state;
  const steps = isMigrated
    ? { undoStack: [], redoStack: [], copied: null }
    : { undoStack, redoStack, copied };
  const next = withDoc({ ...state, ...steps, scene, pending });
  const isGone = (ref: PointRef | null | undefined) => !ref || !next.doc.byUid.has(ref.instance);
  return reconcileStacks({
    ...next,
    selected: isOther || isGone(next.selected) ? null : next.selected,
    drag: isOther || isGone(next.drag?.target) ? null : next.drag,
    press: isOther ? null : next.press,
    boxDraft: isOther ? null : next.boxDraft,
    whole: isOther ? null : next.whole,
    isWholeMode: next.isWholeMode && !isOther && next.doc.cursor.instance !== null,
  });
}

function acknowledge(state: State, client: string, seq: number, version: number): State {
  const pending = state.pending
    .map((entry) =>
      entry.client === client && entry.seq <= seq && entry.version === null
        ? { ...entry, version }
        : entry,
    )
    .filter((entry) => entry.version === null || entry.version > state.scene.version);
  return reconcileStacks(withDoc({ ...state, pending }));
}

function reject(state: State, client: string, seq: number, why: string): State {
  const pending = state.pending.filter((entry) => entry.client !== client || entry.seq !== seq);
  // What came before a refused edit is no longer known for sure: Python's word decides again.
  return addNotice(
    withDoc({ ...state, pending, undoStack: [], redoStack: [], selected: null }),
    "error",
    why,
  );
}

function addNotice(state: State, level: "info" | "error", text: string): State {
  const id = (state.notices.at(-1)?.id ?? 0) + 1;
  const others = state.notices.filter((notice) => notice.text !== text).slice(-3);
  return { ...state, notices: [...others, { id, level, text }], spoken: text };
}

function stepInstance(state: State, by: 1 | -1): State {
  const { instances, cursor } = state.doc;
  if (instances.length === 0) return say(state, "There is no instance in this image.");
  const at = instances.findIndex((instance) => instance.uid === cursor.instance);
  const to =
    at < 0 ? (by > 0 ? 0 : instances.length - 1) : (at + by + instances.length) % instances.length;
  return activate({ ...state, selected: null }, instances[to]?.uid ?? null);
}

function nudge(state: State, dx: number, dy: number): State {
  const target = state.selected;
  const instance = target && state.doc.byUid.get(target.instance);
  const image = state.scene.image;
  if (!target || !instance || !image || !visibilityOf(instance, target.keypoint))
    return say(state, "Select a point first: Ctrl+click it, or choose it in the list.");
  if (instance.locked) return say(state, "This instance is locked: unlock it in the label stack.");
  const i = 3 * target.keypoint;
  const x = Math.min(image.width, Math.max(0, (instance.points[i] as number) + dx));
  const y = Math.min(image.height, Math.max(0, (instance.points[i + 1] as number) + dy));
  const visibility = visibilityOf(instance, target.keypoint);
  return setPoint(state, instance, target.keypoint, x, y, visibility, state.doc.cursor);
}

function cycleVisibility(state: State, target: PointRef | null): State {
  const instance = target && state.doc.byUid.get(target.instance);
  const old = instance && target ? visibilityOf(instance, target.keypoint) : 0;
  if (!instance || !target || !old)
    return say(state, "Point at a placed keypoint, or select one, to change its visibility.");
  if (instance.locked) return say(state, "This instance is locked: unlock it in the label stack.");
  const i = 3 * target.keypoint;
  const visibility = old === 2 ? 1 : 2;
  const [x, y] = [instance.points[i] as number, instance.points[i + 1] as number];
  const cycled = setPoint(state, instance, target.keypoint, x, y, visibility, state.doc.cursor);
  const name = state.categories[instance.category]?.keypoints[target.keypoint];
  return { ...cycled, spoken: `${name} is ${visibility === 1 ? "occluded" : "visible"}.` };
}

/** The active instance, if all of it can be changed now; else why not. */
function wholeInstance(state: State): SceneInstance | string {
  const why = refusal(state);
  if (why) return why;
  const active = activeInstance(state);
  if (!active) return "Choose an instance first: its row in the list, or [ and ].";
  if (active.locked) return "This instance is locked: unlock it in the label stack.";
  return active;
}

type How = Extract<EditBody, { op: "pose" }>["how"];

/** Gives an instance all of its points, as one step. */
function pose(
  state: State,
  how: How,
  instance: SceneInstance,
  before: SceneInstance | null,
  cursor: Cursor,
): State {
  const image = state.scene.image?.index ?? -1;
  const body: EditBody = {
    op: "pose",
    how,
    image,
    instance: instance.uid,
    points: instance.points,
    bbox: instance.bbox,
    next: wire(cursor),
  };
  if (!before) body.new = true;
  return change({ ...state, selected: null }, { ...instance, hidden: false }, body, cursor, before);
}

/** Points with left and right exchanged: each takes the place of its counterpart. */
function swapped(points: readonly number[], flip: readonly number[]): number[] {
  return flip.flatMap((other) => points.slice(3 * other, 3 * other + 3));
}

/** The least box around the labeled points; null without one. */
function extentOf(instance: SceneInstance): BBox | null {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let k = 0; k < instance.points.length / 3; k++) {
    if (!visibilityOf(instance, k)) continue;
    const [x, y] = [instance.points[3 * k] as number, instance.points[3 * k + 1] as number];
    x0 = Math.min(x0, x);
    y0 = Math.min(y0, y);
    x1 = Math.max(x1, x);
    y1 = Math.max(y1, y);
  }
  return x0 === Infinity ? null : [x0, y0, x1 - x0, y1 - y0];
}

/** Middle of the labeled points; without one, of the box. */
export function middle(instance: SceneInstance): { x: number; y: number } | null {
  const extent = extentOf(instance) ?? instance.bbox;
  return extent && { x: extent[0] + extent[2] / 2, y: extent[1] + extent[3] / 2 };
}

/** The least box around the labeled points and the box. */
export function frameOf(instance: SceneInstance): BBox | null {
  const [a, b] = [extentOf(instance), instance.bbox];
  if (!a || !b) return a ?? b;
  const [x, y] = [Math.min(a[0], b[0]), Math.min(a[1], b[1])];
  return [x, y, Math.max(a[0] + a[2], b[0] + b[2]) - x, Math.max(a[1] + a[3], b[1] + b[3]) - y];
}

function swapSides(state: State): State {
  const active = wholeInstance(state);
  if (typeof active === "string") return say(state, active);
  const flip = state.categories[active.category]?.flip ?? [];
  if (flip.every((other, k) => other === k))
    return say(state, "The schema has no left-right pairs, so nothing can be swapped.");
  const points = swapped(active.points, flip);
  const done = pose(state, "swap", { ...active, points }, active, state.doc.cursor);
  return { ...done, spoken: "Left and right swapped." };
}

function mirror(state: State): State {
  const active = wholeInstance(state);
  if (typeof active === "string") return say(state, active);
  const at = middle(active);
  if (!at) return say(state, "This instance has no point to mirror.");
  const turned = active.points.map((value, i) =>
    i % 3 === 0 && visibilityOf(active, i / 3) ? 2 * at.x - value : value,
  );
  const flip = state.categories[active.category]?.flip ?? [];
  const points = swapped(turned, flip);
  const bbox: BBox | null = active.bbox && [
    2 * at.x - active.bbox[0] - active.bbox[2],
    active.bbox[1],
    active.bbox[2],
    active.bbox[3],
  ];
  const done = pose(
    state,
    "mirror",
    kept(state, { ...active, points, bbox }),
    active,
    state.doc.cursor,
  );
  if (flip.every((other, k) => other === k))
    return say(done, "Mirrored. The schema has no left-right pairs: no names were exchanged.");
  return { ...done, spoken: "Instance mirrored." };
}

/** The instance with what lies outside the image unlabeled, and its box cut off there. */
function kept(state: State, instance: SceneInstance): SceneInstance {
  const { width, height } = state.scene.image ?? { width: 0, height: 0 };
  const points = instance.points.slice();
  for (let i = 0; i < points.length; i += 3) {
    const [x, y] = points.slice(i, i + 2) as [number, number];
    if (points[i + 2] && !(x >= 0 && y >= 0 && x <= width && y <= height)) points.fill(0, i, i + 3);
  }
  let bbox = instance.bbox;
  if (bbox) {
    const [x, y, w, h] = bbox;
    const [x0, y0] = [Math.max(0, x), Math.max(0, y)];
    bbox = [x0, y0, Math.min(width, x + w) - x0, Math.min(height, y + h) - y0];
    if (bbox[2] <= 0 || bbox[3] <= 0) bbox = null;
  }
  return { ...instance, points, bbox };
}

function copy(state: State): State {
  const active = activeInstance(state);
  if (!active) return say(state, "Choose the instance to copy first.");
  const { category, points, bbox } = active;
  return say(
    { ...state, copied: { category, points, bbox } },
    "Copied: Ctrl+V pastes it here or in another image.",
  );
}

/** A new instance with these points, or why there cannot be one. */
function added(
  state: State,
  how: How,
  category: number,
  uid: string,
  points: readonly number[],
  bbox: BBox | null,
): State {
  const instance = kept(state, {
    uid,
    category,
    ordinal: state.doc.instances.length,
    points,
    finished: true,
    bbox,
    hidden: false,
    locked: false,
  });
  if (countLabeled(instance) === 0) return say(state, "All of it would lie outside this image.");
  return pose(state, how, instance, null, { category, instance: uid, keypoint: null });
}

function paste(state: State, uid: string): State {
  const why = refusal(state);
  if (why) return say(state, why);
  const copied = state.copied;
  if (!copied) return say(state, "Nothing was copied: Ctrl+C copies the active instance.");
  const done = added(state, "paste", copied.category, uid, copied.points, copied.bbox);
  if (done.hint) return done;
  const n = countLabeled(copied) - countLabeled(done.doc.byUid.get(uid) ?? copied);
  const lost = n > 0 ? `, ${n} of its points outside this image left out` : "";
  return say(done, `Pasted${lost}. W or a handle moves it.`);
}

/** What is dropped into a box from (0, 0) to (1, 1), and what it is called. */
function templateOf(state: State): { name: string; points: Template["points"] } {
  const { category } = state.doc.cursor;
  const mean = state.templates[category];
  const layout = state.categories[category]?.layout ?? [];
  if (mean && mean.points.length === layout.length)
    return { name: `the mean pose of ${mean.instances} instances`, points: mean.points };
  const xs = layout.map(([u]) => u);
  const ys = layout.map(([, v]) => v);
  const [u0, v0] = [Math.min(...xs), Math.min(...ys)];
  const across = Math.max(...xs) - u0 || 1;
  const down = Math.max(...ys) - v0 || 1;
  return {
    name: "the figure of the schema",
    points: layout.map(([u, v]) => [(u - u0) / across, (v - v0) / down]),
  };
}

/** The template in a box, every keypoint visible: to be adjusted. */
function dropTemplate(state: State, [x, y, w, h]: BBox, uid: string): State {
  const off = { ...state, isBoxMode: false, isTemplate: false, boxDraft: null };
  const why = refusal(state);
  if (why || !categoryOf(off)) return say(off, why);
  const { name, points } = templateOf(state);
  const flat = points.flatMap(([u, v]) => [x + u * w, y + v * h, 2]);
  const done = added(off, "template", state.doc.cursor.category, uid, flat, null);
  return done.hint ? done : say(done, `Dropped ${name}: drag its points into place.`);
}

/** The active instance as it is being moved. */
function movedWhole(state: State): SceneInstance | null {
  const active = activeInstance(state);
  const at = active && middle(active);
  if (!state.whole || !active || !at) return null;
  const { dx, dy, scale } = state.whole;
  const place = (value: number, i: number) => {
    if (i % 3 === 2 || !visibilityOf(active, Math.floor(i / 3))) return value;
    const [center, shift] = i % 3 === 0 ? [at.x, dx] : [at.y, dy];
    return center + shift + (value - center) * scale;
  };
  const bbox: BBox | null = active.bbox && [
    at.x + dx + (active.bbox[0] - at.x) * scale,
    at.y + dy + (active.bbox[1] - at.y) * scale,
    active.bbox[2] * scale,
    active.bbox[3] * scale,
  ];
  return { ...active, points: active.points.map(place), bbox };
}

function dropWhole(state: State): State {
  const moved = movedWhole(state);
  const active = activeInstance(state);
  const done = { ...state, whole: null };
  if (!moved || !active) return done;
  if (active.locked) return say(done, "This instance is locked: unlock it in the label stack.");
  const inside = kept(state, moved);
  if (countLabeled(inside) < countLabeled(moved))
    return say(done, "A part would lie outside the image: nothing was moved.");
  const placed = pose(done, "move", inside, active, state.doc.cursor);
  return { ...placed, spoken: "Instance moved." };
}

function drawBox(state: State, bbox: BBox, uid: string): State {
  const image = state.scene.image;
  const why = refusal(state);
  if (!image || why) return say(state, why);
  const active = activeInstance(state);
  if (active?.locked) return say(state, "This instance is locked: unlock it in the label stack.");
  const category = categoryOf(state, active);
  if (!category) return state;
  const instance: SceneInstance = active
    ? { ...active, bbox }
    : {
        uid,
        category: state.doc.cursor.category,
        ordinal: state.doc.instances.length,
        points: new Array(3 * category.keypoints.length).fill(0),
        finished: false,
        bbox,
        hidden: false,
        locked: false,
      };
  const cursor: Cursor = active
    ? state.doc.cursor
    : { ...state.doc.cursor, instance: uid, keypoint: state.doc.cursor.keypoint ?? 0 };
  const body: EditBody = {
    op: "box",
    image: image.index,
    instance: instance.uid,
    bbox,
    next: wire(cursor),
  };
  if (!active) body.new = true;
  const boxed = change(
    { ...state, isBoxMode: false, boxDraft: null },
    instance,
    body,
    cursor,
    active,
  );
  return { ...boxed, spoken: "Box drawn." };
}

/** What is found in this image, without what has been answered and is on its way. */
export function openFindings(state: State): readonly SceneFinding[] {
  const answered = new Set(
    state.pending.map(({ body }) => ("finding" in body ? body.finding : null)),
  );
  const { findings = [] } = state.scene;
  return findings.filter(
    ({ key, instance }) => !answered.has(key) && state.doc.byUid.has(instance),
  );
}

function answerFinding(state: State, op: "decide" | "repair", key: string): State {
  const why = refusal(state);
  const image = state.scene.image;
  if (why || !image) return say(state, why);
  const finding = openFindings(state).find((one) => one.key === key);
  if (!finding) return state;
  if (state.doc.byUid.get(finding.instance)?.locked)
    return say(state, "This instance is locked: unlock it in the label stack.");
  const answered = push(state, { op, image: image.index, finding: key }, null, null);
  // What it changes, and so what undo would take back, is known to Python alone.
  const done = { ...answered, undoStack: [], redoStack: [] };
  return say(
    done,
    `${op === "decide" ? "Fine as it is" : `Done: ${finding.repair}`}. Undo: Ctrl+Z.`,
  );
}

export function reduce(state: State, action: Action): State {
  switch (action.type) {
    case "scene":
      return receiveScene(state, action.scene);
    case "categories":
      return { ...state, categories: action.categories };
    case "templates":
      return { ...state, templates: action.templates };
    case "ack":
      return acknowledge(state, action.client, action.seq, action.version);
    case "rejected":
      return reject(state, action.client, action.seq, action.why);
    case "painted":
      return {
        ...state,
        painted: { scene: action.scene, active: action.scene.cursor.instance },
      };
    case "notice":
      return addNotice(state, action.level, action.text);
    case "dismiss":
      return { ...state, notices: state.notices.filter((notice) => notice.id !== action.id) };
    case "connected":
      return { ...state, isConnected: action.isConnected };
    case "restore":
      return withDoc({ ...state, pending: [...action.entries, ...state.pending] });
    case "press":
      return { ...state, press: action.press, hint: action.press ? "" : state.hint };
    case "place":
      return place({ ...state, press: null }, action.x, action.y, action.visibility, action.uid);
    case "drag": {
      const target = action.drag?.target;
      const held = target && state.doc.byUid.get(target.instance);
      // The press was on a point: its release must not place another one.
      if (held?.locked)
        return say(
          { ...state, press: null },
          "This instance is locked: unlock it in the label stack.",
        );
      // It may have been taken away meanwhile, by code or in another view.
      if (target && !(held && visibilityOf(held, target.keypoint)))
        return { ...state, drag: null, press: null };
      return { ...state, drag: action.drag, press: null };
    }
    case "drop":
      return drop(state);
    case "select": {
      const target = action.target;
      if (!target) return { ...state, selected: null };
      const selected = { ...state, selected: target };
      return state.doc.cursor.instance === target.instance
        ? selected
        : activate(selected, target.instance);
    }
    case "swap":
      return swapSides(state);
    case "mirror":
      return mirror(state);
    case "copy":
      return copy(state);
    case "paste":
      return paste(state, action.uid);
    case "repeat": {
      const why = refusal(state);
      const image = state.scene.image;
      if (why || !image) return say(state, why);
      // What the other image has is known to Python alone.
      return push({ ...state, selected: null }, { op: "repeat", image: image.index }, null, null);
    }
    case "whole-mode": {
      if (!action.isOn) return { ...state, isWholeMode: false, whole: null, hint: "" };
      const active = wholeInstance(state);
      if (typeof active === "string") return say(state, active);
      return {
        ...state,
        isWholeMode: true,
        isBoxMode: false,
        hint: "Drag to move the instance, Shift+drag to scale it; W or Esc ends.",
      };
    }
    case "whole":
      // The press was on a handle: its release must not place a point.
      return { ...state, whole: action.whole, press: null };
    case "drop-whole":
      return dropWhole(state);
    case "skip":
      return skip(state);
    case "back":
      return back(state);
    case "finish": {
      const active = activeInstance(state);
      if (!active || state.doc.cursor.keypoint === null)
        return say(state, "There is no instance under way.");
      if (active.locked)
        return say(state, "This instance is locked: unlock it in the label stack.");
      // A step also where it was finished before: redoing everything ends here again.
      const finished = finishWith(state, active, { ...state.doc.cursor, keypoint: null });
      return { ...finished, selected: null, spoken: `Finished. ${announce(finished)}` };
    }
    case "leave":
      return activate({ ...state, selected: null }, null);
    case "choose": {
      const why = refusal(state);
      if (why) return say(state, why);
      const category = categoryOf(state);
      const name = category?.keypoints[action.keypoint];
      if (name === undefined)
        return say(state, `There is no keypoint number ${action.keypoint + 1}.`);
      const active = activeInstance(state);
      const selected =
        active && visibilityOf(active, action.keypoint)
          ? { instance: active.uid, keypoint: action.keypoint }
          : null;
      const cursor = { ...state.doc.cursor, keypoint: action.keypoint };
      return { ...moveOn({ ...state, selected }, "cursor", cursor), spoken: `Next: ${name}.` };
    }
    case "cycle-visibility":
      return cycleVisibility(state, action.target ?? state.selected);
    case "unlabel": {
      const target = action.target ?? state.selected;
      if (target) return unlabel(state, target);
      const active = activeInstance(state);
      return active
        ? reduce(state, { type: "remove", instance: active.uid })
        : say(state, "Select an instance or a point first.");
    }
    case "nudge":
      return nudge(state, action.dx, action.dy);
    case "activate":
      return activate(
        state.isWholeMode ? { ...state, isWholeMode: false, whole: null } : state,
        action.instance,
      );
    case "step-instance":
      return stepInstance(state, action.by);
    case "remove": {
      const why = refusal(state);
      if (why) return say(state, why);
      const uid = action.instance ?? state.doc.cursor.instance;
      const instance = uid === null ? undefined : state.doc.byUid.get(uid);
      if (!instance) return say(state, "Select an instance first.");
      if (instance.locked)
        return say(state, "This instance is locked: unlock it in the label stack.");
      const { category } = state.doc.cursor;
      const cursor =
        state.doc.cursor.instance === uid
          ? { category, instance: null, keypoint: 0 }
          : state.doc.cursor;
      return { ...remove(state, instance, cursor), spoken: "Instance removed. Undo: Ctrl+Z." };
    }
    case "flags": {
      const instance = state.doc.byUid.get(action.instance);
      const image = state.scene.image;
      if (!instance || !image) return state;
      const flags = {
        hidden: action.hidden ?? instance.hidden,
        locked: action.locked ?? instance.locked,
      };
      return push(
        state,
        { op: "flags", image: image.index, instance: instance.uid, ...flags },
        { uid: instance.uid, value: { ...instance, ...flags }, cursor: null, status: null },
        null,
      );
    }
    case "category": {
      if (!state.categories[action.category]) return state;
      const why = refusal(state);
      if (why) return say(state, why);
      return moveOn({ ...state, selected: null }, "cursor", {
        category: action.category,
        instance: null,
        keypoint: 0,
      });
    }
    case "box-mode": {
      const isTemplate = action.isOn && action.isTemplate === true;
      const what = isTemplate ? `where ${templateOf(state).name} is to be` : "around the instance";
      return {
        ...state,
        isBoxMode: action.isOn,
        isTemplate,
        isWholeMode: false,
        boxDraft: null,
        hint: action.isOn ? `Drag a box ${what}; Esc cancels.` : "",
      };
    }
    case "box-draft":
      return { ...state, boxDraft: action.draft };
    case "box":
      return state.isTemplate
        ? dropTemplate(state, action.bbox, action.uid)
        : drawBox(state, action.bbox, action.uid);
    case "toggle-done": {
      const why = refusal(state);
      const image = state.scene.image;
      if (why || !image) return say(state, why);
      const done = !state.doc.isDone;
      const flagged = push(
        state,
        { op: "status", image: image.index, done },
        { uid: null, value: null, cursor: null, status: done ? "done" : "open" },
        { uid: null, before: null },
      );
      return { ...flagged, spoken: done ? "Image done." : "Image not done." };
    }
    case "goto":
      return push({ ...state, selected: null }, { op: "goto", to: action.to }, null, null);
    case "undo":
      return undo(state);
    case "redo":
      return redo(state);
    case "save":
    case "refresh":
      return push(state, { op: action.type }, null, null);
    case "decide":
    case "repair":
      return answerFinding(state, action.type, action.finding);
    case "resolve": {
      const { conflict, take } = action;
      return push(state, { op: "resolve", conflict, take }, null, null);
    }
    case "toggle-skeletons":
      return {
        ...state,
        showSkeletons: !state.showSkeletons,
        hint: state.showSkeletons ? "Skeletons are hidden: press H to show them." : "",
      };
    case "toggle-names":
      return { ...state, showNames: !state.showNames };
    case "toggle-loupe":
      return { ...state, showLoupe: !state.showLoupe };
    case "toggle-guide":
      return { ...state, showGuide: !state.showGuide };
    case "toggle-help":
      return { ...state, isHelpOpen: action.isOpen ?? !state.isHelpOpen };
    case "filter":
      return { ...state, brightness: action.brightness, contrast: action.contrast };
    case "hint":
      return state.hint === action.text ? state : { ...state, hint: action.text };
  }
}

/** Which layers still show what they should; the ink takes over the others. */
export interface Ink {
  readonly hideSkeletons: boolean;
  readonly hideActive: boolean;
  /** Instances that the ink draws, in order; the last may be the active one. */
  readonly instances: readonly SceneInstance[];
}

/** Instance being dragged, with its point where the pointer is. */
export function draggedInstance(state: State): SceneInstance | null {
  if (state.whole) return movedWhole(state);
  const drag = state.drag;
  const instance = drag && state.doc.byUid.get(drag.target.instance);
  if (!drag || !instance) return null;
  const visibility = visibilityOf(instance, drag.target.keypoint);
  return {
    ...instance,
    points: withPoint(instance.points, drag.target.keypoint, drag.x, drag.y, visibility),
  };
}

/**
 * What the ink must draw, given what Python has painted.
 *
 * A layer is hidden as soon as something it shows has changed; it comes back with the frame in which
 * Python's painting of the change is on the screen. `isBlank` says that the layers hold nothing.
 */
export function inkPlan(state: State, isBlank: boolean): Ink {
  const dragged = draggedInstance(state);
  const activeUid = dragged?.uid ?? state.doc.cursor.instance;
  const shown = (
    dragged
      ? state.doc.instances.map((i) => (i.uid === dragged.uid ? dragged : i))
      : state.doc.instances
  ).filter((instance) => !instance.hidden);
  const inOrder = [
    ...shown.filter((instance) => instance.uid !== activeUid),
    ...shown.filter((instance) => instance.uid === activeUid),
  ];
  const painted = state.painted;
  if (isBlank || !painted || painted.scene.image?.index !== state.scene.image?.index)
    return { hideSkeletons: true, hideActive: true, instances: inOrder };

  const now = new Map(shown.map((instance) => [instance.uid, instance]));
  let hideSkeletons = false;
  let hideActive = painted.active !== activeUid && painted.active !== null;
  for (const old of painted.scene.instances) {
    if (old.hidden) continue;
    if (isSame(old, now.get(old.uid))) continue;
    if (old.uid === painted.active) hideActive = true;
    else hideSkeletons = true;
  }
  const wasPainted = new Map(
    painted.scene.instances.filter((old) => !old.hidden).map((old) => [old.uid, old]),
  );
  const instances = inOrder.filter((instance) => {
    if (!wasPainted.has(instance.uid)) return true;
    const isInActive = instance.uid === painted.active;
    if (isInActive ? hideActive : hideSkeletons) return true;
    return instance.uid === activeUid && !isInActive;
  });
  return { hideSkeletons, hideActive, instances };
}

function isSame(a: SceneInstance, b: SceneInstance | undefined): boolean {
  if (a === b) return true;
  if (!b || a.hidden !== b.hidden || a.ordinal !== b.ordinal) return false;
  if (a.bbox?.join() !== b.bbox?.join()) return false;
  return a.points.length === b.points.length && a.points.every((value, i) => value === b.points[i]);
}
