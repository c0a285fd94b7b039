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


def two_files(folder: Path, schema: Schema) -> tuple[Dataset, Dataset]:
    """Two files with a journal each and one instance each; the first has an edit besides."""
    opened = []
    for name in ("mine", "theirs"):
        dataset = store.open(folder / f"{name}.json", images=IMAGES, schema=schema)
        dataset.add_instance(0, keypoints={"nose": (1, 2)}, uid=name)
        dataset.save()
        opened.append(store.open(folder / f"{name}.json", images=IMAGES))
    opened[0].add_instance(0, keypoints={"nose": (3, 4)}, uid="late")
    return opened[0], opened[1]


def uids(dataset: Dataset) -> list[str]:
    return [instance.uid for instance in dataset.instances]


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_dataset_that_was_not_put_over_another_leaves_no_trace_in_it(
    tmp_path: Path, tiny_schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = two_files(tmp_path, tiny_schema)
    theirs.add_instance(0, uid="more")
    with monkeypatch.context() as patched:
        # What a kill leaves behind: the journal is written, the file is not in its place.
        patched.setattr("kpwidget.journal.Journal.discard", lambda journal: journal.close())
        patched.setattr(formats.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            mine.save(theirs.path)
    assert theirs.refresh() == ""
    assert uids(theirs) == ["theirs", "more"]
    again = store.open(theirs.path, images=IMAGES)
    assert (uids(again), again.journal_problems) == (["theirs", "more"], ())
    again.add_instance(0, uid="last")
    again.save()
    assert uids(store.open(theirs.path, images=IMAGES)) == ["theirs", "more", "last"]


def test_a_dataset_that_was_put_over_another_is_whole_without_the_word_that_it_was(
    tmp_path: Path, tiny_schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = two_files(tmp_path, tiny_schema)
    with monkeypatch.context() as patched:
        patched.setattr("kpwidget.journal.Journal.discard", lambda journal: journal.close())
        patched.setattr("kpwidget.journal.Recorder.end_save", killed)  # after the file
        with pytest.raises(KeyboardInterrupt):
            mine.save(theirs.path)
    for n in range(3):  # the second time somebody else's mark tells that it is there
        again = store.open(theirs.path, images=IMAGES)
        assert uids(again) == ["mine", "late", *map(str, range(n))]
        assert [step.label for step in again._history.steps()][:2] == ["add animal"] * 2
        again.add_instance(0, uid=str(n))
        again.save()


def test_edits_of_a_dataset_that_was_saved_over_ours_do_not_reach_ours(
    tmp_path: Path, tiny_schema: Schema
) -> None:
    mine, theirs = two_files(tmp_path, tiny_schema)
    mine.save(theirs.path)
    mine.add_instance(0, uid="later")
    assert theirs.refresh() == ""
    assert uids(theirs) == ["theirs"]
    theirs.add_instance(0, uid="more")
    with pytest.raises(store.ConflictError):
        theirs.save()
    assert uids(theirs) == ["theirs", "more"]


def test_edits_of_a_dataset_that_was_saved_over_do_not_reach_the_one_in_its_place(
    tmp_path: Path, tiny_schema: Schema, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, theirs = two_files(tmp_path, tiny_schema)
    unedited = store.open(theirs.path, images=IMAGES)  # its log begins after the save
    mine.save(theirs.path)
    mine.add_instance(0, uid="later")
    theirs.add_instance(0, uid="more")
    unedited.add_instance(0, uid="even more")
    assert mine.refresh() == ""
    capsys.readouterr()
    for n in range(2):
        again = store.open(theirs.path, images=IMAGES)
        expected = ["mine", "late", "later", *map(str, range(n))]
        assert (uids(again), again.journal_problems) == (expected, ())
        assert "2 edits of the dataset that was in this file before" in capsys.readouterr().out
        again.add_instance(0, uid=str(n))
        again.save()
    assert theirs.refresh() == "1 edit of 1 instance by others"
    assert sorted(uids(theirs)) == ["even more", "more", "theirs"]


def test_the_file_of_before_gets_the_edits_that_were_made_to_it(
    tmp_path: Path, tiny_schema: Schema
) -> None:
    mine, theirs = two_files(tmp_path, tiny_schema)
    before = theirs.path.read_bytes()
    mine.save(theirs.path)
    mine.add_instance(0, uid="later")
    theirs.add_instance(0, uid="more")
    theirs.path.write_bytes(before)
    assert uids(store.open(theirs.path, images=IMAGES)) == ["theirs", "more"]
