/**
 * Python's side in small: edits applied in order, undo, scene. Written from
 * `kpwidget/widget/annotator.py`, so that `reduce` can be held against it.
 */

import type {
  Category,
  Cursor,
  Scene,
  SceneInstance,
  Token,
  WireCursor,
  WireEdit,
} from "../src/model";

interface Step {
  readonly token: Token;
  readonly image: number;
  readonly uid: string | null;
  readonly before: SceneInstance | null;
  readonly after: SceneInstance | null;
  /** Place of the instance among those of its image. */
  readonly at: number;
  readonly wasDone: boolean;
  readonly isDone: boolean;
  readonly cursorBefore: Cursor;
  readonly cursorAfter: Cursor;
}

interface Image {
  instances: SceneInstance[];
  isDone: boolean;
}

export interface Answer {
  readonly seq: number;
  readonly why: string;
}

export class Python {
  index = 0;
  cursor: Cursor = { category: 0, instance: null, keypoint: 0 };
  applied = 0;
  version = 1;
  readonly rejected: Answer[] = [];
  private readonly images: Image[];
  private readonly hidden = new Set<string>();
  private readonly locked = new Set<string>();
  /** By image, what was under way when it was left. */
  private readonly left = new Map<number, Cursor>();
  private undone: Step[] = [];
  private done: Step[] = [];

  constructor(
    private readonly categories: readonly Category[],
    count = 3,
    private readonly width = 100,
    private readonly height = 80,
  ) {
    this.images = Array.from({ length: count }, () => ({ instances: [], isDone: false }));
  }

  private image(index: number): Image {
    const found = this.images[index];
    if (!found) throw new Error(`there is no image number ${index}`);
    return found;
  }

  receive(client: string, edits: readonly WireEdit[]): void {
    for (const edit of edits) {
      if (edit.seq <= this.applied) continue;
      if (edit.seq !== this.applied + 1) throw new Error(`edit ${edit.seq} came too early`);
      this.applied = edit.seq;
      try {
        this.apply(client, edit);
      } catch (error) {
        this.rejected.push({ seq: edit.seq, why: (error as Error).message });
      }
    }
  }

  private find(edit: { instance: string; image: number; op: string }): SceneInstance {
    const found = this.image(edit.image).instances.find((i) => i.uid === edit.instance);
    if (!found) throw new Error("This instance has been removed meanwhile.");
    if (this.locked.has(found.uid) && edit.op !== "flags")
      throw new Error("This instance is locked.");
    return found;
  }

  private settle(wire: WireCursor | Cursor, image: number): void {
    if (image !== this.index) return;
    const next: Cursor = Array.isArray(wire)
      ? { category: wire[0], instance: wire[1], keypoint: wire[2] }
      : (wire as Cursor);
    const uid = next.instance;
    if (uid === null) this.cursor = next;
    else if (this.image(this.index).instances.some((i) => i.uid === uid)) this.cursor = next;
    else if (!this.images.some((image) => image.instances.some((i) => i.uid === uid)))
      this.cursor = { category: next.category, instance: null, keypoint: next.keypoint ?? 0 };
  }

  /** One undo step: `after` takes the place of the instance; undefined changes no instance. */
  private step(
    client: string,
    edit: { seq: number; image: number },
    uid: string | null,
    after: SceneInstance | null | undefined,
    next: WireCursor,
    isDone?: boolean,
  ): void {
    const image = this.image(edit.image);
    const at = image.instances.findIndex((i) => i.uid === uid);
    const before = at < 0 ? null : (image.instances[at] as SceneInstance);
    const step: Step = {
      token: [client, edit.seq],
      image: edit.image,
      uid,
      before,
      after: after === undefined ? before : after,
      at: at < 0 ? image.instances.length : at,
      wasDone: image.isDone,
      isDone: isDone ?? image.isDone,
      cursorBefore: this.cursor,
      cursorAfter: { category: next[0], instance: next[1], keypoint: next[2] },
    };
    this.put(step, step.after);
    image.isDone = step.isDone;
    this.done.push(step);
    this.undone = [];
    this.settle(next, edit.image);
  }

  private put(step: Step, value: SceneInstance | null): void {
    if (step.uid === null) return;
    const list = this.image(step.image).instances;
    const at = list.findIndex((i) => i.uid === step.uid);
    if (at >= 0) {
      if (value) list[at] = value;
      else {
        list.splice(at, 1);
        this.hidden.delete(step.uid);
        this.locked.delete(step.uid);
      }
    } else if (value) list.splice(step.at, 0, value);
  }

  private apply(client: string, edit: WireEdit): void {
    switch (edit.op) {
      case "point": {
        const old = edit.new ? null : this.find(edit);
        const category = old ? old.category : edit.next[0];
        const n = this.categories[category]?.keypoints.length ?? 0;
        if (edit.keypoint >= n) throw new Error(`there is no keypoint number ${edit.keypoint}`);
        const { x, y, visibility } = edit;
        if (visibility && !(x >= 0 && y >= 0 && x <= this.width && y <= this.height))
          throw new Error(`(${x}, ${y}) is outside the image`);
        const points = (old?.points ?? new Array(3 * n).fill(0)).slice();
        points.splice(3 * edit.keypoint, 3, visibility ? x : 0, visibility ? y : 0, visibility);
        const value: SceneInstance = {
          uid: edit.instance,
          category,
          ordinal: 0,
          points,
          finished: edit.finish === true || (old?.finished ?? false),
          bbox: old?.bbox ?? null,
          hidden: false,
          locked: false,
        };
        this.step(client, edit, edit.instance, value, edit.next);
        this.hidden.delete(edit.instance);
        return;
      }
      case "box": {
        const old = edit.new ? null : this.find(edit);
        const category = old ? old.category : edit.next[0];
        const n = this.categories[category]?.keypoints.length ?? 0;
        const value: SceneInstance = old
          ? { ...old, bbox: edit.bbox }
          : {
              uid: edit.instance,
              category,
              ordinal: 0,
              points: new Array(3 * n).fill(0),
              finished: false,
              bbox: edit.bbox,
              hidden: false,
              locked: false,
            };
        this.step(client, edit, edit.instance, value, edit.next);
        return;
      }
      case "pose": {
        const old = edit.new ? null : this.find(edit);
        const value: SceneInstance = {
          uid: edit.instance,
          category: old ? old.category : edit.next[0],
          ordinal: 0,
          points: edit.points,
          finished: old?.finished ?? true,
          bbox: edit.bbox ?? old?.bbox ?? null,
          hidden: false,
          locked: false,
        };
        this.step(client, edit, edit.instance, value, edit.next);
        this.hidden.delete(edit.instance);
        return;
      }
      case "repeat":
        return; // what the other image has is not told here
      case "remove":
        this.find(edit);
        this.step(client, edit, edit.instance, null, edit.next);
        return;
      case "finish":
        this.step(client, edit, edit.instance, { ...this.find(edit), finished: true }, edit.next);
        return;
      case "skip":
        this.step(client, edit, null, undefined, edit.next);
        return;
      case "cursor":
        this.settle(edit.next, edit.image);
        return;
      case "status": {
        const { category, instance, keypoint } = this.cursor;
        const stay: WireCursor = [category, instance, keypoint];
        this.step(client, edit, null, undefined, stay, edit.done);
        return;
      }
      case "flags":
        this.find(edit);
        for (const [set, value] of [
          [this.hidden, edit.hidden],
          [this.locked, edit.locked],
        ] as const)
          if (value === true) set.add(edit.instance);
          else if (value === false) set.delete(edit.instance);
        return;
      case "goto": {
        const to =
          edit.to === "next" ? this.index + 1 : edit.to === "previous" ? this.index - 1 : edit.to;
        if (typeof to !== "number" || !this.images[to]) throw new Error(`There is no image ${to}`);
        if (to === this.index) return;
        if (this.cursor.instance !== null && this.cursor.keypoint !== null)
          this.left.set(this.index, this.cursor);
        const left = this.left.get(to);
        const begun = this.images[to].instances.find((i) => i.uid === left?.instance);
        this.left.delete(to);
        this.cursor =
          left && begun && !begun.finished
            ? left
            : { category: this.cursor.category, instance: null, keypoint: 0 };
        this.index = to;
        return;
      }
      case "undo":
      case "redo": {
        const isUndo = edit.op === "undo";
        const step = (isUndo ? this.done : this.undone).pop();
        if (!step) throw new Error(`There is nothing to ${edit.op}.`);
        (isUndo ? this.undone : this.done).push(step);
        this.put(step, isUndo ? step.before : step.after);
        this.image(step.image).isDone = isUndo ? step.wasDone : step.isDone;
        this.index = step.image;
        this.settle(isUndo ? step.cursorBefore : step.cursorAfter, step.image);
        return;
      }
      case "refresh":
      case "resolve":
        return; // nobody else is there
      case "save":
        return; // without a file there is a notice, and nothing changes
    }
  }

  /** The scene as Python would send it now, with a new version. */
  scene(): Scene {
    const image = this.image(this.index);
    this.version += 1;
    const top = (step: Step | undefined) => (step ? { label: "step", token: step.token } : null);
    return {
      version: this.version,
      dataset: "d1",
      image: {
        index: this.index,
        count: this.images.length,
        name: `${this.index}.png`,
        width: this.width,
        height: this.height,
        status: image.isDone ? "done" : image.instances.length ? "started" : "unlabeled",
        note: "",
        error: "",
      },
      cursor: this.cursor,
      instances: image.instances.map((value, ordinal) => ({
        ...value,
        ordinal,
        hidden: this.hidden.has(value.uid),
        locked: this.locked.has(value.uid),
      })),
      done: this.images.filter((i) => i.isDone).length,
      undo: top(this.done.at(-1)),
      redo: top(this.undone.at(-1)),
      saved: { state: "memory", text: "in memory" },
      others: { edits: 0, who: "" },
      conflicts: [],
      arrows: [],
    };
  }
}
