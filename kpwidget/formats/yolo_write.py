"""Datasets to folders of Ultralytics YOLO pose."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from kpwidget import schemas
from kpwidget._version import __version__
from kpwidget.dataset import Dataset
from kpwidget.dataset.combine import Group, Parts
from kpwidget.formats import WriteReport, count, write_file
from kpwidget.formats.folders import (
    ImagesOption,
    check_folder,
    image_sources,
    listed,
    note_new_names,
    safe_parts,
    write_files,
    write_images,
)
from kpwidget.formats.yolo_rows import (
    MAX_ERROR,
    OF_SPLIT,
    LabelRows,
    check_options,
    common_flip_indices,
    common_sigmas,
    encoded,
    kept_extra,
    label_rows,
    recorded_splits,
)
from kpwidget.formats.yolo_yaml import (
    ABSENT,
    MARK,
    SPLITS,
    SUFFIXES,
    dump_yaml,
    label_path,
)
from kpwidget.images import ImageError, ImageSource
from kpwidget.schema import Category

__all__ = ["write_yolo"]

_SMALLEST_SIDE: Final = 10  # pixels; Ultralytics leaves smaller images out
_PLAIN_NAME: Final = re.compile(  # of most images: nothing about it needs a second look
    rf"[\w -][\w. -]*\.(?:{'|'.join(sorted(SUFFIXES))})", re.ASCII
)


def write_yolo(
    dataset: Dataset,
    path: str | os.PathLike[str],
    *,
    split: Parts | None = None,
    seed: int = 0,
    group: Group = None,
    images: ImagesOption = "copy",
    keypoint_dims: int = 3,
) -> WriteReport:
    """Write a dataset as a folder of Ultralytics YOLO pose.

    Parameters
    ----------
    dataset : Dataset
    path : str or os.PathLike
        The folder: made if it is missing; else it must be empty or a dataset written here before.
        ``data.yaml`` is written last and in one go.
    split : mapping, optional
        Ratios such as ``{"train": 0.8, "val": 0.2}``, or for 'train', 'val' and 'test' their
        images; see `Dataset.split`. By default each image goes to the split it was read from, all
        others to 'train'.
    seed : int, default 0
        Of a split by ratio.
    group : {'folder', 'clip'}, mapping or callable, optional
        What must not be torn apart by a split; see `Dataset.split`.
    images : {'copy', 'link', 'leave'}
        Copy the image files to ``images/<split>/``; make symbolic links there (hard links where
        those cannot be made); or write labels only, and ``train.txt``, ``val.txt`` that say where
        Ultralytics will look for the images. Images without a file are written: bytes as they are,
        arrays as PNG.
    keypoint_dims : {3, 2}
        Numbers per keypoint: (x, y, visibility), or (x, y).

    Returns
    -------
    WriteReport
        With notes on what was mapped.

    Raises
    ------
    FileExistsError
        If the folder holds something else, or files of an earlier write that would stay.
    ValueError
        Naming every image whose name is no good here (absolute, leading out of the folder, two
        with one label file, an ending that Ultralytics does not read), whose file is missing or
        whose size is not known, and options that are none.
    OSError
        If a file cannot be written; ``data.yaml`` is not written then.

    Notes
    -----
    The class of an instance is the position of its category. Instances come in their order.
    Coordinates are divided by the size of the image in float64 and written with 10 decimals
    (more above 20,000 px), zeros at the end left out: within 1e-6 px, and what was read from a
    file with as many decimals is written as it was. A category with fewer keypoints than others is
    padded with ``0 0 0``; ``kpt_names`` has its true ones. An image that is done and has no
    instances gets an empty label file, one that is not done gets none.
    """
    check_options(images, keypoint_dims)
    folder = Path(path)
    with dataset.lock:
        if not dataset.categories:
            raise ValueError(f"{folder}: the dataset has no categories; YOLO pose needs one")
        blank = [c for c in dataset.categories if not c.name.strip()]
        if blank:
            raise ValueError(
                f"{folder}: "
                + "; ".join(
                    f"category {c.id} has the name {c.name!r}, expected some text" for c in blank
                )
            )
        rows = label_rows(dataset, keypoint_dims)
        notes = list(rows.notes)
        splits = _splits(dataset, split, seed, group, notes)
        names = _new_names(dataset, splits, notes)
        sources = _sources(dataset, names, rows, images, notes)
        labels = _label_files(dataset, names, rows)
        content, lists = _data_yaml(dataset, names, splits, images, keypoint_dims, notes)
        n_images = len(dataset.images)
        _note_what_is_left(dataset, rows, images, folder, notes)
    data_yaml = dump_yaml(content, f"{MARK} {__version__}")
    if not (images == "leave" and folder.is_dir() and os.listdir(folder) == ["images"]):
        check_folder(folder, {*names, *labels, *lists, "data.yaml"}, "YOLO", _is_ours, _is_part)
    write_images(folder, sources, images)
    write_files(folder, {**labels, **lists}, is_new=not (folder / "data.yaml").exists())
    write_file(folder / "data.yaml", [data_yaml])
    return WriteReport(folder, "yolo-pose", n_images, len(rows.values), 0, tuple(notes))


def _note_what_is_left(
    dataset: Dataset, rows: LabelRows, images: str, folder: Path, notes: list[str]
) -> None:
    table = dataset._table
    n = sum(s.is_done and bool(table.rows_of_image[i]) for i, s in enumerate(dataset._images))
    if n:
        notes.append(f"YOLO has no field for the mark done of {count(n, 'image')} with instances")
    n = sum(min(size) < _SMALLEST_SIDE for size in rows.sizes.values())
    if n:
        notes.append(
            f"{count(n, 'image')} smaller than {_SMALLEST_SIDE} px, which Ultralytics leaves out"
        )
    largest = max((max(size) for size in rows.sizes.values()), default=0)
    if largest:
        notes.append(f"coordinates are within {MAX_ERROR:g} px of what they were")
    if images == "leave":
        notes.append(
            "the image files were left where they are; Ultralytics looks for each where train.txt "
            f"and val.txt name it, in {folder / 'images'}"
        )


# --- the folder ---------------------------------------------------------------------------------


def _splits(
    dataset: Dataset, split: Parts | None, seed: int, group: Group, notes: list[str]
) -> list[str]:
    """Split of each image."""
    if split is not None:
        from kpwidget.dataset.combine import split_images

        unknown = [name for name in split if name not in SPLITS] if hasattr(split, "keys") else []
        if unknown:
            raise ValueError(
                "the splits of YOLO are 'train', 'val' and 'test', not "
                + ", ".join(map(repr, unknown))
            )
        of_image = [""] * len(dataset.images)
        for part, indices in split_images(dataset, split, seed, group).items():
            for i in indices:
                of_image[i] = part
        return of_image
    recorded = recorded_splits(dataset)
    n_others = recorded.count(None)
    if n_others and n_others < len(recorded):
        notes.append(f"{count(n_others, 'image')} without a split went to 'train'")
    elif n_others:
        notes.append("all images went to 'train'; pass split= to divide them")
    return [name or "train" for name in recorded]


def _new_names(dataset: Dataset, splits: Sequence[str], notes: list[str]) -> list[str]:
    """Where each image goes, relative to the folder."""
    names: list[str] = []
    problems: list[str] = []
    of_label: dict[str, str] = {}
    ignores_case = sys.platform in ("win32", "darwin")
    for state, split in zip(dataset._images, splits, strict=True):
        given = state.file_name
        try:
            name = _new_name(given, split, isinstance(state.data, np.ndarray))
        except ValueError as error:
            problems.append(f"{given!r}: {error}")
            names.append("")
            continue
        names.append(name)
        label = label_path(name)
        first = of_label.setdefault(label.casefold() if ignores_case else label, given)
        if first is not given:
            problems.append(
                f"{given!r}: would have the label file {label}, which is that of {first!r}; rename "
                "one of them"
            )
    if problems:
        raise ValueError(
            f"{count(len(problems), 'image')} cannot be written under their names:\n"
            + listed(problems)
        )
    note_new_names(dataset, names, notes)
    return names


def _new_name(given: str, split: str, is_array: bool) -> str:
    """Name of an image in the dataset's folder; ValueError says why it can have none."""
    if not is_array and _PLAIN_NAME.fullmatch(given):
        return f"images/{split}/{given}"
    parts = safe_parts(given)
    if any(part.startswith(".") for part in parts):
        raise ValueError("begins with a dot; Ultralytics does not look at such files")
    stem, _, suffix = parts[-1].rpartition(".")
    if is_array:
        parts[-1] = (stem or suffix) + (
            f".{suffix}" if suffix.lower() == "png" and stem else ".png"
        )
    elif not stem or suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"Ultralytics reads images that end in {', '.join(sorted(SUFFIXES))}; rename it"
        )
    if len(parts) > 2 and "images" in parts[:2]:
        other = parts[1 - parts.index("images")]
        if OF_SPLIT.get(other) == split:
            return "/".join(parts)  # in place: images/train/..., or train/images/... as Roboflow
        if other in OF_SPLIT:
            parts = parts[2:]
    if len(parts) > 1 and parts[0] == "images":
        parts = parts[1:]
    return "/".join(["images", split, *parts])


def _sources(
    dataset: Dataset, names: Sequence[str], rows: LabelRows, images: str, notes: list[str]
) -> dict[str, Any]:
    """What each image file is to be made of, by its new name."""
    sources = image_sources(dataset, names, images)
    turned: list[str] = []
    for i, name in enumerate(names if sources else ()):
        data, size = sources[name], rows.sizes.get(i)
        if size is not None and size[0] != size[1] and not isinstance(data, np.ndarray):
            try:
                upright = ImageSource(data).size
            except ImageError as error:
                notes.append(f"cannot be read, and is written as it is: {error}")
                continue
            if upright == size[::-1]:
                given = dataset._images[i].file_name
                turned.append(f"{given!r} is {upright[0]} x {upright[1]} px upright")
    if turned:
        raise ValueError(
            f"the labels of {count(len(turned), 'image')} do not follow the EXIF orientation, and "
            "Ultralytics turns images by it; save them without it:\n" + listed(turned)
        )
    return sources


def _label_files(dataset: Dataset, names: Sequence[str], rows: LabelRows) -> dict[str, bytes]:
    """Content of each label file, by its name."""
    lines = encoded(rows.values)
    ends = np.searchsorted(rows.image, np.arange(len(names)), "right").tolist()
    files: dict[str, bytes] = {}
    start = 0
    rows_of_image = dataset._table.rows_of_image
    for i, end in enumerate(ends):
        if end > start:
            files[label_path(names[i])] = b"\n".join(lines[start:end]) + b"\n"
            start = end
        elif dataset._images[i].is_done and not rows_of_image[i]:
            files[label_path(names[i])] = b""
    return files


def _data_yaml(
    dataset: Dataset,
    names: Sequence[str],
    splits: Sequence[str],
    images: str,
    n_dims: int,
    notes: list[str],
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Content of ``data.yaml``, and of the lists of images."""
    categories = dataset.categories
    where: dict[str, str | list[str]] = {}
    lists: dict[str, bytes] = {}
    for split in SPLITS:
        own = [name for name, of in zip(names, splits, strict=True) if of == split]
        if not own:
            continue
        if images == "leave":
            where[split] = f"{split}.txt"
            lists[f"{split}.txt"] = "".join(f"./{name}\n" for name in own).encode()
        else:
            folders = sorted({"/".join(name.split("/", 2)[:2]) for name in own})
            where[split] = folders[0] if len(folders) == 1 else folders
    # Ultralytics requires both keys. An empty list keeps it from training on what is for testing.
    if "train" not in where:
        where["train"] = []
        notes.append("no image is in 'train', which is an empty list")
    if "val" not in where:
        where["val"] = where["train"]
        notes.append("no image is in 'val', which Ultralytics requires: it names what 'train' does")
    content: dict[str, Any] = {split: where[split] for split in SPLITS if split in where}
    n_keypoints = max(category.n_keypoints for category in categories)
    content["kpt_shape"] = [n_keypoints, n_dims]
    flip_indices = common_flip_indices(categories)
    if flip_indices is not None and any(c.schema.flip_pairs for c in categories):
        content["flip_idx"] = flip_indices
    else:
        notes.append(
            "'flip_idx' is left out, for the categories have no flip pairs in common: Ultralytics "
            "then does not mirror images in training" + _hint_at_schema(categories)
        )
    content["names"] = {i: category.name for i, category in enumerate(categories)}
    content["kpt_names"] = {i: list(c.keypoints) for i, c in enumerate(categories)}
    sigmas = common_sigmas(categories)
    if sigmas is not None:
        content["kpt_oks_sigmas"] = sigmas
    padded = [c for c in categories if c.n_keypoints < n_keypoints]
    if padded:
        listed = ", ".join(f"{c.name!r} ({c.n_keypoints})" for c in padded[:5])
        more = ", ..." if len(padded) > 5 else ""
        filler = "0 0 0" if n_dims == 3 else f"{ABSENT} {ABSENT}"
        notes.append(f"padded with '{filler}' to {count(n_keypoints, 'keypoint')}: {listed}{more}")
    content.update(kept_extra(dataset)[0])
    return content, lists


def _hint_at_schema(categories: Sequence[Category]) -> str:
    """Say which built-in schema has flip pairs for the keypoints of all categories."""
    for name in schemas.names():
        schema = schemas.get(name)
        if schema.flip_pairs and all(c.keypoints == schema.keypoints for c in categories):
            return (
                f"; the keypoints are those of {name!r}, which has flip pairs: read the file with "
                f"schema=kp.schemas.get({name!r})"
            )
    return ""


def _is_ours(folder: Path) -> bool:
    try:
        with open(folder / "data.yaml", "rb") as file:
            return file.read(len(MARK)) == MARK.encode()
    except OSError:
        return False


def _is_part(name: str) -> bool:
    """Whether a file of the folder, relative to it, is part of the dataset."""
    top = name.partition("/")[0]
    if top in ("images", "labels", *OF_SPLIT):
        return "/" in name and not name.endswith(".cache")
    return name in {f"{split}.txt" for split in SPLITS}
