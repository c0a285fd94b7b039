/** Stand-ins for what anywidget and ipycanvas bring: models, canvases, the widget manager. */

import type { FromPython, Model, Painting, Scene, ToPython, Traits } from "../src/model";
import { FACE, LOOK, STICK, scene } from "./builders";

type Callback = (...values: never[]) => void;

/** Events as Backbone has them: several names in one string. */
class Events {
  readonly callbacks: [string, Callback][] = [];

  on(names: string, callback: Callback): void {
    for (const name of names.split(" ")) this.callbacks.push([name, callback]);
  }

  off(names: string, callback: unknown): void {
    for (const name of names.split(" ")) {
      const at = this.callbacks.findIndex(([n, c]) => n === name && c === callback);
      if (at >= 0) this.callbacks.splice(at, 1);
    }
  }

  trigger(name: string, ...values: unknown[]): void {
    for (const [at, callback] of [...this.callbacks])
      if (at === name) (callback as (...v: unknown[]) => void)(...values);
  }
}

/** An ipycanvas canvas model. */
export class FakeCanvas extends Events {
  readonly ctx = { lineWidth: 1 };
  canvas: unknown = document.createElement("canvas");
  comm_live = true;
  views = 0;
  private readonly values: Record<string, unknown>;

  constructor(manager: unknown) {
    super();
    this.values = { width: 256, height: 256, _canvas_manager: manager };
  }

  get(name: string): unknown {
    return this.values[name];
  }

  resize(width: number, height: number): void {
    Object.assign(this.values, { width, height });
    this.trigger("change:width");
    this.trigger("change:height");
  }
}

export class FakeModel extends Events {
  readonly sent: ToPython[] = [];
  readonly canvases: FakeCanvas[];
  readonly manager = { currentProcessing: Promise.resolve() as Promise<unknown> };
  isCommOpen = true;
  hasIpycanvas = true;
  private readonly traits: Traits;

  constructor(traits: Partial<Traits> = {}) {
    super();
    this.canvases = Array.from({ length: 5 }, () => new FakeCanvas(this.manager));
    this.traits = {
      scene: scene(),
      categories: [FACE, STICK],
      templates: [],
      look: LOOK,
      poster: null,
      preview: null,
      browse: null,
      review: null,
      height: 400,
      canvases: this.canvases.map((_, i) => `IPY_MODEL_${i}`),
      ...traits,
    };
  }

  get<K extends keyof Traits>(name: K): Traits[K] {
    return this.traits[name];
  }

  set<K extends keyof Traits>(name: K, value: Traits[K]): void {
    this.traits[name] = value;
    this.trigger(`change:${name}`);
  }

  send(message: ToPython): void {
    if (!this.isCommOpen) throw new Error("the comm is closed");
    this.sent.push(message);
  }

  receive(message: FromPython | Record<string, unknown>, buffers: DataView[] = []): void {
    this.trigger("msg:custom", message, buffers);
  }

  readonly widget_manager = {
    get_model: async (id: string) => {
      if (!this.hasIpycanvas) throw new Error("Module ipycanvas is not registered");
      return this.canvases[Number(id)];
    },
    create_view: async (model: FakeCanvas) => {
      const el = document.createElement("canvas");
      el.tabIndex = 0;
      model.views += 1;
      return {
        el,
        remove: () => {
          model.views -= 1;
          el.remove();
        },
      };
    },
  };

  get asModel(): Model {
    return this as unknown as Model;
  }

  /** Announces a painting of the scene and lets its frame come. */
  paint(paint: number, more: Partial<Painting> = {}): void {
    const painting: Painting = {
      kind: "painting",
      client: "",
      rev: 0,
      paint,
      layers: ["image", "detail", "skeletons", "active"],
      viewport: [2, 10, 20],
      dpr: 1,
      w: 400,
      h: 300,
      version: this.get("scene").version,
      picture: [100, 80],
      ...more,
    };
    this.receive(painting);
    const active = this.canvases[3] as FakeCanvas;
    active.ctx.lineWidth = paint;
    active.trigger("new-frame");
  }

  /** A scene with the next version. */
  show(more: Partial<Scene>): void {
    const old = this.get("scene");
    this.set("scene", { ...old, version: old.version + 1, ...more });
  }

  listeners(): number {
    return (
      this.callbacks.length + this.canvases.reduce((n, canvas) => n + canvas.callbacks.length, 0)
    );
  }
}
