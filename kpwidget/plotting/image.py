"""`plot_image` and `plot_instance`: marks on the picture they belong to."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset import ImageInfo, Instance
from kpwidget.images import ImageError
from kpwidget.plotting.marks import Marks, draw_crowds, draw_marks, marks_of, scale_for
from kpwidget.plotting.text import PLAIN, Labels, dpi_of, one_line, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kpwidget.dataset import Dataset

__all__ = ["Names", "plot_image", "plot_instance"]

Names = bool | Literal["auto"]

# With more labeled keypoints than this, names="auto" shows none: they would hide the picture.
_MAX_AUTO_NAMES = 40
# Around the axes of a picture, in inches at a font size of 10 points: left, right, bottom, top.
_MARGINS = (0.62, 0.12, 0.48, 0.34)


def plot_image(
    image: ImageInfo,
    *,
    names: Names = "auto",
    ax: Axes | None = None,
    keypoint_kw: Mapping[str, Any] | None = None,
    edge_kw: Mapping[str, Any] | None = None,
    name_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw an image with the keypoints and skeletons of its instances.

    Parameters
    ----------
    image : ImageInfo
        An image of a dataset. If it cannot be read, the axes have its size and say why. What
        stands for a group (``iscrowd``) is hatched.
    names : bool or 'auto', default 'auto'
        Whether the keypoints' names stand beside them. 'auto' shows those that cover neither a
        keypoint nor another name, and none with more than 40 labeled keypoints.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's.
    keypoint_kw : mapping, optional
        For the keypoints (`matplotlib.axes.Axes.scatter`).
    edge_kw : mapping, optional
        For the edges (`matplotlib.collections.LineCollection`).
    name_kw : mapping, optional
        For the names: ``size`` and ``gap`` (to the keypoint) in points, ``color``, ``halo``.

    Returns
    -------
    matplotlib.axes.Axes
        In image pixels, y down. The artists' ``gid`` is ``edges``, ``crowds``, ``names``, or
        ``keypoints`` with side and visibility, for instance ``keypoints-left-occluded``.

    Raises
    ------
    TypeError
        If `image` is something else, such as a file name.
    ValueError
        If `names` is something else.
    """
    if not isinstance(image, ImageInfo):
        raise TypeError(
            f"image = {one_line(repr(image))}: expected an image of a dataset, such as "
            "ds.images[0] or ds.images['a.png']"
        )
    _check_names(names)
    dataset = image.dataset
    with dataset.lock:
        rows = list(dataset._table.rows_of_image[image.index])
        marks = marks_of(dataset, rows)
    width, height = _size(image, marks.xy)
    ax = axes_for(ax, width / height, height)
    show_picture(ax, image, (0.0, 0.0, width, height), (width, height))
    _draw(ax, dataset, rows, marks, (0.0, 0.0, width, height), names, keypoint_kw, edge_kw, name_kw)
    _finish_image_axes(ax, (0.0, 0.0, width, height), image.file_name)
    return ax


def plot_instance(
    instance: Instance,
    *,
    ax: Axes | None = None,
    margin: float = 0.2,
    names: Names = "auto",
    keypoint_kw: Mapping[str, Any] | None = None,
    edge_kw: Mapping[str, Any] | None = None,
    name_kw: Mapping[str, Any] | None = None,
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
    names : bool or 'auto', default 'auto'
    keypoint_kw, edge_kw, name_kw : mapping, optional
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
            f"instance = {one_line(repr(instance))}: expected an instance of a dataset, such as "
            "ds.instances[0]"
        )
    check_margin(margin)
    _check_names(names)
    image = instance.image
    dataset = instance.dataset
    with dataset.lock:
        row = dataset._table.row(instance.uid)
        ordinal = dataset._table.rows_of_image[image.index].index(row)
        marks = marks_of(dataset, [row])
    size = _size(image, marks.xy)
    x0, y0, x1, y1 = window_of(marks.xy, instance.bbox, margin) or (0.0, 0.0, *size)
    ax = axes_for(ax, (x1 - x0) / (y1 - y0), y1)
    show_picture(ax, image, (x0, y0, x1, y1), size)
    _draw(ax, dataset, [row], marks, (x0, y0, x1, y1), names, keypoint_kw, edge_kw, name_kw)
    title = f"{one_line(image.file_name)}: {instance.category.name} {ordinal + 1}"
    _finish_image_axes(ax, (x0, y0, x1, y1), title)
    return ax


def check_margin(margin: float) -> None:
    """Raise ValueError unless a margin is a finite number of at least 0."""
    if not (math.isfinite(margin) and margin >= 0):
        raise ValueError(f"margin = {margin}: expected a finite number of at least 0")


def _check_names(names: object) -> None:
    if not isinstance(names, bool | np.bool_) and names != "auto":
        raise ValueError(f"names = {one_line(repr(names))}: expected True, False or 'auto'")


def window_of(
    labeled: NDArray[np.float64], bbox: tuple[float, float, float, float] | None, margin: float
) -> tuple[float, float, float, float] | None:
    """(x0, y0, x1, y1) around points of shape (n, 2) and a bbox, at least 1 px wide; or None.

    `margin` is a fraction of the longer side, added on every side.
    """
    corners = [labeled]
    if bbox is not None:
        corners.append(np.array([bbox[:2], (bbox[0] + bbox[2], bbox[1] + bbox[3])]))
    around = np.concatenate(corners)
    if not len(around):
        return None
    low, high = around.min(axis=0), around.max(axis=0)
    room = max(1.0, float((high - low).max())) * margin
    low, high = low - room, high + room
    # A single point with no margin still needs an area to be drawn in.
    thin = np.maximum(1.0 - (high - low), 0.0) / 2
    x0, y0, x1, y1 = (float(value) for value in (*(low - thin), *(high + thin)))
    return x0, y0, x1, y1


def _draw(
    ax: Axes,
    dataset: Dataset,
    rows: Sequence[int],
    marks: Marks,
    window: tuple[float, float, float, float],
    names: Names,
    keypoint_kw: Mapping[str, Any] | None,
    edge_kw: Mapping[str, Any] | None,
    name_kw: Mapping[str, Any] | None,
) -> None:
    draw_crowds(ax, dataset, rows)
    x0, y0, x1, y1 = window
    area = ax.get_window_extent()
    scale = scale_for(marks, min(area.width / (x1 - x0), area.height / (y1 - y0)) / dpi_of(ax) * 72)
    draw_marks(ax, marks, keypoint_kw, edge_kw, scale)
    is_auto = names == "auto"
    if not names or not marks.names or (is_auto and len(marks.names) > _MAX_AUTO_NAMES):
        return
    shown = [one_line(name) for name in marks.names]
    style = {"gap": 2.0 + 3.0 * scale, "is_sparse": is_auto} | dict(name_kw or {})
    labels = Labels(marks.xy, shown, ax.transData, **style)
    labels.set_gid("names")
    ax.add_artist(labels)


def _size(image: ImageInfo, labeled: NDArray[np.float64]) -> tuple[float, float]:
    """(width, height) in pixels; if nobody knows it, as much as the keypoints need."""
    try:
        return float(image.width), float(image.height)
    except (ImageError, OSError):
        points = np.concatenate([np.ones((1, 2)), labeled])
        width, height = np.ceil(points.max(axis=0) * 1.05)
        return float(width), float(height)


def axes_for(ax: Axes | None, aspect: float, largest: float = 999.0) -> Axes:
    """`ax`, or the axes of a new figure for a picture `aspect` times as wide as high.

    `largest` is the largest number on its y axis: long ones need room.
    """
    if ax is not None:
        return ax
    from matplotlib import pyplot as plt

    # Placed by hand: a layout engine would lay out every text twice more.
    grown = plt.rcParams["font.size"] / 10
    left, right, bottom, top = (grown * margin for margin in _MARGINS)
    left += 0.09 * grown * max(0, len(f"{largest:.0f}") - 3)
    aspect = min(max(aspect, 0.2), 5.0)
    width = min(7.0 - left - right, 5.6 * aspect)
    height = width / aspect
    total = (left + width + right, bottom + height + top)
    figure = plt.figure(figsize=total)
    made = figure.add_axes(
        (left / total[0], bottom / total[1], width / total[0], height / total[1])
    )
    # Much of the time of an empty figure is its ticks.
    made.locator_params(nbins=5)
    return made


def show_picture(
    ax: Axes,
    image: ImageInfo,
    window: tuple[float, float, float, float],
    size: tuple[float, float],
    instead: str = "",
) -> None:
    """Draw the part of the picture in `window` (x0, y0, x1, y1), or say why it cannot be.

    `instead` is what is said then, where there is no room for the reason.
    """
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
            0.03,
            instead or textwrap.fill(one_line(str(error), 300), _letters_across(ax, 9.0)),
            transform=ax.transAxes,
            ha="center",
            va="bottom",
            color="#202020",
            fontsize=7 if instead else 9,
            bbox={"facecolor": "#ffffff", "edgecolor": "none", "alpha": 0.85},
            zorder=5,
            **PLAIN,
        )


def _letters_across(ax: Axes, size: float) -> int:
    """How many letters of a size, in points, go into a line of the axes."""
    # 0.62 em is the width of an average letter of DejaVu Sans, with a little to spare.
    return max(10, int(ax.get_window_extent().width / dpi_of(ax) * 72 / (0.62 * size)))


def _finish_image_axes(ax: Axes, window: tuple[float, float, float, float], title: str) -> None:
    x0, y0, x1, y1 = window
    ax.set_aspect("equal")
    ax.set_xlim(x0, x1)
    ax.set_ylim(y1, y0)
    ax.set_xlabel("x (px)")
    ax.set_ylabel("y (px)")
    # At a fixed height: to search for one lays out every tick once more.
    set_title(ax, one_line(title, 60), y=1.0)
