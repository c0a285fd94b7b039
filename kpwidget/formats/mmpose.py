"""MMPose's metainfo and schemas: `read_metainfo`, `write_metainfo`.

Annotations for MMPose are COCO files; what their keypoints mean stands in a Python file beside
them, with a dict called ``dataset_info``. The file is never run: its syntax tree is walked, and
what is no data is refused.
"""

from __future__ import annotations

import ast
import os
import pprint
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from kpwidget.dataset.values import as_float, as_int
from kpwidget.formats import write_file
from kpwidget.schema import FormatError, Schema, _decode, _show

__all__ = ["read_metainfo", "write_metainfo"]

MAX_BYTES: Final = 1_000_000
"""Size of a file; those of MMPose have at most some 60,000 bytes (133 keypoints)."""

MAX_LENGTH: Final = 10_000
"""Items of a list, also of one that is made by ``[...] * n``."""

_MAX_VALUES: Final = 200_000
_MAX_DEPTH: Final = 30
_NESTED: Final = re.compile(r"(?:[-+~(\[{]\s*|not\s+){31}")  # what Python's parser recurses into
_KEY: Final = "mmpose"
_OF_PAPER: Final = ("author", "title", "container", "year", "homepage")


def read_metainfo(path: str | os.PathLike[str]) -> Schema:
    """Schema that a metainfo file of MMPose describes.

    Parameters
    ----------
    path : str or os.PathLike
        The Python file. It is not run.

    Returns
    -------
    Schema
        Called as ``dataset_name`` says. Edges by ``skeleton_info``, flip pairs by ``swap``, sigmas
        and colors as given. What a schema has no place for (``joint_weights``, ``paper_info``,
        types of keypoints, colors of edges) is in its metadata under ``mmpose``, for
        `write_metainfo`.

    Raises
    ------
    FormatError
        If the file has anything but data, or the data is wrong, naming everything.
    FileNotFoundError
        If there is no such file.

    Notes
    -----
    Taken are assignments to a name, literals, ``dict()`` with keywords, minus before a number, and
    lists put together by ``+`` and ``*`` (at most 10,000 items).
    """
    where = os.fspath(path)
    size = Path(path).stat().st_size
    if size > MAX_BYTES:
        raise FormatError.from_problems(
            where, [f"has {size:,} bytes, expected at most {MAX_BYTES:,} of a metainfo file"]
        )
    text = _decode(Path(path).read_bytes(), where)
    info = _Data(where).of_file(text).get("dataset_info")
    if not isinstance(info, dict):
        raise FormatError.from_problems(
            where, [f"'dataset_info' is {_show(info)}, expected a dict: not a metainfo of MMPose"]
        )
    problems: list[str] = []
    metadata = _metadata(info, problems)
    if problems:
        raise FormatError.from_problems(where, problems)
    try:
        return Schema.from_metadata(metadata)
    except FormatError as error:
        raise FormatError.from_problems(where, error.problems) from error


class _Data:
    """Values of a Python file that has nothing but data."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._n = 0

    def of_file(self, text: str) -> dict[str, Any]:
        """Values by the names that they are assigned to."""
        if _NESTED.search(text) or text.count("+") > MAX_LENGTH:
            self._refuse("is nested too deeply")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about escapes in strings
                tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = getattr(error, "lineno", None)
            at = "" if line is None else f"line {line}: "
            self._refuse(f"{at}is no Python ({type(error).__name__}: {_show(str(error))})")
        values: dict[str, Any] = {}
        for node in tree.body:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # a docstring
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            if (
                not isinstance(node, ast.Assign)
                or not isinstance(target, ast.Name)
                or len(node.targets) > 1
            ):
                self._refuse_node(node)
            else:
                values[target.id] = self._value(node.value, 0)
        return values

    def _value(self, node: ast.expr, depth: int) -> Any:
        self._n += 1
        if depth > _MAX_DEPTH or self._n > _MAX_VALUES:
            self._refuse(f"line {node.lineno}: has too much in it, or nested too deeply")
        if isinstance(node, ast.Constant) and isinstance(
            node.value, str | int | float | bool | None
        ):
            return node.value
        if isinstance(node, ast.List | ast.Tuple):
            return self._list([self._value(item, depth + 1) for item in node.elts], node)
        if isinstance(node, ast.Dict):
            if None in node.keys:  # **other
                self._refuse_node(node)
            keys = [self._value(key, depth + 1) for key in node.keys if key is not None]
            if not all(isinstance(key, str | int | float) for key in keys):
                self._refuse(f"line {node.lineno}: expected texts or numbers as keys of a dict")
            if len(set(keys)) < len(keys):
                self._refuse(f"line {node.lineno}: a key is there twice in a dict")
            return dict(
                zip(keys, (self._value(value, depth + 1) for value in node.values), strict=True)
            )
        if isinstance(node, ast.Call):
            is_dict = isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args
            if not is_dict or any(keyword.arg is None for keyword in node.keywords):
                self._refuse_node(node)
            return {str(k.arg): self._value(k.value, depth + 1) for k in node.keywords}
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = self._value(node.operand, depth + 1)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return -value
        if isinstance(node, ast.BinOp):
            return self._joined(node, depth)
        self._refuse_node(node)

    def _joined(self, node: ast.BinOp, depth: int) -> list[Any]:
        """Two lists one after the other, or one a number of times."""
        # A long sum is nested to the left: taken apart here, for it is no deeper for that.
        terms: list[ast.expr] = []
        left: ast.expr = node
        while isinstance(left, ast.BinOp) and isinstance(left.op, ast.Add):
            terms.append(left.right)
            left = left.left
        if terms:
            result: list[Any] = []
            for term in (left, *reversed(terms)):
                value = self._value(term, depth + 1)
                if not isinstance(value, list):
                    self._refuse_node(node)
                result = self._list(result + value, node)
            return result
        items, times = self._value(node.left, depth + 1), self._value(node.right, depth + 1)
        if isinstance(node.op, ast.Mult) and isinstance(items, list):
            n = as_int(times)
            if n is not None and 0 <= n <= MAX_LENGTH and n * len(items) <= MAX_LENGTH:
                # Items that are lists themselves are the same list n times, and n times as much to
                # whoever goes through them.
                self._n += n * _n_values(items)
                return self._list(items * n if self._n <= _MAX_VALUES else [], node)
            self._refuse(
                f"line {node.lineno}: {len(items)} items {_show(times)} times, expected a list of "
                f"at most {MAX_LENGTH:,}"
            )
        self._refuse_node(node)

    def _list(self, items: list[Any], node: ast.expr) -> list[Any]:
        self._n += len(items)
        if len(items) > MAX_LENGTH or self._n > _MAX_VALUES:
            self._refuse(
                f"line {node.lineno}: expected a list of at most {MAX_LENGTH:,} items, and at most "
                f"{_MAX_VALUES:,} values in the whole file"
            )
        return items

    def _refuse_node(self, node: ast.stmt | ast.expr) -> NoReturn:
        self._refuse(
            f"line {node.lineno}: expected data, got {type(node).__name__}: a metainfo has "
            "assignments, literals, dict() with keywords, lists joined by + and *; it is not run. "
            "Replace what is computed by its value"
        )

    def _refuse(self, problem: str) -> NoReturn:
        raise FormatError.from_problems(self._where, [problem])


def _n_values(value: Any) -> int:
    """How many values there are in a value, those in lists and dicts within it included."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + sum(map(_n_values, value)) if isinstance(value, list) else 1


# --- what the data means ------------------------------------------------------------------------


def _metadata(info: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """Metadata in the form of a COCO category; what is wrong is added."""
    keypoints = _numbered(info, "keypoint_info", problems)
    names = [str(point.get("name")) for point in keypoints]
    for k, point in enumerate(keypoints):
        if not isinstance(point.get("name"), str):
            problems.append(f"keypoint_info {k}: 'name' is {_show(point.get('name'))}")
    place = {name: k for k, name in enumerate(names)}
    pairs = []
    for k, point in enumerate(keypoints):
        swap = point.get("swap") or names[k]
        other = place.get(swap) if isinstance(swap, str) else None
        if other is None:
            problems.append(f"keypoint {_show(names[k])}: 'swap' is {_show(swap)}, which is none")
            continue
        back = keypoints[other].get("swap") or names[other]
        if back != names[k]:
            problems.append(
                f"keypoint {_show(names[k])}: its 'swap' is {_show(swap)}, whose own is "
                f"{_show(back)}; expected each other's"
            )
        elif k < other:
            pairs.append([names[k], names[other]])
    links = _numbered(info, "skeleton_info", problems)
    skeleton = []
    for i, edge in enumerate(links):
        link = edge.get("link")
        given = link if isinstance(link, list) else []
        ends = [place.get(end) if isinstance(end, str) else None for end in given]
        if len(ends) != 2 or ends[0] is None or ends[1] is None:
            problems.append(
                f"skeleton_info {i}: 'link' is {_show(link)}, expected two names of keypoints"
            )
            continue
        skeleton.append([ends[0] + 1, ends[1] + 1])
    metadata: dict[str, Any] = {
        "name": info.get("dataset_name"),
        "keypoints": names,
        "skeleton": skeleton,
        "flip_pairs": pairs,
    }
    sigmas = info.get("sigmas")
    numbers = [as_float(sigma) for sigma in sigmas] if isinstance(sigmas, list) else [None]
    if numbers and (len(numbers) != len(names) or None in numbers):
        problems.append(
            f"'sigmas' is {_show(sigmas)}, expected {len(names)} numbers, one for each keypoint, "
            "or none at all"
        )
    metadata["sigmas"] = sigmas or None  # many of MMPose's own files have an empty list
    colors = [_hex(point.get("color")) for point in keypoints]
    if colors and None not in colors:
        metadata["colors"] = colors
    if not isinstance(info.get("dataset_name"), str):
        problems.append(f"'dataset_name' is {_show(info.get('dataset_name'))}, expected text")
    metadata[_KEY] = {
        "types": [point.get("type", "") for point in keypoints],
        "edge_colors": [edge.get("color") for edge in links],
        **{
            key: value
            for key, value in info.items()
            if key not in ("dataset_name", "keypoint_info", "skeleton_info", "sigmas")
            and _is_json(value)
        },
    }
    return metadata


def _numbered(info: Mapping[str, Any], key: str, problems: list[str]) -> list[dict[str, Any]]:
    """Records of a dict whose keys are 0, 1, ..., in this order."""
    records = info.get(key)
    if not isinstance(records, dict):
        problems.append(f"{key!r} is {_show(records)}, expected a dict with the keys 0, 1, ...")
        return []
    keys = [as_int(number) for number in records]
    if sorted(k for k in keys if k is not None) != list(range(len(records))):
        problems.append(f"{key!r} has the keys {_show(list(records))}, expected 0, 1, ...")
        return []
    found = [records[number] for number in range(len(records))]
    if not all(isinstance(record, dict) for record in found):
        problems.append(f"{key!r}: expected a dict for each, got {_show(found)}")
        return []
    return found


def _is_json(value: Any) -> bool:
    """Whether all keys of dicts are text: metadata is JSON. No others are known in such files."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    return all(map(_is_json, value)) if isinstance(value, list) else True


def _hex(color: Any) -> str | None:
    """'#rrggbb' of a list of three numbers in 0..255, None for anything else."""
    numbers = [as_int(part) for part in color] if isinstance(color, list) else []
    parts = [n for n in numbers if n is not None and 0 <= n <= 255]
    return f"#{bytes(parts).hex()}" if len(parts) == len(numbers) == 3 else None


def write_metainfo(schema: Schema, path: str | os.PathLike[str]) -> None:
    """Write a schema as a metainfo file of MMPose.

    Parameters
    ----------
    schema : Schema
    path : str or os.PathLike
        The Python file, replaced in one go.

    Notes
    -----
    A schema without sigmas gets an empty list of them, as in MMPose's own files; MMPose then trains
    but cannot evaluate by OKS. Weights of keypoints in the loss (``joint_weights``) are those that
    were read, else 1. Aliases, parts and the layout of a schema have no place.
    """
    numbers = [] if schema.sigmas is None else schema.sigmas.tolist()
    kept = schema.to_metadata().get(_KEY)
    kept = dict(kept) if isinstance(kept, dict) else {}
    types = _as_many(kept.pop("types", None), schema.n_keypoints, "")
    edge_colors = _as_many(kept.pop("edge_colors", None), len(schema.edges), None)
    weights = kept.pop("joint_weights", [1.0] * schema.n_keypoints)
    swap = schema.flip_indices.tolist()
    lines = ["dataset_info = dict(", f"    dataset_name={schema.name!r},"]
    for key in [key for key in kept if key.isidentifier()]:
        lines.append(f"    {key}={_literal(kept[key])},")
    if "paper_info" not in kept:
        lines.append(
            "    paper_info=dict(author='', title='', container='', year='', homepage=''),"
        )
    lines.append("    keypoint_info={")
    for k, name in enumerate(schema.keypoints):
        color = list(bytes.fromhex(schema.colors[k][1:]))
        other = schema.keypoints[swap[k]] if swap[k] != k else ""
        lines.append(
            f"        {k}: dict(name={name!r}, id={k}, color={color}, type={str(types[k])!r}, "
            f"swap={other!r}),"
        )
    lines.append("    },")
    lines.append("    skeleton_info={")
    for i, (a, b) in enumerate(schema.edges.tolist()):
        link = (schema.keypoints[a], schema.keypoints[b])
        color = (
            edge_colors[i] if _hex(edge_colors[i]) else list(bytes.fromhex(schema.colors[b][1:]))
        )
        lines.append(f"        {i}: dict(link={link!r}, id={i}, color={color}),")
    lines.append("    },")
    lines.append(f"    joint_weights={_literal(weights)},")
    lines.append(f"    sigmas={_literal(numbers)})")
    write_file(path, ["\n".join([*lines, ""]).encode()])


def _as_many(values: Any, n: int, default: Any) -> list[Any]:
    """Values that were kept, if there are as many as needed still."""
    return values if isinstance(values, list) and len(values) == n else [default] * n


def _literal(value: Any) -> str:
    """Python literal of JSON values."""
    return pprint.pformat(value, width=90, sort_dicts=False).replace("\n", "\n        ")
