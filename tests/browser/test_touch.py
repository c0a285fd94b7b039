"""Fingers on the stage: tap, long press, pinch, pan; by the browser's own touch events."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import OpenNotebook
from .labeling import DOTS, wait_ready
from .stage import Stage

MAKE = (
    DOTS
    + """
ds = dataset(1)
a = kp.Annotator(ds, height=400)
a
"""
)
#: More cells below, so that the notebook could scroll.
BELOW = "\n" * 60


class Fingers:
    """Fingers on the page, at client points."""

    def __init__(self, stage: Stage) -> None:
        self._session = stage.page.context.new_cdp_session(stage.page)

    def _send(self, kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    def down(self, *points: tuple[float, float]) -> None:
        """Put fingers on the page; those that are there already are named again."""
        self._send("touchStart", *points)

    def move(self, *points: tuple[float, float]) -> None:
        """Move all the fingers that are down."""
        self._send("touchMove", *points)

    def up(self) -> None:
        """Lift them all."""
        self._send("touchEnd")

    def cancel(self) -> None:
        """Take them away as the system does, for a gesture of its own."""
        self._send("touchCancel")


@pytest.mark.timeout(200)
def test_fingers_place_zoom_and_pan(notebook: OpenNotebook) -> None:
    nb = notebook([MAKE, BELOW], has_touch=True)
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    stage.scroll_into_view()
    fingers = Fingers(stage)
    box = stage.ink_box

    def labeled() -> Any:
        return nb.kernel_eval("[i.raw[i.raw[:, 2] > 0].tolist() for i in ds.instances]")

    # A tap places, where it was.
    a, b = stage.reach(200, 200), stage.reach(300, 100)
    fingers.down(a)
    fingers.up()
    nb.wait_python("len(ds.instances) == 1")
    [[first]] = labeled()
    assert first == [*stage.to_image(*a), 2]
    # A finger that rests until the page says so places occluded.
    fingers.down(b)
    stage.root.locator(".kpwidget-hold").wait_for(state="visible")
    stage.output.get_by_text("Occluded: lift the finger to place it.").wait_for()
    assert labeled() == [[first]]
    fingers.up()
    nb.wait_python("ds.instances[0].n_labeled == 2")
    assert labeled() == [[first, [*stage.to_image(*b), 1]]]
    stage.root.locator(".kpwidget-hold").wait_for(state="hidden")
    # One that wanders off places nothing, and the page does not scroll under it.
    free = stage.reach(400, 300)
    fingers.down(free)
    for step in range(1, 12):
        fingers.move((free[0], free[1] - 10 * step))
    fingers.up()
    stage.output.get_by_text("Nothing placed").wait_for()
    assert stage.ink_box == box
    # Nor one that the system takes away.
    fingers.down(free)
    stage.root.locator(".kpwidget-hold").wait_for(state="visible")
    fingers.cancel()
    stage.root.locator(".kpwidget-hold").wait_for(state="hidden")
    # A second finger ends what the first began; twice as far apart, the picture is twice as large.
    before = stage.viewport
    left, right = (box.left + 200, box.top + 150), (box.left + 300, box.top + 150)
    middle = stage.to_image(box.left + 250, box.top + 150)
    fingers.down(left)
    fingers.down(left, right)
    for step in range(1, 11):
        fingers.move((left[0] - 5 * step, left[1]), (right[0] + 5 * step, right[1]))
    far = (left[0] - 50, left[1]), (right[0] + 50, right[1])
    stage.wait_until("(root, k) => Math.abs(root.dataset.scale / k - 2) < 0.02", before.scale)
    assert stage.to_image(box.left + 250, box.top + 150) == pytest.approx(middle, abs=1)
    # Both together: the picture goes along, as large as it is.
    for step in range(1, 11):
        fingers.move(*((x + 3 * step, y + 2 * step) for x, y in far))
    stage.wait_until(
        """(root, [x, y, k]) => Math.hypot(root.dataset.scale * x + Number(root.dataset.tx) - 280,
           root.dataset.scale * y + Number(root.dataset.ty) - 170) < 2
           && Math.abs(root.dataset.scale / k - 2) < 0.02""",
        [*middle, before.scale],
    )
    fingers.up()
    assert stage.ink_box == box
    # After all that a tap places again, and only that.
    c = stage.reach(*middle)
    fingers.down(c)
    fingers.up()
    nb.wait_python("ds.instances[0].n_labeled == 3")
    assert labeled()[0][2] == [*stage.to_image(*c), 2]
    for n in (2, 1):
        stage.press("Control+z")
        nb.wait_python(f"ds.instances[0].n_labeled == {n}")
    assert labeled() == [[first]]
