"""A kernel that dies in the middle of an instance: with the journal nothing is lost."""

from __future__ import annotations

import os
import signal

import pytest
from playwright.sync_api import expect

from .conftest import OpenNotebook
from .labeling import DOTS, POINTS, click_all, leave, wait_painted, wait_ready
from .notebook import Notebook

pytestmark = pytest.mark.timeout(300)

# The tests' own environment switches the journal off; the folder is one of this notebook alone.
JOURNAL = """
import os, pathlib, tempfile
os.environ["KPWIDGET_JOURNAL"] = "on"
folder = pathlib.Path("journal of this test")
folder.mkdir(exist_ok=True)
os.chdir(folder)
"""
MAKE = JOURNAL + DOTS + "ds = dataset()\na = kp.Annotator(ds, height=400)\na"


def kill(nb: Notebook, pid: int | None = None) -> None:
    """Kill the kernel, `pid` if it is too busy to tell its own; the server starts another one."""
    os.kill(pid or nb.kernel_eval("__import__('os').getpid()"), signal.SIGKILL)
    dialog = nb.page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("appears to have died")
    dialog.get_by_role("button", name="Ok").click()
    expect(dialog).to_have_count(0)
    nb.wait_ready()
    nb.kernel.forget_subshell()


def test_everything_comes_back_and_what_was_clicked_meanwhile_too(notebook: OpenNotebook) -> None:
    nb = notebook([MAKE])
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    before = click_all(stage, [(100, 100), (140, 100), (180, 100)])
    stage.wait_settled()
    saved = stage.output.locator(".kpwidget-saved")
    expect(saved).to_have_attribute("data-state", "kept")
    instance = nb.kernel_eval("ds.instances[0].uid")

    kill(nb)
    expect(saved).to_have_attribute("data-state", "gone")
    after = click_all(stage, [(220, 100), (260, 100)])
    assert stage.pending == 2

    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    expect(nb.output(0)).to_contain_text("3 edits of 1 instance restored from")
    stage.wait_next("p6")
    assert stage.active_instance == instance
    stage.wait_settled()
    # Acknowledged ones from the journal, the others from the browser, each once and in order.
    expected = [pytest.approx(xy, abs=0.01) for xy in [*before, *after]]
    nb.wait_python(f"len({POINTS}) == 5")
    assert nb.kernel_eval(POINTS) == expected
    assert nb.kernel_eval("[i.uid for i in ds.instances]") == [instance]
    leave(stage)
    wait_painted(stage, [*before, *after])

    # Undo goes back over the restart, one step a click.
    stage.focus()
    for _ in range(5):
        stage.press("Control+z")
    stage.wait_settled()
    nb.wait_python("len(ds.instances) == 0")
    for _ in range(4):
        stage.press("Control+Shift+z")
    stage.wait_settled()
    nb.wait_python(f"len({POINTS}) == 4")
    assert nb.kernel_eval(POINTS) == expected[:4]
    assert not [line for line in nb.console if line.startswith("uncaught")]


def test_right_button_and_escape_leave_the_notebook_to_itself(notebook: OpenNotebook) -> None:
    nb = notebook([DOTS + "ds = dataset()\na = kp.Annotator(ds, height=400)\na", "1"])
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    stage.click_image(100, 100)
    stage.click_image(140, 100, button="right")
    stage.click_image(180, 100, button="right")
    stage.wait_settled()
    assert nb.page.locator(".lm-Menu").count() == 0
    assert nb.kernel_eval("ds.instances[0].keypoints[:3, 2].tolist()") == [2, 1, 1]
    for _ in range(3):
        if stage.has_focus:
            stage.press("Escape")
    assert not stage.has_focus
    # The keys are the notebook's again, without a click into it.
    n_cells = nb.cell_count()
    nb.press("b")
    nb.page.wait_for_function(
        "(n) => document.querySelectorAll('.jp-Notebook .jp-Cell').length === n", arg=n_cells + 1
    )
