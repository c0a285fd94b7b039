"""What a look at a dataset finds: contradictions in one, differences between two."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kpwidget.images import ImageError

if TYPE_CHECKING:
    from kpwidget.dataset.core import Dataset
    from kpwidget.dataset.views import ImageInfo
    from kpwidget.schema import Category

__all__ = ["Problem", "differences", "problems_of_image"]


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
    """

    image: str
    instance: str | None
    keypoint: str | None
    what: str


def problems_of_image(image: ImageInfo) -> Iterator[Problem]:
    """What `Dataset.validate` finds in one image."""
    instances = image.instances
    width, height = math.inf, math.inf
    try:
        width, height = image.size
    except ImageError as error:
        yield Problem(image.file_name, None, None, f"its size is not known: {error}")
    for instance in instances:
        names = instance.category.keypoints
        place = (image.file_name, instance.uid)
        if not instance.n_labeled:
            yield Problem(*place, None, "no keypoint is labeled")
        for name, (x, y, v) in zip(names, instance.raw.tolist(), strict=True):
            if v and not (0 <= x <= width and 0 <= y <= height):
                yield Problem(
                    *place, name, f"({x:g}, {y:g}) is outside the image of {width} x {height} px"
                )
            if v and x == 0 and y == 0:
                yield Problem(
                    *place, name, f"labeled (visibility {v:g}) at (0, 0), which mostly means that "
                    "it is not"
                )  # fmt: skip
            if not v and (x, y) != (0, 0):
                yield Problem(
                    *place,
                    name,
                    f"unlabeled (visibility 0), but the file puts it at ({x:g}, {y:g})",
                )
        bbox = instance.bbox
        if bbox is None:
            continue
        x, y, w, h = bbox
        shown = f"({x:g}, {y:g}, {w:g}, {h:g})"
        if w <= 0 or h <= 0:
            yield Problem(*place, None, f"bbox {shown} has no size")
        elif x < 0 or y < 0 or x + w > width or y + h > height:
            yield Problem(
                *place, None, f"bbox {shown} is partly outside the image of {width} x {height} px"
            )


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
    for c, d in zip(a.categories, b.categories, strict=False):
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
    for i, j in zip(a.images, b.images, strict=False):
        compare(
            f"image {i.file_name!r}",
            file_name=(i.file_name, j.file_name),
            id=(i.id, j.id),
            size=(_size_or_none(i), _size_or_none(j)),
            extra=(dict(i.extra), dict(j.extra)),
        )
    for p, q in zip(a.instances, b.instances, strict=False):
        compare(
            f"instance {p.uid!r}",
            image=(p.image.index, q.image.index),
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
