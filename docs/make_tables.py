"""Make the tables of ``formats.md`` of what each format keeps and loses, from the one in the code.

Run it after a change of ``kpwidget/formats/table.py``::

    .venv/bin/python docs/make_tables.py
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from kpwidget.formats import FORMATS  # noqa: E402
from kpwidget.formats.table import fields_table, formats_table  # noqa: E402

PAGE = Path(__file__).with_name("formats.md")
MARKED = re.compile(r"(<!-- table: (.*?) -->\n).*?(\n<!-- end of table -->)", re.DOTALL)
"""A table of the page: ``all`` is that of all formats, any other name that of one."""


def with_tables(text: str) -> str:
    """Return the text of the page with its tables made anew."""

    def table(match: re.Match[str]) -> str:
        name = match[2]
        made = formats_table(FORMATS.values()) if name == "all" else fields_table(FORMATS[name])
        return match[1] + made + match[3]

    return MARKED.sub(table, text)


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
