"""`plot_trajectory`: keypoints through a sequence of images, put together by `tracks_of`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from kpwidget.dataset import ImageInfo
from kpwidget.plotting.marks import MARKERS, draw_points, new_axes
from kpwidget.plotting.rows import (
    Data,
    Keypoints,
    indices_of,
    keypoints_of,
    of_category,
    rows_of,
    sizes_in,
)
from kpwidget.plotting.text import one_line, set_title
from kpwidget.schema import Category, Schema

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Track", "plot_trajectory", "tracks_of"]


@dataclass(frozen=True)
class Track:
    """One object through a sequence of images.

    Attributes
    ----------
    name : str
        Its track id, '' if there is only one track and it has none.
    frames : ndarray of int, shape (n,)
        Positions of the images in the sequence, from 0, rising.
    points : ndarray of shape (n, n_keypoints, 3)
        (x, y, visibility) in image pixels; NaN and 0 where not labeled.
    """

    name: str
    frames: NDArray[np.int64]
    points: NDArray[np.float64]


def tracks_of(data: Data, category: str | int | Category | None = None) -> list[Track]:
    """Instances of a sequence of images, put together by object.

    Parameters
    ----------
    data : Dataset, Selection, ImageInfo, Instance, or sequence of ImageInfo or of Instance
        Its images in their order are the frames.
    category : str, int or Category, optional
        May be left out if the instances are of one category, or of several with the same keypoints.

    Returns
    -------
    list of Track
        By `track_id`, in the order in which they first appear.

    Raises
    ------
    ValueError
        If instances have no track id although an image has several, if a track has two instances
        in one image, or if the category is not clear.
    """
    found = rows_of(data)
    chosen = of_category(found, category)
    dataset, rows = found.dataset, chosen.rows
    with dataset.lock:
        table = dataset._table
        points = keypoints_of(dataset, chosen)
        images, ids = table.column("image", rows), table.column("track_id", rows).tolist()
    frame_of = {image: i for i, image in enumerate(found.images)}
    frames = np.array([frame_of[image] for image in images.tolist()], np.int64)
    n_nameless = sum(identity is None for identity in ids)
    counts = np.bincount(frames, minlength=1)
    if n_nameless and (counts.max() > 1 or n_nameless < len(ids)):
        busiest = ImageInfo(dataset, found.images[int(np.argmax(counts))])
        raise ValueError(
            f"{n_nameless} of {len(ids)} instances have no track_id, and image "
            f"{one_line(busiest.file_name)!r} has {int(counts.max())}: which of them belong "
            "together is not known; plot a selection with one instance in an image "
            "(ds.select(where=...))"
        )
    members: dict[str, list[int]] = {}
    for i, identity in enumerate(ids):
        members.setdefault("" if identity is None else str(identity), []).append(i)
    tracks = []
    for name, of_track in members.items():
        order = np.array(of_track)[np.argsort(frames[of_track], kind="stable")]
        repeated = np.flatnonzero(np.diff(frames[order]) == 0)
        if len(repeated):
            image = ImageInfo(dataset, found.images[int(frames[order[repeated[0]]])])
            raise ValueError(
                f"track {one_line(name)!r} has two instances in image "
                f"{one_line(image.file_name)!r}, expected one"
            )
        tracks.append(Track(name, frames[order], points[order]))
    return tracks


def plot_trajectory(
    data: Data,
    keypoints: Keypoints = None,
    *,
    of: Literal["time", "path"] = "time",
    category: str | int | Category | None = None,
    ax: Axes | None = None,
    line_kw: Mapping[str, Any] | None = None,
    keypoint_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw how keypoints move through a sequence of images.

    Parameters
    ----------
    data : Dataset, Selection, ImageInfo, Instance, or sequence of ImageInfo or of Instance
        Its images in their order are the frames; objects are told apart by `track_id`.
    keypoints : str or int, or several, optional
        Names or 0-based indices; by default all.
    of : {'time', 'path'}
        'time': x as solid and y as dashed lines over the frame number. 'path': lines through the
        image, each with a ring where it begins. Lines end in the marker of their side.
    category : str, int or Category, optional
        May be left out if the instances are of one category, or of several with the same keypoints.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's.
    line_kw : mapping, optional
        For the lines (`matplotlib.collections.LineCollection`).
    keypoint_kw : mapping, optional
        For the points (`matplotlib.collections.PathCollection`).

    Returns
    -------
    matplotlib.axes.Axes
        Lines are interrupted where a keypoint is not labeled. The artists' ``gid`` is ``x`` and
        ``y``, or ``path`` and ``starts``, and ``ends``.

    Raises
    ------
    KeyError
        If there is no such keypoint; the message names those with a similar name.
    ValueError
        As of `tracks_of`, or if `of` is something else.
    """
    if of not in ("time", "path"):
        raise ValueError(f"of = {one_line(repr(of))}: expected 'time' or 'path'")
    found = rows_of(data)
    schema = of_category(found, category).schema
    chosen = indices_of(schema, keypoints)
    tracks = tracks_of(found, category)
    if ax is None:
        ax = new_axes(6.4, 3.6) if of == "time" else new_axes(5.2, 4.4)
    runs: list[tuple[int, NDArray[np.int64], NDArray[np.float64]]] = []
    for track in tracks:
        for k in chosen:
            runs += [(k, *run) for run in _runs(track, k)]
    axes_drawn = [("x", 0, "-"), ("y", 1, "--")] if of == "time" else [("path", -1, "-")]
    style: dict[str, Any] = {"linewidth": 1.2, "alpha": 0.9}
    for gid, column, dash in axes_drawn:
        lines = [
            xy if column < 0 else np.column_stack([frames, xy[:, column]]) for _, frames, xy in runs
        ]
        collection = LineCollection(
            [line for line in lines if len(line) > 1],
            colors=[_dark(schema.colors[k]) for k, frames, _ in runs if len(frames) > 1],
        )
        collection.set(**{"linestyle": dash, "gid": gid} | style | dict(line_kw or {}))
        ax.add_collection(collection, autolim=False)
        # Lines end in the marker of their side; points alone would vanish without one.
        for side, (_, marker, _) in MARKERS.items():
            last = [
                (line[-1], _dark(schema.colors[k]))
                for line, (k, *_) in zip(lines, runs, strict=True)
                if schema.sides[k] == side
            ]
            if last:
                points = draw_points(
                    ax, np.array([xy for xy, _ in last]), [c for _, c in last], marker, 12.0
                )
                points.set(**{"zorder": 3, "gid": "ends"} | dict(keypoint_kw or {}))
    if of == "path":
        starts = [xy[0] for _, _, xy in runs if len(xy) > 1]
        if starts:
            rings = draw_points(ax, np.array(starts), "none", "o", 22.0)
            rings.set(edgecolor="#303030", linewidth=0.9, zorder=3, gid="starts")
    everything = np.concatenate([xy for *_, xy in runs]) if runs else np.zeros((0, 2))
    n_frames = len(found.images)
    if of == "time":
        ax.set_xlim(-0.5, max(n_frames - 0.5, 0.5))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("frame (position of the image, from 0)")
        ax.set_ylabel("x (solid), y (dashed) in px")
        if len(everything):
            low, high = float(everything.min()), float(everything.max())
            room = 0.05 * max(high - low, 1.0)
            ax.set_ylim(low - room, high + room)
        ax.spines[["top", "right"]].set_visible(False)
    else:
        sizes = sizes_in(found, np.array(found.images, np.int64))
        known = sizes[np.isfinite(sizes[:, 0])]
        high = known.max(axis=0) if len(known) else np.maximum(everything.max(axis=0, initial=1), 1)
        ax.set_aspect("equal")
        ax.set_xlim(0, float(high[0]))
        ax.set_ylim(float(high[1]), 0)
        ax.set_xlabel("x (px)")
        ax.set_ylabel("y (px)")
    _name_lines(ax, schema, chosen)
    title = f"{len(tracks):,} track{'' if len(tracks) == 1 else 's'} in {n_frames:,} images"
    set_title(ax, title)
    return ax


def _runs(track: Track, k: int) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Frames and places of a keypoint, in pieces without a gap."""
    is_labeled = track.points[:, k, 2] > 0
    frames, xy = track.frames[is_labeled], track.points[is_labeled, k, :2]
    if not len(frames):
        return []
    # A frame in which the track is not there is a gap as well.
    ends = np.flatnonzero(np.diff(frames) > 1) + 1
    return list(zip(np.split(frames, ends), np.split(xy, ends), strict=True))


def _name_lines(ax: Axes, schema: Schema, chosen: Sequence[int]) -> None:
    """Legend of up to 20 keypoints, beside the axes."""
    from matplotlib.lines import Line2D

    if len(chosen) > 20:
        return
    handles = [
        Line2D(
            [],
            [],
            color=_dark(schema.colors[k]),
            marker=MARKERS[schema.sides[k]][1],
            markersize=4,
            linewidth=1.2,
        )
        for k in chosen
    ]
    legend = ax.legend(
        handles,
        [" "] * len(handles),
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        fontsize=7,
    )
    for text, k in zip(legend.get_texts(), chosen, strict=True):
        text.set_parse_math(False)
        text.set_usetex(False)
        text.set_text(one_line(schema.keypoints[k]))


def _dark(color: str) -> str:
    """The colour, or a darker one of its kind, where white paper would swallow it."""
    from matplotlib.colors import to_hex, to_rgb

    rgb = np.array(to_rgb(color))
    luminance = float(rgb @ (0.2126, 0.7152, 0.0722))
    return color if luminance < 0.6 else str(to_hex(tuple((rgb * 0.6 / luminance).tolist())))
