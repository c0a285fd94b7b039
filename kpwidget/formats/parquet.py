"""Parquet: a table with one row for each instance, for programs that read tables.

What is no instance (categories as COCO has them, images without instances) stands in the metadata
of the file, under the key ``kpwidget``. A folder of such files is read as one dataset.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from kpwidget._version import __version__
from kpwidget.dataset import Dataset, ImageInfo
from kpwidget.dataset.table import NO_ID
from kpwidget.dataset.values import MAX_COORDINATE, as_int
from kpwidget.dataset.views import Instance
from kpwidget.formats import Loss, WriteReport, needed, write_file
from kpwidget.formats.coco_write import category_record
from kpwidget.formats.gathered import (
    Gathered,
    OnError,
    categories_of_records,
    kept_of_instances,
    progress,
)
from kpwidget.formats.losses import lost_values
from kpwidget.images import named
from kpwidget.schema import Category, FormatError, Schema, _parse_json, _show

__all__ = ["is_parquet", "parquet_losses", "read_parquet", "write_parquet"]

KEY: Final = "kpwidget"
"""Of the metadata of a file."""

_MAGIC: Final = b"PAR1"
_MAX_FOOTER: Final = 200_000_000
_MAX_BYTES: Final = 8_000_000_000  # uncompressed: some ten million instances of 17 keypoints
_MAX_ROWS: Final = 50_000_000
_MAX_REPEATED: Final = 2_000_000  # values beyond a hundred for each byte
_MAX_REPEATED_ROWS: Final = 20_000  # beyond one for each byte; people of COCO take 470 each
_COLUMNS: Final = ("file_name", "category_id", "keypoints")


def is_parquet(path: Path) -> bool:
    """Whether this is a Parquet file with keypoints, or a folder of such files.

    Parameters
    ----------
    path : Path
    """
    if path.is_dir():
        # Below a partition of any depth, or one other folder: deeper down it may be anything.
        first = min((f for f in path.rglob("*.parquet") if _is_near(f, path)), default=None)
        return first is not None and first.is_file() and is_parquet(first)
    size = path.stat().st_size
    with open(path, "rb") as file:
        if size < 12 or file.read(4) != _MAGIC:
            return False
        file.seek(size - 8)
        n = int.from_bytes(file.read(4), "little")
        if file.read(4) != _MAGIC or not 0 < n <= min(size - 12, _MAX_FOOTER):
            return False
        file.seek(size - 8 - n)
        return b"keypoints" in file.read(n)


def _is_near(file: Path, folder: Path) -> bool:
    names = file.relative_to(folder).parts[:-1]
    return sum("=" not in name for name in names) <= 1


# --- reading ------------------------------------------------------------------------------------


def read_parquet(
    path: str | os.PathLike[str],
    images: Any = None,
    *,
    on_error: OnError = "raise",
    allow_outside: bool = False,
    schema: Schema | Mapping[str, Schema] | None = None,
) -> Dataset:
    """Dataset in a Parquet file, or in a folder of them.

    Parameters
    ----------
    path : str or os.PathLike
        A file, or a folder with all Parquet files in it and in its folders.
    images : folder, list of folders, glob, list of paths, or mapping, optional
        See `kpwidget.read`. By default the folder of the file.
    on_error : {'raise', 'skip'}
        See `kpwidget.read`. What is wrong with the columns or the metadata always raises.
    allow_outside : bool, default False
        See `kpwidget.read`.
    schema : Schema or mapping of str to Schema, optional
        For files in the layout of Hugging Face datasets, which name no keypoints; see
        `kpwidget.formats.huggingface.from_huggingface`.

    Returns
    -------
    Dataset
        As it was written; see `write_parquet`.

    Raises
    ------
    FormatError
        If a file is no Parquet file of keypoints, or rows are bad, naming every one.
    ImportError
        If pyarrow is not installed.
    """
    pq = needed("pyarrow.parquet", "kpwidget[parquet]", "reading Parquet")
    path = Path(path)
    gathered = Gathered(path, on_error)
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise FormatError.from_problems(os.fspath(path), ["has no file that ends in .parquet"])
    tables = []
    heads: list[dict[str, Any]] = []
    n_bytes = n_rows = n_stored = 0
    for file in files:
        where = os.fspath(file)
        try:
            # One file by itself: the names of folders say what the columns say.
            opened = pq.ParquetFile(file)
            header = opened.metadata
            n_rows += header.num_rows
            groups = [header.row_group(i) for i in range(header.num_row_groups)]
            n_bytes += sum(group.total_byte_size for group in groups)
            n_values = sum(g.column(i).num_values for g in groups for i in range(g.num_columns))
            most = _MAX_REPEATED + 100 * file.stat().st_size
            if n_values > most:  # values that are the same take next to nothing in a file
                raise FormatError.from_problems(
                    where, [f"would be {n_values:,} values, expected at most {most:,} in its bytes"]
                )
            n_stored += file.stat().st_size
            most = _MAX_REPEATED_ROWS + n_stored
            if n_rows > most:
                raise FormatError.from_problems(
                    where,
                    [f"with those before it would be {n_rows:,} rows, expected at most {most:,}"],
                )
            if n_bytes > _MAX_BYTES or n_rows > _MAX_ROWS:
                raise FormatError.from_problems(
                    where,
                    [
                        f"with those before it would be {n_rows:,} rows of {n_bytes:,} bytes, "
                        f"expected at most {_MAX_ROWS:,} and {_MAX_BYTES:,}"
                    ],
                )
            names = opened.schema_arrow.names
            if "objects" in names:
                return _read_huggingface(
                    opened, gathered, schema, images, path, allow_outside=allow_outside
                )
            missing = [name for name in _COLUMNS if name not in names]
            text = (opened.schema_arrow.metadata or {}).get(KEY.encode())
            if missing or text is None:
                raise FormatError.from_problems(
                    where,
                    [
                        "is no table of keypoints: expected the columns "
                        f"{', '.join(_COLUMNS)} and the metadata {KEY!r}, got "
                        f"{', '.join(map(_show, names[:20]))}"
                        + ("" if text is not None else " and no such metadata")
                    ],
                )
            tables.append((file, opened.read()))
        except (
            OSError,
            ValueError,
            TypeError,
            NotImplementedError,
        ) as error:  # pyarrow's are these
            if isinstance(error, FormatError):
                raise
            raise FormatError.from_problems(
                where, [f"cannot be read as Parquet ({str(error)[:200]})"]
            ) from error
        head = _parse_json(text.decode("utf-8", "replace"), f"{where}: metadata {KEY!r}")
        heads.append(head if isinstance(head, dict) else {})
    categories = _categories(heads, files, gathered)
    found = _Images(heads, gathered)
    _put_rows(tables, categories, found, gathered)
    root = path if path.is_dir() else path.parent
    dataset = gathered.dataset(categories, images, root / "x", allow_outside=allow_outside)
    top = heads[0]
    dataset.info, dataset.licenses = top.get("info"), top.get("licenses")
    extra = top.get("extra")
    dataset.extra = dict(extra) if isinstance(extra, dict) else {}
    return dataset


def _read_huggingface(
    opened: Any,
    gathered: Gathered,
    schema: Any,
    images: Any,
    path: Path,
    *,
    allow_outside: bool,
) -> Dataset:
    from kpwidget.formats.huggingface import class_names, gather_rows

    features = (opened.schema_arrow.metadata or {}).get(b"huggingface")
    names = class_names(features)
    rows = (row for batch in opened.iter_batches(batch_size=64) for row in batch.to_pylist())
    categories, pixels = gather_rows(rows, names, schema, gathered)
    root = path if path.is_dir() else path.parent
    if images is None and pixels:
        images = pixels
    return gathered.dataset(categories, images, root / "x", allow_outside=allow_outside)


def _categories(
    heads: Sequence[Mapping[str, Any]], files: Sequence[Path], gathered: Gathered
) -> list[Category]:
    records = heads[0].get("categories")
    for head, file in zip(heads, files, strict=True):
        if head.get("categories") != records:
            raise FormatError.from_problems(
                os.fspath(file),
                [f"has other categories than {files[0]}; read each by itself and merge them"],
            )
    n_before = len(gathered.problems)
    categories = categories_of_records(records, f"metadata {KEY!r}", gathered)
    if len(gathered.problems) > n_before or not categories:
        raise FormatError.from_problems(
            os.fspath(files[0]),
            list(gathered.problems) or [f"the metadata {KEY!r} has no categories"],
        )
    return categories


class _Images:
    """The images of a dataset: those of the rows, and those of the metadata without instances."""

    def __init__(self, heads: Sequence[Mapping[str, Any]], gathered: Gathered) -> None:
        self._gathered = gathered
        self.waiting: list[tuple[int, dict[str, Any]]] = []
        for head in heads:
            listed = head.get("images_without_instances")
            for record in listed if isinstance(listed, list) else ():
                position = as_int(record.get("position")) if isinstance(record, dict) else None
                if position is None or not isinstance(record.get("file_name"), str):
                    gathered.problems.append(
                        f"metadata {KEY!r}: {_show(record)}, expected an image with 'file_name' "
                        "and 'position'"
                    )
                    continue
                self.waiting.append((position, record))

    def put(self, rows: dict[int, dict[str, Any]]) -> dict[int, int]:
        """Add all images in their order; return the position of each by that in the file."""
        index: dict[int, int] = {}
        merged = {**dict(self.waiting), **rows}
        for position in sorted(merged):
            record = merged[position]
            width, height = (as_int(record.get(key)) or 0 for key in ("width", "height"))
            extra = record.get("extra")
            image_id = record.get("image_id")
            try:
                index[position] = self._gathered.image(
                    record["file_name"],
                    (width, height) if 0 < width < 2**31 and 0 < height < 2**31 else None,
                    is_done=record.get("is_done") is True,
                    extra=extra if isinstance(extra, dict) else None,
                    id=image_id if isinstance(image_id, str) else as_int(image_id),
                )
            except KeyError:
                self._gathered.problems.append(
                    f"image {_show(record['file_name'])}: stands at two positions"
                )
        return index


def _put_rows(
    tables: Sequence[tuple[Path, Any]],
    categories: Sequence[Category],
    images: _Images,
    gathered: Gathered,
) -> None:
    """Add the instances of all files, in the order of the column ``position``."""
    by_id = {category.id: c for c, category in enumerate(categories)}
    found: list[tuple[int, int, int, Any, dict[str, Any]]] = []
    of_image: dict[int, dict[str, Any]] = {}
    n = 0
    for file, table in tables:
        at = named(file.name)
        try:
            points, bounds = _points(table)
        except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
            raise FormatError.from_problems(
                os.fspath(file),
                ["column 'keypoints': expected lists of structs of numbers x, y and visibility, "
                 f"got {table.schema.field('keypoints').type} ({str(error)[:100]})"],
            ) from error  # fmt: skip
        names = [name for name in table.column_names if name != "keypoints"]
        columns = {name: table[name].to_pylist() for name in names}
        for row in progress(range(table.num_rows), "reading instances", "instance"):
            record = {name: values[row] for name, values in columns.items()}
            own = points[bounds[row] : bounds[row + 1]]
            problem = _find_problem(record, own, categories, by_id)
            if problem:
                gathered.problems.append(f"{at} row {row + 1}: {problem}")
                continue
            image = as_int(record.get("image_position"))
            if image is None:
                image = -1 - len(of_image)
            known = of_image.setdefault(image, _image_record(record))
            if known["file_name"] != record["file_name"]:
                gathered.problems.append(
                    f"{at} row {row + 1}: the image is {_show(record['file_name'])}, that of the "
                    f"same position is {_show(known['file_name'])}"
                )
                continue
            position = as_int(record.get("position"))
            order = n if position is None else position
            found.append((order, image, by_id[record["category_id"]], own, record))
            n += 1
    index = images.put(of_image)
    found.sort(key=lambda item: item[0])
    for i, (_, image, c, own, record) in enumerate(found):
        if image not in index:
            continue
        kept = {name: record.get(name) for name in ("id", "area", "iscrowd", "score")}
        kept["track_id"] = _loaded(record.get("track_id"), gathered)
        kept["extra"] = _loaded(record.get("extra"), gathered)
        values = kept_of_instances(kept, f"instance {i + 1}", gathered)
        if record.get("bbox") is not None:
            values["bbox"] = [record["bbox"][key] for key in ("x", "y", "width", "height")]
        gathered.instance(f"parquet:{i + 1}", index[image], c, own, **values)


def _image_record(record: Mapping[str, Any]) -> dict[str, Any]:
    image = {
        key: record.get(key) for key in ("file_name", "image_id", "width", "height", "is_done")
    }
    extra = record.get("image_extra")
    if isinstance(extra, str):
        image["extra"] = _parse_json(extra, "column 'image_extra'")
    return image


def _loaded(value: Any, gathered: Gathered) -> Any:
    """Value of a column of JSON texts; numbers of a column of numbers are what they are."""
    if not isinstance(value, str):
        return value
    try:
        return _parse_json(value, "a column of JSON")
    except FormatError as error:
        gathered.problems.extend(error.problems)
        return None


def _find_problem(
    record: Mapping[str, Any],
    points: NDArray[np.float64],
    categories: Sequence[Category],
    by_id: Mapping[Any, int],
) -> str:
    """What is wrong with a row, in words."""
    if not isinstance(record["file_name"], str) or not record["file_name"]:
        return f"'file_name' is {_show(record['file_name'])}, expected text"
    c = by_id.get(as_int(record["category_id"]))
    if c is None:
        return f"'category_id' is {_show(record['category_id'])}, which the metadata has not"
    expected = categories[c].n_keypoints
    if len(points) != expected:
        return (
            f"'keypoints' has {len(points)}, expected {expected} for category "
            f"{_show(categories[c].name)}"
        )
    if not (np.abs(points[:, :2]) <= MAX_COORDINATE).all():
        return "'keypoints' has an x or y that is no number of pixels"
    if not ((points[:, 2] >= 0) & (points[:, 2] <= 2)).all():
        return "'keypoints' has a visibility that is none from 0 to 2"
    bbox = record.get("bbox")
    if bbox is not None:
        keys = ("x", "y", "width", "height")
        values = [bbox.get(key) if isinstance(bbox, Mapping) else None for key in keys]
        if not all(isinstance(v, float) and abs(v) <= MAX_COORDINATE for v in values):
            return f"'bbox' is {_show(bbox)}, expected x, y, width and height in pixels"
    return ""


def _points(table: Any) -> tuple[NDArray[np.float64], list[int]]:
    """All keypoints, of shape (n, 3), and where those of each row begin and end."""
    column = table["keypoints"].combine_chunks()
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    flat = column.flatten()
    points = np.empty((len(flat), 3))
    for i, name in enumerate(("x", "y", "visibility")):
        values = flat.field(name)
        points[:, i] = values.cast("float64").to_numpy(zero_copy_only=False)  # a null is NaN
    # Without a location x and y are null; what else is null is found to be no number.
    points[(points[:, 2] == 0) & np.isnan(points[:, :2]).all(axis=1), :2] = 0
    return points, [0, *np.cumsum(lengths).tolist()]


# --- writing ------------------------------------------------------------------------------------

_KEPT: Final = frozenset(
    ("occluded", "confidences", "unlabeled locations", "image sizes", "bbox", "area", "crowds",
     "tracks", "scores", "annotation ids", "image ids", "category ids", "skeletons", "flip pairs",
     "sigmas", "colors", "supercategories", "instance fields", "image fields", "category fields",
     "info and licenses")
)  # fmt: skip


def parquet_losses(dataset: Dataset) -> list[Loss]:
    """What the table has no place for: records of the file that are nothing here.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    list of Loss
    """
    with dataset.lock:
        return lost_values(dataset, _KEPT, lost_extra=())


def write_parquet(
    dataset: Dataset, path: str | os.PathLike[str], *, partition_by: str | None = None
) -> WriteReport:
    """Write a dataset as a Parquet file, or as a folder of them.

    Parameters
    ----------
    dataset : Dataset
    path : str or os.PathLike
        The file, replaced in one go; with `partition_by` the folder, which must be new or empty.
    partition_by : {'category', 'file_name', 'image_id'}, optional
        Write a file for each value of this column, in a folder ``<column>=<value>``.

    Returns
    -------
    WriteReport

    Raises
    ------
    ValueError
        If there is no category, or `partition_by` is no such column.
    FileExistsError
        If the folder is not empty.
    ImportError
        If pyarrow is not installed.

    Notes
    -----
    A row is an instance: ``position`` (in the dataset), ``image_position``, ``image_id``,
    ``file_name``, ``width``, ``height``, ``is_done``, ``image_extra`` (JSON), ``id``,
    ``category_id``, ``category``, ``keypoints`` (list of structs of x, y and visibility, x and y in
    image pixels and null where there is no location), ``num_keypoints`` (labeled ones), ``bbox``
    (struct of x, y, width and height, null if derived), ``area``, ``iscrowd``, ``score``,
    ``track_id`` (JSON, or integers if all are), ``extra`` (JSON).
    """
    pa = needed("pyarrow", "kpwidget[parquet]", "writing Parquet")
    pq = needed("pyarrow.parquet", "kpwidget[parquet]", "writing Parquet")
    target = Path(path)
    with dataset.lock:
        if not dataset.categories:
            raise ValueError(f"{target}: the dataset has no categories; Parquet needs one")
        columns = _columns(dataset, pa)
        head = {
            "version": __version__,
            "categories": [category_record(category) for category in dataset.categories],
            "info": dataset.info,
            "licenses": dataset.licenses,
            "extra": dataset.extra,
        }
        empty = [
            {"position": i, **_record_of(dataset, i)}
            for i, rows in enumerate(dataset._table.rows_of_image)
            if not rows
        ]
        n_images, n_instances = len(dataset.images), len(dataset.instances)
    table = pa.table(columns)
    if partition_by is None:
        _write_file(pa, pq, table, {**head, "images_without_instances": empty}, target)
        return WriteReport(target, "parquet", n_images, n_instances)
    if partition_by not in ("category", "file_name", "image_id"):
        raise ValueError(
            f"partition_by is 'category', 'file_name' or 'image_id', not {partition_by!r}"
        )
    if target.exists() and (not target.is_dir() or os.listdir(target)):
        raise FileExistsError(f"{target}: is not empty; give a new folder. Nothing was written")
    made = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        values = table[partition_by].to_pylist()
        parts: dict[Any, list[int]] = {}
        for row, value in enumerate(values):
            parts.setdefault(value, []).append(row)
        for value, rows in (parts or {None: []}).items():
            folder = made / f"{partition_by}={quote(str(value), safe='')}"
            folder.mkdir(parents=True)
            _write_file(
                pa, pq, table.take(pa.array(rows, pa.int64())),
                {**head, "images_without_instances": empty}, folder / "part-0.parquet",
            )  # fmt: skip
            empty = []  # they stand in one file only
        if target.exists():
            target.rmdir()
        os.replace(made, target)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return WriteReport(target, "parquet", n_images, n_instances)


def _write_file(pa: Any, pq: Any, table: Any, head: Mapping[str, Any], path: Path) -> None:
    text = json.dumps(head, ensure_ascii=False, allow_nan=False)
    table = table.replace_schema_metadata({KEY: text})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_file(path, [memoryview(sink.getvalue())])


def _record_of(dataset: Dataset, i: int) -> dict[str, Any]:
    state = dataset._images[i]
    size = state.recorded_size or (None, None)
    record: dict[str, Any] = {
        "image_id": state.id,
        "file_name": state.file_name,
        "width": size[0],
        "height": size[1],
        "is_done": state.is_done,
    }
    extra = ImageInfo(dataset, i).extra
    return {**record, "extra": dict(extra)} if extra else record


def _columns(dataset: Dataset, pa: Any) -> dict[str, Any]:
    """Columns of the table, one row for each instance."""
    table, categories = dataset._table, dataset.categories
    rows = np.asarray(table.live_rows(), np.int64)
    image = table.column("image", rows)
    category = table.column("category", rows)
    used = np.unique(image).tolist()
    records = {i: _record_of(dataset, i) for i in used}
    names = ("image_id", "file_name", "width", "height", "is_done")
    per_image = {name: np.empty(len(dataset._images), object) for name in (*names, "image_extra")}
    for i, record in records.items():
        for name in names:
            per_image[name][i] = record[name]
        extra = record.get("extra")
        per_image["image_extra"][i] = None if extra is None else _json(extra)
    ids_are_numbers = all(isinstance(records[i]["image_id"], int) for i in used)
    if not ids_are_numbers:
        per_image["image_id"] = np.array(
            [None if v is None else str(v) for v in per_image["image_id"]]
        )
    types = {
        "image_id": pa.int64() if ids_are_numbers else pa.string(), "file_name": pa.string(),
        "width": pa.int32(), "height": pa.int32(), "is_done": pa.bool_(),
        "image_extra": pa.string(),
    }  # fmt: skip
    columns: dict[str, Any] = {
        "position": pa.array(np.arange(len(rows))),
        "image_position": pa.array(image, pa.int64()),
    }
    for name, values in per_image.items():
        columns[name] = pa.array(values[image].tolist(), types[name])
    numbers = table.column("id", rows)
    columns["id"] = pa.array(numbers, pa.int64(), mask=numbers == NO_ID)
    columns["category_id"] = pa.array(np.array([c.id for c in categories])[category], pa.int64())
    columns["category"] = pa.array([categories[c].name for c in category.tolist()], pa.string())
    columns["keypoints"] = _keypoints(dataset, rows, category, pa)
    columns["num_keypoints"] = pa.array(table.n_labeled_of(rows), pa.int32())
    bbox = table.column("bbox", rows)
    columns["bbox"] = pa.StructArray.from_arrays(
        [pa.array(np.ascontiguousarray(bbox[:, i])) for i in range(4)],
        names=["x", "y", "width", "height"],
        mask=pa.array(np.isnan(bbox[:, 0])),
    )
    for name in ("area", "score"):
        values = table.column(name, rows)
        columns[name] = pa.array(values, mask=np.isnan(values))
    columns["iscrowd"] = pa.array(table.column("iscrowd", rows), pa.int8())
    tracks = table.column("track_id", rows).tolist()
    if all(track is None or (type(track) is int and abs(track) < 2**63) for track in tracks):
        columns["track_id"] = pa.array(tracks, pa.int64())
    else:
        columns["track_id"] = pa.array([t if t is None else _json(t) for t in tracks], pa.string())
    uids = table.uids(rows.tolist())
    extras = [Instance(dataset, uid).extra for uid in uids]
    columns["extra"] = pa.array([_json(dict(e)) if e else None for e in extras], pa.string())
    return columns


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _keypoints(dataset: Dataset, rows: NDArray[np.int64], category: NDArray[Any], pa: Any) -> Any:
    """List of structs of x, y and visibility for each row."""
    n_of = np.array([c.n_keypoints for c in dataset.categories])
    offsets = np.concatenate([[0], np.cumsum(n_of[category])]).astype(np.int32)
    flat = np.empty((int(offsets[-1]), 3))
    for c in range(len(dataset.categories)):
        chosen = np.flatnonzero(category == c)
        places = offsets[chosen][:, None] + np.arange(n_of[c])
        flat[places] = dataset._table.raw_keypoints_of(c, rows[chosen])
    is_nowhere = (flat == 0).all(axis=1)
    structs = pa.StructArray.from_arrays(
        [
            pa.array(np.ascontiguousarray(flat[:, 0]), mask=is_nowhere),
            pa.array(np.ascontiguousarray(flat[:, 1]), mask=is_nowhere),
            pa.array(np.ascontiguousarray(flat[:, 2])),
        ],
        names=["x", "y", "visibility"],
    )
    return pa.ListArray.from_arrays(pa.array(offsets), structs)
