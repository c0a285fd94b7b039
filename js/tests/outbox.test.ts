import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Model, ToPython } from "../src/model";
import { Outbox } from "../src/outbox";
import { type Action, initialState, reduce, type State } from "../src/state";
import { click, FACE, scene } from "./builders";

type Edits = Extract<ToPython, { kind: "edits" }>;

let now = 1000;

/** A view with its outbox, and the messages that reach the kernel. */
class View {
  readonly sent: ToPython[] = [];
  readonly outbox: Outbox;
  state: State;
  isCommOpen = true;
  lost = 0;

  constructor(
    readonly client = "me",
    dataset = "d1",
  ) {
    this.state = initialState(client, scene({ dataset }), [FACE]);
    const model = {
      send: (message: ToPython) => {
        if (!this.isCommOpen) throw new Error("the comm is closed");
        this.sent.push(message);
      },
    } as unknown as Model;
    this.outbox = new Outbox(model, client, () => this.state, {
      onLost: () => {
        this.lost += 1;
      },
    });
  }

  do(...actions: Action[]): void {
    for (const action of actions) {
      const { pending } = this.state;
      this.state = reduce(this.state, action);
      if (this.state.pending !== pending) this.outbox.flush();
    }
  }

  ack(seq: number, client = this.client): void {
    this.outbox.acknowledge(client, seq);
    this.do({ type: "ack", client, seq, version: this.state.scene.version });
  }

  get edits(): Edits[] {
    return this.sent.filter((message) => message.kind === "edits");
  }

  get numbers(): number[][] {
    return this.edits.map((message) => message.edits.map((edit) => edit.seq));
  }
}

const keyOf = (client: string, dataset = "d1") => `kpwidget:${dataset}:${client}`;
const stored = (client: string, dataset = "d1") =>
  JSON.parse(sessionStorage.getItem(keyOf(client, dataset)) ?? "null");

/** Makes the records look as an earlier load of the page left them. */
function reload(): void {
  for (let i = 0; i < sessionStorage.length; i++) {
    const key = sessionStorage.key(i) as string;
    const record = JSON.parse(sessionStorage.getItem(key) as string);
    sessionStorage.setItem(key, JSON.stringify({ ...record, page: "an earlier load" }));
  }
}

beforeEach(() => {
  now = 1000;
  sessionStorage.clear();
  vi.spyOn(performance, "now").mockImplementation(() => now);
});
afterEach(() => {
  vi.restoreAllMocks();
  sessionStorage.clear();
});

describe("sending", () => {
  it("sends each edit once, at once, in order and without gaps", () => {
    const view = new View();
    view.do(click(1, 1), click(2, 2), { type: "skip" });
    expect(view.numbers).toEqual([[1], [2], [3]]);
    expect(view.edits[0]).toMatchObject({ kind: "edits", client: "me", base: 0 });
    expect(view.edits[0]?.edits[0]).toMatchObject({ seq: 1, op: "point", x: 1, y: 1 });
  });

  it("one click is at most 700 bytes", () => {
    const view = new View("0123abcd", "0123456789abcdef");
    view.do(click(34.56789012345678, 45.67890123456789, 2, "0123456789ab"));
    expect(JSON.stringify(view.sent[0]).length).toBeLessThan(400);
  });

  it("names as base what has been acknowledged", () => {
    const view = new View();
    view.do(click(1, 1), click(2, 2));
    view.ack(2);
    view.do(click(3, 3));
    expect(view.edits.at(-1)).toMatchObject({ base: 2, edits: [{ seq: 3 }] });
  });

  it("an acknowledgement that is late does not lower the base", () => {
    const view = new View();
    view.do(click(1, 1), click(2, 2));
    view.ack(2);
    view.ack(1);
    view.do(click(3, 3));
    expect(view.edits.at(-1)?.base).toBe(2);
  });

  it("keeps what cannot be sent, says that the kernel is lost, and sends it with the next", () => {
    const view = new View();
    view.do(click(1, 1));
    view.isCommOpen = false;
    view.do(click(2, 2), click(3, 3));
    expect(view.lost).toBe(2);
    expect(stored("me").edits.map((edit: { seq: number }) => edit.seq)).toEqual([1, 2, 3]);
    view.isCommOpen = true;
    view.do(click(4, 4));
    expect(view.numbers).toEqual([[1], [2, 3, 4]]);
  });
});

describe("sending again", () => {
  it("waits 5 s, then twice as long each time, at most a minute", () => {
    const view = new View();
    view.do(click(1, 1), click(2, 2));
    view.sent.length = 0;
    const at: number[] = [];
    for (let seconds = 1; seconds <= 400; seconds++) {
      now = 1000 + 1000 * seconds;
      view.outbox.resendLate();
      if (view.sent.splice(0).length > 0) at.push(seconds);
    }
    expect(at.slice(0, 7)).toEqual([5, 15, 35, 75, 135, 195, 255]);
  });

  it("sends all that is unanswered, with the base", () => {
    const view = new View();
    view.do(click(1, 1), click(2, 2), click(3, 3));
    view.ack(1);
    view.sent.length = 0;
    now += 5000;
    view.outbox.resendLate();
    expect(view.numbers).toEqual([[2, 3]]);
    expect(view.edits[0]?.base).toBe(1);
  });

  it("an answer starts the waiting anew; with nothing left it ends", () => {
    const view = new View();
    view.do(click(1, 1), click(2, 2));
    now += 4000;
    view.ack(1);
    view.sent.length = 0;
    now += 4000;
    view.outbox.resendLate();
    expect(view.sent).toEqual([]);
    now += 1000;
    view.outbox.resendLate();
    expect(view.numbers).toEqual([[2]]);
    view.ack(2);
    view.sent.length = 0;
    now += 1e6;
    view.outbox.resendLate();
    expect(view.sent).toEqual([]);
  });

  it("tells how long the kernel has been silent", () => {
    const view = new View();
    expect(view.outbox.isBusy(0)).toBe(false);
    view.do(click(1, 1));
    now += 1500;
    expect(view.outbox.isBusy(1500)).toBe(false);
    now += 1;
    expect(view.outbox.isBusy(1500)).toBe(true);
    view.ack(1);
    expect(view.outbox.isBusy(0)).toBe(false);
  });

  it("an answer to a stranger changes nothing", () => {
    const view = new View();
    view.do(click(1, 1));
    expect(view.outbox.knows("stranger")).toBe(false);
    view.ack(7, "stranger");
    view.do(click(2, 2));
    expect(view.edits.at(-1)?.base).toBe(0);
  });
});

describe("through a reload", () => {
  it("keeps exactly what is not acknowledged", () => {
    const view = new View();
    view.do(click(1, 1), click(2, 2), click(3, 3));
    view.ack(2);
    expect(stored("me")).toMatchObject({ base: 2, edits: [{ seq: 3, op: "point", x: 3 }] });
    view.ack(3);
    expect(stored("me")).toBeNull();
  });

  it("an edit that was refused is not kept", () => {
    const view = new View();
    view.do(click(1, 1), { type: "rejected", client: "me", seq: 1, why: "no" });
    expect(stored("me")).toBeNull();
  });

  it("the next load sends it again, under the old name and base, and waits for the answer", () => {
    const before = new View("old");
    before.do(click(1, 1), click(2, 2), click(3, 3));
    before.ack(1);
    reload();
    const after = new View("new");
    const claimed = after.outbox.claim("d1");
    for (const entries of claimed) after.do({ type: "restore", entries });
    expect(after.edits).toHaveLength(1);
    expect(after.edits[0]).toMatchObject({ client: "old", base: 1 });
    expect(after.numbers).toEqual([[2, 3]]);
    expect(after.edits[0]?.edits).toEqual(
      before.state.pending
        .filter((e) => e.version === null)
        .map((e) => ({ seq: e.seq, ...e.body })),
    );
    expect(after.state.pending.map((e) => [e.client, e.seq])).toEqual([
      ["old", 2],
      ["old", 3],
    ]);
    expect(after.outbox.knows("old")).toBe(true);
    expect(stored("old").edits).toHaveLength(2);
    after.ack(3, "old");
    expect(after.state.pending).toEqual([]);
    expect(stored("old")).toBeNull();
  });

  it("sends claimed edits again when they stay unanswered, apart from our own", () => {
    new View("old").do(click(1, 1));
    reload();
    const after = new View("new");
    for (const entries of after.outbox.claim("d1")) after.do({ type: "restore", entries });
    after.do(click(2, 2));
    after.sent.length = 0;
    now += 5000;
    after.outbox.resendLate();
    expect(after.edits.map((m) => [m.client, m.edits.map((e) => e.seq)])).toEqual([
      ["old", [1]],
      ["new", [1]],
    ]);
  });

  it("claims nothing of this page load: another view is at work there", () => {
    new View("other view").do(click(1, 1));
    const view = new View("new");
    expect(view.outbox.claim("d1")).toEqual([]);
    expect(view.sent).toEqual([]);
  });

  it("only one view of a page claims", () => {
    new View("old").do(click(1, 1));
    reload();
    expect(new View("one").outbox.claim("d1")).toHaveLength(1);
    expect(new View("two").outbox.claim("d1")).toEqual([]);
  });

  it("a second reload before the answer claims again", () => {
    new View("old").do(click(1, 1));
    reload();
    new View("one").outbox.claim("d1");
    reload();
    expect(new View("two").outbox.claim("d1")).toHaveLength(1);
  });

  it("claims nothing of another dataset", () => {
    new View("old", "d2").do(click(1, 1));
    reload();
    const view = new View("new", "d1");
    expect(view.outbox.claim("d1")).toEqual([]);
    expect(stored("old", "d2").edits).toHaveLength(1);
  });

  it("a broken record does not hide the others", () => {
    const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined);
    new View("old").do(click(1, 1));
    reload();
    sessionStorage.setItem(keyOf("a"), "{not json");
    sessionStorage.setItem(keyOf("b"), "null");
    sessionStorage.setItem(keyOf("c"), '{"page": "p", "base": 0, "edits": 5}');
    expect(new View("new").outbox.claim("d1")).toHaveLength(1);
    expect(warn).toHaveBeenCalledTimes(1);
  });
});

describe("a page without storage", () => {
  const broken = () => {
    throw new DOMException("no storage here", "QuotaExceededError");
  };

  it("still sends, and warns", () => {
    const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined);
    vi.spyOn(Storage.prototype, "setItem").mockImplementation(broken);
    vi.spyOn(Storage.prototype, "removeItem").mockImplementation(broken);
    const view = new View();
    view.do(click(1, 1), click(2, 2));
    view.ack(2);
    expect(view.numbers).toEqual([[1], [2]]);
    expect(view.state.pending).toEqual([]);
    expect(warn).toHaveBeenCalled();
  });

  it("claims nothing where nothing can be read", () => {
    vi.spyOn(console, "warn").mockImplementation(() => undefined);
    new View("old").do(click(1, 1));
    reload();
    vi.spyOn(Storage.prototype, "getItem").mockImplementation(broken);
    expect(new View().outbox.claim("d1")).toEqual([]);
  });

  it("claims what can be read although it cannot be marked", () => {
    vi.spyOn(console, "warn").mockImplementation(() => undefined);
    new View("old").do(click(1, 1));
    reload();
    vi.spyOn(Storage.prototype, "setItem").mockImplementation(broken);
    const view = new View("new");
    expect(view.outbox.claim("d1")).toHaveLength(1);
    expect(view.numbers).toEqual([[1]]);
  });
});
