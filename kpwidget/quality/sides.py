"""Left and right swapped (`side_findings`): by the other pairs and by the frames beside."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset.findings import OUTSIDE_TOLERANCE
from kpwidget.images import ImageError
from kpwidget.quality.findings import Finding
from kpwidget.quality.intervals import in_percent, wilson
from kpwidget.quality.labels import Labels, flip_pairs_of
from kpwidget.quality.tracks import tracks_of
from kpwidget.words import count

__all__ = ["LEAST_PAIRS", "is_taught_by", "side_findings"]

_APART: Final = 1.0
"""sigma*s that the two of a pair must be apart for their order to mean something. Hips, with
COCO's sigma of 0.107, are hardly ever two apart."""

_ALONG: Final = 0.5
"""Cosine from where on two pairs point the same way, or against it: 60 degrees at most."""

_AGREES: Final = 0.7
"""Lower end of the 95 % interval of the share of instances in which two pairs point the same way
from where on one vouches for the other: 10 instances without an exception, 21 with two. The
exceptions are what is looked for: a stricter one would learn nothing from labels with some."""

_AT_ONCE: Final = 256  # instances: of 64 pairs each, 8 MB

LEAST_PAIRS: Final = 3
"""Flip pairs from where on swapped ones can be told by the others: one of them and two that it
points against."""

_NEARER: Final = 0.5
"""Swapped, a pair must be at most this share of its distance to the frame before."""


class _Ways(NamedTuple):
    """From left to right in each instance.

    Attributes
    ----------
    pairs : ndarray of int, shape (n_pairs, 2)
    way : ndarray of shape (n, n_pairs, 2)
        In image pixels.
    length : ndarray of shape (n, n_pairs)
    is_apart : ndarray of bool, shape (n, n_pairs)
        Whether the two are far enough apart to tell; False where one is not labeled.
    """

    pairs: NDArray[np.int64]
    way: NDArray[np.float64]
    length: NDArray[np.float64]
    is_apart: NDArray[np.bool_]

    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """In how many instances two pairs can be compared, and point the same way.

        Two arrays of shape (n_pairs, n_pairs), their diagonals without a meaning.
        """
        n_told, n_along = np.zeros((2, len(self.pairs), len(self.pairs)), np.int64)
        unit = np.zeros_like(self.way)
        np.divide(self.way, self.length[..., None], out=unit, where=self.is_apart[..., None])
        for of in np.array_split(unit, len(unit) // _AT_ONCE + 1):
            cosine = of @ of.transpose(0, 2, 1)
            n_along += (cosine > _ALONG).sum(axis=0)
            n_told += (np.abs(cosine) > _ALONG).sum(axis=0)
        return n_told, n_along

    def compare(self, p: int, q: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Instances in which two pairs can be compared, and whether they point the same way."""
        both = np.flatnonzero(self.is_apart[:, p] & self.is_apart[:, q])
        product = (self.way[both, p] * self.way[both, q]).sum(axis=1)
        cosine = product / (self.length[both, p] * self.length[both, q])
        is_told = np.abs(cosine) > _ALONG
        return both[is_told], cosine[is_told] > 0


def _ways_of(labels: Labels) -> _Ways:
    pairs = flip_pairs_of(labels.category.schema)
    way = labels.points[:, pairs[:, 1], :2] - labels.points[:, pairs[:, 0], :2]
    length = np.hypot(way[..., 0], way[..., 1])
    # A pair whose two keypoints differ in sigma is as uncertain as the worse.
    unit = labels.sigmas[pairs].max(axis=1, initial=0.0) * labels.size[:, None]
    return _Ways(pairs, way, length, length > _APART * unit)


def side_findings(labels: Labels, teachers: Labels | None = None) -> list[Finding]:
    """Flip pairs that are probably swapped.

    Parameters
    ----------
    labels : Labels
    teachers : Labels, optional
        Other labels of the category, from which it is learned which pairs point the same way;
        the frames beside are not looked at then. By default it is learned from the labels.

    Returns
    -------
    list of Finding
        Warnings, of two kinds. By the pairs of the same instance: from left to right, a pair points
        against two or more others that almost always point its way in this dataset (hips and
        shoulders do), and along none. By the frames beside: swapped, the pair is less than half as
        far from where it was in the frame before. A whole person labeled the wrong way round is
        found by the second alone. Pairs less than 1 sigma*s apart are not looked at, nor, by the
        first, those with a keypoint at (0, 0) or outside the image: that is an error of its own,
        and swapping them would put the good one wrong. A note where there are not enough
        instances to learn from, or not enough pairs, or none though keypoints are called left and
        right.
    """
    ways = _ways_of(labels)
    if not len(ways.pairs):
        return [_no_pairs(labels)] if any(labels.category.schema.sides) else []
    if teachers is not None:
        return list(_by_pairs(labels, ways, _ways_of(teachers)))
    return [*_by_pairs(labels, ways, ways), *_by_frames(labels, ways)]


def _no_pairs(labels: Labels) -> Finding:
    name = labels.category.name
    return Finding(
        "sides", "note", None, None, None, 0.0, 1.0,
        f"{name}: not looked at: its schema has no flip pairs, and names alone do not tell which "
        "keypoints are the two sides of one",
        "give a schema that has them: kp.read(path, schema=kp.Schema(..., flip_pairs=...))",
        f"{name}: no flip pairs",
    )  # fmt: skip


def _by_pairs(labels: Labels, ways: _Ways, teachers: _Ways) -> Iterator[Finding]:
    pairs, n_taught = ways.pairs, len(teachers.way)
    n_pairs = len(pairs)
    votes_for, votes_against = np.zeros((2, len(ways.way), n_pairs), np.int64)
    n_teachers = np.zeros(n_pairs, np.int64)
    shares: dict[int, list[float]] = {p: [] for p in range(n_pairs)}
    for p, q, share in _agreeing(teachers):
        told, is_along = ways.compare(p, q)
        for one in (p, q):
            n_teachers[one] += 1
            shares[one].append(share)
            votes_for[told, one] += is_along
            votes_against[told, one] += ~is_along
    if not (n_teachers >= 2).any():
        name = labels.category.name
        if n_pairs < LEAST_PAIRS:
            if _has_tracks(labels):
                return  # the frames beside tell
            why = f"a pair is compared with two others, and there are {n_pairs}"
            measured, kind = (float(n_pairs), float(LEAST_PAIRS)), f"{name}: too few flip pairs"
        else:
            why = f"{count(n_taught, 'instance')} do not tell which pairs point the same way"
            measured, kind = (float(n_taught), 10.0), f"{name}: not enough data"
        reason = f"{name}: not enough data: {why}"
        yield Finding("sides", "note", None, None, None, *measured, reason, "", kind)
        return
    names = labels.category.keypoints
    for i, p in np.argwhere((votes_against >= 2) & (votes_for == 0)).tolist():
        n, (a, b) = int(votes_against[i, p]), pairs[p].tolist()
        if not _is_in_image(labels, i, [a, b]):
            continue
        yield Finding(
            "sides", "warning", labels.file_name(i), labels.uid(i), names[a], float(n), 2.0,
            f"{names[a]} and {names[b]} look swapped: from one to the other points against {n} "
            f"other pairs of this instance and along none, where in {in_percent(min(shares[p]))} "
            f"or more of {n_taught:,} instances they point the same way",
            f"swap {names[a]} and {names[b]}, unless the pose is really twisted",
            "by the other pairs",
        )  # fmt: skip


def _agreeing(ways: _Ways) -> Iterator[tuple[int, int, float]]:
    """Two pairs each that almost always point the same way, and in what share of the instances."""
    n_told, n_along = ways.counts()
    for p, q in itertools.combinations(range(len(ways.pairs)), 2):
        n, along = int(n_told[p, q]), int(n_along[p, q])
        if along > _AGREES * n and wilson(along, n)[0] >= _AGREES:
            yield p, q, along / n


def is_taught_by(teachers: Labels) -> bool:
    """Whether any pair has the two others, of these labels, by which it is told to be swapped."""
    n_teachers = np.zeros(len(flip_pairs_of(teachers.category.schema)), np.int64)
    for p, q, _ in _agreeing(_ways_of(teachers)):
        n_teachers[[p, q]] += 1
        if n_teachers.max() >= 2:
            return True
    return False


def _is_in_image(labels: Labels, i: int, keypoints: list[int]) -> bool:
    """Whether all these keypoints of an instance are inside its image, and not at (0, 0)."""
    size = (math.inf, math.inf)
    with contextlib.suppress(ImageError):  # nothing is outside of what has no known border
        size = labels.dataset.images[int(labels.images[i])].size
    xy = labels.points[i, keypoints, :2]
    is_inside = (xy >= -OUTSIDE_TOLERANCE) & (xy <= np.array(size) + OUTSIDE_TOLERANCE)
    return bool(is_inside.all() and xy.any(axis=1).all())


def _has_tracks(labels: Labels) -> bool:
    track_ids = labels.dataset._table.column("track_id", labels.rows)
    return bool((track_ids != None).any())  # noqa: E711


def _by_frames(labels: Labels, ways: _Ways) -> Iterator[Finding]:
    if not _has_tracks(labels):
        return
    pairs, is_apart = ways.pairs, ways.is_apart
    left, right = labels.points[:, pairs[:, 0], :2], labels.points[:, pairs[:, 1], :2]
    tracks, _ = tracks_of(labels, False)
    for track, of in ((name, of) for clip in tracks.values() for name, of in clip.items()):
        a, b = left[of.places], right[of.places]

        def far(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(np.hypot(*np.moveaxis(one[1:] - other[:-1], -1, 0)))

        same, swapped = far(a, a) + far(b, b), far(a, b) + far(b, a)
        both = is_apart[of.places]
        follows = both[1:] & both[:-1] & (np.diff(of.frames) == 1)[:, None]
        turns = follows & (swapped < _NEARER * same)
        for p in np.flatnonzero(turns.any(axis=0)).tolist():
            # Of the two ways round, that of fewer frames is the wrong one.
            is_turned = np.concatenate([[0], np.cumsum(turns[:, p])]) % 2 == 1
            known = both[:, p]
            if is_turned[known].mean() > 0.5:
                is_turned = ~is_turned
            one, other = (labels.category.keypoints[k] for k in pairs[p].tolist())
            for j in np.flatnonzero(is_turned & known).tolist():
                i, step = int(of.places[j]), max(j - 1, 0)
                before, after = float(same[step, p]), float(swapped[step, p])
                yield Finding(
                    "sides", "warning", labels.file_name(i), labels.uid(i), one,
                    after / before, _NEARER,
                    f"{one} and {other} look swapped against the other frames of track {track!r} "
                    f"(against the frame before: {before:.0f} px as they are, {after:.0f} px "
                    "swapped)",
                    f"swap {one} and {other}",
                    "by the frames beside",
                )  # fmt: skip
