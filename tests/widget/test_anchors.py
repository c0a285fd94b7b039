"""Finished images that come again, blind: what is shown, where it goes, what it never touches."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

import kpwidget as kp
from kpwidget.dataset import Dataset
from kpwidget.widget import anchors
from kpwidget.widget.anchors import Anchors
from kpwidget.widget.wire import AGAIN

from .fake_browser import Browser, wait_for

SQUARE = np.array([(20, 10), (10, 20), (30, 20), (20, 30)], float)


def pictures(n: int) -> dict[str, np.ndarray]:
    return {f"{i}.png": np.full((48, 64, 3), i % 250, np.uint8) for i in range(n)}


@pytest.fixture
def dataset(schema) -> Dataset:
    return Dataset.from_images(pictures(6), schema, annotator="ada")


@pytest.fixture(autouse=True)
def _two_between(monkeypatch):
    monkeypatch.setattr(anchors, "LEAST_SINCE", 2)


def index_of(browser: Browser) -> int:
    return int(browser.scene["image"]["index"])


def draw(browser: Browser, uid: str, points: np.ndarray = SQUARE, **more: object) -> None:
    image = more.pop("image", index_of(browser))
    for k, (x, y) in enumerate(points.tolist()):
        state = {"new": True} if k == 0 else {"finish": True} if k == 3 else {}
        browser.point(uid, k, x, y, image=image, **state, **more)


def go(browser: Browser, to: object = "next") -> int:
    browser.do(op="goto", to=to)
    return index_of(browser)


def until_again(browser: Browser) -> None:
    """Label three images: the first comes again before the fourth."""
    for uid in ("zero", "one", "two"):
        draw(browser, uid)
        go(browser)
    assert index_of(browser) == AGAIN


def keypoints(dataset: Dataset) -> dict[str, list[list[float]]]:
    return {one.uid: one.keypoints.tolist() for one in dataset.instances}


def test_an_image_comes_again_as_if_it_were_the_next_and_goes_into_a_pass(make, dataset):
    browser = make(dataset, anchors=1.0, rng=0)
    until_again(browser)
    assert browser.scene["image"] == {
        "index": AGAIN, "position": 3, "count": 6, "name": "3.png", "width": 64, "height": 48,
        "status": "unlabeled", "note": "", "error": "",
    }  # fmt: skip
    assert browser.scene["instances"] == []
    assert browser.scene["cursor"] == {"category": 0, "instance": None, "keypoint": 0}
    assert browser.scene["undo"] is None
    before = keypoints(dataset)
    draw(browser, "again", SQUARE + 0.5)
    assert browser.annotator.instance.uid == "again"
    assert browser.annotator.image.file_name == "0.png"
    assert list(browser.points) == ["again"]
    assert go(browser) == 3
    assert "position" not in browser.scene["image"]
    assert keypoints(dataset) == before
    assert list(before) == ["zero", "one", "two"]
    [opinion] = dataset.passes
    assert (opinion.uid, opinion.name, opinion.annotator) == ("zero", "anchor", "ada")
    np.testing.assert_array_equal(opinion.keypoints()[:, :2], SQUARE + 0.5)
    assert browser.rejections() == []


def test_the_pixels_are_those_of_the_image_that_comes_again(make, dataset):
    browser = make(dataset, anchors=1.0, rng=0)
    until_again(browser)
    browser.hello()
    browser.viewport(image=AGAIN)
    wait_for(lambda: browser.of("painting"))
    assert browser.annotator._picture.index == 0
    assert browser.annotator._view_index == 0


def test_left_without_labels_it_was_not_looked_at(make, dataset):
    browser = make(dataset, anchors=1.0, rng=0)
    until_again(browser)
    assert go(browser) == 3
    assert len(dataset.passes) == 0
    draw(browser, "three")
    assert go(browser) == AGAIN + 1  # not the first one again, though two were labeled since


@pytest.mark.parametrize(
    ("to", "comes"),
    [
        pytest.param("previous", 2, id="the one before what was asked for"),
        pytest.param("unlabeled", 3, id="the unlabeled one that was asked for"),
        pytest.param("1", 0, id="the image itself"),
        pytest.param(5, 5, id="by number"),
    ],
)
def test_from_it_one_goes_on_as_from_the_image_that_was_asked_for(make, dataset, to, comes):
    browser = make(dataset, anchors=1.0, rng=0)
    until_again(browser)
    draw(browser, "again")
    assert go(browser, to) == comes
    assert [opinion.uid for opinion in dataset.passes] == ["zero"]
    expected = {0: ["zero"], 2: ["two"]}.get(comes, [])
    assert list(browser.points) == expected


def test_the_image_before_it_is_that_before_what_was_asked_for(make, dataset):
    browser = make(dataset, anchors=1.0, rng=0)
    until_again(browser)
    dataset.instance("two").set_keypoint("top", 21, 11)
    browser.do(op="repeat", image=AGAIN)
    [points] = browser.points.values()
    assert points[:2] == [21, 11]
    assert [one.uid for one in dataset.instances] == ["zero", "one", "two"]


def test_undo_takes_back_what_was_drawn_there_and_nothing_else(make, dataset):
    browser = make(dataset, anchors=1.0, rng=0)
    until_again(browser)
    browser.point("again", 0, 5, 5, image=AGAIN, new=True)
    assert browser.scene["undo"]["label"] == "place top"
    browser.do(op="undo", image=AGAIN)
    assert browser.points == {}
    browser.do(op="undo", image=AGAIN)
    assert browser.rejections()[-1][1] == "There is nothing to undo."
    browser.do(op="redo", image=AGAIN)
    assert list(browser.points) == ["again"]
    go(browser)
    browser.do(op="undo", image=3)  # the last step on the labels: "two" gets back its last point
    assert index_of(browser) == 2
    assert dataset.instance("two").keypoints[:, 2].tolist() == [2, 2, 2, 0]
    assert dataset.passes.names == ["anchor"]


def test_undo_of_an_image_that_was_left_takes_that_back(make, dataset):
    browser = make(dataset, anchors=1.0, rng=0)
    until_again(browser)
    browser.do(op="undo", image=2)  # pressed before the other image was shown
    assert index_of(browser) == 2
    assert dataset.instance("two").keypoints[:, 2].tolist() == [2, 2, 2, 0]


def test_an_edit_that_is_late_reaches_what_it_was_made_on(make, dataset):
    browser = make(dataset, anchors=1.0, rng=0)
    until_again(browser)
    browser.point("one", 3, 9, 9, image=1)  # another view, which still shows that image
    assert dataset.instance("one").keypoints[3].tolist() == [9, 9, 2]
    assert index_of(browser) == AGAIN
    assert browser.scene["cursor"]["instance"] is None
    browser.point("zero", 0, 1, 1, image=AGAIN)  # an instance of the labels is none of these
    assert browser.rejections()[-1][1] == "This instance has been removed meanwhile."
    draw(browser, "again")
    go(browser)
    browser.point("more", 0, 1, 1, image=AGAIN, new=True)
    browser.do(op="undo", image=AGAIN)
    for _, why in browser.rejections()[-2:]:
        assert why == "The image it was made on is no longer shown: this edit was not made."
    assert keypoints(dataset).keys() == {"zero", "one", "two"}
    assert len(dataset.passes) == 1


def test_a_late_edit_of_a_label_is_as_without_the_other_image(make, dataset):
    browser = make(dataset, anchors=1.0, rng=0)
    until_again(browser)
    dataset.instance("zero").set_keypoint("top", 1, 1)
    browser.do(op="repeat", image=1)  # another view, which still shows that image
    assert dataset.images[1].instances[1].keypoints[0].tolist() == [1, 1, 2]  # of the one before it
    browser.do(op="undo", image=1)
    assert [one.uid for one in dataset.images[1].instances] == ["one"]
    browser.do(op="repeat", image=AGAIN)
    assert "no longer shown" in browser.rejections()[-1][1]


def test_two_annotators_of_a_dataset_leave_each_other_alone(make, dataset):
    one, two = (make(dataset, anchors=1.0, rng=0) for _ in range(2))
    two.client = "c2"
    until_again(one)
    draw(one, "again", SQUARE[:2])
    assert go(two) == 1
    draw(two, "other", image=4)
    assert len(dataset.passes) == 0
    one.point("again", 2, 30, 20, image=AGAIN)
    assert one.rejections() == []
    go(one)
    [opinion] = dataset.passes
    assert opinion.keypoints()[:, 2].tolist() == [2, 2, 2, 0]


def test_a_view_that_was_closed_holds_nothing_back(make, dataset):
    one, two = (make(dataset, anchors=1.0, rng=0) for _ in range(2))
    until_again(one)
    draw(one, "again")
    one.receive({"kind": "bye", "client": "c1"})  # as when its cell runs again
    go_as(two, "c2")
    assert len(dataset.passes) == 1


def test_leaving_inside_a_transaction_that_fails_keeps_what_was_drawn(make, dataset):
    browser = make(dataset, anchors=1.0, rng=0)
    until_again(browser)
    draw(browser, "again")

    def fail() -> None:
        with dataset.transaction("of code"):
            browser.annotator.goto(4)
            dataset.add_instance(99)

    with pytest.raises(IndexError):
        fail()
    assert (index_of(browser), len(dataset.passes)) == (4, 0)
    go(browser)
    assert len(dataset.passes) == 1


def test_goto_is_from_what_is_shown_wherever_it_says_it_is_from(make, dataset):
    browser = make(dataset, anchors=1.0, rng=0)
    until_again(browser)
    browser.do(op="goto", to="next", image=2)
    assert index_of(browser) == 3
    draw(browser, "three")
    assert "three" in dataset


def test_close_makes_what_was_drawn_a_pass(make, dataset):
    browser = make(dataset, anchors=1.0, rng=0)
    until_again(browser)
    draw(browser, "again")
    browser.annotator.close()
    assert [opinion.uid for opinion in dataset.passes] == ["zero"]


def test_goto_by_code_calls_back_without_the_lock(make, dataset):
    browser = make(dataset, anchors=1.0, rng=0)
    until_again(browser)
    draw(browser, "again")
    free = []

    def look() -> None:
        is_free = dataset.lock.acquire(timeout=1)
        free.append(is_free)
        if is_free:
            dataset.lock.release()

    def call(_: object) -> None:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    dataset.on_change(call)
    browser.annotator.goto(4)
    assert free == [True]


def opened(folder: Path, schema: kp.Schema, annotator: str = "ada") -> Dataset:
    return kp.open(folder / "labels.json", pictures(6), schema, annotator=annotator)


def test_a_kernel_that_ends_between_pass_and_sheet_leaves_one_pass(
    make, schema, tmp_path, monkeypatch
):
    monkeypatch.delenv("KPWIDGET_JOURNAL")
    browser = make(opened(tmp_path, schema), anchors=1.0, rng=0)
    until_again(browser)
    draw(browser, "again", SQUARE[:3])
    [sheet] = (tmp_path / "labels.kpwidget").glob("anchors-*")
    shutil.copytree(sheet, tmp_path / "kept")
    go(browser)
    del browser
    shutil.rmtree(sheet)
    (tmp_path / "kept").rename(sheet)
    dataset = opened(tmp_path, schema)
    go_as(make(dataset, anchors=1.0, rng=0), "c2")
    assert [(one.uid, one.name) for one in dataset.passes] == [("zero", "anchor")]


def test_what_somebody_draws_in_another_notebook_is_theirs_until_they_leave_it(
    make, schema, tmp_path, monkeypatch
):
    monkeypatch.delenv("KPWIDGET_JOURNAL")
    browser = make(opened(tmp_path, schema), anchors=1.0, rng=0)
    until_again(browser)
    browser.point("again", 0, 5, 5, image=AGAIN, new=True)
    dataset = opened(tmp_path, schema, "ben")
    go_as(make(dataset, anchors=1.0, rng=0), "c2")
    assert len(dataset.passes) == 0


def test_the_journal_of_anchors_is_beside_the_file_after_a_save_under_another_name(
    make, schema, tmp_path, monkeypatch
):
    monkeypatch.delenv("KPWIDGET_JOURNAL")
    dataset = opened(tmp_path, schema)
    browser = make(dataset, anchors=1.0, rng=0)
    dataset.save(tmp_path / "other.json")
    until_again(browser)
    browser.point("again", 0, 5, 5, image=AGAIN, new=True)
    del browser
    dataset = kp.open(tmp_path / "other.json", pictures(6), annotator="ada")
    go_as(make(dataset, anchors=1.0, rng=0), "c2")
    assert dataset.passes.names == ["anchor"]


def test_what_was_drawn_outlives_the_kernel_and_is_taken_once(make, schema, tmp_path, monkeypatch):
    monkeypatch.delenv("KPWIDGET_JOURNAL")
    first = make(opened(tmp_path, schema), anchors=1.0, rng=0)
    until_again(first)
    for k in range(3):
        first.point("again", k, *SQUARE[k], image=AGAIN, new=k == 0)
    seq = first.seq
    del first  # the kernel is gone; the page has the last two edits without an answer
    dataset = opened(tmp_path, schema)
    second = make(dataset, anchors=1.0, rng=0)
    assert second.annotator.image.file_name == "0.png"
    assert list(second.points) == ["zero"]
    again = {
        "op": "point",
        "image": AGAIN,
        "instance": "again",
        "visibility": 2,
        "next": [0, "again", 3],
    }
    second.edits(
        {**again, "seq": seq, "keypoint": 2, "x": 30, "y": 20},
        {**again, "seq": seq + 1, "keypoint": 3, "x": 20, "y": 31},
        base=seq - 1,
    )
    assert second.rejections() == []
    assert list(second.points) == ["zero"]
    assert go_as(second, "c2") == 1
    [opinion] = dataset.passes
    assert opinion.uid == "zero"
    np.testing.assert_array_equal(opinion.keypoints()[:3, :2], SQUARE[:3])
    assert opinion.keypoints()[3].tolist() == [20, 31, 2]
    assert dataset.instance("zero").keypoints[:, :2].tolist() == SQUARE.tolist()
    # It is in the journal of the labels now, with the time at which it was drawn.
    once_more = opened(tmp_path, schema)
    kp.Annotator(once_more, anchors=0.5).close()
    assert [(o.uid, o.name) for o in once_more.passes] == [("zero", "anchor")]
    times = once_more.history().set_index("instance")["time"]
    assert once_more.passes[0].time >= times["two"].max().timestamp()


def go_as(browser: Browser, client: str) -> int:
    browser.client, browser.seq = client, 0
    return go(browser)


def test_edits_that_are_kept_by_a_page_are_refused_without_anchors(make, dataset):
    browser = make(dataset)
    browser.point("again", 0, 1, 1, image=AGAIN, new=True)
    assert "no longer shown" in browser.rejections()[0][1]
    assert len(dataset.instances) == 0


def test_what_cannot_become_a_pass_keeps_nobody_from_going_on(make, dataset, monkeypatch):
    browser = make(dataset, anchors=1.0, rng=0)
    until_again(browser)
    browser.hello()
    draw(browser, "again")
    browser.hello()
    with monkeypatch.context() as patch:
        patch.setattr(anchors, "add_pass", lambda *_, **__: kp.Schema("twice", ["a", "a"]))
        go(browser)
        wait_for(lambda: index_of(browser) == 3)
        wait_for(lambda: browser.of("notice"))
    assert "What was drawn last is not a pass yet" in browser.of("notice")[-1]["text"]
    assert len(dataset.passes) == 0
    go(browser, "previous")  # it is still there
    wait_for(lambda: len(dataset.passes) == 1)


def test_another_schema_ends_it(make, dataset, schema):
    browser = make(dataset, anchors=1.0, rng=0)
    until_again(browser)
    browser.point("again", 0, 5, 5, image=AGAIN, new=True)
    dataset.migrate_schema("face", kp.Schema("face", ["top", "left", "right"]), remove=True)
    wait_for(lambda: index_of(browser) == 3)
    assert len(dataset.passes) == 0
    assert {len(one.keypoints) for one in dataset.instances} == {3}


def test_share_and_order_are_those_asked_for(schema):
    # By hand: 200 images are finished one after the other; the first three leave none to come.
    dataset = Dataset.from_images(pictures(200), schema, annotator="ada")
    with dataset.transaction("all but the last"):
        for i in range(199):
            dataset.add_instance(i, keypoints=SQUARE)
    picked = {}
    for seed in (1, 1, 2):
        chosen = Anchors(dataset, 0.1, seed)
        found = [chosen.pick(i, i + 1) for i in range(199)]
        places = [i for i, image in enumerate(found) if image is not None]
        picked.setdefault(seed, []).append([(i, found[i]) for i in places])
        assert len(places) == pytest.approx(19.9, abs=1.5)
        assert len(set(np.diff(places))) > 3  # nobody can count to the next one
        assert all(found[i] not in (i, i + 1, 199) for i in places)
    assert picked[1][0] == picked[1][1] != picked[2][0]


def test_only_finished_images_of_the_same_person_come_and_each_once_a_round(dataset):
    for i in range(5):
        dataset.add_instance(i, keypoints=SQUARE, uid=str(i), is_finished=i != 3)
    dataset.add_instance(1, keypoints=SQUARE, annotator="ben")
    again = dataset.start_pass("anchor")
    again.add_instance(0, keypoints=SQUARE)
    dataset.add_pass(again, "anchor")
    chosen = Anchors(dataset, 1.0, 0)
    # Edited last: 0 (its pass) and 1; 1 is also ben's, 3 is not finished, 5 has nothing.
    assert chosen.pick(3, 5) is None
    assert chosen.pick(1, 5) is None
    assert chosen.pick(4, 5) == 2
    assert chosen.pick(4, 5) is None  # counted once
    dataset.images[3].set_status("done")
    dataset.images[5].set_status("done")
    assert list(chosen._rounds_of(0)) == ["anchor"]
    assert chosen.pick(2, 5) == 4


def test_errors_say_what_was_expected(dataset, schema):
    with pytest.raises(ValueError, match=r"anchors = 5: expected a share from 0 \(none\) to 1"):
        kp.Annotator(dataset, anchors=5)
    twins = Dataset.from_images(pictures(2), schema)
    twins._images[1].file_name = "0.png"
    twins._indices_by_name = None
    with pytest.raises(ValueError, match=r"1 names stand for several images, such as '0\.png'"):
        kp.Annotator(twins, anchors=0.5)
