"""Annotations of a COCO file as numpy columns: what is decoded many records at a time.

`decode` looks at no dataset, so that a part of a large file can be decoded by a second process
(`Helper`) while this one decodes the rest.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset import PointFields
from kpwidget.dataset.table import NO_ID
from kpwidget.dataset.values import MAX_COORDINATE

__all__ = ["Columns", "Helper", "chunks", "collector_paused", "decode"]

_CHUNK: Final = 1 << 19  # bytes decoded in one go


_NULL: Final = msgspec.Raw(b"null")
_ZEROS: Final = b"[]0, \t\n\r"  # what a list of zeros is made of
_OF_INTEGERS: Final = b"0123456789[], \t\n\r"
_MOST_DIGITS: Final = 4  # of a number that fits into 16 bits whatever it is
_LISTS: Final = msgspec.json.Decoder(list[list[float] | None])


class _Fields(msgspec.Struct, gc=False):
    id: int
    image_id: int
    category_id: int
    keypoints: msgspec.Raw = _NULL
    bbox: list[float] | None = None
    area: float | None = None
    iscrowd: int | bool | None = 0
    track_id: int | str | None = None
    score: float | None = None


class _WholeBodyFields(_Fields, gc=False):
    foot_kpts: msgspec.Raw = _NULL
    face_kpts: msgspec.Raw = _NULL
    lefthand_kpts: msgspec.Raw = _NULL
    righthand_kpts: msgspec.Raw = _NULL


_PLAIN: Final = attrgetter(
    "id", "image_id", "category_id", "bbox", "area", "iscrowd", "track_id", "score"
)


@dataclass
class Columns:
    """Values of the annotations of a file, or of a run of them.

    Attributes
    ----------
    is_decoded : ndarray of shape (n,), bool
        False where a record has to be looked at singly: its values here mean nothing.
    id, image_id, category_id : ndarray of shape (n,), int64
    bbox : ndarray of shape (n, 4)
        NaN where there is none.
    area, score : ndarray of shape (n,)
        NaN where there is none.
    iscrowd : ndarray of shape (n,), uint8
    tracks : dict of int to int or str
        Track ids by position.
    points : dict of int to list of (positions, points)
        For each category with keypoints, by its id: where its records are, and their points
        of shape (n, n_keypoints, 3).
    n_unnamed : dict of (int, int) to int
        How many records of a category without keypoints have how many points all the same.
    """

    is_decoded: NDArray[np.bool_]
    id: NDArray[np.int64]
    image_id: NDArray[np.int64]
    category_id: NDArray[np.int64]
    bbox: NDArray[np.float64]
    area: NDArray[np.float64]
    score: NDArray[np.float64]
    iscrowd: NDArray[np.uint8]
    tracks: dict[int, Any] = field(default_factory=dict)
    points: dict[int, list[tuple[NDArray[np.int64], NDArray[np.float64]]]] = field(
        default_factory=dict
    )
    n_unnamed: dict[tuple[int, int], int] = field(default_factory=dict)

    @classmethod
    def empty(cls, n: int) -> Columns:
        """Columns of `n` records of which none is decoded."""
        return cls(
            is_decoded=np.zeros(n, bool),
            id=np.full(n, NO_ID, np.int64),
            image_id=np.zeros(n, np.int64),
            category_id=np.zeros(n, np.int64),
            bbox=np.full((n, 4), math.nan),
            area=np.full(n, math.nan),
            score=np.full(n, math.nan),
            iscrowd=np.zeros(n, np.uint8),
        )

    def join(self, other: Columns) -> Columns:
        """These records followed by those of `other`."""
        n = len(self.id)
        joined = Columns.empty(0)
        for name in ("is_decoded", "id", "image_id", "category_id", "bbox", "area", "score",
                     "iscrowd"):  # fmt: skip
            setattr(joined, name, np.concatenate([getattr(self, name), getattr(other, name)]))
        joined.tracks = {**self.tracks, **{n + at: v for at, v in other.tracks.items()}}
        joined.points = self.points
        for category, parts in other.points.items():
            joined.points.setdefault(category, []).extend((n + at, p) for at, p in parts)
        joined.n_unnamed = dict(self.n_unnamed)
        for key, count in other.n_unnamed.items():
            joined.n_unnamed[key] = joined.n_unnamed.get(key, 0) + count
        return joined


def decode(
    data: bytes,
    spans: NDArray[np.int64],
    point_fields: Mapping[int, PointFields],
    bar: Any = None,
) -> Columns:
    """Columns of the annotations that stand at `spans`.

    Parameters
    ----------
    data : bytes
    spans : ndarray of shape (n, 2)
        Begin and end of each record in `data`.
    point_fields : mapping of int to PointFields
        For each category with keypoints, by its id, the fields these stand in.
    bar : optional
        Has an ``update(n)`` that is told of progress.

    Returns
    -------
    Columns
    """
    is_plain = all(f == "keypoints" for fields in point_fields.values() for f, _ in fields)
    decoder = msgspec.json.Decoder(list[_Fields] if is_plain else list[_WholeBodyFields])
    columns = Columns.empty(len(spans))
    view = memoryview(data)
    for start, stop in chunks(spans):
        positions = np.arange(start, stop)
        payload = b"".join((b"[", view[spans[start, 0] : spans[stop - 1, 1]], b"]"))
        for at, records in _decoded(decoder, payload, data, spans, positions):
            _put(columns, at, records, point_fields)
        if bar is not None:
            bar.update(stop - start)
    return columns


def chunks(spans: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Runs of records that are decoded in one go: few enough for the memory they take.

    Parameters
    ----------
    spans : ndarray of shape (n, 2)
    """
    start = 0
    while start < len(spans):
        stop = int(np.searchsorted(spans[:, 1], spans[start, 0] + _CHUNK, "right"))
        stop = max(stop, start + 1)
        yield start, stop
        start = stop


def _decoded(
    decoder: msgspec.json.Decoder[Any],
    payload: bytes,
    data: bytes,
    spans: NDArray[np.int64],
    positions: NDArray[np.int64],
) -> Iterator[tuple[NDArray[np.int64], list[Any]]]:
    """Decoded records with their positions; those that do not decode are left out."""
    if not len(positions):
        return
    try:
        yield positions, decoder.decode(payload)
        return
    except (msgspec.DecodeError, RecursionError):
        pass  # one of them does not fit: find out which
    good, records = [], []
    for position in positions.tolist():
        a, b = spans[position].tolist()
        try:
            records += decoder.decode(b"[" + data[a:b] + b"]")
        except (msgspec.DecodeError, RecursionError):
            continue  # `is_decoded` stays False: the caller looks at it
        good.append(position)
    if good:
        yield np.array(good, np.int64), records


def _put(
    columns: Columns,
    at: NDArray[np.int64],
    records: list[Any],
    point_fields: Mapping[int, PointFields],
) -> None:
    """Put decoded records in their places, those that fit."""
    ids, image_ids, category_ids, boxes, areas, crowds, tracks, scores = zip(
        *map(_PLAIN, records), strict=True
    )
    try:
        columns.id[at] = ids
        columns.image_id[at] = image_ids
        columns.category_id[at] = category_ids
    except OverflowError:  # more than 64 bits
        return
    category = columns.category_id[at]
    iscrowd = np.array([crowd or 0 for crowd in crowds] if set(crowds) != {0} else [0])
    is_good = (columns.id[at] != NO_ID) & ((iscrowd == 0) | (iscrowd == 1))
    columns.bbox[at], fits = _rows_of(boxes, 4, math.nan)
    is_good &= fits & ~(np.abs(columns.bbox[at]) > MAX_COORDINATE).any(axis=1)
    columns.area[at] = np.array(areas, np.float64)  # None becomes NaN
    if set(scores) != {None}:
        columns.score[at] = np.array(scores, np.float64)
    columns.iscrowd[at] = np.where(is_good, iscrowd, 0)
    if set(tracks) != {None}:
        for position, track in zip(at.tolist(), tracks, strict=True):
            if track is not None:
                columns.tracks[position] = track
    different = sorted(set(category_ids))
    for category_id in different:
        chosen = np.flatnonzero(category == category_id)
        of_category = records
        if len(different) > 1:
            of_category = [records[i] for i in chosen.tolist()]
        fields = point_fields.get(category_id)
        if fields is None:
            for record in of_category:
                # How many points: there is a comma less than numbers.
                n_commas = bytes(record.keypoints).count(b",")
                if n_commas:
                    key = (category_id, (n_commas + 1) // 3)
                    columns.n_unnamed[key] = columns.n_unnamed.get(key, 0) + 1
            continue
        points, fits = _points(of_category, fields)
        is_good[chosen] &= fits
        keep = is_good[chosen]
        places, points = at[chosen[keep]], points[keep]
        columns.points.setdefault(category_id, []).append((places, points))
        # This is how an instance without a box is written: COCO requires one.
        nothing = places[~points[..., 2].any(axis=1)]
        nothing = nothing[~columns.bbox[nothing].any(axis=1)]
        columns.bbox[nothing] = math.nan
        columns.area[nothing[columns.area[nothing] == 0]] = math.nan
    columns.is_decoded[at] = is_good


def _rows_of(
    lists: Sequence[list[float] | None], length: int, filler: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Lists of numbers as rows, None and those of another length as `filler`; which are good."""
    is_good = np.ones(len(lists), bool)
    try:
        lengths = set(map(len, lists))  # type: ignore[arg-type]
    except TypeError:  # there is None among them
        lengths = set()
    if lengths == {length}:
        return _stacked(lists, length), is_good
    nothing = [filler] * length
    is_good[:] = [row is None or len(row) == length for row in lists]
    filled = [
        nothing if row is None or not good else row
        for row, good in zip(lists, is_good.tolist(), strict=True)
    ]
    return _stacked(filled, length), is_good


def _stacked(lists: Iterable[Any], length: int) -> NDArray[np.float64]:
    """Lists of numbers of one length as rows; `numpy.array` would take three times as long."""
    pack = struct.Struct(f"{length}d").pack
    return np.frombuffer(b"".join([pack(*row) for row in lists])).reshape(-1, length)


def _number_rows(
    texts: Sequence[msgspec.Raw], length: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Lists of numbers as rows, from their JSON text; null counts as zeros. Which are good.

    That the text is JSON has been checked. In COCO's own files the numbers are small integers,
    which are made of their digits many at a time, and nearly half of the instances have no labeled
    keypoint: zeros are recognised by their text.
    """
    all_texts = list(map(bytes, texts))
    is_good = np.ones(len(all_texts), bool)
    integers = _integers(all_texts, length)
    if integers is not None:
        return integers, is_good
    # Lists of zeros mostly have one and the same text.
    zeros = {text for text in set(all_texts) if not text.strip(_ZEROS)}
    is_there = np.array([text not in zeros for text in all_texts], bool)
    there = list(compress(all_texts, is_there.tolist()))
    rows = np.zeros((len(all_texts), length))
    wrong = {text for text in zeros if len(_list_or_nothing(text)) != length}
    if wrong:
        is_good &= [text not in wrong for text in all_texts]
    try:
        parsed = _LISTS.decode(b"[" + b",".join(there) + b"]")
    except msgspec.DecodeError:  # one of them is no list of numbers
        parsed = list(map(_list_or_nothing, there))
    # Null is the one text without a number in it that is not of zeros.
    rows[is_there], is_good[is_there] = _rows_of(parsed, length, 0.0)
    return rows, is_good


def _integers(texts: Sequence[bytes], length: int) -> NDArray[np.float64] | None:
    """Lists of `length` integers as rows, from their JSON text; None if they are something else."""
    joined = b"".join(texts)
    if not texts or joined.translate(None, _OF_INTEGERS):
        return None
    codes = np.frombuffer(joined, np.uint8)
    digits = codes - np.uint8(ord("0"))
    is_digit = digits <= 9
    ends = np.flatnonzero(is_digit[:-1] & ~is_digit[1:])  # where the last digits are
    opened = np.flatnonzero(codes == ord("["))
    expected = np.arange(len(texts)) * length
    if (
        len(ends) != len(texts) * length
        or len(opened) != len(texts)
        or (np.searchsorted(ends, opened) != expected).any()
    ):
        return None
    # The number that ends at each byte, if one does: so many digits before it belong to it.
    digits *= is_digit
    values = digits.astype(np.uint16)
    before = is_digit
    for place in range(1, _MOST_DIGITS + 1):
        before = before[1:] & is_digit[:-place]
        if place == _MOST_DIGITS:
            return None if before.any() else values[ends].astype(float).reshape(-1, length)
        values[place:] += (digits[:-place] * before) * np.uint16(10**place)
    return None


def _list_or_nothing(text: bytes) -> list[float]:
    try:
        return _LISTS.decode(b"[" + text + b"]")[0] or []
    except msgspec.DecodeError:
        return []  # of no length that fits, so the record is looked at singly


def _points(
    records: Sequence[Any], fields: PointFields
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Points of records of one category, (n, n_keypoints, 3), and which of them are good."""
    fits = np.ones(len(records), bool)
    parts = []
    for name, n_points in fields:
        flat, is_whole = _number_rows(list(map(attrgetter(name), records)), 3 * n_points)
        fits &= is_whole
        parts.append(flat.reshape(len(records), n_points, 3))
    points = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    if np.abs(points).max(initial=0) > MAX_COORDINATE:
        fits &= (np.abs(points[..., :2]) <= MAX_COORDINATE).all(axis=(1, 2))
    fits &= ((points[..., 2] >= 0) & (points[..., 2] <= 2)).all(axis=1)
    return points, fits


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the garbage collector: it would walk all that is decoded, and finds no cycle in it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


# --- a second process -----------------------------------------------------------------------------


class Helper:
    """A second process that decodes a part of a file.

    It is started before its work is known, to be ready by then. It reads the file by itself: the
    caller has to see to it that this is still the file that it has read.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answer: Columns | None = None
        self._thread: threading.Thread | None = None
        package = Path(__file__).resolve().parents[2]
        known = os.environ.get("PYTHONPATH")
        search = os.pathsep.join([str(package), *([known] if known else [])])
        self._process: subprocess.Popen[bytes] | None = None
        # Without it everything is decoded here: an interpreter may be one that starts no processes.
        with contextlib.suppress(OSError, ValueError):
            self._process = subprocess.Popen(
                # -P: the folder it is started in may be a stranger's, with modules of its own.
                [sys.executable, "-P", "-c", f"from {__name__} import _serve; _serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": search},
            )

    def begin(
        self,
        spans: NDArray[np.int64],
        point_fields: Mapping[int, PointFields],
    ) -> None:
        """Let it decode the records at `spans`."""
        work = pickle.dumps((os.path.abspath(self._path), spans, dict(point_fields)))
        self._thread = threading.Thread(target=self._talk, args=(work,), daemon=True)
        self._thread.start()

    def _talk(self, work: bytes) -> None:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return
        # Whatever goes wrong over there, the answer stays None and the records are decoded here.
        with contextlib.suppress(OSError, EOFError, ValueError, pickle.UnpicklingError):
            process.stdin.write(work)
            process.stdin.close()
            self._answer = pickle.load(process.stdout)

    def answer(self) -> Columns | None:
        """Return what it decoded, None if it could not."""
        if self._thread is not None:
            self._thread.join()
        return self._answer

    def close(self) -> None:
        """End the process."""
        if self._process is None:
            return
        self._process.kill()
        if self._thread is not None:
            self._thread.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not sent is of no use any more
                    pipe.close()
        self._process.wait()


def _serve() -> None:
    """Decode what standard input asks for: the other end of `Helper`."""
    path, spans, point_fields = pickle.load(sys.stdin.buffer)
    start, stop = int(spans[0, 0]), int(spans[-1, 1])
    with open(path, "rb") as file:
        file.seek(start)
        data = file.read(stop - start)
    with collector_paused():
        columns = decode(data, spans - start, point_fields)
    pickle.dump(columns, sys.stdout.buffer, protocol=5)
    sys.stdout.buffer.flush()
