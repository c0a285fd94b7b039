"""Label noise through a sequence (`jitter`): robust second differences, twitches and jumps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpwidget.quality.findings import Finding, rows_in
from kpwidget.quality.labels import Labels, dataset_of, labels_of
from kpwidget.quality.tracks import Members, tracks_of

if TYPE_CHECKING:
    import pandas as pd

    from kpwidget.dataset import Dataset, Selection

__all__ = ["Jitter", "NoiseEstimate", "jitter", "jitter_findings", "label_noise"]

LEAST_DIFFERENCES: Final = 20
"""Second differences (x and y counted apart) below which no noise is told: not enough data."""

MANY_SDS: Final = 6.0
"""Robust standard deviations from where on a second difference is an event."""

_MAD: Final = 1.482602218505602
"""1 / the third quartile of the normal distribution: makes the MAD a standard deviation."""

_SECOND: Final = (6.0, 1.97727)
_THIRD: Final = (20.0, 2.27474)
"""Of second and of third differences: their variance in units of that of the noise (the sum of the
squares of 1, -2, 1 and of 1, -3, 3, -1), and n times the variance of the logarithm of the estimate,
for normal noise.

The latter is 1 / (16 q^2 phi(q)^2) = 1.3605 for independent values (q the third quartile), times
1 + 2 times the sum of S(rho) over the correlations with the following ones: -4/6 and 1/6 of second
differences, -15/20, 6/20 and -1/20 of third ones. S(rho) is the correlation of sign(\\|Z\\| - q) of
two normal values correlated by rho: 0.21633, 0.01036, 0.30032, 0.03477, 0.00092.
`benchmarks.simulations` counts how often the interval has the truth.
"""

_CURVED: Final = 1.25
"""n times the square of how much smaller the logarithm of the estimate must be by third differences
for these to be taken. Of still points the two scatter by 0.7 about one another: they are taken in
one of eleven cases."""

_LEAST_FOR_CAMERA: Final = 5
"""Points of a frame from which on their median is taken for the motion of the camera. Of n points
with equal noise it takes away 0.43 / n of the variance: 9 % of five, 2.5 % of seventeen."""

_TAKEN: Final = 1.3
"""n times the share of the MAD that is gone with the median of n points: more than of the variance,
for those in the middle are left with next to nothing. Simulated, normal noise, the same for all:
27 % of five, 13 % of ten, 7 % of seventeen."""

_WITHIN: Final = 3
"""Frames within which a twitch returns."""

_LEAST_EVENT_PX: Final = 1.0

_MOST_EVENTS: Final = 5
"""Twitches, or jumps, of a keypoint of a track from where on one finding tells of all: legs that
step have dozens."""

_MOST_LISTED: Final = 8
_Z: Final = 1.959963984540054


class NoiseEstimate(NamedTuple):
    """Noise of labels, by one axis.

    Attributes
    ----------
    sd, low, high : float
        Standard deviation and its 95 % interval, in pixels; NaN where there are not enough data.
    n : int
        Second differences, or third ones where motion is curved; x and y counted apart.
    """

    sd: float
    low: float
    high: float
    n: int


def label_noise(second_differences: ArrayLike) -> NoiseEstimate:
    """Noise of labels from the second differences of their places.

    Parameters
    ----------
    second_differences : array_like of shape (n, 2) or (n,)
        x[t + 1] - 2 x[t] + x[t - 1] in pixels, in the order of the frames; NaN where not known.

    Returns
    -------
    NoiseEstimate
        sd = 1.4826 MAD / sqrt(6): the variance of a second difference of independent noise is six
        times its own, and smooth motion is hardly in it. Where motion is so curved that it is, told
        by third differences being clearly smaller, sd = 1.4826 MAD / sqrt(20) of these. The
        interval is of the logarithm and normal; it holds for noise that is independent from frame
        to frame.
    """
    values = np.asarray(second_differences, np.float64)
    best = _estimate(values, _SECOND)
    third = _estimate(np.diff(values, axis=0), _THIRD)
    # False where there are not enough of either, or where nothing differs.
    is_curved = third.sd > 0 and math.log(best.sd / third.sd) > math.sqrt(_CURVED / best.n)
    return third if is_curved else best


def _estimate(differences: NDArray[np.float64], kind: tuple[float, float]) -> NoiseEstimate:
    """Noise from differences of one order."""
    values = differences[np.isfinite(differences)]
    n = len(values)
    if n < LEAST_DIFFERENCES:
        return NoiseEstimate(math.nan, math.nan, math.nan, n)
    values = _spread(values)
    sd = _MAD * float(np.median(np.abs(values - np.median(values)))) / math.sqrt(kind[0])
    factor = math.exp(_Z * math.sqrt(kind[1] / n))
    return NoiseEstimate(sd, sd / factor, sd * factor, n)


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of a grid of 1 or 1/2 px, equal ones spread evenly over their cell.

    Labels of whole pixels have second differences on such a grid, and the MAD of these is a number
    of the grid as well: 0.6 or 1.2 px, whatever the noise is. As for the median of grouped data.
    """
    for step in (1.0, 0.5):
        if not (np.abs(values / step - np.round(values / step)) < 1e-6).all():
            continue
        found, cell, n = np.unique(np.round(values / step), return_inverse=True, return_counts=True)
        order = np.argsort(cell, kind="stable")
        rank = np.empty(len(values))
        rank[order] = np.arange(len(values)) - np.repeat(np.cumsum(n) - n, n)
        spread: NDArray[np.float64] = step * (found[cell] + (rank + 0.5) / n[cell] - 0.5)
        return spread
    return values


@dataclass(frozen=True)
class Jitter:
    """What `jitter` has found.

    Attributes
    ----------
    estimates : pandas.DataFrame
        One row for each keypoint of each track: category, clip, track, keypoint, n (second
        differences, or third ones where motion is curved; x and y apart), sd_px with low_px and
        high_px (95 %), n_still and sd_still_px (the same of the slower half of the frames: fast
        motion is no noise), sigmas with low_sigmas and high_sigmas (sd_still times sqrt 2, the
        distance in the plane, in units of sigma*s), camera_px (sd of what all points of a frame
        have in common and was taken out; NaN where there were fewer than five), n_interpolated
        (frames that were left out), verdict ('told', 'not enough data', 'looks interpolated or
        copied').
    events : pandas.DataFrame
        One row for each single event: category, clip, track, image (file name), clip_frame
        (position of the image in the clip), instance (uid), keypoint, kind ('twitch': back within
        three frames; 'jump': it stays), size_px, sds (the second difference in robust standard
        deviations), sigmas (size in sigma*s).
    series : dict of (category, clip, track) to (frames, sds)
        Positions of the images in the clip, from 0, and for each of these frames and
        keypoints the length of the second difference in robust standard deviations, shape
        (n, n_keypoints); NaN where not known.
    problem : str
        Why nothing, or not everything, was looked at; else empty.
    """

    estimates: pd.DataFrame
    events: pd.DataFrame
    series: dict[tuple[str, str, str], tuple[NDArray[np.int64], NDArray[np.float64]]]
    problem: str = ""


_ESTIMATES: Final = (
    *("category", "clip", "track", "keypoint", "n", "sd_px", "low_px", "high_px", "n_still"),
    *("sd_still_px", "sigmas", "low_sigmas", "high_sigmas", "camera_px", "n_interpolated"),
    "verdict",
)
_EVENTS: Final = (
    *("category", "clip", "track", "image", "clip_frame", "instance", "keypoint", "kind"),
    *("size_px", "sds", "sigmas"),
)


def jitter(
    data: Dataset | Selection,
    *,
    sigmas: Mapping[str, ArrayLike] | ArrayLike | None = None,
    is_sequence: bool = False,
) -> Jitter:
    """Noise of the labels along tracks, and single twitches and jumps.

    Parameters
    ----------
    data : Dataset or Selection
        The images of a clip in their order are its frames: those of one folder whose names differ
        in the number at their end, as for `Dataset.split`. Objects are told apart by `track_id`.
    sigmas : array_like of shape (n_keypoints,), or mapping of category name to that, optional
        As of `kpwidget.quality.check`.
    is_sequence : bool, default False
        Where instances have no track id: that the only instance of a category in each image is
        the same object all along. Otherwise they are not looked at.

    Returns
    -------
    Jitter
        Only runs of at least three labelled frames count; frames of instances whose source is
        'interpolated' do not. What all points of a frame have in common (the camera) is taken out.

    Notes
    -----
    Rounding to whole pixels alone gives 0.29 px. Real abrupt motion, when the speed of a keypoint
    changes and stays changed, is no event.
    """
    import pandas as pd

    estimates: list[tuple[object, ...]] = []
    events: list[tuple[object, ...]] = []
    series: dict[tuple[str, str, str], tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
    problems: list[str] = []
    with dataset_of(data).lock:
        for labels in labels_of(data, sigmas):
            tracks, problem = tracks_of(labels, is_sequence)
            if problem:
                problems.append(f"{labels.category.name}: {problem}")
            for clip, of_clip in tracks.items():
                found = _of_clip(labels, of_clip)
                for track, (rows, single, frames, sds) in found.items():
                    where = (labels.category.name, clip, track)
                    estimates += [(*where, *row) for row in rows]
                    events += [(*where, *row) for row in single]
                    series[where] = (frames, sds)
    return Jitter(
        pd.DataFrame(estimates, columns=list(_ESTIMATES)),
        pd.DataFrame(events, columns=list(_EVENTS)),
        series,
        "; ".join(problems),
    )


_OfTrack = tuple[
    list[tuple[object, ...]],
    list[tuple[object, ...]],
    NDArray[np.int64],
    NDArray[np.float64],
]


def _of_clip(labels: Labels, tracks: Mapping[str, Members]) -> dict[str, _OfTrack]:
    """Estimates, events, frames and series of each track of a clip."""
    n_keypoints = labels.category.n_keypoints
    first = min(int(of.frames[0]) for of in tracks.values())
    n_frames = max(int(of.frames[-1]) for of in tracks.values()) - first + 1
    source = labels.dataset._table.column("source", labels.rows)
    places, differences, masked = {}, {}, {}
    for track, of in tracks.items():
        is_made = source[of.places] == "interpolated"
        xy = np.full((n_frames, n_keypoints, 2), math.nan)
        xy[of.frames - first] = np.where(
            is_made[:, None, None], math.nan, labels.points[of.places, :, :2]
        )
        second = np.full_like(xy, math.nan)
        second[1:-1] = xy[2:] - 2 * xy[1:-1] + xy[:-2]
        places[track], differences[track], masked[track] = xy, second, int(is_made.sum())
    together = np.concatenate(list(differences.values()), axis=1)
    n_points = np.isfinite(together[..., 0]).sum(axis=1)
    common = np.full((n_frames, 2), math.nan)
    enough = n_points >= _LEAST_FOR_CAMERA
    common[enough] = np.nanmedian(together[enough], axis=1)
    camera = label_noise(common).sd
    kept = np.where(enough, 1 - _TAKEN / np.maximum(n_points, _LEAST_FOR_CAMERA), 1.0)
    found = {}
    for track, of in tracks.items():
        own = differences[track] - np.nan_to_num(common)[:, None]
        at = of.frames - first
        size = np.full(n_frames, math.nan)
        size[at] = labels.size[of.places]
        rows: list[tuple[object, ...]] = []
        sds = np.full((n_frames, n_keypoints), math.nan)
        events: list[tuple[object, ...]] = []
        place_of = np.full(n_frames, -1, np.int64)
        place_of[at] = of.places
        for k, name in enumerate(labels.category.keypoints):
            estimate, still, verdict = _noise_of(places[track][:, k], own[:, k])
            is_known = np.isfinite(own[:, k, 0])
            typical = np.nanmedian(size[is_known]) if estimate.n else math.nan
            share = float(kept[is_known].mean()) if estimate.n else 1.0
            estimate, still = (
                one._replace(sd=one.sd / share, low=one.low / share, high=one.high / share)
                for one in (estimate, still)
            )
            to_sigmas = math.sqrt(2) / (labels.sigmas[k] * typical)
            rows.append(
                (
                    name, estimate.n, estimate.sd, estimate.low, estimate.high,
                    still.n, still.sd, still.sd * to_sigmas, still.low * to_sigmas,
                    still.high * to_sigmas, camera, masked[track], verdict,
                )
            )  # fmt: skip
            # Curved motion is in the second differences, and nothing of it is an event.
            scale = _estimate(own[:, k], _SECOND).sd
            if verdict != "told" or scale == 0:
                continue
            sds[:, k] = np.hypot(own[:, k, 0], own[:, k, 1]) / (math.sqrt(6) * scale)
            for frame, kind, px, n_sds in _events_of(own[:, k], sds[:, k]):
                i = int(place_of[frame])
                relative = px / (labels.sigmas[k] * labels.size[i])
                where = (labels.file_name(i), first + frame, labels.uid(i))
                events.append((*where, name, kind, px, n_sds, float(relative)))
        found[track] = (rows, events, of.frames, sds[at])
    return found


def _noise_of(
    xy: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NoiseEstimate, NoiseEstimate, str]:
    """Noise of a keypoint in all frames, and in those where it is slow; whether it is told."""
    estimate = label_noise(second)
    speed = np.full(len(xy), math.nan)
    # The central difference: of independent noise it is uncorrelated with the second one, so that
    # the choice of slow frames does not choose small second differences.
    speed[1:-1] = np.hypot(*(xy[2:] - xy[:-2]).T) / 2
    speed[~np.isfinite(second[:, 0])] = math.nan
    known = np.isfinite(speed)
    if not known.any():
        return estimate, estimate, "not enough data"
    is_slow = known & (speed <= np.nanmedian(speed))
    still = label_noise(np.where(is_slow[:, None], second, math.nan))
    raw = xy[2:] - 2 * xy[1:-1] + xy[:-2]
    raw = raw[np.isfinite(raw[:, 0])]
    # By hand no two steps are equal in both axes; linear interpolation makes them so.
    if np.mean((np.abs(raw) < 1e-6).all(axis=1)) > 0.5:
        nothing = NoiseEstimate(math.nan, math.nan, math.nan, estimate.n)
        return nothing, nothing, "looks interpolated or copied"
    return estimate, still, "told" if np.isfinite(still.sd) else "not enough data"


def _events_of(
    own: NDArray[np.float64], sds: NDArray[np.float64]
) -> Iterator[tuple[int, str, float, float]]:
    """Frame, kind, size in pixels and in sds of each twitch and jump of a keypoint."""
    flagged = np.flatnonzero(sds > MANY_SDS)
    for run in np.split(flagged, np.flatnonzero(np.diff(flagged) > _WITHIN) + 1):
        if not len(run) or run[-1] - run[0] > 2 * _WITHIN:
            continue  # nothing, or one abrupt motion after the other
        first, last = int(run[0]), int(run[-1])
        unknown = np.flatnonzero(np.isnan(own[:, 0]))
        start = max([first - _WITHIN, *(unknown[unknown < first] + 1).tolist()])
        end = min([last + _WITHIN, *(unknown[unknown > last] - 1).tolist()])
        if np.isnan(own[first : last + 1]).any() or start == first or end == last:
            continue  # nothing is known of before or of after
        # Second differences add up to steps, against the one before; steps to places. Step j goes
        # from frame start + j - 1 to the next, place j is that of frame start + j - 1.
        steps = np.concatenate([np.zeros((1, 2)), np.cumsum(own[start : end + 1], axis=0)])
        before, after = first - start + 1, last - start + 1
        # Flanks without any of the event, also where only its peak is flagged.
        earlier, later = steps[: before - 1], steps[after + 1 :]
        change = np.hypot(*(later.mean(axis=0) - earlier.mean(axis=0)))
        if change > np.hypot(*own[run].T).max() / 2:
            continue  # its speed is another one afterwards: it has moved
        steps -= (earlier.mean(axis=0) + later.mean(axis=0)) / 2
        places = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
        places -= np.median(places[:before], axis=0)
        inner = np.hypot(*places[before : after + 1].T)
        size = float(inner.max())
        if size < _LEAST_EVENT_PX:
            continue
        stays = np.hypot(*np.median(places[after + 1 :], axis=0)) > size / 2
        at = int(np.argmax(inner > size / 2) if stays else np.argmax(inner))
        yield first + at, "jump" if stays else "twitch", size, float(sds[run].max())


def jitter_findings(found: Jitter) -> list[Finding]:
    """Findings of `jitter`.

    Parameters
    ----------
    found : Jitter

    Returns
    -------
    list of Finding
        Warnings: each twitch and jump, where a keypoint of a track has more than five of a kind one
        for all of them, at the largest; a keypoint of a track whose labels are noisier than
        1 sigma*s, its interval considered. Notes: estimates that could not be made.
    """
    out = []
    track = ["category", "clip", "track", "keypoint", "kind"]
    for _, of in found.events.groupby(track, sort=False):
        events = rows_in(of)
        is_twitch = events[0].kind == "twitch"
        many, look, kind = "", "look at this frame and the ones beside it", events[0].kind
        if len(events) > _MOST_EVENTS:
            kind = "twitches" if is_twitch else "jumps"
            first = ", ".join(event.image for event in events[:_MOST_LISTED])
            many = (
                f"; the largest of {len(events)} {kind} of this keypoint in track "
                f"{events[0].track!r}, the first of them in {first}"
            )
            look = "look at some of those in kp.quality.jitter(ds).events: so many may be motion"
            events = [max(events, key=lambda event: event.size_px)]
        for event in events:
            out.append(
                Finding(
                    "jitter", "warning", event.image, event.instance, event.keypoint, event.sds,
                    MANY_SDS,
                    f"{event.kind} of {event.size_px:.1f} px ({event.sigmas:.1f} sigma*s), "
                    f"{event.sds:.0f} robust sd of this track's second differences"
                    + (": it is back within three frames" if is_twitch else ": it stays") + many,
                    look + ("" if is_twitch else ": a limb that steps looks the same"),
                    kind,
                )
            )  # fmt: skip
    for row in rows_in(found.estimates):
        if row.verdict == "told" and row.low_sigmas > 1:
            out.append(
                Finding(
                    "jitter", "warning", None, None, row.keypoint, row.sigmas, 1.0,
                    f"clip {row.clip!r}, track {row.track!r}: the labels are noisy by "
                    f"{row.sd_still_px:.1f} px an axis, {row.sigmas:.1f} sigma*s "
                    f"(95 %: {row.low_sigmas:.1f} to {row.high_sigmas:.1f}; {row.n_still} second "
                    "differences)",
                    "label it again in fewer frames and interpolate, or smooth it",
                    f"{row.category}: clip {row.clip!r}, track {row.track!r}",
                )
            )  # fmt: skip
    for verdict in ("not enough data", "looks interpolated or copied"):
        n = int((found.estimates["verdict"] == verdict).sum())
        if n:
            out.append(
                Finding(
                    "jitter", "note", None, None, None, float(n), float(LEAST_DIFFERENCES),
                    f"{verdict}: noise is not told for {n} of {len(found.estimates)} keypoints of "
                    "tracks",
                    "",
                    verdict,
                )
            )  # fmt: skip
    if found.problem:
        out.append(
            Finding(
                "jitter", "note", None, None, None, math.nan, math.nan,
                f"not, or not all, looked at: {found.problem}", "give the instances track ids",
                "not looked at",
            )
        )  # fmt: skip
    return out
