/** Small scenes and states for the tests. */

import type { Design } from "../src/design";
import type {
  Browse,
  Category,
  Cursor,
  Look,
  Query,
  Scene,
  SceneFinding,
  SceneInstance,
} from "../src/model";
import { type Action, initialState, reduce, type State } from "../src/state";

export const FACE: Category = {
  name: "face",
  keypoints: ["top", "left", "right", "bottom"],
  edges: [
    [0, 1],
    [0, 2],
    [1, 3],
    [2, 3],
  ],
  colors: ["#111111", "#222222", "#333333", "#444444"],
  sides: [null, "left", "right", null],
  flip: [0, 2, 1, 3],
  guides: [],
  layout: [
    [0.5, 0],
    [0, 0.5],
    [1, 0.5],
    [0.5, 1],
  ],
};

export const STICK: Category = {
  name: "stick",
  keypoints: ["head", "tip"],
  edges: [[0, 1]],
  colors: ["#aa0000", "#00aa00"],
  sides: [null, null],
  flip: [0, 1],
  guides: [],
  layout: [
    [0, 0],
    [1, 1],
  ],
};

export const LOOK: Look = {
  instanceColors: ["#0000ff", "#ff8000"],
  halo: "#000000",
  haloAlpha: 0.7,
  haloWidth: 1.25,
  radius: 3.5,
  activeRadius: 5,
  ringWidth: 2,
  edgeWidth: 2,
  activeEdgeWidth: 2.5,
  edgeHaloWidth: 1,
  boxWidth: 1.5,
  arrow: "#ffffff",
  arrowWidth: 1.5,
  arrowHead: 7,
};

export const NOWHERE: Cursor = { category: 0, instance: null, keypoint: 0 };

/** An instance; unlabeled points are left out of `points`: `{2: [x, y, v]}`. */
export function instance(
  uid: string,
  points: Record<number, readonly [number, number, number]> = {},
  more: Partial<SceneInstance> = {},
): SceneInstance {
  const category = more.category ?? 0;
  const flat: number[] = new Array(3 * (category === 1 ? 2 : 4)).fill(0);
  for (const [k, point] of Object.entries(points)) flat.splice(3 * Number(k), 3, ...point);
  return {
    uid,
    category,
    ordinal: 0,
    points: flat,
    finished: false,
    bbox: null,
    hidden: false,
    locked: false,
    ...more,
  };
}

/** All four points of a face around (x, y), finished. */
export function wholeFace(uid: string, x: number, y: number, more: Partial<SceneInstance> = {}) {
  return instance(
    uid,
    { 0: [x, y - 5, 2], 1: [x - 5, y, 2], 2: [x + 5, y, 1], 3: [x, y + 5, 2] },
    { finished: true, ...more },
  );
}

export function scene(more: Partial<Scene> = {}): Scene {
  return {
    version: 1,
    dataset: "d1",
    image: {
      index: 0,
      count: 3,
      name: "a.png",
      width: 100,
      height: 80,
      status: "unlabeled",
      note: "",
      error: "",
    },
    cursor: NOWHERE,
    instances: [],
    done: 0,
    undo: null,
    redo: null,
    saved: { state: "memory", text: "in memory" },
    others: { edits: 0, who: "" },
    conflicts: [],
    arrows: [],
    ...more,
  };
}

/** Something wrong with the second keypoint of instance "f". */
export function finding(key: string, more: Partial<SceneFinding> = {}): SceneFinding {
  return {
    key,
    check: "visibility",
    severity: "error",
    instance: "f",
    keypoint: 1,
    reason: "labeled at (0, 0)",
    suggestion: "clear it",
    repair: "",
    ...more,
  };
}

export function sceneOfImage(index: number, more: Partial<Scene> = {}): Scene {
  const base = scene(more);
  return base.image ? { ...base, image: { ...base.image, index, name: `${index}.png` } } : base;
}

/** A query that leaves nothing out. */
export const EVERYTHING: Query = {
  text: "",
  category: "",
  keypoint: "",
  visibility: "labeled",
  annotator: "",
  instances: [0, null],
  labeled: [0, null],
  size: [0, null],
  score: null,
  picked: false,
  sort: "position",
  descending: false,
};

export function browse(more: Partial<Browse> = {}): Browse {
  const count = more.count ?? 10_000;
  return {
    version: 1,
    total: count,
    count,
    position: 0,
    isPicked: false,
    picked: 0,
    query: EVERYTHING,
    sorts: ["position", "name", "instances", "labeled", "size", "score", "pixels", "annotator"],
    flags: ["labeled", "visible", "occluded", "unlabeled"],
    annotators: ["ada", "bob"],
    scores: [0.1, 0.7],
    ...more,
  };
}

export function start(more: Partial<Scene> = {}, client = "c"): State {
  return initialState(client, scene(more), [FACE, STICK]);
}

export function act(state: State, ...actions: Action[]): State {
  return actions.reduce(reduce, state);
}

let uids = 0;

/** A click in image pixels; the uid is used when it starts an instance. */
export function click(x: number, y: number, visibility = 2, uid = `u${++uids}`): Action {
  return { type: "place", x, y, visibility, uid };
}

export function pointOf(state: State, uid: string, k: number): readonly number[] {
  const found = state.doc.byUid.get(uid);
  if (!found) throw new Error(`no instance ${uid}`);
  return found.points.slice(3 * k, 3 * k + 3);
}

/** The last edit in the outbox. */
export function lastBody(state: State) {
  const entry = state.pending.at(-1);
  if (!entry) throw new Error("no edit is pending");
  return entry.body;
}

const designPoint = (id: string, x: number, y: number) => ({
  id,
  name: id.toUpperCase(),
  x,
  y,
  color: "#112233",
  side: null,
  definition: "",
});

export const DESIGN: Design = {
  applied: [],
  name: "figure",
  points: [designPoint("a", 0, 0), designPoint("b", 100, 0), designPoint("c", 0, 50)],
  edges: [
    ["a", "b"],
    ["c", "a"],
  ],
  pairs: [["b", "c"]],
  text: "",
  undo: "",
  redo: "",
  reading: null,
};
