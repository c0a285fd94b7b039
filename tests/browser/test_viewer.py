"""A viewer and a comparison as a person uses them: thumbnails, filters, picks, pointing."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, expect

from kpwidget.widget.painter import LOOK

from .conftest import OpenNotebook
from .labeling import add_probe, leave, rgba, wait_ready
from .stage import Stage

pytestmark = pytest.mark.timeout(300)

#: 300 pictures of 120 x 90 px, each with one instance: nose visible, ear occluded in every third.
#: Names of a file, a category and a keypoint would run code if they were taken for markup.
MANY = """
import pathlib, tempfile
import numpy as np, kpwidget as kp
hack = "<img src=x onerror=window.hacked=1>"
names = [f"img_{i:03}.png" for i in range(300)]
names[7] = hack + ".png"
pictures = {
    name: np.full((90, 120, 3), 40 + i % 150, np.uint8) for i, name in enumerate(names)
}
ds = kp.Dataset.from_images(
    pictures, kp.Schema(hack, ["nose", "ear", hack], [(1, 2)]), annotator=hack
)
with ds.transaction("made"):
    for i in range(300):
        ear = (80, 60, 1 if i % 3 == 0 else 2)
        ds.add_instance(i, keypoints=[(30, 20, 2), ear, (60, 80, 2)], uid=f"u{i}", score=i / 300)
ds.save(pathlib.Path(tempfile.mkdtemp()) / "labels.json")
"""
VIEW = MANY + "v = kp.Viewer(ds, height=400)\nv"
PICKED = "[image.file_name for image in v.selection.images]"

COMPARE = """
import numpy as np, kpwidget as kp
schema = kp.Schema("dots", ["a", "b", "c"])
def labels(x, y):
    ds = kp.Dataset.from_images({"grey.png": np.full((300, 400, 3), 120, np.uint8)}, schema)
    points = [[x + 50, y + 50, 2], [x + 200, y + 50, 2], [x + 50, y + 200, 2]]
    ds.add_instance(0, keypoints=points, uid="one")
    return ds
truth, model = labels(0, 0), labels(40, 0)
c = kp.compare(truth, model, names=("truth", "<b>model</b>"), height=500)
c
"""

#: Whether a thumbnail's picture is decoded, and how wide it is.
_LOADED = "(img) => img.complete && img.naturalWidth === 120"


def tile(stage: Stage, name: str) -> Locator:
    """The thumbnail of an image, once its picture is there."""
    found = stage.output.locator(".kpwidget-tile:not(.is-old)").filter(
        has=stage.page.locator(".kpwidget-tile-name", has_text=re.compile(f"^{re.escape(name)}$"))
    )
    expect(found).to_have_count(1)
    expect(found.locator("img")).to_have_attribute("src", re.compile("^blob:"))
    handle = found.locator("img").element_handle()
    stage.page.wait_for_function(_LOADED, arg=handle)
    return found


def listed(stage: Stage, text: str) -> None:
    """Wait until the number of images is told as this text."""
    expect(
        stage.output.get_by_role("status").filter(has_text=re.compile(f"^{text}$"))
    ).to_be_visible()


def test_a_person_looks_through_300_images_and_picks_some(notebook: OpenNotebook) -> None:
    nb = notebook([VIEW], height=1000)
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    stage.scroll_into_view()
    out = stage.output
    tiles = out.locator(".kpwidget-tile")

    # Thumbnails of what is in sight alone; the wheel brings others.
    listed(stage, "300 images")
    tile(stage, "img_000.png")
    shown = tiles.count()
    assert 5 < shown < 40
    hostile = tile(stage, "<img src=x onerror=window.hacked=1>.png")
    assert "<img src=x" in (hostile.get_attribute("title") or "")
    out.locator(".kpwidget-strip").hover()
    stage.page.mouse.wheel(0, 128 * 150)
    tile(stage, "img_150.png")
    assert tiles.count() < shown + 12
    expect(out.locator('.kpwidget-tile[data-place="0"]')).to_have_count(0)

    # By name, and by the visibility of a keypoint: 12, 15, 18.
    out.get_by_label("Only images with this in their file name").fill("IMG_01")
    listed(stage, "10 of 300 images")
    stage.wait_data("image", "img_010.png")
    out.get_by_role("button", name="Filters").click()
    out.get_by_label("Only images with an instance whose keypoint is as said").select_option("ear")
    out.get_by_label("What the keypoint is to be").select_option("occluded")
    listed(stage, "3 of 300 images")
    stage.wait_data("image", "img_012.png")
    # By score, the highest first: 18, 15, 12.
    out.get_by_label("Order of the images").select_option("score")
    out.get_by_title("Ascending").click()
    expect(out.get_by_title("Descending")).to_be_visible()
    expect(out.locator('.kpwidget-tile[data-place="2"].is-current')).to_have_count(1)

    # Back and forth in that order; S and the mark pick.
    stage.focus()
    stage.press("p")
    stage.wait_data("image", "img_015.png")
    stage.press("ArrowLeft")
    stage.wait_data("image", "img_018.png")
    stage.press("s")
    expect(tile(stage, "img_018.png")).to_have_class(re.compile("is-picked"))
    stage.press("n")
    stage.wait_data("image", "img_015.png")
    tile(stage, "img_012.png").locator(".kpwidget-mark").click()
    expect(out.get_by_text("2 picked")).to_be_visible()
    stage.wait_data("image", "img_015.png")
    assert nb.wait_python(PICKED) == ["img_012.png", "img_018.png"]
    assert stage.has_focus, "the keys are the stage's again"

    # Pointing tells name, place, visibility and id; a click chooses, another one elsewhere not.
    stage.hover(80, 60)
    label = out.locator(".kpwidget-cursor")
    expect(label).to_contain_text("ear: 80.0, 60.0, occluded")
    expect(label).to_contain_text("id 16, score 0.05")
    stage.hover(60, 80)
    expect(label).to_contain_text("<img src=x onerror=window.hacked=1>: 60.0, 80.0, visible")
    stage.click_image(30, 20)
    stage.wait_data("active-instance", "u15")
    rows = {row.keypoint: row.visibility for row in stage.keypoints()}
    assert rows == {"nose": "2", "ear": "1", "<img src=x onerror=window.hacked=1>": "2"}
    stage.click_image(100, 10)
    stage.wait_data("active-instance", "")
    # A long name leaves room for what stands beside it.
    side = out.locator(".kpwidget-side")
    assert side.evaluate("(side) => side.scrollWidth <= side.clientWidth")
    expect(stage.stack_row("u15").get_by_title("Hide this instance")).to_be_in_viewport(ratio=1)

    # The grid, over the picture; a click there goes to the image.
    out.get_by_role("button", name="Clear all").click()
    listed(stage, "300 images")
    stage.focus()
    stage.press("t")
    grid = out.locator(".kpwidget-grid")
    expect(grid).to_be_visible()
    assert tiles.count() < 120
    tile(stage, "img_015.png")
    grid.hover()
    stage.page.mouse.wheel(0, 100_000)
    tile(stage, "img_000.png").click()  # score, descending: the last one
    stage.wait_data("image", "img_000.png")
    stage.press("Escape")
    expect(grid).to_be_hidden()
    expect(out.locator(".kpwidget-tile.is-current .kpwidget-tile-name")).to_have_text("img_000.png")

    # Nothing was edited, and no name was taken for markup.
    stage.press("Delete")
    stage.press("Control+z")
    stage.wait_settled()
    assert nb.kernel_eval("(len(ds.instances), ds.is_saved)") in ([300, True], (300, True))
    assert nb.kernel_eval(PICKED) == ["img_012.png", "img_018.png"]
    assert nb.page.evaluate("window.hacked === undefined")
    assert nb.page.locator("[onerror]").count() == 0
    expect(out.locator(".kpwidget-notice")).to_have_count(0)


def test_two_label_sets_over_one_another(notebook: OpenNotebook) -> None:
    nb = notebook([COMPARE], height=1000)
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    add_probe(stage)
    leave(stage)
    # In the middle of each arrow, from (50, 50) to (90, 50) for the first.
    for at in ((70, 50), (220, 50), (70, 200)):
        assert stage.pixel(*at) == rgba(LOOK["arrow"])[:3]
    assert stage.pixel(70, 100) == (120, 120, 120)
    assert [row.instance for row in stage.stack()] == ["one", "second:one"]
    titles = ("dots 1, truth", "dots 1, <b>model</b>")
    for row, title in zip(stage.stack(), titles, strict=True):
        assert row.text.startswith(title)
    stage.hover(90, 50)
    label = stage.output.locator(".kpwidget-cursor")
    expect(label).to_contain_text("a: 90.0, 50.0, visible")
    expect(label).to_contain_text("dots 1, <b>model</b>")
    expect(label).to_contain_text("40.0 px apart on average")
    # An instance of the second set is chosen like any other, and stays so.
    stage.click_image(90, 50)
    stage.wait_data("active-instance", "second:one")
    stage.wait_settled()
    assert nb.wait_python("c.scene['cursor']['instance']") == "second:one"
    stage.wait_data("active-instance", "second:one")
    # What code moves, the arrow follows.
    nb.kernel_exec("model.instance('one').set_keypoint('a', 50, 90)")
    leave(stage)
    nb.wait_python("c.scene['arrows'][:4] == [50, 50, 50, 90] and not c._dirty")
    stage.wait_until("(root, at) => kpProbe.painted(root, [at])[0][3] > 0", [50, 70])
    # A line of 1.5 px that does not lie on whole pixels.
    assert min(stage.pixel(50, 70)) > 180
    assert stage.pixel(70, 50) == (120, 120, 120)


#: In each of three pictures a bird with a keypoint outside of it; names that are no markup.
FINDINGS = """
import numpy as np, kpwidget as kp
hack = "<img src=x onerror=window.hacked=1>"
names = ["a.png", "b.png", hack + ".png"]
ds = kp.Dataset.from_images(
    {name: np.full((300, 400, 3), 120, np.uint8) for name in names},
    kp.Schema("bird", ["beak", hack, "tail"], [(1, 2), (2, 3)]), annotator="anna"
)
for i in range(3):
    outside = (430, 150, 2) if i < 2 else (390, 150, 2)
    hacked = (300, 100, 2) if i < 2 else (300, -40, 2)
    ds.add_instance(i, keypoints=[outside, hacked, (200, 200, 2)], uid=f"u{i}")
found = kp.quality.check(ds, "visibility")
v = kp.Viewer(ds, findings=found, height=400)
v
"""
DECIDED = "[(d.image, d.keypoint, d.verdict, d.annotator) for d in ds.decisions]"


def test_a_person_walks_through_findings_and_decides(notebook: OpenNotebook) -> None:
    nb = notebook([FINDINGS], height=1000)
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    stage.scroll_into_view()
    review = stage.output.get_by_role("group", name="Findings")
    rows = review.get_by_role("listbox").get_by_role("option")
    expect(rows).to_have_count(3)
    expect(review.get_by_text("3 open, 0 decided")).to_be_visible()
    about = review.locator(".kpwidget-review-current")
    expect(about).to_contain_text("visibility, beak, a.png: (430, 150) is outside the image")

    # It opens at the place: zoomed in, the keypoint in sight although it is outside, its row lit.
    stage.wait_data("active-instance", "u0")
    stage.wait_until("(root) => Number(root.dataset.scale) > 1.2", None)
    (x, y), box = stage.to_client(430, 150), stage.bounding_box()
    assert box["x"] < x < box["x"] + box["width"]
    assert box["y"] < y < box["y"] + box["height"]
    expect(stage.output.locator('[data-keypoint="beak"].is-selected')).to_have_count(1)

    # By keys: the first is fine, and the next one opens; by the button, without a key, fixed.
    stage.focus()
    stage.press("a")
    stage.wait_data("image", "b.png")
    expect(review.get_by_text("2 open, 1 decided")).to_be_visible()
    review.get_by_role("button", name="Fixed").click()
    stage.wait_data("image", "<img src=x onerror=window.hacked=1>.png")
    expect(about).to_contain_text("<img src=x onerror=window.hacked=1>")
    assert stage.has_focus, "the keys are the stage's again"
    assert nb.wait_python(f"{DECIDED} if len(ds.decisions) == 2 else None") == [
        ["a.png", "beak", "fine", "anna"], ["b.png", "beak", "fixed", "anna"],
    ]  # fmt: skip

    # Undo goes back to it; redo. The list is a stop of Tab, and takes the same keys.
    stage.press("Control+z")
    stage.wait_data("image", "b.png")
    expect(review.get_by_text("2 open, 1 decided")).to_be_visible()
    stage.press("Control+Shift+z")
    expect(review.get_by_text("1 open, 2 decided")).to_be_visible()
    review.get_by_label("Open, decided or all findings").select_option("all")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("fine as it is")
    review.get_by_role("listbox").focus()
    stage.page.keyboard.press("k")
    stage.wait_data("image", "a.png")
    expect(rows.nth(0)).to_have_attribute("aria-selected", "true")
    expect(about).to_contain_text("Called fine as it is by anna.")
    review.get_by_role("button", name="Open again").click()
    expect(review.get_by_text("2 open, 1 decided")).to_be_visible()
    stage.press("a")
    stage.wait_data("image", "b.png")

    # Found again: what is fine is not told, what was called fixed is, with who said so.
    again = "kp.quality.check(ds, 'visibility')[['image', 'reason']].values.tolist()"
    told = nb.wait_python(f"{again} if len(ds.decisions) == 2 else None")
    assert [image for image, _ in told] == ["b.png", "<img src=x onerror=window.hacked=1>.png"]
    assert told[0][1].endswith("anna called it fixed, and it is found again")
    assert nb.kernel_eval("v.findings.verdict.tolist()") == ["fine", "fixed", None]
    assert nb.page.evaluate("window.hacked === undefined")
    assert nb.page.locator("[onerror]").count() == 0
    expect(stage.output.locator(".kpwidget-notice")).to_have_count(0)
