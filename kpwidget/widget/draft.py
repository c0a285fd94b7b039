"""A schema that is being drawn: metadata and a place for each keypoint; an edit makes a new draft.

The metadata is what a person typed or pasted, with all keys that kpwidget does not know. An edit
changes what it has to: numbers of edges when keypoints change places, names in `flip_pairs`,
`aliases`, `definitions` and `references` when one is renamed.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import geometry
from ..schema import Schema

#: Fields of metadata with one value for each keypoint, and those that go by its name.
_LISTED: Final = ("colors", "sigmas", "layout")
_NAMED: Final = ("aliases", "definitions", "references")
#: Share of the image's shorter side that a figure takes whose points nobody has placed.
_FIGURE_SHARE: Final = 0.8
_LINE: Final = 96

Xy = tuple[float, float]


@dataclass(frozen=True)
class Draft:
    """A schema under way. Nothing in it is ever changed.

    Attributes
    ----------
    metadata : dict
        That of the schema; without ``keypoints`` while there is none.
    ids : tuple of str
        What each keypoint is called between browser and Python, whatever its name.
    xy : tuple of (float, float)
        Place of each keypoint in image pixels.
    """

    metadata: dict[str, Any] = field(default_factory=dict)
    ids: tuple[str, ...] = ()
    xy: tuple[Xy, ...] = ()

    @cached_property
    def schema(self) -> Schema | None:
        """The schema with the figure that the points make, None while there is no keypoint."""
        return _schema_of(self.metadata, self._figure()) if self.ids else None

    @property
    def names(self) -> list[str]:
        """Names of the keypoints, in order."""
        return list(self.metadata.get("keypoints", ()))

    # -- one keypoint ---------------------------------------------------------------------------

    def add(self, point: str, name: str, xy: Xy) -> Draft:
        """One more keypoint, the last. Sigmas go: nobody has measured one for it."""
        metadata = _without(self.metadata, "sigmas", "sigma_source")
        metadata.setdefault("keypoints", [])
        metadata.setdefault("skeleton", [])
        metadata["keypoints"] = [*metadata["keypoints"], name]
        if "colors" in metadata:
            colors = _schema_of(_without(metadata, "colors", "layout")).colors
            metadata["colors"] = [*metadata["colors"], colors[-1]]
        return Draft(metadata, (*self.ids, point), (*self.xy, xy))._drawn()

    def move(self, k: int, xy: Xy) -> Draft:
        """A keypoint at another place."""
        places = list(self.xy)
        places[k] = xy
        return replace(self, xy=tuple(places))._drawn()

    def remove(self, k: int) -> Draft:
        """Without one keypoint, its edges, its pair and what else was said of it."""
        name = self.names[k]
        rest = [i for i in range(len(self.ids)) if i != k]
        if not rest:
            others = ("keypoints", "skeleton", "flip_pairs", "sigmas", "parts", *_LISTED, *_NAMED)
            return Draft(_without(self.metadata, *others))
        metadata = dict(self.metadata)
        metadata["skeleton"] = [e for e in self._edges_as_given() if k not in self._index(e)]
        if "flip_pairs" in metadata:
            metadata["flip_pairs"] = [pair for pair in metadata["flip_pairs"] if name not in pair]
        for key in _NAMED:
            if isinstance(metadata.get(key), dict):
                metadata[key] = {k: v for k, v in metadata[key].items() if k != name}
                if not metadata[key]:
                    del metadata[key]
        return replace(self, metadata=metadata)._taken(rest)

    def rename(self, k: int, name: str) -> Draft:
        """One keypoint with another name, wherever its name stands."""
        old = self.names[k]

        def renamed(value: Any) -> Any:
            return name if value == old else value

        metadata = dict(self.metadata)
        metadata["keypoints"] = [name if i == k else one for i, one in enumerate(self.names)]
        for key in ("skeleton", "flip_pairs"):
            if key in metadata:
                metadata[key] = [list(map(renamed, pair)) for pair in metadata[key] or ()]
        for key in _NAMED:
            if isinstance(metadata.get(key), dict):
                metadata[key] = {renamed(one): value for one, value in metadata[key].items()}
        return replace(self, metadata=metadata)

    def order(self, k: int, to: int) -> Draft:
        """One keypoint at another position in the list; the others close up."""
        order = [i for i in range(len(self.ids)) if i != k]
        order.insert(to, k)
        return self._taken(order)

    def color(self, k: int, color: str) -> Draft:
        """One keypoint in another colour; the others keep those they are shown with."""
        schema = _schema_of(self.metadata)
        colors = [color if i == k else one for i, one in enumerate(schema.colors)]
        return replace(self, metadata={**self.metadata, "colors": colors})

    def say(self, key: str, k: int, value: str | None) -> Draft:
        """A definition or a reference of one keypoint; None takes it away."""
        said = dict(self.metadata.get(key) or {})
        if value is None:
            said.pop(self.names[k], None)
        else:
            said[self.names[k]] = value
        metadata = {**self.metadata, key: said}
        return replace(self, metadata=metadata if said else _without(metadata, key))

    # -- two keypoints --------------------------------------------------------------------------

    def join(self, a: int, b: int) -> Draft:
        """With an edge, if there is none between the two."""
        if any({a, b} == set(self._index(e)) for e in self._edges_as_given()):
            return self
        edges = self._edges_as_given()
        by_name = bool(edges) and all(isinstance(end, str) for edge in edges for end in edge)
        edge = [self.names[a], self.names[b]] if by_name else [a + 1, b + 1]
        return replace(self, metadata={**self.metadata, "skeleton": [*edges, edge]})

    def part(self, a: int, b: int) -> Draft:
        """Without the edge between the two."""
        edges = [e for e in self._edges_as_given() if set(self._index(e)) != {a, b}]
        return replace(self, metadata={**self.metadata, "skeleton": edges})

    def pair(self, left: int, right: int | None) -> Draft:
        """With the two as left and right, and neither in another pair; None: without a pair."""
        names = {self.names[left], *(() if right is None else (self.names[right],))}
        pairs = [pair for pair in self.metadata.get("flip_pairs") or () if not names & set(pair)]
        if right is not None:
            pairs.append([self.names[left], self.names[right]])
        metadata = {**self.metadata, "flip_pairs": pairs}
        return replace(self, metadata=metadata if pairs else _without(metadata, "flip_pairs"))

    def title(self, name: str) -> Draft:
        """With another name of the schema, in front of what else there is."""
        return replace(self, metadata={"name": name, **_without(self.metadata, "name")})

    # -- the whole ------------------------------------------------------------------------------

    def read(self, metadata: dict[str, Any], size: tuple[int, int]) -> Draft:
        """What a text says, with places for its keypoints.

        A keypoint of a known name, or at the position of one that was renamed, stays where it is,
        unless the text's figure has moved it.

        Parameters
        ----------
        metadata : dict
            Good for a schema.
        size : (int, int)
            Width and height of the image in pixels.
        """
        # null says what a missing key does.
        nulls = [key for key in ("flip_pairs", "colors", "layout") if metadata.get(key) is None]
        metadata = _without(metadata, *nulls)
        schema = _schema_of(metadata)
        figure = schema.layout
        if figure is None:
            figure = geometry.layout_skeleton(schema.n_keypoints, schema.edges, schema.sides)
        has_figure, had_figure = "layout" in metadata, "layout" in self.metadata
        shift, scale = self._frame(size, has_figure and had_figure)
        known = self._known(schema.keypoints)
        ids, places = [], []
        for k in range(schema.n_keypoints):
            old = known.get(k)
            ids.append(secrets.token_hex(4) if old is None else self.ids[old])
            is_kept = old is not None and (
                not has_figure
                or (had_figure and metadata["layout"][k] == self.metadata["layout"][old])
            )
            if old is not None and is_kept:
                places.append(self.xy[old])
            else:
                x, y = np.clip(shift + scale * figure[k], 0, size).tolist()
                places.append((x, y))
        return Draft(metadata, tuple(ids), tuple(places))

    def _known(self, names: Sequence[str]) -> dict[int, int]:
        """Which keypoint here each of the names stands for, by position there."""
        index = {name: k for k, name in enumerate(self.names)}
        found = {k: index[name] for k, name in enumerate(names) if name in index}
        if len(names) == len(index):
            # As many as before: a new name in the place of one that is gone is a renamed one.
            gone = set(index.values()) - set(found.values())
            found |= {k: k for k in range(len(names)) if k not in found and k in gone}
        return found

    def _frame(self, size: tuple[int, int], has_figures: bool) -> tuple[NDArray[np.float64], float]:
        """Where in the image the figure's (0, 0) is, and how long its unit, both in pixels."""
        if has_figures:
            xy, layout = np.array(self.xy), np.array(self.metadata["layout"], np.float64)
            extent = float(np.ptp(layout, axis=0).max())
            if extent > 0:
                scale = float(np.ptp(xy, axis=0).max()) / extent
                return xy.mean(axis=0) - scale * layout.mean(axis=0), scale
        side = _FIGURE_SHARE * min(size)
        return (np.array(size) - side) / 2, side

    def _drawn(self) -> Draft:
        """With the figure that the places of the keypoints make in the metadata."""
        return replace(self, metadata={**self.metadata, "layout": self._figure()})

    def _figure(self) -> list[list[float]]:
        unit = geometry.fit_unit(np.array(self.xy, np.float64))
        return [[round(x, 4), round(y, 4)] for x, y in unit.tolist()]

    def _taken(self, order: list[int]) -> Draft:
        """The keypoints at these positions, in this order; edges and parts follow them."""
        new = {old: at for at, old in enumerate(order)}

        def moved(end: Any) -> Any:
            return end if isinstance(end, str) else new[end - 1] + 1

        metadata = {**self.metadata, "keypoints": [self.names[k] for k in order]}
        metadata["skeleton"] = [list(map(moved, edge)) for edge in self._edges_as_given()]
        for key in _LISTED:
            if metadata.get(key) is not None:
                metadata[key] = [metadata[key][k] for k in order]
        if metadata.get("parts"):
            parts = {}
            for part, (first, last) in metadata["parts"].items():
                at = sorted(new[k] + 1 for k in range(first - 1, last) if k in new)
                if at and at[-1] - at[0] == len(at) - 1:  # still a run
                    parts[part] = [at[0], at[-1]]
            metadata["parts"] = parts
        return Draft(metadata, tuple(self.ids[k] for k in order), tuple(self.xy[k] for k in order))

    def _edges_as_given(self) -> list[Any]:
        return list(self.metadata.get("skeleton") or ())

    def _index(self, edge: Sequence[Any]) -> tuple[int, ...]:
        return tuple(self.names.index(end) if isinstance(end, str) else end - 1 for end in edge)

    def lost_parts(self, after: Draft) -> list[str]:
        """Parts of this draft that the next one has no more."""
        kept = after.metadata.get("parts") or {}
        return [part for part in self.metadata.get("parts") or {} if part not in kept]


def _schema_of(metadata: Mapping[str, Any], layout: list[list[float]] | None = None) -> Schema:
    name = "schema" if metadata.get("name") is None else metadata["name"]
    schema, _ = Schema._of_metadata(dict(metadata), name, "schema", layout)
    return schema


def _without(metadata: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in keys}


def text_of_metadata(metadata: Mapping[str, Any]) -> str:
    """Metadata as JSON that is fit to be read: a line for each key, long lists wrapped.

    Parameters
    ----------
    metadata : mapping

    Returns
    -------
    str
        `json.loads` gives the same back.
    """
    if not metadata:
        return ""
    fields = [f"  {json.dumps(key)}: {_wrapped(value)}" for key, value in metadata.items()]
    return "{\n" + ",\n".join(fields) + "\n}"


def _wrapped(value: Any) -> str:
    plain = json.dumps(value, ensure_ascii=False)
    if len(plain) < _LINE or not isinstance(value, list | dict):
        return plain
    if isinstance(value, dict):
        items = [
            f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(one, ensure_ascii=False)}"
            for key, one in value.items()
        ]
        return "{\n    " + ",\n    ".join(items) + "\n  }"
    lines = [""]
    for item in (json.dumps(one, ensure_ascii=False) for one in value):
        if lines[-1] and len(lines[-1]) + len(item) > _LINE:
            lines.append("")
        lines[-1] += (", " if lines[-1] else "") + item
    return "[\n    " + ",\n    ".join(lines) + "\n  ]"
