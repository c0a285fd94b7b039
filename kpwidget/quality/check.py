"""`check`: all checks of a dataset in one table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike

from kpwidget.dataset.decisions import decision_on
from kpwidget.quality.coverage import coverage_findings, coverage_table
from kpwidget.quality.drift import drift, drift_findings
from kpwidget.quality.findings import Finding, findings_frame, undecided, with_decisions
from kpwidget.quality.flags import flag_findings, visibility_findings
from kpwidget.quality.jitter import jitter, jitter_findings
from kpwidget.quality.labels import Labels, dataset_of, labels_of
from kpwidget.quality.masks import occlusion_findings
from kpwidget.quality.sides import side_findings

if TYPE_CHECKING:
    import pandas as pd

    from kpwidget.dataset import Dataset, Selection

__all__ = ["CHECKS", "check"]

CHECKS: Final = ("visibility", "occlusion", "flags", "sides", "jitter", "coverage", "drift")
"""Names of the checks, in the order in which they are made."""


def check(
    data: Dataset | Selection,
    checks: str | Sequence[str] | None = None,
    *,
    sigmas: Mapping[str, ArrayLike] | ArrayLike | None = None,
    rng: np.random.Generator | int | None = None,
    decided: bool = False,
) -> pd.DataFrame:
    """What is wrong, or may be wrong, with the labels of a dataset; it changes nothing.

    Parameters
    ----------
    data : Dataset or Selection
        Of a selection its instances alone are looked at; 'visibility' and 'occlusion' find the same
        in these as in the whole, what the others learn from is the selection.
    checks : str or sequence of str, optional
        Some of `CHECKS`; by default all.

        - 'visibility': flags that contradict themselves or the image
        - 'occlusion': visible keypoints outside their own mask
        - 'flags': keypoints and annotators whose flag never changes, pairs that lean to one side
        - 'sides': left and right swapped, by the other pairs and by the frames beside
        - 'jitter': noise, twitches and jumps along tracks
        - 'coverage': poses, views and sizes of which there is none
        - 'drift': keypoints that wander while labeling goes on
    sigmas : array_like of shape (n_keypoints,), or mapping of category name to that, optional
        Per-keypoint OKS standard deviations before doubling. By default the schema's, else those of
        the built-in schema with the same keypoints, else 0.05.
    rng : numpy.random.Generator or int, optional
        For the shuffles of 'drift', or their seed; by default 0: the same every time.
    decided : bool, default False
        Tell also what somebody has called fine (`Dataset.decide`), and add the columns verdict,
        decided_by and decided_at (UTC).

    Returns
    -------
    pandas.DataFrame
        As of `findings_frame`: one row a finding, errors first. What could not be checked is a
        note. ``attrs["sigma_source"]`` tells by category where the sigmas come from: 'given',
        'measured', 'borrowed', 'uniform', the name of a built-in schema, or 'assumed'.

    Raises
    ------
    ValueError
        If there is no such check, or sigmas do not fit.
    """
    chosen = [checks] if isinstance(checks, str) else list(CHECKS if checks is None else checks)
    unknown = [name for name in chosen if name not in CHECKS]
    if unknown:
        raise ValueError(
            f"checks: there is no {unknown[0]!r}, expected some of {', '.join(CHECKS)}"
        )
    found: list[Finding] = []
    with dataset_of(data).lock:
        everything = list(labels_of(data, sigmas))
        of_labels: dict[str, Callable[[Labels], list[Finding]]] = {
            "occlusion": occlusion_findings,
            "flags": flag_findings,
            "sides": side_findings,
        }
        for name in (name for name in CHECKS if name in chosen):
            if name in of_labels:
                found += [one for labels in everything for one in of_labels[name](labels)]
            elif name == "visibility":
                found += visibility_findings(data)
            elif name == "jitter":
                found += jitter_findings(jitter(data, sigmas=sigmas))
            elif name == "coverage":
                for labels in everything:
                    table = coverage_table([labels])
                    found += coverage_findings(table, labels.category.name)
            elif name == "drift":
                found += _drift(data, sigmas, rng)
        dataset = dataset_of(data)
        frame = findings_frame(found if decided else undecided(dataset, found))
        if decided:
            each = [decision_on(dataset, row) for row in frame.to_dict("records")]
            frame = with_decisions(frame, each)
    frame.attrs["sigma_source"] = {one.category.name: one.sigma_source for one in everything}
    return frame


def _drift(
    data: Dataset | Selection,
    sigmas: Mapping[str, ArrayLike] | ArrayLike | None,
    rng: np.random.Generator | int | None,
) -> list[Finding]:
    if dataset_of(data).recorder is None:
        reason = "not looked at: without a journal the order of labeling is not known"
        nowhere = (None, None, None, math.nan, math.nan)
        return [Finding("drift", "note", *nowhere, reason, "kp.open", "not looked at")]
    try:
        return drift_findings(drift(data, sigmas=sigmas, rng=rng))
    except ValueError as error:
        reason = f"not looked at: {error}"
        nowhere = (None, None, None, math.nan, math.nan)
        return [Finding("drift", "note", *nowhere, reason, "", "not looked at")]
