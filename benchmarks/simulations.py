"""What the quality checks are worth, by simulation: bias, intervals, false alarms, power.

``python -m benchmarks.simulations`` prints it beside what is known of the methods, about three
minutes; exit code 1 if a type I error is not between 2 and 7 % or an interval holds less than 90 %.
"""

from __future__ import annotations

import sys

import numpy as np

import kpwidget as kp
from kpwidget import quality
from kpwidget.quality.flags import flag_findings
from kpwidget.quality.intervals import median_interval
from kpwidget.quality.labels import labels_of
from kpwidget.widget.pace import estimate_sum

SEED = 20261122
NOMINAL = (0.02, 0.07)


def noise(rng: np.random.Generator, n_runs: int = 2000) -> list[tuple[str, bool]]:
    """Bias of the estimate of label noise and how often its interval has the truth."""
    lines = []
    for n, sd, period in ((20, 2, 0), (60, 2, 0), (200, 2, 0), (200, 5, 60), (200, 2, 60),
                          (200, 0.5, 60)):  # fmt: skip
        t = np.arange(n)
        motion = 80 * np.sin(2 * np.pi * t / period)[:, None] if period else np.zeros((n, 1))
        found = []
        for _ in range(n_runs):
            x = motion + rng.normal(0, sd, (n, 2))
            found.append(quality.label_noise(x[2:] - 2 * x[1:-1] + x[:-2]))
        bias = np.mean([one.sd for one in found]) / sd - 1
        holds = np.mean([one.low <= sd <= one.high for one in found])
        what = "still" if not period else f"80 px, period {period}"
        lines.append(
            (f"noise {sd} px, {n} frames, {what}: bias {bias:+.1%}, interval {holds:.1%}",
             holds >= 0.9)
        )  # fmt: skip
    return lines


def drift(
    rng: np.random.Generator, n_null: int = 1000, n_power: int = 200
) -> list[tuple[str, bool]]:
    """Type I error and power of the drift test: 100 images, 34 series, one shifted half-way."""
    lines = []
    known = {0.0: "2.5 % in 200 runs", 0.5: "15 %", 1.0: "79 %", 1.5: "100 %"}
    for shift, reference in known.items():
        n_runs = n_power if shift else n_null
        n_found, places = 0, []
        for run in range(n_runs):
            series = rng.normal(size=(100, 34))
            series[50:, 3] += shift
            test = quality.drift_test(series, rng=run, n_permutations=199)
            n_found += test.p_value <= 0.05
            if test.p_values[3] <= 0.05:
                places.append(int(test.change[3]))
        share = n_found / n_runs
        text = f"drift by {shift} sd: found in {share:.1%} of {n_runs} (known: {reference})"
        if shift:
            text += f", change at {np.median(places):.0f} (truth 50)" if places else ""
        lines.append((text, bool(shift) or NOMINAL[0] <= share <= NOMINAL[1]))
    # Rows of one image belong together: four instances an image that share half of the variance.
    n_found = 0
    for run in range(n_null // 2):
        own = np.repeat(rng.normal(size=(40, 6)), 4, axis=0) + rng.normal(size=(160, 6))
        test = quality.drift_test(own, np.repeat(np.arange(40), 4), rng=run, n_permutations=199)
        n_found += test.p_value <= 0.05
    share = n_found / (n_null // 2)
    lines.append(
        (f"drift, four instances an image: type I {share:.1%}", NOMINAL[0] <= share <= NOMINAL[1])
    )
    return lines


def anchors(
    rng: np.random.Generator, n_null: int = 300, n_power: int = 60
) -> list[tuple[str, bool]]:
    """Of anchors: the order of the later labels alone against pairs that the change lies between.

    One of ten images comes again, at random, once 10 others were labeled; 34 series, one of which
    shifts. Noise of either label is 1 sd, so that of a difference is 1.4.
    """
    lines = []
    cases = ((400, 0.0, 0.5), (400, 1.5, 0.5), (400, 2.0, 0.75), (1000, 1.0, 0.5))
    for n_images, shift, where in cases:
        n_runs = n_power if shift else n_null
        n_found = np.zeros(2)
        for run in range(n_runs):
            again = np.arange(10, n_images, 10)
            first: list[int] = []
            for now in again.tolist():
                first.append(int(rng.choice(np.setdiff1d(np.arange(now - 9), first))))
            times = np.column_stack([first, again])
            pairs = rng.normal(0, np.sqrt(2), (len(times), 34))
            is_across = (times[:, 0] < where * n_images) & (times[:, 1] >= where * n_images)
            pairs[is_across, 3] += shift
            both = (None, times)
            n_found += [
                quality.drift_test(pairs, times=one, rng=run, n_permutations=199).p_value <= 0.05
                for one in both
            ]
        by_order, by_pairs = n_found / n_runs
        lines.append(
            (f"anchors, {len(times)} of {n_images} images, shift {shift} sd at {where:.0%}: by "
             f"order {by_order:.1%}, by pairs {by_pairs:.1%} of {n_runs}",
             bool(shift) or NOMINAL[0] <= by_pairs <= NOMINAL[1])
        )  # fmt: skip
    return lines


def flags(
    rng: np.random.Generator, n_null: int = 2000, n_power: int = 300
) -> list[tuple[str, bool]]:
    """How often flags at random are called leaning, or an annotator one who never uses a flag."""
    pixels = np.zeros((2, 2), np.uint8)
    schema = kp.schemas.get("coco17")
    layout = schema.layout
    assert layout is not None
    dataset = kp.Dataset.from_images({f"{i}.png": pixels for i in range(80)}, schema)
    with dataset.transaction("made"):
        for i in range(80):
            points = np.column_stack([layout, np.full(17, 2)])
            dataset.add_instance(i, keypoints=points, annotator="ab"[i % 2])
    [made] = labels_of(dataset)
    lines = []
    for lean, name, n_runs in (
        (0.5, "type I", n_null),
        (0.8, "found of a pair that leans 4 to 1", n_power),
    ):
        n_found = n_annotators = 0
        for _ in range(n_runs):
            visibility = rng.choice([1, 2], (80, 17), p=[0.3, 0.7])
            one = np.flatnonzero(visibility[:, 9] != visibility[:, 10])
            visibility[one, 9] = np.where(rng.random(len(one)) < lean, 1, 2)
            visibility[one, 10] = 3 - visibility[one, 9]
            points = made.points.copy()
            points[..., 2] = visibility
            found = flag_findings(made._replace(points=points))
            n_found += any("alone" in f.reason for f in found)
            n_annotators += any("annotator" in f.reason for f in found)
        share = n_found / n_runs
        lines.append(
            (f"flip pairs, 80 images: {name} {share:.1%} of {n_runs}; annotators {n_annotators}",
             lean != 0.5 or NOMINAL[0] <= share <= NOMINAL[1])
        )  # fmt: skip
    for n, p in ((20, 0.2), (40, 0.1)):
        n_found = 0
        for _ in range(n_null // 4):
            points = made.points[:n].copy()
            points[..., 2] = rng.choice([1, 2], (n, 17), p=[p, 1 - p])
            few = made._replace(points=points, rows=made.rows[:n], images=made.images[:n])
            n_found += any(" occluded in " in f.reason for f in flag_findings(few))
        share = n_found / (n_null // 4)
        lines.append(
            (f"always or never occluded, {n} images, {p:.0%} are: type I {share:.1%}",
             share <= NOMINAL[1])
        )  # fmt: skip
    return lines


def time_left(rng: np.random.Generator, n_runs: int = 2000) -> list[tuple[str, bool]]:
    """How often the annotator's interval of the time left has the time that the rest takes.

    Times of images are lognormal, 40 images in all. Beside it n times the median with its interval.
    Where slow images come in a row (the logarithms of neighbours are correlated) no interval of
    this kind holds: this is said, not demanded.
    """
    lines = []
    for sd, rho in ((0.3, 0.0), (0.5, 0.0), (0.5, 0.5)):
        for n in (6, 10, 20):
            holds, median_holds = 0, 0
            ratios = np.empty((2, n_runs))
            for run in range(n_runs):
                z = rng.standard_normal(40)
                for i in range(1, 40):
                    z[i] = rho * z[i - 1] + np.sqrt(1 - rho**2) * z[i]
                times = np.exp(sd * z)
                done, rest = times[:n], float(times[n:].sum())
                left = estimate_sum(done, 40 - n)
                holds += left.low <= rest <= left.high
                low, high = median_interval(done.tolist())
                median_holds += low <= rest / (40 - n) <= high
                ratios[:, run] = left.seconds / rest, (40 - n) * np.median(done) / rest
            bias, median_bias = ratios.mean(axis=1) - 1
            lines.append(
                (f"time left after {n} of 40 images, sd of the logarithm {sd}, correlation "
                 f"{rho}: bias {bias:+.1%}, "
                 f"interval {holds / n_runs:.1%}; by the median {median_bias:+.1%}, "
                 f"{median_holds / n_runs:.1%}",
                 bool(rho) or holds >= 0.9 * n_runs)
            )  # fmt: skip
    return lines


def main() -> int:
    rng = np.random.default_rng(SEED)
    is_good = True
    print(f"seed {SEED}")
    for measure in (noise, drift, anchors, flags, time_left):
        for text, is_as_expected in measure(rng):
            is_good &= is_as_expected
            print(f"{'' if is_as_expected else 'NOT AS EXPECTED  '}{text}", flush=True)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
