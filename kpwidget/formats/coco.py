"""COCO keypoints: `read_coco` and `write_coco`.

Nothing of a file is dropped. Fields without a place in a dataset stay in the record they came in,
records that are no instances keep their position, and a number is written as it was read until
it is edited.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from kpwidget.dataset import Dataset, FileLayout, ImageState
from kpwidget.dataset.image_files import ImageData, ImageRoots, find_images
from kpwidget.dataset.table import InstanceRecord, Point
from kpwidget.dataset.values import MAX_COORDINATE, as_float, as_int
from kpwidget.formats import WriteReport, write_file
from kpwidget.images import ImageError
from kpwidget.schema import Category, FormatError, Schema, _decode, _parse_json

__all__ = ["read_coco", "write_coco"]

_TOP_KEYS: Final = ("info", "licenses", "images", "annotations", "categories")
# Fields of a category that describe its schema, and those that a category has besides.
_NEEDED_BY_SCHEMA: Final[tuple[str, ...]] = ("keypoints", "skeleton")
_OPTIONAL_FOR_SCHEMA: Final[tuple[str, ...]] = ("flip_pairs", "sigmas", "sigma_source", "colors")
_OF_CATEGORY: Final[tuple[str, ...]] = ("id", "name", "supercategory")

_MIN_INT64: Final = -(2**63) + 1  # -2**63 stands for "no id" in a dataset
_MAX_INT64: Final = 2**63 - 1


def read_coco(
    path: str | os.PathLike[str],
    images: Any = None,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    allow_outside: bool = False,
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

    Warns
    -----
    UserWarning
        If edges of a skeleton or optional schema fields cannot be used (they stay in the file),
        or records were skipped.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error is 'raise' or 'skip', not {on_error!r}")
    path = Path(path)
    content = _load(path)
    reader = _Reader(os.fspath(path), _locator(images, path, allow_outside))
    dataset = reader.read(content)
    if reader.problems and on_error == "raise":
        n = len(reader.problems)
        raise FormatError.from_problems(
            reader.where,
            [*reader.problems, f"{n} bad record{'s' * (n > 1)}; on_error='skip' leaves them out"],
        )
    for warning in reader.warnings:
        warnings.warn(f"{path}: {warning}", stacklevel=_levels_to_caller())
    if reader.problems:
        dataset.skipped = tuple(reader.problems)
        shown = "; ".join(reader.problems[:5])
        warnings.warn(
            f"{path}: {len(reader.problems)} bad records left out (all in ds.skipped): {shown}",
            stacklevel=_levels_to_caller(),
        )
    dataset.path = path
    dataset._saved_revision = dataset._revision
    return dataset


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
    One record per line, annotations in the order of ``dataset.instances``, floats with all their
    digits. A record that was read is written with its fields in their order; of an edited one only
    keypoints, num_keypoints and, where they changed, bbox and area differ.
    """
    with dataset.lock:
        n_new_ids = dataset._give_ids()
        notes: list[str] = []
        chunks = list(_chunks(dataset, notes))
        notes.extend(_unheld(dataset))
        n_images, n_instances = len(dataset.images), len(dataset.instances)
    write_file(path, chunks)
    return WriteReport(Path(path), "coco", n_images, n_instances, n_new_ids, tuple(notes))


def _levels_to_caller() -> int:
    """`stacklevel` by which a warning of `read_coco` points at the line outside of kpwidget."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("kpwidget."):
        level, frame = level + 1, frame.f_back
    return level


# --- reading ------------------------------------------------------------------------------------


def _load(path: Path) -> dict[str, Any]:
    where = os.fspath(path)
    text = _decode(path.read_bytes(), where)
    try:
        content = _parse_json(text, where)
    except FormatError as error:
        if isinstance(error.__cause__, RecursionError):
            raise FormatError.from_problems(
                where, ["nested deeper than JSON can be read here; COCO needs 6 levels"]
            ) from error
        raise
    if isinstance(content, list):
        is_results = all(isinstance(item, dict) and "score" in item for item in content[:10])
        found = "a COCO results file (predictions)" if content and is_results else "a list"
        raise FormatError.from_problems(
            where,
            [f"this is {found}; expected an object with 'images', 'annotations' and 'categories'"],
        )
    if not isinstance(content, dict):
        raise FormatError.from_problems(
            where,
            [f"not a COCO file: expected an object, got {type(content).__name__}"],
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
        found = ", ".join(map(repr, list(content)[:10])) or "nothing"
        raise FormatError.from_problems(where, [*problems, f"the top level has {found}"])
    return content


def _locator(
    images: Any, path: Path, allow_outside: bool
) -> Callable[[str], ImageData | ImageRoots | None]:
    """Return the function that says where the image of a file name is to be looked for."""
    if images is None:
        images = path.parent
    if isinstance(images, Mapping):
        named = find_images(images)
        return named.get
    items = [images] if isinstance(images, str | os.PathLike) else list(images)
    if all(
        isinstance(i, str | os.PathLike) and os.path.isdir(os.path.expanduser(i)) for i in items
    ):
        folders = tuple(Path(os.path.expanduser(item)) for item in items)
        if folders:
            roots = ImageRoots(folders, allow_outside)
            return lambda file_name: roots
    by_base_name: dict[str, list[Path]] = {}
    for found in find_images(items).values():
        if isinstance(found, Path):
            by_base_name.setdefault(found.name, []).append(found)

    def locate(file_name: str) -> ImageData | None:
        tail = "/" + file_name.removeprefix("./")
        fitting = [
            found
            for found in by_base_name.get(tail.rsplit("/", 1)[1], [])
            if found.as_posix().endswith(tail)
        ]
        return fitting[0] if len(fitting) == 1 else None

    return locate


class _Bad(Exception):
    """What is wrong with one record, each in words."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class _Reader:
    """Reads the lists of one file and collects what is wrong with their records."""

    def __init__(self, where: str, locate: Callable[[str], ImageData | ImageRoots | None]) -> None:
        self.where = where
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._locate = locate
        self._without_keypoints: set[int] = set()
        self._annotation_ids: set[int] = set()

    def read(self, content: dict[str, Any]) -> Dataset:
        layout = FileLayout(keys=tuple(content))
        categories = self._categories(content["categories"], layout)
        dataset = Dataset(categories)
        dataset.layout = layout
        dataset.info = content.get("info")
        dataset.licenses = content.get("licenses")
        dataset.extra = {key: value for key, value in content.items() if key not in _TOP_KEYS}
        self._images(content["images"], dataset)
        annotations = content.get("annotations", ())
        for position, record in enumerate(annotations):
            try:
                self._annotation(position, record, dataset)
            except _Bad as bad:
                self._note("annotation", position, record, bad)
                layout.annotations[position] = record
        dataset._table.reserve(len(annotations))
        return dataset

    def _note(self, kind: str, position: int, record: Any, bad: _Bad) -> None:
        if isinstance(record, dict) and isinstance(record.get("id"), int | str):
            name = f"{kind} {record['id']!r} (number {position + 1} in the file)"
        else:
            name = f"{kind} number {position + 1} in the file"
        self.problems.extend(f"{name}: {problem}" for problem in bad.problems)

    def _categories(self, records: list[Any], layout: FileLayout) -> list[Category]:
        categories: dict[int, Category] = {}
        first: dict[int, Any] = {}
        for position, record in enumerate(records):
            try:
                number = _checked_id(record)
                if number in first:
                    if record != first[number]:
                        raise _Bad(
                            "its id is that of an earlier category, expected ids that differ"
                        )
                    layout.categories[position] = record
                    continue
                if record.get("keypoints") in (None, []):
                    self._without_keypoints.add(number)
                    layout.categories[position] = record
                else:
                    categories[number] = self._category(number, record)
                    layout.category_fields[number] = record
                first[number] = record
            except _Bad as bad:
                self._note("category", position, record, bad)
                layout.categories[position] = record
        return list(categories.values())

    def _category(self, number: int, record: dict[str, Any]) -> Category:
        name, supercategory = record.get("name"), record.get("supercategory")
        problems = []
        if not isinstance(name, str):
            problems.append(f"'name' is {_show(record, 'name')}, expected text")
            name = str(number)
        if not (supercategory is None or isinstance(supercategory, str)):
            problems.append(f"'supercategory' is {supercategory!r}, expected text")
            supercategory = None
        needed = {key: record[key] for key in _NEEDED_BY_SCHEMA if key in record}
        needed["skeleton"] = self._drawable(name, needed.get("keypoints"), needed.get("skeleton"))
        optional = {key: record[key] for key in _OPTIONAL_FOR_SCHEMA if key in record}
        try:
            schema = Schema.from_metadata({**needed, **optional}, name=name)
        except FormatError as error:
            unusable = error
            try:
                schema = Schema.from_metadata(needed, name=name)
            except FormatError as worse:
                raise _Bad(*problems, *worse.problems) from worse
            self.warnings.append(
                f"category {name!r}: {', '.join(map(repr, optional))} not used, though kept in the "
                f"file: {'; '.join(unusable.problems)}"
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
                f"category {name!r}: the skeleton has the keypoint number 0, so it seems to count "
                f"from 0 where COCO counts from 1; its {len(skeleton)} edges are not drawn, though "
                "kept in the file"
            )
            return []
        self.warnings.append(
            f"category {name!r}: {len(outside)} edges name keypoints that are not in 1..{n} "
            f"({outside[:5]}); they are not drawn, though kept in the file"
        )
        return [edge for edge in skeleton if not is_outside(edge)]

    def _images(self, records: list[Any], dataset: Dataset) -> None:
        first: dict[int | str, Any] = {}
        for position, record in enumerate(records):
            try:
                number = _checked_id(record, text_is_fine=True)
                if number in first:
                    if record != first[number]:
                        raise _Bad("its id is that of an earlier image, expected ids that differ")
                    dataset.layout.images[position] = record
                    continue
                state = self._image(number, record)
                dataset._add_image(state)
                first[number] = record
            except _Bad as bad:
                self._note("image", position, record, bad)
                dataset.layout.images[position] = record

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
                problems.append(f"{key!r} is {value!r}, expected a whole number of pixels above 0")
            else:
                size.append(int(number_of_pixels))
        if problems or not isinstance(file_name, str):
            raise _Bad(*problems)
        return ImageState(
            number,
            file_name,
            self._locate(file_name),
            recorded_size=(size[0], size[1]) if len(size) == 2 else None,
            fields=record,
        )

    def _annotation(self, position: int, record: Any, dataset: Dataset) -> None:
        number = _checked_id(record)
        problems = []
        if number in self._annotation_ids:
            problems.append("its id is that of an earlier annotation, expected ids that differ")
        image = _looked_up(dataset._index_of_image_id, record.get("image_id"))
        if image is None:
            problems.append(f"'image_id' is {_show(record, 'image_id')}, no image has this id")
        category_id = record.get("category_id")
        category = _looked_up(dataset._category_of_id, category_id)
        if category is None:
            if as_int(category_id) not in self._without_keypoints:
                problems.append(
                    f"'category_id' is {_show(record, 'category_id')}, no category has this id"
                )
            if problems:
                raise _Bad(*problems)
            self._annotation_ids.add(number)
            dataset.layout.annotations[position] = record
            return
        points = _points(dataset.categories[category], record.get("keypoints"), problems)
        bbox = _numbers(record, "bbox", 4, problems)
        area = _number(record, "area", problems)
        if not any(bbox or (0,)) and not any(point and point[2] for point in points):
            # This is how an instance without a box is written: COCO requires one.
            bbox = None
            area = area or None
        iscrowd = record.get("iscrowd")
        if iscrowd not in (None, 0, 1):  # PoseTrack has false and true, which are equal to these
            problems.append(f"'iscrowd' is {_show(record, 'iscrowd')}, expected 0 or 1")
        score = _number(record, "score", problems)
        if problems or image is None:
            raise _Bad(*problems)
        self._annotation_ids.add(number)
        dataset._table.insert(
            InstanceRecord(
                uid=f"coco:{number}",
                image=image,
                category=category,
                keypoints=points,
                bbox=None if bbox is None else (bbox[0], bbox[1], bbox[2], bbox[3]),
                area=area,
                iscrowd=int(iscrowd or 0),
                track_id=record.get("track_id"),
                score=score,
                source="imported",
                id=number,
                row=position,
                fields=record,
            )
        )


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
    if key not in record:
        return "missing"
    text = repr(record[key])
    return text if len(text) <= 80 else text[:77] + "..."


def _number(record: dict[str, Any], key: str, problems: list[str]) -> float | None:
    value = record.get(key)
    number = as_float(value)
    if value is not None and number is None:
        problems.append(f"{key!r} is {_show(record, key)}, expected a number")
    return number


def _numbers(record: dict[str, Any], key: str, n: int, problems: list[str]) -> list[float] | None:
    value = record.get(key)
    if value is None:
        return None
    numbers = [as_float(item) for item in value] if isinstance(value, list) else []
    checked = [number for number in numbers if number is not None]
    if len(numbers) != n or len(checked) != n:
        problems.append(f"{key!r} is {_show(record, key)}, expected {n} numbers")
        return None
    return checked


def _points(category: Category, flat: Any, problems: list[str]) -> tuple[Point, ...]:
    """Points of an annotation; what is wrong is added to `problems`."""
    n = category.n_keypoints
    nothing: tuple[Point, ...] = (None,) * n
    if flat is None:
        return nothing
    if not isinstance(flat, list):
        problems.append(f"'keypoints' is {type(flat).__name__}, expected a list of {3 * n} numbers")
        return nothing
    if len(flat) != 3 * n:
        problems.append(
            f"'keypoints' has {len(flat)} numbers, expected {3 * n} ({n} keypoints x 3) for "
            f"category {category.name!r}"
        )
        return nothing
    points: list[Point] = []
    for k, name in enumerate(category.keypoints):
        given = flat[3 * k : 3 * k + 3]
        x, y, v = map(as_float, given)
        is_far = max(abs(x or 0), abs(y or 0)) > MAX_COORDINATE
        if x is None or y is None or is_far or v not in (0, 1, 2):
            problems.append(
                f"keypoint {name!r} is {given!r}, expected two numbers (at most "
                f"{MAX_COORDINATE:g}) and a visibility of 0, 1 or 2"
            )
            points.append(None)
        else:
            points.append((x, y, int(v)) if v or x or y else None)
    return tuple(points)


# --- writing ------------------------------------------------------------------------------------


def _chunks(dataset: Dataset, notes: list[str]) -> Iterator[bytes]:
    """Return the parts of the file, in order."""
    layout = dataset.layout
    wrong = [repr(key) for key in dataset.extra if not isinstance(key, str)]
    if wrong:
        raise TypeError(f"dataset.extra: expected text as keys, got {', '.join(wrong)}")
    keys = list(layout.keys or _TOP_KEYS)
    needed = [*dataset.extra, "images", "categories"]
    if len(dataset.instances) or layout.annotations:
        needed.append("annotations")
    for key, value in (("info", dataset.info), ("licenses", dataset.licenses)):
        if value is not None:
            needed.append(key)
    keys += [key for key in needed if key not in keys]
    written = [key for key in keys if key in _TOP_KEYS or key in dataset.extra]
    yield b"{"
    for i, key in enumerate(written):
        yield b"%s%s: " % (b",\n" if i else b"\n", _dumps(key))
        if key == "images":
            yield from _lines(_interleaved(_image_records(dataset, notes), layout.images))
        elif key == "categories":
            yield from _lines(_interleaved(_category_records(dataset), layout.categories))
        elif key == "annotations":
            yield from _lines(_annotation_records(dataset))
        elif key == "info":
            yield _dumps({} if dataset.info is None else dataset.info)
        elif key == "licenses":
            yield _dumps([] if dataset.licenses is None else dataset.licenses)
        else:
            yield _dumps(dataset.extra[key])
    yield b"\n}\n"


def _lines(records: Iterator[Any]) -> Iterator[bytes]:
    yield b"["
    is_first = True
    for record in records:
        yield b"\n" if is_first else b",\n"
        yield _dumps(record)
        is_first = False
    yield b"]" if is_first else b"\n]"


def _dumps(value: Any) -> bytes:
    # Floats are written as their shortest text that reads back equal; NaN is refused.
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair has no UTF-8, but it has an escape
        return json.dumps(value, ensure_ascii=True, allow_nan=False).encode("ascii")


def _interleaved(own: Iterator[Any], others: Mapping[int, Any]) -> Iterator[Any]:
    """Yield our records, and the others at the positions they had."""
    position = 0
    for record in own:
        while position in others:
            yield others[position]
            position += 1
        yield record
        position += 1
    for rest in sorted(p for p in others if p >= position):
        yield others[rest]


def _image_records(dataset: Dataset, notes: list[str]) -> Iterator[Any]:
    unknown = []
    for image in dataset.images:
        fields = dataset._images[image.index].fields
        if fields is not None:
            yield fields
            continue
        record: dict[str, Any] = {"id": image.id, "file_name": image.file_name}
        try:
            record["width"], record["height"] = image.size
        except ImageError as error:
            # The labels are worth more than the size: they are written without it.
            unknown.append(
                f"image {image.file_name!r} is written without width and height: {error}"
            )
        yield record
    notes.extend(unknown)


def _category_records(dataset: Dataset) -> Iterator[Any]:
    for category in dataset.categories:
        fields = dataset.layout.category_fields.get(category.id)
        if fields is not None:
            yield fields
            continue
        record: dict[str, Any] = {"id": category.id, "name": category.name}
        if category.supercategory is not None:
            record["supercategory"] = category.supercategory
        metadata = category.schema.to_metadata()
        metadata.setdefault("skeleton", [])  # pycocotools draws only what has one
        for key, value in (*metadata.items(), *category.extra.items()):
            record.setdefault(key, value)
        yield record


def _annotation_records(dataset: Dataset) -> Iterator[Any]:
    others = sorted(dataset.layout.annotations.items(), reverse=True)
    for instance in dataset.instances:
        record = dataset._table.record(instance.uid)
        while others and others[-1][0] < record.row:
            yield others.pop()[1]
        yield _annotation_record(dataset, record)
    while others:
        yield others.pop()[1]


def _annotation_record(dataset: Dataset, record: InstanceRecord) -> dict[str, Any]:
    instance = dataset.instance(record.uid)
    n_labeled = instance.n_labeled
    flat = [number for point in record.keypoints for number in (point or (0, 0, 0))]
    fields = record.fields
    if fields is None:
        bbox, area = instance.bbox, instance.area
        written: dict[str, Any] = {
            "id": record.id,
            "image_id": instance.image.id,
            "category_id": instance.category.id,
            "keypoints": flat,
            "num_keypoints": n_labeled,
            # Evaluation requires both (pycocotools raises KeyError without them).
            "bbox": [0, 0, 0, 0] if bbox is None else list(bbox),
            "area": 0 if area is None else area,
            "iscrowd": record.iscrowd,
        }
        for key, value in (("track_id", record.track_id), ("score", record.score)):
            if value is not None:
                written[key] = value
        return written
    written = dict(fields)
    before = fields.get("keypoints")
    is_edited = any(flat) if before is None else before != flat
    if is_edited:
        # Point by point: those that were not edited keep the digits of the file.
        kept = before or [None] * len(flat)
        written["keypoints"] = [
            old
            for k in range(0, len(flat), 3)
            for old in (kept[k : k + 3] if kept[k : k + 3] == flat[k : k + 3] else flat[k : k + 3])
        ]
        if "num_keypoints" in fields or before is None:
            written["num_keypoints"] = n_labeled
    for key, now in (("bbox", instance.bbox), ("area", instance.area)):
        old = fields.get(key)
        value = list(now) if isinstance(now, tuple) else now
        is_missing = old is None and (is_edited or (key == "bbox" and record.bbox is not None))
        if value is not None and (is_missing or (old is not None and old != value)):
            written[key] = value
        elif value is None and old is not None and any(old if key == "bbox" else [old]):
            written[key] = [0, 0, 0, 0] if key == "bbox" else 0
    return written


def _unheld(dataset: Dataset) -> Iterator[str]:
    """What COCO has no field for, counted."""
    n_unfinished = sum(not instance.is_finished for instance in dataset.instances)
    n_done = sum(image.status == "done" for image in dataset.images)
    if n_unfinished:
        yield f"COCO has no field for 'not finished', which {n_unfinished} instances are"
    if n_done:
        yield f"COCO has no field for 'done', which {n_done} images are"
