"""What README and docs promise: the ten lines run, the key table is right, links lead somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
README = REPOSITORY / "README.md"
DOCUMENTS = [README, *sorted((REPOSITORY / "docs").glob("*.md"))]


def ten_lines() -> str:
    """The README's first block of Python."""
    found = re.search(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    assert found is not None, "README.md has no ```python block"
    return found.group(1)


@pytest.fixture
def pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names that are there after the ten lines ran in an empty folder."""
    pytest.importorskip("skimage", reason="the photograph comes with scikit-image")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(ten_lines(), "README.md", "exec"), names)
    return names


def test_the_lines_are_ten() -> None:
    assert len([line for line in ten_lines().splitlines() if line.strip()]) == 10


def test_the_lines_end_with_the_widget(pasted: dict[str, Any]) -> None:
    last = ten_lines().splitlines()[-1]
    widget = pasted[last]
    assert type(widget).__name__ == "Annotator"
    assert widget.dataset is pasted["ds"]
    assert widget.image.file_name == "astronaut"
    widget.close()


def test_the_file_they_write_is_coco(pasted: dict[str, Any], tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    coco = COCO(str(tmp_path / "labels.json"))
    [annotation] = coco.loadAnns(coco.getAnnIds())
    # The numbers are those in the README: nose, left_eye, right_eye, then 14 unlabeled points.
    assert annotation["keypoints"] == [224, 121, 2, 248, 103, 2, 202, 100, 2] + [0] * 42
    assert coco.loadImgs(annotation["image_id"])[0]["file_name"] == "astronaut"


def test_what_they_read_back_is_equal(pasted: dict[str, Any]) -> None:
    assert pasted["again"].differences(pasted["ds"]) == []


def test_key_table_of_the_docs_is_the_key_table_of_the_code() -> None:
    source = (REPOSITORY / "js/src/input.ts").read_text(encoding="utf-8")
    start = source.index("KEY_TABLE: readonly KeyRow[] = [")
    table = source[start : source.index("\n];", start)]
    text = r'"(?:[^"\\]|\\.)*"'
    rows = [
        tuple(json.loads(part) for part in row)
        for row in re.findall(rf"keys:\s*({text}),\s*does:\s*({text})", table)
    ]
    # Each row of the source was understood, so none can be missing from the comparison.
    assert len(rows) == len(re.findall(r"\bkeys:", table)) > 20
    in_code = [row for row in rows if row[0]]  # a row without keys only adds a binding

    page = (REPOSITORY / "docs/widget.md").read_text(encoding="utf-8")
    part = page[page.index("<!-- keys:") : page.index("<!-- end of keys -->")]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    in_docs = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]
    assert in_docs == in_code


@pytest.mark.parametrize("document", [pytest.param(path, id=path.name) for path in DOCUMENTS])
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text)]
    local = [target for target in targets if target and "://" not in target]
    missing = [target for target in local if not (document.parent / target).exists()]
    assert missing == []


def test_pictures_of_the_docs_are_small() -> None:
    sizes = {p.name: p.stat().st_size for p in (REPOSITORY / "docs/images").glob("*.png")}
    assert "annotator.png" in sizes
    assert [name for name, size in sizes.items() if size > 250_000] == []
