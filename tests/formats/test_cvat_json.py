"""Skeleton labels of CVAT, as its label constructor has them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from kpwidget.formats.cvat_json import SvgError, is_skeleton_label, metadata_of_label

EXAMPLE = Path(__file__).resolve().parents[3] / "shared/format-examples/cvat-images/annotations.xml"


def circle(name: str, node: int = 1, x: str = "50", y: str = "20", key: str = "name") -> str:
    return (
        f'<circle r="0.75" cx="{x}" cy="{y}" data-type="element node" data-element-id="{node}" '
        f'data-node-id="{node}" data-label-{key}="{name}"></circle>'
    )


def line(a: object, b: object) -> str:
    return f'<line x1="1" y1="2" data-type="edge" data-node-from="{a}" data-node-to="{b}"></line>'


@pytest.mark.skipif(not EXAMPLE.is_file(), reason="needs ../shared, which is not part of this")
def test_the_label_in_a_file_that_cvat_wrote():
    labels = ElementTree.parse(EXAMPLE).findall(".//label")
    (skeleton,) = [one for one in labels if one.findtext("type") == "skeleton"]
    metadata, problems = metadata_of_label(
        {"name": skeleton.findtext("name"), "svg": skeleton.findtext("svg")}
    )
    # Ground truth of the example, as its description has it.
    assert problems == []
    assert metadata == {
        "name": "animal",
        "keypoints": ["nose", "left_eye", "right_eye", "tail"],
        "skeleton": [[1, 2], [1, 3], [1, 4]],
        "layout": [[0.5, 0.2], [0.65, 0.1], [0.35, 0.1], [0.5, 0.9]],
    }


def test_sublabels_give_names_by_id_and_colours_and_nodes_are_looked_up():
    # Numbers of nodes and ids as CVAT's server gives them: neither begins at 1, nor in order.
    label = {
        "name": "stick",
        "type": "skeleton",
        "svg": line(9, 4) + circle("71", 4, "25", "100", "id") + circle("70", 9, "75", "0", "id"),
        "sublabels": [
            {"id": 70, "name": "tip", "color": "#0000ff", "type": "points"},
            {"id": 71, "name": "head", "color": "#ff0000", "type": "points"},
        ],
    }
    assert is_skeleton_label(label)
    assert metadata_of_label(label) == (
        {
            "name": "stick",
            "keypoints": ["head", "tip"],
            "skeleton": [[2, 1]],
            "colors": ["#ff0000", "#0000ff"],
            "layout": [[0.25, 1.0], [0.75, 0.0]],
        },
        [],
    )


def test_every_problem_is_named():
    svg = circle("a", 1) + circle("b", 1) + circle("c", 3, "101") + '<circle cx="1" cy="nan"/>'
    _, problems = metadata_of_label({"svg": svg + line(1, 7), "sublabels": 3})
    assert [f"{key} {what}" for key, what in problems] == [
        "sublabels = 3: expected a list of labels",
        "svg circle 2: data-node-id '1' is given twice",
        "svg circle 3: cx, cy = '101', '20': expected numbers in 0..100",
        "svg circle 4: expected data-label-name, or a data-label-id that is the id of a sublabel; "
        "it has cx '1', cy 'nan'",
        "svg line 1: data-node-from, data-node-to = '1', '7': expected the data-node-id of two "
        "circles",
    ]
    assert metadata_of_label({"svg": line(1, 2)})[1][0] == (
        "svg",
        "has no circle: expected one for each keypoint",
    )


@pytest.mark.parametrize(
    ("svg", "offset"),
    [
        # Where expat stops: behind what it has read.
        pytest.param("<circle></circle", 16, id="cut"),
        pytest.param("<g>\n</circle>", 6, id="wrong end, second line"),
        pytest.param('<!DOCTYPE x [<!ENTITY e "1">]><g>&e;</g>', None, id="entity"),
        pytest.param("<g>&lol;</g>", None, id="unknown entity"),
        pytest.param("<g>" * 400_000, None, id="too long"),
    ],
)
def test_what_is_no_xml_or_has_entities_is_refused(svg, offset):
    with pytest.raises(SvgError) as caught:
        metadata_of_label({"svg": svg})
    assert 0 <= caught.value.offset <= len(svg)
    if offset is not None:
        assert caught.value.offset == offset
