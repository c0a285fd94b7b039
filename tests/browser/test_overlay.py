"""What is drawn lies where the labels say, in ink and in paint alike, and never blinks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kpwidget.schema import Schema

from .conftest import OpenNotebook
from .labeling import (
    DOTS,
    POINTS,
    Hold,
    click_all,
    grid,
    held,
    leave,
    rgba,
    wait_painted,
    wait_ready,
)
from .notebook import App, Notebook
from .server import JupyterServer
from .stage import Grab, Stage

pytestmark = pytest.mark.timeout(300)

HEX = Schema("dots", [f"p{i}" for i in range(1, 18)]).colors
COLORS = [rgba(color)[:3] for color in HEX]
GREY = (120, 120, 120)

MAKE = (
    DOTS
    + """
ds = dataset(1, [plain, kp.schemas.get("coco17")])
a = kp.Annotator(ds)
a
"""
)


def wait_repainted(stage: Stage) -> None:
    """Wait until the layers are painted for the viewport shown, and the ink has nothing left."""
    stage.wait_until(
        """(root) => {
          const layers = [...root.querySelectorAll('canvas:not(.kpwidget-ink)')].slice(-2);
          const ink = root.querySelector('.kpwidget-ink');
          const data = ink.getContext('2d').getImageData(0, 0, ink.width, ink.height).data;
          return layers.every((c) => new DOMMatrix(c.style.transform).isIdentity
              && c.style.visibility !== 'hidden')
            && data.every((value) => value === 0);
        }"""
    )


def center_of(grab: Grab, xy: tuple[float, float], color: tuple[int, ...]) -> tuple[float, float]:
    """Centre of the dot of a colour near an image point, in device pixels of the grab."""
    column, row = grab.to_device(*xy)
    reach = int(9 * grab.dpr)
    x0, y0 = max(0, int(column) - reach), max(0, int(row) - reach)
    part = grab.pixels[y0 : int(row) + reach, x0 : int(column) + reach]
    rows, columns = np.nonzero((part == color).all(axis=2))
    assert len(rows) >= 30 * grab.dpr**2, f"no dot of {color} at {xy}"
    # A pixel with index i covers [i, i + 1].
    return float(columns.mean() + x0 + 0.5), float(rows.mean() + y0 + 0.5)


def expect_in_place(stage: Stage, points: list[tuple[float, float]]) -> None:
    grab = stage.grab(ink=False)
    for i, xy in enumerate(points):
        found = center_of(grab, xy, COLORS[i % 17])
        expected = grab.to_device(*xy)
        assert found == pytest.approx(expected, abs=1.0), f"point {i}"


def unlike(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> int:
    """How many pixels of `a` have no like one in `b`, not even one pixel further."""
    height, width = a.shape[:2]
    padded = np.pad(b.astype(int), ((1, 1), (1, 1), (0, 0)), mode="edge")
    best = np.full((height, width), 255)
    for dy in range(3):
        for dx in range(3):
            moved = padded[dy : dy + height, dx : dx + width]
            best = np.minimum(best, np.abs(moved - a).max(axis=2))
    return int((best > 24).sum())


@pytest.mark.parametrize(("app", "dpr"), [("lab", 1), ("notebook", 2)])
def test_paint_lies_where_the_labels_say(
    notebook: OpenNotebook, jupyter: JupyterServer, app: App, dpr: int
) -> None:
    hold = Hold(jupyter.root, with_lock=True)
    nb = notebook([MAKE, hold.cell], app=app, dpr=dpr, width=1280, height=900)
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    asked = [(33, 41), (611, 39), (320, 240), (47, 433), (598, 441), (201.5, 333.3), (444, 111)]
    points = click_all(stage, asked)
    stage.wait_settled()
    leave(stage)
    wait_repainted(stage)
    assert stage.viewport.scale != 1
    expect_in_place(stage, points)

    # Again in a narrow window, and zoomed in, and back.
    wide = stage.viewport.scale
    nb.resize(820, 900)
    stage.wait_until("(root, scale) => Number(root.dataset.scale) < scale", wide)
    leave(stage)
    wait_repainted(stage)
    expect_in_place(stage, points)
    stage.focus()
    for _ in range(5):
        stage.wheel(320, 240, -100)
    leave(stage)
    wait_repainted(stage)
    seen = [i for i, xy in enumerate(points) if i in (2, 5)]
    grab = stage.grab(ink=False)
    for i in seen:
        found = center_of(grab, points[i], COLORS[i])
        assert found == pytest.approx(grab.to_device(*points[i]), abs=1.0)
    nb.resize(1280, 900)
    stage.focus()
    stage.press("f")
    leave(stage)
    wait_repainted(stage)
    expect_in_place(stage, points)

    compare_ink_and_paint(nb, stage, hold)
    hold.close()


def compare_ink_and_paint(nb: Notebook, stage: Stage, hold: Hold) -> None:
    """The same edits as the browser inks them and as Python paints them."""
    bare = stage.grab(ink=False)
    with held(nb, hold, 1):
        stage.scroll_into_view()
        stage.output.get_by_title("Category of new instances").select_option("coco17")
        for i, xy in enumerate(grid(12, columns=4, start=(150, 90), step=85)):
            # Circles, squares and diamonds; discs and rings; edges between them.
            stage.click_image(*xy, modifiers=["Shift"] if i % 3 == 1 else [])
        stage.press("b")
        stage.drag((130, 70), (430, 300))
        # An instance that was painted before moves to another layer.
        stage.drag((320, 240), (300, 190))
        stage.press("Escape")
        assert stage.pending == 15  # the category, 12 points, the box, the drag
        leave(stage)
        inked = stage.grab(ink=True)
    stage.wait_settled()
    wait_repainted(stage)
    painted = stage.grab(ink=False)
    assert painted.pixels.shape == inked.pixels.shape == bare.pixels.shape
    changed = int((painted.pixels != bare.pixels).any(axis=2).sum())
    assert changed > 4000 * painted.dpr
    assert unlike(painted.pixels, inked.pixels) == 0
    assert unlike(inked.pixels, painted.pixels) == 0


# At each frame: is every dot, from its pointerdown on, there in its colour, in ink or in paint?
_SAMPLER = """([root, colors]) => {
  const ink = root.querySelector('.kpwidget-ink');
  const s = window.kpSampler = {dots: [], frames: 0, bad: [], swaps: 0, isOn: true};
  let before = '';
  window.addEventListener('pointerdown', (event) => {
    if (event.target !== ink) return;
    const box = ink.getBoundingClientRect(), d = root.dataset;
    s.dots.push([(event.clientX - box.left - Number(d.tx)) / Number(d.scale),
                 (event.clientY - box.top - Number(d.ty)) / Number(d.scale),
                 colors[d.nextKeypoint]]);
  }, true);
  const read = (canvas) => {
    const box = canvas.getBoundingClientRect();
    return {box, w: canvas.width, h: canvas.height,
      data: canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data};
  };
  const has = ({box, w, h, data}, cx, cy, color) => {
    const x = Math.floor((cx - box.left) * w / box.width);
    const y = Math.floor((cy - box.top) * h / box.height);
    if (x < 0 || y < 0 || x >= w || y >= h) return false;
    const i = 4 * (y * w + x);
    return data[i] === color[0] && data[i + 1] === color[1] && data[i + 2] === color[2]
      && data[i + 3] === 255;
  };
  const look = () => {
    if (!s.isOn) return;
    requestAnimationFrame(look);
    const layers = [...root.querySelectorAll('canvas:not(.kpwidget-ink)')].slice(-2)
      .filter((canvas) => getComputedStyle(canvas).visibility !== 'hidden');
    const shown = layers.length;
    if (String(shown) !== before) { s.swaps += 1; before = String(shown); }
    const sheets = [read(ink), ...layers.map(read)];
    const box = ink.getBoundingClientRect(), d = root.dataset;
    s.frames += 1;
    for (const [n, [x, y, color]] of s.dots.entries()) {
      const px = Number(d.tx) + Number(d.scale) * x, py = Number(d.ty) + Number(d.scale) * y;
      if (px < 8 || py < 8 || px > box.width - 8 || py > box.height - 8) continue;
      if (!sheets.some((sheet) => has(sheet, box.left + px, box.top + py, color)))
        s.bad.push({frame: s.frames, dot: n, layers: shown, pending: d.pending, scale: d.scale});
    }
  };
  requestAnimationFrame(look);
}"""


def test_no_frame_without_the_dot(notebook: OpenNotebook) -> None:
    """500 clicks, the last 150 of them while zooming in and out."""
    # A small stage: every pixel of three canvases is read at every frame.
    nb = notebook([MAKE.replace("Annotator(ds)", "Annotator(ds, height=440)")], width=900)
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    stage.scroll_into_view()
    colors = {f"p{i + 1}": color for i, color in enumerate(COLORS)}
    nb.page.evaluate(_SAMPLER, [stage.root.element_handle(), colors])
    # From the rim inwards, so that the last ones stay in sight when zoomed in about the middle.
    places = sorted(
        grid(500, columns=25, start=(20, 12), step=24),
        key=lambda xy: -max(abs(xy[0] - 320) / 320, abs(xy[1] - 240) / 240),
    )
    clicked = click_all(stage, places[:350])
    for i in range(30):
        scale = stage.viewport.scale
        stage.wheel(320, 240, -100 if i % 2 == 0 else 100)
        stage.wait_until("(root, old) => Number(root.dataset.scale) !== old", scale)
        clicked += click_all(stage, places[350 + 5 * i : 355 + 5 * i])
    stage.wait_settled()
    leave(stage)
    stage.press("f")
    wait_painted(stage, clicked)
    told = nb.page.evaluate("(kpSampler.isOn = false, {...kpSampler, dots: kpSampler.dots.length})")
    assert told["dots"] == 500
    assert told["frames"] > 300
    assert told["swaps"] > 50, "layers and ink did not change places: nothing was tested"
    assert told["bad"] == []
    assert nb.kernel_eval(POINTS) == [pytest.approx(xy, abs=0.01) for xy in clicked]
