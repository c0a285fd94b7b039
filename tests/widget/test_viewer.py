"""The viewer in Python: what it lists, picks and sends, and that it changes nothing."""

from __future__ import annotations

import gc
import json
import math
import threading
import weakref
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import kpwidget as kp
from kpwidget.dataset import Dataset
from kpwidget.widget import Viewer
from kpwidget.widget.stage import OPS
from kpwidget.widget.viewer import _THUMB_SIDE

from .fake_browser import Browser, wait_for
from .zoo import HOSTILE, IMAGES, picture, query, zoo


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return zoo(tmp_path)


class Looker(Browser):
    """A browser at a viewer."""

    def __init__(self, viewer: Viewer, client: str = "c1") -> None:
        super().__init__(viewer, client)  # type: ignore[arg-type]
        self.viewer = viewer
        self.rev = 0

    def ask(self, **changes: Any) -> None:
        """Ask for another list."""
        self.rev += 1
        content = {"kind": "query", "client": self.client, "rev": self.rev}
        self.receive({**content, "query": query(**changes)})

    def pick(self, images: Any, picked: Any = True) -> None:
        self.receive({"kind": "pick", "images": images, "picked": picked})

    def want(self, places: Any, **more: Any) -> None:
        """Ask for thumbnails of the list as it was told last."""
        self.rev += 1
        content = {"kind": "want", "client": self.client, "rev": self.rev, "places": places}
        self.receive({**content, "version": self.browse["version"], **more})

    def review(self, do: Any, finding: Any = None, **more: Any) -> None:
        """Walk through findings, decide, or list others."""
        self.rev += 1
        content = {"kind": "review", "client": self.client, "rev": self.rev, "do": do}
        given = {"check": "", "severity": "", "state": more.pop("state", "open")}
        wanted = {name: more.pop(name, value) for name, value in given.items()}
        self.receive({**content, "finding": finding, "filter": wanted, "start": 0, **more})
        wait_for(self.is_told)

    def is_told(self) -> bool:
        """Whether all that has changed was told."""
        with self.viewer.dataset.lock:
            return "scene" not in self.viewer._dirty

    @property
    def browse(self) -> dict[str, Any]:
        return dict(self.viewer.browse)

    def tiles(self) -> dict[int, dict[str, Any]]:
        """The tiles of the list as it is, by place."""
        version = self.browse["version"]
        told = [m for m in self.of("tiles") if m["version"] == version]
        return {tile["place"]: tile for message in told for tile in message["tiles"]}

    def listed(self) -> list[str]:
        return names(self.viewer.listed)

    def notices(self) -> list[str]:
        return [message["text"] for message in self.of("notice")]


def names(data: Any) -> list[str]:
    return [image.file_name for image in data.images]


FILES = list(IMAGES)


@pytest.fixture
def opened() -> Iterator[list[Viewer]]:
    made: list[Viewer] = []
    yield made
    for viewer in made:
        viewer.close()


@pytest.fixture
def look(opened: list[Viewer]) -> Any:
    """Make a viewer with a browser at its other end that has said hello; closed after the test."""

    def _look(data: Any, *, hello: bool = True, **keywords: Any) -> Looker:
        viewer = Viewer(data, **keywords)
        opened.append(viewer)
        browser = Looker(viewer)
        if hello:
            browser.hello()
            wait_for(lambda: browser.of("welcome"))
        return browser

    return _look


# --- making one -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_what_cannot_be_viewed_is_refused_in_words(dataset):
    with pytest.raises(TypeError, match=r"data: expected a kpwidget.Dataset or a sel.*got str"):
        Viewer("labels.json")
    with pytest.raises(TypeError, match=r"\['color'\]; it takes data, image, height and"):
        Viewer(dataset, color=1)
    with pytest.raises(ValueError, match="no image to show: the dataset has none"):
        Viewer(Dataset(()))
    with pytest.raises(ValueError, match="no image to show: the selection has none"):
        Viewer(dataset.select(where=lambda one: False))
    with pytest.raises(KeyError, match=r"no image has the file name 'x.png'"):
        Viewer(dataset, image="x.png")
    with pytest.raises(IndexError):
        Viewer(dataset, image=99)
    with pytest.raises(KeyError, match=r"'c/empty.png' is not in the selection that is shown"):
        Viewer(dataset.select(image=[0, 1]), image="c/empty.png")
    gc.collect()  # none of them stumbles over what it has not got when it is collected


def test_it_starts_where_it_is_told_and_says_so(look, dataset):
    browser = look(dataset, image="c/empty.png", height=300)
    assert browser.viewer.image.file_name == "c/empty.png"
    assert browser.viewer.data is browser.viewer.dataset is dataset
    assert browser.viewer.height == 300
    assert repr(browser.viewer) == "Viewer(image 2 'c/empty.png' of 5, 5 listed)"
    assert browser.browse["position"] == 2


def test_the_scene_says_what_a_person_may_want_to_know_of_an_instance(look, dataset):
    browser = look(dataset)
    notes = {one["uid"]: one["note"] for one in browser.scene["instances"]}
    assert notes == {"whole": "score 0.9, by ada", "stick": "score 0.2, track 7, by bob"}
    browser.viewer.goto(3)
    wait_for(lambda: browser.scene["image"]["index"] == 3)
    assert [one["note"] for one in browser.scene["instances"]] == ["id 5, crowd"]
    assert browser.scene["image"]["name"] == HOSTILE


# --- the list -------------------------------------------------------------------------------------


def test_a_query_lists_and_the_picture_follows_the_list(look, dataset):
    browser = look(dataset)
    browser.ask(text="axe")
    assert browser.listed() == ["a/axe.png", "a/axe2.png"]
    assert browser.viewer.image.file_name == "a/axe.png"
    wait_for(lambda: browser.browse["count"] == 2)
    browse = browser.browse
    assert (browse["total"], browse["position"]) == (5, 0)
    assert browse["query"] == query(text="axe")
    browser.ask()
    assert browser.listed() == FILES
    assert browser.viewer.image.file_name == "a/axe.png", "it is in the list still"
    wait_for(lambda: browser.browse["position"] == 1)


def test_a_list_of_nothing_leaves_the_picture_as_it_is(look, dataset):
    browser = look(dataset, image=3)
    browser.ask(text="nowhere")
    assert browser.listed() == []
    wait_for(lambda: browser.browse["count"] == 0)
    assert browser.browse["position"] == -1
    assert browser.viewer.image.index == 3
    for to in ("next", "previous", "1", "axe"):
        browser.do(op="goto", to=to)
    wait_for(lambda: len(browser.of("notice")) == 4)
    assert set(browser.notices()) == {"No image fits: clear the filters."}
    browser.ask(sort="name")
    wait_for(lambda: browser.browse["count"] == 5)


def test_a_query_that_was_overtaken_by_a_newer_one_is_left_out(look, dataset):
    browser = look(dataset)
    old = {"kind": "query", "client": "c1", "rev": 4, "query": query(text="axe")}
    new = {"kind": "query", "client": "c1", "rev": 5, "query": query(text="beach")}
    browser.receive(new)
    browser.receive(old)
    assert browser.listed() == ["b/Beach.png"]


def test_low_scores_are_neither_listed_as_instances_nor_drawn(look, dataset):
    browser = look(dataset)
    assert browser.browse["scores"] == [0.2, 0.9]
    browser.ask(score=0.5)
    wait_for(lambda: [one["uid"] for one in browser.scene["instances"]] == ["whole"])
    # Its colour goes by its number in the image, not by what else is shown.
    browser.ask(score=0.95)
    wait_for(lambda: browser.scene["instances"] == [])
    browser.do(op="goto", to=3)
    wait_for(lambda: len(browser.scene["instances"]) == 1)  # one without a score stays
    browser.ask()
    browser.do(op="goto", to=0)
    wait_for(lambda: len(browser.scene["instances"]) == 2)


def test_next_and_previous_go_in_the_order_of_the_list(look, dataset):
    browser = look(dataset, image="a/axe.png")
    browser.ask(sort="instances", descending=True)  # 0 1 3 4 2
    seen = []
    for _ in range(3):
        browser.do(op="goto", to="next")
        seen.append(browser.viewer.image.index)
    assert seen == [3, 4, 2]
    browser.do(op="goto", to="next")
    wait_for(lambda: browser.notices() == ["This is the last image of the list."])
    assert browser.viewer.image.index == 2
    browser.do(op="goto", to="previous")
    assert browser.viewer.image.index == 4
    browser.ask(sort="instances")  # 2 1 3 4 0
    browser.do(op="goto", to="next")
    assert browser.viewer.image.index == 0
    browser.viewer.goto(2)
    browser.do(op="goto", to="previous")
    wait_for(lambda: browser.notices()[1:] == ["This is the first image of the list."])


def test_an_image_out_of_the_list_has_the_ends_of_it_as_neighbours(look, dataset):
    browser = look(dataset)
    browser.ask(text="axe")
    browser.viewer.goto("c/empty.png")
    wait_for(lambda: browser.browse["position"] == -1)
    browser.do(op="goto", to="next")
    assert browser.viewer.image.file_name == "a/axe.png"
    browser.viewer.goto("c/empty.png")
    browser.do(op="goto", to="previous")
    assert browser.viewer.image.file_name == "a/axe2.png"


@pytest.mark.parametrize(
    ("to", "index"),
    [
        pytest.param(2, 2, id="position in the dataset"),
        pytest.param("2", 0, id="number in the list"),
        pytest.param(" 1 ", 2, id="spaces around it"),
        pytest.param("AXE", 1, id="next one with this in its name"),
        pytest.param("beach", 0, id="round the end"),
        pytest.param("<img", 3, id="markup"),
    ],
)
def test_a_jump_goes_by_number_in_the_list_or_by_name(look, dataset, to, index):
    browser = look(dataset)
    browser.ask(sort="name", descending=True)  # 2 0 4 1 3
    browser.viewer.goto(4)
    browser.do(op="goto", to=to)
    assert browser.viewer.image.index == index


@pytest.mark.parametrize("to", ["wing", "99", "0", "", "  ", None, -1, 5, 1.5, True, [], {"a": 1}])
def test_a_jump_to_nowhere_is_told_and_goes_nowhere(look, dataset, to):
    browser = look(dataset, image=1)
    browser.do(op="goto", to=to)
    wait_for(lambda: browser.notices())
    assert browser.viewer.image.index == 1
    assert browser.of("notice")[0]["level"] == "info"
    assert browser.rejections() == []


def test_code_goes_to_an_image_that_the_filters_leave_out(look, dataset):
    browser = look(dataset)
    browser.ask(text="axe")
    browser.viewer.goto(HOSTILE)
    wait_for(lambda: browser.scene["image"]["name"] == HOSTILE)
    with pytest.raises(KeyError, match="no image has the file name 'wing'"):
        browser.viewer.goto("wing")
    with pytest.raises(IndexError):
        browser.viewer.goto(5)


def test_the_images_before_and_after_in_the_list_are_encoded_ahead(look, dataset):
    browser = look(dataset, image=3)
    browser.ask(sort="instances")  # 2 1 3 4 0
    browser.viewport(image=3)
    wait_for(lambda: set(browser.viewer._previews) == {1, 3, 4})
    assert browser.notices() == []


# --- of a selection -------------------------------------------------------------------------------


def test_of_a_selection_only_its_images_and_instances_are_there(look, dataset):
    table = dataset.to_pandas()
    browser = look(dataset.select(where=table["score"] > 0.4))  # whole, dot, bare
    assert browser.browse["total"] == 3
    assert browser.listed() == ["b/Beach.png", "a/axe.png", "a/axe2.png"]
    assert [one["uid"] for one in browser.scene["instances"]] == ["whole"]
    assert browser.browse["annotators"] == ["ada", "bob", "cy"]
    browser.ask(annotator="bob")
    assert browser.listed() == ["a/axe.png"]
    with pytest.raises(KeyError, match=r"'c/empty.png' is not in the selection that is shown"):
        browser.viewer.goto("c/empty.png")
    with pytest.raises(KeyError, match="not in the selection"):
        browser.viewer.pick(2)
    browser.do(op="goto", to=2)
    wait_for(browser.notices)
    assert browser.viewer.image.index == 1
    browser.ask()
    wait_for(lambda: browser.browse["count"] == 3)
    browser.pick([0, 2])  # 2 is not among its images
    browser.want([0])
    wait_for(browser.tiles)
    assert browser.tiles()[0]["instances"] == 1
    picked = browser.viewer.selection
    assert names(picked) == ["b/Beach.png"]
    assert [one.uid for one in picked.instances] == ["whole"]


def test_a_selection_by_a_condition_is_alive(look, dataset):
    browser = look(dataset.select(where=lambda one: one.n_labeled == 1))
    assert browser.listed() == ["a/axe.png"]
    dataset.add_instance(4, "face", {"top": (1, 2)}, uid="later")
    assert browser.listed() == ["a/axe.png", "a/axe2.png"]
    wait_for(lambda: browser.browse["total"] == 2)
    browser.viewer.goto(4)
    wait_for(lambda: [one["uid"] for one in browser.scene["instances"]] == ["later"])


# --- picks ----------------------------------------------------------------------------------------


def test_picks_one_by_one_all_that_are_listed_and_none(look, dataset):
    browser = look(dataset)
    assert names(browser.viewer.selection) == []
    browser.pick([3])
    browser.pick([0, 4])
    assert names(browser.viewer.selection) == ["b/Beach.png", HOSTILE, "a/axe2.png"]
    wait_for(lambda: browser.browse["picked"] == 3 and browser.browse["isPicked"])
    browser.pick([0], picked=False)
    wait_for(lambda: browser.browse["picked"] == 2 and not browser.browse["isPicked"])
    browser.ask(text="axe")
    browser.pick(None)
    assert names(browser.viewer.selection) == ["a/axe.png", "a/axe2.png"]
    browser.pick(None, picked=False)
    assert names(browser.viewer.selection) == []
    wait_for(lambda: browser.browse["picked"] == 0)


def test_code_picks_and_the_browser_is_told(look, dataset):
    browser = look(dataset)
    version = browser.browse["version"]
    browser.viewer.pick(1, HOSTILE, dataset.images[0])
    assert names(browser.viewer.selection) == ["b/Beach.png", "a/axe.png", HOSTILE]
    wait_for(lambda: browser.browse["picked"] == 3)
    assert browser.browse["version"] > version, "the marks of the thumbnails are not right any more"
    browser.viewer.clear_selection()
    wait_for(lambda: browser.browse["picked"] == 0)
    with pytest.raises(KeyError, match="wing"):
        browser.viewer.pick(0, "wing")
    assert names(browser.viewer.selection) == [], "all or nothing"


def test_the_list_of_picks_alone_follows_them(look, dataset):
    browser = look(dataset)
    browser.pick([1, 2, 4])
    browser.ask(picked=True)
    assert browser.listed() == ["a/axe.png", "c/empty.png", "a/axe2.png"]
    browser.pick([2], picked=False)
    assert browser.listed() == ["a/axe.png", "a/axe2.png"]
    wait_for(lambda: browser.browse["count"] == 2)


def test_another_view_of_the_same_viewer_learns_of_a_mark(look, dataset):
    browser = look(dataset)
    version = browser.browse["version"]
    browser.pick([1])
    wait_for(lambda: browser.browse["picked"] == 1)
    assert browser.browse["version"] == version, "one view alone has marked it itself"
    browser.hello(client="c2")
    wait_for(lambda: len(browser.of("welcome")) == 2)
    browser.pick([2])
    wait_for(lambda: browser.browse["picked"] == 2)
    assert browser.browse["version"] > version


def test_the_selection_is_alive_and_its_copy_is_not(look, dataset):
    browser = look(dataset)
    browser.pick([1])
    copy = browser.viewer.selection.copy()
    dataset.instance("dot").set_keypoint("left", 1, 2)
    assert [one.n_labeled for one in browser.viewer.selection.instances] == [2]
    assert [one.n_labeled for one in copy.instances] == [1]


# --- the dataset changes --------------------------------------------------------------------------


def test_edits_by_code_show_at_once(look, dataset):
    browser = look(dataset)
    dataset.instance("whole").set_keypoint("top", 11.5, 12.25, 1)
    wait_for(lambda: browser.points["whole"][:3] == [11.5, 12.25, 1])
    dataset.add_instance(0, "face", {"top": (1, 2)}, uid="new")
    wait_for(lambda: list(browser.points) == ["whole", "stick", "new"])
    dataset.undo()
    wait_for(lambda: list(browser.points) == ["whole", "stick"])


def test_an_edit_changes_what_the_filters_leave(look, dataset):
    browser = look(dataset)
    browser.ask(instances=[0, 0])
    wait_for(lambda: browser.browse["count"] == 1)
    dataset.add_instance("c/empty.png", "stick", uid="s")
    wait_for(lambda: browser.browse["count"] == 0)
    assert browser.listed() == []
    dataset.undo()
    wait_for(lambda: browser.browse["count"] == 1)


def test_an_instance_that_is_chosen_and_then_removed_by_code_is_not_active_any_more(look, dataset):
    browser = look(dataset)
    browser.do(op="cursor", image=0, next=[0, "whole", 0])
    wait_for(lambda: browser.scene["cursor"]["instance"] == "whole")
    dataset.instance("whole").remove()
    wait_for(lambda: browser.scene["cursor"]["instance"] is None)
    assert list(browser.points) == ["stick"]
    dataset.undo()
    wait_for(lambda: list(browser.points) == ["whole", "stick"])


def test_images_and_categories_that_a_merge_brings_are_listed(look, dataset, tmp_path):
    browser = look(dataset)
    wing = kp.Schema("wing", ["root", "end"], [(1, 2)])
    other = Dataset.from_images({"new.png": picture(20, 20)}, wing, annotator="dan")
    other.add_instance(0, "wing", [[1, 2], [3, 4]], uid="w")
    dataset.merge(other)
    browser.viewer.pick("new.png")  # at once, not when the browser has been told
    browser.viewer.goto("new.png")
    assert names(browser.viewer.listed) == [*FILES, "new.png"]
    wait_for(lambda: browser.browse["total"] == 6 and list(browser.points) == ["w"])
    assert [one["name"] for one in browser.viewer.categories] == ["face", "stick", "wing"]
    assert browser.scene["instances"][0]["category"] == 2
    browser.ask(category="wing")
    assert browser.listed() == ["new.png"]
    dataset.undo()  # the instance goes; image and category stay
    wait_for(lambda: browser.points == {})
    assert browser.listed() == []
    browser.ask()
    assert browser.listed() == [*FILES, "new.png"]


def test_images_that_come_without_an_instance_are_listed_with_the_next_message(look, dataset):
    browser = look(dataset)
    dataset.merge(Dataset.from_images({"new.png": picture(20, 20)}, kp.Schema("wing", ["root"])))
    browser.viewport()
    wait_for(lambda: browser.browse["total"] == 6)
    assert browser.listed() == [*FILES, "new.png"]


def test_what_a_viewer_leaves_unsent_is_not_for_an_annotator(look, dataset):
    """The browser keeps unsent edits by the name of the dataset, for the next view of it."""
    browser = look(dataset)
    assert browser.scene["dataset"] == f"{dataset.uid}/view"
    with closing(kp.Annotator(dataset)) as annotator:
        assert annotator.scene["dataset"] == dataset.uid


def test_another_name_of_a_category_is_told(look, dataset):
    browser = look(dataset)
    dataset.rename_category("stick", "needle")
    dataset.instance("dot").set_keypoint("left", 1, 1)
    wait_for(lambda: [one["name"] for one in browser.viewer.categories] == ["face", "needle"])


def test_what_is_picked_and_then_not_in_the_selection_any_more_is_not_picked(look, dataset):
    browser = look(dataset.select(where=lambda one: one.n_labeled > 0))
    browser.pick([0, 1])
    dataset.instance("dot").remove()
    assert names(browser.viewer.selection) == ["b/Beach.png"]


# --- thumbnails -----------------------------------------------------------------------------------


def test_thumbnails_come_for_what_was_asked_for_and_nothing_else(look, dataset):
    browser = look(dataset)
    browser.ask(sort="name")  # 3 1 4 0 2
    wait_for(lambda: browser.browse["query"]["sort"] == "name")
    browser.pick([1])
    wait_for(lambda: browser.browse["picked"] == 1)
    browser.want([1, 3])
    wait_for(lambda: len(browser.tiles()) == 2)
    assert browser.tiles() == {
        1: {
            "place": 1,
            "index": 1,
            "name": "a/axe.png",
            "instances": 1,
            "picked": True,
            "mime": browser.tiles()[1]["mime"],
            "error": "",
        },
        3: {
            "place": 3,
            "index": 0,
            "name": "b/Beach.png",
            "instances": 2,
            "picked": False,
            "mime": browser.tiles()[3]["mime"],
            "error": "",
        },
    }
    for message, buffers in zip(browser.messages, browser.buffers, strict=True):
        if message["kind"] != "tiles":
            continue
        assert len(buffers) == len(message["tiles"])
        for tile, data in zip(message["tiles"], buffers, strict=True):
            with Image.open(BytesIO(data)) as image:
                assert image.size == IMAGES[tile["name"]]
                assert image.get_format_mimetype() == tile["mime"]


def test_a_large_picture_is_small_as_a_thumbnail(look):
    noise = np.random.default_rng(1).integers(0, 256, (1500, 2000, 3), np.uint8)
    dataset = Dataset.from_images({"noise.png": noise}, kp.Schema("s", ["a"]))
    browser = look(dataset)
    browser.want([0])
    wait_for(browser.tiles)
    (data,) = next(
        b for m, b in zip(browser.messages, browser.buffers, strict=True) if m["kind"] == "tiles"
    )
    with Image.open(BytesIO(data)) as image:
        assert image.size == (224, 168)
    assert len(data) < 20_000


def test_a_request_of_an_old_list_is_not_answered(look, dataset):
    browser = look(dataset)
    old = browser.browse["version"]
    browser.ask(text="axe")
    wait_for(lambda: browser.browse["count"] == 2)
    browser.want([0, 4], version=old)
    browser.want([1])
    wait_for(browser.tiles)
    assert [m["tiles"][0]["name"] for m in browser.of("tiles")] == ["a/axe2.png"]


class Gate:
    """Thumbnails that wait to be let through, and a list of those that were begun."""

    def __init__(self, viewer: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[int] = []
        self.is_open = threading.Event()
        make = viewer._thumb

        def thumb(index: int) -> Any:
            self.begun.append(index)
            assert self.is_open.wait(20)
            return make(index)

        monkeypatch.setattr(viewer, "_thumb", thumb)


@pytest.fixture
def many() -> Dataset:
    pixels = np.zeros((4, 4, 3), np.uint8)
    return Dataset.from_images({f"{i:02}.png": pixels for i in range(40)}, kp.Schema("s", ["a"]))


def test_a_later_request_takes_the_place_of_an_earlier_one(look, many, monkeypatch):
    browser = look(many)
    gate = Gate(browser.viewer, monkeypatch)
    browser.want(list(range(20)))
    wait_for(lambda: gate.begun == [0])
    browser.want([30, 31])
    gate.is_open.set()
    wait_for(lambda: set(browser.tiles()) == {30, 31})
    assert gate.begun == [0, 30, 31], "the others are not made any more"
    browser.want([5], rev=1)  # an older one that comes late
    browser.want([6])
    wait_for(lambda: 6 in browser.tiles())
    assert 5 not in browser.tiles()


def test_two_views_are_both_answered(look, many):
    browser = look(many)
    browser.hello(client="c2")
    browser.want([1, 2])
    browser.want([3], client="c2", rev=1)
    wait_for(lambda: set(browser.tiles()) == {1, 2, 3})


def test_a_list_that_changes_ends_the_work_on_the_old_one(look, many, monkeypatch):
    browser = look(many)
    gate = Gate(browser.viewer, monkeypatch)
    browser.want(list(range(40)))
    wait_for(lambda: gate.begun == [0])
    browser.ask(text="3")
    wait_for(lambda: browser.browse["count"] == 13)
    browser.want([0])  # 03.png
    gate.is_open.set()
    wait_for(browser.tiles)
    assert gate.begun == [0, 3]
    assert {m["version"] for m in browser.of("tiles")} == {browser.browse["version"]}


def test_thumbnails_are_made_once(look, many, monkeypatch):
    browser = look(many)
    made = []
    source = type(many.images[0].source)
    preview = source.preview
    monkeypatch.setattr(
        source,
        "preview",
        lambda self, side, *a, **k: (
            made.extend([1] if side == _THUMB_SIDE else []) or preview(self, side, *a, **k)
        ),  # the picture of the image shown may come meanwhile
    )
    browser.want([20, 21])
    wait_for(lambda: len(browser.tiles()) == 2)
    n = len(made)
    browser.ask(sort="name", descending=True)
    wait_for(lambda: browser.browse["query"]["descending"])
    browser.want([18, 19])
    wait_for(lambda: {t["name"] for t in browser.tiles().values()} == {"20.png", "21.png"})
    assert len(made) == n == 2


def test_an_image_that_cannot_be_read_is_a_tile_that_says_so(look, dataset, tmp_path):
    (tmp_path / "a/axe.png").unlink()
    (tmp_path / "c/empty.png").write_bytes(b"no picture")
    browser = look(dataset)
    browser.want([0, 1, 2])
    wait_for(lambda: len(browser.tiles()) == 3)
    tiles = browser.tiles()
    assert tiles[0]["error"] == ""
    assert "a/axe.png" in tiles[1]["error"]
    assert "empty.png" in tiles[2]["error"]
    assert (tiles[1]["mime"], tiles[1]["instances"]) == ("", 1)
    browser.viewport()
    browser.viewer.goto(1)
    wait_for(lambda: "axe.png" in browser.scene["image"]["error"])
    # What is missing now may be there the next time.
    (tmp_path / "a/axe.png").write_bytes(picture(32, 24))
    browser.viewer.pick(0)
    wait_for(lambda: browser.browse["picked"] == 1)
    browser.want([1])
    wait_for(browser.tiles)
    assert browser.tiles()[1]["error"] == ""


# --- messages that are wrong ----------------------------------------------------------------------


def state_of(browser: Looker) -> Any:
    """Everything that a message could change."""
    viewer = browser.viewer
    return (
        viewer.image.index,
        viewer.scene["cursor"],
        viewer.browse["query"],
        viewer.browse["count"],
        names(viewer.selection),
        browser.listed(),
        [(one.uid, one.raw.tolist(), one.bbox) for one in viewer.dataset.instances],
        [image.status for image in viewer.dataset.images],
    )


WRONG: dict[str, dict[str, list[Any]]] = {
    "query": {
        "client": [None, 5, "", "x" * 201, "\ud800"],
        "rev": [None, -1, 1.5, "1", True, 2**60],
        "query": [None, [], "all", query(sort="color"), query(text="\ud800"), query(score="1")],
    },
    "pick": {
        "images": [5, "all", {"a": 1}, [None], [-1], [5], [1.5], ["0"], [True], [[0]], [0, 99]],
        "picked": [None, 1, "yes", []],
    },
    "want": {
        "client": [None, 5, "", "\ud800"],
        "rev": [None, -1, 0.5, "1"],
        "version": [None, -1, "1", 1.5],
        "places": [None, 5, "0", {}, [-1], [5], [0.5], ["0"], [None], [True], [0] * 601],
    },
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_message_with_anything_wrong_is_refused_in_words_and_changes_nothing(look, dataset, kind):
    browser = look(dataset, image=1)
    browser.ask(score=0.1)
    browser.pick([1, 2])
    wait_for(lambda: browser.browse["picked"] == 2)
    good = {
        "query": {"client": "c1", "rev": 50, "query": query(text="beach")},
        "pick": {"images": [0], "picked": True},
        "want": {"client": "c1", "rev": 50, "version": browser.browse["version"], "places": [0]},
    }[kind]
    assert set(WRONG[kind]) == set(good)
    before = state_of(browser)
    n = 0
    for name, values in WRONG[kind].items():
        for value in values:
            # Not by way of JSON, which would not read all of these.
            content = {"kind": kind, **good, name: value}
            browser.viewer._receive(browser.viewer, content, [])
            n += 1
            wait_for(lambda n=n: len(browser.of("notice")) == n)
            assert state_of(browser) == before, (name, value)
    texts = browser.notices()
    assert all(text.startswith("A message from the browser was refused: ") for text in texts)
    assert max(map(len, texts)) < 300
    assert browser.of("tiles") == []
    # And it goes on.
    browser.receive({"kind": kind, **good})
    if kind == "want":
        wait_for(browser.tiles)
    else:
        assert state_of(browser) != before
    assert len(browser.of("notice")) == n


@pytest.mark.parametrize(
    "content",
    [None, 5, "query", [], {}, {"kind": None}, {"kind": ["query"]}, {"kind": "tiles"},
     {"kind": "query"}, {"kind": "want"}, {"kind": "pick"}, {"kind": "pick", "images": None}],
)  # fmt: skip
def test_what_is_no_message_is_refused(look, dataset, content):
    browser = look(dataset)
    before = state_of(browser)
    browser.viewer._receive(browser.viewer, content, [])
    wait_for(browser.notices)
    assert state_of(browser) == before


def test_a_sort_that_only_a_comparison_has_is_refused(look, dataset):
    browser = look(dataset)
    assert "distance" not in browser.browse["sorts"]
    browser.ask(sort="distance")
    wait_for(browser.notices)
    assert "distance is for a comparison" in browser.notices()[0]


def test_everything_that_is_told_can_be_sent(look, tmp_path):
    dataset = Dataset.from_images({"half\udce9.png": picture(8, 8)}, kp.Schema("s", ["a"]))
    dataset.add_instance(0, "s", [[1, 2]], annotator="half\udce9", track_id="\udce9")
    browser = look(dataset)
    browser.want([0])
    wait_for(browser.tiles)
    for name in ("browse", "scene", "categories"):
        value = getattr(browser.viewer, name)
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    assert browser.scene["image"]["name"] == browser.tiles()[0]["name"] == "half?.png"


# --- it changes nothing ---------------------------------------------------------------------------

EDITS: dict[str, dict[str, Any]] = {
    "point": {"instance": "whole", "keypoint": 0, "x": 1, "y": 2, "visibility": 2},
    "box": {"instance": "whole", "bbox": [1, 2, 3, 4]},
    "pose": {"instance": "whole", "how": "move", "points": [1, 2, 2] * 4, "bbox": None},
    "repeat": {},
    "remove": {"instance": "whole"},
    "finish": {"instance": "bare"},
    "skip": {},
    "cursor": {},
    "status": {"done": True},
    "flags": {"instance": "whole", "hidden": True, "locked": True},
    "goto": {"to": "next"},
    "undo": {},
    "redo": {},
    "save": {},
    "refresh": {},
    "resolve": {"conflict": 0, "take": True},
    "decide": {"finding": "0123456789abcdef"},
    "repair": {"finding": "0123456789abcdef"},
}


@pytest.mark.parametrize("op", OPS)
def test_no_edit_that_an_annotator_sends_changes_the_dataset(look, dataset, tmp_path, op):
    assert set(EDITS) == set(OPS)
    with dataset.transaction("more"):
        dataset.instance("whole").set_keypoint("top", 1, 1)
    dataset.instance("whole").set_keypoint("top", 9, 9)
    dataset.undo()
    changes: list[Any] = []
    dataset.on_change(changes.append)
    file = (tmp_path / "labels.json").read_bytes()
    revision, tops = dataset._revision, (dataset.undo_top(), dataset.redo_top())
    browser = look(dataset)
    for new in (False, True):
        seq = browser.do(op=op, image=0, next=[0, "whole", 1], new=new, **EDITS[op])
        wait_for(lambda seq=seq: browser.acknowledged() == seq)
    refused = [] if op in ("cursor", "flags", "goto") else [(1, op), (2, op)]
    assert browser.rejections() == [(n, f"unknown edit {op!r}") for n, op in refused]
    assert changes == []
    assert (dataset._revision, dataset.undo_top(), dataset.redo_top()) == (revision, *tops)
    assert (tmp_path / "labels.json").read_bytes() == file


def test_hiding_an_instance_is_of_the_viewer_alone(look, dataset):
    browser, other = look(dataset), look(dataset)
    browser.do(op="flags", image=0, instance="whole", hidden=True)
    wait_for(lambda: browser.scene["instances"][0]["hidden"])
    assert not other.scene["instances"][0]["hidden"]


# --- size, ends -----------------------------------------------------------------------------------


def test_what_is_told_does_not_grow_with_the_number_of_images(look):
    def size(n: int) -> tuple[int, int]:
        pixels = np.zeros((4, 4, 3), np.uint8)
        images = {f"image {i:06}.png": pixels for i in range(n)}
        browser = look(Dataset.from_images(images, kp.Schema("s", ["a"])), hello=False)
        viewer = browser.viewer
        viewer.pick(*range(n))
        return len(json.dumps(viewer.scene)), len(json.dumps(viewer.browse))

    few, many = size(3), size(3000)
    # Three counts with three more digits each, and the version.
    assert many[0] - few[0] <= 10
    assert many[1] - few[1] <= 20


def test_many_annotators_are_offered_up_to_a_number(look):
    dataset = Dataset.from_images({"a.png": picture(4, 4)}, kp.Schema("s", ["a"]))
    with dataset.transaction("many"):
        for i in range(500):
            dataset.add_instance(0, "s", annotator=f"a{i:03}")
    browser = look(dataset)
    assert browser.browse["annotators"] == [f"a{i:03}" for i in range(200)]
    browser.ask(annotator="a499")
    assert browser.listed() == ["a.png"]


def test_close_ends_its_threads_and_further_messages_do_nothing(look, dataset):
    browser = look(dataset)
    browser.want([0])
    wait_for(browser.tiles)
    viewer = browser.viewer
    threads = [viewer._publisher._thread, *viewer._thumb_pool._threads]
    assert len(threads) == 2
    version = browser.browse["version"]
    viewer.close()
    viewer.close()
    wait_for(lambda: not any(thread.is_alive() for thread in threads))
    n = len(browser.messages)
    for content in (
        {"kind": "want", "client": "c1", "rev": 99, "version": version, "places": [0]},
        {"kind": "pick", "images": [0], "picked": True},
        {"kind": "query", "client": "c1", "rev": 99, "query": query(text="axe")},
    ):
        viewer._receive(viewer, content, [])
    dataset.instance("whole").set_keypoint("top", 1, 1)
    assert len(browser.messages) == n


def test_nothing_keeps_a_viewer_that_is_closed(dataset):
    viewer = Viewer(dataset)
    browser = Looker(viewer)
    browser.hello()
    browser.want([0, 1])
    wait_for(browser.tiles)
    publisher, pool = viewer._publisher, viewer._thumb_pool
    viewer.close()
    alive = weakref.ref(viewer)
    del viewer, browser
    threads = [publisher._thread, *pool._threads]
    wait_for(lambda: not any(thread.is_alive() for thread in threads))
    gc.collect()
    assert alive() is None


def test_a_view_that_is_gone_gets_no_more_thumbnails(look, many, monkeypatch):
    browser = look(many)
    gate = Gate(browser.viewer, monkeypatch)
    browser.want(list(range(20)))
    wait_for(lambda: gate.begun == [0])
    browser.receive({"kind": "bye", "client": "c1"})
    gate.is_open.set()
    browser.viewer._thumb_pool.submit(lambda: None).result(20)
    assert gate.begun == [0]


def test_edits_from_many_threads_and_a_viewer_that_is_asked_at_the_same_time(look, dataset):
    """No scene or list of a half-done edit, no thread that waits for ever."""
    browser = look(dataset)
    stop = threading.Event()

    def edit(uid: str) -> None:
        x = 0
        while not stop.is_set():
            x += 1
            dataset.add_instance(2, "face", [[x, x, 2]] * 4, uid=f"{uid}{x}", score=x / 1e6)
            dataset.instance(f"{uid}{x}").remove()

    threads = [threading.Thread(target=edit, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    try:
        for i in range(60):
            browser.ask(sort=["size", "score", "labeled"][i % 3], instances=[0, 1 + i % 2])
            browser.do(op="goto", to=2)
            browser.do(op="goto", to="next")
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    browser.ask()
    wait_for(lambda: browser.browse["count"] == 5)
    assert not [text for text in browser.notices() if "nternal" in text]
    assert math.isclose(browser.browse["scores"][1], 0.9)


# --- findings -------------------------------------------------------------------------------------

WHOLE, STICK, BARE = (0, "whole"), (0, "stick"), (4, "bare")


def finding(place: tuple[int, str] | None, keypoint: str | None = None, **more: Any) -> Any:
    index, uid = place or (None, None)
    where = {"image": None if index is None else FILES[index], "instance": uid}
    row = {"check": "sides", "severity": "warning", **where, "keypoint": keypoint}
    return {**row, "reason": f"odd {keypoint}", "suggestion": "look", **more}


@pytest.fixture
def table() -> pd.DataFrame:
    """Two in the first image, one about all, one in the last image, and two that have no place."""
    rows = [
        finding(WHOLE, "left", check="visibility", severity="error"),
        finding(STICK, "tip"),
        finding(None, check="coverage", severity="note", kind="face: size"),
        finding((0, "gone"), image="gone.png"),
        finding(BARE),
        finding((0, "nobody"), "left"),
    ]
    return pd.DataFrame(rows, index=[10, 20, 30, 40, 50, 60])


def where(browser: Looker) -> tuple[int | None, str, str | None]:
    """The finding that is open, the image that is shown and its chosen instance."""
    current = browser.viewer.review["current"]
    name, cursor = browser.scene["image"]["name"], browser.scene["cursor"]
    return current and current["id"], name, cursor["instance"]


def verdicts(dataset: Dataset) -> list[tuple[str, str | None, str]]:
    return [(d.check, d.instance, d.verdict) for d in dataset.decisions]


def test_a_walk_opens_each_finding_at_its_place(dataset, table, look):
    browser = look(dataset, findings=table)
    assert where(browser) == (0, FILES[0], "whole")
    told = browser.viewer.review
    assert (told["open"], told["decided"], told["gone"], told["count"]) == (4, 0, 2, 4)
    assert [row["id"] for row in told["rows"]] == [0, 1, 2, 4]
    assert (told["checks"], told["severities"]) == (
        ["visibility", "sides", "coverage"], ["error", "warning", "note"],
    )  # fmt: skip
    focus = browser.scene["focus"]
    assert (focus["instance"], focus["keypoint"], focus["at"]) == ("whole", 1, [5, 15])
    x, y, w, h = focus["box"]
    assert x < 5 < x + w
    assert y < 15 < y + h
    browser.review("next")
    assert where(browser) == (1, FILES[0], "stick")
    browser.review("next")  # about the whole dataset: the picture stays
    assert where(browser) == (2, FILES[0], "stick")
    assert browser.scene["focus"] is None
    browser.review("next")
    assert where(browser) == (4, FILES[4], "bare")
    assert browser.scene["focus"]["box"] is None  # nothing of it is labeled
    browser.review("next")
    wait_for(lambda: "This is the last finding of the list." in browser.notices())
    browser.review("previous")
    browser.review("open", 0)
    assert where(browser) == (0, FILES[0], "whole")
    rev = browser.scene["focus"]["rev"]
    browser.review("open", 0)
    assert browser.scene["focus"]["rev"] > rev
    assert verdicts(dataset) == []
    left_out = "2 findings are left out: what they are about is not there, or not shown"
    [notice] = [text for text in browser.notices() if text.startswith(left_out)]
    assert notice.endswith("(gone.png, gone; b/Beach.png, nobody, left).")


def test_what_is_decided_is_recorded_and_the_walk_goes_on(dataset, table, look):
    browser = look(dataset, findings=table)
    browser.review("fine", 0)
    assert where(browser)[0] == 1
    browser.review("fixed", 1)
    assert where(browser)[0] == 2
    assert verdicts(dataset) == [("visibility", "whole", "fine"), ("sides", "stick", "fixed")]
    told = browser.viewer.review
    assert (told["open"], told["decided"], told["count"]) == (2, 2, 2)
    found = browser.viewer.findings
    assert list(found.index) == list(table.index)
    assert found.verdict.tolist() == ["fine", "fixed", None, None, None, None]
    assert found.decided_by.tolist()[:2] == [dataset.annotator] * 2
    browser.review("undo")
    assert (where(browser)[0], verdicts(dataset)) == (1, [("visibility", "whole", "fine")])
    browser.review("undo")
    assert (where(browser)[0], verdicts(dataset)) == (0, [])
    browser.review("undo")
    wait_for(lambda: "There is nothing to undo." in browser.notices())
    browser.review("redo")
    assert verdicts(dataset) == [("visibility", "whole", "fine")]
    browser.review("list", state="decided")
    assert [row["id"] for row in browser.viewer.review["rows"]] == [0]
    browser.review("again", 0)
    assert verdicts(dataset) == []
    browser.review("list", check="coverage")
    browser.review("fine", 2)
    assert where(browser)[0] == 2  # the last one of the list stays, to be taken back
    assert browser.viewer.review["count"] == 0


def test_undo_takes_back_decisions_only(dataset, table, look):
    browser = look(dataset, findings=table)
    browser.review("fine", 0)
    dataset.instance("dot").set_keypoint("top", 9, 9)
    browser.review("undo")
    assert verdicts(dataset) == []
    browser.review("undo")
    assert dataset.instance("dot").keypoints[0].tolist() == [9, 9, 2]


def test_labels_and_decisions_of_others_show_at_once(dataset, table, look):
    browser = look(dataset, findings=table)
    dataset.decide(table.iloc[0], "fine", annotator="<b>ben</b>")
    dataset.decide(table.iloc[2], "fixed")
    browser.review("list", state="all")
    wait_for(lambda: browser.viewer.review["decided"] == 2)
    assert browser.viewer.review["rows"][0]["by"] == "<b>ben</b>"
    dataset.instance("whole").set_keypoint("right", 30, 30)  # of the other side of left
    dataset.instance("whole").set_keypoint("left", 31, 30)
    wait_for(lambda: browser.viewer.review["decided"] == 1)
    assert browser.scene["focus"]["at"] == [31, 30]
    dataset.instance("whole").remove()
    wait_for(lambda: browser.viewer.review["gone"] == 3)
    assert browser.viewer.review["current"] is None
    browser.review("fine", 0)
    wait_for(lambda: any("is not there any more" in text for text in browser.notices()))
    dataset.undo()
    wait_for(lambda: browser.viewer.review["gone"] == 2)
    browser.review("fine", 0)
    assert ("visibility", "whole", "fine") in verdicts(dataset)


def test_a_table_made_by_hand_sorted_and_filtered(dataset, table, look):
    by_hand = look(dataset, findings=pd.DataFrame({"check": ["mine"], "image": [FILES[1]]}))
    assert where(by_hand) == (0, FILES[1], None)
    by_hand.review("fine", 0)
    assert [(d.check, d.image) for d in dataset.decisions] == [("mine", FILES[1])]
    some = table[table.severity != "error"].sort_values("severity")
    browser = look(dataset, findings=some)
    assert [row["check"] for row in browser.viewer.review["rows"]] == ["coverage", "sides", "sides"]
    empty = look(dataset, findings=table[:0])
    assert (empty.viewer.review["count"], empty.viewer.review["current"]) == (0, None)
    empty.review("next")
    wait_for(lambda: empty.notices())
    assert look(dataset).viewer.findings is None


def test_of_a_selection_its_images_alone_are_walked_through(dataset, table, look):
    browser = look(dataset.select(image=FILES[4]), findings=table)
    assert [row["id"] for row in browser.viewer.review["rows"]] == [2, 4]


def test_cells_of_any_type_are_taken_as_text(dataset, look):
    cells = pd.DataFrame({"check": [5], "image": [FILES[0]], "kind": [pd.NA]})
    cells = cells.assign(reason=[np.arange(3)], keypoint=[pd.NaT], severity="note")
    browser = look(dataset, findings=cells.astype({"image": "string"}))
    told = browser.viewer.review
    assert (told["checks"], told["rows"][0]["reason"]) == (["5"], "[0 1 2]")
    browser.review("list", check="5")
    assert browser.viewer.review["count"] == 1
    browser.review("fine", 0)
    assert [(one.check, one.kind, one.keypoint) for one in dataset.decisions] == [("5", "", None)]
    assert dataset.decide(cells.iloc[0], None) is None
    assert len(dataset.decisions) == 0


def test_the_walk_goes_past_the_same_finding_in_another_row(dataset, table, look):
    browser = look(dataset, findings=pd.concat([table[:1], table[:2]]))
    browser.review("fine", 0)
    assert where(browser) == (2, FILES[0], "stick")
    assert browser.viewer.review["open"] == 1


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_what_is_no_table_of_findings_is_refused_in_words(dataset, table):
    with pytest.raises(ValueError, match="several columns of the name check: keep one"):
        Viewer(dataset, findings=pd.concat([table, table[["check"]]], axis=1))
    with pytest.raises(TypeError, match=r"findings: expected a table of findings.*got list"):
        Viewer(dataset, findings=[])
    with pytest.raises(ValueError, match=r"image is missing among \['check', 'severity'"):
        Viewer(dataset, findings=table.drop(columns="image"))
    with pytest.raises(ValueError, match="severity 'bad': expected one of error, warning, note"):
        Viewer(dataset, findings=table.assign(severity="bad"))
    with pytest.raises(ValueError, match="6 rows have no check"):
        Viewer(dataset, findings=table.assign(check=None))


@pytest.mark.parametrize(
    "more",
    [
        {"do": "shout"},
        {"do": ["fine"]},
        {"do": "fine", "finding": -1},
        {"do": "fine", "finding": "0"},
        {"do": "fine", "finding": 10**30},
        {"do": "open", "finding": 99},
        {"do": "list", "filter": None},
        {"do": "list", "filter": {"check": "x", "severity": "", "state": "x"}},
        {"do": "list", "start": -1},
    ],
)
def test_a_message_about_findings_that_is_none_changes_nothing(dataset, table, look, more):
    browser = look(dataset, findings=table)
    before = browser.viewer.review
    browser.review(**{"do": "list", **more})
    wait_for(lambda: any("was refused" in text for text in browser.notices()))
    assert browser.viewer.review == before
    assert verdicts(dataset) == []


def test_of_10000_findings_only_a_window_is_sent(dataset, look):
    rows = [finding(None, kind=str(i), reason="r" * 5000) for i in range(10_000)]
    browser = look(dataset, findings=pd.DataFrame(rows))
    told = browser.viewer.review
    assert (told["count"], len(told["rows"])) == (10_000, 40)
    assert len(json.dumps(told)) < 60_000
    browser.review("list", start=7_000)
    assert [row["id"] for row in browser.viewer.review["rows"]] == list(range(7_000, 7_040))
    browser.review("open", 9_999)
    assert browser.viewer.review["rows"][-1]["id"] == 9_999
    browser.review("fine", 9_999)
    assert where(browser)[0] == 9_998


def test_strange_names_are_sent_as_text(dataset, look):
    name = "\ud800<b>"
    rows = [finding(None, check=name, reason=HOSTILE), finding((3, None), reason=name)]
    browser = look(dataset, findings=pd.DataFrame(rows, dtype=object))  # as `check` gives it
    assert [row["reason"] for row in browser.viewer.review["rows"]] == [HOSTILE, "?<b>"]
    browser.review("fine", 0)
    assert [d.check for d in dataset.decisions] == [name]
