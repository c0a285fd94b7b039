"""`plot_heatmap`: where in the image or in the bbox keypoints fall; the numbers by `density_of`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from kpwidget.dataset.views import bboxes_of
from kpwidget.plotting.marks import new_axes
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
from kpwidget.schema import Category
from kpwidget.words import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Density", "density_of", "plot_heatmap"]

_BBOX_ROOM = 0.25  # around the bbox, as a fraction of its sides


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
        May be left out if the instances are of one category, or of several with the same keypoints.
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
    of = of_category(found, category)
    dataset, rows = found.dataset, of.rows
    with dataset.lock:
        points = keypoints_of(dataset, of)[:, indices_of(of.schema, keypoints)]
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
        sizes = sizes_in(found, images)
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
    found = rows_of(data)
    density = density_of(found, keypoints, frame=frame, category=category, bins=bins)
    schema, _, rows = of_category(found, category)
    left, right, bottom, top = density.extent
    if ax is None:
        ratio = (bottom - top) * density.aspect / (right - left)
        ax = new_axes(4.6, min(max(3.6 * ratio, 1.6), 7.0) + 0.8)
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
    title = f"{named}: {int(density.counts.sum()):,} in {count(len(rows), 'instance')}"
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
