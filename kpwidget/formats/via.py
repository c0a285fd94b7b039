"""VGG Image Annotator 2: one JSON file, keypoints as regions of the shape ``point``.

VIA has no objects of several regions, no names of keypoints and no visibility: they are attributes
of the regions, by default ``object``, ``instance``, ``keypoint`` and ``visibility``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from kpwidget.dataset import Dataset, ImageInfo
from kpwidget.dataset.values import as_int
from kpwidget.formats import Loss, WriteReport, write_file
from kpwidget.formats.gathered import (
    Gathered,
    Item,
    OnError,
    categories_of_records,
    instances_by_image,
    load_json,
    number,
    objects_in,
    progress,
)
from kpwidget.formats.json_text import encoded
from kpwidget.formats.losses import lost_backslashes, lost_blanks, lost_values
from kpwidget.images import named
from kpwidget.schema import Category, FormatError, Schema, _show

__all__ = ["ATTRIBUTES", "is_via", "read_via", "via_losses", "write_via"]

ATTRIBUTES: Final[Mapping[str, str]] = {
    "object": "object", "instance": "instance", "keypoint": "keypoint", "visibility": "visibility",
}  # fmt: skip
"""What the attributes of regions are called: of the category, of which regions belong together, of
the keypoint, and of its visibility."""

KEY: Final = "via"
"""Of `extra` of the dataset and images: what VIA has besides."""

_METADATA: Final = "_via_img_metadata"
_OWN: Final = "kpwidget"
_LOOK: Final = 1 << 16
_VERSION: Final = "2.0.10"  # of the layout of project files
_IS_PROJECT: Final = re.compile(rb'\s*\{\s*"_via_')
_OF_FILE: Final = frozenset(("filename", "size", "regions"))


def is_via(path: Path) -> bool:
    """Whether this is a project or annotation file of VIA 2.

    Parameters
    ----------
    path : Path
    """
    with open(path, "rb") as file:
        head = file.read(_LOOK)
        file.seek(max(0, path.stat().st_size - _LOOK))
        tail = file.read(_LOOK)
    # In between may be the regions of an image, before its attributes.
    keys = (b'"filename"', b'"regions"', b'"file_attributes"')
    # All keys of a project begin so; further in, it is a key of somebody else's file.
    return _IS_PROJECT.match(head) is not None or (
        head.lstrip()[:1] == b"{" and all(key in head or key in tail for key in keys)
    )


# --- reading ------------------------------------------------------------------------------------


@dataclass
class _Group:
    """The regions of an instance."""

    category: str | None = None
    bbox: list[float] | None = None
    points: dict[str, tuple[float, float, float]] = field(default_factory=dict)


def read_via(
    path: str | os.PathLike[str],
    images: Any = None,
    *,
    on_error: OnError = "raise",
    allow_outside: bool = False,
    schema: Schema | Mapping[str, Schema] | None = None,
    attributes: Mapping[str, str] | None = None,
) -> Dataset:
    """Dataset in a VIA 2 project, or in exported annotations.

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
    schema : Schema or mapping of str to Schema, optional
        The keypoints of all categories, or by the category's name. By default as a file says that
        was written here, else the options of the attribute ``keypoint`` of a project, else all
        names in the order in which they come.
    attributes : mapping of str to str, optional
        The names of the attributes, where they are not those of `ATTRIBUTES`: for instance
        ``{"keypoint": "landmark"}``.

    Returns
    -------
    Dataset
        Points with one ``instance`` are an instance, its rectangle is the bbox. Without the
        attribute all points of an image are one. ``visibility`` is '0', '1' or '2', visible without
        it. Other regions and attributes of files are in ``extra['via']`` and written back.

    Raises
    ------
    FormatError
        If the file is none of the format, or regions are bad, naming every one.
    ValueError
        If `attributes` has other keys.
    """
    unknown = [key for key in attributes or () if key not in ATTRIBUTES]
    if unknown:
        raise ValueError(
            f"attributes: expected keys of {_show(list(ATTRIBUTES))}, got {_show(unknown)}"
        )
    names = {**ATTRIBUTES, **(attributes or {})}
    path = Path(path)
    gathered = Gathered(path, on_error)
    content = load_json(path)
    files = content.get(_METADATA, content) if isinstance(content, dict) else None
    if not isinstance(files, dict):
        raise FormatError.from_problems(
            os.fspath(path), [f"is no VIA file: expected an object of files, got {_show(files)}"]
        )
    own = content.get(_OWN)
    found: list[tuple[int, str, dict[str, _Group]]] = []
    for key, file in progress(files.items(), "reading instances", "image"):
        if file is own and key == _OWN:
            continue
        of = _read_file(file, named(str(key)[:200]), names, gathered)
        if of is not None:
            found.append(of)
    categories = _categories(content, found, schema, names, gathered)
    index = {category.name: c for c, category in enumerate(categories)}
    known = [frozenset(category.keypoints) for category in categories]
    for image, name, groups in found:
        for key, group in groups.items():
            c = index.get(group.category or "", 0)
            points = {k: xyv for k, xyv in group.points.items() if k in known[c]}
            box = {} if group.bbox is None else {"bbox": group.bbox}
            gathered.instance(f"via:{name}:{key}", image, c, points, **box)
    dataset = gathered.dataset(categories, images, path, allow_outside=allow_outside)
    kept = {k: v for k, v in content.items() if k.startswith("_via") and k != _METADATA}
    kept.pop("_via_image_id_list", None)
    if kept and files is not content:
        dataset.extra[KEY] = kept
    return dataset


def _read_file(
    file: Any, at: str, names: Mapping[str, str], gathered: Gathered
) -> tuple[int, str, dict[str, _Group]] | None:
    """Add an image; return its position, its name and its groups of regions."""
    name = file.get("filename") if isinstance(file, dict) else None
    regions = file.get("regions") if isinstance(file, dict) else None
    if isinstance(regions, dict):  # VIA 1
        regions = list(regions.values())
    if not isinstance(name, str) or not name or not isinstance(regions, list):
        gathered.problems.append(f"{at}: expected 'filename', text, and 'regions', a list")
        return None
    groups: dict[str, _Group] = {}
    others: list[Any] = []
    for i, region in enumerate(regions, 1):
        problem = _add_region(region, names, groups, others)
        if problem:
            gathered.problems.append(f"{at}: region {i}: {problem}")
    extra = {key: value for key, value in file.items() if key not in _OF_FILE and value}
    if others:
        extra["regions"] = others
    size = file.get("size")
    if isinstance(size, int) and size >= 0:
        extra["size"] = size  # of the file, in bytes: part of the key
    try:
        image = gathered.image(name.replace("\\", "/"), extra={KEY: extra} if extra else None)
    except KeyError:
        gathered.problems.append(f"{at}: the image {_show(name)} is there already")
        return None
    return image, name, groups


def _add_region(
    region: Any, names: Mapping[str, str], groups: dict[str, _Group], others: list[Any]
) -> str:
    """Add a region to its group; return what is wrong with it."""
    shape = region.get("shape_attributes") if isinstance(region, dict) else None
    given = region.get("region_attributes") if isinstance(region, dict) else None
    if not isinstance(shape, dict) or not isinstance(given, dict | None):
        return f"is {_show(region)}, expected 'shape_attributes' and 'region_attributes'"
    values = {key: _text((given or {}).get(name)) for key, name in names.items()}
    kind = shape.get("name")
    keypoint = values["keypoint"]
    if kind == "rect" and not keypoint and values["instance"] is not None:
        box = [number(shape.get(key)) for key in ("x", "y", "width", "height")]
        if None in box:
            return f"'shape_attributes' is {_show(shape)}, expected x, y, width and height"
        group = groups.setdefault(values["instance"], _Group())
        if group.bbox is not None:
            return f"is the second rectangle of instance {_show(values['instance'])}"
        group.bbox = [value or 0.0 for value in box]
    elif kind == "point" and keypoint:
        xy = [number(shape.get(key)) for key in ("cx", "cy")]
        flag = (given or {}).get(names["visibility"])
        is_given = flag not in (None, "", {})
        visibility = values["visibility"] if is_given else "2"
        group = groups.setdefault(values["instance"] or "", _Group())
        if None in xy or visibility is None or visibility not in ("0", "1", "2"):
            return (
                f"expected 'cx' and 'cy' in pixels and a visibility '0', '1' or '2', got "
                f"{_show(shape)} and {_show(flag)}"
            )
        if keypoint in group.points:
            return (
                f"is the second point {_show(keypoint)} of instance {_show(values['instance'])}; "
                f"the attribute {names['instance']!r} tells them apart"
            )
        group.points[keypoint] = (xy[0] or 0.0, xy[1] or 0.0, float(visibility))
    else:
        others.append(region)
        return ""
    if values["object"] and group.category not in (None, values["object"]):
        return f"is of {_show(values['object'])}, its instance of {_show(group.category)}"
    group.category = group.category or values["object"]
    return ""


def _text(value: Any) -> str | None:
    """Value of an attribute: text, a number, or the one option that is ticked."""
    if isinstance(value, dict):
        ticked = [key for key, is_on in value.items() if is_on is True]
        return ticked[0] if len(ticked) == 1 else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**18 else None
    return value if isinstance(value, str) and value.strip() else None


def _categories(
    content: Mapping[str, Any],
    found: Sequence[tuple[int, str, dict[str, _Group]]],
    schema: Schema | Mapping[str, Schema] | None,
    names: Mapping[str, str],
    gathered: Gathered,
) -> list[Category]:
    own = content.get(_OWN)
    records = own.get("categories") if isinstance(own, dict) else None
    known = {c.name: c for c in categories_of_records(records, _OWN, gathered)} if records else {}
    attributes = content.get("_via_attributes")
    of_region = attributes.get("region") if isinstance(attributes, dict) else None
    listed = of_region.get(names["keypoint"]) if isinstance(of_region, dict) else None
    options = listed.get("options") if isinstance(listed, dict) else None
    options = [o for o in options if isinstance(o, str)] if isinstance(options, dict) else []
    groups = [group for _, _, of in found for group in of.values()]
    named_ = {group.category: None for group in groups if group.category}
    default = next(iter({**known, **named_})) if len({**known, **named_}) == 1 else "object"
    used: dict[str, dict[str, None]] = {}
    for group in groups:
        group.category = group.category or default
        used.setdefault(group.category, {}).update(dict.fromkeys(group.points))
    next_id = max((category.id for category in known.values()), default=0) + 1
    for name, points in used.items():
        given = schema.get(name) if isinstance(schema, Mapping) else schema
        old = known.get(name)
        if given is None and old is not None:
            given = old.schema
        elif given is None:
            # Options of a project stand for all its objects.
            own_names = options if len(used) == 1 else []
            own_names = list(dict.fromkeys([*own_names, *points]))
            if not own_names:
                gathered.problems.append(f"{_show(name)}: has rectangles and no point")
                continue
            given = Schema(name, own_names)
        known[name] = replace(old, schema=given) if old else Category(next_id, given, name)
        next_id += old is None
        missing = [point for point in points if point not in given.keypoints]
        if missing:
            gathered.problems.append(
                f"category {_show(name)} has no keypoint {', '.join(map(_show, missing[:20]))}, "
                f"expected {', '.join(map(_show, given.keypoints[:40]))}"
            )
    if not known:
        raise FormatError.from_problems(
            gathered.where,
            [
                *gathered.problems,
                f"has no point with the attribute {names['keypoint']!r}; if it has another name, "
                "pass attributes={'keypoint': ...}",
            ],
        )
    return list(known.values())


# --- writing ------------------------------------------------------------------------------------

_KEPT: Final = frozenset(
    ("occluded", "bbox", "category ids", "skeletons", "flip pairs", "sigmas", "colors",
     "supercategories", "category fields")
)  # fmt: skip


def via_losses(dataset: Dataset) -> list[Loss]:
    """What a VIA project has no place for.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    list of Loss
    """
    with dataset.lock:
        losses = lost_values(dataset, _KEPT, kept_fields=(KEY,))
        return [*losses, *lost_backslashes(dataset), *lost_blanks(dataset)]


def write_via(dataset: Dataset, path: str | os.PathLike[str]) -> WriteReport:
    """Write a dataset as a VIA 2 project. Image files are not copied.

    Parameters
    ----------
    dataset : Dataset
    path : str or os.PathLike
        The JSON file, replaced in one go.

    Returns
    -------
    WriteReport

    Raises
    ------
    ValueError
        If two images have the same name.

    Notes
    -----
    An unlabeled keypoint has no region. Numbers are written with all their digits; VIA's page
    rounds those of regions that are moved. The size of an image file in bytes, part of its key, is
    that of the file it was read from, else of the file, else -1 as for images from the web.
    """
    target = Path(path)
    with dataset.lock:
        if not dataset.categories:
            raise ValueError(f"{target}: the dataset has no categories; VIA needs one")
        metadata: dict[str, Any] = {}
        n_instances = 0
        for i, of in enumerate(progress(instances_by_image(dataset), "writing instances", "image")):
            n_instances += len(of)
            file = _file(dataset, i, of)
            key = f"{file['filename']}{file['size']}"
            if key in metadata:
                raise ValueError(f"{target}: two images are called {file['filename']!r}")
            metadata[key] = file
        content = _project(dataset, metadata)
        n_images = len(dataset.images)
    write_file(target, [encoded(content)])
    return WriteReport(target, "via", n_images, n_instances)


def _file(dataset: Dataset, i: int, of: Sequence[Item]) -> dict[str, Any]:
    info = ImageInfo(dataset, i)
    given = info.extra.get(KEY)
    kept = dict(given) if isinstance(given, Mapping) else {}
    size = as_int(kept.pop("size", None))
    if size is None:
        path = info.path
        size = path.stat().st_size if path is not None and path.is_file() else -1
    regions: list[Any] = []
    for number_, item in enumerate(of, 1):
        category = dataset.categories[item.category]
        common = {"object": category.name, "instance": str(number_)}
        if item.bbox is not None:
            x, y, width, height = item.bbox
            shape = {"name": "rect", "x": x, "y": y, "width": width, "height": height}
            regions.append({"shape_attributes": shape, "region_attributes": common})
        for name, (x, y, v) in zip(category.keypoints, item.points, strict=True):
            if v:
                flag = "1" if v == 1 else "2"
                regions.append(
                    {
                        "shape_attributes": {"name": "point", "cx": x, "cy": y},
                        "region_attributes": {**common, "keypoint": name, "visibility": flag},
                    }
                )
    regions += objects_in(kept.pop("regions", None))
    name = dataset._images[i].file_name
    return {"file_attributes": {}, **kept, "filename": name, "size": size, "regions": regions}


def _project(dataset: Dataset, metadata: Mapping[str, Any]) -> dict[str, Any]:
    from kpwidget.formats.coco_write import category_record

    names = [category.name for category in dataset.categories]
    keypoints = dict.fromkeys(k for category in dataset.categories for k in category.keypoints)
    choice = {"type": "dropdown", "description": "", "default_options": {}}
    text = {"type": "text", "description": "", "default_value": ""}
    visibility = {"1": "occluded", "2": "visible"}
    region = {
        "object": {**choice, "options": dict.fromkeys(names, "")},
        "instance": text,
        "keypoint": {**choice, "options": dict.fromkeys(keypoints, "")},
        "visibility": {**choice, "options": visibility, "default_options": {"2": True}},
    }
    given = dataset.extra.get(KEY)
    kept = dict(given) if isinstance(given, Mapping) else {}
    return {
        "_via_settings": _SETTINGS,
        "_via_attributes": {"region": region, "file": {}},
        "_via_data_format_version": _VERSION,
        **kept,
        _METADATA: metadata,
        "_via_image_id_list": list(metadata),
        _OWN: {"categories": [category_record(category) for category in dataset.categories]},
    }


# As via.js has them: without them it does not open a project.
_SETTINGS: Final[Mapping[str, Any]] = {
    "ui": {
        "annotation_editor_height": 25, "annotation_editor_fontsize": 0.8,
        "leftsidebar_width": 18,
        "image_grid": {
            "img_height": 80, "rshape_fill": "none", "rshape_fill_opacity": 0.3,
            "rshape_stroke": "yellow", "rshape_stroke_width": 2, "show_region_shape": True,
            "show_image_policy": "all",
        },
        "image": {
            "region_label": "__via_region_id__", "region_color": "__via_default_region_color__",
            "region_label_font": "10px Sans", "on_image_annotation_editor_placement": "NEAR_REGION",
        },
    },
    "core": {"buffer_size": 18, "filepath": {}, "default_filepath": ""},
    "project": {"name": "keypoints"},
}  # fmt: skip
