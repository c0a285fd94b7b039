"""Values as they cross the wire: checked on their way in, plain JSON on their way out."""

from __future__ import annotations

import hashlib
import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .. import geometry
from ..schema import reference_to_url

if TYPE_CHECKING:
    from ..dataset import Instance
    from ..quality import Finding
    from ..schema import Category, Schema


#: An image that comes again, blind, has its index plus this on the wire: what is drawn on it is
#: never taken for a label of the image itself, whenever it arrives.
AGAIN: Final = 2**40

#: The largest whole number that JavaScript counts to, `Number.MAX_SAFE_INTEGER`.
_MAX_WHOLE: Final = 2**53 - 1

#: What is said of a finding is cut here: names in it come from files.
_MAX_WORDS: Final = 300

_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = 80
_shorten.maxlist = _shorten.maxtuple = _shorten.maxdict = 4
_shorten.maxlevel = 3


def shown(value: Any) -> str:
    """A value of a message in words, short whatever it is: a long text, deeply nested, huge."""
    try:
        return f"{_shorten.repr(value):.80}"
    except ValueError:  # Python refuses to write out integers of more than 4300 digits
        return f"a {type(value).__name__} too long to show"


@dataclass(frozen=True)
class Cursor:
    """What the next click does.

    Attributes
    ----------
    category : int
        Position in ``dataset.categories``.
    instance : str or None
        The active instance; None when the next click starts a new one.
    keypoint : int or None
        Index of the next keypoint; None: the first one of a new instance.
    """

    category: int = 0
    instance: str | None = None
    keypoint: int | None = 0

    @classmethod
    def of(cls, value: Any) -> Cursor:
        """A cursor as it was kept in a step, or in a journal that was read."""
        if isinstance(value, Cursor):
            return value
        return cls(**value) if isinstance(value, dict) else cls()

    def moved(self, category: int, sources: Sequence[int]) -> Cursor:
        """The cursor at its keypoint in another schema of a category, or at the first one.

        `sources` has for each keypoint of that schema its index in the one before.
        """
        if self.category != category or self.keypoint is None:
            return self
        is_there = self.keypoint in sources
        return replace(self, keypoint=sources.index(self.keypoint) if is_there else 0)

    def to_wire(self) -> dict[str, Any]:
        """The cursor as the scene carries it."""
        return {"category": self.category, "instance": self.instance, "keypoint": self.keypoint}


class Refused(ValueError):
    """An edit that cannot be applied; the message is shown to the person."""


def sendable(text: str) -> str:
    """A text with ``?`` for halves of surrogate pairs, which no message can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def words(error: BaseException) -> str:
    """The message of an exception, fit to be sent; KeyError would put it in quotes."""
    if isinstance(error, KeyError) and error.args:
        return sendable(str(error.args[0]))
    return sendable(str(error)) or type(error).__name__


def text_of(content: dict[str, Any], name: str) -> str:
    """A short text of a message; Refused if it is anything else."""
    value = content.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise Refused(f"{name}: expected a short text, got {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        # Half a surrogate pair: no message that carries it back could be sent.
        raise Refused(f"{name}: expected text, got {shown(value)}, which is none") from None
    return value


def whole_of(content: dict[str, Any], name: str) -> int:
    """A whole number from 0 to the largest of JavaScript; Refused if it is anything else."""
    value: Any = content.get(name)
    if not is_index(value, _MAX_WHOLE + 1):
        raise Refused(f"{name}: expected a whole number, got {shown(value)}")
    return int(value)


def number_of(content: dict[str, Any], name: str) -> float:
    """A finite number; Refused if it is anything else."""
    value = content.get(name)
    if not isinstance(value, bool) and isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:  # an integer beyond every float
            number = math.inf
        if math.isfinite(number):
            return number
    raise Refused(f"{name}: expected a finite number, got {shown(value)}")


def flag_of(content: dict[str, Any], name: str, default: bool | None = None) -> bool:
    """True or false; Refused if it is anything else. Missing is the default, if there is one."""
    value = content.get(name, default)
    if not isinstance(value, bool):
        raise Refused(f"{name}: expected true or false, got {shown(value)}")
    return value


def is_index(value: Any, n: int) -> bool:
    """Whether a value of a message is an index into `n` things."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < n


def flat_points(keypoints: np.ndarray[Any, Any]) -> list[float]:
    """``[x, y, visibility, ...]`` with 0, 0, 0 for an unlabeled point: JSON has no NaN."""
    points = np.where(keypoints[:, 2:3] > 0, keypoints, 0.0)
    return [int(value) if value.is_integer() else value for value in points.ravel().tolist()]


def given_box(instance: Instance) -> list[float] | None:
    """The box that was given or drawn; None for a derived one."""
    if instance.bbox_source != "given" or instance.bbox is None:
        return None
    return [float(value) for value in instance.bbox]


def category_to_wire(category: Category) -> dict[str, Any]:
    """What the browser must know of a category."""
    schema = category.schema
    return {
        "name": category.name,
        "keypoints": list(schema.keypoints),
        "edges": schema.edges.tolist(),
        "colors": list(schema.colors),
        "sides": list(schema.sides),
        "flip": schema.flip_indices.tolist(),
        "layout": _layout(schema),
        "guides": _guides(schema),
    }


def _guides(schema: Schema) -> list[dict[str, str]]:
    """Definition and reference picture of each keypoint, of those that have one."""
    definitions, references = schema.definitions, schema.references
    return [
        {
            "keypoint": name,
            "definition": definitions.get(name, ""),
            "picture": reference_to_url(references[name]) if name in references else "",
        }
        for name in schema.keypoints
        if name in definitions or name in references
    ]


def _layout(schema: Schema) -> list[list[float]]:
    """Where the schema figure puts each keypoint, rounded: it is only looked at."""
    layout = schema.layout
    if layout is None:
        layout = geometry.layout_skeleton(schema.n_keypoints, schema.edges, schema.sides)
    return [[round(float(x), 3), round(float(y), 3)] for x, y in layout]


def template_to_wire(category: Category, keypoints: np.ndarray[Any, Any]) -> dict[str, Any] | None:
    """The mean pose that is dropped into a box; None where there are too few instances for one.

    A keypoint that nobody has labeled stands where the schema's figure has it.
    """
    pose, n = geometry.mean_in_box(keypoints)
    if pose is None:
        return None
    own = geometry.align_poses([_layout(category.schema)], pose)[0]
    full = np.where(np.isfinite(pose), pose, np.where(np.isfinite(own), own, 0.5))
    return {"instances": n, "points": [[round(float(x), 3), round(float(y), 3)] for x, y in full]}


def key_of(finding: Finding) -> str:
    """What names a finding, found again, among those of its image."""
    about = (finding.check, finding.kind, finding.instance, finding.keypoint)
    return hashlib.blake2b(repr(about).encode("utf-8", "replace"), digest_size=8).hexdigest()


def finding_to_wire(finding: Finding, keypoint: int | None, repair: str) -> dict[str, Any]:
    """What the browser must know of a finding, with the index of its keypoint."""
    return {
        "key": key_of(finding),
        "check": finding.check,
        "severity": finding.severity,
        "instance": finding.instance,
        "keypoint": keypoint,
        "reason": sendable(finding.reason[:_MAX_WORDS]),
        "suggestion": sendable(finding.suggestion[:_MAX_WORDS]),
        "repair": repair,
    }


def step_to_wire(step: Any) -> dict[str, Any] | None:
    """What undo or redo would do, and which edit of the browser that was."""
    if step is None:
        return None
    return {"label": step.label, "token": list(step.token) if step.token else None}


def conflict_to_wire(conflict: Any) -> dict[str, Any]:
    """What two people have changed, in words, with both values."""
    what = conflict.keypoint or {"bbox": "the box", "finished": "whether it is finished"}.get(
        conflict.what, "whether it is done"
    )
    by = f" ({conflict.annotator})" if conflict.annotator else ""
    return {
        "key": conflict.key,
        "text": sendable(f"Two people have changed {what} in {conflict.image}."),
        "kept": _value_in_words(conflict.what, conflict.kept),
        "other": sendable(_value_in_words(conflict.what, conflict.other) + by),
    }


def _value_in_words(what: str, value: Any) -> str:
    if what == "keypoint":
        if value is None or not value[2]:
            return "unlabeled"
        flag = "occluded" if value[2] == 1 else "visible"
        return f"{value[0]:.1f}, {value[1]:.1f} {flag}"
    if what == "bbox":
        return "none" if value is None else ", ".join(f"{number:.1f}" for number in value)
    return "yes" if value else "no"
