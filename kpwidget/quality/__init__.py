"""What is wrong, or not certain, in labels: tables with numbers, intervals and reasons.

Every number carries how many labels it stands on; too few are said to be too few. Definitions,
sources and what the numbers do not tell: docs/quality.md.
"""

from __future__ import annotations

from kpwidget.quality.agreement import Agreement, agreement, measure_sigmas, merge_candidates
from kpwidget.quality.visibility import check

__all__ = ["Agreement", "agreement", "check", "measure_sigmas", "merge_candidates"]
