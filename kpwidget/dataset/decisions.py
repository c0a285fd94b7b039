"""Decisions about findings of the quality checks: what somebody has looked at, and what they said.

A decision is named by the check, the kind of finding, the place and the keypoint, never by a row or
by what was measured. It remembers the labels it was made on: once these are changed, it is over.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, overload

from kpwidget.dataset.values import checked_time
from kpwidget.history import PrimitiveChange
from kpwidget.words import count

if TYPE_CHECKING:
    import pandas as pd

    from kpwidget.dataset.core import Dataset

__all__ = [
    "VERDICTS",
    "Decision",
    "Decisions",
    "Place",
    "decide",
    "decision_at",
    "decision_on",
    "is_missing",
    "kept_decisions",
    "place_of",
    "put_decision",
]

Verdict = Literal["fine", "fixed"]
VERDICTS: Final = ("fine", "fixed")

WHOLE: Final = -1
"""In the place of the index of an image: the dataset as a whole."""


@dataclass(frozen=True)
class Decision:
    """What somebody has said about a finding.

    Two are equal if they say the same about the same; who and when, and on which labels, is beside.

    Attributes
    ----------
    check, kind : str
        The check, and which of its findings at this place, as `kpwidget.quality.Finding` has them.
    image : str or None
        File name; None if the finding is about the dataset.
    instance : str or None
        uid; None if it is about an image or the dataset.
    keypoint : str or None
        Name.
    verdict : {'fine', 'fixed'}
    annotator : str
    time : float
        In seconds since the epoch.
    on : str
        Digest of the labels it was made on; empty for the whole dataset.
    """

    check: str
    kind: str
    image: str | None
    instance: str | None
    keypoint: str | None
    verdict: Verdict
    annotator: str = field(compare=False)
    time: float = field(compare=False)
    on: str = field(compare=False)

    @property
    def key(self) -> str:
        """What names it among the decisions about its instance, image or dataset."""
        return _key(self.check, self.kind, self.keypoint)

    def to_json(self) -> dict[str, Any]:
        """What a journal keeps of it, beside image and instance."""
        return {
            "h": self.check, "n": self.kind, "k": self.keypoint, "v": self.verdict,
            "a": self.annotator, "t": self.time, "on": self.on,
        }  # fmt: skip

    @classmethod
    def from_json(cls, image: str | None, uid: str | None, value: Mapping[str, Any]) -> Decision:
        """The decision that a journal has kept; ValueError if it is none."""
        verdict, keypoint = value["v"], value.get("k")
        if verdict not in VERDICTS:
            raise ValueError(f"a decision is one of {', '.join(VERDICTS)}, not {verdict!r}")
        name = None if keypoint is None else str(keypoint)
        about = (str(value["h"]), str(value["n"]), image, uid, name)
        return cls(*about, verdict, str(value["a"]), checked_time(value["t"]), str(value["on"]))


class Place(NamedTuple):
    """What a finding is about, found in a dataset.

    Attributes
    ----------
    check, kind : str
    image : int
        Index; `WHOLE` for the dataset.
    uid, keypoint : str or None
    """

    check: str
    kind: str
    image: int
    uid: str | None
    keypoint: str | None

    @property
    def owner(self) -> str | int:
        """As `PrimitiveChange.owner`."""
        return self.image if self.uid is None else self.uid

    @property
    def key(self) -> str:
        """As `Decision.key`."""
        return _key(self.check, self.kind, self.keypoint)


def place_of(dataset: Dataset, finding: Any) -> Place:
    """Find what a finding is about; see `Dataset.decide`.

    Raises
    ------
    KeyError
        If its image, its instance or the keypoint of that is not there.
    ValueError
        If it is no finding.
    """
    check, kind, image, uid, keypoint = (
        _text_of(finding, name) for name in ("check", "kind", "image", "instance", "keypoint")
    )
    if not check:
        raise ValueError(
            "a finding has at least the name of a check: give a row of kp.quality.check(ds), or a "
            f"mapping with check, image, instance and keypoint; got {finding!r}"
        )
    with dataset.lock:
        index = WHOLE
        if uid is not None:
            instance = dataset.instance(uid)
            index = instance.image.index
            if image is not None and image != instance.image.file_name:
                raise KeyError(
                    f"instance {uid!r} is in image {instance.image.file_name!r}, not in {image!r}"
                )
            if keypoint is not None:
                instance.category.schema.index(keypoint)
        elif image is not None:
            index = dataset.image(image).index
        return Place(check, kind or "", index, uid, keypoint)


class Decisions(Sequence[Decision]):
    """The decisions about findings of a dataset, as they are now: `Dataset.decisions`.

    In the order in which they were made, without those about instances that were removed.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def _all(self) -> list[tuple[str | int, Decision]]:
        """Each with its owner."""
        dataset = self._dataset
        with dataset.lock:
            found = [
                (owner, decision)
                for owner, of_owner in dataset._decisions.items()
                if isinstance(owner, int) or dataset._table.has(owner)
                for decision in of_owner.values()
            ]
        return sorted(found, key=lambda one: one[1].time)

    def to_pandas(self) -> pd.DataFrame:
        """Table with one row a decision.

        Returns
        -------
        pandas.DataFrame
            check, kind, image, instance, keypoint, verdict, annotator, time (UTC), and holds:
            whether the labels are those it was made on.
        """
        import pandas as pd

        dataset = self._dataset
        with dataset.lock:
            rows = [
                {
                    **{name: getattr(one, name) for name in _SHOWN},
                    "time": pd.Timestamp(one.time, unit="s", tz="UTC"),
                    "holds": _holds(dataset, owner, one),
                }
                for owner, one in self._all()
            ]
        return pd.DataFrame(rows, columns=[*_SHOWN, "time", "holds"])

    def __len__(self) -> int:
        """Return the number of decisions."""
        return len(self._all())

    @overload
    def __getitem__(self, key: int) -> Decision: ...
    @overload
    def __getitem__(self, key: slice) -> list[Decision]: ...
    def __getitem__(self, key: int | slice) -> Decision | list[Decision]:
        """Return a decision by position, or a list of them by slice."""
        return [decision for _, decision in self._all()][key]

    def __iter__(self) -> Iterator[Decision]:
        """Iterate over the decisions there are when it begins."""
        return iter(self[:])

    def __repr__(self) -> str:
        """Return the counts."""
        every = self[:]
        counts = [(sum(one.verdict == verdict for one in every), verdict) for verdict in VERDICTS]
        said = ", ".join(f"{n} {verdict}" for n, verdict in counts if n)
        return f"<{count(len(every), 'decision')}{': ' * bool(said)}{said}>"


_SHOWN: Final = ("check", "kind", "image", "instance", "keypoint", "verdict", "annotator")


def decide(
    dataset: Dataset, finding: Any, verdict: Verdict | None, annotator: str | None
) -> Decision | None:
    """Record what somebody says about a finding; see `Dataset.decide`."""
    if verdict is not None and verdict not in VERDICTS:
        raise ValueError(
            f"verdict is 'fine' (as it is), 'fixed', or None to take one back; got {verdict!r}"
        )
    with dataset._history.callbacks_after(), dataset.lock:
        place = place_of(dataset, finding)
        decision = None
        if verdict is not None:
            decision = Decision(
                place.check,
                place.kind,
                None if place.image == WHOLE else dataset._images[place.image].file_name,
                place.uid,
                place.keypoint,
                verdict,
                dataset.annotator if annotator is None else str(annotator),
                time.time(),
                _digest(dataset, place.image, place.uid, place.keypoint),
            )
        before = dataset._decisions.get(place.owner, {}).get(place.key)
        if _whole(before) == _whole(decision):
            return before
        with dataset.transaction(f"{verdict or 'open again'}: {place.check}"):
            put_decision(dataset, place, decision)
        return decision


def put_decision(dataset: Dataset, place: Place, decision: Decision | None) -> None:
    """Record a decision, or that there is none any more, inside an open transaction."""
    before = dataset._decisions.get(place.owner, {}).get(place.key)
    dataset._history.do(
        PrimitiveChange("decision", place.uid, place.image, before, decision, place.key)
    )


def decision_on(dataset: Dataset, finding: Any) -> Decision | None:
    """Return the decision about a finding that holds for the labels there are now, if any.

    The caller holds the dataset's lock.

    Parameters
    ----------
    dataset : Dataset
    finding : Finding, or a row of a table of them
    """
    if not dataset._decisions:
        return None
    try:
        place = place_of(dataset, finding)
    except (KeyError, ValueError):
        return None  # of what is not there nobody has decided anything
    decision = dataset._decisions.get(place.owner, {}).get(place.key)
    return decision if decision and _holds(dataset, place.owner, decision) else None


def decision_at(dataset: Dataset, place: Place) -> Decision | None:
    """Return what was decided about a finding that was made before.

    What was called fixed is, then, whatever became of the labels. The caller holds the lock.
    """
    decision = dataset._decisions.get(place.owner, {}).get(place.key)
    if decision is None or decision.verdict == "fixed":
        return decision
    return decision if _holds(dataset, place.owner, decision) else None


def kept_decisions(
    dataset: Dataset, uids: Sequence[str], images: Mapping[str | int, str | int], *, is_whole: bool
) -> dict[str | int, dict[str, Decision]]:
    """Those that a copy has: about these instances, images (by their index there), or all of it."""
    places: dict[str | int, str | int] = {uid: uid for uid in uids}
    places.update(images)
    if is_whole:
        places[WHOLE] = WHOLE
    return {
        places[owner]: dict(of_owner)
        for owner, of_owner in dataset._decisions.items()
        if owner in places and of_owner
    }


def _whole(decision: Decision | None) -> tuple[Decision, str, str] | None:
    """All of a decision but its time, to be compared."""
    return None if decision is None else (decision, decision.on, decision.annotator)


def _holds(dataset: Dataset, owner: str | int, decision: Decision) -> bool:
    """Whether the labels a decision is about are those it was made on."""
    try:
        if isinstance(owner, int):
            return decision.on == _digest(dataset, owner, None, decision.keypoint)
        image = dataset.instance(owner).image.index
        return decision.on == _digest(dataset, image, owner, decision.keypoint)
    except KeyError:  # a keypoint that the schema has no more
        return False


def _digest(dataset: Dataset, image: int, uid: str | None, keypoint: str | None) -> str:
    """What tells the labels of a place: of a keypoint and its twin, an instance or an image.

    By names of keypoints and without those that have no location: another order of the schema and
    keypoints that come new change nothing.
    """
    if image == WHOLE:
        return ""
    table = dataset._table
    labels: list[str] = []
    for row in table.rows_of_image[image] if uid is None else [table.row(uid)]:
        schema = dataset.categories[table.category(row)].schema
        chosen = list(range(schema.n_keypoints))
        if uid is not None and keypoint is not None:
            k = schema.index(keypoint)
            chosen = sorted({k, int(schema.flip_indices[k])})
        points = [(schema.keypoints[k], table.point(row, k)) for k in chosen]
        # 0.0 + makes -0.0 and 0 the same number as 0.0.
        values = sorted([name, *(0.0 + v for v in point)] for name, point in points if point)
        labels.append(json.dumps(values))
    text = "\n".join(sorted(labels))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _key(check: str, kind: str, keypoint: str | None) -> str:
    return json.dumps([check, kind, keypoint])


def _text_of(finding: Any, name: str) -> str | None:
    """A field of a finding or of a row of a table of them, as text; None where it has none."""
    is_mapping = isinstance(finding, Mapping) or hasattr(finding, "to_dict")
    value = finding.get(name) if is_mapping else getattr(finding, name, None)
    return None if is_missing(value) else str(value)


def is_missing(value: Any) -> bool:
    """Whether a cell of a table has nothing: None, NaN, NaT, or what pandas calls NA."""
    try:
        return value is None or bool(value != value)
    except TypeError:  # of NA nobody can say whether it is so
        return True
    except ValueError:  # an array
        return False
