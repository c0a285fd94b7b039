"""The annotator in Python: messages in, dataset and messages out."""

from __future__ import annotations

import gc
import json
import math
import threading
import time
import weakref
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import kpwidget as kp
from kpwidget.dataset import Dataset
from kpwidget.widget import Annotator
from kpwidget.widget.board import MAX_HELD

from .fake_browser import Browser, wait_for

SKIP = {"op": "skip", "image": 0, "next": [0, None, 1]}


def labeled(dataset: Dataset) -> dict[str, list[tuple[float, float, int]]]:
    """The labeled keypoints of every instance."""
    return {
        one.uid: [tuple(row) for row in one.keypoints.tolist() if row[2] > 0]
        for one in dataset.instances
    }


# --- making one -----------------------------------------------------------------------------------


def test_an_unknown_keyword_is_a_type_error_that_lists_the_known_ones(dataset):
    with pytest.raises(TypeError, match=r"\['colour', 'heigth'\].*image, category.*height"):
        Annotator(dataset, heigth=300, colour="red")


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        pytest.param("labels.json", TypeError, "expected a kpwidget.Dataset, got str", id="path"),
        pytest.param(Dataset(()), ValueError, "no images", id="no images"),
    ],
)
def test_what_is_no_dataset_to_label_is_refused(value, error, message):
    with pytest.raises(error, match=message):
        Annotator(value)


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        pytest.param({"image": "nowhere.png"}, KeyError, id="file name"),
        pytest.param({"image": 99}, IndexError, id="position"),
        pytest.param({"category": "wing"}, KeyError, id="category"),
        pytest.param({"height": 5}, Exception, id="height"),
    ],
)
def test_a_start_that_is_not_there_is_refused(dataset, keywords, error):
    with pytest.raises(error):
        Annotator(dataset, **keywords)


def test_it_starts_where_it_is_told(make, dataset):
    browser = make(dataset, image="two.png", category="stick", height=300)
    assert browser.annotator.image.file_name == "two.png"
    assert browser.annotator.height == 300
    assert browser.annotator.dataset is dataset
    assert browser.annotator.instance is None
    assert browser.scene["cursor"] == {"category": 1, "instance": None, "keypoint": 0}


# --- edits in order, once -------------------------------------------------------------------------


def point(seq: int, keypoint: int, x: float, **more: Any) -> dict[str, Any]:
    body = {
        "seq": seq,
        "op": "point",
        "image": 0,
        "instance": "a",
        "keypoint": keypoint,
        "x": x,
        "y": 1.0,
        "visibility": 2,
        "next": [0, "a", min(keypoint + 1, 3)],
    }
    return {**body, **more}


def test_a_point_is_in_the_dataset_at_once_with_every_digit(browser, dataset):
    x, y = 10.123456789012345, 20.000000000000004
    browser.point("a", 0, x, y, new=True, visibility=1)
    (instance,) = dataset.instances
    assert instance.uid == "a"
    assert instance.keypoints[0].tolist() == [x, y, 1.0]
    assert not instance.is_finished
    assert instance.annotator == "ada"
    assert browser.annotator.instance == instance
    assert browser.points["a"][:3] == [x, y, 1]
    assert browser.acknowledged() == 1


@pytest.mark.parametrize("wrong", [5, None, {"op": "skip"}, {"seq": 1.5}, {"seq": 2**53}])
def test_what_is_no_edit_does_not_hold_up_those_it_came_with(browser, dataset, wrong):
    browser.hello()
    browser.edits(point(1, 0, 1.0, new=True), wrong, point(2, 1, 2.0))
    assert labeled(dataset) == {"a": [(1, 1, 2), (2, 1, 2)]}
    wait_for(lambda: browser.acknowledged() == 2)
    wait_for(lambda: [m["text"] for m in browser.of("notice") if "refused" in m["text"]])


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(nested(100_000), id="nested"),
        pytest.param(10**5000, id="huge number"),
        pytest.param("x" * 1_000_000, id="long text"),
        pytest.param([["x" * 1_000_000] * 100] * 3, id="long list"),
    ],
)
@pytest.mark.parametrize("field", ["op", "image", "keypoint", "x", "visibility", "next", "to"])
def test_a_value_of_any_size_is_refused_in_few_words(browser, dataset, field, value):
    browser.hello()
    wrong = {**point(1, 0, 1.0, new=True), field: value}
    if field == "to":
        wrong["op"] = "goto"
    # Not by way of JSON, which does not read all of these.
    content = {"kind": "edits", "client": "c1", "base": 0, "edits": [wrong]}
    browser.annotator._receive(browser.annotator, content, [])
    browser.annotator._receive(browser.annotator, {"kind": value}, [])
    browser.annotator._receive(browser.annotator, {**content, "base": value}, [])
    told = (1, 2) if field != "to" else (0, 3)
    wait_for(lambda: (len(browser.of("rejected")), len(browser.of("notice"))) == told)
    texts = [m["text"] for m in browser.of("notice")] + [why for _, why in browser.rejections()]
    assert all(len(text) < 300 and "Internal" not in text for text in texts), texts
    assert len(dataset.instances) == 0


@pytest.mark.parametrize("name", ["half\ud800.png", "caf\udce9.png"])
def test_a_file_name_that_no_message_can_hold_is_shown_with_a_question_mark(make, schema, name):
    browser = make(Dataset.from_images({name: b"no image"}, schema))
    browser.hello()
    browser.viewport()
    wait_for(lambda: browser.scene["image"]["error"])
    json.dumps(browser.scene, ensure_ascii=False).encode()
    assert browser.scene["image"]["name"] in ("half?.png", "caf?.png")
    browser.do(op="goto", image=0, to=name)
    assert browser.rejections() == []


def test_edits_that_overtake_wait_for_those_before(browser, dataset):
    browser.edits(point(3, 2, 3.0))
    browser.edits(point(2, 1, 2.0))
    assert len(dataset.instances) == 0
    assert browser.of("ack") == []
    browser.edits(point(1, 0, 1.0, new=True))
    assert labeled(dataset) == {"a": [(1, 1, 2), (2, 1, 2), (3, 1, 2)]}
    assert browser.acknowledged() == 3


def test_edits_that_come_twice_are_applied_once(browser, dataset):
    browser.edits(point(1, 0, 1.0, new=True), point(2, 1, 2.0))
    browser.edits(point(2, 1, 9.0), point(1, 0, 9.0, new=True), point(3, 2, 3.0))
    assert labeled(dataset) == {"a": [(1, 1, 2), (2, 1, 2), (3, 1, 2)]}
    assert browser.rejections() == []


def test_an_answer_that_was_lost_is_given_again_when_the_edit_comes_again(browser):
    """A page that was reloaded sends what it kept; without an answer it would do so for ever."""
    browser.edits(point(1, 0, 1.0, new=True))
    browser.messages.clear()
    browser.edits(point(1, 0, 1.0, new=True))
    assert browser.acknowledged() == 1


def test_clients_are_counted_apart(browser, dataset):
    browser.edits(point(1, 0, 1.0, new=True), client="one")
    browser.edits(point(1, 1, 2.0), client="two")
    assert labeled(dataset) == {"a": [(1, 1, 2), (2, 1, 2)]}
    assert (browser.acknowledged("one"), browser.acknowledged("two")) == (1, 1)


def test_a_restarted_kernel_goes_on_behind_what_was_acknowledged(browser, dataset):
    browser.edits(point(41, 0, 1.0, new=True), base=40)
    assert labeled(dataset) == {"a": [(1, 1, 2)]}
    assert browser.acknowledged() == 41
    browser.edits(point(43, 2, 3.0), base=41)
    assert browser.acknowledged() == 41
    browser.edits(point(42, 1, 2.0), base=41)
    assert browser.acknowledged() == 43


def test_what_an_earlier_annotator_has_applied_is_not_applied_again(make, dataset):
    """A cell run again takes its view away before the answer comes; a page reload sends it anew."""
    make(dataset).edits(point(1, 0, 1.0, new=True), point(2, 1, 2.0))
    dataset.instance("a").set_keypoint("left", 7, 1)
    later = make(dataset)
    later.edits(point(1, 0, 1.0, new=True), point(2, 1, 2.0), point(3, 2, 3.0))
    assert labeled(dataset) == {"a": [(1, 1, 2), (7, 1, 2), (3, 1, 2)]}
    assert (later.rejections(), later.acknowledged()) == ([], 3)


def test_a_callback_may_wait_for_a_thread_that_reads_the_dataset(browser, dataset):
    seen = []

    def look(change):
        reader = threading.Thread(target=lambda: seen.append(len(dataset.instances[:])))
        reader.start()
        reader.join(timeout=10)

    dataset.on_change(look)
    browser.edits(point(1, 0, 1.0, new=True), point(2, 1, 2.0))
    assert seen == [1, 1]
    browser.edits({"seq": 3, "op": "undo"})
    assert seen == [1, 1, 1]


def test_a_base_never_takes_back_what_is_applied(browser, dataset):
    browser.edits(point(1, 0, 1.0, new=True), point(2, 1, 2.0))
    browser.edits(point(1, 0, 9.0), point(3, 2, 3.0), base=0)
    assert labeled(dataset) == {"a": [(1, 1, 2), (2, 1, 2), (3, 1, 2)]}


def test_too_many_edits_that_wait_are_told_and_come_again(browser, dataset):
    late = [{"seq": seq, **SKIP} for seq in range(2, MAX_HELD + 3)]
    browser.edits(*late)
    assert "wait for edit 1" in browser.of("notice")[-1]["text"]
    assert browser.acknowledged() == 0
    browser.edits({"seq": 1, **SKIP}, *late)
    assert browser.acknowledged() == MAX_HELD + 2


def test_edits_from_several_threads_are_applied_in_order_and_once(browser, dataset):
    """The kernel hands messages to the main thread and to subshells at the same time."""
    edits = [point(1, 0, 1.0, new=True)]
    edits += [point(seq, seq % 4, float(seq % 60)) for seq in range(2, 121)]
    shuffled = np.random.default_rng(1).permutation(len(edits)).tolist()
    parts = [shuffled[i::4] for i in range(4)]

    def send(part: list[int]) -> None:
        for i in part:
            browser.edits(edits[i])

    threads = [threading.Thread(target=send, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert browser.rejections() == []
    assert [step.token[1] for step in _steps(dataset)] == list(range(1, 121))
    assert browser.acknowledged() == 120


def _steps(dataset: Dataset) -> list[Any]:
    """The steps in force, first to last."""
    taken = []
    while (step := dataset.undo()) is not None:
        taken.append(step)
    while dataset.redo() is not None:
        pass
    return taken[::-1]


# --- edits of every kind --------------------------------------------------------------------------


def test_the_last_keypoint_finishes(browser, dataset):
    browser.point("a", 0, 1, 1, new=True)
    browser.point("a", 3, 2, 2, finish=True, next=[0, "a", None])
    assert dataset.instances[0].is_finished
    assert browser.scene["cursor"] == {"category": 0, "instance": "a", "keypoint": None}


def test_unlabeling_takes_the_location(browser, dataset):
    browser.point("a", 0, 1, 1, new=True)
    browser.point("a", 0, 0, 0, visibility=0, next=[0, "a", 0])
    row = dataset.instances[0].keypoints[0]
    assert row[2] == 0
    assert math.isnan(row[0])
    assert browser.points["a"][:3] == [0, 0, 0]


def test_a_box_is_given_and_can_be_taken_back(browser, dataset):
    browser.do(op="box", image=0, instance="a", bbox=[1, 2, 30, 20], next=[0, "a", 0], new=True)
    assert dataset.instances[0].bbox == (1, 2, 30, 20)
    assert dataset.instances[0].bbox_source == "given"
    browser.do(op="box", image=0, instance="a", bbox=None, next=[0, "a", 0])
    assert dataset.instances[0].bbox_source == "derived"
    assert browser.scene["instances"][0]["bbox"] is None
    browser.do(op="undo")
    assert dataset.instances[0].bbox == (1, 2, 30, 20)


def test_a_box_may_touch_the_border_though_its_sum_is_rounded(browser, dataset):
    x = 63.9 - 0.1 * 3
    browser.do(op="box", image=0, instance="a", bbox=[x, 0, 64 - x, 48], next=[0, "a", 0], new=True)
    assert browser.rejections() == []
    assert len(dataset.instances) == 1


def test_removing_the_active_instance_moves_the_cursor(browser, dataset):
    browser.point("a", 0, 1, 1, new=True)
    browser.do(op="remove", image=0, instance="a", next=[0, None, 0])
    assert len(dataset.instances) == 0
    assert browser.scene["cursor"] == {"category": 0, "instance": None, "keypoint": 0}
    assert browser.annotator.instance is None


def test_finish_skip_and_cursor(browser, dataset):
    browser.point("a", 0, 1, 1, new=True)
    browser.do(op="skip", image=0, next=[0, "a", 2])
    assert browser.scene["cursor"]["keypoint"] == 2
    browser.do(op="finish", image=0, instance="a", next=[0, "a", None])
    assert dataset.instances[0].is_finished
    browser.do(op="cursor", image=0, next=[1, None, 1])
    assert browser.scene["cursor"] == {"category": 1, "instance": None, "keypoint": 1}
    assert dataset.undo_top().label == "finish instance"


def test_status_is_a_step_and_counts(browser, dataset):
    browser.do(op="status", image=0, done=True)
    assert dataset.images[0].status == "done"
    assert browser.scene["done"] == 1
    browser.do(op="status", image=0, done=False)
    assert dataset.images[0].status == "unlabeled"
    browser.do(op="undo")
    browser.do(op="undo")
    assert (dataset.images[0].status, browser.scene["done"]) == ("unlabeled", 0)
    browser.do(op="redo")
    assert browser.scene["image"]["status"] == "done"


def test_not_done_with_an_instance_is_started(browser, dataset):
    browser.point("a", 0, 1, 1, new=True)
    browser.do(op="status", image=0, done=True)
    browser.do(op="status", image=0, done=False)
    assert dataset.images[0].status == "started"


def test_flags_belong_to_the_view_and_are_no_step(browser, dataset):
    browser.point("a", 0, 1, 1, new=True)
    browser.do(op="flags", image=0, instance="a", hidden=True, locked=True)
    (shown,) = browser.scene["instances"]
    assert (shown["hidden"], shown["locked"]) == (True, True)
    assert dataset.undo_top().label == "place top"
    browser.point("a", 1, 2, 2)
    browser.do(op="remove", image=0, instance="a", next=[0, None, 0])
    assert [why for _, why in browser.rejections()] == ["This instance is locked."] * 2
    browser.do(op="flags", image=0, instance="a", locked=False)
    browser.point("a", 1, 2, 2)
    (shown,) = browser.scene["instances"]
    assert (shown["hidden"], shown["locked"]) == (False, False)


def test_an_instance_that_comes_back_is_seen_and_can_be_edited(browser):
    browser.point("a", 0, 1, 1, new=True)
    browser.do(op="flags", image=0, instance="a", hidden=True, locked=True)
    browser.do(op="undo")
    browser.do(op="redo")
    (shown,) = browser.scene["instances"]
    assert (shown["hidden"], shown["locked"]) == (False, False)


def test_an_edit_of_an_image_that_is_not_shown_leaves_the_cursor(browser, dataset):
    browser.do(op="goto", to="next")
    browser.do(op="skip", image=0, next=[0, None, 3])
    browser.point("a", 0, 1, 1, new=True)
    assert browser.scene["image"]["index"] == 1
    assert browser.scene["cursor"] == {"category": 0, "instance": None, "keypoint": 0}
    assert dataset.instances[0].image.index == 0


def test_what_was_begun_on_an_image_goes_on_when_one_comes_back(browser, dataset):
    browser.point("a", 0, 1, 2, new=True)
    browser.do(op="goto", to="next")
    assert browser.scene["cursor"] == {"category": 0, "instance": None, "keypoint": 0}
    browser.do(op="goto", to="previous")
    assert browser.scene["cursor"] == {"category": 0, "instance": "a", "keypoint": 1}
    browser.point("a", 3, 4, 5, finish=True, next=[0, "a", None])
    browser.do(op="goto", to="next")
    browser.do(op="goto", to="previous")
    assert browser.scene["cursor"] == {"category": 0, "instance": None, "keypoint": 0}


@pytest.mark.parametrize("end", ["remove", "finish"])
def test_what_code_has_ended_meanwhile_does_not_go_on(browser, dataset, end):
    browser.point("a", 0, 1, 2, new=True)
    browser.do(op="goto", to="next")
    if end == "remove":
        dataset.instance("a").remove()
    else:
        dataset.instance("a").set_finished(True)
    browser.do(op="goto", to="previous")
    assert browser.scene["cursor"] == {"category": 0, "instance": None, "keypoint": 0}


# --- the mean pose --------------------------------------------------------------------------------


def test_the_mean_pose_is_told_when_five_instances_are_labeled(make, dataset):
    browser = make(dataset)
    browser.hello()
    browser.viewport()
    wait_for(lambda: browser.of("painting"))
    assert browser.annotator.templates == []
    # By hand: top (0.5, 0), left (0, 0.5) and right (1, 1) in a box of 20 x 10; nobody has the
    # fourth one. In half of a box of two points nothing is known: the sticks are too few, too.
    for i in range(5):
        dataset.add_instance(
            0, "face", [(10 + i, 5, 2), (i, 10, 2), (20 + i, 15, 1), (0, 0, 0)], uid=f"f{i}"
        )
        dataset.add_instance(0, "stick", [(1, 1, 2), (0, 0, 0)], uid=f"s{i}")
    browser.do(op="goto", to="next")
    browser.viewport(rev=2, image=1)
    wait_for(lambda: browser.annotator.templates)
    face, stick = browser.annotator.templates
    assert stick is None
    assert face["instances"] == 5
    assert face["points"][:3] == [[0.5, 0.0], [0.0, 0.5], [1.0, 1.0]]
    assert all(math.isfinite(value) for value in face["points"][3])


# --- the whole instance ---------------------------------------------------------------------------


def pose(browser, points, **more):
    body = {"op": "pose", "how": "move", "image": 0, "instance": "a", "points": points,
            "bbox": None, "next": [0, "a", None]}  # fmt: skip
    return browser.do(**{**body, **more})


def test_all_points_of_an_instance_change_in_one_step(browser, dataset):
    browser.point("a", 0, 10, 20, new=True)
    browser.point("a", 1, 11, 21, visibility=1)
    before = dataset.instance("a").raw.tolist()
    seq = pose(browser, [5, 6, 2, 0, 0, 0, 7, 8, 1, 0, 0, 0], bbox=[1, 2, 30, 20])
    assert dataset.instance("a").raw.tolist() == [[5, 6, 2], [0, 0, 0], [7, 8, 1], [0, 0, 0]]
    assert dataset.instance("a").bbox == (1, 2, 30, 20)
    assert dataset.undo_top().label == "move instance"
    assert dataset.undo_top().token == (browser.client, seq)
    browser.do(op="undo")
    assert dataset.instance("a").raw.tolist() == before
    assert dataset.instance("a").bbox_source == "derived"
    browser.do(op="redo")
    assert dataset.instance("a").raw[0].tolist() == [5, 6, 2]


def test_a_pasted_instance_is_new_and_finished(browser, dataset):
    pose(browser, [5, 6, 2, 0, 0, 0, 7, 8, 1, 0, 0, 0], how="paste", new=True, instance="p")
    assert dataset.instance("p").is_finished
    assert dataset.instance("p").n_labeled == 2
    browser.do(op="undo")
    assert "p" not in dataset


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"how": "melt"}, "how: expected one of swap, mirror, move, paste, template"),
        ({"how": ["swap"]}, "how: expected one of"),
        ({"points": [1, 2, 2]}, "points: expected 12 numbers"),
        ({"points": None}, "points: expected 12 numbers"),
        ({"points": [1, 2, 3] * 4}, "points: expected a visibility of 0, 1 or 2, got 3"),
        ({"points": [1, 2, True] * 4}, "points: expected a visibility"),
        ({"points": [1, None, 2] * 4}, "y: expected a finite number"),
        ({"points": [65, 2, 2] + [0, 0, 0] * 3}, "is outside the image of 64x48 pixels"),
        ({"bbox": [1, 2]}, "bbox: expected"),
        ({"instance": "gone"}, "removed meanwhile"),
    ],
)
def test_a_pose_that_is_none_changes_nothing(browser, dataset, change, why):
    browser.hello()
    browser.point("a", 0, 10, 20, new=True)
    before = dataset.instance("a").raw.tolist()
    pose(browser, **{"points": [1, 2, 2] + [0, 0, 0] * 3, **change})
    wait_for(browser.rejections)
    assert why in browser.rejections()[0][1]
    assert dataset.instance("a").raw.tolist() == before


def test_the_instances_of_the_image_before_are_repeated(make, dataset):
    dataset.add_instance(0, "face", {"top": (10, 20), "left": (3, 4, 1)}, track_id=7)
    dataset.add_instance(0, "stick", bbox=(1, 2, 30, 20))
    browser = make(dataset, image=1)
    browser.hello()
    browser.do(op="repeat", image=1)
    first, second = dataset.images[1].instances
    assert first.raw.tolist() == [[10, 20, 2], [3, 4, 1], [0, 0, 0], [0, 0, 0]]
    assert (first.track_id, second.category.name, second.bbox) == (7, "stick", (1, 2, 30, 20))
    assert first.uid not in [one.uid for one in dataset.images[0].instances]
    browser.do(op="undo")
    assert dataset.images[1].instances == []
    browser.do(op="repeat", image=0)
    wait_for(browser.rejections)
    assert "there is none before it" in browser.rejections()[0][1]
    browser.do(op="repeat", image=2)
    wait_for(lambda: len(browser.rejections()) == 2)
    assert "The image before this one has no instance." in browser.rejections()[1][1]


# --- undo -----------------------------------------------------------------------------------------


def test_undo_and_redo_bring_the_cursor_along(browser, dataset):
    cursors = [browser.scene["cursor"]]
    browser.point("a", 0, 1, 1, new=True)
    cursors.append(browser.scene["cursor"])
    browser.do(op="skip", image=0, next=[0, "a", 2])
    cursors.append(browser.scene["cursor"])
    browser.point("a", 2, 3, 3)
    cursors.append(browser.scene["cursor"])
    state = labeled(dataset)
    for expected in cursors[-2::-1]:
        browser.do(op="undo")
        assert browser.scene["cursor"] == expected
    assert labeled(dataset) == {}
    for expected in cursors[1:]:
        browser.do(op="redo")
        assert browser.scene["cursor"] == expected
    assert labeled(dataset) == state
    assert browser.rejections() == []


def test_undo_goes_to_the_image_it_changes(browser):
    browser.point("a", 0, 1, 1, new=True)
    browser.do(op="goto", to=2)
    browser.do(op="undo")
    assert browser.scene["image"]["index"] == 0
    assert browser.scene["instances"] == []


def test_nothing_to_undo_is_said(browser):
    browser.do(op="undo")
    browser.do(op="redo")
    assert browser.rejections() == [
        (1, "There is nothing to undo."),
        (2, "There is nothing to redo."),
    ]
    assert browser.acknowledged() == 2


def test_undo_leaves_what_code_has_changed_since(browser, dataset):
    browser.point("a", 0, 1, 1, new=True)
    dataset.instance("a").set_keypoint("top", 5, 6)
    browser.do(op="undo")
    ((_, why),) = browser.rejections()
    assert "changed since" in why
    assert labeled(dataset) == {"a": [(5, 6, 2)]}


def test_undo_does_not_take_back_what_code_did(browser, dataset):
    dataset.add_instance(0, "face", uid="mine")
    browser.do(op="undo")
    assert browser.rejections() == [(1, "There is nothing to undo.")]
    assert [one.uid for one in dataset.instances] == ["mine"]


def test_a_new_widget_of_the_same_person_can_undo_what_the_old_one_did(make, dataset):
    make(dataset).point("a", 0, 1, 1, new=True)
    second = make(dataset)
    assert second.scene["undo"]["token"] == ["c1", 1]
    second.client = "c2"
    second.do(op="undo")
    assert len(dataset.instances) == 0


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "to", "index"),
    [
        pytest.param(0, "next", 1, id="next"),
        pytest.param(2, "previous", 1, id="previous"),
        pytest.param(0, 2, 2, id="position"),
        pytest.param(0, "3", 2, id="number as people count"),
        pytest.param(0, " TWO ", 1, id="part of a name, any case"),
        pytest.param(0, "deep/", 2, id="folder"),
        pytest.param(2, "png", 0, id="the first hit when none is behind"),
        pytest.param(0, "png", 1, id="the next hit"),
        pytest.param(1, "unlabeled", 2, id="next unlabeled"),
    ],
)
def test_going_to_an_image(make, dataset, start, to, index):
    browser = make(dataset, image=start)
    browser.do(op="goto", to=to)
    assert browser.rejections() == []
    assert browser.scene["image"]["index"] == index
    assert browser.annotator.image.index == index


@pytest.mark.parametrize(
    ("start", "to", "why"),
    [
        pytest.param(2, "next", "This is the last image.", id="behind the last"),
        pytest.param(0, "previous", "This is the first image.", id="before the first"),
        pytest.param(0, 3, "numbers go from 1 to 3", id="position"),
        pytest.param(0, "4", "No image has '4'", id="number"),
        pytest.param(0, "²", "No image has '²'", id="a digit that is no number"),
        pytest.param(0, "x" * 300, "No image has", id="long"),
        pytest.param(0, "", "There is no image ''", id="empty"),
        pytest.param(0, None, "There is no image None", id="nothing"),
        pytest.param(0, [1], "There is no image", id="list"),
    ],
)
def test_going_nowhere_is_said(make, dataset, start, to, why):
    browser = make(dataset, image=start)
    browser.do(op="goto", to=to)
    assert browser.rejections() == []
    (notice,) = browser.of("notice")
    assert why in notice["text"]
    assert notice["level"] == "info"
    assert browser.scene["image"]["index"] == start


def test_no_unlabeled_image_left_is_said(browser, dataset):
    for image in dataset.images:
        image.set_status("done")
    browser.do(op="goto", to="unlabeled")
    (notice,) = browser.of("notice")
    assert notice["text"] == "There is no unlabeled image left."


def test_going_starts_a_new_instance_in_the_same_category(browser):
    browser.do(op="cursor", image=0, next=[1, None, 1])
    browser.do(op="goto", to="next")
    assert browser.scene["cursor"] == {"category": 1, "instance": None, "keypoint": 0}


def test_code_can_go_too(browser):
    browser.annotator.goto("two.png")
    assert browser.scene["image"]["name"] == "two.png"
    with pytest.raises(KeyError):
        browser.annotator.goto("nowhere.png")


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param({"x": -0.1}, "outside the image of 64x48", id="left of the image"),
        pytest.param({"y": 48.1}, "outside the image", id="below the image"),
        pytest.param({"x": "1"}, "x: expected a finite number", id="text for a number"),
        pytest.param({"x": None}, "x: expected a finite number", id="no number"),
        pytest.param({"x": True}, "x: expected a finite number", id="truth for a number"),
        pytest.param({"x": 10**400}, "x: expected a finite number", id="beyond every float"),
        pytest.param({"visibility": 3}, "visibility: expected 0, 1 or 2", id="visibility 3"),
        pytest.param({"visibility": True}, "visibility: expected", id="visibility true"),
        pytest.param({"keypoint": 4}, "no keypoint number 4", id="keypoint 4"),
        pytest.param({"keypoint": -1}, "keypoint: expected a whole number", id="keypoint -1"),
        pytest.param({"keypoint": 1.5}, "keypoint: expected a whole", id="keypoint 1.5"),
        pytest.param({"image": 3}, "no image number 3", id="image 3"),
        pytest.param({"image": None}, "no image number None", id="no image"),
        pytest.param({"image": 1}, "not in image number 1", id="another image"),
        pytest.param({"instance": "b"}, "removed meanwhile", id="unknown instance"),
        pytest.param({"instance": ""}, "instance: expected a short text", id="empty uid"),
        pytest.param({"instance": "u" * 201}, "instance: expected a short", id="long uid"),
        pytest.param({"instance": "\ud800"}, "instance: expected text", id="half a character"),
        pytest.param({"new": True}, "taken", id="uid that is taken"),
        pytest.param({"next": [0, "a"]}, "next: expected", id="short cursor"),
        pytest.param({"next": [9, "a", 0]}, "no category number 9", id="cursor category"),
        pytest.param({"next": [0, "a", 4]}, "no keypoint number 4", id="cursor keypoint"),
        pytest.param({"next": [0, 5, 0]}, "next: expected the uid", id="cursor instance"),
        pytest.param({"op": "explode"}, "unknown edit 'explode'", id="unknown edit"),
        pytest.param({"op": "__init__"}, "unknown edit", id="a method that is no edit"),
        pytest.param({"op": None}, "unknown edit None", id="no edit"),
    ],
)
def test_a_refused_edit_is_told_acknowledged_and_changes_nothing(browser, dataset, change, why):
    browser.point("a", 0, 10, 10, new=True)
    before, top = labeled(dataset), dataset.undo_top()
    browser.edits({**point(2, 1, 2.0), **change})
    ((seq, said),) = browser.rejections()
    assert seq == 2
    assert why in said
    assert browser.acknowledged() == 2
    assert labeled(dataset) == before
    assert dataset.undo_top() is top
    browser.edits(point(3, 1, 3.0))
    assert browser.acknowledged() == 3
    assert labeled(dataset) == {"a": [(10, 10, 2), (3, 1, 2)]}


@pytest.mark.parametrize(
    "bbox",
    [
        [1, 2, 3],
        [1, 2, 3, "4"],
        [1, 2, -3, 4],
        [-1, 2, 3, 4],
        [60, 2, 10, 4],
        [0, 0, 1e300, 1],
        "box",
        {"x": 1},
    ],
)
def test_a_box_that_is_none_is_refused(browser, dataset, bbox):
    browser.do(op="box", image=0, instance="a", bbox=bbox, next=[0, "a", 0], new=True)
    assert len(browser.rejections()) == 1
    assert len(dataset.instances) == 0
    assert dataset.undo_top() is None


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(None, id="nothing"),
        pytest.param([], id="list"),
        pytest.param({}, id="no kind"),
        pytest.param({"kind": "surprise"}, id="unknown kind"),
        pytest.param({"kind": ["edits"]}, id="kind is a list"),
        pytest.param({"kind": "hello"}, id="hello without client"),
        pytest.param({"kind": "edits", "client": "c", "base": 0}, id="no edits"),
        pytest.param({"kind": "edits", "client": "c", "edits": []}, id="no base"),
        pytest.param({"kind": "edits", "client": "c", "base": -1, "edits": []}, id="negative base"),
        pytest.param({"kind": "edits", "client": "c", "base": 0, "edits": [7]}, id="edit 7"),
        pytest.param({"kind": "edits", "client": "c", "base": 0, "edits": [{}]}, id="no number"),
        pytest.param(
            {"kind": "edits", "client": "c", "base": 0, "edits": [{"seq": 1.5}]}, id="seq 1.5"
        ),
        pytest.param({"kind": "viewport", "client": "c", "rev": 1}, id="no viewport"),
        pytest.param(
            {"kind": "viewport", "client": "c", "rev": 1, "viewport": [0, 0, 0]}, id="scale 0"
        ),
        pytest.param(
            {
                "kind": "viewport",
                "client": "c",
                "rev": 1,
                "image": 0,
                "viewport": [10**400, 0, 0],
                "dpr": 1,
                "w": 9,
                "h": 9,
            },
            id="scale beyond every float",
        ),
    ],
)
def test_a_malformed_message_is_told_in_the_widget(browser, dataset, message):
    browser.edits(point(1, 0, 1.0, new=True))
    browser.receive(message)
    (notice,) = browser.of("notice")
    assert notice["level"] == "error"
    assert "refused" in notice["text"]
    assert labeled(dataset) == {"a": [(1, 1, 2)]}
    browser.edits(point(2, 1, 2.0))
    assert browser.acknowledged() == 2


# --- any message at all ---------------------------------------------------------------------------

texts = st.one_of(st.text(max_size=8), st.sampled_from(["a", "b", "c1", "next", "unlabeled", "2"]))
numbers = st.one_of(
    st.integers(-3, 70), st.integers(), st.floats(allow_nan=False), st.just(10**400), st.booleans()
)
values = st.recursive(
    st.one_of(st.none(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=6,
)


def near(**sound: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with these keys, mostly; each value sound or anything at all."""
    some = {key: st.one_of(value, value, value, values) for key, value in sound.items()}
    return st.fixed_dictionaries({}, optional=some)


cursors = st.tuples(
    st.integers(0, 2), st.sampled_from([None, "a", "b", "n1"]), st.sampled_from([None, 0, 1, 3, 4])
).map(list)
edits_near = near(
    seq=st.integers(1, 12),
    op=st.sampled_from([*kp.widget.stage.OPS, "nonsense"]),
    image=st.integers(0, 3),
    instance=st.sampled_from(["a", "b", "n1"]),
    keypoint=st.integers(0, 4),
    x=st.floats(-1, 65),
    y=st.floats(-1, 49),
    visibility=st.integers(0, 3),
    next=cursors,
    new=st.booleans(),
    finish=st.booleans(),
    bbox=st.lists(st.floats(0, 50), min_size=4, max_size=4),
    done=st.booleans(),
    hidden=st.booleans(),
    locked=st.booleans(),
    to=st.one_of(st.integers(0, 3), texts),
)
messages = st.one_of(
    values,
    near(
        kind=st.just("edits"),
        client=st.just("c9"),
        base=st.just(0),
        edits=st.lists(st.one_of(edits_near, edits_near, values), max_size=5),
    ),
    near(
        kind=st.just("viewport"),
        client=st.just("c9"),
        rev=st.integers(0, 9),
        image=st.integers(0, 3),
        viewport=st.lists(numbers, min_size=3, max_size=3),
        dpr=st.floats(0.5, 3),
        w=st.floats(1, 900),
        h=st.floats(1, 900),
    ),
)


def sound(dataset: Dataset) -> None:
    """What must hold of a dataset whatever was done to it."""
    for one in dataset.instances:
        width, height = one.image.size
        flags = one.keypoints[:, 2]
        assert set(flags.tolist()) <= {0.0, 1.0, 2.0}
        xy = one.keypoints[flags > 0, :2]
        assert np.isfinite(xy).all()
        assert ((xy >= 0) & (xy <= (width, height))).all()
        if one.bbox_source == "given":
            x, y, w, h = one.bbox
            assert 0 <= x <= x + w <= width + 1e-6
            assert 0 <= y <= y + h <= height + 1e-6


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(script=st.lists(messages, max_size=8))
def test_no_message_whatever_raises_or_loses_a_point_that_is_acknowledged(fuzzed, script):
    browser: Browser = fuzzed.annotate()
    dataset = browser.annotator.dataset
    kept: dict[str, list[Any]] = {}
    for seq, message in enumerate(script, start=1):
        browser.receive(message)
        sound(dataset)
        # Between any two messages a good edit of another view goes through and stays.
        uid = f"good{seq}"
        browser.edits(
            {
                "seq": seq,
                "op": "point",
                "image": 0,
                "instance": uid,
                "keypoint": 0,
                "x": 5.5,
                "y": 6.5,
                "visibility": 2,
                "next": [0, uid, 1],
                "new": True,
            },
            client="good",
        )
        assert browser.acknowledged("good") == seq
        undone = any(
            isinstance(edit, dict) and edit.get("op") in ("undo", "redo")
            for edit in _edits_of(message)
        )
        if undone:
            kept.clear()  # an undo, which is an edit like any other, may have taken the last ones
        kept[uid] = [(5.5, 6.5, 2)]
        now = labeled(dataset)
        for known, points in kept.items():
            assert now.get(known) == points
        for shown in browser.scene["instances"]:
            assert len(shown["points"]) == 3 * (4 if shown["category"] == 0 else 2)
    # Every step can still be taken back.
    while dataset.undo() is not None:
        pass
    assert len(dataset.instances) == 0


def _edits_of(message: Any) -> list[Any]:
    found = message.get("edits") if isinstance(message, dict) else None
    return found if isinstance(found, list) else []


class _Fuzzed:
    """Makes an annotator of a fresh dataset again and again, and closes the last one."""

    def __init__(self, schemas: list[Any]) -> None:
        self.schemas = schemas
        self.last: Annotator | None = None

    def annotate(self) -> Browser:
        self.close()
        pixels = np.zeros((48, 64, 3), np.uint8)
        dataset = Dataset.from_images({"one.png": pixels, "two.png": pixels}, self.schemas)
        self.last = Annotator(dataset)
        return Browser(self.last)

    def close(self) -> None:
        if self.last is not None:
            self.last.close()


@pytest.fixture
def fuzzed(schema, stick):
    made = _Fuzzed([schema, stick])
    yield made
    made.close()


# --- edits by code, callbacks ---------------------------------------------------------------------


def test_an_edit_by_code_shows_in_the_scene(browser, dataset):
    version = browser.scene["version"]
    instance = dataset.add_instance(0, "face", {"top": (1.5, 2.5)}, uid="mine")
    assert browser.points["mine"][:3] == [1.5, 2.5, 2]
    instance.set_keypoint("left", 3, 4, visibility=1)
    assert browser.points["mine"][3:6] == [3, 4, 1]
    instance.remove()
    assert browser.points == {}
    assert browser.scene["version"] > version


def test_removing_the_active_instance_by_code_starts_a_new_one(browser, dataset):
    browser.point("a", 0, 1, 1, new=True)
    dataset.instance("a").remove()
    assert browser.scene["cursor"] == {"category": 0, "instance": None, "keypoint": 0}
    browser.point("a", 1, 2, 2)
    assert "removed meanwhile" in browser.rejections()[0][1]


def test_a_transaction_by_code_is_shown_once_and_only_if_it_holds(browser, dataset):
    version = browser.scene["version"]
    with dataset.transaction("many"):
        for i in range(20):
            dataset.add_instance(0, "face", uid=f"u{i}")
    assert len(browser.scene["instances"]) == 20
    assert browser.scene["version"] == version + 1

    def fail() -> None:
        with dataset.transaction("none"):
            dataset.add_instance(0, "face")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(browser.scene["instances"]) == 20


def test_an_exception_in_a_callback_is_shown_and_the_edit_kept(browser, dataset):
    heard = []
    dataset.on_change(lambda change: 1 / 0)
    dataset.on_change(lambda change: heard.append(change.label))
    browser.point("a", 0, 1, 1, new=True)
    assert labeled(dataset) == {"a": [(1, 1, 2)]}
    assert browser.acknowledged() == 1
    assert browser.rejections() == []
    (notice,) = browser.of("notice")
    assert "callback" in notice["text"]
    assert "division by zero" in notice["text"]
    assert heard == ["place top"]
    browser.do(op="undo")
    assert labeled(dataset) == {}


def test_a_callback_may_edit_the_dataset(browser, dataset):
    def mirror(change):
        if change.label == "place top":
            dataset.instance("a").set_keypoint("bottom", 9, 9)

    dataset.on_change(mirror)
    browser.point("a", 0, 1, 1, new=True)
    assert browser.points["a"][-3:] == [9, 9, 2]
    assert browser.acknowledged() == 1


def test_two_widgets_of_one_dataset_show_the_same(make, dataset):
    one, two = make(dataset), make(dataset)
    one.point("a", 0, 1, 1, new=True)
    assert two.points == one.points
    assert two.scene["cursor"]["instance"] is None


# --- saving ---------------------------------------------------------------------------------------


def test_saving_without_a_file_says_what_to_do(browser):
    browser.do(op="save")
    assert "kpwidget.write(" in browser.of("notice")[0]["text"]
    assert browser.acknowledged() == 1


def test_saving_writes_the_file_and_says_so(make, dataset, tmp_path):
    path = tmp_path / "labels.json"
    dataset.save(path)
    browser = make(dataset)
    browser.point("a", 0, 1, 1, new=True)
    assert browser.scene["saved"]["state"] == "changed"
    browser.do(op="save")
    assert browser.scene["saved"]["state"] == "saved"
    assert str(path) in browser.of("notice")[0]["text"]
    assert '"keypoints"' in path.read_text()


def test_a_second_annotator_knows_what_is_not_saved(make, dataset, tmp_path):
    dataset.path = tmp_path / "new.json"  # as kpwidget.open leaves a dataset that it begins
    assert make(dataset).scene["saved"]["state"] == "changed"
    dataset.save()
    first = make(dataset)
    assert first.scene["saved"]["state"] == "saved"
    first.point("a", 0, 1, 1, new=True)
    assert make(dataset).scene["saved"]["state"] == "changed"
    dataset.save()
    assert make(dataset).scene["saved"]["state"] == "saved"


def test_save_over_somebody_elses_changes_is_refused(make, dataset, tmp_path):
    path = tmp_path / "labels.json"
    dataset.save(path)
    browser = make(dataset)
    browser.point("a", 0, 1, 1, new=True)
    path.write_text("{}")
    browser.do(op="save")
    assert path.read_text() == "{}"
    ((_, why),) = browser.rejections()
    assert "somebody else has changed this file" in why
    assert browser.scene["saved"]["state"] == "changed"


def test_a_save_that_fails_is_told(make, dataset, tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    dataset.save(folder / "labels.json")
    browser = make(dataset)
    browser.point("a", 0, 1, 1, new=True)
    (folder / "labels.json").unlink()
    folder.rmdir()
    browser.do(op="save")
    assert browser.acknowledged() == 2
    assert len(browser.rejections()) == 1
    assert browser.scene["saved"]["state"] == "changed"


# --- pictures and paintings -----------------------------------------------------------------------


def started(browser: Browser) -> Browser:
    browser.hello()
    browser.viewport()
    wait_for(lambda: browser.of("painting") and browser.batches)
    return browser


def test_nothing_is_sent_before_a_view_says_hello(browser):
    browser.viewport()
    dataset = browser.annotator.dataset
    dataset.add_instance(0, "face", {"top": (1, 1)})
    assert browser.messages == []
    assert browser.batches == []
    assert len(browser.scene["instances"]) == 1


def test_a_painting_is_announced_before_its_batch_and_ends_with_its_number(browser):
    started(browser)
    (picture,), (painting,) = browser.of("picture"), browser.of("painting")
    assert browser.messages.index(picture) < browser.messages.index(painting)
    # A picture without a buffer is the one that the `preview` trait has brought already.
    sent = browser.buffers[browser.messages.index(picture)] or [browser.annotator.preview]
    encoded = Image.open(BytesIO(sent[0]))
    assert (encoded.size, Image.MIME[encoded.format]) == ((64, 48), picture["mime"])
    assert painting["layers"] == ["image", "detail", "skeletons", "active"]
    assert painting["viewport"] == [2.0, 5.0, 6.0]
    assert (painting["client"], painting["rev"]) == ("c1", 1)
    assert painting["picture"] == [64, 48]
    # 42 is "set", 8 is "line_width".
    assert browser.batches[0][-1] == [42, [8, float(painting["paint"])]]


def test_a_viewport_that_was_overtaken_by_a_newer_one_is_not_painted(browser):
    browser.hello()
    browser.viewport(rev=2, viewport=[3.0, 1.0, 2.0])
    browser.viewport(rev=1, viewport=[9.0, 1.0, 2.0])
    wait_for(lambda: browser.of("painting") and browser.batches)
    browser.point("a", 0, 10, 10, new=True)
    wait_for(lambda: len(browser.of("painting")) > 1)
    assert {painting["rev"] for painting in browser.of("painting")} == {2}
    assert browser.of("painting")[-1]["viewport"] == [3.0, 1.0, 2.0]


def test_an_edit_repaints_and_numbers_rise(browser):
    started(browser)
    browser.point("a", 0, 10, 10, new=True)
    wait_for(lambda: len(browser.batches) > 1 and browser.acknowledged() == 1)
    wait_for(lambda: browser.of("painting")[-1]["version"] == browser.scene["version"])
    numbers = [painting["paint"] for painting in browser.of("painting")]
    assert numbers == sorted(set(numbers))
    assert "active" in browser.of("painting")[-1]["layers"]
    assert "image" not in browser.of("painting")[-1]["layers"]


def test_a_burst_of_edits_costs_few_paintings_and_no_version_twice(browser):
    started(browser)
    n = len(browser.batches)
    with browser.annotator.dataset.lock:
        browser.point("a", 0, 1, 1, new=True)
        for i in range(200):
            browser.point("a", i % 4, i % 60, i % 40)
    wait_for(lambda: browser.acknowledged() == 201)
    wait_for(lambda: browser.of("painting")[-1]["version"] == browser.scene["version"])
    assert len(browser.batches) - n < 20


def test_a_reloaded_page_gets_everything_again(browser):
    started(browser)
    browser.client = "reloaded"
    browser.hello()
    browser.viewport(rev=1)
    wait_for(lambda: len(browser.of("picture")) == 2 and len(browser.batches) >= 2)
    assert browser.of("painting")[-1]["client"] == "reloaded"
    assert browser.of("painting")[-1]["layers"][0] == "image"


def test_an_image_that_comes_back_is_shown_the_next_time(make, schema, tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 48)).save(tmp_path / name)
    (tmp_path / "b.png").rename(tmp_path / "away")
    names = [tmp_path / "a.png", tmp_path / "b.png"]
    (tmp_path / "b.png").touch()
    browser = started(make(Dataset.from_images(names, schema)))
    browser.do(op="goto", to=1)
    wait_for(lambda: browser.scene["image"]["error"])
    (tmp_path / "away").rename(tmp_path / "b.png")
    browser.do(op="goto", to=0)
    browser.do(op="goto", to=1)
    wait_for(lambda: browser.of("painting")[-1]["picture"] == [64, 48])
    wait_for(lambda: browser.scene["image"]["index"] == 1)
    assert browser.scene["image"]["error"] == ""


def test_an_image_that_cannot_be_read_says_so_and_the_rest_goes_on(make, schema, tmp_path):
    for name, color in (("a.png", 50), ("c.png", 90)):
        Image.new("RGB", (64, 48), (color,) * 3).save(tmp_path / name)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    (tmp_path / "d.png").write_bytes(b"no image at all")
    dataset = Dataset.from_images(tmp_path, schema)
    browser = started(make(dataset))
    for index, is_broken in ((1, True), (2, False), (3, True), (0, False)):
        browser.do(op="goto", to=index)
        wait_for(
            lambda i=index, broken=is_broken: (
                browser.scene["image"]["index"] == i
                and bool(browser.scene["image"]["error"]) is broken
                and browser.of("painting")[-1]["version"] >= browser.scene["version"] - 1
            )
        )
        error = browser.scene["image"]["error"]
        assert (dataset.images[index].file_name in error) is is_broken
    browser.point("a", 0, 10, 10, new=True)
    wait_for(lambda: browser.acknowledged() == browser.seq)
    assert labeled(dataset) == {"a": [(10, 10, 2)]}
    assert browser.rejections() == []


def test_a_missing_image_says_so(make, schema, tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    dataset = Dataset.from_images(tmp_path, schema)
    (tmp_path / "a.png").unlink()
    browser = started(make(dataset))
    wait_for(lambda: browser.scene["image"]["error"])
    assert "a.png" in browser.scene["image"]["error"]
    browser.point("a", 0, 10, 10, new=True)
    wait_for(lambda: browser.acknowledged() == 1)
    assert len(browser.rejections()) == 1
    assert len(dataset.instances) == 0


def test_a_defect_in_painting_is_told_and_edits_go_on(browser, dataset, monkeypatch, caplog):
    started(browser)

    def broken(*_, **__):
        raise RuntimeError("the brush is lost")

    monkeypatch.setattr(browser.annotator._painter, "paint_figures", broken)
    browser.point("a", 0, 10, 10, new=True)
    wait_for(lambda: browser.of("notice"))
    assert "the brush is lost" in browser.of("notice")[0]["text"]
    wait_for(lambda: browser.acknowledged() == 1)
    monkeypatch.undo()
    browser.point("a", 1, 11, 11)
    wait_for(lambda: browser.acknowledged() == 2)
    assert labeled(dataset) == {"a": [(10, 10, 2), (11, 11, 2)]}
    assert "publishing to the browser failed" in caplog.text


def test_zooming_in_brings_the_full_resolution(make, schema):
    pixels = np.random.default_rng(0).integers(0, 255, (1200, 3000, 3), np.uint8)
    browser = started(make(Dataset.from_images({"big.png": pixels}, schema)))
    assert max(browser.of("painting")[0]["picture"]) <= 2048
    browser.viewport(rev=2, viewport=[4.0, -4000.0, -2000.0])

    def is_there(painting: dict[str, Any]) -> bool:
        """Whether a painting shows the full resolution where the view is now."""
        sent = {m["paint"] for m in browser.of("picture") if m["layer"] == "detail"}
        is_of_view = painting["viewport"] == [4.0, -4000.0, -2000.0] and painting["rev"] == 2
        return is_of_view and painting["paint"] in sent

    wait_for(lambda: any(is_there(painting) for painting in browser.of("painting")))


def test_a_poster_is_made_when_nothing_happens(browser):
    started(browser)
    browser.point("a", 0, 10, 10, new=True)
    wait_for(lambda: browser.annotator.poster)
    poster = browser.annotator.poster
    assert poster[:4] == b"RIFF"
    assert poster[8:12] == b"WEBP"
    assert len(poster) <= 60_000


def test_a_snapshot_shows_image_and_points(browser, dataset, schema):
    dataset.add_instance(0, "face", {"top": (32, 24)})
    still = browser.annotator.snapshot()
    assert still.size == (64, 48)
    red, green, blue = (int(schema.colors[0][i : i + 2], 16) for i in (1, 3, 5))
    assert still.getpixel((32, 24)) == (red, green, blue)
    assert max(browser.annotator.snapshot(max_side=20).size) == 20


# --- the end --------------------------------------------------------------------------------------


def kpwidget_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("kpwidget")}


def test_close_ends_the_threads_and_the_subscriptions(dataset):
    before = kpwidget_threads()
    browser = started(Browser(Annotator(dataset)))
    assert len(kpwidget_threads() - before) >= 2
    browser.annotator.close()
    browser.annotator.close()
    wait_for(lambda: not (kpwidget_threads() - before))
    n = len(browser.messages)
    dataset.add_instance(0, "face", {"top": (1, 1)})
    dataset.on_change(lambda change: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        dataset.add_instance(0, "face")
    browser.point("a", 0, 1, 1, new=True)
    time.sleep(0.05)
    assert len(browser.messages) == n
    assert len(dataset.instances) >= 2


def test_an_annotator_closed_while_it_works_makes_no_noise(dataset):
    before = kpwidget_threads()
    for _ in range(5):
        browser = Browser(Annotator(dataset))
        browser.hello()
        browser.viewport()
        browser.point(f"a{time.monotonic_ns()}", 0, 1, 1, new=True)
        browser.annotator.close()
    wait_for(lambda: not (kpwidget_threads() - before))


def test_the_publisher_does_not_keep_an_annotator_alive(dataset):
    annotator = Annotator(dataset)
    Browser(annotator).hello()
    publisher = annotator._publisher
    annotator.close()
    alive = weakref.ref(annotator)
    del annotator
    wait_for(lambda: publisher._thread is None or not publisher._thread.is_alive())
    gc.collect()
    assert alive() is None


def test_a_hello_said_again_is_answered_again_and_repaints_nothing(browser):
    """The browser says it until it is welcome; a busy kernel takes both after its cell."""
    browser.hello()
    browser.viewport()
    wait_for(lambda: browser.of("painting") and browser.of("welcome"))
    n = len(browser.of("painting"))
    browser.hello()
    browser.hello()
    wait_for(lambda: len(browser.of("welcome")) == 3)
    assert [message["client"] for message in browser.of("welcome")] == [browser.client] * 3
    assert len(browser.of("painting")) == n


def test_the_canvases_are_made_once_and_when_they_are_asked_for(make, dataset):
    annotator = Annotator(dataset, journal=False)
    assert annotator.canvases == []
    browser = Browser(annotator)  # which asks for them
    made = list(annotator.canvases)
    assert len(made) == 5
    browser.receive({"kind": "open"})
    browser.hello()
    assert annotator.canvases == made
    annotator.close()
    browser.receive({"kind": "open"})
    assert all(canvas.comm is None for canvas in made)


def test_nothing_is_painted_for_views_that_are_closed(browser, dataset):
    browser.hello()
    browser.viewport()
    wait_for(lambda: browser.of("painting"))
    browser.receive({"kind": "bye", "client": browser.client})
    version = browser.annotator.scene["version"]
    dataset.add_instance(0, "face", keypoints={"top": (5, 6)})
    browser.hello(client="next")
    wait_for(lambda: len(browser.annotator.scene["instances"]) == 1)
    # The change was told once, to the view that came: not to nobody before.
    assert browser.annotator.scene["version"] == version + 1


def test_the_pictures_of_the_neighbours_are_made_before_they_are_asked_for(make, dataset):
    browser = make(dataset, image=1)
    browser.hello()
    browser.viewport(image=1)
    wait_for(lambda: set(browser.annotator._previews) == {0, 1, 2})
    assert browser.of("notice") == []
