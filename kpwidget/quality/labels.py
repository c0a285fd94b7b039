"""`Labels`: the labeled instances of one category as arrays, with what measures them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpwidget.dataset import Dataset
from kpwidget.dataset.views import bboxes_of

if TYPE_CHECKING:
    from kpwidget.dataset import Selection
    from kpwidget.schema import Category, Schema

__all__ = [
    "UNIFORM_SIGMA",
    "Labels",
    "dataset_of",
    "flip_pairs_of",
    "labels_in",
    "labels_of",
    "rows_of",
    "sigmas_of",
]

UNIFORM_SIGMA = 0.05
"""Sigma of every keypoint of a schema that nobody has measured; openpifpaf uses it for cars."""


class Labels(NamedTuple):
    """Instances of one category, in the order of the dataset.

    Attributes
    ----------
    dataset : Dataset
    category : Category
    rows : ndarray of int, shape (n,)
        Of the dataset's table.
    images : ndarray of int, shape (n,)
        Positions of their images.
    points : ndarray of shape (n, n_keypoints, 3)
        x, y in image pixels and visibility, as `Instance.keypoints`; unlabeled is (NaN, NaN, 0).
    area : ndarray of shape (n,)
        In square pixels: the file's, else that of the bbox; NaN where there is neither.
    size : ndarray of shape (n,)
        Root of the area, in pixels: the s of OKS; at least 1, also where it is not known.
    sigmas : ndarray of shape (n_keypoints,)
        As COCO's, before doubling.
    sigma_source : str
        Where they come from.
    """

    dataset: Dataset
    category: Category
    rows: NDArray[np.int64]
    images: NDArray[np.int64]
    points: NDArray[np.float64]
    area: NDArray[np.float64]
    size: NDArray[np.float64]
    sigmas: NDArray[np.float64]
    sigma_source: str

    def file_name(self, i: int) -> str:
        """File name of the image of the i-th instance."""
        return self.dataset._images[int(self.images[i])].file_name

    def uid(self, i: int) -> str:
        """Uid of the i-th instance."""
        return self.dataset._table.uids([int(self.rows[i])])[0]


def dataset_of(data: Dataset | Selection) -> Dataset:
    """Return the dataset itself, or that of a selection."""
    return data if isinstance(data, Dataset) else data.dataset


def rows_of(data: Dataset | Selection) -> NDArray[np.int64]:
    """Return the rows of the dataset's table that are looked at; the caller holds its lock."""
    table = dataset_of(data)._table
    rows = table.live_rows() if isinstance(data, Dataset) else data._rows(table)
    return np.asarray(rows, np.int64)


def labels_of(
    data: Dataset | Selection,
    sigmas: Mapping[str, ArrayLike] | ArrayLike | None = None,
    rows: NDArray[np.int64] | None = None,
) -> Iterator[Labels]:
    """Labeled instances of each category that has any; the caller holds the dataset's lock.

    Parameters
    ----------
    data : Dataset or Selection
    sigmas : array_like of shape (n_keypoints,), or mapping of category name to that, optional
        See `sigmas_of`.
    rows : ndarray of int, optional
        Of the dataset's table: only these; by default all that are looked at.
    """
    dataset, everything = dataset_of(data), rows_of(data) if rows is None else rows
    table = dataset._table
    everything = everything[table.n_labeled_of(everything) > 0]
    of = table.column("category", everything)
    for index in np.unique(of).tolist():
        yield labels_in(dataset, index, everything[of == index], sigmas)


def labels_in(
    dataset: Dataset,
    index: int,
    rows: NDArray[np.int64],
    sigmas: Mapping[str, ArrayLike] | ArrayLike | None = None,
) -> Labels:
    """Instances of one category in these rows of the table; the caller holds the dataset's lock.

    Parameters
    ----------
    dataset : Dataset
    index : int
        Position of the category, which all of them are of.
    rows : ndarray of int
    sigmas : array_like of shape (n_keypoints,), or mapping of category name to that, optional
        See `sigmas_of`.
    """
    category, table = dataset.categories[index], dataset._table
    area = table.column("area", rows)
    unknown = np.flatnonzero(np.isnan(area))
    area[unknown] = bboxes_of(dataset, rows[unknown])[:, 2:].prod(axis=1)
    given = sigmas.get(category.name) if isinstance(sigmas, Mapping) else sigmas
    values, source = sigmas_of(category.schema, given)
    size = np.sqrt(np.maximum(np.nan_to_num(area, nan=1.0), 1.0))
    images = np.asarray(table.column("image", rows), np.int64)
    points = table.keypoints_of(index, rows)
    return Labels(dataset, category, rows, images, points, area, size, values, source)


def sigmas_of(schema: Schema, sigmas: ArrayLike | None = None) -> tuple[NDArray[np.float64], str]:
    """Sigmas to measure with, and where they come from.

    Parameters
    ----------
    schema : Schema
    sigmas : array_like of shape (n_keypoints,), optional

    Returns
    -------
    sigmas : ndarray of shape (n_keypoints,)
        Those given, else the schema's, else those of the built-in schema with the same keypoints,
        else `UNIFORM_SIGMA`.
    source : str
        'given', the schema's own ('measured', 'borrowed', 'uniform', or 'schema' where it does not
        say), the name of the built-in schema, or 'assumed'.

    Raises
    ------
    ValueError
        If there is not one number above 0 for each keypoint.
    """
    if sigmas is not None:
        values = np.asarray(sigmas, np.float64)
        if values.shape != (schema.n_keypoints,) or not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(
                f"sigmas: expected {schema.n_keypoints} numbers above 0, one for each keypoint of "
                f"{schema.name!r}, got {values.tolist()}; for several categories give a mapping "
                "from category name to sigmas"
            )
        return values, "given"
    for known, source in ((schema, schema.sigma_source or "schema"), (_built_in(schema), None)):
        if known is not None and known.sigmas is not None:
            return known.sigmas, source or known.name
    return np.full(schema.n_keypoints, UNIFORM_SIGMA), "assumed"


def flip_pairs_of(schema: Schema) -> NDArray[np.int64]:
    """0-based indices of the flip pairs, shape (n_pairs, 2), the left one first.

    The schema's, else those of the built-in schema with the same keypoints; none are made up from
    names.
    """
    for known in (schema, _built_in(schema)):
        if known is not None and known.flip_pairs:
            pairs = np.array([[known.index(a), known.index(b)] for a, b in known.flip_pairs])
            is_right = np.array([known.sides[a] == "right" for a in pairs[:, 0]])
            pairs[is_right] = pairs[is_right, ::-1]
            return pairs
    return np.empty((0, 2), np.int64)


def _built_in(schema: Schema) -> Schema | None:
    """The built-in schema with the same keypoints in the same order."""
    from kpwidget import schemas

    for name in schemas.names():
        known = schemas.get(name)
        if known.keypoints == schema.keypoints:
            return known
    return None
