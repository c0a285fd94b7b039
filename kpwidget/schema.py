"""What a keypoint means: `Schema`, `Category`, `Visibility`, and `FormatError`.

A schema names the keypoints of one kind of object and says which are joined by edges, which
mirror each other, and how exactly each can be placed. It needs numpy alone.
"""

from __future__ import annotations

import base64
import difflib
import json
import math
import os
import re
import reprlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["INSTANCE_COLORS", "Category", "FormatError", "Schema", "Visibility"]

# The seven chromatic colours of Okabe and Ito, "Color Universal Design" (2008),
# https://jfly.uni-koeln.de/color/, lightest contrast first. Their eighth is black, which cannot
# be seen on a dark photograph; white takes its place (every mark is drawn with a dark rim).
INSTANCE_COLORS: tuple[str, ...] = (
    "#56b4e9",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#ffffff",
)
"""Eight colour-blind safe '#rrggbb'; an instance takes the one at its position in its image, mod 8.
"""

# Default keypoint colours when the schema has sides. Blue against orange is the pair that stays
# apart under protanopia, deuteranopia and tritanopia; within a family only the lightness varies.
_LEFT_COLORS = ("#0072b2", "#56b4e9", "#3b8fd0", "#8fd0f5")
_RIGHT_COLORS = ("#d55e00", "#e69f00", "#f07b3f", "#ffc07a")
_UNPAIRED_COLORS = ("#009e73", "#f0e442", "#1b7a4f", "#fbf5a3")

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_MAX_SHOWN_PROBLEMS = 200
_MAX_FAULTS = 200_000  # places at which JSON is not strict
_MAX_SHOWN = 300  # characters of a value in a message
_MAX_JSON_DEPTH = 100
_MAX_DEFINITION = 300  # characters
_MAX_REFERENCE_BYTES = 32_768
#: Longest side of a reference picture, in pixels.
REFERENCE_SIDE = 96
_TOO_DEEP = f"nested more than {_MAX_JSON_DEPTH} levels deep; metadata needs 3"


class Visibility(IntEnum):
    """Whether a keypoint has a location, and whether it can be seen there (COCO's ``v``)."""

    UNLABELED = 0
    """No location: (NaN, NaN) in arrays."""
    OCCLUDED = 1
    """Located, but hidden in the image."""
    VISIBLE = 2
    """Located and seen."""


class FormatError(ValueError):
    """Something is wrong in a file or in metadata; the message lists everything found.

    Parameters
    ----------
    message : str
        The whole text.
    problems : iterable of str, optional
        Each problem by itself; by default the message is the only one.

    Attributes
    ----------
    problems : tuple of str
        Every problem, also those that a very long message leaves out.
    """

    def __init__(self, message: str, problems: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.problems: tuple[str, ...] = tuple(problems) or (message,)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the problems, which exceptions would otherwise lose."""
        return type(self), (str(self), self.problems)

    @classmethod
    def from_problems(cls, where: str, problems: Iterable[str], advice: str = "") -> FormatError:
        """Error whose message has one line per problem, each beginning with `where`.

        Parameters
        ----------
        where : str
            The file, record or schema that all problems are in.
        problems : iterable of str
            What is wrong, each starting with the place inside `where`.
        advice : str, optional
            What can be done, for the last line.

        Returns
        -------
        FormatError
            Past 200 problems the message counts the rest; `problems` has them all.
        """
        lines = [f"{where}: {problem}" for problem in problems]
        shown = lines[:_MAX_SHOWN_PROBLEMS]
        if len(lines) > len(shown):
            rest = len(lines) - len(shown)
            shown.append(f"{where}: and {rest} more problems (all are in the error's .problems)")
        last = [f"{where}: {advice}"] if advice else []
        return cls("\n".join([*shown, *last]), [*lines, *last])


class _Trouble(NamedTuple):
    """What is wrong with one value."""

    why: str


_Checked = TypeVar("_Checked", str, bytes)


class _Parts(NamedTuple):
    """The checked content of a schema."""

    name: str
    keypoints: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple[str, str], ...]
    sigmas: tuple[float, ...] | None
    sigma_source: str | None
    colors: tuple[str, ...] | None
    layout: tuple[tuple[float, float], ...] | None
    aliases: tuple[tuple[str, tuple[str, ...]], ...] | None
    part_ranges: tuple[tuple[str, tuple[int, int]], ...] | None
    definitions: tuple[tuple[str, str], ...] = ()
    references: tuple[tuple[str, bytes], ...] = ()


class Schema:
    """The keypoints of one kind of object: names, skeleton, flip pairs, sigmas and colours.

    Immutable and hashable. Two schemas are equal if name, keypoints, skeleton, flip pairs,
    sigmas, their source, colours, definitions and references are.

    Parameters
    ----------
    name : str
        Name of the schema; as a dataset's category, the category's name unless another is given.
    keypoints : sequence of str
        The names, each once, in the order of the arrays and files. Any text but an empty one.
    skeleton : sequence of pairs, default ()
        Edges, each a pair of **1-based** keypoint numbers as in COCO, or a pair of names.
    flip_pairs : sequence of pairs of str, default ()
        Names that change places when the image is mirrored, each name in at most one pair.
    sigmas : sequence of float, optional
        Per-keypoint standard deviation of OKS, before doubling, as in COCO. Finite and positive.
    sigma_source : str, optional
        Where the sigmas come from.
    colors : sequence of str, optional
        One '#rrggbb' per keypoint. Derived by default: with flip pairs the left side is blue, the
        right orange and the rest green and yellow; without, eight distinct hues in turn.
    layout : sequence of pairs of float, optional
        A reference figure: per keypoint (x, y) in [0, 1], x right, y down. For pictures of the
        schema only; not part of equality. Read from metadata that has it; `to_metadata` of a
        schema made by the constructor leaves it out.
    aliases : mapping from str to sequence of str, optional
        Other names that keypoints go by, for `match`. Not part of equality.
    parts : mapping from str to pair of int, optional
        What runs of keypoints are, by the **1-based** numbers of the first and the last, as in
        ``{"jaw": (1, 17)}``. For pictures; not part of equality.
    definitions : mapping from str to str, optional
        Where exactly a keypoint is to be placed, in one line of at most 300 characters, by the
        name of the keypoint.
    references : mapping from str to bytes, optional
        A picture of a keypoint and what is around it, by its name: the bytes of a PNG or JPEG
        file, at most 96 x 96 pixels and 32,768 bytes. In metadata as ``data:`` URLs.

    Raises
    ------
    FormatError
        Naming every problem found.

    Warns
    -----
    UserWarning
        If an edge is listed more than once. It is kept as given.

    Examples
    --------
    >>> bolt = Schema("bolt", ["head", "tip"], [(1, 2)])
    >>> bolt.edges.tolist()
    [[0, 1]]
    """

    __slots__ = (
        "_colors",
        "_edges",
        "_flip_indices",
        "_hash",
        "_index",
        "_layout",
        "_metadata",
        "_parts",
        "_sides",
        "_sigmas",
    )

    _parts: _Parts
    _metadata: dict[str, Any] | None
    _index: dict[str, int]
    _edges: NDArray[np.int64]
    _flip_indices: NDArray[np.int64]
    _sigmas: NDArray[np.float64] | None
    _sides: tuple[str | None, ...]
    _colors: tuple[str, ...]
    _layout: NDArray[np.float64] | None
    _hash: int

    def __init__(
        self,
        name: str,
        keypoints: Sequence[str],
        skeleton: Sequence[Sequence[int]] | Sequence[Sequence[str]] | NDArray[Any] = (),
        *,
        flip_pairs: Sequence[Sequence[str]] = (),
        sigmas: Sequence[float] | NDArray[Any] | None = None,
        sigma_source: str | None = None,
        colors: Sequence[str] | None = None,
        layout: Sequence[Sequence[float]] | NDArray[Any] | None = None,
        aliases: Mapping[str, Sequence[str]] | None = None,
        parts: Mapping[str, Sequence[int]] | None = None,
        definitions: Mapping[str, str] | None = None,
        references: Mapping[str, bytes] | None = None,
    ) -> None:
        fields: dict[str, Any] = {
            "name": name,
            "keypoints": keypoints,
            "skeleton": skeleton,
            "flip_pairs": flip_pairs,
            "sigmas": sigmas,
            "sigma_source": sigma_source,
            "colors": colors,
            "layout": layout,
            "aliases": aliases,
            "parts": parts,
            "definitions": definitions,
            "references": references,
        }
        where = f"schema {_show(name)}"
        problems: list[str] = []
        content, repeated = _check(fields, problems)
        if content is None:
            raise FormatError.from_problems(where, problems)
        if repeated:
            warnings.warn(f"{where}: {repeated}", stacklevel=2)
        self._fill(content, None)

    def _fill(self, parts: _Parts, metadata: dict[str, Any] | None) -> None:
        n_keypoints = len(parts.keypoints)
        index = {name: k for k, name in enumerate(parts.keypoints)}
        edges = np.array(parts.skeleton, dtype=np.int64).reshape(-1, 2) - 1
        flip_indices = np.arange(n_keypoints, dtype=np.int64)
        sides: list[str | None] = [None] * n_keypoints
        for first, second in parts.flip_pairs:
            a, b = index[first], index[second]
            flip_indices[a], flip_indices[b] = b, a
            sides[a], sides[b] = _sides_of_pair(first, second)
        shown_pairs = flip_indices
        if not parts.flip_pairs:  # as COCO's own files: the names tell what to show, no more
            shown_pairs = np.arange(n_keypoints, dtype=np.int64)
            for a, b in _pairs_by_name(parts.keypoints):
                shown_pairs[a], shown_pairs[b] = b, a
                sides[a], sides[b] = "left", "right"
        sigmas = None if parts.sigmas is None else np.array(parts.sigmas, dtype=np.float64)
        layout = None if parts.layout is None else np.array(parts.layout, dtype=np.float64)
        for array in (edges, flip_indices, sigmas, layout):
            if array is not None:
                array.flags.writeable = False
        put = object.__setattr__
        put(self, "_parts", parts)
        put(self, "_metadata", metadata)
        put(self, "_index", index)
        put(self, "_edges", edges)
        put(self, "_flip_indices", flip_indices)
        put(self, "_sigmas", sigmas)
        put(self, "_layout", layout)
        put(self, "_sides", tuple(sides))
        put(self, "_colors", parts.colors or _default_colors(sides, shown_pairs))
        put(self, "_hash", hash(parts[:3]))

    @classmethod
    def from_metadata(
        cls, metadata: Mapping[str, Any] | str | os.PathLike[str], name: str | None = None
    ) -> Schema:
        r"""Make the schema that metadata in the form of a COCO category describes.

        Parameters
        ----------
        metadata : mapping, str or os.PathLike
            A mapping, JSON text (a `str` is always text), or the path of a JSON file. It has
            ``keypoints`` and may have ``skeleton`` (1-based), ``flip_pairs``, ``sigmas``,
            ``sigma_source``, ``colors``, ``layout``, ``aliases``, ``parts``, ``definitions``,
            ``references`` and ``name``. Other keys are kept for `to_metadata`.
        name : str, optional
            Name of the schema. By default the metadata's ``name``, else the file's name without
            its ending, else ``"schema"``.

        Returns
        -------
        Schema
            Its `to_metadata` gives the same JSON back.

        Raises
        ------
        FormatError
            If the text is not JSON or the content is wrong, naming every problem found.
        TypeError
            If `metadata` is something else.

        Examples
        --------
        >>> schema = Schema.from_metadata('{"keypoints": ["a", "b"], "skeleton": [[1, 2]]}')
        >>> schema.keypoints
        ('a', 'b')
        """
        where, default_name = _where(name), "schema"
        content: Any
        if isinstance(metadata, str):
            content = _parse_json(metadata, where, hint_at_file=True)
        elif isinstance(metadata, os.PathLike):
            path = Path(metadata)
            where, default_name = os.fspath(metadata), path.stem or "schema"
            content = _parse_json(_decode(path.read_bytes(), where), where)
        elif isinstance(metadata, Mapping):
            content = metadata
        else:
            raise TypeError(
                "metadata must be a dict, JSON text (str) or a path (os.PathLike), "
                f"not {type(metadata).__name__}"
            )
        if not isinstance(content, Mapping):
            hint = ""
            if isinstance(content, list) and any(isinstance(item, Mapping) for item in content):
                hint = "; if this is a list of categories, pass one of them"
            raise FormatError.from_problems(
                where, [f"expected an object with 'keypoints', got {_show(content)}{hint}"]
            )
        problems: list[str] = []
        try:
            copied = _copy_json(content, "", 0, problems)
        except RecursionError:
            problems = [_TOO_DEEP]
        if problems:
            raise FormatError.from_problems(where, problems)
        if "categories" in copied and "keypoints" not in copied:
            raise FormatError.from_problems(
                where,
                [
                    "this is a whole dataset, with 'categories'; pass one category, for instance "
                    "metadata['categories'][0]" + _name_categories(copied["categories"])
                ],
            )
        given_name = copied.get("name") if name is None else name
        if not isinstance(metadata, os.PathLike):
            where = _where(given_name)
        elif given_name is not None:
            where = f"{where}: {_where(given_name)}"
        schema, repeated = cls._of_metadata(
            copied, default_name if given_name is None else given_name, where
        )
        if repeated:
            warnings.warn(f"{where}: {repeated}", stacklevel=2)
        return schema

    @classmethod
    def _of_metadata(
        cls, metadata: dict[str, Any], name: Any, where: str, layout: Any = None
    ) -> tuple[Schema, str]:
        """As `from_metadata`, of plain JSON that nobody else changes; the warning is returned.

        With `layout`, a figure that does not stand in the metadata.
        """
        problems: list[str] = []
        figure = metadata.get("layout", layout)
        parts, repeated = _check({**metadata, "name": name, "layout": figure}, problems)
        if parts is None:
            raise FormatError.from_problems(where, problems)
        schema = cls.__new__(cls)
        schema._fill(parts, metadata)
        return schema, repeated

    def to_metadata(self) -> dict[str, Any]:
        """Metadata of this schema, ready for `json.dumps`.

        Returns
        -------
        dict
            What `from_metadata` was given: the same keys and values in the same order. For a
            schema made by the constructor: name, keypoints, skeleton (1-based) and what else
            was given. A new copy each time.
        """
        if self._metadata is not None:
            copied: dict[str, Any] = _copy_json(self._metadata, "", 0, [])
            return copied
        parts = self._parts
        metadata: dict[str, Any] = {
            "name": parts.name,
            "keypoints": list(parts.keypoints),
            "skeleton": self.skeleton,
        }
        if parts.flip_pairs:
            metadata["flip_pairs"] = [list(pair) for pair in parts.flip_pairs]
        if parts.sigmas is not None:
            metadata["sigmas"] = list(parts.sigmas)
        if parts.sigma_source is not None:
            metadata["sigma_source"] = parts.sigma_source
        if parts.colors is not None:
            metadata["colors"] = list(parts.colors)
        if parts.aliases is not None:
            metadata["aliases"] = {name: list(others) for name, others in parts.aliases}
        if parts.part_ranges is not None:
            metadata["parts"] = {part: list(ends) for part, ends in parts.part_ranges}
        if parts.definitions:
            metadata["definitions"] = dict(parts.definitions)
        if parts.references:
            metadata["references"] = {
                name: reference_to_url(data) for name, data in parts.references
            }
        return metadata

    def with_layout(self, layout: Sequence[Sequence[float]] | NDArray[Any] | None) -> Schema:
        """Return the same schema with another reference figure.

        Parameters
        ----------
        layout : sequence of pairs of float, or None
            As of the constructor.

        Raises
        ------
        FormatError
            If it is not as described.
        """
        problems: list[str] = []
        checked = _check_layout(layout, self.n_keypoints, problems)
        if problems:
            raise FormatError.from_problems(_where(self.name), problems)
        schema = type(self).__new__(type(self))
        schema._fill(self._parts._replace(layout=checked), self._metadata)
        return schema

    @property
    def name(self) -> str:
        """Name of the schema."""
        return self._parts.name

    @property
    def keypoints(self) -> tuple[str, ...]:
        """Names of the keypoints, in order."""
        return self._parts.keypoints

    @property
    def n_keypoints(self) -> int:
        """Number of keypoints."""
        return len(self._parts.keypoints)

    @property
    def skeleton(self) -> list[list[int]]:
        """Edges as pairs of 1-based keypoint numbers, in the order given (a new list)."""
        return [list(edge) for edge in self._parts.skeleton]

    @property
    def edges(self) -> NDArray[np.int64]:
        """Edges as **0-based** keypoint indices, shape (n_edges, 2), read-only."""
        return self._edges

    @property
    def flip_pairs(self) -> tuple[tuple[str, str], ...]:
        """Pairs of names that change places when the image is mirrored, as given."""
        return self._parts.flip_pairs

    @property
    def flip_indices(self) -> NDArray[np.int64]:
        """The permutation the flip pairs make, 0-based, shape (n_keypoints,), read-only.

        ``keypoints[flip_indices]`` are the keypoints of a mirrored image in schema order.
        """
        return self._flip_indices

    @property
    def sigmas(self) -> NDArray[np.float64] | None:
        """Per-keypoint OKS standard deviation before doubling, shape (n_keypoints,), or None."""
        return self._sigmas

    @property
    def sigma_source(self) -> str | None:
        """Where the sigmas come from, or None."""
        return self._parts.sigma_source

    @property
    def colors(self) -> tuple[str, ...]:
        """One lower-case '#rrggbb' per keypoint, given or derived."""
        return self._colors

    @property
    def sides(self) -> tuple[str | None, ...]:
        """'left', 'right' or None per keypoint: how it is shown.

        Which of a flip pair is the left one is told by its name (``left_eye``, ``LWrist``,
        ``eye_l``); if neither name tells, it is the pair's first. A schema without flip pairs, as
        in COCO's own files, shows two names that differ in their side alone as such a pair.
        """
        return self._sides

    @property
    def layout(self) -> NDArray[np.float64] | None:
        """Reference figure, shape (n_keypoints, 2): (x, y) in [0, 1], y down. Or None.

        A schema without one of its own has that of a built-in schema with the same keypoints.
        """
        if self._layout is not None:
            return self._layout
        from kpwidget import schemas

        return schemas.find_layout(self.keypoints)

    @property
    def aliases(self) -> dict[str, tuple[str, ...]]:
        """Other names of keypoints, by keypoint (a new dict); those without any are left out.

        A schema without any of its own has those of a built-in schema with the same keypoints.
        """
        if self._parts.aliases is not None:
            return dict(self._parts.aliases)
        from kpwidget import schemas

        return schemas.find_aliases(self.keypoints)

    @property
    def parts(self) -> dict[str, tuple[int, int]]:
        """Runs of keypoints by name: **1-based** numbers of the first and the last (a new dict).

        A schema without any of its own has those of a built-in schema with the same keypoints.
        """
        if self._parts.part_ranges is not None:
            return dict(self._parts.part_ranges)
        from kpwidget import schemas

        return schemas.find_parts(self.keypoints)

    @property
    def definitions(self) -> dict[str, str]:
        """Where keypoints are to be placed, one line each, by keypoint (a new dict)."""
        return dict(self._parts.definitions)

    @property
    def references(self) -> dict[str, bytes]:
        """Small pictures (PNG or JPEG files) of keypoints, by keypoint (a new dict)."""
        return dict(self._parts.references)

    def index(self, keypoint: str | int) -> int:
        """0-based index of a keypoint.

        Parameters
        ----------
        keypoint : str or int
            A name, or a 0-based index, which is checked and given back.

        Returns
        -------
        int
            In ``range(n_keypoints)``.

        Raises
        ------
        KeyError
            If there is no such keypoint, naming those there are or those with a similar name.
        """
        if isinstance(keypoint, str):
            found = self._index.get(keypoint)
            if found is not None:
                return found
            raise KeyError(
                f"schema {_show(self.name)} has no keypoint {_show(keypoint)}; "
                + self._suggest(keypoint)
            )
        number = _as_int(keypoint)
        if number is None:
            raise KeyError(f"a keypoint is a name or a 0-based index, not {_show(keypoint)}")
        if not 0 <= number < self.n_keypoints:
            raise KeyError(
                f"schema {_show(self.name)} has no keypoint {_show(number)}; "
                f"indices run from 0 to {self.n_keypoints - 1}"
            )
        return number

    def match(self, names: Iterable[str]) -> list[int | None]:
        """Which keypoints names from elsewhere stand for, told by the names alone.

        A name stands for the keypoint of that name; else for one whose name or alias (`aliases`)
        is the same but for capitals, separators, and where and how the side is said: ``LEye``,
        ``l_eye``, ``leftEye`` and ``eye.L`` are ``left_eye``. Nothing is told by position.

        Parameters
        ----------
        names : iterable of str
            For instance the keypoints of a file, in its order.

        Returns
        -------
        list of int or None
            0-based index of each; None where no keypoint, or more than one, fits.

        Raises
        ------
        ValueError
            If several of the names stand for one keypoint, naming them.

        Examples
        --------
        >>> Schema("x", ["nose", "left_eye", "right_eye"]).match(["REye", "LEye", "chin"])
        [2, 1, None]
        """
        fitting: dict[str, set[int]] = {}
        for keypoint, k in self._index.items():
            fitting.setdefault(_name_key(keypoint), set()).add(k)
        for keypoint, others in self.aliases.items():
            for other in others:
                fitting.setdefault(_name_key(other), set()).add(self._index[keypoint])
        found: list[int | None] = []
        meant: dict[int, list[str]] = {}
        for name in names:
            index = self._index.get(name)
            fits = fitting.get(_name_key(name), set())
            if index is None and len(fits) == 1:
                (index,) = fits
            found.append(index)
            if index is not None:
                meant.setdefault(index, []).append(name)
        twice = [
            f"{', '.join(map(_show, several))} all stand for {_show(self.keypoints[k])}"
            for k, several in meant.items()
            if len(several) > 1
        ]
        if twice:
            raise ValueError(
                f"schema {_show(self.name)}: {'; '.join(twice)}; expected one name for a keypoint: "
                "leave out the others"
            )
        return found

    def _suggest(self, name: str) -> str:
        # Fuzzy matching compares every name with every other: only where that stays instant.
        if self.n_keypoints <= 1000 and len(name) <= 200:
            lowered = {known.lower(): known for known in self.keypoints if len(known) <= 200}
            close = difflib.get_close_matches(name.lower(), list(lowered), n=3)
            if close:
                return "did you mean " + " or ".join(_show(lowered[match]) for match in close) + "?"
        listed = ", ".join(_show(known) for known in self.keypoints[:40])
        rest = self.n_keypoints - 40
        return f"it has {listed}" + (f" and {rest} more" if rest > 0 else "")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the skeleton with the keypoints' names; see `kpwidget.plot_schema`.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            By default a new figure's.

        Returns
        -------
        matplotlib.axes.Axes
            The axes drawn on.
        """
        from kpwidget.plotting import plot_schema

        return plot_schema(self, ax=ax)

    def __eq__(self, other: object) -> bool:
        """Whether the content is the same; unknown keys, layout, aliases and parts do not count."""
        if not isinstance(other, Schema):
            return NotImplemented
        same: dict[str, Any] = {"layout": None, "aliases": None, "part_ranges": None}
        return self is other or self._parts._replace(
            **same, colors=self._colors
        ) == other._parts._replace(**same, colors=other._colors)

    def __hash__(self) -> int:
        """Hash of name, keypoints and skeleton."""
        return self._hash

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: a schema does not change."""
        raise AttributeError(f"a Schema does not change; make a new one instead of setting {name}")

    def __delattr__(self, name: str) -> NoReturn:
        """Refuse: a schema does not change."""
        raise AttributeError(f"a Schema does not change; {name} cannot be deleted")

    def __copy__(self) -> Schema:
        """Give the same object: it does not change."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Schema:
        """Give the same object: it does not change."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the checked content, so that loading neither checks nor warns again."""
        return _rebuild, (type(self), tuple(self._parts), self._metadata)

    def _repr_png_(self) -> bytes:
        """Return a small figure of it, for notebooks."""
        from kpwidget.plotting.picture import png_of

        return png_of(self)

    def __repr__(self) -> str:
        """Name and sizes, for instance ``Schema('coco17', 17 keypoints, 19 edges)``."""
        return f"Schema({_show(self.name)}, {self.n_keypoints} keypoints, {len(self.edges)} edges)"


def _rebuild(cls: type[Schema], parts: tuple[Any, ...], metadata: dict[str, Any] | None) -> Schema:
    schema = cls.__new__(cls)
    schema._fill(_Parts(*parts), metadata)
    return schema


@dataclass(frozen=True)
class Category:
    """A schema in a dataset, with the category's number and names in the file.

    Raises
    ------
    FormatError
        If a field has the wrong type, naming each.
    """

    id: int
    """COCO's category id."""
    schema: Schema
    """What its keypoints mean."""
    name: str
    """Name of the category."""
    supercategory: str | None = None
    """COCO's supercategory, None if the file gives none."""
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Other fields of the category's record, kept for writing."""

    def __post_init__(self) -> None:
        """Check the types of all fields."""
        given: dict[str, Any] = dict(vars(self))
        expected = (
            ("id", _as_int(given["id"]) is not None, "an integer"),
            ("schema", isinstance(given["schema"], Schema), "a kpwidget.Schema"),
            ("name", isinstance(given["name"], str), "a string"),
            ("supercategory", isinstance(given["supercategory"], str | None), "a string or None"),
            ("extra", isinstance(given["extra"], Mapping), "a mapping"),
        )
        problems = [
            f"{name} = {_show(given[name])}: expected {what}"
            for name, is_good, what in expected
            if not is_good
        ]
        if problems:
            raise FormatError.from_problems(f"category {_show(self.name)}", problems)

    @property
    def keypoints(self) -> tuple[str, ...]:
        """Names of the schema's keypoints."""
        return self.schema.keypoints

    @property
    def n_keypoints(self) -> int:
        """Number of keypoints of the schema."""
        return self.schema.n_keypoints


# --- checking -----------------------------------------------------------------------------------


def _check(fields: Mapping[str, Any], problems: list[str]) -> tuple[_Parts | None, str]:
    """Give the checked parts and a warning; if wrong None, with what is wrong in `problems`."""
    name = _check_name(fields.get("name"), problems)
    keypoints, n_keypoints = _check_keypoints(fields, problems)
    index = {keypoint: k for k, keypoint in enumerate(keypoints)}
    skeleton, repeated = _check_skeleton(fields.get("skeleton"), index, n_keypoints, problems)
    flip_pairs = _check_flip_pairs(fields.get("flip_pairs"), index, problems)
    sigmas = _check_sigmas(fields.get("sigmas"), n_keypoints, problems)
    source = fields.get("sigma_source")
    if not (source is None or isinstance(source, str)):
        problems.append(f"sigma_source = {_show(source)}: expected a string")
    colors = _check_colors(fields.get("colors"), n_keypoints, problems)
    layout = _check_layout(fields.get("layout"), n_keypoints, problems)
    aliases = _check_aliases(fields.get("aliases"), index, problems)
    part_ranges = _check_part_ranges(fields.get("parts"), n_keypoints, problems)
    definitions = _check_by_name(
        "definitions", fields.get("definitions"), index, _check_definition, problems
    )
    references = _check_by_name(
        "references", fields.get("references"), index, _check_reference, problems
    )
    if problems:
        return None, ""
    return _Parts(
        name,
        keypoints,
        skeleton,
        flip_pairs,
        sigmas,
        source,
        colors,
        layout,
        aliases,
        part_ranges,
        definitions,
        references,
    ), repeated


def _check_name(name: Any, problems: list[str]) -> str:
    if not isinstance(name, str):
        problems.append(f"name = {_show(name)}: expected a string")
        return ""
    trouble = _trouble_with_text(name)
    if trouble:
        problems.append(f"name = {_show(name)}: {trouble}")
    return str(name)


def _check_keypoints(
    fields: Mapping[str, Any], problems: list[str]
) -> tuple[tuple[str, ...], int | None]:
    """Names (the good ones), and how many there should be, None if that cannot be said."""
    if "keypoints" not in fields:
        had = ", ".join(_show(key) for key in fields if key not in ("name", "layout"))
        problems.append(
            "'keypoints' is missing: expected a list of names"
            + (f" (the keys are {had})" if had else "")
        )
        return (), None
    names = _as_list(fields["keypoints"])
    if names is None:
        problems.append(f"keypoints = {_show(fields['keypoints'])}: expected a list of names")
        return (), None
    if not names:
        problems.append("keypoints = []: expected at least one name")
        return (), None
    first_at: dict[str, int] = {}
    for k, name in enumerate(names):
        if not isinstance(name, str):
            trouble = f"expected a string, got {type(name).__name__}"
        else:
            trouble = _trouble_with_text(name)
            if not trouble and name in first_at:
                trouble = (
                    f"the name is already that of keypoints[{first_at[name]}]; each may stand once"
                )
        if trouble:
            problems.append(f"keypoints[{k}] = {_show(name)}: {trouble}")
        else:
            first_at[str(name)] = k
    return tuple(first_at), len(names)


def _trouble_with_text(text: str) -> str:
    if not text.strip():
        return "the name is empty" if not text else "the name is nothing but white space"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair, which no file or browser can hold"
    return ""


def _check_skeleton(
    skeleton: Any, index: Mapping[str, int], n_keypoints: int | None, problems: list[str]
) -> tuple[tuple[tuple[int, int], ...], str]:
    """1-based edges, and a warning about repeated ones."""
    if skeleton is None:
        return (), ""
    listed = _as_list(skeleton)
    if listed is None:
        problems.append(f"skeleton = {_show(skeleton)}: expected a list of pairs")
        return (), ""
    edges: list[tuple[int, int]] = []
    lowest, highest = math.inf, -math.inf
    first_at: dict[tuple[int, int], int] = {}
    repeated: list[str] = []
    n_repeated = 0
    for i, item in enumerate(listed):
        pair = _as_list(item)
        edge = _parse_edge(pair, index, n_keypoints)
        if isinstance(edge, str):
            problems.append(f"skeleton[{i}] = {_show(item if pair is None else pair)}: {edge}")
            for number in map(_as_int, pair or ()):
                if number is not None:
                    lowest, highest = min(lowest, number), max(highest, number)
            continue
        key = edge if edge[0] < edge[1] else (edge[1], edge[0])
        lowest, highest = min(lowest, key[0]), max(highest, key[1])
        if key in first_at:
            n_repeated += 1
            if n_repeated <= 20:
                repeated.append(f"skeleton[{i}] = {_show(pair)} repeats skeleton[{first_at[key]}]")
        else:
            first_at[key] = i
        edges.append(edge)
    if n_keypoints is not None and lowest == 0 and highest <= n_keypoints - 1:
        problems.append(
            f"skeleton: its numbers run from 0 to {int(highest)} and so look 0-based; "
            "keypoint numbers count from 1: add 1 to each"
        )
    warning = "; ".join(repeated)
    if n_repeated > len(repeated):
        warning += f"; and {n_repeated - len(repeated)} more"
    return tuple(edges), warning


def _parse_edge(
    pair: list[Any] | None, index: Mapping[str, int], n_keypoints: int | None
) -> tuple[int, int] | str:
    """1-based ends of an edge, or what is wrong with it."""
    if pair is None or len(pair) != 2:
        return "expected a pair, two keypoint numbers counted from 1 or two names"
    first, second = pair
    if isinstance(first, str) and isinstance(second, str):
        unknown = [end for end in dict.fromkeys(pair) if end not in index]
        if unknown:
            return "no keypoint is named " + " and ".join(map(_show, unknown))
        a, b = index[first] + 1, index[second] + 1
    else:
        numbers = _as_int(first), _as_int(second)
        if numbers[0] is None or numbers[1] is None:
            return (
                "expected two whole numbers or two names, got "
                f"{type(first).__name__} and {type(second).__name__}"
            )
        a, b = numbers[0], numbers[1]
        outside = [n for n in dict.fromkeys((a, b)) if n < 1 or n > (n_keypoints or math.inf)]
        if outside:
            return (
                f"{' and '.join(map(_show, outside))} outside 1..{n_keypoints or 'n_keypoints'} "
                "(keypoint numbers count from 1)"
            )
    return "the edge joins a keypoint with itself" if a == b else (a, b)


def _check_flip_pairs(
    flip_pairs: Any, index: Mapping[str, int], problems: list[str]
) -> tuple[tuple[str, str], ...]:
    if flip_pairs is None:
        return ()
    listed = _as_list(flip_pairs)
    if listed is None:
        problems.append(f"flip_pairs = {_show(flip_pairs)}: expected a list of pairs of names")
        return ()
    pairs: list[tuple[str, str]] = []
    first_at: dict[str, int] = {}
    for i, item in enumerate(listed):
        pair = _as_list(item)
        if pair is None or len(pair) != 2:
            problems.append(f"flip_pairs[{i}] = {_show(item)}: expected a pair of names")
            continue
        troubles = []
        if not all(isinstance(name, str) for name in pair):
            # Numbers are refused because other tools count them from 0 and COCO counts from 1.
            troubles.append("expected two names; numbers are not taken here")
        elif pair[0] == pair[1]:
            troubles.append("a keypoint cannot be paired with itself")
        else:
            for name in pair:
                if name in first_at:
                    troubles.append(
                        f"{_show(name)} is already in flip_pairs[{first_at[name]}]; "
                        "a keypoint has one partner"
                    )
                elif index and name not in index:
                    troubles.append(f"no keypoint is named {_show(name)}")
                first_at.setdefault(name, i)
        if troubles:
            problems.append(f"flip_pairs[{i}] = {_show(pair)}: {'; '.join(troubles)}")
            continue
        pairs.append((str(pair[0]), str(pair[1])))
    return tuple(pairs)


def _check_length(
    what: str, values: list[Any], n_keypoints: int | None, problems: list[str]
) -> None:
    if n_keypoints is not None and len(values) != n_keypoints:
        problems.append(
            f"{what}: has {len(values)} values, expected {n_keypoints}, one per keypoint"
        )


def _check_sigmas(
    sigmas: Any, n_keypoints: int | None, problems: list[str]
) -> tuple[float, ...] | None:
    if sigmas is None:
        return None
    listed = _as_list(sigmas)
    if listed is None:
        problems.append(f"sigmas = {_show(sigmas)}: expected a list of numbers")
        return None
    _check_length("sigmas", listed, n_keypoints, problems)
    numbers: list[float] = []
    for k, value in enumerate(listed):
        number = _as_float(value)
        if number is None or not (math.isfinite(number) and number > 0):
            problems.append(f"sigmas[{k}] = {_show(value)}: expected a finite number above 0")
        else:
            numbers.append(number)
    return tuple(numbers)


def _check_colors(
    colors: Any, n_keypoints: int | None, problems: list[str]
) -> tuple[str, ...] | None:
    if colors is None:
        return None
    listed = _as_list(colors)
    if listed is None:
        problems.append(f"colors = {_show(colors)}: expected a list of '#rrggbb'")
        return None
    _check_length("colors", listed, n_keypoints, problems)
    for k, value in enumerate(listed):
        if not (isinstance(value, str) and _COLOR.fullmatch(value)):
            problems.append(f"colors[{k}] = {_show(value)}: expected '#rrggbb', like '#0072b2'")
    return tuple(str(value).lower() for value in listed)


def _check_layout(
    layout: Any, n_keypoints: int | None, problems: list[str]
) -> tuple[tuple[float, float], ...] | None:
    if layout is None:
        return None
    listed = _as_list(layout)
    if listed is None:
        problems.append(f"layout = {_show(layout)}: expected a list of [x, y]")
        return None
    _check_length("layout", listed, n_keypoints, problems)
    points: list[tuple[float, float]] = []
    for k, item in enumerate(listed):
        xy = [_as_float(value) for value in _as_list(item) or ()]
        x, y = xy if len(xy) == 2 else (None, None)
        if x is None or y is None or not (0 <= x <= 1 and 0 <= y <= 1):
            problems.append(f"layout[{k}] = {_show(item)}: expected [x, y], both in 0..1")
        else:
            points.append((x, y))
    return tuple(points)


def _check_aliases(
    aliases: Any, index: Mapping[str, int], problems: list[str]
) -> tuple[tuple[str, tuple[str, ...]], ...] | None:
    if aliases is None:
        return None
    if not isinstance(aliases, Mapping):
        problems.append(
            f"aliases = {_show(aliases)}: expected an object from keypoint to a list of names"
        )
        return None
    checked: list[tuple[str, tuple[str, ...]]] = []
    for keypoint, others in aliases.items():
        place = f"aliases[{_show(keypoint)}]"
        listed = _as_list(others)
        if index and keypoint not in index:
            problems.append(f"{place}: no keypoint is named {_show(keypoint)}")
        if listed is None or not all(isinstance(other, str) for other in listed):
            problems.append(f"{place} = {_show(others)}: expected a list of names")
            continue
        troubles = {other: _trouble_with_text(other) for other in listed}
        problems += [f"{place}: {_show(other)}: {why}" for other, why in troubles.items() if why]
        checked.append((keypoint, tuple(listed)))
    return tuple(checked)


def _check_part_ranges(
    parts: Any, n_keypoints: int | None, problems: list[str]
) -> tuple[tuple[str, tuple[int, int]], ...] | None:
    if parts is None:
        return None
    if not isinstance(parts, Mapping):
        problems.append(
            f"parts = {_show(parts)}: expected an object from name to [first, last], keypoint "
            "numbers counted from 1"
        )
        return None
    checked: list[tuple[str, tuple[int, int]]] = []
    for part, ends in parts.items():
        numbers = [_as_int(end) for end in _as_list(ends) or ()]
        first, last = numbers if len(numbers) == 2 else (None, None)
        highest = math.inf if n_keypoints is None else n_keypoints
        if not isinstance(part, str) or _trouble_with_text(part):
            problems.append(f"parts: the key {_show(part)}: expected a name")
        elif first is None or last is None or not 1 <= first <= last <= highest:
            problems.append(
                f"parts[{_show(part)}] = {_show(ends)}: expected [first, last], keypoint numbers "
                f"in 1..{n_keypoints or 'n_keypoints'}"
            )
        else:
            checked.append((part, (first, last)))
    return tuple(checked)


def _check_by_name(
    what: str,
    given: Any,
    index: Mapping[str, int],
    check: Callable[[Any], _Checked | _Trouble],
    problems: list[str],
) -> tuple[tuple[str, _Checked], ...]:
    """The values of an object from keypoint to something, in the order of the keypoints."""
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        problems.append(f"{what} = {_show(given)}: expected an object by the names of keypoints")
        return ()
    checked: list[tuple[str, _Checked]] = []
    for keypoint, value in given.items():
        place = f"{what}[{_show(keypoint)}]"
        if index and keypoint not in index:
            problems.append(f"{place}: no keypoint is named {_show(keypoint)}")
        found = check(value)
        if isinstance(found, _Trouble):
            problems.append(f"{place} = {_show(value)}: {found.why}")
        else:
            checked.append((keypoint, found))
    return tuple(sorted(checked, key=lambda one: index.get(one[0], 0)))


def _check_definition(value: Any) -> str | _Trouble:
    if not isinstance(value, str):
        return _Trouble(f"expected a string, got {type(value).__name__}")
    trouble = _trouble_with_text(value)
    if not trouble and len(value) > _MAX_DEFINITION:
        trouble = f"has {len(value)} characters, expected at most {_MAX_DEFINITION}"
    if not trouble and len(value.splitlines()) > 1:
        trouble = "expected one line"
    return _Trouble(trouble) if trouble else str(value)


def _check_reference(value: Any) -> bytes | _Trouble:
    """The bytes of a small PNG or JPEG file that every browser shows, or what is wrong."""
    if isinstance(value, str):
        if len(value) > 2 * _MAX_REFERENCE_BYTES:
            return _Trouble(f"expected a file of at most {_MAX_REFERENCE_BYTES:,} bytes")
        head, _, coded = value.partition(";base64,")
        if head not in ("data:image/png", "data:image/jpeg"):
            return _Trouble("expected 'data:image/png;base64,...' or 'data:image/jpeg;base64,...'")
        try:
            value = base64.b64decode(coded, validate=True)
        except ValueError as error:
            return _Trouble(f"not base64: {error}")
    if not isinstance(value, bytes):
        return _Trouble(f"expected the bytes of a PNG or JPEG file, got {type(value).__name__}")
    if len(value) > _MAX_REFERENCE_BYTES:
        return _Trouble(f"has {len(value):,} bytes, expected at most {_MAX_REFERENCE_BYTES:,}")
    from kpwidget.images import trouble_with_small_picture

    trouble = trouble_with_small_picture(value, REFERENCE_SIDE)
    return _Trouble(trouble) if trouble else value


def reference_to_url(data: bytes) -> str:
    """``data:`` URL of a reference picture, as it stands in metadata.

    Parameters
    ----------
    data : bytes
        A PNG or JPEG file.

    Returns
    -------
    str
    """
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _as_list(value: Any) -> list[Any] | None:
    """`value` as a list if it is an ordered collection that is not text, else None."""
    if isinstance(value, np.ndarray):
        return list(value.tolist()) if value.ndim else None
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return list(value)
    return None


def _as_int(value: Any) -> int | None:
    # bool is an int to Python, but true is not a keypoint number.
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    return None


def _as_float(value: Any) -> float | None:
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    return None


_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = 80
_shorten.maxlist = _shorten.maxtuple = _shorten.maxdict = 6
_shorten.maxlevel = 3


def _show(value: Any) -> str:
    """`repr`, cut to a length fit for a message."""
    try:
        text = _shorten.repr(value)
    except ValueError:  # Python refuses to write out integers of more than 4300 digits
        return f"<{type(value).__name__} too long to show>"
    # Six long texts in each of six lists are too much as well.
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def _where(name: Any) -> str:
    return "schema" if name is None else f"schema {_show(name)}"


# --- sides and colours --------------------------------------------------------------------------

# Words of a name: split at anything but letters, and where camelCase starts a new word.
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[^\W\d_]")


def _leftness(name: str) -> int:
    """How many words of the name say left, less those that say right."""
    count = 0
    for word in _WORD.findall(name):
        word = word.lower()
        if word == "l" or word.startswith("left"):
            count += 1
        elif word == "r" or word.startswith("right"):
            count -= 1
    return count


def _name_key(name: str) -> str:
    """What is left of a name without capitals and separators, its one word for a side in front.

    A name with several words for sides keeps their order: it says more than which side it is on.
    """
    words: list[str] = []
    for word in re.findall(rf"{_WORD.pattern}|\d+", name):
        word = {"l": "left", "r": "right"}.get(word.lower(), word.lower())
        side = next((side for side in ("left", "right") if word.startswith(side)), "")
        words += [part for part in (side, word[len(side) :]) if part]
    sides = [word for word in words if word in ("left", "right")]
    if len(sides) == 1:
        words.remove(sides[0])
        words.insert(0, f"{sides[0]}:")
    return "".join(words) or name


def _sides_of_pair(first: str, second: str) -> tuple[str, str]:
    return ("left", "right") if _leftness(first) >= _leftness(second) else ("right", "left")


def _pairs_by_name(names: Sequence[str]) -> list[tuple[int, int]]:
    """Left and right of names that are the same but for the word of their side."""
    found: dict[tuple[str, ...], dict[int, list[int]]] = {}
    for k, name in enumerate(names):
        side = _leftness(name)
        if side in (1, -1):
            words = tuple("" if _leftness(word) else word.lower() for word in _WORD.findall(name))
            numbers = re.findall(r"\d+", name)
            found.setdefault((*words, *numbers), {}).setdefault(side, []).append(k)
    pairs = [(of.get(1, []), of.get(-1, [])) for of in found.values()]
    return [(left[0], right[0]) for left, right in pairs if len(left) == len(right) == 1]


def _default_colors(
    sides: Sequence[str | None], flip_indices: NDArray[np.int64]
) -> tuple[str, ...]:
    if all(side is None for side in sides):
        return tuple(INSTANCE_COLORS[k % len(INSTANCE_COLORS)] for k in range(len(sides)))
    colors = [""] * len(sides)
    n_pairs = n_unpaired = 0
    for k, side in enumerate(sides):
        if colors[k]:
            continue
        if side is None:
            colors[k] = _UNPAIRED_COLORS[n_unpaired % len(_UNPAIRED_COLORS)]
            n_unpaired += 1
            continue
        partner = int(flip_indices[k])
        left, right = (k, partner) if side == "left" else (partner, k)
        colors[left] = _LEFT_COLORS[n_pairs % len(_LEFT_COLORS)]
        colors[right] = _RIGHT_COLORS[n_pairs % len(_RIGHT_COLORS)]
        n_pairs += 1
    return tuple(colors)


# --- JSON ---------------------------------------------------------------------------------------


def _decode(data: bytes, where: str) -> str:
    for bom, encoding in (
        (b"\xef\xbb\xbf", "UTF-8"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
    ):
        if data.startswith(bom):
            raise FormatError.from_problems(
                where,
                [
                    f"byte 0: the file begins with a {encoding} byte order mark, which JSON does "
                    "not allow; save it as UTF-8 without BOM"
                ],
            )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError.from_problems(
            where, [f"byte {error.start}: not UTF-8 ({error.reason}); save the file as UTF-8"]
        ) from error


def _parse_json(
    text: str, where: str, *, hint_at_file: bool = False, first_byte: int | None = None
) -> Any:
    """Parse strict JSON text: no BOM, NaN, Infinity, overflow or key given twice.

    With `first_byte`, the one of a file at which the text begins, messages name bytes of the file.
    """
    if text.startswith("\ufeff"):
        raise FormatError.from_problems(
            where,
            [
                "line 1, column 1: the text begins with a byte order mark, which JSON does not "
                "allow; read the file with encoding='utf-8-sig' or save it without BOM"
            ],
        )
    is_strict = True

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal is_strict
        value = dict(pairs)
        is_strict = is_strict and len(value) == len(pairs)
        return value

    def constant(_: str) -> float:
        nonlocal is_strict
        is_strict = False
        return math.nan

    def number(digits: str) -> float:
        nonlocal is_strict
        value = float(digits)
        is_strict = is_strict and math.isfinite(value)
        return value

    try:
        value = json.loads(
            text, object_pairs_hook=object_of, parse_constant=constant, parse_float=number
        )
    except json.JSONDecodeError as error:
        hint = ""
        if hint_at_file and len(text) < 4096 and os.path.exists(text):
            hint = (
                f"; a file of this name exists: to read it pass a path, pathlib.Path({_show(text)})"
            )
        place = f"line {error.lineno}, column {error.colno}"
        if first_byte is not None:
            place = f"byte {first_byte + len(text[: error.pos].encode())}"
        raise FormatError.from_problems(where, [f"not JSON: {place}: {error.msg}{hint}"]) from error
    except RecursionError as error:
        raise FormatError.from_problems(where, [_TOO_DEEP]) from error
    except ValueError as error:  # an integer of more than 4300 digits
        raise FormatError.from_problems(where, [f"not usable as JSON: {error}"]) from error
    if not is_strict:
        raise FormatError.from_problems(where, _find_lax_json(text, first_byte))
    return value


_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]|-?Infinity|NaN|-?\d[\d.eE+-]*', re.DOTALL)
_JSON_COLON = re.compile(r"\s*:")


def _find_lax_json(text: str, first_byte: int | None) -> list[str]:
    """Where well-formed JSON has a key twice, NaN, Infinity or a number too large."""
    problems = []
    open_objects: list[set[str] | None] = []
    line, counted, line_start, byte = 1, 0, 0, first_byte or 0
    for match in _JSON_TOKEN.finditer(text):
        token = match.group()
        trouble = ""
        if token in "{[":
            open_objects.append(set() if token == "{" else None)
        elif token in "}]":
            open_objects.pop()
        elif token.startswith('"'):
            keys = open_objects[-1] if open_objects else None
            if keys is not None and _JSON_COLON.match(text, match.end()):
                key = json.loads(token)
                if key in keys:
                    trouble = f"the key {_show(key)} is given twice in one object"
                keys.add(key)
        elif token in ("NaN", "Infinity", "-Infinity"):
            trouble = f"{token} is not JSON"
        elif any(mark in token for mark in ".eE") and not math.isfinite(float(token)):
            trouble = f"the number {_show(token)} is too large for a float"
        if trouble:
            # From where the last one was: there may be as many as there are tokens.
            line += text.count("\n", counted, match.start())
            line_start = max(line_start, text.rfind("\n", counted, match.start()) + 1)
            byte += len(text[counted : match.start()].encode())
            counted = match.start()
            place = f"line {line}, column {counted - line_start + 1}"
            problems.append(f"{place if first_byte is None else f'byte {byte}'}: {trouble}")
            if len(problems) > _MAX_FAULTS:
                return [*problems, "and perhaps more, for the rest was not looked at"]
    return problems


def _copy_json(value: Any, place: str, depth: int, problems: list[str]) -> Any:
    """Copy a JSON value as plain dicts and lists, and name what JSON could not hold."""
    if depth > _MAX_JSON_DEPTH:
        raise RecursionError
    if isinstance(value, Mapping):
        copied = {}
        for key, item in value.items():
            if not isinstance(key, str):
                problems.append(f"{place or 'metadata'}: the key {_show(key)} is not a string")
                continue
            inner = f"{place}.{_shorten_key(key)}" if place else _shorten_key(key)
            copied[str(key)] = _copy_json(item, inner, depth + 1, problems)
        return copied
    listed = _as_list(value)
    if listed is not None:
        # Most values are plain; building the place of each would take most of the time.
        return [
            item
            if type(item) in (str, int)
            else _copy_json(item, f"{place}[{i}]", depth + 1, problems)
            for i, item in enumerate(listed)
        ]
    if value is None:
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        if not math.isfinite(value):
            problems.append(f"{place} = {_show(float(value))}: JSON has no such number")
        return float(value)
    problems.append(
        f"{place} = {_show(value)}: JSON cannot hold a value of type {type(value).__name__}"
    )
    return None


def _shorten_key(key: str) -> str:
    return key if len(key) <= 40 and key.isprintable() else _show(key)


def _name_categories(categories: Any) -> str:
    names = [
        _show(category["name"])
        for category in (categories if isinstance(categories, list) else ())
        if isinstance(category, Mapping) and "name" in category
    ]
    if not names:
        return ""
    return f" (they are {', '.join(names[:10])}{', ...' if len(names) > 10 else ''})"
