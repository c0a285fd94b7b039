"""Visible keypoints off their own object (`occlusion_findings`), by the masks of a COCO file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset.views import bboxes_of
from kpwidget.quality.findings import Finding
from kpwidget.quality.labels import Labels
from kpwidget.schema import Visibility

if TYPE_CHECKING:
    from kpwidget.dataset import Dataset

__all__ = ["FAR_INSIDE_ANOTHER", "FAR_OUTSIDE", "occlusion_findings"]

FAR_OUTSIDE: Final = 3.0
"""sigma*s from where on a visible keypoint is off its object: there OKS of a single keypoint has
fallen to exp(-9/8) = 0.32."""

FAR_INSIDE_ANOTHER: Final = 1.0
"""The same where it is on another object: both outlines are off by about that much."""

_OUTLINE: Final = 2.0
"""px that an outline may be off anyhow: polygons are drawn by clicks."""

_FARTHEST: Final = 1e7  # px
_INSTANCES_AT_A_TIME: Final = 4096
_EDGES_AT_A_TIME: Final = 60_000  # so that they stay in the processor's cache


class _Mask(msgspec.Struct):
    segmentation: list[list[float]] | dict[str, Any] | None = None


class _Polygons(NamedTuple):
    """Polygons of many instances, one after the other.

    Attributes
    ----------
    xy, along : ndarray of shape (n_vertices, 2)
        Vertices in image pixels, and from each to the next one of the same polygon.
    starts : ndarray of int, shape (n_polygons + 1,)
    rows : ndarray of int, shape (n_polygons,)
        Of the table: whose polygon it is; rising.
    n_others : int
        Instances whose mask is there and no polygon.
    """

    xy: NDArray[np.float64]
    along: NDArray[np.float64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    n_others: int


def occlusion_findings(labels: Labels) -> list[Finding]:
    """Visible keypoints that are off their own object, by the polygons of a COCO file.

    Parameters
    ----------
    labels : Labels

    Returns
    -------
    list of Finding
        Warnings: visible, but inside the mask of another instance and more than
        `FAR_INSIDE_ANOTHER` sigma*s from its own; or in no mask and more than `FAR_OUTSIDE` from
        its own. Both at least 2 px. The value is the distance in sigma*s, the reason has it in
        pixels too. A note tells how many masks are no polygons (RLE): they are not looked at.
    """
    found: list[Finding] = []
    n_others = 0
    for start in range(0, len(labels.rows), _INSTANCES_AT_A_TIME):
        chosen = slice(start, start + _INSTANCES_AT_A_TIME)
        part = labels._replace(
            rows=labels.rows[chosen],
            images=labels.images[chosen],
            points=labels.points[chosen],
            size=labels.size[chosen],
        )
        masks = _polygons_of(part.dataset, part.rows)
        n_others += masks.n_others
        found += _off_their_mask(part, masks)
    if n_others:
        found.append(
            Finding(
                "occlusion", "note", None, None, None, float(n_others), math.nan,
                f"{labels.category.name}: the masks of {n_others:,} instances are no polygons "
                "(RLE, or damaged): their keypoints are not compared with them",
                "",
                f"{labels.category.name}: no polygons",
            )
        )  # fmt: skip
    return found


def _off_their_mask(labels: Labels, masks: _Polygons) -> Iterator[Finding]:
    table = labels.dataset._table
    place = np.searchsorted(labels.rows, masks.rows)  # of the instance of each polygon
    has_mask = np.zeros(len(labels.rows), bool)
    has_mask[place] = True
    is_seen = (labels.points[..., 2] == Visibility.VISIBLE) & has_mask[:, None]
    owner, k = np.nonzero(is_seen & ~_is_inside_own(labels.points[..., :2], place, masks))
    xy = labels.points[owner, k, :2]
    point, polygon = _joined(labels.rows[owner], masks.rows)
    near = np.full(len(owner), np.inf)
    np.minimum.at(near, point, _distance(xy[point], polygon, masks))
    unit = labels.sigmas[k] * labels.size[owner]
    is_off = near > np.maximum(FAR_INSIDE_ANOTHER * unit, _OUTLINE)
    owner, k, xy, near = owner[is_off], k[is_off], xy[is_off], near[is_off]
    far = near / unit[is_off]
    other = _another(labels, owner, xy)
    names = labels.category.keypoints
    uids = table.uids(labels.rows[owner].tolist())
    for i, row in enumerate(other.tolist()):
        if row < 0 and far[i] <= FAR_OUTSIDE:
            continue
        where = f"{near[i]:.1f} px ({far[i]:.1f} sigma*s) outside its own mask"
        if row >= 0:
            threshold, where = FAR_INSIDE_ANOTHER, f"{where} and in that of {table.uids([row])[0]}"
            suggestion = "mark it as occluded, or move it"
        else:
            threshold, where = FAR_OUTSIDE, f"{where} and in no other"
            suggestion = "move it, or look at the mask"
        yield Finding(
            "occlusion", "warning", labels.file_name(int(owner[i])), uids[i], names[int(k[i])],
            float(far[i]), threshold, f"visible, but {where}", suggestion,
        )  # fmt: skip


def _polygons_of(dataset: Dataset, rows: NDArray[np.int64]) -> _Polygons:
    """Polygons of the records as read of rows that rise."""
    table = dataset._table
    decode = msgspec.json.Decoder(_Mask).decode
    numbers: list[list[float]] = []
    of: list[int] = []
    n_others = 0
    for row, position in zip(rows.tolist(), table.column("position", rows).tolist(), strict=True):
        text = table.text(row)
        try:
            mask = None if text is None else decode(text.raw("annotations", position)).segmentation
        except msgspec.DecodeError:
            mask = {}
        if isinstance(mask, dict):
            n_others += 1
            continue
        for polygon in mask or ():
            if len(polygon) >= 6 and len(polygon) % 2 == 0:
                numbers.append(polygon)
                of.append(row)
    lengths = np.array([len(polygon) // 2 for polygon in numbers], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    xy = np.fromiter(chain.from_iterable(numbers), float, 2 * int(starts[-1])).reshape(-1, 2)
    # No image is as large: what is farther out changes nothing inside, and its square may overflow.
    np.clip(xy, -_FARTHEST, _FARTHEST, out=xy)
    following = np.arange(1, len(xy) + 1)
    following[starts[1:] - 1] = starts[:-1]
    return _Polygons(xy, xy[following] - xy, starts, np.array(of, np.int64), n_others)


def _joined(
    rows: NDArray[np.int64], of: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every pair of a row and an item of that row: their places; `of` rises."""
    first = np.searchsorted(of, rows, "left")
    return _expanded(first, np.searchsorted(of, rows, "right") - first)


def _expanded(
    first: NDArray[np.int64], n: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Runs of n numbers from first on, one after the other: which run, and the number."""
    run = np.repeat(np.arange(len(first)), n)
    return run, np.arange(len(run)) + np.repeat(first - np.cumsum(n) + n, n)


def _is_inside_own(
    xy: NDArray[np.float64], place: NDArray[np.int64], masks: _Polygons
) -> NDArray[np.bool_]:
    """Whether keypoints are inside a polygon of their instance, by the even-odd rule.

    Parameters
    ----------
    xy : ndarray of shape (n, n_keypoints, 2)
        NaN is in none.
    place : ndarray of int, shape (n_polygons,)
        The instance of each polygon.
    masks : _Polygons

    Returns
    -------
    ndarray of bool, shape (n, n_keypoints)
    """
    found = np.zeros(xy.shape[:2], bool)
    polygon_of = np.repeat(np.arange(len(place)), np.diff(masks.starts))
    owner = place[polygon_of]
    (x, y), (dx, dy) = masks.xy.T.copy(), masks.along.T.copy()
    low, high = np.minimum(y, y + dy), np.maximum(y, y + dy)
    for k in range(xy.shape[1]):
        at = xy[owner, k, 1]
        crossed = np.flatnonzero((low <= at) & (at < high))
        where = x[crossed] + (at[crossed] - y[crossed]) / dy[crossed] * dx[crossed]
        right = crossed[where > xy[owner[crossed], k, 0]]
        is_odd = np.bincount(polygon_of[right], minlength=len(place)) % 2 == 1
        found[place[is_odd], k] = True
    return found


def _distance(
    xy: NDArray[np.float64], polygon: NDArray[np.int64], masks: _Polygons
) -> NDArray[np.float64]:
    """Distance in pixels of each point to the outline of the polygon given for it."""
    squared = np.empty(len(xy))
    length = (masks.along**2).sum(axis=1)
    (x, y), (dx, dy) = masks.xy.T.copy(), masks.along.T.copy()
    n = np.diff(masks.starts)[polygon]
    ends = np.cumsum(n)
    start = 0
    while start < len(polygon):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _EDGES_AT_A_TIME, "right")))
        pair, edge = _expanded(masks.starts[polygon[start:stop]], n[start:stop])
        px, py = xy[start:stop].T[:, pair]
        px -= x[edge]
        py -= y[edge]
        ex, ey = dx[edge], dy[edge]
        t = np.clip((px * ex + py * ey) / np.maximum(length[edge], 1e-12), 0, 1)
        px -= t * ex
        py -= t * ey
        first = ends[start:stop] - n[start:stop] - before
        squared[start:stop] = np.minimum.reduceat(px * px + py * py, first)
        start = stop
    return np.sqrt(squared)


def _another(
    labels: Labels, owner: NDArray[np.int64], xy: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Row of another instance of the image whose mask each point is in, -1 for none."""
    table = labels.dataset._table
    images = labels.images[owner]
    rows = np.array(
        [row for image in np.unique(images).tolist() for row in table.rows_of_image[image]],
        np.int64,
    )
    # A crowd is not one instance.
    rows = rows[table.column("iscrowd", rows) == 0]
    point, place = _joined(images, np.asarray(table.column("image", rows), np.int64))
    box = bboxes_of(labels.dataset, rows)[place]
    is_near = ((xy[point] >= box[:, :2]) & (xy[point] <= box[:, :2] + box[:, 2:])).all(axis=1)
    is_near &= rows[place] != labels.rows[owner[point]]
    point, row = point[is_near], rows[place[is_near]]
    masks = _polygons_of(labels.dataset, np.unique(row))
    # The points of an instance are as its keypoints: as many rows as the busiest has points.
    order = np.argsort(row, kind="stable")
    point, row = point[order], row[order]
    others, first, which, n = np.unique(row, return_index=True, return_inverse=True,
                                        return_counts=True)  # fmt: skip
    column = np.arange(len(row)) - first[which]
    places = np.full((len(others), int(n.max(initial=0)), 2), math.nan)
    places[which, column] = xy[point]
    is_in = _is_inside_own(places, np.searchsorted(others, masks.rows), masks)[which, column]
    found = np.full(len(owner), -1, np.int64)
    found[point[is_in]] = row[is_in]
    return found
