"""`plot_grid`: a contact sheet, all of it on one Axes; `plot_findings`: places that were found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from kpwidget.dataset import Dataset, ImageInfo, Instance, Selection
from kpwidget.geometry import clip_segments
from kpwidget.images import ImageError
from kpwidget.plotting.image import check_margin, window_of
from kpwidget.plotting.marks import (
    Marks,
    draw_crowds,
    draw_edges,
    draw_keypoints,
    marks_of,
    ordinals_of,
    scale_for,
)
from kpwidget.plotting.rows import Data, Rows, rows_of
from kpwidget.plotting.text import PLAIN, Labels, fit_text, one_line, set_title, width_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_findings", "plot_grid"]

Captions = Literal["auto"] | bool | Callable[[Any], object] | Sequence[object]
Window = tuple[float, float, float, float]

_CAPTION_SIZE = 6.5  # points
_GAP = 0.04  # between tiles, as a fraction of their width
_TILE_DPI = 200  # of the pictures, at the size that the sheet has when it is made
_TILE_PIXELS = (48, 800)  # longest side of a tile's picture, at least and at most
_PAPER = 255
_MISSING = 224
_WIDEST, _HIGHEST = 7.0, 9.0  # inches, of a figure that is made here


@dataclass(frozen=True)
class _Tile:
    """What one tile shows.

    Attributes
    ----------
    item : ImageInfo or Instance
    window : tuple of float
        (x0, y0, x1, y1) in pixels of the image.
    rows : list of int
        Of the instances drawn.
    """

    item: ImageInfo | Instance
    image: ImageInfo
    window: Window
    rows: list[int]


def plot_grid(
    data: Data,
    *,
    by: Literal["auto", "image", "instance"] = "auto",
    columns: int | None = None,
    limit: int = 100,
    margin: float = 0.15,
    captions: Captions = "auto",
    ax: Axes | None = None,
    keypoint_kw: Mapping[str, Any] | None = None,
    edge_kw: Mapping[str, Any] | None = None,
    caption_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw a contact sheet: many images, or crops around many instances.

    Parameters
    ----------
    data : Dataset, Selection, ImageInfo, Instance, or sequence of ImageInfo or of Instance
    by : {'auto', 'image', 'instance'}
        One tile for each image, with its instances that are meant, or one for each instance.
        'auto' is by instance for instances and by image for all else.
    columns : int, optional
        Number of tiles in a row; by default as many as make the sheet look like a page.
    limit : int, default 100
        Most tiles; the first ones are shown, and the title says of how many.
    margin : float, default 0.15
        Around an instance, as a fraction of the longer side of its bbox and labeled keypoints.
    captions : 'auto', bool, callable or sequence of str, default 'auto'
        Below each tile. 'auto' is the file name of an image; the file name, the position in the
        image from 1 and the annotation id of an instance, or the last of these where tiles are
        small. A callable is given the image or the
        instance of the tile; a sequence has one text for each tile there would be without a limit.
        False leaves them out.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's.
    keypoint_kw, edge_kw : mapping, optional
        As for `plot_image`.
    caption_kw : mapping, optional
        For the captions: ``size`` in points, ``color``.

    Returns
    -------
    matplotlib.axes.Axes
        One for the whole sheet, without ticks. Tile i is at column ``i % columns`` and row
        ``i // columns``; tiles are 1 wide, x right, y down. The artists' ``gid`` is ``tiles``,
        ``captions``, ``notes`` (what could not be read), and as for `plot_image`.

    Raises
    ------
    TypeError
        If `data` or `captions` is something else.
    ValueError
        If an argument is out of range, or `captions` has another length than there are tiles.

    Notes
    -----
    Each image is opened once, however many of its instances are shown, and a JPEG is decoded no
    larger than the tiles need.
    """
    if by not in ("auto", "image", "instance"):
        raise ValueError(f"by = {one_line(repr(by))}: expected 'auto', 'image' or 'instance'")
    for name, number in (("columns", columns), ("limit", limit)):
        if number is not None and (isinstance(number, bool) or number != int(number) or number < 1):
            raise ValueError(f"{name} = {number!r}: expected a whole number of at least 1")
    check_margin(margin)
    found = rows_of(data)
    is_by_instance = by == "instance" or (by == "auto" and found.is_by_instance)
    n_all = len(found.rows) if is_by_instance else len(found.images)
    texts = _given_captions(captions, n_all)
    with found.dataset.lock:
        tiles = _tiles(found, is_by_instance, min(n_all, limit), margin)
    noun = "instance" if is_by_instance else "image"
    if not tiles:
        return _empty(ax, f"no {noun}s to show")
    ratio = float(np.median([_ratio(tile.window) for tile in tiles])) if not is_by_instance else 1.0
    ratio = min(max(ratio, 0.4), 2.5)  # height of a tile's picture, of its width

    def texts_for(size: float, width: float) -> list[str]:
        if callable(captions):
            return [str(captions(tile.item)) for tile in tiles]
        return _usual_captions(tiles, size, width) if texts is None else texts[: len(tiles)]

    sheet = _draw_sheet(
        ax, found.dataset, tiles, ratio, columns, texts_for if captions is not False else None,
        keypoint_kw, edge_kw, caption_kw,
    )  # fmt: skip
    title = f"{n_all:,} {noun}{'' if n_all == 1 else 's'}"
    if len(tiles) < n_all:
        title = f"the first {len(tiles):,} of {title}"
    if sheet.n_hidden:
        title += f" ({sheet.n_hidden:,} keypoints lie outside of their image)"
    if sheet.n_missing:
        title += f" ({sheet.n_missing:,} unreadable)"
    set_title(sheet.ax, title, y=1.0)
    return sheet.ax


_AROUND: Final = 0.2
"""How far a tile of `plot_findings` reaches around the keypoint, of the longer side of the
instance; at least `_LEAST_AROUND` px, so that there is something to be seen."""
_LEAST_AROUND: Final = 24.0


def plot_findings(
    data: Dataset | Selection,
    findings: pd.DataFrame,
    *,
    columns: int | None = None,
    limit: int = 24,
    captions: Sequence[object] | None = None,
    ax: Axes | None = None,
    keypoint_kw: Mapping[str, Any] | None = None,
    edge_kw: Mapping[str, Any] | None = None,
    ring_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw a contact sheet of the places that checks have found, each with a ring around it.

    Parameters
    ----------
    data : Dataset or Selection
    findings : pandas.DataFrame
        Of `kpwidget.quality.check`, all or a choice of its rows. Those without an instance have no
        place and are left out; one without a keypoint shows the whole instance.
    columns : int, optional
        Number of tiles in a row; by default as many as make the sheet look like a page.
    limit : int, default 24
        Most tiles; the first ones are shown, and the title says of how many.
    captions : sequence of str, optional
        Below each tile, one for each finding, also for those without a place. By default the check
        and the keypoint.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's.
    keypoint_kw, edge_kw : mapping, optional
        As for `plot_image`.
    ring_kw : mapping, optional
        For the rings (`matplotlib.axes.Axes.scatter`).

    Returns
    -------
    matplotlib.axes.Axes
        Tiles as of `plot_grid`; a ring that stands on the border of its tile is of a keypoint
        beyond it. The rings' ``gid`` is ``findings``.

    Raises
    ------
    KeyError
        If a finding is about an instance or keypoint that is not there any more.
    ValueError
        If `captions` has another length than there are findings, or a number is out of range.
    """
    dataset = data if isinstance(data, Dataset) else data.dataset
    for name, number in (("columns", columns), ("limit", limit)):
        if number is not None and number < 1:
            raise ValueError(f"{name} = {number!r}: expected a whole number of at least 1")
    if captions is None:
        captions = [
            f"{check}: {keypoint or 'all'}"
            for check, keypoint in zip(findings["check"], findings["keypoint"], strict=True)
        ]
    elif len(captions) != len(findings):
        raise ValueError(
            f"captions has {len(captions)} texts, expected one for each of {len(findings)} findings"
        )
    has_place = np.flatnonzero(findings["instance"].notna().to_numpy())
    shown = has_place[:limit]
    tiles, points = [], []
    with dataset.lock:
        for uid, keypoint in findings[["instance", "keypoint"]].iloc[shown].itertuples(index=False):
            instance = dataset.instance(uid)
            tile = _tiles(rows_of(instance), True, 1, 0.15)[0]
            place = (math.nan, math.nan)
            if keypoint is not None:
                x, y, _ = instance.raw[instance.category.schema.index(keypoint)].tolist()
                place = (x, y)
            if np.isfinite(place).all():
                tile = replace(tile, window=_around(place, tile, dataset))
            tiles.append(tile)
            points.append(place)
    if not tiles:
        return _empty(ax, "no finding with a place")
    texts = [str(captions[i]) for i in shown.tolist()]
    sheet = _draw_sheet(
        ax, dataset, tiles, 1.0, columns, lambda size, width: texts, keypoint_kw, edge_kw, None
    )
    scale, shift = np.array([place[0] for place in sheet.places]), np.array(sheet.places)[:, 1:]
    corners = np.array(sheet.corners)
    # What is beyond its tile, outside of the image, is told at the border nearest to it.
    xy = np.clip(scale[:, None] * np.array(points) + shift, corners + 0.03, corners + 0.97)
    rings: dict[str, Any] = {
        "s": (0.16 * sheet.inches * 72) ** 2, "facecolors": "none", "edgecolors": "#ffffff",
        "linewidths": 1.4, "zorder": 5, "gid": "findings",
        "path_effects": [withStroke(linewidth=3.2, foreground="#101010")],
    }  # fmt: skip
    sheet.ax.scatter(*xy[np.isfinite(xy[:, 0])].T, **rings | dict(ring_kw or {}))
    title = f"{len(has_place):,} place{'' if len(has_place) == 1 else 's'}"
    if len(tiles) < len(has_place):
        title = f"the first {len(tiles):,} of {title}"
    if sheet.n_missing:
        title += f" ({sheet.n_missing:,} unreadable)"
    set_title(sheet.ax, title, y=1.0)
    return sheet.ax


def _around(place: tuple[float, float], tile: _Tile, dataset: Dataset) -> Window:
    """Square window around a place of an instance, moved into the image as far as it shows it."""
    reach = max(_AROUND * (tile.window[2] - tile.window[0]), _LEAST_AROUND)
    size = _size(tile.image, dataset, tile.rows)
    x, y = (min(max(value, 0.0), side) for value, side in zip(place, size, strict=True))
    return _squared((x - reach, y - reach, x + reach, y + reach), (x, y, x, y), size)


class _Sheet(NamedTuple):
    """A sheet that was drawn.

    Attributes
    ----------
    ax : Axes
    inches : float
        Width of a tile.
    corners : list of (float, float)
        Upper left one of each tile on the sheet.
    places : list of (scale, dx, dy)
        Where pixels of the image of each tile are on it.
    n_hidden, n_missing : int
        Keypoints beyond their tile; tiles whose image cannot be read.
    """

    ax: Axes
    inches: float
    corners: list[tuple[float, float]]
    places: list[tuple[float, float, float]]
    n_hidden: int
    n_missing: int


def _draw_sheet(
    ax: Axes | None,
    dataset: Dataset,
    tiles: Sequence[_Tile],
    ratio: float,
    columns: int | None,
    texts_for: Callable[[float, float], list[str]] | None,
    keypoint_kw: Mapping[str, Any] | None,
    edge_kw: Mapping[str, Any] | None,
    caption_kw: Mapping[str, Any] | None,
) -> _Sheet:
    """Draw tiles with their marks and captions.

    `ratio` is the height of a tile's picture by its width; `texts_for` gives the captions for a
    font size and a width, both in points, None for none.
    """
    if columns is None:
        columns = min(len(tiles), max(1, round(math.sqrt(len(tiles) * ratio * 1.1))))
    n_columns, n_rows = int(columns), math.ceil(len(tiles) / int(columns))
    style: dict[str, Any] = {"size": _CAPTION_SIZE, "color": "#202020", "halo": None} | dict(
        caption_kw or {}
    )
    ax, inches = _axes(ax, n_columns, n_rows, ratio, style["size"] if texts_for else 0.0)
    strip = 1.5 * style["size"] / 72 / inches if texts_for else 0.0
    pitch = (1 + _GAP, ratio + strip + _GAP)
    corners = [(i % n_columns * pitch[0], i // n_columns * pitch[1]) for i in range(len(tiles))]

    side = min(max(round(inches * _TILE_DPI), _TILE_PIXELS[0]), _TILE_PIXELS[1])
    width, height = n_columns * pitch[0] - _GAP, n_rows * pitch[1] - _GAP
    sheet = np.full((math.ceil(height * side), math.ceil(width * side), 3), _PAPER, np.uint8)
    places = [
        _place(tile.window, corner, ratio) for tile, corner in zip(tiles, corners, strict=True)
    ]
    missing = _fill(sheet, side, tiles, places, corners, ratio)
    picture = ax.imshow(
        sheet,
        extent=(0, sheet.shape[1] / side, sheet.shape[0] / side, 0),
        origin="upper",
        aspect="equal",
        zorder=0,
    )
    picture.set_gid("tiles")
    rows = [row for tile in tiles for row in tile.rows]
    owners = [place for tile, place in zip(tiles, places, strict=True) for _ in tile.rows]
    with dataset.lock:
        marks = marks_of(dataset, rows, owners)
        draw_crowds(ax, dataset, rows, owners)
    n_points = len(marks.xy)
    marks = _clipped(marks, tiles, corners, ratio)
    # Marks of the usual size would cover a small figure.
    scale = scale_for(marks, inches * 72)
    draw_edges(
        ax,
        marks.segments,
        marks.segment_colors,
        edge_kw,
        marks.segment_of,
        scale,
    )
    draw_keypoints(ax, marks.xy, marks.visibility, marks.sides, marks.colors, keypoint_kw, scale)
    if texts_for is not None:
        below = [(x + 0.5, y + ratio) for x, y in corners]
        wide = inches * 72 * 0.92
        fitted = [fit_text(text, style["size"], wide) for text in texts_for(style["size"], wide)]
        labels = Labels(np.array(below), fitted, ax.transData, align="below", gap=1.5, **style)
        labels.set(gid="captions", clip_on=False)
        ax.add_artist(labels)
    if missing:
        centres = [(corners[i][0] + 0.5, corners[i][1] + 0.92 * ratio) for i in missing]
        words = [fit_text("cannot be read", 6.5, 0.96 * inches * 72)] * len(missing)
        notes = Labels(
            np.array(centres), words, ax.transData, align="centre", color="#303030", halo=None
        )
        notes.set_gid("notes")
        ax.add_artist(notes)
    ax.set_aspect("equal")
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.set_axis_off()
    return _Sheet(ax, inches, corners, places, n_points - len(marks.xy), len(missing))


def _tiles(found: Rows, is_by_instance: bool, n: int, margin: float) -> list[_Tile]:
    dataset, table = found.dataset, found.dataset._table
    if is_by_instance:
        rows = found.rows[:n]
        tiles = []
        boxes = table.column("bbox", rows)
        categories = table.column("category", rows).tolist()
        for row, uid, category, box in zip(
            rows.tolist(), table.uids(rows), categories, boxes.tolist(), strict=True
        ):
            instance = Instance(dataset, uid)
            image = instance.image
            points = table.keypoints_of(category, [row])[0]
            bbox = None if math.isnan(box[0]) else (box[0], box[1], box[2], box[3])
            labeled = points[points[:, 2] > 0, :2]
            size = _size(image, dataset, [row])
            whole = (0.0, 0.0, *size)
            wide = window_of(labeled, bbox, margin) or whole
            window = _squared(wide, window_of(labeled, bbox, 0.0) or whole, size)
            tiles.append(_Tile(instance, image, window, [row]))
        return tiles
    is_meant = np.zeros(table.n_rows, np.bool_)
    is_meant[found.rows] = True
    tiles = []
    for index in found.images[:n]:
        image = ImageInfo(dataset, index)
        chosen = [row for row in table.rows_of_image[index] if is_meant[row]]
        width, height = _size(image, dataset, chosen)
        tiles.append(_Tile(image, image, (0.0, 0.0, width, height), chosen))
    return tiles


def _size(image: ImageInfo, dataset: Dataset, rows: Sequence[int]) -> tuple[float, float]:
    """(width, height) in pixels; if nobody knows it, as much as the keypoints need."""
    try:
        return float(image.width), float(image.height)
    except (ImageError, OSError):
        points = np.concatenate([np.ones((1, 2)), marks_of(dataset, rows).xy])
        width, height = np.ceil(points.max(axis=0) * 1.05)
        return float(width), float(height)


def _squared(window: Window, needed: Window, size: tuple[float, float]) -> Window:
    """The window made square by what lies beside it in the image, which says more than paper.

    `needed` is the part of it that must stay in view.
    """
    low, high = np.array(window[:2]), np.array(window[2:])
    side = float((high - low).max())
    low = (low + high - side) / 2
    inside = np.clip(low, 0, np.maximum(np.array(size) - side, 0))
    is_moved = (np.array(size) >= side) & (inside <= needed[:2]) & (inside + side >= needed[2:])
    x, y = np.where(is_moved, inside, low).tolist()
    return x, y, x + side, y + side


def _ratio(window: Window) -> float:
    return (window[3] - window[1]) / (window[2] - window[0])


def _place(window: Window, corner: tuple[float, float], ratio: float) -> tuple[float, float, float]:
    """(scale, dx, dy) that put a window into the middle of a tile of the sheet."""
    x0, y0, x1, y1 = window
    scale = min(1 / (x1 - x0), ratio / (y1 - y0))
    dx = corner[0] + (1 - scale * (x1 - x0)) / 2 - scale * x0
    dy = corner[1] + (ratio - scale * (y1 - y0)) / 2 - scale * y0
    return scale, dx, dy


def _fill(
    sheet: NDArray[np.uint8],
    side: int,
    tiles: Sequence[_Tile],
    places: Sequence[tuple[float, float, float]],
    corners: Sequence[tuple[float, float]],
    ratio: float,
) -> list[int]:
    """Put the pictures of the tiles into the sheet; return which could not be read."""
    from PIL import Image

    of_image: dict[int, list[int]] = {}
    for i, tile in enumerate(tiles):
        of_image.setdefault(tile.image.index, []).append(i)
    missing: list[int] = []
    for members in of_image.values():
        image = tiles[members[0]].image
        largest = max(places[i][0] for i in members) * side  # sheet pixels per image pixel
        try:
            width, height = image.size
            # The limits are met to a tenth: ask for so much more that the finest crop has enough.
            picture = image.source.thumbnail(
                max(1, math.ceil(1.1 * largest * width)), max(1, math.ceil(1.1 * largest * height))
            )
        except (ImageError, OSError):
            missing += members
            for i in members:
                x, y = (round(value * side) for value in corners[i])
                sheet[y : y + round(ratio * side), x : x + side] = _MISSING
            continue
        across, down = picture.width / width, picture.height / height
        for i in members:
            scale, dx, dy = places[i]
            x0, y0, x1, y1 = _inside(tiles[i].window, width, height)
            if x0 >= x1 or y0 >= y1:
                continue
            # Whole pixels of the sheet, and for each the part of the picture it stands for: so
            # the picture lies under its marks to a fraction of a pixel.
            left, top = (math.ceil(v * side - 1e-6) for v in (dx + scale * x0, dy + scale * y0))
            right, bottom = (
                math.floor(v * side + 1e-6) for v in (dx + scale * x1, dy + scale * y1)
            )
            right, bottom = min(right, sheet.shape[1]), min(bottom, sheet.shape[0])
            if left >= right or top >= bottom:
                continue
            box = (
                max(0.0, (left / side - dx) / scale * across),
                max(0.0, (top / side - dy) / scale * down),
                min(float(picture.width), (right / side - dx) / scale * across),
                min(float(picture.height), (bottom / side - dy) / scale * down),
            )
            part = picture.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=box)
            sheet[top:bottom, left:right] = np.asarray(part)
    return sorted(missing)


def _inside(window: Window, width: float, height: float) -> Window:
    x0, y0, x1, y1 = window
    return max(x0, 0.0), max(y0, 0.0), min(x1, width), min(y1, height)


def _clipped(
    marks: Marks, tiles: Sequence[_Tile], corners: Sequence[tuple[float, float]], ratio: float
) -> Marks:
    """Marks without what of them lies outside of their tile, on a neighbour's picture."""
    tile_of = np.repeat(np.arange(len(tiles)), [len(tile.rows) for tile in tiles])
    low = np.array(corners)
    high = low + np.array([1.0, ratio])

    def is_in(xy: NDArray[np.float64], owner: NDArray[np.int64]) -> NDArray[np.bool_]:
        tile = tile_of[owner]
        within: NDArray[np.bool_] = np.all((xy >= low[tile]) & (xy <= high[tile]), axis=-1)
        return within

    points = is_in(marks.xy, marks.point_of)
    if points.all():
        return marks
    tile = tile_of[marks.segment_of]
    # Each in its own tile, as if that were the only one.
    start, end, lines = clip_segments(
        marks.segments[:, 0] - low[tile], marks.segments[:, 1] - low[tile], (0.0, 0.0, 1.0, ratio)
    )
    segments = np.stack([start, end], axis=1) + low[tile][:, None]
    kept = np.flatnonzero(points).tolist()
    return Marks(
        segments[lines],
        marks.segment_of[lines],
        [marks.segment_colors[i] for i in np.flatnonzero(lines).tolist()],
        marks.xy[points],
        marks.point_of[points],
        marks.visibility[points],
        [marks.sides[i] for i in kept],
        [marks.colors[i] for i in kept],
        [marks.names[i] for i in kept],
    )


def _axes(
    ax: Axes | None, n_columns: int, n_rows: int, ratio: float, caption_size: float
) -> tuple[Axes, float]:
    """The axes, and the width of a tile on it in inches."""
    width = n_columns * (1 + _GAP) - _GAP
    height = n_rows * (ratio + _GAP) - _GAP
    captions = n_rows * 1.5 * caption_size / 72
    if ax is None:
        inches = min((_WIDEST - 0.2) / width, max(0.3, (_HIGHEST - 0.5 - captions) / height), 3.0)
        total = (max(2.4, inches * width + 0.2), inches * height + captions + 0.5)
        from matplotlib import pyplot as plt

        figure = plt.figure(figsize=total)
        side = (total[0] - inches * width) / 2 / total[0]
        ax = figure.add_axes((side, 0.1 / total[1], 1 - 2 * side, 1 - 0.5 / total[1]))
        return ax, inches
    area = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    return ax, max(0.05, min(area.width / width, (area.height - captions) / height))


def _empty(ax: Axes | None, words: str) -> Axes:
    if ax is None:
        from matplotlib import pyplot as plt

        ax = plt.figure(figsize=(3.5, 1.5)).add_axes((0.02, 0.02, 0.96, 0.96))
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", **PLAIN)
    ax.set_axis_off()
    return ax


def _given_captions(captions: object, n_all: int) -> list[str] | None:
    """Texts that were given; None if they are to be found out or left out."""
    if captions == "auto" or isinstance(captions, bool) or callable(captions):
        return None
    if isinstance(captions, str) or not isinstance(captions, Iterable):
        raise TypeError(
            f"captions = {one_line(repr(captions))}: expected 'auto', True, False, a function of "
            "an image or instance, or a list of texts"
        )
    texts = [str(text) for text in captions]
    if len(texts) != n_all:
        raise ValueError(f"captions has {len(texts)} texts, expected one for each of {n_all} tiles")
    return texts


def _usual_captions(tiles: Sequence[_Tile], size: float, width: float) -> list[str]:
    """File names and, of instances, position and id: as much of that as fits everywhere."""
    instances = [tile.item for tile in tiles if isinstance(tile.item, Instance)]
    names = [one_line(tile.image.file_name, 200) for tile in tiles]
    if not instances:
        return names
    dataset = instances[0].dataset
    table = dataset._table
    ordinals = ordinals_of(dataset, [table.row(instance.uid) for instance in instances])
    numbers = [instance.id for instance in instances]
    positions = [f"#{ordinal + 1}" for ordinal in ordinals.tolist()]
    ids = ["" if number is None else f"id {number}" for number in numbers]
    forms = [
        [" ".join(filter(None, parts)) for parts in zip(names, positions, ids, strict=True)],
        [" ".join(filter(None, parts)) for parts in zip(positions, ids, strict=True)],
        [id_ or position for position, id_ in zip(positions, ids, strict=True)],
    ]
    for form in forms[:-1]:
        if all(width_of(text, size) <= width for text in form):
            return form
    return forms[-1]
