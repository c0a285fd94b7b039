"""The made files of the benchmarks are what their table of contents says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from benchmarks.synthetic import QUICK_VAL, SMALL, TRAIN, VAL, made_coco


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="module")
def coco(folder: Path) -> Any:
    return COCO(str(made_coco(QUICK_VAL, folder)))


def test_counts_of_the_large_shapes_are_those_of_coco_2017() -> None:
    # The table; 2,693 validation images and 6,352 people with keypoints: cocodataset.org.
    assert (TRAIN.n_images, TRAIN.n_annotations, TRAIN.n_labeled) == (64_115, 262_465, 149_813)
    assert (VAL.n_images, VAL.n_annotations, VAL.n_labeled) == (5_000, 11_004, 6_352)
    assert (VAL.n_images_used, TRAIN.n_megabytes, VAL.n_megabytes) == (2_693, 418, 10)


def test_file_has_as_much_of_everything_as_its_shape_says(coco: Any) -> None:
    annotations = list(coco.anns.values())
    assert len(coco.imgs) == QUICK_VAL.n_images
    assert len(annotations) == QUICK_VAL.n_annotations
    assert sum(a["num_keypoints"] > 0 for a in annotations) == QUICK_VAL.n_labeled
    assert sum(a["iscrowd"] for a in annotations) == QUICK_VAL.n_crowds
    assert len({a["image_id"] for a in annotations}) == QUICK_VAL.n_images_used


def test_keypoints_are_counted_and_inside_their_image(coco: Any) -> None:
    flags: Counter[int] = Counter()
    for annotation in coco.anns.values():
        points = np.array(annotation["keypoints"]).reshape(17, 3)
        image = coco.imgs[annotation["image_id"]]
        is_labeled = points[:, 2] > 0
        assert annotation["num_keypoints"] == is_labeled.sum()
        assert not points[~is_labeled].any()
        assert (points[:, :2] < [image["width"], image["height"]]).all()
        flags.update(points[:, 2].tolist())
    assert set(flags) == {0, 1, 2}


def test_area_and_bbox_are_those_of_the_segmentation(coco: Any) -> None:
    kinds = set()
    for annotation in coco.anns.values():
        x, y, width, height = annotation["bbox"]
        if annotation["iscrowd"]:
            assert annotation["area"] == coco.annToMask(annotation).sum()
        elif len(annotation["segmentation"]) == 1:
            xs, ys = np.array(annotation["segmentation"][0]).reshape(-1, 2).T
            shoelace = abs(np.dot(xs, np.roll(ys, -1)) - np.dot(ys, np.roll(xs, -1))) / 2
            assert annotation["area"] == pytest.approx(shoelace, abs=1e-6)
            assert (x, y) == (xs.min(), ys.min())
            assert (width, height) == pytest.approx((np.ptp(xs), np.ptp(ys)), abs=1e-9)
        kinds.add((annotation["iscrowd"], len(annotation["segmentation"])))
    assert kinds == {(0, 1), (0, 2), (1, 2)}  # an RLE has two fields


def test_text_is_laid_out_as_coco_lays_it_out(folder: Path) -> None:
    text = made_coco(QUICK_VAL, folder).read_text()
    assert text == json.dumps(json.loads(text), separators=(",", ": "))
    first = json.loads(text)["annotations"][0]
    assert list(first) == [
        *("segmentation", "num_keypoints", "area", "iscrowd", "keypoints", "image_id", "bbox"),
        *("category_id", "id"),
    ]


def test_same_shape_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    assert made_coco(SMALL, folder).read_bytes() == made_coco(SMALL, tmp_path).read_bytes()


def test_file_of_another_edition_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / f"{QUICK_VAL.name}.json"
    path.write_text("{}")
    assert made_coco(QUICK_VAL, tmp_path).stat().st_size == pytest.approx(625_000, rel=0.01)
    changed = path.stat().st_mtime_ns
    made_coco(QUICK_VAL, tmp_path)
    assert path.stat().st_mtime_ns == changed


def test_a_point_of_the_template_is_fine_within_coco_sigma(tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="the benchmarks of the widget drive a browser")
    from benchmarks.template import read_people

    # By hand: the root of the area is 100 px; COCO's sigma is 0.026 for a nose, 0.089 for an ankle
    # (pycocotools 2.0.11, Params.kpt_oks_sigmas). Eight labeled points of 17 are too few.
    half, most = ([5, 6, 2] * n + [0, 0, 0] * (17 - n) for n in (8, 9))
    annotations = [
        {"image_id": 7, "area": 10_000, "num_keypoints": n, "keypoints": keypoints}
        for n, keypoints in ((8, half), (9, most))
    ]
    path = tmp_path / "people.json"
    path.write_text(json.dumps({"images": [{"id": 3}, {"id": 7}], "annotations": annotations}))
    [person] = read_people(path)
    assert person.image == 1
    assert person.fine[[0, 16]] == pytest.approx([2.6, 8.9])
