"""The marks of a picture: rimmed edges and keypoints, hatched crowds, names with a halo.

Everything that comes by the hundred is one artist: edges one collection, keypoints one for each
side and visibility, names one `Labels`. A rim is drawn by the artist itself, in the renderer's
own loop: path effects would draw every mark by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib import rcParams
from matplotlib.artist import Artist, allow_rasterization
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.cbook import normalize_kwargs
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.font_manager import FontProperties
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Affine2D, Bbox, IdentityTransform
from numpy.typing import NDArray

from kpwidget.schema import INSTANCE_COLORS, Visibility

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Transform

    from kpwidget.dataset import Dataset

__all__ = [
    "NEUTRAL",
    "PLAIN",
    "Labels",
    "Marks",
    "draw_crowds",
    "draw_edges",
    "draw_keypoints",
    "draw_marks",
    "draw_points",
    "marks_of",
    "new_axes",
    "one_line",
    "scale_for",
    "set_title",
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
_HALO_WIDTH = 1.1  # points, around letters
_GLYPH_SIZE = 100.0  # text_to_path makes outlines of this font size
_N_PATHS_KEPT = 4096

# Names come from strangers: neither mathtext nor LaTeX may read them.
PLAIN: Final[dict[str, Any]] = {"parse_math": False, "usetex": False}
MAX_NAME_LENGTH: Final = 28


def one_line(text: str, length: int = MAX_NAME_LENGTH) -> str:
    """One printable line of at most `length` characters."""
    if len(text) > length:
        text = text[: length - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\u200d" else " " for c in text)


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


def dpi_of(ax: Axes) -> float:
    """Pixels per inch of the figure that axes are in."""
    figure = ax.get_figure(root=True)
    return 100.0 if figure is None else float(figure.dpi)


def set_title(ax: Axes, text: str, size: float = 10.0, **options: Any) -> None:
    """Set a title that is no wider than the axes, or than the figure around a single one."""
    figure = ax.get_figure(root=False)
    assert figure is not None
    is_alone = len([other for other in figure.axes if other.get_label() != "<colorbar>"]) == 1
    box = figure.bbox if is_alone else ax.get_window_extent()
    width = 0.94 * box.width / figure.dpi * 72
    size = min(
        size, max(6.5, size * width / max(1.0, width_of(max(text.split("\n"), key=len), size)))
    )
    lines: list[str] = []
    for line in text.split("\n"):
        words = line.split(" ")
        start = 0
        for end in range(1, len(words) + 1):
            if end > start + 1 and width_of(" ".join(words[start:end]), size) > width:
                lines.append(" ".join(words[start : end - 1]))
                start = end - 1
        lines.append(" ".join(words[start:]))
    ax.set_title("\n".join(lines), fontsize=size, **PLAIN, **options)


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


def draw_crowds(ax: Axes, dataset: Dataset, rows: Sequence[int] | NDArray[np.int64]) -> None:
    """Hatch what stands for a group of objects: its polygons, else its bbox, as one collection."""
    from kpwidget.dataset import Instance

    table = dataset._table
    chosen = np.asarray(rows, np.int64)
    crowds = chosen[table.column("iscrowd", chosen) > 0]
    outlines: list[NDArray[np.float64]] = []
    for uid in table.uids(crowds):
        instance = Instance(dataset, uid)
        polygons = instance.extra.get("segmentation")
        if isinstance(polygons, list) and all(_is_polygon(polygon) for polygon in polygons):
            outlines += [np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in polygons]
        elif instance.bbox is not None:
            x, y, width, height = instance.bbox
            corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
            outlines.append(np.array(corners))
    if outlines:
        crowd = PolyCollection(outlines, closed=True)
        crowd.set(
            facecolor=(0, 0, 0, 0.3),
            edgecolor="#ffffff",
            hatch="///",
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
    drawn.set_figure(artist.get_figure(root=False))
    if is_moved:
        sizes = artist.get_sizes()
        drawn.set_sizes(sizes[order % len(sizes)], artist.get_figure(root=False).dpi)
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


# -- text -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Outline:
    """Letters of one line: font size 100, y up, the baseline at 0; from `left`, `width` wide."""

    path: Path
    left: float
    width: float


@lru_cache(_N_PATHS_KEPT)
def _outline(text: str, family: tuple[str, ...]) -> _Outline:
    font = FontProperties(family=list(family))
    vertices, codes = text_to_path.get_text_path(font, text, ismath=False)
    if not len(vertices):
        return _Outline(Path(np.zeros((0, 2))), 0.0, 0.0)
    path = Path(np.asarray(vertices), np.asarray(codes))
    # Where an outline is closed the vertex means nothing.
    x = np.asarray(vertices)[np.asarray(codes) != Path.CLOSEPOLY, 0]
    return _Outline(path, float(x.min()), float(np.ptp(x)))


def _outlines(texts: Sequence[str]) -> dict[str, _Outline]:
    """Outline of each different text; mathematics is not read."""
    family = tuple(rcParams["font.family"])
    return {text: _outline(text, family) for text in set(texts)}


def width_of(text: str, size: float) -> float:
    """Width of a line of text of a font size; both in points."""
    return _outlines([text])[text].width * size / _GLYPH_SIZE


def fit_text(text: str, size: float, width: float) -> str:
    """`text`, or as much of its beginning and its end as fits into `width` points.

    File names differ in their ends more often than in their beginnings, so more of it is kept.
    """
    text = one_line(text, 200)
    if width_of(text, size) <= width:
        return text
    fewest, most = 0, len(text) - 1
    while fewest < most:
        n = (fewest + most + 1) // 2
        if width_of(_without_middle(text, n), size) <= width:
            fewest = n
        else:
            most = n - 1
    return _without_middle(text, fewest)


def _without_middle(text: str, n_kept: int) -> str:
    n_first = n_kept // 3
    return text[:n_first] + "…" + text[len(text) - (n_kept - n_first) :]


class Labels(Artist):
    """Many short lines of text at places in data space, drawn as one artist.

    Parameters
    ----------
    xy : ndarray of shape (n, 2)
        Places in the space of `transform`.
    texts : sequence of str
        Of length n; drawn as they are, never read as mathematics.
    transform : matplotlib.transforms.Transform
        From the space of `xy` to display pixels.
    size : float
        Font size in points.
    color : str
    halo : str or None
        Colour of a line around the letters.
    gap : float
        From the place to the text, in points.
    align : {'beside', 'below', 'above', 'centre', 'left'}
        To the right of its place, or to the left where the right has no room; centred below it,
        above it, on it; starting at it.
    is_sparse : bool
        Leave out what would cover a place or another label.

    Notes
    -----
    A `matplotlib.text.Text` for each would take about ten times as long. On a raster canvas each
    different text is drawn once and then stamped.
    """

    def __init__(
        self,
        xy: NDArray[np.float64],
        texts: Sequence[str],
        transform: Transform,
        *,
        size: float = 6.5,
        color: str = "#ffffff",
        halo: str | None = "#000000",
        gap: float = 5.0,
        align: str = "beside",
        is_sparse: bool = False,
    ) -> None:
        super().__init__()
        self._xy = np.asarray(xy, np.float64).reshape(-1, 2)
        self._texts = [one_line(text, 200) for text in texts]
        self._size, self._color, self._halo = size, color, halo
        self._gap, self._align, self._is_sparse = gap, align, is_sparse
        self.set_transform(transform)
        self.set_zorder(4)

    def get_texts(self) -> list[str]:
        """All texts, also those that have no room."""
        return list(self._texts)

    def get_offsets(self) -> NDArray[np.float64]:
        """Places in the space of the transform, shape (n, 2)."""
        return self._xy.copy()

    def places(self, scale: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Where the labels are now.

        Parameters
        ----------
        scale : float
            Pixels per point.

        Returns
        -------
        boxes : ndarray of shape (n, 4)
            (x0, y0, x1, y1) of each in display pixels, y up.
        is_shown : ndarray of bool, shape (n,)
            False where a place is outside the axes or, if sparse, where there is no room.
        """
        at = self.get_transform().transform(self._xy).reshape(-1, 2)
        outlines = _outlines(self._texts)
        widths = np.array([outlines[text].width for text in self._texts])
        widths *= self._size / _GLYPH_SIZE * scale
        low, high = -0.25 * self._size * scale, 0.8 * self._size * scale
        gap = self._gap * scale
        n = len(at)
        boxes = np.empty((n, 4))
        boxes[:, 1], boxes[:, 3] = at[:, 1] - (high - low) / 2, at[:, 1] + (high - low) / 2
        boxes[:, 0] = at[:, 0] + gap
        if self._align == "below":
            boxes[:, [1, 3]] -= gap + (high - low) / 2
        if self._align == "above":
            boxes[:, [1, 3]] += gap + (high - low) / 2
        if self._align in ("below", "above", "centre"):
            boxes[:, 0] = at[:, 0] - widths / 2
        elif self._align == "left":
            boxes[:, 0] = at[:, 0]
        boxes[:, 2] = boxes[:, 0] + widths
        is_shown = np.isfinite(at).all(axis=1) & (widths > 0)
        if self.axes is not None and self.get_clip_on():
            x0, y0, x1, y1 = self.axes.bbox.extents
            is_shown &= np.all((at >= (x0 - 1, y0 - 1)) & (at <= (x1 + 1, y1 + 1)), axis=1)
            if self._align == "beside":
                is_over = boxes[:, 2] > x1
                shift = widths + 2 * gap
                is_over &= boxes[:, 0] - shift >= x0
                boxes[is_over, 0] -= shift[is_over]
                boxes[is_over, 2] -= shift[is_over]
        if self._is_sparse:
            view = None if self.axes is None else np.array(self.axes.bbox.extents)
            boxes, is_shown = _sparse(boxes, is_shown, at, gap, view)
        return boxes, is_shown

    def get_window_extent(self, renderer: Any = None) -> Bbox:
        """Box around all labels shown, in display pixels."""
        figure = self.get_figure(root=False)
        boxes, is_shown = self.places(figure.dpi / 72 if figure is not None else 1.0)
        shown = boxes[is_shown]
        if not len(shown):
            return Bbox.null()
        return Bbox([shown[:, :2].min(axis=0), shown[:, 2:].max(axis=0)])

    @allow_rasterization  # type: ignore[untyped-decorator]
    def draw(self, renderer: Any) -> None:
        """Draw the labels shown."""
        if not self.get_visible() or not len(self._texts):
            return
        scale = float(renderer.points_to_pixels(1.0))
        boxes, is_shown = self.places(scale)
        renderer.open_group("labels", gid=self.get_gid())
        gc = renderer.new_gc()
        self._set_gc_clip(gc)  # type: ignore[attr-defined]
        outlines = _outlines(self._texts)
        stamps: dict[str, tuple[NDArray[np.uint8], int, int]] = {}
        for i in np.flatnonzero(is_shown).tolist():
            text = self._texts[i]
            x, y = boxes[i, 0], boxes[i, 1] + 0.25 * self._size * scale
            if isinstance(renderer, RendererAgg):
                if text not in stamps:
                    stamps[text] = _stamp(
                        outlines[text], self._size, scale, self._color, self._halo
                    )
                stamp, left, low = stamps[text]
                renderer.draw_image(gc, round(x) - left, round(y) - low, stamp)
            else:
                factor = self._size / _GLYPH_SIZE * scale
                outline = outlines[text]
                place = Affine2D().translate(-outline.left, 0).scale(factor).translate(x, y)
                _draw_text(renderer, gc, outline.path, place, scale, self._color, self._halo)
        gc.restore()
        renderer.close_group("labels")
        self.stale = False


def _draw_text(
    renderer: Any,
    gc: Any,
    path: Path,
    place: Affine2D,
    scale: float,
    color: str,
    halo: str | None,
) -> None:
    if halo is not None:
        gc.set_foreground(halo)
        gc.set_linewidth(2 * _HALO_WIDTH * scale)
        gc.set_joinstyle("round")
        renderer.draw_path(gc, path, place, to_rgba(halo))
    gc.set_linewidth(0)
    renderer.draw_path(gc, path, place, to_rgba(color))


@lru_cache(_N_PATHS_KEPT)
def _stamp(
    outline: _Outline, size: float, scale: float, color: str, halo: str | None
) -> tuple[NDArray[np.uint8], int, int]:
    """RGBA picture of a label, lowest row first, and its origin's column and row."""
    factor = size / _GLYPH_SIZE * scale
    room = int(np.ceil(_HALO_WIDTH * scale)) + 1
    vertices = np.asarray(outline.path.vertices)
    low = int(np.floor(vertices[:, 1].min() * factor)) - room
    high = int(np.ceil(vertices[:, 1].max() * factor)) + room
    agg: Any = RendererAgg
    renderer = agg(int(np.ceil(outline.width * factor)) + 2 * room, high - low, 72)
    place = Affine2D().translate(-outline.left, 0).scale(factor).translate(room, -low)
    _draw_text(renderer, renderer.new_gc(), outline.path, place, scale, color, halo)
    return np.asarray(renderer.buffer_rgba())[::-1].copy(), room, -low


def _sparse(
    boxes: NDArray[np.float64],
    is_shown: NDArray[np.bool_],
    places: NDArray[np.float64],
    gap: float,
    view: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Boxes moved to the right, left, top or bottom of their places, where there is room."""
    boxes, is_shown = boxes.copy(), is_shown.copy()
    taken = np.empty((0, 4))
    # A marker reaches about as far as the gap.
    markers = np.concatenate([places - 0.8 * gap, places + 0.8 * gap], axis=1)
    markers = markers[np.isfinite(markers).all(axis=1)]
    for i in np.flatnonzero(is_shown).tolist():
        x, y = places[i]
        width, height = boxes[i, 2] - boxes[i, 0], boxes[i, 3] - boxes[i, 1]
        starts = np.array(
            [
                boxes[i, :2],
                (x - gap - width, y - height / 2),
                (x - width / 2, y + gap),
                (x - width / 2, y - gap - height),
            ]
        )
        tried = np.concatenate([starts, starts + np.array([width, height])], axis=1)
        has_room = ~_overlap(tried, np.concatenate([taken, markers]))
        if view is not None:
            has_room &= (tried[:, :2] >= view[:2]).all(axis=1)
            has_room &= (tried[:, 2:] <= view[2:]).all(axis=1)
        free = np.flatnonzero(has_room)
        if len(free):
            boxes[i] = tried[free[0]]
            taken = np.concatenate([taken, boxes[i][None]])
        else:
            is_shown[i] = False
    return boxes, is_shown


def _overlap(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each box, (x0, y0, x1, y1), overlaps any of the others."""
    inside = (boxes[:, None, :2] < others[None, :, 2:]) & (others[None, :, :2] < boxes[:, None, 2:])
    overlapping: NDArray[np.bool_] = np.any(np.all(inside, axis=-1), axis=1)
    return overlapping
