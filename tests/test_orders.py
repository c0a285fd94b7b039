"""Points that seem to be in another known order of the same keypoints are told, never changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kpwidget as kp
from kpwidget.geometry import edge_length_ratios
from kpwidget.schemas.orders import find_other_order

SIDES = ("L_F", "R_F", "L_B", "R_B")


def hands(n: int = 6) -> tuple[kp.Schema, np.ndarray]:
    """Made hands, each finger straight, as wide and high as 100 px, turned and labeled by half."""
    names = ["wrist"]
    xy = [[0.0, 0.0]]
    for i, finger in enumerate(["thumb", "forefinger", "middle_finger", "ring_finger",
                                "pinky_finger"]):  # fmt: skip
        angle = 0.4 + 0.5 * i
        names += [f"{finger}{k}" for k in (1, 2, 3, 4)]
        xy += [[r * np.cos(angle), r * np.sin(angle)] for r in (40, 60, 80, 100)]
    edges = [(1 if k % 4 == 2 else k - 1, k) for k in range(2, 22)]
    turns = np.linspace(0, 3, n)
    turn = np.array([[np.cos(turns), -np.sin(turns)], [np.sin(turns), np.cos(turns)]])
    points = np.full((n, 21, 3), 2.0)
    points[..., :2] = np.einsum("abn,kb->nka", turn, np.array(xy)) + 200
    return kp.Schema("hand", names, edges), points


def test_points_in_another_known_order_are_told_and_left_alone() -> None:
    schema, right = hands()
    tips_first = [4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17, 0]
    wrong = right[:, tips_first]  # as InterHand2D has them
    assert find_other_order(right, schema.keypoints, schema.edges) == ""
    assert "order of InterHand2D (fingers from their tip, wrist last)" in find_other_order(
        wrong, schema.keypoints, schema.edges
    )
    assert "order of RHD (wrist first" in find_other_order(
        right[:, [0, *tips_first[:-1]]], schema.keypoints, schema.edges
    )
    # Of a few instances, or with too little labeled, nothing is said.
    assert find_other_order(wrong[:4], schema.keypoints, schema.edges) == ""
    wrong[:, ::2, 2] = 0
    assert find_other_order(wrong, schema.keypoints, schema.edges) == ""
    names = ["a", "b", "c"]
    assert find_other_order(right[:, :3], names, np.array([(0, 1)])) == ""


def test_animal_with_its_nose_first_is_told() -> None:
    head = {"L_Eye": (40, 20), "R_Eye": (60, 20), "L_EarBase": (32, 5), "R_EarBase": (68, 5),
            "Nose": (50, 45), "Throat": (50, 70)}  # fmt: skip
    limbs = [f"{side}_{part}" for part in ("Elbow", "Knee", "Paw") for side in SIDES]
    names = [*head, "TailBase", "Withers", *limbs]
    edges = np.array([(0, 1), (0, 2), (1, 3), (0, 4), (1, 4), (4, 5), (5, 7), (6, 7)])
    points = np.zeros((8, 20, 3))
    for name, xy in head.items():
        points[:, names.index(name)] = [*xy, 2]
    nose_first = ["Nose", *names[:4], *names[5:]]
    wrong = points[:, [names.index(name) for name in nose_first]]
    assert find_other_order(points, names, edges) == ""
    assert "Animal-Pose in openpifpaf (nose first)" in find_other_order(wrong, names, edges)


def test_warning_comes_when_such_data_are_read(tmp_path: Path) -> None:
    schema, right = hands()
    wrong = right[:, [0, *(k for i in range(5) for k in range(4 * i + 4, 4 * i, -1))]]
    dataset = kp.Dataset.from_images({"a.png": np.zeros((400, 400))}, schema)
    for points in wrong:
        dataset.add_instance("a.png", keypoints=points)
    kp.write(dataset, tmp_path / "hands.json")
    expected = r"hands\.json: category 'hand': edges would be \d+% shorter .* of RHD .* Nothing was"
    with pytest.warns(UserWarning, match=expected):
        again = kp.read(tmp_path / "hands.json")
    assert (again.keypoints("hand") == wrong).all()


def test_ratios_are_those_of_edges_that_differ_and_are_labeled() -> None:
    # On a line at 0, 1, 3 and 10; the other order exchanges the last two.
    keypoints = np.zeros((3, 4, 3))
    keypoints[..., 0] = [0, 1, 3, 10]
    keypoints[..., 2] = 2
    keypoints[1, 2, 2] = 0  # then no edge is left: each has that point in one of the orders
    keypoints[2, 0, 2] = 0
    edges, places = np.array([(0, 1), (1, 2), (2, 3)]), np.array([0, 1, 3, 2])
    ratios = edge_length_ratios(keypoints, edges, places)
    assert ratios[0] == ratios[2] == 9 / 2  # 1-2 is 2 long, and 9 with point 3 for point 2
    assert np.isnan(ratios[1])
