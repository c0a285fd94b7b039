"""What may be wrong with labels, as a page to read, print and send: `kpwidget.quality.report`."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike

from kpwidget.dataset import Dataset, Selection
from kpwidget.dataset.decisions import VERDICTS
from kpwidget.dataset.findings import is_missing
from kpwidget.page import Cell, Page, drawn
from kpwidget.quality.agreement import LEAST, agreement, measure_sigmas
from kpwidget.quality.check import CHECKS, check
from kpwidget.quality.coverage import LEAST_PER_BIN, coverage_findings, coverage_table, label_next
from kpwidget.quality.drift import Drift, drift
from kpwidget.quality.findings import SEVERITIES, found_again, rows_in
from kpwidget.quality.intervals import in_percent, wilson
from kpwidget.quality.jitter import LEAST_DIFFERENCES, jitter
from kpwidget.quality.labels import Labels, dataset_of, labels_of, rows_of
from kpwidget.reports import checked
from kpwidget.words import count

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["report"]

#: Findings in the table: of one check and severity.
_MAX_ROWS: Final = 15
#: Categories with sections of their own, those with most instances; figures and rows of a kind.
_MAX_CATEGORIES, _MAX_FIGURES, _MAX_LINES = 4, 3, 20
#: Rows of the figure of coverage, and keypoints of one with a row each.
_MAX_ANGLES: Final = 30
_MAX_TEXT: Final = 400

_LOOKS_FOR: Final = {
    "visibility": "flags that contradict themselves or the image",
    "occlusion": "visible keypoints off their own mask",
    "flags": "flags that never change, pairs that lean to one side",
    "sides": "left and right swapped",
    "jitter": "noise, twitches and jumps along tracks",
    "coverage": "poses, views and sizes of which there is none",
    "drift": "keypoints that wander while labeling goes on",
}


@dataclass(frozen=True)
class _About:
    """What the report is about.

    Attributes
    ----------
    data : Dataset or Selection
    labels : list of Labels
        Of each category with any, most instances first.
    found : pandas.DataFrame
        As `_numbered` gives it, without what somebody has called fine.
    decided : pandas.DataFrame
        What is found now and somebody has decided about, as of ``check(decided=True)``.
    predictions : Dataset or None
    sigmas, rng
        As of `check`.
    """

    data: Dataset | Selection
    labels: list[Labels]
    found: pd.DataFrame
    decided: pd.DataFrame
    predictions: Dataset | None
    sigmas: Any
    rng: Any

    def told(self, *checks: str) -> pd.DataFrame:
        """Errors and warnings of some checks."""
        found = self.found
        return found[found["check"].isin(checks) & (found["severity"] != "note")]

    def name(self, labels: Labels) -> str:
        """Name of a category at the beginning of a sentence, where there are several."""
        return f"{_cut(labels.category.name)}: " if len(self.labels) > 1 else ""


def report(
    data: Dataset | Selection,
    path: str | os.PathLike[str],
    *,
    predictions: Dataset | None = None,
    sigmas: Mapping[str, ArrayLike] | ArrayLike | None = None,
    rng: np.random.Generator | int | None = None,
    title: str | None = None,
    n_examples: int = 24,
) -> Path:
    """Write a page about what may be wrong with labels: findings, crops, five failures.

    One HTML file with everything in it: it opens without a network and prints well. Nothing in it
    runs.

    Parameters
    ----------
    data : Dataset or Selection
    path : str or os.PathLike
        The file to write. A report that is there is replaced, any other file is not.
    predictions : Dataset, optional
        Of any model, for images of `data` by file name: says which of those without labels to label
        next, as `kpwidget.quality.label_next`.
    sigmas, rng
        As of `kpwidget.quality.check`.
    title : str, optional
        By default the name of the labels file.
    n_examples : int, default 24
        Crops of places that were found, in turn of each check, errors first. 0 for none: no image
        is opened then.

    Returns
    -------
    Path

    Raises
    ------
    TypeError
        If `data` is something else.
    ValueError
        If `n_examples` is negative, sigmas do not fit, or `path` does not end in .html.
    FileExistsError
        If there is a file that is not a report.

    Notes
    -----
    What cannot be told with these labels is a section that says why, and what to do. What somebody
    has called fine is left out; how many decisions there are, of whom, is told.
    """
    dataset = checked(data, n_examples)
    from tqdm.auto import tqdm

    source = "a dataset in memory" if dataset.path is None else str(dataset.path)
    name = "labels" if dataset.path is None else dataset.path.name
    page = Page(title or f"Quality of {name}", f"{'' if data is dataset else 'a part of '}{source}")
    page.refuse(Path(path))
    parts: tuple[Callable[[Page, _About], None], ...] = (
        _summary, _table, _decisions, lambda page, about: _crops(page, about, n_examples), _flags,
        _conventions, _jitter, _coverage, _drift,
    )  # fmt: skip
    with (
        dataset.lock,
        tqdm(total=len(parts) + 1, desc="quality", unit="part", delay=1.0, leave=False) as progress,
    ):
        labels = sorted(labels_of(data, sigmas), key=lambda one: -len(one.rows))
        found, decided = _split(check(data, sigmas=sigmas, rng=rng, decided=True))
        progress.update()
        about = _About(data, labels, _numbered(found), decided, predictions, sigmas, rng)
        for part in parts:
            part(page, about)
            progress.update()
    return page.write(Path(path))


def _split(found: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Findings as ``check(decided=False)`` has them, and those that were decided about."""
    again = (found["verdict"] == "fixed").to_numpy()
    told = [
        found_again(row.reason, row.decided_by) if is_again else row.reason
        for row, is_again in zip(rows_in(found), again.tolist(), strict=True)
    ]
    told_all = found.assign(reason=told).drop(columns=["verdict", "decided_by", "decided_at"])
    return told_all[(found["verdict"] != "fine").to_numpy()], found[found["verdict"].notna()]


def _numbered(found: pd.DataFrame) -> pd.DataFrame:
    """Findings with numbers from 1: errors first, by check, the furthest beyond theirs first."""
    far = (found["value"] / found["threshold"].where(found["threshold"] > 0)).abs().fillna(0)
    ranks = {
        "severity": found["severity"].map({one: i for i, one in enumerate(SEVERITIES)}),
        "check": found["check"].map({one: i for i, one in enumerate(CHECKS)}),
        "far": -far,
    }
    order = far.to_frame("_").assign(**ranks).sort_values(list(ranks), kind="stable").index
    found = found.loc[order].reset_index(drop=True)
    found.insert(0, "number", np.arange(1, len(found) + 1))
    return found


# --- what was found -----------------------------------------------------------------------------


def _summary(page: Page, about: _About) -> None:
    found = about.found
    n_labeled = sum(int((one.points[..., 2] > 0).sum()) for one in about.labels)
    n_instances = sum(len(one.rows) for one in about.labels)
    n_images = len(about.data.images)
    page.heading("Summary")
    counts = {severity: int((found["severity"] == severity).sum()) for severity in SEVERITIES}
    page.paragraph(
        f"{_listed([count(n, severity) for severity, n in counts.items()])} in "
        f"{count(n_labeled, 'labeled keypoint')} of {count(n_instances, 'instance')} in "
        f"{count(n_images, 'image')}. An error contradicts itself or the image. A warning is "
        "probably wrong: look at it. A note is worth knowing, also that something could not be "
        "told with these labels."
    )
    if not n_labeled:
        page.paragraph("Nothing is labeled yet, so there is nothing to be checked.")
    lines: list[Sequence[Cell]] = []
    for name in CHECKS:
        of_check = found[found["check"] == name]["severity"]
        lines.append((name, _LOOKS_FOR[name], *(int((of_check == s).sum()) for s in SEVERITIES)))
    page.table(lines, ("check", "looks for", *(f"{severity}s" for severity in SEVERITIES)))
    sources = "; ".join(
        f"{_cut(one.category.name)}: "
        + _SIGMAS.get(one.sigma_source, f"those of {one.sigma_source}")
        for one in about.labels[:_MAX_CATEGORIES]
    )
    if sources:
        page.paragraph(
            "Distances are in pixels of the image and in sigma*s: s is the root of the area of the "
            f"object, sigma the OKS constant of the keypoint. Sigmas of {sources}."
        )


_SIGMAS: Final = {
    "given": "those that were given",
    "schema": "the schema's own",
    "measured": "measured, in the schema",
    "borrowed": "borrowed, in the schema",
    "uniform": "all the same, in the schema",
    "assumed": "0.05 is assumed, for nobody has measured them",
}


def _table(page: Page, about: _About) -> None:
    page.heading("Findings")
    found = about.told(*CHECKS)
    if not len(found):
        page.paragraph("No error and no warning. Notes are in the sections below.")
        return
    groups = found.groupby(["severity", "check"], sort=False)
    shown = groups.head(_MAX_ROWS)
    lines: list[Sequence[Cell]] = [
        (
            int(row.number), row.severity, row.check,
            _cut(" ".join(filter(None, (row.image, row.instance and f"({row.instance})")))),
            _cut(row.keypoint or "", 40), _cut(row.reason), _cut(row.suggestion),
        )
        for row in rows_in(shown)
    ]  # fmt: skip
    page.table(lines, ("", "severity", "check", "where", "keypoint", "what", "what to do"))
    if len(shown) < len(found):
        sizes = groups.size()
        rest = _listed(
            [
                f"{n - _MAX_ROWS:,} {severity}s of {name}"
                for (severity, name), n in zip(sizes.index.tolist(), sizes.tolist(), strict=True)
                if n > _MAX_ROWS
            ]
        )
        page.paragraph(
            f"{len(shown):,} of {len(found):,} errors and warnings, the furthest beyond their "
            f"threshold; not shown: {rest}. kpwidget.quality.check(ds) has them all as a "
            "table, kpwidget check --quality --limit 0 as lines."
        )


def _decisions(page: Page, about: _About) -> None:
    dataset, data = dataset_of(about.data), about.data
    names = {image.file_name for image in data.images}
    uids = set(dataset._table.uids(rows_of(data).tolist()))
    made = [
        one
        for one in dataset.decisions
        if (one.image is None or one.image in names)
        and (one.instance is None or one.instance in uids)
    ]
    if not made:
        return
    page.heading("Decisions")
    now = Counter(zip(about.decided["verdict"], about.decided["decided_by"], strict=True))
    n_fine, n_again = (sum(n for (v, _), n in now.items() if v == verdict) for verdict in VERDICTS)
    page.paragraph(
        f"{count(n_fine, 'finding')} left out of this page: called fine, on the labels as they "
        f"are. {count(n_again, 'finding')} told again though called fixed. A decision is over when "
        "the labels of its place are changed. kpwidget.quality.check(ds, decided=True) has all."
    )
    said = Counter((one.verdict, one.annotator) for one in made)
    people = Counter(one.annotator for one in made).most_common(_MAX_LINES)
    page.table(
        [
            (
                _cut(who), said["fine", who], now["fine", who],
                said["fixed", who], now["fixed", who],
            )
            for who, _ in people
        ],
        ("annotator", "called fine", "left out now", "called fixed", "found again"),
    )  # fmt: skip


def _crops(page: Page, about: _About, n_examples: int) -> None:
    from kpwidget.plotting import plot_findings

    dataset = dataset_of(about.data)
    found = about.told(*CHECKS)
    found = found[found["instance"].notna()]
    if not n_examples or not len(found):
        return
    page.heading("Where to look")
    # In turn of each check, so that one with thousands does not hide the others.
    turn = found.groupby(["severity", "check"]).cumcount()
    order = found.assign(turn=turn, is_warning=found["severity"] != "error")
    found = order.sort_values(["is_warning", "turn"], kind="stable")
    tried = found.head(4 * n_examples)
    is_there = [not is_missing(dataset.images[name]) for name in tried["image"]]
    shown = tried[is_there].head(n_examples)
    if len(shown):
        columns = min(6, len(shown))
        texts = [f"{row.number} {row.keypoint or row.check}" for row in rows_in(shown)]
        height = 1.82 * -(-len(shown) // columns) + 0.3
        sheet = drawn(
            plot_findings, dataset, shown, columns=columns, limit=n_examples, captions=texts,
            size=(1.7 * columns, height),
        )  # fmt: skip
        numbered = "Numbers are those of the table, where it has them. "
        page.figures([(sheet, f"{numbered}{len(shown)} of {count(len(found), 'place')}.")], "jpeg")
    if len(shown) < min(n_examples, len(found)) and not all(is_there):
        page.paragraph(
            f"The image files of {count(is_there.count(False), 'place')} are not there: give their "
            "folder when reading (images=, in the shell --images DIR) to see crops of them."
        )


# --- five failures ------------------------------------------------------------------------------


def _flags(page: Page, about: _About) -> None:
    from kpwidget.plotting import plot_visibility

    page.heading("Visibility flags")
    if not about.labels:
        _not_told(page, "nothing is labeled", "label some images")
        return
    n_labeled = sum(int((one.points[..., 2] > 0).sum()) for one in about.labels)
    n_visible = sum(int((one.points[..., 2] == 2).sum()) for one in about.labels)
    page.paragraph(
        f"{_share(len(about.told('visibility')), n_labeled, 'labeled keypoint')} contradict "
        f"themselves or the image; {_share(len(about.told('occlusion')), n_visible, 'visible one')}"
        " are off their own mask, as far as there are masks. Which keypoints that are called "
        "visible are hidden behind their own body no check can tell."
    )
    found = about.found
    _reasons(page, about.told("flags"), "No keypoint, pair or annotator uses flags oddly.")
    _reasons(
        page, found[found["check"].isin(["flags", "occlusion"]) & (found["severity"] == "note")]
    )
    figures = []
    for one in about.labels[:_MAX_CATEGORIES]:
        flags = one.points[..., 2]
        lines: list[Sequence[Cell]] = []
        for k, name in enumerate(one.category.keypoints[: 2 * _MAX_ANGLES]):
            n, n_hidden = int((flags[:, k] > 0).sum()), int((flags[:, k] == 1).sum())
            low, high = wilson(n_hidden, n)
            interval = f"{in_percent(low)} to {in_percent(high)}" if n else ""
            share = in_percent(n_hidden / n) if n else ""
            lines.append((_cut(name), n, n_hidden, share, interval, len(flags) - n))
        page.heading(f"{about.name(one)}How often each keypoint is occluded", 3)
        page.table(lines, ("keypoint", "labeled", "occluded", "share", "95 %", "unlabeled"))
        people = {
            str(name)
            for name in one.dataset._table.column("annotator", one.rows)
            if name is not None
        }
        by = "annotator" if 1 < len(people) <= _MAX_FIGURES else None
        height = one.category.n_keypoints * (0.17 if by is None else 0.12 * len(people))
        size = (6.4, min(max(height, 1.0), 30.0) + 1.2)
        figure = drawn(plot_visibility, about.data, category=one.category, by=by, size=size)
        figures.append((figure, f"{about.name(one)}Flags in {count(len(flags), 'instance')}."))
    page.figures(figures)


def _conventions(page: Page, about: _About) -> None:
    from kpwidget.plotting import plot_agreement, plot_sigmas

    page.heading("Conventions")
    sides = about.told("sides")
    n_instances = sum(len(one.rows) for one in about.labels)
    n_swapped = sides["instance"].nunique()
    page.paragraph(f"Left and right look swapped in {_share(n_swapped, n_instances, 'instance')}.")
    _reasons(page, about.found[(about.found["check"] == "sides") & about.found["image"].isna()])
    dataset = about.data if isinstance(about.data, Dataset) else about.data.copy()
    if not len(dataset.passes):
        _not_told(
            page,
            "nobody has labeled these images a second time. Whether two people mean the same place "
            "by a name, and how exactly they place it, cannot be seen in labels that were made "
            "once",
            "let somebody else, or yourself next week, label 20 of the images again: "
            'again = ds.start_pass("second"), kp.Annotator(again), ds.add_pass(again, "second")',
        )
        return
    labeled = {opinion.uid for opinion in dataset.passes}
    for one in about.labels[:_MAX_CATEGORIES]:
        if not labeled.intersection(one.dataset._table.uids(one.rows.tolist())):
            continue
        for name in dataset.passes.names[:_MAX_FIGURES]:
            result = agreement(dataset, name, one.category.id, rng=about.rng or 0)
            table = result.keypoints
            page.heading(f"{about.name(one)}Labels against pass {_cut(name)}", 3)
            for line in str(result).split("\n"):
                page.paragraph(_cut(line))
            page.table(
                [
                    (
                        _cut(row.keypoint), row.verdict, row.n,
                        _interval(row.along, row.along_low, row.along_high),
                        _interval(row.across, row.across_low, row.across_high),
                        _interval(row.sigma, row.sigma_low, row.sigma_high, 3), _cut(row.reason),
                    )
                    for row in rows_in(table.head(2 * _MAX_ANGLES))
                ],
                ("keypoint", "verdict", "n", "along the limb, px", "across, px", "sigma", ""),
            )  # fmt: skip
            if (table["n"] >= LEAST).any():
                caption = f"How far pass {_cut(name)} is from the labels: arrows are the mean, "
                caption += "ellipses have 95 % of single labels."
                figure = drawn(plot_agreement, result, layout=_layout(about, one), size=(5.4, 5.4))
                page.figures([(figure, caption)])
            else:
                _not_told(
                    page, f"no keypoint has {LEAST} instances that both have labeled", "label more"
                )
        measured = measure_sigmas(dataset, None, one.category.id)
        if (measured["source"] == "measured").any():
            schema = one.category.schema if one.category.schema.sigmas is not None else None
            size = (5.6, min(max(0.2 * len(measured), 1.0), 40.0) + 1.1)
            figure = drawn(plot_sigmas, measured, schema=schema, size=size)
            page.figures([(figure, "How exactly people place each keypoint: OKS sigmas.")])


def _jitter(page: Page, about: _About) -> None:
    from kpwidget.plotting import plot_jitter

    page.heading("Jitter")
    found = jitter(about.data, sigmas=about.sigmas)
    if found.problem or not found.series:
        _not_told(
            page,
            found.problem or "no track has three labeled frames in a row",
            "give the instances track ids, in the order of the frames. For single images there is "
            "no jitter to be told",
        )
    if not found.series:
        return
    estimates, events = found.estimates, found.events
    told = estimates[estimates["verdict"] == "told"].sort_values("sigmas", ascending=False)
    kinds = _listed(
        [count(int((events["kind"] == kind).sum()), kind) for kind in ("twitch", "jump")]
    )
    page.paragraph(
        f"{count(len(found.series), 'track')}: noise is told for {len(told):,} of "
        f"{count(len(estimates), 'keypoint')} of tracks ({LEAST_DIFFERENCES} differences or more "
        f"are needed); {kinds}. A twitch is back within three frames, a jump stays."
    )
    if len(told):
        page.heading(f"The noisiest {min(_MAX_LINES, len(told))} keypoints", 3)
        page.table(
            [
                (
                    _cut(row.clip), _cut(row.track), _cut(row.keypoint), row.n,
                    _interval(row.sd_px, row.low_px, row.high_px),
                    _interval(row.sigmas, row.low_sigmas, row.high_sigmas), row.n_still,
                    f"{row.camera_px:.1f}" if math.isfinite(row.camera_px) else "",
                )
                for row in rows_in(told.head(_MAX_LINES))
            ],
            ("clip", "track", "keypoint", "n", "noise an axis, px", "slow half, sigma*s", "n",
             "camera, px"),
        )  # fmt: skip
    per_track = events.groupby(["category", "clip", "track"]).size()
    order = sorted(found.series, key=lambda track: -int(per_track.get(track, 0)))
    figures = []
    for track in order[:_MAX_FIGURES]:
        n = found.series[track][1].shape[1]
        size = (8.2, min(max(0.17 * n, 1.2), 30.0) + 1.3)
        caption = f"Track {_cut(track[2] or '(all)')} of clip {_cut(track[1] or '(all)')}."
        figures.append((drawn(plot_jitter, found, track, size=size), caption))
    page.figures(figures)
    if len(order) > _MAX_FIGURES:
        page.paragraph(f"The {_MAX_FIGURES} tracks with most events of {len(order):,} are drawn.")


def _coverage(page: Page, about: _About) -> None:
    page.heading("Coverage")
    if not about.labels:
        _not_told(page, "nothing is labeled", "label some images")
    for one in about.labels[:_MAX_CATEGORIES]:
        if len(about.labels) > 1:
            page.heading(_cut(one.category.name), 3)
        table = coverage_table([one])
        is_told = table["expected"] >= LEAST_PER_BIN
        beside = table[is_told & table["is_empty"] & table["is_next_to_filled"]]
        if not is_told.any():
            _not_told(page, f"fewer than {LEAST_PER_BIN} instances a bin", "label more images")
        page.paragraph(
            f"{count(len(one.rows), 'instance')} in bins of angles (image plane), view, size and "
            f"visible keypoints: {int((is_told & table['is_empty']).sum()):,} of "
            f"{int(is_told.sum()):,} bins are empty, {len(beside):,} of them next to filled ones. "
            "Foreshortening is in the angles, and what hides a keypoint hides the pose."
        )
        notes = coverage_findings(table, one.category.name)
        page.table(
            [(_cut(note.reason),) for note in notes[:_MAX_LINES]], ("missing, nearest first",)
        )
        if len(notes) > _MAX_LINES:
            page.paragraph(f"{len(notes) - _MAX_LINES:,} more are told by kpwidget.quality.check.")
        page.figures(_drawn_coverage(table))
        if about.predictions is not None:
            _label_next(page, about, one, about.predictions)
    if about.labels and about.predictions is None:
        page.paragraph(
            "With predictions of a model on the images without labels (predictions=, in the shell "
            "--predictions FILE) this section says which of them to label next."
        )


def _drawn_coverage(table: pd.DataFrame) -> Iterator[tuple[Figure, str]]:
    """Figures of angles, and of angles by view, or else by size."""
    from kpwidget.plotting import plot_coverage

    angles = table[~table["dimension"].isin(["view", "size", "visible"])]
    others = [by for by in ("view", "size") if (angles["by"] == by).any()][:1]
    for by in ("", *others):
        chosen = angles[angles["by"] == by]
        lacking = (chosen["is_empty"] & chosen["is_next_to_filled"]).groupby(chosen["dimension"])
        most = lacking.sum().sort_values(ascending=False, kind="stable")
        n_rows = chosen.groupby("dimension")["by_bin"].nunique()
        kept = most.index[: _MAX_ANGLES // max(1, int(n_rows.max() if len(most) else 1))]
        chosen = chosen[chosen["dimension"].isin(kept)]
        if not len(chosen):
            continue
        n_lines = len(chosen[["dimension", "by_bin"]].drop_duplicates())
        size = (5.9, 1.3 + 0.24 * n_lines)
        caption = f"Angles{f' by {by}' if by else ''}, and how many instances have them."
        if len(kept) < len(most):
            caption += f" {len(kept)} of {len(most)} angles, those that lack most."
        yield drawn(plot_coverage, chosen, by, size=size), caption


def _label_next(page: Page, about: _About, one: Labels, predictions: Dataset) -> None:
    page.heading(f"{about.name(one)}Label these next", 3)
    try:
        table = label_next(one.dataset, predictions, _MAX_LINES, category=one.category.id)
    except ValueError as error:
        _not_told(page, str(error), "predict poses on images of this dataset without labels")
        return
    page.table(
        [
            (_cut(row.image), row.n_filled, round(float(row.rarity), 1), _cut(row.fills))
            for row in rows_in(table)
        ],
        ("image", "empty bins filled", "rarity", "which"),
    )


def _drift(page: Page, about: _About) -> None:
    from kpwidget.plotting import plot_drift

    page.heading("Drift")
    found: list[Drift] = []
    reason = "without a journal the order of labeling is not known"
    if dataset_of(about.data).recorder is not None:
        try:
            found = drift(about.data, sigmas=about.sigmas, rng=about.rng)
        except ValueError as error:
            reason = str(error)
    if not found:
        _not_told(
            page, reason,
            "label with kp.open(path), which keeps a journal; a file that was labeled elsewhere "
            "has no order",
        )  # fmt: skip
        return
    if not all(one.is_anchored for one in found):
        page.paragraph(
            "Told as content or convention: without images that were labeled again unasked "
            "(anchors) nobody can tell whether the pictures have changed or what people mean by a "
            "name."
        )
    _reasons(page, about.told("drift"), "No change was found at 5 %, all taken together.")
    lines: list[Sequence[Cell]] = []
    figures: list[tuple[Figure, str]] = []
    for one in found:
        who = f"{one.category}, annotator {one.annotator!r}"
        n = len(one.images)
        if not math.isfinite(one.p_value):
            lines.append((_cut(who), n, "not enough data", ""))
            continue
        best = rows_in(one.series.sort_values("p", kind="stable"))[0]
        lines.append(
            (
                _cut(who), n, f"{one.p_value:.3f}",
                _cut(f"{best.keypoint} in {best.axis}: ")
                + _interval(best.shift_px, best.low_px, best.high_px)
                + f" px from {_cut(best.image or '')} on",
            )
        )  # fmt: skip
        if len(figures) < _MAX_FIGURES:
            figures.append((drawn(plot_drift, one, size=(7.2, 3.2)), f"{_cut(who)}."))
    page.table(lines, ("labels", "images", "corrected p", "largest change"))
    page.paragraph(
        "In 100 images a change of one standard deviation of single labels is found in 8 of 10 "
        "cases, one of half of that hardly ever."
    )
    page.figures(figures)


# --- words --------------------------------------------------------------------------------------


def _layout(about: _About, one: Labels) -> Any:
    """Where the figure of a schema has its keypoints: as labeled, if it does not say itself."""
    if one.category.schema.layout is not None or len(about.labels) > 1:
        return "auto"
    return about.data


def _not_told(page: Page, why: str, what_to_do: str) -> None:
    page.paragraph(f"Not enough data: {_cut(why)}. What to do: {what_to_do}.")


def _reasons(page: Page, found: pd.DataFrame, otherwise: str = "") -> None:
    """A paragraph for each of the first findings, or what to say without any."""
    for row in rows_in(found.head(_MAX_LINES)):
        page.paragraph(_cut(f"{row.keypoint}: {row.reason}" if row.keypoint else row.reason))
    if not len(found) and otherwise:
        page.paragraph(otherwise)


def _share(n_with: int, n: int, noun: str) -> str:
    """Return such as "3 of 120 instances (2 %; 95 %: 1 % to 7 %)"."""
    low, high = wilson(n_with, n)
    shares = f"{in_percent(n_with / n)}; 95 %: {in_percent(low)} to {in_percent(high)}" if n else ""
    return f"{n_with:,} of {count(n, noun)}" + (f" ({shares})" if n else "")


def _interval(value: float, low: float, high: float, digits: int = 1) -> str:
    """Return such as "3.1 (2.5 to 3.9)"; nothing where it is not known."""
    if not math.isfinite(value):
        return ""
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _listed(texts: Sequence[str]) -> str:
    """Return such as "a, b and c"."""
    return " and ".join(filter(None, (", ".join(texts[:-1]), *texts[-1:])))


def _cut(text: str, length: int = _MAX_TEXT) -> str:
    """A text that may be a stranger's, no longer than a cell of a table can take."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
