/**
 * The ipycanvas layers under the ink. Every use of ipycanvas's private parts is in this file.
 *
 * Private to ipycanvas 0.14.3, and guarded by tests/browser/test_layers.py: the 'new-frame' event of
 * a canvas model, its `.canvas` and `.ctx`, and the manager's promise chain `currentProcessing`.
 */

import { LAYERS, type LayerName, type Model, type Painting, type Scene } from "./model";

// biome-ignore lint/suspicious/noExplicitAny: models and views of another widget library, untyped
type Foreign = any;

export interface LayerView {
  readonly el: HTMLCanvasElement;
  remove(): void;
}

/** A painting that has come to the screen, with the scene it shows. */
export interface Painted {
  readonly painting: Painting;
  readonly scene: Scene;
}

/** The canvas models of one Stage, and what is painted on them; shared by its views. */
export class Layers {
  /** Settles when the models are there; rejects when this page has no ipycanvas or no kernel. */
  readonly ready: Promise<void>;
  private readonly models = new Map<LayerName, Foreign>();
  private source: Foreign = null;
  private manager: Foreign = null;
  private readonly widgetManager: Foreign;
  private stopWaiting: () => void = () => undefined;
  private readonly listeners = new Set<(painted: Painted) => void>();
  private readonly failures = new Set<(why: string) => void>();
  private readonly announced = new Map<number, Painted>();
  /** The last painting of each layer; empty on a page where nothing has been painted yet. */
  readonly painted = new Map<LayerName, Painting>();
  last: Painted | null = null;
  /**
   * Whether this page has the image itself. A page that came in between has at first only what was
   * painted since, as the points of an edit that was made elsewhere.
   */
  get hasImage(): boolean {
    return this.painted.has("image");
  }
  private readonly onFrame = () => {
    // Python ends every batch by setting this line width to the number of the painting.
    const paint = this.models.get("active")?.ctx?.lineWidth;
    const painted = this.announced.get(paint);
    if (!painted) return;
    for (const key of this.announced.keys()) if (key <= paint) this.announced.delete(key);
    for (const layer of painted.painting.layers) this.painted.set(layer, painted.painting);
    this.last = painted;
    this.releasePicture();
    for (const listener of this.listeners) listener(painted);
  };

  constructor(model: Model) {
    this.widgetManager = model.widget_manager;
    this.ready = this.whenMade(model).then((references) => this.find(references));
    // A view awaits `ready` and reports the failure; without one there is nobody to tell.
    this.ready.catch(() => undefined);
  }

  /** References to the canvases, once Python has made them. */
  private whenMade(model: Model): Promise<readonly string[]> {
    const now = model.get("canvases");
    if (now.length > 0) return Promise.resolve(now);
    return new Promise((resolve) => {
      const onMade = () => {
        this.stopWaiting();
        resolve(model.get("canvases"));
      };
      this.stopWaiting = () => model.off("change:canvases", onMade);
      model.on("change:canvases", onMade);
    });
  }

  private async find(references: readonly string[]): Promise<void> {
    const [image, detail, skeletons, active, source] = await Promise.all(
      references.map((reference) =>
        this.widgetManager.get_model(reference.replace(/^IPY_MODEL_/, "")),
      ),
    );
    for (const [i, found] of [image, detail, skeletons, active].entries())
      this.models.set(LAYERS[i] as LayerName, found);
    this.source = source;
    this.manager = active.get("_canvas_manager");
    active.on("new-frame", this.onFrame);
  }

  dispose(): void {
    this.stopWaiting();
    this.models.get("active")?.off("new-frame", this.onFrame);
    this.listeners.clear();
  }

  /** Python will paint this next; `scene` is the one it paints. */
  announce(painting: Painting, scene: Scene): void {
    this.announced.set(painting.paint, { painting, scene });
  }

  /** Calls back when a picture cannot be shown. */
  listenFailure(listener: (why: string) => void): () => void {
    this.failures.add(listener);
    return () => this.failures.delete(listener);
  }

  /** Calls back in the frame in which a painting comes to the screen. */
  listen(listener: (painted: Painted) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Whether the kernel can still be reached through these models. */
  get isLive(): boolean {
    const live = this.models.get("active")?.comm_live;
    return live === undefined ? true : Boolean(live);
  }

  listenLive(listener: () => void): () => void {
    const active = this.models.get("active");
    active?.on("comm_live_update", listener);
    return () => active?.off("comm_live_update", listener);
  }

  size(layer: LayerName): { w: number; h: number } {
    const model = this.models.get(layer);
    return { w: model?.get("width") ?? 1, h: model?.get("height") ?? 1 };
  }

  /** Calls back when a layer has been resized, which wipes it. */
  listenResize(layer: LayerName, listener: () => void): () => void {
    const model = this.models.get(layer);
    model?.on("change:width change:height", listener);
    return () => model?.off("change:width change:height", listener);
  }

  async createView(layer: LayerName): Promise<LayerView> {
    const view = await this.widgetManager.create_view(this.models.get(layer), {});
    const el: HTMLCanvasElement = view.el;
    // ipycanvas makes its canvas focusable and swallows every key there.
    el.tabIndex = -1;
    el.removeAttribute("tabindex");
    el.setAttribute("aria-hidden", "true");
    return { el, remove: () => view.remove() };
  }

  /**
   * Makes the source canvas show an encoded picture, in turn with the draw batches around it.
   *
   * ipycanvas would decode an Image widget anew for every draw and never release its object URL. So
   * the bytes come here, are decoded once, and stand in the source canvas for exactly as long as it
   * takes the batch behind them to paint from it.
   */
  showPicture(bytes: DataView, mime: string): void {
    const { source, manager } = this;
    if (!source || !manager) {
      this.fail("The picture came before the canvases: reload the page.");
      return;
    }
    const blank: HTMLCanvasElement = source.blank ?? source.canvas;
    source.blank = blank;
    const decoding = createImageBitmap(new Blob([bytes as BlobPart], { type: mime }));
    decoding.catch(() => undefined);
    manager.currentProcessing = manager.currentProcessing.then(async () => {
      if (source.canvas !== blank) source.canvas.close?.();
      source.canvas = blank;
      try {
        source.canvas = await decoding;
      } catch (error) {
        this.fail(`The browser could not decode the picture (${String(error)}).`);
      }
    });
  }

  private fail(why: string): void {
    for (const listener of this.failures) listener(why);
  }

  /** Lets go of the decoded picture: what was painted from it stays on its layer. */
  private releasePicture(): void {
    const { source } = this;
    if (!source?.blank || source.canvas === source.blank) return;
    source.canvas.close?.();
    source.canvas = source.blank;
  }
}
