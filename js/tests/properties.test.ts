// @vitest-environment node
/** `reduce` held against Python's side, over any sequence of actions. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Scene, SceneInstance } from "../src/model";
import type { Action, State } from "../src/state";
import { activeInstance, initialState, inkPlan, overlay, reduce } from "../src/state";
import { FACE, STICK } from "./builders";
import { Python } from "./python";

const CATEGORIES = [FACE, STICK];

/** An action whose instance is chosen among those that are there when its turn comes. */
type Move = (state: State, n: number) => Action;

const uidAt = (state: State, i: number): string =>
  state.doc.instances[i % Math.max(1, state.doc.instances.length)]?.uid ?? "nobody";

const coordinate = (max: number) =>
  fc.oneof(fc.double({ min: -5, max: max + 5, noNaN: true }), fc.integer({ min: 0, max }));
const target = (state: State, i: number, k: number) => ({ instance: uidAt(state, i), keypoint: k });
const index = fc.nat(5);
const keypoint = fc.nat(4);

const place: fc.Arbitrary<Move> = fc
  .tuple(coordinate(100), coordinate(80), fc.constantFrom(1, 2))
  .map(([x, y, visibility]) => (_, n) => ({ type: "place", x, y, visibility, uid: `u${n}` }));

const dragged: fc.Arbitrary<Move> = fc
  .tuple(index, keypoint, coordinate(100), coordinate(80))
  .map(([i, k, x, y]) => (state) => ({
    type: "drag",
    drag: { target: target(state, i, k), x, y },
  }));

const steps: fc.Arbitrary<Move> = fc.oneof(
  { weight: 6, arbitrary: place },
  dragged,
  fc.constantFrom<Move>(
    () => ({ type: "drop" }),
    () => ({ type: "skip" }),
    () => ({ type: "back", hovered: null }),
    () => ({ type: "finish" }),
    () => ({ type: "toggle-done" }),
    () => ({ type: "remove", instance: null }),
  ),
  fc.tuple(index, keypoint).map(([i, k]): Move => {
    return (state) => ({ type: "cycle-visibility", target: target(state, i, k) });
  }),
  fc.tuple(index, keypoint).map(([i, k]): Move => {
    return (state) => ({ type: "unlabel", target: target(state, i, k) });
  }),
  fc.tuple(fc.double({ min: -9, max: 9, noNaN: true }), fc.constantFrom(1, 10)).map(
    ([dx, dy]): Move =>
      () => ({ type: "nudge", dx, dy }),
  ),
  index.map(
    (i): Move =>
      (state) => ({ type: "remove", instance: uidAt(state, i) }),
  ),
  fc.tuple(fc.nat(40), fc.nat(40)).map(
    ([x, y]): Move =>
      (_, n) => ({ type: "box", bbox: [x, y, 10, 20], uid: `u${n}` }),
  ),
);

const moves: fc.Arbitrary<Move> = fc.oneof(
  fc.constantFrom<Move>(
    () => ({ type: "leave" }),
    () => ({ type: "step-instance", by: 1 }),
    () => ({ type: "step-instance", by: -1 }),
    () => ({ type: "select", target: null }),
  ),
  keypoint.map(
    (k): Move =>
      () => ({ type: "choose", keypoint: k }),
  ),
  fc.nat(2).map(
    (category): Move =>
      () => ({ type: "category", category }),
  ),
  index.map(
    (i): Move =>
      (state) => ({ type: "activate", instance: uidAt(state, i) }),
  ),
  fc.tuple(index, keypoint).map(([i, k]): Move => {
    return (state) =>
      state.doc.instances.length
        ? { type: "select", target: target(state, i, k) }
        : { type: "select", target: null };
  }),
);

const flags: fc.Arbitrary<Move> = fc.tuple(index, fc.boolean(), fc.boolean()).map(
  ([i, hidden, locked]): Move =>
    (state) => ({ type: "flags", instance: uidAt(state, i), hidden, locked }),
);

const undos = fc.constantFrom<Move>(
  () => ({ type: "undo" }),
  () => ({ type: "undo" }),
  () => ({ type: "redo" }),
);

/** What the kernel does meanwhile: takes `edits` of those waiting, and answers or not. */
interface Kernel {
  readonly edits: number;
  readonly answers: boolean;
}
const kernel: fc.Arbitrary<Kernel> = fc.record({ edits: fc.nat(6), answers: fc.boolean() });
const any = fc.oneof(
  { weight: 8, arbitrary: steps },
  { weight: 3, arbitrary: moves },
  { weight: 2, arbitrary: flags },
  { weight: 4, arbitrary: undos },
);

const begin = (): State => initialState("c", new Python(CATEGORIES).scene(), CATEGORIES);

/** What is compared: ordinals are Python's to number. */
function shown(doc: { instances: readonly SceneInstance[]; cursor: unknown; isDone: boolean }) {
  return {
    instances: doc.instances.map(({ ordinal: _, ...rest }) => rest),
    cursor: doc.cursor,
    isDone: doc.isDone,
  };
}

const ofScene = (scene: Scene) => shown(overlay(scene, []));

const wireOf = (state: State, from: number) =>
  state.pending.filter((e) => e.seq > from).map((e) => ({ seq: e.seq, ...e.body }));

function answer(state: State, python: Python, told: number): State {
  const refused = python.rejected
    .splice(0)
    .map(({ seq, why }) => ({ type: "rejected", client: "c", seq, why }) as const);
  const scene = python.scene();
  const messages: Action[] = [
    { type: "scene", scene },
    ...refused,
    { type: "ack", client: "c", seq: told, version: scene.version },
  ];
  return messages.reduce(reduce, state);
}

// The same scripts on every machine: a run that finds something new belongs to whoever looks for it
// (`fc.configureGlobal` with another seed), not to whoever happens to run the tests.
fc.configureGlobal({ seed: 20261122 });

describe("reduce and Python", () => {
  it("what is shown before an answer is what Python will say", () => {
    let comparisons = 0;
    fc.assert(
      fc.property(fc.array(fc.oneof(any, kernel), { maxLength: 60 }), (script) => {
        let state = begin();
        const python = new Python(CATEGORIES);
        const foreseen = new Python(CATEGORIES);
        let compared = 0;
        for (const [n, item] of script.entries()) {
          if (typeof item === "function") {
            state = reduce(state, item(state, n));
            foreseen.receive("c", wireOf(state, foreseen.applied));
          } else {
            const waiting = wireOf(state, python.applied).slice(0, item.edits);
            python.receive("c", waiting);
            if (item.answers) state = answer(state, python, python.applied);
          }
          // Without its own record of a step the browser leaves an undo to Python.
          const isForeseen = state.pending.every(
            (e) => e.effect || (e.body.op !== "undo" && e.body.op !== "redo"),
          );
          if (!isForeseen) continue;
          compared += 1;
          expect(shown(state.doc)).toEqual(ofScene(foreseen.scene()));
        }
        // The browser sends nothing that Python would refuse, but an undo where there is none.
        for (const { why } of foreseen.rejected) expect(why).toMatch(/^There is nothing to/);
        comparisons += compared;
      }),
      { numRuns: 600 },
    );
    expect(comparisons).toBeGreaterThan(2000);
  });

  it("once all is acknowledged nothing is left over and the two agree", () => {
    const goto = fc.constantFrom<Move>(
      () => ({ type: "goto", to: "next" }),
      () => ({ type: "goto", to: "previous" }),
    );
    const script = fc.array(fc.oneof({ weight: 6, arbitrary: any }, goto, kernel), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(script, (items) => {
        let state = begin();
        const python = new Python(CATEGORIES);
        for (const [n, item] of items.entries()) {
          if (typeof item === "function") state = reduce(state, item(state, n));
          else {
            python.receive("c", wireOf(state, python.applied).slice(0, item.edits));
            if (item.answers) state = answer(state, python, python.applied);
          }
        }
        python.receive("c", wireOf(state, python.applied));
        state = answer(state, python, python.applied);
        expect(state.pending).toEqual([]);
        expect(python.applied).toBe(state.seq);
        expect(shown(state.doc)).toEqual(ofScene(python.scene()));
      }),
      { numRuns: 400 },
    );
  });

  it("a scene that comes before its acknowledgement changes nothing that is seen", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(steps, moves), { maxLength: 30 }), (script) => {
        let state = begin();
        const python = new Python(CATEGORIES);
        for (const [n, move] of script.entries()) state = reduce(state, move(state, n));
        const before = shown(state.doc);
        python.receive("c", wireOf(state, 0));
        state = reduce(state, { type: "scene", scene: python.scene() });
        expect(shown(state.doc)).toEqual(before);
      }),
      { numRuns: 200 },
    );
  });
});

describe("undo", () => {
  const run = (script: readonly Move[]) =>
    script.reduce((state, move, n) => reduce(state, move(state, n)), begin());

  const exhaust = (state: State, type: "undo" | "redo"): State => {
    let at = state;
    const stack = () => (type === "undo" ? at.undoStack : at.redoStack);
    while (stack().length > 0) {
      const before = stack().length;
      at = reduce(at, { type });
      expect(stack().length).toBe(before - 1);
    }
    return at;
  };

  it("of everything gives back what was there at the start", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(steps, moves, undos), { maxLength: 40 }), (script) => {
        const state = exhaust(run(script), "undo");
        expect(state.doc.instances).toEqual([]);
        expect(state.doc.isDone).toBe(false);
      }),
      { numRuns: 300 },
    );
  });

  it("and redo of everything gives back what was there at the end, the cursor included", () => {
    fc.assert(
      fc.property(fc.array(steps, { minLength: 1, maxLength: 40 }), (script) => {
        const end = run(script);
        const undone = exhaust(end, "undo");
        expect(shown(undone.doc)).toEqual(shown(begin().doc));
        const redone = exhaust(undone, "redo");
        expect(shown(redone.doc).instances).toEqual(shown(end.doc).instances);
        expect(redone.doc.isDone).toBe(end.doc.isDone);
        expect(redone.doc.cursor).toEqual(end.doc.cursor);
      }),
      { numRuns: 300 },
    );
  });
});

describe("ink", () => {
  const sameInk = (a: SceneInstance, b: SceneInstance | undefined) =>
    b !== undefined &&
    a.ordinal === b.ordinal &&
    a.hidden === b.hidden &&
    JSON.stringify([a.points, a.bbox]) === JSON.stringify([b.points, b.bbox]);

  it("leaves no instance neither painted nor inked, and nothing on show that has changed", () => {
    const before = fc.array(any, { maxLength: 20 });
    const after = fc.array(fc.oneof(any, dragged), { maxLength: 10 });
    fc.assert(
      fc.property(before, after, fc.boolean(), (first, second, isBlank) => {
        let state = begin();
        const python = new Python(CATEGORIES);
        let n = 0;
        for (const move of first) state = reduce(state, move(state, n++));
        python.receive("c", wireOf(state, 0));
        state = answer(state, python, python.applied);
        state = reduce(state, { type: "painted", scene: state.scene });
        for (const move of second) state = reduce(state, move(state, n++));

        const plan = inkPlan(state, isBlank);
        const painted = state.painted?.scene.instances ?? [];
        const active = state.painted?.active;
        const layerIsShown = (uid: string) =>
          uid === active ? !plan.hideActive : !plan.hideSkeletons;
        const inked = new Map(plan.instances.map((i) => [i.uid, i]));
        expect(inked.size).toBe(plan.instances.length);
        for (const instance of state.doc.instances) {
          const ink = inked.get(instance.uid);
          if (instance.hidden) {
            expect(ink).toBeUndefined();
            continue;
          }
          const old = painted.find((i) => i.uid === instance.uid);
          const isDragged = state.drag?.target.instance === instance.uid;
          if (ink) {
            expect(isDragged ? { ...ink, points: [] } : ink).toEqual(
              isDragged ? { ...instance, points: [] } : instance,
            );
            continue;
          }
          expect(old && layerIsShown(old.uid) && sameInk(old, instance)).toBe(true);
        }
        if (!isBlank)
          for (const old of painted) {
            if (old.hidden || !layerIsShown(old.uid)) continue;
            const now = state.doc.byUid.get(old.uid);
            expect(sameInk(old, now)).toBe(true);
          }
        // The active one is inked in its own style, last, unless its layer shows it.
        const uid = state.drag?.target.instance ?? activeInstance(state)?.uid;
        if (uid !== undefined && inked.has(uid)) expect(plan.instances.at(-1)?.uid).toBe(uid);
        if (uid !== undefined && uid !== active && !state.doc.byUid.get(uid)?.hidden)
          expect(state.doc.byUid.has(uid) ? inked.has(uid) : true).toBe(true);
      }),
      { numRuns: 400 },
    );
  });
});
