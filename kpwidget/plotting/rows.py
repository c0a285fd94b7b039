"""Which instances a plot is about: `rows_of` for whatever a plot is given as `data`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset import Dataset, ImageInfo, Instance, Selection
from kpwidget.images import ImageError
from kpwidget.plotting.text import one_line
from kpwidget.schema import Category, Schema

__all__ = [
    "Data",
    "Keypoints",
    "OfCategory",
    "Rows",
    "indices_of",
    "keypoints_of",
    "of_category",
    "rows_of",
    "sizes_in",
]

Keypoints: TypeAlias = str | int | Sequence[str | int] | None
"""Names or 0-based indices, one or several; None is all."""


@dataclass(frozen=True)
class Rows:
    """Some images and instances of one dataset.

    Attributes
    ----------
    dataset : Dataset
    rows : ndarray of int
        Of its table.
    images : list of int
        Positions of the images meant, in the order given.
    is_by_instance : bool
        Whether instances were given, and not images.
    """

    dataset: Dataset
    rows: NDArray[np.int64]
    images: list[int]
    is_by_instance: bool = False


class OfCategory(NamedTuple):
    """Instances of a category, or of several that have the same keypoints.

    Attributes
    ----------
    schema : Schema
        That of the first of them.
    name : str
        Of the category, fit for a title; "12 categories" for several.
    rows : ndarray of int
        Of the dataset's table.
    """

    schema: Schema
    name: str
    rows: NDArray[np.int64]


Data: TypeAlias = Dataset | Selection | ImageInfo | Instance | Sequence[ImageInfo | Instance] | Rows
"""What a plot can be given: a dataset, ``ds.select(...)``, or images or instances of one. `Rows`
are what it makes of that, once."""


def rows_of(data: object) -> Rows:
    """Images and instances that a plot is about.

    Parameters
    ----------
    data : Dataset, Selection, ImageInfo, Instance, or sequence of ImageInfo or of Instance

    Returns
    -------
    Rows

    Raises
    ------
    TypeError
        If it is something else, or a sequence of both.
    ValueError
        If a sequence is empty, which does not tell the dataset, or of several datasets.
    """
    if isinstance(data, Rows):
        return data
    if isinstance(data, Dataset):
        with data.lock:
            return Rows(
                data, np.array(data._table.live_rows(), np.int64), list(range(len(data.images)))
            )
    if isinstance(data, Selection):
        with data.dataset.lock:
            rows = np.array(data._rows(data.dataset._table), np.int64)
            return Rows(data.dataset, rows, [image.index for image in data.images])
    if isinstance(data, ImageInfo | Instance):
        data = [data]
    items = list(data) if isinstance(data, Iterable) and not isinstance(data, str) else None
    if items == []:
        raise ValueError(
            "data is empty: expected at least one image or instance; give a dataset or a "
            "selection of one (ds.select(...)) to plot what may be nothing"
        )
    if items is not None and all(isinstance(item, Instance) for item in items):
        dataset = _one_dataset(items)
        with dataset.lock:
            rows = np.array([dataset._table.row(item.uid) for item in items], np.int64)
            images = dataset._table.column("image", rows).tolist()
        return Rows(dataset, rows, list(dict.fromkeys(images)), is_by_instance=True)
    if items is not None and all(isinstance(item, ImageInfo) for item in items):
        dataset = _one_dataset(items)
        with dataset.lock:
            of_image = dataset._table.rows_of_image
            rows = np.array([row for item in items for row in of_image[item.index]], np.int64)
        return Rows(dataset, rows, [item.index for item in items])
    raise TypeError(
        f"data = {one_line(repr(data), 80)}: expected a dataset, a selection of one "
        "(ds.select(...)), or a list of its images (ds.images[:10]) or of its instances"
    )


def _one_dataset(items: Sequence[ImageInfo | Instance]) -> Dataset:
    dataset = items[0].dataset
    if any(item.dataset is not dataset for item in items):
        raise ValueError("data has images or instances of several datasets: expected one dataset")
    return dataset


def of_category(found: Rows, category: str | int | Category | None) -> OfCategory:
    """Schema and instances of the category asked for, or of all that have the same keypoints.

    Parameters
    ----------
    found : Rows
    category : str, int or Category, optional
        By default that which has instances here; several if their keypoints have the same names
        in the same order, as in AP-10K, where every species is a category.

    Returns
    -------
    OfCategory

    Raises
    ------
    ValueError
        If none is asked for and categories of different keypoints have instances here.
    KeyError
        If there is no such category.
    """
    dataset = found.dataset
    with dataset.lock:
        of = dataset._table.column("category", found.rows)
        present = np.unique(of).tolist() if category is None else []
        if len({dataset.categories[i].keypoints for i in present}) != 1:
            present = [dataset._category_index(category)]
        first = dataset.categories[present[0]]
        name = first.name if len(present) == 1 else f"{len(present)} categories"
        return OfCategory(first.schema, one_line(name), found.rows[np.isin(of, present)])


def keypoints_of(dataset: Dataset, chosen: OfCategory) -> NDArray[np.float64]:
    """Keypoints of instances as `of_category` gives them.

    Parameters
    ----------
    dataset : Dataset
    chosen : OfCategory

    Returns
    -------
    ndarray of shape (n, n_keypoints, 3)
        x, y in image pixels and visibility; unlabeled is (NaN, NaN, 0).
    """
    points = np.empty((len(chosen.rows), chosen.schema.n_keypoints, 3))
    with dataset.lock:
        of = dataset._table.column("category", chosen.rows)
        for index in np.unique(of).tolist():
            points[of == index] = dataset._table.keypoints_of(index, chosen.rows)
    return points


def indices_of(schema: Schema, keypoints: Keypoints) -> list[int]:
    """0-based indices of keypoints given by name or index, all by default.

    Raises
    ------
    KeyError
        If there is no such keypoint; the message names those with a similar name.
    ValueError
        If none is given.
    """
    if keypoints is None:
        return list(range(schema.n_keypoints))
    given = [keypoints] if isinstance(keypoints, str | int | np.integer) else list(keypoints)
    if not given:
        raise ValueError("keypoints is empty: expected names or indices, or None for all")
    return list(dict.fromkeys(schema.index(keypoint) for keypoint in given))


def sizes_in(found: Rows, images: NDArray[np.int64]) -> NDArray[np.float64]:
    """(width, height) of the image of each instance, in pixels; NaN where not known."""
    indices, which = np.unique(images, return_inverse=True)
    sizes = np.full((len(indices), 2), math.nan)
    for i, index in enumerate(indices.tolist()):
        try:
            sizes[i] = ImageInfo(found.dataset, index).size
        except (ImageError, OSError):
            continue
    return sizes[which]
