"""`plot_heatmap`, `plot_pose_space`, `plot_trajectory`: where keypoints are, in space and time.

The numbers come from `density_of`, `kpwidget.geometry` and `tracks_of`; the plots only draw them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.markers import MarkerStyle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import IdentityTransform
from numpy.typing import NDArray

from kpwidget.dataset import ImageInfo
from kpwidget.dataset.views import bboxes_of
from kpwidget.geometry import align_poses, mean_pose
from kpwidget.images import ImageError
from kpwidget.plotting.marks import (
    MARKERS,
    NEUTRAL,
    PLAIN,
    draw_edges,
    draw_keypoints,
    one_line,
    set_title,
)
from kpwidget.plotting.rows import Data, Rows, category_of, rows_of
from kpwidget.schema import Category, Schema, Visibility

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Density",
    "Track",
    "density_of",
    "plot_heatmap",
    "plot_pose_space",
    "plot_trajectory",
    "tracks_of",
]

Keypoints = str | int | Sequence[str | int] | None

_BBOX_ROOM = 0.25  # around the bbox, as a fraction of its sides
_MAX_POSES = 1000


@dataclass(frozen=True)
class Density:
    """How many keypoints fall where.

    Attributes
    ----------
    counts : ndarray of int, shape (n_rows, n_columns)
        Row 0 is the uppermost.
    extent : tuple of float
        (left, right, bottom, top), in `unit`.
    unit : {'px', 'image', 'bbox'}
        Pixels, or fractions of the image's or the bbox's width and height.
    aspect : float
        Height of one unit of y, in units of x.
    n_outside, n_unknown : int
        Keypoints outside of the extent, and those whose image has no known size or whose instance
        no bbox. Neither is counted.
    """

    counts: NDArray[np.int64]
    extent: tuple[float, float, float, float]
    unit: Literal["px", "image", "bbox"]
    aspect: float
    n_outside: int
    n_unknown: int


def density_of(
    data: Data,
    keypoints: Keypoints = None,
    *,
    frame: Literal["image", "instance"] = "image",
    category: str | int | Category | None = None,
    bins: int = 48,
) -> Density:
    """How many labeled keypoints fall into each cell of an image or of a bbox.

    Parameters
    ----------
    data : Dataset, Selection, ImageInfo, Instance, or sequence of ImageInfo or of Instance
    keypoints : str or int, or several, optional
        Names or 0-based indices; by default all, together.
    frame : {'image', 'instance'}
        'image' is in pixels if all images are of one size, else in fractions of their sides.
        'instance' is in fractions of the bbox, from its upper left corner, and reaches a quarter
        beyond it.
    category : str, int or Category, optional
        May be left out if there are instances of one category only.
    bins : int, default 48
        Cells along the longer side.

    Returns
    -------
    Density

    Raises
    ------
    KeyError
        If there is no such keypoint; the message names those with a similar name.
    ValueError
        If another argument is out of range, or the category is not clear.
    """
    if frame not in ("image", "instance"):
        raise ValueError(f"frame = {one_line(repr(frame))}: expected 'image' or 'instance'")
    if isinstance(bins, bool) or bins != int(bins) or not 1 <= bins <= 2000:
        raise ValueError(f"bins = {bins!r}: expected a whole number from 1 to 2000")
    found = rows_of(data)
    index, rows = _of_category(found, category)
    dataset = found.dataset
    chosen = indices_of(dataset.categories[index].schema, keypoints)
    with dataset.lock:
        points = dataset._table.keypoints_of(index, rows)[:, chosen]
        if frame == "instance":
            boxes = bboxes_of(dataset, rows)
        images = dataset._table.column("image", rows)
    is_labeled = points[..., 2] > 0
    unit: Literal["px", "image", "bbox"]
    if frame == "instance":
        unit, aspect = "bbox", 1.0
        sizes = np.where(boxes[:, 2:] > 0, boxes[:, 2:], np.nan)
        xy = (points[..., :2] - boxes[:, None, :2]) / sizes[:, None]
        if np.isfinite(sizes).any():
            aspect = float(np.nanmedian(sizes[:, 1] / sizes[:, 0]))
        left = top = -_BBOX_ROOM
        right = bottom = 1 + _BBOX_ROOM
    else:
        sizes = _sizes(found, images)
        known = np.unique(sizes[np.isfinite(sizes[:, 0])], axis=0)
        left, top, right, bottom, aspect, unit = 0.0, 0.0, 1.0, 1.0, 1.0, "image"
        xy = points[..., :2] / sizes[:, None]
        if len(known) == 1:
            right, bottom, unit = float(known[0, 0]), float(known[0, 1]), "px"
            xy = np.where(np.isfinite(sizes[:, None]), points[..., :2], np.nan)
        elif len(known):
            aspect = float(np.median(known[:, 1] / known[:, 0]))
    width, height = right - left, (bottom - top) * aspect
    n_x = max(1, round(bins * min(1.0, width / height)))
    n_y = max(1, round(bins * min(1.0, height / width)))
    flat = xy[is_labeled]
    flat = flat[np.isfinite(flat).all(axis=1)]
    counts, _, _ = np.histogram2d(
        flat[:, 1], flat[:, 0], bins=(n_y, n_x), range=((top, bottom), (left, right))
    )
    return Density(
        counts.astype(np.int64),
        (left, right, bottom, top),
        unit,
        aspect,
        n_outside=len(flat) - int(counts.sum()),
        n_unknown=int(is_labeled.sum()) - len(flat),
    )


def plot_heatmap(
    data: Data,
    keypoints: Keypoints = None,
    *,
    frame: Literal["image", "instance"] = "image",
    category: str | int | Category | None = None,
    bins: int = 48,
    ax: Axes | None = None,
    image_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw where keypoints fall, in the image or in the box around the instance.

    Parameters
    ----------
    data, keypoints, frame, category, bins
        As of `density_of`.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's. The colour bar takes some of its room.
    image_kw : mapping, optional
        For the picture (`matplotlib.axes.Axes.imshow`).

    Returns
    -------
    matplotlib.axes.Axes
        y down. The picture's ``gid`` is ``heatmap``.

    Raises
    ------
    KeyError
        If there is no such keypoint; the message names those with a similar name.
    ValueError
        If another argument is out of range, or the category is not clear.
    """
    density = density_of(data, keypoints, frame=frame, category=category, bins=bins)
    found = rows_of(data)
    index, rows = _of_category(found, category)
    schema = found.dataset.categories[index].schema
    left, right, bottom, top = density.extent
    if ax is None:
        ratio = (bottom - top) * density.aspect / (right - left)
        ax = _figure(4.6, min(max(3.6 * ratio, 1.6), 7.0) + 0.8)
    style: dict[str, Any] = {
        "cmap": "Blues",
        "vmin": 0,
        "vmax": max(1, int(density.counts.max())),
        "origin": "upper",
        "interpolation": "nearest",
        "extent": density.extent,
        "aspect": density.aspect,
    }
    picture = ax.imshow(density.counts, **style | dict(image_kw or {}))
    picture.set_gid("heatmap")
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    if density.unit == "bbox":
        ax.plot([0, 1, 1, 0, 0], [0, 0, 1, 1, 0], "--", color="#606060", linewidth=0.9, gid="bbox")
    unit = {"px": "px", "image": "of the image", "bbox": "of the bbox"}[density.unit]
    ax.set_xlabel("x (px)" if unit == "px" else f"x (fraction of the width {unit})")
    ax.set_ylabel("y (px)" if unit == "px" else f"y (fraction of the height {unit})")
    bar = ax.figure.colorbar(picture, ax=ax, shrink=0.9, pad=0.02)
    bar.set_label("keypoints in a cell")
    bar.locator = MaxNLocator(integer=True)
    bar.update_ticks()
    chosen = indices_of(schema, keypoints)
    named = "all keypoints"
    if len(chosen) < schema.n_keypoints:
        named = ", ".join(one_line(schema.keypoints[k]) for k in chosen[:3])
        named += f" and {len(chosen) - 3} more" if len(chosen) > 3 else ""
    title = f"{named}: {int(density.counts.sum()):,} in {len(rows):,} instances"
    left_out = [
        f"{n:,} {why}"
        for n, why in (
            (density.n_outside, "outside"),
            (density.n_unknown, "of unknown place"),
        )
        if n
    ]
    if left_out:
        title += f"\n(not shown: {', '.join(left_out)})"
    set_title(ax, title, 9)
    return ax


def plot_pose_space(
    data: Data,
    *,
    rotation: bool = False,
    category: str | int | Category | None = None,
    limit: int = _MAX_POSES,
    ax: Axes | None = None,
    keypoint_kw: Mapping[str, Any] | None = None,
    edge_kw: Mapping[str, Any] | None = None,
    pose_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw all poses of a category on each other, aligned, with their mean on top.

    Parameters
    ----------
    data : Dataset, Selection, ImageInfo, Instance, or sequence of ImageInfo or of Instance
    rotation : bool, default False
        Whether poses are turned as well as moved and scaled; see `kpwidget.geometry.align_poses`.
    category : str, int or Category, optional
        May be left out if there are instances of one category only.
    limit : int, default 1000
        Most poses drawn, spread evenly over all of them; the mean is that of all.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's.
    keypoint_kw, edge_kw : mapping, optional
        For the mean pose, as for `plot_image`.
    pose_kw : mapping, optional
        For the edges of the poses (`matplotlib.collections.LineCollection`).

    Returns
    -------
    matplotlib.axes.Axes
        In units of the size of a pose (root mean square distance of its keypoints from their
        centre), y down. The artists' ``gid`` is ``poses``, ``points``, and as for `plot_image`.

    Raises
    ------
    ValueError
        If `limit` is below 1, or the category is not clear.
    """
    if isinstance(limit, bool) or limit != int(limit) or limit < 1:
        raise ValueError(f"limit = {limit!r}: expected a whole number of at least 1")
    found = rows_of(data)
    index, rows = _of_category(found, category)
    schema = found.dataset.categories[index].schema
    with found.dataset.lock:
        poses = found.dataset._table.keypoints_of(index, rows)[..., :2]
    mean = mean_pose(poses, rotation=rotation)
    aligned = align_poses(poses, mean, rotation=rotation)
    aligned = aligned[np.isfinite(aligned).any(axis=(1, 2))]
    n_all = len(aligned)
    if ax is None:
        ax = _figure(4.6, 5.2)
    ax.set_aspect("equal")
    ax.set_xlabel("x (pose sizes)")
    ax.set_ylabel("y (pose sizes)")
    ax.invert_yaxis()
    title = f"{one_line(found.dataset.categories[index].name)}: {n_all:,} poses"
    if n_all < len(rows):
        title += f"\n({len(rows) - n_all:,} with fewer than two keypoints left out)"
    if n_all == 0:
        set_title(ax, title, 9)
        ax.text(
            0.5, 0.5, "no pose to show", transform=ax.transAxes, ha="center", va="center", **PLAIN
        )
        return ax
    if n_all > limit:
        aligned = aligned[np.linspace(0, n_all - 1, int(limit)).round().astype(int)]
        title += f"\n{len(aligned):,} of them drawn"
    set_title(ax, title, 9)
    opacity = float(np.clip(6 / len(aligned) ** 0.8, 0.02, 0.5))
    segments = aligned[:, schema.edges].reshape(-1, 2, 2)
    segments = segments[np.isfinite(segments).all(axis=(1, 2))]
    lines = LineCollection(list(segments))
    style = {"color": NEUTRAL, "alpha": opacity, "linewidth": 0.7, "zorder": 1, "gid": "poses"}
    lines.set(**style | dict(pose_kw or {}))
    ax.add_collection(lines, autolim=False)
    which, k = np.nonzero(np.isfinite(aligned[..., 0]))
    points = _points(ax, aligned[which, k], [schema.colors[i] for i in k.tolist()], "o", 5.0)
    points.set(alpha=min(1.0, 3 * opacity), zorder=1.5, gid="points")
    is_known = np.isfinite(mean[:, 0])
    edges = schema.edges[is_known[schema.edges].all(axis=1)]
    draw_edges(ax, mean[edges], ["#ffffff"] * len(edges), edge_kw)
    kept = np.flatnonzero(is_known).tolist()
    draw_keypoints(
        ax,
        mean[kept],
        np.full(len(kept), int(Visibility.VISIBLE)),
        [schema.sides[i] for i in kept],
        [schema.colors[i] for i in kept],
        keypoint_kw,
    )
    # A few poses that share little with the mean reach far: they may leave the picture.
    reach = np.nanpercentile(np.abs(aligned), 99.5, axis=(0, 1)) * 1.12
    ax.set_xlim(-reach[0], reach[0])
    ax.set_ylim(reach[1], -reach[1])
    return ax


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
        May be left out if there are instances of one category only.

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
    index, rows = _of_category(found, category)
    dataset = found.dataset
    with dataset.lock:
        table = dataset._table
        points = table.keypoints_of(index, rows)
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
        image, with a ring at the first place.
    category : str, int or Category, optional
        May be left out if there are instances of one category only.
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
        ``y``, or ``path`` and ``starts``, and ``points`` for what has no labeled neighbour.

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
    index, _ = _of_category(found, category)
    schema = found.dataset.categories[index].schema
    chosen = indices_of(schema, keypoints)
    tracks = tracks_of(data, category)
    if ax is None:
        ax = _figure(6.4, 3.6) if of == "time" else _figure(5.2, 4.4)
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
        # Points alone would vanish; others only get in the way of their line.
        for side, (_, marker, _) in MARKERS.items():
            single = [
                (line[0], _dark(schema.colors[k]))
                for line, (k, *_) in zip(lines, runs, strict=True)
                if len(line) == 1 and schema.sides[k] == side
            ]
            if single:
                points = _points(
                    ax, np.array([xy for xy, _ in single]), [c for _, c in single], marker, 14.0
                )
                points.set(**{"zorder": 3, "gid": "points"} | dict(keypoint_kw or {}))
        if of == "path":
            firsts = [xy[0] for track in tracks for k in chosen for _, xy in _runs(track, k)[:1]]
            if firsts:
                rings = _points(ax, np.array(firsts), "none", "o", 22.0)
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
        sizes = _sizes(found, np.array(found.images, np.int64))
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


def _points(
    ax: Axes, xy: NDArray[np.float64], colors: Any, marker: str, size: float
) -> PathCollection:
    shape = MarkerStyle(marker)
    points = PathCollection(
        [shape.get_path().transformed(shape.get_transform())],
        [size],
        offsets=xy,
        offset_transform=ax.transData,
        facecolors=colors,
        linewidths=0,
    )
    points.set_transform(IdentityTransform())
    ax.add_collection(points, autolim=False)
    return points


def indices_of(schema: Schema, keypoints: Keypoints) -> list[int]:
    """0-based indices of keypoints given by name or index, all by default.

    Raises
    ------
    KeyError
        If there is no such keypoint; the message names those with a similar name.
    ValueError
        If none is given.
    """
    if keypoints is None:
        return list(range(schema.n_keypoints))
    given = [keypoints] if isinstance(keypoints, str | int | np.integer) else list(keypoints)
    if not given:
        raise ValueError("keypoints is empty: expected names or indices, or None for all")
    return list(dict.fromkeys(schema.index(keypoint) for keypoint in given))


def _of_category(
    found: Rows, category: str | int | Category | None
) -> tuple[int, NDArray[np.int64]]:
    with found.dataset.lock:
        index = category_of(found, category)
        of_category = found.dataset._table.column("category", found.rows) == index
    return index, found.rows[of_category]


def _sizes(found: Rows, images: NDArray[np.int64]) -> NDArray[np.float64]:
    """(width, height) of the image of each instance, in pixels; NaN where not known."""
    indices, which = np.unique(images, return_inverse=True)
    sizes = np.full((len(indices), 2), math.nan)
    for i, index in enumerate(indices.tolist()):
        try:
            sizes[i] = ImageInfo(found.dataset, index).size
        except (ImageError, OSError):
            continue
    return sizes[which]


def _figure(width: float, height: float) -> Axes:
    _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax
