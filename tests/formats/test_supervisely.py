from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kpwidget as kp
from kpwidget.dataset import Dataset
from kpwidget.formats import LossError
from kpwidget.formats.supervisely import _figure
from kpwidget.schema import FormatError, Schema
from tests.formats.examples import EXAMPLES, check_example, needs_examples

NODES = {"n1": {"label": "head", "loc": [0, 0]}, "n2": {"label": "tip", "loc": [9, 9]}}
BOLT = {
    "title": "bolt", "shape": "graph",
    "geometry_config": {"nodes": NODES, "edges": [{"src": "n1", "dst": "n2"}]},
}  # fmt: skip
GOOD = {
    "classTitle": "bolt", "geometryType": "graph",
    "nodes": {"n2": {"loc": [3, 4], "disabled": True}},
}  # fmt: skip


def project(folder: Path, *objects: Any, classes: Any = (BOLT,), **fields: Any) -> Path:
    (folder / "ds0" / "ann").mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"classes": list(classes)}))
    content = {"size": {"width": 64, "height": 48}, "objects": list(objects), **fields}
    (folder / "ds0" / "ann" / "a.png.json").write_text(json.dumps(content))
    return folder


@needs_examples
@pytest.mark.parametrize("name", ["supervisely", "supervisely/meta.json"])
def test_example_is_what_the_notes_say(name: str) -> None:
    check_example(kp.read(EXAMPLES / name), is_rounded=True)


@needs_examples
def test_example_comes_through_whole() -> None:
    report = kp.roundtrip(EXAMPLES / "supervisely")
    assert report
    assert not report.losses


@needs_examples
def test_example_is_written_with_the_same_objects(tmp_path: Path) -> None:
    kp.write(kp.read(EXAMPLES / "supervisely"), tmp_path / "out", format="supervisely")
    name = "ds0/ann/img1.png.json"
    before, after = (
        json.loads((folder / name).read_text())
        for folder in (EXAMPLES / "supervisely", tmp_path / "out")
    )
    for content in (before, after):  # binding keys are made up
        keys = [item.pop("instance") for item in content["objects"]]
        assert keys[0] == keys[1] != keys[2] == keys[3]
    assert after == before
    assert (tmp_path / "out/ds0/img/img1.png").is_file()


@needs_examples
def test_figure_of_the_template_is_that_of_the_schema_and_is_written_again(tmp_path: Path) -> None:
    dataset = kp.read(EXAMPLES / "supervisely")
    layout = dataset.categories[0].schema.layout
    assert layout is not None
    # 'loc' of the four nodes in its meta.json, in a square of 100
    assert layout.tolist() == [[0.2, 0.5], [0.1, 0.6], [0.1, 0.4], [0.9, 0.5]]
    kp.write(dataset, tmp_path / "out", format="supervisely")
    before, after = (
        json.loads((folder / "meta.json").read_text())["classes"][0]["geometry_config"]["nodes"]
        for folder in (EXAMPLES / "supervisely", tmp_path / "out")
    )
    assert [node["loc"] for node in after.values()] == [node["loc"] for node in before.values()]


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        pytest.param([[50, 100], [200, 0]], [[0.25, 0.5], [1, 0]], id="in pixels of a picture"),
        pytest.param([[5, 5], [5, 5]], None, id="all in one place"),
        pytest.param([[5, -5], [5, 5]], None, id="outside"),
        pytest.param([[5, 5], None], None, id="one is missing"),
        pytest.param([[5, 5], [1e400, 5]], None, id="no number"),
    ],
)
def test_figure_is_taken_as_far_as_it_is_one(places: list[Any], expected: list[Any] | None) -> None:
    assert _figure(places) == expected


@needs_examples
def test_sdk_reads_what_is_written(tmp_path: Path) -> None:
    sly = pytest.importorskip("supervisely", reason="supervisely is not installed")
    kp.write(kp.read(EXAMPLES / "supervisely"), tmp_path / "out", format="supervisely")
    project = sly.Project(str(tmp_path / "out"), sly.OpenMode.READ)
    [dataset] = project.datasets
    assert sorted(dataset.get_items_names()) == ["img1.png", "img2.png"]
    found = []
    for label in dataset.get_ann("img1.png", project.meta).labels:
        if label.obj_class.geometry_type.geometry_name() == "graph":
            nodes = label.geometry.nodes
            found.append({
                key: (node.location.col, node.location.row, node.disabled)
                for key, node in nodes.items()
            })  # fmt: skip
    assert found[0] == {
        "nose": (10, 8, False), "left_eye": (12, 7, True), "tail": (50, 40, False)
    }  # fmt: skip
    assert found[1]["tail"] == (40, 30, True)


def test_keys_of_the_web_page_are_labels(tmp_path: Path) -> None:
    dataset = kp.read(project(tmp_path / "p", GOOD))
    assert dataset.categories[0].keypoints == ("head", "tip")
    assert dataset.categories[0].schema.skeleton == [[1, 2]]
    np.testing.assert_array_equal(dataset.keypoints(), [[[np.nan, np.nan, 0], [3, 4, 1]]])


def test_what_a_dataset_has_no_place_for_comes_back(tmp_path: Path) -> None:
    polygon = {"classTitle": "area", "geometryType": "polygon", "points": {"exterior": [[1, 2]]}}
    area = {"title": "area", "shape": "polygon"}
    tagged = {**GOOD, "tags": [{"name": "blurred"}]}
    folder = project(
        tmp_path / "p", tagged, polygon, classes=[BOLT, area], tags=[{"name": "night"}]
    )
    assert kp.roundtrip(folder)
    dataset = kp.read(folder)
    kp.write(dataset, tmp_path / "out", format="supervisely", images="leave")
    content = json.loads((tmp_path / "out/ds0/ann/a.png.json").read_text())
    assert content["objects"][0]["tags"] == [{"name": "blurred"}]
    assert content["objects"][1] == polygon
    assert content["tags"] == [{"name": "night"}]
    assert area in json.loads((tmp_path / "out/meta.json").read_text())["classes"]


def test_losses_are_counted(tiny_dataset: Dataset, tmp_path: Path) -> None:
    tiny_dataset.instance("two").set_bbox((1.5, 2, 10, 10))
    with pytest.raises(LossError) as caught:
        kp.write(tiny_dataset, tmp_path / "out", format="supervisely")
    told = {loss.what: loss.n for loss in caught.value.losses}
    # 10.5, 8.25 and 50.5 of one, 33.125 of the other.
    assert told["coordinates"] == 3
    assert told["bbox"] == 1
    kp.write(tiny_dataset, tmp_path / "out", format="supervisely", allow_loss=True)
    points = kp.read(tmp_path / "out").keypoints("animal")[0]
    np.testing.assert_array_equal(
        points, [[10, 8, 2], [12, 7, 1], [np.nan, np.nan, 0], [50, 40, 2]]
    )


@pytest.mark.parametrize(
    ("item", "message"),
    [
        pytest.param({**GOOD, "nodes": {"n3": {"loc": [1, 2]}}}, "node 'n3' is none", id="node"),
        pytest.param({**GOOD, "nodes": {"n1": {"loc": [1]}}}, r"expected \[x, y\]", id="loc"),
        pytest.param({**GOOD, "nodes": {"n1": {"loc": [1, "2"]}}}, r"expected \[x, y", id="text"),
        pytest.param({**GOOD, "nodes": {"n1": {"loc": [1, 10**400]}}}, "expected", id="huge"),
        pytest.param({**GOOD, "nodes": [1]}, "expected an object of nodes", id="list"),
        pytest.param({**GOOD, "classTitle": "<b>x</b>"}, "which meta.json has not", id="class"),
        pytest.param(
            {"geometryType": "rectangle", "instance": "a", "points": {"exterior": [[1, 2]]}},
            "two corners",
            id="box",
        ),
        pytest.param(7, "expected an object", id="number"),
    ],
)
def test_bad_objects_are_named_and_can_be_left_out(item: Any, message: str, tmp_path: Path) -> None:
    folder = project(tmp_path / "p", item, GOOD)
    with pytest.raises(FormatError, match=f"ds0/ann/a.png.json: object 1.*{message}"):
        kp.read(folder)
    with pytest.warns(UserWarning, match=message):
        dataset = kp.read(folder, on_error="skip")
    assert len(dataset.instances) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "not JSON", id="torn"),
        pytest.param("[" * 300, "levels", id="deep"),
        pytest.param('{"objects": [], "objects": []}', "given twice", id="twice"),
        pytest.param('{"size": {"width": NaN}, "objects": []}', "NaN is not JSON", id="nan"),
        pytest.param('{"objects": 3}', "expected an object with a list", id="other"),
        pytest.param('{"size": {"width": -1, "height": 2}, "objects": []}', "'size'", id="size"),
    ],
)
def test_bad_files_are_named_all_at_once(text: str, message: str, tmp_path: Path) -> None:
    folder = project(tmp_path / "p", GOOD)
    for name in ("b.png.json", "c.png.json"):
        (folder / "ds0/ann" / name).write_text(text)
    with pytest.raises(FormatError, match=message) as caught:
        kp.read(folder)
    for name in ("b.png.json", "c.png.json"):
        assert any(f"ds0/ann/{name}: " in problem for problem in caught.value.problems)
    with pytest.warns(UserWarning, match=message):
        assert len(kp.read(folder, on_error="skip")) == 1


def test_project_without_keypoints_is_refused(tmp_path: Path) -> None:
    folder = project(tmp_path / "p", classes=[{"title": "x", "shape": "polygon"}])
    with pytest.raises(FormatError, match="has no class of keypoints"):
        kp.read(folder)


def test_folder_of_others_is_not_written_to(tiny_dataset: Dataset, tmp_path: Path) -> None:
    folder = project(tmp_path / "p", GOOD)
    with pytest.raises(FileExistsError, match="no Supervisely dataset that was written"):
        kp.write(tiny_dataset, folder, format="supervisely", allow_loss=True)
    shutil.rmtree(folder)
    for _ in range(2):
        kp.write(tiny_dataset, folder, format="supervisely", allow_loss=True)


@pytest.mark.parametrize(
    ("fields", "nodes", "message"),
    [
        pytest.param({"size": None}, GOOD["nodes"], "'size' is None", id="no size"),
        pytest.param(
            {},
            {"n1": {"loc": [1, 2], "disabled": "no"}},
            "'disabled' 'no', expected true or false",
            id="disabled is text",
        ),
    ],
)
def test_wrong_types_are_problems(fields: Any, nodes: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        kp.read(project(tmp_path / "p", {**GOOD, "nodes": nodes}, **fields))


def test_annotation_without_a_name_is_a_problem(tmp_path: Path) -> None:
    folder = project(tmp_path / "p", GOOD)
    shutil.copy(folder / "ds0/ann/a.png.json", folder / "ds0/ann/.json")
    with pytest.raises(FormatError, match="expected the name of an image"):
        kp.read(folder)


def test_meta_that_would_make_a_huge_dataset_is_refused(tmp_path: Path) -> None:
    nodes = {f"n{i}": {"label": f"k{i}", "loc": [0, 0]} for i in range(4000)}
    bolt = {**BOLT, "geometry_config": {"nodes": nodes}}
    with pytest.raises(FormatError, match="would have 12,000,000 keypoints"):
        kp.read(project(tmp_path / "p", *[{**GOOD, "nodes": {}}] * 3000, classes=(bolt,)))


def test_edges_that_are_no_list_are_refused(tmp_path: Path) -> None:
    bolt = {**BOLT, "geometry_config": {"nodes": NODES, "edges": 7}}
    with pytest.raises(FormatError, match="'edges' is 7, expected a list"):
        kp.read(project(tmp_path / "p", GOOD, classes=(bolt,)))


def test_order_that_is_not_that_of_the_names_is_a_loss(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    images = {"b.png": pixels, "a.png": pixels, "c.png": pixels}
    dataset = Dataset.from_images(images, Schema("bolt", ["head"]))
    with pytest.raises(LossError, match="the order of 2 images, which is that of their names"):
        kp.write(dataset, tmp_path / "out", format="supervisely")
    kp.write(dataset, tmp_path / "out", format="supervisely", allow_loss=True)
    names = [image.file_name for image in kp.read(tmp_path / "out").images]
    assert names == ["ds0/img/a.png", "ds0/img/b.png", "ds0/img/c.png"]
