"""What readers find, gathered and put into a dataset in one go; and the way back for writers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset import Dataset
from kpwidget.dataset.core import ImageState
from kpwidget.dataset.image_files import image_locator
from kpwidget.dataset.table import NO_ID
from kpwidget.dataset.values import MAX_COORDINATE, as_float, as_int
from kpwidget.dataset.views import Instance
from kpwidget.formats import Problems, check_told, count, keypoints_of, settle
from kpwidget.formats.json_text import check_depth
from kpwidget.schema import Category, FormatError, Schema, _decode, _parse_json, _show

__all__ = [
    "SCORES",
    "Gathered",
    "Item",
    "categories_of_records",
    "instances_by_image",
    "kept_of_instances",
    "load_json",
    "number",
    "objects_in",
    "progress",
    "schema_for",
]

OnError = Literal["raise", "skip"]
"""See `kpwidget.read`."""

SCORES: Final = "keypoint_scores"
"""Of `extra` of predicted instances: the score of each keypoint, as of COCO results."""

_T = TypeVar("_T")

_COLUMNS: Final = ("bbox", "area", "iscrowd", "track_id", "score", "id", "extra", "source")
_FILLS: Final = {"bbox": [np.nan] * 4, "area": np.nan, "iscrowd": 0, "score": np.nan, "id": NO_ID}


class Gathered:
    """Images and instances that a reader has found, and what is wrong with the others.

    Parameters
    ----------
    path : path
        The file or folder, for messages.
    on_error : {'raise', 'skip'}
        See `kpwidget.read`.

    Attributes
    ----------
    problems : Problems
        What is wrong with records, each in words.
    warnings : list of str
        What is worth knowing about what was read.
    """

    def __init__(self, path: str | os.PathLike[str], on_error: OnError) -> None:
        self.where = os.fspath(path)
        self.problems = Problems()
        self.warnings: list[str] = []
        self._on_error = on_error
        self._images: list[ImageState] = []
        self._image_ids: list[int | str | None] = []
        self._ids: set[int] = set()
        self._index_of_name: dict[str, int] = {}
        self._instances: list[tuple[str, int, int, Any]] = []  # uid, image, category, keypoints
        self._columns: list[dict[str, Any]] = []

    def image(
        self,
        file_name: str,
        size: tuple[int, int] | None = None,
        *,
        is_done: bool = False,
        extra: dict[str, Any] | None = None,
        id: int | str | None = None,
    ) -> int:
        """Add an image; return its position.

        Its id is used if all images have one and each another; else they are 1, 2, ...

        Raises
        ------
        KeyError
            If there is one of this name.
        """
        index = self._index_of_name.setdefault(file_name, len(self._images))
        if index < len(self._images):
            raise KeyError(file_name)
        self._images.append(
            ImageState(
                index + 1, file_name, None, recorded_size=size, is_done=is_done, extra=extra or None
            )
        )
        self._image_ids.append(id)
        return index

    def index(self, file_name: str) -> int | None:
        """Position of an image, None if it was not added."""
        return self._index_of_name.get(file_name)

    def state(self, index: int) -> ImageState:
        """Return an image that was added."""
        return self._images[index]

    def instance(self, uid: str, image: int, category: int, keypoints: Any, **columns: Any) -> None:
        """Add an instance.

        Parameters
        ----------
        uid : str
            Not given before. With an id that no other instance has, it is ``coco:<id>`` instead.
        image, category : int
            Positions.
        keypoints : mapping of str to (x, y, visibility), or sequence of these, n_keypoints long
            In image pixels; unlabeled is (0, 0, 0). By the names of keypoints where a file leaves
            out what is unlabeled: see `check_told`.
        **columns
            'bbox' (4 numbers), 'area', 'iscrowd', 'track_id', 'score', 'id', 'extra', 'source'.
        """
        number = columns.get("id")
        if number is not None and number not in self._ids:
            self._ids.add(number)
            uid = f"coco:{number}"
        elif number is not None:
            columns["id"] = NO_ID
            self.problems.append(f"{uid}: the annotation id {number} is another's as well")
        self._instances.append((uid, image, category, keypoints))
        self._columns.append(columns)

    def dataset(
        self,
        categories: Sequence[Category],
        images: Any,
        beside: Path,
        *,
        allow_outside: bool,
    ) -> Dataset:
        """Dataset of all that was gathered; raises or warns of what was not.

        Parameters
        ----------
        categories : sequence of Category
        images : as of `kpwidget.read`
        beside : Path
            A file (or any name) in the folder in which images are by default.
        allow_outside : bool

        Raises
        ------
        FormatError
            If there are problems and `on_error` is 'raise', naming every one; if the instances
            would have far more keypoints than the file tells of.
        """
        told = [(c, points) for _, _, c, points in self._instances if isinstance(points, Mapping)]
        n_keypoints = sum(categories[c].n_keypoints for c, _ in told)
        check_told(n_keypoints, sum(len(points) for _, points in told), self.where)
        dataset = Dataset(categories)
        locate = image_locator(beside.parent if images is None else images, allow_outside)
        has_ids = None not in self._image_ids and len(set(self._image_ids)) == len(self._images)
        for state, given in zip(self._images, self._image_ids, strict=True):
            state.data = locate(state.file_name)
            if has_ids and given is not None:
                state.id = given
        dataset._add_images(self._images)
        dataset._n_done = sum(state.is_done for state in self._images)
        self._put_instances(dataset)
        return settle(dataset, self.where, self.problems, self.warnings, self._on_error)

    def _put_instances(self, dataset: Dataset) -> None:
        if not self._instances:
            return
        uids, image, category, keypoints = zip(*self._instances, strict=True)
        of = np.array(category, np.int64)
        points: dict[int, NDArray[np.float64]] = {}
        for c, named in enumerate(dataset.categories):
            own = [keypoints[i] for i in np.flatnonzero(of == c).tolist()]
            if own and isinstance(own[0], Mapping):
                points[c] = keypoints_of(named, own)
            else:
                points[c] = np.array(own, np.float64).reshape(-1, named.n_keypoints, 3)
        columns: dict[str, Any] = {}
        for name in _COLUMNS:
            if not any(name in given for given in self._columns):
                continue
            fill = _FILLS.get(name)
            values = [fill if given.get(name) is None else given[name] for given in self._columns]
            if name in ("track_id", "extra", "source"):
                column = np.empty(len(values), object)
                column[:] = values
                columns[name] = column
            else:
                columns[name] = np.array(values)
        columns.setdefault("source", "imported")
        dataset._table.extend(
            uids=uids, image=np.array(image, np.int64), category=of, keypoints=points, **columns
        )


def load_json(path: Path) -> Any:
    """Content of a JSON file, strict.

    Raises
    ------
    FormatError
        If it is not JSON, nested too deep, has a key twice, NaN, Infinity or a number too large.
    """
    where = os.fspath(path)
    data = path.read_bytes()
    check_depth(data, where)
    return _parse_json(_decode(data, where), where)


def number(value: Any) -> float | None:
    """`value` as a coordinate; None if it is no number, not finite, or larger than any image."""
    found = as_float(value)
    return found if found is not None and abs(found) <= MAX_COORDINATE else None


def objects_in(kept: Any) -> list[Any]:
    """The objects in a list that a reader has kept; nothing else.

    Parameters
    ----------
    kept : object
        From `extra`, where a file of another format may have put anything.
    """
    return [one for one in kept if isinstance(one, Mapping)] if isinstance(kept, list) else []


def schema_for(
    name: str,
    keypoints: Sequence[str],
    skeleton: Sequence[Sequence[str]],
    given: Schema | None,
    gathered: Gathered,
) -> Schema:
    """Schema of a category of a file: as its names and edges say, or the given one.

    Parameters
    ----------
    name : str
        Of the category.
    keypoints : sequence of str
        As the file has them.
    skeleton : sequence of pairs of str
        Pairs that are no edge are told in a warning and left out.
    given : Schema or None
        By the caller: it has to have all the file's keypoints.
    gathered : Gathered
        Where to say what is wrong.

    Raises
    ------
    ValueError
        If the given schema lacks keypoints of the file.
    """
    if given is not None:
        missing = [k for k in keypoints if k not in given.keypoints]
        if missing:
            raise ValueError(
                f"{gathered.where}: schema {given.name!r} has no keypoint "
                f"{', '.join(map(_show, missing))}; expected all that the file has: "
                f"{_show(list(keypoints))}"
            )
        return given
    edges, wrong = [], []
    for pair in skeleton:
        is_edge = (
            isinstance(pair, list | tuple)
            and len(pair) == 2
            and all(isinstance(end, str) and end in keypoints for end in pair)
            and pair[0] != pair[1]
        )
        if not is_edge:
            wrong.append(pair)
        elif list(pair) not in edges:
            edges.append(list(pair))
    if wrong:
        shown = ", ".join(map(_show, wrong[:5]))
        gathered.warnings.append(
            f"{count(len(wrong), 'pair')} of the skeleton {shown} left out: expected two names of "
            f"keypoints of category {_show(name)}"
        )
    return Schema(name, keypoints, edges)


@dataclass(slots=True)
class Item:
    """An instance as writers want it.

    Attributes
    ----------
    row, category : int
    uid : str
    points : list of [x, y, visibility]
        As a COCO file holds them.
    bbox : list of float or None
        (x, y, width, height) that was given, None if it is derived.
    """

    row: int
    category: int
    uid: str
    points: list[list[float]]
    bbox: list[float] | None

    def kept(self, dataset: Dataset) -> dict[str, Any]:
        """Return what else is known of it, for `kept_of_instances`; nothing that is not given."""
        table = dataset._table
        record = {name: table.value(self.row, name) for name in _KEPT_COLUMNS}
        record = {name: value for name, value in record.items() if value is not None}
        if not record["iscrowd"]:
            del record["iscrowd"]
        extra = Instance(dataset, self.uid).extra
        if extra:
            record["extra"] = dict(extra)
        return record


_KEPT_COLUMNS: Final = ("id", "area", "iscrowd", "track_id", "score")


def kept_of_instances(record: Any, at: str, gathered: Gathered) -> dict[str, Any]:
    """Columns of an instance from what `Item.kept` gave; what is bad is a problem.

    Parameters
    ----------
    record : object
        From a file, and so perhaps anything.
    at : str
        Where it stands, for messages.
    gathered : Gathered
    """
    if not isinstance(record, dict):
        return {}
    columns: dict[str, Any] = {}
    for name, expected, check in (
        ("id", "a whole number of 63 bits", _as_id),
        ("area", "a number", number),
        ("score", "a number", number),
        ("iscrowd", "0 or 1", lambda value: value if value in (0, 1) else None),
        ("extra", "an object", lambda value: value if isinstance(value, dict) else None),
    ):
        value = record.get(name)
        if value is None:
            continue
        found = check(value)
        if found is None:
            gathered.problems.append(f"{at}: {name!r} is {_show(value)}, expected {expected}")
        else:
            columns[name] = found
    if record.get("track_id") is not None:
        columns["track_id"] = record["track_id"]
    return columns


def _as_id(value: Any) -> int | None:
    found = as_int(value)
    return found if found is not None and abs(found) < 2**63 else None


def categories_of_records(records: Any, at: str, gathered: Gathered) -> list[Category]:
    """Categories from COCO's records of them; what is bad is a problem.

    Parameters
    ----------
    records : object
        From a file, and so perhaps anything.
    at : str
        Where they stand, for messages.
    gathered : Gathered
    """
    found: list[Category] = []
    for record in records if isinstance(records, list) else ():
        name = record.get("name") if isinstance(record, dict) else None
        number_ = as_int(record.get("id")) if isinstance(record, dict) else None
        if not isinstance(name, str) or number_ is None or number_ in {c.id for c in found}:
            gathered.problems.append(
                f"{at}: the category {_show(record)} has no name, or no id of its own"
            )
            continue
        fields = {key: value for key, value in record.items() if key in _OF_SCHEMA}
        try:
            schema = _schema_of(fields)
        except FormatError as error:
            # A COCO file may have other things under these names, which are kept as they are.
            fields = {key: fields[key] for key in _NEEDED_BY_SCHEMA if key in fields}
            try:
                schema = _schema_of(fields)
            except FormatError:
                gathered.problems.extend(f"{at}: {problem}" for problem in error.problems)
                continue
            gathered.warnings.append(
                f"{at}: not used, though kept: {'; '.join(map(str, error.problems))}"
            )
        known = {*fields, "id", "supercategory"}
        extra = {key: value for key, value in record.items() if key not in known}
        found.append(Category(number_, schema, name, record.get("supercategory"), extra))
    return found


def _schema_of(fields: dict[str, Any]) -> Schema:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of repeated edges: they were told when written
        return Schema.from_metadata(fields)


_NEEDED_BY_SCHEMA: Final = ("name", "keypoints", "skeleton")


_OF_SCHEMA: Final = frozenset(
    ("name", "keypoints", "skeleton", "flip_pairs", "sigmas", "sigma_source", "colors", "aliases",
     "parts", "layout", "definitions", "references")
)  # fmt: skip


def progress(items: Collection[_T], doing: str, unit: str) -> Iterable[_T]:
    """Go through items with a bar that comes up after a second.

    Parameters
    ----------
    items : collection
    doing : str
        In words, beside the bar.
    unit : str
        What an item is.
    """
    from tqdm.auto import tqdm

    bar: Iterable[_T] = tqdm(items, doing, unit=unit, delay=1.0, leave=False)
    return bar


def instances_by_image(dataset: Dataset) -> list[list[Item]]:
    """The instances of each image, in their order.

    Parameters
    ----------
    dataset : Dataset
        Its lock is held.
    """
    table = dataset._table
    rows = np.asarray(table.live_rows(), np.int64)
    category = table.column("category", rows)
    points: NDArray[Any] = np.empty(len(rows), object)
    for c in range(len(dataset.categories)):
        chosen = np.flatnonzero(category == c)
        for i, of_one in zip(
            chosen.tolist(), table.raw_keypoints_of(c, rows[chosen]).tolist(), strict=True
        ):
            points[i] = of_one
    found: list[list[Item]] = [[] for _ in dataset._images]
    for row, image, c, uid, own, bbox in zip(
        rows.tolist(),
        table.column("image", rows).tolist(),
        category.tolist(),
        table.column("uid", rows).tolist(),
        points.tolist(),
        table.column("bbox", rows).tolist(),
        strict=True,
    ):
        found[image].append(Item(row, c, uid, own, bbox if bbox[0] == bbox[0] else None))
    return found
