"""Nothing that was acknowledged is lost: the journal on disk, read back, undone, conflicting."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import kpwidget as kp
from kpwidget import store
from kpwidget.compaction import compact
from kpwidget.dataset import UndoError
from kpwidget.journal import Journal, read_logs
from kpwidget.widget import Annotator

SCHEMA = kp.Schema("bird", ["beak", "eye", "tail"], [(1, 2)])
IMAGES = {"a.png": np.zeros((48, 64)), "b.png": np.zeros((48, 64))}
POINTS = [[1.5, 2, 2], [3, 4, 1], [0, 0, 0]]


def opened(folder: Path, **options: Any) -> kp.Dataset:
    """As a notebook does it, again and again."""
    return kp.open(folder / "labels.json", IMAGES, SCHEMA, annotator="anna", **options)


def logs(folder: Path) -> list[Path]:
    return sorted((folder / "labels.kpwidget").glob("*.log"))


def said(dataset: kp.Dataset) -> list[Any]:
    """All that a dataset says, marks included."""
    return [
        [(image.file_name, image.status) for image in dataset.images],
        [
            (i.uid, i.image.index, i.raw.tolist(), i.bbox, i.bbox_source, i.is_finished, i.id)
            for i in dataset.instances
        ],
    ]


# --- coming back --------------------------------------------------------------------------------


def test_what_was_done_is_there_again_and_a_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = opened(tmp_path)
    assert not (tmp_path / "labels.kpwidget").exists()
    bird = dataset.add_instance("a.png", keypoints=POINTS, is_finished=False)
    bird.set_keypoint("tail", 9.5, 8.25)
    dataset.images["b.png"].set_status("done")
    assert capsys.readouterr().out == ""
    again = opened(tmp_path)
    out = capsys.readouterr().out
    assert out == (
        f"kpwidget: 3 edits of 1 instance restored from {tmp_path / 'labels.kpwidget'}\n"
    )
    assert said(again) == said(dataset)
    assert again.uid == dataset.uid
    assert not again.is_saved


def test_undo_works_across_restarts_and_across_a_save(tmp_path: Path) -> None:
    dataset = opened(tmp_path)
    bird = dataset.add_instance("a.png", keypoints=POINTS)
    bird.set_keypoint("tail", 9.5, 8.25)
    dataset = opened(tmp_path)
    assert dataset.undo().label == "place tail"  # type: ignore[union-attr]
    assert dataset.instances[0].raw.tolist() == POINTS
    dataset = opened(tmp_path)
    assert dataset.instances[0].raw.tolist() == POINTS
    dataset.redo()
    dataset.save()
    dataset = opened(tmp_path)
    assert dataset.is_saved
    dataset.undo()
    dataset.undo()
    assert len(dataset.instances) == 0
    assert dataset.undo() is None
    dataset = opened(tmp_path)
    assert len(dataset.instances) == 0
    dataset.redo()
    dataset.redo()
    assert dataset.instances[0].raw.tolist() == [*POINTS[:2], [9.5, 8.25, 2]]


def test_what_coco_has_no_field_for_is_kept(tmp_path: Path) -> None:
    dataset = opened(tmp_path)
    bird = dataset.add_instance("a.png", keypoints=POINTS, is_finished=False, uid="bird")
    dataset.images["b.png"].set_status("done")
    dataset.save()
    assert bird.id == 1
    again = opened(tmp_path)
    assert said(again) == said(dataset)
    assert again.is_saved
    assert again.instances[0].uid == "bird"
    assert again.instances[0].annotator == "anna"
    # The box follows the points, as it did before it was in a file.
    again.instances[0].set_keypoint("tail", 20, 30)
    assert again.instances[0].bbox == (1.5, 2, 18.5, 28)
    assert again.redo() is None
    again.undo()
    assert again.undo().label == "mark done"  # type: ignore[union-attr]
    assert again.images["b.png"].status == "unlabeled"
    assert opened(tmp_path).images["b.png"].status == "unlabeled"


def test_box_that_was_drawn_is_still_given_after_a_save(tmp_path: Path) -> None:
    dataset = opened(tmp_path)
    dataset.add_instance("a.png", keypoints=POINTS, uid="bird").set_bbox((1, 2, 3, 4))
    dataset.save()
    again = opened(tmp_path).instance("bird")
    assert (again.bbox, again.bbox_source) == ((1, 2, 3, 4), "given")


def test_removed_instance_comes_back_after_its_file_was_saved_without_it(tmp_path: Path) -> None:
    labels = tmp_path / "labels.json"
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [
            {"id": 7, "image_id": 1, "category_id": 1, "keypoints": [1, 2, 2, 0, 0, 0, 5, 6, 1],
             "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 1, "segmentation": [[1, 2, 3, 4, 5, 6]]}
        ],
        "categories": [{"id": 1, "name": "bird", "keypoints": ["beak", "eye", "tail"]}],
    }  # fmt: skip
    labels.write_text(json.dumps(content))
    dataset = kp.open(labels, annotator="anna")
    assert dataset.to_pandas()["iscrowd"].tolist() == [1]
    dataset.instances[0].remove()
    dataset.save()
    assert json.loads(labels.read_text())["annotations"] == []
    dataset = kp.open(labels)
    dataset.undo()
    dataset.save()
    assert json.loads(labels.read_text())["annotations"][0] == {
        **content["annotations"][0], "num_keypoints": 2,  # type: ignore[index]
    }  # fmt: skip
    assert (
        json.loads((tmp_path / "labels.kpwidget" / "previous.json").read_text())["annotations"]
        == []
    )


def test_cells_that_run_again_do_not_double_what_they_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPWIDGET_JOURNAL")

    def cells() -> tuple[kp.Dataset, kp.Instance]:
        dataset = kp.Dataset.from_images(IMAGES, SCHEMA)
        bird = dataset.add_instance("a.png", keypoints=POINTS)
        bird.set_keypoint("tail", 9, 9)
        Annotator(dataset).close()
        return dataset, bird

    dataset, bird = cells()
    bird.set_keypoint("beak", 7, 7)
    for _ in range(3):
        dataset, bird = cells()
        assert len(dataset.instances) == 1
        assert bird.keypoints[0].tolist() == [7, 7, 2]
        assert "1 edit of 1 instance restored" in capsys.readouterr().out
    bird.remove()
    dataset, bird = cells()
    assert len(dataset.instances) == 0
    assert dataset.undo().label == "remove bird"  # type: ignore[union-attr]
    assert bird.keypoints[0].tolist() == [7, 7, 2]


def test_undo_of_what_cells_have_made_again_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPWIDGET_JOURNAL")

    def cells() -> kp.Dataset:
        dataset = kp.Dataset.from_images(IMAGES, SCHEMA)
        dataset.add_instance("a.png", keypoints=POINTS)
        Annotator(dataset).close()
        return dataset

    cells()
    cells().undo()
    dataset = cells()
    assert dataset.journal_problems == ()
    assert len(dataset.instances) == 0
    dataset.redo()
    dataset = cells()
    assert dataset.journal_problems == ()
    assert [bird.raw.tolist() for bird in dataset.instances] == [POINTS]


def test_other_images_or_another_schema_have_another_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPWIDGET_JOURNAL")

    def n_restored(images: Any, schema: kp.Schema) -> int:
        dataset = kp.Dataset.from_images(images, schema)
        Annotator(dataset).close()
        n = len(dataset.instances)
        dataset.add_instance(0)
        return n

    other = kp.Schema("bird", ["beak", "eye"])
    brighter = {name: picture + 1 for name, picture in IMAGES.items()}
    assert [n_restored(IMAGES, SCHEMA), n_restored(IMAGES, SCHEMA)] == [0, 1]
    assert n_restored(IMAGES, other) == 0
    assert n_restored(brighter, SCHEMA) == 0
    monkeypatch.setenv("JPY_SESSION_NAME", "another.ipynb")
    assert n_restored(IMAGES, SCHEMA) == 0


def test_dataset_that_is_saved_later_goes_on_in_the_journal_its_cells_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPWIDGET_JOURNAL")

    def cells() -> kp.Dataset:
        dataset = kp.Dataset.from_images(IMAGES, SCHEMA)
        Annotator(dataset).close()
        return dataset

    dataset = cells()
    dataset.add_instance("a.png", keypoints=POINTS, uid="bird")
    dataset.save("labels.json")
    dataset.instance("bird").set_keypoint("tail", 9, 9)
    again = cells()
    assert again.instance("bird").raw[2].tolist() == [9, 9, 2]
    # Saved under another name it has a journal there.
    again.save("labels.json")
    again.save("other.json")
    again.instance("bird").set_keypoint("tail", 3, 3)
    assert kp.open("other.json").instance("bird").raw[2].tolist() == [3, 3, 2]


def test_annotator_can_do_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = kp.Dataset.from_images(IMAGES, SCHEMA)
    Annotator(dataset).close()  # switched off by the environment
    monkeypatch.delenv("KPWIDGET_JOURNAL")
    Annotator(dataset, journal=False).close()
    dataset.add_instance(0)
    assert list(tmp_path.iterdir()) == []


# --- the labels file ----------------------------------------------------------------------------


def test_file_that_somebody_else_changed_is_taken_when_nothing_of_ours_is_open(
    tmp_path: Path,
) -> None:
    dataset = opened(tmp_path)
    dataset.add_instance("a.png", keypoints=POINTS)
    dataset.save()
    labels = tmp_path / "labels.json"
    labels.write_text(labels.read_text().replace("1.5", "2.5"))
    again = opened(tmp_path)
    assert again.instances[0].raw[0].tolist() == [2.5, 2, 2]
    assert again.undo() is None  # what was done before is about another file
    again.instances[0].set_keypoint("beak", 5, 5)
    last = opened(tmp_path)
    assert last.instances[0].raw[0].tolist() == [5, 5, 2]
    last.undo()
    assert last.instances[0].raw[0].tolist() == [2.5, 2, 2]


def test_conflict_with_somebody_elses_file_is_named_and_nothing_lost(tmp_path: Path) -> None:
    dataset = opened(tmp_path)
    dataset.add_instance("a.png", keypoints=POINTS, uid="bird")
    dataset.save()
    dataset.instances[0].set_keypoint("beak", 7, 7)
    labels = tmp_path / "labels.json"
    labels.write_text(labels.read_text().replace("1.5", "2.5"))
    with pytest.raises(kp.ConflictError, match=r"1 edits .* of 1 instances \(bird\)"):
        opened(tmp_path)
    theirs = opened(tmp_path, journal=False)
    assert theirs.instances[0].raw[0].tolist() == [2.5, 2, 2]
    labels.write_text(labels.read_text().replace("2.5", "1.5"))
    assert opened(tmp_path).instances[0].raw[0].tolist() == [7, 7, 2]


def test_crash_between_the_mark_and_the_new_file_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = opened(tmp_path)
    dataset.add_instance("a.png", keypoints=POINTS)
    dataset.save()
    dataset.instances[0].set_keypoint("beak", 7, 7)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            dataset.save()
    again = opened(tmp_path)
    assert again.instances[0].raw[0].tolist() == [7, 7, 2]
    again.save()
    assert opened(tmp_path).instances[0].raw[0].tolist() == [7, 7, 2]


def test_large_file_is_told_by_its_time_and_later_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_SOON_HASHED", 0)
    hashed = threading.Event()
    monkeypatch.setattr(
        store, "digest_of", lambda pieces, real=store.digest_of: hashed.wait() and real(pieces)
    )
    dataset = opened(tmp_path)
    dataset.add_instance("a.png", keypoints=POINTS)
    dataset.save()
    dataset.instances[0].set_keypoint("beak", 7, 7)
    # The hash is not there yet: size, time and inode are enough.
    again = opened(tmp_path)
    assert again.instances[0].raw[0].tolist() == [7, 7, 2]
    again.instances[0].set_keypoint("beak", 8, 8)
    hashed.set()
    for thread in threading.enumerate():
        if thread.name == "kpwidget-hash":
            thread.join()
    os.utime(tmp_path / "labels.json", (1, 1))  # as a checkout leaves it
    assert opened(tmp_path).instances[0].raw[0].tolist() == [8, 8, 2]
    labels = tmp_path / "labels.json"
    labels.write_text(labels.read_text().replace("1.5", "2.5"))
    with pytest.raises(kp.ConflictError):
        opened(tmp_path)


# --- two writers --------------------------------------------------------------------------------


def test_two_notebooks_on_one_file_come_together(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    bird = one.add_instance("a.png", keypoints=POINTS, uid="bird")
    two.add_instance("b.png", keypoints=POINTS, uid="other")
    bird.set_keypoint("tail", 9, 9)
    together = opened(tmp_path)
    assert sorted(i.uid for i in together.instances) == ["bird", "other"]
    assert together.instance("bird").raw[2].tolist() == [9, 9, 2]
    assert together.conflicts == []
    assert len(logs(tmp_path)) == 2


def test_one_value_changed_by_two_is_a_conflict_that_is_kept(tmp_path: Path) -> None:
    opened(tmp_path).add_instance("a.png", keypoints=POINTS, uid="bird")
    one, two = opened(tmp_path), opened(tmp_path)
    one.instance("bird").set_keypoint("eye", 5, 5)
    time.sleep(0.01)  # clocks count milliseconds
    two.instance("bird").set_keypoint("eye", 6, 6, visibility=1)
    two.instance("bird").set_keypoint("tail", 1, 1)
    together = opened(tmp_path)
    [conflict] = together.conflicts
    assert (conflict.image, conflict.instance, conflict.keypoint) == ("a.png", "bird", "eye")
    assert (conflict.kept, conflict.other) == ((6, 6, 1), (5, 5, 2))
    assert together.instance("bird").raw.tolist() == [[1.5, 2, 2], [6, 6, 1], [1, 1, 2]]


def test_two_earlier_values_do_not_win_over_a_later_one(tmp_path: Path) -> None:
    opened(tmp_path).add_instance("a.png", keypoints=POINTS, uid="bird")
    one, two = opened(tmp_path), opened(tmp_path)
    one.instance("bird").set_keypoint("eye", 4, 4)
    one.instance("bird").set_keypoint("eye", 5, 5)
    time.sleep(0.01)  # clocks count milliseconds
    two.instance("bird").set_keypoint("eye", 6, 6)
    for dataset in (one, two):
        dataset.refresh()
        assert dataset.instance("bird").raw.tolist()[1] == [6, 6, 2]
        assert {conflict.kept for conflict in dataset.conflicts} == {(6, 6, 2)}


def test_undo_of_what_another_did_later_as_well_leaves_that(tmp_path: Path) -> None:
    opened(tmp_path).add_instance("a.png", keypoints=POINTS, uid="bird")
    one, two = opened(tmp_path), opened(tmp_path)
    one.instance("bird").clear_keypoint("eye")
    one.undo()
    time.sleep(0.01)  # clocks count milliseconds
    two.instance("bird").clear_keypoint("eye")
    for dataset in (one, two, opened(tmp_path)):
        dataset.refresh()
        assert dataset.instance("bird").raw.tolist()[1] == [0, 0, 0]


def test_removal_that_another_has_undone_gives_back_edits_made_meanwhile(tmp_path: Path) -> None:
    opened(tmp_path).add_instance("a.png", keypoints=POINTS, uid="bird")
    one, two = opened(tmp_path), opened(tmp_path)
    one.instance("bird").remove()
    one.undo()
    time.sleep(0.01)  # clocks count milliseconds
    two.instance("bird").set_keypoint("eye", 6, 6)
    for dataset in (one, two, opened(tmp_path)):
        dataset.refresh()
        assert dataset.instance("bird").raw.tolist()[1] == [6, 6, 2]


def test_conflict_is_decided_once_and_for_all(tmp_path: Path) -> None:
    opened(tmp_path).add_instance("a.png", keypoints=POINTS, uid="bird")
    one, two = opened(tmp_path), opened(tmp_path)
    one.instance("bird").set_keypoint("eye", 5, 5)
    one.instance("bird").set_keypoint("beak", 1, 1)
    one.instance("bird").set_bbox((1, 1, 5, 5))
    time.sleep(0.01)
    two.instance("bird").set_keypoint("eye", 6, 6, visibility=1)
    two.instance("bird").clear_keypoint("beak")
    two.instance("bird").set_bbox((2, 2, 5, 5))
    two.refresh()
    by_name = {conflict.keypoint: conflict for conflict in two.conflicts}
    assert set(by_name) == {"eye", "beak", None}
    with pytest.raises(ValueError, match="take is 'kept' or 'other', not 'mine'"):
        two.resolve(by_name["eye"], "mine")  # type: ignore[arg-type]
    two.resolve(by_name["eye"], "other")
    two.resolve(by_name["beak"], "kept")
    assert two.instance("bird").raw.tolist() == [[0, 0, 0], [5, 5, 2], [0, 0, 0]]
    with pytest.raises(ValueError, match="decided about already"):
        two.resolve(by_name["eye"], "kept")
    [left] = two.conflicts
    two.resolve(left, "other")
    assert two.instance("bird").bbox == (1, 1, 5, 5)
    # The decisions are in the journal, for whoever opens or refreshes.
    again = opened(tmp_path)
    assert again.conflicts == []
    assert said(again) == said(two)
    one.refresh()
    assert one.conflicts == []
    assert said(one) == said(two)
    two.undo()
    assert two.instance("bird").bbox == (2, 2, 5, 5)


def test_the_same_clash_again_is_told_again_wherever_it_is_seen(tmp_path: Path) -> None:
    opened(tmp_path).add_instance("a.png", keypoints=POINTS, uid="bird")
    one, two = opened(tmp_path), opened(tmp_path)
    keys = []
    for _ in range(2):  # the same values again, after a decision
        one.instance("bird").set_keypoint("eye", 5, 5)
        time.sleep(0.01)
        two.instance("bird").set_keypoint("eye", 6, 6)
        two.refresh()
        one.refresh()
        third = opened(tmp_path)
        for dataset in (one, two, third):
            [conflict] = dataset.conflicts
            assert (conflict.kept, conflict.other) == ((6, 6, 2), (5, 5, 2))
            keys.append(conflict.key)
        two.resolve(two.conflicts[0], "kept")
        two.instance("bird").set_keypoint("eye", 3, 3)
        one.refresh()
        assert [*one.conflicts, *opened(tmp_path).conflicts] == []
    assert len(set(keys[:3])) == len(set(keys[3:])) == 1
    assert len(set(keys)) == 2


def test_decision_in_an_older_journal_still_holds(tmp_path: Path) -> None:
    opened(tmp_path).add_instance("a.png", keypoints=POINTS, uid="bird")
    one, two = opened(tmp_path), opened(tmp_path)
    one.instance("bird").set_keypoint("eye", 5, 5)
    time.sleep(0.01)
    two.instance("bird").set_keypoint("eye", 6, 6)
    assert len(opened(tmp_path).conflicts) == 1
    # What was written then: CRC-32 of image, instance, keypoint, what, the two values.
    text = '["a.png", "bird", "eye", "keypoint", [6.0, 6.0, 2.0], [5.0, 5.0, 2.0]]'
    older = Journal(tmp_path / "labels.kpwidget")
    older.append("resolved", {"of": zlib.crc32(text.encode()), "a": "anna"})
    older.close()
    assert opened(tmp_path).conflicts == []


def test_conflict_that_is_not_decided_outlives_a_save(tmp_path: Path) -> None:
    opened(tmp_path).add_instance("a.png", keypoints=POINTS, uid="bird")
    one, two = opened(tmp_path), opened(tmp_path)
    one.instance("bird").set_keypoint("eye", 5, 5)
    time.sleep(0.01)
    two.instance("bird").set_keypoint("eye", 6, 6)
    two.refresh()
    two.save()
    again = opened(tmp_path)
    assert again.conflicts == two.conflicts
    assert again.is_saved
    again.resolve(again.conflicts[0], "other")
    assert opened(tmp_path).conflicts == []
    assert opened(tmp_path).instance("bird").raw[1].tolist() == [5, 5, 2]


def test_refresh_waits_for_the_end_of_a_transaction(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    one.add_instance("a.png", keypoints=POINTS, uid="bird")
    with two.transaction("mine"):
        two.add_instance("b.png", keypoints=POINTS, uid="other")
        with pytest.raises(UndoError, match="cannot refresh inside the open transaction"):
            two.refresh()
    assert two.refresh() == "1 edit of 1 instance by others"
    assert {bird.uid for bird in two.instances} == {"bird", "other"}


def test_what_could_not_be_put_in_place_is_not_counted_as_saved(tmp_path: Path) -> None:
    first = opened(tmp_path)
    for uid in ("one", "two"):
        first.add_instance("a.png", keypoints=POINTS, uid=uid)
    ours, theirs = opened(tmp_path), opened(tmp_path)
    ours.instance("one").remove()
    with theirs.transaction("both"):
        theirs.instance("one").set_keypoint("eye", 5, 5)
        theirs.instance("two").set_keypoint("eye", 5, 5)
    ours.refresh()
    assert len(ours.journal_problems) == 1
    ours.save()
    again = opened(tmp_path)
    assert len(again.journal_problems) == 1
    assert "both" in again.journal_problems[0]


def test_another_notebook_that_saves_at_the_same_moment_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path).save()
    one, two = opened(tmp_path), opened(tmp_path)
    one.add_instance("a.png", keypoints=POINTS, uid="one")
    two.add_instance("a.png", keypoints=POINTS, uid="two")
    write = store.formats.write_file

    def write_later(*arguments: Any) -> None:
        monkeypatch.undo()
        two.save()
        write(*arguments)

    monkeypatch.setattr(store.formats, "write_file", write_later)
    with pytest.raises(kp.ConflictError):
        one.save()
    assert {bird.uid for bird in opened(tmp_path).instances} == {"one", "two"}
    assert list(tmp_path.glob(".*.tmp")) == []


def test_saving_onto_a_file_with_a_journal_leaves_its_edits_behind(tmp_path: Path) -> None:
    other = kp.open(tmp_path / "other.json", IMAGES, SCHEMA)
    other.add_instance("a.png", keypoints=POINTS, uid="bird")
    dataset = opened(tmp_path)
    dataset.add_instance("b.png", keypoints=POINTS, uid="mine")
    dataset.save()
    dataset.save(tmp_path / "other.json")
    assert dataset.refresh() == ""
    again = kp.open(tmp_path / "other.json", IMAGES, SCHEMA)
    assert [bird.uid for bird in again.instances] == ["mine"]
    assert again.is_saved


def test_undo_goes_back_over_a_save_under_another_name(tmp_path: Path) -> None:
    dataset = opened(tmp_path)
    dataset.add_instance("a.png", keypoints=POINTS, uid="bird").set_keypoint("tail", 9, 9)
    dataset.save()
    dataset = opened(tmp_path)
    for x in (5, 6, 7):
        dataset.instance("bird").set_keypoint("tail", x, x)
    dataset.undo()
    dataset.undo()
    times = dataset.history()["time"].tolist()
    dataset.save(tmp_path / "other.json")

    def again() -> kp.Dataset:
        found = kp.open(tmp_path / "other.json", IMAGES, SCHEMA, annotator="anna")
        assert found.journal_problems == ()
        assert said(found) == said(dataset)
        return found

    assert again().is_saved
    for act in ("redo", "undo", "undo", "undo"):
        getattr(dataset, act)()
        again()
    assert dataset.instance("bird").raw.tolist() == POINTS
    dataset = again()
    for _ in range(4):
        dataset.redo()
        again()
    assert dataset.instance("bird").raw[2].tolist() == [7, 7, 2]
    moved = dataset.history()["time"].tolist()[:5]
    assert all(abs((a - b).total_seconds()) < 0.1 for a, b in zip(moved, times[:5], strict=True))


def test_edits_after_a_save_that_failed_go_where_they_went_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = opened(tmp_path)
    bird = dataset.add_instance("a.png", keypoints=POINTS, uid="bird")
    dataset.save()
    with pytest.raises(FileNotFoundError):
        dataset.save(tmp_path / "nowhere" / "other.json")

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="Input/output"):
            dataset.save(tmp_path / "other.json")
    bird.set_keypoint("tail", 9, 9)
    dataset.undo()
    dataset.redo()
    assert opened(tmp_path).instance("bird").raw[2].tolist() == [9, 9, 2]
    assert not (tmp_path / "nowhere").exists()
    other = kp.open(tmp_path / "other.json", IMAGES, SCHEMA)
    assert len(other.instances) == 0
    assert (other.journal_problems, other.undo()) == ((), None)


def test_saves_at_the_same_time_leave_the_newest(tmp_path: Path) -> None:
    dataset = opened(tmp_path)
    bird = dataset.add_instance("a.png", keypoints=POINTS)

    def save_often() -> None:
        for n in range(15):
            bird.set_keypoint("eye", n, 5)
            dataset.save()

    threads = [threading.Thread(target=save_often) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dataset.is_saved
    assert kp.read(tmp_path / "labels.json").instances[0].raw.tolist() == bird.raw.tolist()


def test_what_others_have_appended_is_counted_without_reading_it_again(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    two.add_instance("a.png", keypoints=POINTS)
    assert two.recorder.news() == (0, [])
    bird = one.add_instance("b.png", keypoints=POINTS)
    bird.set_keypoint("tail", 9, 9)
    one.undo()
    assert two.recorder.news() == (3, ["anna"])
    bird.set_keypoint("tail", 8, 8)
    assert two.recorder.news() == (4, ["anna"])
    assert two.recorder.news() == (4, ["anna"])
    log = one.recorder.journal.path
    whole = log.read_bytes()
    log.write_bytes(whole + whole.splitlines()[-1][:20])  # being written just now
    assert two.recorder.news() == (4, ["anna"])
    log.write_bytes(whole)
    two.refresh()
    assert two.recorder.news() == (0, [])
    bird.set_keypoint("tail", 7, 7)
    assert two.recorder.news() == (1, ["anna"])


def test_an_id_that_was_given_to_another_meanwhile_is_not_there_twice(tmp_path: Path) -> None:
    one = opened(tmp_path)
    one.add_instance("a.png", keypoints=POINTS, uid="bird")
    one.save()
    with one.transaction("remove", origin="anna"):
        one.instance("bird").remove()
    one.save()
    two = opened(tmp_path)
    two.add_instance("b.png", keypoints=POINTS, uid="another")
    two.save()
    assert two.instance("another").id == 1
    two.undo(origin="anna")
    two.save()
    again = opened(tmp_path)
    assert {i.uid: i.id for i in again.instances} == {"bird": 2, "another": 1}


def test_an_id_that_changes_is_in_the_mark(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    one.add_instance("a.png", keypoints=POINTS, uid="bird")
    one.save()
    with one.transaction("remove", origin="anna"):
        one.instance("bird").remove()
    one.save()
    two.add_instance("b.png", keypoints=POINTS, uid="another")
    two.save()
    two_has = two.instance("another").id
    one.refresh()
    one.undo(origin="anna")
    one.save()  # which takes the id of the other one for what it is
    one.instance("bird").set_keypoint("tail", 9, 9)
    again = opened(tmp_path)
    assert again.journal_problems == ()
    assert {i.uid: i.id for i in again.instances} == {i.uid: i.id for i in one.instances}
    assert again.instance("another").id == two_has
    assert again.instance("bird").raw.tolist() == one.instance("bird").raw.tolist()


def test_a_save_goes_on_where_another_has_the_id_of_what_was_undone(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    one.add_instance("a.png", keypoints=POINTS, uid="seed")
    one.save()
    two.refresh()
    with one.transaction("add", origin="one"):
        one.add_instance("a.png", keypoints=POINTS, uid="bird")
    kp.write(one, tmp_path / "elsewhere.json")  # gives it an id
    one.undo(origin="one")
    two.add_instance("b.png", keypoints=POINTS, uid="another")
    two.save()
    one.save()
    one.redo(origin="one")
    one.save()
    again = opened(tmp_path)
    assert sorted((i.uid, i.id) for i in again.instances) == sorted(
        (i.uid, i.id) for i in one.instances
    )
    assert len({i.id for i in again.instances}) == 3


def test_an_id_that_two_have_given_is_of_the_one_whose_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    one.add_instance("a.png", keypoints=POINTS, uid="of one")
    two.add_instance("b.png", keypoints=POINTS, uid="of two")
    mark = store._mark

    def saved_meanwhile(*args: Any, **options: Any) -> None:  # after the last look at the file
        mark(*args, **options)
        monkeypatch.setattr(store, "_mark", mark)
        one.save()

    monkeypatch.setattr(store, "_mark", saved_meanwhile)
    two.save()
    again = opened(tmp_path)
    assert again.journal_problems == ()
    assert {i.uid: (i.id, i.image.index) for i in again.instances} == {
        "of one": (None, 0),
        "of two": (1, 1),
    }
    one.save()
    assert {i.uid: i.id for i in opened(tmp_path).instances} == {"of one": 2, "of two": 1}


def test_edits_of_a_save_that_failed_at_the_end_are_not_taken_for_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = opened(tmp_path)
    bird = one.add_instance("a.png", keypoints=POINTS, uid="bird")
    one.save()
    bird.set_keypoint("tail", 9, 9)

    def refused(source: Any, target: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(store, "_keep_previous", lambda *_: None)
        patch.setattr(os, "replace", refused)
        with pytest.raises(PermissionError):
            one.save()
    labels = tmp_path / "labels.json"
    labels.write_bytes(labels.read_bytes().replace(b"1.5", b"7.5"))  # an editor
    with pytest.raises(kp.ConflictError, match="never saved with"):
        opened(tmp_path)


def test_what_comes_back_with_an_id_that_another_had_meanwhile_is_itself(tmp_path: Path) -> None:
    kp.write(opened(tmp_path, journal=False), tmp_path / "labels.json")
    first = opened(tmp_path, journal=False)
    first.add_instance("a.png", keypoints=POINTS)
    first.save()
    one = opened(tmp_path)
    one.instance("coco:1").remove()
    one.save()
    two = opened(tmp_path)
    two.add_instance("b.png", keypoints=POINTS, uid="another")
    two.save()
    two.undo()
    two.undo()
    two.save()
    two.instance("coco:1").set_keypoint("tail", 9, 9)
    again = opened(tmp_path)
    assert again.journal_problems == ()
    assert again.instance("coco:1").raw.tolist() == two.instance("coco:1").raw.tolist()


def test_edits_of_a_save_that_a_kill_has_cut_off_are_not_taken_for_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = opened(tmp_path)
    bird = one.add_instance("a.png", keypoints=POINTS, uid="bird")
    one.save()
    bird.set_keypoint("tail", 9, 9)
    folder, then = tmp_path / "labels.kpwidget", tmp_path / "then"
    replace = os.replace

    def looked_at(source: Any, target: Any) -> None:
        if Path(target).name == "labels.json":  # what a kill in this moment would leave
            shutil.copytree(folder, then)
        replace(source, target)

    before = (tmp_path / "labels.json").read_bytes()
    monkeypatch.setattr(os, "replace", looked_at)
    one.save()
    monkeypatch.undo()
    one.recorder.journal.close()
    shutil.rmtree(folder)
    then.rename(folder)
    (tmp_path / "labels.json").write_bytes(before.replace(b"1.5", b"7.5"))  # an editor
    with pytest.raises(kp.ConflictError, match="never saved with"):
        opened(tmp_path)
    (tmp_path / "labels.json").write_bytes(before)
    assert opened(tmp_path).instance("bird").raw[2].tolist() == [9, 9, 2]


def test_two_notebooks_save_in_turn(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    one.add_instance("a.png", keypoints=POINTS, uid="of one")
    one.save()
    two.add_instance("b.png", keypoints=POINTS, uid="of two")
    two.save()
    assert sorted((i.uid, i.id) for i in two.instances) == [("of one", 1), ("of two", 2)]
    one.instance("of one").set_keypoint("tail", 9, 9)
    one.add_instance("a.png", keypoints=POINTS, uid="another")
    one.save()
    two.refresh()
    two.instance("of one").remove()
    two.save()
    written = json.loads((tmp_path / "labels.json").read_text())
    assert [a["id"] for a in written["annotations"]] == [2, 3]
    again = opened(tmp_path)
    assert sorted((i.uid, i.id) for i in again.instances) == [("another", 3), ("of two", 2)]
    assert again.is_saved
    one.refresh()
    assert {i.uid for i in one.instances} == {"another", "of two"}
    one.save()
    assert opened(tmp_path).is_saved


@pytest.mark.parametrize("seed", range(12))
def test_two_notebooks_that_edit_and_save_at_random_agree(seed: int, tmp_path: Path) -> None:
    generator = random.Random(seed)
    both = [opened(tmp_path), opened(tmp_path)]
    for n in range(30):
        i = generator.randrange(2)
        dataset = both[i]
        own = [bird for bird in dataset.instances if bird.uid.startswith(f"of {i}")]
        act = generator.choice(["add", "move", "remove", "save", "save", "refresh", "reopen"])
        if act == "add":
            dataset.add_instance(generator.randrange(2), keypoints=POINTS, uid=f"of {i}, {n}")
        elif act == "move" and own:
            generator.choice(own).set_keypoint("eye", n, seed)
        elif act == "remove" and own:
            generator.choice(own).remove()
        elif act == "save":
            dataset.save()
            numbers = [bird.id for bird in dataset.instances]
            assert len(set(numbers)) == len(numbers)
        elif act == "refresh":
            dataset.refresh()
        elif act == "reopen":
            both[i] = opened(tmp_path)
    for dataset in [*both, *both]:
        dataset.refresh()
        dataset.save()
    again = opened(tmp_path)

    def told(dataset: kp.Dataset) -> list[Any]:
        return sorted((b.uid, b.id, b.raw.tolist()) for b in dataset.instances)

    assert told(both[0]) == told(both[1]) == told(again)
    assert again.is_saved
    assert again.conflicts == []


def test_what_no_journal_tells_is_not_overwritten(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    one.add_instance("a.png", keypoints=POINTS)
    one.info = {"year": 2026}
    one.save()
    before = (tmp_path / "labels.json").read_bytes()
    two.add_instance("b.png", keypoints=POINTS)
    with pytest.raises(kp.ConflictError, match="Nothing was overwritten"):
        two.save()
    labels = tmp_path / "labels.json"
    assert labels.read_bytes() == before
    # Nor what an editor has written after the mark.
    two.info = one.info
    labels.write_bytes(before.replace(b"1.5", b"2.5"))
    with pytest.raises(kp.ConflictError):
        two.save()
    labels.write_bytes(before)
    two.save()
    assert len(opened(tmp_path).instances) == 2


def test_what_an_editor_has_changed_stays_though_a_third_notebook_has_opened_it(
    tmp_path: Path,
) -> None:
    one = opened(tmp_path)
    one.add_instance("a.png", keypoints=POINTS, uid="bird")
    one.save()
    labels = tmp_path / "labels.json"
    edited = labels.read_bytes().replace(b"1.5", b"7.5")
    labels.write_bytes(edited)
    three = opened(tmp_path)  # its journal knows the file from here on
    three.add_instance("b.png", keypoints=POINTS)
    one.add_instance("b.png", keypoints=POINTS)
    with pytest.raises(kp.ConflictError, match="Nothing was overwritten"):
        one.save()
    assert labels.read_bytes() == edited


def test_ids_given_by_a_save_that_failed_are_given_again(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    one.add_instance("a.png", keypoints=POINTS, uid="of one")
    two.add_instance("b.png", keypoints=POINTS, uid="of two")
    one.save()
    kp.write(two, tmp_path / "elsewhere.json")  # gives the same id to another instance
    assert [two.instance("of two").id, one.instance("of one").id] == [1, 1]
    report = store.save(two)
    assert "taken in: 1 edit of 1 instance by others" in str(report)
    assert sorted((i.uid, i.id) for i in two.instances) == [("of one", 1), ("of two", 2)]
    again = opened(tmp_path)
    assert sorted((i.uid, i.id) for i in again.instances) == [("of one", 1), ("of two", 2)]
    one.save()
    assert sorted((i.uid, i.id) for i in one.instances) == [("of one", 1), ("of two", 2)]


def test_a_step_that_cannot_be_put_in_place_is_not_saved_away(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    one.add_instance("a.png", keypoints=POINTS, uid="bird")
    one.save()
    two.refresh()
    two.instance("bird").remove()
    two.save()
    one.instance("bird").set_keypoint("tail", 9, 9)  # of an instance that is gone from the file
    with pytest.raises(kp.ConflictError, match="Nothing was overwritten"):
        one.save()


def test_values_that_two_have_changed_are_not_saved_unseen(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    one.add_instance("a.png", keypoints=POINTS, uid="bird")
    one.save()
    two.refresh()
    one.instance("bird").set_keypoint("tail", 9, 9)
    two.instance("bird").set_keypoint("tail", 8, 8)
    one.save()
    with pytest.raises(kp.ConflictError, match="Nothing was overwritten"):
        two.save()
    two.refresh()
    assert len(two.conflicts) == 1
    two.resolve(two.conflicts[0], take="other")
    two.save()
    assert opened(tmp_path).instance("bird").raw[2].tolist() == [9, 9, 2]


def test_two_that_begin_a_file_at_once(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    assert not (tmp_path / "labels.json").exists()
    two.add_instance("b.png", keypoints=POINTS, uid="of two")
    one.add_instance("a.png", keypoints=POINTS, uid="of one")
    one.save()
    heard: list[bool] = []
    two.on_change(lambda change: heard.append(two.lock._is_owned()))
    two.save()
    assert heard == [False]  # callbacks run without the lock
    assert {i.uid for i in opened(tmp_path).instances} == {"of one", "of two"}


def test_refresh_brings_what_another_notebook_has_done(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    heard = []
    two.on_change(lambda change: heard.append((change.kind, change.label)))
    bird = one.add_instance("a.png", keypoints=POINTS, uid="bird")
    bird.set_keypoint("tail", 9, 9)
    assert two.refresh() == "2 edits of 1 instance by others"
    assert heard == [("edit", "add bird"), ("edit", "place tail")]
    assert said(two) == said(one)
    assert two.refresh() == ""
    two.undo()  # somebody else's step; the journal says so to both
    assert one.refresh() == "1 edit of 1 instance by others"
    assert one.instance("bird").raw.tolist() == POINTS
    one.redo()
    two.refresh()
    assert said(two) == said(one) == said(opened(tmp_path))


def test_later_value_wins_wherever_it_is_seen_first(tmp_path: Path) -> None:
    opened(tmp_path).add_instance("a.png", keypoints=POINTS, uid="bird")
    one, two = opened(tmp_path), opened(tmp_path)
    one.instance("bird").set_keypoint("eye", 5, 5)
    time.sleep(0.01)
    two.instance("bird").set_keypoint("eye", 6, 6)
    one.refresh()
    two.refresh()
    third = opened(tmp_path)
    for dataset in (one, two, third):
        assert dataset.instance("bird").raw[1].tolist() == [6, 6, 2]
        [conflict] = dataset.conflicts
        assert (conflict.kept, conflict.other) == ((6, 6, 2), (5, 5, 2))


def test_history_says_who_did_what_when(tmp_path: Path) -> None:
    dataset = opened(tmp_path)
    bird = dataset.add_instance("a.png", keypoints=POINTS, uid="bird")
    bird.set_keypoint("tail", 9, 9.5)
    dataset.undo()
    dataset.images["b.png"].set_status("done")
    table = opened(tmp_path).history()
    assert table["kind"].tolist() == ["edit", "edit", "undo", "edit"]
    assert table["what"].tolist() == ["instance", "keypoint", "keypoint", "status"]
    assert table["keypoint"].tolist()[1:3] == ["tail", "tail"]
    assert table["after"].tolist()[1:] == [[9, 9.5, 2], None, True]
    assert table["before"].tolist()[2] == [9, 9.5, 2]
    assert table["image"].tolist() == ["a.png", "a.png", "a.png", "b.png"]
    assert set(table["annotator"]) == {"anna"}
    assert table["source"].tolist()[0] == "human"
    assert np.isnan(table["seconds"][0])
    assert (table["seconds"][1:] < 5).all()
    assert abs(table["time"][0].timestamp() - time.time()) < 60
    with pytest.raises(ValueError, match="this dataset has no journal: open its file with kp.open"):
        kp.Dataset.from_images(IMAGES, SCHEMA).history()


# --- damage -------------------------------------------------------------------------------------


def filled(folder: Path, n: int = 30) -> kp.Dataset:
    dataset = opened(folder)
    bird = dataset.add_instance("a.png", keypoints=POINTS, uid="bird")
    for i in range(n):
        bird.set_keypoint("beak", i, i)
    return dataset


def test_damaged_journals_open_with_every_intact_line(tmp_path: Path) -> None:
    filled(tmp_path)
    [log] = logs(tmp_path)
    good = log.read_bytes()
    lines = good.split(b"\n")
    generator = random.Random(4)
    n_read = n_told = 0
    for _ in range(200):
        data = bytearray(good)
        if generator.random() < 0.5:
            del data[generator.randrange(len(data)) :]
            intact = data.count(b"\n")
            # A line without its end is whole if only that is missing.
            rest = bytes(data).split(b"\n")[-1]
            intact += rest == lines[intact] and rest != b""
            bad = 0
        else:
            place = generator.randrange(len(data) - 1)
            data[place] ^= 1 << generator.randrange(8)
            bad = 1 if b"\n" not in (good[place : place + 1], bytes(data[place : place + 1])) else 2
            intact = len(lines) - 1 - bad
        log.write_bytes(bytes(data))
        entries, problems = read_logs(tmp_path / "labels.kpwidget")
        written = {json.dumps(json.loads(line[9:]), sort_keys=True) for line in lines if line}
        found = [json.dumps(dict(entry.content), sort_keys=True) for entry in entries]
        # Never a line that was not written, and no intact one is missing.
        assert set(found) <= written
        if bad < 2:
            assert len(found) == intact
        assert bool(problems) == bool(bad) or place == 0
        opened(tmp_path)
        n_read, n_told = n_read + len(found), n_told + len(problems)
    print(f"200 damaged journals opened: {n_read} intact lines read, {n_told} faults named")


def test_damaged_line_is_named_and_what_rests_on_it_flagged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(tmp_path, 3)
    [log] = logs(tmp_path)
    lines = log.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b"bird", b"bir?")  # the one that adds the instance
    log.write_bytes(b"\n".join(lines))
    dataset = opened(tmp_path)
    assert len(dataset.instances) == 0
    first, *rest = dataset.journal_problems
    assert first == f"{log}: line 2 is damaged and was skipped"
    assert len([p for p in rest if "bird" in p]) == 3
    assert "entries could not be used" in capsys.readouterr().out


def test_missing_lines_are_told(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    [log] = logs(tmp_path)
    lines = log.read_bytes().split(b"\n")
    log.write_bytes(b"\n".join([*lines[:2], *lines[3:]]))
    _, problems = read_logs(log.parent)
    assert problems == [f"{log}: line 3: 1 entries before it are missing"]


# --- disks that fail ----------------------------------------------------------------------------


def test_disk_that_fails_leaves_the_edit_in_memory_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = opened(tmp_path)
    bird = dataset.add_instance("a.png", keypoints=POINTS)
    write = os.write

    room = [40]

    def half(descriptor: int, data: Any) -> int:
        n, room[0] = room[0], 0
        if n:
            return write(descriptor, bytes(data[:n]))
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        bird.set_keypoint("tail", 9, 9)
        error = dataset.recorder.journal.error
        assert "No space left on device" in error
        bird.set_keypoint("tail", 10, 10)
    assert bird.keypoints[2].tolist() == [10, 10, 2]
    assert opened(tmp_path).instances[0].raw.tolist() == POINTS
    bird.set_keypoint("beak", 5, 5)
    assert dataset.recorder.journal.error is None
    again = opened(tmp_path)
    assert said(again) == said(dataset)
    # The half lines are there, and told.
    assert again.journal_problems


def test_folder_that_vanishes_is_made_again(tmp_path: Path) -> None:
    dataset = opened(tmp_path)
    bird = dataset.add_instance("a.png", keypoints=POINTS)
    [log] = logs(tmp_path)
    log.unlink()
    log.parent.rmdir()
    bird.set_keypoint("tail", 9, 9)
    assert dataset.recorder.journal.error is None
    assert len(logs(tmp_path)) == 1


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "labels.kpwidget").write_text("in the way")
    dataset = opened(tmp_path)
    dataset.add_instance("a.png", keypoints=POINTS)
    assert str(tmp_path / "labels.kpwidget") in dataset.recorder.journal.error
    widget = Annotator(dataset, journal=False)
    assert widget.scene["saved"] == {"state": "failed", "text": "in memory only"}
    widget.close()


def test_entry_is_small_and_written_at_once(tmp_path: Path) -> None:
    dataset = filled(tmp_path, 50)
    [log] = logs(tmp_path)
    assert log.stat().st_size / 51 <= 500
    with dataset.transaction("many"):
        for i in range(10):
            dataset.instances[0].set_keypoint("tail", i, i)
        before = log.stat().st_size
    assert log.stat().st_size > before  # one write for the whole


def test_clocks_of_later_entries_are_later(tmp_path: Path) -> None:
    ahead = Journal(tmp_path, after=(int(time.time() * 1000) + 10**6) << 16)
    ahead.append("edit", {})
    ahead.append("edit", {})
    ahead.flush()
    entries, problems = read_logs(tmp_path)
    assert [entry.n for entry in entries] == [1, 2]
    assert entries[0].order < entries[1].order
    assert problems == []
    ahead.close()


# --- kills --------------------------------------------------------------------------------------

SCRIPT = """
import sys, numpy as np
import kpwidget as kp
folder, seed = sys.argv[1], int(sys.argv[2])
generator = np.random.default_rng(seed)
images = {"a.png": np.zeros((48, 64)), "b.png": np.zeros((48, 64))}
ds = kp.open(folder + "/labels.json", images, kp.Schema("bird", ["beak", "eye", "tail"], [(1, 2)]))
bird = ds.add_instance(0, keypoints=[[1, 1, 2], [2, 2, 2], [3, 3, 2]])
print("start", bird.uid, flush=True)
for i in range(100000):
    bird.set_keypoint(int(generator.integers(3)), i, seed)
    print("done", i, flush=True)  # acknowledged
    if i % 40 == 39:
        ds.save()
"""


@pytest.mark.parametrize("n_writers", [1, 2])
def test_kill_at_any_moment_loses_no_acknowledged_edit(tmp_path: Path, n_writers: int) -> None:
    kills = int(os.environ.get("KPWIDGET_KILLS", "12")) // n_writers
    generator = random.Random(n_writers)
    lost = n_acknowledged = 0
    for kill in range(kills):
        folder = tmp_path / str(kill)
        folder.mkdir()
        script = SCRIPT if n_writers == 1 else SCRIPT.replace("ds.save()", "pass")
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", script, str(folder), str(writer + 1)],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(Path(kp.__file__).resolve().parents[1])},
            )
            for writer in range(n_writers)
        ]
        stop_after = generator.randrange(1, 120)
        acknowledged = []
        for process in processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("start"):  # that something of the other was restored
                line = process.stdout.readline()
            uid = line.split()[1]
            last = -1
            for line in process.stdout:
                last = int(line.split()[1])
                if last >= stop_after:
                    break
            acknowledged.append((process, uid, last))
        time.sleep(generator.random() * 0.003)
        for process in processes:
            process.send_signal(signal.SIGKILL)
        for i, (process, uid, last) in enumerate(acknowledged):
            assert process.stdout is not None
            for line in process.stdout:  # what it had said before it was killed
                if line.startswith("done") and line.endswith("\n"):
                    last = int(line.split()[1])
            process.wait()
            process.stdout.close()
            acknowledged[i] = (process, uid, last)
        dataset = kp.open(folder / "labels.json", IMAGES, SCHEMA)
        assert dataset.journal_problems == ()
        for writer, (_, uid, last) in enumerate(acknowledged):
            points = dataset.instance(uid).raw
            # Edit i has put i into x; the last one acknowledged is there, or one after it.
            lost += int(points[:, 0].max() < last)
            assert set(points[:, 1]) <= {1.0, 2.0, 3.0, float(writer + 1)}
            n_acknowledged += last + 1
    print(
        f"{kills} kills with {n_writers} writing at once survived: "
        f"{n_acknowledged} acknowledged edits, {lost} writers lost some"
    )
    assert lost == 0


# --- any sequence -------------------------------------------------------------------------------


class AnySequence(RuleBasedStateMachine):
    """Dataset with a journal against a dataset that lives in memory and never ends."""

    @initialize(is_large=st.booleans())
    def begin(self, is_large: bool) -> None:
        store._SOON_HASHED = 0 if is_large else 32_000_000
        self.folder = Path(tempfile.mkdtemp(dir=os.environ["KPWIDGET_TEST_FOLDER"]))
        self.model = kp.Dataset.from_images(IMAGES, SCHEMA, annotator="anna")
        self.name = "labels.json"
        self.dataset = opened(self.folder)
        self.n = 0

    def both(self, act: Any) -> None:
        results = []
        for dataset in (self.model, self.dataset):
            try:
                results.append(act(dataset))
            except (KeyError, IndexError) as error:
                results.append(type(error))
        one, other = results
        assert (one is None) == (other is None)

    @rule(image=st.integers(0, 1), finished=st.booleans())
    def add(self, image: int, finished: bool) -> None:
        self.n += 1
        uid = f"i{self.n}"
        self.both(
            lambda ds: ds.add_instance(image, keypoints=POINTS, uid=uid, is_finished=finished)
        )

    @rule(i=st.integers(0, 5), k=st.integers(0, 2), x=st.floats(-5, 70), v=st.integers(0, 2))
    def move(self, i: int, k: int, x: float, v: int) -> None:
        self.both(lambda ds: ds.instance(f"i{i}").set_keypoint(k, x, 2.5, visibility=v))

    @rule(i=st.integers(0, 5))
    def remove(self, i: int) -> None:
        self.both(lambda ds: ds.instance(f"i{i}").remove())

    @rule(image=st.integers(0, 1), i=st.integers(0, 5), fails=st.booleans())
    def several(self, image: int, i: int, fails: bool) -> None:
        self.n += 1
        uid = f"i{self.n}"

        def act(ds: kp.Dataset) -> None:
            with ds.transaction("several"):
                made = ds.add_instance(image, uid=uid, is_finished=False)
                made.set_keypoint("eye", 5, 6)
                made.set_finished(True)
                ds.instance(f"i{i}").set_keypoint("beak", 7, 8)
                ds.images[image].set_status("done")
                if fails:
                    raise KeyError("taken back")

        self.both(act)

    @rule(i=st.integers(0, 5), box=st.sampled_from([None, (1, 2, 3, 4)]))
    def draw(self, i: int, box: Any) -> None:
        self.both(lambda ds: ds.instance(f"i{i}").set_bbox(box))

    @rule(i=st.integers(0, 5), finished=st.booleans())
    def finish(self, i: int, finished: bool) -> None:
        self.both(lambda ds: ds.instance(f"i{i}").set_finished(finished))

    @rule(image=st.integers(0, 1), status=st.sampled_from(["done", "started"]))
    def mark(self, image: int, status: str) -> None:
        self.both(lambda ds: ds.images[image].set_status(status))

    @rule()
    def undo(self) -> None:
        self.both(lambda ds: ds.undo())

    @rule()
    def redo(self) -> None:
        self.both(lambda ds: ds.redo())

    @rule()
    def save(self) -> None:
        self.dataset.save()

    @rule()
    def save_under_another_name(self) -> None:
        self.n += 1
        self.name = f"labels {self.n}.json"
        self.dataset.save(self.folder / self.name)

    @rule(is_live=st.booleans())
    def compact(self, is_live: bool) -> None:  # also logs that are still written to
        journal = self.dataset.recorder.journal
        compact(journal.folder, "" if is_live else journal.writer, older_than=-1)

    @rule()
    def reopen(self) -> None:  # a crash is no different: nothing is done when a kernel ends
        self.dataset = kp.open(self.folder / self.name, IMAGES, SCHEMA, annotator="anna")
        assert self.dataset.journal_problems == ()

    @invariant()
    def same(self) -> None:
        if hasattr(self, "model"):
            one, other = said(self.model), said(self.dataset)
            assert one[0] == other[0]
            # The order in the list and the ids are the file's.
            assert sorted(i[:-1] for i in one[1]) == sorted(i[:-1] for i in other[1])


def test_any_sequence_of_edits_saves_and_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPWIDGET_TEST_FOLDER", str(tmp_path))
    monkeypatch.setattr(store, "_SOON_HASHED", 0)  # each sequence sets it
    AnySequence.TestCase.settings = settings(
        max_examples=40,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    AnySequence.TestCase().runTest()


def test_journal_module_is_reached_by_the_store_alone() -> None:
    assert store.journal_folder(Path("x/labels.json")) == Path("x/labels.kpwidget")
