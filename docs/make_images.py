"""Make the pictures of the documentation: the real widget, in JupyterLab, driven by mouse and keys.

Run it from a checkout with the development packages and the built bundle (``make test`` sets up
both)::

    .venv/bin/python docs/make_images.py
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # the browser tests' helpers are not installed

from kpwidget import schemas  # noqa: E402
from kpwidget.widget.painter import INSTANCE_COLORS, rgb  # noqa: E402
from tests.browser.browser import find_browser, launch_arguments  # noqa: E402
from tests.browser.notebook import Notebook  # noqa: E402
from tests.browser.server import JupyterServer  # noqa: E402

IMAGES = Path(__file__).resolve().parent / "images"
MAX_BYTES = 250_000
"""A README should not be heavy to load."""

CELL = """
import kpwidget as kp
photos = {path.name: path for path in kp.samples.sample_images(["astronaut", "chelsea"]).values()}
ds = kp.Dataset.from_images(photos, kp.Category(1, kp.schemas.get("coco17"), "person"))
kp.Annotator(ds, height=520)
"""

VIEWER_CELL = """
import os
os.environ["JUPYTERHUB_USER"] = "ada"  # not the name of whoever makes the picture
import numpy as np
import kpwidget as kp
ds = kp.samples.sample_dataset(40, seed=3)
model = ds.select().copy()
rng = np.random.default_rng(0)
for instance in model.instances:
    points = np.nan_to_num(instance.keypoints)
    points[:, :2] += rng.normal(0, 9, points[:, :2].shape)
    points[points[:, 2] == 0] = 0
    instance.set_keypoints(points)
kp.compare(ds, model, names=("truth", "model"), image="figure_002.png", height=420)
"""

# Where the keypoints are in the photograph 'astronaut', in image pixels; left is the person's own.
# The ears are under the hair, so they are placed as occluded.
PLACED = (
    ("nose", 224.0, 121.0, False),
    ("left_eye", 248.0, 103.0, False),
    ("right_eye", 202.0, 100.0, False),
    ("left_ear", 281.0, 118.0, True),
    ("right_ear", 172.0, 116.0, True),
    ("left_shoulder", 333.0, 268.0, False),
    ("right_shoulder", 88.0, 252.0, False),
)
NEXT, NEXT_XY = "left_elbow", (356.0, 352.0)


def main() -> None:
    """Write every picture."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = JupyterServer(Path(folder))
        server.start()
        browser = playwright.chromium.launch(
            executable_path=find_browser(), args=launch_arguments()
        )
        try:
            notebook = Notebook(server, browser, [CELL], width=1150, height=800)
            notebook.open()
            write_png(IMAGES / "annotator.png", photograph_annotator(notebook))
            notebook.close()
            notebook = Notebook(server, browser, [VIEWER_CELL], width=1150, height=900)
            notebook.open()
            write_png(IMAGES / "viewer.png", photograph_viewer(notebook))
            notebook.close()
        finally:
            browser.close()
            server.shut_down_kernels()
            server.stop()


def photograph_annotator(notebook: Notebook) -> bytes:
    """PNG of the annotator with a person half labeled and the next name at the cursor."""
    notebook.run(0)
    stage = notebook.widget()
    stage.scroll_into_view()
    for name, x, y, is_occluded in PLACED:
        stage.wait_next(name)
        stage.click_image(x, y, modifiers=["Shift"] if is_occluded else [])
    stage.wait_next(NEXT)
    stage.hover(*NEXT_XY)
    stage.wait_settled()
    # The first painting brings the photograph; the frames after it, the panels.
    stage.page.wait_for_function("!document.querySelector('.kpwidget-stage.is-loading')")
    stage.wait_frames()
    return stage.page.locator(".kpwidget").first.screenshot(animations="disabled")


def photograph_viewer(notebook: Notebook) -> bytes:
    """PNG of two label sets in a viewer, with the pointer on a keypoint."""
    notebook.run(0)
    stage = notebook.widget()
    stage.scroll_into_view()
    page = stage.page
    page.wait_for_function(
        """() => {
          const tiles = [...document.querySelectorAll('.kpwidget-tile img')];
          return tiles.length > 5 && tiles.every((img) => img.complete && img.naturalWidth > 0) &&
            !document.querySelector('.kpwidget-stage.is-loading');
        }"""
    )
    at = notebook.kernel_eval("ds.images[2].instances[0].keypoints[7, :2].tolist()")
    stage.hover(*at)
    stage.wait_settled()
    stage.wait_frames()
    return page.locator(".kpwidget").first.screenshot(animations="disabled")


def write_png(path: Path, png: bytes) -> None:
    """Write a screenshot with 256 colours: a third of the bytes, hardly a difference.

    The keypoints' own colours are among the 256, though they cover few pixels.
    """
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    marks = sorted({rgb(color) for color in (*schemas.get("coco17").colors, *INSTANCE_COLORS)})
    common = picture.quantize(256 - len(marks), method=Image.Quantize.MEDIANCUT).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*(value for mark in marks for value in mark), *common])
    picture = picture.quantize(palette=palette, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    n_bytes = path.stat().st_size
    if n_bytes > MAX_BYTES:
        raise SystemExit(f"{path} has {n_bytes} bytes, expected at most {MAX_BYTES}")
    size = f"{picture.width}x{picture.height}, {n_bytes / 1000:.0f} kB"
    sys.stdout.write(f"{path.relative_to(REPOSITORY)}: {size}\n")


if __name__ == "__main__":
    main()
