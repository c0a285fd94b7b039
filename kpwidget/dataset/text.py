"""`FileText`: the bytes of a labels file, kept so that what is not edited is written as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["FileText", "RecordKind", "RecordsAt"]

RecordKind = Literal["images", "annotations", "categories"]


class FileText:
    """The bytes of a JSON file and where the records of its lists lie. Never changed.

    Parameters
    ----------
    data : bytes
        The whole file.
    spans : mapping of str to ndarray of shape (n, 2)
        For each list of records, where each begins and ends in `data`.
    outer : str
        The text with these lists empty: what stands at the top level.
    bounds : mapping of str to (int, int)
        Where each list begins and ends, its brackets included.
    """

    __slots__ = ("bounds", "data", "outer", "spans")

    def __init__(
        self,
        data: bytes,
        spans: Mapping[RecordKind, NDArray[np.int64]],
        outer: str,
        bounds: Mapping[RecordKind, tuple[int, int]],
    ) -> None:
        self.data = data
        self.spans = spans
        self.outer = outer
        self.bounds = bounds

    def raw(self, kind: RecordKind, position: int) -> bytes:
        """Return the bytes of a record."""
        start, end = self.spans[kind][position].tolist()
        return self.data[start:end]

    def record(self, kind: RecordKind, position: int) -> Any:
        """Return a record as Python objects, its fields in their order."""
        return json.loads(self.raw(kind, position))

    def __repr__(self) -> str:
        """Size and counts."""
        counts = ", ".join(f"{len(spans)} {kind}" for kind, spans in self.spans.items())
        return f"FileText({len(self.data)} bytes: {counts})"

    def __deepcopy__(self, memo: Any) -> FileText:
        """Return itself: it is never changed."""
        return self


class RecordsAt(Mapping[int, Any]):
    """Some records of a text by their position, made when asked for.

    Parameters
    ----------
    text : FileText
    kind : str
    positions : ndarray of shape (n,)
        Rising.
    """

    __slots__ = ("_kind", "_text", "positions")

    def __init__(self, text: FileText, kind: RecordKind, positions: NDArray[np.int64]) -> None:
        self._text = text
        self._kind: RecordKind = kind
        self.positions = positions

    def __getitem__(self, position: int) -> Any:
        """Return the record at a position of the file's list."""
        if position not in self:
            raise KeyError(position)
        return self._text.record(self._kind, position)

    def __contains__(self, position: object) -> bool:
        """Whether it is one of them."""
        if not isinstance(position, int | np.integer):
            return False
        i = int(np.searchsorted(self.positions, position))
        return i < len(self.positions) and int(self.positions[i]) == position

    def __iter__(self) -> Iterator[int]:
        """Iterate over the positions."""
        return iter(self.positions.tolist())

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.positions)
