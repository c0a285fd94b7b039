"""COCO keypoints: `read_coco` and `write_coco`.

Nothing of a file is dropped. Fields without a place in a dataset stay in the record they came in,
records that are no instances keep their position, and a number is written as it was read until
it is edited.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import repeat
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from kpwidget import schemas
from kpwidget.dataset import Dataset, FileLayout, FileStat, ImageState, PointFields
from kpwidget.dataset.image_files import ImageData, ImageRoots, image_locator
from kpwidget.dataset.text import FileText, RecordKind, RecordsAt
from kpwidget.dataset.values import MAX_COORDINATE, as_float, as_int
from kpwidget.formats import Problems, count, levels_to_caller
from kpwidget.formats.coco_columns import Columns, Helper, chunks, collector_paused, decode
from kpwidget.formats.coco_results import is_coco_results
from kpwidget.formats.coco_write import coco_losses, write_coco
from kpwidget.formats.json_text import scan
from kpwidget.schema import Category, FormatError, Schema, _parse_json
from kpwidget.schema import _show as shown

__all__ = ["coco_losses", "is_coco", "read_coco", "write_coco"]

_LISTS: Final[tuple[RecordKind, ...]] = ("images", "annotations", "categories")
_NAMES: Final = {"images": "image", "annotations": "annotation", "categories": "category"}
_LOOK: Final = 1 << 16  # bytes at both ends by which a file is told
_LARGE: Final = 64_000_000  # bytes from which a second process is worth its start
_NO_SPANS: Final = np.empty((0, 2), np.int64)
#: Returns the positions, for each list, of the records that are to be looked at singly.
_Doubtful = Callable[[], dict[RecordKind, NDArray[np.int64]]]

# COCO-WholeBody's parts: field, first keypoint among the 133, number of keypoints. From
# jin-s13/COCO-WholeBody, data_format.md.
_PARTS: Final = {
    "body": ("keypoints", 0, 17),
    "foot": ("foot_kpts", 17, 6),
    "face": ("face_kpts", 23, 68),
    "left_hand": ("lefthand_kpts", 91, 21),
    "right_hand": ("righthand_kpts", 112, 21),
}

_TOP_KEYS: Final = ("info", "licenses", "images", "annotations", "categories")
# Fields of a category that describe its schema, and those that a category has besides.
_NEEDED_BY_SCHEMA: Final[tuple[str, ...]] = ("keypoints", "skeleton")
_OPTIONAL_FOR_SCHEMA: Final[tuple[str, ...]] = ("flip_pairs", "sigmas", "sigma_source", "colors")
# As others may well call something of their own: used only where they have kpwidget's form.
_PERHAPS_FOR_SCHEMA: Final[tuple[str, ...]] = (
    "aliases",
    "parts",
    "layout",
    "definitions",
    "references",
)
_OF_CATEGORY: Final[tuple[str, ...]] = ("id", "name", "supercategory")

_MIN_INT64: Final = -(2**63) + 1  # -2**63 stands for "no id" in a dataset
_MAX_INT64: Final = 2**63 - 1


def read_coco(
    path: str | os.PathLike[str],
    images: Any = None,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    allow_outside: bool = False,
    match: Literal["path", "name"] = "path",
    schema: Schema | Mapping[str, Schema] | None = None,
    wholebody: str = "whole",
) -> Dataset:
    """Dataset in a COCO keypoints file.

    Parameters
    ----------
    path : str or os.PathLike
        The JSON file.
    images : folder, list of folders, glob, list of paths, or mapping, optional
        See `kpwidget.read`.
    on_error : {'raise', 'skip'}
        See `kpwidget.read`.
    allow_outside : bool, default False
        See `kpwidget.read`.
    match : {'path', 'name'}
        How image files are found in folders: at exactly the path that the file gives, or else,
        with 'name', anywhere below the folders by the last part of it, which has to be unique.
    schema : Schema or mapping of str to Schema, optional
        One for all categories, or by the category's name. A category that names no keypoints gets
        its; of one that names the same keypoints, its flip pairs, sigmas and colors are used (and
        its skeleton where the file has none). The file's record stays as it is when written.
    wholebody : {'whole', 'body', 'foot', 'face', 'left_hand', 'right_hand'}
        What to read of a COCO-WholeBody file: one category of 133 keypoints, or one part.

    Returns
    -------
    Dataset
        An annotation of a category with keypoints is an instance with the uid ``coco:<id>``. Other
        annotations, categories without keypoints and repeated image records are kept in
        ``dataset.layout`` and written back.

    Raises
    ------
    FormatError
        If the file is not COCO JSON or records are bad, naming every one.
    FileNotFoundError
        If the file or a folder of images does not exist.
    ValueError
        If `schema` has other keypoints than the category names, or names a category that the file
        has not.

    Warns
    -----
    UserWarning
        If edges of a skeleton or optional schema fields cannot be used (they stay in the file),
        or records were skipped.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error is 'raise' or 'skip', not {on_error!r}")
    path = Path(path)
    if wholebody not in ("whole", *_PARTS):
        raise ValueError(
            f"wholebody is 'whole' or one of {', '.join(map(repr, _PARTS))}, not {wholebody!r}"
        )
    if match not in ("path", "name"):
        raise ValueError(f"match is 'path' or 'name', not {match!r}")
    _check_schemas(schema)
    locate = image_locator(
        path.parent if images is None else images, allow_outside, by_name=match == "name"
    )
    stat = FileStat.of(path.stat())
    helper = Helper(path) if stat.size > _LARGE and _n_cpus() > 1 else None
    try:
        with collector_paused():
            text, doubtful, content = _load(path, in_thread=helper is None)
            reader = _Reader(
                os.fspath(path),
                text,
                doubtful,
                locate,
                schema,
                wholebody,
                helper,
                lambda: FileStat.of(path.stat()) == stat,
                on_error == "raise",
            )
            dataset = reader.read(content)
    finally:
        if helper is not None:
            helper.close()
    if reader.problems and on_error == "raise":
        found = count(len(reader.problems), "bad record")
        if reader.problems.is_full:
            found += " or more, for the rest was not looked at"
        raise FormatError.from_problems(
            reader.where, reader.problems, f"{found}; on_error='skip' leaves them out"
        )
    for warning in reader.warnings:
        warnings.warn(f"{path}: {warning}", stacklevel=levels_to_caller())
    if reader.problems:
        dataset.skipped = tuple(reader.problems)
        some = "; ".join(itertools.islice(reader.problems, 5))
        warnings.warn(
            f"{path}: {count(len(reader.problems), 'bad record')} left out (all in ds.skipped): "
            + some,
            stacklevel=levels_to_caller(),
        )
    dataset.path = path
    dataset.layout.stat = stat
    dataset._saved_revision = dataset._revision
    return dataset


def is_coco(path: Path) -> bool:
    """Whether a file is a JSON object with one of COCO's lists near its beginning or end.

    Parameters
    ----------
    path : Path
    """
    with open(path, "rb") as file:
        head = file.read(_LOOK)
        file.seek(max(0, path.stat().st_size - _LOOK))
        tail = file.read(_LOOK)
    keys = {key for key in (*_LISTS, *_OF_OTHERS) if f'"{key}"'.encode() in head + tail}
    is_other = "images" not in keys and keys.intersection(_OF_OTHERS)
    return head.lstrip()[:1] == b"{" and bool(keys.intersection(_LISTS)) and not is_other


#: Keys of formats that have 'annotations' or 'categories' as well: Datumaro, labelme, VIA.
_OF_OTHERS: Final = ("items", "shapes", "_via_img_metadata")


def _n_cpus() -> int:
    """Number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _bar(n_records: int | None) -> contextlib.AbstractContextManager[Any]:
    """Progress of reading so many annotations; None is too few to import what would show it."""
    if n_records is None:
        return contextlib.nullcontext()
    from tqdm.auto import tqdm

    bar: contextlib.AbstractContextManager[Any] = tqdm(
        total=n_records, desc="reading annotations", delay=1.0, leave=False, unit=""
    )
    return bar


# --- reading ------------------------------------------------------------------------------------


def _load(path: Path, *, in_thread: bool) -> tuple[FileText, _Doubtful, dict[str, Any]]:
    """Text of the file, the records to be looked at twice, and its top level without the lists."""
    where = os.fspath(path)
    data = path.read_bytes()
    try:
        text, doubtful = scan(data, where, _LISTS, in_thread=in_thread)
    except FormatError as error:
        if isinstance(error.__cause__, RecursionError):
            raise FormatError.from_problems(
                where, ["nested deeper than JSON can be read here; COCO needs 6 levels"]
            ) from error
        raise
    content = json.loads(text.outer)
    if isinstance(content, list):
        found = "a COCO results file (predictions)" if is_coco_results(path) else "a list"
        hint = "format='coco-results' and ground_truth= read it as predictions"
        if not content:
            found, hint = "an empty list", "as COCO results it would be no predictions"
        raise FormatError.from_problems(
            where,
            [
                f"this is {found}; expected an object with 'images', 'annotations' and "
                f"'categories'. A list can be COCO results: {hint}"
            ],
        )
    if not isinstance(content, dict):
        raise FormatError.from_problems(
            where,
            [f"not a COCO file: expected an object, got {type(content).__name__}"],
        )
    if not content:
        raise FormatError.from_problems(
            where,
            [
                "the file holds {}, an empty object: no labels. A COCO file has at least 'images' "
                "and 'categories'"
            ],
        )
    problems = []
    for key in ("images", "annotations", "categories"):
        if key not in content:
            if key != "annotations":  # a list of images to be labeled has none
                problems.append(f"not a COCO file: {key!r} is missing")
        elif not isinstance(content[key], list):
            problems.append(
                f"not a COCO file: {key!r} is {type(content[key]).__name__}, expected a list"
            )
    if problems:
        found = ", ".join(map(shown, list(content)[:10])) or "nothing"
        raise FormatError.from_problems(where, [*problems, f"the top level has {found}"])
    return text, doubtful, content


class _Bad(Exception):
    """What is wrong with one record, each in words."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class _Enough(Exception):
    """Enough is wrong with a file to refuse it."""


class _ImageFields(msgspec.Struct, gc=False):
    """An image's record as most are; others are looked at more closely."""

    id: Annotated[int, msgspec.Meta(ge=_MIN_INT64, le=_MAX_INT64)]
    file_name: Annotated[str, msgspec.Meta(min_length=1)]
    width: Annotated[int, msgspec.Meta(gt=0)]
    height: Annotated[int, msgspec.Meta(gt=0)]


_IMAGE_FIELDS: Final = attrgetter("id", "file_name", "width", "height")


class _Reader:
    """Reads the lists of one file and collects what is wrong with their records.

    Records are decoded many at a time into the few fields looked at. One that does not fit is
    looked at again by itself: by `_image` or `_annotation`, which say what is wrong.
    """

    def __init__(
        self,
        where: str,
        text: FileText,
        doubtful: _Doubtful,
        locate: Callable[[str], ImageData | ImageRoots | None],
        schema: Schema | Mapping[str, Schema] | None,
        wholebody: str,
        helper: Helper | None,
        is_same_file: Callable[[], bool],
        stops: bool,
    ) -> None:
        self.where = where
        self.problems = Problems()
        self.warnings: list[str] = []
        self._text = text
        self._doubtful = doubtful
        self._locate = locate
        self._schema = schema
        self._wholebody = wholebody
        self._helper = helper
        self._is_same_file = is_same_file
        self._stops = stops
        self._without_keypoints: dict[int, str] = {}
        self._fields: dict[int, PointFields] = {}

    def read(self, content: dict[str, Any]) -> Dataset:
        """Return the dataset, an empty one if reading stopped; see `problems`."""
        try:
            return self._read(content)
        except _Enough:
            return Dataset()

    def _read(self, content: dict[str, Any]) -> Dataset:
        layout = FileLayout(text=self._text)
        categories = self._categories(layout)
        dataset = Dataset(categories)
        dataset.layout = layout
        layout.top = {key: value for key, value in content.items() if key not in _LISTS}
        copy = json.loads(self._text.outer)  # with less time and memory than by deepcopy
        dataset.info, dataset.licenses = copy.get("info"), copy.get("licenses")
        dataset.extra = {key: value for key, value in copy.items() if key not in _TOP_KEYS}
        columns = self._annotations(layout.point_fields, lambda: self._images(dataset))
        _Annotations(self, dataset, columns).read()
        return dataset

    def _annotations(
        self, point_fields: Mapping[int, PointFields], meanwhile: Callable[[], None]
    ) -> Columns:
        """Decode the annotations, a part of them in the second process if there is one."""
        spans = self._text.spans.get("annotations", _NO_SPANS)
        n_here = len(spans)
        if self._helper is not None:
            if len(spans) > 1:
                # Half of the bytes; the images are read besides, the other starts up meanwhile.
                middle = (spans[0, 0] + spans[-1, 1]) // 2
                n_here = int(np.searchsorted(spans[:, 0], middle))
                self._helper.begin(spans[n_here:], point_fields)
            meanwhile()
        data = self._text.data
        with _bar(len(spans) if len(data) > _LARGE else None) as bar:
            columns = decode(data, spans[:n_here], point_fields, bar)
            if n_here < len(spans):
                rest = None if self._helper is None else self._helper.answer()
                if rest is None or not self._is_same_file():
                    rest = decode(data, spans[n_here:], point_fields, bar)
                columns = columns.join(rest)
        if self._helper is None:  # the doubtful ones are being found in a thread: as late as can be
            meanwhile()
        columns.is_decoded[self._doubtful().get("annotations", [])] = False
        return columns

    def note(self, kind: str, position: int, record: Any, problems: Iterable[str]) -> None:
        """Add what is wrong with a record."""
        if isinstance(record, dict) and isinstance(record.get("id"), int | str):
            name = f"{kind} {shown(record['id'])} (number {position + 1} in the file)"
        else:
            name = f"{kind} number {position + 1} in the file"
        self.problems.extend(f"{name}: {problem}" for problem in problems)
        if self._stops and self.problems.is_full:
            raise _Enough

    def record(self, kind: RecordKind, position: int) -> Any:
        """Return a record as Python objects; _Bad if it is not strict JSON.

        Raises
        ------
        FormatError
            If it is not JSON at all: nobody could read what would be written back.
        """
        raw = self._text.raw(kind, position)
        start = int(self._text.spans[kind][position, 0])
        try:
            return _parse_json(raw.decode("utf-8"), "", first_byte=start)
        except FormatError as error:
            problems = [problem.removeprefix(": ") for problem in error.problems]
            try:
                json.loads(raw)
            except (ValueError, RecursionError):
                name = f"{_NAMES[kind]} number {position + 1} in the file"
                raise FormatError.from_problems(
                    self.where, [f"{name}: {problem}" for problem in problems]
                ) from error
            raise _Bad(*problems) from error

    def _categories(self, layout: FileLayout) -> list[Category]:
        categories: dict[int, Category] = {}
        first: dict[int, Any] = {}
        others: list[int] = []
        misfits: list[str] = []
        for position in range(len(self._text.spans["categories"])):
            record: Any = None
            try:
                record = self.record("categories", position)
                number = _checked_id(record)
                if number in first:
                    if record != first[number]:
                        raise _Bad(
                            "its id is that of an earlier category, expected ids that differ"
                        )
                    others.append(position)
                    continue
                first[number] = record
                category = self._category_of(number, record, misfits)
                if category is None:
                    others.append(position)
                else:
                    categories[number] = category
                    layout.categories_read[number] = (self._text, position, category)
            except _Bad as bad:
                self.note("category", position, record, bad.problems)
                others.append(position)
        if isinstance(self._schema, Mapping):
            names = [str(record.get("name")) for record in first.values()]
            misfits += [
                f"schema: there is no category {name!r}, the categories are "
                + (", ".join(map(repr, names[:20])) or "none")
                for name in self._schema
                if name not in names
            ]
        if misfits:
            raise ValueError("\n".join(f"{self.where}: {misfit}" for misfit in misfits))
        layout.categories = RecordsAt(self._text, "categories", np.array(others, np.int64))
        layout.point_fields = {number: self._fields[number] for number in categories}
        return list(categories.values())

    def _schema_for(self, name: Any) -> Schema | None:
        """Return the schema that the caller gave for the category of a name."""
        if isinstance(self._schema, Mapping):
            return self._schema.get(name) if isinstance(name, str) else None
        return self._schema

    def _category_of(
        self, number: int, record: dict[str, Any], misfits: list[str]
    ) -> Category | None:
        """Category of a record, None if it has no keypoints.

        What does not fit the schema that the caller gave for it is added to `misfits`.
        """
        name = record.get("name")
        schema = self._schema_for(name)
        if names_keypoints := record.get("keypoints") not in (None, []):
            category = self._category(number, record)
        else:
            supercategory = record.get("supercategory")
            if schema is None or not isinstance(name, str):
                self._without_keypoints[number] = str(name)
                return None
            if not (supercategory is None or isinstance(supercategory, str)):
                raise _Bad(f"'supercategory' is {shown(supercategory)}, expected text")
            used = {*_OF_CATEGORY, *_NEEDED_BY_SCHEMA}
            extra = {key: value for key, value in record.items() if key not in used}
            category = Category(number, schema, name, supercategory, extra)
        fields: PointFields = (("keypoints", category.n_keypoints),)
        if category.n_keypoints == 17 and self._wholebody != "body" and self.has_wholebody:
            category, fields = _whole_body(category, self._wholebody)
        if schema is not None and names_keypoints:
            if schema.keypoints == category.keypoints:
                category = replace(category, schema=_with_values(category.schema, schema))
            else:
                misfits.append(_how_schema_differs(category, schema))
        self._fields[number] = fields
        return category

    @cached_property
    def has_wholebody(self) -> bool:
        """Whether one of the first annotations has a field of COCO-WholeBody."""
        spans = self._text.spans.get("annotations", _NO_SPANS)[:100]
        fields = [field for field, _, _ in _PARTS.values() if field != "keypoints"]
        return any(
            f'"{field}"'.encode() in self._text.data[start:end]
            for start, end in spans.tolist()
            for field in fields
        )

    def _category(self, number: int, record: dict[str, Any]) -> Category:
        name, supercategory = record.get("name"), record.get("supercategory")
        problems = []
        if not isinstance(name, str):
            problems.append(f"'name' is {_show(record, 'name')}, expected text")
            name = str(number)
        if not (supercategory is None or isinstance(supercategory, str)):
            problems.append(f"'supercategory' is {shown(supercategory)}, expected text")
            supercategory = None
        needed = {key: record[key] for key in _NEEDED_BY_SCHEMA if key in record}
        needed["skeleton"] = self._drawable(name, needed.get("keypoints"), needed.get("skeleton"))
        optional = {key: record[key] for key in _OPTIONAL_FOR_SCHEMA if key in record}
        for key in _PERHAPS_FOR_SCHEMA:
            with contextlib.suppress(FormatError):  # else it stays what it is, a field of others
                if key in record:
                    fields = {"keypoints": record.get("keypoints"), key: record[key]}
                    Schema.from_metadata(fields, name=name)
                    optional[key] = record[key]
        try:
            schema = Schema.from_metadata({**needed, **optional}, name=name)
        except FormatError as error:
            unusable = error
            try:
                schema = Schema.from_metadata(needed, name=name)
            except FormatError as worse:
                raise _Bad(*problems, *worse.problems) from worse
            self.warnings.append(
                f"category {shown(name)}: {', '.join(map(repr, optional))} not used, though kept "
                f"in the file: {'; '.join(unusable.problems)}"
            )
            optional = {}
        if problems:
            raise _Bad(*problems)
        used = {*_OF_CATEGORY, *_NEEDED_BY_SCHEMA, *optional}
        extra = {key: value for key, value in record.items() if key not in used}
        return Category(number, schema, name, supercategory, extra)

    def _drawable(self, name: str, keypoints: Any, skeleton: Any) -> Any:
        """Skeleton without the edges that have an end outside 1..K; those stay in the record.

        CrowdPose's own files have such edges. An edge with a 0 shows that the whole list counts
        from 0, so that none of its edges says what it means.
        """
        if skeleton is None:
            return []
        if not (isinstance(skeleton, list) and isinstance(keypoints, list)):
            return skeleton
        n = len(keypoints)

        def is_outside(edge: Any) -> bool:
            ends = [as_int(end) for end in edge] if isinstance(edge, list) else []
            return any(end is not None and not 1 <= end <= n for end in ends)

        outside = [edge for edge in skeleton if is_outside(edge)]
        if not outside:
            return skeleton
        if any(as_int(end) == 0 for edge in outside for end in edge):
            self.warnings.append(
                f"category {shown(name)}: the skeleton has the keypoint number 0, so it seems to "
                f"count from 0 where COCO counts from 1; {count(len(skeleton), 'edge')} not drawn, "
                "though kept in the file"
            )
            return []
        self.warnings.append(
            f"category {shown(name)}: {count(len(outside), 'edge')} with keypoints that are not in "
            f"1..{n} ({shown(outside[:5])}), not drawn, though kept in the file"
        )
        return [edge for edge in skeleton if not is_outside(edge)]

    def _images(self, dataset: Dataset) -> None:
        spans, text, locate = self._text.spans["images"], self._text, self._locate
        decoder = msgspec.json.Decoder(list[_ImageFields])
        view = memoryview(text.data)
        doubtful = set(self._doubtful()["images"].tolist())
        first: dict[int | str, int] = {}
        others: list[int] = []
        for start, stop in chunks(spans):
            ids: tuple[int, ...] = ()
            if doubtful.isdisjoint(range(start, stop)):
                payload = b"".join((b"[", view[spans[start, 0] : spans[stop - 1, 1]], b"]"))
                # One that does not decode is found out below, by itself.
                with contextlib.suppress(msgspec.DecodeError, RecursionError):
                    records = decoder.decode(payload)
                    ids, names, widths, heights = zip(*map(_IMAGE_FIELDS, records), strict=True)
            # Most files are all of this kind.
            if ids and first.keys().isdisjoint(ids) and len(set(ids)) == len(ids):
                # id, name, data, size, orientation, is_done, extra, text, position: by place, for
                # there may be a hundred thousand of them.
                fields = (ids, names, map(locate, names), zip(widths, heights, strict=True),
                          repeat(None), repeat(False), repeat(None), repeat(text),
                          range(start, stop))  # fmt: skip
                dataset._add_images(list(map(ImageState, *fields)))
                first.update(zip(ids, range(start, stop), strict=True))
                continue
            for position in range(start, stop):
                record: Any = None
                try:
                    record = self.record("images", position)
                    number = _checked_id(record, text_is_fine=True)
                    if number in first:
                        if record != text.record("images", first[number]):
                            raise _Bad(
                                "its id is that of an earlier image, expected ids that differ"
                            )
                        others.append(position)
                        continue
                    state = self._image(number, record)
                except _Bad as bad:
                    self.note("image", position, record, bad.problems)
                    others.append(position)
                    continue
                state.text, state.position = text, position
                dataset._add_images([state])
                first[number] = position
        dataset.layout.images = RecordsAt(text, "images", np.array(others, np.int64))

    def _image(self, number: int | str, record: dict[str, Any]) -> ImageState:
        file_name = record.get("file_name")
        problems = []
        if not isinstance(file_name, str) or not file_name:
            problems.append(f"'file_name' is {_show(record, 'file_name')}, expected text")
        size = []
        for key in ("width", "height"):
            value = record.get(key)
            number_of_pixels = as_float(value)
            if value is None:
                continue
            if number_of_pixels is None or number_of_pixels < 1 or number_of_pixels % 1:
                problems.append(
                    f"{key!r} is {shown(value)}, expected a whole number of pixels above 0"
                )
            else:
                size.append(int(value))  # not by way of a float, which may be another number
        if problems or not isinstance(file_name, str):
            raise _Bad(*problems)
        return ImageState(
            number,
            file_name,
            self._locate(file_name),
            recorded_size=(size[0], size[1]) if len(size) == 2 else None,
        )


class _Annotations:
    """Hands the annotations of one file to the dataset, those that are instances."""

    def __init__(self, reader: _Reader, dataset: Dataset, columns: Columns) -> None:
        self._reader = reader
        self._dataset = dataset
        self._columns = columns
        n = len(columns.id)
        self._image = np.full(n, -1, np.int32)
        self._category = np.full(n, -1, np.int32)
        self._is_instance = np.zeros(n, bool)

    def read(self) -> None:
        reader, columns = self._reader, self._columns
        self._look_up()
        pending = np.flatnonzero(~columns.is_decoded).tolist()
        if pending:
            at = np.flatnonzero(columns.is_decoded)
            seen = dict(zip(columns.id[at].tolist(), at.tolist(), strict=True))
        while pending:
            position = heapq.heappop(pending)
            record: Any = None
            try:
                record = reader.record("annotations", position)
                later = self._one(position, record, seen)
            except _Bad as bad:
                reader.note("annotation", position, record, bad.problems)
                continue
            if later is not None:  # that was taken for the first with this id
                columns.is_decoded[later] = self._is_instance[later] = False
                heapq.heappush(pending, later)
        self._hand_over()
        for (category_id, n_points), n in columns.n_unnamed.items():
            name = reader._without_keypoints.get(category_id)
            if name is not None:
                reader.warnings.append(
                    f"category {shown(name)} names no keypoints, but the file has "
                    f"{count(n, 'annotation')} of it with {count(n_points, 'keypoint')}: they are "
                    "kept in the file and not read; pass schema= to read them"
                )

    def _look_up(self) -> None:
        """Find image and category of the decoded records; others are to be looked at singly."""
        columns, dataset = self._columns, self._dataset
        self._image = _positions(columns.image_id, [state.id for state in dataset._images])
        self._category = _positions(columns.category_id, [c.id for c in dataset.categories])
        without = _positions(columns.category_id, list(self._reader._without_keypoints))
        is_other = (self._category < 0) & (without >= 0)
        columns.is_decoded &= (self._image >= 0) & ((self._category >= 0) | is_other)
        # Every record but the first of an id.
        at = np.flatnonzero(columns.is_decoded)
        order = at[np.argsort(columns.id[at], kind="stable")]
        ordered = columns.id[order]
        columns.is_decoded[order[1:][ordered[1:] == ordered[:-1]]] = False
        self._is_instance = columns.is_decoded & (self._category >= 0)

    def _one(self, position: int, record: Any, seen: dict[int, int]) -> int | None:
        """Take one record, or raise _Bad with all that is wrong.

        `seen` are the positions of ids. Returned is that of a later record with the same id.
        """
        dataset, reader = self._dataset, self._reader
        number = _checked_id(record)
        problems = []
        other = seen.get(number)
        if other is not None and other < position:
            problems.append("its id is that of an earlier annotation, expected ids that differ")
        image = _looked_up(dataset._index_of_image_id, record.get("image_id"))
        if image is None:
            problems.append(f"'image_id' is {_show(record, 'image_id')}, no image has this id")
        category_id = record.get("category_id")
        category = _looked_up(dataset._category_of_id, category_id)
        if category is None:
            if as_int(category_id) not in reader._without_keypoints:
                problems.append(
                    f"'category_id' is {_show(record, 'category_id')}, no category has this id"
                )
            if problems:
                raise _Bad(*problems)
            seen[number] = position
            return other
        its = dataset.categories[category]
        points = _points(its, reader._fields[its.id], record, problems)
        bbox = _bbox(record, problems)
        area = _number(record, "area", problems)
        if bbox is not None and not any(bbox) and not points[:, 2].any():
            # This is how an instance without a box is written: COCO requires one.
            bbox = None
            area = area or None
        iscrowd = record.get("iscrowd")
        if iscrowd not in (None, 0, 1):  # PoseTrack has false and true, which are equal to these
            problems.append(f"'iscrowd' is {_show(record, 'iscrowd')}, expected 0 or 1")
        score = _number(record, "score", problems)
        if problems or image is None:
            raise _Bad(*problems)
        seen[number] = position
        columns = self._columns
        self._image[position] = image
        self._category[position] = category
        columns.id[position] = number
        columns.bbox[position] = math.nan if bbox is None else bbox
        columns.area[position] = math.nan if area is None else area
        columns.score[position] = math.nan if score is None else score
        columns.iscrowd[position] = int(iscrowd or 0)
        columns.tracks[position] = record.get("track_id")
        self._is_instance[position] = True
        columns.points.setdefault(dataset.categories[category].id, []).append(
            (np.array([position]), points[None])
        )
        return other

    def _hand_over(self) -> None:
        dataset, columns, text = self._dataset, self._columns, self._reader._text
        positions = np.flatnonzero(self._is_instance)
        category = self._category[positions]
        keypoints = {}
        for index, its in enumerate(dataset.categories):
            parts = columns.points.pop(its.id, [])
            if not parts:
                continue
            at = np.concatenate([part[0] for part in parts])
            points = np.concatenate([part[1] for part in parts])
            parts.clear()
            keep = self._is_instance[at] & (self._category[at] == index)
            if not keep.all() or (at[1:] <= at[:-1]).any():
                # One that was looked at singly stands behind the others, and counts.
                order = np.argsort(at, kind="stable")
                order = order[np.append(at[order][1:] != at[order][:-1], True)]
                points = points[order[keep[order]]]
            keypoints[index] = points
        tracks = np.full(len(self._is_instance), None, object)
        for position, track in columns.tracks.items():
            tracks[position] = track
        ids = columns.id[positions]
        dataset._table.extend(
            uids=list(map("coco:%d".__mod__, ids.tolist())),
            image=self._image[positions],
            category=category,
            keypoints=keypoints,
            text=text,
            position=positions,
            id=ids,
            bbox=columns.bbox[positions],
            area=columns.area[positions],
            score=columns.score[positions],
            iscrowd=columns.iscrowd[positions],
            track_id=tracks[positions],
            source="imported",
        )
        others = np.flatnonzero(~self._is_instance)
        dataset.layout.annotations = RecordsAt(text, "annotations", others)


def _positions(keys: NDArray[np.int64], ids: Sequence[int | str]) -> NDArray[np.int32]:
    """Position in `ids` of each key, -1 for one that is not among them."""
    if not ids:
        return np.full(len(keys), -1, np.int32)
    if set(map(type, ids)) == {int}:
        known, positions = np.array(ids, np.int64), np.arange(len(ids))
    else:  # text is no key here: such records are looked at singly
        positions = np.flatnonzero([isinstance(number, int) for number in ids])
        known = np.array([ids[i] for i in positions.tolist()], np.int64)
    order = np.argsort(known, kind="stable")
    known, positions = known[order], positions[order]
    if not len(known):
        return np.full(len(keys), -1, np.int32)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[at] == keys, positions[at], -1).astype(np.int32)


def _is_rising(values: NDArray[np.int64]) -> bool:
    return bool(np.all(values[1:] > values[:-1]))


def _checked_id(record: Any, *, text_is_fine: bool = False) -> Any:
    if not isinstance(record, dict):
        raise _Bad(f"expected an object, got {type(record).__name__}")
    value = record.get("id")
    if text_is_fine and isinstance(value, str) and value:
        return value
    number = as_int(value)
    if number is None or not _MIN_INT64 <= number <= _MAX_INT64:
        expected = "an integer of 64 bits" + (" or text" if text_is_fine else "")
        raise _Bad(f"'id' is {_show(record, 'id')}, expected {expected}")
    return number


def _looked_up(table: Mapping[Any, int], key: Any) -> int | None:
    # 1.0 and True are equal to 1 in a dict, but no ids.
    return table.get(key) if isinstance(key, str) or as_int(key) is not None else None


def _show(record: dict[str, Any], key: str) -> str:
    return shown(record[key]) if key in record else "missing"


def _number(record: dict[str, Any], key: str, problems: list[str]) -> float | None:
    value = record.get(key)
    number = as_float(value)
    if value is not None and number is None:
        problems.append(f"{key!r} is {_show(record, key)}, expected a number")
    return number


def _bbox(record: dict[str, Any], problems: list[str]) -> list[float] | None:
    value = record.get("bbox")
    if value is None:
        return None
    numbers = [as_float(item) for item in value] if isinstance(value, list) else []
    checked = [n for n in numbers if n is not None and abs(n) <= MAX_COORDINATE]
    if len(numbers) != 4 or len(checked) != 4:
        problems.append(
            f"'bbox' is {_show(record, 'bbox')}, expected 4 numbers (at most {MAX_COORDINATE:g})"
        )
        return None
    return checked


def _points(
    category: Category, fields: PointFields, record: dict[str, Any], problems: list[str]
) -> NDArray[np.float64]:
    """Points of an annotation, (n_keypoints, 3); what is wrong is added to `problems`."""
    points = np.zeros((category.n_keypoints, 3))
    start = 0
    for field, n in fields:
        flat, first = record.get(field), start
        start += n
        if flat is None:
            continue
        if not isinstance(flat, list):
            problems.append(
                f"{field!r} is {type(flat).__name__}, expected a list of {3 * n} numbers"
            )
            continue
        if len(flat) != 3 * n:
            problems.append(
                f"{field!r} has {len(flat)} numbers, expected {3 * n} ({n} keypoints x 3) for "
                f"category {shown(category.name)}"
            )
            continue
        for k in range(n):
            given = flat[3 * k : 3 * k + 3]
            x, y, v = map(as_float, given)
            is_far = max(abs(x or 0), abs(y or 0)) > MAX_COORDINATE
            if x is None or y is None or is_far or v is None or not 0 <= v <= 2:
                problems.append(
                    f"keypoint {shown(category.keypoints[first + k])} is {shown(given)}, expected "
                    f"two numbers (at most {MAX_COORDINATE:g}) and a visibility of 0, 1 or 2"
                )
            else:
                points[first + k] = (x, y, v)
    return points


def _whole_body(category: Category, part: str) -> tuple[Category, PointFields]:
    """The category with COCO-WholeBody's other points, or one part of them, and their fields."""
    whole = schemas.get("coco_wholebody133")
    if part == "whole":
        chosen = list(_PARTS)
        schema = whole
        if category.keypoints != whole.keypoints[:17]:
            schema = Schema(
                whole.name,
                keypoints=[*category.keypoints, *whole.keypoints[17:]],
                skeleton=whole.skeleton,
            )
    else:
        chosen = [part]
        schema = _part_of(whole, part)
    fields = tuple((_PARTS[name][0], _PARTS[name][2]) for name in chosen)
    return Category(
        category.id, schema, category.name, category.supercategory, category.extra
    ), fields


def _check_schemas(schema: Any) -> None:
    """Raise TypeError if the option is neither a schema nor a mapping to schemas."""
    given = schema.values() if isinstance(schema, Mapping) else [schema]
    wrong = [item for item in given if not isinstance(item, Schema)]
    if wrong and schema is not None:
        hint = f"; kp.schemas.get({wrong[0]!r}) is one" if wrong[0] in schemas.names() else ""
        raise TypeError(
            "schema is a kpwidget.Schema or a mapping from category name to one, not "
            f"{wrong[0]!r}{hint}"
        )


def _with_values(own: Schema, given: Schema) -> Schema:
    """The schema of a file with the flip pairs, sigmas and colors of one with its keypoints."""
    has_sigmas = given.sigmas is not None
    return Schema(
        own.name,
        keypoints=own.keypoints,
        skeleton=own.skeleton or given.skeleton,
        flip_pairs=given.flip_pairs or own.flip_pairs,
        sigmas=given.sigmas if has_sigmas else own.sigmas,
        sigma_source=given.sigma_source if has_sigmas else own.sigma_source,
        colors=given._parts.colors or own._parts.colors,
        layout=given.layout,
        aliases=dict(given._parts.aliases or own._parts.aliases or ()) or None,
        parts=dict(given._parts.part_ranges or own._parts.part_ranges or ()) or None,
        definitions=given.definitions or own.definitions,
        references=given.references or own.references,
    )


def _how_schema_differs(category: Category, schema: Schema) -> str:
    shown = [
        f"{len(names)} ({', '.join(names[:6])}{', ...' if len(names) > 6 else ''})"
        for names in (category.keypoints, schema.keypoints)
    ]
    order = sorted(category.keypoints) == sorted(schema.keypoints)
    return (
        f"schema {schema.name!r} does not fit category {category.name!r}: the file names the "
        f"keypoints {shown[0]}, the schema {shown[1]}{', in another order' if order else ''}. "
        "Leave it out, or give the schema of each category by its name, in Python. "
        f"Names and aliases tell {_n_known(category, schema)} of {category.n_keypoints}: "
        f"ds.migrate_schema({category.name!r}, schema) goes by these once the file is read without "
        "schema=; kpwidget.plot_schema(ds.categories[0], layout=ds) shows where each is labeled"
    )


def _n_known(category: Category, schema: Schema) -> str:
    """How many keypoints of a category a schema knows by name or alias, and which it does not."""
    try:
        known = schema.match(category.keypoints)
    except ValueError:  # several stand for one
        return "not all"
    unknown = [name for name, k in zip(category.keypoints, known, strict=True) if k is None]
    listed = ", ".join(map(shown, unknown[:6])) + (", ..." if len(unknown) > 6 else "")
    return f"{len(known) - len(unknown)}" + (f" (not {listed})" if unknown else "")


def _part_of(whole: Schema, part: str) -> Schema:
    """The keypoints of one part, with the edges, flip pairs and sigmas that lie in it."""
    _, start, n = _PARTS[part]
    names = whole.keypoints[start : start + n]
    return Schema(
        f"{whole.name}_{part}",
        keypoints=names,
        skeleton=[
            (a - start, b - start)
            for a, b in whole.skeleton
            if start < a <= start + n and start < b <= start + n
        ],
        flip_pairs=[pair for pair in whole.flip_pairs if set(pair) <= set(names)],
        sigmas=None if whole.sigmas is None else whole.sigmas[start : start + n],
        sigma_source=whole.sigma_source,
        colors=whole.colors[start : start + n],
    )
