"""Poses that are labeled and that are missing (`coverage`), what to label next (`label_next`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kpwidget.quality.findings import Finding, rows_in
from kpwidget.quality.intervals import in_percent, wilson
from kpwidget.quality.labels import Labels, labels_of

if TYPE_CHECKING:
    import pandas as pd

    from kpwidget.dataset import Dataset
    from kpwidget.schema import Category, Schema

__all__ = [
    "Angle",
    "coverage",
    "coverage_findings",
    "coverage_table",
    "default_angles",
    "joint_angles",
    "label_next",
]

Angle = tuple[str, str, str]
"""Names of three keypoints: the angle is that at the second."""

BIN_DEGREES: Final = 30
"""Width of the bins of angles; 15 to 30 degrees are usual."""

LEAST_PER_BIN: Final = 5
"""Instances a bin on average below which a table of two dimensions tells nothing: with more bins
than instances everything looks empty."""

_MOST_LISTED: Final = 4
"""Bins of two dimensions that a finding names; `coverage` has all."""

# cocoeval.py of pycocotools, Params.setDetParams: areas of 32**2 and 96**2 px.
_SIZES: Final = (32.0, 96.0)

_SIDEWAYS: Final = 0.35
"""Width of the shoulders by the length of the torso below which a person is seen from the side.
Both are about equally far from the camera, so foreshortening does not matter much; about 0.75 is
usual from the front, where 0.35 is a turn by 60 degrees or more."""

_TORSO: Final = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")


class _Dimension(NamedTuple):
    """A way to sort instances into bins.

    Attributes
    ----------
    name : str
    bins : tuple of str
        Neighbours stand beside one another.
    of : ndarray of int, shape (n,)
        Bin of each instance, -1 where not known.
    """

    name: str
    bins: tuple[str, ...]
    of: NDArray[np.int64]


def joint_angles(points: NDArray[np.float64], a: int, b: int, c: int) -> NDArray[np.float64]:
    """Angle at keypoint b between a and c, in the image plane.

    Parameters
    ----------
    points : ndarray of shape (n, n_keypoints, 3)
        x, y in image pixels and visibility.
    a, b, c : int
        0-based indices.

    Returns
    -------
    ndarray of shape (n,)
        Degrees, 0 (folded) to 180 (stretched): atan2(abs(cross), dot). NaN where one of the three
        is not labeled, or two are in the same place. Foreshortening is in it.
    """
    one, other = points[:, a, :2] - points[:, b, :2], points[:, c, :2] - points[:, b, :2]
    cross = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
    dot = (one * other).sum(axis=1)
    angles = np.degrees(np.arctan2(np.abs(cross), dot))
    is_labeled = (points[:, [a, b, c], 2] > 0).all(axis=1)
    return np.where(is_labeled & ((cross != 0) | (dot != 0)), angles, math.nan)


def default_angles(schema: Schema) -> list[Angle]:
    """Every keypoint of the skeleton with exactly two neighbours, between these.

    Parameters
    ----------
    schema : Schema

    Returns
    -------
    list of (str, str, str)
    """
    neighbours: dict[int, set[int]] = {}
    for a, b in schema.edges.tolist():
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    names = schema.keypoints
    found: list[Angle] = []
    for k in sorted(neighbours):
        beside = sorted(neighbours[k] - {k})
        if len(beside) == 2:
            found.append((names[beside[0]], names[k], names[beside[1]]))
    return found


def _dimensions(labels: Labels, angles: Sequence[Angle]) -> tuple[list[_Dimension], ...]:
    """Dimensions of the angles, and the others."""
    schema, points = labels.category.schema, labels.points
    of_angles = []
    edges = tuple(range(0, 180, BIN_DEGREES))
    for angle in angles:
        a, b, c = (schema.index(name) for name in angle)
        degrees = joint_angles(points, a, b, c)
        of = np.where(np.isnan(degrees), -1, np.nan_to_num(degrees) // BIN_DEGREES)
        bins = tuple(f"{low}-{low + BIN_DEGREES}°" for low in edges)
        of_angles.append(
            _Dimension(schema.keypoints[b], bins, np.minimum(of, len(bins) - 1).astype(np.int64))
        )
    others = []
    if set(_TORSO) <= set(schema.keypoints):
        left, right, left_hip, right_hip = (points[:, schema.index(k), :2] for k in _TORSO)
        torso = np.hypot(*((left + right - left_hip - right_hip) / 2).T)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Their left is on the right of the image when they face the camera.
            wide = (left[:, 0] - right[:, 0]) / torso
        view = np.where(np.isfinite(wide), np.digitize(wide, (-_SIDEWAYS, _SIDEWAYS)), -1)
        others.append(_Dimension("view", ("back", "side", "front"), view))
    size = np.digitize(labels.size, _SIZES)
    others.append(_Dimension("size", ("< 32 px", "32-96 px", "> 96 px"), size))
    share = (points[..., 2] >= 2).mean(axis=1)
    visible = np.minimum((share * 4).astype(np.int64), 3)
    others.append(_Dimension("visible", ("< 25 %", "25-50 %", "50-75 %", "> 75 %"), visible))
    return of_angles, others


def _tables(
    labels: Labels, angles: Sequence[Angle]
) -> Iterator[tuple[_Dimension, _Dimension | None]]:
    """What is counted: each dimension, then each angle by each of the others."""
    of_angles, others = _dimensions(labels, angles)
    yield from ((one, None) for one in [*of_angles, *others])
    yield from ((one, other) for one in of_angles for other in others)


def _key(one: _Dimension, i: int, other: _Dimension | None, j: int) -> tuple[str, str, str, str]:
    """Dimension, bin, by and by_bin: what names a bin of a table."""
    if other is None:
        return one.name, one.bins[i], "", ""
    return one.name, one.bins[i], other.name, other.bins[j]


def coverage(
    dataset: Dataset,
    angles: Sequence[Angle] | None = None,
    *,
    category: str | int | Category | None = None,
) -> pd.DataFrame:
    """How many instances there are of each pose, view, size and number of visible keypoints.

    Parameters
    ----------
    dataset : Dataset
    angles : sequence of (str, str, str), optional
        Three names each; the angle at the second. By default `default_angles`.
    category : str, int or Category, optional
        May be left out if there is one category only.

    Returns
    -------
    pandas.DataFrame
        One row a bin: dimension (the keypoint of an angle, 'view', 'size', 'visible'), bin, by
        (a second dimension, or ''), by_bin, n, n_total (instances of which both are known),
        n_unknown (those left out: a missing elbow hides just the hard poses), share with low and
        high (95 %), expected (were all bins equally full), is_empty, is_next_to_filled. A table of
        two dimensions is left out where there are fewer than 5 instances a bin.

    Raises
    ------
    KeyError
        If there is no such keypoint or category.

    Notes
    -----
    Angles are those in the image plane: pose and foreshortening together. `size` is the root of the
    area; `view` needs shoulders and hips of COCO's names: the signed width of the shoulders by the
    length of the torso, 'side' within 0.35 of zero.
    """
    with dataset.lock:
        index = dataset._category_index(category)
        chosen = [one for one in labels_of(dataset) if one.category is dataset.categories[index]]
        return coverage_table(chosen, angles)


def coverage_table(chosen: Sequence[Labels], angles: Sequence[Angle] | None = None) -> pd.DataFrame:
    """Table of `coverage`, of the labels of a category; without any it is empty."""
    import pandas as pd

    return pd.DataFrame(
        [
            row
            for labels in chosen
            for row in _counted(labels, angles or default_angles(labels.category.schema))
        ],
        columns=[
            *("dimension", "bin", "by", "by_bin", "n", "n_total", "n_unknown", "share", "low"),
            *("high", "expected", "is_empty", "is_next_to_filled"),
        ],
    )


def _counted(labels: Labels, angles: Sequence[Angle]) -> Iterator[tuple[object, ...]]:
    for one, other in _tables(labels, angles):
        shape = (len(one.bins), 1 if other is None else len(other.bins))
        second = np.zeros_like(one.of) if other is None else other.of
        is_known = (one.of >= 0) & (second >= 0)
        n_total = int(is_known.sum())
        if other is not None and n_total < LEAST_PER_BIN * shape[0] * shape[1]:
            continue
        counts = np.zeros(shape, np.int64)
        np.add.at(counts, (one.of[is_known], second[is_known]), 1)
        around = np.pad(counts > 0, 1)
        is_next = around[:-2, 1:-1] | around[2:, 1:-1] | around[1:-1, :-2] | around[1:-1, 2:]
        for i, j in np.ndindex(shape):
            n = int(counts[i, j])
            low, high = wilson(n, n_total)
            yield (
                *_key(one, i, other, j),
                n,
                n_total,
                len(one.of) - n_total,
                n / n_total if n_total else math.nan,
                low,
                high,
                n_total / counts.size,
                n == 0,
                bool(is_next[i, j]),
            )


def coverage_findings(found: pd.DataFrame, category: str) -> list[Finding]:
    """Empty bins of `coverage`, a finding a dimension.

    Parameters
    ----------
    found : pandas.DataFrame
        Of `coverage`.
    category : str
        Its name, for the reasons.

    Returns
    -------
    list of Finding
        Notes, those with most empty bins next to filled ones first; `value` is the number of empty
        bins. The reason lists those of the dimension alone, the ones next to filled bins first,
        and how many are empty with each second dimension, without what is empty alone. Nothing is
        told of a dimension with fewer than 5 instances a bin, but that there are not enough data.
    """
    has_few = found["expected"] < LEAST_PER_BIN
    empty = found[found["is_empty"] & ~has_few]
    alone = {(row.dimension, row.bin) for row in rows_in(empty) if not row.by}
    out: list[tuple[int, Finding]] = []
    for dimension in dict.fromkeys(empty["dimension"]):
        of = empty[empty["dimension"] == dimension]
        rows = [
            row
            for row in rows_in(of.sort_values("is_next_to_filled", ascending=False, kind="stable"))
            if not (row.by and ({(row.dimension, row.bin), (row.by, row.by_bin)} & alone))
        ]
        single = [row for row in rows if not row.by]
        texts = []
        if single:
            near = ", ".join(row.bin for row in single if row.is_next_to_filled)
            far = ", ".join(row.bin for row in single if not row.is_next_to_filled)
            texts.append(
                f"no instance with {dimension} at {near}{', further off ' * bool(far)}{far} among "
                f"{single[0].n_total:,} (95 %: fewer than {in_percent(single[0].high)}"
                f"{' each' * (len(single) > 1)}; not known of {single[0].n_unknown:,})"
            )
        for by in dict.fromkeys(row.by for row in rows if row.by):
            both = [row for row in rows if row.by == by]
            n_bins = int(((found["dimension"] == dimension) & (found["by"] == by)).sum())
            some = ", ".join(f"{row.bin} {row.by_bin}" for row in both[:_MOST_LISTED])
            more = ", ..." if len(both) > _MOST_LISTED else ""
            texts.append(
                f"no instance in {len(both)} of {n_bins} bins of {dimension} by {by} ({some}{more})"
            )
        if not texts:
            continue
        note = Finding(
            "coverage", "note", None, None,
            None if dimension in ("view", "size", "visible") else dimension,
            float(len(rows)), 0.0, f"{category}: {'; '.join(texts)}",
            "label images that show them, or say that they do not occur",
            f"{category}: {dimension}",
        )  # fmt: skip
        out.append((sum(row.is_next_to_filled for row in rows), note))
    notes = [note for _, note in sorted(out, key=lambda one: -one[0])]
    few = list(dict.fromkeys(found[has_few]["dimension"]))
    if few:
        notes.append(
            Finding(
                "coverage", "note", None, None, None, math.nan, float(LEAST_PER_BIN),
                f"{category}: not enough data for {', '.join(few)}: fewer than {LEAST_PER_BIN} "
                "instances a bin",
                "",
                f"{category}: not enough data",
            )
        )  # fmt: skip
    return notes


@dataclass(frozen=True)
class _Pose:
    """Bins that the predictions of an image fill, each with how many instances are labeled."""

    image: str
    bins: dict[tuple[str, str, str, str], int]


def label_next(
    dataset: Dataset,
    predictions: Dataset,
    n: int = 20,
    *,
    angles: Sequence[Angle] | None = None,
    category: str | int | Category | None = None,
) -> pd.DataFrame:
    """Unlabeled images whose predicted poses fill what is empty, the best first.

    Parameters
    ----------
    dataset : Dataset
    predictions : Dataset
        Predicted instances of its images, by file name; from any model, ``kp.read(...,
        ground_truth=ds)`` for one.
    n : int, default 20
        Images at most.
    angles, category
        As of `coverage`.

    Returns
    -------
    pandas.DataFrame
        image, n_filled (empty bins that its predictions fill and no image above does), rarity (sum
        of 1 / (1 + labeled instances) over all its bins), fills (these bins in words). Chosen one
        after the other, so that two images with the same rare pose do not stand side by side.

    Raises
    ------
    ValueError
        If the predictions have no instance in an unlabeled image, or other keypoints.
    """
    import pandas as pd

    kind = dataset.categories[dataset._category_index(category)]
    counts = {
        (row.dimension, row.bin, row.by, row.by_bin): int(row.n)
        for row in rows_in(coverage(dataset, angles, category=kind))
    }
    if angles is None:
        angles = default_angles(kind.schema)
    unlabeled = {image.file_name for image in dataset.images if image.status == "unlabeled"}
    poses: dict[str, _Pose] = {}
    with predictions.lock:
        for labels in labels_of(predictions):
            if labels.category.keypoints != kind.keypoints:
                continue
            names = [predictions._images[i].file_name for i in labels.images.tolist()]
            for one, other in _tables(labels, angles):
                for i, name in enumerate(names):
                    j = int(one.of[i])
                    k = 0 if other is None else int(other.of[i])
                    if name not in unlabeled or j < 0 or k < 0:
                        continue
                    key = _key(one, j, other, k)
                    if key in counts:
                        poses.setdefault(name, _Pose(name, {})).bins[key] = counts[key]
    if not poses:
        raise ValueError(
            f"predictions: no instance with the keypoints of {kind.name!r} in any of the "
            f"{len(unlabeled):,} unlabeled images; they are matched by file name"
        )
    rows, filled, left = [], set[tuple[str, str, str, str]](), list(poses.values())
    rarity = {pose.image: sum(1 / (1 + c) for c in pose.bins.values()) for pose in left}

    def gain(pose: _Pose) -> tuple[int, float]:
        new = sum(c == 0 and key not in filled for key, c in pose.bins.items())
        return new, rarity[pose.image]

    for _ in range(min(n, len(left))):
        best = max(left, key=gain)
        left.remove(best)
        new = [key for key, c in best.bins.items() if c == 0 and key not in filled]
        filled.update(new)
        words = ", ".join(
            f"{name} {of}" + (f" with {by} {by_bin}" if by else "") for name, of, by, by_bin in new
        )
        rows.append((best.image, len(new), rarity[best.image], words))
    return pd.DataFrame(rows, columns=["image", "n_filled", "rarity", "fills"])
