"""`plot_schema`: the figure of a skeleton with the names of its keypoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kpwidget.geometry import layout_skeleton
from kpwidget.plotting.marks import NEUTRAL, PLAIN, draw_edges, draw_keypoints, one_line
from kpwidget.schema import Visibility

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kpwidget.schema import Schema

__all__ = ["plot_schema", "schema_layout"]

# More names than this cannot be read however they are placed.
_MAX_NAMES = 200


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
    names = [one_line(name) for name in schema.keypoints]
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
    draw_edges(ax, xy[schema.edges], [NEUTRAL] * len(schema.edges), edge_kw)
    flags = np.full(len(xy), int(Visibility.VISIBLE))
    draw_keypoints(ax, xy, flags, list(schema.sides), list(schema.colors), keypoint_kw)
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
                    "color": NEUTRAL,
                    "alpha": 0.6,
                    "linewidth": 0.6,
                    "shrinkA": 1,
                    "shrinkB": 3,
                },
                **PLAIN,
            )
    ax.set_aspect("equal")
    ax.set_xlim(float(centre[0] - half[0]), float(centre[0] + half[0]))
    ax.set_ylim(float(centre[1] + half[1]), float(centre[1] - half[1]))
    ax.set_axis_off()
    ax.set_title(one_line(schema.name), **PLAIN)
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
