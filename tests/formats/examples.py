"""The example files beside the project, and what is in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kpwidget.dataset import Dataset

SHARED = Path(__file__).resolve().parents[3] / "shared"
EXAMPLES = SHARED / "format-examples"
DATA = SHARED / "data"

needs_examples = pytest.mark.skipif(
    not EXAMPLES.is_dir(), reason=f"the example files are not at {EXAMPLES}"
)
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the example data are not at {DATA}")

NAMES = ("nose", "left_eye", "right_eye", "tail")
EDGES = [[1, 2], [1, 3], [1, 4]]

# As the notes on formats give them: bbox, and x, y, v of four keypoints.
BOX_1, BOX_2 = (8, 5, 44, 37), (26, 16, 16, 16)
POINTS_1 = [[10.5, 8.25, 2], [12, 7, 1], [np.nan, np.nan, 0], [50.5, 40, 2]]
POINTS_2 = [[30, 20, 2], [33, 18, 2], [28, 18, 1], [40, 30, 1]]


def check_example(
    dataset: Dataset,
    *,
    name: str = "animal",
    has_occluded: bool = True,
    has_boxes: bool = True,
    has_edges: bool = True,
    is_rounded: bool = False,
    n_objects: int = 2,
    n_images: int = 2,
) -> None:
    """Fail if it is not what the notes say, but for what the format has no place for."""
    assert len(dataset) == n_images
    assert [image.file_name.rpartition("/")[2] for image in dataset.images] == [
        "img1.png",
        "img2.png",
    ][:n_images]
    assert [len(image.instances) for image in dataset.images] == [n_objects, 0][:n_images]
    [category] = dataset.categories
    assert category.name == name
    assert category.keypoints == NAMES
    assert category.schema.skeleton == (EDGES if has_edges else [])
    for instance, points, box in zip(
        dataset.instances, (POINTS_1, POINTS_2), (BOX_1, BOX_2), strict=False
    ):
        expected = np.array(points, float)
        if not has_occluded:
            expected[expected[:, 2] == 1, 2] = 2
        if is_rounded:  # down, as the program that wrote the file does
            expected = np.floor(expected)
        np.testing.assert_array_equal(instance.keypoints, expected)
        given = instance.bbox if instance.bbox_source == "given" else None
        assert given == (box if has_boxes else None)
