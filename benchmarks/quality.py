"""All quality checks of a file of the size of COCO's, and those of one image."""

from __future__ import annotations

import time

import kpwidget as kp

from .rig import Rig
from .synthetic import QUICK_TRAIN, TRAIN, made_coco
from .table import Row, bounded

LIMIT_SECONDS = 20.0
LIMIT_MS = 20.0


def measure_quality(rig: Rig) -> list[Row]:
    """`kp.quality.check` of the large file; what is told live of its busiest image."""
    shape = QUICK_TRAIN if rig.is_quick else TRAIN
    dataset = kp.read(made_coco(shape, rig.made), images=rig.made)
    seconds, n_findings = [], 0
    for _ in range(rig.samples(3, 1)):
        start = time.perf_counter()
        n_findings = len(kp.quality.check(dataset))
        seconds.append(time.perf_counter() - start)
    image = max(dataset.images, key=lambda image: len(image.instances))
    kp.quality.suspect_image(image)
    times = []
    for _ in range(rig.samples(50, 10)):
        start = time.perf_counter()
        kp.quality.check_image(image)
        kp.quality.suspect_image(image)
        times.append(1000 * (time.perf_counter() - start))
    note = f"{shape.n_labeled:,} labeled instances of {shape.n_annotations:,}; {n_findings:,} rows"
    return [
        bounded("all quality checks", "s", seconds, LIMIT_SECONDS, note=note),
        bounded(
            "live checks of one image", "ms", times, LIMIT_MS, note=f"{len(image.instances)} people"
        ),
    ]
