"""The built-in schemas: `names` lists them, `get` gives one.

Each is a JSON file beside this module: COCO's category fields, flip pairs, sigmas with their
source, and ``layout``, a figure of the skeleton for pictures.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from kpwidget.schema import Schema

__all__ = ["get", "names"]

# In the order they are offered. The file of each is <name>.json.
_NAMES = ("coco17", "coco_wholebody133", "four_point")


def names() -> list[str]:
    """Names of the built-in schemas.

    Returns
    -------
    list of str
        Each can be given to `get`.

    Examples
    --------
    >>> "coco17" in names()
    True
    """
    return list(_NAMES)


def get(name: str) -> Schema:
    """Built-in schema of this name.

    Parameters
    ----------
    name : str
        One of `names`.

    Returns
    -------
    Schema
        The same object each time; schemas do not change.

    Raises
    ------
    KeyError
        If there is no such schema, listing those there are.
    """
    if name not in _NAMES:
        raise KeyError(f"no built-in schema {name!r}; there are {', '.join(_NAMES)}")
    return _load(name)


@cache
def _load(name: str) -> Schema:
    content = json.loads(files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8"))
    return Schema(**content)


def find_layout(keypoints: tuple[str, ...]) -> NDArray[np.float64] | None:
    """Figure of the built-in schema with exactly these keypoints; used by `Schema.layout`.

    Parameters
    ----------
    keypoints : tuple of str
        Names, in order.

    Returns
    -------
    ndarray of shape (n_keypoints, 2) or None
        (x, y) in [0, 1], y down. None if no built-in schema has these keypoints.
    """
    return _layouts().get(keypoints)


@cache
def _layouts() -> dict[tuple[str, ...], NDArray[np.float64]]:
    return {
        schema.keypoints: schema._layout
        for schema in map(_load, _NAMES)
        if schema._layout is not None
    }
