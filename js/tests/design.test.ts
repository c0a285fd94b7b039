// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  apply,
  type Design,
  type DesignEdit,
  distanceToLine,
  hitEdge,
  otherSide,
  pairOf,
  pieces,
  placeLabels,
  suggestName,
  troubleWithName,
} from "../src/design";
import { DESIGN } from "./builders";

const ids = (design: Design) => design.points.map(({ id }) => id).join("");

describe("an edit shown before Python has answered", () => {
  it("adds a keypoint once, the last", () => {
    const edit = { op: "add", id: "d", name: "D", x: 1, y: 2 } as const;
    const once = apply(DESIGN, edit);
    expect(ids(once)).toBe("abcd");
    expect(once.points[3]).toMatchObject({ name: "D", x: 1, y: 2 });
    expect(apply(once, edit)).toBe(once);
  });

  it("takes a keypoint away with its edges and its pair", () => {
    const gone = apply(DESIGN, { op: "remove", id: "b" });
    expect(ids(gone)).toBe("ac");
    expect(gone.edges).toEqual([["c", "a"]]);
    expect(gone.pairs).toEqual([]);
  });

  it("puts a keypoint at a position, the others close up", () => {
    expect(ids(apply(DESIGN, { op: "order", id: "a", to: 2 }))).toBe("bca");
    expect(ids(apply(DESIGN, { op: "order", id: "c", to: 0 }))).toBe("cab");
    expect(apply(DESIGN, { op: "order", id: "q", to: 0 })).toBe(DESIGN);
  });

  it("joins two keypoints once, whichever comes first, and parts them", () => {
    expect(apply(DESIGN, { op: "join", a: "b", b: "a" })).toBe(DESIGN);
    expect(apply(DESIGN, { op: "join", a: "b", b: "c" }).edges).toHaveLength(3);
    expect(apply(DESIGN, { op: "part", a: "b", b: "a" }).edges).toEqual([["c", "a"]]);
  });

  it("gives a keypoint one partner", () => {
    expect(apply(DESIGN, { op: "pair", left: "a", right: "b" }).pairs).toEqual([["a", "b"]]);
    expect(apply(DESIGN, { op: "pair", left: "b", right: null }).pairs).toEqual([]);
    expect(pairOf(DESIGN, "c")).toEqual({ other: "b", isFirst: false });
    expect(pairOf(DESIGN, "a")).toBeNull();
  });

  it("changes the fields that it names", () => {
    const edits: DesignEdit[] = [
      { op: "move", id: "b", x: 5, y: 6 },
      { op: "rename", id: "b", name: "new" },
      { op: "color", id: "b", color: "#000000" },
      { op: "define", id: "b", text: "there" },
      { op: "title", name: "other" },
    ];
    const after = edits.reduce(apply, DESIGN);
    const changed = { x: 5, y: 6, name: "new", color: "#000000", definition: "there" };
    expect(after.points[1]).toEqual({ ...DESIGN.points[1], ...changed });
    expect([after.points[0], after.points[2]]).toEqual([DESIGN.points[0], DESIGN.points[2]]);
    expect(after.name).toBe("other");
  });

  it("leaves to Python what only Python can tell", () => {
    for (const op of ["undo", "redo", "try"] as const) expect(apply(DESIGN, { op })).toBe(DESIGN);
    expect(apply(DESIGN, { op: "text", text: "x", choice: null })).toBe(DESIGN);
  });
});

describe("what is under the pointer", () => {
  it("is measured to the line between the ends, not beyond them", () => {
    const [a, b] = [
      { x: 0, y: 0 },
      { x: 10, y: 0 },
    ];
    expect(distanceToLine({ x: 5, y: 3 }, a, b)).toBe(3);
    expect(distanceToLine({ x: 13, y: 4 }, a, b)).toBe(5);
    expect(distanceToLine({ x: 3, y: 4 }, a, a)).toBe(5);
  });

  it("is the nearest edge on the screen", () => {
    const v = { scale: 2, tx: 10, ty: 20 };
    expect(hitEdge(DESIGN, v, { x: 110, y: 23 }, 5)).toEqual(["a", "b"]);
    expect(hitEdge(DESIGN, v, { x: 7, y: 70 }, 5)).toEqual(["c", "a"]);
    expect(hitEdge(DESIGN, v, { x: 110, y: 30 }, 5)).toBeNull();
  });
});

describe("names", () => {
  it.each([
    ["left_eye", "right_eye"],
    ["RIGHT KNEE", "LEFT KNEE"],
    ["earLeft", "earRight"],
    ["nose", null],
    ["left_of_right", null],
  ])("%s has %s on the other side", (name, other) => {
    expect(otherSide(name)).toBe(other);
  });

  it("are suggested: the other side, else a number that is free", () => {
    expect(suggestName([])).toBe("point_1");
    expect(suggestName(["nose", "left_eye"])).toBe("right_eye");
    expect(suggestName(["right_eye", "left_eye"])).toBe("point_3");
    expect(suggestName(["a", "point_3"])).toBe("point_4");
  });

  it("are refused where they cannot be one", () => {
    expect(troubleWithName(DESIGN, "a", "A")).toBe("");
    expect(troubleWithName(DESIGN, "a", "C")).toBe("Keypoint 3 has this name");
    expect(troubleWithName(DESIGN, "a", "  ")).toBe("A keypoint needs a name");
    expect(troubleWithName(DESIGN, "a", "x".repeat(201))).toBe("At most 200 characters");
  });
});

describe("marks in the text", () => {
  const problem = (start: number, end: number) => ({ message: "", line: 1, column: 1, start, end });

  it("stand where the problems are, and an empty place marks one character", () => {
    expect(pieces("abcdef", [problem(4, 4), problem(1, 3)])).toEqual([
      { text: "a", isMarked: false },
      { text: "bc", isMarked: true },
      { text: "d", isMarked: false },
      { text: "e", isMarked: true },
      { text: "f", isMarked: false },
    ]);
  });

  it("never change the text", () => {
    const places = fc.array(fc.tuple(fc.nat(30), fc.nat(30)));
    fc.assert(
      fc.property(fc.string({ maxLength: 25 }), places, (text, found) => {
        const made = pieces(
          text,
          found.map(([a, b]) => problem(Math.min(a, b), Math.max(a, b))),
        );
        expect(made.map((piece) => piece.text).join("")).toBe(text);
      }),
    );
  });
});

describe("labels", () => {
  it("stand right of the point unless something is there", () => {
    const at = { x: 100, y: 100 };
    expect(placeLabels([{ at, width: 40, isWanted: false }], [], 16)).toEqual([{ x: 113, y: 92 }]);
    expect(placeLabels([{ at, width: 40, isWanted: false }], [[115, 95, 125, 105]], 16)).toEqual([
      { x: 47, y: 92 },
    ]);
    // By hand: on the right, from 113 to 153, 6 or 10 of the 40 px are covered, which is less or
    // more than a fifth; everywhere else all is.
    const full = [
      [0, 0, 300, 92],
      [0, 92, 112, 108],
      [0, 108, 300, 300],
    ] as const;
    for (const [width, found] of [
      [6, [{ x: 113, y: 92 }]],
      [10, [null]],
    ] as const)
      expect(
        placeLabels(
          [{ at, width: 40, isWanted: false }],
          [[125, 92, 125 + width, 108], ...full],
          16,
        ),
      ).toEqual(found);
    // A second one at the same place goes left, a third below.
    const three = [at, at, at].map((p) => ({ at: p, width: 40, isWanted: false }));
    expect(placeLabels(three, [], 16)).toEqual([
      { x: 113, y: 92 },
      { x: 47, y: 92 },
      { x: 80, y: 109 },
    ]);
    // The fifth finds no room, unless it is asked for.
    const many = Array.from({ length: 5 }, () => ({ at, width: 40, isWanted: false }));
    expect(placeLabels(many, [], 16)[4]).toBeNull();
    const last = { at, width: 40, isWanted: true };
    expect(placeLabels([...many.slice(1), last], [], 16)[4]).toEqual({ x: 113, y: 92 });
  });
});
