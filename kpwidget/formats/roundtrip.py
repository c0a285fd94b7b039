"""What is left of a file that is read and written again: `roundtrip`."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from kpwidget.dataset import Dataset
from kpwidget.dataset.image_files import IMAGE_SUFFIXES
from kpwidget.dataset.table import NO_ID
from kpwidget.formats import (
    Loss,
    _function,
    _named,
    _own_options,
    count,
    detect_format,
    read,
    write,
)
from kpwidget.schema import Category

__all__ = ["FieldResult", "RoundtripReport", "compare", "roundtrip"]

_N_EXAMPLES: Final = 3
_NEAR: Final = 1.0  # px within which two instances without ids can be the same one


@dataclass(frozen=True)
class FieldResult:
    """What became of one field.

    Attributes
    ----------
    field : str
        'keypoint coordinates', 'bbox', "image field 'license'", ...
    n : int
        Values there were.
    n_changed, n_lost : int
        Those that are others now, and those that are gone.
    n_added : int
        Values there are now where there was none.
    examples : tuple of str
        The first few that changed or were lost, in words.
    """

    field: str
    n: int
    n_changed: int = 0
    n_lost: int = 0
    n_added: int = 0
    examples: tuple[str, ...] = ()

    @property
    def is_kept(self) -> bool:
        """Whether every value there was is there still."""
        return not (self.n_changed or self.n_lost)


@dataclass(frozen=True)
class RoundtripReport:
    """What became of a file that was read, written and read again. True if nothing was lost.

    Attributes
    ----------
    path : Path
    format : str
        The format of the file.
    to : str or None
        The format it was written in on the way, if another.
    is_identical : bool
        Whether what was written has the same bytes.
    n_bytes : (int, int)
        Size of what was read and of what was written, in bytes, without image files.
    fields : tuple of FieldResult
        Every field there was, in the order of the table.
    losses : tuple of Loss
        What the writers said beforehand that they would lose.
    skipped : tuple of str
        What was wrong with records left out on reading (``on_error='skip'``).
    """

    path: Path
    format: str
    to: str | None
    is_identical: bool
    n_bytes: tuple[int, int]
    fields: tuple[FieldResult, ...]
    losses: tuple[Loss, ...] = ()
    skipped: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether no value changed or was lost."""
        return all(result.is_kept for result in self.fields)

    def __str__(self) -> str:
        """Return the fields in which something changed, with examples; see `table` for all."""
        changed = [f for f in self.fields if not f.is_kept or f.n_added]
        n = count(len(self.fields), "field")
        if changed:
            told = f"{n} compared, {len(changed)} of them with changes; report.table() has all"
        else:
            told = f"{n} compared, every value the same; report.table() has all"
        return "\n".join([self._head(), *_table(changed), told, *self._details()])

    def table(self) -> str:
        """Return a table of all fields, and examples of what did not come through."""
        return "\n".join([self._head(), *_table(self.fields), *self._details()])

    def _head(self) -> str:
        way = self.format if self.to is None else f"{self.format} to {self.to} and back"
        same = (
            "the same bytes"
            if self.is_identical
            else "{:,} bytes became {:,}".format(*self.n_bytes)
        )
        return f"{self.path} ({way}): {'nothing lost' if self else 'not all is kept'}, {same}"

    def _details(self) -> Iterator[str]:
        for result in self.fields:
            yield from (f"{result.field}: {example}" for example in result.examples)
        yield from (f"said before writing: {loss}" for loss in self.losses)
        yield from (f"left out on reading: {problem}" for problem in self.skipped)

    def to_dict(self) -> dict[str, Any]:
        """Return the same as text, numbers, lists and dicts, for JSON."""
        return {
            "path": os.fspath(self.path),
            "format": self.format,
            "to": self.to,
            "ok": bool(self),
            "is_identical": self.is_identical,
            "n_bytes": list(self.n_bytes),
            "fields": [
                {
                    "field": result.field,
                    "n": result.n,
                    "n_changed": result.n_changed,
                    "n_lost": result.n_lost,
                    "n_added": result.n_added,
                    "examples": list(result.examples),
                }
                for result in self.fields
            ],
            "losses": [{"what": loss.what, "n": loss.n, "text": loss.text} for loss in self.losses],
            "skipped": list(self.skipped),
        }


def _table(fields: Sequence[FieldResult]) -> list[str]:
    """Lines of a table, none for no fields."""
    if not fields:
        return []
    width = max(len(result.field) for result in fields)
    head = f"{'field':<{width}} {'values':>10} {'changed':>10} {'lost':>10} {'added':>10}"
    lines = [head, "-" * len(head)]
    for result in fields:
        numbers = (result.n, result.n_changed, result.n_lost, result.n_added)
        shown = " ".join(f"{number:>10,}" for number in numbers)
        lines.append(f"{result.field:<{width}} {shown}")
    return lines


def roundtrip(
    path: str | os.PathLike[str],
    format: str | None = None,
    to: str | None = None,
    *,
    images: Any = None,
    on_error: Literal["raise", "skip"] = "raise",
    **options: Any,
) -> RoundtripReport:
    """Report on what a file keeps when it is read, written and read again.

    Parameters
    ----------
    path : str or os.PathLike
        The file or folder; it is not touched. What is written goes to a temporary folder.
    format : str, optional
        Its format, by default told by the content.
    to : str, optional
        Another format: the file is written in it, read, written in its own again, and read.
    images : optional
        Where the image files are; see `kpwidget.read`.
    on_error : {'raise', 'skip'}
        See `kpwidget.read`.
    **options
        Of the reader of the file's format; see there.

    Returns
    -------
    RoundtripReport
        True if nothing was lost. Numbers are compared exactly. Images are paired by file name, else
        by base name; instances by annotation id, else by their order in the image.

    Raises
    ------
    FormatError
        If the file cannot be read.
    ValueError
        If a format is unknown.
    """
    path = Path(path)
    own = detect_format(path) if format is None else format
    before = read(path, images=images, format=own, on_error=on_error, **options)
    losses: list[Loss] = []
    with tempfile.TemporaryDirectory(prefix="kpwidget-") as folder:
        through, written = before, Path(folder, "back", path.name)
        if NO_ID in before._table.column("id", before._table.live_rows()):
            through = before.select().copy()  # a writer gives ids, which the file has not
        if to is not None and to != own:
            # Predictions refer to the images and categories of the ground truth.
            needed = {"ground_truth": before} if to == "coco-results" else {}
            through, lost = _write_and_read(through, Path(folder, "via", "labels"), to, needed)
            losses += lost
        after, lost = _write_and_read(through, written, own, options)
        losses += lost
        fields = compare(before, after)
        is_identical, n_bytes = _same_bytes(path, written)
    return RoundtripReport(
        path, own, to if to != own else None, is_identical, n_bytes, fields, tuple(losses),
        tuple(before.skipped),
    )  # fmt: skip


def _write_and_read(
    dataset: Dataset, target: Path, format: str, options: Mapping[str, Any]
) -> tuple[Dataset, tuple[Loss, ...]]:
    """Write to a new place, the image files left where they are, and read from there."""
    target.parent.mkdir()
    writer = _function(_named(format), _named(format).writer)
    leave: dict[str, Any] = {"images": "leave"} if "images" in _own_options(writer) else {}
    report = write(dataset, target, format=format, allow_loss=True, **leave)
    again = read(target, images=_stand_ins(dataset), format=format, on_error="skip", **options)
    return again, report.losses


def _stand_ins(dataset: Dataset) -> dict[str, Any] | None:
    """For each image something of its size, which is all that a reader of labels may need."""
    found: dict[str, Any] = {}
    for image in dataset.images:
        size = image._state.recorded_size
        if size is not None:
            # One byte, however large the image.
            found[image.file_name] = np.broadcast_to(np.zeros((1, 1), np.uint8), size[::-1])
        elif image.path is not None:
            found[image.file_name] = image.path
    return found or None


def _same_bytes(one: Path, other: Path) -> tuple[bool, tuple[int, int]]:
    """Whether two files, or the files in two folders but for images, have the same bytes."""
    files = [_files(path) for path in (one, other)]
    sizes = [sum(path.stat().st_size for path in of_one.values()) for of_one in files]
    is_same = files[0].keys() == files[1].keys() and all(
        _equal_files(path, files[1][name]) for name, path in files[0].items()
    )
    return is_same, (sizes[0], sizes[1])


def _files(path: Path) -> dict[str, Path]:
    if not path.is_dir():
        return {"": path}
    return {
        found.relative_to(path).as_posix(): found
        for found in sorted(path.rglob("*"))
        if found.is_file() and found.suffix.lower() not in IMAGE_SUFFIXES
    }


def _equal_files(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as a, other.open("rb") as b:
        while block := a.read(1 << 20):
            if block != b.read(1 << 20):
                return False
    return True


# --- comparing ----------------------------------------------------------------------------------


def compare(before: Dataset, after: Dataset) -> tuple[FieldResult, ...]:
    """Compare two datasets field by field.

    Parameters
    ----------
    before, after : Dataset

    Returns
    -------
    tuple of FieldResult
        Images, categories, instances and the top level; every unknown field under its own name.
    """
    with before.lock, after.lock:
        return _Comparison(before, after).results()


@dataclass
class _Tally:
    """Counts of one field while they are made."""

    n: int = 0
    n_changed: int = 0
    n_lost: int = 0
    n_added: int = 0
    examples: list[str] = field(default_factory=list)

    def example(self, text: Callable[[], str]) -> None:
        if len(self.examples) < _N_EXAMPLES:
            self.examples.append(text())


class _Comparison:
    """Two datasets, what of them belongs together, and the tallies."""

    def __init__(self, before: Dataset, after: Dataset) -> None:
        self.a, self.b = before, after
        self.tallies: dict[str, _Tally] = {}

    def results(self) -> tuple[FieldResult, ...]:
        images = self._images()
        categories = self._categories()
        self._instances(images, categories)
        self._top()
        return tuple(
            FieldResult(name, t.n, t.n_changed, t.n_lost, t.n_added, tuple(t.examples))
            for name, t in self.tallies.items()
        )

    def _tally(self, name: str) -> _Tally:
        return self.tallies.setdefault(name, _Tally())

    def _value(self, name: str, what: Callable[[], str], old: Any, new: Any) -> None:
        """Count a value; None is none. `what` says whose it is."""
        tally = self._tally(name)
        if old is None:
            tally.n_added += new is not None
            return
        tally.n += 1
        if new is None:
            tally.n_lost += 1
            tally.example(lambda: f"{what()}: {_short(old)} is gone")
        elif not _is_same(old, new):
            tally.n_changed += 1
            tally.example(lambda: f"{what()}: {_short(old)} became {_short(new)}")

    def _fields(
        self,
        kind: str,
        what: Callable[[], str],
        old: Mapping[str, Any],
        new: Mapping[str, Any] | None = None,
    ) -> None:
        """Count the unknown fields of a record, each under its name. A null is a value here.

        `new` is left out where it is known to be the same.
        """
        for key in old if new is None else {**old, **new}:
            name = f"{kind} field {key!r}"
            if new is None:
                self._tally(name).n += 1
                continue
            pair = (_NULL if of.get(key, 0) is None else of.get(key) for of in (old, new))
            self._value(name, what, *pair)

    # Images and categories

    def _images(self) -> dict[int, int]:
        """Return the position after of each image before that is there still."""
        a, b = self.a._images, self.b._images
        pairs = _paired(
            [state.file_name for state in a],
            [state.file_name for state in b],
            lambda name: name.replace("\\", "/").rpartition("/")[2],
        )
        self._presence("images", [state.file_name for state in a], pairs, len(b))
        for name in ("image file names", "image ids", "image sizes"):
            self._tally(name)
        progress = tqdm(pairs.items(), "compare images", unit="image", delay=1.0, leave=False)
        for i, j in progress:
            old, new = a[i], b[j]
            what = partial("image {!r}".format, old.file_name)
            self._value("image file names", what, old.file_name, new.file_name)
            self._value("image ids", what, old.id, new.id)
            self._value("image sizes", what, old.recorded_size, new.recorded_size)
            is_same = (
                old.text is not None
                and new.text is not None
                and old.text.raw("images", old.position) == new.text.raw("images", new.position)
            )
            extra = self.a.images[i].extra
            self._fields("image", what, extra, None if is_same else self.b.images[j].extra)
        return pairs

    def _categories(self) -> dict[int, int]:
        a, b = self.a.categories, self.b.categories
        pairs = _paired([c.name for c in a], [c.name for c in b], lambda name: name)
        self._presence("categories", [c.name for c in a], pairs, len(b))
        for i, j in pairs.items():
            what = partial("category {!r}".format, a[i].name)
            old, new = _category_values(a[i]), _category_values(b[j])
            for key, value in old.items():
                self._value(f"category {key}", what, value, new[key])
            self._fields("category", what, _category_extra(a[i]), _category_extra(b[j]))
        return pairs

    def _presence(
        self, name: str, labels: Sequence[str], pairs: Mapping[int, int], n_after: int
    ) -> None:
        tally = self._tally(name)
        tally.n = len(labels)
        tally.n_lost = len(labels) - len(pairs)
        tally.n_added = n_after - len(pairs)
        for i, label in enumerate(labels):
            if i not in pairs:
                tally.example(lambda label=label: f"{label!r} is gone")  # type: ignore[misc]

    # Instances

    def _instances(self, images: Mapping[int, int], categories: Mapping[int, int]) -> None:
        tally = self._tally("instances")
        first, second, n_lost, n_added = _pair_instances(self.a, self.b, images, categories)
        tally.n = self.a._table.n_instances
        tally.n_lost, tally.n_added = n_lost, n_added
        if n_lost:
            gone = np.setdiff1d(np.asarray(self.a._table.live_rows(), np.int64), first)
            for row in gone[:_N_EXAMPLES].tolist():
                tally.example(lambda row=row: f"{self._name(row)} is gone")  # type: ignore[misc]
        self._order(first, second)
        self._keypoints(first, second, categories)
        self._boxes(first, second)
        for name, column in (
            ("annotation ids", "id"),
            ("iscrowd", "iscrowd"),
            ("track_id", "track_id"),
            ("score", "score"),
        ):
            self._column(name, column, first, second)
        self._extra(first, second)

    def _name(self, row: int) -> str:
        table = self.a._table
        image = self.a._images[int(table.value(row, "image"))].file_name
        return f"instance {table.uids([row])[0]!r} in image {image!r}"

    def _order(self, first: _Rows, second: _Rows) -> None:
        tally = self._tally("order of instances")
        tally.n = len(first)
        tally.n_changed = int(np.count_nonzero(np.diff(second[np.argsort(first)]) < 0))

    def _keypoints(self, first: _Rows, second: _Rows, categories: Mapping[int, int]) -> None:
        a, b = self.a._table, self.b._table
        xy, unlabeled = self._tally("keypoint coordinates"), self._tally("unlabeled locations")
        visibility, kinds = self._tally("visibilities"), self._tally("instance categories")
        kinds.n = len(first)
        of_first, of_second = a.column("category", first), b.column("category", second)
        became: Counter[tuple[float, float]] = Counter()
        largest = 0.0
        for category in np.unique(of_first).tolist():
            is_of = of_first == category
            fits = of_second == categories.get(category, -1)
            other = int(np.count_nonzero(is_of & ~fits))
            kinds.n_changed += other
            rows, new_rows = first[is_of & fits], second[is_of & fits]
            old = a.raw_keypoints_of(category, rows)
            if not len(rows):
                continue
            new = b.raw_keypoints_of(categories[category], new_rows)
            n = min(old.shape[1], new.shape[1])
            n_gone = old.shape[1] - n
            if n_gone:
                visibility.n_lost += n_gone * len(rows)
                visibility.n += n_gone * len(rows)
                n_labeled = int(np.count_nonzero(old[:, n:, 2]))
                xy.n, xy.n_lost = xy.n + n_labeled, xy.n_lost + n_labeled
            old, new = old[:, :n], new[:, :n]
            v, w = old[..., 2], new[..., 2]
            visibility.n += v.size
            visibility.n_changed += int(np.count_nonzero(v != w))
            became.update(zip(v[v != w].tolist(), w[v != w].tolist(), strict=True))
            distance = np.abs(old[..., :2] - new[..., :2]).max(axis=-1)
            labeled = v > 0
            xy.n += int(np.count_nonzero(labeled))
            xy.n_lost += int(np.count_nonzero(labeled & (w == 0)))
            moved = labeled & (w > 0) & (distance > 0)
            xy.n_changed += int(np.count_nonzero(moved))
            if moved.any():
                largest = max(largest, float(distance[moved].max()))
                i, k = (int(index[0]) for index in np.nonzero(moved))
                name = self.a.categories[category].keypoints[k]
                xy.example(
                    lambda i=i, k=k, name=name, old=old, new=new, rows=rows: (  # type: ignore[misc]
                        f"{name!r} of {self._name(int(rows[i]))}: {_short(old[i, k, :2].tolist())} "
                        f"became {_short(new[i, k, :2].tolist())}"
                    )
                )
            located = (v == 0) & old[..., :2].any(axis=-1)
            there = (w == 0) & new[..., :2].any(axis=-1)
            unlabeled.n += int(np.count_nonzero(located))
            unlabeled.n_lost += int(np.count_nonzero(located & ~there))
            unlabeled.n_changed += int(np.count_nonzero(located & there & (distance > 0)))
            unlabeled.n_added += int(np.count_nonzero(~located & there))
        visibility.examples += [
            f"{count(n, 'keypoint')} of visibility {v:g} became {w:g}"
            for (v, w), n in sorted(became.items())
        ]
        if largest:
            xy.examples.insert(0, f"the largest difference is {largest:.3g} px")

    def _boxes(self, first: _Rows, second: _Rows) -> None:
        for name, width in (("bbox", 4), ("area", 1)):
            tally = self._tally(name)
            old = self.a._table.column(name, first)
            new = self.b._table.column(name, second)
            old, new = old.reshape(-1, width), new.reshape(-1, width)
            was, is_there = ~np.isnan(old[:, 0]), ~np.isnan(new[:, 0])
            changed = was & is_there & (old != new).any(axis=1)
            lost = was & ~is_there
            tally.n = int(np.count_nonzero(was))
            tally.n_changed = int(np.count_nonzero(changed))
            tally.n_lost = int(np.count_nonzero(lost))
            tally.n_added = int(np.count_nonzero(~was & is_there))
            if tally.n_changed:
                largest = float(np.abs(old - new)[changed].max())
                tally.examples.append(f"the largest difference is {largest:.3g}")
            for i in np.flatnonzero(changed | lost)[: _N_EXAMPLES - 1].tolist():
                became = f"became {_short(new[i].tolist())}" if is_there[i] else "is gone"
                tally.examples.append(
                    f"{self._name(int(first[i]))}: {_short(old[i].tolist())} {became}"
                )

    def _column(self, name: str, column: str, first: _Rows, second: _Rows) -> None:
        old = _as_objects(self.a._table.column(column, first))
        new = _as_objects(self.b._table.column(column, second))
        tally = self._tally(name)
        if old == new:  # the usual case
            tally.n = sum(value is not None for value in old)
            return
        for row, one, other in zip(first.tolist(), old, new, strict=True):
            self._value(name, partial(self._name, row), one, other)

    def _extra(self, first: _Rows, second: _Rows) -> None:
        a, b = self.a, self.b
        uids, new_uids = a._table.uids(first.tolist()), b._table.uids(second.tolist())
        pairs = zip(first.tolist(), second.tolist(), uids, new_uids, strict=True)
        progress = tqdm(pairs, "compare fields", len(uids), unit="instance", delay=1.0, leave=False)
        for row, new_row, uid, new_uid in progress:
            is_same = _raw(a, row) == _raw(b, new_row) is not None
            new = None if is_same else b.instance(new_uid).extra
            self._fields("annotation", partial(self._name, row), a.instance(uid).extra, new)

    # The top level, and records that are none of these

    def _top(self) -> None:
        a, b = self.a, self.b
        for name in ("info", "licenses"):
            self._value(name, lambda: "the file", getattr(a, name), getattr(b, name))
        self._fields("top-level", lambda: "the file", a.extra, b.extra)
        for name, old, new in (
            ("other image records", a.layout.images, b.layout.images),
            ("other categories", a.layout.categories, b.layout.categories),
            ("other annotations", a.layout.annotations, b.layout.annotations),
        ):
            tally = self._tally(name)
            tally.n = len(old)
            tally.n_lost, tally.n_added = max(0, len(old) - len(new)), max(0, len(new) - len(old))
            tally.n_changed = sum(
                not _is_same(one, other)
                for one, other in zip(old.values(), new.values(), strict=False)
            )


_Rows = NDArray[np.int64]


class _NullType:
    """A null of a file, where None stands for nothing at all."""

    def __repr__(self) -> str:
        return "null"


_NULL: Final = _NullType()


def _raw(dataset: Dataset, row: int) -> bytes | None:
    """Return the bytes that an instance was read from, None if it came from no text."""
    text = dataset._table.text(row)
    if text is None:
        return None
    return text.raw("annotations", int(dataset._table.value(row, "position")))


def _is_same(one: Any, other: Any) -> bool:
    """Whether two values of a file are equal: numbers by value, but True is not 1."""
    if isinstance(one, bool) is not isinstance(other, bool):
        return False
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_is_same(v, other[k]) for k, v in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return bool(one == other)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _as_objects(values: NDArray[Any]) -> list[Any]:
    """Values of a column, None where there is none."""
    if values.dtype == np.int64:
        return [None if value == NO_ID else value for value in values.tolist()]
    if values.dtype == np.float64:
        return [None if value != value else value for value in values.tolist()]
    return list(values.tolist())


def _category_values(category: Category) -> dict[str, Any]:
    schema = category.schema
    return {
        "ids": category.id,
        "names": category.name,
        "supercategories": category.supercategory,
        "keypoint names": schema.keypoints,
        "skeletons": schema.skeleton or None,
        "flip pairs": schema.flip_pairs or None,
        "sigmas": None if schema.sigmas is None else tuple(schema.sigmas.tolist()),
        "colors": schema._parts.colors,  # not those made up for a file without
    }


def _category_extra(category: Category) -> dict[str, Any]:
    known = ("name", "keypoints", "skeleton", "flip_pairs", "sigmas", "colors")
    metadata = category.schema.to_metadata()
    return {**{k: v for k, v in metadata.items() if k not in known}, **category.extra}


def _paired(old: Sequence[str], new: Sequence[str], base: Callable[[str], str]) -> dict[int, int]:
    """Pair positions by name, each in its turn, and what is left by its base where that is one."""
    waiting: dict[str, list[int]] = {}
    for j in range(len(new) - 1, -1, -1):
        waiting.setdefault(new[j], []).append(j)
    pairs = {i: waiting[name].pop() for i, name in enumerate(old) if waiting.get(name)}
    left_old, left_new = _by_base(old, pairs.keys(), base), _by_base(new, pairs.values(), base)
    for key, positions in left_old.items():
        others = left_new.get(key, [])
        if len(positions) == len(others) == 1:
            pairs[positions[0]] = others[0]
    return dict(sorted(pairs.items()))


def _by_base(
    names: Sequence[str], done: Iterable[int], base: Callable[[str], str]
) -> dict[str, list[int]]:
    known, found = set(done), dict[str, list[int]]()
    for position, name in enumerate(names):
        if position not in known:
            found.setdefault(base(name), []).append(position)
    return found


def _pair_instances(
    a: Dataset, b: Dataset, images: Mapping[int, int], categories: Mapping[int, int]
) -> tuple[_Rows, _Rows, int, int]:
    """Rows that belong together, rising in the first, and how many of each have no partner."""
    # The usual case for all images at once: as many instances as before, in the same order.
    images_b = {j: i for i, j in images.items()}
    rows_a, place_a = _rows_by_image(a, {i: i for i in images})
    rows_b, place_b = _rows_by_image(b, images_b)
    n_a, n_b = (np.bincount(place, minlength=len(a)) for place in (place_a, place_b))
    is_even = n_a == n_b
    first, second = rows_a[is_even[place_a]], rows_b[is_even[place_b]]
    place = place_a[is_even[place_a]]
    is_even[place[~_near(a, b, first, second, categories)]] = False
    chosen = is_even[place]
    pairs = [*zip(first[chosen].tolist(), second[chosen].tolist(), strict=True)]
    for i in np.flatnonzero(~is_even).tolist():
        old, new = a._table.rows_of_image[i], b._table.rows_of_image[images[i]]
        pairs += _pair_one_image(a, b, old, new, categories)
    pairs.sort()
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    n_before, n_after = a._table.n_instances, b._table.n_instances
    return first, second, n_before - len(pairs), n_after - len(pairs)


def _rows_by_image(dataset: Dataset, images: Mapping[int, int]) -> tuple[_Rows, _Rows]:
    """Rows of the instances in some images, and for each what the mapping says of its image.

    They come in the order of that, then of the rows.
    """
    table = dataset._table
    rows = np.asarray(table.live_rows(), np.int64)
    of_image = np.full(len(dataset), -1, np.int64)
    of_image[list(images.keys())] = list(images.values())
    place = of_image[table.column("image", rows)]
    rows, place = rows[place >= 0], place[place >= 0]
    order = np.argsort(place, kind="stable")
    return rows[order], place[order]


def _near(
    a: Dataset, b: Dataset, first: _Rows, second: _Rows, categories: Mapping[int, int]
) -> NDArray[np.bool_]:
    """Whether rows can be the same instance: the same category, and nearly the same place."""
    near = np.zeros(len(first), np.bool_)
    of_first = a._table.column("category", first)
    of_second = b._table.column("category", second)
    boxes = (a._table.column("bbox", first), b._table.column("bbox", second))
    box_distance = np.abs(boxes[0] - boxes[1]).max(axis=1, initial=0.0)
    for category, other in categories.items():
        chosen = np.flatnonzero((of_first == category) & (of_second == other))
        old = a._table.raw_keypoints_of(category, first[chosen])
        new = b._table.raw_keypoints_of(other, second[chosen])
        n = min(old.shape[1], new.shape[1])
        old, new = old[:, :n], new[:, :n]
        both = (old[..., 2] > 0) & (new[..., 2] > 0)
        distance = np.abs(old[..., :2] - new[..., :2]).max(axis=-1, initial=0.0)
        is_labeled = both.any(axis=1)
        # Without a box on one side there is nothing that speaks against it.
        by_box = ~(box_distance[chosen] > _NEAR)
        near[chosen] = np.where(
            is_labeled, np.where(both, distance, 0.0).max(axis=1, initial=0.0) <= _NEAR, by_box
        )
    return near


def _pair_one_image(
    a: Dataset,
    b: Dataset,
    old: Sequence[int],
    new: Sequence[int],
    categories: Mapping[int, int],
) -> list[tuple[int, int]]:
    """Pair the instances of one image: near ones in order, then by id, then what is left over."""
    left, waiting = list(old), list(new)
    pairs: list[tuple[int, int]] = []
    for row in list(left):
        candidates = np.array(waiting, np.int64)
        near = _near(a, b, np.full(len(candidates), row), candidates, categories)
        if near.any():
            pairs.append((row, waiting.pop(int(np.argmax(near)))))
            left.remove(row)
    by_id = {b._table.value(row, "id"): row for row in waiting}
    for row in list(left):
        number = a._table.value(row, "id")
        if number is not None and number in by_id:
            pairs.append((row, by_id[number]))
            left.remove(row)
            waiting.remove(by_id[number])
    return pairs + ([*zip(left, waiting, strict=True)] if len(left) == len(waiting) else [])
