"""One self-contained HTML page: headings, tables and figures, with nothing fetched and no script.

Whatever is put into a page is text: a name from a stranger's file cannot become markup.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from kpwidget._version import __version__
from kpwidget.formats import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Bar", "Page", "drawn"]

#: How a page of ours begins: only such a file is replaced.
_BEGINNING: Final = (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta name="generator" content="kpwidget'
)
#: Figures that take more bytes as lines and texts are put in as pixels.
_MAX_SVG: Final = 250_000
_STYLE: Final = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 24px 28px 48px; max-width: 1040px; color: #1c1c1c;
  background: #ffffff; font: 14px/1.45 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { margin: 0 0 2px; font-size: 24px; overflow-wrap: anywhere; }
h2 { margin: 34px 0 8px; padding-bottom: 3px; border-bottom: 1px solid #c8c8c8; font-size: 18px;
  overflow-wrap: anywhere; }
h3 { margin: 22px 0 6px; font-size: 15px; overflow-wrap: anywhere; }
p { margin: 6px 0; max-width: 75ch; overflow-wrap: anywhere; }
.lead { color: #555555; }
nav { margin: 14px 0 0; }
nav a { margin-right: 14px; color: #0b5cad; }
table { margin: 8px 0 14px; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 12px 3px 0; border-bottom: 1px solid #e4e4e4; text-align: left;
  vertical-align: top; max-width: 460px; overflow-wrap: break-word; }
th { color: #555555; font-weight: 600; }
td.number, th.number { text-align: right; white-space: nowrap; }
.bar { display: flex; width: 180px; height: 12px; margin-top: 4px; background: #ececec; }
.bar i { display: block; height: 100%; }
.key i { display: inline-block; width: 11px; height: 11px; margin: 0 4px 0 0; }
.key span { margin-right: 16px; }
.figures { display: flex; flex-wrap: wrap; gap: 14px 22px; align-items: flex-start; }
figure { margin: 8px 0; max-width: 100%; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { color: #555555; font-size: 13px; max-width: 75ch; }
@page { margin: 14mm; }
@media print {
  body { padding: 0; max-width: none; font-size: 10pt; }
  nav { display: none; }
  h2, h3 { break-after: avoid; }
  figure, tr { break-inside: avoid; }
  thead { display: table-header-group; }
  .bar, .bar i, .key i { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


@dataclass(frozen=True)
class Bar:
    """A cell of a table with shares of a whole, drawn next to one another.

    Attributes
    ----------
    shares : sequence of float
        From 0 to 1.
    colors : sequence of str
        '#rrggbb', one a share.
    """

    shares: Sequence[float]
    colors: Sequence[str]


Cell = str | int | float | Bar | None


class Page:
    """A page that grows by what is added to it.

    Parameters
    ----------
    title : str
    lead : str
        A line below it.
    """

    def __init__(self, title: str, lead: str = "") -> None:
        self._title = title
        self._lead = lead
        self._body: list[str] = []
        self._headings: list[str] = []

    def heading(self, text: str, level: Literal[2, 3] = 2) -> None:
        """Add a heading; those of level 2 are listed at the top."""
        anchor = ""
        if level == 2:
            self._headings.append(text)
            anchor = f' id="part-{len(self._headings)}"'
        self._body.append(f"<h{level}{anchor}>{_text(text)}</h{level}>")

    def paragraph(self, text: str) -> None:
        """Add a paragraph."""
        self._body.append(f"<p>{_text(text)}</p>")

    def key(self, names: Iterable[tuple[str, str]]) -> None:
        """Say what the colours of bars mean: (name, '#rrggbb')."""
        parts = (
            f'<span><i style="background:{_color(color)}"></i>{_text(name)}</span>'
            for name, color in names
        )
        self._body.append(f'<p class="key">{"".join(parts)}</p>')

    def table(self, rows: Iterable[Sequence[Cell]], header: Sequence[str] = ()) -> None:
        """Add a table; numbers stand to the right, and a row's first cell is its name.

        Parameters
        ----------
        rows : iterable of sequence
            Texts, numbers, `Bar`, or None for an empty cell.
        header : sequence of str, optional
        """
        lines = [list(row) for row in rows]
        is_number = [
            all(isinstance(row[i], int | float) or row[i] is None for row in lines)
            for i in range(max(map(len, lines), default=0))
        ]
        parts = ["<table>"]
        if header:
            cells = (
                f"<th{_class(i < len(is_number) and is_number[i])}>{_text(name)}</th>"
                for i, name in enumerate(header)
            )
            parts.append(f"<thead><tr>{''.join(cells)}</tr></thead>")
        parts.append("<tbody>")
        for row in lines:
            cells = (
                f"<{tag}{_class(is_number[i])}>{_cell(value)}</{tag}>"
                for i, value in enumerate(row)
                for tag in ("th" if i == 0 and not header else "td",)
            )
            parts.append(f"<tr>{''.join(cells)}</tr>")
        parts.append("</tbody></table>")
        self._body.append("".join(parts))

    def figures(
        self, figures: Iterable[tuple[Figure, str]], kind: Literal["svg", "jpeg"] = "svg"
    ) -> None:
        """Add figures beside one another, each with a caption.

        Parameters
        ----------
        figures : iterable of (matplotlib.figure.Figure, str)
        kind : {'svg', 'jpeg'}
            'jpeg' for figures with photographs. 'svg' is for all else; where that would be too
            large it becomes pixels.
        """
        parts = []
        for figure, caption in figures:
            data, mime = _encoded(figure, kind)
            width = round(figure.get_figwidth() * 96)
            source = f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"
            parts.append(
                f'<figure><img src="{source}" width="{width}" alt="{_text(caption)}">'
                f"<figcaption>{_text(caption)}</figcaption></figure>"
            )
        self._body.append(f'<div class="figures">{"".join(parts)}</div>')

    def html(self) -> str:
        """Return the page."""
        links = "".join(
            f'<a href="#part-{n}">{_text(name)}</a>' for n, name in enumerate(self._headings, 1)
        )
        return (
            f'{_BEGINNING} {__version__}">\n<meta charset="utf-8">\n'
            # Whatever got into it: no script runs and nothing is fetched.
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{_text(self._title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
            f'<h1>{_text(self._title)}</h1>\n<p class="lead">{_text(self._lead)}</p>\n'
            f"<nav>{links}</nav>\n" + "\n".join(self._body) + "\n</body>\n</html>\n"
        )

    def refuse(self, path: Path) -> None:
        """Raise what `write` would raise because of the path, before there is anything to write."""
        if path.suffix.lower() not in (".html", ".htm"):
            what = "that is a folder" if path.is_dir() else f"got {path.suffix!r}"
            raise ValueError(
                f"{path}: a report is a web page, expected a file name that ends in .html; {what}"
            )
        if path.exists():
            with open(path, "rb") as file:
                is_ours = file.read(len(_BEGINNING)) == _BEGINNING.encode()
            if not is_ours:
                raise FileExistsError(
                    f"{path}: there is a file that is not a report of kpwidget; it was left as it "
                    "is. Remove it, or write the report to another name"
                )

    def write(self, path: Path) -> Path:
        """Write the page; a file that is there is replaced if it is such a page.

        Parameters
        ----------
        path : Path

        Returns
        -------
        Path

        Raises
        ------
        ValueError
            If the file's name does not end in .html or .htm.
        FileExistsError
            If something else is there: it is left as it is.
        """
        self.refuse(path)
        write_file(path, [self.html().encode("utf-8", "replace")])
        return path


def drawn(plot: Any, *args: Any, size: tuple[float, float], **options: Any) -> Figure:
    """Draw on a figure of its own, outside of pyplot, and return the figure; size in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    plot(*args, ax=figure.subplots(), **options)
    return figure


def _text(value: str) -> str:
    """A text as HTML; control characters, which no page may hold, become spaces."""
    return html.escape("".join(c if c.isprintable() or c == "\n" else " " for c in value))


def _class(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _color(color: str) -> str:
    if len(color) != 7 or color[0] != "#":
        raise ValueError(f"color: expected '#rrggbb', got {color!r}")
    return f"#{int(color[1:], 16):06x}"


def _cell(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, Bar):
        parts = []
        for share, color in zip(value.shares, value.colors, strict=True):
            width = 100 * min(1.0, max(0.0, share))
            parts.append(f'<i style="width:{width:.2f}%;background:{_color(color)}"></i>')
        return f'<div class="bar">{"".join(parts)}</div>'
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return _text(value)


def _encoded(figure: Figure, kind: Literal["svg", "jpeg"]) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    if kind == "svg":
        # No date: the same labels give the same page.
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        if buffer.tell() <= _MAX_SVG:
            return buffer.getvalue(), "image/svg+xml"
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=144)
        return buffer.getvalue(), "image/png"
    figure.savefig(buffer, format="jpeg", dpi=144, pil_kwargs={"quality": 82})
    return buffer.getvalue(), "image/jpeg"
