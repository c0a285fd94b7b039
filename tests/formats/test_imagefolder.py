from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import kpwidget as kp
from kpwidget.dataset import Dataset
from kpwidget.formats import detect_format
from kpwidget.schema import FormatError, Schema
from tests.formats.examples import EXAMPLES, check_example, needs_examples

ANIMAL = Schema("class_0", ["nose", "left_eye", "right_eye", "tail"], [(1, 2), (1, 3), (1, 4)])


@needs_examples
def test_example_and_its_splits_are_what_the_notes_say(tmp_path: Path) -> None:
    train = EXAMPLES / "huggingface-imagefolder/train"
    assert detect_format(train) == detect_format(train / "metadata.jsonl") == "huggingface"
    check_example(kp.read(train, schema=ANIMAL), name="class_0")
    with pytest.warns(UserWarning, match="have no names"):
        assert kp.read(train).categories[0].keypoints == ("0", "1", "2", "3")
    for split in ("train", "validation"):
        shutil.copytree(train, tmp_path / "all" / split)
    dataset = kp.read(tmp_path / "all", schema=ANIMAL)
    assert [image.file_name for image in dataset.images] == [
        "train/img1.png", "train/img2.png", "validation/img1.png", "validation/img2.png",
    ]  # fmt: skip
    assert [image.extra["split"] for image in dataset.images] == 2 * ["train"] + 2 * ["validation"]
    assert dataset.images[2].open().size == (64, 48)


@needs_examples
def test_a_table_of_csv_is_the_same(tmp_path: Path) -> None:
    lines = (EXAMPLES / "huggingface-imagefolder/train/metadata.jsonl").read_text().splitlines()
    with open(tmp_path / "metadata.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "objects"])
        for row in map(json.loads, lines):
            row["objects"]["categories"] = row["objects"].pop("category")  # as in datasets' docs
            writer.writerow([row["file_name"], json.dumps(row["objects"])])
    check_example(kp.read(tmp_path, schema=ANIMAL), name="class_0")


def test_datasets_reads_what_is_written(tiny_dataset: Dataset, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    tiny_dataset.instances[1].set_bbox((1, 2, 30, 40))
    kp.write(tiny_dataset, tmp_path / "out", format="huggingface")  # nothing is lost
    data = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"),
        split="train",
    )  # fmt: skip
    assert [row["image"].size for row in data] == [(64, 48)] * 3
    found = data[0]["objects"]
    assert found["category"] == [0, 1]
    # One was given; the other is the extent of its keypoints.
    assert found["bbox"] == [[10.5, 7, 40, 33], [1, 2, 30, 40]]
    expected = [[10.5, 8.25, 2], [12, 7, 1], [0, 0, 0], [50.5, 40, 2]]
    assert found["keypoints"] == [expected, [[30, 20, 2], [33.125, 18, 1]]]
    assert data[1]["objects"]["keypoints"] == []


def test_everything_that_it_holds_comes_back(tiny_dataset: Dataset, tmp_path: Path) -> None:
    tiny_dataset.instances[0].set_bbox((1.1, 2.2, 30.3, 40.4))
    kp.write(tiny_dataset, tmp_path / "out", format="huggingface", images="link")
    again = kp.read(tmp_path / "out")
    assert again.categories == tiny_dataset.categories
    assert [i.bbox_source for i in again.instances] == ["given", "derived"]
    for one, other in zip(tiny_dataset.instances, again.instances, strict=True):
        assert one.bbox == other.bbox
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
    kp.write(again, tmp_path / "out", format="huggingface")  # over what was written here
    fewer = Dataset.from_images({"new.png": np.zeros((4, 4, 3), np.uint8)}, ANIMAL)
    with pytest.raises(FileExistsError, match="would stay there and be part of the dataset"):
        kp.write(fewer, tmp_path / "out", format="huggingface")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/metadata.jsonl").write_text("{}")
    with pytest.raises(FileExistsError, match="no imagefolder dataset that was written by kpw"):
        kp.write(fewer, tmp_path / "mine", format="huggingface")


def test_what_some_instances_lack_comes_back(tiny_dataset: Dataset, tmp_path: Path) -> None:
    table = tiny_dataset._table
    table._columns["track_id"][:2] = [4, "four"]
    table._columns["score"][1] = 0.5
    table._columns["area"][0] = 3.5
    kp.write(tiny_dataset, tmp_path / "out", format="huggingface")
    again = kp.read(tmp_path / "out")
    assert [i.track_id for i in again.instances] == [4, "four"]
    assert [i.score for i in again.instances] == [None, 0.5]
    assert [i.area for i in again.instances] == [i.area for i in tiny_dataset.instances]
    [row, *_] = map(json.loads, (tmp_path / "out/metadata.jsonl").read_text().splitlines())
    row["objects"] = {key: values[:1] for key, values in row["objects"].items()}  # by another
    (tmp_path / "out/metadata.jsonl").write_text(json.dumps(row))
    with pytest.raises(FormatError, match="line 1: the objects are no longer those"):
        kp.read(tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("{", "line 2", id="json"),
        pytest.param("[1]", "line 2: expected an object", id="list"),
        pytest.param("[" * 3000, "line 2", id="deep"),
        pytest.param('{"file_name": "a.png", "objects": []}', "has a row already", id="twice"),
        pytest.param(
            '{"file_name": "b.png", "objects": {"category": [0], "keypoints": [[[1, NaN, 2]]]}}',
            "line 2", id="nan",
        ),
    ],
)  # fmt: skip
def test_bad_rows_are_named(text: str, told: str, tmp_path: Path) -> None:
    good = '{"file_name": "a.png", "objects": {"category": [0], "keypoints": [[[1, 2, 2]]]}}'
    (tmp_path / "metadata.jsonl").write_text(f"{good}\n{text}\n")
    with pytest.raises(FormatError, match=told):
        kp.read(tmp_path, schema=Schema("class_0", ["a"]))


def test_categories_that_do_not_fit_the_rows_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "objects": {"category": [0], "keypoints": [[[1, 2, 2]]]}}'
    )
    category = {"id": 1, "name": "x", "keypoints": ["a", "b"]}
    (tmp_path / "categories.json").write_text(json.dumps({"categories": [category]}))
    with pytest.raises(ValueError, match="has 2 keypoints, expected 1 for class 'x'"):
        kp.read(tmp_path)
    (tmp_path / "categories.json").write_text("[]")
    with pytest.raises(FormatError, match="has no categories"):
        kp.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        pytest.param(
            "metadata.csv", 'file_name,objects\na.png,"' + "[" + " " * 140_000 + ']"\n',
            r"larger than field limit \(131072\); a metadata.jsonl can hold", id="csv cell",
        ),
        pytest.param(
            "metadata.jsonl",
            '{"file_name": "a.png", "objects": '
            '[{"category": 0, "bbox": 5, "keypoints": [[1, 2, 2]]}]}',
            "'bbox' is 5, expected 4 numbers", id="bbox",
        ),
        pytest.param(
            "metadata.jsonl", '{"file_name": "a.png", "objects": [], "kpwidget": "\\ud800"}',
            "line 1: column 'kpwidget'", id="half a surrogate pair",
        ),
    ],
)  # fmt: skip
def test_tables_that_raised_other_errors_are_refused(
    name: str, text: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(FormatError, match=told):
        kp.read(tmp_path)


def test_objects_that_another_program_has_moved_are_not_given_the_boxes_of_others(
    tmp_path: Path,
) -> None:
    dataset = Dataset.from_images({"a.png": np.zeros((9, 9, 3), np.uint8)}, Schema("s", ["p"]))
    for at in (1, 5):
        dataset.add_instance("a.png", keypoints={"p": (at, at)}, bbox=(at, at, 2, 3))
    kp.write(dataset, tmp_path / "out", format="huggingface")
    table = tmp_path / "out/metadata.jsonl"
    row = json.loads(table.read_text())
    row["objects"] = {key: values[::-1] for key, values in row["objects"].items()}
    table.write_text(json.dumps(row))
    with pytest.raises(FormatError, match="line 1: the objects are no longer those"):
        kp.read(tmp_path / "out")
    table.write_text(json.dumps({key: row[key] for key in ("file_name", "objects")}))
    found = kp.read(tmp_path / "out").instances
    assert [(i.keypoints[0, 0], i.bbox) for i in found] == [(5, (5, 5, 2, 3)), (1, (1, 1, 2, 3))]


def test_folder_of_others_with_the_same_files_is_not_written_to(tmp_path: Path) -> None:
    dataset = Dataset.from_images({"a.png": np.zeros((9, 9, 3), np.uint8)}, Schema("s", ["p"]))
    for name in ("a.png", "categories.json", "metadata.jsonl"):
        (tmp_path / name).write_text('{"file_name": "a.png", "label": 3}')
    with pytest.raises(FileExistsError, match="no imagefolder dataset that was written by"):
        kp.write(dataset, tmp_path, format="huggingface")
    assert (tmp_path / "a.png").read_text() == '{"file_name": "a.png", "label": 3}'
