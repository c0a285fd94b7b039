"""The tables of DeepLabCut, CSV and HDF5, read with distrust.

An HDF5 file is read by h5py, and nothing in it is unpickled but texts and numbers: pandas and
PyTables would run what a stranger put there.
"""

from __future__ import annotations

import csv
import functools
import io
import math
import os
import pickle
import pickletools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kpwidget.formats import needed
from kpwidget.formats.gathered import Gathered
from kpwidget.formats.hdf5 import MAGIC, check_magic, child, n_unpacked, small
from kpwidget.images import named
from kpwidget.schema import FormatError, _show

__all__ = [
    "CONFIG",
    "H5_KEY",
    "HEADERS",
    "KEY",
    "LABELED",
    "LIKELIHOOD",
    "OWN_KEYS",
    "UNIQUE",
    "Sheet",
    "read_sheet",
]

KEY: Final = "deeplabcut"
"""Of `Dataset.extra`: the scorer, and whether there are individuals."""

CONFIG: Final = "deeplabcut_config"
"""Of `Dataset.extra`: what ``config.yaml`` has that is no label."""

UNIQUE: Final = "single"
"""DeepLabCut's name of the individual that has the unique body parts; our category of them."""

H5_KEY: Final = "df_with_missing"
"""The key that DeepLabCut gives the table in an HDF5 file."""

LIKELIHOOD: Final = "likelihood"
"""The third column that a body part has in a table of predictions."""

LABELED: Final = "labeled-data"
"""Folder of the folders of frames."""

_MAX_BYTES: Final = 1_000_000_000
_MAX_COLUMNS: Final = 100_000

OWN_KEYS: Final = frozenset(
    ("Task", "scorer", "multianimalproject", "project_path", "individuals", "multianimalbodyparts",
     "uniquebodyparts", "bodyparts", "skeleton")
)  # fmt: skip
"""Keys of ``config.yaml`` that a dataset says itself; the others are kept."""

HEADERS: Final = (
    ("scorer", "bodyparts", "coords"),
    ("scorer", "individuals", "bodyparts", "coords"),
)


@dataclass
class Sheet:
    """A table of labels.

    Attributes
    ----------
    columns : list of (individual, body part, coordinate)
        The individual is empty for a project with one animal; a coordinate may be `LIKELIHOOD`.
    rows : list of (line, file name)
        With ``/``; of the predictions for a video the number of a frame.
    values : ndarray of shape (n_rows, n_columns)
        NaN where there is none.
    """

    path: Path
    scorer: str
    columns: list[tuple[str, str, str]]
    rows: list[tuple[int, str]]
    values: NDArray[np.float64]


def read_sheet(path: Path, gathered: Gathered) -> Sheet:
    """Read a table of labels, CSV or HDF5, told by its first bytes.

    Parameters
    ----------
    path : Path
    gathered : Gathered
        Told what is wrong with single rows.

    Raises
    ------
    FormatError
        If it is no such table.
    """
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise FormatError.from_problems(
            os.fspath(path), [f"has {size} bytes, expected a table of at most {_MAX_BYTES}"]
        )
    with open(path, "rb") as file:
        is_hdf5 = file.read(len(MAGIC)) == MAGIC
    if is_hdf5:
        names, columns, rows, values = _read_h5(path)
    else:
        if path.suffix.lower() == ".h5":
            check_magic(path)  # which says what it is not
        names, columns, rows, values = _read_csv(path, gathered)
    where = os.fspath(path)
    scorers = {column[0] for column in columns}
    found = [(column[1] if len(names) == 4 else "", column[-2], column[-1]) for column in columns]
    problems = []
    coordinates = {column[-1] for column in columns}
    if wrong := coordinates - {"x", "y", LIKELIHOOD}:
        problems.append(
            f"has columns {_show(sorted(wrong))}, expected 'x', 'y' and, of predictions, "
            f"{LIKELIHOOD!r}"
        )
    expected = ("x", "y", LIKELIHOOD) if LIKELIHOOD in coordinates else ("x", "y")
    if len(scorers) > 1:
        problems.append(f"has several scorers, {_show(sorted(scorers))}, expected one")
    repeated = [column for column, n in Counter(found).items() if n > 1]
    if repeated:
        problems.append(f"has the column {_show(repeated[0])} more than once")
    pairs = Counter((individual, part) for individual, part, _ in set(found))
    if half := [pair for pair, n in pairs.items() if n != len(expected)]:
        problems.append(f"has not all of {', '.join(expected)} of {_show(half[0])}")
    if any(not part.strip() for _, part, _ in found):
        problems.append("has a body part without a name")
    if problems:
        raise FormatError.from_problems(where, problems)
    return Sheet(path, scorers.pop() if scorers else "", found, rows, values)


_Table = tuple[tuple[str, ...], list[tuple[str, ...]], list[tuple[int, str]], NDArray[np.float64]]
"""Names of the header's rows, the columns, the rows as (line, file name), the values."""


def _read_csv(path: Path, gathered: Gathered) -> _Table:
    where = os.fspath(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError.from_problems(
            where, [f"byte {error.start}: not UTF-8 ({error.reason}); save the file as UTF-8"]
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        lines = [(reader.line_num, line) for line in reader if line]
    except csv.Error as error:
        raise FormatError.from_problems(where, [f"line {reader.line_num}: {error}"]) from error
    names = tuple(line[0] for _, line in lines[:4])
    header = next((h for h in HEADERS if names[: len(h)] == h), None)
    if header is None:
        raise FormatError.from_problems(
            where,
            [
                "is no table of DeepLabCut: expected lines that begin with 'scorer', "
                f"('individuals',) 'bodyparts' and 'coords', got {_show(list(names))}"
            ],
        )
    top = [line for _, line in lines[: len(header)]]
    n_index = next((i for i, cell in enumerate(top[-1][1:], 1) if cell), len(top[-1]))
    lengths = {len(line) for line in top}
    if len(lengths) > 1 or n_index not in (1, 3) or len(top[0]) > _MAX_COLUMNS:
        raise FormatError.from_problems(
            where,
            [
                f"its header has {' and '.join(map(str, sorted(lengths)))} cells, {n_index} of "
                "them before the first column; expected as many in each line, no more than "
                f"{_MAX_COLUMNS}, and 1 or 3 for the image file"
            ],
        )
    columns = list(zip(*(line[n_index:] for line in top), strict=True))
    rows: list[tuple[int, str]] = []
    values: list[list[float]] = []
    for number, line in lines[len(header) :]:
        at = f"{named(path.name)} line {number}"
        if len(line) != len(top[0]):
            gathered.problems.append(f"{at}: has {len(line)} cells, expected {len(top[0])}")
            continue
        try:
            found = [_number(cell) if cell else math.nan for cell in line[n_index:]]
        except ValueError:
            wrong = next(cell for cell in line[n_index:] if not _is_number(cell))
            gathered.problems.append(f"{at}: {_show(wrong)} is no number")
            continue
        rows.append((number, "/".join(line[:n_index])))
        values.append(found)
    return header, columns, rows, np.array(values, np.float64).reshape(len(rows), len(columns))


def _number(cell: str) -> float:
    if "_" in cell or not cell.isascii():  # Python takes these in numbers, and pandas does not
        raise ValueError
    return float(cell)


def _is_number(cell: str) -> bool:
    try:
        _number(cell or "nan")
    except ValueError:
        return False
    return True


_OF_TEXTS: Final = frozenset(
    ("PROTO", "FRAME", "MARK", "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE",
     "TUPLE1", "TUPLE2", "TUPLE3", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "STRING",
     "BINSTRING", "SHORT_BINSTRING", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET",
     "LONG_BINGET", "STOP")
)  # fmt: skip
"""Operations of pickle that a list of tuples of texts needs."""


def _unpickled_columns(data: Any) -> list[tuple[str, ...]]:
    """Return the list of tuples of texts that is pickled, once a look at it says it is no more."""
    content = bytes(data)
    # The unpickler itself makes room for any number of values or bytes that it is told of.
    for operation, argument, _ in pickletools.genops(content):
        if operation.name in ("GLOBAL", "STACK_GLOBAL", "INST"):
            raise pickle.UnpicklingError(f"it names {argument or 'something'}, which is not called")
        is_far = isinstance(argument, int) and argument > len(content)
        if operation.name not in _OF_TEXTS or is_far:
            raise pickle.UnpicklingError(f"it has {operation.name}, which texts do not need")
    columns = pickle.loads(content)
    if not isinstance(columns, list) or not all(
        isinstance(column, tuple) and all(isinstance(cell, str) for cell in column)
        for column in columns
    ):
        raise ValueError("its columns are no texts")
    return columns


def _read_h5(path: Path) -> _Table:
    h5py = needed("h5py", "kpwidget[dlc]", "reading HDF5 files of DeepLabCut")
    where = os.fspath(path)
    try:
        with h5py.File(path, "r") as file:
            table = child(file, H5_KEY, h5py) or child(file, next(iter(file)), h5py)
            parts = functools.partial(child, table, h5py=h5py)
            if parts("block0_values") is not None:
                names, columns = _levels(parts, "axis0")
                _, index = _levels(parts, "axis1")
                values = small(parts("block0_values"))
                _, order = _levels(parts, "block0_items")
                if order != columns:
                    raise ValueError("its columns are not in one block")
            else:
                table = parts("table")
                field = "values_block_0"
                raw = small(table)
                if set(raw.dtype.names or ()) != {"index", field}:
                    raise ValueError("its columns are not in one block")
                columns = _unpickled_columns(table.attrs[f"{field}_kind"])
                names = HEADERS[len(columns[0]) - 3]
                index = [(_text(cell),) for cell in raw["index"]]
                values = raw[field].reshape(len(index), -1)
            found = np.asarray(values, np.float64).reshape(len(index), len(columns))
    except (OSError, KeyError, ValueError, TypeError, IndexError, StopIteration,
            AttributeError, RuntimeError, pickle.UnpicklingError, EOFError) as error:  # fmt: skip
        raise FormatError.from_problems(
            where,
            [
                f"cannot be read as a table of DeepLabCut ({type(error).__name__}: "
                f"{str(error)[:200]}); expected the key {H5_KEY!r} with a table of pandas. The "
                "CSV file beside it has the same labels"
            ],
        ) from error
    if names not in HEADERS:
        raise FormatError.from_problems(
            where, [f"its columns are named {_show(list(names))}, expected {_show(HEADERS[1])}"]
        )
    return names, columns, [(i, "/".join(row)) for i, row in enumerate(index, 1)], found


def _levels(
    parts: Callable[[str], Any], axis: str
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Names and values of an index as pandas stores it: one of texts, or one of several levels."""
    if parts(f"{axis}_level0") is None:
        return ("",), [(_text(cell),) for cell in small(parts(axis))]
    names, columns = [], []
    n_text = 0
    for i in range(int(parts("").attrs[f"{axis}_nlevels"])):
        values, places = parts(f"{axis}_level{i}"), parts(f"{axis}_label{i}")
        labels = small(places).tolist()
        if axis != "axis1" and len(labels) > _MAX_COLUMNS:
            raise ValueError(f"{axis} has more than {_MAX_COLUMNS} columns")
        level = [_text(cell) for cell in small(values)]
        if any(not 0 <= label < len(level) for label in labels):
            raise ValueError(f"{axis}_label{i} has a number that is no value of its level")
        n_text += sum(len(level[label]) for label in labels)
        if n_text > n_unpacked(values):
            raise ValueError(f"{axis} has far more text than the file")
        name = values.attrs.get("name", b"")
        names.append(_text(name) if isinstance(name, bytes) else "")
        columns.append([level[label] for label in labels])
    return tuple(names), list(zip(*columns, strict=True))


def _text(cell: Any) -> str:
    return cell.decode("utf-8") if isinstance(cell, bytes) else str(cell)
