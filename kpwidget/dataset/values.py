"""Values given by callers, checked: numbers, keypoints, boxes.

Every function names all that is wrong, with the value that came and what was expected.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from kpwidget.dataset.table import Bbox, Point
from kpwidget.schema import Category

__all__ = [
    "MAX_COORDINATE",
    "as_float",
    "as_int",
    "checked_bbox",
    "checked_point",
    "checked_points",
    "checked_time",
]

MAX_COORDINATE: Final = 1e100
"""Limit of |x| and |y|, in image pixels. No image is that large; it keeps the area of a box, a
product of two differences, below the largest float, so that every dataset can be written."""
_LAST_TIME: Final = 2**63 / 1e9
"""In seconds since the epoch: a table of pandas holds int64 nanoseconds, up to the year 2262."""


def as_int(value: Any) -> int | None:
    """`value` as int; None if it is not an integer."""
    # bool is an int to Python, but True is no number here.
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    return None


def as_float(value: Any) -> float | None:
    """`value` as float; None if it is no number, or an integer too large for a float."""
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return None
    return None


def checked_point(name: str, x: Any, y: Any, visibility: Any, problems: list[str]) -> Point:
    """Point from what a caller gave for keypoint `name`; what is wrong is added to `problems`."""
    v = as_int(visibility)
    if v not in (0, 1, 2):
        problems.append(
            f"keypoint {name!r}: visibility is 0 (unlabeled), 1 (occluded) or 2 (visible), "
            f"not {visibility!r}"
        )
        return None
    if v == 0:
        return None
    xy = (as_float(x), as_float(y))
    for axis, value, given in zip("xy", xy, (x, y), strict=True):
        if value is None or not abs(value) <= MAX_COORDINATE:
            problems.append(
                f"keypoint {name!r}: {axis} is a finite number (image pixels, at most "
                f"{MAX_COORDINATE:g}) where visibility is {v}, not {given!r}"
            )
    if xy[0] is None or xy[1] is None:
        return None
    return (xy[0], xy[1], v)


def checked_points(category: Category, keypoints: Any) -> tuple[Point, ...]:
    """Points of an instance from an array or mapping; ValueError naming all that is wrong."""
    names = category.keypoints
    if keypoints is None:
        return (None,) * len(names)
    problems: list[str] = []
    points: list[Point] = [None] * len(names)
    rows: list[Any]
    if isinstance(keypoints, Mapping):
        rows = [None] * len(names)
        for key, value in keypoints.items():
            try:
                rows[category.schema.index(key)] = value
            except KeyError as error:
                problems.append(str(error.args[0]))
    else:
        given = keypoints if isinstance(keypoints, list | tuple) else np.asarray(keypoints)
        rows = [] if isinstance(given, np.ndarray) and given.ndim == 0 else list(given)
        if len(rows) != len(names):
            got = f"shape {given.shape}" if isinstance(given, np.ndarray) else f"{len(rows)} rows"
            raise ValueError(
                f"keypoints of category {category.name!r}: expected shape ({len(names)}, 3), one "
                f"row (x, y, visibility) per keypoint, got {got}"
            )
    for k, row in enumerate(rows):
        if row is None:
            continue
        values = row.tolist() if isinstance(row, np.ndarray) else row
        if not isinstance(values, list | tuple) or len(values) not in (2, 3):
            problems.append(
                f"keypoint {names[k]!r}: expected (x, y) or (x, y, visibility), got {row!r}"
            )
            continue
        x, y = values[:2]
        has_nan = _is_nan(x) or _is_nan(y)
        if len(values) == 2:
            visibility: Any = 0 if has_nan else 2
        else:
            visibility = 0 if has_nan and _is_nan(values[2]) else values[2]
            # An array has one type for all three columns, so its visibility may be a float.
            if isinstance(visibility, float | np.floating) and float(visibility).is_integer():
                visibility = int(visibility)
        points[k] = checked_point(names[k], x, y, visibility, problems)
    if problems:
        raise ValueError(f"keypoints of category {category.name!r}: " + "; ".join(problems))
    return tuple(points)


def checked_time(value: Any) -> float:
    """Seconds since the epoch from what a file has; ValueError if they are none."""
    seconds = as_float(value)
    if seconds is None or not 0 <= seconds < _LAST_TIME:
        raise ValueError(f"a time is a number of seconds since 1970, not {value!r}")
    return seconds


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and math.isnan(value)


def checked_bbox(bbox: Any) -> Bbox:
    """Bbox from what a caller gave; ValueError if it is not one."""
    values = bbox.tolist() if isinstance(bbox, np.ndarray) else bbox
    values = list(values) if isinstance(values, Iterable) else []
    numbers = [as_float(value) for value in values]
    finite = [n for n in numbers if n is not None and abs(n) <= MAX_COORDINATE]
    if len(values) != 4 or len(finite) != 4 or finite[2] < 0 or finite[3] < 0:
        raise ValueError(
            "bbox is (x, y, width, height): four finite numbers in image pixels (at most "
            f"{MAX_COORDINATE:g}), width and height not negative, not {bbox!r}"
        )
    if not any(finite):
        raise ValueError("bbox is (0, 0, 0, 0), which stands for no box in files: pass None")
    return (finite[0], finite[1], finite[2], finite[3])
