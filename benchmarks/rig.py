"""One Jupyter server and one Chromium for a run, and the pages that are measured in them."""

from __future__ import annotations

import json
import os
import random
import socket
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import websocket
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests.browser.browser import find_browser, launch_arguments
from tests.browser.notebook import Notebook
from tests.browser.proxy import Proxy
from tests.browser.server import JupyterServer
from tests.browser.stage import Stage

PROBE = (Path(__file__).parent / "probe.js").read_text(encoding="utf-8")
FLOOR = (Path(__file__).parent / "floor.html").read_text(encoding="utf-8")

#: Size of the windows, in CSS px.
WIDTH, HEIGHT = 1280, 900

#: The annotator's height in the benchmarks, in CSS px: the default.
STAGE_HEIGHT = 600

#: Size of the plain canvas, about that of the annotator's, in CSS px.
PEER_SIZE = (920, 600)

#: Below this the window shows JupyterLab's status bar.
BOTTOM = HEIGHT - 50

# Each measure begins with nothing labeled. Set it to "on" to measure clicks with the journal.
os.environ.setdefault("KPWIDGET_JOURNAL", "off")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Hand:
    """Mouse events at a rate of their own, as a mouse makes them: none waits for the page.

    Playwright's mouse waits until the page has handled an event before it sends the next, so a slow
    page would get fewer events than a fast one.

    Parameters
    ----------
    port : int
        The browser's remote debugging port.
    page : Page
        The page to act on.
    """

    def __init__(self, port: int, page: Page) -> None:
        session = page.context.new_cdp_session(page)
        target = session.send("Target.getTargetInfo")["targetInfo"]["targetId"]
        session.detach()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as response:
            [address] = [
                entry["webSocketDebuggerUrl"]
                for entry in json.load(response)
                if entry["id"] == target
            ]
        self._socket = websocket.create_connection(address, timeout=30, suppress_origin=True)
        self._sent = 0

    def _send(self, kind: str, x: float, y: float, buttons: int) -> None:
        self._sent += 1
        button = "none" if kind == "mouseMoved" and not buttons else "left"
        self._socket.send(
            json.dumps(
                {
                    "id": self._sent,
                    "method": "Input.dispatchMouseEvent",
                    "params": {
                        "type": kind,
                        "x": x,
                        "y": y,
                        "button": button,
                        "buttons": buttons,
                        "clickCount": 0 if kind == "mouseMoved" else 1,
                    },
                }
            )
        )

    def drag(self, points: Sequence[tuple[float, float]], seconds: float) -> None:
        """Press at the first point, move over the others within `seconds`, release at the last."""
        self._send("mouseMoved", *points[0], 0)
        self._send("mousePressed", *points[0], 1)
        start = time.perf_counter()
        for n, point in enumerate(points[1:], 1):
            wait = start + seconds * n / (len(points) - 1) - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            self._send("mouseMoved", *point, 1)
        self._send("mouseReleased", *points[-1], 0)
        while json.loads(self._socket.recv()).get("id") != self._sent:
            continue  # the answers come in order: with the last one, all is handled

    def close(self) -> None:
        self._socket.close()


@dataclass
class Target:
    """A page with a canvas that shows what a pointer does."""

    page: Page
    #: CSS selector of the canvas whose pixels are read.
    canvas: str
    #: left, top, right, bottom in CSS px of the window: where presses may go.
    area: tuple[float, float, float, float]
    #: What must be over before the next press, so that it is measured alone.
    settle: Callable[[], None]

    def somewhere(self, rng: random.Random) -> tuple[float, float]:
        left, top, right, bottom = self.area
        return float(round(rng.uniform(left, right))), float(round(rng.uniform(top, bottom)))


class Rig:
    """What a run needs; closed as a context manager. Server and browser start when first used.

    Parameters
    ----------
    is_quick : bool
        Few samples.
    made : Path
        Folder in which made labels files are kept from run to run.
    """

    def __init__(self, is_quick: bool, made: Path) -> None:
        self.is_quick = is_quick
        self.made = made
        self.rng = random.Random(1)
        self._stack = ExitStack()

    def __enter__(self) -> Rig:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        return self

    @cached_property
    def server(self) -> JupyterServer:
        """The Jupyter server."""
        server = JupyterServer(self.folder / "jupyter")
        (self.folder / "jupyter").mkdir()
        server.start()
        self._stack.callback(server.stop)
        return server

    @cached_property
    def port(self) -> int:
        """Remote debugging port of the browser."""
        return _free_port()

    @cached_property
    def browser(self) -> Browser:
        """The browser."""
        return self.launch(self.port)

    @cached_property
    def _playwright(self) -> Playwright:
        return self._stack.enter_context(sync_playwright())

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def samples(self, full: int, quick: int) -> int:
        """How many samples to take."""
        return quick if self.is_quick else full

    def launch(self, port: int | None = None) -> Browser:
        """Start another Chromium."""
        more = [] if port is None else [f"--remote-debugging-port={port}"]
        browser = self._playwright.chromium.launch(
            executable_path=find_browser(), args=[*launch_arguments(), *more], headless=True
        )
        self._stack.callback(browser.close)
        return browser

    @contextmanager
    def notebook(self, cells: Sequence[str], **options: Any) -> Iterator[Notebook]:
        """Open a new notebook with a kernel of its own; both end with the block."""
        made = Notebook(
            self.server,
            options.pop("browser", self.browser),
            cells,
            width=WIDTH,
            height=HEIGHT,
            **options,
        )
        made.context.add_init_script(PROBE)
        try:
            made.open()
            yield made
        finally:
            kernel = made.state()["kernel"]
            made.close()
            if kernel:
                self.server.api("DELETE", f"/api/kernels/{kernel}")

    @contextmanager
    def proxy(self) -> Iterator[Proxy]:
        """Open a proxy in front of the server."""
        with Proxy(self.server.port) as proxy:
            yield proxy

    @contextmanager
    def floor(self, width: float, height: float) -> Iterator[Target]:
        """Open the control page with a canvas of this size in CSS px."""
        context = self.browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
        context.add_init_script(PROBE)
        page = context.new_page()
        # A served page, as ours is: about:blank would share a process with whatever opened it.
        page.route(
            "http://floor.invalid/",
            lambda route: route.fulfill(body=FLOOR, content_type="text/html"),
        )
        page.goto("http://floor.invalid/")
        page.evaluate("([w, h]) => window.setSize(w, h)", [width, height])
        area = (100.0, 60.0, 100.0 + 0.7 * width, 60.0 + 0.7 * height)
        try:
            yield Target(page, "canvas", area, lambda: None)
        finally:
            context.close()

    def photo(self, width: int, height: int, seed: int = 0, name: str = "") -> Path:
        """Return a JPEG of quality 90 with the statistics of a photograph, made once."""
        path = self.folder / (name or f"photo-{width}x{height}-{seed}.jpg")
        if not path.exists():
            from PIL import Image

            from kpwidget.samples import made_photo

            Image.fromarray(made_photo(width, height, seed)).save(path, quality=90)
        return path


# -- cells ----------------------------------------------------------------------------------


def annotator_cells(photo: Path, n_people: int = 0, schema: str = "coco17") -> list[str]:
    """Cells that show an annotator on one photograph: ``a``, with `n_people` labeled already."""
    return [
        f"""
import numpy as np
import kpwidget as kp
from kpwidget.widget import Annotator
ds = kp.Dataset.from_images([{str(photo)!r}], schema=kp.schemas.get({schema!r}))
image = ds.images[0]
k = ds.categories[0].schema.n_keypoints
rng = np.random.default_rng(0)
side = int(np.ceil(np.sqrt(max({n_people}, 1))))
with ds.transaction("people"):
    for n in range({n_people}):
        corner = np.array((n % side, n // side)) / side
        xy = (corner + rng.uniform(0.05, 0.95, (k, 2)) / side) * (image.width, image.height)
        ds.add_instance(image, keypoints=np.c_[xy, np.full(k, 2)])
a = Annotator(ds, height={STAGE_HEIGHT})
""",
        "a",
        "",
    ]


def peer_cells(width: int = PEER_SIZE[0], height: int = PEER_SIZE[1]) -> list[str]:
    """Cells that show a plain ipycanvas canvas which draws dots in Python handlers."""
    return [
        f"""
from ipycanvas import Canvas, hold_canvas
canvas = Canvas(width={width}, height={height})
canvas.layout.width = "{width}px"
is_down = False

def dot(x, y):
    canvas.fill_style = "#e69f00"
    canvas.fill_circle(x, y, 5)

def down(x, y):
    global is_down
    is_down = True
    dot(x, y)

def move(x, y):
    if is_down:
        with hold_canvas():
            canvas.clear()
            dot(x, y)

def up(x, y):
    global is_down
    is_down = False

canvas.on_mouse_down(down)
canvas.on_mouse_move(move)
canvas.on_mouse_up(up)
""",
        "canvas",
        "",
    ]


# -- pages as targets -----------------------------------------------------------------------


def show_annotator(notebook: Notebook) -> Stage:
    """Run the cells of `annotator_cells` and wait until the picture is painted."""
    notebook.run(0)
    notebook.run(1)
    stage = notebook.widget()
    stage.scroll_into_view()
    notebook.page.wait_for_function(
        """() => {
          const canvas = document.querySelector('.kpwidget-stage .kpwidget-layer');
          if (!canvas || canvas.width < 20 || canvas.height < 20) return false;
          return canvas.getContext('2d').getImageData(10, 10, 1, 1).data[3] > 0;
        }"""
    )
    notebook.page.wait_for_timeout(500)
    return stage


def annotator_target(stage: Stage) -> Target:
    """Where to press on an annotator: inside the picture, away from its edges."""
    box, view = stage.ink_box, stage.viewport
    width, height = stage.root.evaluate("(root) => [root.clientWidth, root.clientHeight]")
    left, top = box.left + max(view.tx, 0) + 20, box.top + max(view.ty, 0) + 20
    right = box.left + min(width - view.tx, width) - 20
    bottom = box.top + min(height - view.ty, height) - 20
    return Target(
        stage.page,
        ".kpwidget-ink",
        (left, top, right, min(bottom, BOTTOM)),
        lambda: stage.wait_settled(),
    )


def show_peer(notebook: Notebook) -> Target:
    """Run the cells of `peer_cells`."""
    notebook.run(0)
    notebook.run(1)
    canvas = notebook.output(1).locator("canvas")
    canvas.wait_for(state="visible")
    canvas.evaluate("(canvas) => canvas.scrollIntoView({block: 'center'})")
    notebook.page.wait_for_timeout(500)
    box = canvas.bounding_box()
    assert box is not None
    area = (
        box["x"] + 20,
        box["y"] + 20,
        box["x"] + box["width"] - 20,
        min(box["y"] + box["height"] - 20, BOTTOM),
    )
    return Target(notebook.page, ".jp-OutputArea canvas", area, lambda: None)
