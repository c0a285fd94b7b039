"""The marks of a picture: rimmed edges and keypoints, hatched crowds.

Everything that comes by the hundred is one artist: edges one collection, keypoints one for each
side and visibility. A rim is drawn by the artist itself, in the renderer's
own loop: path effects would draw every mark by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.artist import allow_rasterization
from matplotlib.cbook import normalize_kwargs
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import IdentityTransform
from numpy.typing import NDArray

from kpwidget.schema import INSTANCE_COLORS, Visibility

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kpwidget.dataset import Dataset

__all__ = [
    "NEUTRAL",
    "Marks",
    "draw_crowds",
    "draw_edges",
    "draw_keypoints",
    "draw_marks",
    "draw_points",
    "marks_of",
    "new_axes",
    "scale_for",
]

# Per side: name in the artist's gid, marker, and area in square points that makes all three look
# equally large (matplotlib sizes a marker by the square around it, a diamond's being its diagonal).
MARKERS: Final = {
    "left": ("left", "s", 30.0),
    "right": ("right", "D", 26.0),
    None: ("unpaired", "o", 36.0),
}
NEUTRAL: Final = "#808080"
RIM: Final = (0.0, 0.0, 0.0, 0.7)
_RIM_WIDTH = 1.0  # points, on either side


# -- what is to be drawn --------------------------------------------------------------------


@dataclass(frozen=True)
class Marks:
    """Edges and keypoints of some instances, as flat arrays.

    Attributes
    ----------
    segments : ndarray of shape (n_segments, 2, 2)
        Ends (x, y) of the edges whose keypoints are both labeled.
    segment_of : ndarray of int, shape (n_segments,)
        Which of the instances each belongs to.
    segment_colors : list of str
        Of length n_segments.
    xy : ndarray of shape (n_points, 2)
        The labeled keypoints.
    point_of : ndarray of int, shape (n_points,)
        Which of the instances each belongs to.
    visibility : ndarray of int, shape (n_points,)
        1 occluded, 2 visible.
    sides : list of 'left', 'right' or None
    colors, names : list of str
        All three of length n_points.
    """

    segments: NDArray[np.float64]
    segment_of: NDArray[np.int64]
    segment_colors: list[str]
    xy: NDArray[np.float64]
    point_of: NDArray[np.int64]
    visibility: NDArray[np.int64]
    sides: list[str | None]
    colors: list[str]
    names: list[str]


def marks_of(
    dataset: Dataset,
    rows: Sequence[int] | NDArray[np.int64],
    places: Sequence[tuple[float, float, float]] | None = None,
) -> Marks:
    """Edges and keypoints of instances, with the colours that the widget gives them.

    Parameters
    ----------
    dataset : Dataset
    rows : sequence of int
        Of its table.
    places : sequence of (scale, dx, dy), optional
        For each instance, where it is drawn: (x, y) becomes (dx + scale * x, dy + scale * y).

    Returns
    -------
    Marks
        In the order of `rows`, and of the schema within an instance. In image pixels, without
        `places`.
    """
    table = dataset._table
    chosen = np.asarray(rows, np.int64)
    categories = table.column("category", chosen)
    colors_of = np.array(INSTANCE_COLORS, object)[ordinals_of(dataset, chosen) % 8]
    moved = None if places is None else np.asarray(places, np.float64).reshape(-1, 3)
    segments, segment_of, xy, point_of, visibility = [], [], [], [], []
    sides, colors, names = [], [], []
    for index in np.unique(categories).tolist():
        schema = dataset.categories[index].schema
        of_category = np.flatnonzero(categories == index)
        keypoints = table.keypoints_of(index, chosen[of_category])
        if moved is not None:
            scale, dx, dy = moved[of_category].T[..., None]
            keypoints[..., 0] = dx + scale * keypoints[..., 0]
            keypoints[..., 1] = dy + scale * keypoints[..., 1]
        is_labeled = keypoints[..., 2] > 0
        which, edge = np.nonzero(is_labeled[:, schema.edges].all(axis=-1))
        segments.append(keypoints[which[:, None], schema.edges[edge], :2])
        segment_of.append(of_category[which])
        which, k = np.nonzero(is_labeled)
        xy.append(keypoints[which, k, :2])
        visibility.append(keypoints[which, k, 2].astype(np.int64))
        point_of.append(of_category[which])
        sides.append(np.array([*schema.sides, None], object)[k])
        colors.append(np.array([*schema.colors, ""], object)[k])
        names.append(np.array([*schema.keypoints, ""], object)[k])
    if not xy:
        empty = np.zeros(0, np.int64)
        return Marks(np.zeros((0, 2, 2)), empty, [], np.zeros((0, 2)), empty, empty, [], [], [])
    owners, holders = np.concatenate(segment_of), np.concatenate(point_of)
    by_owner = np.argsort(owners, kind="stable")
    by_holder = np.argsort(holders, kind="stable")
    return Marks(
        np.concatenate(segments)[by_owner],
        owners[by_owner],
        colors_of[owners[by_owner]].tolist(),
        np.concatenate(xy)[by_holder],
        holders[by_holder],
        np.concatenate(visibility)[by_holder],
        np.concatenate(sides)[by_holder].tolist(),
        np.concatenate(colors)[by_holder].tolist(),
        np.concatenate(names)[by_holder].tolist(),
    )


def ordinals_of(dataset: Dataset, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Position of each instance in its image, from 0, shape (n,)."""
    table = dataset._table
    images = table.column("image", rows).tolist()
    position = {row: i for index in set(images) for i, row in enumerate(table.rows_of_image[index])}
    return np.array([position[int(row)] for row in rows], np.int64)


# -- drawing ----------------------------------------------------------------------------------


def draw_marks(
    ax: Axes,
    marks: Marks,
    keypoint_kw: Mapping[str, Any] | None = None,
    edge_kw: Mapping[str, Any] | None = None,
    scale: float = 1.0,
) -> None:
    """Draw all edges, then all keypoints; `scale` multiplies the usual sizes."""
    draw_edges(ax, marks.segments, marks.segment_colors, edge_kw, marks.segment_of, scale)
    draw_keypoints(ax, marks.xy, marks.visibility, marks.sides, marks.colors, keypoint_kw, scale)


def draw_edges(
    ax: Axes,
    segments: NDArray[np.float64],
    colors: Sequence[str],
    edge_kw: Mapping[str, Any] | None = None,
    groups: NDArray[np.int64] | None = None,
    scale: float = 1.0,
) -> None:
    """Draw segments, shape (n, 2, 2), as one collection; rims never cover lines of their group.

    `scale` multiplies the usual width of line and rim.
    """
    if not len(segments):
        return
    given = normalize_kwargs(dict(edge_kw or {}), LineCollection)
    if "colors" in given:
        given["color"] = given.pop("colors")
    style: dict[str, Any] = {"zorder": 2, "capstyle": "round", "gid": "edges"}
    style["linewidth"] = 2.0 * scale
    if not given.keys() & {"color", "edgecolor", "array"}:
        style["color"] = list(colors)
    lines = _Edges(list(segments))
    lines.groups, lines.rim_width = groups, _RIM_WIDTH * scale
    lines.set(**style | given)
    ax.add_collection(lines, autolim=False)


def draw_keypoints(
    ax: Axes,
    xy: NDArray[np.float64],
    visibility: NDArray[Any],
    sides: Sequence[str | None],
    colors: Sequence[str],
    keypoint_kw: Mapping[str, Any] | None = None,
    scale: float = 1.0,
) -> None:
    """Draw points, shape (n, 2), one collection for each side and visibility there is.

    `scale` multiplies the usual size and line width.
    """
    for group, gid, marker, size, is_hollow in _groups(visibility, sides):
        given = normalize_kwargs(dict(keypoint_kw or {}), PathCollection)
        # One colour for all: 'c' as scatter calls it, 'color' as everything else does.
        color = given.pop("c", given.pop("color", [colors[k] for k in group]))
        style: dict[str, Any] = {
            "facecolor": "none" if is_hollow else color,
            "edgecolor": color if is_hollow else "none",
            "linewidth": 1.8 * scale if is_hollow else 0.0,
            "zorder": 3,
            "gid": gid,
        }
        shape = MarkerStyle(given.pop("marker", marker))
        points = _Keypoints(
            [shape.get_path().transformed(shape.get_transform())],
            np.atleast_1d(given.pop("s", size * scale**2)),
            offsets=xy[group],
            offset_transform=ax.transData,
        )
        points.rim_width = _RIM_WIDTH * scale
        points.set_transform(IdentityTransform())
        points.set(**style | given)
        ax.add_collection(points, autolim=False)


def scale_for(marks: Marks, points_per_unit: float) -> float:
    """How large marks are best drawn, 1 being the usual size, so that they do not hide the picture.

    Parameters
    ----------
    marks : Marks
    points_per_unit : float
        Typographic points on the canvas for one unit of the space of the marks.

    Returns
    -------
    float
        From 0.3 to 1: less than 1 where the keypoints of the middle one of the instances would
        have less than 20 points each to a side.
    """
    if not len(marks.xy):
        return 1.0
    n = int(marks.point_of.max()) + 1
    low, high = np.full((n, 2), np.inf), np.full((n, 2), -np.inf)
    np.minimum.at(low, marks.point_of, marks.xy)
    np.maximum.at(high, marks.point_of, marks.xy)
    counts = np.bincount(marks.point_of, minlength=n)
    is_extended = counts > 1
    if not is_extended.any():
        return 1.0
    # A pose may be flat: half its length is the least that is taken for its breadth.
    sides = np.sort((high - low)[is_extended], axis=1)
    area = sides[:, 1] * np.maximum(sides[:, 0], sides[:, 1] / 2)
    room = points_per_unit * float(np.median(np.sqrt(area / counts[is_extended])))
    return min(1.0, max(0.3, room / 20))


def draw_points(
    ax: Axes, xy: NDArray[np.float64], colors: Any, marker: str, size: float
) -> PathCollection:
    """Draw points, shape (n, 2), without a rim, as one collection; `size` in square points."""
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


def new_axes(width: float, height: float) -> Axes:
    """Return the axes of a new figure, which has a size in inches."""
    from matplotlib import pyplot as plt

    _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax


def _groups(
    visibility: NDArray[Any], sides: Sequence[str | None]
) -> Iterator[tuple[NDArray[np.int64], str, str, float, bool]]:
    flags, of_side = np.asarray(visibility), np.array([*sides, None], object)[:-1]
    # Occluded ones first: of two at one place the visible one is on top.
    for flag in (Visibility.OCCLUDED, Visibility.VISIBLE):
        for side, (name, marker, size) in MARKERS.items():
            group = np.flatnonzero((flags == flag) & (of_side == side))
            if len(group):
                gid = f"keypoints-{name}-{flag.name.lower()}"
                yield group, gid, marker, size, flag == Visibility.OCCLUDED


def draw_crowds(
    ax: Axes,
    dataset: Dataset,
    rows: Sequence[int] | NDArray[np.int64],
    places: Sequence[tuple[float, float, float]] | None = None,
) -> None:
    """Hatch what stands for a group of objects: its polygons, else its bbox, as one collection.

    `places` as of `marks_of`.
    """
    from kpwidget.dataset import Instance

    table = dataset._table
    chosen = np.asarray(rows, np.int64)
    crowds = np.flatnonzero(table.column("iscrowd", chosen) > 0)
    outlines: list[NDArray[np.float64]] = []
    for i, uid in zip(crowds.tolist(), table.uids(chosen[crowds]), strict=True):
        instance = Instance(dataset, uid)
        scale, dx, dy = (1.0, 0.0, 0.0) if places is None else places[i]
        found: list[NDArray[np.float64]] = []
        polygons = instance.extra.get("segmentation")
        if isinstance(polygons, list) and all(_is_polygon(polygon) for polygon in polygons):
            found = [np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in polygons]
        elif instance.bbox is not None:
            x, y, width, height = instance.bbox
            corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
            found = [np.array(corners)]
        outlines += [outline * scale + (dx, dy) for outline in found]
    if outlines:
        crowd = PolyCollection(outlines, closed=True)
        crowd.set(
            facecolor=(0, 0, 0, 0.18),
            edgecolor=(1, 1, 1, 0.75),
            hatch="/",
            linestyle="--",
            linewidth=1.2,
            zorder=1.5,
            gid="crowds",
        )
        ax.add_collection(crowd, autolim=False)


def _is_polygon(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= 6
        and len(value) % 2 == 0
        and all(isinstance(number, int | float) for number in value)
    )


class _Edges(LineCollection):
    """Line segments with a dark rim, unless path effects are given."""

    groups: NDArray[np.int64] | None = None
    rim_width = _RIM_WIDTH

    @allow_rasterization  # type: ignore[untyped-decorator]
    def draw(self, renderer: Any) -> None:
        if self.get_path_effects() or not self.get_visible():
            super().draw(renderer)
            return
        n = len(self.get_paths())
        groups = np.zeros(n, np.int64)
        if self.groups is not None and len(self.groups) == n:
            groups = self.groups
        # Of one group first all rims and then all lines, so that joints have no rim across.
        order = np.lexsort((np.repeat([0, 1], n), np.tile(groups, 2)))
        _draw_rimmed(self, renderer, order % n, order < n, self.rim_width)
        self.stale = False


class _Keypoints(PathCollection):
    """Markers with a dark rim, unless path effects are given."""

    rim_width = _RIM_WIDTH

    @allow_rasterization  # type: ignore[untyped-decorator]
    def draw(self, renderer: Any) -> None:
        if self.get_path_effects() or not self.get_visible():
            super().draw(renderer)
            return
        n = len(np.atleast_2d(self.get_offsets()))
        # Each on the rim of its own, so that crowded ones stay apart.
        order, is_rim = np.repeat(np.arange(n), 2), np.tile([True, False], n)
        _draw_rimmed(self, renderer, order, is_rim, self.rim_width)
        self.stale = False


def _draw_rimmed(
    artist: Any,
    renderer: Any,
    order: NDArray[np.int64],
    is_rim: NDArray[np.bool_],
    rim_width: float,
) -> None:
    """Draw the items of a collection in an order, some of them as the rim of what follows."""
    if not len(order):
        return
    artist.update_scalarmappable()
    paths, widths = artist.get_paths(), np.atleast_1d(artist.get_linewidth())
    edge, face = artist.get_edgecolor(), artist.get_facecolor()
    is_moved = isinstance(artist, PathCollection)
    drawn: Any = PathCollection(
        paths if is_moved else [paths[i] for i in order],
        sizes=None,
        offsets=np.asarray(artist.get_offsets())[order] if is_moved else None,
        offset_transform=artist.get_offset_transform(),
    )
    drawn.update_from(artist)
    drawn.set_array(None)
    drawn.set_figure(artist.figure)
    if is_moved:
        sizes = artist.get_sizes()
        drawn.set_sizes(sizes[order % len(sizes)], artist.figure.dpi)
    width = widths[order % len(widths)]
    alpha = artist.get_alpha()
    drawn.set_alpha(None)
    rim = np.array(RIM)
    if alpha is not None and np.ndim(alpha) == 0:
        rim[3] *= float(alpha)
    outline = edge[order % len(edge)] if len(edge) else np.zeros((len(order), 4))
    drawn.set_edgecolor(np.where(is_rim[:, None], rim, outline))
    drawn.set_facecolor(face[order % len(face)] if len(face) else "none")
    drawn.set_linewidth(np.where(is_rim, width + 2 * rim_width, width))
    drawn.draw(renderer)
