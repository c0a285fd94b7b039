"""Cost of an edit or a look in a large dataset against the same in a small one."""

from __future__ import annotations

import time
from collections.abc import Callable

import kpwidget
from kpwidget.dataset import Dataset, Instance

from .rig import Rig
from .synthetic import QUICK_TRAIN, SMALL, TRAIN, made_coco
from .table import Row, compare

LIMIT = 1.2

#: Instances of each image that is looked at: the mean in COCO's train2017.
PER_IMAGE = 4


def _actions(dataset: Dataset, instance: Instance, i: int) -> dict[str, Callable[[], object]]:
    index = instance.image.index
    return {
        "place a point": lambda: instance.set_keypoint(3, i, i + 0.5),
        "undo": dataset.undo,
        "redo": dataset.redo,
        "remove an instance": instance.remove,
        "undo the removal": dataset.undo,
        "an image by its position": lambda: dataset.images[index],
        "instances of an image": lambda: list(dataset.images[index].instances),
        "select an image, its instances": lambda: list(dataset.select(image=index).instances),
    }


def measure_edits(rig: Rig) -> list[Row]:
    """The same actions in turn on both datasets, spread over their instances."""
    images = rig.folder / "no images"
    images.mkdir(exist_ok=True)
    large = QUICK_TRAIN if rig.is_quick else TRAIN
    datasets = {
        shape.n_annotations: kpwidget.read(made_coco(shape, rig.made), images=images)
        for shape in (SMALL, large)
    }
    # Images with as many instances each: what is asked of an image depends on them.
    alike = {
        size: [image.index for image in dataset.images if len(image.instances) == PER_IMAGE]
        for size, dataset in datasets.items()
    }
    samples: dict[str, dict[int, list[float]]] = {}
    n = rig.samples(400, 50)
    for i in range(n + 1):
        for size in list(datasets)[:: 1 if i % 2 else -1]:
            dataset = datasets[size]
            # Prime steps, so that the next one is never beside the last.
            image = dataset.images[alike[size][i * 7919 % len(alike[size])]]
            instance = image.instances[i % PER_IMAGE]
            for name, action in _actions(dataset, instance, i).items():
                begin = time.perf_counter()
                action()
                took = 1e6 * (time.perf_counter() - begin)
                if i:
                    samples.setdefault(name, {}).setdefault(size, []).append(took)
    return [
        compare(
            f"{name}: {large.n_annotations:,} instances",
            "us",
            found[large.n_annotations],
            found[SMALL.n_annotations],
            LIMIT,
            note=f"floor: {SMALL.n_annotations:,} instances",
        )
        for name, found in samples.items()
    ]
