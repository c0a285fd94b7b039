"""Two notebooks on one file: what the annotator says of the other one, and what a click does."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import kpwidget as kp
from kpwidget.widget import annotator, publisher

from .fake_browser import wait_for


def test_edits_by_others_are_told_and_come_by_a_click(make, schema, tmp_path, monkeypatch):
    monkeypatch.setattr(publisher, "_LOOK_EVERY", 0.02)
    images = {"one.png": np.zeros((48, 64, 3), np.uint8)}
    file = tmp_path / "labels.json"
    bob = kp.open(file, images, schema, annotator="bob")
    ada = kp.open(file, images, schema, annotator="ada")
    browser = make(ada)
    browser.hello()
    bob.add_instance(0, keypoints={"top": (5, 6)}, uid="b")
    wait_for(lambda: browser.scene["others"] == {"edits": 1, "who": "bob"})
    assert browser.scene["instances"] == []
    seq = browser.do(op="refresh")
    wait_for(lambda: browser.acknowledged() == seq)
    assert browser.scene["others"] == {"edits": 0, "who": ""}
    assert browser.points["b"][:3] == [5, 6, 2]


def test_a_conflict_is_shown_and_resolved_by_a_click(make, schema, tmp_path):
    images = {"one.png": np.zeros((48, 64, 3), np.uint8)}
    file = tmp_path / "labels.json"
    kp.open(file, images, schema).add_instance(0, keypoints={"top": (5, 6)}, uid="b")
    bob = kp.open(file, images, schema, annotator="bob")
    ada = kp.open(file, images, schema, annotator="ada")
    browser = make(ada)
    bob.instance("b").set_keypoint("top", 7, 8)
    time.sleep(0.01)  # clocks count milliseconds
    browser.point("b", 0, 9, 9)
    browser.do(op="refresh")
    [conflict] = browser.scene["conflicts"]
    assert (conflict["kept"], conflict["other"]) == ("9.0, 9.0 visible", "7.0, 8.0 visible (bob)")
    browser.do(op="resolve", conflict=conflict["key"], take=True)
    assert browser.scene["conflicts"] == []
    assert browser.points["b"][:3] == [7, 8, 2]
    browser.do(op="resolve", conflict=conflict["key"], take=True)
    browser.hello()
    wait_for(lambda: browser.rejections())
    assert browser.rejections() == [(4, "This has been decided already.")]
    assert kp.open(file, images, schema).conflicts == []


def test_without_a_journal_there_are_no_others(browser):
    browser.hello()
    browser.do(op="refresh")
    wait_for(lambda: browser.rejections())
    assert "no journal" in browser.rejections()[0][1]


def test_callbacks_for_what_others_did_run_without_the_lock(make, schema, tmp_path):
    images = {"one.png": np.zeros((48, 64, 3), np.uint8)}
    bob = kp.open(tmp_path / "labels.json", images, schema)
    ada = kp.open(tmp_path / "labels.json", images, schema)
    browser = make(ada)
    free: list[bool] = []

    def callback(change: kp.Change) -> None:
        def try_it() -> None:
            free.append(ada.lock.acquire(timeout=5))
            ada.lock.release()

        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()

    ada.on_change(callback)
    bob.add_instance(0, keypoints={"top": (5, 6)})
    browser.do(op="refresh")
    assert free == [True]


def test_a_journal_that_cannot_be_looked_into_is_not_asked_without_end(
    make, schema, tmp_path, monkeypatch
):
    images = {"one.png": np.zeros((48, 64, 3), np.uint8)}
    ada = kp.open(tmp_path / "labels.json", images, schema)
    browser = make(ada)
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(ada.recorder, "news", fail)
    browser.hello()
    wait_for(lambda: browser.of("notice"))
    time.sleep(0.3)
    assert len(calls) == 1


def test_edits_do_not_wait_for_a_slow_journal(make, schema, tmp_path, monkeypatch):
    images = {"one.png": np.zeros((48, 64, 3), np.uint8)}
    bob = kp.open(tmp_path / "labels.json", images, schema, annotator="bob")
    ada = kp.open(tmp_path / "labels.json", images, schema)
    bob.add_instance(0, keypoints={"top": (5, 6)})
    is_reading, may_go_on = threading.Event(), threading.Event()
    have_waited: list[bool] = []
    look = ada.recorder._look

    def slow_look():
        is_reading.set()
        have_waited.append(not may_go_on.wait(5))
        return look()

    monkeypatch.setattr(ada.recorder, "_look", slow_look)
    browser = make(ada)
    browser.hello()
    assert is_reading.wait(5)
    ada.add_instance(0, keypoints={"top": (7, 8)}, uid="mine")
    may_go_on.set()
    wait_for(lambda: browser.scene["others"] == {"edits": 1, "who": "bob"})
    assert not any(have_waited)


def test_a_decision_in_code_is_shown(make, schema, tmp_path, monkeypatch):
    monkeypatch.setattr(publisher, "_LOOK_EVERY", 0.02)
    images = {"one.png": np.zeros((48, 64, 3), np.uint8)}
    ada = kp.open(tmp_path / "labels.json", images, schema)
    ada.add_instance(0, keypoints={"top": (5, 6)}, uid="b")
    bob = kp.open(tmp_path / "labels.json", images, schema)
    bob.instance("b").set_keypoint("top", 7, 8)
    time.sleep(0.01)
    ada.instance("b").set_keypoint("top", 9, 8)
    browser = make(ada)
    browser.hello()
    ada.refresh()
    wait_for(lambda: len(browser.scene["conflicts"]) == 1)
    ada.resolve(ada.conflicts[0], "kept")
    wait_for(lambda: browser.scene["conflicts"] == [])


def test_a_small_file_is_saved_when_nothing_has_changed_for_a_while(
    make, schema, tmp_path, monkeypatch
):
    monkeypatch.setattr(publisher, "_SAVE_AFTER", 0.05)
    images = {"one.png": np.zeros((48, 64, 3), np.uint8)}
    file = tmp_path / "labels.json"
    ada = kp.open(file, images, schema)
    browser = make(ada)
    browser.hello()
    browser.point("a", 0, 9, 9, new=True)
    wait_for(lambda: browser.scene["saved"] == {"state": "saved", "text": "saved"})
    assert kp.read(file).instances[0].raw[0].tolist() == [9, 9, 2]
    # What is larger is saved when it is asked for.
    monkeypatch.setattr(annotator, "AUTOSAVED_BYTES", 10)
    browser.point("a", 1, 10, 9)
    wait_for(lambda: browser.annotator._publisher._save_at is None)
    assert not ada.is_saved
    monkeypatch.undo()
    browser.annotator._autosave()
    assert ada.is_saved
    # What somebody else has written is not overwritten, and the person is told, once.
    changed = file.read_bytes().replace(b"10", b"11")
    file.write_bytes(changed)
    browser.point("a", 2, 10, 9)
    browser.annotator._autosave()
    browser.annotator._autosave()
    assert file.read_bytes() == changed
    wait_for(lambda: browser.of("notice"))
    (notice,) = browser.of("notice")
    assert "somebody else has changed this file" in notice["text"]
    assert "The journal has every edit." in notice["text"]


def test_edits_of_others_are_not_taken_in_unasked(make, schema, tmp_path):
    images = {"one.png": np.zeros((48, 64, 3), np.uint8)}
    file = tmp_path / "labels.json"
    ada, bob = (kp.open(file, images, schema, annotator=name) for name in ("ada", "bob"))
    browser = make(ada)
    browser.hello()
    browser.point("a", 0, 9, 9, new=True)
    bob.add_instance(0, category=schema.name, uid="of bob")
    browser.annotator._autosave()
    assert not file.exists()
    browser.do(op="refresh")
    wait_for(lambda: "of bob" in ada)
    browser.annotator._autosave()
    assert len(kp.read(file).instances) == 2


def test_two_opinions_about_a_finding_do_not_keep_the_file_from_being_saved(make, schema, tmp_path):
    images = {"one.png": np.zeros((48, 64, 3), np.uint8)}
    file = tmp_path / "labels.json"
    finding = {"check": "sides", "image": "one.png"}
    bob, ada = (kp.open(file, images, schema, annotator=name) for name in ("bob", "ada"))
    browser = make(ada)
    bob.decide(finding, "fine")
    time.sleep(0.01)  # clocks count milliseconds
    ada.decide(finding, "fixed")
    ada.refresh()
    ada.add_instance(0, keypoints={"top": (5, 6)}, uid="a")
    assert [one.what for one in ada.conflicts] == ["decision"]
    browser.annotator._autosave()
    assert ada.is_saved
    assert [one.id for one in kp.read(file, images).instances] == [1]
    again = kp.open(file, images, schema, annotator="ada")
    assert [one.what for one in again.conflicts] == ["decision"]


@pytest.mark.parametrize("kind", ["read", "no autosave", "no journal"])
def test_a_file_is_not_written_unasked(make, dataset, tmp_path, kind):
    file = tmp_path / "labels.json"
    kp.write(dataset, file)
    before = file.read_bytes()
    images = {image.file_name: np.zeros((48, 64, 3), np.uint8) for image in dataset.images}
    if kind == "read":
        opened = kp.read(file, images=images)
    else:
        opened = kp.open(file, images, journal=kind != "no journal", autosave=kind != "no autosave")
    browser = make(opened, journal=kind != "no journal")
    browser.hello()
    browser.point("a", 0, 1, 2, new=True)
    wait_for(lambda: len(opened.instances) == len(dataset.instances) + 1)
    browser.annotator._autosave()
    assert file.read_bytes() == before
