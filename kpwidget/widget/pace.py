"""How fast a person labels, and how long the rest may take: `Pace`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..dataset import Dataset
from ..journal import PAUSE
from .wire import Cursor

#: Finished ones below which no time is said: of fewer, no two order statistics hold the median
#: between them with 95 %.
LEAST: Final = 6
#: Only the last so many are looked at: a pace changes.
_LAST: Final = 200


class Estimate(NamedTuple):
    """A time with its 95 % interval.

    Attributes
    ----------
    n : int
        How many instances or images it stands on.
    seconds, low, high : float
        NaN where `n` is below 6: not enough data.
    """

    n: int
    seconds: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Pace:
    """How fast a person has labeled in the annotator, and how long the rest may take.

    The time of an edit is that since the edit of the same person before it; after more than two
    minutes without one it is a break and does not count. It belongs to the image and the instance
    of the edit. What was undone took time, too. With a journal, edits from before a restart of the
    kernel count; of all of them the last 4,000 steps, and of these the last 200 instances and
    images. In words: ``str(annotator.pace)``.

    Attributes
    ----------
    annotator : str
        Whose pace it is.
    instance : Estimate
        Median time of an instance that this person has drawn and finished, and that is still there,
        with the interval of the median by order statistics.
    image : Estimate
        The same of an image that this person has marked as done, and that is done.
    n_left : int
        Images that are not done.
    left : Estimate
        Time for these: `n_left` times the mean time of an image, with the prediction interval of a
        sum by Student's t; `n` images. The mean and not the median, for a few slow images are a
        part of the sum. It takes the images left for alike and independent. For lognormal times it
        holds the true rest in 91 to 95 %, in 76 % where neighbours are correlated by 0.5 (``python
        -m benchmarks.simulations``).
    """

    annotator: str
    instance: Estimate
    image: Estimate
    n_left: int
    left: Estimate

    def __str__(self) -> str:
        """The times in words, those that are known."""
        parts = []
        if self.instance.n >= LEAST:
            parts.append(f"{_in_words(self.instance.seconds)} an instance")
        if self.n_left and self.left.n >= LEAST:
            low, middle, high = map(_in_words, (self.left.low, self.left.seconds, self.left.high))
            [*of_low, unit], [*of_high, same] = low.split(), high.split()
            if unit == same == middle.split()[-1] and len(of_low) == len(of_high) == 1:
                low, high = of_low[0], of_high[0]
            between = f"{low} to {high}" if self.left.low > 0 else f"at most {high}"
            parts.append(f"about {middle} left ({between})")
        elif self.n_left and self.image.n + self.n_left > LEAST:
            parts.append(
                f"time left: not enough data (you have done {self.image.n} of {LEAST} images); "
                "D marks an image as done"
            )
        return " · ".join(parts)


def measure_pace(dataset: Dataset, origin: tuple[str, str]) -> Pace:
    """How fast the steps of one origin were made, and how long the rest may take.

    Parameters
    ----------
    dataset : Dataset
    origin : (str, str)
        Of the steps of one person in the widget; the second is the annotator.

    Returns
    -------
    Pace
    """
    with dataset.lock:
        in_force = {step.id for step in dataset._history.steps()}
        steps = [step for step in dataset._history.all_steps() if step.origin == origin]
    steps.sort(key=lambda step: step.time)
    of_image: defaultdict[int | None, float] = defaultdict(float)
    of_instance: defaultdict[str | None, float] = defaultdict(float)
    begun: dict[str, None] = {}
    closed: dict[int, None] = {}
    last = math.inf
    for step in steps:
        seconds = step.time - last
        last = step.time
        if 0 < seconds <= PAUSE:
            of_image[step.image] += seconds
            uids = {part.uid for part in step.changes}
            if not step.changes:  # a skip, of what was under way
                uids = {Cursor.of(step.context.get("after")).instance}
            for uid in uids:
                of_instance[uid] += seconds / len(uids)
        if step.id in in_force:
            for part in step.changes:
                if part.what == "instance" and part.before is None and part.uid is not None:
                    begun[part.uid] = None
                elif part.what == "status" and part.after:
                    closed.pop(part.image, None)
                    closed[part.image] = None
    with dataset.lock:
        instances = [
            of_instance[uid]
            for uid in begun
            if of_instance[uid] > 0 and uid in dataset and dataset.instance(uid).is_finished
        ]
        images = [
            of_image[image]
            for image in closed
            if of_image[image] > 0 and dataset.images[image].status == "done"
        ]
        n_left = len(dataset) - dataset.n_done
    images = images[-_LAST:]
    return Pace(
        origin[1],
        _median(instances[-_LAST:]),
        _median(images),
        n_left,
        estimate_sum(images, n_left),
    )


def _median(times: Sequence[float]) -> Estimate:
    from ..quality.intervals import median_interval

    if len(times) < LEAST:
        return Estimate(len(times))
    return Estimate(len(times), float(np.median(times)), *median_interval(times))


def estimate_sum(times: Sequence[float] | NDArray[np.float64], n_more: int) -> Estimate:
    """The sum of so many further times like these.

    Parameters
    ----------
    times : sequence of float
        In seconds.
    n_more : int

    Returns
    -------
    Estimate
        `n_more` times the mean, with the prediction interval by Student's t, not below 0.
    """
    n = len(times)
    if n < LEAST:
        return Estimate(n)
    from scipy.special import stdtrit

    middle = n_more * float(np.mean(times))
    sd = float(np.std(times, ddof=1))
    half = float(stdtrit(n - 1, 0.975)) * sd * math.sqrt(n_more + n_more**2 / n)
    return Estimate(n, middle, max(0.0, middle - half), middle + half)


def _in_words(seconds: float) -> str:
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 10 and minutes else f"{hours} h"
