"""How far a recorded keypoint is from the place in the picture that was clicked."""

from __future__ import annotations

import numpy as np

from .rig import BOTTOM, Rig, annotator_cells, annotator_target, show_annotator
from .table import Row, bounded

LIMIT = 0.01

#: Notches of the wheel from 1:1; each is 15 %.
ZOOMS = {"1:1": 0, "2x": 5, "8x": 15}

# Where the picture itself lies, from the laid-out canvas that holds it; not from the widget's own
# numbers, which would agree with themselves.
_PICTURE = """() => {
  const canvas = document.querySelector('.kpwidget-stage .kpwidget-layer');
  const box = canvas.getBoundingClientRect();
  return [box.left, box.top, box.width / canvas.width, box.height / canvas.height];
}"""


def measure_accuracy(rig: Rig) -> list[Row]:
    """Clicks on whole CSS px, compared with the place of the picture under them."""
    n = rig.samples(40, 6)
    size = (640, 480)
    rows: list[Row] = []
    with rig.notebook(annotator_cells(rig.photo(*size))) as notebook:
        stage = show_annotator(notebook)
        page = notebook.page
        for name, notches in ZOOMS.items():
            stage.focus()
            area = annotator_target(stage).area
            page.mouse.move((area[0] + area[2]) / 2, (area[1] + area[3]) / 2)
            stage.press("0")
            for _ in range(notches):
                page.mouse.wheel(0, -100)
                stage.wait_frames()
            page.wait_for_timeout(600)
            errors: list[float] = []
            for _ in range(n):
                left, top, kx, ky = page.evaluate(_PICTURE)
                box = stage.ink_box
                x, y = (
                    round(rig.rng.uniform(max(start, edge) + 5, min(start + k * side, end) - 5))
                    for start, k, side, edge, end in (
                        (left, kx, size[0], box.left, box.left + box.width),
                        (top, ky, size[1], box.top, min(box.top + box.height, BOTTOM)),
                    )
                )
                page.mouse.click(x, y)
                stage.wait_settled()
                # The picture is not reduced: its canvas has one pixel for each of the image's.
                truth = np.array(((x - left) / kx, (y - top) / ky))
                recorded = np.array(
                    notebook.kernel_eval(
                        "[tuple(i.keypoints[:, :2].tolist()) for i in ds.images[0].instances]"
                    ),
                    dtype=float,
                ).reshape(-1, 2)
                nearest = np.linalg.norm(recorded - truth, axis=1)
                errors.append(float(np.nanmin(nearest)))
            rows.append(
                bounded(
                    f"coordinate error at {name}",
                    "px",
                    errors,
                    LIMIT,
                    statistic="max",
                    note=f"the largest; scale {stage.viewport.scale:.3f}",
                )
            )
    return rows
