"""Label Studio's tasks: its own SDK as oracle, percent, parents, annotators, and strangers."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kpwidget as kp
from kpwidget.dataset import Dataset, ImageState
from kpwidget.formats import LossError, detect_format
from kpwidget.formats.label_studio_write import percent_of, pixels
from kpwidget.schema import Category, FormatError, Schema

SHARED = Path(__file__).resolve().parents[3] / "shared"
EXAMPLE = SHARED / "format-examples" / "label-studio"
needs_example = pytest.mark.skipif(
    not EXAMPLE.is_dir(), reason="the example files of ../shared are not here"
)

CONFIG = """<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="bbox" toName="image"><Label value="bolt"/></RectangleLabels>
  <KeyPointLabels name="kp" toName="image">
    <Label value="tip" model_index="1"/><Label value="head" model_index="0"/>
  </KeyPointLabels>
  <Choices name="visibility" toName="image" perRegion="true">
    <Choice value="visible"/><Choice value="occluded"/>
  </Choices>
</View>"""


def item(kind: str, region: str, label: str, x: float, y: float, **more: Any) -> dict[str, Any]:
    """A region of an image of 200 x 100 px."""
    made = {
        "id": region, "type": kind, "from_name": {"rectanglelabels": "bbox"}.get(kind, "kp"),
        "to_name": "image", "original_width": 200, "original_height": 100, "image_rotation": 0,
        "value": {"x": x, "y": y, kind: [label]},
    }  # fmt: skip
    made["value"].update(more.pop("value", {}))
    return {**made, **more}


def box(region: str = "r1", **more: Any) -> dict[str, Any]:
    size = {"width": 20, "height": 30, "rotation": 0}
    return item("rectanglelabels", region, "bolt", 10, 20, value=size, **more)


def point(region: str, label: str, x: float, y: float, **more: Any) -> dict[str, Any]:
    return item("keypointlabels", region, label, x, y, **more)


def task(*result: Any, **more: Any) -> dict[str, Any]:
    annotation = {"id": 5, "completed_by": 3, "was_cancelled": False, "result": list(result)}
    return {
        "id": 8,
        "data": {"image": "/data/local-files/?d=some%20folder/a.png"},
        "annotations": [annotation],
        **more,
    }


def written(folder: Path, *tasks: Any, config: str | None = CONFIG) -> Path:
    path = folder / "tasks.json"
    path.write_text(json.dumps(list(tasks)))
    if config is not None:
        (folder / "label_config.xml").write_text(config)
    return path


WHOLE = (
    box(),
    point("p1", "tip", 15, 25, parentID="r1"),
    item("choices", "p1", "occluded", 15, 25),
    point("p2", "head", 12.5, 50, parentID="r1"),
)


# The ground truth of ../shared/formats.md.
FIRST = [[10.5, 8.25, 2], [12, 7, 1], [0, 0, 0], [50.5, 40, 2]]
SECOND = [[30, 20, 2], [33, 18, 2], [28, 18, 1], [40, 30, 1]]


@needs_example
@pytest.mark.parametrize("name", ["tasks.json", "tasks_with_relations.json"])
def test_example_has_the_ground_truth_and_is_written_with_the_same_values(
    name: str, tmp_path: Path
) -> None:
    path = EXAMPLE / name
    dataset = kp.read(path)
    assert [(i.file_name, i.id) for i in dataset.images] == [
        ("images/img1.png", 1),
        ("images/img2.png", 2),
    ]
    assert dataset.categories[0].keypoints == ("nose", "left_eye", "right_eye", "tail")
    raw = np.array([instance.raw for instance in dataset.instances])
    assert raw == pytest.approx(np.array([FIRST, SECOND]), abs=1e-9)
    boxes = [instance.bbox for instance in dataset.instances]
    assert np.array(boxes) == pytest.approx(np.array([[8, 5, 44, 37], [26, 16, 16, 16]]))
    assert [image.status for image in dataset.images] == ["started", "done"]
    for predictions in (False, True):
        again = kp.read(path, predictions=predictions)
        kp.write(again, tmp_path / "tasks.json", format="label-studio")
        assert json.loads((tmp_path / "tasks.json").read_text()) == json.loads(path.read_text())
    config = (tmp_path / "label_config.xml").read_text()
    assert config.split() == (EXAMPLE / "label_config.xml").read_text().split()


@needs_example
def test_predictions_have_scores_and_the_model_that_made_them(tmp_path: Path) -> None:
    dataset = kp.read(EXAMPLE / "tasks.json", predictions=True)
    (instance,) = dataset.instances
    assert (instance.score, instance.source) == (0.91, "model:kpwidget-example")
    assert instance.extra["keypoint_scores"] == [0.77, 0, 0, 0]
    assert instance.n_labeled == 1


@needs_example
def test_labels_studios_own_sdk_takes_what_is_written(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    interface = pytest.importorskip(
        "label_studio_sdk.label_interface", reason="pip install label-studio-sdk for its oracle"
    )
    converter = pytest.importorskip("label_studio_sdk.converter")
    tiny_dataset.add_instance(
        "b.png", "bolt", [[1, 2], [3, 4, 1]], source="model:m1", score=0.5, bbox=(1, 1, 9, 9)
    )
    for dataset, name in ((kp.read(EXAMPLE / "tasks.json"), "example"), (tiny_dataset, "tiny")):
        folder = tmp_path / name
        folder.mkdir()
        kp.write(dataset, folder / "tasks.json", format="label-studio", allow_loss=True)
        config = (folder / "label_config.xml").read_text()
        checker = interface.LabelInterface(config)
        tasks = json.loads((folder / "tasks.json").read_text())
        n_results = 0
        for found in tasks:
            for annotation in found["annotations"]:
                assert checker.validate_annotation(annotation)
                n_results += len(annotation["result"])
            for prediction in found["predictions"]:
                assert checker.validate_prediction(prediction, return_errors=True) == []
        assert n_results >= 6
        if name == "example":  # its converter knows one list of keypoints only
            tool = converter.Converter(config, project_dir=str(folder), download_resources=False)
            tool.convert_to_yolo(str(folder / "tasks.json"), str(folder / "yolo"), is_dir=False)
            (text,) = [p.read_text() for p in (folder / "yolo" / "labels").glob("*img1*.txt")]
            numbers = np.array([[float(n) for n in line.split()] for line in text.splitlines()])
            xy = numbers[:, 5:].reshape(2, 4, 3)[..., :2] * [64, 48]
            expected = np.array([FIRST, SECOND])
            assert xy == pytest.approx(expected[..., :2], abs=1e-3)


def test_places_are_percent_of_the_image(tmp_path: Path) -> None:
    path = written(tmp_path, task(*WHOLE))
    assert detect_format(path) == "label-studio"
    dataset = kp.read(path)
    (instance,) = dataset.instances
    assert dataset.images[0].file_name == "some folder/a.png"
    assert dataset.images[0].size == (200, 100)
    # model_index says the order: head, tip. 12.5 % of 200 px, 50 % of 100 px; 15 %, 25 %.
    assert instance.raw.tolist() == [[25, 50, 2], [30, 25, 1]]
    assert instance.bbox == (20, 20, 40, 30)
    assert (instance.annotator, instance.uid) == ("3", "ls:8:5:r1")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 400_000), st.integers(1, 4000))
def test_place_in_hundredths_of_a_pixel_comes_back(hundredths: int, side: int) -> None:
    xy = hundredths / 100
    assert pixels(percent_of(xy, side), side) == pytest.approx(xy, rel=1e-15, abs=1e-12)


def test_relation_stands_for_a_parent(tmp_path: Path) -> None:
    relation = {"type": "relation", "from_id": "p1", "to_id": "r2", "direction": "right"}
    tasks = task(box(), box("r2"), point("p1", "tip", 15, 25), relation)
    dataset = kp.read(written(tmp_path, tasks))
    assert [instance.n_labeled for instance in dataset.instances] == [0, 1]
    dataset.instances[1].clear_keypoint("tip")
    report = kp.write(dataset, tmp_path / "tasks.json", format="label-studio")
    assert "1 relation of regions that are gone left out" in report.notes
    (found,) = json.loads((tmp_path / "tasks.json").read_text())
    kinds = [i["type"] for i in found["annotations"][0]["result"]]
    assert kinds == ["rectanglelabels"] * 2


def test_relation_of_two_keypoints_says_nothing_of_instances(tmp_path: Path) -> None:
    relation = {"type": "relation", "from_id": "p1", "to_id": "p2", "direction": "right"}
    tip, head = point("p1", "tip", 15, 25), point("p2", "head", 1, 2)
    path = written(tmp_path, task(tip, head, relation))
    dataset = kp.read(path)
    assert [instance.n_labeled for instance in dataset.instances] == [2]
    kp.write(dataset, path, format="label-studio")
    (found,) = json.loads(path.read_text())
    assert relation in found["annotations"][0]["result"]


def test_keypoints_without_a_rectangle_are_one_instance(tmp_path: Path) -> None:
    path = written(tmp_path, task(point("p1", "tip", 15, 25), point("p2", "head", 1, 2)))
    dataset = kp.read(path)
    (instance,) = dataset.instances
    assert instance.bbox_source == "derived"
    kp.write(dataset, path, format="label-studio")
    (found,) = json.loads(path.read_text())
    kinds = [i["type"] for i in found["annotations"][0]["result"]]
    assert "rectanglelabels" not in kinds, "none is made up"
    assert kinds.count("keypointlabels") == 2


def test_newest_annotation_that_was_not_cancelled_is_read_and_all_are_written(
    tmp_path: Path,
) -> None:
    def by(number: int, when: str, x: float, **more: Any) -> dict[str, Any]:
        items = [box(), point("p1", "tip", x, 25, parentID="r1")]
        return {"id": number, "completed_by": number, "created_at": when, "result": items, **more}

    annotations = [
        by(1, "2026-01-03", 1),
        by(2, "2026-01-02", 2),
        by(3, "2026-01-04", 3, was_cancelled=True),
    ]
    path = written(tmp_path, {**task(), "annotations": annotations})
    with pytest.warns(UserWarning, match="1 task with several annotations: the newest"):
        dataset = kp.read(path)
    assert [(i.annotator, i.raw[1, 0]) for i in dataset.instances] == [("1", 2.0)]
    whole = kp.read(path, annotations="all")
    assert [(i.annotator, i.raw[1, 0]) for i in whole.instances] == [("1", 2.0), ("2", 4.0)]
    for read in (dataset, whole):
        kp.write(read, path, format="label-studio")
        (found,) = json.loads(path.read_text())
        assert found["annotations"] == annotations


def test_edit_changes_that_region_only(tmp_path: Path) -> None:
    choice = item("choices", "p2", "visible", 12.5, 50, meta={"a": 1})
    brush = {"id": "b", "type": "brushlabels", "value": {"rle": [1, 2]}}
    before = task(*WHOLE, choice, brush, meta={"mine": [1]})
    path = written(tmp_path, before)
    with pytest.warns(UserWarning, match="1 item besides keypoints"):
        dataset = kp.read(path)
    dataset.instances[0].set_keypoint("tip", 100, 75)
    dataset.add_instance(0, keypoints={"head": (2, 1)})
    kp.write(dataset, path, format="label-studio")
    (after,) = json.loads(path.read_text())
    assert (after["meta"], after["data"]) == (before["meta"], before["data"])
    result = {(i["type"], i["id"]): i for i in after["annotations"][0]["result"]}
    assert result["keypointlabels", "p1"]["value"]["x"] == 50
    assert result["keypointlabels", "p1"]["value"]["y"] == 75
    assert result["choices", "p1"]["value"]["choices"] == ["visible"]
    for unchanged in (box(), WHOLE[3], choice, brush):
        assert result[unchanged["type"], unchanged["id"]] == unchanged
    assert len(result) == 6 + 3, "a rectangle, a keypoint and its choice are new"


def test_rectangle_without_an_extent_is_a_bbox_and_not_a_turned_one(tmp_path: Path) -> None:
    none = box()
    none["value"].update(x=0, y=0, width=0, height=0)
    path = written(tmp_path, task(none, WHOLE[1], WHOLE[3]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = kp.read(path)
    assert dataset.instances[0].bbox == (0, 0, 0, 0)


def test_turned_rectangle_is_kept_and_is_no_bbox(tmp_path: Path) -> None:
    turned = box()
    turned["value"]["rotation"] = 30
    path = written(tmp_path, task(turned, WHOLE[1], WHOLE[3]))
    with pytest.warns(UserWarning, match="1 turned rectangle"):
        dataset = kp.read(path)
    assert dataset.instances[0].bbox_source == "derived"
    kp.write(dataset, path, format="label-studio")
    (found,) = json.loads(path.read_text())
    assert turned in found["annotations"][0]["result"]


def test_several_categories_have_lists_of_keypoints_of_their_own(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    before = [i.raw.tolist() for i in tiny_dataset.instances]
    tiny_dataset.images["c.png"].set_status("done")
    kp.write(tiny_dataset, tmp_path / "out.json", format="label-studio", allow_loss=True)
    again = kp.read(tmp_path / "out.json")
    assert [(c.name, c.keypoints) for c in again.categories] == [
        ("animal", ("nose", "left_eye", "right_eye", "tail")),
        ("bolt", ("head", "tip")),
    ]
    assert [i.raw.tolist() for i in again.instances] == before
    assert [i.status for i in again.images] == ["started", "unlabeled", "done"]
    assert [i.size for i in again.images] == [(64, 48)] * 3
    schema = kp.Schema("x", ["head", "tip"], [(1, 2)])
    with_edges = kp.read(tmp_path / "out.json", schema={"bolt": schema})
    assert with_edges.categories[1].schema.skeleton == [[1, 2]]
    with pytest.raises(ValueError, match="expected those of category 'animal'"):
        kp.read(tmp_path / "out.json", schema=schema)


def test_what_is_lost_is_named_and_refused_until_allowed(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    tiny_dataset.add_instance("b.png", "bolt", score=0.5, track_id=3)
    with pytest.raises(LossError) as caught:
        kp.write(tiny_dataset, tmp_path / "out.json", format="label-studio")
    assert {loss.what: loss.text for loss in caught.value.losses} == {
        "bbox": "1 instance without bbox and labeled keypoint: left out",
        "score": "the scores of 1 instance that no model has made",
        "track_id": "the track_id of 1 instance",
        "skeleton": "the 4 edges of the skeletons",
        "flip_pairs": "the flip pairs of 1 category",
        "category id": "the ids of 1 category (read again, they are 1, 2, ...)",
    }
    assert list(tmp_path.iterdir()) == []


def test_another_config_beside_the_file_is_not_replaced(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "label_config.xml").write_text(CONFIG)
    with pytest.raises(FileExistsError, match="another labeling config"):
        kp.write(tiny_dataset, tmp_path / "out.json", format="label-studio", allow_loss=True)
    assert (tmp_path / "label_config.xml").read_text() == CONFIG
    assert not (tmp_path / "out.json").exists()


def test_text_of_any_kind_comes_back(tmp_path: Path) -> None:
    names = ["<img src=x onerror=alert(1)>", "a&b;\"'", "Käfer 虫"]
    dataset = Dataset([Category(1, Schema("<b>", names), "<b>")])
    dataset._add_image(ImageState(4, "ü ?&#%20.png", None, recorded_size=(64, 48)))
    dataset.add_instance(0, keypoints=[[1, 2, 2], [3, 4, 1], [0.1, 0.3, 2]], bbox=(0, 0, 9, 9))
    kp.write(dataset, tmp_path / "out.json", format="label-studio")
    again = kp.read(tmp_path / "out.json")
    assert again.categories[0].keypoints == tuple(names)
    assert (again.categories[0].name, again.images[0].file_name) == ("<b>", "ü ?&#%20.png")
    assert again.instances[0].raw.tolist() == [[1, 2, 2], [3, 4, 1], [0.1, 0.3, 2]]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("/data/local-files/?d=a/b%20c.png", "a/b c.png"),
        ("/data/upload/3/ab12-x.png", "upload/3/ab12-x.png"),
        ("s3://bucket/a/x.png", "a/x.png"),
        ("https://host/a%20b/x.png?sig=1", "a b/x.png"),
        ("frames/x.png", "frames/x.png"),
    ],
)
def test_image_of_a_task_has_a_file_name(value: str, name: str, tmp_path: Path) -> None:
    path = written(tmp_path, {**task(*WHOLE), "data": {"image": value, "other": 1}})
    dataset = kp.read(path)
    assert dataset.images[0].file_name == name
    kp.write(dataset, path, format="label-studio")
    assert json.loads(path.read_text())[0]["data"] == {"image": value, "other": 1}


def test_file_name_cannot_lead_out(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    data = {"image": "/data/local-files/?d=../a.png"}
    path = written(tmp_path / "labels", {**task(*WHOLE), "data": data})
    with pytest.raises(ValueError, match="leads out"):
        kp.read(path).images[0].open()


def test_completions_of_old_files_are_annotations(tmp_path: Path) -> None:
    old = task(*WHOLE)
    old["completions"] = old.pop("annotations")
    dataset = kp.read(written(tmp_path, old))
    assert len(dataset.instances) == 1


def test_without_a_config_names_are_those_that_come(tmp_path: Path) -> None:
    path = written(tmp_path, task(*WHOLE), config=None)
    with pytest.warns(UserWarning, match="there is no labeling config"):
        dataset = kp.read(path)
    assert [(c.name, c.keypoints) for c in dataset.categories] == [("bolt", ("tip", "head"))]


def changed(where: str, value: Any, position: int = 0) -> dict[str, Any]:
    """The task with another value in an item: a path of keys with dots."""
    made = task(*copy.deepcopy(WHOLE))
    target = made["annotations"][0]["result"][position]
    *path, last = where.split(".")
    for key in path:
        target = target[key]
    target[last] = value
    return made


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        pytest.param([7], "task 1: expected an object with 'data', got 7", id="no task"),
        pytest.param([{"id": 1}], "expected an object with 'data'", id="no data"),
        pytest.param([task(), task()], "'id' is 8, expected an integer of its own", id="id twice"),
        pytest.param([task(id="x")], "'id' is 'x'", id="id"),
        pytest.param([task(id=2**70)], "expected an integer", id="huge id"),
        pytest.param([task(data={"image": 3})], "is 3, expected where its image is", id="image"),
        pytest.param(
            [task(data={"image": "a.png", "kpwidget_size": [0, 5]})],
            r"is \[0, 5\], expected width and height",
            id="size",
        ),
        pytest.param([task(data={})], "is None, expected where", id="no image"),
        pytest.param([task(annotations=3)], "'annotations' is 3, expected objects", id="list"),
        pytest.param([task(annotations=[{}])], "'result' is None, expected a list", id="result"),
        pytest.param([task(3)], r"'result' is \[3\]", id="item"),
        pytest.param(
            [task(predictions=[{"result": 7}])], "'predictions' is .*a list 'result'", id="not read"
        ),
        pytest.param([changed("original_width", 0)], "is 0 x 100 px", id="0 px"),
        pytest.param([changed("original_width", None)], "is None x 100 px", id="no size"),
        pytest.param([changed("original_height", 99)], "px, and \\(200, 99\\) before", id="sizes"),
        pytest.param([changed("image_rotation", 90)], "'image_rotation' is 90", id="turned"),
        pytest.param([changed("value", None)], "'value' is None, expected an object", id="value"),
        pytest.param([changed("value.x", "1")], "expected percent of the image's size", id="text"),
        pytest.param([changed("value.x", 1e300)], "expected percent", id="1e300"),
        pytest.param([changed("value.width", -1)], "not below 0", id="negative"),
        pytest.param([changed("value.x", None, 1)], r"x, y are \[None, 25.0\]", id="no x"),
        pytest.param([changed("value.rectanglelabels", [])], "expected one label", id="no label"),
        pytest.param(
            [changed("value.rectanglelabels", ["nut"])],
            "label 'nut', expected one of 'bolt'",
            id="unknown label",
        ),
        pytest.param(
            [changed("value.keypointlabels", ["nut"], 1)],
            "'bolt' has no keypoint 'nut'; expected 'head', 'tip'",
            id="unknown keypoint",
        ),
        pytest.param(
            [changed("value.keypointlabels", ["head"], 1)], "'head' is there twice", id="twice"
        ),
        pytest.param([changed("id", "p1", 3)], "'p1': the region is there twice", id="one region"),
        pytest.param(
            [task(*WHOLE, item("choices", "p1", "visible", 15, 25))],
            "'p1': has a second choice of visibility, expected one",
            id="visible and occluded",
        ),
        pytest.param(
            [changed("parentID", "no", 1)], "its parent 'no' is no rectangle", id="parent"
        ),
    ],
)
def test_bad_record_is_refused_in_words(tasks: list[Any], message: str, tmp_path: Path) -> None:
    path = written(tmp_path, *tasks)
    with pytest.raises(FormatError, match=message) as caught:
        kp.read(path, format="label-studio")
    assert str(path) in str(caught.value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = kp.read(path, format="label-studio", on_error="skip")
    assert dataset.skipped


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{}", "expected a list, got dict", id="object"),
        pytest.param('[{"data": {"image": "a"}, "id": NaN}]', "NaN", id="NaN"),
        pytest.param('[{"data": {"image": "a", "image": "b"}}]', "image", id="key twice"),
        pytest.param("[" * 3000, "nested", id="deep"),
        pytest.param('[{"data"', "JSON", id="cut off"),
    ],
)
def test_file_that_is_no_list_of_tasks_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=message) as caught:
        kp.read(path, format="label-studio")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param("<View/>", "expected an <Image> in the labeling config", id="empty"),
        pytest.param(CONFIG.replace("KeyPointLabels", "K"), "expected <KeyPointLabels>", id="none"),
        pytest.param(
            CONFIG.replace('"head"', '"tip"'), "a value of their own, got 'tip'", id="twice"
        ),
        pytest.param("<!DOCTYPE a []>" + CONFIG, "has a document type", id="document type"),
        pytest.param(CONFIG[:-9], "not well-formed XML", id="cut off"),
    ],
)
def test_bad_config_is_refused_in_words(config: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, task(*WHOLE), config=config)
    with pytest.raises(FormatError, match=message):
        kp.read(path)


@pytest.mark.parametrize("kept", [7, {"annotations": 7}, {"annotations": [7]}])
def test_what_another_file_says_was_kept_is_not_written_unseen(kept: Any, tmp_path: Path) -> None:
    dataset = Dataset(Schema("bolt", ["head", "tip"]))
    state = ImageState(1, "a.png", None, recorded_size=(64, 48), extra={"label_studio": kept})
    dataset._add_image(state)
    with pytest.raises(ValueError, match="'label_studio'"):
        kp.write(dataset, tmp_path / "out.json", format="label-studio")
    assert list(tmp_path.iterdir()) == []
