from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
import os
import shutil
import sys
import warnings
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import kpwidget as kp
from kpwidget.dataset import Dataset, ImageState
from kpwidget.formats import LossError
from kpwidget.formats.yolo import is_yolo, read_yolo
from kpwidget.formats.yolo_rows import yolo_losses
from kpwidget.formats.yolo_write import write_yolo
from kpwidget.formats.yolo_yaml import label_path
from kpwidget.schema import Category, FormatError, Schema
from tests.formats.examples import DATA, EXAMPLES, needs_data, needs_examples

ANIMAL = Schema(
    "animal",
    ["nose", "left_eye", "right_eye", "tail"],
    [(1, 2), (1, 3), (1, 4)],
    flip_pairs=[("left_eye", "right_eye")],
)

# The example objects, as the notes on formats give them: bbox, and x, y, v of four keypoints.
OBJECT_1 = ((8, 5, 44, 37), [[10.5, 8.25, 2], [12, 7, 1], [0, 0, 0], [50.5, 40, 2]])
OBJECT_2 = ((26, 16, 16, 16), [[30, 20, 2], [33, 18, 2], [28, 18, 1], [40, 30, 1]])
ROW_1 = "0 0.46875 0.4895833333 0.6875 0.7708333333 0.1640625 0.171875 2 0.1875 0.1458333333 1 "
ROW_1 += "0 0 0 0.7890625 0.8333333333 2"
ROW_2 = "0 0.53125 0.5 0.25 0.3333333333 0.46875 0.4166666667 2 0.515625 0.375 2 0.4375 0.375 1 "
ROW_2 += "0.625 0.625 1"

HEADER = {
    "train": "images/train",
    "val": "images/val",
    "kpt_shape": [4, 3],
    "flip_idx": [0, 2, 1, 3],
    "names": {0: "animal"},
    "kpt_names": {0: ["nose", "left_eye", "right_eye", "tail"]},
}


# --- Ultralytics, when it is there ----------------------------------------------------------------


def from_ultralytics(file: str, names: set[str], **given: Any) -> dict[str, Any]:
    """Functions of the installed package, without importing it and what it needs."""
    spec = importlib.util.find_spec("ultralytics")
    if spec is None or spec.origin is None:
        pytest.skip("ultralytics is not installed: pip install --no-deps ultralytics")
    source = (Path(spec.origin).parent / file).read_text(encoding="utf-8")
    body = [
        node
        for node in ast.parse(source).body
        if getattr(node, "name", None) in names
        or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) in names)
    ]
    module = ast.Module([ast.ImportFrom("__future__", [ast.alias("annotations")], 0), *body], [])
    namespace: dict[str, Any] = {"os": os, "np": np, "Path": Path, **given}
    exec(compile(ast.fix_missing_locations(module), file, "exec"), namespace)
    return namespace


@pytest.fixture(scope="module")
def ultralytics() -> dict[str, Any]:
    return from_ultralytics(
        "data/utils.py",
        {"IMG_FORMATS", "VID_FORMATS", "FORMATS_HELP_MSG", "exif_size", "check_image",
         "img2label_paths", "verify_image_label"},
        Image=Image, ImageOps=ImageOps,
    )  # fmt: skip


def verified(ultralytics: dict[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """(n, K, 3) of each image, as Ultralytics takes the folder; fails if it finds fault."""
    [header] = folder.glob("*.yaml")
    content = yaml.safe_load(header.read_text(encoding="utf-8"))
    n_keypoints, n_dims = content["kpt_shape"]
    found = {}
    for split in {content["train"], content.get("val", content["train"])}:
        where = folder / split.removeprefix("../")
        for image in sorted(where.rglob("*.*")):
            [label] = ultralytics["img2label_paths"]([str(image)])
            result = ultralytics["verify_image_label"](
                (str(image), label, "", True, len(content["names"]), n_keypoints, n_dims, False)
            )
            assert result[8] == 0
            assert result[9] == ""
            found[image.relative_to(folder).as_posix()] = result[4]
    return found


# --- builders -------------------------------------------------------------------------------------


def make(folder: Path, labels: dict[str, str | None], **header: Any) -> Path:
    """A YOLO folder with a picture of 64 x 48 px for each label; None for no label file."""
    content = {**HEADER, **header}
    folder.mkdir(parents=True, exist_ok=True)
    kept = {key: value for key, value in content.items() if value is not ...}
    (folder / "data.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")
    for name, text in {"train/one.png": None, "val/two.png": None, **labels}.items():
        image = folder / "images" / name
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(image)
        label = folder / "labels" / Path(name).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            label.write_text(text, encoding="utf-8")
    return folder


def made(*categories: Category, sizes: dict[str, tuple[int, int]] | None = None) -> Dataset:
    """A dataset with black images."""
    dataset = Dataset(categories or [Category(1, ANIMAL, "animal")])
    if sizes is None:
        sizes = {"a.png": (64, 48)}
    for i, (name, (width, height)) in enumerate(sizes.items(), 1):
        dataset._add_image(ImageState(i, name, np.zeros((height, width, 3), np.uint8)))
    return dataset


def write(dataset: Dataset, folder: Path, **options: Any) -> Any:
    return kp.write(dataset, folder, format="yolo-pose", allow_loss=True, **options)


def text_of(folder: Path, name: str = "labels/train/a.txt") -> str:
    return (folder / name).read_text(encoding="utf-8")


def header_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))
    return content


def quiet(path: Path, **options: Any) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return read_yolo(path, **options)


# --- reading the examples -------------------------------------------------------------------------


@needs_examples
@pytest.mark.parametrize("folder", ["yolo-pose", "roboflow-yolov8-pose"])
def test_example_reads_to_its_ground_truth(folder: str) -> None:
    dataset = quiet(EXAMPLES / folder)
    assert len(dataset.instances) == 2
    for instance, (bbox, keypoints) in zip(dataset.instances, [OBJECT_1, OBJECT_2], strict=True):
        # The files have 8 and 10 digits of parts of 64 px.
        np.testing.assert_allclose(instance.bbox, bbox, atol=1e-6)
        np.testing.assert_allclose(instance.raw, keypoints, atol=1e-6)
        assert instance.category.schema.flip_indices.tolist() == [0, 2, 1, 3]
        assert instance.image.size == (64, 48)


@needs_examples
def test_example_has_names_from_its_file_and_says_so_if_there_are_none() -> None:
    assert kp.read(EXAMPLES / "yolo-pose").categories[0].keypoints == ANIMAL.keypoints
    with pytest.warns(
        UserWarning, match="no keypoint names are given for class 'animal'"
    ) as caught:
        dataset = kp.read(EXAMPLES / "yolo-pose-xy")
    assert dataset.categories[0].keypoints == ("0", "1", "2", "3")
    assert caught[0].filename == __file__


@needs_examples
def test_example_with_two_numbers_reads_all_keypoints_as_visible() -> None:
    dataset = kp.read(EXAMPLES / "yolo-pose-xy", schema=ANIMAL)
    [instance] = dataset.instances
    expected = np.array(OBJECT_2[1], float)
    expected[:, 2] = 2
    np.testing.assert_allclose(instance.raw, expected, atol=1e-6)
    assert instance.category.schema is ANIMAL


@needs_examples
def test_roboflow_example_keeps_splits_and_its_own_keys_and_names_the_missing_folder() -> None:
    with pytest.warns(UserWarning, match="data.yaml: ") as caught:
        dataset = kp.read(EXAMPLES / "roboflow-yolov8-pose")
    assert "'test' is '../test/images', and there is no such folder" in str(caught[1].message)
    assert [image.extra["split"] for image in dataset.images] == ["train", "val"]
    assert dataset.images[0].file_name.startswith("train/images/img1_png.rf.")
    assert dataset.extra["roboflow"]["license"] == "CC BY 4.0"
    # Its label file is empty: somebody looked and found nothing.
    assert [image.status for image in dataset.images] == ["started", "done"]


@needs_examples
@pytest.mark.parametrize(
    ("folder", "dims"),
    [("yolo-pose", 3), ("yolo-pose-xy", 2), ("roboflow-yolov8-pose", 3)],
)
def test_example_is_written_with_the_same_label_bytes(
    folder: str, dims: int, tmp_path: Path
) -> None:
    dataset = quiet(EXAMPLES / folder)
    assert yolo_losses(dataset, keypoint_dims=dims) == []
    kp.write(dataset, tmp_path / "out", format="yolo-pose", keypoint_dims=dims)
    labels = sorted(p.relative_to(EXAMPLES / folder) for p in (EXAMPLES / folder).rglob("*.txt"))
    assert labels == sorted(p.relative_to(tmp_path / "out") for p in tmp_path.rglob("*.txt"))
    for label in labels:
        expected = (EXAMPLES / folder / label).read_bytes()
        # Roboflow ends the last line without a newline.
        expected += b"\n" if expected and not expected.endswith(b"\n") else b""
        assert (tmp_path / "out" / label).read_bytes() == expected
    for image in (EXAMPLES / folder).rglob("*.png"):
        copied = tmp_path / "out" / image.relative_to(EXAMPLES / folder)
        assert copied.read_bytes() == image.read_bytes()
    given, got = (header_of(f) for f in (EXAMPLES / folder, tmp_path / "out"))
    for key in ("kpt_shape", "flip_idx", "roboflow"):
        assert got.get(key) == given.get(key)
    assert dataset.differences(quiet(tmp_path / "out")) == []


@needs_data
@pytest.mark.parametrize(
    "folder", ["yolo-coco8-pose", "cvat-skeleton/yolov8_pose_two_values_per_point"]
)
def test_real_files_read_as_ultralytics_reads_them(
    folder: str, ultralytics: dict[str, Any]
) -> None:
    dataset = quiet(DATA / folder)
    expected = verified(ultralytics, DATA / folder)
    assert {image.file_name for image in dataset.images} == set(expected)
    for image in dataset.images:
        theirs = expected[image.file_name]
        theirs = np.concatenate([theirs[..., :2] * image.size, theirs[..., 2:]], axis=-1)
        ours = np.array([instance.raw for instance in image.instances]).reshape(theirs.shape)
        if header_of_any(DATA / folder)["kpt_shape"][1] == 2:
            ours[..., 2] /= 2  # Ultralytics has 1 for present
        # They hold parts as float32.
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert sum(map(len, expected.values())) == len(dataset.instances)


def header_of_any(folder: Path) -> dict[str, Any]:
    [path] = folder.glob("*.yaml")
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


@needs_data
def test_coco8_pose_survives_being_written(tmp_path: Path) -> None:
    dataset = quiet(DATA / "yolo-coco8-pose", schema=kp.schemas.get("coco17"))
    assert len(dataset.instances) == 21  # rows of the eight label files: wc -l
    write(dataset, tmp_path / "out")
    again = quiet(tmp_path / "out", schema=kp.schemas.get("coco17"))
    assert dataset.differences(again) == []
    assert (tmp_path / "out/images/val/000000000110.jpg").stat().st_size > 1000


# --- what is read ---------------------------------------------------------------------------------


def test_background_images_are_unlabeled_and_checked_ones_are_done(tmp_path: Path) -> None:
    folder = make(tmp_path, {"train/x.png": "", "train/y.png": " \n\n", "val/z.png": ROW_1})
    dataset = read_yolo(folder)
    assert {image.file_name: image.status for image in dataset.images} == {
        "images/train/one.png": "unlabeled",
        "images/train/x.png": "done",
        "images/train/y.png": "done",
        "images/val/two.png": "unlabeled",
        "images/val/z.png": "started",
    }
    assert dataset.n_done == 2


def test_blank_lines_bom_and_windows_line_ends_are_taken(tmp_path: Path) -> None:
    folder = make(tmp_path, {"train/x.png": f"\ufeff{ROW_1}\r\n\r\n{ROW_2}\r\n"})
    dataset = read_yolo(folder)
    assert [i.uid for i in dataset.instances] == [
        "yolo:labels/train/x.txt:1",
        "yolo:labels/train/x.txt:3",
    ]


def test_values_that_ultralytics_takes_are_taken(tmp_path: Path) -> None:
    row = "0 1.5 0.5 2 1.25 1.01 -0.01 2 0.5 0.25 0.7 0.25 0.5 0 0 0 0"
    dataset = read_yolo(make(tmp_path, {"train/x.png": row}))
    [instance] = dataset.instances
    # Parts times 64 and 48, by hand; an unlabeled keypoint keeps the location it came with.
    np.testing.assert_allclose(instance.bbox, (32, -6, 128, 60))
    np.testing.assert_allclose(
        instance.raw, [[64.64, -0.48, 2], [32, 12, 0.7], [16, 24, 0], [0, 0, 0]]
    )
    assert np.isnan(instance.keypoints[2, :2]).all()


def test_two_numbers_below_zero_are_an_unlabeled_keypoint(tmp_path: Path) -> None:
    row = "0 0.5 0.5 0.5 0.5 -0.005 -0.005 0.5 0.5 -0.001 0.25 0.25 0.25"
    dataset = read_yolo(make(tmp_path, {"train/x.png": row}, kpt_shape=[4, 2]))
    np.testing.assert_allclose(
        dataset.instances[0].raw, [[0, 0, 0], [32, 24, 2], [-0.064, 12, 0], [16, 12, 2]]
    )


def test_two_zeros_are_visible_at_the_corner_and_said(tmp_path: Path) -> None:
    row = "0 0.5 0.5 0.5 0.5 0 0 0.5 0.5 0 0.25 0 0"
    folder = make(tmp_path, {"train/x.png": row}, kpt_shape=[4, 2])
    with pytest.warns(UserWarning, match="'0 0' stands for 2 keypoints of two numbers"):
        dataset = read_yolo(folder)
    assert dataset.instances[0].keypoints[:, 2].tolist() == [2, 2, 2, 2]


def test_image_size_is_that_of_the_upright_image(tmp_path: Path) -> None:
    folder = make(tmp_path, {})
    exif = Image.Exif()
    exif[274] = 6  # the stored pixels are turned by a quarter
    Image.new("RGB", (64, 48)).save(folder / "images/train/turned.jpg", exif=exif)
    (folder / "labels/train/turned.txt").write_text(ROW_1)
    dataset = read_yolo(folder)
    [instance] = dataset.instances
    assert instance.image.size == (48, 64)
    np.testing.assert_allclose(instance.keypoints[0], (0.1640625 * 48, 0.171875 * 64, 2))


def test_padded_class_has_the_keypoints_of_its_names(tmp_path: Path) -> None:
    row = "1 0.5 0.5 0.5 0.5 0.25 0.25 2 0.5 0.5 1 0 0 0 0 0 0"
    folder = make(
        tmp_path, {"train/x.png": f"{ROW_1}\n{row}"},
        names=["animal", "bolt"], kpt_names={0: list(ANIMAL.keypoints), 1: ["head", "tip"]},
        flip_idx=[1, 0, 3, 2],
    )  # fmt: skip
    dataset = read_yolo(folder)
    bolt = dataset.category("bolt")
    assert (bolt.id, bolt.keypoints) == (2, ("head", "tip"))
    assert bolt.schema.flip_pairs == (("head", "tip"),)
    assert dataset.instances[1].raw.tolist() == [[16, 12, 2], [32, 24, 1]]


def test_schema_gives_names_and_skeleton_by_class(tmp_path: Path) -> None:
    row = "1 0.5 0.5 0.5 0.5 0.25 0.25 2 0.5 0.5 1 0 0 0 0 0 0"
    folder = make(
        tmp_path, {"train/x.png": row}, names=["animal", "bolt"], kpt_names=..., flip_idx=...
    )
    bolt = Schema("bolt", ["head", "tip"], [(1, 2)])
    dataset = read_yolo(folder, schema={"animal": ANIMAL, "bolt": bolt})
    assert [c.schema for c in dataset.categories] == [ANIMAL, bolt]
    assert dataset.instances[0].keypoints.shape == (2, 3)


def test_sigmas_are_read(tmp_path: Path) -> None:
    folder = make(tmp_path, {}, kpt_oks_sigmas=[0.1, 0.2, 0.3, 0.4])
    sigmas = read_yolo(folder).categories[0].schema.sigmas
    assert sigmas is not None
    assert sigmas.tolist() == [0.1, 0.2, 0.3, 0.4]


def test_lists_of_images_and_lists_of_folders_are_read(tmp_path: Path) -> None:
    folder = make(
        tmp_path, {"a/x.png": ROW_1, "b/y.png": ROW_2, "c/z.png": None},
        train=["images/a", "images/b"], val="val.txt",
    )  # fmt: skip
    (folder / "val.txt").write_text("./images/c/z.png\nimages/val/two.png\n")
    dataset = read_yolo(folder)
    assert [(i.file_name, i.extra["split"]) for i in dataset.images] == [
        ("images/a/x.png", "train"),
        ("images/b/y.png", "train"),
        ("images/c/z.png", "val"),
        ("images/val/two.png", "val"),
    ]


def test_one_split_can_be_read_alone(tmp_path: Path) -> None:
    folder = make(tmp_path, {"train/x.png": ROW_1})
    assert [i.file_name for i in read_yolo(folder, split="val").images] == ["images/val/two.png"]
    with pytest.raises(ValueError, match="has no split 'test'; it has 'train', 'val'"):
        read_yolo(folder, split="test")


def test_images_in_two_splits_are_taken_once_and_said(tmp_path: Path) -> None:
    folder = make(tmp_path, {}, val=["images/val", "images/train"])
    with pytest.warns(UserWarning, match="1 image of 'val' in 'train' as well, for instance imag"):
        assert len(read_yolo(folder)) == 2


def test_val_that_names_the_folder_of_train_is_no_repetition(tmp_path: Path) -> None:
    dataset = read_yolo(make(tmp_path, {}, val="images/train"))
    assert [i.extra["split"] for i in dataset.images] == ["train"]


def test_path_that_is_not_there_is_the_folder_of_the_file(tmp_path: Path) -> None:
    folder = make(tmp_path, {}, path="../datasets/elsewhere")
    with pytest.warns(UserWarning, match="'path' is '../datasets/elsewhere', and there is no such"):
        assert len(read_yolo(folder)) == 2


def test_path_within_the_folder_is_the_root(tmp_path: Path) -> None:
    folder = make(tmp_path / "inner", {"train/x.png": ROW_1}, path="inner")
    shutil.move(folder / "data.yaml", tmp_path / "data.yaml")
    assert read_yolo(tmp_path).images[0].file_name == "images/train/one.png"
    assert read_yolo(tmp_path / "data.yaml").instances[0].uid == "yolo:labels/train/x.txt:1"


def test_images_are_found_elsewhere(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", {"train/x.png": ROW_1})
    shutil.move(folder / "images", tmp_path / "pictures")
    (folder / "images").mkdir()
    (folder / "train.txt").write_text("./images/train/x.png\n")
    header = {**HEADER, "train": "train.txt", "val": "images/val"}
    (folder / "data.yaml").write_text(yaml.safe_dump(header))
    (folder / "images/val").mkdir()
    with pytest.raises(FormatError, match="cannot be turned into pixels, which takes the size of"):
        read_yolo(folder)
    dataset = read_yolo(folder, images=tmp_path / "pictures")
    assert dataset.images[0].size == (64, 48)
    assert dataset.images[0].file_name == "images/train/x.png"
    array = np.zeros((480, 640), np.uint8)
    [instance] = read_yolo(folder, images={"x.png": array}).instances
    assert instance.keypoints[0].tolist() == [105, 82.5, 2]


def test_labels_without_images_find_them_elsewhere(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", {"train/x.png": ROW_1})
    shutil.move(folder / "images", tmp_path / "pictures")
    dataset = read_yolo(folder, images=tmp_path / "pictures")
    assert [i.file_name for i in dataset.images] == ["images/train/x.png"]
    assert dataset.images[0].open().size == (64, 48)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/train/a.png", "labels/train/a.txt"),
        ("train/images/a.b.jpg", "train/labels/a.b.txt"),
        ("images/x/images/a.png", "images/x/labels/a.txt"),
        ("pictures/a.png", "pictures/a.txt"),
        ("/data/images/a.png", "/data/labels/a.txt"),
        ("myimages/a.png", "myimages/a.txt"),
    ],
)
def test_label_path_is_that_of_ultralytics(
    image: str, label: str, ultralytics: dict[str, Any]
) -> None:
    assert label_path(image) == label
    absolute = image if image.startswith("/") else f"/root/{image}"
    [theirs] = ultralytics["img2label_paths"]([absolute])
    assert theirs.removeprefix("" if image.startswith("/") else "/root/") == label


def test_labels_stand_beside_images_that_are_not_in_images(tmp_path: Path) -> None:
    folder = make(tmp_path, {}, train="pictures", val="pictures")
    (folder / "pictures").mkdir()
    Image.new("RGB", (64, 48)).save(folder / "pictures/a.png")
    (folder / "pictures/a.txt").write_text(ROW_1)
    assert read_yolo(folder).instances[0].uid == "yolo:pictures/a.txt:1"


def test_folder_and_file_are_told_by_their_content(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", {})
    (tmp_path / "other.yaml").write_text("names: [a]\n")
    (tmp_path / "broken.yaml").write_text("kpt_shape: [1, 3\n")
    assert is_yolo(folder)
    assert is_yolo(folder / "data.yaml")
    assert not is_yolo(tmp_path)
    assert not is_yolo(tmp_path / "other.yaml")
    assert not is_yolo(tmp_path / "broken.yaml")
    assert not is_yolo(tmp_path / "missing")
    assert kp.formats.detect_format(folder) == "yolo-pose"


# --- bad rows -------------------------------------------------------------------------------------

BOX = "0 0.5 0.5 0.5 0.5"
POINTS = "0.5 0.5 2 0.5 0.5 2 0.5 0.5 2 0.5 0.5 2"

BAD_ROWS = [
    pytest.param(
        BOX,
        "expected 17 numbers (class, 4 of the bbox, 3 for each of 4 keypoints), got 5: "
        "'0 0.5 0.5 0.5 0.5'",
        id="box only",
    ),
    pytest.param(f"{BOX} {POINTS} 7", "expected 17 numbers", id="one too many"),
    pytest.param(
        f"{BOX} 1.02 {POINTS[4:]}", "x of keypoint 0 is '1.02', expected -0.01 to 1.01", id="x high"
    ),
    pytest.param(
        f"{BOX} {POINTS[:-5]}-0.011 2",
        "y of keypoint 3 is '-0.011', expected -0.01 to 1.01",
        id="y low",
    ),
    pytest.param(f"{BOX} {POINTS[:-1]}-1", "visibility of keypoint 3 is '-1', expected 0 to 2",
                 id="v -1"),
    pytest.param(f"{BOX} {POINTS[:-1]}3", "visibility of keypoint 3 is '3', expected 0 to 2",
                 id="v 3"),
    pytest.param(f"0 -0.02 0.5 0.5 0.5 {POINTS}", "bbox cx is '-0.02', expected -0.01 or more",
                 id="cx"),
    pytest.param(f"0 0.5 0.5 -0.001 0.5 {POINTS}", "bbox width is '-0.001', expected 0 or more",
                 id="width"),
    pytest.param(f"1 0.5 0.5 0.5 0.5 {POINTS}", "class is '1', expected a whole number in 0..0",
                 id="class too high"),
    pytest.param(f"0.5 0.5 0.5 0.5 0.5 {POINTS}", "class is '0.5', expected a whole number",
                 id="class 0.5"),
    pytest.param(f"-1 0.5 0.5 0.5 0.5 {POINTS}", "class is '-1', expected", id="class -1"),
    pytest.param(f"animal 0.5 0.5 0.5 0.5 {POINTS}", "class is 'animal', expected a number",
                 id="text"),
    pytest.param(f"{BOX} nan {POINTS[4:]}", "x of keypoint 0 is 'nan', expected a number",
                 id="nan"),
    pytest.param(f"0 0.5 0.5 inf 0.5 {POINTS}", "bbox width is 'inf', expected a number", id="inf"),
    pytest.param(f"{BOX} 0_5 {POINTS[4:]}", "x of keypoint 0 is '0_5', expected a number",
                 id="underscore"),
    pytest.param(f"{BOX} ٠ {POINTS[4:]}", "x of keypoint 0 is '٠', expected a number",
                 id="other digits"),
    pytest.param(f"{BOX} <a> {POINTS[4:]}", "x of keypoint 0 is '<a>'", id="markup"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "message"), BAD_ROWS)
def test_bad_row_is_named_with_what_was_expected(row: str, message: str, tmp_path: Path) -> None:
    folder = make(tmp_path, {"train/x.png": f"{ROW_1}\n{row}\n{ROW_2}\n"})
    with pytest.raises(FormatError) as caught:
        read_yolo(folder)
    [problem, count] = caught.value.problems
    assert problem.startswith(f"{folder / 'data.yaml'}: labels/train/x.txt line 2: ")
    assert message in problem
    assert count.endswith("1 problem; on_error='skip' leaves them out")


@pytest.mark.parametrize(("row", "message"), BAD_ROWS)
def test_bad_row_is_left_out_on_request(row: str, message: str, tmp_path: Path) -> None:
    folder = make(tmp_path, {"train/x.png": f"{ROW_1}\n{row}\n{ROW_2}\n", "train/y.png": row})
    with pytest.warns(UserWarning, match="left out, 2 problems"):
        dataset = read_yolo(folder, on_error="skip")
    assert [i.uid.rpartition(":")[2] for i in dataset.instances] == ["1", "3"]
    assert len(dataset.skipped) == 2
    assert message in dataset.skipped[0]
    # A file with rows that are no good does not say that there is nothing.
    assert dataset.image("images/train/y.png").status == "unlabeled"


@pytest.mark.parametrize(
    ("row", "_message"),
    # These are numbers to numpy, and Ultralytics takes no second look at what they say.
    [p for p in BAD_ROWS if p.id not in ("inf", "underscore", "other digits", "v 3")],
)
def test_ultralytics_refuses_the_same_rows(
    row: str, _message: str, tmp_path: Path, ultralytics: dict[str, Any]
) -> None:
    folder = make(tmp_path, {"train/x.png": f"{ROW_1}\n{row}\n{ROW_2}\n"})
    result = ultralytics["verify_image_label"](
        (str(folder / "images/train/x.png"), str(folder / "labels/train/x.txt"), "", True, 1, 4, 3,
         False)
    )  # fmt: skip
    assert result[8] == 1


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    labels = {
        "train/x.png": f"{BOX}\n3 2 -1 {POINTS} 9 9\n",
        "val/y.png": f"0 0 0 0 0 2 2 2 {POINTS}",
    }
    folder = make(tmp_path, {**labels, "train/z.png": f"7 -1 0.5 0.5 0.5 {POINTS}"})
    with pytest.raises(FormatError) as caught:
        read_yolo(folder)
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    assert "class is '7', expected a whole number in 0..0; bbox cx is '-1'" in lines[3]


def test_repeated_rows_are_named(tmp_path: Path, ultralytics: dict[str, Any]) -> None:
    folder = make(
        tmp_path, {"train/x.png": f"{ROW_1}\n{ROW_2}\n{ROW_1.replace('0.46875', '0.468750')}"}
    )
    with pytest.raises(
        FormatError, match="line 3: is the same as line 1, expected each object once"
    ):
        read_yolo(folder)
    with pytest.warns(UserWarning, match="left out"):
        assert len(read_yolo(folder, on_error="skip").instances) == 2
    result = ultralytics["verify_image_label"](
        (str(folder / "images/train/x.png"), str(folder / "labels/train/x.txt"), "", True, 1, 4, 3,
         False)
    )  # fmt: skip
    assert "1 duplicate labels removed" in result[9]


def test_padding_that_is_labeled_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path, {"train/x.png": f"{BOX} {POINTS}"}, kpt_names={0: ["a", "b", "c"]},
                  flip_idx=...)  # fmt: skip
    with pytest.raises(
        FormatError, match="keypoint 3 is labeled, expected the 3 of class 'animal'"
    ):
        read_yolo(folder)


def test_labels_without_an_image_are_named(tmp_path: Path) -> None:
    folder = make(tmp_path, {"train/x.png": ROW_1})
    (folder / "images/train/x.png").rename(folder / "images/train/x.gif")
    (folder / "labels/train/classes.txt").write_text("animal\n")
    with pytest.raises(
        FormatError, match="x.txt: there is no image images/train/x.jpg, .png, ... fo"
    ):
        read_yolo(folder)


def test_two_images_with_one_label_file_are_named(tmp_path: Path) -> None:
    folder = make(tmp_path, {"train/x.png": ROW_1, "train/x.jpg": None})
    with pytest.raises(
        FormatError,
        match="images/train/x.png: has the label file labels/train/x.txt, which belongs to images/",
    ):
        read_yolo(folder)


def test_label_of_a_damaged_image_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path, {"train/x.png": f"{ROW_1}\n{ROW_2}", "train/y.png": ROW_1})
    (folder / "images/train/x.png").write_bytes(b"no image")
    with pytest.raises(
        FormatError, match="labels/train/x.txt: its 2 rows cannot be turned into pix"
    ):
        read_yolo(folder)
    with pytest.warns(UserWarning, match="left out"):
        dataset = read_yolo(folder, on_error="skip")
    assert [i.uid for i in dataset.instances] == ["yolo:labels/train/y.txt:1"]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path, {}, val="images/nowhere")
    with pytest.raises(
        FormatError, match="'val' is 'images/nowhere': there is no such folder or li"
    ):
        read_yolo(folder)


def test_schema_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path, {})
    five = Schema("five", list("abcde"))
    with pytest.raises(
        ValueError, match=r"schema 'five' for class 'animal': expected 4 keypoints \["
    ):
        read_yolo(folder, schema=five)
    with pytest.raises(ValueError, match="there is no class 'cat', the classes are 'animal'"):
        read_yolo(folder, schema={"cat": ANIMAL})
    other = make(tmp_path / "other", {}, kpt_names=...)
    with pytest.raises(ValueError, match="expected at most 4 keypoints"):
        read_yolo(other, schema=five)


def test_unknown_on_error_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on_error is 'raise' or 'skip', not 'ignore'"):
        read_yolo(make(tmp_path, {}), on_error="ignore")  # type: ignore[arg-type]


# --- data.yaml ------------------------------------------------------------------------------------

BAD_HEADERS = [
    ({"kpt_shape": ...}, "'kpt_shape': expected [number of keypoints, 2 or 3], for instance"),
    ({"kpt_shape": [4, 4]}, "got [4, 4]"),
    ({"kpt_shape": [0, 3]}, "'kpt_shape': expected"),
    ({"kpt_shape": [True, 3]}, "'kpt_shape': expected"),
    ({"kpt_shape": [10**9, 3]}, "'kpt_shape': expected"),
    ({"names": ...}, "'names': expected the names of the classes, got nothing"),
    ({"names": "animal"}, "'names' = 'animal': expected a list or a mapping from class number"),
    ({"names": {1: "animal"}}, "'names': expected classes 0, 1, 2, ... without a gap, got 1"),
    ({"names": [True]}, "'names': class 0 is True, expected text; put it in quotes"),
    ({"nc": 2}, "'nc' is 2, but 'names' has 1 names"),
    ({"nc": "many"}, "'nc' = 'many': expected the number of classes"),
    ({"flip_idx": [0, 1]}, "'flip_idx' = [0, 1]: expected the numbers 0 to 3, each once"),
    ({"flip_idx": [0, 1, 1, 2]}, "expected the numbers 0 to 3, each once"),
    ({"flip_idx": [1, 2, 0, 3]}, "keypoints change places in pairs, but 0 becomes 1 and that"),
    ({"kpt_names": {0: list("abcde")}}, "'kpt_names': class 0 ('animal') has ['a', 'b', 'c', 'd'"),
    ({"kpt_names": {0: ["a", "a"]}}, "expected at most 4 names of keypoints, each once"),
    ({"kpt_names": {0: ["a", None]}}, "expected at most 4 names of keypoints"),
    ({"kpt_names": {3: ["a"]}}, "'kpt_names' has the key 3, expected class numbers in 0..0"),
    ({"kpt_names": "a"}, "'kpt_names' = 'a': expected a list or a mapping"),
    ({"kpt_oks_sigmas": [1, 2]}, "'kpt_oks_sigmas' = [1, 2]: expected 4 numbers above 0"),
    ({"train": ..., "val": ...}, "expected 'train' and 'val', the folders of the images, got nei"),
    ({"train": 3}, "'train' = 3: expected a folder, a .txt list of images, or a list of these"),
    ({"train": ["a", 3]}, "expected a folder, a .txt list"),
    ({"path": 3}, "'path' = 3: expected the name of a folder"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_HEADERS)
def test_bad_data_yaml_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = make(tmp_path, {}, **changes)
    with pytest.raises(FormatError) as caught:
        read_yolo(folder, on_error="skip")
    assert str(caught.value).startswith(f"{folder / 'data.yaml'}: ")
    assert message in str(caught.value)


def test_all_that_is_wrong_with_data_yaml_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path, {}, names=[None, 1.5], flip_idx=[9], kpt_names=[["a"], 3])
    with pytest.raises(FormatError) as caught:
        read_yolo(folder)
    assert len(caught.value.problems) == 4


def aliases(depth: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, depth)]
    return "\n".join(lines)


HOSTILE = [
    pytest.param(aliases(12), "line 2: the alias *a0 is not taken; write the value out", id="bomb"),
    pytest.param("a: &x 1\n<<: *x", "line 2: the alias *x is not taken", id="merge"),
    pytest.param("!!python/object/apply:os.system ['true']",
                 "ply:os.system' is not taken; expected plain text", id="object"),
    pytest.param("a: !!python/name:os.system x", "is not taken; expected plain text", id="name"),
    pytest.param("a: !!binary aGk=", "is not taken", id="binary"),
    pytest.param("a: !custom x", "the tag '!custom' is not taken", id="custom"),
    pytest.param("a: " + "[" * 1000 + "]" * 1000, "nested more than 20 levels deep", id="deep"),
    pytest.param("a: " + "[" * 200_000, "nested more than 20 levels deep", id="very deep"),
    pytest.param("\n".join(["? a"] * 3), "line 2: the key 'a' is given twice", id="twice"),
    pytest.param("names: [a]\nnames: [b]", "line 2: the key 'names' is given twice", id="names"),
    pytest.param("a: [1", "not YAML: line", id="cut short"),
    pytest.param("a: b\x00c", "not YAML: ", id="control character"),
    pytest.param("--- a\n--- b\n", "not YAML: ", id="two documents"),
    pytest.param("a: 2024-99-99", "not usable as YAML: month must be in 1..12", id="no date"),
    pytest.param("a: " + "9" * 5000, "of 5000 characters is not taken", id="long number"),
    pytest.param("- a", "such as 'train', 'names' and 'kpt_shape', got list", id="list"),
    pytest.param("", "such as 'train', 'names' and 'kpt_shape', got nothing", id="empty"),
    pytest.param("a: " + "x" * 1_000_001, "expected a data.yaml of at most 1000000", id="large"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), HOSTILE)
def test_hostile_yaml_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(FormatError) as caught:
        read_yolo(tmp_path / "data.yaml")
    assert message in str(caught.value)
    assert is_yolo(tmp_path) is False


def test_yaml_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_bytes(b"names: [\xff]")
    with pytest.raises(FormatError, match="byte 8: not UTF-8"):
        read_yolo(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no such file or folder"):
        read_yolo(tmp_path / "nothing")
    os.remove(tmp_path / "data.yaml")
    with pytest.raises(
        FormatError, match=r"expected one data.yaml in this folder, got no file data"
    ):
        read_yolo(tmp_path)


def test_what_a_header_would_run_or_coco_would_mistake_is_not_kept(tmp_path: Path) -> None:
    folder = make(
        tmp_path, {}, download="import os", images=["x"], mine={"a": [1, None], 2: "b"},
        limit=float("inf"),
    )  # fmt: skip
    with pytest.warns(UserWarning, match="is not kept") as caught:
        dataset = read_yolo(folder)
    assert dataset.extra == {"mine": {"a": [1, None], "2": "b"}}
    texts = " ".join(str(warning.message) for warning in caught)
    assert "'download' is not kept" in texts
    assert "the key 'images' is not kept" in texts
    assert "the key 'limit' is not kept: inf is not a number that JSON has" in texts


# --- nothing outside ------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the dataset that a hostile one points to."""
    secret = make(tmp_path / "secret", {"train/x.png": "root:x:0:0"})
    return secret


def check_outside(folder: Path, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        read_yolo(folder)
    assert message in str(caught.value)
    assert "allow_outside=True" in str(caught.value)
    assert "root:x" not in str(caught.value)


def test_absolute_and_climbing_folders_are_refused(tmp_path: Path, outside: Path) -> None:
    folder = make(tmp_path / "set", {}, train=str(outside / "images/train"))
    check_outside(folder, "which leads out of the dataset to")
    folder = make(tmp_path / "set", {}, train="../secret/images/train")
    check_outside(folder, "'train' is '../secret/images/train', which leads out of the dataset to")
    folder = make(tmp_path / "set", {}, path="../secret")
    check_outside(folder, "'path' is '../secret', which leads out of the folder of the file")


def test_outside_is_read_with_leave(tmp_path: Path) -> None:
    make(tmp_path / "other", {"train/x.png": ROW_1})
    folder = make(tmp_path / "set", {}, train="../other/images/train")
    dataset = read_yolo(folder, allow_outside=True)
    assert dataset.images[1].file_name == "../other/images/train/x.png"
    assert dataset.images[1].open().size == (64, 48)
    assert len(dataset.instances) == 1


def test_list_of_images_outside_is_refused(tmp_path: Path, outside: Path) -> None:
    folder = make(tmp_path / "set", {}, train="train.txt")
    (folder / "train.txt").write_text(
        f"{outside}/images/train/x.png\n./../secret/images/train/x.png"
    )
    check_outside(
        folder, "train.txt: 2 lines with an image outside of the dataset, the first is line 1"
    )


def test_list_with_lines_that_are_no_images_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", {}, train="train.txt")
    (folder / "train.txt").write_text("./images/train/one.png\n/etc/passwd\nhttp://x/a.png\n")
    with pytest.raises(
        FormatError, match="train.txt line 2: '/etc/passwd' is no image file that Ul"
    ):
        read_yolo(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right that users lack there")
def test_links_out_of_the_folder_are_refused(tmp_path: Path, outside: Path) -> None:
    folder = make(tmp_path / "set", {"train/x.png": None})
    (folder / "labels/train/x.txt").symlink_to(outside / "labels/train/x.txt")
    check_outside(folder, "labels/train: 1 link out of the dataset, for instance labels/train/x")
    os.remove(folder / "labels/train/x.txt")
    (folder / "images/train/deep").symlink_to(outside / "images")
    check_outside(folder, "images/train: 1 link out of the dataset")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right that users lack there")
def test_links_in_a_circle_end(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", {})
    (folder / "images/train/again").symlink_to(folder / "images/train")
    assert len(read_yolo(folder)) == 2


# --- losses ---------------------------------------------------------------------------------------


def losses_of(dataset: Dataset, **options: Any) -> dict[str, str]:
    return {loss.what: str(loss) for loss in yolo_losses(dataset, **options)}


def test_dataset_that_yolo_holds_has_no_losses() -> None:
    plain = Schema("animal", ANIMAL.keypoints, flip_pairs=ANIMAL.flip_pairs, sigmas=[0.1] * 4)
    dataset = made(Category(1, plain, "animal"))
    dataset.add_instance("a.png", keypoints=OBJECT_1[1], bbox=OBJECT_1[0])
    assert yolo_losses(dataset) == []


def test_losses_stand_in_the_order_of_the_file(tmp_path: Path) -> None:
    fields = ["zeta", "beta", "iota", "alpha", "kappa", "eta", "theta", "mu"]
    more = dict.fromkeys(fields, 1)
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48, **more}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "keypoints": [1, 2, 2],
                         "bbox": [1, 1, 5, 5], "area": 25, **more}],
        "categories": [{"id": 1, "name": "x", "keypoints": ["a"], "skeleton": [], **more}],
    }))  # fmt: skip
    found = [loss for loss in yolo_losses(kp.read(path)) if loss.what in fields]
    assert [loss.what for loss in found] == fields * 3
    assert [loss.text for loss in found[::8]] == [
        "the field 'zeta' of 1 instance",
        "the field 'zeta' of 1 image",
        "the field 'zeta' of 1 category",
    ]


def test_what_has_no_place_is_named_with_counts() -> None:
    painted = Schema("animal", ANIMAL.keypoints, ANIMAL.skeleton, colors=["#0072b2"] * 4)
    dataset = made(Category(3, painted, "animal", "thing", {"mine": 1}))
    dataset._images[0].id = 7
    dataset._images[0].extra = {"license": 1, "split": "train"}
    dataset.info, dataset.extra = {"year": 2026}, {"nc": 3, "roboflow": {"a": 1}}
    dataset.add_instance(0, keypoints=OBJECT_1[1], uid="one", track_id=4, score=0.5)
    dataset._table.extend(
        uids=["two", "three"], image=np.array([0, 0]), category=np.array([0, 0]),
        keypoints={0: np.array([OBJECT_2[1], OBJECT_1[1]], float)},
        bbox=np.array([OBJECT_2[0]] * 2),
        area=np.array([256, 255.0]), iscrowd=np.array([0, 1]), id=np.array([11, 12]),
        extra=np.array([{"segmentation": [], "x": 1}, {"x": 2}]), source="imported",
    )  # fmt: skip
    assert losses_of(dataset) == {
        "iscrowd": "1 instance standing for a crowd would be left out ('three' in 'a.png')",
        "id": "the annotation ids of 2 instances (11 of 'two'; 12 of 'three')",
        "image id": "the ids of 1 image (read again, they are 1, 2, ...)",
        "category id": "the ids of 1 category (read again, they are 1, 2, ...)",
        # The area of 'two' is that of its bbox, 16 x 16, and comes back.
        "area": "the areas of 1 instance (255.0 of 'three')",
        "track_id": "the track_id of 1 instance (4 of 'one')",
        "score": "the scores of 1 instance (0.5 of 'one')",
        "x": "the field 'x' of 2 instances",
        "segmentation": "the field 'segmentation' of 1 instance",
        "license": "the field 'license' of 1 image",
        "skeleton": "the 3 edges of the skeletons ('animal')",
        "colors": "the field 'colors' of 1 category",
        "supercategory": "the field 'supercategory' of 1 category",
        "mine": "the field 'mine' of 1 category",
        "info": "'info' of the dataset",
        "extra": "1 field of the dataset ('nc')",
    }


@needs_examples
def test_fields_of_a_coco_file_are_named(tmp_path: Path) -> None:
    dataset = kp.read(EXAMPLES / "coco/person_keypoints.json")
    content = json.loads((EXAMPLES / "coco/person_keypoints.json").read_text())
    losses = losses_of(dataset, images="leave")
    assert losses["segmentation"] == "the field 'segmentation' of 2 instances"
    fields = set(content["images"][0]) - {"id", "file_name", "width", "height"}
    assert fields
    for key in fields:
        assert losses[key] == f"the field {key!r} of 2 images"
    with pytest.raises(LossError, match="the field 'segmentation' of 2 instances"):
        kp.write(dataset, tmp_path / "out", format="yolo-pose", images="leave")
    assert not (tmp_path / "out").exists()


def test_keypoints_outside_the_image_become_unlabeled(tmp_path: Path) -> None:
    dataset = made()
    # 64 x 48 px: parts up to 1.01 are 64.64 and 48.48 px.
    points = [[64.6, 48.4, 2], [64.7, 10, 2], [10, -0.5, 1], [-0.7, 4, 1]]
    dataset.add_instance(0, keypoints=points, bbox=(0, 0, 64, 48), uid="one")
    assert losses_of(dataset)["outside"] == (
        "3 keypoints outside the image would become unlabeled ('left_eye' of 'one' in 'a.png'; "
        "'right_eye' of 'one' in 'a.png'; 'tail' of 'one' in 'a.png')"
    )
    write(dataset, tmp_path / "out")
    assert text_of(tmp_path / "out").split()[5:] == ["1.009375", "1.0083333333", "2", *"000000000"]


def test_two_numbers_lose_visibility_and_unlabeled_keypoints(tmp_path: Path) -> None:
    dataset = made()
    dataset.add_instance(0, keypoints=OBJECT_1[1], bbox=OBJECT_1[0], uid="one")
    losses = losses_of(dataset, keypoint_dims=2)
    assert losses["visibility"] == (
        "1 keypoint with visibility 1 would become 2 ('left_eye' of 'one' in 'a.png')"
    )
    assert losses["unlabeled"].startswith(
        "1 keypoint without a label would be written as '-0.005 -0.005'"
    )
    write(dataset, tmp_path / "out", keypoint_dims=2)
    row = "0.1640625 0.171875 0.1875 0.1458333333 -0.005 -0.005 0.7890625 0.8333333333"
    assert text_of(tmp_path / "out").split()[5:] == row.split()
    again = read_yolo(tmp_path / "out")
    np.testing.assert_allclose(again.instances[0].keypoints[:, 2], [2, 2, 0, 2])


def test_instances_that_cannot_be_rows_are_named(tmp_path: Path) -> None:
    dataset = made()
    dataset.add_instance(0, uid="empty")
    dataset.add_instance(0, keypoints=OBJECT_1[1], bbox=(-30, 0, 20, 20), uid="left")
    for name in ("first", "second"):
        dataset.add_instance(0, keypoints=OBJECT_2[1], bbox=OBJECT_2[0], uid=name)
    losses = [str(loss) for loss in yolo_losses(dataset) if loss.what in ("bbox", "duplicates")]
    assert losses == [
        "1 instance without bbox and labeled keypoint would be left out ('empty' in 'a.png')",
        "1 instance would be left out: the centre of the bbox is left of or above the image, or "
        "its size is below 0 ('left' in 'a.png')",
        "1 instance would be left out: the same row as another's of the image, which Ultralytics "
        "removes ('second' in 'a.png')",
    ]
    report = write(dataset, tmp_path / "out")
    assert report.n_instances == 1
    assert text_of(tmp_path / "out") == f"{ROW_2}\n"


def test_flip_pairs_that_do_not_agree_are_lost(tmp_path: Path) -> None:
    other = Schema("other", list("abcd"), flip_pairs=[("a", "b")])
    dataset = made(Category(1, ANIMAL, "animal"), Category(2, other, "other"))
    assert losses_of(dataset)["flip_pairs"].startswith(
        "the flip pairs of 2 categories: YOLO has one"
    )
    write(dataset, tmp_path / "out")
    assert "flip_idx" not in header_of(tmp_path / "out")


def test_sigmas_that_do_not_agree_are_lost() -> None:
    with_sigmas = Schema("other", list("abcd"), sigmas=[0.1] * 4)
    dataset = made(Category(1, ANIMAL, "animal"), Category(2, with_sigmas, "other"))
    assert "the sigmas of 1 category" in losses_of(dataset)["sigmas"]


def test_arrays_that_no_png_holds_are_named(tmp_path: Path) -> None:
    dataset = made()
    dataset._images[0].data = np.linspace(0, 1, 64 * 48).reshape(48, 64)
    assert losses_of(dataset)["pixels"] == "1 image would be written as shown, with 8 bits (a.png)"
    assert "pixels" not in losses_of(dataset, images="leave")
    write(dataset, tmp_path / "out")
    with Image.open(tmp_path / "out/images/train/a.png") as picture:
        assert picture.mode == "RGB"


# --- writing --------------------------------------------------------------------------------------


def test_objects_are_written_as_rows(tmp_path: Path) -> None:
    dataset = made()
    dataset.add_instance(0, keypoints=OBJECT_1[1], bbox=OBJECT_1[0])
    dataset.add_instance(0, keypoints=OBJECT_2[1], bbox=OBJECT_2[0])
    report = write(dataset, tmp_path / "out")
    assert text_of(tmp_path / "out") == f"{ROW_1}\n{ROW_2}\n"
    assert (report.n_images, report.n_instances, report.n_new_ids) == (1, 2, 0)
    # Both keys are required; there is one image.
    assert header_of(tmp_path / "out") == {
        "train": "images/train",
        "val": "images/train",
        "kpt_shape": [4, 3],
        "flip_idx": [0, 2, 1, 3],
        "names": {0: "animal"},
        "kpt_names": {0: ["nose", "left_eye", "right_eye", "tail"]},
    }
    assert any("no image is in 'val', which Ultralytics requires" in note for note in report.notes)


def test_derived_bbox_is_written(tmp_path: Path) -> None:
    dataset = made()
    dataset.add_instance(0, keypoints=[[16, 12, 2], [48, 36, 1], [0, 0, 0], [0, 0, 0]])
    write(dataset, tmp_path / "out")
    # From (16, 12) to (48, 36): the middle half of the image.
    assert text_of(tmp_path / "out").split()[:5] == ["0", "0.5", "0.5", "0.5", "0.5"]


def test_empty_splits_are_empty_lists(tmp_path: Path) -> None:
    dataset = made()
    write(dataset, tmp_path / "val", split={"train": [], "val": "rest"})
    header = header_of(tmp_path / "val")
    assert (header["train"], header["val"]) == ([], "images/val")  # nothing to be trained on
    assert read_yolo(tmp_path / "val").images[0].extra["split"] == "val"
    write(made(sizes={}), tmp_path / "none")
    assert len(read_yolo(tmp_path / "none")) == 0


@pytest.mark.parametrize(
    "name",
    ["yes", "null", "1", "1.5", "a: b", "#x", "\x85a", "a\u2028", "a\nb", "\ufeffa", "é😀", "*a"],
)
def test_names_survive_yaml(name: str, tmp_path: Path) -> None:
    dataset = made(Category(1, Schema(name, [name, "other"], flip_pairs=[(name, "other")]), name))
    write(dataset, tmp_path / "out")
    [category] = read_yolo(tmp_path / "out").categories
    assert (category.name, category.keypoints) == (name, (name, "other"))


def test_split_of_several_folders_is_written_out_for_val_too(tmp_path: Path) -> None:
    dataset = made(sizes={"images/train/a.png": (64, 48), "train/images/b.png": (64, 48)})
    write(dataset, tmp_path / "out")
    header = header_of(tmp_path / "out")
    assert header["train"] == header["val"] == ["images/train", "train/images"]
    assert "*" not in text_of(tmp_path / "out", "data.yaml")


def test_status_decides_about_empty_label_files(tmp_path: Path) -> None:
    dataset = made(sizes={"a.png": (64, 48), "b.png": (64, 48)})
    dataset.image("b.png").set_status("done")
    write(dataset, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out/labels/train").iterdir()] == ["b.txt"]
    assert text_of(tmp_path / "out", "labels/train/b.txt") == ""
    again = read_yolo(tmp_path / "out")
    assert [image.status for image in again.images] == ["unlabeled", "done"]


def test_shorter_categories_are_padded(tmp_path: Path) -> None:
    bolt = Schema("bolt", ["head", "tip"])
    dataset = made(Category(5, ANIMAL, "animal"), Category(2, bolt, "bolt"))
    dataset.add_instance(0, "bolt", [[16, 12, 2], [32, 24, 1]], (0, 0, 64, 48))
    animal_flips_with_padding = losses_of(dataset)["flip_pairs"]
    assert "do not agree" in animal_flips_with_padding  # 1 and 2 change places, and bolt has 0, 1
    report = write(dataset, tmp_path / "out")
    assert text_of(tmp_path / "out") == "1 0.5 0.5 1 1 0.25 0.25 2 0.5 0.5 1 0 0 0 0 0 0\n"
    assert "padded with '0 0 0' to 4 keypoints: 'bolt' (2)" in report.notes
    assert header_of(tmp_path / "out")["kpt_names"][1] == ["head", "tip"]
    assert read_yolo(tmp_path / "out").instances[0].raw.tolist() == [[16, 12, 2], [32, 24, 1]]


def test_flip_pairs_within_the_padded_category_are_written(tmp_path: Path) -> None:
    face = Schema("face", ["nose", "left_eye", "right_eye"], flip_pairs=[("left_eye", "right_eye")])
    dataset = made(Category(1, face, "face"), Category(2, ANIMAL, "animal"))
    write(dataset, tmp_path / "out")
    assert header_of(tmp_path / "out")["flip_idx"] == [0, 2, 1, 3]
    assert [c.schema.flip_pairs for c in read_yolo(tmp_path / "out").categories] == [
        (("left_eye", "right_eye"),)
    ] * 2


@pytest.mark.parametrize("width", [7, 640, 4000, 19_999, 60_000, 1_000_000])
def test_decimals_keep_a_millionth_of_a_pixel_and_are_the_same_when_written_again(
    width: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(width)
    points = np.full((50, 4, 3), 2.0)
    points[..., :2] = rng.random((50, 4, 2)) * (width, 48)
    dataset = made()
    dataset._images[0].recorded_size = (width, 48)
    for row in points:
        dataset.add_instance(0, keypoints=row, bbox=(*row[0, :2], 3, 3))
    picture = {"a.png": np.broadcast_to(np.uint8(0), (48, width))}
    write(dataset, tmp_path / "one", images="leave")
    again = read_yolo(tmp_path / "one", images=picture)
    np.testing.assert_allclose(again.keypoints(), points, rtol=0, atol=1e-6)
    write(again, tmp_path / "two", images="leave")
    assert text_of(tmp_path / "one") == text_of(tmp_path / "two")


def test_small_numbers_have_no_exponent(tmp_path: Path) -> None:
    dataset = made()
    dataset.add_instance(0, keypoints=[[0.000064, 1e-9, 2]] * 4, bbox=(0, 0, 64, 48))
    write(dataset, tmp_path / "out")
    assert text_of(tmp_path / "out").split()[5:8] == ["0.000001", "0", "2"]


def test_splits_by_ratio_and_by_list(tmp_path: Path) -> None:
    sizes = {f"{i}.png": (64, 48) for i in range(10)}
    dataset = made(sizes=sizes)
    write(dataset, tmp_path / "ratio", split={"train": 0.8, "val": 0.2}, seed=3)
    counts = {s: len(list((tmp_path / "ratio/images" / s).iterdir())) for s in ("train", "val")}
    assert counts == {"train": 8, "val": 2}
    # The same images as `split` of the dataset with that seed.
    parts = dataset.split({"train": 0.8, "val": 0.2}, seed=3)
    written = {p.name for p in (tmp_path / "ratio/images/val").iterdir()}
    assert written == {image.file_name for image in parts["val"].images}

    write(dataset, tmp_path / "list", split={"train": "rest", "val": ["3.png"], "test": ["4.png"]})
    header = header_of(tmp_path / "list")
    assert [header[s] for s in ("train", "val", "test")] == [
        "images/train", "images/val", "images/test",
    ]  # fmt: skip
    assert [p.name for p in (tmp_path / "list/images/test").iterdir()] == ["4.png"]
    again = read_yolo(tmp_path / "list")
    write(again, tmp_path / "again")
    assert [p.name for p in (tmp_path / "again/images/test").iterdir()] == ["4.png"]


def test_group_keeps_frames_together(tmp_path: Path) -> None:
    names = [f"{clip}_{i}.png" for clip in "abcd" for i in range(5)]
    dataset = made(sizes=dict.fromkeys(names, (64, 48)))
    write(dataset, tmp_path / "out", split={"train": 0.5, "val": 0.5}, group="clip")
    clips = {
        s: {p.name[0] for p in (tmp_path / "out/images" / s).iterdir()} for s in ("train", "val")
    }
    assert len(clips["train"]) == 2
    assert not clips["train"] & clips["val"]


def test_unknown_splits_and_options_are_refused(tmp_path: Path) -> None:
    dataset = made()
    with pytest.raises(
        ValueError, match="the splits of YOLO are 'train', 'val' and 'test', not 'dev"
    ):
        write(dataset, tmp_path / "out", split={"train": 0.5, "dev": 0.5})
    with pytest.raises(
        ValueError, match="images is 'copy', 'link' or 'leave', not 'move'; keypoint_d"
    ):
        write_yolo(dataset, tmp_path / "out", images="move", keypoint_dims=4)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_images_go_back_to_where_they_were_read(tmp_path: Path) -> None:
    folder = make(tmp_path / "in", {"train/deep/x.png": ROW_1, "val/y.png": ROW_2})
    write(read_yolo(folder), tmp_path / "out")
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    written = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    assert written == files


def test_images_that_change_their_split_change_their_folder(tmp_path: Path) -> None:
    folder = make(tmp_path / "in", {"train/x.png": ROW_1})
    dataset = read_yolo(folder)
    split = {"train": ["images/val/two.png"], "val": "rest"}
    report = write(dataset, tmp_path / "out", split=split)
    written = {
        p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png")
    }
    assert written == {"images/train/two.png", "images/val/one.png", "images/val/x.png"}
    assert any("3 images got new names" in note for note in report.notes)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["../a.png"], "'../a.png': leads out of the folder"),
        (["x/../../a.png"], "'x/../../a.png': leads out of the folder"),
        (["..\\a.png"], "leads out of the folder"),
        (["/a.png"], "'/a.png': is no relative path"),
        (["C:\\a.png"], "is no relative path"),
        (["C:a.png"], "is no relative path"),
        (["http://host/a.png"], "is no relative path"),
        ([".a.png"], "begins with a dot; Ultralytics does not look at such files"),
        (["a\nb.png"], "is no name that a line of a text file can hold"),
        (
            ["a.png", "a.jpg"],
            "'a.jpg': would have the label file labels/train/a.txt, which is that of",
        ),
        (["a.png", "./a.png"], "would have the label file"),
        (["images/a.png", "a.png"], "would have the label file"),
    ],
)
def test_names_that_collide_or_escape_are_refused(
    names: list[str], message: str, tmp_path: Path
) -> None:
    dataset = made(sizes=dict.fromkeys(names, (64, 48)))
    with pytest.raises(ValueError, match="cannot be written under their names") as caught:
        write(dataset, tmp_path / "out", images="leave")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_endings_that_ultralytics_does_not_read_are_refused(tmp_path: Path) -> None:
    dataset = made()
    dataset._images[0].file_name, dataset._images[0].data = "a.gif", b"GIF89a"
    with pytest.raises(ValueError, match="'a.gif': Ultralytics reads images that end in avif, bmp"):
        write(dataset, tmp_path / "out")


def test_arrays_and_bytes_are_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "rgb.png": rng.integers(0, 255, (20, 30, 3), np.uint8),
        "grey": rng.integers(0, 255, (20, 30), np.uint8),
        "deep.tif": rng.integers(0, 65535, (20, 30), np.uint16),
        "mask.jpg": rng.random((20, 30)) > 0.5,
        "sub/one.png": rng.integers(0, 255, (20, 30, 1), np.uint8),
    }
    dataset = Dataset([Category(1, ANIMAL, "animal")])
    for i, (name, array) in enumerate(arrays.items(), 1):
        dataset._add_image(ImageState(i, name, array))
    dataset._add_image(ImageState(9, "some.jpg", b"these very bytes"))
    write(dataset, tmp_path / "out")
    where = tmp_path / "out/images/train"
    assert (where / "some.jpg").read_bytes() == b"these very bytes"
    for name, array in arrays.items():
        with Image.open(where / Path(name).with_suffix(".png")) as picture:
            pixels = np.asarray(picture)
        expected = array.astype(np.uint8) * 255 if array.dtype == bool else array.squeeze()
        np.testing.assert_array_equal(pixels, expected)


def test_missing_images_are_named(tmp_path: Path) -> None:
    dataset = made(sizes={"a.png": (64, 48), "b.png": (64, 48)})
    dataset._images[0].data, dataset._images[1].data = None, tmp_path / "nowhere.png"
    with pytest.raises(ValueError, match="the files of 2 images are missing; .* or images='leave'"):
        write(dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_images_of_unknown_size_are_named(tmp_path: Path) -> None:
    dataset = made(sizes={"a.png": (64, 48), "b.png": (64, 48)})
    dataset._images[0].data = None
    dataset.add_instance(0, keypoints=OBJECT_1[1])
    with pytest.raises(
        ValueError, match="it is not known of 1 image with instances:\n  a.png: none of"
    ):
        write(dataset, tmp_path / "out", images="leave")


def test_images_whose_labels_are_on_unturned_pixels_are_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (64, 48)).save(tmp_path / "a.jpg", exif=exif)
    dataset = Dataset([Category(1, ANIMAL, "animal")])
    dataset._add_image(ImageState(1, "a.jpg", tmp_path / "a.jpg", recorded_size=(64, 48)))
    dataset.add_instance(0, keypoints=OBJECT_1[1])
    with pytest.raises(
        ValueError, match="the labels of 1 image do not follow the EXIF orientation"
    ):
        write(dataset, tmp_path / "out")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right that users lack there")
def test_links_point_to_the_images_and_are_not_written_through(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    Image.new("RGB", (64, 48)).save(source)
    before = source.read_bytes()
    dataset = Dataset.from_images(source, ANIMAL)
    write(dataset, tmp_path / "out", images="link")
    link = tmp_path / "out/images/train/a.png"
    assert link.is_symlink()
    assert link.resolve() == source.resolve()
    # The same folder again, now with copies: the link is replaced, the image stays.
    dataset._images[0].data = b"other bytes"
    write(dataset, tmp_path / "out")
    assert not link.is_symlink()
    assert link.read_bytes() == b"other bytes"
    assert source.read_bytes() == before


def test_hard_links_are_made_where_symbolic_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise OSError("not permitted")

    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    dataset = Dataset.from_images(tmp_path / "a.png", ANIMAL)
    monkeypatch.setattr(os, "symlink", refuse)
    write(dataset, tmp_path / "out", images="link")
    assert os.path.samefile(tmp_path / "out/images/train/a.png", tmp_path / "a.png")


def test_left_images_are_listed_where_ultralytics_will_look(tmp_path: Path) -> None:
    dataset = made(sizes={"a.png": (64, 48), "b.png": (64, 48)})
    dataset.add_instance(0, keypoints=OBJECT_1[1], bbox=OBJECT_1[0])
    report = write(dataset, tmp_path / "out", images="leave")
    assert not (tmp_path / "out/images").exists()
    assert text_of(tmp_path / "out", "train.txt") == "./images/train/a.png\n./images/train/b.png\n"
    assert header_of(tmp_path / "out")["train"] == "train.txt"
    assert any("the image files were left where they are" in note for note in report.notes)
    pixels = np.zeros((48, 64), np.uint8)
    again = read_yolo(tmp_path / "out", images={"a.png": pixels, "b.png": pixels})
    assert [i.file_name for i in again.images] == ["images/train/a.png", "images/train/b.png"]
    np.testing.assert_allclose(again.instances[0].raw, OBJECT_1[1], atol=1e-6)


def test_labels_are_added_to_a_folder_that_has_the_images(tmp_path: Path) -> None:
    (tmp_path / "images/train").mkdir(parents=True)
    Image.new("RGB", (64, 48)).save(tmp_path / "images/train/a.png")
    dataset = Dataset.from_images(tmp_path / "images/train", ANIMAL)
    dataset.add_instance(0, keypoints=OBJECT_1[1], bbox=OBJECT_1[0])
    with pytest.raises(
        FileExistsError, match="is not empty, and no YOLO dataset that was written by"
    ):
        write(dataset, tmp_path)
    write(dataset, tmp_path, images="leave")
    assert read_yolo(tmp_path).images[0].instances[0].n_labeled == 3


def test_other_folders_are_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(
        FileExistsError, match="is not empty, and no YOLO dataset .* Nothing was writ"
    ):
        write(made(), tmp_path)
    with pytest.raises(FileExistsError, match="is a file; YOLO is written to a folder"):
        write(made(), tmp_path / "notes.txt")
    foreign = make(tmp_path / "foreign", {})
    with pytest.raises(FileExistsError, match="is not empty"):
        write(made(), foreign)
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["notes.txt"]


def test_own_folder_is_written_again_unless_files_would_stay(tmp_path: Path) -> None:
    dataset = made(sizes={"a.png": (64, 48), "b.png": (64, 48)})
    instance = dataset.add_instance(0, keypoints=OBJECT_1[1], bbox=OBJECT_1[0])
    write(dataset, tmp_path / "out")
    (tmp_path / "out/labels/train.cache").write_bytes(b"")
    (tmp_path / "out/notes.md").write_text("mine")
    instance.set_keypoint("nose", 32, 24)
    write(dataset, tmp_path / "out")
    assert text_of(tmp_path / "out").split()[5:8] == ["0.5", "0.5", "2"]
    with pytest.raises(
        FileExistsError, match=r"2 files would stay there and be part of the dataset: ima"
    ):
        write(dataset, tmp_path / "out", split={"train": ["b.png"], "val": ["a.png"]})
    assert text_of(tmp_path / "out").split()[5:8] == ["0.5", "0.5", "2"]
    assert (tmp_path / "out/notes.md").read_text() == "mine"


def test_folder_can_be_written_to_itself_when_it_is_ours(tmp_path: Path) -> None:
    write(made(), tmp_path / "out")
    dataset = read_yolo(tmp_path / "out")
    before = (tmp_path / "out/images/train/a.png").read_bytes()
    dataset.add_instance(0, keypoints=OBJECT_1[1], bbox=OBJECT_1[0])
    write(dataset, tmp_path / "out")
    assert (tmp_path / "out/images/train/a.png").read_bytes() == before
    assert text_of(tmp_path / "out") == f"{ROW_1}\n"


def test_header_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OSError("the disk is full")

    dataset = made()
    monkeypatch.setattr("kpwidget.formats.yolo_write.write_files", fail)
    with pytest.raises(OSError, match="the disk is full"):
        write(dataset, tmp_path / "out")
    assert (tmp_path / "out/images/train/a.png").exists()
    assert not (tmp_path / "out/data.yaml").exists()


def test_selection_is_written(tmp_path: Path) -> None:
    dataset = made(sizes={"a.png": (64, 48), "b.png": (64, 48)})
    dataset.add_instance("b.png", keypoints=OBJECT_2[1], bbox=OBJECT_2[0])
    report = write(dataset.select(image="b.png"), tmp_path / "out")
    assert (report.n_images, report.n_instances) == (1, 1)
    assert text_of(tmp_path / "out", "labels/train/b.txt") == f"{ROW_2}\n"


def test_dataset_without_categories_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the dataset has no categories; YOLO pose needs one"):
        write(Dataset(), tmp_path / "out")
    blank = made(Category(1, ANIMAL, " "))
    with pytest.raises(ValueError, match="category 1 has the name ' ', expected some text"):
        write(blank, tmp_path / "out")


# --- against Ultralytics --------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize(
    ("file", "images"),
    [
        ("coco-mini/person_keypoints_train2017.json", "images"),
        ("coco-people/test_coco.json", "images"),
    ],
)
def test_labels_are_those_of_convert_coco_and_pass_the_verifier(
    file: str, images: str, tmp_path: Path, ultralytics: dict[str, Any]
) -> None:
    class Silent:
        info = warning = staticmethod(lambda *args: None)

    convert = from_ultralytics(
        "data/converter.py", {"convert_coco", "coco91_to_coco80_class"},
        json=json, defaultdict=defaultdict, TQDM=lambda items, **options: items, LOGGER=Silent,
        increment_path=lambda path, **options: Path(path),
    )["convert_coco"]  # fmt: skip
    (tmp_path / "json").mkdir()
    shutil.copy(DATA / file, tmp_path / "json/some.json")
    convert(str(tmp_path / "json"), str(tmp_path / "theirs"), use_keypoints=True, cls91to80=False)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = kp.read(DATA / file, images=(DATA / file).parent / images)
    has_all = all(image.path is not None and image.path.is_file() for image in dataset.images)
    write(dataset, tmp_path / "ours", images="copy" if has_all else "leave")
    n_rows = 0
    for image in dataset.images:
        name = Path(image.file_name).with_suffix(".txt")
        theirs = tmp_path / "theirs/labels/some" / name
        ours = tmp_path / "ours/labels/train" / name
        rows = [np.array(r.split(), float) for r in read_lines(ours)]
        # They leave instances without a labeled keypoint out, though these have a box to learn.
        rows = [row for row in rows if row[7::3].any()]
        expected = [np.array(r.split(), float) for r in read_lines(theirs)]
        # '%g' has 6 digits; what is outside the image they write all the same, and it is refused.
        assert len(rows) == len(expected)
        for row, other in zip(rows, expected, strict=True):
            points = other[5:].reshape(-1, 3)
            points[((points[:, :2] > 1.01) | (points[:, :2] < -0.01)).any(axis=1)] = 0
            np.testing.assert_allclose(row, other, rtol=6e-6, atol=1e-9)
            n_rows += 1
    assert n_rows > 5
    if has_all:
        found = verified(ultralytics, tmp_path / "ours")
        n_written = sum(len(read_lines(p)) for p in (tmp_path / "ours/labels").rglob("*.txt"))
        assert sum(map(len, found.values())) == n_written


def read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def test_data_yaml_is_understood_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Yaml:
        @staticmethod
        def load(path: Path, append_filename: bool) -> dict[str, Any]:
            return {**header_of(Path(path).parent), "yaml_file": str(path)}

    names = from_ultralytics("nn/autobackend.py", {"check_class_names"})
    checks = from_ultralytics(
        "data/utils.py", {"check_det_dataset", "DATASET_KEY_TYPES"},
        YAML=Yaml, check_file=lambda path, **options: path, check_font=lambda path: None,
        check_class_names=names["check_class_names"], is_ascii=lambda names: True,
        is_tarfile=lambda path: False, zipfile=zipfile, DATASETS_DIR=tmp_path / "datasets",
    )  # fmt: skip
    dataset = made(sizes={f"{i}.png": (64, 48) for i in range(4)})
    parts = {"train": ["0.png", "1.png"], "val": ["2.png"], "test": ["3.png"]}
    write(dataset, tmp_path / "copied", split=parts)
    write(dataset, tmp_path / "whole")
    monkeypatch.chdir(tmp_path)
    content = checks["check_det_dataset"](tmp_path / "copied/data.yaml")
    assert content["names"] == {0: "animal"}
    for split, images in parts.items():
        assert sorted(os.listdir(content[split])) == images
    content = checks["check_det_dataset"](tmp_path / "whole/data.yaml")
    assert content["val"] == content["train"]


# --- any dataset ----------------------------------------------------------------------------------

# Line ends of Unicode's are what YAML is good at losing.
NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=8
).filter(lambda text: bool(text.strip()))


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    categories = []
    for i in range(draw(st.integers(1, 3))):
        keypoints = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
        pairs = [tuple(keypoints[:2])] if len(keypoints) > 1 and draw(st.booleans()) else []
        edges = [(1, len(keypoints))] if len(keypoints) > 1 and draw(st.booleans()) else []
        schema = Schema(draw(NAMES), keypoints, edges, flip_pairs=pairs)
        categories.append(Category(draw(st.sampled_from([i + 1, i + 90])), schema, draw(NAMES)))
    dataset = Dataset(categories)
    for i in range(draw(st.integers(1, 4))):
        size = draw(st.tuples(st.integers(1, 30_000), st.integers(1, 30_000)))
        split = draw(st.sampled_from([None, "train", "val", "test"]))
        state = ImageState(
            i + 1, f"{i}.png", np.broadcast_to(np.uint8(0), size[::-1]),
            extra=None if split is None else {"split": split},
        )  # fmt: skip
        dataset._add_image(state)
    part = st.floats(-0.1, 1.1) | st.sampled_from([0.0, 1.0, 1.01, -0.01, 1e-7])
    for _ in range(draw(st.integers(0, 6))):
        image = draw(st.sampled_from(list(dataset.images)))
        category = draw(st.sampled_from(categories))
        width, height = image.size
        points = [
            (draw(part) * width, draw(part) * height, draw(st.sampled_from([0, 1, 2])))
            for _ in range(category.n_keypoints)
        ]
        box = None
        if draw(st.booleans()):
            box = (
                *(draw(part) * n for n in (width, height)),
                draw(st.floats(0, width)),
                height / 3,
            )
        score = draw(st.none() | st.floats(0, 1))
        dataset.add_instance(image, category, points, box, score=score)
    for image in dataset.images:
        if draw(st.booleans()):
            image.set_status("done")
    return dataset


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(datasets(), st.sampled_from([3, 2]))
def test_any_dataset_survives_up_to_the_losses_that_are_named(
    tmp_path_factory: pytest.TempPathFactory, dataset: Dataset, dims: int
) -> None:
    folder = tmp_path_factory.mktemp("yolo") / "out"
    losses = yolo_losses(dataset, images="leave", keypoint_dims=dims)
    report = write(dataset, folder, images="leave", keypoint_dims=dims)
    assert list(report.losses) == losses
    again = read_yolo(folder, images={s.file_name: s.data for s in dataset._images})
    assert [c.name for c in again.categories] == [c.name for c in dataset.categories]
    assert [c.keypoints for c in again.categories] == [c.keypoints for c in dataset.categories]
    if not any(loss.what == "flip_pairs" for loss in losses):
        for ours, theirs in zip(again.categories, dataset.categories, strict=True):
            assert set(ours.schema.flip_pairs) == set(theirs.schema.flip_pairs)
    by_name = {image.file_name.rpartition("/")[2]: image for image in again.images}
    assert set(by_name) == {image.file_name for image in dataset.images}

    n_of: dict[str, int] = defaultdict(int)
    for loss in losses:
        n_of[loss.what] += loss.n
    n_left_out = n_of["bbox"] + n_of["duplicates"]
    n_lost = 0
    for image in dataset.images:
        other = by_name[image.file_name]
        assert other.extra["split"] == image.extra.get("split", "train")
        rest = other.instances
        n_lost += len(image.instances) - len(rest)
        if not image.instances:
            assert other.status == image.status
        for instance in image.instances:
            # Instances keep their order, so one that is left out is found by the next that fits.
            if rest and is_same(instance, rest[0], dims, n_of):
                rest = rest[1:]
        assert not rest
    assert n_lost == n_left_out


def is_same(ours: Any, other: Any, dims: int, n_of: dict[str, int]) -> bool:
    """Whether `other` is what a file holds of an instance, by the rules of the format."""
    if ours.category.name != other.category.name or ours.bbox is None:
        return False
    size = np.array(ours.image.size)
    if not np.allclose(ours.bbox, other.bbox, rtol=0, atol=2e-6):
        return False
    # At the limits the sixth digit of a pixel may decide.
    for (x, y, v), (x2, y2, v2) in zip(ours.keypoints, other.keypoints, strict=True):
        low = 0 if dims == 2 else -0.01
        parts = np.array([x, y]) / size
        is_inside = v > 0 and bool(((parts >= low - 1e-9) & (parts <= 1.01 + 1e-9)).all())
        if v2 == 0:
            near = np.abs(np.concatenate([parts - low, parts - 1.01])).min() < 1e-9 if v else False
            if is_inside and not near:
                return False
            continue
        if not is_inside or not np.allclose((x, y), (x2, y2), rtol=0, atol=2e-6):
            return False
        if v2 != (v if dims == 3 else 2):
            return False
    return True


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(
    max_examples=40, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(dataset=datasets(), dims=st.sampled_from([3, 2]))
def test_any_labels_pass_the_verifier(
    tmp_path_factory: pytest.TempPathFactory,
    ultralytics: dict[str, Any],
    dataset: Dataset,
    dims: int,
) -> None:
    folder = tmp_path_factory.mktemp("yolo") / "out"
    write(dataset, folder, images="leave", keypoint_dims=dims)
    header = header_of(folder)
    picture = folder / "picture.png"  # of any size: the verifier does not use it
    Image.new("RGB", (16, 16)).save(picture)
    n_rows = 0
    for label in sorted((folder / "labels").rglob("*.txt")):
        result = ultralytics["verify_image_label"](
            (str(picture), str(label), "", True, len(header["names"]), *header["kpt_shape"], False)
        )
        assert result[8] == 0, result[9]
        assert result[9] == ""
        n_rows += len(result[4])
    assert n_rows == sum(len(read_lines(p)) for p in (folder / "labels").rglob("*.txt"))


@settings(max_examples=200, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda t: t.encode()))
def test_any_label_file_is_read_or_refused_in_words(tmp_path: Path, data: bytes) -> None:
    folder = tmp_path if (tmp_path / "data.yaml").exists() else make(tmp_path, {})
    (folder / "labels/train/one.txt").write_bytes(data)
    with contextlib.suppress(FormatError):
        dataset = read_yolo(folder)
        assert len(dataset.instances) <= data.count(b"\n") + data.count(b"\r") + 1
        return
    with pytest.raises(FormatError, match="labels/train/one.txt"):
        read_yolo(folder)


@settings(max_examples=200, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode()))
def test_any_data_yaml_is_read_or_refused_in_words(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "data.yaml").write_bytes(data)
    with pytest.raises(FormatError, match="data.yaml: "):
        read_yolo(tmp_path)
    assert is_yolo(tmp_path) is False
