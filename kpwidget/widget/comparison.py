"""Two label sets of the same images, drawn over one another with arrows from one to the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..dataset import Dataset, ImageInfo, Instance
from ..dataset.views import Selection
from ..metrics import match_labels
from ..schema import Category
from .viewer import Viewer
from .wire import sendable

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

#: How long the lock of the second set is waited for, and when it is tried again, in seconds.
_PATIENCE, _AGAIN = 0.1, 0.2
#: What the uids of the second set begin with here.
_SECOND = "second:"

T = TypeVar("T")


@dataclass(frozen=True)
class Counterpart:
    """An instance of the second label set as it was when it was read, in the schema of the first.

    Attributes
    ----------
    uid : str
        Its uid after ``"second:"``: both sets may have the same.
    image : ImageInfo
        Of the first set.
    keypoints : ndarray of shape (n_keypoints, 3)
        In the order of `category`; a keypoint that is not in both is (NaN, NaN, 0).
    """

    uid: str
    image: ImageInfo
    category: Category
    keypoints: NDArray[np.float64]
    id: int | None
    score: float | None
    track_id: Any
    iscrowd: int
    annotator: str | None
    is_finished: bool = True
    bbox_source: str = "derived"
    bbox: None = None


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
    """A viewer of two label sets; made by `compare`.

    Its lock is that of the first set. The second one's is never waited for without end while that
    is held, as other threads may take the two in the other order: what cannot be read now stays as
    it was and is read again soon.
    """

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
        self._second_data = second
        self._second_rows: tuple[int, set[int]] = (-1, set())
        #: The second set has changed, or could not be read.
        self._is_behind = False
        self._second_scores: tuple[int, list[float]] = (-1, [])
        self._categories = _matching_categories(mine, other)
        self._pairing: tuple[Any, _Pairing] = (None, _Pairing())
        self._means: tuple[Any, NDArray[np.float64]] = (None, np.empty(0))
        ours, theirs = _places(first, "first"), _places(second, "second")
        common = [name for name in ours if name in theirs]
        if not common:
            raise ValueError(
                "the two have no image in common: images are matched by file name, and there is "
                f"{next(iter(ours), None)!r} in the first and {next(iter(theirs), None)!r} in the "
                "second"
            )
        self._index_in_second = {ours[name]: theirs[name] for name in common}
        self._index_in_first = {b: a for a, b in self._index_in_second.items()}
        #: Mean distance in each image, for a score; those of an image go with an edit of it.
        self._mean_of: dict[int, float] = {}
        self._mean_score = -math.inf
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
        for index in change.images:
            self._mean_of.pop(self._index_in_first.get(index, -1), None)
        self._is_behind = True
        self._publisher.nudge()

    def _on_dataset_change(self, change: Any) -> None:
        with self._dataset.lock:
            for index in change.images:
                self._mean_of.pop(index, None)
            if self._index in change.images:
                # Arrows are on the layer of the others, also those of the active instance.
                self._dirty |= {"skeletons", "active"}
        super()._on_dataset_change(change)

    def _publish(self) -> None:
        with self._dataset.lock:
            if self._is_behind:
                self._read_again()
            super()._publish()
            if self._is_behind:
                self._publisher.plan_again(_AGAIN)

    def _read_again(self) -> None:
        """Have the second set read anew. Our lock is held."""
        self._is_behind = False
        self._pairing = (None, self._pairing[1])
        self._dirty |= {"scene", "skeletons", "active"}
        if self._query.sort == "distance":
            self._find()
        self._forget_removed()

    def _of_second(self, read: Callable[[], T], otherwise: T) -> T:
        """What is read of the second set, or something else if others keep its lock."""
        if not self._second.lock.acquire(timeout=_PATIENCE):
            self._is_behind = True
            return otherwise
        try:
            return read()
        finally:
            self._second.lock.release()

    def snapshot(self, max_side: int = 960) -> PILImage:
        """The current image with both label sets, as a still picture; see `Viewer`."""
        with self._dataset.lock:
            if self._is_behind:
                self._read_again()
        return super().snapshot(max_side)

    def _instance(self, uid: str) -> Any:
        if uid.startswith(_SECOND) and uid not in self._dataset:
            for one in self._current().second:
                if one.uid == uid:
                    return one
            raise KeyError(uid)
        return super()._instance(uid)

    # -- what belongs together --------------------------------------------------------------------

    def _first_of(self, index: int) -> list[Instance]:
        """The instances of an image in the first set, without those whose score is too low."""
        rows, table = self._rows, self._dataset._table
        return [
            instance
            for instance in self._dataset.images[index].instances
            if (rows is None or table.row(instance.uid) in rows)
            and _is_kept(instance, self._query.score)
        ]

    def _second_of(self, index: int) -> list[Counterpart]:
        """The same of the second set. Its lock is held."""
        image = self._dataset.images[index]
        rows = self._second._table.rows_of_image[self._index_in_second[index]]
        made = [self._counterpart(row, image) for row in rows if self._is_in_second(row)]
        return [one for one in made if one is not None and _is_kept(one, self._query.score)]

    def _is_in_second(self, row: int) -> bool:
        """Whether a row of the second set is among those to compare."""
        data, revision = self._second_data, self._second._revision
        if isinstance(data, Dataset):
            return True
        if self._second_rows[0] != revision:
            self._second_rows = (revision, set(map(int, data._rows(self._second._table))))
        return row in self._second_rows[1]

    def _counterpart(self, row: int, image: ImageInfo) -> Counterpart | None:
        """An instance of the second set in the schema of the first; None if it has none."""
        table = self._second._table
        found = self._categories.get(self._second._categories[table.category(row)].id)
        if found is None:
            return None
        category, places = found
        keypoints = np.full((category.n_keypoints, 3), np.nan)
        keypoints[:, 2] = 0
        is_there = places >= 0
        keypoints[is_there] = table.keypoints(row)[places[is_there]]
        return Counterpart(
            _SECOND + table.uids([row])[0],
            image,
            category,
            keypoints,
            table.value(row, "id"),
            table.value(row, "score"),
            table.value(row, "track_id"),
            int(table.value(row, "iscrowd")),
            table.value(row, "annotator"),
        )

    def _current(self) -> _Pairing:
        """The pairs of the image that is shown; of the second set as it was last read."""
        key = (self._index, self._dataset._revision, self._query.score)
        known, pairing = self._pairing
        if known != key:
            first, least = self._first_of(self._index), self._query.score
            as_it_was = [
                one
                for one in pairing.second
                if one.image.index == self._index and _is_kept(one, least)
            ]
            second = self._of_second(lambda: self._second_of(self._index), as_it_was)
            pairing = _Pairing(first, second, _matched(first, second))
            self._pairing = (key, pairing)
        return pairing

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
        means = {}
        for i, j in pairing.pairs:
            distances = _distances(pairing.first[i].keypoints, pairing.second[j].keypoints)
            means[i] = means[n + j] = float(distances.mean())
        for at, shown_one in enumerate(scene["instances"]):
            parts = [shown_one["note"]]
            if at in means:
                parts.append(f"{means[at]:.1f} px apart on average")
            else:
                parts.append(f"not in {self._names[at < n]}")
            shown_one["set"] = sendable(self._names[at >= n])
            shown_one["note"] = sendable(", ".join(part for part in parts if part))
        return scene

    def _scores(self) -> tuple[float, float] | None:
        if self._second_scores[0] != self._second._revision:
            self._second_scores = self._of_second(self._read_scores, self._second_scores)
        known = [*(super()._scores() or ()), *self._second_scores[1]]
        return (min(known), max(known)) if known else None

    def _read_scores(self) -> tuple[int, list[float]]:
        """Lowest and highest score of the second set, and when they were that."""
        table = self._second._table
        scores = table.column("score", table.live_rows()).astype(float)
        known = scores[~np.isnan(scores)]
        ends = [float(known.min()), float(known.max())] if len(known) else []
        return self._second._revision, ends

    def _distances(self) -> NDArray[np.float64]:
        """Mean distance of the keypoints of the pairs of each image; NaN without a pair."""
        key = (self._dataset._revision, self._second._revision, self._query.score)
        if self._means[0] != key:
            n = len(self._listing.images)
            known = self._means[1] if len(self._means[1]) == n else np.full(n, math.nan)
            read = self._of_second(self._read_distances, known)
            self._means = (None if read is known else key, read)
        return self._means[1]

    def _read_distances(self) -> NDArray[np.float64]:
        """The same, both locks held; only what an edit may have changed is found anew."""
        if self._mean_score != self._query.score:
            self._mean_score = self._query.score
            self._mean_of.clear()
        indices = self._listing.images.tolist()
        for index in indices:
            if index in self._mean_of:
                continue
            first, second = self._first_of(index), self._second_of(index)
            distances = [
                _distances(first[i].keypoints, second[j].keypoints)
                for i, j in _matched(first, second)
            ]
            mean = float(np.concatenate(distances).mean()) if distances else math.nan
            self._mean_of[index] = mean
        return np.array([self._mean_of[index] for index in indices], np.float64)


def compare(
    first: Dataset | Selection,
    second: Dataset | Selection,
    *,
    names: Sequence[str] = ("first", "second"),
    image: int | str | None = None,
    height: int = 600,
) -> Comparison:
    """Look at two label sets of the same images, as a widget.

    Both are drawn, the skeletons of each in one colour, with an arrow from each keypoint of `first`
    to the same keypoint of `second`: ground truth and a model's predictions, or two annotators. The
    images can be sorted by how far apart the two are.

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
                f"{type(value).__name__}; kpwidget.read(path) reads a labels file"
            )
    if isinstance(names, str) or len(names) != 2 or not all(isinstance(n, str) for n in names):
        raise ValueError(f"names: expected two texts, got {names!r}")
    return Comparison(first, second, (names[0], names[1]), image, height)


def _dataset_of(data: Dataset | Selection) -> Dataset:
    return data if isinstance(data, Dataset) else data.dataset


def _places(data: Dataset | Selection, which: str) -> dict[str, int]:
    """Position of each image by its file name; ValueError if two have the same."""
    found: dict[str, int] = {}
    for image in data.images:
        if image.file_name in found:
            raise ValueError(
                f"images are matched by file name, and two of the {which} have the name "
                f"{image.file_name!r}"
            )
        found[image.file_name] = image.index
    return found


def _is_kept(instance: Instance | Counterpart, least: float) -> bool:
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
            "; ".join(f"{c.name!r} ({', '.join(c.keypoints[:4])}, ...)" for c in d.categories[:5])
            + (f"; and {len(d.categories) - 5} more" if len(d.categories) > 5 else "")
            for d in (first, second)
        )
        raise ValueError(
            "the two have no category with keypoints in common; categories are matched by name "
            f"(ds.rename_category changes one), keypoints too. The first has {a or 'none'}, the "
            f"second {b or 'none'}"
        )
    return found


def _distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances in px of the keypoints that both have labeled."""
    both = (a[:, 2] > 0) & (b[:, 2] > 0)
    return np.asarray(np.hypot(*(a[both, :2] - b[both, :2]).T))


def _matched(first: Sequence[Instance], second: Sequence[Counterpart]) -> list[tuple[int, int]]:
    """Pairs of instances of the same category that are nearest to one another, all in all."""
    pairs: list[tuple[int, int]] = []
    kinds = [a.category.id for a in first], [b.category.id for b in second]
    for kind in set(kinds[0]) & set(kinds[1]):
        rows, columns = ([i for i, k in enumerate(part) if k == kind] for part in kinds)
        found = match_labels(
            np.stack([first[i].keypoints for i in rows]),
            np.stack([second[j].keypoints for j in columns]),
        )
        pairs += [(rows[i], columns[j]) for i, j in found.pairs.tolist()]
    return pairs
