"""An image that comes again while a person labels: blind, kept apart, there after a reload."""

from __future__ import annotations

from playwright.sync_api import expect

from .conftest import OpenNotebook
from .labeling import click_all, leave, wait_ready
from .stage import Stage

MAKE = """
import numpy as np, kpwidget as kp
from kpwidget.widget import anchors
anchors.LEAST_SINCE = 1
shades = {f"{i}.png": np.full((480, 640, 3), 40 + 60 * i, np.uint8) for i in range(4)}
ds = kp.Dataset.from_images(shades, kp.Schema("bolt", ["head", "neck", "tip"], [(1, 2), (2, 3)]))
a = kp.Annotator(ds, height=400, anchors=1.0, rng=0)
a
"""
BOLT = [(100, 100), (200, 150), (300, 120)]
LABELS = "[(i.image.index, i.keypoints.tolist()) for i in ds.instances]"


def wait_shade(stage: Stage, shade: int) -> None:
    """Wait until the picture on the screen is that of this grey."""
    stage.wait_until(
        """(root, shade) => {
          const layer = root.querySelector('canvas:not(.kpwidget-ink)');
          return Math.abs(layer.getContext('2d').getImageData(9, 9, 1, 1).data[0] - shade) < 9;
        }""",
        shade,
    )


def test_labels_of_an_image_that_comes_again_are_apart(notebook: OpenNotebook) -> None:
    nb = notebook([MAKE])
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    for shade in (40, 100):
        wait_shade(stage, shade)
        click_all(stage, BOLT)
        stage.wait_settled()
        stage.press("n")
    wait_shade(stage, 40)  # the first one, in the place of the third
    labels = nb.kernel_eval(LABELS)
    assert [index for index, _ in labels] == [0, 1]
    jump = stage.output.get_by_role(
        "textbox", name="Go to an image: its number or a part of its name"
    )
    rows = stage.output.locator(".kpwidget-stack [data-instance]")
    assert stage.image == "2.png"
    expect(jump).to_have_value("3")
    expect(rows).to_have_count(0)
    assert stage.next_keypoint == "head"

    click_all(stage, [(110, 105), (210, 155)])
    leave(stage)
    stage.wait_settled()
    nb.reload()
    stage = nb.widget()
    wait_shade(stage, 40)
    stage.wait_next("tip")
    expect(rows).to_contain_text(["2/3"])
    drawn = click_all(stage, [(310, 125)])
    stage.wait_settled()
    assert "anchor" not in nb.page.locator(".kpwidget-stage").locator("..").inner_html().lower()
    stage.press("n")
    wait_shade(stage, 160)  # what was asked for, with nothing on it
    assert stage.image == "2.png"
    expect(jump).to_have_value("3")
    expect(rows).to_have_count(0)
    assert nb.kernel_eval(LABELS) == labels
    [(uid, name, points)] = nb.kernel_eval(
        "[(o.uid == ds.instances[0].uid, o.name, o.keypoints().tolist()) for o in ds.passes]"
    )
    assert (uid, name) == (True, "anchor")
    for placed, wanted in zip(points, [(110, 105), (210, 155), drawn[0]], strict=True):
        assert abs(placed[0] - wanted[0]) < 1.5
        assert abs(placed[1] - wanted[1]) < 1.5
    click_all(stage, BOLT)
    stage.wait_settled()
    assert [index for index, _ in nb.kernel_eval(LABELS)] == [0, 1, 2]
