"""The contact sheet: what is on it, where, and how often a file is opened."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection, PathCollection
from PIL import Image

import kpwidget as kp
from kpwidget.dataset import Dataset
from kpwidget.images import ImageSource
from kpwidget.schema import Schema

PAIR = Schema("pair", ["a", "b"], [(1, 2)])


def colored(n: int, size=(60, 40)) -> Dataset:
    """Images of one colour each, the first (10, 0, 0), the second (20, 0, 0), ..."""
    width, height = size
    pictures = {
        f"{i}.png": np.full((height, width, 3), (10 * (i + 1), 0, 0), np.uint8) for i in range(n)
    }
    ds = Dataset.from_images(pictures, PAIR, annotator="me")
    for i in range(n):
        ds.add_instance(i, keypoints=[(10, 10, 2), (30, 20, 1)])
    return ds


def texts(ax, gid="captions") -> list[str]:
    return [text for a in ax.artists if a.get_gid() == gid for text in a.get_texts()]


def places(ax, gid="captions") -> np.ndarray:
    (found,) = (a for a in ax.artists if a.get_gid() == gid)
    return found.get_offsets()


def color_at(ax, x: float, y: float) -> tuple[int, ...]:
    (picture,) = ax.get_images()
    left, right, bottom, top = picture.get_extent()
    pixels = picture.get_array()
    row = int((y - top) / (bottom - top) * pixels.shape[0])
    column = int((x - left) / (right - left) * pixels.shape[1])
    return tuple(pixels[row, column].tolist())


def test_each_tile_shows_its_image_and_caption():
    ax = kp.plot_grid(colored(5), columns=3)
    assert texts(ax) == ["0.png", "1.png", "2.png", "3.png", "4.png"]
    for i, (x, y) in enumerate(places(ax)):
        assert color_at(ax, x, y - 0.1) == (10 * (i + 1), 0, 0)
    columns = np.round(places(ax)[:, 0], 6)
    assert len(set(columns)) == 3
    assert columns[0] == columns[3]
    assert ax.get_title() == "5 images"
    assert len(ax.get_images()) == 1


def test_marks_are_moved_and_scaled_with_their_image():
    ax = kp.plot_grid(colored(4), columns=2)
    (lines,) = (c for c in ax.collections if isinstance(c, LineCollection))
    # 60 x 40 px on a tile 1 wide: (10, 10) is a sixth across and a sixth down, (30, 20) halfway.
    expected = np.array([[1 / 6, 1 / 6], [1 / 2, 1 / 3]])
    first = lines.get_segments()[0]
    np.testing.assert_allclose(first, expected, atol=1e-12)
    shift = places(ax)[3] - places(ax)[0]
    np.testing.assert_allclose(lines.get_segments()[3], expected + shift, atol=1e-12)
    visible = [c for c in ax.collections if isinstance(c, PathCollection)]
    assert sorted(c.get_gid() for c in visible) == [
        "keypoints-unpaired-occluded",
        "keypoints-unpaired-visible",
    ]
    assert [len(c.get_offsets()) for c in visible] == [4, 4]


def test_an_instance_is_cropped_with_its_margin():
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[30:50, 40:60] = 200
    ds = Dataset.from_images({"a.png": pixels}, PAIR, annotator="me")
    ds.add_instance(0, keypoints=[(40, 30, 2), (60, 50, 2)], bbox=(40, 30, 20, 20))
    ax = kp.plot_grid(ds.instances[:], margin=0.5, captions=False)
    # 20 px and 10 px on either side: the bright square is the middle half of the tile.
    inner, outer = (0.28, 0.5, 0.72), (0.03, 0.22, 0.78, 0.97)
    assert {color_at(ax, x, y) for x in inner for y in inner} == {(200, 200, 200)}
    assert {color_at(ax, x, 0.5) for x in outer} == {(0, 0, 0)}
    assert not ax.artists


def test_a_crop_at_the_border_shows_image_and_not_paper():
    ds = Dataset.from_images({"a.png": np.full((100, 200, 3), 77, np.uint8)}, PAIR, annotator="me")
    ds.add_instance(0, keypoints=[(1, 10, 2), (5, 60, 2)])
    ax = kp.plot_grid(ds.instances[:], captions=False)
    grid = np.linspace(0.01, 0.99, 9)
    assert {color_at(ax, x, y) for x in grid for y in grid} == {(77, 77, 77)}


def test_what_is_left_out_is_said():
    ds = colored(7)
    ax = kp.plot_grid(ds, limit=4)
    assert ax.get_title() == "the first 4 of 7 images"
    assert len(texts(ax)) == 4
    assert kp.plot_grid(ds.instances[:], limit=2).get_title() == "the first 2 of 7 instances"
    assert kp.plot_grid(ds.images[:1]).get_title() == "1 image"


def test_a_selection_shows_its_instances_only():
    ds = colored(3)
    chosen = ds.add_instance(1, keypoints=[(12, 12, 2), (13, 13, 2)])
    ax = kp.plot_grid(ds.select(where=lambda instance: instance == chosen))
    (lines,) = (c for c in ax.collections if isinstance(c, LineCollection))
    assert texts(ax) == ["1.png"]
    assert len(lines.get_segments()) == 1


def test_captions_come_from_a_function_or_a_list():
    ds = colored(3)
    assert texts(kp.plot_grid(ds, captions=lambda image: f"no {image.index}")) == [
        "no 0", "no 1", "no 2"
    ]  # fmt: skip
    assert texts(kp.plot_grid(ds, limit=2, captions=["x", "y", "z"])) == ["x", "y"]
    assert texts(kp.plot_grid(ds.instances[:2])) == ["0.png #1", "1.png #1"]
    with pytest.raises(ValueError, match="captions has 2 texts, expected one for each of 3"):
        kp.plot_grid(ds, captions=["x", "y"])
    with pytest.raises(TypeError, match="captions = 'x'.*a list of texts"):
        kp.plot_grid(ds, captions="x")


def test_small_tiles_of_instances_are_named_by_what_fits():
    ds = colored(120)
    ds.select()._with_ids()
    ax = kp.plot_grid(ds, by="instance", columns=12, limit=120)
    assert texts(ax)[:2] == ["#1 id 1", "#1 id 2"]


def test_an_image_is_opened_once_and_no_larger_than_needed(tmp_path, monkeypatch):
    Image.fromarray(kp.samples.made_photo(2000, 1500)).save(tmp_path / "big.jpg")
    ds = Dataset.from_images([tmp_path / "big.jpg"], PAIR, annotator="me")
    for i in range(10):
        ds.add_instance(0, keypoints=[(100 * i, 100, 2), (100 * i + 900, 1000, 2)])
    sizes = []
    decode = ImageSource._decode

    def counted(self, stream, draft=None):
        picture = decode(self, stream, draft)
        sizes.append(picture.size)
        return picture

    monkeypatch.setattr(ImageSource, "_decode", counted)
    kp.plot_grid(ds, by="instance")
    assert len(sizes) == 1
    assert sizes[0][0] <= 1000


def test_an_unreadable_image_has_a_grey_tile_and_is_counted(tmp_path):
    ds = colored(2)
    path = tmp_path / "torn.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:600])
    ds = Dataset.from_images([path], PAIR, annotator="me")
    ds.add_instance(0, keypoints=[(10, 10, 2), (30, 20, 1)])
    ax = kp.plot_grid(ds)
    assert ax.get_title() == "1 image (1 unreadable)"
    assert texts(ax, "notes") == ["cannot be read"]
    (lines,) = (c for c in ax.collections if isinstance(c, LineCollection))
    assert len(lines.get_segments()) == 1


def test_a_keypoint_outside_its_image_is_not_drawn_on_the_neighbour():
    ds = colored(2)
    ds.add_instance(0, keypoints=[(100, 10, 2), (30, 20, 2)])
    ax = kp.plot_grid(ds, columns=2)
    assert ax.get_title() == "2 images (1 keypoints lie outside of their image)"
    visible = next(c for c in ax.collections if str(c.get_gid()).endswith("visible"))
    assert len(visible.get_offsets()) == 3


def test_nothing_to_show_is_said():
    ds = Dataset.from_images({"a.png": np.zeros((4, 4, 3), np.uint8)}, PAIR, annotator="me")
    (text,) = kp.plot_grid(ds, by="instance").texts
    assert text.get_text() == "no instances to show"
    ax = kp.plot_grid(ds.select(where=lambda instance: True))
    assert ax.texts[0].get_text() == "no images to show"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "row"}, "by = 'row': expected"),
        ({"columns": 0}, "columns = 0: expected a whole number of at least 1"),
        ({"limit": 2.5}, "limit = 2.5: expected a whole number"),
        ({"margin": -1}, "margin = -1: expected"),
    ],
)
def test_senseless_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        kp.plot_grid(colored(1), **arguments)
    assert plt.get_fignums() == []


def test_other_data_is_refused():
    ds, other = colored(1), colored(1)
    with pytest.raises(TypeError, match="data = 'a.png': expected a dataset, a selection"):
        kp.plot_grid("a.png")
    with pytest.raises(TypeError, match="expected a dataset"):
        kp.plot_grid([ds.images[0], ds.instances[0]])
    with pytest.raises(ValueError, match="data is empty"):
        kp.plot_grid([])
    with pytest.raises(ValueError, match="several datasets"):
        kp.plot_grid([ds.images[0], other.images[0]])


def test_a_given_axes_is_used():
    _, (ax, other) = plt.subplots(1, 2)
    assert kp.plot_grid(colored(2), ax=ax) is ax
    assert not other.get_images()
    assert len(plt.get_fignums()) == 1
