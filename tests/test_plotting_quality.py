"""Figures of the quality checks: artists are read back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import kpwidget as kp
from kpwidget.quality.drift import Drift
from kpwidget.quality.jitter import Jitter


def artist(ax: Any, gid: str) -> Any:
    [found] = [one for one in ax.get_children() if one.get_gid() == gid]
    return found


@pytest.fixture
def jittery() -> Jitter:
    """Frames 2 to 61 of a clip, a jump of k1 at frame 32."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((2, 2), np.uint8)
    names = {f"c_{i:03}.png": pixels for i in range(70)}
    dataset = kp.Dataset.from_images(names, kp.Schema("x", ["a $b$", "k1"]))
    for i in range(2, 62):
        xy = rng.normal(100, 1, (2, 2))
        xy[1] += 30 * (i >= 32)
        dataset.add_instance(i, keypoints=xy, track_id=7)
    return kp.quality.jitter(dataset)


def test_jitter_is_drawn_by_frame_and_keypoint(jittery: Jitter) -> None:
    ax = kp.plot_jitter(jittery)
    picture = artist(ax, "differences").get_array()
    [(frames, sds)] = jittery.series.values()
    assert frames.tolist() == list(range(2, 62))
    assert_allclose(np.ma.filled(picture, np.nan), sds.T)
    assert_allclose(artist(ax, "jump").get_offsets(), [[32, 1]])
    assert ax.get_xlim() == (1.5, 61.5)
    first = ax.get_yticklabels()[0]
    assert first.get_text().startswith("a $b$  ")
    assert not first.get_parse_math()
    assert "0 twitches, 1 jump" in ax.get_title().replace("\n", " ")


def test_no_such_track(jittery: Jitter) -> None:
    with pytest.raises(ValueError, match="expected category, clip and track of "):
        kp.plot_jitter(jittery, ("x", "c_", "8"))


def test_coverage_counts_and_frames_of_empty_bins() -> None:
    schema = kp.Schema("arm", ["s", "e", "w"], [(1, 2), (2, 3)])
    pixels = np.zeros((300, 300), np.uint8)
    dataset = kp.Dataset.from_images({f"{i}.png": pixels for i in range(4)}, schema)
    for i, turn in enumerate(np.radians([100, 100, 170, 170])):
        wrist = (150 - 80 * np.cos(turn), 150 + 80 * np.sin(turn))
        dataset.add_instance(i, keypoints=[(70, 150), (150, 150), wrist])
    table = kp.quality.coverage(dataset)
    ax = kp.plot_coverage(table)
    assert [text.get_text() for text in ax.texts] == ["0", "0", "0", "2", "0", "2"]
    centres = [path.vertices[:4].mean(axis=0) for path in artist(ax, "empty-beside").get_paths()]
    assert_allclose(centres, [[2, 0], [4, 0]], atol=1e-9)
    assert len(artist(ax, "empty").get_paths()) == 2
    with pytest.raises(ValueError, match="no angles by it, expected one of ''"):
        kp.plot_coverage(table, "view")
    with pytest.raises(ValueError, match="none is labeled"):
        kp.plot_coverage(table.iloc[:0])


@pytest.mark.parametrize("shift", [pytest.param(0.2, id="change"), pytest.param(0.0, id="none")])
def test_drift_shows_the_means_before_and_after_what_is_found(shift: float) -> None:
    values = np.random.default_rng(0).normal(0, 0.05, (50, 2, 2))
    values[30:, 1, 1] += shift
    images = [f"{i}.png" for i in range(50)]
    found = Drift.of_differences(values, images, ["a", "b"], np.array([0.05, 0.05]), 100.0)
    ax = kp.plot_drift(found, "b")
    lines = artist(ax, "means").get_segments()
    column = 1 if ax.get_ylabel().startswith("offset in y") else 0
    assert_allclose(artist(ax, "offsets").get_offsets()[:, 1], values[:, 1, column])
    if shift:
        expected = [values[:30, 1, 1].mean(), values[30:, 1, 1].mean()]
        assert_allclose([line[0][1] for line in lines], expected)
        assert artist(ax, "change").get_xdata()[0] == 29.5
        assert "+20." in ax.get_title() or "+19." in ax.get_title() or "+21." in ax.get_title()
    else:
        assert len(lines) == 1
        assert "no change found" in ax.get_title()
    with pytest.raises(ValueError, match="keypoint = 'c': expected one of a, b"):
        kp.plot_drift(found, "c")


def test_too_little_to_draw() -> None:
    few = Drift.of_differences(np.zeros((3, 1, 2)), ["a", "b", "c"], ["k"], np.array([0.05]), 100.0)
    with pytest.raises(ValueError, match="not enough data in 3 images"):
        kp.plot_drift(few)
    with pytest.raises(ValueError, match="no track to draw: why"):
        kp.plot_jitter(Jitter(pd.DataFrame(), pd.DataFrame(), {}, "why"))
