"""Pictures of images, instances and schemas on matplotlib Axes.

Drawn as in the widget: edges in the colour of the instance, keypoints in the colours of the
schema; the left side as squares, the right as diamonds, unpaired keypoints as circles; occluded
ones hollow; all with a dark rim, so that they show on light and on dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset import ImageInfo, Instance
from kpwidget.geometry import layout_skeleton
from kpwidget.images import ImageError
from kpwidget.schema import INSTANCE_COLORS, Visibility

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection

    from kpwidget.schema import Schema

__all__ = ["plot_image", "plot_instance", "plot_schema", "schema_layout"]

# Per side: name in the artist's gid, marker, and area in square points that makes all three look
# equally large (matplotlib sizes a marker by the square around it, a diamond's being its diagonal).
_MARKERS = {
    "left": ("left", "s", 30.0),
    "right": ("right", "D", 26.0),
    None: ("unpaired", "o", 36.0),
}
_RIM = "#000000"
_RIM_ALPHA = 0.7
_NEUTRAL = "#808080"
# More names than this cannot be read however they are placed.
_MAX_NAMES = 200
_MAX_NAME_LENGTH = 28


def plot_image(
    image: ImageInfo,
    *,
    ax: Axes | None = None,
    keypoint_kw: Mapping[str, Any] | None = None,
    edge_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw an image with the keypoints and skeletons of its instances.

    Parameters
    ----------
    image : ImageInfo
        An image of a dataset. If it cannot be read, the axes have its size and say why.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's.
    keypoint_kw : mapping, optional
        For the keypoints (`matplotlib.axes.Axes.scatter`).
    edge_kw : mapping, optional
        For the edges (`matplotlib.collections.LineCollection`).

    Returns
    -------
    matplotlib.axes.Axes
        In image pixels, y down. The artists' ``gid`` is ``edges``, or ``keypoints`` with side and
        visibility, for instance ``keypoints-left-occluded``.

    Raises
    ------
    TypeError
        If `image` is something else, such as a file name.
    """
    if not isinstance(image, ImageInfo):
        raise TypeError(
            f"image = {_short(repr(image))}: expected an image of a dataset, such as ds.images[0] "
            "or ds.images['a.png']"
        )
    instances = list(enumerate(image.instances))
    labeled = [_labeled_xy(instance) for _, instance in instances]
    width, height = _size(image, labeled)
    ax = _axes_for(ax, width / height)
    _show_picture(ax, image, (0.0, 0.0, width, height), (width, height))
    _draw_instances(ax, instances, keypoint_kw, edge_kw)
    _finish_image_axes(ax, (0.0, 0.0, width, height), image.file_name)
    return ax


def plot_instance(
    instance: Instance,
    *,
    ax: Axes | None = None,
    margin: float = 0.2,
    keypoint_kw: Mapping[str, Any] | None = None,
    edge_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw one instance on the part of its image around it.

    Parameters
    ----------
    instance : Instance
        Without a labeled keypoint and a bbox, the whole image is shown.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's.
    margin : float, default 0.2
        Added on every side, as a fraction of the longer side of the bbox and the labeled
        keypoints together.
    keypoint_kw, edge_kw : mapping, optional
        As for `plot_image`.

    Returns
    -------
    matplotlib.axes.Axes
        In pixels of the whole image, y down.

    Raises
    ------
    TypeError
        If `instance` is something else.
    ValueError
        If `margin` is negative or not finite.
    """
    if not isinstance(instance, Instance):
        raise TypeError(
            f"instance = {_short(repr(instance))}: expected an instance of a dataset, such as "
            "ds.instances[0]"
        )
    if not (math.isfinite(margin) and margin >= 0):
        raise ValueError(f"margin = {margin}: expected a finite number of at least 0")
    image = instance.image
    ordinal = next(i for i, other in enumerate(image.instances) if other == instance)
    size = _size(image, [_labeled_xy(instance)])
    corners = [_labeled_xy(instance)]
    bbox = instance.bbox
    if bbox is not None:
        corners.append(np.array([bbox[:2], (bbox[0] + bbox[2], bbox[1] + bbox[3])]))
    around = np.concatenate(corners)
    if len(around):
        low, high = around.min(axis=0), around.max(axis=0)
        room = max(1.0, float((high - low).max())) * margin
        low, high = low - room, high + room
        # A single point with no margin still needs an area to be drawn in.
        thin = np.maximum(1.0 - (high - low), 0.0) / 2
        x0, y0, x1, y1 = (float(value) for value in (*(low - thin), *(high + thin)))
    else:
        x0, y0, x1, y1 = 0.0, 0.0, *size
    ax = _axes_for(ax, (x1 - x0) / (y1 - y0))
    _show_picture(ax, image, (x0, y0, x1, y1), size)
    _draw_instances(ax, [(ordinal, instance)], keypoint_kw, edge_kw)
    title = f"{_short(image.file_name)}: {instance.category.name} {ordinal + 1}"
    _finish_image_axes(ax, (x0, y0, x1, y1), title)
    return ax


def plot_schema(
    schema: Schema,
    *,
    ax: Axes | None = None,
    keypoint_kw: Mapping[str, Any] | None = None,
    edge_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw the skeleton of a schema with the names of its keypoints.

    Parameters
    ----------
    schema : Schema
        Drawn in its `layout`, or in one found from its edges. The figure faces the reader. With
        more than 200 keypoints the names are left out.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's.
    keypoint_kw, edge_kw : mapping, optional
        As for `plot_image`.

    Returns
    -------
    matplotlib.axes.Axes
        Without ticks: only the shape has a meaning. y down.
    """
    xy = schema_layout(schema)
    names = [_short(name) for name in schema.keypoints]
    has_names = len(names) <= _MAX_NAMES
    # Names stand in two columns beside the figure, so that they cannot cover it or one another.
    by_x = sorted(range(len(names)), key=lambda k: (round(float(xy[k, 0]), 6), k))
    columns = (by_x[: len(names) // 2], by_x[len(names) // 2 :]) if has_names else ([], [])
    n_rows = max(1, *map(len, columns))
    n_letters = max((len(names[k]) for column in columns for k in column), default=0)
    if ax is None:
        from matplotlib import pyplot as plt

        height = max(3.6, 0.19 * n_rows)
        _, ax = plt.subplots(figsize=(min(height, 7) + 0.16 * n_letters, height))
    area = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    font_size = min(9.0, max(4.0, 72 * area.height / n_rows / 1.4))
    # 0.62 em is the width of an average letter of DejaVu Sans, with a little to spare.
    name_width = 0.62 * n_letters * font_size / 72 + 0.25
    low, high = xy.min(axis=0), xy.max(axis=0)
    extent = np.maximum(high - low, 0.1)
    room = max(area.width - 2 * name_width, 0.3 * area.width)
    inches = min(0.86 * area.height / extent[1], 0.9 * room / extent[0])  # per unit of the layout
    centre = (low + high) / 2
    half = np.array([area.width, area.height]) / inches / 2
    _draw_edges(ax, xy[schema.edges], [_NEUTRAL] * len(schema.edges), edge_kw)
    flags = np.full(len(xy), int(Visibility.VISIBLE))
    _draw_keypoints(ax, xy, flags, list(schema.sides), list(schema.colors), keypoint_kw)
    row = 1.35 * font_size / 72 / inches
    for column, sign in zip(columns, (-1, 1), strict=True):
        x = float(centre[0] + sign * (extent[0] / 2 + 0.2 / inches))
        column = sorted(column, key=lambda k: (round(float(xy[k, 1]), 6), k))
        heights = _spread(
            xy[column, 1], row, float(centre[1] - half[1]), float(centre[1] + half[1])
        )
        for k, y in zip(column, heights, strict=True):
            ax.annotate(
                names[k],
                xy=(float(xy[k, 0]), float(xy[k, 1])),
                xytext=(x, y),
                ha="right" if sign < 0 else "left",
                va="center",
                fontsize=font_size,
                annotation_clip=False,
                arrowprops={
                    "arrowstyle": "-",
                    "color": _NEUTRAL,
                    "alpha": 0.6,
                    "linewidth": 0.6,
                    "shrinkA": 1,
                    "shrinkB": 3,
                },
                **_PLAIN,
            )
    ax.set_aspect("equal")
    ax.set_xlim(float(centre[0] - half[0]), float(centre[0] + half[0]))
    ax.set_ylim(float(centre[1] + half[1]), float(centre[1] - half[1]))
    ax.set_axis_off()
    ax.set_title(_short(schema.name), **_PLAIN)
    return ax


def schema_layout(schema: Schema) -> NDArray[np.float64]:
    """Where a figure of the schema puts each keypoint; what `plot_schema` draws.

    Parameters
    ----------
    schema : Schema

    Returns
    -------
    ndarray of shape (n_keypoints, 2)
        (x, y) in [0, 1], y down: the schema's `layout` if there is one, else one found from its
        edges and sides. The same each time.
    """
    if schema.layout is not None:
        return np.array(schema.layout)
    return layout_skeleton(schema.n_keypoints, schema.edges, schema.sides)


# Names come from strangers: neither mathtext nor LaTeX may read them.
_PLAIN: dict[str, Any] = {"parse_math": False, "usetex": False}


def _labeled_xy(instance: Instance) -> NDArray[np.float64]:
    points = instance.keypoints
    return points[points[:, 2] > 0, :2]


def _size(image: ImageInfo, labeled: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """(width, height) in pixels; if nobody knows it, as much as the keypoints need."""
    try:
        return float(image.width), float(image.height)
    except (ImageError, OSError):
        points = np.concatenate([np.ones((1, 2)), *labeled])
        width, height = np.ceil(points.max(axis=0) * 1.05)
        return float(width), float(height)


def _axes_for(ax: Axes | None, aspect: float) -> Axes:
    """`ax`, or the axes of a new figure for a picture `aspect` times as wide as high."""
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    aspect = min(max(aspect, 0.2), 5.0)
    width = min(7.0, 6.0 * aspect)
    _, ax = plt.subplots(figsize=(width, width / aspect + 0.4), layout="constrained")
    return ax


def _show_picture(
    ax: Axes,
    image: ImageInfo,
    window: tuple[float, float, float, float],
    size: tuple[float, float],
) -> None:
    """Draw the part of the picture in `window` (x0, y0, x1, y1), or say why it cannot be."""
    width, height = size
    x0, y0 = max(0, math.floor(window[0])), max(0, math.floor(window[1]))
    x1, y1 = min(width, math.ceil(window[2])), min(height, math.ceil(window[3]))
    try:
        picture = image.open()
        if x0 < x1 and y0 < y1:
            # The file may be smaller than the size its record gives: the record's pixels count.
            across, down = picture.width / width, picture.height / height
            box = (
                math.floor(x0 * across),
                math.floor(y0 * down),
                math.ceil(x1 * across),
                math.ceil(y1 * down),
            )
            pixels = np.asarray(picture.crop(box).convert("RGB"))
            ax.imshow(
                pixels,
                extent=(box[0] / across, box[2] / across, box[3] / down, box[1] / down),
                origin="upper",
                aspect="equal",
                zorder=0,
            )
    except (ImageError, OSError) as error:
        ax.set_facecolor("#e0e0e0")
        ax.text(
            0.5,
            0.5,
            _short(str(error), 300),
            transform=ax.transAxes,
            ha="center",
            va="center",
            color="#303030",
            fontsize=9,
            wrap=True,
            zorder=0.5,
            **_PLAIN,
        )


def _finish_image_axes(ax: Axes, window: tuple[float, float, float, float], title: str) -> None:
    x0, y0, x1, y1 = window
    ax.set_aspect("equal")
    ax.set_xlim(x0, x1)
    ax.set_ylim(y1, y0)
    ax.set_xlabel("x (px)")
    ax.set_ylabel("y (px)")
    ax.set_title(_short(title, 60), fontsize=10, **_PLAIN)


def _draw_instances(
    ax: Axes,
    instances: Sequence[tuple[int, Instance]],
    keypoint_kw: Mapping[str, Any] | None,
    edge_kw: Mapping[str, Any] | None,
) -> None:
    """Draw (position in the image, instance) pairs: all edges, then all keypoints."""
    segments: list[NDArray[np.float64]] = []
    segment_colors: list[str] = []
    points: list[NDArray[np.float64]] = []
    sides: list[str | None] = []
    colors: list[str] = []
    for ordinal, instance in instances:
        schema, keypoints = instance.category.schema, instance.keypoints
        is_labeled = keypoints[:, 2] > 0
        edges = schema.edges[is_labeled[schema.edges].all(axis=1)]
        segments.append(keypoints[edges, :2])
        segment_colors += [INSTANCE_COLORS[ordinal % len(INSTANCE_COLORS)]] * len(edges)
        points.append(keypoints[is_labeled])
        sides += [schema.sides[k] for k in np.flatnonzero(is_labeled)]
        colors += [schema.colors[k] for k in np.flatnonzero(is_labeled)]
    if not points:
        return
    _draw_edges(ax, np.concatenate(segments), segment_colors, edge_kw)
    flat = np.concatenate(points)
    _draw_keypoints(ax, flat[:, :2], flat[:, 2], sides, colors, keypoint_kw)


def _draw_edges(
    ax: Axes,
    segments: NDArray[np.float64],
    colors: Sequence[str],
    edge_kw: Mapping[str, Any] | None,
) -> None:
    """Draw segments, shape (n, 2, 2), as one collection."""
    if not len(segments):
        return
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.collections import LineCollection

    given = normalize_kwargs(dict(edge_kw or {}), LineCollection)
    if "colors" in given:
        given["color"] = given.pop("colors")
    style: dict[str, Any] = {"linewidth": 2.0, "zorder": 2, "capstyle": "round", "gid": "edges"}
    if not given.keys() & {"color", "edgecolor", "array"}:
        style["color"] = list(colors)
    style |= given
    if "path_effects" not in given:
        style["path_effects"] = _rim(style["linewidth"])
    lines = LineCollection(list(segments))
    lines.set(**style)
    ax.add_collection(lines, autolim=False)


def _draw_keypoints(
    ax: Axes,
    xy: NDArray[np.float64],
    visibility: NDArray[Any],
    sides: Sequence[str | None],
    colors: Sequence[str],
    keypoint_kw: Mapping[str, Any] | None,
) -> None:
    """Draw points, one collection for each side and visibility there is."""
    for group, gid, marker, size, is_hollow in _groups(visibility, sides):
        _scatter(
            ax, xy[group], [colors[k] for k in group], gid, marker, size, is_hollow, keypoint_kw
        )


def _groups(
    visibility: NDArray[Any], sides: Sequence[str | None]
) -> Iterator[tuple[list[int], str, str, float, bool]]:
    # Occluded ones first: of two at one place the visible one is on top.
    for flag in (Visibility.OCCLUDED, Visibility.VISIBLE):
        for side, (name, marker, size) in _MARKERS.items():
            group = [
                k for k, value in enumerate(sides) if value == side and int(visibility[k]) == flag
            ]
            if group:
                gid = f"keypoints-{name}-{flag.name.lower()}"
                yield group, gid, marker, size, flag == Visibility.OCCLUDED


def _scatter(
    ax: Axes,
    xy: NDArray[np.float64],
    colors: list[str],
    gid: str,
    marker: str,
    size: float,
    is_hollow: bool,
    keypoint_kw: Mapping[str, Any] | None,
) -> PathCollection:
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.collections import PathCollection

    given = normalize_kwargs(dict(keypoint_kw or {}), PathCollection)
    # One colour for all: 'c' as scatter calls it, 'color' as everything else does.
    color = given.pop("c", given.pop("color", colors))
    style: dict[str, Any] = {
        "facecolor": "none" if is_hollow else color,
        "edgecolor": color if is_hollow else "none",
        "linewidth": 1.8 if is_hollow else 0.0,
        "zorder": 3,
        "gid": gid,
    }
    created: dict[str, Any] = {"s": size, "marker": marker}
    created |= {key: given.pop(key) for key in ("s", "marker") if key in given}
    style |= given
    if "path_effects" not in given:
        style["path_effects"] = _rim(style["linewidth"])
    points = ax.scatter(xy[:, 0], xy[:, 1], **created)
    points.set(**style)
    return points


def _rim(linewidth: Any) -> list[Any]:
    """Path effects that put a dark rim 1 point wide around lines and markers."""
    from matplotlib import patheffects

    width = float(np.max(linewidth)) + 2.0
    return [
        patheffects.Stroke(linewidth=width, foreground=_RIM, alpha=_RIM_ALPHA),
        patheffects.Normal(),
    ]


def _spread(wanted: NDArray[np.float64], gap: float, lowest: float, highest: float) -> list[float]:
    """Ascending places near the `wanted` ones, at least `gap` apart where there is room."""
    n_places = len(wanted)
    gap = min(gap, (highest - lowest) / max(n_places, 1))
    places: list[float] = []
    for value in wanted:
        places.append(max(float(value), places[-1] + gap) if places else float(value))
    # Pushing only downwards would leave crowded names below their points: move each run of
    # touching names up by the mean of what its members were pushed, as far as there is room.
    start = 0
    for end in range(1, n_places + 1):
        if end == n_places or places[end] - places[end - 1] > gap * 1.001:
            pushed = sum(places[i] - float(wanted[i]) for i in range(start, end)) / (end - start)
            floor = places[start - 1] + gap if start else lowest + gap / 2
            shift = min(pushed, max(0.0, places[start] - floor))
            places[start:end] = [place - shift for place in places[start:end]]
            start = end
    for i in range(n_places - 1, -1, -1):
        limit = highest - gap / 2 if i == n_places - 1 else places[i + 1] - gap
        places[i] = min(places[i], limit)
    return places


def _short(text: str, length: int = _MAX_NAME_LENGTH) -> str:
    """One printable line of at most `length` characters."""
    if len(text) > length:
        text = text[: length - 1] + "…"
    return "".join(c if c.isprintable() or c == "\u200d" else " " for c in text)
