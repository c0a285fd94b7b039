"""Metrics against pycocotools, numbers worked by hand and the sources that define them."""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kpwidget import metrics, schemas

PEOPLE = Path(__file__).resolve().parents[2] / "shared" / "data" / "coco-people"

needs_people = pytest.mark.skipif(
    not PEOPLE.is_dir(),
    reason="../shared/data/coco-people is not there: no predictions to evaluate",
)


def made(
    rng: np.random.Generator, n_images: int, n_keypoints: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """COCO records of people and predictions, some near, some nowhere, one without a label."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(1, n_images + 1):
        for _ in range(int(rng.integers(1, 5))):
            size = rng.uniform(20, 300)
            points = np.zeros((n_keypoints, 3))
            points[:, :2] = rng.uniform(0, 200, 2) + rng.uniform(0, size, (n_keypoints, 2))
            points[:, 2] = rng.choice([0, 1, 2], n_keypoints)
            if rng.random() < 0.1:
                points[:, 2] = 0
            box = [*points[:, :2].min(axis=0), *np.ptp(points[:, :2], axis=0)]
            for _ in range(int(rng.integers(0, 3))):
                noise = rng.normal(0, rng.choice([0.02, 0.1]) * size, (n_keypoints, 2))
                moved = np.column_stack([points[:, :2] + noise, np.full(n_keypoints, 2)])
                results.append(
                    {
                        "image_id": image,
                        "category_id": 1,
                        "keypoints": moved.ravel().tolist(),
                        "score": float(rng.random()),
                    }
                )
            points[points[:, 2] == 0] = 0
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "keypoints": points.ravel().tolist(),
                    "num_keypoints": int((points[:, 2] > 0).sum()),
                    "area": float(0.6 * box[2] * box[3]),
                    "bbox": [float(v) for v in box],
                    "iscrowd": int(rng.random() < 0.05),
                }
            )
    return annotations, results


def evaluated(
    annotations: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]], sigmas: Any
) -> COCOeval:
    """What pycocotools makes of it."""
    content = {
        "images": [{"id": i} for i in sorted({a["image_id"] for a in annotations})],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": list(annotations),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(list(results)), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.asarray(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def columns(records: Sequence[dict[str, Any]], n_keypoints: int) -> tuple[Any, dict[str, Any]]:
    points = np.array([r["keypoints"] for r in records], float).reshape(-1, n_keypoints, 3)
    rest = {
        key: np.array([r[key] for r in records])
        for key in ("area", "bbox", "iscrowd", "image_id", "score")
        if key in records[0]
    }
    return points, rest


def check_oks(annotations: Any, results: Any, sigmas: Any) -> int:
    """Compare the matrices of all images with pycocotools'; return how many pairs there were."""
    evaluation = evaluated(annotations, results, sigmas)
    n_pairs = 0
    for image in evaluation.params.imgIds:
        theirs = np.array(evaluation.ious[image, 1])
        if not theirs.size:
            continue
        gt, of_gt = columns([a for a in annotations if a["image_id"] == image], len(sigmas))
        in_image = [r for r in results if r["image_id"] == image]
        in_image.sort(key=lambda r: -r["score"])
        pred, _ = columns(in_image[:20], len(sigmas))  # more are not looked at there
        arguments = (gt[..., :2], pred[..., :2], gt[..., 2], of_gt["area"], sigmas, of_gt["bbox"])
        ours = metrics.oks_matrix(*arguments)
        np.testing.assert_allclose(ours.T, theirs, rtol=0, atol=1e-12)
        n = min(len(gt), len(pred))
        single = metrics.oks(
            gt[:n, :, :2],
            pred[:n, :, :2],
            gt[:n, :, 2],
            of_gt["area"][:n],
            sigmas,
            of_gt["bbox"][:n],
        )
        np.testing.assert_allclose(single, theirs.T.diagonal()[:n], rtol=0, atol=1e-12)
        n_pairs += theirs.size
    return n_pairs


@pytest.mark.parametrize("n_keypoints", [1, 5, 17])
def test_oks_is_that_of_pycocotools_on_random_sets(n_keypoints: int) -> None:
    rng = np.random.default_rng(n_keypoints)
    annotations, results = made(rng, 40, n_keypoints)
    sigmas = rng.uniform(0.02, 0.11, n_keypoints)
    assert any(a["num_keypoints"] == 0 for a in annotations)
    assert check_oks(annotations, results, sigmas) > 100


@needs_people
def test_oks_is_that_of_pycocotools_on_people() -> None:
    content = json.loads((PEOPLE / "test_coco.json").read_text())
    results = json.loads((PEOPLE / "example_coco_preds.json").read_text())
    sigmas = schemas.get("coco17").sigmas
    assert check_oks(content["annotations"], results, sigmas) > 50


def ap_of(annotations: Any, results: Any, sigmas: Any) -> dict[str, float]:
    gt, of_gt = columns(annotations, len(sigmas))
    pred, of_pred = columns(results, len(sigmas))
    return metrics.keypoint_ap(
        gt,
        pred[..., :2],
        of_pred["score"],
        of_gt["area"],
        sigmas,
        gt_image=of_gt["image_id"],
        pred_image=of_pred["image_id"],
        bbox=of_gt["bbox"],
        iscrowd=of_gt["iscrowd"],
    )


@needs_people
def test_ap_is_that_of_pycocotools_to_all_printed_digits() -> None:
    pytest.importorskip("faster_coco_eval", reason='keypoint_ap needs "kpwidget[ap]"')
    content = json.loads((PEOPLE / "test_coco.json").read_text())
    results = json.loads((PEOPLE / "example_coco_preds.json").read_text())
    found = ap_of(content["annotations"], results, schemas.get("coco17").sigmas)
    # Printed by pycocotools 2.0.11, as SOURCE.md beside the files says.
    assert {name: f"{value:.6f}" for name, value in found.items()} == {
        "AP": "0.860890",
        "AP50": "0.993145",
        "AP75": "0.910891",
        "APm": "0.775578",
        "APl": "0.937252",
        "AR": "0.875000",
        "AR50": "1.000000",
        "AR75": "0.916667",
        "ARm": "0.780000",
        "ARl": "0.942857",
    }


@pytest.mark.parametrize("n_keypoints", [3, 17, 68])
def test_ap_of_any_number_of_keypoints_is_that_of_pycocotools(n_keypoints: int) -> None:
    pytest.importorskip("faster_coco_eval", reason='keypoint_ap needs "kpwidget[ap]"')
    rng = np.random.default_rng(100 + n_keypoints)
    annotations, results = made(rng, 30, n_keypoints)
    sigmas = rng.uniform(0.02, 0.11, n_keypoints)
    theirs = evaluated(annotations, results, sigmas).stats
    ours = list(ap_of(annotations, results, sigmas).values())
    assert 0.1 < theirs[0] < 0.9
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_ap_of_nothing_found_and_of_nothing_to_find() -> None:
    pytest.importorskip("faster_coco_eval", reason='keypoint_ap needs "kpwidget[ap]"')
    # pycocotools: 0 where there was something to find, else -1, which is NaN here.
    gt = np.array([[[10, 10, 2], [50, 50, 2]]])
    missed = metrics.keypoint_ap(
        gt, np.empty((0, 2, 2)), [], [2000], [0.1, 0.1],
        gt_image=[1], pred_image=[], bbox=[(10, 10, 40, 40)],
    )  # fmt: skip
    assert (missed["AP"], missed["APm"], missed["AR"]) == (0, 0, 0)
    assert math.isnan(missed["APl"])
    nothing = metrics.keypoint_ap(
        np.empty((0, 2, 3)), gt[..., :2], [0.5], [], [0.1, 0.1],
        gt_image=[], pred_image=[1], bbox=np.empty((0, 4)),
    )  # fmt: skip
    assert np.isnan(list(nothing.values())).all()


def test_ap_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(ImportError, match=r'pip install "kpwidget\[ap\]"'):
        metrics.keypoint_ap(
            np.zeros((1, 2, 3)), np.zeros((1, 2, 2)), [1], [1], [1, 1],
            gt_image=[1], pred_image=[1], bbox=np.ones((1, 4)),
        )  # fmt: skip


def test_oks_at_one_two_and_three_sigmas() -> None:
    # exp(-n^2/8): .8825, .6065, .3247. sigma .1 of a square of 100 px is 10 px.
    gt = np.zeros((3, 1, 2))
    pred = np.array([[[10, 0]], [[0, 20]], [[-30, 0]]])
    found = metrics.oks(gt, pred, np.full((3, 1), 2), [10_000] * 3, [0.1])
    assert found.round(4).tolist() == [0.8825, 0.6065, 0.3247]


def test_oks_without_a_labeled_keypoint_is_no_number() -> None:
    found = metrics.oks([[[np.nan] * 2]], [[[1, 1]]], [[0]], [100], [0.1])
    assert np.isnan(found).all()
    assert np.isnan(metrics.oks_matrix([[[np.nan] * 2]], [[[1, 1]]], [[0]], [100], [0.1])).all()


def test_a_keypoint_that_was_not_predicted_scores_nothing() -> None:
    gt = [[[0, 0], [10, 10]]]
    found = metrics.oks(gt, [[[0, 0], [np.nan, np.nan]]], [[2, 1]], [100], [0.1, 0.1])
    assert found.tolist() == [0.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ([[[0, 0]]], [[[0, 0]]], [[2, 2]], [1], [0.1]),
            r"visibility has shape \(1, 2\), expected \(1, 1\)",
            id="visibility",
        ),
        pytest.param(
            ([[[0, 0]]], [[[0, 0]]], [[2]], [1], [0.1, 0.2]),
            r"sigmas: expected 1 values above 0.*got \[0.1, 0.2\]",
            id="sigmas",
        ),
        pytest.param(
            ([[[0, 0]]], [[[0, 0]]], [[2]], [1], [0]),
            "sigmas: expected 1 values above 0",
            id="zero",
        ),
        pytest.param(
            ([[[np.nan, 0]]], [[[0, 0]]], [[2]], [1], [0.1]),
            r"labeled keypoints have no location \(the first is keypoint 0 of instance 0\)",
            id="nan",
        ),
        pytest.param(
            ([[[0, 0]]], [[[0, 0]]], [[2]], [-1], [0.1]),
            "instance 0 has -1",
            id="area",
        ),
        pytest.param(
            ([[[0, 0, 2]]], [[[0, 0]]], [[2]], [1], [0.1]),
            r"gt has shape \(1, 1, 3\), expected \(n, n, 2\)",
            id="flags",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_words(arguments: Any, message: str) -> None:
    for function in (metrics.oks, metrics.oks_matrix):
        with pytest.raises(ValueError, match=message):
            function(*arguments)


def test_iou_by_hand() -> None:
    # 10 x 10 against its right half, itself, one that touches it, and none.
    theirs = [(5, 0, 5, 10), (0, 0, 10, 10), (10, 0, 10, 10), (math.nan,) * 4]
    assert metrics.iou_matrix([(0, 0, 10, 10)], theirs).tolist() == [[0.5, 1.0, 0.0, 0.0]]


def test_instances_are_matched_by_the_greatest_sum_and_the_rest_is_reported() -> None:
    similarity = [[0.9, 0.8, 0.0], [0.85, 0.2, 0.0], [0.05, 0.0, math.nan]]
    found = metrics.match_instances(similarity, 0.1)
    assert found.pairs.tolist() == [[0, 1], [1, 0]]  # .8 + .85 is more than .9 + .2
    assert found.unmatched_gt.tolist() == [2]
    assert found.unmatched_pred.tolist() == [2]


def test_a_good_pair_is_not_given_up_for_two_bad_ones() -> None:
    found = metrics.match_instances([[0.9, 0.15], [0.15, 0.0]], 0.1)
    assert found.pairs.tolist() == [[0, 0]]
    assert (found.unmatched_gt.tolist(), found.unmatched_pred.tolist()) == ([1], [1])


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0)])
def test_nothing_is_matched_with_nothing(shape: tuple[int, int]) -> None:
    found = metrics.match_instances(np.empty(shape), 0.5)
    assert found.pairs.shape == (0, 2)
    assert (len(found.unmatched_gt), len(found.unmatched_pred)) == shape


def test_relative_distances_by_hand() -> None:
    # A square of 10 px, moved by (3, 4): 5 px apart, half its size; the last shares no keypoint.
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], float)
    others = np.stack([square + np.array((3, 4)), square])
    flags = [[2, 2, 2, 2], [0, 0, 0, 0]]
    found = metrics.relative_distances(square[None], others, [[2, 2, 1, 2]], flags)
    assert found.tolist() == [[0.5, math.inf]]


def test_label_sets_are_matched_in_as_many_pairs_as_there_can_be() -> None:
    square = np.array([[0, 0, 2], [10, 0, 2], [10, 10, 2], [0, 10, 2]], float)
    # Theirs are 3 and 7 px to the right of the first of ours, 0 and 4 of the second; above 5 px,
    # half their size, they are others. So 3 + 4 are two pairs, and 0 alone is one.
    ours = np.stack([square, square + np.array((3, 0, 0))])
    theirs = np.stack(
        [square + np.array((3, 0, 0)), square + np.array((7, 0, 0)), square + np.array((90, 0, 0))]
    )
    found = metrics.match_labels(ours, theirs)
    assert found.pairs.tolist() == [[0, 0], [1, 1]]
    assert found.unmatched_pred.tolist() == [2]


def test_pck_and_nme_by_hand() -> None:
    gt = np.array([[[0, 0], [100, 0]], [[0, 0], [40, 0]], [[0, 0], [np.nan, np.nan]]])
    pred = gt + np.array((0, 5))
    pred[0, 0] = (0, 30)
    visibility = [[2, 1], [2, 2], [2, 0]]
    length = metrics.keypoint_distance(gt, 0, 1)
    assert length[:2].tolist() == [100, 40]
    assert np.isnan(length[2])
    # First point: 30/100 and 5/40; second: 5/100 and 5/40. The third instance has no length.
    assert metrics.pck(gt, pred, visibility, length, 0.05).tolist() == [0.0, 0.5]
    assert metrics.pck(gt, pred, visibility, length, 0.125).tolist() == [0.5, 1.0]
    found = metrics.nme(gt, pred, visibility, length)
    assert found[:2].tolist() == [pytest.approx((0.3 + 0.05) / 2), 0.125]
    assert np.isnan(found[2])


def test_a_keypoint_without_a_prediction_is_not_correct() -> None:
    gt, missing = np.zeros((2, 1, 2)), np.array([[[0, 0]], [[np.nan, np.nan]]])
    assert metrics.pck(gt, missing, [[2], [2]], [10, 10], 0.5).tolist() == [0.5]
    assert np.isnan(metrics.nme(gt, missing, [[2], [2]], [10, 10])).tolist() == [False, True]


def test_error_classes_by_hand() -> None:
    # sigma .1 and areas of 100 x 100: 1 sigma is 10 px. Similarity .85 is at 11.4 px, .5 at 23.5.
    flip = [0, 2, 1]
    one = np.array([[50, 0], [100, 0], [0, 0]], float)
    other = one + np.array((0, 200))
    gt = np.stack([one, other, one])
    pred = np.stack([one, one, one, other, one])
    pred[0, 0] += (11, 0)  # good
    pred[1, 0] += (12, 0)  # jitter
    pred[1, 1] = one[2] + (5, 0)  # inversion
    pred[2, 0] = other[0] + (0, 20)  # swap
    pred[2, 1] = other[2]  # swap, with the twin of another instance
    pred[2, 2] += (0, -24)  # miss
    pred[3, 0] += (24, 0)  # miss
    pred[4, 0] = np.nan
    pred[4, 1] = other[1]  # in another image: there is nobody there
    found = metrics.error_classes(
        gt, pred, [[2, 2, 2], [2, 1, 2], [2, 2, 0]], [10_000] * 3, [0.1] * 3, flip,
        gt_of_pred=[0, 0, 0, 1, 2], image=["a", "a", "b"],
    )  # fmt: skip
    said = [[metrics.ERROR_CLASSES[code] for code in row] for row in found]
    assert said == [
        ["good", "good", "good"],
        ["jitter", "inversion", "good"],
        ["swap", "swap", "miss"],
        ["miss", "good", "good"],
        ["miss", "miss", "unlabeled"],
    ]


def test_error_classes_of_a_person_alone_and_of_nobody() -> None:
    gt = np.zeros((1, 1, 2))
    found = metrics.error_classes(gt, gt + np.array((200, 0)), [[2]], [10_000], [0.1], [0], [0])
    assert found.tolist() == [[5]]
    empty = np.empty((0, 1, 2))
    assert metrics.error_classes(gt, empty, [[2]], [1], [0.1], [0], []).shape == (0, 1)


def test_error_classes_refuse_rows_that_are_not_there() -> None:
    gt = np.zeros((1, 1, 2))
    with pytest.raises(ValueError, match="gt_of_pred: expected 1 rows of gt from 0 to 0"):
        metrics.error_classes(gt, gt, [[2]], [1], [0.1], [0], [1])
    with pytest.raises(ValueError, match="expected a permutation of 0 to 0"):
        metrics.error_classes(gt, gt, [[2]], [1], [0.1], [1], [0])
