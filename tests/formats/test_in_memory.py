from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import kpwidget as kp
from kpwidget.dataset import Dataset
from kpwidget.formats.in_memory import (
    from_fiftyone,
    from_movement,
    from_supervision,
    to_fiftyone,
    to_movement,
    to_supervision,
)
from kpwidget.schema import FormatError, Schema
from tests.formats.examples import EXAMPLES, check_example, needs_examples

ANIMAL = Schema("animal", ["nose", "left_eye", "right_eye", "tail"], [(1, 2), (1, 3), (1, 4)])


@pytest.fixture
def example() -> Dataset:
    return kp.read(EXAMPLES / "coco/person_keypoints.json")


@needs_examples
def test_supervision_and_back(example: Dataset) -> None:
    sv = pytest.importorskip("supervision", reason="supervision is not installed")
    found = to_supervision(example)
    of = found["img1.png"]
    assert isinstance(of, sv.KeyPoints)
    np.testing.assert_array_equal(of.xy[0], [[10.5, 8.25], [12, 7], [0, 0], [50.5, 40]])
    assert of.class_id.tolist() == [0, 0]
    assert len(found["img2.png"]) == 0
    check_example(from_supervision(found, ANIMAL), has_boxes=False)
    plain = {"img1.png": sv.KeyPoints(xy=of.xy), "img2.png": sv.KeyPoints.empty()}
    check_example(from_supervision(plain, ANIMAL, model="m"), has_boxes=False, has_occluded=False)


def test_supervision_has_one_number_of_keypoints(tiny_dataset: Dataset) -> None:
    pytest.importorskip("supervision", reason="supervision is not installed")
    with pytest.raises(ValueError, match=r"the categories have \[2, 4\]"):
        to_supervision(tiny_dataset)
    animals = tiny_dataset.select(category="animal").copy()
    found = to_supervision(animals)
    with pytest.raises(FormatError, match="'a.png' instance 1: has class 0 and 4 keypoints"):
        from_supervision(found, Schema("x", ["a"]))


@needs_examples
def test_fiftyone_and_back(example: Dataset) -> None:
    fo = pytest.importorskip("fiftyone", reason="fiftyone is not installed")
    found = to_fiftyone(example)
    assert isinstance(found["img1.png"], fo.Keypoints)
    nose, _, right_eye, _ = found["img1.png"].keypoints[0].points
    assert nose == pytest.approx((10.5 / 64, 8.25 / 48))
    assert np.isnan(right_eye).all()
    sizes = dict.fromkeys(found, (64, 48))
    check_example(from_fiftyone(found, ANIMAL, sizes))


def test_fiftyone_labels_without_a_schema_are_named() -> None:
    label = SimpleNamespace(label="<b>", points=[(0.5, 0.5)])
    with pytest.raises(FormatError, match="'a.png' instance 1: has the label '<b>' and 1 keyp"):
        from_fiftyone({"a.png": SimpleNamespace(keypoints=[label])}, ANIMAL, {"a.png": (64, 48)})


@needs_examples
def test_movement_and_back(example: Dataset) -> None:
    pytest.importorskip("movement", reason="movement is not installed")
    poses = to_movement(example, fps=10)
    assert poses.sizes == {"time": 2, "space": 2, "keypoints": 4, "individuals": 2}
    tail = poses["position"].sel(keypoints="tail", individuals="id_0").values
    np.testing.assert_array_equal(tail, [[50.5, 40], [np.nan, np.nan]])
    names = [image.file_name for image in example.images]
    again = from_movement(poses, names, ANIMAL)
    check_example(again, has_occluded=False, has_boxes=False)
    assert [instance.track_id for instance in again.instances] == ["id_0", "id_1"]
    with pytest.raises(ValueError, match="as many points as file names, 1"):
        from_movement(poses, names[:1])
    with pytest.raises(ValueError, match="has the keypoints"):
        from_movement(poses, names, Schema("x", ["a"]))
