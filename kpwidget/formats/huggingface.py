"""Hugging Face ``datasets``: a dataset as rows, one for each image, and back.

There is no standard for keypoints. The layout is that of object detection with a list of
``[x, y, visibility]`` for each object; names of keypoints have no place in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from kpwidget.dataset import Dataset, ImageInfo
from kpwidget.dataset.values import as_int
from kpwidget.formats import needed
from kpwidget.formats.gathered import (
    Gathered,
    instances_by_image,
    kept_of_instances,
    number,
    progress,
)
from kpwidget.images import ImageError
from kpwidget.schema import Category, FormatError, Schema, _show

__all__ = ["class_names", "from_huggingface", "gather_rows", "to_huggingface"]

_OF_OBJECT: Final = frozenset(
    ("id", "category", "categories", "bbox", "area", "iscrowd", "num_keypoints", "keypoints",
     "score", "track_id")
)  # fmt: skip


def class_names(features: bytes | None) -> list[str]:
    """Names of the classes in the metadata that ``datasets`` puts into Parquet files.

    Parameters
    ----------
    features : bytes or None
        JSON text of the key ``huggingface``.

    Returns
    -------
    list of str
        Empty if it names none.
    """
    try:
        found = json.loads(features or b"{}")["info"]["features"]["objects"]["feature"]
        names = found["category"]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    is_good = isinstance(names, list) and all(isinstance(n, str) and n.strip() for n in names)
    return list(names) if is_good else []


def gather_rows(
    rows: Iterable[Mapping[str, Any]],
    names: Sequence[str],
    schema: Schema | Mapping[str, Schema] | Sequence[Category] | None,
    gathered: Gathered,
) -> tuple[list[Category], dict[str, Any]]:
    """Add the images and objects of rows.

    Parameters
    ----------
    rows : iterable of mappings
        With ``objects``: a list of objects, or a mapping of lists, as older versions make of it.
    names : sequence of str
        Of the classes.
    schema : Schema, mapping of str to Schema or sequence of Category, optional
        One for all classes, by the name of the class, or all of them in their order; by default
        keypoints are ``'0'``, ``'1'``.
    gathered : Gathered

    Returns
    -------
    categories : list of Category
    pixels : dict of str to bytes
        Image files that the rows have in them.
    """
    pixels: dict[str, Any] = {}
    found: list[tuple[str, int, int, list[list[float]], dict[str, Any]]] = []
    lengths: dict[int, int] = {}
    for i, row in enumerate(rows, 1):
        at = f"row {i}"
        image = row.get("image")
        name = row.get("file_name")
        if not isinstance(name, str) and isinstance(image, Mapping):
            name = image.get("path")
        if not isinstance(name, str) or not name:
            gathered.problems.append(f"{at}: 'file_name' is {_show(name)}, expected text")
            continue
        width, height = as_int(row.get("width")), as_int(row.get("height"))
        given, split = row.get("image_id"), row.get("split")
        try:
            index = gathered.image(
                name, (width, height) if width and height else None,
                id=given if isinstance(given, str) else as_int(given),
                extra={"split": split} if isinstance(split, str) else None,
            )  # fmt: skip
        except KeyError:
            gathered.problems.append(f"{at}: the image {_show(name)} has a row already")
            continue
        if isinstance(image, Mapping) and isinstance(image.get("bytes"), bytes):
            pixels[name] = image["bytes"]
        for j, item in enumerate(_objects(row.get("objects"), at, gathered), 1):
            where = f"{at}, object {j}"
            # "categories" is the word of the documentation of imagefolder.
            c = as_int(item.get("category", item.get("categories")))
            points = _points(item.get("keypoints"))
            if c is None or not 0 <= c < max(1, len(names) or 1_000):
                gathered.problems.append(
                    f"{where}: 'category' is {_show(item.get('category'))}, expected the number "
                    "of a class"
                )
            elif not points or lengths.setdefault(c, len(points)) != len(points):
                gathered.problems.append(
                    f"{where}: 'keypoints' is {_show(item.get('keypoints'))}, expected "
                    + (f"{lengths[c]} times" if lengths.get(c) else "a list of")
                    + " [x, y, visibility]"
                )
            else:
                kept = {k: v for k, v in item.items() if k in _OF_OBJECT - {"bbox"}}
                kept["iscrowd"] = int(bool(kept.get("iscrowd")))
                extra = {k: v for k, v in item.items() if k not in _OF_OBJECT}
                values = kept_of_instances({**kept, "extra": extra or None}, where, gathered)
                given_box = item.get("bbox")
                box = [number(v) for v in given_box] if isinstance(given_box, list) else []
                if len(box) == 4 and None not in box:
                    values["bbox"] = box
                elif given_box not in (None, []):
                    gathered.problems.append(
                        f"{where}: 'bbox' is {_show(item['bbox'])}, expected 4 numbers"
                    )
                found.append((f"huggingface:{i}:{j}", index, c, points, values))
    categories = _categories(names, lengths, schema, gathered)
    for uid, index, c, points, values in found:
        gathered.instance(uid, index, c, points, **values)
    return categories, pixels


def _objects(objects: Any, at: str, gathered: Gathered) -> list[dict[str, Any]]:
    """Objects of a row, each by itself."""
    if isinstance(objects, Mapping):
        lists = {key: value for key, value in objects.items() if isinstance(value, list)}
        n = {len(value) for value in lists.values()}
        if len(n) == 1:
            return [
                dict(zip(lists, values, strict=True))
                for values in zip(*lists.values(), strict=True)
            ]
        if not n:
            return []
        gathered.problems.append(f"{at}: 'objects' has lists of {_show(sorted(n))} items")
        return []
    if isinstance(objects, list) and all(isinstance(item, dict) for item in objects):
        return objects
    if objects is not None:
        gathered.problems.append(f"{at}: 'objects' is {_show(objects)}, expected a list of objects")
    return []


def _points(given: Any) -> list[list[float]] | None:
    points = []
    for point in given if isinstance(given, list) else (None,):
        values = [number(v) for v in point] if isinstance(point, list | tuple) else []
        if len(values) != 3 or None in values or not 0 <= (values[2] or 0) <= 2:
            return None
        points.append([v or 0.0 for v in values])
    return points


def _categories(
    names: Sequence[str], lengths: Mapping[int, int], schema: Any, gathered: Gathered
) -> list[Category]:
    n = len(names) or max(lengths, default=-1) + 1
    categories = []
    for c in range(n):
        name = names[c] if names else f"class_{c}"
        given = schema.get(name) if isinstance(schema, Mapping) else schema
        given = schema[c].schema if isinstance(schema, Sequence) else given
        k = lengths.get(c)
        if given is None:
            numbers = [str(i) for i in range(k or 1)]
            given = Schema(name, numbers)
            if k:
                gathered.warnings.append(
                    f"the keypoints of class {_show(name)} have no names and are called '0', '1', "
                    "...; pass schema= to name them"
                )
        elif k is not None and given.n_keypoints != k:
            text = (
                f"schema {given.name!r} has {given.n_keypoints} keypoints, expected {k} for class "
                f"{_show(name)}"
            )
            if isinstance(schema, Sequence):  # which stands in a file
                raise FormatError.from_problems(gathered.where, [text])
            raise ValueError(f"{gathered.where}: {text}")
        categories.append(Category(c + 1, given, name))
    if not categories:
        raise FormatError.from_problems(
            gathered.where, [*gathered.problems, "has no objects: no category is known"]
        )
    return categories


def from_huggingface(data: Any, schema: Schema | Mapping[str, Schema] | None = None) -> Dataset:
    """Dataset of a `datasets.Dataset` of images with objects.

    Parameters
    ----------
    data : datasets.Dataset
        With ``file_name`` (or the path of ``image``) and ``objects``: their ``category``,
        ``keypoints`` as lists of [x, y, visibility] in image pixels, and perhaps ``bbox``,
        ``area``, ``iscrowd``, ``id``. See `to_huggingface`.
    schema : Schema or mapping of str to Schema, optional
        The names that keypoints lack: one for all classes, or by the name of the class.

    Returns
    -------
    Dataset

    Raises
    ------
    FormatError
        If rows are bad, naming every one.
    """
    hf = needed("datasets", "datasets", "reading Hugging Face datasets")
    features = data.features
    objects = features["objects"]
    of_object = getattr(objects, "feature", objects)
    of_object = of_object if isinstance(of_object, Mapping) else {}
    category = of_object.get("category")
    category = getattr(category, "feature", category)
    names = list(getattr(category, "names", None) or ())
    if "image" in features:
        data = data.cast_column("image", hf.Image(decode=False))
    gathered = Gathered("datasets.Dataset", "raise")
    categories, pixels = gather_rows(data, names, schema, gathered)
    return gathered.dataset(categories, pixels or None, Path("x"), allow_outside=False)


def to_huggingface(dataset: Dataset, *, images: bool = True) -> Any:
    """Return the dataset as a `datasets.Dataset`, a row for each image.

    Parameters
    ----------
    dataset : Dataset
    images : bool, default True
        Put in the column ``image``: bytes, or paths that are read when the row is.

    Returns
    -------
    datasets.Dataset
        Columns ``image_id``, ``file_name``, ``width``, ``height`` and ``objects``. Not in it: names
        of keypoints, skeletons, tracks, scores and unknown fields.

    Raises
    ------
    ImportError
        If ``datasets`` is not installed.
    ValueError
        If the file of an image is missing, or two categories have the same name.
    """
    hf = needed("datasets", "datasets", "making Hugging Face datasets")
    names = [category.name for category in dataset.categories]
    if len(set(names)) < len(names):
        raise ValueError(f"expected each category name once, got {_show(names)}")
    rows = []
    with dataset.lock:
        for i, of in enumerate(progress(instances_by_image(dataset), "writing instances", "image")):
            state = dataset._images[i]
            info = ImageInfo(dataset, i)
            width, height = state.recorded_size or info.size
            row: dict[str, Any] = {
                "image_id": state.id if isinstance(state.id, int) else i + 1,
                "file_name": state.file_name, "width": width, "height": height,
                "objects": [],
            }  # fmt: skip
            if images:
                row["image"] = _image(info)
            for item in of:
                kept = item.kept(dataset)
                bbox, area = info.instances[len(row["objects"])].bbox, kept.get("area")
                row["objects"].append({
                    "id": kept.get("id"), "category": item.category,
                    "bbox": list(bbox or (0, 0, 0, 0)),
                    "area": area if area is not None else (bbox[2] * bbox[3] if bbox else 0.0),
                    "iscrowd": bool(kept.get("iscrowd")),
                    "num_keypoints": sum(v > 0 for _, _, v in item.points),
                    "keypoints": item.points,
                })  # fmt: skip
            rows.append(row)
    real, integer = hf.Value("float64"), hf.Value("int64")
    features = {
        "image_id": integer, "file_name": hf.Value("string"), "width": hf.Value("int32"),
        "height": hf.Value("int32"),
        "objects": hf.List({
            "id": integer, "category": hf.ClassLabel(names=names),
            "bbox": hf.List(real, length=4), "area": real, "iscrowd": hf.Value("bool"),
            "num_keypoints": hf.Value("int32"), "keypoints": hf.List(hf.List(real, length=3)),
        }),
    }  # fmt: skip
    if images:
        features = {"image": hf.Image(), **features}
    return hf.Dataset.from_list(rows, features=hf.Features(features))


def _image(info: ImageInfo) -> Any:
    data = info._state.data
    if isinstance(data, np.ndarray | bytes):
        return data if isinstance(data, np.ndarray) else {"bytes": data, "path": None}
    path = info.path
    if path is None or not path.is_file():
        raise ImageError(f"{info.file_name}: there is no such file; pass images=False")
    return str(path)
