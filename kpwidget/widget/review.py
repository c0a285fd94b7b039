"""Findings of the quality checks as a viewer walks through them. Knows nothing of a browser."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..dataset.decisions import WHOLE, Decision, Place, decision_at, place_of
from .wire import Refused, sendable, shown

if TYPE_CHECKING:
    import pandas as pd

    from ..dataset import Dataset

#: Rows of the list that the browser has at a time, and letters of a text that it shows.
WINDOW: Final = 40
_LETTERS: Final = 400
#: Checks and severities offered as a filter.
_MAX_CHOICES: Final = 50
#: Which findings are listed.
STATES: Final = ("open", "decided", "all")
#: Side of what is shown around a keypoint: a share of its instance's, in image px at least.
_AROUND, _LEAST_SIDE = 1.0, 64.0


@dataclass(frozen=True)
class Filter:
    """Which findings are listed.

    Attributes
    ----------
    check, severity : str
        Empty for any.
    state : str
        One of `STATES`.
    """

    check: str = ""
    severity: str = ""
    state: str = "open"

    @classmethod
    def of(cls, wire: Any) -> Filter:
        """A filter as the browser sends it; Refused if it is something else."""
        values = wire if isinstance(wire, dict) else {}
        texts = [values.get(name) for name in ("check", "severity", "state")]
        if not all(isinstance(t, str) and len(t) <= _LETTERS for t in texts):
            raise Refused(f"filter: expected check, severity and state, got {shown(wire)}")
        if texts[2] not in STATES:
            raise Refused(f"state: expected one of {', '.join(STATES)}, got {shown(texts[2])}")
        return cls(*map(str, texts))

    def to_wire(self) -> dict[str, str]:
        """Return it as the browser keeps it."""
        return {"check": self.check, "severity": self.severity, "state": self.state}


class Review:
    """The rows of a table of findings, where each is, and what was decided about it.

    Parameters
    ----------
    dataset : Dataset
        Its lock is held, here and in every call.
    findings : pandas.DataFrame
        As of `kpwidget.quality.check`, with check and image at least.
    images : set of int
        Positions of the images that are looked at; findings about others are not listed.

    Attributes
    ----------
    rev : int
        Rises whenever a finding is opened.
    current : int or None
        The finding that is open, by its place in the table.
    gone : list of int
        Those whose image, instance or keypoint is not there.

    Raises
    ------
    TypeError, ValueError
        If it is no such table, saying what is missing.
    """

    def __init__(self, dataset: Dataset, findings: pd.DataFrame, images: set[int]) -> None:
        self._dataset = dataset
        self._images = images
        self.frame = _checked(findings)
        self._rows = [
            {str(name): None if value is None or value != value else value
             for name, value in row.items()}
            for row in self.frame[[c for c in self.frame if c in _COLUMNS]].to_dict("records")
        ]  # fmt: skip
        n = len(self._rows)
        self.checks = _choices(self._rows, "check")
        self.severities = _choices(self._rows, "severity")
        self._places: list[Place | None] = [None] * n
        self._decisions: list[Decision | None] = [None] * n
        #: Findings by the image that they are, or were, about.
        self._of_image: dict[int, list[int]] = {}
        self._id_of: dict[tuple[str | int, str], int] = {}
        for i, row in enumerate(self._rows):
            place = self._places[i] = self._find(row)
            index: int | None = None if place is None else place.image
            if place is not None:
                self._decisions[i] = decision_at(dataset, place)
                self._id_of.setdefault((place.owner, place.key), i)
            elif row.get("image") is not None:
                known = dataset._indices_of_file_name.get(str(row["image"]), [])
                index = known[0] if len(known) == 1 else None
            if index is not None:
                self._of_image.setdefault(index, []).append(i)
        self.filter = Filter()
        self.current: int | None = None
        self.rev = 0
        self.order: list[int] = []
        self._place_in_order: dict[int, int] = {}
        self._list()

    def _find(self, row: dict[str, Any]) -> Place | None:
        try:
            place = place_of(self._dataset, row)
        except (KeyError, ValueError):
            return None
        return place if place.image == WHOLE or place.image in self._images else None

    @property
    def gone(self) -> list[int]:
        """Those that are not listed, as what they are about is not there."""
        return [i for i, place in enumerate(self._places) if place is None]

    def update(self, images: Iterable[int]) -> None:
        """Look again at the findings about some images, after their labels or decisions changed."""
        for index in images:
            for i in self._of_image.get(index, ()):
                place = self._places[i] = self._find(self._rows[i])
                self._decisions[i] = None if place is None else decision_at(self._dataset, place)
        self._list()

    def ask(self, wanted: Filter) -> None:
        """List others."""
        self.filter = wanted
        self._list()

    def _list(self) -> None:
        check, severity, state = self.filter.check, self.filter.severity, self.filter.state
        self.order = [
            i
            for i, (row, place, decision) in enumerate(
                zip(self._rows, self._places, self._decisions, strict=True)
            )
            if place is not None
            and (not check or row["check"] == check)
            and (not severity or row.get("severity") == severity)
            and (state == "all" or (decision is None) == (state == "open"))
        ]
        self._place_in_order = {i: at for at, i in enumerate(self.order)}

    # -- walking --------------------------------------------------------------------------------

    def after(self, step: int) -> int:
        """The finding before (-1) or behind (1) the one that is open; Refused at the end."""
        if not self.order:
            raise Refused("No finding is listed: change the filters.")
        if self.current is None:
            return self.order[0 if step > 0 else -1]
        at = bisect_left(self.order, self.current) + min(step, 0)
        if step > 0 and self.current in self._place_in_order:
            at += 1
        if not 0 <= at < len(self.order):
            raise Refused(f"This is the {'last' if step > 0 else 'first'} finding of the list.")
        return self.order[at]

    def open(self, finding: int) -> Place:
        """Have a finding open, and say where it is; Refused if that is not there."""
        place = self.place(finding)
        self.current = finding
        self.rev += 1
        return place

    def row(self, finding: int) -> dict[str, Any]:
        """A finding as `Dataset.decide` takes it."""
        self.place(finding)
        return self._rows[finding]

    def place(self, finding: int) -> Place:
        """Where a finding is; Refused if that is not there."""
        place = self._places[finding] if 0 <= finding < len(self._rows) else None
        if place is None:
            raise Refused("What this finding is about is not there any more.")
        return place

    def finding_of(self, owner: str | int, key: str) -> int | None:
        """The finding that a decision is about, if it is one of these."""
        return self._id_of.get((owner, key))

    def gone_in_words(self) -> str:
        """What is not listed, for people."""
        gone = self.gone
        names = [
            ", ".join(_short(self._rows[i].get(name)) for name in ("image", "instance", "keypoint")
                      if self._rows[i].get(name) is not None)
            for i in gone[:3]
        ]  # fmt: skip
        n, it = (
            ("1 finding is", "it is")
            if len(gone) == 1
            else (f"{len(gone)} findings are", "they are")
        )
        more = "; ..." if len(gone) > len(names) else ""
        return sendable(
            f"{n} left out: what {it} about is not there, or not shown ({'; '.join(names)}{more})."
        )

    # -- telling ----------------------------------------------------------------------------------

    def decided(self) -> pd.DataFrame:
        """The table as it was given, with the columns verdict, decided_by and decided_at."""
        from ..quality.findings import with_decisions

        return with_decisions(self.frame, self._decisions)

    def to_wire(self, start: int) -> dict[str, Any]:
        """What the browser must know: the list around a place, never all of it."""
        n = len(self.order)
        start = max(0, min(start, n - WINDOW))
        n_there = sum(place is not None for place in self._places)
        n_decided = sum(
            decision is not None and place is not None
            for place, decision in zip(self._places, self._decisions, strict=True)
        )
        current = self.current
        if current is not None and self._places[current] is None:
            current = None
        return {
            "open": n_there - n_decided,
            "decided": n_decided,
            "gone": len(self._rows) - n_there,
            "count": n,
            "position": -1 if current is None else self._place_in_order.get(current, -1),
            "current": None if current is None else self._row_to_wire(current),
            "start": start,
            "rows": [self._row_to_wire(i) for i in self.order[start : start + WINDOW]],
            "checks": self.checks,
            "severities": self.severities,
            "filter": self.filter.to_wire(),
        }

    def window_of(self, finding: int | None, start: int) -> int:
        """Where the list is to begin so that a finding is in it; `start` if it is already."""
        at = self._place_in_order.get(-1 if finding is None else finding)
        if at is None or start <= at < start + WINDOW:
            return start
        return at - WINDOW // 2

    def _row_to_wire(self, i: int) -> dict[str, Any]:
        row, decision = self._rows[i], self._decisions[i]
        texts = {
            name: sendable(_short(row.get(name)))
            for name in ("severity", "check", "image", "keypoint", "reason", "suggestion")
        }
        return {
            "id": i,
            **texts,
            "verdict": "" if decision is None else decision.verdict,
            "by": "" if decision is None else sendable(_short(decision.annotator)),
        }

    def focus(self, image: int) -> dict[str, Any] | None:
        """What of an image the open finding is about: to be zoomed to, and marked."""
        place = None if self.current is None else self._places[self.current]
        if place is None or place.image != image:
            return None
        k, at, box = -1, None, None
        if place.uid is not None:
            instance = self._dataset.instance(place.uid)
            points = instance.keypoints[instance.keypoints[:, 2] > 0, :2]
            low, high = np.full(2, np.inf), np.full(2, -np.inf)
            if len(points):
                low, high = points.min(axis=0), points.max(axis=0)
            elif instance.bbox is not None:
                low, high = (
                    np.array(instance.bbox[:2]),
                    np.add(instance.bbox[:2], instance.bbox[2:]),
                )
            if place.keypoint is not None:
                k = instance.category.schema.index(place.keypoint)
                point = self._dataset._table.point(self._dataset._table.row(place.uid), k)
                if point is not None:  # also one with a location though unlabeled
                    at = np.array(point[:2], float)
                    side = float((high - low).max()) if np.isfinite(low).all() else 0.0
                    half = max(_AROUND * side, _LEAST_SIDE) / 2
                    # So much of the picture that one sees where it is, also if it is outside.
                    inside = np.clip(at, 0, self._size(place.image))
                    low, high = np.minimum(at - half, inside), np.maximum(at + half, inside)
            if np.isfinite(low).all():
                room = np.maximum(0.15 * (high - low), (_LEAST_SIDE - (high - low)) / 2).clip(0)
                box = [*(low - room).tolist(), *(high - low + 2 * room).tolist()]
        return {
            "rev": self.rev,
            "instance": place.uid,
            "keypoint": k,
            "at": None if at is None or not np.isfinite(at).all() else at.tolist(),
            "box": box if box is not None and np.isfinite(box).all() else None,
        }

    def _size(self, image: int) -> tuple[float, float]:
        from ..images import ImageError

        try:
            return self._dataset.images[image].size
        except (ImageError, OSError):
            return (np.inf, np.inf)


_COLUMNS: Final = (
    "check", "severity", "image", "instance", "keypoint", "reason", "suggestion", "kind",
)  # fmt: skip


def _checked(findings: Any) -> pd.DataFrame:
    """A table of findings, with a severity; TypeError or ValueError if it is none."""
    import pandas as pd

    from ..quality.findings import SEVERITIES

    expected = "expected a table of findings, as of kpwidget.quality.check(ds)"
    if not isinstance(findings, pd.DataFrame):
        raise TypeError(f"findings: {expected}, got {type(findings).__name__}")
    missing = [name for name in ("check", "image") if name not in findings]
    if missing:
        raise ValueError(
            f"findings: {expected}, or any with the columns check and image (and instance, "
            f"keypoint, kind, severity, reason, suggestion where known); {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing among {list(findings.columns)}"
        )
    if findings["check"].isna().any():
        raise ValueError(
            f"findings: {expected}; {int(findings['check'].isna().sum())} rows have no check"
        )
    if "severity" not in findings:
        return findings.assign(severity="note")
    known = findings["severity"].isin(SEVERITIES)
    if not known.all():
        other = findings["severity"][~known].iloc[0]
        raise ValueError(f"findings: severity {other!r}: expected one of {', '.join(SEVERITIES)}")
    return findings.copy()


def _choices(rows: Sequence[dict[str, Any]], name: str) -> list[str]:
    found = list(dict.fromkeys(str(row[name]) for row in rows))
    return [one for one in found if one == sendable(one) and len(one) <= _LETTERS][:_MAX_CHOICES]


def _short(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…"
