"""Schemas change after labelling: what becomes of each keypoint, and the change itself."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from kpwidget.history import PrimitiveChange
from kpwidget.schema import Category, Schema, _show
from kpwidget.schemas.orders import find_other_order, has_other_orders
from kpwidget.words import count

if TYPE_CHECKING:
    from kpwidget.dataset.core import Dataset

__all__ = [
    "KeptPoints",
    "Migration",
    "PointChange",
    "SchemaState",
    "migrate",
    "schema_token",
    "sources_back",
]

Mapped = Mapping[str, str | Sequence[str] | None]
"""What becomes of keypoints: a new name, several for a split, None to remove it."""

_N_SHOWN: Final = 12
_N_LINES: Final = 150


@dataclass(frozen=True, slots=True)
class KeptPoints:
    """Values of keypoints that a schema no longer has.

    Attributes
    ----------
    rows : ndarray of shape (n,)
        Of the table: the instances of which a value is kept.
    keypoints : tuple of int
        Indices in the schema that had them.
    values : ndarray of shape (n, n_kept_keypoints, 3)
        (x, y, visibility) in image pixels, as a COCO file holds them.
    """

    rows: NDArray[np.int64]
    keypoints: tuple[int, ...]
    values: NDArray[np.float64]


@dataclass(eq=False, slots=True)
class SchemaState:
    """One side of a change of a schema: what to put in place to get there from the other side.

    Attributes
    ----------
    schema : Schema
    sources : tuple of int
        For each of its keypoints the index that it has on the other side, -1 if it is not there.
    token : str
        Names the meaning of keypoint indices: empty for the schema that a category began with, then
        told by what was done to it, so that two who do the same have the same.
    kept : KeptPoints or None
        Values to be put back that the other side has no place for.
    images, uids : frozenset
        What was touched when it, or the other side, was put in place last.
    """

    schema: Schema
    sources: tuple[int, ...]
    token: str
    kept: KeptPoints | None = None
    images: frozenset[int] = frozenset()
    uids: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PointChange:
    """What became of one keypoint.

    Attributes
    ----------
    before, after : str or None
        Its names; None before for one that was added, after for one that was removed.
    index_before, index_after : int or None
        0-based.
    n_labels : int
        Instances in which it is labeled.
    """

    before: str | None
    after: str | None
    index_before: int | None
    index_after: int | None
    n_labels: int

    @property
    def what(self) -> Literal["kept", "renamed", "added", "removed"]:
        """In a word; one that was moved in the order is kept or renamed."""
        if self.before is None:
            return "added"
        if self.after is None:
            return "removed"
        return "kept" if self.before == self.after else "renamed"

    @property
    def is_moved(self) -> bool:
        """Whether it has another index."""
        both = self.before is not None and self.after is not None
        return both and self.index_before != self.index_after


@dataclass(frozen=True)
class Migration:
    """What `Dataset.migrate_schema` did, or would do; ``print`` shows it in words.

    Attributes
    ----------
    category : str
    is_dry_run : bool
        Whether nothing was changed.
    is_needed : bool
        False if the category had this schema already.
    n_instances : int
        Of the category.
    points : tuple of PointChange
        In the order of the new schema, those that were removed last. A split keypoint stands there
        once for each keypoint that took its value.
    other : tuple of str
        What else of the schema is another: 'skeleton', 'flip pairs', 'sigmas', 'colors',
        'definitions', 'references'.
    notes : tuple of str
        What else is worth knowing, each in words.
    """

    category: str
    is_dry_run: bool
    is_needed: bool
    n_instances: int
    points: tuple[PointChange, ...] = ()
    other: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return what was done, a line for each keypoint that was changed."""
        if not self.is_needed:
            return f"category {self.category!r} has this schema already: nothing to do"
        would = "would be " if self.is_dry_run else ""
        lines = [f"category {self.category!r}, {count(self.n_instances, 'instance')}:"]
        n_sources: dict[str | None, int] = {}
        for point in self.points:
            n_sources[point.before] = n_sources.get(point.before, 0) + 1
        n_unchanged = 0
        for point in self.points:
            labels = count(point.n_labels, "label")
            moved = f"from place {(point.index_before or 0) + 1} to {(point.index_after or 0) + 1}"
            if point.what == "added":
                lines.append(f"  {point.after!r} {would}added, unlabeled")
            elif point.what == "removed":
                back = "undo brings them back" if point.n_labels else "none of them lost"
                lines.append(f"  {point.before!r} {would}removed with {labels} ({back})")
            elif n_sources[point.before] > 1:
                lines.append(f"  {point.after!r} {would}split off {point.before!r}, {labels}")
            elif point.what == "renamed":
                end = f", moved {moved}" if point.is_moved else ""
                lines.append(f"  {point.before!r} {would}renamed {point.after!r}, {labels}{end}")
            elif point.is_moved:
                lines.append(f"  {point.after!r} {would}moved {moved}, {labels}")
            else:
                n_unchanged += 1
        if len(lines) > _N_LINES:
            lines[_N_LINES:] = [f"  and {len(lines) - _N_LINES} more"]
        if n_unchanged:
            lines.append(f"  {count(n_unchanged, 'keypoint')} {would}kept as they are")
        if self.other:
            lines.append(f"  {', '.join(self.other)} {would}replaced")
        lines += [f"  {note}" for note in self.notes]
        if self.is_dry_run:
            lines.append("nothing was changed: a dry run")
        return "\n".join(lines)


def migrate(
    dataset: Dataset,
    category: str | int | Category,
    schema: Schema,
    mapping: Mapped | None,
    *,
    remove: bool,
    dry_run: bool,
) -> Migration:
    """Give a category another schema; see `Dataset.migrate_schema`."""
    if not isinstance(schema, Schema):
        raise TypeError(f"schema is a kpwidget.Schema, not {type(schema).__name__}")
    _check_mapping(mapping)
    with dataset._history.callbacks_after(), dataset.lock:
        dataset._history.refuse_when_open("change a schema")
        index = dataset._category_index(category)
        now = dataset._categories[index]
        table = dataset._table
        n_instances = table.n_of_categories()[index]
        old = now.schema
        unknown = set(mapping or ()) - set(old.keypoints)
        if _is_same(old, schema) and (not mapping or unknown):
            return Migration(now.name, dry_run, False, n_instances)  # as when its cell runs again
        where = f"category {now.name!r}"
        sources = _sources(old, schema, mapping or {}, where)
        n_labels = table.visibility_counts(index)[:, 1:].sum(axis=1).tolist()
        points = _point_changes(old, schema, sources, n_labels)
        is_in_place = sources == tuple(range(old.n_keypoints))
        if is_in_place and _is_same(old, schema):
            return Migration(now.name, dry_run, False, n_instances)
        _refuse_parts(dataset, now, is_in_place)
        gone = [point for point in points if point.after is None and point.n_labels]
        if gone and not remove and not dry_run:
            raise ValueError(
                f"{where}: this would remove {count(sum(p.n_labels for p in gone), 'label')}: "
                + ", ".join(f"{p.n_labels} of {p.before!r}" for p in gone[:_N_SHOWN])
                + (f" and of {len(gone) - _N_SHOWN} more" if len(gone) > _N_SHOWN else "")
                + ". Nothing was changed. Pass remove=True to remove them (undo brings them back, "
                "and the journal keeps them), or say in mapping what they are called now"
            )
        notes = []
        changed, content = _other(old, schema), _content(schema)
        dropped = [name for name in changed if not content[name]]
        if dropped:
            notes.append(f"the new schema has no {', '.join(dropped)}: the old one's are gone")
        notes += _unseen_opinions(dataset, index, old, schema)
        if gone and not remove:
            notes.append("it needs remove=True, for labels would be removed")
        other_order = ""
        if has_other_orders(schema.keypoints):
            raw = table.raw_keypoints_of(index, table.live_rows())
            other_order = find_other_order(_taken(raw, sources), schema.keypoints, schema.edges)
        if other_order:
            notes.append(other_order)
            warnings.warn(f"{where}: {other_order}", stacklevel=3)
        if not dry_run:
            token = schema_token(dataset, index)
            before = SchemaState(old, sources_back(sources, old.n_keypoints), token)
            after = SchemaState(schema, sources, token_of(token, now.id, schema, sources))
            with dataset.transaction(f"change schema of {now.name}"):
                change = PrimitiveChange("schema", None, -1 - index, before, after)
                dataset._history.do(change)
        replaced = tuple(name for name in changed if name not in dropped)
        return Migration(now.name, dry_run, True, n_instances, points, replaced, tuple(notes))


def _unseen_opinions(dataset: Dataset, index: int, old: Schema, new: Schema) -> list[str]:
    """What passes say of keypoints that the new schema has under another name, or not at all."""
    lost = set(old.keypoints) - set(new.keypoints)
    found: dict[tuple[str, str], int] = {}
    for opinion in dataset.passes:
        row = dataset._table.row(opinion.uid) if dataset._table.has(opinion.uid) else None
        if row is None or dataset._table.category(row) != index:
            continue
        for name, point in zip(opinion.names, opinion.points, strict=True):
            if point and name in lost:
                found[opinion.name, name] = found.get((opinion.name, name), 0) + 1
    return [
        f"pass {of!r}: {count(n, 'opinion')} on {name!r} not seen under the new schema "
        "(undo shows them again)"
        for (of, name), n in found.items()
    ]


def apply_state(
    dataset: Dataset, index: int, state: SchemaState, other: SchemaState, *, is_forth: bool
) -> None:
    """Put one side of a change of a schema in place of the other.

    Parameters
    ----------
    dataset : Dataset
    index : int
        Position of the category.
    state, other : SchemaState
        What is put in place, and what is there.
    is_forth : bool
        Whether `state` is what the change is to: then what it has no place for is kept in `other`.
    """
    table = dataset._table
    if is_forth:
        lost = sorted({*range(other.schema.n_keypoints)}.difference(state.sources))
        other.kept = _kept(dataset, index, lost)
    is_in_place = state.sources == tuple(range(other.schema.n_keypoints))
    if not is_in_place:
        table.rearrange(index, state.sources)
        if state.kept is not None:
            table.put_back(index, state.kept.rows, state.kept.keypoints, state.kept.values)
    category = dataset._categories[index]
    fields = dataset.layout.point_fields.get(category.id)
    n_keypoints = state.schema.n_keypoints
    if fields is not None and sum(n for _, n in fields) != n_keypoints:
        dataset.layout.point_fields[category.id] = ((fields[0][0], n_keypoints),)
    dataset._categories[index] = Category(
        category.id, state.schema, category.name, category.supercategory, category.extra
    )
    rows = np.asarray(table.live_rows(), np.int64)
    rows = rows[table.column("category", rows) == index]
    state.uids = other.uids = frozenset(table.column("uid", rows).tolist())
    state.images = other.images = frozenset(np.unique(table.column("image", rows)).tolist())


def _kept(dataset: Dataset, index: int, keypoints: Sequence[int]) -> KeptPoints | None:
    """The values, and raw locations, of some keypoints of all instances that have any."""
    if not keypoints:
        return None
    table = dataset._table
    rows = np.asarray(table.live_rows(), np.int64)
    rows = rows[table.column("category", rows) == index]
    values = table.raw_keypoints_of(index, rows)[:, list(keypoints)]
    has_any = (values != 0).any(axis=(1, 2))
    return KeptPoints(rows[has_any], tuple(keypoints), values[has_any])


def sources_back(sources: Sequence[int], n_keypoints: int) -> tuple[int, ...]:
    """The way back: for each of `n_keypoints` the first place that has it as its source, or -1."""
    back = [-1] * n_keypoints
    for place, source in enumerate(sources):
        if source >= 0 and back[source] < 0:
            back[source] = place
    return tuple(back)


def token_of(before: str, category_id: int, schema: Schema, sources: Sequence[int]) -> str:
    """What names the meaning of keypoint indices after a change; see `SchemaState`."""
    what = json.dumps([before, category_id, schema.keypoints, list(sources)])
    return hashlib.blake2b(what.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def schema_token(dataset: Dataset, index: int) -> str:
    """What names the meaning of the keypoint indices of a category now; see `SchemaState`."""
    steps = dataset._history.schema_steps(-1 - index)
    return str(steps[-1].changes[0].after.token) if steps else dataset._schema_tokens.get(index, "")


def _check_mapping(mapping: object) -> None:
    """Raise TypeError naming every part of it that is of another type."""
    if mapping is None:
        return
    if not isinstance(mapping, Mapping):
        raise TypeError(
            f"mapping = {_show(mapping)}: expected a dict from names of keypoints to their new "
            "names, such as {'head': 'cap', 'tip': None}"
        )
    problems = []
    for name, value in mapping.items():
        names = [name, *(value if isinstance(value, list | tuple) else [value])]
        if value is None:
            names.pop()
        if not all(isinstance(one, str) for one in names):
            problems.append(
                f"mapping[{_show(name)}] = {_show(value)}: expected the name of a keypoint, and "
                "its new name, a list of them for a split, or None to remove it"
            )
    if problems:
        rest = len(problems) - _N_SHOWN
        more = [f"and {rest} more"] if rest > 0 else []
        raise TypeError("; ".join(problems[:_N_SHOWN] + more))


def _sources(old: Schema, new: Schema, mapping: Mapped, where: str) -> tuple[int, ...]:
    """For each new keypoint the index of the old one whose values it takes, -1 for none.

    Raises ValueError naming everything that is wrong or has to be said.
    """
    problems = []
    given: dict[str, tuple[str, ...]] = {}
    there, wanted = set(old.keypoints), set(new.keypoints)
    for name, value in mapping.items():
        targets = () if value is None else (value,) if isinstance(value, str) else tuple(value)
        if name not in there:
            problems.append(
                f"mapping: there is no keypoint {name!r}, there are {_names(old.keypoints)}"
            )
            continue
        unknown = [target for target in targets if target not in wanted]
        if unknown:
            problems.append(
                f"mapping[{name!r}]: the new schema has no {_names(unknown)}, it has "
                + _names(new.keypoints)
            )
        if value is not None and not targets:
            problems.append(f"mapping[{name!r}] is empty; None removes a keypoint")
        given[name] = targets
    source_of: dict[str, str] = {}
    gone = []
    for name in old.keypoints:
        if name not in given and name not in wanted:
            gone.append(name)
        for target in dict.fromkeys(given.get(name, (name,) if name in wanted else ())):
            if target in source_of:
                problems.append(
                    f"{target!r} would have the values of both {source_of[target]!r} and {name!r}; "
                    f"say in mapping what becomes of each"
                )
            source_of[target] = name
    added = [name for name in new.keypoints if name not in source_of]
    known = _known_by_alias(old, new, gone, added) if gone and added and not problems else {}
    source_of.update((target, name) for name, target in known.items())
    gone = [name for name in gone if name not in known]
    added = [name for name in added if name not in source_of]
    if gone and added and not problems:
        problems.append(
            f"{_names(gone)} {'is' if len(gone) == 1 else 'are'} not in the new schema and "
            f"{_names(added)} {'is' if len(added) == 1 else 'are'} new there; renamed, or removed "
            f"and added? That is not guessed: pass mapping={{{gone[0]!r}: {added[0]!r}}} for a new "
            f"name, {{{gone[0]!r}: None}} for one that is removed, for each of {_names(gone)}. "
            "kpwidget.plot_schema(schema) is a picture of the new ones, kpwidget.plot_schema"
            "(category, layout=dataset) of where the old ones are labeled"
        )
    if problems:
        rest = len(problems) - _N_SHOWN
        problems[_N_SHOWN:] = [f"and {rest} more of this kind"] if rest > 0 else []
        raise ValueError("\n".join(f"{where}: {problem}" for problem in problems))
    return tuple(old.index(source_of[name]) if name in source_of else -1 for name in new.keypoints)


def _known_by_alias(
    old: Schema, new: Schema, gone: Sequence[str], added: Sequence[str]
) -> dict[str, str]:
    """New names of keypoints that are gone, told by the aliases of either schema.

    Only where one fits and no other: what is doubtful has to be said.
    """
    pairs = set()
    with suppress(ValueError):  # several stand for one
        places = new.match(gone)
        pairs |= {(a, new.keypoints[k]) for a, k in zip(gone, places, strict=True) if k is not None}
    with suppress(ValueError):
        places = old.match(added)
        pairs |= {
            (old.keypoints[k], b) for b, k in zip(added, places, strict=True) if k is not None
        }
    ends = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    free = set(gone), set(added)
    return {
        a: b
        for a, b in pairs
        if a in free[0] and b in free[1] and ends[0][a] == 1 and ends[1][b] == 1
    }


def _refuse_parts(dataset: Dataset, category: Category, is_in_place: bool) -> None:
    fields = dataset.layout.fields_of(category)
    if not is_in_place and [name for name, _ in fields] != ["keypoints"]:
        listed = ", ".join(f"{name!r} ({n})" for name, n in fields)
        raise ValueError(
            f"category {category.name!r}: its keypoints stand in the fields {listed} of its "
            "records, which have room for no others and in no other order; names, skeleton, flip "
            "pairs, sigmas and colors can be changed. To change the points, write the dataset in "
            "another format and read that"
        )


def _point_changes(
    old: Schema, new: Schema, sources: Sequence[int], n_labels: Sequence[int]
) -> tuple[PointChange, ...]:
    found = [
        PointChange(None, name, None, k, 0)
        if source < 0
        else PointChange(old.keypoints[source], name, source, k, n_labels[source])
        for k, (name, source) in enumerate(zip(new.keypoints, sources, strict=True))
    ]
    kept = set(sources)
    found += [
        PointChange(name, None, k, None, n_labels[k])
        for k, name in enumerate(old.keypoints)
        if k not in kept
    ]
    return tuple(found)


def _content(schema: Schema) -> dict[str, Any]:
    """What of a schema counts, but for its keypoints; how it is drawn on paper does not."""
    return {
        "skeleton": schema.skeleton,
        "flip pairs": schema.flip_pairs,
        "sigmas": schema._parts.sigmas,
        "source of the sigmas": schema.sigma_source if schema._parts.sigmas else None,
        "colors": schema._parts.colors,
        "definitions": schema._parts.definitions,
        "references": schema._parts.references,
    }


def _other(old: Schema, new: Schema) -> tuple[str, ...]:
    before, after = _content(old), _content(new)
    return tuple(name for name in before if before[name] != after[name])


def _is_same(old: Schema, new: Schema) -> bool:
    return old.keypoints == new.keypoints and not _other(old, new)


def _taken(raw: NDArray[np.float64], sources: Sequence[int]) -> NDArray[np.float64]:
    """Keypoints in the new order; those without a source are unlabeled."""
    if not len(raw):
        return np.zeros((0, len(sources), 3))
    taken: NDArray[np.float64] = raw[:, list(sources)]
    taken[:, np.asarray(sources) < 0] = 0
    return taken


def _names(names: Sequence[str]) -> str:
    rest = len(names) - _N_SHOWN
    return ", ".join(map(repr, names[:_N_SHOWN])) + (f" and {rest} more" if rest > 0 else "")
