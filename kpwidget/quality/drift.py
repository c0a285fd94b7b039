"""Drift of a convention while labeling goes on (`drift_test` on arrays, `drift` on a dataset)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpwidget.geometry import bbox_from_keypoints
from kpwidget.quality.double import double_labels, limb_frames, turned, without_swaps
from kpwidget.quality.findings import Finding, rows_in
from kpwidget.quality.intervals import holm
from kpwidget.quality.labels import Labels, dataset_of, labels_of

if TYPE_CHECKING:
    import pandas as pd

    from kpwidget.dataset import Dataset, Selection

__all__ = ["Drift", "DriftTest", "drift", "drift_findings", "drift_test"]

LEAST_IMAGES: Final = 20
"""Images, or anchors, below which nothing is said: 1 sd in one of 34 series is found in 79 % of
runs of 100 images."""

LEVEL: Final = 0.05

_PERMUTATIONS: Final = 999

_MOST_IMAGES: Final = 400
"""More are put together, neighbours into one: a test of 100,000 images would take minutes."""

_LEAST_KNOWN: Final = 10
_LEAST_ACROSS: Final = 5
"""Pairs of labels that a change must lie between."""

_MOST_CELLS: Final = 500_000
"""Of pairs and changes that are tried: fewer of these in a long pass, which else took minutes."""

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
        The first image after the most likely change of each, -1 where not known; with `times` the
        first one that was labeled again after it, the number of images if none was.
    shift, low, high : ndarray of shape (n_series,)
        Mean from there on less the mean before, with `times` the mean of the pairs that the change
        lies between; and its 95 % interval, in the unit of the series. The interval takes the
        change for known: for a change that was looked for it is a little too narrow and too far
        from zero.
    n_across : ndarray of int, shape (n_series,)
        Images with a pair that the change lies between; without `times` all that have a value.
    change_time : ndarray of shape (n_series,)
        The first time after the change, of `times`; NaN without.
    """

    p_value: float
    n_images: int
    statistic: NDArray[np.float64]
    p_values: NDArray[np.float64]
    change: NDArray[np.int64]
    shift: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n_across: NDArray[np.int64]
    change_time: NDArray[np.float64]


def drift_test(
    differences: ArrayLike,
    images: Sequence[object] | NDArray[np.int64] | None = None,
    *,
    times: ArrayLike | None = None,
    rng: np.random.Generator | int | None = None,
    n_permutations: int = _PERMUTATIONS,
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
    times : array_like of shape (n, 2), optional
        Of pairs of labels of the same instance, the difference being the later one less the earlier
        one: when these were made, in any unit. Rows are then in the order of the later ones.
    rng : numpy.random.Generator or int, optional
        Where the shuffles come from, or the seed of them. 0 by default: the same every time.
    n_permutations : int, default 999

    Returns
    -------
    DriftTest

    Raises
    ------
    ValueError
        If `images` or `times` have another length, times are not known or the wrong way round, or
        there are fewer than 19 permutations.

    Notes
    -----
    With `times`: a pair tells of a change only if that lies between its labels. The statistic of a
    series is the largest ``|mean| * sqrt(n)`` of the n pairs that a change lies between, over all
    changes with five such pairs or more, in units of the root mean square of all pairs; it is
    compared, for the largest of all series, with the same after the signs of whole images were
    turned around at random. Where nothing changes either label could have been the first, so the
    test is exact, whatever the content of the images and the order in which they came. Of as many
    anchors it finds far more changes than their order alone (docs/quality-checks.md).

    Without: each series is standardised; the statistic is the largest range of the cumulative sum
    over all series; it is compared with the same after the images are shuffled, all series of an
    image together. That holds the family-wise error and needs no baseline, on the condition that
    images could have come in any order: consecutive frames of a video could not (give the video as
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
    if times is not None:
        made = np.asarray(times, np.float64)
        if made.shape != (len(values), 2) or not (made[:, 0] <= made[:, 1]).all():
            raise ValueError(
                f"times: expected {len(values)} pairs of numbers, the earlier one first, got shape "
                f"{made.shape}"
                + (": some are NaN or the wrong way round" if made.shape[1:] == (2,) else "")
            )
        generator = np.random.default_rng(0 if rng is None else rng)
        return _test_pairs(values, of, made, generator, n_permutations)
    n_images, n_series = int(of.max(initial=-1)) + 1, values.shape[1]
    means = _means_by(values, of, n_images)
    n_together = -(-n_images // _MOST_IMAGES)
    if n_together > 1:
        means = _means_by(means, np.arange(n_images) // n_together, -(-n_images // n_together))
    is_known = np.isfinite(means)
    n = is_known.sum(axis=0)
    nothing = np.full(n_series, math.nan)
    nowhere = np.full(n_series, -1)
    no_test = DriftTest(
        math.nan, n_images, nothing, nothing, nowhere, nothing, nothing, nothing, n, nothing
    )
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
        half = _half_of_difference(before, after)
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
        n,
        nothing,
    )


def _half_of_difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Half the 95 % interval of the difference of two means of two values or more.

    By B. L. Welch, The generalization of Student's problem when several different population
    variances are involved, Biometrika 34 (1947).
    """
    from scipy.special import stdtrit

    one, other = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    if one + other == 0:
        return 0.0
    freedom = (one + other) ** 2 / (one**2 / (len(a) - 1) + other**2 / (len(b) - 1))
    return float(stdtrit(freedom, 0.975)) * math.sqrt(one + other)


def _test_pairs(
    values: NDArray[np.float64],
    of: NDArray[np.int64],
    times: NDArray[np.float64],
    rng: np.random.Generator,
    n_flips: int,
) -> DriftTest:
    """Test of `drift_test` for pairs of labels, of images `of`, that were made at `times`."""
    from scipy.special import stdtrit

    n_images, n_series = int(of.max(initial=-1)) + 1, values.shape[1]
    is_known = np.isfinite(values)
    known = np.where(is_known, values, 0.0)
    changes = np.unique(times)[1:]
    most = int(np.clip(_MOST_CELLS // max(len(times), 1), 10, 100))
    if len(changes) > most:
        changes = changes[np.linspace(0, len(changes) - 1, most).astype(np.int64)]
    is_across = (times[:, 0] < changes[:, None]) & (times[:, 1] >= changes[:, None])
    count = np.zeros((n_images, n_series))
    np.add.at(count, of, is_known)
    weight = is_known / np.maximum(count, 1)[of]  # an image counts once in each series
    n_across = is_across @ weight
    # Of all pairs, whatever their sign: noise alone where nothing changes.
    size = np.sqrt((weight * known**2).sum(axis=0) / np.maximum(weight.sum(axis=0), 1))
    is_used = (n_across >= _LEAST_ACROSS - 1e-9) & (size > 1e-12)
    used = np.flatnonzero(is_used.any(axis=0))
    result = {name: np.full(n_series, math.nan) for name in ("stat", "p", "shift", "low", "high")}
    at, when, n_of = np.full(n_series, -1), np.full(n_series, math.nan), np.zeros(n_series, int)
    p_value = math.nan
    if n_images >= LEAST_IMAGES and len(used):
        known = (weight * known)[:, used]
        root = np.sqrt(np.maximum(n_across[:, used], 1)) * size[used]
        scale = np.where(is_used[:, used], 1 / root, 0.0)
        observed = np.abs(is_across @ known) * scale
        best = observed.argmax(axis=0)
        largest = np.empty(n_flips)
        at_a_time = max(1, _VALUES_AT_A_TIME // is_across.size)
        for start in range(0, n_flips, at_a_time):
            chunk = min(at_a_time, n_flips - start)
            signs = rng.choice([-1.0, 1.0], (chunk, n_images))[:, of]
            sums = (signs[:, None] * is_across).reshape(-1, len(of)) @ known
            flipped = np.abs(sums.reshape(chunk, len(changes), -1)) * scale
            largest[start : start + chunk] = flipped.max(axis=(1, 2))
        found = observed.max(axis=0)
        result["stat"][used] = found
        result["p"][used] = (1 + (largest[:, None] >= found - 1e-9).sum(axis=0)) / (1 + n_flips)
        p_value = float(result["p"][used].min())
        for series, change in zip(used.tolist(), best.tolist(), strict=True):
            rows = is_across[change] & is_known[:, series]
            means = _means_by(values[rows][:, [series]], of[rows], n_images)
            means = means[np.isfinite(means)]
            when[series], n_of[series] = changes[change], len(means)
            later = np.flatnonzero(times[:, 1] >= changes[change])
            at[series] = of[later[0]] if len(later) else n_images
            if len(means) < 2:
                continue
            half = stdtrit(len(means) - 1, 0.975) * means.std(ddof=1) / math.sqrt(len(means))
            result["shift"][series] = shift = means.mean()
            result["low"][series], result["high"][series] = shift - half, shift + half
    return DriftTest(
        p_value, n_images, result["stat"], result["p"], at, result["shift"], result["low"],
        result["high"], n_of, when,
    )  # fmt: skip


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
        One row for each keypoint and axis: keypoint, axis ('x' and 'y'; of anchors 'along' and
        'across', the limb), n (images with a value), n_across (of anchors those with a label before
        the change and one after it), p (corrected for all series of this annotator), change
        (position in `images`), image (file name of the first one labeled after it), time (of
        that, in seconds since the epoch; NaN without anchors), shift_px with low_px and high_px
        (95 %), shift_sigmas (in sigma*s), typical size s being the median.
    values : ndarray of shape (n_images, n_keypoints, 2)
        Mean of each image in units of s; NaN where not known.
    images : tuple of str
        File names in the order of labeling.
    p_value : float
        That nothing changes; NaN where there are not enough data.
    pairs : pandas.DataFrame
        What was compared, one row each, in the order of labeling: image, uid, and of anchors the
        name of the pass, and when the earlier and the later label were made: first and again, in
        seconds since the epoch.
    n_anchors : int
        Images that the annotator has labeled again; where they are too few, `is_anchored` is False.
    """

    annotator: str
    category: str
    is_anchored: bool
    series: pd.DataFrame
    values: NDArray[np.float64]
    images: tuple[str, ...]
    p_value: float
    pairs: pd.DataFrame
    n_anchors: int = 0

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
        pairs: pd.DataFrame | None = None,
        n_anchors: int = 0,
        rng: np.random.Generator | int | None = None,
        n_permutations: int = _PERMUTATIONS,
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
        pairs : pandas.DataFrame, optional
            What each row is; for anchors with columns first and again, for the test of pairs (see
            `drift_test`), in the frame of the limb.
        n_anchors : int, default 0
        rng, n_permutations
            As of `drift_test`.

        Returns
        -------
        Drift
        """
        import pandas as pd

        order = tuple(dict.fromkeys(images))
        number = {image: i for i, image in enumerate(order)}
        of = np.array([number[image] for image in images], np.int64)
        flat = differences.reshape(len(differences), -1)
        if pairs is None:
            pairs = pd.DataFrame({"image": list(images)})
        is_timed = is_anchored and "again" in pairs
        times = pairs[["first", "again"]].to_numpy(np.float64) if is_timed else None
        test = drift_test(flat, of, times=times, rng=rng, n_permutations=n_permutations)
        means = _means_by(flat, of, len(order))
        columns = np.arange(flat.shape[1])
        change = test.change
        first = [None if i < 0 else order[i] for i in change.tolist()]
        if times is not None:
            # The first label after the change may be the first one of an image, too.
            at, made = np.append(times[:, 0], times[:, 1]), [*images, *images]
            first = [
                None if math.isnan(t) else made[int(np.where(at >= t, at, math.inf).argmin())]
                for t in test.change_time.tolist()
            ]
        axes = ("along", "across") if times is not None else ("x", "y")
        frame = pd.DataFrame(
            {
                "keypoint": [keypoints[i // 2] for i in columns.tolist()],
                "axis": [axes[i % 2] for i in columns.tolist()],
                "n": np.isfinite(means).sum(axis=0),
                "n_across": test.n_across,
                "p": test.p_values,
                "change": change,
                "image": first,
                "time": test.change_time,
                "shift_px": test.shift * size,
                "low_px": test.low * size,
                "high_px": test.high * size,
                "shift_sigmas": test.shift / np.repeat(sigmas, 2),
            }
        )
        values = means.reshape(len(order), -1, 2)
        return cls(
            annotator, category, is_anchored, frame, values, order, test.p_value, pairs, n_anchors
        )


def drift(
    data: Dataset | Selection,
    *,
    sigmas: Mapping[str, ArrayLike] | ArrayLike | None = None,
    rng: np.random.Generator | int | None = None,
) -> list[Drift]:
    """Whether keypoints wander while labeling goes on.

    Parameters
    ----------
    data : Dataset or Selection
        With a journal, for `Dataset.history` tells who has put each keypoint where it is, and when.
        Edits of flags alone and what was undone do not count, keypoints of a file that nobody has
        moved are left out. Instances are in the order of their last keypoint.
    sigmas : array_like of shape (n_keypoints,), or mapping of category name to that, optional
        As of `kpwidget.quality.check`.
    rng : numpy.random.Generator or int, optional

    Returns
    -------
    list of Drift
        One for each annotator and category with labels in the history. Where the annotator has
        labeled 20 images again (``Annotator(ds, anchors=0.05)``, or a pass by the same person), the
        later label is compared with the earlier one, in the frame of the limb as by
        `kpwidget.quality.agreement`, left-right swaps taken out; keypoints that were moved after
        they had been labeled again are a pair of their own. Else each keypoint is compared
        with where the other keypoints of its instance let expect it (a linear fit over all
        instances); what wanders then may be the content of the images: only anchors tell.

    Raises
    ------
    ValueError
        If the dataset has no journal, or its file was labeled elsewhere: the order is not known.
    """
    import pandas as pd

    dataset = dataset_of(data)
    placed = _placed(dataset.history())
    found: list[Drift] = []
    with dataset.lock:
        everything = []
        for labels in labels_of(data, sigmas) if placed else ():
            uids = dataset._table.uids(labels.rows.tolist())
            who, when = _who_and_when(labels, uids, placed)
            people = sorted({str(name) for name in who[when > -math.inf]})
            everything.append((labels, uids, who, when, people))
        # All are corrected together: a p-value must be able to be small enough for that, also where
        # three shuffles are as extreme.
        n_tests = sum(len(people) for *_, people in everything)
        n_permutations = max(_PERMUTATIONS, math.ceil(4 * n_tests / LEVEL))
        for labels, uids, who, when, people in everything:
            anchors = _anchors(labels, uids, who, when)
            offsets: NDArray[np.float64] | None = None
            for person in people:
                is_own = who == person
                last = np.where(is_own, when, -math.inf).max(axis=1)
                own = np.flatnonzero(last > -math.inf)
                own = own[np.argsort(last[own], kind="stable")]
                pairs, differences = anchors.get(person, (None, None))
                n_anchors = 0 if pairs is None else pairs["image"].nunique()
                is_anchored = n_anchors >= LEAST_IMAGES
                if not is_anchored:
                    if offsets is None:
                        offsets = offsets_from_others(labels)
                    differences = np.where(is_own[own, :, None], offsets[own], math.nan)
                    images = [labels.file_name(i) for i in own.tolist()]
                    pairs = pd.DataFrame({"image": images, "uid": [uids[i] for i in own.tolist()]})
                assert pairs is not None
                assert differences is not None
                found.append(
                    Drift.of_differences(
                        differences,
                        pairs["image"].tolist(),
                        labels.category.keypoints,
                        labels.sigmas,
                        float(np.median(labels.size[own])),
                        annotator=person,
                        category=labels.category.name,
                        is_anchored=is_anchored,
                        pairs=pairs,
                        n_anchors=n_anchors,
                        rng=rng,
                        n_permutations=n_permutations,
                    )
                )
    if not found:
        raise ValueError(
            "the history has no label of an instance that is there: in which order they were "
            "labeled is not known"
        )
    return found


def _placed(history: pd.DataFrame) -> dict[tuple[str, str | None], tuple[float, str]]:
    """When each keypoint was put where it is, in seconds since the epoch, and by whom.

    By uid and name, the instance as a whole under None. An edit of the flag alone puts nothing
    anywhere, and what is undone is as if it had not been.
    """
    edits: dict[tuple[str, str | None], list[tuple[float, str]]] = {}
    for row in rows_in(history[history["what"].isin(["keypoint", "instance"])]):
        if row.what == "keypoint":
            before, after = (value and value[:2] for value in (row.before, row.after))
            if before == after:
                continue
        of = edits.setdefault((row.instance, row.keypoint if row.what == "keypoint" else None), [])
        if row.kind != "undo":
            of.append((row.time.timestamp(), str(row.annotator)))
        elif of:
            of.pop()
    return {key: of[-1] for key, of in edits.items() if of}


def _who_and_when(
    labels: Labels,
    uids: Sequence[str],
    placed: Mapping[tuple[str, str | None], tuple[float, str]],
) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
    """Who has put each keypoint of each instance where it is, and when; '' and -inf if unknown."""
    who = np.full((len(uids), labels.category.n_keypoints), "", object)
    when = np.full(who.shape, -math.inf)
    rows = {uid: i for i, uid in enumerate(uids)}
    columns = {name: k for k, name in enumerate(labels.category.keypoints)}
    for (uid, name), made in sorted(placed.items(), key=lambda item: item[0][1] is not None):
        if uid in rows and (name is None or name in columns):
            at = rows[uid], slice(None) if name is None else columns[name]
            when[at], who[at] = made
    return who, when


def _anchors(
    labels: Labels, uids: Sequence[str], who: NDArray[np.object_], when: NDArray[np.float64]
) -> dict[str, tuple[pd.DataFrame, NDArray[np.float64]]]:
    """Of each person the instances that they labeled again: pairs, and differences of these.

    Parameters
    ----------
    labels : Labels
    uids : sequence of str of length n
    who, when : ndarray of shape (n, n_keypoints)
        As of `_who_and_when`.

    Returns
    -------
    mapping of annotator to (pandas.DataFrame, ndarray of shape (n, n_keypoints, 2))
        As of `Drift.pairs`, in the order of the later labels; the later label less the earlier one
        in units of s, in the frame of the limb. Keypoints that were moved since they were labeled
        again are a pair of their own, the other way round; those of somebody else are NaN.
    """
    import pandas as pd

    if not len(labels.dataset.passes):
        return {}
    double = double_labels(labels.dataset, None, labels.category)
    xy, _ = without_swaps(double)
    _, units = limb_frames(double.schema, xy)
    place = {(uid, name): (i, j) for i, uid in enumerate(double.uids)
             for j, name in enumerate(double.names) if j}  # fmt: skip
    place_of = {uid: i for i, uid in enumerate(uids)}
    rows: dict[str, list[tuple[float, float, str, str, str, NDArray[np.float64]]]] = {}
    for opinion in labels.dataset.passes:
        uid = opinion.uid
        if (uid, opinion.name) not in place or uid not in place_of:
            continue
        (i, j), at = place[uid, opinion.name], place_of[uid]
        apart = turned(xy[i, j] - xy[i, 0], units[i]) / labels.size[at]
        is_own = (who[at] == opinion.annotator) & np.isfinite(apart).any(axis=1)
        is_since = when[at] > opinion.time
        for chosen, sign in ((is_own & ~is_since, 1.0), (is_own & is_since, -1.0)):
            if chosen.any():
                first, again = sorted((float(when[at][chosen].max()), opinion.time))
                value = np.where(chosen[:, None], sign * apart, math.nan)
                row = (again, first, double.images[i], uid, opinion.name, value)
                rows.setdefault(opinion.annotator, []).append(row)
    found = {}
    for person, own in rows.items():
        own.sort(key=lambda row: row[:2])
        *columns, differences = zip(*own, strict=True)
        names = ("again", "first", "image", "uid", "name")
        pairs = pd.DataFrame(dict(zip(names, columns, strict=True)))
        found[person] = pairs, np.stack(differences)
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
        the places of these (missing ones are taken at their mean), least squares with a ridge.
        What is left is divided by the share of the degrees of freedom that is left,
        trace(I - H) / n, as in generalized cross-validation [1]_. NaN for an instance with fewer
        than two others, and for a keypoint with fewer than 20 labels.

    References
    ----------
    .. [1] Craven & Wahba, Smoothing noisy data with spline functions, Numerische Mathematik 1979.
    """
    table = labels.dataset._table
    is_derived = np.isnan(table.column("area", labels.rows))
    is_derived &= np.isnan(table.column("bbox", labels.rows)[:, 0])
    is_labeled = labels.points[..., 2] > 0
    n, n_keypoints = is_labeled.shape
    offsets = np.full((n, n_keypoints, 2), math.nan)
    for k in range(n_keypoints):
        others = np.delete(np.arange(n_keypoints), k)
        rows = np.flatnonzero(is_labeled[:, k] & (is_labeled[:, others].sum(axis=1) >= 2))
        if len(rows) < LEAST_IMAGES:
            continue
        # A box around the keypoints grows with one that is moved out of it: with its size the
        # places of all others would tell of the move, and the fit would take it away.
        size = labels.size.copy()
        boxes = bbox_from_keypoints(labels.points[rows][:, others])
        sides = np.sqrt(boxes[:, 2] * boxes[:, 3])
        size[rows] = np.where(is_derived[rows] & (sides > size[rows] / 2), sides, size[rows])
        xy = labels.points[..., :2] / size[:, None, None]
        filled = np.where(is_labeled[..., None], xy, 0.0)
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
        fit = np.linalg.solve(design.T @ design + np.diag(ridge), design.T)
        # The fit follows a change, too: of 32 places of others and 60 instances it takes a fourth.
        freedom = 1 - float((design * fit.T).sum()) / len(rows)  # without the n x n of H
        left = (target - design @ (fit @ target)) / freedom
        offsets[rows, k] = left * (size / labels.size)[rows, None]
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
            axis = f"{row.axis} the limb" if row.axis in ("along", "across") else f"in {row.axis}"
            n = f"{row.n_across} of {row.n}" if one.is_anchored else f"{row.n}"
            out.append(
                Finding(
                    "drift", "warning", row.image, None, row.keypoint, row.shift_sigmas, math.nan,
                    f"{one.category}, annotator {one.annotator!r}: {what} changes from here on: "
                    f"{row.shift_px:+.1f} px {axis} ({row.shift_sigmas:+.2f} sigma*s; 95 %: "
                    f"{row.low_px:+.1f} to {row.high_px:+.1f} px, {n} images, corrected p "
                    f"{row.p:.3f})",
                    "compare images before and after this one"
                    + ("" if one.is_anchored else "; only labeling the same images again tells"),
                    f"{one.category}, annotator {one.annotator!r}: {row.axis}",
                )
            )  # fmt: skip
    for one in found:
        if not one.is_anchored:
            out.append(
                Finding(
                    "drift", "note", None, None, None, float(one.n_anchors), float(LEAST_IMAGES),
                    f"{one.category}, annotator {one.annotator!r}: {one.n_anchors} of the "
                    f"{LEAST_IMAGES} anchors that are needed: a change may be that of the content",
                    "kp.Annotator(ds, anchors=0.05) while labeling goes on",
                )
            )  # fmt: skip
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
