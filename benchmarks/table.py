"""Samples become rows, rows become one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

#: Resamplings of a bootstrap; the seed is fixed so that a table can be made again from its samples.
RESAMPLINGS = 4000
SEED = 20240501

#: A bound is at this one-sided level.
LEVEL = 95.0


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    name : str
    ours, floor, peer : float or None
        Medians (or the one number there is), in `unit`.
    unit : str
    ratio, bound : float or None
        `ours` against `floor`, or against `peer` where `limit` says so, and its worse 95 % bound;
        without a ratio `bound` is that of `ours`.
    limit : str
        What must be reached, as the table says it; empty for a number that is only told.
    is_reached : bool or None
    note : str
        How many samples, and whatever a reader must know.
    peer_text : str
        Stands in the table instead of `peer`, such as "never".
    """

    name: str
    ours: float | None
    unit: str
    floor: float | None = None
    ratio: float | None = None
    bound: float | None = None
    peer: float | None = None
    limit: str = ""
    is_reached: bool | None = None
    note: str = ""
    peer_text: str = ""

    def cells(self) -> list[str]:
        """Text of each column."""
        bound = _number(self.bound)
        if self.bound is not None and self.ratio is not None:
            bound += "x"
        result = {None: "", True: "pass", False: "FAIL"}[self.is_reached]
        return [
            self.name,
            _with_unit(self.ours, self.unit),
            _with_unit(self.floor, self.unit),
            "" if self.ratio is None else f"{_number(self.ratio)}x",
            bound,
            self.peer_text or _with_unit(self.peer, self.unit),
            self.limit,
            result,
            self.note,
        ]


HEADINGS = ("measure", "ours", "floor", "ratio", "95 %", "peer", "limit", "", "samples, remarks")


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.01 else f"{value:.2g}"


def _with_unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{_number(value)} {unit}".rstrip()


def _medians(samples: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    values = np.asarray(samples, dtype=float)
    return np.median(rng.choice(values, (RESAMPLINGS, len(values))), axis=1)


def compare(
    name: str,
    unit: str,
    ours: Sequence[float],
    floor: Sequence[float],
    limit: float,
    *,
    higher_is_better: bool = False,
    peer: Sequence[float] | None = None,
    peer_text: str = "",
    note: str = "",
) -> Row:
    """Row of interleaved samples against a floor.

    The bound is that of the ratio of medians, by a bootstrap of both: the upper one, or the lower
    one where higher is better. The limit is reached when the bound reaches it.
    """
    rng = np.random.default_rng(SEED)
    ratios = _medians(ours, rng) / _medians(floor, rng)
    bound = float(np.percentile(ratios, 100 - LEVEL if higher_is_better else LEVEL))
    sign = ">=" if higher_is_better else "<="
    return Row(
        name,
        float(np.median(ours)),
        unit,
        floor=float(np.median(floor)),
        ratio=float(np.median(ours) / np.median(floor)),
        bound=bound,
        peer=float(np.median(peer)) if peer else None,
        peer_text=peer_text,
        limit=f"{sign} {limit:g}x floor",
        is_reached=bound >= limit if higher_is_better else bound <= limit,
        note="; ".join(filter(None, [f"{len(ours)} + {len(floor)}", note])),
    )


def against_peer(
    name: str,
    unit: str,
    ours: Sequence[float],
    peer: Sequence[float],
    limit: float,
    *,
    missing: str = "",
    note: str = "",
) -> Row:
    """Row of interleaved samples against a peer, with the bound of `compare`.

    `missing` says instead of samples that the peer is not installed: then nothing is compared, and
    the limit is neither reached nor missed.
    """
    limit_text = f"<= {limit:g}x peer"
    if missing:
        median = float(np.median(ours))
        note = "; ".join(filter(None, [f"{len(ours)}", note]))
        return Row(name, median, unit, peer_text=missing, limit=limit_text, note=note)
    row = compare(name, unit, ours, peer, limit, note=note)
    return replace(row, floor=None, peer=row.floor, limit=limit_text)


def bounded(
    name: str,
    unit: str,
    ours: Sequence[float],
    limit: float,
    *,
    peer: Sequence[float] | None = None,
    peer_text: str = "",
    note: str = "",
    statistic: Literal["median", "max"] = "median",
) -> Row:
    """Row of samples against a number: their median with its upper bound, or their maximum."""
    values = np.asarray(ours, dtype=float)
    bound: float | None = None
    if statistic == "max":
        value = float(values.max())
    else:
        value = float(np.median(values))
        if len(values) > 1:
            bound = float(np.percentile(_medians(ours, np.random.default_rng(SEED)), LEVEL))
    return Row(
        name,
        value,
        unit,
        bound=bound,
        peer=float(np.median(peer)) if peer else None,
        peer_text=peer_text,
        limit=f"<= {limit:g} {unit}".rstrip(),
        is_reached=(value if bound is None else bound) <= limit,
        note="; ".join(filter(None, [f"{len(values)}", note])),
    )


def told(
    name: str,
    unit: str,
    ours: Sequence[float],
    floor: Sequence[float] | None = None,
    *,
    peer: Sequence[float] | None = None,
    note: str = "",
) -> Row:
    """Row without a limit."""
    ratio = float(np.median(ours) / np.median(floor)) if floor else None
    return Row(
        name,
        float(np.median(ours)),
        unit,
        floor=float(np.median(floor)) if floor else None,
        ratio=ratio,
        peer=float(np.median(peer)) if peer else None,
        note="; ".join(filter(None, [f"{len(ours)}", note])),
    )


def render(rows: Sequence[Row]) -> str:
    """Return the table as text that is also Markdown."""
    lines = [list(HEADINGS), *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    said = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([said[0], rule, *said[1:]])
