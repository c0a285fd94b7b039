"""Annotators with a browser at their other end, and a small dataset for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from kpwidget.dataset import Dataset
from kpwidget.schema import Schema
from kpwidget.widget import Annotator

from .fake_browser import Browser


@pytest.fixture
def schema() -> Schema:
    return Schema(
        "face",
        ["top", "left", "right", "bottom"],
        [(1, 2), (1, 3), (2, 4), (3, 4)],
        flip_pairs=[("left", "right")],
    )


@pytest.fixture
def stick() -> Schema:
    return Schema("stick", ["head", "tip"], [(1, 2)])


@pytest.fixture
def dataset(schema: Schema, stick: Schema) -> Dataset:
    """Three images of 64 x 48 px, two categories, nothing labeled."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    return Dataset.from_images(
        {"one.png": pixels, "two.png": pixels + 90, "deep/three.png": pixels + 180},
        [schema, stick],
        annotator="ada",
    )


@pytest.fixture
def make() -> Iterator[Callable[..., Browser]]:
    """Make an annotator with a browser at its other end; closed after the test."""
    made: list[Annotator] = []

    def _make(dataset: Dataset, **keywords: object) -> Browser:
        annotator = Annotator(dataset, **keywords)  # type: ignore[arg-type]
        made.append(annotator)
        return Browser(annotator)

    yield _make
    for annotator in made:
        annotator.close()


@pytest.fixture
def browser(make: Callable[..., Browser], dataset: Dataset) -> Browser:
    """A browser that has sent nothing yet, at an annotator of `dataset`."""
    return make(dataset)
