"""Builders that many tests use, and matplotlib without windows."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator

import matplotlib
import numpy as np
import pytest

from kpwidget.dataset import Dataset
from kpwidget.schema import Category, Schema

# Tests that are not about the journal leave none behind, nor do the kernels that they start.
os.environ["KPWIDGET_JOURNAL"] = "off"
# Not by MPLBACKEND: the kernels that notebook tests start would inherit it and show no figures.
matplotlib.use("Agg")


def pytest_collection_finish() -> None:
    """Spare the garbage collector what is never garbage: looking through it took a tenth of all."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def tiny_schema() -> Schema:
    """Four keypoints, two of them a pair."""
    return Schema(
        "animal",
        ["nose", "left_eye", "right_eye", "tail"],
        [(1, 2), (1, 3), (1, 4)],
        flip_pairs=[("left_eye", "right_eye")],
    )


@pytest.fixture
def tiny_dataset(tiny_schema: Schema) -> Dataset:
    """Three images of 64 x 48 px, two categories, two instances in the first image.

    One ``animal`` with three keypoints labeled and one ``bolt`` with both.
    """
    pixels = np.zeros((48, 64, 3), np.uint8)
    bolt = Schema("bolt", ["head", "tip"], [(1, 2)])
    dataset = Dataset.from_images(
        {"a.png": pixels, "b.png": pixels, "c.png": pixels},
        [Category(1, tiny_schema, "animal"), Category(7, bolt, "bolt")],
        annotator="ada",
    )
    with dataset.transaction("tiny"):
        dataset.add_instance(
            "a.png",
            "animal",
            {"nose": (10.5, 8.25), "left_eye": (12, 7, 1), "tail": (50.5, 40)},
            uid="one",
        )
        dataset.add_instance("a.png", "bolt", [[30, 20, 2], [33.125, 18, 1]], uid="two")
    return dataset
