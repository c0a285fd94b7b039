from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from kpwidget import formats, store
from kpwidget.dataset import Dataset, UndoError
from kpwidget.schema import Schema

IMAGES = {"a.png": np.zeros((48, 64, 3), np.uint8)}


def test_file_that_does_not_exist_is_begun_and_read_the_next_time(
    tmp_path: Path, tiny_schema: Schema
) -> None:
    path = tmp_path / "labels.json"
    dataset = store.open(path, images=IMAGES, schema=tiny_schema, annotator="ada")
    assert (dataset.path, dataset.annotator, path.exists()) == (path, "ada", False)
    dataset.add_instance(0, keypoints={"nose": (1.5, 2)})
    dataset.save()
    again = store.open(path, images=IMAGES, schema=tiny_schema, annotator="bob")
    assert (again.path, again.annotator) == (path, "bob")
    assert dataset.differences(again) == []
    again.add_instance(0)
    again.save()
    assert len(store.open(path).instances) == 2


def test_nothing_to_open_says_what_to_pass(tmp_path: Path, tiny_schema: Schema) -> None:
    with pytest.raises(FileNotFoundError, match="pass images= and schema="):
        store.open(tmp_path / "labels.json")
    with pytest.raises(FileNotFoundError, match="pass images=$"):
        store.open(tmp_path / "labels.json", schema=tiny_schema)
    with pytest.raises(FileNotFoundError, match="there is no folder .*gone.* make it first"):
        store.open(tmp_path / "gone" / "labels.json", images=IMAGES, schema=tiny_schema)


def test_schema_must_be_that_of_the_file(tmp_path: Path, tiny_schema: Schema) -> None:
    path = tmp_path / "labels.json"
    store.open(path, images=IMAGES, schema=tiny_schema).save()
    renamed = Schema("other name", tiny_schema.keypoints, tiny_schema.skeleton)
    assert len(store.open(path, schema=renamed).categories) == 1
    with pytest.raises(ValueError, match="category 'animal' has another skeleton than 'animal'"):
        store.open(path, schema=Schema("animal", tiny_schema.keypoints))
    expected = "no category has the 2 keypoints of 'bolt'.*'animal' .nose, left_eye"
    with pytest.raises(ValueError, match=expected):
        store.open(path, schema=[tiny_schema, Schema("bolt", ["head", "tip"])])


def test_saving_without_a_path_is_refused(tiny_dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ds.save\('labels.json'\).*kp.write"):
        tiny_dataset.save()
    tiny_dataset.save(tmp_path / "labels.json")
    assert tiny_dataset.path == tmp_path / "labels.json"
    tiny_dataset.instance("one").remove()
    tiny_dataset.save()
    assert len(json.loads((tmp_path / "labels.json").read_text())["annotations"]) == 1


def test_writing_elsewhere_does_not_move_the_dataset(tiny_dataset: Dataset, tmp_path: Path) -> None:
    tiny_dataset.save(tmp_path / "labels.json")
    formats.write(tiny_dataset, tmp_path / "copy.json")
    assert tiny_dataset.path == tmp_path / "labels.json"


def test_unknown_format_names_those_there_are(tiny_dataset: Dataset, tmp_path: Path) -> None:
    known = r"there are: 'coco' \(COCO keypoints: one JSON file\), .*'yolo-pose' "
    with pytest.raises(ValueError, match=f"unknown format 'yolo'; {known}"):
        formats.write(tiny_dataset, tmp_path / "x", format="yolo")
    with pytest.raises(ValueError, match=f"unknown format 'cooc'; {known}"):
        formats.read(tmp_path / "x.json", format="cooc")
    (tmp_path / "x.txt").touch()
    with pytest.raises(ValueError, match=r"no format has files that end in '\.txt'; pass format="):
        formats.read(tmp_path / "x.txt")


def test_failed_write_leaves_the_old_file_and_no_other(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "labels.json"
    tiny_dataset.save(path)
    before = path.read_bytes()
    tiny_dataset.instance("one").remove()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            tiny_dataset.save()
    tiny_dataset.extra["bad"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        tiny_dataset.save()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["labels.json"]


def test_write_is_on_disk_before_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that makes a crash harmless: data to disk, rename, folder to disk."""
    calls: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        is_folder = os.path.isdir(f"/proc/self/fd/{descriptor}")
        calls.append("fsync folder" if is_folder else "fsync file")
        real_fsync(descriptor)

    def replace(source: Path, target: Path) -> None:
        assert source.parent == target.parent
        calls.append("replace")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    formats.write_file(tmp_path / "x", [b"one ", b"two"])
    assert (tmp_path / "x").read_bytes() == b"one two"
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("which file a descriptor belongs to can be told on Linux only")
    assert calls == ["fsync file", "replace", "fsync folder"]


@pytest.mark.skipif(os.name != "posix", reason="links and modes are those of POSIX")
def test_write_follows_links_and_keeps_the_mode(tmp_path: Path) -> None:
    real = tmp_path / "real" / "labels.json"
    real.parent.mkdir()
    real.write_bytes(b"old")
    real.chmod(0o640)
    link = tmp_path / "labels.json"
    link.symlink_to(real)
    formats.write_file(link, [b"new"])
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert real.stat().st_mode & 0o777 == 0o640


def test_write_into_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder .*gone.* make it first"):
        formats.write_file(tmp_path / "gone" / "x.json", [b""])
    with pytest.raises(IsADirectoryError, match="is a folder"):
        formats.write_file(tmp_path, [b""])


def test_saving_a_part_does_not_replace_the_file_of_the_whole(
    tmp_path: Path, tiny_schema: Schema
) -> None:
    path = tmp_path / "labels.json"
    dataset = store.open(path, images=IMAGES, schema=tiny_schema)
    dataset.add_instance(0)
    dataset.save()
    part = store.open(path).select(where=lambda _: False).copy()
    with pytest.raises(ValueError, match="say where to save it"):
        part.save()
    assert len(store.open(path).instances) == 1


def test_dataset_knows_whether_its_file_holds_it(tmp_path: Path, tiny_schema: Schema) -> None:
    path = tmp_path / "labels.json"
    dataset = store.open(path, images=IMAGES, schema=tiny_schema)
    assert not dataset.is_saved
    dataset.save()
    assert dataset.is_saved
    dataset.add_instance(0)
    assert not dataset.is_saved
    dataset.save()
    assert dataset.is_saved
    assert store.open(path).is_saved


# --- somebody else's changes --------------------------------------------------------------------


def test_save_does_not_overwrite_what_somebody_else_has_written(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "labels.json"
    tiny_dataset.save(path)
    mine, theirs = formats.read(path), formats.read(path)
    theirs.instances[0].set_keypoint(0, 5, 5)
    theirs.save()
    content = path.read_bytes()
    mine.instances[0].set_keypoint(0, 6, 6)
    with pytest.raises(store.ConflictError, match="somebody else has changed this file since"):
        mine.save()
    assert path.read_bytes() == content
    assert not mine.is_saved
    mine.save(tmp_path / "other.json")
    assert mine.is_saved
    assert formats.read(tmp_path / "other.json").instances[0].keypoints[0].tolist() == [6, 6, 2]
    theirs.instances[0].set_keypoint(0, 7, 7)
    theirs.save()  # its own last save is no conflict


def test_save_looks_at_the_content_when_the_file_was_only_copied(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "labels.json"
    tiny_dataset.save(path)
    for dataset in (tiny_dataset, formats.read(path)):
        copy = path.read_bytes()
        path.unlink()
        path.write_bytes(copy)
        dataset.instances[0].set_keypoint(0, 5, 5)
        dataset.save()
        dataset.undo()
        dataset.save()


def test_save_of_a_new_dataset_does_not_overwrite_a_file_that_came_meanwhile(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "labels.json"
    images = {"a.png": np.zeros((8, 8))}
    dataset = store.open(path, images, tiny_dataset.categories[0])
    path.write_text("precious")
    with pytest.raises(store.ConflictError, match="when there was no such file, and now there is"):
        dataset.save()
    assert path.read_text() == "precious"
    path.unlink()
    dataset.save()
    assert dataset.is_saved


def test_a_save_inside_of_a_transaction_is_refused(tmp_path: Path) -> None:
    images = {"a.png": np.zeros((4, 4), np.uint8)}
    dataset = store.open(tmp_path / "labels.json", images, Schema("bird", ["eye"]))
    with dataset.transaction("half"):
        dataset.add_instance(0, keypoints=[(1, 1, 2)])
        with pytest.raises(UndoError, match="cannot save inside the open transaction 'half'"):
            dataset.save()
    assert not (tmp_path / "labels.json").exists()
