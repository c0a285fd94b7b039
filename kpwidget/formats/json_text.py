"""JSON as text: where the records of a file lie, and values replaced without touching the rest.

A labels file may be hundreds of megabytes, most of it polygons that nobody here looks at. So it is
not parsed into objects: one pass over the bytes finds the brackets and quotes, and from them the
records of the lists at the top. What is strict about JSON (a key given twice) is checked on the
way; numbers and grammar are checked by whoever decodes the records.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset.text import FileText, RecordKind
from kpwidget.schema import FormatError, _decode, _parse_json

__all__ = [
    "Style",
    "check_depth",
    "dumps",
    "encoded",
    "members",
    "scan",
    "spliced",
    "style_of",
    "with_numbers",
]

_CHUNK: Final = 1 << 18  # bytes looked at in one go: they and their masks stay in the cache
_BEHIND: Final = 256  # bytes behind a block, in which a number may go on
_BLOCK: Final = 1 << 20  # bytes given to a thread at least
_QUOTE, _BACKSLASH, _COLON = b'"\\:'
_SPACES: Final = b" \t\n\r"
_GAP: Final = re.compile(rb"[ \t\n\r]*,[ \t\n\r]*")
_SPACE: Final = re.compile(r"[ \t\n\r]*")
#: Masks that keep the first n bytes of eight, for n = 0..8.
_LOW_BYTES: Final = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
_DECODER: Final = json.JSONDecoder()
_RAW_VALUES: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
#: Levels of lists and objects; COCO needs 6, and what recurses over values can take some hundred.
_MAX_DEPTH: Final = 100
#: Without an exponent of three digits a number has to have more than these to be no float.
_MANY_DIGITS: Final = re.compile(rb"\d{200}")
_MIXER: Final = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no two names become one
_UPPER_HALVES: Final = np.uint64(0xF0F0F0F0F0F0F0F0)
_EIGHT_DIGITS: Final = np.uint64(0x3030303030303030)
#: Bytes of a list of records that may belong to no object: each may be an item of its own.
_MAX_OTHER: Final = 100_000
_NOWHERE: Final = np.empty(0, np.int64)
#: Above this size a file that is not JSON is not parsed again for a better message.
_SMALL: Final = 64_000_000


def scan(
    data: bytes, where: str, kinds: Sequence[RecordKind], *, in_thread: bool = False
) -> tuple[FileText, Callable[[], dict[RecordKind, NDArray[np.int64]]]]:
    """Find the records of the lists at the top level of a JSON object.

    Parameters
    ----------
    data : bytes
        The file.
    where : str
        Its name, for messages.
    kinds : sequence of str
        Keys of the lists looked for.
    in_thread : bool, default False
        Find the doubtful records in a thread, while the caller goes on.

    Returns
    -------
    FileText
        With the spans of the records of every list that is there.
    callable
        Returns the positions, for each list, of its doubtful records: those that seem to have a
        key twice, or a number too large for a float. Some may not: look at them.

    Raises
    ------
    FormatError
        If it is not JSON, or nested too deep. The grammar inside of records is not checked.
    """
    if not data.isascii() or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        _decode(data, where)
    tokens, codes, huge = _tokens(data)
    is_quote = codes == _QUOTE
    if np.count_nonzero(is_quote) % 2:
        raise _not_json(data, where)
    brackets, shapes, is_open, depth = _brackets(tokens, codes, is_quote)
    if not len(brackets):  # a bare value, or no JSON
        _parse_json(_decode(data, where), where)
        return FileText(data, {}, data.decode("utf-8"), {}), dict
    _check_depth(brackets, depth, where)
    if depth[-1] or (depth < 0).any() or np.any(depth[:-1] == 0):
        raise _not_json(data, where)
    quotes = tokens[is_quote]
    strings, ends = quotes[0::2], quotes[1::2]

    spans: dict[RecordKind, NDArray[np.int64]] = {}
    bounds: dict[RecordKind, tuple[int, int]] = {}
    if shapes[0] == ord("{"):
        # Lists one level down begin where the depth becomes 2 and end where it is 1 again.
        level = np.flatnonzero((depth == 2) & is_open & (shapes == ord("[")))
        closing = np.flatnonzero((depth == 1) & ~is_open)
        for i in level.tolist():
            start = int(brackets[i])
            key = _key_before(data, start, strings, ends)
            kind = next((kind for kind in kinds if kind == key), None)
            if kind is None or kind in bounds:  # given twice: the outer text below says so
                continue
            last = int(closing[np.searchsorted(closing, i)])
            if shapes[last] != ord("]"):  # beginnings and ends were counted, whatever their kind
                raise _not_json(data, where)
            bounds[kind] = (start, int(brackets[last]) + 1)
            inner = slice(i + 1, last)
            is_record = shapes[inner] == ord("{")
            starts = brackets[inner][is_record & (depth[inner] == 3)]
            stops = brackets[inner][(shapes[inner] == ord("}")) & (depth[inner] == 2)]
            spans[kind] = _checked_spans(data, bounds[kind], starts, stops, where, kind)
    outer = _outer(data, bounds)
    # Strict: this is where a key given twice at the top shows.
    _parse_json(outer, where)
    text = FileText(data, spans, outer, bounds)

    def doubtful() -> dict[RecordKind, NDArray[np.int64]]:
        result = _with_repeated_keys(data, spans, strings, ends)
        numbers = huge[np.searchsorted(quotes, huge) & 1 == 0]  # not those inside of strings
        for kind, records in spans.items() if len(numbers) else ():
            found = np.searchsorted(records[:, 0], numbers, "right") - 1
            result[kind] = np.union1d(result[kind], found[found >= 0])
        return result

    if in_thread:
        pool = ThreadPoolExecutor(1)
        future = pool.submit(doubtful)
        pool.shutdown(wait=False)
        return text, future.result
    found = doubtful()
    return text, lambda: found


def check_depth(data: bytes, where: str) -> None:
    """Raise FormatError if JSON is nested so deep that what recurses over its values fails.

    Parameters
    ----------
    data : bytes
    where : str
        Name of the file, for messages.
    """
    tokens, codes, _ = _tokens(data)
    brackets, _, _, depth = _brackets(tokens, codes, codes == _QUOTE)
    _check_depth(brackets, depth, where)


def _brackets(
    tokens: NDArray[np.int64], codes: NDArray[np.uint8], is_quote: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.bool_], NDArray[np.int32]]:
    """Places of the brackets, which they are, whether they open, and the depth behind each."""
    # Those with an odd number of quotes before them are inside of strings, and no brackets.
    is_other = np.bitwise_xor.accumulate(is_quote)
    is_other |= is_quote
    np.logical_not(is_other, out=is_other)
    shapes = codes[is_other]
    is_open = (shapes == ord("{")) | (shapes == ord("["))
    depth = np.cumsum(np.where(is_open, np.int8(1), np.int8(-1)), dtype=np.int32)
    return tokens[is_other], shapes, is_open, depth


def _check_depth(brackets: NDArray[np.int64], depth: NDArray[np.int32], where: str) -> None:
    if depth.max(initial=0) > _MAX_DEPTH:
        at = int(brackets[np.argmax(depth > _MAX_DEPTH)])
        raise FormatError.from_problems(
            where,
            [
                f"byte {at}: nested deeper than JSON can be read here, more than {_MAX_DEPTH} "
                "levels; COCO needs 6"
            ],
        )


def _tokens(data: bytes) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
    """Places of the quotes (without escaped ones) and brackets, which they are, and huge numbers.

    What looks like a number too large for a float is found on the way, also inside of strings.
    """
    bytes_ = np.frombuffer(data, np.uint8)
    # A few blocks for each of two threads.
    size = max(_BLOCK, -(-len(data) // 8 // _CHUNK) * _CHUNK)

    def found(start: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        stop = min(start + size, len(data))
        # Memory that is used again: to get it from the system takes longer than all else.
        upper, shifted = np.empty((2, _CHUNK), np.uint8)
        is_quote, is_other = np.empty((2, _CHUNK), np.bool_)
        tokens, letters = [], []
        for at in range(start, stop, _CHUNK):
            n = min(_CHUNK, stop - at)
            # With this bit set [ \\ ] are the same as { | }, which follow one another, an E is
            # an e, and a quote is itself. (A | is in strings alone, where it counts for nothing.)
            np.bitwise_or(bytes_[at : at + n], np.uint8(0x20), out=upper[:n])
            np.equal(upper[:n], _QUOTE, out=is_quote[:n])
            np.subtract(upper[:n], np.uint8(ord("{")), out=shifted[:n])
            np.less_equal(shifted[:n], 2, out=is_other[:n])
            is_quote[:n] |= is_other[:n]
            tokens.append(np.flatnonzero(is_quote[:n]) + at)
            np.equal(upper[:n], ord("e"), out=is_other[:n])
            letters.append(np.flatnonzero(is_other[:n]) + at)
        huge = _huge_numbers(bytes_, start, stop, np.concatenate(letters))
        return np.concatenate(tokens), huge

    blocks = range(0, max(len(data), 1), size)
    if len(blocks) > 1:  # numpy lets the other thread run meanwhile
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(found, blocks))
    else:
        results = [found(0)] if data else [(_NOWHERE, _NOWHERE)]
    tokens = np.concatenate([tokens for tokens, _ in results])
    huge = np.concatenate([numbers for _, numbers in results])
    del results
    codes = bytes_[tokens]
    is_backslash = codes == _BACKSLASH
    if is_backslash.any():
        at = tokens[is_backslash]
        # In a run each second backslash is itself escaped; an odd run escapes what follows.
        is_first = np.r_[True, np.diff(at) != 1]
        firsts = np.flatnonzero(is_first)
        lengths = np.diff(np.r_[firsts, len(at)])
        escaped = (at[firsts] + lengths)[lengths % 2 == 1]
        keep = ~is_backslash & ~np.isin(tokens, escaped, assume_unique=True)
        tokens, codes = tokens[keep], codes[keep]
    return tokens, codes, huge


def _huge_numbers(
    bytes_: NDArray[np.uint8], start: int, stop: int, letters: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Places of exponents of three digits, and of very many digits in a row, in a block.

    `letters` are the places of every e and E in it.
    """

    def is_digit(at: NDArray[np.int64]) -> NDArray[np.bool_]:
        return bytes_[np.minimum(at, len(bytes_) - 1)] - np.uint8(ord("0")) <= 9

    # Most follow a letter. (The one before the first byte is the last: a number is not either.)
    at = letters[bytes_[letters - 1] <= ord("9")]
    at = at[is_digit(at - 1)]
    if len(at):
        first = at + 1
        first += bytes_[np.minimum(first, len(bytes_) - 1)] == ord("+")
        at = at[is_digit(first) & is_digit(first + 1) & is_digit(first + 2)]
    # So many digits in a row have four whole eights among each fifth: 3 is their upper half.
    block = bytes_[start : stop + _BEHIND]
    eights = block[: len(block) // 8 * 8].view(np.uint64)[::5] & _UPPER_HALVES == _EIGHT_DIGITS
    if (eights[3:] & eights[2:-1] & eights[1:-2] & eights[:-3]).any():
        many = [start + match.start() for match in _MANY_DIGITS.finditer(block.tobytes())]
        at = np.union1d(at, np.array(many, np.int64))
    return at


def _not_json(data: bytes, where: str) -> FormatError:
    """Return the error of a file that is not JSON, saying where."""
    if len(data) <= _SMALL:
        try:
            _parse_json(_decode(data, where), where)
        except FormatError as error:
            return error
    try:
        msgspec.json.Decoder(msgspec.Raw).decode(data)
    except msgspec.DecodeError as error:
        return FormatError.from_problems(where, [f"not JSON: {error}"])
    return FormatError.from_problems(where, ["not JSON: its brackets do not match"])


def _key_before(
    data: bytes, start: int, strings: NDArray[np.int64], ends: NDArray[np.int64]
) -> str | None:
    """Key of the value that begins at `start`, None if it has none."""
    i = int(np.searchsorted(strings, start)) - 1
    if i < 0 or data[int(ends[i]) + 1 : start].strip(_SPACES) != b":":
        return None
    try:
        key = json.loads(data[int(strings[i]) : int(ends[i]) + 1])
    except ValueError:  # a control character inside a string; the strict parse says so
        return None
    return str(key)


def _checked_spans(
    data: bytes,
    bounds: tuple[int, int],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    where: str,
    kind: RecordKind,
) -> NDArray[np.int64]:
    """Begin and end of each item of a list, after a look at what stands between them."""
    first, last = bounds[0] + 1, bounds[1] - 1
    if len(starts) != len(stops):
        raise _not_json(data, where)
    # What is between the objects, and before and after all.
    ends = np.concatenate([[first], stops + 1])
    begins = np.concatenate([starts, [last]])
    other = [] if len(starts) == 0 else _other_gaps(data, ends[1:-1], begins[1:-1])
    spans = np.stack([starts, stops + 1], axis=1)
    items: list[tuple[int, int]] = []
    n_bytes = 0
    for i in [0, *(i + 1 for i in other), *([len(starts)] if len(starts) else [])]:
        begin, end = int(ends[i]), int(begins[i])
        # Items that are no objects stand there, or it is not JSON.
        text = data[begin:end] if begin <= end else b"?"
        is_after, is_before = i > 0, i < len(starts)
        inner = text.strip(_SPACES)
        if not inner and not (is_after and is_before):
            continue
        if (is_after and inner[:1] != b",") or (is_before and inner[-1:] != b","):
            raise _not_json(data, where)
        if is_after and is_before and inner == b",":
            continue
        n_bytes += len(inner)
        if n_bytes > _MAX_OTHER:
            raise FormatError.from_problems(
                where,
                [f"byte {begin}: {kind!r} has more than {_MAX_OTHER} bytes of what are no objects"],
            )
        items += _items(text, begin, is_after, is_before, lambda: _not_json(data, where))
    if not items:
        return spans
    spans = np.concatenate([spans, np.array(items, np.int64)])
    return spans[np.argsort(spans[:, 0], kind="stable")]


def _items(
    text: bytes, at: int, is_after: bool, is_before: bool, error: Callable[[], FormatError]
) -> Iterator[tuple[int, int]]:
    """Begin and end of what stands between objects; `at` is where the text begins."""
    start = text.index(b",") + 1 if is_after else 0
    end = text.rindex(b",") if is_before else len(text)
    try:
        items = msgspec.json.Decoder(list[msgspec.Raw]).decode(b"[" + text[start:end] + b"]")
    except (msgspec.DecodeError, RecursionError):
        raise error() from None
    if not items:
        raise error()
    for item in items:
        raw = bytes(item)
        start = text.index(raw, start)  # only spaces and commas stand before it
        yield at + start, at + start + len(raw)
        start += len(raw)


def _other_gaps(data: bytes, ends: NDArray[np.int64], begins: NDArray[np.int64]) -> list[int]:
    """Which gaps between records are no comma. Mostly all have the same text."""
    if not len(ends):
        return []
    first = data[int(ends[0]) : int(begins[0])]
    is_other = begins - ends != len(first)
    if not is_other.any():
        places = ends[:, None] + np.arange(len(first))
        there = np.frombuffer(data, np.uint8)[places]
        is_other = (there != np.frombuffer(first, np.uint8)).any(axis=1)
    if not _GAP.fullmatch(first):
        is_other[:] = True
    return [
        i
        for i in np.flatnonzero(is_other).tolist()
        if not _GAP.fullmatch(data[int(ends[i]) : int(begins[i])])
    ]


def _outer(data: bytes, bounds: Mapping[RecordKind, tuple[int, int]]) -> str:
    """Return the text of the file with its lists of records empty."""
    parts, at = [], 0
    for start, end in sorted(bounds.values()):
        parts += [data[at:start], b"[]"]
        at = end
    return b"".join([*parts, data[at:]]).decode("utf-8")


def _with_repeated_keys(
    data: bytes,
    spans: Mapping[RecordKind, NDArray[np.int64]],
    strings: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> dict[RecordKind, NDArray[np.int64]]:
    """Return the records in which a key may be given twice, none of those that have one left out.

    Keys are told apart by their length and their first eight bytes, whatever the depth.
    """
    bytes_ = np.frombuffer(data, np.uint8)
    # Every eight bytes in a row as one number, padded so that there are some.
    padded = data if len(data) >= 1024 else data + bytes(8)
    words = np.ndarray(len(padded) - 7, "<u8", padded, strides=(1,))
    escapes = np.flatnonzero(bytes_ == _BACKSLASH) if b"\\" in data else np.empty(0, np.int64)
    found: dict[RecordKind, NDArray[np.int64]] = {}
    for kind, records in spans.items():
        if not len(records):
            found[kind] = np.empty(0, np.int64)
            continue
        low, high = np.searchsorted(strings, (records[0, 0], records[-1, 1]))
        begin, end = strings[low:high], ends[low:high]
        after = bytes_[end + 1]
        # A colon, or a space before what may be one.
        is_key = (after == _COLON) | (after <= 32)
        begin, end = begin[is_key], end[is_key]
        # The keys of a record stand together.
        firsts = np.searchsorted(begin, np.append(records[:, 0], records[-1, 1]))
        begin += 1
        lengths = end - begin
        # There are no eight bytes any more where the file ends.
        cut_off = begin[begin >= len(words)]
        np.minimum(begin, len(words) - 1, out=begin)
        repeated = _with_repeated_names(words, begin, lengths, firsts)
        # Escapes can spell one key in two ways.
        low, high = np.searchsorted(escapes, (records[0, 0], records[-1, 1]))
        others = np.concatenate([escapes[low:high], cut_off])
        others = np.searchsorted(records[:, 0], others, "right") - 1
        found[kind] = np.array(sorted({*repeated, *others.tolist()}), np.int64)
    return found


def _with_repeated_names(
    words: NDArray[np.uint64],
    begin: NDArray[np.int64],
    lengths: NDArray[np.int64],
    firsts: NDArray[np.int64],
) -> list[int]:
    """Records that have a key twice; those of record i are ``firsts[i] : firsts[i + 1]``."""
    sizes = np.minimum(lengths, 8)
    names = words[begin]
    names &= _LOW_BYTES[sizes]
    names *= _MIXER
    names += lengths.astype(np.uint64)
    found: list[int] = []
    counts = np.diff(firsts)
    different = np.flatnonzero(np.bincount(counts)).tolist()
    for count in different:
        if count == 0:
            continue
        if len(different) == 1:
            records, of_record = np.arange(len(counts)), names.reshape(-1, count)
        else:
            records = np.flatnonzero(counts == count)
            of_record = names[firsts[records][:, None] + np.arange(count)]
        # Most have the keys of the first one, in the same order.
        first = of_record[0]
        is_other = (of_record != first).any(axis=1)
        if len(set(first.tolist())) < count:
            found += records[~is_other].tolist()
        if is_other.any():
            mixed = np.sort(of_record[is_other], axis=1)
            is_repeated = (mixed[:, 1:] == mixed[:, :-1]).any(axis=1)
            found += records[is_other][is_repeated].tolist()
    return found


# --- values inside of a record --------------------------------------------------------------------


class Member(NamedTuple):
    """One key and value of an object, with the places of both in its text.

    Attributes
    ----------
    key : str
    start, value_start, end : int
        Where the key begins, where its value begins, and where that ends.
    """

    key: str
    start: int
    value_start: int
    end: int


def members(text: str) -> list[Member]:
    """Members of the JSON object that `text` is, in their order.

    Parameters
    ----------
    text : str
        Well-formed JSON, perhaps with space around it.
    """
    decode = _DECODER.raw_decode
    found = []
    at = _space(text, _space(text, 0) + 1)  # behind the {
    while text[at] != "}":
        key, end_of_key = decode(text, at)
        value_start = _space(text, _space(text, end_of_key) + 1)  # behind the colon
        _, end = decode(text, value_start)
        found.append(Member(key, at, value_start, end))
        at = _space(text, end)
        if text[at] == ",":
            at = _space(text, at + 1)
    return found


def _space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def values_of(text: str, gaps: Sequence[str] = ()) -> tuple[dict[str, str], Sequence[str]]:
    """Texts of the values of an object by their keys, and what stands around and between them.

    Parameters
    ----------
    text : str
        A JSON object.
    gaps : sequence of str
        Those of another object: if this one is laid out like that, it is four times as fast.
    """
    try:
        found = {key: bytes(raw).decode() for key, raw in _RAW_VALUES.decode(text).items()}
    except (msgspec.MsgspecError, UnicodeError, RecursionError):  # half a surrogate pair, say
        found = {}
    if len(gaps) == len(found) + 1 and joined(found.values(), gaps) == text:
        return found, gaps
    there = members(text)
    begins = [*(member.value_start for member in there), len(text)]
    ends = [0, *(member.end for member in there)]
    found = {member.key: text[member.value_start : member.end] for member in there}
    return found, [text[a:b] for a, b in zip(ends, begins, strict=True)]


def joined(values: Collection[str], gaps: Sequence[str]) -> str:
    """Text of an object, of what `values_of` gives: there is one more gap than values."""
    parts = [""] * (2 * len(values) + 1)
    parts[::2], parts[1::2] = gaps, values
    return "".join(parts)


def object_of(text: str) -> dict[str, Any]:
    """The object that `text` is."""
    try:
        value: dict[str, Any] = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        value = json.loads(text)
    return value


def spliced(text: str, changes: Mapping[str, str]) -> str:
    """Text of an object with some values replaced or added, all else as it was.

    Parameters
    ----------
    text : str
        A JSON object.
    changes : mapping of str to str
        New values by their keys, as JSON text. A key that is not there is added at the end.
    """
    there = members(text)
    parts, at = [], 0
    for member in there:
        if member.key in changes:
            parts += [text[at : member.value_start], changes[member.key]]
            at = member.end
    known = {member.key for member in there}
    added = {key: value for key, value in changes.items() if key not in known}
    if added:
        if len(there) > 1:
            between = text[there[0].end : there[1].start]
            colon = text[there[0].start : there[0].value_start]
            colon = colon[colon.rindex(":") :]
            before = between
        else:
            before, between, colon = ", " if there else "", ", ", ": "
        end = there[-1].end if there else _space(text, 0) + 1
        parts.append(text[at:end])
        for i, (key, value) in enumerate(added.items()):
            parts.append(f"{between if i else before}{json.dumps(key)}{colon}{value}")
        at = end
    return "".join([*parts, text[at:]])


def with_numbers(text: str, numbers: Sequence[float]) -> str:
    """Text of a list of numbers with those replaced that differ, the others digit for digit.

    Parameters
    ----------
    text : str
        A JSON list of as many numbers.
    numbers : sequence of float
    """
    parts, at = [], 0
    for match, number in zip(_NUMBER.finditer(text), numbers, strict=True):
        if float(match.group()) != number:
            parts += [text[at : match.start()], number_text(number)]
            at = match.end()
    return "".join([*parts, text[at:]])


def with_points(text: str, numbers: Sequence[float]) -> str:
    """Text of a list with other keypoints, laid out as before, and digit for digit where equal.

    Parameters
    ----------
    text : str
        A JSON list of numbers.
    numbers : sequence of float
        x, y, visibility of as many keypoints as there are to be.
    """
    first = _NUMBER.search(text)
    second = None if first is None else _NUMBER.search(text, first.end())
    lead, between, tail = "[", ", ", "]"
    found: list[str] = []
    if first is not None:
        lead, inner = text[: first.start()], text[first.start() :].rstrip("] \t\n\r")
        tail = text[len(lead) + len(inner) :]
        if second is not None:
            between = text[first.end() : second.start()]
        found = inner.split(between)
        if "," in between and len(found) <= inner.count(","):  # not all stand as the first two
            found = _NUMBER.findall(inner)
    places = {float(part): part for part in (*found[0::3], *found[1::3])}
    places.setdefault(0.0, "0")
    flags = {0.0: "0", 1.0: "1", 2.0: "2", **{float(part): part for part in found[2::3]}}
    written = [places.get(number) or number_text(number) for number in numbers]
    written[2::3] = [flags.get(flag) or number_text(flag) for flag in numbers[2::3]]
    return lead + between.join(written) + tail


def without(text: str, keys: Collection[str]) -> str:
    """Text of an object without some of its members, all else as it was.

    Parameters
    ----------
    text : str
        A JSON object.
    keys : collection of str
        Those that are not there do not matter.
    """
    there = members(text)
    kept = [member for member in there if member.key not in keys]
    if not there or len(kept) == len(there):
        return text
    between = text[there[0].end : there[1].start] if len(there) > 1 else ""
    inner = between.join(text[member.start : member.end] for member in kept)
    return text[: there[0].start] + inner + text[there[-1].end :]


def number_text(number: float) -> str:
    """JSON text of a number, the shortest that reads back equal."""
    if isinstance(number, float) and math.isfinite(number):
        return float.__repr__(number)  # as json does
    return json.dumps(number, allow_nan=False)


# --- how a file is laid out -----------------------------------------------------------------------


@dataclass(frozen=True)
class Style:
    """How the JSON of a file is laid out.

    Attributes
    ----------
    indent : int, str or None
        As of `json.dumps`.
    separators : tuple of str
    depth : int
        How many levels of indentation a record stands at.
    is_ascii : bool
        Whether other characters are escaped.
    """

    indent: int | str | None = None
    separators: tuple[str, str] = (", ", ": ")
    depth: int = 0
    is_ascii: bool = False


def dumps(value: Any, style: Style | None = None) -> str:
    """JSON text of a value; NaN and Infinity raise ValueError."""
    style = style or Style()
    text = json.dumps(
        value,
        ensure_ascii=style.is_ascii,
        allow_nan=False,
        indent=style.indent,
        separators=style.separators,
    )
    if style.indent is not None:
        unit = " " * style.indent if isinstance(style.indent, int) else style.indent
        # No string of JSON has a line end in it, so every one is of the layout.
        text = text.replace("\n", "\n" + unit * style.depth)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair has no UTF-8, but it has an escape
        return dumps(value, Style(style.indent, style.separators, style.depth, is_ascii=True))
    return text


def encoded(value: Any) -> bytes:
    """JSON of a value as UTF-8; several times as fast as `dumps`, without a layout."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # see `dumps`
        return json.dumps(value, allow_nan=False).encode()


def style_of(text: FileText) -> Style:
    """Layout that gives the records of a file again, or the default one if none does."""
    samples = [
        text.raw(kind, position).decode("utf-8")
        for kind in ("annotations", "images", "categories")
        for position in range(min(2, len(text.spans.get(kind, ()))))
    ]
    samples = [sample for sample in samples if _is_strict(sample)]
    for sample in samples:
        for style in _styles(sample):
            if dumps(json.loads(sample), style) == sample:
                return style
    for sample in samples:  # number formats may keep every style from fitting
        for style in _styles(sample):
            if _laid_out(sample, style):
                return style
    return Style()


def _is_strict(sample: str) -> bool:
    """Whether a record has no NaN; one that was left out may."""
    try:
        dumps(json.loads(sample))
    except ValueError:
        return False
    return True


def _styles(sample: str) -> Iterator[Style]:
    is_ascii = sample.isascii() and "\\u" in sample
    if "\n" not in sample:
        for item in (", ", ","):
            for colon in (": ", ":"):
                yield Style(None, (item, colon), 0, is_ascii)
        return
    last = sample.rsplit("\n", 1)[1]
    outside = last[: len(last) - len(last.lstrip(" \t"))]
    second = sample.split("\n", 2)[1]
    inside = second[: len(second) - len(second.lstrip(" \t"))]
    unit = inside[len(outside) :]
    if unit and inside.startswith(outside):
        depth = len(outside) // len(unit)
        for colon in (": ", ":"):
            yield Style(unit, (",", colon), depth, is_ascii)


def _laid_out(sample: str, style: Style) -> bool:
    """Whether the text has this layout, its numbers and strings not looked at."""
    pattern = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*')
    return pattern.sub("0", dumps(json.loads(sample), style)) == pattern.sub("0", sample)
