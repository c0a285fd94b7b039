"""Files to datasets and back: `read`, `write`, and the one table of formats.

A format is one module beside this one with a function that reads and one that writes, and one row
in `FORMATS`.
"""

from __future__ import annotations

import importlib
import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

if TYPE_CHECKING:
    from kpwidget.dataset import Dataset, Selection

__all__ = ["FORMATS", "Format", "WriteReport", "read", "write", "write_file"]


@dataclass(frozen=True)
class Format:
    """One row of the table of formats.

    Attributes
    ----------
    name : str
        What `read` and `write` call it.
    description : str
        For people, in one line.
    extensions : tuple of str
        Endings of its files, with the dot, in lower case.
    module : str
        Module with the two functions; imported when the format is used.
    reader, writer : str
        Names of the functions: ``reader(path, images, *, on_error, allow_outside)`` returns a
        Dataset, ``writer(dataset, path)`` a `WriteReport`.
    """

    name: str
    description: str
    extensions: tuple[str, ...]
    module: str
    reader: str
    writer: str


FORMATS: Final[dict[str, Format]] = {
    format.name: format
    for format in (
        Format(
            "coco",
            "COCO keypoints: one JSON file",
            (".json",),
            "kpwidget.formats.coco",
            "read_coco",
            "write_coco",
        ),
    )
}
"""The formats by name."""


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
        What was not written or is worth knowing, each in words.
    """

    path: Path
    format: str
    n_images: int
    n_instances: int
    n_new_ids: int = 0
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return one line, and one more per note."""
        head = (
            f"{self.path}: {self.n_images} images and {self.n_instances} instances written as "
            f"{self.format}"
        )
        return "\n".join([head, *(f"  {note}" for note in self.notes)])


def read(
    path: str | os.PathLike[str],
    images: Any = None,
    format: str | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    allow_outside: bool = False,
) -> Dataset:
    """Dataset in a file.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    images : folder, list of folders, glob, list of paths, or mapping, optional
        Where the image files are: folders in which each image's file name is looked for, or the
        files themselves, or a mapping from file name to path, bytes or array. Default: the folder
        of the file. An image that is missing or bad fails when it is opened, not here.
    format : str, optional
        A name of `FORMATS`. By default told by the file's ending.
    on_error : {'raise', 'skip'}
        What to do with records that cannot be used: raise one error that names them all, or leave
        them out (they are named in a warning and in ``dataset.skipped``, and written back as they
        are when the dataset is saved).
    allow_outside : bool, default False
        Permit file names that are absolute or lead out of the image folders.

    Returns
    -------
    Dataset

    Raises
    ------
    FormatError
        If the file is not of the format, or records in it are bad, naming every one.
    ValueError
        If the format is unknown, naming those there are.
    """
    reader = cast("Callable[..., Dataset]", _function(_format_for(path, format), "reader"))
    return reader(path, images, on_error=on_error, allow_outside=allow_outside)


def write(
    dataset: Dataset | Selection,
    path: str | os.PathLike[str],
    format: str | None = "coco",
    allow_loss: bool = False,
) -> WriteReport:
    """Write a dataset, or a selection of one, to a file.

    Parameters
    ----------
    dataset : Dataset or Selection
        Its new instances are given their annotation ids and keep them.
    path : str or os.PathLike
        The file. It is replaced in one go: a crash leaves the old file or the new one.
    format : str, default 'coco'
        A name of `FORMATS`; None is told by the file's ending.
    allow_loss : bool, default False
        The caller's word that what the format cannot hold may go. COCO holds all keypoints.

    Returns
    -------
    WriteReport
        What was written, and what was not.

    Raises
    ------
    ValueError
        If the format is unknown, naming those there are.
    OSError
        If the file cannot be written. The old file is still there.
    """
    from kpwidget.dataset import Selection

    row = _format_for(path, format)
    writer = cast("Callable[..., WriteReport]", _function(row, "writer"))
    if isinstance(dataset, Selection):
        dataset = dataset._with_ids().copy()
    return writer(dataset, path)


def _format_for(path: str | os.PathLike[str], name: str | None) -> Format:
    if name is None:
        suffix = Path(path).suffix.lower()
        matching = [row for row in FORMATS.values() if suffix in row.extensions]
        if len(matching) == 1:
            return matching[0]
        found = "several formats have" if matching else "no format has"
        raise ValueError(
            f"{os.fspath(path)}: {found} files that end in {suffix!r}; pass format=, one of: "
            + _names()
        )
    if name not in FORMATS:
        raise ValueError(f"unknown format {name!r}; there are: {_names()}")
    return FORMATS[name]


def _names() -> str:
    return ", ".join(
        f"{row.name!r} ({row.description}; {' '.join(row.extensions)})" for row in FORMATS.values()
    )


def _function(row: Format, which: Literal["reader", "writer"]) -> Any:
    return getattr(importlib.import_module(row.module), getattr(row, which))


def write_file(path: str | os.PathLike[str], chunks: Iterable[bytes]) -> None:
    """Write a file in one go: at every moment there is the whole old file or the whole new one.

    Parameters
    ----------
    path : str or os.PathLike
        A link is followed. The permissions of a file that exists are kept.
    chunks : iterable of bytes
        The content.

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
