"""The layout ``imagefolder`` of Hugging Face ``datasets``: image files with a table beside them.

A ``metadata.jsonl`` (or ``.csv``) has a row for each image with its ``file_name``; ``objects`` is
as for object detection, with lists of ``[x, y, visibility]`` (huggingface.co/docs/datasets,
image_dataset: "ImageFolder"). Names of keypoints have no place in it: ``categories.json`` beside
it, which ``datasets`` passes over, has the categories as a COCO file does.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from kpwidget.dataset import Dataset
from kpwidget.dataset.image_files import IMAGE_SUFFIXES
from kpwidget.dataset.table import NO_ID
from kpwidget.dataset.views import bboxes_of
from kpwidget.formats import Loss, WriteReport, count, with_schemas
from kpwidget.formats.coco_write import category_record
from kpwidget.formats.folders import (
    ImagesOption,
    check_folder,
    check_images_option,
    image_sources,
    lost_pixels,
    new_names,
    write_files,
    write_images,
)
from kpwidget.formats.gathered import (
    Gathered,
    OnError,
    categories_of_records,
    instances_by_image,
    load_json,
    progress,
)
from kpwidget.formats.huggingface import gather_rows
from kpwidget.formats.json_text import check_depth, encoded
from kpwidget.formats.losses import lost_values
from kpwidget.images import named
from kpwidget.schema import Category, FormatError, Schema, _decode, _parse_json

__all__ = ["imagefolder_losses", "is_imagefolder", "read_imagefolder", "write_imagefolder"]

_ROWS, _TABLE, _CATEGORIES = "metadata.jsonl", "metadata.csv", "categories.json"
OWN: Final = "kpwidget"
"""Column with JSON of what is null for some: ids, scores, tracks, the bbox and area as given."""

_OF_OWN: Final = ("bbox", "id", "area", "score", "track_id")

_LOOK: Final = 1 << 16


def is_imagefolder(path: Path) -> bool:
    """Whether this is a table of images with objects, or a folder that has one.

    Parameters
    ----------
    path : Path
    """
    if path.is_dir():
        return any(is_imagefolder(table) for table in _tables(path))
    if path.name not in (_ROWS, _TABLE):
        return False
    with open(path, "rb") as file:
        first = file.read(_LOOK).partition(b"\n")[0]
    return b"file_name" in first and b"objects" in first


def _tables(folder: Path) -> list[Path]:
    """Return the table in a folder, or those in its folders, which are the splits."""
    for places in ([folder], sorted(entry for entry in folder.iterdir() if entry.is_dir())):
        found = [p / name for p in places for name in (_ROWS, _TABLE) if (p / name).is_file()]
        if found:
            return found
    return []


# --- reading ------------------------------------------------------------------------------------


def read_imagefolder(
    path: str | os.PathLike[str],
    images: Any = None,
    *,
    on_error: OnError = "raise",
    allow_outside: bool = False,
    schema: Schema | Mapping[str, Schema] | None = None,
) -> Dataset:
    """Dataset in a folder that ``datasets.load_dataset("imagefolder", data_dir=...)`` reads.

    Parameters
    ----------
    path : str or os.PathLike
        The folder, or one ``metadata.jsonl`` or ``metadata.csv``, in which ``objects`` is JSON.
    images : folder, list of folders, glob, list of paths, or mapping, optional
        See `kpwidget.read`. By default the folder.
    on_error : {'raise', 'skip'}
        See `kpwidget.read`.
    allow_outside : bool, default False
        See `kpwidget.read`.
    schema : Schema or mapping of str to Schema, optional
        The names that keypoints lack: one for all classes, or by the name of the class. Without
        ``categories.json`` classes are ``class_0``, ``class_1``, and keypoints ``'0'``, ``'1'``.

    Returns
    -------
    Dataset
        See `kpwidget.formats.huggingface.from_huggingface`. Where there are several tables, the
        folder of each is ``extra['split']`` of its images, and ids are made anew.

    Raises
    ------
    FormatError
        If a table is none, or rows are bad, naming every one.
    """
    path = Path(path)
    root = path if path.is_dir() else path.parent
    tables = _tables(path) if path.is_dir() else [path]
    gathered = Gathered(path, on_error)
    if not tables:
        raise FormatError.from_problems(
            os.fspath(path), [f"has no {_ROWS} and no {_TABLE}, in it or in its folders"]
        )
    categories: list[Category] = []
    if (root / _CATEGORIES).is_file():
        content = load_json(root / _CATEGORIES)
        records = content.get("categories") if isinstance(content, dict) else None
        categories = categories_of_records(records, _CATEGORIES, gathered)
        if gathered.problems or not categories:
            raise FormatError.from_problems(
                os.fspath(root / _CATEGORIES), list(gathered.problems) or ["has no categories"]
            )
        categories = with_schemas(categories, schema, gathered.where)
    rows = (row for table in tables for row in _rows(table, root, gathered, len(tables) > 1))
    found, _ = gather_rows(rows, [c.name for c in categories], categories or schema, gathered)
    return gathered.dataset(categories or found, images, root / "x", allow_outside=allow_outside)


def _rows(path: Path, root: Path, gathered: Gathered, is_split: bool) -> Iterator[dict[str, Any]]:
    from tqdm.auto import tqdm

    at = named(path.relative_to(root).as_posix())
    folder = path.parent.relative_to(root).as_posix()
    text = _decode(path.read_bytes(), os.fspath(path)).removeprefix("\ufeff")
    records: Any = enumerate(text.split("\n"), 1)
    if path.suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""))
        records = ((reader.line_num, record) for record in reader)
    bar = tqdm(_until_error(records, at), "reading rows", unit="row", delay=1.0, leave=False)
    for line, record in bar:
        try:
            if isinstance(record, str):
                row = _loaded(record, f"{at} line {line}") if record.strip() else None
            else:
                row = dict(record)
                row["objects"] = _loaded(row.get("objects") or "[]", f"{at} line {line}")
        except FormatError as error:
            gathered.problems.extend(error.problems)
            continue
        if row is None:
            continue
        if not isinstance(row, dict):
            gathered.problems.append(f"{at} line {line}: expected an object")
            continue
        name = row.get("file_name")
        if isinstance(name, str) and name and folder != ".":
            row["file_name"] = f"{folder}/{name}"
        try:
            _take_own(row, f"{at} line {line}")
        except FormatError as error:
            gathered.problems.extend(error.problems)
            continue
        if is_split:  # each counts from 1
            row["split"] = folder
            row.pop("image_id", None)
            _without_ids(row.get("objects"))
        yield row


def _until_error(records: Iterable[Any], where: str) -> Iterator[Any]:
    try:
        yield from records
    except csv.Error as error:
        raise FormatError.from_problems(
            where, [f"{error}; a {_ROWS} can hold what a CSV file cannot"]
        ) from error


def _take_own(row: dict[str, Any], where: str) -> None:
    """Put what `OWN` tells into a row."""
    text, objects = row.get(OWN), row.get("objects")
    if isinstance(text, str):
        own = _loaded(text, f"{where}: column {OWN!r}")
        held = own.get("objects") if isinstance(own, dict) else None
        if isinstance(held, dict) and isinstance(objects, dict):
            boxes, told = objects.get("bbox"), held.get("bbox")
            if not isinstance(boxes, list) or not isinstance(told, list) or not (
                len(boxes) == len(told)
                and all(own in (None, box) for own, box in zip(told, boxes, strict=True))
            ):  # fmt: skip
                raise FormatError.from_problems(
                    where,
                    [
                        f"the objects are no longer those that the column {OWN!r} is about: "
                        "expected as many, with the same boxes; remove the column to read them "
                        "without ids, scores and tracks"
                    ],
                )
            row["image_id"] = own.get("image_id")
            row["objects"] = {**objects, **{k: held[k] for k in _OF_OWN if k in held}}


def _without_ids(objects: Any) -> None:
    for one in objects if isinstance(objects, list) else [objects]:
        if isinstance(one, dict):
            one.pop("id", None)


def _loaded(text: str, where: str) -> Any:
    check_depth(text.encode("utf-8", "surrogatepass"), where)
    return _parse_json(text, where)


# --- writing ------------------------------------------------------------------------------------

_KEPT: Final = frozenset(
    ("occluded", "confidences", "unlabeled locations", "image sizes", "bbox", "area", "crowds",
     "tracks", "scores", "annotation ids", "image ids", "category ids", "skeletons",
     "flip pairs", "sigmas", "colors", "supercategories", "category fields")
)  # fmt: skip


def imagefolder_losses(dataset: Dataset, *, images: ImagesOption = "copy") -> list[Loss]:
    """What the table and the categories beside it have no place for.

    Parameters
    ----------
    dataset : Dataset
    images
        As of `write_imagefolder`.

    Returns
    -------
    list of Loss
    """
    check_images_option(images)
    with dataset.lock:
        lost = lost_values(dataset, _KEPT)
        n = sum(state.is_done for state in dataset._images)
        if n:
            lost.append(Loss("done", n, f"that {count(n, 'image')} would be done"))
        return lost if images == "leave" else [*lost, *lost_pixels(dataset)]


def write_imagefolder(
    dataset: Dataset, path: str | os.PathLike[str], *, images: ImagesOption = "copy"
) -> WriteReport:
    """Write a dataset as a folder that ``load_dataset("imagefolder", data_dir=...)`` reads.

    Parameters
    ----------
    dataset : Dataset
    path : str or os.PathLike
        The folder, made if it is missing; else empty, or written here before.
    images : {'copy', 'link', 'leave'}
        Copy the image files into the folder; make links there; or write the tables only.

    Returns
    -------
    WriteReport

    Raises
    ------
    FileExistsError
        If other files are there that would be mixed with these.
    ValueError
        Naming every image whose name is no good here or whose file is missing.

    Notes
    -----
    ``objects`` is a dict of lists, as in the documentation of ``datasets``: ``category`` (0-based,
    in the order of ``categories.json``), ``bbox`` and ``area`` (those of the keypoints where none
    was given), ``iscrowd``, ``num_keypoints`` and ``keypoints``. Numbers of pixels are floats, so
    that all rows have the same types. No value is null, for ``datasets`` 5.2 moves the values after
    one in a list to the wrong places: what may be missing is JSON in the column ``kpwidget``.
    """
    check_images_option(images)
    folder = Path(path)
    notes: list[str] = []
    with dataset.lock:
        names = new_names(dataset, "/".join, notes)
        sources = image_sources(dataset, names, images)
        content = b"".join(encoded(row) + b"\n" for row in _objects_by_image(dataset, names))
        records = [category_record(category) for category in dataset.categories]
        files = {
            _ROWS: content,
            _CATEGORIES: msgspec.json.format(msgspec.json.encode({"categories": records})),
        }
        n_images, n_instances = len(dataset.images), len(dataset.instances)
    is_new = not folder.is_dir() or not os.listdir(folder)
    check_folder(
        folder, {*files, *sources}, "imagefolder",
        _is_ours,
        lambda name: name.endswith(tuple(IMAGE_SUFFIXES)) or name.endswith((_ROWS, _TABLE)),
    )  # fmt: skip
    write_images(folder, sources, images)
    write_files(folder, files, is_new=is_new)
    return WriteReport(folder, "huggingface", n_images, n_instances, 0, tuple(notes))


def _is_ours(folder: Path) -> bool:
    """Whether the table is one that was written here; others have a ``categories.json``, too."""
    if not ((folder / _CATEGORIES).is_file() and (folder / _ROWS).is_file()):
        return False
    with open(folder / _ROWS, "rb") as file:
        first = file.readline(1_000_000_000)
    return not first or f'"{OWN}":'.encode() in first


def _objects_by_image(dataset: Dataset, names: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of the table."""
    table = dataset._table
    rows = np.asarray(table.live_rows(), np.int64)
    place = {row: i for i, row in enumerate(rows.tolist())}
    boxes = np.nan_to_num(bboxes_of(dataset, rows))
    area = table.column("area", rows)
    areas = np.where(np.isnan(area), boxes[:, 2] * boxes[:, 3], area).tolist()
    given = {
        "id": [None if v == NO_ID else v for v in table.column("id", rows).tolist()],
        "area": _numbers(area),
        "score": _numbers(table.column("score", rows)),
        "track_id": table.column("track_id", rows).tolist(),
    }
    given = {key: values for key, values in given.items() if values.count(None) < len(values)}
    crowd, listed = table.column("iscrowd", rows).tolist(), boxes.tolist()
    by_image = zip(
        dataset._images,
        names,
        progress(instances_by_image(dataset), "writing instances", "image"),
        strict=True,
    )
    for state, name, of in by_image:
        own = [place[item.row] for item in of]
        width, height = state.recorded_size or (None, None)
        more: dict[str, Any] = {key: [values[i] for i in own] for key, values in given.items()}
        kept = {"image_id": state.id, "objects": {"bbox": [item.bbox for item in of], **more}}
        size = {"width": width, "height": height} if width else {}
        yield {
            "file_name": name, **size,
            "objects": {
                "category": [item.category for item in of],
                "bbox": [listed[i] for i in own],
                "area": [areas[i] for i in own],
                "iscrowd": [bool(crowd[i]) for i in own],
                "num_keypoints": [sum(point[2] > 0 for point in item.points) for item in of],
                "keypoints": [item.points for item in of],
            },
            OWN: msgspec.json.encode(kept).decode(),
        }  # fmt: skip


def _numbers(values: Any) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]
