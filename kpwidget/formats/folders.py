"""Formats that are a folder: image files brought along, and nothing mixed with what is there."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset import Dataset, ImageInfo, ImageRoots
from kpwidget.formats import Loss, count
from kpwidget.images import ImageSource

__all__ = [
    "ImagesOption",
    "check_folder",
    "check_images_option",
    "check_links",
    "image_sources",
    "is_array_only_shown",
    "listed",
    "lost_pixels",
    "new_names",
    "note_new_names",
    "safe_parts",
    "write_files",
    "write_images",
]

ImagesOption = Literal["copy", "link", "leave"]
"""What becomes of the image files: copied, linked to, or left where they are."""

_N_LISTED: Final = 20
_N_EXAMPLES: Final = 3


def listed(problems: Sequence[str], n: int = _N_LISTED) -> str:
    """One problem a line, the first `n` of them."""
    shown = [f"  {problem}" for problem in problems[:n]]
    if len(problems) > n:
        shown.append(f"  and {len(problems) - n} more")
    return "\n".join(shown)


def check_images_option(images: str) -> None:
    """Raise ValueError if `images` is no `ImagesOption`."""
    if images not in ("copy", "link", "leave"):
        raise ValueError(f"images is 'copy', 'link' or 'leave', not {images!r}")


def safe_parts(file_name: str) -> list[str]:
    r"""Parts of a relative file name, that may have ``/`` or ``\``.

    Raises
    ------
    ValueError
        If it is absolute, leads out of the folder or has control characters.
    """
    text = file_name.replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if text.startswith("/") or PureWindowsPath(file_name).anchor or "://" in text:
        raise ValueError("is no relative path; it would lead out of the folder")
    if ".." in parts:
        raise ValueError("leads out of the folder")
    if not parts or any(ord(c) < 32 or c == "\x7f" for c in text):
        raise ValueError("is no name that a line of a text file can hold")
    return parts


def new_names(dataset: Dataset, name_of: Callable[[list[str]], str], notes: list[str]) -> list[str]:
    """Name of each image in a folder.

    Parameters
    ----------
    dataset : Dataset
    name_of : callable
        From the parts of the file name to the new one, with ``/``. Arrays end in ``.png``.
    notes : list of str
        Told how many have new names.

    Raises
    ------
    ValueError
        Naming every image whose name is no good, and those that would get the same name.
    """
    names: list[str] = []
    problems: list[str] = []
    first: dict[str, str] = {}
    for state in dataset._images:
        given = state.file_name
        try:
            parts = safe_parts(given)
        except ValueError as error:
            problems.append(f"{given!r}: {error}")
            continue
        if isinstance(state.data, np.ndarray) and not parts[-1].lower().endswith(".png"):
            parts[-1] = f"{parts[-1].rpartition('.')[0] or parts[-1]}.png"
        name = name_of(parts)
        if first.setdefault(name.casefold(), given) is not given:
            problems.append(
                f"{given!r}: would become {name!r}, as {first[name.casefold()]!r} does; rename one "
                "of them"
            )
        names.append(name)
    if problems:
        raise ValueError(
            f"{count(len(problems), 'image')} cannot be written under their names:\n"
            + listed(problems)
        )
    note_new_names(dataset, names, notes)
    return names


def note_new_names(dataset: Dataset, names: Sequence[str], notes: list[str]) -> None:
    """Add a note on how many images have new names, if any has.

    Parameters
    ----------
    dataset : Dataset
    names : sequence of str
        The new name of each image.
    notes : list of str
    """
    renamed = [(s.file_name, n) for s, n in zip(dataset._images, names, strict=True)]
    renamed = [(given, name) for given, name in renamed if given != name]
    if renamed:
        given, name = renamed[0]
        notes.append(
            f"{count(len(renamed), 'image')} got new names, such as {name!r} for {given!r}"
        )


def image_sources(dataset: Dataset, names: Sequence[str], images: str) -> dict[str, Any]:
    """What each image file is to be made of, by its new name; nothing if they are left.

    Parameters
    ----------
    dataset : Dataset
    names : sequence of str
        The new name of each image.
    images : {'copy', 'link', 'leave'}

    Raises
    ------
    ValueError
        Naming every image whose file is missing.
    """
    if images == "leave":
        return {}
    sources: dict[str, Any] = {}
    missing: list[str] = []
    for i, (state, name) in enumerate(zip(dataset._images, names, strict=True)):
        data = state.data
        if data is None or isinstance(data, ImageRoots | str | os.PathLike):
            path = ImageInfo(dataset, i).path
            if path is None or not path.is_file():
                missing.append(f"{state.file_name!r}" + ("" if path is None else f" ({path})"))
                continue
            data = path
        sources[name] = data
    if missing:
        raise ValueError(
            f"the files of {count(len(missing), 'image')} are missing; pass images= of kp.read to "
            "say where they are, or images='leave' to write labels only:\n" + listed(missing)
        )
    return sources


def check_links(folder: Path, planned: Iterable[str]) -> None:
    """Raise FileExistsError if a folder in which a file would be written is a link.

    A project can come from a stranger, and the folder that it links to is somebody's. Files that
    are links are replaced and not written through.

    Parameters
    ----------
    folder : Path
        It may be a link itself: the caller has named it.
    planned : iterable of str
        The files that will be written, relative to it, with ``/``.
    """
    parents = {parent for name in planned for parent in PurePosixPath(name).parents}
    linked = sorted(p.as_posix() for p in parents if p.name and (folder / p).is_symlink())
    if linked:
        raise FileExistsError(
            f"{folder}: {linked[0]!r} is a link to a folder elsewhere, in which files would be "
            "replaced; give a new folder. Nothing was written"
        )


def check_folder(
    folder: Path,
    planned: set[str],
    kind: str,
    is_ours: Callable[[Path], bool],
    is_part: Callable[[str], bool],
) -> None:
    """Raise FileExistsError if the folder holds what would be mixed with what is written.

    Parameters
    ----------
    folder : Path
        Need not exist.
    planned : set of str
        The files that will be written, relative to it, with ``/``.
    kind : str
        What is written, for messages.
    is_ours : callable
        Whether the folder is one that kpwidget wrote.
    is_part : callable
        Whether a file, relative to the folder, is part of such a dataset.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder}: is a file; {kind} is written to a folder")
    if not os.listdir(folder):
        return
    if not is_ours(folder):
        raise FileExistsError(
            f"{folder}: is not empty, and no {kind} dataset that was written by kpwidget; give a "
            "new folder. Nothing was written"
        )
    check_links(folder, planned)
    stale = []
    for path, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            relative = Path(path, name).relative_to(folder).as_posix()
            if relative not in planned and is_part(relative):
                stale.append(relative)
    if stale:
        raise FileExistsError(
            f"{folder}: {count(len(stale), 'file')} would stay there and be part of the dataset: "
            f"{', '.join(stale[:5])}{', ...' if len(stale) > 5 else ''}; delete them or give a new "
            "folder. Nothing was written"
        )


def write_images(folder: Path, sources: Mapping[str, Any], images: str) -> None:
    """Copy, link or make the image files.

    Parameters
    ----------
    folder : Path
    sources : mapping of str to Path, bytes or ndarray
        By the name in the folder; see `image_sources`.
    images : {'copy', 'link', 'leave'}
    """
    from tqdm.auto import tqdm

    for parent in {os.path.dirname(name) for name in sources}:
        os.makedirs(folder / parent, exist_ok=True)
    doing = "Linking images" if images == "link" else "Copying images"
    for name, data in tqdm(sources.items(), desc=doing, unit="file", delay=1.0):
        target = folder / name
        if isinstance(data, Path) and target.exists() and os.path.samefile(data, target):
            continue  # written into the folder that it was read from
        # Under another name first: a link that stands there is replaced and not written through.
        temporary = target.with_name(f".{secrets.token_hex(6)}.tmp")
        try:
            if isinstance(data, Path):
                _put_file(data, temporary, images)
            elif isinstance(data, np.ndarray):
                _write_array(data, temporary)
            else:
                temporary.write_bytes(data)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def _put_file(source: Path, target: Path, images: str) -> None:
    if images == "copy":
        shutil.copyfile(source, target)
        return
    try:
        os.symlink(source.resolve(), target)
    except OSError:  # not permitted, or a file system without such links
        os.link(source.resolve(), target)


def _write_array(array: NDArray[Any], path: Path) -> None:
    from PIL import Image

    if is_array_only_shown(array):
        picture: Any = ImageSource(array).open()
    else:
        pixels = np.asarray(array)
        pixels = pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels
        picture = Image.fromarray(
            np.ascontiguousarray(pixels.squeeze(2) if pixels.shape[2:] == (1,) else pixels)
        )
    picture.save(path, format="PNG")


def write_files(folder: Path, files: Mapping[str, bytes], *, is_new: bool) -> None:
    """Write the label files.

    Parameters
    ----------
    folder : Path
    files : mapping of str to bytes
        By the name in the folder, with ``/``.
    is_new : bool
        Whether nothing can stand there yet. Else what stands there is taken away first, for it may
        be a link: it is not written through.
    """
    from tqdm.auto import tqdm

    os.makedirs(folder, exist_ok=True)
    for parent in {name.rpartition("/")[0] for name in files}:
        os.makedirs(folder / parent, exist_ok=True)
    root = os.path.join(os.fspath(folder), "")
    for name, content in tqdm(files.items(), desc="Writing labels", unit="file", delay=1.0):
        target = root + name
        if not is_new and os.path.lexists(target):
            os.unlink(target)
        with open(target, "wb") as file:
            file.write(content)


def is_array_only_shown(data: Any) -> bool:
    """Whether it is an array whose values no PNG written here holds."""
    if not isinstance(data, np.ndarray):
        return False
    channels = data.shape[2] if data.ndim == 3 else 1
    return not (data.dtype in (np.uint8, bool) or (data.dtype == np.uint16 and channels == 1))


def lost_pixels(dataset: Dataset) -> list[Loss]:
    """Loss of arrays that are written as they are shown, if there are any.

    Parameters
    ----------
    dataset : Dataset
    """
    shown = [s.file_name for s in dataset._images if is_array_only_shown(s.data)]
    if not shown:
        return []
    text = f"{count(len(shown), 'image')} would be written as shown, with 8 bits"
    return [Loss("pixels", len(shown), text, tuple(shown[:_N_EXAMPLES]))]
