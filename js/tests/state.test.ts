// @vitest-environment node
import { describe, expect, it } from "vitest";
import type { Action, Entry, State } from "../src/state";
import {
  activeInstance,
  announce,
  countLabeled,
  draggedInstance,
  inkPlan,
  nextName,
  openFindings,
  reduce,
  startsNewInstance,
} from "../src/state";
import {
  act,
  click,
  finding,
  instance,
  lastBody,
  pointOf,
  scene,
  sceneOfImage,
  start,
  wholeFace,
} from "./builders";

const opened = (uid = "f", more = {}) =>
  start({
    instances: [wholeFace("f", 20, 20), wholeFace("g", 60, 40, { ordinal: 1 })],
    cursor: { category: 0, instance: uid, keypoint: null },
    ...more,
  });
const locked = () => opened("f", { instances: [wholeFace("f", 20, 20, { locked: true })] });
const LOCKED = /locked: unlock it in the label stack/;
const LEAVING = /next image is on its way/;

describe("place", () => {
  it("starts an instance with the first keypoint, unrounded, and sends one edit", () => {
    const state = act(start(), click(10.123456789, 20.5, 2, "new"));
    expect(pointOf(state, "new", 0)).toEqual([10.123456789, 20.5, 2]);
    expect(state.pending).toHaveLength(1);
    expect(lastBody(state)).toEqual({
      op: "point",
      image: 0,
      instance: "new",
      keypoint: 0,
      x: 10.123456789,
      y: 20.5,
      visibility: 2,
      next: [0, "new", 1],
      new: true,
    });
    expect(state.pending[0]).toMatchObject({ client: "c", seq: 1, image: 0, version: null });
    expect(state.spoken).toBe("top placed. Next: left.");
  });

  it("goes through the keypoints in order and finishes with the last", () => {
    const state = act(start(), click(1, 1, 2, "a"), click(2, 2), click(3, 3, 1), click(4, 4));
    expect(activeInstance(state)?.points).toEqual([1, 1, 2, 2, 2, 2, 3, 3, 1, 4, 4, 2]);
    expect(activeInstance(state)?.finished).toBe(true);
    expect(lastBody(state)).toMatchObject({ finish: true, next: [0, "a", null] });
    expect(state.pending.slice(0, 3).every((e) => !("finish" in e.body))).toBe(true);
    expect(nextName(state)).toBe(0);
    expect(startsNewInstance(state)).toBe(true);
    expect(announce(state)).toBe("Next: top of a new instance.");
  });

  it("starts a second instance with the click after the last keypoint", () => {
    const first = act(start(), click(1, 1, 2, "a"), click(2, 2), click(3, 3), click(4, 4));
    const state = act(first, click(50, 50, 2, "b"));
    expect(state.doc.instances.map((i) => i.uid)).toEqual(["a", "b"]);
    expect(state.doc.byUid.get("b")?.ordinal).toBe(1);
    expect(pointOf(state, "a", 0)).toEqual([1, 1, 2]);
    expect(pointOf(state, "b", 0)).toEqual([50, 50, 2]);
  });

  it("passes over keypoints that are labeled already", () => {
    const state = start({
      instances: [instance("f", { 1: [5, 5, 2] })],
      cursor: { category: 0, instance: "f", keypoint: 0 },
    });
    expect(act(state, click(1, 1)).doc.cursor.keypoint).toBe(2);
  });

  it("in an instance that is finished moves the chosen keypoint and stays finished", () => {
    const state = act(opened(), { type: "choose", keypoint: 1 }, click(33, 34));
    expect(pointOf(state, "f", 1)).toEqual([33, 34, 2]);
    expect(state.doc.cursor).toEqual({ category: 0, instance: "f", keypoint: null });
    expect(lastBody(state)).not.toHaveProperty("finish");
    expect(lastBody(state)).not.toHaveProperty("new");
  });

  it("shows a hidden instance again", () => {
    const state = start({
      instances: [instance("f", { 0: [5, 5, 2] }, { hidden: true })],
      cursor: { category: 0, instance: "f", keypoint: 1 },
    });
    expect(act(state, click(8, 8)).doc.byUid.get("f")?.hidden).toBe(false);
  });

  it.each([
    ["left of", -0.001, 10],
    ["above", 10, -0.001],
    ["right of", 100.001, 10],
    ["below", 10, 80.001],
    ["at no number of", Number.NaN, 10],
  ])("is refused %s the image, in words", (_, x, y) => {
    const state = act(start(), click(x, y));
    expect(state.pending).toEqual([]);
    expect(state.hint).toBe("Outside the image: nothing was placed.");
    expect(state.spoken).toBe(state.hint);
  });

  it.each([
    ["top left", 0, 0],
    ["bottom right", 100, 80],
  ])("takes the very %s corner", (_, x, y) => {
    expect(act(start(), click(x, y)).pending).toHaveLength(1);
  });

  it("is refused on a locked instance, without an image, on a broken one, and while leaving", () => {
    const open = act(locked(), { type: "choose", keypoint: 0 });
    expect(act(open, click(1, 1)).hint).toMatch(LOCKED);
    expect(act(start({ image: null }), click(1, 1)).hint).toBe("There is no image.");
    const image = scene().image;
    const broken = start({ image: image && { ...image, error: "truncated" } });
    expect(act(broken, click(1, 1)).hint).toMatch(/cannot be shown/);
    const leaving = act(start(), { type: "goto", to: 1 }, click(1, 1));
    expect(leaving.hint).toMatch(LEAVING);
    expect(leaving.pending).toHaveLength(1);
  });

  it("with another category active labels that one", () => {
    const state = act(start(), { type: "category", category: 1 }, click(3, 4, 2, "s"));
    expect(state.doc.byUid.get("s")).toMatchObject({ category: 1, points: [3, 4, 2, 0, 0, 0] });
    expect(act(state, click(5, 6)).doc.byUid.get("s")?.finished).toBe(true);
  });
});

describe("skip and finish", () => {
  it("skips a keypoint as one undo step and sends no instance", () => {
    const state = act(start(), { type: "skip" });
    expect(lastBody(state)).toEqual({ op: "skip", image: 0, next: [0, null, 1] });
    expect(state.undoStack).toHaveLength(1);
    expect(nextName(state)).toBe(1);
    expect(state.spoken).toBe("top skipped. Next: left of a new instance.");
  });

  it("starts an instance at the keypoint skipped to", () => {
    const state = act(start(), { type: "skip" }, click(7, 8, 2, "n"));
    expect(state.doc.byUid.get("n")?.points).toEqual([0, 0, 0, 7, 8, 2, 0, 0, 0, 0, 0, 0]);
  });

  it("comes back to the first keypoint after skipping all", () => {
    const skip: Action = { type: "skip" };
    expect(nextName(act(start(), skip, skip, skip, skip))).toBe(0);
  });

  it("of the last keypoint finishes the instance", () => {
    const state = act(start(), click(1, 1, 2, "a"), click(2, 2), click(3, 3), { type: "skip" });
    expect(lastBody(state)).toEqual({
      op: "finish",
      image: 0,
      instance: "a",
      next: [0, "a", null],
    });
    expect(state.doc.byUid.get("a")?.finished).toBe(true);
  });

  it("passes over keypoints that are labeled already", () => {
    const state = start({
      instances: [instance("f", { 1: [5, 5, 2] })],
      cursor: { category: 0, instance: "f", keypoint: 0 },
    });
    expect(act(state, { type: "skip" }).doc.cursor.keypoint).toBe(2);
  });

  it("finishes early, and only an instance that is under way", () => {
    const state = act(start(), click(1, 1, 2, "a"), { type: "finish" });
    expect(lastBody(state)).toEqual({
      op: "finish",
      image: 0,
      instance: "a",
      next: [0, "a", null],
    });
    expect(state.spoken).toBe("Finished. Next: top of a new instance.");
    expect(act(state, { type: "finish" }).hint).toBe("There is no instance under way.");
    expect(act(start(), { type: "finish" }).hint).toBe("There is no instance under way.");
  });

  it("finishing one that is finished already is a step: redoing everything ends there", () => {
    const state = act(opened(), { type: "choose", keypoint: 2 }, { type: "finish" });
    expect(lastBody(state)).toEqual({
      op: "finish",
      image: 0,
      instance: "f",
      next: [0, "f", null],
    });
  });

  it("a locked instance is not finished, an unlabeled point not dragged", () => {
    const locked = act(
      start(),
      click(1, 1, 2, "a"),
      { type: "flags", instance: "a", locked: true },
      { type: "finish" },
    );
    expect(locked.doc.byUid.get("a")?.finished).toBe(false);
    const dragged = act(start(), click(1, 1, 2, "a"), {
      type: "drag",
      drag: { target: { instance: "a", keypoint: 2 }, x: 5, y: 5 },
    });
    expect(dragged.drag).toBe(null);
  });

  it("leaving keeps the instance as it is", () => {
    const state = act(start(), click(1, 1, 2, "a"), { type: "leave" });
    expect(state.doc.byUid.get("a")?.finished).toBe(false);
    expect(state.doc.cursor).toEqual({ category: 0, instance: null, keypoint: 0 });
  });

  it("going back to an unfinished instance goes on behind its last point", () => {
    const left = act(start(), click(1, 1, 2, "a"), { type: "skip" }, click(3, 3), {
      type: "leave",
    });
    const state = act(left, { type: "activate", instance: "a" });
    expect(state.doc.cursor).toEqual({ category: 0, instance: "a", keypoint: 3 });
  });
});

describe("back", () => {
  const back: Action = { type: "back", hovered: null };

  it("unlabels the point before and asks for it again", () => {
    const state = act(start(), click(1, 1, 2, "a"), click(2, 2), back);
    expect(pointOf(state, "a", 1)).toEqual([0, 0, 0]);
    expect(state.doc.cursor.keypoint).toBe(1);
    expect(lastBody(state)).toMatchObject({ op: "point", keypoint: 1, visibility: 0 });
  });

  it("from the only point removes the instance", () => {
    const state = act(start(), click(1, 1, 2, "a"), back);
    expect(state.doc.instances).toEqual([]);
    expect(lastBody(state)).toEqual({ op: "remove", image: 0, instance: "a", next: [0, null, 0] });
  });

  it("from the only point of an instance with a drawn box keeps the box", () => {
    const boxed = act(start(), { type: "box", bbox: [1, 2, 30, 20], uid: "a" });
    const state = act(boxed, click(5, 5), back);
    expect(state.doc.byUid.get("a")?.bbox).toEqual([1, 2, 30, 20]);
    expect(pointOf(state, "a", 0)).toEqual([0, 0, 0]);
    expect(state.doc.cursor).toEqual({ category: 0, instance: "a", keypoint: 0 });
  });

  it("over a skipped keypoint only moves there", () => {
    const state = act(start(), click(1, 1, 2, "a"), { type: "skip" }, back);
    expect(countLabeled(activeInstance(state) as never)).toBe(1);
    expect(lastBody(state)).toEqual({ op: "skip", image: 0, next: [0, "a", 1] });
  });

  it("before the first click takes a skip back", () => {
    const state = act(start(), { type: "skip" }, { type: "skip" }, back);
    expect(nextName(state)).toBe(1);
  });

  it("after the last keypoint unlabels the last labeled one", () => {
    const state = act(opened(), back);
    expect(pointOf(state, "f", 3)).toEqual([0, 0, 0]);
    expect(state.doc.cursor).toEqual({ category: 0, instance: "f", keypoint: 3 });
  });

  it("with a point selected unlabels that one", () => {
    const selected = act(opened(), { type: "select", target: { instance: "f", keypoint: 1 } });
    const state = act(selected, back);
    expect(pointOf(state, "f", 1)).toEqual([0, 0, 0]);
    expect(pointOf(state, "f", 3)).not.toEqual([0, 0, 0]);
    expect(state.selected).toBeNull();
  });

  it("says so where there is nothing before", () => {
    expect(act(start(), back).hint).toBe("There is nothing to go back to.");
    const first = start({
      instances: [instance("f", { 1: [5, 5, 2] })],
      cursor: { category: 0, instance: "f", keypoint: 0 },
    });
    expect(act(first, back).hint).toBe("This is the first keypoint.");
    expect(act(locked(), back).hint).toMatch(LOCKED);
    expect(act(start(), { type: "goto", to: 1 }, back).hint).toMatch(LEAVING);
  });
});

describe("choose, select, drag, nudge", () => {
  it("chooses the keypoint of the next click and selects its point", () => {
    const state = act(opened(), { type: "choose", keypoint: 2 });
    expect(state.doc.cursor.keypoint).toBe(2);
    expect(state.selected).toEqual({ instance: "f", keypoint: 2 });
    expect(lastBody(state)).toEqual({ op: "cursor", image: 0, next: [0, "f", 2] });
    expect(state.undoStack).toEqual([]);
  });

  it("refuses a number that the schema does not have", () => {
    const state = act(start(), { type: "choose", keypoint: 4 });
    expect(state.hint).toBe("There is no keypoint number 5.");
    expect(state.pending).toEqual([]);
    expect(act(start(), { type: "goto", to: 1 }, { type: "choose", keypoint: 0 }).hint).toMatch(
      LEAVING,
    );
  });

  it("selecting a point of another instance makes that one active", () => {
    const target = { instance: "g", keypoint: 0 };
    const state = act(opened(), { type: "select", target });
    expect(state.selected).toEqual(target);
    expect(state.doc.cursor.instance).toBe("g");
    expect(act(state, { type: "select", target: null }).selected).toBeNull();
  });

  it("a drag sends nothing until it is dropped, then one edit and one undo step", () => {
    const target = { instance: "f", keypoint: 0 };
    const moving = act(
      opened(),
      { type: "drag", drag: { target, x: 30, y: 31 } },
      { type: "drag", drag: { target, x: 40, y: 41 } },
    );
    expect(moving.pending).toEqual([]);
    expect(draggedInstance(moving)?.points.slice(0, 3)).toEqual([40, 41, 2]);
    expect(pointOf(moving, "f", 0)).toEqual([20, 15, 2]);
    const state = act(moving, { type: "drop" });
    expect(pointOf(state, "f", 0)).toEqual([40, 41, 2]);
    expect(state.pending).toHaveLength(1);
    expect(state.undoStack).toHaveLength(1);
    expect(state).toMatchObject({ drag: null, selected: target, spoken: "top moved." });
    expect(pointOf(act(state, { type: "undo" }), "f", 0)).toEqual([20, 15, 2]);
  });

  it("an occluded point stays occluded when dragged", () => {
    const drag = { target: { instance: "f", keypoint: 2 }, x: 1, y: 2 };
    expect(pointOf(act(opened(), { type: "drag", drag }, { type: "drop" }), "f", 2)[2]).toBe(1);
  });

  it("a drop outside the image ends on its border", () => {
    const drag = { target: { instance: "f", keypoint: 0 }, x: -50, y: 500 };
    expect(pointOf(act(opened(), { type: "drag", drag }, { type: "drop" }), "f", 0)).toEqual([
      0, 80, 2,
    ]);
  });

  it("dropping a point of another instance makes that one active", () => {
    const drag = { target: { instance: "g", keypoint: 0 }, x: 50, y: 50 };
    const state = act(opened(), { type: "drag", drag }, { type: "drop" });
    expect(state.doc.cursor).toEqual({ category: 0, instance: "g", keypoint: null });
  });

  it("a drag that is called off, or whose instance is gone, changes nothing", () => {
    const drag = { target: { instance: "f", keypoint: 0 }, x: 1, y: 2 };
    const off = act(
      opened(),
      { type: "drag", drag },
      { type: "drag", drag: null },
      { type: "drop" },
    );
    expect(off.pending).toEqual([]);
    const gone = act(
      opened(),
      { type: "drag", drag },
      { type: "scene", scene: scene({ version: 2 }) },
    );
    expect(gone.drag).toBeNull();
    expect(act(gone, { type: "drop" }).pending).toEqual([]);
  });

  it("a locked instance is not dragged, and the press on it places nothing", () => {
    const drag = { target: { instance: "f", keypoint: 0 }, x: 1, y: 2 };
    const pressed = act(locked(), { type: "press", press: { x: 20, y: 15, visibility: 2 } });
    const state = act(pressed, { type: "drag", drag });
    expect(state.hint).toMatch(LOCKED);
    expect(state.drag).toBeNull();
    expect(state.press).toBeNull();
  });

  it("nudges the selected point and stops at the border", () => {
    const target = { instance: "f", keypoint: 0 };
    const selected = act(opened(), { type: "select", target });
    const state = act(selected, { type: "nudge", dx: 0.1, dy: -1 });
    expect(pointOf(state, "f", 0)).toEqual([20.1, 14, 2]);
    expect(state.selected).toEqual(target);
    expect(pointOf(act(state, { type: "nudge", dx: -500, dy: 500 }), "f", 0)).toEqual([0, 80, 2]);
  });

  it("nudging needs a selected point, unlocked", () => {
    const nudge: Action = { type: "nudge", dx: 1, dy: 0 };
    expect(act(opened(), nudge).hint).toMatch(/Select a point first/);
    const selected = act(locked(), { type: "select", target: { instance: "f", keypoint: 0 } });
    expect(act(selected, nudge).hint).toMatch(LOCKED);
    expect(act(selected, nudge).pending).toEqual(selected.pending);
  });
});

describe("visibility, unlabel, remove", () => {
  it("cycles visible and occluded and keeps the location", () => {
    const target = { instance: "f", keypoint: 0 };
    const once = act(opened(), { type: "cycle-visibility", target });
    expect(pointOf(once, "f", 0)).toEqual([20, 15, 1]);
    expect(once.spoken).toBe("top is occluded.");
    expect(pointOf(act(once, { type: "cycle-visibility", target }), "f", 0)).toEqual([20, 15, 2]);
  });

  it("takes the selected point when none is under the pointer", () => {
    const target = { instance: "f", keypoint: 2 };
    const state = act(
      opened(),
      { type: "select", target },
      { type: "cycle-visibility", target: null },
    );
    expect(pointOf(state, "f", 2)[2]).toBe(2);
  });

  it("says so where there is no point or it is locked", () => {
    const cycle: Action = { type: "cycle-visibility", target: { instance: "f", keypoint: 0 } };
    expect(act(opened(), { ...cycle, target: null }).hint).toMatch(/Point at a placed keypoint/);
    expect(act(locked(), cycle).hint).toMatch(LOCKED);
  });

  it("unlabels a point of the active instance and asks for it", () => {
    const state = act(opened(), { type: "unlabel", target: { instance: "f", keypoint: 2 } });
    expect(pointOf(state, "f", 2)).toEqual([0, 0, 0]);
    expect(state.doc.cursor).toEqual({ category: 0, instance: "f", keypoint: 2 });
    expect(state.spoken).toBe("right unlabeled. Next: right.");
  });

  it("unlabel without a point removes the active instance", () => {
    const state = act(opened(), { type: "unlabel", target: null });
    expect(state.doc.instances.map((i) => i.uid)).toEqual(["g"]);
    expect(state.doc.cursor).toEqual({ category: 0, instance: null, keypoint: 0 });
  });

  it("unlabel says so without point and instance, on no point, and on a locked one", () => {
    expect(act(start(), { type: "unlabel", target: null }).hint).toMatch(/Select an instance/);
    const off = act(opened(), { type: "unlabel", target: { instance: "f", keypoint: 2 } });
    const again = act(off, { type: "unlabel", target: { instance: "f", keypoint: 2 } });
    expect(again.hint).toBe("No point there.");
    expect(act(locked(), { type: "unlabel", target: { instance: "f", keypoint: 0 } }).hint).toMatch(
      LOCKED,
    );
    expect(act(locked(), { type: "unlabel", target: null }).hint).toMatch(LOCKED);
  });

  it("removes another than the active instance without moving on", () => {
    const state = act(opened(), { type: "remove", instance: "g" });
    expect(state.doc.instances.map((i) => i.uid)).toEqual(["f"]);
    expect(state.doc.cursor.instance).toBe("f");
    expect(lastBody(state)).toEqual({
      op: "remove",
      image: 0,
      instance: "g",
      next: [0, "f", null],
    });
  });

  it("says so when there is none to remove, it is locked, or the image is leaving", () => {
    expect(act(start(), { type: "remove", instance: null }).hint).toBe("Select an instance first.");
    expect(act(locked(), { type: "remove", instance: null }).hint).toMatch(LOCKED);
    const leaving = act(opened(), { type: "goto", to: 1 }, { type: "remove", instance: null });
    expect(leaving.hint).toMatch(LEAVING);
  });

  it("hides and locks one instance, which is no undo step", () => {
    const state = act(opened(), { type: "flags", instance: "g", hidden: true });
    expect(state.doc.byUid.get("g")).toMatchObject({ hidden: true, locked: false });
    expect(lastBody(state)).toEqual({
      op: "flags",
      image: 0,
      instance: "g",
      hidden: true,
      locked: false,
    });
    expect(state.undoStack).toEqual([]);
    const unknown = act(state, { type: "flags", instance: "nobody", locked: true });
    expect(unknown).toBe(state);
  });
});

describe("instances, categories, boxes, status", () => {
  it("steps through the instances both ways and around", () => {
    const step = (state: State, by: 1 | -1) => act(state, { type: "step-instance", by });
    const at = (state: State) => state.doc.cursor.instance;
    const one = opened("f");
    expect(at(step(one, 1))).toBe("g");
    expect(at(step(step(one, 1), 1))).toBe("f");
    expect(at(step(one, -1))).toBe("g");
    const none = opened("f", { cursor: { category: 0, instance: null, keypoint: 0 } });
    expect(at(step(none, 1))).toBe("f");
    expect(at(step(none, -1))).toBe("g");
    expect(step(start(), 1).hint).toBe("There is no instance in this image.");
  });

  it("activating an unknown instance changes nothing", () => {
    const state = opened();
    expect(act(state, { type: "activate", instance: "nobody" })).toBe(state);
  });

  it("changing the category leaves the instance", () => {
    const state = act(opened(), { type: "category", category: 1 });
    expect(state.doc.cursor).toEqual({ category: 1, instance: null, keypoint: 0 });
    expect(act(state, { type: "category", category: 2 })).toBe(state);
  });

  it("draws the box of the active instance", () => {
    const state = act(
      opened(),
      { type: "box-mode", isOn: true },
      { type: "box-draft", draft: { x0: 1, y0: 2, x1: 3, y1: 4 } },
      { type: "box", bbox: [1, 2, 3, 4], uid: "unused" },
    );
    expect(state.doc.byUid.get("f")?.bbox).toEqual([1, 2, 3, 4]);
    expect(state).toMatchObject({ isBoxMode: false, boxDraft: null, spoken: "Box drawn." });
    expect(state.doc.byUid.has("unused")).toBe(false);
    expect(act(state, { type: "undo" }).doc.byUid.get("f")?.bbox).toBeNull();
  });

  it("a box without an active instance starts one that asks for the next keypoint", () => {
    const state = act(start(), { type: "skip" }, { type: "box", bbox: [1, 2, 3, 4], uid: "b" });
    expect(state.doc.byUid.get("b")).toMatchObject({ bbox: [1, 2, 3, 4], finished: false });
    expect(lastBody(state)).toEqual({
      op: "box",
      image: 0,
      instance: "b",
      bbox: [1, 2, 3, 4],
      next: [0, "b", 1],
      new: true,
    });
  });

  it("a box is refused on a locked instance and while leaving", () => {
    const box: Action = { type: "box", bbox: [1, 2, 3, 4], uid: "b" };
    expect(act(locked(), box).hint).toMatch(LOCKED);
    expect(act(start(), { type: "goto", to: 1 }, box).hint).toMatch(LEAVING);
  });

  it("toggles done, and undo takes it back", () => {
    const state = act(start(), { type: "toggle-done" });
    expect(state.doc.isDone).toBe(true);
    expect(lastBody(state)).toEqual({ op: "status", image: 0, done: true });
    expect(act(state, { type: "toggle-done" }).doc.isDone).toBe(false);
    expect(act(state, { type: "undo" }).doc.isDone).toBe(false);
    expect(act(state, { type: "undo" }, { type: "redo" }).doc.isDone).toBe(true);
  });

  it("goto and save are edits without an effect of their own", () => {
    const state = act(start(), { type: "save" }, { type: "goto", to: "next" });
    expect(state.pending.map((e) => e.body)).toEqual([{ op: "save" }, { op: "goto", to: "next" }]);
    expect(state.pending.map((e) => e.image)).toEqual([-1, -1]);
    expect(state.doc.isLeaving).toBe(true);
  });

  it("switches of the view send nothing", () => {
    const state = act(
      start(),
      { type: "toggle-skeletons" },
      { type: "toggle-names" },
      { type: "toggle-help" },
      { type: "filter", brightness: 1.5, contrast: 0.5 },
      { type: "connected", isConnected: false },
      { type: "hint", text: "hello" },
    );
    expect(state.pending).toEqual([]);
    expect(state).toMatchObject({
      showSkeletons: false,
      showNames: true,
      isHelpOpen: true,
      brightness: 1.5,
      contrast: 0.5,
      isConnected: false,
      hint: "hello",
    });
    expect(act(state, { type: "hint", text: "hello" })).toBe(state);
    expect(act(state, { type: "toggle-help", isOpen: true }).isHelpOpen).toBe(true);
    expect(act(state, { type: "categories", categories: [] }).categories).toEqual([]);
  });
});

describe("undo and redo", () => {
  it("a skip is one step, and redo gives the next keypoint back", () => {
    const state = act(start(), click(1, 1, 2, "a"), { type: "skip" });
    const undone = act(state, { type: "undo" });
    expect(undone.doc.cursor).toEqual({ category: 0, instance: "a", keypoint: 1 });
    expect(act(undone, { type: "redo" }).doc.cursor).toEqual(state.doc.cursor);
  });

  it("of a removal brings the instance back to its place", () => {
    const state = act(opened("g"), { type: "remove", instance: "f" }, { type: "undo" });
    expect(state.doc.instances.map((i) => i.uid)).toEqual(["f", "g"]);
  });

  it("leaves hidden and locked as they are now: flags are no steps", () => {
    const state = act(
      opened(),
      { type: "cycle-visibility", target: { instance: "f", keypoint: 0 } },
      { type: "flags", instance: "f", hidden: true, locked: true },
      { type: "undo" },
    );
    expect(state.doc.byUid.get("f")).toMatchObject({ hidden: true, locked: true });
    expect(pointOf(state, "f", 0)).toEqual([20, 15, 2]);
  });

  it("what Python alone knows can be redone before it has answered the undo", () => {
    const top = { label: "place top", token: ["other", 3] as const };
    const undone = act(start({ undo: top }), { type: "undo" });
    expect(lastBody(act(undone, { type: "redo" }))).toEqual({ op: "redo", image: 0 });
  });

  it("a new step clears what could be redone", () => {
    const state = act(start(), click(1, 1), { type: "undo" }, { type: "skip" }, { type: "redo" });
    expect(state.hint).toBe("There is nothing to redo.");
  });

  it("with nothing to take back says so and sends nothing", () => {
    const state = act(start(), { type: "undo" });
    expect(state.hint).toBe("There is nothing to undo.");
    expect(act(start(), { type: "redo" }).hint).toBe("There is nothing to redo.");
    expect(state.pending).toEqual([]);
  });

  it("of a step that only Python knows is asked for and shows with its scene", () => {
    const top = { label: "place top", token: null };
    const undone = act(opened("f", { undo: top }), { type: "undo" });
    expect(undone.pending).toHaveLength(1);
    expect(undone.pending[0]).toMatchObject({ body: { op: "undo" }, effect: null, image: -1 });
    expect(undone.doc.instances).toEqual(opened().doc.instances);
    const redone = act(opened("f", { redo: top }), { type: "redo" });
    expect(redone.pending[0]).toMatchObject({ body: { op: "redo" }, effect: null });
  });

  it("of a step on another image has no effect here until Python goes there", () => {
    const placed = act(start(), click(1, 1, 2, "a"));
    const other = act(
      placed,
      { type: "ack", client: "c", seq: 1, version: 2 },
      {
        type: "scene",
        scene: sceneOfImage(1, { version: 2, undo: { label: "place", token: ["c", 1] } }),
      },
    );
    const undone = act(other, { type: "undo" });
    expect(undone.pending[0]).toMatchObject({ effect: null, image: -1 });
    expect(undone.undoStack).toEqual([]);
    expect(undone.redoStack).toHaveLength(1);
  });

  it("of ours is forgotten when Python's next undo is another step", () => {
    const placed = act(start(), click(1, 1, 2, "a"), {
      type: "ack",
      client: "c",
      seq: 1,
      version: 2,
    });
    const theirs = scene({ version: 2, undo: { label: "other view", token: ["x", 9] } });
    expect(act(placed, { type: "scene", scene: theirs }).undoStack).toEqual([]);
    const ours = scene({ version: 2, undo: { label: "place", token: ["c", 1] } });
    expect(act(placed, { type: "scene", scene: ours }).undoStack).toHaveLength(1);
  });

  it("keeps the stacks while edits are on their way", () => {
    const placed = act(start(), click(1, 1, 2, "a"), click(2, 2));
    const early = scene({ version: 2, undo: { label: "place", token: ["c", 1] } });
    expect(act(placed, { type: "scene", scene: early }).undoStack).toHaveLength(2);
  });
});

describe("what Python says", () => {
  it("an acknowledged edit stays on the screen until the scene that holds it is there", () => {
    const placed = act(start(), click(1, 1, 2, "a"));
    const acked = act(placed, { type: "ack", client: "c", seq: 1, version: 5 });
    expect(acked.pending[0]?.version).toBe(5);
    expect(acked.doc.byUid.has("a")).toBe(true);
    const old = act(acked, { type: "scene", scene: scene({ version: 4 }) });
    expect(old.doc.byUid.has("a")).toBe(true);
    const fresh = scene({ version: 5, instances: [instance("a", { 0: [1, 1, 2] })] });
    const state = act(old, { type: "scene", scene: fresh });
    expect(state.pending).toEqual([]);
    expect(pointOf(state, "a", 0)).toEqual([1, 1, 2]);
  });

  it("an acknowledgement behind its scene clears the edit at once", () => {
    const placed = act(start(), click(1, 1, 2, "a"), {
      type: "scene",
      scene: scene({ version: 3 }),
    });
    expect(placed.doc.byUid.has("a")).toBe(true);
    expect(act(placed, { type: "ack", client: "c", seq: 1, version: 3 }).pending).toEqual([]);
  });

  it("acknowledges everything up to a number, and of that client alone", () => {
    const placed = act(start(), click(1, 1), click(2, 2), click(3, 3));
    const state = act(
      placed,
      { type: "ack", client: "c", seq: 2, version: 9 },
      { type: "ack", client: "other", seq: 3, version: 9 },
    );
    expect(state.pending.map((e) => e.version)).toEqual([9, 9, null]);
  });

  it("an edit that is refused is taken off the screen and told", () => {
    const placed = act(start(), click(1, 1, 2, "a"), click(2, 2));
    const state = act(placed, { type: "rejected", client: "c", seq: 2, why: "no" });
    expect(pointOf(state, "a", 1)).toEqual([0, 0, 0]);
    expect(pointOf(state, "a", 0)).toEqual([1, 1, 2]);
    expect(state.notices).toMatchObject([{ level: "error", text: "no" }]);
    expect(state.spoken).toBe("no");
    expect(state.undoStack).toEqual([]);
  });

  it("another image ends drag, press, selection and box", () => {
    const busy = act(
      opened(),
      { type: "select", target: { instance: "f", keypoint: 0 } },
      { type: "press", press: { x: 1, y: 1, visibility: 2 } },
      { type: "box-draft", draft: { x0: 0, y0: 0, x1: 1, y1: 1 } },
    );
    const dragging = act(opened(), {
      type: "drag",
      drag: { target: { instance: "f", keypoint: 0 }, x: 2, y: 2 },
    });
    const other = sceneOfImage(1, { version: 2, instances: [wholeFace("f", 1, 1)] });
    const state = act(busy, { type: "scene", scene: other });
    expect(state).toMatchObject({ selected: null, press: null, boxDraft: null });
    expect(act(dragging, { type: "scene", scene: other }).drag).toBeNull();
  });

  it("the same image again keeps them", () => {
    const target = { instance: "f", keypoint: 0 };
    const busy = act(
      opened(),
      { type: "select", target },
      { type: "drag", drag: { target, x: 2, y: 2 } },
    );
    const state = act(busy, { type: "scene", scene: { ...busy.scene, version: 2 } });
    expect(state.selected).toEqual(target);
    expect(state.drag?.x).toBe(2);
  });

  it("edits of an image wait for it while another is shown", () => {
    const placed = act(start(), click(1, 1, 2, "a"), { type: "goto", to: 1 });
    const there = act(placed, { type: "scene", scene: sceneOfImage(1, { version: 2 }) });
    expect(there.doc.instances).toEqual([]);
    const here = act(there, { type: "scene", scene: sceneOfImage(0, { version: 3 }) });
    expect(here.doc.byUid.has("a")).toBe(true);
  });

  it("restored edits stand before our own", () => {
    const entry: Entry = {
      client: "old",
      seq: 4,
      body: { op: "save" },
      image: -1,
      effect: null,
      version: null,
    };
    const state = act(start(), { type: "skip" }, { type: "restore", entries: [entry] });
    expect(state.pending.map((e) => e.client)).toEqual(["old", "c"]);
    const done = act(state, { type: "ack", client: "old", seq: 4, version: 1 });
    expect(done.pending.map((e) => e.client)).toEqual(["c"]);
  });

  it("notices do not repeat and do not pile up; each can be dismissed", () => {
    const say = (text: string): Action => ({ type: "notice", level: "info", text });
    const state = act(start(), ...["a", "b", "a", "c", "d", "e", "f"].map(say));
    expect(state.notices.map((n) => n.text)).toEqual(["c", "d", "e", "f"]);
    expect(new Set(state.notices.map((n) => n.id)).size).toBe(4);
    const id = state.notices[1]?.id as number;
    expect(act(state, { type: "dismiss", id }).notices.map((n) => n.text)).toEqual(["c", "e", "f"]);
  });

  it("a press and its release leave no trace", () => {
    const state = act(start(), { type: "press", press: { x: 1, y: 2, visibility: 1 } });
    expect(state.press).toEqual({ x: 1, y: 2, visibility: 1 });
    expect(act(state, { type: "press", press: null }).press).toBeNull();
    expect(act(state, click(1, 2)).press).toBeNull();
  });
});

describe("findings", () => {
  const found = (more = {}) => opened("f", { findings: [finding("one"), finding("two")], ...more });
  const keys = (state: State) => openFindings(state).map(({ key }) => key);

  it.each(["decide", "repair"] as const)("%s is sent and not asked again", (type) => {
    const state = act(found(), { type, finding: "one" });
    expect(lastBody(state)).toEqual({ op: type, image: 0, finding: "one" });
    expect(keys(state)).toEqual(["two"]);
    expect(act(state, { type, finding: "one" })).toBe(state);
    const refused = act(state, { type: "rejected", client: "c", seq: 1, why: "no" });
    expect(keys(refused)).toEqual(["one", "two"]);
  });

  it("undo after an answer is Python's to tell", () => {
    const moved = act(found(), { type: "select", target: { instance: "f", keypoint: 1 } });
    const nudged = act(moved, { type: "nudge", dx: 1, dy: 0 });
    const state = act(nudged, { type: "decide", finding: "one" }, { type: "undo" });
    expect(lastBody(state)).toEqual({ op: "undo", image: 0 });
    // Not the step before, which would show the point where it was.
    expect(pointOf(state, "f", 1)).toEqual(pointOf(nudged, "f", 1));
  });

  it("of a locked instance, or one that is gone, are not answered", () => {
    const bars = { instances: [wholeFace("f", 20, 20, { locked: true })] };
    const state = act(found(bars), { type: "repair", finding: "one" });
    expect(state.pending).toEqual([]);
    expect(state.hint).toMatch(LOCKED);
    expect(keys(act(found(), { type: "remove", instance: "f" }))).toEqual([]);
    const leaving = act(found(), { type: "goto", to: "next" }, { type: "decide", finding: "one" });
    expect(leaving.hint).toMatch(LEAVING);
  });
});

describe("the whole instance", () => {
  // "f" has top (20, 15), left (15, 20), right (25, 20, occluded), bottom (20, 25).
  const points = (state: State, uid = "f") => [0, 1, 2, 3].map((k) => pointOf(state, uid, k));
  const undone = (state: State) => points(act(state, { type: "undo" }));
  const before = points(opened());

  it("X exchanges left and right with their visibility", () => {
    const state = act(opened(), { type: "swap" });
    expect(points(state)).toEqual([
      [20, 15, 2],
      [25, 20, 1],
      [15, 20, 2],
      [20, 25, 2],
    ]);
    expect(lastBody(state)).toMatchObject({ op: "pose", how: "swap", instance: "f", image: 0 });
    expect(undone(state)).toEqual(before);
    expect(points(act(state, { type: "swap" }))).toEqual(before);
  });

  it("X needs a schema with sides", () => {
    const stick = instance("s", { 0: [5, 5, 2], 1: [9, 9, 2] }, { category: 1 });
    const state = start({
      instances: [stick],
      cursor: { category: 1, instance: "s", keypoint: null },
    });
    expect(act(state, { type: "swap" }).hint).toMatch(/no left-right pairs/);
  });

  it("M turns it about its middle and keeps left on the left side of the body", () => {
    const state = opened("f", {
      instances: [wholeFace("f", 20, 20, { bbox: [14, 10, 20, 20] })],
    });
    const moved = act(state, { type: "choose", keypoint: 0 }, { type: "mirror" });
    // The middle is x = 20; a face that is even stays as it is, but for the flags.
    expect(points(moved)).toEqual([
      [20, 15, 2],
      [15, 20, 1],
      [25, 20, 2],
      [20, 25, 2],
    ]);
    expect(moved.doc.byUid.get("f")?.bbox).toEqual([6, 10, 20, 20]);
  });

  it("copies into another image what fits there", () => {
    const copied = act(opened(), { type: "copy" });
    expect(copied.pending).toHaveLength(0);
    const sized = (width: number, height: number) => {
      const other = sceneOfImage(1);
      return { ...other, image: other.image && { ...other.image, width, height } };
    };
    const other = act(copied, { type: "scene", scene: sized(22, 80) });
    const pasted = act(other, { type: "paste", uid: "p" });
    expect(points(pasted, "p")).toEqual([
      [20, 15, 2],
      [15, 20, 2],
      [0, 0, 0],
      [20, 25, 2],
    ]);
    expect(lastBody(pasted)).toMatchObject({ op: "pose", how: "paste", new: true, image: 1 });
    expect(pasted.doc.cursor).toEqual({ category: 0, instance: "p", keypoint: null });
    const none = act(copied, { type: "scene", scene: sized(5, 5) }, { type: "paste", uid: "p" });
    expect(none.hint).toMatch(/outside this image/);
    expect(none.pending).toHaveLength(0);
    expect(act(opened(), { type: "paste", uid: "p" }).hint).toMatch(/Nothing was copied/);
  });

  it("W moves and scales by dragging, as one step", () => {
    const on = act(opened(), { type: "whole-mode", isOn: true });
    const dragging = act(on, { type: "whole", whole: { dx: 10, dy: 5, scale: 1 } });
    expect(draggedInstance(dragging)?.points.slice(0, 3)).toEqual([30, 20, 2]);
    expect(inkPlan(dragging, false).hideActive).toBe(true);
    const moved = act(dragging, { type: "drop-whole" });
    expect(points(moved)).toEqual([
      [30, 20, 2],
      [25, 25, 2],
      [35, 25, 1],
      [30, 30, 2],
    ]);
    expect(moved.isWholeMode).toBe(true);
    expect(undone(moved)).toEqual(before);
    const scaled = act(
      on,
      { type: "whole", whole: { dx: 0, dy: 0, scale: 2 } },
      { type: "drop-whole" },
    );
    expect(points(scaled)[0]).toEqual([20, 10, 2]);
    const out = act(
      on,
      { type: "whole", whole: { dx: -16, dy: 0, scale: 1 } },
      { type: "drop-whole" },
    );
    expect(out.hint).toMatch(/outside the image: nothing was moved/);
    expect(out.pending).toHaveLength(0);
  });

  it("T drops the figure of the schema into the box", () => {
    const on = act(start(), { type: "box-mode", isOn: true, isTemplate: true });
    expect(on.hint).toMatch(/figure of the schema/);
    const dropped = act(on, { type: "box", bbox: [10, 20, 40, 30], uid: "t" });
    // The layout has top (0.5, 0), left (0, 0.5), right (1, 0.5), bottom (0.5, 1).
    expect(points(dropped, "t")).toEqual([
      [30, 20, 2],
      [10, 35, 2],
      [50, 35, 2],
      [30, 50, 2],
    ]);
    expect(dropped.doc.byUid.get("t")).toMatchObject({ finished: true, bbox: null });
    expect(dropped.isBoxMode).toBe(false);
    expect(act(dropped, { type: "undo" }).doc.instances).toEqual([]);
    const plain = act(start(), { type: "box-mode", isOn: true });
    expect(lastBody(act(plain, { type: "box", bbox: [1, 1, 5, 5], uid: "b" })).op).toBe("box");
  });

  it("T drops the mean pose where there is one, as it lies in its box", () => {
    const mean = {
      instances: 7,
      points: [
        [0.5, 0.1],
        [0.2, 0.5],
        [1, 0.5],
        [0.5, 1],
      ] as const,
    };
    const known = act(start(), { type: "templates", templates: [mean, null] });
    const on = act(known, { type: "box-mode", isOn: true, isTemplate: true });
    expect(on.hint).toMatch(/mean pose of 7 instances/);
    const dropped = act(on, { type: "box", bbox: [10, 20, 40, 30], uid: "t" });
    expect(points(dropped, "t")).toEqual([
      [30, 23, 2],
      [18, 35, 2],
      [50, 35, 2],
      [30, 50, 2],
    ]);
    expect(dropped.hint).toMatch(/Dropped the mean pose of 7 instances/);
    const other = act(known, { type: "category", category: 1 });
    const stick = act(other, { type: "box-mode", isOn: true, isTemplate: true });
    expect(stick.hint).toMatch(/figure of the schema/);
  });

  it("asks Python to repeat what the image before has", () => {
    expect(lastBody(act(start(), { type: "repeat" }))).toEqual({ op: "repeat", image: 0 });
  });

  it("says why not", () => {
    for (const type of ["swap", "mirror"] as const) {
      expect(act(locked(), { type }).hint).toMatch(LOCKED);
      expect(act(start(), { type }).hint).toMatch(/Choose an instance first/);
    }
    expect(act(locked(), { type: "whole-mode", isOn: true }).hint).toMatch(LOCKED);
    expect(act(start(), { type: "copy" }).hint).toMatch(/Choose the instance/);
  });
});

describe("ink", () => {
  const painted = (state: State) => reduce(state, { type: "painted", scene: state.scene });

  it("draws nothing and hides nothing where all is painted", () => {
    expect(inkPlan(painted(opened()), false)).toEqual({
      hideSkeletons: false,
      hideActive: false,
      instances: [],
    });
  });

  it("draws all where nothing is painted, or another image is", () => {
    for (const plan of [
      inkPlan(opened(), false),
      inkPlan(painted(opened()), true),
      inkPlan(reduce(opened(), { type: "painted", scene: sceneOfImage(1, { version: 1 }) }), false),
    ]) {
      expect(plan.hideSkeletons && plan.hideActive).toBe(true);
      expect(plan.instances.map((i) => i.uid)).toEqual(["g", "f"]);
    }
  });

  it("stands in for the active layer alone when the active instance changes", () => {
    const drag = { target: { instance: "f", keypoint: 0 }, x: 1, y: 2 };
    const plan = inkPlan(act(painted(opened()), { type: "drag", drag }), false);
    expect(plan).toMatchObject({ hideSkeletons: false, hideActive: true });
    expect(plan.instances.map((i) => i.uid)).toEqual(["f"]);
    expect(plan.instances[0]?.points.slice(0, 3)).toEqual([1, 2, 2]);
  });

  it("stands in for the skeletons when another instance changes or is hidden", () => {
    const hidden = act(painted(opened()), { type: "flags", instance: "g", hidden: true });
    expect(inkPlan(hidden, false)).toMatchObject({ hideSkeletons: true, instances: [] });
    const cycled = act(painted(opened()), {
      type: "cycle-visibility",
      target: { instance: "g", keypoint: 0 },
    });
    const plan = inkPlan(cycled, false);
    expect(plan.hideSkeletons).toBe(true);
    expect(plan.instances.map((i) => i.uid)).toEqual(["g"]);
  });

  it("adds a new instance over what is painted", () => {
    const plan = inkPlan(act(painted(opened()), click(5, 5, 2, "new")), false);
    expect(plan.instances.map((i) => i.uid)).toContain("new");
  });
});

describe("a change of the keypoints", () => {
  const migrated = (state: State, schemas: string): Action => ({
    type: "scene",
    scene: { ...state.scene, version: state.scene.version + 1, schemas },
  });

  it("is named by every edit that is made after it, and by none before", () => {
    const before = act(start(), click(1, 1, 2, "a"));
    expect(lastBody(before)).not.toHaveProperty("schemas");
    const state = act(before, migrated(before, "0:abc"), click(2, 2, 2, "b"));
    expect(state.pending.map((entry) => entry.body)).toEqual([
      lastBody(before),
      expect.objectContaining({ op: "point", schemas: "0:abc" }),
    ]);
  });

  it("ends what is under way, for its keypoint may be another now", () => {
    const target = { instance: "f", keypoint: 1 };
    const selected = act(opened(), { type: "select", target });
    expect(selected.selected).toEqual(target);
    expect(reduce(selected, migrated(selected, "")).selected).toEqual(target);
    const state = reduce(selected, migrated(selected, "0:abc"));
    expect(state.selected).toBeNull();
    expect(act(state, { type: "nudge", dx: 1, dy: 0 }).pending).toEqual([]);
  });

  it("leaves nothing to paste, for its points are in the old order", () => {
    const copied = act(opened(), { type: "copy" });
    expect(reduce(copied, migrated(copied, "")).copied).not.toBeNull();
    const state = act(copied, migrated(copied, "0:abc"), { type: "paste", uid: "p" });
    expect(state.pending).toEqual([]);
    expect(state.hint).toContain("Nothing was copied");
  });

  it("leaves it to Python what undo brings back", () => {
    const before = act(start(), click(1, 1, 2, "a"));
    expect(before.undoStack).toHaveLength(1);
    const state = act(before, migrated(before, "0:abc"), { type: "undo" });
    expect(state.pending.map((entry) => entry.body.op)).toEqual(["point", "undo"]);
    expect(state.pending.map((entry) => entry.effect)).toEqual([null, null]);
  });

  it("takes what is not answered yet off the picture", () => {
    const before = act(start(), click(1, 1, 2, "a"));
    const state = reduce(before, migrated(before, "0:abc"));
    expect(state.doc.instances).toEqual([]);
    expect(state.pending).toHaveLength(1);
  });
});
