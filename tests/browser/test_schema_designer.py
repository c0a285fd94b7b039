"""The schema designer as a person uses it: draw five points, use them, type what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import OpenNotebook
from .labeling import wait_ready
from .notebook import App, Notebook
from .stage import Stage

pytestmark = pytest.mark.timeout(300)

DESIGN = """
import numpy as np, kpwidget as kp
grey = np.full((300, 400, 3), 120, np.uint8)
d = kp.SchemaDesigner(grey, height=360)
d
"""
HACK = "<img src=x onerror=window.hacked=1>"
POINTS = {"nose": (200, 60), "left_ear": (280, 90), HACK: (120, 90), "neck": (200, 160)}


class Sheet:
    """The designer in a page, in image pixels."""

    def __init__(self, page: Page, output: Locator) -> None:
        self.page = page
        self.frame = output.locator(".kpwidget-designer")
        self.root = output.locator(".kpwidget-sheet")
        self.pane = output.get_by_label("Metadata: type or paste")
        expect(self.root).to_be_visible()

    def at(self, x: float, y: float) -> tuple[float, float]:
        self.root.scroll_into_view_if_needed()
        left, top, tx, ty, scale = self.root.evaluate(
            """(root) => {
              const box = root.getBoundingClientRect();
              const d = root.dataset;
              return [box.left, box.top, Number(d.tx), Number(d.ty), Number(d.scale)];
            }"""
        )
        return left + tx + scale * x, top + ty + scale * y

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.at(x, y))

    def add(self, name: str, x: float, y: float) -> None:
        self.click(x, y)
        expect(self.frame.get_by_label("Name of the keypoint")).to_be_focused()
        self.page.keyboard.type(name)
        self.page.keyboard.press("Enter")
        expect(self.root).to_be_focused()

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at((start[0] + end[0]) / 2, (start[1] + end[1]) / 2))
        self.page.mouse.move(*self.at(*end))
        self.page.mouse.up()

    def settled(self) -> None:
        expect(self.frame).to_have_attribute("data-pending", "0")

    def row(self, name: str) -> Locator:
        return self.frame.locator(f".kpwidget-list [data-keypoint={json.dumps(name)}]")


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_schema_is_drawn_from_nothing_and_used_and_wrong_text_is_told_where_it_is(
    notebook: OpenNotebook, app: App
) -> None:
    nb = notebook([DESIGN, "d = kp.SchemaDesigner(grey, height=360)\nd"], app=app, height=1000)
    _draw_and_use(nb)
    _type_what_is_wrong(nb)


def _draw_and_use(nb: Notebook) -> None:
    """Five points and edges, then one whole label with them and one that is begun."""
    nb.run(0)
    page, output = nb.page, nb.output(0)
    sheet = Sheet(page, output)

    # Four by mouse, the fifth by keys alone: added in the middle, moved, named.
    for name, (x, y) in POINTS.items():
        sheet.add(name, x, y)
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    for _ in range(4):
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("F2")
    page.keyboard.type("neck")
    expect(output.get_by_text("Keypoint 4 has this name")).to_be_visible()
    page.keyboard.press("Enter")
    expect(output.get_by_label("Name of the keypoint")).to_be_focused()
    page.keyboard.type("_end")
    page.keyboard.press("Enter")

    # Edges: two with the tool, one with Alt. Names are text, whatever is in them.
    page.keyboard.press("e")
    sheet.drag(POINTS["nose"], POINTS["left_ear"])
    sheet.drag(POINTS[HACK], POINTS["nose"])
    page.keyboard.press("e")
    page.keyboard.down("Alt")
    sheet.drag(POINTS["nose"], POINTS["neck"])
    page.keyboard.up("Alt")
    # One edge too many: clicked and deleted.
    sheet.click(240, 75)
    expect(sheet.frame).to_have_attribute("data-selected-edge", "nose – left_ear")
    page.keyboard.press("Delete")
    assert page.evaluate("window.hacked") is None

    # Rename, pair, order, define, crop, colour, title.
    sheet.row(HACK).dblclick()
    page.keyboard.type("right_ear")
    page.keyboard.press("Enter")
    sheet.row("left_ear").click()
    output.get_by_label("Keypoint on the other side").select_option("right_ear")
    output.get_by_label("Definition").fill("the tip")
    output.get_by_label("Colour").fill("#102030")
    output.get_by_role("button", name="Crop", exact=True).click()
    sheet.drag((260, 70), (300, 110))
    sheet.row("neck").focus()
    page.keyboard.press("Alt+ArrowUp")
    grip = sheet.row("neck_end").locator(".kpwidget-grip").bounding_box()
    top = sheet.row("nose").bounding_box()
    assert grip
    assert top
    page.mouse.move(grip["x"] + 8, grip["y"] + 12)
    page.mouse.down()
    page.mouse.move(grip["x"] + 8, top["y"] + 30)
    page.mouse.move(grip["x"] + 8, top["y"] + 4)
    page.mouse.up()
    output.get_by_label("Name of the schema").fill("head")
    output.get_by_label("Name of the schema").press("Enter")
    sheet.drag(POINTS["nose"], (210, 50))
    sheet.settled()

    metadata: Any = nb.kernel_eval("d.metadata")
    names = ["neck_end", "nose", "left_ear", "neck", "right_ear"]
    assert metadata["name"] == "head"
    assert metadata["keypoints"] == names
    edges = [[names[a - 1], names[b - 1]] for a, b in metadata["skeleton"]]
    assert edges == [["right_ear", "nose"], ["nose", "neck"]]
    assert metadata["flip_pairs"] == [["left_ear", "right_ear"]]
    assert metadata["definitions"] == {"left_ear": "the tip"}
    assert metadata["colors"][2] == "#102030"
    assert list(metadata["references"]) == ["left_ear"]
    # A click is on a whole CSS px.
    places = dict(nb.kernel_eval("[(p['name'], (p['x'], p['y'])) for p in d.design['points']]"))
    assert places["nose"] == pytest.approx((210, 50), abs=1)
    assert places["neck_end"] == pytest.approx((200, 190), abs=1e-9)
    # Undo takes the move back, and redo does it again.
    sheet.root.focus()
    page.keyboard.press("Control+z")
    nb.wait_python("abs(d.design['points'][1]['x'] - 200) < 1")
    page.keyboard.press("Control+Shift+z")
    nb.wait_python("abs(d.design['points'][1]['x'] - 210) < 1")

    # Used at once: two labels, with the guide.
    output.get_by_role("button", name="Try it").click()
    stage: Stage = nb.widget()
    wait_ready(stage)
    stage.scroll_into_view()
    for k, name in enumerate(names):
        stage.wait_next(name)
        stage.click_image(100 + 40 * k, 150)
    for k, name in enumerate(names[:2]):
        stage.wait_next(name)
        stage.click_image(100 + 40 * k, 250)
    stage.press("i")
    guide = output.locator(".kpwidget-guide")
    expect(guide).to_contain_text("the tip")
    expect(guide.locator("img")).to_have_js_property("complete", True)
    assert guide.locator("img").evaluate("(img) => img.naturalWidth") > 8
    stage.wait_settled()
    labels = nb.kernel_eval("[i.keypoints.tolist() for i in d.dataset.instances]")
    expected = [[[100 + 40 * k, 150, 2] for k in range(5)], [[100, 250, 2], [140, 250, 2]]]
    assert len(labels) == 2
    for label, places in zip(labels, expected, strict=True):
        for point, place in zip(label, places, strict=False):
            assert point == pytest.approx(place, abs=1)
    assert [point[2] for point in labels[1][2:]] == [0, 0, 0]
    assert nb.kernel_eval("d.dataset.categories[0].schema == d.schema")
    # Esc, as often as there is something to leave, gives the keys back to the notebook.
    sheet.root.focus()
    for _ in range(3):
        page.keyboard.press("Escape")
    expect(sheet.root).not_to_be_focused()


def _cvat(svg: str) -> str:
    return json.dumps([{"name": "x", "type": "skeleton", "svg": svg}])


#: A text, what is marked in it, and line, column and words of the problem.
WRONG: list[tuple[str, str, int, int, str]] = [
    ('{"keypoints": ["a",\n "b"', "", 2, 5, "not JSON"),
    ('{"keypoints": ["a"],\n "keypoints": []}', '"', 2, 2, "given twice"),
    ('{"skeleton": []}', '{"skeleton": []}', 1, 1, "'keypoints' is missing"),
    ('{"keypoints": ["a",\n "a"]}', '"a"', 2, 2, "already that of keypoints[0]"),
    ('{"keypoints": ["a"],\n"skeleton": [[1, 2]]}', "[1, 2]", 2, 14, "2 outside 1..1"),
    ('{"keypoints": ["a"], "colors": ["red"]}', '"red"', 1, 33, "'#rrggbb'"),
    ('{"keypoints": ["a"], "definitions": {"b": "x"}}', '"x"', 1, 43, "no keypoint is named 'b'"),
    (f"nose\n{HACK}", "<", 2, 1, "in a list of names"),
    ("nose, nose", "nose", 1, 7, "stands here again"),
    (_cvat("<circle"), "", 1, 51, "svg: not XML"),
    (_cvat("<circle/>"), '"<circle/>"', 1, 43, "expected data-label-name"),
    ("3.5]", "]", 1, 4, "in a list of names"),
    (" ", "", 1, 1, "empty"),
]


#: The problem at a place, once it is listed; then it is clicked, which selects its place.
_SHOWN = """([line, column, words]) => {
  const frame = [...document.querySelectorAll('.kpwidget-designer')].at(-1);
  const found = frame.querySelector(
    `.kpwidget-problem[data-line="${line}"][data-column="${column}"]`);
  if (!found || !found.textContent.includes(words)) return null;
  const pane = frame.querySelector('.kpwidget-text');
  found.click();
  const mark = frame.querySelector('.kpwidget-marks mark');
  return { text: pane.value, state: pane.dataset.state, selected: pane.selectionStart,
           mark: mark ? mark.textContent : null };
}"""


def _type_what_is_wrong(nb: Notebook) -> None:
    """Every kind of problem is shown at its place in the text; nothing that is typed is lost."""
    nb.run(1)
    sheet = Sheet(nb.page, nb.output(1))
    sheet.pane.fill('{"keypoints": ["top", "tip"], "skeleton": [[1, 2]], "id": 7}')
    expect(sheet.pane).to_have_attribute("data-state", "good")
    nb.wait_python("d.schema is not None")
    before = nb.kernel_eval("d.metadata")
    for text, marked, line, column, words in WRONG:
        sheet.pane.fill(text)
        found = nb.page.wait_for_function(_SHOWN, arg=[line, column, words]).json_value()
        assert found["text"] == text
        assert found["state"] == "wrong"
        if marked:
            assert found["mark"] == marked
        assert text[: found["selected"]].count("\n") == line - 1
    assert nb.kernel_eval("d.metadata") == before
    assert nb.page.evaluate("window.hacked") is None

    # Wrong text stays while the drawing changes; back to the drawing gives it up.
    sheet.add("third", 30, 30)
    sheet.settled()
    expect(sheet.pane).to_have_value(" ")
    nb.output(1).get_by_role("button", name="Back to the drawing").click()
    expect(sheet.pane).to_have_attribute("data-state", "good")
    assert json.loads(sheet.pane.input_value()) == nb.kernel_eval("d.metadata")

    # Of two categories one is chosen.
    sheet.pane.fill('[{"name": "a", "keypoints": ["x"]}, {"name": "b", "keypoints": ["y"]}]')
    expect(sheet.pane).to_have_attribute("data-state", "choose")
    nb.output(1).get_by_label("Which category").select_option("b")
    nb.wait_python("d.schema.keypoints == ('y',)")
    expect(sheet.pane).to_have_value('{\n  "name": "b",\n  "keypoints": ["y"]\n}')
    # All of it is undone, step by step, to the empty sheet.
    undo = nb.output(1).get_by_role("button", name="Undo")
    while nb.kernel_eval("d.design['undo']"):
        undo.click()
        sheet.settled()
    assert nb.kernel_eval("d.schema") is None
