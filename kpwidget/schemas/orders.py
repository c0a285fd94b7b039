"""Orders in which datasets have the same keypoints, and a look at which one points are in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kpwidget.geometry import edge_length_ratios

__all__ = ["find_other_order", "has_other_orders"]

# Of mmpose 759b39c, configs/_base_/datasets/animalpose.py, and of openpifpaf 37aacea,
# plugins/animalpose/constants.py.
_LIMBS: Final = [f"{side}_{k}" for k in ("F", "B") for side in ("L", "R")]
_ANIMAL: Final = [
    *("L_Eye", "R_Eye", "L_EarBase", "R_EarBase", "Nose", "Throat", "TailBase", "Withers"),
    *(f"{limb}_{part}" for part in ("Elbow", "Knee", "Paw") for limb in _LIMBS),
]
_ANIMAL_NOSE_FIRST: Final = ["Nose", *_ANIMAL[:4], *_ANIMAL[5:]]

# Of mmpose 759b39c, configs/_base_/datasets: coco_wholebody_hand.py, interhand2d.py and rhd2d.py.
_FINGERS: Final = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
_HAND: Final = ["wrist", *(f"{finger}{k}" for finger in _FINGERS for k in (1, 2, 3, 4))]
_FROM_THE_TIPS: Final = [f"{finger}{k}" for finger in _FINGERS for k in (4, 3, 2, 1)]

_ORDERS: Final[tuple[tuple[tuple[str, list[str]], ...], ...]] = (
    (
        ("Animal-Pose (eyes, ears, nose)", _ANIMAL),
        ("Animal-Pose in openpifpaf (nose first)", _ANIMAL_NOSE_FIRST),
    ),
    (
        ("COCO-WholeBody's hands (wrist first, fingers from their base)", _HAND),
        ("InterHand2D (fingers from their tip, wrist last)", [*_FROM_THE_TIPS, "wrist"]),
        ("RHD (wrist first, fingers from their tip)", ["wrist", *_FROM_THE_TIPS]),
    ),
)

_LEAST_INSTANCES: Final = 5
_MOST_INSTANCES: Final = 1000
#: Half of the instances have edges at least so much shorter in the other order, and of all ...
#: Heads of animals seen from their side come to 0.82 in the wrong order, from in front to 1.4.
_RATIO: Final = 0.75
#: ... so many have shorter ones.
_SHARE: Final = 0.8


def has_other_orders(names: Sequence[str]) -> bool:
    """Whether other orders of these keypoints are known.

    Parameters
    ----------
    names : sequence of str
    """
    own = sorted(map(_plain, names))
    return any(own == sorted(map(_plain, family[0][1])) for family in _ORDERS)


def find_other_order(
    keypoints: NDArray[np.float64], names: Sequence[str], edges: NDArray[np.int64]
) -> str:
    """Say that edges are much shorter in another order that is known for the same names.

    Parameters
    ----------
    keypoints : ndarray of shape (n_instances, n_keypoints, 3)
        (x, y, visibility) in image pixels. Visibility 0 is unlabeled.
    names : sequence of str
        Of the keypoints; upper and lower case and anything but letters and digits do not count.
    edges : ndarray of shape (n_edges, 2)
        0-based.

    Returns
    -------
    str
        What was found, in words; empty if nothing was, if no other order is known for the names, or
        if fewer than 5 instances tell. Of more than 1,000, as many that are evenly spaced are
        looked at. Compared are, for each instance, the edges that join other points in the other
        order and have both ends labeled in both. Found is the order with the least median of the
        ratio of their lengths, if that is below 0.75 and 80 % of the instances are below 1.
    """
    keypoints = keypoints[:: -(-len(keypoints) // _MOST_INSTANCES) or 1]
    own = [_plain(name) for name in names]
    best, found = _RATIO, ""
    for family in _ORDERS:
        for label, order in family:
            known = [_plain(name) for name in order]
            if own == known or sorted(own) != sorted(known):
                continue
            places = np.array([known.index(name) for name in own])
            ratios = edge_length_ratios(keypoints, edges, places)
            ratios = ratios[~np.isnan(ratios)]
            if len(ratios) < _LEAST_INSTANCES or np.mean(ratios < 1) < _SHARE:
                continue
            median = float(np.median(ratios))
            if median < best:
                best = median
                found = (
                    f"edges would be {1 - median:.0%} shorter (the median of {len(ratios)} "
                    f"instances) if the keypoints were in the order of {label}: the points seem to "
                    "be in that order, and their names in another. Nothing was changed"
                )
    return found


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())
