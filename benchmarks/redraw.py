"""Repainting a crowd: the time Python takes, and the time the browser takes from the message on."""

from __future__ import annotations

from contextlib import ExitStack

from .rig import Rig, annotator_cells, peer_cells, show_annotator, show_peer
from .table import Row, bounded, told

LIMIT = 80.0
TIMEOUT = 6000
N_PEOPLE = 100

#: Smallest message that can be the drawing of a crowd; status messages are shorter.
DRAWING_BYTES = 4000

# What a changed viewport causes, the browser's part left out: the same people, moved.
REDRAW = """
import time, dataclasses
def redraw():
    with ds.lock:
        a._view = dataclasses.replace(a._view, tx=a._view.tx + 1)
        a._dirty |= {"skeletons", "active"}
        start = time.perf_counter()
        a._publish()
        return 1000 * (time.perf_counter() - start)
"""

# The same people as anyone would draw them first, stopped after six seconds.
NAIVE = f"""
import time
import numpy as np
import kpwidget as kp
schema = kp.schemas.get("coco17")
rng = np.random.default_rng(0)
people = rng.uniform(0, 1, ({N_PEOPLE}, 17, 2)) * (canvas.width / 10, canvas.height / 10)
people += np.array([(n % 10, n // 10) for n in range({N_PEOPLE})])[:, None] * (
    canvas.width / 10, canvas.height / 10)
def naive(limit):
    start = time.perf_counter()
    canvas.clear()
    drawn = 0
    for points in people:
        if time.perf_counter() - start > limit:
            break
        canvas.stroke_style = "#56b4e9"
        canvas.line_width = 2
        for i, j in schema.edges:
            canvas.stroke_line(*points[i], *points[j])
        for (x, y), color in zip(points, schema.colors):
            canvas.fill_style = color
            canvas.fill_circle(x, y, 3.5)
        drawn += 1
    canvas.fill_style = "#ff0000"
    canvas.fill_rect(0, 0, 5, 5)
    return 1000 * (time.perf_counter() - start), drawn
"""


def measure_redraw(rig: Rig) -> list[Row]:
    """100 people of 17 points, 1,900 edges."""
    n = rig.samples(100, 10)
    python: list[float] = []
    browser: list[float] = []
    sizes: list[float] = []
    with ExitStack() as stack:
        photo = rig.photo(1280, 960)
        notebook = stack.enter_context(rig.notebook(annotator_cells(photo, N_PEOPLE)))
        show_annotator(notebook)
        notebook.page.wait_for_timeout(3000)
        notebook.kernel_exec(REDRAW)
        for i in range(n + 2):
            notebook.page.evaluate(
                "([s, i, b, t]) => window.kpBench.waitRedraw(s, i, b, t)",
                [".kpwidget-stage .kpwidget-layer", 2, DRAWING_BYTES, TIMEOUT],
            )
            milliseconds = float(notebook.kernel_eval("redraw()", on="main"))
            found = notebook.page.evaluate("() => window.kpBench.result")
            if found is None:
                raise RuntimeError(f"redraw {i}: nothing changed within {TIMEOUT} ms")
            notebook.page.wait_for_timeout(150)
            if i > 1:
                python.append(milliseconds)
                browser.append(found["painted"])
                sizes.append(found["bytes"])
        raw = stack.enter_context(rig.notebook(peer_cells()))
        show_peer(raw)
        raw.kernel_exec(NAIVE)
        # The last thing drawn, in the top left corner, ends the measurement.
        raw.page.evaluate(
            """(timeout) => {
              const canvas = document.querySelector('.jp-OutputArea canvas');
              const start = performance.now();
              window.kpBench.result = new Promise((resolve) => {
                const look = async () => {
                  const [red] = canvas.getContext('2d').getImageData(2, 2, 1, 1).data;
                  const now = performance.now() - start;
                  if (red === 255) resolve((await window.kpBench.afterFrame()) - start);
                  else if (now > timeout) resolve(null);
                  else requestAnimationFrame(look);
                };
                requestAnimationFrame(look);
              });
            }""",
            TIMEOUT,
        )
        naive, drawn = raw.kernel_eval(f"naive({TIMEOUT / 1000})", on="main")
        shown = raw.page.evaluate("() => window.kpBench.result")
    total = [a + b for a, b in zip(python, browser, strict=True)]
    peer = (
        f"{shown:.0f} ms"
        if shown is not None and drawn == N_PEOPLE
        else f"over {TIMEOUT} ms ({drawn} of {N_PEOPLE} people sent in {naive:.0f} ms)"
    )
    return [
        bounded("redraw of 100 people x 17 points", "ms", total, LIMIT, peer_text=peer),
        told("redraw: Python", "ms", python),
        told("redraw: browser, message to painted frame", "ms", browser, note=f"{sizes[-1]:.0f} B"),
    ]
