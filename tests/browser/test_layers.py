"""The traps of ipycanvas: each is set off here, and the annotator goes on drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from kpwidget.schema import Schema

from .conftest import OpenNotebook
from .labeling import (
    DOTS,
    POINTS,
    add_probe,
    click_all,
    grid,
    ink_colors,
    leave,
    painted_colors,
    rgba,
    wait_painted,
    wait_ready,
)
from .notebook import App, Notebook
from .stage import Stage

pytestmark = pytest.mark.timeout(300)

COLORS = [rgba(color) for color in Schema("dots", [f"p{i}" for i in range(1, 18)]).colors]
MAKE = DOTS + "ds = dataset()\na = kp.Annotator(ds)\na"

# A canvas of somebody else on the same page; a negative radius is what ipycanvas cannot stand.
OTHER = """
from ipycanvas import Canvas
other = Canvas(width=60, height=40)
other.fill_style = "#ff0000"
other.fill_rect(0, 0, 60, 40)
other
"""
BAD_COMMAND = "other.fill_circle(20, 20, -5)"

# A lossless picture in which every pixel differs from its neighbours.
NOISE = """
import numpy as np, kpwidget as kp
noise = np.random.default_rng(7).integers(0, 256, (60, 80, 3), dtype=np.uint8)
small = kp.Dataset.from_images({"noise.png": noise}, schema=kp.schemas.get("four_point"))
b = kp.Annotator(small, height=300)
b
"""

_OTHER_PIXEL = """(x) => [...document.querySelector('.jp-OutputArea canvas:not(.kpwidget-stage *)')
  .getContext('2d').getImageData(x, 20, 1, 1).data]"""


def other_pixel(nb: Notebook, x: int) -> list[int]:
    found: list[int] = nb.page.evaluate(_OTHER_PIXEL, x)
    return found


def place_and_see(stage: Stage, xy: tuple[float, float], k: int) -> tuple[float, float]:
    """Click; what Python then paints there is the colour of keypoint `k`."""
    clicked = stage.click_image(*xy)
    stage.wait_settled()
    leave(stage)
    wait_painted(stage, [clicked])
    assert painted_colors(stage, [clicked]) == [COLORS[k]]
    return clicked


def wait_colors(
    stage: Stage, points: Sequence[Sequence[float]], colors: Sequence[tuple[int, ...]]
) -> None:
    """Wait until Python's painting has these colours at image points.

    Between a resize and the painting that follows, what was there before may be seen for a while.
    """
    add_probe(stage)
    stage.wait_until(
        """(root, [points, colors]) =>
          JSON.stringify(kpProbe.painted(root, points)) === JSON.stringify(colors)""",
        [[list(point) for point in points], [list(color) for color in colors]],
    )


def test_traps_of_one_page(notebook: OpenNotebook) -> None:
    nb = notebook([MAKE, OTHER, NOISE])
    nb.run(0)
    nb.run(1)
    stage = nb.widget()
    wait_ready(stage)
    first = place_and_see(stage, (60, 60), 0)

    # A bad command of another canvas ends its drawing, and that of every canvas that shares its
    # manager, for good. Ours has its own.
    nb.page.wait_for_function(f"({_OTHER_PIXEL})(5)[0] === 255")
    nb.kernel_exec(BAD_COMMAND)
    nb.kernel_exec("other.fill_style = '#00ff00'; other.fill_rect(0, 0, 60, 40)")
    second = place_and_see(stage, (120, 60), 1)
    assert other_pixel(nb, 5) == [255, 0, 0, 255], "ipycanvas has changed: the trap is gone"
    stage.scroll_into_view()

    # An exception inside a batch: nothing of it is sent, and the next batch starts clean.
    nb.kernel_exec(
        "try:\n"
        "    with ds.lock, a._painter.batch(a._paint):\n"
        "        a._painter.clear('active')\n"
        "        raise RuntimeError('in the middle')\n"
        "except RuntimeError: pass\n"
    )
    assert nb.kernel_eval(
        "[a._painter._manager._caching, a._painter._manager._commands_cache]"
    ) == [False, []]
    assert painted_colors(stage, [first, second]) == COLORS[:2]
    third = place_and_see(stage, (180, 60), 2)

    # One in the painter's own work: the person is told, no point is lost, drawing goes on.
    nb.kernel_exec(
        "good = type(a)._draw\n"
        "def bad(self, *args):\n"
        "    type(a)._draw = good\n"
        "    raise RuntimeError('the painter stumbled')\n"
        "type(a)._draw = bad\n"
    )
    fourth = stage.click_image(240, 60)
    expect(stage.output.locator(".kpwidget-notice")).to_contain_text("the painter stumbled")
    stage.wait_settled()
    leave(stage)
    stage.wait_frames()
    shown = [first, second, third, fourth]
    inked, painted = ink_colors(stage, shown), painted_colors(stage, shown)
    seen = [i if i[3] else p for i, p in zip(inked, painted, strict=True)]
    assert seen == COLORS[:4]
    fifth = place_and_see(stage, (300, 60), 4)
    assert painted_colors(stage, [*shown, fifth]) == COLORS[:5]

    # Values that ipycanvas would choke on do not get that far.
    for bad in ("float('nan')", "float('inf')", "-1.0", "0.0"):
        nb.kernel_exec(
            "try:\n"
            "    with ds.lock, a._painter.batch(a._paint):\n"
            f"        a._painter.paint_picture('image', 0, 0, {bad}, 10.0, smooth=True)\n"
            "except ValueError: refused = True\n"
            "else: refused = False\n"
        )
        assert nb.kernel_eval("refused"), bad

    # None of the canvases takes the focus or a key.
    add_probe(stage)
    assert (
        stage.root.evaluate("(root) => [...root.querySelectorAll('canvas')].map((c) => c.tabIndex)")
        == [-1] * 5
    )
    stage.focus()
    nb.press("Tab")
    assert nb.page.evaluate("document.activeElement.tagName") != "CANVAS"

    # A resize wipes a layer: it is painted again at once.
    width = stage.ink_box.width
    nb.resize(1700, 900)
    stage.wait_until("(root, width) => root.clientWidth > width + 100", width)
    wait_colors(stage, [*shown, fifth], COLORS[:5])
    nb.resize(1280, 900)
    stage.wait_until("(root, width) => root.clientWidth < width + 10", width)
    wait_colors(stage, [*shown, fifth], COLORS[:5])

    # A picture is painted as it is: put_image_data would have made a JPEG of it.
    nb.run(2)
    other = nb.widget(1)
    wait_ready(other)
    pixels = other.root.evaluate(
        "(root) => [...root.querySelector('canvas').getContext('2d')"
        ".getImageData(0, 0, 80, 60).data]"
    )
    came = np.array(pixels, np.uint8).reshape(60, 80, 4)[..., :3]
    assert came.tolist() == nb.kernel_eval("noise")


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_reload_redraws_every_layer(notebook: OpenNotebook, app: App) -> None:
    """After a reload ipycanvas' Python side believes that the page still has its canvas."""
    nb = notebook([MAKE], app=app, fresh=True)
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    clicked = click_all(stage, grid(20))
    stage.wait_settled()
    leave(stage)
    wait_painted(stage, clicked)
    nb.reload()
    stage = nb.widget()
    wait_ready(stage)
    wait_painted(stage, clicked)
    assert painted_colors(stage, clicked) == [COLORS[i % 17] for i in range(20)]
    assert stage.pixel(30, 30, ink=False) == (120, 120, 120)
    more: Any = stage.click_image(560, 400)
    stage.wait_settled()
    assert nb.kernel_eval(POINTS)[-1] == pytest.approx(more, abs=0.01)
