"""What is not edited is written byte for byte, whatever the layout of the file."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kpwidget as kp
from kpwidget import formats
from kpwidget.formats import coco, coco_columns, json_text
from kpwidget.schema import FormatError

SHARED = Path(__file__).resolve().parents[2].parent / "shared"

# Written out by hand: odd numbers, keys in odd places, every kind of record.
ODD = b"""{ "annotations":[
   {"keypoints": [1.50, 2e0, 2,3,4,1 , 0,0,0], "id": 9007199254740993, "image_id": 7,
    "category_id": 1, "segmentation": {"counts": "a]}\\"{", "size": [4, 4]}, "bbox": [1.0,2,3,-0.0],
    "area": 1E+1, "num_keypoints": 2, "iscrowd": 0, "note": "\\u00e9 \\\\"} ,
   {"id": 2, "image_id": 7, "category_id": 90, "bbox": [0, 0, 1, 1]},

   {"id": 3, "image_id": 7, "category_id": 1, "keypoints": [5, 6, 0, 0, 0, 0, 9, 9, 2]}],
  "images": [ {"file_name": "a.png", "id": 7, "width": 64, "height": 48}],
  "categories": [{"id": 1, "name": "bird", "keypoints": ["beak", "eye", "tail"],
    "skeleton": [[1, 2]]}, {"id": 90, "name": "cloud"}], "x": {"y": [1.10]},"info":null }
\r\n"""


def read(tmp_path: Path, data: bytes, **options: Any) -> kp.Dataset:
    path = tmp_path / "in.json"
    path.write_bytes(data)
    return formats.read(path, **options)


def written(dataset: kp.Dataset, tmp_path: Path) -> bytes:
    path = tmp_path / "out.json"
    formats.write(dataset, path)
    return path.read_bytes()


def plain(n: int = 3, **top: Any) -> dict[str, Any]:
    """A COCO file of `n` annotations on two images."""
    return {
        "info": {"year": 2026},
        "images": [
            {"id": 1, "file_name": "a.png", "width": 64, "height": 48},
            {"id": 2, "file_name": "b.png", "width": 64, "height": 48},
        ],
        "annotations": [
            {
                "id": i + 1,
                "image_id": 1 + i % 2,
                "category_id": 1,
                "keypoints": [i + 0.5, 2, 2, 0, 0, 0],
                "num_keypoints": 1,
                "bbox": [1, 2, 3.5, 4],
                "area": 14.0,
                "iscrowd": 0,
                "segmentation": [[1, 2.25, 3, 4, 5, 6]],
            }
            for i in range(n)
        ],
        "categories": [{"id": 1, "name": "bird", "keypoints": ["beak", "eye"], "skeleton": []}],
        **top,
    }


LAYOUTS = {
    "default": {},
    "compact": {"separators": (",", ":")},
    "of COCO": {"separators": (",", ": ")},
    "indent 1": {"indent": 1},
    "indent 4": {"indent": 4},
    "tabs": {"indent": "\t"},
    "indent, tight colon": {"indent": 2, "separators": (",", ":")},
}


def test_odd_file_comes_back_byte_for_byte(tmp_path: Path) -> None:
    dataset = read(tmp_path, ODD)
    assert [i.uid for i in dataset.instances] == ["coco:9007199254740993", "coco:3"]
    assert dataset.instances[0].raw.tolist() == [[1.5, 2, 2], [3, 4, 1], [0, 0, 0]]
    assert dataset.instances[1].raw.tolist() == [[5, 6, 0], [0, 0, 0], [9, 9, 2]]
    assert dataset.instances[0].extra["note"] == "é \\"
    assert written(dataset, tmp_path) == ODD


def test_edit_of_the_odd_file_replaces_the_numbers_that_changed(tmp_path: Path) -> None:
    dataset = read(tmp_path, ODD)
    dataset.instances[0].set_keypoint("eye", 30.25, 4, visibility=2)
    expected = ODD.replace(b"[1.50, 2e0, 2,3,4,1 , 0,0,0]", b"[1.50, 2e0, 2,30.25,4,2 , 0,0,0]")
    assert written(dataset, tmp_path) == expected
    dataset.undo()
    assert written(dataset, tmp_path) == ODD


def test_edit_of_the_odd_file_adds_what_the_record_lacks(tmp_path: Path) -> None:
    dataset = read(tmp_path, ODD)
    dataset.instances[1].set_keypoint("eye", 1, 2, visibility=1)
    # No box was given: it is derived from the points (1, 2) and (9, 9).
    expected = ODD.replace(
        b"[5, 6, 0, 0, 0, 0, 9, 9, 2]}",
        b'[5, 6, 0, 1.0, 2.0, 1, 9, 9, 2], "bbox": [1.0, 2.0, 8.0, 7.0], "area": 56.0}',
    )
    assert written(dataset, tmp_path) == expected


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("end", ["", "\n"])
def test_layout_is_kept(tmp_path: Path, layout: dict[str, Any], end: str) -> None:
    data = (json.dumps(plain(), **layout) + end).encode()
    assert written(read(tmp_path, data), tmp_path) == data
    crlf = data.replace(b"\n", b"\r\n")
    assert written(read(tmp_path, crlf), tmp_path) == crlf


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_new_and_removed_records_stand_in_the_layout_of_the_file(
    tmp_path: Path, layout: dict[str, Any]
) -> None:
    value = plain()
    dataset = read(tmp_path, json.dumps(value, **layout).encode())
    dataset.instances[1].remove()
    dataset.add_instance("b.png", keypoints=[[1.5, 2.5, 2], [3.25, 4.5, 1]])
    del value["annotations"][1]
    value["annotations"].append(
        {
            "id": 4,
            "image_id": 2,
            "category_id": 1,
            "keypoints": [1.5, 2.5, 2, 3.25, 4.5, 1],
            "num_keypoints": 2,
            "bbox": [1.5, 2.5, 1.75, 2.0],
            "area": 3.5,
            "iscrowd": 0,
        }
    )
    assert written(dataset, tmp_path).decode() == json.dumps(value, **layout)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_all_records_removed_and_one_added_to_none(tmp_path: Path, layout: dict[str, Any]) -> None:
    dataset = read(tmp_path, json.dumps(plain(2), **layout).encode())
    for instance in dataset.instances:
        instance.remove()
    assert json.loads(written(dataset, tmp_path)) == plain(0)
    dataset = read(tmp_path, json.dumps(plain(0), **layout).encode())
    dataset.add_instance("a.png", keypoints=[[1.5, 2.5, 2], [0, 0, 0]])
    found = json.loads(written(dataset, tmp_path))
    assert [a["keypoints"] for a in found["annotations"]] == [[1.5, 2.5, 2, 0, 0, 0]]
    assert {**found, "annotations": []} == plain(0)


def test_top_level_that_was_changed_is_written_and_the_rest_kept(tmp_path: Path) -> None:
    data = json.dumps(plain(x=[1.50], y=2)).encode()
    dataset = read(tmp_path, data)
    dataset.extra["y"] = 3
    dataset.extra["z"] = "new"
    del dataset.extra["x"]
    expected = data.replace(b', "x": [1.5], "y": 2}', b', "y": 3, "licenses": [], "z": "new"}')
    dataset.licenses = []
    assert written(dataset, tmp_path) == expected


def test_selection_keeps_the_bytes_of_its_records(tmp_path: Path) -> None:
    value = plain(4)
    dataset = read(tmp_path, json.dumps(value, separators=(",", ": ")).encode())
    formats.write(dataset.select(image="b.png"), tmp_path / "out.json")
    value["images"] = value["images"][1:]
    value["annotations"] = value["annotations"][1::2]
    assert (tmp_path / "out.json").read_text() == json.dumps(value, separators=(",", ": "))


# --- real files ---------------------------------------------------------------------------------


def coco_files() -> list[Path]:
    return [
        path
        for path in sorted(SHARED.rglob("*.json"))
        if (head := path.read_bytes()).lstrip()[:1] == b"{"
        and b'"annotations"' in head
        and b'"categories"' in head
        and b'"images"' in head
    ]


def test_a_bbox_that_is_added_or_taken_out_has_the_layout_of_its_record(tmp_path: Path) -> None:
    document = plain(2)
    document["annotations"][0] |= {"keypoints": [0, 0, 0], "bbox": [1, 2, 3, 4], "area": 12}
    document["annotations"][1].pop("bbox", None)
    document["categories"][0] |= {"keypoints": ["beak"], "skeleton": []}
    document["annotations"][1]["keypoints"] = [1, 2, 2]
    dataset = read(tmp_path, json.dumps(document, indent=2).encode())
    first, second = dataset.instances
    first.set_bbox(None)
    second.set_bbox((5, 6, 7, 8))
    document["annotations"][0]["bbox"] = [0, 0, 0, 0]
    document["annotations"][1]["bbox"] = [5.0, 6.0, 7.0, 8.0]
    assert written(dataset, tmp_path) == json.dumps(document, indent=2).encode()


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the shared files are not at {SHARED}")
@pytest.mark.parametrize("path", coco_files(), ids=lambda path: str(path.relative_to(SHARED)))
def test_real_file_comes_back_and_an_edit_changes_its_record_alone(
    path: Path, tmp_path: Path
) -> None:
    data = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # edges that CrowdPose's files get wrong
        dataset = formats.read(path)
    assert written(dataset, tmp_path) == data
    if not len(dataset.instances):
        return
    edited = dataset.instances[len(dataset.instances) // 2]
    edited.set_keypoint(0, 1.25, 2.75, visibility=1)
    after = written(dataset, tmp_path)
    before, now = json.loads(data), json.loads(after)
    for record, changed in zip(before["annotations"], now["annotations"], strict=True):
        if record["id"] != edited.id:
            assert record == changed
            continue
        differing = {key for key in changed if changed[key] != record.get(key)}
        assert differing <= {"keypoints", "num_keypoints", "bbox", "area"}
        assert changed["keypoints"][:3] == [1.25, 2.75, 1]
        assert changed["keypoints"][3:] == record["keypoints"][3:]
    # Byte for byte outside of that record.
    i = [record["id"] for record in before["annotations"]].index(edited.id)
    start, stop = dataset.layout.text.spans["annotations"][i].tolist()  # type: ignore[union-attr]
    assert after[:start] == data[:start]
    assert after[len(after) - (len(data) - stop) :] == data[stop:]
    edited.dataset.undo()
    assert written(dataset, tmp_path) == data


PARTS = {"foot": 6, "face": 68, "lefthand": 21, "righthand": 21}


def wholebody(tmp_path: Path, name: str = "a", **more: Any) -> Path:
    """A COCO-WholeBody file of one annotation; what is `more` is of its category."""
    path = tmp_path / f"{name}.json"
    points: dict[str, Any] = {"keypoints": [1, 2, 2] * 17}
    for number, (part, n) in enumerate(PARTS.items()):
        points |= {f"{part}_kpts": [number, 7.5, 1] * n, f"{part}_valid": True}
    record = {"id": 1, "image_id": 1, "category_id": 1, "num_keypoints": 17, **points}
    category = {"id": 1, "name": "person", "keypoints": list(kp.schemas.get("coco17").keypoints)}
    content = {
        "images": [{"id": 1, "file_name": f"{name}.png", "width": 64, "height": 48}],
        "annotations": [{**record, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0, "box": [4]}],
        "categories": [{**category, "skeleton": [[1, 2]], **more}],
    }
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("part", ["whole", "foot", "left_hand"])
def test_a_new_instance_in_a_wholebody_file_has_its_fields(tmp_path: Path, part: str) -> None:
    dataset = formats.read(wholebody(tmp_path), wholebody=part)
    n = dataset.categories[0].n_keypoints
    points = np.column_stack([np.arange(n), np.arange(n) + 0.5, np.arange(n) % 3])
    dataset.add_instance(0, keypoints=points)
    records = json.loads(written(dataset, tmp_path))["annotations"]
    again = formats.read(tmp_path / "out.json", wholebody=part)
    for before, after in zip(dataset.instances, again.instances, strict=True):
        np.testing.assert_array_equal(after.keypoints, before.keypoints)
    if part == "whole":
        assert records[1].keys() == records[0].keys() - {"box"}
        assert records[1]["face_kpts"][:6] == [23, 23.5, 2, 0, 0, 0]
        assert records[1]["num_keypoints"] == 11
        assert dataset.instances[0].extra.keys() == {"box", *(f"{p}_valid" for p in PARTS)}
    elif part == "foot":
        assert records[1]["foot_valid"] is True
        assert records[1]["num_keypoints"] == 0


def test_wholebody_instances_go_where_the_keypoints_stand_otherwise(tmp_path: Path) -> None:
    # Edges that are not drawn, and the 17 names, are those of the file also after a merge.
    path = wholebody(tmp_path, skeleton=[[1, 2], [16, 200]])
    with warnings.catch_warnings(action="ignore"):
        theirs = formats.read(path)
        empty = kp.Dataset()
        empty.merge(theirs)
        content = json.loads(written(empty, tmp_path))
        assert content["categories"] == json.loads(path.read_text())["categories"]
        assert content["annotations"] == json.loads(path.read_text())["annotations"]
        assert empty.differences(formats.read(tmp_path / "out.json")) == []
    flat = kp.Dataset(kp.Category(1, theirs.categories[0].schema, "person"))
    flat.merge(theirs)
    record = json.loads(written(flat, tmp_path))["annotations"][0]
    assert len(record["keypoints"]) == 399
    assert record["box"] == [4]
    assert "face_kpts" not in record
    np.testing.assert_array_equal(flat.instances[0].raw, theirs.instances[0].raw)
    assert flat.differences(formats.read(tmp_path / "out.json")) == []
    back = formats.read(wholebody(tmp_path, "b"))
    back.merge(formats.read(tmp_path / "out.json"))
    first, second = json.loads(written(back, tmp_path))["annotations"]
    assert first.keys() - {"box"} == second.keys() - {"box"}
    assert {k: v for k, v in first.items() if k.endswith("_kpts")}.items() <= second.items()


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the shared files are not at {SHARED}")
def test_parts_of_a_wholebody_file(tmp_path: Path) -> None:
    path = SHARED / "format-examples" / "coco-wholebody" / "wholebody.json"
    data = path.read_bytes()
    record = json.loads(data)["annotations"][0]
    fields = {
        "body": ("keypoints", 17),
        "foot": ("foot_kpts", 6),
        "face": ("face_kpts", 68),
        "left_hand": ("lefthand_kpts", 21),
        "right_hand": ("righthand_kpts", 21),
    }
    whole = formats.read(path)
    expected = np.concatenate([np.reshape(record[field], (-1, 3)) for field, _ in fields.values()])
    np.testing.assert_array_equal(whole.instances[0].raw, expected)
    # A confidence in the place of the visibility: the point is there.
    assert set(whole.instances[0].keypoints[112:, 2]) == {2}
    assert set(whole.instances[0].raw[112:, 2]) == {0.65}
    for part, (field, n) in fields.items():
        dataset = formats.read(path, wholebody=part)
        np.testing.assert_array_equal(dataset.instances[0].raw, np.reshape(record[field], (n, 3)))
        assert written(dataset, tmp_path) == data
        dataset.instances[0].set_keypoint(n - 1, 7.125, 8.5)
        changed = json.loads(written(dataset, tmp_path))["annotations"][0]
        assert changed[field] == [*record[field][:-3], 7.125, 8.5, 2]
        differing = {key for key in changed if changed[key] != record.get(key)}
        assert field in differing
        assert differing <= {field, "num_keypoints", f"{field.removesuffix('_kpts')}_valid"}
    whole.instances[0].set_keypoint("left_hand_root", 3, 4)
    changed = json.loads(written(whole, tmp_path))["annotations"][0]
    assert changed["lefthand_kpts"][:3] == [3.0, 4.0, 2]
    assert record["lefthand_valid"] is False
    assert changed["lefthand_valid"] is True
    assert changed["righthand_kpts"] == record["righthand_kpts"]
    with pytest.raises(ValueError, match="wholebody is 'whole' or one of 'body', .* not 'hands'"):
        formats.read(path, wholebody="hands")


# --- any file, any edits --------------------------------------------------------------------------

number = st.one_of(st.integers(-5, 99), st.floats(-9, 99, allow_nan=False).map(lambda x: x + 0.0))
point = st.tuples(number, number, st.sampled_from([0, 1, 2]))
value = st.recursive(
    st.none() | st.booleans() | number | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@st.composite
def documents(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    annotations = [
        {
            **draw(st.dictionaries(st.text(min_size=13, max_size=16), value, max_size=2)),
            "id": i + 1,
            "image_id": draw(st.sampled_from([1, 2])),
            "category_id": draw(st.sampled_from([1, 1, 1, 90])),
            "keypoints": [x for _ in range(2) for x in draw(point)],
            "bbox": [1, 2, 3, 4],
            "area": 5,
        }
        for i in range(draw(st.integers(0, 6)))
    ]
    for record in annotations:
        if record["category_id"] == 90:
            del record["keypoints"]
    document = plain(0)
    document["annotations"] = annotations
    document["categories"].append({"id": 90, "name": "cloud"})
    document["extra"] = draw(value)
    order = draw(st.permutations(list(document)))
    document = {key: document[key] for key in order}
    text = json.dumps(
        document,
        indent=draw(st.sampled_from([None, None, 1, 2, "\t"])),
        separators=draw(st.sampled_from([None, (",", ":"), (" , ", " : ")])),
        ensure_ascii=draw(st.booleans()),
    )
    try:
        return document, (draw(st.sampled_from(["", " \n"])) + text + "\n").encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return document, json.dumps(document).encode()


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None
)
@given(documents(), st.lists(st.tuples(st.integers(0, 5), st.sampled_from("erau"), point)))
def test_any_edits_of_any_file(
    tmp_path: Path, document: tuple[dict[str, Any], bytes], edits: list[Any]
) -> None:
    expected, data = document
    dataset = read(tmp_path, data)
    assert written(dataset, tmp_path) == data
    for i, what, (x, y, v) in edits:
        if what == "u":
            dataset.undo()
        elif what == "a":
            dataset.add_instance(i % 2, keypoints=[[x, y, v], [0, 0, 0]])
        elif len(dataset.instances):
            instance = dataset.instances[i % len(dataset.instances)]
            if what == "r":
                instance.remove()
            else:
                instance.set_keypoint(0, x, y, visibility=v)
    found = json.loads(written(dataset, tmp_path))
    # Outside of the annotations nothing may change; in them what the dataset says.
    assert {**found, "annotations": 0} == {**expected, "annotations": 0}
    known = {record["id"]: record for record in expected["annotations"]}
    live = {instance.id: instance for instance in dataset.instances}
    others = [r["id"] for r in expected["annotations"] if r["category_id"] == 90]
    assert {r["id"] for r in found["annotations"]} == {*live, *others}
    for record in found["annotations"]:
        if record["id"] in others:
            assert record == known[record["id"]]
            continue
        instance = live[record["id"]]
        assert record["keypoints"] == instance.raw.ravel().tolist()
        if instance.id in known:
            changed = {k for k, v in record.items() if v != known[instance.id].get(k)}
            assert changed <= {"keypoints", "num_keypoints"}
    again = formats.read(tmp_path / "out.json")
    assert again.differences(dataset) == []


# --- how it is found out ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"id": 1, "image_id": 1', b'"id": 1, "id": 1, "image_id": 1', "key 'id' is given twice"),
        (b'"id": 1, "image_id": 1', b'"id": 1, "\\u0069d": 1, "image_id": 1', "key 'id' is given"),
        (b'"size": [1]', b'"size": [1], "size": [2]', "the key 'size' is given twice"),
        (b'"area": 14.0', b'"area": NaN', "not JSON|NaN is not JSON"),
        (b'"area": 14.0', b'"area": 1e999', "too large for a float"),
        (b'"area": 14.0', b'"area": 014', "not JSON"),
    ],
)
def test_json_that_is_not_strict_is_named(
    tmp_path: Path, old: bytes, new: bytes, message: str
) -> None:
    document = plain(3)
    document["annotations"][0]["segmentation"] = {"size": [1]}
    data = json.dumps(document).encode()
    assert data.count(old) >= 1
    with pytest.raises(FormatError, match=message):
        read(tmp_path, data.replace(old, new, 1))


def test_equal_keys_at_several_depths_are_fine(tmp_path: Path) -> None:
    document = plain(2)
    for record in document["annotations"]:
        record["attributes"] = {"id": 5, "more": [{"id": 6}, {"id": 7, "keypoints": []}]}
    data = json.dumps(document).encode()
    dataset = read(tmp_path, data)
    assert [i.id for i in dataset.instances] == [1, 2]
    assert written(dataset, tmp_path) == data


def test_items_that_are_no_records_are_named_and_kept(tmp_path: Path) -> None:
    document = plain(2)
    document["annotations"].insert(1, 3)
    document["annotations"].append(["a", {"id": 1}])
    data = json.dumps(document).encode()
    with pytest.raises(FormatError, match="annotation number 2 in the file: expected an object"):
        read(tmp_path, data)
    with pytest.warns(UserWarning, match="2 bad records left out"):
        dataset = read(tmp_path, data, on_error="skip")
    assert [i.id for i in dataset.instances] == [1, 2]
    assert written(dataset, tmp_path) == data


@pytest.mark.parametrize("cut", range(1, 60))
def test_file_that_is_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    data = json.dumps(plain(3)).encode()
    with pytest.raises(FormatError, match="in.json: .*not JSON"):
        read(tmp_path, data[: len(data) * cut // 60])


def test_second_process_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = plain(5000)
    for i, record in enumerate(document["annotations"]):
        record["track_id"] = i // 3
    document["annotations"][4000]["keypoints"] = "x"
    document["annotations"][4500]["id"] = 7
    data = json.dumps(document).encode()
    with pytest.warns(UserWarning, match="2 bad records"):
        alone = read(tmp_path, data, on_error="skip")
    answers = []
    answer = coco_columns.Helper.answer

    def told(helper: coco_columns.Helper) -> coco_columns.Columns | None:
        answers.append(answer(helper))
        return answers[-1]

    monkeypatch.setattr(coco_columns.Helper, "answer", told)
    monkeypatch.setattr(coco, "_LARGE", 0)
    monkeypatch.setattr(coco, "_n_cpus", lambda: 2)
    with pytest.warns(UserWarning, match="2 bad records"):
        together = read(tmp_path, data, on_error="skip")
    assert [columns is not None for columns in answers] == [True]
    assert together.differences(alone) == []
    assert together.skipped == alone.skipped
    assert written(together, tmp_path) == data
    # Where no process can be started everything is read by this one.
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.warns(UserWarning, match="2 bad records"):
        lonely = read(tmp_path, data, on_error="skip")
    assert answers[1] is None
    assert lonely.differences(alone) == []


def test_second_process_takes_no_modules_from_the_folder_it_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in.json"
    path.write_bytes(b"[{}]")
    (tmp_path / "numpy.py").write_text("raise ImportError('of the folder')")
    monkeypatch.chdir(tmp_path)
    helper = coco_columns.Helper(path)
    helper.begin(np.array([[1, 3]]), {})
    assert helper.answer() is not None
    helper.close()


@pytest.mark.parametrize(
    ("text", "changes", "expected"),
    [
        ('{"a": 1, "b": 2}', {"b": "3"}, '{"a": 1, "b": 3}'),
        ('{"a":1}', {"c": "[]"}, '{"a":1, "c": []}'),
        ("{}", {"c": "1", "d": "2"}, '{"c": 1, "d": 2}'),
        ('{\n "a" : 1,\n "b" : 2\n}', {"c": "3"}, '{\n "a" : 1,\n "b" : 2,\n "c": 3\n}'),
        ('{"a": {"b": 1}, "b": 2}', {"b": "4"}, '{"a": {"b": 1}, "b": 4}'),
    ],
)
def test_spliced(text: str, changes: dict[str, str], expected: str) -> None:
    assert json_text.spliced(text, changes) == expected
