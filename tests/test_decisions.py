"""Decisions on findings: named by the place, over when its labels change, kept in the journal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import kpwidget as kp
from kpwidget import history, store
from kpwidget.compaction import compact
from kpwidget.quality import Finding, check, check_image
from tests.killing import last_acknowledged

SCHEMA = kp.Schema(
    "bird", ["beak", "left_eye", "right_eye"], [(1, 2)], flip_pairs=[("left_eye", "right_eye")]
)
IMAGES = {name: np.zeros((60, 80)) for name in ("a.png", "b.png")}
OUTSIDE = np.array([[90, 10, 2], [20, 15, 1], [40, 70, 2]], float)  # beak and right_eye
PLACE = ["check", "kind", "image", "instance", "keypoint"]


def labels(annotator: str = "anna") -> kp.Dataset:
    """A bird with two keypoints outside of its image, and one that is all inside."""
    dataset = kp.Dataset.from_images(IMAGES, SCHEMA, annotator=annotator)
    dataset.add_instance("a.png", keypoints=OUTSIDE, uid="one")
    dataset.add_instance("b.png", keypoints=[(5, 5), (9, 9), (12, 9)], uid="two")
    return dataset


def found(dataset: kp.Dataset, **options: Any) -> pd.DataFrame:
    return check(dataset, "visibility", **options)


def told(dataset: kp.Dataset) -> list[str]:
    return sorted(found(dataset).keypoint)


def said(dataset: kp.Dataset) -> list[Any]:
    return [(d.image, d.instance, d.keypoint, d.verdict, d.annotator) for d in dataset.decisions]


BEAK_IS_FINE = ("a.png", "one", "beak", "fine", "anna")


def row(dataset: kp.Dataset, keypoint: str) -> pd.Series:
    table = found(dataset, decided=True)
    return table[table.keypoint == keypoint].iloc[0]


# --- what they do -------------------------------------------------------------------------------


def test_what_is_fine_is_not_told_again_and_what_is_fixed_and_found_says_who() -> None:
    dataset = labels()
    assert told(dataset) == ["beak", "right_eye"]
    dataset.decide(row(dataset, "beak"), "fine")
    dataset.decide(row(dataset, "right_eye"), "fixed", annotator="ben")
    [left] = found(dataset).to_dict("records")
    assert left["keypoint"] == "right_eye"
    assert left["reason"].endswith("; ben called it fixed, and it is found again")
    assert [f.keypoint for f in check_image(dataset.images["a.png"])] == ["right_eye"]
    table = found(dataset, decided=True)
    assert table[["keypoint", "verdict", "decided_by"]].values.tolist() == [
        ["beak", "fine", "anna"], ["right_eye", "fixed", "ben"],
    ]  # fmt: skip
    assert table.decided_at.dt.tz is not None
    assert table.decided_at.notna().all()
    assert "decided_by" not in found(dataset)
    assert repr(dataset.decisions) == "<2 decisions: 1 fine, 1 fixed>"


def test_a_decision_is_over_when_the_labels_of_its_place_are_changed_and_back_with_them() -> None:
    dataset = labels()
    dataset.decide(row(dataset, "right_eye"), "fine")
    one = dataset.instance("one")
    one.set_keypoint("beak", 91, 10)  # another keypoint
    dataset.add_instance("a.png", keypoints=[(5, 5), (9, 9), (12, 9)])  # another instance
    assert told(dataset) == ["beak"]
    one.set_keypoint("left_eye", 21, 15)  # its twin: they may be swapped
    assert told(dataset) == ["beak", "right_eye"]
    assert dataset.decisions.to_pandas().holds.tolist() == [False]
    dataset.undo()
    assert told(dataset) == ["beak"]
    one.set_keypoint("right_eye", 40, 71)
    assert told(dataset) == ["beak", "right_eye"]
    dataset.decide(row(dataset, "right_eye"), "fine")
    assert told(dataset) == ["beak"]
    assert len(dataset.decisions) == 1


def test_a_decision_about_an_image_or_an_instance_goes_by_all_their_keypoints() -> None:
    dataset = labels()
    for finding in ({"check": "drift", "image": "a.png", "keypoint": "beak"},
                    {"check": "visibility", "kind": "num_keypoints", "instance": "one"},
                    {"check": "drift", "image": "b.png"}):  # fmt: skip
        dataset.decide(finding, "fine")
    assert dataset.decisions.to_pandas().holds.tolist() == [True] * 3
    dataset.instance("one").set_keypoint("left_eye", 21, 15)
    assert dataset.decisions.to_pandas().holds.tolist() == [False, False, True]


def test_a_decision_about_the_dataset_holds_until_it_is_taken_back() -> None:
    dataset = labels()
    finding = Finding("coverage", "note", None, None, None, 0.0, 1.0, "3 of 7", "", "bird: size")
    dataset.decide(finding, "fine")
    dataset.instance("one").remove()
    assert dataset.decisions.to_pandas().holds.tolist() == [True]
    # The same is found with other numbers; another is not the same.
    assert dataset.decide(finding._replace(value=9.0, reason="1 of 9"), None) is None
    assert len(dataset.decisions) == 0
    dataset.undo()
    dataset.decide(finding._replace(kind="bird: view"), "fixed")
    assert [d.kind for d in dataset.decisions] == ["bird: size", "bird: view"]


def test_two_kinds_of_findings_on_one_keypoint_are_two() -> None:
    dataset = labels()
    dataset.instance("one").set_keypoint("beak", 0, 0)
    of_beak = row(dataset, "beak")
    dataset.decide({**of_beak[PLACE].to_dict(), "kind": "another"}, "fine")
    assert told(dataset) == ["beak", "right_eye"]
    dataset.decide(of_beak, "fine")
    assert told(dataset) == ["right_eye"]


@pytest.mark.parametrize("form", ["series", "tuple", "mapping", "finding"])
def test_a_finding_is_given_in_any_form(form: str) -> None:
    dataset = labels()
    table = found(dataset)
    table = table[table.keypoint == "beak"]
    finding = {
        "series": lambda: table.iloc[0],
        "tuple": lambda: next(table.itertuples()),
        "mapping": lambda: table[PLACE].to_dict("records")[0],
        "finding": lambda: check_image(dataset.images[0])[0],
    }[form]()
    decision = dataset.decide(finding, "fine")
    assert (decision.check, decision.kind) == ("visibility", "keypoint outside the image")
    assert said(dataset) == [BEAK_IS_FINE]


def test_what_is_no_finding_or_has_no_place_is_refused() -> None:
    dataset = labels()
    with pytest.raises(ValueError, match=r"verdict is 'fine' \(as it is\), 'fixed', or None"):
        dataset.decide({"check": "sides"}, "good")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a finding has at least the name of a check"):
        dataset.decide({"image": "a.png"}, "fine")
    with pytest.raises(KeyError, match="no instance has the uid 'x'"):
        dataset.decide({"check": "sides", "instance": "x"}, "fine")
    with pytest.raises(KeyError, match=r"instance 'one' is in image 'a.png', not in 'b.png'"):
        dataset.decide({"check": "sides", "image": "b.png", "instance": "one"}, "fine")
    with pytest.raises(KeyError, match="no image has the file name 'c.png'"):
        dataset.decide({"check": "drift", "image": "c.png"}, "fine")
    with pytest.raises(KeyError, match="wing"):
        dataset.decide({"check": "sides", "instance": "one", "keypoint": "wing"}, "fine")
    assert len(dataset.decisions) == 0


def test_undo_redo_and_nothing_twice() -> None:
    dataset = labels()
    finding = row(dataset, "beak")
    dataset.decide(finding, "fine")
    n_steps = len(dataset._history.steps())
    dataset.decide(finding, "fine")
    assert len(dataset._history.steps()) == n_steps
    dataset.decide(finding, "fixed")
    dataset.undo()
    assert said(dataset) == [BEAK_IS_FINE]
    dataset.undo()
    assert said(dataset) == []
    dataset.redo()
    assert said(dataset) == [BEAK_IS_FINE]
    assert dataset.undo().label == "fine: visibility"
    dataset.decide(finding, "fine")
    dataset.decide(finding, None)
    assert dataset.undo().label == "open again: visibility"
    assert said(dataset) == [BEAK_IS_FINE]


def test_they_leave_and_come_back_with_their_instance() -> None:
    dataset = labels()
    dataset.decide(row(dataset, "beak"), "fine")
    dataset.instance("one").remove()
    assert said(dataset) == []
    dataset.undo()
    assert said(dataset) == [BEAK_IS_FINE]
    assert told(dataset) == ["right_eye"]


def test_another_order_of_the_schema_and_more_keypoints_change_no_labels() -> None:
    dataset = labels()
    dataset.decide(row(dataset, "beak"), "fine")
    dataset.decide({"check": "drift", "image": "a.png"}, "fine")
    wider = kp.Schema("bird", ["tail", "right_eye", "left_eye", "beak"],
                      flip_pairs=[("left_eye", "right_eye")])  # fmt: skip
    dataset.migrate_schema("bird", wider)
    assert dataset.decisions.to_pandas().holds.tolist() == [True, True]
    assert told(dataset) == ["right_eye"]
    dataset.migrate_schema(
        "bird", kp.Schema("bird", ["tail", "right_eye", "left_eye", "bill"]), {"beak": "bill"}
    )
    assert dataset.decisions.to_pandas().holds.tolist() == [False, False]
    assert told(dataset) == ["bill", "right_eye"]
    dataset.undo()
    assert told(dataset) == ["right_eye"]


def test_copies_parts_and_what_is_merged_bring_theirs() -> None:
    dataset = labels()
    dataset.decide(row(dataset, "beak"), "fine")
    dataset.decide({"check": "drift", "image": "b.png"}, "fine")
    dataset.decide({"check": "coverage"}, "fine")
    whole = [(d.check, d.image) for d in dataset.decisions]
    assert [(d.check, d.image) for d in dataset.select().copy().decisions] == whole
    parts = dataset.split({"x": ["a.png"], "y": "rest"})
    assert [d.check for d in parts["x"].decisions] == ["visibility"]
    assert [d.check for d in parts["y"].decisions] == ["drift"]
    assert parts["y"].decisions.to_pandas().holds.tolist() == [True]
    assert len(dataset.start_pass("second").decisions) == 0
    other = labels("cleo")
    other.instance("one").set_keypoint("left_eye", 5, 5)
    report = other.merge(dataset, on_conflict="both")
    assert [d.instance for d in other.decisions] == [report.uids["one"]]
    assert len(found(other)) == 3  # the two of cleo's, and one of the two that came
    more = kp.Dataset.from_images({"c.png": np.zeros((48, 64), np.uint8)}, other.categories)
    more.decide({"check": "drift", "image": "c.png"}, "fine", "ben")
    more.decide({"check": "drift"}, "fine", "ben")  # about all of that dataset, and not of this
    other.merge(more)
    table = other.decisions.to_pandas().iloc[1:]
    assert table[["image", "annotator", "holds"]].values.tolist() == [["c.png", "ben", True]]


def test_no_labels_file_has_them_and_the_reports_say_so(tmp_path: Path) -> None:
    dataset = labels()
    kp.write(dataset, tmp_path / "before.json")
    dataset.decide(row(dataset, "beak"), "fine")
    report = kp.write(dataset, tmp_path / "after.json")
    assert (tmp_path / "after.json").read_bytes() == (tmp_path / "before.json").read_bytes()
    assert "1 decision on findings not written" in str(report)
    report = store.save(dataset, tmp_path / "labels.json")
    assert report.notes == (
        "decisions on findings are in memory only: this dataset has no journal",
    )


# --- in the journal -----------------------------------------------------------------------------


def opened(folder: Path, annotator: str = "anna") -> kp.Dataset:
    return kp.open(folder / "labels.json", IMAGES, SCHEMA, annotator=annotator)


def started(folder: Path) -> kp.Dataset:
    """A dataset in a file, saved, with one finding decided after that."""
    dataset = opened(folder)
    dataset.add_instance("a.png", keypoints=OUTSIDE, uid="one")
    dataset.add_instance("b.png", keypoints=[(5, 5), (9, 9), (12, 9)], uid="two")
    dataset.save()
    dataset.decide(row(dataset, "beak"), "fine")
    return dataset


def test_decisions_survive_reopening_and_saving(tmp_path: Path) -> None:
    dataset = started(tmp_path)
    dataset.decide({"check": "drift", "image": "b.png"}, "fixed")
    dataset.decide({"check": "coverage", "kind": "bird: size"}, "fine")
    before, times = said(dataset), [d.time for d in dataset.decisions]
    assert len(before) == 3
    again = opened(tmp_path)
    assert said(again) == before
    again.save()  # from now on the file covers the steps in the journal
    last = opened(tmp_path)
    assert (said(last), last.is_saved, last.journal_problems) == (before, True, ())
    assert [d.time for d in last.decisions] == times
    assert told(last) == ["right_eye"]
    last.undo()
    assert said(opened(tmp_path)) == before[:2]


def test_one_taken_back_stays_away_and_one_of_a_removed_instance_comes_back(tmp_path: Path) -> None:
    dataset = started(tmp_path)
    dataset.instance("one").remove()
    again = opened(tmp_path)
    assert said(again) == []
    again.undo()
    assert said(again) == [BEAK_IS_FINE]
    again.decide(row(again, "beak"), None)
    again.save()
    last = opened(tmp_path)
    assert said(last) == []
    last.undo()
    assert said(last) == [BEAK_IS_FINE]


def test_what_was_decided_on_labels_changed_in_another_program_is_over(tmp_path: Path) -> None:
    dataset = started(tmp_path)
    dataset.decide(row(dataset, "right_eye"), "fine")
    dataset.decide({"check": "coverage"}, "fine")
    dataset.save()
    path = tmp_path / "labels.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["keypoints"][0] = 95
    path.write_text(json.dumps(content))
    for _ in range(2):  # known only as changed, then by its own mark
        again = opened(tmp_path)
        assert len(again.decisions) == 3
        assert told(again) == ["beak"]
        again.instance(again.instances[1].uid).set_keypoint("beak", 6, 5)


def test_an_image_that_is_gone_takes_along_its_decisions_alone(tmp_path: Path) -> None:
    dataset = started(tmp_path)
    dataset.decide({"check": "drift", "image": "a.png"}, "fine")
    dataset.decide({"check": "drift", "image": "b.png"}, "fine")
    dataset.save()
    path = tmp_path / "labels.json"
    content = json.loads(path.read_text())
    content["images"], content["annotations"] = content["images"][1:], content["annotations"][1:]
    path.write_text(json.dumps(content))
    again = opened(tmp_path)
    assert said(again) == [("b.png", None, None, "fine", "anna")]
    assert len(again.journal_problems) == 2
    assert all("no such image any more" in text for text in again.journal_problems)


def test_they_move_with_the_file_also_when_too_old_to_be_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_STEPS", 3)
    dataset = started(tmp_path)
    dataset.decide({"check": "drift", "image": "b.png"}, "fine")
    dataset.decide({"check": "coverage"}, "fine")
    before = said(dataset)
    for x in range(5):
        dataset.instance("two").set_keypoint("left_eye", x, 1)
    (tmp_path / "other").mkdir()
    dataset.save(tmp_path / "other" / "labels.json")
    again = opened(tmp_path / "other")
    assert (said(again), again.journal_problems) == (before, ())
    assert told(again) == ["right_eye"]


def test_a_copy_has_them_in_its_journal_once(tmp_path: Path) -> None:
    whole = labels()
    whole.decide(row(whole, "beak"), "fine")
    whole.decide({"check": "coverage"}, "fine")
    for _ in range(2):  # the cells run twice
        copy = whole.select().copy()
        store.attach_journal(copy, tmp_path / "labels.kpwidget")
        assert (copy.conflicts, len(copy.history())) == ([], 2)
    copy.save(tmp_path / "labels.json")
    assert said(opened(tmp_path)) == said(whole)


def test_code_that_is_run_again_decides_nothing_twice(tmp_path: Path) -> None:
    for _ in range(2):
        dataset = labels()
        dataset.decide(row(dataset, "beak"), "fine")
        store.attach_journal(dataset, tmp_path / "journal")
    assert said(dataset) == [BEAK_IS_FINE]
    assert dataset.conflicts == []
    assert len(dataset.history()[dataset.history().what == "decision"]) == 1


def test_two_notebooks_agree_in_silence_and_are_asked_when_they_do_not(tmp_path: Path) -> None:
    dataset = started(tmp_path)
    other = opened(tmp_path, "ben")
    for one in (dataset, other):
        one.decide(row(one, "right_eye"), "fine")
    dataset.refresh()
    assert dataset.conflicts == []
    assert told(dataset) == []
    dataset.decide(row(dataset, "beak"), "fixed")
    other.decide(row(other, "beak"), None)
    dataset.refresh()
    [conflict] = dataset.conflicts
    assert (conflict.what, conflict.image, conflict.instance) == ("decision", "a.png", "one")
    assert told(dataset) == ["beak"]
    dataset.resolve(conflict, take="other")
    assert [d.verdict for d in dataset.decisions if d.keypoint == "beak"] == ["fixed"]
    dataset.save()
    again = opened(tmp_path)
    assert (again.conflicts, said(again)) == ([], said(dataset))


def test_they_survive_packing_the_journal(tmp_path: Path) -> None:
    dataset = started(tmp_path)
    dataset.recorder.journal.close()
    assert compact(tmp_path / "labels.kpwidget", older_than=0).n_logs == 1
    again = opened(tmp_path)
    assert (said(again), told(again)) == ([BEAK_IS_FINE], ["right_eye"])


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        pytest.param("v", "<b>whatever", "a decision is one of fine, fixed, not '<b>whatever'"),
        pytest.param("t", 1e300, "a time is a number of seconds since 1970, not 1e+300"),
    ],
)
def test_a_damaged_decision_is_told_and_the_rest_is_read(
    tmp_path: Path, field: str, value: object, told: str
) -> None:
    from kpwidget.journal import line_of

    dataset = started(tmp_path)
    dataset.recorder.journal.close()
    path = dataset.recorder.journal.path
    lines = path.read_bytes().splitlines(keepends=True)
    content = json.loads(lines[-1][9:])
    content["d"][0][5][field] = value
    path.write_bytes(b"".join([*lines[:-1], line_of(content)]))
    again = opened(tmp_path)
    assert len(again.instances) == 2
    assert said(again) == []
    [problem] = again.journal_problems
    assert told in problem


def test_the_command_respects_the_journal_beside_the_file_and_leaves_it_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from kpwidget.cli import main

    for name in IMAGES:
        Image.new("L", (80, 60)).save(tmp_path / name)
    dataset = kp.open(tmp_path / "labels.json", str(tmp_path / "*.png"), SCHEMA, annotator="anna")
    dataset.add_instance("a.png", keypoints=OUTSIDE)
    dataset.save()
    assert main(["check", "--quality", str(tmp_path / "labels.json")]) == 1
    assert capsys.readouterr().out.count("(visibility)") == 2
    dataset.decide(row(dataset, "beak"), "fine")
    logs = {path: path.read_bytes() for path in (tmp_path / "labels.kpwidget").iterdir()}
    assert main(["check", "--quality", str(tmp_path / "labels.json")]) == 1
    out = capsys.readouterr().out
    assert "1 decision on findings taken from" in out
    assert out.count("(visibility)") == 1
    assert "right_eye" in out
    dataset.decide(row(dataset, "right_eye"), "fine")
    assert main(["check", "--quality", str(tmp_path / "labels.json")]) == 0
    assert "(visibility)" not in capsys.readouterr().out
    # An edit that is not saved is not in the file: there its beak is as it was.
    dataset.instances[0].set_keypoint("beak", 99, 10)
    assert main(["check", "--quality", str(tmp_path / "labels.json")]) == 0
    dataset.save()
    assert main(["check", "--quality", str(tmp_path / "labels.json")]) == 1
    assert "(99, 10) is outside" in capsys.readouterr().out
    now = {path: path.read_bytes() for path in (tmp_path / "labels.kpwidget").iterdir()}
    assert all(now[path].startswith(data) for path, data in logs.items())


SCRIPT = """
import sys
import numpy as np
import kpwidget as kp
ds = kp.open(sys.argv[1], {"a.png": np.zeros((60, 80))}, kp.Schema("bird", ["beak", "eye"]))
ds.add_instance("a.png", keypoints=[(90, 10), (40, 30)])
ds.save()
for i in range(100000):
    ds.decide({"check": "sides", "kind": str(i), "image": "a.png"}, "fine")
    print("done", i, flush=True)
"""


def test_an_acknowledged_decision_survives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    last = last_acknowledged(SCRIPT, path)
    dataset = kp.open(path, {"a.png": np.zeros((60, 80))}, kp.Schema("bird", ["beak", "eye"]))
    assert {str(i) for i in range(last + 1)} <= {d.kind for d in dataset.decisions}
    assert dataset.decisions.to_pandas().holds.all()
    assert dataset.journal_problems == ()


@pytest.mark.parametrize("seed", range(2))
def test_any_sequence_agrees_with_a_dataset_that_never_ends(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    model = kp.Dataset.from_images(IMAGES, SCHEMA, annotator="anna")
    dataset = opened(tmp_path)

    def everything(of: kp.Dataset) -> list[Any]:
        table = of.decisions.to_pandas().drop(columns="time").fillna("").values.tolist()
        return [sorted(map(str, table)), sorted((i.uid, i.raw.tolist()) for i in of.instances)]

    for step in range(45):
        uids = [instance.uid for instance in model.instances]
        what = str(rng.choice(
            ["add", "move", "remove", "one", "one", "image", "all", "undo", "redo", "save", "open"]
        ))  # fmt: skip
        verdict, x = rng.choice([None, "fine", "fixed"]), float(rng.integers(1, 4))
        uid = str(rng.choice(uids)) if uids else ""
        for of in (model, dataset):
            if what == "add" and len(uids) < 3:
                of.add_instance(step % 2, keypoints=OUTSIDE, uid=f"made {step}")
            elif what == "move" and uids:
                of.instance(uid).set_keypoint("beak", 10 + x, 10)
            elif what == "remove" and uids and step % 3 == 0:
                of.instance(uid).remove()
            elif what == "one" and uids:
                of.decide({"check": "sides", "instance": uid, "keypoint": "beak"}, verdict)
            elif what == "image":
                of.decide({"check": "drift", "image": "a.png"}, verdict)
            elif what == "all":
                of.decide({"check": "coverage"}, verdict)
            elif what == "undo":
                of.undo()
            elif what == "redo":
                of.redo()
        if what == "save":
            dataset.save()
        elif what == "open":
            dataset.recorder.journal.close()
            dataset = opened(tmp_path)
            assert dataset.journal_problems == ()
        assert everything(dataset) == everything(model), (step, what)
    assert len(model._history.steps()) > 3
