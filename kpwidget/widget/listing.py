"""Which images of a dataset a viewer lists, and in which order. Knows nothing of a browser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ..dataset.views import bboxes_of
from .wire import Refused, flag_of, number_of, sendable, shown

if TYPE_CHECKING:
    from ..dataset import Dataset

#: By what images are sorted: what the browser shows in its list, in this order.
SORTS: Final = (
    "position", "name", "instances", "labeled", "size", "score", "pixels", "annotator", "distance",
)  # fmt: skip
#: What may be asked of the visibility of a keypoint, and which flags that means.
FLAGS: Final = {
    "labeled": (1, 2),
    "visible": (2,),
    "occluded": (1,),
    "unlabeled": (0,),
}
Range = tuple[float, float]
_ANY: Final[Range] = (0.0, math.inf)


@dataclass(frozen=True)
class Query:
    """What is to be listed. An image needs one instance that fits all that is said of instances.

    Attributes
    ----------
    text : str
        A part of the file name, small and capital letters alike.
    category, keypoint, annotator : str
        Names; empty for any. With a keypoint, its visibility is asked for.
    visibility : str
        A key of `FLAGS`.
    instances : (float, float)
        Least and greatest number of instances in the image, those with a low score left out.
    labeled : (float, float)
        Least and greatest number of labeled keypoints of the instance.
    size : (float, float)
        Least and greatest size of the instance, the square root of its box's area, in image pixels.
    score : float
        Instances with a lower one are left out; -inf for none. One without a score stays.
    picked : bool
        Only images that are picked.
    sort : str
        One of `SORTS`.
    descending : bool
    """

    text: str = ""
    category: str = ""
    keypoint: str = ""
    visibility: str = "labeled"
    annotator: str = ""
    instances: Range = _ANY
    labeled: Range = _ANY
    size: Range = _ANY
    score: float = -math.inf
    picked: bool = False
    sort: str = "position"
    descending: bool = False

    @classmethod
    def of(cls, wire: Any) -> Query:
        """A query as the browser sends it; Refused if it is something else."""
        if not isinstance(wire, dict):
            raise Refused(f"query: expected an object, got {shown(wire)}")
        texts = {}
        for name in ("text", "category", "keypoint", "annotator"):
            value = wire.get(name, "")
            if not isinstance(value, str) or len(value) > 10_000:
                raise Refused(f"{name}: expected a text, got {shown(value)}")
            if value != sendable(value):  # half a surrogate pair: it could not be told back
                raise Refused(f"{name}: expected text, got {shown(value)}, which is none")
            texts[name] = value
        visibility, sort = wire.get("visibility", "labeled"), wire.get("sort", "position")
        if not isinstance(visibility, str) or visibility not in FLAGS:
            raise Refused(
                f"visibility: expected one of {', '.join(FLAGS)}, got {shown(visibility)}"
            )
        if not isinstance(sort, str) or sort not in SORTS:
            raise Refused(f"sort: expected one of {', '.join(SORTS)}, got {shown(sort)}")
        return cls(
            **texts,
            visibility=visibility,
            sort=sort,
            instances=_range(wire, "instances"),
            labeled=_range(wire, "labeled"),
            size=_range(wire, "size"),
            score=-math.inf if wire.get("score") is None else number_of(wire, "score"),
            picked=flag_of(wire, "picked", False),
            descending=flag_of(wire, "descending", False),
        )

    def to_wire(self) -> dict[str, Any]:
        """Return it as the browser keeps it: null for no limit."""

        def limits(given: Range) -> list[float | None]:
            return [given[0], None if math.isinf(given[1]) else given[1]]

        return {
            "text": self.text,
            "category": self.category,
            "keypoint": self.keypoint,
            "visibility": self.visibility,
            "annotator": self.annotator,
            "instances": limits(self.instances),
            "labeled": limits(self.labeled),
            "size": limits(self.size),
            "score": None if math.isinf(self.score) else self.score,
            "picked": self.picked,
            "sort": self.sort,
            "descending": self.descending,
        }

    @property
    def is_about_instances(self) -> bool:
        """Whether it says what an instance is to be like."""
        names = (self.category, self.keypoint, self.annotator)
        return any(names) or self.labeled != _ANY or self.size != _ANY


def _range(wire: dict[str, Any], name: str) -> Range:
    value = wire.get(name, [0, None])
    if not isinstance(value, list) or len(value) != 2:
        raise Refused(f"{name}: expected [least, greatest or null], got {shown(value)}")
    pair = {"least": value[0], "greatest": value[1]}
    low = number_of(pair, "least") if value[0] is not None else 0.0
    high = number_of(pair, "greatest") if value[1] is not None else math.inf
    return low, high


class Listing:
    """What is known of the images and instances of a part of a dataset, as columns.

    Parameters
    ----------
    dataset : Dataset
        Its lock is held.
    images : sequence of int
        Positions of the images there are to list.
    rows : sequence of int
        Rows of the instances that count.
    """

    def __init__(
        self, dataset: Dataset, images: Sequence[int], rows: Sequence[int] | NDArray[np.int64]
    ) -> None:
        table = dataset._table
        self._dataset = dataset
        self.images = np.asarray(images, np.int64)
        self.rows = np.asarray(rows, np.int64)
        self._image = table.column("image", rows).astype(np.int64)
        self._category = table.column("category", rows)
        self._score = table.column("score", rows).astype(float)
        self._n_labeled = table.n_labeled_of(rows)
        self._annotators = table.column("annotator", rows)
        self._names = [dataset._images[i].file_name for i in self.images.tolist()]
        self._sizes: NDArray[np.float64] | None = None

    @property
    def annotators(self) -> list[str]:
        """Names of those who labeled the instances, in their order."""
        return sorted({name for name in self._annotators.tolist() if name})

    @property
    def scores(self) -> Range | None:
        """Lowest and highest score; None if there is none."""
        known = self._score[~np.isnan(self._score)]
        return (float(known.min()), float(known.max())) if len(known) else None

    def _size(self) -> NDArray[np.float64]:
        """Size of each instance, the square root of its box's area; NaN without a box."""
        if self._sizes is None:
            boxes = bboxes_of(self._dataset, self.rows)
            with np.errstate(invalid="ignore", over="ignore"):
                self._sizes = np.sqrt(np.abs(boxes[:, 2]) * np.abs(boxes[:, 3]))
        return self._sizes

    def has_score(self, query: Query) -> NDArray[np.bool_]:
        """Whether each instance is not below the score asked for."""
        return ~(self._score < query.score)

    def _fits(self, query: Query) -> NDArray[np.bool_]:
        """Whether each instance is as the query says."""
        fits = self.has_score(query)
        categories = self._dataset.categories
        if query.category:
            named = [i for i, c in enumerate(categories) if c.name == query.category]
            fits &= np.isin(self._category, named)
        if query.annotator:
            fits &= self._annotators == query.annotator
        if query.labeled != _ANY:
            fits &= _is_in(self._n_labeled, query.labeled)
        if query.size != _ANY:
            fits &= _is_in(self._size(), query.size)
        if query.keypoint:
            has = np.zeros(len(fits), bool)
            for index, category in enumerate(categories):
                of_category = np.flatnonzero(self._category == index)
                if query.keypoint not in category.keypoints or not len(of_category):
                    continue
                k = category.keypoints.index(query.keypoint)
                points = self._dataset._table.keypoints_of(index, self.rows[of_category])
                has[of_category] = np.isin(points[:, k, 2], FLAGS[query.visibility])
            fits &= has
        return fits

    def find(
        self,
        query: Query,
        picked: frozenset[int] = frozenset(),
        distances: NDArray[np.float64] | None = None,
    ) -> NDArray[np.int64]:
        """Positions of the images that a query lists, in its order.

        Parameters
        ----------
        query : Query
        picked : frozenset of int
            Positions of the images that are picked.
        distances : ndarray of shape (n_images,), optional
            What the sort of that name goes by; NaN for none.
        """
        counts = self._per_image(np.ones(len(self.rows)), self.has_score(query))
        keep = _is_in(counts, query.instances)
        if query.is_about_instances:
            keep &= self._per_image(np.ones(len(self.rows)), self._fits(query)) > 0
        if query.text:
            wanted = query.text.casefold()
            keep &= np.array([wanted in name.casefold() for name in self._names], bool)
        if query.picked:
            keep &= np.isin(self.images, list(picked))
        chosen = np.flatnonzero(keep)
        if query.sort == "position":
            order = np.arange(len(chosen))
        elif query.sort == "name":
            names = [self._names[i].casefold() for i in chosen.tolist()]
            order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
        else:
            values = (self._sortable(query) if distances is None else distances)[chosen]
            if query.descending:
                values = -values
            # What has no value comes last either way; equal ones keep the order of the dataset.
            return self.images[chosen[np.argsort(values, kind="stable")]]
        return self.images[chosen[order[::-1] if query.descending else order]]

    def _sortable(self, query: Query) -> NDArray[np.float64]:
        """What images are sorted by, one number each; NaN for none."""
        fits = self.has_score(query)
        if query.sort == "pixels":
            states = [self._dataset._images[i] for i in self.images.tolist()]
            sizes = [state.recorded_size or (math.nan, math.nan) for state in states]
            return np.array([w * h for w, h in sizes], float)
        if query.sort == "annotator":
            rank = {name: float(i) for i, name in enumerate(self.annotators)}
            ranks = np.array([rank.get(name, math.nan) for name in self._annotators.tolist()])
            return self._per_image(ranks, fits, np.fmin, math.nan)
        if query.sort == "size":
            return self._per_image(self._size(), fits, np.fmax, math.nan)
        if query.sort == "score":
            pick = np.fmax if query.descending else np.fmin
            return self._per_image(self._score, fits, pick, math.nan)
        if query.sort == "labeled":
            return self._per_image(self._n_labeled.astype(float), fits)
        return self._per_image(np.ones(len(self.rows)), fits)

    def _per_image(
        self,
        values: NDArray[np.float64],
        chosen: NDArray[np.bool_],
        combine: np.ufunc = np.add,
        start: float = 0.0,
    ) -> NDArray[np.float64]:
        """One number for each image: the values of its chosen instances put together."""
        result = np.full(len(self._dataset._images), start)
        combine.at(result, self._image[chosen], values[chosen])
        return result[self.images]


def _is_in(values: NDArray[Any], limits: Range) -> NDArray[np.bool_]:
    return np.asarray((values >= limits[0]) & (values <= limits[1]))
