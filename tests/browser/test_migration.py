"""The schema is changed in a cell while its instances are being labeled."""

from __future__ import annotations

import pytest

from .conftest import OpenNotebook
from .labeling import wait_painted, wait_ready
from .notebook import App

MAKE = """
import numpy as np, kpwidget as kp
bird = kp.Schema("bird", ["beak", "eye", "wing", "tail"], [(1, 2), (2, 3), (3, 4)])
other = kp.Schema("bird", ["tail", "bill", "foot", "wing"], [(1, 4), (2, 4)])
pictures = {f"{i}.png": np.full((480, 640, 3), 120, np.uint8) for i in range(100)}
ds = kp.Dataset.from_images(pictures, bird)
for i in range(200):
    at = [(60 + 300 * (i % 2) + 60 * k, 100 + i + 10 * k, 1 if k == 1 else 2) for k in range(4)]
    ds.add_instance(i // 2, keypoints=at, uid=f"{i}")
def said():
    values = [(i.uid, i.raw.tolist(), i.bbox) for i in ds.instances]
    return [ds.categories[0].schema.to_metadata(), values]
def at(uid, name):
    return ds.instance(uid).raw[ds.categories[0].keypoints.index(name)].tolist()
start = said()
a = kp.Annotator(ds, height=500)
a
"""
MIGRATE = 'print(ds.migrate_schema("bird", other, {"beak": "bill", "eye": None}, remove=True))'
UNDO = "_ = ds.undo()"


@pytest.mark.timeout(200)
@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_schema_changed_in_a_cell_between_clicks_and_undone(
    notebook: OpenNotebook, app: App
) -> None:
    nb = notebook([MAKE, MIGRATE, UNDO], app=app)
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    assert stage.next_keypoint == "beak"
    nb.run(1)
    assert "200 instances" in nb.text(1)
    # The cursor stays at its keypoint, which has another name and another place.
    stage.wait_next("bill")
    assert [row.keypoint for row in stage.keypoints()] == ["tail", "bill", "foot", "wing"]
    wait_painted(stage, [(60, 100), (240, 130)])  # instance 0: bill and tail, at their places
    placed = stage.click_image(500, 400)
    stage.wait_next("foot")
    nb.wait_python("len(ds.instances) == 201")
    new = nb.kernel_eval("ds.instances[200].uid")
    assert nb.kernel_eval(f"at({new!r}, 'bill')") == pytest.approx([*placed, 2], abs=0.01)
    # A point from before is still itself under the pointer: the wing, which is the last one now.
    stage.drag((180, 120), (200, 300))
    nb.wait_python("at('0', 'wing')[1] > 290")
    assert nb.kernel_eval("[at('0', n)[:2] for n in ('tail', 'bill', 'foot')]") == [
        [240, 130], [60, 100], [0, 0],
    ]  # fmt: skip
    for condition in ("at('0', 'wing') == [180, 120, 2]", "len(ds.instances) == 200"):
        stage.press("Control+z")
        nb.wait_python(condition)
    nb.run(2)
    stage.wait_next("beak")
    assert nb.kernel_eval("said() == start")
    wait_painted(stage, [(60, 100), (180, 120), (240, 130)])
    placed = stage.click_image(500, 400)
    nb.wait_python("len(ds.instances) == 201")
    assert nb.kernel_eval("at(ds.instances[200].uid, 'beak')") == pytest.approx(
        [*placed, 2], abs=0.01
    )
