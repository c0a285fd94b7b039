"""Which image files are meant: `find_images`, and the folders labels are resolved in."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kpwidget.images import ImageError, resolve_inside

__all__ = ["IMAGE_SUFFIXES", "ImageData", "ImageRoots", "find_images", "image_locator"]

ImageData = str | os.PathLike[str] | bytes | NDArray[Any]
"""A path, the bytes of an image file, or an array."""

IMAGE_SUFFIXES: Final = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm", ".jp2",
)  # fmt: skip
"""File name endings taken for images in a folder, compared in lower case."""


@dataclass(frozen=True)
class ImageRoots:
    """The folders in which image files are looked for by their file names.

    Attributes
    ----------
    roots : tuple of Path
    allow_outside : bool
        Whether absolute paths and links out of the roots are followed.
    by_name : bool
        Whether a file that is not at its path is looked for by its last part in all folders below
        the roots; it has to be the only one of that name.
    """

    roots: tuple[Path, ...]
    allow_outside: bool = False
    by_name: bool = False

    def resolve(self, file_name: str) -> Path:
        """Path of an image file; ImageError if there is none or it lies outside the roots."""
        if not self.by_name:
            return resolve_inside(file_name, self.roots, allow_outside=self.allow_outside)
        try:
            path = resolve_inside(file_name, self.roots, allow_outside=self.allow_outside)
            if path.exists():
                return path
        except (ImageError, OSError):  # OSError: a name too long
            pass  # another machine's path: its last part is what counts here
        name = re.split(r"[/\\]", file_name)[-1]
        shown = repr(file_name if len(file_name) <= 200 else file_name[:200] + "...")
        found = self._paths_by_name.get(name, [])
        if len(found) == 1:
            return resolve_inside(found[0], self.roots, allow_outside=self.allow_outside)
        where = ", ".join(str(root) for root in self.roots)
        if found:
            raise ImageError(
                f"file_name {shown}: {len(found)} files under the image roots ({where}) have "
                f"this name, {', '.join(map(repr, found[:3]))}; match='path' tells them apart"
            )
        raise ImageError(f"file_name {shown}: no file under the image roots ({where}) has it")

    @cached_property
    def _paths_by_name(self) -> dict[str, list[str]]:
        """Paths of all files under the roots, by their last part; looked up once."""
        found: dict[str, list[str]] = {}
        for root in self.roots:
            top = root.resolve()
            for folder, _, names in os.walk(top):
                for name in names:
                    path = Path(folder, name).relative_to(top).as_posix()
                    found.setdefault(name, []).append(path)
        return found


def find_images(images: Any) -> dict[str, ImageData]:
    """Image files by their names, relative to the folder they have in common.

    Parameters
    ----------
    images : path, glob, folder, list of these, or mapping
        As for `Dataset.from_images`.

    Returns
    -------
    dict of str to path, bytes or ndarray
        In natural order within each folder and glob, else as given.

    Raises
    ------
    FileNotFoundError
        Naming everything that was not found, and what is there instead.
    ValueError
        If a file is given twice.
    TypeError
        If `images` is something else.
    """
    if isinstance(images, Mapping):
        wrong = [
            f"{name!r}: {type(data).__name__}"
            for name, data in images.items()
            if not (isinstance(name, str) and name)
            or not isinstance(data, str | os.PathLike | bytes | np.ndarray)
        ]
        if wrong:
            raise TypeError(
                "images given by name must go from a file name to an array, bytes or a path; "
                + "; ".join(wrong)
            )
        if not images:
            raise FileNotFoundError("the mapping of images is empty")
        return dict(images)
    if isinstance(images, str | os.PathLike):
        images = [images]
    elif not isinstance(images, Iterable) or isinstance(images, bytes | np.ndarray):
        raise TypeError(
            "images are a path, a glob, a folder, a list of these or a mapping from file name "
            f"to array or bytes, not {type(images).__name__}"
        )
    paths: list[str] = []
    problems: list[str] = []
    for item in images:
        if not isinstance(item, str | os.PathLike):
            raise TypeError(
                f"a list of images holds paths, not {type(item).__name__}; "
                "give arrays and bytes as a mapping from file name"
            )
        _find(os.path.expanduser(os.fspath(item)), paths, problems)
    if problems:
        raise FileNotFoundError("; ".join(problems))
    if not paths:
        raise FileNotFoundError("the list of images is empty")
    absolute = [os.path.abspath(path) for path in paths]
    repeated = [path for path, n in Counter(absolute).items() if n > 1]
    if repeated:
        raise ValueError("image files given more than once: " + ", ".join(repeated))
    root = os.path.commonpath([os.path.dirname(path) for path in absolute])
    return {Path(path).relative_to(root).as_posix(): Path(path) for path in absolute}


def image_locator(
    images: Any, allow_outside: bool, *, by_name: bool = False
) -> Callable[[str], ImageData | ImageRoots | None]:
    """Return the function that says where the image of a file name is to be looked for.

    Parameters
    ----------
    images : folder, list of folders, glob, list of paths, or mapping
        See `kpwidget.read`.
    allow_outside, by_name : bool
        Of `ImageRoots`, where folders are given.
    """
    if isinstance(images, Mapping):
        named = find_images(images)
        return named.get
    items = [images] if isinstance(images, str | os.PathLike) else list(images)
    if all(
        isinstance(i, str | os.PathLike) and os.path.isdir(os.path.expanduser(i)) for i in items
    ):
        folders = tuple(Path(os.path.expanduser(item)) for item in items)
        if folders:
            roots = ImageRoots(folders, allow_outside, by_name)
            return lambda file_name: roots
    by_base_name: dict[str, list[Path]] = {}
    for found in find_images(items).values():
        if isinstance(found, Path):
            by_base_name.setdefault(found.name, []).append(found)

    def locate(file_name: str) -> ImageData | None:
        tail = "/" + file_name.removeprefix("./")
        fitting = [
            found
            for found in by_base_name.get(tail.rsplit("/", 1)[1], [])
            if found.as_posix().endswith(tail)
        ]
        return fitting[0] if len(fitting) == 1 else None

    return locate


def _find(item: str, paths: list[str], problems: list[str]) -> None:
    """Add the image files that `item` stands for, or what is wrong with it."""
    if os.path.isdir(item):
        found = [n for n in os.listdir(item) if _is_image(n) and not n.startswith(".")]
        if not found:
            problems.append(
                f"no image files in folder {item!r} (looked for {', '.join(IMAGE_SUFFIXES)}; "
                f"folders inside it are not searched); {_what_is_in(item)}"
            )
        paths.extend(os.path.join(item, name) for name in sorted(found, key=_natural))
    elif os.path.exists(item):
        paths.append(item)
    elif glob.has_magic(item):
        matched = [path for path in glob.glob(item, recursive=True) if os.path.isfile(path)]
        # A pattern that says the ending is taken at its word; "frames/*" means the images.
        suffix = os.path.splitext(item)[1]
        if not suffix or glob.has_magic(suffix):
            matched = [path for path in matched if _is_image(path)]
        if not matched:
            folder = item
            while glob.has_magic(folder):
                folder = os.path.dirname(folder)
            problems.append(f"no image file matches {item!r}; {_what_is_in(folder or '.')}")
        paths.extend(sorted(matched, key=_natural))
    else:
        hint = "; addresses on the web are not fetched" if "://" in item else ""
        folder = os.path.dirname(item) or "."
        problems.append(
            f"no file or folder {item!r} (seen from {os.getcwd()!r}){hint}; {_what_is_in(folder)}"
        )


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def _what_is_in(folder: str) -> str:
    if not os.path.isdir(folder):
        return f"there is no folder {folder!r}"
    names = sorted(os.listdir(folder), key=_natural)
    if not names:
        return f"folder {folder!r} is empty"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"folder {folder!r} has {', '.join(map(repr, names[:5]))}{more}"


def _natural(text: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key by which ``frame_2`` comes before ``frame_10``."""
    parts = [
        (0, int(part), "") if part.isdecimal() else (1, 0, part.casefold())
        for part in re.split(r"(\d+)", text)
    ]
    return parts, text
