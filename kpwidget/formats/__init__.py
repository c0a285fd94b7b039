"""Files to datasets and back: `read`, `write`, and the one table of formats.

A format is one module beside this one with a function that reads, one that writes and one that
says beforehand what would be lost, and one row of the table in ``table.py``, which says what it
keeps and loses. Other packages add rows by an entry point of the group ``kpwidget.formats`` that
names a `Format`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import itertools
import os
import re
import secrets
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from kpwidget.formats.table import BUILT_IN, Format
from kpwidget.schema import Category, FormatError, Schema
from kpwidget.schemas.orders import find_other_order, has_other_orders
from kpwidget.words import count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kpwidget.dataset import Dataset, Selection

__all__ = [
    "FORMATS",
    "Format",
    "Loss",
    "LossError",
    "Problems",
    "WriteReport",
    "all_formats",
    "check_told",
    "count",
    "detect_format",
    "keypoints_of",
    "levels_to_caller",
    "made_by",
    "needed",
    "read",
    "settle",
    "with_schemas",
    "write",
    "write_file",
]


FORMATS: Final[Mapping[str, Format]] = {row.name: row for row in BUILT_IN}
"""The formats that come with kpwidget, by name."""

MAX_UNTOLD: Final = 10_000_000
"""Keypoints that a file may leave out, all instances together: as a dataset 250 MB."""

ENTRY_POINTS: Final = "kpwidget.formats"
"""Group of the entry points by which other packages add formats."""


@functools.cache
def all_formats() -> Mapping[str, Format]:
    """The formats that there are, by name: those of `FORMATS` and those of other packages.

    Returns
    -------
    mapping of str to Format

    Warns
    -----
    UserWarning
        If another package's entry point cannot be used; it is left out.
    """
    found = dict(FORMATS)
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        where = f"entry point {entry.name!r} of group {ENTRY_POINTS!r} ({entry.value})"
        try:
            row = entry.load()
        except Exception as error:  # whatever the other package raises when it is imported
            warnings.warn(f"{where} is left out: {type(error).__name__}: {error}", stacklevel=2)
            continue
        if not isinstance(row, Format):
            problem = f"expected a kpwidget.formats.Format, got {type(row).__name__}"
        elif row.name in found:
            problem = f"there is a format {row.name!r} already"
        else:
            found[row.name] = row
            continue
        warnings.warn(f"{where} is left out: {problem}", stacklevel=2)
    return found


class Problems:
    """What is wrong with a file: the first ten thousand things in words, the others counted.

    A file of some megabytes can have millions of bad records, and words for each would take some
    gigabytes.
    """

    MAX_LISTED: Final = 10_000

    def __init__(self) -> None:
        self._listed: list[str] = []
        self._n = 0

    def append(self, problem: str) -> None:
        """Add one, in words."""
        self._n += 1
        if self._n <= self.MAX_LISTED:
            self._listed.append(problem)

    def extend(self, problems: Iterable[str]) -> None:
        """Add several, each in words."""
        for problem in problems:
            self.append(problem)

    @property
    def is_full(self) -> bool:
        """Whether more would only be counted."""
        return self._n >= self.MAX_LISTED

    def __len__(self) -> int:
        """How many there are."""
        return self._n

    def __iter__(self) -> Iterator[str]:
        """Iterate over those that are listed, and one that counts the others."""
        yield from self._listed
        if self._n > self.MAX_LISTED:
            yield f"and {count(self._n - self.MAX_LISTED, 'problem')} more, which are not listed"


@dataclass(frozen=True)
class Loss:
    """One kind of thing that a format has no place for.

    Attributes
    ----------
    what : str
        The field concerned, in a word: 'visibility', 'track_id', ...
    n : int
        How many keypoints, instances or images it concerns.
    text : str
        In words, with the number: "23 keypoints with visibility 1 would become 2".
    examples : tuple of str
        The first few, each in words.
    """

    what: str
    n: int
    text: str
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the words, with the examples."""
        return self.text + (f" ({'; '.join(self.examples)})" if self.examples else "")


class LossError(ValueError):
    """A write that would lose something, refused before anything was written.

    Attributes
    ----------
    losses : tuple of Loss
    """

    def __init__(self, where: str, format: str, losses: Sequence[Loss]) -> None:
        self.losses = tuple(losses)
        listed = "\n".join(f"  - {loss}" for loss in losses)
        super().__init__(
            f"{where}: not written, format {format!r} has no place for all of it:\n{listed}\n"
            "Pass allow_loss=True to write the rest."
        )


@dataclass(frozen=True)
class WriteReport:
    """What was written, and what the format has no place for.

    Attributes
    ----------
    path : Path
    format : str
    n_images, n_instances : int
    n_new_ids : int
        Instances that were given their annotation id by this write.
    notes : tuple of str
        What was not written, how things were mapped or what is worth knowing, each in words.
    losses : tuple of Loss
        What was lost with the caller's leave.
    content : sequence of bytes or memoryview
        What the file holds, in pieces; empty for formats that are a folder.
    """

    path: Path
    format: str
    n_images: int
    n_instances: int
    n_new_ids: int = 0
    notes: tuple[str, ...] = ()
    losses: tuple[Loss, ...] = ()
    content: Sequence[bytes | memoryview] = field(default=(), repr=False, compare=False)

    def __str__(self) -> str:
        """Return one line, and one more per loss and note."""
        head = (
            f"{self.path}: {count(self.n_images, 'image')} and "
            f"{count(self.n_instances, 'instance')} written as {self.format}"
        )
        lost = (f"  lost: {loss}" for loss in self.losses)
        return "\n".join([head, *lost, *(f"  {note}" for note in self.notes)])


def read(
    path: str | os.PathLike[str],
    images: Any = None,
    format: str | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    allow_outside: bool = False,
    **options: Any,
) -> Dataset:
    """Dataset in a file or folder.

    Parameters
    ----------
    path : str or os.PathLike
        The file, or the folder for formats that are one.
    images : folder, list of folders, glob, list of paths, or mapping, optional
        Where the image files are: folders in which each image's file name is looked for, or the
        files themselves, or a mapping from file name to path, bytes or array. Default: the folder
        of the file. An image that is missing or bad fails when it is opened, not here.
    format : str, optional
        A name of `all_formats`. By default told by the content.
    on_error : {'raise', 'skip'}
        What to do with records that cannot be used: raise one error that names them all, or leave
        them out (they are named in a warning and in ``dataset.skipped``; those of a COCO file are
        written back as they are when the dataset is saved).
    allow_outside : bool, default False
        Permit file names that are absolute or lead out of the image folders.
    **options
        Of the format.
        coco: ``schema``, ``wholebody``, ``match``; see `kpwidget.formats.coco.read_coco`.
        coco-results: ``ground_truth``, ``model``; see `coco_results.read_coco_results` there.
        yolo-pose: ``schema``, ``split``; see `yolo.read_yolo` there.
        cvat-images, cvat-video: ``schema``; see `kpwidget.formats.cvat` there.
        label-studio: ``schema``, ``config``, ``annotations``, ``predictions``; see
        `label_studio.read_label_studio` there.
        deeplabcut, labelme, parquet, huggingface: ``schema``. via: ``schema``, ``attributes``.
        supervisely, datumaro, sleap, nwb: none.

    Returns
    -------
    Dataset

    Raises
    ------
    FormatError
        If the file is not of the format, or records in it are bad, naming every one.
    ValueError
        If the format is unknown or cannot be told, naming those there are.

    Warns
    -----
    UserWarning
        If the names of the keypoints and the lengths of the edges tell that the points are in
        another known order of these names. Nothing is changed.
    """
    row = _named(detect_format(path)) if format is None else _named(format)
    reader = _function(row, row.reader)
    _check_options(row, reader, options)
    dataset: Dataset = reader(
        path, images, on_error=on_error, allow_outside=allow_outside, **options
    )
    for category in dataset.categories:
        if has_other_orders(category.keypoints):
            keypoints = dataset.keypoints(category)
            other = find_other_order(keypoints, category.keypoints, category.schema.edges)
            if other:
                warnings.warn(f"{path}: category {category.name!r}: {other}", stacklevel=2)
    return dataset


def write(
    dataset: Dataset | Selection,
    path: str | os.PathLike[str],
    format: str | None = None,
    allow_loss: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> WriteReport:
    """Write a dataset, or a selection of one, to a file or folder.

    Parameters
    ----------
    dataset : Dataset or Selection
        Its new instances are given their annotation ids and keep them.
    path : str or os.PathLike
        The file or folder. A file of the same format is replaced, in one go: a crash leaves the old
        or the new one.
    format : str, optional
        A name of `all_formats`. By default that of the file's ending; 'coco' for ``.json``, which
        several formats have.
    allow_loss : bool, default False
        Write although the format has no place for some of it. COCO holds all keypoints.
    overwrite : bool, default False
        Replace a file that is something else than a file of this format, too.
    **options
        Of the format.
        coco, coco-results, cvat-images, cvat-video, label-studio: none.
        yolo-pose: ``split``, ``seed``, ``group``, ``images`` ('copy', 'link', 'leave'),
        ``keypoint_dims``; see `kpwidget.formats.yolo.write_yolo`.
        deeplabcut: ``images``, ``scorer``, ``h5``. supervisely, labelme,
        huggingface: ``images``.
        parquet: ``partition_by``. datumaro: ``dialect``. via, sleap, nwb: none.

    Returns
    -------
    WriteReport
        What was written, and what was not.

    Raises
    ------
    LossError
        If something would be lost, with counts and examples. Nothing was written.
    ValueError
        If the format is unknown, naming those there are.
    FileExistsError
        If the file is there and is not of this format, without `overwrite`; if other files are in
        the way in a folder.
    OSError
        If the file cannot be written. The old file is still there.
    """
    from kpwidget.dataset import Selection

    row = _by_ending(path) if format is None else _named(format)
    writer, find_losses = _function(row, row.writer), _function(row, row.losses)
    _check_options(row, writer, options)
    target = Path(path)
    # A format that is a folder refuses a file by itself, unless it has files as well.
    is_file = not row.is_folder or target.suffix.lower() in row.extensions
    is_something = is_file and target.is_file() and target.stat().st_size > len("[]\n")
    if is_something and not overwrite and not _function(row, row.is_of)(target):
        raise FileExistsError(
            f"{target}: is there, and no file of the format {row.name!r} ({row.description}); give "
            "another name, or pass overwrite=True to replace it. Nothing was written"
        )
    if isinstance(dataset, Selection):
        # A copy would make up ids of its own.
        dataset = (dataset._with_ids() if row.has_ids else dataset).copy()
    with dataset.lock:
        losses = find_losses(dataset, **_taken_by(find_losses, options))
    if losses and not allow_loss:
        raise LossError(os.fspath(path), row.name, losses)
    report: WriteReport = writer(dataset, path, **options)
    notes = list(report.notes)
    if len(dataset.passes):
        notes.append(
            f"{count(len(dataset.passes), 'second opinion')} not written: ds.passes.labels(name) "
            "makes a dataset of a pass"
        )
    if len(dataset.decisions):
        notes.append(f"{count(len(dataset.decisions), 'decision')} on findings not written")
    return replace(report, losses=tuple(losses), notes=tuple(notes))


def detect_format(path: str | os.PathLike[str]) -> str:
    """Name of the format of a file or folder, told by its content.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    str
        A name of `all_formats`.

    Raises
    ------
    FileNotFoundError
        If there is nothing there.
    FormatError
        If it is a known part of something else that is read, naming what to pass instead.
    ValueError
        If no format fits, or several do, naming them.
    """
    where = Path(path)
    if not where.exists():
        raise FileNotFoundError(f"{where}: there is no such file or folder")
    if where.is_dir():
        candidates = [row for row in all_formats().values() if row.is_folder]
    else:
        candidates = [
            row for row in all_formats().values() if where.suffix.lower() in row.extensions
        ]
        if not candidates and where.suffix.lower() not in _NOT_LABELS:
            raise ValueError(
                f"{where}: no format has files that end in {where.suffix!r}; pass format=, one of: "
                + _names()
            )
    fitting = [row for row in candidates if _function(row, row.is_of)(where)]
    if len(fitting) == 1:
        return fitting[0].name
    if fitting:
        raise ValueError(
            f"{where}: its content fits several formats; pass format=, one of: {_names(fitting)}"
        )
    instead = _what_instead(where)
    if instead is not None:
        raise FormatError.from_problems(os.fspath(where), [instead])
    if where.is_dir():
        endings = {ending for row in all_formats().values() for ending in row.extensions}
        entries = (entry for entry in where.iterdir() if entry.suffix.lower() in endings)
        inside = sorted(entry.name for entry in entries)[:5]
        hint = f"; name a file in it: {', '.join(map(repr, inside))}" if inside else ""
        raise ValueError(
            f"{where}: no format fits this folder{hint}. Folders are read of: {_names(candidates)}"
        )
    # The reader says what is wrong with the file better than "no format fits" could.
    return candidates[0].name


_LOOK: Final = 1 << 16  # bytes of a file that is no labels file

_NOT_LABELS: Final = {
    ".py": "a Python file has no labels. If it is a metainfo of MMPose, "
    "kpwidget.formats.mmpose.read_metainfo(path) makes a schema of it, which schema= of kp.read "
    "takes for the COCO file with the labels",
    ".zip": "is an archive; unpack it, and pass the labels file or the folder that was in it",
}
"""What to pass instead of files with these endings, which no format has."""


def _what_instead(where: Path) -> str | None:
    """What a file or folder is that no format fits, and what to pass instead; None if unknown."""
    if where.is_dir():
        head = b""
    else:
        with open(where, "rb") as file:
            head = file.read(_LOOK)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    is_annotation = start[:1] == b"{" and b'"objects"' in head and b'"classTitle"' in head
    if is_annotation or ((where / "ann").is_dir() and not (where / "meta.json").exists()):
        meta = next((p / "meta.json" for p in where.parents if (p / "meta.json").is_file()), None)
        which = "which has a meta.json" if meta is None else repr(os.fspath(meta.parent))
        what = "the annotation of one image" if is_annotation else "a dataset"
        return f"is {what} of a Supervisely project; pass the folder of the project, {which}"
    if start[:1] == b"[" and b'"keypointlabels"' in head and b'"result"' not in head:
        return (
            "is the JSON-MIN of Label Studio, which does not say what belongs together; export the "
            "tasks as JSON, and pass that file"
        )
    if where.suffix.lower() == ".xml" and re.match(rb"(<[?!][^>]*>\s*)*<View\b", start):
        return (
            "is a labeling configuration of Label Studio, which has no labels; pass the JSON file "
            "of the tasks. It is read from beside that file if its name is label_config.xml, or "
            "with config="
        )
    return _NOT_LABELS.get(where.suffix.lower())


def _named(name: str) -> Format:
    formats = all_formats()
    if name not in formats:
        raise ValueError(f"unknown format {name!r}; there are: {_names()}")
    return formats[name]


def _by_ending(path: str | os.PathLike[str]) -> Format:
    suffix = Path(path).suffix.lower()
    if suffix == ".json":
        return _named("coco")
    matching = [row for row in all_formats().values() if suffix in row.extensions]
    if len(matching) == 1:
        return matching[0]
    found = "several formats have" if matching else "no format has"
    raise ValueError(
        f"{os.fspath(path)}: {found} files that end in {suffix!r}; pass format=, one of: "
        + _names(matching)
    )


def _names(rows: Sequence[Format] = ()) -> str:
    return ", ".join(f"{row.name!r} ({row.description})" for row in rows or all_formats().values())


def _function(row: Format, name: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(importlib.import_module(row.module), name)
    return function


def _own_options(function: Callable[..., Any]) -> list[str]:
    kinds = inspect.signature(function).parameters.values()
    common = ("on_error", "allow_outside")
    return [p.name for p in kinds if p.kind is p.KEYWORD_ONLY and p.name not in common]


def _taken_by(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    known = _own_options(function)
    return {key: value for key, value in options.items() if key in known}


def _check_options(row: Format, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    known = _own_options(function)
    unknown = [key for key in options if key not in known]
    if unknown:
        listed = f"it has {', '.join(known)}" if known else "it has none"
        if getattr(function, "__name__", "").startswith("read"):
            listed += "; every format has images, format, on_error and allow_outside"
        raise TypeError(
            f"format {row.name!r} has no option {', '.join(map(repr, unknown))}; {listed}"
        )


def levels_to_caller() -> int:
    """`stacklevel` by which a warning of the calling function points outside of kpwidget."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("kpwidget."):
        level, frame = level + 1, frame.f_back
    return level


def settle(
    dataset: Dataset,
    where: str,
    problems: Problems,
    warned: Iterable[str],
    on_error: Literal["raise", "skip"],
) -> Dataset:
    """Return what a reader has read, once it has raised or said what was wrong.

    Parameters
    ----------
    dataset : Dataset
        Without the records that are bad; their problems become its `skipped`.
    where : str
        The file.
    problems : Problems
    warned : iterable of str
        What a user should know besides; each becomes a warning.
    on_error : {'raise', 'skip'}

    Raises
    ------
    FormatError
        If there are problems and they are not to be skipped, naming every one.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error is 'raise' or 'skip', not {on_error!r}")
    found = count(len(problems), "problem")
    if problems and on_error == "raise":
        raise FormatError.from_problems(
            where, problems, f"{found}; on_error='skip' leaves them out"
        )
    dataset.skipped = tuple(problems)
    said = list(warned)
    if problems:
        some = "; ".join(itertools.islice(problems, 5))
        said.append(f"left out, {found} (all in ds.skipped): {some}")
    for text in said:
        warnings.warn(f"{where}: {text}", stacklevel=levels_to_caller())
    return dataset


def check_told(n_keypoints: int, n_told: int, where: str) -> None:
    """Raise FormatError if a small file would become a huge dataset.

    In formats that leave out what is unlabeled some kilobytes can name ten thousand keypoints and
    as many instances that have none of them.

    Parameters
    ----------
    n_keypoints : int
        Of all instances together, the unlabeled ones included.
    n_told : int
        How many of them the file tells of.
    where : str
        The file.
    """
    if n_keypoints > MAX_UNTOLD + 100 * n_told:
        raise FormatError.from_problems(
            where,
            [
                f"its instances would have {count(n_keypoints, 'keypoint')}, of which it tells of "
                f"{n_told:,}; expected at most {MAX_UNTOLD:,} and a hundred for each"
            ],
        )


def keypoints_of(
    category: Category, told: Sequence[Mapping[str, tuple[float, float, float]]]
) -> NDArray[np.float64]:
    """Keypoints of instances of a category, by what is told of each.

    Parameters
    ----------
    category : Category
    told : sequence of mapping of str to (x, y, visibility)
        By the names of keypoints, in image pixels. Those left out are unlabeled.

    Returns
    -------
    ndarray of shape (n_instances, n_keypoints, 3)
        As a COCO file holds them: unlabeled is (0, 0, 0), or with the location that was given.
    """
    place = {name: k for k, name in enumerate(category.keypoints)}
    cells = [(i, place[name]) for i, points in enumerate(told) for name in points]
    values = [xyv for points in told for xyv in points.values()]
    keypoints = np.zeros((len(told), category.n_keypoints, 3))
    if cells:
        rows, columns = np.array(cells).T
        keypoints[rows, columns] = values
    return keypoints


def with_schemas(
    categories: Sequence[Category], schema: Schema | Mapping[str, Schema] | None, where: str
) -> list[Category]:
    """Categories of a file, with the schemas that the caller has for them.

    Parameters
    ----------
    categories : sequence of Category
    schema : Schema or mapping of str to Schema, optional
        One for all, or by the category's name. Each has the same keypoints as the category, in any
        order.
    where : str
        The file.

    Raises
    ------
    ValueError
        If a schema has other keypoints, or is for a category that the file has not.
    """
    by_name = schema if isinstance(schema, Mapping) else {}
    names = [category.name for category in categories]
    problems = [
        f"schema: there is no category {name!r}, there are {', '.join(map(repr, names[:20]))}"
        for name in by_name
        if name not in names
    ]
    found = []
    for category in categories:
        chosen = by_name.get(category.name) if isinstance(schema, Mapping) else schema
        if chosen is not None and set(chosen.keypoints) != set(category.keypoints):
            problems.append(
                f"schema {chosen.name!r} has the keypoints {list(chosen.keypoints)!r}, expected "
                f"those of category {category.name!r}: {list(category.keypoints)!r}"
            )
        found.append(category if chosen is None else replace(category, schema=chosen))
    if problems:
        raise ValueError("\n".join(f"{where}: {problem}" for problem in problems))
    return found


def needed(module: str, install: str, what: str) -> Any:
    """Return a module of a package that is not always installed.

    Parameters
    ----------
    module : str
    install : str
        What pip is to install.
    what : str
        What it is needed for, in words.

    Raises
    ------
    ImportError
        If it is not installed, saying how to.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{what} takes {module.partition('.')[0]}, which is not installed ({error}): "
            f'pip install "{install}"'
        ) from error


@contextmanager
def kept_open(path: Path) -> Iterator[None]:
    """Hold a file open while it is replaced, and give up its space in the background.

    To free the blocks of some hundred megabytes takes the system as long as to write them.
    """
    try:
        held = os.open(path, os.O_RDONLY) if os.name == "posix" else None
    except OSError:  # there is none, or it may not be read
        held = None
    try:
        yield
    finally:
        if held is not None:
            threading.Thread(target=os.close, args=(held,)).start()


def made_by(make: Callable[[Path], object], suffix: str) -> Iterator[bytes]:
    """Content for `write_file` of a file that a library makes, which knows names of files only.

    Parameters
    ----------
    make : callable
        Called with the path at which it is to make the file.
    suffix : str
        How the name of that file ends.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, f"made{suffix}")
        make(made)
        with open(made, "rb") as file:
            yield from iter(lambda: file.read(1 << 20), b"")


def write_file(
    path: str | os.PathLike[str],
    chunks: Iterable[bytes | memoryview],
    before: Callable[[Path, os.stat_result], object] = lambda target, stat: None,
) -> None:
    """Write a file in one go: at every moment there is the whole old file or the whole new one.

    Parameters
    ----------
    path : str or os.PathLike
        A link is followed. The permissions of a file that exists are kept.
    chunks : iterable of bytes or memoryview
        The content.
    before : callable, optional
        Called with the path of the file and the status of the new one, when the new content is on
        disk and the old one still in its place.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    OSError
        If writing fails; the old file is as it was.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"{os.fspath(path)}: cannot be written, there is no folder {str(target.parent)!r}; "
            "make it first"
        )
    if target.is_dir():
        raise IsADirectoryError(f"{os.fspath(path)}: is a folder; give the name of a file in it")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            os.chmod(temporary, target.stat().st_mode & 0o7777)
        before(target, temporary.stat())
        with kept_open(target):
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        # The new name is safe from a power cut only when the folder is on disk as well.
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
