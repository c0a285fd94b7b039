"""Packs the logs of a journal that nobody writes to any more into one file.

A journal gets a log with every session, and each opening reads them all. Packing changes where the
lines are, never what they say: history, undo, conflicts and marks stay.

There are no locks here either. A file is removed only when all its lines are, synced, in another
one that was made later; until then they are there twice, and a reader takes them once. So a crash
at any moment loses nothing, and neither does a second compaction at the same time. A writer that
was taken for gone and goes on finds its log taken away, and begins a new one under the same name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kpwidget.journal import (
    PACKED,
    SUFFIX,
    WRITER,
    listed,
    numbered,
    packed_content,
    packed_lines,
    sync_folder,
    writer_of,
)
from kpwidget.words import count

__all__ = ["DAY", "MANY", "Compacted", "compact", "compact_if_many"]

#: A log that was not touched for so many seconds is taken for left.
DAY: Final = 86400.0
#: An opening packs the logs that are left if they are more than this.
MANY: Final = 32
#: Seconds after which the temporary file of a compaction is one of a crash.
_ABANDONED: Final = 3600.0

#: Lines of logs, by their numbers.
_Lines = dict[int, bytes]


@dataclass(frozen=True)
class Compacted:
    """What a compaction did; as text in words.

    Attributes
    ----------
    n_logs : int
        Logs that were packed and removed.
    path : Path or None
        The packed file that was made; None if all was packed already.
    n_entries : int
        Entries in packed files that are intact.
    left : tuple of Path
        Damaged logs and packed files. They stay as they are.
    """

    n_logs: int
    path: Path | None
    n_entries: int
    left: tuple[Path, ...]

    def __str__(self) -> str:
        if self.n_logs:
            said = f"{count(self.n_logs, 'log')} packed"
        elif self.path is not None:
            said = "packed files joined"
        else:
            said = "nothing to pack: no log of another session has been left for a day"
        if self.path is not None:
            said += f" into {self.path}, which has {self.n_entries} entries"
        if self.left:
            names = ", ".join(path.name for path in self.left[:3])
            names += ", ..." if len(self.left) > 3 else ""
            said += f"; left as they are, damaged: {names}"
        return said


@dataclass(frozen=True)
class _Source:
    """A log that is to be packed, as it was read."""

    path: Path
    lines: _Lines
    size: int
    checksum: int

    def remove(self) -> bool:
        """Remove the log if it still has what was read and no more; whether it is gone.

        Its name is taken first: a writer that goes on sees that after it has written, and writes
        again to a new log. What it has written before that is in the file that is compared.
        """
        aside = self.path
        writer = writer_of(self.path)
        if self.path.stem == writer:
            aside = self.path.with_name(f"{writer}.old-{secrets.token_hex(4)}{SUFFIX}")
        try:
            if aside != self.path:
                self.path.rename(aside)
            data = aside.read_bytes()
            if (len(data), zlib.crc32(data)) != (self.size, self.checksum):
                return False
            aside.unlink()
        except OSError:  # another compaction was faster, or it may not be removed: it does no harm
            return False
        return True


def compact_if_many(folder: Path, own: str) -> None:
    """Pack the logs of a journal if many are left; if that fails, all is as it was.

    Parameters
    ----------
    folder : Path
    own : str
        A writer whose log is not packed.
    """
    with contextlib.suppress(OSError):  # read-only, full, gone: the logs will do
        if len(_left_logs(folder, own, DAY)) > MANY:
            compact(folder, own)


def compact(folder: Path, own: str = "", older_than: float = DAY) -> Compacted:
    """Pack the logs of a journal that nobody writes to, as far as can be told.

    Parameters
    ----------
    folder : Path
        Of the journal. Others may write to it meanwhile, and compact it as well.
    own : str
        A writer whose log is not packed.
    older_than : float
        Seconds for which a log was not touched.

    Returns
    -------
    Compacted

    Raises
    ------
    OSError
        If the packed file cannot be written. Every log is as it was.
    """
    _sweep(folder)
    lines: dict[str, _Lines] = {}  # that the packed file is to have
    damaged: dict[str, _Lines] = {}  # that are in packed files which stay
    olds: list[Path] = []
    left: list[Path] = []
    for path in listed(folder):
        if path.suffix != PACKED:
            continue
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # another compaction was faster
            continue
        problems: list[str] = []
        of_file: dict[str, _Lines] = {}
        for line in packed_lines(path, data, problems):
            of_file.setdefault(line.writer, {})[line.content["n"]] = line.data
        joined = {w: _joined([lines.get(w, {}), of_writer]) for w, of_writer in of_file.items()}
        if problems or None in joined.values():
            left.append(path)
            for writer, of_writer in of_file.items():
                damaged.setdefault(writer, {}).update(of_writer)
            continue
        olds.append(path)
        lines.update({writer: both for writer, both in joined.items() if both is not None})
    n_before = sum(map(len, lines.values()))
    sources: dict[str, list[_Source]] = {}
    for path in _left_logs(folder, own, older_than):
        with contextlib.suppress(FileNotFoundError):
            source = _source(path)
            if source is None:
                left.append(path)
            else:
                sources.setdefault(writer_of(path), []).append(source)
    taken: list[_Source] = []
    for writer, logs in sources.items():
        together = _joined([lines.get(writer, {}), *(source.lines for source in logs)])
        numbers = {*damaged.get(writer, {}), *(together or {})}
        if together is None or numbers != set(range(1, len(numbers) + 1)):
            left += [source.path for source in logs]  # its reader says what is missing
            continue
        taken += logs
        lines[writer] = together
    n_entries = sum(map(len, lines.values()))
    made = None
    if n_entries > n_before or len(olds) > 1:
        made = _write(folder, lines)
        for path in olds:
            with contextlib.suppress(OSError):
                path.unlink()
    elif taken:
        sync_folder(folder)  # who made the packed file may not have come so far
    n_logs = sum(source.remove() for source in taken)
    return Compacted(n_logs, made, n_entries, tuple(left))


def _left_logs(folder: Path, own: str, older_than: float) -> list[Path]:
    """Logs that were not touched for some seconds."""
    found = []
    for path in listed(folder):
        writer = writer_of(path)
        if path.suffix != SUFFIX or writer == own or not WRITER.fullmatch(writer):
            continue
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= older_than:
                found.append(path)
    return found


def _source(path: Path) -> _Source | None:
    """A log, read; None if it is damaged. A last line that was cut off is no damage."""
    data = path.read_bytes()
    lines: _Lines = {}
    for line in numbered(data):
        if line.content is None:
            if not line.is_last:
                return None
        elif lines.setdefault(line.content["n"], line.data) != line.data:
            return None
    return _Source(path, lines, len(data), zlib.crc32(data))


def _joined(parts: list[_Lines]) -> _Lines | None:
    """Lines of one writer from several files; None if they contradict one another."""
    found: _Lines = {}
    for part in parts:
        for n, line in part.items():
            if found.setdefault(n, line) != line:
                return None
    return found


def _write(folder: Path, lines: dict[str, _Lines]) -> Path:
    """Make a packed file. When it has its name, it is on disk and was read back."""
    ordered = [
        (w, of_writer[n]) for w, of_writer in sorted(lines.items()) for n in sorted(of_writer)
    ]
    unique = secrets.token_hex(4)
    temporary = folder / f".packing-{unique}.tmp"
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = folder / f"history-{stamp}-{unique}{PACKED}"
    data = packed_content(ordered)
    try:
        _write_through(temporary, data)
        if temporary.read_bytes() != data:
            raise OSError(errno.EIO, "what was written is not what is read back", str(temporary))
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(folder)
    return target


def _write_through(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Remove what compactions that crashed have left behind."""
    for path in folder.glob(".packing-*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()
