"""MMPose's metainfo: read without being run, written so that Python reads the same."""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kpwidget as kp
from kpwidget import schemas
from kpwidget.cli import main
from kpwidget.formats.mmpose import read_metainfo, write_metainfo
from kpwidget.schema import FormatError, Schema

SHARED = Path(__file__).resolve().parents[3] / "shared"
EXAMPLE = SHARED / "format-examples" / "mmpose-metainfo" / "animal4.py"
needs_example = pytest.mark.skipif(
    not EXAMPLE.is_file(), reason="the example files of ../shared are not here"
)

GOOD = """'''Words.'''
dataset_info = dict(
    dataset_name='bolt',
    keypoint_info={
        1: dict(name='tip', id=1, color=[0, 255, 1], swap='nut'),
        0: {'name': 'head', 'color': [255, 0, 16], 'swap': ''},
        2: dict(name='nut', id=2, color=(1, 2, 3), type='lower', swap='tip'),
    },
    skeleton_info={0: dict(link=('head', 'nut'), id=0, color=[9, 8, 7])},
    joint_weights=[1.] * 2 + [1.5],
    sigmas=[0.1] + [0.025] * 2,
    paper_info=dict(year='2026', numbers=[-1, -0.5]))
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "bolt.py"
    path.write_text(text)
    return path


@needs_example
def test_example_is_a_schema_and_python_reads_the_same_of_what_is_written(tmp_path: Path) -> None:
    schema = read_metainfo(EXAMPLE)
    # Read off the file; flip indices by hand: left_eye and right_eye.
    assert schema.name == "animal4"
    assert schema.keypoints == ("nose", "left_eye", "right_eye", "tail")
    assert schema.skeleton == [[1, 2], [1, 3], [1, 4]]
    assert schema.flip_indices.tolist() == [0, 2, 1, 3]
    assert schema.sigmas is not None
    assert schema.sigmas.tolist() == [0.026, 0.025, 0.025, 0.05]
    assert schema.colors == ("#3399ff", "#00ff00", "#ff8000", "#3399ff")
    path = tmp_path / "out.py"
    write_metainfo(schema, path)
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}  # both files are ours or in ../shared: here they may be run
    exec(EXAMPLE.read_text(), before)
    exec(path.read_text(), after)
    assert after["dataset_info"] == before["dataset_info"]
    assert read_metainfo(path).to_metadata() == schema.to_metadata()


def test_data_of_all_permitted_kinds_is_read(tmp_path: Path) -> None:
    schema = read_metainfo(written(tmp_path, GOOD))
    assert schema.keypoints == ("head", "tip", "nut"), "in the order of their numbers"
    assert schema.skeleton == [[1, 3]]
    assert schema.flip_pairs == (("tip", "nut"),)
    assert schema.colors == ("#ff0010", "#00ff01", "#010203")
    assert schema.sigmas is not None
    assert schema.sigmas.tolist() == [0.1, 0.025, 0.025]
    kept = schema.to_metadata()["mmpose"]
    assert kept["joint_weights"] == [1.0, 1.0, 1.5]
    assert kept["paper_info"] == {"year": "2026", "numbers": [-1, -0.5]}
    assert kept["types"] == ["", "", "lower"]


@pytest.mark.parametrize("name", ["coco17", "face68_300w"])
def test_built_in_schema_comes_back(name: str, tmp_path: Path) -> None:
    schema = schemas.get(name)
    write_metainfo(schema, tmp_path / "out.py")
    again = read_metainfo(tmp_path / "out.py")
    assert (again.name, again.keypoints, again.skeleton) == (
        schema.name,
        schema.keypoints,
        schema.skeleton,
    )
    assert again.flip_indices.tolist() == schema.flip_indices.tolist()
    assert again.colors == schema.colors
    assert (again.sigmas is None) is (schema.sigmas is None)


def test_names_of_any_kind_are_text_for_python(tmp_path: Path) -> None:
    names = ["'); import os #", "<b>\\", 'a"b', "Käfer"]
    write_metainfo(Schema("x'y", names, [(1, 2)]), tmp_path / "out.py")
    assert read_metainfo(tmp_path / "out.py").keypoints == tuple(names)
    (node,) = ast.parse((tmp_path / "out.py").read_text()).body
    assert isinstance(node, ast.Assign)


def test_schema_without_sigmas_has_an_empty_list_as_in_mmposes_own_files(tmp_path: Path) -> None:
    path = tmp_path / "out.py"
    write_metainfo(Schema("bolt", ["head", "tip"]), path)
    values: dict[str, Any] = {}
    exec(path.read_text(), values)
    assert values["dataset_info"]["sigmas"] == []
    assert read_metainfo(path).sigmas is None


def mmpose_folder() -> Path | None:
    spec = importlib.util.find_spec("mmpose")  # to import it would need torch
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


@pytest.mark.skipif(mmpose_folder() is None, reason="pip install --no-deps mmpose for its oracle")
def test_mmpose_itself_reads_what_is_written_and_its_own_files_are_read(tmp_path: Path) -> None:
    folder = mmpose_folder()
    assert folder is not None
    source = (folder / "datasets" / "datasets" / "utils.py").read_text()
    oracle: dict[str, Any] = {}
    exec(source.replace("from mmengine import Config", "Config = None"), oracle)
    parse = oracle["parse_pose_metainfo"]
    refused = []
    files = sorted((folder / ".mim" / "configs" / "_base_" / "datasets").glob("*.py"))
    for file in files:
        values: dict[str, Any] = {}
        exec(file.read_text(), values)
        expected = parse(values["dataset_info"])
        try:
            schema = read_metainfo(file)
        except FormatError as error:
            refused.append((file.name, str(error)))
            continue
        write_metainfo(schema, tmp_path / "out.py")
        written_values: dict[str, Any] = {}
        exec((tmp_path / "out.py").read_text(), written_values)
        for found in (schema, read_metainfo(tmp_path / "out.py")):
            assert list(found.keypoints) == list(expected["keypoint_id2name"].values())
            assert found.flip_indices.tolist() == expected["flip_indices"]
            assert found.edges.tolist() == [list(link) for link in expected["skeleton_links"]]
        again = parse(written_values["dataset_info"])
        for key in ("flip_indices", "skeleton_links", "keypoint_id2name", "dataset_name"):
            assert again[key] == expected[key], (file.name, key)
        for key in ("sigmas", "dataset_keypoint_weights", "keypoint_colors"):
            assert np.array_equal(again[key], expected[key]), (file.name, key)
    assert len(files) >= 50
    # This one file puts its skeleton together by indices.
    assert [name for name, _ in refused] == ["deepfashion2.py"], refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("import os", "line 1: expected data, got Import", id="import"),
        pytest.param("x = open('a').read()", "expected data, got Call", id="call"),
        pytest.param("x = dict([(1, 2)])", "got Call", id="dict of a list"),
        pytest.param("x = dict(**{'a': 1})", "got Call", id="dict of a dict"),
        pytest.param("x = {**{'a': 1}}", "got Dict", id="unpacking"),
        pytest.param("x = [i for i in (1, 2)]", "got ListComp", id="comprehension"),
        pytest.param("x = __import__('os').name", "got Attribute", id="attribute"),
        pytest.param("x = y", "got Name", id="name"),
        pytest.param("x = f'{1}'", "got JoinedStr", id="f-string"),
        pytest.param("x = lambda: 1", "got Lambda", id="lambda"),
        pytest.param("x.y = 1", "got Assign", id="attribute set"),
        pytest.param("a = b = 1", "got Assign", id="two names"),
        pytest.param("print(1)", "got Expr", id="statement"),
        pytest.param("x = 'a' * 10**9", "got BinOp", id="power"),
        pytest.param("x = 'a' * 5", "got BinOp", id="text times"),
        pytest.param("x = 1 + 1", "got BinOp", id="sum of numbers"),
        pytest.param("x = [0] * 10001", "expected a list of at most 10,000", id="long list"),
        pytest.param("x = [[0] * 10000] * 10001", "at most 10,000", id="long list of lists"),
        # A file of 100 bytes, and 10^11 numbers to whoever goes through what it says.
        pytest.param(
            "dataset_info = dict(a=[[[0] * 10000] * 10000] * 1000)", "200,000 values", id="bomb"
        ),
        pytest.param("x = [0] * 9999 + [0] * 9999", "at most 10,000 items", id="long sum"),
        pytest.param("\n".join(["x = [0] * 9999"] * 200), "at most 10,000 items", id="many lists"),
        pytest.param("x = [0] * -1", "items -1 times", id="negative times"),
        pytest.param("x = " + "[" * 60 + "]" * 60, "nested too deeply", id="brackets"),
        pytest.param("x = " + "-" * 100_000 + "1", "nested too deeply", id="minus"),
        pytest.param("x = " + "[1]+" * 20_000 + "[1]", "nested too deeply", id="plus"),
        pytest.param("x = " + "1 if 1 else " * 20_000 + "1", "line|is no Python", id="conditions"),
        pytest.param("x = a" + ".a" * 100_000, "line|is no Python", id="attributes"),
        pytest.param("x = " + "9" * 5000, "is no Python", id="5,000 digits"),
        pytest.param("x = (", "line 1: is no Python", id="cut off"),
        pytest.param("x = 1\0", "is no Python", id="null byte"),
        pytest.param("#" * 1_000_001, "has 1,000,001 bytes", id="large"),
        pytest.param("", "'dataset_info' is None, expected a dict", id="empty"),
        pytest.param("dataset_info = []", r"'dataset_info' is \[\]", id="list"),
        pytest.param("dataset_info = {1: 2, 1: 3}", "a key is there twice", id="key twice"),
    ],
)
def test_python_that_is_no_data_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(FormatError, match=message) as caught:
        read_metainfo(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("swap='nut'", "swap='no'", "keypoint 'tip': 'swap' is 'no', which is none"),
        ("swap='tip'", "swap='head'", "whose own is"),
        ("('head', 'nut')", "('head', 'no')", "expected two names of keypoints"),
        ("('head', 'nut')", "('head',)", "expected two names of keypoints"),
        ("sigmas=[0.1] +", "sigmas=", "expected 3 numbers, one for each keypoint"),
        ("sigmas=[0.1]", "sigmas=[-0.1]", "sigmas"),
        ("2: dict", "3: dict", r"has the keys \[1, 0, 3\], expected 0, 1"),
        ("2: dict", "'2': dict", "expected 0, 1"),
        ("name='nut'", "name=7", "keypoint_info 2: 'name' is 7"),
        ("name='nut'", "name='tip'", "tip"),
        ("'bolt'", "7", "'dataset_name' is 7"),
        ("keypoint_info=", "keypoints=", "'keypoint_info' is None"),
    ],
)
def test_data_that_is_no_metainfo_is_refused(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    assert old in GOOD
    with pytest.raises(FormatError, match=message):
        read_metainfo(written(tmp_path, GOOD.replace(old, new)))


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("swap='nut'", "swap='no'").replace("'head', 'nut'", "'head', 'x'")
    with pytest.raises(FormatError) as caught:
        read_metainfo(written(tmp_path, text.replace("'bolt'", "7")))
    assert len(caught.value.problems) == 4  # nut's swap is tip, whose own is 'no'


def test_command_tells_of_a_metainfo_and_takes_it_as_a_schema(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, GOOD)
    assert main(["info", str(path)]) == 0
    assert "head, tip, nut" in capsys.readouterr().out
    assert main(["info", "--json", str(path)]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["schema"]["flip_pairs"] == [["tip", "nut"]]
    labels = tmp_path / "labels.json"
    category = {"id": 1, "name": "bolt", "keypoints": ["head", "tip", "nut"]}
    labels.write_text(json.dumps({"images": [], "annotations": [], "categories": [category]}))
    assert main(["info", str(labels), "--schema", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["categories"][0]["n_edges"] == 1


def test_reading_it_as_labels_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"formats.mmpose.read_metainfo\(path\) makes a schema"):
        kp.read(written(tmp_path, GOOD))
