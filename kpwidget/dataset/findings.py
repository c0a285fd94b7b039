"""What a look at a dataset finds: contradictions in one, differences between two."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset.views import bboxes_of
from kpwidget.images import ImageError

if TYPE_CHECKING:
    from kpwidget.dataset.core import Dataset
    from kpwidget.dataset.views import ImageInfo, Instance
    from kpwidget.schema import Category

__all__ = [
    "OUTSIDE_TOLERANCE",
    "Problem",
    "differences",
    "is_missing",
    "problems",
    "problems_of_instance",
]

OUTSIDE_TOLERANCE: Final = 0.01
"""How far, in image pixels, a keypoint or bbox may be outside the image without a finding.

Files give boxes with two decimals, and 534.89 + 105.11 is more than 640 in binary; a box that was
written as parts of the image's size comes back some 1e-8 px beyond it.
"""


@dataclass(frozen=True)
class Problem:
    """A finding of `Dataset.validate`.

    Attributes
    ----------
    image : str
        File name.
    instance : str or None
        uid, if it is about an instance.
    keypoint : str or None
        Name, if it is about a keypoint.
    what : str
        What was found, in words.
    level : {'problem', 'note'}
        A note is worth knowing and mostly nothing wrong: COCO has many instances that are boxes
        only, without a labeled keypoint.
    kind : str
        What findings like this one have in common, in words: "keypoint outside the image".
    """

    image: str
    instance: str | None
    keypoint: str | None
    what: str
    level: Literal["problem", "note"] = "problem"
    kind: str = ""


def is_missing(image: ImageInfo) -> bool:
    """Whether an image has no file where it is looked for; one in memory needs none."""
    if isinstance(image._state.data, bytes | np.ndarray):
        return False
    return image.path is None or not image.path.is_file()


def problems(dataset: Dataset) -> list[Problem]:
    """What `Dataset.validate` finds, image by image.

    What there is to find is told for all instances at once; only what is found is put into words.
    """
    table = dataset._table
    rows = np.asarray(table.live_rows(), np.int64)
    rows = rows[np.argsort(table.column("image", rows), kind="stable")]
    found: dict[int, list[Problem]] = {}  # by image
    sizes = _sizes(dataset, found)
    images = table.column("image", rows)
    limits = sizes[images]
    suspects = _has_bad_bbox(dataset, rows, limits)
    categories = table.column("category", rows)
    for category in range(len(dataset.categories)):
        chosen = np.flatnonzero(categories == category)
        points = table.raw_keypoints_of(category, rows[chosen])
        xy, is_labeled = points[..., :2], points[..., 2] != 0
        farthest = limits[chosen, None] + OUTSIDE_TOLERANCE
        is_inside = ((xy >= -OUTSIDE_TOLERANCE) & (xy <= farthest)).all(axis=-1)
        is_at_zero = (xy == 0).all(axis=-1)
        is_bad = np.where(is_labeled, ~is_inside | is_at_zero, ~is_at_zero)
        suspects[chosen] |= is_bad.any(axis=1)
    is_empty = table.n_labeled_of(rows) == 0
    flagged = np.flatnonzero(suspects | is_empty)
    uids = table.uids(rows[flagged].tolist())
    for i, uid in zip(flagged.tolist(), uids, strict=True):
        index = int(images[i])
        file_name = dataset._images[index].file_name
        of_image = found.setdefault(index, [])
        if is_empty[i]:
            what, kind = "no keypoint is labeled", "instance without a labeled keypoint"
            of_image.append(Problem(file_name, uid, None, what, "note", kind))
        if suspects[i]:
            of_image.extend(problems_of_instance(dataset.instance(uid), *sizes[index].tolist()))
    return [problem for index in sorted(found) for problem in found[index]]


def _sizes(dataset: Dataset, found: dict[int, list[Problem]]) -> NDArray[np.float64]:
    """(width, height) of every image; infinite, and a problem, where it cannot be known."""
    sizes = np.full((len(dataset), 2), math.inf)
    for image in dataset.images:
        try:
            sizes[image.index] = image.size
        except ImageError as error:
            what = f"its size is not known: {error}"
            problem = Problem(image.file_name, None, None, what, kind="image of unknown size")
            found[image.index] = [problem]
    return sizes


def _has_bad_bbox(
    dataset: Dataset, rows: NDArray[np.int64], limits: NDArray[np.float64]
) -> NDArray[np.bool_]:
    boxes = bboxes_of(dataset, rows)
    low, size = boxes[:, :2], boxes[:, 2:]
    # Comparisons with NaN, where there is no box, are false.
    is_bad = (size <= 0) | (low < -OUTSIDE_TOLERANCE)
    is_bad |= low + size > limits + OUTSIDE_TOLERANCE
    return np.asarray(is_bad.any(axis=1))


def problems_of_instance(instance: Instance, width: float, height: float) -> Iterator[Problem]:
    """What is wrong with one instance, but that no keypoint is labeled."""
    names = instance.category.keypoints
    size = f"{width:.0f} x {height:.0f} px"
    right, bottom = width + OUTSIDE_TOLERANCE, height + OUTSIDE_TOLERANCE

    def found(kind: str, what: str, keypoint: str | None = None) -> Problem:
        return Problem(instance.image.file_name, instance.uid, keypoint, what, kind=kind)

    for name, (x, y, v) in zip(names, instance.raw.tolist(), strict=True):
        if v and not (-OUTSIDE_TOLERANCE <= x <= right and -OUTSIDE_TOLERANCE <= y <= bottom):
            what = f"({x:g}, {y:g}) is outside the image of {size}"
            yield found("keypoint outside the image", what, name)
        if v and x == 0 and y == 0:
            what = f"labeled (visibility {v:g}) at (0, 0), which mostly means that it is not"
            yield found("keypoint labeled at (0, 0)", what, name)
        if not v and (x, y) != (0, 0):
            what = f"unlabeled (visibility 0), but the file puts it at ({x:g}, {y:g})"
            yield found("keypoint with a location though unlabeled", what, name)
    bbox = instance.bbox
    if bbox is None:
        return
    x, y, w, h = bbox
    shown = f"({x:g}, {y:g}, {w:g}, {h:g})"
    if w <= 0 or h <= 0:
        yield found("bbox without a size", f"bbox {shown} has no size")
    elif min(x, y) < -OUTSIDE_TOLERANCE or x + w > right or y + h > bottom:
        what = f"bbox {shown} is partly outside the image of {size}"
        yield found("bbox partly outside the image", what)


def _size_or_none(image: ImageInfo) -> tuple[int, int] | None:
    try:
        return image.size
    except ImageError:
        return None


def _category_extra(category: Category) -> dict[str, Any]:
    """Return what a category's record has beside what `Category` and `Schema` know."""
    known = ("name", "keypoints", "skeleton", "flip_pairs", "sigmas", "sigma_source", "colors")
    metadata = category.schema.to_metadata()
    return {**{k: v for k, v in metadata.items() if k not in known}, **category.extra}


_Item = TypeVar("_Item")


def _paired(
    ours: Sequence[_Item], theirs: Sequence[_Item], keys: Mapping[str, Callable[[_Item], Any]]
) -> tuple[list[tuple[_Item, _Item]], str | None]:
    """Items that belong together, and by what they do if they are in another order.

    They belong together by the first key that every item has, each another, and that is the same
    for both sides but for the order; by their position if there is none.
    """
    for name, key in keys.items():
        here, there = [key(item) for item in ours], [key(item) for item in theirs]
        if here == there:
            break
        of_key = dict(zip(there, theirs, strict=True))
        is_unique = len(set(here)) == len(here) == len(there) == len(of_key)
        if is_unique and None not in of_key and of_key.keys() == set(here):
            return [(item, of_key[k]) for item, k in zip(ours, here, strict=True)], name
    return list(zip(ours, theirs, strict=False)), None


def differences(a: Dataset, b: Dataset) -> list[str]:
    """What differs between two datasets, each in words; see `Dataset.equals`."""
    found: list[str] = []

    def compare(where: str, **values: tuple[Any, Any]) -> None:
        for what, (one, other) in values.items():
            is_same = (
                np.array_equal(one, other, equal_nan=True)
                if isinstance(one, np.ndarray)
                else one == other
            )
            if not is_same:
                found.append(f"{where}: {what} is {one!r} and {other!r}")

    images, images_by = _paired(a.images, b.images, {"file name": lambda i: i.file_name})
    categories, categories_by = _paired(a.categories, b.categories, {"name": lambda c: c.name})
    instances, instances_by = _paired(
        a.instances, b.instances, {"uid": lambda i: i.uid, "id": lambda i: i.id}
    )
    by = {"images": images_by, "categories": categories_by, "instances": instances_by}
    reordered = {name: key for name, key in by.items() if key is not None}
    if reordered:
        found.append(
            f"the order of {' and '.join(reordered)} is another; they are compared by "
            + " and ".join(dict.fromkeys(reordered.values()))
        )
    # Instances know the position of their image.
    same_image = {j.index: i.index for i, j in images}
    compare(
        "dataset",
        images=(len(a.images), len(b.images)),
        instances=(len(a.instances), len(b.instances)),
        categories=(len(a.categories), len(b.categories)),
        info=(a.info or {}, b.info or {}),
        licenses=(a.licenses or [], b.licenses or []),
        extra=(a.extra, b.extra),
        other_images=(list(a.layout.images.values()), list(b.layout.images.values())),
        other_categories=(list(a.layout.categories.values()), list(b.layout.categories.values())),
        other_annotations=(
            list(a.layout.annotations.values()),
            list(b.layout.annotations.values()),
        ),
    )
    for c, d in categories:
        s, t = c.schema, d.schema
        compare(
            f"category {c.name!r}",
            id=(c.id, d.id),
            name=(c.name, d.name),
            supercategory=(c.supercategory, d.supercategory),
            extra=(_category_extra(c), _category_extra(d)),
            keypoints=(s.keypoints, t.keypoints),
            skeleton=(s.skeleton, t.skeleton),
            flip_pairs=(s.flip_pairs, t.flip_pairs),
            sigmas=(s.sigmas, t.sigmas),
            colors=(s.colors, t.colors),
        )
    for i, j in images:
        compare(
            f"image {i.file_name!r}",
            file_name=(i.file_name, j.file_name),
            id=(i.id, j.id),
            size=(_size_or_none(i), _size_or_none(j)),
            extra=(dict(i.extra), dict(j.extra)),
        )
    for p, q in instances:
        compare(
            f"instance {p.uid!r}",
            image=(p.image.index, same_image.get(q.image.index, q.image.index)),
            category=(p.category.id, q.category.id),
            keypoints=(p.keypoints, q.keypoints),
            raw=(p.raw, q.raw),
            bbox=(p.bbox, q.bbox),
            area=(p.area, q.area),
            iscrowd=(p.iscrowd, q.iscrowd),
            track_id=(p.track_id, q.track_id),
            score=(p.score, q.score),
            extra=(dict(p.extra), dict(q.extra)),
        )
        if p.id is not None and q.id is not None:
            compare(f"instance {p.uid!r}", id=(p.id, q.id))
        if p.uid.startswith("coco:") and q.uid.startswith("coco:"):
            compare(f"instance {p.uid!r}", uid=(p.uid, q.uid))
    return found
