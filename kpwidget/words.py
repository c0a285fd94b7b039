"""Numbers in sentences: `count`."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["count"]

_AFTER_NOUN: Final = re.compile(r"( (?:of|on|that|with|without|outside|partly|labeled)\b.*)")


def count(n: int, noun: str) -> str:
    """A number with its noun, as messages, captions and reports tell it.

    Parameters
    ----------
    n : int
    noun : str
        In the singular; of several words that which comes before "of", "that", "on", "with" and
        the like is put into the plural.

    Returns
    -------
    str

    Examples
    --------
    >>> count(1, "image"), count(3, "category"), count(1200, "bbox without a size")
    ('1 image', '3 categories', '1,200 bboxes without a size')
    """
    if n == 1:
        return f"1 {noun}"
    parts = _AFTER_NOUN.split(noun, maxsplit=1)
    return f"{n:,} {_plural(parts[0])}{''.join(parts[1:])}"


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("x", "s", "ch")) else f"{noun}s"
