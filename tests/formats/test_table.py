"""What the table says that formats keep and lose: every field, the page of it, and files."""

from __future__ import annotations

import fnmatch
import itertools
import json
import re
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tqdm.auto

from kpwidget import formats
from kpwidget.dataset import Dataset
from kpwidget.formats import FORMATS, read
from kpwidget.formats.roundtrip import FieldResult, _write_and_read, compare, roundtrip
from kpwidget.formats.table import FIELDS, fields_table, formats_table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"

# Where a format keeps a field for what is asked here, which is the usual case, not "if" or "with".
FILE: dict[str, Any] = {
    "info": {"year": 2026},
    "licenses": [{"id": 2, "name": "none"}],
    "note": "top",
    "images": [
        {"id": 5, "file_name": "frame_000000.png", "width": 100, "height": 80, "license": 2},
        {"id": 6, "file_name": "frame_000001.png", "width": 100, "height": 80},
        {"id": 9, "file_name": "frame_000002.png", "width": 100, "height": 80},
        {"id": 9, "file_name": "frame_000002.png", "width": 100, "height": 80},
    ],
    "annotations": [
        {
            "id": 11, "image_id": 5, "category_id": 3, "iscrowd": 0, "num_keypoints": 2,
            "keypoints": [10.125, 20.0625, 2, 30.5, 40.001, 1, 7, 8, 0],
            "bbox": [1, 2, 40.5, 50], "area": 900, "segmentation": [[1, 2, 3, 4, 5, 6]],
            "track_id": 4, "score": 0.5,
        },
        {
            "id": 12, "image_id": 6, "category_id": 4, "iscrowd": 1, "num_keypoints": 1,
            "keypoints": [20.7, 30.03, 2, 0, 0, 0], "bbox": [5, 6, 30, 29], "area": 870,
        },
        {
            "id": 20, "image_id": 5, "category_id": 3, "iscrowd": 0, "num_keypoints": 3,
            "keypoints": [50, 60, 2, 61, 62, 1, 70, 75, 2], "bbox": [45, 50, 40, 29], "area": 1160,
            "track_id": "second", "score": 0.25, "note": None,
        },
        {"id": 30, "image_id": 5, "category_id": 90, "bbox": [1, 1, 5, 5], "area": 25},
    ],
    "categories": [
        {
            "id": 3, "name": "bolt", "keypoints": ["head", "tip", "nut"], "supercategory": "part",
            "skeleton": [[1, 2], [2, 3]], "flip_pairs": [["head", "tip"]],
            "sigmas": [0.1, 0.1, 0.2], "colors": ["#ff0000", "#00ff00", "#0000ff"], "maker": "x",
        },
        {"id": 4, "name": "rod", "keypoints": ["head", "end"], "skeleton": [[1, 2]]},
        {"id": 90, "name": "plain"},
    ],
}  # fmt: skip


def field_of(result: FieldResult) -> str:
    """Which of the fields of the table the field of a report is."""
    return next(
        name
        for name, patterns in FIELDS.items()
        if any(fnmatch.fnmatchcase(result.field, pattern) for pattern in patterns)
    )


@pytest.mark.parametrize("name", FORMATS)
def test_every_field_is_said_to_be_kept_or_lost(name: str) -> None:
    row = FORMATS[name]
    assert {*row.keeps, *row.loses} == set(FIELDS)


def test_page_has_the_tables() -> None:
    text = PAGE.read_text(encoding="utf-8")
    marked = re.findall(r"<!-- table: (.*?) -->\n(.*?)\n<!-- end of table -->", text, re.DOTALL)
    expected = {name: fields_table(row) for name, row in FORMATS.items()}
    expected["all"] = formats_table(FORMATS.values())
    assert dict(marked) == expected, "run docs/make_tables.py"


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_file_loses_on_the_way_through_a_format_is_in_the_table(
    name: str, tmp_path: Path
) -> None:
    if FORMATS[name].needs:
        pytest.importorskip(FORMATS[name].needs)
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(FILE))
    report = roundtrip(path, to=name)
    there = {field_of(result) for result in report.fields if result.n}
    assert there == set(FIELDS), "the file has something of each"
    changed = {field_of(result) for result in report.fields if not result.is_kept}
    row = FORMATS[name]
    assert changed <= set(row.loses)
    wholly_lost = set(FIELDS) - set(row.keeps) - {"crowds"}  # which may be left out altogether
    assert wholly_lost <= changed


@pytest.mark.parametrize("source", FORMATS)
def test_from_each_format_to_each_no_more_is_lost_than_the_table_says(
    source: str, tmp_path: Path
) -> None:
    if FORMATS[source].needs:
        pytest.importorskip(FORMATS[source].needs)
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(FILE))
    truth = read(path)
    n_folders = itertools.count()

    def through(dataset: Dataset, name: str) -> Dataset:
        target = tmp_path / str(next(n_folders)) / "labels"
        options = {"ground_truth": dataset} if name == "coco-results" else {}
        return _write_and_read(dataset, target, name, options)[0]

    before = through(truth, source)
    assert len(before.instances) >= 2
    for state in before._images:  # as the image files would tell, of which there are none here
        state.recorded_size = state.recorded_size or (100, 80)
    for name, row in FORMATS.items():
        if row.needs and find_spec(row.needs) is None:
            continue  # as a source it is said to be skipped
        results = compare(before, through(before, name))
        lost = {field_of(result) for result in results if not result.is_kept}
        assert lost <= set(row.loses), f"{source} to {name}"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        pytest.param("via", {"filename": "zz", "size": [1], "regions": 5}, id="via"),
        pytest.param("supervisely", {"objects": 5, "size": 5, "bbox": 5}, id="supervisely"),
        pytest.param("datumaro", {"attr": 5, "annotations": [5]}, id="datumaro"),
        pytest.param("labelme", {"shapes": 5, "imagePath": "zz", "points": 5}, id="labelme"),
        pytest.param("supervisely", 5, id="number"),
    ],
)
def test_what_another_format_has_put_under_the_name_of_one_changes_no_label(
    name: str, kept: Any, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    table = tiny_dataset._table
    tiny_dataset.extra[name] = {"classes": 5, "_via_img_metadata": 5, "kpwidget": 5}
    tiny_dataset._images[0].extra = {name: kept}
    table._columns["extra"][table.row("one")] = {name: kept}
    again, _ = _write_and_read(tiny_dataset, tmp_path / "to" / "labels", name, {})
    assert again.images[0].file_name.rpartition("/")[2] == "a.png"
    visibilities = [instance.keypoints[:, 2].tolist() for instance in again.instances]
    assert visibilities == [i.keypoints[:, 2].tolist() for i in tiny_dataset.instances]


@pytest.mark.parametrize("name", FORMATS)
def test_category_fields_that_mean_something_else_do_not_keep_a_file_from_being_read(
    name: str, tmp_path: Path
) -> None:
    if FORMATS[name].needs:
        pytest.importorskip(FORMATS[name].needs)
    first = FILE["categories"][0] | {"colors": {"head": "#ff0000"}, "sigmas": "of COCO"}
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({**FILE, "categories": [first, *FILE["categories"][1:]]}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they are not used
        dataset = read(path)
        options = {"ground_truth": dataset} if name == "coco-results" else {}
        again, _ = _write_and_read(dataset, tmp_path / "to" / "labels", name, options)
    assert next(c for c in again.categories if c.name == "bolt").n_keypoints == 3
    if name in ("coco", "parquet", "labelme", "huggingface", "via"):  # keep fields of categories
        kept = next(c for c in again.categories if c.name == "bolt").extra
        assert (kept["colors"], kept["sigmas"]) == (first["colors"], first["sigmas"])


@pytest.mark.parametrize("name", FORMATS)
def test_reading_and_writing_have_a_bar_that_comes_up_after_a_second(
    name: str, tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if FORMATS[name].needs:
        pytest.importorskip(FORMATS[name].needs)
    shown: list[bool] = []

    class Bar(tqdm.auto.tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            if not options.get("disable"):
                shown.append(options["delay"] == 1.0)
            super().__init__(*args, **options)

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    monkeypatch.setattr("kpwidget.formats.coco_write._AT_ONCE", 1)
    options = {"ground_truth": tiny_dataset} if name == "coco-results" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # YOLO's, of images that are not there
        _write_and_read(tiny_dataset, tmp_path / "to" / "labels", name, options)
    # COCO is read without one if it is small; Parquet is written as columns, all at once.
    assert len(shown) >= (1 if name in ("coco", "parquet") else 2)
    assert all(shown)


def test_without_a_format_the_ending_tells(tmp_path: Path, tiny_dataset: Dataset) -> None:
    formats.write(tiny_dataset, tmp_path / "labels.json")
    assert formats.detect_format(tmp_path / "labels.json") == "coco"
    with pytest.raises(ValueError, match=r"several formats have files that end in '.xml'"):
        formats.write(tiny_dataset, tmp_path / "labels.xml")
    with pytest.raises(ValueError, match=r"no format has files that end in '.docx'"):
        formats.write(tiny_dataset, tmp_path / "labels.docx")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.json"]
