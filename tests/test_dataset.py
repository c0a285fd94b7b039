from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kpwidget.dataset import Dataset, Problem, find_images
from kpwidget.images import ImageError
from kpwidget.schema import Category, Schema, Visibility

PIXELS = np.zeros((48, 64, 3), np.uint8)


def png(width: int = 64, height: int = 48) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (width, height)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images in an order that differs from that of their names as text, and other files."""
    for name in ("frame_10.png", "frame_2.PNG", "frame_1.jpg", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(png())
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "frame_1.jpg").write_bytes(png(32, 16))
    return tmp_path


# --- keypoints ----------------------------------------------------------------------------------


def test_keypoints_are_read_only_copies_with_nan_where_unlabeled(tiny_dataset: Dataset) -> None:
    instance = tiny_dataset.instance("one")
    keypoints = instance.keypoints
    expected = [[10.5, 8.25, 2], [12, 7, 1], [np.nan, np.nan, 0], [50.5, 40, 2]]
    np.testing.assert_array_equal(keypoints, expected)
    with pytest.raises(ValueError, match="read-only"):
        keypoints[0, 0] = 1
    instance.set_keypoint("nose", 1, 1)
    assert keypoints[0, 0] == 10.5


def test_values_are_kept_exactly(tiny_dataset: Dataset) -> None:
    instance = tiny_dataset.instance("one")
    x, y = 0.1 + 0.2, -1e-300
    instance.set_keypoint("nose", x, y, visibility=1)
    assert instance.keypoints[0].tolist() == [x, y, 1.0]
    instance.set_keypoint(0, np.float64(1e9), np.int32(-5), Visibility.VISIBLE)
    assert instance.keypoints[0].tolist() == [1e9, -5.0, 2.0]


def test_keypoints_of_a_category_follow_the_order_of_instances(tiny_dataset: Dataset) -> None:
    third = tiny_dataset.add_instance("c.png", "bolt", [[1, 2, 2], [3, 4, 2]])
    tiny_dataset.add_instance("b.png", "bolt", [[5, 6, 2], [7, 8, 1]])
    expected = [[[30, 20, 2], [33.125, 18, 1]], [[1, 2, 2], [3, 4, 2]], [[5, 6, 2], [7, 8, 1]]]
    np.testing.assert_array_equal(tiny_dataset.keypoints("bolt"), expected)
    third.remove()
    np.testing.assert_array_equal(tiny_dataset.keypoints(7), expected[::2])
    assert tiny_dataset.keypoints("animal").shape == (1, 4, 3)
    with pytest.raises(ValueError, match=r"say which category: 'animal' \(id 1\), 'bolt'"):
        tiny_dataset.keypoints()


@pytest.mark.parametrize("visibility", [True, 3, -1, 1.5, 2.0, "2", None, np.bool_(True)])
def test_visibility_is_0_1_or_2(tiny_dataset: Dataset, visibility: Any) -> None:
    with pytest.raises(ValueError, match=r"keypoint 'nose': visibility is 0 .* not "):
        tiny_dataset.instance("one").set_keypoint("nose", 1, 1, visibility)
    assert tiny_dataset.instance("one").keypoints[0].tolist() == [10.5, 8.25, 2]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e101, "1", True, None, 10**400, 1j])
def test_coordinates_are_finite_numbers(tiny_dataset: Dataset, value: Any) -> None:
    with pytest.raises(ValueError, match="keypoint 'tail': y is a finite number"):
        tiny_dataset.instance("one").set_keypoint("tail", 1, value)


def test_visibility_0_makes_unlabeled(tiny_dataset: Dataset) -> None:
    instance = tiny_dataset.instance("one")
    instance.set_keypoint("nose", 5, 5, visibility=0)
    np.testing.assert_array_equal(instance.keypoints[0], [np.nan, np.nan, 0])
    assert tiny_dataset.undo_top().label == "clear nose"


def test_unknown_keypoint_is_named_with_the_close_ones(tiny_dataset: Dataset) -> None:
    with pytest.raises(KeyError, match="left_ear.*did you mean.*left_eye"):
        tiny_dataset.instance("one").set_keypoint("left_ear", 1, 1)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param([[1, 2, 2], [np.nan, np.nan, 0]], id="list"),
        pytest.param(np.array([[1, 2, 2], [7, 7, 0]]), id="integers"),
        pytest.param(np.array([[1, 2], [np.nan, np.nan]]), id="xy"),
        pytest.param(np.array([[1, 2, 2], [np.nan] * 3]), id="visibility NaN"),
        pytest.param({"head": (1, 2)}, id="mapping"),
        pytest.param({"head": np.array([1.0, 2.0, 2.0]), "tip": None}, id="mapping of arrays"),
    ],
)
def test_forms_of_keypoints(tiny_dataset: Dataset, given: Any) -> None:
    instance = tiny_dataset.add_instance("b.png", "bolt", given)
    np.testing.assert_array_equal(instance.keypoints, [[1, 2, 2], [np.nan, np.nan, 0]])
    np.testing.assert_array_equal(instance.raw, [[1, 2, 2], [0, 0, 0]])
    assert instance.n_labeled == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[1, 2, 2]], r"expected shape \(2, 3\).*got 1 rows"),
        (np.zeros((3, 3)), r"expected shape \(2, 3\).*got shape \(3, 3\)"),
        (5, r"expected shape \(2, 3\).*got shape \(\)"),
        ([[np.nan, 2, 2], [1, 2, 2]], "keypoint 'head': x is a finite number"),
        ([[1, 2, 2], [1, 2, 1.5]], "keypoint 'tip': visibility is 0"),
        ([[1, 2, True], [1, 2, 1]], "keypoint 'head': visibility is 0"),
        ([[1], 4], r"keypoint 'head': expected \(x, y\).*; keypoint 'tip': expected \(x, y\)"),
        ({"tap": (1, 2)}, r"no keypoint 'tap'; did you mean 'tip'"),
    ],
)
def test_wrong_keypoints_are_refused(tiny_dataset: Dataset, given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_dataset.add_instance("b.png", "bolt", given)
    assert len(tiny_dataset.instances) == 2


def test_all_problems_are_named_at_once(tiny_dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="'head': x is.*'head': y is.*'tip': visibility"):
        tiny_dataset.add_instance("b.png", "bolt", [[np.nan, np.inf, 2], [1, 1, 5]])


# --- instances ----------------------------------------------------------------------------------


def test_new_instance_says_who_and_how(tiny_dataset: Dataset) -> None:
    first = tiny_dataset.instance("one")
    assert (first.annotator, first.source, first.is_finished) == ("ada", "human", True)
    assert (first.id, first.score, first.track_id, first.iscrowd) == (None, None, None, 0)
    assert dict(first.extra) == {}
    other = tiny_dataset.add_instance(
        1, 7, source="model:x", annotator="bob", is_finished=False, track_id=np.int64(3), score=0.5
    )
    assert (other.annotator, other.source, other.is_finished) == ("bob", "model:x", False)
    assert (other.track_id, other.score, other.n_labeled) == (3, 0.5, 0)
    assert len(other.uid) == 12
    int(other.uid, 16)


def test_uid_must_be_free(tiny_dataset: Dataset) -> None:
    with pytest.raises(ValueError, match=r"uid 'one' is taken by Instance\('one', animal"):
        tiny_dataset.add_instance("b.png", "bolt", uid="one")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"uid": ""}, "uid is a non-empty str"),
        ({"score": np.nan}, "score is a finite number"),
        ({"score": "0.5"}, "score is a finite number"),
        ({"track_id": [1]}, "track_id is an integer, text or None"),
        ({"bbox": (1, 2, 3)}, "bbox is .*four finite numbers"),
        ({"bbox": (1, 2, -3, 4)}, "bbox is .*not negative"),
        ({"bbox": 5}, "bbox is .*not 5"),
        ({"bbox": (0, 0, 0, 0)}, "stands for no box in files: pass None"),
        ({"bbox": (0, 0, 1e200, 1)}, "at most 1e\\+100"),
    ],
)
def test_wrong_values_are_refused(
    tiny_dataset: Dataset, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_dataset.add_instance("b.png", "bolt", **wrong)


def test_removed_instance_says_so(tiny_dataset: Dataset) -> None:
    instance = tiny_dataset.instance("one")
    instance.remove()
    for use in (
        lambda: instance.set_keypoint("nose", 1, 1),
        lambda: instance.keypoints,
        lambda: instance.remove(),
        lambda: instance.set_bbox(None),
        lambda: instance.set_finished(False),
        lambda: tiny_dataset.instance("one"),
    ):
        with pytest.raises(KeyError, match="instance 'one' was removed; undo brings it back"):
            use()
    assert repr(instance) == "Instance('one', removed)"
    with pytest.raises(KeyError, match="no instance has the uid 'none'"):
        tiny_dataset.instance("none")


def test_views_of_the_same_thing_are_equal(tiny_dataset: Dataset) -> None:
    assert tiny_dataset.instances[0] == tiny_dataset.instance("one")
    assert len({tiny_dataset.instances[0], tiny_dataset.instance("one")}) == 1
    assert tiny_dataset.instances[0] != tiny_dataset.instances[1]
    assert tiny_dataset.images[0] == tiny_dataset.images["a.png"]
    assert tiny_dataset.images[0] != tiny_dataset.select().copy().images[0]


def test_instances_are_found_by_position_uid_and_slice(tiny_dataset: Dataset) -> None:
    instances = tiny_dataset.instances
    assert [i.uid for i in instances] == ["one", "two"]
    assert instances[-1].uid == instances["two"].uid == "two"
    assert [i.uid for i in instances[1:]] == ["two"]
    assert "one" in tiny_dataset
    assert instances[0] in tiny_dataset
    with pytest.raises(IndexError, match="no instance 2: there are 2"):
        instances[2]
    with pytest.raises(KeyError, match="annotation id 1"):
        instances.by_id(1)
    tiny_dataset._give_ids()
    assert instances.by_id(1).uid == "one"
    instances[0].remove()
    assert "one" not in tiny_dataset
    assert instances[0].uid == "two"
    with pytest.raises(KeyError, match="annotation id 1"):
        instances.by_id(1)


# --- bbox and area ------------------------------------------------------------------------------


def test_derived_bbox_follows_the_keypoints(tiny_dataset: Dataset) -> None:
    instance = tiny_dataset.instance("one")
    assert instance.bbox_source == "derived"
    assert instance.bbox == (10.5, 7.0, 40.0, 33.0)
    assert instance.area == 40 * 33
    instance.set_keypoint("right_eye", 70, 20)  # outside of an image 64 px wide
    assert instance.bbox == (10.5, 7.0, 53.5, 33.0)
    tiny_dataset.undo()
    assert instance.bbox == (10.5, 7.0, 40.0, 33.0)


def test_given_bbox_stays_until_it_is_derived_again(tiny_dataset: Dataset) -> None:
    instance = tiny_dataset.add_instance("b.png", "bolt", [[1, 1, 2], [5, 9, 2]], (0, 0, 20, 10))
    instance.set_keypoint("tip", 40, 40)
    assert (instance.bbox, instance.bbox_source, instance.area) == ((0, 0, 20, 10), "given", 200)
    instance.set_bbox(None)
    assert (instance.bbox, instance.bbox_source) == ((1, 1, 39, 39), "derived")
    tiny_dataset.undo()
    assert instance.bbox == (0, 0, 20, 10)


def test_instance_without_labeled_keypoints_has_no_derived_bbox(tiny_dataset: Dataset) -> None:
    instance = tiny_dataset.add_instance("b.png", "bolt")
    assert (instance.bbox, instance.area) == (None, None)


def test_bbox_of_an_unreadable_image_is_not_clipped(tiny_schema: Schema) -> None:
    dataset = Dataset.from_images({"broken.png": b"not an image"}, tiny_schema)
    instance = dataset.add_instance(0, keypoints={"nose": (-5, 1), "tail": (5, 900)})
    assert instance.bbox == (-5, 1, 10, 899)
    with pytest.raises(ImageError):
        _ = dataset.images[0].size


# --- images and categories ----------------------------------------------------------------------


def test_images_are_found_by_position_name_slice_and_id(tiny_dataset: Dataset) -> None:
    images = tiny_dataset.images
    assert len(tiny_dataset) == len(images) == 3
    assert [image.file_name for image in images] == ["a.png", "b.png", "c.png"]
    assert images[-1].index == images["c.png"].index == images.by_id(3).index == 2
    assert [image.id for image in images[1:]] == [2, 3]
    assert tiny_dataset.image(images[1]) == tiny_dataset.image("b.png")
    assert (images[0].width, images[0].height) == (64, 48)
    with pytest.raises(IndexError, match="no image 3: there are 3 images"):
        images[3]
    with pytest.raises(KeyError, match=r"no image has the file name 'd.png'; there are 'a.png'"):
        images["d.png"]
    with pytest.raises(KeyError, match="no image has the id 9"):
        images.by_id(9)
    with pytest.raises(
        TypeError, match="by its position or file name, several by a slice; got 1.0"
    ):
        images[1.0]
    with pytest.raises(ValueError, match="another dataset"):
        tiny_dataset.image(tiny_dataset.select().copy().images[0])


def test_base_name_is_no_key_but_a_hint(tiny_schema: Schema) -> None:
    dataset = Dataset.from_images({"left/a.png": PIXELS, "right/b.png": PIXELS}, tiny_schema)
    with pytest.raises(KeyError, match="did you mean 'left/a.png'"):
        dataset.images["a.png"]


def test_status_follows_from_instances_unless_done(tiny_dataset: Dataset) -> None:
    statuses = [image.status for image in tiny_dataset.images]
    assert statuses == ["started", "unlabeled", "unlabeled"]
    image = tiny_dataset.images[1]
    image.set_status("done")
    assert (image.status, tiny_dataset.n_done) == ("done", 1)
    image.set_status("unlabeled")
    assert (image.status, tiny_dataset.n_done) == ("unlabeled", 0)
    tiny_dataset.undo()
    assert (image.status, tiny_dataset.n_done) == ("done", 1)
    with pytest.raises(ValueError, match="'unlabeled', 'started' or 'done', not 'finished'"):
        image.set_status("finished")


def test_categories_are_found_by_name_id_and_themselves(tiny_dataset: Dataset) -> None:
    bolt = tiny_dataset.categories[1]
    assert tiny_dataset.category("bolt") is bolt
    assert tiny_dataset.category(7) is bolt
    assert tiny_dataset.category(bolt) is bolt
    for wrong in ("nut", 2, True):
        with pytest.raises(KeyError, match=r"no category has .*'animal' \(id 1\), 'bolt' \(id 7\)"):
            tiny_dataset.category(wrong)
    with pytest.raises(KeyError, match="not of this dataset"):
        tiny_dataset.category(Category(7, bolt.schema, "screw"))
    with pytest.raises(ValueError, match="say which category"):
        tiny_dataset.add_instance(0)


def test_schemas_become_categories_with_free_ids(tiny_schema: Schema) -> None:
    dataset = Dataset([Category(1, tiny_schema, "x"), tiny_schema, Schema("s", ["p"])])
    assert [(c.id, c.name) for c in dataset.categories] == [(1, "x"), (2, "animal"), (3, "s")]
    with pytest.raises(ValueError, match="category id 1 is given more than once"):
        Dataset([Category(1, tiny_schema, "x"), Category(1, tiny_schema, "y")])
    with pytest.raises(TypeError, match="Schema or Category objects, not 'coco17'"):
        Dataset(["coco17"])  # type: ignore[list-item]


def test_annotator_is_the_hub_user_else_the_login_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_USER", "grace")
    assert Dataset().annotator == "grace"
    assert Dataset(annotator="ada").annotator == "ada"
    monkeypatch.delenv("JUPYTERHUB_USER")
    monkeypatch.setenv("LOGNAME", "login")
    assert Dataset().annotator == "login"

    def fail() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", fail)
    assert Dataset().annotator == "unknown"


# --- from_images --------------------------------------------------------------------------------


def test_folder_gives_its_image_files_in_natural_order(folder: Path, tiny_schema: Schema) -> None:
    dataset = Dataset.from_images(folder, tiny_schema)
    names = [image.file_name for image in dataset.images]
    assert names == ["frame_1.jpg", "frame_2.PNG", "frame_10.png"]
    assert [image.id for image in dataset.images] == [1, 2, 3]
    assert dataset.images[0].path == folder / "frame_1.jpg"
    assert dataset.images[0].open().size == (64, 48)


def test_globs_and_lists(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(find_images(str(folder / "*.png"))) == ["frame_10.png"]
    assert list(find_images(f"{folder}/frame*")) == ["frame_1.jpg", "frame_2.PNG", "frame_10.png"]
    assert list(find_images(str(folder / "**" / "*.jpg"))) == ["frame_1.jpg", "inner/frame_1.jpg"]
    assert list(find_images(f"{folder}/*.txt")) == ["notes.txt"]
    monkeypatch.chdir(folder)
    assert list(find_images("*.jpg")) == ["frame_1.jpg"]
    given = ["inner", Path("frame_10.png"), "*.jpg"]
    assert list(find_images(given)) == ["inner/frame_1.jpg", "frame_10.png", "frame_1.jpg"]
    (folder / "a[1].png").write_bytes(png())
    assert list(find_images("a[1].png")) == ["a[1].png"]


def test_same_base_names_are_told_apart_by_their_folders(folder: Path) -> None:
    images = find_images([folder / "frame_1.jpg", folder / "inner" / "frame_1.jpg"])
    assert list(images) == ["frame_1.jpg", "inner/frame_1.jpg"]


def test_file_given_twice_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="given more than once: .*frame_1.jpg"):
        find_images([folder, folder / "inner" / ".." / "frame_1.jpg"])


def test_nothing_found_says_what_was_looked_for_and_what_is_there(
    folder: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError) as error:
        find_images([empty, folder / "inner" / "*.tif", folder / "inner" / "x.png", "gone/*.png"])
    message = str(error.value)
    for part in (
        r"no image files in folder",
        "looked for .jpg, .jpeg, .png",
        "is empty",
        "no image file matches",
        "has 'frame_1.jpg'",
        "no file or folder",
        "there is no folder 'gone'",
    ):
        assert part in message
    with pytest.raises(FileNotFoundError, match="list of images is empty"):
        find_images([])
    with pytest.raises(FileNotFoundError, match="addresses on the web are not fetched"):
        find_images("https://example.org/a.png")


def test_arrays_and_bytes_by_name(tiny_schema: Schema, folder: Path) -> None:
    dataset = Dataset.from_images(
        {"a": PIXELS, "b": png(10, 20), "c": folder / "inner" / "frame_1.jpg"}, tiny_schema
    )
    assert [image.size for image in dataset.images] == [(64, 48), (10, 20), (32, 16)]
    assert [image.path for image in dataset.images[:2]] == [None, None]
    for wrong, message in (
        ({"a": 5}, "'a': int"),
        ([PIXELS], "as a mapping from file name"),
        (PIXELS, "not ndarray"),
    ):
        with pytest.raises(TypeError, match=message):
            find_images(wrong)


def test_sizes_are_read_when_asked_for(tmp_path: Path, tiny_schema: Schema) -> None:
    path = tmp_path / "late.png"
    path.write_bytes(b"")
    dataset = Dataset.from_images(path, tiny_schema)
    path.write_bytes(png(7, 5))
    assert dataset.images[0].size == (7, 5)


# --- select, tables, checks ---------------------------------------------------------------------


def test_selection_is_live_and_edits_go_to_the_dataset(tiny_dataset: Dataset) -> None:
    bolts = tiny_dataset.select(category="bolt")
    assert [i.uid for i in bolts.instances] == ["two"]
    assert [image.file_name for image in bolts.images] == ["a.png"]
    tiny_dataset.add_instance("c.png", "bolt", [[1, 1, 2], [2, 2, 2]], uid="three")
    assert [i.uid for i in bolts.instances] == ["two", "three"]
    assert (len(bolts), bolts.keypoints().shape) == (2, (2, 2, 3))
    assert list(bolts.to_pandas()["uid"]) == ["two", "three"]
    bolts.instances[0].set_keypoint("head", 0, 0)
    assert tiny_dataset.keypoints("bolt")[0, 0].tolist() == [0, 0, 2]


def test_selection_by_image_and_condition(tiny_dataset: Dataset) -> None:
    assert [i.uid for i in tiny_dataset.select(image="a.png", category=1).instances] == ["one"]
    chosen = tiny_dataset.select(image=[2, "b.png"])
    assert [image.index for image in chosen.images] == [1, 2]
    assert chosen.images["c.png"].index == 2
    with pytest.raises(KeyError, match="not in this selection"):
        chosen.images["a.png"]
    many = tiny_dataset.select(where=lambda instance: instance.n_labeled > 2)
    assert [i.uid for i in many.instances] == ["one"]
    with pytest.raises(KeyError, match="no category has the name 'nut'"):
        tiny_dataset.select(category="nut")


def test_selection_by_mask_means_the_instances_of_now(tiny_dataset: Dataset) -> None:
    tiny_dataset.add_instance("b.png", "bolt", [[1, 1, 2], [2, 2, 2]], uid="three", score=0.5)
    table = tiny_dataset.to_pandas()
    many = tiny_dataset.select(where=table["n_labeled"] == 2)
    assert [i.uid for i in many.instances] == ["two", "three"]
    assert [image.file_name for image in many.images] == ["a.png", "b.png"]
    assert many.keypoints("bolt").shape == (2, 2, 3)
    assert list(many.to_pandas()["uid"]) == ["two", "three"]
    assert [
        i.uid for i in tiny_dataset.select(image="b.png", where=[True, True, True]).instances
    ] == ["three"]
    assert [
        i.uid for i in tiny_dataset.select(category="bolt", where=np.arange(3) < 2).instances
    ] == ["two"]
    tiny_dataset.instance("two").remove()
    tiny_dataset.add_instance("b.png", "bolt", uid="four")
    assert [i.uid for i in many.instances] == ["three"]
    copy = many.copy()
    assert ([i.uid for i in copy.instances], len(copy)) == (["three"], 1)
    # A Series knows which row is which, also after its table was sorted.
    backwards = tiny_dataset.to_pandas().sort_values("uid", ascending=False)
    assert [i.uid for i in tiny_dataset.select(where=backwards["uid"] == "four").instances] == [
        "four"
    ]
    assert tiny_dataset.select(image="c.png").copy().select(where=[]).instances == []


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        pytest.param([True], ValueError, "where has 1 values, expected one bool for each of the 2",
                     id="length"),
        pytest.param([1, 0], TypeError, r"shape \(2,\) of int64", id="numbers"),
        pytest.param([[True, False]], TypeError, r"shape \(1, 2\) of bool", id="shape"),
        pytest.param("nose", TypeError, "a callable or a mask.*got 'nose'", id="text"),
        pytest.param(pd.Series([True, False], index=[5, 6]), ValueError, "another index than",
                     id="index"),
        pytest.param([True, None], TypeError, r"of object", id="missing"),
    ],
)  # fmt: skip
def test_wrong_masks_are_refused(
    tiny_dataset: Dataset, where: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        tiny_dataset.select(where=where)


def test_copy_is_detached(tiny_dataset: Dataset) -> None:
    tiny_dataset.images[1].set_status("done")
    whole = tiny_dataset.select().copy()
    assert tiny_dataset.differences(whole) == []
    assert (whole.n_done, whole.uid != tiny_dataset.uid, whole.undo()) == (1, True, None)
    whole.instance("one").set_keypoint("nose", 0, 0)
    assert tiny_dataset.instance("one").keypoints[0, 0] == 10.5
    part = tiny_dataset.select(category="bolt").copy()
    assert ([i.uid for i in part.instances], len(part)) == (["two"], 1)
    part.add_instance("a.png", "animal")
    assert len(part.images[0].instances) == 2


def test_equals_names_what_differs(tiny_dataset: Dataset) -> None:
    other = tiny_dataset.select().copy()
    assert tiny_dataset.equals(other)
    other.instance("one").set_keypoint("nose", 10.5, np.nextafter(8.25, 9))
    assert not tiny_dataset.equals(other)
    assert [d.split(" is ")[0] for d in tiny_dataset.differences(other)] == [
        "instance 'one': keypoints",
        "instance 'one': raw",
    ]


def test_table_has_one_row_per_instance(tiny_dataset: Dataset) -> None:
    tiny_dataset.add_instance("b.png", "bolt", score=0.5)
    table = tiny_dataset.to_pandas()
    assert list(table["image"]) == ["a.png", "a.png", "b.png"]
    assert list(table["n_labeled"]) == [3, 2, 0]
    assert table.loc[0, ["bbox_x", "bbox_y", "bbox_width", "bbox_height"]].tolist() == [
        10.5, 7.0, 40.0, 33.0,
    ]  # fmt: skip
    assert table["bbox_x"].isna().tolist() == [False, False, True]
    assert table["id"].isna().all()
    empty = tiny_dataset.select(image="c.png").to_pandas()
    assert list(empty.columns) == list(table.columns)
    assert len(empty) == 0


def test_table_says_what_the_instances_say(tmp_path: Path, tiny_schema: Schema) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    missing = tmp_path / "gone.png"
    dataset = Dataset.from_images({"a": pixels, "gone": missing}, [tiny_schema, Schema("b", ["k"])])
    for i, (image, category, keypoints, bbox) in enumerate(
        [
            ("a", "animal", {"nose": (60, 3), "tail": (90, -4)}, None),  # clipped to the image
            ("gone", "animal", {"nose": (60, 3), "tail": (90, -4)}, None),  # no image to clip to
            ("a", "animal", {"nose": (60, 3)}, None),
            ("a", "b", [(5, 6, 1)], (1, 2, 3, 4)),
            ("a", "b", None, None),
        ]
    ):
        dataset.add_instance(image, category, keypoints, bbox, track_id=2**62 + 1 if i else None)
    table = dataset.to_pandas()
    boxes = table[["bbox_x", "bbox_y", "bbox_width", "bbox_height"]].to_numpy().tolist()
    # Left at 60, right at the edge 64; top at the edge 0, bottom at 3; a point grows to 1 px.
    assert boxes[:4] == [[60, 0, 4, 3], [60, -4, 30, 7], [59.5, 2.5, 1, 1], [1, 2, 3, 4]]
    assert np.isnan(boxes[4]).all()
    assert [None if np.isnan(b).any() else tuple(b) for b in boxes] == [
        i.bbox for i in dataset.instances
    ]
    assert table["area"].tolist()[:4] == [12, 210, 1, 12]
    assert list(table["bbox_source"]) == ["derived", "derived", "derived", "given", "derived"]
    assert list(table["track_id"]) == [None] + [2**62 + 1] * 4, "not as a float"


def test_validate_finds_what_is_outside_or_empty(tiny_dataset: Dataset) -> None:
    assert tiny_dataset.validate() == []
    tiny_dataset.instance("one").set_keypoint("nose", 64.5, 3)
    tiny_dataset.instance("one").set_keypoint("tail", 0, 0)
    tiny_dataset.add_instance("b.png", "bolt", bbox=(60, 40, 10, 0), uid="flat")
    tiny_dataset.add_instance("c.png", "bolt", [[64, 48, 2], [1, 1, 2]], (60, 40, 10, 2), uid="in")
    assert tiny_dataset.validate() == [
        Problem(
            "a.png", "one", "nose", "(64.5, 3) is outside the image of 64 x 48 px",
            kind="keypoint outside the image",
        ),
        Problem(
            "a.png", "one", "tail",
            "labeled (visibility 2) at (0, 0), which mostly means that it is not",
            kind="keypoint labeled at (0, 0)",
        ),
        Problem(
            "b.png", "flat", None, "no keypoint is labeled", "note",
            "instance without a labeled keypoint",
        ),
        Problem(
            "b.png", "flat", None, "bbox (60, 40, 10, 0) has no size", kind="bbox without a size"
        ),
        Problem(
            "c.png", "in", None, "bbox (60, 40, 10, 2) is partly outside the image of 64 x 48 px",
            kind="bbox partly outside the image",
        ),
    ]  # fmt: skip


def test_what_is_outside_by_rounding_only_is_no_finding(tiny_dataset: Dataset) -> None:
    # COCO's 534.89 + 105.11 is 640.0000001 as it stands there; here 54.89 + 9.12 = 64.01.
    tiny_dataset.add_instance("b.png", "bolt", bbox=(54.89, -2.4e-8, 9.1199, 48.0000001), uid="box")
    tiny_dataset.add_instance(
        "b.png", "bolt", [[64.0099, 48.009, 2], [-0.0099, 1, 2]], uid="points"
    )
    assert {p.level for p in tiny_dataset.validate()} == {"note"}
    tiny_dataset.instance("points").set_keypoint("head", 64.02, 3)
    tiny_dataset.instance("box").set_bbox((-0.02, 1, 1, 1))
    assert [p.instance for p in tiny_dataset.validate() if p.level == "problem"] == [
        "box",
        "points",
    ]


def test_validate_goes_on_where_an_image_is_missing(tiny_schema: Schema, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png())
    dataset = Dataset.from_images(path, tiny_schema)
    dataset.add_instance(0, uid="u")
    os.remove(path)
    found = dataset.validate()
    assert [(p.instance, p.what.split(":")[0]) for p in found] == [
        (None, "its size is not known"),
        ("u", "no keypoint is labeled"),
    ]


def test_repr_is_short_and_html_is_escaped(tiny_dataset: Dataset) -> None:
    expected = "Dataset(images=3, instances=2, categories={animal: 4 keypoints, bolt: 2 keypoints})"
    assert repr(tiny_dataset) == expected
    hostile = Dataset.from_images({"x": PIXELS}, Schema("<script>", ["<b>"]))
    hostile.path = Path("<i>.json")
    text = hostile._repr_html_()
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
    assert "<i>" not in text


def test_html_counts_how_often_each_keypoint_is_visible(tiny_dataset: Dataset) -> None:
    text = tiny_dataset._repr_html_()
    assert "<summary>keypoints of animal</summary>" in text
    # visible, occluded, unlabeled, in one instance.
    for name, counts in (("nose", "100"), ("left_eye", "010"), ("right_eye", "001")):
        cells = "".join(f"<td>{n}</td>" for n in counts)
        assert f"<th style='text-align:left'>{name}</th>{cells}" in text
    many = Dataset(Schema("many", [f"k{i}" for i in range(41)]))
    assert "<details>" not in many._repr_html_()


def test_uid_of_a_removed_instance_can_be_given_again(tiny_dataset: Dataset) -> None:
    first = tiny_dataset.add_instance("b.png", "bolt", [[1, 1, 2], [2, 2, 1]], uid="u", score=0.5)
    first.remove()
    second = tiny_dataset.add_instance("c.png", "animal", {"tail": (9, 9)}, uid="u")
    assert second.keypoints[3].tolist() == [9, 9, 2]
    assert (second.n_labeled, second.score, second.image.file_name) == (1, None, "c.png")
    tiny_dataset.undo()
    tiny_dataset.undo()
    again = tiny_dataset.instance("u")
    assert again.keypoints.tolist() == [[1, 1, 2], [2, 2, 1]]
    assert (again.score, again.image.file_name) == (0.5, "b.png")
