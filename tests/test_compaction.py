"""Packing the logs of a journal changes where the lines are, and nothing of what they say."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kpwidget as kp
from kpwidget import compaction
from kpwidget.compaction import DAY, compact
from kpwidget.journal import Journal, read_logs

SCHEMA = kp.Schema("bird", ["beak", "eye", "tail"], [(1, 2)])
IMAGES = {"a.png": np.zeros((48, 64)), "b.png": np.zeros((48, 64))}
POINTS = [[1.5, 2, 2], [3, 4, 1], [0, 0, 0]]


def opened(folder: Path, annotator: str = "anna") -> kp.Dataset:
    return kp.open(folder / "labels.json", IMAGES, SCHEMA, annotator=annotator)


def journal(folder: Path) -> Path:
    return folder / "labels.kpwidget"


def names(folder: Path, ending: str) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(ending))


def age(folder: Path, days: float = 2) -> None:
    """Let all logs have been left for some days."""
    then = time.time() - days * DAY
    for path in folder.glob("*.log"):
        os.utime(path, (then, then))


def all_of(folder: Path) -> list[tuple[str, str]]:
    """Every entry of a journal in which nothing is wrong."""
    entries, problems = read_logs(folder)
    assert problems == []
    return [(entry.writer, json.dumps(dict(entry.content))) for entry in entries]


def said(dataset: kp.Dataset) -> list[Any]:
    """All that a dataset says, with its conflicts, history and every undo that is left."""
    found: list[Any] = [
        [(i.uid, i.image.index, i.raw.tolist(), i.bbox, i.is_finished) for i in dataset.instances],
        [image.status for image in dataset.images],
        list(dataset.conflicts),
        dataset.is_saved,
        dataset.journal_problems,
        dataset.history().to_json(date_format="iso"),
    ]
    while (change := dataset.undo()) is not None:
        found.append((change.label, [i.raw.tolist() for i in dataset.instances]))
    while (change := dataset.redo()) is not None:
        found.append((change.label, [i.raw.tolist() for i in dataset.instances]))
    return found


def some_sessions(folder: Path, n: int = 4) -> None:
    """Sessions with edits, an undo, a save, a conflict that is open and one that is decided."""
    bird = opened(folder).add_instance("a.png", keypoints=POINTS, uid="bird")
    bird.set_keypoint("tail", 9, 9)
    for i in range(n):
        dataset = opened(folder, f"annotator {i}")
        dataset.add_instance("b.png", keypoints=POINTS, uid=f"bird {i}", is_finished=i % 2 == 0)
        dataset.instance("bird").set_keypoint("beak", i, i)
        if i == 1:
            dataset.undo()
        if i == 2:
            dataset.save()
    one, two = opened(folder, "one"), opened(folder, "two")
    for name in ("eye", "tail"):
        one.instance("bird").set_keypoint(name, 5, 5)
    time.sleep(0.01)  # clocks count milliseconds
    for name in ("eye", "tail"):
        two.instance("bird").set_keypoint(name, 6, 6)
    two.refresh()
    two.resolve(two.conflicts[0], "other")


def filled(folder: Path, n_logs: int, n: int = 5) -> list[tuple[str, str]]:
    """Logs of some writers that are gone; what they say."""
    for i in range(n_logs):
        log = Journal(folder)
        for j in range(n):
            log.append("edit", {"s": j, "a": f"annotator {i}"})
        log.close()
    age(folder)
    return all_of(folder)


# --- what is packed -----------------------------------------------------------------------------


def test_dataset_history_undo_and_conflicts_are_the_same_when_packed(tmp_path: Path) -> None:
    some_sessions(tmp_path)
    folder = journal(tmp_path)
    before = all_of(folder)
    # Opened once without and once with the packed file; each time the same journal is undone.
    unpacked = tmp_path / "copy"
    for source in (tmp_path / "labels.json", *folder.iterdir()):
        target = unpacked / source.relative_to(tmp_path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    age(folder)
    assert compact(folder).n_logs == 7
    assert names(folder, ".log") == []
    assert len(names(folder, ".packed")) == 1
    assert all_of(folder) == before
    one, other = opened(unpacked), opened(tmp_path)
    assert len(one.conflicts) == 1
    assert said(other) == said(one)


def test_logs_of_today_and_the_own_one_stay(tmp_path: Path) -> None:
    folder = journal(tmp_path)
    dataset = opened(tmp_path)
    dataset.add_instance("a.png", keypoints=POINTS)
    own = dataset.recorder.journal
    assert dataset.compact_journal() == (
        "nothing to pack: no log of another session has been left for a day"
    )
    filled(folder, 2)
    today = Journal(folder)
    today.append("edit", {"s": 1})
    today.close()
    before = all_of(folder)
    assert own.path.stat().st_mtime < time.time() - DAY
    words = dataset.compact_journal()
    [packed] = names(folder, ".packed")
    assert words == f"2 logs packed into {folder / packed}, which has 10 entries"
    assert names(folder, ".log") == sorted([own.path.name, today.path.name])
    assert all_of(folder) == before


def test_without_a_journal_there_is_nothing_to_pack() -> None:
    with pytest.raises(ValueError, match="this dataset has no journal"):
        kp.Dataset.from_images(IMAGES, SCHEMA).compact_journal()


def test_there_stays_one_packed_file(tmp_path: Path) -> None:
    n = 0
    for n_logs in (3, 2, 1):
        filled(tmp_path, n_logs)
        compact(tmp_path)
        n += n_logs
        assert len(names(tmp_path, ".packed")) == 1
        assert len(all_of(tmp_path)) == 5 * n
        assert names(tmp_path, "") == names(tmp_path, ".packed")


def test_an_opening_packs_when_more_than_32_logs_are_left(tmp_path: Path) -> None:
    folder = journal(tmp_path)
    for n_logs, n_packed in ((32, 0), (1, 1)):
        before = filled(folder, n_logs)
        opened(tmp_path)
        assert len(names(folder, ".packed")) == n_packed
        assert all_of(folder)[: len(before)] == before
    assert names(folder, ".log") == []


def test_an_opening_goes_on_where_nothing_can_be_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = journal(tmp_path)
    filled(folder, 33)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        opened(tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    folder.chmod(0o555)
    try:
        opened(tmp_path)
    finally:
        folder.chmod(0o755)


def test_damaged_logs_stay_as_they_are(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    damaged, short, _ = sorted(tmp_path.glob("*.log"))
    lines = damaged.read_bytes().split(b"\n")
    damaged.write_bytes(b"\n".join([lines[0], lines[1].replace(b"edit", b"exit"), *lines[2:]]))
    short.write_bytes(b"\n".join([*lines[:2], *lines[3:]]))
    age(tmp_path)
    kept = {path: path.read_bytes() for path in (damaged, short)}
    entries, problems = read_logs(tmp_path)
    done = compact(tmp_path)
    assert done.n_logs == 1
    assert f"damaged: {damaged.name}, {short.name}" in str(done)
    assert {path: path.read_bytes() for path in kept} == kept
    assert read_logs(tmp_path) == (entries, problems)


def test_last_line_that_a_crash_has_cut_off_is_left_out(tmp_path: Path) -> None:
    before = filled(tmp_path, 2)
    [first, _] = sorted(tmp_path.glob("*.log"))
    with first.open("ab") as file:
        file.write(b'0badcafe {"n":6,"c":1,"k":"ed')
    age(tmp_path)
    assert compact(tmp_path).n_logs == 2
    assert all_of(tmp_path) == before


def test_what_a_crashed_compaction_has_left_is_removed_later(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    old, new = tmp_path / ".packing-00000000.tmp", tmp_path / ".packing-11111111.tmp"
    old.write_bytes(b"half")
    new.write_bytes(b"half")  # of one that is at work
    os.utime(old, (1, 1))
    compact(tmp_path)
    assert names(tmp_path, ".tmp") == [new.name]


# --- writers that are not gone ------------------------------------------------------------------


def test_a_writer_that_goes_on_after_its_log_was_packed_loses_nothing(tmp_path: Path) -> None:
    folder = journal(tmp_path)
    dataset = opened(tmp_path)
    bird = dataset.add_instance("a.png", keypoints=POINTS, uid="bird")
    for i in range(6):
        bird.set_keypoint("tail", i, i)
        if i % 2:
            compact(folder, older_than=-1)
    bird.set_keypoint("beak", 8, 8)
    assert len(names(folder, ".log")) == 1
    before = dataset.history().to_json(date_format="iso")
    again = opened(tmp_path)
    assert again.journal_problems == ()
    assert again.instance("bird").raw.tolist() == bird.raw.tolist()
    assert again.history().to_json(date_format="iso") == before
    assert compact(folder, older_than=-1).n_logs == 1
    assert opened(tmp_path).history().to_json(date_format="iso") == before
    assert len(dataset.history()) == 8


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_what_is_written_while_its_log_is_taken_away_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    log = Journal(tmp_path)
    log.append("edit", {"s": 1})
    log.flush()
    rename, write = Path.rename, Journal._write

    def append() -> None:
        log.append("edit", {"s": 2})
        assert log.flush()

    if moment == "between":  # the writer has seen its log in place, and then it is taken

        def slow_write(self: Journal, data: bytes) -> None:
            monkeypatch.undo()
            assert compact(tmp_path, older_than=-1).n_logs == 1
            write(self, data)

        monkeypatch.setattr(Journal, "_write", slow_write)
        append()
    else:

        def slow_rename(self: Path, target: Path) -> Path:
            monkeypatch.undo()
            if moment == "before":
                append()
            done = rename(self, target)
            if moment == "after":
                append()
            return done

        monkeypatch.setattr(Path, "rename", slow_rename)
        compact(tmp_path, older_than=-1)
    assert [json.loads(content)["n"] for _, content in all_of(tmp_path)] == [1, 2]
    compact(tmp_path, older_than=-1)
    assert [json.loads(content)["n"] for _, content in all_of(tmp_path)] == [1, 2]
    assert names(tmp_path, ".log") == []
    log.close()


def test_packed_edits_of_others_are_told_and_come_by_refresh(tmp_path: Path) -> None:
    folder = journal(tmp_path)
    one, two = opened(tmp_path, "anna"), opened(tmp_path, "bob")
    bird = one.add_instance("a.png", keypoints=POINTS, uid="bird")
    bird.set_keypoint("tail", 9, 9)
    compact(folder, older_than=-1)
    assert two.recorder.news() == (2, ["anna"])
    bird.set_keypoint("tail", 8, 8)
    assert two.recorder.news() == (3, ["anna"])
    compact(folder, older_than=-1)
    assert two.recorder.news() == (3, ["anna"])
    assert two.refresh() == "3 edits of 1 instance by others"
    assert two.recorder.news() == (0, [])
    assert two.instance("bird").raw.tolist() == bird.raw.tolist()
    # A log begun anew is read from its start, also when it is longer than the one before.
    for i in range(6):
        bird.set_keypoint("tail", i, i)
    assert two.recorder.news() == (6, ["anna"])
    two.save()
    compact(folder, older_than=-1)
    again = opened(tmp_path)
    assert not again.is_saved
    assert again.instance("bird").raw[2].tolist() == [5, 5, 2]


def test_reading_while_files_are_packed_finds_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = filled(tmp_path, 4)
    read = Path.read_bytes
    n_read = 0

    def slow_read(self: Path) -> bytes:
        nonlocal n_read
        n_read += 1
        if n_read in (2, 7):  # in the middle of the first reading and of the second one
            with monkeypatch.context() as patch:
                patch.setattr(Path, "read_bytes", read)
                compact(tmp_path)
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", slow_read)
    assert all_of(tmp_path) == before


def test_a_listing_that_has_missed_a_file_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One that goes on while logs are packed may see the packed file not yet and the logs no more.
    before = filled(tmp_path, 3)
    compact(tmp_path)
    listings = [[], os.listdir(tmp_path)]
    monkeypatch.setattr(
        os, "listdir", lambda _: listings[0] if len(listings) == 1 else listings.pop(0)
    )
    assert all_of(tmp_path) == before


# --- crashes and disks that fail ----------------------------------------------------------------


@contextlib.contextmanager
def ends_at(monkeypatch: pytest.MonkeyPatch, at: int) -> Iterator[list[str]]:
    """Let the process be gone before its n-th call that touches the disk."""
    calls: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if len(calls) >= at:  # and nothing behind it happens, either
                raise KeyboardInterrupt
            calls.append(name)
            return real(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for module, name in (
            (os, "write"), (os, "fsync"), (os, "replace"), (Path, "rename"), (Path, "unlink"),
            (compaction, "sync_folder"),
        ):  # fmt: skip
            patch.setattr(module, name, counted(name, getattr(module, name)))
        yield calls


def test_a_crash_before_any_step_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(60):
        folder = tmp_path / str(at)
        filled(folder, 2)
        compact(folder)
        before = filled(folder, 3)
        with ends_at(monkeypatch, at) as steps, contextlib.suppress(KeyboardInterrupt):
            compact(folder)
        assert all_of(folder) == before, steps
        compact(folder)
        assert all_of(folder) == before
        assert len(names(folder, ".packed")) == 1
        assert names(folder, ".log") == []
        if len(steps) < at:  # it came to its end
            break
    # On disk, then under its name, then the name on disk: only then anything is removed.
    assert steps[:4] == ["write", "fsync", "replace", "sync_folder"]
    assert set(steps[4:]) <= {"fsync", "unlink", "rename"}
    assert 10 < at < 59


def test_a_disk_that_is_full_after_some_bytes_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = filled(tmp_path, 3)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write = os.write
    generator = random.Random(3)
    for room in [0, 1, *(generator.randrange(900) for _ in range(20))]:
        left = [room]

        def limited(descriptor: int, data: Any, left: list[int] = left) -> int:
            n, left[0] = min(left[0], len(data)), 0
            if not n:
                raise OSError(28, "No space left on device")
            return write(descriptor, bytes(data[:n]))

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", limited)
            with pytest.raises(OSError, match="No space left on device"):
                compact(tmp_path)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert compact(tmp_path).n_logs == 3
    assert all_of(tmp_path) == before


def test_what_is_read_back_otherwise_than_it_was_written_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = filled(tmp_path, 3)
    write = os.write

    def wrong(descriptor: int, data: Any) -> int:
        return write(descriptor, bytes(data).replace(b"annotator 1", b"annotator 2", 1))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", wrong)
        with pytest.raises(OSError, match="not what is read back"):
            compact(tmp_path)
    assert names(tmp_path, "") == names(tmp_path, ".log")
    assert all_of(tmp_path) == before


def test_damaged_packed_files_open_with_every_intact_line(tmp_path: Path) -> None:
    folder = journal(tmp_path)
    some_sessions(tmp_path)
    age(folder)
    written = all_of(folder)
    compact(folder)
    [path] = folder.glob("*.packed")
    good = path.read_bytes()
    n_lines = good.count(b"\n")
    generator = random.Random(5)
    n_read = n_told = 0
    for trial in range(200):
        data = bytearray(good)
        if trial % 2:
            cut = generator.randrange(len(data))
            del data[cut:]
            intact = max(0, data.count(b"\n") - 1)
            # A line without its end is whole if only that is missing.
            intact += good[cut : cut + 1] == b"\n" and intact > 0
        else:
            place = generator.randrange(len(data))
            data[place] ^= 1 << generator.randrange(8)
            bad = 1 if b"\n" not in (good[place : place + 1], bytes(data[place : place + 1])) else 2
            in_head = place < good.index(b"\n")
            intact = n_lines - 1 - bad + in_head
        path.write_bytes(bytes(data))
        entries, problems = read_logs(folder)
        found = [(entry.writer, json.dumps(dict(entry.content))) for entry in entries]
        assert set(found) <= set(written)
        assert len(set(found)) == len(found) >= intact
        # All that is not there is told.
        assert problems or len(found) == len(written)
        assert all(str(folder) in problem for problem in problems)
        # It is not packed again, nor removed.
        if trial % 10 == 0:
            compact(folder, older_than=-1)
            if problems:
                assert path.read_bytes() == bytes(data)
                assert read_logs(folder) == (entries, problems)
            path.write_bytes(good)
            for other in set(folder.glob("*.packed")) - {path}:
                other.unlink()
        n_read, n_told = n_read + len(found), n_told + len(problems)
    print(f"200 damaged journals opened, packed: {n_read} intact lines read, {n_told} faults named")
    path.write_bytes(bytes(data))
    assert opened(tmp_path).journal_problems


def test_intact_logs_beside_a_damaged_packed_file_are_packed_apart(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    compact(tmp_path)
    [path] = tmp_path.glob("*.packed")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"annotator 1", b"annotator 7", 1))
    filled_again = Journal(tmp_path)
    filled_again.append("edit", {"s": 1})
    filled_again.close()
    age(tmp_path)
    entries, problems = read_logs(tmp_path)
    assert len(problems) == 2  # the line, and that an entry is missing
    done = compact(tmp_path)
    assert (done.n_logs, done.left) == (1, (path,))
    assert read_logs(tmp_path) == (entries, problems)
    path.write_bytes(data)
    compact(tmp_path)
    assert len(all_of(tmp_path)) == 11
    assert len(names(tmp_path, ".packed")) == 1


def test_a_packed_file_of_a_later_version_is_told_and_left(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    compact(tmp_path)
    [path] = tmp_path.glob("*.packed")
    body = b'{"packed":2,"lines":5}'
    later = b"%08x %s\n" % (zlib.crc32(body), body) + b"\x00\x01"
    path.write_bytes(later)
    assert read_logs(tmp_path) == ([], [f"{path}: was packed by a newer kpwidget and was not read"])
    compact(tmp_path, older_than=-1)
    assert path.read_bytes() == later


# --- kills --------------------------------------------------------------------------------------

WRITE = """
import sys
from pathlib import Path
from kpwidget.compaction import compact
from kpwidget.journal import Journal
folder, pack = Path(sys.argv[1]), sys.argv[2] == "pack"
print("start", flush=True)
for i in range(100000):
    if i % 7 == 0:
        log = Journal(folder)
    log.append("edit", {"s": i})
    if log.flush():
        print("done", log.writer, log.n, flush=True)  # acknowledged
    if pack:
        compact(folder, older_than=-1)
"""


class Process:
    """A script that writes to a journal, and what it has said to be on disk."""

    def __init__(self, folder: Path, does: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITE, str(folder), does],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(kp.__file__).resolve().parents[1])},
        )
        assert self._process.stdout is not None
        self._out = self._process.stdout
        assert self._out.readline() == "start\n"

    def kill(self) -> set[tuple[str, int]]:
        self._process.send_signal(signal.SIGKILL)
        acknowledged = set()
        with self._out:
            for line in self._out:
                if line.endswith("\n"):
                    _, writer, n = line.split()
                    acknowledged.add((writer, int(n)))
        self._process.wait()
        return acknowledged


def test_kill_while_two_pack_and_write_and_a_third_writes_loses_nothing(tmp_path: Path) -> None:
    # All logs count as left: those that are being written to are packed, too.
    kills = int(os.environ.get("KPWIDGET_KILLS", "12"))
    generator = random.Random(9)
    n_killed = n_acknowledged = n_lost = n_readings = 0
    while n_killed < kills:
        if n_killed % 30 == 0:
            acknowledged: set[tuple[str, int]] = set()
            seen: set[tuple[str, int]] = set()
        folder = tmp_path / str(n_killed // 30)  # what a crash has left there the next one finds
        processes = [Process(folder, does) for does in ("pack", "pack", "write")]
        for process in processes:
            until = time.monotonic() + generator.random() * 0.1
            while time.monotonic() < until:  # who reads meanwhile finds all there was before
                entries, problems = read_logs(folder)
                if any("changes too fast" in problem for problem in problems):
                    continue
                assert problems == []
                now = {(entry.writer, entry.n) for entry in entries}
                assert now >= seen
                seen, n_readings = now, n_readings + 1
            said_by = process.kill()
            acknowledged |= said_by
            n_acknowledged += len(said_by)
            n_killed += 1
        entries, problems = read_logs(folder)
        found = [(entry.writer, entry.n) for entry in entries]
        assert problems == []
        assert len(set(found)) == len(found)
        n_lost += len(acknowledged - set(found))
    print(
        f"{n_killed} kills of two that write and pack beside one that writes survived: "
        f"{n_acknowledged} acknowledged edits, {n_lost} lost; {n_readings} readings meanwhile"
    )
    assert n_lost == 0
    assert n_acknowledged > n_killed
    assert names(folder, ".packed")
