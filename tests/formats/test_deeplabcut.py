from __future__ import annotations

import csv
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import kpwidget as kp
from kpwidget.dataset import Dataset
from kpwidget.formats import LossError, detect_format
from kpwidget.schema import Category, FormatError, Schema
from tests.formats.examples import DATA, EXAMPLES, check_example, needs_data, needs_examples

HEADER = "scorer,,,me,me,me,me\nbodyparts,,,head,head,tip,tip\ncoords,,,x,y,x,y\n"


def project(folder: Path, table: str, **config: Any) -> Path:
    """A project with one table and pictures a.png, b.png."""
    of_video = folder / "labeled-data" / "clip"
    of_video.mkdir(parents=True)
    (of_video / "CollectedData_me.csv").write_text(table, encoding="utf-8")
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 48)).save(of_video / name)
    content = {
        "Task": "bolt", "scorer": "me", "bodyparts": ["head", "tip"],
        "video_sets": {"clip.mp4": {"crop": "0, 64, 0, 48"}}, **config,
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


def bolts(*tracks: Any) -> Dataset:
    """Two pictures, and in the first a bolt for each track."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    schema = Schema("bolt", ["head", "tip"], [(1, 2)])
    dataset = Dataset.from_images({"a.png": pixels, "b.png": pixels}, schema, annotator="ada")
    for i, track in enumerate(tracks):
        instance = dataset.add_instance("a.png", "bolt", [[1.5 + i, 2, 2], [3.1, 4, 2]])
        dataset._table._columns["track_id"][dataset._table.row(instance.uid)] = track
    return dataset


def by_pandas(path: Path, n_header: int) -> Any:
    import pandas as pd

    return pd.read_csv(path, header=list(range(n_header)), index_col=[0, 1, 2])


# --- reading --------------------------------------------------------------------------------------


@needs_examples
@pytest.mark.parametrize("name", ["deeplabcut", "deeplabcut/config.yaml"])
def test_project_is_what_the_notes_say(name: str) -> None:
    dataset = kp.read(EXAMPLES / name)
    check_example(dataset, name="clip", has_occluded=False, has_boxes=False)
    assert [instance.track_id for instance in dataset.instances] == ["ind1", "ind2"]
    assert dataset.images[1].status == "done"
    assert dataset.images[0].size == (64, 48)


@needs_examples
def test_project_without_config_yaml_is_read() -> None:
    dataset = kp.read(EXAMPLES / "deeplabcut-single")
    check_example(
        dataset, has_occluded=False, has_boxes=False, has_edges=False, n_objects=1, n_images=1
    )


@needs_examples
@pytest.mark.parametrize("name", ["deeplabcut", "deeplabcut-single"])
def test_hdf5_and_csv_are_the_same(name: str) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed: kpwidget[dlc]")
    table = EXAMPLES / name / "labeled-data/clip/CollectedData_labeler.csv"
    assert kp.read(table).equals(kp.read(table.with_suffix(".h5")))


@needs_data
@pytest.mark.parametrize("ending", ["csv", "h5"])
def test_real_project_has_the_numbers_of_its_table(ending: str) -> None:
    if ending == "h5":
        pytest.importorskip("h5py", reason="h5py is not installed: kpwidget[dlc]")
    table = DATA / "dlc-openfield/labeled-data/m4s1/CollectedData_Pranav.csv"
    with table.open(newline="") as file:
        lines = list(csv.reader(file))[3:]
    expected = np.array([[float(cell) for cell in line[1:]] for line in lines])
    dataset = kp.read(table.with_suffix(f".{ending}"))
    assert [image.file_name for image in dataset.images] == [line[0] for line in lines]
    assert len(dataset.instances) == 116
    np.testing.assert_array_equal(dataset.keypoints()[..., :2].reshape(116, 8), expected)
    assert sum(image.path is not None and image.path.is_file() for image in dataset.images) == 12


def test_image_file_without_a_row_is_not_labeled(tmp_path: Path) -> None:
    row = "labeled-data,clip,a.png,1,2,,\n"
    dataset = kp.read(project(tmp_path / "p", HEADER + row))
    assert [(i.file_name, i.status) for i in dataset.images] == [
        ("labeled-data/clip/a.png", "started"),
        ("labeled-data/clip/b.png", "unlabeled"),
    ]


def test_windows_row_names_are_read(tmp_path: Path) -> None:
    table = "scorer,me,me,me,me\nbodyparts,head,head,tip,tip\ncoords,x,y,x,y\n"
    row = "labeled-data\\clip\\a.png,1,2,3,4\n"
    dataset = kp.read(project(tmp_path / "p", table + row))
    assert dataset.images[0].file_name == "labeled-data/clip/a.png"
    assert dataset.images[0].size == (64, 48)


def test_unique_body_parts_are_a_category_of_their_own(tmp_path: Path) -> None:
    table = (
        "scorer,,,me,me,me,me,me,me\nindividuals,,,m1,m1,m2,m2,single,single\n"
        "bodyparts,,,head,head,head,head,corner,corner\ncoords,,,x,y,x,y,x,y\n"
        "labeled-data,clip,a.png,1,2,,,5,6\n"
    )
    folder = project(
        tmp_path / "p", table, multianimalproject=True, bodyparts="MULTI!",
        individuals=["m1", "m2"],
        multianimalbodyparts=["head"], uniquebodyparts=["corner"],
    )  # fmt: skip
    dataset = kp.read(folder)
    assert [c.keypoints for c in dataset.categories] == [("head",), ("corner",)]
    found = [(i.category.name, i.track_id, i.keypoints.tolist()) for i in dataset.instances]
    assert found == [("bolt", "m1", [[1, 2, 2]]), ("single", None, [[5, 6, 2]])]
    changed = [field.field for field in kp.roundtrip(folder).fields if not field.is_kept]
    assert changed == ["images"]  # the one without a row, for image files are left


# --- writing --------------------------------------------------------------------------------------


@needs_examples
def test_example_is_written_as_pandas_reads_it(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    dataset = kp.read(EXAMPLES / "deeplabcut")
    kp.write(dataset, tmp_path / "out", format="deeplabcut", h5=False)
    name = "labeled-data/clip/CollectedData_labeler.csv"
    assert (tmp_path / "out" / name).read_text() == (EXAMPLES / "deeplabcut" / name).read_text()
    frames = [by_pandas(folder / name, 4) for folder in (tmp_path / "out", EXAMPLES / "deeplabcut")]
    pd.testing.assert_frame_equal(*frames)
    assert kp.roundtrip(EXAMPLES / "deeplabcut")


def test_hdf5_is_what_pandas_reads_of_the_csv(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("tables", reason="PyTables is not installed: kpwidget[dlc]")
    kp.write(bolts("anna", "berta"), tmp_path / "out", format="deeplabcut", allow_loss=True)
    table = tmp_path / "out/labeled-data/bolt/CollectedData_ada.csv"
    frame = pd.read_hdf(table.with_suffix(".h5"), key="df_with_missing")
    assert list(frame.columns.names) == ["scorer", "individuals", "bodyparts", "coords"]
    expected = by_pandas(table, 4)
    np.testing.assert_array_equal(frame.to_numpy(), expected.to_numpy())
    assert list(frame.columns) == list(expected.columns)
    assert list(frame.index) == [("labeled-data", "bolt", "a.png")]


def test_one_animal_is_written_with_three_rows_of_header(tmp_path: Path) -> None:
    kp.write(bolts(None), tmp_path / "out", format="deeplabcut", h5=False)
    text = (tmp_path / "out/labeled-data/bolt/CollectedData_ada.csv").read_text()
    assert text == (
        "scorer,,,ada,ada,ada,ada\nbodyparts,,,head,head,tip,tip\ncoords,,,x,y,x,y\n"
        "labeled-data,bolt,a.png,1.5,2.0,3.1,4.0\n"
    )
    config = yaml.safe_load((tmp_path / "out/config.yaml").read_text())
    assert config["bodyparts"] == ["head", "tip"]
    assert config["skeleton"] == [["head", "tip"]]
    assert config["multianimalproject"] is False
    with Image.open(tmp_path / "out/labeled-data/bolt/b.png") as image:
        assert image.size == (64, 48)


def test_tracks_that_are_no_names_are_told(tmp_path: Path) -> None:
    dataset = bolts("anna", 7, "anna")
    with pytest.raises(LossError, match="the track_id of 3 instances"):
        kp.write(dataset, tmp_path / "out", format="deeplabcut")
    assert not (tmp_path / "out").exists()
    kp.write(dataset, tmp_path / "out", format="deeplabcut", allow_loss=True, h5=False)
    again = kp.read(tmp_path / "out")
    assert len({instance.track_id for instance in again.instances}) == 3


def test_instances_of_other_categories_are_told(tiny_dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(LossError) as caught:
        kp.write(tiny_dataset, tmp_path / "out", format="deeplabcut")
    told = {loss.what: loss.n for loss in caught.value.losses}
    assert told["category"] == 1
    assert told["visibility"] == 2
    chosen = tiny_dataset.select(category="bolt")
    kp.write(chosen, tmp_path / "out", format="deeplabcut", allow_loss=True, h5=False)
    assert kp.read(tmp_path / "out").categories[0].keypoints == ("head", "tip")


def test_folder_of_others_is_not_written_to(tmp_path: Path) -> None:
    folder = project(tmp_path / "p", HEADER)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(FileExistsError, match="no DeepLabCut dataset that was written by kpwidget"):
        kp.write(bolts(None), folder, format="deeplabcut", h5=False)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_written_twice_is_the_same(tmp_path: Path) -> None:
    for _ in range(2):
        kp.write(bolts(None), tmp_path / "out", format="deeplabcut", h5=False)
    with pytest.raises(FileExistsError, match="would stay there"):
        kp.write(bolts(None), tmp_path / "out", format="deeplabcut", h5=False, scorer="eve")


# --- hostile --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param("labeled-data,clip,a.png,1,2\n", "has 5 cells, expected 7", id="short"),
        pytest.param("labeled-data,clip,a.png,1,2,3,4,5\n", "has 8 cells, expected 7", id="long"),
        pytest.param("labeled-data,clip,a.png,1,x,3,4\n", "'x' is no number", id="text"),
        pytest.param("labeled-data,clip,a.png,1,inf,3,4\n", "head y is inf", id="infinity"),
        pytest.param("labeled-data,clip,a.png,1,1e300,3,4\n", "expected a number of", id="huge"),
        pytest.param("labeled-data,clip,a.png,1,,3,4\n", "head has x alone", id="half"),
        pytest.param(",,,1,2,3,4\n", "has no image file", id="nameless"),
        pytest.param(
            "labeled-data,clip,a.png,1,2,3,4\nlabeled-data,clip,a.png,1,2,3,4\n",
            "has a row already",
            id="twice",
        ),
    ],
)
def test_bad_rows_are_named_and_can_be_left_out(rows: str, message: str, tmp_path: Path) -> None:
    good = "labeled-data,clip,b.png,1,2,3,4\n"
    folder = project(tmp_path / "p", HEADER + rows + good)
    with pytest.raises(FormatError, match=f"CollectedData_me.csv line [45]: .*{message}"):
        kp.read(folder)
    with pytest.warns(UserWarning, match=message):
        dataset = kp.read(folder, on_error="skip")
    assert len(dataset.skipped) == 1
    assert dataset.images["labeled-data/clip/b.png"].instances[0].keypoints[0, 0] == 1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param("a,b\n1,2\n", "is no table of DeepLabCut", id="other"),
        pytest.param("", "is no table of DeepLabCut", id="empty"),
        pytest.param(
            HEADER.replace("x,y,x,y", "x,y,likelihood,x").replace("tip,tip", "head,tip"),
            "has not all of x, y, likelihood of",
            id="predictions",
        ),
        pytest.param(HEADER.replace("tip,tip", "tip"), "its header has 6 and 7 cells", id="ragged"),
        pytest.param(
            HEADER.replace("me,me,me,me", "me,you,me,me"), "several scorers", id="scorers"
        ),
        pytest.param(HEADER.replace("tip,tip", "head,head"), "more than once", id="repeated"),
        pytest.param(HEADER.replace("head,head", "head,top"), "has not all of x, y of", id="half"),
    ],
)
def test_bad_tables_are_refused(table: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        kp.read(project(tmp_path / "p", table), on_error="skip")


PREDICTED = """scorer,net7,net7,net7,net7,net7,net7
bodyparts,head,head,head,tip,tip,tip
coords,x,y,likelihood,x,y,likelihood
"""


def test_predictions_keep_every_point_and_how_likely_it_is(tmp_path: Path) -> None:
    folder = project(tmp_path / "p", HEADER + "labeled-data,clip,a.png,1,2,3,4\n")
    rows = [f"{n},1.5,2,0.75,{n},4,0.01\n" for n in range(12)]
    rows[3], rows[4] = "3,,,,,,\n", "4,1.5,2,0.5,,,\n"
    (folder / "videos").mkdir()
    path = folder / "videos" / "clipnet7.csv"
    path.write_text(PREDICTED + "".join(rows))
    (folder / "labeled-data/clip/a.png").rename(folder / "labeled-data/clip/img02.png")
    assert detect_format(path) == "deeplabcut"
    dataset = kp.read(path)
    # As DeepLabCut calls extracted frames: ceil(log10(12)) = 2 digits.
    names = [f"labeled-data/clip/img{n:02d}.png" for n in range(12)]
    assert [image.file_name for image in dataset.images] == names
    assert dataset.images[2].open().size == (64, 48)
    assert [len(image.instances) for image in dataset.images] == [1, 1, 1, 0] + 8 * [1]
    assert dataset.images[3].status == "unlabeled"
    unlikely = dataset.images[7].instances[0]
    assert unlikely.keypoints.tolist() == [[1.5, 2, 2], [7, 4, 2]]
    assert unlikely.extra["keypoint_scores"] == [0.75, 0.01]
    assert unlikely.score == pytest.approx(0.38)
    assert unlikely.source == "model:net7"
    alone = dataset.images[4].instances[0]
    assert (alone.score, alone.extra["keypoint_scores"]) == (0.5, [0.5, 0])
    assert dataset.categories[0].name == "bolt"  # of the config.yaml beside it


def test_predictions_of_several_animals_are_tracks(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("tables", reason="PyTables is not installed: kpwidget[dlc]")
    columns = pd.MultiIndex.from_product(
        [["net7"], ["ada", "ben"], ["head"], ["x", "y", "likelihood"]],
        names=["scorer", "individuals", "bodyparts", "coords"],
    )
    rows = [[1.0, 2, 0.5, 3, 4, 1], [np.nan] * 3 + [5, 6, 0.25]]
    frame = pd.DataFrame(rows, columns=columns)
    frame.to_hdf(tmp_path / "blocks.h5", key="df_with_missing", format="table", mode="w")
    with pytest.raises(FormatError, match="not in one block"):  # of integers and of others
        kp.read(tmp_path / "blocks.h5")
    frame = frame.astype(float)
    frame.to_hdf(tmp_path / "clipnet7_el.h5", key="df_with_missing", format="table", mode="w")
    frame.to_csv(tmp_path / "clipnet7_el.csv")
    for ending in ("h5", "csv"):
        dataset = kp.read(tmp_path / f"clipnet7_el.{ending}")
        found = [(i.track_id, i.score, i.keypoints.tolist()) for i in dataset.instances]
        assert found == [
            ("ada", 0.5, [[1, 2, 2]]), ("ben", 1.0, [[3, 4, 2]]), ("ben", 0.25, [[5, 6, 2]]),
        ]  # fmt: skip
    assert [image.file_name for image in dataset.images] == [
        "labeled-data/clip/img0.png", "labeled-data/clip/img1.png",
    ]  # fmt: skip


@pytest.mark.parametrize("cell", ["1_0", "１０", "0x10", "1e400", "inf"])
def test_numbers_are_those_that_pandas_reads(cell: str, tmp_path: Path) -> None:
    folder = project(tmp_path / "p", HEADER + f"labeled-data,clip,a.png,{cell},2,3,4\n")
    with pytest.raises(FormatError, match="is no number|expected a number of pixels"):
        kp.read(folder)


def test_yaml_tags_and_aliases_are_refused(tmp_path: Path) -> None:
    folder = project(tmp_path / "p", HEADER)
    for text in ("scorer: !!python/name:os.system\n", "scorer: &a me\nTask: *a\n"):
        (folder / "config.yaml").write_text(text + "bodyparts: [head, tip]\n")
        with pytest.raises(FormatError, match="is not taken"):
            kp.read(folder, format="deeplabcut")


def test_path_out_of_the_project_does_not_open(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    dataset = kp.read(project(tmp_path / "p", HEADER + "..,..,secret.png,1,2,3,4\n"))
    with pytest.raises(Exception, match="leads out of"):
        dataset.images["../../secret.png"].open()
    with pytest.raises(ValueError, match="leads out of the folder"):
        kp.write(dataset, tmp_path / "out", format="deeplabcut", images="leave", allow_loss=True)


def test_hdf5_that_is_none_or_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "CollectedData_me.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"df_with_missing" * 100)
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: kpwidget[dlc]")
    assert detect_format(path) == "deeplabcut"
    with pytest.raises(FormatError, match="cannot be read as a table of DeepLabCut"):
        kp.read(path)
    path.write_bytes(b"no such thing")
    with pytest.raises(FormatError, match="is no HDF5 file"):
        kp.read(path, format="deeplabcut")
    trap = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (trap,)

    with h5py.File(path, "w") as file:
        table = file.create_dataset(
            "df_with_missing/table", data=np.zeros(1, [("index", "S5"), ("values_block_0", "f8")])
        )
        table.attrs["values_block_0_kind"] = np.bytes_(pickle.dumps(Trap(), 0))
    with pytest.raises(FormatError, match="which is not called"):
        kp.read(path)
    assert not trap.exists()
    path.write_bytes(path.read_bytes().replace(b"TREE", b"XREE"))
    with pytest.raises(FormatError, match="cannot be read as a table of DeepLabCut"):
        kp.read(path, format="deeplabcut")


def test_hdf5_that_links_to_another_file_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: kpwidget[dlc]")
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file.create_dataset("df_with_missing/table", data=np.zeros(3))
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file["df_with_missing/block0_values"] = h5py.ExternalLink("secret.h5", "/block0_values")
    with pytest.raises(FormatError, match="to another file"):
        kp.read(tmp_path / "labels.h5")
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file["df_with_missing"] = h5py.ExternalLink("secret.h5", "/df_with_missing")
    with pytest.raises(FormatError, match="is a link to another file"):
        kp.read(tmp_path / "labels.h5")


def test_schema_gives_order_and_name(tmp_path: Path) -> None:
    folder = project(tmp_path / "p", HEADER + "labeled-data,clip,a.png,1,2,3,4\n")
    schema = Schema("screw", ["tip", "head"])
    dataset = kp.read(folder, schema=schema)
    assert dataset.categories == (Category(1, schema, "screw"),)
    assert dataset.instances[0].keypoints.tolist() == [[3, 4, 2], [1, 2, 2]]
    with pytest.raises(ValueError, match="has no keypoint 'tip'"):
        kp.read(folder, schema=Schema("x", ["head"]))


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        # Of pickle's opcodes: a memo of 2**24 places (LONG_BINPUT), and 2**12 texts in 70 bytes.
        pytest.param(b"\x80\x02]r\xff\xff\xff\x00.", "LONG_BINPUT", id="large memo"),
        pytest.param(b"\x80\x02J\x01\x00\x00\x00.", "BININT", id="number"),
        pytest.param(
            b"\x80\x02]q\x00"
            + b"".join(b"]q%c(h%ch%ce" % (i, i - 1, i - 1) for i in range(1, 12))
            + b"\x85\x85.",
            "its columns are no texts",
            id="lists in lists",
        ),
    ],
)
def test_pickled_columns_of_hdf5_are_texts_or_refused_unread(
    pickled: bytes, message: str, tmp_path: Path
) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: kpwidget[dlc]")
    path = tmp_path / "CollectedData_x.h5"
    with h5py.File(path, "w") as file:
        rows = np.zeros(1, [("index", "S10"), ("values_block_0", "f8", (2,))])
        table = file.create_dataset("df_with_missing/table", data=rows)
        table.attrs["values_block_0_kind"] = np.void(pickled)
    with pytest.raises(FormatError, match=message):
        kp.read(path, format="deeplabcut")


def test_small_hdf5_that_would_become_large_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: kpwidget[dlc]")
    path = tmp_path / "CollectedData_x.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("df_with_missing")
        shape = (20_000, 1_200)  # 192 MB of zeros, in chunks that are not stored
        group.create_dataset("table", shape, "f8", chunks=(1000, 1200), compression="gzip")
        group["table"].attrs["values_block_0_kind"] = np.void(pickle.dumps([("a", "b", "x")]))
    assert path.stat().st_size < 100_000
    with pytest.raises(FormatError, match="has 24000000 values"):
        kp.read(path, format="deeplabcut")


def test_hdf5_of_one_long_name_many_times_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path, n = tmp_path / "CollectedData_x.h5", 10_000
    xy = [[b"me"], [b"p"], [b"x", b"y"]], [[0, 0], [0, 0], [0, 1]]
    names = [[b"labeled-data"], [b"a" * 900_000], [b"i.png"]], np.zeros((3, n), np.int8)  # 9 GB
    with h5py.File(path, "w") as file:
        table = file.create_group("df_with_missing")
        for axis, (levels, labels) in {"axis0": xy, "block0_items": xy, "axis1": names}.items():
            table.attrs[f"{axis}_nlevels"] = 3
            for i in range(3):
                table.create_dataset(f"{axis}_level{i}", data=np.array(levels[i]), compression=9)
                table.create_dataset(f"{axis}_label{i}", data=labels[i], compression=9)
        table.create_dataset("block0_values", data=np.zeros((n, 2)), compression=9)
    assert path.stat().st_size < 100_000
    with pytest.raises(FormatError, match="axis1 has far more text than the file"):
        kp.read(path)


def test_what_python_alone_takes_for_a_number_is_refused(tmp_path: Path) -> None:
    folder = project(tmp_path / "p", HEADER + "labeled-data,clip,a.png,1_0,2,3,4\n")
    with pytest.raises(FormatError, match="'1_0' is no number"):
        kp.read(folder)


def test_project_whose_folder_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    dataset = bolts(None)
    kp.write(dataset, tmp_path / "p", format="deeplabcut", h5=False, allow_loss=True)
    [of_video] = (tmp_path / "p" / "labeled-data").iterdir()
    of_video.rename(tmp_path / "elsewhere")
    of_video.symlink_to(tmp_path / "elsewhere")
    before = {f.name: f.read_bytes() for f in (tmp_path / "elsewhere").iterdir()}
    dataset.instances[0].set_keypoint("head", 9, 9)
    with pytest.raises(FileExistsError, match="'labeled-data/bolt' is a link"):
        kp.write(dataset, tmp_path / "p", format="deeplabcut", h5=False, allow_loss=True)
    assert {f.name: f.read_bytes() for f in (tmp_path / "elsewhere").iterdir()} == before


def test_names_with_control_characters_are_refused_or_given_anew(tmp_path: Path) -> None:
    dataset = bolts("a\rb", ["list"])
    kp.write(dataset, tmp_path / "p", format="deeplabcut", h5=False, allow_loss=True)
    again = kp.read(tmp_path / "p")
    assert [instance.track_id for instance in again.instances] == ["ind1", "ind2"]
    schema = Schema("bolt", ["head", "t\rip"])
    dataset = Dataset.from_images({"a.png": np.zeros((4, 4, 3), np.uint8)}, schema)
    with pytest.raises(ValueError, match=r"rename the keypoints 't\\rip'"):
        kp.write(dataset, tmp_path / "q", format="deeplabcut", h5=False, allow_loss=True)
    assert not (tmp_path / "q").exists()


def test_project_without_a_label_is_read_again(tmp_path: Path) -> None:
    dataset = bolts()
    folder = tmp_path / "p"
    kp.write(dataset, folder, format="deeplabcut", images="leave", h5=False, allow_loss=True)
    assert kp.read(folder).categories[0].keypoints == ("head", "tip")
