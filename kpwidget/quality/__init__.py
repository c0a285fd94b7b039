"""What is wrong, or not certain, in labels: tables with numbers, intervals and reasons.

Every number carries how many labels it stands on; too few are said to be too few. Definitions,
sources and what the numbers do not tell: docs/quality.md (two people's labels) and
docs/quality-checks.md (the checks of one dataset).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kpwidget.quality.agreement import Agreement, agreement, measure_sigmas, merge_candidates
from kpwidget.quality.check import CHECKS, check
from kpwidget.quality.coverage import coverage, joint_angles, label_next
from kpwidget.quality.drift import Drift, DriftTest, drift, drift_findings, drift_test
from kpwidget.quality.findings import Finding, findings_frame
from kpwidget.quality.flags import KINDS_OF_VALIDATE, check_image, repair
from kpwidget.quality.jitter import Jitter, NoiseEstimate, jitter, label_noise
from kpwidget.quality.live import suspect_image

if TYPE_CHECKING:
    from kpwidget.quality_report import report as report

__all__ = [
    "CHECKS",
    "KINDS_OF_VALIDATE",
    "Agreement",
    "Drift",
    "DriftTest",
    "Finding",
    "Jitter",
    "NoiseEstimate",
    "agreement",
    "check",
    "check_image",
    "coverage",
    "drift",
    "drift_findings",
    "drift_test",
    "findings_frame",
    "jitter",
    "joint_angles",
    "label_next",
    "label_noise",
    "measure_sigmas",
    "merge_candidates",
    "repair",
    "report",
    "suspect_image",
]

if not TYPE_CHECKING:  # a type checker would then accept any name

    def __getattr__(name: str) -> object:
        if name != "report":
            raise AttributeError(f"module 'kpwidget.quality' has no attribute {name!r}")
        # It stands on figures and pages, which know nothing of checks, and checks nothing of them.
        from kpwidget.quality_report import report

        return report
