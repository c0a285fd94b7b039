"""How fast a person labels, and how long the rest may take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import kpwidget as kp
from kpwidget import history, store
from kpwidget.dataset import Dataset
from kpwidget.quality.intervals import median_interval
from kpwidget.widget import Annotator
from kpwidget.widget.pace import Estimate, Pace

from .fake_browser import Browser, wait_for

ORIGIN = ("widget", "ada")
TOO_FEW = "time left: not enough data (you have done {} of 6 images); D marks an image as done"


class Person:
    """Labels sticks in the annotator, each edit so many seconds after the one before."""

    def __init__(self, browser: Browser, clock: SimpleNamespace) -> None:
        self.browser = browser
        self.clock = clock

    def do(self, after: float, **body: Any) -> None:
        self.clock.now += after
        self.browser.do(**body)

    def stick(self, image: int, first: float, second: float = 4, uid: str = "") -> None:
        """Two clicks, the second of which finishes the instance."""
        uid = uid or f"stick {image}"
        at = {"op": "point", "image": image, "instance": uid, "x": 1, "y": 1, "visibility": 2}
        self.do(first, **at, keypoint=0, new=True, next=[0, uid, 1])
        self.do(second, **at, keypoint=1, finish=True, next=[0, uid, None])

    def done(self, image: int, after: float = 1, is_done: bool = True) -> None:
        self.do(after, op="status", image=image, done=is_done)

    def six(self) -> None:
        """Six images: nobody knows since when the first click of all was thought of."""
        for image in range(6):
            self.stick(image, first=image)
            self.done(image)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1e9)
    monkeypatch.setattr(history, "time", SimpleNamespace(time=lambda: clock.now))
    return clock


@pytest.fixture
def pictures(stick: kp.Schema) -> Dataset:
    pixels = np.zeros((48, 64, 3), np.uint8)
    return Dataset.from_images({f"{i}.png": pixels for i in range(8)}, stick, annotator="ada")


@pytest.fixture
def person(
    make: Callable[..., Browser], pictures: Dataset, clock: SimpleNamespace
) -> Iterator[Person]:
    return Person(make(pictures), clock)


def pace_of(person: Person) -> Pace:
    return person.browser.annotator.pace


def test_times_by_hand(person):
    """Instances took 4 to 9 s, images 5 to 10: medians 6.5 and 7.5, of six the extremes around."""
    person.six()
    pace = pace_of(person)
    assert pace.annotator == "ada"
    assert pace.instance == pytest.approx((6, 6.5, 4, 9))
    assert pace.image == pytest.approx((6, 7.5, 5, 10))
    # Two are left: 2 x 7.5, t of 5 degrees of freedom is 2.5706, the variance of 5 to 10 is 3.5.
    half = 2.5706 * (3.5 * (2 + 2**2 / 6)) ** 0.5
    assert pace.n_left == 2
    assert pace.left == pytest.approx((6, 15, 15 - half, 15 + half), rel=1e-4)
    assert str(pace) == "6.5 s an instance · about 15 s left (7.1 to 23)"


def test_a_break_is_not_work(person):
    person.six()
    person.clock.now += 7200
    person.stick(6, first=0, second=120)
    person.stick(6, first=1, second=120.5, uid="with a break")
    assert pace_of(person).instance.n == 8
    person.done(6)
    # 120 of the first, 1 of the second before its break, and 1 for the mark.
    assert pace_of(person).image == pytest.approx((7, 8, 5, 122))


def test_what_is_undone_or_done_by_others_does_not_count(person, pictures):
    person.six()
    before = pace_of(person)
    pictures.images[7].set_status("done")  # by code
    for y in (5, 6):
        pictures.add_instance(7, "stick", [[1, y, 2], [2, y, 2]])
    assert pace_of(person).image == before.image
    assert pace_of(person).instance == before.instance
    assert pace_of(person).n_left == 1
    pictures.annotator = "bob"
    person.stick(7, first=50)
    assert pace_of(person).annotator == "bob"
    pictures.annotator = "ada"
    assert pace_of(person).instance == before.instance

    person.do(0, op="undo")  # the mark of the last image
    assert pace_of(person).image == Estimate(5, *[pytest.approx(np.nan, nan_ok=True)] * 3)
    assert str(pace_of(person)) == f"6.5 s an instance · {TOO_FEW.format(5)}"
    person.do(0, op="redo")
    assert pace_of(person).image == before.image
    person.done(5, is_done=False)
    assert pace_of(person).image.n == 5
    person.done(5)  # two seconds more, and the 54 that bob was there
    assert pace_of(person).image == pytest.approx((6, 7.5, 5, 66))
    pictures.instance("stick 0").remove()
    assert pace_of(person).instance.n == 5


def test_a_skip_belongs_to_the_instance_under_way(person):
    at = {"op": "point", "image": 0, "instance": "a", "x": 1, "y": 1, "visibility": 2}
    person.do(0, **at, keypoint=0, new=True, next=[0, "a", 1])
    person.do(3, op="skip", image=0, next=[0, "a", 1])
    person.do(2, op="finish", image=0, instance="a", next=[0, "a", None])
    for image in range(1, 6):
        person.stick(image, first=50, second=50)
    assert pace_of(person).instance == pytest.approx((6, 100, 5, 100))


def test_too_few_say_so(person):
    assert str(pace_of(person)) == TOO_FEW.format(0)
    person.stick(0, first=1)
    person.done(0)
    pace = pace_of(person)
    assert np.isnan([*pace.instance[1:], *pace.image[1:], *pace.left[1:]]).all()
    assert str(pace) == TOO_FEW.format(1)


def test_it_goes_on_after_a_restart(make, stick, clock, tmp_path):
    def opened() -> Dataset:
        pixels = np.zeros((48, 64, 3), np.uint8)
        dataset = Dataset.from_images(
            {f"{i}.png": pixels for i in range(8)}, stick, annotator="ada"
        )
        store.attach_journal(dataset, tmp_path)
        return dataset

    person = Person(make(opened()), clock)
    person.six()
    before = pace_of(person)
    after = Annotator(opened(), journal=False).pace
    assert after.instance.n == before.instance.n == 6
    # The journal keeps the time of writing, in which this test is quick.
    assert 0 < after.image.high < 5
    assert after.n_left == 2


def test_the_browser_is_told_when_nothing_else_is_done(person):
    person.browser.hello()
    person.six()
    wait_for(lambda: person.browser.scene["pace"])
    assert person.browser.scene["pace"] == str(pace_of(person))


@pytest.mark.parametrize(
    ("left", "words"),
    [
        pytest.param((6, 660, 540, 840), "about 11 min left (9 to 14)", id="minutes"),
        pytest.param((6, 90, 40, 130), "about 2 min left (40 s to 2 min)", id="units"),
        pytest.param((6, 50, 0, 130), "about 50 s left (at most 2 min)", id="from nothing"),
        pytest.param((6, 9000, 7200, 36000), "about 2 h 30 min left (2 h to 10 h)", id="hours"),
    ],
)
def test_times_in_words(left, words):
    pace = Pace("ada", Estimate(2), Estimate(6, 1, 1, 1), 3, Estimate(*left))
    assert str(pace) == words


@pytest.mark.parametrize(("n", "k"), [(6, 1), (8, 1), (9, 2), (10, 2), (25, 8), (100, 40)])
def test_the_interval_of_a_median_is_that_of_the_tables(n, k):
    """Conover (1999), table A3: which order statistics hold the median with 95 %."""
    values = list(range(1, n + 1))
    assert median_interval(values[::-1]) == (k, n + 1 - k)


def test_five_values_have_no_interval_of_the_median():
    assert np.isnan(median_interval([1, 2, 3, 4, 5])).all()
