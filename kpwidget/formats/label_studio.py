"""Label Studio: `read_label_studio` and `write_label_studio`, a list of tasks in JSON.

A rectangle with the label of a category is an instance, the keypoints that have it as their parent
(``parentID``, or a relation) are its keypoints. Places are percent of the image's size. Label
Studio has no visibility: a choice, visible or occluded, of each keypoint's region says it here.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from kpwidget.dataset import Dataset
from kpwidget.dataset.core import ImageState
from kpwidget.dataset.image_files import image_locator
from kpwidget.dataset.values import MAX_COORDINATE, as_float, as_int
from kpwidget.formats import Problems, check_told, count, keypoints_of, settle, with_schemas
from kpwidget.formats.json_text import check_depth
from kpwidget.formats.label_studio_config import OCCLUDED, VISIBLE, Config, read_config
from kpwidget.formats.label_studio_write import (
    CONFIG_NAME,
    KEPT,
    SIZE,
    difference,
    items_of,
    label_studio_losses,
    main_annotation,
    pixels,
    write_label_studio,
)
from kpwidget.schema import Category, FormatError, Schema, _decode, _parse_json, _show

__all__ = [
    "is_label_studio",
    "label_studio_losses",
    "read_label_studio",
    "write_label_studio",
]

_LOOK: Final = 1 << 16


def is_label_studio(path: Path) -> bool:
    """Whether a file is a JSON list whose first or last entries have data and annotations.

    Parameters
    ----------
    path : Path
    """
    with open(path, "rb") as file:
        head = file.read(_LOOK).lstrip()
        file.seek(max(0, path.stat().st_size - _LOOK))
        tail = file.read(_LOOK)
    keys = (b'"annotations"', b'"predictions"', b'"completions"')
    # Label Studio writes 'data' behind the annotations of a task, of which there may be many.
    has_data = b'"data"' in head or b'"data"' in tail
    return head[:1] == b"[" and has_data and any(key in head for key in keys)


def read_label_studio(
    path: str | os.PathLike[str],
    images: Any = None,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    allow_outside: bool = False,
    schema: Schema | Mapping[str, Schema] | None = None,
    config: str | os.PathLike[str] | None = None,
    annotations: Literal["newest", "all"] = "newest",
    predictions: bool = False,
) -> Dataset:
    """Dataset in a file of Label Studio's tasks.

    Parameters
    ----------
    path : str or os.PathLike
        The JSON file, as exported ("JSON", not "JSON-MIN").
    images : folder, list of folders, glob, list of paths, or mapping, optional
        See `kpwidget.read`.
    on_error : {'raise', 'skip'}
        See `kpwidget.read`.
    allow_outside : bool, default False
        See `kpwidget.read`.
    schema : Schema or mapping of str to Schema, optional
        Skeleton, flip pairs and order for the keypoints, which Label Studio lacks: one for all
        categories, or by their name. It has to have the same keypoints.
    config : str or os.PathLike, optional
        File of the labeling config. By default ``label_config.xml`` beside the file; if there is
        none, categories and keypoints are those that come, in their order.
    annotations : {'newest', 'all'}
        Of tasks with several annotations the newest that was not cancelled, or every one of these.
    predictions : bool, default False
        Read the predictions (the newest of each task) in place of annotations.

    Returns
    -------
    Dataset
        The image of a task has its id, and as file name what ``d=`` says of a local file, else the
        path. An instance has the uid ``ls:<task>:<annotation>:<region>``, the annotator that
        completed it, and for predictions its score, that of its points in
        ``extra['keypoint_scores']`` and the source ``model:<version>``. What is not read is in
        ``extra['label_studio']`` of image and instance, and written again.

    Raises
    ------
    FormatError
        If the file is no such list or records are bad, naming every one.
    ValueError
        If `schema` has other keypoints.

    Warns
    -----
    UserWarning
        If there is no config, tasks have several annotations, there are other regions or records
        were skipped.
    """
    if annotations not in ("newest", "all"):
        raise ValueError(f"annotations is 'newest' or 'all', not {annotations!r}")
    where = os.fspath(path)
    data = Path(path).read_bytes()
    check_depth(data, where)
    tasks = _parse_json(_decode(data, where), where)
    if not isinstance(tasks, list):
        raise FormatError.from_problems(
            where, [f"not a file of Label Studio: expected a list, got {type(tasks).__name__}"]
        )
    found = Path(path).with_name(CONFIG_NAME) if config is None else Path(config)
    controls = None
    if config is not None or found.is_file():
        text = _decode(found.read_bytes(), os.fspath(found))
        controls = read_config(text, os.fspath(found))
    reader = _Reader(where, controls, predictions, annotations == "all")
    reader.read(tasks)
    dataset = reader.dataset(schema)
    locate = image_locator(Path(path).parent if images is None else images, allow_outside)
    for state in dataset._images:
        state.data = locate(state.file_name)
    return settle(dataset, where, reader.problems, reader.warned(), on_error)


@dataclass(slots=True)
class _Object:
    """A rectangle with its keypoints, or keypoints without one."""

    where: str
    uid: str
    image: int
    label: str
    size: tuple[int, int]
    bbox: tuple[float, ...] | None = None
    score: float | None = None
    annotator: str | None = None
    source: str = "imported"
    rectangle: Mapping[str, Any] | None = None
    points: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    regions: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # items: point, its choice
    annotation: int | None = None


class _Reader:
    """Reads the tasks, and collects what is wrong."""

    def __init__(self, where: str, config: Config | None, predictions: bool, is_all: bool) -> None:
        self.where = where
        self.problems = Problems()
        self._config = config
        self._list = "predictions" if predictions else "annotations"
        self._is_all = is_all
        self._states: dict[int, ImageState] = {}
        self._objects: list[_Object] = []
        self._uids: set[str] = set()
        self._n_of_uid: Counter[str] = Counter()
        self._others: Counter[str] = Counter()
        self._n_several = 0
        self._value = "image" if config is None else config.value

    def read(self, tasks: Sequence[Any]) -> None:
        """Take all tasks."""
        from tqdm.auto import tqdm

        bar = tqdm(tasks, "reading annotations", unit="task", delay=1.0, leave=False)
        for position, task in enumerate(bar):
            where = f"task {position + 1}"
            if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
                self.problems.append(f"{where}: expected an object with 'data', got {_show(task)}")
                continue
            number = as_int(task.get("id", position + 1))
            if number is None or number in self._states or abs(number) >= 2**63:
                self.problems.append(
                    f"{where}: 'id' is {_show(task.get('id'))}, expected an integer of its own"
                )
                continue
            self._task(task, number, f"task {number}")

    def _task(self, task: Mapping[str, Any], number: int, where: str) -> None:
        name = _file_name(task["data"].get(self._value))
        if name is None:
            self.problems.append(
                f"{where}: data[{_show(self._value)}] is {_show(task['data'].get(self._value))}, "
                "expected where its image is"
            )
            return
        kept = {key: value for key, value in task.items() if key != "id"}
        if "completions" in kept and "annotations" not in kept:  # before Label Studio 1.0
            kept["annotations"] = kept.pop("completions")
        for key in ("annotations", "predictions"):
            listed = kept.setdefault(key, [])
            if not isinstance(listed, list) or not all(
                isinstance(a, dict) and isinstance(a.get("result") or [], list) for a in listed
            ):
                self.problems.append(
                    f"{where}: {key!r} is {_show(listed)}, expected objects with a list 'result'"
                )
                return
        chosen = main_annotation(kept[self._list])
        size = task["data"].get(SIZE)
        if size is not None and not _is_size(size):
            self.problems.append(
                f"{where}: data[{SIZE!r}] is {_show(size)}, expected width and height in pixels"
            )
            return
        state = ImageState(number, name, None, recorded_size=tuple(size) if size else None)
        self._states[number] = state
        usable = [k for k, a in enumerate(kept[self._list]) if not a.get("was_cancelled")]
        self._n_several += len(usable) > 1 and self._list == "annotations"
        kept[self._list] = list(kept[self._list])
        for k in usable if self._is_all else [chosen]:
            if k is None:
                continue
            annotation = kept[self._list][k]
            place = f"{where}: {_of(annotation, k)}"
            objects, others = self._annotation(annotation, state, number, place)
            kept[self._list][k] = {**annotation, "result": others}
            for thing in objects:
                if k != chosen:
                    thing.annotation = k
                self._objects.append(thing)
            if not objects and not others and self._list == "annotations":
                state.is_done = True
        state.extra = {KEPT: kept}

    def _annotation(
        self, annotation: Mapping[str, Any], state: ImageState, number: int, where: str
    ) -> tuple[list[_Object], list[Any]]:
        """Instances of an annotation, and the items of its result that are no part of them."""
        result = annotation.get("result")
        if not isinstance(result, list) or not all(isinstance(item, dict) for item in result):
            self.problems.append(
                f"{where}: 'result' is {_show(result)}, expected a list of objects"
            )
            return [], []
        objects: dict[str, _Object] = {}
        points: list[Mapping[str, Any]] = []
        choices: dict[str, Mapping[str, Any]] = {}
        parents: dict[str, str] = {}
        others: list[Any] = []
        rectangles = {i["id"] for i in result if _is_region(i, "rectanglelabels")}
        for item in result:
            kind, region = item.get("type"), item.get("id")
            if kind == "relation":
                ends = (item.get("from_id"), item.get("to_id"))
                # Others, of two keypoints for instance, say nothing of instances.
                if all(isinstance(end, str) for end in ends) and ends[1] in rectangles:
                    parents.setdefault(str(ends[0]), str(ends[1]))
                others.append(item)
            elif _is_region(item, "rectanglelabels"):
                thing = self._rectangle(item, annotation, state, number, where)
                if thing is not None and region in objects:
                    self.problems.append(f"{thing.where}: the region is there twice")
                elif thing is not None:
                    objects[region] = thing
            elif _is_region(item, "keypointlabels"):
                points.append(item)
            elif _is_region(item, "choices") and _choice(item) is not None:
                if region in choices:
                    self.problems.append(
                        f"{where}, region {_show(region)}: has a second choice of visibility, "
                        "expected one"
                    )
                choices[region] = item
            else:
                self._others[str(kind)[:40]] += 1
                others.append(item)
        self._points(points, choices, parents, objects, annotation, state, number, where)
        known = {region for thing in objects.values() for region in thing.regions}
        others += [item for region, item in choices.items() if region not in known]
        return list(objects.values()), others

    def _object(
        self, annotation: Mapping[str, Any], number: int, region: str, label: str,
        size: tuple[int, int], where: str,
    ) -> _Object:  # fmt: skip
        told = f"ls:{number}:{annotation.get('id', 0)}:{region}"
        uid = told
        while uid in self._uids:  # as that of a copied annotation
            self._n_of_uid[told] += 1
            uid = f"{told}#{self._n_of_uid[told]}"
        self._uids.add(uid)
        thing = _Object(where, uid, number, label, size)
        if self._list == "predictions":
            thing.source = f"model:{annotation.get('model_version', '')}"
            thing.score = as_float(annotation.get("score"))
        who = annotation.get("completed_by")
        who = who.get("email", who.get("id")) if isinstance(who, dict) else who
        thing.annotator = None if who is None else str(who)
        return thing

    def _rectangle(
        self, item: Mapping[str, Any], annotation: Mapping[str, Any], state: ImageState,
        number: int, where: str,
    ) -> _Object | None:  # fmt: skip
        region = item["id"]
        where = f"{where}, region {_show(region)}"
        size, label = self._size(item, state, where), self._label(item, "rectanglelabels", where)
        if size is None or label is None:
            return None
        thing = self._object(annotation, number, region, label, size, where)
        thing.rectangle = item
        value = item["value"]
        numbers = [as_float(value.get(key)) for key in ("x", "y", "width", "height")]
        box = [n for n in numbers if n is not None]
        scale = (*size, *size)
        bbox = tuple(pixels(n, side) for n, side in zip(box, scale, strict=False))
        if len(bbox) < 4 or max(map(abs, bbox)) > MAX_COORDINATE or min(bbox[2:]) < 0:
            self.problems.append(
                f"{where}: x, y, width, height are {_show(numbers)}, expected percent of the "
                "image's size, not below 0 for the last two"
            )
            return None
        if value.get("rotation", 0) == 0:
            thing.bbox = bbox
        score = as_float(item.get("score"))
        thing.score = thing.score if score is None else score
        if thing.score is not None and not math.isfinite(thing.score):
            thing.score = None
        return thing

    def _points(
        self,
        items: Sequence[Mapping[str, Any]],
        choices: Mapping[str, Mapping[str, Any]],
        parents: Mapping[str, str],
        objects: dict[str, _Object],
        annotation: Mapping[str, Any],
        state: ImageState,
        number: int,
        where: str,
    ) -> None:
        """Give keypoints to their rectangles; those without one are an instance together."""
        for item in items:
            region = item["id"]
            place = f"{where}, region {_show(region)}"
            size, name = self._size(item, state, place), self._label(item, "keypointlabels", place)
            if size is None or name is None:
                continue
            xy = [as_float(item["value"].get(key)) for key in ("x", "y")]
            if xy[0] is None or xy[1] is None or max(map(abs, map(float, xy))) > MAX_COORDINATE:  # type: ignore[arg-type]
                self.problems.append(f"{place}: x, y are {_show(xy)}, expected percent")
                continue
            parent = item.get("parentID") or parents.get(region)
            thing = objects.get(parent) if isinstance(parent, str) else None
            if thing is None and parent is not None:
                self.problems.append(
                    f"{place}: its parent {_show(parent)} is no rectangle that can be used"
                )
                continue
            if thing is None:
                label = self._only_category()
                if label is None:
                    self.problems.append(
                        f"{place}: has no parent, expected the rectangle of its instance "
                        "('parentID', or a relation), for there are several categories"
                    )
                    continue
                thing = objects.get("")
                if thing is None:
                    thing = self._object(annotation, number, "", label, size, where)
                    objects[""] = thing
            if region in thing.regions:
                self.problems.append(f"{place}: the region is there twice")
                continue
            if name in thing.points:
                self.problems.append(
                    f"{place}: keypoint {_show(name)} is there twice, expected each once in its "
                    "rectangle"
                )
                continue
            choice = choices.get(region)
            visibility = 1 if choice is not None and _choice(choice) == OCCLUDED else 2
            thing.points[name] = (pixels(xy[0], size[0]), pixels(xy[1], size[1]), visibility)
            thing.regions[region] = (item, choice)

    def _only_category(self) -> str | None:
        """Category of keypoints without a rectangle."""
        if self._config is None:
            return "keypoints"
        return next(iter(self._config.names)) if len(self._config.names) == 1 else None

    def _size(
        self, item: Mapping[str, Any], state: ImageState, where: str
    ) -> tuple[int, int] | None:
        """Size of the image that a region says; what is wrong is added."""
        width, height = (as_int(item.get(f"original_{side}")) for side in ("width", "height"))
        rotation = item.get("image_rotation", 0)
        problem = ""
        if width is None or height is None or not _is_size([width, height]):
            got = f"{_show(item.get('original_width'))} x {_show(item.get('original_height'))}"
            problem = f"the image is {got} px ('original_width', 'original_height'), expected two "
            problem += "whole numbers above 0"
        elif rotation != 0:
            problem = f"'image_rotation' is {_show(rotation)}, expected 0: turn the image itself"
        elif state.recorded_size not in (None, (width, height)):
            problem = f"the image is {width} x {height} px, and {state.recorded_size} before"
        elif not isinstance(item.get("value"), dict):
            problem = f"'value' is {_show(item.get('value'))}, expected an object"
        if problem or width is None or height is None:
            self.problems.append(f"{where}: {problem}")
            return None
        state.recorded_size = (width, height)
        return width, height

    def _label(self, item: Mapping[str, Any], key: str, where: str) -> str | None:
        value = item.get("value")
        labels = value.get(key) if isinstance(value, dict) else None
        if isinstance(labels, list) and len(labels) == 1 and isinstance(labels[0], str):
            return labels[0]
        self.problems.append(f"{where}: {key!r} is {_show(labels)}, expected one label")
        return None

    # --- what comes out ---

    def warned(self) -> Iterator[str]:
        """Yield what a user should know."""
        if self._config is None:
            yield (
                f"there is no labeling config ({CONFIG_NAME}, or config=): categories and "
                "keypoints are in the order in which they come"
            )
        if self._n_several and not self._is_all:
            yield (
                f"{count(self._n_several, 'task')} with several annotations: the newest that was "
                "not cancelled is read; annotations='all' reads them all"
            )
        n_rotated = sum(o.rectangle is not None and o.bbox is None for o in self._objects)
        if n_rotated:
            yield f"{count(n_rotated, 'turned rectangle')}, which is kept and makes no bbox"
        if self._others:
            kinds = ", ".join(f"{n:,} {_show(kind)}" for kind, n in self._others.most_common(10))
            yield (
                f"{count(sum(self._others.values()), 'item')} besides keypoints and rectangles "
                f"({kinds}): kept for writing, and not shown"
            )

    def dataset(self, schema: Schema | Mapping[str, Schema] | None) -> Dataset:
        """Return what was read."""
        categories = with_schemas(self._categories(), schema, self.where)
        dataset = Dataset(categories)
        if self._config is not None:
            dataset.extra[KEPT] = {"config": self._config.text}
        for state in self._states.values():
            dataset._add_image(state)
        dataset._n_done = sum(state.is_done for state in dataset._images)
        place = {number: i for i, number in enumerate(self._states)}
        index = {category.name: i for i, category in enumerate(categories)}
        objects = [o for o in self._objects if self._fits(o, index, categories)]
        n = len(objects)
        n_keypoints = sum(categories[index[o.label]].n_keypoints for o in objects)
        check_told(n_keypoints, sum(len(o.points) for o in objects), self.where)
        extra, annotator, source = np.empty((3, n), object)
        extra[:] = [self._extra(o, categories[index[o.label]]) for o in objects]
        annotator[:] = [o.annotator for o in objects]
        source[:] = [o.source for o in objects]
        category = np.array([index[o.label] for o in objects], np.int64)
        keypoints = {}
        for i, own in enumerate(categories):
            told = [o.points for o in objects if index[o.label] == i]
            keypoints[i] = keypoints_of(own, told)
        nan = (math.nan,) * 4
        dataset._table.extend(
            uids=[o.uid for o in objects],
            image=np.array([place[o.image] for o in objects], np.int64),
            category=category,
            keypoints=keypoints,
            bbox=np.array([o.bbox or nan for o in objects], np.float64).reshape(n, 4),
            score=np.array([math.nan if o.score is None else o.score for o in objects]),
            extra=extra,
            annotator=annotator,
            source=source,
        )
        return dataset

    def _categories(self) -> list[Category]:
        if self._config is not None:
            try:
                return self._config.categories()
            except FormatError as error:
                self.problems.extend(error.problems)
                return []
        names: dict[str, dict[str, None]] = {}
        for thing in self._objects:
            names.setdefault(thing.label, {}).update(dict.fromkeys(thing.points))
        categories: list[Category] = []
        for name, keypoints in names.items():
            try:
                schema = Schema(name, list(keypoints))
            except FormatError as error:
                self.problems.extend(error.problems)
                continue
            categories.append(Category(len(categories) + 1, schema, name))
        return categories

    def _fits(self, thing: _Object, index: Mapping[str, int], categories: list[Category]) -> bool:
        """Whether the category has the keypoints; else it is said."""
        if thing.label not in index:
            self.problems.append(
                f"{thing.where}: label {_show(thing.label)}, expected one of "
                f"{', '.join(map(_show, list(index)[:20])) or 'none that can be used'}"
            )
            return False
        own = categories[index[thing.label]]
        unknown = [name for name in thing.points if name not in own.schema._index]
        if unknown:
            self.problems.append(
                f"{thing.where}: {_show(thing.label)} has no keypoint "
                f"{', '.join(map(_show, unknown[:5]))}; expected "
                f"{', '.join(map(_show, own.keypoints[:20]))}"
            )
        return not unknown

    def _extra(self, thing: _Object, category: Category) -> dict[str, Any] | None:
        """What the items have that the writer would not make of the instance."""
        kept: dict[str, Any] = {}
        if thing.annotation is not None:
            kept["annotation"] = thing.annotation
        if thing.rectangle is not None:
            kept["region"] = thing.rectangle["id"]
        choices = [choice for _, choice in thing.regions.values()]
        is_prediction = self._list == "predictions"
        has_choices = any(choice is not None for choice in choices)
        if choices and has_choices is is_prediction:
            kept["choices"] = has_choices
        names = list(thing.points)
        kept["keypoints"] = dict(zip(names, thing.regions, strict=True))
        scores = [item.get("score") for item, _ in thing.regions.values()]
        numbers = [as_float(score) for score in scores]
        result: dict[str, Any] = {KEPT: kept}
        if is_prediction and scores and all(number is not None for number in numbers):
            by_name = dict(zip(names, numbers, strict=True))
            result["keypoint_scores"] = [by_name.get(name, 0) for name in category.keypoints]
        made = items_of(
            category, thing.points, thing.bbox, thing.size, kept, self._config,
            is_prediction=is_prediction, score=thing.score,
            scores=result.get("keypoint_scores"),
        )  # fmt: skip
        given = [] if thing.rectangle is None else [thing.rectangle]
        by_region = {item["id"]: (item, choice) for item, choice in thing.regions.values()}
        order = {name: k for k, name in enumerate(category.keypoints)}
        for _, region in sorted(kept["keypoints"].items(), key=lambda pair: order[pair[0]]):
            given += [part for part in by_region[region] if part is not None]
        changes = difference(given, made)
        if changes:
            kept["changes"] = changes
        return result


def _is_size(value: Any) -> bool:
    """Whether it is a width and a height in pixels."""
    numbers = [as_int(number) for number in value] if isinstance(value, list) else []
    return len(numbers) == 2 and all(n is not None and 0 < n < 2**31 for n in numbers)


def _of(annotation: Mapping[str, Any], k: int) -> str:
    number = as_int(annotation.get("id"))
    return f"annotation {k + 1}" if number is None else f"annotation {number}"


def _is_region(item: Mapping[str, Any], kind: str) -> bool:
    """Whether an item of a result is of a kind, and has an id."""
    return item.get("type") == kind and isinstance(item.get("id"), str)


def _choice(item: Mapping[str, Any]) -> str | None:
    """Whether an item is the choice of a visibility, and which."""
    value = item.get("value")
    choices = value.get("choices") if isinstance(value, dict) else None
    if isinstance(choices, list) and len(choices) == 1 and choices[0] in (VISIBLE, OCCLUDED):
        return str(choices[0])
    return None


def _file_name(value: Any) -> str | None:
    """File name of what a task says of its image; None if it says nothing."""
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return value
    if parts.path.endswith("/local-files/") or parts.path.endswith("/local-files"):
        found = parse_qs(parts.query).get("d")
        return found[0] if found else None
    if parts.scheme and parts.netloc:
        return unquote(parts.path).lstrip("/") or None
    if value.startswith("/data/"):
        return unquote(parts.path).removeprefix("/data/") or None
    return value
