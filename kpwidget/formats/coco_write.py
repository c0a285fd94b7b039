"""Writes COCO keypoints: what was read and not edited byte for byte, all else in the same style."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset import Dataset, PointFields
from kpwidget.dataset.text import RecordKind
from kpwidget.formats import Loss, WriteReport, write_file
from kpwidget.formats.gathered import progress
from kpwidget.formats.json_text import (
    Style,
    dumps,
    joined,
    members,
    object_of,
    spliced,
    style_of,
    values_of,
    with_numbers,
    with_points,
    without,
)
from kpwidget.formats.losses import unheld_marks
from kpwidget.images import ImageError
from kpwidget.schema import Category

__all__ = ["coco_losses", "made_coco", "write_coco"]

_LISTS: Final[tuple[RecordKind, ...]] = ("images", "annotations", "categories")
_TOP_KEYS: Final = ("info", "licenses", "images", "annotations", "categories")

#: So many records are made anew from arrays of their keypoints at a time.
_AT_ONCE: Final = 8192

#: Flags of COCO-WholeBody that say whether a part is labeled at all, by the part's field.
_VALID_FLAGS: Final = {
    "foot_kpts": "foot_valid",
    "face_kpts": "face_valid",
    "lefthand_kpts": "lefthand_valid",
    "righthand_kpts": "righthand_valid",
}


def coco_losses(dataset: Dataset) -> list[Loss]:
    """Return what COCO could not hold: nothing, for it keeps unknown fields.

    That an instance is not finished or an image done has no field; the report of `write_coco` says
    so in a note.
    """
    return []


def write_coco(dataset: Dataset, path: str | os.PathLike[str]) -> WriteReport:
    """Write a dataset as one COCO keypoints file.

    Parameters
    ----------
    dataset : Dataset
        New instances are given annotation ids, above all ids there are and from 1, and keep them.
    path : str or os.PathLike
        The JSON file, replaced in one go.

    Returns
    -------
    WriteReport
        With notes on what COCO has no field for.

    Notes
    -----
    What was read from a COCO file is written byte for byte: number formats, order of keys,
    indentation, unknown fields. In the record of an edited instance only the numbers that changed
    are replaced in keypoints, num_keypoints, bbox and area. New records come after the others, in
    the order of ``dataset.instances`` and in the file's own style; without a file, one per line.
    """
    report = made_coco(dataset, path)
    write_file(path, report.content)
    return report


def made_coco(dataset: Dataset, path: str | os.PathLike[str]) -> WriteReport:
    """What `write_coco` would write, as the content of its report; nothing is written.

    Parameters
    ----------
    dataset : Dataset
    path : str or os.PathLike
        For the report.
    """
    with dataset.lock:
        n_new_ids = dataset._give_ids()
        notes: list[str] = []
        chunks = list(_Writer(dataset, notes).chunks())
        notes.extend(unheld_marks(dataset, "COCO"))
        n_images, n_instances = len(dataset.images), len(dataset.instances)
    return WriteReport(
        Path(path),
        "coco",
        n_images,
        n_instances,
        n_new_ids,
        tuple(notes),
        content=chunks,
    )


class _Writer:
    """Makes the bytes of one file. Runs under the dataset's lock."""

    def __init__(self, dataset: Dataset, notes: list[str]) -> None:
        self._dataset = dataset
        self._notes = notes
        self._text = dataset.layout.text
        self._style = Style() if self._text is None else style_of(self._text)
        self._unknown_sizes: list[str] = []
        self._inner_style = replace(self._style, depth=self._style.depth + 1)
        #: How the record was laid out that was looked at last; see `values_of`.
        self._gaps: Sequence[str] = ()

    def chunks(self) -> Iterator[bytes | memoryview]:
        """Return the parts of the file, in order."""
        dataset, text = self._dataset, self._text
        wrong = [repr(key) for key in dataset.extra if not isinstance(key, str)]
        if wrong:
            raise TypeError(f"dataset.extra: expected text as keys, got {', '.join(wrong)}")
        now = {"info": dataset.info, "licenses": dataset.licenses, **dataset.extra}
        outer = "{\n}\n" if text is None else text.outer
        there = members(outer)
        before, between = "\n", ",\n"
        if there:
            before = outer[outer.index("{") + 1 : there[0].start]
        if len(there) > 1:
            between = outer[there[0].end : there[1].start]
        elif there:
            between = "," + (before if "\n" in before else " ")
        yield outer[: outer.index("{") + 1].encode()
        is_first = True
        for i, member in enumerate(there):
            if member.key not in _LISTS and member.key not in now:
                continue  # taken out of dataset.extra
            gap = before if is_first else outer[there[i - 1].end : member.start]
            is_first = False
            yield (gap + outer[member.start : member.value_start]).encode()
            if member.key in _LISTS:
                yield from self._list(member.key)
            elif now[member.key] == dataset.layout.top[member.key]:
                yield outer[member.value_start : member.end].encode()
            else:
                yield dumps(now[member.key], self._top_style()).encode()
        known = {member.key for member in there}
        missing = [key for key in _TOP_KEYS if key not in known and self._is_needed(key)]
        missing += [key for key in now if key not in known and key not in _TOP_KEYS]
        for key in missing:
            yield f"{before if is_first else between}{json.dumps(key)}: ".encode()
            is_first = False
            if key in _LISTS:
                yield from self._list(key)
            else:
                value = now[key]
                if value is None and key in _TOP_KEYS:
                    value = {} if key == "info" else []
                yield dumps(value, self._top_style()).encode()
        yield outer[there[-1].end if there else outer.index("{") + 1 :].encode()
        self._notes.extend(self._unknown_sizes)

    def _top_style(self) -> Style:
        style = self._style
        return Style(style.indent, style.separators, 1, style.is_ascii)

    def _is_needed(self, key: str) -> bool:
        dataset = self._dataset
        if key == "annotations":
            # A list of images to be labeled may have none.
            return self._text is None or len(dataset.instances) > 0
        if key in _LISTS:
            return True
        return self._text is None or getattr(dataset, key) is not None

    def _list(self, kind: str) -> Iterator[bytes | memoryview]:
        """Yield the list of records of a kind."""
        if kind == "images":
            return self._records("images", *self._images())
        if kind == "categories":
            return self._records("categories", *self._categories())
        return self._records("annotations", *self._annotations())

    def _records(
        self,
        kind: RecordKind,
        kept: NDArray[np.int64],
        replaced: Mapping[int, bytes],
        added: Iterable[bytes],
    ) -> Iterator[bytes | memoryview]:
        """Yield a list: records of the file that stay, some of them replaced, and new ones.

        Parameters
        ----------
        kind : str
        kept : ndarray of shape (n,)
            Positions in the file's list, in the order in which they are written.
        replaced : mapping of int to bytes
            New text of some of them.
        added : iterable of bytes
            Those that the file does not have.
        """
        text = self._text
        if text is None or kind not in text.bounds:
            yield from self._new_list(added)
            return
        start, end = text.bounds[kind]
        spans, data = text.spans[kind], memoryview(text.data)
        n = len(spans)
        lead, tail, between = self._layout_of(kind)
        yield b"["
        is_first = True
        # Runs of records that stand together in the file are written in one piece.
        cuts = np.flatnonzero(np.diff(kept) != 1) + 1
        if replaced:
            at = np.flatnonzero(np.isin(kept, list(replaced)))
            cuts = np.union1d(cuts, np.concatenate([at, at + 1]))
        cuts = cuts[(cuts > 0) & (cuts < len(kept))]
        edges = [0, *cuts.tolist(), len(kept)] if len(kept) else []
        for a, b in itertools.pairwise(edges):
            first, last = int(kept[a]), int(kept[b - 1])
            begin = int(spans[first, 0])
            if is_first:
                yield lead
            else:  # what stands before it in the file, when the one before it is there as well
                yield data[int(spans[first - 1, 1]) : begin] if first else between
            is_first = False
            if first in replaced:
                yield replaced[first]
            else:
                yield data[begin : int(spans[last, 1])]
        for record in added:
            yield lead if is_first else between
            yield record
            is_first = False
        yield data[start + 1 : end - 1] if is_first and not n else tail
        yield b"]"

    def _layout_of(self, kind: RecordKind) -> tuple[bytes, bytes, bytes]:
        """What stands before the first record of a list, after the last and between two."""
        text = self._text
        assert text is not None
        start, end = text.bounds[kind]
        spans = text.spans[kind]
        if len(spans):
            lead = text.data[start + 1 : int(spans[0, 0])]
            tail = text.data[int(spans[-1, 1]) : end - 1]
            if len(spans) > 1:
                return lead, tail, text.data[int(spans[0, 1]) : int(spans[1, 0])]
            return lead, tail, b"," + lead if b"\n" in lead else self._comma()
        for other in _LISTS:  # as in the other lists of the file
            if len(text.spans.get(other, ())):
                return self._layout_of(other)
        return b"", b"", self._comma()

    def _comma(self) -> bytes:
        return self._style.separators[0].encode()

    def _new_list(self, records: Iterable[bytes]) -> Iterator[bytes]:
        """Yield a list with one record per line."""
        is_first = True
        yield b"["
        for record in records:
            yield b"\n" if is_first else b",\n"
            yield record
            is_first = False
        yield b"]" if is_first else b"\n]"

    def _with_others(self, own: NDArray[np.int64], others: Mapping[int, Any]) -> NDArray[np.int64]:
        """Positions of our records in their order, and of the others of the file.

        These stand at their places, or after ours where a merge has put ours in another order.
        """
        if not len(others):
            return own
        positions = np.array(list(others), np.int64)
        is_rising = bool((own[1:] > own[:-1]).all())
        return np.union1d(own, positions) if is_rising else np.concatenate([own, positions])

    def _images(self) -> tuple[NDArray[np.int64], dict[int, bytes], list[bytes]]:
        own, replaced, added = [], {}, []
        for index, state in enumerate(self._dataset._images):
            if state.text is None:
                added.append(self._new_image(index))
                continue
            is_here = state.text is self._text
            # The id and name of an image may have been changed when datasets were merged.
            if not is_here or state.is_renamed:
                record = state.record
                now = {"id": state.id, "file_name": state.file_name}
                raw = state.text.raw("images", state.position).decode()
                changes = {k: dumps(v, self._style) for k, v in now.items() if record.get(k) != v}
                written = spliced(raw, changes).encode()
                if not is_here:
                    added.append(written)
                    continue
                replaced[state.position] = written
            own.append(state.position)
        others = self._dataset.layout.images
        return self._with_others(np.array(own, np.int64), others), replaced, added

    def _new_image(self, index: int) -> bytes:
        image = self._dataset.images[index]
        record: dict[str, Any] = {"id": image.id, "file_name": image.file_name}
        try:
            record["width"], record["height"] = image.size
        except ImageError as error:
            # The labels are worth more than the size: they are written without it.
            self._unknown_sizes.append(
                f"image {image.file_name!r} is written without width and height: {error}"
            )
        for key, value in image.extra.items():
            record.setdefault(key, value)
        return dumps(record, self._style).encode()

    def _categories(self) -> tuple[NDArray[np.int64], dict[int, bytes], list[bytes]]:
        layout = self._dataset.layout
        own, replaced, added = [], {}, []
        for category in self._dataset.categories:
            read = layout.categories_read.get(category.id)
            if read is None:
                added.append(dumps(category_record(category), self._style).encode())
                continue
            text, position, before = read
            record = text.raw("categories", position)
            if category is not before:
                known, now = category_record(before), category_record(category)
                changes = {
                    key: dumps(value, self._style)
                    for key, value in now.items()
                    if value != known.get(key)
                }
                # With another schema: the new one may have no flip pairs, for instance.
                gone = () if category.schema is before.schema else known.keys() - now.keys()
                record = without(spliced(record.decode(), changes), gone).encode()
            if text is not self._text:
                added.append(record)
                continue
            own.append(position)
            if category is not before:
                replaced[position] = record
        kept = self._with_others(np.array(own, np.int64), layout.categories)
        return kept, replaced, added

    def _annotations(self) -> tuple[NDArray[np.int64], dict[int, bytes], Iterator[bytes]]:
        dataset, table = self._dataset, self._dataset._table
        rows = np.asarray(table.live_rows(), np.int64)
        texts = table.column("text", rows)
        here = next((i for i, text in enumerate(table.texts) if text is self._text), -2)
        is_here = texts == here
        own = table.column("position", rows[is_here])
        replaced = {}
        edited = rows[is_here & np.isin(rows, list(table.edited))] if self._text else rows[:0]
        for start in range(0, len(edited), _AT_ONCE):
            for row, points in self._points(edited[start : start + _AT_ONCE]):
                record = self._annotation(row, points)
                position = int(table.value(row, "position"))
                if record is not None:
                    replaced[position] = record
        kept = self._with_others(own, dataset.layout.annotations)
        return kept, replaced, self._added(rows[~is_here].tolist())

    def _added(self, rows: Sequence[int]) -> Iterator[bytes]:
        """Records that the file does not have."""
        dataset, table = self._dataset, self._dataset._table
        is_long = len(rows) > _AT_ONCE  # else not worth importing what would show it
        for row in progress(rows, "writing annotations", "annotation") if is_long else rows:
            text, points = table.text(row), table.raw_keypoints(row)
            if text is None:
                instance = dataset.instance(table.value(row, "uid"))
                where = dataset.layout.fields_of(instance.category)
                yield dumps(_new_annotation(instance, points, where), self._style).encode()
                continue
            record = self._annotation(row, points) if row in table.edited else None
            position = int(table.value(row, "position"))
            yield text.raw("annotations", position) if record is None else record

    def _points(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Each row with its keypoints as a COCO file holds them."""
        table = self._dataset._table
        categories = table.column("category", rows)
        for index in np.unique(categories).tolist():
            of_category = rows[categories == index]
            points = table.raw_keypoints_of(index, of_category)
            yield from zip(of_category.tolist(), points, strict=True)

    def _annotation(self, row: int, points: NDArray[np.float64]) -> bytes | None:
        """Bytes of the record of an instance that was read; None if nothing in it is another."""
        dataset, table = self._dataset, self._dataset._table
        category = dataset._categories[table.category(row)]
        where = dataset.layout.fields_of(category)
        text = table.text(row)
        assert text is not None
        raw = text.raw("annotations", table.value(row, "position")).decode()
        fields = object_of(raw)
        given, self._gaps = values_of(raw, self._gaps)
        changes: dict[str, str] = {}
        read = dataset.layout.categories_read.get(category.id)
        is_migrated = read is not None and category.schema is not read[2].schema
        is_edited = _change_points(fields, given, where, points, changes, is_migrated)
        if is_edited and ("num_keypoints" in fields or fields.get("keypoints") is None):
            n_labeled = _n_labeled(where, points)
            if n_labeled is not None and fields.get("num_keypoints") != n_labeled:
                changes["num_keypoints"] = str(n_labeled)
        image = dataset._images[int(table.value(row, "image"))]
        ids = {"id": table.value(row, "id"), "image_id": image.id, "category_id": category.id}
        for key, value in ids.items():
            if fields.get(key) != value:
                changes[key] = dumps(value, self._style)
        given_bbox, area = table.bbox(row), table.value(row, "area")
        bbox = given_bbox
        if bbox is None or area is None:
            instance = dataset.instance(table.value(row, "uid"))
            bbox, area = instance.bbox, instance.area
        boxed = {"bbox": None if bbox is None else list(bbox), "area": area}
        for key, size in boxed.items():
            old = fields.get(key)
            is_missing = old is None and (is_edited or (key == "bbox" and given_bbox is not None))
            if size is not None and (is_missing or (old is not None and old != size)):
                if isinstance(size, list) and isinstance(old, list) and len(old) == 4:
                    changes[key] = with_numbers(given[key], size)
                else:
                    changes[key] = dumps(size, self._inner_style)
            elif size is None and old is not None and any(old if key == "bbox" else [old]):
                changes[key] = with_numbers(given[key], [0, 0, 0, 0]) if key == "bbox" else "0"
        if not changes:
            return None
        if len(self._gaps) == len(given) + 1 and changes.keys() <= given.keys():
            return joined([changes.get(*item) for item in given.items()], self._gaps).encode()
        return spliced(raw, changes).encode()


def _change_points(
    fields: Mapping[str, Any],
    given: Mapping[str, str],
    where: PointFields,
    points: NDArray[np.float64],
    changes: dict[str, str],
    is_migrated: bool,
) -> bool:
    """Put the fields of keypoints that differ into `changes`; return whether any does.

    Where the category has another schema, a number that stays may stand at another place.
    """
    start = 0
    is_edited = False
    for name, n in where:
        of_field = points[start : start + n]
        flat: list[float] = of_field.ravel().tolist()
        start += n
        before = fields.get(name)
        if before == flat or (before is None and not any(flat)):
            continue
        is_edited = True
        if before is None:
            changes[name] = dumps(_flat(of_field))
        elif is_migrated or len(before) != len(flat):
            changes[name] = with_points(given[name], flat)
        else:
            changes[name] = with_numbers(given[name], _flat(of_field))
        flag = _VALID_FLAGS.get(name, "")
        if flag in fields and fields[flag] is False and any(flat[2::3]):
            changes[flag] = "true"
    return is_edited


def _n_labeled(where: PointFields, points: NDArray[np.float64]) -> int | None:
    """Number of labeled keypoints among those of the field ``keypoints``; None without it."""
    start = 0
    for name, n in where:
        if name == "keypoints":
            return int(np.count_nonzero(points[start : start + n, 2]))
        start += n
    return None


def _flat(points: NDArray[np.float64]) -> list[float]:
    """x, y, visibility of all points in a row, whole visibilities and zeros as int."""
    flat: list[float] = []
    for x, y, v in points.tolist():
        flag = int(v) if v == int(v) else v
        flat += (x, y, flag) if flag or x or y else (0, 0, 0)
    return flat


def _new_annotation(
    instance: Any, points: NDArray[np.float64], where: PointFields
) -> dict[str, Any]:
    bbox, area = instance.bbox, instance._get("area")
    if area is None and bbox is not None:  # as `instance.area`, which would derive the bbox again
        area = bbox[2] * bbox[3]
    fields: dict[str, Any] = {}
    start = 0
    for name, n in where:
        fields[name] = _flat(points[start : start + n])
        start += n
        if name in _VALID_FLAGS:
            fields[_VALID_FLAGS[name]] = any(fields[name][2::3])
    written: dict[str, Any] = {
        "id": instance.id,
        "image_id": instance.image.id,
        "category_id": instance.category.id,
        **fields,
        "num_keypoints": _n_labeled(where, points) or 0,
        # Evaluation requires both (pycocotools raises KeyError without them).
        "bbox": [0, 0, 0, 0] if bbox is None else list(bbox),
        "area": 0 if area is None else area,
        "iscrowd": instance.iscrowd,
    }
    for key, value in (("track_id", instance.track_id), ("score", instance.score)):
        if value is not None:
            written[key] = value
    for key, value in instance.extra.items():
        written.setdefault(key, value)
    return written


def category_record(category: Category) -> dict[str, Any]:
    """Return a category as a COCO file has it.

    Parameters
    ----------
    category : Category
    """
    record: dict[str, Any] = {"id": category.id, "name": category.name}
    if category.supercategory is not None:
        record["supercategory"] = category.supercategory
    metadata = category.schema.to_metadata()
    metadata.setdefault("skeleton", [])  # pycocotools draws only what has one
    for key, value in (*metadata.items(), *category.extra.items()):
        record.setdefault(key, value)
    return record
