"""A kernel that dies: the widget says so, keeps what is clicked, and runs again with the cell."""

from __future__ import annotations

import os
import signal

import pytest
from playwright.sync_api import expect

from kpwidget.schema import Schema

from .conftest import OpenNotebook
from .labeling import DOTS, POINTS, click_all, ink_colors, leave, rgba, wait_painted, wait_ready

pytestmark = pytest.mark.timeout(300)

COLORS = [rgba(color) for color in Schema("dots", [f"p{i}" for i in range(1, 18)]).colors]
MAKE = DOTS + "ds = dataset()\na = kp.Annotator(ds, height=400)\na"


def test_kernel_is_killed_and_the_cell_run_again(notebook: OpenNotebook) -> None:
    nb = notebook([MAKE])
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    before = click_all(stage, [(100, 100), (140, 100), (180, 100)])
    stage.wait_settled()

    os.kill(nb.kernel_eval("__import__('os').getpid()"), signal.SIGKILL)
    # JupyterLab says that it died, and the server starts another one.
    dialog = nb.page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("appears to have died")
    dialog.get_by_role("button", name="Ok").click()
    expect(dialog).to_have_count(0)
    nb.wait_ready()
    nb.kernel.forget_subshell()
    saved = stage.output.locator(".kpwidget-saved")
    expect(saved).to_have_attribute("data-state", "gone")
    expect(saved).to_contain_text("kernel gone")

    # It does not pretend to be dead: what is clicked shows, and waits.
    after = click_all(stage, [(220, 100), (260, 100)])
    leave(stage)
    stage.wait_frames()
    assert stage.pending == 2
    assert stage.next_keypoint == "p6"
    assert ink_colors(stage, after) == COLORS[3:5]
    stage.focus()
    for key in ("n", "d", "Control+z", "s", "h", "h"):
        stage.press(key)
    stage.wheel(300, 200, -100)
    assert not [line for line in nb.console if line.startswith("uncaught")]

    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    # Another dataset: edits of the old one are not put into it.
    assert (stage.next_keypoint, stage.pending) == ("p1", 0)
    again = click_all(stage, before)
    stage.wait_settled()
    leave(stage)
    wait_painted(stage, again)
    assert nb.kernel_eval(POINTS) == [pytest.approx(xy, abs=0.01) for xy in again]
    expect(stage.output.locator(".kpwidget-saved")).to_have_attribute("data-state", "memory")
    assert not [line for line in nb.console if line.startswith("uncaught")]
