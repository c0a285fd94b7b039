"""Simulations of what is known: bias and coverage of sigmas, offsets and verdicts, with their
seeds.

Labels are made from a known truth and go the way that labels of people go: datasets, passes,
agreement.
"""

from __future__ import annotations

import numpy as np

import kpwidget as kp

from .rig import Rig
from .table import Row

SEED = 8
#: A figure of a front view: side of a box around it 200 px, as in docs/quality.md.
SIZE = 200.0
#: The true sigmas: a hip of COCO is .107, an eye .025.
TRUE_SIGMA = 0.04
#: Type I error and coverage must be within these, with a nominal 5 % and 95 %.
LIMITS = (0.02, 0.07)


def schema(n_keypoints: int, sigma: float = TRUE_SIGMA) -> kp.Schema:
    """A chain of keypoints."""
    names = [f"point {k}" for k in range(n_keypoints)]
    chain = [(k, k + 1) for k in range(1, n_keypoints)]
    return kp.Schema("chain", names, chain, sigmas=[sigma] * n_keypoints, sigma_source="measured")


def double_labels(
    rng: np.random.Generator,
    n: int,
    n_keypoints: int,
    n_people: int = 2,
    offset: float = 0.0,
    is_heavy: bool = False,
) -> kp.Dataset:
    """A dataset of n instances, an image each, that several people have labeled.

    Noise is normal, or a mixture in which a tenth has three times the scatter. Everybody but the
    first places the first keypoint `offset` (in units of sigma times size) further along its limb.
    """
    of = schema(n_keypoints)
    images = {f"{i}.png": np.zeros((1, 1), np.uint8) for i in range(n)}
    ds = kp.Dataset.from_images(images, of, annotator="0")
    truth = rng.uniform(100, 100 + SIZE, (n, n_keypoints, 2))
    people = [ds, *(ds.start_pass(f"pass {j}", annotator=str(j)) for j in range(1, n_people))]
    for j, labels in enumerate(people):
        # sigma is in both dimensions together, of the distance from the place.
        noise = rng.normal(0, TRUE_SIGMA * SIZE / np.sqrt(2), truth.shape)
        if is_heavy:
            factor = np.where(rng.random(truth.shape[:2]) < 0.1, 3.0, 1.0) / np.sqrt(1.8)
            noise *= factor[..., None]
        points = truth + noise
        if j and offset:
            limb = truth[:, 0] - truth[:, 1]
            limb /= np.linalg.norm(limb, axis=1, keepdims=True)
            points[:, 0] += offset * TRUE_SIGMA * SIZE * limb
        with labels.transaction("made"):
            for i in range(n):
                labels.add_instance(i, keypoints=points[i], bbox=(100, 100, SIZE, SIZE))
    for j, labels in enumerate(people[1:], 1):
        ds.add_pass(labels, f"pass {j}")
    return ds


def _within(rate: float, n: int) -> str:
    return f"{n} sets, +- {100 * 1.96 * np.sqrt(rate * (1 - rate) / n):.1f}"


def measure_sigmas(rig: Rig) -> list[Row]:
    """Bias and coverage of `measure_sigmas`, and the spread against that of docs/quality.md."""
    n_sets = rig.samples(60, 10)
    n_keypoints = 10
    rows = []
    cases: list[tuple[str, int, int, bool, str]] = [
        ("10 instances, 2 people", 10, 2, False, "expected 0.68 to 1.31"),
        ("20 instances, 2 people", 20, 2, False, "expected 0.78 to 1.22"),
        ("50 instances, 2 people", 50, 2, False, "expected 0.86 to 1.14"),
        ("20 instances, 3 people", 20, 3, False, "expected 0.85 to 1.15"),
        ("50 instances, 2 people, a tenth three times as far", 50, 2, True, "not normal"),
    ]
    for seed, (name, n, n_people, is_heavy, text) in enumerate(cases):
        rng = np.random.default_rng([SEED, seed])
        ratios: list[float] = []
        hits: list[bool] = []
        for _ in range(n_sets):
            ds = double_labels(rng, n, n_keypoints, n_people, offset=2.0, is_heavy=is_heavy)
            table = kp.quality.measure_sigmas(ds)
            ratios += (table["sigma"] / TRUE_SIGMA).tolist()
            hits += (
                (table["sigma_low"] <= TRUE_SIGMA) & (table["sigma_high"] >= TRUE_SIGMA)
            ).tolist()
        low, high = np.percentile(ratios, [2.5, 97.5])
        bias = float(np.sqrt(np.mean(np.square(ratios))) - 1)
        note = f"{len(ratios)} sigmas; 95 % are {low:.2f} to {high:.2f} of the truth; {text}"
        rows.append(
            Row(
                f"sigma: root of the mean square by the truth, {name}",
                1 + bias,
                "",
                limit="0.97 to 1.03",
                is_reached=abs(bias) <= 0.03,
                note=note,
            )
        )
        missed = 1 - float(np.mean(hits))
        what = f"sigma: interval does not have the truth, {name}"
        # What is not normal is only told: no interval of so few knows how long the tails are.
        rows.append(_rate(what, missed, len(hits), None if is_heavy else LIMITS))
    return rows


def _rate(name: str, rate: float, n: int, limits: tuple[float, float] | None = LIMITS) -> Row:
    if limits is None:
        return Row(name, 100 * rate, "%", note=_within(rate, n))
    low, high = limits
    return Row(
        name,
        100 * rate,
        "%",
        limit=f"{100 * low:g} to {100 * high:g} %",
        is_reached=low <= rate <= high,
        note=_within(rate, n),
    )


def measure_agreement(rig: Rig) -> list[Row]:
    """Type I error, power and coverage of `agreement`, all keypoints of a set together."""
    n_sets = rig.samples(400, 20)
    rows = []
    for seed, (n, n_keypoints) in enumerate(((10, 5), (20, 17), (50, 17))):
        rng = np.random.default_rng([SEED, 100 + seed])
        accused = called_hard = 0
        hits: list[bool] = []
        for _ in range(n_sets):
            found = kp.quality.agreement(double_labels(rng, n, n_keypoints), rng=rng).keypoints
            accused += bool((found["p"] < 0.05).any())
            called_hard += bool((found["verdict"] == "hard point").any())
            for axis in ("along", "across"):
                hits += ((found[f"{axis}_low"] <= 0) & (found[f"{axis}_high"] >= 0)).tolist()
        name = f"{n} instances, {n_keypoints} keypoints"
        rows += [
            _rate(f"offset by chance in any keypoint, {name}", accused / n_sets, n_sets),
            _rate(f"hard point by chance, {name}", called_hard / n_sets, n_sets, (0.0, 0.07)),
            _rate(
                f"offset: interval does not have the truth, {name}", 1 - np.mean(hits), len(hits)
            ),
        ]
    for offset, n in ((1.0, 10), (1.0, 20), (1.0, 50), (2.0, 10)):
        rng = np.random.default_rng([SEED, 200, n, int(offset)])
        right = others = 0
        n_power = max(n_sets // 4, 10)
        for _ in range(n_power):
            found = kp.quality.agreement(
                double_labels(rng, n, 17, offset=offset), rng=rng
            ).keypoints
            is_convention = (found["verdict"] == "two conventions").to_numpy()
            right += bool(is_convention[0])
            others += int(is_convention[1:].sum())
        rows.append(
            Row(
                f"two conventions found: {offset:g} sigma, {n} instances, 17 keypoints",
                100 * right / n_power,
                "%",
                note=f"{n_power} sets; of {16 * n_power} other keypoints {others} were accused",
            )
        )
    return rows
