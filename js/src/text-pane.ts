/** The text pane of the designer: what is typed there, what Python says of it, and where. */

import { type Design, type DesignEdit, MAX_TEXT, pieces } from "./design";
import { h, setAttribute, setOptions, setText } from "./panel";

/** Typing rests for so long before the text goes to Python, in milliseconds. */
const TYPING = 250;

export interface PaneHands {
  readonly client: string;
  getDesign(): Design;
  /** Sends an edit; gives its number. */
  send(edit: DesignEdit): number;
  newBurst(): string;
  /** Gives the keyboard to the drawing. */
  leave(): void;
}

export interface TextPane {
  readonly element: HTMLElement;
  render(): void;
}

export function makeTextPane(hands: PaneHands, signal: AbortSignal): TextPane {
  /** What stands in the pane and is not, or not yet, the metadata. */
  let typed: string | null = null;
  let textSeq = 0;
  let textTimer: ReturnType<typeof setTimeout> | undefined;
  let textBurst = "";
  signal.addEventListener("abort", () => clearTimeout(textTimer));

  const pane = h("textarea", {
    class: "kpwidget-text",
    "aria-label": "Metadata: type or paste",
    spellcheck: "false",
    autocomplete: "off",
    wrap: "off",
    placeholder:
      "Names, one a line; or metadata of COCO or DataTorch; or the categories of a COCO file; or labels of CVAT",
  });
  const marks = h("div", { class: "kpwidget-marks", "aria-hidden": "true" });
  const problems = h("div", { class: "kpwidget-problems", role: "list", "aria-label": "Problems" });
  const readAs = h("div", { class: "kpwidget-read-as", role: "status" });
  const revert = h("button", { type: "button", class: "kpwidget-reset" }, "Back to the drawing");
  const choose = h("select", { class: "kpwidget-choose", "aria-label": "Which category" });
  const paneBox = h(
    "div",
    { class: "kpwidget-pane" },
    h("div", { class: "kpwidget-text-box" }, marks, pane),
    h("div", { class: "kpwidget-said" }, readAs, choose, problems, revert),
  );
  function sendText(choice: number | null = null): void {
    clearTimeout(textTimer);
    textTimer = undefined;
    if (typed === null) return;
    // A longer one is refused, and its message could end the connection.
    const text = typed.slice(0, MAX_TEXT + 1);
    textSeq = hands.send({ op: "text", text, choice, burst: textBurst });
  }

  pane.addEventListener(
    "focus",
    () => {
      textBurst = hands.newBurst();
    },
    { signal },
  );
  pane.addEventListener(
    "input",
    () => {
      typed = pane.value;
      clearTimeout(textTimer);
      textTimer = setTimeout(() => sendText(), TYPING);
      render();
    },
    { signal },
  );
  pane.addEventListener(
    "blur",
    () => {
      if (textTimer !== undefined) sendText();
      render();
    },
    { signal },
  );
  pane.addEventListener(
    "scroll",
    () => {
      marks.scrollTop = pane.scrollTop;
      marks.scrollLeft = pane.scrollLeft;
    },
    { signal },
  );
  revert.addEventListener(
    "click",
    () => {
      clearTimeout(textTimer);
      textTimer = undefined;
      typed = null;
      textSeq = 0;
      render();
    },
    { signal },
  );
  choose.addEventListener(
    "change",
    () => {
      if (choose.value === "") return;
      sendText(Number(choose.value));
      hands.leave();
    },
    { signal },
  );

  /** What Python says of what stands in the pane; null while it has not said anything. */
  function reading() {
    const said = hands.getDesign().reading;
    const isOurs = said?.client === hands.client && said.seq === textSeq;
    return typed !== null && textSeq > 0 && isOurs && textTimer === undefined ? said : null;
  }

  let shownProblems: unknown = null;
  function render(): void {
    const said = reading();
    const isGood = said !== null && said.problems.length === 0 && said.choices.length === 0;
    // A good text is shown as kpwidget writes it, once nobody is at it any more.
    if (isGood && document.activeElement !== pane) typed = null;
    const text = typed ?? hands.getDesign().text;
    if (pane.value !== text) {
      const { selectionStart, scrollTop } = pane;
      pane.value = text;
      if (document.activeElement === pane) pane.setSelectionRange(selectionStart, selectionStart);
      pane.scrollTop = scrollTop;
    }
    const state =
      typed === null || isGood
        ? "good"
        : said === null
          ? "waiting"
          : said.choices.length > 0
            ? "choose"
            : "wrong";
    setAttribute(pane, "data-state", state);
    setAttribute(pane, "aria-invalid", String(state === "wrong"));
    revert.disabled = typed === null;
    // While Python has not answered, what it said before stays: nothing flickers.
    if (state === "waiting") return;
    const found = said?.problems ?? [];
    const n = found.length;
    setText(
      readAs,
      state === "choose"
        ? `${said?.choices.length} categories: choose one`
        : state === "wrong"
          ? `${n} problem${n === 1 ? "" : "s"}, the drawing is kept`
          : said
            ? `Read as ${said.kind}`
            : "What is drawn, as metadata",
    );
    choose.hidden = state !== "choose";
    if (said && state === "choose")
      setOptions(choose, [
        ["", "choose …"],
        ...said.choices.map((name, i): [string, string] => [String(i), name]),
      ]);
    const key = n > 0 ? said : null;
    if (key === shownProblems) return;
    shownProblems = key;
    problems.replaceChildren(
      ...found.map((problem) => {
        const place = `line ${problem.line}, column ${problem.column}`;
        const go = h(
          "button",
          {
            type: "button",
            class: "kpwidget-problem",
            "data-line": String(problem.line),
            "data-column": String(problem.column),
          },
          h("b", {}, place),
          ` ${problem.message}`,
        );
        go.addEventListener(
          "click",
          () => {
            pane.focus();
            pane.setSelectionRange(problem.start, Math.max(problem.end, problem.start));
          },
          { signal },
        );
        return h("div", { role: "listitem" }, go);
      }),
    );
    // A text that is too long to be read has no marks: they would be as long.
    const made =
      n > 0 && text.length <= MAX_TEXT
        ? pieces(text, found).map((piece) => h(piece.isMarked ? "mark" : "span", {}, piece.text))
        : [];
    marks.replaceChildren(...made, h("span", {}, "\n"));
    marks.scrollTop = pane.scrollTop;
    marks.scrollLeft = pane.scrollLeft;
  }

  return { element: paneBox, render };
}
