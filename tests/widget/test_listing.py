"""What each filter leaves and each sort makes of a small dataset, worked by hand: see `zoo`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kpwidget.dataset import Dataset
from kpwidget.widget.listing import FLAGS, SORTS, Listing, Query
from kpwidget.widget.wire import Refused

from .zoo import query, zoo


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return zoo(tmp_path)


def found(dataset: Dataset, **changes: Any) -> list[int]:
    listing = Listing(dataset, range(5), dataset._table.live_rows())
    return listing.find(Query.of(query(**changes))).tolist()


EVERY = [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, EVERY, id="everything"),
        pytest.param({"text": "axe"}, [1, 4], id="text"),
        pytest.param({"text": "BEACH"}, [0], id="text in capitals"),
        pytest.param({"text": "a/"}, [1, 4], id="folder"),
        pytest.param({"text": "<img"}, [3], id="markup is text"),
        pytest.param({"text": "a.*e"}, [], id="no pattern"),
        pytest.param({"category": "face"}, [0, 1, 3], id="category"),
        pytest.param({"category": "stick"}, [0, 4], id="other category"),
        pytest.param({"category": "wing"}, [], id="no such category"),
        pytest.param({"annotator": "bob"}, [0, 1], id="annotator"),
        pytest.param({"annotator": "bob", "category": "face"}, [1], id="one instance fits both"),
        pytest.param({"annotator": "cy", "category": "face"}, [], id="no instance fits both"),
        pytest.param({"keypoint": "left"}, [0, 3], id="labeled"),
        pytest.param({"keypoint": "left", "visibility": "visible"}, [3], id="visible"),
        pytest.param({"keypoint": "left", "visibility": "occluded"}, [0], id="occluded"),
        pytest.param({"keypoint": "left", "visibility": "unlabeled"}, [1], id="unlabeled"),
        pytest.param({"keypoint": "tip", "visibility": "unlabeled"}, [4], id="of the other schema"),
        pytest.param({"keypoint": "wing"}, [], id="no such keypoint"),
        pytest.param({"visibility": "occluded"}, EVERY, id="visibility of no keypoint"),
        pytest.param({"instances": [1, None]}, [0, 1, 3, 4], id="some instance"),
        pytest.param({"instances": [0, 0]}, [2], id="no instance"),
        pytest.param({"instances": [2, 2]}, [0], id="two instances"),
        pytest.param({"instances": [3, 1]}, [], id="least above greatest"),
        pytest.param({"instances": [None, 1]}, [1, 2, 3, 4], id="no least"),
        pytest.param({"labeled": [2, None]}, [0, 3], id="at least two labeled"),
        pytest.param({"labeled": [0, 0]}, [4], id="none labeled"),
        pytest.param({"labeled": [3, 4]}, [0], id="a range of labeled"),
        pytest.param({"size": [10, None]}, [0, 3], id="size"),
        pytest.param({"size": [0.5, 1]}, [1], id="small"),
        pytest.param({"size": [12, 12]}, [3], id="size of a given box"),
        pytest.param({"size": [0, 1e9]}, [0, 1, 3], id="what has no box has no size"),
        pytest.param({"score": 0.6}, EVERY, id="a score hides instances, not images"),
        pytest.param({"score": 0.6, "instances": [1, None]}, [0, 3, 4], id="counted by score"),
        pytest.param({"score": 0.6, "category": "stick"}, [4], id="low ones do not fit"),
        pytest.param({"score": 0.9, "category": "face"}, [0, 3], id="the least score itself stays"),
        pytest.param({"picked": True}, [], id="nothing is picked"),
    ],
)
def test_filters(dataset, changes, expected):
    assert found(dataset, **changes) == expected


def test_only_what_is_picked(dataset):
    listing = Listing(dataset, range(5), dataset._table.live_rows())
    picked = frozenset({4, 1, 2})
    assert listing.find(Query(picked=True), picked).tolist() == [1, 2, 4]
    assert listing.find(Query(picked=True, text="axe"), picked).tolist() == [1, 4]


@pytest.mark.parametrize(
    ("sort", "rising", "falling"),
    [
        # NaN comes last both ways; equal ones stay in the order of the dataset.
        pytest.param("position", EVERY, [4, 3, 2, 1, 0], id="position"),
        pytest.param("name", [3, 1, 4, 0, 2], [2, 0, 4, 1, 3], id="name"),  # "<" is before "a"
        pytest.param("instances", [2, 1, 3, 4, 0], [0, 1, 3, 4, 2], id="instances"),  # 2 1 0 1 1
        pytest.param("labeled", [2, 4, 1, 3, 0], [0, 3, 1, 2, 4], id="labeled"),  # 6 1 0 2 0
        pytest.param("size", [1, 3, 0, 2, 4], [0, 3, 1, 2, 4], id="size"),  # 34.6 1 - 12 -
        # The lowest one of an image when rising (0.2), the highest (0.9) when falling.
        pytest.param("score", [0, 1, 4, 2, 3], [0, 4, 1, 2, 3], id="score"),
        # 3072, 768, 1000, 1600, 3072
        pytest.param("pixels", [1, 2, 3, 0, 4], [0, 4, 3, 2, 1], id="pixels"),
        # ada and bob, bob, -, -, cy: an image goes by its first name
        pytest.param("annotator", [0, 1, 4, 2, 3], [4, 1, 0, 2, 3], id="annotator"),
    ],
)
def test_sorts(dataset, sort, rising, falling):
    assert found(dataset, sort=sort) == rising
    assert found(dataset, sort=sort, descending=True) == falling


def test_every_sort_is_tested_but_that_of_a_comparison():
    names = {mark.values[0] for mark in test_sorts.pytestmark[0].args[1]}
    assert names == set(SORTS) - {"distance"}


def test_a_sort_leaves_out_instances_of_low_score(dataset):
    # Labeled with a score of 0.6 or none: 4, -, -, 2, 0
    assert found(dataset, sort="labeled", score=0.6, descending=True) == [0, 3, 1, 2, 4]
    # Sizes: 10, -, -, 12, -
    assert found(dataset, sort="size", score=0.6) == [0, 3, 1, 2, 4]
    assert found(dataset, sort="size", score=0.6, descending=True) == [3, 0, 1, 2, 4]


def test_distances_that_are_given_sort(dataset):
    listing = Listing(dataset, range(5), dataset._table.live_rows())
    given = np.array([3.0, math.nan, 1.0, 7.0, math.nan])
    assert listing.find(Query(sort="distance"), distances=given).tolist() == [2, 0, 3, 1, 4]
    falling = listing.find(Query(sort="distance", descending=True), distances=given)
    assert falling.tolist() == [3, 0, 2, 1, 4]


def test_a_part_of_the_images_and_instances_is_listed_alone(dataset):
    rows = [dataset._table.row(uid) for uid in ("stick", "bare")]
    listing = Listing(dataset, [0, 2, 4], rows)
    assert listing.find(Query()).tolist() == [0, 2, 4]
    assert listing.find(Query(category="face")).tolist() == []
    assert listing.find(Query(instances=(1, 1))).tolist() == [0, 4]
    assert listing.find(Query(sort="score", descending=True)).tolist() == [4, 0, 2]
    assert listing.annotators == ["bob", "cy"]
    assert listing.scores == (0.2, 0.7)


def test_names_and_scores_that_there_are(dataset):
    listing = Listing(dataset, range(5), dataset._table.live_rows())
    assert listing.annotators == ["ada", "bob", "cy"]
    assert listing.scores == (0.2, 0.9)
    assert Listing(dataset, [3], []).scores is None


# --- queries as they cross the wire ---------------------------------------------------------------


def test_a_query_comes_back_as_it_was_sent():
    sent = query(
        text="ä", keypoint="top", visibility="occluded", size=[0.5, 12], labeled=[1, None],
        score=0.25, picked=True, sort="name", descending=True,
    )  # fmt: skip
    told = Query.of(sent).to_wire()
    assert told == sent
    assert Query.of(json.loads(json.dumps(told, allow_nan=False))).to_wire() == told


def test_the_flags_are_those_of_coco():
    assert FLAGS == {
        "labeled": (1, 2), "visible": (2,), "occluded": (1,), "unlabeled": (0,)
    }  # fmt: skip


WRONG = {
    "text": [5, None, ["a"], "x" * 10_001, "\ud800"],
    "category": [0, None, {}, "\udfff"],
    "keypoint": [0, None, "\ud800"],
    "visibility": ["", "seen", 2, None, ["visible"]],
    "annotator": [1, None, "\ud800"],
    "instances": [5, None, [], [1], [1, 2, 3], ["1", None], [math.nan, None], [True, None], "ab"],
    "labeled": [5, [0, math.inf], [0, "x"], {"least": 0}],
    "size": [5, [-math.inf, None], [0, 10**400], [[0], 1]],
    "score": ["0.5", math.nan, math.inf, True, [0.5]],
    "picked": ["yes", 1, None, []],
    "sort": ["", "color", 0, None, ["name"]],
    "descending": ["no", 0, None],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_wrong_value_is_refused_in_words_that_name_it(name, value):
    with pytest.raises(Refused) as refused:
        Query.of(query(**{name: value}))
    text = str(refused.value)
    assert text.startswith((f"{name}: expected", "least: expected", "greatest: expected"))
    assert len(text) < 250


def test_every_field_of_a_query_is_tried():
    assert set(WRONG) == set(query())


@pytest.mark.parametrize("value", [None, [], "all", 5])
def test_what_is_no_query_is_refused(value):
    with pytest.raises(Refused, match="query: expected an object"):
        Query.of(value)
