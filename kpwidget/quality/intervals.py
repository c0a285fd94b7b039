"""Intervals of shares and medians, and several tests corrected together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

__all__ = ["holm", "in_percent", "median_interval", "wilson"]

_Z: Final = 1.959963984540054
"""Of the normal distribution at 97.5 %."""


def wilson(n_with: int, n: int) -> tuple[float, float]:
    """95 % interval of a share.

    Parameters
    ----------
    n_with, n : int
        How many have it, of how many.

    Returns
    -------
    low, high : float
        Wilson's score interval [1]_; with none (or all) of n the one-sided bound 3/n of the rule
        of three [2]_, at most 1. (0, 1) for n = 0.

    References
    ----------
    .. [1] E. B. Wilson, Probable inference, the law of succession, and statistical inference,
       Journal of the American Statistical Association 22 (1927).
    .. [2] J. A. Hanley and A. Lippman-Hand, If nothing goes wrong, is everything all right?,
       Journal of the American Medical Association 249 (1983).
    """
    if n == 0:
        return 0.0, 1.0
    bound = min(1.0, 3 / n)
    if n_with == 0:
        return 0.0, bound
    if n_with == n:
        return 1 - bound, 1.0
    share, z2 = n_with / n, _Z**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * (share * (1 - share) / n + z2 / (4 * n * n)) ** 0.5 / (1 + z2 / n)
    return centre - half, centre + half


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the median, whatever the distribution.

    Parameters
    ----------
    values : sequence of float

    Returns
    -------
    low, high : float
        The k-th value from below and from above, k as large as the binomial distribution allows
        [1]_; NaN for fewer than 6 values, of which none is far enough out.

    References
    ----------
    .. [1] W. J. Conover, Practical Nonparametric Statistics, section 3.2 (1999).
    """
    n, k, below = len(values), 0, 1
    while 40 * below <= 2**n:  # at most k values are below the median in 2.5 % of samples or fewer
        k += 1
        below += math.comb(n, k)
    if k == 0:
        return math.nan, math.nan
    ordered = sorted(values)
    return ordered[k - 1], ordered[-k]


def holm(p_values: Sequence[float], level: float) -> list[bool]:
    """Which of several tests find something, so that any false one is as rare as `level`.

    Parameters
    ----------
    p_values : sequence of float
    level : float

    Returns
    -------
    list of bool
        By S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal
        of Statistics 6 (1979).
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    is_small = p[order] <= level / (len(p) - np.arange(len(p)))
    found = np.zeros(len(p), bool)
    found[order] = np.logical_and.accumulate(is_small)
    return [bool(yes) for yes in found]


def in_percent(share: float) -> str:
    """Return "12 %", "0.3 %" below one, "0.004 %" below a twentieth."""
    if 0 < share < 0.0005:
        return f"{100 * share:.1g} %"
    return f"{100 * share:.{1 if share < 0.01 else 0}f} %"
