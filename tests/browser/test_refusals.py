"""What goes wrong is told in the widget, and costs no point that was placed."""

from __future__ import annotations

import textwrap

import pytest
from playwright.sync_api import expect

from .conftest import OpenNotebook
from .labeling import DOTS, POINTS, Hold, click_all, held, leave, wait_painted, wait_ready
from .server import JupyterServer

pytestmark = pytest.mark.timeout(300)

MAKE = DOTS + "ds = dataset()\na = kp.Annotator(ds, height=400)\na"


def test_failures_are_told_and_lose_no_point(
    notebook: OpenNotebook, jupyter: JupyterServer
) -> None:
    hold = Hold(jupyter.root, with_lock=True)
    # The instance is gone, but with the lock held nobody can tell the browser.
    cell = "with ds.lock:\n    ds.instances[0].remove()\n" + textwrap.indent(hold.cell, "    ")
    nb = notebook([MAKE, cell])
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    notices = stage.output.locator(".kpwidget-notice")

    # A callback of the user that raises, and one behind it that is still called.
    nb.kernel_exec(
        "def stumble(change): raise ZeroDivisionError('in my callback')\n"
        "called = []\n"
        "stop = ds.on_change(stumble)\n"
        "ds.on_change(lambda change: called.append(change.label))\n"
    )
    points = click_all(stage, [(100, 300), (140, 300)])
    expect(notices).to_contain_text("in my callback")
    stage.wait_settled()
    assert nb.kernel_eval(POINTS) == [pytest.approx(xy, abs=0.01) for xy in points]
    assert nb.kernel_eval("called") == ["place p1", "place p2"]
    notices.get_by_role("button", name="Dismiss").click()
    expect(notices).to_have_count(0)
    nb.kernel_exec("stop()")

    # Messages that no view of ours would send.
    for number, message in enumerate(
        (
            {"kind": "edits", "client": "x", "base": 0, "edits": [{"seq": 1, "op": "nonsense"}]},
            {"kind": "edits", "client": "y", "base": 0, "edits": [{"seq": 1, "op": "point"}]},
            {"kind": "edits", "client": "z", "base": 0, "edits": "all"},
            {"kind": "viewport", "client": "z", "rev": 1, "viewport": [0, None, 1]},
            {"kind": "no such kind"},
            "no object",
        )
    ):
        nb.kernel_exec(f"a._receive(a, {message!r}, [])")
        more = stage.click_image(180 + 40 * number, 300)
        points.append(more)
        stage.wait_settled()
        assert nb.kernel_eval(POINTS)[-1] == pytest.approx(more, abs=0.01), message
    expect(notices.first).to_be_visible()
    leave(stage)
    wait_painted(stage, points)

    # Points of an instance that Python has removed meanwhile: refused, and the browser shows what
    # Python has; what comes after is placed as ever.
    for left in reversed(range(notices.count())):
        notices.first.get_by_role("button", name="Dismiss").click()
        expect(notices).to_have_count(left)
    with held(nb, hold, 1):
        click_all(stage, [(100, 400), (140, 400)])
        assert stage.pending == 2
    expect(notices).to_contain_text("removed meanwhile")
    stage.wait_settled()
    stage.wait_data("active-instance", "")
    assert nb.kernel_eval("len(ds.instances)") == 0
    assert stage.stack() == []
    assert stage.next_keypoint == "p1"
    after = click_all(stage, [(180, 400), (220, 400)])
    stage.wait_settled()
    leave(stage)
    wait_painted(stage, after)
    assert nb.kernel_eval(POINTS) == [pytest.approx(xy, abs=0.01) for xy in after]
    # And undo still works, on both sides.
    stage.press("Control+z")
    stage.wait_settled()
    assert nb.kernel_eval(POINTS) == [pytest.approx(after[0], abs=0.01)]
    assert not [line for line in nb.console if line.startswith("uncaught")]
    hold.close()
