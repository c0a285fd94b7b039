import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Browser, makeBrowser } from "../src/browse";
import widget from "../src/index";
import { VIEW_TABLE } from "../src/input";
import type { Browse, Category, Query, Tile, ToPython } from "../src/model";
import { browse, EVERYTHING, FACE, STICK, scene, wholeFace } from "./builders";
import { key, pointer, stubCanvas, stubPage, watchListeners, wheel } from "./dom";
import { FakeModel } from "./model";

const HOSTILE = "<img src=x onerror=alert(1)>.png";
function tile(place: number, more: Partial<Tile> = {}): Tile {
  return {
    place,
    index: 100 + place,
    name: `folder/${place}.png`,
    instances: place,
    picked: false,
    mime: "image/webp",
    error: "",
    ...more,
  };
}

const BYTES = new DataView(new Uint8Array([1, 2, 3, 4]).buffer, 1, 2);
let frames: () => void;
let made: Blob[];
let revoked: string[];

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(performance, "now").mockImplementation(() => Date.now());
  sessionStorage.clear();
  stubCanvas();
  // A strip or a grid of 512 x 236 px: four thumbnails beside, two below one another.
  ({ frames } = stubPage(512, 236));
  made = [];
  revoked = [];
  URL.createObjectURL = (blob) => {
    made.push(blob as Blob);
    return `blob:${made.length}`;
  };
  URL.revokeObjectURL = (url) => revoked.push(url);
});
const cleanUps: (() => void)[] = [];
afterEach(() => {
  for (const cleanUp of cleanUps.splice(0)) cleanUp();
  document.body.replaceChildren();
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

/** A browser of thumbnails with what it sends, apart from any stage. */
class Shelf {
  readonly sent: ToPython[] = [];
  readonly gone: number[] = [];
  focused = 0;
  readonly browser: Browser;
  private readonly controller = new AbortController();

  constructor(
    public browse: Browse,
    readonly categories: readonly Category[] = [FACE, STICK],
  ) {
    this.browser = makeBrowser(
      browse,
      "me",
      {
        send: (message) => this.sent.push(message),
        goto: (index) => this.gone.push(index),
        focus: () => {
          this.focused += 1;
        },
      },
      this.controller.signal,
    );
    document.body.append(this.browser.filters, this.browser.strip, this.browser.grid);
    cleanUps.push(() => this.end());
    this.show();
  }

  end(): void {
    this.controller.abort();
  }

  show(more: Partial<Browse> = {}): void {
    this.browse = { ...this.browse, ...more };
    this.browser.render(this.browse, this.categories);
  }

  /** Python says what was asked for last. */
  answer(more: Partial<Browse> = {}): void {
    const asked = this.queries().at(-1);
    if (!asked) throw new Error("nothing was asked");
    this.show({ version: this.browse.version + 1, query: asked, ...more });
  }

  of<K extends ToPython["kind"]>(kind: K) {
    return this.sent.filter((m): m is Extract<ToPython, { kind: K }> => m.kind === kind);
  }

  queries(): Query[] {
    return this.of("query").map(({ query }) => query);
  }

  tiles(): HTMLElement[] {
    return [...document.querySelectorAll<HTMLElement>(".kpwidget-tile")];
  }

  places(): number[] {
    return this.tiles()
      .map((one) => Number(one.dataset.place))
      .sort((a, b) => a - b);
  }

  tile(place: number): HTMLElement {
    const found = this.tiles().find((one) => one.dataset.place === String(place));
    if (!found) throw new Error(`no tile ${place}`);
    return found;
  }

  take(...tiles: Tile[]): void {
    this.browser.takeTiles(
      this.browse.version,
      tiles,
      tiles.map(() => BYTES),
    );
  }

  field<E extends HTMLElement = HTMLInputElement>(label: string): E {
    const found = [...this.browser.filters.querySelectorAll<E>("[aria-label]")].filter(
      (one) => one.getAttribute("aria-label") === label,
    );
    if (found.length !== 1) throw new Error(`${found.length} fields are ${label}`);
    return found[0] as E;
  }

  button(text: string): HTMLButtonElement {
    const found = [...this.browser.filters.querySelectorAll("button")].find(
      (one) => one.textContent === text,
    );
    if (!found) throw new Error(`no button ${text}`);
    return found;
  }

  type(label: string, text: string): void {
    const field = this.field(label);
    field.focus();
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  choose(label: string, value: string): void {
    const field = this.field<HTMLSelectElement>(label);
    field.value = value;
    if (field.value !== value) throw new Error(`${label} offers no ${value}`);
    field.dispatchEvent(new Event("change", { bubbles: true }));
  }

  scroll(box: HTMLElement, left: number, top = 0): void {
    box.scrollLeft = left;
    box.scrollTop = top;
    box.dispatchEvent(new Event("scroll"));
    frames();
  }
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
const SEARCH = "Only images with this in their file name";
const CATEGORY = "Only images with an instance of this category";
const KEYPOINT = "Only images with an instance whose keypoint is as said";
const VISIBILITY = "What the keypoint is to be";

describe("thumbnails", () => {
  it("exist only where they are in sight, and a few beside", () => {
    const shelf = new Shelf(browse());
    expect(shelf.places()).toEqual(range(0, 10));
    expect(document.querySelectorAll("*").length).toBeLessThan(300);
    // The room that they would all take is there, for the scroll bar.
    expect(shelf.browser.strip.querySelector<HTMLElement>(".kpwidget-tiles")?.style.width).toBe(
      `${10_000 * 128}px`,
    );
  });

  it("come and go with scrolling, and stay as many", () => {
    const shelf = new Shelf(browse());
    const kept = shelf.tile(8);
    shelf.scroll(shelf.browser.strip, 128 * 10);
    expect(shelf.places()).toEqual(range(4, 20));
    expect(shelf.tile(8)).toBe(kept);
    for (let i = 0; i < 40; i++) shelf.scroll(shelf.browser.strip, 128 * 47 * i);
    expect(shelf.tiles().length).toBe(16);
    shelf.scroll(shelf.browser.strip, 128 * 9996);
    expect(shelf.places()).toEqual(range(9990, 10_000));
  });

  it("are asked for once scrolling has rested, what is seen first", () => {
    const shelf = new Shelf(browse());
    shelf.scroll(shelf.browser.strip, 128 * 500);
    shelf.scroll(shelf.browser.strip, 128 * 1000);
    expect(shelf.of("want")).toEqual([]);
    vi.advanceTimersByTime(40);
    expect(shelf.of("want")).toHaveLength(1);
    const [want] = shelf.of("want");
    expect(want).toMatchObject({ client: "me", version: 1 });
    expect([...(want?.places ?? [])].sort((a, b) => a - b)).toEqual(range(994, 1010));
    expect(new Set(want?.places.slice(0, 4))).toEqual(new Set([1000, 1001, 1002, 1003]));
  });

  it("are not asked for again by rendering, but what has scrolled into sight is", () => {
    const shelf = new Shelf(browse());
    vi.advanceTimersByTime(40);
    for (let i = 0; i < 5; i++) {
      shelf.show({ picked: i });
      vi.advanceTimersByTime(50);
    }
    expect(shelf.of("want")).toHaveLength(1);
    shelf.take(...range(0, 10).map((place) => tile(place)));
    shelf.scroll(shelf.browser.strip, 128 * 7);
    vi.advanceTimersByTime(40);
    expect(shelf.of("want")).toHaveLength(2);
    const second = [...(shelf.of("want")[1]?.places ?? [])].sort((a, b) => a - b);
    expect(second).toEqual(range(10, 17));
    expect(shelf.of("want")[1]?.rev).toBeGreaterThan(shelf.of("want")[0]?.rev ?? 99);
  });

  it("that came and were scrolled away are asked for again at once", () => {
    const shelf = new Shelf(browse());
    vi.advanceTimersByTime(40);
    shelf.take(...range(0, 10).map((place) => tile(place)));
    shelf.scroll(shelf.browser.strip, 128 * 1000);
    shelf.scroll(shelf.browser.strip, 0);
    vi.advanceTimersByTime(40);
    const again = [...(shelf.of("want").at(-1)?.places ?? [])].sort((a, b) => a - b);
    expect(shelf.of("want")).toHaveLength(2);
    expect(again).toEqual(range(0, 10));
  });

  it("that do not come are asked for again, less and less often", () => {
    const shelf = new Shelf(browse());
    vi.advanceTimersByTime(40);
    vi.advanceTimersByTime(3000);
    expect(shelf.of("want")).toHaveLength(2);
    vi.advanceTimersByTime(3000);
    expect(shelf.of("want")).toHaveLength(2);
    vi.advanceTimersByTime(3000);
    expect(shelf.of("want")).toHaveLength(3);
    shelf.take(...range(0, 10).map((place) => tile(place)));
    vi.advanceTimersByTime(100_000);
    expect(shelf.of("want")).toHaveLength(3);
  });

  it("show picture, name, number of instances and mark", async () => {
    const shelf = new Shelf(browse());
    shelf.take(tile(2, { picked: true }), tile(3, { error: "3.png is missing", mime: "" }));
    const two = shelf.tile(2);
    expect(two.querySelector("img")?.getAttribute("src")).toBe("blob:1");
    // The part of the buffer that is its own, as an image of its kind.
    expect(made[0]?.type).toBe("image/webp");
    expect(made[0]?.size).toBe(2);
    expect(two.querySelector(".kpwidget-tile-name")?.textContent).toBe("2.png");
    expect(two.querySelector(".kpwidget-tile-count")?.textContent).toBe("2");
    expect(two.title).toBe("folder/2.png\ninstances: 2");
    expect(two.classList.contains("is-picked")).toBe(true);
    const three = shelf.tile(3);
    expect(three.classList.contains("is-broken")).toBe(true);
    expect(three.textContent).toContain("no picture");
    expect(three.title).toContain("3.png is missing");
    expect(shelf.tile(0).classList.contains("is-current")).toBe(true);
    expect(shelf.tile(0).getAttribute("aria-selected")).toBe("true");
  });

  it("give back their pictures when they go, are replaced or the view ends", () => {
    const shelf = new Shelf(browse());
    shelf.take(tile(0), tile(1), tile(2));
    expect(revoked).toEqual([]);
    shelf.take(tile(1));
    expect(revoked).toEqual(["blob:2"]);
    shelf.browser.takeTiles(1, [tile(2, { error: "gone" })], []);
    expect(revoked).toEqual(["blob:2", "blob:3"]);
    expect(shelf.tile(2).querySelector("img")?.hasAttribute("src")).toBe(false);
    shelf.scroll(shelf.browser.strip, 128 * 100);
    expect(revoked.sort()).toEqual(["blob:1", "blob:2", "blob:3", "blob:4"]);
    shelf.take(tile(100));
    shelf.end();
    expect(revoked).toContain("blob:5");
    expect(made).toHaveLength(revoked.length);
    expect(shelf.tiles()).toEqual([]);
    vi.advanceTimersByTime(10_000);
    expect(shelf.of("want").length).toBeLessThanOrEqual(1);
  });

  it("of another list, or out of sight, are left out", () => {
    const shelf = new Shelf(browse());
    shelf.show({ version: 2 });
    expect(shelf.tile(0).classList.contains("is-old")).toBe(true);
    shelf.browser.takeTiles(1, [tile(0)], [BYTES]);
    expect(shelf.tile(0).dataset.index).toBeUndefined();
    shelf.browser.takeTiles(2, [tile(0), tile(5000)], [BYTES, BYTES]);
    expect(shelf.tile(0).dataset.index).toBe("100");
    expect(shelf.tile(0).classList.contains("is-old")).toBe(false);
    expect(made).toHaveLength(1);
  });

  it("of a list that has changed are asked for anew", () => {
    const shelf = new Shelf(browse());
    vi.advanceTimersByTime(40);
    shelf.take(...range(0, 10).map((place) => tile(place)));
    shelf.show({ version: 2, count: 3 });
    vi.advanceTimersByTime(40);
    expect(shelf.places()).toEqual([0, 1, 2]);
    expect(shelf.of("want").at(-1)).toMatchObject({ version: 2 });
    expect(new Set(shelf.of("want").at(-1)?.places)).toEqual(new Set([0, 1, 2]));
  });

  it("take names as text", () => {
    const shelf = new Shelf(browse({ annotators: [HOSTILE] }), [
      { ...FACE, name: HOSTILE, keypoints: [HOSTILE, "b", "c", "d"] },
    ]);
    shelf.take(tile(0, { name: `a/${HOSTILE}`, error: HOSTILE }), tile(1, { name: HOSTILE }));
    expect(shelf.tile(1).querySelector(".kpwidget-tile-name")?.textContent).toBe(HOSTILE);
    expect(shelf.tile(0).title).toBe(`a/${HOSTILE}\n${HOSTILE}`);
    expect(document.querySelectorAll("[onerror]")).toHaveLength(0);
    // One picture a tile, no other.
    expect(document.querySelectorAll("img")).toHaveLength(shelf.tiles().length);
    expect(shelf.field<HTMLSelectElement>(CATEGORY).options[1]?.text).toBe(HOSTILE);
    expect(shelf.field<HTMLSelectElement>(KEYPOINT).options[1]?.text).toBe(HOSTILE);
  });

  it("bring the image that is shown into sight when it changes", () => {
    const shelf = new Shelf(browse());
    shelf.show({ position: 700 });
    expect(shelf.places()).toContain(700);
    expect(shelf.tile(700).classList.contains("is-current")).toBe(true);
    // But scrolling away from it is let be.
    shelf.scroll(shelf.browser.strip, 0);
    shelf.show({ picked: 1 });
    expect(shelf.places()).toEqual(range(0, 10));
  });

  it("are scrolled to only when there is room for them", () => {
    const shelf = new Shelf(browse({ count: 3 }));
    const { strip, grid } = shelf.browser;
    // A browser does not scroll further than there is something.
    let at = 0;
    vi.spyOn(strip, "scrollLeft", "get").mockImplementation(() => at);
    vi.spyOn(strip, "scrollLeft", "set").mockImplementation((value) => {
      const room = strip.querySelector<HTMLElement>(".kpwidget-tiles")?.style.width ?? "0";
      at = Math.max(0, Math.min(value, Number.parseFloat(room) - 512));
    });
    shelf.show({ version: 2, count: 300, position: 200 });
    expect(shelf.places()).toContain(200);
    shelf.browser.toggleGrid();
    shelf.show({ position: 299 });
    shelf.browser.toggleGrid();
    expect(grid.hidden).toBe(true);
    expect(shelf.places()).toContain(299);
  });

  it("say when there is none", () => {
    const shelf = new Shelf(browse({ count: 0, total: 9, position: -1 }));
    expect(shelf.tiles()).toEqual([]);
    const nothing = shelf.browser.strip.querySelector<HTMLElement>(".kpwidget-empty");
    expect(nothing?.hidden).toBe(false);
    expect(shelf.button("Pick all").disabled).toBe(true);
    vi.advanceTimersByTime(10_000);
    expect(shelf.of("want")).toEqual([]);
    shelf.show({ count: 9, version: 2 });
    expect(nothing?.hidden).toBe(true);
  });

  it("are moved by the wheel, which is let through where there is no more to see", () => {
    const shelf = new Shelf(browse());
    const { strip } = shelf.browser;
    vi.spyOn(strip, "scrollWidth", "get").mockReturnValue(128 * 10_000);
    expect(wheel(strip, 100).defaultPrevented).toBe(true);
    expect(strip.scrollLeft).toBe(100);
    expect(wheel(strip, 100, { ctrlKey: true }).defaultPrevented).toBe(false);
    let at = 100;
    vi.spyOn(strip, "scrollLeft", "get").mockImplementation(() => at);
    vi.spyOn(strip, "scrollLeft", "set").mockImplementation((value) => {
      at = Math.max(0, value);
    });
    wheel(strip, -500);
    expect(at).toBe(0);
    expect(wheel(strip, -500).defaultPrevented).toBe(false);
  });
});

describe("clicks on thumbnails", () => {
  it("go to the image, and give the keys back to the stage", () => {
    const shelf = new Shelf(browse());
    shelf.tile(1).click();
    expect(shelf.gone).toEqual([]); // which image it is, is not known yet
    shelf.take(tile(1));
    shelf.tile(1).click();
    expect(shelf.gone).toEqual([101]);
    expect(shelf.focused).toBe(1);
    expect(shelf.of("pick")).toEqual([]);
  });

  it("on the mark, or with Ctrl, pick and mark at once", () => {
    const shelf = new Shelf(browse());
    shelf.take(tile(1), tile(2));
    const mark = shelf.tile(1).querySelector<HTMLElement>(".kpwidget-mark");
    mark?.click();
    expect(shelf.tile(1).classList.contains("is-picked")).toBe(true);
    expect(mark?.textContent).toBe("✓");
    mark?.click();
    expect(shelf.tile(1).classList.contains("is-picked")).toBe(false);
    shelf.tile(2).dispatchEvent(new MouseEvent("click", { ctrlKey: true, bubbles: true }));
    expect(shelf.of("pick")).toEqual([
      { kind: "pick", images: [101], picked: true },
      { kind: "pick", images: [101], picked: false },
      { kind: "pick", images: [102], picked: true },
    ]);
    expect(shelf.gone).toEqual([]);
  });

  it("pick the image that is shown also where its thumbnail is not in sight", () => {
    const shelf = new Shelf(browse({ isPicked: true }));
    shelf.browser.togglePick(5555);
    expect(shelf.of("pick")).toEqual([{ kind: "pick", images: [5555], picked: false }]);
  });

  it("pick all that are listed, or none, by the buttons", () => {
    const shelf = new Shelf(browse({ picked: 3, count: 5, total: 1200 }));
    expect(shelf.browser.filters.textContent).toContain("5 of 1,200 images");
    expect(shelf.browser.filters.textContent).toContain("3 picked");
    shelf.button("Pick all").click();
    shelf.button("Pick none").click();
    expect(shelf.of("pick")).toEqual([
      { kind: "pick", images: null, picked: true },
      { kind: "pick", images: null, picked: false },
    ]);
    shelf.show({ picked: 0 });
    expect(shelf.button("Pick none").disabled).toBe(true);
  });
});

describe("the grid", () => {
  it("has as many columns as fit, and rows in sight and two more", () => {
    const shelf = new Shelf(browse());
    shelf.browser.toggleGrid();
    expect(shelf.browser.grid.hidden).toBe(false);
    expect(shelf.browser.strip.hidden).toBe(true);
    // 512 / 128 columns; 236 / 118 rows and 2 below.
    expect(shelf.places()).toEqual(range(0, 16));
    expect(shelf.tile(5).style.transform).toBe("translate(128px, 118px)");
    shelf.scroll(shelf.browser.grid, 0, 118 * 100);
    expect(shelf.places()).toEqual(range(98 * 4, 104 * 4));
    vi.advanceTimersByTime(40);
    expect(new Set(shelf.of("want").at(-1)?.places.slice(0, 8))).toEqual(new Set(range(400, 408)));
    shelf.browser.toggleGrid();
    expect(shelf.browser.grid.hidden).toBe(true);
    expect(shelf.places()).toEqual(range(0, 10));
  });

  it("opens where the image is that is shown, and closes by a double click on another", () => {
    const shelf = new Shelf(browse({ position: 4000 }));
    shelf.browser.toggleGrid(true);
    shelf.browser.toggleGrid(true);
    expect(shelf.places()).toContain(4000);
    shelf.take(tile(4000));
    shelf.tile(4000).dispatchEvent(new MouseEvent("dblclick", { bubbles: true }));
    expect(shelf.browser.grid.hidden).toBe(true);
  });
});

describe("filters", () => {
  it("send what is typed once, when typing has rested", () => {
    const shelf = new Shelf(browse());
    for (const text of ["a", "ax", " axe "]) {
      shelf.type(SEARCH, text);
      vi.advanceTimersByTime(150);
    }
    expect(shelf.queries()).toEqual([]);
    vi.advanceTimersByTime(50);
    expect(shelf.of("query")).toEqual([
      { kind: "query", client: "me", rev: 1, query: { ...EVERYTHING, text: "axe" } },
    ]);
  });

  it.each([
    [CATEGORY, "stick", { category: "stick" }],
    [KEYPOINT, "left", { keypoint: "left" }],
    ["Only images with an instance labeled by", "bob", { annotator: "bob" }],
    ["Order of the images", "name", { sort: "name", descending: false }],
    ["Order of the images", "size", { sort: "size", descending: true }],
    ["Order of the images", "score", { sort: "score", descending: false }],
  ] as const)("%s: %s", (label, value, change) => {
    const shelf = new Shelf(browse());
    shelf.choose(label, value);
    vi.advanceTimersByTime(0);
    expect(shelf.queries()).toEqual([{ ...EVERYTHING, ...change }]);
  });

  it("ask for the visibility of a keypoint only where one is chosen", () => {
    const shelf = new Shelf(browse());
    const field = shelf.field<HTMLSelectElement>(VISIBILITY);
    expect(field.disabled).toBe(true);
    shelf.choose(KEYPOINT, "tip");
    vi.advanceTimersByTime(0);
    shelf.answer();
    expect(field.disabled).toBe(false);
    shelf.choose(VISIBILITY, "occluded");
    vi.advanceTimersByTime(0);
    expect(shelf.queries().at(-1)).toEqual({
      ...EVERYTHING,
      keypoint: "tip",
      visibility: "occluded",
    });
  });

  it.each([
    ["2", "", [2, null]],
    ["", "7", [0, 7]],
    ["1,5", "2.5", [1.5, 2.5]],
    ["x", "-", [0, null]],
    ["1e999", "NaN", [0, null]],
  ])("limits %s to %s", (least, most, limits) => {
    const shelf = new Shelf(browse());
    const name = "Size of an instance, the root of its box's area";
    shelf.type(`${name}: least`, least);
    shelf.type(`${name}: most`, most);
    vi.advanceTimersByTime(200);
    expect(shelf.queries()).toEqual([{ ...EVERYTHING, size: limits }]);
  });

  it("take the score from the slider, never above the highest", () => {
    const shelf = new Shelf(browse({ scores: [0.1, 0.7] }));
    const slider = shelf.browser.filters.querySelector<HTMLInputElement>("[type=range]");
    if (!slider) throw new Error("no slider");
    const slide = (value: number) => {
      slider.value = String(value);
      slider.dispatchEvent(new Event("input"));
      vi.advanceTimersByTime(30);
    };
    slide(50);
    expect(shelf.queries().at(-1)?.score).toBeCloseTo(0.4, 12);
    for (const high of [0.7, 0.3, 0.95, 1 / 3, 0.99]) {
      shelf.show({ scores: [0.1, high] });
      slide(100);
      expect(shelf.queries().at(-1)?.score).toBe(high);
    }
    slide(0);
    expect(shelf.queries().at(-1)?.score).toBeNull();
  });

  it("hide what the dataset has nothing of", () => {
    const shelf = new Shelf(browse({ scores: null, annotators: [] }));
    const sorts = () =>
      [...shelf.field<HTMLSelectElement>("Order of the images").options].map((o) => o.value);
    const rows = [...shelf.browser.filters.querySelectorAll("label")].filter((row) => row.hidden);
    expect(rows.map((row) => row.textContent)).toEqual([
      expect.stringContaining("by"),
      expect.stringContaining("score at least"),
    ]);
    expect(sorts()).not.toContain("score");
    shelf.show({ scores: [0, 1], annotators: ["eve"] });
    expect(rows.some((row) => row.hidden)).toBe(false);
    expect(sorts()).toContain("score");
  });

  it("turn the order round by the arrow", () => {
    const shelf = new Shelf(browse());
    shelf.button("↑").click();
    vi.advanceTimersByTime(0);
    shelf.answer();
    expect(shelf.queries().at(-1)?.descending).toBe(true);
    shelf.button("↓").click();
    vi.advanceTimersByTime(0);
    expect(shelf.queries().at(-1)?.descending).toBe(false);
  });

  it("are all cleared by one button, but for the order", () => {
    const given: Query = {
      ...EVERYTHING,
      text: "axe",
      category: "face",
      keypoint: "top",
      visibility: "visible",
      annotator: "bob",
      instances: [1, 2],
      labeled: [1, null],
      size: [0, 5],
      score: 0.4,
      picked: true,
      sort: "name",
      descending: true,
    };
    const shelf = new Shelf(browse({ query: given }));
    // What was asked for before the page was loaded is in the fields.
    expect(shelf.field(SEARCH).value).toBe("axe");
    expect(shelf.field<HTMLSelectElement>(CATEGORY).value).toBe("face");
    expect(shelf.field("Instances in the image: most").value).toBe("2");
    expect(shelf.browser.filters.querySelector<HTMLInputElement>("[type=range]")?.value).toBe("50");
    expect(shelf.button("Filters").classList.contains("is-on")).toBe(true);
    shelf.button("Clear all").click();
    vi.advanceTimersByTime(0);
    expect(shelf.queries()).toEqual([{ ...EVERYTHING, sort: "name", descending: true }]);
    expect(shelf.field(SEARCH).value).toBe("");
    expect(shelf.field("Instances in the image: most").value).toBe("");
    shelf.answer();
    expect(shelf.button("Filters").classList.contains("is-on")).toBe(false);
  });

  it("keep a choice that Python has not answered yet when another one is made", () => {
    const shelf = new Shelf(browse());
    shelf.choose(CATEGORY, "face");
    vi.advanceTimersByTime(0);
    shelf.show({ picked: 1 }); // something else is told while the kernel is busy
    expect(shelf.field<HTMLSelectElement>(CATEGORY).value).toBe("face");
    shelf.choose(KEYPOINT, "top");
    vi.advanceTimersByTime(0);
    expect(shelf.queries().at(-1)).toEqual({ ...EVERYTHING, category: "face", keypoint: "top" });
    // The answer to the first does not take back the second.
    shelf.show({ version: 2, query: shelf.queries()[0] as Query });
    expect(shelf.field<HTMLSelectElement>(KEYPOINT).value).toBe("top");
    shelf.answer();
    expect(shelf.field<HTMLSelectElement>(KEYPOINT).value).toBe("top");
  });

  it("follow what another view asks for, but for the field that is typed in", () => {
    const shelf = new Shelf(browse());
    shelf.field(SEARCH).focus();
    shelf.field(SEARCH).value = "half a wo";
    shelf.show({ version: 2, query: { ...EVERYTHING, text: "other", category: "stick" } });
    expect(shelf.field(SEARCH).value).toBe("half a wo");
    expect(shelf.field<HTMLSelectElement>(CATEGORY).value).toBe("stick");
  });

  it("keep the keys typed in a field from the notebook, but for Tab", () => {
    const shelf = new Shelf(browse());
    const heard: string[] = [];
    const listen = (event: Event) => heard.push((event as KeyboardEvent).key);
    document.body.addEventListener("keydown", listen);
    const field = shelf.field(SEARCH);
    for (const name of ["a", "Delete", "Tab"]) key(field, name);
    expect(heard).toEqual(["Tab"]);
    expect(shelf.focused).toBe(0);
    key(field, "Escape");
    key(field, "Enter");
    expect(shelf.focused).toBe(2);
    document.body.removeEventListener("keydown", listen);
  });

  it("send nothing any more when the view has ended", () => {
    const shelf = new Shelf(browse());
    shelf.type(SEARCH, "axe");
    shelf.end();
    vi.advanceTimersByTime(10_000);
    expect(shelf.sent).toEqual([]);
  });
});

describe("a viewer as a whole", () => {
  const settle = async () => {
    await vi.advanceTimersByTimeAsync(0);
    frames();
  };

  async function open(more: Partial<Browse> = {}) {
    const faces = [wholeFace("f", 30, 30, { note: "id 7, score 0.9" }), wholeFace("g", 70, 60)];
    const model = new FakeModel({ browse: browse(more), scene: scene({ instances: faces }) });
    const made = widget();
    cleanUps.push(made.initialize({ model: model.asModel }));
    const el = document.createElement("div");
    document.body.append(el);
    const end = made.render({ model: model.asModel, el });
    cleanUps.push(end);
    await settle();
    model.paint(1);
    await settle();
    const root = el.querySelector<HTMLElement>(".kpwidget-stage");
    const ink = el.querySelector<HTMLCanvasElement>(".kpwidget-ink");
    if (!root || !ink) throw new Error("no stage");
    const at = (x: number, y: number) => {
      const [k, tx, ty] = ["scale", "tx", "ty"].map((n) => Number(root.dataset[n])) as number[];
      return [(tx as number) + (k as number) * x, (ty as number) + (k as number) * y] as const;
    };
    return { model, el, root, ink, at, end };
  }

  const edits = (model: FakeModel) =>
    model.sent.flatMap((message) => (message.kind === "edits" ? [...message.edits] : []));

  it("has no control that edits", async () => {
    const { el } = await open();
    for (const gone of ["Undo", "Redo", "Remove", "Lock", "Category of new", "Image done"])
      expect(el.querySelector(`[title^="${gone}"]`)).toBeNull();
    expect(el.querySelector(".kpwidget-toolbar")?.getAttribute("aria-label")).toBe("Viewer");
    expect(el.querySelector(".kpwidget-stage")?.getAttribute("aria-label")).toMatch(/viewer/);
  });

  it("edits nothing by any key, click or drag", async () => {
    const { model, root, ink, at } = await open();
    root.focus();
    const keys = [
      "Backspace",
      "Enter",
      "Delete",
      "v",
      "b",
      "d",
      "u",
      "c",
      "x",
      "1",
      "12",
      "ArrowUp",
    ];
    for (const chosen of [false, true]) {
      if (chosen) {
        pointer(ink, "pointerdown", ...at(30, 25));
        pointer(ink, "pointerup", ...at(30, 25));
      }
      for (const name of keys) key(root, name);
      for (const name of ["z", "y", "s", "Z"]) key(root, name, { ctrlKey: true });
      for (const button of [0, 2]) {
        pointer(ink, "pointerdown", ...at(50, 40), { button });
        pointer(ink, "pointerup", ...at(50, 40), { button });
        pointer(ink, "pointerdown", ...at(30, 25), { button, shiftKey: true });
        pointer(ink, "pointermove", ...at(60, 60), { button });
        pointer(ink, "pointerup", ...at(60, 60), { button });
      }
      await vi.advanceTimersByTimeAsync(2000);
    }
    const harmless = new Set(["cursor", "flags", "goto"]);
    expect(edits(model).filter(({ op }) => !harmless.has(op))).toEqual([]);
  });

  it("binds each key of its table", async () => {
    const { model, el, root } = await open();
    root.focus();
    const bound = VIEW_TABLE.flatMap(({ bind }) => [...bind]);
    expect(bound.length).toBe(new Set(bound).size);
    for (const name of bound) expect(key(root, name).defaultPrevented).toBe(true);
    expect(key(root, "q").defaultPrevented).toBe(false);
    root.focus();
    model.sent.length = 0;
    key(root, "n");
    key(root, "ArrowLeft");
    key(root, "s");
    await settle();
    expect(edits(model).map((edit) => (edit.op === "goto" ? edit.to : edit.op))).toEqual([
      "next",
      "previous",
    ]);
    expect(model.sent.filter(({ kind }) => kind === "pick")).toEqual([
      { kind: "pick", images: [0], picked: true },
    ]);
    const grid = el.querySelector<HTMLElement>(".kpwidget-grid");
    key(root, "t");
    expect(grid?.hidden).toBe(false);
    key(root, "Escape");
    expect(grid?.hidden).toBe(true);
    expect(document.activeElement).toBe(root);
    for (let i = 0; i < 2; i++) key(root, "Escape"); // the help that "?" opened, the focus
    expect(document.activeElement).not.toBe(root);
  });

  it("chooses the instance that is clicked, and says at the pointer what is there", async () => {
    const { el, root, ink, at } = await open();
    pointer(ink, "pointermove", ...at(35, 30));
    const label = el.querySelector<HTMLElement>(".kpwidget-cursor");
    expect(label?.hidden).toBe(false);
    expect(label?.textContent).toBe("right: 35.0, 30.0, occluded\nface 1\nid 7, score 0.9");
    pointer(ink, "pointerdown", ...at(35, 30));
    pointer(ink, "pointerup", ...at(35, 30));
    expect(root.dataset.activeInstance).toBe("f");
    pointer(ink, "pointermove", ...at(50, 45));
    expect(label?.hidden).toBe(true);
  });

  it("tells what is found, and leaves nothing behind when it ends", async () => {
    const listeners = watchListeners();
    const before = listeners.live();
    const { model, el, end } = await open();
    model.receive({ kind: "tiles", version: 1, tiles: [tile(0, { name: HOSTILE })] }, [BYTES]);
    expect(el.querySelector(".kpwidget-tile-name")?.textContent).toBe(HOSTILE);
    expect(el.querySelectorAll(".kpwidget-notice")).toHaveLength(0);
    model.set("browse", browse({ version: 2, count: 3, total: 10_000, position: 1 }));
    frames();
    expect(el.textContent).toContain("3 of 10,000 images");
    expect(el.querySelector<HTMLInputElement>(".kpwidget-jump")?.value).toBe("2");
    end();
    expect(revoked).toEqual(["blob:1"]);
    const sent = model.sent.length;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(model.sent.slice(sent)).toEqual([]);
    // Those of tiles go with the tiles.
    const left = listeners.live().filter((one) => !before.includes(one));
    expect(left.filter((one) => !/HTMLDivElement#\d+ (dbl)?click/.test(one))).toEqual([]);
  });
});
