"""Skeleton labels of CVAT: JSON of the label constructor, and the SVG inside of it.

CVAT draws a skeleton as an SVG fragment in a box of 0..100: a ``circle`` for each keypoint, in the
order of the keypoints, and a ``line`` for each edge (cvat/apps/dataset_manager/bindings.py,
``_convert_db_labels``; cvat/apps/engine/serializers.py, ``create_labels``). The drawing is parsed
and never shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from kpwidget.schema import _show as shown

_MAX_SVG: Final = 1_000_000  # characters
_OPEN, _CLOSE = "<root>", "</root>"
_BOX = 100.0


class SvgError(ValueError):
    """A fragment that is no XML.

    Attributes
    ----------
    offset : int
        0-based place in the fragment, in characters.
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True)
class Drawing:
    """The parts of the SVG of a skeleton.

    Attributes
    ----------
    circles : list of (Element, x, y)
        In the order of the keypoints; x and y are parts of the box, NaN if they are no number.
    lines : list of ((str or None, str or None), int or None, int or None)
        For each the ids of the nodes at its ends, and the 1-based numbers of their circles.
    repeated : dict of int to str
        By the number of a circle the id of its node, if one before it has the same.
    """

    circles: list[tuple[Element, float, float]]
    lines: list[tuple[tuple[str | None, str | None], int | None, int | None]]
    repeated: dict[int, str]


def drawing_of(root: Element) -> Drawing:
    """Circles and lines of the drawing of a skeleton. What they are numbered by is only looked up.

    Parameters
    ----------
    root : Element
        That has the fragment in it.
    """
    drawing = Drawing([], [], {})
    number_of: dict[str, int] = {}
    for n, circle in enumerate((one for one in root.iter() if _tag(one) == "circle"), 1):
        drawing.circles.append((circle, _part(circle.get("cx")), _part(circle.get("cy"))))
        node = circle.get("data-node-id", str(n))
        if number_of.setdefault(node, n) != n:
            drawing.repeated[n] = node
    for line in (one for one in root.iter() if _tag(one) == "line"):
        ends = (line.get("data-node-from"), line.get("data-node-to"))
        drawing.lines.append((ends, number_of.get(ends[0] or ""), number_of.get(ends[1] or "")))
    return drawing


def is_skeleton_label(record: Any) -> bool:
    """Whether a JSON value is a label of CVAT with a skeleton.

    Parameters
    ----------
    record : object

    Returns
    -------
    bool
    """
    return isinstance(record, Mapping) and isinstance(record.get("svg"), str)


def metadata_of_label(record: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Metadata in the form of a COCO category of one skeleton label.

    Keypoints are the circles in their order, named by ``data-label-name``, or by the sublabel with
    the id in ``data-label-id``. Edges are the lines; their ``data-node-from`` and ``data-node-to``
    are looked up among the circles' ``data-node-id``. Colours are the sublabels'.

    Parameters
    ----------
    record : mapping
        One label, for which `is_skeleton_label` holds.

    Returns
    -------
    metadata : dict
        ``name``, ``keypoints``, ``skeleton`` (1-based), ``colors`` if every sublabel has one, and
        ``layout`` in [0, 1].
    problems : list of (str, str)
        Key of the label that each is in, and what is wrong. If there are any, the metadata is not
        to be used.

    Raises
    ------
    SvgError
        If the drawing is no XML, or has entities or a document type, which are not read.
    """
    root = _parse(record["svg"])
    problems: list[tuple[str, str]] = []
    sublabels = record.get("sublabels")
    listed = sublabels if isinstance(sublabels, list) else []
    if sublabels is not None and not isinstance(sublabels, list):
        problems.append(("sublabels", f"= {shown(sublabels)}: expected a list of labels"))
    by_id = {one["id"]: one for one in listed if isinstance(one, Mapping) and _is_id(one.get("id"))}
    by_name = {one.get("name"): one for one in listed if isinstance(one, Mapping) and _is_text(one)}
    names: list[str] = []
    colors: list[Any] = []
    layout: list[list[float]] = []
    drawing = drawing_of(root)
    for n, (circle, x, y) in enumerate(drawing.circles, 1):
        name = circle.get("data-label-name")
        if name is None:
            number = circle.get("data-label-id", "")
            is_number = number.isdecimal() and len(number) < 19
            name = by_id.get(int(number) if is_number else None, {}).get("name")
        if not isinstance(name, str):
            given = ", ".join(f"{key} {shown(value)}" for key, value in circle.items()) or "nothing"
            problems.append(
                (
                    "svg",
                    f"circle {n}: expected data-label-name, or a data-label-id that is the id of a "
                    f"sublabel; it has {given}",
                )
            )
            continue
        names.append(name)
        colors.append(by_name.get(name, {}).get("color"))
        if not (0 <= x <= 1 and 0 <= y <= 1):
            given = ", ".join(shown(circle.get(key)) for key in ("cx", "cy"))
            problems.append(("svg", f"circle {n}: cx, cy = {given}: expected numbers in 0..100"))
        else:
            layout.append([x, y])
        if n in drawing.repeated:
            node = shown(drawing.repeated[n])
            problems.append(("svg", f"circle {n}: data-node-id {node} is given twice"))
    if not drawing.circles:
        problems.append(("svg", "has no circle: expected one for each keypoint"))
    skeleton = []
    for n, (ends, a, b) in enumerate(drawing.lines, 1):
        if a is None or b is None:
            problems.append(
                (
                    "svg",
                    f"line {n}: data-node-from, data-node-to = {shown(ends[0])}, {shown(ends[1])}: "
                    "expected the data-node-id of two circles",
                )
            )
        else:
            skeleton.append([a, b])
    metadata: dict[str, Any] = {"keypoints": names, "skeleton": skeleton}
    if "name" in record:
        metadata = {"name": record["name"], **metadata}
    if colors and all(isinstance(color, str) for color in colors):
        metadata["colors"] = colors
    return {**metadata, "layout": layout}, problems


def _parse(svg: str) -> Element:
    if len(svg) > _MAX_SVG:
        raise SvgError(f"has {len(svg):,} characters, expected at most {_MAX_SVG:,}", 0)
    try:
        root: Element = fromstring(_OPEN + svg + _CLOSE, forbid_dtd=True)
    except DefusedXmlException as error:
        raise SvgError("a document type or an entity is not read: remove it", 0) from error
    except ParseError as error:
        line, column = error.position
        before = sum(len(one) for one in (_OPEN + svg).splitlines(keepends=True)[: line - 1])
        offset = min(max(0, before + column - len(_OPEN)), len(svg))
        raise SvgError(f"not XML: {str(error).partition(':')[0]}", offset) from error
    return root


def _tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(label: Mapping[str, Any]) -> bool:
    return isinstance(label.get("name"), str)


def _part(text: str | None) -> float:
    """A coordinate as part of the box; NaN if it is no number."""
    try:
        return float(text or "") / _BOX
    except ValueError:
        return math.nan
