"""Sample photographs, the drawn dataset and photograph-like noise."""

from __future__ import annotations

import io
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kpwidget import samples
from kpwidget.images import ImageSource
from kpwidget.samples import made_photo, sample_dataset, sample_images


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    real = samples.find_spec

    def find(name: str) -> ModuleSpec | None:
        return None if name in missing else real(name)

    monkeypatch.setattr(samples, "find_spec", find)


def test_grace_hopper_comes_with_matplotlib() -> None:
    paths = sample_images("grace_hopper")
    assert list(paths) == ["grace_hopper"]
    assert ImageSource(paths["grace_hopper"]).size == (512, 600)


def test_the_photographs_of_scikit_image_are_found_on_disk() -> None:
    pytest.importorskip("skimage")
    paths = sample_images()
    assert list(paths) == ["grace_hopper", "astronaut", "chelsea"]
    assert ImageSource(paths["astronaut"]).size == (512, 512)
    assert ImageSource(paths["chelsea"]).size == (451, 300)
    assert list(sample_images(["chelsea", "grace_hopper"])) == ["chelsea", "grace_hopper"]


def test_without_scikit_image_the_extra_is_named_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without(monkeypatch, "skimage")
    assert list(sample_images(["grace_hopper"])) == ["grace_hopper"]
    for names in (None, "chelsea"):
        with pytest.raises(ImportError, match=r'skimage.*pip install "kpwidget\[demo\]"'):
            sample_images(names)


def test_a_photograph_that_is_not_shipped_is_left_out_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = ModuleSpec("skimage", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "chelsea.png").write_bytes(b"x")
    real = samples.find_spec
    monkeypatch.setattr(samples, "find_spec", lambda n: spec if n == "skimage" else real(n))
    assert list(sample_images()) == ["grace_hopper", "chelsea"]
    with pytest.raises(FileNotFoundError, match=r"does not ship 'astronaut' .*data/astronaut\.png"):
        sample_images(["astronaut"])


def test_unknown_names_are_all_listed() -> None:
    with pytest.raises(ValueError, match="no 'lena', 'x'; choose from 'grace_hopper', 'astronaut'"):
        sample_images(["lena", "chelsea", "x"])


def test_made_photos_are_reproducible_and_differ_by_seed() -> None:
    first = made_photo(97, 61, seed=4)
    assert first.shape == (61, 97, 3)
    assert first.dtype == np.uint8
    assert (first == made_photo(97, 61, seed=4)).all()
    assert (first != made_photo(97, 61, seed=5)).mean() > 0.9


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 2)])
def test_made_photos_of_any_size(size: tuple[int, int]) -> None:
    assert made_photo(*size).shape == (size[1], size[0], 3)


def test_a_made_photo_compresses_like_a_photograph() -> None:
    # Photographs at quality 90 have about 0.1 to 0.5 bytes a pixel, and PNG gains little on them;
    # flat drawings and white noise (over 1 byte a pixel) lie far outside.
    photo = made_photo(1000, 750, seed=1)
    n_bytes = {}
    for kind in ("JPEG", "PNG"):
        out = io.BytesIO()
        Image.fromarray(photo).save(out, kind, quality=90)
        n_bytes[kind] = len(out.getvalue()) / (1000 * 750)
    assert 0.1 < n_bytes["JPEG"] < 0.5
    assert 1.0 < n_bytes["PNG"] < 2.5
    assert photo.std() > 25
    assert ((photo == 0) | (photo == 255)).mean() < 0.02


def test_made_photos_need_a_size() -> None:
    with pytest.raises(ValueError, match="width and height >= 1, got 0 and 5"):
        made_photo(0, 5)


def test_a_sample_dataset_has_keypoints_where_the_joints_were_drawn() -> None:
    dataset = sample_dataset(6, seed=2)
    assert len(dataset.images) == 6
    assert [len(image.instances) for image in dataset.images] == [1, 1, 2, 1, 1, 2]
    n_visible = n_occluded = n_unlabeled = 0
    for image in dataset.images:
        pixels = np.asarray(image.open())
        assert pixels.shape == (480, 640, 3)
        assert (image.width, image.height) == (640, 480)
        for instance in image.instances:
            assert instance.category.name == "person"
            keypoints = np.asarray(instance.keypoints)
            assert keypoints.shape == (17, 3)
            for x, y, visibility in keypoints:
                if visibility == 2:
                    # A joint is a dot of radius 4 in this colour around its keypoint; a dot drawn
                    # later may overlap it, in the same colour.
                    assert pixels[int(y), int(x)].tolist() == [250, 250, 245]
                    n_visible += 1
                elif visibility == 1:
                    assert pixels[int(y), int(x)].tolist() != [250, 250, 245]
                    n_occluded += 1
                else:
                    assert np.isnan([x, y]).all()
                    n_unlabeled += 1
    assert n_visible > 100
    assert n_occluded > 0
    assert n_unlabeled > 0


def test_sample_datasets_are_reproducible_and_start_alike() -> None:
    small, large = sample_dataset(2, seed=1), sample_dataset(4, seed=1)
    other = sample_dataset(2, seed=2)
    assert (np.asarray(small.images[1].open()) == np.asarray(large.images[1].open())).all()
    np.testing.assert_array_equal(small.keypoints("person"), large.keypoints("person")[:2])
    assert not np.array_equal(small.keypoints("person"), other.keypoints("person"), equal_nan=True)


def test_the_left_of_a_figure_is_its_own_left() -> None:
    # The figures face the camera: the person's left is on the right of the picture.
    keypoints = sample_dataset(3).keypoints("person")
    left_shoulder, right_shoulder = 5, 6  # COCO's order
    assert (keypoints[:, left_shoulder, 0] > keypoints[:, right_shoulder, 0]).all()


def test_a_sample_dataset_needs_an_image() -> None:
    with pytest.raises(ValueError, match="n >= 1, got 0"):
        sample_dataset(0)
