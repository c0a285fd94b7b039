"""What Ultralytics YOLO pose can hold of a dataset, as label rows, and what it cannot."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset import Dataset, ImageInfo
from kpwidget.dataset.views import bboxes_of
from kpwidget.formats import Loss, count
from kpwidget.formats.folders import ImagesOption, listed, lost_pixels
from kpwidget.formats.losses import (
    N_EXAMPLES,
    LostKeypoints,
    instance_names,
    lost_values,
)
from kpwidget.formats.yolo_yaml import ABSENT, KNOWN_KEYS, SPLITS, TOLERANCE, plain
from kpwidget.images import ImageError
from kpwidget.schema import Category

__all__ = [
    "MAX_ERROR",
    "OF_SPLIT",
    "LabelRows",
    "check_options",
    "common_flip_indices",
    "common_sigmas",
    "encoded",
    "kept_extra",
    "label_rows",
    "recorded_splits",
    "size_of",
    "sizes_of",
    "yolo_losses",
]

OF_SPLIT: Final = {name: name for name in SPLITS} | {"valid": "val", "validation": "val"}
"""Names under which splits are found in folders and in images' ``extra['split']``."""

MAX_ERROR: Final = 1e-6
"""How far, in image pixels, a coordinate may be from what it was for the decimals written."""

_DECIMALS: Final = 10  # within 1e-6 px up to 20,000 px; more are taken for larger images
_MAX_EXTRA_BYTES: Final = 100_000  # of data.yaml, for keys that nobody here knows
_MAX_EXTRA_DEPTH: Final = 15


def yolo_losses(
    dataset: Dataset, *, images: ImagesOption = "copy", keypoint_dims: int = 3
) -> list[Loss]:
    """What label files and ``data.yaml`` have no place for.

    Parameters
    ----------
    dataset : Dataset
    images, keypoint_dims
        As of `write_yolo`.

    Returns
    -------
    list of Loss
        Of instances and keypoints first: crowds, instances without a bbox, keypoints outside the
        image, visibilities (with two numbers per keypoint); then ids, areas, tracks, scores and
        unknown fields; then what categories and the dataset have: skeletons, colors, info.

    Raises
    ------
    ValueError
        If an option is none there is, or the size of an image with instances is not known.
    """
    check_options(images, keypoint_dims)
    with dataset.lock:
        return [*label_rows(dataset, keypoint_dims).losses, *_losses_of_fields(dataset, images)]


def check_options(images: str, keypoint_dims: int) -> None:
    """Raise ValueError if an option of `write_yolo` is none there is."""
    problems = []
    if images not in ("copy", "link", "leave"):
        problems.append(f"images is 'copy', 'link' or 'leave', not {images!r}")
    if keypoint_dims not in (2, 3):
        problems.append(f"keypoint_dims is 3 (x, y, visibility) or 2 (x, y), not {keypoint_dims!r}")
    if problems:
        raise ValueError("; ".join(problems))


# --- label rows ---------------------------------------------------------------------------------


@dataclass
class LabelRows:
    """The label rows of a dataset.

    Attributes
    ----------
    values : ndarray of shape (n, 5 + n_keypoints * n_dims)
        As they stand in the files, ordered by image.
    image : ndarray of shape (n,)
        Position of the image of each row, rising.
    sizes : dict of int to (int, int)
        (width, height) in pixels of the images with instances.
    """

    values: NDArray[np.float64]
    image: NDArray[np.int64]
    sizes: dict[int, tuple[int, int]]
    losses: list[Loss]
    notes: list[str]


class _Instances:
    """The instances that are written, and what is said of those that are not."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.losses: list[Loss] = []
        table = dataset._table
        rows = np.asarray(table.live_rows(), np.int64)
        image = table.column("image", rows)
        self.rows = rows[np.argsort(image, kind="stable")]

    def column(self, name: str) -> NDArray[Any]:
        return self.dataset._table.column(name, self.rows)

    def drop(self, is_dropped: Any, what: str, text: str) -> NDArray[np.bool_]:
        """Leave instances out; return which of them stay."""
        n = int(np.count_nonzero(is_dropped))
        if n:
            examples = instance_names(self.dataset, self.rows[is_dropped][:N_EXAMPLES])
            self.losses.append(Loss(what, n, f"{count(n, 'instance')} {text}", examples))
            self.rows = self.rows[~is_dropped]
        is_kept: NDArray[np.bool_] = ~is_dropped
        return is_kept


def label_rows(dataset: Dataset, n_dims: int) -> LabelRows:
    """Rows of the label files, and what they do not hold of instances and keypoints.

    Parameters
    ----------
    dataset : Dataset
    n_dims : {3, 2}
        Numbers per keypoint.

    Raises
    ------
    ValueError
        If the size of an image with instances is not known, naming every one.
    """
    instances = _Instances(dataset)
    instances.drop(
        instances.column("iscrowd") != 0, "iscrowd", "standing for a crowd would be left out"
    )
    bbox = bboxes_of(dataset, instances.rows)
    is_kept = instances.drop(
        np.isnan(bbox).any(axis=1), "bbox", "without bbox and labeled keypoint would be left out"
    )
    bbox = bbox[is_kept]
    image = instances.column("image").astype(np.int64)
    sizes = sizes_of(dataset, image)
    size = np.zeros((len(dataset._images), 2))
    for i, wh in sizes.items():
        size[i] = wh
    size = size[image]

    n_keypoints = max((c.n_keypoints for c in dataset.categories), default=0)
    values = np.zeros((len(bbox), 5 + n_keypoints * n_dims))
    values[:, 0] = instances.column("category")
    # A number of decimals by which no coordinate is wrong by more than 1e-6 px.
    decimals = np.ceil(np.log10(np.maximum(size.max(axis=1, initial=1), 1) / (2 * MAX_ERROR)))
    scale = (10.0 ** np.maximum(decimals, _DECIMALS))[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        values[:, 1:3] = _rounded((bbox[:, :2] + bbox[:, 2:] / 2) / size, scale)
        values[:, 3:5] = _rounded(bbox[:, 2:] / size, scale)
        lost = LostKeypoints(dataset)
        points = values[:, 5:].reshape(len(values), n_keypoints, n_dims)
        _put_points(dataset, instances.rows, size, scale, points, lost)
        values[:, 5:] = points.reshape(len(values), n_keypoints * n_dims)

    box = values[:, 1:5]
    is_bad = ~(np.isfinite(box).all(axis=1) & (box[:, :2] >= -TOLERANCE).all(axis=1))
    is_bad |= ~(box[:, 2:] >= 0).all(axis=1)
    is_kept = instances.drop(
        is_bad,
        "bbox",
        "would be left out: the centre of the bbox is left of or above the image, or its size is "
        "below 0",
    )
    values, image = values[is_kept], image[is_kept]
    is_kept = instances.drop(
        _is_repeated(values, image),
        "duplicates",
        "would be left out: the same row as another's of the image, which Ultralytics removes",
    )
    values, image = values[is_kept], image[is_kept]
    notes = []
    n_flat = int(np.count_nonzero((values[:, 3:5] == 0).any(axis=1)))
    if n_flat:
        notes.append(f"{count(n_flat, 'bbox')} without a size; Ultralytics cannot learn from them")
    return LabelRows(values, image, sizes, [*instances.losses, *lost.losses()], notes)


def size_of(dataset: Dataset, index: int) -> tuple[int, int] | None:
    """(width, height) of an image, None if neither a file nor its labels tell.

    Parameters
    ----------
    dataset : Dataset
    index : int
        Position of the image.
    """
    try:
        return dataset._images[index].recorded_size or ImageInfo(dataset, index).size
    except ImageError:
        return None


def sizes_of(
    dataset: Dataset, image: NDArray[np.int64], format: str = "YOLO"
) -> dict[int, tuple[int, int]]:
    """(width, height) of images by their position; ValueError names those that are not known.

    Parameters
    ----------
    dataset : Dataset
    image : ndarray of shape (n,)
        Positions.
    format : str
        What needs them, for people.
    """
    sizes: dict[int, tuple[int, int]] = {}
    problems = []
    for i in np.unique(image).tolist():
        try:
            size = dataset._images[i].recorded_size or ImageInfo(dataset, i).size
        except ImageError as error:
            problems.append(str(error))
            continue
        if min(size) < 1:
            problems.append(f"{dataset._images[i].file_name!r} is {size[0]} x {size[1]} px")
        sizes[i] = size
    if problems:
        raise ValueError(
            f"{format} holds coordinates as parts of the image's size, and it is not known of "
            f"{count(len(problems), 'image')} with instances:\n" + listed(problems)
        )
    return sizes


def _rounded(parts: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to decimals; the sum with 0 makes no -0 of what is just below it."""
    rounded: NDArray[np.float64] = np.rint(parts * scale) / scale + 0.0
    return np.where(np.isfinite(rounded), rounded, parts)


def _put_points(
    dataset: Dataset,
    rows: NDArray[np.int64],
    size: NDArray[np.float64],
    scale: NDArray[np.float64],
    points: NDArray[np.float64],
    lost: LostKeypoints,
) -> None:
    """Fill in the keypoints, of shape (n, n_keypoints, n_dims)."""
    n_dims = points.shape[2]
    if n_dims == 2:
        points[:] = ABSENT
    category = dataset._table.column("category", rows)
    for c, named in enumerate(dataset.categories):
        chosen = np.flatnonzero(category == c)
        of = rows[chosen]
        raw = dataset._table.raw_keypoints_of(c, of)
        xy = _rounded(raw[..., :2] / size[chosen, None], scale[chosen, None])
        visibility = raw[..., 2]
        is_labeled = visibility > 0
        is_inside = ((xy >= -TOLERANCE) & (xy <= 1 + TOLERANCE)).all(axis=-1)
        is_below = (xy < 0).any(axis=-1)
        has_place = (raw[..., :2] != 0).any(axis=-1)
        lost.add(
            visibility < 0, of, named, "visibility", "with a visibility below 0 would become 0"
        )
        if n_dims == 3:
            lost.add(
                is_labeled & ~is_inside, of, named, "outside",
                "outside the image would become unlabeled",
            )  # fmt: skip
            lost.add(
                ~is_labeled & has_place & ~is_inside, of, named, "unlabeled location",
                "without a label would lose a location outside the image",
            )  # fmt: skip
            filled = np.concatenate([xy, np.maximum(visibility, 0)[..., None]], axis=-1)
            filled[~is_inside] = 0
        else:
            is_outside = is_labeled & (~is_inside | is_below)
            lost.add(is_outside, of, named, "outside", "outside the image would become absent")
            lost.add(
                (visibility == 1) & ~is_outside, of, named, "visibility",
                "with visibility 1 would become 2",
            )  # fmt: skip
            lost.add(
                is_labeled & (visibility != 1) & (visibility != 2) & ~is_outside, of, named,
                "visibility", "with a visibility that is none of 0, 1 and 2 would become 2",
            )  # fmt: skip
            lost.add(
                ~is_labeled, of, named, "unlabeled",
                f"without a label would be written as '{ABSENT} {ABSENT}': Ultralytics takes "
                "that for absent, other programs for a location",
            )  # fmt: skip
            filled = xy
            filled[is_outside | (~is_labeled & ~(is_inside & is_below))] = ABSENT
        points[chosen, : named.n_keypoints] = filled


def _is_repeated(values: NDArray[np.float64], image: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a row is equal to an earlier one of its image, as Ultralytics compares: float32."""
    with np.errstate(over="ignore"):
        data = values.astype(np.float32).tobytes()
    step = 4 * values.shape[1]
    seen: set[tuple[int, bytes]] = set()
    is_repeated = np.zeros(len(values), bool)
    for row, i in enumerate(image.tolist()):
        key = (i, data[row * step : (row + 1) * step])
        if key in seen:
            is_repeated[row] = True
        seen.add(key)
    return is_repeated


def encoded(values: NDArray[np.float64]) -> list[bytes]:
    """Text of each row: the shortest decimals that give the numbers back."""
    if not len(values):
        return []
    data = msgspec.json.encode(values.tolist())[2:-2]
    data = data.replace(b"],[", b" \n").replace(b",", b" ") + b" "
    data = data.replace(b".0 ", b" ")
    if b"e" in data:  # 0.0000015 and below come as 1.5e-6
        data = re.sub(rb"[^ \n]*e[^ \n]*", lambda match: _positional(match.group()), data)
    return data[:-1].split(b" \n")


def _positional(number: bytes) -> bytes:
    return np.format_float_positional(float(number), trim="-").encode()


# --- what has no place --------------------------------------------------------------------------

_KEPT: Final = frozenset(
    ("occluded", "confidences", "image sizes", "unlabeled locations", "bbox", "area of bbox",
     "crowds", "flip pairs", "sigmas")
)  # fmt: skip
"""What `lost_values` is not asked about: it is kept, or said here."""


def _losses_of_fields(dataset: Dataset, images: str) -> list[Loss]:
    _, unheld = kept_extra(dataset)
    n_splits = sum(split is not None for split in recorded_splits(dataset))
    losses = lost_values(
        dataset,
        _KEPT,
        kept_image_fields={"split": n_splits},  # it is where the image stands
        lost_extra=unheld,
    )
    losses += _losses_of_categories(dataset.categories)
    return losses if images == "leave" else [*losses, *lost_pixels(dataset)]


def _losses_of_categories(categories: Sequence[Category]) -> list[Loss]:
    losses: list[Loss] = []
    names = [repr(c.name) for c in categories if c.schema.sigmas is not None]
    if names and common_sigmas(categories) is None:
        text = f"the sigmas of {count(len(names), 'category')}, for YOLO has one list for all"
        losses.append(Loss("sigmas", len(names), text, tuple(names)))
    names = [repr(c.name) for c in categories if c.schema.flip_pairs]
    if names and common_flip_indices(categories) is None:
        text = (
            f"the flip pairs of {count(len(names), 'category')}: YOLO has one 'flip_idx' for all "
            "classes, and they do not agree on one"
        )
        losses.append(Loss("flip_pairs", len(names), text, tuple(names)))
    return losses


def common_flip_indices(categories: Sequence[Category]) -> list[int] | None:
    """``flip_idx`` on which all categories agree, None if they do not."""
    longest = max(categories, key=lambda c: c.n_keypoints, default=None)
    if longest is None:
        return []
    indices: list[int] = longest.schema.flip_indices.tolist()
    for category in categories:
        if category.schema.flip_indices.tolist() != indices[: category.n_keypoints]:
            return None
    return indices


def common_sigmas(categories: Sequence[Category]) -> list[float] | None:
    """``kpt_oks_sigmas`` on which all categories agree, None if they do not or there are none."""
    lists = [None if c.schema.sigmas is None else c.schema.sigmas.tolist() for c in categories]
    given = [sigmas for sigmas in lists if sigmas is not None]
    if not given or len(given) < len(lists):
        return None
    longest: list[float] = max(given, key=len)
    return longest if all(sigmas == longest[: len(sigmas)] for sigmas in given) else None


def kept_extra(dataset: Dataset) -> tuple[dict[str, Any], list[str]]:
    """Unknown fields of the dataset that ``data.yaml`` can hold, and the names of the others."""
    kept: dict[str, Any] = {}
    unheld: list[str] = []
    for key, value in dataset.extra.items():
        try:
            copied = plain(value)
            text = json.dumps(copied)
            is_held = (
                (key == "minival" or key not in KNOWN_KEYS)
                and copied == value
                and len(text) <= _MAX_EXTRA_BYTES
                and _depth(copied) <= _MAX_EXTRA_DEPTH
            )
        except (ValueError, TypeError, RecursionError):
            is_held = False
        if is_held:
            kept[key] = copied
        else:
            unheld.append(key)
    if len(json.dumps(kept)) > _MAX_EXTRA_BYTES:
        return {}, list(dataset.extra)
    return kept, unheld


def _depth(value: Any) -> int:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, items), default=0)


def recorded_splits(dataset: Dataset) -> list[str | None]:
    """Split that each image was read from, None where that is not known."""
    recorded: list[str | None] = []
    has_splits: dict[int, bool] = {}  # by text: few have any, and parsing all records takes time
    for state in dataset._images:
        text = state.text
        if text is not None and id(text) not in has_splits:
            has_splits[id(text)] = b'"split"' in text.data
        name = state.record.get("split") if text is None or has_splits[id(text)] else None
        recorded.append(OF_SPLIT.get(name) if isinstance(name, str) else None)
    return recorded
