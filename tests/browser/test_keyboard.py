"""Keys: the annotator takes its own while it has the focus, and the notebook keeps all others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from .conftest import OpenNotebook
from .labeling import DOTS, POINTS, leave, wait_ready
from .notebook import App, Notebook
from .server import JupyterServer
from .stage import Stage

pytestmark = pytest.mark.timeout(300)

MAKE = (
    DOTS
    + """
import pathlib, tempfile
labels = pathlib.Path(tempfile.mkdtemp()) / "labels.json"
ds = dataset(3)
ds.save(labels)
a = kp.Annotator(ds, height=500)
a
"""
)

_NOTEBOOK = """(p) => {
  const panel = window.kpTest.panel(p);
  return {
    cells: panel.content.widgets.length,
    active: panel.content.activeCellIndex,
    mode: panel.content.mode,
    sources: panel.content.widgets.map((c) => c.model.sharedModel.getSource()),
    types: panel.content.widgets.map((c) => c.model.type),
    counts: panel.content.widgets.map((c) => c.model.executionCount ?? null),
    dialogs: document.querySelectorAll('.jp-Dialog').length,
    menus: document.querySelectorAll('.lm-Menu').length,
    palette: Boolean(document.querySelector('.lm-CommandPalette:focus-within')),
  };
}"""

#: What would delete, insert, cut, paste, undo, change, move or run a cell, or restart the kernel.
NOTEBOOK_KEYS = [
    "Space",  # before the arrows: at their cross it would place a point
    *("d", "d", "z", "a", "b", "Escape", "x", "c", "m", "y", "r", "o", "l", "Shift+m", "k", "j"),
    *("Enter", "Shift+Enter", "Control+Enter", "Alt+Enter", "i", "i", "1", "2", "3", "4", "0", "0"),
    *("ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Shift+ArrowUp", "Shift+ArrowDown"),
    *("PageUp", "PageDown", "Control+a", "Control+z", "Control+Shift+z"),
]


@pytest.fixture
def no_autosave(jupyter: JupyterServer) -> Iterator[None]:
    """Only a key saves the notebook."""
    plugin = "@jupyterlab/docmanager-extension:plugin"
    jupyter.set_setting(plugin, {"autosave": False})
    yield
    jupyter.set_setting(plugin, {})


def notebook_state(nb: Notebook) -> dict[str, Any]:
    found: dict[str, Any] = nb.page.evaluate(_NOTEBOOK, nb.path)
    return found


def saved_at(nb: Notebook) -> float:
    return (nb.server.root / nb.path).stat().st_mtime_ns


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_keys_neither_leak_nor_are_swallowed(
    notebook: OpenNotebook, no_autosave: None, app: App
) -> None:
    nb = notebook(["marker = 'first'", MAKE, "marker = 'last'"], app=app, height=700)
    nb.run_all()
    stage = nb.widget()
    wait_ready(stage)

    keys_stay_in_the_stage(nb, stage)
    saving_is_of_what_has_the_focus(nb, stage)
    tab_goes_on(nb, stage)
    wheel_scrolls_or_zooms(nb, stage)
    typing_in_the_jump_box_is_typing(nb, stage)
    notebook_keeps_its_keys(nb, stage)


def keys_stay_in_the_stage(nb: Notebook, stage: Stage) -> None:
    clicked = stage.click_image(200, 200)
    stage.wait_settled()
    leave(stage)
    before = notebook_state(nb)
    assert before["active"] == 1
    top = stage.ink_box.top
    for key in NOTEBOOK_KEYS:
        if not stage.has_focus:
            stage.focus()
        stage.press(key)
    stage.wait_settled()
    assert notebook_state(nb) == before
    assert stage.ink_box.top == top, "a key scrolled the notebook"
    assert nb.kernel_eval("marker") == "last"
    assert nb.kernel_eval(POINTS) == [pytest.approx(clicked, abs=0.01)]
    # And those of ours did what they are for.
    assert nb.kernel_eval("[s for s in seen if 'done' in s[1]]") == [
        ["edit", "image done"],
        ["edit", "image not done"],
    ]
    # Done and not done in between has not ended the instance: Enter has.
    assert nb.kernel_eval("[s for s in seen if 'finish' in s[1]]") == [
        [kind, "finish instance"] for kind in ("edit", "undo", "redo")
    ]


def saving_is_of_what_has_the_focus(nb: Notebook, stage: Stage) -> None:
    stage.focus()
    clicked = stage.click_image(240, 200)
    stage.wait_settled()
    saved = stage.output.locator(".kpwidget-saved")
    expect(saved).to_have_attribute("data-state", "changed")
    before = saved_at(nb)
    stage.press("Control+s")
    stage.wait_settled()
    expect(saved).to_have_attribute("data-state", "saved")
    points = json.loads(nb.kernel_eval("labels.read_text()"))["annotations"][-1]["keypoints"]
    assert points[:2] == pytest.approx(clicked, abs=0.01)
    assert saved_at(nb) == before, "Ctrl+S in the stage saved the notebook"
    assert nb.page.evaluate("(p) => kpTest.panel(p).context.model.dirty", nb.path) is True

    for _ in range(3):
        nb.press("Escape")
    assert not stage.has_focus
    text = nb.kernel_eval("labels.read_text()")
    nb.press("Control+s")
    nb.page.wait_for_function("(p) => !kpTest.panel(p).context.model.dirty", arg=nb.path)
    assert saved_at(nb) > before
    assert nb.kernel_eval("labels.read_text()") == text


def tab_goes_on(nb: Notebook, stage: Stage) -> None:
    in_root = "(root) => root.contains(document.activeElement)"
    stage.focus()
    assert stage.root.evaluate("(root) => document.activeElement === root")
    nb.press("Tab")
    assert not stage.root.evaluate(in_root)
    assert nb.page.evaluate("document.activeElement.closest('.kpwidget') !== null")
    nb.press("Shift+Tab")
    assert stage.root.evaluate("(root) => document.activeElement === root")
    nb.press("Shift+Tab")
    assert not stage.root.evaluate(in_root)


def wheel_scrolls_or_zooms(nb: Notebook, stage: Stage) -> None:
    for _ in range(3):
        nb.press("Escape")
    stage.root.evaluate("(root) => root.blur()")
    stage.scroll_into_view()
    view, top = stage.viewport, stage.ink_box.top
    stage.wheel(320, 240, 60)
    stage.wait_until("(root, top) => root.getBoundingClientRect().top < top - 20", top)
    assert stage.viewport == view
    # With Ctrl it zooms without the focus; the page stays.
    stage.scroll_into_view()
    top = stage.ink_box.top
    stage.wheel(320, 240, -100, ctrl=True)
    stage.wait_until("(root, scale) => Number(root.dataset.scale) > scale", view.scale)
    zoomed = stage.viewport
    assert stage.ink_box.top == top
    # With the focus it zooms and the page stays.
    stage.focus()
    stage.wheel(320, 240, -100)
    stage.wait_until("(root, scale) => Number(root.dataset.scale) > scale", zoomed.scale)
    stage.wait_frames()
    assert stage.ink_box.top == top
    stage.press("f")
    leave(stage)


def typing_in_the_jump_box_is_typing(nb: Notebook, stage: Stage) -> None:
    before = notebook_state(nb)
    n = nb.kernel_eval("len(seen)")
    jump = stage.output.get_by_role("textbox")
    jump.click()
    jump.press("Control+a")
    # Every letter of this is a shortcut of ours or of the notebook.
    jump.press_sequentially("ddnbuaz")
    assert jump.input_value() == "ddnbuaz"
    jump.press("ArrowLeft")
    jump.press("Backspace")
    assert jump.input_value() == "ddnbuz"
    jump.press("Control+z")
    jump.press("Escape")
    stage.wait_settled()
    assert stage.image == "grey_0.png"
    assert nb.kernel_eval("[a.image.index, len(seen)]") == [0, n]
    assert notebook_state(nb) == before
    jump.click()
    jump.fill("grey_2")
    jump.press("Enter")
    stage.wait_data("image", "grey_2.png")
    assert nb.kernel_eval("a.image.index") == 2
    assert notebook_state(nb) == before
    jump.click()
    jump.fill("1")
    jump.press("Enter")
    stage.wait_data("image", "grey_0.png")


def notebook_keeps_its_keys(nb: Notebook, stage: Stage) -> None:
    """With the focus in the notebook its keys are its own, and none reaches the annotator."""
    n = nb.kernel_eval("len(seen)")
    last = nb.page.locator(".jp-Notebook .jp-Cell").nth(2)
    last.locator(".cm-content").click()
    assert notebook_state(nb)["mode"] == "edit"
    nb.press("Control+End")
    nb.page.keyboard.type("  # dsnbv")
    assert nb.sources()[2] == "marker = 'last'  # dsnbv"
    nb.press("Escape")
    nb.press("b")
    nb.page.wait_for_function("(p) => kpTest.panel(p).content.widgets.length === 4", arg=nb.path)
    nb.press("d")
    nb.press("d")
    nb.page.wait_for_function("(p) => kpTest.panel(p).content.widgets.length === 3", arg=nb.path)
    assert nb.kernel_eval("len(seen)") == n
    assert stage.image == "grey_0.png"
