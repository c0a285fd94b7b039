"""The checks of `kpwidget.quality`. Expected values are worked by hand, from qa-method formulas or
from scipy, statsmodels and numpy where it says so."""

from __future__ import annotations

import json
import math
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import kpwidget as kp
from kpwidget import quality
from kpwidget.quality.coverage import coverage_findings, default_angles
from kpwidget.quality.drift import Drift, offsets_from_others
from kpwidget.quality.findings import Finding, findings_frame
from kpwidget.quality.flags import _none_of
from kpwidget.quality.intervals import holm, wilson
from kpwidget.quality.labels import flip_pairs_of, labels_of, sigmas_of

COCO = kp.schemas.get("coco17")
SQUARE = [10, 10, 90, 10, 90, 90, 10, 90]
COLUMNS = [
    *("check", "severity", "image", "instance", "keypoint", "value", "threshold", "reason"),
    *("suggestion", "kind"),
]


def coco_file(
    folder: Path, *annotations: dict[str, Any], names: tuple[str, ...] = ("a", "b")
) -> Path:
    """A COCO file of one image of 200 x 100 px; annotations get ids, areas and categories."""
    path = folder / "labels.json"
    records = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": [10, 10, 80, 80], "area": 6400,
         "iscrowd": 0, **annotation}
        for i, annotation in enumerate(annotations, 1)
    ]  # fmt: skip
    category = {"id": 1, "name": "thing", "keypoints": list(names), "skeleton": []}
    image = {"id": 1, "file_name": "a.jpg", "width": 200, "height": 100}
    path.write_text(
        json.dumps({"images": [image], "categories": [category], "annotations": records})
    )
    return path


def clip(xy: np.ndarray, schema: kp.Schema | None = None, **options: Any) -> kp.Dataset:
    """One object through the images clip_000.png, ..., keypoints of shape (n, n_keypoints, 2)."""
    pixels = np.zeros((2, 2), np.uint8)
    dataset = kp.Dataset.from_images(
        {f"clip_{i:03}.png": pixels for i in range(len(xy))},
        schema or kp.Schema("thing", [f"k{k}" for k in range(xy.shape[1])]),
    )
    for i, points in enumerate(xy):
        dataset.add_instance(i, keypoints=points, uid=f"u{i}", **{"track_id": 1} | options)
    return dataset


# The frame, intervals


def test_no_finding_is_an_empty_table_with_the_same_columns() -> None:
    full = findings_frame([Finding("a", "note", "i", "u", "k", 1.0, 2.0, "why", "what")])
    empty = findings_frame([])
    assert list(empty.columns) == list(full.columns) == COLUMNS
    assert (empty.dtypes == full.dtypes).all()
    assert empty["value"].dtype == "float64"
    assert len(empty) == 0


def test_errors_come_first_and_otherwise_order_is_kept() -> None:
    rows = [
        Finding(check, severity, None, None, None, 0.0, 0.0, "", "")
        for check, severity in (("a", "note"), ("b", "error"), ("c", "warning"), ("d", "error"))
    ]
    assert findings_frame(rows)["check"].tolist() == ["b", "d", "c", "a"]


def test_unknown_severity_is_refused() -> None:
    bad: Any = "fatal"
    with pytest.raises(ValueError, match="'fatal': expected one of error, warning, note"):
        findings_frame([Finding("a", bad, None, None, None, 0.0, 0.0, "", "")])


@pytest.mark.parametrize(
    ("n_with", "n", "expected"),
    [
        # scipy.stats.binomtest(7, 20).proportion_ci(method="wilson")
        pytest.param(7, 20, (0.1811917, 0.5671457), id="wilson"),
        pytest.param(0, 60, (0, 0.05), id="rule of three"),
        pytest.param(60, 60, (0.95, 1), id="all"),
        pytest.param(0, 2, (0, 1), id="few"),
        pytest.param(0, 0, (0, 1), id="none"),
    ],
)
def test_interval_of_a_share(n_with: int, n: int, expected: tuple[float, float]) -> None:
    assert_allclose(wilson(n_with, n), expected, atol=1e-6)


def test_exact_test_of_a_zero_is_scipys() -> None:
    from scipy.stats import fisher_exact

    for n, m, with_it in ((20, 40, 18), (3, 200, 7), (40, 41, 40)):
        table = [[0, n], [with_it, m - with_it]]
        expected = fisher_exact(table, alternative="less").pvalue
        assert _none_of(n, n + m, with_it) == pytest.approx(expected)
    assert _none_of(5, 10, 6) == 0


def test_wilson_is_scipys() -> None:
    from scipy.stats import binomtest

    for n_with in range(1, 30):
        ci = binomtest(n_with, 30).proportion_ci(method="wilson")
        assert_allclose(wilson(n_with, 30), (ci.low, ci.high), atol=1e-12)


def test_holm_stops_at_the_first_that_is_too_large() -> None:
    # By hand: 0.01 <= 0.05 / 4, 0.015 <= 0.05 / 3, 0.03 > 0.05 / 2, 0.04 <= 0.05 / 1 comes after.
    assert holm([0.04, 0.01, 0.03, 0.015], 0.05) == [False, True, False, True]
    assert holm([], 0.05) == []


def test_sigmas_are_those_given_then_the_schemas_then_assumed() -> None:
    bare = kp.Schema("person", COCO.keypoints)
    assert sigmas_of(bare)[1] == "coco17"
    assert_allclose(sigmas_of(bare)[0][:3], [0.026, 0.025, 0.025])
    assert sigmas_of(kp.Schema("x", ["a"]))[1] == "assumed"
    assert sigmas_of(kp.Schema("x", ["a"]), [0.1]) == (pytest.approx([0.1]), "given")
    with pytest.raises(ValueError, match="expected 2 numbers above 0"):
        sigmas_of(kp.Schema("x", ["a", "b"]), [0.1])


def test_flip_pairs_are_never_made_up_from_names() -> None:
    assert len(flip_pairs_of(kp.Schema("x", ["left_a", "right_a"]))) == 0
    [pair] = flip_pairs_of(
        kp.Schema("x", ["right_a", "left_a"], flip_pairs=[("right_a", "left_a")])
    )
    assert pair.tolist() == [1, 0]


# Flags


@pytest.mark.parametrize(
    ("points", "more", "keypoint", "reason"),
    [
        pytest.param([20, 20, 0, 30, 30, 2], {}, "a", "unlabeled (visibility 0)", id="v=0 at x, y"),
        pytest.param([0, 0, 2, 30, 30, 2], {}, "a", "at (0, 0)", id="labeled at 0, 0"),
        pytest.param([20, 20, 2, 203.5, 30, 2], {}, "b", "outside the image", id="outside"),
        pytest.param([20, 20, 0.5, 30, 30, 2], {}, "a", "none of 0, 1 and 2", id="odd flag"),
        pytest.param([20, 20, 2, 30, 30, 1], {"num_keypoints": 1}, None, "is 1, but 2", id="count"),
    ],
)
def test_contradiction_is_an_error(
    tmp_path: Path, points: list[float], more: dict[str, Any], keypoint: str | None, reason: str
) -> None:
    n = sum(v > 0 for v in points[2::3])
    dataset = kp.read(coco_file(tmp_path, {"keypoints": points, "num_keypoints": n, **more}))
    found = quality.check(dataset, "visibility")
    assert found[["severity", "image", "instance"]].to_numpy().tolist() == [
        ["error", "a.jpg", "coco:1"]
    ]
    assert found["keypoint"][0] == keypoint
    assert reason in found["reason"][0]
    live = findings_frame(quality.check_image(dataset.images[0]))
    pd.testing.assert_frame_equal(live, found)


def test_how_far_outside_is_the_value_and_an_occluded_one_is_a_warning(tmp_path: Path) -> None:
    points = [20, -4, 1, 203.5, 30, 2]
    found = quality.check(kp.read(coco_file(tmp_path, {"keypoints": points})), "visibility")
    assert found[["severity", "keypoint", "value"]].to_numpy().tolist() == [
        ["error", "b", 3.5],
        ["warning", "a", 4.0],
    ]


def test_clean_labels_have_no_contradiction(tmp_path: Path) -> None:
    points = [20, 20, 2, 0, 0, 0]
    dataset = kp.read(coco_file(tmp_path, {"keypoints": points, "num_keypoints": 1}))
    assert len(quality.check(dataset, "visibility")) == 0


def test_an_edited_record_is_counted_again_by_the_writer_and_is_no_finding(tmp_path: Path) -> None:
    points = [20, 20, 2, 30, 30, 2]
    dataset = kp.read(coco_file(tmp_path, {"keypoints": points, "num_keypoints": 1}))
    dataset.instances[0].set_keypoint("a", 21, 21)
    assert len(quality.check(dataset, "visibility")) == 0


def test_repair_is_one_step_that_can_be_undone(tmp_path: Path) -> None:
    path = coco_file(
        tmp_path,
        {"keypoints": [20, 20, 0, 0, 0, 2]},
        {"keypoints": [20, 20, 0.5, 300, 30, 2]},
    )
    dataset = kp.read(path)
    before = [one.raw.tolist() for one in dataset.instances]
    step = quality.repair(dataset, quality.check(dataset, "visibility"))
    assert step is not None
    assert dataset.instances[0].raw.tolist() == [[0, 0, 0], [0, 0, 0]]
    # What is outside has a place that only a person can know.
    assert dataset.instances[1].raw.tolist() == [[20, 20, 2], [300, 30, 2]]
    dataset.undo()
    assert [one.raw.tolist() for one in dataset.instances] == before
    assert dataset.undo() is None


def test_nothing_to_repair_is_no_step(tmp_path: Path) -> None:
    dataset = kp.read(coco_file(tmp_path, {"keypoints": [20, 20, 2, 30, 30, 2]}))
    assert quality.repair(dataset, quality.check(dataset)) is None


# Masks


def test_visible_keypoint_in_another_mask_is_found_with_its_distance(tmp_path: Path) -> None:
    # s = 80, sigma = 0.05: sigma*s = 4 px. a is 12 px right of its own square, in the other one.
    path = coco_file(
        tmp_path,
        {"keypoints": [102, 50, 2, 50, 50, 2], "segmentation": [SQUARE]},
        {"keypoints": [120, 50, 2, 0, 0, 0], "segmentation": [[95, 5, 180, 5, 180, 95, 95, 95]],
         "bbox": [95, 5, 85, 90]},
    )  # fmt: skip
    found = quality.check(kp.read(path), "occlusion")
    assert found[["severity", "instance", "keypoint", "value"]].to_numpy().tolist() == [
        ["warning", "coco:1", "a", 3.0]
    ]
    assert "12.0 px (3.0 sigma*s) outside its own mask and in that of coco:2" in found["reason"][0]
    dataset = kp.read(path)
    quality.repair(dataset, found)
    assert dataset.instance("coco:1").keypoints[0].tolist() == [102, 50, 1]


@pytest.mark.parametrize(
    ("x", "visibility", "n_found"),
    [
        pytest.param(105, 2, 1, id="15 px outside is more than 3 sigma*s"),
        pytest.param(101, 2, 0, id="11 px is not"),
        pytest.param(105, 1, 0, id="occluded may be anywhere"),
        pytest.param(50, 2, 0, id="inside"),
    ],
)
def test_keypoint_in_no_mask(tmp_path: Path, x: float, visibility: int, n_found: int) -> None:
    annotation = {"keypoints": [x, 50, visibility, 50, 50, 2], "segmentation": [SQUARE]}
    found = quality.check(kp.read(coco_file(tmp_path, annotation)), "occlusion")
    assert len(found) == n_found


def test_hole_between_two_polygons_and_masks_that_are_no_polygons(tmp_path: Path) -> None:
    two = [[10, 10, 30, 10, 30, 90, 10, 90], [70, 10, 90, 10, 90, 90, 70, 90]]
    rle = {"counts": [0, 20000], "size": [100, 200]}
    found = quality.check(
        kp.read(
            coco_file(
                tmp_path,
                # Between the two, 20 px from both: 5 sigma*s.
                {"keypoints": [50, 50, 2, 20, 50, 2], "segmentation": two},
                {"keypoints": [150, 50, 2, 0, 0, 0], "segmentation": rle},
            )
        ),
        "occlusion",
    )
    assert found[["severity", "keypoint", "value"]].fillna("").to_numpy().tolist() == [
        ["warning", "a", 5.0],
        ["note", "", 1.0],
    ]


def test_inside_and_distance_are_those_of_matplotlib_and_of_brute_force(tmp_path: Path) -> None:
    from matplotlib.path import Path as Outline

    rng = np.random.default_rng(3)
    turn = np.sort(rng.uniform(0, 2 * np.pi, 25))
    reach = rng.uniform(10, 45, 25)
    star = np.stack([100 + 2 * reach * np.cos(turn), 50 + reach * np.sin(turn)], axis=1)
    points = rng.uniform((0, 0), (200, 100), (60, 2))
    names = tuple(f"k{i}" for i in range(60))
    path = coco_file(
        tmp_path,
        {"keypoints": np.column_stack([points, np.full(60, 2)]).ravel().tolist(),
         "segmentation": [star.ravel().tolist()], "area": 100},
        names=names,
    )  # fmt: skip
    found = quality.check(kp.read(path), "occlusion").set_index("keypoint")["value"]
    is_inside = Outline(star).contains_points(points)
    along = np.linspace(0, 1, 2001)[:, None, None]
    dense = (star + along * (np.roll(star, -1, axis=0) - star)).reshape(-1, 2)
    far = np.array([np.hypot(*(dense - p).T).min() for p in points])
    expected = {
        names[i]: far[i] / 0.5 for i in np.flatnonzero(~is_inside & (far > 2)).tolist()
    }  # sigma*s = 0.05 * 10 px
    assert set(found.index) == set(expected)
    assert len(expected) > 10
    assert_allclose([found[name] for name in expected], list(expected.values()), atol=0.1)


@pytest.mark.parametrize(
    ("mask", "checks"),
    [
        pytest.param("text", ["note"], id="text"),
        pytest.param([["a", 2, 3, 4, 5, 6]], ["note"], id="text in a polygon"),
        pytest.param({"counts": "abc", "size": [1, 1]}, ["note"], id="compressed RLE"),
        pytest.param([[1, 2, 3]], [], id="odd number"),
        pytest.param([[]], [], id="empty"),
        pytest.param([[0, 0, 1e300, 0, 1e300, 1e300, 0, 1e300]], [], id="huge, and around all"),
    ],
)
def test_masks_of_strangers(tmp_path: Path, mask: Any, checks: list[str]) -> None:
    annotation = {"keypoints": [20, 50, 2, 60, 40, 2], "segmentation": mask, "num_keypoints": "2"}
    found = quality.check(kp.read(coco_file(tmp_path, annotation)))
    assert found[found["check"] == "occlusion"]["severity"].tolist() == checks
    assert "visibility" not in set(found["check"])


# How flags behave


def people(flags: np.ndarray, annotators: list[str] | None = None) -> kp.Dataset:
    """One person an image with these visibilities of COCO's 17, shape (n, 17)."""
    pixels = np.zeros((500, 500), np.uint8)
    dataset = kp.Dataset.from_images({f"{i}.png": pixels for i in range(len(flags))}, COCO)
    layout = COCO.layout
    assert layout is not None
    for i, own in enumerate(flags):
        who = annotators[i] if annotators else None
        dataset.add_instance(i, keypoints=np.column_stack([50 + 400 * layout, own]), annotator=who)
    return dataset


def test_keypoint_that_is_never_occluded_where_others_are() -> None:
    rng = np.random.default_rng(0)
    flags = rng.choice([1, 2], (80, 17), p=[0.3, 0.7])
    flags[:, 5] = 2
    found = quality.check(people(flags), "flags")
    # That the right one alone is occluded in some images is told as well.
    found = found[found["reason"].str.contains("never")]
    assert found[["severity", "keypoint", "value"]].to_numpy().tolist() == [
        ["warning", "left_shoulder", 0.0]
    ]
    assert "never occluded in 80 instances (95 %: fewer than 4 %)" in found["reason"][0]


def test_always_occluded_never_labeled_and_nothing_occluded() -> None:
    flags = np.full((40, 17), 2)
    flags[:, 5], flags[:, 6] = 1, 0
    found = quality.check(people(flags), "flags")
    told = dict(zip(found["keypoint"], found["severity"], strict=True))
    assert told == {"left_shoulder": "warning", "right_shoulder": "note"}
    flags[:, 5:7] = 2
    [row] = quality.check(people(flags), "flags").itertuples()
    assert (row.severity, row.keypoint) == ("note", None)
    assert "none of 680 labeled keypoints is marked as occluded" in row.reason


def test_annotator_who_never_uses_a_flag() -> None:
    rng = np.random.default_rng(0)
    flags = rng.choice([1, 2], (60, 17), p=[0.04, 0.96])  # some half of the images have one
    flags[40:] = 2
    found = quality.check(people(flags, ["ada"] * 40 + ["bo"] * 20), "flags")
    reasons = [reason for reason in found["reason"] if "annotator" in reason]
    assert len(reasons) == 1
    assert "annotator 'bo' has marked nothing as occluded in 20 images" in reasons[0]
    # Two images without are no sign of anything.
    found = quality.check(people(flags[:42], ["ada"] * 40 + ["bo"] * 2), "flags")
    assert not found["reason"].str.contains("annotator").any()


def test_pair_that_leans_to_one_side() -> None:
    flags = np.full((60, 17), 2)
    flags[:40, 9], flags[40:45, 10] = 1, 1  # left wrist alone in 40, right wrist alone in 5
    found = quality.check(people(flags), "flags")
    leaning = found[found["reason"].str.contains("alone")]
    assert leaning[["keypoint", "value"]].to_numpy().tolist() == [["left_wrist", 40 / 45]]


# Sides


def facing(n: int) -> kp.Dataset:
    """People of the reference figure, half of them turned away, with noise of 2 px."""
    rng = np.random.default_rng(5)
    dataset = people(np.full((n, 17), 2))
    for i, person in enumerate(dataset.instances):
        points = person.keypoints.copy()
        points[:, :2] += rng.normal(0, 2, (17, 2))
        if i % 2:
            points[:, 0] = 500 - points[:, 0]
        person.set_keypoints(points)
    return dataset


def test_swapped_pair_is_found_and_repaired() -> None:
    dataset = facing(40)
    person = dataset.images[7].instances[0]
    before = person.keypoints
    points = before.copy()
    points[[11, 12]] = points[[12, 11]]
    person.set_keypoints(points)
    found = quality.check(dataset, "sides")
    assert found[["severity", "image", "keypoint"]].to_numpy().tolist() == [
        ["warning", "7.png", "left_hip"]
    ]
    quality.repair(dataset, found)
    np.testing.assert_array_equal(person.keypoints, before)
    assert len(quality.check(dataset, "sides")) == 0


@pytest.mark.parametrize(
    ("keypoint", "place"),
    [
        pytest.param("right_hip", (0, 0), id="at the origin"),
        pytest.param("left_hip", (9999, 150), id="outside"),
    ],
)
def test_a_keypoint_that_is_nowhere_is_no_swapped_side(
    keypoint: str, place: tuple[float, float]
) -> None:
    dataset = facing(30)
    dataset.instances[7].set_keypoint(keypoint, *place)
    found = quality.check(dataset, ["visibility", "sides"])
    assert found[["check", "keypoint"]].to_numpy().tolist() == [["visibility", keypoint]]


def test_too_few_instances_to_learn_sides_from() -> None:
    [row] = quality.check(facing(4), "sides").itertuples()
    assert row.severity == "note"
    assert "not enough data: 4 instances" in row.reason


@pytest.mark.parametrize(
    ("flip_pairs", "told"),
    [
        pytest.param([("left_a", "right_a")], "compared with two others, and there are 1", id="1"),
        pytest.param([], "its schema has no flip pairs", id="none"),
    ],
)
def test_sides_that_cannot_be_looked_at_are_a_note(flip_pairs: Any, told: str) -> None:
    schema = kp.Schema("x", ["left_a", "right_a", "tail"], flip_pairs=flip_pairs)
    dataset = kp.Dataset.from_images({"a.png": np.zeros((99, 99, 3), np.uint8)}, schema)
    dataset.add_instance(0, keypoints={"left_a": (10, 20), "right_a": (50, 20), "tail": (30, 80)})
    [row] = quality.check(dataset, "sides").itertuples()
    assert (row.severity, row.image) == ("note", None)
    assert told in row.reason


def test_without_two_sides_there_is_nothing_to_say_of_them() -> None:
    dataset = kp.Dataset.from_images(
        {"a.png": np.zeros((9, 9, 3), np.uint8)}, kp.Schema("x", ["a", "b"])
    )
    dataset.add_instance(0, keypoints={"a": (1, 2), "b": (3, 4)})
    assert len(quality.check(dataset, "sides")) == 0


def test_swap_against_the_frames_beside() -> None:
    schema = kp.Schema("x", ["l", "r"], flip_pairs=[("l", "r")])
    t = np.arange(30)
    xy = np.stack(
        [np.stack([100.0 + t, 50.0 + 0 * t], 1), np.stack([200.0 + t, 60.0 + 0 * t], 1)], 1
    )
    xy[12:14] = xy[12:14, ::-1]
    found = quality.check(clip(xy, schema), "sides")
    assert found["image"].tolist() == ["clip_012.png", "clip_013.png"]
    assert set(found["keypoint"]) == {"l"}


# Jitter


def test_noise_is_the_formula_of_second_differences() -> None:
    x = np.random.default_rng(2).normal(0, 3, 42)
    values = x[2:] - 2 * x[1:-1] + x[:-2]
    mad = sorted(abs(v - sorted(values)[19] / 2 - sorted(values)[20] / 2) for v in values)
    expected = 1.4826 * (mad[19] + mad[20]) / 2 / math.sqrt(6)
    found = quality.label_noise(values)
    assert found.sd == pytest.approx(expected, rel=1e-4)
    # The interval: exp(1.96 sqrt(1.97727 / 40)) = 1.5463 either way.
    assert found.high / found.sd == pytest.approx(1.5463, rel=1e-3)
    assert found.sd / found.low == pytest.approx(1.5463, rel=1e-3)
    assert found.n == 40


def test_curved_motion_is_taken_out_by_third_differences() -> None:
    # x = t^3 has second differences 6 t, which would be all there is, and third ones of 6.
    noise = np.random.default_rng(2).normal(0, 3, 43)
    x = np.arange(43.0) ** 3 + noise
    third = x[3:] - 3 * x[2:-1] + 3 * x[1:-2] - x[:-3]
    mad = np.median(np.abs(third - np.median(third)))
    found = quality.label_noise(x[2:] - 2 * x[1:-1] + x[:-2])
    assert found.sd == pytest.approx(1.4826 * mad / math.sqrt(20), rel=1e-4)
    # exp(1.96 sqrt(2.27474 / 40)) = 1.5958
    assert found.high / found.sd == pytest.approx(1.5958, rel=1e-3)
    assert found.n == 40


def test_too_few_differences_are_not_enough_data() -> None:
    assert math.isnan(quality.label_noise(np.zeros(19)).sd)
    assert quality.label_noise(np.zeros(19)).n == 19


@pytest.mark.parametrize("sd", [0.5, 2.0, 5.0])
def test_noise_is_recovered_under_a_large_motion(sd: float) -> None:
    # The figures of the reference: an 80-px sinusoid of 60 frames.
    rng = np.random.default_rng(1)
    t = np.arange(1200)
    x = 80 * np.sin(2 * np.pi * t / 60)[:, None] + rng.normal(0, sd, (1200, 2))
    found = quality.label_noise(x[2:] - 2 * x[1:-1] + x[:-2])
    assert found.sd == pytest.approx(sd, rel=0.08)


def test_noise_of_whole_pixels_is_no_number_of_the_grid() -> None:
    rng = np.random.default_rng(4)
    x = np.round(np.cumsum(np.full((3000, 1), 0.37), axis=0) + rng.normal(0, 1.0, (3000, 1)))
    found = quality.label_noise(x[2:] - 2 * x[1:-1] + x[:-2])
    assert found.sd == pytest.approx(math.hypot(1.0, math.sqrt(1 / 12)), rel=0.05)


@pytest.mark.parametrize("n_points", [5, 9])
def test_the_camera_takes_no_noise_with_it(n_points: int) -> None:
    schema = kp.Schema("x", [f"p{i}" for i in range(n_points)])
    rng = np.random.default_rng(1)
    xy = 300 + 20.0 * np.arange(n_points)[None, :, None] + rng.normal(0, 2, (600, n_points, 2))
    found = quality.jitter(clip(xy, schema)).estimates
    assert found["sd_px"].mean() == pytest.approx(2, rel=0.03)


def test_rigid_motion_of_all_points_is_the_camera() -> None:
    rng = np.random.default_rng(0)
    xy = 500 + 30.0 * np.arange(17)[None, :, None] + rng.normal(0, 1, (100, 17, 2))
    shaken = xy + rng.normal(0, 8, (100, 1, 2))
    still, found = (quality.jitter(clip(one, COCO)).estimates for one in (xy, shaken))
    assert found["sd_px"].mean() == pytest.approx(still["sd_px"].mean(), rel=0.02)
    assert found["camera_px"][0] == pytest.approx(8, rel=0.3)


def test_twitch_jump_and_turn_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    xy = 500 + 40.0 * np.arange(6)[None, :, None] + rng.normal(0, 1, (60, 6, 2))
    xy[20, 1, 0] += 25
    xy[35:, 3, 1] -= 30
    xy[40:, 5, 0] += 20.0 * np.arange(20)  # it runs off: motion, not a fault
    events = quality.jitter(clip(xy)).events
    assert events[["image", "keypoint", "kind"]].to_numpy().tolist() == [
        ["clip_020.png", "k1", "twitch"],
        ["clip_035.png", "k3", "jump"],
    ]
    assert_allclose(events["size_px"], [25, 30], atol=4)
    found = quality.check(clip(xy), "jitter")
    assert found["instance"].tolist()[:2] == ["u20", "u35"]


def test_many_events_of_a_keypoint_are_one_finding_at_the_largest() -> None:
    rng = np.random.default_rng(2)
    path = 500 + 40.0 * np.arange(17)[None, :, None] + rng.normal(0, 0.5, (120, 17, 2))
    path[10:100:15, 3, 0] += [20, 20, 40, 20, 20, 20]  # six twitches
    path[[20, 50], 5, 1] += 20  # two of another keypoint
    dataset = clip(path, COCO)
    events = quality.jitter(dataset).events
    assert events["keypoint"].value_counts().to_dict() == {"left_ear": 6, "left_shoulder": 2}
    found = quality.check(dataset, "jitter")
    found = found[found["image"].notna()]
    assert found["keypoint"].tolist() == ["left_ear", "left_shoulder", "left_shoulder"]
    assert found["kind"].tolist() == ["twitches", "twitch", "twitch"]
    one = found.iloc[0]
    assert one["image"] == events["image"][2]
    assert "the largest of 6 twitches of this keypoint in track" in one["reason"]
    assert ", ".join(events["image"][:6]) in one["reason"]


def test_interpolated_frames_do_not_count() -> None:
    rng = np.random.default_rng(0)
    xy = 500 + rng.normal(0, 2, (60, 1, 2))
    dataset = clip(xy)
    with_made = clip(xy)
    for i in range(40, 60):
        with_made.instance(f"u{i}").remove()
        with_made.add_instance(i, keypoints=[[500.0 + i, 500.0]], track_id=1, source="interpolated")
    estimate = quality.jitter(with_made).estimates.iloc[0]
    cut = quality.jitter(clip(xy[:40])).estimates.iloc[0]
    assert estimate["sd_px"] == cut["sd_px"]
    assert (estimate["n"], estimate["n_interpolated"]) == (76, 20)
    assert quality.jitter(dataset).estimates.iloc[0]["n"] == 116


def test_linear_interpolation_without_a_source_is_not_called_perfect() -> None:
    keys = 500 + np.random.default_rng(0).normal(0, 20, (13, 2))
    t = np.arange(61)
    xy = np.stack([np.interp(t, t[::5], keys[:, axis]) for axis in (0, 1)], axis=1)[:, None]
    estimate = quality.jitter(clip(xy)).estimates.iloc[0]
    assert estimate["verdict"] == "looks interpolated or copied"
    assert math.isnan(estimate["sd_px"])


def test_only_runs_of_three_labeled_frames_count() -> None:
    xy = 500 + np.random.default_rng(0).normal(0, 2, (60, 1, 2))
    dataset = clip(xy)
    for i in range(0, 60, 3):
        dataset.instance(f"u{i}").clear_keypoint(0)
    assert quality.jitter(dataset).estimates.iloc[0]["n"] == 0


def test_without_track_ids_it_says_so() -> None:
    xy = 500 + np.random.default_rng(0).normal(0, 2, (60, 1, 2))
    dataset = clip(xy, track_id=None)
    found = quality.jitter(dataset)
    assert len(found.estimates) == 0
    assert "60 of 60 instances have no track_id" in found.problem
    assert quality.jitter(dataset, is_sequence=True).estimates.iloc[0]["n"] == 116
    [row] = quality.check(dataset, "jitter").itertuples()
    assert (row.severity, row.check) == ("note", "jitter")


def test_units_of_sigma_s() -> None:
    # s = 100 (area 10,000), sigma = 0.05: sigma*s = 5 px; the distance in the plane is sqrt(2) sd.
    xy = 500 + np.random.default_rng(0).normal(0, 10, (300, 1, 2))
    dataset = clip(xy, bbox=(450, 450, 100, 100))
    row = quality.jitter(dataset).estimates.iloc[0]
    assert row["sigmas"] == pytest.approx(row["sd_still_px"] * math.sqrt(2) / 5)
    found = quality.check(dataset, "jitter")
    assert "10.0 px" in found["reason"][0] or "sigma*s (95 %" in found["reason"][0]
    assert found["threshold"][0] == 1.0


# Coverage


@pytest.mark.parametrize(
    ("c", "degrees"),
    [
        pytest.param((20, 0), 180, id="stretched"),
        pytest.param((10, 5), 90, id="right"),
        pytest.param((10, -5), 90, id="unsigned"),
        pytest.param((5, 5), 45, id="acute"),
        pytest.param((10, 0), math.nan, id="same place"),
    ],
)
def test_angle_at_a_joint(c: tuple[float, float], degrees: float) -> None:
    points = np.array([[(0, 0, 2), (10, 0, 1), (*c, 2)]], float)
    assert_allclose(quality.joint_angles(points, 0, 1, 2), [degrees])
    points[0, 0, 2] = 0
    assert math.isnan(quality.joint_angles(points, 0, 1, 2)[0])


def test_angles_are_those_of_keypoints_with_two_neighbours() -> None:
    # COCO's skeleton: shoulders, hips and eyes have more, wrists and ankles one.
    middle = [b for _, b, _ in default_angles(COCO)]
    assert set(middle) == {
        *("nose", "left_ear", "right_ear", "left_elbow", "right_elbow", "left_knee", "right_knee")
    }


def arms(degrees: list[float]) -> kp.Dataset:
    """One arm an image, bent by these angles at the elbow."""
    schema = kp.Schema("arm", ["shoulder", "elbow", "wrist"], [(1, 2), (2, 3)])
    pixels = np.zeros((300, 300), np.uint8)
    dataset = kp.Dataset.from_images({f"{i}.png": pixels for i in range(len(degrees))}, schema)
    for i, turn in enumerate(np.radians(degrees)):
        wrist = (150 - 80 * np.cos(turn), 150 + 80 * np.sin(turn))
        dataset.add_instance(i, keypoints=[(70, 150), (150, 150), wrist], bbox=(50, 50, 200, 200))
    return dataset


def test_counts_and_empty_bins_beside_filled_ones() -> None:
    table = quality.coverage(arms([100.0] * 20 + [170.0] * 10 + [179.9] * 10))
    elbow = table[(table["dimension"] == "elbow") & (table["by"] == "")]
    assert elbow["n"].tolist() == [0, 0, 0, 20, 0, 20]
    assert elbow["is_next_to_filled"].tolist() == [False, False, True, False, True, False]
    assert_allclose(elbow[["share", "low", "high"]].iloc[0], [0, 0, 3 / 40])
    assert_allclose(elbow["expected"], 40 / 6)
    # 40 instances fill no table of 6 x 3 bins.
    assert set(table["by"]) == {""}
    [first, *_] = coverage_findings(table, "arm")
    assert (first.keypoint, first.value, first.kind) == ("elbow", 4, "arm: elbow")
    assert first.reason == (
        "arm: no instance with elbow at 60-90°, 120-150°, further off 0-30°, 30-60° among 40 "
        "(95 %: fewer than 8 % each; not known of 0)"
    )


def test_empty_bins_are_one_finding_a_dimension() -> None:
    # 150 arms of three sizes, all bent by 100 or 170 degrees; the small ones are never stretched.
    dataset = arms([100.0, 170.0] * 50 + [100.0] * 50)
    for i, instance in enumerate(dataset.instances):
        side = 20 if i >= 100 else 60 if i < 25 else 200
        instance.set_bbox((50, 50, side, side))
    table = quality.coverage(dataset)
    found = {one.kind: one for one in coverage_findings(table, "arm")}
    assert set(found) == {"arm: elbow", "arm: visible"}
    elbow = found["arm: elbow"]
    # Alone: 4 of 6. By size: the small ones at 150-180. By share of visible ones: nothing but what
    # is empty alone.
    assert elbow.value == 5
    assert "1 of 18 bins of elbow by size (150-180° < 32 px)" in elbow.reason
    assert "by visible" not in elbow.reason
    # Once a bin is filled it is the same finding, with another number: decisions hold.
    turn = np.radians(130)
    dataset.instances[-1].set_keypoint("wrist", 150 - 80 * np.cos(turn), 150 + 80 * np.sin(turn))
    [fewer] = [
        one
        for one in coverage_findings(quality.coverage(dataset), "arm")
        if one.keypoint == "elbow"
    ]
    assert fewer.kind == elbow.kind
    assert "at 60-90°, further off 0-30°, 30-60° among 150" in fewer.reason


def test_few_instances_are_not_enough_data() -> None:
    found = quality.check(arms([100.0] * 8), "coverage")
    assert found["reason"].tolist() == [
        "arm: not enough data for elbow, size, visible: fewer than 5 instances a bin"
    ]


def test_images_with_poses_that_are_missing_come_first() -> None:
    dataset = arms([100.0] * 30 + [170.0] * 20)
    for i in range(46, 50):
        dataset.images[i].instances[0].remove()
    predictions = arms([100.0] * 46 + [100.0, 20.0, 25.0, 75.0])
    found = quality.label_next(dataset, predictions)
    # 47 and 48 fill the same bin: the second of them fills nothing any more.
    assert found["image"].tolist()[:2] == ["47.png", "49.png"]
    assert found["n_filled"].tolist() == [1, 1, 0, 0]
    assert found["fills"].tolist()[:2] == ["elbow 0-30°", "elbow 60-90°"]
    assert set(found["image"]) == {"46.png", "47.png", "48.png", "49.png"}


def test_predictions_of_no_unlabeled_image_are_refused() -> None:
    dataset = arms([100.0] * 3)
    with pytest.raises(ValueError, match="0 unlabeled images; they are matched by file name"):
        quality.label_next(dataset, dataset)


# Drift


def test_shift_is_found_where_it_is_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(size=(100, 34))
    differences[60:, 7] += 2
    test = quality.drift_test(differences, rng=1)
    assert np.flatnonzero(test.p_values <= 0.05).tolist() == [7]
    assert test.p_value == 1 / 1000
    assert abs(test.change[7] - 60) <= 2
    assert test.low[7] < 2 < test.high[7]


def test_interval_of_a_shift_is_welchs() -> None:
    values = np.array([0.0, 1, -1, 0.5, -0.5, 0.2, -0.2, 0.3, -0.3, 0.1, -0.1, 0, 0.4, -0.4, 0.6,
                       -0.6, 0.7, -0.7, 20, 24])[:, None]  # fmt: skip
    test = quality.drift_test(values)
    assert test.change[0] == 18
    from scipy.stats import ttest_ind

    expected = ttest_ind(values[18:, 0], values[:18, 0], equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert_allclose([test.low[0], test.high[0]], [interval.low, interval.high])


def test_statistic_is_the_range_of_the_cumulative_sum() -> None:
    # By hand: ten of -1, ten of 1; standardised with sd sqrt(20 / 19), the sum goes to -10 / sd.
    differences = np.repeat([[-1.0], [1.0]], 10, axis=0)
    test = quality.drift_test(differences)
    assert test.statistic[0] == pytest.approx(10 / math.sqrt(20 / 19) / math.sqrt(20))
    assert (test.change[0], test.shift[0], test.n_images) == (10, 2.0, 20)


def test_rows_of_one_image_count_once() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(size=(30, 2))
    rows = np.repeat(means, 3, axis=0)
    one = quality.drift_test(means, rng=0)
    many = quality.drift_test(rows, np.repeat(np.arange(30), 3), rng=0)
    assert many.n_images == 30
    assert_allclose(many.p_values, one.p_values)


def test_the_same_seed_gives_the_same_and_unknown_values_stay_out() -> None:
    differences = np.random.default_rng(0).normal(size=(50, 4))
    differences[:, 2] = np.nan
    differences[::2, 1] = np.nan
    a, b = quality.drift_test(differences, rng=3), quality.drift_test(differences, rng=3)
    assert_allclose(a.p_values, b.p_values)
    assert math.isnan(a.p_values[2])
    assert a.change[2] == -1


def test_few_images_are_not_enough_data_for_drift() -> None:
    assert math.isnan(quality.drift_test(np.zeros((19, 3))).p_value)
    with pytest.raises(ValueError, match="images has 2 items, expected 3"):
        quality.drift_test(np.zeros((3, 1)), [1, 2])


def test_offsets_from_others_follow_a_moved_keypoint_alone() -> None:
    dataset = facing(60)
    before = offsets_from_others(next(iter(labels_of(dataset))))
    assert np.abs(before).mean() < 0.01
    for person in dataset.instances[30:]:
        x, y, _ = person.keypoints[9]
        person.set_keypoint(9, x, y + 40)
    labels = next(iter(labels_of(dataset)))
    after = offsets_from_others(labels)
    step = after[30:, :, 1].mean(axis=0) - after[:30, :, 1].mean(axis=0)
    assert np.argmax(np.abs(step)) == 9
    assert step[9] * np.median(labels.size) == pytest.approx(40, rel=0.2)


def test_a_change_is_measured_in_full_in_few_images_and_at_the_end_of_the_box() -> None:
    # Figures of any width and height, 60 of them, 32 places of others to fit to. The left wrist is
    # the end of the box that nobody has given.
    rng, layout, steps = np.random.default_rng(8), np.array(COCO.layout), []
    for _ in range(3):
        pixels = np.zeros((600, 600), np.uint8)
        dataset = kp.Dataset.from_images({f"{i}.png": pixels for i in range(60)}, COCO)
        for i in range(60):
            xy = 20 + rng.uniform((150, 200), (350, 450)) * layout + rng.normal(0, 5, (17, 2))
            xy[9, 0] += 20 * (i >= 30)
            dataset.add_instance(i, keypoints=xy)
        labels = next(iter(labels_of(dataset)))
        px = offsets_from_others(labels)[:, 9, 0] * labels.size
        steps.append(px[30:].mean() - px[:30].mean())
    assert np.mean(steps) == pytest.approx(20, abs=3)


def test_offsets_take_memory_as_there_are_instances_not_as_there_are_pairs_of_them() -> None:
    n, schema = 4000, kp.Schema("s", [f"k{i}" for i in range(4)])
    dataset = kp.Dataset.from_images({"a.png": np.zeros((600, 600), np.uint8)}, schema)
    with dataset.transaction("add"):
        for xy in np.random.default_rng(0).uniform(0, 600, (n, 4, 2)):
            dataset.add_instance(0, keypoints=xy)
    labels = next(iter(labels_of(dataset)))
    tracemalloc.start()
    try:
        offsets_from_others(labels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < n * n * 8 / 4


def test_drift_of_a_journal_names_the_keypoint_and_says_what_it_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KPWIDGET_JOURNAL", raising=False)
    pixels = np.zeros((500, 500), np.uint8)
    source = facing(60)
    images = {image.file_name: pixels for image in source.images}
    dataset = kp.open(tmp_path / "labels.json", images=images, schema=COCO, annotator="ada")
    for i, person in enumerate(source.instances):
        points = person.keypoints.copy()
        points[9, 1] += 30 * (i >= 35)
        dataset.add_instance(person.image.file_name, keypoints=points)
    found = quality.check(dataset, "drift")
    assert found["severity"].unique().tolist() == ["warning", "note"]
    assert "'ada': 0 of the 20 anchors that are needed" in found["reason"].iloc[-1]
    found = found[found["severity"] == "warning"]
    first = found.sort_values("value", key=np.abs, ascending=False).iloc[0]
    assert first["keypoint"] == "left_wrist"
    assert "annotator 'ada': content or convention changes" in first["reason"]
    assert first["image"] in {f"{i}.png" for i in range(33, 38)}


def test_drift_of_one_of_many_people_can_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of two people and 19 shuffles no p is below 1/20, and Holm asks for 1/40: as of 51 and 999.
    monkeypatch.setattr(sys.modules["kpwidget.quality.drift"], "_PERMUTATIONS", 19)
    rng = np.random.default_rng(1)
    schema = kp.Schema("mark", ["a", "b", "c"], [(1, 2)])
    images = {f"{i:02}.png": np.zeros((99, 99), np.uint8) for i in range(40)}
    dataset = kp.open(tmp_path / "marks.json", images, schema)
    for i in range(40):
        points = np.array([(20, 20), (60, 20), (40, 60)]) + rng.normal(0, 0.5, (3, 2))
        points[2, 0] += 30 * (i >= 30)
        dataset.annotator = f"p{i // 20}"
        dataset.add_instance(i, keypoints=points, bbox=(10, 10, 60, 60))
    found = quality.check(dataset, "drift")
    warnings = found[found["severity"] == "warning"]
    assert "c" in set(warnings["keypoint"])
    assert warnings["reason"].str.contains("annotator 'p1'").all()


def test_without_a_journal_drift_is_a_note() -> None:
    [row] = quality.check(facing(30), "drift").itertuples()
    assert row.severity == "note"
    assert "order of labeling is not known" in row.reason


def test_anchors_are_told_as_convention() -> None:
    differences = np.random.default_rng(0).normal(0, 0.02, (40, 2, 2))
    differences[20:, 1, 0] += 0.05
    images = [f"{i}.png" for i in range(40)]
    one = Drift.of_differences(
        differences, images, ["a", "b"], np.array([0.05, 0.05]), 200.0, annotator="ada"
    )
    [found] = quality.drift_findings([one])
    assert found.keypoint == "b"
    assert "its convention changes from here on: +" in found.reason
    assert found.value == pytest.approx(1.0, abs=0.3)  # 0.05 s is one sigma*s


# All together


def test_unknown_check_is_refused(tiny_dataset: kp.Dataset) -> None:
    with pytest.raises(ValueError, match="there is no 'visiblity', expected some of visibility, "):
        quality.check(tiny_dataset, "visiblity")


def test_where_sigmas_come_from_is_told() -> None:
    found = quality.check(facing(3), "flags")
    assert found.attrs["sigma_source"] == {"coco17": COCO.sigma_source}
    assert quality.check(arms([90.0]), "flags").attrs["sigma_source"] == {"arm": "assumed"}
    given = quality.check(arms([90.0]), "flags", sigmas=[0.1, 0.1, 0.1])
    assert given.attrs["sigma_source"] == {"arm": "given"}


def test_check_changes_nothing(tiny_dataset: kp.Dataset) -> None:
    before = tiny_dataset.to_pandas()
    quality.check(tiny_dataset)
    pd.testing.assert_frame_equal(tiny_dataset.to_pandas(), before)
    assert tiny_dataset.undo_top() is not None
    assert tiny_dataset.undo_top().label == "tiny"


def test_dataset_without_instances_has_only_notes(tiny_schema: kp.Schema) -> None:
    empty = kp.Dataset.from_images({"a.png": np.zeros((4, 4), np.uint8)}, tiny_schema)
    assert set(quality.check(empty)["severity"]) <= {"note"}
