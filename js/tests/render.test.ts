import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import widget from "../src/index";
import type { ToPython } from "../src/model";
import { FACE, finding, instance, STICK, scene, sceneOfImage, wholeFace } from "./builders";
import { key, pointer, stubCanvas, stubPage, watchListeners } from "./dom";
import { FakeModel } from "./model";

let frames: () => void;
let contextOf: ReturnType<typeof stubCanvas>;
const cleanUps: (() => void)[] = [];

beforeEach(() => {
  vi.useFakeTimers();
  // jsdom's own clock is none of the timers that are faked.
  vi.spyOn(performance, "now").mockImplementation(() => Date.now());
  sessionStorage.clear();
  contextOf = stubCanvas();
  ({ frames } = stubPage(400, 300));
});
afterEach(() => {
  for (const cleanUp of cleanUps.splice(0)) cleanUp();
  document.body.replaceChildren();
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

/** Promises and what they lead to. */
const settle = async () => {
  await vi.advanceTimersByTimeAsync(0);
  frames();
};
const rest = async () => {
  await vi.advanceTimersByTimeAsync(200);
  frames();
};

class View {
  readonly el = document.createElement("div");
  readonly end: () => void;

  constructor(
    readonly model: FakeModel,
    made: ReturnType<typeof widget>,
  ) {
    document.body.append(this.el);
    const end = made.render({ model: model.asModel, el: this.el });
    let isEnded = false;
    this.end = () => {
      if (!isEnded) end();
      isEnded = true;
    };
    cleanUps.push(this.end);
  }

  one<E extends HTMLElement = HTMLElement>(selector: string): E {
    const found = this.el.querySelectorAll<E>(selector);
    if (found.length !== 1) throw new Error(`${found.length} elements are ${selector}`);
    return found[0] as E;
  }

  all(selector: string): HTMLElement[] {
    return [...this.el.querySelectorAll<HTMLElement>(selector)];
  }

  get root(): HTMLElement {
    return this.one(".kpwidget-stage");
  }

  get ink(): HTMLCanvasElement {
    return this.one<HTMLCanvasElement>(".kpwidget-ink");
  }

  data(name: string): string | null {
    return this.root.getAttribute(`data-${name}`);
  }

  /** A click on an image point. */
  click(x: number, y: number): void {
    const [k, tx, ty] = ["scale", "tx", "ty"].map((name) => Number(this.data(name)));
    const at = [(tx ?? 0) + (k ?? 1) * x, (ty ?? 0) + (k ?? 1) * y] as const;
    pointer(this.ink, "pointerdown", ...at);
    pointer(this.ink, "pointerup", ...at);
  }
}

async function open(model = new FakeModel()): Promise<View> {
  const made = widget();
  cleanUps.push(made.initialize({ model: model.asModel }));
  const view = new View(model, made);
  await settle();
  return view;
}

const kinds = (sent: readonly ToPython[]) => sent.map((message) => message.kind);
const editsOf = (sent: readonly ToPython[]) =>
  sent.flatMap((message) => (message.kind === "edits" ? [...message.edits] : []));

describe("the DOM says its state", () => {
  it("has one focusable, labelled root with one ink canvas on top", async () => {
    const view = await open();
    expect(view.root.tabIndex).toBe(0);
    expect(view.root.getAttribute("aria-label")).toMatch(/Keypoint annotator/);
    expect(view.root.getAttribute("data-lm-suppress-shortcuts")).toBe("true");
    const canvases = [...view.root.querySelectorAll("canvas")];
    expect(canvases).toHaveLength(5);
    expect(canvases.at(-1)).toBe(view.ink);
    expect(canvases.slice(0, 4).every((c) => !c.hasAttribute("tabindex"))).toBe(true);
  });

  it("tells image, category, next keypoint, active instance and edits under way", async () => {
    const view = await open();
    expect(view.data("image")).toBe("a.png");
    expect(view.data("category")).toBe("face");
    expect(view.data("next-keypoint")).toBe("top");
    expect(view.data("active-instance")).toBe("");
    expect(view.data("pending")).toBe("0");
  });

  it("tells the viewport: the image fitted into the stage with 8 px around", async () => {
    const view = await open();
    // 100 x 80 into (400 - 16) x (300 - 16): 3.55, and centred.
    expect(Number(view.data("scale"))).toBe(3.55);
    expect(Number(view.data("tx"))).toBeCloseTo((400 - 355) / 2, 12);
    expect(Number(view.data("ty"))).toBeCloseTo(8, 12);
  });

  it("changes at once with a click, before Python has said anything", async () => {
    const view = await open();
    view.click(50, 40);
    expect(view.data("next-keypoint")).toBe("left");
    expect(view.data("pending")).toBe("1");
    const uid = view.data("active-instance");
    expect(uid).toMatch(/^[0-9a-f]{12}$/);
    frames();
    expect(view.one(`.kpwidget-stack [data-instance="${uid}"]`).textContent).toContain("1/4");
    const top = view.one('.kpwidget-keypoints [data-keypoint="top"]');
    expect(top.getAttribute("data-visibility")).toBe("2");
    expect(top.textContent).toContain("top");
    expect(view.one(".kpwidget-live").textContent).toBe("top placed. Next: left.");
  });

  it("lists the keypoints of the active instance with their visibility", async () => {
    const face = instance("f", { 0: [1, 1, 2], 2: [2, 2, 1] });
    const cursor = { category: 0, instance: "f", keypoint: 1 };
    const view = await open(new FakeModel({ scene: scene({ instances: [face], cursor }) }));
    const rows = view.all(".kpwidget-keypoints [data-keypoint]");
    expect(rows.map((row) => row.dataset.keypoint)).toEqual(FACE.keypoints);
    expect(rows.map((row) => row.dataset.visibility)).toEqual(["2", "0", "1", "0"]);
    expect(rows.map((row) => row.classList.contains("is-next"))).toEqual([
      false,
      true,
      false,
      false,
    ]);
  });
});

describe("talking with Python", () => {
  it("says hello first, and what its viewport is", async () => {
    const view = await open();
    await rest();
    expect(kinds(view.model.sent)).toEqual(["hello"]);
    const hello = view.model.sent[0] as Extract<ToPython, { kind: "hello" }>;
    expect(hello).toMatchObject({ kind: "hello", blank: true });
    expect(hello.first).toMatchObject({
      kind: "viewport",
      client: hello.client,
      image: 0,
      viewport: ["scale", "tx", "ty"].map((name) => Number(view.data(name))),
      dpr: 1,
      w: 400,
      h: 300,
    });
  });

  it("asks for the canvases once it shows a picture, and says hello when they are there", async () => {
    const model = new FakeModel({ canvases: [], preview: new DataView(new ArrayBuffer(8)) });
    const view = await open(model);
    await rest();
    expect(kinds(model.sent)).toEqual([]);
    view.one(".kpwidget-poster").dispatchEvent(new Event("load"));
    frames();
    await settle();
    expect(kinds(model.sent)).toEqual(["open"]);
    model.set(
      "canvases",
      model.canvases.map((_, i) => `IPY_MODEL_${i}`),
    );
    await settle();
    expect(kinds(model.sent)).toEqual(["open", "hello"]);
    expect(view.root.querySelectorAll("canvas")).toHaveLength(5);
  });

  it("asks for the canvases soon, also when no picture comes", async () => {
    const model = new FakeModel({ canvases: [] });
    await open(model);
    expect(kinds(model.sent)).toEqual([]);
    await vi.advanceTimersByTimeAsync(300);
    expect(kinds(model.sent)).toEqual(["open"]);
    // It does so again until it has them: a kernel may drop a message.
    await vi.advanceTimersByTimeAsync(2100);
    expect(kinds(model.sent)).toEqual(["open", "open"]);
  });

  it("says hello again until it is welcome, ever more rarely", async () => {
    const view = await open();
    const hellos = () => view.model.sent.filter((m) => m.kind === "hello").length;
    await vi.advanceTimersByTimeAsync(1000);
    expect(hellos()).toBe(1);
    await vi.advanceTimersByTimeAsync(1000);
    expect(hellos()).toBe(2);
    await vi.advanceTimersByTimeAsync(2000);
    expect(hellos()).toBe(2);
    await vi.advanceTimersByTimeAsync(2000);
    expect(hellos()).toBe(3);
    const { client } = view.model.sent.find((m) => m.kind === "hello") as { client: string };
    view.model.receive({ kind: "welcome", client: "somebody else" });
    await vi.advanceTimersByTimeAsync(10_000);
    expect(hellos()).toBe(4);
    view.model.receive({ kind: "welcome", client });
    await vi.advanceTimersByTimeAsync(100_000);
    expect(hellos()).toBe(4);
  });

  it("sends a viewport again that nothing was painted for", async () => {
    const view = await open();
    const { client } = view.model.sent.find((m) => m.kind === "hello") as { client: string };
    view.model.receive({ kind: "welcome", client });
    view.model.paint(1, { client, rev: 1 });
    await vi.advanceTimersByTimeAsync(20_000);
    expect(view.model.sent.filter((m) => m.kind === "viewport")).toEqual([]);
    view.root.focus();
    view.root.dispatchEvent(new KeyboardEvent("keydown", { key: "0", bubbles: true }));
    await vi.advanceTimersByTimeAsync(1000);
    const sent = () => view.model.sent.filter((m) => m.kind === "viewport");
    expect(sent()).toMatchObject([{ rev: 2 }]);
    await vi.advanceTimersByTimeAsync(6000);
    expect(sent()).toMatchObject([{ rev: 2 }, { rev: 3 }]);
    view.model.paint(2, { client, rev: 3 });
    await vi.advanceTimersByTimeAsync(100_000);
    expect(sent()).toHaveLength(2);
  });

  it("sends one edit for a click and none for a move", async () => {
    const view = await open();
    await rest();
    const before = view.model.sent.length;
    for (let x = 50; x < 200; x += 5) pointer(view.ink, "pointermove", x, 60);
    expect(view.model.sent.length).toBe(before);
    view.click(50, 40);
    expect(view.model.sent.length).toBe(before + 1);
    const [edit] = editsOf(view.model.sent);
    expect(edit).toMatchObject({ seq: 1, op: "point", keypoint: 0, new: true });
    const { x, y } = edit as { x: number; y: number };
    expect(Math.hypot(x - 50, y - 40)).toBeLessThan(1e-9);
  });

  it("is at rest when the edit is acknowledged", async () => {
    const view = await open();
    view.click(50, 40);
    const { client } = view.model.sent.find((m) => m.kind === "edits") as { client: string };
    const uid = view.data("active-instance") as string;
    view.model.show({
      instances: [instance(uid, { 0: [50, 40, 2] })],
      cursor: { category: 0, instance: uid, keypoint: 1 },
    });
    expect(view.data("pending")).toBe("1");
    view.model.receive({ kind: "ack", client, seq: 1, version: 2 });
    expect(view.data("pending")).toBe("0");
    expect(view.data("next-keypoint")).toBe("left");
    expect(sessionStorage.length).toBe(0);
  });

  it("a refused edit is taken back and told", async () => {
    const view = await open();
    view.click(50, 40);
    const { client } = view.model.sent.find((m) => m.kind === "edits") as { client: string };
    view.model.receive({ kind: "rejected", client, seq: 1, why: "not here" });
    frames();
    expect(view.data("next-keypoint")).toBe("top");
    expect(view.one(".kpwidget-notice").textContent).toContain("not here");
    expect(view.one(".kpwidget-live").textContent).toBe("not here");
  });

  it("an unknown message is an error that is shown", async () => {
    const view = await open();
    view.model.receive({ kind: "surprise" });
    frames();
    const notice = view.one(".kpwidget-notice");
    expect(notice.dataset.level).toBe("error");
    expect(notice.textContent).toContain("Unknown message from Python: surprise");
    notice.querySelector("button")?.click();
    frames();
    expect(view.all(".kpwidget-notice")).toEqual([]);
  });

  it("tells that the kernel is gone, keeps the edits, and that it is back", async () => {
    const view = await open();
    view.model.isCommOpen = false;
    view.click(50, 40);
    frames();
    expect(view.one(".kpwidget-saved").textContent).toBe("kernel gone");
    expect(sessionStorage.length).toBe(1);
    view.model.isCommOpen = true;
    await vi.advanceTimersByTimeAsync(6000);
    const message = view.model.sent.find((m) => m.kind === "edits");
    expect(editsOf(view.model.sent).map((edit) => edit.seq)).toEqual([1]);
    const { client } = message as { client: string };
    view.model.receive({ kind: "ack", client, seq: 1, version: 1 });
    frames();
    expect(view.one(".kpwidget-saved").textContent).toBe("in memory");
  });

  it("takes up what an earlier load of the page left", async () => {
    const edit = { seq: 3, op: "skip", image: 0, next: [0, null, 1] };
    sessionStorage.setItem(
      "kpwidget:d1:old",
      JSON.stringify({ page: "earlier", base: 2, edits: [edit] }),
    );
    const view = await open();
    expect(view.model.sent.filter((m) => m.kind === "edits")).toEqual([
      { kind: "edits", client: "old", base: 2, edits: [edit] },
    ]);
    expect(view.data("pending")).toBe("1");
    view.model.receive({ kind: "ack", client: "old", seq: 3, version: 1 });
    expect(view.data("pending")).toBe("0");
    expect(sessionStorage.length).toBe(0);
  });

  it("follows a new height, new categories and a new scene", async () => {
    const view = await open();
    view.model.set("height", 555);
    expect(view.root.style.height).toBe("555px");
    view.model.set("categories", [STICK, FACE]);
    expect(view.data("next-keypoint")).toBe("head");
    view.model.show({ cursor: { category: 1, instance: null, keypoint: 2 } });
    expect(view.data("next-keypoint")).toBe("right");
  });
});

describe("layers and ink", () => {
  const twoFaces = () =>
    scene({
      instances: [wholeFace("f", 20, 20), wholeFace("g", 60, 40, { ordinal: 1 })],
      cursor: { category: 0, instance: "f", keypoint: null },
    });
  const layersOf = (view: View) =>
    [...view.root.querySelectorAll("canvas")].slice(0, 4).map((c) => c.style.visibility);
  const inked = (view: View) => {
    const { log } = contextOf(view.ink);
    const last = log.map(([name]) => name).lastIndexOf("clearRect");
    return log.slice(last).filter(([name]) => name === "fill" || name === "stroke").length;
  };

  it("inks everything until the first painting is on the screen, then nothing", async () => {
    const view = await open(new FakeModel({ scene: twoFaces() }));
    view.click(0, 0);
    expect(inked(view)).toBeGreaterThan(0);
    view.model.show({ ...twoFaces(), version: 3 });
    const { client } = view.model.sent.find((m) => m.kind === "edits") as { client: string };
    view.model.receive({ kind: "ack", client, seq: 1, version: 3 });
    view.model.paint(7);
    expect(layersOf(view)).toEqual(["visible", "visible", "visible", "visible"]);
    expect(inked(view)).toBe(0);
  });

  it("takes the active layer's place from the drag to the frame that paints it", async () => {
    const view = await open(new FakeModel({ scene: twoFaces() }));
    view.model.paint(5);
    const [k, tx, ty] = ["scale", "tx", "ty"].map((n) => Number(view.data(n)));
    const x = (tx as number) + (k as number) * 20;
    const y = (ty as number) + (k as number) * 15;
    pointer(view.ink, "pointerdown", x, y);
    pointer(view.ink, "pointermove", x + 30, y);
    expect(layersOf(view).slice(2)).toEqual(["visible", "hidden"]);
    pointer(view.ink, "pointerup", x + 30, y);
    expect(layersOf(view).slice(2)).toEqual(["visible", "hidden"]);
    const moved = editsOf(view.model.sent)[0] as unknown as { x: number; y: number };
    const face = wholeFace("f", 20, 20);
    const points = [moved.x, moved.y, ...face.points.slice(2)];
    view.model.show({ instances: [{ ...face, points }, wholeFace("g", 60, 40, { ordinal: 1 })] });
    expect(layersOf(view).slice(2)).toEqual(["visible", "hidden"]);
    view.model.paint(6, { layers: ["active"] });
    expect(layersOf(view).slice(2)).toEqual(["visible", "visible"]);
  });

  it("a frame whose painting was not announced changes nothing", async () => {
    const view = await open(new FakeModel({ scene: twoFaces() }));
    const active = view.model.canvases[3];
    if (!active) throw new Error("no canvas");
    active.ctx.lineWidth = 99;
    active.trigger("new-frame");
    view.click(0, 0);
    expect(inked(view)).toBeGreaterThan(0);
  });

  it("inks all again when a layer has been resized, which wipes it", async () => {
    const view = await open(new FakeModel({ scene: twoFaces() }));
    view.model.paint(5);
    expect(inked(view)).toBe(0);
    view.model.canvases[2]?.resize(512, 512);
    expect(inked(view)).toBeGreaterThan(0);
  });

  it("another image's scene waits for its picture: what is clicked is what is seen", async () => {
    const view = await open();
    view.model.paint(5);
    view.model.set("scene", sceneOfImage(1, { version: 2 }));
    expect(view.data("image")).toBe("a.png");
    const before = view.model.sent.length;
    view.click(50, 40);
    expect(editsOf(view.model.sent.slice(before))).toEqual([]);
    view.model.paint(6, { viewport: [3, 1, 2] });
    expect(view.data("image")).toBe("1.png");
    expect(["scale", "tx", "ty"].map((n) => view.data(n))).toEqual(["3", "1", "2"]);
    view.click(50, 40);
    expect(editsOf(view.model.sent)[0]).toMatchObject({ image: 1 });
  });

  it("but not for ever", async () => {
    const view = await open();
    view.model.paint(5);
    view.model.set("scene", sceneOfImage(1, { version: 2 }));
    await vi.advanceTimersByTimeAsync(4000);
    expect(view.data("image")).toBe("1.png");
    // Without its picture: the old one would be taken for it, and labeled.
    expect(layersOf(view).slice(0, 2)).toEqual(["hidden", "hidden"]);
    expect(view.one(".kpwidget-message").textContent).toContain("1.png");
    view.click(50, 40);
    expect(editsOf(view.model.sent)).toEqual([]);
    view.model.paint(6);
    expect(layersOf(view).slice(0, 2)).toEqual(["visible", "visible"]);
    view.click(50, 40);
    expect(editsOf(view.model.sent)[0]).toMatchObject({ image: 1 });
  });

  it("a scene that comes between a painting and its frame does not hold the picture back", async () => {
    const view = await open();
    view.model.paint(5);
    view.model.set("scene", sceneOfImage(1, { version: 2 }));
    const active = view.model.canvases[3];
    const original = active?.trigger.bind(active);
    if (!active || !original) throw new Error("no canvas");
    active.trigger = (name, ...values) => {
      view.model.set("scene", sceneOfImage(1, { version: 3 }));
      original(name, ...values);
    };
    view.model.paint(6);
    expect(view.data("image")).toBe("1.png");
  });

  it("an image that cannot be shown says why, over the stage", async () => {
    const view = await open();
    view.model.paint(5);
    const broken = sceneOfImage(1, { version: 2 });
    const image = broken.image && { ...broken.image, error: "truncated.jpg: cut off" };
    view.model.set("scene", { ...broken, image });
    view.model.paint(6, { picture: null });
    expect(view.one(".kpwidget-message").textContent).toBe("truncated.jpg: cut off");
    expect(view.one(".kpwidget-message").hidden).toBe(false);
  });

  it("without ipycanvas says what to install", async () => {
    const model = new FakeModel();
    model.hasIpycanvas = false;
    const view = await open(model);
    expect(view.one(".kpwidget-message").textContent).toMatch(/Install ipycanvas/);
    view.click(50, 40);
    expect(view.data("next-keypoint")).toBe("left");
  });

  it("pictures are decoded once, stand in for the source, and are closed after the frame", async () => {
    const model = new FakeModel();
    const close = vi.fn();
    const bitmap = { close };
    const decode = vi.fn(async () => bitmap);
    vi.stubGlobal("createImageBitmap", decode);
    await open(model);
    const source = model.canvases[4];
    const own = source?.canvas;
    model.receive({ kind: "picture", layer: "image", mime: "image/png", paint: 5 }, [
      new DataView(new ArrayBuffer(4)),
    ]);
    await model.manager.currentProcessing;
    expect(decode).toHaveBeenCalledTimes(1);
    expect(source?.canvas).toBe(bitmap);
    model.paint(5);
    expect(source?.canvas).toBe(own);
    expect(close).toHaveBeenCalledTimes(1);
  });

  it("a picture that cannot be decoded does not stop the drawing behind it", async () => {
    const model = new FakeModel();
    vi.stubGlobal("createImageBitmap", async () => {
      throw new Error("no image");
    });
    const view = await open(model);
    model.receive({ kind: "picture", layer: "image", mime: "image/png", paint: 5 }, [
      new DataView(new ArrayBuffer(4)),
    ]);
    await expect(model.manager.currentProcessing).resolves.toBeUndefined();
    frames();
    expect(view.one(".kpwidget-notice").textContent).toContain("could not decode the picture");
  });
});

describe("strangers' text", () => {
  const evil = (name: string) => `${name}<img src=x onerror=alert(1)>"'&amp;<svg onload=alert(2)>`;

  it("never becomes markup", async () => {
    const category = {
      ...FACE,
      name: evil("category"),
      keypoints: FACE.keypoints.map((name) => evil(name)),
    };
    const base = scene({
      instances: [wholeFace(evil("uid"), 20, 20)],
      cursor: { category: 0, instance: evil("uid"), keypoint: 1 },
      undo: { label: evil("undo"), token: null },
      saved: { state: "saved", text: evil("saved") },
    });
    const image = base.image && {
      ...base.image,
      name: evil("file"),
      note: evil("note"),
      error: evil("error"),
    };
    const view = await open(
      new FakeModel({ scene: { ...base, image }, categories: [category, STICK] }),
    );
    view.model.receive({ kind: "notice", level: "error", text: evil("notice") });
    view.model.receive({ kind: evil("kind") });
    view.model.receive({ kind: "rejected", client: "other", seq: 1, why: evil("why") });
    pointer(view.ink, "pointermove", 100, 100);
    key(view.root, "g");
    key(view.root, "?");
    frames();
    await rest();

    expect(view.all("[onload], img:not(.kpwidget-poster), [onerror]")).toEqual([]);
    const { textContent } = view.el;
    for (const name of ["category", "top", "file", "saved", "notice", "kind", "error"])
      expect(textContent).toContain(evil(name));
    expect(view.data("image")).toBe(evil("file"));
    expect(view.data("next-keypoint")).toBe(evil("left"));
    expect(view.one(".kpwidget-stack [data-instance]").dataset.instance).toBe(evil("uid"));
  });
});

describe("the guide", () => {
  const guides = [
    { keypoint: "left", definition: "<b>its corner</b>", picture: "data:image/png;base64,AA==" },
    { keypoint: "right", definition: "there", picture: "data:image/svg+xml;base64,AA==" },
  ];

  it("shows what is said of the next keypoint, as text and with a picture that is one", async () => {
    const base = scene({ cursor: { category: 0, instance: null, keypoint: 1 } });
    const view = await open(
      new FakeModel({ scene: base, categories: [{ ...FACE, guides }, STICK] }),
    );
    const card = view.one(".kpwidget-guide");
    const shown = () => [card.hidden, card.dataset.keypoint, card.querySelectorAll("img").length];
    expect(card.hidden).toBe(true);
    key(view.root, "i");
    frames();
    expect(shown()).toEqual([false, "left", 1]);
    expect(card.textContent).toBe("left<b>its corner</b>");
    expect(view.one("[title*='(I)']").getAttribute("aria-pressed")).toBe("true");
    key(view.root, "s");
    frames();
    expect(shown()).toEqual([false, "right", 0]);
    expect(card.textContent).toBe("rightthere");
    key(view.root, "s");
    frames();
    expect(card.textContent).toBe("bottomNothing is said of this keypoint.");
    view.one("[title*='(I)']").click();
    frames();
    expect(card.hidden).toBe(true);
  });
});

describe("views", () => {
  it("cleaning up removes every listener, timer, view and element it added", async () => {
    const model = new FakeModel();
    const made = widget();
    const watched = watchListeners();
    const end = made.initialize({ model: model.asModel });
    await settle();
    const before = { dom: watched.live(), model: model.listeners(), timers: vi.getTimerCount() };
    const view = new View(model, made);
    await settle();
    model.paint(5);
    view.click(50, 40);
    key(view.root, "3");
    model.set("scene", sceneOfImage(1, { version: 2 }));
    pointer(view.ink, "pointermove", 100, 100);
    expect(watched.live().length).toBeGreaterThan(before.dom.length + 20);
    expect(model.listeners()).toBeGreaterThan(before.model);
    expect(model.canvases.map((canvas) => canvas.views)).toEqual([1, 1, 1, 1, 0]);
    view.end();
    // jsdom itself waits for a moment after a change of focus or storage.
    await settle();
    expect(watched.live()).toEqual(before.dom);
    expect(model.listeners()).toBe(before.model);
    expect(vi.getTimerCount()).toBe(before.timers);
    expect(model.canvases.map((canvas) => canvas.views)).toEqual([0, 0, 0, 0, 0]);
    expect(view.el.children).toHaveLength(0);
    end();
    expect(model.listeners()).toBe(0);
  });

  it("ended before its layers are there it leaves nothing either", async () => {
    const model = new FakeModel();
    const made = widget();
    const end = made.initialize({ model: model.asModel });
    const view = new View(model, made);
    view.end();
    await settle();
    end();
    expect(model.listeners()).toBe(0);
    expect(model.canvases.map((canvas) => canvas.views)).toEqual([0, 0, 0, 0, 0]);
    expect(vi.getTimerCount()).toBe(0);
    expect(model.sent).toEqual([]);
  });

  it("asks for the image where only the points of an edit were painted before it", async () => {
    const model = new FakeModel();
    const made = widget();
    cleanUps.push(made.initialize({ model: model.asModel }));
    await settle();
    // As in a second page, opened while the first one's edits were on their way.
    model.paint(5, { client: "another", layers: ["skeletons", "active"] });
    const view = new View(model, made);
    await settle();
    expect(model.sent).toMatchObject([{ kind: "hello", blank: true, first: { image: 0 } }]);
    await vi.advanceTimersByTimeAsync(500);
    expect(view.one(".kpwidget-message").textContent).toBe("Loading a.png …");
    model.paint(6);
    expect(view.one(".kpwidget-message").hidden).toBe(true);
    const image = view.root.querySelector("canvas") as HTMLCanvasElement;
    expect(image.style.transform).not.toBe("");
  });

  it("two views of one model work side by side", async () => {
    const model = new FakeModel();
    const made = widget();
    cleanUps.push(made.initialize({ model: model.asModel }));
    const one = new View(model, made);
    await settle();
    model.paint(5);
    const two = new View(model, made);
    await settle();
    const hellos = model.sent.filter((m) => m.kind === "hello");
    expect(hellos).toMatchObject([{ blank: true }, { blank: false }]);
    const [a, b] = hellos.map((m) => m.client);
    expect(a).not.toBe(b);

    one.click(50, 40);
    expect(one.data("pending")).toBe("1");
    expect(two.data("pending")).toBe("0");
    const uid = one.data("active-instance") as string;
    model.show({
      instances: [instance(uid, { 0: [50, 40, 2] })],
      cursor: { category: 0, instance: uid, keypoint: 1 },
    });
    model.receive({ kind: "ack", client: a as string, seq: 1, version: 2 });
    for (const view of [one, two]) {
      expect(view.data("active-instance")).toBe(uid);
      expect(view.data("next-keypoint")).toBe("left");
      expect(view.data("pending")).toBe("0");
    }
    two.click(10, 10);
    const mine = model.sent.filter((m) => m.kind === "edits" && m.client === b);
    expect(mine).toHaveLength(1);
    one.end();
    two.click(20, 20);
    expect(two.data("next-keypoint")).toBe("bottom");
  });

  it("the view that does not lead follows the one that does", async () => {
    const model = new FakeModel();
    const made = widget();
    cleanUps.push(made.initialize({ model: model.asModel }));
    const one = new View(model, made);
    await settle();
    const two = new View(model, made);
    await rest();
    const client = (model.sent[0] as { client: string }).client;
    model.paint(5, { client, rev: 9, viewport: [1.5, 30, 40], w: 400, h: 300 });
    expect(two.data("scale")).toBe("1.5");
    expect(two.data("tx")).toBe("30");
    expect(one.root.isConnected).toBe(true);
  });

  it("Esc leaves the stage and the keyboard is the notebook's again", async () => {
    const view = await open();
    view.root.focus();
    view.click(50, 40);
    const heard: string[] = [];
    document.body.addEventListener("keydown", (e) => heard.push(e.key));
    key(view.root, "Escape");
    key(view.root, "Escape");
    expect(document.activeElement).not.toBe(view.root);
    expect(heard).toEqual([]);
    key(document.activeElement ?? document.body, "s", { ctrlKey: true });
    expect(heard).toEqual(["s"]);
  });
});

describe("the toolbar", () => {
  const sentBy = async (view: View, run: () => void) => {
    const before = view.model.sent.length;
    run();
    frames();
    return editsOf(view.model.sent.slice(before)).map(({ seq: _, ...edit }) => edit);
  };

  it("goes to an image by number or name", async () => {
    const view = await open();
    const jump = view.one<HTMLInputElement>(".kpwidget-jump");
    expect(jump.value).toBe("1");
    jump.value = " 2 ";
    expect(await sentBy(view, () => key(jump, "Enter"))).toEqual([{ op: "goto", to: "2" }]);
  });

  it("a key in the jump box is not a key of the stage, nor of the notebook", async () => {
    const view = await open();
    const heard: string[] = [];
    document.body.addEventListener("keydown", (e) => heard.push(e.key));
    const jump = view.one<HTMLInputElement>(".kpwidget-jump");
    expect(await sentBy(view, () => key(jump, "d"))).toEqual([]);
    expect(heard).toEqual([]);
  });

  it("shows the progress with what is not answered yet", async () => {
    const view = await open();
    expect(view.one(".kpwidget-progress").textContent).toBe("0 of 3 images done");
    key(view.root, "d");
    frames();
    expect(view.one(".kpwidget-progress").textContent).toBe("1 of 3 images done");
    expect(view.one<HTMLInputElement>(".kpwidget-done input").checked).toBe(true);
  });

  it("says the progress and the pace to everybody", async () => {
    const model = new FakeModel({ scene: scene({ done: 1, pace: "23 s an instance" }) });
    const view = await open(model);
    const bar = view.one("[role=progressbar]");
    const of = (name: string) => bar.getAttribute(`aria-${name}`);
    expect([of("valuemin"), of("valuenow"), of("valuemax")]).toEqual(["0", "1", "3"]);
    expect(of("valuetext")).toBe("1 of 3 images done · 23 s an instance");
    expect(bar.textContent).toBe("1 of 3 images done· 23 s an instance");
    expect(Number(bar.style.getPropertyValue("--share"))).toBeCloseTo(1 / 3);
    model.show({ done: 2, pace: "" });
    await settle();
    expect(of("valuetext")).toBe("2 of 3 images done");
  });

  const FAR: [number, number, number] = [99, 79, 2];
  const found = (...findings: ReturnType<typeof finding>[]) => {
    const own = instance("f", { 0: [10, 10, 2], 1: FAR }, { finished: true });
    return new FakeModel({
      scene: scene({ instances: [wholeFace("e", 40, 40), own], findings }),
    });
  };
  const rows = (view: View) => view.all("[data-finding]").map((row) => row.dataset.finding);

  it("lists findings as text, and how many there are to a screen reader", async () => {
    const nasty = "<img src=x onerror=alert(1)>";
    const view = await open(found(finding("a", { reason: nasty, suggestion: nasty })));
    const row = view.one('[data-finding="a"]');
    expect(row.dataset.severity).toBe("error");
    expect(row.textContent).toBe(`left, face 2Error: ${nasty}`);
    expect(row.getAttribute("aria-label")).toContain(`left, face 2. Error: ${nasty}`);
    expect(row.querySelector("img")).toBeNull();
    const said = view.one('.kpwidget-side [aria-live="polite"][role=status]');
    expect(said.textContent).toBe("1 finding in this image.");
    view.model.show({ findings: [finding("a"), finding("b", { keypoint: null })], unlisted: 7 });
    await settle();
    expect(said.textContent).toBe("9 findings in this image.");
    expect(view.one('[data-finding="b"]').textContent).toContain("face 2Error");
    expect(view.one(".kpwidget-found").textContent).toContain("Findings (9, the first 2 shown)");
    view.model.show({ findings: [], unlisted: 0, untold: nasty });
    await settle();
    expect(view.one(".kpwidget-found").hidden).toBe(false);
    expect(view.one(".kpwidget-found > .kpwidget-heading").hidden).toBe(true);
    expect(view.one(".kpwidget-untold").textContent).toBe(nasty);
    view.model.show({ untold: "" });
    await settle();
    expect(view.one(".kpwidget-found").hidden).toBe(true);
    expect(said.textContent).toBe("");
  });

  it("goes to the place of a finding by click and by Enter, and pans if it is out of sight", async () => {
    const view = await open(found(finding("a"), finding("b", { keypoint: 2 })));
    const place = () => {
      const [k, tx, ty] = ["scale", "tx", "ty"].map((name) => Number(view.data(name)));
      return [(tx ?? 0) + (k ?? 1) * FAR[0], (ty ?? 0) + (k ?? 1) * FAR[1]];
    };
    const before = place();
    expect(await sentBy(view, () => view.one('[data-finding="a"]').click())).toEqual([
      { op: "cursor", image: 0, next: [0, "f", null] },
    ]);
    expect(place()).toEqual(before);
    expect(view.one('[data-finding="a"]').classList.contains("is-active")).toBe(true);
    for (let i = 0; i < 8; i++) key(view.root, "+");
    frames();
    expect(place()[0]).toBeGreaterThan(400);
    expect(await sentBy(view, () => key(view.one('[data-finding="a"]'), "Enter"))).toEqual([]);
    expect(place()[0]).toBeLessThan(400);
    expect(place()[1]).toBeLessThan(300);
    // One that is not placed is what the next click places.
    await sentBy(view, () => view.one('[data-finding="b"]').click());
    expect(view.data("next-keypoint")).toBe("right");
    expect(view.data("active-instance")).toBe("f");
    const isActive = () => view.all("[data-finding].is-active").map((row) => row.dataset.finding);
    expect(isActive()).toEqual(["b"]);
    // One about all of an instance, as long as no keypoint of it is selected.
    view.model.show({ findings: [finding("a"), finding("c", { keypoint: null })] });
    await settle();
    expect(isActive()).toEqual(["c"]);
    view.one('[data-finding="a"]').click();
    await settle();
    expect(isActive()).toEqual(["a"]);
    view.one('[data-finding="c"]').click();
    await settle();
    expect(isActive()).toEqual(["c"]);
  });

  it("answers a finding by its buttons", async () => {
    const view = await open(found(finding("a"), finding("b", { repair: "clear" })));
    const press = (row: string, title: RegExp) => () =>
      view
        .all(`[data-finding="${row}"] button`)
        .find((b) => title.test(b.title) && !b.hidden)
        ?.click();
    expect(await sentBy(view, press("a", /^Repair/))).toEqual([]);
    const of = (op: string, key: string) => [{ op, image: 0, finding: key }];
    expect(await sentBy(view, press("b", /^Repair: clear/))).toEqual(of("repair", "b"));
    expect(rows(view)).toEqual(["a"]);
    view.one('[data-finding="a"] button[title^="Fine"]').focus();
    expect(await sentBy(view, press("a", /^Fine as it is/))).toEqual(of("decide", "a"));
    expect(rows(view)).toEqual([]);
    expect(document.activeElement).toBe(view.root);
  });

  it("hides, locks and removes an instance in its row", async () => {
    const base = scene({ instances: [wholeFace("f", 20, 20)] });
    const view = await open(new FakeModel({ scene: base }));
    const press = (title: RegExp) => () =>
      view
        .all('[data-instance="f"] button')
        .find((b) => title.test(b.title))
        ?.click();
    const flags = { op: "flags", image: 0, instance: "f" };
    expect(await sentBy(view, press(/^Hide/))).toEqual([{ ...flags, hidden: true, locked: false }]);
    expect(await sentBy(view, press(/^Show/))).toEqual([
      { ...flags, hidden: false, locked: false },
    ]);
    expect(await sentBy(view, press(/^Lock/))).toEqual([{ ...flags, hidden: false, locked: true }]);
    expect(await sentBy(view, press(/^Remove/))).toEqual([]);
    await sentBy(view, press(/^Unlock/));
    expect(await sentBy(view, press(/^Remove/))).toMatchObject([{ op: "remove", instance: "f" }]);
    expect(view.all("[data-instance]")).toEqual([]);
  });
});
