"""Predictions in COCO's results form."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kpwidget as kp
from kpwidget import formats
from kpwidget.formats.coco_results import coco_results_losses
from kpwidget.schema import FormatError

SHARED = Path(__file__).resolve().parents[2].parent / "shared"

GROUND_TRUTH = {
    "images": [{"id": 7, "file_name": "a.png", "width": 64, "height": 48}],
    "annotations": [],
    "categories": [{"id": 3, "name": "bird", "keypoints": ["beak", "eye"], "skeleton": []}],
}
ENTRY = {"image_id": 7, "category_id": 3, "keypoints": [1.5, 2, 0.9, 0, 0, 0], "score": 0.75}


def files(tmp_path: Path, *entries: Any) -> tuple[Path, Path]:
    truth, results = tmp_path / "gt.json", tmp_path / "net.json"
    truth.write_text(json.dumps(GROUND_TRUTH))
    results.write_text(json.dumps(entries))
    return truth, results


def test_entries_become_instances_with_scores(tmp_path: Path) -> None:
    truth, results = files(tmp_path, ENTRY, {**ENTRY, "bbox": [1, 2, 3, 4], "note": "x"})
    dataset = formats.read(results, ground_truth=truth)
    first, second = dataset.instances
    assert first.score == 0.75
    assert first.source == "model:net"
    np.testing.assert_array_equal(first.keypoints, [[1.5, 2, 2], [np.nan, np.nan, 0]])
    assert first.extra == {"keypoint_scores": [0.9, 0]}
    assert second.bbox == (1, 2, 3, 4)
    assert second.extra["note"] == "x"
    assert dataset.path is None
    again = formats.read(results, ground_truth=formats.read(truth), model="hrnet")
    assert again.instances[0].source == "model:hrnet"


def test_results_are_written_as_they_were(tmp_path: Path) -> None:
    truth, results = files(tmp_path, ENTRY, {**ENTRY, "keypoints": [1, 2, 0.5, 3, 4, 0.25]})
    dataset = formats.read(results, ground_truth=truth)
    with pytest.raises(formats.LossError, match="1 unlabeled keypoint would be") as caught:
        formats.write(dataset, tmp_path / "out.json", format="coco-results")
    assert not (tmp_path / "out.json").exists()
    assert [loss.n for loss in caught.value.losses] == [1]
    report = formats.write(dataset, tmp_path / "out.json", format="coco-results", allow_loss=True)
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads(results.read_text())
    assert "lost: 1 unlabeled keypoint would" in str(report)


LAYOUTS = {
    "as it comes": (
        '[{"image_id": 7, "category_id": 3, "keypoints": [1.0, 2, 5e-1, 0, 0, 0.0], "score": 1},'
        '{"score": 0.50, "x": "\\u00e9", "keypoints": [3, 4.00, 1, 1, 1, 1], "category_id": 3,'
        ' "image_id": 7, "bbox": null},\n  {"image_id": 7, "category_id": 3, "score": 0, "area": 7,'
        ' "keypoints": [1, 1, 1, 2, 2, 2], "bbox": [1, 2.0, 3, 4], "keypoint_scores": [1, 2]}]'
    ),
    "indented": json.dumps([ENTRY, {**ENTRY, "note": {"a": [1, 2]}}], indent="\t") + "\n\n",
    "empty": " [ ]\n",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_results_that_were_not_edited_are_written_byte_for_byte(
    tmp_path: Path, layout: str
) -> None:
    truth, results = files(tmp_path)
    results.write_bytes(LAYOUTS[layout].encode())
    dataset = formats.read(results, format="coco-results", ground_truth=truth)
    out = tmp_path / "out.json"
    formats.write(dataset, out, format="coco-results", allow_loss=True)
    assert out.read_bytes() == results.read_bytes()


def test_an_edit_of_results_changes_its_numbers_alone(tmp_path: Path) -> None:
    truth, results = files(tmp_path)
    results.write_text(LAYOUTS["as it comes"])
    dataset = formats.read(results, format="coco-results", ground_truth=truth)
    dataset.instances[1].set_keypoint("beak", 3, 4.5)
    out = tmp_path / "out.json"
    formats.write(dataset, out, format="coco-results", allow_loss=True)
    assert out.read_text() == results.read_text().replace("4.00", "4.5")
    dataset.instances[1].remove()
    formats.write(dataset, out, format="coco-results", allow_loss=True)
    before = json.loads(results.read_text())
    assert json.loads(out.read_text()) == [before[0], before[2]]
    added = dataset.add_instance(0, keypoints=[[1, 2], [3, 4]], score=0.25, bbox=(1, 2, 3, 4))
    formats.write(dataset, out, format="coco-results", allow_loss=True)
    last = json.loads(out.read_text())[-1]
    assert last == {
        "image_id": 7, "category_id": 3, "keypoints": [1, 2, 1, 3, 4, 1], "score": 0.25,
    }  # fmt: skip
    # Boxes in some entries only would not evaluate; that they go is said.
    added.remove()
    dataset.instances[0].remove()
    dataset.instances[0].remove()
    formats.write(dataset, out, format="coco-results", allow_loss=True)
    assert json.loads(out.read_text()) == []


def test_what_results_cannot_hold_is_said_with_its_number(tmp_path: Path) -> None:
    dataset = kp.Dataset.from_images(
        {"a.png": np.zeros((8, 8)), "b.png": np.zeros((8, 8))}, kp.Schema("s", ["x", "y"])
    )
    dataset.add_instance(0, keypoints=[[1, 1, 1], [2, 2, 2]], track_id=4)
    with pytest.raises(formats.LossError) as caught:
        formats.write(dataset, tmp_path / "out.json", format="coco-results")
    said = [(loss.what, loss.n) for loss in caught.value.losses]
    assert said == [("visibility", 1), ("score", 1), ("images", 1)]
    dataset.add_instance(1, keypoints=[[1, 1], [2, 2]], bbox=(0, 0, 3, 4), score=0.5)
    formats.write(dataset, tmp_path / "labels.json")
    losses = coco_results_losses(dataset)
    said = [(loss.what, loss.n) for loss in losses]
    assert said == [("visibility", 1), ("score", 1), ("id", 2), ("bbox", 1)]


def test_boxes_tracks_and_ids_of_results_are_written_as_they_were(tmp_path: Path) -> None:
    entry = {**ENTRY, "keypoints": [1, 2, 0.5, 3, 4, 0.25], "bbox": [1, 2, 3, 4.5], "area": 13.5}
    truth, results = files(tmp_path, {**entry, "id": 8, "track_id": 2**60}, {**entry, "note": "x"})
    dataset = formats.read(results, ground_truth=truth)
    assert [instance.track_id for instance in dataset.instances] == [2**60, None]
    formats.write(dataset, tmp_path / "out.json", format="coco-results")
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads(results.read_text())
    dataset.instances[0].set_bbox(None)
    with pytest.raises(formats.LossError, match="the bbox of 1 instance, for not all have"):
        formats.write(dataset, tmp_path / "out.json", format="coco-results")
    dataset.instances[1].set_bbox(None)
    formats.write(dataset, tmp_path / "out.json", format="coco-results")
    assert "bbox" not in (tmp_path / "out.json").read_text()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (3, "entry number 2: expected an object, got int"),
        ({**ENTRY, "image_id": 8}, "'image_id' is 8, the ground truth has no such image"),
        ({**ENTRY, "image_id": [1]}, r"'image_id' is \[1\], the ground truth has no such image"),
        ({**ENTRY, "category_id": 1}, "'category_id' is 1, the ground truth has no category"),
        ({**ENTRY, "score": None}, "'score' is None, expected a number"),
        ({**ENTRY, "bbox": [1]}, r"'bbox' is \[1\], expected 4 numbers"),
        ({**ENTRY, "keypoints": [1, 2]}, r"'keypoints' has 2 usable numbers, expected 6"),
        ({**ENTRY, "keypoints": [1, 2, "a", 0, 0, 0]}, "'keypoints' has 5 usable numbers"),
    ],
)
def test_bad_entry_is_named(tmp_path: Path, entry: Any, message: str) -> None:
    truth, results = files(tmp_path, ENTRY, entry)
    with pytest.raises(FormatError, match=message):
        formats.read(results, format="coco-results", ground_truth=truth)
    with pytest.warns(UserWarning, match="1 bad entry left out"):
        dataset = formats.read(results, format="coco-results", ground_truth=truth, on_error="skip")
    assert len(dataset.instances) == 1


def test_results_need_their_ground_truth(tmp_path: Path) -> None:
    _, results = files(tmp_path, ENTRY)
    assert formats.detect_format(results) == "coco-results"
    with pytest.raises(ValueError, match="has no images or categories of its own: pass ground_tr"):
        formats.read(results)
    with pytest.raises(FormatError, match="this is a COCO results file"):
        formats.read(results, format="coco")


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the shared files are not at {SHARED}")
def test_real_predictions_evaluate_the_same_after_they_went_through(tmp_path: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    place = SHARED / "data" / "coco-people"
    truth = next(place.rglob("test_coco.json"))
    predicted = next(place.rglob("example_coco_preds.json"))
    dataset = formats.read(predicted, ground_truth=truth)
    assert len(dataset.instances) == len(json.loads(predicted.read_text()))
    formats.write(dataset, tmp_path / "out.json", format="coco-results", allow_loss=True)
    stats = []
    for path in (predicted, tmp_path / "out.json"):
        with contextlib.redirect_stdout(io.StringIO()):
            oracle = COCO(truth)
            evaluation = COCOeval(oracle, oracle.loadRes(str(path)), "keypoints")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        stats.append(evaluation.stats.tolist())
    # AP, AP50 and AR as SOURCE.md beside the data gives them.
    assert stats[0][0] == pytest.approx(0.860890, abs=1e-6)
    assert stats[1] == stats[0]


def test_detections_of_boxes_are_told_once(tmp_path: Path) -> None:
    entry = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps([entry] * 3))
    truth = tmp_path / "truth.json"
    category = {"id": 1, "name": "bolt", "keypoints": ["tip"], "skeleton": []}
    truth.write_text(json.dumps({"images": [], "annotations": [], "categories": [category]}))
    with pytest.raises(FormatError, match="none of its 3 entries has 'keypoints', as of a detec"):
        kp.read(path, ground_truth=truth)
