"""What of a dataset a format has no place for, in words with counts and examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from kpwidget.dataset import Dataset
from kpwidget.dataset.table import NO_ID
from kpwidget.dataset.text import FileText, RecordKind
from kpwidget.formats import Loss, count
from kpwidget.schema import Category

__all__ = [
    "N_EXAMPLES",
    "LostKeypoints",
    "instance_names",
    "lost_values",
]

N_EXAMPLES: Final = 3
"""Examples that a loss has at most."""

_N_FIELDS: Final = 20  # unknown fields named one by one

_IMAGE_FIELDS: Final = frozenset(("id", "file_name", "width", "height"))
_INSTANCE_FIELDS: Final = frozenset(
    ("id", "image_id", "category_id", "keypoints", "num_keypoints", "bbox", "area", "iscrowd",
     "track_id", "score")
)  # fmt: skip
_CATEGORY_FIELDS: Final = frozenset(
    ("id", "name", "keypoints", "skeleton", "flip_pairs", "sigmas", "colors", "supercategory")
)  # fmt: skip


def instance_names(dataset: Dataset, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """Instances in words: uid and image.

    Parameters
    ----------
    dataset : Dataset
    rows : ndarray of shape (n,)
    """
    table, images = dataset._table, dataset._images
    found = zip(table.uids(rows.tolist()), table.column("image", rows).tolist(), strict=True)
    return tuple(f"{uid!r} in {images[i].file_name!r}" for uid, i in found)


class LostKeypoints:
    """Keypoints that lose something, by what they lose.

    Parameters
    ----------
    dataset : Dataset
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._found: dict[tuple[str, str], tuple[int, list[str]]] = {}

    def add(
        self,
        is_lost: NDArray[np.bool_],
        of: NDArray[np.int64],
        category: Category,
        what: str,
        text: str,
    ) -> None:
        """Count keypoints.

        Parameters
        ----------
        is_lost : ndarray of shape (n, n_keypoints)
        of : ndarray of shape (n,)
            Their rows in the table.
        category : Category
        what, text : str
            As of a `Loss`; the text goes on after "12 keypoints".
        """
        n = int(np.count_nonzero(is_lost))
        if not n:
            return
        n_before, examples = self._found.get((what, text), (0, []))
        i, k = np.nonzero(is_lost)
        names = instance_names(self._dataset, of[i[:N_EXAMPLES]])
        examples += [
            f"{category.keypoints[number]!r} of {name}"
            for number, name in zip(k.tolist(), names, strict=False)
        ]
        self._found[what, text] = (n_before + n, examples[:N_EXAMPLES])

    def losses(self) -> list[Loss]:
        """Return them, one for each kind."""
        return [
            Loss(what, n, f"{count(n, 'keypoint')} {text}", tuple(examples))
            for (what, text), (n, examples) in self._found.items()
        ]


def lost_values(
    dataset: Dataset,
    keeps: Collection[str],
    *,
    kept_of_images: Mapping[str, int] | None = None,
    kept_keys: Collection[str] = (),
) -> list[Loss]:
    """What is lost of a dataset by a format that keeps some of its values.

    Parameters
    ----------
    dataset : Dataset
    keeps : collection of str
        Of these: 'occluded' (that visibility 1 is another than 2), 'confidences' (visibilities that
        are none of 0, 1 and 2), 'unlabeled locations', 'bbox',
        'area', 'crowds', 'tracks', 'scores', 'annotation ids', 'image ids', 'category ids',
        'skeletons', 'flip pairs', 'sigmas', 'colors', 'supercategories', 'instance fields', 'image
        fields', 'category fields', 'top-level fields', 'info', 'other records'.
    kept_of_images : mapping of str to int, optional
        Unknown fields of images that are kept, and of how many.
    kept_keys : collection of str, optional
        Unknown fields that are kept wherever they stand: those of the format itself.

    Returns
    -------
    list of Loss
    """
    losses: list[Loss] = []

    def lose(what: str, n: int, text: str, examples: Iterable[str] = ()) -> None:
        if n:
            losses.append(Loss(what, n, text, tuple(examples)))

    table, states, categories = dataset._table, dataset._images, dataset.categories
    rows = table.live_rows()
    losses += _lost_of_keypoints(dataset, keeps)
    uids = table.column("uid", rows)

    def lose_column(field: str, name: str, is_lost: NDArray[np.bool_], text: str) -> None:
        if field in keeps:
            return
        chosen = np.flatnonzero(is_lost)
        values = table.column(name, rows)[chosen[:N_EXAMPLES]].tolist()
        examples = [f"{v!r} of {u!r}" for v, u in zip(values, uids[chosen], strict=False)]
        lose(name, len(chosen), text.format(count(len(chosen), "instance")), examples)

    if "crowds" not in keeps:
        n = int(np.count_nonzero(table.column("iscrowd", rows)))
        lose("iscrowd", n, f"{count(n, 'instance')} would no longer stand for a crowd")
    lose_column("bbox", "bbox", ~np.isnan(table.column("bbox", rows)[:, 0]), "the bbox of {}")
    lose_column("annotation ids", "id", table.column("id", rows) != NO_ID,
                "the annotation ids of {}")  # fmt: skip
    if "image ids" not in keeps:
        n = sum(state.id != i for i, state in enumerate(states, 1))
        lose("image id", n, f"the ids of {count(n, 'image')} (read again, they are 1, 2, ...)")
    if "category ids" not in keeps:
        n = sum(category.id != i for i, category in enumerate(categories, 1))
        lose("category id", n, f"the ids of {count(n, 'category')} (classes are 0, 1, 2, ...)")
    lose_column("area", "area", ~np.isnan(table.column("area", rows)), "the areas of {}")
    lose_column("tracks", "track_id", table.column("track_id", rows) != np.array(None),
                "the track_id of {}")  # fmt: skip
    lose_column("scores", "score", ~np.isnan(table.column("score", rows)), "the scores of {}")
    if "instance fields" not in keeps:
        fields = _fields_of_instances(dataset, rows)
        for key in kept_keys:
            fields.pop(key, None)
        _lose_fields(fields, "instance", lose)
    if "image fields" not in keeps:
        fields = _fields_of_images(dataset)
        fields.subtract(kept_of_images or {})
        for key in kept_keys:
            fields.pop(key, None)
        _lose_fields(+fields, "image", lose)
    _lose_of_categories(categories, keeps, kept_keys, lose)
    if "info" not in keeps:
        for name in ("info", "licenses"):
            lose(name, 1 if getattr(dataset, name) else 0, f"'{name}' of the dataset")
    if "top-level fields" not in keeps:
        unheld = [key for key in dataset.extra if key not in kept_keys]
        lose(
            "extra", len(unheld), f"{count(len(unheld), 'field')} of the dataset",
            map(repr, unheld[:N_EXAMPLES]),
        )  # fmt: skip
    layout = dataset.layout
    n = len(layout.images) + len(layout.categories) + len(layout.annotations)
    if "other records" not in keeps:
        lose(
            "other records", n, f"{count(n, 'record')} of the file: no image, category or instance"
        )
    return losses


_Lose = Callable[[str, int, str, Iterable[str]], None]


def _lost_of_keypoints(dataset: Dataset, keeps: Collection[str]) -> list[Loss]:
    lost = LostKeypoints(dataset)
    table = dataset._table
    rows = np.asarray(table.live_rows(), np.int64)
    of = table.column("category", rows)
    for index, category in enumerate(dataset.categories):
        chosen = rows[of == index]
        raw = table.raw_keypoints_of(index, chosen)
        visibility = raw[..., 2]
        if "occluded" not in keeps:
            lost.add(
                (visibility != 0) & (visibility != 2), chosen, category, "visibility",
                "with visibility 1, or one that is none of 0, 1 and 2, would become visible",
            )  # fmt: skip
        elif "confidences" not in keeps:
            is_odd = (visibility != 0) & (visibility != 1) & (visibility != 2)
            lost.add(
                is_odd, chosen, category, "visibility",
                "with a visibility that is none of 0, 1 and 2 would become visible",
            )  # fmt: skip
        if "unlabeled locations" not in keeps:
            lost.add(
                (visibility == 0) & raw[..., :2].any(axis=-1), chosen, category,
                "unlabeled location", "without a label would lose the location they have",
            )  # fmt: skip
    return lost.losses()


def _lose_fields(fields: Counter[str], of: str, lose: _Lose) -> None:
    named = fields.most_common()
    for name, n in named[:_N_FIELDS]:
        lose(name, n, f"the field {name!r} of {count(n, of)}", ())
    rest = [name for name, _ in named[_N_FIELDS:]]
    n = sum(fields[name] for name in rest)
    lose(
        f"fields of {of}s",
        n,
        f"{count(len(rest), 'more field')} of {of}s",
        map(repr, rest[:N_EXAMPLES]),
    )


_keys_of_record = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _count_keys(
    texts: Iterable[tuple[FileText, Iterable[int]]], kind: RecordKind, known: frozenset[str]
) -> Counter[str]:
    """How many of the records have each of the fields that are not known."""
    found: Counter[str] = Counter()
    for text, positions in texts:
        # Records of one file mostly have the same fields: each set of them is looked at once.
        sets = Counter(
            tuple(_keys_of_record.decode(text.raw(kind, position))) for position in positions
        )
        for keys, n in sets.items():
            for key in dict.fromkeys(keys):  # in the order of the file, the same in every run
                if key not in known:
                    found[key] += n
    return found


def _fields_of_instances(dataset: Dataset, rows: Sequence[int]) -> Counter[str]:
    table = dataset._table
    of_points = {name for fields in dataset.layout.point_fields.values() for name, _ in fields}
    known = _INSTANCE_FIELDS | of_points
    text, position = table.column("text", rows), table.column("position", rows)
    found = _count_keys(
        ((t, position[text == i].tolist()) for i, t in enumerate(table.texts)), "annotations", known
    )
    for extra in table.column("extra", rows)[text < 0]:
        found.update(key for key in extra or () if key not in known)
    return found


def _fields_of_images(dataset: Dataset) -> Counter[str]:
    positions: dict[int, tuple[FileText, list[int]]] = {}
    found: Counter[str] = Counter()
    for state in dataset._images:
        if state.text is not None:
            positions.setdefault(id(state.text), (state.text, []))[1].append(state.position)
        else:
            found.update(key for key in state.extra or () if key not in _IMAGE_FIELDS)
    return found + _count_keys(positions.values(), "images", _IMAGE_FIELDS)


def _lose_of_categories(
    categories: Sequence[Category], keeps: Collection[str], kept_keys: Collection[str], lose: _Lose
) -> None:
    if "skeletons" not in keeps:
        names = [category.name for category in categories if len(category.schema.edges)]
        n = sum(len(category.schema.edges) for category in categories)
        lose("skeleton", n, f"the {count(n, 'edge')} of the skeletons", map(repr, names))
    for field, what, values in (
        ("flip pairs", "flip_pairs", [c.schema.flip_pairs or None for c in categories]),
        ("sigmas", "sigmas", [c.schema.sigmas for c in categories]),
    ):
        names = [c.name for c, v in zip(categories, values, strict=True) if v is not None]
        if field not in keeps:
            lose(what, len(names), f"the {field} of {count(len(names), 'category')}",
                 map(repr, names))  # fmt: skip
    fields: Counter[str] = Counter()
    for category in categories:
        keys: dict[str, Any] = dict.fromkeys((*category.schema.to_metadata(), *category.extra))
        for key in kept_keys:
            keys.pop(key, None)
        if category.schema.sigmas is None:
            keys.pop("sigma_source", None)  # it says no more than that there are none
        has_colors = keys.pop("colors", 0) is None and "colors" not in keeps
        if has_colors:
            fields["colors"] += 1
        if category.supercategory is not None and "supercategories" not in keeps:
            fields["supercategory"] += 1
        if "category fields" not in keeps:
            fields.update(key for key in keys if key not in _CATEGORY_FIELDS)
    _lose_fields(fields, "category", lose)
