"""DeepLabCut: a project with ``config.yaml`` and one table of labels per folder of frames.

A table is a CSV file, an HDF5 file of pandas, or both with the same content. Its columns are
(scorer, [individual,] body part, x or y), its rows image files. An HDF5 file is read by h5py and
nothing in it is unpickled but texts and numbers: pandas and PyTables would run what a stranger put
there.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kpwidget.dataset import Dataset
from kpwidget.dataset.image_files import IMAGE_SUFFIXES
from kpwidget.formats.deeplabcut_tables import (
    CONFIG,
    H5_KEY,
    KEY,
    LABELED,
    LIKELIHOOD,
    OWN_KEYS,
    UNIQUE,
    Sheet,
    read_sheet,
)
from kpwidget.formats.deeplabcut_write import deeplabcut_losses, write_deeplabcut
from kpwidget.formats.gathered import SCORES, Gathered, OnError, progress, schema_for
from kpwidget.formats.hdf5 import MAGIC
from kpwidget.formats.yolo_yaml import load_yaml, plain
from kpwidget.images import named
from kpwidget.schema import Category, FormatError, Schema, _show

__all__ = ["deeplabcut_losses", "is_deeplabcut", "read_deeplabcut", "write_deeplabcut"]


def is_deeplabcut(path: Path) -> bool:
    """Whether this is a DeepLabCut project, its ``config.yaml``, or one of its tables.

    Parameters
    ----------
    path : Path
    """
    if path.is_dir():
        if (path / "config.yaml").is_file():
            return is_deeplabcut(path / "config.yaml")
        return any((path / LABELED).glob("*/CollectedData_*"))
    if path.suffix.lower() in (".yaml", ".yml"):
        try:
            return {"scorer", "bodyparts"} <= load_yaml(path).keys()
        except (FormatError, OSError):
            return False
    with open(path, "rb") as file:
        head = file.read(1 << 14)
        if head.startswith(MAGIC):
            return H5_KEY.encode() in head + file.read(1 << 18)
    first, _, rest = head.removeprefix(b"\xef\xbb\xbf").partition(b"\n")
    return first.startswith(b"scorer,") and b"bodyparts," in rest


# --- reading ------------------------------------------------------------------------------------


def read_deeplabcut(
    path: str | os.PathLike[str],
    images: Any = None,
    *,
    on_error: OnError = "raise",
    allow_outside: bool = False,
    schema: Schema | None = None,
) -> Dataset:
    """Dataset in a DeepLabCut project, or in one of its tables of labels or predictions.

    Parameters
    ----------
    path : str or os.PathLike
        The project's folder, its ``config.yaml``, or one ``CollectedData_<scorer>.csv`` or ``.h5``.
        Of a project the CSV files are read, and HDF5 files where there is no CSV. Or a table of
        predictions, ``<video><scorer>.csv`` or ``.h5``.
    images : folder, list of folders, glob, list of paths, or mapping, optional
        See `kpwidget.read`. By default the project's folder.
    on_error : {'raise', 'skip'}
        See `kpwidget.read`. What is wrong with the header of a table always raises.
    allow_outside : bool, default False
        See `kpwidget.read`.
    schema : Schema, optional
        It has all body parts; gives their order, flip pairs and sigmas, and the category its name.

    Returns
    -------
    Dataset
        One category, named as the project's task; unique body parts are another, ``'single'``. A
        number is a visible keypoint, an empty cell an unlabeled one. An individual of a project
        with several is the `track_id`. An image without any number in its row is done; image files
        in the folders of frames without a row are images that are not labeled. The scorer
        and other keys of ``config.yaml`` are in ``dataset.extra``, under ``deeplabcut`` and
        ``deeplabcut_config``.

        Of predictions every point is read, however unlikely: as visible, with its likelihood in
        ``extra['keypoint_scores']`` (0 where there is no point). The mean of those of an instance
        is its `score`, its source is ``'model:<scorer>'``. The number of a frame becomes the name
        that DeepLabCut gives the frame when it extracts it, ``labeled-data/<video>/img0012.png``,
        with as many digits as the number of rows takes.

    Raises
    ------
    FormatError
        If a file is none of the format, or rows are bad, naming every one.
    FileNotFoundError
        If there is no such file or folder.
    """
    path = Path(path)
    gathered = Gathered(path, on_error)
    is_table = path.suffix.lower() not in (".yaml", ".yml") and not path.is_dir()
    root = path if path.is_dir() else path.parent
    if is_table and root.parent.name == LABELED:
        root = root.parent.parent
    elif is_table and root.name == "videos":  # where DeepLabCut puts predictions
        root = root.parent
    header = root / "config.yaml" if is_table or path.is_dir() else path
    # Tables say enough by themselves; a project that is named by its config.yaml has one.
    config = _read_config(header) if header == path or header.is_file() else {}
    sheets = [read_sheet(path, gathered)] if is_table else _read_project(root, config, gathered)
    main, unique = _categories(config, sheets, schema, gathered)
    categories = [category for category in (main, unique) if category is not None]
    for sheet in sheets:
        _put_rows(sheet, categories, root, gathered)
    if not is_table:
        _add_unlabeled(root, gathered)
    dataset = gathered.dataset(categories, images, root / "x", allow_outside=allow_outside)
    kept: dict[str, Any] = {"scorer": sheets[0].scorer} if sheets else {}
    kept["multianimal"] = any(individual for sheet in sheets for individual, _, _ in sheet.columns)
    others = {key: value for key, value in config.items() if key not in OWN_KEYS}
    dataset.extra[KEY] = kept
    if others:
        dataset.extra[CONFIG] = plain(others)
    return dataset


def _read_config(path: Path) -> dict[Any, Any]:
    config = load_yaml(path, "config.yaml", "'scorer' and 'bodyparts'")
    problems = []
    if not {"scorer", "bodyparts"} <= config.keys():
        problems.append(
            "is no config.yaml of DeepLabCut: expected the keys 'scorer' and 'bodyparts', got "
            + (", ".join(map(_show, list(config)[:5])) or "nothing")
        )
    for key in ("bodyparts", "multianimalbodyparts", "uniquebodyparts", "individuals"):
        value = config.get(key)
        if value in (None, "MULTI!"):
            continue
        if not isinstance(value, list) or not all(isinstance(v, str) and v.strip() for v in value):
            problems.append(f"{key!r} is {_show(value)}, expected a list of names")
    if config.get("skeleton") is not None and not isinstance(config["skeleton"], list):
        problems.append(f"'skeleton' is {_show(config['skeleton'])}, expected a list of pairs")
    if not isinstance(config.get("scorer"), str | int | None):
        problems.append(f"'scorer' is {_show(config['scorer'])}, expected a name")
    if problems:
        raise FormatError.from_problems(os.fspath(path), problems)
    return config


def _read_project(root: Path, config: Mapping[Any, Any], gathered: Gathered) -> list[Sheet]:
    folder = root / LABELED
    if not folder.is_dir():
        raise FormatError.from_problems(
            os.fspath(root), [f"has no folder {LABELED!r}, in which DeepLabCut keeps the labels"]
        )
    sheets = []
    for of_video in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        tables = sorted(p for p in of_video.glob("CollectedData_*") if p.suffix in (".csv", ".h5"))
        own = [p for p in tables if p.stem == f"CollectedData_{config.get('scorer')}"]
        stems = {p.stem for p in own or tables}
        if len(stems) > 1:
            gathered.problems.append(
                f"{LABELED}/{named(of_video.name)}: has tables of several scorers "
                f"({', '.join(sorted(stems))}), and none is that of config.yaml, "
                f"{_show(config.get('scorer'))}"
            )
        elif stems:
            sheets.append(read_sheet((own or tables)[0], gathered))  # .csv before .h5
    return sheets


def _categories(
    config: Mapping[Any, Any], sheets: Sequence[Sheet], schema: Schema | None, gathered: Gathered
) -> tuple[Category | None, Category | None]:
    """Return the category of the animals and that of the unique body parts, if there are any."""
    columns = [column for sheet in sheets for column in sheet.columns]
    is_multi = bool(config.get("multianimalproject")) or any(c[0] for c in columns)
    key = "multianimalbodyparts" if is_multi else "bodyparts"
    named_parts = [k for k in config.get(key) or () if isinstance(k, str)]
    unique_parts = list(config.get("uniquebodyparts") or ()) if is_multi else []

    def parts_of(is_own: bool, listed: Sequence[str]) -> list[str]:
        used = [part for i, part, _ in columns if (i == UNIQUE) is is_own]
        more = [part for part in dict.fromkeys(used) if part not in listed]
        if more and listed:
            gathered.warnings.append(
                f"body parts {_show(more)} are in the tables and not in config.yaml ({key!r})"
            )
        return list(dict.fromkeys([*listed, *more]))

    task = config.get("Task")
    name = schema.name if schema else task if isinstance(task, str) and task.strip() else "animal"
    parts = parts_of(False, named_parts if config.get(key) != "MULTI!" else [])
    skeleton = config.get("skeleton") or []
    own = {*parts, *unique_parts}
    main = unique = None
    if parts:
        pairs = [pair for pair in skeleton if not _is_within(pair, own - {*parts})]
        main = Category(1, schema_for(name, parts, pairs, schema, gathered), name)
    if unique_parts := parts_of(True, unique_parts):
        pairs = [pair for pair in skeleton if _is_within(pair, {*unique_parts})]
        unique = Category(2, schema_for(UNIQUE, unique_parts, pairs, None, gathered), UNIQUE)
    if main is None and unique is None:
        raise FormatError.from_problems(
            gathered.where, ["has no body parts: neither config.yaml nor a table names any"]
        )
    return main, unique


def _is_within(pair: Any, names: set[str]) -> bool:
    return isinstance(pair, list) and bool(pair) and all(end in names for end in map(str, pair))


def _put_rows(sheet: Sheet, categories: Sequence[Category], root: Path, gathered: Gathered) -> None:
    """Add the images and instances of a table."""
    places: dict[str, tuple[int, list[tuple[str, int, int, int]]]] = {}
    index_of = {column: i for i, column in enumerate(sheet.columns)}
    for individual, part, coordinate in sheet.columns:
        if coordinate != "x":
            continue
        c = next(
            i for i, category in enumerate(categories)
            if (category.name == UNIQUE and i > 0) is (individual == UNIQUE) or len(categories) == 1
        )  # fmt: skip
        x, y, likelihood = (
            index_of.get((individual, part, name), -1) for name in ("x", "y", LIKELIHOOD)
        )
        places.setdefault(individual, (c, []))[1].append((part, x, y, likelihood))
    is_predicted = any(coordinate == LIKELIHOOD for _, _, coordinate in sheet.columns)
    where = named(sheet.path.relative_to(root).as_posix())
    is_bad = ~(np.abs(sheet.values) <= 1e100) & ~np.isnan(sheet.values)
    values = sheet.values.tolist()
    for row, (line, given) in enumerate(progress(sheet.rows, "reading instances", "image")):
        file_name = _frame_name(sheet, given) if is_predicted else given.replace("\\", "/")
        at = f"{where} {'row' if sheet.path.suffix == '.h5' else 'line'} {line}"
        if not file_name.strip("/"):
            gathered.problems.append(f"{at}: has no image file")
            continue
        if is_bad[row].any():
            column = int(np.argmax(is_bad[row]))
            gathered.problems.append(
                f"{at}: {' '.join(filter(None, sheet.columns[column]))} is "
                f"{sheet.values[row, column]:g}, expected a number of pixels"
            )
            continue
        numbers = values[row]
        found = []
        for individual, (c, points) in places.items():
            keypoints: dict[str, tuple[float, float, float]] = {}
            likely: dict[str, float] = {}
            for part, i, j, likelihood in points:
                x, y = numbers[i], numbers[j]
                if (x != x) is not (y != y):
                    gathered.problems.append(
                        f"{at}: {f'{individual} {part}'.strip()} has "
                        f"{'y' if x != x else 'x'} alone, expected both or none"
                    )
                elif x == x:
                    keypoints[part] = (x, y, 2.0)
                    if is_predicted:
                        likely[part] = max(0.0, numbers[likelihood])  # NaN becomes 0, too
            if keypoints:
                found.append((individual, c, keypoints, likely))
        try:
            image = gathered.image(file_name, is_done=not found and not is_predicted)
        except KeyError:
            gathered.problems.append(f"{at}: the image {_show(file_name)} has a row already")
            continue
        for individual, c, keypoints, likely in found:
            kept: dict[str, Any] = {}
            if individual and individual != UNIQUE:
                kept["track_id"] = individual
            if is_predicted:
                kept["source"] = f"model:{sheet.scorer}"
                kept["score"] = sum(likely.values()) / len(likely)
                scores = [likely.get(name, 0.0) for name in categories[c].keypoints]
                kept["extra"] = {SCORES: scores}
            gathered.instance(f"dlc:{file_name}:{individual}", image, c, keypoints, **kept)


def _frame_name(sheet: Sheet, given: str) -> str:
    """Name of the image of a row of predictions, which may be the number of a frame."""
    if not (given.isascii() and given.isdecimal()):
        return given.replace("\\", "/")
    # As DeepLabCut names frames (generate_training_dataset/frame_extraction.py): "img" and the
    # number, with ceil(log10(number of frames)) digits. A table has a row for every frame.
    n_digits = math.ceil(math.log10(max(len(sheet.rows), 2)))
    video = sheet.path.stem.partition(sheet.scorer)[0] if sheet.scorer else sheet.path.stem
    return f"{LABELED}/{video or sheet.path.stem}/img{given.zfill(n_digits)}.png"


def _add_unlabeled(root: Path, gathered: Gathered) -> None:
    """Add the frames that have no row yet."""
    for folder in sorted((root / LABELED).iterdir()):
        if folder.is_dir() and not folder.name.endswith("_labeled"):  # DeepLabCut's own pictures
            for entry in sorted(folder.iterdir()):
                name = f"{LABELED}/{folder.name}/{entry.name}"
                if entry.suffix.lower() in IMAGE_SUFFIXES and gathered.index(name) is None:
                    gathered.image(name)
