"""An annotator, a viewer and a comparison while the schema of their dataset is changed."""

from __future__ import annotations

import numpy as np
import pytest

import kpwidget as kp
from kpwidget.schema import Schema
from kpwidget.widget import Viewer

from .fake_browser import Browser, wait_for

# Of top, left, right and bottom.
NEW = Schema("face", ["bottom", "chin", "crown", "left"], [(1, 3)])
MAPPING = {"top": "crown", "right": None}


def migrate(dataset: kp.Dataset) -> None:
    dataset.migrate_schema("face", NEW, MAPPING, remove=True)


@pytest.fixture
def face(browser: Browser) -> Browser:
    """With an instance whose four points lie at (1, 1), (2, 2) and so on."""
    for k in range(4):
        browser.point("a", k, k + 1, k + 1, new=k == 0, next=[0, "a", min(k + 1, 2)])
    return browser


def test_names_and_points_come_again_and_the_cursor_stays_at_its_keypoint(browser, dataset):
    browser.hello()
    browser.point("a", 0, 1, 1, new=True, next=[0, "a", 1])
    assert browser.scene["schemas"] == ""
    migrate(dataset)
    wait_for(lambda: browser.scene["schemas"])
    assert [one["keypoints"] for one in browser.annotator.categories] == [
        ["bottom", "chin", "crown", "left"],
        ["head", "tip"],
    ]
    assert browser.points["a"] == [0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0]
    assert browser.scene["cursor"] == {"category": 0, "instance": "a", "keypoint": 3}
    dataset.undo()
    wait_for(lambda: not browser.scene["schemas"])
    assert browser.annotator.categories[0]["keypoints"] == ["top", "left", "right", "bottom"]
    assert browser.points["a"] == [1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    assert browser.scene["cursor"]["keypoint"] == 1


def test_cursor_of_a_removed_keypoint_goes_to_the_first(browser, dataset):
    browser.do(op="cursor", image=0, next=[0, None, 2])
    migrate(dataset)
    wait_for(lambda: browser.scene["schemas"])
    assert browser.scene["cursor"] == {"category": 0, "instance": None, "keypoint": 0}


def test_point_on_its_way_is_not_placed_on_another_keypoint(face, dataset):
    migrate(dataset)
    before = dataset.instance("a").raw.tolist()
    seq = face.point("a", 0, 30, 30)  # the top: it says no schema, as all scenes until then
    assert dataset.instance("a").raw.tolist() == before
    wait_for(face.rejections)
    assert face.rejections() == [
        (seq, "The keypoints of this dataset were changed meanwhile: this edit was not made.")
    ]
    face.point("a", 0, 31, 31, schemas=face.annotator._schemas())
    assert dataset.instance("a").raw.tolist()[0] == [31, 31, 2]
    migrated = face.annotator._schemas()
    dataset.undo(origin=("widget", "ada"))
    dataset.undo()
    face.point("a", 0, 40, 40, schemas=migrated)  # on its way while it was undone
    assert dataset.instance("a").raw.tolist() == [[1, 1, 2], [2, 2, 2], [3, 3, 2], [4, 4, 2]]


def test_edits_that_are_about_no_keypoint_are_made_all_the_same(face, dataset):
    migrate(dataset)
    face.do(op="box", image=0, instance="a", bbox=[1, 2, 3, 4], next=[0, "a", 3])
    face.do(op="finish", image=0, instance="a", next=[0, "a", 3])
    seq = face.do(op="skip", image=0, next=[0, "a", 3])
    face.hello()
    wait_for(lambda: face.acknowledged() == seq)
    assert face.rejections() == []
    assert dataset.instance("a").bbox == (1, 2, 3, 4)
    assert dataset.instance("a").is_finished
    assert face.annotator._cursor.keypoint == 0


def test_undo_in_the_widget_does_not_reach_across_it(face, dataset):
    migrate(dataset)
    before = dataset.instance("a").raw.tolist()
    face.hello()
    seq = face.do(op="undo")
    wait_for(face.rejections)
    ((rejected, why),) = face.rejections()
    assert rejected == seq
    assert "the schema of category 'face' was changed since by 'change schema of face'" in why
    assert dataset.instance("a").raw.tolist() == before
    dataset.undo()
    face.do(op="undo")
    assert dataset.instance("a").raw.tolist()[3] == [0, 0, 0]


def test_undo_goes_back_to_a_keypoint_that_there_is(face, dataset):
    few = Schema("face", ["top"])
    face.do(op="box", image=0, instance="a", bbox=[1, 2, 3, 4], next=[0, "a", 3])
    face.do(op="skip", image=0, next=[0, "a", 3])
    face.do(op="finish", image=0, instance="a", next=[0, "a", 3])
    dataset.migrate_schema("face", few, remove=True)
    face.do(op="undo")
    assert not dataset.instance("a").is_finished
    assert face.annotator._cursor.keypoint == 0


def test_what_was_begun_in_another_image_goes_on_at_the_same_keypoint(browser, dataset):
    browser.point("a", 0, 1, 1, new=True, next=[0, "a", 1])
    browser.do(op="goto", to="next")
    migrate(dataset)
    wait_for(lambda: browser.scene["schemas"])
    browser.do(op="goto", to="previous")
    wait_for(lambda: browser.scene["image"]["index"] == 0)
    assert browser.scene["cursor"] == {"category": 0, "instance": "a", "keypoint": 3}  # "left"


def test_what_was_begun_in_another_image_goes_on_in_a_smaller_schema(browser, dataset):
    browser.point("a", 0, 1, 1, new=True, next=[0, "a", 3])
    browser.do(op="goto", to="next")
    two = Schema("face", ["top", "left"], [])
    dataset.migrate_schema("face", two, {"right": None, "bottom": None}, remove=True)
    wait_for(lambda: browser.scene["schemas"])
    browser.do(op="goto", to="previous")
    wait_for(lambda: browser.scene["image"]["index"] == 0)
    assert browser.scene["cursor"] == {"category": 0, "instance": "a", "keypoint": 0}


def test_mean_pose_of_the_old_schema_is_not_dropped(dataset):
    """Ten instances make a mean pose; `MAPPING` has as many keypoints in another order."""
    with dataset.transaction("label"):
        for n in range(10):
            dataset.add_instance(
                0, keypoints=[[n, 0, 2], [n, 5, 2], [n + 9, 5, 2], [n, 9, 2]], category="face"
            )
    browser = Browser(kp.Annotator(dataset, journal=False))
    try:
        browser.hello()
        browser.viewport()
        wait_for(lambda: browser.annotator.templates)
        seen = []
        browser.annotator.observe(
            lambda _: seen.append((browser.scene["schemas"], browser.annotator.templates)),
            ["scene", "templates"],
        )
        before = browser.annotator.templates
        migrate(dataset)
        wait_for(lambda: browser.scene["schemas"])
        wait_for(lambda: browser.annotator.templates)
        assert [one for one in seen if one[0] and one[1] == before] == []
    finally:
        browser.annotator.close()


def test_viewer_goes_on(dataset):
    dataset.add_instance(0, "face", np.full((4, 3), 2.0))
    viewer = Viewer(dataset)
    migrate(dataset)
    wait_for(lambda: viewer.scene["schemas"])
    assert viewer.categories[0]["keypoints"] == ["bottom", "chin", "crown", "left"]
    assert len(viewer.scene["instances"][0]["points"]) == 12
    viewer.close()


@pytest.mark.parametrize("which", ["first", "second", "nothing in common"])
def test_comparison_pairs_by_the_names_of_now(dataset, which):
    dataset.add_instance(0, "face", [[1, 1, 2], [2, 2, 2], [3, 3, 2], [4, 4, 2]])
    other = dataset.select().copy()
    comparison = kp.compare(dataset, other)
    assert len(comparison._current().pairs) == 1
    if which == "nothing in common":
        dataset.migrate_schema("face", Schema("face", ["x"]), {"top": "x"} | dict.fromkeys(
            ["left", "right", "bottom"]), remove=True)  # fmt: skip
    else:
        migrate(dataset if which == "first" else other)
    comparison._publish()
    pairing = comparison._current()
    if which == "nothing in common":
        assert (len(pairing.first), len(pairing.second)) == (1, 0)
    else:
        common = {"first": [4, 0, 0, 2], "second": [0, 2, 0, 4]}[which]
        assert pairing.second[0].keypoints[:, 0].tolist() == pytest.approx(
            [value or np.nan for value in common], nan_ok=True
        )
    assert comparison.scene is not None
    comparison.close()


def test_cursor_that_is_found_again_after_a_restart_is_at_a_keypoint(
    make, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPWIDGET_JOURNAL")

    def cells() -> Browser:
        pixels = np.zeros((48, 64))
        return make(kp.Dataset.from_images({"one.png": pixels}, Schema("bolt", ["a", "b", "c"])))

    browser = cells()
    browser.point("x", 1, 5, 5, new=True, next=[0, "x", 2])
    assert cells().annotator._cursor.keypoint == 2
    few = Schema("bolt", ["b"])
    browser.annotator.dataset.migrate_schema("bolt", few)
    again = cells()
    assert again.annotator.categories[0]["keypoints"] == ["b"]
    assert again.annotator._cursor.keypoint == 0
    assert again.points == {"x": [5, 5, 2]}
    assert "2 edits of 1 instance restored" in capsys.readouterr().out
