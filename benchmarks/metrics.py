"""The OKS matrix of many people against pycocotools' loop over pairs."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import kpwidget as kp

from .files import _in_turn
from .rig import Rig
from .table import Row, against_peer

#: Largest ratio of times: twenty times as fast.
LIMIT = 1 / 20
N_PEOPLE = 300


def _people(rng: np.random.Generator, n: int) -> np.ndarray:
    """Keypoints of n people of COCO's 17 in an image of 1920x1080, shape (n, 17, 3)."""
    layout = kp.schemas.get("coco17").layout
    assert layout is not None
    size = rng.uniform(40, 400, (n, 1, 1))
    xy = layout * size + rng.uniform(0, (1920, 1080), (n, 1, 2)) + rng.normal(0, 3, (n, 17, 2))
    return np.concatenate([xy, rng.choice([0, 1, 2], (n, 17, 1), p=[0.2, 0.2, 0.6])], axis=2)


def _peer(gt: np.ndarray, pred: np.ndarray, area: np.ndarray) -> Any:
    """pycocotools' evaluation of one image, its limit of predictions raised."""
    from pycocotools.cocoeval import COCOeval

    evaluation = COCOeval(iouType="keypoints")
    evaluation.params.maxDets = [len(pred)]
    for i, points in enumerate(gt):
        box = [*points[:, :2].min(axis=0), *np.ptp(points[:, :2], axis=0)]
        evaluation._gts[1, 1].append({"keypoints": points.ravel(), "area": area[i], "bbox": box})
    for i, points in enumerate(pred):
        evaluation._dts[1, 1].append({"keypoints": points.ravel(), "score": -i})
    return evaluation


def measure_oks(rig: Rig) -> list[Row]:
    """300 x 300 people of 17 keypoints, both in this process and in turn."""
    n = rig.samples(9, 3)
    rng = np.random.default_rng(0)
    gt, pred = _people(rng, N_PEOPLE), _people(rng, N_PEOPLE)
    area = rng.uniform(1000, 50_000, N_PEOPLE)
    evaluation = _peer(gt, pred, area)
    sigmas = evaluation.params.kpt_oks_sigmas
    found: dict[str, np.ndarray] = {}

    def ours() -> float:
        start = time.perf_counter()
        found["ours"] = kp.metrics.oks_matrix(
            gt[..., :2], pred[..., :2], gt[..., 2], area, sigmas, np.zeros((N_PEOPLE, 4))
        )
        return 1000 * (time.perf_counter() - start)

    def peer() -> float:
        start = time.perf_counter()
        found["peer"] = evaluation.computeOks(1, 1)
        return 1000 * (time.perf_counter() - start)

    times = _in_turn({"ours": ours, "peer": peer}, n)
    is_labeled = (gt[..., 2] > 0).any(axis=1)
    worst = np.abs(found["ours"].T - found["peer"])[:, is_labeled].max()
    assert worst < 1e-12, f"the two matrices differ by {worst}"
    note = f"{N_PEOPLE} x {N_PEOPLE} people of 17 keypoints; largest difference {worst:.1e}"
    return [
        against_peer(
            "OKS matrix against pycocotools' loop",
            "ms",
            times["ours"],
            times["peer"],
            LIMIT,
            note=note,
        )
    ]
