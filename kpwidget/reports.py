"""What is in a dataset, as a page to read, print and send."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kpwidget.dataset import Dataset, Selection
from kpwidget.dataset.findings import is_missing
from kpwidget.dataset.views import bboxes_of
from kpwidget.page import Bar, Cell, Page, drawn
from kpwidget.plotting.rows import Rows, rows_of

if TYPE_CHECKING:
    from kpwidget.schema import Category

__all__ = ["report"]

#: Categories with figures of their own, those with most instances.
_MAX_CATEGORIES: Final = 6
#: Kinds of findings shown, and examples of each.
_MAX_KINDS, _MAX_EXAMPLES = 30, 3
#: Visible, occluded, unlabeled.
_COLORS: Final = ("#0072b2", "#e69f00", "#d0d0d0")


def report(
    data: Dataset | Selection,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    n_examples: int = 24,
) -> Path:
    """Write a page about a dataset: counts, keypoints, findings, figures, a contact sheet.

    One HTML file with everything in it: it opens without a network and prints well. Nothing in it
    runs.

    Parameters
    ----------
    data : Dataset or Selection
    path : str or os.PathLike
        The file to write. A report that is there is replaced, any other file is not.
    title : str, optional
        By default the name of the labels file; of a dataset without one what it holds.
    n_examples : int, default 24
        Instances on the contact sheet, spread evenly over those with a labeled keypoint. 0 for
        no contact sheet: no image is opened then.

    Returns
    -------
    Path

    Raises
    ------
    TypeError
        If `data` is something else.
    ValueError
        If `n_examples` is negative, or `path` does not end in .html.
    FileExistsError
        If there is a file that is not a report.
    """
    dataset = checked(data, n_examples)
    with dataset.lock:
        found = rows_of(data)
        scores = dataset._table.column("score", found.rows).astype(float)
        is_predicted = len(scores) > 0 and not np.isnan(scores).any()
        unnamed = "Predictions" if is_predicted else "Keypoint labels"
        name = unnamed if dataset.path is None else dataset.path.name
        what = "" if data is dataset else "a part of "
        source = "a dataset in memory" if dataset.path is None else str(dataset.path)
        page = Page(title or name, f"{what}{source}")
        _overview(page, found)
        used = _used_categories(found)
        for category, rows in used[:_MAX_CATEGORIES]:
            _about_category(page, data, category, rows, len(used) > 1)
        if len(used) > _MAX_CATEGORIES:
            rest = ", ".join(category.name for category, _ in used[_MAX_CATEGORIES:][:50])
            page.paragraph(f"{len(used) - _MAX_CATEGORIES} categories more: {rest}.")
        _distributions(page, data, found)
        _findings(page, dataset, found)
        if n_examples:
            _contact_sheet(page, dataset, found, n_examples)
    return page.write(Path(path))


def checked(data: object, n_examples: int) -> Dataset:
    """Return the dataset that a report is about, or raise what is wrong with its arguments."""
    if not isinstance(data, Dataset | Selection):
        raise TypeError(
            "data: expected a kpwidget.Dataset or a selection of one (ds.select(...)), got "
            f"{type(data).__name__}; kpwidget.read(path) reads a labels file"
        )
    if n_examples < 0:
        raise ValueError(f"n_examples = {n_examples}: expected 0 or more")
    return data if isinstance(data, Dataset) else data.dataset


def _used_categories(found: Rows) -> list[tuple[Category, np.ndarray[Any, Any]]]:
    """Categories that there are instances of, with their rows; most instances first."""
    of = found.dataset._table.column("category", found.rows)
    indices, counts = np.unique(of, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    categories = found.dataset.categories
    return [(categories[i], found.rows[of == i]) for i in indices[order].tolist()]


def _overview(page: Page, found: Rows) -> None:
    dataset, table = found.dataset, found.dataset._table
    images = table.column("image", found.rows)
    n_labeled = table.n_labeled_of(found.rows)
    annotators = Counter(name for name in table.column("annotator", found.rows).tolist() if name)
    scores = table.column("score", found.rows).astype(float)
    scores = scores[~np.isnan(scores)]
    n_done = sum(dataset._images[i].is_done for i in found.images)
    rows: list[tuple[str, int]] = [
        ("images", len(found.images)),
        ("with an instance", len(np.unique(images))),
        ("image files missing", sum(is_missing(dataset.images[i]) for i in found.images)),
        ("marked done", n_done),
        ("instances", len(found.rows)),
        ("with a labeled keypoint", int((n_labeled > 0).sum())),
        ("groups (iscrowd)", int(table.column("iscrowd", found.rows).sum())),
        ("labeled keypoints", int(n_labeled.sum())),
    ]
    page.heading("Overview")
    page.table(row for row in rows if row[1] or row[0] in ("images", "instances"))
    if len(scores):
        low, middle, high = (float(v) for v in np.quantile(scores, (0, 0.5, 1)))
        page.paragraph(
            f"{len(scores):,} instances have a score: {low:.3g} to {high:.3g}, median {middle:.3g}."
        )
    if annotators:
        page.table(annotators.most_common(20), ("annotator", "instances"))


def _about_category(
    page: Page,
    data: Dataset | Selection,
    category: Category,
    rows: np.ndarray[Any, Any],
    is_one_of_many: bool,
) -> None:
    from kpwidget.plotting import plot_heatmap, plot_pose_space, plot_schema

    dataset = data if isinstance(data, Dataset) else data.dataset
    schema = category.schema
    index = list(dataset.categories).index(category)
    flags = dataset._table.keypoints_of(index, rows)[..., 2]
    flags = flags[flags.any(axis=1)]
    n = len(flags)
    page.heading(f"Category {category.name}" if is_one_of_many else "Keypoints")
    page.paragraph(
        f"{len(rows):,} instances of {schema.n_keypoints} keypoints, {n:,} with a labeled one. "
        "Shares are of those."
    )
    if n:
        page.key(zip(("visible", "occluded", "unlabeled"), _COLORS, strict=True))
    lines: list[Sequence[Cell]] = []
    for k, name in enumerate(schema.keypoints):
        counts = [int((flags[:, k] == flag).sum()) for flag in (2, 1, 0)]
        bar = Bar([count / max(1, n) for count in counts], _COLORS)
        share = 100 * (counts[0] + counts[1]) / max(1, n)
        lines.append((k + 1, name, schema.sides[k] or "", *counts, float(share), bar))
    page.table(
        lines,
        ("", "keypoint", "side", "visible", "occluded", "unlabeled", "% labeled", ""),
    )
    part = data.select(category=category) if isinstance(data, Dataset) else data
    is_mean = schema.layout is None and n > 0
    figures = [
        (
            drawn(plot_schema, schema, layout=part if is_mean else "auto", size=(5.2, 4.4)),
            "The skeleton, in the mean pose." if is_mean else "The skeleton.",
        )
    ]
    if n:
        figures += [
            (
                drawn(plot_pose_space, part, category=category, size=(5.2, 4.4)),
                "Instances on one another, aligned in place and size, and their mean.",
            ),
            (
                drawn(plot_heatmap, part, category=category, size=(5.2, 4.0)),
                "Where keypoints fall in the image.",
            ),
        ]
    page.figures(figures)


def _distributions(page: Page, data: Dataset | Selection, found: Rows) -> None:
    from kpwidget.plotting import plot_counts, plot_sizes

    if not len(found.rows):
        return
    page.heading("Counts and sizes")
    size = (4.9, 3.4)
    figures = [
        (drawn(plot_counts, data, of="images", size=size), "Instances in an image."),
        (drawn(plot_counts, data, of="keypoints", size=size), "Labeled keypoints of an instance."),
    ]
    if not np.isnan(bboxes_of(found.dataset, found.rows)[:, 0]).all():
        figures.append((drawn(plot_sizes, data, size=size), "Widths and heights of the boxes."))
    page.figures(figures)


def _findings(page: Page, dataset: Dataset, found: Rows) -> None:
    page.heading("Findings")
    names = {dataset._images[i].file_name for i in found.images}
    uids = set(dataset._table.uids(found.rows.tolist()))
    problems = [
        problem
        for problem in dataset.validate()
        if problem.image in names and (problem.instance is None or problem.instance in uids)
    ]
    if not problems:
        page.paragraph("No contradiction was found.")
        return
    kinds = Counter((problem.kind or problem.what, problem.level) for problem in problems)
    lines: list[Sequence[Cell]] = []
    for (kind, level), count in kinds.most_common(_MAX_KINDS):
        examples = [p for p in problems if (p.kind or p.what) == kind][:_MAX_EXAMPLES]
        text = "; ".join(
            " ".join(filter(None, (p.image, p.instance and f"({p.instance})", p.keypoint)))
            for p in examples
        )
        lines.append((kind, level, count, text))
    page.table(lines, ("what", "", "how often", "for example"))
    if len(kinds) > _MAX_KINDS:
        page.paragraph(f"{len(kinds) - _MAX_KINDS} kinds more: kpwidget check lists them all.")


def _contact_sheet(page: Page, dataset: Dataset, found: Rows, n_examples: int) -> None:
    from kpwidget.plotting import plot_grid

    labeled = found.rows[found.dataset._table.n_labeled_of(found.rows) > 0]
    if not len(labeled):
        return
    at = np.unique(np.linspace(0, len(labeled) - 1, n_examples).round().astype(int))
    scores = dataset._table.column("score", labeled).astype(float)
    how = "spread evenly over them"
    if not np.isnan(scores).any():
        labeled = labeled[np.argsort(-scores, kind="stable")]
        how += ", from the highest score to the lowest"
    chosen = dataset._instances_at(lambda table: labeled[at].tolist())
    columns = min(6, len(chosen))
    rows = -(-len(chosen) // columns)
    sheet = drawn(plot_grid, chosen, columns=columns, size=(10.2, 1.75 * rows + 0.3))
    page.heading("Examples")
    page.figures([(sheet, f"{len(chosen)} of {len(labeled):,} instances, {how}.")], "jpeg")
