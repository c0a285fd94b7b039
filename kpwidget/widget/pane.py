"""What a person types or pastes into the designer's text pane, as metadata of one schema.

Metadata in the form of a COCO category (DataTorch's is the same), a list of categories, a whole
COCO file, skeleton labels of CVAT, or plain names. What is wrong is told with its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ..formats.cvat_json import SvgError, is_skeleton_label, metadata_of_label
from ..schema import _TOO_DEEP, FormatError, Schema, _copy_json, _parse_json
from ..schema import _show as shown

#: Longest text that is read, in characters.
MAX_TEXT: Final = 2_000_000
#: Most keypoints of a schema that is drawn.
MAX_KEYPOINTS: Final = 1000
#: How many problems are told.
_MAX_PROBLEMS: Final = 50
#: How deep places are looked up: ``categories[0].keypoints[3]`` is 4.
_DEPTH: Final = 6

_Path = tuple[str | int, ...]
_Span = tuple[int, int]
_Told = TypeVar("_Told")


@dataclass(frozen=True)
class Problem:
    """What is wrong at one place of the text.

    Attributes
    ----------
    message : str
    start, end : int
        0-based, in characters; the place is ``text[start:end]``.
    """

    message: str
    start: int
    end: int

    def to_wire(self, text: str) -> dict[str, Any]:
        """The problem with line and column, counted from 1, and places in units of UTF-16."""
        before = text[: self.start]
        units = len(before.encode("utf-16-le", "surrogatepass")) // 2
        length = len(text[self.start : self.end].encode("utf-16-le", "surrogatepass")) // 2
        return {
            "message": self.message,
            "line": before.count("\n") + 1,
            "column": self.start - (before.rfind("\n") + 1) + 1,
            "start": units,
            "end": units + length,
        }


@dataclass(frozen=True)
class Reading:
    """What a text says.

    Attributes
    ----------
    metadata : dict or None
        Metadata that makes a schema; None if there are problems or several to choose from.
    problems : list of Problem
    choices : list of str
        Names of the categories, if there are several and none was chosen.
    kind : str
        What the text was read as, in words.
    """

    metadata: dict[str, Any] | None = None
    problems: tuple[Problem, ...] = ()
    choices: tuple[str, ...] = ()
    kind: str = ""


def read_text(text: str, choice: int | None = None) -> Reading:
    """What the text of the pane says.

    Parameters
    ----------
    text : str
    choice : int, optional
        0-based: which of several categories with keypoints is meant.

    Returns
    -------
    Reading
    """
    if len(text) > MAX_TEXT:
        what = f"the text has {len(text):,} characters, expected at most {MAX_TEXT:,}: of a COCO "
        return Reading(problems=(Problem(what + "file, paste only the 'categories'", 0, 0),))
    start = len(text) - len(text.lstrip())
    if start == len(text):
        return Reading(problems=(Problem("empty: expected metadata or names", 0, 0),))
    if text[start] not in '{["':
        return _read_names(text)
    try:
        content = _parse_json(text, "text")
    except FormatError as error:
        return Reading(problems=_placed(error.problems, lambda one: _place_json(text, one)))
    spans = _Spans(text)
    if isinstance(content, list) and content and all(isinstance(one, str) for one in content):
        return _checked({"keypoints": content}, (), spans, "a list of names")
    candidates, kind = _candidates(content)
    if len(candidates) > 1 and (choice is None or not 0 <= choice < len(candidates)):
        named = (record.get("name", f"number {n}") for n, (_, record) in enumerate(candidates, 1))
        return Reading(choices=tuple(str(name)[:80] for name in named), kind=kind)
    if not candidates:
        expected = (
            "expected a category with 'keypoints', a list of categories, a COCO file, CVAT labels "
            "with an 'svg', or names"
        )
        return Reading(problems=(Problem(f"{shown(content)}: {expected}", *spans.of(())),))
    path, record = candidates[(choice or 0) if len(candidates) > 1 else 0]
    if is_skeleton_label(record):
        return _read_label(path, record, spans)
    return _checked(record, path, spans, kind)


def _placed(problems: Sequence[_Told], place: Callable[[_Told], Problem]) -> tuple[Problem, ...]:
    """The first problems, each at its place, and how many more there are."""
    found = tuple(place(one) for one in problems[:_MAX_PROBLEMS])
    rest = len(problems) - len(found)
    return (*found, Problem(f"and {rest} more problems", 0, 0)) if rest else found


def _candidates(content: Any) -> tuple[list[tuple[_Path, dict[str, Any]]], str]:
    """The records that may be meant, each with its place, and what the text is."""
    path: _Path = ()
    kind = "metadata of a category"
    if isinstance(content, dict) and "keypoints" not in content and "categories" in content:
        content, path, kind = content["categories"], ("categories",), "categories of a COCO file"
    if isinstance(content, dict):
        label = "a label of CVAT" if is_skeleton_label(content) else kind
        return [(path, content)], label
    if not isinstance(content, list):
        return [], kind
    records = [((*path, i), one) for i, one in enumerate(content) if isinstance(one, dict)]
    labels = [one for one in records if is_skeleton_label(one[1])]
    if labels:
        return labels, "labels of CVAT"
    with_keypoints = [one for one in records if "keypoints" in one[1]]
    return with_keypoints or records[:1], kind if path else "a list of categories"


def _checked(
    metadata: dict[str, Any], path: _Path, spans: _Spans, kind: str, named: str = ""
) -> Reading:
    """The metadata if a schema can be made of it, else every problem at its place."""
    try:
        _copy_json(metadata, "", 0, [])  # only to see how deep it is
        name = metadata.get("name")
        schema, _ = Schema._of_metadata(metadata, "schema" if name is None else name, "schema")
    except FormatError as error:
        found = [one.removeprefix("schema: ") for one in error.problems]
        return Reading(
            problems=_placed(found, lambda one: Problem(named + one, *spans.of_problem(one, path))),
            kind=kind,
        )
    except RecursionError:
        return Reading(problems=(Problem(_TOO_DEEP, *spans.of(path)),), kind=kind)
    if schema.n_keypoints > MAX_KEYPOINTS:
        what = f"{schema.n_keypoints:,} keypoints, expected at most {MAX_KEYPOINTS:,}"
        return Reading(problems=(Problem(what, *spans.of_problem("keypoints", path)),), kind=kind)
    return Reading(schema.to_metadata(), kind=kind)


def _read_label(path: _Path, record: dict[str, Any], spans: _Spans) -> Reading:
    kind = "a label of CVAT"
    try:
        metadata, problems = metadata_of_label(record)
    except SvgError as error:
        place = spans.inside((*path, "svg"), error.offset)
        return Reading(problems=(Problem(f"svg: {error}", *place),), kind=kind)
    if problems:
        return Reading(
            problems=_placed(
                problems, lambda one: Problem(": ".join(one), *spans.of((*path, one[0])))
            ),
            kind=kind,
        )
    return _checked(metadata, (*path, "svg"), spans, kind, "in the svg: ")


# --- plain names ----------------------------------------------------------------------------------

_NAME: Final = re.compile(r"[^,\n\r]+")
_STRANGE: Final = re.compile(r'[{}\[\]":;<>=]')


def _read_names(text: str) -> Reading:
    """Names, one a line or apart by commas."""
    kind = "a list of names"
    names: dict[str, None] = {}  # in order, and soon looked up: a table that is pasted is long
    problems: list[Problem] = []
    for match in _NAME.finditer(text):
        name = match.group().strip()
        if not name:
            continue
        start = match.start() + len(match.group()) - len(match.group().lstrip())
        strange = _STRANGE.search(name)
        if strange:
            problems.append(
                Problem(
                    f"{shown(strange.group())} in a list of names: expected one name a line or "
                    "names apart by commas, or JSON that begins with { or [",
                    start + strange.start(),
                    start + strange.end(),
                )
            )
        elif name in names:
            problems.append(
                Problem(f"the name {shown(name)} stands here again", start, start + len(name))
            )
        names[name] = None
    if problems:
        return Reading(problems=_placed(problems, lambda one: one), kind=kind)
    if len(names) > MAX_KEYPOINTS:
        what = f"{len(names):,} names, expected at most {MAX_KEYPOINTS:,}"
        return Reading(problems=(Problem(what, 0, 0),), kind=kind)
    return Reading({"keypoints": list(names)}, kind=kind)


# --- places ---------------------------------------------------------------------------------------

_AT_LINE: Final = re.compile(r"(?:text: )?(not JSON: )?line (\d+), column (\d+): ")
_FIELD: Final = re.compile(r"'?([A-Za-z_]\w*)'?")
_INDEX: Final = re.compile(r"\[(\d+)\]")


def _place_json(text: str, message: str) -> Problem:
    """A problem that says its line and column, or the beginning for one that says none."""
    match = _AT_LINE.match(message)
    if match is None:
        return Problem(message.removeprefix("text: "), 0, min(1, len(text)))
    # As json counts them: only a line feed ends a line.
    start = 0
    for _ in range(int(match[2]) - 1):
        start = text.index("\n", start) + 1
    start = min(start + int(match[3]) - 1, len(text))
    return Problem((match[1] or "") + message[match.end() :], start, min(start + 1, len(text)))


class _Spans:
    """Where the values of a JSON text stand; the text is known to be JSON."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[_Path, _Span] = {}
        self._scan((), self._skip(0))

    def of(self, path: _Path) -> _Span:
        """The span of the value at a path, else of the innermost one around it that there is."""
        while path not in self._found and path:
            path = path[:-1]
        start, end = self._found[path]
        # A large value is marked where it begins.
        return (start, end) if end - start <= 400 else (start, start + 1)

    def of_problem(self, problem: str, path: _Path) -> _Span:
        """The span of what a message of `Schema` is about, like ``skeleton[3] = ...``."""
        match = _FIELD.match(problem)
        if match is None:
            return self.of(path)
        whole = (*path, match[1])
        if whole not in self._found:
            whole = path
        rest = problem[match.end() :]
        index = _INDEX.match(rest)
        if index:
            return self.of((*whole, int(index[1])))
        for inner in self._found:
            is_key = len(inner) == len(whole) + 1 and inner[: len(whole)] == whole
            if is_key and rest.startswith(f"[{shown(inner[-1])}]"):
                return self.of(inner)
        return self.of(whole)

    def inside(self, path: _Path, offset: int) -> _Span:
        """The span of one character of a string, by its place in the decoded string."""
        start, end = self._found[path]
        at = start + 1
        for _ in range(offset):
            if at >= end - 1:
                break
            escaped = self._text[at] == "\\"
            at += (6 if self._text[at + 1] == "u" else 2) if escaped else 1
        return at, min(at + 1, end)

    def _skip(self, at: int) -> int:
        while at < len(self._text) and self._text[at] in " \t\n\r":
            at += 1
        return at

    def _scan(self, path: _Path, at: int) -> int:
        text = self._text
        start = at
        opening = text[at]
        if opening not in "{[" or len(path) >= _DEPTH:
            _, at = _decoder.raw_decode(text, at)
        else:
            closing = "}" if opening == "{" else "]"
            at = self._skip(at + 1)
            n = 0
            while text[at] != closing:
                key: str | int = n
                if opening == "{":
                    key, at = _decoder.raw_decode(text, at)
                    at = self._skip(self._skip(at) + 1)
                at = self._skip(self._scan((*path, key), at))
                n += 1
                if text[at] == ",":
                    at = self._skip(at + 1)
            at += 1
        self._found[path] = (start, at)
        return at


_decoder = json.JSONDecoder()
