"""Ultralytics YOLO pose: a folder with ``data.yaml``, images, and one label file per image.

A label row is ``class cx cy w h`` and then ``x y v`` (or ``x y``) of each keypoint, all but class
and visibility divided by the width or height of the image as shown. What is taken and refused
follows Ultralytics' own ``verify_image_label``; what it would drop without a word is an error here.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset import Dataset
from kpwidget.dataset.core import ImageState
from kpwidget.dataset.image_files import ImageData, ImageRoots, find_images
from kpwidget.formats import Problems, count, levels_to_caller
from kpwidget.formats.yolo_rows import yolo_losses
from kpwidget.formats.yolo_write import write_yolo
from kpwidget.formats.yolo_yaml import (
    ABSENT,
    SPLITS,
    SUFFIXES,
    TOLERANCE,
    DataYaml,
    find_data_yaml,
    has_keypoints,
    label_path,
    read_data_yaml,
)
from kpwidget.images import ImageError, ImageSource, named
from kpwidget.schema import Category, FormatError, Schema, _show

__all__ = ["is_yolo", "read_yolo", "write_yolo", "yolo_losses"]

_TOKENS_AT_ONCE: Final = 1_000_000  # numbers converted in one go: some 60 MB
_MAX_BBOX: Final = 1e90  # times the image's size it is no more than a bbox may be
_NUMBER: Final = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def read_yolo(
    path: str | os.PathLike[str],
    images: Any = None,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    allow_outside: bool = False,
    schema: Schema | Mapping[str, Schema] | None = None,
    split: str | Sequence[str] | None = None,
) -> Dataset:
    """Dataset in a folder of Ultralytics YOLO pose.

    Parameters
    ----------
    path : str or os.PathLike
        The folder, or its ``data.yaml``.
    images : folder, list of folders, glob, list of paths, or mapping, optional
        Where image files are that the dataset's folder does not have: found by their file name
        there, with or without the leading ``images/<split>/``.
    on_error : {'raise', 'skip'}
        See `kpwidget.read`. What is wrong with ``data.yaml`` always raises.
    allow_outside : bool, default False
        Follow folders, lists and links that lead out of the dataset's folder.
    schema : Schema or mapping of str to Schema, optional
        Keypoint names and skeleton, which label files do not have: one for all classes, or by the
        name of the class. A schema with fewer keypoints than ``kpt_shape`` says that the class is
        padded.
    split : str or sequence of str, optional
        Read only 'train', 'val' or 'test'. All by default.

    Returns
    -------
    Dataset
        The file name of an image is relative to the dataset's folder, and its ``extra['split']``
        says in which split it was first. A class is the category with the id one higher. An
        instance has the uid ``yolo:<label file>:<line>``. An image without a label file is
        unlabeled, one with an empty label file is done. Keypoints and boxes are in pixels of the
        upright image, in float64. Of files with two numbers per keypoint, (x, y) below 0 is an
        unlabeled keypoint and any other a visible one. Unknown keys of ``data.yaml`` are in
        ``dataset.extra``.

    Raises
    ------
    FormatError
        If ``data.yaml`` is no such file, or there are bad rows or files, naming every one.
    FileNotFoundError
        If the file, the folder or a folder of images does not exist.
    ValueError
        If `schema` does not fit the classes, or there is no such split.

    Warns
    -----
    UserWarning
        If keypoints have no names and get numbers, a split has no folder, images are in several
        splits, keypoints of two numbers are at (0, 0), or rows were skipped.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error is 'raise' or 'skip', not {on_error!r}")
    header = read_data_yaml(find_data_yaml(Path(path)))
    header = replace(header, splits=_chosen_splits(header, split))
    reader = _Reader(header, images, allow_outside)
    dataset = reader.read(schema)
    where = os.fspath(header.path)
    n = len(reader.problems)
    if n and on_error == "raise":
        raise FormatError.from_problems(
            where, reader.problems, f"{count(n, 'problem')}; on_error='skip' leaves them out"
        )
    dataset.skipped = tuple(reader.problems)
    if n:
        shown = "".join(f"\n  {problem}" for problem in list(reader.problems)[:10])
        more = f"\n  and {n - 10} more (dataset.skipped has all)" if n > 10 else ""
        reader.warnings.append(f"left out, {count(n, 'problem')}:{shown}{more}")
    for warning in [*header.warnings, *reader.warnings]:
        warnings.warn(f"{where}: {warning}", stacklevel=levels_to_caller())
    return dataset


def is_yolo(path: str | os.PathLike[str]) -> bool:
    """Whether this is the ``data.yaml`` of a pose dataset, or a folder with one.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    bool
        False also for what cannot be read.
    """
    where = Path(path)
    try:
        candidates = (
            [entry for entry in where.iterdir() if entry.suffix.lower() in (".yaml", ".yml")]
            if where.is_dir()
            else [where]
        )
    except OSError:
        return False
    return any(has_keypoints(candidate) for candidate in candidates)


def _chosen_splits(
    header: DataYaml, split: str | Sequence[str] | None
) -> dict[str, tuple[str, ...]]:
    if split is None:
        return header.splits
    asked = [split] if isinstance(split, str) else list(split)
    missing = [name for name in asked if name not in header.splits]
    if missing or not asked:
        raise ValueError(
            f"{header.path}: has no split {', '.join(map(repr, missing)) or 'of this choice'}; it "
            f"has {', '.join(map(repr, header.splits))}"
        )
    return {name: header.splits[name] for name in SPLITS if name in asked}


@dataclass(slots=True)
class _Image:
    """An image of the dataset, and where things are."""

    file_name: str  # relative to the root, with /
    split: str
    label: str | None  # path of the label file, None if there is none
    data: ImageData | ImageRoots | None
    path: ImageData | None  # what the size is read from, None if there is no such file


class _Reader:
    """Finds the images, reads the labels, and collects what is wrong."""

    def __init__(self, header: DataYaml, images: Any, allow_outside: bool) -> None:
        self.header = header
        self.problems = Problems()
        self.warnings: list[str] = []
        self.allow_outside = allow_outside
        self._real_folders: dict[str, str] = {}
        self.root = self._root()
        self.real_root = os.path.realpath(self.root)
        self.roots = ImageRoots((Path(self.root),), allow_outside)
        self.elsewhere = None if images is None else _Elsewhere(images, allow_outside)

    def read(self, schema: Schema | Mapping[str, Schema] | None) -> Dataset:
        categories = self._categories(schema)
        found = self._find()
        dataset = Dataset(categories)
        dataset.extra = dict(self.header.extra)
        labels = _Labels(self, categories)
        sizes = labels.read(found)
        for position, image in enumerate(found):
            dataset._add_image(
                ImageState(
                    position + 1,
                    image.file_name,
                    image.data,
                    recorded_size=sizes.get(position),
                    is_done=position in labels.is_empty,
                    extra={"split": image.split},
                )
            )
        dataset._n_done = len(labels.is_empty)
        labels.put_into(dataset, [image.label for image in found])
        return dataset

    # --- what data.yaml means ---

    def _root(self) -> str:
        folder = os.path.dirname(os.path.abspath(self.header.path))
        given = self.header.root
        if given is None:
            return folder
        root = os.path.normpath(os.path.join(folder, given))
        if not os.path.isdir(root):
            self.warnings.append(
                f"'path' is {_show(given)}, and there is no such folder; the folder of the file is "
                "used"
            )
            return folder
        if not self.allow_outside and not _is_within(
            os.path.realpath(root), os.path.realpath(folder)
        ):
            raise FormatError.from_problems(
                os.fspath(self.header.path),
                [
                    f"'path' is {_show(given)}, which leads out of the folder of the file to "
                    f"{_show(root)}; pass allow_outside=True if you trust it, or take the key out"
                ],
            )
        return root

    def _categories(self, schema: Schema | Mapping[str, Schema] | None) -> list[Category]:
        header = self.header
        by_name = schema if isinstance(schema, Mapping) else {}
        problems = [
            f"schema: there is no class {name!r}, the classes are "
            + ", ".join(map(_show, header.names[:40]))
            for name in by_name
            if name not in header.names
        ]
        categories: list[Category] = []
        unnamed: list[str] = []
        for i, name in enumerate(header.names):
            chosen = by_name.get(name) if schema is None or isinstance(schema, Mapping) else schema
            names = header.keypoints[i]
            if chosen is None:
                if names is None:
                    unnamed.append(name)
                chosen = self._schema_of(name, names)
            elif chosen.n_keypoints > header.n_keypoints or (
                names is not None and names != chosen.keypoints
            ):
                expected = (
                    f"at most {header.n_keypoints} keypoints ('kpt_shape')"
                    if names is None
                    else f"{len(names)} keypoints {_show(list(names))} ('kpt_names')"
                )
                problems.append(
                    f"schema {chosen.name!r} for class {name!r}: expected {expected}, got "
                    f"{chosen.n_keypoints}: {_show(list(chosen.keypoints))}"
                )
            categories.append(Category(i + 1, chosen, name))
        if problems:
            raise ValueError("\n".join(f"{header.path}: {problem}" for problem in problems))
        if unnamed:
            shown = ", ".join(map(_show, unnamed[:5])) + (", ..." if len(unnamed) > 5 else "")
            self.warnings.append(
                f"no keypoint names are given for class {shown} ('kpt_names'); they are called "
                "'0', '1', ...; kpwidget.plot_schema(category, layout=dataset) shows where each "
                "is labeled; pass schema= to name them"
            )
        return categories

    def _schema_of(self, name: str, keypoints: Sequence[str] | None) -> Schema:
        header = self.header
        if keypoints is None:
            keypoints = [str(k) for k in range(header.n_keypoints)]
        n = len(keypoints)
        flips = (header.flip_indices or range(n))[:n]
        pairs = [(keypoints[a], keypoints[b]) for a, b in enumerate(flips) if a < b < n]
        sigmas = None if header.sigmas is None else header.sigmas[:n]
        return Schema(name, keypoints, flip_pairs=pairs, sigmas=sigmas)

    # --- finding images and label files ---

    def _find(self) -> list[_Image]:
        found: dict[str, _Image] = {}
        of_label: dict[str, str] = {}
        names_of: dict[str, set[str]] = {}
        unused: dict[str, str] = {}  # label files of the folders -> split
        for split, entries in self.header.splits.items():
            names: list[tuple[str, bool]] = []
            for entry in entries:
                names += self._images_of(split, entry, unused)
            names_of[split] = {path for path, _ in names}
            for path, exists in sorted(set(names)):
                if path in found:
                    continue
                label = self._label_of(path, unused)
                if label is not None:
                    first = of_label.setdefault(label, path)
                    if first != path:
                        self.problems.append(
                            f"{self.shown(path)}: has the label file {self.shown(label)}, which "
                            f"belongs to {self.shown(first)}; give the image another name"
                        )
                        continue
                found[path] = self._image(path, exists, split, label)
        self._match_unused(found, {k: v for k, v in unused.items() if k not in of_label})
        self._warn_of_repeats(names_of)
        in_order = [found[path] for path in sorted(found)]
        return [image for split in SPLITS for image in in_order if image.split == split]

    def _image(self, path: str, exists: bool, split: str, label: str | None) -> _Image:
        name = self.short(path)
        if self.elsewhere is not None:
            data = self.elsewhere.find(name)
            if data is not None:
                return _Image(name, split, label, data, data)
        return _Image(name, split, label, self.roots, path if exists else None)

    def _images_of(
        self, split: str, entry: str, unused: dict[str, str]
    ) -> Iterator[tuple[str, bool]]:
        """(path, whether it is there) of the images of a folder or list; adds its label files."""
        path = self._resolve(split, entry)
        if path is None:
            return
        if os.path.isfile(path):
            yield from self._images_of_list(path)
            return
        if os.path.isdir(path):
            for file in self._walk(path):
                if file.rpartition(".")[2].lower() in SUFFIXES:
                    yield file, True
        folder = _label_folder(path)
        if os.path.isdir(folder) and (self.allow_outside or self._is_inside(folder)):
            for file in self._walk(folder):
                base = os.path.basename(file)
                # A list of class names that other tools put there; a list of images; a read-me.
                if base.endswith(".txt") and base not in _NO_LABELS and base[:6] != "README":
                    unused[file] = split

    def _resolve(self, split: str, entry: str) -> str | None:
        """Path of a folder or list of images, None (and a problem) if there is none."""
        candidates = [entry]
        if entry.startswith("../"):
            # Roboflow writes '../train/images' for a folder beside data.yaml, and Ultralytics
            # looks without the '../' if there is nothing else.
            candidates.append(entry[3:])
        outside = None
        for candidate in candidates:
            path = os.path.normpath(os.path.join(self.root, candidate))
            if not os.path.exists(path) and not os.path.isdir(_label_folder(path)):
                continue
            if self.allow_outside or self._is_inside(path):
                return path
            outside = outside or path
        if outside is not None:
            self.problems.append(
                f"'{split}' is {_show(entry)}, which leads out of the dataset to "
                f"{_show(outside)}; pass "
                "allow_outside=True if you trust the file"
            )
        elif split == "test":
            # Roboflow names it whether there are test images or not.
            self.warnings.append(f"'test' is {_show(entry)}, and there is no such folder")
        else:
            self.problems.append(
                f"'{split}' is {_show(entry)}: there is no such folder or list of images in "
                f"{self.root}"
            )
        return None

    def _images_of_list(self, path: str) -> Iterator[tuple[str, bool]]:
        try:
            lines = Path(path).read_bytes().decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(f"{self.shown(path)}: the list of images cannot be read ({error})")
            return
        outside: list[str] = []
        for number, line in enumerate(lines, 1):
            name = line.strip()
            if not name:
                continue
            if name.rpartition(".")[2].lower() not in SUFFIXES or "\0" in name or "://" in name:
                self.problems.append(
                    f"{self.shown(path)} line {number}: {_show(name)} is no image file that "
                    f"Ultralytics reads ({', '.join(sorted(SUFFIXES))})"
                )
                continue
            beside = os.path.normpath(os.path.join(os.path.dirname(path), name))
            below = os.path.normpath(os.path.join(self.root, name))
            # './' is relative to the list; else Ultralytics takes the folder it is started in.
            file = beside if name.startswith("./") or not os.path.exists(below) else below
            if self.allow_outside or self._is_inside(file):
                yield file, os.path.isfile(file)
            else:
                outside.append(f"line {number} ({self.shown(file)})")
        if outside:
            self.problems.append(
                f"{self.shown(path)}: {count(len(outside), 'line')} with an image outside of the "
                f"dataset, the first is {outside[0]}; pass allow_outside=True if you trust the file"
            )

    def _label_of(self, path: str, listed: Mapping[str, str]) -> str | None:
        """Path of the label file of an image, None if there is none."""
        label = label_path(path.replace(os.sep, "/")).replace("/", os.sep)
        if label in listed:
            return label
        if not os.path.isfile(label):
            return None
        if self.allow_outside or self._is_inside(label):
            return label
        self.problems.append(
            f"{self.shown(path)}: its label file {_show(label)} lies outside of the dataset; pass "
            "allow_outside=True if you trust it"
        )
        return None

    def _match_unused(self, found: dict[str, _Image], unused: Mapping[str, str]) -> None:
        """Look elsewhere for the images of label files that have none in the dataset."""
        for label, split in sorted(unused.items()):
            folder, name = os.path.split(label)
            # The other way round than `label_path`.
            start = f"{folder}{os.sep}".rfind(f"{os.sep}labels{os.sep}")
            if start >= len(self.root):
                folder = f"{folder[:start]}{os.sep}images{folder[start + len('/labels') :]}"
            stem = self.short(os.path.join(folder, name[: -len(".txt")]))
            match = None if self.elsewhere is None else self.elsewhere.find_stem(stem)
            if match is None:
                hint = "" if self.elsewhere else "; pass images= if they are elsewhere"
                self.problems.append(
                    f"{self.shown(label)}: there is no image {named(stem)}.jpg, .png, ... for "
                    f"it{hint}"
                )
                continue
            suffix, data = match
            path = os.path.join(self.root, f"{stem}.{suffix}")
            found[path] = _Image(f"{stem}.{suffix}", split, label, data, data)

    def _warn_of_repeats(self, names_of: Mapping[str, set[str]]) -> None:
        """Say which images are in several splits, unless one split stands for another."""
        splits = list(names_of)
        for i, later in enumerate(splits):
            for first in splits[:i]:
                both = names_of[first] & names_of[later]
                if both and names_of[first] != names_of[later]:
                    self.warnings.append(
                        f"{count(len(both), 'image')} of '{later}' in '{first}' as well, for "
                        f"instance {self.shown(min(both))}; they are taken as of '{first}'"
                    )

    def _walk(self, folder: str) -> Iterator[str]:
        """Files in a folder and the folders in it, as glob's ``**/*`` finds them."""
        left_out: list[str] = []
        seen = {os.path.realpath(folder)}
        waiting = [folder]
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_symlink():
                        real = os.path.realpath(entry.path)
                        if not self.allow_outside and not _is_within(real, self.real_root):
                            left_out.append(entry.path)
                            continue
                        if entry.is_dir():
                            if real in seen:
                                continue
                            seen.add(real)
                    if entry.is_dir():
                        waiting.append(entry.path)
                    elif entry.is_file():
                        yield entry.path
        if left_out:
            first = min(left_out)
            self.problems.append(
                f"{self.shown(folder)}: {count(len(left_out), 'link')} out of the dataset, for "
                f"instance {self.shown(first)} to {_show(os.path.realpath(first))}; pass "
                "allow_outside=True if you trust them"
            )

    def _is_inside(self, path: str) -> bool:
        """Whether a path lies in the dataset's folder, links followed."""
        if os.path.islink(path):
            return _is_within(os.path.realpath(path), self.real_root)
        folder, name = os.path.split(path)
        if name in ("", os.pardir):
            return _is_within(os.path.realpath(path), self.real_root)
        real = self._real_folders.get(folder)
        if real is None:
            real = self._real_folders[folder] = os.path.realpath(folder)
        return _is_within(os.path.join(real, name), self.real_root)

    def short(self, path: str) -> str:
        """Path relative to the dataset's folder, with ``/``."""
        try:
            return os.path.relpath(path, self.root).replace(os.sep, "/")
        except ValueError:  # another drive
            return path.replace(os.sep, "/")

    def shown(self, path: str) -> str:
        """Return the same for messages: a name may be long, or have line ends in it."""
        return named(self.short(path))


_NO_LABELS: Final = frozenset(("classes.txt", "train.txt", "val.txt", "test.txt"))


def _is_within(real: str, root: str) -> bool:
    return real == root or real.startswith(root.rstrip(os.sep) + os.sep)


def _label_folder(folder: str) -> str:
    """Where the label files of a folder of images are."""
    inside = label_path(f"{folder.replace(os.sep, '/')}/x.png")
    return os.path.dirname(inside).replace("/", os.sep)


class _Elsewhere:
    """Image files that the caller gave, found by the end of their name."""

    def __init__(self, images: Any, allow_outside: bool) -> None:
        items = [images] if isinstance(images, str | os.PathLike) else images
        folders = [
            os.path.expanduser(item)
            for item in (() if isinstance(items, Mapping) else items)
            if isinstance(item, str | os.PathLike) and os.path.isdir(os.path.expanduser(item))
        ]
        self._folders: list[ImageRoots] = []
        self._named: dict[str, ImageData] = {}
        if folders and len(folders) == len(items):
            self._folders = [ImageRoots((Path(folder),), allow_outside) for folder in folders]
        else:
            self._named = find_images(images)
        self._by_stem: dict[str, list[tuple[str, ImageData]]] | None = None

    def find(self, file_name: str) -> ImageData | None:
        """Image of a file name, None if there is none."""
        for name in _shortened(file_name):
            if name in self._named:
                return self._named[name]
            for folder in self._folders:
                try:
                    path = folder.resolve(name)
                except ImageError:  # leads out of the folder: not there
                    continue
                if path.is_file():
                    return path
        return None

    def find_stem(self, stem: str) -> tuple[str, ImageData] | None:
        """(ending, image) of a file name without ending, None if there is none or several."""
        if self._by_stem is None:
            self._by_stem = {}
            for name, data in self._all():
                head, dot, suffix = name.rpartition(".")
                if dot and suffix.lower() in SUFFIXES:
                    self._by_stem.setdefault(head, []).append((suffix, data))
        for name in _shortened(stem):
            matches = self._by_stem.get(name, [])
            if len(matches) == 1:
                return matches[0]
        return None

    def _all(self) -> Iterator[tuple[str, ImageData]]:
        yield from self._named.items()
        for folder in self._folders:
            root = folder.roots[0]
            for path, _, names in os.walk(root):
                for name in names:
                    relative = Path(path, name).relative_to(root).as_posix()
                    try:
                        yield relative, folder.resolve(relative)
                    except ImageError:  # a link out of the folder: not there
                        continue


def _shortened(file_name: str) -> Iterator[str]:
    """Return the file name, and the same without the folders that YOLO puts before it."""
    yield file_name
    parts = file_name.split("/")
    for n in (1, 2):
        if len(parts) > n and "images" in parts[:n]:
            yield "/".join(parts[n:])


class _Labels:
    """The rows of all label files, as columns."""

    def __init__(self, reader: _Reader, categories: Sequence[Category]) -> None:
        header = reader.header
        self._reader = reader
        self._categories = categories
        self._dims = header.n_dims
        self._n_columns = 5 + header.n_keypoints * header.n_dims
        self._n_keypoints = np.array([c.n_keypoints for c in categories] or [0])
        self.is_empty: set[int] = set()
        self._tokens: list[bytes] = []
        self._rows: list[tuple[int, int]] = []  # (image, line) of the tokens
        self._values: list[NDArray[np.float64]] = []
        self._places: list[NDArray[np.int64]] = []
        self._sizes: dict[int, tuple[int, int]] = {}
        self._seen: dict[tuple[int, bytes], int] = {}  # rows of the last image, with their lines

    def read(self, found: Sequence[_Image]) -> dict[int, tuple[int, int]]:
        """Read all label files; return the size of each image that has rows."""
        from tqdm.auto import tqdm

        labeled = [(i, image) for i, image in enumerate(found) if image.label is not None]
        for i, image in tqdm(labeled, desc="Reading labels", unit="file", delay=1.0):
            self._read_file(i, image, found)
        self._convert(found)
        return self._sizes

    def _name(self, image: _Image) -> str:
        return self._reader.shown(image.label or "")

    def _read_file(self, i: int, image: _Image, found: Sequence[_Image]) -> None:
        """Split a file into tokens; its rows that have as many as there should be are taken."""
        try:
            with open(image.label or "", "rb") as file:
                data = file.read()
        except OSError as error:
            self._reader.problems.append(f"{self._name(image)}: cannot be read ({error.strerror})")
            return
        lines = data.removeprefix(b"\xef\xbb\xbf").splitlines()
        n_columns, n_rows, has_text = self._n_columns, 0, False
        trouble = ""
        for number, line in enumerate(lines, 1):
            tokens = line.split(None, n_columns)  # of a line too long no more than shows it
            if len(tokens) == n_columns:
                n_rows += 1
                if n_rows == 1:
                    trouble = self._find_size(i, image)
                if not trouble:
                    self._tokens += tokens
                    self._rows.append((i, number))
                if len(self._tokens) > _TOKENS_AT_ONCE:
                    self._convert(found)
            elif tokens:
                has_text = True
                got = "more" if len(tokens) > n_columns else len(tokens)
                self._reader.problems.append(
                    f"{self._name(image)} line {number}: expected {n_columns} numbers (class, 4 of "
                    f"the bbox, {self._dims} for each of {(n_columns - 5) // self._dims} "
                    f"keypoints), got {got}: {_shown(line)}"
                )
        if trouble:
            self._reader.problems.append(
                f"{self._name(image)}: its {count(n_rows, 'row')} cannot be turned into "
                f"pixels, which takes the size of the image: {trouble}"
            )
        if not n_rows and not has_text:
            self.is_empty.add(i)

    def _find_size(self, i: int, image: _Image) -> str:
        """Look up the size of an image; return what is wrong with it, in words."""
        try:
            if image.path is None:
                raise ImageError(f"{image.file_name}: there is no such file")
            self._sizes[i] = ImageSource(image.path).size
        except ImageError as error:
            return str(error)
        return ""

    def _convert(self, found: Sequence[_Image]) -> None:
        """Turn the tokens gathered so far into rows of numbers, those that are bad left out."""
        tokens, rows = self._tokens, self._rows
        self._tokens, self._rows = [], []
        if not rows:
            return
        n_columns = self._n_columns
        try:
            # Python takes 1_000 for a number.
            numbers = None if b"_" in b"".join(tokens) else list(map(float, tokens))
        except ValueError:
            numbers = None
        if numbers is None:
            numbers = [float(t) if _NUMBER.fullmatch(t) else np.nan for t in tokens]
        values = np.array(numbers, np.float64).reshape(len(rows), n_columns)
        places = np.array(rows, np.int64)
        is_good = np.ones(len(rows), bool)
        for row, reasons in self._find_bad(values, places, tokens).items():
            is_good[row] = False
            i, line = rows[row]
            self._reader.problems.append(
                f"{self._name(found[i])} line {line}: {'; '.join(reasons)}"
            )
        self._values.append(values[is_good])
        self._places.append(places[is_good])

    def _find_bad(
        self, values: NDArray[np.float64], places: NDArray[np.int64], tokens: Sequence[bytes]
    ) -> dict[int, list[str]]:
        """What is wrong with rows, each in words, by row."""
        bad: dict[int, list[str]] = {}
        n_classes, dims = len(self._categories), self._dims

        def say(row: int, column: int, expected: str) -> None:
            token = _shown(tokens[row * self._n_columns + column])
            what = self._column(column)
            bad.setdefault(row, []).append(f"{what} is {token}, expected {expected}")

        is_finite = np.isfinite(values)
        for row, column in np.argwhere(~is_finite).tolist():
            say(row, column, "a number")
        with np.errstate(invalid="ignore"):  # infinity has no remainder
            is_class = (values[:, 0] % 1 == 0) & (values[:, 0] >= 0) & (values[:, 0] < n_classes)
        for row in np.flatnonzero(~is_class & is_finite[:, 0]).tolist():
            say(row, 0, f"a whole number in 0..{n_classes - 1}")

        lowest = np.full(self._n_columns, -TOLERANCE)
        highest = np.full(self._n_columns, np.inf)
        lowest[[0, 3, 4]] = -np.inf, 0, 0
        highest[1:5] = _MAX_BBOX
        highest[5:] = 1 + TOLERANCE
        if dims == 3:
            lowest[7::3], highest[7::3] = 0, 2  # and not 3, which Ultralytics takes as well
        is_outside = ((values < lowest) | (values > highest)) & is_finite
        for row, column in np.argwhere(is_outside).tolist():
            low, high = float(lowest[column]), float(highest[column])
            is_open = high >= _MAX_BBOX and values[row, column] < low
            say(row, column, f"{low:g} or more" if is_open else f"{low:g} to {high:g}")
        for row, text in self._find_bad_padding(values, is_class):
            bad.setdefault(row, []).append(text)

        # A large file comes in several pieces.
        seen = {key: line for key, line in self._seen.items() if key[0] == places[0, 0]}
        with np.errstate(over="ignore"):
            # As Ultralytics compares them; the sum makes no difference between 0 and -0.
            singles = values.astype(np.float32) + np.float32(0)
        step, data = 4 * self._n_columns, singles.tobytes()
        for row, (image, line) in enumerate(places.tolist()):
            first = seen.setdefault((image, data[row * step : (row + 1) * step]), line)
            if first != line and row not in bad:
                bad[row] = [f"is the same as line {first}, expected each object once"]
        self._seen = {key: line for key, line in seen.items() if key[0] == places[-1, 0]}
        return bad

    def _find_bad_padding(
        self, values: NDArray[np.float64], is_class: NDArray[np.bool_]
    ) -> Iterator[tuple[int, str]]:
        points = values[:, 5:].reshape(len(values), -1, self._dims)
        n_all = points.shape[1]
        if (self._n_keypoints == n_all).all():
            return
        n_own = np.full(len(values), n_all)
        n_own[is_class] = self._n_keypoints[values[is_class, 0].astype(np.int64)]
        is_labeled = points[..., 2] > 0 if self._dims == 3 else (points >= 0).all(axis=-1)
        if self._dims == 2:  # '0 0' is how others pad
            is_labeled &= (points > 0).any(axis=-1)
        is_wrong = is_labeled & (np.arange(n_all) >= n_own[:, None])
        for row in np.flatnonzero(is_wrong.any(axis=1)).tolist():
            category = self._categories[int(values[row, 0])]
            numbers = ", ".join(map(str, np.flatnonzero(is_wrong[row]).tolist()))
            yield (
                row,
                f"keypoint {numbers} is labeled, expected the {category.n_keypoints} of class "
                f"{_show(category.name)} and zeros after them",
            )

    def _column(self, column: int) -> str:
        if column < 5:
            return ("class", "bbox cx", "bbox cy", "bbox width", "bbox height")[column]
        k, part = divmod(column - 5, self._dims)
        return f"{('x', 'y', 'visibility')[part]} of keypoint {k}"

    def put_into(self, dataset: Dataset, labels: Sequence[str | None]) -> None:
        """Add the instances to a dataset that has the images."""
        if not self._values or not sum(map(len, self._values)):
            return
        values, places = np.concatenate(self._values), np.concatenate(self._places)
        image, category = places[:, 0], values[:, 0].astype(np.int64)
        size = np.zeros((len(labels), 2))
        for i, wh in self._sizes.items():
            size[i] = wh
        size = size[image]
        bbox = np.empty((len(values), 4))
        bbox[:, 2:] = values[:, 3:5] * size
        bbox[:, :2] = values[:, 1:3] * size - bbox[:, 2:] / 2
        points = values[:, 5:].reshape(len(values), -1, self._dims)
        keypoints = np.empty((*points.shape[:2], 3))
        keypoints[..., :2] = points[..., :2] * size[:, None]
        if self._dims == 3:
            keypoints[..., 2] = points[..., 2]
        else:
            is_absent = (points < 0).any(axis=-1)
            keypoints[..., 2] = np.where(is_absent, 0, 2)
            keypoints[(points == ABSENT).all(axis=-1)] = 0
            own = np.arange(points.shape[1]) < self._n_keypoints[category][:, None]
            n_at_corner = int(np.count_nonzero((points == 0).all(axis=-1) & own))
            if n_at_corner:
                self._reader.warnings.append(
                    f"'0 0' stands for {count(n_at_corner, 'keypoint')} of two numbers, which "
                    "Ultralytics takes for visible at the corner of the image, and so it is read; "
                    "if there is no such keypoint, clear it"
                )
        short = [None if label is None else self._reader.short(label) for label in labels]
        dataset._table.extend(
            uids=[f"yolo:{short[i]}:{line}" for i, line in places.tolist()],
            image=image,
            category=category,
            keypoints={
                c: keypoints[category == c, : self._n_keypoints[c]]
                for c in range(len(self._categories))
            },
            bbox=bbox,
            source="imported",
        )


def _shown(data: bytes) -> str:
    text = data[:100].decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 60 else f"{text[:50]}...")
