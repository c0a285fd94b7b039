from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kpwidget as kp
from kpwidget.dataset import Dataset
from kpwidget.schema import FormatError
from tests.formats.examples import (
    BOX_1,
    BOX_2,
    EDGES,
    EXAMPLES,
    NAMES,
    POINTS_1,
    POINTS_2,
    needs_examples,
)

GOOD = {
    "type": "points", "id": 4, "group": 1, "label_id": 0, "points": [1, 2, 3, 4],
    "visibility": [2, 1], "attributes": {},
}  # fmt: skip
CATEGORIES = {
    "label": {"labels": [{"name": "bolt", "parent": ""}]},
    "points": {"items": [{"label_id": 0, "labels": ["head", "tip"], "joints": [[1, 2]]}]},
}


def file_of(path: Path, *annotations: Any, **fields: Any) -> Path:
    item = {
        "id": "a", "annotations": list(annotations), "attr": {"id": 3},
        "image": {"path": "a.png", "size": [48, 64]},
    }  # fmt: skip
    path.write_text(json.dumps({"categories": CATEGORIES, "items": [item], **fields}))
    return path


@needs_examples
@pytest.mark.parametrize("name", ["datumaro", "datumaro-cvat-fork"])
@pytest.mark.parametrize("inside", ["", "annotations/train.json"])
def test_example_is_what_the_notes_say(name: str, inside: str) -> None:
    dataset = kp.read(EXAMPLES / name / inside)
    assert {i.file_name: (i.size, len(i.instances)) for i in dataset.images} == {
        "img1.png": ((64, 48), 2), "img2.png": ((64, 48), 0)
    }  # fmt: skip
    [category] = dataset.categories
    assert (category.name, category.keypoints, category.supercategory) == ("animal", NAMES, "thing")
    assert category.schema.skeleton == EDGES
    by_id = {instance.id: instance for instance in dataset.instances}
    np.testing.assert_array_equal(by_id[1].keypoints, POINTS_1)
    np.testing.assert_array_equal(by_id[2].keypoints, POINTS_2)
    assert by_id[2].bbox == BOX_2
    if name == "datumaro":  # the other has a polygon alone for the first
        assert by_id[1].bbox == BOX_1


@needs_examples
@pytest.mark.parametrize("name", ["datumaro", "datumaro-cvat-fork"])
def test_example_comes_through_whole(name: str) -> None:
    report = kp.roundtrip(EXAMPLES / name)
    assert report
    assert not report.losses


@needs_examples
def test_dialects_are_written_as_the_examples_have_them(tmp_path: Path) -> None:
    for name, dialect in (("datumaro", "datumaro"), ("datumaro-cvat-fork", "cvat")):
        kp.write(kp.read(EXAMPLES / name), tmp_path / name, format="datumaro", dialect=dialect)
        before, after = (
            json.loads((folder / name / "annotations/train.json").read_text())
            for folder in (EXAMPLES, tmp_path)
        )
        # Groups are numbered anew, and a point of visibility 0 stands as it was.
        for content in (before, after):
            for item in content["items"]:
                for annotation in item["annotations"]:
                    annotation["group"] = annotation["id"]
                item["annotations"].sort(key=lambda a: (a["id"], a["type"]))
        assert after == before


@needs_examples
def test_package_reads_what_is_written(tmp_path: Path) -> None:
    dm = pytest.importorskip("datumaro", reason="datumaro is not installed")
    dataset = kp.read(EXAMPLES / "datumaro")
    kp.write(dataset, tmp_path / "out", format="datumaro")
    shutil.copytree(EXAMPLES / "images", tmp_path / "out/images/train", dirs_exist_ok=True)
    found = dm.Dataset.import_from(str(tmp_path / "out"), "datumaro")
    item = next(item for item in found if item.id == "img1")
    points = {a.id: a for a in item.annotations if a.type == dm.AnnotationType.points}
    assert points[1].points == [10.5, 8.25, 12, 7, 0, 0, 50.5, 40]
    assert [int(v) for v in points[1].visibility] == [2, 1, 0, 2]
    assert [int(v) for v in points[2].visibility] == [2, 2, 1, 1]
    boxes = {a.id: a.get_bbox() for a in item.annotations if a.type == dm.AnnotationType.bbox}
    assert tuple(boxes[1]) == BOX_1


def test_other_annotations_and_attributes_come_back(tmp_path: Path) -> None:
    label = {"type": "label", "label_id": 0, "group": 0}
    polygon = {"type": "polygon", "group": 1, "points": [1, 2, 3, 4, 5, 6]}
    good = {**GOOD, "attributes": {"is_crowd": True, "score": 0.5, "track_id": 7, "blur": "x"}}
    path = file_of(tmp_path / "labels.json", good, polygon, label, infos={"by": "me"})
    assert kp.roundtrip(path)
    [instance] = kp.read(path).instances
    assert (instance.id, instance.iscrowd, instance.score, instance.track_id) == (4, 1, 0.5, 7)
    kp.write(kp.read(path), tmp_path / "out.json", format="datumaro")
    [item] = json.loads((tmp_path / "out.json").read_text())["items"]
    assert [a["type"] for a in item["annotations"]] == ["points", "polygon", "label"]


def test_files_of_an_earlier_write_are_not_mixed_in(tiny_dataset: Dataset, tmp_path: Path) -> None:
    for _ in range(2):
        kp.write(tiny_dataset, tmp_path / "out", format="datumaro", allow_loss=True)
    (tmp_path / "out/annotations/default.json").rename(tmp_path / "out/annotations/old.json")
    with pytest.raises(FileExistsError, match="old would stay there"):
        kp.write(tiny_dataset, tmp_path / "out", format="datumaro", allow_loss=True)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        pytest.param({**GOOD, "points": [1, 2, 3]}, "expected 4 numbers", id="short"),
        pytest.param({**GOOD, "points": [1, 2, 3, "4"]}, "expected 4 numbers", id="text"),
        pytest.param({**GOOD, "points": [1, 2, 3, 1e300]}, "expected 4 numbers", id="huge"),
        pytest.param({**GOOD, "visibility": [2]}, "expected 2 of 0, 1 and 2", id="flags"),
        pytest.param({**GOOD, "visibility": [2, 3]}, "expected 2 of 0, 1 and 2", id="three"),
        pytest.param({**GOOD, "type": "skeleton"}, "expected 6 numbers", id="skeleton"),
        pytest.param({**GOOD, "attributes": {"score": "<b>"}}, "'score' is '<b>'", id="score"),
        pytest.param({**GOOD, "id": 2**70}, "'id' is", id="id"),
        pytest.param({**GOOD, "points_attributes": 5}, "'points_attributes' is 5", id="of points"),
        pytest.param(3, "is 3", id="number"),
    ],
)
def test_bad_annotations_are_named_and_can_be_left_out(
    annotation: Any, message: str, tmp_path: Path
) -> None:
    path = file_of(tmp_path / "labels.json", annotation, {**GOOD, "group": 2, "id": 5})
    with pytest.raises(FormatError, match=f"labels.json item 1, annotation 1: .*{message}"):
        kp.read(path)
    with pytest.warns(UserWarning, match=message):
        dataset = kp.read(path, on_error="skip")
    assert dataset.instances[-1].id == 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"items": 3}, "is no Datumaro file", id="items"),
        pytest.param({"categories": {"label": 3}}, "has no list 'label' / 'labels'", id="label"),
        pytest.param(
            {"categories": {**CATEGORIES, "points": {"items": [{"label_id": 9}]}}},
            "the number of a label",
            id="label_id",
        ),
        pytest.param(
            {"categories": {**CATEGORIES, "points": {"items": [{"label_id": 0, "labels": [5]}]}}},
            "expected a string",
            id="names",
        ),
        pytest.param(
            {
                "categories": {
                    **CATEGORIES,
                    "points": {"items": [{"label_id": 0, "labels": ["head"], "joints": 5}]},
                }
            },
            "'joints' is 5, expected a list",
            id="joints",
        ),
    ],
)
def test_bad_files_are_refused(fields: Any, message: str, tmp_path: Path) -> None:
    path = file_of(tmp_path / "labels.json", GOOD, **fields)
    with pytest.raises(FormatError, match=message):
        kp.read(path, format="datumaro", on_error="skip")


def test_path_that_leads_out_does_not_open(tmp_path: Path) -> None:
    path = file_of(tmp_path / "labels.json", GOOD)
    path.write_text(path.read_text().replace("a.png", "/etc/passwd"))
    with pytest.raises(Exception, match="is absolute"):
        kp.read(path).images[0].open()


def test_wrong_boxes_and_sizes_are_problems(tmp_path: Path) -> None:
    box = {"type": "bbox", "group": 1, "label_id": 0, "bbox": 5}
    with pytest.raises(FormatError, match="the 'bbox' of its group is 5, expected 4"):
        kp.read(file_of(tmp_path / "a.json", GOOD, box))
    for size in ([-4, 4], [10**30, 10**30], [0, 4], [4]):
        image = {"path": "a.png", "size": size}
        path = file_of(tmp_path / "b.json", items=[{"id": "a", "annotations": [], "image": image}])
        with pytest.raises(FormatError, match="expected height and width in pixels"):
            kp.read(path)


def test_what_a_file_of_another_format_brings_along_is_checked(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    extra = {"datumaro": {"attributes": 5, "annotations": [5], "points_attributes": 5}}
    table = tiny_dataset._table
    table._columns["extra"][table.row("one")] = extra
    for dialect in ("datumaro", "cvat"):
        path = tmp_path / f"{dialect}.json"
        kp.write(tiny_dataset, path, format="datumaro", dialect=dialect, allow_loss=True)
        again = kp.read(path)
        assert len(again.instances) == len(tiny_dataset.instances)
        assert "datumaro" not in again.instances[0].extra
