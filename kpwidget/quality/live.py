"""What may be wrong in one image (`suspect_image`), quick enough to be told while labeling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kpwidget.quality.findings import Finding, undecided
from kpwidget.quality.labels import labels_of
from kpwidget.quality.masks import occlusion_findings
from kpwidget.quality.sides import side_findings

if TYPE_CHECKING:
    from kpwidget.dataset import ImageInfo

__all__ = ["suspect_image"]

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
    dataset, table = image.dataset, image.dataset._table
    with dataset.lock:
        rows = np.sort(np.array(table.rows_of_image[image.index], np.int64))
        rows = rows[table.column("is_finished", rows)]
        if not len(rows):
            return []
        found: list[Finding] = []
        last = np.asarray(table.live_rows()[-_LOOKED_AT:], np.int64)
        last = last[table.n_labeled_of(last) > 0]
        of_row = table.column("category", last)
        for labels in labels_of(dataset, rows=rows):
            found += occlusion_findings(labels)
            of_category = last[of_row == dataset.categories.index(labels.category)]
            for teachers in labels_of(dataset, rows=of_category[-_TAUGHT_BY:]):
                found += side_findings(labels, teachers)
        return undecided(dataset, (one for one in found if one.instance is not None))
