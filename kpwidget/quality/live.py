"""What may be wrong in one image (`suspect_image`), quick enough to be told while labeling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from kpwidget.quality.findings import Finding, undecided
from kpwidget.quality.labels import Labels, flip_pairs_of, labels_of
from kpwidget.quality.masks import occlusion_findings
from kpwidget.quality.sides import LEAST_PAIRS, is_taught_by, side_findings

if TYPE_CHECKING:
    from kpwidget.dataset import Dataset, ImageInfo

__all__ = ["suspect_image", "untold_sides"]

#: Which pairs point the same way is learned from the last so many instances of the category, looked
#: for among the last so many of all.
_TAUGHT_BY, _LOOKED_AT = 1000, 20_000


def suspect_image(image: ImageInfo) -> list[Finding]:
    """Keypoints of one image that are probably wrong: 'occlusion' and 'sides' of `check`.

    Parameters
    ----------
    image : ImageInfo

    Returns
    -------
    list of Finding
        Warnings, as `check` has them, but for sides by the frames beside, and without those that
        somebody has called fine. Instances that are not
        finished are left out. Which pairs point the same way is learned from the last 1,000
        instances of a category, so that it takes the same time in a dataset of any size.
    """
    dataset = image.dataset
    with dataset.lock:
        table = dataset._table
        rows = np.sort(np.array(table.rows_of_image[image.index], np.int64))
        rows = rows[table.column("is_finished", rows)]
        found: list[Finding] = []
        for labels in labels_of(dataset, rows=rows):
            found += occlusion_findings(labels)
            for teachers in _teachers(dataset, dataset.categories.index(labels.category)):
                found += side_findings(labels, teachers)
        return undecided(dataset, (one for one in found if one.instance is not None))


def untold_sides(dataset: Dataset, category: int) -> str:
    """Why `suspect_image` does not tell swapped sides, in few words; the caller holds the lock.

    Parameters
    ----------
    dataset : Dataset
    category : int
        Position of the category.

    Returns
    -------
    str
        Empty where it does, and for a schema without flip pairs.
    """
    n_pairs, n_instances = len(flip_pairs_of(dataset.categories[category].schema)), 0
    if not n_pairs:
        return ""
    if n_pairs < LEAST_PAIRS:
        return f"Swapped sides are not looked for: that takes {LEAST_PAIRS} flip pairs."
    for teachers in _teachers(dataset, category):
        n_instances = len(teachers.rows)
        if is_taught_by(teachers):
            return ""
    return f"Swapped sides are not told yet: that is learned from the instances ({n_instances:,})."


def _teachers(dataset: Dataset, category: int) -> Iterator[Labels]:
    """The last instances of a category; nothing if there are none."""
    table = dataset._table
    last = np.asarray(table.live_rows()[-_LOOKED_AT:], np.int64)
    last = last[table.n_labeled_of(last) > 0]
    last = last[table.column("category", last) == category]
    return labels_of(dataset, rows=last[-_TAUGHT_BY:])
