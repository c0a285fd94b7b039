"""Wrong visibility flags.

Contradictions (`visibility_findings`, `check_image`), flags that never change or lean to a side
(`flag_findings`); `repair` puts right what leaves no doubt, here and in the other checks.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset.findings import OUTSIDE_TOLERANCE, Problem, problems, problems_of_instance
from kpwidget.images import ImageError
from kpwidget.quality.findings import Finding, rows_in, undecided
from kpwidget.quality.intervals import holm, in_percent, wilson
from kpwidget.quality.labels import Labels, dataset_of, flip_pairs_of, rows_of
from kpwidget.quality.masks import FAR_INSIDE_ANOTHER
from kpwidget.schema import Visibility

if TYPE_CHECKING:
    import pandas as pd

    from kpwidget.dataset import Dataset, ImageInfo, Instance, Selection
    from kpwidget.history import Step

__all__ = [
    "KINDS_OF_VALIDATE",
    "Remedy",
    "check_image",
    "flag_findings",
    "remedy",
    "repair",
    "visibility_findings",
]

_CLEAR: Final = "clear the keypoint, or put it where it belongs"

KINDS_OF_VALIDATE: Final = {
    "keypoint outside the image": "put it where it is seen, or clear it",
    "keypoint labeled at (0, 0)": _CLEAR,
    "keypoint with a location though unlabeled": "label it as occluded or visible, or clear it",
}
"""Kinds of `Problem` that are findings of the check 'visibility', each with what to do."""

_LEAST: Final = 20
"""Labels of a keypoint below which nothing is said of how its flag behaves."""

_LEVEL: Final = 0.05
_LEAN: Final = (0.4, 0.6)
"""Shares of left among the one-sided that are no finding, however many images there are: pictures
lean a little, too."""


def check_image(image: ImageInfo) -> list[Finding]:
    """Contradictions in the flags of one image, as `visibility_findings`; quick, for every edit.

    Parameters
    ----------
    image : ImageInfo

    Returns
    -------
    list of Finding
        Without those that somebody has called fine.
    """
    dataset = image.dataset
    with dataset.lock:
        size: tuple[float, float] = (math.inf, math.inf)
        with contextlib.suppress(
            ImageError, OSError
        ):  # nothing is outside of what has no known border
            size = image.size
        found = []
        for instance in image.instances:
            for problem in problems_of_instance(instance, *size):
                if problem.kind in KINDS_OF_VALIDATE:
                    found.append(_of_problem(instance, problem))
        rows = np.array(dataset._table.rows_of_image[image.index], np.int64)
        found += [*_odd_flags(dataset, rows), *_wrong_counts(dataset, rows)]
        return undecided(dataset, found)


def visibility_findings(data: Dataset | Selection) -> list[Finding]:
    """Flags that contradict themselves or the image; the caller holds the dataset's lock.

    Parameters
    ----------
    data : Dataset or Selection

    Returns
    -------
    list of Finding
        Errors: visibility other than 0, 1 and 2; a location though unlabeled; labeled at (0, 0);
        visible outside the image; ``num_keypoints`` of an unedited record that is not the number
        of its labeled keypoints. A warning: occluded outside the image.
    """
    dataset, rows = dataset_of(data), rows_of(data)
    uids = set(dataset._table.uids(rows.tolist()))
    found = [
        _of_problem(dataset.instance(problem.instance), problem)
        for problem in problems(dataset)
        if problem.kind in KINDS_OF_VALIDATE and problem.instance in uids
    ]
    return [*found, *_odd_flags(dataset, rows), *_wrong_counts(dataset, rows)]


def _of_problem(instance: Instance, problem: Problem) -> Finding:
    """A problem of `Dataset.validate` as a finding."""
    keypoint = str(problem.keypoint)
    x, y, flag = instance.raw[instance.category.schema.index(keypoint)].tolist()
    value, threshold = flag, math.nan
    severity = "error"
    if problem.kind == "keypoint outside the image":
        width, height = instance.image.size
        value, threshold = max(-x, -y, x - width, y - height), OUTSIDE_TOLERANCE
        # An occluded keypoint is guessed, and some guess beyond the border.
        severity = "warning" if flag == Visibility.OCCLUDED else "error"
    return Finding(
        "visibility",
        "warning" if severity == "warning" else "error",
        problem.image,
        problem.instance,
        keypoint,
        value,
        threshold,
        problem.what,
        KINDS_OF_VALIDATE[problem.kind],
        problem.kind,
    )


def _odd_flags(dataset: Dataset, rows: NDArray[np.int64]) -> Iterator[Finding]:
    table = dataset._table
    if not table.n_odd_visibility(rows.tolist()):
        return
    for row, image, uid in zip(
        rows.tolist(), table.column("image", rows).tolist(), table.uids(rows.tolist()), strict=True
    ):
        if not table.n_odd_visibility([row]) or table.value(row, "score") is not None:
            continue  # of a prediction it is the confidence
        names = dataset.categories[table.category(row)].keypoints
        for name, flag in zip(names, table.raw_keypoints(row)[:, 2].tolist(), strict=True):
            if flag not in (0, 1, 2):
                yield Finding(
                    "visibility",
                    "error",
                    dataset._images[image].file_name,
                    uid,
                    name,
                    flag,
                    math.nan,
                    f"visibility {flag:g} is none of 0, 1 and 2; it is shown as visible",
                    "set it to visible or occluded",
                    "visibility none of 0, 1 and 2",
                )


class _Count(msgspec.Struct):
    num_keypoints: float | None = None


def _wrong_counts(dataset: Dataset, rows: NDArray[np.int64]) -> Iterator[Finding]:
    """``num_keypoints`` of records as read against the keypoints of the same records."""
    table = dataset._table
    decode = msgspec.json.Decoder(_Count).decode
    is_read = table.column("text", rows) >= 0
    if table.edited:
        is_read &= ~np.isin(rows, np.fromiter(table.edited, np.int64, len(table.edited)))
    rows = rows[is_read]
    positions, of = table.column("position", rows).tolist(), table.column("category", rows)
    said = np.full(len(rows), math.nan)
    for i, (row, position) in enumerate(zip(rows.tolist(), positions, strict=True)):
        text = table.text(row)
        try:
            count = None if text is None else decode(text.raw("annotations", position))
        except msgspec.DecodeError:
            continue  # COCO's readers do not look at it, and no number can be wrong in it
        if count is not None and count.num_keypoints is not None:
            said[i] = count.num_keypoints
    for index in np.unique(of).tolist():
        category = dataset.categories[index]
        chosen = np.flatnonzero(of == index)
        is_labeled = table.keypoints_of(index, rows[chosen])[..., 2] > 0
        # COCO-WholeBody counts the 17 of the body alone.
        n_first = dataset.layout.fields_of(category)[0][1]
        counts = np.stack([is_labeled.sum(axis=1), is_labeled[:, :n_first].sum(axis=1)])
        is_wrong = np.isfinite(said[chosen]) & (said[chosen] != counts).all(axis=0)
        for j in np.flatnonzero(is_wrong).tolist():
            i, n = int(chosen[j]), int(counts[0, j])
            yield Finding(
                "visibility",
                "error",
                dataset._images[int(table.column("image", rows[i : i + 1])[0])].file_name,
                table.uids([int(rows[i])])[0],
                None,
                float(said[i]),
                float(n),
                f"num_keypoints is {said[i]:g}, but {n} of its keypoints are labeled",
                "edit and save it: num_keypoints is counted again",
                "num_keypoints",
            )


# How flags behave


def flag_findings(labels: Labels) -> list[Finding]:
    """Keypoints and annotators whose flag never changes, and flip pairs that lean to one side.

    Parameters
    ----------
    labels : Labels

    Returns
    -------
    list of Finding
        Warnings: a keypoint that is always occluded, or never, while the others are in less than
        95 %, or in more than 5 %, of their labels (exact test: in each instance any of its labeled
        keypoints could have had any of its flags); an annotator who
        never marks anything as occluded, or everything, where the others do (Fisher's exact test
        over images); a flip pair of which one side is occluded, or unlabeled, alone more often than
        the other (sign test over images with one of the two, mid-p [1]_, and the share outside of
        0.4 to 0.6). The tests of one kind are corrected together by Holm's method at 5 %. Notes:
        nothing, or everything, is marked as occluded; a keypoint that is never labeled. Nothing is
        said of a keypoint with fewer than 20 labels.

    References
    ----------
    .. [1] H. O. Lancaster, Significance tests in discrete distributions, Journal of the American
       Statistical Association 56 (1961).
    """
    flags = labels.points[..., 2]
    names, of = labels.category.keypoints, labels.category.name
    n_labeled, n_occluded = (flags > 0).sum(axis=0), (flags == 1).sum(axis=0)
    found: list[Finding] = []

    def tell(
        kind: str,
        severity: Any,
        keypoint: str | None,
        value: float,
        threshold: float,
        reason: str,
        suggestion: str,
    ) -> None:
        found.append(
            Finding("flags", severity, None, None, keypoint, value, threshold,
                    f"{of}: {reason}", suggestion, f"{of}: {kind}")
        )  # fmt: skip

    total = int(n_labeled.sum())
    if total >= _LEAST and not n_occluded.any():
        tell(
            "nothing occluded", "note", None, 0.0, 0.0,
            f"none of {total:,} labeled keypoints is marked as occluded; with 95 % "
            f"confidence fewer than {in_percent(wilson(0, total)[1])} are",
            "decide whether occluded keypoints are to be labeled as such",
        )  # fmt: skip
    if total >= _LEAST and n_occluded.sum() == total:
        tell(
            "everything occluded", "note", None, 1.0, 1.0,
            f"all of {total:,} labeled keypoints are marked as occluded",
            "look at some of them: was the flag meant as visible?",
        )  # fmt: skip
    for k in np.flatnonzero(n_labeled == 0).tolist() if len(flags) >= _LEAST else ():
        tell(
            "never labeled", "note", names[k], 0.0, 1.0,
            f"labeled in none of {len(flags):,} instances",
            "label it, or leave it out of the schema",
        )  # fmt: skip
    often = np.flatnonzero(n_labeled >= _LEAST).tolist()
    tests = [(k, flag, _always(flags, k, flag)) for k in often for flag in (1, 2)]
    is_found = holm([p for *_, p in tests], _LEVEL)
    for (k, flag, _), yes in zip(tests, is_found, strict=True):
        n, n_rest = int(n_labeled[k]), total - int(n_labeled[k])
        n_hidden_rest = int(n_occluded.sum() - n_occluded[k])
        low, high = wilson(n_hidden_rest, n_rest)
        if not yes or (high > 1 - _LEVEL if flag == 1 else low < _LEVEL):
            continue
        rest = n_hidden_rest / max(1, n_rest)
        others = f"the other keypoints are in {in_percent(rest)}"
        if flag == 1:
            kind = "always occluded"
            text = (
                f"occluded in all {n:,} instances where it is labeled (95 %: more than "
                f"{in_percent(wilson(n, n)[0])}), {others}"
            )
        else:
            kind = "never occluded"
            text = (
                f"never occluded in {n:,} instances (95 %: fewer than "
                f"{in_percent(wilson(0, n)[1])}), {others}"
            )
        tell(kind, "warning", names[k], float(flag == 1), rest, text, "look at some of them")
    found += _annotators(labels)
    found += _leaning(labels)
    return found


def _always(flags: NDArray[np.float64], k: int, flag: int) -> float:
    """How likely keypoint `k` has this flag wherever it is labeled, by the flags of each instance.

    The product of the shares of the flag among the labeled keypoints of each instance: instances in
    which more is hidden than in others are no sign of anything. 1 where it has another flag.
    """
    chosen = flags[flags[:, k] > 0]
    if (chosen[:, k] != flag).any():
        return 1.0
    return float(((chosen == flag).sum(axis=1) / (chosen > 0).sum(axis=1)).prod())


def _annotators(labels: Labels) -> Iterator[Finding]:
    """Annotators who never, or always, mark as occluded while the others do not."""
    who = labels.dataset._table.column("annotator", labels.rows)
    people = sorted({str(name) for name in who if name is not None})
    flags = labels.points[..., 2]
    tests: list[tuple[str, bool, int, float, float]] = []
    for name in people if len(people) > 1 else ():
        is_own = np.array([one == name for one in who])
        for flag, is_hidden in ((1, True), (2, False)):
            # An image counts once: its instances look alike, and so do the points of one.
            n, n_with = _images_with(labels.images[is_own], (flags[is_own] == flag).any(axis=1))
            m, m_with = _images_with(labels.images[~is_own], (flags[~is_own] == flag).any(axis=1))
            if n and m:
                p = _none_of(n, n + m, m_with) if n_with == 0 else 1.0
                tests.append((name, is_hidden, n, m_with / m, p))
    is_found = holm([p for *_, p in tests], _LEVEL)
    for (name, is_hidden, n, share, _), yes in zip(tests, is_found, strict=True):
        if yes:
            what = "occluded" if is_hidden else "visible"
            yield Finding(
                "flags", "warning", None, None, None, 0.0, share,
                f"{labels.category.name}: annotator {name!r} has marked nothing as {what} in {n:,} "
                f"images (95 %: fewer than {in_percent(wilson(0, n)[1])} of them have one); of the "
                f"images of the others {in_percent(share)} have",
                "look at some of these images together with the annotator",
                f"{labels.category.name}: annotator {name!r} marks nothing as {what}",
            )  # fmt: skip


def _none_of(n: int, n_all: int, n_with: int) -> float:
    """How likely none of n drawn from n_all has what n_with of these have.

    Fisher's exact test of a table with a zero; scipy's would load all of ``scipy.stats``.
    """
    if n_with > n_all - n:
        return 0.0
    ways = (math.lgamma(n_all - n_with + 1) - math.lgamma(n_all - n_with - n + 1)) - (
        math.lgamma(n_all + 1) - math.lgamma(n_all - n + 1)
    )
    return math.exp(ways)


def _images_with(images: NDArray[np.int64], has: NDArray[np.bool_]) -> tuple[int, int]:
    return len(np.unique(images)), len(np.unique(images[has]))


def _leaning(labels: Labels) -> Iterator[Finding]:
    """Flip pairs of which one side alone has a flag more often than the other."""
    from scipy.special import bdtr

    flags, names = labels.points[..., 2], labels.category.keypoints
    tests: list[tuple[int, int, str, int, int, float]] = []
    for left, right in flip_pairs_of(labels.category.schema).tolist():
        a, b = flags[:, left], flags[:, right]
        both = (a > 0) & (b > 0)
        for what, is_left, is_right in (
            ("occluded", both & (a == 1) & (b == 2), both & (b == 1) & (a == 2)),
            ("unlabeled", (a == 0) & (b > 0), (b == 0) & (a > 0)),
        ):
            # By image, so that a row of people who all look one way counts once.
            balance = np.zeros(int(labels.images.max()) + 1, np.int64)
            np.add.at(balance, labels.images, is_left.astype(np.int64) - is_right)
            n_left, n_right = int((balance > 0).sum()), int((balance < 0).sum())
            if n_left + n_right >= _LEAST:
                n, n_less = n_left + n_right, min(n_left, n_right)
                # Of what is as far from half as this, half: whole numbers would make the test find
                # 3 % of what is chance instead of 5 %.
                p = float(bdtr(n_less, n, 0.5) + bdtr(n_less - 1, n, 0.5)) if n_less else 0.5**n
                tests.append((left, right, what, n_left, n_right, p))
    is_found = holm([p for *_, p in tests], _LEVEL)
    for (left, right, what, n_left, n_right, _), yes in zip(tests, is_found, strict=True):
        low, high = wilson(n_left, n_left + n_right)
        n = n_left + n_right
        if yes and not _LEAN[0] <= n_left / n <= _LEAN[1]:
            yield Finding(
                "flags", "warning", None, None, names[left if n_left > n_right else right],
                n_left / n, 0.5,
                f"{labels.category.name}: of {n:,} images in which {names[left]} or "
                f"{names[right]} alone is {what}, it is {names[left]} in {in_percent(n_left / n)} "
                f"(95 %: {in_percent(low)} to {in_percent(high)})",
                "if the pictures do not lean to one side, look for swapped or skipped keypoints",
                f"{labels.category.name}: {names[left]} or {names[right]} alone {what}",
            )  # fmt: skip


# Putting right


def repair(dataset: Dataset, findings: pd.DataFrame) -> Step | None:
    """Put right the findings that leave no doubt about what is meant; one step, to be undone.

    Parameters
    ----------
    dataset : Dataset
    findings : pandas.DataFrame
        Rows of `kpwidget.quality.check`, all or a choice of them. Those of the check 'visibility'
        about a keypoint: a location though unlabeled and a label at (0, 0) are cleared, a
        visibility other than 0, 1 and 2 becomes visible. Those of 'occlusion' that are inside
        another mask become occluded. Those of 'sides' change places with their twins. All others
        are left alone.

    Returns
    -------
    Step or None
        The step in the history, None if nothing was to be done. ``ds.undo()`` takes it back.

    Raises
    ------
    KeyError
        If a finding is about an instance that is not there any more.
    """
    chosen = findings[findings["keypoint"].notna() & findings["instance"].notna()]
    before = dataset.undo_top()
    with dataset.transaction("repair visibility"):
        for finding in rows_in(chosen):
            found = remedy(dataset, finding)
            if found is not None:
                found.apply()
    after = dataset.undo_top()
    return None if after is before else after


class Remedy(NamedTuple):
    """What puts a finding right.

    Attributes
    ----------
    words : str
        What it does.
    apply : callable
        Does it, as an edit of the dataset.
    """

    words: str
    apply: Callable[[], object]


def remedy(dataset: Dataset, finding: Finding) -> Remedy | None:
    """What `repair` does about a finding, by the labels as they are now.

    Parameters
    ----------
    dataset : Dataset
    finding : Finding
        Or a row of the table with its columns as attributes.

    Returns
    -------
    Remedy or None
        None where `repair` leaves it alone.

    Raises
    ------
    KeyError
        If it is about an instance that is not there any more.
    """
    check, uid, keypoint = finding.check, finding.instance, finding.keypoint
    if uid is None or keypoint is None:
        return None
    instance = dataset.instance(uid)
    schema = instance.category.schema
    x, y, flag = instance.raw[schema.index(keypoint)].tolist()
    if check == "occlusion":
        if finding.threshold == FAR_INSIDE_ANOTHER and flag == Visibility.VISIBLE:
            to = partial(instance.set_keypoint, keypoint, x, y, Visibility.OCCLUDED)
            return Remedy("mark as occluded", to)
    elif check == "sides":
        return Remedy("swap left and right", partial(_swap, instance, keypoint))
    elif check == "visibility":
        if flag == 0 or (x == 0 and y == 0):
            return Remedy("clear", partial(instance.clear_keypoint, keypoint))
        if flag not in (1, 2):
            to = partial(instance.set_keypoint, keypoint, x, y, Visibility.VISIBLE)
            return Remedy("mark as visible", to)
    return None


def _swap(instance: Instance, keypoint: str) -> None:
    """Give the two keypoints of a flip pair each other's place."""
    schema = instance.category.schema
    k = schema.index(keypoint)
    [pair] = [pair for pair in flip_pairs_of(schema).tolist() if k in pair]
    points = instance.keypoints.copy()
    points[pair] = points[pair[::-1]]
    instance.set_keypoints(points)
