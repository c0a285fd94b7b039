"""XML from strangers, read in pieces under limits, and text put into XML.

defusedxml reads it: no document type, no entities of the file's own, nothing fetched.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast
from xml.etree import ElementTree as ET  # only to name types and to write; defusedxml reads

from kpwidget.schema import FormatError, _show

__all__ = ["attribute", "iter_xml", "parse_xml", "xml_of"]

MAX_DEPTH: Final = 50
"""Elements inside one another; CVAT's files have 7 levels."""

# Not characters of XML 1.0, section 2.2, however they are written.
_NO_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ESCAPES: Final = {
    "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;",
    "\t": "&#9;", "\n": "&#10;", "\r": "&#13;",
}  # fmt: skip
_TO_ESCAPE: Final = re.compile('[&<>"\t\n\r]')


class _InPieces:
    """A file read in pieces that grow with what was read already, to a 32nd of it.

    expat before 2.6 begins an unfinished tag anew with every piece, so that one of 10 MB takes 6 s
    in pieces of 16 KiB.
    """

    def __init__(self, file: Any) -> None:
        self._file, self._n_read = file, 0

    def read(self, size: int) -> Any:
        piece = self._file.read(max(size, self._n_read // 32))
        self._n_read += len(piece)
        return piece


def iter_xml(
    source: Path | str, where: str, desc: str | None = None
) -> Iterator[tuple[str, ET.Element, int]]:
    """Yield the elements of a file, or of a text, as they begin and end.

    Parameters
    ----------
    source : Path or str
        A path, or the text itself.
    where : str
        For messages.
    desc : str, optional
        What a progress bar says, which shows after a second.

    Yields
    ------
    event : 'start' or 'end'
    element : Element
        Whole when it ends. The caller clears what it needs no more.
    depth : int
        1 for the outermost.

    Raises
    ------
    FormatError
        If it is not well-formed XML, or has a document type, entities or more than 50 levels.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import iterparse
    from tqdm.auto import tqdm

    depth = 0
    size = source.stat().st_size if isinstance(source, Path) else None
    opened: Any = source.open("rb") if isinstance(source, Path) else io.StringIO(source)
    shown: dict[str, Any] = {"disable": True} if desc is None else {"desc": desc, "delay": 1.0}
    with (
        opened as file,
        tqdm(total=size, unit="B", unit_scale=True, leave=False, **shown) as bar,
    ):
        try:
            for event, element in iterparse(
                _InPieces(file), events=("start", "end"), forbid_dtd=True
            ):
                depth += event == "start"
                if depth > MAX_DEPTH:
                    raise FormatError.from_problems(
                        where, [f"more than {MAX_DEPTH} elements inside one another"]
                    )
                yield event, element, depth
                if event == "end":
                    depth -= 1
                    if depth == 1 and desc is not None:
                        bar.update(file.tell() - bar.n)
        except DefusedXmlException as error:
            raise FormatError.from_problems(
                where,
                [
                    "has a document type or entities, which labels never need and which can make "
                    f"a small file a huge one; take them out ({type(error).__name__})"
                ],
            ) from error
        except ET.ParseError as error:
            raise FormatError.from_problems(where, [f"not well-formed XML: {error}"]) from error
        except (LookupError, UnicodeError, ValueError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError.from_problems(
                where, [f"cannot be read as XML: {_show(str(error))}; save it as UTF-8"]
            ) from error


def parse_xml(text: str, where: str) -> ET.Element:
    """Outermost element of a text; see `iter_xml`.

    Parameters
    ----------
    text, where : str

    Raises
    ------
    FormatError
        See `iter_xml`.
    """
    element: ET.Element | None = None
    for _, element, _ in iter_xml(text, where):  # noqa: B007 - the last to end is the outermost
        pass
    return cast("ET.Element", element)


def xml_of(element: ET.Element) -> str:
    """Text of an element, without what follows it."""
    element.tail = None
    text = ET.tostring(element, encoding="unicode", short_empty_elements=False).strip()
    return text.replace("\r", "&#13;")  # as it is, it would be read as a line feed


def attribute(text: str, what: str) -> str:
    """`text` with quotes around it, as the value of an attribute.

    Parameters
    ----------
    text : str
    what : str
        Whose it is, for messages.

    Raises
    ------
    ValueError
        If it has characters that XML cannot hold: control characters, half of a pair.
    """
    if text.isalnum() and text.isascii():  # most are
        return f'"{text}"'
    if _NO_XML.search(text):
        raise ValueError(f"{what}: {_show(text)} has characters that XML cannot hold; rename it")
    return '"' + _TO_ESCAPE.sub(lambda match: _ESCAPES[match[0]], text) + '"'
