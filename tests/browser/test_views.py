"""Several views of one annotator, and a page that is loaded anew: nothing lost, nothing doubled."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import expect

from kpwidget.schema import Schema

from .conftest import OpenNotebook
from .labeling import (
    DOTS,
    POINTS,
    Hold,
    click_all,
    held,
    leave,
    rgba,
    wait_painted,
    wait_ready,
)
from .notebook import App
from .proxy import Proxy
from .server import JupyterServer
from .stage import Stage

pytestmark = pytest.mark.timeout(300)

COLORS = [rgba(color) for color in Schema("dots", [f"p{i}" for i in range(1, 18)]).colors]
MAKE = DOTS + "ds = dataset()\na = kp.Annotator(ds, height=400)\na"

#: A red square of 20 x 20 image pixels whose top left corner is at (500, 100).
MARKED = (
    DOTS
    + """
picture = np.full((480, 640, 3), 120, np.uint8)
picture[100:120, 500:520] = (255, 0, 0)
ds = kp.Dataset.from_images({"marked.png": picture}, schema=plain)
ds.on_change(lambda change: seen.append((change.kind, change.label)))
a = kp.Annotator(ds, height=400)
a
"""
)
NARROW = "import ipywidgets\nipywidgets.HBox([a], layout=ipywidgets.Layout(width='620px'))"

#: Two categories and three images, to see that a reload brings back which ones were shown.
TWO = (
    DOTS
    + """
ds = dataset(3, [plain, kp.schemas.get("coco17")])
a = kp.Annotator(ds, height=400)
a
"""
)


def red_corner(stage: Stage) -> tuple[float, float]:
    """Image point of the red square's top left corner, found in the picture on the screen."""
    grab = stage.grab(ink=False)
    is_red = (grab.pixels[..., 0] > 200) & (grab.pixels[..., 1] < 80)
    rows, columns = np.nonzero(is_red)
    assert len(rows) > 50, "the red square is not to be seen"
    left = (columns.min() + grab.origin[0]) / grab.dpr
    top = (rows.min() + grab.origin[1]) / grab.dpr
    scale, tx, ty = grab.viewport
    return ((left - tx) / scale, (top - ty) / scale)


def same(first: Stage, second: Stage, next_keypoint: str) -> None:
    """Both views come to show the same next keypoint and active instance."""
    for stage in (first, second):
        stage.wait_next(next_keypoint)
        stage.wait_settled()
    second.wait_data("active-instance", first.active_instance or "")


def test_views_of_one_annotator(notebook: OpenNotebook, jupyter: JupyterServer) -> None:
    hold = Hold(jupyter.root, with_lock=True)
    nb = notebook([MARKED, "a", NARROW, hold.cell])
    for index in range(3):
        nb.run(index)
    first, second, narrow = (nb.widget(n) for n in range(3))
    for stage in (first, second, narrow):
        wait_ready(stage)
    assert narrow.ink_box.width < 0.8 * first.ink_box.width

    # Clicks in turn: each view knows what the other has done.
    clicked = []
    for k, stage in enumerate([first, second, second, first, narrow, first]):
        same(first, second, f"p{k + 1}")
        narrow.wait_next(f"p{k + 1}")
        clicked.append(stage.click_image(80 + 40 * k, 120))
        stage.wait_settled()
    same(first, second, "p7")
    assert nb.kernel_eval(POINTS) == [pytest.approx(xy, abs=0.01) for xy in clicked]
    # An edit by code in the middle of it shows, and leaves the cursor alone.
    active = first.active_instance
    nb.kernel_exec("other = ds.add_instance(0, keypoints=[(600, 400 + k, 2) for k in range(17)])")
    expect(first.output.locator(".kpwidget-stack [data-instance]")).to_have_count(2)
    same(first, second, "p7")
    assert first.active_instance == active
    nb.kernel_exec("other.remove()")
    expect(first.output.locator(".kpwidget-stack [data-instance]")).to_have_count(1)
    same(first, second, "p7")
    assert first.active_instance == active
    assert nb.kernel_eval("len(ds.instances)") == 1

    # The view used last leads, the others show the same part of the image, letterboxed.
    for _ in range(4):
        first.wheel(510, 110, -100)
    leave(first)
    ratio = narrow.ink_box.width / first.ink_box.width
    narrow.wait_until(
        "(root, scale) => Math.abs(Number(root.dataset.scale) - scale) < 1e-6",
        first.viewport.scale * ratio,
    )
    for stage in (first, second, narrow):
        expected = 1.5 / stage.viewport.scale  # device px: the picture is smoothed
        assert red_corner(stage) == pytest.approx((500, 100), abs=expected)
    a, b = first.viewport, narrow.viewport
    middle = [(v.width / 2 - w.tx) / w.scale for v, w in ((first.ink_box, a), (narrow.ink_box, b))]
    assert middle[0] == pytest.approx(middle[1], abs=0.01), "not the same middle of the picture"

    # A click there is where it was made.
    before = narrow.viewport
    at = narrow.click_image(505, 125)
    same(first, narrow, "p8")
    assert narrow.viewport.scale == pytest.approx(before.scale, rel=1e-6)
    assert nb.kernel_eval(POINTS)[-1] == pytest.approx(at, abs=0.01)
    leave(narrow)
    for stage in (first, second, narrow):
        stage.scroll_into_view()
        assert stage.pixel(*at) == COLORS[6][:3]

    # Undo in another view than the one that made the edit.
    second.focus()
    second.press("Control+z")
    same(first, second, "p7")
    assert nb.kernel_eval("ds.instances[0].n_labeled") == 6
    second.press("Control+Shift+z")
    same(first, second, "p8")
    assert nb.kernel_eval(POINTS)[-1] == pytest.approx(at, abs=0.01)

    # Both at once, while the kernel cannot tell them of one another.
    first.focus()
    first.press("f")
    first.press("Escape")
    same(first, second, "p1")
    nb.kernel_exec("seen.clear()")
    with held(nb, hold, 3):
        ours = click_all(first, [(100, 300), (140, 300), (180, 300)])
        theirs = click_all(second, [(300, 350), (340, 350), (380, 350)])
        assert (first.pending, second.pending) == (3, 3)
    for stage in (first, second):
        stage.wait_settled()
    second.wait_data("active-instance", first.active_instance or "")
    assert nb.kernel_eval("len(seen)") == 6
    points = nb.kernel_eval(POINTS)[-6:]
    assert sorted(points) == [pytest.approx(xy, abs=0.01) for xy in sorted(ours + theirs)]
    hold.close()


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_reload_in_the_middle_of_an_instance(
    notebook: OpenNotebook, jupyter: JupyterServer, app: App
) -> None:
    hold = Hold(jupyter.root, with_lock=True)
    nb = notebook([TWO, hold.cell], app=app, fresh=True)
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    stage.output.get_by_title("Category of new instances").select_option("coco17")
    stage.focus()
    stage.press("n")
    stage.wait_data("image", "grey_1.png")
    stage.wait_next("nose")
    clicked = click_all(stage, [(100, 100), (140, 100)])
    stage.press("s")
    clicked.append(stage.click_image(180, 100))
    stage.wait_settled()
    assert stage.next_keypoint == "right_ear"
    active = stage.active_instance

    nb.reload()
    stage = nb.widget()
    wait_ready(stage)
    told = (stage.image, stage.category, stage.next_keypoint, stage.active_instance)
    assert told == ("grey_1.png", "coco17", "right_ear", active)
    leave(stage)
    wait_painted(stage, clicked)
    # Undo goes on where it was: the point, the skip, and back again.
    stage.focus()
    for name in ("left_ear", "right_eye", "left_eye"):
        stage.press("Control+z")
        stage.wait_next(name)
    for name in ("right_eye", "left_ear", "right_ear"):
        stage.press("Control+Shift+z")
        stage.wait_next(name)
    stage.wait_settled()
    assert nb.kernel_eval(POINTS) == [pytest.approx(xy, abs=0.01) for xy in clicked]

    # With edits on their way to a kernel that is busy: they are in its queue, and the new page
    # sends them again.
    nb.kernel_exec("seen.clear()")
    nb.start(1)
    hold.wait(nb)
    more = click_all(stage, [(100, 200), (140, 200), (180, 200), (220, 200)])
    assert stage.pending == 4
    nb.page.reload(wait_until="domcontentloaded")
    nb.page.wait_for_function("Boolean(window.jupyterapp)")
    hold.release()
    nb.wait_ready()
    stage = nb.widget()
    wait_ready(stage)
    stage.wait_next("right_elbow")
    stage.wait_settled()
    told = (stage.image, stage.category, stage.active_instance)
    assert told == ("grey_1.png", "coco17", active)
    assert nb.kernel_eval(POINTS) == [pytest.approx(xy, abs=0.01) for xy in clicked + more]
    assert nb.kernel_eval("seen") == [
        ["edit", f"place {name}"]
        for name in ("right_ear", "left_shoulder", "right_shoulder", "left_elbow")
    ]
    stage.focus()
    stage.press("Control+z")
    stage.wait_next("left_elbow")
    hold.close()


def test_edits_made_while_the_connection_was_cut_survive_a_reload(
    notebook: OpenNotebook, proxy: Proxy
) -> None:
    nb = notebook([MAKE], proxy=proxy)
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    first = click_all(stage, [(100, 100), (140, 100)])
    stage.wait_settled()
    nb.save()
    proxy.cut()
    nb.page.wait_for_function("(p) => kpTest.state(p).connection !== 'connected'", arg=nb.path)
    lost = click_all(stage, [(180, 100), (220, 100), (260, 100)])
    assert (stage.pending, stage.next_keypoint) == (3, "p6")
    proxy.restore()
    nb.reload(save=False)
    stage = nb.widget()
    wait_ready(stage)
    stage.wait_next("p6")
    stage.wait_settled()
    assert nb.kernel_eval(POINTS) == [pytest.approx(xy, abs=0.01) for xy in first + lost]
    assert nb.kernel_eval("seen") == [["edit", f"place p{k}"] for k in range(1, 6)]
    # Nothing is kept that would be sent once more.
    assert (
        nb.page.evaluate("Object.keys(sessionStorage).filter((key) => key.startsWith('kpwidget'))")
        == []
    )


def test_edits_made_while_the_connection_was_cut_arrive_when_it_is_back(
    notebook: OpenNotebook, proxy: Proxy
) -> None:
    nb = notebook([MAKE], proxy=proxy)
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    first = click_all(stage, [(100, 100), (140, 100)])
    stage.wait_settled()
    proxy.cut()
    nb.page.wait_for_function("(p) => kpTest.state(p).connection !== 'connected'", arg=nb.path)
    kept = click_all(stage, [(180, 100), (220, 100), (260, 100)])
    assert stage.pending == 3
    proxy.restore()
    nb.wait_ready()
    stage.wait_settled(timeout=60_000)
    assert nb.kernel_eval(POINTS) == [pytest.approx(xy, abs=0.01) for xy in first + kept]
    assert nb.kernel_eval("seen") == [["edit", f"place p{k}"] for k in range(1, 6)]
