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
from typing import Any, Final, TypeGuard

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset.text import FileText
from kpwidget.schema import Category

__all__ = ["Bbox", "InstanceRecord", "InstanceTable", "Point"]

Point = tuple[float, float, float] | None
"""(x, y, visibility) in image pixels. None is unlabeled; with visibility 0 it is unlabeled and
(x, y) is the location that a file gave all the same. A visibility that is none of 0, 1 and 2 is
what a file said (a confidence); it counts as visible."""

Bbox = tuple[float, float, float, float]
"""(x, y, width, height) in image pixels."""

_UNLABELED: Final = (0.0, 0.0, 0)
NO_ID: Final = int(np.iinfo(np.int64).min)  # annotation ids are any other 64-bit integer
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
        self._capacity = 1
        self._fills = {name: fill for name, (_, _, fill) in columns.items()}
        self._arrays: dict[str, NDArray[Any]] = {
            name: np.full((self._capacity, *shape), fill, dtype=dtype)
            for name, (dtype, shape, fill) in columns.items()
        }

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def fill(self, name: str) -> Any:
        """Value that a new row has in a column."""
        return self._fills[name]

    def append(self) -> int:
        """Add a row of fill values; return its index."""
        return int(self.extend(1).start)

    def extend(self, n_more: int) -> slice:
        """Add rows of fill values; return where they are."""
        start, self.n = self.n, self.n + n_more
        if self.n > self._capacity:
            self._capacity = max(2 * self._capacity, self.n)
            for name, array in self._arrays.items():
                shape = (self._capacity, *array.shape[1:])
                grown = np.empty(shape, array.dtype)
                grown[:start] = array[:start]
                grown[start:] = self._fills[name]
                self._arrays[name] = grown
        return slice(start, self.n)


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
    extra : mapping or None
        Fields that have no place of their own, of an instance that came from no text.
    text : FileText or None
    position : int
        The text that it was read from, and which of its annotations it is; -1 for none.
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
    extra: Mapping[str, Any] | None = None
    text: FileText | None = None
    position: int = -1


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
    texts : list of FileText
        The texts that instances were read from.
    edited : set of int
        Rows of instances of which a value was put in place after they were read.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        self.n_instances = 0
        self.rows_of_image: list[list[int]] = []
        self.texts: list[FileText] = []
        self.edited: set[int] = set()
        self._columns = _Columns(
            uid=(object, (), None),
            image=(np.int32, (), -1),
            category=(np.int32, (), -1),
            point_row=(np.int64, (), -1),
            id=(np.int64, (), NO_ID),
            is_there=(np.bool_, (), False),
            is_finished=(np.bool_, (), True),
            bbox=(np.float64, (4,), np.nan),
            area=(np.float64, (), np.nan),
            score=(np.float64, (), np.nan),
            iscrowd=(np.uint8, (), 0),
            track_id=(object, (), None),
            annotator=(object, (), None),
            source=(object, (), None),
            extra=(object, (), None),
            text=(np.int16, (), -1),
            position=(np.int64, (), -1),
        )
        self._points = [_point_columns(category.n_keypoints) for category in categories]
        # Visibilities of a file that are none of 0, 1 and 2, by row and keypoint: they are rare.
        self._odd_visibility: dict[int, dict[int, float]] = {}
        self._indexed: dict[str, int] = {}
        self._unindexed: list[tuple[Sequence[str], range]] = []
        self._row_of_new_id: dict[int, int] = {}  # ids that the uid does not tell
        self._live: list[int] | None = None  # live_rows, when rows are missing between them

    # Looking up

    @property
    def _row_of(self) -> dict[str, int]:
        """Rows by uid, also of instances taken out: known, but not there. Made when first used."""
        if self._unindexed:
            for uids, rows in self._unindexed:
                self._indexed.update(zip(uids, rows, strict=True))
            self._unindexed = []
        return self._indexed

    @property
    def n_rows(self) -> int:
        """Number of rows, those without an instance included: the row of the next instance."""
        return self._columns.n

    def has(self, uid: str) -> bool:
        """Whether there is an instance with this uid."""
        row = self._row_of.get(uid)
        return row is not None and bool(self._columns["is_there"][row])

    def is_there(self, row: int) -> bool:
        """Whether a row has an instance."""
        return bool(self._columns["is_there"][row])

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
            if value != value or (column == "id" and value == NO_ID):
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
        visibility: float = int(table["visibility"][point_row, k])
        x, y = table["xy"][point_row, k].tolist()
        if row in self._odd_visibility:
            visibility = self._odd_visibility[row].get(k, visibility)
        return (x, y, visibility) if visibility or x or y else None

    def keypoints(self, row: int) -> NDArray[np.float64]:
        """Keypoints of one row, shape (n_keypoints, 3), unlabeled (NaN, NaN, 0); a copy."""
        table, point_row = self._points_at(row)
        xy = table["xy"]
        keypoints = np.empty((xy.shape[1], 3))
        keypoints[:, :2] = xy[point_row]
        keypoints[:, 2] = table["visibility"][point_row]
        keypoints[keypoints[:, 2] == 0, :2] = math.nan
        return keypoints

    def raw_keypoints(self, row: int) -> NDArray[np.float64]:
        """Keypoints of one row as a COCO file holds them, shape (n_keypoints, 3); a copy."""
        keypoints: NDArray[np.float64] = self.raw_keypoints_of(self.category(row), [row])[0]
        return keypoints

    def n_labeled(self, row: int) -> int:
        """Number of labeled keypoints of one row."""
        table, point_row = self._points_at(row)
        return int(np.count_nonzero(table["visibility"][point_row]))

    def keypoints_of(
        self, category: int, rows: Sequence[int] | NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Keypoints of those of the rows that are of a category, (n, n_keypoints, 3); a copy.

        Unlabeled is (NaN, NaN, 0).
        """
        keypoints, _ = self._gathered(category, rows)
        keypoints[..., :2][keypoints[..., 2] == 0] = math.nan
        return keypoints

    def raw_keypoints_of(
        self, category: int, rows: Sequence[int] | NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the same as a COCO file holds them: unlabeled is (0, 0, 0), or as was given."""
        keypoints, chosen = self._gathered(category, rows)
        if self._odd_visibility:
            for i, row in enumerate(chosen.tolist()):
                for k, visibility in self._odd_visibility.get(row, {}).items():
                    keypoints[i, k, 2] = visibility
        return keypoints

    def n_odd_visibility(self, rows: Sequence[int]) -> int:
        """Number of keypoints whose visibility in the file is none of 0, 1 and 2."""
        if not self._odd_visibility:
            return 0
        return sum(len(self._odd_visibility.get(row, ())) for row in rows)

    def _gathered(
        self, category: int, rows: Sequence[int] | NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        if _is_run(rows):
            chosen = np.arange(rows.start, rows.stop)
        else:
            chosen = np.asarray(rows, dtype=np.int64)
        is_of_category = self._columns["category"][chosen] == category
        if not is_of_category.all():
            chosen = chosen[is_of_category]
        table = self._points[category]
        places = self._columns["point_row"][chosen]
        point_rows: NDArray[np.int64] | slice = places
        if len(places) and bool((np.diff(places) == 1).all()):  # in one piece: much faster
            point_rows = slice(int(places[0]), int(places[-1]) + 1)
        keypoints = np.empty((len(chosen), table["xy"].shape[1], 3))
        keypoints[..., :2] = table["xy"][point_rows]
        keypoints[..., 2] = table["visibility"][point_rows]
        return keypoints, chosen

    def column(self, name: str, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """Values of a column for rows; a copy.

        Parameters
        ----------
        name : str
            'uid', 'image' and 'category' (positions in the dataset), 'id' (`NO_ID` for none),
            'is_finished', 'bbox' (n, 4) and 'area' (NaN where derived), 'score' (NaN for none),
            'iscrowd', 'track_id', 'annotator', 'source', 'extra', 'text', 'position'.
        rows : sequence of int
        """
        array = self._columns[name]
        return (
            array[rows.start : rows.stop].copy()
            if _is_run(rows)
            else array[np.asarray(rows, np.int64)]
        )

    def n_labeled_of(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of labeled keypoints of each row."""
        chosen = np.asarray(rows, dtype=np.int64)
        counts = np.zeros(len(chosen), np.int64)
        categories = self._columns["category"][chosen]
        for category, table in enumerate(self._points):
            of_category = np.flatnonzero(categories == category)
            point_rows = self._columns["point_row"][chosen[of_category]]
            counts[of_category] = np.count_nonzero(table["visibility"][point_rows], axis=1)
        return counts

    def n_of_categories(self) -> list[int]:
        """Number of instances of each category."""
        n = self._columns.n
        categories = self._columns["category"][:n][self._columns["is_there"][:n]]
        counts: list[int] = np.bincount(categories, minlength=len(self._points)).tolist()
        return counts

    def visibility_counts(self, category: int) -> NDArray[np.int64]:
        """Return how many keypoints of a category have the visibility 0, 1 and 2.

        Shape (n_keypoints, 3). A visibility that is none of these counts as 2.
        """
        n = self._columns.n
        chosen = self._columns["is_there"][:n] & (self._columns["category"][:n] == category)
        flags = self._points[category]["visibility"][self._columns["point_row"][:n][chosen]]
        return np.stack([np.count_nonzero(flags == v, axis=0) for v in (0, 1, 2)], axis=1)

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
            text=self.text(row),
            **{name: self.value(row, name) for name in _PLAIN_COLUMNS},
        )

    def text(self, row: int) -> FileText | None:
        """Return the text that an instance was read from."""
        index = int(self._columns["text"][row])
        return None if index < 0 else self.texts[index]

    # Changing

    def extend(
        self,
        *,
        uids: Sequence[str],
        image: NDArray[Any],
        category: NDArray[Any],
        keypoints: Mapping[int, NDArray[np.float64]],
        text: FileText | None = None,
        **columns: Any,
    ) -> None:
        """Add many instances at once, after all others.

        Parameters
        ----------
        uids : sequence of str
            None of them known yet.
        image, category : ndarray of shape (n,)
            Positions in the dataset.
        keypoints : mapping of int to ndarray of shape (n_of_category, n_keypoints, 3)
            For each category its instances' (x, y, visibility) in image pixels, in their order, as
            a COCO file holds them: unlabeled is (0, 0, 0), or with the location that was given.
        text : FileText, optional
            Where they were read from; `position` is then one of the columns.
        **columns
            Values of further columns, one for each instance or one for all; see `column`.
        """
        n = len(uids)
        where = self._columns.extend(n)
        rows = range(where.start, where.stop)
        self._columns["uid"][where] = uids
        self._columns["image"][where] = image
        self._columns["category"][where] = category
        self._columns["is_there"][where] = True
        if text is not None:
            self._columns["text"][where] = self._text_index(text)
        for name, values in columns.items():
            self._columns[name][where] = values
        for index, points in keypoints.items():
            table = self._points[index]
            of_category = np.flatnonzero(category == index)
            places = table.extend(len(of_category))
            self._columns["point_row"][where.start + of_category] = np.arange(
                places.start, places.stop
            )
            flags = points[..., 2]
            is_odd = (flags != 0) & (flags != 1) & (flags != 2)
            table["xy"][places] = points[..., :2]
            table["visibility"][places] = np.where(is_odd, 2, flags) if is_odd.any() else flags
            for i, k in zip(*map(np.ndarray.tolist, np.nonzero(is_odd)), strict=True):
                row = where.start + int(of_category[i])
                self._odd_visibility.setdefault(row, {})[k] = float(flags[i, k])
        self._unindexed.append((uids, rows))
        order = np.argsort(image, kind="stable")
        sorted_rows = (order + where.start).tolist()
        images, starts = np.unique(np.asarray(image)[order], return_index=True)
        bounds = zip(images.tolist(), starts.tolist(), [*starts[1:].tolist(), n], strict=True)
        for of_image, start, end in bounds if n else ():
            self.rows_of_image[of_image] += sorted_rows[start:end]
        if self._live is not None:
            self._live.extend(rows)
        self.n_instances += n

    def take(
        self,
        other: InstanceTable,
        rows: Sequence[int] | NDArray[np.int64],
        image: NDArray[Any],
    ) -> None:
        """Add instances of another table, with all their values, after all others.

        Parameters
        ----------
        other : InstanceTable
            Of the same categories.
        rows : sequence of int
            Rows of `other`. None of their uids is known here.
        image : ndarray of shape (n,)
            Positions of their images in the dataset of this table.
        """
        chosen = np.asarray(rows, np.int64)
        category = other._columns["category"][chosen]
        start = self._columns.n
        indices = range(len(self._points))
        self.extend(
            uids=other.uids(rows),
            image=image,
            category=category,
            keypoints={index: other.raw_keypoints_of(index, chosen) for index in indices},
        )
        for name in _COPIED_COLUMNS:
            self._columns[name][start : self._columns.n] = other._columns[name][chosen]
        # The index of each text here by its index there; -1, for no text, stays.
        text_index = np.array([*map(self._text_index, other.texts), -1], np.int16)
        self._columns["text"][start : self._columns.n] = text_index[other._columns["text"][chosen]]
        new_row_of = dict(zip(chosen.tolist(), range(start, self._columns.n), strict=True))
        self.edited.update(new_row_of[row] for row in other.edited if row in new_row_of)
        self._row_of_new_id.update(
            (number, new_row_of[row])
            for number, row in other._row_of_new_id.items()
            if row in new_row_of
        )

    def add_category(self, n_keypoints: int) -> None:
        """Make place for the instances of one more category, after the others."""
        self._points.append(_point_columns(n_keypoints))

    def forget_added(self, n_images: int, n_categories: int) -> None:
        """Take back the images and categories after the first ones; they have no instances."""
        del self.rows_of_image[n_images:]
        del self._points[n_categories:]

    def _text_index(self, text: FileText) -> int:
        for index, known in enumerate(self.texts):
            if known is text:
                return index
        self.texts.append(text)
        return len(self.texts) - 1

    def insert(self, record: InstanceRecord) -> None:
        """Make a row of `record` after all others, or take the one its uid had before."""
        columns = self._columns
        row = self._row_of.get(record.uid)
        if row is None:
            row = columns.append()
            columns["uid"][row] = record.uid
        elif self.has(record.uid):
            raise ValueError(f"instance {record.uid!r} is there already")
        if columns["category"][row] != record.category:
            columns["category"][row] = record.category
            columns["point_row"][row] = self._points[record.category].append()
        if record.text is not None:
            columns["text"][row] = self._text_index(record.text)
            self.edited.add(row)  # its values may be others than those of the text
        columns["bbox"][row] = math.nan if record.bbox is None else record.bbox
        for name in _PLAIN_COLUMNS:
            value = getattr(record, name)
            if value is not None:
                columns[name][row] = value
            elif name != "id":  # an id, once given, stays with the instance
                columns[name][row] = columns.fill(name)
        for k, point in enumerate(record.keypoints):
            self._put_point(row, k, point)
        number = int(columns["id"][row])
        if number != NO_ID:
            if self.row_of_id(number) not in (None, row):  # given to another one meanwhile
                columns["id"][row] = NO_ID
            elif record.uid != f"coco:{number}":
                self._row_of_new_id[number] = row
        self._show(row)

    def rename(self, row: int, uid: str) -> None:
        """Give an instance that was just read the uid that it had when it was made."""
        del self._row_of[self._columns["uid"][row]]
        self._columns["uid"][row] = uid
        self._row_of[uid] = row
        self._row_of_new_id[int(self._columns["id"][row])] = row

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
        self.edited.add(row)
        self._put_point(row, k, point)

    def _put_point(self, row: int, k: int, point: Point) -> None:
        table, point_row = self._points_at(row)
        x, y, visibility = point or _UNLABELED
        odd = self._odd_visibility.get(row)
        if odd is not None:
            odd.pop(k, None)
        if visibility not in (0, 1, 2):
            self._odd_visibility.setdefault(row, {})[k] = visibility
            visibility = 2
        table["xy"][point_row, k] = (x, y)
        table["visibility"][point_row, k] = visibility

    def rearrange(self, category: int, sources: Sequence[int]) -> None:
        """Give the instances of a category other keypoints, also those that were taken out.

        Parameters
        ----------
        category : int
        sources : sequence of int
            For each of the new keypoints the index of that whose values it takes; -1: unlabeled.
        """
        columns, old = self._columns, self._points[category]
        new = _point_columns(len(sources))
        new.extend(old.n)
        taken = np.asarray(sources, np.int64)
        for name in ("xy", "visibility"):
            values = np.take(old[name][: old.n], np.maximum(taken, 0), axis=1)
            values[:, taken < 0] = new.fill(name)
            new[name][: old.n] = values
        self._points[category] = new
        is_of = columns["category"][: columns.n] == category
        for row in [row for row in self._odd_visibility if is_of[row]]:
            odd = self._odd_visibility.pop(row)
            moved = {k: odd[source] for k, source in enumerate(sources) if source in odd}
            if moved:
                self._odd_visibility[row] = moved
        is_read = is_of & (columns["text"][: columns.n] >= 0)
        self.edited.update(np.flatnonzero(is_read).tolist())

    def put_back(
        self,
        category: int,
        rows: NDArray[np.int64],
        keypoints: Sequence[int],
        values: NDArray[np.float64],
    ) -> None:
        """Replace some keypoints of many instances of a category.

        Parameters
        ----------
        category : int
        rows : ndarray of shape (n,)
        keypoints : sequence of int
        values : ndarray of shape (n, n_of_keypoints, 3)
            (x, y, visibility) in image pixels, as a COCO file holds them.
        """
        table = self._points[category]
        places = self._columns["point_row"][rows][:, None], np.asarray(keypoints, np.int64)
        flags = values[..., 2]
        is_odd = (flags != 0) & (flags != 1) & (flags != 2)
        table["xy"][places] = values[..., :2]
        table["visibility"][places] = np.where(is_odd, 2, flags)
        for i, j in zip(*map(np.ndarray.tolist, np.nonzero(is_odd)), strict=True):
            row = int(rows[i])
            self._odd_visibility.setdefault(row, {})[keypoints[j]] = float(flags[i, j])

    def put_bbox(self, row: int, bbox: Bbox | None) -> None:
        """Replace the bbox that was given; None makes it derived."""
        self.edited.add(row)
        self._columns["bbox"][row] = math.nan if bbox is None else bbox

    def put_made(
        self,
        row: int,
        *,
        is_finished: bool,
        annotator: str | None,
        source: str,
        has_bbox: bool,
        has_area: bool,
    ) -> None:
        """Give an instance that was read from a file what the file does not say of its making."""
        columns = self._columns
        columns["is_finished"][row] = is_finished
        columns["annotator"][row] = annotator
        columns["source"][row] = source
        if not has_bbox:  # the file's is the one that was derived
            columns["bbox"][row] = math.nan
        if not has_area:
            columns["area"][row] = math.nan

    def put_finished(self, row: int, is_finished: bool) -> None:
        """Replace the mark of being finished."""
        self._columns["is_finished"][row] = is_finished

    def given_ids(self) -> dict[str, int]:
        """Annotation ids of instances that were new when they got them, by uid."""
        uids = self._columns["uid"]
        return {uids[row]: number for number, row in self._row_of_new_id.items()}

    def take_ids(self, ids: Mapping[str, int | None]) -> bool:
        """Give instances that are new since the file was read the annotation ids told.

        Those that were given one here lose it, unless they get it again.

        Parameters
        ----------
        ids : mapping of str to int or None
            By uid; None for none yet.

        Returns
        -------
        bool
            False, and nothing is changed, if another instance has one of these ids.
        """
        column = self._columns["id"]
        given = {row for row in self._row_of_new_id.values() if self.is_there(row)}
        rows = {
            row: number
            for uid, number in ids.items()
            if number is not None
            and self.has(uid)
            and ((row := self.row(uid)) in given or int(column[row]) == NO_ID)
        }
        # One that is gone gives way: it is given another when it comes back.
        kept = {int(column[row]) for row in self.live_rows() if row not in given}
        if len(set(rows.values())) < len(rows) or kept.intersection(rows.values()):
            return False
        for row in given:
            column[row] = NO_ID
        others = {n: row for n, row in self._row_of_new_id.items() if row not in given}
        self._row_of_new_id = others
        for row, number in rows.items():
            column[row] = number
            self._row_of_new_id[number] = row
        return True

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
        rows = np.flatnonzero(self._columns["is_there"][:n] & (ids == NO_ID)).tolist()
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
    "extra", "position",
)  # fmt: skip


# What `InstanceTable.take` copies as it is.
_COPIED_COLUMNS: Final = (
    "id", "is_finished", "bbox", "area", "score", "iscrowd", "track_id", "annotator", "source",
    "extra", "position",
)  # fmt: skip


def _point_columns(n_keypoints: int) -> _Columns:
    return _Columns(
        # As files hold them: (0, 0), or a location that was given all the same, where the
        # visibility is 0.
        xy=(np.float64, (n_keypoints, 2), 0.0),
        visibility=(np.uint8, (n_keypoints,), 0),
    )


def _is_run(rows: object) -> TypeGuard[range]:
    return isinstance(rows, range) and rows.step == 1
