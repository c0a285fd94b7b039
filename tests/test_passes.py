"""Second opinions: matched, kept in the journal, out of labels files, undone, mapped by name."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kpwidget as kp
from kpwidget import history, store
from kpwidget.dataset import PassReport
from kpwidget.dataset.passes import Opinion
from tests.killing import last_acknowledged

SCHEMA = kp.Schema("bird", ["beak", "eye", "tail"], [(1, 2), (2, 3)])
IMAGES = {name: np.zeros((60, 80)) for name in ("a.png", "b.png", "c.png")}
POINTS = np.array([[10, 10, 2], [20, 15, 1], [40, 30, 2]], float)


def labels(annotator: str = "anna") -> kp.Dataset:
    """One bird in the first image, two in the second."""
    dataset = kp.Dataset.from_images(IMAGES, SCHEMA, annotator=annotator)
    dataset.add_instance("a.png", keypoints=POINTS, uid="one")
    dataset.add_instance("b.png", keypoints=POINTS, uid="two")
    dataset.add_instance("b.png", keypoints=POINTS + np.array((35, 25, 0)), uid="three")
    return dataset


def moved(by: float) -> np.ndarray:
    return POINTS + np.array((by, 0, 0))


def second(dataset: kp.Dataset) -> kp.Dataset:
    """Labels of the first two images by ben: 1 px off, one bird too many, one not found."""
    again = dataset.start_pass("second", annotator="ben")
    again.add_instance("a.png", keypoints=moved(1), uid="x")
    again.add_instance("b.png", keypoints=POINTS + np.array((36, 25, 0)), uid="y")
    again.add_instance("b.png", keypoints=POINTS * (0.3, 0.3, 1) + np.array((0, 40, 0)), uid="z")
    return again


def said(dataset: kp.Dataset) -> list[Any]:
    return [(o.uid, o.name, o.annotator, o.keypoints().tolist()) for o in dataset.passes]


def test_a_pass_begins_blind() -> None:
    dataset = labels()
    dataset.images["c.png"].set_status("done")
    blind = dataset.start_pass("second", annotator="ben")
    assert [image.file_name for image in blind.images] == list(IMAGES)
    assert blind.categories == dataset.categories
    assert (len(blind.instances), blind.n_done, blind.annotator) == (0, 0, "ben")
    assert [image.status for image in blind.images] == ["unlabeled"] * 3
    blind.add_instance("a.png", keypoints=POINTS)
    assert len(dataset.instances) == 3
    assert dataset.images["c.png"].status == "done"


def test_labels_become_opinions_and_what_has_no_counterpart_is_reported() -> None:
    dataset = labels()
    report = dataset.add_pass(second(dataset), "second")
    assert report == PassReport("second", 2, 0, 0, 0, ("two",), ("z",), ())
    assert str(report) == (
        "pass 'second': 2 added\n"
        "1 instance here without a counterpart there: 'two'\n"
        "1 instance there without a counterpart here, not kept: 'z'"
    )
    assert said(dataset) == [
        ("one", "second", "ben", moved(1).tolist()),
        ("three", "second", "ben", (POINTS + np.array((36, 25, 0))).tolist()),
    ]
    assert [i.uid for i in dataset.instances] == ["one", "two", "three"]
    assert np.array_equal(dataset.instance("one").keypoints, POINTS)
    assert repr(dataset.passes) == "<passes: 'second': 2 instances>"
    table = dataset.passes.to_pandas()
    assert table[["uid", "image", "name", "annotator", "n_labeled"]].values.tolist() == [
        ["one", "a.png", "second", "ben", 3],
        ["three", "b.png", "second", "ben", 3],
    ]


def test_an_image_that_nobody_has_looked_at_is_not_unmatched_but_one_that_is_done_is() -> None:
    dataset = labels()
    again = dataset.start_pass("second", annotator="ben")
    assert dataset.add_pass(again, "second").unmatched == ()
    again.images["a.png"].set_status("done")
    assert dataset.add_pass(again, "second").unmatched == ("one",)


def test_a_pass_is_brought_back_again_and_again() -> None:
    dataset = labels()
    again = second(dataset)
    dataset.add_pass(again, "second")
    before = said(dataset)
    n_steps = len(dataset._history.steps())
    report = dataset.add_pass(again, "second")
    assert (report.n_added, report.n_changed, report.n_same) == (0, 0, 2)
    assert len(dataset._history.steps()) == n_steps  # nothing was done
    again.instance("x").set_keypoint("beak", 12, 10)
    again.instance("y").remove()
    report = dataset.add_pass(again, "second")
    assert (report.n_changed, report.n_removed) == (1, 1)
    assert [o[0] for o in said(dataset)] == ["one"]
    dataset.undo()
    assert said(dataset) == before


def test_undo_redo_and_removal() -> None:
    dataset = labels()
    dataset.add_pass(second(dataset), "second")
    before = said(dataset)
    dataset.undo()
    assert len(dataset.passes) == 0
    dataset.redo()
    assert said(dataset) == before
    assert dataset.remove_pass("second") == 2
    assert dataset.passes.names == []
    dataset.undo()
    assert said(dataset) == before
    with pytest.raises(KeyError, match="there is no pass 'third'; there are 'second'"):
        dataset.remove_pass("third")


def test_opinions_leave_and_come_back_with_their_instance() -> None:
    dataset = labels()
    dataset.add_pass(second(dataset), "second")
    before = said(dataset)
    dataset.instance("one").remove()
    assert [o[0] for o in said(dataset)] == ["three"]
    dataset.undo()
    assert said(dataset) == before


def test_two_passes_stand_side_by_side() -> None:
    dataset = labels()
    dataset.add_pass(second(dataset), "second")
    dataset.add_pass(second(dataset), "third", annotator="cleo")
    assert [(o.uid, o.name, o.annotator) for o in dataset.passes] == [
        ("one", "second", "ben"),
        ("one", "third", "cleo"),
        ("three", "second", "ben"),
        ("three", "third", "cleo"),
    ]


def test_a_pass_of_somebody_else_is_not_overwritten() -> None:
    dataset = labels()
    dataset.add_pass(second(dataset), "second")
    with pytest.raises(ValueError, match=r"has labels of 'ben' on 2 of these.*remove_pass"):
        dataset.add_pass(second(dataset), "second", annotator="cleo")
    assert {o.annotator for o in dataset.passes} == {"ben"}


def test_what_somebody_else_says_of_another_instance_of_an_image_stays() -> None:
    dataset = labels()
    for who, by in (("ben", 0), ("carl", 35)):
        again = dataset.start_pass("second", annotator=who)
        bird = again.add_instance("b.png", keypoints=POINTS + np.array((by, by and 25, 0)))
        assert dataset.add_pass(again, "second").n_removed == 0
    assert [o[:3] for o in said(dataset)] == [("two", "second", "ben"), ("three", "second", "carl")]
    bird.remove()
    again.images["b.png"].set_status("done")
    assert dataset.add_pass(again, "second").n_removed == 1
    assert [o[:3] for o in said(dataset)] == [("two", "second", "ben")]


def test_a_colleagues_file_with_its_keypoints_in_another_order(tmp_path: Path) -> None:
    dataset = labels()
    other = kp.Dataset.from_images(
        {"a.png": IMAGES["a.png"], "elsewhere.png": IMAGES["a.png"]},
        kp.Schema("vogel", ["tail", "beak", "eye"], []),
    )
    other.add_instance("a.png", keypoints=moved(2)[[2, 0, 1]])
    other.add_instance("elsewhere.png", keypoints=moved(2)[[2, 0, 1]])
    kp.write(other, tmp_path / "ben.json")
    read = kp.read(tmp_path / "ben.json")
    with pytest.raises(ValueError, match=r"does not say who made it; pass annotator='\.\.\.'"):
        dataset.add_pass(read, "ben")
    report = dataset.add_pass(read, "ben", annotator="ben")
    assert report.n_added == 1
    assert report.missing_images == ("elsewhere.png",)
    assert len(report.unmatched_other) == 1
    assert np.array_equal(dataset.passes[0].keypoints(SCHEMA.keypoints), moved(2))


def test_other_schemas_are_refused_by_name() -> None:
    dataset = labels()
    other = kp.Dataset.from_images(IMAGES, kp.Schema("bird", ["beak", "eye", "wing"]))
    other.add_instance("a.png", keypoints=POINTS)
    with pytest.raises(ValueError, match="'bird' there lacks 'tail' and has 'wing' besides"):
        dataset.add_pass(other, "second")
    other = kp.Dataset.from_images(IMAGES, [kp.Schema("fish", ["beak"]), kp.Schema("cat", ["eye"])])
    other.add_instance("a.png", "fish", keypoints=[(1, 1)])
    with pytest.raises(ValueError, match="there is no category 'fish' here"):
        dataset.add_pass(other, "second")
    assert len(dataset.passes) == 0


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 101, None, 3])
def test_names_that_are_none_are_refused(name: Any) -> None:
    dataset = labels()
    with pytest.raises(ValueError, match="the name of a pass is a text of 1 to 100 characters"):
        dataset.start_pass(name)
    with pytest.raises(ValueError, match="the name of a pass"):
        dataset.add_pass(labels("ben"), name)


def test_a_dataset_is_no_opinion_on_itself() -> None:
    dataset = labels()
    with pytest.raises(ValueError, match="no second opinion on itself"):
        dataset.add_pass(dataset, "second")


def test_a_pass_is_written_only_when_asked_for(tmp_path: Path) -> None:
    dataset = labels()
    kp.write(dataset, tmp_path / "before.json")
    dataset.add_pass(second(dataset), "second")
    report = kp.write(dataset, tmp_path / "after.json")
    assert (tmp_path / "after.json").read_bytes() == (tmp_path / "before.json").read_bytes()
    assert "2 second opinions not written: ds.passes.labels(name) makes" in str(report)
    kp.write(dataset.passes.labels("second"), tmp_path / "second.json")
    content = json.loads((tmp_path / "second.json").read_text())
    found = [a["keypoints"] for a in content["annotations"]]
    assert found == [moved(1).ravel().tolist(), (POINTS + np.array((36, 25, 0))).ravel().tolist()]
    with pytest.raises(KeyError, match="there is no pass 'x'"):
        dataset.passes.labels("x")


def test_a_save_without_a_journal_says_that_passes_stay_behind(tmp_path: Path) -> None:
    dataset = labels()
    dataset.add_pass(second(dataset), "second")
    report = store.save(dataset, tmp_path / "labels.json")
    assert report.notes == ("second opinions are in memory only: this dataset has no journal",)


def test_copies_and_parts_keep_the_opinions_on_what_they_have() -> None:
    dataset = labels()
    dataset.add_pass(second(dataset), "second")
    assert said(dataset.select().copy()) == said(dataset)
    parts = dataset.split({"x": ["a.png"], "y": "rest"})
    assert [o.uid for o in parts["x"].passes] == ["one"]
    assert [o.uid for o in parts["y"].passes] == ["three"]


def test_what_is_merged_brings_its_opinions_under_its_new_uid() -> None:
    dataset = labels()
    other = labels("cleo")
    other.instance("one").set_keypoint("tail", 48, 30)
    other.add_pass(second(other), "second")
    report = dataset.merge(other, on_conflict="both")
    [added] = report.uids.values()
    assert said(dataset) == [(added, "second", "ben", moved(1).tolist())]
    dataset.undo()
    assert said(dataset) == []


def test_opinions_are_mapped_by_name_to_the_schema_of_now() -> None:
    dataset = labels()
    dataset.add_pass(second(dataset), "second")
    opinion = dataset.passes[0]
    found = opinion.keypoints(["tail", "wing", "beak"])
    assert found[[0, 2]].tolist() == moved(1)[[2, 0]].tolist()
    assert np.isnan(found[1, :2]).all()
    assert found[1, 2] == 0


# --- in the journal -----------------------------------------------------------------------------


def opened(folder: Path) -> kp.Dataset:
    return kp.open(folder / "labels.json", IMAGES, SCHEMA, annotator="anna")


def started(folder: Path) -> kp.Dataset:
    """A dataset in a file, saved, with a pass that came after."""
    dataset = opened(folder)
    dataset.add_instance("a.png", keypoints=POINTS, uid="one")
    dataset.add_instance("b.png", keypoints=POINTS + np.array((35, 25, 0)), uid="three")
    dataset.save()
    again = dataset.start_pass("second", annotator="ben")
    again.add_instance("a.png", keypoints=moved(1))
    again.add_instance("b.png", keypoints=POINTS + np.array((36, 25, 0)))
    dataset.add_pass(again, "second")
    return dataset


def test_passes_survive_reopening_and_saving(tmp_path: Path) -> None:
    dataset = started(tmp_path)
    before = said(dataset)
    assert len(before) == 2
    again = opened(tmp_path)
    assert said(again) == before
    again.save()
    # From now on the file covers the steps in the journal.
    last = opened(tmp_path)
    assert said(last) == before
    assert last.is_saved
    last.undo()
    assert said(last) == []
    assert said(opened(tmp_path)) == []


def test_a_removed_pass_does_not_come_back(tmp_path: Path) -> None:
    dataset = started(tmp_path)
    dataset.remove_pass("second")
    dataset.save()
    again = opened(tmp_path)
    assert said(again) == []
    again.undo()
    assert len(said(again)) == 2


def test_passes_survive_a_file_that_somebody_else_has_changed(tmp_path: Path) -> None:
    dataset = started(tmp_path)
    before = said(dataset)
    dataset.save()
    path = tmp_path / "labels.json"
    content = json.loads(path.read_text())
    content["info"] = {"by": "another program"}
    path.write_text(json.dumps(content))
    again = opened(tmp_path)
    uids = [instance.uid for instance in again.instances]
    assert [o[2:] for o in said(again)] == [o[2:] for o in before], uids


def change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Let another program change the labels file."""
    path = folder / "labels.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_passes_are_still_there_when_a_changed_file_is_opened_once_more(tmp_path: Path) -> None:
    dataset = started(tmp_path)
    before = said(dataset)
    dataset.save()
    change(tmp_path, lambda content: content.update(info={"by": "another program"}))
    again = opened(tmp_path)
    again.instance("one").set_keypoint("beak", 5, 5)
    for _ in range(2):
        again = opened(tmp_path)
        assert said(again) == before
        assert again.journal_problems == ()
        again.save()
    again.undo()
    again.undo()  # the pass itself: what came before it is no history of this file
    for _ in range(2):
        assert said(opened(tmp_path)) == []


def test_passes_of_a_step_that_did_more_survive_a_changed_file(tmp_path: Path) -> None:
    dataset = opened(tmp_path)
    dataset.add_instance("a.png", keypoints=POINTS, uid="one")
    again = dataset.start_pass("second", annotator="ben")
    again.add_instance("a.png", keypoints=moved(1))
    with dataset.transaction("all"):
        dataset.add_pass(again, "second")
        dataset.instance("one").set_finished(False)
    dataset.save()
    before = said(dataset)
    change(tmp_path, lambda content: content.update(info={"by": "another program"}))
    assert said(opened(tmp_path)) == before


@pytest.mark.parametrize("gone", ["a.png", "b.png"])
def test_an_image_that_is_gone_takes_along_its_opinions_alone(tmp_path: Path, gone: str) -> None:
    dataset = started(tmp_path)
    left = [o for o in said(dataset) if o[0] != {"a.png": "one", "b.png": "three"}[gone]]
    dataset.save()

    def remove(content: dict[str, Any]) -> None:
        images = {i["id"]: i["file_name"] for i in content["images"]}
        content["images"] = [i for i in content["images"] if i["file_name"] != gone]
        annotations = content["annotations"]
        content["annotations"] = [a for a in annotations if images[a["image_id"]] != gone]

    change(tmp_path, remove)
    again = opened(tmp_path)
    assert said(again) == left
    [problem] = again.journal_problems
    assert f"in image '{gone}': there is no such image any more" in problem
    assert "pass 'second' of instance" in problem


def test_an_opinion_is_not_put_on_an_instance_that_was_given_its_number(tmp_path: Path) -> None:
    dataset = started(tmp_path)
    dataset.save()

    def renumber(content: dict[str, Any]) -> None:
        ids = [annotation["id"] for annotation in content["annotations"]]
        for annotation, number in zip(content["annotations"], reversed(ids), strict=True):
            annotation["id"] = number

    change(tmp_path, renumber)
    again = opened(tmp_path)
    assert said(again) == []
    problems = "; ".join(again.journal_problems)
    assert "instance 'one' in image 'a.png': it is in image 'b.png' now" in problems
    assert "instance 'three' in image 'b.png': it is in image 'a.png' now" in problems


def test_passes_move_with_the_file_also_when_they_are_too_old_to_be_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_STEPS", 3)
    dataset = started(tmp_path)
    before = said(dataset)
    dataset.images["c.png"].set_status("done")
    dataset.instance("one").set_finished(False)
    for x in range(5):
        dataset.instance("one").set_keypoint("beak", x, 1)
    dataset.add_instance("c.png", keypoints=POINTS, uid="four").set_finished(False)
    (tmp_path / "other").mkdir()
    dataset.save(tmp_path / "other" / "labels.json")
    again = opened(tmp_path / "other")
    assert said(again) == before
    assert again.journal_problems == ()
    # What else no labels file has goes along.
    assert [image.status for image in again.images] == ["started", "started", "done"]
    assert {i.uid: i.is_finished for i in again.instances} == {
        "one": False, "three": True, "four": False,
    }  # fmt: skip
    again.undo()
    again.undo()
    assert [i.uid for i in again.instances] == ["one", "three"]


def test_a_copy_has_its_passes_in_its_journal(tmp_path: Path) -> None:
    whole = labels()
    whole.add_pass(second(whole), "second")
    for _ in range(2):  # the cells run twice
        copy = whole.select().copy()
        store.attach_journal(copy, tmp_path / "labels.kpwidget")
        assert (copy.conflicts, len(copy.history())) == ([], 2)
    copy.save(tmp_path / "labels.json")
    again = opened(tmp_path)
    assert said(again) == said(whole)
    again.remove_pass("second")
    assert said(opened(tmp_path)) == []


def test_to_open_a_file_with_old_passes_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_STEPS", 3)
    dataset = started(tmp_path)
    for x in range(5):
        dataset.instance("one").set_keypoint("beak", x, 1)
    dataset.save()
    logs = sorted((tmp_path / "labels.kpwidget").iterdir())
    assert said(opened(tmp_path)) == said(dataset)
    assert sorted((tmp_path / "labels.kpwidget").iterdir()) == logs


def test_a_pass_stays_with_the_dataset_that_another_is_saved_over(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    started(tmp_path).save()
    other = kp.open(tmp_path / "other.json", IMAGES, SCHEMA)
    other.add_instance("a.png", keypoints=POINTS, uid="one")
    other.save(path)
    for by in ("nobody", "another program"):
        if by != "nobody":
            change(tmp_path, lambda content: content.update(info={"by": "another program"}))
        again = opened(tmp_path)
        assert len(again.instances) == 1
        assert said(again) == []


def test_another_notebook_is_told(tmp_path: Path) -> None:
    dataset = started(tmp_path)
    other = opened(tmp_path)
    dataset.remove_pass("second")
    assert len(said(other)) == 2
    other.refresh()
    assert said(other) == []


def test_two_who_add_the_same_pass_differently_are_asked(tmp_path: Path) -> None:
    dataset = opened(tmp_path)
    dataset.add_instance("a.png", keypoints=POINTS, uid="one")
    dataset.save()
    other = opened(tmp_path)
    for one, by in ((dataset, 1), (other, 2)):
        again = one.start_pass("second", annotator="ben")
        again.add_instance("a.png", keypoints=moved(by))
        one.add_pass(again, "second")
    dataset.refresh()
    [conflict] = dataset.conflicts
    assert (conflict.what, conflict.instance, conflict.keypoint) == ("pass", "one", None)
    assert dataset.passes[0].keypoints()[0, 0] == 12  # the later one is in force
    dataset.resolve(conflict, take="other")
    assert dataset.passes[0].keypoints()[0, 0] == 11
    dataset.save()
    again = opened(tmp_path)
    assert again.conflicts == []
    assert again.passes[0].keypoints()[0, 0] == 11


@pytest.mark.parametrize("decides", [0, 1])
def test_nobody_is_asked_twice_about_a_pass(tmp_path: Path, decides: int) -> None:
    both = [started(tmp_path), opened(tmp_path)]
    for by, one in enumerate(both):
        again = one.start_pass("third", annotator="ben")
        again.add_instance("a.png", keypoints=moved(by))
        one.add_pass(again, "third")
    both[decides].refresh()
    [conflict] = both[decides].conflicts
    both[decides].resolve(conflict, take="kept")
    both[1 - decides].refresh()
    assert both[1 - decides].conflicts == []
    assert opened(tmp_path).conflicts == []


def test_a_change_of_a_pass_that_another_has_removed_moves_to_another_file(tmp_path: Path) -> None:
    dataset = started(tmp_path)
    other = opened(tmp_path)
    again = dataset.start_pass("second", annotator="ben")
    again.add_instance("a.png", keypoints=moved(2))
    dataset.add_pass(again, "second")
    other.remove_pass("second")
    other.refresh()
    [conflict] = other.conflicts
    other.resolve(conflict, take="kept")
    (tmp_path / "other").mkdir()
    other.save(tmp_path / "other" / "labels.json")
    last = opened(tmp_path / "other")
    assert last.journal_problems == ()
    assert said(last) == []


def test_code_that_is_run_again_adds_nothing_twice(tmp_path: Path) -> None:
    dataset = None
    for _ in range(2):
        dataset = labels()
        dataset.add_pass(second(dataset), "second")
        dataset.instance("one").set_keypoint("tail", 41, 30)
        store.attach_journal(dataset, tmp_path / "journal")
    assert dataset is not None
    assert len(dataset.instances) == 3
    assert len(dataset.passes) == 2
    assert dataset.conflicts == []


def test_history_tells_of_passes(tmp_path: Path) -> None:
    dataset = started(tmp_path)
    table = dataset.history()
    rows = table[table.what == "pass"]
    assert rows.instance.tolist() == ["one", "three"]
    assert rows.label.unique().tolist() == ["add pass second"]


def test_a_blind_pass_has_a_journal_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = labels()
    store.attach_journal(dataset)
    folders = {dataset.recorder.journal.folder}
    for name in ("second", "third"):
        blind = dataset.start_pass(name)
        store.attach_journal(blind)
        assert len(blind.instances) == 0
        folders.add(blind.recorder.journal.folder)
        blind.add_instance("a.png", keypoints=moved(1))
        after_restart = dataset.start_pass(name)
        store.attach_journal(after_restart)
        assert len(after_restart.instances) == 1
    assert len(folders) == 3


def test_a_blind_pass_is_found_by_another_way_to_write_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, n in ((Path(), 0), (tmp_path, 1)):
        blind = opened(folder).start_pass("second")
        store.attach_journal(blind)
        assert len(blind.instances) == n
        blind.add_instance("a.png", keypoints=POINTS)


SCRIPT = """
import sys
import numpy as np
import kpwidget as kp
ds = kp.open(sys.argv[1], {"a.png": np.zeros((60, 80))}, kp.Schema("bird", ["beak", "eye"]))
ds.add_instance("a.png", keypoints=[(10, 10), (40, 30)])
again = ds.start_pass("second", annotator="ben")
bird = again.add_instance("a.png", keypoints=[(0, 10), (40, 30)])
for i in range(100000):
    bird.set_keypoint("beak", 10 + i / 1000, 10)
    ds.add_pass(again, "second")
    print("done", i, flush=True)
"""


def test_an_acknowledged_pass_survives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    last = last_acknowledged(SCRIPT, path)
    dataset = kp.open(path, {"a.png": np.zeros((60, 80))}, kp.Schema("bird", ["beak", "eye"]))
    [opinion] = dataset.passes
    assert opinion.keypoints()[0, 0] >= 10 + last / 1000
    assert dataset.journal_problems == ()


@pytest.mark.parametrize("seed", range(3))
def test_any_sequence_agrees_with_a_dataset_that_never_ends(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    model = kp.Dataset.from_images(IMAGES, SCHEMA, annotator="anna")
    dataset = opened(tmp_path)
    n_made = 0

    def everything(of: kp.Dataset) -> list[Any]:
        # One that was removed when the file was saved comes back behind the others.
        return [sorted(said(of)), sorted((i.uid, i.raw.tolist()) for i in of.instances)]

    for step in range(60):
        uids = [instance.uid for instance in model.instances]
        what = rng.choice(
            ["add", "move", "remove", "pass", "pass", "drop", "undo", "redo", "save", "open"]
        )
        name, by = str(rng.choice(["second", "third"])), float(rng.integers(1, 4))
        uid = str(rng.choice(uids)) if uids else ""
        for of in (model, dataset):
            if what == "add" and len(uids) < 3:
                image = list(IMAGES)[len(of.instances) % 3]
                of.add_instance(image, keypoints=POINTS, uid=f"made {n_made}")
            elif what == "move" and uids:
                of.instance(uid).set_keypoint("beak", 10 + by, 10)
            elif what == "remove" and uids and step % 3 == 0:
                of.instance(uid).remove()
            elif what == "pass":
                again = of.start_pass(name, annotator="ben")
                for instance in of.instances:
                    again.add_instance(instance.image.file_name, keypoints=moved(by))
                of.add_pass(again, name)
            elif what == "drop" and name in of.passes.names:
                of.remove_pass(name)
            elif what == "undo":
                of.undo()
            elif what == "redo":
                of.redo()
        n_made += what == "add"
        if what == "save":
            dataset.save()
        elif what == "open":
            dataset.recorder.journal.close()
            dataset = opened(tmp_path)
            assert dataset.journal_problems == ()
        assert everything(dataset) == everything(model), (step, what)
    assert len(model._history.steps()) > 5


def test_time_of_an_opinion_is_that_of_the_label(tiny_dataset, monkeypatch):
    clock = iter((1_000.0, 2_000.0, 9_000.0))
    monkeypatch.setattr("kpwidget.history.time.time", lambda: next(clock))
    again = tiny_dataset.start_pass("second", annotator="ben")
    again.add_instance("a.png", "animal", {"nose": (10.5, 8.25)}, uid="x")
    again.instance("x").set_keypoint("tail", 50, 40)
    monkeypatch.setattr("kpwidget.history.time.time", lambda: 9_000.0)
    tiny_dataset.add_pass(again, "second")
    assert tiny_dataset.passes[0].time == 2_000.0


def test_time_of_an_opinion_is_in_the_journal_when_undo_has_forgotten_it(
    tiny_dataset, tmp_path, monkeypatch
):
    again = tiny_dataset.start_pass("second", annotator="ben")
    store.attach_journal(again, tmp_path / "journal")
    begin = time.time()
    again.add_instance("a.png", "animal", {"nose": (10.5, 8.25)}, uid="x")
    end = time.time()
    monkeypatch.setattr(again._history, "steps", list)
    monkeypatch.setattr("kpwidget.dataset.passes.time.time", lambda: end + 500)
    tiny_dataset.add_pass(again, "second")
    assert begin - 1e-3 <= tiny_dataset.passes[0].time <= end + 1e-3


def test_an_opinion_of_a_damaged_journal_is_refused_in_words() -> None:
    kept = {"n": "second", "a": "ben", "k": ["top", "tip"], "p": [[5, 1, 2.0], None], "t": 7.0}
    assert Opinion.from_json("u", kept).points == ((5, 1, 2), None)
    for wrong, told in (
        ({"p": [[math.inf, 1, 2], None]}, "pass 'second' of instance 'u': keypoint 'top': x is a"),
        ({"p": [[5, 1, 7.5], None]}, "visibility is 0 .* not 7.5"),
        ({"p": [[5, 1], None]}, "names and points disagree"),
        ({"t": 1e300}, "a time is a number of seconds since 1970, not 1e"),
    ):
        with pytest.raises(ValueError, match=told):
            Opinion.from_json("u", {**kept, **wrong})
