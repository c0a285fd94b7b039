"""The instances of a dataset as numpy columns: what `Dataset` and `Instance` stand on.

One row per instance, in the order in which they came. A row is never reused and an instance that
is taken out keeps its own, so putting it back restores its place; no operation on one instance
costs more in a large table than in a small one. The caller holds the dataset's lock.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kpwidget.schema import Category

__all__ = ["Bbox", "InstanceRecord", "InstanceTable", "Point"]

Point = tuple[float, float, int] | None
"""(x, y, visibility) in image pixels. None is unlabeled; with visibility 0 it is unlabeled and
(x, y) is the location that a file gave all the same."""

Bbox = tuple[float, float, float, float]
"""(x, y, width, height) in image pixels."""

_UNLABELED: Final = (math.nan, math.nan, 0)
_NO_ID: Final = int(np.iinfo(np.int64).min)  # annotation ids are any other 64-bit integer
_MAX_ID: Final = int(np.iinfo(np.int64).max)


class _Columns:
    """numpy columns of equal length that grow by doubling.

    Parameters
    ----------
    **columns : tuple of (dtype, shape of one row, fill value)
    """

    __slots__ = ("_arrays", "_capacity", "_fills", "n")

    def __init__(self, **columns: tuple[Any, tuple[int, ...], Any]) -> None:
        self.n = 0
        self._capacity = 16
        self._fills = {name: fill for name, (_, _, fill) in columns.items()}
        self._arrays: dict[str, NDArray[Any]] = {
            name: np.full((self._capacity, *shape), fill, dtype=dtype)
            for name, (dtype, shape, fill) in columns.items()
        }

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def append(self) -> int:
        """Add a row of fill values; return its index."""
        if self.n == self._capacity:
            self._capacity *= 2
            for name, array in self._arrays.items():
                shape = (self._capacity, *array.shape[1:])
                grown = np.full(shape, self._fills[name], array.dtype)
                grown[: self.n] = array
                self._arrays[name] = grown
        self.n += 1
        return self.n - 1


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """All values of one instance: what an added or removed instance was.

    Attributes
    ----------
    uid : str
    image, category : int
        Positions in the dataset.
    keypoints : tuple of (x, y, visibility) or None
        In image pixels. None is unlabeled; with visibility 0 it is unlabeled and (x, y) is the
        location that a file gave all the same.
    bbox : tuple of float or None
        ``(x, y, width, height)`` in image pixels; None if derived.
    area : float or None
        In square pixels; None if it follows the bbox.
    iscrowd : int
    track_id, score, annotator, source, is_finished
        As of `Instance`.
    id : int or None
        The annotation id.
    row : int
        Place in the order of instances; rises with every instance added.
    fields : mapping or None
        The record of the file it was read from, in its order.
    """

    uid: str
    image: int
    category: int
    keypoints: tuple[Point, ...]
    bbox: Bbox | None = None
    area: float | None = None
    iscrowd: int = 0
    track_id: Any = None
    score: float | None = None
    annotator: str | None = None
    source: str = "human"
    is_finished: bool = True
    id: int | None = None
    row: int = -1
    fields: Mapping[str, Any] | None = None


class InstanceTable:
    """Rows of instances, the keypoints of each category, and the order within each image.

    Parameters
    ----------
    categories : sequence of Category

    Attributes
    ----------
    n_instances : int
    rows_of_image : list of list of int
        For each image the rows of its instances, rising.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        self.n_instances = 0
        self.rows_of_image: list[list[int]] = []
        self._columns = _Columns(
            uid=(object, (), None),
            image=(np.int32, (), -1),
            category=(np.int32, (), -1),
            point_row=(np.int64, (), -1),
            id=(np.int64, (), _NO_ID),
            is_there=(np.bool_, (), False),
            is_finished=(np.bool_, (), True),
            bbox=(np.float64, (4,), np.nan),
            area=(np.float64, (), np.nan),
            score=(np.float64, (), np.nan),
            iscrowd=(np.uint8, (), 0),
            track_id=(object, (), None),
            annotator=(object, (), None),
            source=(object, (), None),
            fields=(object, (), None),
        )
        self._points = [
            _Columns(
                xy=(np.float64, (category.n_keypoints, 2), np.nan),
                visibility=(np.uint8, (category.n_keypoints,), 0),
            )
            for category in categories
        ]
        # Locations that a file gave to unlabeled keypoints, by row and keypoint: they are rare.
        self._raw: dict[int, dict[int, tuple[float, float]]] = {}
        self._row_of: dict[str, int] = {}  # also of instances taken out: known, but not there
        self._row_of_new_id: dict[int, int] = {}  # ids that the uid does not tell
        self._live: list[int] | None = None  # live_rows, when rows are missing between them

    # Looking up

    @property
    def n_rows(self) -> int:
        """Number of rows, those without an instance included: the row of the next instance."""
        return self._columns.n

    def has(self, uid: str) -> bool:
        """Whether there is an instance with this uid."""
        row = self._row_of.get(uid)
        return row is not None and bool(self._columns["is_there"][row])

    def row(self, uid: str) -> int:
        """Row of an instance.

        Raises
        ------
        KeyError
            If there never was one with this uid, or it was removed: the message tells which.
        """
        row = self._row_of.get(uid)
        if row is None:
            raise KeyError(f"no instance has the uid {uid!r}")
        if not self._columns["is_there"][row]:
            raise KeyError(f"instance {uid!r} was removed; undo brings it back")
        return row

    def last_row(self, uid: str) -> int | None:
        """Row that an instance has or had, None if there never was one with this uid."""
        return self._row_of.get(uid)

    def row_of_id(self, annotation_id: int) -> int | None:
        """Row of the instance with an annotation id, None if there is none."""
        for row in (self._row_of.get(f"coco:{annotation_id}"),
                    self._row_of_new_id.get(annotation_id)):  # fmt: skip
            if (
                row is not None
                and self._columns["is_there"][row]
                and int(self._columns["id"][row]) == annotation_id
            ):
                return row
        return None

    def live_rows(self) -> Sequence[int]:
        """Rows of all instances, rising."""
        if self.n_instances == self._columns.n:
            return range(self._columns.n)
        if self._live is None:
            self._live = np.flatnonzero(self._columns["is_there"][: self._columns.n]).tolist()
        return self._live

    def uids(self, rows: Iterable[int]) -> list[str]:
        """Uids of rows."""
        uids = self._columns["uid"]
        return [uids[row] for row in rows]

    def value(self, row: int, column: str) -> Any:
        """Value of a column as a Python object; NaN and a missing id are None."""
        value = self._columns[column][row]
        if isinstance(value, np.generic):
            value = value.item()
            if value == _NO_ID or value != value:
                return None
        return value

    def category(self, row: int) -> int:
        """Position of the category of a row."""
        return int(self._columns["category"][row])

    def bbox(self, row: int) -> Bbox | None:
        """Return the bbox that was given, None if it is derived."""
        x, y, width, height = self._columns["bbox"][row].tolist()
        return None if math.isnan(x) else (x, y, width, height)

    def point(self, row: int, k: int) -> Point:
        """One keypoint."""
        table, point_row = self._points_at(row)
        visibility = int(table["visibility"][point_row, k])
        if visibility:
            x, y = table["xy"][point_row, k].tolist()
            return (x, y, visibility)
        xy = self._raw.get(row, {}).get(k)
        return None if xy is None else (*xy, 0)

    def keypoints(self, row: int) -> NDArray[np.float64]:
        """Keypoints of one row, shape (n_keypoints, 3), unlabeled (NaN, NaN, 0); a copy."""
        table, point_row = self._points_at(row)
        xy = table["xy"]
        keypoints = np.empty((xy.shape[1], 3))
        keypoints[:, :2] = xy[point_row]
        keypoints[:, 2] = table["visibility"][point_row]
        return keypoints

    def raw_keypoints(self, row: int) -> NDArray[np.float64]:
        """Keypoints of one row as a COCO file holds them, shape (n_keypoints, 3); a copy."""
        keypoints = self.keypoints(row)
        keypoints[keypoints[:, 2] == 0] = 0
        for k, xy in self._raw.get(row, {}).items():
            keypoints[k, :2] = xy
        return keypoints

    def n_labeled(self, row: int) -> int:
        """Number of labeled keypoints of one row."""
        table, point_row = self._points_at(row)
        return int(np.count_nonzero(table["visibility"][point_row]))

    def keypoints_of(self, category: int, rows: Sequence[int]) -> NDArray[np.float64]:
        """Keypoints of those of the rows that are of a category, (n, n_keypoints, 3); a copy."""
        chosen = np.asarray(rows, dtype=np.int64)
        chosen = chosen[self._columns["category"][chosen] == category]
        point_rows = self._columns["point_row"][chosen]
        table = self._points[category]
        keypoints = np.empty((len(chosen), table["xy"].shape[1], 3))
        keypoints[..., :2] = table["xy"][point_rows]
        keypoints[..., 2] = table["visibility"][point_rows]
        return keypoints

    def n_of_categories(self) -> list[int]:
        """Number of instances of each category."""
        n = self._columns.n
        categories = self._columns["category"][:n][self._columns["is_there"][:n]]
        counts: list[int] = np.bincount(categories, minlength=len(self._points)).tolist()
        return counts

    def record(self, uid: str) -> InstanceRecord:
        """All values of an instance."""
        row = self.row(uid)
        category = self.category(row)
        n_keypoints = self._points[category]["xy"].shape[1]
        return InstanceRecord(
            uid=uid,
            category=category,
            keypoints=tuple(self.point(row, k) for k in range(n_keypoints)),
            bbox=self.bbox(row),
            row=row,
            **{name: self.value(row, name) for name in _PLAIN_COLUMNS},
        )

    # Changing

    def insert(self, record: InstanceRecord) -> None:
        """Make a row of `record`, or put it back if its row is there.

        Rows before ``record.row`` that do not exist yet stay without an instance.
        """
        columns = self._columns
        if record.row < columns.n:
            if columns["uid"][record.row] != record.uid or self.has(record.uid):
                raise ValueError(f"row {record.row} of instance {record.uid!r} is taken")
            self._show(record.row)
            return
        self.reserve(record.row)
        row = columns.append()
        columns["uid"][row] = record.uid
        columns["category"][row] = record.category
        columns["point_row"][row] = self._points[record.category].append()
        if record.bbox is not None:
            columns["bbox"][row] = record.bbox
        for name in _PLAIN_COLUMNS:
            value = getattr(record, name)
            if value is not None:
                columns[name][row] = value
        table, point_row = self._points_at(row)
        filled = [point or _UNLABELED for point in record.keypoints]
        table["visibility"][point_row] = [v for _, _, v in filled]
        table["xy"][point_row] = [(x, y) if v else (math.nan, math.nan) for x, y, v in filled]
        raw = {k: p[:2] for k, p in enumerate(record.keypoints) if p is not None and not p[2]}
        if raw:
            self._raw[row] = raw
        if record.id is not None and record.uid != f"coco:{record.id}":
            self._row_of_new_id[record.id] = row
        self._show(row)

    def reserve(self, n_rows: int) -> None:
        """Make rows without an instance until there are `n_rows`; new instances come after."""
        while self._columns.n < n_rows:
            self._columns.append()

    def take_out(self, uid: str) -> None:
        """Remove an instance. Its row stays for `insert`."""
        row = self.row(uid)
        self._columns["is_there"][row] = False
        rows = self.rows_of_image[self._columns["image"][row]]
        del rows[bisect_left(rows, row)]
        self.n_instances -= 1
        if self._live is not None:
            if self._live[-1] == row:
                self._live.pop()
            else:
                self._live = None

    def _show(self, row: int) -> None:
        self._columns["is_there"][row] = True
        self._row_of[self._columns["uid"][row]] = row
        insort(self.rows_of_image[self._columns["image"][row]], row)
        self.n_instances += 1
        if self._live is not None:
            if not self._live or row > self._live[-1]:
                self._live.append(row)
            else:
                self._live = None

    def put_point(self, row: int, k: int, point: Point) -> None:
        """Replace one keypoint."""
        table, point_row = self._points_at(row)
        x, y, visibility = point or _UNLABELED
        if row in self._raw:
            self._raw[row].pop(k, None)
        if point is not None and not visibility:
            self._raw.setdefault(row, {})[k] = (x, y)
            x = y = math.nan
        table["xy"][point_row, k] = (x, y)
        table["visibility"][point_row, k] = visibility

    def put_bbox(self, row: int, bbox: Bbox | None) -> None:
        """Replace the bbox that was given; None makes it derived."""
        self._columns["bbox"][row] = math.nan if bbox is None else bbox

    def put_finished(self, row: int, is_finished: bool) -> None:
        """Replace the mark of being finished."""
        self._columns["is_finished"][row] = is_finished

    def give_ids(self, taken: set[int]) -> int:
        """Give every instance without an annotation id the next free one.

        Parameters
        ----------
        taken : set of int
            Ids of records that are no instances.

        Returns
        -------
        int
            How many were given. The ids of instances that were removed are not given again: undo
            may bring them back.
        """
        n = self._columns.n
        ids = self._columns["id"][:n]
        rows = np.flatnonzero(self._columns["is_there"][:n] & (ids == _NO_ID)).tolist()
        if not rows:
            return 0
        # From 1: pycocotools takes an annotation with id 0 for no match.
        following = max([0, int(ids.max(initial=0)), *taken]) + 1
        free: Iterable[int] = range(following, following + len(rows))
        if following + len(rows) > _MAX_ID:
            used = taken.union(ids.tolist())
            free = (number for number in range(1, _MAX_ID) if number not in used)
        for row, number in zip(rows, free, strict=False):
            ids[row] = number
            self._row_of_new_id[number] = row
        return len(rows)

    def _points_at(self, row: int) -> tuple[_Columns, int]:
        columns = self._columns
        return self._points[columns["category"][row]], int(columns["point_row"][row])


# Columns whose values are those of the fields of the same name of a record.
_PLAIN_COLUMNS: Final = (
    "image", "id", "is_finished", "area", "score", "iscrowd", "track_id", "annotator", "source",
    "fields",
)  # fmt: skip
