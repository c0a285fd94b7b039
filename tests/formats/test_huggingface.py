from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kpwidget.dataset import Dataset
from kpwidget.formats.gathered import Gathered
from kpwidget.formats.huggingface import from_huggingface, gather_rows, to_huggingface
from kpwidget.schema import FormatError, Schema
from tests.formats.examples import EXAMPLES, check_example, needs_examples

ANIMAL = Schema("animal", ["nose", "left_eye", "right_eye", "tail"], [(1, 2), (1, 3), (1, 4)])


@needs_examples
def test_both_example_layouts_are_what_the_notes_say() -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    data = datasets.load_dataset(
        "parquet", data_files=str(EXAMPLES / "huggingface/data/*.parquet"), split="train"
    )
    check_example(from_huggingface(data, ANIMAL))


@needs_examples
def test_image_folder_is_what_the_notes_say() -> None:
    lines = (EXAMPLES / "huggingface-imagefolder/train/metadata.jsonl").read_text().splitlines()
    gathered = Gathered("metadata.jsonl", "raise")
    categories, _ = gather_rows(map(json.loads, lines), ["animal"], ANIMAL, gathered)
    check_example(gathered.dataset(categories, None, Path("x"), allow_outside=False))


def test_there_and_back_is_the_same(tiny_dataset: Dataset) -> None:
    pytest.importorskip("datasets", reason="datasets is not installed")
    schemas = {category.name: category.schema for category in tiny_dataset.categories}
    data = to_huggingface(tiny_dataset)
    assert data[0]["objects"][0]["keypoints"][0] == [10.5, 8.25, 2]
    assert data[0]["image"].size == (64, 48)
    again = from_huggingface(data, schemas)
    assert [len(image.instances) for image in again.images] == [2, 0, 0]
    for one, other in zip(tiny_dataset.instances, again.instances, strict=True):
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
        assert one.category.name == other.category.name


def test_bad_rows_are_all_named() -> None:
    good = {"category": 0, "keypoints": [[1, 2, 2]]}
    rows = [
        {"file_name": 3, "objects": []},
        {"file_name": "a.png", "objects": [{**good, "category": 5}, {**good, "keypoints": 3}]},
        {"file_name": "b.png", "objects": {"category": [0], "keypoints": []}},
        {"file_name": "c.png", "objects": [good, {**good, "keypoints": [[1, 2, 2], [3, 4, 2]]}]},
        {"file_name": "c.png", "objects": [{**good, "bbox": [1, 2, float("nan"), 3]}]},
        {"file_name": "d.png", "objects": [{**good, "bbox": [1, 2, float("nan"), 3]}]},
    ]
    gathered = Gathered("rows", "raise")
    categories, _ = gather_rows(rows, ["x"], Schema("x", ["a"]), gathered)
    with pytest.raises(FormatError) as caught:
        gathered.dataset(categories, None, Path("x"), allow_outside=False)
    told = "\n".join(caught.value.problems)
    for text in (
        "row 1: 'file_name' is 3", "row 2, object 1: 'category' is 5", "row 2, object 2: 'keyp",
        "row 3: 'objects' has lists of [0, 1]", "row 4, object 2: 'keypoints'",
        "row 5: the image 'c.png' has a row already", "row 6, object 1: 'bbox'",
    ):  # fmt: skip
        assert text in told


def test_keypoints_without_a_schema_are_told_as_what_they_are() -> None:
    gathered = Gathered("rows", "raise")
    rows = [{"file_name": "a.png", "objects": [{"category": 0, "keypoints": 3}]}]
    gather_rows(rows, ["x"], None, gathered)
    assert "is 3, expected a list of [x, y, visibility]" in next(iter(gathered.problems))


def test_an_object_without_keypoints_does_not_say_how_many_others_have() -> None:
    gathered = Gathered("rows", "raise")
    objects = [{"category": 0, "keypoints": []}, {"category": 0, "keypoints": [[1, 2, 2]]}]
    gather_rows([{"file_name": "a.png", "objects": objects}], ["x"], None, gathered)
    assert list(gathered.problems) == [
        "row 1, object 1: 'keypoints' is [], expected a list of [x, y, visibility]"
    ]
