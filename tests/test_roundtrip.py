"""What a file keeps when it is read and written again: the report, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kpwidget import FormatError
from kpwidget.dataset import Dataset, ImageState
from kpwidget.formats import read, write
from kpwidget.formats.roundtrip import FieldResult, compare, roundtrip
from kpwidget.schema import Category, Schema

EXAMPLES = Path(__file__).resolve().parents[2] / "shared" / "format-examples"
needs_examples = pytest.mark.skipif(
    not EXAMPLES.is_dir(), reason="the example files of ../shared are not here"
)


def of(report: Any, field: str) -> tuple[int, int, int, int]:
    """(values, changed, lost, added) of a field of a report or of results."""
    results = getattr(report, "fields", report)
    (result,) = (r for r in results if r.field == field)
    return result.n, result.n_changed, result.n_lost, result.n_added


def labels(folder: Path) -> Path:
    """Two images, one of which has two bolts; every kind of field."""
    path = folder / "labels.json"
    path.write_text(
        json.dumps(
            {
                "info": {"year": 2026},
                "images": [
                    {"id": 5, "file_name": "a.png", "width": 100, "height": 80, "license": 2},
                    {"id": 6, "file_name": "b.png", "width": 100, "height": 80},
                ],
                "annotations": [
                    {
                        "id": 11, "image_id": 5, "category_id": 3, "iscrowd": 0,
                        "keypoints": [10, 20, 2, 30.5, 40, 1, 7, 8, 0], "num_keypoints": 2,
                        "bbox": [1, 2, 40, 50], "area": 900, "segmentation": [], "track_id": 4,
                    },
                    {
                        "id": 12, "image_id": 5, "category_id": 3, "iscrowd": 0,
                        "keypoints": [50, 60, 2, 0, 0, 0, 70, 75, 2], "num_keypoints": 2,
                        "bbox": [45, 50, 40, 29], "area": 1160, "segmentation": [], "note": None,
                    },
                ],
                "categories": [
                    {
                        "id": 3, "name": "bolt", "keypoints": ["head", "tip", "nut"],
                        "skeleton": [[1, 2]], "supercategory": "part",
                    }
                ],
            }
        )
    )  # fmt: skip
    return path


def test_untouched_coco_file_comes_back_byte_for_byte(tmp_path: Path) -> None:
    path = labels(tmp_path)
    before = path.read_bytes()
    report = roundtrip(path)
    assert report
    assert (report.is_identical, report.format, report.to) == (True, "coco", None)
    assert report.n_bytes == (len(before), len(before))
    counts = {r.field: r.n for r in report.fields}
    expected = {
        "images": 2, "image ids": 2, "image sizes": 2, "image field 'license'": 1,
        "categories": 1, "category skeletons": 1, "instances": 2, "keypoint coordinates": 4,
        "unlabeled locations": 1, "visibilities": 6, "bbox": 2, "area": 2, "annotation ids": 2,
        "track_id": 1, "score": 0, "annotation field 'segmentation'": 2,
        "annotation field 'note'": 1, "info": 1, "licenses": 0,
    }  # fmt: skip
    assert {name: counts[name] for name in expected} == expected
    assert all(r.is_kept and not r.n_added for r in report.fields)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path], "nothing is left behind"
    n = len(report.fields)
    assert str(report).splitlines() == [
        f"{path} (coco): nothing lost, the same bytes",
        f"{n} fields compared, every value the same; report.table() has all",
    ]
    first, head, _, *rows = report.table().splitlines()
    assert first == f"{path} (coco): nothing lost, the same bytes"
    assert head.split() == ["field", "values", "changed", "lost", "added"]
    assert len(rows) == n
    assert counts["category colors"] == 0, "made up for a file without"


def test_report_is_json(tmp_path: Path) -> None:
    report = roundtrip(labels(tmp_path), to="yolo-pose")
    data = json.loads(json.dumps(report.to_dict()))
    assert (data["ok"], data["is_identical"], data["to"]) == (False, False, "yolo-pose")
    (ids,) = (f for f in data["fields"] if f["field"] == "track_id")
    assert (ids["n"], ids["n_lost"]) == (1, 1)
    assert data["losses"]


def test_through_yolo_and_back_says_what_is_gone(tmp_path: Path) -> None:
    report = roundtrip(labels(tmp_path), to="yolo-pose")
    assert not report
    # YOLO pose has no place for these.
    assert of(report, "track_id") == (1, 0, 1, 0)
    assert of(report, "annotation field 'segmentation'") == (2, 0, 2, 0)
    assert of(report, "annotation field 'note'") == (1, 0, 1, 0)
    assert of(report, "image field 'license'") == (1, 0, 1, 0)
    assert of(report, "category skeletons") == (1, 0, 1, 0)
    assert of(report, "area")[1] == 1, "900 was not width times height, 1160 was"
    # It has for these (0.07 * 100, of the unlabeled one, is 9e-16 above 7).
    assert of(report, "unlabeled locations") == (1, 1, 0, 0)
    assert of(report, "instances") == (2, 0, 0, 0)
    assert of(report, "visibilities") == (6, 0, 0, 0)
    assert of(report, "category keypoint names") == (1, 0, 0, 0)
    xy = next(r for r in report.fields if r.field == "keypoint coordinates")
    assert (xy.n, xy.n_lost) == (4, 0)
    assert "track_id: instance 'coco:11' in image 'a.png': 4 is gone" in str(report)
    shown = [line.rsplit(maxsplit=4) for line in str(report).splitlines()]
    assert ["track_id", "1", "0", "1", "0"] in shown
    assert "visibilities" not in [row[0] for row in shown], "nothing changed"
    assert "visibilities" in [line.split()[0] for line in report.table().splitlines()]
    assert f"{len(report.fields)} fields compared, " in str(report)
    assert list(tmp_path.iterdir()) == [tmp_path / "labels.json"]


def test_bad_file_is_refused_and_bad_records_can_be_left_out(tmp_path: Path) -> None:
    path = labels(tmp_path)
    text = path.read_text().replace('"image_id": 5, "category_id": 3', '"image_id": 99', 1)
    path.write_text(text)
    with pytest.raises(FormatError, match="annotation 11"):
        roundtrip(path)
    with pytest.warns(UserWarning, match="left out"):
        report = roundtrip(path, on_error="skip")
    assert report
    assert report.is_identical
    assert of(report, "instances")[0] == 1
    assert of(report, "other annotations") == (1, 0, 0, 0)
    assert "left out on reading: annotation 11" in str(report)
    with pytest.raises(ValueError, match="unknown format 'voc'"):
        roundtrip(labels(tmp_path), to="voc")


# --- compare ------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Dataset, Dataset]:
    path = labels(tmp_path)
    return read(path), read(path)


def changed(results: tuple[FieldResult, ...]) -> dict[str, tuple[int, int, int]]:
    return {
        r.field: (r.n_changed, r.n_lost, r.n_added)
        for r in results
        if r.n_changed or r.n_lost or r.n_added
    }


def test_every_edit_is_seen(pair: tuple[Dataset, Dataset]) -> None:
    a, b = pair
    assert changed(compare(a, b)) == {}
    one, two = b.instances
    one.set_keypoint("head", 10.25, 20)  # moved
    one.set_keypoint("tip", 30.5, 40, 2)  # visibility 1 -> 2
    one.set_keypoint("nut", 7, 8, 1)  # 0 -> 1 where the file had a location
    two.clear_keypoint("head")  # 2 -> 0
    two.set_bbox((45, 50, 41, 29))
    results = compare(a, b)
    assert changed(results) == {
        "keypoint coordinates": (1, 1, 0),
        "unlabeled locations": (0, 1, 0),
        "visibilities": (3, 0, 0),
        "bbox": (1, 0, 0),
    }
    by_name = {r.field: r.examples for r in results}
    assert by_name["keypoint coordinates"] == (
        "the largest difference is 0.25 px",
        "'head' of instance 'coco:11' in image 'a.png': [10.0, 20.0] became [10.25, 20.0]",
    )
    assert by_name["visibilities"] == (
        "1 keypoint of visibility 0 became 1",
        "1 keypoint of visibility 1 became 2",
        "1 keypoint of visibility 2 became 0",
    )
    assert by_name["bbox"][1] == (
        "instance 'coco:12' in image 'a.png': [45.0, 50.0, 40.0, 29.0] became "
        "[45.0, 50.0, 41.0, 29.0]"
    )


def test_what_was_removed_is_lost_and_what_follows_is_not(pair: tuple[Dataset, Dataset]) -> None:
    a, b = pair
    b.instances[0].remove()
    b.add_instance("b.png", keypoints=[(1, 1), (2, 2), (3, 3)])
    results = compare(a, b)
    assert changed(results) == {"instances": (0, 1, 1)}
    assert next(r for r in results if r.field == "instances").examples == (
        "instance 'coco:11' in image 'a.png' is gone",
    )


def test_instances_are_paired_without_ids_by_where_they_are() -> None:
    def dataset(*heads: float) -> Dataset:
        made = Dataset(Schema("bolt", ["head", "tip"], [(1, 2)]))
        made._add_image(ImageState(1, "a.png", None, recorded_size=(100, 80)))
        for x in heads:
            made.add_instance("a.png", keypoints=[(x, 1), (x, 2)])
        return made

    # The first is gone: the second is the second still, 1e-6 px away.
    results = compare(dataset(10, 50, 90), dataset(50 + 1e-6, 90))
    assert changed(results) == {"instances": (0, 1, 0), "keypoint coordinates": (2, 0, 0)}
    # In another order.
    swapped = changed(compare(dataset(10, 50, 90), dataset(50, 10, 90)))
    assert swapped == {"order of instances": (1, 0, 0)}
    # As many as before, one of them elsewhere: moved, not lost.
    moved = changed(compare(dataset(10, 50), dataset(10, 70)))
    assert moved == {"keypoint coordinates": (2, 0, 0)}


def test_images_and_categories_are_compared_by_name() -> None:
    pixels = np.zeros((8, 9), np.uint8)
    bolt = Schema("bolt", ["head", "tip"], [(1, 2)], sigmas=[0.1, 0.2])
    a = Dataset.from_images({"x/a.png": pixels, "b.png": pixels}, Category(1, bolt, "bolt"))
    b = Dataset.from_images(
        {"images/a.png": pixels, "c.png": pixels},
        [Category(4, Schema("bolt", ["head", "end"]), "bolt"), Schema("nut", ["hole"])],
    )
    assert changed(compare(a, b)) == {
        "images": (0, 1, 1),
        "image file names": (1, 0, 0),
        "categories": (0, 0, 1),
        "category ids": (1, 0, 0),
        "category keypoint names": (1, 0, 0),
        "category skeletons": (0, 1, 0),
        "category sigmas": (0, 1, 0),
    }


def test_unknown_fields_are_compared_by_value(tmp_path: Path) -> None:
    path = labels(tmp_path)
    a = read(path)
    # 1 and true are equal to Python; null is a value, and differs from none.
    for old, new, expected in (
        ('"license": 2', '"license": true', (1, 0, 0)),
        ('"note": null', '"note": 0', (1, 0, 0)),
        (', "note": null', "", (0, 1, 0)),
        ('"license": 2', '"license": 2.0', None),
    ):
        path.write_text(path.read_text().replace(old, new))
        found = changed(compare(a, read(path)))
        assert list(found.values()) == ([] if expected is None else [expected]), (old, new)
        labels(tmp_path)


# --- real files ---------------------------------------------------------------------------------


@needs_examples
@pytest.mark.filterwarnings("ignore::UserWarning")  # skeletons that cannot be drawn
@pytest.mark.parametrize(
    "name",
    ["coco/person_keypoints.json", "coco/quirks.json", "coco-wholebody/wholebody.json",
     "crowdpose/crowdpose.json", "ap10k/ap10k.json"],
)  # fmt: skip
def test_coco_examples_are_certified(name: str) -> None:
    report = roundtrip(EXAMPLES / name)
    assert report
    assert report.is_identical
    assert of(report, "instances")[0] == len(
        [a for a in json.loads((EXAMPLES / name).read_text())["annotations"] if "keypoints" in a]
    )


@needs_examples
def test_yolo_example_keeps_all_it_has_also_through_coco() -> None:
    for to in (None, "coco"):
        report = roundtrip(EXAMPLES / "yolo-pose", to=to)
        assert report, str(report)
        # The ground truth at the head of formats.md: two animals, 3 and 4 of 4 keypoints labeled.
        assert of(report, "instances") == (2, 0, 0, 0)
        assert of(report, "keypoint coordinates") == (7, 0, 0, 0)
        assert of(report, "visibilities") == (8, 0, 0, 0)


@pytest.mark.parametrize("content", ["not to be lost", '{"cells": [], "nbformat": 4}'])
def test_a_file_that_is_something_else_is_replaced_when_told_to_only(
    content: str, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "labels.json"
    path.write_text(content)
    with pytest.raises(FileExistsError, match=r"no file of the format 'coco' .* overwrite=True"):
        write(tiny_dataset, path)
    assert path.read_text() == content
    write(tiny_dataset, path, overwrite=True)
    write(tiny_dataset, path)  # which is a COCO file now
    with pytest.raises(FileExistsError, match="no file of the format 'via'"):
        write(tiny_dataset, path, format="via", allow_loss=True)
