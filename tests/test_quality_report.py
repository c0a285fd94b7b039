"""The page about what may be wrong: what it says and does not, and the sheet of places."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import kpwidget as kp
from kpwidget import cli

from .test_reports import read

PIXELS = np.zeros((480, 640), np.uint8)
SECTIONS = ["Summary", "Findings", "Where to look", "Visibility flags", "Conventions", "Jitter",
            "Coverage", "Drift"]  # fmt: skip


NAMES = ["nose", "left_shoulder", "right_shoulder", "left_elbow", "left_wrist", "left_hip",
         "right_hip"]  # fmt: skip


def figures(folder: Path, n: int = 24, n_unlabeled: int = 2) -> kp.Dataset:
    """One walking figure a frame, 2 px of noise, in a dataset with a journal."""
    coco = kp.schemas.get("coco17")
    assert coco.layout is not None
    layout = coco.layout[[coco.index(name) for name in NAMES]]
    edges = [(2, 4), (4, 5), (2, 3), (2, 6), (3, 7), (6, 7)]
    schema = kp.Schema("person", NAMES, edges, sigmas=[0.05] * 7)
    rng = np.random.default_rng(3)
    names = [f"walk_{i:03}.png" for i in range(n + n_unlabeled)]
    ds = kp.open(folder / "walk.json", dict.fromkeys(names, PIXELS), schema, "anna")
    with ds.transaction("made"):
        for i in range(n):
            xy = 100 + 250 * layout + [2 * i, 0] + rng.normal(0, 2, (7, 2))
            ds.add_instance(i, keypoints=xy, track_id=1)
    return ds


def words(page: Any) -> str:
    return re.sub(r"\s+", " ", page.text)


@pytest.fixture
def everything(tmp_path: Path) -> tuple[kp.Dataset, kp.Dataset]:
    """A dataset that has something to say in each section, and predictions for it."""
    ds = figures(tmp_path)
    second = ds.start_pass("second", annotator="ben")
    rng = np.random.default_rng(4)
    for one in ds.instances:
        points = one.keypoints.copy()
        points[:, :2] += rng.normal(0, 2, (7, 2))
        points[5, 0] += 15
        second.add_instance(one.image.file_name, keypoints=points)
    ds.add_pass(second, "second")
    ds.images[4].instances[0].set_keypoint("left_wrist", 700, 90)
    predictions = ds.select(image=["walk_003.png"]).copy()
    pose = predictions.instances[0].keypoints
    predictions = kp.Dataset.from_images({"walk_024.png": PIXELS}, ds.categories[0])
    predictions.add_instance(0, keypoints=pose)
    return ds, predictions


def test_every_section_has_its_numbers_and_figures(
    everything: tuple[kp.Dataset, kp.Dataset], tmp_path: Path
) -> None:
    ds, predictions = everything
    path = kp.quality.report(ds, tmp_path / "q.html", predictions=predictions, n_examples=4)
    page = read(path)
    text = words(page)
    assert [name for name in SECTIONS if f">{name}</h2>" not in path.read_text()] == []
    # 24 people of 7 keypoints, one of them put outside by hand.
    assert "in 168 labeled keypoints of 24 instances in 26 images" in text
    assert ["visibility", "flags that contradict themselves or the image", "1", "0", "0"] in (
        page.rows
    )
    [finding] = [row for row in page.rows if row[1:3] == ["error", "visibility"]]
    assert finding[4:6] == ["left_wrist", "(700, 90) is outside the image of 640 x 480 px"]
    assert f"walk_004.png ({ds.images[4].instances[0].uid})" in finding
    # Wilson for 1 of 168, by its formula with z = 1.96: 0.0170 less and plus 0.0159.
    assert "1 of 168 labeled keypoints (0.6 %; 95 %: 0.1 % to 3 %) contradict" in text
    assert "left_hip: two conventions" in text
    assert "1 track: noise is told for 7 of 7 keypoints" in text
    assert any(row[0] == "walk_024.png" for row in page.rows)
    assert any(row[:2] == ["person, annotator 'anna'", "24"] for row in page.rows)
    assert "content or convention" in text
    assert "Not enough data" not in text
    # Crops, flags, agreement, sigmas, the track, angles, angles by view or size, drift.
    assert page.tags.count("img") >= 7


def test_what_was_decided_is_left_out_and_counted(tmp_path: Path) -> None:
    ds = figures(tmp_path, 6, 0)
    for i, name in enumerate(("nose", "left_elbow", "left_hip", "right_hip")):
        ds.images[i].instances[0].set_keypoint(name, 0, 0)
    found = kp.quality.check(ds, "visibility")
    for (_, row), verdict, who in zip(
        found.iterrows(),
        ("fine", "fine", "fixed", "fine"),
        ("ben", "<b>eve</b>", "ben", "zoe"),
        strict=True,
    ):
        ds.annotator = who
        ds.decide(row, verdict)
    # That of eve is over.
    ds.images[1].instances[0].set_keypoint("left_elbow", 1, 1)
    part = ds.select(image=[image.file_name for image in ds.images[:3]])
    page = read(kp.quality.report(part, tmp_path / "q.html", n_examples=0))
    assert "zoe" not in {row[0] for row in page.rows}
    assert ["ben", "1", "1", "1", "1"] in page.rows
    assert ["<b>eve</b>", "1", "0", "0", "0"] in page.rows
    assert "1 finding left out of this page" in words(page)
    assert "1 finding told again though called fixed" in words(page)
    errors = [row for row in page.rows if row[1:3] == ["error", "visibility"]]
    assert [row[4] for row in errors] == ["left_hip"]
    assert errors[0][5].endswith("ben called it fixed, and it is found again")


def test_what_cannot_be_told_says_why_and_what_to_do(
    tiny_dataset: kp.Dataset, tmp_path: Path
) -> None:
    text = words(read(kp.quality.report(tiny_dataset, tmp_path / "q.html")))
    assert "No error and no warning" in text
    for why in (
        "nobody has labeled these images a second time",
        "instances have no track_id",
        "fewer than 5 instances a bin",
        "without a journal the order of labeling is not known",
    ):
        assert re.search(f"Not enough data: [^.]*{re.escape(why)}[^.]*\\..* What to do: ", text)


def test_nothing_labeled(tiny_schema: kp.Schema, tmp_path: Path) -> None:
    ds = kp.Dataset.from_images({"a.png": PIXELS}, tiny_schema)
    text = words(read(kp.quality.report(ds, tmp_path / "q.html")))
    assert "Nothing is labeled yet" in text


def test_names_of_strangers_are_text(tmp_path: Path) -> None:
    evil = '<img src=x onerror=alert(1)>&"\x00\u202e'
    schema = kp.Schema(evil, [evil, "b$^2$", "c"], [(1, 2), (2, 3)])
    ds = kp.Dataset.from_images({f"{evil}.png": PIXELS}, schema, annotator=evil)
    ds.add_instance(0, keypoints=[[1, 2, 2], [650, 60, 1], [9, 9, 1]], track_id=evil)
    page = read(kp.quality.report(ds, tmp_path / "q.html", title=evil))
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    sources = [value for name, value in page.attributes if name in ("src", "href")]
    assert all(value.startswith(("data:image/", "#part-")) for value in sources)
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert page.text.count("<img src=x onerror=alert(1)>") >= 4  # title, file, keypoint, category
    assert "\x00" not in page.text


def test_long_tables_are_cut_and_say_so(tmp_path: Path) -> None:
    ds = kp.Dataset.from_images({"a.png": PIXELS}, kp.Schema("x", ["k", "l"]))
    with ds.transaction("made"):
        for i in range(20):
            ds.add_instance(0, keypoints=[[641 + i, 5, 2], [5, 5, 2]])
    page = read(kp.quality.report(ds, tmp_path / "q.html", n_examples=0))
    shown = [row[5] for row in page.rows if row[1:3] == ["error", "visibility"]]
    # The furthest first: 660 to 646.
    assert [int(text[1:4]) for text in shown] == list(range(660, 645, -1))
    assert "15 of 20 errors and warnings" in words(page)
    assert "not shown: 5 errors of visibility" in words(page)


def test_only_what_is_selected(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(6)]
    ds = kp.Dataset.from_images(dict.fromkeys(names, PIXELS), kp.Schema("x", ["k", "l"]))
    for name in names:
        ds.add_instance(name, keypoints=[[10, 20, 2], [700 if name == "5.png" else 30, 40, 2]])
    some = ds.select(image=names[:4])
    text = words(read(kp.quality.report(some, tmp_path / "q.html", n_examples=0)))
    assert "in 8 labeled keypoints of 4 instances in 4 images" in text
    assert "0 of 8 labeled keypoints" in text


def test_wrong_arguments_are_told_before_anything_is_looked_at(
    tiny_dataset: kp.Dataset, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=r"data: expected a kpwidget.Dataset or a selection"):
        kp.quality.report("labels.json", tmp_path / "q.html")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_examples = -1: expected 0 or more"):
        kp.quality.report(tiny_dataset, tmp_path / "q.html", n_examples=-1)
    with pytest.raises(ValueError, match=r"expected a file name that ends in \.html"):
        kp.quality.report(tiny_dataset, tmp_path / "q.txt")
    (tmp_path / "mine.html").write_text("<!DOCTYPE html><p>my thesis")
    with pytest.raises(FileExistsError, match="it was left as it is"):
        kp.quality.report(tiny_dataset, tmp_path / "mine.html")
    with pytest.raises(AttributeError, match="no attribute 'reports'"):
        kp.quality.reports  # type: ignore[attr-defined]  # noqa: B018


def test_command(
    tiny_dataset: kp.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_dataset.instance("two").set_keypoint("tip", 33, 49)  # 1 px below the picture
    tiny_dataset.save(tmp_path / "labels.json")
    predictions = kp.Dataset.from_images({"b.png": PIXELS}, tiny_dataset.categories[0])
    predictions.add_instance("b.png", "animal", [[10, 8, 2], [12, 7, 2], [9, 7, 2], [50, 40, 2]])
    predictions.save(tmp_path / "predicted.json")
    out = tmp_path / "q.html"
    command = ["report", "--quality", str(tmp_path / "labels.json"), "-o", str(out), "--json"]
    assert cli.main([*command, "--predictions", str(tmp_path / "predicted.json")]) == 0
    assert json.loads(capsys.readouterr().out)["n_bytes"] == out.stat().st_size
    page = read(out)
    assert any(row[0] == "b.png" for row in page.rows)
    # Nobody wrote the pictures to a file.
    assert "The image files of 1 place are not there" in words(page)
    command.remove("--quality")
    assert cli.main([*command, "--predictions", str(tmp_path / "predicted.json")]) == 2
    assert "--predictions goes with --quality" in capsys.readouterr().err


# The sheet of places


def offsets(ax: Any, gid: str) -> np.ndarray:
    found = [one.get_offsets() for one in ax.collections if (one.get_gid() or "").startswith(gid)]
    return np.concatenate(found)


def test_a_ring_is_around_the_keypoint_that_was_found(tmp_path: Path) -> None:
    ds = figures(tmp_path, n=3, n_unlabeled=0)
    nose = ds.instances[1].keypoints[0, :2]
    found = kp.quality.findings_frame(
        [
            kp.quality.Finding("sides", "warning", "walk_001.png", ds.instances[1].uid, "nose",
                               1.0, 1.0, "", ""),
            kp.quality.Finding("drift", "warning", None, None, "nose", 1.0, 1.0, "", ""),
        ]
    )  # fmt: skip
    ax = kp.plot_findings(ds, found)
    [ring] = offsets(ax, "findings")
    # A tile is 1 wide; the place is in its middle unless the image ends.
    assert_allclose(ring, [0.5, 0.5], atol=1e-9)
    assert np.abs(offsets(ax, "keypoints") - ring).sum(axis=1).min() == pytest.approx(0, abs=1e-9)
    # 0.2 of the longer side of the window around the figure, 0.15 of its height more on each side.
    longest = np.ptp(ds.instances[1].keypoints[:, :2], axis=0).max() * 1.3
    others = (ds.instances[1].keypoints[:, :2] - nose) / (0.4 * longest) + 0.5
    inside = others[((others >= 0) & (others <= 1)).all(axis=1)]
    assert_allclose(np.sort(offsets(ax, "keypoints"), axis=0), np.sort(inside, axis=0), atol=1e-9)
    assert ax.get_title() == "1 place"


def test_a_place_beyond_the_image_is_told_at_the_border(tmp_path: Path) -> None:
    ds = figures(tmp_path, n=2, n_unlabeled=0)
    ds.instances[0].set_keypoint("nose", 5000, 100)
    ax = kp.plot_findings(ds, kp.quality.check(ds, "visibility"), captions=["$x$"])
    assert offsets(ax, "findings")[0, 0] == pytest.approx(0.97)


def test_findings_without_a_place_and_those_that_are_gone(tmp_path: Path) -> None:
    ds = figures(tmp_path, n=2, n_unlabeled=0)
    ax = kp.plot_findings(ds, kp.quality.check(ds, "coverage"))
    assert [text.get_text() for text in ax.texts] == ["no finding with a place"]
    ds.instances[0].set_keypoint("nose", 5000, 100)
    found = kp.quality.check(ds, "visibility")
    with pytest.raises(ValueError, match="captions has 2 texts, expected one for each of 1"):
        kp.plot_findings(ds, found, captions=["a", "b"])
    with pytest.raises(ValueError, match="limit = 0: expected a whole number"):
        kp.plot_findings(ds, found, limit=0)
    ds.instances[0].remove()
    with pytest.raises(KeyError):
        kp.plot_findings(ds, found)
