"""The viewer: until there are thumbnails, until the next image, what grows with their number."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

from tests.browser.notebook import Notebook

from .pictures import _memory, _renderer
from .rig import Rig
from .table import Row, bounded, compare

TIMEOUT = 20_000
#: Milliseconds until the first thumbnails, and until an image that was fetched before.
LIMIT_THUMBNAILS, LIMIT_FETCHED = 1000, 100
#: Times the floor for an image that was not fetched before.
LIMIT_NEXT = 2.0
LIMIT_NODES, LIMIT_GROWTH = 1.05, 1.10
N_IMAGES, N_PHOTOS, SIZE = 10_000, 50, (640, 480)

OURS = """
import kpwidget as kp
ds = kp.read({labels!r}, images={folder!r})
v = None
"""
SHOW = """
v = kp.Viewer(ds, height=480)
v
"""
# The least that shows the next picture when a key is pressed: its bytes, drawn on a canvas.
FLOOR = '''
import pathlib
import anywidget, traitlets

paths = sorted(pathlib.Path({folder!r}).glob("*.jpg"))

class Pictures(anywidget.AnyWidget):
    _esm = """
    export default {{ render({{ model, el }}) {{
      const canvas = document.createElement("canvas");
      canvas.className = "floor";
      canvas.width = {width};
      canvas.height = {height};
      canvas.tabIndex = 0;
      el.append(canvas);
      model.on("msg:custom", async (message, buffers) => {{
        const bitmap = await createImageBitmap(new Blob([buffers[0]]));
        canvas.getContext("2d").drawImage(bitmap, 0, 0);
        bitmap.close();
      }});
      canvas.addEventListener("pointerdown", () => model.send({{}}));
      model.send({{}});
    }} }};
    """

at = 0
def answer(widget, content, buffers):
    global at
    at += 3
    widget.send({{}}, buffers=[paths[at].read_bytes()])

f = Pictures()
f.on_msg(answer)
'''


def _made(rig: Rig, n: int) -> tuple[Path, Path]:
    """Labels file and image folder of `n` photographs (some are the same file), one person each."""
    folder = rig.folder / f"viewer-{n}"
    labels = rig.folder / f"viewer-{n}.json"
    if labels.exists():
        return labels, folder
    folder.mkdir()
    rng = random.Random(0)
    photos = [rig.photo(*SIZE, seed=i) for i in range(N_PHOTOS)]
    images, annotations = [], []
    for i in range(n):
        name = f"{i:06d}.jpg"
        os.link(photos[i % N_PHOTOS], folder / name)
        images.append({"id": i + 1, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        x, y = rng.uniform(50, 400), rng.uniform(50, 250)
        points = [
            value
            for _ in range(17)
            for value in (x + rng.uniform(0, 150), y + rng.uniform(0, 200), 2)
        ]
        annotations.append(
            {"id": i + 1, "image_id": i + 1, "category_id": 1, "iscrowd": 0, "keypoints": points,
             "num_keypoints": 17, "area": 30000, "bbox": [x, y, 150, 200]}
        )  # fmt: skip
    from kpwidget import schemas

    category = {"id": 1, "name": "person", **schemas.get("coco17").to_metadata()}
    labels.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [category]})
    )
    return labels, folder


def _cells(labels: Path, folder: Path) -> list[str]:
    return [OURS.format(labels=str(labels), folder=str(folder)), SHOW]


def _count_nodes(notebook: Notebook) -> int:
    return int(notebook.page.evaluate("document.querySelectorAll('.kpwidget, .kpwidget *').length"))


def measure_viewer(rig: Rig) -> list[Row]:
    """Time to thumbnails, to the next image, and what grows."""
    n_images = N_IMAGES if not rig.is_quick else 1000
    labels, folder = _made(rig, n_images)
    few = _made(rig, 100)
    n_first, n_next = rig.samples(20, 4), rig.samples(40, 6)
    browser = rig.launch()
    try:
        with rig.notebook(_cells(*few)) as small:
            small.run_all()
            # In the middle of the strip, where there are some on both sides of what is seen.
            small.page.wait_for_function("() => window.kpBench.hasThumbnails()", timeout=TIMEOUT)
            small.page.evaluate("document.querySelector('.kpwidget-strip').scrollLeft = 128 * 40")
            small.page.wait_for_function("() => window.kpBench.hasThumbnails()", timeout=TIMEOUT)
            small_nodes = _count_nodes(small)
        with rig.notebook(_cells(labels, folder), browser=browser) as ours:
            ours.run(0)
            first: list[float] = []
            for i in range(n_first + 1):
                ours.kernel_exec("v is None or v.close()")
                took = ours.page.evaluate(
                    "([p, t]) => window.kpBench.runUntilThumbnails(p, 1, t)", [ours.path, TIMEOUT]
                )
                if took is None:
                    raise RuntimeError(f"no thumbnails within {TIMEOUT} ms")
                if i:
                    first.append(took)
            nodes = [_count_nodes(ours)]
            memory = _growth(ours, browser, nodes)
            fetched, fresh, floor = _next_images(rig, ours, folder, n_next)
    finally:
        browser.close()
    told_memory = " ".join(f"{value:.0f}" for value in memory)
    return [
        bounded(
            f"viewer of {n_images:,} images: first thumbnails",
            "ms",
            first,
            LIMIT_THUMBNAILS,
            note="from running the cell until all in sight are loaded",
        ),
        compare(
            "viewer: another image",
            "ms",
            fresh,
            floor,
            LIMIT_NEXT,
            note="not fetched before: three places on, by its thumbnail",
        ),
        bounded("viewer: the next image", "ms", fetched, LIMIT_FETCHED, note="fetched before"),
        bounded(
            f"viewer: DOM nodes with {n_images:,} images against 100",
            "",
            [value / small_nodes for value in nodes],
            LIMIT_NODES,
            statistic="max",
            note=f"{small_nodes} nodes; also after scrolling",
        ),
        bounded(
            "viewer: renderer memory over 2,000 thumbnails",
            "",
            [value / memory[1] for value in memory[2:]],
            LIMIT_GROWTH,
            statistic="max",
            note=f"against that after 500; {told_memory} MB",
        ),
    ]


def _growth(ours: Notebook, browser: Any, nodes: list[int]) -> list[float]:
    """Renderer memory in MB before scrolling and after each 500 thumbnails."""
    session = ours.context.new_cdp_session(ours.page)
    pid = _renderer(browser)
    width = int(ours.page.evaluate("document.querySelector('.kpwidget-strip').clientWidth"))
    per_step = max(1, width // 128)
    memory = []
    at = 0
    for part in range(5):
        if part:
            for _ in range(500 // per_step):
                at += width
                ours.page.evaluate(
                    "x => { document.querySelector('.kpwidget-strip').scrollLeft = x; }", at
                )
                ours.page.wait_for_function("() => window.kpBench.hasThumbnails()", timeout=TIMEOUT)
            nodes.append(_count_nodes(ours))
        ours.clear_frames()
        for _ in range(2):
            session.send("HeapProfiler.collectGarbage")
        ours.page.wait_for_timeout(300)
        memory.append(_memory(pid))
    return memory


def _next_images(
    rig: Rig, ours: Notebook, folder: Path, n: int
) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds from the press until another picture is painted: fetched, not fetched, floor."""
    fetched: list[float] = []
    fresh: list[float] = []
    floor: list[float] = []
    layer = ".kpwidget-stage canvas.kpwidget-layer, .kpwidget-stage .kpwidget-layer canvas"
    cells = [FLOOR.format(folder=str(folder), width=SIZE[0], height=SIZE[1]), "f"]
    with rig.notebook(cells) as control:
        control.run_all()
        control.page.locator("canvas.floor").wait_for()
        control.page.wait_for_timeout(500)
        ours.page.evaluate("document.querySelector('.kpwidget-strip').scrollLeft = 0")
        ours.kernel_exec("v.goto(0)")
        ours.page.wait_for_function("() => window.kpBench.hasThumbnails()", timeout=TIMEOUT)
        stage = ours.widget()
        stage.scroll_into_view()
        for i in range(n + 1):
            ours.page.wait_for_timeout(700)  # until the neighbours are there
            ours.page.evaluate(
                "([s, t]) => window.kpBench.armNext(s, 'keydown', t)", [layer, TIMEOUT]
            )
            stage.focus()
            ours.page.keyboard.press("n")
            took = ours.page.evaluate("() => window.kpBench.result")
            if i:
                fetched.append(took)
            ours.page.wait_for_timeout(700)
            place = int(stage.data("image").split(".")[0]) + 3
            ours.page.evaluate(
                "x => { document.querySelector('.kpwidget-strip').scrollLeft = x; }",
                128 * (place - 3),
            )
            ours.page.wait_for_function("() => window.kpBench.hasThumbnails()", timeout=TIMEOUT)
            tile = ours.page.locator(f'.kpwidget-tile[data-index="{place}"]')
            box = tile.bounding_box()
            assert box is not None
            ours.page.mouse.move(box["x"] + 40, box["y"] + 40)
            ours.page.evaluate(
                "([s, t]) => window.kpBench.armNext(s, 'click', t)", [layer, TIMEOUT]
            )
            ours.page.mouse.down()
            ours.page.mouse.up()
            took = ours.page.evaluate("() => window.kpBench.result")
            if i:
                fresh.append(took)
            target = control.page.locator("canvas.floor").bounding_box()
            assert target is not None
            control.page.mouse.move(target["x"] + 40, target["y"] + 40)
            control.page.evaluate(
                "([s, t]) => window.kpBench.armNext(s, 'pointerdown', t)", ["canvas.floor", TIMEOUT]
            )
            control.page.mouse.down()
            control.page.mouse.up()
            took = control.page.evaluate("() => window.kpBench.result")
            if i:
                floor.append(took)
    for what, times in (("fetched", fetched), ("not fetched", fresh), ("floor", floor)):
        if None in times:
            raise RuntimeError(f"{what}: an image did not come within {TIMEOUT} ms: {times}")
    return fetched, fresh, floor
