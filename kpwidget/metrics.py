"""Numbers from keypoint arrays: OKS, PCK, NME, AP, matching and classes of error.

Each function takes arrays and sigmas, never a dataset, and handles all instances at once. Keypoints
are (x, y) in image pixels. Formulas, their sources and what they do not tell: docs/metrics.md.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ERROR_CLASSES",
    "GOOD",
    "NEAR",
    "Matches",
    "error_classes",
    "iou_matrix",
    "keypoint_ap",
    "keypoint_distance",
    "match_instances",
    "match_labels",
    "nme",
    "oks",
    "oks_matrix",
    "pck",
    "relative_distances",
]

Floats = NDArray[np.float64]

#: Added to areas before dividing by them, as pycocotools does (cocoeval.py, ``computeOks``).
_SPACING: Final = float(np.spacing(1))

GOOD: Final = 0.85
NEAR: Final = 0.5
"""Similarities of one keypoint from which a point counts as right, and as near: ``jitterKsThrs`` of
coco-analyze (matteorr/coco-analyze, pycocotools/cocoanalyze.py)."""

#: Instances further apart than this share of their size are taken for different ones.
_SAME: Final = 0.5

ERROR_CLASSES: Final = ("unlabeled", "good", "jitter", "inversion", "swap", "miss")
"""What the numbers of `error_classes` mean, by position."""

#: The names of COCO's ten numbers, in the order of pycocotools' ``summarize``.
_AP_NAMES: Final = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")


class Matches(NamedTuple):
    """What `match_instances` finds.

    Attributes
    ----------
    pairs : ndarray of shape (n_pairs, 2)
        Row and column of each pair, by row.
    unmatched_gt, unmatched_pred : ndarray of int
        Rows and columns that are in no pair.
    """

    pairs: NDArray[np.int64]
    unmatched_gt: NDArray[np.int64]
    unmatched_pred: NDArray[np.int64]


def oks(
    gt: ArrayLike,
    pred: ArrayLike,
    visibility: ArrayLike,
    area: ArrayLike,
    sigmas: ArrayLike,
    bbox: ArrayLike | None = None,
) -> Floats:
    """Object keypoint similarity of each ground-truth instance with its prediction.

    Parameters
    ----------
    gt, pred : array_like of shape (n_instances, n_keypoints, 2)
        (x, y) in image pixels. Rows correspond. NaN where not labeled; a prediction that is NaN has
        the similarity 0 at that keypoint.
    visibility : array_like of shape (n_instances, n_keypoints)
        Of the ground truth. Keypoints above 0 count.
    area : array_like of shape (n_instances,)
        Object area in square pixels. COCO uses the segment's; a box's is larger and gives higher
        values.
    sigmas : array_like of shape (n_keypoints,)
        As in `Schema.sigmas`, before doubling.
    bbox : array_like of shape (n_instances, 4), optional
        (x, y, width, height) of the ground truth in image pixels. With it an instance without a
        labeled keypoint is scored as pycocotools does: by how far the prediction is outside of the
        box of three times the size around the same centre.

    Returns
    -------
    ndarray of shape (n_instances,)
        In [0, 1]. NaN where no keypoint is labeled and there is no `bbox`.

    Raises
    ------
    ValueError
        If shapes disagree, a labeled keypoint has no location, or `sigmas` has not one positive
        value per keypoint.

    References
    ----------
    .. [1] pycocotools, cocoeval.py, ``computeOks``.

    Examples
    --------
    One sigma times the root of the area away scores ``exp(-1/8)``:

    >>> oks([[[0, 0]]], [[[10, 0]]], [[2]], [10000], [0.1]).round(4)
    array([0.8825])
    """
    points, is_labeled, areas, variances = _ground_truth(gt, visibility, area, sigmas)
    other = _points(pred, "pred", points.shape)
    values = _similarity(points, other, areas[:, None], variances)
    boxes = None if bbox is None else _boxes(bbox, "bbox", len(points))
    n_labeled = is_labeled.sum(axis=1)
    total = np.where(is_labeled, values, 0.0).sum(axis=1)
    with np.errstate(invalid="ignore"):
        found = np.where(n_labeled > 0, total / n_labeled, np.nan)
    if boxes is not None:
        outside = _outside(boxes[:, None], other)
        around = _falloff(outside, areas[:, None], variances).mean(axis=1)
        found = np.where(n_labeled > 0, found, around)
    return cast(Floats, found)


def oks_matrix(
    gt: ArrayLike,
    pred: ArrayLike,
    visibility: ArrayLike,
    area: ArrayLike,
    sigmas: ArrayLike,
    bbox: ArrayLike | None = None,
) -> Floats:
    """Object keypoint similarity of every ground-truth instance with every prediction.

    Parameters
    ----------
    gt : array_like of shape (n_gt, n_keypoints, 2)
    pred : array_like of shape (n_pred, n_keypoints, 2)
    visibility, area, sigmas, bbox
        Of the ground truth, as of `oks`.

    Returns
    -------
    ndarray of shape (n_gt, n_pred)
        In [0, 1]. NaN in the rows of ground truth without a labeled keypoint, if there is no
        `bbox`.

    Raises
    ------
    ValueError
        As `oks`.

    References
    ----------
    .. [1] pycocotools, cocoeval.py, ``computeOks``.
    """
    points, is_labeled, areas, variances = _ground_truth(gt, visibility, area, sigmas)
    others = _points(pred, "pred", (None, points.shape[1], 2))
    boxes = None if bbox is None else _boxes(bbox, "bbox", len(points))
    n_labeled = is_labeled.sum(axis=1)
    total = np.zeros((len(points), len(others)))
    if len(points) and len(others):
        # Keypoint by keypoint and in place: what is worked on stays small, and in the cache.
        x, y = np.empty_like(total), np.empty_like(total)
        for k in range(points.shape[1]):
            np.subtract(points[:, None, k, 0], others[None, :, k, 0], out=x)
            np.subtract(points[:, None, k, 1], others[None, :, k, 1], out=y)
            x *= x
            y *= y
            x += y
            x /= -2 * variances[k] * (areas[:, None] + _SPACING)
            np.exp(x, out=x)
            x[~is_labeled[:, k]] = 0
            x[:, np.isnan(others[:, k]).any(axis=1)] = 0
            total += x
    with np.errstate(invalid="ignore"):
        found = total / n_labeled[:, None]
    if boxes is not None:
        for row in np.flatnonzero(n_labeled == 0).tolist():
            outside = _outside(boxes[row], others)
            found[row] = _falloff(outside, areas[row], variances).mean(axis=1)
    return cast(Floats, found)


def iou_matrix(gt: ArrayLike, pred: ArrayLike) -> Floats:
    """Intersection over union of every box with every other.

    Parameters
    ----------
    gt : array_like of shape (n_gt, 4)
        (x, y, width, height) in image pixels. NaN where there is none.
    pred : array_like of shape (n_pred, 4)

    Returns
    -------
    ndarray of shape (n_gt, n_pred)
        In [0, 1]; 0 where either is NaN or both are empty.
    """
    ours, theirs = _boxes(gt, "gt", None)[:, None], _boxes(pred, "pred", None)[None]
    low = np.maximum(ours[..., :2], theirs[..., :2])
    high = np.minimum(ours[..., :2] + ours[..., 2:], theirs[..., :2] + theirs[..., 2:])
    shared = np.maximum(high - low, 0).prod(axis=-1)
    union = ours[..., 2:].prod(axis=-1) + theirs[..., 2:].prod(axis=-1) - shared
    found = np.zeros(shared.shape)
    np.divide(shared, union, out=found, where=union > 0)
    return found


def relative_distances(
    gt: ArrayLike, pred: ArrayLike, gt_visibility: ArrayLike, pred_visibility: ArrayLike
) -> Floats:
    """Mean distance of the keypoints that two instances share, for every pair, in units of size.

    For pairing label sets without sigmas or areas: two people's labels, or a schema that nobody has
    measured.

    Parameters
    ----------
    gt : array_like of shape (n_gt, n_keypoints, 2)
    pred : array_like of shape (n_pred, n_keypoints, 2)
        (x, y) in image pixels.
    gt_visibility, pred_visibility : array_like of shape (n_gt, n_keypoints) and (n_pred,
    n_keypoints)
        Keypoints above 0 count.

    Returns
    -------
    ndarray of shape (n_gt, n_pred)
        The unit is the root of the area of the box around the labeled keypoints of `gt`, at least 1
        px and a tenth of its longer side. Infinite where no keypoint is labeled in both.
    """
    a = _points(gt, "gt", (None, None, 2))
    b = _points(pred, "pred", (None, a.shape[1], 2))
    is_in_a = np.asarray(gt_visibility) > 0
    is_in_b = np.asarray(pred_visibility) > 0
    low = np.where(is_in_a[..., None], a, np.inf).min(axis=1, initial=np.inf)
    high = np.where(is_in_a[..., None], a, -np.inf).max(axis=1, initial=-np.inf)
    sides = np.maximum(high - low, 0)  # where nothing is labeled, nothing is compared
    size = np.maximum(np.sqrt(sides.prod(axis=1)), np.maximum(0.1 * sides.max(axis=1), 1.0))
    both = is_in_a[:, None] & is_in_b[None]
    apart = np.where(both[..., None], a[:, None] - b[None], 0.0)
    n_both = both.sum(axis=2)
    total = np.hypot(apart[..., 0], apart[..., 1]).sum(axis=2)
    mean = np.where(n_both > 0, total / np.maximum(n_both, 1), np.inf)
    return cast(Floats, mean / size[:, None])


def match_instances(similarity: ArrayLike, least: float) -> Matches:
    """Which ground-truth instances and predictions belong together, and which to nothing.

    Each is in one pair at most. Of all ways to pair them, that one is taken whose similarities
    exceed `least` by the greatest sum.

    Parameters
    ----------
    similarity : array_like of shape (n_gt, n_pred)
        The more the better: from `oks_matrix`, `iou_matrix`, or distances with a minus before them.
        NaN is never paired.
    least : float
        Pairs below it are not made.

    Returns
    -------
    Matches

    Notes
    -----
    That is an assignment, not COCO's matching, which goes through the predictions by their scores
    and gives each the best that is left: `keypoint_ap` does that.

    Examples
    --------
    >>> match_instances([[0.9, 0.6], [0.8, 0.0]], 0.5).pairs.tolist()
    [[0, 1], [1, 0]]
    """
    from scipy.optimize import linear_sum_assignment

    values = np.asarray(similarity, np.float64)
    if values.ndim != 2:
        raise ValueError(f"similarity has shape {values.shape}, expected (n_gt, n_pred)")
    is_possible = values >= least
    gain = np.where(is_possible, values - least, 0.0)
    rows, columns = linear_sum_assignment(gain, maximize=True)
    kept = is_possible[rows, columns]
    pairs = np.stack([rows[kept], columns[kept]], axis=1).astype(np.int64)
    rest = [np.setdiff1d(np.arange(n), pairs[:, i]) for i, n in enumerate(values.shape)]
    return Matches(pairs, rest[0], rest[1])


def match_labels(first: ArrayLike, second: ArrayLike) -> Matches:
    """Which instances of two label sets of one image are the same object.

    They are told by the distances of their keypoints alone, so it needs neither sigmas nor areas,
    and finds an instance also where one of two people has swapped its sides or placed a point
    elsewhere.

    Parameters
    ----------
    first, second : array_like of shape (n_first, n_keypoints, 3) and (n_second, n_keypoints, 3)
        (x, y, visibility), x and y in image pixels.

    Returns
    -------
    Matches
        As many pairs as there can be, and of all ways to make them the one with the least sum of
        `relative_distances`. Instances further apart than half their size are never a pair.
    """
    a, b = _points(first, "first", (None, None, 3)), _points(second, "second", (None, None, 3))
    apart = relative_distances(a[..., :2], b[..., :2], a[..., 2], b[..., 2])
    # Another pair is worth more than the nearness of all.
    n_pairs = 1 + min(apart.shape, default=0)
    return match_instances(np.where(apart <= _SAME, n_pairs - apart, -np.inf), 0.0)


def keypoint_distance(points: ArrayLike, first: int, second: int) -> Floats:
    """Distance between two keypoints of each instance: the length for `pck` and `nme`.

    Parameters
    ----------
    points : array_like of shape (n_instances, n_keypoints, 2)
        (x, y) in image pixels. NaN where not labeled.
    first, second : int
        0-based indices, of names: ``schema.index("left_hip")``. The hips and shoulders for the
        torso, the outer eye corners for faces; never numbers from another schema.

    Returns
    -------
    ndarray of shape (n_instances,)
        Image pixels; NaN where either is not labeled.
    """
    xy = _points(points, "points", (None, None, 2))
    return cast(Floats, np.hypot(*(xy[:, first] - xy[:, second]).T))


def pck(
    gt: ArrayLike, pred: ArrayLike, visibility: ArrayLike, length: ArrayLike, threshold: float
) -> Floats:
    """Percentage of correct keypoints, for each keypoint: how many are near enough.

    Parameters
    ----------
    gt, pred : array_like of shape (n_instances, n_keypoints, 2)
        (x, y) in image pixels. A prediction that is NaN is not near.
    visibility : array_like of shape (n_instances, n_keypoints)
        Of the ground truth. Keypoints above 0 count.
    length : array_like of shape (n_instances,)
        What the distances are compared with, in image pixels: the longer side of the box (PCK), the
        size of the head (PCKh), the torso (tPCK), from `keypoint_distance` or of your own.
        Instances where it is NaN or not above 0 are left out.
    threshold : float
        As a share of `length`; usual are 0.05 for the box, 0.5 for the head, 0.2 for the torso.

    Returns
    -------
    ndarray of shape (n_keypoints,)
        In [0, 1]: the share of the labeled ones with ``distance <= threshold * length``. NaN where
        none is labeled. Its mean without the NaN is the average that MMPose calls PCK.

    References
    ----------
    .. [1] Yang & Ramanan, Articulated Human Detection with Flexible Mixtures of Parts, PAMI 2013.
    .. [2] MMPose, mmpose/evaluation/functional/keypoint_eval.py, ``keypoint_pck_accuracy``.
    """
    distances, is_used = _normalized(gt, pred, visibility, length)
    is_near = is_used & (distances <= threshold)
    with np.errstate(invalid="ignore"):
        return cast(Floats, is_near.sum(axis=0) / is_used.sum(axis=0))


def nme(gt: ArrayLike, pred: ArrayLike, visibility: ArrayLike, length: ArrayLike) -> Floats:
    """Normalised mean error of each instance: mean distance of its keypoints by its own length.

    Parameters
    ----------
    gt, pred : array_like of shape (n_instances, n_keypoints, 2)
        (x, y) in image pixels.
    visibility : array_like of shape (n_instances, n_keypoints)
        Of the ground truth. Keypoints above 0 count.
    length : array_like of shape (n_instances,)
        In image pixels; for faces the distance of the outer eye corners, `keypoint_distance`.

    Returns
    -------
    ndarray of shape (n_instances,)
        NaN where nothing is labeled or the length is NaN or not above 0, and where a prediction
        that is needed is NaN.

    References
    ----------
    .. [1] Sagonas et al., 300 Faces in-the-Wild Challenge, ICCV Workshops 2013.
    """
    distances, is_used = _normalized(gt, pred, visibility, length)
    total = np.where(is_used, distances, 0.0).sum(axis=1)
    with np.errstate(invalid="ignore"):
        found = total / is_used.sum(axis=1)
    found[np.isinf(found)] = np.nan
    return cast(Floats, found)


def error_classes(
    gt: ArrayLike,
    pred: ArrayLike,
    visibility: ArrayLike,
    area: ArrayLike,
    sigmas: ArrayLike,
    flip_indices: ArrayLike,
    gt_of_pred: ArrayLike,
    image: ArrayLike | None = None,
) -> NDArray[np.int8]:
    """What is wrong with each keypoint of predictions that belong to a ground-truth instance.

    The classes of Ronchi and Perona [1]_. The similarity of one predicted point to a place of its
    kind is ``exp(-d^2 / (8 sigma^2 area))``. It is compared with the right place, with that of its
    left-right twin, and with both on all other instances of the image. The best of these decides:
    the right one is **good** from .85 and **jitter** from .5; the twin is an **inversion** and
    another instance a **swap** from .5; below .5 it is a **miss**.

    Parameters
    ----------
    gt : array_like of shape (n_gt, n_keypoints, 2)
        (x, y) in image pixels: all instances of the images, those without a prediction too.
    pred : array_like of shape (n_pred, n_keypoints, 2)
        NaN counts as a miss.
    visibility, area
        Of `gt`, shapes (n_gt, n_keypoints) and (n_gt,), as of `oks`.
    sigmas : array_like of shape (n_keypoints,)
    flip_indices : array_like of shape (n_keypoints,)
        `Schema.flip_indices`: for each keypoint the index of its twin, its own where it has none.
    gt_of_pred : array_like of int, shape (n_pred,)
        The row of `gt` that each prediction belongs to, `match_instances`; they start at OKS .1
        [2]_.
    image : array_like of shape (n_gt,), optional
        Which image each of `gt` is in. All in one by default.

    Returns
    -------
    ndarray of int8, shape (n_pred, n_keypoints)
        Positions in `ERROR_CLASSES`; 0 where the ground truth is not labeled.

    References
    ----------
    .. [1] Ronchi & Perona, Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation, ICCV
       2017, arXiv 1707.05388.
    .. [2] matteorr/coco-analyze at 20dc544, pycocotools/cocoanalyze.py, ``_find_kpt_errors``. There
           a
       similarity of exactly .85 is in no class; here it is good.
    """
    points, is_labeled, areas, variances = _ground_truth(gt, visibility, area, sigmas)
    others = _points(pred, "pred", (None, points.shape[1], 2))
    own = np.asarray(gt_of_pred, np.int64)
    if own.shape != (len(others),) or ((own < 0) | (own >= len(points))).any():
        raise ValueError(
            f"gt_of_pred: expected {len(others)} rows of gt from 0 to {len(points) - 1}, one for "
            f"each prediction, got shape {own.shape}"
        )
    flip = np.asarray(flip_indices, np.int64)
    if sorted(flip.tolist()) != list(range(points.shape[1])):
        raise ValueError(
            f"flip_indices: expected a permutation of 0 to {points.shape[1] - 1}, got "
            f"{flip.tolist()}"
        )
    images = np.zeros(len(points)) if image is None else np.asarray(image)
    if images.shape != (len(points),):
        raise ValueError(f"image has shape {images.shape}, expected ({len(points)},)")

    def similarity(to: NDArray[np.int64], of: NDArray[np.int64], is_twin: bool) -> Floats:
        """Of points of predictions to places of ground truth, row by row; -1: not labeled."""
        places = (to[:, None], flip[None] if is_twin else np.arange(len(flip))[None])
        values = _similarity(points[places], others[of], areas[to, None], variances)
        return np.where(is_labeled[places], values, -1.0)

    everyone = np.arange(len(others))
    right, twin = (similarity(own, everyone, is_twin) for is_twin in (False, True))
    # Pairs of a prediction and another instance of its image, for all images at once.
    order = np.argsort(images, kind="stable")
    _, start, count = np.unique(images[order], return_index=True, return_counts=True)
    group = np.searchsorted(np.unique(images), images[own])
    of = np.repeat(everyone, count[group])
    within = np.arange(len(of)) - np.repeat(np.cumsum(count[group]) - count[group], count[group])
    to = order[start[group][of] + within] if len(of) else of
    is_other = to != own[of]
    to, of = to[is_other], of[is_other]
    elsewhere = np.full(right.shape, -1.0)
    for is_twin in (False, True):
        np.maximum.at(elsewhere, of, similarity(to, of, is_twin))

    best = np.maximum(np.maximum(right, twin), elsewhere)
    classes = np.select(
        [best < NEAR, (right == best) & (best >= GOOD), right == best, twin == best],
        [5, 1, 2, 3],
        4,
    )
    return np.where(is_labeled[own], classes, 0).astype(np.int8)


def keypoint_ap(
    gt: ArrayLike,
    pred: ArrayLike,
    score: ArrayLike,
    area: ArrayLike,
    sigmas: ArrayLike,
    *,
    gt_image: ArrayLike,
    pred_image: ArrayLike,
    bbox: ArrayLike,
    iscrowd: ArrayLike | None = None,
    max_detections: int = 20,
) -> dict[str, float]:
    """COCO's average precision and recall of keypoints, for any number of them.

    Counted by faster-coco-eval, which is pycocotools' evaluation in C++: ``pip install
    "kpwidget[ap]"``.

    Parameters
    ----------
    gt : array_like of shape (n_gt, n_keypoints, 3)
        (x, y, visibility), x and y in image pixels.
    pred : array_like of shape (n_pred, n_keypoints, 2)
    score : array_like of shape (n_pred,)
        Confidence of each prediction.
    area : array_like of shape (n_gt,)
        Object area in square pixels. It also tells medium (32^2 to 96^2) from large instances.
    sigmas : array_like of shape (n_keypoints,)
    gt_image, pred_image : array_like of int, shape (n_gt,) and (n_pred,)
        Which image each is in.
    bbox : array_like of shape (n_gt, 4)
        (x, y, width, height) of the ground truth in image pixels.
    iscrowd : array_like of shape (n_gt,), optional
        Above 0: neither found nor missed counts. So do instances without a labeled keypoint.
    max_detections : int, default 20
        The best so many predictions of an image count.

    Returns
    -------
    dict of str to float
        AP, AP50, AP75, APm, APl, AR, AR50, AR75, ARm, ARl. NaN where there is nothing to count,
        which COCO writes as -1.

    Raises
    ------
    ImportError
        If faster-coco-eval is not installed.
    ValueError
        If shapes disagree, or a prediction has a NaN.

    Notes
    -----
    The size of a prediction, which decides whether one that fits nothing counts among the medium or
    the large ones, is the area of the box around its keypoints, as in pycocotools' ``loadRes``.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise ImportError(
            'keypoint_ap counts with faster-coco-eval: pip install "kpwidget[ap]"'
        ) from error
    labels = _points(gt, "gt", (None, None, 3))
    n_gt, n_keypoints = labels.shape[:2]
    found = _points(pred, "pred", (None, n_keypoints, 2))
    wrong = np.flatnonzero(~np.isfinite(found).all(axis=(1, 2)))
    if len(wrong):
        raise ValueError(
            f"pred: {len(wrong)} predictions have a NaN (the first is row {wrong[0]}); COCO's "
            "evaluation needs a place for every keypoint: give the best guess, or leave the "
            "prediction out"
        )
    columns = {
        "area": (area, n_gt),
        "gt_image": (gt_image, n_gt),
        "iscrowd": (np.zeros(n_gt) if iscrowd is None else iscrowd, n_gt),
        "score": (score, len(found)),
        "pred_image": (pred_image, len(found)),
    }
    checked = {name: _column(values, name, n) for name, (values, n) in columns.items()}
    boxes = _boxes(bbox, "bbox", n_gt)
    _variances(sigmas, n_keypoints)
    # Ids are ours, from 1: an evaluation takes 0 for none.
    images, number = np.unique(
        np.concatenate([checked["gt_image"], checked["pred_image"]]), return_inverse=True
    )
    number = (number + 1).tolist()
    flat = np.nan_to_num(labels).reshape(n_gt, 3 * n_keypoints).tolist()
    n_labeled = (labels[..., 2] > 0).sum(axis=1).tolist()
    annotations = [
        {
            "id": i + 1,
            "image_id": number[i],
            "category_id": 1,
            "keypoints": flat[i],
            "num_keypoints": n_labeled[i],
            "area": float(checked["area"][i]),
            "bbox": boxes[i].tolist(),
            "iscrowd": int(checked["iscrowd"][i] > 0),
        }
        for i in range(n_gt)
    ]
    with_flags = np.concatenate([found, np.full((*found.shape[:2], 1), 2.0)], axis=2)
    results = [
        {"image_id": image, "category_id": 1, "keypoints": points, "score": float(confidence)}
        for image, points, confidence in zip(
            number[n_gt:],
            with_flags.reshape(len(found), 3 * n_keypoints).tolist(),
            checked["score"],
            strict=True,
        )
    ]
    truth = COCO(
        {
            "images": [{"id": i + 1} for i in range(len(images))],
            "categories": [{"id": 1, "name": "object"}],
            "annotations": annotations,
        }
    )
    evaluation = COCOeval_faster(
        truth,
        truth.loadRes(results),
        "keypoints",
        kpt_oks_sigmas=np.asarray(sigmas, np.float64).tolist(),
        print_function=lambda *said: None,
    )
    evaluation.params.maxDets = [max_detections]
    evaluation.run()
    values = [float(value) for value in evaluation.stats[: len(_AP_NAMES)]]
    return {n: v if v >= 0 else np.nan for n, v in zip(_AP_NAMES, values, strict=True)}


def _points(values: ArrayLike, name: str, shape: tuple[int | None, ...]) -> Floats:
    """An array of floats whose shape fits, None standing for any length."""
    array = np.asarray(values, np.float64)
    fits = array.ndim == len(shape) and all(
        n is None or n == is_there for n, is_there in zip(shape, array.shape, strict=True)
    )
    if not fits:
        expected = ", ".join("n" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} has shape {array.shape}, expected ({expected})")
    return array


def _column(values: ArrayLike, name: str, n: int) -> NDArray[Any]:
    array = np.asarray(values)
    if array.shape != (n,):
        raise ValueError(f"{name} has shape {array.shape}, expected ({n},)")
    return array


def _boxes(values: ArrayLike, name: str, n: int | None) -> Floats:
    return _points(values, name, (n, 4))


def _variances(sigmas: ArrayLike, n_keypoints: int) -> Floats:
    """``(2 sigma)^2`` for each keypoint."""
    values = np.asarray(sigmas, np.float64)
    if values.shape != (n_keypoints,) or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(
            f"sigmas: expected {n_keypoints} values above 0, one for each keypoint, got "
            f"{values.tolist()}"
        )
    return (values * 2) ** 2


def _ground_truth(
    gt: ArrayLike, visibility: ArrayLike, area: ArrayLike, sigmas: ArrayLike
) -> tuple[Floats, NDArray[np.bool_], Floats, Floats]:
    """Points, which are labeled, areas and variances, once they have been found to agree."""
    points = _points(gt, "gt", (None, None, 2))
    flags = _points(visibility, "visibility", points.shape[:2])
    areas = _column(np.asarray(area, np.float64), "area", len(points))
    is_labeled = flags > 0
    lost = np.argwhere(is_labeled & ~np.isfinite(points).all(axis=2))
    if len(lost):
        raise ValueError(
            f"gt: {len(lost)} labeled keypoints have no location (the first is keypoint "
            f"{lost[0, 1]} of instance {lost[0, 0]}); their visibility must be 0"
        )
    bad = np.flatnonzero(~(areas >= 0))
    if len(bad):
        raise ValueError(f"area: expected square pixels, instance {bad[0]} has {areas[bad[0]]}")
    return points, is_labeled, areas, _variances(sigmas, points.shape[1])


def _similarity(gt: Floats, pred: Floats, area: Floats, variance: Any) -> Floats:
    """``exp(-d^2 / (2 variance area))`` of single keypoints; 0 where the prediction is NaN."""
    dx, dy = gt[..., 0] - pred[..., 0], gt[..., 1] - pred[..., 1]
    return np.nan_to_num(_falloff(dx**2 + dy**2, area, variance), copy=False)


def _falloff(squared: Floats, area: Any, variance: Any) -> Floats:
    return cast(Floats, np.exp(-(squared / variance / (area + _SPACING) / 2)))


def _outside(box: Floats, points: Floats) -> Floats:
    """Squared distance of points to the box of three times the size, by pycocotools' formula."""
    low = box[..., :2] - box[..., 2:]
    high = box[..., :2] + 2 * box[..., 2:]
    apart = np.maximum(0, low - points) + np.maximum(0, points - high)
    return cast(Floats, (apart**2).sum(axis=-1))


def _normalized(
    gt: ArrayLike, pred: ArrayLike, visibility: ArrayLike, length: ArrayLike
) -> tuple[Floats, NDArray[np.bool_]]:
    """Distances by the length of each instance, infinite without a prediction; which count."""
    points = _points(gt, "gt", (None, None, 2))
    others = _points(pred, "pred", points.shape)
    flags = _points(visibility, "visibility", points.shape[:2])
    lengths = _column(np.asarray(length, np.float64), "length", len(points))
    is_used = (flags > 0) & (lengths > 0)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        distances = np.linalg.norm(points - others, axis=2) / lengths[:, None]
    return np.where(np.isnan(distances), np.inf, distances), is_used
