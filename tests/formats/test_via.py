from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kpwidget as kp
from kpwidget import formats
from kpwidget.dataset import Dataset
from kpwidget.formats.via import via_losses
from kpwidget.schema import FormatError, Schema
from tests.formats.examples import EXAMPLES, check_example, needs_examples

ANIMAL = Schema("animal", ["nose", "left_eye", "right_eye", "tail"], [(1, 2), (1, 3), (1, 4)])


def point(x: Any, y: Any, name: Any = "head", **attributes: Any) -> dict[str, Any]:
    return {
        "shape_attributes": {"name": "point", "cx": x, "cy": y},
        "region_attributes": {"keypoint": name, **attributes},
    }


def file_of(path: Path, *regions: Any, name: str = "a.png", **fields: Any) -> Path:
    files = {
        f"{name}7": {"filename": name, "size": 7, "regions": list(regions), "file_attributes": {}}
    }
    path.write_text(json.dumps({**files, **fields}))
    return path


@needs_examples
@pytest.mark.parametrize("name", ["via_project.json", "via_annotations.json"])
def test_example_is_what_the_notes_say(name: str) -> None:
    check_example(kp.read(EXAMPLES / "via" / name, schema=ANIMAL))


@needs_examples
def test_options_of_a_project_name_the_keypoints() -> None:
    check_example(kp.read(EXAMPLES / "via/via_project.json"), has_edges=False)


@needs_examples
def test_example_is_written_with_the_same_regions(tmp_path: Path) -> None:
    for name in ("via_project.json", "via_annotations.json"):
        path = EXAMPLES / "via" / name
        assert kp.roundtrip(path)
        kp.write(kp.read(path), tmp_path / name, format="via")
        before, after = (json.loads((f / name).read_text()) for f in (EXAMPLES / "via", tmp_path))
        key = "_via_img_metadata"
        found, expected = after[key], before.get(key, before)
        for files in (found, expected):  # the order of regions means nothing
            for file in files.values():
                file["regions"].sort(key=json.dumps)
        assert found == expected
        if key in before:
            unlike = {k for k in before if before[k] != after[k]}
            assert unlike == set()


def test_names_of_attributes_can_be_others(tmp_path: Path) -> None:
    region = point(1, 2)
    region["region_attributes"] = {"landmark": {"tip": True, "head": False}, "who": "x"}
    path = file_of(tmp_path / "labels.json", region)
    dataset = kp.read(path, attributes={"keypoint": "landmark", "instance": "who"})
    assert dataset.categories[0].keypoints == ("tip",)
    with pytest.raises(FormatError, match="pass attributes="):
        kp.read(path)
    with pytest.raises(ValueError, match="expected keys of"):
        kp.read(path, attributes={"name": "x"})


def test_regions_of_via_1_are_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    file = {"filename": "a.png", "size": 7, "regions": {"0": point(1, 2), "1": point(3, 4, "tip")}}
    path.write_text(json.dumps({"a.png7": {**file, "file_attributes": {}}}))
    [instance] = kp.read(path).instances
    np.testing.assert_array_equal(instance.keypoints, [[1, 2, 2], [3, 4, 2]])


def test_other_regions_come_back(tmp_path: Path) -> None:
    circle = {"shape_attributes": {"name": "circle", "cx": 1, "cy": 2, "r": 3},
              "region_attributes": {"keypoint": "head"}}  # fmt: skip
    path = file_of(tmp_path / "labels.json", point(1, 2, instance=3), circle)
    assert kp.roundtrip(path)
    kp.write(kp.read(path), tmp_path / "out.json", format="via")
    [file] = json.loads((tmp_path / "out.json").read_text())["_via_img_metadata"].values()
    assert circle in file["regions"]
    assert file["size"] == 7


def test_categories_come_through(tiny_dataset: Dataset, tmp_path: Path) -> None:
    kp.write(tiny_dataset, tmp_path / "out.json", format="via")
    again = kp.read(tmp_path / "out.json")
    assert again.categories == tiny_dataset.categories
    for one, other in zip(tiny_dataset.instances, again.instances, strict=True):
        np.testing.assert_array_equal(one.keypoints, other.keypoints)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        pytest.param(point("1", 2), "expected 'cx' and 'cy'", id="text"),
        pytest.param(point(1e300, 2), "expected 'cx' and 'cy'", id="huge"),
        pytest.param(point(1, 2, visibility="3"), "a visibility '0', '1' or '2'", id="three"),
        pytest.param(point(1, 2), "is the second point 'head'", id="twice"),
        pytest.param(point(1, 2, "tip", object="<b>"), "is of '<b>', its instance", id="object"),
        pytest.param({"shape_attributes": 3}, "expected 'shape_attributes'", id="shape"),
        pytest.param("x", "expected 'shape_attributes'", id="word"),
        pytest.param(
            {"shape_attributes": {"name": "rect"}, "region_attributes": {"instance": "1"}},
            "expected x, y, width and height",
            id="rect",
        ),
    ],
)
def test_bad_regions_are_named_and_can_be_left_out(
    region: Any, message: str, tmp_path: Path
) -> None:
    path = file_of(tmp_path / "labels.json", point(5, 6, object="bolt"), region)
    with pytest.raises(FormatError, match=f"a.png7: region 2: .*{message}"):
        kp.read(path)
    with pytest.warns(UserWarning, match=message):
        dataset = kp.read(path, on_error="skip")
    assert dataset.instances[0].keypoints[0].tolist() == [5, 6, 2]


def test_bad_files_are_named(tmp_path: Path) -> None:
    path = file_of(tmp_path / "labels.json", point(5, 6), b={"filename": 3, "regions": []}, c=4)
    with pytest.raises(FormatError) as caught:
        kp.read(path)
    assert [" b: " in p or " c: " in p for p in caught.value.problems[:2]] == [True, True]
    path.write_text("[" * 500)
    with pytest.raises(FormatError, match="levels"):
        kp.read(path, format="via")
    path.write_text('{"a": {"filename": "x", "regions": [], "size": NaN, "file_attributes": {}}}')
    with pytest.raises(FormatError, match="NaN is not JSON"):
        kp.read(path)


def test_path_that_leads_out_does_not_open(tmp_path: Path) -> None:
    path = file_of(tmp_path / "labels.json", point(5, 6), name="..\\..\\etc\\passwd")
    with pytest.raises(Exception, match="leads out of"):
        kp.read(path).images[0].open()


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        pytest.param(1.0, 1, id="float"),
        pytest.param("", 2, id="empty"),
        pytest.param({"1": True, "2": False}, 1, id="ticked"),
    ],
)
def test_visibility_is_text_a_number_or_ticked(flag: Any, expected: int, tmp_path: Path) -> None:
    dataset = kp.read(file_of(tmp_path / "a.json", point(1, 2, visibility=flag)))
    assert dataset.instances[0].keypoints[0, 2] == expected


@pytest.mark.parametrize(
    "flag",
    [
        pytest.param(True, id="bool"),
        pytest.param(1.5, id="fraction"),
        pytest.param({"1": True, "2": True}, id="two ticked"),
        pytest.param([1], id="list"),
    ],
)
def test_visibility_that_is_none_is_refused(flag: Any, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected 'cx' and 'cy' in pixels and a visibility"):
        kp.read(file_of(tmp_path / "a.json", point(1, 2, visibility=flag)))


def test_regions_that_would_become_a_huge_dataset_are_refused(tmp_path: Path) -> None:
    regions = [point(1, 2, f"k{i}", instance=str(i)) for i in range(4000)]
    with pytest.raises(FormatError, match="would have 16,000,000 keypoints"):
        kp.read(file_of(tmp_path / "a.json", *regions))


def test_sizes_backslashes_and_blank_instances_are_losses(tmp_path: Path) -> None:
    dataset = Dataset.from_images({"a\\b.png": np.zeros((4, 6, 3), np.uint8)}, ANIMAL)
    dataset._images[0].recorded_size = (6, 4)
    dataset.add_instance("a\\b.png", "animal")
    losses = {loss.what: loss.text for loss in via_losses(dataset)}
    assert losses["image size"].startswith("the sizes of 1 image")
    assert losses["file_name"].startswith("the file names of 1 image")
    assert losses["instances"].startswith("1 instance without a labeled keypoint or bbox")


def test_a_key_of_via_further_in_does_not_make_a_file_ambiguous(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    image = {"id": 1, "file_name": "a.png", "width": 9, "height": 9, "_via_settings": {}}
    path.write_text(json.dumps({"images": [image], "annotations": [], "categories": []}))
    assert formats.detect_format(path) == "coco"
    path.write_text(json.dumps({"_via_settings": {}, "_via_img_metadata": {}}))
    assert formats.detect_format(path) == "via"
