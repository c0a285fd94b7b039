from __future__ import annotations

import base64
import copy
import json
import pickle
import re
import struct
import time
import warnings
import zlib
from itertools import product

import numpy as np
import pytest

from kpwidget import schemas
from kpwidget.schema import INSTANCE_COLORS, Category, FormatError, Schema, Visibility

# The two metadata blocks that the project began with, tabs and line breaks included.
FOUR_POINT = (
    '{\n\t"keypoints":\t["top", "left", "right", "bottom"],\n'
    '\t"skeleton":\t[[1,2],[1,3],\n\t\t[2,4],[3,4]]\n}'
)
COCO = """{
\t"keypoints": [
\t\t"nose","left_eye","right_eye","left_ear","right_ear",
\t\t"left_shoulder","right_shoulder","left_elbow","right_elbow",
\t\t"left_wrist","right_wrist","left_hip","right_hip",
\t\t"left_knee","right_knee","left_ankle","right_ankle"
\t],
\t"skeleton": [
\t\t[16,14],[14,12],[17,15],[15,13],[12,13],[6,12],[7,13],[6,7],[6,8],[7,9],[8,10],[9,11],
\t\t[2,3],[1,2],[1,3],[2,4],[3,5],[4,6],[5,7]
\t]
}"""


def problems_of(call) -> tuple[str, ...]:
    with pytest.raises(FormatError) as caught:
        call()
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


# --- what a schema holds ------------------------------------------------------------------------


@pytest.mark.parametrize("as_text", [pytest.param(True, id="text"), pytest.param(False, id="dict")])
@pytest.mark.parametrize(
    ("text", "n_keypoints", "n_edges"),
    [pytest.param(FOUR_POINT, 4, 4, id="four_point"), pytest.param(COCO, 17, 19, id="coco")],
)
def test_example_metadata_loads_verbatim_and_comes_back(text, n_keypoints, n_edges, as_text):
    content = json.loads(text)
    schema = Schema.from_metadata(text if as_text else content, name="Skeleton")
    assert schema.name == "Skeleton"
    assert schema.n_keypoints == n_keypoints
    assert len(schema.edges) == n_edges
    assert json.dumps(schema.to_metadata()) == json.dumps(content)


def test_a_path_is_read_as_a_file(tmp_path):
    path = tmp_path / "four.json"
    path.write_text(FOUR_POINT, encoding="utf-8")
    schema = Schema.from_metadata(path)
    assert schema.name == "four"
    assert schema.keypoints == ("top", "left", "right", "bottom")


def test_skeleton_is_one_based_and_edges_are_zero_based():
    schema = Schema("bolt", ["head", "middle", "tip"], [(1, 2), (3, 2)])
    assert schema.skeleton == [[1, 2], [3, 2]]
    assert schema.edges.tolist() == [[0, 1], [2, 1]]
    schema.skeleton.append([1, 3])
    assert schema.skeleton == [[1, 2], [3, 2]]


def test_edges_may_be_pairs_of_names():
    metadata = {"keypoints": ["2", "1", "tip"], "skeleton": [["2", "tip"], ["1", "2"]]}
    schema = Schema.from_metadata(metadata)
    assert schema.skeleton == [[1, 3], [2, 1]]
    assert schema.to_metadata() == metadata


def test_edges_may_be_an_integer_array():
    assert Schema("x", ["a", "b"], np.array([[2, 1]])).skeleton == [[2, 1]]


@pytest.mark.parametrize("metadata", [{"keypoints": ["a"]}, {"keypoints": ["a"], "skeleton": []}])
def test_without_skeleton_there_are_no_edges(metadata):
    schema = Schema.from_metadata(metadata)
    assert schema.edges.shape == (0, 2)
    assert schema.to_metadata() == metadata


def test_unknown_keys_and_key_order_come_back():
    metadata = {
        "supercategory": "person",
        "id": 1,
        "keypoints": ["a_left", "a_right"],
        "name": "person",
        "x-note": {"deep": [1, 2.50, None, True, "ü"]},
        "skeleton": [[2, 1]],
        "flip_pairs": [["a_right", "a_left"]],
        "sigmas": [0.05, 1],
        "sigma_source": "ours",
        "colors": ["#ABCDEF", "#000000"],
    }
    schema = Schema.from_metadata(metadata)
    assert json.dumps(schema.to_metadata()) == json.dumps(metadata)
    assert schema.name == "person"
    assert schema.flip_indices.tolist() == [1, 0]
    assert schema.sigmas is not None
    assert schema.sigmas.tolist() == [0.05, 1.0]
    assert schema.colors == ("#abcdef", "#000000")
    assert schema.sides == ("left", "right")


def test_metadata_given_and_taken_are_copies():
    metadata = {"keypoints": ["a", "b"], "extra": [1]}
    schema = Schema.from_metadata(metadata)
    metadata["extra"].append(2)
    schema.to_metadata()["keypoints"].append("c")
    assert schema.to_metadata() == {"keypoints": ["a", "b"], "extra": [1]}


def test_a_constructed_schema_survives_its_metadata():
    schema = Schema(
        "arm",
        ("shoulder", "l_hand", "r_hand"),
        [("shoulder", "l_hand"), ("shoulder", "r_hand")],
        flip_pairs=[("l_hand", "r_hand")],
        sigmas=np.array([0.1, 0.05, 0.05]),
        sigma_source="guess",
        colors=["#000001", "#000002", "#000003"],
    )
    metadata = json.loads(json.dumps(schema.to_metadata()))
    assert metadata["keypoints"] == ["shoulder", "l_hand", "r_hand"]
    assert metadata["skeleton"] == [[1, 2], [1, 3]]
    assert Schema.from_metadata(metadata) == schema


def test_aliases_and_parts_survive_metadata_and_do_not_count_for_equality():
    aliases, parts = {"l_hand": ["left_paw"]}, {"hands": [2, 3]}
    schema = Schema("arm", ["shoulder", "l_hand", "r_hand"], aliases=aliases, parts=parts)
    assert schema.aliases == {"l_hand": ("left_paw",)}
    assert schema.parts == {"hands": (2, 3)}
    metadata = json.loads(json.dumps(schema.to_metadata()))
    assert (metadata["aliases"], metadata["parts"]) == (aliases, parts)
    again = Schema.from_metadata(metadata)
    assert (again.aliases, again.parts) == (schema.aliases, schema.parts)
    assert again == pickle.loads(pickle.dumps(schema)) == Schema("arm", schema.keypoints)
    assert Schema("arm", schema.keypoints).aliases == {}
    assert Schema("arm", schema.keypoints).parts == {}


def test_names_are_matched_by_name_and_alias_and_never_by_position():
    schema = Schema(
        "arm",
        ["shoulder", "l_hand", "r_hand", "r-hand", "👁", "left_c_right_c", "right_c_left_c"],
        aliases={"shoulder": ["acromion"], "l_hand": ["paw", "claw"], "r_hand": ["claw"]},
    )
    assert schema.match(["LHand", "Acromion", "elbow", "r_hand", "👁"]) == [1, 0, None, 2, 4]
    assert schema.match(["Right Hand"]) == [None], "two keypoints have this name"
    assert schema.match(["claw"]) == [None], "two keypoints have this alias"
    assert schema.match(["RightC-LeftC", "LeftC-RightC"]) == [6, 5]
    assert schema.match([]) == []
    with pytest.raises(ValueError, match=r"'paw', 'l_hand' all stand for 'l_hand'; expected one"):
        schema.match(["paw", "shoulder", "l_hand"])


def test_equality_and_hash_follow_the_content():
    a = Schema("x", ["a", "b"], [(1, 2)])
    b = Schema.from_metadata({"keypoints": ["a", "b"], "skeleton": [["a", "b"]], "name": "x"})
    assert a == b
    assert hash(a) == hash(b)
    others = [
        Schema("y", ["a", "b"], [(1, 2)]),
        Schema("x", ["a", "c"], [(1, 2)]),
        Schema("x", ["a", "b"], [(2, 1)]),
        Schema("x", ["a", "b"], [(1, 2)], flip_pairs=[("a", "b")]),
        Schema("x", ["a", "b"], [(1, 2)], sigmas=[0.1, 0.1]),
        Schema("x", ["a", "b"], [(1, 2)], colors=["#000000", "#000000"]),
    ]
    assert all(a != other for other in others)
    assert len({a, b, *others}) == 7


def test_a_schema_does_not_change():
    schema = Schema("x", ["a", "b"], [(1, 2)], sigmas=[0.1, 0.1])
    with pytest.raises(AttributeError, match="does not change"):
        schema.name = "y"
    with pytest.raises(ValueError, match="read-only"):
        schema.edges[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        schema.sigmas[0] = 1


def test_pickle_and_copy_keep_everything_and_do_not_warn_again():
    with pytest.warns(UserWarning, match="repeats"):
        schema = Schema.from_metadata(
            {"keypoints": ["a", "b"], "skeleton": [[1, 2], [2, 1]], "k": [1]}
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = pickle.loads(pickle.dumps(schema))
    assert again == schema
    assert again.to_metadata() == schema.to_metadata()
    assert copy.deepcopy(schema) is schema


def test_index_takes_names_and_indices():
    schema = schemas.get("coco17")
    assert schema.index("left_wrist") == 9
    assert schema.index(9) == 9
    with pytest.raises(KeyError, match="did you mean 'left_wrist'"):
        schema.index("Left_Wrist")
    with pytest.raises(KeyError, match="it has 'top', 'left', 'right', 'bottom'"):
        schemas.get("four_point").index("qqq")
    for wrong in (17, -1, True, 1.0, None):
        with pytest.raises(KeyError):
            schema.index(wrong)


@pytest.mark.parametrize(
    ("first", "second", "sides"),
    [
        ("left_eye", "right_eye", ("left", "right")),
        ("right_eye", "left_eye", ("right", "left")),
        ("R_Eye", "L_Eye", ("right", "left")),
        ("RWrist", "LWrist", ("right", "left")),
        ("eye_right", "eye_left", ("right", "left")),
        ("RightEye", "LeftEye", ("right", "left")),
        ("rightEye", "leftEye", ("right", "left")),
        ("eye.r", "eye.l", ("right", "left")),
        ("eye-R", "eye-L", ("right", "left")),
        ("eye R", "eye L", ("right", "left")),
        ("RIGHT_EYE", "LEFT_EYE", ("right", "left")),
        ("rightear", "leftear", ("right", "left")),
        ("b", "left", ("right", "left")),
        ("right", "b", ("right", "left")),
        # Neither says, though both hold the letters l and r: the first is the left one.
        ("molar", "collar", ("left", "right")),
        ("kpt-2", "kpt-1", ("left", "right")),
    ],
)
def test_sides_are_read_from_names(first, second, sides):
    schema = Schema("x", [first, "nose", second], flip_pairs=[(first, second)])
    assert schema.sides == (sides[0], None, sides[1])


# --- colours ------------------------------------------------------------------------------------

# Simulated colour blindness, severity 1.0, on linear RGB: Machado, Oliveira, Fernandes, "A
# Physiologically-based Model for Simulation of Color Vision Deficiency", IEEE TVCG 15 (2009).
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def lab(color: str, vision: str) -> np.ndarray:
    """CIE L*a*b* (D65) of an sRGB colour as seen with `vision`."""
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(VISION[vision] @ linear, 0, 1)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = to_xyz @ linear / (0.95047, 1, 1.08883)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def difference(a: str, b: str, vision: str) -> float:
    return float(np.linalg.norm(lab(a, vision) - lab(b, vision)))


@pytest.mark.parametrize("vision", VISION)
def test_left_and_right_stay_apart_under_colour_blindness(vision):
    schema = schemas.get("coco17")
    left = {c for c, side in zip(schema.colors, schema.sides, strict=True) if side == "left"}
    right = {c for c, side in zip(schema.colors, schema.sides, strict=True) if side == "right"}
    assert len(left) > 1
    assert len(right) > 1
    # 2.3 is the just noticeable difference of CIE76; 40 is far beyond doubt.
    assert min(difference(a, b, vision) for a, b in product(left, right)) > 40


@pytest.mark.parametrize("vision", VISION)
def test_instance_colors_stay_apart_under_colour_blindness(vision):
    assert len(set(INSTANCE_COLORS)) == 8
    assert all(re.fullmatch("#[0-9a-f]{6}", color) for color in INSTANCE_COLORS)
    pairs = [(a, b) for a, b in product(INSTANCE_COLORS, repeat=2) if a < b]
    assert min(difference(a, b, vision) for a, b in pairs) > 15


def test_sides_are_shown_by_name_where_there_are_no_flip_pairs():
    schema = Schema("s", ["nose", "left_eye", "REye", "RightEye2", "eye_2_left", "left", "tail_l"])
    # eye_2_left and RightEye2 have their words in another order: they are no pair.
    assert schema.sides == (None, "left", "right", None, None, None, None)
    schema = Schema("s", ["nose", "left_eye", "right_eye", "LWrist", "RWrist", "toe1_l", "toe1_r"])
    assert schema.sides == (None, "left", "right", "left", "right", "left", "right")
    assert schema.flip_pairs == ()
    assert schema.flip_indices.tolist() == [0, 1, 2, 3, 4, 5, 6]
    paired = Schema(
        "s", schema.keypoints, flip_pairs=[("left_eye", "right_eye"), ("LWrist", "RWrist")]
    )
    assert paired.sides == (*schema.sides[:5], None, None)


def test_without_sides_eight_colors_take_turns():
    colors = Schema("x", [f"k{i}" for i in range(10)]).colors
    assert len(set(colors[:8])) == 8
    assert colors[8:] == colors[:2]


# --- what is refused ----------------------------------------------------------------------------


def test_all_problems_are_named_at_once_with_their_places():
    problems = problems_of(
        lambda: Schema(
            "x",
            ["a", "b", "a", 3, ""],
            [[1, 2], [1, 9], [1, 2, 3], [2, 2], [True, 2], ["a", "q"], [1, "a"], 7],
            flip_pairs=[(1, 2), ("a", "zz"), ("a", "b"), ("b", "b"), "ab"],
            sigmas=[1, -1, float("nan"), True, "0.1", 0],
            colors=["red", "#12345g", "#123456\n"],
            sigma_source=3,
            aliases={"zz": ["y"], "a": "y", "b": [1], 7: ["", "c"]},
            parts={"p": [0, 2], "q": [2, 1], "r": [1], "s": [1, 9], "t": "12", " ": [1, 1]},
        )
    )
    places = [
        "keypoints[2] = 'a'",
        "keypoints[3] = 3",
        "keypoints[4] = ''",
        "skeleton[1] = [1, 9]",
        "skeleton[2] = [1, 2, 3]",
        "skeleton[3] = [2, 2]",
        "skeleton[4] = [True, 2]",
        "skeleton[5] = ['a', 'q']",
        "skeleton[6] = [1, 'a']",
        "skeleton[7] = 7",
        "flip_pairs[0] = [1, 2]",
        "flip_pairs[1] = ['a', 'zz']",
        "flip_pairs[2] = ['a', 'b']",
        "flip_pairs[3] = ['b', 'b']",
        "flip_pairs[4] = 'ab'",
        "sigmas",
        "sigmas[1] = -1",
        "sigmas[2] = nan",
        "sigmas[3] = True",
        "sigmas[4] = '0.1'",
        "sigmas[5] = 0",
        "sigma_source = 3",
        "aliases['zz']",
        "aliases['a'] = 'y'",
        "aliases['b'] = [1]",
        "aliases[7]",
        "aliases[7]",
        "parts['p'] = [0, 2]",
        "parts['q'] = [2, 1]",
        "parts['r'] = [1]",
        "parts['s'] = [1, 9]",
        "parts['t'] = '12'",
        "parts",
        "colors",
        "colors[0] = 'red'",
        "colors[1] = '#12345g'",
        "colors[2] = '#123456\\n'",
    ]
    found = [problem.split(": ")[1] for problem in problems]
    assert sorted(found) == sorted(places)
    assert all(problem.startswith("schema 'x': ") for problem in problems)


def test_a_zero_based_skeleton_gets_a_hint():
    problems = problems_of(
        lambda: Schema.from_metadata(
            {"keypoints": list("abcd"), "skeleton": [[1, 2], [2, 3], [3, 1], [0, 2]]}, name="x"
        )
    )
    assert problems[0].startswith("schema 'x': skeleton[3] = [0, 2]: 0 outside 1..4")
    assert "0-based" in problems[1]
    assert len(problems) == 2


@pytest.mark.parametrize("edges", [[[0, 4]], [[5, 1]], [[-1, 2], [0, 1]]])
def test_an_edge_that_is_out_of_range_otherwise_gets_no_hint(edges):
    problems = problems_of(lambda: Schema("x", list("abcd"), edges))
    assert not any("0-based" in problem for problem in problems)


def test_a_repeated_edge_is_kept_with_a_warning_that_points_here():
    with pytest.warns(UserWarning, match=r"skeleton\[2\] = \[2, 1\] repeats skeleton\[0\]") as seen:
        schema = Schema("x", ["a", "b", "c"], [[1, 2], [2, 3], [2, 1]])
    assert seen[0].filename == __file__
    assert schema.skeleton == [[1, 2], [2, 3], [2, 1]]
    with pytest.warns(UserWarning, match="repeats") as seen:
        Schema.from_metadata({"keypoints": ["a", "b"], "skeleton": [[1, 2], [1, 2]]})
    assert seen[0].filename == __file__


def test_every_place_of_many_faults_is_found_in_linear_time() -> None:
    text = '{"keypoints": ["a"], "x": [NaN,' + "\n NaN, NaN," * 50_000 + " 1]}"
    start = time.process_time()
    with pytest.raises(FormatError) as caught:
        Schema.from_metadata(text)
    assert time.process_time() - start < 5  # 15 times as long if each were counted from the start
    problems = caught.value.problems
    assert len(problems) == 100_001
    assert problems[0] == "schema: line 1, column 28: NaN is not JSON"
    assert problems[1:3] == (
        "schema: line 2, column 2: NaN is not JSON",
        "schema: line 2, column 7: NaN is not JSON",
    )
    assert problems[-1] == "schema: line 50001, column 7: NaN is not JSON"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('{"keypoints": ["a",]}', r"not JSON: line 1, column 2\d: ", id="comma"),
        pytest.param(
            '{\n "keypoints":\n ["a" "b"]}', "not JSON: line 3, column 7", id="third line"
        ),
        pytest.param("", "not JSON: line 1, column 1", id="empty"),
        pytest.param("nowhere.json", "not JSON: line 1, column 1", id="no such file"),
        pytest.param('\ufeff{"keypoints": ["a"]}', "byte order mark", id="BOM"),
        pytest.param('{"keypoints": ["a"], "x": NaN}', "line 1, column 27: NaN", id="NaN"),
        pytest.param('{"keypoints": ["a"],\n"sigmas": [-Infinity]}', "line 2, column 12: -Inf"),
        pytest.param('{"keypoints": ["a"], "sigmas": [1e400]}', "1e400.* too large"),
        pytest.param('{"keypoints": ["a"], "x": ' + "9" * 5000 + "}", "4300 digits"),
        pytest.param(
            '{"a": {"keypoints": 1},\n "keypoints": ["a"], "keypoints": ["b"]}',
            "line 2, column 22: the key 'keypoints' is given twice",
            id="key twice",
        ),
        pytest.param("[" * 200_000, "nested", id="deep, open"),
        pytest.param('{"keypoints": ["a"], "x": ' + "[" * 500 + "]" * 500 + "}", "nested"),
        pytest.param("{}", "'keypoints' is missing", id="no keypoints"),
        pytest.param('{"Keypoints": ["a"]}', r"missing.*'Keypoints'", id="other case"),
        pytest.param('{"keypoints": []}', "at least one name", id="none"),
        pytest.param('{"keypoints": null}', "keypoints = None: expected a list", id="null"),
        pytest.param('{"keypoints": "nose"}', "expected a list of names", id="a string"),
        pytest.param('{"keypoints": {"a": 1}}', "expected a list of names", id="a mapping"),
        pytest.param('{"keypoints": [" \\t"]}', "white space", id="blank"),
        pytest.param('{"keypoints": ["\\ud800"]}', "surrogate", id="surrogate"),
        pytest.param('{"keypoints": ["a"], "skeleton": 3}', "expected a list of pairs"),
        pytest.param('{"keypoints": ["a", "b"], "skeleton": [[1.0, 2]]}', "whole numbers"),
        pytest.param('{"keypoints": ["a"], "name": 3}', "name = 3: expected a string"),
        pytest.param('["a", "b"]', "expected an object with 'keypoints', got", id="list"),
        pytest.param('[{"keypoints": ["a"]}]', "pass one of them", id="list of categories"),
        pytest.param("3", "expected an object", id="number"),
        pytest.param(
            '{"images": [], "categories": [{"name": "cat", "keypoints": ["a"]}]}',
            r"one category.*metadata\['categories'\]\[0\] \(they are 'cat'\)",
            id="whole dataset",
        ),
    ],
)
def test_text_that_is_no_metadata_is_refused(text, message):
    with pytest.raises(FormatError, match=message):
        Schema.from_metadata(text)


def test_the_name_of_a_file_given_as_text_gets_a_hint(tmp_path):
    path = tmp_path / "schema.json"
    path.write_text(FOUR_POINT, encoding="utf-8")
    with pytest.raises(FormatError, match=r"not JSON.*pathlib\.Path"):
        Schema.from_metadata(str(path))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"\xef\xbb\xbf{}", "byte 0: .*UTF-8 byte order mark", id="BOM"),
        pytest.param("{}".encode("utf-16"), "byte 0: .*UTF-16", id="UTF-16"),
        pytest.param(b'{"keypoints": ["\xff"]}', "byte 16: not UTF-8", id="latin-1"),
        pytest.param(b'{"keypoints": [1]}', r"keypoints\[0\] = 1", id="content"),
    ],
)
def test_a_bad_file_is_refused_naming_it(tmp_path, data, message):
    path = tmp_path / "odd.json"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=re.escape(str(path)) + ": " + message):
        Schema.from_metadata(path)


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, {1: 2}, b"x"])
def test_a_dict_that_json_could_not_hold_is_refused(value):
    with pytest.raises(FormatError, match=r"x"):
        Schema.from_metadata({"keypoints": ["a"], "x": value})


def test_other_types_of_metadata_are_a_type_error():
    with pytest.raises(TypeError, match="not bytes"):
        Schema.from_metadata(b"{}")


def test_a_dict_that_holds_itself_is_refused():
    metadata: dict = {"keypoints": ["a"]}
    twice: list = []
    twice += [twice, twice]  # 2**depth ways down
    for endless in (metadata, twice):
        metadata["self"] = endless
        with pytest.raises(FormatError, match="nested"):
            Schema.from_metadata(metadata)


# --- strangers' names and sizes -----------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("👁️‍🗨️", id="emoji"),
        pytest.param("عين يسرى", id="right to left"),
        pytest.param("x" * 10_000, id="long"),
        pytest.param("<img src=x onerror=alert(1)>", id="markup"),
        pytest.param("__import__('os').abort()", id="code"),
        pytest.param("$\\frac{1}", id="mathtext"),
        pytest.param("a\x00b\nc", id="control characters"),
    ],
)
def test_any_text_can_be_a_name(name):
    schema = Schema.from_metadata(json.dumps({"keypoints": [name, "b"], "skeleton": [[name, "b"]]}))
    assert schema.keypoints == (name, "b")
    assert schema.index(name) == 0
    assert schema.to_metadata()["keypoints"] == [name, "b"]
    (problem,) = problems_of(lambda: Schema(name, [name, name]))
    assert len(problem) < 400
    assert problem.isprintable()


def test_100_000_keypoints_do_not_take_quadratic_time():
    n_keypoints = 100_000
    names = [f"left_{i}" if i % 2 else f"right_{i - 1}" for i in range(n_keypoints)]
    metadata = {
        "keypoints": [f"k{i}_{name}" for i, name in enumerate(names)],
        "skeleton": [[i, i + 1] for i in range(1, n_keypoints)],
        "flip_pairs": [],
    }
    metadata["flip_pairs"] = [metadata["keypoints"][i : i + 2] for i in range(0, n_keypoints, 2)]
    start = time.perf_counter()
    schema = Schema.from_metadata(json.dumps(metadata))
    assert schema.sides[:2] == ("right", "left")
    with pytest.raises(KeyError, match="and 99960 more"):
        schema.index("nose")
    # All-pairs work would take 10**10 steps, that is many minutes.
    assert time.perf_counter() - start < 20


def test_very_many_problems_are_counted_in_the_message_and_all_kept():
    with pytest.raises(FormatError, match="and 800 more problems") as caught:
        Schema("x", [3] * 1000)
    assert len(caught.value.problems) == 1000
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.problems == caught.value.problems
    assert str(again) == str(caught.value)


# --- built-in schemas ---------------------------------------------------------------------------


def test_coco17_has_the_sigmas_of_pycocotools():
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    schema = schemas.get("coco17")
    np.testing.assert_allclose(schema.sigmas, cocoeval.Params("keypoints").kpt_oks_sigmas)
    assert schema.sigma_source == "measured"


def test_built_in_schemas_equal_the_examples():
    for name, text in (("coco17", COCO), ("four_point", FOUR_POINT)):
        example = Schema.from_metadata(text)
        assert schemas.get(name).keypoints == example.keypoints
        assert schemas.get(name).skeleton == example.skeleton


@pytest.mark.parametrize("name", schemas.names())
def test_built_in_schema_is_sound(name):
    schema = schemas.get(name)
    assert schema.name == name
    assert schemas.get(name) is schema
    assert Schema.from_metadata(schema.to_metadata()) == schema
    assert schema.layout is not None
    assert schema.layout.shape == (schema.n_keypoints, 2)
    assert "layout" not in schema.to_metadata()
    # The figure faces the reader, but for two, whose names and numbers are meant as seen.
    sign = -1 if name in ("four_point", "bolt_pattern6") else 1
    left = sum(schema.layout[k, 0] for k, side in enumerate(schema.sides) if side == "left")
    right = sum(schema.layout[k, 0] for k, side in enumerate(schema.sides) if side == "right")
    assert sign * left > sign * right or not schema.flip_pairs


def test_coco_metadata_from_a_file_gets_the_figure_of_coco17():
    layout = Schema.from_metadata(COCO).layout
    assert layout is not None
    np.testing.assert_array_equal(layout, schemas.get("coco17").layout)
    assert Schema("x", ["a", "b"]).layout is None


def test_unknown_built_in_schema_lists_those_there_are():
    with pytest.raises(KeyError, match="coco17, .*four_point"):
        schemas.get("../coco17")


# --- the rest -----------------------------------------------------------------------------------


def test_visibility_values_are_those_of_coco():
    assert [Visibility.UNLABELED, Visibility.OCCLUDED, Visibility.VISIBLE] == [0, 1, 2]


def test_category_holds_a_schema_and_is_hashable():
    category = Category(1, schemas.get("coco17"), "person", "being", {"x": [1]})
    assert category.n_keypoints == 17
    assert category.keypoints == category.schema.keypoints
    assert category in {category}


def test_category_names_every_bad_field():
    problems = problems_of(lambda: Category(True, "coco17", 3, 4, 5))
    fields = [problem.split(": ")[1].split(" =")[0] for problem in problems]
    assert fields == ["id", "schema", "name", "supercategory", "extra"]


# --- definitions, references and the figure in metadata -------------------------------------------

# A row of grey pixels, chunk by chunk after the PNG specification (the crc is zlib's).
_IHDR = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)


def _png(width: int = 1) -> bytes:
    chunks = [
        (b"IHDR", struct.pack(">II", width, 1) + _IHDR[8:]),
        (b"IDAT", zlib.compress(b"\0" + b"\x80" * width)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def test_definitions_and_references_survive_metadata_and_count_for_equality():
    definitions = {"b": "the outer corner", "a": "the tip"}
    schema = Schema("x", ["a", "b"], definitions=definitions, references={"b": _png()})
    metadata = json.loads(json.dumps(schema.to_metadata()))
    assert metadata["definitions"] == definitions
    url = "data:image/png;base64," + base64.b64encode(_png()).decode()
    assert metadata["references"] == {"b": url}
    again = Schema.from_metadata(metadata)
    assert again == schema == pickle.loads(pickle.dumps(schema))
    assert (again.definitions, again.references) == (definitions, {"b": _png()})
    assert json.dumps(again.to_metadata()) == json.dumps(metadata)
    assert schema != Schema("x", ["a", "b"], definitions=definitions)
    assert schema != Schema("x", ["a", "b"], references={"b": _png()})
    plain = Schema("x", ["a", "b"])
    assert plain == Schema("x", ["a", "b"], definitions={}, references={})
    assert plain.definitions == plain.references == {}
    assert not plain.to_metadata().keys() & {"definitions", "references"}


def test_a_figure_in_metadata_is_read():
    metadata = {"keypoints": ["a", "b"], "layout": [[0.25, 0.5], [1, 0]]}
    schema = Schema.from_metadata(metadata)
    np.testing.assert_array_equal(schema.layout, [[0.25, 0.5], [1, 0]])
    assert schema.to_metadata() == metadata
    assert schema == Schema("schema", ["a", "b"])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("definitions", ["a"], r"definitions = \['a'\]: expected an object by the names"),
        ("definitions", {"c": "x"}, r"definitions\['c'\]: no keypoint is named 'c'"),
        ("definitions", {"a": 1}, r"definitions\['a'\] = 1: expected a string, got int"),
        ("definitions", {"a": " "}, r"definitions\['a'\] = ' ': .*nothing but white space"),
        ("definitions", {"a": "x\ny"}, "expected one line"),
        ("definitions", {"a": "x" * 301}, "has 301 characters, expected at most 300"),
        ("references", {"a": 1}, "expected the bytes of a PNG or JPEG file, got int"),
        ("references", {"a": b"<svg/>"}, "not a PNG or JPEG file"),
        ("references", {"a": "data:image/svg+xml;base64,AA=="}, "expected 'data:image/png"),
        ("references", {"a": "data:image/png;base64,?"}, "not base64"),
        ("references", {"a": _png()[:-4]}, r"references\['a'\]"),
        ("references", {"a": _png(97)}, "97x1 pixels, expected at most 96x96"),
        ("references", {"a": _png() + bytes(32_768)}, "expected at most 32,768"),
        ("layout", [[0, 2], [0, 0]], r"layout\[0\] = \[0, 2\]: expected \[x, y\], both in 0..1"),
    ],
)
def test_wrong_definitions_references_and_figures_are_named(field, value, message):
    with pytest.raises(FormatError, match=message):
        Schema("x", ["a", "b"], **{field: value})
