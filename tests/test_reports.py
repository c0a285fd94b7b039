"""The page about a dataset: its numbers, that it is one closed file, and that names stay text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import kpwidget as kp
from kpwidget import cli
from kpwidget.dataset import Dataset
from kpwidget.page import Bar, Page


class Reader(HTMLParser):
    """Tags, attributes and texts of a page, as a browser would take it apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._cell: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = self.rows[-1]

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell is not None:
            self._cell[-1] += data


def read(path: Path) -> Reader:
    return Reader(path.read_text(encoding="utf-8"))


def test_numbers_of_a_small_dataset(tiny_dataset: Dataset, tmp_path: Path) -> None:
    page = read(kp.report(tiny_dataset, tmp_path / "report.html", n_examples=0))
    assert ["images", "3"] in page.rows
    assert ["with an instance", "1"] in page.rows
    assert ["instances", "2"] in page.rows
    assert ["labeled keypoints", "5"] in page.rows  # animal: 3 of 4, bolt: 2 of 2
    # animal: nose and tail visible, left_eye occluded, right_eye unlabeled.
    assert ["1", "nose", "", "1", "0", "0", "100.0", ""] in page.rows
    assert ["2", "left_eye", "left", "0", "1", "0", "100.0", ""] in page.rows
    assert ["3", "right_eye", "right", "0", "0", "1", "0.0", ""] in page.rows
    assert ["1", "head", "", "1", "0", "0", "100.0", ""] in page.rows
    assert ["2", "tip", "", "0", "1", "0", "100.0", ""] in page.rows
    assert ["ada", "2"] in page.rows


def test_only_a_selection(tiny_dataset: Dataset, tmp_path: Path) -> None:
    some = tiny_dataset.select(category="bolt")
    page = read(kp.report(some, tmp_path / "report.html", n_examples=0))
    assert ["instances", "1"] in page.rows
    assert not any("left_eye" in row for row in page.rows)


def test_page_is_closed_and_runs_nothing(tiny_dataset: Dataset, tmp_path: Path) -> None:
    page = read(kp.report(tiny_dataset, tmp_path / "report.html"))
    assert not {"script", "link", "iframe", "object", "style src"} & set(page.tags)
    sources = [value for name, value in page.attributes if name in ("src", "href")]
    assert sources
    assert all(value.startswith(("data:image/", "#part-")) for value in sources)
    policy = [value for name, value in page.attributes if value.startswith("default-src")]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_names_of_strangers_are_text(tmp_path: Path) -> None:
    evil = '<img src=x onerror=alert(1)>&"\x00\u202e'
    schema = kp.Schema(evil, [evil, "b$^2$"], [(1, 2)])
    dataset = Dataset.from_images(
        {f"{evil}.png": np.zeros((20, 30, 3), np.uint8)}, schema, annotator=evil
    )
    dataset.add_instance(0, keypoints=[[1, 2, 2], [50, 60, 1]])  # the second one is outside
    page = read(kp.report(dataset, tmp_path / "report.html", title=evil))
    assert not any(value == "x" for name, value in page.attributes if name == "src")
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert page.text.count("<img src=x onerror=alert(1)>") >= 5  # title, keypoint, file, annotator
    assert "\x00" not in page.text


def test_nothing_but_a_report_is_replaced(tiny_dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    kp.report(tiny_dataset, path, n_examples=0, title="one")
    kp.report(tiny_dataset, path, n_examples=0, title="two")
    assert "two" in read(path).text
    path.write_text("<!DOCTYPE html><p>my thesis")
    with pytest.raises(FileExistsError, match="not a report of kpwidget; it was left as it is"):
        kp.report(tiny_dataset, path, n_examples=0)
    assert path.read_text() == "<!DOCTYPE html><p>my thesis"


def test_same_labels_give_the_same_page(tiny_dataset: Dataset, tmp_path: Path) -> None:
    one = kp.report(tiny_dataset, tmp_path / "one.html").read_text()
    two = kp.report(tiny_dataset, tmp_path / "two.html").read_text()
    # matplotlib names its clip paths at random.
    pictures = re.compile(r"data:image/svg\+xml;base64,[^\"]+")
    assert pictures.sub("", one) == pictures.sub("", two)


def test_nothing_labeled(tiny_schema: kp.Schema, tmp_path: Path) -> None:
    images = {"a.png": np.zeros((4, 4), np.uint8)}
    page = read(kp.report(Dataset.from_images(images, tiny_schema), tmp_path / "report.html"))
    assert ["instances", "0"] in page.rows
    with_empty = Dataset.from_images(images, tiny_schema)
    with_empty.add_instance(0)
    page = read(kp.report(with_empty, tmp_path / "report.html"))
    assert ["1", "nose", "", "0", "0", "0", "0.0", ""] in page.rows
    assert any("instance without a labeled keypoint" in row for row in page.rows)


def test_wrong_arguments(tiny_dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"data: expected a kpwidget.Dataset or a selection"):
        kp.report("labels.json", tmp_path / "r.html")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_examples = -1: expected 0 or more"):
        kp.report(tiny_dataset, tmp_path / "r.html", n_examples=-1)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        kp.report(tiny_dataset, tmp_path / "nowhere" / "r.html", n_examples=0)


def test_command(tiny_dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_dataset.save(tmp_path / "labels.json")
    out = tmp_path / "report.html"
    command = ["report", str(tmp_path / "labels.json"), "-o", str(out), "--examples", "0", "--json"]
    assert cli.main(command) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["path"] == str(out)
    assert said["n_bytes"] == out.stat().st_size
    assert ["instances", "2"] in read(out).rows
    out.write_text("something else")
    assert cli.main(command) == 2
    assert "not a report of kpwidget" in capsys.readouterr().err


def test_bars_and_cells() -> None:
    page = Page("t")
    page.table([("a", 1234, 0.25, Bar([0.5, 2.0], ["#ff0000", "#00ff00"]), None)])
    html = page.html()
    assert "1,234" in html
    assert "width:50.00%;background:#ff0000" in html
    assert "width:100.00%;background:#00ff00" in html
    with pytest.raises(ValueError, match="expected '#rrggbb'"):
        page.table([(Bar([1], ["red;} body{display:none"]),)])


def test_missing_image_files_are_counted(tiny_dataset: Dataset, tmp_path: Path) -> None:
    tiny_dataset.save(tmp_path / "labels.json")
    page = read(kp.report(kp.read(tmp_path / "labels.json"), tmp_path / "r.html", n_examples=0))
    assert ["image files missing", "3"] in page.rows
    in_memory = read(kp.report(tiny_dataset, tmp_path / "s.html", n_examples=0))
    assert not any("image files missing" in row for row in in_memory.rows)
