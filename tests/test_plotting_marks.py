"""Names, rims, crowds and the half pixel: what stands on a picture, and where."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from pycocotools.coco import COCO

import kpwidget as kp
from kpwidget.dataset import Dataset
from kpwidget.plotting.text import Labels, fit_text, one_line, width_of
from kpwidget.schema import Category, Schema

PAIR = Schema("pair", ["a", "b"], [(1, 2)], colors=["#ff0000", "#00ff00"])


def labels(ax, gid: str) -> Labels:
    (found,) = (artist for artist in ax.artists if artist.get_gid() == gid)
    return found


def one_instance(points, schema=PAIR, size=(60, 40), name="a.png") -> Dataset:
    width, height = size
    ds = Dataset.from_images({name: np.zeros((height, width, 3), np.uint8)}, schema, annotator="me")
    ds.add_instance(0, keypoints=points)
    return ds


def rendered(ax) -> np.ndarray:
    ax.figure.canvas.draw()
    return np.asarray(ax.figure.canvas.buffer_rgba())[..., :3].astype(int)


def centre_in_data(ax, mask: np.ndarray) -> np.ndarray:
    """Centre of gravity of rendered pixels, in the coordinates of the axes."""
    rows, columns = np.nonzero(mask)
    place = columns.mean() + 0.5, mask.shape[0] - (rows.mean() + 0.5)
    return ax.transData.inverted().transform(place)


# --- the half pixel -------------------------------------------------------------------------------


def white_pixel() -> np.ndarray:
    pixels = np.zeros((30, 30, 3), np.uint8)
    pixels[20, 10] = 255
    return pixels


@pytest.mark.parametrize("draw", ["image", "grid"])
def test_centre_of_a_pixel_is_half_a_pixel_into_it(draw):
    ds = Dataset.from_images({"a.png": white_pixel()}, PAIR, annotator="me")
    fig = plt.figure(figsize=(6, 6))
    ax = fig.add_axes((0, 0, 1, 1))
    if draw == "image":
        kp.plot_image(ds.images[0], ax=ax)
        scale = 1.0
    else:
        kp.plot_grid(ds, ax=ax, captions=False)
        scale = 30.0  # one tile is 1 wide
    ax.set_axis_off()
    ax.set_title("")
    centre = centre_in_data(ax, rendered(ax).sum(axis=-1) > 3 * 128) * scale
    np.testing.assert_allclose(centre, (10.5, 20.5), atol=0.06)


@pytest.mark.parametrize("draw", ["image", "grid", "grid of instances"])
def test_keypoint_lies_on_its_pixel(draw):
    pixels = white_pixel()
    ds = Dataset.from_images({"a.png": pixels}, PAIR, annotator="me")
    ds.add_instance(0, keypoints=[(10.5, 20.5, 2), (0, 0, 0)], bbox=(4, 12, 14, 14))
    fig = plt.figure(figsize=(6, 6))
    ax = fig.add_axes((0, 0, 1, 1))
    hide = {"alpha": 0.0}
    if draw == "image":
        kp.plot_image(ds.images[0], ax=ax, names=False, keypoint_kw=hide)
    else:
        by = "instance" if draw.endswith("instances") else "image"
        kp.plot_grid(ds, by=by, ax=ax, captions=False, keypoint_kw=hide)
    ax.set_axis_off()
    ax.set_title("")
    picture = centre_in_data(ax, np.abs(rendered(ax) - 255).sum(axis=-1) < 3 * 127)
    (points,) = (c for c in ax.collections if isinstance(c, PathCollection))
    one_pixel = 1.0 if draw == "image" else 1 / (30 if draw == "grid" else 14 * 1.3)
    np.testing.assert_allclose(points.get_offsets()[0], picture, atol=0.06 * one_pixel)


# --- the same places as pycocotools ---------------------------------------------------------------


def test_edges_and_points_are_where_pycocotools_draws_them(capsys):
    schema = kp.schemas.get("coco17")
    rng = np.random.default_rng(3)
    ds = Dataset.from_images(
        {"a.png": np.zeros((480, 640, 3), np.uint8)}, Category(1, schema, "person"), annotator="me"
    )
    annotations = []
    for i in range(5):
        flags = rng.integers(0, 3, 17)
        xy = np.where(flags[:, None] > 0, rng.integers(1, 480, (17, 2)), 0)
        triples = np.column_stack([xy, flags])
        ds.add_instance(0, keypoints=np.where(flags[:, None] > 0, triples, (np.nan, np.nan, 0)))
        annotations.append(
            {"id": i + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 1.0,
             "bbox": [0, 0, 1, 1], "keypoints": triples.ravel().tolist()}
        )  # fmt: skip
    coco = COCO()
    coco.dataset = {
        "images": [{"id": 1}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "skeleton": schema.skeleton}],
    }
    coco.createIndex()
    _, theirs = plt.subplots()
    coco.showAnns(annotations)
    drawn = [line.get_xydata() for line in theirs.lines]
    segments = sorted(map(np.ndarray.tolist, (d for d, line in zip(drawn, theirs.lines, strict=True)
                                              if line.get_marker() == "None")))  # fmt: skip
    ax = kp.plot_image(ds.images[0])
    (ours,) = (c for c in ax.collections if isinstance(c, LineCollection))
    assert len(segments) > 10
    assert sorted(segment.tolist() for segment in ours.get_segments()) == segments
    # They draw v > 0 with a black edge and v > 1 again in one colour.
    by_edge: dict[bool, list] = {True: [], False: []}
    for line in theirs.lines:
        if line.get_marker() == "o":
            by_edge[line.get_markeredgecolor() == "k"] += line.get_xydata().tolist()
    mine = {
        flag: np.concatenate(
            [
                c.get_offsets()
                for c in ax.collections
                if isinstance(c, PathCollection) and c.get_gid().endswith(flag)
            ]
        ).tolist()
        for flag in ("occluded", "visible")
    }
    assert sorted(mine["visible"]) == sorted(by_edge[False])
    assert sorted(mine["visible"] + mine["occluded"]) == sorted(by_edge[True])


# --- names ----------------------------------------------------------------------------------------


def test_every_labeled_keypoint_gets_its_name():
    schema = Schema("x", ["nose", "tail", "ear"], [])
    ds = one_instance([(10, 10, 2), (30, 20, 1), (0, 0, 0)], schema)
    found = labels(kp.plot_image(ds.images[0], names=True), "names")
    assert found.get_texts() == ["nose", "tail"]
    np.testing.assert_array_equal(found.get_offsets(), [(10, 10), (30, 20)])


def test_names_can_be_left_out():
    ds = one_instance([(10, 10, 2), (30, 20, 1)])
    assert not kp.plot_image(ds.images[0], names=False).artists
    assert not kp.plot_instance(ds.instances[0], names=False).artists


def test_automatic_names_cover_no_keypoint_and_no_other_name_and_stay_inside():
    schema = Schema("x", [f"long_keypoint_name_{i}" for i in range(40)], [])
    xy = np.random.default_rng(1).uniform((0, 0), (60, 40), (40, 2))
    ds = one_instance(np.column_stack([xy, np.full(40, 2)]), schema)
    ax = kp.plot_image(ds.images[0])
    ax.figure.canvas.draw()
    boxes, is_shown = labels(ax, "names").places(ax.figure.dpi / 72)
    assert 5 < is_shown.sum() < 40
    shown = boxes[is_shown]
    spots = ax.transData.transform(xy)
    for i, (x0, y0, x1, y1) in enumerate(shown):
        assert not ((spots > (x0, y0)) & (spots < (x1, y1))).all(axis=1).any()
        others = np.delete(shown, i, axis=0)
        assert not ((others[:, :2] < (x1, y1)) & (others[:, 2:] > (x0, y0))).all(axis=1).any()
        view = ax.bbox
        assert view.x0 <= x0 < x1 <= view.x1
        assert view.y0 <= y0 < y1 <= view.y1


def test_automatic_names_are_left_out_of_a_crowd():
    schema = kp.schemas.get("coco17")
    ds = one_instance(np.column_stack([schema.layout * 30, np.full(17, 2)]), schema)
    for _ in range(2):
        ds.add_instance(0, keypoints=np.column_stack([schema.layout * 30, np.full(17, 2)]))
    assert not kp.plot_image(ds.images[0]).artists


def test_a_name_is_seen_on_dark_and_on_light():
    for background in (0, 255):
        ds = Dataset.from_images(
            {"a.png": np.full((40, 60, 3), background, np.uint8)}, PAIR, annotator="me"
        )
        ds.add_instance(0, keypoints=[(20, 20, 2), (0, 0, 0)])
        ax = kp.plot_image(ds.images[0], names=True)
        seen = rendered(ax)
        (x0, y0, x1, y1), *_ = labels(ax, "names").places(ax.figure.dpi / 72)[0].round().astype(int)
        box = seen[seen.shape[0] - y1 - 2 : seen.shape[0] - y0 + 2, x0 - 2 : x1 + 2]
        assert np.ptp(box.sum(axis=-1)) > 3 * 150


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_names_are_drawn_by_every_kind_of_canvas(kind):
    ds = one_instance([(10, 10, 2), (30, 20, 1)])
    sizes = {}
    for names in (False, True):
        file = io.BytesIO()
        kp.plot_image(ds.images[0], names=names).figure.savefig(file, format=kind)
        sizes[names] = len(file.getvalue())
    assert sizes[True] > sizes[False]


def test_stamped_names_lie_where_outlines_do():
    fig = plt.figure(figsize=(4, 2), dpi=100)
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    text = Labels(
        np.array([(0.5, 0.5)]), ["Hxg"], ax.transData, size=30, color="#000000", halo=None
    )
    ax.add_artist(text)
    seen = rendered(ax).sum(axis=-1) < 384
    rows, columns = np.nonzero(seen)
    x0, y0, x1, _ = text.places(100 / 72)[0][0]
    assert columns.min() == pytest.approx(x0, abs=1.5)
    assert columns.max() + 1 == pytest.approx(x1, abs=1.5)
    # Capitals of DejaVu Sans are 0.73 em high; the baseline lies a quarter em above the box.
    baseline = seen.shape[0] - (y0 + 0.25 * 30 * 100 / 72)
    top = rows[columns < columns.min() + 5].min()
    assert baseline - top == pytest.approx(0.729 * 30 * 100 / 72, abs=1.5)


@pytest.mark.parametrize("name", ["$\\frac{1}$", "\\input{x}", "a\nb\x00c", "<b>&"])
def test_hostile_names_are_drawn_as_they_are(name):
    schema = Schema(name, [name, "b"], [(1, 2)])
    ds = one_instance([(10, 10, 2), (30, 20, 1)], schema, name="$\\frac{1}$\x07.png")
    for ax in (
        kp.plot_image(ds.images[0], names=True),
        kp.plot_instance(ds.instances[0], names=True),
        kp.plot_grid(ds),
        kp.plot_visibility(ds),
        kp.plot_counts(ds),
        kp.plot_sizes(ds),
        kp.plot_heatmap(ds, name),
        kp.plot_pose_space(ds),
        kp.plot_trajectory(ds),
    ):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph|.*missing from")
            with plt.rc_context({"text.usetex": False}):
                ax.figure.canvas.draw()
        texts = [*ax.texts, ax.title, *ax.get_yticklabels()]
        texts += ax.get_legend().get_texts() if ax.get_legend() else []
        for text in texts:
            if one_line(name) in text.get_text():
                assert not text.get_parse_math()
            assert text.get_text().replace("\n", "").isprintable()
        for artist in ax.artists:
            assert all(text.isprintable() for text in artist.get_texts())


def test_long_captions_keep_their_end():
    text = fit_text("a_very_long_folder/of_a_video/frame_000123.png", 6.5, 60)
    assert width_of(text, 6.5) <= 60
    assert text.endswith("0123.png")
    assert "…" in text
    assert fit_text("short.png", 6.5, 60) == "short.png"


@pytest.mark.parametrize("names", ["all", None, 3])
def test_other_values_of_names_are_refused(names):
    ds = one_instance([(10, 10, 2), (30, 20, 1)])
    with pytest.raises(ValueError, match="names = .*expected True, False or 'auto'"):
        kp.plot_image(ds.images[0], names=names)
    assert plt.get_fignums() == []


# --- rims and crowds ------------------------------------------------------------------------------


def test_crossing_edges_of_two_instances_stay_apart():
    ds = one_instance([(10, 20, 2), (50, 20, 2)])
    ds.add_instance(0, keypoints=[(30, 5, 2), (30, 35, 2)])
    ax = kp.plot_image(ds.images[0], edge_kw={"color": "#ffffff", "linewidth": 6})
    seen = rendered(ax)
    column, row = ax.transData.transform((30, 20)).round().astype(int)
    line = seen[seen.shape[0] - row, column - 12 : column + 13].sum(axis=-1)
    assert line[12] > 700, "the second line is on top"
    assert line.min() < 400, "with its rim across the first"


def test_path_effects_of_the_caller_replace_the_rim():
    ds = one_instance([(10, 20, 2), (50, 20, 2)])
    ds2 = one_instance([(10, 20, 2), (50, 20, 2)])
    from matplotlib.patheffects import Normal

    white = {"color": "#ffffff", "linewidth": 6}
    bare = rendered(
        kp.plot_image(
            ds.images[0],
            names=False,
            edge_kw=white | {"path_effects": [Normal()]},
            keypoint_kw={"alpha": 0},
        )
    )
    rimmed = rendered(
        kp.plot_image(ds2.images[0], names=False, edge_kw=white, keypoint_kw={"alpha": 0})
    )
    assert (bare != rimmed).any()


def crowd(tmp_path, segmentation):
    import json

    record = {
        "images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}],
        "categories": [{"id": 1, "name": "p", "keypoints": ["a", "b"], "skeleton": [[1, 2]]}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 1, "area": 100,
             "bbox": [5, 6, 20, 10], "num_keypoints": 0, "keypoints": [0] * 6,
             "segmentation": segmentation}
        ],
    }  # fmt: skip
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(record))
    from PIL import Image

    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "a.png")
    return kp.read(path, images=tmp_path)


@pytest.mark.parametrize(
    ("segmentation", "outline"),
    [
        pytest.param([[1, 2, 30, 2, 30, 20]], [(1, 2), (30, 2), (30, 20)], id="polygon"),
        pytest.param(
            {"counts": [0, 5], "size": [40, 60]}, [(5, 6), (25, 6), (25, 16), (5, 16)], id="rle"
        ),
        pytest.param([["x"]], [(5, 6), (25, 6), (25, 16), (5, 16)], id="damaged"),
    ],
)
def test_a_crowd_is_hatched(tmp_path, segmentation, outline):
    ax = kp.plot_image(crowd(tmp_path, segmentation).images[0])
    (found,) = (c for c in ax.collections if isinstance(c, PolyCollection))
    assert found.get_gid() == "crowds"
    assert found.get_hatch()
    np.testing.assert_array_equal(found.get_paths()[0].vertices[:-1], outline)


def test_a_crowd_is_hatched_on_a_contact_sheet(tmp_path):
    ax = kp.plot_grid(crowd(tmp_path, [[6, 4, 30, 4, 30, 20]]))
    (found,) = (c for c in ax.collections if isinstance(c, PolyCollection))
    # 60 px are the width of a tile, which is 1.
    expected = np.array([(6, 4), (30, 4), (30, 20)]) / 60
    np.testing.assert_allclose(found.get_paths()[0].vertices[:-1], expected, atol=1e-12)


# --- the last line of a cell ----------------------------------------------------------------------


def test_images_instances_and_schemas_show_a_small_picture():
    from PIL import Image

    ds = kp.samples.sample_dataset(3)
    _, ax = plt.subplots()
    for thing in (ds.images[2], ds.instances[0], ds.categories[0].schema):
        data = thing._repr_png_()
        assert len(data) <= 60_000
        picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
        assert min(picture.shape[:2]) > 100
        # The colours of the marks are there, unmixed.
        for color in ((0x00, 0x9E, 0x73), (0xD5, 0x5E, 0x00)):
            assert (np.abs(picture - color).sum(axis=-1) < 12).any()
    assert plt.get_fignums() == [ax.figure.number]
    assert plt.gca() is ax
    assert not ax.has_data()


def test_noise_is_made_small_enough():
    pixels = np.random.default_rng(0).integers(0, 255, (500, 700, 3), np.uint8)
    ds = Dataset.from_images({"a.png": pixels}, PAIR, annotator="me")
    assert len(ds.images[0]._repr_png_()) <= 60_000


def test_a_removed_instance_shows_no_picture():
    ds = one_instance([(10, 10, 2), (30, 20, 1)])
    instance = ds.instances[0]
    instance.remove()
    assert instance._repr_png_() is None


def test_a_missing_image_still_shows_something(tmp_path):
    ds = crowd(tmp_path, [[1, 2, 30, 2, 30, 20]])
    (tmp_path / "a.png").unlink()
    ds = kp.read(tmp_path / "labels.json", images=tmp_path)
    assert ds.images[0]._repr_png_().startswith(b"\x89PNG")
