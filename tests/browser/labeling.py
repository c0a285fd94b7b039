"""What the tests of the annotator share: datasets, a kernel kept busy, pixels of the layers."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .notebook import Notebook
from .stage import WAIT, Stage

#: Grey pictures, 17 keypoints without edges: nothing but the markers is drawn.
DOTS = """
import numpy as np, kpwidget as kp
plain = kp.Schema("dots", keypoints=[f"p{i}" for i in range(1, 18)])
def grey(n=1, width=640, height=480):
    return {f"grey_{i}.png": np.full((height, width, 3), 120 + i, np.uint8) for i in range(n)}
seen = []
def dataset(n=1, schema=plain, **size):
    ds = kp.Dataset.from_images(grey(n, **size), schema=schema)
    ds.on_change(lambda change: seen.append((change.kind, change.label)))
    return ds
"""

#: Python expression: x, y of every labeled point, instance by instance in keypoint order.
POINTS = "[p[:2] for i in ds.instances for p in i.keypoints.tolist() if p[2] > 0]"

# Colours of one image point on the ink and on the layers that are visible, bottom to top.
_PROBE = """
window.kpProbe = {
  at(canvas, cx, cy) {
    const box = canvas.getBoundingClientRect();
    const x = Math.floor((cx - box.left) * canvas.width / box.width);
    const y = Math.floor((cy - box.top) * canvas.height / box.height);
    if (x < 0 || y < 0 || x >= canvas.width || y >= canvas.height) return [0, 0, 0, 0];
    return [...canvas.getContext('2d').getImageData(x, y, 1, 1).data];
  },
  client(root, [x, y]) {
    const box = root.querySelector('.kpwidget-ink').getBoundingClientRect();
    const d = root.dataset;
    return [box.left + Number(d.tx) + Number(d.scale) * x,
            box.top + Number(d.ty) + Number(d.scale) * y];
  },
  // The layers of instances: the last two canvases under the ink.
  layers(root) {
    return [...root.querySelectorAll('canvas:not(.kpwidget-ink)')].slice(-2)
      .filter((canvas) => getComputedStyle(canvas).visibility !== 'hidden');
  },
  ink(root, points) {
    const ink = root.querySelector('.kpwidget-ink');
    return points.map((p) => this.at(ink, ...this.client(root, p)));
  },
  painted(root, points) {
    const layers = this.layers(root);
    return points.map((p) => {
      const at = this.client(root, p);
      let top = [0, 0, 0, 0];
      for (const layer of layers) {
        const color = this.at(layer, ...at);
        if (color[3] > 0) top = color;
      }
      return top;
    });
  },
};
"""


def add_probe(stage: Stage) -> None:
    """Make ``window.kpProbe`` on the page, which reads the pixels of ink and layers."""
    stage.page.evaluate(f"() => {{ {_PROBE} }}")


def ink_colors(stage: Stage, points: Sequence[Sequence[float]]) -> list[tuple[int, ...]]:
    """Red, green, blue, alpha of the ink at image points."""
    add_probe(stage)
    found = stage.root.evaluate("(root, p) => kpProbe.ink(root, p)", [list(p) for p in points])
    return [tuple(color) for color in found]


def painted_colors(stage: Stage, points: Sequence[Sequence[float]]) -> list[tuple[int, ...]]:
    """Red, green, blue, alpha at image points of what Python painted and the page shows."""
    add_probe(stage)
    found = stage.root.evaluate("(root, p) => kpProbe.painted(root, p)", [list(p) for p in points])
    return [tuple(color) for color in found]


def wait_painted(stage: Stage, points: Sequence[Sequence[float]], timeout: float = WAIT) -> None:
    """Wait until Python's painting alone shows dots at image points, and the ink nothing there."""
    add_probe(stage)
    stage.wait_until(
        """(root, points) => kpProbe.painted(root, points).every((c) => c[3] === 255)
           && kpProbe.ink(root, points).every((c) => c[3] === 0)""",
        [list(p) for p in points],
        timeout=timeout,
    )


def wait_ready(stage: Stage, timeout: float = WAIT) -> None:
    """Wait until Python has painted the image layer and the poster is gone."""
    stage.wait_until(
        """(root) => {
          const layer = root.querySelector('canvas:not(.kpwidget-ink)');
          return layer && layer.width > 1 && layer.style.transform
            && getComputedStyle(layer).visibility !== 'hidden'
            && layer.getContext('2d').getImageData(1, 1, 1, 1).data[3] === 255;
        }""",
        timeout=timeout,
    )


def leave(stage: Stage) -> None:
    """Take the mouse off the stage, as what is drawn at the cursor would cover the points."""
    stage.page.mouse.move(2, 2)


def rgba(color: str) -> tuple[int, ...]:
    """Red, green, blue of '#rrggbb', and alpha 255."""
    return (*bytes.fromhex(color[1:]), 255)


def grid(
    n: int, columns: int = 15, start: tuple[float, float] = (40, 40), step: float = 36
) -> list[tuple[float, float]]:
    """`n` image points in rows, far enough from one another that no two dots touch."""
    return [(start[0] + step * (i % columns), start[1] + step * (i // columns)) for i in range(n)]


def click_all(stage: Stage, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Click image points with the mouse, quickly; the image points really clicked come back.

    The viewport and the page must stay as they are meanwhile.
    """
    stage.scroll_into_view()
    for far in (min, max):
        stage.reach(far(x for x, _ in points), far(y for _, y in points))
    box, view = stage.ink_box, stage.viewport
    clicked = []
    for x, y in points:
        px = round(box.left + view.tx + view.scale * x)
        py = round(box.top + view.ty + view.scale * y)
        stage.page.mouse.click(px, py)
        clicked.append(
            ((px - box.left - view.tx) / view.scale, (py - box.top - view.ty) / view.scale)
        )
    assert (stage.ink_box, stage.viewport) == (box, view), "the stage moved under the mouse"
    return clicked


class Hold:
    """A cell that keeps the kernel busy until told to go on.

    No clock decides: however slow the machine, what a test does before `release` is done while the
    kernel is busy.

    Parameters
    ----------
    folder : Path
        Where to make the pipe that the cell reads from.
    with_lock : bool
        Whether the cell holds the interpreter lock, so that no thread of the kernel runs.
    """

    def __init__(self, folder: Path, with_lock: bool) -> None:
        self._path = folder / f"hold-{uuid.uuid4().hex[:8]}"
        os.mkfifo(self._path)
        # Open for both, so that neither side waits for the other to open it.
        self._pipe = os.open(self._path, os.O_RDWR)
        self._sign = self._path.with_suffix(".holds")
        self.with_lock = with_lock

    @property
    def cell(self) -> str:
        """Source of the cell."""
        if self.with_lock:
            read = "ctypes.PyDLL(None).read(pipe, ctypes.create_string_buffer(1), 1)"
        else:
            read = "os.read(pipe, 1)"
        return (
            "import os, ctypes, pathlib\n"
            f"pipe = os.open({json.dumps(str(self._path))}, os.O_RDWR)\n"
            f"pathlib.Path({json.dumps(str(self._sign))}).touch()\n{read}\nos.close(pipe)"
        )

    def wait(self, nb: Notebook, timeout: float = 60.0) -> None:
        """Wait until the cell keeps the kernel busy."""
        # Not by its output: with the lock held the kernel cannot send any more.
        deadline = time.monotonic() + timeout
        while not self._sign.exists():
            assert time.monotonic() < deadline, "the cell that holds the kernel does not run"
            nb.page.wait_for_timeout(20)

    def release(self) -> None:
        """Let the cell end."""
        os.write(self._pipe, b".")

    def close(self) -> None:
        """Let the cell end, if it still runs, and remove the pipe."""
        os.write(self._pipe, b".")
        os.close(self._pipe)
        self._path.unlink()
        self._sign.unlink(missing_ok=True)


def is_running(nb: Notebook, index: int) -> bool:
    """Whether a cell started by `Notebook.start` has not ended.

    The kernel's status does not tell: a subshell that has done its work says idle, too.
    """
    return not nb.page.evaluate("(i) => window.kpTest.runs[i].done", index)


@contextmanager
def held(nb: Notebook, hold: Hold, index: int) -> Iterator[None]:
    """While the kernel is kept busy by the cell `index`, whose source is `hold.cell`."""
    nb.start(index)
    hold.wait(nb)
    yield
    assert is_running(nb, index), "the kernel was not kept busy"
    hold.release()
    nb.wait_done(index)
