"""The durable log of edits beside a labels file: append, read back, replay.

A journal is a folder of append-only logs, one for each writer (a dataset in a kernel). A line is
one step, undo or redo, with a checksum before it. Nobody writes to another's log, so there are no
locks and the folder may lie on a network file system. Reading puts the logs together by their
clocks. Logs that nobody writes to any more are packed into one file (`kpwidget.compaction`), which
is read as they were.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import errno
import json
import math
import os
import re
import secrets
import threading
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, cast

import numpy as np

from kpwidget.dataset import Dataset, FileStat, InstanceRecord
from kpwidget.dataset.decisions import WHOLE, Decision
from kpwidget.dataset.migrate import KeptPoints, SchemaState, schema_token, sources_back
from kpwidget.dataset.passes import Opinion
from kpwidget.dataset.table import Point
from kpwidget.history import Change, PrimitiveChange, Step, UndoError, _change
from kpwidget.schema import Schema

__all__ = [
    "Conflict",
    "Entry",
    "Journal",
    "Recorder",
    "Replayed",
    "changed_schemas",
    "read_logs",
    "replay",
]

SUFFIX: Final = ".log"
#: Of a file with the lines of many logs.
PACKED: Final = ".packed"
VERSION: Final = 1
_LINE: Final = re.compile(rb"([0-9a-f]{8}) (\{.*\})")
#: Lines longer than this are not ours. A change of a schema keeps what it removes in one line.
_MAX_LINE: Final = 1_000_000_000
#: Clocks are milliseconds since the epoch, shifted by so many bits to count within one.
_COUNTER_BITS: Final = 16
#: Writers whose lines can stand in a packed file.
WRITER: Final = re.compile(r"[0-9A-Za-z_-]{1,100}")
#: A log that compaction has set aside is still its writer's.
_ASIDE: Final = re.compile(r"(.+)\.old-[0-9a-f]{8}")
_NUMBER: Final = re.compile(rb'[0-9a-f]{8} \{"n":([0-9]{1,15}),')
#: So many bytes at the beginning of a log, with a number and a clock, are in no other.
_BEGIN: Final = 48
#: How often a reading is begun anew because a file was packed meanwhile.
_READINGS: Final = 20
_CODES: Final = {
    "instance": "i", "keypoint": "k", "bbox": "b", "finished": "f", "status": "s", "category": "c",
    "schema": "m",
    "pass": "p",
    "decision": "j",
}  # fmt: skip
#: What no labels file has, whatever it is about: it does not depend on the file.
_BESIDE: Final = ("pass", "decision")
#: Kinds of entries that change a dataset.
_STEPS: Final = ("edit", "undo", "redo")
_WHAT: Final = {code: what for what, code in _CODES.items()}


# --- the files ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One line of a log.

    Attributes
    ----------
    writer : str
        Whose log it is.
    content : dict
        ``n`` its number in the log, from 1; ``c`` its clock; ``k`` its kind: 'log' (head of a log),
        'edit', 'undo', 'redo', 'saved'; the rest as `Recorder` writes it.
    """

    writer: str
    content: Mapping[str, Any]

    @property
    def n(self) -> int:
        """Number in its log."""
        return int(self.content["n"])

    @property
    def kind(self) -> str:
        """What it is."""
        return str(self.content["k"])

    @property
    def order(self) -> tuple[int, str, int]:
        """By which the entries of all logs are sorted."""
        return (int(self.content["c"]), self.writer, self.n)

    @property
    def time(self) -> float:
        """Seconds since the epoch."""
        earlier = self.content.get("t")  # of a step that another journal had before
        if isinstance(earlier, float):
            return earlier
        return (int(self.content["c"]) >> _COUNTER_BITS) / 1000

    def is_in(self, covered: Mapping[str, int]) -> bool:
        """Whether it is among the entries up to a number of each writer."""
        return self.n <= covered.get(self.writer, 0)


_HISTORY: Final = (
    "time", "annotator", "client", "kind", "label", "image", "instance", "keypoint", "what",
    "before", "after", "source", "seconds", "schema", "writer", "order",
)  # fmt: skip
#: A pause longer than this many seconds is not counted as work.
PAUSE: Final = 120.0


def history_table(entries: Sequence[Entry]) -> Any:
    """Table of what was done, a row a value; see `Dataset.history`."""
    import pandas as pd

    schemas: dict[str, str] = {}
    steps: dict[tuple[str, int], Entry] = {}
    names: dict[str, dict[int, Sequence[str]]] = {}
    # By what names a schema, see `SchemaState.token`: keypoints after changes of schemas.
    changed: dict[str, Sequence[str]] = {}
    category_of: dict[str, int] = {}
    last: dict[str, float] = {}
    rows = []
    for entry in entries:
        content = entry.content
        if entry.kind == "log":
            text = json.dumps(content.get("categories"), sort_keys=True)
            schemas[entry.writer] = f"{zlib.crc32(text.encode()):08x}"
            names[entry.writer] = {c["id"]: c["keypoints"] for c in content.get("categories", ())}
            continue
        if entry.kind not in ("edit", "undo", "redo"):
            continue
        key = (str(content.get("of", entry.writer)), int(content.get("s", 0)))
        if entry.kind == "edit":
            steps[key] = entry
        about = steps.get(key, entry).content
        annotator = str(content.get("a", ""))
        pause = entry.time - last.get(annotator, -math.inf)
        last[annotator] = entry.time
        token = content.get("w")
        base = {
            "time": pd.Timestamp(entry.time, unit="s", tz="UTC"),
            "annotator": annotator,
            "client": token[0] if token else None,
            "kind": entry.kind,
            "label": about.get("l", ""),
            "seconds": pause if pause <= PAUSE else math.nan,
            "schema": schemas.get(entry.writer),
            "writer": entry.writer,
            "order": entry.n,
        }
        for i, part in enumerate(about.get("d", ()) or ((None,) * 6,)):
            code, image, uid, k, before, after = part
            if entry.kind == "undo":
                before, after = after, before
            record = part[5] or part[4] if code == _CODES["instance"] else None
            if record:
                category_of[uid] = record["c"]
            category_id = category_of.get(uid, -1)
            token = dict(about.get("m", {})).get(str(category_id), "")
            of_category = changed.get(token, names.get(entry.writer, {}).get(category_id, ()))
            if code == _CODES["schema"]:
                of_sides = [side["s"]["metadata"]["keypoints"] for side in part[4:]]
                changed[part[5]["k"]] = of_sides[1]
                before, after = reversed(of_sides) if entry.kind == "undo" else of_sides
            is_named = k is not None and k < len(of_category)
            rows.append(
                {
                    **base,
                    # Counted once for a step, however many values it has.
                    "seconds": base["seconds"] if i == 0 else 0.0,
                    "image": image[0] if isinstance(image, list) else image,
                    "instance": uid,
                    "keypoint": of_category[k] if is_named else k,
                    "what": _WHAT.get(code),
                    "before": before,
                    "after": after,
                    "source": record.get("so", "human") if record else None,
                }
            )
    return pd.DataFrame(rows, columns=list(_HISTORY))


def line_of(content: Mapping[str, Any]) -> bytes:
    """The line of a log that holds `content`: checksum (CRC-32), space, JSON.

    Parameters
    ----------
    content : mapping
    """
    # Half of a surrogate pair has no UTF-8; escaped it has.
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def writer_of(path: Path) -> str:
    """Whose log a file is."""
    match = _ASIDE.fullmatch(path.stem)
    return match[1] if match else path.stem


def read_logs(folder: Path) -> tuple[list[Entry], list[str]]:
    """All intact entries of a journal in their order, and what was wrong with the others.

    An entry that is in a log and in a packed file as well, or in two of them, is one entry.

    Parameters
    ----------
    folder : Path
        Need not exist.

    Returns
    -------
    list of Entry
        Sorted by clock, then writer.
    list of str
        Each damaged line in words: the log, the line, what is wrong. A last line that was cut off,
        as by a crash in the middle of a write, was never acknowledged and is left out without a
        word.
    """
    merged: list[Entry] = []
    entries: dict[str, dict[int, Entry]] = {}
    problems: list[str] = []
    files = _contents(folder, problems)
    n_files = Counter(writer_of(path) for path, _ in files if path.suffix == SUFFIX)
    #: Those whose entries are in several files, so that only together they can be complete.
    spread = {writer for writer, n in n_files.items() if n > 1}

    def add(path: Path, number: int, entry: Entry) -> None:
        first = entries.setdefault(entry.writer, {}).setdefault(entry.n, entry)
        if first is not entry and first.content != entry.content:
            problems.append(f"{path}: line {number}: another entry {entry.n} is there already")

    for path, data in files:
        writer = writer_of(path)
        if path.suffix == PACKED:
            for packed in packed_lines(path, data, problems):
                spread.add(packed.writer)
                add(path, packed.number, Entry(packed.writer, packed.content))
        elif writer in spread:
            for line in numbered(data):
                if line.content is not None:
                    add(path, line.number, Entry(writer, line.content))
                elif not line.is_last:
                    problems.append(_damaged(path, line.number))
        else:
            alone, wrong = _entries_of(path, data)
            problems += wrong
            merged += alone
    for writer in sorted(spread):
        of_writer = entries.get(writer, {})
        n_missing = max(of_writer, default=0) - sum(n > 0 for n in of_writer)
        if n_missing > 0:
            problems.append(f"{folder}: {n_missing} entries of {writer} are missing")
        merged += of_writer.values()
    merged.sort(key=lambda entry: entry.order)
    return merged, problems


def _contents(folder: Path, problems: list[str]) -> list[tuple[Path, bytes]]:
    """Content of every file of a journal, the packed ones first.

    A compaction may be going on: it removes a file only when what it had is in another. Two
    listings that agree have missed none, and if a file is gone by then, all begins anew.
    """
    for reading in range(_READINGS):
        time.sleep(0.005 * reading)
        try:
            paths = listed(folder)
            if paths != listed(folder):
                continue
        except OSError as error:
            problems.append(f"{folder}: cannot be read: {error}")
            return []
        wrong: list[str] = []
        found = []
        try:
            for path in paths:
                try:
                    found.append((path, path.read_bytes()))
                except FileNotFoundError:
                    raise
                except OSError as error:
                    wrong.append(f"{path}: cannot be read: {error}")
        except FileNotFoundError as error:
            if reading < _READINGS - 1:
                continue
            wrong.append(f"{folder}: changes too fast to be read: {error}")
        problems += wrong
        return found
    problems.append(f"{folder}: changes too fast to be read")
    return []


def listed(folder: Path) -> list[Path]:
    """Files of a journal, the packed ones first; none if the folder is not there."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    paths = [folder / name for name in names if name.endswith((SUFFIX, PACKED))]
    return sorted(paths, key=lambda path: path.suffix != PACKED)


class Line(NamedTuple):
    """A line of a log that is not empty: where it is, and what it says if it is intact."""

    number: int
    data: bytes
    content: dict[str, Any] | None
    is_last: bool


def numbered(data: bytes) -> Iterator[Line]:
    """Lines of a log."""
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if line:
            yield Line(number, line, _checked(line), number == len(lines))


def _damaged(path: Path, number: int) -> str:
    return f"{path}: line {number} is damaged and was skipped"


def _entries_of(path: Path, data: bytes) -> tuple[list[Entry], list[str]]:
    entries: list[Entry] = []
    problems: list[str] = []
    expected = 1
    for line in numbered(data):
        content, number = line.content, line.number
        if content is None:
            if not line.is_last:  # else torn by a crash
                problems.append(_damaged(path, number))
            continue
        if content["n"] > expected:
            problems.append(
                f"{path}: line {number}: {content['n'] - expected} entries before it are missing"
            )
        elif content["n"] < expected:
            problems.append(f"{path}: line {number}: entry {content['n']} is there twice")
            continue
        expected = content["n"] + 1
        entries.append(Entry(writer_of(path), content))
    return entries, problems


def packed_content(lines: Sequence[tuple[str, bytes]]) -> bytes:
    """Content of a packed file: a head that says how many lines it has, and the lines.

    Each is the line of a log as it was, behind the name of its writer and a checksum over both.
    It is not compressed: where a bit has flipped one line is lost, not all behind it.

    Parameters
    ----------
    lines : list of (writer, line)
        Without the ends of lines.
    """
    head = line_of({"packed": VERSION, "lines": len(lines)})
    bodies = (b"%s %s" % (writer.encode("ascii"), line) for writer, line in lines)
    return head + b"".join(b"%08x %s\n" % (zlib.crc32(body), body) for body in bodies)


class PackedLine(NamedTuple):
    """An intact line of a packed file: its number there, whose it is, as it was in the log."""

    number: int
    writer: str
    data: bytes
    content: dict[str, Any]


def packed_lines(path: Path, data: bytes, problems: list[str]) -> Iterator[PackedLine]:
    """Intact lines of a packed file; what is wrong with it is added to `problems`, in words.

    It was complete when it got its name: all that is not intact is told, also at its end.
    """
    first, *rest = data.split(b"\n")
    head = _content_of(first) or {}
    version, promised = head.get("packed"), head.get("lines")
    if type(version) is int and version > VERSION:
        problems.append(f"{path}: was packed by a newer kpwidget and was not read")
        return
    if version != VERSION or type(promised) is not int:
        problems.append(_damaged(path, 1))
        promised = 0
    if rest and not rest[-1]:
        rest.pop()
    for number, line in enumerate(rest, 2):
        found = packed_line(line)
        content = None if found is None else _checked(found[1])
        if found is None or content is None:
            problems.append(_damaged(path, number))
        else:
            yield PackedLine(number, found[0], found[1], content)
    if len(rest) < promised:
        problems.append(f"{path}: {promised - len(rest)} of its lines are missing")


def packed_line(line: bytes) -> tuple[str, bytes] | None:
    """Writer and line of a log that a line of a packed file holds; None if it is damaged."""
    checksum, _, body = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        return None
    writer, _, inner = body.partition(b" ")
    name = writer.decode("ascii", "replace")
    return (name, inner) if WRITER.fullmatch(name) else None


def _content_of(line: bytes) -> dict[str, Any] | None:
    """What a line with a checksum says; None if it does not fit it."""
    match = _LINE.fullmatch(line) if len(line) <= _MAX_LINE else None
    if match is None or int(match[1], 16) != zlib.crc32(match[2]):
        return None
    try:
        content = json.loads(match[2])
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _checked(line: bytes) -> dict[str, Any] | None:
    """Content of a line of a log; None if it is not one that was written."""
    content = _content_of(line)
    if content is None or not all(type(content.get(key)) is int for key in "nc"):
        return None
    return content if isinstance(content.get("k"), str) else None


class Journal:
    """The log of one writer, in a folder that others may write to as well.

    Parameters
    ----------
    folder : Path
        Made with the first entry.
    after : int
        A clock that all entries are to come after.

    Attributes
    ----------
    folder : Path
    writer : str
    error : str or None
        Why what was appended last is not on disk, in words; None if it is.
    """

    def __init__(self, folder: Path, after: int = 0) -> None:
        self.folder = folder
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.writer = f"{stamp}-{secrets.token_hex(4)}"
        self.error: str | None = None
        self.n = 0
        self._clock = after
        self._unwritten: list[bytes] = []
        self._lock = threading.Lock()  # of the list above
        self._writing = threading.Lock()  # of the file
        self._file: int | None = None
        self._is_torn = False
        self._is_discarded = False

    @property
    def path(self) -> Path:
        """The log."""
        return self.folder / f"{self.writer}{SUFFIX}"

    def follow(self, clock: int) -> None:
        """Let all that is appended from now on come after a clock that was seen."""
        with self._lock:
            self._clock = max(self._clock, clock)

    def append(self, kind: str, content: Mapping[str, Any]) -> int:
        """Add an entry; `flush` makes it durable.

        Returns
        -------
        int
            Its number in the log.
        """
        with self._lock:
            self._clock = max(self._clock + 1, int(time.time() * 1000) << _COUNTER_BITS)
            self.n += 1
            line = line_of({"n": self.n, "c": self._clock, "k": kind, **content})
            self._unwritten.append(line)
            return self.n

    def flush(self) -> bool:
        """Write what was appended, and return when it is on disk; False if that fails.

        What could not be written is kept and written by a later call; `error` says why.
        """
        with self._writing:
            with self._lock:
                lines, self._unwritten = self._unwritten, []
            if not lines or self._is_discarded:
                return self.error is None
            try:
                self._append(b"".join(lines))
            except OSError as error:
                self.error = f"{self.folder}: {error.strerror or error}"
                with self._lock:
                    self._unwritten[:0] = lines
                self._close_file()
                return False
            self.error = None
            return True

    def _append(self, data: bytes) -> None:
        """Write to the log, wherever it is: one that seemed to be left may have been packed.

        What is written after its name was taken from it, nobody may read any more: it is written
        again. That some of it is read twice does no harm.
        """
        for _ in range(5):
            if self._file is None or not self.path.exists():
                self._open()
            self._write(data)
            if self.path.exists():
                return
        raise OSError(errno.ENOENT, "the log is taken away again and again")

    def _open(self) -> None:
        self._close_file()
        self.folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._file = os.open(self.path, flags, 0o666)
        for folder in (self.folder, self.folder.parent):
            sync_folder(folder)

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        if self._is_torn:  # end the line that a failed write has left
            data = b"\n" + data
        self._is_torn = True
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        os.fsync(self._file)
        self._is_torn = False

    def _close_file(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # its disk may be gone
                os.close(self._file)
            self._file = None

    def discard(self) -> None:
        """Take back all that was appended, and write nothing any more."""
        with self._writing:
            self._is_discarded = True
            self._close_file()
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Write what is left and close the file."""
        self.flush()
        with self._writing:
            self._close_file()


def sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# --- edits as entries ---------------------------------------------------------------------------


class Recorder:
    """Writes what is done to a dataset into its journal.

    Parameters
    ----------
    dataset : Dataset
    journal : Journal
    """

    def __init__(self, dataset: Dataset, journal: Journal) -> None:
        self._dataset = dataset
        self.journal = journal
        self._has_head = False
        self._others: dict[str, int] = {}
        self._known_ids: dict[str, int] = {}
        self._failed: dict[str, int] = {}
        self._n_saves = 0
        #: Of each file: how it begins and up to where `news` has read; the edits found there.
        self._looked_at: dict[Path, tuple[bytes, int]] = {}
        self._news: dict[str, dict[int, str]] = {}
        self._looking = threading.Lock()  # while files are read; the dataset goes on
        self._counting = threading.Lock()  # of what was found
        self._unwatch: Callable[[], None] = lambda: None
        #: First entries of the logs of others.
        self.heads: dict[str, Entry] = {}
        #: Clock of the last entry that is about another file than ours, if there are such.
        self.anew: int | None = None
        self._is_moved = False  # and if that is another dataset's, not ours as somebody changed it
        self._strangers: set[str] = set()

    def _first_schema(self, index: int) -> Schema:
        """The schema that a category had before all changes that are in force."""
        steps = self._dataset._history.schema_steps(-1 - index)
        first: Schema = (
            steps[0].changes[0].before.schema if steps else self._dataset.categories[index].schema
        )
        return first

    def begin(self) -> None:
        """Write the head of the log, before its first entry."""
        if self._has_head:
            return
        self._has_head = True
        dataset = self._dataset
        self.journal.append(
            "log",
            {
                "version": VERSION,
                "dataset": dataset.uid,
                "annotator": dataset.annotator,
                "categories": [
                    {"id": c.id, "name": c.name, "keypoints": self._first_schema(i).keypoints}
                    for i, c in enumerate(dataset.categories)
                ],
                # What else is known of the file is about another one; see `_Reader.began`.
                **({} if self.anew is None else {"anew": self.anew}),
                **({"moved": True} if self._is_moved else {}),
            },
        )

    def start(self) -> None:
        """Record from now on."""
        history = self._dataset._history
        self._unwatch = history.watch(self.record)
        history.settle = self.journal.flush

    def stop(self) -> None:
        """Record no more."""
        self._unwatch()
        self._dataset._history.settle = lambda: None

    def begin_after(self, entries: Sequence[Entry], done: Replayed) -> bool:
        """Go on where a journal ends: record what the dataset has besides, if there is anything."""
        for entry in entries:
            self._saw(entry)
            if entry.kind == "saved":
                self._known_ids.update(dict(entry.content.get("ids", {})))
        if done.aliases:
            self.begin()
            self.journal.append("alias", {"uids": done.aliases})
        own = [s for s in self._dataset._history.steps() if s.id not in done.known]
        for step in own:
            self.record(_change("edit", step))
        told = {
            (part[0], done.aliases.get(part[2], part[2]), str(part[1]), name)
            for entry in entries
            for part, name in _beside_parts(entry)
        }
        untold = [
            change
            for change in _beside_changes(self._dataset)
            if (_CODES[change.what], change.uid, str(self._image(change.image)), change.keypoint)
            not in told
        ]
        label = "passes and decisions"
        return bool(self._record_unwritten(untold, label) or own or done.aliases)

    def _saw(self, entry: Entry) -> None:
        if entry.kind == "log":
            self.heads[entry.writer] = entry
        self._others[entry.writer] = max(self._others.get(entry.writer, 0), entry.n)

    def ignore(self, entries: Iterable[Entry]) -> None:
        """Take entries about another dataset as read: no mark says that a file has them."""
        for entry in entries:
            self._saw(entry)
            self._strangers.add(entry.writer)

    def read_others(self) -> tuple[list[Entry], list[str]]:
        """What other writers have appended since they were read last; what is wrong with it.

        Another dataset may have been saved under the name of our file meanwhile. What its log says
        is about that one.
        """
        entries, problems = read_logs(self.journal.folder)
        own = self.journal.writer
        fresh = [e for e in entries if e.writer != own and e.n > self._others.get(e.writer, 0)]
        strange = self._strangers | of_another(entries, self._dataset.uid)
        self.ignore(e for e in fresh if e.writer in strange)
        fresh = [e for e in fresh if e.writer not in strange]
        for entry in fresh:
            self._saw(entry)
            if entry.kind == "saved":
                self._known_ids.update(dict(entry.content.get("ids", {})))
        self.journal.follow(max((entry.order[0] for entry in fresh), default=0))
        return fresh, problems

    def news(self) -> tuple[int, list[str]]:
        """How many edits others have appended that the dataset has not, and who made them.

        Only what was appended since the last call is read. It needs no lock of the dataset.
        """
        with self._looking:
            found = self._look()
            with self._counting:
                for writer, edits in found.items():
                    self._news.setdefault(writer, {}).update(edits)
        return self.counted()

    def counted(self) -> tuple[int, list[str]]:
        """What `news` has found and the dataset has not by now; no file is read."""
        with self._counting:
            for writer, found in self._news.items():
                seen = self._others.get(writer, 0)
                self._news[writer] = {n: who for n, who in found.items() if n > seen}
            fresh = [who for found in self._news.values() for who in found.values()]
        return len(fresh), sorted(set(fresh))

    def _look(self) -> dict[str, dict[int, str]]:
        """Edits by number, and who made them, of each writer, that were appended meanwhile."""
        found: dict[str, dict[int, str]] = {}
        paths: list[Path] = []
        with contextlib.suppress(OSError):  # a network folder may be gone for a while
            paths += listed(self.journal.folder)
        for path in paths:
            if path.suffix == SUFFIX and writer_of(path) == self.journal.writer:
                continue
            with contextlib.suppress(OSError):  # taken away meanwhile
                begin, start = self._looked_at.get(path, (b"", 0))
                if path.stat().st_size == start:
                    continue
                with open(path, "rb") as file:
                    if file.read(len(begin)) != begin:  # a log that was packed and begun anew
                        begin, start = b"", 0
                    file.seek(start)
                    data = file.read()
                whole = data[: data.rfind(b"\n") + 1]  # the last line may not be there wholly
                self._looked_at[path] = (begin or whole[:_BEGIN], start + len(whole))
                for writer, n, who in self._fresh_edits(path, whole):
                    found.setdefault(writer, {})[n] = who
        return found

    def _fresh_edits(self, path: Path, data: bytes) -> Iterator[tuple[str, int, str]]:
        """Writer, number and person of the edits in lines of a file that the dataset has not."""
        for line in data.split(b"\n"):
            writer, inner = writer_of(path), line
            if path.suffix == PACKED:
                found = packed_line(line)
                if found is None:
                    continue
                writer, inner = found
            number = _NUMBER.match(inner)
            is_known = number is not None and int(number[1]) <= self._others.get(writer, 0)
            if is_known or writer == self.journal.writer:
                continue
            content = _checked(inner)
            if content is not None and content["k"] in ("edit", "undo", "redo", "resolved"):
                yield writer, int(content["n"]), str(content.get("a", ""))

    def resolve(self, conflict: Conflict) -> None:
        """Say that a person has decided about a conflict: it is not told again."""
        self.begin()
        self.journal.append("resolved", {"of": conflict.key, "a": self._dataset.annotator})

    def position(self) -> dict[str, int]:
        """For each writer the number of its last entry that the dataset has, with all before it."""
        others = {w: n for w, n in self._others.items() if w not in self._strangers}
        found = {**others, self.journal.writer: self.journal.n}
        return {writer: min(n, self._failed.get(writer, n + 1) - 1) for writer, n in found.items()}

    def note_failed(self, failed: Mapping[str, int]) -> None:
        """Remember what could not be put in place, so that no mark says a file has it."""
        for writer, n in failed.items():
            self._failed[writer] = min(n, self._failed.get(writer, n))

    def skip_others(self) -> None:
        """Take what is in the journal already as said of something else."""
        entries = [e for e in read_logs(self.journal.folder)[0] if e.writer != self.journal.writer]
        self.ignore(entries)
        self.anew = max((entry.order[0] for entry in entries), default=0)
        self.journal.follow(self.anew)
        self._is_moved = True

    def begin_save(self) -> int:
        """Number of the save that begins: its marks have it, and `end_save`."""
        self._n_saves += 1
        return self._n_saves

    def mark_saved(
        self,
        digest: bytes | None,
        stat: FileStat,
        covers: Mapping[str, int],
        save: int | None = None,
    ) -> None:
        """Say that the labels file of this content has all that `covers` says.

        The mark of a save comes before its file is put in place: what it says of the file holds
        wherever such a file is found, but that there ever was one is told by `end_save` alone.
        """
        with self._dataset.lock:
            self.begin()
            table = self._dataset._table
            given = table.given_ids()
            for n in set(self._known_ids.values()):  # of one that was read, given to another, back
                row = table.row_of_id(n)
                if row is not None:
                    given[table.uids([row])[0]] = n
            ids = {uid: n for uid, n in given.items() if self._known_ids.get(uid) != n}
            self._known_ids.update(ids)
            content: dict[str, Any] = {
                "digest": None if digest is None else digest.hex(),
                "stat": [stat.size, stat.mtime_ns, stat.inode],
                "covers": dict(covers),
            }
            if self._dataset.conflicts:  # no file has them, and what it has is not replayed
                conflicts = [dataclasses.asdict(c) for c in self._dataset.conflicts]
                content["conflicts"] = json.loads(json.dumps(conflicts, default=float))
            if ids:
                content["ids"] = ids
            schemas = _tokens(self._dataset)
            if schemas:
                content["schemas"] = schemas
            if save is not None:
                content["save"] = save
            self.journal.append("saved", content)

    def end_save(self, save: int) -> None:
        """Say that the file of a save was put in its place."""
        self.journal.append("put", {"save": save})
        self.journal.flush()

    def take_over(self) -> None:
        """Record the steps that another journal has: what is undone here is to be found here."""
        lost = [*_beside_changes(self._dataset), *_mark_changes(self._dataset)]
        self._record_unwritten(lost, "what is in no labels file")
        history = self._dataset._history
        in_force = history.steps()
        known = {step.id for step in in_force}
        # Also those that are too old to be undone: what others were made under must be known.
        old = [
            step
            for index in range(len(self._dataset.categories))
            for step in history.schema_steps(-1 - index)
            if step.id not in known
        ]
        in_force = sorted(old, key=lambda step: step.id) + in_force
        undone = history.all_steps()[len(known) :]
        known |= {step.id for step in (*old, *undone)}
        undone = [s for s in undone if {*s._bases.values()} <= {None, *known}]
        for step in (*in_force, *reversed(undone)):
            self.record(_change("edit", step), is_moved=True)
        for step in undone:
            self.record(_change("undo", step), is_moved=True)

    def _record_unwritten(self, changes: Iterable[PrimitiveChange], label: str) -> bool:
        """Record those changes that no step in force has made; whether there are any.

        Their steps are too old to be undone, or those of the dataset that this is a copy of.
        """
        dataset = self._dataset
        lost = [change for change in changes if dataset._history.writer_of(change) is None]
        if lost:
            step = Step(0, label, time=time.time(), annotator=dataset.annotator, _changes=lost)
            self.record(_change("edit", step), is_moved=True)
        return bool(lost)

    def record(self, change: Change, *, is_moved: bool = False) -> None:
        """Append a change. Called under the dataset's lock; `Journal.flush` comes after it."""
        self.begin()
        step = change.step
        content: dict[str, Any] = {"s": step.id}
        if is_moved:
            content["t"] = step.time if change.kind == "edit" else None
        elif step.writer is not None:  # a step that was read from a log
            content = {"s": step.number, "of": step.writer}
        content["a"] = self._dataset.annotator
        if change.kind == "edit":
            content["a"] = step.annotator
            content["l"] = step.label
            content["o"] = step.origin
            content["w"] = step.token
            if step.image is not None:
                content["i"] = self._image(step.image)
            if step.context:
                content["x"] = {key: _plain(value) for key, value in step.context.items()}
            content["d"] = [self.change(part) for part in step.changes]
            # The schemas that keypoint indices are of, where a category no longer has its first.
            content["m"] = self._views(step) or None
        else:
            content["w"] = self._dataset._token
            if change.kind == "redo" and any(part.what == "schema" for part in step.changes):
                content["d"] = [self.change(part) for part in step.changes]
        self.journal.append(change.kind, {k: v for k, v in content.items() if v is not None})

    def _image(self, index: int) -> Any:
        return image_key(self._dataset, index) if index >= 0 else index

    def _views(self, step: Step) -> dict[str, str]:
        """What names the schemas that a step was made under, by category id."""
        history, categories = self._dataset._history, self._dataset.categories
        found = {}
        for category, top in step._bases.items():
            token = self._dataset._schema_tokens.get(-1 - category, "")
            if top is not None:
                token = history.schema_step(top).changes[0].after.token
            if token:
                found[str(categories[-1 - category].id)] = token
        return found

    def change(self, change: PrimitiveChange) -> list[Any]:
        """One value that was replaced: code, image, uid, keypoint, before, after."""
        image = self._image(change.image)
        before, after = change.before, change.after
        if change.what == "instance":
            before, after = (self._instance(value) for value in (before, after))
        elif change.what == "category":
            before, after = before.name, after.name
        elif change.what == "schema":
            uids = self._dataset._table.uids
            before = _state_to_json(before, uids)
            after = {**_state_to_json(after, uids), "from": list(after.sources)}
        elif change.what in _BESIDE:  # its name is in the values
            before, after = (None if v is None else v.to_json() for v in (before, after))
            return [_CODES[change.what], image, change.uid, None, before, after]
        return [_CODES[change.what], image, change.uid, change.keypoint, before, after]

    def _instance(self, record: InstanceRecord | None) -> dict[str, Any] | None:
        if record is None:
            return None
        values = {
            "c": self._dataset.categories[record.category].id,
            "p": record.keypoints,
            "b": record.bbox,
            "ar": record.area,
            "ic": record.iscrowd or None,
            "t": record.track_id,
            "sc": record.score,
            "a": record.annotator,
            "so": record.source,
            "f": None if record.is_finished else False,
            "id": record.id,
            "e": _extra_of(record) or None,
        }
        return {key: value for key, value in values.items() if value is not None}


def image_key(dataset: Dataset, index: int) -> Any:
    """What names an image in a journal: its file name; with its id where several have that name."""
    state = dataset._images[index]
    if len(dataset._indices_of_file_name[state.file_name]) == 1:
        return state.file_name
    return [state.file_name, state.id]


def _beside_changes(dataset: Dataset) -> Iterator[PrimitiveChange]:
    """Those that add the opinions and decisions there are, but where nobody knows the instance."""
    table = dataset._table
    for uid, of_uid in dataset._passes.items():
        row = table.last_row(uid)
        for name, opinion in of_uid.items() if row is not None else ():
            image = int(table.value(cast("int", row), "image"))
            yield PrimitiveChange("pass", uid, image, None, opinion, name)
    for owner, of_owner in dataset._decisions.items():
        row = table.last_row(owner) if isinstance(owner, str) else None
        if isinstance(owner, str) and row is None:
            continue
        at = owner if isinstance(owner, int) else int(table.value(cast("int", row), "image"))
        for name, decision in of_owner.items():
            yield PrimitiveChange("decision", decision.instance, at, None, decision, name)


def _mark_changes(dataset: Dataset) -> Iterator[PrimitiveChange]:
    """Those that make images done, and instances, but those added in a known step, unfinished."""
    for index, state in enumerate(dataset._images):
        if state.is_done:
            yield PrimitiveChange("status", None, index, False, True)
    table = dataset._table
    rows = np.asarray(table.live_rows(), np.int64)
    for row in rows[~table.column("is_finished", rows)].tolist():
        uid, image = table.uids([row])[0], int(table.value(row, "image"))
        added = PrimitiveChange("instance", uid, image, None, None)
        if dataset._history.writer_of(added) is None:
            yield PrimitiveChange("finished", uid, image, True, False)


def _extra_of(record: InstanceRecord) -> Mapping[str, Any] | None:
    from kpwidget.dataset.views import _INSTANCE_FIELDS

    if record.text is None:
        return record.extra
    fields = record.text.record("annotations", record.position)
    return {key: value for key, value in fields.items() if key not in _INSTANCE_FIELDS}


def _tokens(dataset: Dataset) -> dict[str, str]:
    """What names the schemas of categories that no longer have their first one, by their ids."""
    tokens = ((str(c.id), schema_token(dataset, i)) for i, c in enumerate(dataset.categories))
    return {category_id: token for category_id, token in tokens if token}


def _state_to_json(
    state: SchemaState, uids: Callable[[Iterable[int]], list[str]]
) -> dict[str, Any]:
    """One side of a change of a schema; the values that it keeps as base64 of their doubles."""
    schema = state.schema
    content: dict[str, Any] = {
        "k": state.token,
        "s": {"name": schema.name, "metadata": schema.to_metadata()},
    }
    if schema._parts.layout is not None:
        content["s"]["layout"] = schema._parts.layout
    kept = state.kept
    if kept is not None:
        values = zlib.compress(kept.values.astype("<f8").tobytes(), 1)
        content["kept"] = {
            "uids": uids(kept.rows.tolist()),
            "keypoints": list(kept.keypoints),
            "values": base64.b64encode(values).decode(),
        }
    return content


def _schema_from_json(content: Mapping[str, Any]) -> Schema:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an edge that is listed twice was told of already
        schema = Schema.from_metadata(content["metadata"], name=content["name"])
        return schema.with_layout(content.get("layout"))


def _plain(value: Any) -> Any:
    return value.to_wire() if hasattr(value, "to_wire") else value


def _as_floats(value: Any) -> Any:
    """A value with its numbers as floats: 6 and 6.0 are one value."""
    if isinstance(value, list | tuple):
        return [_as_floats(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _as_floats(item) for key, item in value.items()}
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


# --- reading back -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conflict:
    """A value that two writers changed from the same one.

    Attributes
    ----------
    image : str
        File name.
    instance : str or None
        uid.
    keypoint : str or None
        Name, if it is about a keypoint.
    what : str
        'keypoint', 'bbox', 'finished', 'status', 'instance', 'pass' or 'decision'.
    kept, other : object
        The value that is in force, and the one that is not.
    annotator : str
        Who gave the other value.
    steps : tuple of (str, int)
        The two that clash: the log of each and its number there, sorted. Empty in older journals.
    """

    image: str
    instance: str | None
    keypoint: str | None
    what: str
    kept: Any
    other: Any
    annotator: str
    steps: tuple[tuple[str, int], ...] = ()

    @property
    def key(self) -> int:
        """Number by which the journal knows it: the same whenever it is found again.

        Another clash about the same value, with the same two values, has another one.
        """
        return self._key(*([self.steps] if self.steps else []))

    def is_among(self, decided: Container[Any]) -> bool:
        """Whether its key is there, or the one that older journals know it by."""
        return self.key in decided or self._key() in decided

    def _key(self, *more: Any) -> int:
        parts = [self.image, self.instance, self.keypoint, self.what, self.kept, self.other, *more]
        return zlib.crc32(json.dumps(_as_floats(parts), default=str).encode())


@dataclass
class Replayed:
    """What `replay` did.

    Attributes
    ----------
    n_steps : int
        Edits, undos and redos that were put in place: those that the labels file did not have.
    instances : set of str
        Those they touched.
    problems : list of str
        What could not be put in place, in words.
    conflicts : list of Conflict
    tokens : dict of str to int
        For each view in a browser the number of its last edit that is in the journal.
    aliases : dict of str to str
        uid in the journal and uid now, of instances that code has made again.
    known : set of int
        Ids of the steps of the dataset that the journal has.
    steps : list of (kind, Step)
        What was put in place.
    decided : set of int
        Keys of the conflicts that somebody has decided about.
    left_out : list of str
        Values of keypoints that are in no schema any more, in words.
    failed : dict of str to int
        For each writer the number of the first entry that could not be put in place.
    """

    n_steps: int
    instances: set[str]
    problems: list[str]
    conflicts: list[Conflict]
    tokens: dict[str, int]
    aliases: dict[str, str] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)
    steps: list[tuple[Literal["edit", "undo", "redo"], Step]] = field(default_factory=list)
    decided: set[Any] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)

    def fail(self, entry: Entry, is_covered: bool) -> None:
        """Remember the first entry of a writer that could not be put in place."""
        if not is_covered:
            self.failed[entry.writer] = min(entry.n, self.failed.get(entry.writer, entry.n))


def replay(
    dataset: Dataset,
    entries: Sequence[Entry],
    covered: Mapping[str, int],
    *,
    rerun: bool = True,
    schemas: Mapping[str, str] | None = None,
) -> Replayed:
    """Do again what the entries say, and rebuild the history of undo from them.

    What code has done to the dataset already, since it was made, may be what it did the last time
    as well: a notebook's cells are run again after the kernel was restarted. Such steps are told
    by what they do, and not done twice; an instance that was made anew takes the place of the old.

    Parameters
    ----------
    dataset : Dataset
        As the labels file gives it, or new.
    entries : iterable of Entry
        In order.
    covered : mapping of str to int
        For each writer the number of its last entry that the dataset has already; of these only the
        history is rebuilt.
    rerun : bool
        Whether code may have done again what the entries say.
    schemas : mapping of str to str, optional
        What names the schemas that the dataset has, as the mark of its file says. If its history
        leads to others, it cannot be rebuilt: two writers have seen things in another order.

    Returns
    -------
    Replayed
    """
    done = Replayed(0, set(), [], [], {})
    steps: dict[tuple[str, int], Step] = {}
    begins = _begins(entries, covered)
    # What the file has comes first: the rest is put in place on top of that, by its schemas.
    ordered = of_passes(entries, dataset, begins)[0]
    ordered += [entry for entry in entries if entry.is_in(covered) and entry.order[0] > begins]
    # The schemas before the first change that the file has: the last one wins.
    first = {index: schema for _, index, schema in reversed([*_schemas_before(ordered)])}
    n_covered = len(ordered)
    ordered += [entry for entry in entries if not entry.is_in(covered)]
    heads = {} if dataset.recorder is None else dict(dataset.recorder.heads)
    heads.update((entry.writer, entry) for entry in entries if entry.kind == "log")
    reader = _Reader(dataset, _canonical_uids(entries), first, heads)
    history = dataset._history
    local = [step for step in history.steps() if step.origin is None] if rerun else []
    steps.update(
        ((step.writer, step.number), step)
        for step in history.all_steps()
        if step.writer is not None and step.number is not None
    )
    if dataset.recorder is not None:
        own = dataset.recorder.journal.writer
        steps.update(((own, s.id), s) for s in history.all_steps() if s.writer is None)
    for entry in entries:
        with contextlib.suppress(ValueError, TypeError):
            client, seq = entry.content.get("w") or ("", 0)
            done.tokens[client] = max(done.tokens.get(client, 0), int(seq))
    done.tokens.pop("", None)
    made_here = {step.id for step in history.steps()} if rerun else set()
    history.hold(made_here)
    for place in range(len(ordered) + 1):
        if place == n_covered:
            if schemas is not None and schemas != _tokens(dataset):
                history.forget({step.id for step in history.all_steps()} - made_here)
                dataset._schema_tokens = reader.begin(schemas)
                steps.clear()
                done.problems.clear()
            history.put_last(made_here)
        if place == len(ordered):
            break
        entry = ordered[place]
        content = entry.content
        if entry.kind not in _STEPS:
            continue
        is_covered = entry.is_in(covered)
        where = f"entry {entry.n} of {entry.writer} ({content.get('l', entry.kind)!r})"
        try:
            key = (str(content.get("of", entry.writer)), int(content["s"]))
            if entry.kind == "edit":
                if local and content.get("o") is None and reader.is_again(local[0], content):
                    step = steps[key] = local.pop(0)
                    step.writer, step.number = key  # by which its undo is written
                    done.known.add(step.id)
                    continue
                step = reader.step(entry)
                if not is_covered:
                    done.left_out += [f"{where}: {what}" for what in reader.left_out]
                clashes = [] if is_covered else reader.clashes(step, entry.time)
                history.replay("edit", step, apply=not is_covered)
                steps[key] = step
                done.conflicts += clashes
                done.known.add(step.id)
            else:
                kind = cast("Literal['undo', 'redo']", entry.kind)
                if key not in steps:
                    raise _Unusable("the step it is about is not there")
                step = steps[key]
                history.replay(kind, step, apply=not is_covered)
                reader.take_kept(step, content, is_covered=is_covered)
            if is_covered:
                reader.restore_marks(step, content, is_undo=entry.kind == "undo")
        except _Unusable as error:
            done.problems.append(f"{where}: {error}")
            done.fail(entry, is_covered)
            continue
        except (UndoError, LookupError, ValueError, TypeError) as error:
            detail = error.args[0] if error.args else error
            done.problems.append(f"{where}: not put in place: {detail}")
            done.fail(entry, is_covered)
            continue
        if not is_covered:
            done.n_steps += 1
            done.steps.append((cast("Any", entry.kind), step))
            done.instances |= _change(cast("Any", entry.kind), step).instances
    done.aliases = reader.aliases
    decided = {entry.content.get("of") for entry in entries if entry.kind == "resolved"}
    done.conflicts = [conflict for conflict in done.conflicts if not conflict.is_among(decided)]
    done.decided = decided
    return done


def _canonical_uids(entries: Iterable[Entry]) -> dict[str, str]:
    """First uid of instances that were made again under others."""
    found: dict[str, str] = {}
    for entry in entries:
        if entry.kind == "alias":
            uids: dict[str, str] = dict(entry.content["uids"])
            for old, new in uids.items():
                found[new] = found.get(old, old)
    return found


def _schemas_before(entries: Iterable[Entry]) -> Iterator[tuple[Entry, int, Schema]]:
    """Each entry that changes a schema, the position of the category, what the schema was."""
    for entry in entries:
        for part in entry.content.get("d", ()) if entry.kind == "edit" else ():
            if part[0] == _CODES["schema"]:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    yield entry, -1 - int(part[1]), _schema_from_json(part[4]["s"])


def changed_schemas(entries: Iterable[Entry]) -> list[Schema]:
    """The schemas that categories no longer have, as a journal has them.

    Parameters
    ----------
    entries : iterable of Entry
    """
    return [schema for _, _, schema in _schemas_before(entries)]


def _begins(entries: Sequence[Entry], covered: Mapping[str, int]) -> int:
    """Clock up to which entries are about another file than the one that covers these.

    Somebody opened it when no entry told of it. Entries from before that are no history of it.
    """
    left = [e.order[0] for e in entries if e.kind in _STEPS and not e.is_in(covered)]
    heads = [_anew(entry) for entry in entries if entry.kind == "log"]
    return max((n for n in heads if n is not None and n < min(left, default=n + 1)), default=0)


def is_moved(entry: Entry) -> bool:
    """Whether an entry begins the log of a dataset that was saved over the one before."""
    return entry.kind == "log" and entry.content.get("moved") is True


def of_another(entries: Iterable[Entry], uid: str) -> set[str]:
    """Writers about another dataset than the one with this uid, saved over ours or before ours.

    Only where one was saved over another do uids of datasets tell: two people who open a file that
    has no journal yet begin one each.
    """
    heads = [entry for entry in entries if entry.kind == "log"]
    saved_over = {head.content.get("dataset") for head in heads if is_moved(head)}
    if uid in saved_over:
        return {head.writer for head in heads if head.content.get("dataset") != uid}
    return {head.writer for head in heads if head.content.get("dataset") in saved_over}


def _anew(head: Entry) -> int | None:
    """See `Recorder.anew`."""
    clock = head.content.get("anew")
    return clock if type(clock) is int else None


def of_passes(
    entries: Sequence[Entry], dataset: Dataset, until: float = math.inf
) -> tuple[list[Entry], list[str]]:
    """What entries say of opinions and decisions, which no labels file has, and of nothing else.

    It holds in a file that somebody else has changed, too, unless it is about an image that is gone
    or an instance that is in another one: a uid of a COCO file is a number, perhaps given anew.
    What came before another dataset was saved under this name is about instances of the one before.

    Parameters
    ----------
    entries : list of Entry
        In order.
    dataset : Dataset
    until : float
        Clock of the last entry to be looked at.

    Returns
    -------
    list of Entry
    list of str
        What has no place, in words.
    """
    found: list[Entry] = []
    left_out: list[str] = []
    steps: set[tuple[str, Any]] = set()
    moved = (_anew(entry) or 0 for entry in entries if is_moved(entry))
    begin = max(moved, default=0)
    for entry in entries:
        if not begin < entry.order[0] <= until:
            continue
        key = (str(entry.content.get("of", entry.writer)), entry.content.get("s"))
        if entry.kind == "edit":
            parts = []
            for part, name in _beside_parts(entry):
                problem = _misplaced(part, name, dataset)
                if problem:
                    left_out.append(problem)
                else:
                    parts.append(part)
            if not parts:
                continue
            steps.add(key)
            content = {k: v for k, v in entry.content.items() if k != "i"}
            found.append(Entry(entry.writer, {**content, "d": parts}))
        elif entry.kind in ("undo", "redo") and key in steps:
            found.append(entry)
    return found, left_out


def _beside_parts(entry: Entry) -> Iterator[tuple[Sequence[Any], str]]:
    """What an edit says of second opinions and of findings, and the name of the pass or its key."""
    for part in entry.content.get("d", ()) if entry.kind == "edit" else ():
        if len(part) != 6 or not isinstance(part[5] or part[4], dict):
            continue
        if part[0] == _CODES["pass"]:
            yield part, str((part[5] or part[4]).get("n"))
        elif part[0] == _CODES["decision"]:
            with contextlib.suppress(LookupError, ValueError, TypeError):  # replay says so
                yield part, Decision.from_json(None, None, part[5] or part[4]).key


def _misplaced(part: Sequence[Any], name: str, dataset: Dataset) -> str:
    """Why a part has no place in a file that somebody else has changed; empty if it has."""
    if part[1] == WHOLE:
        return ""
    image, uid = _image_index(dataset, part[1]), part[2]
    why = ""
    if image is None:
        why = "there is no such image any more"
    elif uid is not None and dataset._table.has(uid) and dataset.instance(uid).image.index != image:
        why = f"it is in image {dataset.instance(uid).image.file_name!r} now"
    said = "opinion" if part[0] == _CODES["pass"] else "decision"
    what = f"pass {name!r}" if said == "opinion" else f"decision {name}"
    owner = "" if uid is None else f" of instance {uid!r}"
    return why and f"{what}{owner} in image {part[1]!r}: {why}; the {said} is in the log alone"


def _image_index(dataset: Dataset, key: Any) -> int | None:
    """Index of the image of a key of `image_key`; None if it is not there."""
    name, number = (key, None) if isinstance(key, str) else key
    found = dataset._indices_of_file_name.get(name, [])
    if number is not None:
        found = [index for index in found if dataset._images[index].id == number]
    return found[0] if len(found) == 1 else None


class _Unusable(Exception):
    """An entry that says nothing about this dataset."""


class _Reader:
    """Makes steps of entries."""

    def __init__(
        self,
        dataset: Dataset,
        canonical: Mapping[str, str],
        first: Mapping[int, Schema],
        heads: Mapping[str, Entry],
    ) -> None:
        self._dataset = dataset
        self._canonical = canonical
        self._first = first
        self._heads = heads
        #: What `_base` has found, by writer, category and the last change of its schema.
        self._bases: dict[tuple[str, int, int], str | None] = {}
        #: Categories of instances that the entries add or remove, for those not there any more.
        self._category_of: dict[str, int] = {}
        #: What of the step that was made last has no place in the schema of now, in words.
        self.left_out: list[str] = []
        #: What an instance of the journal is called now, where that is something else.
        self.aliases: dict[str, str] = {}

    def _uid(self, uid: str | None) -> str | None:
        if uid is None:
            return None
        first = self._canonical.get(uid, uid)
        return self.aliases.get(first, first)

    def is_again(self, step: Step, content: Mapping[str, Any]) -> bool:
        """Whether a step of the dataset does what an entry says; its new instances are matched."""
        parts = content.get("d", ())
        if len(parts) != len(step.changes) or content.get("l") != step.label:
            return False
        recorder = Recorder(self._dataset, Journal(Path()))
        found: dict[str, str] = {}
        renamed = self.aliases
        for part, change in zip(parts, step.changes, strict=True):
            now = json.loads(json.dumps(recorder.change(change)))
            before: list[Any] = list(part)
            uid = before[2]
            if change.what == "schema" and "kept" in before[4]:
                kept = before[4]["kept"]
                uids = [self._canonical.get(one, one) for one in kept["uids"]]
                kept = {**kept, "uids": [renamed.get(one, one) for one in uids]}
                before[4] = {**before[4], "kept": kept}
            if change.what == "instance" and change.before is None and uid is not None:
                found[self._canonical.get(uid, uid)] = str(change.uid)
            if uid is not None:
                first = self._canonical.get(uid, uid)
                before[2] = found.get(first, self.aliases.get(first, first))
            if change.what in _BESIDE:  # at another time
                now[4:], before[4:] = (
                    [v and {**v, "t": 0} for v in side[4:]] for side in (now, before)
                )
            if now != before:
                return False
        self.aliases.update({old: new for old, new in found.items() if old != new})
        return True

    def restore_marks(self, step: Step, content: Mapping[str, Any], *, is_undo: bool) -> None:
        """Put in place what the labels file has no field for, of a step that it has otherwise."""
        dataset, table = self._dataset, self._dataset._table
        parts = content.get("d", ())
        made_of = {self._uid(part[2]): part[5] for part in parts if part[0] == "i" and part[5]}
        for change in step.changes:
            value = change.before if is_undo else change.after
            if change.what == "status":
                state = dataset._images[change.image]
                dataset._n_done += int(value) - int(state.is_done)
                state.is_done = value
                continue
            if change.what in _BESIDE:
                dataset._apply(change, value)
                continue
            if change.uid is None or not table.has(change.uid):
                continue
            row = table.row(change.uid)
            if change.what == "finished":
                table.put_finished(row, value)
            elif change.what == "bbox":  # made derived again above, if it was when it was added
                table.put_bbox(row, value)
            elif change.what == "instance" and change.before is None and change.uid in made_of:
                made = made_of[change.uid]
                table.put_made(
                    row,
                    is_finished=bool(made.get("f", True)),
                    annotator=made.get("a"),
                    source=str(made.get("so", "human")),
                    has_bbox="b" in made,
                    has_area="ar" in made,
                )

    def step(self, entry: Entry) -> Step:
        content = entry.content
        origin = content.get("o")
        token = content.get("w")
        self.left_out = []
        changes = [change for part in content.get("d", ()) for change in self._changes(part, entry)]
        image = content.get("i")
        bases = {}
        for change in changes:  # the dataset knows no category of what was removed from the file
            index = self._category_index(change.uid) if change.what == "keypoint" else None
            if index is not None:
                bases[-1 - index] = self._dataset._history._schema_top(-1 - index)
        step = Step(
            0,
            str(content.get("l", "")),
            tuple(origin) if isinstance(origin, list) else origin,
            tuple(token) if token is not None else None,
            None if image is None else self._image(image),
            dict(content.get("x") or {}),
            True,
            str(content.get("a", "")),
            entry.time,
            changes,
            _bases=bases,
        )
        step.writer = entry.writer
        step.number = int(content["s"])
        return step

    def _image(self, key: Any) -> int:
        index = _image_index(self._dataset, key)
        if index is None:
            name = key if isinstance(key, str) else key[0]
            raise _Unusable(f"there is no image {name!r} any more")
        return index

    def _schema(self, index: int) -> Schema:
        """The schema that a category has at this entry, also where the file is further on."""
        steps = self._dataset._history.schema_steps(-1 - index)
        if steps:
            schema: Schema = steps[-1].changes[0].after.schema
            return schema
        return self._first.get(index, self._dataset.categories[index].schema)

    def begin(self, schemas: Mapping[str, str]) -> dict[int, str]:
        """Begin with these names of schemas, by category id, and no history."""
        self._first, self._bases = {}, {}
        of_id = self._dataset._category_of_id
        return {of_id[int(key)]: token for key, token in schemas.items() if int(key) in of_id}

    def _base(self, index: int, writer: str) -> str | None:
        """What names the schema that a log begins with, told by the keypoints in its head.

        None if the category never had these, as far as is known.
        """
        steps = self._dataset._history.schema_steps(-1 - index)
        key = (writer, index, steps[-1].id if steps else 0)
        if key not in self._bases:
            self._bases[key] = self._find_base(index, self._heads.get(writer), steps)
        return self._bases[key]

    def _find_base(self, index: int, head: Entry | None, steps: Sequence[Step]) -> str | None:
        category_id = self._dataset.categories[index].id
        told = [] if head is None else list(head.content.get("categories", ()))
        names = [tuple(c["keypoints"]) for c in told if c["id"] == category_id]
        if head is None or not names:
            return ""
        first = steps[0].changes[0].before.schema if steps else self._schema(index)
        began = self._dataset._schema_tokens.get(index, "")
        anew = _anew(head)
        if anew is None:
            return "" if not began and first.keypoints == names[0] else None
        sides = [(began, first, 0.0)]
        sides += [(s.changes[0].after.token, s.changes[0].after.schema, s.time) for s in steps]
        fitting = [(token, time) for token, one, time in sides if one.keypoints == names[0]]
        until = (anew >> _COUNTER_BITS) / 1000  # what was changed by then is in its file
        fitting = [one for one in fitting if one[1] <= until][-1:] or fitting
        return fitting[0][0] if fitting else None

    def _since(self, index: int, entry: Entry) -> list[PrimitiveChange]:
        """The changes of the schema of a category that who made an entry did not know of."""
        changes = [s.changes[0] for s in self._dataset._history.schema_steps(-1 - index)]
        category = self._dataset.categories[index]
        view = dict(entry.content.get("m", {})).get(str(category.id))
        if view is None:
            view = self._base(index, entry.writer)
        began = self._dataset._schema_tokens.get(index, "")
        tokens = [began, *(change.after.token for change in changes)]
        if view not in tokens:
            raise _Unusable(
                f"it was made with another schema of category {category.name!r}, which was changed "
                "or taken back meanwhile"
            )
        return changes[tokens.index(view) :]

    def _category_index(self, uid: str | None) -> int | None:
        row = None if uid is None else self._dataset._table.last_row(uid)
        return (
            self._category_of.get(str(uid)) if row is None else self._dataset._table.category(row)
        )

    def _changes(self, part: Sequence[Any], entry: Entry) -> list[PrimitiveChange]:
        """What one part of an entry says, by the schema of now."""
        code, uid, keypoint = part[0], self._uid(part[2]), part[3]
        if code == _CODES["schema"]:
            return [self._schema_change(part, entry)]
        if code == _CODES["instance"]:
            since = self._since(self._category_of_record(part[5] or part[4]), entry)
            parts = [part]
            if since:
                parts = [[*part[:4], *(self._moved_record(uid, v, since) for v in part[4:])]]
        elif code == _CODES["keypoint"]:
            index = self._category_index(uid)
            places = [keypoint]
            for change in () if index is None else self._since(index, entry):
                sources = change.after.sources
                now = [k for k, source in enumerate(sources) if source in places]
                if not now:
                    self._leave_out(change.before.schema, places[0], uid, part[5])
                places = now
                if not places:
                    break
            parts = [[*part[:3], k, *part[4:]] for k in places]
        elif _WHAT[code] in _BESIDE and part[4] is part[5] is None:
            parts = []  # what it gave, another had taken away by then
        else:
            parts = [part]
        return [self._change(one) for one in parts]

    def _leave_out(self, schema: Schema, keypoint: int, uid: str | None, value: Any) -> None:
        self.left_out.append(
            f"keypoint {schema.keypoints[keypoint]!r} of instance {uid!r} was removed from the "
            f"schema meanwhile: its value {value} is in the log alone"
        )

    def _category_of_record(self, value: Mapping[str, Any]) -> int:
        index = self._dataset._category_of_id.get(value["c"])
        if index is None:
            raise _Unusable(f"there is no category with the id {value['c']!r} any more")
        return index

    def _moved_record(
        self, uid: str | None, value: Mapping[str, Any] | None, since: Sequence[PrimitiveChange]
    ) -> Mapping[str, Any] | None:
        """A record with its keypoints as they are after changes of the schema."""
        if value is None:
            return None
        points = list(value["p"])
        for change in since:
            sources, schema = change.after.sources, change.before.schema
            for k, point in enumerate(points):
                if point is not None and point[2] and k not in sources:
                    self._leave_out(schema, k, uid, point)
            points = [points[source] if source >= 0 else None for source in sources]
        return {**value, "p": points}

    def _schema_change(self, part: Sequence[Any], entry: Entry) -> PrimitiveChange:
        index = -1 - int(part[1])
        if not 0 <= index < len(self._dataset.categories):
            raise _Unusable("there is no such category any more")
        before, after = part[4], part[5]
        here, category = self._schema(index), self._dataset.categories[index]
        view = before["k"] or self._base(index, entry.writer)
        old, new = _schema_from_json(before["s"]), _schema_from_json(after["s"])
        token = schema_token(self._dataset, index)
        if view != token or old.keypoints != here.keypoints:
            is_done = after["k"] == token
            raise _Unusable(
                f"the schema of category {category.name!r} was changed by another "
                + ("in the same way" if is_done else "in another way")
            )
        sources = tuple(int(source) for source in after["from"])
        is_whole = len(sources) == new.n_keypoints and isinstance(after["k"], str)
        if not is_whole or not all(-1 <= s < old.n_keypoints for s in sources):
            raise _Unusable("it does not say where each keypoint comes from")
        lost = tuple(sorted({*range(old.n_keypoints)}.difference(sources)))
        kept = self._with_unseen(self._kept(before.get("kept")), lost, index)
        states = (
            SchemaState(old, sources_back(sources, old.n_keypoints), view, kept),
            SchemaState(new, sources, after["k"]),
        )
        return PrimitiveChange("schema", None, -1 - index, *states)

    def _kept(self, content: Mapping[str, Any] | None) -> KeptPoints | None:
        if content is None:
            return None
        uids = [str(self._uid(uid)) for uid in content["uids"]]
        keypoints = tuple(int(k) for k in content["keypoints"])
        try:
            packed = base64.b64decode(content["values"])
            n_bytes = 24 * len(uids) * len(keypoints)
            data = zlib.decompressobj().decompress(packed, n_bytes + 1)
        except zlib.error as error:
            raise _Unusable(f"the values that it removes cannot be read: {error}") from error
        values = np.frombuffer(data, "<f8").reshape(len(uids), len(keypoints), 3)
        table = self._dataset._table
        is_there = np.array([table.last_row(uid) is not None for uid in uids], np.bool_)
        rows = [table.last_row(uid) for uid in uids if table.last_row(uid) is not None]
        return KeptPoints(np.array(rows, np.int64), keypoints, values[is_there].astype(float))

    def _with_unseen(
        self, kept: KeptPoints | None, lost: tuple[int, ...], index: int
    ) -> KeptPoints | None:
        """What a change of a schema keeps, with the values that its writer had not seen.

        Another had given them, by the same schema, and comes before it.
        """
        history, table = self._dataset._history, self._dataset._table
        made_under = next((step.id for step in history.schema_steps(-1 - index)[-1:]), None)
        at = {k: i for i, k in enumerate(lost)}
        given: dict[str, dict[int, Point]] = {}
        for step in history.steps() if lost else ():
            if step._bases.get(-1 - index, -1) != made_under:
                continue
            for change in step.changes:
                uid, after = str(change.uid), change.after
                if change.what == "instance" and after is not None and after.category == index:
                    given[uid] = {k: after.keypoints[k] for k in lost}
                elif change.keypoint in at and self._category_index(uid) == index:
                    given.setdefault(uid, {})[change.keypoint] = after
        found = ((table.last_row(uid), points) for uid, points in given.items())
        rows = {row: points for row, points in found if row is not None}
        if not rows:
            return kept
        if kept is None or kept.keypoints != lost:
            kept = KeptPoints(np.empty(0, np.int64), lost, np.empty((0, len(lost), 3)))
        more = sorted(set(rows).difference(kept.rows.tolist()))
        all_rows = np.concatenate([kept.rows, np.array(more, np.int64)])
        values = np.concatenate([kept.values, np.zeros((len(more), len(lost), 3))])
        place = {row: i for i, row in enumerate(all_rows.tolist())}
        for row, points in rows.items():
            for k, point in points.items():
                values[place[row], at[k]] = point or (0, 0, 0)
        return KeptPoints(all_rows, lost, values)

    def take_kept(self, step: Step, content: Mapping[str, Any], *, is_covered: bool) -> None:
        """Take what a redo of a change of a schema has kept, if the labels file has it already."""
        for change, part in zip(step.changes, content.get("d", ()), strict=False):
            if change.what == "schema" and part[0] == _CODES["schema"] and is_covered:
                change.before.kept = self._kept(part[4].get("kept"))

    def _change(self, part: Sequence[Any]) -> PrimitiveChange:
        code, image, uid, keypoint, before, after = part
        uid = self._uid(uid)
        what = cast("Any", _WHAT[code])
        index = image if isinstance(image, int) else self._image(image)
        if what == "instance":
            before, after = (
                None if value is None else self._record(str(uid), index, value)
                for value in (before, after)
            )
        elif what in ("keypoint", "bbox"):
            before, after = (None if v is None else tuple(v) for v in (before, after))
        elif what == "category":
            category = self._dataset.categories[-1 - index]
            before, after = (dataclasses.replace(category, name=v) for v in (before, after))
        elif what == "pass":
            before, after = (
                None if v is None else Opinion.from_json(str(uid), v) for v in (before, after)
            )
            keypoint = next(v.name for v in (before, after) if v is not None)
        elif what == "decision":
            if index < WHOLE:
                raise _Unusable(f"there is no image {index}")
            name = None if index == WHOLE else self._dataset._images[index].file_name
            before, after = (
                None if v is None else Decision.from_json(name, uid, v) for v in (before, after)
            )
            keypoint = next(v.key for v in (before, after) if v is not None)
        return PrimitiveChange(what, uid, index, before, after, keypoint)

    def _record(self, uid: str, image: int, value: Mapping[str, Any]) -> InstanceRecord:
        table = self._dataset._table
        index = self._category_of_record(value)
        self._category_of[uid] = index
        n_keypoints = self._schema(index).n_keypoints
        points = tuple(None if point is None else tuple(point) for point in value["p"])
        if len(points) != n_keypoints:
            raise _Unusable(
                f"instance {uid!r} has {len(points)} keypoints there, {n_keypoints} here"
            )
        box = value.get("b")
        # Its values as they were then; its place in the file, if it is there, is the one of now.
        there = table.record(uid) if table.has(uid) else None
        return InstanceRecord(
            uid=uid,
            image=image,
            category=index,
            keypoints=cast("Any", points),
            bbox=None if box is None else cast("Any", tuple(box)),
            area=value.get("ar"),
            iscrowd=int(value.get("ic", 0)),
            track_id=value.get("t"),
            score=value.get("sc"),
            annotator=value.get("a"),
            source=str(value.get("so", "human")),
            is_finished=bool(value.get("f", True)),
            id=value.get("id") if there is None else there.id,
            extra=value.get("e") if there is None or there.text is None else None,
            row=table.n_rows if there is None else there.row,
            text=None if there is None else there.text,
            position=-1 if there is None else there.position,
        )

    def clashes(self, step: Step, time: float) -> list[Conflict]:
        """Values that are no longer what the step has changed them from: two writers did.

        The one who did it later is in force; what the step says of a value that was changed after
        it is taken out of it.
        """
        found = []
        seen: dict[Any, Any] = {}
        own = {c.uid for c in step.changes if c.what == "instance" and c.before is None}
        for i, change in enumerate(step.changes):
            if change.uid in own and change.what != "instance":
                continue  # of an instance that the step itself adds
            if change.what == "schema":
                continue  # whether it fits was seen when it was read
            key = (change.owner, change.target)
            now = seen.get(key, _MISSING)
            if now is _MISSING:
                now = self._dataset._value_of(change)
            seen[key] = change.after
            expected = change.before
            if change.what == "instance":
                if (now is None) != (expected is None):
                    raise _Unusable(
                        f"instance {change.uid!r} is "
                        + ("there already" if now is not None else "not there")
                    )
                if change.after is None:  # its undo gives back what was there, with edits of others
                    step._changes[i] = dataclasses.replace(change, before=now)
                continue
            if _same(now, expected):
                continue
            writer = self._writer_of(change)
            is_late = writer is not None and writer.time > time
            if is_late:  # so that its undo does not take what the later one gave either
                step._changes[i] = dataclasses.replace(change, before=now, after=now)
                seen[key] = now
            if _same(now, change.after):
                continue
            name = None
            if isinstance(change.keypoint, int):
                row = self._dataset._table.row(str(change.uid))
                category = self._dataset.categories[self._dataset._table.category(row)]
                name = category.keypoints[change.keypoint]
            image = self._dataset._images[change.image].file_name if change.image >= 0 else ""
            kept, other, by = change.after, now, "" if writer is None else writer.annotator
            if is_late:
                kept, other, by = now, change.after, step.annotator
            if change.what in _BESIDE:  # as a mark of the file can keep it
                kept, other = (v and json.loads(json.dumps(v.to_json())) for v in (kept, other))
            steps = tuple(sorted({self._place(one) for one in (step, writer) if one is not None}))
            found.append(Conflict(image, change.uid, name, change.what, kept, other, by, steps))
        return found

    def _place(self, step: Step) -> tuple[str, int]:
        """Log of a step and its number there."""
        if step.writer is not None and step.number is not None:
            return step.writer, step.number
        recorder = self._dataset.recorder
        return "" if recorder is None else recorder.journal.writer, step.id

    def _writer_of(self, change: PrimitiveChange) -> Step | None:
        """The step in force that wrote a value last, also under an earlier schema."""
        history = self._dataset._history
        index = self._category_index(change.uid) if change.what == "keypoint" else None
        if index is None or change.keypoint is None:
            return history.writer_of(change)
        k = change.keypoint
        steps = history.schema_steps(-1 - index)
        for schema_step in [*reversed(steps), None]:
            under = None if schema_step is None else schema_step.id
            writer = history.writer_of(dataclasses.replace(change, keypoint=k), under)
            if writer is not None or schema_step is None:
                return writer
            k = schema_step.changes[0].after.sources[k]
            if k < 0:
                return None
        return None


_MISSING: Final = object()


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)
