"""The frame that every check returns: `Finding`, one row of it, and `findings_frame`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from kpwidget.dataset.decisions import Decision, decision_on

if TYPE_CHECKING:
    import pandas as pd

    from kpwidget.dataset import Dataset

__all__ = [
    "SEVERITIES",
    "Finding",
    "findings_frame",
    "found_again",
    "rows_in",
    "undecided",
    "with_decisions",
]

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From bad to good: contradicts itself; probably wrong, look at it; worth knowing."""


class Finding(NamedTuple):
    """One thing that a check has found.

    Attributes
    ----------
    check : str
        Name of the check, as `kpwidget.quality.check` takes it.
    severity : {'error', 'warning', 'note'}
        An error contradicts itself or the image. A warning is probably wrong. A note is worth
        knowing, also that something could not be checked.
    image : str or None
        File name; None if it is about the dataset.
    instance : str or None
        uid.
    keypoint : str or None
        Name.
    value, threshold : float
        What was measured and from where on it is told; the reason names the unit. NaN where there
        is no number.
    reason, suggestion : str
        In words.
    kind : str
        What tells it from other findings of the check at the same place, in words without what was
        measured: two findings with the same check, kind, image, instance and keypoint are the same
        one, found again. Empty where the place says it all.
    """

    check: str
    severity: Severity
    image: str | None
    instance: str | None
    keypoint: str | None
    value: float
    threshold: float
    reason: str
    suggestion: str
    kind: str = ""


def findings_frame(findings: Iterable[Finding]) -> pd.DataFrame:
    """Findings as a table, errors first.

    Parameters
    ----------
    findings : iterable of Finding

    Returns
    -------
    pandas.DataFrame
        One row a finding, with the fields of `Finding` as columns: value and threshold are float64,
        the others object. Sorted by severity; within one as given. The columns are the same when
        it is empty.

    Raises
    ------
    ValueError
        If a severity is none of `SEVERITIES`.
    """
    import pandas as pd

    rank = {severity: i for i, severity in enumerate(SEVERITIES)}
    rows = list(findings)
    unknown = sorted({row.severity for row in rows} - set(rank))
    if unknown:
        raise ValueError(f"severity {unknown[0]!r}: expected one of {', '.join(SEVERITIES)}")
    rows.sort(key=lambda row: rank[row.severity])
    columns = list(zip(*rows, strict=True)) or [()] * len(Finding._fields)
    numbers = ("value", "threshold")
    return pd.DataFrame(
        {
            name: pd.Series(values, dtype="float64" if name in numbers else "object")
            for name, values in zip(Finding._fields, columns, strict=True)
        }
    )


def undecided(dataset: Dataset, findings: Iterable[Finding]) -> list[Finding]:
    """Findings that nobody has called fine; the caller holds the dataset's lock.

    Parameters
    ----------
    dataset : Dataset
    findings : iterable of Finding

    Returns
    -------
    list of Finding
        One that was called fixed, on the labels there are now, says so in its reason.
    """
    left = []
    for finding in findings:
        decision = decision_on(dataset, finding)
        if decision is None:
            left.append(finding)
        elif decision.verdict == "fixed":
            left.append(finding._replace(reason=found_again(finding.reason, decision.annotator)))
    return left


def found_again(reason: str, annotator: str) -> str:
    """The reason of a finding that somebody has called fixed."""
    return f"{reason}; {annotator} called it fixed, and it is found again"


def with_decisions(frame: pd.DataFrame, decisions: Sequence[Decision | None]) -> pd.DataFrame:
    """Findings with what was decided about them.

    Parameters
    ----------
    frame : pandas.DataFrame
    decisions : sequence of Decision or None
        One for each row.

    Returns
    -------
    pandas.DataFrame
        A copy with the columns verdict and decided_by (None where nothing is decided that holds)
        and decided_at (UTC).
    """
    import pandas as pd

    found = decisions
    times = [None if one is None else pd.Timestamp(one.time, unit="s", tz="UTC") for one in found]
    columns = {
        "verdict": pd.Series([one and one.verdict for one in found], frame.index, "object"),
        "decided_by": pd.Series([one and one.annotator for one in found], frame.index, "object"),
        "decided_at": pd.Series(times, frame.index, "datetime64[ns, UTC]"),
    }
    return frame.assign(**columns)


def rows_in(frame: pd.DataFrame) -> list[Any]:
    """Rows of a table, each with its columns as attributes; what type they have nobody can tell."""
    return list(frame.itertuples(index=False))
