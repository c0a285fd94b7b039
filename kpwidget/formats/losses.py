"""What of a dataset a format has no place for, in words with counts and examples."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

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
    "instance_field_losses",
    "instance_names",
    "lost_backslashes",
    "lost_blanks",
    "lost_values",
    "unheld_marks",
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
    ("id", "name", "keypoints", "skeleton", "flip_pairs", "sigmas", "colors")
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
    keeps: Collection[str] = (),
    *,
    kept_fields: Collection[str] = (),
    kept_image_fields: Mapping[str, int] | None = None,
    kept_instance_fields: Collection[str] = (),
    kept_category_fields: Collection[str] = (),
    kept_bboxes: Collection[int] = (),
    lost_extra: Iterable[str] | None = None,
) -> list[Loss]:
    """What is lost of a dataset by a format that keeps some of its values.

    Parameters
    ----------
    dataset : Dataset
        Its lock is held.
    keeps : collection of str
        Of these: 'occluded' (that visibility 1 is another than 2), 'confidences' (visibilities that
        are none of 0, 1 and 2), 'unlabeled locations', 'bbox', 'crowds', 'image sizes', 'annotation
        ids', 'image ids', 'category ids', 'area' (or 'area of bbox': only those equal to width
        times height), 'tracks', 'scores', 'skeletons', 'sigmas', 'flip pairs', 'colors',
        'supercategories', 'instance fields', 'image fields', 'category fields' and 'info and
        licenses'. Images and categories whose ids are 1, 2, ... in their order lose nothing if
        these are not kept.
    kept_fields : collection of str
        Unknown fields that are kept wherever they stand: those of the format itself.
    kept_image_fields : mapping of str to int, optional
        Unknown fields of images that are kept, each with the number of images.
    kept_instance_fields, kept_category_fields : collection of str
        Unknown fields of instances and categories that are kept; of instances in the records of a
        COCO file none is.
    kept_bboxes : collection of int
        Rows whose bbox is kept though others are not.
    lost_extra : iterable of str, optional
        Names of the unknown fields of the dataset that are lost; by default all but `kept_fields`.

    Returns
    -------
    list of Loss
    """
    losses = _lost_of_keypoints(dataset, keeps)
    lose = _adding_to(losses)
    table = dataset._table
    rows = table.live_rows()
    uids = table.column("uid", rows)

    def lose_column(name: str, is_lost: NDArray[np.bool_], text: str) -> None:
        chosen = np.flatnonzero(is_lost)
        values = table.column(name, rows)[chosen[:N_EXAMPLES]].tolist()
        examples = [f"{v!r} of {u!r}" for v, u in zip(values, uids[chosen], strict=False)]
        lose(name, len(chosen), text.format(count(len(chosen), "instance")), examples)

    if "crowds" not in keeps:
        n = int(np.count_nonzero(table.column("iscrowd", rows)))
        lose("iscrowd", n, f"{count(n, 'instance')} would no longer stand for a crowd")
    if "bbox" not in keeps:
        is_kept = np.isin(rows, np.fromiter(kept_bboxes, np.int64))
        is_lost = ~np.isnan(table.column("bbox", rows)[:, 0]) & ~is_kept
        lose_column("bbox", is_lost, "the bbox of {}")
    if "image sizes" not in keeps:
        n = sum(state.recorded_size is not None for state in dataset._images)
        lose("image size", n, f"the sizes of {count(n, 'image')}; the image files tell them")
    if "annotation ids" not in keeps:
        lose_column("id", table.column("id", rows) != NO_ID, "the annotation ids of {}")
    if "image ids" not in keeps:
        n = sum(state.id != i for i, state in enumerate(dataset._images, 1))
        lose("image id", n, f"the ids of {count(n, 'image')} (read again, they are 1, 2, ...)")
    if "category ids" not in keeps:
        n = sum(category.id != i for i, category in enumerate(dataset.categories, 1))
        text = f"the ids of {count(n, 'category')} (read again, they are 1, 2, ...)"
        lose("category id", n, text)
    if "area" not in keeps:
        area = table.column("area", rows)
        is_lost = ~np.isnan(area)
        if "area of bbox" in keeps:
            bbox = table.column("bbox", rows)
            with np.errstate(over="ignore", invalid="ignore"):
                is_lost &= ~np.isclose(area, bbox[:, 2] * bbox[:, 3], rtol=1e-6, atol=1e-6)
        lose_column("area", is_lost, "the areas of {}")
    if "tracks" not in keeps:
        is_lost = table.column("track_id", rows) != np.array(None)
        lose_column("track_id", is_lost, "the track_id of {}")
    if "scores" not in keeps:
        lose_column("score", ~np.isnan(table.column("score", rows)), "the scores of {}")
    if "instance fields" not in keeps:
        losses += instance_field_losses(dataset, rows, {*kept_fields, *kept_instance_fields})
    if "image fields" not in keeps:
        fields = _fields_of_images(dataset, _IMAGE_FIELDS.union(kept_fields))
        fields.subtract(kept_image_fields or {})
        _lose_fields(+fields, "image", lose)
    _lose_of_categories(dataset, keeps, {*kept_fields, *kept_category_fields}, lose)
    if "info and licenses" not in keeps:
        for name in ("info", "licenses"):
            lose(name, 1 if getattr(dataset, name) else 0, f"'{name}' of the dataset")
    if lost_extra is None:
        lost_extra = (key for key in dataset.extra if key not in kept_fields)
    unheld = list(lost_extra)
    text = f"{count(len(unheld), 'field')} of the dataset"
    lose("extra", len(unheld), text, map(repr, unheld[:_N_FIELDS]))
    layout = dataset.layout
    n = len(layout.images) + len(layout.categories) + len(layout.annotations)
    text = f"{count(n, 'record')} of the file: no image, category or instance"
    lose("other records", n, text)
    return losses


def lost_backslashes(dataset: Dataset) -> list[Loss]:
    r"""Loss of the file names with a ``\``, which readers of these files take for a ``/``.

    Parameters
    ----------
    dataset : Dataset
        Its lock is held.

    Returns
    -------
    list of Loss
    """
    names = [state.file_name for state in dataset._images if "\\" in state.file_name]
    if not names:
        return []
    text = f"the file names of {count(len(names), 'image')}, in which a backslash becomes /"
    return [Loss("file_name", len(names), text, tuple(map(repr, names[:N_EXAMPLES])))]


def lost_blanks(dataset: Dataset) -> list[Loss]:
    """Loss of the instances that have nothing to be written: no labeled keypoint and no bbox.

    Parameters
    ----------
    dataset : Dataset
        Its lock is held.

    Returns
    -------
    list of Loss
    """
    table = dataset._table
    rows = np.asarray(table.live_rows(), np.int64)
    is_blank = (table.n_labeled_of(rows) == 0) & np.isnan(table.column("bbox", rows)[:, 0])
    n = int(np.count_nonzero(is_blank))
    if not n:
        return []
    text = f"{count(n, 'instance')} without a labeled keypoint or bbox would be left out"
    return [Loss("instances", n, text, instance_names(dataset, rows[is_blank][:N_EXAMPLES]))]


def instance_field_losses(
    dataset: Dataset, rows: Sequence[int] | NDArray[np.int64], kept: Collection[str] = ()
) -> list[Loss]:
    """What is lost of the unknown fields of some instances.

    Parameters
    ----------
    dataset : Dataset
        Its lock is held.
    rows : sequence of int
    kept : collection of str
        Fields that the format keeps.

    Returns
    -------
    list of Loss
    """
    losses: list[Loss] = []
    _lose_fields(_fields_of_instances(dataset, rows, kept), "instance", _adding_to(losses))
    return losses


def unheld_marks(dataset: Dataset, format: str) -> list[str]:
    """What is written in no file but the journal, counted, in words: a note for the report.

    Parameters
    ----------
    dataset : Dataset
    format : str
        Name of the format, for people.
    """
    table = dataset._table
    n_unfinished = int(np.count_nonzero(~table.column("is_finished", table.live_rows())))
    marks = (("not finished", n_unfinished, "instance"), ("done", dataset.n_done, "image"))
    return [
        f"{format} has no field for {mark!r}, which {count(n, noun)} {'is' if n == 1 else 'are'}"
        for mark, n, noun in marks
        if n
    ]


class _Lose(Protocol):
    def __call__(self, what: str, n: int, text: str, examples: Iterable[str] = ()) -> None: ...


def _adding_to(losses: list[Loss]) -> _Lose:
    def lose(what: str, n: int, text: str, examples: Iterable[str] = ()) -> None:
        if n:
            losses.append(Loss(what, n, text, tuple(examples)))

    return lose


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
        lose(name, n, f"the field {name!r} of {count(n, of)}")
    rest = [name for name, _ in named[_N_FIELDS:]]
    n = sum(fields[name] for name in rest)
    lose(
        f"fields of {of}s",
        n,
        f"{count(len(rest), 'more field')} of {of}s",
        map(repr, rest[:N_EXAMPLES]),
    )


_keys_of_record = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _keys(record: bytes) -> tuple[str, ...]:
    try:
        return tuple(_keys_of_record.decode(record))
    except msgspec.DecodeError:  # half a surrogate pair, say
        return tuple(json.loads(record))


def _count_keys(
    texts: Iterable[tuple[FileText, Iterable[int]]], kind: RecordKind, known: frozenset[str]
) -> Counter[str]:
    """How many of the records have each of the fields that are not known."""
    found: Counter[str] = Counter()
    for text, positions in texts:
        # Records of one file mostly have the same fields: each set of them is looked at once.
        sets = Counter(_keys(text.raw(kind, position)) for position in positions)
        for keys, n in sets.items():
            for key in dict.fromkeys(keys):  # in the order of the file, the same in every run
                if key not in known:
                    found[key] += n
    return found


def _fields_of_instances(
    dataset: Dataset, rows: Sequence[int] | NDArray[np.int64], kept: Collection[str]
) -> Counter[str]:
    table = dataset._table
    of_points = {name for fields in dataset.layout.point_fields.values() for name, _ in fields}
    known = _INSTANCE_FIELDS | of_points
    text, position = table.column("text", rows), table.column("position", rows)
    found = _count_keys(
        ((t, position[text == i].tolist()) for i, t in enumerate(table.texts)), "annotations", known
    )
    for extra in table.column("extra", rows)[text < 0]:
        found.update(key for key in extra or () if key not in known and key not in kept)
    return found


def _fields_of_images(dataset: Dataset, known: frozenset[str]) -> Counter[str]:
    positions: dict[int, tuple[FileText, list[int]]] = {}
    found: Counter[str] = Counter()
    for state in dataset._images:
        if state.text is not None:
            positions.setdefault(id(state.text), (state.text, []))[1].append(state.position)
        else:
            found.update(key for key in state.extra or () if key not in known)
    return found + _count_keys(positions.values(), "images", known)


def _lose_of_categories(
    dataset: Dataset, keeps: Collection[str], kept: Collection[str], lose: _Lose
) -> None:
    categories = dataset.categories
    if "skeletons" not in keeps:
        names = [category.name for category in categories if len(category.schema.edges)]
        n = sum(len(category.schema.edges) for category in categories)
        lose("skeleton", n, f"the {count(n, 'edge')} of the skeletons", map(repr, names))
    for name, field in (("sigmas", "sigmas"), ("flip pairs", "flip_pairs")):
        having = [c.name for c in categories if getattr(c.schema._parts, field)]
        if name not in keeps:
            text = f"the {name} of {count(len(having), 'category')}"
            lose(field, len(having), text, map(repr, having[:N_EXAMPLES]))
    fields: Counter[str] = Counter()
    for category in categories:
        keys = dict.fromkeys((*category.schema.to_metadata(), *category.extra))
        if category.schema.sigmas is None:
            keys.pop("sigma_source", None)  # it says no more than that there are none
        if category.supercategory is not None and "supercategories" not in keeps:
            keys["supercategory"] = None
        if category.schema._parts.colors is not None and "colors" not in keeps:
            fields["colors"] += 1
        if "category fields" in keeps:
            keys = dict.fromkeys(key for key in keys if key == "supercategory")
        fields.update(key for key in keys if key not in _CATEGORY_FIELDS and key not in kept)
    _lose_fields(fields, "category", lose)
