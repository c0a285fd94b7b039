"""Datasets taken apart and put together: `split`, `merge`, `rename_category`."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
import secrets
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset.table import _MAX_ID, NO_ID, InstanceRecord, InstanceTable
from kpwidget.dataset.text import FileText
from kpwidget.dataset.values import as_float
from kpwidget.dataset.views import ImageInfo
from kpwidget.history import PrimitiveChange
from kpwidget.schema import Category
from kpwidget.words import count

if TYPE_CHECKING:
    from kpwidget.dataset.core import Dataset, ImageState, PointFields

__all__ = [
    "REST",
    "Group",
    "MergeConflict",
    "MergeReport",
    "Parts",
    "merge",
    "split",
    "split_images",
]

Parts = Mapping[str, float | str | Iterable[int | str | ImageInfo]]
"""Name of each part -> its ratio; or its images, or 'rest'."""

Group = Literal["folder", "clip"] | Mapping[str, Hashable] | Callable[[ImageInfo], Hashable] | None
"""What keeps images together: see `split_images`."""

REST: Final = "rest"
"""Stands for the images that no other part names."""

_TRAILING_NUMBER: Final = re.compile(r"[ _.-]*(?:\d+|\(\d+\))$")
_TOLERANCE: Final = 1e-3  # px; a format that divides by the image's size moves a point by some 1e-8
_N_SHOWN: Final = 5  # how many names a message gives of those that are wrong


# --- split --------------------------------------------------------------------------------------


def split_images(
    dataset: Dataset, parts: Parts, seed: int = 0, group: Group = None
) -> dict[str, list[int]]:
    """Positions of the images of each part of a dataset.

    Parameters
    ----------
    dataset : Dataset
    parts : mapping of str to float, or of str to images
        Ratios, positive and with the sum 1 (to 1e-6); or for each part the file names, positions
        or `ImageInfo` of its images, each image in one part only, and for at most one part the
        word ``'rest'``.
    seed : int, default 0
        Of the numpy Generator that shuffles the images. Not used with lists.
    group : {'folder', 'clip'}, mapping or callable, optional
        What must not be torn apart. ``'folder'``: the images of one folder. ``'clip'``: the images
        of one folder whose file names differ in the number at their end only (``walk_001.png``,
        ``walk_002.png``). A mapping goes from file name to group; a callable is given an
        `ImageInfo` and returns the group.

    Returns
    -------
    dict of str to list of int
        The parts in the order given, each with its positions rising. Every image is in one.

    Raises
    ------
    ValueError
        Naming everything that is wrong with the parts or the groups: ratios that are not positive
        or do not have the sum 1, images that are unknown, in several parts or in none, groups that
        are torn apart by the lists, or fewer groups than parts.
    TypeError
        If `parts` or `group` is something else.

    Notes
    -----
    With ratios the parts have ``ratio * n`` images, rounded by largest remainder: each part first
    gets the whole number, and the images left go to the largest fractions (among equal ones to the
    larger ratio, then by name). The images are put in order by file name, shuffled with the seed,
    and dealt to the parts by name; so neither the order of `parts` nor that of the images matters.

    With groups the same sizes are aimed at. The groups, shuffled, are taken from the largest to the
    smallest, and each goes as a whole to the part that lacks the most images at that moment (among
    equal ones to the larger ratio, then by name). Sizes are then as near as whole groups permit.
    """
    if not isinstance(parts, Mapping) or not parts:
        raise TypeError(
            "parts are a mapping such as {'train': 0.8, 'val': 0.2}, from name to ratio or list of "
            f"images, not {parts!r}"
        )
    wrong = [repr(name) for name in parts if not isinstance(name, str) or not name]
    if wrong:
        raise TypeError(f"names of parts are text, not {', '.join(wrong)}")
    ratios = {name: as_float(value) for name, value in parts.items()}
    with dataset.lock:
        groups = None if group is None else _groups(dataset, group)
        if any(ratio is not None for ratio in ratios.values()):
            chosen = _by_ratio(dataset, _checked_ratios(parts), seed, groups)
        else:
            chosen = _by_list(dataset, parts)
            if groups is not None:
                _refuse_torn(dataset, chosen, groups)
    return {name: sorted(chosen[name]) for name in parts}


def split(dataset: Dataset, parts: Parts, seed: int = 0, group: Group = None) -> dict[str, Dataset]:
    """Detached datasets of parts of the images; see `Dataset.split`."""
    with dataset.lock:
        chosen = split_images(dataset, parts, seed, group)
        rows_of_image = dataset._table.rows_of_image
        return {
            name: dataset._copy(
                images, sorted(row for i in images for row in rows_of_image[i]), keep_others=True
            )
            for name, images in chosen.items()
        }


def _checked_ratios(parts: Parts) -> dict[str, float]:
    """Ratios by name, those that come first when sizes are equal first."""
    problems = []
    ratios: dict[str, float] = {}
    for name, value in parts.items():
        ratio = as_float(value)
        if ratio is None:
            problems.append(f"part {name!r} is {value!r}, while other parts are ratios")
        elif not (ratio > 0 and math.isfinite(ratio)):
            problems.append(f"part {name!r} is {value!r}, expected a ratio above 0")
        else:
            ratios[name] = ratio
    total = math.fsum(ratios.values())
    if not problems and abs(total - 1) > 1e-6:
        listed = " + ".join(f"{ratio:g}" for ratio in ratios.values())
        problems.append(f"the ratios {listed} have the sum {total:.6g}, expected 1")
    if problems:
        raise ValueError("cannot split: " + "; ".join(problems))
    return dict(sorted(ratios.items(), key=lambda item: (-item[1], item[0])))


def _sizes(ratios: Mapping[str, float], n: int) -> dict[str, int]:
    """Whole numbers with the sum `n` nearest to the ratios, by largest remainder."""
    total = math.fsum(ratios.values())
    # 0.29 * 100 is 28.999999999999996: nine digits are beyond what anyone means.
    quotas = {name: round(ratio / total * n, 9) for name, ratio in ratios.items()}
    sizes = {name: math.floor(quota) for name, quota in quotas.items()}
    # The sort is stable and the ratios come in the order of precedence.
    by_remainder = sorted(quotas, key=lambda name: sizes[name] - quotas[name])
    for name in by_remainder[: n - sum(sizes.values())]:
        sizes[name] += 1
    return sizes


def _by_ratio(
    dataset: Dataset,
    ratios: Mapping[str, float],
    seed: int,
    groups: Sequence[Hashable] | None,
) -> dict[str, list[int]]:
    n = len(dataset)
    sizes = _sizes(ratios, n)
    states = dataset._images
    in_order = sorted(range(n), key=lambda i: (states[i].file_name, str(states[i].id)))
    generator = np.random.default_rng(seed)
    chosen: dict[str, list[int]] = {name: [] for name in ratios}
    if groups is None:
        shuffled = np.array(in_order, dtype=np.int64)[generator.permutation(n)].tolist()
        start = 0
        for name in sorted(ratios):
            chosen[name] = shuffled[start : start + sizes[name]]
            start += sizes[name]
        return chosen
    members: dict[Hashable, list[int]] = {}
    for index in in_order:
        members.setdefault(groups[index], []).append(index)
    if n and len(members) < len(ratios):
        shown = ", ".join(f"{key!r} ({len(images)} images)" for key, images in members.items())
        raise ValueError(
            f"cannot split: {len(ratios)} parts need as many groups, and there are {len(members)}: "
            f"{shown}. Choose another group, or None to deal out single images"
        )
    clusters = list(members.values())
    shuffled_clusters = [clusters[i] for i in generator.permutation(len(clusters)).tolist()]
    lacking = dict(sizes)
    for cluster in sorted(shuffled_clusters, key=len, reverse=True):
        name = max(lacking, key=lambda part: lacking[part])  # the first of equal ones
        chosen[name] += cluster
        lacking[name] -= len(cluster)
    return chosen


def _by_list(dataset: Dataset, parts: Parts) -> dict[str, list[int]]:
    problems: list[str] = []
    chosen: dict[str, list[int]] = {}
    part_of: dict[int, str] = {}
    rest: list[str] = []
    for name, value in parts.items():
        chosen[name] = []
        if isinstance(value, str) and value == REST:
            rest.append(name)
            continue
        if isinstance(value, str) or not isinstance(value, Iterable):
            problems.append(
                f"part {name!r} is {value!r}, expected a ratio, a list of images or {REST!r}"
            )
            continue
        for key in value:
            try:
                index = dataset.image(key).index
            except (KeyError, IndexError, TypeError, ValueError) as error:
                problems.append(f"part {name!r}: {error.args[0]}")
                continue
            if index in part_of:
                first = part_of[index]
                where = f"twice in part {name!r}" if first == name else f"in {first!r} and {name!r}"
                problems.append(f"image {dataset._images[index].file_name!r} is {where}")
                continue
            part_of[index] = name
            chosen[name].append(index)
    if len(rest) > 1:
        problems.append(f"parts {' and '.join(map(repr, rest))} are all {REST!r}; one can be")
    left = [index for index in range(len(dataset)) if index not in part_of]
    if rest:
        chosen[rest[0]] = left
    elif left:
        problems.append(
            f"{count(len(left), 'image')} in no part: {_names(dataset, left)}; name them or "
            f"give a part as {REST!r}"
        )
    if problems:
        raise ValueError("cannot split: " + "; ".join(problems))
    return chosen


def _groups(dataset: Dataset, group: Group) -> list[Hashable]:
    """Return the group of each image."""
    file_names = [state.file_name for state in dataset._images]
    if isinstance(group, str):
        if group not in ("folder", "clip"):
            raise ValueError(
                "group is 'folder', 'clip', a mapping from file name to group, or a callable, not "
                f"{group!r}"
            )
        return [_folder(name) if group == "folder" else clip_of(name) for name in file_names]
    if isinstance(group, Mapping):
        missing = [i for i, name in enumerate(file_names) if name not in group]
        if missing:
            raise ValueError(
                f"cannot split: {count(len(missing), 'image')} without a group: "
                f"{_names(dataset, missing)}"
            )
        found: list[Any] = [group[name] for name in file_names]
    elif callable(group):
        found = [group(image) for image in dataset.images]
    else:
        raise TypeError(
            "group is 'folder', 'clip', a mapping from file name to group, or a callable, not "
            f"{group!r}"
        )
    for name, value in zip(file_names, found, strict=True):
        if not isinstance(value, Hashable):
            raise TypeError(
                f"the group of image {name!r} is {value!r}, expected something that can be "
                "compared, such as text or a number"
            )
    return found


def _folder(file_name: str) -> str:
    return file_name.replace("\\", "/").rpartition("/")[0]


def clip_of(file_name: str) -> tuple[str, str]:
    """Folder, and file name without its ending and the number before that."""
    base = file_name.replace("\\", "/").rpartition("/")[2]
    stem, dot, _ = base.rpartition(".")
    return _folder(file_name), _TRAILING_NUMBER.sub("", stem if dot and stem else base)


def _refuse_torn(
    dataset: Dataset, chosen: Mapping[str, Sequence[int]], groups: Sequence[Hashable]
) -> None:
    """Raise ValueError naming every group with images in several parts."""
    parts_of: dict[Hashable, dict[str, int]] = {}
    for name, indices in chosen.items():
        for index in indices:
            parts_of.setdefault(groups[index], {}).setdefault(name, index)
    torn = [
        f"group {key!r} has {' and '.join(_in_part(dataset, *item) for item in first.items())}"
        for key, first in parts_of.items()
        if len(first) > 1
    ]
    if torn:
        raise ValueError("cannot split: " + "; ".join(torn))


def _in_part(dataset: Dataset, name: str, index: int) -> str:
    return f"{dataset._images[index].file_name!r} in {name!r}"


# --- merge --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MergeConflict:
    """One instance that both datasets have, with other values.

    Attributes
    ----------
    ours, theirs : str
        The uids: here, and in the dataset that came in. They are the same.
    image : str
        File name of the image here.
    fields : tuple of str
        What differs: 'keypoints', 'bbox', 'area', ...
    added_as : str or None
        The uid under which theirs was added, if it was.
    """

    ours: str
    theirs: str
    image: str
    fields: tuple[str, ...]
    added_as: str | None = None


@dataclass(frozen=True)
class MergeReport:
    """What `Dataset.merge` did.

    Attributes
    ----------
    n_images_matched, n_images_added : int
        Images of the other dataset that were here already, and those that were not.
    n_categories_matched, n_categories_added : int
    n_instances_added : int
    duplicates : tuple of (str, str)
        The uid here and the uid there of instances that both have with the same values: see
        `Dataset.merge`.
    duplicates_added : bool
        Whether duplicates were added all the same.
    conflicts : tuple of MergeConflict
        Instances that both have, with other values.
    image_ids, annotation_ids, category_ids : mapping
        Ids that were taken here: the id there -> the new id, None for annotations, which are given
        theirs at the next save.
    uids : mapping of str to str
        Uids that were taken here: the uid there -> the new one.
    notes : tuple of str
        What else is worth knowing, each in words.
    """

    n_images_matched: int
    n_images_added: int
    n_categories_matched: int
    n_categories_added: int
    n_instances_added: int
    duplicates: tuple[tuple[str, str], ...] = ()
    duplicates_added: bool = False
    conflicts: tuple[MergeConflict, ...] = ()
    image_ids: Mapping[int | str, int] = field(default_factory=dict)
    annotation_ids: Mapping[int, None] = field(default_factory=dict)
    category_ids: Mapping[int, int] = field(default_factory=dict)
    uids: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the counts in words, then the conflicts and notes."""
        lines = [
            f"images: {self.n_images_matched} matched, {self.n_images_added} added",
            f"categories: {self.n_categories_matched} matched, {self.n_categories_added} added",
            f"instances: {self.n_instances_added} added",
        ]
        if self.duplicates:
            what = "added all the same" if self.duplicates_added else "not added"
            lines.append(f"{count(len(self.duplicates), 'duplicate')}, {what}:")
            lines += _shown([f"{o!r} here, {t!r} there" for o, t in self.duplicates])
        if self.conflicts:
            lines.append(f"{count(len(self.conflicts), 'conflict')}, same uid and other values:")
            lines += _shown(
                [
                    f"{c.ours!r} in image {c.image!r}: {', '.join(c.fields)} differ; "
                    + ("kept as here" if c.added_as is None else f"theirs added as {c.added_as!r}")
                    for c in self.conflicts
                ]
            )
        changed = [
            count(len(ids), noun)
            for noun, ids in (
                ("image", self.image_ids),
                ("category", self.category_ids),
                ("annotation", self.annotation_ids),
            )
            if ids
        ]
        if changed:
            lines.append(f"new ids, since theirs were taken here: {', '.join(changed)}")
        return "\n".join([*lines, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Return the same as numbers, text, lists and dicts, for JSON."""
        return {
            "images": {"matched": self.n_images_matched, "added": self.n_images_added},
            "categories": {
                "matched": self.n_categories_matched,
                "added": self.n_categories_added,
            },
            "instances": {"added": self.n_instances_added},
            "duplicates": [{"ours": o, "theirs": t} for o, t in self.duplicates],
            "duplicates_added": self.duplicates_added,
            "conflicts": [
                {
                    "ours": c.ours,
                    "theirs": c.theirs,
                    "image": c.image,
                    "fields": list(c.fields),
                    "added_as": c.added_as,
                }
                for c in self.conflicts
            ],
            "image_ids": [[old, new] for old, new in self.image_ids.items()],
            "category_ids": [[old, new] for old, new in self.category_ids.items()],
            "annotation_ids": list(self.annotation_ids),
            "uids": dict(self.uids),
            "notes": list(self.notes),
        }


def merge(
    dataset: Dataset,
    other: Dataset,
    *,
    match: Literal["name", "hash"] = "name",
    rename: Mapping[str, str] | None = None,
    on_duplicate: Literal["report", "add"] = "report",
    on_conflict: Literal["ours", "both"] = "ours",
    tolerance: float = _TOLERANCE,
) -> MergeReport:
    """Take what another dataset has into a dataset; see `Dataset.merge`."""
    for name, value, allowed in (
        ("match", match, ("name", "hash")),
        ("on_duplicate", on_duplicate, ("report", "add")),
        ("on_conflict", on_conflict, ("ours", "both")),
    ):
        if value not in allowed:
            raise ValueError(f"{name} is {' or '.join(map(repr, allowed))}, not {value!r}")
    distance = as_float(tolerance)
    if distance is None or not 0 <= distance < math.inf:
        raise ValueError(f"tolerance is a number of pixels, 0 or more, not {tolerance!r}")
    if other is dataset:
        raise ValueError("a dataset cannot be merged with itself")
    with ExitStack() as stack:
        # Callbacks run when both locks are free again. Always in one order: two merges in two
        # threads, each into the other's dataset, must not wait for each other.
        stack.enter_context(dataset._history.callbacks_after())
        for one in sorted((dataset, other), key=id):
            stack.enter_context(one.lock)
        merging = _Merge(dataset, other, match, dict(rename or {}), distance)
        merging.take_instances(add_duplicates=on_duplicate == "add", both=on_conflict == "both")
        merging.apply()
        return merging.report()


class _Merge:
    """What is to be taken over: found first, wholly, and then put in place."""

    def __init__(
        self,
        dataset: Dataset,
        other: Dataset,
        match: Literal["name", "hash"],
        rename: Mapping[str, str],
        tolerance: float,
    ) -> None:
        self.dataset, self.other = dataset, other
        self.tolerance = tolerance
        self.notes: list[str] = []
        self.image_ids: dict[int | str, int] = {}
        self.category_ids: dict[int, int] = {}
        self.annotation_ids: dict[int, None] = {}
        self.uids: dict[str, str] = {}
        self.duplicates: list[tuple[str, str]] = []
        self.duplicates_added = False
        self.conflicts: list[MergeConflict] = []
        self.new_categories: list[Category] = []
        self.new_point_fields: dict[int, PointFields] = {}
        self.new_categories_read: dict[int, tuple[FileText, int, Category]] = {}
        self.new_images: list[ImageState] = []
        self.records: list[InstanceRecord] = []
        self.as_read: list[int] = []  # rows of those that are what their text says, ids and all
        problems: list[str] = []
        self.kept_ids = _kept_ids(dataset)
        self.category_of = self._match_categories(rename, problems)
        self.image_of = self._match_images(match, problems)
        if problems:
            raise ValueError("cannot merge: " + "; ".join(problems) + ". Nothing was changed")

    def _match_categories(self, rename: Mapping[str, str], problems: list[str]) -> list[int]:
        """Return the position here of each category of the other dataset."""
        ours = self.dataset.categories
        names = {category.name for category in self.other.categories}
        unknown = [repr(name) for name in rename if name not in names]
        if unknown:
            problems.append(
                f"rename= names {', '.join(unknown)}, and the other dataset has the categories "
                f"{', '.join(map(repr, sorted(names))) or 'none'}"
            )
        taken = {category.id for category in ours} | self.kept_ids["category"]
        free = _free_ids(taken | {category.id for category in self.other.categories})
        found: list[int] = []
        for category in self.other.categories:
            name = rename.get(category.name, category.name)
            same_name = [i for i, known in enumerate(ours) if known.name == name]
            fitting = [i for i in same_name if ours[i].keypoints == category.keypoints]
            if len(fitting) > 1:
                fitting = [i for i in fitting if ours[i].id == category.id]
            if len(fitting) == 1:
                found.append(fitting[0])
                known = ours[fitting[0]].schema
                if known.skeleton != category.schema.skeleton:
                    self.notes.append(f"category {name!r}: the skeletons differ, ours is kept")
            elif same_name:
                problems.append(_how_categories_differ(category, ours[same_name[0]]))
                found.append(-1)
            else:
                number = category.id
                if number in taken:
                    self.category_ids[number] = number = next(free)
                taken.add(number)
                layout = self.other.layout
                self.new_point_fields[number] = layout.fields_of(category)
                read = layout.categories_read.get(category.id)
                # One that names no keypoints is written anew, with the names it was read with.
                if read is not None and read[0].record("categories", read[1]).get("keypoints"):
                    self.new_categories_read[number] = read
                found.append(len(ours) + len(self.new_categories))
                self.new_categories.append(replace(category, id=number, name=name))
        return found

    def _match_images(self, match: Literal["name", "hash"], problems: list[str]) -> list[int]:
        """Return the position here of each image of the other dataset."""
        ours, theirs = self.dataset, self.other
        by_name = ours._indices_of_file_name
        found = [by_name.get(state.file_name, []) for state in theirs._images]
        if match == "hash":
            self._match_by_content(found)
        elif not any(found):
            self._note_base_names()
        taken = {state.id for state in ours._images} | self.kept_ids["image"]
        free = _free_ids(taken | {state.id for state in theirs._images})
        positions: list[int] = []
        for index, here in enumerate(found):
            state = theirs._images[index]
            if len(here) > 1:
                problems.append(
                    f"image {state.file_name!r} is {len(here)} images here, at the positions {here}"
                )
            if here:
                positions.append(here[0])
                size, known = state.recorded_size, ours._images[here[0]].recorded_size
                if size and known and size != known:
                    problems.append(
                        f"image {state.file_name!r} is {known[0]} x {known[1]} px here and "
                        f"{size[0]} x {size[1]} px there: the keypoints do not fit"
                    )
                continue
            number = state.id
            if number in taken:
                self.image_ids[number] = number = next(free)
            taken.add(number)
            positions.append(len(ours) + len(self.new_images))
            renamed = state.is_renamed or number != state.id
            self.new_images.append(replace(state, id=number, is_renamed=renamed, source=None))
        return positions

    def _note_base_names(self) -> None:
        """Say it if images that do not match by name do by the last part of it."""
        here: dict[str, str] = {}
        for state in self.dataset._images:
            here.setdefault(_base(state.file_name), state.file_name)
        alike = [s.file_name for s in self.other._images if _base(s.file_name) in here]
        if alike:
            self.notes.append(
                f"no image has the file name of one here, though {count(len(alike), 'image')} "
                f"differ in the folder only, such as {alike[0]!r} from {here[_base(alike[0])]!r}: "
                "if they are the same, pass match='hash' to match images by their content"
            )

    def _match_by_content(self, found: list[list[int]]) -> None:
        """Look for the images without a match by name among ours with the same bytes."""
        from tqdm.auto import tqdm

        unmatched = [index for index, here in enumerate(found) if not here]
        sizes = {index: _n_bytes(self.other.images[index]) for index in unmatched}
        wanted = {n_bytes for n_bytes in sizes.values() if n_bytes is not None}
        if not wanted:
            return
        # Only files of one length can be equal, so that most need not be read.
        candidates = [image for image in self.dataset.images if _n_bytes(image) in wanted]
        by_hash: dict[str, list[int]] = {}
        for image in tqdm(candidates, "hash images", unit="image", delay=1.0, leave=False):
            by_hash.setdefault(_hash_of(image), []).append(image.index)
        lengths = {_n_bytes(image) for image in candidates}
        chosen = [index for index in unmatched if sizes[index] in lengths]
        for index in tqdm(chosen, "hash images", unit="image", delay=1.0, leave=False):
            found[index] = by_hash.get(_hash_of(self.other.images[index]), [])

    def take_instances(self, *, add_duplicates: bool, both: bool) -> None:
        """Find which instances are to be added, and which are here already."""
        from tqdm.auto import tqdm

        table, theirs = self.dataset._table, self.other._table
        rows = theirs.live_rows()
        images = np.asarray(self.image_of, np.int64)[theirs.column("image", rows)].tolist()
        categories = np.asarray(self.category_of, np.int64)[theirs.column("category", rows)]
        uids, ids = theirs.uids(rows), theirs.column("id", rows).tolist()
        signatures = _signatures(theirs, rows, len(self.other.categories))
        signature_here, row_here = self._instances_here(sorted({*images}))
        near_here = _NearRows(row_here, self.tolerance)
        has_same_fields = [
            self.other.layout.fields_of(category) == self._fields_of(index)
            for category, index in zip(self.other.categories, self.category_of, strict=True)
        ]
        # Those of removed instances as well: undo may bring them back.
        taken_ids = {*table.column("id", range(table.n_rows)).tolist()} - {NO_ID}
        taken_ids |= self.kept_ids["annotation"]
        taken_uids, used = {*uids}, self._used_positions()
        self.duplicates_added = add_duplicates
        every = zip(rows, uids, ids, images, categories.tolist(), signatures, strict=True)
        progress = tqdm(every, "merge", len(uids), unit="instance", delay=1.0, leave=False)
        for row, uid, number, image, category, signature in progress:
            known = table.last_row(uid) if table.has(uid) else None
            conflict: MergeConflict | None = None
            same: str | None = None
            if known is not None and signature_here.get(known, ())[:2] == (image, category):
                is_moved = not _is_near(signature_here[known][2], signature, self.tolerance)
                fields = self._differing(known, row, is_moved)
                if fields:
                    file_name = self.dataset._images[image].file_name
                    conflict = MergeConflict(uid, uid, file_name, fields)
                else:
                    same = uid
            else:
                twin = row_here.get((image, category, signature))
                if twin is None:
                    twin = near_here.find((image, category, signature))
                same = None if twin is None else table.uids([twin])[0]
            if same is not None:
                self.duplicates.append((same, uid))
            if (same is not None and not add_duplicates) or (conflict is not None and not both):
                if conflict is not None:
                    self.conflicts.append(conflict)
                continue
            given = None if number == NO_ID else number
            if given in taken_ids:
                self.annotation_ids[number] = given = None
            added_as = uid
            if table.last_row(uid) is not None or (given is None and uid == f"coco:{number}"):
                while added_as in taken_uids or table.last_row(added_as) is not None:
                    added_as = secrets.token_hex(6)
                taken_uids.add(added_as)
                self.uids[uid] = added_as
            if conflict is not None:
                self.conflicts.append(replace(conflict, added_as=added_as))
            record = replace(
                theirs.record(uid),
                uid=added_as,
                id=given,
                image=image,
                category=category,
                row=table.n_rows + len(self.records),
            )
            is_used = (record.text, record.position) in used
            if is_used or not has_same_fields[theirs.category(row)]:
                # A text has one instance for each record, and the keypoints of a category stand
                # in the same fields (COCO-WholeBody has several): it is written as a new one.
                extra = dict(self.other.instance(uid).extra)
                record = replace(record, text=None, position=-1, extra=extra)
            elif record.text is not None and row not in theirs.edited:
                numbers = given, self._image_id(image), self._category_id(category)
                if numbers == (number, *self._ids_there(row)):
                    self.as_read.append(record.row)
            self.records.append(record)

    def _used_positions(self) -> set[tuple[FileText | None, int]]:
        """Texts that both datasets were read from, with the positions of our instances in them."""
        table = self.dataset._table
        theirs = {id(text) for text in self.other._table.texts}
        shared = [i for i, text in enumerate(table.texts) if id(text) in theirs]
        rows = range(table.n_rows if shared else 0)
        texts, positions = table.column("text", rows), table.column("position", rows)
        return {
            (table.texts[i], position)
            for i in shared
            for position in positions[texts == i].tolist()
        }

    def _image_id(self, index: int) -> int | str:
        """Id that an image here has or will have."""
        states, n = self.dataset._images, len(self.dataset)
        return (states[index] if index < n else self.new_images[index - n]).id

    def _category_id(self, index: int) -> int:
        categories, n = self.dataset.categories, len(self.dataset.categories)
        return (categories[index] if index < n else self.new_categories[index - n]).id

    def _fields_of(self, index: int) -> PointFields:
        """Where the keypoints of a category here stand, or will stand."""
        categories, n = self.dataset.categories, len(self.dataset.categories)
        if index < n:
            return self.dataset.layout.fields_of(categories[index])
        return self.new_point_fields[self.new_categories[index - n].id]

    def _ids_there(self, row: int) -> tuple[int | str, int]:
        """Ids of image and category of a row of the other dataset."""
        table = self.other._table
        image = self.other._images[int(table.value(row, "image"))]
        return image.id, self.other.categories[table.category(row)].id

    def _instances_here(self, images: Sequence[int]) -> tuple[dict[int, _Known], dict[_Known, int]]:
        """For our instances in some images what identifies each by its row, and back."""
        table = self.dataset._table
        lists = (table.rows_of_image[i] for i in images if i < len(self.dataset))
        rows = sorted(row for of_image in lists for row in of_image)
        keys: list[_Known] = list(
            zip(
                table.column("image", rows).tolist(),
                table.column("category", rows).tolist(),
                _signatures(table, rows, len(self.dataset.categories)),
                strict=True,
            )
        )
        of_row: dict[int, _Known] = dict(zip(rows, keys, strict=True))
        return of_row, dict(zip(reversed(keys), reversed(rows), strict=True))

    def _differing(self, ours: int, theirs: int, is_moved: bool) -> tuple[str, ...]:
        """Names of the values that differ between two rows of the same instance."""
        a, b = self.dataset._table, self.other._table
        fields = []
        if not _is_same_bbox(a.bbox(ours), b.bbox(theirs), self.tolerance):
            fields.append("bbox")
        # Without labeled keypoints the boxes are what the signatures are about.
        if is_moved and (a.n_labeled(ours) or b.n_labeled(theirs)):
            fields.insert(0, "keypoints")
        fields += [
            name
            for name in ("area", "iscrowd", "track_id", "score")
            if a.value(ours, name) != b.value(theirs, name)
        ]
        text, other_text = a.text(ours), b.text(theirs)
        if text is not None and other_text is not None:
            positions = a.value(ours, "position"), b.value(theirs, "position")
            if text.raw("annotations", positions[0]) == other_text.raw("annotations", positions[1]):
                return tuple(fields)  # the usual case, and much faster than to parse both
        uid = a.uids([ours])[0]
        if self.dataset.instance(uid).extra != self.other.instance(uid).extra:
            fields.append("extra")
        return tuple(fields)

    def apply(self) -> None:
        """Put in place what was found; on an exception nothing is changed."""
        from tqdm.auto import tqdm

        dataset = self.dataset
        n_images, n_categories = len(dataset), len(dataset.categories)
        is_done = False
        uid_there = {added_as: uid for uid, added_as in self.uids.items()}
        try:
            for category in self.new_categories:
                dataset._add_category(category)
            dataset.layout.point_fields.update(self.new_point_fields)
            dataset.layout.categories_read.update(self.new_categories_read)
            for state in self.new_images:
                dataset._add_image(state)
                dataset._n_done += state.is_done
            with dataset.transaction(f"merge {count(len(self.records), 'instance')}"):
                for record in tqdm(self.records, "add", unit="instance", delay=1.0, leave=False):
                    dataset._history.do(
                        PrimitiveChange("instance", record.uid, record.image, None, record)
                    )
                    uid = uid_there.get(record.uid, record.uid)
                    for name, opinion in self.other._passes.get(uid, {}).items():
                        opinion = replace(opinion, uid=record.uid)
                        dataset._history.do(
                            PrimitiveChange("pass", record.uid, record.image, None, opinion, name)
                        )
                    self._bring_decisions(uid, record.uid, record.image)
                for index_there, index in enumerate(self.image_of):
                    if index >= n_images:
                        self._bring_decisions(index_there, None, index)
                dataset._table.edited.difference_update(self.as_read)
                is_done = True
        finally:
            if not is_done:
                dataset._forget_added(n_images, n_categories)
        if self.new_images or self.new_categories:
            dataset._revision += 1

    def _bring_decisions(self, owner: str | int, uid: str | None, image: int) -> None:
        """Add those of the other dataset about an instance, or an image, that came from it."""
        dataset = self.dataset
        file_name = dataset._images[image].file_name
        for key, decision in self.other._decisions.get(owner, {}).items():
            decision = replace(decision, instance=uid, image=file_name)
            dataset._history.do(PrimitiveChange("decision", uid, image, None, decision, key))

    def report(self) -> MergeReport:
        """Return what was done."""
        other = self.other
        notes = list(self.notes)
        layout = other.layout
        kept = {
            "annotations that are no instances": len(layout.annotations),
            "categories without keypoints": len(layout.categories),
            "repeated or bad image records": len(layout.images),
        }
        left = [f"{n} {what}" for what, n in kept.items() if n]
        if left:
            notes.append(f"not taken over: {', '.join(left)}")
        for name in ("info", "licenses", "extra"):
            theirs = getattr(other, name)
            if theirs and theirs != getattr(self.dataset, name):
                notes.append(f"{name!r} of the other dataset differs and is not taken over")
        return MergeReport(
            n_images_matched=len(self.image_of) - len(self.new_images),
            n_images_added=len(self.new_images),
            n_categories_matched=len(self.category_of) - len(self.new_categories),
            n_categories_added=len(self.new_categories),
            n_instances_added=len(self.records),
            duplicates=tuple(self.duplicates),
            duplicates_added=self.duplicates_added,
            conflicts=tuple(self.conflicts),
            image_ids=self.image_ids,
            annotation_ids=self.annotation_ids,
            category_ids=self.category_ids,
            uids=self.uids,
            notes=tuple(notes),
        )


_Known = tuple[int, int, tuple[bytes, bytes]]
"""Image, category, and signature of an instance."""


def _signatures(
    table: InstanceTable, rows: Sequence[int], n_categories: int
) -> list[tuple[bytes, bytes]]:
    """Bytes of the labeled keypoints of each row, and of its bbox where none is labeled.

    Equal bytes are equal values: a zero has one sign, and what is unlabeled has no location.
    """
    signatures: list[tuple[bytes, bytes]] = [(b"", b"")] * len(rows)
    categories = table.column("category", rows)
    for category in range(n_categories):
        chosen = np.flatnonzero(categories == category)
        if not len(chosen):
            continue
        points = table.raw_keypoints_of(category, rows)
        points[points[..., 2] == 0] = 0.0
        points += 0.0  # -0.0 becomes 0.0
        boxes = table.column("bbox", rows)[chosen] + 0.0
        boxes[np.isnan(boxes)] = np.nan  # there is more than one
        is_labeled = np.asarray(points[..., 2].any(axis=1))
        flat = np.ascontiguousarray(points.reshape(len(chosen), -1))
        of_points = flat.view(f"V{flat.shape[1] * 8}").ravel().tolist()
        of_boxes = np.ascontiguousarray(boxes).view("V32").ravel().tolist()
        for i, labeled, keypoints, box in zip(
            chosen.tolist(), is_labeled.tolist(), of_points, of_boxes, strict=True
        ):
            signatures[i] = (keypoints, b"" if labeled else box)
    return signatures


_Numbers = tuple[bytes, NDArray[np.float64]]


def _numbers_of(signature: tuple[bytes, bytes]) -> _Numbers:
    """What has to be the same in two signatures, and the coordinates that may differ a little."""
    keypoints, box = signature
    if box:  # no keypoint is labeled
        return b"", np.frombuffer(box)
    points = np.frombuffer(keypoints).reshape(-1, 3)
    return points[:, 2].tobytes(), points[:, :2].ravel()


def _is_near(one: tuple[bytes, bytes], other: tuple[bytes, bytes], tolerance: float) -> bool:
    """Whether two signatures have the same visibilities, and coordinates within `tolerance`."""
    if one == other:
        return True
    (flags, xy), (other_flags, other_xy) = _numbers_of(one), _numbers_of(other)
    return flags == other_flags and bool((np.abs(xy - other_xy) <= tolerance).all())


def _is_same_bbox(
    one: tuple[float, ...] | None, other: tuple[float, ...] | None, tolerance: float
) -> bool:
    if one is None or other is None:
        return one is other
    return all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))


class _NearRows:
    """Finds the instance whose coordinates are those of another but for a tolerance."""

    def __init__(self, rows: Mapping[_Known, int], tolerance: float) -> None:
        self._rows = rows
        self._tolerance = tolerance
        self._groups: dict[tuple[int, int, bytes], tuple[list[int], NDArray[np.float64]]] = {}
        self._is_ready = False

    def find(self, known: _Known) -> int | None:
        """Row of the nearest within the tolerance, None if there is none."""
        if not self._tolerance:
            return None
        if not self._is_ready:
            self._make_groups()
        image, category, signature = known
        flags, xy = _numbers_of(signature)
        found = self._groups.get((image, category, flags))
        if found is None:
            return None
        rows, coordinates = found
        distances = np.abs(coordinates - xy).max(axis=1)
        nearest = int(np.argmin(distances))
        return rows[nearest] if distances[nearest] <= self._tolerance else None

    def _make_groups(self) -> None:
        gathered: dict[tuple[int, int, bytes], dict[int, NDArray[np.float64]]] = {}
        for (image, category, signature), row in self._rows.items():
            flags, xy = _numbers_of(signature)
            if not np.isnan(xy).any():
                gathered.setdefault((image, category, flags), {})[row] = xy
        self._groups = {
            key: (list(members), np.stack(list(members.values())))
            for key, members in gathered.items()
        }
        self._is_ready = True


def _base(file_name: str) -> str:
    return file_name.replace("\\", "/").rpartition("/")[2]


def _kept_ids(dataset: Dataset) -> dict[str, set[Any]]:
    """Ids of images, categories and annotations that records kept for writing have or name.

    A bad annotation that names an image which is not there would be one of a new image's.
    """
    layout = dataset.layout
    found: dict[str, set[Any]] = {"image": set(), "category": set(), "annotation": set()}
    for records, keys in (
        (layout.images, {"image": "id"}),
        (layout.categories, {"category": "id"}),
        (layout.annotations,
         {"annotation": "id", "image": "image_id", "category": "category_id"}),
    ):  # fmt: skip
        for record in records.values():
            if isinstance(record, Mapping):
                for kind, key in keys.items():
                    if isinstance(record.get(key), int | str):
                        found[kind].add(record[key])
    return found


def _free_ids(taken: set[Any]) -> Iterator[int]:
    """Ids above all that are taken and, when 64 bits hold no more, those between."""
    highest = max((number for number in taken if isinstance(number, int)), default=0)
    yield from range(max(highest, 0) + 1, _MAX_ID + 1)
    yield from (number for number in itertools.count(1) if number not in taken)


def _how_categories_differ(theirs: Category, ours: Category) -> str:
    place = f"category {ours.name!r}"
    if sorted(theirs.keypoints) == sorted(ours.keypoints):
        return (
            f"{place} has the same keypoints in another order: here "
            f"{', '.join(ours.keypoints[:6])}{', ...' if ours.n_keypoints > 6 else ''}, there "
            f"{', '.join(theirs.keypoints[:6])}{', ...' if theirs.n_keypoints > 6 else ''}; put "
            "those of one of them in order first"
        )
    here = [repr(k) for k in ours.keypoints if k not in theirs.keypoints]
    there = [repr(k) for k in theirs.keypoints if k not in ours.keypoints]
    only = [
        f"{', '.join(names[:4])}{', ...' if len(names) > 4 else ''} only {where}"
        for names, where in ((here, "here"), (there, "there"))
        if names
    ]
    return (
        f"{place} has {ours.n_keypoints} keypoints here and {theirs.n_keypoints} there "
        f"({'; '.join(only)}); pass rename={{{theirs.name!r}: 'another name'}} to keep both"
    )


def _n_bytes(image: ImageInfo) -> int | None:
    """Length of the content of an image, None if there is none."""
    data = image._state.data
    if isinstance(data, bytes):
        return len(data)
    if isinstance(data, np.ndarray):
        return int(data.nbytes)
    path = image.path
    try:
        return None if path is None else path.stat().st_size
    except OSError:  # it is as good as missing: no image is equal to it
        return None


def _hash_of(image: ImageInfo) -> str:
    """SHA-256 of the content of an image: of its file's bytes, or of an array with its shape."""
    data = image._state.data
    digest = hashlib.sha256()
    if isinstance(data, np.ndarray):
        digest.update(f"{data.shape} {data.dtype.str} ".encode())
        digest.update(np.ascontiguousarray(data).tobytes())
    elif isinstance(data, bytes):
        digest.update(data)
    else:
        path = image.path
        if path is None:
            raise FileNotFoundError(f"image {image.file_name!r} has gone while it was looked at")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return digest.hexdigest()


def _shown(lines: Sequence[str]) -> list[str]:
    shown = [f"  {line}" for line in lines[:_N_SHOWN]]
    return shown + ([f"  and {len(lines) - _N_SHOWN} more"] if len(lines) > _N_SHOWN else [])


def _names(dataset: Dataset, indices: Sequence[int]) -> str:
    shown = ", ".join(repr(dataset._images[i].file_name) for i in indices[:_N_SHOWN])
    return shown + (f" and {len(indices) - _N_SHOWN} more" if len(indices) > _N_SHOWN else "")
