"""The cell's output: nothing spills in a narrow cell or a wide one, and it follows the theme."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import OpenNotebook
from .labeling import DOTS, click_all, wait_ready
from .notebook import App, Theme

pytestmark = pytest.mark.timeout(300)

MAKE = (
    DOTS
    + """
long = "a photograph with a rather long name " * 3
ds = kp.Dataset.from_images({long + ".png": grey()["grey_0.png"]}, schema=kp.schemas.get("coco17"))
a = kp.Annotator(ds, height=420)
a
"""
)

# What reaches out of the widget, or of a box that does not scroll, by more than half a pixel.
_SPILLS = """(stage) => {
  const frame = stage.closest('.kpwidget'), box = frame.getBoundingClientRect();
  const found = [];
  const isClipped = (element) => {
    for (let e = element.parentElement; e && e !== frame.parentElement; e = e.parentElement)
      if (getComputedStyle(e).overflowX !== 'visible') return true;
    return false;
  };
  for (const element of frame.querySelectorAll('*')) {
    const r = element.getBoundingClientRect();
    if (r.width === 0 || r.height === 0 || isClipped(element)) continue;
    if (r.left < box.left - 0.5 || r.right > box.right + 0.5 || r.bottom > box.bottom + 0.5)
      found.push(element.className + ' ' + [r.left, r.right, r.bottom].map(Math.round));
  }
  const output = frame.closest('.jp-OutputArea-output');
  const toolbar = [...frame.querySelector('.kpwidget-toolbar').children].map((part) => {
    const r = part.getBoundingClientRect();
    return Math.round((r.top + r.bottom) / 2);
  });
  return {found, width: box.width, rows: new Set(toolbar).size,
    page: document.documentElement.scrollWidth - innerWidth,
    output: output.scrollWidth - output.clientWidth};
}"""

# Contrast of the texts against what is behind them, as WCAG 2.1 computes it (1.4.3 asks for 4.5).
_CONTRAST = """(stage) => {
  const frame = stage.closest('.kpwidget');
  const rgb = (text) => text.match(/[\\\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = rgb(getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] > 0.99) return color;
    }
    return [255, 255, 255];
  };
  const result = {};
  for (const name of ['.kpwidget-name', '.kpwidget-progress', '.kpwidget-status',
                      '.kpwidget-keypoints .kpwidget-row-title',
                      '.kpwidget-stack .kpwidget-row-title', '.kpwidget-heading']) {
    const element = frame.querySelector(name);
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
    result[name] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }
  return {result, background: light(behind(frame.querySelector('.kpwidget-toolbar')))};
}""".replace("\\\\", "\\")


@pytest.mark.parametrize(
    ("app", "theme", "width", "cell"),
    [
        pytest.param("lab", "dark", 1760, 1600, id="lab, dark, wide"),
        pytest.param("notebook", "light", 638, 600, id="notebook, light, narrow"),
    ],
)
def test_nothing_spills_and_the_text_is_legible(
    notebook: OpenNotebook, app: App, theme: Theme, width: int, cell: int
) -> None:
    nb = notebook([MAKE], app=app, theme=theme, width=width, height=900)
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    click_all(stage, [(100, 100), (200, 200), (300, 100)])
    stage.wait_settled()
    for size in (width, 980, width):
        nb.resize(size, 900)
        stage.scroll_into_view()
        stage.wait_frames()
        told: dict[str, Any] = stage.root.evaluate(_SPILLS)
        assert told["found"] == []
        assert (told["page"], told["output"]) == (0, 0)
        if told["width"] >= 800:
            assert told["rows"] == 1
    assert told["width"] == pytest.approx(cell, abs=60)
    assert stage.ink_box.width >= 300
    seen: dict[str, Any] = stage.root.evaluate(_CONTRAST)
    assert (seen["background"] < 0.2) == (theme == "dark")
    for name, contrast in seen["result"].items():
        assert contrast >= 4.5, name
