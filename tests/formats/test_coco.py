from __future__ import annotations

import contextlib
import io
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from kpwidget import formats, schemas
from kpwidget.dataset import Dataset
from kpwidget.images import ImageError
from kpwidget.schema import Category, FormatError, Schema

SHARED = Path(__file__).resolve().parents[3] / "shared"
EXAMPLES = SHARED / "format-examples"
PIXELS = np.zeros((48, 64, 3), np.uint8)

needs_examples = pytest.mark.skipif(
    not EXAMPLES.is_dir(), reason=f"the example files are not at {EXAMPLES}"
)


def content(**changes: Any) -> dict[str, Any]:
    """A small COCO file; `changes` replace top-level values."""
    return {
        "info": {"year": 2026},
        "licenses": [{"id": 1}],
        "images": [
            {"id": 1, "file_name": "a.png", "width": 64, "height": 48},
            {"id": 2, "file_name": "b.png", "width": 64, "height": 48},
        ],
        "annotations": [annotation()],
        "categories": [
            {
                "supercategory": "thing",
                "id": 1,
                "name": "animal",
                "keypoints": ["nose", "tail"],
                "skeleton": [[1, 2]],
            },
            {"id": 90, "name": "cloud"},
        ],
        **changes,
    }


def annotation(**changes: Any) -> dict[str, Any]:
    return {
        "id": 5,
        "image_id": 1,
        "category_id": 1,
        "keypoints": [10.5, 8, 2, 0, 0, 0],
        "num_keypoints": 1,
        "bbox": [8, 5, 44, 37],
        "area": 1000.0,
        "iscrowd": 0,
        **changes,
    }


def read(tmp_path: Path, value: Any, **options: Any) -> Dataset:
    path = tmp_path / "labels.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return formats.read(path, **options)


def rewritten(dataset: Dataset, tmp_path: Path) -> dict[str, Any]:
    formats.write(dataset, tmp_path / "out.json")
    value: dict[str, Any] = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    return value


def same_text(a: Any, b: Any) -> bool:
    """Whether values, key order, and the kind of every number (1 or 1.0) are the same."""
    return json.dumps(a) == json.dumps(b)


# --- real files ---------------------------------------------------------------------------------


@needs_examples
def test_example_has_the_points_of_the_ground_truth() -> None:
    """The ground truth stands at the head of the notes on formats."""
    dataset = formats.read(EXAMPLES / "coco" / "person_keypoints.json")
    one, two = dataset.instances
    nan = np.nan
    np.testing.assert_array_equal(
        one.keypoints, [[10.5, 8.25, 2], [12, 7, 1], [nan, nan, 0], [50.5, 40, 2]]
    )
    np.testing.assert_array_equal(
        two.keypoints, [[30, 20, 2], [33, 18, 2], [28, 18, 1], [40, 30, 1]]
    )
    assert (one.bbox, one.area, one.bbox_source) == ((8, 5, 44, 37), 1000, "given")
    assert (two.bbox, two.area) == ((26, 16, 16, 16), 256)
    assert [image.file_name for image in dataset.images] == ["img1.png", "img2.png"]
    assert dataset.images[1].instances == []
    assert (one.uid, one.id, one.source) == ("coco:1", 1, "imported")
    assert dataset.validate() == []


@needs_examples
def test_quirks_are_accepted_and_kept(tmp_path: Path) -> None:
    path = EXAMPLES / "coco" / "quirks.json"
    with pytest.warns(UserWarning, match="'colors' not used, though kept in the file"):
        dataset = formats.read(path)
    original = json.loads(path.read_text())
    assert [c.name for c in dataset.categories] == ["animal"]
    assert dict(dataset.categories[0].extra) == {"colors": {"nose": "#ff0000"}, "isthing": 1}
    assert [i.id for i in dataset.instances] == [1, 2, 900000000000001, 4]
    first, crowd, odd = (dataset.instances[i] for i in (0, 2, 3))
    assert (first.track_id, first.score) == (None, 0.5)
    assert first.extra["attributes"] == {"occluded": False, "track_id": 7}
    assert (crowd.iscrowd, crowd.n_labeled, crowd.bbox) == (1, 0, (0, 0, 10, 10))
    np.testing.assert_array_equal(odd.keypoints[0], [np.nan, np.nan, 0])
    assert odd.raw.tolist() == [[5.5, 5.5, 0], [6, 6, 2], [0, 0, 2], [-1.5, 70.25, 1]]
    assert dataset.images[0].extra["crowdIndex"] == 0.3
    assert dataset.extra == {"kpwidget_unknown_top": {"a": 1}}
    assert same_text(rewritten(dataset, tmp_path), original)
    assert [(p.keypoint, p.what.split(",")[0]) for p in dataset.validate()[1:]] == [
        ("nose", "unlabeled (visibility 0)"),
        ("right_eye", "labeled (visibility 2) at (0"),
        ("tail", "(-1.5"),
    ]


REAL_FILES = [
    "format-examples/coco/person_keypoints.json",
    "format-examples/coco-wholebody",
    "format-examples/crowdpose",
    "format-examples/ap10k",
    "format-examples/roboflow-coco-keypoint",
    "data/coco-mini",
    "data/coco-people/test_coco.json",
    "data/animal-ap10k",
    "data/tracks-posetrack18",
    "data/face-wflw",
]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the shared files are not at {SHARED}")
@pytest.mark.parametrize("where", REAL_FILES)
def test_real_files_agree_with_pycocotools_and_come_back_the_same(
    where: str, tmp_path: Path
) -> None:
    from pycocotools.coco import COCO

    place = SHARED / where
    found = [place] if place.is_file() else sorted(place.rglob("*.json"))
    n_read = 0
    for path in found:
        original = json.loads(path.read_text())
        if not (isinstance(original, dict) and "categories" in original):
            continue  # predictions
        n_read += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # edges that CrowdPose's files get wrong
            dataset = formats.read(path)
        with contextlib.redirect_stdout(io.StringIO()):
            oracle = COCO(path)
        assert len(dataset.images) == len(oracle.imgs)
        with_keypoints = {c["id"] for c in oracle.cats.values() if c.get("keypoints")}
        expected = [a for a in oracle.anns.values() if a["category_id"] in with_keypoints]
        assert [i.id for i in dataset.instances] == [a["id"] for a in expected]
        for instance, record in zip(dataset.instances, expected, strict=True):
            points = np.reshape(record["keypoints"], (-1, 3))
            np.testing.assert_array_equal(instance.raw[: len(points)], points)
            assert instance.image.id == record["image_id"]
        assert same_text(rewritten(dataset, tmp_path), original)
    assert n_read > 0


# --- writing ------------------------------------------------------------------------------------


def test_new_dataset_is_written_as_pycocotools_needs_it(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    tiny_dataset.add_instance("c.png", "bolt")
    path = tmp_path / "labels.json"
    report = formats.write(tiny_dataset, path, format="coco")
    assert os.listdir(tmp_path) == ["labels.json"]
    assert (report.n_images, report.n_instances, report.n_new_ids) == (3, 3, 3)
    value = json.loads(path.read_text())
    assert list(value) == ["info", "licenses", "images", "annotations", "categories"]
    assert value["images"][1] == {"id": 2, "file_name": "b.png", "width": 64, "height": 48}
    assert value["annotations"][0] == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "keypoints": [10.5, 8.25, 2, 12.0, 7.0, 1, 0, 0, 0, 50.5, 40.0, 2],
        "num_keypoints": 3,
        "bbox": [10.5, 7.0, 40.0, 33.0],
        "area": 1320.0,
        "iscrowd": 0,
    }
    assert value["categories"][0] == {
        "id": 1,
        "name": "animal",
        "keypoints": ["nose", "left_eye", "right_eye", "tail"],
        "skeleton": [[1, 2], [1, 3], [1, 4]],
        "flip_pairs": [["left_eye", "right_eye"]],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        oracle = COCO(path)
        result = {
            "image_id": 1,
            "category_id": 1,
            "keypoints": value["annotations"][0]["keypoints"],
            "score": 0.9,
        }
        evaluation = COCOeval(oracle, oracle.loadRes([result]), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.full(4, 0.05)
        evaluation.params.catIds = [1]
        evaluation.evaluate()
    assert evaluation.ious[1, 1].tolist() == [[1.0]]
    back = formats.read(path, images=dict.fromkeys(("a.png", "b.png", "c.png"), PIXELS))
    assert tiny_dataset.differences(back) == []
    assert back.instances[2].bbox_source == "derived"


def test_annotations_stand_in_the_order_of_instances_one_record_a_line(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    tiny_dataset.add_instance("c.png", "bolt", uid="three")
    tiny_dataset.instance("one").remove()
    tiny_dataset.undo()
    value = rewritten(tiny_dataset, tmp_path)
    assert [(a["id"], a["image_id"]) for a in value["annotations"]] == [(1, 1), (2, 1), (3, 3)]
    lines = (tmp_path / "out.json").read_text().splitlines()
    assert sum(line.startswith('{"id": ') for line in lines) == 3 + 3 + 2


def test_ids_are_given_once_and_never_again(tiny_dataset: Dataset, tmp_path: Path) -> None:
    rewritten(tiny_dataset, tmp_path)
    tiny_dataset.instance("two").remove()
    new = tiny_dataset.add_instance("b.png", "bolt")
    value = rewritten(tiny_dataset, tmp_path)
    assert [a["id"] for a in value["annotations"]] == [1, 3]
    assert new.id == 3
    tiny_dataset.undo()
    tiny_dataset.undo()
    assert tiny_dataset.instance("two").id == 2


def test_new_ids_are_above_all_ids_of_the_file(tmp_path: Path) -> None:
    records = [annotation(id=2**40), {"id": 2**50, "image_id": 1, "category_id": 90}]
    dataset = read(tmp_path, content(annotations=records))
    dataset.add_instance("b.png", "animal")
    assert [a["id"] for a in rewritten(dataset, tmp_path)["annotations"]] == [
        2**40, 2**50, 2**50 + 1,
    ]  # fmt: skip


def test_new_id_is_a_free_one_when_the_last_is_taken(tmp_path: Path) -> None:
    dataset = read(tmp_path, content(annotations=[annotation(id=2**63 - 1), annotation(id=1)]))
    assert dataset.add_instance("b.png", "animal").id is None
    rewritten(dataset, tmp_path)
    assert [i.id for i in dataset.instances] == [2**63 - 1, 1, 2]


def test_edited_record_changes_in_what_was_edited_only(tmp_path: Path) -> None:
    record = annotation(
        keypoints=[10, 8.0, 2.0, 5.5, 6, 0],
        segmentation={"size": [48, 64], "counts": "abc"},
        note={"z": 1, "a": [2.50, 3]},
    )
    dataset = read(tmp_path, content(annotations=[record]))
    dataset.instances[0].set_keypoint("nose", 11, 8)
    written = rewritten(dataset, tmp_path)["annotations"][0]
    # Number by number: the others keep the digits they had.
    assert same_text(written, {**record, "keypoints": [11.0, 8.0, 2.0, 5.5, 6, 0]})
    dataset.instances[0].set_keypoint("tail", 7.25, 6)
    written = rewritten(dataset, tmp_path)["annotations"][0]
    expected = {**record, "keypoints": [11.0, 8.0, 2.0, 7.25, 6, 2], "num_keypoints": 2}
    assert same_text(written, expected)
    dataset.undo()
    dataset.undo()
    assert same_text(rewritten(dataset, tmp_path)["annotations"][0], record)


def test_location_of_an_unlabeled_point_goes_when_it_is_edited(tmp_path: Path) -> None:
    dataset = read(tmp_path, content(annotations=[annotation(keypoints=[1, 1, 2, 5.5, 6, 0])]))
    instance = dataset.instances[0]
    instance.set_keypoints(instance.keypoints)
    assert instance.raw[1].tolist() == [5.5, 6, 0]
    instance.clear_keypoint("tail")
    assert instance.raw[1].tolist() == [0, 0, 0]
    assert rewritten(dataset, tmp_path)["annotations"][0]["keypoints"] == [1, 1, 2, 0, 0, 0]
    dataset.undo()
    assert instance.raw[1].tolist() == [5.5, 6, 0]


def test_num_keypoints_of_an_unedited_record_is_left_alone(tmp_path: Path) -> None:
    """CrowdPose counts the first 12 of 14 points."""
    dataset = read(tmp_path, content(annotations=[annotation(num_keypoints=0, bbox=[1, 1, 5, 5])]))
    dataset.instances[0].set_bbox((2, 2, 6, 6.5))
    written = rewritten(dataset, tmp_path)["annotations"][0]
    expected = annotation(num_keypoints=0, bbox=[2.0, 2.0, 6.0, 6.5])
    assert same_text(written, expected)


def test_missing_optional_fields_stay_missing_until_the_record_is_edited(tmp_path: Path) -> None:
    bare = {"id": 3, "image_id": 1, "category_id": 1}
    value = content(annotations=[bare])
    del value["info"], value["licenses"]
    dataset = read(tmp_path, value)
    assert (dataset.instances[0].bbox, dataset.instances[0].iscrowd) == (None, 0)
    assert same_text(rewritten(dataset, tmp_path), value)
    dataset.instances[0].set_keypoint("nose", 4, 5, 1)
    assert rewritten(dataset, tmp_path)["annotations"] == [
        {
            **bare,
            "keypoints": [4, 5, 1, 0, 0, 0],
            "num_keypoints": 1,
            "bbox": [3.5, 4.5, 1, 1],
            "area": 1,
        }
    ]


def test_records_that_are_no_instances_keep_their_places(tmp_path: Path) -> None:
    box = {"id": 1, "image_id": 2, "category_id": 90, "bbox": [1, 1, 2, 2]}
    value = content(annotations=[box, annotation(), {**box, "id": 9}], note="top")
    value["images"].insert(1, dict(value["images"][0]))
    value["categories"].insert(0, {"id": 0, "name": "all", "keypoints": []})
    dataset = read(tmp_path, value)
    assert (len(dataset.images), len(dataset.instances), len(dataset.categories)) == (2, 1, 1)
    assert same_text(rewritten(dataset, tmp_path), value)
    dataset.add_instance("b.png", "animal")
    ids = [a["id"] for a in rewritten(dataset, tmp_path)["annotations"]]
    assert ids == [1, 5, 9, 10]


def test_list_of_images_without_annotations_can_be_labeled(tmp_path: Path) -> None:
    value = content()
    del value["annotations"]
    dataset = read(tmp_path, value)
    assert same_text(rewritten(dataset, tmp_path), value)
    dataset.add_instance("a.png", "animal")
    assert len(rewritten(dataset, tmp_path)["annotations"]) == 1


def test_text_is_kept_whatever_it_is(tmp_path: Path) -> None:
    value = content()
    value["images"][0]["file_name"] = "Käfer 虫 \u2028.png"
    value["annotations"][0]["note"] = "half of a pair: \ud800, \x00"
    dataset = read(tmp_path, value)
    assert same_text(rewritten(dataset, tmp_path), value)
    path = tmp_path / "plain.json"
    del value["annotations"][0]["note"]
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    dataset = formats.read(path)
    dataset.add_instance(0, "animal")
    rewritten(dataset, tmp_path)
    assert "Käfer 虫".encode() in (tmp_path / "out.json").read_bytes()


def test_extra_that_no_json_can_hold_leaves_the_old_file(
    tmp_path: Path, tiny_schema: Schema
) -> None:
    dataset = Dataset.from_images({"a.png": np.zeros((4, 4))}, tiny_schema)
    path = tmp_path / "labels.json"
    formats.write(dataset, path)
    before = path.read_bytes()
    dataset.extra = {5: 1}  # type: ignore[dict-item]
    with pytest.raises(TypeError, match=r"dataset\.extra: expected text as keys, got 5"):
        formats.write(dataset, path)
    dataset.extra = {"x": object()}
    with pytest.raises(TypeError):
        formats.write(dataset, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["labels.json"]


def test_unreadable_image_is_written_without_its_size(tmp_path: Path, tiny_schema: Schema) -> None:
    dataset = Dataset.from_images({"broken.png": b"no image"}, tiny_schema)
    dataset.add_instance(0, is_finished=False)
    dataset.images[0].set_status("done")
    report = formats.write(dataset, tmp_path / "out.json")
    value = json.loads((tmp_path / "out.json").read_text())
    assert value["images"] == [{"id": 1, "file_name": "broken.png"}]
    assert [note.split(":")[0] for note in report.notes] == [
        "image 'broken.png' is written without width and height",
        "COCO has no field for 'not finished', which 1 instance is",
        "COCO has no field for 'done', which 1 image is",
    ]
    assert "written without width" in str(report)


def test_selection_is_written_with_the_ids_of_its_dataset(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    formats.write(tiny_dataset.select(category="bolt"), tmp_path / "out.json")
    value = json.loads((tmp_path / "out.json").read_text())
    assert [(a["id"], a["category_id"]) for a in value["annotations"]] == [(2, 7)]
    assert tiny_dataset.instance("two").id == 2
    assert [image["id"] for image in value["images"]] == [1]


finite = st.floats(allow_nan=False, allow_infinity=False)
coordinate = st.floats(-1e100, 1e100)
point = st.none() | st.tuples(coordinate, coordinate, st.sampled_from([1, 2]))
box = st.tuples(coordinate, coordinate, coordinate.map(abs), coordinate.map(abs)).filter(any)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | finite | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                               max_size=3),
    max_leaves=5,
)  # fmt: skip
new_instance = st.fixed_dictionaries(
    {
        "image": st.integers(0, 1),
        "keypoints": st.lists(point, min_size=2, max_size=2),
        "bbox": st.none() | box,
        "track_id": st.none() | st.integers(-(2**70), 2**70) | st.text(max_size=5),
        "score": st.none() | finite,
    }
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(instances=st.lists(new_instance, max_size=5), extra=json_value)
def test_any_dataset_comes_back_equal(
    tmp_path: Path, instances: list[dict[str, Any]], extra: Any
) -> None:
    schema = Schema("animal", ["nose", "tail"], [(1, 2)])
    images = {"a.png": PIXELS, "b.png": PIXELS}
    dataset = Dataset.from_images(images, Category(3, schema, "x", "thing", {"e": extra}))
    dataset.extra = {"more": extra}
    for values in instances:
        rows = [(np.nan, np.nan, 0) if p is None else p for p in values.pop("keypoints")]
        dataset.add_instance(keypoints=rows, **values)
    formats.write(dataset, tmp_path / "out.json")
    back = formats.read(tmp_path / "out.json", images=images)
    assert dataset.differences(back) == []
    first = (tmp_path / "out.json").read_bytes()
    formats.write(back, tmp_path / "out.json")
    assert (tmp_path / "out.json").read_bytes() == first


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keypoints": [1, 2, 2]}, r"'keypoints' has 3 numbers, expected 6 \(2 keypoints x 3\) "
         "for category 'animal'"),
        ({"keypoints": "abc"}, "'keypoints' is str, expected a list of 6 numbers"),
        ({"keypoints": [1, 2, 3, 0, 0, 0]}, r"keypoint 'nose' is \[1, 2, 3\], expected .* 0, 1 or"),
        ({"keypoints": [1, 2, 2.5, 0, 0, 0]}, r"keypoint 'nose' is \[1, 2, 2.5\]"),
        ({"keypoints": [1, 2, True, 0, 0, 0]}, r"keypoint 'nose' is \[1, 2, True\]"),
        ({"keypoints": [1, None, 2, 0, "x", 1]}, r"keypoint 'tail' is \[0, 'x', 1\]"),
        ({"image_id": 3}, "'image_id' is 3, no image has this id"),
        ({"image_id": True}, "'image_id' is True, no image has this id"),
        ({"image_id": 1.0}, "'image_id' is 1.0, no image has this id"),
        ({"category_id": 2}, "'category_id' is 2, no category has this id"),
        ({"bbox": [1, 2, 3]}, r"'bbox' is \[1, 2, 3\], expected 4 numbers"),
        ({"area": "big"}, "'area' is 'big', expected a number"),
        ({"iscrowd": 2}, "'iscrowd' is 2, expected 0 or 1"),
        ({"score": "high"}, "'score' is 'high', expected a number"),
        ({"id": "5"}, "'id' is '5', expected an integer of 64 bits"),
        ({"id": 2**63}, "'id' is 9223372036854775808, expected an integer of 64 bits"),
    ],
)  # fmt: skip
def test_bad_annotation_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    value = content(annotations=[annotation(id=4), annotation(**changes)])
    name = changes.get("id", 5)
    where = rf"labels.json: annotation {name!r} \(number 2 in the file\): "
    with pytest.raises(FormatError, match=where + ".*" + message):
        read(tmp_path, value)
    with pytest.warns(UserWarning, match="1 bad record left out|2 bad records left out"):
        dataset = read(tmp_path, value, on_error="skip")
    assert [i.id for i in dataset.instances] == [4]
    assert same_text(rewritten(dataset, tmp_path), value)


def test_all_bad_records_are_named_at_once(tmp_path: Path) -> None:
    value = content(
        images=[
            {"id": 1, "file_name": "a.png", "width": 0, "height": 48.5},
            {"id": 2, "file_name": "b.png"},
            {"id": 2, "file_name": "c.png"},
            {"id": None, "file_name": 5},
            "image",
        ],
        annotations=[annotation(), annotation(image_id=2), annotation(image_id=2), 7],
    )
    value["categories"].append({"id": 90, "name": "other"})
    value["categories"].append({"id": 5, "keypoints": ["a", "a"]})
    with pytest.raises(FormatError) as error:
        read(tmp_path, value)
    lines = str(error.value).replace(str(tmp_path), "").splitlines()
    assert lines == [
        "/labels.json: category 90 (number 3 in the file): its id is that of an earlier category, "
        "expected ids that differ",
        "/labels.json: category 5 (number 4 in the file): 'name' is missing, expected text",
        *[line for line in lines if "'a'" in line],
        "/labels.json: image 1 (number 1 in the file): 'width' is 0, expected a whole number of "
        "pixels above 0",
        "/labels.json: image 1 (number 1 in the file): 'height' is 48.5, expected a whole number "
        "of pixels above 0",
        "/labels.json: image 2 (number 3 in the file): its id is that of an earlier image, "
        "expected ids that differ",
        "/labels.json: image number 4 in the file: 'id' is None, expected an integer of 64 bits "
        "or text",
        "/labels.json: image number 5 in the file: expected an object, got str",
        "/labels.json: annotation 5 (number 1 in the file): 'image_id' is 1, no image has this id",
        "/labels.json: annotation 5 (number 3 in the file): its id is that of an earlier "
        "annotation, expected ids that differ",
        "/labels.json: annotation number 4 in the file: expected an object, got int",
        lines[-1],
    ]
    assert "11 bad records; on_error='skip' leaves them out" in lines[-1]
    assert any("'a'" in line for line in lines)
    with pytest.warns(UserWarning, match="bad records left out"):
        dataset = read(tmp_path, value, on_error="skip")
    assert len(dataset.skipped) == 11
    assert same_text(rewritten(dataset, tmp_path), value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\ufeff{}", "byte 0: .*UTF-8 byte order mark"),
        ('{"images": [', r"line 1, column 13"),
        ('{"images": [],\n "a": NaN}', "line 2, column 7: NaN is not JSON"),
        ('{"images": [],\n "a": -Infinity}', "line 2, column 7: -Infinity is not JSON"),
        ('{"a": 1e400}', "the number '1e400' is too large for a float"),
        ('{"a": 1,\n "a": 2}', "line 2, column 2: the key 'a' is given twice"),
        ("[" * 100_000, "nested deeper than JSON can be read here"),
        ("[1]", "this is a list; expected an object"),
        ("[]", "this is an empty list; expected an object"),
        ("{}", "the file holds {}, an empty object: no labels"),
        ("3", "not a COCO file: expected an object, got int"),
        ('{"keypoints": []}', "'images' is missing\n.*'categories' is missing\n.*'keypoints'"),
        ('{"images": {}, "categories": []}', "'images' is dict, expected a list"),
    ],
)
def test_file_that_is_not_coco_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=f"labels.json: .*{message}"):
        read(tmp_path, text)


def test_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(FormatError, match="labels.json: byte 7: not UTF-8"):
        formats.read(path)


@pytest.mark.parametrize(
    ("skeleton", "edges", "message"),
    [
        ([[1, 2], [2, 17]], [[0, 1]], r"1 edge with keypoints that are not in 1..2 \(\[\[2, 17"),
        ([[0, 1], [1, 2]], [], "seems to count from 0 where COCO counts from 1"),
    ],
)
def test_edges_out_of_range_stay_in_the_file_and_are_not_drawn(
    tmp_path: Path, skeleton: list[list[int]], edges: list[list[int]], message: str
) -> None:
    value = content()
    value["categories"][0]["skeleton"] = skeleton
    with pytest.warns(UserWarning, match=message) as caught:
        dataset = read(tmp_path, value)
    assert caught[0].filename == __file__
    assert dataset.categories[0].schema.edges.tolist() == edges
    assert same_text(rewritten(dataset, tmp_path), value)


def test_on_error_is_raise_or_skip(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on_error is 'raise' or 'skip', not 'ignore'"):
        read(tmp_path, content(), on_error="ignore")


# --- images -------------------------------------------------------------------------------------


def write_png(path: Path, width: int = 64, height: int = 48) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(path)


def test_missing_and_bad_images_fail_only_when_opened(tmp_path: Path) -> None:
    images = [
        {"id": i, "file_name": name}
        for i, name in enumerate(("there.png", "gone.png", "../out.png", "broken.png"), start=1)
    ]
    root = tmp_path / "images"
    write_png(root / "there.png", 10, 20)
    write_png(tmp_path / "out.png")
    (root / "broken.png").write_bytes(b"no image")
    dataset = read(tmp_path, content(images=images), images=root)
    assert dataset.images[0].size == (10, 20)
    assert dataset.images[0].path == root / "there.png"
    for name, message in (("gone.png", "gone"), ("../out.png", "out of"), ("broken.png", "broken")):
        with pytest.raises(ImageError, match=message):
            dataset.images[name].open()
    outside = read(tmp_path, content(images=images), images=root, allow_outside=True)
    assert outside.images["../out.png"].open().size == (64, 48)
    assert same_text(rewritten(dataset, tmp_path), content(images=images))


def test_images_are_looked_for_in_folders_files_and_mappings(tmp_path: Path) -> None:
    write_png(tmp_path / "one" / "a.png", 10, 10)
    write_png(tmp_path / "two" / "b.png", 20, 20)
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]

    def sizes(where: Any) -> list[tuple[int, int]]:
        dataset = read(tmp_path, content(images=images), images=where)
        return [image.size for image in dataset.images]

    assert sizes([tmp_path / "one", tmp_path / "two"]) == [(10, 10), (20, 20)]
    assert sizes(str(tmp_path / "*" / "*.png")) == [(10, 10), (20, 20)]
    assert sizes({"a.png": PIXELS, "b.png": tmp_path / "two" / "b.png"}) == [(64, 48), (20, 20)]
    beside = read(tmp_path / "one", content(images=images))
    assert beside.images[0].size == (10, 10)
    only_one = read(tmp_path, content(images=images), images={"a.png": PIXELS})
    with pytest.raises(ImageError, match="none of the images that were given has this name"):
        only_one.images[1].open()
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        sizes(tmp_path / "three")


def test_images_are_found_by_their_last_part_on_request(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for place in ("x/a.png", "x/b.png", "y/b.png"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS).save(folder / place)
    value = content()
    value["images"][0]["file_name"] = "C:\\old\\a.png"
    value["images"][1]["file_name"] = "train/b.png"
    exact = read(tmp_path, value, images=folder)
    assert [image.path for image in exact.images] == [None, folder / "train/b.png"]
    dataset = read(tmp_path, value, images=folder, match="name")
    assert dataset.images[0].path == folder / "x" / "a.png"
    with pytest.raises(ImageError, match="2 files under the image roots .* have this name"):
        dataset.images[1].open()
    (folder / "x" / "b.png").unlink()
    dataset = read(tmp_path, value, images=folder, match="name")
    assert dataset.images[1].path == folder / "y" / "b.png"
    assert rewritten(dataset, tmp_path) == value
    (folder / "x" / "c.png").symlink_to(tmp_path / "secret.png")
    value["images"][1]["file_name"] = "../c.png"
    with pytest.raises(ImageError, match="outside|leads out"):
        read(tmp_path, value, images=folder, match="name").images[1].open()
    with pytest.raises(ValueError, match="match is 'path' or 'name', not 'base'"):
        read(tmp_path, value, match="base")


def test_category_without_names_is_read_with_a_schema(tmp_path: Path) -> None:
    value = content()
    value["annotations"][0]["category_id"] = 90
    value["annotations"][0]["keypoints"] = [1, 2, 2, 3, 4, 1]
    with pytest.warns(
        UserWarning,
        match="category 'cloud' names no keypoints, but the file has 1 annotation of it with 2",
    ):
        assert len(read(tmp_path, value).instances) == 0
    schema = Schema("two", ["left", "right"])
    alone = {**value, "categories": value["categories"][1:]}
    for labeled, option in ((alone, schema), (value, {"cloud": schema})):
        dataset = read(tmp_path, labeled, schema=option)
        assert dataset.category("cloud").keypoints == ("left", "right")
        assert dataset.instances[0].raw.tolist() == [[1, 2, 2], [3, 4, 1]]
        assert same_text(rewritten(dataset, tmp_path), labeled)
        dataset.instances[0].set_keypoint("right", 5, 6)
        written = rewritten(dataset, tmp_path)
        assert written["annotations"][0]["keypoints"] == [1, 2, 2, 5.0, 6.0, 2]
        assert written["categories"] == labeled["categories"]


def test_schema_with_the_keypoints_of_a_category_gives_what_the_file_lacks(tmp_path: Path) -> None:
    coco17 = schemas.get("coco17")
    record = {"id": 1, "name": "person", "keypoints": list(coco17.keypoints),
              "skeleton": [[1, 2]], "sigmas": [0.5] * 17}  # fmt: skip
    value = content(annotations=[], categories=[record])
    for option in (coco17, {"person": coco17}):
        dataset = read(tmp_path, value, schema=option)
        (category,) = dataset.categories
        assert category.schema.flip_pairs == coco17.flip_pairs
        np.testing.assert_array_equal(category.schema.sigmas, coco17.sigmas)
        assert category.schema.colors == coco17.colors
        assert category.schema.skeleton == [[1, 2]], "the file's"
        before = Path(dataset.path or "").read_bytes()
        report = formats.write(dataset, tmp_path / "out.json")
        assert report.path.read_bytes() == before
    # An edit writes what was edited.
    dataset.rename_category("person", "human")
    formats.write(dataset, tmp_path / "out.json")
    (written,) = json.loads((tmp_path / "out.json").read_text())["categories"]
    assert written == {**record, "name": "human"}
    del record["skeleton"]
    dataset = read(tmp_path, value, schema=coco17)
    assert dataset.categories[0].schema.skeleton == coco17.skeleton


def test_instances_in_another_order_are_compared_by_their_ids(
    tmp_path: Path, tiny_dataset: Dataset
) -> None:
    formats.write(tiny_dataset, tmp_path / "a.json")
    value = json.loads((tmp_path / "a.json").read_text())
    value["annotations"].reverse()
    again = read(tmp_path, value)  # with uids of the file
    said = "the order of instances is another; they are compared by id"
    assert tiny_dataset.differences(again) == [said]
    again.instances[0].remove()
    assert tiny_dataset.differences(again)[0] == "dataset: instances is 2 and 1"


@pytest.mark.parametrize(
    ("n", "noun", "words"),
    [
        (1, "bad entry", "1 bad entry"),
        (0, "bad entry", "0 bad entries"),
        (2, "bbox without a size", "2 bboxes without a size"),
        (1234, "image of unknown size", "1,234 images of unknown size"),
    ],
)
def test_numbers_are_said_in_singular_and_plural(n: int, noun: str, words: str) -> None:
    assert formats.count(n, noun) == words


def test_help_of_read_and_write_names_the_options_of_every_format() -> None:
    for function, role in ((formats.read, "reader"), (formats.write, "writer")):
        text = function.__doc__ or ""
        for row in formats.FORMATS.values():
            own = formats._own_options(formats._function(row, getattr(row, role)))
            assert row.name in text
            assert all(f"``{name}``" in text for name in own), (row.name, own)


def test_schema_with_other_keypoints_than_a_category_is_refused(tmp_path: Path) -> None:
    value = content()
    names = value["categories"][0]["keypoints"]
    with pytest.raises(
        ValueError, match=r"the file names the keypoints 2 \(\w+, \w+\), the schema 17"
    ):
        read(tmp_path, value, schema=schemas.get("coco17"), on_error="skip")
    with pytest.raises(ValueError, match="in another order"):
        read(tmp_path, value, schema=Schema("other", names[::-1]))
    known = Schema("other", ["x", "y"], aliases={"x": [names[0].upper()]})
    with pytest.raises(ValueError, match=rf"tell 1 \(not '{names[1]}'\) of 2: ds.migrate_schema"):
        read(tmp_path, value, schema=known)
    with pytest.raises(ValueError, match=r"there is no category 'car', the categories are '\w+'"):
        read(tmp_path, value, schema={"car": Schema("other", names)})
    with pytest.raises(TypeError, match=r"not 'coco17'; kp.schemas.get\('coco17'\) is one"):
        read(tmp_path, value, schema="coco17")


def test_category_read_with_a_schema_keeps_the_rest_of_its_record(tmp_path: Path) -> None:
    value = content()
    value["categories"][1] |= {"keypoints": [], "supercategory": "sky", "note": 1}
    value["annotations"][0] |= {"category_id": 90, "keypoints": [1, 2, 2, 3, 4, 1]}
    dataset = read(tmp_path, value, schema={"cloud": Schema("two", ["left", "right"])})
    cloud = dataset.category("cloud")
    assert (cloud.supercategory, cloud.extra) == ("sky", {"note": 1})
    assert same_text(rewritten(dataset, tmp_path), value)
    empty = Dataset()
    empty.merge(dataset)
    written = rewritten(empty, tmp_path)["categories"][1]
    assert written["keypoints"] == ["left", "right"]
    assert (written["supercategory"], written["note"]) == ("sky", 1)
    value["categories"][1]["supercategory"] = 3
    with pytest.raises(FormatError, match="category 90 .*'supercategory' is 3, expected text"):
        read(tmp_path, value, schema={"cloud": Schema("two", ["left", "right"])})


def test_an_area_without_a_bbox_is_given_however_the_record_is_looked_at(tmp_path: Path) -> None:
    value = content()
    value["annotations"][0] = {"id": 1, "image_id": 1, "category_id": 1, "area": 0}
    value["annotations"][1:] = [{**value["annotations"][0], "id": 2, "k\u00e9y": 1}]
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        (tmp_path / "area.json").write_text(text, encoding="utf-8")
        dataset = formats.read(tmp_path / "area.json")
        assert [instance.area for instance in dataset.instances] == [0, 0]


def test_ambiguous_file_name_is_not_guessed(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_png(tmp_path / folder / "a.png")
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "two/a.png"}]
    dataset = read(tmp_path, content(images=images), images=str(tmp_path / "*" / "a.png"))
    assert dataset.images[1].path == tmp_path / "two" / "a.png"
    with pytest.raises(ImageError):
        dataset.images[0].open()


def test_images_of_one_name_are_told_apart_by_id(tmp_path: Path) -> None:
    images = [{"id": "x", "file_name": "a.png"}, {"id": 1, "file_name": "a.png"}]
    dataset = read(tmp_path, content(images=images))
    assert dataset.images.by_id("x").index == 0
    assert dataset.instances[0].image.index == 1
    with pytest.raises(KeyError, match="2 images have the file name 'a.png'"):
        dataset.images["a.png"]


# --- aliases and parts ----------------------------------------------------------------------------


def test_aliases_and_parts_of_a_schema_come_back_from_a_file(tmp_path):
    schema = Schema("arm", ["a", "b"], aliases={"a": ["shoulder"]}, parts={"all": (1, 2)})
    dataset = Dataset.from_images({"x.png": np.zeros((4, 4, 3), np.uint8)}, schema)
    formats.write(dataset, tmp_path / "arm.json", format="coco")
    again = formats.read(tmp_path / "arm.json").categories[0]
    assert (again.schema.aliases, again.schema.parts) == (schema.aliases, schema.parts)
    assert not again.extra


def test_fields_of_others_with_the_same_names_stay_what_they_are(tmp_path):
    theirs = {"aliases": "person, human", "parts": [{"name": "arm"}], "sigmas": [0.1]}
    category = {"id": 1, "name": "x", "keypoints": ["a"], "skeleton": [], **theirs}
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": [category]}))
    found = formats.read(path).categories[0]
    assert found.extra == {key: theirs[key] for key in ("aliases", "parts")}
    assert found.schema.sigmas.tolist() == [0.1]
    assert (found.schema.aliases, found.schema.parts) == ({}, {})
