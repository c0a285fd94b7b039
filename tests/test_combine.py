"""Datasets taken apart and put together. Expected values are worked out by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from kpwidget.dataset import Dataset, ImageState
from kpwidget.dataset.combine import split_images
from kpwidget.formats import read, write
from kpwidget.schema import Schema

SCHEMA = Schema("bolt", ["head", "tip"], [(1, 2)])


def dataset_of(*file_names: str) -> Dataset:
    """Images of 100 x 80 px without files, with the ids 1, 2, ..."""
    dataset = Dataset(SCHEMA, annotator="ada")
    for i, name in enumerate(file_names):
        dataset._add_image(ImageState(i + 1, name, None, recorded_size=(100, 80)))
    return dataset


def frames(n: int) -> Dataset:
    return dataset_of(*(f"{i:03}.png" for i in range(n)))


# --- split --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "parts", "sizes"),
    [
        pytest.param(10, {"train": 0.8, "val": 0.2}, [8, 2], id="no remainder"),
        # 7 * 0.5 = 3.5, 7 * 0.3 = 2.1, 7 * 0.2 = 1.4: the one image left goes to the half.
        pytest.param(7, {"a": 0.5, "b": 0.3, "c": 0.2}, [4, 2, 1], id="largest remainder"),
        # 5.8 and 14.2
        pytest.param(20, {"a": 0.29, "b": 0.71}, [6, 14], id="rounded up"),
        # 0.29 * 100 is below 29 in binary.
        pytest.param(100, {"a": 0.29, "b": 0.71}, [29, 71], id="binary fractions"),
        pytest.param(3, {"a": 0.5, "b": 0.5}, [2, 1], id="equal remainders go by name"),
        pytest.param(10, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, [4, 3, 3], id="thirds"),
        pytest.param(5, {"all": 1}, [5], id="one part"),
        pytest.param(0, {"a": 0.5, "b": 0.5}, [0, 0], id="no images"),
    ],
)
def test_sizes_are_by_largest_remainder(n: int, parts: dict[str, float], sizes: list[int]) -> None:
    split = split_images(frames(n), parts)
    assert list(split) == list(parts)
    assert [len(indices) for indices in split.values()] == sizes
    assert sorted(i for indices in split.values() for i in indices) == list(range(n))
    assert all(indices == sorted(indices) for indices in split.values())


def test_same_seed_same_images_whatever_the_order() -> None:
    dataset = frames(50)
    split = split_images(dataset, {"train": 0.8, "val": 0.2}, seed=3)
    assert split_images(dataset, {"val": 0.2, "train": 0.8}, seed=3) == split
    assert split_images(dataset, {"train": 0.8, "val": 0.2}, seed=4) != split
    backwards = dataset_of(*(image.file_name for image in reversed(list(dataset.images))))
    other = split_images(backwards, {"train": 0.8, "val": 0.2}, seed=3)
    names = [{dataset.images[i].file_name for i in split[part]} for part in split]
    assert [{backwards.images[i].file_name for i in other[part]} for part in other] == names
    assert split["val"] != list(range(40, 50)), "not shuffled"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        pytest.param(
            {"a": 0.8, "b": 0.3},
            r"^cannot split: the ratios 0.8 \+ 0.3 have the sum 1.1, expected 1$",
            id="sum",
        ),
        pytest.param(
            {"a": 0, "b": -0.5, "c": float("nan")},
            "part 'a' is 0, expected a ratio above 0; part 'b' is -0.5, expected a ratio above 0; "
            "part 'c' is nan",
            id="not positive",
        ),
        pytest.param({"a": 0.5, "b": ["000.png"]}, "part 'b' is .*while other parts are", id="mix"),
        pytest.param({"a": "000.png"}, "part 'a' is '000.png', expected a ratio, a list", id="str"),
    ],
)
def test_wrong_ratios_are_refused(parts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_images(frames(4), parts)


@pytest.mark.parametrize("parts", [{}, None, 0.8, {1: 0.5, 2: 0.5}])
def test_parts_are_a_mapping_by_name(parts: Any) -> None:
    with pytest.raises(TypeError, match="^(names of )?parts are"):
        split_images(frames(4), parts)


def test_lists_of_images_by_name_position_or_itself() -> None:
    dataset = frames(5)
    parts = {"val": ["001.png", np.int64(3)], "test": [dataset.images[0]], "train": "rest"}
    assert split_images(dataset, parts) == {"val": [1, 3], "test": [0], "train": [2, 4]}


def test_all_that_is_wrong_with_lists_is_named_at_once() -> None:
    parts = {"a": ["000.png", "x.png"], "b": [0, 9, 1, 1], "c": None}
    with pytest.raises(ValueError, match="^cannot split: ") as caught:
        split_images(frames(9), parts)  # type: ignore[arg-type]
    assert str(caught.value).removeprefix("cannot split: ").split("; ") == [
        "part 'a': no image has the file name 'x.png'",
        "there are '000.png', '001.png', '002.png', ...",
        "image '000.png' is in 'a' and 'b'",
        "part 'b': there is no image 9: there are 9 images",
        "image '001.png' is twice in part 'b'",
        "part 'c' is None, expected a ratio, a list of images or 'rest'",
        "7 images in no part: '002.png', '003.png', '004.png', '005.png', '006.png' and 2 more",
        "name them or give a part as 'rest'",
    ]
    with pytest.raises(ValueError, match="parts 'a' and 'b' are all 'rest'"):
        split_images(frames(2), {"a": "rest", "b": "rest"})


def test_groups_stay_together_and_sizes_come_near() -> None:
    # Five folders of ten: four to train, one to val.
    dataset = dataset_of(*(f"clip{c}/{i}.png" for c in range(5) for i in range(10)))
    for seed in range(5):
        split = split_images(dataset, {"train": 0.8, "val": 0.2}, seed, "folder")
        assert [len(indices) for indices in split.values()] == [40, 10]
        folders = [{i // 10 for i in indices} for indices in split.values()]
        assert folders[0].isdisjoint(folders[1])
    seen = {split_images(dataset, {"train": 0.8, "val": 0.2}, s, "folder")["val"][0] // 10
            for s in range(20)}  # fmt: skip
    assert len(seen) > 1, "the seed chooses among the groups"


def test_groups_of_unequal_size_go_where_most_is_lacking() -> None:
    # Sizes 6, 3, 2, 1 for targets 8 and 4: 6 to a; 3 to b (lacks 4, a 2); 2 to a; 1 to b.
    sizes = {"w": 6, "x": 3, "y": 2, "z": 1}
    dataset = dataset_of(*(f"{g}_{i}.png" for g, n in sizes.items() for i in range(n)))
    split = split_images(dataset, {"a": 2 / 3, "b": 1 / 3}, group=lambda i: i.file_name[0])
    assert split == {"a": [*range(6), 9, 10], "b": [6, 7, 8, 11]}


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        pytest.param("folder", [0, 0, 0, 0, 1, 2], id="folder"),
        pytest.param("clip", [0, 0, 1, 2, 3, 4], id="clip"),
        pytest.param(lambda image: image.id % 2, [0, 1, 0, 1, 0, 1], id="callable"),
    ],
)
def test_what_is_one_group(group: Any, expected: list[int]) -> None:
    # walk_1 and walk (2) are one clip, run-3 another; 7.png in b is not the walk in a.
    names = ["a/walk_1.png", "a/walk (2).jpg", "a/run-3.png", "a/still.png", "b\\walk_4.png",
             "walk5.png"]  # fmt: skip
    dataset = dataset_of(*names)
    n = len(set(expected))
    together = split_images(dataset, {f"p{i}": 1 / n for i in range(n)}, group=group)
    found = {frozenset(indices) for indices in together.values()}
    assert found == {frozenset(np.flatnonzero(np.equal(expected, g)).tolist()) for g in range(n)}


def test_groups_by_name_and_what_is_wrong_with_groups() -> None:
    dataset = frames(4)
    groups = {"000.png": 1, "001.png": 2, "002.png": 1, "003.png": 2}
    split = split_images(dataset, {"a": 0.5, "b": 0.5}, group=groups)
    assert {tuple(indices) for indices in split.values()} == {(0, 2), (1, 3)}
    with pytest.raises(ValueError, match="2 images without a group: '002.png', '003.png'"):
        split_images(dataset, {"a": 1}, group=dict(list(groups.items())[:2]))
    with pytest.raises(ValueError, match=r"2 parts need as many groups, and there are 1: .*\(4 im"):
        split_images(dataset, {"a": 0.5, "b": 0.5}, group="clip")
    with pytest.raises(ValueError, match="group is 'folder', 'clip'.*not 'video'"):
        split_images(dataset, {"a": 1}, group="video")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the group of image '000.png' is \\[\\]"):
        split_images(dataset, {"a": 1}, group=lambda image: [])  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match="group 1 has '000.png' in 'a' and '002.png' in 'b'$"):
        split_images(dataset, {"a": [0, 1, 3], "b": [2]}, group=groups)


def test_split_datasets_are_detached_and_keep_their_records(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    # Odd spacing and an unknown field in each record, to be found again byte for byte.
    images = [f'{{"id": {i}, "file_name": "{i}.png","width":100,"height":80, "w": [1.50]}}'
              for i in (1, 2, 3, 4)]  # fmt: skip
    instances = [
        f'{{"id":{i}0,"image_id":{i},"category_id":1, "keypoints": [{i}.50,2,2, 0,0,0],"n":1e1}}'
        for i in (1, 2, 3, 4)
    ]
    path.write_text(
        f'{{"images": [{", ".join(images)}], "annotations": [{", ".join(instances)}],\n'
        '"categories": [{"id": 1, "name": "bolt", "keypoints": ["head", "tip"]}], "mine": 7}'
    )
    dataset = read(path)
    parts = dataset.split({"a": [1, 2], "b": "rest"})
    assert [[i.file_name for i in part.images] for part in parts.values()] == [
        ["2.png", "3.png"], ["1.png", "4.png"],
    ]  # fmt: skip
    assert [[i.id for i in part.instances] for part in parts.values()] == [[20, 30], [10, 40]]
    assert (parts["a"].path, parts["a"].extra) == (None, {"mine": 7})
    write(parts["b"], tmp_path / "b.json")
    written = (tmp_path / "b.json").read_text()
    for i in (0, 3):
        assert images[i] in written
        assert instances[i] in written
    assert '"file_name": "2.png"' not in written
    parts["b"].instances[0].set_keypoint("tip", 5, 6)
    assert dataset.instances[0].n_labeled == 1
    # Edits made before are in the parts, and in their files.
    dataset.instances[3].set_keypoint("head", 7.25, 8)
    again = dataset.split({"a": [0, 1, 2], "b": [3]})
    write(again["b"], tmp_path / "c.json")
    (record,) = json.loads((tmp_path / "c.json").read_text())["annotations"]
    assert record["keypoints"] == [7.25, 8, 2, 0, 0, 0]
    assert record["n"] == 10


# --- merge --------------------------------------------------------------------------------------


def coco(tmp_path: Path, name: str, content: dict[str, Any]) -> Dataset:
    path = tmp_path / name
    path.write_text(json.dumps(content))
    return read(path)


def image(number: int, name: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": 100, "height": 80, **more}


def bolt(number: int, image_id: int, *keypoints: float, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image_id, "category_id": 1, "keypoints": list(keypoints),
            "num_keypoints": 2, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0, **more}  # fmt: skip


BOLT = {"id": 1, "name": "bolt", "keypoints": ["head", "tip"], "skeleton": [[1, 2]]}


def two_files(tmp_path: Path) -> tuple[Dataset, Dataset]:
    """Ours has a and b; theirs has b under another id, and c with an id that is b's here."""
    ours = coco(tmp_path, "ours.json", {
        "images": [image(1, "a.png"), image(2, "b.png")],
        "annotations": [bolt(1, 1, 1, 2, 2, 3, 4, 1), bolt(2, 2, 5, 6, 2, 7, 8, 2)],
        "categories": [BOLT],
    })  # fmt: skip
    theirs = coco(tmp_path, "theirs.json", {
        "images": [image(7, "b.png"), image(2, "c.png", license=3), image(9, "d.png")],
        "annotations": [
            bolt(5, 7, 5, 6, 2, 7, 8, 2, bbox=[0, 0, 1, 1]),  # has the keypoints of our 2
            bolt(1, 2, 9, 9, 2, 8, 8, 2, note="kept"),  # id taken here
            bolt(2, 7, 5, 6, 1, 7, 8, 2, score=0.5),  # our 2, one visibility changed, and a score
            bolt(50, 9, 1, 1, 2, 2, 2, 2),
        ],
        "categories": [BOLT, {"id": 1000, "name": "nut", "keypoints": ["hole"]}],
    })  # fmt: skip
    return ours, theirs


def test_merge_counts_what_it_matched_added_and_left_out(tmp_path: Path) -> None:
    ours, theirs = two_files(tmp_path)
    report = ours.merge(theirs)
    assert str(report).splitlines() == [
        "images: 1 matched, 2 added",
        "categories: 1 matched, 1 added",
        "instances: 2 added",
        "1 duplicate, not added:",
        "  'coco:2' here, 'coco:5' there",
        "1 conflict, same uid and other values:",
        "  'coco:2' in image 'b.png': keypoints, score differ; kept as here",
        "new ids, since theirs were taken here: 1 image, 1 annotation",
    ]
    assert report.to_dict()["image_ids"] == [[2, 10]], "above 9, the largest of both"
    assert [image.file_name for image in ours.images] == ["a.png", "b.png", "c.png", "d.png"]
    assert [image.id for image in ours.images] == [1, 2, 10, 9]
    assert ours.images["c.png"].extra == {"license": 3}
    assert [c.name for c in ours.categories] == ["bolt", "nut"]
    assert ours.keypoints("bolt")[:, 0].tolist() == [[1, 2, 2], [5, 6, 2], [9, 9, 2], [1, 1, 2]]
    new, same = ours.instances[2:]
    assert (new.image.file_name, new.id, new.extra) == ("c.png", None, {"note": "kept"})
    assert report.uids == {"coco:1": new.uid}
    assert not new.uid.startswith("coco:")
    assert (same.uid, same.id, same.image.file_name) == ("coco:50", 50, "d.png")
    assert len(theirs.instances) == 4


def test_merged_file_has_the_records_of_both(tmp_path: Path) -> None:
    ours, theirs = two_files(tmp_path)
    ours.merge(theirs)
    ours.save(tmp_path / "both.json")
    content = json.loads((tmp_path / "both.json").read_text())
    before = json.loads((tmp_path / "ours.json").read_text())
    assert content["annotations"][:2] == before["annotations"]
    assert content["images"][2:] == [image(10, "c.png", license=3), image(9, "d.png")]
    assert content["annotations"][2:] == [
        bolt(51, 10, 9, 9, 2, 8, 8, 2, note="kept"),  # the next id above 50
        bolt(50, 9, 1, 1, 2, 2, 2, 2),
    ]
    assert content["categories"][1]["name"] == "nut"
    assert read(tmp_path / "both.json").differences(ours) == []


def test_undo_takes_back_the_instances_of_a_merge(tmp_path: Path) -> None:
    ours, theirs = two_files(tmp_path)
    seen = []
    ours.on_change(lambda change: seen.append((change.kind, len(change.instances))))
    ours.merge(theirs)
    step = ours.undo()
    assert step is not None
    assert step.label == "merge 2 instances"
    assert ([i.id for i in ours.instances], len(ours)) == ([1, 2], 4)
    ours.redo()
    assert [i.id for i in ours.instances] == [1, 2, None, 50]
    assert seen == [("edit", 2), ("undo", 2), ("redo", 2)]


def test_merge_can_keep_both_sides(tmp_path: Path) -> None:
    ours, theirs = two_files(tmp_path)
    report = ours.merge(theirs, on_duplicate="add", on_conflict="both")
    assert (report.n_instances_added, len(ours.instances)) == (4, 6)
    (conflict,) = report.conflicts
    assert conflict.added_as == report.uids["coco:2"]
    added = ours.instance(conflict.added_as)
    assert (added.keypoints[0, 2], added.score, added.id) == (1, 0.5, None)
    assert ours.instance("coco:2").keypoints[0, 2] == 2
    assert "1 duplicate, added all the same:" in str(report)
    assert f"theirs added as {conflict.added_as!r}" in str(report)


def test_merge_with_what_was_split_off_gives_the_whole_again(tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    content = {
        "images": [image(i, f"{i}.png") for i in (1, 2, 3, 4)],
        "annotations": [bolt(i, i % 4 + 1, i, i, 2, 1, 1, 1) for i in range(1, 9)],
        "categories": [BOLT],
    }
    path.write_text(json.dumps(content))
    parts = read(path).split({"a": [0, 3], "b": [1, 2]})
    report = parts["a"].merge(parts["b"])
    assert (report.n_images_added, report.n_instances_added, report.uids) == (2, 4, {})
    write(parts["a"], tmp_path / "whole.json")
    whole = json.loads((tmp_path / "whole.json").read_text())
    for key in ("images", "annotations"):
        assert sorted(whole[key], key=lambda record: record["id"]) == content[key]
    # The same records in another order: that is said, and what really differs.
    reordered, whole_dataset = read(tmp_path / "whole.json"), read(path)
    said = "the order of images and instances is another; they are compared by file name and uid"
    assert whole_dataset.differences(reordered) == [said]
    assert not whole_dataset.equals(reordered)
    reordered.instance("coco:5").set_keypoint("tip", 3.5, 1, 1)
    assert whole_dataset.differences(reordered)[0] == said
    assert [d.split(" is ")[0] for d in whole_dataset.differences(reordered)[1:]] == [
        "instance 'coco:5': keypoints", "instance 'coco:5': raw",
    ]  # fmt: skip
    again = read(path)
    before = again.merge(read(path))
    assert (before.n_instances_added, len(before.duplicates), before.conflicts) == (0, 8, ())


def test_bad_records_that_name_no_image_stay_out_of_the_parts(tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    bad = [bolt(number, image_id, *[1] * 6) for number, image_id in ((8, [1]), (9, {}), (10, 77))]
    content = {
        "images": [image(1, "a.png"), image(2, "b.png")],
        "annotations": [*bad, bolt(1, 1, 1, 2, 2, 3, 4, 2), {**bolt(2, 2), "keypoints": "none"}],
        "categories": [BOLT],
    }
    path.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="4 bad records left out"):
        dataset = read(path, on_error="skip")
    parts = dataset.split({"one": [0], "two": [1]})
    assert len(parts["one"].layout.annotations) == 0
    assert [r["id"] for r in parts["two"].layout.annotations.values()] == [2]


@pytest.mark.parametrize("others", [[], [{"id": 90, "image_id": 4, "category_id": 9}]])
def test_an_edit_after_parts_of_a_file_are_merged_the_other_way_round(
    tmp_path: Path, others: list[Any]
) -> None:
    path = tmp_path / "all.json"
    content = {
        "images": [image(i, f"{i}.png") for i in range(1, 7)],
        "annotations": [*others, *(bolt(i, i, i, i, 2, 1, 1, 1) for i in range(1, 7))],
        "categories": [BOLT, {"id": 9, "name": "crack"}],
    }
    path.write_text(json.dumps(content))
    for number in range(1, 7):
        parts = read(path).split({"first": [0, 1, 2], "last": [3, 4, 5]})
        parts["last"].merge(parts["first"])
        parts["last"].instance(f"coco:{number}").set_keypoint("head", 50, 60)
        write(parts["last"], tmp_path / "whole.json")
        again = read(tmp_path / "whole.json")
        assert parts["last"].differences(again) == []
        assert [x.id for x in again.instances] == [4, 5, 6, 1, 2, 3]
        assert again.instance(f"coco:{number}").keypoints[0].tolist() == [50, 60, 2]


def test_both_sides_of_a_conflict_are_written_also_from_one_file(tmp_path: Path) -> None:
    ours, _ = two_files(tmp_path)
    theirs = ours.select().copy()
    theirs.instance("coco:2").set_keypoint("head", 50.5, 60)
    report = ours.merge(theirs, on_conflict="both", on_duplicate="add")
    assert (len(report.duplicates), len(report.conflicts)) == (1, 1)
    write(ours, tmp_path / "both.json")
    records = json.loads((tmp_path / "both.json").read_text())["annotations"]
    # Our two as they were, then both of theirs under the next ids.
    assert [(r["id"], r["image_id"], r["keypoints"]) for r in records] == [
        (1, 1, [1, 2, 2, 3, 4, 1]),
        (2, 2, [5, 6, 2, 7, 8, 2]),
        (3, 1, [1, 2, 2, 3, 4, 1]),
        (4, 2, [50.5, 60, 2, 7, 8, 2]),
    ]


def test_records_that_need_no_other_id_are_written_as_they_were(tmp_path: Path) -> None:
    ours = coco(tmp_path, "a.json", {"images": [image(1, "a.png")], "annotations": [],
                                     "categories": [BOLT]})  # fmt: skip
    path = tmp_path / "b.json"
    record = '{"id": 5, "image_id":1,   "category_id": 1, "keypoints": [1.50, 2, 2, 3, 4e0, 1]}'
    moved = record.replace('"id": 5', '"id": 6').replace('"image_id":1', '"image_id":2')
    path.write_text(
        json.dumps({"images": [image(1, "a.png"), image(2, "c.png")], "categories": [BOLT]})[:-1]
        + f', "annotations": [{record}, {moved}]}}'
    )
    theirs = read(path)
    ours.merge(theirs)
    write(ours, tmp_path / "c.json")
    text = (tmp_path / "c.json").read_text()
    assert record in text
    assert moved in text
    # An image that has another id here: the record says so, and is else the same.
    other = coco(tmp_path, "d.json", {"images": [image(8, "a.png")], "annotations": [],
                                      "categories": [BOLT]})  # fmt: skip
    other.merge(read(path))
    write(other, tmp_path / "e.json")
    assert record.replace('"image_id":1', '"image_id":8') in (tmp_path / "e.json").read_text()


def test_merge_of_a_yolo_round_trip_adds_nothing(tmp_path: Path) -> None:
    names = ["a.png", "sub/b.png"]
    (tmp_path / "sub").mkdir()
    for name, color in zip(names, ("red", "blue"), strict=True):
        PIL.Image.new("RGB", (100, 80), color).save(tmp_path / name)
    points = [[10 / 3, 200 / 7, 2, 97.123456789, 1e-3, 1], [1 / 3, 2 / 3, 1, 0, 0, 0], [0] * 6]
    ours = coco(tmp_path, "x.json", {
        "images": [image(1, names[0]), image(2, names[1])],
        "annotations": [
            bolt(i, 1 + i % 2, *p, bbox=[1 / 7, 2 / 7, 3, 4 + i]) for i, p in enumerate(points, 1)
        ],
        "categories": [BOLT],
    })  # fmt: skip
    write(ours, tmp_path / "yolo", format="yolo-pose", allow_loss=True)
    theirs = read(tmp_path / "yolo")
    before = [ours.instances[i].raw for i in (1, 0, 2)]  # in the order of the images
    moved = [np.abs(a - b.raw).max() for a, b in zip(before, theirs.instances, strict=True)]
    assert 0 < max(moved) < 1e-6
    report = ours.select().copy().merge(theirs)
    assert (report.n_images_matched, report.n_instances_added) == (0, 3)
    assert report.notes[-1] == (
        "no image has the file name of one here, though 2 images differ in the folder only, such "
        "as 'images/train/a.png' from 'a.png': if they are the same, pass match='hash' to match "
        "images by their content"
    )
    report = ours.select().copy().merge(theirs, match="hash")
    assert (report.n_images_matched, report.n_instances_added) == (2, 0)
    assert [ours for ours, _ in report.duplicates] == ["coco:2", "coco:1", "coco:3"]
    assert not any("match=" in note for note in report.notes)
    assert ours.select().copy().merge(theirs, match="hash", tolerance=0).n_instances_added == 3


def test_tolerance_of_a_merge_is_in_pixels_and_for_coordinates_only(tmp_path: Path) -> None:
    ours, other, far = (
        coco(tmp_path, f"{name}.json", {
            "images": [image(1, "a.png")],
            "annotations": [bolt(1, 1, 5 + d, 6, 2, 7, 8, 2, bbox=[0, 0, 9, 9 - d]),
                            bolt(number, 1, 20, 21 - d, v, 22, 23, 2)],
            "categories": [BOLT],
        })
        for name, d, number, v in (("a", 0, 2, 2), ("b", 0.0009, 3, 2), ("c", 0.0011, 4, 1))
    )  # fmt: skip
    report = ours.select().copy().merge(other)
    assert report.duplicates == (("coco:1", "coco:1"), ("coco:2", "coco:3"))
    report = ours.select().copy().merge(far)
    assert [c.fields for c in report.conflicts] == [("keypoints", "bbox")]
    assert report.n_instances_added == 1, "another visibility"
    assert ours.select().copy().merge(far, tolerance=0.01).conflicts == ()
    assert ours.select().copy().merge(far, tolerance=0.01).n_instances_added == 1
    for wrong in (-1, math.nan, math.inf, "1"):
        with pytest.raises(ValueError, match="tolerance is a number of pixels, 0 or more"):
            ours.merge(other, tolerance=wrong)  # type: ignore[arg-type]


def test_instances_without_keypoints_are_the_same_by_their_bbox(tmp_path: Path) -> None:
    nothing = [0] * 6
    ours, theirs = (
        coco(tmp_path, f"{first}.json", {
            "images": [image(1, "a.png")],
            "annotations": [
                bolt(first, 1, *nothing, bbox=[1, 1, 5, 5]),
                bolt(first + 1, 1, *nothing, bbox=[first, 2, 5, 5]),
            ],
            "categories": [BOLT],
        })
        for first in (10, 20)
    )  # fmt: skip
    report = ours.merge(theirs)
    assert report.duplicates == (("coco:10", "coco:20"),)
    assert [i.bbox for i in ours.instances] == [(1, 1, 5, 5), (10, 2, 5, 5), (20, 2, 5, 5)]


@pytest.mark.parametrize(
    ("category", "message"),
    [
        pytest.param(
            {**BOLT, "keypoints": ["tip", "head"]},
            "category 'bolt' has the same keypoints in another order: here head, tip, there tip, "
            "head; put those of one of them in order first",
            id="order",
        ),
        pytest.param(
            {**BOLT, "keypoints": ["head", "washer", "nut"]},
            r"category 'bolt' has 2 keypoints here and 3 there \('tip' only here; 'washer', 'nut' "
            r"only there\); pass rename=\{'bolt': 'another name'\} to keep both",
            id="other keypoints",
        ),
    ],
)
def test_categories_that_do_not_fit_are_refused(
    tmp_path: Path, category: dict[str, Any], message: str
) -> None:
    ours, _ = two_files(tmp_path)
    theirs = coco(tmp_path, "x.json", {
        "images": [image(1, "b.png", width=200), image(2, "new.png")],
        "annotations": [], "categories": [category],
    })  # fmt: skip
    before = ours.select().copy()
    with pytest.raises(ValueError, match=f"^cannot merge: {message}") as caught:
        ours.merge(theirs)
    assert "'b.png' is 100 x 80 px here and 200 x 80 px there" in str(caught.value)
    assert str(caught.value).endswith("Nothing was changed")
    assert ours.differences(before) == []


def test_merge_renames_categories_and_keeps_ids_apart(tmp_path: Path) -> None:
    ours, _ = two_files(tmp_path)
    washer = {"id": 1, "name": "bolt", "keypoints": ["inner"], "color": "red"}
    theirs = coco(tmp_path, "x.json", {
        "images": [image(1, "a.png")],
        "annotations": [{"id": 7, "image_id": 1, "category_id": 1, "keypoints": [1, 1, 2]}],
        "categories": [washer],
    })  # fmt: skip
    report = ours.merge(theirs, rename={"bolt": "washer"})
    assert report.category_ids == {1: 2}
    assert [(c.id, c.name, c.keypoints) for c in ours.categories] == [
        (1, "bolt", ("head", "tip")), (2, "washer", ("inner",)),
    ]  # fmt: skip
    assert ours.instances[-1].category.name == "washer"
    write(ours, tmp_path / "y.json")
    content = json.loads((tmp_path / "y.json").read_text())
    added = content["categories"][1]
    assert (added["id"], added["name"], added["color"]) == (2, "washer", "red")
    assert content["annotations"][2]["category_id"] == 2
    with pytest.raises(ValueError, match="rename= names 'nut', and the other .* categories 'bolt'"):
        ours.merge(theirs, rename={"nut": "x"})


def test_new_ids_stay_within_64_bits(tmp_path: Path) -> None:
    largest = 2**63 - 1
    files = [
        coco(tmp_path, f"{name}.json", {
            "images": [image(1, f"{name}1.png"), image(largest, f"{name}2.png")],
            "annotations": [{**bolt(largest, largest, *[2] * 6), "category_id": largest}],
            "categories": [{**BOLT, "id": largest, "name": name}],
        })
        for name in ("a", "b")
    ]  # fmt: skip
    files[0].merge(files[1])
    assert [image.id for image in files[0].images] == [1, largest, 2, 3]
    assert [category.id for category in files[0].categories] == [largest, 1]
    write(files[0], tmp_path / "both.json")
    again = read(tmp_path / "both.json")
    assert files[0].differences(again) == []
    assert [instance.id for instance in again.instances] == [largest, 1]


def test_a_new_image_is_not_given_the_bad_annotations_of_a_missing_one(tmp_path: Path) -> None:
    content = {
        "images": [image(1, "a.png"), {"id": 8}],
        "annotations": [bolt(1, 7, *[2] * 6), bolt(2, 8, *[2] * 6)],
        "categories": [BOLT],
    }
    (tmp_path / "ours.json").write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="3 bad records left out"):
        ours = read(tmp_path / "ours.json", on_error="skip")
    theirs = coco(tmp_path, "theirs.json", {
        "images": [image(7, "b.png"), image(8, "c.png")],
        "annotations": [bolt(5, 7, *[1] * 6)],
        "categories": [BOLT],
    })  # fmt: skip
    assert ours.merge(theirs).image_ids == {7: 9, 8: 10}
    write(ours, tmp_path / "both.json")
    with pytest.warns(UserWarning, match="3 bad records left out"):
        again = read(tmp_path / "both.json", on_error="skip")
    assert ours.differences(again) == []


def test_images_are_matched_by_content_on_request(tmp_path: Path) -> None:
    data = {"one": b"\x89PNG 1", "two": b"\x89PNG 2", "same": b"\x89PNG 1"}
    ours, theirs = Dataset(SCHEMA), Dataset(SCHEMA)
    ours._add_image(ImageState(1, "one", data["one"], recorded_size=(9, 9)))
    for i, name in enumerate(("same", "two")):
        theirs._add_image(ImageState(i + 1, name, data[name], recorded_size=(9, 9)))
        theirs.add_instance(name, keypoints=[(1, 1), (2, 2)], uid=name)
    by_name = ours.select().copy()
    assert by_name.merge(theirs).n_images_added == 2
    report = ours.merge(theirs, match="hash")
    assert (report.n_images_matched, report.n_images_added) == (1, 1)
    assert ours.instance("same").image.file_name == "one"
    assert ours.instance("two").image.file_name == "two"


def test_an_exception_takes_back_all_of_a_merge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = two_files(tmp_path)
    before = ours.select().copy()
    real = ours._history.do
    calls: list[Any] = []

    def fail(change: Any) -> None:
        calls.append(change)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(change)

    monkeypatch.setattr(ours._history, "do", fail)
    with pytest.raises(KeyboardInterrupt):
        ours.merge(theirs)
    monkeypatch.undo()
    assert len(calls) == 2
    assert ours.differences(before) == []
    assert ours.undo_top() is None
    assert ours.merge(theirs).n_instances_added == 2, "it can be done again"
    assert ours.validate() == []
    # What a callback raises comes after: the merge stands.
    ours.undo()

    def complain(change: Any) -> None:
        raise RuntimeError("callback")

    ours.on_change(complain)
    with pytest.raises(RuntimeError, match="callback"):
        ours.redo()
    assert len(ours.instances) == 4


def test_what_merge_does_not_take_is_said(tmp_path: Path) -> None:
    ours, _ = two_files(tmp_path)
    theirs = coco(tmp_path, "x.json", {
        "info": {"year": 2026}, "images": [image(1, "a.png")],
        "annotations": [{"id": 3, "image_id": 1, "category_id": 90, "bbox": [0, 0, 1, 1]}],
        "categories": [{**BOLT, "skeleton": []}, {"id": 90, "name": "screw"}],
    })  # fmt: skip
    assert ours.merge(theirs).notes == (
        "category 'bolt': the skeletons differ, ours is kept",
        "not taken over: 1 annotations that are no instances, 1 categories without keypoints",
        "'info' of the other dataset differs and is not taken over",
    )
    with pytest.raises(ValueError, match="cannot be merged with itself"):
        ours.merge(ours)
    with pytest.raises(ValueError, match="match is 'name' or 'hash', not 'content'"):
        ours.merge(theirs, match="content")  # type: ignore[arg-type]


# --- rename_category ----------------------------------------------------------------------------


def test_renaming_a_category_changes_its_name_alone_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    text = (
        '{"images": [{"id":1,"file_name":"a.png","width":9,"height":9}], "annotations":\n'
        '[{"id":1,"image_id":1,"category_id":4,"keypoints":[1.0,1,2]}],\n'
        '"categories":[{"keypoints":["k"],"name" : "old","x":[1.50],"id":4}]}'
    )
    path.write_text(text)
    dataset = read(path)
    changes = []
    dataset.on_change(changes.append)
    assert dataset.rename_category("old", "new").name == "new"
    assert (dataset.instances[0].category.name, dataset.is_saved) == ("new", False)
    assert (changes[0].images, changes[0].instances) == (frozenset(), frozenset())
    dataset.save()
    assert path.read_text() == text.replace('"old"', '"new"')
    step = dataset.undo()
    assert step is not None
    assert (step.label, step.image, dataset.category("old").id) == (
        "rename category to new", None, 4,
    )  # fmt: skip
    dataset.save()
    assert path.read_text() == text
    dataset.redo()
    assert dataset.categories[0].name == "new"


def test_a_name_that_is_taken_or_empty_is_refused(tiny_dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="the category with the id 7 has the name 'bolt'"):
        tiny_dataset.rename_category("animal", "bolt")
    with pytest.raises(ValueError, match="non-empty str, not ''"):
        tiny_dataset.rename_category("animal", "")
    with pytest.raises(KeyError, match="no category has the name 'nut'"):
        tiny_dataset.rename_category("nut", "x")
    top = tiny_dataset.undo_top()
    tiny_dataset.rename_category("animal", "animal")
    assert tiny_dataset.undo_top() is top, "nothing was done"
