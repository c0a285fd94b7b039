"""The built-in schemas: `names` lists them, `get` gives one, `describe` is a table of them.

Each is a JSON file beside this module, read when it is first asked for: COCO's category fields,
flip pairs, sigmas, and besides

- ``sigma_source``: "measured" on repeated labels, "borrowed" from another schema, "uniform" (one
  number for all) or "none";
- ``origin`` and ``licence``: where names and numbers come from, and under which terms they are;
- ``layout``: a figure of the skeleton, for pictures;
- ``parts`` and ``aliases``, as of `kpwidget.Schema`, and ``contours``, see `contours`.

What stands there beside the fields of a `Schema`'s metadata is found by the names of the keypoints,
so that files do not carry it.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kpwidget.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["contours", "describe", "get", "names"]

# In the order they are offered. The file of each is <name>.json.
_NAMES = (
    "coco17",
    "coco_wholebody133",
    "face68_300w",
    "face98_wflw",
    "hand21",
    "animal17_ap10k",
    "animal20_animalpose",
    "vehicle24_apollocar3d",
    "vehicle66_apollocar3d",
    "four_point",
    "bolt_pattern6",
)


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
    _check_name(name)
    return _load(name)


def describe() -> pd.DataFrame:
    """Table of the built-in schemas.

    Returns
    -------
    pandas.DataFrame
        One row per schema, in the order of `names`: ``name``, ``keypoints`` and ``edges`` (their
        numbers), ``sigma_source``, ``origin`` and ``licence``.
    """
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "name": name,
                "keypoints": get(name).n_keypoints,
                "edges": len(get(name).edges),
                **{key: _content(name)[key] for key in ("sigma_source", "origin", "licence")},
            }
            for name in _NAMES
        ]
    )


def contours(name: str) -> list[list[int]]:
    """Lines through the landmarks of a face, which its data set does not define as a skeleton.

    `kpwidget.plot_schema` draws them. To have them while labeling too, make a schema with them as
    the skeleton.

    Parameters
    ----------
    name : str
        One of `names`.

    Returns
    -------
    list of pairs of int
        **1-based**, in the form of a skeleton; empty if the schema has none. A new list.

    Raises
    ------
    KeyError
        If there is no such schema, listing those there are.
    """
    _check_name(name)
    return [list(edge) for edge in _content(name).get("contours", ())]


def _check_name(name: str) -> None:
    if name not in _NAMES:
        raise KeyError(f"no built-in schema {name!r}; there are {', '.join(_NAMES)}")


@cache
def _content(name: str) -> dict[str, Any]:
    text = files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


@cache
def _load(name: str) -> Schema:
    found = ("origin", "licence", "aliases", "parts", "contours")
    return Schema(**{key: value for key, value in _content(name).items() if key not in found})


@cache
def _by_keypoints() -> dict[tuple[str, ...], str]:
    return {_load(name).keypoints: name for name in _NAMES}


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
    name = _by_keypoints().get(keypoints)
    return None if name is None else _load(name)._layout


def find_aliases(keypoints: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Aliases of the built-in schema with exactly these keypoints; used by `Schema.aliases`.

    Parameters
    ----------
    keypoints : tuple of str
        Names, in order.

    Returns
    -------
    dict
        From keypoint to its other names; empty if no built-in schema has these keypoints.
    """
    return {key: tuple(others) for key, others in _found(keypoints, "aliases").items()}


def find_parts(keypoints: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """Parts of the built-in schema with exactly these keypoints; used by `Schema.parts`.

    Parameters
    ----------
    keypoints : tuple of str
        Names, in order.

    Returns
    -------
    dict
        From the part's name to the 1-based numbers of its first and last keypoint; empty if no
        built-in schema has these keypoints.
    """
    return {part: (first, last) for part, (first, last) in _found(keypoints, "parts").items()}


def find_contours(keypoints: tuple[str, ...]) -> list[list[int]]:
    """`contours` of the built-in schema with exactly these keypoints; used by `plot_schema`.

    Parameters
    ----------
    keypoints : tuple of str
        Names, in order.

    Returns
    -------
    list of pairs of int
        1-based; empty if no built-in schema has these keypoints.
    """
    name = _by_keypoints().get(keypoints)
    return [] if name is None else contours(name)


def _found(keypoints: tuple[str, ...], field: str) -> dict[str, Any]:
    name = _by_keypoints().get(keypoints)
    found: dict[str, Any] = {} if name is None else _content(name).get(field, {})
    return found
