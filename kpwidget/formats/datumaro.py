"""Datumaro JSON, as Datumaro writes it (``points``) and as CVAT does (``skeleton``).

The two differ in how keypoints stand: ``points`` with a list of visibilities beside it, or
``skeleton`` with x, y and visibility in turn. Annotations of one ``group`` are one object.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from kpwidget.dataset import Dataset, ImageInfo
from kpwidget.dataset.values import as_int
from kpwidget.formats import Loss, WriteReport, count, write_file
from kpwidget.formats.folders import check_links
from kpwidget.formats.gathered import (
    Gathered,
    Item,
    OnError,
    instances_by_image,
    kept_of_instances,
    load_json,
    number,
    objects_in,
    progress,
    schema_for,
)
from kpwidget.formats.json_text import encoded
from kpwidget.formats.losses import lost_backslashes, lost_values
from kpwidget.images import ImageError, named
from kpwidget.schema import Category, FormatError, _show

__all__ = ["datumaro_losses", "is_datumaro", "read_datumaro", "write_datumaro"]

Dialect = Literal["datumaro", "cvat"]
"""Whether keypoints are ``points`` or ``skeleton``."""

KEY: Final = "datumaro"
"""Of `extra` of the dataset, images and instances: what Datumaro has besides."""

_LOOK: Final = 1 << 16
_MAX_LABELS: Final = 100_000
_MAX_SIDE: Final = 1_000_000


def is_datumaro(path: Path) -> bool:
    """Whether this is a Datumaro JSON file, or a folder with such files in ``annotations``.

    Parameters
    ----------
    path : Path
    """
    if path.is_dir():
        return any(is_datumaro(file) for file in sorted((path / "annotations").glob("*.json"))[:10])
    with open(path, "rb") as file:
        head = file.read(_LOOK)
        file.seek(max(0, path.stat().st_size - _LOOK))
        tail = file.read(_LOOK)
    return head.lstrip()[:1] == b"{" and all(
        key in head or key in tail for key in (b'"items"', b'"label"', b'"categories"')
    )


# --- reading ------------------------------------------------------------------------------------


def read_datumaro(
    path: str | os.PathLike[str],
    images: Any = None,
    *,
    on_error: OnError = "raise",
    allow_outside: bool = False,
) -> Dataset:
    """Dataset in Datumaro JSON.

    Parameters
    ----------
    path : str or os.PathLike
        A file, or a folder with ``annotations/<subset>.json``.
    images : folder, list of folders, glob, list of paths, or mapping, optional
        See `kpwidget.read`. By default the folders ``images/<subset>`` and ``images`` of the
        dataset, and the folder of the file.
    on_error : {'raise', 'skip'}
        See `kpwidget.read`. What is wrong with the categories always raises.
    allow_outside : bool, default False
        See `kpwidget.read`.

    Returns
    -------
    Dataset
        A label with points is a category, an annotation ``points`` or ``skeleton`` of it an
        instance; the box of its group is the bbox. Other annotations and attributes are in
        ``extra['datumaro']``, the subset in ``extra['split']`` of the image.

    Raises
    ------
    FormatError
        If a file is none of the format, or annotations are bad, naming every one.
    """
    path = Path(path)
    gathered = Gathered(path, on_error)
    files = sorted((path / "annotations").glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise FormatError.from_problems(
            os.fspath(path), ["has no folder 'annotations' with JSON files"]
        )
    categories: list[Category] = []
    labels: dict[int, int] = {}
    top: dict[str, Any] = {}
    first: Any = None
    for file in files:
        content = load_json(file)
        items = content.get("items") if isinstance(content, dict) else None
        if not isinstance(items, list) or not isinstance(content.get("categories"), dict):
            raise FormatError.from_problems(
                os.fspath(file),
                ["is no Datumaro file: expected an object with 'items' and 'categories'"],
            )
        if not categories:
            first = content["categories"]
            categories, labels = _categories(first, file, gathered)
            top = {k: v for k, v in content.items() if k in ("info", "infos") and v}
        elif content["categories"] != first:
            raise FormatError.from_problems(
                os.fspath(file), [f"has other categories than {files[0].name}; read one at a time"]
            )
        split = file.stem if path.is_dir() else None
        for i, item in enumerate(progress(items, "reading instances", "image"), 1):
            _read_item(item, f"{named(file.name)} item {i}", split, categories, labels, gathered)
    root = path if path.is_dir() else path.parent
    if root.name == "annotations":
        root = root.parent
    if images is None:
        places = [root / "images" / file.stem for file in files] + [root / "images", root]
        images = [place for place in places if place.is_dir()]
    dataset = gathered.dataset(categories, images, root / "x", allow_outside=allow_outside)
    if top:
        dataset.extra[KEY] = top
    return dataset


def _categories(
    given: Mapping[str, Any], path: Path, gathered: Gathered
) -> tuple[list[Category], dict[int, int]]:
    """Categories, and the position of each by the number of its label."""
    problems: list[str] = []

    def listed(key: str, inner: str) -> list[Any]:
        part = given.get(key)
        found = part.get(inner) if isinstance(part, dict) else None
        if not isinstance(found, list) or len(found) > _MAX_LABELS:
            problems.append(f"'categories' has no list '{key}' / '{inner}'")
            return []
        return found

    labels, points = listed("label", "labels"), listed("points", "items")
    categories: list[Category] = []
    index: dict[int, int] = {}
    for item in points:
        number_ = as_int(item.get("label_id")) if isinstance(item, dict) else None
        label = labels[number_] if number_ is not None and 0 <= number_ < len(labels) else None
        name = label.get("name") if isinstance(label, dict) else None
        names = item.get("labels") if isinstance(item, dict) else None
        if number_ is None or not isinstance(name, str) or not name or number_ in index:
            problems.append(f"points {_show(item)}: expected 'label_id', the number of a label")
            continue
        if not isinstance(names, list) or not names:
            problems.append(f"label {_show(name)}: 'labels' is {_show(names)}, expected names")
            continue
        pairs: list[Any] = []
        joints = item.get("joints") or []
        if not isinstance(joints, list):
            problems.append(f"label {_show(name)}: 'joints' is {_show(joints)}, expected a list")
            continue
        for joint in joints:
            ends = [as_int(n) for n in joint] if isinstance(joint, list) else []
            is_edge = len(ends) == 2 and all(n is not None and 1 <= n <= len(names) for n in ends)
            pairs.append([names[(n or 1) - 1] for n in ends] if is_edge else joint)
        try:
            schema = schema_for(name, names, pairs, None, gathered)
        except FormatError as error:
            problems += error.problems
            continue
        parent = label.get("parent") if isinstance(label, dict) else None
        parent = parent if isinstance(parent, str) and parent else None
        index[number_] = len(categories)
        categories.append(Category(number_ + 1, schema, name, parent))
    if not categories and not problems:
        problems.append("'categories' has no label with points")
    if problems:
        raise FormatError.from_problems(os.fspath(path), problems)
    return categories, index


def _read_item(
    item: Any,
    at: str,
    split: str | None,
    categories: Sequence[Category],
    labels: Mapping[int, int],
    gathered: Gathered,
) -> None:
    """Add an image and its instances."""
    annotations = item.get("annotations") if isinstance(item, dict) else None
    image = item.get("image") if isinstance(item, dict) else None
    image = image if isinstance(image, dict) else {}
    name = image.get("path") or (item.get("id") if isinstance(item, dict) else None)
    if not isinstance(annotations, list) or not isinstance(name, str) or not name:
        gathered.problems.append(f"{at}: expected 'annotations', a list, and 'image' with 'path'")
        return
    given = image.get("size")
    sides = [as_int(side) or 0 for side in given] if isinstance(given, list) else []
    is_size = len(sides) == 2 and all(0 < side <= _MAX_SIDE for side in sides)
    size = (sides[1], sides[0]) if is_size else None
    if given and not is_size:
        gathered.problems.append(
            f"{at}: 'size' is {_show(given)}, expected height and width in pixels"
        )
    attributes = item.get("attr")
    attributes = dict(attributes) if isinstance(attributes, dict) else {}
    image_id = attributes.pop("id", None)
    boxes: dict[int, Any] = {}
    objects: list[tuple[int, int, Any]] = []
    others: list[Any] = []
    for i, annotation in enumerate(annotations, 1):
        kind = annotation.get("type") if isinstance(annotation, dict) else None
        if kind is None:
            gathered.problems.append(f"{at}, annotation {i}: is {_show(annotation)}")
            continue
        group = as_int(annotation.get("group")) or 0
        c = labels.get(as_int(annotation.get("label_id")) or 0)
        if kind in ("points", "skeleton") and c is not None:
            objects.append((i, c, annotation))
        elif kind == "bbox" and group and group not in boxes:
            boxes[group] = annotation
        else:
            others.append(annotation)
    groups = [as_int(annotation.get("group")) or 0 for _, _, annotation in objects]
    alone = {group for group, n in Counter(groups).items() if group and n == 1}
    of_group: dict[int, list[Any]] = {}
    unbound: list[Any] = []
    for other in others:
        group = as_int(other.get("group")) or 0
        if group in alone:  # the group is numbered anew when it is written
            kept_of_it = {key: value for key, value in other.items() if key != "group"}
            of_group.setdefault(group, []).append(kept_of_it)
        else:
            unbound.append(other)
    found = []
    for (i, c, annotation), group in zip(objects, groups, strict=True):
        where = f"{at}, annotation {i}"
        points = _points(annotation, categories[c], where, gathered)
        if points is None:
            continue
        own = of_group.get(group, [])
        values = _values(annotation, own, where, gathered)
        box = boxes.pop(group, None) if group in alone else None
        if box is not None:
            numbers = [number(v) for v in _list_of(box.get("bbox"))]
            if len(numbers) == 4 and None not in numbers:
                values["bbox"] = numbers
            else:
                gathered.problems.append(
                    f"{where}: the 'bbox' of its group is {_show(box.get('bbox'))}, expected 4 "
                    "numbers"
                )
        found.append((f"datumaro:{name}:{i}", c, points, values))
    unbound += boxes.values()
    kept: dict[str, Any] = {"attr": attributes} if attributes else {}
    if unbound:
        kept["annotations"] = unbound
    extra: dict[str, Any] = {KEY: kept} if kept else {}
    if split is not None:
        extra["split"] = split
    try:
        index = gathered.image(
            name.replace("\\", "/"), size, extra=extra,
            id=image_id if isinstance(image_id, str) else as_int(image_id),
        )  # fmt: skip
    except KeyError:
        gathered.problems.append(f"{at}: the image {_show(name)} has an item already")
        return
    for uid, c, points, values in found:
        gathered.instance(uid, index, c, points, **values)


def _values(
    annotation: Mapping[str, Any], own: list[Any], at: str, gathered: Gathered
) -> dict[str, Any]:
    """Values of an instance besides keypoints and bbox."""
    attributes = annotation.get("attributes")
    attributes = dict(attributes) if isinstance(attributes, dict) else {}
    record = {
        "id": annotation.get("id") or None,  # 0 stands for none
        "iscrowd": int(bool(attributes.pop("is_crowd", False))),
        "score": attributes.pop("score", None),
        "track_id": attributes.pop("track_id", None),
    }
    kept: dict[str, Any] = {}
    if attributes:
        kept["attributes"] = attributes
    of_points = annotation.get("points_attributes") or []
    if not isinstance(of_points, list):
        gathered.problems.append(
            f"{at}: 'points_attributes' is {_show(of_points)}, expected a list"
        )
    elif any(of_points):
        kept["points_attributes"] = of_points
    if own:
        kept["annotations"] = own
    return kept_of_instances({**record, "extra": {KEY: kept} if kept else None}, at, gathered)


def _list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _points(
    annotation: Mapping[str, Any], category: Category, at: str, gathered: Gathered
) -> list[list[float]] | None:
    """Keypoints of an annotation, None (and a problem) if they are bad."""
    given, k = annotation.get("points"), category.n_keypoints
    values = [number(v) for v in given] if isinstance(given, list) else []
    flags: list[Any]
    if annotation["type"] == "skeleton":
        dims, flags = 3, values[2::3]
    else:
        visibility = annotation.get("visibility")
        dims, flags = 2, visibility if isinstance(visibility, list) else [2] * k
    if len(values) != dims * k or None in values:
        gathered.problems.append(
            f"{at}: 'points' is {_show(given)}, expected {dims * k} numbers ({k} keypoints x "
            f"{dims}) for category {_show(category.name)}"
        )
        return None
    flags = [number(flag) for flag in flags]
    if len(flags) != k or any(flag not in (0, 1, 2) for flag in flags):
        gathered.problems.append(
            f"{at}: 'visibility' is {_show(flags)}, expected {k} of 0, 1 and 2"
        )
        return None
    xs, ys = values[0::dims], values[1::dims]
    return [[x or 0.0, y or 0.0, v] for x, y, v in zip(xs, ys, flags, strict=True)]


# --- writing ------------------------------------------------------------------------------------

_KEPT: Final = frozenset(
    ("occluded", "unlabeled locations", "image sizes", "bbox", "crowds", "tracks", "scores",
     "annotation ids", "image ids", "skeletons", "supercategories")
)  # fmt: skip


def datumaro_losses(dataset: Dataset) -> list[Loss]:
    """What Datumaro JSON has no place for.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    list of Loss
    """
    with dataset.lock:
        splits = sum(isinstance(image.extra.get("split"), str) for image in dataset.images)
        losses = lost_values(
            dataset, _KEPT, kept_fields=(KEY,), kept_image_fields={"split": splits}
        )
        losses += lost_backslashes(dataset)
        table = dataset._table
        n = int(np.count_nonzero(table.column("id", table.live_rows()) == 0))
        if n:
            text = f"the annotation id of {count(n, 'instance')}, for 0 is none to Datumaro"
            losses.append(Loss("id", n, text))
        return losses


def write_datumaro(
    dataset: Dataset, path: str | os.PathLike[str], *, dialect: Dialect = "datumaro"
) -> WriteReport:
    """Write a dataset as Datumaro JSON. Image files are not copied.

    Parameters
    ----------
    dataset : Dataset
    path : str or os.PathLike
        A file if it ends in ``.json``; else a folder, in which ``annotations/<subset>.json`` are
        written, one for each ``extra['split']`` of the images (``default`` without one).
    dialect : {'datumaro', 'cvat'}
        Keypoints as ``points`` with visibilities, which the package ``datumaro`` reads, or as
        ``skeleton``, which CVAT reads and the package refuses.

    Returns
    -------
    WriteReport

    Raises
    ------
    ValueError
        If the size of an image is not known, naming every one, or `dialect` is none there is.
    """
    if dialect not in ("datumaro", "cvat"):
        raise ValueError(f"dialect is 'datumaro' or 'cvat', not {dialect!r}")
    target = Path(path)
    is_file = target.suffix.lower() == ".json"
    subsets: dict[str, list[Any]] = {}
    problems: list[str] = []
    with dataset.lock:
        if not dataset.categories:
            raise ValueError(f"{target}: the dataset has no categories; Datumaro needs one")
        group = 0
        n_instances = 0
        for i, of in enumerate(progress(instances_by_image(dataset), "writing instances", "image")):
            extra = ImageInfo(dataset, i).extra
            split = extra.get("split")
            split = split if isinstance(split, str) and split.strip(". ") else "default"
            name = "" if is_file else "".join(c if c.isalnum() or c in "-_" else "_" for c in split)
            try:
                subsets.setdefault(name, []).append(_item(dataset, i, of, extra, group, dialect))
            except ImageError as error:
                problems.append(str(error))
            group += len(of)
            n_instances += len(of)
        given = dataset.extra.get(KEY)
        head = {
            **({"dm_format_version": "1.0", "media_type": 2} if dialect == "datumaro" else {}),
            ("infos" if dialect == "datumaro" else "info"): {},
            **(given if isinstance(given, Mapping) else {}),
            "categories": _category_records(dataset, dialect),
        }
        n_images = len(dataset.images)
    if problems:
        raise ValueError(
            f"{target}: Datumaro files have the size of the image, and it is not known of "
            f"{count(len(problems), 'image')}:\n  " + "\n  ".join(problems[:20])
        )
    if not is_file:
        check_links(target, [f"annotations/{name}.json" for name in subsets or ("default",)])
        (target / "annotations").mkdir(parents=True, exist_ok=True)
        there = {file.stem for file in (target / "annotations").glob("*.json")}
        stale = there - (subsets.keys() or {"default"})
        if stale:
            raise FileExistsError(
                f"{target / 'annotations'}: {', '.join(sorted(stale)[:5])} would stay there and be "
                "part of the dataset; delete them or give a new folder. Nothing was written"
            )
    for name, items in (subsets or {"" if is_file else "default": []}).items():
        file = target if is_file else target / "annotations" / f"{name}.json"
        write_file(file, [encoded({**head, "items": items})])
    return WriteReport(target, "datumaro", n_images, n_instances)


def _category_records(dataset: Dataset, dialect: Dialect) -> dict[str, Any]:
    labels: list[Any] = [
        {"name": c.name, "parent": c.supercategory or "", "attributes": []}
        for c in dataset.categories
    ]
    items = [
        {
            "label_id": i, "labels": list(c.keypoints), "joints": c.schema.skeleton,
            **({"positions": []} if dialect == "datumaro" else {}),
        }
        for i, c in enumerate(dataset.categories)
    ]  # fmt: skip
    if dialect == "cvat":
        labels += [
            {"name": keypoint, "parent": category.name, "attributes": []}
            for category in dataset.categories
            for keypoint in category.keypoints
        ]
    groups: dict[str, Any] = {"label_groups": []} if dialect == "datumaro" else {}
    return {"label": {"labels": labels, **groups, "attributes": []}, "points": {"items": items}}


def _item(
    dataset: Dataset,
    i: int,
    of: Sequence[Item],
    extra: Mapping[str, Any],
    n_before: int,
    dialect: Dialect,
) -> dict[str, Any]:
    """Return an image with its annotations; ImageError if its size is not known."""
    state = dataset._images[i]
    width, height = state.recorded_size or ImageInfo(dataset, i).size
    given = extra.get(KEY)
    kept = given if isinstance(given, Mapping) else {}
    own = kept.get("attr")
    attributes = {"id": state.id, **(own if isinstance(own, Mapping) else {})}
    annotations: list[Any] = []
    for group, item in enumerate(of, n_before + 1):
        annotations += _annotations(dataset, item, group, dialect)
    return {
        "id": state.file_name.rpartition(".")[0] or state.file_name,
        "annotations": [
            *annotations,
            *objects_in(kept.get("annotations")),
        ],
        "attr": attributes,
        "image": {"path": state.file_name, "size": [height, width]},
    }


def _annotations(dataset: Dataset, item: Item, group: int, dialect: Dialect) -> list[Any]:
    """Return the keypoints of an instance, its bbox, and what else was in its group."""
    record = item.kept(dataset)
    given = (record.get("extra") or {}).get(KEY)
    kept = given if isinstance(given, Mapping) else {}
    # What was kept can be from a file of another format, and so perhaps anything.
    own = kept.get("attributes")
    attributes: dict[str, Any] = {"is_crowd": bool(record.get("iscrowd"))}
    attributes |= own if isinstance(own, Mapping) else {}
    for name in ("score", "track_id"):
        if name in record:
            attributes[name] = record[name]
    common = {
        "id": record.get("id", 0), "attributes": attributes, "group": group,
        "label_id": item.category,
    }  # fmt: skip
    if dialect == "cvat":
        flat = [c for x, y, v in item.points for c in (x, y, min(2, math.ceil(v)))]
        of_points = objects_in(kept.get("points_attributes"))
        if len(of_points) != len(item.points):
            of_points = [{}] * len(item.points)
        found: list[Any] = [
            {**common, "type": "skeleton", "points": flat, "points_attributes": of_points}
        ]
    else:
        flat = [value for x, y, _ in item.points for value in (x, y)]
        flags = [min(2, math.ceil(v)) for _, _, v in item.points]
        found = [{**common, "type": "points", "points": flat, "visibility": flags, "z_order": 0}]
    if item.bbox is not None:
        found.append({**common, "type": "bbox", "z_order": 0, "bbox": item.bbox})
    found += [{**other, "group": group} for other in objects_in(kept.get("annotations"))]
    return found
