"""Python and TypeScript agree on every name and type that crosses the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd
import pytest

from kpwidget import quality, store
from kpwidget.journal import Conflict
from kpwidget.widget import stage
from kpwidget.widget.annotator import Annotator
from kpwidget.widget.board import FIT_MARGIN
from kpwidget.widget.comparison import compare
from kpwidget.widget.listing import Query
from kpwidget.widget.painter import LAYERS, LOOK
from kpwidget.widget.stage import MESSAGES_FROM_PYTHON, MESSAGES_TO_PYTHON, OPS, Stage
from kpwidget.widget.viewer import Viewer
from kpwidget.widget.wire import key_of

from .fake_browser import Browser, wait_for
from .test_viewer import Looker
from .typescript import Field, Types
from .zoo import query, zoo

_SOURCE = Path(__file__).parents[2] / "js" / "src"


@pytest.fixture
def looker(tmp_path: Path) -> Iterator[Looker]:
    """A browser that has sent nothing yet, at a viewer with a finding."""
    row = {"check": "sides", "image": "b/Beach.png", "instance": "whole", "keypoint": "left"}
    viewer = Viewer(zoo(tmp_path), findings=pd.DataFrame([row]))
    yield Looker(viewer)
    viewer.close()


@pytest.fixture(scope="module")
def model() -> Types:
    return Types((_SOURCE / "model.ts").read_text(encoding="utf-8"))


def test_the_reader_of_model_ts_sees_what_is_wrong():
    types = Types(
        'export interface A { readonly n: number; /** x */ b?: readonly ("x" | "y")[] }\n'
        "export type P = readonly [a: number, s: string | null];\n"
    )
    a, p = ("name", "A"), ("name", "P")
    assert types.problems({"n": 1.5, "b": ["x", "y"]}, a) == []
    assert types.problems({"n": 1}, a) == []
    assert types.problems({"n": float("nan")}, a) == ["value.n: nan is no number"]
    assert types.problems({"n": True}, a) == ["value.n: True is no number"]
    assert types.problems({"b": ["z"]}, a) == [
        "value.n is missing",
        "value.b[0]: 'z' is none of them",
    ]
    assert types.problems({"n": 1, "c": 2}, a) == ["value.c is not in model.ts"]
    assert types.problems([1, None], p) == []
    assert types.problems([1, 2], p) == ["value[1]: 2 is none of them"]
    assert types.problems([1], p) == ["value: [1] is no list of 2"]


# --- names ----------------------------------------------------------------------------------------


def test_trait_names(model):
    own = {
        name
        for name, trait in Stage.class_traits(sync=True).items()
        if name not in ipywidgets.DOMWidget.class_trait_names(sync=True)
        and not name.startswith("_")
    }
    assert own == set(model.lists["TRAITS"])
    assert own == set(model.types["Traits"][1])


def test_message_kinds_to_python(model):
    assert tuple(model.lists["MESSAGES_TO_PYTHON"]) == MESSAGES_TO_PYTHON
    assert set(model.by("ToPython", "kind")) == set(MESSAGES_TO_PYTHON)


def test_message_kinds_from_python(model):
    assert tuple(model.lists["MESSAGES_FROM_PYTHON"]) == MESSAGES_FROM_PYTHON
    assert set(model.by("FromPython", "kind")) == set(MESSAGES_FROM_PYTHON)


def test_edits(model):
    assert tuple(model.lists["OPS"]) == OPS
    assert set(model.by("EditBody", "op")) == set(OPS)
    handled = {
        name.removeprefix("_apply_") for name in dir(Annotator) if name.startswith("_apply_")
    }
    assert handled == set(OPS)


def test_layers(model):
    assert tuple(model.lists["LAYERS"]) == LAYERS


def test_the_margin_of_a_fitted_image():
    viewport = (_SOURCE / "viewport.ts").read_text(encoding="utf-8")
    assert f"stage: Size, margin = {FIT_MARGIN:g})" in viewport


def test_no_name_of_a_message_is_written_elsewhere():
    """`stage.py` and `model.ts` list the kinds; a list nobody compares would drift."""
    assert len(set(MESSAGES_TO_PYTHON) & set(MESSAGES_FROM_PYTHON)) == 0
    assert stage.OPS is OPS


# --- values that Python sends ---------------------------------------------------------------------


def check(model: Types, value: Any, name: str) -> None:
    assert model.problems(value, ("name", name), name) == []


def test_the_look(model):
    check(model, LOOK, "Look")


def test_categories(model, browser):
    assert len(browser.annotator.categories) == 2
    for category in browser.annotator.categories:
        check(model, category, "Category")


def test_a_scene_with_everything_in_it(model, browser):
    check(model, browser.scene, "Scene")
    browser.point("a", 0, 10.5, 20.25, new=True)
    browser.point("a", 1, 11, 21, visibility=1)
    browser.do(op="box", image=0, instance="a", bbox=[1, 2, 30, 20], next=[0, "a", 2])
    browser.do(op="flags", image=0, instance="a", hidden=True, locked=True)
    browser.do(op="status", image=0, done=True)
    browser.do(op="skip", image=0, next=[1, None, 1])
    browser.do(op="undo")
    browser.annotator.dataset.add_instance(0, "stick", [[1, 2, 2], [3, 4, 1]])
    assert browser.rejections() == []
    scene = browser.scene
    check(model, scene, "Scene")
    assert scene["undo"]["token"] == ["c1", 5]
    assert scene["redo"]["token"] == ["c1", 6]
    assert scene["instances"][0]["bbox"] == [1, 2, 30, 20]
    assert len(scene["instances"]) == 2


def test_the_scene_of_a_dataset_in_a_file(model, make, dataset, tmp_path):
    dataset.save(tmp_path / "labels.json")
    browser = make(dataset)
    assert browser.scene["saved"]["state"] == "saved"
    check(model, browser.scene, "Scene")
    browser.point("a", 0, 1, 2, new=True)
    assert browser.scene["saved"]["state"] == "changed"
    check(model, browser.scene, "Scene")


def test_the_scene_of_a_finding(model, browser):
    browser.hello()
    browser.point("a", 0, 0, 0, new=True)
    wait_for(lambda: browser.scene["findings"])
    check(model, browser.scene, "Scene")


def test_the_scene_of_a_conflict(model, browser, dataset):
    assert browser.scene["conflicts"] == []
    dataset.conflicts = [CONFLICT]
    browser.point("a", 0, 10, 20, new=True)
    check(model, browser.scene, "Scene")
    assert browser.scene["conflicts"] == [
        {
            "key": CONFLICT.key,
            "text": "Two people have changed top in one.png.",
            "kept": "10.0, 20.0 visible",
            "other": "3.0, 4.5 occluded (bob)",
        }
    ]


def test_every_message_that_comes(model, browser, looker):
    browser.hello()
    browser.viewport()
    wait_for(lambda: browser.of("painting") and browser.batches)
    browser.point("a", 0, 10, 20, new=True)
    browser.point("nobody", 0, 10, 20)
    browser.receive({"kind": "nonsense"})
    wait_for(lambda: browser.of("ack") and browser.of("notice") and browser.of("rejected"))
    looker.hello()
    looker.want([0, 1, 2, 3])
    wait_for(lambda: len(looker.tiles()) == 4)
    messages = browser.messages + looker.messages
    assert {message["kind"] for message in messages} == set(MESSAGES_FROM_PYTHON)
    kinds = model.by("FromPython", "kind")
    for message in messages:
        fields = kinds[message["kind"]]
        assert model.problems(message, ("object", fields), message["kind"]) == []


def test_what_a_viewer_lists(model, looker):
    check(model, looker.browse, "Browse")
    check(model, looker.scene, "Scene")
    assert {one["note"] for one in looker.scene["instances"]} == {
        "score 0.9, by ada",
        "score 0.2, track 7, by bob",
    }
    looker.ask(text="nowhere", sort="size", descending=True, score=0.5, size=[2, 3])
    wait_for(lambda: looker.browse["count"] == 0)
    check(model, looker.browse, "Browse")
    assert (looker.browse["position"], looker.browse["scores"]) == (-1, [0.2, 0.9])


def test_what_a_viewer_says_of_findings(model, looker):
    check(model, looker.viewer.review, "Review")
    assert looker.viewer.review["current"]["verdict"] == ""
    check(model, looker.scene["focus"], "Focus")
    looker.review("fine", 0)
    check(model, looker.viewer.review, "Review")
    assert looker.viewer.review["current"]["verdict"] == "fine"
    check(model, looker.scene, "Scene")


def test_what_a_viewer_of_nearly_nothing_lists(model, dataset):
    viewer = Viewer(dataset)
    assert viewer.browse["scores"] is None
    check(model, viewer.browse, "Browse")
    viewer.close()


def test_an_annotator_lists_nothing(model, browser):
    assert browser.annotator.browse is None


def test_the_scene_of_a_comparison(model, looker):
    comparison = compare(looker.viewer.dataset, looker.viewer.dataset, names=("a", "b"))
    check(model, comparison.scene, "Scene")
    check(model, comparison.browse, "Browse")
    assert {one["set"] for one in comparison.scene["instances"]} == {"a", "b"}
    assert len(comparison.scene["arrows"]) == 4 * (4 + 2)
    comparison.close()


def test_a_query_has_the_same_names_on_both_sides(model):
    assert set(query()) == set(model.types["Query"][1])
    check(model, Query().to_wire(), "Query")
    check(model, query(score=0.5, size=[1, 2]), "Query")


# --- values that the browser sends ----------------------------------------------------------------

CONFLICT = Conflict("one.png", "a", "top", "keypoint", (10, 20, 2), (3, 4.5, 1), "bob")

_EXAMPLES: dict[str, Any] = {
    "image": 0,
    "instance": "a",
    "keypoint": 1,
    "x": 10.5,
    "y": 20.25,
    "visibility": 2,
    "next": [0, "a", 2],
    "bbox": [1.0, 2.0, 30.0, 20.0],
    "done": True,
    "hidden": True,
    "locked": False,
    "to": 1,
    "finish": True,
    "take": True,
    "conflict": CONFLICT.key,
    "how": "move",
    "finding": "0123456789abcdef",
    "points": [10, 20, 2, 11.5, 21, 1, 0, 0, 0, 12, 22, 2],
}


def _body(op: str, fields: dict[str, Field], *, with_optional: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"op": op}
    for name, one in fields.items():
        if name not in ("op", "new") and (with_optional or not one.is_optional):
            body[name] = _EXAMPLES[name]
    return body


@pytest.mark.parametrize("with_optional", [False, True], ids=["required", "all"])
@pytest.mark.parametrize("op", OPS)
def test_every_edit_as_typescript_types_it_is_understood(
    model, make, dataset, tmp_path, op, with_optional
):
    dataset.save(tmp_path / "labels.json")
    store.attach_journal(dataset)
    browser: Browser = make(dataset)
    browser.point("a", 0, 10, 20, new=True)
    dataset.conflicts = [CONFLICT]
    browser.do(op="skip", image=0, next=[0, "a", 2])
    browser.do(op="undo")
    if op == "undo":
        browser.do(op="redo")
    body = _body(op, model.by("EditBody", "op")[op], with_optional=with_optional)
    check(model, body, "EditBody")
    if op == "repeat":  # what the image before has
        body["image"] = 1
    if op in ("decide", "repair"):  # a point in the corner, which mostly means that it is none
        browser.point("a", 1, 0, 0)
        [finding] = quality.check_image(dataset.images[0])
        body["finding"] = key_of(finding)
    seq = browser.do(**body)
    assert browser.rejections() == []
    assert browser.acknowledged() == seq


@pytest.mark.parametrize("op", ["point", "box", "pose"])
def test_an_edit_of_a_new_instance_as_typescript_types_it(model, browser, op):
    body = _body(op, model.by("EditBody", "op")[op], with_optional=True)
    browser.do(**body, new=True)
    assert browser.rejections() == []
    assert [one.uid for one in browser.annotator.dataset.instances] == ["a"]


@pytest.mark.parametrize("kind", MESSAGES_TO_PYTHON)
def test_every_message_as_typescript_types_it_is_understood(model, browser, looker, kind):
    examples = {
        "kind": kind,
        "client": "c1",
        "blank": True,
        "base": 0,
        "edits": [],
        "rev": 1,
        "image": 0,
        "viewport": [1.5, 2.0, 3.0],
        "dpr": 1.25,
        "w": 300,
        "h": 200,
        "query": query(text="axe", size=[1.5, None], score=0.25),
        "images": [0, 2],
        "picked": True,
        "version": looker.browse["version"],
        "places": [0, 1],
        "do": "list",
        "finding": 0,
        "filter": {"check": "sides", "severity": "", "state": "all"},
        "start": 0,
    }
    viewport = model.by("ToPython", "kind")["viewport"]
    examples["first"] = {**{name: examples[name] for name in viewport}, "kind": "viewport"}
    fields = model.by("ToPython", "kind")[kind]
    message = {name: examples[name] for name in fields}
    assert model.problems(message, ("object", fields), kind) == []
    ends: list[Browser] = (
        [looker] if kind in ("query", "pick", "want", "review") else [browser, looker]
    )
    for end in ends:
        cursor = {"op": "cursor", "image": 0, "next": [0, None, 1]}
        end.edits({"seq": 1, **cursor})
        end.receive(message)
        end.edits({"seq": 2, **cursor})
        wait_for(lambda end=end: end.acknowledged() == 2)
        assert end.of("notice") == []
