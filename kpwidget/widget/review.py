"""Findings of the quality checks as a viewer walks through them. Knows nothing of a browser."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..dataset.decisions import WHOLE, Decision, Place, decision_at, is_missing, place_of
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
            {str(name): None if is_missing(value) else str(value) for name, value in row.items()}
            for row in self.frame[[c for c in self.frame if c in _COLUMNS]].to_dict("records")
        ]
        n = len(self._rows)
        self.checks = _choices(self._rows, "check")
        self.severities = _choices(self._rows, "severity")
        self._places: list[Place | None] = [None] * n
        self._decisions: list[Decision | None] = [None] * n
        #: For each whether it is there, decided, and of the check and severity asked for: an edit
        #: of an image looks at its own findings, and not at all there are.
        self._is_there, self._is_decided = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        self._fits = np.ones(n, np.bool_)
        #: Findings by the image that they are, or were, about.
        self._of_image: dict[int, list[int]] = {}
        self._id_of: dict[tuple[str | int, str], int] = {}
        for i, row in enumerate(self._rows):
            place = self._look(i)
            index: int | None = None if place is None else place.image
            if place is not None:
                self._id_of.setdefault((place.owner, place.key), i)
            else:
                known = dataset._indices_of_file_name.get(row["image"] or "", [])
                index = known[0] if len(known) == 1 else None
            if index is not None:
                self._of_image.setdefault(index, []).append(i)
        self.filter = Filter()
        self.current: int | None = None
        self.rev = 0
        self.order: list[int] = []
        self._list()

    def _look(self, i: int) -> Place | None:
        """Find out where a finding is, and what was decided about it."""
        place: Place | None = None
        with suppress(KeyError, ValueError):
            place = place_of(self._dataset, self._rows[i])
        if place is not None and place.image != WHOLE and place.image not in self._images:
            place = None
        self._places[i] = place
        decision = self._decisions[i] = place and decision_at(self._dataset, place)
        self._is_there[i], self._is_decided[i] = place is not None, decision is not None
        return place

    @property
    def gone(self) -> list[int]:
        """Those that are not listed, as what they are about is not there."""
        gone: list[int] = np.flatnonzero(~self._is_there).tolist()
        return gone

    def update(self, images: Iterable[int]) -> None:
        """Look again at the findings about some images, after their labels or decisions changed."""
        found = [i for index in images for i in self._of_image.get(index, ())]
        for i in found:
            self._look(i)
        if found:
            self._list()

    def ask(self, wanted: Filter) -> None:
        """List others."""
        self.filter = wanted
        check, severity = wanted.check, wanted.severity
        self._fits = np.array(
            [
                (not check or row["check"] == check)
                and (not severity or row.get("severity") == severity)
                for row in self._rows
            ],
            np.bool_,
        )
        self._list()

    def _list(self) -> None:
        is_listed = self._fits & self._is_there
        if self.filter.state != "all":
            is_listed &= self._is_decided == (self.filter.state == "decided")
        self.order = np.flatnonzero(is_listed).tolist()

    def _position(self, finding: int | None) -> int | None:
        """Place of a finding in the list; None if it is not in it."""
        at = 0 if finding is None else bisect_left(self.order, finding)
        return at if self.order[at : at + 1] == [finding] else None

    # -- walking --------------------------------------------------------------------------------

    def after(self, step: int) -> int:
        """The finding before (-1) or behind (1) the one that is open; Refused at the end."""
        if not self.order:
            raise Refused("No finding is listed: change the filters.")
        if self.current is None:
            return self.order[0 if step > 0 else -1]
        at = bisect_left(self.order, self.current) + min(step, 0)
        if step > 0 and self._position(self.current) is not None:
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
        n_there, n_decided = int(self._is_there.sum()), int(self._is_decided.sum())
        current = self.current
        if current is not None and self._places[current] is None:
            current = None
        position = self._position(current)
        return {
            "open": n_there - n_decided,
            "decided": n_decided,
            "gone": len(self._rows) - n_there,
            "count": n,
            "position": -1 if position is None else position,
            "current": None if current is None else self._row_to_wire(current),
            "start": start,
            "rows": [self._row_to_wire(i) for i in self.order[start : start + WINDOW]],
            "checks": self.checks,
            "severities": self.severities,
            "filter": self.filter.to_wire(),
        }

    def window_of(self, finding: int | None, start: int) -> int:
        """Where the list is to begin so that a finding is in it; `start` if it is already."""
        at = self._position(finding)
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
    twice = [name for name in _COLUMNS if list(findings.columns).count(name) > 1]
    if twice:
        raise ValueError(
            f"findings: {expected}; it has several columns of the name {', '.join(twice)}: keep one"
        )
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
    found = list(dict.fromkeys(row[name] for row in rows))
    return [one for one in found if one == sendable(one) and len(one) <= _LETTERS][:_MAX_CHOICES]


def _short(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…"
