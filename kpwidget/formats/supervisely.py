"""Supervisely: a project with ``meta.json`` and one JSON file for each image.

Keypoints are the nodes of an object of the shape ``graph``, in whole pixels; a box is a rectangle
of its own that has the same binding key (``instance``). What else an image and its objects have is
kept in ``extra['supervisely']`` and written back.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from kpwidget._version import __version__
from kpwidget.dataset import Dataset, ImageInfo
from kpwidget.dataset.core import ImageState
from kpwidget.dataset.values import as_int
from kpwidget.formats import Loss, WriteReport, count, write_file
from kpwidget.formats.folders import (
    ImagesOption,
    check_folder,
    check_images_option,
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
    instances_by_image,
    load_json,
    number,
    objects_in,
    progress,
)
from kpwidget.formats.json_text import encoded
from kpwidget.formats.losses import LostKeypoints, lost_values
from kpwidget.images import ImageError, named
from kpwidget.schema import Category, FormatError, Schema, _show

__all__ = ["is_supervisely", "read_supervisely", "supervisely_losses", "write_supervisely"]

KEY: Final = "supervisely"
"""Of `extra` of the dataset, images and instances: what Supervisely has besides."""

_COLOR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_OF_OBJECT: Final = frozenset(("classTitle", "nodes", "geometryType", "shape", "instance"))
_OF_ANNOTATION: Final = frozenset(("size", "objects"))
_MAX_FOLDERS: Final = 10_000


def is_supervisely(path: Path) -> bool:
    """Whether this is the folder of a Supervisely project, or its ``meta.json``.

    Parameters
    ----------
    path : Path
    """
    meta = path / "meta.json" if path.is_dir() else path
    try:
        content = load_json(meta) if meta.name == "meta.json" else None
    except (OSError, FormatError):
        return False
    return isinstance(content, dict) and isinstance(content.get("classes"), list)


# --- reading ------------------------------------------------------------------------------------


def read_supervisely(
    path: str | os.PathLike[str],
    images: Any = None,
    *,
    on_error: OnError = "raise",
    allow_outside: bool = False,
) -> Dataset:
    """Dataset in a Supervisely project of images.

    Parameters
    ----------
    path : str or os.PathLike
        The project's folder, or its ``meta.json``.
    images : folder, list of folders, glob, list of paths, or mapping, optional
        See `kpwidget.read`. By default the project's folder.
    on_error : {'raise', 'skip'}
        See `kpwidget.read`. What is wrong with ``meta.json`` always raises.
    allow_outside : bool, default False
        See `kpwidget.read`.

    Returns
    -------
    Dataset
        A class of the shape ``graph`` is a category, an object of it an instance: a node is a
        visible keypoint, one that is disabled an occluded one, a missing one is unlabeled. A
        rectangle with the same ``instance`` is its bbox. Other objects, tags and classes are in
        ``extra['supervisely']`` of their image or of the dataset.

    Raises
    ------
    FormatError
        If a file is none of the format, or objects are bad, naming every one.
    FileNotFoundError
        If there is no such file or folder.
    """
    from tqdm.auto import tqdm

    path = Path(path)
    gathered = Gathered(path, on_error)
    root = path if path.is_dir() else path.parent
    meta = load_json(root / "meta.json")
    categories, nodes_of, others = _classes(meta, root / "meta.json", gathered)
    files = _annotation_files(root)
    for file in tqdm(files, desc="Reading labels", unit="file", delay=1.0, leave=False):
        _read_annotation(file, root, categories, nodes_of, gathered)
    dataset = gathered.dataset(categories, images, root / "x", allow_outside=allow_outside)
    kept = {key: value for key, value in meta.items() if key not in ("classes", "kpwidget")}
    kept = {key: value for key, value in {**kept, "classes": others}.items() if value}
    if kept:
        dataset.extra[KEY] = kept
    return dataset


def _annotation_files(root: Path) -> list[Path]:
    """Files of all datasets of a project, those within others too."""
    found: list[Path] = []
    for n, (folder, folders, files) in enumerate(os.walk(root)):
        if n > _MAX_FOLDERS:
            raise FormatError.from_problems(
                os.fspath(root), [f"has more than {_MAX_FOLDERS} folders; pass that of one project"]
            )
        folders.sort()
        if os.path.basename(folder) == "ann":
            found += [Path(folder, name) for name in sorted(files) if name.endswith(".json")]
    return found


def _classes(
    meta: Any, path: Path, gathered: Gathered
) -> tuple[list[Category], list[dict[str, int]], list[Any]]:
    """Categories, for each the positions of its nodes by their keys, and the other classes."""
    where = os.fspath(path)
    if not (isinstance(meta, dict) and isinstance(meta.get("classes"), list)):
        raise FormatError.from_problems(
            where, ["is no meta.json of Supervisely: expected an object with a list 'classes'"]
        )
    problems: list[str] = []
    categories: list[Category] = []
    nodes_of: list[dict[str, int]] = []
    others: list[Any] = []
    for number_, item in enumerate(meta["classes"]):
        title = item.get("title") if isinstance(item, dict) else None
        if not isinstance(title, str) or not title.strip():
            problems.append(f"class number {number_ + 1} has the title {_show(title)}")
        elif item.get("shape") != "graph":
            others.append(item)
        else:
            try:
                schema, nodes = _schema(title, item.get("geometry_config"), gathered)
            except FormatError as error:
                problems += [f"class {_show(title)}: {problem}" for problem in error.problems]
                continue
            known = ("title", "shape", "geometry_config")
            extra = {key: value for key, value in item.items() if key not in known}
            categories.append(
                Category(len(categories) + 1, schema, title, None, {KEY: extra} if extra else {})
            )
            nodes_of.append(nodes)
    repeated = sorted(
        {c.name for c in categories if [d.name for d in categories].count(c.name) > 1}
    )
    problems += [f"the class {_show(name)} is given more than once" for name in repeated]
    if not categories and not problems:
        problems.append("has no class of keypoints (shape 'graph')")
    if problems:
        raise FormatError.from_problems(where, problems)
    # A class of boxes that the writer makes anew.
    made = {f"{category.name}_bbox" for category in categories}
    others = [item for item in others if item.get("title") not in made]
    return categories, nodes_of, others


def _schema(title: str, config: Any, gathered: Gathered) -> tuple[Schema, dict[str, int]]:
    nodes = config.get("nodes") if isinstance(config, dict) else None
    if not isinstance(nodes, dict) or not all(isinstance(node, dict) for node in nodes.values()):
        raise FormatError.from_problems(
            "'geometry_config'", [f"'nodes' is {_show(nodes)}, expected an object of nodes"]
        )
    # The keys are labels if the SDK made them, and made-up ids if the web page did.
    labels = [node.get("label") for node in nodes.values()]
    has_labels = all(isinstance(label, str) and label.strip() for label in labels)
    names = labels if has_labels and len(set(labels)) == len(labels) else list(nodes)
    place = {key: k for k, key in enumerate(nodes)}
    edges, wrong = [], []
    given = config.get("edges") or []
    if not isinstance(given, list):
        raise FormatError.from_problems(
            "'geometry_config'", [f"'edges' is {_show(given)}, expected a list"]
        )
    for edge in given:
        ends = [edge.get("src"), edge.get("dst")] if isinstance(edge, dict) else []
        if len(ends) == 2 and all(isinstance(e, str) and e in place for e in ends):
            edges.append([place[ends[0]] + 1, place[ends[1]] + 1])
        else:
            wrong.append(edge)
    if wrong:
        gathered.warnings.append(
            f"class {_show(title)}: {count(len(wrong), 'edge')} left out, such as "
            f"{_show(wrong[0])}: expected 'src' and 'dst', two nodes"
        )
    colors = [node.get("color") for node in nodes.values()]
    # The SDK gives all the same if none is asked for, which tells nothing apart.
    has_colors = len(set(map(str, colors))) > 1 and all(
        isinstance(color, str) and _COLOR.fullmatch(color) for color in colors
    )
    layout = _figure([node.get("loc") for node in nodes.values()])
    return Schema(title, names, edges, colors=colors if has_colors else None, layout=layout), place


def _figure(places: Sequence[Any]) -> list[list[float]] | None:
    """Return where the nodes of a template are in its square, of 100 or as large as they need.

    None if that is not said of all of them, or they are all in one place.
    """
    pairs = []
    for place in places:
        parts = [number(p) for p in place] if isinstance(place, list) and len(place) == 2 else []
        xy = [part for part in parts if part is not None and part >= 0]
        if len(xy) != 2:
            return None
        pairs.append(xy)
    if all(xy == pairs[0] for xy in pairs):
        return None
    side = max(100.0, *map(max, pairs))
    return [[x / side, y / side] for x, y in pairs]


def _read_annotation(
    file: Path,
    root: Path,
    categories: Sequence[Category],
    nodes_of: Sequence[Mapping[str, int]],
    gathered: Gathered,
) -> None:
    relative = file.relative_to(root)
    where = named(relative.as_posix())
    problems = gathered.problems
    if file.name == ".json":
        problems.append(f"{where}: expected the name of an image before '.json'")
        return
    try:
        content = load_json(file)
    except FormatError as error:
        problems.extend(problem.replace(os.fspath(file), where) for problem in error.problems)
        return
    objects = content.get("objects") if isinstance(content, dict) else None
    if not isinstance(objects, list):
        problems.append(f"{where}: is no annotation: expected an object with a list 'objects'")
        return
    given = content.get("size")
    sides = (
        [as_int(given.get(key)) for key in ("width", "height")] if isinstance(given, dict) else []
    )
    if len(sides) != 2 or any(side is None or not 0 < side <= 1_000_000 for side in sides):
        problems.append(f"{where}: 'size' is {_show(given)}, expected width and height in pixels")
        return
    boxes: dict[str, tuple[list[float], Any]] = {}
    graphs: list[tuple[int, int, Any]] = []
    others: list[Any] = []
    index = {category.name: c for c, category in enumerate(categories)}
    for i, item in enumerate(objects):
        kind = item.get("geometryType", item.get("shape")) if isinstance(item, dict) else None
        title = item.get("classTitle") if isinstance(item, dict) else None
        key = item.get("instance") if isinstance(item, dict) else None
        if kind == "graph" and isinstance(title, str) and title in index:
            graphs.append((i, index[title], item))
        elif kind == "graph":
            problems.append(f"{where}: object {i + 1} has the class {_show(title)}, which "
                            "meta.json has not")  # fmt: skip
        elif kind == "rectangle" and isinstance(key, str) and key not in boxes:
            box = _box(item)
            if box is None:
                problems.append(
                    f"{where}: object {i + 1}: 'points' is {_show(item.get('points'))}, expected "
                    "an 'exterior' of two corners"
                )
            else:
                boxes[key] = (box, item)
        elif isinstance(item, dict):
            others.append(item)
        else:
            problems.append(f"{where}: object {i + 1} is {_show(item)}, expected an object")
    kept = {key: value for key, value in content.items() if key not in _OF_ANNOTATION and value}
    used: set[str] = set()
    found = []
    for i, c, item in graphs:
        points = _points(f"{where}: object {i + 1}", item, categories[c], nodes_of[c], gathered)
        if points is None:
            continue
        key = item.get("instance")
        extra = {k: v for k, v in item.items() if k not in _OF_OBJECT and v not in ("", [], False)}
        columns: dict[str, Any] = {}
        if isinstance(key, str) and key in boxes and key not in used:
            used.add(key)
            box, rectangle = boxes[key]
            columns["bbox"] = box
            if rectangle.get("classTitle") != f"{categories[c].name}_bbox":
                extra["bbox"] = rectangle
        if extra:
            columns["extra"] = {KEY: extra}
        found.append((f"supervisely:{relative.as_posix()}:{i + 1}", c, points, columns))
    others += [item for key, (_, item) in boxes.items() if key not in used]
    if others:
        kept["objects"] = others
    name = (relative.parent.parent / "img" / file.name[: -len(".json")]).as_posix()
    image = gathered.image(
        name, (sides[0] or 0, sides[1] or 0), extra={KEY: kept} if kept else None
    )
    for uid, c, points, columns in found:
        gathered.instance(uid, image, c, points, **columns)


def _box(item: Mapping[str, Any]) -> list[float] | None:
    points = item.get("points")
    corners = points.get("exterior") if isinstance(points, dict) else None
    if not (isinstance(corners, list) and len(corners) == 2):
        return None
    xy = [number(value) for c in corners if isinstance(c, list) and len(c) == 2 for value in c]
    if len(xy) != 4 or None in xy:
        return None
    (x0, x1), (y0, y1) = sorted((xy[0] or 0, xy[2] or 0)), sorted((xy[1] or 0, xy[3] or 0))
    return [x0, y0, x1 - x0, y1 - y0]


def _points(
    at: str,
    item: Mapping[str, Any],
    category: Category,
    nodes: Mapping[str, int],
    gathered: Gathered,
) -> dict[str, tuple[float, float, float]] | None:
    """Keypoints of an object by their names, None (and a problem) if they are bad."""
    given = item.get("nodes")
    if not isinstance(given, dict):
        gathered.problems.append(f"{at}: 'nodes' is {_show(given)}, expected an object of nodes")
        return None
    points: dict[str, tuple[float, float, float]] = {}
    is_good = True
    for key, node in given.items():
        loc = node.get("loc") if isinstance(node, dict) else None
        is_disabled = node.get("disabled", False) if isinstance(node, dict) else False
        xy = [number(v) for v in loc] if isinstance(loc, list) else []
        if key not in nodes:
            gathered.problems.append(
                f"{at}: the node {_show(key)} is none of class {_show(category.name)}"
            )
        elif len(xy) != 2 or xy[0] is None or xy[1] is None:
            gathered.problems.append(
                f"{at}: node {_show(key)} has 'loc' {_show(loc)}, expected [x, y] in pixels"
            )
        elif not isinstance(is_disabled, bool | None):
            gathered.problems.append(
                f"{at}: node {_show(key)} has 'disabled' {_show(is_disabled)}, expected true or "
                "false"
            )
        else:
            name = category.keypoints[nodes[key]]
            points[name] = (xy[0], xy[1], 1.0 if is_disabled else 2.0)
            continue
        is_good = False
    return points if is_good else None


# --- writing ------------------------------------------------------------------------------------

_KEPT: Final = frozenset(("occluded", "image sizes", "bbox", "skeletons", "colors"))


def supervisely_losses(dataset: Dataset, *, images: ImagesOption = "copy") -> list[Loss]:
    """What a Supervisely project has no place for.

    Parameters
    ----------
    dataset : Dataset
    images
        As of `write_supervisely`.

    Returns
    -------
    list of Loss
    """
    check_images_option(images)
    with dataset.lock:
        table = dataset._table
        rows = np.asarray(table.live_rows(), np.int64)
        of = table.column("category", rows)
        lost = LostKeypoints(dataset)
        for c, category in enumerate(dataset.categories):
            chosen = rows[of == c]
            raw = table.raw_keypoints_of(c, chosen)
            lost.add(
                (raw[..., 2] != 0) & (raw[..., :2] % 1 != 0).any(axis=-1), chosen, category,
                "coordinates", "would be rounded down to whole pixels",
            )  # fmt: skip
        losses = lost.losses()
        bbox = table.column("bbox", rows)
        n = int(np.count_nonzero((bbox % 1 > 0).any(axis=1)))
        if n:
            text = f"the bbox of {count(n, 'instance')} would be rounded to whole pixels"
            losses.append(Loss("bbox", n, text))
        losses += lost_values(dataset, _KEPT, kept_fields=(KEY,))
        losses += _lost_order(dataset)
        return losses if images == "leave" else [*losses, *lost_pixels(dataset)]


def _lost_order(dataset: Dataset) -> list[Loss]:
    names = new_names(dataset, _new_name, [])
    places = [name.rpartition("/img/") for name in names]
    # As the reader walks over the folders.
    read = sorted((*head.split("/"), "ann", f"{base}.json") for head, _, base in places)
    written = [(*head.split("/"), "ann", f"{base}.json") for head, _, base in places]
    n = sum(one != other for one, other in zip(read, written, strict=True))
    if not n:
        return []
    text = f"the order of {count(n, 'image')}, which is that of their names, and so their ids"
    return [Loss("images", n, text)]


def write_supervisely(
    dataset: Dataset, path: str | os.PathLike[str], *, images: ImagesOption = "copy"
) -> WriteReport:
    """Write a dataset as a Supervisely project of images.

    Parameters
    ----------
    dataset : Dataset
    path : str or os.PathLike
        The folder: made if it is missing; else it must be empty or a project written here before.
        ``meta.json`` is written last and in one go.
    images : {'copy', 'link', 'leave'}
        Copy the image files to ``<dataset>/img/``; make links there; or write labels only.

    Returns
    -------
    WriteReport
        With notes on what was mapped.

    Raises
    ------
    FileExistsError
        If the folder holds something else, or files of an earlier write that would stay.
    ValueError
        Naming every image whose name is no good here, whose file is missing or whose size is not
        known.

    Notes
    -----
    Supervisely has whole pixels: coordinates are rounded down, as its SDK does with what is in a
    file (``PointLocation``), corners of boxes to the nearest. Supervisely's own YOLO export (SDK
    6.74) puts nodes after one that is missing in its place; the report counts such instances.
    """
    check_images_option(images)
    folder = Path(path)
    notes: list[str] = []
    with dataset.lock:
        if not dataset.categories:
            raise ValueError(f"{folder}: the dataset has no categories; Supervisely needs one")
        names = new_names(dataset, _new_name, notes)
        sources = image_sources(dataset, names, images)
        sizes = _sizes(dataset, folder)
        files: dict[str, bytes] = {}
        n_gaps = n_instances = 0
        for i, of in enumerate(progress(instances_by_image(dataset), "writing instances", "image")):
            head, _, base = names[i].rpartition("/img/")
            objects = [part for item in of for part in _objects(dataset, item)]
            content = _annotation(dataset._images[i], sizes[i], objects)
            files[f"{head}/ann/{base}.json"] = content
            n_instances += len(of)
            n_gaps += sum(_has_gap(item) for item in of)
        meta = _meta(dataset)
        n_images = len(dataset.images)
    if n_gaps:
        notes.append(
            f"{count(n_gaps, 'instance')} with an unlabeled keypoint before a labeled one, which "
            "Supervisely's own export to YOLO puts in its place (seen in SDK 6.74)"
        )
    check_folder(folder, {*names, *files, "meta.json"}, "Supervisely", _is_ours, _is_part)
    write_images(folder, sources, images)
    write_files(folder, files, is_new=not (folder / "meta.json").exists())
    write_file(folder / "meta.json", [json.dumps(meta, indent=1).encode()])
    return WriteReport(folder, "supervisely", n_images, n_instances, 0, tuple(notes))


def _is_ours(folder: Path) -> bool:
    try:
        return "kpwidget" in load_json(folder / "meta.json")
    except (OSError, FormatError, TypeError):
        return False


def _is_part(name: str) -> bool:
    return "/ann/" in name or "/img/" in name


def _new_name(parts: list[str]) -> str:
    if len(parts) > 2 and parts[-2] == "img" and "ann" not in parts:
        return "/".join(parts)
    parts = [part for part in parts if part not in ("img", "ann")]
    return "/".join([*(parts[:-1] or ["ds0"]), "img", parts[-1]])


def _sizes(dataset: Dataset, folder: Path) -> list[tuple[int, int]]:
    sizes, problems = [], []
    for i, state in enumerate(dataset._images):
        try:
            sizes.append(state.recorded_size or ImageInfo(dataset, i).size)
        except ImageError as error:
            problems.append(str(error))
    if problems:
        raise ValueError(
            f"{folder}: Supervisely files have the size of the image, and it is not known of "
            f"{count(len(problems), 'image')}:\n" + listed(problems)
        )
    return sizes


def _has_gap(item: Item) -> bool:
    labels = [v != 0 for _, _, v in item.points]
    return False in labels and True in labels[labels.index(False) :]


def _objects(dataset: Dataset, item: Item) -> list[dict[str, Any]]:
    """Return the graph of an instance, and the rectangle if it was given a bbox."""
    category = dataset.categories[item.category]
    nodes: dict[str, Any] = {}
    for name, (x, y, v) in zip(category.keypoints, item.points, strict=True):
        if v:
            nodes[name] = {"loc": [math.floor(x), math.floor(y)]}
            if v == 1:
                nodes[name]["disabled"] = True
    key = hashlib.md5(item.uid.encode(), usedforsecurity=False).hexdigest()
    extra = dataset._table.value(item.row, "extra")
    given = extra.get(KEY) if isinstance(extra, Mapping) else None
    kept = dict(given) if isinstance(given, Mapping) else {}
    rectangle = kept.pop("bbox", None)
    common = {"description": "", "tags": [], "nnCreated": False, "nnUpdated": False, **kept}
    found = [
        {
            **common, "classTitle": category.name, "nodes": nodes, "geometryType": "graph",
            "shape": "graph", "instance": key,
        }
    ]  # fmt: skip
    if item.bbox is not None:
        x, y, width, height = item.bbox
        corners = [[round(x), round(y)], [round(x + width), round(y + height)]]
        is_own = isinstance(rectangle, Mapping)
        plain = {"description": "", "tags": [], "nnCreated": False, "nnUpdated": False}
        found.append(
            {
                **(rectangle if is_own else {**plain, "classTitle": f"{category.name}_bbox"}),
                "points": {"exterior": corners, "interior": []},
                "geometryType": "rectangle", "shape": "rectangle", "instance": key,
            }
        )  # fmt: skip
    return found


def _annotation(state: ImageState, size: tuple[int, int], objects: list[dict[str, Any]]) -> bytes:
    given = None if state.text is not None else (state.extra or {}).get(KEY)
    kept = dict(given) if isinstance(given, Mapping) else {}
    others = objects_in(kept.pop("objects", None))
    return encoded(
        {
            "description": "", "tags": [], "customBigData": {}, **kept,
            "size": {"height": size[1], "width": size[0]},
            "objects": [*objects, *others],
        }
    )  # fmt: skip


def _meta(dataset: Dataset) -> dict[str, Any]:
    given = dataset.extra.get(KEY)
    kept = dict(given) if isinstance(given, Mapping) else {}
    others = objects_in(kept.pop("classes", None))
    bbox = dataset._table.column("bbox", dataset._table.live_rows())
    of = dataset._table.column("category", dataset._table.live_rows())
    boxed = set(of[~np.isnan(bbox[:, 0])].tolist())
    classes = []
    for c, category in enumerate(dataset.categories):
        schema = category.schema
        colors = schema._parts.colors or ["#0000FF"] * schema.n_keypoints  # that of the SDK
        extra = category.extra.get(KEY)
        classes.append(
            {
                "description": "", "color": "#208A0F", "hotkey": "",
                **(extra if isinstance(extra, Mapping) else {}),
                "title": category.name,
                "shape": "graph",
                "geometry_config": {
                    "nodes": {
                        name: {"label": name, "loc": list(xy), "color": color.upper()}
                        for name, xy, color in zip(
                            schema.keypoints, _layout(schema), colors, strict=True
                        )
                    },
                    "edges": [
                        {"src": schema.keypoints[a], "dst": schema.keypoints[b], "color": "#00FF00"}
                        for a, b in schema.edges.tolist()
                    ],
                },
            }
        )  # fmt: skip
        if c in boxed:
            classes.append(
                {
                    "title": f"{category.name}_bbox", "description": "", "shape": "rectangle",
                    "color": "#8A0F7E", "geometry_config": {}, "hotkey": "",
                }
            )  # fmt: skip
    return {"tags": [], **kept, "classes": [*classes, *others], "kpwidget": __version__}


def _layout(schema: Schema) -> list[tuple[int, int]]:
    """Where the nodes of the template are drawn: in a square of 100, on a circle without layout."""
    if schema.layout is not None:
        return [(round(100 * x), round(100 * y)) for x, y in schema.layout.tolist()]
    angles = [2 * math.pi * k / schema.n_keypoints for k in range(schema.n_keypoints)]
    return [(round(50 + 40 * math.sin(a)), round(50 - 40 * math.cos(a))) for a in angles]
