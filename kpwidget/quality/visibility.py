"""Wrong visibility flags.

Contradictions (`visibility_findings`, `check_image`), flags that the masks contradict
(`occlusion_findings`), flags that never change or lean to a side (`flag_findings`); `repair` puts
right what leaves no doubt.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset.findings import OUTSIDE_TOLERANCE, Problem, problems, problems_of_instance
from kpwidget.dataset.views import bboxes_of
from kpwidget.images import ImageError
from kpwidget.quality.findings import Finding
from kpwidget.quality.intervals import holm, in_percent, wilson
from kpwidget.quality.labels import Labels, flip_pairs_of
from kpwidget.schema import Visibility

if TYPE_CHECKING:
    import pandas as pd

    from kpwidget.dataset import Dataset, ImageInfo, Instance
    from kpwidget.history import Step

__all__ = [
    "KINDS_OF_VALIDATE",
    "check_image",
    "flag_findings",
    "occlusion_findings",
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

FAR_OUTSIDE: Final = 3.0
"""sigma*s from where on a visible keypoint is off its object: there OKS of a single keypoint has
fallen to exp(-9/8) = 0.32."""

FAR_INSIDE_ANOTHER: Final = 1.0
"""The same where it is on another object: both outlines are off by about that much."""

_OUTLINE: Final = 2.0
"""px that an outline may be off anyhow: polygons are drawn by clicks."""

_LEAST: Final = 20
"""Labels of a keypoint below which nothing is said of how its flag behaves."""

_LEVEL: Final = 0.05
_LEAN: Final = (0.4, 0.6)
"""Shares of left among the one-sided that are no finding, however many instances there are."""

_INSTANCES_AT_A_TIME: Final = 4096
_EDGES_AT_A_TIME: Final = 60_000  # so that they stay in the processor's cache


def check_image(image: ImageInfo) -> list[Finding]:
    """Contradictions in the flags of one image, as `visibility_findings`; quick, for every edit.

    Parameters
    ----------
    image : ImageInfo

    Returns
    -------
    list of Finding
    """
    dataset = image.dataset
    with dataset.lock:
        size: tuple[float, float] = (math.inf, math.inf)
        with contextlib.suppress(ImageError):  # nothing is outside of what has no known border
            size = image.size
        found = []
        for instance in image.instances:
            for problem in problems_of_instance(instance, *size):
                if problem.kind in KINDS_OF_VALIDATE:
                    found.append(_of_problem(instance, problem))
        rows = np.array(dataset._table.rows_of_image[image.index], np.int64)
        return [*found, *_odd_flags(dataset, rows), *_wrong_counts(dataset, rows)]


def visibility_findings(dataset: Dataset) -> list[Finding]:
    """Flags that contradict themselves or the image.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    list of Finding
        Errors: visibility other than 0, 1 and 2; a location though unlabeled; labeled at (0, 0);
        visible outside the image; ``num_keypoints`` of an unedited record that is not the number
        of its labeled keypoints. A warning: occluded outside the image.
    """
    with dataset.lock:
        found = [
            _of_problem(dataset.instance(problem.instance), problem)
            for problem in problems(dataset)
            if problem.kind in KINDS_OF_VALIDATE and problem.instance is not None
        ]
        rows = np.asarray(dataset._table.live_rows(), np.int64)
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
                )


class _Count(msgspec.Struct):
    num_keypoints: float | None = None


class _Mask(msgspec.Struct):
    segmentation: list[list[float]] | dict[str, Any] | None = None


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
        except msgspec.ValidationError:
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
            )


# Masks


class _Polygons(NamedTuple):
    """Polygons of many instances, one after the other.

    Attributes
    ----------
    xy, along : ndarray of shape (n_vertices, 2)
        Vertices in image pixels, and from each to the next one of the same polygon.
    starts : ndarray of int, shape (n_polygons + 1,)
    rows : ndarray of int, shape (n_polygons,)
        Of the table: whose polygon it is; rising.
    n_others : int
        Instances whose mask is there and no polygon.
    """

    xy: NDArray[np.float64]
    along: NDArray[np.float64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    n_others: int


def occlusion_findings(labels: Labels) -> list[Finding]:
    """Visible keypoints that are off their own object, by the polygons of a COCO file.

    Parameters
    ----------
    labels : Labels

    Returns
    -------
    list of Finding
        Warnings: visible, but inside the mask of another instance and more than
        `FAR_INSIDE_ANOTHER` sigma*s from its own; or in no mask and more than `FAR_OUTSIDE` from
        its own. Both at least 2 px. The value is the distance in sigma*s, the reason has it in
        pixels too. A note tells how many masks are no polygons (RLE): they are not looked at.
    """
    found: list[Finding] = []
    n_others = 0
    for start in range(0, len(labels.rows), _INSTANCES_AT_A_TIME):
        chosen = slice(start, start + _INSTANCES_AT_A_TIME)
        part = labels._replace(
            rows=labels.rows[chosen],
            images=labels.images[chosen],
            points=labels.points[chosen],
            size=labels.size[chosen],
        )
        masks = _polygons_of(part.dataset, part.rows)
        n_others += masks.n_others
        found += _off_their_mask(part, masks)
    if n_others:
        found.append(
            Finding(
                "occlusion", "note", None, None, None, float(n_others), math.nan,
                f"{labels.category.name}: the masks of {n_others:,} instances are no polygons "
                "(RLE, or damaged): their keypoints are not compared with them",
                "",
            )
        )  # fmt: skip
    return found


def _off_their_mask(labels: Labels, masks: _Polygons) -> Iterator[Finding]:
    table = labels.dataset._table
    place = np.searchsorted(labels.rows, masks.rows)  # of the instance of each polygon
    has_mask = np.zeros(len(labels.rows), bool)
    has_mask[place] = True
    is_seen = (labels.points[..., 2] == Visibility.VISIBLE) & has_mask[:, None]
    owner, k = np.nonzero(is_seen & ~_is_inside_own(labels.points[..., :2], place, masks))
    xy = labels.points[owner, k, :2]
    point, polygon = _joined(labels.rows[owner], masks.rows)
    near = np.full(len(owner), np.inf)
    np.minimum.at(near, point, _distance(xy[point], polygon, masks))
    unit = labels.sigmas[k] * labels.size[owner]
    is_off = near > np.maximum(FAR_INSIDE_ANOTHER * unit, _OUTLINE)
    owner, k, xy, near = owner[is_off], k[is_off], xy[is_off], near[is_off]
    far = near / unit[is_off]
    other = _another(labels, owner, xy)
    names = labels.category.keypoints
    uids = table.uids(labels.rows[owner].tolist())
    for i, row in enumerate(other.tolist()):
        if row < 0 and far[i] <= FAR_OUTSIDE:
            continue
        where = f"{near[i]:.1f} px ({far[i]:.1f} sigma*s) outside its own mask"
        if row >= 0:
            threshold, where = FAR_INSIDE_ANOTHER, f"{where} and in that of {table.uids([row])[0]}"
            suggestion = "mark it as occluded, or move it"
        else:
            threshold, where = FAR_OUTSIDE, f"{where} and in no other"
            suggestion = "move it, or look at the mask"
        yield Finding(
            "occlusion", "warning", labels.file_name(int(owner[i])), uids[i], names[int(k[i])],
            float(far[i]), threshold, f"visible, but {where}", suggestion,
        )  # fmt: skip


def _polygons_of(dataset: Dataset, rows: NDArray[np.int64]) -> _Polygons:
    """Polygons of the records as read of rows that rise."""
    table = dataset._table
    decode = msgspec.json.Decoder(_Mask).decode
    numbers: list[list[float]] = []
    of: list[int] = []
    n_others = 0
    for row, position in zip(rows.tolist(), table.column("position", rows).tolist(), strict=True):
        text = table.text(row)
        try:
            mask = None if text is None else decode(text.raw("annotations", position)).segmentation
        except msgspec.ValidationError:
            mask = {}
        if isinstance(mask, dict):
            n_others += 1
            continue
        for polygon in mask or ():
            if len(polygon) >= 6 and len(polygon) % 2 == 0:
                numbers.append(polygon)
                of.append(row)
    lengths = np.array([len(polygon) // 2 for polygon in numbers], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    xy = np.fromiter(chain.from_iterable(numbers), float, 2 * int(starts[-1])).reshape(-1, 2)
    following = np.arange(1, len(xy) + 1)
    following[starts[1:] - 1] = starts[:-1]
    return _Polygons(xy, xy[following] - xy, starts, np.array(of, np.int64), n_others)


def _joined(
    rows: NDArray[np.int64], of: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every pair of a row and an item of that row: their places; `of` rises."""
    first = np.searchsorted(of, rows, "left")
    return _expanded(first, np.searchsorted(of, rows, "right") - first)


def _expanded(
    first: NDArray[np.int64], n: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Runs of n numbers from first on, one after the other: which run, and the number."""
    run = np.repeat(np.arange(len(first)), n)
    return run, np.arange(len(run)) + np.repeat(first - np.cumsum(n) + n, n)


def _is_inside_own(
    xy: NDArray[np.float64], place: NDArray[np.int64], masks: _Polygons
) -> NDArray[np.bool_]:
    """Whether keypoints are inside a polygon of their instance, by the even-odd rule.

    Parameters
    ----------
    xy : ndarray of shape (n, n_keypoints, 2)
        NaN is in none.
    place : ndarray of int, shape (n_polygons,)
        The instance of each polygon.
    masks : _Polygons

    Returns
    -------
    ndarray of bool, shape (n, n_keypoints)
    """
    found = np.zeros(xy.shape[:2], bool)
    polygon_of = np.repeat(np.arange(len(place)), np.diff(masks.starts))
    owner = place[polygon_of]
    (x, y), (dx, dy) = masks.xy.T.copy(), masks.along.T.copy()
    low, high = np.minimum(y, y + dy), np.maximum(y, y + dy)
    for k in range(xy.shape[1]):
        at = xy[owner, k, 1]
        crossed = np.flatnonzero((low <= at) & (at < high))
        where = x[crossed] + (at[crossed] - y[crossed]) / dy[crossed] * dx[crossed]
        right = crossed[where > xy[owner[crossed], k, 0]]
        is_odd = np.bincount(polygon_of[right], minlength=len(place)) % 2 == 1
        found[place[is_odd], k] = True
    return found


def _distance(
    xy: NDArray[np.float64], polygon: NDArray[np.int64], masks: _Polygons
) -> NDArray[np.float64]:
    """Distance in pixels of each point to the outline of the polygon given for it."""
    squared = np.empty(len(xy))
    length = (masks.along**2).sum(axis=1)
    (x, y), (dx, dy) = masks.xy.T.copy(), masks.along.T.copy()
    n = np.diff(masks.starts)[polygon]
    ends = np.cumsum(n)
    start = 0
    while start < len(polygon):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _EDGES_AT_A_TIME, "right")))
        pair, edge = _expanded(masks.starts[polygon[start:stop]], n[start:stop])
        px, py = xy[start:stop].T[:, pair]
        px -= x[edge]
        py -= y[edge]
        ex, ey = dx[edge], dy[edge]
        t = np.clip((px * ex + py * ey) / np.maximum(length[edge], 1e-12), 0, 1)
        px -= t * ex
        py -= t * ey
        first = ends[start:stop] - n[start:stop] - before
        squared[start:stop] = np.minimum.reduceat(px * px + py * py, first)
        start = stop
    return np.sqrt(squared)


def _another(
    labels: Labels, owner: NDArray[np.int64], xy: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Row of another instance of the image whose mask each point is in, -1 for none."""
    table = labels.dataset._table
    images = labels.images[owner]
    rows = np.array(
        [row for image in np.unique(images).tolist() for row in table.rows_of_image[image]],
        np.int64,
    )
    # A crowd is not one instance.
    rows = rows[table.column("iscrowd", rows) == 0]
    point, place = _joined(images, np.asarray(table.column("image", rows), np.int64))
    box = bboxes_of(labels.dataset, rows)[place]
    is_near = ((xy[point] >= box[:, :2]) & (xy[point] <= box[:, :2] + box[:, 2:])).all(axis=1)
    is_near &= rows[place] != labels.rows[owner[point]]
    point, row = point[is_near], rows[place[is_near]]
    masks = _polygons_of(labels.dataset, np.unique(row))
    # The points of an instance are as its keypoints: as many rows as the busiest has points.
    order = np.argsort(row, kind="stable")
    point, row = point[order], row[order]
    others, first, which, n = np.unique(row, return_index=True, return_inverse=True,
                                        return_counts=True)  # fmt: skip
    column = np.arange(len(row)) - first[which]
    places = np.full((len(others), int(n.max(initial=0)), 2), math.nan)
    places[which, column] = xy[point]
    is_in = _is_inside_own(places, np.searchsorted(others, masks.rows), masks)[which, column]
    found = np.full(len(owner), -1, np.int64)
    found[point[is_in]] = row[is_in]
    return found


# How flags behave


def flag_findings(labels: Labels) -> list[Finding]:
    """Keypoints and annotators whose flag never changes, and flip pairs that lean to one side.

    Parameters
    ----------
    labels : Labels

    Returns
    -------
    list of Finding
        Warnings: a keypoint that is always occluded, or never while others are in more than 5 % of
        their labels; an annotator who never marks anything as occluded, or everything, where the
        others do (Fisher's exact test over images); a flip pair of which one side is occluded, or
        unlabeled, alone more often than the other (exact sign test over images with one of the
        two, and the interval of the share outside of 0.4 to 0.6). The tests of one kind are
        corrected together by Holm's method at 5 %. Notes: nothing is ever marked as occluded; a
        keypoint that is never labeled. Nothing is said of a keypoint with fewer than 20 labels.
    """
    flags = labels.points[..., 2]
    names, of = labels.category.keypoints, labels.category.name
    n_labeled, n_occluded = (flags > 0).sum(axis=0), (flags == 1).sum(axis=0)
    found: list[Finding] = []

    def tell(
        severity: Any, keypoint: str | None, value: float, threshold: float, *text: str
    ) -> None:
        found.append(Finding("flags", severity, None, None, keypoint, value, threshold, *text))

    total = int(n_labeled.sum())
    if total >= _LEAST and not n_occluded.any():
        tell(
            "note", None, 0.0, 0.0,
            f"{of}: none of {total:,} labeled keypoints is marked as occluded; with 95 % "
            f"confidence fewer than {in_percent(wilson(0, total)[1])} are",
            "decide whether occluded keypoints are to be labeled as such",
        )  # fmt: skip
    for k in np.flatnonzero(n_labeled == 0).tolist() if len(flags) >= _LEAST else ():
        tell(
            "note", names[k], 0.0, 1.0,
            f"{of}: labeled in none of {len(flags):,} instances",
            "label it, or leave it out of the schema",
        )  # fmt: skip
    for k in np.flatnonzero(n_labeled >= _LEAST).tolist():
        n, n_hidden = int(n_labeled[k]), int(n_occluded[k])
        n_rest, n_hidden_rest = total - n, int(n_occluded.sum()) - n_hidden
        rest = n_hidden_rest / max(1, n_rest)
        if n_hidden == n:
            text = f"occluded in all {n:,} instances where it is labeled"
        elif n_hidden == 0 and wilson(0, n)[1] < wilson(n_hidden_rest, n_rest)[0] > _LEVEL:
            text = (
                f"never occluded in {n:,} instances (95 %: fewer than "
                f"{in_percent(wilson(0, n)[1])}), the other keypoints are in {in_percent(rest)}"
            )
        else:
            continue
        tell("warning", names[k], n_hidden / n, rest, f"{of}: {text}", "look at some of them")
    found += _annotators(labels)
    found += _leaning(labels)
    return found


def _annotators(labels: Labels) -> Iterator[Finding]:
    """Annotators who never, or always, mark as occluded while the others do not."""
    from scipy.stats import fisher_exact

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
                table = [[n_with, n - n_with], [m_with, m - m_with]]
                p = float(fisher_exact(table, alternative="less").pvalue)
                tests.append((name, is_hidden, n if n_with == 0 else 0, m_with / m, p))
    is_found = holm([p for *_, p in tests], _LEVEL)
    for (name, is_hidden, n, share, _), yes in zip(tests, is_found, strict=True):
        if yes and n:  # none of n; those who do it less often are only counted as tests
            what = "occluded" if is_hidden else "visible"
            yield Finding(
                "flags", "warning", None, None, None, 0.0, share,
                f"{labels.category.name}: annotator {name!r} has marked nothing as {what} in {n:,} "
                f"images (95 %: fewer than {in_percent(wilson(0, n)[1])} of them have one); of the "
                f"images of the others {in_percent(share)} have",
                "look at some of these images together with the annotator",
            )  # fmt: skip


def _images_with(images: NDArray[np.int64], has: NDArray[np.bool_]) -> tuple[int, int]:
    return len(np.unique(images)), len(np.unique(images[has]))


def _leaning(labels: Labels) -> Iterator[Finding]:
    """Flip pairs of which one side alone has a flag more often than the other."""
    from scipy.stats import binomtest

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
                p = float(binomtest(n_left, n_left + n_right).pvalue)
                tests.append((left, right, what, n_left, n_right, p))
    is_found = holm([p for *_, p in tests], _LEVEL)
    for (left, right, what, n_left, n_right, _), yes in zip(tests, is_found, strict=True):
        low, high = wilson(n_left, n_left + n_right)
        if yes and (low > _LEAN[1] or high < _LEAN[0]):
            n = n_left + n_right
            yield Finding(
                "flags", "warning", None, None, names[left if n_left > n_right else right],
                n_left / n, 0.5,
                f"{labels.category.name}: of {n:,} images in which {names[left]} or "
                f"{names[right]} alone is {what}, it is {names[left]} in {in_percent(n_left / n)} "
                f"(95 %: {in_percent(low)} to {in_percent(high)})",
                "if the pictures do not lean to one side, look for swapped or skipped keypoints",
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
        for check, uid, keypoint, threshold in zip(
            chosen["check"], chosen["instance"], chosen["keypoint"], chosen["threshold"],
            strict=True,
        ):  # fmt: skip
            instance = dataset.instance(uid)
            x, y, flag = instance.raw[instance.category.schema.index(keypoint)].tolist()
            if check == "occlusion":
                is_covered = threshold == FAR_INSIDE_ANOTHER and flag == Visibility.VISIBLE
                if is_covered:
                    instance.set_keypoint(keypoint, x, y, Visibility.OCCLUDED)
            elif check == "sides":
                _swap(instance, keypoint)
            elif check == "visibility":
                if flag == 0 or (x == 0 and y == 0):
                    instance.clear_keypoint(keypoint)
                elif flag not in (1, 2):
                    instance.set_keypoint(keypoint, x, y, Visibility.VISIBLE)
    after = dataset.undo_top()
    return None if after is before else after


def _swap(instance: Instance, keypoint: str) -> None:
    """Give the two keypoints of a flip pair each other's place."""
    schema = instance.category.schema
    k = schema.index(keypoint)
    [pair] = [pair for pair in flip_pairs_of(schema).tolist() if k in pair]
    points = instance.keypoints.copy()
    points[pair] = points[pair[::-1]]
    instance.set_keypoints(points)
