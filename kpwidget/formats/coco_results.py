"""COCO results: predictions with scores, `read_coco_results` and `write_coco_results`.

A results file is a bare JSON list. Each entry names an image and a category by id and has
``keypoints`` whose third number is the confidence of the point; images, categories and ids are
those of the ground truth, which therefore has to be given.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from kpwidget.dataset import Dataset
from kpwidget.dataset.table import NO_ID
from kpwidget.dataset.text import FileText
from kpwidget.dataset.values import MAX_COORDINATE, as_float, as_int
from kpwidget.formats import Loss, Problems, WriteReport, count, read, write_file
from kpwidget.formats.gathered import progress
from kpwidget.formats.json_text import (
    Style,
    check_depth,
    dumps,
    members,
    spliced,
    style_of,
    with_numbers,
)
from kpwidget.formats.losses import instance_field_losses
from kpwidget.schema import FormatError, _decode, _parse_json, _show

__all__ = [
    "coco_results_losses",
    "is_coco_results",
    "read_coco_results",
    "write_coco_results",
]

_LOOK: Final = 1 << 16


def is_coco_results(path: Path) -> bool:
    """Whether a file is a JSON list whose first entries have an image id and a score.

    Parameters
    ----------
    path : Path
    """
    with open(path, "rb") as file:
        head = file.read(_LOOK).lstrip()
    return head[:1] == b"[" and b'"image_id"' in head and b'"score"' in head


def read_coco_results(
    path: str | os.PathLike[str],
    images: Any = None,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    allow_outside: bool = False,
    ground_truth: Dataset | str | os.PathLike[str] | None = None,
    model: str | None = None,
) -> Dataset:
    """Dataset of the predictions in a COCO results file.

    Parameters
    ----------
    path : str or os.PathLike
        The JSON file.
    images : folder, list of folders, glob, list of paths, or mapping, optional
        Where the images are, if `ground_truth` is a file; see `kpwidget.read`.
    on_error : {'raise', 'skip'}
        See `kpwidget.read`.
    allow_outside : bool, default False
        See `kpwidget.read`.
    ground_truth : Dataset or path
        The dataset that was predicted on, or its COCO file: the images and categories are those.
    model : str, optional
        What made the predictions: `Instance.source` is ``'model:<name>'``. The file's name by
        default.

    Returns
    -------
    Dataset
        One instance per entry, with its score. Every keypoint of a prediction is visible; one with
        score 0 at (0, 0) is unlabeled. The scores of the points and other fields are in
        `Instance.extra`, as ``keypoint_scores`` (n_keypoints,).

    Raises
    ------
    ValueError
        Without `ground_truth`.
    FormatError
        If the file is not a list of results, or entries are bad, naming every one.
    """
    where = os.fspath(path)
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error is 'raise' or 'skip', not {on_error!r}")
    if ground_truth is None:
        raise ValueError(
            f"{where}: a COCO results file (predictions) has no images or categories of its own: "
            "pass ground_truth=, the dataset that was predicted on or its COCO file"
        )
    if not isinstance(ground_truth, Dataset):
        ground_truth = read(ground_truth, images, format="coco", allow_outside=allow_outside)
    data = Path(path).read_bytes()
    check_depth(data, where)
    text = _decode(data, where)
    content = _parse_json(text, where)
    if not isinstance(content, list):
        raise FormatError.from_problems(
            where,
            [f"not a COCO results file: expected a list, got {type(content).__name__}"],
        )
    entries = [entry for entry in content if isinstance(entry, dict)]
    if entries and not any("keypoints" in entry for entry in entries):
        raise FormatError.from_problems(
            where,
            [
                f"none of its {count(len(entries), 'entry')} has 'keypoints', as of a detector of "
                "boxes; pass the predictions of a model of keypoints"
            ],
        )
    dataset = ground_truth._without_instances()
    source = f"model:{model if model is not None else Path(path).stem}"
    problems = Problems()
    columns: dict[str, list[Any]] = {
        key: [] for key in ("image", "category", "score", "bbox", "area", "track_id", "extra")
    }
    points: dict[int, list[np.ndarray[Any, Any]]] = {}
    positions: list[int] = []
    for position, entry in enumerate(progress(content, "reading results", "entry")):
        found = _entry(dataset, entry)
        if isinstance(found, list):
            problems.extend(f"entry number {position + 1}: {problem}" for problem in found)
            if on_error == "raise" and problems.is_full:
                break
            continue
        positions.append(position)
        for key, value in found.items():
            if key == "keypoints":
                points.setdefault(found["category"], []).append(value)
            else:
                columns[key].append(value)
    if problems and on_error == "raise":
        n = len(problems)
        raise FormatError.from_problems(
            where, problems, f"{count(n, 'problem')}; on_error='skip' leaves them out"
        )
    if problems:
        dataset.skipped = tuple(problems)
        warnings.warn(
            f"{where}: {count(len(problems), 'bad entry')} left out (all in ds.skipped): "
            + "; ".join(itertools.islice(problems, 5)),
            stacklevel=3,
        )
    n_entries = len(columns["image"])
    extra, tracks = np.empty((2, n_entries), object)
    extra[:], tracks[:] = columns["extra"], columns["track_id"]
    uids = [f"result:{i + 1}" for i in range(n_entries)]
    dataset.layout.results = (_list_text(data), dict(zip(uids, positions, strict=True)))
    dataset._table.extend(
        uids=uids,
        image=np.array(columns["image"], np.int32),
        category=np.array(columns["category"], np.int32),
        keypoints={index: np.stack(parts) for index, parts in points.items()},
        score=np.array(columns["score"], np.float64),
        bbox=np.array(columns["bbox"], np.float64).reshape(-1, 4),
        area=np.array(columns["area"], np.float64),
        track_id=tracks,
        extra=extra,
        source=source,
    )
    return dataset


def _next(text: str, at: int) -> int:
    """Where the next entry begins, or the list ends."""
    while text[at] in " \t\r\n,":
        at += 1
    return at


def _list_text(data: bytes) -> FileText:
    """Where the entries of a well-formed JSON list lie."""
    start, end = data.index(b"["), data.rindex(b"]") + 1
    # A character a byte: what is not ASCII stands in strings alone, and ends none.
    text = data.decode("latin-1")
    decode = json.JSONDecoder().raw_decode
    spans = []
    at = _next(text, start + 1)
    while at < end - 1:
        begin = at
        _, at = decode(text, begin)
        spans.append((begin, at))
        at = _next(text, at)
    return FileText(
        data,
        {"annotations": np.array(spans, np.int64).reshape(-1, 2)},
        "[]",
        {"annotations": (start, end)},
    )


def _entry(dataset: Dataset, entry: Any) -> dict[str, Any] | list[str]:
    """Values of one entry, or what is wrong with it."""
    if not isinstance(entry, Mapping):
        return [f"expected an object, got {type(entry).__name__}"]
    problems = []
    image_id, category_id = entry.get("image_id"), entry.get("category_id")
    known = isinstance(image_id, str) or as_int(image_id) is not None
    image = dataset._index_of_image_id.get(image_id) if known else None  # type: ignore[arg-type]
    if image is None:
        problems.append(f"'image_id' is {_show(image_id)}, the ground truth has no such image")
    number = as_int(category_id)
    category = None if number is None else dataset._category_of_id.get(number)
    if category is None:
        problems.append(
            f"'category_id' is {_show(category_id)}, the ground truth has no category with "
            "keypoints of this id"
        )
    score = as_float(entry.get("score"))
    if score is None or not math.isfinite(score):
        problems.append(f"'score' is {_show(entry.get('score'))}, expected a number")
    bbox = entry.get("bbox")
    box = [math.nan] * 4
    if bbox is not None:
        numbers = [as_float(value) for value in bbox] if isinstance(bbox, list) else []
        box = [n for n in numbers if n is not None and abs(n) <= MAX_COORDINATE]
        if len(numbers) != 4 or len(box) != 4:
            problems.append(
                f"'bbox' is {_show(bbox)}, expected 4 numbers (at most {MAX_COORDINATE:g})"
            )
    area = as_float(entry.get("area"))
    if area is None and entry.get("area") is not None:
        problems.append(f"'area' is {_show(entry['area'])}, expected a number")
    if category is None:
        return problems
    n = dataset.categories[category].n_keypoints
    flat = entry.get("keypoints")
    values = [as_float(value) for value in flat] if isinstance(flat, list) else []
    usable = [v for v in values if v is not None and abs(v) <= MAX_COORDINATE]
    if len(values) != 3 * n or len(usable) != 3 * n:
        problems.append(
            f"'keypoints' has {len(usable)} usable numbers, expected {3 * n} ({n} keypoints x 3) "
            f"for category {_show(dataset.categories[category].name)}"
        )
    if entry.get("keypoint_scores", values[2::3]) != values[2::3]:
        problems.append(
            f"'keypoint_scores' is {_show(entry['keypoint_scores'])}, expected every third number "
            "of 'keypoints', or nothing"
        )
    if problems:
        return problems
    points = np.array(usable).reshape(n, 3)
    scores = points[:, 2].copy()
    points[:, 2] = np.where((scores != 0) | (points[:, 0] != 0) | (points[:, 1] != 0), 2, 0)
    known_keys = ("image_id", "category_id", "keypoints", "score", "bbox", "area", "track_id")
    extra = {key: value for key, value in entry.items() if key not in known_keys}
    return {
        "image": image,
        "category": category,
        "score": score,
        "bbox": box,
        "area": math.nan if area is None else area,
        "track_id": entry.get("track_id"),
        "extra": {**extra, "keypoint_scores": scores.tolist()},
        "keypoints": points,
    }


def coco_results_losses(dataset: Dataset) -> list[Loss]:
    """What a COCO results file could not hold.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    list of Loss
    """
    table = dataset._table
    rows = table.live_rows()
    losses = []
    n_occluded = n_placeless = 0
    for index in range(len(dataset.categories)):
        flags = table.keypoints_of(index, rows)[..., 2]
        n_occluded += int(np.count_nonzero(flags == 1))
        n_placeless += int(np.count_nonzero(flags == 0))
    if n_occluded:
        losses.append(
            Loss(
                "visibility",
                n_occluded,
                f"{count(n_occluded, 'keypoint')} with visibility 1 would become visible",
            )
        )
    if n_placeless:
        losses.append(
            Loss(
                "visibility",
                n_placeless,
                f"{count(n_placeless, 'unlabeled keypoint')} would be predicted at (0, 0), with "
                "score 0",
            )
        )
    n_scoreless = int(np.count_nonzero(np.isnan(table.column("score", rows))))
    if n_scoreless:
        losses.append(
            Loss(
                "score",
                n_scoreless,
                f"{count(n_scoreless, 'instance')} without a score would get 1",
            )
        )
    # Those of predictions are kept; a record of another file is not looked into when written.
    is_record = table.column("text", rows) >= 0
    losses += instance_field_losses(dataset, np.asarray(rows, np.int64)[is_record])
    n_ids = int(np.count_nonzero(table.column("id", rows) != NO_ID))
    if n_ids:
        losses.append(Loss("id", n_ids, f"the annotation ids of {count(n_ids, 'instance')}"))
    n_crowds = int(np.count_nonzero(table.column("iscrowd", rows)))
    if n_crowds:
        losses.append(
            Loss(
                "iscrowd",
                n_crowds,
                f"{count(n_crowds, 'instance')} would no longer stand for a crowd",
            )
        )
    n_boxes = int(np.count_nonzero(~np.isnan(table.column("bbox", rows)[:, 0])))
    if n_boxes and not _has_boxes(dataset):
        losses.append(
            Loss(
                "bbox",
                n_boxes,
                f"the bbox of {count(n_boxes, 'instance')}, for not all have been given one",
            )
        )
    n_empty = len(dataset.images) - len(set(table.column("image", rows).tolist()))
    if n_empty:
        losses.append(Loss("images", n_empty, f"{count(n_empty, 'image')} without predictions"))
    return losses


def _has_boxes(dataset: Dataset) -> bool:
    """Whether boxes are written: all have one, or those that had one in the file and no others."""
    table = dataset._table
    rows = table.live_rows()
    is_given = ~np.isnan(table.column("bbox", rows)[:, 0])
    if is_given.all() or dataset.layout.results is None:
        return bool(is_given.all())
    text, position_of = dataset.layout.results
    for row, is_now in zip(rows, is_given.tolist(), strict=True):
        position = position_of.get(str(table.value(row, "uid")))
        if position is None:
            return False
        if (text.record("annotations", position).get("bbox") is not None) != is_now:
            return False
    return True


def write_coco_results(dataset: Dataset, path: str | os.PathLike[str]) -> WriteReport:
    """Write the instances of a dataset as COCO results.

    Parameters
    ----------
    dataset : Dataset
    path : str or os.PathLike
        The JSON file, replaced in one go.

    Returns
    -------
    WriteReport

    Notes
    -----
    Entries that were read from a results file are written byte for byte, in an edited one only the
    values that changed are replaced; others come after them, one per line.

    The third number of a point is its ``keypoint_scores`` of `Instance.extra` where there are as
    many as keypoints, else 1 for a labeled point; 0 for an unlabeled one. Image and category ids
    are those of the dataset. A bbox is written if every instance was given one, for pycocotools
    wants it in all entries or none; it derives one from all points else.
    """
    with dataset.lock:
        table = dataset._table
        entries, uids = [], []
        rows = table.live_rows()
        has_boxes = _has_boxes(dataset)
        for row in progress(rows, "writing results", "entry"):
            category = table.category(row)
            points = table.raw_keypoints_of(category, [row])[0]
            extra = dict(table.value(row, "extra") or {})
            scores = extra.pop("keypoint_scores", None)
            if not (isinstance(scores, list) and len(scores) == len(points)):
                scores = [1] * len(points)
            flat = [
                number
                for (x, y, v), score in zip(points.tolist(), scores, strict=True)
                for number in ((x, y, score) if v else (0, 0, 0))
            ]
            score = table.value(row, "score")
            bbox = table.bbox(row) if has_boxes else None
            optional = {
                "bbox": None if bbox is None else list(bbox),
                "area": table.value(row, "area"),
                "track_id": table.value(row, "track_id"),
            }
            uids.append(str(table.value(row, "uid")))
            entries.append(
                {
                    "image_id": dataset._images[table.value(row, "image")].id,
                    "category_id": dataset.categories[category].id,
                    "keypoints": flat,
                    "score": 1 if score is None else score,
                    **{key: value for key, value in optional.items() if value is not None},
                    **extra,
                }
            )
        n_images = len({entry["image_id"] for entry in entries})
        results = dataset.layout.results
    if results is None:
        lines = list(map(dumps, entries))
        text = "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"
        chunks = [text.encode("utf-8")]
    else:
        chunks = list(_rewritten(entries, uids, *results))
    write_file(path, chunks)
    return WriteReport(Path(path), "coco-results", n_images, len(entries))


def _rewritten(
    entries: Sequence[dict[str, Any]],
    uids: Sequence[str],
    text: FileText,
    position_of: Mapping[str, int],
) -> Iterator[bytes]:
    """Parts of the file that was read, with what has changed since."""
    data, spans = text.data, text.spans["annotations"].tolist()
    (start, end), style = text.bounds["annotations"], style_of(text)
    n_spans = len(spans)
    lead = data[start + 1 : spans[0][0]] if n_spans else b"\n"
    tail = data[spans[-1][1] : end - 1] if n_spans else b"\n"
    between = style.separators[0].encode()
    if n_spans > 1:
        between = data[spans[0][1] : spans[1][0]]
    elif b"\n" in lead:
        between = b"," + lead
    yield data[: start + 1]
    last: int | None = None
    for i, (entry, uid) in enumerate(zip(entries, uids, strict=True)):
        position = position_of.get(uid)
        if i == 0:
            yield lead
        elif position is not None and last is not None and position == last + 1:
            yield data[spans[last][1] : spans[position][0]]
        else:
            yield between
        if position is None:
            yield dumps(entry, style).encode()
        else:
            yield _changed(text.raw("annotations", position), entry, style)
        last = position
    if entries:
        yield tail
    yield data[end - 1 :] if entries or n_spans else data[start + 1 :]


def _changed(raw: bytes, entry: dict[str, Any], style: Style) -> bytes:
    """Bytes of an entry that was read, its values put to those of now."""
    before = json.loads(raw)
    scores = before.get("keypoint_scores")
    gone = [k for k in before.keys() - entry.keys() if before[k] is not None]
    if any(k != "keypoint_scores" or scores != entry["keypoints"][2::3] for k in gone):
        return dumps(entry, style).encode()
    text = raw.decode("utf-8")
    given = {member.key: text[member.value_start : member.end] for member in members(text)}
    changes = {}
    for key, value in entry.items():
        if key in before and before[key] == value:
            continue
        old = before.get(key)
        if key in ("keypoints", "bbox") and isinstance(old, list) and len(old) == len(value):
            changes[key] = with_numbers(given[key], value)
        else:
            changes[key] = dumps(value, style)
    return spliced(text, changes).encode() if changes else raw
