"""Open and save: what joins a dataset to the file it lives in."""

from __future__ import annotations

import builtins
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpwidget import formats
from kpwidget.dataset import Dataset, FileStat
from kpwidget.formats import WriteReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kpwidget.schema import Category, Schema

__all__ = ["ConflictError", "open", "save"]


class ConflictError(RuntimeError):
    """A save that would overwrite what somebody else has written."""


def open(
    path: str | os.PathLike[str],
    images: Any = None,
    schema: Schema | Category | Sequence[Schema | Category] | None = None,
    annotator: str | None = None,
) -> Dataset:
    """Dataset in a file, or a new one that will be saved there.

    Parameters
    ----------
    path : str or os.PathLike
        The labels file. If it exists it is read, else `images` and `schema` make a new dataset;
        ``ds.save()`` then writes the file.
    images : folder, glob, list or mapping, optional
        See `kpwidget.read` for a file that exists, `Dataset.from_images` for a new one.
    schema : Schema or Category, or a list of them, optional
        What is labeled. For a file that exists: checked against its categories.
    annotator : str, optional
        The person in whose name edits are made. Default: JUPYTERHUB_USER or the login name.

    Returns
    -------
    Dataset
        With ``ds.path`` set.

    Raises
    ------
    FileNotFoundError
        If the file does not exist and there is nothing to make a dataset of.
    ValueError
        If a schema is not that of a category of the file.
    """
    target = Path(path)
    if target.exists():
        dataset = formats.read(target, images=images)
        if schema is not None:
            _check_schemas(dataset, schema, target)
        if annotator is not None:
            dataset.annotator = annotator
        return dataset
    missing = [f"{name}=" for name, value in (("images", images), ("schema", schema)) if
               value is None]  # fmt: skip
    if schema is None or images is None:
        raise FileNotFoundError(
            f"{target}: there is no such file; to begin a new dataset pass {' and '.join(missing)}"
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"{target}: there is no folder {str(target.parent)!r} to save it in; make it first"
        )
    dataset = Dataset.from_images(images, schema, annotator=annotator)
    dataset.path = target
    return dataset


def save(dataset: Dataset, path: str | os.PathLike[str] | None = None) -> WriteReport:
    """Write a dataset to its file, as COCO JSON.

    Parameters
    ----------
    dataset : Dataset
    path : str or os.PathLike, optional
        By default ``dataset.path``. A path given becomes ``dataset.path``.

    Returns
    -------
    WriteReport

    Raises
    ------
    ValueError
        If there is no path.
    ConflictError
        If the file at ``dataset.path`` is no longer the one that was read or saved last: somebody
        else has changed it. It is not overwritten.
    """
    target = dataset.path if path is None else Path(path)
    if target is None:
        raise ValueError(
            "this dataset was not opened from a file: say where to save it, ds.save('labels.json'),"
            " or export it with kp.write(ds, 'labels.json', format='coco')"
        )
    is_own = dataset.path is not None and _same_path(target, dataset.path)
    if is_own:
        _refuse_conflict(dataset, target)
    with dataset.lock:
        revision = dataset._revision
    report = formats.write(dataset, target, format="coco")
    dataset.path = target
    dataset._saved_revision = revision
    dataset.layout.stat = FileStat.of(target.stat())
    dataset.layout.written = report.content
    return report


def _same_path(one: Path, other: Path) -> bool:
    return os.path.abspath(one) == os.path.abspath(other)


def _has(path: Path, pieces: Sequence[bytes | memoryview]) -> bool:
    """Whether a file holds these bytes and no others."""
    with builtins.open(path, "rb") as file:
        return all(file.read(len(piece)) == piece for piece in pieces) and not file.read(1)


def _refuse_conflict(dataset: Dataset, path: Path) -> None:
    """Raise ConflictError if the file is not the one that was read or saved last.

    Size, time and inode tell that it is; only where they differ is the content looked at, since a
    copy or a checkout gives the same file other ones.
    """
    layout = dataset.layout
    try:
        stat = FileStat.of(path.stat())
    except FileNotFoundError:
        return  # nothing there that could be lost
    if layout.stat is None:
        raise ConflictError(
            f"{path}: this dataset was begun when there was no such file, and now there is one. "
            "Nothing was overwritten. Save under another name, ds.save('other.json'), or read the "
            "file with kp.read and take both sides with ds.merge"
        )
    if stat == layout.stat:
        return
    pieces = layout.written
    if pieces is None:
        pieces = [] if layout.text is None else [layout.text.data]
    if stat.size == layout.stat.size and _has(path, pieces):
        layout.stat = stat
        return
    raise ConflictError(
        f"{path}: somebody else has changed this file since it was read ({layout.stat.size} bytes "
        f"then, {stat.size} now). Nothing was overwritten. Save under another name, "
        "ds.save('other.json'), or read the file again with kp.read and take both sides with "
        "ds.merge"
    )


def _check_schemas(
    dataset: Dataset, schema: Schema | Category | Sequence[Schema | Category], path: Path
) -> None:
    """Raise ValueError naming every schema that no category of the file has."""
    # The name is not compared: a category read from a file has the category's name.
    wanted = Dataset(schema).categories
    known = [(c.keypoints, c.schema.skeleton) for c in dataset.categories]
    problems = []
    for category in wanted:
        if (category.keypoints, category.schema.skeleton) in known:
            continue
        problem = f"no category has the {category.n_keypoints} keypoints of {category.name!r}"
        same = [c for c in dataset.categories if c.keypoints == category.keypoints]
        if same:
            problem = f"category {same[0].name!r} has another skeleton than {category.name!r}"
        problems.append(problem)
    if problems:
        listed = "; ".join(
            f"{c.name!r} ({', '.join(c.keypoints[:6])}{', ...' if c.n_keypoints > 6 else ''})"
            for c in dataset.categories
        )
        raise ValueError(
            f"{path}: does not fit the schema given: {'; '.join(problems)}. The file has "
            f"{listed or 'no categories with keypoints'}. Open it without schema=, or save under "
            "another name."
        )
