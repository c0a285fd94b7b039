"""Labeling configs of Label Studio and schemas: which controls stand for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from kpwidget.formats.xml_text import attribute, parse_xml, xml_of
from kpwidget.schema import Category, FormatError, Schema, _show

__all__ = ["OCCLUDED", "VISIBLE", "Config", "config_of", "read_config"]

VISIBLE: Final = "visible"
OCCLUDED: Final = "occluded"
"""Choices of a keypoint. Label Studio has no visibility: this is a convention of our own."""


@dataclass(frozen=True)
class Config:
    """The controls of a labeling config that keypoints need.

    Attributes
    ----------
    text : str
        The XML.
    image, value : str
        Name of the image, and the field of a task's data that has it.
    rectangles : str
        Name of the control whose labels are the categories.
    keypoints : dict of str to str
        Name of the control of a category's keypoints, by category.
    visibility : str or None
        Name of the control that says that a keypoint is occluded, None if there is none.
    names : dict of str to tuple of str
        Keypoints by category, in the order of ``model_index``.
    """

    text: str
    image: str
    value: str
    rectangles: str
    keypoints: dict[str, str]
    visibility: str | None
    names: dict[str, tuple[str, ...]]

    def categories(self) -> list[Category]:
        """Categories without a skeleton, which a config does not have, with the ids 1, 2, ..."""
        return [
            Category(i, Schema(name, keypoints), name)
            for i, (name, keypoints) in enumerate(self.names.items(), 1)
        ]


def read_config(text: str, where: str) -> Config:
    """Config in XML.

    Parameters
    ----------
    text : str
    where : str
        For messages.

    Raises
    ------
    FormatError
        If it has no image, or no labels of keypoints.
    """
    root = parse_xml(text, where)
    image = root.find(".//Image")
    controls = list(root.iter("KeyPointLabels"))
    problems = [
        f"expected {what} in the labeling config, there is none"
        for what, is_there in (
            ("an <Image>", image is not None),
            ("<KeyPointLabels> with a <Label> for each keypoint", bool(controls)),
        )
        if not is_there
    ]
    if image is None or problems:
        raise FormatError.from_problems(where, problems)
    boxes = root.find(".//RectangleLabels")
    labels = [] if boxes is None else _labels(boxes, where)
    # A config with one list of keypoints has the same for all categories; one of several lists
    # says in an attribute of ours whose each is, else all are anyone's.
    of_category: dict[str, ET.Element] = {}
    for control in controls:
        owner = control.get("category")
        if owner is not None:
            of_category[owner] = control
    shared = list(dict.fromkeys(name for control in controls for name in _labels(control, where)))
    categories = labels or ([controls[0].get("name", "keypoints")] if shared else [])
    visibility = None
    for choices in root.iter("Choices"):
        found = {choice.get("value") for choice in choices.iter("Choice")}
        if {VISIBLE, OCCLUDED} <= found and choices.get("perRegion") == "true":
            visibility = choices.get("name")
    return Config(
        text,
        image.get("name", "image"),
        image.get("value", "$image").removeprefix("$"),
        "" if boxes is None else boxes.get("name", "bbox"),
        {c: of_category.get(c, controls[0]).get("name", "kp") for c in categories},
        visibility,
        {
            c: tuple(_labels(of_category[c], where) if c in of_category else shared)
            for c in categories
        },
    )


def _labels(control: ET.Element, where: str) -> list[str]:
    """Values of the labels of a control, in the order of ``model_index`` where all have one."""
    labels = list(control.iter("Label"))
    order = [label.get("model_index", "") for label in labels]
    if all(text.isascii() and text.isdigit() and len(text) < 10 for text in order):
        labels.sort(key=lambda label: int(label.get("model_index", "0")))
    values = [label.get("value", "") for label in labels]
    repeated = [value for value, n in Counter(values).items() if n > 1]
    if repeated or "" in values:
        got = ", ".join(map(_show, repeated[:5])) or "one without"
        problem = f"<{control.tag}>: expected labels with a value of their own, got {got}"
        raise FormatError.from_problems(where, [problem])
    return values


def config_of(categories: Sequence[Category]) -> Config:
    """Config for some categories.

    Parameters
    ----------
    categories : sequence of Category
        With names of their own.
    """
    view = ET.Element("View")
    ET.SubElement(view, "Image", name="image", value="$image")
    boxes = ET.SubElement(view, "RectangleLabels", name="bbox", toName="image")
    for category in categories:
        ET.SubElement(boxes, "Label", value=category.name)
    names = ["kp"] if len(categories) == 1 else [f"kp{i}" for i in range(1, len(categories) + 1)]
    for name, category in zip(names, categories, strict=True):
        whose = {"category": category.name} if len(categories) > 1 else {}
        fields = {"name": name, "toName": "image", "strokeWidth": "2", **whose}
        control = ET.SubElement(view, "KeyPointLabels", fields)
        for k, keypoint in enumerate(category.keypoints):
            attribute(keypoint, "keypoint")
            ET.SubElement(control, "Label", value=keypoint, model_index=str(k))
    if not categories:
        ET.SubElement(view, "KeyPointLabels", name="kp", toName="image")
    # It is shown for the regions of a control; without the name of one for all.
    when = {"whenTagName": "kp"} if len(categories) == 1 else {}
    fields = {"name": "visibility", "toName": "image", "perRegion": "true", **when}
    choices = ET.SubElement(view, "Choices", {**fields, "choice": "single"})
    for value in (VISIBLE, OCCLUDED):
        ET.SubElement(choices, "Choice", value=value)
    ET.indent(view, "  ")
    return Config(
        xml_of(view) + "\n",
        "image",
        "image",
        "bbox",
        {c.name: name for name, c in zip(names, categories, strict=True)},
        "visibility",
        {c.name: c.keypoints for c in categories},
    )
