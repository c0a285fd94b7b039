"""Cost of an edit in a large dataset against the same edit in a small one."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from kpwidget.dataset import Dataset, Instance
from kpwidget.schema import Schema

from .rig import Rig
from .table import Row, compare

SMALL, LARGE = 1_000, 20_000
LIMIT = 1.2

PIXELS = np.zeros((4, 4, 3), np.uint8)


def _grown(n_instances: int) -> Dataset:
    schema = Schema("s", [f"k{k}" for k in range(17)])
    n_images = n_instances // 4
    dataset = Dataset.from_images({f"{i}.png": PIXELS for i in range(n_images)}, schema)
    points = np.ones((17, 3))
    for i in range(n_instances):
        dataset.add_instance(i % n_images, keypoints=points)
    return dataset


def _actions(dataset: Dataset, instance: Instance, i: int) -> dict[str, Callable[[], object]]:
    index = instance.image.index
    return {
        "place a point": lambda: instance.set_keypoint(3, i, i + 0.5),
        "undo": dataset.undo,
        "redo": dataset.redo,
        "remove an instance": instance.remove,
        "undo the removal": dataset.undo,
        "instances of an image": lambda: dataset.images[index].instances,
    }


def measure_edits(rig: Rig) -> list[Row]:
    """The same actions in turn on both datasets, spread over their instances."""
    datasets = {SMALL: _grown(SMALL), LARGE: _grown(LARGE)}
    samples: dict[str, dict[int, list[float]]] = {}
    n = rig.samples(400, 50)
    for i in range(n):
        for size, dataset in datasets.items():
            instance = dataset.instances[i * len(dataset.instances) // n]
            for name, action in _actions(dataset, instance, i).items():
                begin = time.perf_counter()
                action()
                took = 1e6 * (time.perf_counter() - begin)
                samples.setdefault(name, {}).setdefault(size, []).append(took)
    return [
        compare(f"{name}: {LARGE:,} instances", "us", found[LARGE], found[SMALL], LIMIT)
        for name, found in samples.items()
    ]
