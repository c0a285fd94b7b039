"""The built-in schemas against the facts they are made from, and what hangs on their names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kpwidget import schemas
from kpwidget.schema import Schema

FACTS = Path(__file__).parents[1].parent / "shared" / "schemas"
OWN = ("four_point", "bolt_pattern6")  # made here: no facts from elsewhere
PUBLISHED = [name for name in schemas.names() if name not in OWN]
FROM_THE_FRONT = (
    "coco17",
    "coco_wholebody133",
    "face68_300w",
    "face98_wflw",
    "vehicle66_apollocar3d",
    "four_point",
    "bolt_pattern6",
)


def facts_of(name: str) -> dict[str, Any]:
    path = FACTS / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"needs ../shared/schemas/{name}.json, which is not part of the project")
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts


def table() -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in schemas.describe().to_dict("records")}


# --- facts --------------------------------------------------------------------------------------


def test_there_is_a_schema_for_each_of_the_facts():
    if not FACTS.is_dir():
        pytest.skip("needs ../shared/schemas, which is not part of the project")
    assert sorted(PUBLISHED) == sorted(path.stem for path in FACTS.glob("*.json"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_edges_pairs_and_sigmas_are_the_published_ones(name):
    facts, schema = facts_of(name), schemas.get(name)
    assert list(schema.keypoints) == facts["keypoints"]
    assert schema.skeleton == facts["skeleton_1based"]
    numbers = {name: k for k, name in enumerate(facts["keypoints"], 1)}
    pairs = [sorted(numbers[end] for end in pair) for pair in schema.flip_pairs]
    assert pairs == [sorted(pair) for pair in facts["flip_pairs_1based"]]
    assert schema.flip_indices.tolist() == facts["flip_idx_0based"]
    sigmas = None if schema.sigmas is None else schema.sigmas.tolist()
    assert sigmas == facts["oks_sigmas"]


@pytest.mark.parametrize("name", ["face68_300w", "face98_wflw"])
def test_parts_and_contours_of_faces_are_the_published_ones(name):
    facts, schema = facts_of(name), schemas.get(name)
    assert {part: list(ends) for part, ends in schema.parts.items()} == facts["groups_1based"]
    assert schemas.contours(name) == facts["contour_edges_1based_DERIVED"]


def test_whole_body_has_the_parts_of_its_face_in_its_own_numbers():
    groups = facts_of("coco_wholebody133")["groups_1based"]
    parts = schemas.get("coco_wholebody133").parts
    face = [ends for part, ends in parts.items() if part.startswith("face")]
    assert [min(face)[0], max(face)[1]] == groups.pop("face")
    assert {part: list(parts[part]) for part in groups} == groups
    offset = groups["feet"][1]
    assert [(a - offset, b - offset) for a, b in face] == [
        *schemas.get("face68_300w").parts.values()
    ]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_source_of_sigmas_says_what_the_facts_say(name):
    facts, source = facts_of(name), table()[name]["sigma_source"]
    said = facts["oks_sigmas_source"].lower()
    assert ("borrowed" in said) == (source == "borrowed")
    assert ("uniform" in said) == (source == "uniform")
    assert ("none published" in said) == (source == "none")


# --- what every schema keeps --------------------------------------------------------------------


@pytest.mark.parametrize("name", schemas.names())
def test_flip_pairs_undo_themselves_and_name_two_sides(name):
    schema = schemas.get(name)
    flip = schema.flip_indices
    assert flip[flip].tolist() == list(range(schema.n_keypoints))
    for first, second in schema.flip_pairs:
        assert {schema.sides[schema.index(end)] for end in (first, second)} == {"left", "right"}
        # What says left in one name says right in the other.
        a, b = (re.findall("left|right|^[lr](?=_)", end.lower()) for end in (first, second))
        assert [word[0] for word in a] == [{"l": "r", "r": "l"}[word[0]] for word in b]


@pytest.mark.parametrize("name", schemas.names())
def test_edges_contours_and_parts_are_in_range(name):
    schema = schemas.get(name)
    everything = [*schema.skeleton, *schemas.contours(name), *schema.parts.values()]
    assert everything
    assert all(1 <= end <= schema.n_keypoints for pair in everything for end in pair)


@pytest.mark.parametrize(
    "name",
    [
        "coco_wholebody133",
        "face68_300w",
        "face98_wflw",
        "hand21",
        "vehicle66_apollocar3d",
    ],
)
def test_parts_cover_every_keypoint_once(name):
    schema = schemas.get(name)
    numbers = [k for first, last in schema.parts.values() for k in range(first, last + 1)]
    assert sorted(numbers) == list(range(1, schema.n_keypoints + 1))


@pytest.mark.parametrize("name", schemas.names())
def test_sigmas_are_positive_and_their_source_is_one_of_four(name):
    schema = schemas.get(name)
    assert schema.sigma_source == table()[name]["sigma_source"]
    if schema.sigmas is None:
        assert schema.sigma_source == "none"
        return
    assert (schema.sigmas > 0).all()
    is_uniform = len(set(schema.sigmas.tolist())) == 1
    assert schema.sigma_source in (["uniform"] if is_uniform else ["measured", "borrowed"])


@pytest.mark.parametrize("name", FROM_THE_FRONT)
def test_a_figure_from_the_front_is_its_own_mirror_image(name):
    schema = schemas.get(name)
    layout = schema.layout
    mirrored = np.column_stack([1 - layout[:, 0], layout[:, 1]])[schema.flip_indices]
    np.testing.assert_allclose(mirrored, layout, atol=0.011)


@pytest.mark.parametrize("name", schemas.names())
def test_no_two_keypoints_of_a_figure_fall_together(name):
    layout = schemas.get(name).layout
    gaps = np.linalg.norm(layout[:, None] - layout[None], axis=-1)
    np.fill_diagonal(gaps, 1)
    assert gaps.min() > 0.009


@pytest.mark.parametrize("name", schemas.names())
def test_everything_comes_back_from_metadata(name):
    schema = schemas.get(name)
    metadata = json.loads(json.dumps(schema.to_metadata()))
    again = Schema.from_metadata(metadata)
    assert again == schema
    assert again.to_metadata() == metadata
    assert (again.aliases, again.parts) == (schema.aliases, schema.parts)
    np.testing.assert_array_equal(again.layout, schema.layout)
    # Found by the names of the keypoints: files do not carry what is the same in each.
    assert not metadata.keys() & {"aliases", "parts", "contours", "origin", "licence", "layout"}


@pytest.mark.parametrize("name", schemas.names())
def test_the_figure_is_found_by_the_names_of_the_keypoints(name):
    schema = schemas.get(name)
    found = schemas.find_layout(schema.keypoints)
    assert found is not None
    np.testing.assert_array_equal(found, schema.layout)
    assert schemas.find_layout(schema.keypoints[::-1]) is None


def test_no_two_schemas_have_the_same_keypoints():
    assert len({schemas.get(name).keypoints for name in schemas.names()}) == len(schemas.names())


# --- names from elsewhere -----------------------------------------------------------------------


@pytest.mark.parametrize("name", schemas.names())
def test_every_name_and_alias_stands_for_its_keypoint(name):
    schema = schemas.get(name)
    assert schema.match(schema.keypoints) == list(range(schema.n_keypoints))
    for change, separator in product((str.upper, str.lower), " -."):
        names = [change(keypoint.replace("_", separator)) for keypoint in schema.keypoints]
        assert schema.match(names) == list(range(schema.n_keypoints))
    for keypoint, others in schema.aliases.items():
        for other in others:
            assert schema.match([other]) == [schema.index(keypoint)], other


@pytest.mark.parametrize(
    "said",
    ["left_eye", "l_eye", "L_Eye", "LEye", "leftEye", "LEFT_EYE", "lefteye", "eye.L", "eye left"],
)
def test_ways_to_say_the_left_eye(said):
    assert schemas.get("coco17").match([said]) == [1]
    assert schemas.get("animal17_ap10k").match([said]) == [0]


def test_the_other_order_of_animal_pose_is_told_by_the_names():
    facts = facts_of("animal20_animalpose")
    schema = schemas.get("animal20_animalpose")
    found = schema.match(facts["order_in_openpifpaf"])
    assert found != list(range(20))
    assert [schema.keypoints[k] for k in found] == facts["order_in_openpifpaf"]


@pytest.mark.parametrize("other", ["interhand2d", "rhd2d"])
def test_the_other_orders_of_hands_are_told_by_the_names(other):
    order = facts_of("hand21")["order_in_other_datasets_0based"][other]
    schema = schemas.get("hand21")
    assert schema.match([schema.keypoints[k] for k in order]) == order


def test_hands_of_mediapipe_have_the_same_order():
    # https://ai.google.dev/edge/mediapipe/solutions/vision/hand_landmarker, its 21 landmarks.
    names = ["WRIST", "THUMB_CMC", "THUMB_MCP", "THUMB_IP", "THUMB_TIP"] + [
        f"{finger}_{joint}"
        for finger in ("INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY")
        for joint in ("MCP", "PIP", "DIP", "TIP")
    ]
    assert schemas.get("hand21").match(names) == list(range(21))


# --- the table ----------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each():
    found = schemas.describe()
    assert list(found) == ["name", "keypoints", "edges", "sigma_source", "origin", "licence"]
    assert found["name"].tolist() == schemas.names()
    row = table()["coco17"]
    assert (row["keypoints"], row["edges"], row["sigma_source"]) == (17, 19, "measured")
    assert all(found["origin"].str.len() > 0)
    assert found["licence"].str.match("facts|BSD-3-Clause").all()


def test_contours_of_an_unknown_schema_are_refused():
    assert schemas.contours("coco17") == []
    with pytest.raises(KeyError, match="coco17, .*bolt_pattern6"):
        schemas.contours("face")


def test_files_are_read_when_first_asked_for():
    code = (
        "import kpwidget.schemas as s\n"
        "s.names()\n"
        "assert s._content.cache_info().currsize == 0\n"
        "s.get('coco17')\n"
        "assert s._content.cache_info().currsize == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
