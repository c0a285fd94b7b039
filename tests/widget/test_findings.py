"""What is wrong with the image that is labeled, as the annotator lists it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import kpwidget as kp
from kpwidget import quality
from kpwidget.dataset import Dataset

from .fake_browser import Browser, wait_for

AT_ZERO = "labeled (visibility 2) at (0, 0), which mostly means that it is not"


@pytest.fixture
def watched(browser: Browser) -> Browser:
    """A browser whose annotator has loaded the checks: an edit is answered with its findings."""
    browser.hello()
    browser.point("a", 0, 0, 0, new=True)
    wait_for(lambda: listed(browser))
    return browser


def listed(browser: Browser) -> list[tuple[Any, ...]]:
    return [
        (one["severity"], one["instance"], one["keypoint"], one["reason"], one["repair"])
        for one in browser.scene["findings"]
    ]


def answered(browser: Browser, seq: int) -> list[tuple[Any, ...]]:
    """What is listed in the scene that holds an edit, by its acknowledgement."""
    wait_for(lambda: browser.acknowledged() >= seq)
    return listed(browser)


def key(browser: Browser) -> str:
    return str(browser.scene["findings"][0]["key"])


def test_a_contradiction_comes_with_the_edit_that_makes_it_and_goes_with_it(watched):
    assert listed(watched) == [("error", "a", 0, AT_ZERO, "clear")]
    seq = watched.point("a", 1, 0, 0)
    assert [row[2] for row in answered(watched, seq)] == [0, 1]
    seq = watched.point("a", 0, 5, 5)
    assert [row[2] for row in answered(watched, seq)] == [1]
    assert answered(watched, watched.do(op="goto", to=1)) == []
    assert [row[2] for row in answered(watched, watched.do(op="goto", to=0))] == [1]


def test_fine_as_it_is_can_be_undone(watched, dataset):
    assert answered(watched, watched.do(op="decide", image=0, finding=key(watched))) == []
    [decision] = dataset.decisions
    assert (decision.verdict, decision.annotator, decision.keypoint) == ("fine", "ada", "top")
    assert quality.check_image(dataset.images[0]) == []
    assert watched.scene["undo"]["label"] == "fine as it is"
    assert len(answered(watched, watched.do(op="undo"))) == 1
    assert list(dataset.decisions) == []
    assert answered(watched, watched.do(op="redo")) == []
    # It was said of a visible point.
    assert len(answered(watched, watched.point("a", 0, 0, 0, visibility=1))) == 1


def test_a_repair_is_one_step_that_can_be_undone(watched, dataset):
    assert answered(watched, watched.do(op="repair", image=0, finding=key(watched))) == []
    assert not dataset.instance("a").keypoints[0, 2]
    assert watched.scene["undo"]["label"] == "clear"
    assert len(answered(watched, watched.do(op="undo"))) == 1
    assert dataset.instance("a").keypoints[0].tolist() == [0, 0, 2]


@pytest.mark.parametrize("op", ["decide", "repair"])
def test_what_is_not_there_any_more_is_refused(watched, dataset, op):
    seen = key(watched)
    watched.do(op="flags", image=0, instance="a", locked=True)
    seq = watched.do(op=op, image=0, finding=seen)
    wait_for(lambda: watched.rejections() == [(seq, "This instance is locked.")])
    watched.do(op="flags", image=0, instance="a", locked=False)
    dataset.instance("a").clear_keypoint(0)
    watched.messages.clear()
    watched.do(op=op, image=0, finding=seen)
    watched.do(op=op, image=0, finding=5)
    wait_for(lambda: len(watched.rejections()) == 2)
    first, second = (why for _, why in watched.rejections())
    assert first == "This is not found any more: the labels have been changed meanwhile."
    assert "finding: expected a short text, got 5" in second
    assert len(dataset.decisions) == 0


def test_of_very_many_the_worst_are_listed(make, schema, dataset):
    for i in range(12):
        points = dict.fromkeys(schema.keypoints, (0, 0))
        dataset.add_instance(0, "face", points, uid=f"bad {i}")
    dataset.add_instance(0, "face", {"top": (99, 5, 1)}, uid="guessed outside")
    browser = make(dataset)
    browser.hello()
    wait_for(lambda: browser.scene["findings"])
    rows = listed(browser)
    assert (len(rows), browser.scene["unlisted"]) == (40, 12 * 4 + 1 - 40)
    assert [row[1] for row in rows[:5]] == ["bad 0"] * 4 + ["bad 1"]
    assert {row[0] for row in rows} == {"error"}


# --- what takes longer ----------------------------------------------------------------------------


@pytest.fixture
def crowd(make: Callable[..., Browser]) -> tuple[Browser, Dataset]:
    """Thirty people of the reference figure, one a picture, in whom all pairs point one way."""
    schema = kp.schemas.get("coco17")
    pixels = np.zeros((500, 500, 3), np.uint8)
    dataset = Dataset.from_images({f"{i}.png": pixels for i in range(30)}, schema, annotator="ada")
    rng = np.random.default_rng(5)
    for i in range(30):
        points = np.column_stack([50 + 400 * np.array(schema.layout), np.full(17, 2.0)])
        points[:, :2] += rng.normal(0, 2, (17, 2))
        dataset.add_instance(i, keypoints=points, uid=f"person {i}")
    browser = make(dataset)
    browser.hello()
    return browser, dataset


def swapped(dataset: Dataset, uid: str) -> np.ndarray:
    """Exchange the shoulders of one; its points before."""
    before = dataset.instance(uid).keypoints
    points = before.copy()
    points[[5, 6]] = points[[6, 5]]
    dataset.instance(uid).set_keypoints(points)
    return before


def test_swapped_sides_are_told_when_nothing_else_is_done(crowd):
    browser, dataset = crowd
    before = swapped(dataset, "person 0")
    wait_for(lambda: listed(browser))
    [(severity, uid, keypoint, reason, repair)] = listed(browser)
    assert (severity, uid, keypoint, repair) == ("warning", "person 0", 5, "swap left and right")
    assert "left_shoulder and right_shoulder look swapped" in reason
    seq = browser.do(op="repair", image=0, finding=key(browser))
    # Gone at once, not only after the next look.
    assert answered(browser, seq) == []
    np.testing.assert_array_equal(dataset.instance("person 0").keypoints, before)
    browser.do(op="undo")
    wait_for(lambda: listed(browser))


def test_why_swapped_sides_are_not_told_is_said_as_long_as_it_is_so(crowd):
    browser, dataset = crowd
    wait_for(lambda: browser.scene["untold"] == "")
    # Ten instances without an exception teach (Wilson: 10 of 10 is at least 72 %), nine do not.
    for i in range(9, 30):
        dataset.instance(f"person {i}").remove()
    wait_for(lambda: "learned from the instances (9)." in browser.scene["untold"])
    points = dataset.instance("person 0").keypoints
    dataset.add_instance(9, keypoints=points)
    wait_for(lambda: browser.scene["untold"] == "")


def test_a_schema_of_one_pair_says_that_sides_are_not_looked_for(make):
    dataset = Dataset.from_images(
        {"a.png": np.zeros((90, 90, 3), np.uint8)}, kp.schemas.get("four_point"), annotator="ada"
    )
    browser = make(dataset)
    browser.hello()
    wait_for(lambda: "takes 3 flip pairs" in browser.scene["untold"])


def test_what_is_not_told_is_of_the_category_that_is_labeled_next(make):
    schemas = [kp.schemas.get("four_point"), kp.Schema("bolt", ["head", "tip"])]
    categories = [kp.Category(i, schema, schema.name) for i, schema in enumerate(schemas, 1)]
    dataset = Dataset.from_images({"a.png": np.zeros((90, 90, 3), np.uint8)}, categories)
    dataset.annotator = "ada"
    browser = make(dataset)
    browser.hello()
    wait_for(lambda: "takes 3 flip pairs" in browser.scene["untold"])
    browser.do(op="cursor", image=0, next=[1, None, 0])
    wait_for(lambda: browser.scene["untold"] == "")  # it has no pair


def test_who_is_not_finished_is_not_accused(crowd):
    browser, dataset = crowd
    dataset.instance("person 0").set_finished(False)
    swapped(dataset, "person 0")
    assert quality.suspect_image(dataset.images[0]) == []
    dataset.instance("person 0").set_finished(True)
    wait_for(lambda: [row[2] for row in listed(browser)] == [5])


def test_one_image_is_suspected_of_what_the_check_of_all_finds(crowd):
    dataset = crowd[1]
    swapped(dataset, "person 3")
    every = quality.check(dataset, ["occlusion", "sides"])
    assert every["instance"].tolist() == ["person 3"]
    [finding] = quality.suspect_image(dataset.images[3])
    assert finding._asdict() == every.iloc[0].to_dict()
    dataset.decide(finding, "fine")
    assert quality.suspect_image(dataset.images[3]) == []


def test_nothing_is_looked_for_in_the_thread_of_an_edit(watched, monkeypatch):
    threads = []
    for module, name in ((quality, "check_image"), (quality, "suspect_image")):
        real = getattr(module, name)

        def noted(image: Any, real: Any = real) -> Any:
            threads.append((real.__name__, threading.current_thread().name))
            return real(image)

        monkeypatch.setattr(module, name, noted)
    for k in range(4):
        watched.point("a", k, 5 + k, 5)
    wait_for(lambda: len({name for name, _ in threads}) == 2)
    assert {thread for _, thread in threads} == {"kpwidget-publisher"}


def test_a_check_that_fails_keeps_no_edit_from_being_answered(watched, monkeypatch, caplog):
    monkeypatch.setattr(quality, "check_image", lambda image: 1 / 0)
    assert answered(watched, watched.point("a", 1, 7, 7)) == []
    assert watched.points["a"][3:6] == [7, 7, 2]
    assert "the checks of one.png failed" in caplog.text
