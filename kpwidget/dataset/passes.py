"""Second opinions: what others, or the same person again, have labeled on the same instances.

They stand beside the instances, never among them. Each keeps the names of the keypoints that it was
made with and is mapped to the schema of now by these.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset.table import Point
from kpwidget.dataset.values import checked_point, checked_points, checked_time
from kpwidget.history import PrimitiveChange
from kpwidget.metrics import match_labels
from kpwidget.schema import Category
from kpwidget.words import count

if TYPE_CHECKING:
    import pandas as pd

    from kpwidget.dataset.core import Dataset

__all__ = [
    "Opinion",
    "Pairing",
    "PassReport",
    "Passes",
    "add_pass",
    "pair_labels",
    "put_opinion",
    "remove_pass",
    "start_pass",
]

_N_SHOWN: Final = 5  # how many names a message gives


@dataclass(frozen=True)
class Opinion:
    """What somebody else says about an instance.

    Attributes
    ----------
    uid : str
        Of the instance.
    name : str
        The pass it belongs to. An instance has one opinion of a pass at most.
    annotator : str
    names : tuple of str
        The keypoints it was made with.
    points : tuple of (x, y, visibility) or None
        For each of `names`, in image pixels. None is unlabeled.
    time : float
        When it was labeled, in seconds since the epoch; when it was added, where the dataset that
        it came from does not know.
    """

    uid: str
    name: str
    annotator: str
    names: tuple[str, ...]
    points: tuple[Point, ...] = field(repr=False)
    time: float = field(default=0.0, compare=False)

    def keypoints(self, names: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Its keypoints, mapped by name.

        Parameters
        ----------
        names : sequence of str, optional
            Keypoints of the schema of now; by default those that it was made with.

        Returns
        -------
        ndarray of shape (n_keypoints, 3)
            (x, y, visibility), x and y in image pixels. A keypoint that is unlabeled, or that it
            does not have, is (NaN, NaN, 0).
        """
        of_name = dict(zip(self.names, self.points, strict=True))
        found = [of_name.get(name) for name in (self.names if names is None else names)]
        return np.array([point or (math.nan, math.nan, 0) for point in found]).reshape(-1, 3)

    def to_json(self) -> dict[str, Any]:
        """What a journal keeps of it."""
        return {
            "n": self.name, "a": self.annotator, "k": self.names, "p": self.points, "t": self.time,
        }  # fmt: skip

    @classmethod
    def from_json(cls, uid: str, value: Mapping[str, Any]) -> Opinion:
        """The opinion that a journal has kept; ValueError if it is none."""
        names = tuple(map(str, value["k"]))
        given = value["p"]
        if len(names) != len(given) or any(p is not None and len(p) != 3 for p in given):
            raise ValueError(f"pass {value['n']!r} of instance {uid!r}: names and points disagree")
        problems: list[str] = []
        points = tuple(
            # Visibility is a float in journals that were moved or packed by older versions.
            p
            and checked_point(name, p[0], p[1], int(p[2]) if p[2] in (0, 1, 2) else p[2], problems)
            for name, p in zip(names, given, strict=True)
        )
        if problems:
            raise ValueError(f"pass {value['n']!r} of instance {uid!r}: {'; '.join(problems)}")
        return cls(uid, str(value["n"]), str(value["a"]), names, points, checked_time(value["t"]))


class Passes(Sequence[Opinion]):
    """The second opinions on the instances of a dataset, as they are now: `Dataset.passes`.

    In the order of the instances, and for each by the name of the pass.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def _all(self) -> list[Opinion]:
        dataset = self._dataset
        with dataset.lock:
            table = dataset._table
            found = [
                (table.row(uid), name, opinion)
                for uid, of_uid in dataset._passes.items()
                if table.has(uid)
                for name, opinion in of_uid.items()
            ]
        return [opinion for _, _, opinion in sorted(found, key=lambda one: one[:2])]

    @property
    def names(self) -> list[str]:
        """Names of the passes, sorted."""
        return sorted({opinion.name for opinion in self._all()})

    def labels(self, name: str) -> Dataset:
        """Dataset of one pass, to look at, compare or write.

        Parameters
        ----------
        name : str

        Returns
        -------
        Dataset
            The same images and categories, and the instances that the pass has, with their uids
            and its keypoints. It is detached. ``kp.write(ds.passes.labels("second"), path)`` is how
            a pass gets into a file.

        Raises
        ------
        KeyError
            If there is no such pass.
        """
        self._check(name)
        dataset = self._dataset
        with dataset.lock:
            copy = _blank(dataset)
            opinions = [opinion for opinion in self._all() if opinion.name == name]
            with copy.transaction(f"labels of pass {name}"):
                for opinion in opinions:
                    instance = dataset.instance(opinion.uid)
                    copy.add_instance(
                        instance.image.index,
                        instance.category,
                        opinion.keypoints(instance.category.keypoints),
                        uid=opinion.uid,
                        annotator=opinion.annotator,
                    )
        return copy

    def to_pandas(self) -> pd.DataFrame:
        """Table with one row an opinion.

        Returns
        -------
        pandas.DataFrame
            uid, image (file name), category, name (of the pass), annotator, n_labeled, time (UTC).
        """
        import pandas as pd

        rows = []
        for opinion in self._all():
            instance = self._dataset.instance(opinion.uid)
            keypoints = opinion.keypoints(instance.category.keypoints)
            rows.append(
                {
                    "uid": opinion.uid,
                    "image": instance.image.file_name,
                    "category": instance.category.name,
                    "name": opinion.name,
                    "annotator": opinion.annotator,
                    "n_labeled": int((keypoints[:, 2] > 0).sum()),
                    "time": pd.Timestamp(opinion.time, unit="s", tz="UTC"),
                }
            )
        columns = ["uid", "image", "category", "name", "annotator", "n_labeled", "time"]
        return pd.DataFrame(rows, columns=columns)

    def _check(self, name: str) -> None:
        if name not in self.names:
            listed = ", ".join(map(repr, self.names)) or "none"
            raise KeyError(f"there is no pass {name!r}; there are {listed}")

    def __len__(self) -> int:
        """Return the number of opinions."""
        return len(self._all())

    @overload
    def __getitem__(self, key: int) -> Opinion: ...
    @overload
    def __getitem__(self, key: slice) -> list[Opinion]: ...
    def __getitem__(self, key: int | slice) -> Opinion | list[Opinion]:
        """Return an opinion by position, or a list of them by slice."""
        return self._all()[key]

    def __iter__(self) -> Iterator[Opinion]:
        """Iterate over the opinions there are when it begins."""
        return iter(self._all())

    def __repr__(self) -> str:
        """Return the counts."""
        opinions = self._all()
        counts = [
            f"{name!r}: {count(sum(o.name == name for o in opinions), 'instance')}"
            for name in self.names
        ]
        return f"<passes: {', '.join(counts) or 'none'}>"


@dataclass(frozen=True)
class Pairing:
    """Which instances of two datasets are the same object.

    Attributes
    ----------
    pairs : list of (str, str, category, ndarray of shape (n_keypoints, 3))
        uid in the first and in the second, the category in the first, and the keypoints of the
        second in its order.
    unmatched : list of str
        uids of the first, in images where the second has somebody or is done, that nobody there is.
    unmatched_other : list of str
        uids of the second that nobody of the first is; also those in `missing_images`.
    missing_images : list of str
        File names with instances in the second that the first has not.
    """

    pairs: list[tuple[str, str, Category, NDArray[np.float64]]]
    unmatched: list[str]
    unmatched_other: list[str]
    missing_images: list[str]


@dataclass(frozen=True)
class PassReport:
    """What `Dataset.add_pass` did; ``print`` shows it in words.

    Attributes
    ----------
    name : str
    n_added, n_changed, n_same, n_removed : int
        Opinions that are new, that replaced another of this pass, that were there already, and that
        were taken away because the labels of the same person have no such instance any more.
    unmatched : tuple of str
        uids of instances here, in images that were labeled there, that have no counterpart.
    unmatched_other : tuple of str
        uids of instances there without a counterpart here: they are not kept.
    missing_images : tuple of str
        File names of images with labels there that are not here.
    """

    name: str
    n_added: int
    n_changed: int
    n_same: int
    n_removed: int
    unmatched: tuple[str, ...]
    unmatched_other: tuple[str, ...]
    missing_images: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in words."""
        counts = ((self.n_added, "added"), (self.n_changed, "changed"),
                  (self.n_same, "there already"), (self.n_removed, "removed"))  # fmt: skip
        said = [f"{n} {word}" for n, word in counts if n] or ["nothing added"]
        lines = [f"pass {self.name!r}: {', '.join(said)}"]
        rest = (
            (self.unmatched, "instance", "here without a counterpart there"),
            (self.unmatched_other, "instance", "there without a counterpart here, not kept"),
            (self.missing_images, "image", "with labels there that are not here"),
        )
        lines += [
            f"{count(len(names), noun)} {words}: {_listed(names)}"
            for names, noun, words in rest
            if names
        ]
        return "\n".join(lines)


def start_pass(dataset: Dataset, name: str, annotator: str | None) -> Dataset:
    """Return an empty dataset to label a pass in; see `Dataset.start_pass`."""
    _check_name(name)
    with dataset.lock:
        blind = _blank(dataset)
        if annotator is not None:
            blind.annotator = annotator
        home = None if dataset.path is None else os.path.abspath(dataset.path)
        blind._pass_of = (name, home)
    return blind


def add_pass(
    dataset: Dataset,
    other: Dataset,
    name: str,
    annotator: str | None,
    images: Collection[int] | None = None,
) -> PassReport:
    """Keep the labels of another dataset as a pass; see `Dataset.add_pass`.

    `images` are the positions of those of `other` that are looked at, by default all.
    """
    _check_name(name)
    if other is dataset:
        raise ValueError("add_pass: a dataset is no second opinion on itself; see ds.start_pass")
    now = time.time()
    with dataset._history.callbacks_after(), dataset.lock:
        pairing = pair_labels(dataset, other, images)
        times = _label_times(other, [uid_there for _, uid_there, _, _ in pairing.pairs])
        found: dict[str, Opinion] = {}
        for uid, uid_there, category, keypoints in pairing.pairs:
            there = other.instance(uid_there)
            who = annotator if annotator is not None else there.annotator
            if who is None:
                raise ValueError(
                    f"add_pass: instance {uid_there!r} in image {there.image.file_name!r} does not "
                    "say who made it; pass annotator='...'"
                )
            points = checked_points(category, keypoints)
            labeled = times.get(uid_there, now)
            found[uid] = Opinion(uid, name, who, category.keypoints, points, labeled)
        before = {uid: of[name] for uid, of in dataset._passes.items() if name in of}
        _refuse_others(name, before, found)
        people = {opinion.annotator for opinion in found.values()}
        people |= {annotator or other.annotator}  # nobody may be left
        gone = [u for u in pairing.unmatched if u in before and before[u].annotator in people]
        n_same = sum(before.get(uid) == opinion for uid, opinion in found.items())
        n_changed = sum(uid in before for uid in found) - n_same
        with dataset.transaction(f"add pass {name}"):
            for uid, opinion in (*found.items(), *((uid, None) for uid in gone)):
                put_opinion(dataset, uid, name, opinion)
    return PassReport(
        name,
        len(found) - n_changed - n_same,
        n_changed,
        n_same,
        len(gone),
        tuple(pairing.unmatched),
        tuple(pairing.unmatched_other),
        tuple(pairing.missing_images),
    )


def _label_times(dataset: Dataset, uids: Sequence[str]) -> dict[str, float]:
    """When instances were labeled last, in seconds since the epoch, of those where it is known."""
    times = {
        change.uid: step.time
        for step in dataset._history.steps()
        for change in step.changes
        if change.what in ("keypoint", "instance") and change.uid is not None
    }
    if dataset.recorder is not None and not times.keys() >= set(uids):
        # Steps of long ago can no more be undone, but the journal has them.
        table = dataset.history()
        labels = table[table["what"].isin(["keypoint", "instance"])]
        seconds = (stamp.timestamp() for stamp in labels["time"])
        times = dict(zip(labels["instance"], seconds, strict=True)) | times
    return times


def remove_pass(dataset: Dataset, name: str) -> int:
    """Take a pass away and say how many opinions it had; see `Dataset.remove_pass`."""
    with dataset._history.callbacks_after(), dataset.lock:
        dataset.passes._check(name)
        uids = [opinion.uid for opinion in dataset.passes if opinion.name == name]
        with dataset.transaction(f"remove pass {name}"):
            for uid in uids:
                put_opinion(dataset, uid, name, None)
    return len(uids)


def pair_labels(first: Dataset, second: Dataset, images: Collection[int] | None = None) -> Pairing:
    """Find the instances of a second label set in a first one.

    Parameters
    ----------
    first, second : Dataset
        Images are matched by file name, categories by name (if both have one only, by nothing),
        keypoints by name, and instances by `kpwidget.metrics.match_labels`.
    images : collection of int, optional
        Positions of the images of the second that are looked at; by default all.

    Returns
    -------
    Pairing

    Raises
    ------
    ValueError
        If categories that are matched have other keypoints, or a category of the second with labels
        is not in the first; if several images have one name. All are named.
    """
    with first.lock, second.lock:
        places = _category_places(first, second)
        ours = _images_by_name(first, "first")
        theirs = _images_by_name(second, "second")
        pairs: list[tuple[str, str, Category, NDArray[np.float64]]] = []
        unmatched: list[str] = []
        unmatched_other: list[str] = []
        missing: list[str] = []
        for file_name, index_there in theirs.items():
            if images is not None and index_there not in images:
                continue
            rows_there = second._table.rows_of_image[index_there]
            index = ours.get(file_name)
            if index is None:
                if rows_there:
                    missing.append(file_name)
                unmatched_other += second._table.uids(rows_there)
                continue
            if not rows_there and not second._images[index_there].is_done:
                continue  # nobody has looked at it yet
            rows = first._table.rows_of_image[index]
            for number, category in enumerate(first._categories):
                of_here = [row for row in rows if first._table.category(row) == number]
                of_there = [
                    row for row in rows_there if places[second._table.category(row)][0] == number
                ]
                a = first._table.keypoints_of(number, of_here)
                b = np.array(
                    [
                        second._table.keypoints(row)[places[second._table.category(row)][1]]
                        for row in of_there
                    ]
                ).reshape(-1, category.n_keypoints, 3)
                is_alone = len(of_here) == len(of_there) == 1
                boxes = first._table.column("bbox", of_here)
                found = match_labels(
                    a,
                    b,
                    flip_indices=category.schema.flip_indices,
                    size=np.sqrt(boxes[:, 2] * boxes[:, 3]),  # NaN where none was given
                    most=1.0 if is_alone else 0.5,
                )
                uids, uids_there = first._table.uids(of_here), second._table.uids(of_there)
                pairs += [(uids[i], uids_there[j], category, b[j]) for i, j in found.pairs.tolist()]
                unmatched += [uids[i] for i in found.unmatched_gt.tolist()]
                unmatched_other += [uids_there[j] for j in found.unmatched_pred.tolist()]
    return Pairing(pairs, unmatched, unmatched_other, missing)


def _blank(dataset: Dataset) -> Dataset:
    """A dataset of the same images and categories in which nobody has labeled anything."""
    blank = dataset._without_instances()
    blank._images = [replace(state, is_done=False) for state in blank._images]
    blank._n_done = 0
    return blank


def put_opinion(dataset: Dataset, uid: str, name: str, opinion: Opinion | None) -> None:
    """Record an opinion that differs from the one there is, inside an open transaction."""
    before = dataset._passes.get(uid, {}).get(name)
    if before != opinion:
        image = dataset._table.value(dataset._table.row(uid), "image")
        dataset._history.do(PrimitiveChange("pass", uid, image, before, opinion, name))


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.strip() or len(name) > 100 or not name.isprintable():
        raise ValueError(f"the name of a pass is a text of 1 to 100 characters, not {name!r}")


def _refuse_others(name: str, before: Mapping[str, Opinion], found: Mapping[str, Opinion]) -> None:
    """Raise ValueError if the pass has opinions of somebody else on these instances."""
    taken = {
        uid: before[uid].annotator
        for uid, opinion in found.items()
        if uid in before and before[uid].annotator != opinion.annotator
    }
    if taken:
        raise ValueError(
            f"add_pass: pass {name!r} has labels of {_listed(sorted(set(taken.values())))} on "
            f"{len(taken)} of these instances; give this pass another name, or take that one away "
            f"first: ds.remove_pass({name!r})"
        )


def _images_by_name(dataset: Dataset, which: str) -> dict[str, int]:
    found = {}
    for file_name, indices in dataset._indices_of_file_name.items():
        if len(indices) > 1:
            raise ValueError(
                f"images are matched by file name, and {len(indices)} of the {which} have the name "
                f"{file_name!r}"
            )
        found[file_name] = indices[0]
    return found


def _category_places(first: Dataset, second: Dataset) -> list[tuple[int, NDArray[np.int64]]]:
    """For each category of the second which of the first it is, and where its keypoints are there.

    -1 for one without instances that the first has not.
    """
    by_name = {category.name: i for i, category in enumerate(first._categories)}
    is_single = len(first._categories) == len(second._categories) == 1
    n_labels = second._table.n_of_categories()
    places: list[tuple[int, NDArray[np.int64]]] = []
    problems = []
    for theirs, n in zip(second._categories, n_labels, strict=True):
        number = 0 if is_single else by_name.get(theirs.name, -1)
        place = {name: k for k, name in enumerate(theirs.keypoints)}
        wanted = first._categories[number].keypoints if number >= 0 else ()
        if n and number < 0:
            problems.append(
                f"there is no category {theirs.name!r} here (rename_category changes a name)"
            )
        elif n and set(wanted) != set(place):
            lacks = [name for name in wanted if name not in place]
            has = [name for name in theirs.keypoints if name not in wanted]
            said = [f"lacks {_listed(lacks)}"] if lacks else []
            said += [f"has {_listed(has)} besides"] if has else []
            problems.append(f"category {theirs.name!r} there {' and '.join(said)}")
        places.append((number, np.array([place.get(name, -1) for name in wanted], np.int64)))
    if problems:
        raise ValueError(
            f"the labels have another schema: {'; '.join(problems)}. Keypoints are matched by "
            "name: bring both to one schema first"
        )
    return places


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)})" if len(names) > _N_SHOWN else ""
    return ", ".join(map(repr, names[:_N_SHOWN])) + more
