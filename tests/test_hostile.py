"""Files from strangers: every input gives an error in words or a dataset that is right.

The fuzzers below change real files and generated ones at random, with fixed seeds. What comes out
is compared with a naive reader of a few lines that knows nothing of how kpwidget reads. The
environment variable KPWIDGET_FUZZ=n tries n times as many inputs.
"""

from __future__ import annotations

import contextlib
import html
import io
import json
import math
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import textwrap
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from PIL import Image

from kpwidget import formats
from kpwidget.dataset import Dataset
from kpwidget.formats import coco_columns, json_text, mmpose, yolo
from kpwidget.images import ImageError, ImageSource
from kpwidget.schema import FormatError, Schema

SHARED = Path(__file__).resolve().parents[2] / "shared"
FUZZ = max(1, int(os.environ.get("KPWIDGET_FUZZ", "1")))
MAX_SECONDS = 2.0  # of processor time, for one input

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no files at {SHARED}")
pytestmark = [
    pytest.mark.timeout(120 * FUZZ),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # about what stays in the file unread
]


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small files are written: no disk needs to have them."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


# --- changing files ------------------------------------------------------------------------------

JSON_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|[{}\[\],:]', re.DOTALL)
BEFORE_VALUE = re.compile(rb"[ \t\r\n]*:")
TEXT_TOKEN = re.compile(rb"[^\s,:\[\]{}]+|[,:\[\]{}]|[ \t]+|\r?\n")
HOSTILE = [
    *(b"null", b"true", b"false", b'""', b'"x"', b'"1"', b'" "', b"[]", b"{}", b"[[]]", b"[{}]"),
    *(b"0", b"-0", b"-0.0", b"1", b"2", b"3", b"-1", b"0.5", b"1.0", b"2.0", b"1e0", b"17", b"1e2"),
    *(b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1e308", b"1e-400", b"1e100"),
    *(b"2147483648", b"9007199254740993", b"9223372036854775807", b"9223372036854775808"),
    *(b"-9223372036854775808", b"-9223372036854775807", b"1" * 30, b"9" * 400, b"1" * 5000),
    *(b"0." + b"3" * 400, b"1" * 250 + b"e99", b"01", b"1.", b".5", b"+1", b"0x10", b"1_0", b"1e"),
    *(b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b"[1,2,3]", b"[0,0,0]", b"[0,0,0,0]", b"[1e400]"),
    *(b"[" * 60 + b"]" * 60, b"[" * 300 + b"]" * 300, b"[" * 3000 + b"]" * 3000, b"[" * 3000),
    *(b'{"a":' * 300 + b"1" + b"}" * 300, b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\u0000"'),
    *(b'"\\x"', b'"\\ud83d"', b'"\\u12"'),
    *(b'"\x00"', b'"\x02"', b'"\n"', b'"\xff"', b'"\xed\xa0\x80"', b"'x'", b"undefined", b"/**/"),
    *(b'"<img src=x onerror=alert(1)>"', '"Käfer 虫 😀\u2028"'.encode(), b'"../../etc/passwd"'),
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b'{"id":1}', b'"id"', b'"keypoints"'),
    *(b'"' + b"x" * 5000 + b'"', b'"a\\/b"', b'"\\"]}"', b'"\\\\"', b"\xef\xbb\xbf", b"\xc2\xa0"),
]


def is_json(data: bytes) -> bool:
    """Whether Python reads it, strict or not."""
    try:
        json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return False
    return True


HOSTILE_VALUES = [token for token in HOSTILE if is_json(token)]
SPECIAL_BYTES = b'"\\{}[],:\x00\x02\x0b\x0c\x1f \t\n\r\x7f\xa0\xc2\xff019-+.eEx'


class Mutator:
    """Random changes of one file.

    Parameters
    ----------
    data : bytes
    token : re.Pattern
        Of what the file consists.
    """

    def __init__(self, data: bytes, token: re.Pattern[bytes] = JSON_TOKEN) -> None:
        self.data = data
        self.spans = [match.span() for match in token.finditer(data)]
        self.keys = [
            (start, end)
            for start, end in self.spans
            if data[start : start + 1] == b'"' and BEFORE_VALUE.match(data, end)
        ]
        keys = set(self.keys)
        self.values = [
            (start, end)
            for start, end in self.spans
            if data[start] not in b"{}[],: \t\r\n" and (start, end) not in keys
        ]

    def __call__(self, rng: random.Random) -> bytes:
        """One changed copy."""
        changes = [self.value] * 8 + [self.token] * 3 + [self.bytes] * 2 + [self.key] * 2
        changes += [self.whole] * (rng.random() < 0.5)
        # Several changes at once hide one another: mostly it is one.
        n_changes = rng.choice((1, 1, 1, 2, 3))
        data = rng.choice(changes)(rng)
        for _ in range(n_changes - 1):
            data = Mutator(data).bytes(rng) if rng.random() < 0.3 else self.again(rng, data)
        return data

    def again(self, rng: random.Random, data: bytes) -> bytes:
        """Change a token of a file that was changed."""
        return Mutator(data).token(rng)

    def value(self, rng: random.Random) -> bytes:
        """Put another value, or several, in place of some: what comes out may well be JSON."""
        data = self.data
        if not self.values:
            return self.token(rng)
        chosen = {rng.choice(self.values) for _ in range(rng.choice((1, 1, 2)))}
        for start, end in sorted(chosen, reverse=True):
            value = rng.choice(HOSTILE_VALUES)
            if rng.random() < 0.3:
                c, d = rng.choice(self.values)
                value = self.data[c:d]
            data = data[:start] + value + data[end:]
        return data

    def token(self, rng: random.Random) -> bytes:
        """Replace, remove, double or swap tokens."""
        if not self.spans:
            return self.bytes(rng)
        data, (a, b) = self.data, rng.choice(self.spans)
        kind = rng.randrange(8)
        if kind < 4:
            return data[:a] + rng.choice(HOSTILE) + data[b:]
        if kind == 4:
            return data[:a] + data[b:]
        if kind == 5:
            return data[:b] + rng.choice((b"", b",", b" ")) + data[a:b] + data[b:]
        (c, d) = rng.choice(self.spans)
        if kind == 6:
            return data[:a] + data[c:d] + data[b:]
        (a, b), (c, d) = sorted([(a, b), (c, d)])
        return data if b > c else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]

    def key(self, rng: random.Random) -> bytes:
        """Give a key twice, in another spelling, or in place of another."""
        if not self.keys:
            return self.token(rng)
        data, (a, b) = self.data, rng.choice(self.keys)
        name = data[a + 1 : b - 1]
        kind = rng.randrange(4)
        if kind == 0:
            return data[:a] + data[a:b] + b":" + rng.choice(HOSTILE) + b"," + data[a:]
        spelled = b'"' + b"".join(b"\\u%04x" % c for c in name) + b'"'
        if kind == 1:
            return data[:a] + spelled + data[b:]
        if kind == 2:
            return data[:a] + spelled + b":1," + data[a:]
        c, d = rng.choice(self.keys)
        return data[:a] + data[c:d] + data[b:]

    def bytes(self, rng: random.Random) -> bytes:
        """Flip, set, insert, remove, double or cut off bytes."""
        data = self.data
        at, n = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 7, 40, 400))
        kind = rng.randrange(7)
        if kind == 0 and at < len(data):
            return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        if kind == 1:
            return data[:at] + bytes([rng.choice(SPECIAL_BYTES)]) + data[at + 1 :]
        if kind == 2:
            return data[:at] + bytes([rng.choice(SPECIAL_BYTES)]) + data[at:]
        if kind == 3:
            return data[:at] + data[at + n :]
        if kind == 4:
            return data[: at + n] + data[at:]
        if kind == 5:
            return data[:at]
        return data[at:]

    def whole(self, rng: random.Random) -> bytes:
        """Change the file as a whole: its encoding, what stands around it."""
        data = self.data
        kind = rng.randrange(8)
        if kind == 0:
            return b"\xef\xbb\xbf" + data
        if kind < 4:
            text = data.decode("utf-8", "replace")
            return text.encode(("utf-16", "utf-16-le", "utf-32")[kind - 1])
        if kind == 4:
            return data + data
        if kind == 5:
            return data.replace(b" ", b"").replace(b"\n", b"")
        if kind == 6:
            return rng.choice((b" ", b"\n\n", b"\x0b", b"\x00", b",")) + data
        return data + rng.choice((b" ", b"\n\n", b"\x0b", b"\x00", b",", b"]", b"}"))


# --- what may happen -----------------------------------------------------------------------------


def attempt(read: Callable[[], Any], path: Path) -> Any:
    """What a reader returns, or the error it raises; fails if that is none in words."""
    started = time.process_time()
    try:
        result = read()
    except (ValueError, OSError) as error:
        result = error
    took = time.process_time() - started
    assert took <= MAX_SECONDS, f"took {took:.1f} s"
    if isinstance(result, Exception):
        text = str(result)
        assert str(path) in text, f"{type(result).__name__} does not name the file: {text}"
        assert len(text.splitlines()) <= 400
        for line in text.splitlines():
            assert 10 < len(line) <= 2000, f"unclear: {line[:300]!r}"
            assert line.isprintable(), f"unclear: {line[:300]!r}"
    return result


@contextlib.contextmanager
def kept_on_failure(data: bytes, name: str) -> Iterator[None]:
    """Say what the input was if something fails."""
    try:
        yield
    except BaseException as error:
        folder = Path(os.environ.get("KPWIDGET_FUZZ_FAILURES", "."))
        if "KPWIDGET_FUZZ_FAILURES" in os.environ:
            (folder / f"{name}-{abs(hash(data)) % 10**8}").write_bytes(data)
        error.add_note(f"{name}, {len(data)} bytes: {data[:300]!r}")
        raise


class Refused(Exception):
    """The naive reader finds that the file, or a record, has to be refused."""


class NoOpinion(Exception):
    """The naive reader does not know."""


def strict(data: bytes) -> Any:
    """Value of strict JSON: no BOM, key given twice, NaN, or number too large for a float."""

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise Refused("a key twice")
        return dict(pairs)

    def number(text: str) -> float:
        if not math.isfinite(float(text)):
            raise Refused(text)
        return float(text)

    try:
        text = data.decode("utf-8")
        return json.loads(
            text, object_pairs_hook=object_of, parse_constant=number, parse_float=number
        )
    except (ValueError, RecursionError) as error:
        raise Refused(str(error)) from error


def depth_of(value: Any) -> int:
    """Levels of lists and objects."""
    deepest, waiting = 0, [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        deepest = max(deepest, depth)
        if isinstance(item, list | dict):
            inner = item.values() if isinstance(item, dict) else item
            waiting += [(x, depth + 1) for x in inner]
    return deepest


def is_int(value: Any) -> bool:
    return type(value) is int


def is_id(value: Any) -> bool:
    return is_int(value) and -(2**63) < value < 2**63


def is_number(value: Any) -> bool:
    return (is_int(value) and abs(value) < 10**308) or type(value) is float


def is_side(value: Any) -> bool:
    return is_number(value) and abs(value) <= 1e100


def is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def edges_fit(skeleton: Any, names: list[str]) -> bool:
    """Whether what is left of a skeleton, without edges out of range, are pairs of keypoints."""
    if skeleton is None:
        return True
    if not isinstance(skeleton, list):
        return False
    numbers = [list(filter(is_int, edge)) if isinstance(edge, list) else [] for edge in skeleton]
    is_in = [all(1 <= n <= len(names) for n in ends) for ends in numbers]
    if any(0 in ends for ends in numbers):
        return True
    left = [edge for edge, keep in zip(skeleton, is_in, strict=True) if keep]
    return all(
        isinstance(edge, list)
        and len(edge) == 2
        and (all(map(is_int, edge)) or all(isinstance(e, str) and e in names for e in edge))
        and edge[0] != edge[1]
        for edge in left
    )


def naive_coco(data: bytes) -> tuple[list[Any], dict[int, Any], list[Any], int]:
    """Images, categories and instances of a COCO file, and the number of bad records."""
    value = strict(data)
    if depth_of(value) > 50:
        raise NoOpinion
    top = value if isinstance(value, dict) else {}
    lists = [top.get("images"), top.get("categories"), top.get("annotations", [])]
    if not all(isinstance(items, list) for items in lists):
        raise Refused("no COCO file")
    n_bad = 0
    first: dict[Any, Any] = {}
    categories: dict[int, Any] = {}
    for record in lists[1]:
        number = record.get("id") if isinstance(record, dict) else None
        if not is_id(number) or number in first:
            n_bad += not is_id(number) or record != first[number]
            continue
        first[number] = record
        names = record.get("keypoints")
        if names is None or names == []:
            categories[number] = None
            continue
        texts = [record.get("name"), *(names if isinstance(names, list) else [None])]
        if any(isinstance(t, str) and t.strip() and not t.isprintable() for t in texts):
            raise NoOpinion
        supercategory = record.get("supercategory")
        is_good = all(map(is_name, texts)) and len(set(names)) == len(names)
        is_good = is_good and (supercategory is None or isinstance(supercategory, str))
        if is_good and edges_fit(record.get("skeleton"), names):
            categories[number] = (record["name"], tuple(names))
            if len(names) == 17 and b"_kpts" in data:
                raise NoOpinion
        else:
            n_bad += 1
    images: dict[Any, Any] = {}
    first = {}
    for record in lists[0]:
        number = record.get("id") if isinstance(record, dict) else None
        is_key = is_id(number) or (isinstance(number, str) and number)
        if not is_key or number in images:
            n_bad += not is_key or record != first[number]
            continue
        size = [record.get("width"), record.get("height")]
        good = [n is None or (is_number(n) and n >= 1 and n % 1 == 0) for n in size]
        if not (isinstance(record.get("file_name"), str) and record["file_name"] and all(good)):
            n_bad += 1
            continue
        first[number] = record
        images[number] = (record["file_name"], None if None in size else tuple(map(int, size)))
    instances = []
    seen = set()
    for record in lists[2]:
        try:
            found = naive_annotation(record, images, categories)
            if record["id"] in seen:
                raise Refused("an id twice")
            seen.add(record["id"])
            instances += [found] if found else []
        except Refused:
            n_bad += 1
    with_keypoints = {number: found for number, found in categories.items() if found}
    return list(images.items()), with_keypoints, instances, n_bad


def naive_annotation(record: Any, images: Any, categories: Any) -> tuple[Any, ...] | None:
    """Values of an annotation; None without keypoints."""
    if not isinstance(record, dict) or not is_id(record.get("id")):
        raise Refused("no id")
    image_id, category_id = record.get("image_id"), record.get("category_id")
    is_key = is_int(image_id) or isinstance(image_id, str)
    if not is_key or image_id not in images or not is_int(category_id):
        raise Refused("no such image")
    if category_id not in categories:
        raise Refused("no such category")
    if categories[category_id] is None:
        return None
    n = len(categories[category_id][1])
    flat = record.get("keypoints")
    flat = [0] * (3 * n) if flat is None else flat
    if not isinstance(flat, list) or len(flat) != 3 * n or not all(map(is_number, flat)):
        raise Refused("keypoints")
    points = [[float(value) for value in flat[i : i + 3]] for i in range(0, 3 * n, 3)]
    if any(abs(x) > 1e100 or abs(y) > 1e100 or not 0 <= v <= 2 for x, y, v in points):
        raise Refused("a point")
    bbox, area, score = record.get("bbox"), record.get("area"), record.get("score")
    if bbox is not None:
        if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_side, bbox)):
            raise Refused("bbox")
        bbox = tuple(map(float, bbox))
    if not all(value is None or is_number(value) for value in (area, score)):
        raise Refused("area")
    area, score = (None if value is None else float(value) for value in (area, score))
    if record.get("iscrowd") not in (None, 0, 1):
        raise Refused("iscrowd")
    if bbox is not None and not any(bbox) and not any(v for _, _, v in points):
        bbox, area = None, area or None  # so are instances without a box written
    iscrowd = int(record.get("iscrowd") or 0)
    track = record.get("track_id")
    return record["id"], image_id, category_id, points, bbox, area, score, iscrowd, track


def content_of(dataset: Dataset) -> tuple[list[Any], dict[int, Any], list[Any]]:
    """What `naive_coco` finds, of a dataset."""
    images = []
    for image in dataset.images:
        size = dataset._images[image.index].recorded_size
        images.append((image.id, (image.file_name, size)))
    categories = {c.id: (c.name, c.keypoints) for c in dataset.categories}
    instances = [
        (
            i.id,
            i.image.id,
            i.category.id,
            i.raw.tolist(),
            i.bbox if i.bbox_source == "given" else None,
            i._get("area"),
            i.score,
            i.iscrowd,
            i.track_id,
        )
        for i in dataset.instances
    ]
    return images, categories, instances


def check_coco(data: bytes, path: Path) -> str:
    """Read a COCO file and compare; what happened in a word."""
    path.write_bytes(data)
    expected, n_bad = None, 0
    try:
        *expected, n_bad = naive_coco(data)
    except NoOpinion:
        n_bad = -1
    except Refused:
        n_bad = 1
    assert formats.detect_format(path) in formats.FORMATS
    found = attempt(lambda: formats.read(path, format="coco"), path)
    if isinstance(found, Exception):
        assert isinstance(found, FormatError), found
        assert n_bad != 0, f"refused what is right: {found}"
    else:
        assert n_bad <= 0, "a bad record was taken"
        if expected is not None:
            assert content_of(found) == tuple(expected)
        check_use(found, data, path)
        return "read"
    skipped = attempt(lambda: formats.read(path, format="coco", on_error="skip"), path)
    if isinstance(skipped, Exception):
        assert isinstance(skipped, FormatError), skipped
        return "refused"
    assert is_json(data), "a file that is no JSON was read"
    assert skipped.skipped
    if expected is not None:
        assert content_of(skipped) == tuple(expected)
    check_use(skipped, data, path)
    return "read in part"


def check_use(dataset: Dataset, data: bytes, path: Path) -> None:
    """Whatever was read can be shown, and written as it was; one edit changes one record."""
    out = path.with_name("out.json")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.to_pandas()
        dataset._repr_html_()
        dataset.validate()
        for view in (*dataset.images[:20], *dataset.instances[:20]):
            dict(view.extra)
    formats.write(dataset, out, format="coco")
    assert out.read_bytes() == data, "not written as it was"
    if not len(dataset.instances):
        return
    instance = dataset.instances[len(dataset.instances) // 2]
    instance.set_keypoint(0, 1.25, 2.75, visibility=1)
    formats.write(dataset, out, format="coco")
    old, new = (json.loads(text)["annotations"] for text in (data, out.read_bytes()))
    changed = [i for i, (a, b) in enumerate(zip(old, new, strict=True)) if repr(a) != repr(b)]
    assert len(changed) <= 1
    assert all(new[i]["id"] == instance.id for i in changed)
    assert instance.raw[0].tolist() == [1.25, 2.75, 1]


# --- COCO ----------------------------------------------------------------------------------------

NAMES = ["nose", "left_eye", "right_eye", "tail"]


def generated_coco(rng: random.Random) -> bytes:
    """A small COCO file with what such files may have."""
    n_keypoints = rng.randint(1, 4)
    images = [
        {"id": rng.choice((i, i, f"i{i}")), "file_name": f"{i}.png", "width": 64, "height": 48}
        for i in range(rng.randint(0, 4))
    ]
    annotations = []
    for i in range(rng.randint(0, 6) if images else 0):
        points = [rng.choice((0, 7, 12.5, -3)) for _ in range(3 * n_keypoints)]
        points[2::3] = [rng.choice((0, 1, 2)) for _ in range(n_keypoints)]
        record: dict[str, Any] = {
            "id": rng.choice((i, 10**15 + i)),
            "image_id": rng.choice(images)["id"],
            "category_id": rng.choice((1, 1, 1, 9)),
            "keypoints": rng.choice((points, points, points, None, [0] * (3 * n_keypoints))),
        }
        if record["category_id"] == 9:
            del record["keypoints"]
        optional = {
            "bbox": rng.choice(([1, 2, 3, 4], [0, 0, 0, 0], [1.5, 2, 3.25, 0], None)),
            "area": rng.choice((12, 0, 7.5, None)),
            "iscrowd": rng.choice((0, 1, None, False)),
            "score": rng.choice((0.5, 1, None)),
            "track_id": rng.choice((3, "a", None, [1])),
            "num_keypoints": 1,
            "segmentation": rng.choice(([[1, 2, 3, 4]], {"size": [48, 64], "counts": "a\\b"}, [])),
            "attributes": {"id": 1, "image_id": [2, {"id": 3}]},
        }
        keys = rng.sample(list(optional), rng.randint(0, 8))
        annotations.append(record | {key: optional[key] for key in keys})
    value: dict[str, Any] = {
        "info": rng.choice(({}, {"year": 2026}, None)),
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": 1, "name": "animal", "keypoints": NAMES[:n_keypoints], "skeleton": []},
            {"id": 9, "name": "cloud"},
        ],
        "more": rng.choice(([], {"x": "Käfer 😀"}, 1.5)),
    }
    keys = rng.sample(list(value), len(value))
    separators = rng.choice(((", ", ": "), (",", ":"), (" ,", " :")))
    return json.dumps(
        {key: value[key] for key in keys},
        indent=rng.choice((None, None, 1, "\t")),
        separators=separators,
        ensure_ascii=rng.random() < 0.5,
    ).encode()


def coco_files() -> list[Path]:
    """The real COCO files."""
    return [
        path
        for path in sorted(SHARED.rglob("*.json"))
        if (data := path.read_bytes()).lstrip()[:1] == b"{"
        and all(f'"{key}"'.encode() in data for key in ("images", "annotations", "categories"))
    ]


def report(reader: str, outcomes: Counter[str]) -> None:
    """Print what happened, for ``pytest -s`` and the summary of passed tests."""
    listed = ", ".join(f"{n} {what}" for what, n in sorted(outcomes.items()))
    print(f"{reader}: {sum(outcomes.values())} inputs: {listed}")


@pytest.mark.parametrize("seed", range(4))
def test_changed_small_coco_files_are_refused_or_read_right(seed: int, tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    rng = random.Random(seed)
    for _ in range(40 * FUZZ):
        data = generated_coco(rng)
        mutate = Mutator(data)
        for changed in (data, *(mutate(rng) for _ in range(9))):
            with kept_on_failure(changed, "coco"):
                outcomes[check_coco(changed, tmp_path / "in.json")] += 1
    report("COCO, generated", outcomes)
    assert min(outcomes[what] for what in ("read", "read in part", "refused")) > 10


def test_changed_small_coco_files_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that lies on the border between two pieces, and between two threads."""
    monkeypatch.setattr(json_text, "_CHUNK", 64)
    monkeypatch.setattr(json_text, "_BLOCK", 128)
    monkeypatch.setattr(coco_columns, "_CHUNK", 200)
    test_changed_small_coco_files_are_refused_or_read_right(4, tmp_path)


@needs_shared
@pytest.mark.parametrize("path", coco_files(), ids=lambda path: str(path.relative_to(SHARED)))
def test_changed_real_coco_files_are_refused_or_read_right(path: Path, tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    rng = random.Random(path.name)
    data = path.read_bytes()
    mutate = Mutator(data)
    assert check_coco(data, tmp_path / "in.json") in ("read", "read in part")
    for _ in range(25 * FUZZ):
        changed = mutate(rng)
        with kept_on_failure(changed, "coco"):
            outcomes[check_coco(changed, tmp_path / "in.json")] += 1
    report(f"COCO, {path.name}", outcomes)


def test_a_coco_file_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    data = generated_coco(random.Random(3))
    for end in range(len(data) - 1):
        if data[end:].strip():
            assert check_coco(data[:end], tmp_path / "in.json") == "refused"


# --- COCO, one thing at a time -------------------------------------------------------------------


def coco(**changes: Any) -> dict[str, Any]:
    """A small COCO file; `changes` replace top-level values."""
    record = {"id": 5, "image_id": 1, "category_id": 1, "keypoints": [10.5, 8, 2, 0, 0, 0]}
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [record],
        "categories": [{"id": 1, "name": "animal", "keypoints": ["nose", "tail"]}],
        **changes,
    }


def coco_text(extra: str = "0", **changes: Any) -> bytes:
    """The bytes of a COCO file whose one annotation has the text `extra` in a field of its own."""
    return json.dumps(coco(**changes)).replace('{"id": 5', f'{{"x": {extra}, "id": 5').encode()


def read(folder: Path, data: bytes, **options: Any) -> Dataset:
    path = folder / "in.json"
    path.write_bytes(data)
    return formats.read(path, **options)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("1e400", "the number '1e400' is too large for a float"),
        ('[1, {"a": -1E+0400}]', "the number '-1E.0400' is too large"),
        ("1" * 250 + "e99", "the number '1+...1+e99' is too large"),
        ("1" * 400 + ".5", "is too large for a float"),
        ("9" * 5000, "not usable as JSON: .*4300 digits"),
    ],
)
def test_numbers_that_no_float_holds_are_refused_in_fields_that_nobody_reads(
    extra: str, message: str, tmp_path: Path
) -> None:
    """They would be an error much later, when the field is looked at."""
    where = "in.json: annotation .*number 1 in the file.*: "
    with pytest.raises(FormatError, match=where + ".*" + message):
        read(tmp_path, coco_text(extra))


@pytest.mark.parametrize("extra", ["1e+99", "-1.5E99", '"1e400"', "9" * 300, "0." + "1" * 400])
def test_numbers_that_look_large_and_are_not_are_kept(extra: str, tmp_path: Path) -> None:
    dataset = read(tmp_path, coco_text(extra))
    assert dataset.instances[0].extra["x"] == json.loads(extra)


def test_numbers_that_no_float_holds_are_found_where_the_file_is_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_text, "_CHUNK", 512)
    monkeypatch.setattr(json_text, "_BLOCK", 1024)
    for shift in range(0, 530, 3):
        data = b" " * shift + coco_text("0" * 1 + ', "y": ' + "[0, " * 9 + "1e400" + "]" * 9)
        with pytest.raises(FormatError, match="1e400"):
            read(tmp_path, data)
        data = b" " * shift + coco_text("[" + "1" * 400 + ".0]")
        with pytest.raises(FormatError, match="too large for a float"):
            read(tmp_path, data)


@pytest.mark.parametrize("n", [101, 400, 990, 100_000, 1_000_000])
@pytest.mark.parametrize(
    "place", ["x", "info", "annotations", "nothing", "unclosed", "unopened", "string"]
)
def test_deep_nesting_is_refused_at_once(n: int, place: str, tmp_path: Path) -> None:
    deep = "[" * n + "]" * n
    data = {
        "x": lambda: coco_text(deep),
        "info": lambda: coco_text().replace(b'{"images"', f'{{"info": {deep}, "images"'.encode()),
        "annotations": lambda: (
            json.dumps(coco(annotations=0))
            .replace('"annotations": 0', f'"annotations": {deep}')
            .encode()
        ),
        "nothing": deep.encode,
        "unclosed": lambda: b"[" * n,
        "unopened": lambda: b"]" * n,
        "string": lambda: b"[" * n + b'"',
    }[place]()
    started = time.process_time()
    with pytest.raises(FormatError, match=r"in\.json: .*(nested deeper than JSON|not JSON: )"):
        read(tmp_path, data)
    assert time.process_time() - started < MAX_SECONDS


def test_a_hundred_levels_are_read(tmp_path: Path) -> None:
    data = coco_text("[" * 97 + "1" + "]" * 97)
    dataset = read(tmp_path, data)
    assert depth_of(dataset.instances[0].extra["x"]) == 97
    check_use(dataset, data, tmp_path / "in.json")


def test_a_list_that_ends_like_an_object_is_refused(tmp_path: Path) -> None:
    """Lists of records are taken out before the rest is parsed."""
    data = json.dumps(coco()).encode()
    for kind in (b"images", b"categories"):
        start = data.index(b'"' + kind)
        end = data.index(b"}]", start) + 1
        with pytest.raises(FormatError, match="in.json: not JSON: line 1, column"):
            read(tmp_path, data[:end] + b"}" + data[end + 1 :])


def test_a_key_given_twice_is_found_at_the_very_end_of_a_file(tmp_path: Path) -> None:
    """Keys are compared by eight bytes, of which there are fewer at the end."""
    value = coco(more="x" * 2000, annotations=[])
    value["annotations"] = [{"id": 5, "image_id": 1, "category_id": 1, "a": 1, "b": 2}]
    value = {key: value[key] for key in ("more", "images", "categories", "annotations")}
    data = json.dumps(value, separators=(",", ":")).encode().replace(b'"b"', b'"a"')
    assert data.endswith(b'"a":1,"a":2}]}')
    with pytest.raises(FormatError, match="number 1 in the file.*the key 'a' is given twice"):
        read(tmp_path, data)


@pytest.mark.parametrize("points", ["[0, 0, [0], 0, 0, 0]", "0", "[[0, 0, 0, 0, 0, 0]]", "[]"])
def test_zeros_that_are_no_list_of_numbers_are_a_bad_record(points: str, tmp_path: Path) -> None:
    data = json.dumps(coco()).replace("[10.5, 8, 2, 0, 0, 0]", points).encode()
    with pytest.raises(FormatError, match="annotation 5 .*, expected "):
        read(tmp_path, data)


def test_a_bbox_has_an_area(tmp_path: Path) -> None:
    """Of 1e308 x 1e308 px it would be infinite, which no file can hold."""
    data = coco_text().replace(b'"id": 5', b'"id": 5, "bbox": [0, 0, 1e308, 1e308]')
    with pytest.raises(
        FormatError, match=r"'bbox' is \[0, 0, 1e\+308.* 4 numbers \(at most 1e\+100"
    ):
        read(tmp_path, data)
    folder = make_yolo(tmp_path / "yolo", labels=b"0 1e308 .5 .5 .5 .1 .2 2 .3 .4 1")
    with pytest.raises(FormatError, match="bbox cx is '1e308', expected -0.01 to 1e.90"):
        formats.read(folder)


def test_a_score_may_be_the_lowest_integer(tmp_path: Path) -> None:
    """It stands for "no id" where ids are kept."""
    data = coco_text().replace(b'"id": 5', b'"id": 5, "score": -9223372036854775808')
    assert read(tmp_path, data).instances[0].score == -(2.0**63)


def test_a_record_with_nan_is_left_out_and_the_file_can_be_written(tmp_path: Path) -> None:
    data = coco_text("NaN")
    message = r"annotation number 1 in the file: byte (\d+): NaN is not JSON"
    with pytest.raises(FormatError, match=message) as error:
        read(tmp_path, data)
    byte = int(re.search(message, str(error.value))[1])  # type: ignore[index]
    assert data[byte:].startswith(b"NaN")
    dataset = read(tmp_path, data, on_error="skip")
    assert len(dataset.instances) == 0
    dataset.add_instance(0, keypoints=[(1, 2), (3, 4)])
    formats.write(dataset, tmp_path / "out.json")
    value = json.loads((tmp_path / "out.json").read_bytes())
    assert [record["id"] for record in value["annotations"]] == [5, 6]


@pytest.mark.parametrize("extra", ["01", "[1,]", "nul", "'a'", "9" * 5000, '"\\x"', '"\x01"', "+1"])
def test_a_record_that_is_no_json_is_not_left_out(extra: str, tmp_path: Path) -> None:
    """Nobody could read the file that would be written with it."""
    data = coco_text(extra)
    for on_error in ("raise", "skip"):
        with pytest.raises(FormatError, match="annotation number 1 in the file: .*not .*JSON") as e:
            read(tmp_path, data, on_error=on_error)
        places = re.findall(r"not JSON: byte (\d+): ", str(e.value))
        start = data.index(b'"x": ')
        assert all(start < int(byte) <= start + len(extra) + 10 for byte in places)


def test_messages_are_short_whatever_the_values(tmp_path: Path) -> None:
    long = "\n<b>" * 5000
    value = coco(**{long: 1})
    value["annotations"][0] |= {"image_id": [[[[long]] * 9] * 9], "score": {long: long}}
    value["annotations"][0] |= {"bbox": [long] * 4, "area": 10**400, "keypoints": [long] * 6}
    value["annotations"].append({"id": 10**4000})
    value["images"].append({"id": long, "file_name": {}, "width": long, "height": [long] * 99})
    value["categories"].append({"id": 7, "name": long, "keypoints": [long, long, 1, None]})
    value["categories"].append({"id": 8, "name": "b", "keypoints": ["a"], "supercategory": [long]})
    error = attempt(lambda: read(tmp_path, json.dumps(value).encode()), tmp_path / "in.json")
    assert isinstance(error, FormatError)
    assert len(error.problems) >= 14
    del value["images"]
    error = attempt(lambda: read(tmp_path, json.dumps(value).encode()), tmp_path / "in.json")
    assert isinstance(error, FormatError)


# --- COCO results --------------------------------------------------------------------------------

TRUTH = {
    "images": [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in (7, 8, "i")],
    "annotations": [],
    "categories": [
        {"id": 3, "name": "bird", "keypoints": ["beak", "eye"]},
        {"id": 4, "name": "bee", "keypoints": ["sting"]},
    ],
}


def generated_results(rng: random.Random) -> bytes:
    """A small file of results."""
    entries = []
    for _ in range(rng.randint(0, 6)):
        category = rng.choice(TRUTH["categories"])
        points = [rng.choice((0, 0, 7, 12.5)) for _ in range(3 * len(category["keypoints"]))]
        entry = {
            "image_id": rng.choice((7, 8, "i")),
            "category_id": category["id"],
            "keypoints": points,
            "score": rng.choice((0.5, 1, 0)),
        }
        optional = {
            "bbox": rng.choice(([1, 2, 3, 4], None)),
            "area": rng.choice((12, None)),
            "track_id": rng.choice((3, "a", [1], [2, 3], {"x": 1})),
            "id": 4,
            "note": {"a": [1, "\ud800"]},
            "keypoint_scores": points[2::3],
        }
        keys = rng.sample(list(optional), rng.randint(0, 5))
        entries.append(entry | {key: optional[key] for key in keys})
    return json.dumps(entries, indent=rng.choice((None, 1))).encode()


def naive_results(data: bytes, truth: Dataset) -> tuple[list[Any], int]:
    """Instances of a file of results, and the number of bad entries."""
    value = strict(data)
    if depth_of(value) > 50:
        raise NoOpinion
    if not isinstance(value, list):
        raise Refused("no list")
    images = {image.id for image in truth.images}
    sizes = {category.id: category.n_keypoints for category in truth.categories}
    known = {"image_id", "category_id", "keypoints", "score", "bbox", "area", "track_id"}
    known |= {"id", "num_keypoints", "iscrowd"}  # written back, and nothing else
    found = []
    for entry in value:
        entry = entry if isinstance(entry, dict) else {}
        image_id, category_id = entry.get("image_id"), entry.get("category_id")
        flat, bbox = entry.get("keypoints"), entry.get("bbox")
        is_good = (
            (is_int(image_id) or isinstance(image_id, str))
            and image_id in images
            and is_int(category_id)
            and category_id in sizes
            and isinstance(flat, list)
            and len(flat) == 3 * sizes[category_id]
            and all(is_number(number) and abs(number) <= 1e100 for number in flat)
            and is_number(entry.get("score"))
            and entry.get("keypoint_scores", flat[2::3]) == flat[2::3]
            and (entry.get("area") is None or is_number(entry["area"]))
            and (bbox is None or (isinstance(bbox, list) and len(bbox) == 4))
            and (bbox is None or all(map(is_side, bbox)))
        )
        if is_good:
            triples = [tuple(map(float, flat[i : i + 3])) for i in range(0, len(flat), 3)]
            points = [[x, y, 2.0 if x or y or s else 0.0] for x, y, s in triples]
            extra = {key: entry[key] for key in entry if key not in known}
            extra["keypoint_scores"] = [s for _, _, s in triples]
            found.append(
                (
                    image_id,
                    category_id,
                    points,
                    float(entry["score"]),
                    None if bbox is None else tuple(map(float, bbox)),
                    None if entry.get("area") is None else float(entry["area"]),
                    entry.get("track_id"),
                    extra,
                )
            )
    return found, len(value) - len(found)


def results_of(dataset: Dataset) -> list[Any]:
    """What `naive_results` finds, of a dataset."""
    return [
        (
            i.image.id,
            i.category.id,
            i.raw.tolist(),
            i.score,
            i.bbox if i.bbox_source == "given" else None,
            i._get("area"),
            i.track_id,
            dict(i.extra),
        )
        for i in dataset.instances
    ]


def check_results(data: bytes, path: Path, truth: Dataset) -> str:
    """Read a file of results and compare; what happened in a word."""
    path.write_bytes(data)
    try:
        expected, n_bad = naive_results(data, truth)
    except NoOpinion:
        expected, n_bad = None, -1
    except Refused:
        expected, n_bad = None, 1
    for on_error in ("raise", "skip"):
        options: dict[str, Any] = {"on_error": on_error, "ground_truth": truth}
        found = attempt(partial(formats.read, path, format="coco-results", **options), path)
        if not isinstance(found, Exception):
            break
        assert isinstance(found, FormatError), found
        assert n_bad != 0, f"refused what is right: {found}"
    else:
        return "refused"
    assert on_error == "skip" or n_bad <= 0, "a bad entry was taken"
    if expected is not None:
        assert results_of(found) == expected
    found.to_pandas()
    found._repr_html_()
    out = path.with_name("out.json")
    formats.write(found, out, format="coco-results", allow_loss=True)
    again = formats.read(out, format="coco-results", ground_truth=truth)
    assert [i.score for i in again.instances] == [i.score for i in found.instances]
    assert [i.track_id for i in again.instances] == [i.track_id for i in found.instances]
    out = path.with_name("labels.json")
    formats.write(found, out, format="coco")
    assert len(formats.read(out, format="coco").instances) == len(found.instances)
    return "read" if on_error == "raise" else "read in part"


def test_changed_small_results_are_refused_or_read_right(tmp_path: Path) -> None:
    truth = read(tmp_path, json.dumps(TRUTH).encode())
    outcomes: Counter[str] = Counter()
    rng = random.Random(5)
    for _ in range(30 * FUZZ):
        data = generated_results(rng)
        mutate = Mutator(data)
        for changed in (data, *(mutate(rng) for _ in range(9))):
            with kept_on_failure(changed, "results"):
                outcomes[check_results(changed, tmp_path / "net.json", truth)] += 1
    report("COCO results, generated", outcomes)
    assert min(outcomes[what] for what in ("read", "read in part", "refused")) > 10


@needs_shared
def test_changed_real_results_are_refused_or_read_right(tmp_path: Path) -> None:
    folder = SHARED / "data" / "coco-people"
    truth = formats.read(folder / "test_coco.json")
    outcomes: Counter[str] = Counter()
    rng = random.Random(6)
    mutate = Mutator((folder / "example_coco_preds.json").read_bytes())
    assert check_results(mutate.data, tmp_path / "net.json", truth) == "read"
    for _ in range(40 * FUZZ):
        changed = mutate(rng)
        with kept_on_failure(changed, "results"):
            outcomes[check_results(changed, tmp_path / "net.json", truth)] += 1
    report("COCO results, example_coco_preds.json", outcomes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"area": "large"}, "'area' is 'large', expected a number"),
        ({"keypoint_scores": ["x"]}, r"'keypoint_scores' is \['x'\], expected every third number"),
        ({"bbox": [["x" * 5000] * 9] * 9}, r"'bbox' is \[\[.{,300}\.\.\., expected 4 numbers"),
        ({"score": 10**3000}, r"'score' is 1.{,100}, expected a number"),
    ],
)
def test_an_entry_that_would_lose_something_is_bad(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    truth = read(tmp_path, json.dumps(TRUTH).encode())
    entry = {"image_id": 7, "category_id": 4, "keypoints": [1, 2, 0.5], "score": 1, **changes}
    (tmp_path / "net.json").write_text(json.dumps([entry]))
    with pytest.raises(FormatError, match=f"net.json: entry number 1: {message}"):
        formats.read(tmp_path / "net.json", format="coco-results", ground_truth=truth)


def test_scores_of_an_entry_are_numbers(tmp_path: Path) -> None:
    """False is equal to 0, and no number in a file."""
    truth = read(tmp_path, json.dumps(TRUTH).encode())
    entry = {"image_id": 7, "category_id": 4, "keypoints": [1, 2, 0], "score": 1}
    (tmp_path / "net.json").write_text(json.dumps([entry | {"keypoint_scores": [False]}]))
    dataset = formats.read(tmp_path / "net.json", format="coco-results", ground_truth=truth)
    formats.write(dataset, tmp_path / "out.json", format="coco-results", allow_loss=True)
    again = formats.read(tmp_path / "out.json", format="coco-results", ground_truth=truth)
    assert again.instances[0].raw.tolist() == [[1, 2, 2]]


def test_half_a_surrogate_pair_in_results_comes_back(tmp_path: Path) -> None:
    truth = read(tmp_path, json.dumps(TRUTH).encode())
    entry = {"image_id": 7, "category_id": 4, "keypoints": [1, 2, 0.5], "score": 1}
    (tmp_path / "net.json").write_text(json.dumps([entry | {"note": "\ud800 Käfer"}]))
    dataset = formats.read(tmp_path / "net.json", format="coco-results", ground_truth=truth)
    formats.write(dataset, tmp_path / "out.json", format="coco-results", allow_loss=True)
    assert json.loads((tmp_path / "out.json").read_text())[0]["note"] == "\ud800 Käfer"


@pytest.mark.parametrize("name", ["datumaro", "via"])
def test_half_a_surrogate_pair_in_a_name_goes_to_other_formats(name: str, tmp_path: Path) -> None:
    images = [image | {"file_name": "\ud800.png"} for image in TRUTH["images"][:1]]
    dataset = read(tmp_path, json.dumps(TRUTH | {"images": images, "annotations": []}).encode())
    formats.write(dataset, tmp_path / "out.json", format=name, allow_loss=True)
    (image,) = formats.read(tmp_path / "out.json", format=name).images
    assert image.file_name == "\ud800.png"


# --- YOLO ----------------------------------------------------------------------------------------

HEADER = b"""train: images/train
val: images/val
kpt_shape: [2, 3]
names: [bird, "b\xc3\xa9e"]
kpt_names: {0: [beak, eye], 1: [sting]}
note: {x: [1, 2.5, yes, null], 2024-01-01: {y: "\\u00e9"}}
"""
LABELS = b"""0 0.5 0.5 0.25 0.5 0.1 0.2 2 0.3 0.4 1
1 0.25 0.75 0.5 0.5 1 1 2 0 0 0

1 0.2 0.7 0.5 0.25 0.125 1e-2 1 0 0 0
"""
ROW_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def make_yolo(folder: Path, header: bytes = HEADER, labels: bytes = LABELS) -> Path:
    """A YOLO folder with a picture of 64 x 48 px in each split and labels for the first."""
    for split in ("train", "val"):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        Image.new("RGB", (64, 48)).save(folder / "images" / split / f"{split}.png")
    (folder / "data.yaml").write_bytes(header)
    (folder / "labels/train/train.txt").write_bytes(labels)
    return folder


def naive_labels(data: bytes) -> tuple[list[Any], int]:
    """Instances of a label file of `HEADER`, and the number of bad lines."""
    found: list[Any] = []
    seen = set()
    n_bad = 0
    for line in re.split(rb"\r\n|\r|\n", data.removeprefix(b"\xef\xbb\xbf")):
        tokens = line.decode("latin-1").split(None)
        if any(ord(c) > 127 for c in "".join(tokens)) or re.search(rb"[\x1c-\x1f\x85\xa0]", line):
            tokens = [t.decode("latin-1") for t in line.split()]  # other spaces than bytes have
        if not tokens:
            continue
        numbers = [float(t) if ROW_NUMBER.fullmatch(t) else math.nan for t in tokens]
        is_good = len(numbers) == 11 and all(map(math.isfinite, numbers))
        is_good = is_good and numbers[0] in (0, 1) and all(n >= -0.01 for n in numbers[1:3])
        is_good = is_good and all(n >= 0 for n in numbers[3:5]) and max(numbers[1:5]) <= 1e90
        points = [numbers[i : i + 3] for i in range(5, 11, 3)] if is_good else []
        is_good = is_good and all(
            -0.01 <= x <= 1.01 and -0.01 <= y <= 1.01 and 0 <= v <= 2 for x, y, v in points
        )
        is_good = is_good and not (numbers[0] == 1 and points[1][2] > 0)
        with np.errstate(over="ignore"):
            key = tuple(np.float32(number) for number in numbers)
        if not is_good or key in seen:
            n_bad += 1
            seen |= {key} if len(numbers) == 11 else set()
            continue
        seen.add(key)
        cx, cy, w, h = numbers[1:5]
        n = 1 if numbers[0] else 2
        xyv = [[x * 64, y * 48, v] for x, y, v in points[:n]]
        found.append(
            (int(numbers[0]) + 1, xyv, (cx * 64 - w * 32, cy * 48 - h * 24, w * 64, h * 48))
        )
    return found, n_bad


def check_labels(data: bytes, folder: Path) -> str:
    """Read a YOLO folder with this label file and compare; what happened in a word."""
    path = folder / "labels/train/train.txt"
    path.write_bytes(data)
    expected, n_bad = naive_labels(data)
    found = attempt(lambda: formats.read(folder), folder)
    if isinstance(found, Exception):
        assert isinstance(found, FormatError)
        assert n_bad, f"refused what is right: {found}"
        assert all("labels/train/train.txt line" in p for p in found.problems[:-1])
        n_lines = len({re.search(r"line \d+", p)[0] for p in found.problems[:-1]})  # type: ignore[index]
        assert n_lines == n_bad
        found = formats.read(folder, on_error="skip")
    else:
        assert not n_bad, "a bad line was taken"
    assert len(found.images) == 2
    assert (found.images[0].status == "done") == (not expected and not n_bad)
    got = [(i.category.id, i.raw.tolist(), i.bbox) for i in found.instances]
    assert [a for a, _, _ in got] == [a for a, _, _ in expected]
    for (_, points, bbox), (_, expected_points, expected_bbox) in zip(got, expected, strict=True):
        np.testing.assert_allclose(points, expected_points, rtol=1e-12)
        np.testing.assert_allclose(bbox, expected_bbox, rtol=1e-12, atol=1e-12)
    found.to_pandas()
    found.validate()
    return "read in part" if n_bad else "read"


def test_changed_label_files_are_refused_or_read_right(tmp_path: Path) -> None:
    folder = make_yolo(tmp_path / "yolo")
    outcomes: Counter[str] = Counter()
    rng = random.Random(7)
    mutate = Mutator(LABELS, TEXT_TOKEN)
    for changed in (LABELS, *(mutate(rng) for _ in range(400 * FUZZ))):
        with kept_on_failure(changed, "labels"):
            outcomes[check_labels(changed, folder)] += 1
    report("YOLO labels", outcomes)


def test_label_files_are_read_the_same_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yolo, "_TOKENS_AT_ONCE", 20)
    folder = make_yolo(tmp_path / "yolo")
    rng = random.Random(8)
    lines = [*LABELS.splitlines(), b"0 0.5 0.5 0.25 0.5 0.1 0.2 2 x 0.4 1", b"1 2 3"]
    for _ in range(50):
        check_labels(b"\n".join(rng.choices(lines, k=rng.randint(0, 12))), folder)
    check_labels(LABELS, folder)
    (folder / "images/train/train.png").write_bytes(b"no image")
    with pytest.raises(FormatError, match="train.txt: its 3 rows cannot be turned into pixels"):
        formats.read(folder)


def check_header(data: bytes, folder: Path) -> str:
    """Read a YOLO folder with this ``data.yaml``; what happened in a word."""
    (folder / "data.yaml").write_bytes(data)
    found = attempt(lambda: formats.read(folder, format="yolo-pose"), folder)
    if isinstance(found, Exception):
        skipped = attempt(lambda: formats.read(folder, format="yolo-pose", on_error="skip"), folder)
        return "refused" if isinstance(skipped, Exception) else "read in part"
    content = yaml.load(data.removeprefix(b"\xef\xbb\xbf"), YAML_LOADER)
    n_keypoints, _ = content["kpt_shape"]
    assert all(1 <= category.n_keypoints <= n_keypoints for category in found.categories)
    names = content.get("names", [f"class_{i}" for i in range(int(content.get("nc", 0)))])
    names = names if isinstance(names, list) else [names[i] for i in sorted(names, key=int)]
    assert [category.name for category in found.categories] == list(map(str, names))
    found._repr_html_()
    formats.write(found, folder.with_name("out.json"), format="coco")
    again = formats.read(folder.with_name("out.json"), images=folder)
    assert again.extra == found.extra
    return "read"


def test_changed_data_yaml_is_refused_or_read_right(tmp_path: Path) -> None:
    folder = make_yolo(tmp_path / "yolo")
    outcomes: Counter[str] = Counter()
    rng = random.Random(9)
    headers = [HEADER]
    if SHARED.is_dir():
        headers += [path.read_bytes() for path in sorted(SHARED.rglob("*.yaml"))]
    mutators = [Mutator(header, TEXT_TOKEN) for header in headers]
    for _ in range(400 * FUZZ):
        mutate = mutators[0] if rng.random() < 0.7 else rng.choice(mutators)
        changed = mutate(rng)
        if rng.random() < 0.3:
            a = rng.randrange(len(changed) + 1)
            changed = changed[:a] + rng.choice(HOSTILE_YAML) + changed[a:]
        with kept_on_failure(changed, "data.yaml"):
            outcomes[check_header(changed, folder)] += 1
    report("YOLO data.yaml", outcomes)


YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
HOSTILE_YAML = [
    *(
        b"&a ",
        b"*a ",
        b"!!python/object/apply:os.abort []",
        b"!x ",
        b"!!binary ",
        b"!!set ",
        b"<<: ",
    ),
    *(
        b"? ",
        b"- ",
        b": ",
        b"\n",
        b"\n  ",
        b"\n---\n",
        b"\n...\n",
        b"# ",
        b"| ",
        b"> ",
        b"%YAML 1\n",
    ),
    *(
        b".nan",
        b".inf",
        b"-.inf",
        b"0x1F",
        b"0o17",
        b"1:30:00",
        b"1:30:00.5",
        b"1_000",
        b"~",
        b"yes",
    ),
    *(
        b"2001-01-01",
        b"2001-99-99",
        b"2001-12-14t21:59:43.10-05:00",
        b"1" * 399,
        b"0x" + b"f" * 390,
    ),
    *(
        b"0x" + b"f" * 5000,
        b"1:" * 5000 + b"1",
        b"\x85",
        b"\xe2\x80\xa8",
        b"\x00",
        b"\t",
        b"'",
        b'"',
    ),
    *(
        b'"\\ud800"',
        b"../..",
        b"/etc",
        b"nc: .inf\n",
        b"nc: 10000\n",
        b"path: ..\n",
        b"{",
        b"[" * 30,
    ),
]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nc: .inf", "'nc' = inf: expected the number of classes"),
        ("nc: .nan", "'nc' = nan: expected the number of classes"),
        ("nc: 1e400", "'nc' = '1e400': expected the number of classes"),
        ("nc: 10001", "'nc' = 10001: expected the number of classes, 1 to 10000"),
        ("names: [" + "a," * 10_001 + "]", "'names' has 10001 names, expected 10000 at most"),
        ("x: [" + "1," * 100_000 + "]", "line 4: has more than 100000 values"),
        ("x:\n" + "- a\n" * 100_000, "line 99994: has more than 100000 values"),
        ("x: 1" + ":1" * 300_000, r"line 4: the number '1:1.*' of 600001 characters is not taken"),
        ("x: 0x" + "f" * 400_000, "line 4: the number '0xf.* of 400002 characters is not taken"),
        ("names: {0: 0b" + "1" * 5000 + "}", "line 4: the number '0b1.* of 5002 char"),
        ("flip_idx: [0x" + "f" * 300 + "]", r"'flip_idx' = \[.*\]: expected the numbers 0 to 1"),
    ],
)
def test_data_yaml_that_would_take_long_or_much_is_refused(
    text: str, message: str, tmp_path: Path
) -> None:
    folder = make_yolo(tmp_path / "yolo", b"")
    names = "" if text.startswith("n") else "names: [a]"
    header = f"train: images/train\nval: images/val\nkpt_shape: [2, 3]\n{text}\n{names}"
    (folder / "data.yaml").write_text(header)
    error = attempt(lambda: formats.read(folder, format="yolo-pose"), folder)
    assert re.search(f"data.yaml: {message}", str(error)), error


def test_many_classes_of_many_keypoints_are_refused(tmp_path: Path) -> None:
    """Some fifty bytes would take some ten gigabytes."""
    folder = make_yolo(
        tmp_path / "yolo", b"train: images/train\nnc: 10000\nkpt_shape: [10000, 3]\n"
    )
    error = attempt(lambda: formats.read(folder, format="yolo-pose"), folder)
    assert "10000 classes of 10000 keypoints: expected no more than 200000" in str(error)


def test_keys_that_become_one_are_not_taken(tmp_path: Path) -> None:
    header = HEADER + b"both: {1: a, '1': b}\n"
    with pytest.warns(UserWarning, match="the key 'both' is not kept: keys that are the same"):
        dataset = formats.read(make_yolo(tmp_path / "yolo", header))
    assert "both" not in dataset.extra
    assert dataset.extra["note"] == {"x": [1, 2.5, True, None], "2024-01-01": {"y": "é"}}


def test_a_label_line_of_any_length_is_bad_at_once(tmp_path: Path) -> None:
    folder = make_yolo(tmp_path / "yolo", labels=b"0.5 " * 2_000_000)
    error = attempt(lambda: formats.read(folder), folder)
    assert "train.txt line 1: expected 11 numbers" in str(error)
    assert "got more: '0.5 0.5" in str(error)


# --- CVAT, Label Studio, MMPose ------------------------------------------------------------------

XML_TOKEN = re.compile(rb'"[^"]*"|&[#\w]+;|[<>/=?!]+|[\w.,-]+|\s+')
CIRCLES = "".join(
    f'&lt;circle data-node-id="{k}" data-label-name="{name}"/&gt;'
    for k, name in enumerate(("head", "tip"), 1)
)
META = (
    "<meta><task><size>3</size><start_frame>0</start_frame><labels><label><name>bolt</name>"
    f"<type>skeleton</type><svg>{CIRCLES}</svg></label></labels></task></meta>"
)
POINTS = (
    '<points label="head"{0} outside="0" occluded="0" points="1.5,2.25"/>'
    '<points label="tip"{0} outside="{1}" occluded="1" points="3,4"/>'
)
CVAT = {
    "images": f"""<annotations><version>1.1</version>{META}
<image id="0" name="a.png" width="64" height="48">
 <skeleton label="bolt" z_order="1">{POINTS.format("", 0)}</skeleton><box label="x" xtl="1"/>
 <skeleton label="bolt">{POINTS.format("", 1)}</skeleton></image>
<image id="1" name="b.png" width="64" height="48"/></annotations>""".encode(),
    "video": f"""<annotations>{META}<track id="0" label="bolt">
 <skeleton frame="0" keyframe="1">{POINTS.format(' keyframe="1"', 0)}</skeleton>
 <skeleton frame="1" keyframe="0">{POINTS.format(' keyframe="0"', 1)}</skeleton></track>
</annotations>""".encode(),
}


XML_VALUES = [
    *(b"", b"0", b"1", b"-1", b"2", b"x", b"nan", b"1e400", b"1e5", b"9" * 30, b"1,2", b"1,2;3,4"),
    *(b"&lt;b&gt;", b"&amp;amp;", b"&#10;", b"tip", b"head", b"bolt", b"a.png", b"../a.png"),
    *("Käfer 虫".encode(), b"%s", b" 1,2 ", b"0.125,1e-7", b"-3.5,200", b"frame_000001.png"),
]


def with_another_value(data: bytes, rng: random.Random) -> bytes:
    """Put another text in place of an attribute's."""
    start, end = rng.choice([match.span() for match in re.finditer(rb'"[^"]*"', data)])
    return data[: start + 1] + rng.choice(XML_VALUES) + data[end - 1 :]


def naive_cvat(data: bytes) -> list[dict[str, list[float]]]:
    """Points of the skeletons of a CVAT file for images, by their label."""
    found = []
    for skeleton in ElementTree.fromstring(data).iterfind("image/skeleton"):
        points = {}
        for point in skeleton.iterfind("points"):
            x, y = map(float, point.attrib["points"].split(","))
            is_out, is_occluded = (point.attrib[key] == "1" for key in ("outside", "occluded"))
            points[point.attrib["label"]] = [x, y, 0 if is_out else 1 if is_occluded else 2]
        found.append(points)
    return found


def raw_points(dataset: Dataset) -> list[dict[str, list[float]]]:
    """What an instance says of its keypoints, those at (0, 0) and unlabeled left out."""
    return [
        {
            name: xyv
            for name, xyv in zip(i.category.keypoints, i.raw.tolist(), strict=True)
            if any(xyv)
        }
        for i in dataset.instances
    ]


def check_read_and_written(path: Path, format: str, folder: Path) -> str:
    """Read a file; what is read is the same when it is written and read again."""
    found = attempt(lambda: formats.read(path, format=format), path)
    outcome = "read"
    if isinstance(found, Exception):
        found = attempt(lambda: formats.read(path, format=format, on_error="skip"), path)
        outcome = "read in part"
        if isinstance(found, Exception):
            return "refused"
    folder.mkdir(exist_ok=True)
    out = folder / path.name
    (folder / "label_config.xml").unlink(missing_ok=True)
    formats.write(found, out, format=format, allow_loss=True)
    # What is wrong with labels stays as it was: it may be of use to others.
    again = formats.read(out, format=format, on_error="raise" if outcome == "read" else "skip")
    # A video's come in the order of the frames.
    assert sorted(map(repr, raw_points(again))) == sorted(map(repr, raw_points(found)))
    for one, other in zip(again.images, found.images, strict=True):
        assert (one.id, one.file_name) == (other.id, other.file_name)
    return outcome


@pytest.mark.parametrize("kind", CVAT)
def test_changed_cvat_files_are_refused_or_read_right(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "annotations.xml"
    outcomes: Counter[str] = Counter()
    rng = random.Random(11)
    mutate = Mutator(CVAT[kind], XML_TOKEN)
    for i in range(100 * FUZZ):
        changed = with_another_value(CVAT[kind], rng) if i % 3 else mutate(rng)
        path.write_bytes(changed)
        with kept_on_failure(changed, "cvat"):
            outcome = check_read_and_written(path, f"cvat-{kind}", tmp_path / "out")
            outcomes[outcome] += 1
            if outcome == "read" and kind == "images":
                points = [{k: v for k, v in of.items() if any(v)} for of in naive_cvat(changed)]
                assert raw_points(formats.read(path)) == points
    report(f"CVAT for {kind}", outcomes)
    assert min(outcomes["read"], outcomes["refused"]) > 10


REGION = {"original_width": 200, "original_height": 100, "image_rotation": 0, "to_name": "image"}
TASK = {
    "id": 8,
    "data": {"image": "/data/local-files/?d=a/b.png"},
    "annotations": [
        {
            "id": 5, "completed_by": 3, "was_cancelled": False, "created_at": "2026-01-01",
            "result": [
                {"id": "r", "type": "rectanglelabels", "from_name": "bbox", **REGION,
                 "value": {"x": 10, "y": 20, "width": 30.5, "height": 40, "rotation": 0,
                           "rectanglelabels": ["bolt"]}},
                {"id": "p", "type": "keypointlabels", "from_name": "kp", "parentID": "r", **REGION,
                 "value": {"x": 12.25, "y": 25, "width": 0.75, "keypointlabels": ["tip"]}},
                {"id": "p", "type": "choices", "from_name": "visibility", **REGION,
                 "value": {"x": 12.25, "y": 25, "width": 0.75, "choices": ["occluded"]}},
                {"type": "relation", "from_id": "p", "to_id": "r", "direction": "right"},
            ],
        }
    ],
    "predictions": [{"model_version": "m", "score": 0.5, "result": []}],
}  # fmt: skip


def test_changed_tasks_of_label_studio_are_refused_or_read_right(tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    outcomes: Counter[str] = Counter()
    rng = random.Random(12)
    data = json.dumps([TASK, {**TASK, "id": 9}]).encode()
    mutate = Mutator(data)
    for changed in (data, *(mutate(rng) for _ in range(200 * FUZZ))):
        path.write_bytes(changed)
        with kept_on_failure(changed, "label-studio"):
            outcomes[check_read_and_written(path, "label-studio", tmp_path / "out")] += 1
    report("Label Studio", outcomes)
    assert min(outcomes["read"], outcomes["read in part"], outcomes["refused"]) > 10


PYTHON_TOKEN = re.compile(rb"'[^']*'|[\w.]+|[^\w\s']|\s+")
METAINFO = b"""dataset_info = dict(dataset_name='bolt', keypoint_info={
 0: dict(name='head', id=0, color=[255, 0, 16], swap='tip'),
 1: dict(name='tip', id=1, color=[0, 255, 1], swap='head')},
 skeleton_info={0: dict(link=('head', 'tip'), id=0, color=[9, 8, 7])},
 joint_weights=[1.] * 2, sigmas=[0.1] + [-0.025])
"""


def test_changed_metainfo_of_mmpose_is_refused_or_read_right(tmp_path: Path) -> None:
    path, out = tmp_path / "bolt.py", tmp_path / "out.py"
    good = METAINFO.replace(b"-0.025", b"0.025")
    outcomes: Counter[str] = Counter()
    rng = random.Random(13)
    mutate = Mutator(good, PYTHON_TOKEN)
    for changed in (good, METAINFO, *(mutate(rng) for _ in range(200 * FUZZ))):
        path.write_bytes(changed)
        with kept_on_failure(changed, "metainfo"):
            schema = attempt(lambda: mmpose.read_metainfo(path), path)
            outcomes["refused" if isinstance(schema, Exception) else "read"] += 1
            if isinstance(schema, Schema):
                mmpose.write_metainfo(schema, out)
                assert mmpose.read_metainfo(out) == schema
    report("MMPose", outcomes)
    assert min(outcomes["read"], outcomes["refused"]) > 10


# --- too much of something -----------------------------------------------------------------------


@pytest.mark.parametrize("item", ["0", '""', "[]", '[{"id": 1}]'])
def test_a_list_of_what_are_no_objects_is_refused_at_once(item: str, tmp_path: Path) -> None:
    value = json.dumps(coco(annotations=[{"id": 1}, 0]))
    data = value.replace(", 0]", f"{f', {item}' * 300_000}]").encode()
    for on_error in ("raise", "skip"):
        error = attempt(partial(read, tmp_path, data, on_error=on_error), tmp_path)
        assert "'annotations' has more than 100000 bytes of what are no objects" in str(error)


def test_items_between_records_are_found_wherever_they_stand(tmp_path: Path) -> None:
    record = {"image_id": 1, "category_id": 1}
    items = [1, [], {"id": 1, **record}, "a", [{"id": 9}], {"id": 2, **record}, {"id": 3, **record}]
    rng = random.Random(10)
    for _ in range(20):
        rng.shuffle(items)
        data = json.dumps(coco(annotations=items), indent=rng.choice((None, 1))).encode()
        assert check_coco(data, tmp_path / "in.json") == "read in part"
        for old, new in ((b", [", b",, ["), (b"[]", b"[] 1"), (b'"a"', b""), (b'"a"', b'"a",')):
            assert check_coco(data.replace(old, new), tmp_path / "in.json") in (
                ("refused",) if data.count(old) else ("read in part",)
            )


def test_past_ten_thousand_problems_are_counted(tmp_path: Path) -> None:
    records = [{"id": i} for i in range(12_000)]
    data = json.dumps(coco(annotations=records)).encode()
    error = attempt(lambda: read(tmp_path, data), tmp_path / "in.json")
    assert "bad records or more, for the rest was not looked at; on_error='skip'" in str(error)
    assert 10_000 <= len(error.problems) <= 10_003
    with pytest.warns(UserWarning, match="24,000 bad records left out"):
        dataset = read(tmp_path, data, on_error="skip")
    assert len(dataset.skipped) == 10_001
    assert dataset.skipped[-1] == "and 14,000 problems more, which are not listed"
    formats.write(dataset, tmp_path / "out.json")
    assert (tmp_path / "out.json").read_bytes() == data


# --- schemas -------------------------------------------------------------------------------------

METADATA = json.dumps(
    {
        "name": "bée",
        "keypoints": ["nose", "left_eye", "right_eye", "<b>"],
        "skeleton": [[1, 2], [1, 3], ["nose", "<b>"]],
        "flip_pairs": [["left_eye", "right_eye"]],
        "sigmas": [0.1, 0.25, 1, 2.5],
        "sigma_source": "measured",
        "colors": ["#000000", "#FFffFF", "#123456", "#abcdef"],
        "more": {"id": [1, None, {"x": "\ud83d\ude00"}]},
    }
).encode()


def naive_schema(data: bytes) -> Any:
    """The content of metadata; Refused if something in it is wrong."""
    value = strict(data)
    if depth_of(value) > 90:
        raise NoOpinion
    if not isinstance(value, dict):
        raise Refused("no object")

    def is_text(item: Any) -> bool:
        has_half = isinstance(item, str) and any("\ud800" <= c <= "\udfff" for c in item)
        return isinstance(item, str) and bool(item.strip()) and not has_half

    def is_pair(item: Any, *, numbers: bool) -> bool:
        if not isinstance(item, list) or len(item) != 2 or item[0] == item[1]:
            return False
        is_named = all(isinstance(end, str) and end in names for end in item)
        return is_named or (numbers and all(is_int(n) and 1 <= n <= len(names) for n in item))

    def is_list(key: str, is_item: Callable[[Any], bool], n: int | None = None) -> bool:
        items = value.get(key)
        if items is None:
            return True
        return isinstance(items, list) and n in (None, len(items)) and all(map(is_item, items))

    names = value.get("keypoints")
    if not isinstance(names, list) or not names or not all(map(is_text, names)):
        raise Refused("keypoints")
    paired = [end for pair in value.get("flip_pairs") or [] for end in pair] if is_list(
        "flip_pairs", lambda pair: is_pair(pair, numbers=False)
    ) else [0, 0]  # fmt: skip
    is_good = (
        len(set(names)) == len(names)
        and len(set(paired)) == len(paired)
        and (value.get("name") is None or is_text(value["name"]))
        and is_list("skeleton", lambda edge: is_pair(edge, numbers=True))
        and is_list("sigmas", lambda s: is_number(s) and s > 0, len(names))
        and is_list(
            "colors",
            lambda c: isinstance(c, str) and bool(re.fullmatch("#[0-9a-fA-F]{6}", c)),
            len(names),
        )
        and (value.get("sigma_source") is None or isinstance(value["sigma_source"], str))
    )
    if not is_good:
        raise Refused("a field")
    return value


def check_schema(data: bytes, path: Path) -> str:
    """Read metadata as a file and as text and compare; what happened in a word."""
    path.write_bytes(data)
    try:
        expected = naive_schema(data)
        is_good: bool | None = True
    except Refused:
        is_good = False
    except NoOpinion:
        is_good = None
    found = attempt(lambda: Schema.from_metadata(path), path)
    if isinstance(found, Exception):
        assert isinstance(found, FormatError)
        assert not is_good, f"refused what is right: {found}"
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode()
            with pytest.raises(FormatError):
                Schema.from_metadata(text)
        return "refused"
    assert is_good is not False, "taken"
    assert Schema.from_metadata(data.decode(), name=found.name) == found
    if is_good:
        assert json.dumps(found.to_metadata()) == json.dumps(expected)
        assert list(found.keypoints) == expected["keypoints"]
        assert len(found.colors) == len(found.sides) == found.n_keypoints
    return "read"


def test_changed_metadata_is_refused_or_read_right(tmp_path: Path) -> None:
    seeds = [METADATA]
    if SHARED.is_dir():
        for path in coco_files():
            categories = json.loads(path.read_bytes())["categories"][:2]
            seeds += [json.dumps(category).encode() for category in categories]
    mutators = list(map(Mutator, seeds))
    outcomes: Counter[str] = Counter()
    rng = random.Random(11)
    for _ in range(1000 * FUZZ):
        changed = (mutators[0] if rng.random() < 0.6 else rng.choice(mutators))(rng)
        with kept_on_failure(changed, "schema"):
            outcomes[check_schema(changed, tmp_path / "schema.json")] += 1
    report("Schema.from_metadata", outcomes)
    assert min(outcomes[what] for what in ("read", "refused")) > 50


def test_a_hundred_thousand_keypoints_in_one_schema(tmp_path: Path) -> None:
    names = [f"keypoint {k}" for k in range(100_000)]
    value = coco(categories=[{"id": 1, "name": "all", "keypoints": names}])
    value["annotations"][0]["keypoints"] = [1.5, 2, 2] * 100_000
    data = json.dumps(value).encode()
    dataset = attempt(lambda: read(tmp_path, data), tmp_path / "in.json")
    assert dataset.instances[0].keypoints.shape == (100_000, 3)
    started = time.process_time()
    assert len(dataset._repr_html_()) < 10_000
    dataset.to_pandas()
    dataset.instances[0].set_keypoint("keypoint 99999", 3, 4)
    formats.write(dataset, tmp_path / "out.json")
    assert time.process_time() - started < MAX_SECONDS
    assert json.loads((tmp_path / "out.json").read_bytes())["annotations"][0]["keypoints"][-3:] == [
        3, 4, 2,
    ]  # fmt: skip


# --- names ---------------------------------------------------------------------------------------

TEXTS = [
    "<img src=x onerror=alert(1)>",
    "</td></table><script>alert('1')</script>",
    "\"'&amp;<!--",
    "Käfer 虫 👁️‍🗨️ عين \u202e\u2028 e\u0301",
    "a\x00b\nc\r\td\x1b[31m",
    "$\\frac{1}{2}$ %s {0} {{x}}",
    "__proto__",
]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_comes_back_exactly_and_is_escaped_where_it_is_shown(
    text: str, tmp_path: Path
) -> None:
    value = coco()
    value["categories"][0] |= {"name": text, "keypoints": [text, text + "2"], "supercategory": text}
    value["categories"].append({"id": 2, "name": text + "3"})
    value["images"][0]["file_name"] = text
    value["annotations"][0] |= {"track_id": text, text: text}
    value[text] = {text: text}
    for is_ascii in (True, False):
        data = json.dumps(value, ensure_ascii=is_ascii).encode()
        dataset = read(tmp_path, data)
        [instance], [image], [category] = dataset.instances, dataset.images, dataset.categories
        assert (category.name, category.supercategory) == (text, text)
        assert category.keypoints == (text, text + "2")
        assert (image.file_name, instance.track_id, instance.extra[text]) == (text, text, text)
        assert dataset.extra == {text: {text: text}}
        check_use(dataset, data, tmp_path / "in.json")
        table = dataset.to_pandas()
        assert table.loc[0, ["image", "category", "track_id"]].tolist() == [text] * 3
        for page in (dataset._repr_html_(), table.to_html(), table._repr_html_()):
            for bad in ("<img", "<script", "</td></table>", "<!--"):
                assert bad not in page
        assert html.escape(text) in dataset._repr_html_()
    with pytest.raises(ImageError) as error:
        dataset.images[0].open()
    assert str(error.value).isprintable()
    # The same through YOLO.
    header = {"names": [text], "kpt_names": [[text, text + "2"]], "kpt_shape": [2, 3]}
    header |= {"train": "images/train", "val": "images/val", "more": {text: text}}
    folder = make_yolo(tmp_path / "yolo", yaml.safe_dump(header).encode())
    again = formats.read(folder, on_error="skip")
    assert again.categories[0].name == text
    assert again.categories[0].keypoints == (text, text + "2")
    assert again.extra == {"more": {text: text}}


NAME_PARTS = [
    *("..", ".", "", "a.png", "sub", "in.png", "out.png", "in", "out", "loop", "secret.png", "~"),
    *("C:", "\\", "/", "//server/share", "\0", "\n", "http://x", "file:", "data:", " ", "%2e%2e"),
    *(
        "．．",
        "\u2024\u2024",
        "\ud800",
        "\udcff",
        "é",
        "e\u0301",
        "x" * 300,
        "x/" * 3000,
        "*",
        "[a]",
    ),
    *("/etc/passwd", "...", "sub/..", "$HOME", "\u202e", "con", "a.png/", "a.png\0.jpg", "-rf"),
]


def folder_with_links(folder: Path) -> Path:
    """A folder of images with links that stay inside, lead out and go round in circles."""
    root = folder / "root"
    (root / "sub").mkdir(parents=True)
    (folder / "elsewhere").mkdir()
    for path in (root / "a.png", root / "sub/a.png", folder / "elsewhere/secret.png"):
        Image.new("RGB", (64, 48)).save(path)
    shutil.copy(folder / "elsewhere/secret.png", folder / "secret.png")
    (root / "in.png").symlink_to("sub/a.png")
    (root / "in").symlink_to("sub")
    (root / "out.png").symlink_to(folder / "secret.png")
    (root / "sub/out").symlink_to("../../elsewhere")
    (root / "loop").symlink_to("loop")
    return root


def random_name(rng: random.Random) -> str:
    """What a stranger may give as the name of a file."""
    some = NAME_PARTS[:11] if rng.random() < 0.6 else NAME_PARTS
    parts = rng.choices(some, k=rng.choice((1, 2, 2, 3, 4)))
    joints = ("/",) if len(some) < len(NAME_PARTS) else ("/", "/", "\\", "")
    return "".join(part + rng.choice(joints) for part in parts).removesuffix("/")[:9000]


@pytest.mark.parametrize("match", ["path", "name"])
def test_any_file_name_is_an_image_inside_or_an_error(match: str, tmp_path: Path) -> None:
    root = folder_with_links(tmp_path)
    rng = random.Random(12)
    names = sorted({random_name(rng) for _ in range(300 * FUZZ)} | {"a.png", "in.png", "sub/a.png"})
    images = [{"id": i, "file_name": name} for i, name in enumerate(names) if name]
    data = json.dumps(coco(images=images, annotations=[])).encode()
    dataset = read(tmp_path, data, images=root, match=match)
    outcomes: Counter[str] = Counter()
    for image in dataset.images:
        path = image.path
        assert path is None or path.resolve().is_relative_to(root.resolve()), image.file_name
        try:
            assert image.size == (64, 48)
        except ImageError as error:
            text = str(error)
            assert text.isprintable(), repr(text)
            assert len(text) < 10_000
            outcomes["refused"] += 1
            continue
        assert path is not None
        assert path.exists()
        outcomes["found"] += 1
    report(f"image file names, match={match!r}", outcomes)
    assert outcomes["found"] >= 5


@pytest.mark.parametrize(
    "name", ["loop/../out.png", "loop/../sub/out/secret.png", "loop/x/../../loop/../out.png"]
)
def test_a_link_to_itself_does_not_hide_one_that_leads_out(name: str, tmp_path: Path) -> None:
    """Python's `resolve` follows no link behind it."""
    root = folder_with_links(tmp_path)
    for match in ("path", "name"):
        images = [{"id": 1, "file_name": name}, {"id": 2, "file_name": "loop/../in.png"}]
        data = json.dumps(coco(images=images, annotations=[])).encode()
        dataset = read(tmp_path, data, images=root, match=match)
        with pytest.raises(ImageError, match="leads out of the image roots|no file under"):
            dataset.images[0].open()
        assert dataset.images[0].path is None
        assert dataset.images[1].path == root.resolve() / "sub/a.png"
    outside = read(tmp_path, data, images=root, allow_outside=True)
    assert outside.images[0].open().size == (64, 48)


def test_any_list_of_images_leads_to_images_inside(tmp_path: Path) -> None:
    """A data.yaml may name a file with one image a line."""
    root = folder_with_links(tmp_path)
    header = b"names: [a]\nkpt_shape: [1, 2]\ntrain: list.txt\nval: []\n"
    (root / "data.yaml").write_bytes(header)
    rng = random.Random(13)
    outcomes: Counter[str] = Counter()
    for _ in range(30 * FUZZ):
        names = [random_name(rng) + rng.choice(("", "a.png", ".jpg")) for _ in range(3)]
        lines = "\n".join(["a.png", *rng.sample(names, rng.randint(0, 3))])
        (root / "list.txt").write_text(lines, "utf-8", "replace")
        found = attempt(lambda: formats.read(root, format="yolo-pose"), root)
        outcomes["read" if isinstance(found, Dataset) else "refused"] += 1
        dataset = formats.read(root, format="yolo-pose", on_error="skip")
        assert len(dataset.images) >= 1
        for image in dataset.images:
            path = image.path
            assert path is None or path.resolve().is_relative_to(root.resolve()), image.file_name
    report("YOLO lists of images", outcomes)


@pytest.mark.parametrize("target", ["../../secret.png", "/etc", "..", "sub/out", "out.png"])
def test_splits_that_lead_out_are_refused(target: str, tmp_path: Path) -> None:
    root = folder_with_links(tmp_path)
    header = f"names: [a]\nkpt_shape: [1, 2]\ntrain: [a.png, {target}]\nval: []\n"
    (root / "data.yaml").write_text(header)
    error = attempt(lambda: formats.read(root, format="yolo-pose"), root)
    assert "which leads out of the dataset to" in str(error)


# --- images --------------------------------------------------------------------------------------


def encoded(kind: str) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    picture = Image.fromarray(pixels)
    picture.convert("P" if kind == "GIF" else "RGB").save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_changed_images_are_shown_or_an_image_error(kind: str) -> None:
    mutate = Mutator(encoded(kind), re.compile(rb"[\s\S]{1,4}"))
    rng = random.Random(kind)
    outcomes: Counter[str] = Counter()
    for _ in range(60 * FUZZ):
        # The head is what counts; the rest is pixels.
        at = int(len(mutate.data) * rng.random() ** 4)
        changed = rng.choice(
            (
                mutate.bytes,
                lambda _, at=at: mutate.data[:at] + rng.randbytes(4) + mutate.data[at + 4 :],
                lambda _, at=at: mutate.data[:at] + b"\xff" * 4 + mutate.data[at + 4 :],
            )
        )(rng)
        started = time.process_time()
        with kept_on_failure(changed, kind), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's about damaged tags
            refusal = ""
            try:
                source = ImageSource(changed)
                width, height = source.size
                assert source.to_array().shape == (height, width, 3)
                preview = source.preview()
                Image.open(io.BytesIO(preview.data)).load()
            except ImageError as error:
                refusal = str(error)
            assert refusal.isprintable()
            outcomes["refused" if refusal else "shown"] += 1
            assert time.process_time() - started <= MAX_SECONDS
    report(f"images, {kind}", outcomes)


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A PNG that says that it is this large."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((100_000, 100_000), "too large|10,000,000,000 pixels|decompression bomb"),
        ((2**31 - 1, 2**31 - 1), "too large|decompression bomb"),
        ((2**32 - 1, 1), "."),
        ((0, 0), "."),
        ((0, 48), "."),
    ],
)
def test_a_dataset_with_a_bomb_is_read_and_the_image_refused(
    size: tuple[int, int], message: str, tmp_path: Path
) -> None:
    zeros = zlib.compress(bytes(10_000_000))  # 10 kB
    (tmp_path / "a.png").write_bytes(png(*size, zeros))
    for recorded in ({}, {"width": size[0], "height": size[1]}):
        value = coco(images=[{"id": 1, "file_name": "a.png", **recorded}])
        data = json.dumps(value).encode()
        if recorded and 0 in size:
            with pytest.raises(FormatError, match="is 0, expected a whole number of pixels"):
                read(tmp_path, data)
            continue
        dataset = read(tmp_path, data)
        with pytest.raises(ImageError, match=message):
            dataset.images[0].open()
        check_use(dataset, data, tmp_path / "in.json")
    folder = make_yolo(tmp_path / "yolo")
    (folder / "images/train/train.png").write_bytes(png(*size, zeros))
    error = attempt(lambda: formats.read(folder), folder)
    assert "cannot be turned into pixels" in str(error)


# --- time and memory -----------------------------------------------------------------------------


def joined(record: str, n_bytes: int) -> str:
    """Records that differ in their id, as many as fit."""
    return ", ".join(record % i for i in range(n_bytes // (len(record) + 6)))


N_BYTES = 3_000_000
RECORD = '{"id": %d, "image_id": 1, "category_id": 1, "segmentation": [[1.5, 2, 3, 4, 5, 6]]}'
LARGE: dict[str, Callable[[], bytes]] = {
    "fine": lambda: large(joined(RECORD, N_BYTES)),
    "cut": lambda: large(joined(RECORD, N_BYTES))[:-3],
    "brackets": lambda: b"[" * 1_000_000 + b"]" * 1_000_000,
    "lists": lambda: large('{"id": 1, "x": [' + "[], " * (N_BYTES // 4) + "0]}"),
    "quotes": lambda: large('"' * N_BYTES),
    "no objects": lambda: large("0, " * (N_BYTES // 3) + "0"),
    "bad records": lambda: large(joined('{"id": %d}', N_BYTES)),
    "NaN": lambda: large(joined('{"id": %d, "x": NaN}', N_BYTES)),
    "NaNs": lambda: large('{"x": [' + "NaN, " * (N_BYTES // 5) + "0]}"),
    "one id": lambda: large(joined(RECORD.replace("%d", "1%.0s"), N_BYTES)),
    "digits": lambda: large('{"x": ' + "1" * N_BYTES + "}"),
    "emoji": lambda: large('{"x": "' + "😀" * (N_BYTES // 4) + '"}'),
    "closed twice": lambda: large(joined(RECORD, N_BYTES) + "}"),
    "points": lambda: large('{"id": 1, "keypoints": [' + "1, " * (N_BYTES // 3) + "1]}"),
    "name": lambda: large("").replace(b'"animal"', b'"' + b"x" * N_BYTES + b'"'),
    "edges": lambda: large("").replace(
        b'"id": 1, "name"', b'"skeleton": [%s[1, 2]], "id": 1, "name"' % (b"[1, 9], " * 100_000)
    ),
}


def large(annotations: str) -> bytes:
    """A COCO file with these annotations."""
    return json.dumps(coco(annotations=["here"])).replace('"here"', annotations).encode()


MEASURE = """
import gc, os, resource, sys, time, warnings
sys.path.insert(0, {root!r})
warnings.simplefilter("ignore")
from pathlib import Path
from kpwidget import formats
from tests.test_hostile import LARGE, large
folder = Path(sys.argv[1])
(folder / "warm.json").write_bytes(large("")); formats.read(folder / "warm.json")
for name, make in LARGE.items():
    path = folder / "in.json"
    path.write_bytes(make())
    gc.collect()
    if os.fork():
        assert os.wait()[1] == 0, name
        continue
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    try:
        formats.read(path, format="coco")
        outcome = "read"
    except formats.coco.FormatError as error:
        outcome = "refused"
        assert len(str(error)) < 1_000_000
    seconds = time.process_time() - started
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
    limit = 10 * path.stat().st_size / 1e6 + 64
    print(f"{{name}}: {{outcome}} in {{seconds:.1f}} s with {{megabytes:.0f}} of {{limit:.0f}} MB")
    sys.stdout.flush()
    os._exit(0 if seconds <= {seconds} and megabytes <= limit else 1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux counts it")
def test_large_files_take_two_seconds_and_ten_times_their_size_at_most(tmp_path: Path) -> None:
    root = str(Path(__file__).resolve().parents[1])
    script = textwrap.dedent(MEASURE).format(root=root, seconds=MAX_SECONDS)
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=100
    )
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
    assert result.stdout.count("\n") == len(LARGE)
