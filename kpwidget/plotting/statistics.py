"""`plot_visibility`, `plot_counts`, `plot_sizes`: how much of what there is in a dataset.

The numbers come from `visibility_of`, `counts_of` and `sizes_of`; the plots only draw them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from kpwidget.dataset.views import bboxes_of
from kpwidget.plotting.marks import draw_points, new_axes
from kpwidget.plotting.rows import Data, keypoints_of, of_category, rows_of
from kpwidget.plotting.text import PLAIN, Labels, one_line, set_title
from kpwidget.schema import INSTANCE_COLORS, Category
from kpwidget.words import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "counts_of",
    "plot_counts",
    "plot_sizes",
    "plot_visibility",
    "sizes_of",
    "visibility_of",
]

# Visible first, as the eye reads; told apart by hatch as well as by colour.
_FLAGS = (
    (2, "visible", "#0072b2", ""),
    (1, "occluded", "#e69f00", "////"),
    (0, "unlabeled", "#e6e6e6", ""),
)
_BAR = "#0072b2"
_HATCH = "#5c4000"
_MAX_BARS = 40
_NOBODY = "not known"

# cocoeval.py of pycocotools, Params.setKpParams and setDetParams: areas of 32**2 and 96**2.
_COCO_SIZES = (32.0, 96.0)


def visibility_of(
    data: Data,
    *,
    by: Literal["annotator"] | None = None,
    category: str | int | Category | None = None,
) -> dict[str, NDArray[np.int64]]:
    """How often each keypoint is unlabeled, occluded and visible.

    Parameters
    ----------
    data : Dataset, Selection, ImageInfo, Instance, or sequence of ImageInfo or of Instance
    by : 'annotator', optional
        Apart for each person that added instances; 'not known' is for those read from a file
        that does not say.
    category : str, int or Category, optional
        May be left out if the instances are of one category, or of several with the same keypoints.

    Returns
    -------
    dict of str to ndarray of int, shape (n_keypoints, 3)
        Numbers of instances with visibility 0, 1 and 2, under the annotator's name, or under ''.
        Instances without any labeled keypoint do not count: most files have them for the sake of
        their boxes.

    Raises
    ------
    ValueError
        If `by` is something else, or the category is not clear.
    """
    if by not in (None, "annotator"):
        raise ValueError(f"by = {one_line(repr(by))}: expected None or 'annotator'")
    found = rows_of(data)
    with found.dataset.lock:
        table = found.dataset._table
        chosen = of_category(found, category)
        flags = keypoints_of(found.dataset, chosen)[..., 2]
        annotators = table.column("annotator", chosen.rows)
    is_labeled = (flags > 0).any(axis=1)
    flags, annotators = flags[is_labeled], annotators[is_labeled]
    counts = np.stack([flags == 0, flags == 1, flags >= 2], axis=-1)
    if by is None:
        return {"": counts.sum(axis=0, dtype=np.int64)}
    people = np.array([_NOBODY if name is None else str(name) for name in annotators], object)
    return {name: counts[people == name].sum(axis=0) for name in sorted(set(people.tolist()))}


def plot_visibility(
    data: Data,
    *,
    by: Literal["annotator"] | None = None,
    category: str | int | Category | None = None,
    ax: Axes | None = None,
    bar_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw how often each keypoint is visible, occluded and unlabeled, as stacked bars.

    Parameters
    ----------
    data : Dataset, Selection, ImageInfo, Instance, or sequence of ImageInfo or of Instance
    by : 'annotator', optional
        One bar for each person and keypoint.
    category : str, int or Category, optional
        May be left out if the instances are of one category, or of several with the same keypoints.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's.
    bar_kw : mapping, optional
        For the bars (`matplotlib.collections.PolyCollection`).

    Returns
    -------
    matplotlib.axes.Axes
        Keypoints down in the order of the schema, percent of the instances with any labeled
        keypoint to the right. The artists' ``gid`` is ``visible``, ``occluded``, ``unlabeled``.

    Raises
    ------
    ValueError
        If `by` is something else, or the category is not clear.
    """
    found = rows_of(data)
    counts = visibility_of(found, by=by, category=category)
    schema, of_what, rows = of_category(found, category)
    people = list(counts)
    n_keypoints, n_people = schema.n_keypoints, max(1, len(people))
    n_instances = {name: int(of[0].sum()) if len(of) else 0 for name, of in counts.items()}
    is_apart = by is not None and len(people) > 0
    if ax is None:
        height = n_keypoints * max(0.17, 0.11 * n_people if is_apart else 0.0)
        ax = new_axes(6.0, min(max(height, 1.0), 40.0) + 1.1)
    starts: dict[int, list[tuple[float, float, float, float]]] = {0: [], 1: [], 2: []}
    for i, name in enumerate(people):
        total = max(1, n_instances[name])
        share = 100 * counts[name] / total
        top = np.arange(n_keypoints) - 0.42 + 0.84 * i / n_people
        bottom = top + 0.84 / n_people * (0.92 if is_apart else 1.0)
        left = np.zeros(n_keypoints)
        for flag, *_ in _FLAGS:
            right = left + share[:, flag]
            starts[flag] += list(zip(left, right, top, bottom, strict=True))
            left = right
    handles = []
    for flag, name, color, hatch in _FLAGS:
        style = {
            "facecolor": color,
            "hatch": hatch,
            "edgecolor": _HATCH if hatch else "none",
            "linewidth": 0.0,
            "gid": name,
            "label": name,
        }
        handles.append(_bars(ax, starts[flag], style | dict(bar_kw or {})))
    if is_apart:
        places = [
            (101.0, k - 0.42 + 0.84 * (i + 0.5) / n_people)
            for k in range(n_keypoints)
            for i in range(len(people))
        ]
        texts = [one_line(name) for name in people] * n_keypoints
        labels = Labels(
            np.array(places), texts, ax.transData, size=5.5, color="#202020", halo=None, gap=0,
            align="left",
        )  # fmt: skip
        labels.set(gid="annotators", clip_on=False)
        ax.add_artist(labels)
    _keypoint_axis(ax, schema.keypoints)
    ax.set_xlim(0, 100)
    ax.set_xlabel("share of instances (%)")
    n_all, n_given = sum(n_instances.values()), len(rows)
    title = f"{of_what}: {count(n_all, 'labeled instance')}"
    if n_given > n_all:
        title += f"\n({n_given - n_all:,} without keypoints left out)"
    if by is not None and people in ([], [_NOBODY]):
        title += "\nnobody is known to have labeled them: the file does not say"
    set_title(ax, title, pad=22)
    ax.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False,
        fontsize=8, borderaxespad=0.2,
    )  # fmt: skip
    return ax


def counts_of(
    data: Data, of: Literal["instances", "images", "keypoints"] = "instances"
) -> tuple[list[str] | list[int], NDArray[np.int64]]:
    """How many there are of what.

    Parameters
    ----------
    data : Dataset, Selection, ImageInfo, Instance, or sequence of ImageInfo or of Instance
    of : {'instances', 'images', 'keypoints'}
        Instances of each category that has any; images with 0, 1, 2, ... instances; instances
        with 0, 1, 2, ... labeled keypoints.

    Returns
    -------
    keys : list of str or of int
        Names of categories, the most frequent first; or 0, 1, 2, ... up to the largest number.
    counts : ndarray of int, shape (n,)

    Raises
    ------
    ValueError
        If `of` is something else.
    """
    if of not in ("instances", "images", "keypoints"):
        raise ValueError(
            f"of = {one_line(repr(of))}: expected 'instances', 'images' or 'keypoints'"
        )
    found = rows_of(data)
    with found.dataset.lock:
        table = found.dataset._table
        if of == "instances":
            n = np.bincount(
                table.column("category", found.rows), minlength=len(found.dataset.categories)
            )
            order = [i for i in np.argsort(-n, kind="stable").tolist() if n[i]]
            names = [found.dataset.categories[i].name for i in order]
            return names, n[order].astype(np.int64)
        if of == "images":
            images = table.column("image", found.rows)
            per_image = np.bincount(images, minlength=len(found.dataset.images))
            counts = np.bincount(per_image[found.images]) if found.images else np.zeros(1)
        else:
            counts = np.bincount(table.n_labeled_of(found.rows), minlength=1)
    return list(range(len(counts))), counts.astype(np.int64)


def plot_counts(
    data: Data,
    *,
    of: Literal["instances", "images", "keypoints"] = "instances",
    ax: Axes | None = None,
    bar_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw how many instances a category has, an image has, or keypoints an instance has.

    Parameters
    ----------
    data : Dataset, Selection, ImageInfo, Instance, or sequence of ImageInfo or of Instance
    of : {'instances', 'images', 'keypoints'}
        Bars for the instances of each category (of more than 40 the most frequent, the rest
        together); for the images with 0, 1, 2, ... instances; for the instances with
        0, 1, 2, ... labeled keypoints.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's.
    bar_kw : mapping, optional
        For the bars (`matplotlib.collections.PolyCollection`).

    Returns
    -------
    matplotlib.axes.Axes
        The artists' ``gid`` is ``bars`` and ``numbers``.

    Raises
    ------
    ValueError
        If `of` is something else.
    """
    found = rows_of(data)
    keys, counts = counts_of(found, of)
    style = {"facecolor": _BAR, "linewidth": 0.0, "gid": "bars"} | dict(bar_kw or {})
    n = len(keys)
    if of == "instances":
        names = [one_line(str(key)) for key in keys]
        if n > _MAX_BARS:
            rest = int(counts[_MAX_BARS - 1 :].sum())
            names = [*names[: _MAX_BARS - 1], f"{n - _MAX_BARS + 1} more categories"]
            counts = np.array([*counts[: _MAX_BARS - 1], rest])
            n = _MAX_BARS
        if ax is None:
            ax = new_axes(6.0, 0.2 * max(n, 3) + 1.0)
        tops = np.arange(n) - 0.4
        _bars(ax, [(0, count, top, top + 0.8) for count, top in zip(counts, tops, strict=True)],
              style)  # fmt: skip
        _keypoint_axis(ax, names)
        ax.set_xlim(0, 1.12 * max(1, int(counts.max(initial=0))))
        ax.set_xlabel("instances")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        places, align = [(count, i) for i, count in enumerate(counts.tolist())], "beside"
        set_title(ax, count(int(counts.sum()), "instance"))
    else:
        if ax is None:
            ax = new_axes(min(7.0, max(3.5, 0.2 * n + 1.0)), 3.2)
        _bars(ax, [(i - 0.4, i + 0.4, 0, count) for i, count in enumerate(counts.tolist())], style)
        ax.set_xlim(-0.6, n - 0.4)
        ax.set_ylim(0, 1.12 * max(1, int(counts.max(initial=0))))
        if of == "images":
            ax.set_xlabel("instances in the image")
            ax.set_ylabel("images")
            title = f"{count(len(found.images), 'image')}, {count(len(found.rows), 'instance')}"
        else:
            ax.set_xlabel("labeled keypoints of the instance")
            ax.set_ylabel("instances")
            title = count(len(found.rows), "instance")
        set_title(ax, title)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        places, align = [(i, count) for i, count in enumerate(counts.tolist())], "above"
    if n <= 30:
        labels = Labels(
            np.array(places, np.float64), [f"{count:,}" if count else "" for count in counts],
            ax.transData, size=6.5, color="#202020", halo=None, gap=2.5, align=align,
        )  # fmt: skip
        labels.set_gid("numbers")
        ax.add_artist(labels)
    _quiet(ax)
    return ax


def sizes_of(data: Data) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes and areas of instances.

    Parameters
    ----------
    data : Dataset, Selection, ImageInfo, Instance, or sequence of ImageInfo or of Instance

    Returns
    -------
    boxes : ndarray of shape (n_instances, 2)
        (width, height) of the bbox in pixels; NaN where there is neither a bbox nor a keypoint.
    roots : ndarray of shape (n_instances,)
        Square root of the area in pixels: of the file's area, else of the bbox's.
    """
    found = rows_of(data)
    with found.dataset.lock:
        boxes = bboxes_of(found.dataset, found.rows)[:, 2:]
        areas = found.dataset._table.column("area", found.rows)
    areas = np.where(np.isnan(areas), boxes[:, 0] * boxes[:, 1], areas)
    return boxes, np.sqrt(np.maximum(areas, 0))


def plot_sizes(
    data: Data,
    *,
    of: Literal["bbox", "area"] = "bbox",
    ax: Axes | None = None,
    point_kw: Mapping[str, Any] | None = None,
    bar_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw how large the instances are, on logarithmic axes.

    Parameters
    ----------
    data : Dataset, Selection, ImageInfo, Instance, or sequence of ImageInfo or of Instance
    of : {'bbox', 'area'}
        Width and height of the boxes, one point each, with a colour and shape for each of up to 7
        categories; or a histogram of the square roots of the areas, with COCO's limits between
        small, medium and large.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's.
    point_kw : mapping, optional
        For the points (`matplotlib.collections.PathCollection`).
    bar_kw : mapping, optional
        For the bars (`matplotlib.collections.PolyCollection`).

    Returns
    -------
    matplotlib.axes.Axes
        In pixels. The artists' ``gid`` is ``sizes``, or ``bars`` and ``limits``.

    Raises
    ------
    ValueError
        If `of` is something else.
    """
    if of not in ("bbox", "area"):
        raise ValueError(f"of = {one_line(repr(of))}: expected 'bbox' or 'area'")
    found = rows_of(data)
    boxes, roots = sizes_of(found)
    is_sized = (boxes > 0).all(axis=1) if of == "bbox" else roots > 0
    n_left = int(np.count_nonzero(~is_sized))
    if ax is None:
        ax = new_axes(4.6, 4.2) if of == "bbox" else new_axes(5.0, 3.2)
    if of == "bbox":
        _draw_boxes(ax, found.dataset._table.column("category", found.rows)[is_sized],
                    found.dataset.categories, boxes[is_sized], point_kw)  # fmt: skip
    else:
        _draw_histogram(ax, roots[is_sized], bar_kw)
    title = count(int(is_sized.sum()), "instance")
    if n_left:
        title += f" ({n_left:,} without a size left out)"
    set_title(ax, title)
    _quiet(ax)
    return ax


def _draw_boxes(
    ax: Axes,
    which: NDArray[np.int64],
    categories: Sequence[Category],
    boxes: NDArray[np.float64],
    point_kw: Mapping[str, Any] | None,
) -> None:
    from matplotlib.lines import Line2D

    present = np.unique(which)
    palette = [color for color in INSTANCE_COLORS if color != "#ffffff"]
    shapes = "osD^vPX"
    is_told = 1 < len(present) <= len(shapes)
    low = 10 ** np.floor(np.log10(boxes.min(initial=10)))
    high = 10 ** np.ceil(np.log10(boxes.max(initial=100)))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.set_aspect("equal")
    ax.plot([low, high], [low, high], color="#b0b0b0", linewidth=0.8, zorder=1, gid="square")
    groups = [boxes[which == c] for c in present] if is_told else [boxes]
    for i, chosen in enumerate(groups):
        points = draw_points(ax, chosen, _BAR, shapes[i], 14.0)
        style = {
            "facecolor": palette[i] if is_told else _BAR,
            "edgecolor": "#000000",
            "linewidth": 0.3,
            "alpha": float(np.clip(60 / max(1, len(boxes)) ** 0.5, 0.15, 0.8)),
            "gid": "sizes",
        }
        points.set(**style | dict(point_kw or {}))
    if is_told:
        handles = [
            Line2D([], [], linestyle="none", marker=shapes[i], color=palette[i], label=" ")
            for i in range(len(groups))
        ]
        legend = ax.legend(handles=handles, fontsize=8, frameon=True)
        for text, c in zip(legend.get_texts(), present.tolist(), strict=True):
            text.set_parse_math(False)
            text.set_usetex(False)
            text.set_text(one_line(categories[c].name))
    ax.set_xlabel("width of the bbox (px)")
    ax.set_ylabel("height of the bbox (px)")


def _draw_histogram(ax: Axes, roots: NDArray[np.float64], bar_kw: Mapping[str, Any] | None) -> None:
    first = np.floor(4 * np.log2(roots.min(initial=16.0))) / 4
    last = np.ceil(4 * np.log2(roots.max(initial=128.0)) + 1e-9) / 4
    limits = 2 ** np.arange(first, last + 0.125, 0.25)
    counts, _ = np.histogram(roots, limits)
    bars = [
        (left, right, 0, count)
        for left, right, count in zip(limits[:-1], limits[1:], counts, strict=True)
    ]
    style = {"facecolor": _BAR, "edgecolor": "#ffffff", "linewidth": 0.5, "gid": "bars"}
    _bars(ax, bars, style | dict(bar_kw or {}))
    ax.set_xscale("log", base=2)
    ax.set_xlim(limits[0], limits[-1])
    top = 1.15 * max(1, int(counts.max(initial=0)))
    ax.set_ylim(0, top)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.vlines(_COCO_SIZES, 0, top, color="#606060", linestyle="--", linewidth=0.9, gid="limits")
    centres = [np.sqrt(limits[0] * 32), np.sqrt(32 * 96), np.sqrt(96 * limits[-1])]
    labels = Labels(
        np.array([(x, top) for x in centres]), ["small", "medium", "large"], ax.transData,
        color="#404040", halo=None, gap=2, align="below",
    )  # fmt: skip
    ax.add_artist(labels)
    ax.set_xlabel("square root of the area (px)")
    ax.set_ylabel("instances")


# -- bars and axes ------------------------------------------------------------------------------


def _bars(
    ax: Axes, bars: Sequence[tuple[float, float, float, float]], style: Mapping[str, Any]
) -> PolyCollection:
    """Draw (left, right, bottom, top) rectangles as one collection."""
    sides = np.array(bars, np.float64).reshape(-1, 4)
    corners = np.stack(
        [sides[:, [0, 2]], sides[:, [1, 2]], sides[:, [1, 3]], sides[:, [0, 3]]], axis=1
    )
    collection = PolyCollection(list(corners))
    collection.set(**style)
    ax.add_collection(collection, autolim=False)
    return collection


def _keypoint_axis(ax: Axes, names: Sequence[str]) -> None:
    n = len(names)
    ax.set_ylim(n - 0.4, -0.6)
    height = ax.get_window_extent().height / ax.figure.dpi * 72 / max(1, n)  # points a row
    shown = range(0, n, max(1, int(np.ceil(4.5 / max(height, 1e-3)))))
    ax.set_yticks(list(shown))
    ax.set_yticklabels(
        [one_line(names[k]) for k in shown], fontsize=min(9.0, max(4.0, 0.8 * height)), **PLAIN
    )
    ax.tick_params(axis="y", length=0)
    _quiet(ax)


def _quiet(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
