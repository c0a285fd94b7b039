"""Drift by labels of the same images: the test of pairs, where they are from, how they look."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import kpwidget as kp
from kpwidget import quality

BOLT = kp.Schema("bolt", ["head", "tip"], [(1, 2)])
N, SINCE, CHANGE = 40, 12, 26


def labeled_twice(folder: Path, n: int = N, shift: float = 8.0) -> kp.Dataset:
    """`n` images labeled in their order, from the 13th on one of long before again each time.

    Bolts of 100 px that point to the right, s = 100 px; from image 26 on the tip is set `shift` px
    further along. The noise is 0.5 px.
    """
    rng = np.random.default_rng(4)
    pixels = np.full((200, 300), 90, np.uint8)
    images = {f"{i}.png": pixels for i in range(N)}
    dataset = kp.open(folder / "labels.json", images, BOLT, annotator="ada")
    again = dataset.start_pass("anchor")

    def label(where: kp.Dataset, image: int, now: int) -> None:
        points = np.array([(100.0, 100.0), (200.0, 100.0)]) + rng.normal(0, 0.5, (2, 2))
        points[1, 0] += shift * (now >= CHANGE)
        where.add_instance(image, keypoints=points, bbox=(100, 50, 100, 100))

    clock = itertools.count(1.7e9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kpwidget.history.time.time", lambda: next(clock))
        for i in range(n):
            label(dataset, i, i)
            if i >= SINCE:
                label(again, i - SINCE, i)
    dataset.add_pass(again, "anchor")
    return dataset


# The test of pairs


def test_statistic_of_pairs_is_the_largest_over_all_changes() -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 80, 30)
    times = np.sort(np.column_stack([first, first + rng.uniform(5, 60, 30)]), axis=0)
    values = rng.normal(size=(30, 3))
    values[4, 1] = np.nan
    test = quality.drift_test(values, times=times)
    for series in range(3):
        known = values[np.isfinite(values[:, series]), series]
        size = math.sqrt(sum(v * v for v in known) / len(known))
        largest, best = 0.0, math.nan
        for change in sorted(times.ravel())[1:]:  # once more, one by one
            across = [
                value
                for value, (early, late) in zip(values[:, series], times, strict=True)
                if early < change <= late and not math.isnan(value)
            ]
            if len(across) >= 5:
                statistic = abs(sum(across)) / math.sqrt(len(across)) / size
                if statistic > largest:
                    largest, best = statistic, change
        assert test.statistic[series] == pytest.approx(largest)
        assert test.change_time[series] == best


def test_change_is_found_between_the_labels_that_it_lies_between() -> None:
    # By hand: 40 pairs 20 apart, the convention changes by 2 at 30: pairs 11 to 30 tell of it.
    times = np.column_stack([np.arange(40), np.arange(40) + 20])
    values = np.random.default_rng(1).normal(0, 0.2, (40, 2))
    is_across = (times[:, 0] < 30) & (times[:, 1] >= 30)
    values[is_across, 1] += 2
    test = quality.drift_test(values, times=times)
    assert test.p_value == test.p_values[1] == 0.001  # none of 999
    assert (test.change_time[1], test.change[1], test.n_across[1]) == (30, 10, 20)
    mean, sd = values[is_across, 1].mean(), values[is_across, 1].std(ddof=1)
    half = (
        2.093 * sd / math.sqrt(20)
    )  # Student's t with 19 degrees of freedom, 97.5 %, from a table
    assert_allclose([test.shift[1], test.low[1], test.high[1]], [mean, mean - half, mean + half],
                    rtol=1e-4)  # fmt: skip
    assert test.p_values[0] > 0.05


def test_a_change_between_two_passes_is_found_though_their_order_is_blind_to_it() -> None:
    values = np.random.default_rng(2).normal(0, 1, (60, 4))
    values[:, 2] += 1.5
    times = np.column_stack([np.arange(60), 100 + np.arange(60)])
    assert quality.drift_test(values).p_value > 0.05
    test = quality.drift_test(values, times=times)
    assert test.p_values[2] <= 0.002
    assert 50 < test.change_time[2] < 110
    assert test.n_across[2] > 50


def test_images_are_turned_around_whole() -> None:
    # Three equal rows of an image are no more than one: exactly so if signs are those of images.
    values = np.random.default_rng(3).normal(0.4, 1, (24, 2))
    times = np.column_stack([np.arange(24), 100 + np.arange(24)])
    one = quality.drift_test(values, times=times)
    rows, of = np.repeat(values, 3, axis=0), np.repeat(np.arange(24), 3)
    many = quality.drift_test(rows, of, times=np.repeat(times, 3, axis=0))
    assert_allclose(many.p_values, one.p_values)
    assert_allclose([many.low, many.high], [one.low, one.high])
    assert_allclose(many.n_across, one.n_across)


def test_an_image_counts_once_in_each_series_whatever_is_not_known() -> None:
    # Three rows of an image of which a series knows one only are as much as that one row.
    values = np.random.default_rng(3).normal(0.4, 1, (24, 2))
    times = np.column_stack([np.arange(24), 100 + np.arange(24)])
    one = quality.drift_test(values, times=times)
    rows, of = np.repeat(values, 3, axis=0), np.repeat(np.arange(24), 3)
    rows[1::3, 1] = rows[2::3, 1] = math.nan
    many = quality.drift_test(rows, of, times=np.repeat(times, 3, axis=0))
    assert_allclose(many.statistic, one.statistic)
    assert_allclose(many.p_values, one.p_values)


def test_pairs_need_their_times() -> None:
    for times in ([(0, 1)] * 3, [(2, 1)] * 4, [(0, math.nan)] * 4):
        with pytest.raises(ValueError, match="times: expected 4 pairs of numbers, the earlier one"):
            quality.drift_test(np.zeros((4, 1)), times=times)


# From a dataset


def test_drift_is_told_by_the_anchors_of_the_same_person(tmp_path: Path) -> None:
    dataset = labeled_twice(tmp_path)
    [one] = quality.drift(dataset)
    assert one.is_anchored
    assert one.n_anchors == N - SINCE
    row = one.series.set_index(["keypoint", "axis"]).loc["tip", "along"]
    # Images 14 to 25 were labeled before the change and again after it.
    assert (row.n, row.n_across, row.image) == (28, 12, "26.png")
    assert row.shift_px == pytest.approx(8, abs=0.6)
    assert row.low_px < 8 < row.high_px
    assert row.shift_sigmas == pytest.approx(8 / (0.05 * 100), rel=0.1)  # 0.05: nothing is known
    assert row.p == 0.001
    assert (one.series.set_index(["keypoint", "axis"]).p.drop(("tip", "along")) > 0.05).all()
    history = dataset.history()
    labeled = history[history["what"] == "instance"].set_index("instance")["time"]
    assert_allclose(one.pairs["first"], [labeled[uid].timestamp() for uid in one.pairs["uid"]])
    assert (one.pairs["again"] > one.pairs["first"]).all()
    found = quality.check(dataset, "drift")
    assert found["keypoint"].tolist() == ["tip"]
    assert "annotator 'ada': its convention changes from here on: +" in found["reason"][0]
    assert "px along the limb" in found["reason"][0]
    assert "12 of 28 images" in found["reason"][0]


def test_of_too_few_anchors_the_content_is_not_told_apart(tmp_path: Path) -> None:
    dataset = labeled_twice(tmp_path, n=SINCE + 19)
    [one] = quality.drift(dataset)
    assert (one.is_anchored, one.n_anchors) == (False, 19)
    notes = quality.check(dataset, "drift")["reason"].tolist()
    assert any("'ada': 19 of the 20 anchors that are needed" in note for note in notes)


def test_a_pass_of_somebody_else_is_no_anchor(tmp_path: Path) -> None:
    dataset = labeled_twice(tmp_path)
    dataset.add_pass(labels := dataset.passes.labels("anchor"), "ben", annotator="ben")
    assert len(labels.instances) == N - SINCE
    [one] = quality.drift(dataset)
    assert one.pairs["name"].unique().tolist() == ["anchor"]


def test_a_keypoint_that_was_moved_since_is_the_later_one_and_no_other(tmp_path: Path) -> None:
    dataset = labeled_twice(tmp_path)
    before = quality.drift(dataset)[0]
    uid = before.pairs["uid"][0]
    x, y, _ = dataset.passes[0].keypoints()[1]
    dataset.instance(uid).set_keypoint("tip", x + 10, y)
    moved = quality.drift(dataset)[0]
    own = moved.pairs[moved.pairs["uid"] == uid]
    assert own.index.tolist() == [0, len(before.pairs)]
    # The head is as it was; of the tip the opinion, of second 27, is the earlier one now.
    assert own[["first", "again"]].to_numpy()[0].tolist() == (
        before.pairs[["first", "again"]].to_numpy()[0].tolist()
    )
    assert own["first"].iloc[1] == own["again"].iloc[0]
    assert_allclose(moved.values[0, 0], before.values[0, 0], atol=1e-6)  # the limb turns a little
    assert moved.values[0, 1, 0] == pytest.approx(0.10, abs=0.002)  # 10 px of s = 100 px
    assert (moved.series["n"] == 28).all()


def test_flags_and_what_was_undone_are_no_later_labels(tmp_path: Path) -> None:
    dataset = labeled_twice(tmp_path)
    before = quality.drift(dataset)[0]
    instance = dataset.instance(before.pairs["uid"][0])
    x, y, _ = instance.keypoints[1]
    instance.set_keypoint("tip", x, y, 1)
    instance.set_keypoint("tip", 0.0, 0.0)
    dataset.undo()
    after = quality.drift(dataset)[0]
    assert after.pairs.equals(before.pairs)
    assert after.series.equals(before.series)


def test_keypoints_that_somebody_else_has_moved_are_left_out(tmp_path: Path) -> None:
    dataset = labeled_twice(tmp_path)
    for uid in quality.drift(dataset)[0].pairs["uid"][:3]:
        x, y, _ = dataset.instance(uid).keypoints[1]
        dataset.annotator = "ben"
        dataset.instance(uid).set_keypoint("tip", x + 30, y)
    ada, ben = quality.drift(dataset)
    assert ada.series.set_index(["keypoint", "axis"])["n"].to_dict() == {
        ("head", "along"): 28, ("head", "across"): 28, ("tip", "along"): 25, ("tip", "across"): 25,
    }  # fmt: skip
    assert (ben.annotator, len(ben.images), ben.n_anchors) == ("ben", 3, 0)


# Drawn


def test_pictures_show_both_labels_on_either_side_of_a_change(tmp_path: Path) -> None:
    dataset = labeled_twice(tmp_path)
    [one] = quality.drift(dataset)
    ax = kp.plot_drift(one, data=dataset)
    assert "convention changes by +" in ax.get_title()
    assert "12 of them across it" in ax.get_title()
    assert len(ax.child_axes) == 6
    names = [crop.get_xlabel() for crop in ax.child_axes]
    assert names == ["13.png", "26.png", "27.png", "14.png", "15.png", "16.png"]
    assert all(len(crop.images) == 1 for crop in ax.child_axes)
    for crop, name in zip(ax.child_axes, names, strict=True):
        [labels] = [c for c in crop.collections if c.get_gid() == "labels"]
        [opinion] = [o for o in dataset.passes if dataset.instance(o.uid).image.file_name == name]
        first = dataset.instance(opinion.uid).keypoints[1, :2]
        assert_allclose(labels.get_offsets(), [first, opinion.keypoints()[1, :2]])
    assert kp.plot_drift(one).child_axes == []


def test_without_image_files_it_says_so(tmp_path: Path) -> None:
    dataset = labeled_twice(tmp_path)
    [one] = quality.drift(dataset)
    for state in dataset._images:
        state.data, state.source = tmp_path / "gone.png", None
    ax = kp.plot_drift(one, data=dataset)
    for crop in ax.child_axes:
        assert [text.get_text() for text in crop.texts] == ["no picture"]
        assert len(crop.images) == 0
        assert any(c.get_gid() == "labels" for c in crop.collections)
