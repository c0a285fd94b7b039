"""Findings of the image under the hands, and how long the rest will take."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from .conftest import OpenNotebook
from .labeling import leave, wait_ready

MAKE = """
import numpy as np, kpwidget as kp
pair = kp.Schema("pair", ["a", "b"], [(1, 2)])
pictures = {f"grey_{i}.png": np.full((300, 400, 3), 100 + i, np.uint8) for i in range(8)}
ds = kp.Dataset.from_images(pictures, pair, annotator="ada")
a = kp.Annotator(ds, height=400)
a
"""


@pytest.mark.timeout(200)
def test_findings_are_listed_shown_answered_and_the_rest_is_estimated(
    notebook: OpenNotebook,
) -> None:
    nb = notebook([MAKE])
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    stage.scroll_into_view()
    for at in ((100, 100), (200, 150)):
        stage.click_image(*at)
    stage.wait_settled()
    keypoints = stage.output.locator(".kpwidget-keypoints")
    before = keypoints.bounding_box()
    findings = stage.output.locator(".kpwidget-found")
    expect(findings).to_be_hidden()

    # Dragged over the corner it stays in it, where a point mostly means that there is none.
    stage.drag((100, 100), (-4, -4))
    row = findings.locator("[data-finding]")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("Error: labeled (visibility 2) at (0, 0)")
    expect(row).to_contain_text("a, pair 1")
    assert keypoints.bounding_box() == before

    # Out of sight, as zooming at the other corner has it, it is brought back by a click.
    stage.hover(380, 280)
    stage.focus()
    for _ in range(6):
        stage.press("+")
    leave(stage)
    assert stage.to_client(0, 0)[0] < stage.ink_box.left
    row.click()
    ink, (x, y) = stage.ink_box, stage.to_client(0, 0)
    assert ink.left < x < ink.left + ink.width
    assert ink.top < y < ink.top + ink.height
    assert stage.active_instance == nb.kernel_eval("ds.instances[0].uid")
    stage.press("f")

    row.get_by_role("button", name="Fine as it is").click()
    expect(findings).to_be_hidden()
    stage.wait_settled()
    assert nb.kernel_eval("[(d.verdict, d.annotator, d.keypoint) for d in ds.decisions]") == [
        ["fine", "ada", "a"]
    ]
    stage.press("Control+z")
    expect(row).to_have_count(1)
    assert nb.kernel_eval("len(ds.decisions)") == 0
    # By keys: from the row to its first button.
    row.focus()
    for key in ("Tab", "Enter"):
        nb.page.keyboard.press(key)
    expect(findings).to_be_hidden()
    stage.wait_settled()
    assert nb.kernel_eval("ds.instances[0].raw[0].tolist()") == [0, 0, 0]
    stage.press("Control+z")
    stage.press("Control+z")
    expect(findings).to_be_hidden()
    stage.wait_settled()
    assert nb.kernel_eval("ds.instances[0].raw[0, 2]") == 2

    bar = stage.output.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", "0")
    expect(bar).to_contain_text("not enough data (you have done 0 of 6 images)")
    stage.press("d")
    for image in range(1, 6):
        stage.press("n")
        stage.wait_data("image", f"grey_{image}.png")
        for at in ((100, 100), (200, 150)):
            stage.click_image(*at)
        stage.press("d")
    expect(bar).to_have_attribute("aria-valuenow", "6")
    words = re.compile(r"6 of 8 images done.* s an instance · about .* left \(.*\)")
    expect(bar).to_have_text(words)
    pace = nb.kernel_eval("[a.pace.instance.n, a.pace.image.n, a.pace.n_left]")
    assert pace == [6, 6, 2]
    assert nb.kernel_eval("str(a.pace)") in (bar.get_attribute("aria-valuetext") or "")

    # Three are in sight under an instance, and the keypoints below where they were.
    nb.kernel_eval("[ds.add_instance(5, keypoints={'a': (0, 0), 'b': (0, 0)}).id for _ in 'abc']")
    expect(row).to_have_count(6)
    room, third = (
        one.bounding_box() for one in (findings.locator(".kpwidget-found-list"), row.nth(2))
    )
    assert room is not None
    assert third is not None
    assert third["y"] + third["height"] <= room["y"] + room["height"] + 1
    # The one that is chosen is told in full, and comes into sight.
    row.nth(2).click()
    expect(row.nth(2)).to_have_class(re.compile("is-active"))
    opened = row.nth(2).bounding_box()
    assert opened is not None
    assert opened["height"] > third["height"] + 10
    assert opened["y"] + opened["height"] <= room["y"] + room["height"] + 1
    assert keypoints.bounding_box() == before
