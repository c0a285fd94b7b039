"""Datasets to DeepLabCut projects, and what those have no place for."""

from __future__ import annotations

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from kpwidget._version import __version__
from kpwidget.dataset import Dataset
from kpwidget.formats import Loss, WriteReport, count, needed, write_file
from kpwidget.formats.deeplabcut_tables import (
    CONFIG,
    H5_KEY,
    HEADERS,
    KEY,
    LABELED,
    OWN_KEYS,
    UNIQUE,
)
from kpwidget.formats.folders import (
    ImagesOption,
    check_folder,
    check_images_option,
    image_sources,
    lost_pixels,
    new_names,
    write_files,
    write_images,
)
from kpwidget.formats.gathered import Item, instances_by_image, progress
from kpwidget.formats.losses import N_EXAMPLES, instance_names, lost_values
from kpwidget.formats.yolo_yaml import dump_yaml
from kpwidget.schema import Category

__all__ = ["deeplabcut_losses", "write_deeplabcut"]

MARK: Final = "# DeepLabCut project, written by kpwidget"


_KEPT: Final = frozenset(("skeletons", "tracks"))


def _chosen(dataset: Dataset) -> tuple[int, int | None]:
    """Position of the category that is written, and of that of the unique body parts."""
    numbers = dataset._table.n_of_categories()
    names = [category.name for category in dataset.categories]
    unique = names.index(UNIQUE) if names.count(UNIQUE) == 1 and len(names) > 1 else None
    if unique is not None:
        rows = dataset._table.live_rows()
        of = dataset._table.column("category", rows) == unique
        images = dataset._table.column("image", rows)[of]
        if len(set(images.tolist())) < len(images):
            unique = None
    main = max(
        (i for i in range(len(numbers)) if i != unique), key=lambda i: (numbers[i], -i), default=0
    )
    if unique is not None and set(names and dataset.categories[unique].keypoints) & set(
        dataset.categories[main].keypoints
    ):
        unique = None
    return main, unique


def deeplabcut_losses(dataset: Dataset, *, images: ImagesOption = "copy") -> list[Loss]:
    """What a DeepLabCut project has no place for.

    Parameters
    ----------
    dataset : Dataset
    images
        As of `write_deeplabcut`.

    Returns
    -------
    list of Loss
    """
    check_images_option(images)
    losses: list[Loss] = []
    with dataset.lock:
        if not dataset.categories:
            return []
        main, unique = _chosen(dataset)
        table = dataset._table
        rows = np.asarray(table.live_rows(), np.int64)
        category = table.column("category", rows)
        is_left = ~np.isin(category, [i for i in (main, unique) if i is not None])
        is_blank = ~is_left & (table.n_labeled_of(rows) == 0)
        name = dataset.categories[main].name
        for is_lost, what, text in (
            (is_left, "category", f"of other categories than {name!r} would be left out, for a "
             "project has one: pass ds.select(category=...) to choose"),
            (is_blank, "instances", "without a labeled keypoint would be left out"),
        ):  # fmt: skip
            n = int(np.count_nonzero(is_lost))
            if n:
                examples = instance_names(dataset, rows[is_lost][:N_EXAMPLES])
                losses.append(Loss(what, n, f"{count(n, 'instance')} {text}", examples))
        left = [c.name for i, c in enumerate(dataset.categories) if i not in (main, unique)]
        if left:
            text = f"{count(len(left), 'category')} would be left out"
            losses.append(Loss("categories", len(left), text, tuple(map(repr, left[:N_EXAMPLES]))))
        losses += lost_values(dataset, _KEPT, kept_fields=(KEY, CONFIG))
        losses += _lost_tracks(dataset, main, unique)
        if images != "leave":
            return [*losses, *lost_pixels(dataset)]
        bare = [
            state.file_name
            for state, rows_of in zip(dataset._images, table.rows_of_image, strict=True)
            if not rows_of and not state.is_done
        ]
        if bare:
            text = f"{count(len(bare), 'image')} without a row in a table, for no file is copied"
            losses.append(Loss("images", len(bare), text, tuple(bare[:N_EXAMPLES])))
    return losses


def _lost_tracks(dataset: Dataset, main: int, unique: int | None) -> Iterator[Loss]:
    found = _individuals(dataset, instances_by_image(dataset), main, unique)
    lost = [
        (item, given) for item, given, name in found.of_items
        if given is not None and given != name
    ]  # fmt: skip
    if lost:
        text = f"the track_id of {count(len(lost), 'instance')}, which are given other names"
        examples = tuple(f"{given!r} of {item.uid!r}" for item, given in lost[:N_EXAMPLES])
        yield Loss("track_id", len(lost), text, examples)


@dataclass
class _Individuals:
    """Names of the individuals, and which each instance is.

    Attributes
    ----------
    names : list of str
        Empty for a project with one animal.
    of_items : list of (Item, track_id, name)
    """

    names: list[str]
    of_items: list[tuple[Item, Any, str]]


def _is_name(track: Any) -> bool:
    """Whether a track_id can be the name of an individual."""
    return isinstance(track, str) and bool(track.strip()) and track != UNIQUE and _is_plain(track)


def _is_plain(name: str) -> bool:
    return not any(ord(c) < 32 or c == "\x7f" for c in name)


def _individuals(
    dataset: Dataset, items: Sequence[Sequence[Item]], main: int, unique: int | None
) -> _Individuals:
    """Give each instance a name: its track_id if that is text and no other's of the image."""
    tracks = dataset._table.column("track_id", range(dataset._table.n_rows)).tolist()
    kept = dataset.extra.get(KEY)
    was_multi = isinstance(kept, Mapping) and kept.get("multianimal") is True
    of_main = [
        [item for item in of if item.category == main and any(p[2] for p in item.points)]
        for of in items
    ]
    is_one = all(len(of) <= 1 and all(tracks[item.row] is None for item in of) for of in of_main)
    if is_one and not was_multi and unique is None:
        return _Individuals([], [(item, None, "") for of in of_main for item in of])
    names = dict.fromkeys(
        tracks[item.row] for of in of_main for item in of if _is_name(tracks[item.row])
    )
    found: list[tuple[Item, Any, str]] = []
    free = [f"ind{i}" for i in range(1, max(map(len, of_main), default=0) + 1)]
    for of in of_main:
        given = Counter(tracks[item.row] for item in of if _is_name(tracks[item.row]))
        taken = set(given)
        for item in of:
            track = tracks[item.row]
            name = track if _is_name(track) and given[track] == 1 else None
            if name is None:
                name = next((f for f in free if f not in taken), None) or next(
                    f"ind{i}" for i in range(1, 10**9) if f"ind{i}" not in taken
                )
                taken.add(name)
                names.setdefault(name)
            found.append((item, track, name))
    return _Individuals(list(names), found)


def write_deeplabcut(
    dataset: Dataset,
    path: str | os.PathLike[str],
    *,
    images: ImagesOption = "copy",
    scorer: str | None = None,
    h5: bool | None = None,
) -> WriteReport:
    """Write a dataset as a DeepLabCut project.

    Parameters
    ----------
    dataset : Dataset
    path : str or os.PathLike
        The folder: made if it is missing; else it must be empty or a project written here before.
        ``config.yaml`` is written last and in one go.
    images : {'copy', 'link', 'leave'}
        Copy the image files to ``labeled-data/<folder>/``; make links there; or write labels only.
    scorer : str, optional
        By default that of the project it was read from, else the dataset's annotator.
    h5 : bool, optional
        Whether to write the HDF5 files that DeepLabCut trains on, which takes ``kpwidget[dlc]``.
        By default if that is installed; DeepLabCut makes them of the CSV files as well
        (``convertcsv2h5``).

    Returns
    -------
    WriteReport
        With notes on what was mapped.

    Raises
    ------
    FileExistsError
        If the folder holds something else, or files of an earlier write that would stay.
    ValueError
        Naming every image whose name is no good here or whose file is missing.
    ImportError
        If `h5` is True and a package is missing.

    Notes
    -----
    One category is written, that with most instances, and one called ``'single'`` with at most one
    instance in an image as the unique body parts. A project has one animal if no image has several
    instances and none has a track_id. An image that is done and has no instances gets an empty
    row, one that is not done gets none. Numbers are written with all their digits.
    """
    check_images_option(images)
    folder = Path(path)
    notes: list[str] = []
    with dataset.lock:
        if not dataset.categories:
            raise ValueError(f"{folder}: the dataset has no categories; DeepLabCut needs one")
        main, unique = _chosen(dataset)
        odd = [
            repr(keypoint)
            for c in (main, unique)
            for keypoint in (() if c is None else dataset.categories[c].keypoints)
            if not _is_plain(keypoint)
        ]
        if odd:
            raise ValueError(
                f"{folder}: control characters have no place in a table of DeepLabCut; rename the "
                f"keypoints {', '.join(odd[:20])}"
            )
        given = dataset.extra.get(KEY)
        kept = given if isinstance(given, Mapping) else {}
        if scorer is None:
            scorer = str(kept.get("scorer") or dataset.annotator or "kpwidget")
        scorer = "".join(c if c.isalnum() or c in "-_. " else "_" for c in scorer).strip() or "me"
        task = dataset.categories[main].name
        names = new_names(dataset, lambda parts: _new_name(parts, task), notes)
        sources = image_sources(dataset, names, images)
        items = instances_by_image(dataset)
        individuals = _individuals(dataset, items, main, unique)
        sheets, n_instances = _sheets(dataset, names, items, individuals, main, unique)
        config = _config(dataset, names, individuals, main, unique, scorer)
        n_images = len(dataset.images)
        _note_outside(dataset, items, notes)
    header = _header(dataset, individuals, main, unique, scorer)
    files = {
        f"{LABELED}/{video}/CollectedData_{scorer}.csv": _csv(header, sheet)
        for video, sheet in sheets.items()
    }
    if h5 is None:
        h5 = _has_tables()
        if not h5:
            notes.append(
                "no HDF5 files were written, which DeepLabCut trains on: "
                'pip install "kpwidget[dlc]", or let DeepLabCut make them (convertcsv2h5)'
            )
    if h5:
        needed("tables", "kpwidget[dlc]", "writing HDF5 files of DeepLabCut")
    content = dump_yaml(config, f"{MARK} {__version__}", "config.yaml")
    tables = {name[:-3] + "h5" for name in files} if h5 else set()
    check_folder(folder, {*names, *files, *tables, "config.yaml"}, "DeepLabCut", _is_ours, _is_part)
    write_images(folder, sources, images)
    write_files(folder, files, is_new=not (folder / "config.yaml").exists())
    (folder / LABELED).mkdir(exist_ok=True)  # without a label, too: the reader looks for it
    for video, sheet in sheets.items() if h5 else ():
        _write_h5(folder / LABELED / video / f"CollectedData_{scorer}.h5", header, sheet)
    write_file(folder / "config.yaml", [content])
    return WriteReport(folder, "deeplabcut", n_images, n_instances, 0, tuple(notes))


def _is_ours(folder: Path) -> bool:
    try:
        with open(folder / "config.yaml", "rb") as file:
            return file.read(len(MARK)) == MARK.encode()
    except OSError:
        return False


def _is_part(name: str) -> bool:
    return name.startswith(f"{LABELED}/")


def _new_name(parts: list[str], task: str) -> str:
    if len(parts) == 3 and parts[0] == LABELED:
        return "/".join(parts)
    if parts[0] == LABELED:
        parts = parts[1:]
    own = "".join(c if c.isalnum() or c in "-_" else "_" for c in task)
    return "/".join([LABELED, "_".join(parts[:-1]) or own, parts[-1]])


@dataclass
class _Written:
    """What is written of a folder of frames: names, and numbers as text for each column."""

    names: list[str]
    values: list[list[list[float] | None]]
    """For each row those of each individual, None for one that is not there."""


def _blocks(
    dataset: Dataset, individuals: _Individuals, main: int, unique: int | None
) -> list[tuple[str, tuple[str, ...]]]:
    """Individuals with their body parts, in the order of the columns."""
    parts = dataset.categories[main].keypoints
    blocks = [(name, parts) for name in individuals.names or [""]]
    if unique is not None:
        blocks.append((UNIQUE, dataset.categories[unique].keypoints))
    return blocks


def _header(
    dataset: Dataset, individuals: _Individuals, main: int, unique: int | None, scorer: str
) -> list[tuple[str, ...]]:
    """Columns of the tables."""
    return [
        (scorer, name, part, coordinate) if name else (scorer, part, coordinate)
        for name, parts in _blocks(dataset, individuals, main, unique)
        for part in parts
        for coordinate in "xy"
    ]


def _sheets(
    dataset: Dataset,
    names: Sequence[str],
    items: Sequence[Sequence[Item]],
    individuals: _Individuals,
    main: int,
    unique: int | None,
) -> tuple[dict[str, _Written], int]:
    name_of = {item.row: name for item, _, name in individuals.of_items}
    blocks = _blocks(dataset, individuals, main, unique)
    place = {name: i for i, (name, _) in enumerate(blocks)}
    sheets: dict[str, _Written] = {}
    n_instances = 0
    by_image = progress(items, "writing instances", "image")
    for state, name, of in zip(dataset._images, names, by_image, strict=True):
        row: list[list[float] | None] = [None] * len(blocks)
        n = 0
        for item in of:
            individual = UNIQUE if item.category == unique else name_of.get(item.row)
            if individual is None or not any(v for _, _, v in item.points):
                continue
            flat: list[float] = []
            for x, y, v in item.points:
                flat += (x, y) if v else (math.nan, math.nan)
            row[place[individual]] = flat
            n += 1
        video = name.split("/")[1]
        sheet = sheets.setdefault(video, _Written([], []))
        if n or (state.is_done and not of):
            sheet.names.append(name)
            sheet.values.append(row)
        n_instances += n
    return {video: sheet for video, sheet in sheets.items() if sheet.names}, n_instances


def _csv(header: Sequence[tuple[str, ...]], sheet: _Written) -> bytes:
    """As pandas writes it: the header in rows, the file name in three cells."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    titles = HEADERS[len(header[0]) - 3]
    for title, cells in zip(titles, zip(*header, strict=True), strict=True):
        writer.writerow([title, "", "", *cells])
    lengths = _lengths(header)
    for name, row in zip(sheet.names, sheet.values, strict=True):
        index = io.StringIO()
        csv.writer(index, lineterminator="").writerow(name.split("/"))
        parts = [
            "," * (n - 1) if flat is None else ",".join("" if v != v else repr(v) for v in flat)
            for n, flat in zip(lengths, row, strict=True)
        ]
        text.write(f"{index.getvalue()},{','.join(parts)}\n")
    return text.getvalue().encode()


def _lengths(header: Sequence[tuple[str, ...]]) -> list[int]:
    """Number of columns of each individual."""
    return list(Counter(column[1:-2] for column in header).values())


def _write_h5(path: Path, header: Sequence[tuple[str, ...]], sheet: _Written) -> None:
    import pandas as pd

    lengths = _lengths(header)
    values = [
        [v for n, flat in zip(lengths, row, strict=True) for v in flat or [math.nan] * n]
        for row in sheet.values
    ]
    frame = pd.DataFrame(
        np.array(values, np.float64),
        index=pd.MultiIndex.from_tuples([tuple(name.split("/")) for name in sheet.names]),
        columns=pd.MultiIndex.from_tuples(header, names=HEADERS[len(header[0]) - 3]),
    )
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        frame.to_hdf(temporary, key=H5_KEY, mode="w")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _has_tables() -> bool:
    import importlib.util

    return importlib.util.find_spec("tables") is not None


def _config(
    dataset: Dataset,
    names: Sequence[str],
    individuals: _Individuals,
    main: int,
    unique: int | None,
    scorer: str,
) -> dict[str, Any]:
    category = dataset.categories[main]
    is_multi = bool(individuals.names) or unique is not None
    others = dataset.extra.get(CONFIG)
    config: dict[str, Any] = {
        "Task": category.name,
        "scorer": scorer,
        "multianimalproject": is_multi,
        "project_path": ".",
    }
    skeleton = _pairs(category)
    if is_multi:
        config["individuals"] = individuals.names
        config["uniquebodyparts"] = []
        config["multianimalbodyparts"] = list(category.keypoints)
        config["bodyparts"] = "MULTI!"
        if unique is not None:
            config["uniquebodyparts"] = list(dataset.categories[unique].keypoints)
            skeleton += _pairs(dataset.categories[unique])
    else:
        config["bodyparts"] = list(category.keypoints)
    config["skeleton"] = skeleton
    videos: dict[str, Any] = {}
    for state, name in zip(dataset._images, names, strict=True):
        size = state.recorded_size
        crop = {"crop": f"0, {size[0]}, 0, {size[1]}"} if size else {}
        videos.setdefault(f"{name.split('/')[1]}.mp4", crop)
    config["video_sets"] = videos
    if isinstance(others, Mapping):
        config.update((key, value) for key, value in others.items() if key not in OWN_KEYS)
    return config


def _pairs(category: Category) -> list[list[str]]:
    return [[category.keypoints[a], category.keypoints[b]] for a, b in category.schema.edges]


def _note_outside(dataset: Dataset, items: Sequence[Sequence[Item]], notes: list[str]) -> None:
    """DeepLabCut takes a point for labeled if 0 < x < width and 0 < y < height (dlcloader.py)."""
    n = 0
    for state, of in zip(dataset._images, items, strict=True):
        width, height = state.recorded_size or (math.inf, math.inf)
        n += sum(
            v > 0 and not (0 < x < width and 0 < y < height)
            for item in of
            for x, y, v in item.points
        )
    if n:
        notes.append(
            f"{count(n, 'keypoint')} outside the image or at its edge, which DeepLabCut takes for "
            "unlabeled"
        )
