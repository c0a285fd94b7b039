"""Datasets taken apart: which images go into which part."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from kpwidget.dataset.values import as_float
from kpwidget.dataset.views import ImageInfo

if TYPE_CHECKING:
    from kpwidget.dataset.core import Dataset

__all__ = ["REST", "Group", "Parts", "split_images"]

Parts = Mapping[str, float | str | Iterable[int | str | ImageInfo]]
"""Name of each part -> its ratio; or its images, or 'rest'."""

Group = Literal["folder", "clip"] | Mapping[str, Hashable] | Callable[[ImageInfo], Hashable] | None
"""What keeps images together: see `split_images`."""

REST: Final = "rest"
"""Stands for the images that no other part names."""

_TRAILING_NUMBER: Final = re.compile(r"[ _.-]*(?:\d+|\(\d+\))$")
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
            f"{_count(len(left), 'image')} in no part: {_names(dataset, left)}; name them or "
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
        return [_folder(name) if group == "folder" else _clip(name) for name in file_names]
    if isinstance(group, Mapping):
        missing = [i for i, name in enumerate(file_names) if name not in group]
        if missing:
            raise ValueError(
                f"cannot split: {_count(len(missing), 'image')} without a group: "
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


def _clip(file_name: str) -> tuple[str, str]:
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


def _names(dataset: Dataset, indices: Sequence[int]) -> str:
    shown = ", ".join(repr(dataset._images[i].file_name) for i in indices[:_N_SHOWN])
    return shown + (f" and {len(indices) - _N_SHOWN} more" if len(indices) > _N_SHOWN else "")


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
