/** What a viewer has beside the stage: filters, and thumbnails of which only those in sight exist. */

import type { Browse, Category, Limits, Query, Tile, ToPython } from "./model";
import { button, h, setAttribute, setText } from "./panel";

/** Size of a thumbnail with its caption, in CSS px; the same in style.css. */
const TILE = { w: 128, h: 118 } as const;
/** Thumbnails made before they are in sight: on each side, in rows of the grid. */
const AHEAD = { strip: 6, rows: 2 } as const;
/** A filter that is typed is sent after so many milliseconds of rest. */
const REST = 200;
/** What is wanted is asked for once scrolling has rested so long. */
const SCROLL_REST = 40;
/** What has not come after so many milliseconds is asked for again, then after twice as many. */
const ASK_AGAIN = 3000;
/** Names that a list of keypoints is offered with at most. */
const MOST_NAMES = 1000;
/** So many letters at the end of a file name stay where it is cut: a number and the suffix. */
const NAME_END = 9;

const SORT_NAMES: Record<string, string> = {
  position: "as in the dataset",
  name: "file name",
  instances: "number of instances",
  labeled: "labeled keypoints",
  size: "largest instance",
  score: "score",
  pixels: "size of the image",
  annotator: "annotator",
  distance: "distance of the two",
};

/** What is looked for by these is what there is most of. */
const LARGEST_FIRST: ReadonlySet<string> = new Set(["instances", "labeled", "size", "distance"]);

export interface BrowseEvents {
  send(message: ToPython): void;
  goto(index: number): void;
  /** Gives the keyboard back to the stage. */
  focus(): void;
}

export interface Browser {
  readonly filters: HTMLElement;
  readonly strip: HTMLElement;
  /** Over the stage, when it is open. */
  readonly grid: HTMLElement;
  render(browse: Browse, categories: readonly Category[]): void;
  takeTiles(version: number, tiles: readonly Tile[], buffers: readonly DataView[]): void;
  /** Picks the image that is shown, or no longer. */
  togglePick(index: number): void;
  /** Returns whether that changed anything. */
  toggleGrid(isOpen?: boolean): boolean;
}

interface Shown {
  readonly element: HTMLElement;
  readonly picture: HTMLImageElement;
  readonly name: HTMLElement;
  readonly count: HTMLElement;
  readonly mark: HTMLButtonElement;
  tile: Tile | null;
  url: string;
  /** Version of the list that it was asked for in; 0: not yet. */
  asked: number;
}

export function makeBrowser(
  first: Browse,
  client: string,
  events: BrowseEvents,
  signal: AbortSignal,
): Browser {
  let browse = first;
  let query: Query = first.query;
  let rev = 0;

  // -- filters ---------------------------------------------------------------------------------
  let queryRev = 0;
  let queryTimer: ReturnType<typeof setTimeout> | undefined;
  /** Queries that were sent and not seen in an answer yet, oldest first, as JSON. */
  let unanswered: string[] = [];
  let answered = JSON.stringify(first.query);
  const ask = (change: Partial<Query>, delay = 0) => {
    query = { ...query, ...change };
    clearTimeout(queryTimer);
    queryTimer = setTimeout(() => {
      queryTimer = undefined;
      queryRev += 1;
      unanswered.push(JSON.stringify(query));
      events.send({ kind: "query", client, rev: queryRev, query });
    }, delay);
  };
  /** Takes over what Python says is asked for, unless something newer is on its way there. */
  function takeQuery(next: Query): void {
    const came = JSON.stringify(next);
    if (came === answered) return;
    answered = came;
    // Python may have answered several at once: all up to this one are.
    unanswered = unanswered.slice(unanswered.lastIndexOf(came) + 1);
    if (queryTimer !== undefined || unanswered.length > 0) return;
    query = next;
    syncFields();
  }

  const on = <K extends keyof HTMLElementEventMap>(
    element: HTMLElement,
    kind: K,
    run: (event: HTMLElementEventMap[K]) => void,
  ) => element.addEventListener(kind, run, { signal });
  /** Keys typed here are for the field, not for the notebook. */
  const keepKeys = (field: HTMLElement) =>
    on(field, "keydown", (event) => {
      if (event.key !== "Tab") event.stopPropagation();
      if (event.key === "Escape" || event.key === "Enter") {
        event.preventDefault();
        events.focus();
      }
    });

  const search = h("input", {
    class: "kpwidget-search",
    type: "text",
    placeholder: "file name …",
    title: "Only images with this in their file name",
    "aria-label": "Only images with this in their file name",
    spellcheck: "false",
    autocomplete: "off",
  });
  keepKeys(search);
  on(search, "input", () => ask({ text: search.value.trim() }, REST));

  const options = (select: HTMLSelectElement, rows: readonly (readonly [string, string])[]) =>
    select.replaceChildren(...rows.map(([value, text]) => h("option", { value }, text)));
  const chooser = (title: string, change: (value: string) => Partial<Query>) => {
    const select = h("select", { title, "aria-label": title });
    on(select, "change", () => ask(change(select.value)));
    return select;
  };
  const category = chooser("Only images with an instance of this category", (value) => ({
    category: value,
  }));
  const keypoint = chooser("Only images with an instance whose keypoint is as said", (value) => ({
    keypoint: value,
  }));
  const visibility = chooser("What the keypoint is to be", (value) => ({ visibility: value }));
  const annotator = chooser("Only images with an instance labeled by", (value) => ({
    annotator: value,
  }));
  const sort = chooser("Order of the images", (value) => ({
    sort: value,
    descending: LARGEST_FIRST.has(value),
  }));
  const direction = h("button", { type: "button", class: "kpwidget-reset" }, "↑");
  on(direction, "click", () => ask({ descending: !query.descending }));

  type LimitName = "instances" | "labeled" | "size";
  const limits = {} as Record<LimitName, [HTMLInputElement, HTMLInputElement]>;
  const limitRow = (name: LimitName, text: string, title: string) => {
    const field = (which: string) => {
      const input = h("input", {
        class: "kpwidget-limit",
        type: "text",
        inputmode: "decimal",
        placeholder: which,
        title: `${title}: ${which}`,
        "aria-label": `${title}: ${which}`,
      });
      keepKeys(input);
      on(input, "input", () => {
        const [low, high] = limits[name].map(({ value }) => {
          const number = Number(value.trim().replace(",", "."));
          return value.trim() && Number.isFinite(number) ? number : null;
        }) as [number | null, number | null];
        ask({ [name]: [low ?? 0, high] as Limits }, REST);
      });
      return input;
    };
    limits[name] = [field("least"), field("most")];
    return h("label", {}, h("span", {}, text), limits[name][0], "–", limits[name][1]);
  };
  const score = h("input", { type: "range", min: "0", max: "100", value: "0", step: "1" });
  const scoreText = h("span", { class: "kpwidget-count" });
  on(score, "input", () => {
    const [low, high] = browse.scores ?? [0, 1];
    const share = Number(score.value) / 100;
    // Rounding must not put the end of the slider above the highest score.
    const least = Math.min(high, low + share * (high - low));
    ask({ score: share === 0 ? null : least }, 30);
    showScore();
  });
  const showScore = () => setText(scoreText, query.score === null ? "all" : query.score.toFixed(3));
  const scoreRow = h("label", {}, h("span", {}, "score at least"), score, scoreText);
  const annotatorRow = h("label", {}, h("span", {}, "by"), annotator);
  const clear = h("button", { type: "button", class: "kpwidget-reset" }, "Clear all");
  on(clear, "click", () => {
    search.value = "";
    ask({
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
    });
    syncFields(true);
  });
  const more = h(
    "div",
    { class: "kpwidget-more" },
    h("label", {}, h("span", {}, "category"), category),
    h("label", {}, h("span", {}, "keypoint"), keypoint, visibility),
    limitRow("instances", "instances", "Instances in the image"),
    limitRow("labeled", "labeled keypoints", "Labeled keypoints of an instance"),
    limitRow("size", "size (px)", "Size of an instance, the root of its box's area"),
    annotatorRow,
    scoreRow,
    clear,
  );
  more.hidden = true;
  const moreButton = h(
    "button",
    { type: "button", class: "kpwidget-reset", "aria-expanded": "false" },
    "Filters",
  );
  on(moreButton, "click", (event) => {
    more.hidden = !more.hidden;
    setAttribute(moreButton, "aria-expanded", String(!more.hidden));
    if (event.detail > 0) events.focus();
  });
  const counted = h("span", { class: "kpwidget-count", role: "status" });
  const onlyPicked = h("input", { type: "checkbox" });
  on(onlyPicked, "change", () => ask({ picked: onlyPicked.checked }));
  const pickedText = h("span", {}, "0 picked");
  const pickAll = h("button", { type: "button", class: "kpwidget-reset" }, "Pick all");
  pickAll.title = "Pick every image of the list";
  on(pickAll, "click", () => events.send({ kind: "pick", images: null, picked: true }));
  const pickNone = h("button", { type: "button", class: "kpwidget-reset" }, "Pick none");
  on(pickNone, "click", () => events.send({ kind: "pick", images: null, picked: false }));
  const gridButton = button("grid", "Thumbnails instead of the picture (T)");
  on(gridButton, "click", () => {
    toggleGrid();
    events.focus();
  });
  const filters = h(
    "div",
    { class: "kpwidget-browse" },
    h(
      "div",
      { class: "kpwidget-browse-row" },
      search,
      moreButton,
      h("label", {}, h("span", {}, "sorted by"), sort, direction),
      counted,
      h(
        "span",
        { class: "kpwidget-group kpwidget-right" },
        h("label", { title: "Only images that are picked" }, onlyPicked, pickedText),
        pickAll,
        pickNone,
        gridButton,
      ),
    ),
    more,
  );

  /** Shows what is asked for, but never changes a field that is being typed in. */
  function syncFields(isForced = false): void {
    const set = (field: HTMLInputElement | HTMLSelectElement, value: string) => {
      const isBusy = !isForced && document.activeElement === field;
      if (!isBusy && field.value !== value) field.value = value;
    };
    set(search, query.text);
    set(category, query.category);
    set(keypoint, query.keypoint);
    set(visibility, query.visibility);
    set(annotator, query.annotator);
    set(sort, query.sort);
    visibility.disabled = query.keypoint === "";
    setText(direction, query.descending ? "↓" : "↑");
    direction.title = query.descending ? "Descending" : "Ascending";
    for (const name of ["instances", "labeled", "size"] as const) {
      const [low, high] = query[name];
      set(limits[name][0], low ? String(low) : "");
      set(limits[name][1], high === null ? "" : String(high));
    }
    const [lowest, highest] = browse.scores ?? [0, 1];
    const share = query.score === null ? 0 : (query.score - lowest) / (highest - lowest || 1);
    set(score, String(Math.round(100 * Math.min(1, Math.max(0, share)))));
    showScore();
    onlyPicked.checked = query.picked;
    const isFiltered =
      query.category !== "" ||
      query.keypoint !== "" ||
      query.annotator !== "" ||
      query.score !== null ||
      (["instances", "labeled", "size"] as const).some(
        (name) => query[name][0] || query[name][1] !== null,
      );
    moreButton.classList.toggle("is-on", isFiltered);
  }

  let listedCategories: readonly Category[] | null = null;
  let listedAnnotators = "";
  let listedSorts = "";
  function fillChoosers(categories: readonly Category[]): void {
    if (categories !== listedCategories) {
      listedCategories = categories;
      const names = categories.map(({ name }) => [name, name] as const);
      options(category, [["", "any"], ...names]);
      const keypoints = new Set(categories.flatMap((one) => [...one.keypoints]));
      const few = [...keypoints].slice(0, MOST_NAMES).map((name) => [name, name] as const);
      options(keypoint, [["", "any"], ...few]);
      options(
        visibility,
        browse.flags.map((name) => [name, name] as const),
      );
      syncFields();
    }
    const sorts = browse.sorts.filter((name) => name !== "score" || browse.scores !== null);
    if (sorts.join() !== listedSorts) {
      listedSorts = sorts.join();
      options(
        sort,
        sorts.map((name) => [name, SORT_NAMES[name] ?? name] as const),
      );
      syncFields();
    }
    const annotators = JSON.stringify(browse.annotators);
    if (annotators !== listedAnnotators) {
      listedAnnotators = annotators;
      options(annotator, [["", "anybody"], ...browse.annotators.map((a) => [a, a] as const)]);
      syncFields();
    }
    annotatorRow.hidden = browse.annotators.length === 0;
    scoreRow.hidden = browse.scores === null;
  }

  // -- thumbnails ------------------------------------------------------------------------------
  const room = h("div", { class: "kpwidget-tiles", role: "listbox", "aria-label": "Images" });
  const strip = h("div", { class: "kpwidget-strip" }, room);
  const grid = h("div", { class: "kpwidget-grid" });
  grid.hidden = true;
  const nothing = h("div", { class: "kpwidget-empty" }, "No image fits: clear the filters.");
  nothing.hidden = true;
  strip.append(nothing);
  const shown = new Map<number, Shown>();
  let isGrid = false;
  const scroller = () => (isGrid ? grid : strip);

  function makeTile(place: number): Shown {
    const picture = h("img", { alt: "", decoding: "async", draggable: "false" });
    const name = h("span", { class: "kpwidget-tile-name" });
    const count = h("span", { class: "kpwidget-tile-count" });
    const mark = h("button", { type: "button", class: "kpwidget-mark", tabindex: "-1" });
    const element = h(
      "div",
      { class: "kpwidget-tile", role: "option", "data-place": String(place) },
      picture,
      mark,
      name,
      count,
    );
    const one: Shown = { element, picture, name, count, mark, tile: null, url: "", asked: 0 };
    element.addEventListener("click", (event) => {
      if (!one.tile) return;
      if (event.ctrlKey || event.metaKey || event.target === mark) togglePick(one.tile.index);
      else events.goto(one.tile.index);
      events.focus();
    });
    element.addEventListener("dblclick", () => toggleGrid(false));
    return one;
  }

  /** A file name of which the middle is cut where there is no room: its end tells files apart. */
  function showName(element: HTMLElement, name: string): void {
    const letters = Array.from(name);
    const [head, tail] = [letters.slice(0, -NAME_END).join(""), letters.slice(-NAME_END).join("")];
    element.replaceChildren(
      h("span", { class: "kpwidget-name-head" }, head),
      h("span", { class: "kpwidget-name-tail" }, tail),
    );
  }

  function drop(one: Shown): void {
    if (one.url) URL.revokeObjectURL(one.url);
    one.element.remove();
  }

  function showMark(one: Shown): void {
    const isPicked = one.tile?.picked === true;
    one.element.classList.toggle("is-picked", isPicked);
    setText(one.mark, isPicked ? "✓" : "");
    one.mark.title = isPicked ? "Picked: click to leave it out (S)" : "Pick this image (S)";
    setAttribute(one.mark, "aria-label", one.mark.title);
  }

  /** The places in sight, and some more on both sides. */
  function inSight(): { from: number; to: number; columns: number } {
    const box = scroller();
    if (isGrid) {
      const columns = Math.max(1, Math.floor(box.clientWidth / TILE.w));
      const top = Math.floor(box.scrollTop / TILE.h) - AHEAD.rows;
      const bottom = Math.ceil((box.scrollTop + box.clientHeight) / TILE.h) + AHEAD.rows;
      return {
        from: Math.max(0, top * columns),
        to: Math.min(browse.count, bottom * columns),
        columns,
      };
    }
    const left = Math.floor(box.scrollLeft / TILE.w) - AHEAD.strip;
    const right = Math.ceil((box.scrollLeft + box.clientWidth) / TILE.w) + AHEAD.strip;
    return { from: Math.max(0, left), to: Math.min(browse.count, right), columns: 0 };
  }

  let wantTimer: ReturnType<typeof setTimeout> | undefined;
  /** Gives the list its size: nothing can be scrolled to where there is no room. */
  function makeRoom(): void {
    const columns = isGrid ? Math.max(1, Math.floor(grid.clientWidth / TILE.w)) : 0;
    const size = columns
      ? { w: columns * TILE.w, h: Math.ceil(browse.count / columns) * TILE.h }
      : { w: browse.count * TILE.w, h: TILE.h };
    const left = columns ? Math.max(0, Math.floor((grid.clientWidth - size.w) / 2)) : 0;
    room.style.marginLeft = `${left}px`;
    room.style.width = `${size.w}px`;
    room.style.height = `${size.h}px`;
  }

  function renderTiles(): void {
    makeRoom();
    const { from, to, columns } = inSight();
    for (const [place, one] of shown) {
      if (place >= from && place < to) continue;
      drop(one);
      shown.delete(place);
    }
    for (let place = from; place < to; place++) {
      let one = shown.get(place);
      if (!one) {
        one = makeTile(place);
        shown.set(place, one);
        room.append(one.element);
      }
      const x = columns ? (place % columns) * TILE.w : place * TILE.w;
      const y = columns ? Math.floor(place / columns) * TILE.h : 0;
      one.element.style.transform = `translate(${x}px, ${y}px)`;
      const isCurrent = place === browse.position;
      one.element.classList.toggle("is-current", isCurrent);
      setAttribute(one.element, "aria-selected", String(isCurrent));
      one.element.classList.toggle("is-old", one.asked !== browse.version);
    }
    nothing.hidden = browse.count > 0;
    clearTimeout(wantTimer);
    wantTimer = setTimeout(want, SCROLL_REST);
  }

  /** The last request: a later one takes its place. */
  let asking = new Set<number>();
  let patience = ASK_AGAIN;
  let askedVersion = -1;
  let askedAt = 0;
  /** Asks for what is in sight and not there yet: what is seen first, then what may come next. */
  function want(): void {
    const missing = [...shown].filter(([, one]) => one.asked !== browse.version);
    if (missing.length === 0 || signal.aborted) return;
    // Rendering anew is no reason to ask again, but an answer may be lost with a connection.
    const isAsked = missing.every(([place]) => asking.has(place));
    const waited = performance.now() - askedAt;
    if (askedVersion === browse.version && isAsked && waited < patience) {
      wantTimer = setTimeout(want, patience - waited);
      return;
    }
    patience = askedVersion === browse.version && isAsked ? 2 * patience : ASK_AGAIN;
    const box = scroller();
    const middle = isGrid
      ? (box.scrollTop + box.clientHeight / 2) / TILE.h
      : (box.scrollLeft + box.clientWidth / 2) / TILE.w;
    const columns = isGrid ? Math.max(1, Math.floor(box.clientWidth / TILE.w)) : 1;
    const far = (place: number) => Math.abs(Math.floor(place / columns) + 0.5 - middle);
    const places = missing.map(([place]) => place).sort((a, b) => far(a) - far(b));
    rev += 1;
    asking = new Set(places);
    askedVersion = browse.version;
    askedAt = performance.now();
    clearTimeout(wantTimer);
    wantTimer = setTimeout(want, patience);
    events.send({ kind: "want", client, rev, version: browse.version, places });
  }

  function takeTiles(version: number, tiles: readonly Tile[], buffers: readonly DataView[]): void {
    if (version !== browse.version) return;
    for (const [i, tile] of tiles.entries()) {
      asking.delete(tile.place);
      const one = shown.get(tile.place);
      if (!one) continue;
      one.asked = version;
      one.tile = tile;
      one.element.classList.remove("is-old");
      setAttribute(one.element, "data-index", String(tile.index));
      showName(one.name, tile.name.split("/").at(-1) ?? tile.name);
      setText(one.count, tile.error ? "no picture" : String(tile.instances));
      one.element.title = `${tile.name}\n${tile.error || `instances: ${tile.instances}`}`;
      one.element.classList.toggle("is-broken", tile.error !== "");
      const bytes = buffers[i];
      if (one.url) URL.revokeObjectURL(one.url);
      one.url = "";
      if (bytes?.byteLength) {
        const part = new Uint8Array(
          bytes.buffer as ArrayBuffer,
          bytes.byteOffset,
          bytes.byteLength,
        );
        one.url = URL.createObjectURL(new Blob([part], { type: tile.mime }));
        one.picture.src = one.url;
      } else one.picture.removeAttribute("src");
      showMark(one);
    }
  }

  function togglePick(index: number): void {
    const one = [...shown.values()].find(({ tile }) => tile?.index === index);
    const isPicked = one?.tile ? one.tile.picked : browse.isPicked;
    if (one?.tile) {
      one.tile = { ...one.tile, picked: !isPicked };
      showMark(one);
    }
    events.send({ kind: "pick", images: [index], picked: !isPicked });
  }

  function toggleGrid(isOpen = !isGrid): boolean {
    if (isOpen === isGrid) return false;
    isGrid = isOpen;
    grid.hidden = !isGrid;
    strip.hidden = isGrid;
    setAttribute(gridButton, "aria-pressed", String(isGrid));
    scroller().append(room, nothing);
    keepInSight();
    renderTiles();
    return true;
  }

  function keepInSight(): void {
    const place = browse.position;
    if (place < 0) return;
    makeRoom();
    const box = scroller();
    if (isGrid) {
      const columns = Math.max(1, Math.floor(box.clientWidth / TILE.w));
      const y = Math.floor(place / columns) * TILE.h;
      if (y < box.scrollTop) box.scrollTop = y;
      else if (y + TILE.h > box.scrollTop + box.clientHeight)
        box.scrollTop = y + TILE.h - box.clientHeight;
      return;
    }
    const x = place * TILE.w;
    const isOut = x < box.scrollLeft || x + TILE.w > box.scrollLeft + box.clientWidth;
    if (isOut) box.scrollLeft = x - (box.clientWidth - TILE.w) / 2;
  }

  let isPlanned = false;
  const soon = () => {
    if (isPlanned) return;
    isPlanned = true;
    requestAnimationFrame(() => {
      isPlanned = false;
      if (!signal.aborted) renderTiles();
    });
  };
  on(strip, "scroll", soon);
  on(grid, "scroll", soon);
  // A wheel moves the strip sideways, as there is nothing below it.
  strip.addEventListener(
    "wheel",
    (event) => {
      if (event.ctrlKey || event.deltaX !== 0 || strip.scrollWidth <= strip.clientWidth) return;
      const before = strip.scrollLeft;
      strip.scrollLeft += event.deltaY * (event.deltaMode === 1 ? 33 : 1);
      // At its end the notebook scrolls on.
      if (strip.scrollLeft === before) return;
      event.preventDefault();
      event.stopPropagation();
    },
    { signal, passive: false },
  );
  const observer = new ResizeObserver(soon);
  observer.observe(strip);
  observer.observe(grid);
  signal.addEventListener("abort", () => {
    observer.disconnect();
    clearTimeout(wantTimer);
    clearTimeout(queryTimer);
    for (const one of shown.values()) drop(one);
    shown.clear();
  });

  let shownPosition = -2;
  return {
    filters,
    strip,
    grid,
    takeTiles,
    togglePick,
    toggleGrid,
    render(next, categories) {
      const isOther = next.version !== browse.version;
      browse = next;
      fillChoosers(categories);
      takeQuery(next.query);
      const n = next.count.toLocaleString();
      const all = next.total.toLocaleString();
      const images = next.total === 1 ? "image" : "images";
      setText(counted, next.count === next.total ? `${all} ${images}` : `${n} of ${all} ${images}`);
      setText(pickedText, `${next.picked.toLocaleString()} picked`);
      pickAll.disabled = next.count === 0;
      pickNone.disabled = next.picked === 0;
      if (isOther || next.position !== shownPosition) {
        shownPosition = next.position;
        keepInSight();
      }
      renderTiles();
    },
  };
}
