"""``data.yaml`` of an Ultralytics YOLO pose dataset: read with distrust, checked, and written.

With it the facts about such datasets that reader and writer share. What Ultralytics does was read
in its ``check_det_dataset`` and ``verify_image_label`` (8.4) and tried.
"""

from __future__ import annotations

import datetime
import math
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kpwidget.dataset.values import as_float, as_int
from kpwidget.schema import FormatError, _show

__all__ = [
    "ABSENT",
    "KNOWN_KEYS",
    "MARK",
    "SPLITS",
    "SUFFIXES",
    "TOLERANCE",
    "DataYaml",
    "dump_yaml",
    "find_data_yaml",
    "has_keypoints",
    "label_path",
    "load_yaml",
    "plain",
    "read_data_yaml",
]

SPLITS: Final = ("train", "val", "test")
"""The parts that Ultralytics knows."""

SUFFIXES: Final = frozenset(
    ("avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg", "mpo", "png", "tif", "tiff",
     "webp")
)  # fmt: skip
"""Endings of the image files that Ultralytics looks at, in lower case (its ``IMG_FORMATS``)."""

KNOWN_KEYS: Final = frozenset(
    ("path", "train", "val", "test", "validation", "minival", "nc", "names", "kpt_shape",
     "flip_idx", "kpt_names", "kpt_oks_sigmas", "download", "yaml_file")
)  # fmt: skip
"""Keys that mean something; all others are kept as they are."""

TOLERANCE: Final = 0.01
"""How far beyond 0 and 1 Ultralytics takes a part of the image's size."""

ABSENT: Final = -0.005
"""x and y of an unlabeled keypoint where there is no visibility: Ultralytics takes a keypoint below
0 for absent and a row below -0.01 for corrupt."""

MARK: Final = "# Ultralytics YOLO pose dataset, written by kpwidget"
"""First line of the files written here: such a folder may be written again."""

_MAX_BYTES: Final = 1_000_000  # a thousand classes with seventeen named keypoints each take 0.3 MB
_MAX_DEPTH: Final = 20  # data.yaml needs 3
_MAX_KEYPOINTS: Final = 10_000
_MAX_CLASSES: Final = 10_000
_MAX_PRODUCT: Final = 200_000  # classes times keypoints: 'nc: 10000' takes no more than ten bytes
_MAX_VALUES: Final = 100_000  # texts, numbers, lists and mappings: each takes some 10 microseconds
#: A plain scalar that may be a number and is longer than any. Python takes seconds or minutes for
#: numbers of many digits, sexagesimal ones before all, and then refuses to write them out.
_LONG_NUMBER: Final = re.compile(r"[-+.]?[0-9][-+.:_0-9a-zA-Z]{400,}")
_CORE_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")
)
_OF_DATA_YAML: Final = ("kpt_shape", "names", "nc", *SPLITS)  # one of them every such file has
_LINE_BREAKS: Final = re.compile("[\x85\u2028\u2029]")
_COCO_KEYS: Final = frozenset(("info", "licenses", "images", "annotations", "categories"))


@dataclass(frozen=True)
class DataYaml:
    """What a ``data.yaml`` says, checked.

    Attributes
    ----------
    path : Path
        The file.
    n_keypoints, n_dims : int
        ``kpt_shape``: of the label rows, 2 dims (x, y) or 3 (x, y, visibility).
    names : tuple of str
        The classes.
    keypoints : tuple
        For each class the names of its keypoints, None where the file gives none. Fewer than
        `n_keypoints` say that the class is padded.
    flip_indices : tuple of int or None
        ``flip_idx``: which keypoint each becomes in a mirrored image. It swaps pairs.
    sigmas : tuple of float or None
        ``kpt_oks_sigmas``, one per keypoint.
    root : str or None
        ``path``, the folder that the splits are relative to, as it stands there.
    splits : dict of str to tuple of str
        Folders and lists of images of each split, as they stand there.
    extra : dict
        Keys that nobody here knows.
    warnings : tuple of str
        What was left out.
    """

    path: Path
    n_keypoints: int
    n_dims: int
    names: tuple[str, ...]
    keypoints: tuple[tuple[str, ...] | None, ...]
    flip_indices: tuple[int, ...] | None
    sigmas: tuple[float, ...] | None
    root: str | None
    splits: dict[str, tuple[str, ...]]
    extra: dict[str, Any]
    warnings: tuple[str, ...] = ()


def find_data_yaml(path: Path) -> Path:
    """Return the file itself, or the one YAML file with ``kpt_shape`` in a folder.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    FormatError
        If the folder has no such file, or several.
    """
    if not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such file or folder")
        return path
    candidates = sorted(
        entry
        for entry in path.iterdir()
        if entry.suffix.lower() in (".yaml", ".yml") and entry.is_file()
    )
    named = [entry for entry in candidates if entry.name in ("data.yaml", "data.yml")]
    if len(named) == 1:
        return named[0]
    if len(candidates) == 1:
        return candidates[0]
    fitting = [entry for entry in candidates if has_keypoints(entry)]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(repr(entry.name) for entry in fitting or candidates) or "none"
    found = "several files with 'kpt_shape'" if fitting else "no file data.yaml"
    raise FormatError.from_problems(
        os.fspath(path),
        [f"expected one data.yaml in this folder, got {found} (YAML files: {listed}); pass one"],
    )


def has_keypoints(path: Path) -> bool:
    """Whether a file is YAML with the key ``kpt_shape``; False for what cannot be read."""
    try:
        return "kpt_shape" in load_yaml(path)
    except (FormatError, OSError):  # said by the reader, should it be the one that is meant
        return False


def read_data_yaml(path: Path) -> DataYaml:
    """Read and check a ``data.yaml``.

    Parameters
    ----------
    path : Path

    Returns
    -------
    DataYaml

    Raises
    ------
    FormatError
        If it is not YAML of a pose dataset, has aliases, tags, keys given twice or more values
        than such files have, or is larger than 1 MB; naming everything that is wrong.
    OSError
        If it cannot be read.
    """
    content = load_yaml(path)
    if not any(key in content for key in _OF_DATA_YAML):
        has = ", ".join(map(_show, list(content)[:5])) or "nothing"
        is_coco = {"images", "categories"} <= content.keys()
        raise FormatError.from_problems(
            os.fspath(path),
            [
                "is no YOLO data file (data.yaml): expected keys such as 'kpt_shape', 'names' and "
                f"'train', got {has}" + ("; COCO files are read with format='coco'" * is_coco)
            ],
        )
    problems: list[str] = []
    warnings: list[str] = []
    n_keypoints, n_dims = _shape(content, problems)
    names = _names(content, problems)
    flip_indices = _flip_indices(content.get("flip_idx"), n_keypoints, problems)
    keypoints = _keypoint_names(content.get("kpt_names"), names, n_keypoints, problems)
    sigmas = _sigmas(content.get("kpt_oks_sigmas"), n_keypoints, problems)
    if len(names) * n_keypoints > _MAX_PRODUCT:
        problems.append(
            f"{len(names)} classes of {n_keypoints} keypoints: expected no more than "
            f"{_MAX_PRODUCT} keypoints of all classes together"
        )
    root = content.get("path")
    if root is not None and not (isinstance(root, str) and root.strip() and "\0" not in root):
        problems.append(f"'path' = {_show(root)}: expected the name of a folder")
    splits = _splits(content, problems)
    if problems:
        raise FormatError.from_problems(os.fspath(path), problems)
    if content.get("download") is not None:
        warnings.append(
            "'download' is not kept: it names what Ultralytics would fetch or run if images are "
            "missing"
        )
    extra = {}
    for key, value in content.items():
        if key in KNOWN_KEYS and key != "minival":
            continue
        try:
            if not isinstance(key, str) or key in _COCO_KEYS:
                raise ValueError("expected a name that COCO files do not use")
            extra[key] = plain(value)
        except ValueError as error:
            warnings.append(f"the key {_show(key)} is not kept: {error}")
    return DataYaml(
        path, n_keypoints, n_dims, names, keypoints, flip_indices, sigmas, root, splits, extra,
        tuple(warnings),
    )  # fmt: skip


def dump_yaml(content: Mapping[str, Any], mark: str, name: str = "data.yaml") -> bytes:
    """Bytes of a YAML file, its keys in the order given.

    Parameters
    ----------
    content : mapping
    mark : str
        Its first line, a comment.
    name : str
        What the file is called, for messages.

    Raises
    ------
    ValueError
        If it holds something that YAML cannot.
    """
    import yaml

    def dumped(allow_unicode: bool) -> str:
        text: str = yaml.safe_dump(
            _unshared(content),
            sort_keys=False,
            allow_unicode=allow_unicode,
            default_flow_style=None,
            width=100,
        )
        return text

    try:
        text = dumped(allow_unicode=True)
        if _LINE_BREAKS.search(text):  # PyYAML writes them as they are and reads a space
            text = dumped(allow_unicode=False)
        return f"{mark}\n{text}".encode()
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise ValueError(f"{name} cannot hold this: {error}") from error


def _unshared(value: Any) -> Any:
    """Copy in which no list or mapping stands twice, for YAML would write an alias for it."""
    if isinstance(value, Mapping):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list | tuple) else value


def label_path(image_path: str) -> str:
    """Where Ultralytics looks for the labels of an image.

    Parameters
    ----------
    image_path : str
        With ``/``.

    Returns
    -------
    str
        The last ``/images/`` becomes ``/labels/`` and the ending ``.txt``; without ``/images/``
        the label file stands beside the image.
    """
    path = f"/{image_path}"
    start = path.rfind("/images/")
    if start >= 0:
        path = f"{path[:start]}/labels/{path[start + len('/images/') :]}"
    return path[1:].rsplit(".", 1)[0] + ".txt"


# --- YAML ---------------------------------------------------------------------------------------


def load_yaml(
    path: Path, name: str = "data.yaml", keys: str = "'train', 'names' and 'kpt_shape'"
) -> dict[Any, Any]:
    """Top level of a YAML file, read by ``yaml.safe_load`` after a look at its events.

    Parameters
    ----------
    path : Path
    name, keys : str
        What the file is called and has, for messages.

    Raises
    ------
    FormatError
        If it is not YAML of keys and values, has aliases, tags, keys given twice, or is too large.
    OSError
        If it cannot be read.
    """
    import yaml

    # The one written in C takes a twentieth of the time; it is in all wheels of PyYAML.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    where = os.fspath(path)
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise FormatError.from_problems(
            where, ["expected a YAML file, got a folder, pipe or device"]
        )
    if status.st_size > _MAX_BYTES:
        raise FormatError.from_problems(
            where, [f"has {status.st_size} bytes, expected a {name} of at most {_MAX_BYTES}"]
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError.from_problems(
            where, [f"byte {error.start}: not UTF-8 ({error.reason}); save the file as UTF-8"]
        ) from error
    try:
        problems = _find_unsafe(yaml.parse(text, Loader=loader), name)
        content: Any = None if problems else yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise FormatError.from_problems(where, [f"not YAML: {place}{reason}"]) from error
    except (ValueError, OverflowError) as error:  # a date that is none, a number of 5000 digits
        raise FormatError.from_problems(where, [f"not usable as YAML: {error}"]) from error
    if not problems and not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        problems = [f"expected keys such as {keys}, got {found}"]
    if problems:
        raise FormatError.from_problems(where, problems)
    loaded: dict[Any, Any] = content
    return loaded


def _find_unsafe(events: Iterable[Any], name: str) -> list[str]:
    """Aliases (which can grow without limit), tags, keys given twice, and what is too much."""
    import yaml

    problems: list[str] = []
    n_values = 0
    # For each open mapping its keys and whether a key comes next; None for a sequence.
    open_nodes: list[tuple[set[Any], list[bool]] | None] = []
    for event in events:
        at = f"line {event.start_mark.line + 1}"
        if isinstance(event, yaml.CollectionEndEvent):
            open_nodes.pop()
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        n_values += 1
        if n_values > _MAX_VALUES:
            problems.append(f"{at}: has more than {_MAX_VALUES} values, too many for a {name}")
            return problems
        if isinstance(event, yaml.AliasEvent):
            problems.append(f"{at}: the alias *{event.anchor} is not taken; write the value out")
        elif (
            isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
            and event.tag not in (None, "!")
            and event.tag not in _CORE_TAGS
        ):
            problems.append(
                f"{at}: the tag {_show(event.tag)} is not taken; expected plain text, "
                "numbers, lists and mappings"
            )
        elif (
            isinstance(event, yaml.ScalarEvent)
            and event.implicit[0]
            and _LONG_NUMBER.fullmatch(event.value)
        ):
            problems.append(
                f"{at}: the number {_show(event.value)} of {len(event.value)} characters is not "
                "taken; put text in quotes"
            )
        if open_nodes and open_nodes[-1] is not None:
            keys, is_key = open_nodes[-1]
            if is_key[0] and isinstance(event, yaml.ScalarEvent):
                key = (event.value, event.implicit[0])
                if key in keys:
                    problems.append(f"{at}: the key {_show(event.value)} is given twice")
                keys.add(key)
            is_key[0] = not is_key[0]
        if isinstance(event, yaml.CollectionStartEvent):
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            open_nodes.append((set(), [True]) if is_mapping else None)
            if len(open_nodes) > _MAX_DEPTH:
                problems.append(f"{at}: nested more than {_MAX_DEPTH} levels deep")
                return problems
        if len(problems) > 100:
            return problems
    return problems


def plain(value: Any) -> Any:
    """Copy of a value as JSON can hold it: keys are text, dates too.

    Raises
    ------
    ValueError
        If it holds something else, saying what.
    """
    if isinstance(value, dict):
        copied = {str(key): plain(item) for key, item in value.items()}
        if len(copied) < len(value):
            raise ValueError("keys that are the same as text, like 1 and '1'")
        return copied
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a number that JSON has")
    if not (value is None or isinstance(value, str | int | float)):
        raise ValueError(f"expected text, numbers, lists and mappings, got {type(value).__name__}")
    return value


# --- the keys -----------------------------------------------------------------------------------


def _shape(content: Mapping[Any, Any], problems: list[str]) -> tuple[int, int]:
    shape = content.get("kpt_shape")
    numbers = [as_int(n) for n in shape] if isinstance(shape, list) else []
    if len(numbers) == 2:
        n_keypoints, n_dims = numbers
        if n_keypoints and n_dims in (2, 3) and 0 < n_keypoints <= _MAX_KEYPOINTS:
            return n_keypoints, n_dims
    found = "nothing" if shape is None else _show(shape)
    problems.append(
        "'kpt_shape': expected [number of keypoints, 2 or 3], for instance [17, 3], got "
        + found
        + ("; is this a dataset of boxes?" if shape is None else "")
    )
    return 0, 3


def _text(value: Any) -> str | None:
    """A name; numbers are taken as they are written, YAML's yes, no and null are not."""
    number = as_int(value)
    if number is not None:
        return str(number)
    return value if isinstance(value, str) and value.strip() else None


def _by_position(
    key: str, value: Any, what: str, problems: list[str], n: int | None = None
) -> dict[int, Any] | None:
    """A list, or a mapping from position, as a mapping from position."""
    if isinstance(value, list):
        return dict(enumerate(value))
    if not isinstance(value, dict):
        problems.append(
            f"'{key}' = {_show(value)}: expected a list or a mapping from class number to {what}"
        )
        return None
    found = {}
    for position, item in value.items():
        number = as_int(position)
        if number is None and isinstance(position, str) and position.isdecimal():
            number = int(position[:20])
        if number is None or number < 0 or (n is not None and number >= n) or number in found:
            limit = "counted from 0" if n is None else f"in 0..{n - 1}, each once"
            problems.append(
                f"'{key}' has the key {_show(position)}, expected class numbers {limit}"
            )
        else:
            found[number] = item
    return found


def _names(content: Mapping[Any, Any], problems: list[str]) -> tuple[str, ...]:
    given, count = content.get("names"), content.get("nc")
    number = as_int(count)
    if number is None:
        as_number = as_float(count)
        if as_number is not None and as_number.is_integer():
            number = int(as_number)
    if count is not None and not (number is not None and 0 < number <= _MAX_CLASSES):
        problems.append(
            f"'nc' = {_show(count)}: expected the number of classes, 1 to {_MAX_CLASSES}"
        )
        number = None
    if given is None:
        if number is None:
            if count is None:
                problems.append("'names': expected the names of the classes, got nothing")
            return ()
        return tuple(f"class_{i}" for i in range(number))
    found = _by_position("names", given, "name", problems)
    if found is None:
        return ()
    if len(found) > _MAX_CLASSES:
        problems.append(f"'names' has {len(found)} names, expected {_MAX_CLASSES} at most")
        return ()
    missing = [i for i in range(len(found)) if i not in found]
    if missing or not found:
        listed = ", ".join(map(str, sorted(found)[:20])) or "none"
        problems.append(f"'names': expected classes 0, 1, 2, ... without a gap, got {listed}")
        return ()
    if number is not None and number != len(found):
        problems.append(f"'nc' is {number}, but 'names' has {len(found)} names")
    names = []
    for i in range(len(found)):
        name = _text(found[i])
        if name is None:
            problems.append(
                f"'names': class {i} is {_show(found[i])}, expected text; put it in quotes"
            )
        names.append(name or f"class_{i}")
    return tuple(names)


def _flip_indices(value: Any, n_keypoints: int, problems: list[str]) -> tuple[int, ...] | None:
    if value is None or value == [] or not n_keypoints:
        return None
    numbers = [as_int(item) for item in value] if isinstance(value, list) else []
    indices = [n for n in numbers if n is not None]
    if sorted(indices) != list(range(n_keypoints)) or len(numbers) != n_keypoints:
        problems.append(
            f"'flip_idx' = {_show(value)}: expected the numbers 0 to {n_keypoints - 1}, each once"
        )
        return None
    chains = [k for k in range(n_keypoints) if indices[indices[k]] != k]
    if chains:
        problems.append(
            f"'flip_idx': keypoints change places in pairs, but {chains[0]} becomes "
            f"{indices[chains[0]]} and that becomes {indices[indices[chains[0]]]}"
        )
        return None
    return tuple(indices)


def _keypoint_names(
    value: Any, names: Sequence[str], n_keypoints: int, problems: list[str]
) -> tuple[tuple[str, ...] | None, ...]:
    found: dict[int, Any] | None = {}
    if value is not None and names:
        found = _by_position("kpt_names", value, "names of keypoints", problems, len(names))
    keypoints: list[tuple[str, ...] | None] = []
    for i in range(len(names)):
        listed = (found or {}).get(i)
        if listed is None:
            keypoints.append(None)
            continue
        texts = [_text(item) for item in listed] if isinstance(listed, list) else []
        given = tuple(text for text in texts if text is not None)
        n = len(texts)
        if not n or len(given) < n or n > n_keypoints or len(set(given)) < n:
            problems.append(
                f"'kpt_names': class {i} ({_show(names[i])}) has {_show(listed)}, expected at "
                f"most {n_keypoints} names of keypoints, each once"
            )
        keypoints.append(given)
    return tuple(keypoints)


def _sigmas(value: Any, n_keypoints: int, problems: list[str]) -> tuple[float, ...] | None:
    if value is None or value == []:
        return None
    numbers = [as_float(item) for item in value] if isinstance(value, list) else []
    sigmas = tuple(n for n in numbers if n is not None and math.isfinite(n) and n > 0)
    if len(sigmas) != n_keypoints or len(numbers) != n_keypoints:
        problems.append(
            f"'kpt_oks_sigmas' = {_show(value)}: expected {n_keypoints} numbers above 0"
        )
        return None
    return sigmas


def _splits(content: Mapping[Any, Any], problems: list[str]) -> dict[str, tuple[str, ...]]:
    splits: dict[str, tuple[str, ...]] = {}
    for name in SPLITS:
        key = "validation" if name == "val" and "val" not in content else name
        value = content.get(key)
        items = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(item, str) and item.strip() and "\0" not in item for item in items):
            problems.append(
                f"'{key}' = {_show(value)}: expected a folder, a .txt list of images, or a "
                "list of these"
            )
        elif items:
            splits[name] = tuple(items)
    # An empty list says that there are none; a key without a value says nothing.
    if not splits and not problems and [] not in (content.get("train"), content.get("val")):
        problems.append("expected 'train' and 'val', the folders of the images, got neither")
    return splits
