"""Open and save: what joins a dataset to the file it lives in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpwidget import formats
from kpwidget.dataset import Dataset
from kpwidget.formats import WriteReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kpwidget.schema import Category, Schema

__all__ = ["open", "save"]


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
    """
    target = dataset.path if path is None else Path(path)
    if target is None:
        raise ValueError(
            "this dataset was not opened from a file: say where to save it, ds.save('labels.json'),"
            " or export it with kp.write(ds, 'labels.json', format='coco')"
        )
    with dataset.lock:
        revision = dataset._revision
    report = formats.write(dataset, target, format="coco")
    dataset.path = target
    dataset._saved_revision = revision
    return report


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
