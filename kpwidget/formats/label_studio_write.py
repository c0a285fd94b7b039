"""Datasets to Label Studio's tasks."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from kpwidget.dataset import Dataset
from kpwidget.dataset.table import Bbox
from kpwidget.dataset.views import bboxes_of
from kpwidget.formats import Loss, WriteReport, count, write_file
from kpwidget.formats.json_text import encoded
from kpwidget.formats.label_studio_config import (
    OCCLUDED,
    VISIBLE,
    Config,
    config_of,
    read_config,
)
from kpwidget.formats.losses import lost_values, unheld_marks
from kpwidget.formats.yolo_rows import size_of, sizes_of
from kpwidget.schema import Category, FormatError, _show

__all__ = [
    "CONFIG_NAME",
    "KEPT",
    "SIZE",
    "difference",
    "items_of",
    "label_studio_losses",
    "main_annotation",
    "pixels",
    "write_label_studio",
]

KEPT: Final = "label_studio"
"""Field of images, instances and the dataset under which the reader keeps what else a file has."""

CONFIG_NAME: Final = "label_config.xml"
"""Name of the labeling config, beside the file."""

SIZE: Final = "kpwidget_size"
"""Field of a task's data that says the size of an image, also of one without regions."""

_DOT: Final = 0.75  # percent: as large as Label Studio draws a keypoint if nothing is said


def pixels(percent: float, side: int) -> float:
    """Image pixels of a percentage of the image's width or height.

    After the unit conversion in Label Studio's documentation, percent / 100 * original size; the
    product first, which gives more of the numbers that people write back.
    """
    return percent * side / 100


def percent_of(xy: float, side: int) -> float:
    """Percentage of which `pixels` makes `xy`, or, where there is none, the nearest."""
    percent = xy * 100 / side
    if pixels(percent, side) == xy:
        return percent
    for near in (math.nextafter(percent, -math.inf), math.nextafter(percent, math.inf)):
        if pixels(near, side) == xy:
            return near
    return percent


def main_annotation(annotations: Any) -> int | None:
    """Position of the newest annotation that was not cancelled, None if there is none.

    By ``updated_at``, else ``created_at``; the last of equally old ones.
    """
    if not isinstance(annotations, list):
        return None
    found = [
        (str(a.get("updated_at") or a.get("created_at") or ""), k)
        for k, a in enumerate(annotations)
        if isinstance(a, dict) and not a.get("was_cancelled")
    ]
    return max(found)[1] if found else None


# --- items of an instance -----------------------------------------------------------------------


def items_of(
    category: Category,
    points: Mapping[str, tuple[float, float, float]],
    bbox: Sequence[float] | None,
    size: tuple[int, int],
    kept: Mapping[str, Any],
    config: Config | None,
    *,
    is_prediction: bool,
    score: float | None = None,
    scores: Sequence[Any] | None = None,
) -> list[dict[str, Any]]:
    """Items of a result that say an instance: its rectangle, then each keypoint and its choice.

    Parameters
    ----------
    category : Category
    points : mapping of str to (x, y, visibility)
        The labeled ones, in image pixels.
    bbox : (x, y, width, height) or None
        In image pixels.
    size : (int, int)
        Width and height of the image.
    kept : mapping
        Of the reader: ``region``, the id of the rectangle; ``keypoints``, those of the keypoints;
        ``choices``, whether visible ones have a choice, too.
    config : Config or None
        By default as `config_of` names the controls of one category.
    is_prediction : bool
        Predictions have scores, annotations an origin.
    score : float, optional
    scores : sequence of float, optional
        Of the keypoints of the category.
    """
    parent = kept.get("region")
    regions = kept.get("keypoints") or {}
    has_choices = kept.get("choices", not is_prediction)
    image = "image" if config is None else config.image
    boxes = "bbox" if config is None else config.rectangles
    control = "kp" if config is None else config.keypoints.get(category.name, "kp")
    chosen = "visibility" if config is None else config.visibility or "visibility"
    width, height = size
    common: dict[str, Any] = {
        "to_name": image,
        "image_rotation": 0,
        "original_width": width,
        "original_height": height,
    }
    if not is_prediction:
        common["origin"] = "manual"
    items: list[dict[str, Any]] = []
    if isinstance(parent, str):
        value: dict[str, Any] = {"rotation": 0, "rectanglelabels": [category.name]}
        if bbox is not None:
            x, y, w, h = bbox
            value = {
                "x": percent_of(x, width),
                "y": percent_of(y, height),
                "width": percent_of(w, width),
                "height": percent_of(h, height),
                **value,
            }
        item = {"id": parent, "type": "rectanglelabels", "from_name": boxes, **common}
        items.append({**item, "value": value})
        if is_prediction and score is not None:
            items[0]["score"] = score
    for k, name in enumerate(category.keypoints):
        if name not in points:
            continue
        x, y, v = points[name]
        region = regions.get(name)
        region = region if isinstance(region, str) else f"{parent or 'keypoint'}-{k}"
        place = {"x": percent_of(x, width), "y": percent_of(y, height), "width": _DOT}
        item = {"id": region, "type": "keypointlabels", "from_name": control, **common}
        if isinstance(parent, str):
            item["parentID"] = parent
        item["value"] = {**place, "keypointlabels": [name]}
        if is_prediction and scores is not None:
            item["score"] = scores[k]
        items.append(item)
        if v == 1 or has_choices:
            choice = {"id": region, "type": "choices", "from_name": chosen, **common}
            said = OCCLUDED if v == 1 else VISIBLE
            items.append({**choice, "value": {**place, "choices": [said]}})
    return items


def _key(item: Mapping[str, Any]) -> str:
    return f"{item.get('type')} {item.get('id')}"


def difference(
    given: Iterable[Mapping[str, Any]], made: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """What items of a file have otherwise than those that are made of the same instance.

    Returns
    -------
    dict
        By type and id ``{'set': fields, 'drop': names}``, None for one that the file has not;
        those that are the same are left out.
    """
    of_key = {_key(item): item for item in given}
    changes: dict[str, Any] = {}
    for item in made:
        other = of_key.get(_key(item))
        if other is None:
            changes[_key(item)] = None
            continue
        others = {k: v for k, v in other.items() if k not in item or item[k] != v}
        missing = [k for k in item if k not in other]
        if others or missing:
            changes[_key(item)] = {"set": others, "drop": missing}
    return changes


def _with_changes(
    items: list[dict[str, Any]], changes: Mapping[str, Any], bbox: Bbox | None
) -> list[dict[str, Any]]:
    """Items as the file had them, as far as what they say is the same still."""
    result = []
    for item in items:
        key = _key(item)
        change = changes.get(key)
        value = item["value"]
        if key in changes and change is None and value.get("choices") != [OCCLUDED]:
            continue
        if isinstance(change, dict):
            others = dict(_as_dict(change.get("set")))
            old = others.get("value")
            if old is not None and not _is_same_place(item, old, bbox):
                del others["value"]
            item = {**item, **others}
            for name in change.get("drop") or ():
                item.pop(name, None)
        result.append(item)
    return result


def _is_same_place(item: Mapping[str, Any], old: Any, bbox: Bbox | None) -> bool:
    """Whether what a file said of a region is what it is now, to the last digit in pixels."""
    now = item["value"]
    if not isinstance(old, dict) or any(
        old.get(key) != now.get(key) for key in ("rectanglelabels", "keypointlabels", "choices")
    ):
        return False
    if item["type"] == "rectanglelabels" and bbox is None:
        return True
    sides = {"x": "width", "y": "height"}
    if item["type"] == "rectanglelabels":
        sides |= {"width": "width", "height": "height"}
    return all(
        isinstance(old.get(key), int | float)
        and percent_of(pixels(old[key], item[f"original_{side}"]), item[f"original_{side}"])
        == now[key]
        for key, side in sides.items()
    )


# --- losses -------------------------------------------------------------------------------------


def label_studio_losses(dataset: Dataset) -> list[Loss]:
    """What Label Studio could not hold.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    list of Loss
    """
    table = dataset._table
    rows = np.asarray(table.live_rows(), np.int64)
    losses: list[Loss] = []

    def lose(what: str, n: int, text: str) -> None:
        if n:
            losses.append(Loss(what, n, text))

    empty = np.isnan(bboxes_of(dataset, rows)).any(axis=1)
    n = int(np.count_nonzero(empty))
    lose("bbox", n, f"{count(n, 'instance')} without bbox and labeled keypoint: left out")
    is_model = np.array([str(s).startswith("model:") for s in table.column("source", rows)], bool)
    n = int(np.count_nonzero(~np.isnan(table.column("score", rows)) & ~is_model))
    lose("score", n, f"the scores of {count(n, 'instance')} that no model has made")
    ids = [state.id for state in dataset._images]
    n = sum(not isinstance(number, int) for number in ids)
    lose("image id", n, f"the ids of {count(n, 'image')}, which are no whole numbers")
    n_kept = sum(KEPT in (state.extra or ()) for state in dataset._images if state.text is None)
    losses += lost_values(
        dataset,
        ("occluded", "bbox", "image sizes", "image ids", "scores"),
        kept_image_fields={KEPT: n_kept},
        kept_instance_fields=(KEPT, "keypoint_scores"),
        lost_extra=[key for key in dataset.extra if key != KEPT],
    )
    return losses


# --- writing ------------------------------------------------------------------------------------


def write_label_studio(dataset: Dataset, path: str | os.PathLike[str]) -> WriteReport:
    """Write a dataset as tasks of Label Studio.

    Parameters
    ----------
    dataset : Dataset
    path : str or os.PathLike
        The JSON file, replaced in one go. The labeling config goes beside it, as
        ``label_config.xml``.

    Returns
    -------
    WriteReport

    Raises
    ------
    FileExistsError
        If there is another ``label_config.xml`` beside the file.
    ValueError
        If the size of an image with instances is not known, or two categories have one name.

    Notes
    -----
    A task per image, whose data says ``/data/local-files/?d=<file name>`` unless it was read from
    one. Instances that a model has made are predictions, all others annotations; a rectangle each
    and a region for each labeled keypoint, with the rectangle as its parent and a choice of
    visibility. A bbox that was derived becomes one that is given. What was read from such a file
    and not edited is written as it was.
    """
    from tqdm.auto import tqdm

    path = Path(path)
    with dataset.lock:
        table = dataset._table
        rows = np.asarray(table.live_rows(), np.int64)
        config = _config(dataset)
        image = table.column("image", rows).astype(np.int64)
        sizes = sizes_of(dataset, image, "Label Studio")
        boxes = dict(zip(rows.tolist(), bboxes_of(dataset, rows).tolist(), strict=True))
        points: dict[int, list[list[float]]] = {}
        categories = table.column("category", rows)
        for c in range(len(dataset.categories)):
            own = rows[categories == c]
            points.update(zip(own.tolist(), table.raw_keypoints_of(c, own).tolist(), strict=True))
        numbers = _task_numbers(dataset)
        chunks: list[bytes] = []
        n_relations = n_instances = 0
        bar = tqdm(dataset._images, "writing tasks", unit="image", delay=1.0, leave=False)
        for i, state in enumerate(bar):
            where = f"image {_show(state.file_name)}"
            extra = state.extra if state.text is None else None
            task = _task(extra, where)
            if "data" not in task:
                task["data"] = _data(state.file_name, size_of(dataset, i))
            mains = {key: main_annotation(task[key]) for key in ("annotations", "predictions")}
            for row in table.rows_of_image[i]:
                if boxes[row][0] == boxes[row][0]:
                    _put(dataset, row, points[row], boxes[row], sizes[i], config, task, mains)
                    n_instances += 1
            if state.is_done and not task["annotations"] and not table.rows_of_image[i]:
                task["annotations"].append(_new_annotation())
            n_relations += _drop_relations(task)
            chunks.append(encoded({"id": numbers[i], "data": task.pop("data"), **task}))
        notes = list(unheld_marks(dataset, "Label Studio"))
        if n_relations:
            notes.append(f"{count(n_relations, 'relation')} of regions that are gone left out")
    beside = path.with_name(CONFIG_NAME)
    text = config.text.encode()
    if beside.exists() and beside.read_bytes().split() != text.split():
        raise FileExistsError(
            f"{beside}: is there, and is another labeling config than this dataset needs; write to "
            "another folder, or move it away. Nothing was written"
        )
    write_file(path, [b"[\n", b",\n".join(chunks), b"\n]\n"] if chunks else [b"[]\n"])
    write_file(beside, [text])
    notes.append(f"the labeling config is {beside.name!r}, beside it")
    n_images = len(chunks)
    return WriteReport(path, "label-studio", n_images, n_instances, 0, tuple(notes))


def _task_numbers(dataset: Dataset) -> list[int]:
    ids = [state.id for state in dataset._images]
    if all(isinstance(number, int) for number in ids):
        return [number for number in ids if isinstance(number, int)]
    return list(range(1, len(ids) + 1))


def _config(dataset: Dataset) -> Config:
    """Config that was read, if it is one for the categories still; else a new one."""
    names = [category.name for category in dataset.categories]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two categories are called {twice!r}; Label Studio goes by names")
    text = _as_dict(dataset.extra.get(KEPT)).get("config")
    if isinstance(text, str):
        try:
            config = read_config(text, "the dataset")
        except FormatError:  # of another file, which could not be read either
            return config_of(dataset.categories)
        needed = {c.name: set(c.keypoints) for c in dataset.categories}
        has_place = config.visibility is not None or not _has_occluded(dataset)
        if has_place and {c: set(own) for c, own in config.names.items()} == needed:
            return config
    return config_of(dataset.categories)


def _has_occluded(dataset: Dataset) -> bool:
    table = dataset._table
    return any(bool(table.visibility_counts(c)[:, 1].any()) for c in range(len(dataset.categories)))


def _as_dict(value: Any) -> dict[str, Any]:
    """What the reader has kept, which may have come back from another file."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"extra[{KEPT!r}] has {_show(value)}, expected a dict; remove it")
    return value


def _task(extra: Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    """Fields of a task that were kept, with lists of its own."""
    kept = (extra or {}).get(KEPT)
    if kept is None:
        return {"annotations": [], "predictions": []}
    task = {**_as_dict(kept)}
    for key in ("annotations", "predictions"):
        listed = task.get(key, [])
        if not isinstance(listed, list) or not all(
            isinstance(a, dict) and isinstance(a.get("result") or [], list) for a in listed
        ):
            raise ValueError(
                f"{where}: {key!r} in extra[{KEPT!r}] is {_show(listed)}, expected a list of "
                "dicts with a list 'result'; remove it"
            )
        task[key] = [{**a, "result": list(a.get("result") or [])} for a in listed]
    return task


def _data(file_name: str, size: tuple[int, int] | None) -> dict[str, Any]:
    """Data of a task whose image is a local file of Label Studio's."""
    known = {} if size is None else {SIZE: list(size)}
    try:
        return {"image": f"/data/local-files/?d={quote(file_name)}", **known}
    except UnicodeEncodeError as error:
        raise ValueError(
            f"image {_show(file_name)}: has characters that no address can hold; rename it"
        ) from error


def _new_annotation() -> dict[str, Any]:
    return {"was_cancelled": False, "ground_truth": False, "result": []}


def _put(
    dataset: Dataset,
    row: int,
    points: Sequence[Sequence[float]],
    box: Sequence[float],
    size: tuple[int, int],
    config: Config,
    task: dict[str, Any],
    mains: dict[str, int | None],
) -> None:
    """Put the items of an instance into the annotation or prediction it belongs to.

    `mains` has the position of those that instances go to which say of none.
    """
    table = dataset._table
    category = dataset.categories[table.category(row)]
    extra = _as_dict(table.value(row, "extra")) if table.text(row) is None else {}
    kept = {**_as_dict(extra.get(KEPT))}
    source = str(table.value(row, "source"))
    is_prediction = source.startswith("model:")
    kind = "predictions" if is_prediction else "annotations"
    listed = task[kind]
    k = kept.get("annotation")
    k = k if isinstance(k, int) and 0 <= k < len(listed) else mains[kind]
    version = source.removeprefix("model:")
    if k is not None and is_prediction and str(listed[k].get("model_version", "")) != version:
        same = [j for j, p in enumerate(listed) if p.get("model_version") == version]
        k = same[0] if same else None
    if k is None:
        k = mains[kind] = len(listed)
        new = {"model_version": version, "result": []} if is_prediction else _new_annotation()
        listed.append(new)
    given = table.bbox(row)
    if "region" not in kept and (given is not None or "keypoints" not in kept):
        kept["region"] = str(table.value(row, "uid"))
    scores = extra.get("keypoint_scores")
    has_scores = isinstance(scores, list) and len(scores) == len(points)
    items = items_of(
        category,
        {name: (x, y, v) for name, (x, y, v) in zip(category.keypoints, points, strict=True) if v},
        box,
        size,
        kept,
        config,
        is_prediction=is_prediction,
        score=table.value(row, "score"),
        scores=scores if has_scores else None,
    )
    listed[k]["result"] += _with_changes(items, _as_dict(kept.get("changes")), given)


def _drop_relations(task: Mapping[str, Any]) -> int:
    """Leave out relations of which an end is gone; return how many."""
    n = 0
    for annotation in task["annotations"] + task["predictions"]:
        result = annotation["result"]
        ids = [item.get("id") for item in result if isinstance(item, dict)]
        there = {region for region in ids if isinstance(region, str)}
        kept = [item for item in result if not _is_relation(item) or _ends(item) <= there]
        n += len(result) - len(kept)
        # Relations stand after the regions, as in Label Studio's own files.
        annotation["result"] = [i for i in kept if not _is_relation(i)] + [
            i for i in kept if _is_relation(i)
        ]
    return n


def _is_relation(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "relation"


def _ends(relation: Mapping[str, Any]) -> set[str]:
    """Regions that a relation joins, as far as it names any."""
    ends = (relation.get("from_id"), relation.get("to_id"))
    return {end for end in ends if isinstance(end, str)}
