"""A whole instance at once, by keys and mouse: template, move, swap, copy, repeat, undo."""

from __future__ import annotations

import pytest

from .conftest import OpenNotebook
from .labeling import leave, wait_ready

MAKE = """
import numpy as np, kpwidget as kp
square = kp.Schema("square", ["nose", "left_eye", "right_eye", "chin"], [(1, 2), (1, 3), (1, 4)],
                   flip_pairs=[("left_eye", "right_eye")],
                   layout=[(0.5, 0.0), (1.0, 0.5), (0.0, 0.5), (0.5, 1.0)])
pictures = {f"grey_{i}.png": np.full((480, 640, 3), 120 + i, np.uint8) for i in range(3)}
ds = kp.Dataset.from_images(pictures, square)
def is_near(*places):  # the mouse acts on whole CSS px
    flat = ds.instances[0].raw[:, :2].ravel() if len(ds.instances) == 1 else np.full(8, np.nan)
    return bool(np.abs(flat - places).max() <= 1.5)
a = kp.Annotator(ds, height=500)
a
"""
WAIT_IMAGE = "() => !document.querySelector('.kpwidget-stage.is-loading')"


@pytest.mark.timeout(200)
def test_template_move_swap_copy_repeat_and_undo(notebook: OpenNotebook) -> None:
    nb = notebook([MAKE])
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    stage.focus()
    stage.press("t")
    stage.drag((100, 100), (300, 200))
    nb.wait_python("is_near(200, 100, 300, 150, 100, 150, 200, 200)")
    stage.press("w")
    stage.drag((400, 300), (450, 320))  # anywhere: it is the chosen instance that moves
    nb.wait_python("is_near(250, 120, 350, 170, 150, 170, 250, 220)")
    stage.press("w")
    stage.press("x")
    nb.wait_python("is_near(250, 120, 150, 170, 350, 170, 250, 220)")
    stage.press("m")  # about its middle, and left becomes right: this one comes back to itself
    stage.press("Control+c")
    stage.press("n")
    stage.wait_data("image", "grey_1.png")
    nb.page.wait_for_function(WAIT_IMAGE)
    stage.press("Control+v")
    nb.wait_python("[i.image.index for i in ds.instances] == [0, 1]")
    stage.press("n")
    stage.wait_data("image", "grey_2.png")
    nb.page.wait_for_function(WAIT_IMAGE)
    stage.press("r")
    nb.wait_python("len({str(i.raw.tolist()) for i in ds.instances}) == 1 < len(ds.instances) == 3")
    # Repeat, paste, mirror, swap, move, template: six steps, taken back one by one.
    for n in (2, 1, 1, 1, 1, 0):
        stage.press("Control+z")
        nb.wait_python(f"len(ds.instances) == {n}")
    leave(stage)
    assert nb.kernel_eval("ds.undo_top() is None")


PERSON = """
import pathlib, tempfile
import numpy as np, kpwidget as kp
labels = pathlib.Path(tempfile.mkdtemp()) / "labels.json"
picture = {"grey.png": np.full((480, 640, 3), 120, np.uint8)}
ds = kp.Dataset.from_images(picture, kp.schemas.get("coco17"))
ds.save(labels)
a = kp.Annotator(ds, height=500)
a
"""


@pytest.mark.timeout(200)
def test_seventeen_points_a_flag_and_the_file_by_keys_alone(notebook: OpenNotebook) -> None:
    nb = notebook([PERSON])
    nb.run(0)
    stage = nb.widget()
    wait_ready(stage)
    leave(stage)
    stage.root.evaluate("(root) => root.focus()")
    for k in range(17):
        # From the middle of the image, (320, 240), 10 px to the right each time, and up or down.
        stage.press("Shift+ArrowRight")
        stage.press("ArrowUp" if k % 2 else "ArrowDown")
        stage.press("Shift+Space" if k == 3 else "Space")
    nb.wait_python("ds.instances[0].n_labeled == 17")
    placed = nb.kernel_eval("ds.instances[0].raw.tolist()")
    middle = (placed[0][0] - 10, placed[0][1] - 1)
    assert middle == pytest.approx((320, 240), abs=1)
    expected = [
        [middle[0] + 10 * (k + 1), middle[1] + (0 if k % 2 else 1), 1 if k == 3 else 2]
        for k in range(17)
    ]
    assert placed == [pytest.approx(point, abs=1e-6) for point in expected]
    stage.press("v")  # the point under the cross, the last one
    nb.wait_python("ds.instances[0].raw[16, 2] == 1")
    stage.press("Control+s")
    nb.wait_python("[i.raw[16, 2] for i in kp.read(labels, images=picture).instances] == [1]")
    assert nb.kernel_eval("kp.read(labels, images=picture).equals(ds)")
