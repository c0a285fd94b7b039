"""Pictures: going from one to the next leaves nothing behind; one that is broken stops no other."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from .conftest import OpenNotebook
from .labeling import DOTS, POINTS, leave, wait_painted, wait_ready

pytestmark = pytest.mark.timeout(300)

MANY = DOTS + "ds = dataset(21)\na = kp.Annotator(ds, height=400)\na"

# Counts what must be given back by hand: object URLs and decoded bitmaps.
_COUNT = """() => {
  const c = window.kpCount = {urls: new Set(), n_urls: 0, made: 0, closed: 0, bytes: 0};
  const {createObjectURL, revokeObjectURL} = URL;
  URL.createObjectURL = (blob) => {
    const url = createObjectURL.call(URL, blob);
    c.urls.add(url);
    c.n_urls += 1;
    return url;
  };
  URL.revokeObjectURL = (url) => { c.urls.delete(url); revokeObjectURL.call(URL, url); };
  const {createImageBitmap} = window, {close} = ImageBitmap.prototype;
  window.createImageBitmap = async (...args) => {
    const bitmap = await createImageBitmap(...args);
    c.made += 1;
    return bitmap;
  };
  ImageBitmap.prototype.close = function () {
    if (this.width > 0) c.closed += 1;
    close.call(this);
  };
}"""

# Red in the middle of the image layer.
_MIDDLE = """(root) => root.querySelector('canvas').getContext('2d')
  .getImageData(320, 240, 1, 1).data[0]"""

# Good pictures around one that is not there, one cut short, one that is text, and one that says it
# is 100,000 pixels wide and high.
BROKEN = (
    DOTS
    + """
import pathlib, struct, tempfile, zlib
from PIL import Image
folder = pathlib.Path(tempfile.mkdtemp())
names = ["0_good.png", "1_missing.png", "2_short.jpg", "3_text.png", "4_bomb.png", "5_good.png"]
for name in ("0_good.png", "1_missing.png", "5_good.png"):
    Image.new("RGB", (640, 480), (120, 130, 140)).save(folder / name)
noise = np.random.default_rng(3).integers(0, 256, (480, 640, 3), dtype=np.uint8)
Image.fromarray(noise).save(folder / "2_short.jpg")
whole = (folder / "2_short.jpg").read_bytes()
(folder / "2_short.jpg").write_bytes(whole[:len(whole) // 3])
(folder / "3_text.png").write_text("this is no picture")
def chunk(kind, data):
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)
header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
(folder / "4_bomb.png").write_bytes(
    b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0" * 99))
    + chunk(b"IEND", b"")
)
ds = kp.Dataset.from_images([folder / name for name in names], schema=plain)
(folder / "1_missing.png").unlink()
a = kp.Annotator(ds, height=400)
a
"""
)


def test_twenty_pictures_leave_nothing_behind(notebook: OpenNotebook) -> None:
    nb = notebook([MANY])
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    nb.page.evaluate(_COUNT)
    stage.focus()
    for i in range(1, 21):
        stage.press("n")
        stage.wait_data("image", f"grey_{i}.png")
        # The picture on the layer is that of this image: every one has a grey of its own.
        assert stage.root.evaluate(_MIDDLE) == 120 + i
    clicked = stage.click_image(100, 100)
    stage.wait_settled()
    leave(stage)
    wait_painted(stage, [clicked])
    told = nb.page.evaluate(
        "() => ({urls: [...kpCount.urls], n: kpCount.n_urls, made: kpCount.made,"
        " closed: kpCount.closed})"
    )
    assert told["made"] >= 20
    assert told["closed"] == told["made"]
    assert told["urls"] == []
    assert nb.kernel_eval("ds.instances[0].image.file_name") == "grey_20.png"


def test_broken_pictures_are_told_and_the_rest_works(notebook: OpenNotebook) -> None:
    nb = notebook([BROKEN])
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    message = stage.root.locator(".kpwidget-message")
    expect(message).to_be_hidden()
    first = stage.click_image(100, 100)
    stage.wait_settled()
    for name, words in {
        "1_missing.png": "1_missing.png",
        "2_short.jpg": "2_short.jpg",
        "3_text.png": "3_text.png",
        "4_bomb.png": "4_bomb.png",
    }.items():
        stage.press("n")
        stage.wait_data("image", name)
        expect(message).to_be_visible()
        expect(message).to_contain_text(words)
        said = message.inner_text()
        assert len(said) > len(name) + 15, said
        # Nothing can be placed where nothing is to be seen.
        box = stage.ink_box
        stage.page.mouse.click(box.left + box.width / 2, box.top + box.height / 2)
        stage.wait_settled()
        assert nb.kernel_eval("len(ds.instances)") == 1
        assert stage.has_focus
    stage.press("n")
    stage.wait_data("image", "5_good.png")
    expect(message).to_be_hidden()
    last = stage.click_image(300, 300)
    stage.wait_settled()
    leave(stage)
    wait_painted(stage, [last])
    assert stage.pixel(400, 400, ink=False) == (120, 130, 140)
    assert nb.kernel_eval(POINTS) == [pytest.approx(xy, abs=0.01) for xy in (first, last)]
    assert not [line for line in nb.console if line.startswith("uncaught")]
