"""The labels of a CVAT 1.1 file and schemas: ``<label>`` elements with the SVG of their skeleton.

A skeleton is a label of type skeleton with an ``<svg>`` whose text is drawn in a box of 100 x 100:
a circle per keypoint, in order, and a line per edge. Each keypoint is a label of its own with the
skeleton as its parent. After cvat/apps/dataset_manager/bindings.py. The SVG is only parsed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

from kpwidget.formats.cvat_json import drawing_of
from kpwidget.formats.xml_text import attribute, parse_xml
from kpwidget.schema import Category, FormatError, Schema, _show

__all__ = ["label_elements", "read_labels"]

_COLOR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_SIDE: Final = 100.0  # of the box that the SVG is drawn in


def read_labels(meta: ET.Element, problems: list[str], warned: list[str]) -> list[Category]:
    """Categories that the labels of a ``<meta>`` describe, with the ids 1, 2, ...

    Parameters
    ----------
    meta : Element
    problems, warned : list of str
        What is wrong is added: labels that cannot be used, edges that are left out.

    Returns
    -------
    list of Category
        Those with a skeleton. Its label's color is in ``extra['color']``.
    """
    labels = list(meta.iter("label"))
    of_parent: dict[str, dict[str, str]] = {}
    for label in labels:
        parent = label.findtext("parent")
        if parent is not None:
            of_parent.setdefault(parent, {})[label.findtext("name") or ""] = _text(label, "color")
    categories: list[Category] = []
    seen: set[str] = set()
    for label in labels:
        svg = label.find("svg")
        if label.find("parent") is not None or (svg is None and _text(label, "type") != "skeleton"):
            continue
        name = label.findtext("name") or ""  # as it is: so skeletons give it, spaces and all
        where = f"label {_show(name)}"
        children = of_parent.get(name, {})
        try:
            if name in seen:
                raise FormatError.from_problems(where, ["is there twice, expected each name once"])
            keypoints, edges, layout = (
                (list(children), [], None) if svg is None else _read_svg(svg, where, warned)
            )
            colors = [children.get(keypoint, "") for keypoint in keypoints]
            has_colors = all(map(_COLOR.fullmatch, colors))
            schema = Schema(
                name, keypoints, edges, layout=layout, colors=colors if has_colors else None
            )
        except FormatError as error:
            problems.extend(error.problems)
            continue
        color = _text(label, "color")
        seen.add(name)
        categories.append(
            Category(len(categories) + 1, schema, name, extra={"color": color} if color else {})
        )
    return categories


def _text(element: ET.Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


_Layout = list[tuple[float, float]]


def _read_svg(
    svg: ET.Element, where: str, warned: list[str]
) -> tuple[list[str], list[tuple[int, int]], _Layout | None]:
    """Names of the keypoints, edges (1-based), and the figure if it is within the box."""
    root = svg if len(svg) else parse_xml(f"<svg>{svg.text or ''}</svg>", f"{where}: svg")
    drawing = drawing_of(root)
    names: list[str] = []
    for n, (circle, _, _) in enumerate(drawing.circles, 1):
        name = circle.get("data-label-name")
        if name is None:
            raise FormatError.from_problems(
                where,
                [
                    f"circle {n} of its svg has no 'data-label-name'; expected the name of a "
                    "keypoint, as in files exported by CVAT"
                ],
            )
        names.append(name)
    edges = []
    for ends, first, second in drawing.lines:
        if first is None or second is None or first == second:
            warned.append(
                f"{where}: the edge from node {_show(ends[0])} to {_show(ends[1])} is left out, "
                "expected two nodes of the svg"
            )
        else:
            edges.append((first, second))
    layout = [(x, y) for _, x, y in drawing.circles]
    is_figure = all(0 <= part <= 1 for xy in layout for part in xy)
    return names, edges, layout if is_figure else None


def label_elements(categories: Sequence[Category]) -> list[ET.Element]:
    """``<label>`` elements of categories and their keypoints, as CVAT writes them.

    Parameters
    ----------
    categories : sequence of Category

    Raises
    ------
    ValueError
        If a name has characters that XML cannot hold.
    """
    labels = []
    for category in categories:
        color = category.extra.get("color")
        color = color if isinstance(color, str) and _COLOR.fullmatch(color) else "#fa3253"
        labels.append(_label(category.name, color, "skeleton", "svg", _svg(category.schema)))
        for keypoint, own in zip(category.keypoints, category.schema.colors, strict=True):
            labels.append(_label(keypoint, own, "points", "parent", category.name))
    return labels


def _label(name: str, color: str, kind: str, last: str, text: str) -> ET.Element:
    label = ET.Element("label")
    for tag, value in (("name", name), ("color", color), ("type", kind), ("attributes", "")):
        attribute(value, "label")
        ET.SubElement(label, tag).text = value
    ET.SubElement(label, last).text = text
    return label


def _svg(schema: Schema) -> str:
    """Text of the SVG; keypoints without a figure stand in a circle."""
    n = schema.n_keypoints
    if schema.layout is None:
        angles = [2 * math.pi * k / n for k in range(n)]
        xy = [(50 + 40 * math.sin(a), 50 - 40 * math.cos(a)) for a in angles]
    else:
        xy = [(_SIDE * x, _SIDE * y) for x, y in schema.layout.tolist()]
    shown = [(f"{x:.10g}", f"{y:.10g}") for x, y in xy]
    parts = []
    for a, b in schema.edges.tolist():
        (x1, y1), (x2, y2) = shown[a], shown[b]
        parts.append(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" data-type="edge" '
            f'data-node-from="{a + 1}" data-node-to="{b + 1}"></line>'
        )
    for k, (name, (x, y)) in enumerate(zip(schema.keypoints, shown, strict=True), 1):
        parts.append(
            f'<circle r="0.75" cx="{x}" cy="{y}" data-type="element node" data-element-id="{k}" '
            f'data-node-id="{k}" data-label-name={attribute(name, "keypoint")}></circle>'
        )
    return "".join(parts)
