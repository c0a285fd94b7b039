"""`plot_schema`: the figure of a skeleton with the names or numbers of its keypoints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpwidget import schemas
from kpwidget.dataset import Dataset, ImageInfo, Instance, Selection
from kpwidget.geometry import align_poses, fit_unit, layout_skeleton, mean_pose
from kpwidget.plotting.marks import MARKERS, NEUTRAL, RIM, draw_edges, draw_keypoints
from kpwidget.plotting.rows import Data, rows_of
from kpwidget.plotting.text import PLAIN, Labels, one_line, set_title, width_of
from kpwidget.schema import Category, Schema, Visibility

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_schema", "schema_layout"]

# More names than this cannot be read however they are placed.
_MAX_NAMES = 200
_LEAST_ROW = 4.5  # points a name needs in height
# More than this, and numbers at the keypoints with a list of the parts say more than names.
_MANY = 60

Layout: TypeAlias = Literal["auto"] | ArrayLike | Data


def plot_schema(
    schema: Schema | Category,
    *,
    layout: Layout = "auto",
    numbers: bool = True,
    ax: Axes | None = None,
    keypoint_kw: Mapping[str, Any] | None = None,
    edge_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw the skeleton of a schema with the names of its keypoints, or their numbers.

    Parameters
    ----------
    schema : Schema or Category
        The figure faces the reader: its left side is on the right. With more than 60 keypoints of
        which the schema's `parts` say what they are, each has its number, but where there is no
        room between its neighbours, and the parts stand beside the figure. With more than 200, or
        where axes are too low for names, the names are left out and the title says so.
    layout : 'auto', array_like of shape (n_keypoints, 2), or data, default 'auto'
        Where the keypoints are. 'auto' is the schema's `layout`, or one found from its edges. An
        array is in any unit, y down. A dataset, a selection or a list of instances gives its mean
        pose: that of all instances with this schema's keypoints, aligned in place and size. What
        nobody has labeled there is hollow, and the title says so.
    numbers : bool, default True
        Whether the number of each keypoint, from 1 as in COCO's skeletons and in the annotator,
        stands before its name. Without numbers there are names, however many.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's.
    keypoint_kw, edge_kw : mapping, optional
        As for `plot_image`.

    Returns
    -------
    matplotlib.axes.Axes
        Without ticks: only the shape has a meaning. y down.

    Raises
    ------
    TypeError
        If `schema` is something else.
    ValueError
        If an array has another shape, or data no instance with these keypoints.
    """
    if isinstance(schema, Category):
        schema = schema.schema
    if not isinstance(schema, Schema):
        raise TypeError(
            f"schema = {one_line(repr(schema))}: expected a schema or a category, such as "
            "kpwidget.schemas.get('coco17') or "
            "ds.categories[0]"
        )
    xy = schema_layout(schema, layout)
    is_guess = _never_labeled(schema, layout)
    parts = _part_names(schema) if numbers and len(xy) > _MANY else []
    if parts:
        return _plot_numbered(schema, xy, parts, ax, is_guess, keypoint_kw, edge_kw)
    names = [one_line(name) for name in schema.keypoints]
    if numbers:
        names = [one_line(f"{k} {name}") for k, name in enumerate(schema.keypoints, 1)]
    has_names = len(names) <= _MAX_NAMES
    if ax is not None:
        points = 72 * ax.get_window_extent().height / ax.figure.dpi
        has_names &= points / max(1, math.ceil(len(names) / 2)) >= _LEAST_ROW
    # Names stand in two columns beside the figure, so that they cannot cover it or one another.
    by_x = sorted(range(len(names)), key=lambda k: (round(float(xy[k, 0]), 6), k))
    columns = (by_x[: len(names) // 2], by_x[len(names) // 2 :]) if has_names else ([], [])
    n_rows = max(1, *map(len, columns))
    n_letters = max((len(names[k]) for column in columns for k in column), default=0)
    if ax is None:
        from matplotlib import pyplot as plt

        height = max(3.6, 0.19 * n_rows)
        _, ax = plt.subplots(figsize=(min(height, 7) + 0.16 * n_letters, height))
    width, _, height = _room(ax)
    ems = [max((width_of(names[k], 1.0) for k in column), default=0.0) for column in columns]
    font_size = min(9.0, max(4.0, 72 * height / n_rows / 1.4))
    # Not so large that the figure between the names is smaller than they are, but to be read.
    wide = (0.55 * 72 * width - 36) / max(sum(ems), 1e-9)
    font_size = max(min(font_size, 5.0), min(font_size, wide))
    left, right = (em * font_size / 72 + 0.25 for em in ems)
    room = max(width - left - right, 0.3 * width)
    centre, extent, inches = _placed(ax, xy, room, height, (left - right) / 2)
    _draw_figure(ax, schema, xy, inches, 20, is_guess, keypoint_kw, edge_kw)
    half = height / inches / 2
    row = 1.35 * font_size / 72 / inches
    for column, sign in zip(columns, (-1, 1), strict=True):
        x = float(centre[0] + sign * (extent[0] / 2 + 0.2 / inches))
        column = sorted(column, key=lambda k: (round(float(xy[k, 1]), 6), k))
        heights = _spread(xy[column, 1], row, float(centre[1] - half), float(centre[1] + half))
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
                    "relpos": (1.0, 0.5) if sign < 0 else (0.0, 0.5),
                    "color": NEUTRAL,
                    "alpha": 0.6,
                    "linewidth": 0.6,
                    "shrinkA": 1,
                    "shrinkB": 3,
                },
                **PLAIN,
            )
    title = one_line(schema.name)
    if not has_names:
        title += f" ({len(names):,} keypoints, names left out)"
    title += _said_of_guesses(is_guess)
    set_title(ax, title, 12)
    _draw_legend(ax, schema)
    return ax


def _plot_numbered(
    schema: Schema,
    xy: NDArray[np.float64],
    parts: list[str],
    ax: Axes | None,
    is_guess: NDArray[np.bool_],
    keypoint_kw: Mapping[str, Any] | None,
    edge_kw: Mapping[str, Any] | None,
) -> Axes:
    """Draw the skeleton with numbers at its keypoints, and to its right what the numbers mean."""
    if ax is None:
        from matplotlib import pyplot as plt

        _, ax = plt.subplots(figsize=(7.5, 6.5))
    _, width, height = _room(ax)
    row = 72 * height / len(parts)
    has_parts = row >= _LEAST_ROW
    em = max(width_of(part, 1.0) for part in parts) if has_parts else 0.0
    part_size = min(8.0, max(4.0, min(row / 1.4, 0.32 * 72 * width / max(em, 1e-9))))
    column = em * part_size / 72 + 0.25 if has_parts else 0.0
    room = max(width - column, 0.3 * width)
    to_left = min(0.0, room - ax.get_window_extent().width / ax.figure.dpi) / 2
    centre, extent, inches = _placed(ax, xy, room, height, to_left)
    scale = _draw_figure(ax, schema, xy, inches, 42, is_guess, keypoint_kw, edge_kw)
    # First the ends of the parts, for a number without room is left out.
    ends = [k - 1 for first_last in schema.parts.values() for k in first_last]
    order = list(dict.fromkeys([*ends, *range(len(xy))]))
    labels = Labels(
        xy[order],
        [str(k + 1) for k in order],
        ax.transData,
        size=min(6.5, max(4.0, 0.26 * _side(xy, inches))),
        color="#202020",
        halo="#ffffff",
        gap=4 * scale + 0.6,
        is_sparse=True,
    )
    labels.set(gid="numbers", clip_on=False)
    ax.add_artist(labels)
    if has_parts:
        step = 1.4 * part_size / 72 / inches
        for i, part in enumerate(parts):
            ax.text(
                float(centre[0] + extent[0] / 2 + 0.2 / inches),
                float(centre[1] + (i - (len(parts) - 1) / 2) * step),
                part,
                fontsize=part_size,
                va="center",
                **PLAIN,
            )
    n_hidden = int(np.count_nonzero(~labels.places(ax.figure.dpi / 72)[1]))
    title = one_line(schema.name)
    if not has_parts:
        title += f" ({len(xy):,} keypoints, names left out)"
    elif n_hidden:
        title += f" ({n_hidden} of {len(xy):,} numbers left out)"
    title += _said_of_guesses(is_guess)
    set_title(ax, title, 12)
    _draw_legend(ax, schema)
    return ax


def _part_names(schema: Schema) -> list[str]:
    """Lines that say what the numbers of keypoints mean, in their order."""
    lines = []
    for part, (first, last) in sorted(schema.parts.items(), key=lambda item: item[1]):
        numbers = str(first) if first == last else f"{first}–{last}"
        lines.append(one_line(f"{numbers} {part.replace('_', ' ')}", 40))
    return lines


def _room(ax: Axes) -> tuple[float, float, float]:
    """Room for names around the figure, in inches: to both sides, to the right alone, height.

    It is the axes', or wider if they stand alone.
    """
    figure = ax.figure
    box = ax.get_window_extent()
    both = right = box.width
    if len(figure.axes) == 1:
        middle = (box.x0 + box.x1) / 2
        both = max(both, 1.94 * min(middle - figure.bbox.x0, figure.bbox.x1 - middle))
        right = max(right, 0.98 * figure.bbox.x1 - box.x0)
    return both / figure.dpi, right / figure.dpi, box.height / figure.dpi


def _placed(
    ax: Axes, xy: NDArray[np.float64], width: float, height: float, shift: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Set the view so that the figure fits into `width` x `height` inches, `shift` to the right.

    It stays inside the axes, which clip it; names need not. Returns its centre and extent, and the
    inches on paper for one unit of the layout.
    """
    box = ax.get_window_extent()
    size = np.array([box.width, box.height]) / ax.figure.dpi
    width = min(width, float(size[0]))
    low, high = xy.min(axis=0), xy.max(axis=0)
    extent = np.maximum(high - low, 0.1)
    inches = min(0.86 * height / extent[1], 0.9 * width / extent[0])
    centre = (low + high) / 2
    half = size / inches / 2
    spare = max(0.0, float(half[0] - extent[0] / 2 / 0.95))
    middle = float(centre[0]) - min(spare, max(-spare, shift / inches))
    ax.set_aspect("equal")
    ax.set_xlim(middle - float(half[0]), middle + float(half[0]))
    ax.set_ylim(float(centre[1] + half[1]), float(centre[1] - half[1]))
    ax.set_axis_off()
    return centre, extent, float(inches)


def _side(xy: NDArray[np.float64], inches: float) -> float:
    """Points to a side of the square that each keypoint would have, were they spread evenly."""
    extent = np.maximum(np.ptp(xy, axis=0), 0.1)
    return float(72 * inches * math.sqrt(extent[0] * extent[1] / len(xy)))


def _draw_figure(
    ax: Axes,
    schema: Schema,
    xy: NDArray[np.float64],
    inches: float,
    wanted: float,
    is_guess: NDArray[np.bool_],
    keypoint_kw: Mapping[str, Any] | None,
    edge_kw: Mapping[str, Any] | None,
) -> float:
    """Draw edges and keypoints, smaller where these have less than `wanted` points to a side.

    Those whose place `is_guess` are hollow.

    Returns the scale of the marks.
    """
    scale = min(1.0, max(0.3, _side(xy, inches) / wanted))
    contours = np.array(schemas.find_contours(schema.keypoints), np.int64).reshape(-1, 2) - 1
    if len(contours) and not len(schema.edges[np.isin(schema.edges, contours).all(axis=1)]):
        ax.plot(
            *xy[contours].transpose(2, 1, 0), color=NEUTRAL, alpha=0.5, linewidth=0.8, zorder=1.5
        )
    draw_edges(ax, xy[schema.edges], [NEUTRAL] * len(schema.edges), edge_kw, scale=scale)
    flags = np.full(len(xy), int(Visibility.VISIBLE))
    flags[is_guess] = int(Visibility.OCCLUDED)
    draw_keypoints(ax, xy, flags, list(schema.sides), list(schema.colors), keypoint_kw, scale)
    return scale


def _said_of_guesses(is_guess: NDArray[np.bool_]) -> str:
    n = int(is_guess.sum())
    return f"\n(hollow: {n} never labeled, placed as in the schema's own figure)" if n else ""


def _never_labeled(schema: Schema, layout: Layout) -> NDArray[np.bool_]:
    """Which keypoints nobody has labeled in the data that the figure is made of; none otherwise."""
    is_data = isinstance(layout, Dataset | Selection | ImageInfo | Instance)
    if not is_data and not _is_items(layout):
        return np.zeros(schema.n_keypoints, bool)
    return np.isnan(_mean_of(schema, layout)[:, 0])


def _draw_legend(ax: Axes, schema: Schema) -> None:
    """Say below the figure which marker is which side, if there are sides."""
    from matplotlib.lines import Line2D

    handles = []
    for side, (name, marker, size) in MARKERS.items():
        if side not in schema.sides:
            continue
        first = schema.colors[schema.sides.index(side)]
        handles.append(
            Line2D(
                [],
                [],
                linestyle="none",
                marker=marker,
                markersize=size**0.5,
                markerfacecolor=first,
                markeredgecolor=RIM,
                label=name,
            )
        )
    if any(schema.sides):
        ax.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, 0.0),
            ncols=3,
            frameon=False,
            fontsize=8,
            handletextpad=0.1,
            columnspacing=1.0,
            borderaxespad=0.2,
        )


def schema_layout(schema: Schema, layout: Layout = "auto") -> NDArray[np.float64]:
    """Where a figure of the schema puts each keypoint; what `plot_schema` draws.

    Parameters
    ----------
    schema : Schema
    layout : 'auto', array_like of shape (n_keypoints, 2), or data
        As of `plot_schema`.

    Returns
    -------
    ndarray of shape (n_keypoints, 2)
        (x, y) in [0, 1], y down: the schema's `layout` if there is one, else one found from its
        edges and sides. The same each time. A keypoint that nobody has labeled stands where it
        would be without data.
    """
    if isinstance(layout, str) and layout == "auto":
        return _own_layout(schema)
    if isinstance(layout, str):
        raise ValueError(
            f"layout = {one_line(repr(layout))}: expected 'auto', an array or a dataset"
        )
    if isinstance(layout, Dataset | Selection | ImageInfo | Instance) or _is_items(layout):
        return _mean_layout(schema, layout)
    xy = np.asarray(layout, np.float64)
    if xy.shape != (schema.n_keypoints, 2) or not np.isfinite(xy).all():
        raise ValueError(
            f"layout has shape {xy.shape}, expected ({schema.n_keypoints}, 2): a finite (x, y) "
            "for each keypoint"
        )
    return fit_unit(xy)


def _is_items(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and len(value) > 0
        and isinstance(value[0], ImageInfo | Instance)
    )


def _mean_of(schema: Schema, data: Any) -> NDArray[np.float64]:
    """Mean pose of the instances with a schema's keypoints; NaN for what nobody has labeled."""
    found = rows_of(data)
    dataset = found.dataset
    with dataset.lock:
        poses = [
            dataset._table.keypoints_of(i, found.rows)[..., :2]
            for i, category in enumerate(dataset.categories)
            if category.keypoints == schema.keypoints
        ]
    return mean_pose(np.concatenate(poses)) if poses else np.full((schema.n_keypoints, 2), np.nan)


def _mean_layout(schema: Schema, data: Any) -> NDArray[np.float64]:
    mean = _mean_of(schema, data)
    is_known = np.isfinite(mean[:, 0])
    if is_known.sum() < 2:
        raise ValueError(
            f"layout: the data has no instance with two labeled keypoints of schema "
            f"{one_line(schema.name)!r}; use layout='auto'"
        )
    own = align_poses(_own_layout(schema)[None], mean)[0]
    return fit_unit(np.where(is_known[:, None], mean, own))


def _own_layout(schema: Schema) -> NDArray[np.float64]:
    if schema.layout is not None:
        return np.array(schema.layout)
    return layout_skeleton(schema.n_keypoints, schema.edges, schema.sides)


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
