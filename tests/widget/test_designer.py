"""The schema designer: what a browser sends, and the schema that comes of it."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pytest
from PIL import Image

from kpwidget import SchemaDesigner, schemas
from kpwidget.dataset import Dataset
from kpwidget.schema import FormatError, Schema
from kpwidget.widget.designer import DESIGN_OPS
from kpwidget.widget.draft import text_of_metadata
from kpwidget.widget.pane import MAX_TEXT, read_text

from .typescript import Types

REPOSITORY = Path(__file__).parents[2]
FACTS = REPOSITORY.parent / "shared" / "schemas"
# The two metadata blocks that the project began with.
FOUR_POINT = (
    '{\n\t"keypoints":\t["top", "left", "right", "bottom"],\n'
    '\t"skeleton":\t[[1,2],[1,3],\n\t\t[2,4],[3,4]]\n}'
)
COCO = """{
\t"keypoints": [
\t\t"nose","left_eye","right_eye","left_ear","right_ear",
\t\t"left_shoulder","right_shoulder","left_elbow","right_elbow",
\t\t"left_wrist","right_wrist","left_hip","right_hip",
\t\t"left_knee","right_knee","left_ankle","right_ankle"
\t],
\t"skeleton": [
\t\t[16,14],[14,12],[17,15],[15,13],[12,13],[6,12],[7,13],[6,7],[6,8],[7,9],[8,10],[9,11],
\t\t[2,3],[1,2],[1,3],[2,4],[3,5],[4,6],[5,7]
\t]
}"""


def circle(name: str, node: int, x: str = "50", y: str = "20") -> str:
    return f'<circle cx="{x}" cy="{y}" data-node-id="{node}" data-label-name="{name}"></circle>'


EDGE = '<line data-type="edge" data-node-from="1" data-node-to="2"></line>'
CVAT = json.dumps(
    [
        {"name": "car", "type": "rectangle", "attributes": []},
        {
            "name": "stick",
            "type": "skeleton",
            "svg": EDGE + circle("head", 1, "0", "0") + circle("tip", 2, "100", "50"),
            "sublabels": [],
        },
    ]
)


class Hand:
    """The other end of a designer: sends edits as a browser does, keeps what comes."""

    def __init__(self, designer: SchemaDesigner) -> None:
        self.designer = designer
        self.seq = 0
        self.said: list[str] = []
        designer.send = lambda content, buffers=None: self.said.append(content["text"])  # type: ignore[method-assign]

    def receive(self, content: Any) -> None:
        self.designer._handle_custom_msg(json.loads(json.dumps(content)), [])

    def edits(self, *edits: dict[str, Any], client: str = "c1", base: int = 0) -> None:
        self.receive({"kind": "edits", "client": client, "base": base, "edits": list(edits)})

    def do(self, op: str, **fields: Any) -> None:
        self.seq += 1
        self.edits({"seq": self.seq, "op": op, **fields})

    def add(self, point: str, x: float, y: float, name: str | None = None) -> None:
        self.do("add", id=point, name=name or point, x=x, y=y)

    def type(self, text: str, **more: Any) -> None:
        self.do("text", text=text, choice=None, **more)

    def problems(self) -> list[tuple[int, int, str]]:
        found = self.design["reading"]["problems"]
        return [(one["line"], one["column"], one["message"]) for one in found]

    @property
    def design(self) -> dict[str, Any]:
        json.dumps(self.designer.design, allow_nan=False, ensure_ascii=False).encode()
        return dict(self.designer.design)

    @property
    def metadata(self) -> dict[str, Any]:
        return self.designer.metadata


@pytest.fixture
def make() -> Iterator[Callable[..., Hand]]:
    made: list[SchemaDesigner] = []

    def _make(*arguments: Any, **keywords: Any) -> Hand:
        made.append(SchemaDesigner(*arguments, **keywords))
        return Hand(made[-1])

    yield _make
    for designer in made:
        designer.close()


@pytest.fixture
def hand(make: Callable[..., Hand]) -> Hand:
    """A designer on a photograph of 400 x 300 px: left half red, right half blue."""
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[:, :200] = (200, 0, 0)
    pixels[:, 200:] = (0, 0, 200)
    return make(pixels)


@pytest.fixture
def face(hand: Hand) -> Hand:
    """Three points and two edges."""
    hand.add("a", 100, 100, "nose")
    hand.add("b", 300, 100, "left_eye")
    hand.add("c", 200, 300, "right_eye")
    hand.do("join", a="a", b="b")
    hand.do("join", a="c", b="a")
    assert hand.said == []
    return hand


# --- what is drawn --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field", ["skeleton", "flip_pairs", "colors", "layout", "aliases", "parts"]
)
def test_a_field_that_is_null_is_like_one_that_is_missing(make, field):
    hand = make()
    hand.type(json.dumps({"keypoints": ["a", "b", "c"], field: None}))
    points = [point["id"] for point in hand.design["points"]]
    hand.do("define", id=points[0], text="the tip")
    hand.add("e", 5, 6)
    hand.do("remove", id="e")
    hand.do("remove", id=points[1])
    hand.type(json.dumps({"keypoints": ["a", "d"], field: None}))
    assert hand.said == []
    assert hand.designer.schema.keypoints == ("a", "d")
    assert [point["id"] for point in hand.design["points"]] == [points[0], points[2]]


def test_before_the_first_point_there_is_no_schema(hand):
    assert hand.designer.schema is None
    assert hand.metadata == {}
    assert repr(hand.designer) == "SchemaDesigner(None)"


def test_points_and_edges_make_a_schema_with_the_figure_that_is_drawn(face):
    assert face.designer.schema == Schema(
        "schema", ["nose", "left_eye", "right_eye"], [(1, 2), (3, 1)]
    )
    # By hand: the extent of 200 px fills 0.08 to 0.92, centred at (200, 200).
    assert face.metadata["layout"] == [[0.08, 0.08], [0.92, 0.08], [0.5, 0.92]]
    np.testing.assert_array_equal(face.designer.schema.layout, face.metadata["layout"])
    assert [[one["x"], one["y"]] for one in face.design["points"]] == [
        [100, 100],
        [300, 100],
        [200, 300],
    ]
    assert Schema.from_metadata(face.metadata) == face.designer.schema
    assert json.loads(face.design["text"]) == face.metadata


def test_a_point_is_moved_and_the_figure_with_it(face):
    face.do("move", id="a", x=200.5, y=0.25)
    # Now 299.75 px high and 100 px wide: y fills 0.08 to 0.92, x is centred at 250 px.
    unit = 0.84 / 299.75
    expected = [[0.5 - 49.5 * unit, 0.08], [0.5 + 50 * unit, 0.08 + 99.75 * unit]]
    np.testing.assert_allclose(face.metadata["layout"][:2], expected, atol=5e-5)
    assert face.design["points"][0]["x"] == 200.5


def test_a_new_name_goes_wherever_the_old_one_stands(face):
    face.do("pair", left="b", right="c")
    face.do("define", id="b", text="the pupil")
    face.do("rename", id="b", name="left_pupil")
    assert face.metadata["keypoints"] == ["nose", "left_pupil", "right_eye"]
    assert face.metadata["flip_pairs"] == [["left_pupil", "right_eye"]]
    assert face.metadata["definitions"] == {"left_pupil": "the pupil"}
    assert face.designer.schema.sides == (None, "left", "right")


def test_edges_colours_sigmas_and_parts_follow_a_new_order(make):
    hand = make(
        schema={
            "keypoints": ["a", "b", "c", "d"],
            "skeleton": [[1, 2], ["c", "d"]],
            "colors": ["#00000a", "#00000b", "#00000c", "#00000d"],
            "sigmas": [0.1, 0.2, 0.3, 0.4],
            "parts": {"first": [1, 2], "rest": [3, 4]},
            "mine": [1],
        }
    )
    ids = [point["id"] for point in hand.design["points"]]
    hand.do("order", id=ids[1], to=0)
    assert hand.metadata == {
        "keypoints": ["b", "a", "c", "d"],
        "skeleton": [[2, 1], ["c", "d"]],
        "colors": ["#00000b", "#00000a", "#00000c", "#00000d"],
        "sigmas": [0.2, 0.1, 0.3, 0.4],
        "parts": {"first": [1, 2], "rest": [3, 4]},
        "mine": [1],
    }
    assert hand.said == []
    hand.do("order", id=ids[3], to=0)
    assert hand.metadata["keypoints"] == ["d", "b", "a", "c"]
    assert hand.metadata["skeleton"] == [[3, 2], ["c", "d"]]
    assert hand.metadata["parts"] == {"first": [2, 3]}
    assert hand.said == ["No longer a run of keypoints, so gone: 'rest'. Undo brings it back."]
    hand.do("remove", id=ids[0])
    assert hand.metadata["keypoints"] == ["d", "b", "c"]
    assert hand.metadata["skeleton"] == [["c", "d"]]
    assert hand.metadata["sigmas"] == [0.4, 0.2, 0.3]
    assert hand.metadata["parts"] == {"first": [2, 2]}
    hand.add("new", 1, 1)
    assert "sigmas" not in hand.metadata
    assert hand.said[1:] == [
        "The sigmas are gone, for the new keypoint has none. Undo brings them back."
    ]
    assert len(hand.metadata["colors"]) == 4


def test_a_keypoint_goes_with_all_that_is_said_of_it(face):
    face.do("pair", left="b", right="c")
    face.do("define", id="b", text="the pupil")
    face.do("crop", id="b", box=[0, 0, 50, 50])
    face.do("remove", id="b")
    assert face.metadata == {
        "keypoints": ["nose", "right_eye"],
        "skeleton": [[2, 1]],
        "layout": [[0.08, 0.08], [0.5, 0.92]],
        "flip_pairs": [],
    }
    face.do("remove", id="a")
    face.do("remove", id="c")
    assert face.designer.schema is None


def test_an_edge_is_there_once_and_goes(face):
    face.do("join", a="b", b="a")
    assert face.metadata["skeleton"] == [[1, 2], [3, 1]]
    face.do("part", a="b", b="a")
    assert face.metadata["skeleton"] == [[3, 1]]
    assert face.design["edges"] == [["c", "a"]]


def test_a_keypoint_has_one_partner(face):
    face.do("pair", left="b", right="c")
    face.do("pair", left="b", right="a")
    assert face.metadata["flip_pairs"] == [["left_eye", "nose"]]
    assert face.design["pairs"] == [["b", "a"]]
    face.do("pair", left="a", right=None)
    assert "flip_pairs" not in face.metadata


def test_one_colour_is_picked_and_the_others_stay_as_they_are_shown(face):
    before = face.designer.schema.colors
    face.do("color", id="b", color="#123456")
    assert face.metadata["colors"] == [before[0], "#123456", before[2]]


def test_a_reference_picture_is_cut_from_the_image(face):
    face.do("crop", id="b", box=[150, 100, 250, 300])  # half red, half blue, twice as high as wide
    data = face.designer.schema.references["left_eye"]
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.size) == ("JPEG", (48, 96))
    pixels = np.asarray(picture.convert("RGB"), float)
    np.testing.assert_allclose(pixels[:, :20].mean((0, 1)), (200, 0, 0), atol=6)
    np.testing.assert_allclose(pixels[:, 28:].mean((0, 1)), (0, 0, 200), atol=6)
    url = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    assert face.designer.references == [{"id": "b", "url": url}]
    assert face.metadata["references"] == {"left_eye": url}
    face.do("crop", id="b", box=None)
    assert face.designer.references == []
    assert "references" not in face.metadata


def test_the_schema_is_observed(hand):
    seen: list[Any] = []
    hand.designer.observe(lambda change: seen.append(change["new"]), "schema")
    hand.add("a", 1, 1, "tip")
    hand.do("title", name="stick")
    assert [(one.name, one.keypoints) for one in seen] == [
        ("schema", ("tip",)),
        ("stick", ("tip",)),
    ]

    def burn(change: Any) -> None:
        raise RuntimeError("boom")

    hand.designer.observe(burn, "schema")
    hand.do("title", name="twig")
    assert hand.designer.schema.name == hand.design["name"] == "twig"
    assert hand.said == ["A callback that observes schema failed: boom"]
    with pytest.raises(Exception, match="read-only"):
        hand.designer.schema = None


# --- undo -----------------------------------------------------------------------------------------

STEPS: list[dict[str, Any]] = [
    {"op": "add", "id": "d", "name": "chin", "x": 10, "y": 20},
    {"op": "move", "id": "a", "x": 5, "y": 6},
    {"op": "remove", "id": "a"},
    {"op": "rename", "id": "a", "name": "tip"},
    {"op": "order", "id": "a", "to": 2},
    {"op": "color", "id": "a", "color": "#010203"},
    {"op": "define", "id": "a", "text": "the end"},
    {"op": "crop", "id": "a", "box": [10, 10, 60, 60]},
    {"op": "join", "a": "b", "b": "c"},
    {"op": "part", "a": "a", "b": "b"},
    {"op": "pair", "left": "b", "right": "c"},
    {"op": "title", "name": "face"},
    {"op": "text", "text": FOUR_POINT, "choice": None},
]


@pytest.mark.parametrize("edit", STEPS, ids=lambda edit: edit["op"])
def test_every_edit_is_undone_and_done_again(face, edit):
    before, places = face.metadata, face.design["points"]
    face.do(**edit)
    after = face.metadata
    assert face.said == []
    assert after != before
    face.do("undo")
    assert (face.metadata, face.design["points"]) == (before, places)
    assert face.design["redo"] != ""
    face.do("redo")
    assert face.metadata == after


def test_everything_is_undone_and_done_again(face):
    for edit in STEPS:
        if edit["op"] != "remove":
            face.do(**edit)
    after, points = face.metadata, face.design["points"]
    steps = 0
    while face.design["undo"]:
        face.do("undo")
        steps += 1
    assert (steps, face.designer.schema, face.said) == (17, None, [])
    for _ in range(steps):
        face.do("redo")
    assert (face.metadata, face.design["points"]) == (after, points)
    face.do("redo")
    assert face.said == ["There is nothing to redo."]


def test_one_burst_of_typing_is_one_step(face):
    for text in ("t", "th", "the pupil"):
        face.do("define", id="a", text=text, burst="define-1")
    assert face.metadata["definitions"] == {"nose": "the pupil"}
    face.do("undo")
    assert "definitions" not in face.metadata
    face.do("define", id="a", text="x", burst="define-2")
    face.do("define", id="a", text="y", burst="define-3")
    face.do("undo")
    assert face.metadata["definitions"] == {"nose": "x"}


# --- messages -------------------------------------------------------------------------------------


def test_edits_are_applied_in_the_order_of_their_numbers_each_once(hand):
    first = {"seq": 1, "op": "add", "id": "a", "name": "a", "x": 1, "y": 1}
    second = {"seq": 2, "op": "rename", "id": "a", "name": "b"}
    third = {"seq": 3, "op": "rename", "id": "a", "name": "c"}
    hand.edits(third)
    hand.edits(second)
    assert hand.designer.schema is None
    hand.edits(first)
    hand.edits(first, second)
    assert hand.designer.schema.keypoints == ("c",)
    assert hand.design["applied"] == [{"client": "c1", "seq": 3}]
    hand.edits({"seq": 8, "op": "undo"}, client="c2", base=7)  # known to an earlier kernel
    assert hand.designer.schema.keypoints == ("b",)
    assert hand.said == []


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"op": "burn"}, "op: expected one of add, move"),
        ({"op": ["add"]}, "op: expected one of"),
        ({"op": "add", "id": "a", "name": "x", "x": 1, "y": 1}, "that of a new keypoint"),
        ({"op": "add", "id": "z", "name": "nose", "x": 1, "y": 1}, "'nose' is that of another"),
        ({"op": "add", "id": "z", "name": " ", "x": 1, "y": 1}, "needs a name"),
        ({"op": "add", "id": "z", "name": "\ud800", "x": 1, "y": 1}, "expected text"),
        ({"op": "add", "id": "z", "name": "z", "x": 401, "y": 1}, "outside the image of 400x300"),
        ({"op": "move", "id": "a", "x": 1e999, "y": 1}, "x: expected a finite number"),
        ({"op": "move", "id": "q", "x": 1, "y": 1}, "has been removed meanwhile"),
        ({"op": "rename", "id": "a", "name": "left_eye"}, "is that of another keypoint"),
        ({"op": "order", "id": "a", "to": 3}, "to: expected a position in the list"),
        ({"op": "color", "id": "a", "color": "red"}, r"colors\[0\] = 'red': expected '#rrggbb'"),
        ({"op": "define", "id": "a", "text": "x" * 301}, "expected at most 300"),
        ({"op": "define", "id": "a", "text": 3}, "text: expected a line"),
        ({"op": "crop", "id": "a", "box": [1, 1, 1, 1]}, "smaller than one pixel"),
        ({"op": "crop", "id": "a", "box": [1, 1]}, r"box: expected \[x0, y0, x1, y1\]"),
        ({"op": "join", "a": "a", "b": "a"}, "two are needed"),
        ({"op": "pair", "left": "a", "right": "a"}, "two are needed"),
        ({"op": "title", "name": " "}, "A schema needs a name"),
        ({"op": "text", "text": None}, "text: expected text"),
    ],
)
def test_an_edit_that_cannot_be_is_refused_with_its_reason_and_the_next_one_is_taken(
    face, edit, message
):
    before = face.metadata
    face.do(**edit)
    assert len(face.said) == 1
    assert re.search(message, face.said[0])
    assert face.metadata == before
    face.do("title", name="next")
    assert face.designer.schema.name == "next"


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {"kind": "x"},
        {"kind": "edits"},
        {"kind": "edits", "client": "c", "base": 0, "edits": [1]},
    ],
)
def test_a_message_that_is_none_is_refused(hand, content):
    hand.receive(content)
    assert len(hand.said) == 1
    assert "refused" in hand.said[0]


# --- the text pane --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [FOUR_POINT, COCO], ids=["four_point", "coco"])
def test_the_example_metadata_comes_back_without_a_difference(hand, text):
    hand.type(text)
    assert hand.problems() == []
    assert json.dumps(hand.metadata) == json.dumps(json.loads(text))
    assert hand.design["text"] == text_of_metadata(json.loads(text))
    assert json.dumps(json.loads(hand.design["text"])) == json.dumps(json.loads(text))
    assert all(0 <= one["x"] <= 400 and 0 <= one["y"] <= 300 for one in hand.design["points"])
    assert len({(one["x"], one["y"]) for one in hand.design["points"]}) == len(
        hand.metadata["keypoints"]
    )


@pytest.mark.parametrize("name", schemas.names())
def test_published_schemas_come_back_without_a_difference(make, name):
    path = FACTS / f"{name}.json"
    metadata = schemas.get(name).to_metadata()
    if path.is_file():  # what others publish, else what kpwidget made of it
        facts = json.loads(path.read_text(encoding="utf-8"))
        metadata = {
            "name": name,
            "keypoints": facts["keypoints"],
            "skeleton": facts["skeleton_1based"],
            "flip_pairs": [
                [facts["keypoints"][k - 1] for k in pair] for pair in facts["flip_pairs_1based"]
            ],
            "sigmas": facts["oks_sigmas"],
        }
    hand = make()
    hand.type(json.dumps(metadata))
    assert hand.problems() == []
    assert json.dumps(hand.metadata) == json.dumps(metadata)
    exported = json.loads(hand.design["text"])
    assert Schema.from_metadata(exported) == hand.designer.schema == Schema.from_metadata(metadata)


def test_what_was_drawn_comes_back_without_a_difference(face, make):
    face.do("pair", left="b", right="c")
    face.do("define", id="b", text="the pupil, «centre»")
    face.do("crop", id="b", box=[0, 0, 50, 50])
    face.do("color", id="a", color="#010203")
    face.do("title", name="<img src=x onerror=alert(1)>")
    text = face.design["text"]
    other = make()
    other.type(text)
    assert other.problems() == []
    assert other.designer.schema == face.designer.schema
    assert other.design["text"] == text
    assert Schema.from_metadata(text).to_metadata() == face.metadata
    # On the same text nothing moves.
    before = face.design["points"]
    face.type(text)
    assert face.design["points"] == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("nose\n left eye \r\n\nright eye\n", "nose/left eye/right eye", id="lines"),
        pytest.param("a, b,c", "a/b/c", id="commas"),
        pytest.param('["a", "b"]', "a/b", id="json list"),
        pytest.param('[{"name": "x", "keypoints": ["a"]}]', "a", id="categories"),
        pytest.param(
            '{"images": [], "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "x", '
            '"keypoints": ["a", "b"]}]}',
            "a/b",
            id="coco file",
        ),
        pytest.param(CVAT, "head/tip", id="cvat"),
    ],
)
def test_other_texts_are_read(hand, text, expected):
    hand.type(text)
    assert hand.problems() == []
    assert "/".join(hand.designer.schema.keypoints) == expected


def test_the_drawing_of_a_cvat_label_is_laid_out_on_the_image(hand):
    hand.type(CVAT)
    assert hand.metadata == {
        "name": "stick",
        "keypoints": ["head", "tip"],
        "skeleton": [[1, 2]],
        "layout": [[0.0, 0.0], [1.0, 0.5]],
    }
    # A square of 0.8 of the shorter side, 240 px, in the middle of 400 x 300.
    assert [(one["x"], one["y"]) for one in hand.design["points"]] == [(80, 30), (320, 150)]


def test_the_figure_on_the_screen_is_that_of_the_schema_also_if_nobody_has_drawn_it(hand):
    hand.type("a\nb")
    # Side by side in the middle: as wide as the margin of 0.08 lets them be.
    np.testing.assert_array_equal(hand.designer.schema.layout, [[0.08, 0.5], [0.92, 0.5]])
    assert hand.metadata == {"keypoints": ["a", "b"]}


def test_keys_that_kpwidget_does_not_know_stay(hand):
    text = '{"id": 3, "supercategory": "x", "keypoints": ["a", "b"], "mine": {"k": [null, 1e-9]}}'
    hand.type(text)
    hand.do("rename", id=hand.design["points"][0]["id"], name="c")
    assert hand.metadata == json.loads(text) | {"keypoints": ["c", "b"]}


def test_a_text_that_changes_the_drawing_keeps_the_places_of_what_it_keeps(face):
    changed = face.metadata | {"keypoints": ["tip", "left_eye", "right_eye"]}
    face.type(json.dumps(changed))
    assert [one["id"] for one in face.design["points"]] == ["a", "b", "c"]
    assert [one["name"] for one in face.design["points"]] == ["tip", "left_eye", "right_eye"]
    # A point of the figure is moved: by hand, 0.42 of 1 is 100 px here.
    changed["layout"] = [[0.5, 0.08], *changed["layout"][1:]]
    face.type(json.dumps(changed))
    places = [(one["x"], one["y"]) for one in face.design["points"]]
    np.testing.assert_allclose(places, [(200, 100), (300, 100), (200, 300)], atol=1e-9)
    # Without a figure, and with a keypoint less.
    del changed["layout"]
    face.type(json.dumps(changed | {"keypoints": ["right_eye", "tip"], "skeleton": []}))
    assert [one["id"] for one in face.design["points"]] == ["c", "a"]
    assert face.design["points"][0]["y"] == 300


def test_of_several_categories_one_is_chosen(hand):
    text = '[{"name": "cat", "keypoints": ["a"]}, {"name": "dog", "keypoints": ["b", "b"]}]'
    hand.type(text)
    assert hand.design["reading"]["choices"] == ["cat", "dog"]
    assert hand.designer.schema is None
    hand.do("text", text=text, choice=0)
    assert hand.designer.schema.name == "cat"
    hand.do("text", text=text, choice=1)
    assert hand.problems() == [
        (
            1,
            text.rindex('"b"') + 1,
            "keypoints[1] = 'b': the name is already that of keypoints[0]; each may stand once",
        )
    ]
    assert hand.designer.schema.name == "cat"


#: A text, and for each of its problems the line, the column, what is marked there, and the message.
WRONG = {
    "json": ('{"keypoints": ["a",\n  "b"', [(2, 6, "", "not JSON: Expecting ',' delimiter")]),
    "key twice": ('{"a": 1,\n "a": 2}', [(2, 2, '"', "the key 'a' is given twice")]),
    "nan": ('{"keypoints": ["a"], "x": NaN}', [(1, 27, "N", "NaN is not JSON")]),
    "no keypoints": ('\n{"skeleton": []}', [(2, 1, '{"skeleton": []}', "'keypoints' is missing")]),
    "name": (
        '{"keypoints": ["a", "", 3],\n "name": 7}',
        [
            (2, 10, "7", "name = 7: expected a string"),
            (1, 21, '""', "keypoints[1] = '': the name is empty"),
            (1, 25, "3", "keypoints[2] = 3: expected a string, got int"),
        ],
    ),
    "edges": (
        '{"keypoints": ["a", "b"], "skeleton": [[0, 1],\n[1, "a"], 3, [1, 1], ["a", "q"]]}',
        [
            (1, 40, "[0, 1]", "skeleton[0] = [0, 1]: 0 outside 1..2"),
            (2, 1, '[1, "a"]', "skeleton[1]"),
            (2, 11, "3", "skeleton[2] = 3: expected a pair"),
            (2, 14, "[1, 1]", "skeleton[3] = [1, 1]: the edge joins a keypoint with itself"),
            (2, 22, '["a", "q"]', "skeleton[4] = ['a', 'q']: no keypoint is named 'q'"),
            (1, 39, '[[0, 1],\n[1, "a"], 3, [1, 1], ["a", "q"]]', "skeleton: its numbers run"),
        ],
    ),
    "lists": (
        '{"keypoints": ["a"],\n"flip_pairs": [["a", "x"]],\n"sigmas": [-1],\n"colors": ["red"]}',
        [
            (2, 16, '["a", "x"]', "flip_pairs[0] = ['a', 'x']: no keypoint is named 'x'"),
            (3, 12, "-1", "sigmas[0] = -1: expected a finite number above 0"),
            (4, 12, '"red"', "colors[0] = 'red': expected '#rrggbb'"),
        ],
    ),
    "by name": (
        '{"keypoints": ["a"],\n"definitions": {"a": 1},\n"references": {"q": "x"},'
        '\n"aliases": {"a": "b"}, "parts": {"p": [1, 2]}, "layout": [[0, 9]]}',
        [
            (4, 59, "[0, 9]", "layout[0] = [0, 9]: expected [x, y], both in 0..1"),
            (4, 18, '"b"', "aliases['a'] = 'b': expected a list of names"),
            (4, 39, "[1, 2]", "parts['p'] = [1, 2]: expected [first, last]"),
            (2, 22, "1", "definitions['a'] = 1: expected a string"),
            (3, 21, '"x"', "references['q']: no keypoint is named 'q'"),
            (3, 21, '"x"', "references['q'] = 'x': expected 'data:image/png"),
        ],
    ),
    "in a coco file": (
        '{"categories": [\n{"name": "😀", "keypoints": ["a", "a"]}]}',
        [(2, 34, '"a"', "keypoints[1] = 'a': the name is already")],
    ),
    "list of names": ('["a",\n"a"]', [(2, 1, '"a"', "keypoints[1] = 'a'")]),
    "names": (
        "nose\neye, nose\n<b>ear",
        [(2, 6, "nose", "the name 'nose' stands here again"), (3, 1, "<", "in a list of names")],
    ),
    "cvat svg": (
        '[{"name": "x",\n"svg": "<circle \\u0063x=\\"1\\"><"}]',
        # Behind the 16 characters of the svg, which stand in 23: column 9 + 23.
        [(2, 32, '"', "svg: not XML")],
    ),
    "cvat circle": (
        '{"name": "x",\n"svg": "<circle/>"}',
        [(2, 8, '"<circle/>"', "svg: circle 1: expected data-label-name")],
    ),
    "cvat names": (
        json.dumps({"svg": circle("a", 1) + circle("a", 2)}),
        [(1, 9, None, "in the svg: keypoints[1] = 'a': the name is already")],
    ),
    "something else": ("[1, 2]", [(1, 1, "[1, 2]", "expected a category with 'keypoints'")]),
    "empty": (" \n ", [(1, 1, "", "empty: expected metadata or names")]),
    "deep": (
        '{"keypoints": ["a"], "x": ' + "[" * 150 + "]" * 150 + "}",
        [(1, 1, None, "nested more than 100 levels deep")],
    ),
    "many names": ("\n".join(f"p{i}" for i in range(1001)), [(1, 1, "", "1,001 names")]),
    "many keypoints": (
        json.dumps({"keypoints": [f"p{i}" for i in range(1001)]}),
        [(1, 15, "[", "1,001 keypoints, expected at most 1,000")],
    ),
    "long": ("x" * (MAX_TEXT + 1), [(1, 1, "", "expected at most 2,000,000")]),
}


@pytest.mark.parametrize("kind", WRONG)
def test_every_problem_of_a_text_is_told_at_its_place_and_the_drawing_stays(face, kind):
    text, expected = WRONG[kind]
    before = face.metadata
    face.type(text)
    found = face.design["reading"]["problems"]
    assert [(one["line"], one["column"]) for one in found] == [one[:2] for one in expected]
    units = text.encode("utf-16-le")
    for one, (_, _, marked, message) in zip(found, expected, strict=True):
        assert message in one["message"]
        if marked is not None:
            assert units[2 * one["start"] : 2 * one["end"]].decode("utf-16-le") == marked
    assert face.metadata == before
    assert face.said == []


def test_very_many_problems_are_counted():
    text = json.dumps({"keypoints": [""] * 30_000})
    problems = read_text(text).problems
    assert len(problems) == 51
    assert problems[-1].message == "and 29950 more problems"


def test_an_edge_given_twice_stays_as_it_is(hand):
    hand.type('{"keypoints": ["a", "b"], "skeleton": [[1, 2], [2, 1]]}')
    assert hand.problems() == []
    assert hand.metadata["skeleton"] == [[1, 2], [2, 1]]


def test_a_table_pasted_by_mistake_is_refused_soon(make):
    """Comparing each of its 150,000 cells with those before it would take minutes."""
    hand = make()
    hand.type("\n".join(f"cell {i}" for i in range(150_000)))
    assert hand.problems() == [(1, 1, "150,000 names, expected at most 1,000")]


# --- try it ---------------------------------------------------------------------------------------


def test_try_it_opens_an_annotator_on_the_same_image(face):
    assert face.designer.dataset is None
    face.do("try")
    annotator = face.designer.trial
    assert annotator.dataset is face.designer.dataset
    assert annotator.dataset.images[0].size == (400, 300)
    assert annotator.dataset.categories[0].schema == face.designer.schema
    assert tuple(annotator.image.open().getpixel((10, 10))) == (200, 0, 0)
    assert face.designer.try_it() is annotator


def test_labels_made_go_on_when_the_schema_changes(face):
    face.designer.try_it()
    first = face.designer.dataset
    first.add_instance(0, keypoints=[(1, 2, 2), (3, 4, 1), (0, 0, 0)])
    face.do("rename", id="b", name="tip")
    face.do("order", id="b", to=0)
    face.do("remove", id="c")
    face.add("d", 9, 9, "new")
    face.do("try")
    second = face.designer.dataset
    assert second is not first
    assert len(first.instances) == 1
    assert second.categories[0].keypoints == ("tip", "nose", "new")
    np.testing.assert_array_equal(
        second.instances[0].keypoints, [(3, 4, 1), (1, 2, 2), (np.nan, np.nan, 0)]
    )
    assert face.designer.trial.dataset is second


def test_boxes_and_what_is_unfinished_are_carried_over(face):
    face.do("try")
    first = face.designer.dataset
    first.add_instance(0, keypoints=[(1, 2, 2), (0, 0, 0), (0, 0, 0)], uid="a", is_finished=False)
    first.add_instance(0, bbox=(10, 20, 30, 40), uid="b")
    face.do("move", id="a", x=50, y=60)
    face.do("try")
    a, b = face.designer.dataset.instances
    assert (a.uid, a.is_finished, a.bbox_source) == ("a", False, first.instances[0].bbox_source)
    assert (b.uid, b.is_finished, b.bbox_source) == ("b", True, "given")
    np.testing.assert_array_equal(b.bbox, (10, 20, 30, 40))


def test_an_annotator_that_was_closed_is_opened_anew(face):
    face.do("try")
    face.designer.trial.close()
    face.do("try")
    assert face.designer.trial.comm is not None


def test_nothing_can_be_tried_before_there_is_a_keypoint(make):
    hand = make()
    hand.do("try")
    assert hand.said == ["There is no keypoint yet: click on the picture to add one."]
    with pytest.raises(ValueError, match="no keypoint yet"):
        hand.designer.try_it()
    hand.add("a", 640, 480)
    hand.do("try")
    assert hand.designer.dataset.images[0].size == (640, 480)
    hand.do("crop", id="a", box=[0, 0, 9, 9])
    assert hand.said[1:] == ["A blank sheet has nothing to crop: give the designer an image."]


# --- what it is made of ---------------------------------------------------------------------------


def test_images_of_every_kind(make, tmp_path, tiny_dataset):
    picture = Image.new("RGB", (30, 20), (1, 2, 3))
    path = tmp_path / "a.png"
    picture.save(path)
    for image in (path, str(path), path.read_bytes(), picture, np.asarray(picture)):
        sheet = make(image).designer.sheet
        assert (sheet["width"], sheet["height"]) == (30, 20)
    assert make(path).designer.sheet["name"] == "a.png"
    assert make(path).designer.picture == path.read_bytes()
    assert make(tiny_dataset.images[0]).designer.sheet == {
        "name": "a.png",
        "width": 64,
        "height": 48,
    }
    assert make().designer.sheet == {"name": "", "width": 640, "height": 480}


def test_what_it_cannot_be_made_of():
    with pytest.raises(TypeError, match="image: expected a path, .* got int"):
        SchemaDesigner(3)
    with pytest.raises(TypeError, match=r"unknown keywords \['size'\]"):
        SchemaDesigner(size=3)
    with pytest.raises(FormatError, match="'keypoints' is missing"):
        SchemaDesigner(schema={"name": "x"})
    with pytest.raises(ValueError, match="there is no such file"):
        SchemaDesigner("/nowhere/a.png")
    with pytest.raises(Exception, match="200 to 4000"):
        SchemaDesigner(height=1)


def test_it_begins_with_a_schema(make):
    stick = Schema("stick", ["head", "tip"], [(1, 2)], layout=[(0, 0), (1, 0.5)])
    hand = make(schema=stick)
    assert hand.designer.schema == stick
    np.testing.assert_array_equal(hand.designer.schema.layout, stick.layout)
    # 0.8 of 480 px, in the middle of 640 x 480.
    assert [(one["x"], one["y"]) for one in hand.design["points"]] == [(128, 48), (512, 240)]
    coco = schemas.get("coco17")
    assert make(schema=coco).metadata == coco.to_metadata()
    assert make(schema=json.loads(COCO)).metadata == json.loads(COCO)
    assert hand.design["undo"] == ""


# --- the contract with TypeScript -----------------------------------------------------------------


@pytest.fixture(scope="module")
def types() -> Types:
    return Types((REPOSITORY / "js/src/design.ts").read_text(encoding="utf-8"))


def test_both_sides_have_the_same_names(types):
    assert tuple(types.lists["DESIGN_OPS"]) == DESIGN_OPS
    assert set(types.by("DesignEdit", "op")) == set(DESIGN_OPS)
    handled = {
        name.removeprefix("_apply_") for name in dir(SchemaDesigner) if name.startswith("_apply_")
    }
    assert handled == set(DESIGN_OPS)
    own = {
        name
        for name in SchemaDesigner.class_traits(sync=True)
        if name not in ipywidgets.DOMWidget.class_trait_names(sync=True) and name[0] != "_"
    }
    assert own == set(types.lists["DESIGN_TRAITS"]) == set(types.types["DesignTraits"][1])


def test_both_sides_take_the_same_length_of_text():
    source = (REPOSITORY / "js/src/design.ts").read_text(encoding="utf-8")
    assert f"MAX_TEXT = {MAX_TEXT:_};" in source


def test_what_python_sends_is_what_typescript_expects(types, face):
    def check(value: Any, kind: str) -> None:
        assert types.problems(value, ("name", kind), kind) == []

    check(face.design, "Design")
    face.do("pair", left="b", right="c")
    face.do("crop", id="a", box=[0, 0, 9, 9])
    face.type("a, a")
    check(face.design, "Design")
    check(face.designer.sheet, "Sheet")
    for one in face.designer.references:
        check(one, "Reference")
    face.do("try")
    state = face.designer.get_state()
    assert state["trial"] == f"IPY_MODEL_{face.designer.trial.model_id}"


def test_every_edit_as_typescript_types_it_is_taken(types, face):
    examples = {
        "id": "a",
        "name": "other",
        "x": 1.5,
        "y": 2.5,
        "to": 1,
        "color": "#aabbcc",
        "text": "some text",
        "box": [1.0, 2.0, 30.0, 40.0],
        "a": "b",
        "b": "c",
        "left": "b",
        "right": "c",
        "choice": None,
        "burst": "x",
    }
    for op, fields in types.by("DesignEdit", "op").items():
        edit = {name: examples[name] for name in fields if name != "op"} | {"op": op}
        assert types.problems(edit, ("object", fields), op) == []
        if op == "remove":
            continue  # by itself below: the others need the keypoint
        face.do(**(edit | {"id": "new", "name": "new"} if op == "add" else edit))
    assert face.said == []
    face.do("remove", id="new")
    assert face.said == ["This keypoint has been removed meanwhile."]  # the text made others


def test_the_key_table_of_the_docs_is_that_of_the_code():
    source = (REPOSITORY / "js/src/designer.ts").read_text(encoding="utf-8")
    start = source.index("DESIGN_KEYS: readonly DesignKey[] = [")
    table = source[start : source.index("\n];", start)]
    text = r'"((?:[^"\\]|\\.)*)"'
    in_code = re.findall(rf"keys:\s*{text},\s*does:\s*{text}", table)
    assert len(in_code) == len(re.findall(r"\bkeys:", table)) > 15
    page = (REPOSITORY / "docs/designer.md").read_text(encoding="utf-8")
    part = page[page.index("<!-- keys") : page.index("<!-- end of keys -->")]
    lines = [one for one in part.splitlines() if one.startswith("|")]
    in_docs = [tuple(cell.strip() for cell in one.strip("|").split("|")) for one in lines[2:]]
    assert in_docs == in_code


# --- the guide of the annotator -------------------------------------------------------------------


def test_an_annotator_knows_what_is_said_of_its_keypoints(face):
    face.do("define", id="a", text="the tip")
    face.do("crop", id="c", box=[0, 0, 9, 9])
    face.do("try")
    picture = face.metadata["references"]["right_eye"]
    assert face.designer.trial.categories[0]["guides"] == [
        {"keypoint": "nose", "definition": "the tip", "picture": ""},
        {"keypoint": "right_eye", "definition": "", "picture": picture},
    ]


def test_definitions_and_pictures_go_through_a_labels_file(face, tmp_path):
    from kpwidget import read, write

    face.do("define", id="a", text="the tip")
    face.do("crop", id="c", box=[0, 0, 9, 9])
    dataset = Dataset.from_images({"a.png": np.zeros((9, 9))}, face.designer.schema)
    write(dataset, tmp_path / "labels.json", format="coco")
    again = read(tmp_path / "labels.json").categories[0].schema
    assert again == face.designer.schema
    np.testing.assert_array_equal(again.layout, face.designer.schema.layout)


def test_a_name_that_the_metadata_has_not_is_kept() -> None:
    schema = Schema.from_metadata({"keypoints": ["nose", "chin"]}, name="cat")
    designer = SchemaDesigner(schema=schema)
    assert designer.schema.name == "cat"
    assert designer.metadata["name"] == "cat"
    designer.close()
