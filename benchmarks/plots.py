"""Figures against what people draw them with: showAnns of pycocotools, and a loop over subplots."""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import kpwidget as kp

from .files import _in_turn, _missing
from .rig import Rig
from .table import Row, against_peer

#: The largest ratios of times: `plot_image` against showAnns, `plot_grid` against the loop.
LIMIT_IMAGE, LIMIT_SHEET = 0.5, 0.5
N_PEOPLE, N_TILES, N_COLUMNS = 20, 100, 10
SIZE = (640, 480)
DPI = 100


def _people(rng: np.random.Generator, n: int) -> list[np.ndarray]:
    """Keypoints of n people of COCO's 17, (x, y, visibility), 85 % of them labeled."""
    layout = kp.schemas.get("coco17").layout
    assert layout is not None
    people = []
    for _ in range(n):
        height = rng.uniform(120, 300)
        corner = rng.uniform(0, 1, 2) * (np.array(SIZE) - height)
        xy = np.round(layout * height + corner + rng.normal(0, 3, layout.shape))
        people.append(np.column_stack([xy, rng.choice([0, 1, 2], 17, p=[0.15, 0.2, 0.65])]))
    return people


def _make_pictures(folder: Path, n_images: int) -> None:
    """Save photograph-like JPEGs."""
    from PIL import Image

    for i in range(n_images):
        picture = kp.samples.made_photo(*SIZE, seed=i)
        Image.fromarray(picture).save(folder / f"{i:03d}.jpg", quality=90)


def _dataset(folder: Path, n_in_each: int) -> kp.Dataset:
    """Dataset of the pictures of a folder, always the same people, no picture decoded yet."""
    rng = np.random.default_rng(0)
    category = kp.Category(1, kp.schemas.get("coco17"), "person")
    ds = kp.Dataset.from_images(folder, category, annotator="benchmark")
    with ds.transaction("people"):
        for image in ds.images:
            for person in _people(rng, n_in_each):
                person[person[:, 2] == 0, :2] = math.nan
                ds.add_instance(image, "person", keypoints=person)
    return ds


def _coco(ds: kp.Dataset) -> Any:
    """The same people for pycocotools; without polygons, which it would draw as well."""
    from pycocotools.coco import COCO

    schema = ds.categories[0].schema
    coco = COCO()
    coco.dataset = {
        "images": [{"id": im.id, "width": im.width, "height": im.height} for im in ds.images],
        "annotations": [
            {
                "id": i + 1,
                "image_id": instance.image.id,
                "category_id": 1,
                "iscrowd": 0,
                "keypoints": np.nan_to_num(instance.keypoints).ravel().tolist(),
                "num_keypoints": instance.n_labeled,
                "bbox": list(instance.bbox or ()),
                "area": instance.area,
            }
            for i, instance in enumerate(ds.instances)
        ],
        "categories": [
            {
                "id": 1,
                "name": "person",
                "keypoints": list(schema.keypoints),
                "skeleton": schema.skeleton,
            }
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _timed(draw: Callable[[], Any]) -> float:
    """Milliseconds until the figure that a function makes is on its canvas."""
    from matplotlib import pyplot as plt

    start = time.perf_counter()
    figure = draw()
    figure.canvas.draw()
    took = 1000 * (time.perf_counter() - start)
    plt.close(figure)
    return took


def measure_plot_image(rig: Rig) -> list[Row]:
    """20 people in one image, every name and flag."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    missing = _missing("pycocotools")
    with tempfile.TemporaryDirectory() as folder, mpl.rc_context({"figure.dpi": DPI}):
        _make_pictures(Path(folder), 1)
        ds = _dataset(Path(folder), N_PEOPLE)
        image = ds.images[0]

        def ours() -> Any:
            return kp.plot_image(image, names=True).figure

        size = tuple(ours().get_size_inches())
        plt.close("all")
        actions = {"ours": lambda: _timed(ours)}
        if not missing:
            coco = _coco(ds)
            annotations = coco.loadAnns(coco.getAnnIds())
            pixels = image.source.to_array()

            def peer() -> Any:
                figure = plt.figure(figsize=size)
                plt.imshow(pixels)
                coco.showAnns(annotations)
                return figure

            actions["peer"] = lambda: _timed(peer)
        samples = _in_turn(actions, rig.samples(40, 5), n_dropped=2)
    note = f"{size[0]:.1f} x {size[1]:.1f} in at {DPI} dpi; ours with names and flags"
    return [
        against_peer(
            "plot_image of 20 people",
            "ms",
            samples["ours"],
            samples.get("peer", []),
            LIMIT_IMAGE,
            missing=missing,
            note=note,
        )
    ]


def measure_contact_sheet(rig: Rig) -> list[Row]:
    """100 instances out of 25 images."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from PIL import Image

    with tempfile.TemporaryDirectory() as name, mpl.rc_context({"figure.dpi": DPI}):
        folder = Path(name)
        _make_pictures(folder, N_TILES // 4)
        dataset = _dataset(folder, 4)
        sizes: list[tuple[float, float]] = []

        def ours() -> Any:
            # A copy has sources of its own: no picture is kept from the last time.
            ds = dataset.select().copy()
            figure = kp.plot_grid(ds, by="instance", columns=N_COLUMNS).figure
            sizes.append(tuple(figure.get_size_inches()))
            return figure

        def naive() -> Any:
            figure, axes = plt.subplots(
                N_TILES // N_COLUMNS, N_COLUMNS, figsize=sizes[-1] if sizes else (7, 8)
            )
            opened: dict[str, np.ndarray] = {}
            for ax, instance in zip(axes.flat, dataset.instances, strict=True):
                file_name = instance.image.file_name
                if file_name not in opened:
                    opened[file_name] = np.asarray(Image.open(folder / file_name))
                x, y, width, height = instance.bbox
                x0, y0 = max(0, int(x - 0.15 * width)), max(0, int(y - 0.15 * height))
                x1, y1 = int(x + 1.15 * width), int(y + 1.15 * height)
                ax.imshow(opened[file_name][y0:y1, x0:x1])
                points, schema = instance.keypoints, instance.category.schema
                for a, b in schema.edges:
                    if points[a, 2] and points[b, 2]:
                        ax.plot(points[[a, b], 0] - x0, points[[a, b], 1] - y0, lw=1, c="c")
                ax.scatter(points[:, 0] - x0, points[:, 1] - y0, s=4, c=schema.colors)
                ax.set_title(f"{file_name} {instance.uid[:6]}", fontsize=5)
                ax.axis("off")
            return figure

        actions = {"ours": lambda: _timed(ours), "peer": lambda: _timed(naive)}
        samples = _in_turn(actions, rig.samples(10, 3))
    note = "pictures read and decoded each time; peer: 10 x 10 subplots"
    return [
        against_peer(
            "contact sheet of 100 instances",
            "ms",
            samples["ours"],
            samples["peer"],
            LIMIT_SHEET,
            note=note,
        )
    ]
