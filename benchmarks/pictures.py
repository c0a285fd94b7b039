"""Until a picture is on the screen, what it costs to send, and what stays in memory."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser

from tests.browser.frames import Frame
from tests.browser.notebook import Notebook

from .rig import Rig
from .table import Row, bounded, compare, told

TIMEOUT = 20_000

LIMIT_TIME = 1.5
LIMIT_EXTRA = 30_000
LIMIT_PHOTOGRAPH = 400_000
LIMIT_GROWTH = 1.10

OURS_SETUP = """
import kpwidget as kp
from kpwidget.widget import Annotator
schema = kp.schemas.get("coco17")
a = None
"""
OURS = """
ds = kp.Dataset.from_images([{path!r}], schema=schema)
a = Annotator(ds)
a
"""

# The least that shows an encoded picture: its bytes in a trait, drawn on a canvas.
FLOOR_SETUP = '''
import pathlib
import anywidget, traitlets

class Picture(anywidget.AnyWidget):
    _esm = """
    export default { async render({ model, el }) {
      const bitmap = await createImageBitmap(new Blob([model.get("data")]));
      const canvas = document.createElement("canvas");
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
      bitmap.close();
      el.append(canvas);
    } };
    """
    data = traitlets.Bytes().tag(sync=True)

a = None
'''
FLOOR = """
a = Picture(data=pathlib.Path({path!r}).read_bytes())
a
"""

PEER_SETUP = """
import ipywidgets
from ipycanvas import Canvas
a = None
"""
PEER = """
a = Canvas(width={width}, height={height})
a.draw_image(ipywidgets.Image.from_file({path!r}), 0, 0)
a
"""

_CLOSE = "a is None or a.close()"


def _show(notebook: Notebook, size: tuple[int, int]) -> dict[str, float]:
    """Milliseconds from running the cell until its picture is on the screen."""
    found: dict[str, float] | None = notebook.page.evaluate(
        "([p, w, h, t]) => window.kpBench.runUntilPicture(p, 1, w, h, t)",
        [notebook.path, *size, TIMEOUT],
    )
    if found is None:
        console = "\n".join(notebook.console[-5:])
        raise RuntimeError(f"{notebook.path}: no picture within {TIMEOUT} ms; console: {console}")
    return found


def _bundle_bytes(frames: list[Frame]) -> int:
    """Bytes of module and style sheet in the frames, as JSON writes them."""
    total = 0
    for frame in frames:
        if frame.direction == "received" and frame.msg_type in ("comm_open", "comm_msg"):
            data = frame.content.get("data")
            state: Any = data.get("state") if isinstance(data, dict) else None
            for name in ("_esm", "_css"):
                if isinstance(state, dict) and isinstance(state.get(name), str):
                    total += len(json.dumps(state[name], ensure_ascii=False).encode())
    return total


def _bytes(frames: list[Frame]) -> int:
    return sum(frame.size for frame in frames)


def _again(notebook: Notebook, size: tuple[int, int]) -> dict[str, float]:
    """Close the last widget, let it rest, and show a new one."""
    notebook.kernel_exec(_CLOSE)
    notebook.page.wait_for_timeout(150)
    notebook.clear_frames()
    return _show(notebook, size)


def measure_first_image(rig: Rig) -> list[Row]:
    """Time from running the cell to the picture, and bytes beyond file and bundle, 640x480."""
    n, n_peer, n_cold = rig.samples(200, 8), rig.samples(30, 4), rig.samples(8, 2)
    size = (640, 480)
    photo = rig.photo(*size)
    file_bytes = photo.stat().st_size
    cells = {
        "ours": [OURS_SETUP, OURS.format(path=str(photo))],
        "floor": [FLOOR_SETUP, FLOOR.format(path=str(photo))],
        "peer": [PEER_SETUP, PEER.format(path=str(photo), width=size[0], height=size[1])],
    }
    times: dict[str, list[float]] = {name: [] for name in cells}
    extra: dict[str, list[float]] = {name: [] for name in cells}
    cold: dict[str, list[float]] = {name: [] for name in cells}
    painted: list[float] = []
    n_messages = 0
    with ExitStack() as stack:
        pages = {name: stack.enter_context(rig.notebook(code)) for name, code in cells.items()}
        for page in pages.values():
            page.run(0)
        for i in range(n + 1):
            for name, page in pages.items():
                if name == "peer" and i > n_peer:
                    continue
                found = _again(page, size)
                if not i:
                    continue
                times[name].append(found["shown"])
                if name == "ours":
                    painted.append(found["canvas"])
                if i <= 10:
                    page.page.wait_for_timeout(500)
                    frames = page.frames()
                    extra[name].append(_bytes(frames) - _bundle_bytes(frames) - file_bytes)
                    if name == "ours":
                        n_messages = len(frames)
    for _ in range(n_cold):
        for name, code in cells.items():
            with rig.notebook(code) as page:
                page.run(0)
                cold[name].append(_show(page, size)["shown"])
    return [
        compare(
            "first image, 640x480: time",
            "ms",
            times["ours"],
            times["floor"],
            LIMIT_TIME,
            peer=times["peer"],
            note="the cell run again",
        ),
        told("first image: until Python has painted it", "ms", painted, times["floor"]),
        told(
            "first image: time in a new page",
            "ms",
            cold["ours"],
            cold["floor"],
            peer=cold["peer"],
            note="kernel and page new each time",
        ),
        bounded(
            "first image: bytes beyond file and bundle",
            "B",
            extra["ours"],
            LIMIT_EXTRA,
            peer=extra["peer"],
            statistic="max",
            note=f"until 0.5 s after the picture; {n_messages} frames; "
            f"floor {np.median(extra['floor']):.0f} B",
        ),
    ]


def measure_photograph(rig: Rig) -> list[Row]:
    """Bytes and time until the first picture of a photograph of 12 megapixels."""
    n = rig.samples(20, 3)
    photo = rig.photo(4000, 3000)
    cells = {
        "ours": [OURS_SETUP, OURS.format(path=str(photo))],
        "peer": [PEER_SETUP, PEER.format(path=str(photo), width=4000, height=3000)],
    }
    times: dict[str, list[float]] = {name: [] for name in cells}
    sizes: dict[str, list[float]] = {name: [] for name in cells}
    with ExitStack() as stack:
        pages = {name: stack.enter_context(rig.notebook(code)) for name, code in cells.items()}
        for page in pages.values():
            page.run(0)
        for i in range(n + 1):
            for name, page in pages.items():
                if name == "peer" and i > 3:
                    continue
                found = _again(page, (1024, 768) if name == "ours" else (4000, 3000))
                if i:
                    frames = page.frames()
                    times[name].append(found["shown"])
                    sizes[name].append(_bytes(frames) - _bundle_bytes(frames))
    return [
        bounded(
            "4000x3000 photograph: bytes to a picture",
            "B",
            sizes["ours"],
            LIMIT_PHOTOGRAPH,
            peer=sizes["peer"],
            statistic="max",
            note=f"all frames but the bundle; the file has {photo.stat().st_size} B",
        ),
        told("4000x3000 photograph: time", "ms", times["ours"], peer=times["peer"]),
    ]


def _memory(pid: int) -> float:
    """Resident memory of a process, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError(f"/proc/{pid}/status has no VmRSS")


def _renderer(browser: Browser) -> int:
    """Process of the page: the renderer with the most memory of a browser that has one page."""
    session = browser.new_browser_cdp_session()
    infos = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return max((int(i["id"]) for i in infos if i["type"] == "renderer"), key=_memory)


def measure_memory(rig: Rig) -> list[Row]:
    """Memory of the page's process while 60 photographs of 12 megapixels are shown in turn."""
    n, every, settled = rig.samples(60, 15), 5, 5
    if not Path("/proc/self/status").exists():
        raise RuntimeError("the memory of another process is read from /proc: Linux only")
    source = rig.photo(4000, 3000)
    folder = rig.folder / "many"
    folder.mkdir(exist_ok=True)
    for i in range(n):
        path = folder / f"{i:03d}.jpg"
        if not path.exists():
            os.link(source, path)
    cells = [
        f"import kpwidget as kp\nfrom kpwidget.widget import Annotator\n"
        f"ds = kp.Dataset.from_images({str(folder)!r}, schema=kp.schemas.get('coco17'))\n"
        f"a = Annotator(ds)",
        "a",
    ]
    browser = rig.launch()
    memory: list[float] = []
    heap: list[float] = []
    nodes: list[int] = []
    kernel: list[float] = []
    try:
        with rig.notebook(cells, browser=browser) as notebook:
            notebook.run_all()
            stage = notebook.widget()
            stage.scroll_into_view()
            session = notebook.context.new_cdp_session(notebook.page)
            session.send("Performance.enable")
            pid = _renderer(browser)
            kernel_pid = int(notebook.kernel_eval("__import__('os').getpid()"))
            stage.focus()
            for i in range(n):
                if i:
                    stage.press("n")
                stage.wait_data("image", f"{i:03d}.jpg")
                notebook.page.wait_for_function(
                    "() => !document.querySelector('.kpwidget-stage.is-loading')"
                )
                notebook.page.wait_for_timeout(150)
                if (i + 1) % every == 0:
                    notebook.clear_frames()
                    for _ in range(2):  # a finalizer may free what only the second round finds
                        session.send("HeapProfiler.collectGarbage")
                    notebook.page.wait_for_timeout(300)
                    memory.append(_memory(pid))
                    kernel.append(_memory(kernel_pid))
                    metrics = session.send("Performance.getMetrics")["metrics"]
                    heap.append(
                        next(m["value"] for m in metrics if m["name"] == "JSHeapUsedSize") / 1e6
                    )
                    nodes.append(session.send("Memory.getDOMCounters")["nodes"])
    finally:
        browser.close()
    growth = [value / memory[0] for value in memory[1:]]
    trace = " ".join(f"{value:.0f}" for value in memory)
    return [
        bounded(
            f"renderer memory over {n} images of 12 MP",
            "",
            growth,
            LIMIT_GROWTH,
            statistic="max",
            note=f"most of any, against that after image {settled}; "
            f"every {every} images: {trace} MB",
        ),
        told(
            "the page's JavaScript heap after them",
            "MB",
            [heap[-1]],
            [heap[0]],
            note=f"DOM nodes {nodes[0]} -> {nodes[-1]}; floor column: after image {settled}",
        ),
        told(
            "the kernel's memory after them",
            "MB",
            [kernel[-1]],
            [kernel[0]],
            note=f"floor column: after image {settled}",
        ),
    ]
