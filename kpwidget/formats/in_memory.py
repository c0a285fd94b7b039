"""Datasets to the objects of other packages, and back: supervision, FiftyOne, movement.

Each pair of functions says what the other side has no place for. Hugging Face ``datasets`` are in
`kpwidget.formats.huggingface`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset import Dataset, ImageInfo
from kpwidget.formats import needed
from kpwidget.formats.gathered import Gathered, instances_by_image
from kpwidget.schema import Category, Schema, _show

__all__ = [
    "from_fiftyone",
    "from_movement",
    "from_supervision",
    "to_fiftyone",
    "to_movement",
    "to_supervision",
]

VISIBILITY: Final = "visibility"
"""Of ``KeyPoints.data``: the visibilities, shape (n_instances, n_keypoints)."""


def _as_categories(schema: Schema | Sequence[Schema]) -> list[Category]:
    schemas = [schema] if isinstance(schema, Schema) else list(schema)
    if not schemas:
        raise ValueError("schema: expected one schema, or one for each class, got none")
    return [Category(i + 1, one, one.name) for i, one in enumerate(schemas)]


def _located(xy: NDArray[Any], visibility: NDArray[Any]) -> NDArray[np.float64]:
    """Keypoints as a file holds them: what has no location is (0, 0, 0)."""
    is_there = np.isfinite(xy).all(axis=-1)
    points = np.concatenate([xy, visibility[..., None]], axis=-1).astype(np.float64)
    points[~is_there] = 0
    return points


# --- supervision --------------------------------------------------------------------------------


def to_supervision(dataset: Dataset) -> dict[str, Any]:
    """Instances of each image as `supervision.KeyPoints`.

    Parameters
    ----------
    dataset : Dataset
        All its categories have the same number of keypoints, for ``KeyPoints`` is one array.

    Returns
    -------
    dict of str to supervision.KeyPoints
        By file name. ``xy`` is in image pixels, (0, 0) where a keypoint is unlabeled, as
        supervision's own readers have it; ``class_id`` the position of the category; visibilities
        are in ``data['visibility']``. Not in it: bboxes, tracks, ids and unknown fields.

    Raises
    ------
    ImportError
        If supervision is not installed.
    ValueError
        If categories with instances have different numbers of keypoints.
    """
    sv = needed("supervision", "supervision", "making supervision.KeyPoints")
    found: dict[str, Any] = {}
    with dataset.lock:
        numbers = dataset._table.n_of_categories()
        used = [c for c, n in zip(dataset.categories, numbers, strict=True) if n]
        n_keypoints = {category.n_keypoints for category in used or dataset.categories}
        if len(n_keypoints) > 1:
            raise ValueError(
                "supervision.KeyPoints has one number of keypoints for all, the categories have "
                f"{_show(sorted(n_keypoints))}: pass dataset.select(category=...).copy()"
            )
        k = n_keypoints.pop() if n_keypoints else 0
        for state, of in zip(dataset._images, instances_by_image(dataset), strict=True):
            points = np.array([item.points for item in of], np.float64).reshape(len(of), k, 3)
            visibility = points[..., 2]
            xy = np.where(visibility[..., None] > 0, points[..., :2], 0)
            found[state.file_name] = sv.KeyPoints(
                xy=xy,
                class_id=np.array([item.category for item in of], int),
                data={VISIBILITY: visibility},
            )
    return found


def from_supervision(
    keypoints: Mapping[str, Any],
    schema: Schema | Sequence[Schema],
    *,
    images: Any = None,
    model: str | None = None,
) -> Dataset:
    """Dataset of `supervision.KeyPoints` by file name.

    Parameters
    ----------
    keypoints : mapping of str to supervision.KeyPoints
    schema : Schema or sequence of Schema
        One, or one for each ``class_id``.
    images : optional
        Where the image files are; see `kpwidget.read`.
    model : str, optional
        What made them, if they are predictions: the source is ``'model:<name>'``.

    Returns
    -------
    Dataset
        A keypoint at (0, 0) is unlabeled; the others are visible, or as ``data['visibility']``
        says. Confidences of keypoints are in ``extra['keypoint_scores']``, that of the detection is
        the score.

    Raises
    ------
    FormatError
        If there are more or fewer keypoints than in the schema, or classes without one.
    """
    categories = _as_categories(schema)
    gathered = Gathered("supervision.KeyPoints", "raise")
    for name, of in keypoints.items():
        image = gathered.image(name)
        xy = np.asarray(of.xy, np.float64)
        n = len(xy)
        given = of.data.get(VISIBILITY) if of.data else None
        flags = np.full(xy.shape[:2], 2.0) if given is None else np.asarray(given, np.float64)
        points = _located(xy, np.where((xy == 0).all(axis=-1) & (flags != 1), 0, flags))
        classes = np.zeros(n, int) if of.class_id is None else np.asarray(of.class_id)
        scores = getattr(of, "keypoint_confidence", None)
        overall = getattr(of, "detection_confidence", None)
        for i in range(n):
            c = int(classes[i])
            if not 0 <= c < len(categories) or points.shape[1] != categories[c].n_keypoints:
                gathered.problems.append(
                    f"{_show(name)} instance {i + 1}: has class {c} and {points.shape[1]} "
                    f"keypoints, expected one of {[f.n_keypoints for f in categories]}"
                )
                continue
            values: dict[str, Any] = {"source": f"model:{model}"} if model else {}
            if scores is not None:
                values["extra"] = {"keypoint_scores": np.asarray(scores[i], float).tolist()}
            if overall is not None:
                values["score"] = float(overall[i])
            gathered.instance(f"supervision:{name}:{i + 1}", image, c, points[i], **values)
    return gathered.dataset(categories, images, Path("x"), allow_outside=False)


# --- FiftyOne -----------------------------------------------------------------------------------


def to_fiftyone(dataset: Dataset) -> dict[str, Any]:
    """Instances of each image as `fiftyone.Keypoints`.

    Parameters
    ----------
    dataset : Dataset
        The size of every image with instances is known: FiftyOne has coordinates in 0..1.

    Returns
    -------
    dict of str to fiftyone.Keypoints
        By file name, for a ``Keypoints`` field of a sample. An unlabeled keypoint is (nan, nan);
        visibilities are in the attribute ``visible``, as FiftyOne's COCO importer has them, a bbox
        in ``bounding_box`` (parts of the image's size), a track in ``index`` if it is a number.
        The skeleton belongs to FiftyOne's dataset:
        ``fo.KeypointSkeleton(labels=..., edges=schema.edges.tolist())``.

    Raises
    ------
    ImportError
        If FiftyOne is not installed.
    ImageError
        If the size of an image with instances is not known.
    """
    fo = needed("fiftyone", "fiftyone", "making fiftyone.Keypoints")
    found: dict[str, Any] = {}
    with dataset.lock:
        table = dataset._table
        for i, of in enumerate(instances_by_image(dataset)):
            state = dataset._images[i]
            made = []
            width, height = state.recorded_size or ImageInfo(dataset, i).size if of else (1, 1)
            for item in of:
                fields: dict[str, Any] = {"visible": [v for _, _, v in item.points]}
                if item.bbox is not None:
                    x, y, w, h = item.bbox
                    fields["bounding_box"] = [x / width, y / height, w / width, h / height]
                track, score = table.value(item.row, "track_id"), table.value(item.row, "score")
                if isinstance(track, int):
                    fields["index"] = track
                if score is not None:
                    fields["score"] = score
                points = [
                    (x / width, y / height) if v else (math.nan, math.nan)
                    for x, y, v in item.points
                ]
                label = dataset.categories[item.category].name
                made.append(fo.Keypoint(label=label, points=points, **fields))
            found[state.file_name] = fo.Keypoints(keypoints=made)
    return found


def from_fiftyone(
    keypoints: Mapping[str, Any],
    schema: Schema | Sequence[Schema],
    sizes: Mapping[str, tuple[int, int]],
    *,
    images: Any = None,
) -> Dataset:
    """Dataset of `fiftyone.Keypoints` by file name.

    Parameters
    ----------
    keypoints : mapping of str to fiftyone.Keypoints
    schema : Schema or sequence of Schema
        The name of each is the ``label`` of its keypoints.
    sizes : mapping of str to (int, int)
        (width, height) of each image in pixels; samples have them in ``metadata``.
    images : optional
        Where the image files are; see `kpwidget.read`.

    Returns
    -------
    Dataset
        As `to_fiftyone` made them. Without ``visible`` all keypoints but (nan, nan) are visible.

    Raises
    ------
    FormatError
        If labels have no schema, or other numbers of keypoints than it.
    KeyError
        If the size of an image is not given.
    """
    categories = _as_categories(schema)
    index = {category.name: c for c, category in enumerate(categories)}
    gathered = Gathered("fiftyone.Keypoints", "raise")
    for name, of in keypoints.items():
        size = np.array(sizes[name], np.float64)
        image = gathered.image(name, (int(size[0]), int(size[1])))
        for i, one in enumerate(of.keypoints, 1):
            c = index.get(one.label)
            xy = np.array(one.points, np.float64).reshape(-1, 2) * size
            if c is None or len(xy) != categories[c].n_keypoints:
                gathered.problems.append(
                    f"{_show(name)} instance {i}: has the label {_show(one.label)} and {len(xy)} "
                    "keypoints, expected "
                    + ", ".join(f"{d.name!r} with {d.n_keypoints}" for d in categories)
                )
                continue
            visible = _attribute(one, "visible")
            flags = np.full(len(xy), 2.0) if visible is None else np.array(visible, np.float64)
            values: dict[str, Any] = {}
            box = _attribute(one, "bounding_box")
            if box is not None:
                values["bbox"] = (np.array(box, np.float64) * np.tile(size, 2)).tolist()
            for attribute, column in (("index", "track_id"), ("score", "score")):
                given = _attribute(one, attribute)
                if given is not None:
                    values[column] = given
            gathered.instance(f"fiftyone:{name}:{i}", image, c, _located(xy, flags), **values)
    return gathered.dataset(categories, images, Path("x"), allow_outside=False)


def _attribute(label: Any, name: str) -> Any:
    """Value of an attribute of a label, None if it has no such field."""
    try:
        return label[name]
    except (KeyError, AttributeError):
        return None


# --- movement -----------------------------------------------------------------------------------


def to_movement(
    dataset: Dataset, category: str | int | None = None, *, fps: float | None = None
) -> Any:
    """Instances of a category as `xarray.Dataset` of poses, in the layout of movement.

    Parameters
    ----------
    dataset : Dataset
        Its images are the frames, in their order.
    category : str or int, optional
        Name or id; may be left out if there is one category only.
    fps : float, optional
        Frames per second.

    Returns
    -------
    xarray.Dataset
        ``position`` (time, space, keypoints, individuals) in image pixels, NaN where unlabeled, and
        ``confidence``: the scores of predicted keypoints (``extra['keypoint_scores']``), else that
        of the instance, else 1. An individual is a `track_id`; instances without one are
        ``id_0``, ``id_1``, ... by their order in the image. Not in it: visibility 1, bboxes, ids.

    Raises
    ------
    ImportError
        If movement is not installed.
    ValueError
        If two instances of an image have the same track_id.
    """
    load = needed("movement.io.load_poses", "movement", "making datasets of movement")
    with dataset.lock:
        c = dataset._category_index(category if category is None else dataset.category(category).id)
        names = dataset.categories[c].keypoints
        table = dataset._table
        individuals: dict[str, int] = {}
        cells: list[tuple[int, int, Any, Any]] = []
        for frame, of in enumerate(instances_by_image(dataset)):
            taken: set[str] = set()
            own = [item for item in of if item.category == c]
            for j, item in enumerate(own):
                track = table.value(item.row, "track_id")
                name = f"id_{j}" if track is None else str(track)
                if name in taken:
                    raise ValueError(
                        f"image {dataset._images[frame].file_name!r}: two instances are the "
                        f"individual {name!r}; expected each track_id once in an image"
                    )
                taken.add(name)
                place = individuals.setdefault(name, len(individuals))
                cells.append((frame, place, item.points, _scores(table, item.row, len(names))))
        shape = (len(dataset._images), 2, len(names), max(1, len(individuals)))
        position = np.full(shape, np.nan)
        confidence = np.full((shape[0], *shape[2:]), np.nan)
        for frame, place, given, scores in cells:
            points = np.array(given, np.float64)
            is_labeled = points[:, 2] > 0
            position[frame, :, is_labeled, place] = points[is_labeled, :2]
            confidence[frame, is_labeled, place] = scores[is_labeled]
    return load.from_numpy(
        position, confidence_array=confidence, individual_names=list(individuals) or ["id_0"],
        keypoint_names=list(names), fps=fps, source_software="kpwidget",
    )  # fmt: skip


def _scores(table: Any, row: int, n: int) -> NDArray[np.float64]:
    extra, score = table.value(row, "extra"), table.value(row, "score")
    scores = extra.get("keypoint_scores") if isinstance(extra, Mapping) else None
    if isinstance(scores, list) and len(scores) == n:
        return np.array(scores, np.float64)
    return np.full(n, 1.0 if score is None else score)


def from_movement(
    poses: Any,
    file_names: Sequence[str],
    schema: Schema | None = None,
    *,
    images: Any = None,
    model: str | None = None,
) -> Dataset:
    """Dataset of poses in the layout of movement.

    Parameters
    ----------
    poses : xarray.Dataset
        With ``position`` (time, space, keypoints, individuals) in image pixels and perhaps
        ``confidence``; two dimensions of space.
    file_names : sequence of str
        The image of each point in time.
    schema : Schema, optional
        With the names that the poses have; by default those names and no edges.
    images : optional
        Where the image files are; see `kpwidget.read`.
    model : str, optional
        What made them: the source is ``'model:<name>'``.

    Returns
    -------
    Dataset
        An instance for each individual with a located keypoint, with the individual as its
        `track_id` and the confidences in ``extra['keypoint_scores']``.

    Raises
    ------
    ValueError
        If there are more or fewer file names than points in time, three dimensions, or other
        keypoints than in the schema.
    """
    position = poses["position"].transpose("time", "individuals", "keypoints", "space")
    xy = np.asarray(position.values, np.float64)
    names = [str(name) for name in position["keypoints"].values]
    if xy.shape[3] != 2 or len(file_names) != len(xy):
        raise ValueError(
            f"poses are {xy.shape[3]}-dimensional at {len(xy)} points in time; expected 2 "
            f"dimensions and as many points as file names, {len(file_names)}"
        )
    if schema is not None and sorted(schema.keypoints) != sorted(names):
        raise ValueError(
            f"schema {schema.name!r} has the keypoints {_show(list(schema.keypoints))}, expected "
            f"{_show(names)}"
        )
    schema = schema or Schema("object", names)
    order = [names.index(keypoint) for keypoint in schema.keypoints]
    xy = xy[:, :, order]
    scores = None
    if "confidence" in poses:
        ordered = poses["confidence"].transpose("time", "individuals", "keypoints")
        scores = np.asarray(ordered.values, np.float64)[:, :, order]
    points = _located(xy, np.where(np.isfinite(xy).all(axis=-1), 2.0, 0.0))
    gathered = Gathered("movement", "raise")
    for frame, name in enumerate(file_names):
        image = gathered.image(name)
        for j, individual in enumerate(position["individuals"].values):
            if not points[frame, j, :, 2].any():
                continue
            values: dict[str, Any] = {"source": f"model:{model}"} if model else {}
            if scores is not None:
                given = np.nan_to_num(scores[frame, j]).tolist()
                values["extra"] = {"keypoint_scores": given}
            gathered.instance(
                f"movement:{name}:{individual}", image, 0, points[frame, j],
                track_id=str(individual), **values,
            )  # fmt: skip
    return gathered.dataset(_as_categories(schema), images, Path("x"), allow_outside=False)
