"""Instances that were labeled more than once, as arrays: what agreement and sigmas are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset import Dataset
from kpwidget.dataset.passes import pair_labels
from kpwidget.quality.labels import flip_pairs_of, labels_in, rows_of
from kpwidget.schema import Category, Schema

__all__ = ["DoubleLabels", "Swap", "double_labels", "limb_frames", "turned", "without_swaps"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DoubleLabels:
    """The labels of several people on the same instances of one category.

    Attributes
    ----------
    category : Category
    names : tuple of str
        What the label sets are called: 'labels' and the passes, or 'first' and 'second'.
    uids, images : list of str
        Of the instances; file names.
    keypoints : ndarray of shape (n_instances, n_names, n_keypoints, 3)
        (x, y, visibility), x and y in image pixels; unlabeled, or not in that set, (NaN, NaN, 0).
    is_there : ndarray of bool, shape (n_instances, n_names)
        Whether a set has the instance.
    area : ndarray of shape (n_instances,)
        In square pixels, of the first set; NaN where it is not known or 0.
    unmatched : tuple of (list of str, list of str)
        uids without a counterpart, of the first and the second set; nothing for passes, whose
        report has told.
    """

    category: Category
    names: tuple[str, ...]
    uids: list[str]
    images: list[str]
    keypoints: Floats
    is_there: NDArray[np.bool_]
    area: Floats
    unmatched: tuple[list[str], list[str]]

    @property
    def schema(self) -> Schema:
        """Of the category."""
        return self.category.schema


@dataclass(frozen=True)
class Swap:
    """A left-right pair that two people have labeled the other way around.

    Attributes
    ----------
    uid, image : str
    set : str
        The label set in which it is other than in the first.
    left, right : str
        Names of the keypoints.
    straight_px, crossed_px : float
        Root mean square distance of the two points as they are named, and with the names exchanged,
        in image pixels.
    """

    uid: str
    image: str
    set: str
    left: str
    right: str
    straight_px: float
    crossed_px: float


def double_labels(
    first: Dataset, second: Dataset | str | None, category: str | int | Category | None
) -> DoubleLabels:
    """Labels of the same instances, of two datasets or of a dataset and its passes.

    Parameters
    ----------
    first : Dataset
    second : Dataset, str or None
        The other labels; or the name of a pass; or all passes.
    category : str, int or Category, optional
        May be left out if there is one category only.

    Returns
    -------
    DoubleLabels

    Raises
    ------
    ValueError
        If there is no pass at all, or the schemas differ.
    KeyError
        If there is no pass of this name.
    """
    index = first._category_index(category)
    chosen = first._categories[index]
    unmatched: tuple[list[str], list[str]] = ([], [])
    found: dict[str, dict[str, Floats]] = {}
    if isinstance(second, Dataset):
        names: tuple[str, ...] = ("first", "second")
        pairing = pair_labels(first, second)
        unmatched = (
            _labeled(first, chosen, pairing.unmatched),
            _labeled(second, chosen, pairing.unmatched_other),
        )
        for uid, _, of_category, keypoints in pairing.pairs:
            if of_category == chosen:
                found[uid] = {"second": keypoints}
    else:
        if not len(first.passes):
            raise ValueError(
                "nobody has labeled this dataset a second time: label ds.start_pass('second') and "
                "bring it back with ds.add_pass, or give a second dataset"
            )
        if second is not None:
            first.passes._check(second)
        used = [o for o in first.passes if second is None or o.name == second]
        names = ("labels", *sorted({opinion.name for opinion in used}))
        for opinion in used:
            of_uid = found.setdefault(opinion.uid, {})
            of_uid[opinion.name] = opinion.keypoints(chosen.keypoints)
    with first.lock:
        rows = rows_of(first)
        rows = rows[first._table.column("category", rows) == index]
        is_found = np.array([uid in found for uid in first._table.uids(rows.tolist())], np.bool_)
        labels = labels_in(first, index, rows[is_found])
        uids = first._table.uids(labels.rows.tolist())
        images = [labels.file_name(i) for i in range(len(uids))]
    keypoints = np.full((len(uids), len(names), chosen.n_keypoints, 3), np.nan)
    keypoints[..., 2] = 0
    keypoints[:, 0] = labels.points
    is_there = np.zeros(keypoints.shape[:2], np.bool_)
    is_there[:, 0] = True
    for i, uid in enumerate(uids):
        for j, name in enumerate(names[1:], 1):  # a pass may be called "labels", too
            if name in found[uid]:
                keypoints[i, j] = found[uid][name]
                is_there[i, j] = True
    area = np.where(labels.area > 0, labels.area, np.nan)
    return DoubleLabels(chosen, names, uids, images, keypoints, is_there, area, unmatched)


def _labeled(dataset: Dataset, category: Category, uids: list[str]) -> list[str]:
    """Those of a category of this name that have a keypoint: others are no label of it."""
    with dataset.lock:
        table, rows = dataset._table, rows_of(dataset)
        same = [i for i, one in enumerate(dataset._categories) if one.name == category.name]
        is_one = np.isin(table.column("category", rows), same) & (table.n_labeled_of(rows) > 0)
        wanted = set(table.uids(rows[is_one].tolist()))
    return [uid for uid in uids if uid in wanted]


def without_swaps(labels: DoubleLabels) -> tuple[Floats, list[Swap]]:
    """Locations with left-right swaps taken out, and the swaps.

    Two points of a pair are swapped if, with their names exchanged, they are at most half as far
    from those of the first set as they are now, and at most half as far as left and right are from
    one another: of points that lie nearly on one another nobody can tell.

    Returns
    -------
    ndarray of shape (n_instances, n_names, n_keypoints, 2)
        Image pixels; NaN where unlabeled and where swapped.
    list of Swap
    """
    xy = labels.keypoints[..., :2].copy()
    swaps = []
    schema = labels.schema
    for left, right in flip_pairs_of(schema).tolist():
        base = xy[:, :1]
        apart = 0.5 * (
            np.linalg.norm(base[:, :, left] - base[:, :, right], axis=2)
            + np.linalg.norm(xy[:, :, left] - xy[:, :, right], axis=2)
        )
        straight, crossed = (
            np.sqrt(
                0.5 * ((xy[:, :, a] - base[:, :, left]) ** 2).sum(axis=2)
                + 0.5 * ((xy[:, :, b] - base[:, :, right]) ** 2).sum(axis=2)
            )
            for a, b in ((left, right), (right, left))
        )
        with np.errstate(invalid="ignore"):
            is_swapped = (crossed <= straight / 2) & (crossed <= apart / 2) & (straight > 0)
        for i, j in np.argwhere(is_swapped).tolist():
            swaps.append(
                Swap(
                    labels.uids[i],
                    labels.images[i],
                    labels.names[j],
                    schema.keypoints[left],
                    schema.keypoints[right],
                    float(straight[i, j]),
                    float(crossed[i, j]),
                )
            )
        for k in (left, right):
            xy[..., k, :][is_swapped] = np.nan
    swaps.sort(key=lambda swap: labels.uids.index(swap.uid))
    return xy, swaps


def limb_frames(schema: Schema, xy: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Direction of the limb at each keypoint, in which offsets of different poses can be compared.

    Parameters
    ----------
    schema : Schema
    xy : ndarray of shape (n_instances, n_names, n_keypoints, 2)
        Image pixels.

    Returns
    -------
    ndarray of int, shape (n_keypoints,)
        The other end of the limb: of the keypoints joined to it the one that most people have
        labeled with it, of equals the one further away. -1 for a keypoint without an edge, whose
        frame is the image's.
    ndarray of shape (n_instances, n_keypoints, 2)
        Unit vectors from there to the keypoint, of the mean places; NaN where either is unlabeled.
    """
    n_keypoints = schema.n_keypoints
    is_labeled = np.isfinite(xy[..., 0])
    count = is_labeled.sum(axis=1)
    with np.errstate(invalid="ignore"):
        mean = np.where(is_labeled[..., None], xy, 0).sum(axis=1) / count[..., None]
    others = np.full(n_keypoints, -1, np.int64)
    units = np.broadcast_to(np.array([1.0, 0.0]), (len(xy), n_keypoints, 2)).copy()
    for k in range(n_keypoints):
        joined = sorted({int(b) for edge in schema.edges for a, b in (edge, edge[::-1]) if a == k})
        if not joined:
            continue
        limbs = mean[:, k, None] - mean[:, joined]
        lengths = np.hypot(limbs[..., 0], limbs[..., 1])
        is_used = (lengths > 0) & (count[:, k, None] > 1)
        n_used = is_used.sum(axis=0)
        typical = [
            float(np.median(lengths[u, i])) if u.any() else 0.0 for i, u in enumerate(is_used.T)
        ]
        best = max(range(len(joined)), key=lambda i: (n_used[i], typical[i]))
        others[k] = joined[best]
        with np.errstate(invalid="ignore", divide="ignore"):
            units[:, k] = limbs[:, best] / lengths[:, best, None]
    units[~np.isfinite(units).all(axis=2)] = np.nan
    return others, units


def turned(offsets: Floats, units: Floats) -> Floats:
    """Offsets (..., 2) along a direction and at right angles to it, clockwise where y is down."""
    along = (offsets * units).sum(axis=-1)
    across = offsets[..., 1] * units[..., 0] - offsets[..., 0] * units[..., 1]
    return np.stack([along, across], axis=-1)
