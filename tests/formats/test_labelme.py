from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kpwidget as kp
from kpwidget.dataset import Dataset
from kpwidget.formats import LossError
from kpwidget.schema import FormatError, Schema
from tests.formats.examples import EXAMPLES, check_example, needs_examples

POINT = {"label": "head", "points": [[1.5, 2]], "group_id": 1, "shape_type": "point", "flags": {}}
BOX = {"label": "bolt", "points": [[9, 8], [1, 2]], "group_id": 1, "shape_type": "rectangle"}


def folder_of(folder: Path, *shapes: Any, **fields: Any) -> Path:
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (64, 48)).save(folder / "a.png")
    content = {
        "version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": "a.png",
        "imageData": None, "imageHeight": 48, "imageWidth": 64, **fields,
    }  # fmt: skip
    (folder / "a.json").write_text(json.dumps(content))
    return folder


@needs_examples
def test_example_is_what_the_notes_say() -> None:
    schema = Schema("animal", ["nose", "left_eye", "right_eye", "tail"])
    dataset = kp.read(EXAMPLES / "labelme", schema=schema)
    check_example(dataset, has_edges=False)
    assert [image.status for image in dataset.images] == ["started", "done"]
    # Without a schema keypoints come as the labels do: the first animal has no right eye.
    assert kp.read(EXAMPLES / "labelme").categories[0].keypoints == (
        "nose", "left_eye", "tail", "right_eye"
    )  # fmt: skip


@needs_examples
def test_example_is_written_with_the_same_shapes(tmp_path: Path) -> None:
    kp.write(kp.read(EXAMPLES / "labelme"), tmp_path / "out", format="labelme")
    for name in ("img1.json", "img2.json"):
        before, after = (
            json.loads((folder / name).read_text())
            for folder in (EXAMPLES / "labelme", tmp_path / "out")
        )
        del after["kpwidget"]
        for content in (before, after):  # by group and label: the order is of no meaning
            content["shapes"].sort(key=lambda s: (s["group_id"], s["shape_type"], s["label"]))
        assert after == before
    assert kp.roundtrip(EXAMPLES / "labelme")


def test_almost_everything_comes_through(tiny_dataset: Dataset, tmp_path: Path) -> None:
    tiny_dataset.instance("one").set_bbox((8, 5, 44, 37))
    kp.write(tiny_dataset, tmp_path / "out", format="labelme")
    again = kp.read(tmp_path / "out")
    assert again.categories == tiny_dataset.categories
    for one, other in zip(tiny_dataset.instances, again.instances, strict=True):
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
        assert one.category == other.category
    assert again.instances[0].bbox == (8, 5, 44, 37)
    assert [image.file_name for image in again.images] == ["a.png", "b.png", "c.png"]


def test_points_without_group_or_rectangle_are_one_instance(tmp_path: Path) -> None:
    single = {**POINT, "group_id": None}
    dataset = kp.read(folder_of(tmp_path / "p", single, {**single, "label": "tip"}))
    [instance] = dataset.instances
    assert instance.category.name == "object"
    assert instance.category.keypoints == ("head", "tip")


def test_other_shapes_and_fields_come_back(tmp_path: Path) -> None:
    polygon = {"label": "area", "points": [[1, 2], [3, 4], [5, 6]], "shape_type": "polygon"}
    noted = {**POINT, "description": "blurred", "flags": {"occluded": True, "odd": True}}
    pixels = base64.b64encode(b"no image").decode()
    folder = folder_of(
        tmp_path / "p", BOX, noted, polygon, flags={"night": True}, imageData=pixels, mine=[1]
    )
    assert kp.roundtrip(folder)
    dataset = kp.read(folder)
    assert dataset.instances[0].bbox == (1, 2, 8, 6)
    kp.write(dataset, tmp_path / "out", format="labelme")
    content = json.loads((tmp_path / "out/a.json").read_text())
    assert polygon in content["shapes"]
    [point] = [shape for shape in content["shapes"] if shape["shape_type"] == "point"]
    assert point["flags"] == {"occluded": True, "odd": True}
    assert point["description"] == "blurred"
    assert (content["flags"], content["imageData"], content["mine"]) == (
        {"night": True}, pixels, [1]
    )  # fmt: skip


def test_folder_of_the_images_can_take_the_labels(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 48)).save(tmp_path / name)
    dataset = Dataset.from_images(tmp_path, Schema("bolt", ["head"]))
    dataset.add_instance("a.png", keypoints=[[1, 2, 1]])
    with pytest.raises(LossError, match="1 image that are not labeled get no file"):
        kp.write(dataset, tmp_path, format="labelme", images="leave")
    for _ in range(2):
        kp.write(dataset, tmp_path, format="labelme", images="leave", allow_loss=True)
    assert kp.read(tmp_path).images["b.png"].status == "unlabeled"


def test_files_of_others_are_not_replaced(tiny_dataset: Dataset, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "p", POINT)
    before = (folder / "a.json").read_bytes()
    with pytest.raises(FileExistsError, match=r"'a.json' was not written by kpwidget"):
        kp.write(tiny_dataset, folder, format="labelme")
    assert (folder / "a.json").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "a.png"]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        pytest.param({**POINT, "points": []}, r"expected 1 \[x, y\]", id="empty"),
        pytest.param({**POINT, "points": [[1, 2], [3, 4]]}, r"expected 1 \[x, y\]", id="two"),
        pytest.param({**POINT, "points": [[1, "2"]]}, r"expected 1 \[x, y\]", id="text"),
        pytest.param({**POINT, "points": [[1, 1e300]]}, r"expected 1 \[x, y\]", id="huge"),
        pytest.param({**POINT, "group_id": "1"}, "expected a whole number or null", id="group"),
        pytest.param({**POINT, "flags": {"occluded": 1}}, "expected true or false", id="flags"),
        pytest.param({**POINT, "label": 7}, "expected a name", id="label"),
        pytest.param(POINT, "is the second point 'head' of group 1", id="twice"),
        pytest.param("<b>", "expected an object", id="html"),
    ],
)
def test_bad_shapes_are_named_and_can_be_left_out(shape: Any, message: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "p", POINT, shape)
    with pytest.raises(FormatError, match=f"a.json: shape 2: .*{message}"):
        kp.read(folder)
    with pytest.warns(UserWarning, match=message):
        dataset = kp.read(folder, on_error="skip")
    assert len(dataset.instances) == 1


def test_bad_files_are_named_all_at_once(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "p", POINT)
    (folder / "b.json").write_text('{"shapes": [], "imagePath": 3}')
    (folder / "c.json").write_text("[" * 1000)
    (folder / "d.json").write_text('{"shapes": [NaN], "imagePath": "d.png"}')
    (folder / "e.json").write_text('{"shapes": [], "imagePath": "a.png"}')
    with pytest.raises(FormatError) as caught:
        kp.read(folder)
    for name in "bcde":
        assert any(f"{name}.json" in problem for problem in caught.value.problems), name
    with pytest.warns(UserWarning, match="4 problems"):
        assert len(kp.read(folder, on_error="skip")) == 1


def test_field_of_ours_is_not_trusted(tmp_path: Path) -> None:
    own = {
        "categories": [{"id": 1, "name": "x", "keypoints": []}, 5],
        "instances": {"1": {"id": 10**30, "area": "x", "extra": 3}},
        "image": 7,
    }
    with pytest.raises(FormatError) as caught:
        kp.read(folder_of(tmp_path / "p", POINT, kpwidget=own))
    told = "\n".join(caught.value.problems)
    for text in ("expected at least one name", "'id' is 1000", "'area' is 'x'", "'extra' is 3"):
        assert text in told


def test_image_path_that_leads_out_does_not_open(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    dataset = kp.read(folder_of(tmp_path / "p", POINT, imagePath="..\\secret.png"))
    with pytest.raises(Exception, match="leads out of"):
        dataset.images["../secret.png"].open()


def test_labels_that_would_become_a_huge_dataset_are_refused(tmp_path: Path) -> None:
    # 4000 instances of 4000 keypoints, one of which each has.
    shapes = [{**POINT, "label": f"k{i}", "group_id": i} for i in range(4000)]
    with pytest.raises(FormatError, match="would have 16,000,000 keypoints"):
        kp.read(folder_of(tmp_path / "p", *shapes))


@pytest.mark.parametrize("images", ["copy", "leave"])
def test_json_of_another_kind_is_not_replaced(
    images: Any, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_text('{"my": "metadata"}')
    with pytest.raises(FileExistsError, match=r"'a\.json' was not written by kpwidget"):
        kp.write(tiny_dataset, tmp_path, format="labelme", images=images, allow_loss=True)
    assert (tmp_path / "a.json").read_text() == '{"my": "metadata"}'


def test_another_image_of_the_name_is_not_replaced(tmp_path: Path) -> None:
    schema = Schema("bolt", ["head"])
    for name, color in (("originals", "red"), ("others", "blue")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 6), color).save(tmp_path / name / "a.png")
    originals, others = (
        Dataset.from_images(tmp_path / name, schema) for name in ("originals", "others")
    )
    for dataset in (originals, others):
        dataset.add_instance("a.png", "bolt", [[1, 2]])
    kp.write(originals, tmp_path / "originals", format="labelme", images="leave")
    picture = (tmp_path / "originals" / "a.png").read_bytes()
    with pytest.raises(FileExistsError, match=r"'a\.png' is there already, and another image"):
        kp.write(others, tmp_path / "originals", format="labelme")
    assert (tmp_path / "originals" / "a.png").read_bytes() == picture
    # The same images may be written again.
    for _ in range(2):
        kp.write(originals, tmp_path / "out", format="labelme")
    assert (tmp_path / "out" / "a.png").read_bytes() == picture


def test_what_a_file_brings_along_is_not_put_for_a_label(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    instance = tiny_dataset.instance("one")
    name = tiny_dataset.categories[0].keypoints[0]
    xy = instance.keypoints[0, :2].tolist()
    liar = {"label": "zz", "points": [[9, 9]], "flags": 5, "mine": 1}
    extra = {"labelme": {"points": {name: liar}}}
    tiny_dataset._table._columns["extra"][tiny_dataset._table.row("one")] = extra
    kp.write(tiny_dataset, tmp_path / "out", format="labelme", allow_loss=True)
    shapes = json.loads((tmp_path / "out" / "a.json").read_text())["shapes"]
    [shape] = [s for s in shapes if s.get("mine")]
    assert (shape["label"], shape["points"], shape["flags"]) == (name, [xy], {})


def test_bbox_keeps_its_last_digit_and_a_blank_instance_is_a_loss(tmp_path: Path) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    dataset = Dataset.from_images({"a.png": pixels}, Schema("bolt", ["head"]))
    box = (1.1, 1.1, 3.7, 2.3)
    assert box[0] + box[2] - box[0] != box[2], "in floats"
    dataset.add_instance("a.png", "bolt", [[1, 2]], bbox=box)
    kp.write(dataset, tmp_path / "out", format="labelme")
    assert kp.read(tmp_path / "out").instances[0].bbox == box
    dataset.add_instance("a.png", "bolt")
    with pytest.raises(LossError, match="1 instance without a labeled keypoint or bbox"):
        kp.write(dataset, tmp_path / "out2", format="labelme")
