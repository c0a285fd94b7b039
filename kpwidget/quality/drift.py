"""Drift of a convention while labeling goes on (`drift_test` on arrays, `drift` on a dataset)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpwidget.quality.findings import Finding, rows_in
from kpwidget.quality.intervals import holm
from kpwidget.quality.labels import Labels, dataset_of, labels_of

if TYPE_CHECKING:
    import pandas as pd

    from kpwidget.dataset import Dataset, Selection

__all__ = ["Drift", "DriftTest", "drift", "drift_findings", "drift_test"]

LEAST_IMAGES: Final = 20
"""Images below which nothing is said: 1 sd in one of 34 series is found in 79 % of runs of 100."""

LEVEL: Final = 0.05

_MOST_IMAGES: Final = 400
"""More are put together, neighbours into one: a test of 100,000 images would take minutes."""

_LEAST_KNOWN: Final = 10
_Z: Final = 1.959963984540054
_VALUES_AT_A_TIME: Final = 2_000_000


@dataclass(frozen=True)
class DriftTest:
    """Result of `drift_test`.

    Attributes
    ----------
    p_value : float
        That no series changes, all of them taken together; NaN where there are not enough data.
    n_images : int
    statistic, p_values : ndarray of shape (n_series,)
        Range of the cumulative sum of each standardised series over the root of its n, and its
        p-value corrected for all series; NaN where fewer than 10 values are known or all are equal.
    change : ndarray of int, shape (n_series,)
        The first image after the most likely change of each, -1 where not known.
    shift, low, high : ndarray of shape (n_series,)
        Mean from there on less the mean before, and its 95 % interval, in the unit of the series.
        The interval takes the change for known: for a change that was looked for it is a little
        too narrow and too far from zero.
    """

    p_value: float
    n_images: int
    statistic: NDArray[np.float64]
    p_values: NDArray[np.float64]
    change: NDArray[np.int64]
    shift: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def drift_test(
    differences: ArrayLike,
    images: Sequence[object] | NDArray[np.int64] | None = None,
    *,
    rng: np.random.Generator | int | None = None,
    n_permutations: int = 999,
) -> DriftTest:
    """Test whether any of several series changes its mean in the course of labeling.

    Parameters
    ----------
    differences : array_like of shape (n, n_series)
        In the order of labeling. For anchors (images that were labeled again unasked) new less
        first label, one series for each keypoint and axis. NaN where not known.
    images : sequence of length n, optional
        What each row is of. Rows of one image, or of one video, stand together in the shuffle,
        their mean counts once; by default each row is an image of its own.
    rng : numpy.random.Generator or int, optional
        Where the shuffles come from, or the seed of them. 0 by default: the same every time.
    n_permutations : int, default 999

    Returns
    -------
    DriftTest

    Raises
    ------
    ValueError
        If `images` has another length, or there are fewer than 19 permutations.

    Notes
    -----
    Each series is standardised; the statistic is the largest range of the cumulative sum over all
    series; it is compared with the same after the images are shuffled, all series of an image
    together. That holds the family-wise error and needs no baseline, on the condition that images
    could have come in any order: consecutive frames of a video could not (give the video as
    `images`). Shifts of half a standard deviation are hardly ever found in 100 images.
    """
    values = np.asarray(differences, np.float64)
    if values.ndim != 2:
        raise ValueError(f"differences has shape {values.shape}, expected (n, n_series)")
    if n_permutations < 19:
        raise ValueError(f"n_permutations = {n_permutations}: expected 19 or more, for p < 0.05")
    if images is not None and len(images) != len(values):
        raise ValueError(
            f"images has {len(images)} items, expected {len(values)}: one for each row"
        )
    of = np.arange(len(values))
    if images is not None:
        number = {image: i for i, image in enumerate(dict.fromkeys(images))}
        of = np.array([number[image] for image in images], np.int64)
    n_images, n_series = int(of.max(initial=-1)) + 1, values.shape[1]
    means = _means_by(values, of, n_images)
    n_together = -(-n_images // _MOST_IMAGES)
    if n_together > 1:
        means = _means_by(means, np.arange(n_images) // n_together, -(-n_images // n_together))
    is_known = np.isfinite(means)
    n = is_known.sum(axis=0)
    nothing = np.full(n_series, math.nan)
    nowhere = np.full(n_series, -1)
    no_test = DriftTest(math.nan, n_images, nothing, nothing, nowhere, nothing, nothing, nothing)
    if len(means) < LEAST_IMAGES:
        return no_test
    centre = np.where(is_known, means, 0).sum(axis=0) / np.maximum(n, 1)
    standard = np.where(is_known, means - centre, 0)
    sd = np.sqrt((standard**2).sum(axis=0) / np.maximum(n - 1, 1))
    used = np.flatnonzero((n >= _LEAST_KNOWN) & (sd > 1e-12))
    if not len(used):
        return no_test
    standard = standard[:, used] / (sd[used] * np.sqrt(n[used]))
    path = np.cumsum(standard, axis=0)
    observed = _range(path[None])[0]
    generator = np.random.default_rng(0 if rng is None else rng)
    largest = np.empty(n_permutations)
    at_a_time = max(1, _VALUES_AT_A_TIME // standard.size)
    for start in range(0, n_permutations, at_a_time):
        chunk = min(at_a_time, n_permutations - start)
        shuffled = generator.permuted(np.tile(np.arange(len(means)), (chunk, 1)), axis=1)
        ranges = _range(np.cumsum(standard[shuffled], axis=1))
        largest[start : start + chunk] = ranges.max(axis=1)
    # The observed order is one of those that could have been.
    as_large = (largest[:, None] >= observed - 1e-12).sum(axis=0)
    p_values = (1 + as_large) / (1 + n_permutations)
    result = {name: nothing.copy() for name in ("statistic", "p", "shift", "low", "high")}
    result["statistic"][used], result["p"][used] = observed, p_values
    change = nowhere.copy()
    at = np.abs(path[:-1]).argmax(axis=0) + 1
    for series, first in zip(used.tolist(), at.tolist(), strict=True):
        before, after = means[:first, series], means[first:, series]
        before, after = before[np.isfinite(before)], after[np.isfinite(after)]
        change[series] = first * n_together
        if min(len(before), len(after)) < 2:
            continue
        shift = after.mean() - before.mean()
        half = _Z * math.sqrt(before.var(ddof=1) / len(before) + after.var(ddof=1) / len(after))
        result["shift"][series] = shift
        result["low"][series], result["high"][series] = shift - half, shift + half
    return DriftTest(
        float(p_values.min()),
        n_images,
        result["statistic"],
        result["p"],
        change,
        result["shift"],
        result["low"],
        result["high"],
    )


def _means_by(values: NDArray[np.float64], of: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Mean of the known values of each group, NaN where none is."""
    is_known = np.isfinite(values)
    total, count = np.zeros((n, values.shape[1])), np.zeros((n, values.shape[1]))
    np.add.at(total, of, np.where(is_known, values, 0))
    np.add.at(count, of, is_known)
    return np.where(count > 0, total / np.maximum(count, 1), math.nan)


def _range(paths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Range of cumulative sums that begin at 0, shape (n, length, n_series) to (n, n_series)."""
    ranges: NDArray[np.float64] = paths.max(axis=1, initial=0) - paths.min(axis=1, initial=0)
    return ranges


@dataclass(frozen=True)
class Drift:
    """What `drift` has found for one annotator and category.

    Attributes
    ----------
    annotator, category : str
    is_anchored : bool
        Whether labels of the same image are compared. If not, a change may be that of the content.
    series : pandas.DataFrame
        One row for each keypoint and axis: keypoint, axis, n (images with a value), p (corrected
        for all series of this annotator), change (position in `images`), image (its file name),
        shift_px with low_px and high_px (95 %), shift_sigmas (in sigma*s), typical size s being
        the median.
    values : ndarray of shape (n_images, n_keypoints, 2)
        Mean of each image in units of s; NaN where not known.
    images : tuple of str
        File names in the order of labeling.
    p_value : float
        That nothing changes; NaN where there are not enough data.
    """

    annotator: str
    category: str
    is_anchored: bool
    series: pd.DataFrame
    values: NDArray[np.float64]
    images: tuple[str, ...]
    p_value: float

    @classmethod
    def of_differences(
        cls,
        differences: NDArray[np.float64],
        images: Sequence[str],
        keypoints: Sequence[str],
        sigmas: NDArray[np.float64],
        size: float,
        *,
        annotator: str = "",
        category: str = "",
        is_anchored: bool = True,
        rng: np.random.Generator | int | None = None,
    ) -> Drift:
        """Test differences of keypoints that stand in the order of labeling.

        Parameters
        ----------
        differences : ndarray of shape (n, n_keypoints, 2)
            In units of s, the root of the object's area; for anchors new less first label, best in
            the limb frame. NaN where not known.
        images : sequence of str of length n
            File name of each, in the order of labeling; rows of one image count once, together.
        keypoints : sequence of str
        sigmas : ndarray of shape (n_keypoints,)
        size : float
            A typical s in pixels, to tell shifts in pixels.
        annotator, category : str
        is_anchored : bool, default True
            Whether old and new label of the same image are compared.
        rng : numpy.random.Generator or int, optional

        Returns
        -------
        Drift
        """
        import pandas as pd

        order = tuple(dict.fromkeys(images))
        number = {image: i for i, image in enumerate(order)}
        of = np.array([number[image] for image in images], np.int64)
        flat = differences.reshape(len(differences), -1)
        test = drift_test(flat, of, rng=rng)
        means = _means_by(flat, of, len(order))
        columns = np.arange(flat.shape[1])
        change = test.change
        frame = pd.DataFrame(
            {
                "keypoint": [keypoints[i // 2] for i in columns.tolist()],
                "axis": [("x", "y")[i % 2] for i in columns.tolist()],
                "n": np.isfinite(means).sum(axis=0),
                "p": test.p_values,
                "change": change,
                "image": [None if i < 0 else order[i] for i in change.tolist()],
                "shift_px": test.shift * size,
                "low_px": test.low * size,
                "high_px": test.high * size,
                "shift_sigmas": test.shift / np.repeat(sigmas, 2),
            }
        )
        values = means.reshape(len(order), -1, 2)
        return cls(annotator, category, is_anchored, frame, values, order, test.p_value)


def drift(
    data: Dataset | Selection,
    *,
    sigmas: Mapping[str, ArrayLike] | ArrayLike | None = None,
    rng: np.random.Generator | int | None = None,
) -> list[Drift]:
    """Whether keypoints wander against the others while labeling goes on, without anchors.

    Parameters
    ----------
    data : Dataset or Selection
        With a journal: the order of labeling is that of the last edit of each instance in
        `Dataset.history`.
    sigmas : array_like of shape (n_keypoints,), or mapping of category name to that, optional
        As of `kpwidget.quality.check`.
    rng : numpy.random.Generator or int, optional

    Returns
    -------
    list of Drift
        One for each annotator and category with labels in the history. Each keypoint is compared
        with where the other keypoints of its instance let expect it (a linear fit over all
        instances). What wanders may be the content of the images: only anchors tell.

    Raises
    ------
    ValueError
        If the dataset has no journal, or its file was labeled elsewhere: the order is not known.
    """
    dataset = dataset_of(data)
    history = dataset.history()
    found: list[Drift] = []
    if len(history):
        edits = history[history["what"].isin(["keypoint", "instance"])]
        last = edits.drop_duplicates("instance", keep="last")
        place = dict(zip(last["instance"], range(len(last)), strict=True))
        who = dict(zip(last["instance"], last["annotator"], strict=True))
        with dataset.lock:
            for labels in labels_of(data, sigmas):
                uids = dataset._table.uids(labels.rows.tolist())
                known = np.array([i for i, uid in enumerate(uids) if uid in place], np.int64)
                known = known[np.argsort([place[uids[i]] for i in known.tolist()], kind="stable")]
                offsets = offsets_from_others(labels)
                for person in sorted({str(who[uids[i]]) for i in known.tolist()}):
                    own = [i for i in known.tolist() if str(who[uids[i]]) == person]
                    found.append(
                        Drift.of_differences(
                            offsets[own],
                            [labels.file_name(i) for i in own],
                            labels.category.keypoints,
                            labels.sigmas,
                            float(np.median(labels.size[own])),
                            annotator=person,
                            category=labels.category.name,
                            is_anchored=False,
                            rng=rng,
                        )
                    )
    if not found:
        raise ValueError(
            "the history has no label of an instance that is there: in which order they were "
            "labeled is not known"
        )
    return found


def offsets_from_others(labels: Labels) -> NDArray[np.float64]:
    """Where each keypoint is against where the others of its instance let expect it.

    Parameters
    ----------
    labels : Labels

    Returns
    -------
    ndarray of shape (n, n_keypoints, 2)
        In units of s. The origin is the mean of the other labeled keypoints; the fit is linear in
        the places of these (missing ones are taken at their mean), least squares with a ridge. NaN
        for an instance with fewer than two others, and for a keypoint with fewer than 20 labels.
    """
    xy = labels.points[..., :2] / labels.size[:, None, None]
    is_labeled = labels.points[..., 2] > 0
    n, n_keypoints = is_labeled.shape
    offsets = np.full((n, n_keypoints, 2), math.nan)
    filled = np.where(is_labeled[..., None], xy, 0.0)
    for k in range(n_keypoints):
        others = np.delete(np.arange(n_keypoints), k)
        rows = np.flatnonzero(is_labeled[:, k] & (is_labeled[:, others].sum(axis=1) >= 2))
        if len(rows) < LEAST_IMAGES:
            continue
        there = is_labeled[np.ix_(rows, others)]
        origin = filled[np.ix_(rows, others)].sum(axis=1) / there.sum(axis=1)[:, None]
        around = np.where(there[..., None], xy[np.ix_(rows, others)] - origin[:, None], math.nan)
        count = np.maximum(there.sum(axis=0), 1)
        mean = np.nansum(around, axis=0) / count[:, None]
        known = np.nan_to_num(around - mean).reshape(len(rows), -1)
        design = np.concatenate([np.ones((len(rows), 1)), known], axis=1)
        target = xy[rows, k] - origin
        # A hundredth of what all others together vary: it decides where there are few instances.
        ridge = np.full(design.shape[1], 0.01 * float((known**2).sum()) + 1e-12)
        ridge[0] = 0.0
        fit = np.linalg.solve(design.T @ design + np.diag(ridge), design.T @ target)
        offsets[rows, k] = target - design @ fit
    return offsets


def drift_findings(found: Sequence[Drift]) -> list[Finding]:
    """Findings of `drift`, or of anchors.

    Parameters
    ----------
    found : sequence of Drift

    Returns
    -------
    list of Finding
        A warning for each keypoint and axis that changes, the annotators corrected together at
        5 %; notes for annotators with not enough data.
    """
    tested = [one for one in found if math.isfinite(one.p_value)]
    out: list[Finding] = []
    is_found = holm([one.p_value for one in tested], LEVEL)
    for one, yes in zip(tested, is_found, strict=True):
        level = LEVEL / len(tested)
        for row in rows_in(one.series[one.series["p"] <= max(level, one.p_value)]):
            if not yes:
                continue
            what = "its convention" if one.is_anchored else "content or convention"
            out.append(
                Finding(
                    "drift", "warning", row.image, None, row.keypoint, row.shift_sigmas, math.nan,
                    f"{one.category}, annotator {one.annotator!r}: {what} changes from here on: "
                    f"{row.shift_px:+.1f} px in {row.axis} ({row.shift_sigmas:+.2f} sigma*s; 95 %: "
                    f"{row.low_px:+.1f} to {row.high_px:+.1f} px, {row.n} images, corrected p "
                    f"{row.p:.3f})",
                    "compare images before and after this one"
                    + ("" if one.is_anchored else "; only labeling the same images again tells"),
                    f"{one.category}, annotator {one.annotator!r}: {row.axis}",
                )
            )  # fmt: skip
    for one in found:
        if not math.isfinite(one.p_value):
            out.append(
                Finding(
                    "drift", "note", None, None, None, float(len(one.images)), float(LEAST_IMAGES),
                    f"{one.category}, annotator {one.annotator!r}: not enough data in "
                    f"{len(one.images)} images",
                    "",
                    f"{one.category}, annotator {one.annotator!r}: not enough data",
                )
            )  # fmt: skip
    return out
