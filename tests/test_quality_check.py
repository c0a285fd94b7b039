"""`quality.check`: planted faults are found where they are, and clean labels have none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kpwidget as kp

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

needs_shared = pytest.mark.skipif(
    not (SHARED / "coco-mini").is_dir(), reason="../shared/data/coco-mini is not there"
)

NAMES = ["nose", "left_eye", "right_eye", "tail"]


def record(number: int, keypoints: list[float], **more: Any) -> dict[str, Any]:
    n_labeled = sum(v > 0 for v in keypoints[2::3])
    return {
        "id": number, "image_id": 1, "category_id": 1, "keypoints": keypoints,
        "num_keypoints": n_labeled, "bbox": [10, 10, 50, 50], "area": 2500, "iscrowd": 0, **more,
    }  # fmt: skip


def read(folder: Path, annotations: list[dict[str, Any]]) -> kp.Dataset:
    path = folder / "labels.json"
    category = {"id": 1, "name": "bird", "keypoints": NAMES, "skeleton": [[1, 2]]}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 80}],
        "categories": [category],
        "annotations": annotations,
    }
    path.write_text(json.dumps(content))
    return kp.read(path)


GOOD = [20, 20, 2, 30, 30, 1, 0, 0, 0, 40, 40, 2]


@pytest.mark.parametrize(
    ("at", "point", "check", "keypoint"),
    [
        pytest.param(0, [20, 20, 0.8], "flag is none of 0, 1, 2", "nose", id="flag"),
        pytest.param(2, [5, 6, 0], "unlabeled with a location", "right_eye", id="location"),
        pytest.param(3, [0, 0, 2], "labeled at (0, 0)", "tail", id="zero"),
        pytest.param(3, [101, 40, 2], "visible outside of the image", "tail", id="outside"),
    ],
)
def test_each_error_is_found_where_it_is(
    at: int, point: list[float], check: str, keypoint: str, tmp_path: Path
) -> None:
    bad = list(GOOD)
    bad[3 * at : 3 * at + 3] = point
    ds = read(tmp_path, [record(1, list(GOOD)), record(2, bad)])
    [row] = kp.quality.check(ds).to_dict("records")
    assert (row["check"], row["severity"]) == (check, "error")
    assert (row["image"], row["instance"], row["keypoint"]) == ("a.png", "coco:2", keypoint)
    assert row["value"] == point[2]
    assert row["suggestion"]


def test_a_hidden_point_may_be_outside_of_the_image(tmp_path: Path) -> None:
    hidden = [20, 20, 2, 30, -5, 1, 0, 0, 0, 100.005, 40, 2]  # and 0.005 px are no finding
    assert len(kp.quality.check(read(tmp_path, [record(1, hidden)]))) == 0


def test_a_wrong_count_is_found_until_the_record_is_edited(tmp_path: Path) -> None:
    nested = {"note": {"num_keypoints": 3}}
    ds = read(
        tmp_path,
        [
            record(1, list(GOOD), num_keypoints=4),
            record(2, list(GOOD), **nested),
            record(3, list(GOOD)),
        ],
    )
    [row] = kp.quality.check(ds).query("severity == 'error'").to_dict("records")
    assert (row["check"], row["instance"]) == ("num_keypoints is wrong", "coco:1")
    assert (row["value"], row["threshold"]) == (4, 3)
    ds.instance("coco:1").set_keypoint("tail", 41, 41)
    assert len(kp.quality.check(ds).query("severity == 'error'")) == 0


def labels(flags: np.ndarray, annotators: list[str] | None = None) -> kp.Dataset:
    """One bird an image with these flags, at places inside of it."""
    n = len(flags)
    schema = kp.Schema("bird", NAMES, [(1, 2)], flip_pairs=[("left_eye", "right_eye")])
    ds = kp.Dataset.from_images({f"{i}.png": np.zeros((80, 100)) for i in range(n)}, schema)
    with ds.transaction("made"):
        for i, of in enumerate(flags):
            points = np.column_stack([[20, 30, 40, 50], [20, 30, 40, 50], of])
            ds.add_instance(i, keypoints=points, annotator=annotators and annotators[i])
    return ds


def test_a_keypoint_that_is_never_occluded_is_noted_with_its_probability() -> None:
    flags = np.full((40, 4), 2)
    flags[::2, :3] = 1  # half of the others: 60 of 120, so that 100 of 160 are visible
    table = kp.quality.check(labels(flags))
    [row] = table[table.check == "flag never changes"].to_dict("records")
    assert (row["severity"], row["keypoint"]) == ("note", "tail")
    assert row["value"] == pytest.approx(math.comb(100, 40) / math.comb(160, 40))
    assert row["reason"] == (
        "visible in all of 40 labels; of the other keypoints 50 % are occluded"
    )


def test_few_labels_are_no_reason_for_a_note() -> None:
    flags = np.full((4, 4), 2)
    flags[::2, :3] = 1  # none of 4 where 6 of 16 are: C(10, 4) / C(16, 4) = .12
    assert len(kp.quality.check(labels(flags))) == 0


def test_a_person_who_never_uses_a_flag_is_noted() -> None:
    flags = np.full((60, 4), 2)
    flags[0:30:2] = 1
    table = kp.quality.check(labels(flags, ["anna"] * 30 + ["ben"] * 30))
    [row] = table[table.check == "person never uses a flag"].to_dict("records")
    assert row["annotator"] == "ben"
    # 15 of 60 instances have something occluded, and none of 30 is among them.
    assert row["value"] == pytest.approx(math.comb(45, 30) / math.comb(60, 30))


def test_one_side_that_is_hidden_more_often_is_noted_by_mcnemars_test() -> None:
    flags = np.full((30, 4), 2)
    flags[:20, 1] = 1
    flags[20:22, 2] = 1
    table = kp.quality.check(labels(flags))
    [row] = table[table.check == "one side occluded"].to_dict("records")
    assert row["keypoint"] == "left_eye"
    # 2 or fewer of 22, both sides: 2 * (1 + 22 + 231) / 2^22.
    assert row["value"] == pytest.approx(2 * 254 / 2**22)
    assert "the left one 20 times and the right one 2 times" in row["reason"]


def test_flags_without_a_rule_are_seldom_noted() -> None:
    rng = np.random.default_rng(0)
    n_noted = 0
    for _ in range(60):
        flags = rng.choice([1, 2], (25, 4), p=[0.3, 0.7])
        n_noted += bool(len(kp.quality.check(labels(flags))))
    assert n_noted <= 8  # of 60 with 5 % at most; 9 and more have a chance of 0.2 %


def test_selections_are_checked_by_what_is_in_them(tmp_path: Path) -> None:
    bad = [0, 0, 2, *GOOD[3:]]
    ds = read(tmp_path, [record(1, bad), record(2, list(GOOD))])
    assert len(kp.quality.check(ds.select(where=[True, False]))) == 1
    assert len(kp.quality.check(ds.select(where=[False, True]))) == 0
    with pytest.raises(ValueError, match="level is a number between 0 and 1, not 5"):
        kp.quality.check(ds, level=5)


@needs_shared
def test_planted_flag_errors_are_found_in_real_labels_and_nothing_else(tmp_path: Path) -> None:
    path = SHARED / "coco-mini" / "person_keypoints_train2017.json"
    assert len(kp.quality.check(kp.read(path))) == 0
    content = json.loads(path.read_text())
    rng = np.random.default_rng(1)
    people = [a for a in content["annotations"] if a.get("num_keypoints", 0) > 4]
    chosen = rng.choice(len(people), 30, replace=False).tolist()
    planted = set()
    for i, number in enumerate(chosen):
        points = people[number]["keypoints"]
        k = int(rng.choice([k for k in range(17) if points[3 * k + 2] == 2 or i % 3 == 1]))
        if i % 3 == 0:
            points[3 * k : 3 * k + 2] = [0, 0]
        elif i % 3 == 1:
            points[3 * k : 3 * k + 3] = [7, 7, 0]
        else:
            points[3 * k] = 5000
        people[number]["num_keypoints"] = sum(v > 0 for v in points[2::3])
        planted.add((f"coco:{people[number]['id']}", k))
    (tmp_path / "planted.json").write_text(json.dumps(content))
    ds = kp.read(tmp_path / "planted.json")
    table = kp.quality.check(ds)
    names = list(ds.categories[0].keypoints)
    found = {(row.instance, names.index(row.keypoint)) for row in table.itertuples()}
    assert found == planted
