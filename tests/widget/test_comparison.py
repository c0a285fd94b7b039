"""Two label sets of the same images: what belongs together, and what is told of it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kpwidget as kp
from kpwidget.dataset import Dataset
from kpwidget.widget import comparison as module
from kpwidget.widget.comparison import Comparison

from .fake_browser import wait_for
from .test_viewer import Looker, names

PIXELS = np.zeros((48, 64, 3), np.uint8)
FACE = kp.Schema("face", ["top", "left", "right", "bottom"], [(1, 2), (1, 3)])
#: The same keypoints in another order, one of them missing, one more.
OTHER_FACE = kp.Schema("face", ["right", "nose", "top", "left"], [(1, 3)])
STICK = kp.Schema("stick", ["head", "tip"], [(1, 2)])


def labels(*schemas: kp.Schema, files: str = "abc") -> Dataset:
    images = {f"{name}.png": PIXELS for name in files}
    return Dataset.from_images(images, list(schemas) or [FACE], annotator="ada")


def square(x: float, y: float, side: float = 10) -> list[list[float]]:
    """Top, left, right, bottom: corners of a square box with its outer corner at (x, y)."""
    return [[x, y, 2], [x, y + side, 2], [x + side, y, 2], [x + side, y + side, 2]]


@pytest.fixture
def look() -> Iterator[Any]:
    made: list[Comparison] = []

    def _look(first: Any, second: Any, *, hello: bool = True, **keywords: Any) -> Looker:
        comparison = kp.compare(first, second, **keywords)
        made.append(comparison)
        browser = Looker(comparison)
        if hello:
            browser.hello()
            wait_for(lambda: browser.of("welcome"))
        return browser

    yield _look
    for comparison in made:
        comparison.close()


def arrows(browser: Looker) -> list[list[float]]:
    flat = browser.scene["arrows"]
    return [flat[i : i + 4] for i in range(0, len(flat), 4)]


def shown(browser: Looker) -> list[tuple[str, str, str]]:
    return [(one["uid"], one["set"], one["note"]) for one in browser.scene["instances"]]


# --- what belongs together ------------------------------------------------------------------------


def test_arrows_go_from_each_keypoint_of_the_first_to_that_of_the_second(look):
    a, b = labels(), labels()
    a.add_instance(0, keypoints=[[10, 10, 2], [10, 20, 1], [20, 10, 2], [0, 0, 0]], uid="a")
    b.add_instance(0, keypoints=[[11.5, 10, 2], [10, 22.25, 2], [0, 0, 0], [20, 20, 2]], uid="b")
    browser = look(a, b)
    # Only what both have labeled: not right, not bottom.
    assert arrows(browser) == [[10, 10, 11.5, 10], [10, 20, 10, 22.25]]
    # Mean of 1.5 and 2.25.
    assert shown(browser) == [
        ("a", "first", "by ada, 1.9 px apart on average"),
        ("second:b", "second", "by ada, 1.9 px apart on average"),
    ]
    assert [one["ordinal"] for one in browser.scene["instances"]] == [0, 1], "a colour a set"


def test_keypoints_are_matched_by_name_where_their_order_differs(look):
    a, b = labels(FACE), labels(OTHER_FACE)
    a.add_instance(0, keypoints=square(10, 10), uid="a")
    # right, nose, top, left
    b.add_instance(0, keypoints=[[21, 10, 2], [15, 15, 2], [11, 10, 2], [11, 20, 1]], uid="b")
    browser = look(a, b)
    assert arrows(browser) == [[10, 10, 11, 10], [10, 20, 11, 20], [20, 10, 21, 10]]
    second = browser.points["second:b"]
    assert second == [11, 10, 2, 11, 20, 1, 21, 10, 2, 0, 0, 0], "in the schema of the first"


def test_instances_are_paired_so_that_all_in_all_they_are_nearest(look):
    a, b = labels(), labels()
    a.add_instance(0, keypoints=square(0, 0), uid="a0")
    a.add_instance(0, keypoints=square(3, 0), uid="a1")
    # b0 is nearer to a1 (0) than to a0 (3), but b1 may not be paired with a0 (7 of 10).
    # a0-b0 3 + a1-b1 4 = 7 is one way, a1-b0 0 alone the other: two pairs are better than one.
    b.add_instance(0, keypoints=square(3, 0), uid="b0")
    b.add_instance(0, keypoints=square(7, 0), uid="b1")
    browser = look(a, b)
    notes = {uid: note for uid, _, note in shown(browser)}
    assert notes == {
        "a0": "by ada, 3.0 px apart on average",
        "a1": "by ada, 4.0 px apart on average",
        "second:b0": "by ada, 3.0 px apart on average",
        "second:b1": "by ada, 4.0 px apart on average",
    }


def test_what_is_further_apart_than_half_its_size_is_not_the_same(look):
    a, b = labels(), labels()
    a.add_instance(0, keypoints=square(0, 0), uid="near")  # of size 10: up to 5 px
    a.add_instance(0, keypoints=square(40, 0), uid="far")
    b.add_instance(0, keypoints=square(0, 5), uid="near")
    b.add_instance(0, keypoints=square(40, 5.01), uid="far")
    browser = look(a, b, names=("truth", "<b>model</b>"))
    assert [(uid, note.split(", ")[-1]) for uid, _, note in shown(browser)] == [
        ("near", "5.0 px apart on average"),
        ("far", "not in <b>model</b>"),
        ("second:near", "5.0 px apart on average"),
        ("second:far", "not in truth"),
    ]
    assert {kind for _, kind, _ in shown(browser)} == {"truth", "<b>model</b>"}
    assert len(arrows(browser)) == 4


def test_instances_of_different_categories_are_not_paired(look):
    a, b = labels(FACE, STICK), labels(STICK, FACE)
    a.add_instance(0, "face", square(0, 0), uid="f")
    a.add_instance(0, "stick", [[0, 0, 2], [10, 10, 2]], uid="s")
    b.add_instance(0, "stick", [[1, 0, 2], [10, 10, 2]], uid="s")
    browser = look(a, b)
    assert arrows(browser) == [[0, 0, 1, 0], [10, 10, 10, 10]]
    assert [note.split(", ")[-1] for _, _, note in shown(browser)] == [
        "not in second",
        "0.5 px apart on average",
        "0.5 px apart on average",
    ]


def test_a_category_that_the_first_has_not_is_left_out(look):
    a, b = labels(FACE), labels(FACE, STICK)
    b.add_instance(0, "stick", [[1, 0, 2], [10, 10, 2]], uid="s")
    browser = look(a, b)
    assert shown(browser) == []


def test_one_category_each_is_matched_whatever_its_name(look):
    person = kp.Schema("person", FACE.keypoints, [(1, 2)])
    a, b = labels(FACE), labels(person)
    a.add_instance(0, keypoints=square(0, 0))
    b.add_instance(0, keypoints=square(1, 0))
    assert len(arrows(look(a, b))) == 4


@pytest.mark.parametrize("points", [None, [[5, 5, 2], [0, 0, 0], [0, 0, 0], [0, 0, 0]]])
def test_little_or_nothing_labeled_is_no_trouble(look, points):
    a, b = labels(), labels()
    a.add_instance(0, keypoints=points, uid="a")
    b.add_instance(0, keypoints=square(0, 0), uid="b")
    b.add_instance(0, keypoints=points, uid="same")
    browser = look(a, b)
    assert arrows(browser) == ([] if points is None else [[5, 5, 5, 5]])


def test_scores_of_both_and_a_threshold_on_both(look):
    a, b = labels(), labels()
    a.add_instance(0, keypoints=square(0, 0), uid="truth")
    b.add_instance(0, keypoints=square(1, 0), uid="good", score=0.8)
    b.add_instance(0, keypoints=square(0, 0), uid="bad", score=0.1)
    browser = look(a, b)
    assert browser.browse["scores"] == [0.1, 0.8]
    assert arrows(browser)[:1] == [[0, 0, 0, 0]], "the bad one is nearer"
    browser.ask(score=0.5)
    wait_for(lambda: arrows(browser)[:1] == [[0, 0, 1, 0]])
    assert [uid for uid, _, _ in shown(browser)] == ["truth", "second:good"]
    browser.ask(score=0.9)
    wait_for(lambda: [uid for uid, _, _ in shown(browser)] == ["truth"])


# --- images ---------------------------------------------------------------------------------------


def test_images_that_both_have_are_shown_whatever_their_order(look):
    a, b = labels(files="abcd"), labels(files="dxb")
    a.add_instance("d.png", keypoints=square(0, 0), uid="a")
    b.add_instance("d.png", keypoints=square(2, 0), uid="b")
    browser = look(a, b)
    assert names(browser.viewer.listed) == ["b.png", "d.png"]
    assert browser.viewer.n_unmatched == (2, 1)
    assert "2 images in both, 2 and 1 images in one of them only" in repr(browser.viewer)
    browser.do(op="goto", to="d.png")
    wait_for(lambda: arrows(browser)[:1] == [[0, 0, 2, 0]])
    with pytest.raises(KeyError, match="not in the selection"):
        browser.viewer.goto("a.png")
    browser.pick(None)
    picked = browser.viewer.selection
    assert picked.dataset is a
    assert names(picked) == ["b.png", "d.png"]


def test_images_are_sorted_by_how_far_apart_the_two_are(look):
    a, b = labels(files="abcd"), labels(files="abcd")
    for file, x in zip("abd", (2, 3, 1), strict=True):  # c has nothing
        a.add_instance(f"{file}.png", keypoints=square(0, 0))
        b.add_instance(f"{file}.png", keypoints=square(x, 0))
    browser = look(a, b)
    assert "distance" in browser.browse["sorts"]
    browser.ask(sort="distance", descending=True)
    assert browser.viewer._order.tolist() == [1, 0, 3, 2]
    browser.ask(sort="distance")
    assert browser.viewer._order.tolist() == [3, 0, 1, 2]
    b.images[3].instances[0].set_keypoints(square(4, 0))
    wait_for(lambda: browser.viewer._order.tolist() == [0, 1, 3, 2])
    a.images[0].instances[0].remove()
    wait_for(lambda: browser.viewer._order.tolist() == [1, 3, 0, 2])


def test_selections_are_compared_by_what_is_in_them(look):
    a, b = labels(), labels()
    a.add_instance(0, keypoints=square(0, 0), uid="a0")
    a.add_instance(1, keypoints=square(0, 0), uid="a1")
    b.add_instance(1, keypoints=square(0, 0), uid="b0", score=0.2)
    b.add_instance(1, keypoints=square(1, 0), uid="b1", score=0.8)
    high = b.select(where=lambda one: one.score > 0.5)
    browser = look(a, high)
    assert names(browser.viewer.listed) == ["b.png"]
    assert list(browser.points) == ["a1", "second:b1"]
    b.add_instance(1, keypoints=square(30, 30), uid="b2", score=0.9)
    wait_for(lambda: list(browser.points) == ["a1", "second:b1", "second:b2"])
    browser = look(a.select(image=[1], where=lambda one: False), b)
    assert list(browser.points) == ["second:b0", "second:b1", "second:b2"]


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_what_cannot_be_compared_is_refused_in_words():
    a = labels()
    with pytest.raises(TypeError, match=r"second: expected a kpwidget.Dataset .* got str"):
        kp.compare(a, "b.json")
    with pytest.raises(TypeError, match="first: expected"):
        kp.compare(None, a)
    with pytest.raises(ValueError, match=r"no image in common: .*'a.png' in the first and 'x.png'"):
        kp.compare(a, labels(files="x"))
    with pytest.raises(ValueError, match=r"no image in common: .*None in the first and 'a.png'"):
        kp.compare(a.select(image=[]), a)
    with pytest.raises(ValueError, match=r"no image in common: .*'a.png' in the first and None"):
        kp.compare(a, a.select(where=lambda one: False))
    common = "no category with keypoints in common"
    with pytest.raises(ValueError, match=rf"{common}.*'face' \(top.*'stick' \(head"):
        kp.compare(a, labels(STICK))
    with pytest.raises(ValueError, match=common):
        kp.compare(labels(FACE, STICK), labels(kp.Schema("wing", FACE.keypoints)))
    for wrong in ("ab", ("a",), ("a", 1), ["a", "b", "c"]):
        with pytest.raises(ValueError, match="names: expected two texts"):
            kp.compare(a, a, names=wrong)


def test_two_images_of_one_name_are_not_guessed_at():
    a, b = labels(), labels()
    b._images[2].file_name = "a.png"
    b._indices_by_name = None
    for pair, which in (((a, b), "second"), ((b, a), "first")):
        with pytest.raises(ValueError, match=f"two of the {which} have the name 'a.png'"):
            kp.compare(*pair)


# --- acting on it, and edits ----------------------------------------------------------------------


def test_an_instance_of_either_set_is_chosen_and_hidden(look):
    a, b = labels(), labels()
    a.add_instance(0, keypoints=square(0, 0), uid="a")
    b.add_instance(0, keypoints=square(1, 0), uid="b")
    browser = look(a, b)
    for uid in ("second:b", "a"):
        browser.do(op="cursor", image=0, next=[0, uid, 0])
        wait_for(lambda uid=uid: browser.scene["cursor"]["instance"] == uid)
    browser.do(op="cursor", image=0, next=[0, "second:b", 0])
    browser.do(op="flags", image=0, instance="second:b", hidden=True)
    wait_for(lambda: [one["hidden"] for one in browser.scene["instances"]] == [False, True])
    assert arrows(browser) == [], "an arrow to nothing"
    a.instance("a").set_keypoint("top", 1, 1)
    wait_for(lambda: browser.points["a"][:3] == [1, 1, 2])
    assert browser.scene["cursor"]["instance"] == "second:b"
    b.instance("b").remove()
    wait_for(lambda: browser.scene["cursor"]["instance"] is None)
    browser.do(op="flags", image=0, instance="second:b", hidden=False)
    browser.do(op="flags", image=0, instance="second:nobody", hidden=True)
    wait_for(lambda: len(browser.rejections()) == 2)
    assert {why for _, why in browser.rejections()} == {"This instance has been removed meanwhile."}


def test_edits_of_both_sets_show(look):
    a, b = labels(), labels()
    a.add_instance(0, keypoints=square(0, 0), uid="a")
    browser = look(a, b)
    assert arrows(browser) == []
    b.add_instance(0, keypoints=square(1, 0), uid="b")
    wait_for(lambda: arrows(browser)[:1] == [[0, 0, 1, 0]])
    a.instance("a").set_keypoint("top", 0.5, 0)
    wait_for(lambda: arrows(browser)[:1] == [[0.5, 0, 1, 0]])
    b.instance("b").set_keypoint("top", 2, 0)
    wait_for(lambda: arrows(browser)[:1] == [[0.5, 0, 2, 0]])
    b.undo()
    b.undo()
    wait_for(lambda: arrows(browser) == [])
    assert browser.of("notice") == []


def test_an_edit_of_the_chosen_instance_repaints_the_arrows_too(look):
    a, b = labels(), labels()
    a.add_instance(0, keypoints=square(0, 0), uid="a")
    b.add_instance(0, keypoints=square(1, 0), uid="b")
    browser = look(a, b)
    browser.viewport()
    browser.do(op="cursor", image=0, next=[0, "a", 0])
    wait_for(lambda: browser.of("painting") and browser.scene["cursor"]["instance"] == "a")
    wait_for(lambda: not browser.viewer._dirty)
    n = len(browser.of("painting"))
    a.instance("a").set_keypoint("top", 0.5, 0)  # on the layer of the active one
    wait_for(lambda: len(browser.of("painting")) > n)
    assert {"skeletons", "active"} <= set(browser.of("painting")[n]["layers"])


def test_a_set_may_be_compared_with_itself(look):
    a = labels()
    a.add_instance(0, keypoints=square(0, 0), uid="a")
    browser = look(a, a)
    assert list(browser.points) == ["a", "second:a"]
    a.instance("a").set_keypoint("top", 3, 4)
    wait_for(lambda: arrows(browser)[:1] == [[3, 4, 3, 4]])


def test_no_message_changes_either_set(look):
    a, b = labels(), labels()
    a.add_instance(0, keypoints=square(0, 0), uid="a")
    b.add_instance(0, keypoints=square(1, 0), uid="b")
    browser = look(a, b)
    before = (a._revision, b._revision)
    for uid in ("a", "second:b", "b"):
        browser.do(op="remove", image=0, instance=uid, next=[0, None, 0])
        browser.do(op="box", image=0, instance=uid, bbox=[0, 0, 1, 1], next=[0, None, 0])
    browser.do(op="undo")
    wait_for(lambda: len(browser.rejections()) == 7)
    assert (a._revision, b._revision) == before


# --- two locks ------------------------------------------------------------------------------------


def test_two_comparisons_and_threads_that_take_both_locks_in_both_orders_go_on(look):
    """Whoever holds the lock of one set may wait for the other's: no one waits for ever."""
    a, b = labels(), labels()
    a.add_instance(0, keypoints=square(0, 0), uid="x")
    b.add_instance(0, keypoints=square(0, 0), uid="x")
    there, back = look(a, b), look(b, a)
    there.ask(sort="distance")
    back.ask(sort="distance")

    # In turn: two threads of a person that take them in two orders are not ours to save.
    turn = threading.Lock()

    def edit(outer: Dataset, inner: Dataset) -> None:
        for i in range(40):
            with turn, outer.transaction("both"):
                outer.instance("x").set_keypoint("top", i, 0)
                inner.instance("x").set_keypoint("left", 0, i)

    threads = [threading.Thread(target=edit, args=pair, daemon=True) for pair in ((a, b), (b, a))]
    for thread in threads:
        thread.start()
    for _ in range(10):
        there.ask(sort="distance", score=0.5)
        back.ask(sort="distance")
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    a.instance("x").set_keypoint("top", 0, 0)
    b.instance("x").set_keypoint("top", 1, 0)
    wait_for(lambda: arrows(there)[:1] == [[0, 0, 1, 0]] and arrows(back)[:1] == [[1, 0, 0, 0]])
    texts = [m["text"] for one in (there, back) for m in one.of("notice")]
    assert not texts


def test_what_cannot_be_read_now_is_read_when_it_can_be(look):
    a, b = labels(), labels()
    a.add_instance(0, keypoints=square(0, 0), uid="a")
    b.add_instance(0, keypoints=square(1, 0), uid="b")
    browser = look(a, b)
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with b.lock:
            held.set()
            assert go.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(20)
    try:
        a.instance("a").set_keypoint("top", 0.5, 0)
        # The edit shows, with the second set as it was.
        wait_for(lambda: arrows(browser)[:1] == [[0.5, 0, 1, 0]])
        browser.do(op="goto", to=1)
        wait_for(lambda: browser.scene["image"]["index"] == 1)
        browser.do(op="goto", to=0)
        wait_for(lambda: browser.scene["image"]["index"] == 0)
        assert list(browser.points) == ["a"]
    finally:
        go.set()
        thread.join(20)
    wait_for(lambda: list(browser.points) == ["a", "second:b"])
    assert browser.of("notice") == []


def test_distances_of_images_without_pairs_are_no_numbers(look):
    a, b = labels(), labels()
    a.add_instance(0, keypoints=square(0, 0))
    comparison = look(a, b).viewer
    assert [math.isnan(d) for d in comparison._distances()] == [True] * 3


def test_after_an_edit_only_its_image_is_measured_anew(look, monkeypatch):
    a, b = labels(files="abcd"), labels(files="dcba")
    for file in "abcd":
        a.add_instance(f"{file}.png", keypoints=square(0, 0), uid=file)
        b.add_instance(f"{file}.png", keypoints=square(1, 0), uid=file)
    comparison = look(a, b, hello=False, image="d.png").viewer
    assert comparison._distances().tolist() == [1, 1, 1, 1]
    measured = []
    match = module._matched

    def matched(first: list[Any], second: list[Any]) -> Any:
        # The one that is shown is measured for its scene as well, in whichever thread tells it.
        if second and second[0].image.dataset is a and second[0].image.file_name != "d.png":
            measured.append(second[0].image.file_name)
        return match(first, second)

    monkeypatch.setattr(module, "_matched", matched)
    a.instance("a").set_keypoints(square(0, 2))
    assert comparison._distances().round(12).tolist() == [round(math.sqrt(5), 12), 1, 1, 1]
    assert measured == ["a.png"]
    measured.clear()
    b.instance("c").set_keypoints(square(3, 0))
    assert comparison._distances().round(12).tolist() == [round(math.sqrt(5), 12), 1, 3, 1]
    assert measured == ["c.png"]
    b.undo()
    a.instance("b").remove()
    measured.clear()
    found = comparison._distances()
    assert found[2] == found[3] == 1
    assert math.isnan(found[1])


def test_a_snapshot_has_both_sets_as_they_are_now(look):
    a, b = labels(), labels()
    a.add_instance(0, keypoints=square(5, 5), uid="a")
    browser = look(a, b, hello=False)
    before = np.asarray(browser.viewer.snapshot())
    b.add_instance(0, keypoints=square(30, 20), uid="b")
    assert (np.asarray(browser.viewer.snapshot()) != before).any()


# --- the table ------------------------------------------------------------------------------------


def test_table_of_distances_has_a_row_for_each_keypoint_and_for_what_is_alone(look):
    a, b = labels(), labels(OTHER_FACE)
    a.add_instance(0, keypoints=[[10, 10, 2], [10, 20, 1], [20, 10, 2], [20, 20, 2]], uid="a")
    a.add_instance(1, keypoints=square(5, 5), uid="alone")
    # right, nose, top, left; 3-4-5 apart at the top, 1 px at the left, the right is not labeled
    b.add_instance(0, keypoints=[[0, 0, 0], [1, 1, 2], [13, 14, 2], [10, 21, 2]], uid="a")
    b.add_instance(2, keypoints=[[9, 9, 2], [8, 8, 2], [7, 7, 2], [6, 6, 2]], uid="new")
    table = look(a, b, hello=False).viewer.to_pandas()
    assert table.drop(columns="distance").to_numpy().tolist() == [
        ["a.png", "a", "a", "face", "top", 2, 2],
        ["a.png", "a", "a", "face", "left", 1, 2],
        ["a.png", "a", "a", "face", "right", 2, 0],
        ["a.png", "a", "a", "face", "bottom", 2, 0],
        ["b.png", "alone", "", "face", "", 0, 0],
        ["c.png", "", "new", "face", "", 0, 0],
    ]
    assert table["distance"].tolist() == pytest.approx([5, 1] + [math.nan] * 4, nan_ok=True)
