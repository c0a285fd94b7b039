"""Light views of a dataset: `ImageInfo`, `Instance`, their lists, and `Selection`.

They hold a dataset and the name of a row, never a value: what they show is what the dataset says
now, and what they change goes through the dataset's history.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kpwidget import geometry
from kpwidget.dataset.image_files import ImageRoots
from kpwidget.dataset.table import NO_ID, Bbox, InstanceTable
from kpwidget.dataset.values import as_int, checked_bbox, checked_point, checked_points
from kpwidget.history import PrimitiveChange
from kpwidget.images import ImageError, ImageSource, named
from kpwidget.schema import Category
from kpwidget.words import count

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from kpwidget.dataset.core import Dataset, ImageState

__all__ = ["ImageInfo", "ImageList", "Instance", "InstanceList", "Selection", "Status"]

Status = Literal["unlabeled", "started", "done"]

# Fields of an annotation that have a place of their own in a dataset; all others are `extra`.
_INSTANCE_FIELDS: Final = frozenset(
    ("id", "image_id", "category_id", "keypoints", "num_keypoints", "bbox", "area", "iscrowd",
     "track_id", "score")
)  # fmt: skip
_IMAGE_FIELDS: Final = frozenset(("id", "file_name", "width", "height"))


class ImageInfo:
    """One image of a dataset: a light view, equal to any other view of the same image."""

    __slots__ = ("_index", "dataset")

    def __init__(self, dataset: Dataset, index: int) -> None:
        self.dataset = dataset
        self._index = index

    @property
    def _state(self) -> ImageState:
        return self.dataset._images[self._index]

    @property
    def index(self) -> int:
        """Position in the dataset."""
        return self._index

    @property
    def id(self) -> int | str:
        """COCO's image id."""
        return self._state.id

    @property
    def file_name(self) -> str:
        """File name, relative to the image folder, with ``/``."""
        return self._state.file_name

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels.

        The size recorded in the labels file, if it has one; else read from the image's header when
        first asked for, which raises ImageError if that cannot be done.
        """
        state = self._state
        return state.recorded_size or self.source.size

    @property
    def width(self) -> int:
        """Width in pixels; see `size`."""
        return self.size[0]

    @property
    def height(self) -> int:
        """Height in pixels; see `size`."""
        return self.size[1]

    @property
    def source(self) -> ImageSource:
        """Where the pixels come from, made when first asked for.

        Raises
        ------
        ImageError
            If there is no such file inside the image folders; the message is fit to be shown.
        """
        state = self._state
        with self.dataset.lock:
            if state.source is None:
                data = state.data
                if data is None:
                    raise ImageError(
                        f"{named(state.file_name)}: none of the images that were given has this "
                        "name"
                    )
                if isinstance(data, ImageRoots):
                    data = data.resolve(state.file_name)
                state.source = ImageSource(
                    data, orientation=state.orientation, recorded_size=state.recorded_size
                )
            return state.source

    @property
    def path(self) -> Path | None:
        """Path of the image file; None for arrays and bytes and if no file is found."""
        data = self._state.data
        if isinstance(data, ImageRoots):
            try:
                return data.resolve(self.file_name)
            except ImageError:
                return None
        return Path(data) if isinstance(data, str | os.PathLike) else None

    def open(self) -> Image.Image:
        """Return the image, upright, as RGB.

        Raises
        ------
        ImageError
            If it is missing or cannot be read.
        """
        return self.source.open()

    @property
    def instances(self) -> list[Instance]:
        """Its instances, in order."""
        return self.dataset._instances_at(lambda table: table.rows_of_image[self._index])

    @property
    def status(self) -> Status:
        """'done' if set so; else 'started' if it has instances, 'unlabeled' if not."""
        if self._state.is_done:
            return "done"
        return "started" if self.dataset._table.rows_of_image[self._index] else "unlabeled"

    def set_status(self, status: str) -> None:
        """Mark the image done, or not done.

        Parameters
        ----------
        status : {'done', 'started', 'unlabeled'}
            Both others mean not done; which of them holds follows from the instances.
        """
        if status not in ("unlabeled", "started", "done"):
            raise ValueError(f"status is 'unlabeled', 'started' or 'done', not {status!r}")
        is_done = status == "done"
        with self.dataset.transaction("mark done" if is_done else "mark not done"):
            before = self._state.is_done
            if before != is_done:
                self.dataset._history.do(
                    PrimitiveChange("status", None, self._index, before, is_done)
                )

    @property
    def extra(self) -> Mapping[str, Any]:
        """Fields of its record that have no place of their own here; read-only."""
        return _extra(self._state.record, _IMAGE_FIELDS)

    def __eq__(self, other: object) -> bool:
        """Whether both are the same image of the same dataset."""
        if not isinstance(other, ImageInfo):
            return NotImplemented
        return self.dataset is other.dataset and self._index == other._index

    def __hash__(self) -> int:
        """Hash of dataset and position."""
        return hash((id(self.dataset), self._index))

    def _repr_png_(self) -> bytes:
        """Return a small picture with its instances, for notebooks."""
        from kpwidget.plotting.picture import png_of

        return png_of(self)

    def __repr__(self) -> str:
        """Name, status and number of instances."""
        n_instances = len(self.dataset._table.rows_of_image[self._index])
        return f"ImageInfo({self.file_name!r}, {self.status}, {count(n_instances, 'instance')})"


class Instance:
    """One annotated object in one image: a light view, equal to any other view of the same one.

    Every access of an instance that was removed raises a KeyError that says so.
    """

    __slots__ = ("dataset", "uid")

    def __init__(self, dataset: Dataset, uid: str) -> None:
        self.dataset = dataset
        self.uid = uid

    def _get(self, column: str) -> Any:
        table = self.dataset._table
        with self.dataset.lock:
            return table.value(table.row(self.uid), column)

    @property
    def id(self) -> int | None:
        """Annotation id; None until the first save."""
        return cast("int | None", self._get("id"))

    @property
    def image(self) -> ImageInfo:
        """The image it is in."""
        return ImageInfo(self.dataset, int(self._get("image")))

    @property
    def category(self) -> Category:
        """Its category."""
        return self.dataset._categories[int(self._get("category"))]

    @property
    def keypoints(self) -> NDArray[np.float64]:
        """Keypoints, shape (n_keypoints, 3): a read-only copy.

        (x, y, visibility), x and y in image pixels; an unlabeled keypoint is (NaN, NaN, 0).
        """
        table = self.dataset._table
        with self.dataset.lock:
            keypoints = table.keypoints(table.row(self.uid))
        keypoints.flags.writeable = False
        return keypoints

    @property
    def raw(self) -> NDArray[np.float64]:
        """Keypoints as a COCO file holds them, shape (n_keypoints, 3): a read-only copy.

        Unlabeled is (0, 0, 0), or (x, y, 0) where the file gave it a location and the keypoint
        has not been edited.
        """
        table = self.dataset._table
        with self.dataset.lock:
            keypoints = table.raw_keypoints(table.row(self.uid))
        keypoints.flags.writeable = False
        return keypoints

    @property
    def n_labeled(self) -> int:
        """Number of labeled keypoints (visibility above 0)."""
        table = self.dataset._table
        with self.dataset.lock:
            return table.n_labeled(table.row(self.uid))

    @property
    def bbox(self) -> Bbox | None:
        """(x, y, width, height) in image pixels; None if derived and no keypoint is labeled.

        A derived bbox is the extent of the labeled keypoints, at least 1 px, clipped to the image
        (if the image's size is known or can be read).
        """
        table = self.dataset._table
        with self.dataset.lock:
            row = table.row(self.uid)
            given = table.bbox(row)
            if given is not None or not table.n_labeled(row):
                return given
            keypoints = table.keypoints(row)
        try:
            width, height = self.image.size
        except ImageError:
            derived = geometry.bbox_from_keypoints(keypoints)
        else:
            derived = geometry.bbox_from_keypoints(keypoints, width, height)
        x, y, w, h = derived.tolist()
        return (x, y, w, h)

    @property
    def bbox_source(self) -> Literal["given", "derived"]:
        """'given' by a file or by hand, or 'derived' from the keypoints and following them."""
        table = self.dataset._table
        with self.dataset.lock:
            return "derived" if table.bbox(table.row(self.uid)) is None else "given"

    @property
    def area(self) -> float | None:
        """Area in square pixels: the file's, else width times height of the bbox."""
        given = self._get("area")
        if given is not None:
            return float(given)
        bbox = self.bbox
        return None if bbox is None else bbox[2] * bbox[3]

    @property
    def iscrowd(self) -> int:
        """1 if the record stands for a group of objects, else 0."""
        return int(self._get("iscrowd"))

    @property
    def track_id(self) -> Any:
        """Identity of the object across images, None if not given."""
        return self._get("track_id")

    @property
    def score(self) -> float | None:
        """Confidence of a prediction, None if not given."""
        return cast("float | None", self._get("score"))

    @property
    def annotator(self) -> str | None:
        """The person who added it; None if it was read from a file that does not say."""
        return cast("str | None", self._get("annotator"))

    @property
    def source(self) -> str:
        """How it came to be: 'human', 'model:<name>', 'interpolated' or 'imported'."""
        return str(self._get("source"))

    @property
    def is_finished(self) -> bool:
        """Whether its annotator has finished it."""
        return bool(self._get("is_finished"))

    @property
    def extra(self) -> Mapping[str, Any]:
        """Fields of its record that have no place of their own here; read-only."""
        table = self.dataset._table
        with self.dataset.lock:
            row = table.row(self.uid)
            text, position = table.text(row), table.value(row, "position")
            extra = table.value(row, "extra")
            fields = self.dataset.layout.fields_of(self.category)
        record = extra if text is None else text.record("annotations", position)
        return _extra(record, _INSTANCE_FIELDS.union(name for name, _ in fields))

    def set_keypoint(self, keypoint: str | int, x: float, y: float, visibility: int = 2) -> None:
        """Place a keypoint.

        Parameters
        ----------
        keypoint : str or int
            Name or 0-based index.
        x, y : float
            Image pixels, finite; kept as given, also outside the image.
        visibility : int, default 2
            2 visible, 1 occluded, 0 unlabeled (as `clear_keypoint`, x and y are not used).

        Raises
        ------
        ValueError
            If a value is not as described, naming each.
        KeyError
            If there is no such keypoint or the instance was removed.
        """
        schema = self.category.schema
        k = schema.index(keypoint)
        name = schema.keypoints[k]
        problems: list[str] = []
        point = checked_point(name, x, y, visibility, problems)
        if problems:
            raise ValueError("; ".join(problems))
        with self.dataset.transaction(f"place {name}" if point else f"clear {name}"):
            self.dataset._set_points(self.uid, {k: point})

    def clear_keypoint(self, keypoint: str | int) -> None:
        """Make a keypoint unlabeled.

        Parameters
        ----------
        keypoint : str or int
            Name or 0-based index.
        """
        schema = self.category.schema
        k = schema.index(keypoint)
        with self.dataset.transaction(f"clear {schema.keypoints[k]}"):
            self.dataset._set_points(self.uid, {k: None})

    def set_keypoints(self, keypoints: ArrayLike | Mapping[str, Sequence[float] | None]) -> None:
        """Replace all keypoints, in one step.

        Parameters
        ----------
        keypoints : array_like of shape (n_keypoints, 3) or (n_keypoints, 2), or mapping
            As for `Dataset.add_instance`. Keypoints missing in a mapping become unlabeled. One that
            was and stays unlabeled is not edited: it keeps the location a file gave it (`raw`).
        """
        points = checked_points(self.category, keypoints)
        with self.dataset.transaction("set keypoints"):
            was_labeled = self.keypoints[:, 2] > 0
            self.dataset._set_points(
                self.uid, {k: p for k, p in enumerate(points) if p or was_labeled[k]}
            )

    def set_bbox(self, bbox: Sequence[float] | NDArray[Any] | None) -> None:
        """Give the instance a bbox, or let it follow the keypoints again.

        Parameters
        ----------
        bbox : (x, y, width, height) or None
            Image pixels. None derives it. An area that a file gave does not change.
        """
        after = None if bbox is None else checked_bbox(bbox)
        table = self.dataset._table
        with self.dataset.transaction("draw bbox" if after is not None else "derive bbox"):
            before = table.bbox(table.row(self.uid))
            if before != after:
                self.dataset._history.do(
                    PrimitiveChange("bbox", self.uid, self.image.index, before, after)
                )

    def set_finished(self, is_finished: bool) -> None:
        """Mark the instance finished or not.

        Parameters
        ----------
        is_finished : bool
        """
        if not isinstance(is_finished, bool | np.bool_):
            raise ValueError(f"is_finished is True or False, not {is_finished!r}")
        with self.dataset.transaction("finish" if is_finished else "reopen"):
            before = self.is_finished
            if before != is_finished:
                self.dataset._history.do(
                    PrimitiveChange(
                        "finished", self.uid, self.image.index, before, bool(is_finished)
                    )
                )

    def remove(self) -> None:
        """Remove the instance. Undo brings it back, at its place, with its uid and id."""
        with self.dataset.transaction(f"remove {self.category.name}"):
            record = self.dataset._table.record(self.uid)
            self.dataset._history.do(
                PrimitiveChange("instance", self.uid, record.image, record, None)
            )

    def __eq__(self, other: object) -> bool:
        """Whether both are the same instance of the same dataset."""
        if not isinstance(other, Instance):
            return NotImplemented
        return self.dataset is other.dataset and self.uid == other.uid

    def __hash__(self) -> int:
        """Hash of dataset and uid."""
        return hash((id(self.dataset), self.uid))

    def _repr_png_(self) -> bytes | None:
        """Return a small picture of it in its image, for notebooks; None if it was removed."""
        from kpwidget.plotting.picture import png_of

        with self.dataset.lock:
            if not self.dataset._table.has(self.uid):
                return None
        return png_of(self)

    def __repr__(self) -> str:
        """Category, image and number of labeled keypoints."""
        with self.dataset.lock:
            if not self.dataset._table.has(self.uid):
                return f"Instance({self.uid!r}, removed)"
            category = self.category
            return (
                f"Instance({self.uid!r}, {category.name}, {self.n_labeled}/"
                f"{category.n_keypoints} keypoints, image {self.image.file_name!r})"
            )


class ImageList(Sequence[ImageInfo]):
    """The images of a dataset, or some of them.

    ``images[3]`` is by position, ``images["a.png"]`` by file name, slices give lists;
    `by_id` looks up COCO's image id.
    """

    __slots__ = ("_dataset", "_indices")

    def __init__(self, dataset: Dataset, indices: Sequence[int] | None = None) -> None:
        self._dataset = dataset
        self._indices = indices

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._dataset._images if self._indices is None else self._indices)

    @overload
    def __getitem__(self, key: int | str) -> ImageInfo: ...
    @overload
    def __getitem__(self, key: slice) -> list[ImageInfo]: ...
    def __getitem__(self, key: int | str | slice) -> ImageInfo | list[ImageInfo]:
        """Return an image by position or file name, or a list of images by slice."""
        indices = range(len(self._dataset._images)) if self._indices is None else self._indices
        if isinstance(key, slice):
            return [ImageInfo(self._dataset, index) for index in indices[key]]
        if isinstance(key, str):
            return self._own(self._dataset._image_named(key), key)
        position = as_int(key)
        if position is None:
            raise TypeError(
                f"an image is found by its position or file name, several by a slice; got {key!r}"
            )
        if not -len(indices) <= position < len(indices):
            raise IndexError(f"there is no image {position}: there are {len(indices)} images")
        return ImageInfo(self._dataset, indices[position])

    def by_id(self, image_id: int | str) -> ImageInfo:
        """Image with this COCO id; KeyError if there is none."""
        index = self._dataset._index_of_image_id.get(image_id)
        if index is None or isinstance(image_id, bool):
            raise KeyError(f"no image has the id {image_id!r}")
        return self._own(index, image_id)

    def _own(self, index: int, key: object) -> ImageInfo:
        if self._indices is not None and index not in self._indices:
            raise KeyError(f"image {key!r} is not in this selection")
        return ImageInfo(self._dataset, index)

    def __iter__(self) -> Iterator[ImageInfo]:
        """Iterate over the images in order."""
        indices = range(len(self._dataset._images)) if self._indices is None else self._indices
        return (ImageInfo(self._dataset, index) for index in indices)

    def __repr__(self) -> str:
        """Number of images and the first names."""
        names = ", ".join(repr(image.file_name) for image in self[:3])
        return f"<{count(len(self), 'image')}: {names}{', ...' if len(self) > 3 else ''}>"


class InstanceList(Sequence[Instance]):
    """The instances of a dataset, in the order in which they were read and added.

    ``instances[3]`` is by position, ``instances["coco:17"]`` by uid, slices give lists;
    `by_id` looks up the annotation id.
    """

    __slots__ = ("_dataset",)

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        """Return the number of instances."""
        return self._dataset._table.n_instances

    @overload
    def __getitem__(self, key: int | str) -> Instance: ...
    @overload
    def __getitem__(self, key: slice) -> list[Instance]: ...
    def __getitem__(self, key: int | str | slice) -> Instance | list[Instance]:
        """Return an instance by position or uid, or a list of instances by slice."""
        if isinstance(key, str):
            return self._dataset.instance(key)
        if isinstance(key, slice):
            return self._dataset._instances_at(lambda table: table.live_rows()[key])
        position = as_int(key)
        if position is None:
            raise TypeError(f"instances are found by position, uid or slice, not {key!r}")
        with self._dataset.lock:
            table = self._dataset._table
            if not -len(self) <= position < len(self):
                raise IndexError(f"there is no instance {position}: there are {len(self)}")
            return Instance(self._dataset, *table.uids([table.live_rows()[position]]))

    def by_id(self, annotation_id: int) -> Instance:
        """Instance with this annotation id; KeyError if there is none."""
        table = self._dataset._table
        with self._dataset.lock:
            row = table.row_of_id(annotation_id)
            if row is not None:
                return Instance(self._dataset, *table.uids([row]))
        raise KeyError(f"no instance has the annotation id {annotation_id!r}")

    def __iter__(self) -> Iterator[Instance]:
        """Iterate over the instances there are when it begins."""
        return iter(self[:])

    def __contains__(self, value: object) -> bool:
        """Whether this instance is in the dataset and was not removed."""
        return (
            isinstance(value, Instance)
            and value.dataset is self._dataset
            and self._dataset._table.has(value.uid)
        )

    def __repr__(self) -> str:
        """Return the number of instances."""
        return f"<{count(len(self), 'instance')}>"


class Selection:
    """A live view of a part of a dataset, made by `Dataset.select`.

    It holds the conditions and not the result: each access looks again, and edits of its
    instances go to the dataset.

    Attributes
    ----------
    dataset : Dataset
    """

    def __init__(
        self,
        dataset: Dataset,
        images: Sequence[int] | None,
        category: int | None,
        where: Callable[[Instance], object] | NDArray[np.int64] | None,
    ) -> None:
        self.dataset = dataset
        self._image_indices = images
        self._category = category
        self._where = where  # a condition, or the rows that a mask chose

    @property
    def categories(self) -> tuple[Category, ...]:
        """The category selected, else all."""
        categories = self.dataset.categories
        return categories if self._category is None else (categories[self._category],)

    def _rows(self, table: InstanceTable) -> Sequence[int] | NDArray[np.int64]:
        """Rows that fit, rising."""
        rows: Sequence[int] | NDArray[np.int64]
        if self._image_indices is None:
            rows = table.live_rows()
        else:
            rows = sorted(r for i in self._image_indices for r in table.rows_of_image[i])
        if self._category is not None:
            chosen = np.asarray(rows, np.int64)
            rows = chosen[table.column("category", rows) == self._category]
        if self._where is None:
            return rows
        if isinstance(self._where, np.ndarray):
            return np.intersect1d(np.asarray(rows, np.int64), self._where, assume_unique=True)
        instances = [Instance(self.dataset, uid) for uid in table.uids(rows)]
        return [table.row(instance.uid) for instance in instances if self._where(instance)]

    @property
    def instances(self) -> list[Instance]:
        """The instances that fit, in the order of the dataset."""
        return self.dataset._instances_at(self._rows)

    @property
    def images(self) -> ImageList:
        """The images selected; without a choice of images, those with an instance that fits."""
        if self._image_indices is not None:
            return ImageList(self.dataset, self._image_indices)
        if self._category is None and self._where is None:
            return self.dataset.images
        with self.dataset.lock:
            table = self.dataset._table
            indices = np.unique(table.column("image", self._rows(table)))
        return ImageList(self.dataset, indices.tolist())

    def keypoints(self, category: str | int | Category | None = None) -> NDArray[np.float64]:
        """Keypoints of the instances that fit, of one category; see `Dataset.keypoints`."""
        if category is None and self._category is not None:
            category = self.dataset.categories[self._category]
        with self.dataset.lock:
            index = self.dataset._category_index(category)
            table = self.dataset._table
            keypoints = table.keypoints_of(index, self._rows(table))
        keypoints.flags.writeable = False
        return keypoints

    def to_pandas(self) -> pd.DataFrame:
        """Return a table with one row per instance; see `Dataset.to_pandas`."""
        with self.dataset.lock:
            return to_pandas(self.dataset, self._rows(self.dataset._table))

    def _with_ids(self) -> Selection:
        """Give the annotation ids that a copy would otherwise make up for itself."""
        with self.dataset.lock:
            self.dataset._give_ids()
        return self

    def copy(self) -> Dataset:
        """Return a dataset of its own with the images and instances that fit.

        Returns
        -------
        Dataset
            Same uids, ids and fields; no history and no file, so that saving it cannot replace the
            file of the whole. Later edits of either do not reach the other.
        """
        with self.dataset.lock:
            is_part = self._category is not None or self._where is not None
            return self.dataset._copy(
                [image.index for image in self.images],
                self._rows(self.dataset._table),
                keep_others=not is_part,
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __repr__(self) -> str:
        """Return the counts."""
        with self.dataset.lock:
            n_instances = len(self._rows(self.dataset._table))
        return (
            f"Selection({count(len(self.images), 'image')}, "
            f"{count(n_instances, 'instance')} of {self.dataset!r})"
        )


def _extra(fields: Mapping[str, Any] | None, known: frozenset[str]) -> Mapping[str, Any]:
    return MappingProxyType({k: v for k, v in (fields or {}).items() if k not in known})


def bboxes_of(dataset: Dataset, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
    """Bbox of each row, given or derived, shape (n, 4); NaN where there is none.

    (x, y, width, height) in image pixels; see `Instance.bbox`.
    """
    table = dataset._table
    boxes = table.column("bbox", rows)
    derived = np.flatnonzero(np.isnan(boxes[:, 0]) & (table.n_labeled_of(rows) > 0))
    if not len(derived):
        return boxes
    chosen = np.asarray(rows, np.int64)[derived]
    indices, which = np.unique(table.column("image", chosen), return_inverse=True)
    sizes = np.full((len(indices), 2), math.inf)
    for i, index in enumerate(indices.tolist()):
        try:
            sizes[i] = ImageInfo(dataset, index).size
        except ImageError:
            continue  # as long as the size is not known there is nothing to clip to
    limits = sizes[which]
    categories = table.column("category", chosen)
    for category in np.unique(categories).tolist():
        is_of = categories == category
        boxes[derived[is_of]] = geometry.bbox_from_keypoints(
            table.keypoints_of(category, chosen[is_of]), limits[is_of, 0], limits[is_of, 1]
        )
    return boxes


def to_pandas(dataset: Dataset, rows: Sequence[int] | NDArray[np.int64]) -> pd.DataFrame:
    """Table of the instances in rows; see `Dataset.to_pandas`."""
    import pandas as pd

    table = dataset._table
    file_names = np.array([state.file_name for state in dataset._images], dtype=object)
    names = np.array([category.name for category in dataset._categories], dtype=object)
    ids, area = table.column("id", rows), table.column("area", rows)
    boxes = bboxes_of(dataset, rows)
    is_derived = np.isnan(table.column("bbox", rows)[:, 0])
    return pd.DataFrame(
        {
            "uid": table.column("uid", rows),
            "id": pd.arrays.IntegerArray(ids, ids == NO_ID),
            "image": file_names[table.column("image", rows)],
            "category": names[table.column("category", rows)],
            "n_labeled": table.n_labeled_of(rows),
            "bbox_x": boxes[:, 0],
            "bbox_y": boxes[:, 1],
            "bbox_width": boxes[:, 2],
            "bbox_height": boxes[:, 3],
            "bbox_source": np.where(is_derived, "derived", "given").astype(object),
            "area": np.where(np.isnan(area), boxes[:, 2] * boxes[:, 3], area),
            "score": table.column("score", rows),
            # No pandas type but this holds integers of 64 bits, text and nothing at all.
            "track_id": pd.Series(table.column("track_id", rows), dtype=object),
            "iscrowd": table.column("iscrowd", rows).astype(np.int64),
            "is_finished": table.column("is_finished", rows),
            "annotator": table.column("annotator", rows),
            "source": table.column("source", rows),
        }
    )


def rows_of_mask(dataset: Dataset, where: Any) -> NDArray[np.int64]:
    """Rows of the instances for which a mask is true; see `Dataset.select`."""
    n = dataset._table.n_instances
    expected = f"one bool for each of the {n} instances, in the order of to_pandas()"
    if hasattr(where, "sort_index"):  # a pandas Series, perhaps of a table that was sorted
        where = where.sort_index()
        if len(where) == n and list(where.index) != list(range(n)):
            raise ValueError(
                f"where has another index than to_pandas(); expected {expected}: reset_index() "
                "before it is made, or pass a callable"
            )
    mask = np.asarray(where)
    if mask.dtype == object and all(isinstance(value, bool | np.bool_) for value in mask.flat):
        mask = mask.astype(np.bool_)
    if mask.size == 0:  # an empty list has no type
        mask = mask.astype(np.bool_)
    if mask.dtype != np.bool_ or mask.ndim != 1:
        raise TypeError(
            f"where is a callable or a mask; expected {expected}, got "
            + (f"shape {mask.shape} of {mask.dtype}" if mask.ndim else repr(where))
        )
    if len(mask) != n:
        raise ValueError(f"where has {len(mask)} values, expected {expected}")
    rows: NDArray[np.int64] = np.asarray(dataset._table.live_rows(), np.int64)[mask]
    return rows
