"""labelme: one JSON file beside each image, keypoints as shapes of the type ``point``.

Points and a rectangle with the same ``group_id`` are an instance. What labelme has no field for
(the order of keypoints, edges, ids) is in a field ``kpwidget`` of the file, which labelme keeps.
"""

from __future__ import annotations

import filecmp
import os
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from kpwidget.dataset import Dataset, ImageInfo
from kpwidget.dataset.image_files import IMAGE_SUFFIXES
from kpwidget.dataset.values import as_int
from kpwidget.formats import Loss, WriteReport, count
from kpwidget.formats.coco_write import category_record
from kpwidget.formats.folders import (
    ImagesOption,
    check_images_option,
    check_links,
    image_sources,
    listed,
    lost_pixels,
    new_names,
    write_files,
    write_images,
)
from kpwidget.formats.gathered import (
    Gathered,
    Item,
    OnError,
    categories_of_records,
    instances_by_image,
    kept_of_instances,
    load_json,
    number,
    objects_in,
    progress,
)
from kpwidget.formats.json_text import encoded
from kpwidget.formats.losses import lost_blanks, lost_values
from kpwidget.images import ImageError, named
from kpwidget.schema import Category, FormatError, Schema, _show

__all__ = ["is_labelme", "labelme_losses", "read_labelme", "write_labelme"]

KEY: Final = "labelme"
"""Of `extra` of images and instances: what labelme has besides."""

OWN: Final = "kpwidget"
"""Field of a labelme file with what labelme has no field for."""

_VERSION: Final = "5.5.0"  # of labelme, whose files have had this layout since
_OCCLUDED: Final = "occluded"
_LOOK: Final = 1 << 16
_N_LEVELS: Final = 4  # of folders in which the first file is looked for
_OF_FILE: Final = frozenset(("shapes", "imagePath", "imageHeight", "imageWidth", OWN))
_OF_SHAPE: Final = frozenset(("label", "points", "group_id", "shape_type"))
_PLAIN: Final[Mapping[str, Any]] = {"description": "", "flags": {}, "mask": None}


def is_labelme(path: Path) -> bool:
    """Whether this is a labelme file, or a folder of which the first JSON file is one.

    Parameters
    ----------
    path : Path
    """
    if path.is_dir():
        levels = ("*/" * depth + "*.json" for depth in range(_N_LEVELS))
        first = next(filter(None, (min(path.glob(each), default=None) for each in levels)), None)
        return first is not None and first.is_file() and is_labelme(first)
    with open(path, "rb") as file:
        head = file.read(_LOOK)
        file.seek(max(0, path.stat().st_size - _LOOK))
        tail = file.read(_LOOK)
    # In between may be the whole image.
    return head.lstrip()[:1] == b"{" and all(
        key in head or key in tail for key in (b'"shapes"', b'"imagePath"')
    )


# --- reading ------------------------------------------------------------------------------------


@dataclass
class _Group:
    """The shapes of an instance."""

    rectangle: tuple[str, list[float], Mapping[str, Any]] | None = None
    points: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class _File:
    """A labelme file, checked."""

    name: str
    image_path: str
    size: tuple[int, int] | None
    groups: dict[int | None, _Group]
    own: Mapping[str, Any]
    extra: dict[str, Any]


def read_labelme(
    path: str | os.PathLike[str],
    images: Any = None,
    *,
    on_error: OnError = "raise",
    allow_outside: bool = False,
    schema: Schema | Mapping[str, Schema] | None = None,
) -> Dataset:
    """Dataset in a folder of labelme files, or in one of them.

    Parameters
    ----------
    path : str or os.PathLike
        The folder, with all folders in it, or one file.
    images : folder, list of folders, glob, list of paths, or mapping, optional
        See `kpwidget.read`. By default beside the labels.
    on_error : {'raise', 'skip'}
        See `kpwidget.read`.
    allow_outside : bool, default False
        See `kpwidget.read`.
    schema : Schema or mapping of str to Schema, optional
        The keypoints of all categories, or by the category's name. By default what the files say
        that were written here, else all labels of points in the order in which they come.

    Returns
    -------
    Dataset
        Shapes with one ``group_id`` are an instance: its rectangle is the bbox and names the
        category, its points are the keypoints, occluded if the flag ``occluded`` is set. Points
        without a group are one instance. Without a rectangle the category is the only one that
        there is, or ``'object'``. Other shapes and fields are in ``extra['labelme']`` and written
        back. A file without shapes is an image that is done. ``imageData`` is never decoded.

    Raises
    ------
    FormatError
        If a file is none of the format, or shapes are bad, naming every one.
    FileNotFoundError
        If there is no such file or folder.
    """
    from tqdm.auto import tqdm

    path = Path(path)
    gathered = Gathered(path, on_error)
    root = path if path.is_dir() else path.parent
    files = []
    found_files = list(_json_files(path)) if path.is_dir() else [path]
    for file in tqdm(found_files, desc="Reading labels", unit="file", delay=1.0, leave=False):
        found = _read_file(file, root, gathered)
        if found is not None:
            files.append(found)
    categories = _categories(files, schema, gathered)
    index = {category.name: c for c, category in enumerate(categories)}
    names_of = [frozenset(category.keypoints) for category in categories]
    for of in files:
        _put(of, categories, index, names_of, gathered)
    if path.is_dir():
        for folder in sorted({posixpath.dirname(of.name) for of in files}):
            for entry in sorted((root / folder).iterdir()):
                name = posixpath.join(folder, entry.name)
                if entry.suffix.lower() in IMAGE_SUFFIXES and gathered.index(name) is None:
                    gathered.image(name)
    return gathered.dataset(categories, images, root / "x", allow_outside=allow_outside)


def _json_files(folder: Path) -> Iterator[Path]:
    for path, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(path, name) for name in sorted(names) if name.endswith(".json"))


def _read_file(path: Path, root: Path, gathered: Gathered) -> _File | None:
    """Read one file; None (and a problem) if it cannot be used at all."""
    name = path.relative_to(root).as_posix()
    at, problems = named(name), gathered.problems
    try:
        content = load_json(path)
    except FormatError as error:
        problems.extend(problem.replace(os.fspath(path), at) for problem in error.problems)
        return None
    shapes = content.get("shapes") if isinstance(content, dict) else None
    image_path = content.get("imagePath") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not isinstance(image_path, str) or not image_path:
        problems.append(f"{at}: is no labelme file: expected 'shapes', a list, and 'imagePath'")
        return None
    width, height = as_int(content.get("imageWidth")), as_int(content.get("imageHeight"))
    size = (width, height) if width and height and width > 0 and height > 0 else None
    own = content.get(OWN)
    groups: dict[int | None, _Group] = {}
    others: list[Any] = []
    for i, shape in enumerate(shapes, 1):
        problem = _add_shape(shape, groups, others)
        if problem:
            problems.append(f"{at}: shape {i}: {problem}")
    extra = {
        key: value for key, value in content.items()
        if key not in _OF_FILE and value not in (None, {}) and key != "version"
    }  # fmt: skip
    if others:
        extra["shapes"] = others
    image_path = posixpath.join(posixpath.dirname(name), image_path.replace("\\", "/"))
    return _File(
        name, posixpath.normpath(image_path), size, groups, own if isinstance(own, dict) else {},
        extra,
    )  # fmt: skip


def _add_shape(shape: Any, groups: dict[int | None, _Group], others: list[Any]) -> str:
    """Add a shape to its group; return what is wrong with it."""
    if not isinstance(shape, dict):
        return f"is {_show(shape)}, expected an object"
    label, points, group = shape.get("label"), shape.get("points"), shape.get("group_id")
    if not isinstance(label, str) or not label.strip():
        return f"'label' is {_show(label)}, expected a name"
    if group is not None and as_int(group) is None:
        return f"'group_id' is {_show(group)}, expected a whole number or null"
    kind = shape.get("shape_type")
    if kind not in ("point", "rectangle"):
        others.append(shape)
        return ""
    n = 1 if kind == "point" else 2
    xy = [
        number(value)
        for point in (points if isinstance(points, list) else ())
        for value in (point if isinstance(point, list) else ())
    ]
    if len(xy) != 2 * n or None in xy:
        return f"'points' is {_show(points)}, expected {count(n, '[x, y]')} in pixels"
    flags = shape.get("flags") or {}
    if not isinstance(flags, dict) or not all(isinstance(flag, bool) for flag in flags.values()):
        return f"'flags' is {_show(flags)}, expected true or false for each name"
    found = groups.setdefault(group, _Group())
    values = [value or 0.0 for value in xy]
    extra = {k: v for k, v in shape.items() if k not in _OF_SHAPE and v not in ("", None, {})}
    if kind == "rectangle":
        if group is None or found.rectangle is not None:
            others.append(shape)  # a box of nothing
            return ""
        (x0, x1), (y0, y1) = sorted(values[0::2]), sorted(values[1::2])
        found.rectangle = (label, [x0, y0, x1 - x0, y1 - y0], extra)
        if extra:
            found.extra["rectangle"] = extra
        return ""
    if label in found.points:
        where = "without a 'group_id'" if group is None else f"of group {group}"
        return f"is the second point {_show(label)} {where}, expected one for each object"
    extra["flags"] = {key: flag for key, flag in flags.items() if key != _OCCLUDED}
    if not extra["flags"]:
        del extra["flags"]
    if extra:
        found.extra.setdefault("points", {})[label] = extra
    found.points[label] = (values[0], values[1], 1 if flags.get(_OCCLUDED) else 2)
    return ""


def _name_of(of: _File, group: int | None) -> str | None:
    """Name of the category of a group, None where none is given."""
    rectangle = of.groups[group].rectangle
    if rectangle is not None:
        return rectangle[0]
    known = of.own.get("instances")
    record = known.get(str(group)) if isinstance(known, dict) else None
    name = record.get("category") if isinstance(record, dict) else None
    return name if isinstance(name, str) else None


def _categories(
    files: Sequence[_File], schema: Schema | Mapping[str, Schema] | None, gathered: Gathered
) -> list[Category]:
    """Categories as the files say that were written here, and those that the shapes make."""
    found: dict[str, Category] = {}
    for of in files:
        records = of.own.get("categories")
        if isinstance(records, list):
            for category in categories_of_records(records, named(of.name), gathered):
                found.setdefault(category.name, category)
    used: dict[str, dict[str, None]] = {}
    nameless: dict[str, None] = {}
    for of in files:
        for group, content in of.groups.items():
            name = _name_of(of, group)
            labels = nameless if name is None else used.setdefault(name, {})
            if content.points:
                labels.update(dict.fromkeys(content.points))
    if nameless:
        names = list({**found, **used})
        used.setdefault(names[0] if len(names) == 1 else "object", {}).update(nameless)
    next_id = max((category.id for category in found.values()), default=0) + 1
    for name, labels in used.items():
        given = schema.get(name) if isinstance(schema, Mapping) else schema
        known = given or (found[name].schema if name in found else None)
        missing = [label for label in labels if known is None or label not in known.keypoints]
        if known is None and labels:
            found[name] = Category(next_id, Schema(name, list(labels)), name)
            next_id += 1
        elif known is not None and given is not None:
            old = found.get(name)
            found[name] = replace(old, schema=given) if old else Category(next_id, given, name)
            next_id += old is None
        if known is not None and missing:
            gathered.problems.append(
                f"category {_show(name)} has no keypoint {', '.join(map(_show, missing[:20]))}, "
                f"expected {', '.join(map(_show, known.keypoints[:40]))}"
            )
    if not found:
        raise FormatError.from_problems(
            gathered.where,
            [*gathered.problems, "has no shape of the type 'point': no keypoints"],
        )
    return list(found.values())


def _put(
    of: _File,
    categories: Sequence[Category],
    index: Mapping[str, int],
    names_of: Sequence[Collection[str]],
    gathered: Gathered,
) -> None:
    """Add the image of a file and its instances; `names_of` are the keypoints of categories."""
    image_record = of.own.get("image")
    own = image_record if isinstance(image_record, dict) else {}
    extra = own.get("extra")
    kept = {**extra} if isinstance(extra, dict) else {}
    if of.extra:
        kept[KEY] = of.extra
    is_done = own.get("is_done") is True or not (of.groups or of.extra.get("shapes"))
    given_id = own.get("id")
    try:
        image = gathered.image(
            of.image_path, of.size, is_done=is_done, extra=kept,
            id=given_id if isinstance(given_id, str) else as_int(given_id),
        )  # fmt: skip
    except KeyError:
        gathered.problems.append(
            f"{named(of.name)}: the image {_show(of.image_path)} has a file already"
        )
        return
    known = of.own.get("instances")
    for group, content in of.groups.items():
        name = _name_of(of, group) or (categories[0].name if len(categories) == 1 else "object")
        if name not in index:  # a rectangle of a class without any point
            rectangle = content.rectangle
            if rectangle is not None:
                x, y, width, height = rectangle[1]
                shape = _shape(name, [[x, y], [x + width, y + height]], group, "rectangle")
                state = gathered.state(image)
                state.extra = {**(state.extra or {})}
                own_extra = state.extra[KEY] = {**state.extra.get(KEY, {})}
                own_extra["shapes"] = [*own_extra.get("shapes", ()), shape]
            continue
        known_names = names_of[index[name]]
        keypoints = {k: xyv for k, xyv in content.points.items() if k in known_names}
        record = known.get(str(group)) if isinstance(known, dict) else None
        columns = kept_of_instances(record, f"{named(of.name)}: group {group}", gathered)
        if content.rectangle is not None:
            columns["bbox"] = _exact(content.rectangle[1], record)
        if content.extra:
            columns["extra"] = {**(columns.get("extra") or {}), KEY: content.extra}
        gathered.instance(f"labelme:{of.name}:{group}", image, index[name], keypoints, **columns)


def _exact(box: list[float], record: Any) -> list[float]:
    """Return the bbox that was written, if it is that of the rectangle but for the last digits."""
    given = record.get("bbox") if isinstance(record, dict) else None
    values = [number(v) for v in given] if isinstance(given, list) else []
    if len(values) != 4 or None in values:
        return box
    x, y, width, height = own = [v or 0.0 for v in values]
    return own if [x, y, x + width - x, y + height - y] == box else box


# --- writing ------------------------------------------------------------------------------------

_KEPT: Final = frozenset(
    ("occluded", "image sizes", "bbox", "area", "crowds", "tracks", "scores", "annotation ids",
     "image ids", "category ids", "skeletons", "flip pairs", "sigmas", "colors", "supercategories",
     "instance fields", "image fields", "category fields")
)  # fmt: skip


def labelme_losses(dataset: Dataset, *, images: ImagesOption = "copy") -> list[Loss]:
    """What labelme files have no place for.

    Parameters
    ----------
    dataset : Dataset
    images
        As of `write_labelme`.

    Returns
    -------
    list of Loss
    """
    check_images_option(images)
    with dataset.lock:
        losses = [*lost_values(dataset, _KEPT), *lost_blanks(dataset)]
        if images != "leave":
            return [*losses, *lost_pixels(dataset)]
        bare = [
            state.file_name
            for state, rows in zip(dataset._images, dataset._table.rows_of_image, strict=True)
            if not rows and not state.is_done
        ]
        if bare:
            text = f"{count(len(bare), 'image')} that are not labeled get no file"
            losses.append(Loss("images", len(bare), text, tuple(bare[:3])))
        return losses


def write_labelme(
    dataset: Dataset, path: str | os.PathLike[str], *, images: ImagesOption = "copy"
) -> WriteReport:
    """Write a dataset as labelme files.

    Parameters
    ----------
    dataset : Dataset
    path : str or os.PathLike
        The folder, made if it is missing. With ``images='leave'`` it may be that of the images.
    images : {'copy', 'link', 'leave'}
        Copy the image files into the folder; make links there; or write labels only.

    Returns
    -------
    WriteReport

    Raises
    ------
    FileExistsError
        If labelme files are there that were not written here, or would stay there.
    ValueError
        Naming every image whose name is no good here, whose file is missing or whose size is not
        known.

    Notes
    -----
    An unlabeled keypoint has no shape, an occluded one the flag ``occluded``. Images that are
    neither done nor have instances get no file. Numbers are written with all their digits.
    """
    check_images_option(images)
    folder = Path(path)
    notes: list[str] = []
    with dataset.lock:
        names = new_names(dataset, "/".join, notes)
        sources = image_sources(dataset, names, images)
        files: dict[str, bytes] = {}
        problems: list[str] = []
        categories = [category_record(category) for category in dataset.categories]
        n_instances = 0
        for i, of in enumerate(progress(instances_by_image(dataset), "writing instances", "image")):
            if not of and not dataset._images[i].is_done:
                continue
            name = f"{names[i].rpartition('.')[0] or names[i]}.json"
            if name in files:
                problems.append(f"{names[i]!r}: the file {name!r} is another image's as well")
            try:
                files[name] = _content(dataset, i, posixpath.basename(names[i]), of, categories)
            except ImageError as error:
                problems.append(str(error))
            n_instances += len(of)
        n_images = len(dataset.images)
    if problems:
        raise ValueError(
            f"{folder}: {count(len(problems), 'image')} cannot be written:\n" + listed(problems)
        )
    is_new = not folder.is_dir() or not os.listdir(folder)
    if not is_new:
        sources = _checked(folder, files, sources)
    write_images(folder, sources, images)
    write_files(folder, files, is_new=is_new)
    return WriteReport(folder, "labelme", n_images, n_instances, 0, tuple(notes))


def _checked(
    folder: Path, files: Mapping[str, bytes], sources: Mapping[str, Any]
) -> dict[str, Any]:
    """Images that are not there yet; FileExistsError if the folder has labels or images of others.

    That the labels of an image were written here does not say that the image was.
    """
    check_links(folder, {*files, *sources})
    problems = []
    missing: dict[str, Any] = {}
    for file in _json_files(folder):
        name = file.relative_to(folder).as_posix()
        if name in files:
            if f'"{OWN}"'.encode() not in file.read_bytes():
                problems.append(f"{name!r} was not written by kpwidget")
        elif is_labelme(file):
            problems.append(f"{name!r} would stay there and be part of the dataset")
    for name, data in sources.items():
        target = folder / name
        if not os.path.lexists(target):
            missing[name] = data
        elif not isinstance(data, Path) or not (
            target.is_file() and filecmp.cmp(data, target, shallow=False)
        ):
            problems.append(f"{name!r} is there already, and another image")
    if problems:
        raise FileExistsError(
            f"{folder}: {count(len(problems), 'file')} in the way; give a new folder. Nothing was "
            "written:\n" + listed(problems)
        )
    return missing


def _shape(
    label: str, points: Any, group: int | None, kind: str, more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    given = more if isinstance(more, Mapping) else {}  # from a file, and so perhaps anything
    flags = given.get("flags")
    flags = flags if isinstance(flags, Mapping) else {}
    return {
        **_PLAIN, **given, "flags": {k: f for k, f in flags.items() if isinstance(f, bool)},
        "label": label, "points": points, "group_id": group, "shape_type": kind,
    }  # fmt: skip


def _content(
    dataset: Dataset, i: int, image_name: str, of: Sequence[Item], categories: list[Any]
) -> bytes:
    """Content of the file of an image; ImageError if its size is not known."""
    state = dataset._images[i]
    width, height = state.recorded_size or ImageInfo(dataset, i).size
    shapes: list[Any] = []
    instances: dict[str, Any] = {}
    for group, item in enumerate(of, 1):
        category = dataset.categories[item.category]
        record = item.kept(dataset)
        more = (record.get("extra") or {}).pop(KEY, None)
        more = more if isinstance(more, Mapping) else {}
        if not record.get("extra"):
            record.pop("extra", None)
        if item.bbox is not None:
            x, y, w, h = item.bbox
            corners = [[x, y], [x + w, y + h]]
            if (x + w - x, y + h - y) != (w, h):  # in floats the last digit may be another
                record["bbox"] = item.bbox
            shapes.append(_shape(category.name, corners, group, "rectangle", more.get("rectangle")))
        of_points = more.get("points")
        for name, (x, y, v) in zip(category.keypoints, item.points, strict=True):
            if not v:
                continue
            own = of_points.get(name) if isinstance(of_points, Mapping) else None
            shape = _shape(name, [[x, y]], group, "point", own)
            if v == 1:
                shape["flags"] = {**shape["flags"], _OCCLUDED: True}
            shapes.append(shape)
        instances[str(group)] = {"category": category.name, **record}
    extra = dict(ImageInfo(dataset, i).extra)
    kept = extra.pop(KEY, None)
    kept = dict(kept) if isinstance(kept, Mapping) else {}
    others = objects_in(kept.pop("shapes", None))
    image: dict[str, Any] = {"id": state.id}
    if state.is_done:
        image["is_done"] = True
    if extra:
        image["extra"] = extra
    return encoded(
        {
            "flags": {}, "imageData": None, **kept, "version": _VERSION,
            "shapes": [*shapes, *others], "imagePath": image_name,
            "imageHeight": height, "imageWidth": width,
            OWN: {"image": image, "categories": categories, "instances": instances},
        }
    )  # fmt: skip
