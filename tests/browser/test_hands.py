"""The loupe, the handles of the box, the mean pose, and going on with what was begun."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from .conftest import OpenNotebook
from .labeling import leave, wait_ready
from .stage import Stage

# Every pixel of the picture is of another colour: (x, y, 100 + image), so a magnified one tells
# where it is from.
MAKE = """
import numpy as np, kpwidget as kp
kite = kp.Schema("kite", ["nose", "left_eye", "right_eye", "chin"], [(1, 2), (1, 3), (1, 4)],
                 flip_pairs=[("left_eye", "right_eye")],
                 layout=[(0.5, 0.0), (1.0, 0.5), (0.0, 0.5), (0.5, 1.0)])
def picture(i):
    y, x = np.mgrid[:200, :250]
    return np.stack([x, y, np.full_like(x, 100 + i)], axis=-1).astype(np.uint8)
ds = kp.Dataset.from_images({f"ramp_{i}.png": picture(i) for i in range(2)}, kite)
def is_near(*places):  # the mouse acts on whole CSS px
    flat = ds.instances[-1].raw[:, :2].ravel() if len(ds.instances) else np.full(8, np.nan)
    return bool(np.abs(flat - places).max() <= 1)
a = kp.Annotator(ds, height=500)
a
"""

# Colour in the middle of the loupe and 20 CSS px to the right of it, and where it lies.
_LOUPE = """(root) => {
  const canvas = root.querySelector('.kpwidget-loupe canvas');
  if (!canvas || canvas.parentElement.hidden) return null;
  const of = (dx) => [...canvas.getContext('2d').getImageData(
    Math.floor(canvas.width / 2) + dx, Math.floor(canvas.height / 2), 1, 1).data].slice(0, 3);
  const box = canvas.getBoundingClientRect();
  return {middle: of(0), right: of(20), box: [box.left, box.top, box.right, box.bottom]};
}"""


def loupe(stage: Stage) -> Any:
    """What the loupe shows now."""
    stage.wait_frames()
    return stage.root.evaluate(_LOUPE)


def shows(stage: Stage, at: tuple[float, float], image: int = 0) -> Any:
    """The loupe, which shows the image point `at` in its middle and covers no click there."""
    seen = loupe(stage)
    x, y = at
    assert seen["middle"] == pytest.approx([x - 0.5, y - 0.5, 100 + image], abs=1)
    left, top, right, bottom = seen["box"]
    px, py = stage.to_client(x, y)
    assert not (left - 8 < px < right + 8 and top - 8 < py < bottom + 8)
    ink = stage.ink_box
    assert left >= ink.left
    assert right <= ink.left + ink.width
    assert top >= ink.top
    assert bottom <= ink.top + ink.height
    return seen


def says(stage: Stage, text: str) -> None:
    """Wait until the status line says something."""
    expect(stage.output.locator(".kpwidget-doing")).to_have_text(text)


@pytest.mark.timeout(200)
def test_loupe_handles_mean_pose_and_what_was_begun(notebook: OpenNotebook) -> None:
    nb = notebook([MAKE])
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    stage.scroll_into_view()
    stage.focus()
    assert loupe(stage) is None
    stage.press("l")
    # 500 px high less 8 on both sides for 200 px: 2.42 CSS px each, and 4 times that in the loupe.
    seen = shows(stage, stage.hover(60, 100))
    assert seen["right"][0] - seen["middle"][0] == pytest.approx(20 / (4 * 2.42), abs=1)
    for corner in ((2, 2), (248, 2), (248, 198), (2, 198)):
        shows(stage, stage.hover(*corner))
    # A template in a box: too few instances for a mean, so it is the schema's figure.
    stage.press("t")
    says(stage, "Drag a box where the figure of the schema is to be; Esc cancels.")
    stage.drag((60, 40), (160, 90))
    nb.wait_python("is_near(110, 40, 160, 65, 60, 65, 110, 90)")
    says(stage, "Dropped the figure of the schema: drag its points into place.")
    # The loupe goes along with a point that is dragged, and with one that arrow keys move.
    start, end = stage.reach(110, 90), stage.reach(120, 100)
    stage.page.mouse.move(*start)
    stage.page.mouse.down()
    stage.page.mouse.move(*end, steps=4)
    shows(stage, (120, 100))
    stage.page.mouse.up()
    stage.press("Shift+ArrowRight")
    shows(stage, (130, 100))
    nb.wait_python("is_near(110, 40, 160, 65, 60, 65, 130, 100)")
    stage.press("Control+z")
    stage.press("Control+z")
    nb.wait_python("is_near(110, 40, 160, 65, 60, 65, 110, 90)")
    # Keys alone: the loupe is where the cross is.
    leave(stage)
    stage.press("ArrowRight")
    stage.press("ArrowLeft")
    shows(stage, (125, 100))
    stage.press("l")
    assert loupe(stage) is None

    # The handles, 14 CSS px outside the corners of the box around the points.
    k = stage.viewport.scale
    grip = (60 - 14 / k, 40 - 14 / k)
    stage.hover(*grip)
    stage.wait_data("handle", "move")
    assert stage.root.evaluate("(root) => getComputedStyle(root).cursor") == "move"
    stage.drag(grip, (grip[0] + 30, grip[1] + 20))
    nb.wait_python("is_near(140, 60, 190, 85, 90, 85, 140, 110)")
    # The lower right one, along the diagonal to twice the size; the upper left corner stays.
    grip = (190 + 14 / k, 110 + 14 / k)
    stage.hover(*grip)
    stage.wait_data("handle", "scale")
    assert stage.root.evaluate("(root) => getComputedStyle(root).cursor") == "nwse-resize"
    stage.drag(grip, (grip[0] + 50, grip[1] + 25))
    nb.wait_python("is_near(165, 60, 240, 97.5, 90, 97.5, 165, 135)")
    stage.press("Control+z")
    nb.wait_python("is_near(140, 60, 190, 85, 90, 85, 140, 110)")
    stage.press("Control+z")
    nb.wait_python("is_near(110, 40, 160, 65, 60, 65, 110, 90)")
    # A click on a handle is a click: it places the first point of the next instance, and what is
    # under way has no handle.
    at = stage.click_image(60 - 14 / k, 40 - 14 / k)
    nb.wait_python("len(ds.instances) == 2")
    assert nb.kernel_eval("ds.instances[1].raw[0].tolist()") == [*at, 2]
    begun = stage.active_instance
    stage.hover(160 + 14 / k, 90 + 14 / k)
    stage.wait_data("handle", "")

    # Another image and back: what was begun goes on.
    stage.press("n")
    stage.wait_data("image", "ramp_1.png")
    stage.press("p")
    stage.wait_data("image", "ramp_0.png")
    assert stage.active_instance == begun
    stage.wait_next("left_eye")
    # With five instances the mean pose is dropped: by hand, in a box (0, 0) to (1, 1).
    nb.kernel_exec(
        "for x in range(5): ds.add_instance(1, keypoints="
        "[(10, 10, 2), (30, 10 + 5 * x, 2), (10, 50, 2), (20, 50, 2)])"
    )
    stage.press("n")
    stage.wait_data("image", "ramp_1.png")
    nb.wait_python("a.templates and a.templates[0]")
    stage.press("t")
    # The figure that was dropped above is one of them, the one with a single point is not.
    says(stage, "Drag a box where the mean pose of 6 instances is to be; Esc cancels.")
    stage.drag((100, 100), (160, 160))
    # Of 60 px: nose (0.5 / 6, 0), left (1, (0 + 5 + 10 + 15 + 20) / 40 / 6 + 0.5 / 6), right
    # (0, (5 + 0.5) / 6), chin (0.5, 1).
    nb.wait_python("is_near(105, 100, 160, 117.5, 100, 155, 130, 160)")
    stage.press("Control+z")
    nb.wait_python("len(ds.instances) == 7")
