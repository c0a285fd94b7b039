"""HDF5 files of strangers: told apart, and looked at before something large is read of them.

A file of some kilobytes can claim arrays of terabytes, point to other files, or to one long text a
million times. What is read here stays in proportion to the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kpwidget.schema import FormatError, _show

__all__ = [
    "MAGIC",
    "attribute",
    "check_hdf5",
    "check_magic",
    "child",
    "members",
    "n_unpacked",
    "small",
    "texts",
]

MAGIC: Final = b"\x89HDF\r\n\x1a\n"
"""The first bytes of an HDF5 file."""

_MAX_BYTES: Final = 1_000_000_000
_MAX_UNPACKED: Final = 10_000_000  # bytes that a dataset has beyond a thousandfold of its own
_MAX_ATTRIBUTE: Final = 50_000_000  # an attribute may be dense: those of .slp have a JSON text
_MAX_OBJECTS: Final = 1_000_000
_MAX_LINKS: Final = 16
_AT_ONCE: Final = 100_000_000  # bytes of texts that are made in one go


def check_magic(path: Path) -> None:
    """Raise FormatError if a file does not begin as an HDF5 file does.

    Parameters
    ----------
    path : Path
    """
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise FormatError.from_problems(
                os.fspath(path), ["is no HDF5 file: it begins with other bytes than those do"]
            )


def check_hdf5(path: Path, h5py: Any) -> None:
    """Raise FormatError if a library that reads all of an HDF5 file would do harm.

    Parameters
    ----------
    path : Path
    h5py : module

    Raises
    ------
    FormatError
        If it is no HDF5 file; if something in it stands in another file, or is out of proportion to
        what it has on disk.
    """
    where = os.fspath(path)
    check_magic(path)
    try:
        with h5py.File(path, "r") as opened:
            _check_group(opened, h5py)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # h5py's are these
        raise FormatError.from_problems(
            where, [f"cannot be read as HDF5 ({type(error).__name__}: {str(error)[:200]})"]
        ) from error


def _check_group(top: Any, h5py: Any) -> None:
    waiting, seen = [top], {h5py.h5o.get_info(top.id).addr}
    while waiting:
        group = waiting.pop()
        _check_attributes(group)
        for child in members(group, h5py)[0].values():
            address = h5py.h5o.get_info(child.id).addr
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > _MAX_OBJECTS:
                raise ValueError(f"it has more than {_MAX_OBJECTS:,} groups and datasets")
            if isinstance(child, h5py.Group):
                waiting.append(child)
            elif isinstance(child, h5py.Dataset):  # else a type that has a name
                _check_attributes(child)
                _check_size(child)


def _check_attributes(owner: Any) -> None:
    for name in owner.attrs:
        _check_attribute(owner, name)


def _check_attribute(owner: Any, name: str) -> Any:
    found = owner.attrs.get_id(name)
    n_bytes = int(np.prod(found.shape or (), dtype=float)) * found.dtype.itemsize
    if n_bytes > min(_MAX_ATTRIBUTE, owner.file.id.get_filesize()):
        raise ValueError(
            f"the attribute {_show(name)} of {owner.name} would have {n_bytes:,} bytes"
        )
    return found


def _check_size(dataset: Any) -> None:
    if not hasattr(dataset, "is_virtual"):
        raise ValueError(
            f"expected a dataset, got {'nothing' if dataset is None else f'the {dataset!r}'}"
        )
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{dataset.name} stands in another file")
    n_bytes = (dataset.size or 0) * dataset.dtype.itemsize
    if n_bytes > min(_MAX_BYTES, _MAX_UNPACKED + 1000 * dataset.id.get_storage_size()):
        raise ValueError(f"{dataset.name} has {dataset.size} values of {dataset.dtype}")


def members(group: Any, h5py: Any) -> tuple[dict[str, Any], set[str]]:
    """What stands in a group, and where its links lead.

    Parameters
    ----------
    group : h5py.Group
    h5py : module

    Returns
    -------
    found : dict of str to h5py.Group or h5py.Dataset
        Those that stand in the group itself.
    paths : set of str
        To which it has links by name. They are not followed.

    Raises
    ------
    ValueError
        If it is no group, or there is a link to another file.
    """
    if not isinstance(group, h5py.Group):
        raise ValueError(f"expected a group, got {'nothing' if group is None else repr(group)}")
    found, paths = {}, set()
    links = group.id.links
    for name in group:
        key = name.encode("utf-8", "surrogateescape")
        kind = links.get_info(key).type
        if kind == h5py.h5l.TYPE_HARD:
            found[name] = group[name]
        elif kind == h5py.h5l.TYPE_SOFT:
            paths.add(links.get_val(key).decode("utf-8", "replace"))
        else:
            raise ValueError(f"{_show(name)} in {group.name} is a link to another file")
    return found, paths


def child(group: Any, path: str, h5py: Any) -> Any:
    """What stands at a path below a group; None if there is nothing.

    Parameters
    ----------
    group : h5py.Group
    path : str
        Links to places in the same file are followed, which ``group[path]`` does to any file.
    h5py : module

    Raises
    ------
    ValueError
        If there is a link to another file on the way, or more than 16 links.
    """
    found = group
    waiting, n_links = path.split("/")[::-1], 0
    while waiting:
        name = waiting.pop()
        if name in ("", "."):
            continue
        key = name.encode("utf-8", "surrogateescape")
        if not isinstance(found, h5py.Group) or not found.id.links.exists(key):
            return None
        kind = found.id.links.get_info(key).type
        if kind == h5py.h5l.TYPE_HARD:
            found = found[name]
            continue
        n_links += 1
        if kind != h5py.h5l.TYPE_SOFT or n_links > _MAX_LINKS:
            raise ValueError(f"{_show(name)} in {found.name} is a link to another file, or a loop")
        target = found.id.links.get_val(key).decode("utf-8", "surrogateescape")
        found = found.file["/"] if target.startswith("/") else found
        waiting += target.split("/")[::-1]
    return found


def n_unpacked(owner: Any) -> int:
    """Characters of text that may be made of an HDF5 file: ten times its bytes, or ten million.

    Parameters
    ----------
    owner : h5py.Group or h5py.Dataset
    """
    return _MAX_UNPACKED + 10 * int(owner.file.id.get_filesize())


def attribute(owner: Any, name: str) -> Any:
    """Value of an attribute that is one number or text; None if there is none such.

    Parameters
    ----------
    owner : h5py.Group or h5py.Dataset
    name : str
    """
    if name not in owner.attrs or _check_attribute(owner, name).shape != ():
        return None
    value = owner.attrs[name]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def small(dataset: Any) -> NDArray[Any]:
    """Content of an HDF5 dataset that is in the file, and no larger than labels can be.

    Parameters
    ----------
    dataset : h5py.Dataset
        Of numbers or texts of one length.

    Raises
    ------
    ValueError
        If it stands in another file, or is far larger than what the file has of it.
    """
    _check_size(dataset)
    if dataset.dtype.hasobject:
        raise ValueError(f"{dataset.name} has {dataset.size} values of {dataset.dtype}")
    array: NDArray[Any] = dataset[()]
    return array


def texts(dataset: Any) -> list[str]:
    """Texts in an HDF5 dataset, together no more than ten times as long as the file.

    Parameters
    ----------
    dataset : h5py.Dataset
        With one dimension.

    Raises
    ------
    ValueError
        If it holds something else, or too much.
    """
    _check_size(dataset)
    if dataset.ndim != 1 or dataset.dtype.kind not in "OS":
        raise ValueError(f"{dataset.name} has {dataset.shape} {dataset.dtype}, expected texts")
    n_file = dataset.file.id.get_filesize()
    step = max(1, _AT_ONCE // max(n_file, 1))  # each may be as long as the file
    found: list[str] = []
    n = 0
    for start in range(0, len(dataset), step):
        for cell in dataset[start : start + step]:
            if not isinstance(cell, bytes):
                raise ValueError(f"{dataset.name} has a {type(cell).__name__}, expected a text")
            n += len(cell)
            found.append(cell.decode("utf-8", "replace"))
        if n > n_unpacked(dataset):
            raise ValueError(f"{dataset.name} has more text than the file")
    return found
