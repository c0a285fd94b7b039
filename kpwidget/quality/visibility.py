"""`check`: visibility flags that cannot be right, and those nobody seems to have thought of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset import Dataset, Selection
from kpwidget.dataset.findings import OUTSIDE_TOLERANCE
from kpwidget.images import ImageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "check"]

COLUMNS: Final = (
    "check", "severity", "image", "instance", "category", "keypoint", "annotator", "value",
    "threshold", "reason", "suggestion",
)  # fmt: skip

LEVEL: Final = 0.05
"""How often any of the notes of a dataset is chance, if its flags follow no rule."""

_NUMBER: Final = re.compile(rb'"num_keypoints"\s*:\s*(-?\d+)\s*[,}]')

Finding = dict[str, Any]


def check(data: Dataset | Selection, *, level: float = LEVEL) -> pd.DataFrame:
    """Visibility flags that cannot be right, and those that look as if nobody had thought of them.

    Parameters
    ----------
    data : Dataset or Selection
        It is not changed.
    level : float, default 0.05
        How often any note at all may be chance. All notes together share it (Bonferroni).

    Returns
    -------
    pandas.DataFrame
        One row a finding: check, severity ('error': it contradicts the format or the image; 'note':
        it is unlikely by chance), image (file name), instance (uid), category, keypoint, annotator,
        value, threshold, reason, suggestion. Empty texts and NaN where something does not apply.
        Errors first, in the order of the instances.

    Raises
    ------
    ValueError
        If `level` is not between 0 and 1.

    Notes
    -----
    Errors: a flag that is none of 0, 1, 2; flag 0 with a location; a flag above 0 at exactly (0,
    0); flag 2 outside of the image (by more than 0.01 px; an occluded point may be there); a record
    whose num_keypoints is not the number of flags above 0.

    Notes: a keypoint that is always visible or always occluded, or a person who calls nothing
    occluded, though others do (the value is the probability of that by Fisher's exact test; labels
    of a keypoint, and instances of a person, are taken as independent); and a left-right pair of
    which one side is occluded, or unlabeled, more often where the other is not (McNemar's exact
    test). What is unlikely need not be wrong: in pictures that all show the right side, left points
    are hidden.

    Examples
    --------
    ``check(ds)`` in a notebook, ``check(ds).query("severity == 'error'")`` in a script.
    """
    import pandas as pd

    if not 0 < level < 1:
        raise ValueError(f"level is a number between 0 and 1, not {level!r}")
    dataset = data if isinstance(data, Dataset) else data.dataset
    errors: list[tuple[int, Finding]] = []
    tests: list[Finding] = []
    with dataset.lock:
        table = dataset._table
        chosen = table.live_rows() if isinstance(data, Dataset) else data._rows(table)
        rows = np.asarray(chosen, np.int64)
        categories = table.column("category", rows)
        sizes = _sizes(dataset, np.unique(table.column("image", rows)))
        for number in range(len(dataset._categories)):
            of_category = rows[categories == number]
            if len(of_category):
                errors += _errors(dataset, number, of_category, sizes)
                tests += _tests(dataset, number, of_category)
    errors.sort(key=lambda found: found[0])
    notes = [test for test in tests if test["value"] * len(tests) < level]
    notes.sort(key=lambda note: float(note["value"]))
    for note in notes:
        note["threshold"] = level / len(tests)
    return pd.DataFrame([*(found for _, found in errors), *notes], columns=list(COLUMNS))


def _finding(check: str, severity: Literal["error", "note"], **values: Any) -> Finding:
    empty: Finding = dict.fromkeys(COLUMNS, "")
    numbers = {"value": np.nan, "threshold": np.nan}
    return {**empty, **numbers, "check": check, "severity": severity, **values}


# --- what cannot be right -----------------------------------------------------------------------


def _sizes(dataset: Dataset, images: NDArray[np.int64]) -> NDArray[np.float64]:
    """(width, height) of the images, by position; infinite where it is not known."""
    sizes = np.full((len(dataset), 2), np.inf)
    for index in images.tolist():
        try:
            sizes[index] = dataset.images[index].size
        except ImageError:
            continue  # `Dataset.validate` says so
    return sizes


def _errors(
    dataset: Dataset, number: int, rows: NDArray[np.int64], sizes: NDArray[np.float64]
) -> list[tuple[int, Finding]]:
    """Hard findings of the instances of a category, each with its row."""
    table, category = dataset._table, dataset._categories[number]
    raw = table.raw_keypoints_of(number, rows)
    x, y, flag = raw[..., 0], raw[..., 1], raw[..., 2]
    limits = sizes[table.column("image", rows)] + OUTSIDE_TOLERANCE
    is_inside = (x >= -OUTSIDE_TOLERANCE) & (x <= limits[:, :1])
    is_inside &= (y >= -OUTSIDE_TOLERANCE) & (y <= limits[:, 1:])
    is_at_zero = (x == 0) & (y == 0)
    rules = (
        ("flag is none of 0, 1, 2", (flag != 0) & (flag != 1) & (flag != 2),
         "visibility {v:g} at ({x:g}, {y:g})",
         "find out what wrote it: a confidence is no flag"),
        ("unlabeled with a location", (flag == 0) & ~is_at_zero,
         "visibility 0, but ({x:g}, {y:g})",
         "1 if its place is known and it cannot be seen, else (0, 0, 0)"),
        ("labeled at (0, 0)", (flag > 0) & is_at_zero,
         "visibility {v:g} at (0, 0)", "mostly means unlabeled: 0"),
        ("visible outside of the image", (flag == 2) & ~is_inside & ~is_at_zero,
         "visible at ({x:g}, {y:g}), the image has {w:.0f} x {h:.0f} px",
         "move it, or unlabel it: what is outside cannot be seen"),
    )  # fmt: skip
    found = []
    for name, mask, reason, suggestion in rules:
        for i, k in np.argwhere(mask).tolist():
            width, height = (limits[i] - OUTSIDE_TOLERANCE).tolist()
            words = reason.format(v=flag[i, k], x=x[i, k], y=y[i, k], w=width, h=height)
            found.append(
                (
                    int(rows[i]),
                    _finding(
                        name,
                        "error",
                        **_where(dataset, int(rows[i])),
                        keypoint=category.keypoints[k],
                        value=float(flag[i, k]),
                        reason=words,
                        suggestion=suggestion,
                    ),
                )
            )
    if dataset.layout.fields_of(category) == (("keypoints", category.n_keypoints),):
        found += _wrong_counts(dataset, rows, (flag > 0).sum(axis=1))
    return found


def _where(dataset: Dataset, row: int) -> Finding:
    table = dataset._table
    return {
        "image": dataset._images[table.value(row, "image")].file_name,
        "instance": table.uids([row])[0],
        "category": dataset._categories[table.category(row)].name,
        "annotator": table.value(row, "annotator") or "",
    }


def _wrong_counts(
    dataset: Dataset, rows: NDArray[np.int64], n_labeled: NDArray[np.int64]
) -> Iterable[tuple[int, Finding]]:
    """Records whose num_keypoints is wrong; what was edited is written with the right one."""
    table = dataset._table
    for row, n, position in zip(
        rows.tolist(), n_labeled.tolist(), table.column("position", rows).tolist(), strict=True
    ):
        text = table.text(row)
        if text is None or row in table.edited:
            continue
        raw = text.raw("annotations", position)
        matches = _NUMBER.findall(raw)
        if len(matches) == 1 and int(matches[0]) == n:
            continue  # most of them; only the others are parsed
        said = cast("dict[str, Any]", json.loads(raw)).get("num_keypoints", n)
        if said != n:
            yield (
                row,
                _finding(
                    "num_keypoints is wrong",
                    "error",
                    **_where(dataset, row),
                    value=float(said) if isinstance(said, int | float) else np.nan,
                    threshold=float(n),
                    reason=f"num_keypoints is {said!r}, and {n} flags are above 0",
                    suggestion="evaluations skip instances by it: write the file anew",
                ),
            )


# --- what is unlikely ---------------------------------------------------------------------------


def _tests(dataset: Dataset, number: int, rows: NDArray[np.int64]) -> list[Finding]:
    """Every test of a category, each with the probability of what was seen as its value."""
    table, category = dataset._table, dataset._categories[number]
    keypoints = table.keypoints_of(number, rows)
    flags = keypoints[..., 2].astype(np.int64)
    flags = np.where(flags > 2, 2, flags)
    is_used = (flags > 0).any(axis=1)
    flags, rows = flags[is_used], rows[is_used]
    if not len(flags):
        return []
    found = _unused_flags(category.name, category.keypoints, flags)
    found += _people(category.name, table.column("annotator", rows), flags)
    schema = category.schema
    for pair in schema.flip_pairs:
        left, right = (flags[:, schema.index(name)] for name in pair)
        both = (left > 0) & (right > 0)
        found.append(
            _one_sided("occluded", category.name, pair, (left == 1) & both, (right == 1) & both)
        )
        found.append(_one_sided("unlabeled", category.name, pair, left == 0, right == 0))
    return found


def _unused_flags(category: str, names: Iterable[str], flags: NDArray[np.int64]) -> list[Finding]:
    """Keypoints that are always visible, or always occluded, though others are not.

    The value is Fisher's: how likely it is that all of the flags that are there, dealt out at
    random, leave this keypoint with one kind only.
    """
    found = []
    n_labeled = (flags > 0).sum(axis=0)
    n_occluded = (flags == 1).sum(axis=0)
    for k, name in enumerate(names):
        n, others = int(n_labeled[k]), int(n_labeled.sum() - n_labeled[k])
        if not n or not others:
            continue
        k_own, k_all = int(n_occluded[k]), int(n_occluded.sum())
        if k_own not in (0, n):
            continue
        share = (k_all - k_own) / others
        found.append(
            _finding(
                "flag never changes",
                "note",
                category=category,
                keypoint=name,
                value=_all_of(k_all if k_own else n + others - k_all, n, n + others),
                reason=f"{'occluded' if k_own else 'visible'} in all of {n} labels; of the "
                f"other keypoints {100 * share:.0f} % are occluded",
                suggestion="does the guide say when this keypoint is occluded?",
            )
        )
    return found


def _all_of(n_kind: int, n: int, n_all: int) -> float:
    """Probability that n of n_all, drawn without putting back, are all of a kind."""
    from scipy.special import gammaln

    if n_kind < n:
        return 0.0
    parts = gammaln([n_kind + 1, n_all - n + 1, n_kind - n + 1, n_all + 1])
    return float(np.exp(parts[0] + parts[1] - parts[2] - parts[3]))


def _people(category: str, annotators: NDArray[Any], flags: NDArray[np.int64]) -> list[Finding]:
    """People who never call anything occluded, though others do; the value is Fisher's."""
    found = []
    has_occluded = (flags == 1).any(axis=1)
    people = sorted({name for name in annotators.tolist() if name})
    for name in people if len(people) > 1 else ():
        is_own = annotators == name
        n, others = int(is_own.sum()), int((~is_own).sum())
        if has_occluded[is_own].any() or not others:
            continue
        share = float(has_occluded[~is_own].mean())
        found.append(
            _finding(
                "person never uses a flag",
                "note",
                category=category,
                annotator=name,
                value=_all_of(int((~has_occluded).sum()), n, n + others),
                reason=f"nothing is occluded in {n} instances; of the others' {others} "
                f"{100 * share:.0f} % have something that is",
                suggestion="does this person know the flag, and the key for it?",
            )
        )
    return found


def _one_sided(
    state: str,
    category: str,
    pair: tuple[str, str],
    left: NDArray[np.bool_],
    right: NDArray[np.bool_],
) -> Finding:
    """McNemar's exact test of a left-right pair."""
    from scipy.special import bdtr

    n_left, n_right = int((left & ~right).sum()), int((right & ~left).sum())
    n = n_left + n_right
    worse = pair[0] if n_left >= n_right else pair[1]
    return _finding(
        f"one side {state}",
        "note",
        category=category,
        keypoint=worse,
        value=min(1.0, 2 * float(bdtr(min(n_left, n_right), n, 0.5))) if n else 1.0,
        reason=f"where one of {pair[0]!r} and {pair[1]!r} is {state} and the other is not, it is "
        f"the left one {n_left} times and the right one {n_right} times",
        suggestion="do the pictures show one side more, or are left and right exchanged?",
    )
