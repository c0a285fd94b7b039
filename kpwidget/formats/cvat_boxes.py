"""CVAT's rectangles that are the bbox of a skeleton in their group: reading, and writing again.

A skeleton of CVAT has no bbox. People draw a rectangle and group the two, which gives both the
same ``group_id``: of shapes in a file for images, of tracks in one for video
(dump_as_cvat_annotation and dump_as_cvat_interpolation, cvat/apps/dataset_manager/formats/cvat.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from xml.etree import ElementTree as ET

import numpy as np

from kpwidget.dataset import Dataset
from kpwidget.dataset.table import Bbox
from kpwidget.dataset.values import MAX_COORDINATE
from kpwidget.formats.xml_text import parse_xml
from kpwidget.schema import FormatError

__all__ = [
    "bbox_of",
    "bboxes_of_track",
    "boxes_of_images",
    "boxes_of_track",
    "group_of",
    "kept_element",
    "numbers_of",
    "set_bbox",
    "whole_of",
]

_WHOLE_NUMBER: Final = re.compile(r"[0-9]{1,15}")
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_CORNERS: Final = ("xtl", "ytl", "xbr", "ybr")


def whole_of(text: str | None) -> int | None:
    """Whole number of at most 15 digits; None for any other text."""
    return int(text) if text is not None and _WHOLE_NUMBER.fullmatch(text) else None


def numbers_of(texts: Sequence[str]) -> list[float] | None:
    """Numbers in texts, as coordinates may be; None if one is anything else."""
    if not all(len(text) < 1000 and _NUMBER.fullmatch(text.strip()) for text in texts):
        return None
    numbers = [float(text) for text in texts]
    return numbers if all(abs(number) <= MAX_COORDINATE for number in numbers) else None


def group_of(element: ET.Element) -> str | None:
    """The group of a shape or track, None if it has none: CVAT's 0."""
    group = element.get("group_id", "0")
    return None if group in ("", "0") else group


def bbox_of(box: ET.Element) -> Bbox | None:
    """(x, y, width, height) of a ``<box>`` in image pixels.

    None if it is turned, for a bbox is not, or its corners are none.
    """
    corners = numbers_of([box.get(name, "") for name in _CORNERS])
    if corners is None or numbers_of([box.get("rotation", "0")]) != [0]:
        return None
    x, y, right, bottom = corners
    bbox = (x, y, right - x, bottom - y)
    is_bbox = min(bbox[2:]) >= 0 and max(bbox) <= MAX_COORDINATE and any(bbox)
    return bbox if is_bbox else None


def bboxes_of_track(track: ET.Element) -> dict[int, Bbox | None] | None:
    """Bbox of a track of rectangles by frame, None where it is outside.

    None for the whole track if any of it is no frame with a bbox.
    """
    found: dict[int, Bbox | None] = {}
    for child in track:
        if child.tag == "attribute":
            continue
        frame = whole_of(child.get("frame"))
        bbox = bbox_of(child)
        if child.tag != "box" or frame is None or frame in found or bbox is None:
            return None
        found[frame] = None if child.get("outside") == "1" else bbox
    return found or None


def set_bbox(box: ET.Element, bbox: Bbox) -> None:
    """Make `bbox` the corners of a ``<box>``, whose text stays if it says that already."""
    if bbox_of(box) != bbox:
        x, y, width, height = bbox
        for name, value in zip(_CORNERS, (x, y, _end(x, width), _end(y, height)), strict=True):
            box.set(name, np.format_float_positional(value, min_digits=2))


def _end(start: float, length: float) -> float:
    """Where a side ends: with two decimals if that gives the length back."""
    rounded = round(start + length, 2)
    return rounded if rounded - start == length else start + length


def kept_element(text: Any, tag: str) -> ET.Element | None:
    """Element that the reader has kept as text; None if it is not one with this tag."""
    try:
        element = parse_xml(text, "extra") if isinstance(text, str) else None
    except FormatError:
        return None
    return element if element is not None and element.tag == tag else None


def boxes_of_images(dataset: Dataset) -> dict[int, ET.Element]:
    """Rectangle of each row that was read with one and has a bbox, as its bbox is now.

    Left out are those whose group is no longer theirs alone: they would be the bbox of none.

    Parameters
    ----------
    dataset : Dataset
        Its lock is held.
    """
    table = dataset._table
    of_group: dict[tuple[int, str], list[int]] = {}
    for row in table.live_rows():
        kept = _kept_of_row(dataset, row)
        attributes = kept.get("attributes")
        group = attributes.get("group_id") if isinstance(attributes, dict) else None
        if isinstance(group, str):
            image = int(table.value(row, "image"))
            of_group.setdefault((image, group), []).append(row)
    found: dict[int, ET.Element] = {}
    for (_, group), rows in of_group.items():
        bbox = table.bbox(rows[0])
        box = kept_element(_kept_of_row(dataset, rows[0]).get("box"), "box")
        if len(rows) == 1 and bbox is not None and box is not None and group_of(box) == group:
            set_bbox(box, bbox)
            found[rows[0]] = box
    return found


def boxes_of_track(
    dataset: Dataset,
    rows: Mapping[int, int],
    kept: Mapping[str, Any],
    following: Mapping[int, int | None],
) -> ET.Element | None:
    """Track of rectangles of a track of skeletons, as the bboxes of its rows are now.

    A rectangle that was changed becomes a keyframe, and so do the one after it and the first after
    a gap. It is outside where the instance is gone or was given no bbox, unless there was none in
    that frame when it was read.

    Parameters
    ----------
    dataset : Dataset
    rows : mapping of int to int
        Rows of the table by frame.
    kept : mapping
        What the reader has kept of the track.
    following : mapping of int to int or None
        The next of each frame of the dataset.

    Returns
    -------
    Element or None
        None if the track was read without one.
    """
    track = kept_element(kept.get("boxes"), "track")
    if track is None or bboxes_of_track(track) is None:
        return None
    boxes = {int(child.get("frame", "")): child for child in track if child.tag == "box"}
    # The dataset may be a part of another.
    boxes = {frame: box for frame, box in boxes.items() if frame in following}
    listed = kept.get("boxes_alone")
    alone = {n for n in listed if type(n) is int} if isinstance(listed, list) else set()
    for frame in sorted(boxes.keys() | rows.keys()):
        bbox = dataset._table.bbox(rows[frame]) if frame in rows else None
        is_alone = bbox is None and frame in alone
        box = boxes.get(frame)
        was = None if box is None or box.get("outside") == "1" else bbox_of(box)
        if bbox == was or is_alone:
            continue
        after = following[frame]
        if box is None:
            box = boxes[frame] = _new_box(track, frame)
        if bbox is not None and after is not None and after not in boxes:
            boxes[after] = _new_box(track, after)
            set_bbox(boxes[after], bbox)
        box.set("outside", "1" if bbox is None else "0")
        if bbox is not None:
            set_bbox(box, bbox)
        for changed in (box, boxes.get(-1 if after is None else after)):
            if changed is not None:
                changed.set("keyframe", "1")
    # After a gap CVAT shows nothing before the next keyframe.
    continued = {following[frame] for frame, box in boxes.items() if box.get("outside") != "1"}
    for frame in boxes.keys() - continued:
        boxes[frame].set("keyframe", "1")
    others = [child for child in track if child.tag != "box"]
    track[:] = [*(boxes[frame] for frame in sorted(boxes)), *others]
    return track


def _new_box(track: ET.Element, frame: int) -> ET.Element:
    """Return a ``<box>`` that is outside."""
    fields = {"frame": str(frame), "keyframe": "1", "outside": "1", "occluded": "0"}
    corners = dict.fromkeys(_CORNERS, "0.00")
    return ET.SubElement(track, "box", {**fields, **corners, "z_order": "0"})


def _kept_of_row(dataset: Dataset, row: int) -> Mapping[str, Any]:
    """Return what the reader has kept of an instance."""
    table = dataset._table
    kept = ((table.value(row, "extra") if table.text(row) is None else None) or {}).get("cvat")
    return kept if isinstance(kept, dict) else {}
