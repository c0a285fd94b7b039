"""Two label sets of the same images, drawn over one another with arrows from one to the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dataset import Dataset, Instance
from ..dataset.views import Selection
from ..schema import Category
from .viewer import Viewer
from .wire import sendable

#: Instances further apart than this share of their size are taken for different ones.
_MAX_DISTANCE = 0.5


@dataclass
class Counterpart:
    """An instance of the second label set, as the schema of the first one has it.

    Attributes
    ----------
    keypoints : ndarray of shape (n_keypoints, 3)
        In the order of `category`; a keypoint that is not in both is (NaN, NaN, 0).
    """

    of: Instance
    category: Category
    keypoints: NDArray[np.float64]
    uid: str
    is_finished: bool = True
    bbox_source: str = "derived"
    bbox: None = None

    def __getattr__(self, name: str) -> Any:
        """Everything else is as in the instance itself."""
        return getattr(self.of, name)


@dataclass
class _Pairing:
    """The instances of one image in both sets, and which belong together.

    Attributes
    ----------
    first, second : list
        The instances of both sets; of the second as `Counterpart`.
    pairs : list of (int, int)
        Positions in both.
    """

    first: list[Instance] = field(default_factory=list)
    second: list[Counterpart] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)

    def arrows(self, hidden: set[str]) -> NDArray[np.float64]:
        """From each keypoint of a pair to its counterpart, (n, 2, 2), where both are labeled."""
        found = [np.empty((0, 2, 2))]
        for i, j in self.pairs:
            a, b = self.first[i], self.second[j]
            if a.uid in hidden or b.uid in hidden:
                continue
            from_, to = a.keypoints, b.keypoints
            both = (from_[:, 2] > 0) & (to[:, 2] > 0)
            found.append(np.stack([from_[both, :2], to[both, :2]], axis=1))
        return np.concatenate(found)


class Comparison(Viewer):
    """A viewer of two label sets; made by `compare`."""

    _has_distances = True

    def __init__(
        self,
        first: Dataset | Selection,
        second: Dataset | Selection,
        names: tuple[str, str],
        image: int | str | None,
        height: int,
    ) -> None:
        mine, other = _dataset_of(first), _dataset_of(second)
        self._second = other
        self._names = names
        self._second_rows = None
        if isinstance(second, Selection):
            with other.lock:
                self._second_rows = set(map(int, second._rows(other._table)))
        self._categories = _matching_categories(mine, other)
        self._pairing: tuple[Any, _Pairing] = (None, _Pairing())
        self._means: tuple[Any, NDArray[np.float64]] = (None, np.empty(0))
        ours = [image.file_name for image in first.images]
        theirs = {image.file_name: image.index for image in second.images}
        common = [name for name in ours if name in theirs]
        if not common:
            raise ValueError(
                "the two have no image in common: images are matched by file name, and there is "
                f"{ours[0]!r} in the first and {next(iter(theirs), None)!r} in the second"
            )
        self._index_in_second = {mine.image(name).index: theirs[name] for name in common}
        self.n_unmatched = (len(ours) - len(common), len(theirs) - len(common))
        kept = Selection(
            mine,
            sorted(self._index_in_second),
            first._category if isinstance(first, Selection) else None,
            first._where if isinstance(first, Selection) else None,
        )
        super().__init__(kept, image, height)
        self._unsubscribe.append(other._history.watch(self._on_second_change))

    def __repr__(self) -> str:
        """Return what is compared."""
        a, b = self.n_unmatched
        only = f", {a} and {b} images in one of them only" if a or b else ""
        return f"Comparison({len(self._listing.images)} images in both{only})"

    def _on_second_change(self, change: Any) -> None:
        # Without our lock: the thread that holds it may be waiting for that of the second set.
        self._dirty.update(("scene", "skeletons", "active"))
        self._publisher.nudge()

    # -- what belongs together --------------------------------------------------------------------

    def _pair(self, index: int) -> _Pairing:
        """Pair the instances of an image, those whose score is not too low."""
        least, rows, table = self._query.score, self._rows, self._dataset._table
        first = [
            instance
            for instance in self._dataset.images[index].instances
            if (rows is None or table.row(instance.uid) in rows) and _is_kept(instance, least)
        ]
        second = [
            made
            for instance in self._second.images[self._index_in_second[index]].instances
            if _is_kept(instance, least)
            and (made := self._counterpart(instance)) is not None
            and (
                self._second_rows is None
                or self._second._table.row(instance.uid) in self._second_rows
            )
        ]
        return _Pairing(first, second, _matched(first, second))

    def _counterpart(self, instance: Instance) -> Counterpart | None:
        """An instance of the second set in the schema of the first; None if it has none."""
        found = self._categories.get(instance.category.id)
        if found is None:
            return None
        category, places = found
        keypoints = np.full((category.n_keypoints, 3), np.nan)
        keypoints[:, 2] = 0
        is_there = places >= 0
        keypoints[is_there] = instance.keypoints[places[is_there]]
        return Counterpart(instance, category, keypoints, f"second:{instance.uid}")

    def _current(self) -> _Pairing:
        key = (self._index, self._dataset._revision, self._second._revision, self._query.score)
        if self._pairing[0] != key:
            self._pairing = (key, self._pair(self._index))
        return self._pairing[1]

    # -- what is shown ----------------------------------------------------------------------------

    def _instances(self) -> list[tuple[int, Any]]:
        pairing = self._current()
        return [(0, a) for a in pairing.first] + [(1, b) for b in pairing.second]

    def _arrows(self) -> NDArray[np.float64]:
        return self._current().arrows(self._hidden)

    def _scene(self) -> dict[str, Any]:
        scene = super()._scene()
        pairing = self._current()
        n = len(pairing.first)
        partner = {i: n + j for i, j in pairing.pairs} | {n + j: i for i, j in pairing.pairs}
        means = {}
        for i, j in pairing.pairs:
            distances = _distances(pairing.first[i].keypoints, pairing.second[j].keypoints)
            if len(distances):
                means[i] = means[n + j] = float(distances.mean())
        for at, shown_one in enumerate(scene["instances"]):
            parts = [shown_one["note"]]
            if at not in partner:
                parts.append(f"not in {self._names[at < n]}")
            elif at in means:
                parts.append(f"{means[at]:.1f} px apart on average")
            shown_one["set"] = sendable(self._names[at >= n])
            shown_one["note"] = sendable(", ".join(part for part in parts if part))
        return scene

    def _scores(self) -> tuple[float, float] | None:
        table = self._second._table
        scores = table.column("score", table.live_rows()).astype(float)
        known = [*(super()._scores() or ()), *scores[~np.isnan(scores)].tolist()]
        return (min(known), max(known)) if known else None

    def _distances(self) -> NDArray[np.float64]:
        """Mean distance of the keypoints of the pairs of each image; NaN without a pair."""
        key = (self._dataset._revision, self._second._revision, self._query.score)
        if self._means[0] != key:
            means = np.full(len(self._listing.images), math.nan)
            for at, index in enumerate(self._listing.images.tolist()):
                pairing = self._pair(index)
                distances = [
                    _distances(pairing.first[i].keypoints, pairing.second[j].keypoints)
                    for i, j in pairing.pairs
                ]
                if any(map(len, distances)):
                    means[at] = float(np.concatenate(distances).mean())
            self._means = (key, means)
        return self._means[1]


def compare(
    first: Dataset | Selection,
    second: Dataset | Selection,
    *,
    names: Sequence[str] = ("first", "second"),
    image: int | str | None = None,
    height: int = 600,
) -> Comparison:
    """Look at two label sets of the same images, as a widget.

    Both are drawn, each in one colour, with an arrow from each keypoint of `first` to the same
    keypoint of `second`: ground truth and a model's predictions, or two annotators. The images can
    be sorted by how far apart the two are.

    Parameters
    ----------
    first, second : Dataset or Selection
        Images are matched by file name, categories by name (if both have one category only, by
        nothing), keypoints by name. The instances of an image are paired so that the sum of their
        distances is least, where a distance is the mean one of the keypoints that both have, in
        units of the size of the pair: the root of the area of the box around the keypoints of
        `first`. Above 0.5 they are taken for different instances.
    names : pair of str
        What the two are called where the pointer is.
    image : int or str, optional
        The image to start with: its position in `first` or its file name.
    height : int
        Height of the picture in CSS px.

    Returns
    -------
    Comparison
        A `Viewer` of the images that are in both; ``.selection`` is of `first`.

    Raises
    ------
    ValueError
        If there is no image or no keypoint that is in both.
    TypeError
        If one of them is something else.
    """
    for name, value in (("first", first), ("second", second)):
        if not isinstance(value, Dataset | Selection):
            raise TypeError(
                f"{name}: expected a kpwidget.Dataset or a selection of one (ds.select(...)), got "
                f"{type(value).__name__}"
            )
    if isinstance(names, str) or len(names) != 2 or not all(isinstance(n, str) for n in names):
        raise ValueError(f"names: expected two texts, got {names!r}")
    return Comparison(first, second, (names[0], names[1]), image, height)


def _dataset_of(data: Dataset | Selection) -> Dataset:
    return data if isinstance(data, Dataset) else data.dataset


def _is_kept(instance: Instance, least: float) -> bool:
    return instance.score is None or not instance.score < least


def _matching_categories(
    first: Dataset, second: Dataset
) -> dict[int, tuple[Category, NDArray[np.int64]]]:
    """For each category of the second set, by id: that of the first, and where its keypoints are.

    The places are those in the second category, -1 for a keypoint that it has not.
    """
    found = {}
    by_name = {category.name: category for category in first.categories}
    is_single = len(first.categories) == len(second.categories) == 1
    for theirs in second.categories:
        ours = first.categories[0] if is_single else by_name.get(theirs.name)
        if ours is None:
            continue
        place = {name: k for k, name in enumerate(theirs.keypoints)}
        places = np.array([place.get(name, -1) for name in ours.keypoints], np.int64)
        if (places >= 0).any():
            found[theirs.id] = (ours, places)
    if not found:
        a, b = (
            "; ".join(f"{c.name!r} ({', '.join(c.keypoints[:4])}, ...)" for c in d.categories)
            for d in (first, second)
        )
        raise ValueError(
            f"the two have no keypoint in common: the first has {a or 'no category'}, the second "
            f"{b or 'no category'}"
        )
    return found


def _distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances in px of the keypoints that both have labeled."""
    both = (a[:, 2] > 0) & (b[:, 2] > 0)
    return np.asarray(np.hypot(*(a[both, :2] - b[both, :2]).T))


def _matched(first: Sequence[Instance], second: Sequence[Counterpart]) -> list[tuple[int, int]]:
    """Pairs of instances of the same category that are nearest to one another, all in all."""
    if not first or not second:
        return []
    from scipy.optimize import linear_sum_assignment

    cost = np.full((len(first), len(second)), math.inf)
    for i, a in enumerate(first):
        points = a.keypoints
        labeled = points[points[:, 2] > 0, :2]
        if not len(labeled):
            continue
        width, height = labeled.max(axis=0) - labeled.min(axis=0)
        size = max(math.sqrt(float(width * height)), 0.1 * float(max(width, height)), 1.0)
        for j, b in enumerate(second):
            if b.category.id != a.category.id:
                continue
            distances = _distances(points, b.keypoints)
            if len(distances):
                cost[i, j] = float(distances.mean()) / size
    possible = cost <= _MAX_DISTANCE
    # What is not possible costs more than all that is: it is taken where nothing else is left.
    rows, columns = linear_sum_assignment(np.where(possible, cost, 1e3))
    return [(i, j) for i, j in zip(rows.tolist(), columns.tolist(), strict=True) if possible[i, j]]
