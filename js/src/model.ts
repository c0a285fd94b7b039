/**
 * The contract with Python: trait names and types, message kinds.
 *
 * Every name that crosses the wire is written here and in `kpwidget/widget/stage.py`, nowhere else;
 * `tests/widget/test_contract.py` compares the two lists. Defaults are Python's.
 */

/** x, y in image pixels and the visibility flag of every keypoint: `[x0, y0, v0, x1, y1, v1, ...]`. */
export type FlatPoints = readonly number[];

export type BBox = readonly [x: number, y: number, width: number, height: number];

export interface SceneInstance {
  readonly uid: string;
  /** Position in the `categories` trait. */
  readonly category: number;
  /** Number in its image, from 0: chooses the colour. */
  readonly ordinal: number;
  readonly points: FlatPoints;
  readonly finished: boolean;
  /** Only a box that was given or drawn; a derived one follows from the points. */
  readonly bbox: BBox | null;
  readonly hidden: boolean;
  readonly locked: boolean;
  /** For a viewer: id, score and the like, in words. */
  readonly note?: string;
  /** Of a comparison: which of the two label sets it is of. */
  readonly set?: string;
}

/** What the next click does: `instance` null starts a new one; `keypoint` null too. */
export interface Cursor {
  readonly category: number;
  readonly instance: string | null;
  readonly keypoint: number | null;
}

/** An edit, named by who sent it and its number there. */
export type Token = readonly [client: string, seq: number];

export interface UndoTop {
  readonly label: string;
  readonly token: Token | null;
}

export interface SceneImage {
  /** What edits name it by; not below 2 ** 40 for one that comes again. */
  readonly index: number;
  /** Where it stands among the images, where that is not `index`. */
  readonly position?: number;
  readonly count: number;
  readonly name: string;
  readonly width: number;
  readonly height: number;
  readonly status: "unlabeled" | "started" | "done";
  readonly note: string;
  readonly error: string;
}

/** A value that two people have changed: the one in force, and the other. */
export interface SceneConflict {
  readonly key: number;
  readonly text: string;
  readonly kept: string;
  readonly other: string;
}

/** Edits in the journal that are not shown yet, and who made them. */
export interface Others {
  readonly edits: number;
  readonly who: string;
}

/** What is wrong with an instance of this image, or may be. */
export interface SceneFinding {
  /** Names it, also when it is found again. */
  readonly key: string;
  readonly check: string;
  readonly severity: "error" | "warning" | "note";
  readonly instance: string;
  /** Index; null when it is about all of the instance. */
  readonly keypoint: number | null;
  readonly reason: string;
  readonly suggestion: string;
  /** What the repair does, in words; empty where only a person can put it right. */
  readonly repair: string;
}

export interface Scene {
  readonly version: number;
  readonly dataset: string;
  /** Names what keypoint indices mean; empty until the schema of a category is changed. */
  readonly schemas?: string;
  readonly image: SceneImage | null;
  readonly cursor: Cursor;
  readonly instances: readonly SceneInstance[];
  readonly done: number;
  /** Of an annotator: time per instance and time left in words; empty until there are enough. */
  readonly pace?: string;
  /** Of an annotator: the worst first, and how many there are besides. */
  readonly findings?: readonly SceneFinding[];
  readonly unlisted?: number;
  /** What cannot be told with these labels yet, in words; empty if nothing. */
  readonly untold?: string;
  readonly undo: UndoTop | null;
  readonly redo: UndoTop | null;
  readonly saved: {
    readonly state: "memory" | "saved" | "changed" | "kept" | "failed";
    readonly text: string;
  };
  readonly others: Others;
  readonly conflicts: readonly SceneConflict[];
  /** Of a comparison: x and y of where each arrow begins and ends, four numbers an arrow. */
  readonly arrows: readonly number[];
  /** Of a viewer with findings. */
  readonly focus?: Focus | null;
}

/** Where a keypoint is to be placed. */
export interface Guide {
  readonly keypoint: string;
  readonly definition: string;
  /** `data:` URL of a small PNG or JPEG that Python has looked at; empty for none. */
  readonly picture: string;
}

export interface Category {
  readonly name: string;
  readonly keypoints: readonly string[];
  /** Pairs of 0-based keypoint indices. */
  readonly edges: readonly (readonly [number, number])[];
  readonly colors: readonly string[];
  readonly sides: readonly ("left" | "right" | null)[];
  /** Index of each keypoint's counterpart on the other side; its own where there is none. */
  readonly flip: readonly number[];
  /** Where the schema figure puts each keypoint, in [0, 1], y down. */
  readonly layout: readonly (readonly [number, number])[];
  /** Of the keypoints that have one. */
  readonly guides: readonly Guide[];
}

/** The mean pose of a category's instances, in a box from (0, 0) to (1, 1), y down. */
export interface Template {
  readonly instances: number;
  readonly points: readonly (readonly [number, number])[];
}

/** Colours, radii and line widths (CSS px), the same for both painters. */
export interface Look {
  readonly instanceColors: readonly string[];
  readonly halo: string;
  readonly haloAlpha: number;
  readonly haloWidth: number;
  readonly radius: number;
  readonly activeRadius: number;
  readonly ringWidth: number;
  readonly edgeWidth: number;
  readonly activeEdgeWidth: number;
  readonly edgeHaloWidth: number;
  readonly boxWidth: number;
  readonly arrow: string;
  readonly arrowWidth: number;
  readonly arrowHead: number;
}

/** Least and greatest; null for no limit. */
export type Limits = readonly [least: number | null, greatest: number | null];

/** What is to be listed; see `Query` in listing.py. */
export interface Query {
  readonly text: string;
  readonly category: string;
  readonly keypoint: string;
  readonly visibility: string;
  readonly annotator: string;
  readonly instances: Limits;
  readonly labeled: Limits;
  readonly size: Limits;
  readonly score: number | null;
  readonly picked: boolean;
  readonly sort: string;
  readonly descending: boolean;
}

/** The list of a viewer, but for what it lists. */
export interface Browse {
  /** Another one: places in the list mean other images. */
  readonly version: number;
  readonly total: number;
  readonly count: number;
  /** Place of the image shown; -1: it is not in the list. */
  readonly position: number;
  readonly isPicked: boolean;
  readonly picked: number;
  readonly query: Query;
  readonly sorts: readonly string[];
  readonly flags: readonly string[];
  readonly annotators: readonly string[];
  readonly scores: readonly [lowest: number, highest: number] | null;
}

export interface ReviewFilter {
  readonly check: string;
  readonly severity: string;
  readonly state: "open" | "decided" | "all";
}

/** A finding of the quality checks. */
export interface ReviewRow {
  /** Its place in the table of findings. */
  readonly id: number;
  readonly severity: string;
  readonly check: string;
  readonly image: string;
  readonly keypoint: string;
  readonly reason: string;
  readonly suggestion: string;
  /** Empty while nobody has decided. */
  readonly verdict: "" | "fine" | "fixed";
  readonly by: string;
}

/** The findings that a viewer walks through: those around a place of the list. */
export interface Review {
  readonly open: number;
  readonly decided: number;
  /** About what is not there. */
  readonly gone: number;
  readonly count: number;
  /** Place in the list of the one that is open; -1: it is not in it. */
  readonly position: number;
  readonly current: ReviewRow | null;
  /** Place in the list of the first of `rows`. */
  readonly start: number;
  readonly rows: readonly ReviewRow[];
  readonly checks: readonly string[];
  readonly severities: readonly string[];
  readonly filter: ReviewFilter;
  /** What undo and redo would do; empty: nothing. */
  readonly undo: string;
  readonly redo: string;
}

/** Where the finding that is open is; another `rev`: it was opened anew. */
export interface Focus {
  readonly rev: number;
  readonly instance: string | null;
  /** -1: it is about no keypoint. */
  readonly keypoint: number;
  /** Image px; null: the keypoint has no location. */
  readonly at: readonly [x: number, y: number] | null;
  /** What is to be seen; null: the whole image. */
  readonly box: BBox | null;
}

/** One image of the list; its thumbnail is the buffer at the same place of the message. */
export interface Tile {
  readonly place: number;
  readonly index: number;
  readonly name: string;
  readonly instances: number;
  readonly picked: boolean;
  readonly mime: string;
  readonly error: string;
}

/** Scale in CSS px per image px; the image point (x, y) lies at (tx + scale x, ty + scale y). */
export type WireViewport = readonly [scale: number, tx: number, ty: number];

export interface Traits {
  scene: Scene;
  categories: readonly Category[];
  /** By category; null where too few instances are labeled, empty where that is so of all. */
  templates: readonly (Template | null)[];
  look: Look;
  poster: DataView | null;
  preview: DataView | null;
  /** Null for an annotator. */
  browse: Browse | null;
  /** Of a viewer with findings. */
  review: Review | null;
  height: number;
  /** image, detail, skeletons, active, source: "IPY_MODEL_<id>". */
  canvases: readonly string[];
}

export const TRAITS = [
  "scene",
  "categories",
  "templates",
  "look",
  "poster",
  "preview",
  "browse",
  "review",
  "height",
  "canvases",
] as const;

/** The cursor after an edit: category, instance, keypoint. */
export type WireCursor = readonly [number, string | null, number | null];

export type EditBody =
  | {
      op: "point";
      image: number;
      instance: string;
      keypoint: number;
      x: number;
      y: number;
      visibility: number;
      next: WireCursor;
      /** The instance does not exist yet. */
      new?: boolean;
      /** The instance is finished with this. */
      finish?: boolean;
    }
  | {
      op: "box";
      image: number;
      instance: string;
      bbox: BBox | null;
      next: WireCursor;
      new?: boolean;
    }
  | {
      op: "pose";
      how: "swap" | "mirror" | "move" | "paste" | "template";
      image: number;
      instance: string;
      points: FlatPoints;
      bbox: BBox | null;
      next: WireCursor;
      new?: boolean;
    }
  /** Copies of the instances of the image before this one. */
  | { op: "repeat"; image: number }
  | { op: "remove"; image: number; instance: string; next: WireCursor }
  | { op: "finish"; image: number; instance: string; next: WireCursor }
  | { op: "skip"; image: number; next: WireCursor }
  | { op: "cursor"; image: number; next: WireCursor }
  | { op: "status"; image: number; done: boolean }
  | { op: "flags"; image: number; instance: string; hidden?: boolean; locked?: boolean }
  | { op: "goto"; to: number | string }
  | { op: "undo"; image: number }
  | { op: "redo"; image: number }
  | { op: "save" }
  | { op: "refresh" }
  | { op: "resolve"; conflict: number; take: boolean }
  /** A finding is fine as it is. */
  | { op: "decide"; image: number; finding: string }
  | { op: "repair"; image: number; finding: string };

/** `schemas` is that of the scene the edit was made on. */
export type WireEdit = EditBody & { seq: number; schemas?: string };

export const OPS = [
  "point",
  "box",
  "pose",
  "repeat",
  "remove",
  "finish",
  "skip",
  "cursor",
  "status",
  "flags",
  "goto",
  "undo",
  "redo",
  "save",
  "refresh",
  "resolve",
  "decide",
  "repair",
] as const;

export interface ViewportMessage {
  readonly kind: "viewport";
  readonly client: string;
  readonly rev: number;
  /** Index of the image that the viewport is for. */
  readonly image: number;
  readonly viewport: WireViewport;
  readonly dpr: number;
  readonly w: number;
  readonly h: number;
}

export type ToPython =
  /** A view shows what it can show without the canvases, which are to be made now. */
  | { kind: "open" }
  /** A view is there; `blank`: nothing has been painted in this page yet, so this view leads. */
  | { kind: "hello"; client: string; blank: boolean; first: ViewportMessage | null }
  /** The view is closed: nothing need be painted for it. */
  | { kind: "bye"; client: string }
  /** Numbered edits; every number up to `base` has been acknowledged already. */
  | { kind: "edits"; client: string; base: number; edits: readonly WireEdit[] }
  | ViewportMessage
  /** The latest of a view counts: messages may overtake one another. */
  | { kind: "query"; client: string; rev: number; query: Query }
  /** Images by index; null: all that are listed to be picked, or none at all. */
  | { kind: "pick"; images: readonly number[] | null; picked: boolean }
  /** Thumbnails wanted, by place in the list; a later request takes the place of this one. */
  | { kind: "want"; client: string; rev: number; version: number; places: readonly number[] }
  /** `finding` is of "open" and of decisions ("again": open again), filter and start of "list". */
  | {
      kind: "review";
      client: string;
      rev: number;
      do: ReviewDeed;
      finding: number | null;
      filter: ReviewFilter;
      start: number;
    };

export type ReviewDeed =
  | "list"
  | "open"
  | "next"
  | "previous"
  | "fine"
  | "fixed"
  | "again"
  | "undo"
  | "redo";

/** Sent before the draw batch that carries the number `paint`. */
export interface Painting {
  readonly kind: "painting";
  readonly client: string;
  readonly rev: number;
  readonly paint: number;
  readonly layers: readonly LayerName[];
  readonly viewport: WireViewport;
  readonly dpr: number;
  readonly w: number;
  readonly h: number;
  readonly version: number;
  /** Size of the encoded picture on the image layer; null when it could not be read. */
  readonly picture: readonly [number, number] | null;
}

export type FromPython =
  /** The hello of this view has come. */
  | { kind: "welcome"; client: string }
  /** Everything up to `seq` is in the dataset and in scene `version`. */
  | { kind: "ack"; client: string; seq: number; version: number }
  | { kind: "rejected"; client: string; seq: number; why: string }
  | Painting
  /**
   * Encoded picture that the next draw batch paints from the source canvas: in one buffer, or
   * without a buffer the one that `preview` holds.
   */
  | { kind: "picture"; layer: LayerName; mime: string; paint: number }
  | { kind: "notice"; level: "info" | "error"; text: string }
  | { kind: "tiles"; version: number; tiles: readonly Tile[] };

export const MESSAGES_TO_PYTHON = [
  "open",
  "hello",
  "bye",
  "edits",
  "viewport",
  "query",
  "pick",
  "want",
  "review",
] as const;
export const MESSAGES_FROM_PYTHON = [
  "welcome",
  "ack",
  "rejected",
  "painting",
  "picture",
  "notice",
  "tiles",
] as const;

export const LAYERS = ["image", "detail", "skeletons", "active"] as const;
export type LayerName = (typeof LAYERS)[number];

/** The part of anywidget's model that kpwidget uses. */
export interface Model {
  get<K extends keyof Traits>(name: K): Traits[K];
  send(content: ToPython): void;
  on(event: "msg:custom", callback: (message: FromPython, buffers: DataView[]) => void): void;
  on(event: string, callback: () => void): void;
  off(event: string, callback: unknown): void;
  // biome-ignore lint/suspicious/noExplicitAny: the widget manager is ipywidgets' own, untyped here
  widget_manager: any;
}
