"""`plot_jitter`, `plot_coverage`, `plot_drift`: what `kpwidget.quality` has measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator

from kpwidget.images import ImageError
from kpwidget.plotting.image import show_picture
from kpwidget.plotting.marks import draw_points, new_axes
from kpwidget.plotting.text import one_line, set_title
from kpwidget.words import count

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from kpwidget.dataset import Dataset
    from kpwidget.quality.drift import Drift
    from kpwidget.quality.jitter import Jitter

__all__ = ["plot_coverage", "plot_drift", "plot_jitter"]

_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#9a9a9a"
_MOST_SDS = 15.0  # colours above the threshold of an event, 6, are told apart up to here
_MARKERS = {"twitch": "^", "jump": "s"}


def plot_jitter(
    found: Jitter,
    track: tuple[str, str, str] | None = None,
    *,
    ax: Axes | None = None,
    image_kw: Mapping[str, Any] | None = None,
    event_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw the second differences of a track under its frames, a row for each keypoint.

    Parameters
    ----------
    found : Jitter
        Of `kpwidget.quality.jitter`.
    track : (str, str, str), optional
        Category, clip and track id, as in ``found.series``; by default the first.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's.
    image_kw : mapping, optional
        For the picture of the differences (`Axes.imshow`).
    event_kw : mapping, optional
        For the marks of twitches and jumps (`matplotlib.collections.PathCollection`).

    Returns
    -------
    matplotlib.axes.Axes
        Frames of the clip to the right, keypoints down, each with the noise of its labels in px.
        Darker is larger; white is not known. The artists' ``gid`` is ``differences``, ``twitch``
        and ``jump``.

    Raises
    ------
    ValueError
        If there is no such track, or none at all.
    """
    if not found.series:
        raise ValueError(f"no track to draw: {found.problem or 'none has three labeled frames'}")
    if track is None:
        track = next(iter(found.series))
    if track not in found.series:
        shown = ", ".join(repr(one) for one in list(found.series)[:10])
        raise ValueError(f"track = {track!r}: expected category, clip and track of {shown}")
    frames, sds = found.series[track]
    own, events = (
        table[(table[["category", "clip", "track"]] == list(track)).all(axis=1)]
        for table in (found.estimates, found.events)
    )
    names = own["keypoint"].tolist()
    if ax is None:
        ax = new_axes(6.4, min(max(0.17 * len(names), 1.2), 30.0) + 1.2)
    first, last = int(frames[0]), int(frames[-1])
    picture = np.full((len(names), last - first + 1), math.nan)
    picture[:, frames - first] = sds.T
    style: dict[str, Any] = {
        "cmap": "Blues",
        "vmin": 0.0,
        "vmax": _MOST_SDS,
        "aspect": "auto",
        "interpolation": "nearest",
        "extent": (first - 0.5, last + 0.5, len(names) - 0.5, -0.5),
    }
    image = ax.imshow(picture, **style | dict(image_kw or {}))
    image.set_gid("differences")
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.05, pad=0.02)
    bar.set_label("second difference\n(robust sd)", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    for kind, marker in _MARKERS.items():
        chosen = events[events["kind"] == kind]
        if len(chosen):
            xy = np.column_stack(
                [chosen["clip_frame"], [names.index(name) for name in chosen["keypoint"]]]
            ).astype(float)
            points = draw_points(ax, xy, _ORANGE, marker, 22.0)
            points.set(**{"gid": kind, "label": kind, "zorder": 3} | dict(event_kw or {}))
    noise = [
        f"{one_line(row.keypoint, 24)}  {row.sd_px:.1f} px"
        if row.verdict == "told"
        else f"{one_line(row.keypoint, 24)}  –"
        for row in _rows_in(own)
    ]
    ax.set_yticks(range(len(names)))
    ax.set_yticklabels(noise, fontsize=7, parse_math=False)
    ax.set_xlim(first - 0.5, last + 0.5)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("frame of the clip, from 0")
    counts = ", ".join(count(int((events["kind"] == kind).sum()), kind) for kind in _MARKERS)
    set_title(
        ax,
        f"Label noise of track {one_line(track[2] or track[1] or track[0])} in "
        f"{len(frames):,} frames: {counts} (▲ ■)",
    )
    return ax


def plot_coverage(
    found: pd.DataFrame,
    by: str = "",
    *,
    ax: Axes | None = None,
    image_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw how many instances there are in each bin, empty ones marked.

    Parameters
    ----------
    found : pandas.DataFrame
        Of `kpwidget.quality.coverage`.
    by : str, default ''
        The second dimension ('view', 'size', 'visible'); by default none.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's.
    image_kw : mapping, optional
        For the cells (`Axes.imshow`).

    Returns
    -------
    matplotlib.axes.Axes
        A row for each dimension, or for each bin of the angles; the number of instances in each
        cell. Empty cells next to filled ones have an orange frame, others a dotted one. The
        artists' ``gid`` is ``counts``, ``empty-beside`` and ``empty``.

    Raises
    ------
    ValueError
        If the table has nothing by this dimension.
    """
    chosen = found[(found["by"] == by) & ~found["dimension"].isin(["view", "size", "visible"])]
    if not len(found):
        raise ValueError("nothing to draw: no instance has been counted, for none is labeled")
    if not len(chosen):
        known = ", ".join(repr(one) for one in dict.fromkeys(found["by"]))
        raise ValueError(
            f"by = {one_line(repr(by))}: the table has no angles by it, expected one of {known}; "
            "tables of two dimensions are left out where there are few instances"
        )
    bins = list(dict.fromkeys(chosen["bin"]))
    lines = list(dict.fromkeys(zip(chosen["dimension"], chosen["by_bin"], strict=True)))
    row_of, column_of = (
        {line: i for i, line in enumerate(lines)},
        {b: i for i, b in enumerate(bins)},
    )
    counts = np.zeros((len(lines), len(bins)))
    frames: dict[str, list[tuple[int, int]]] = {"empty": [], "empty-beside": []}
    for row in _rows_in(chosen):
        i, j = row_of[row.dimension, row.by_bin], column_of[row.bin]
        counts[i, j] = row.n
        if row.is_empty:
            frames["empty-beside" if row.is_next_to_filled else "empty"].append((i, j))
    if ax is None:
        ax = new_axes(1.9 + 0.62 * len(bins), 1.3 + 0.24 * len(lines))
    style: dict[str, Any] = {
        "cmap": "Blues",
        "aspect": "auto",
        "vmin": 0,
        "interpolation": "nearest",
    }
    image = ax.imshow(np.sqrt(counts), **style | dict(image_kw or {}))
    image.set_gid("counts")
    dark = np.sqrt(counts).max(initial=0) * 0.6
    for i, j in np.ndindex(counts.shape):
        color = "white" if math.sqrt(counts[i, j]) > dark and dark > 0 else "#303030"
        ax.text(j, i, f"{int(counts[i, j]):,}", ha="center", va="center", fontsize=7, color=color)
    w = 0.44
    for gid, cells in frames.items():
        squares = [
            [(j + x, i + y) for x, y in ((-w, -w), (w, -w), (w, w), (-w, w), (-w, -w))]
            for i, j in cells
        ]
        color, line = (_ORANGE, "-") if gid == "empty-beside" else (_GREY, ":")
        ax.add_collection(
            LineCollection(squares, colors=color, linewidths=1.3, linestyles=line, gid=gid)
        )
    totals = dict(zip(zip(chosen["dimension"], chosen["by_bin"], strict=True), chosen["n_total"],
                      strict=True))  # fmt: skip
    labels = [
        f"{one_line(name, 24)} {by_bin}".rstrip() + f"  (n {totals[name, by_bin]:,})"
        for name, by_bin in lines
    ]
    ax.set_yticks(range(len(lines)))
    ax.set_yticklabels(labels, fontsize=7, parse_math=False)
    ax.set_xticks(range(len(bins)))
    ax.set_xticklabels(bins, fontsize=7, parse_math=False)
    ax.set_xlabel("angle in the image plane")
    n_beside = len(frames["empty-beside"])
    n_empty = n_beside + len(frames["empty"])
    set_title(
        ax,
        f"Angles{f' by {by}' if by else ''}: {n_empty} of {counts.size} bins empty,\n"
        f"{n_beside} of them beside filled ones (orange, not dotted)",
    )
    return ax


def plot_drift(
    found: Drift,
    keypoint: str | None = None,
    *,
    data: Dataset | None = None,
    ax: Axes | None = None,
    keypoint_kw: Mapping[str, Any] | None = None,
    line_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw where a keypoint is against what was expected, in the order of labeling.

    Parameters
    ----------
    found : Drift
        One of `kpwidget.quality.drift`, or of anchors.
    keypoint : str, optional
        By default the one with the smallest p-value.
    data : Dataset, optional
        What was looked at, for pictures of the keypoint from before and after a change that is
        found; none are drawn without.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's. The pictures stand below it.
    keypoint_kw : mapping, optional
        For the points, one for each image (`matplotlib.collections.PathCollection`).
    line_kw : mapping, optional
        For the means before and after the change (`matplotlib.collections.LineCollection`).

    Returns
    -------
    matplotlib.axes.Axes
        Images in the order of labeling to the right, offset in units of s (the root of the object's
        area) up; the axis of the two, x or y, or along or across the limb, that changes more
        clearly. Of anchors, the later label less the earlier one; blue are those that the change
        lies between. The artists' ``gid`` is ``offsets``, ``means`` and ``change``; the pictures
        are ``child_axes`` with ``limbs`` and ``labels``: of anchors the earlier label blue, the
        later one orange. Nothing is drawn of a change that is not found at 5 %.

    Raises
    ------
    ValueError
        If there is no such keypoint, or not enough data for any.
    """
    series = found.series
    if keypoint is not None:
        series = series[series["keypoint"] == keypoint]
        if not len(series):
            known = ", ".join(dict.fromkeys(found.series["keypoint"]))
            raise ValueError(f"keypoint = {keypoint!r}: expected one of {known}")
    tested = series[series["p"].notna()]
    if not len(tested):
        raise ValueError(f"not enough data in {len(found.images)} images")
    row = _rows_in(tested.sort_values("p", kind="stable"))[0]
    column = list(dict.fromkeys(found.series["keypoint"])).index(row.keypoint)
    values = found.values[:, column, 0 if row.axis in ("x", "along") else 1]
    there = np.flatnonzero(np.isfinite(values))
    is_found = row.p <= 0.05
    is_timed = not math.isnan(row.time)
    if is_timed:
        is_across = (found.pairs["first"] < row.time) & (found.pairs["again"] >= row.time)
    else:
        place = {image: i for i, image in enumerate(found.images)}
        is_across = found.pairs["image"].map(place) >= row.change
    across = set(found.pairs["image"][is_across])
    is_after = np.array([image in across for image in found.images])[there]
    if ax is None and is_found and data is not None:
        from matplotlib import pyplot as plt

        # The pictures stand below.
        place_of_axes = {"left": 0.15, "right": 0.98, "top": 0.88, "bottom": 0.44}
        _, ax = plt.subplots(figsize=(6.4, 4.8), gridspec_kw=place_of_axes)
    elif ax is None:
        ax = new_axes(6.4, 3.0)
    colors = [_BLUE if yes else _GREY for yes in is_after] if is_found and is_timed else _BLUE
    points = draw_points(ax, np.column_stack([there, values[there]]), colors, "o", 14.0)
    points.set(**{"gid": "offsets", "zorder": 2} | dict(keypoint_kw or {}))
    pieces = [there[~is_after], there[is_after]] if is_found else [there]
    lines = [
        [(piece[0] - 0.5, values[piece].mean()), (piece[-1] + 0.5, values[piece].mean())]
        for piece in pieces
        if len(piece)
    ]
    means = LineCollection(lines, colors=_ORANGE, linewidths=2.0)
    means.set(**{"gid": "means", "zorder": 3} | dict(line_kw or {}))
    ax.add_collection(means, autolim=False)
    if is_found:
        ax.axvline(row.change - 0.5, color=_GREY, linestyle="--", linewidth=1.0, gid="change")
    ax.set_xlim(-0.5, max(len(found.images) - 0.5, 0.5))
    low, high = float(values[there].min()), float(values[there].max())
    room = 0.08 * max(high - low, 1e-6)
    ax.set_ylim(low - room, high + room)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    order = "image labeled again, in this order" if is_timed else "image in the order of labeling"
    ax.set_xlabel(f"{order}, from 0")
    which = f"{row.axis} the limb" if is_timed else f"offset in {row.axis}"
    ax.set_ylabel(f"later less earlier label\n{which} (units of s)" if is_timed else
                  f"{which} (units of s)")  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)
    what = "convention" if found.is_anchored else "content or convention"
    said = (
        f"{what} changes by {row.shift_px:+.1f} px ({row.low_px:+.1f} to {row.high_px:+.1f})"
        if is_found
        else "no change found"
    )
    name = one_line(row.keypoint, 30)
    n = f"{row.n:,} images" + (f", {row.n_across:,} of them across it" if is_timed else "")
    set_title(ax, f"{name}: {said}\ncorrected p {row.p:.3f}, {n}")
    if is_found and data is not None:
        shown = found.pairs.assign(is_after=is_across.to_numpy())
        words = ("before", "after")
        if is_timed:
            words = ("earlier (blue), later (orange): one side", "the change lies between them")
        for i, (word, yes) in enumerate(zip(words, (False, True), strict=True)):
            _draw_crops(ax, data, shown[shown["is_after"] == yes], row, word, i)
    return ax


def _draw_crops(
    ax: Axes, dataset: Dataset, pairs: pd.DataFrame, row: Any, title: str, half: int
) -> None:
    """Draw a keypoint with its limb in up to three images, left or right below the axes."""
    near = pairs.iloc[:3] if half else pairs.iloc[-3:]
    opinions = {(one.uid, one.name): one for one in dataset.passes}
    for i, pair in enumerate(_rows_in(near)):
        crop = ax.inset_axes((0.52 * half + 0.165 * i, -0.9, 0.155, 0.5))
        crop.set_xticks([])
        crop.set_yticks([])
        if i == 0:
            crop.set_title(title, fontsize=7, loc="left")
        crop.set_xlabel(one_line(pair.image.rsplit("/", 1)[-1], 14), fontsize=6, parse_math=False)
        if pair.uid not in dataset:
            continue
        instance = dataset.instance(pair.uid)
        schema = instance.category.schema
        if row.keypoint not in schema.keypoints:
            continue
        sets = [instance.keypoints]
        opinion = opinions.get((pair.uid, pair.name)) if "name" in pairs else None
        if opinion is not None:
            sets.insert(int(opinion.time >= pair.again), opinion.keypoints(schema.keypoints))
        k = schema.index(row.keypoint)
        joined = [b for edge in schema.edges.tolist() for a, b in (edge, edge[::-1]) if a == k]
        ends = [j for j in joined if all(points[j, 2] > 0 for points in sets)] or [k]
        limbs = np.array([[points[ends[0], :2], points[k, :2]] for points in sets])
        centre = limbs[:, 1].mean(axis=0)
        if not np.isfinite(centre).all():
            continue
        length = float(np.linalg.norm(limbs[:, 1] - limbs[:, 0], axis=1).max())
        side = max(0.6 * length, 3 * abs(float(row.shift_px)), 8.0)
        window = (*(centre - side).tolist(), *(centre + side).tolist())
        image = instance.image
        try:
            size = (float(image.width), float(image.height))
        except (ImageError, OSError):
            size = (window[2], window[3])
        show_picture(crop, image, window, size, instead="no picture")
        colors = [_BLUE, _ORANGE][: len(sets)] if len(sets) > 1 else [_ORANGE]
        crop.add_collection(
            LineCollection(limbs.tolist(), colors=colors, linewidths=1.2, gid="limbs")
        )
        labels = draw_points(crop, limbs[:, 1], colors, "o", 16.0)
        labels.set(gid="labels", edgecolor="white", linewidth=0.6, zorder=4)
        crop.set_xlim(window[0], window[2])
        crop.set_ylim(window[3], window[1])


def _rows_in(frame: pd.DataFrame) -> list[Any]:
    """Rows of a table, each with its columns as attributes; what type they have nobody can tell."""
    return list(frame.itertuples(index=False))
