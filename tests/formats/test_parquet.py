from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kpwidget as kp
from kpwidget.dataset import Dataset
from kpwidget.formats import detect_format
from kpwidget.schema import FormatError, Schema
from tests.formats.examples import EXAMPLES, check_example, needs_examples

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: kpwidget[parquet]")
pq = pytest.importorskip("pyarrow.parquet")

ANIMAL = Schema("animal", ["nose", "left_eye", "right_eye", "tail"], [(1, 2), (1, 3), (1, 4)])


@needs_examples
def test_example_of_hugging_face_is_what_the_notes_say() -> None:
    dataset = kp.read(EXAMPLES / "huggingface", schema=ANIMAL)
    check_example(dataset)
    assert [instance.area for instance in dataset.instances] == [1000, 256]
    assert [instance.id for instance in dataset.instances] == [1, 2]
    assert dataset.images[0].open().size == (64, 48)  # the bytes in the file


def test_everything_comes_through(tiny_dataset: Dataset, tmp_path: Path) -> None:
    tiny_dataset.instance("one").set_bbox((8, 5, 44, 37.125))
    for options in ({}, {"partition_by": "category"}, {"partition_by": "file_name"}):
        path = tmp_path / f"labels{len(options)}{options.get('partition_by')}.parquet"
        kp.write(tiny_dataset, path, format="parquet", **options)
        assert detect_format(path) == "parquet"
        again = kp.read(path)
        assert again.categories == tiny_dataset.categories
        assert [i.file_name for i in again.images] == ["a.png", "b.png", "c.png"]
        for one, other in zip(tiny_dataset.instances, again.instances, strict=True):
            np.testing.assert_array_equal(one.keypoints, other.keypoints)
            assert (one.category, one.bbox) == (other.category, other.bbox)
            assert one.bbox_source == other.bbox_source


@needs_examples
def test_coco_file_with_all_its_fields_comes_through(tmp_path: Path) -> None:
    assert kp.roundtrip(EXAMPLES / "coco/person_keypoints.json", to="parquet")


@pytest.mark.parametrize("partition_by", [None, "category"])
def test_duckdb_reads_it_as_it_is(
    partition_by: str | None, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    path = tmp_path / "labels.parquet"
    kp.write(tiny_dataset, path, format="parquet", partition_by=partition_by)
    files = f"{path}/**/*.parquet" if partition_by else str(path)
    found = duckdb.sql(
        "SELECT category, p.x, p.y, p.visibility FROM (SELECT category, position, "
        f"unnest(keypoints) AS p FROM read_parquet('{files}') ORDER BY position)"
    ).fetchall()
    assert found == [
        ("animal", 10.5, 8.25, 2), ("animal", 12, 7, 1), ("animal", None, None, 0),
        ("animal", 50.5, 40, 2), ("bolt", 30, 20, 2), ("bolt", 33.125, 18, 1),
    ]  # fmt: skip


def test_dask_and_polars_read_it_as_it_is(tiny_dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "labels"
    kp.write(tiny_dataset, path, format="parquet", partition_by="category")
    expected = {"animal": 3, "bolt": 2}
    dask = pytest.importorskip("dask.dataframe", reason="dask is not installed")
    table = dask.read_parquet(path).compute()
    assert dict(zip(table["category"].astype(str), table["num_keypoints"], strict=True)) == expected
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frame = polars.read_parquet(path)
    assert dict(frame.select("category", "num_keypoints").iter_rows()) == expected


def test_folder_that_is_not_empty_is_refused(tiny_dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(FileExistsError, match="is not empty"):
        kp.write(tiny_dataset, tmp_path, format="parquet", partition_by="category")
    with pytest.raises(ValueError, match="partition_by is"):
        kp.write(tiny_dataset, tmp_path / "y", format="parquet", partition_by="score")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x"]


# --- hostile --------------------------------------------------------------------------------------


def table(path: Path, head: Any = None, **columns: Any) -> Path:
    """A file with two rows of one category of one keypoint, changed as asked."""
    point = {"x": 1.0, "y": 2.0, "visibility": 2.0}
    content = {
        "file_name": ["a.png", "b.png"], "category_id": [1, 1], "image_position": [0, 1],
        "keypoints": [[point], [point]], **columns,
    }  # fmt: skip
    found = pa.table({key: value for key, value in content.items() if value is not None})
    if head is None:
        head = json.dumps({"categories": [{"id": 1, "name": "bolt", "keypoints": ["head"]}]})
    pq.write_table(found.replace_schema_metadata({"kpwidget": head}), path)
    return path


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        pytest.param({"file_name": [None, "b.png"]}, "'file_name' is None", id="file_name"),
        pytest.param({"category_id": [7, 1]}, "'category_id' is 7", id="category"),
        pytest.param({"keypoints": [[], [{"x": 1.0, "y": 2.0, "visibility": 2.0}]]},
                     "has 0, expected 1 for category 'bolt'", id="short"),
        pytest.param({"keypoints": [[{"x": np.inf, "y": 2.0, "visibility": 2.0}],
                                    [{"x": 1.0, "y": 2.0, "visibility": 2.0}]]},
                     "no number of pixels", id="infinity"),
        pytest.param({"keypoints": [[{"x": np.nan, "y": 2.0, "visibility": 2.0}],
                                    [{"x": 1.0, "y": 2.0, "visibility": 2.0}]]},
                     "no number of pixels", id="nan"),
        pytest.param({"keypoints": [[{"x": 1.0, "y": 2.0, "visibility": 3.0}],
                                    [{"x": 1.0, "y": 2.0, "visibility": 2.0}]]},
                     "visibility that is none", id="visibility"),
        pytest.param({"bbox": [{"x": 1.0, "y": None, "width": 2.0, "height": 1.0}, None]},
                     "'bbox' is", id="bbox"),
        pytest.param({"bbox": [5, None]}, "'bbox' is 5", id="bbox is a number"),
        pytest.param({"keypoints": [[{"x": None, "y": 2.0, "visibility": 2.0}],
                                    [{"x": 1.0, "y": 2.0, "visibility": 2.0}]]},
                     "no number of pixels", id="null x"),
        pytest.param({"keypoints": [[{"x": 1.0, "y": 2.0, "visibility": None}],
                                    [{"x": 1.0, "y": 2.0, "visibility": 2.0}]]},
                     "visibility that is none", id="null visibility"),
        pytest.param({"extra": ["{", None]}, "not JSON", id="extra"),
        pytest.param({"area": [np.inf, None]}, "'area' is inf", id="area"),
    ],
)  # fmt: skip
def test_bad_rows_are_named_and_can_be_left_out(columns: Any, message: str, tmp_path: Path) -> None:
    path = table(tmp_path / "labels.parquet", **columns)
    with pytest.raises(FormatError, match=message):
        kp.read(path)
    with pytest.warns(UserWarning, match=message):
        dataset = kp.read(path, on_error="skip")
    assert "b.png" in [instance.image.file_name for instance in dataset.instances]


@pytest.mark.parametrize(
    ("head", "columns", "message"),
    [
        pytest.param("{", {}, "not JSON", id="torn"),
        pytest.param("[" * 500, {}, "levels|categories|JSON", id="deep"),
        pytest.param("{}", {}, "has no categories", id="none"),
        pytest.param('{"categories": [{"id": 1}]}', {}, "has no name", id="nameless"),
        pytest.param(None, {"keypoints": [1, 2]}, "expected lists of structs", id="numbers"),
        pytest.param(None, {"file_name": None}, "expected the columns", id="column"),
    ],
)
def test_bad_tables_are_refused(head: Any, columns: Any, message: str, tmp_path: Path) -> None:
    path = table(tmp_path / "labels.parquet", head, **columns)
    with pytest.raises(FormatError, match=message):
        kp.read(path, format="parquet", on_error="skip")


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "labels.parquet")
    data = path.read_bytes()
    for bad in (b"", b"PAR1", b"PAR1" + b"\xff" * 40 + b"PAR1", data[:-9], data[:40] + data[-60:]):
        path.write_bytes(bad)
        with pytest.raises(FormatError, match="cannot be read as Parquet"):
            kp.read(path, format="parquet")


def test_small_file_that_would_become_large_is_refused(tmp_path: Path) -> None:
    n = 4_000_000  # of the same point, in one row
    zeros = pa.array(np.zeros(n))
    points = pa.StructArray.from_arrays([zeros] * 3, ["x", "y", "visibility"])
    path = table(
        tmp_path / "labels.parquet", file_name=["a.png"], category_id=[1], image_position=[0],
        keypoints=pa.ListArray.from_arrays([0, n], points),
    )  # fmt: skip
    assert path.stat().st_size < 10_000
    with pytest.raises(FormatError, match="would be 12,000,003 values"):
        kp.read(path)
    n = 300_000  # of the same row
    points = pa.StructArray.from_arrays([zeros[:n]] * 3, ["x", "y", "visibility"])
    path = table(
        tmp_path / "labels.parquet", file_name=["a.png"] * n, category_id=[1] * n,
        image_position=[0] * n, keypoints=pa.ListArray.from_arrays(list(range(n + 1)), points),
    )  # fmt: skip
    assert path.stat().st_size < 20_000
    with pytest.raises(FormatError, match="would be 300,000 rows, expected at most [23]"):
        kp.read(path)


def test_category_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"row 1: 'category_id' is \[1\]"):
        kp.read(table(tmp_path / "labels.parquet", category_id=[[1], [1]]))


def test_path_out_of_the_folder_does_not_open(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "p").mkdir()
    dataset = kp.read(table(tmp_path / "p/labels.parquet", file_name=["../secret.png", "<b>.png"]))
    with pytest.raises(Exception, match="leads out of"):
        dataset.images["../secret.png"].open()
