from __future__ import annotations

import warnings

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path as MplPath
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from kpwidget import schemas
from kpwidget.dataset import Dataset
from kpwidget.plotting import plot_image, plot_instance, plot_schema, schema_layout
from kpwidget.plotting.text import Labels
from kpwidget.schema import INSTANCE_COLORS, Schema

TINY = Schema(
    "tiny",
    ["nose", "left_eye", "right_eye"],
    [("nose", "left_eye"), ("nose", "right_eye")],
    flip_pairs=[("left_eye", "right_eye")],
    colors=["#102030", "#405060", "#708090"],
)
BLACK = np.zeros((40, 60, 3), np.uint8)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def tiny_dataset(**images) -> Dataset:
    return Dataset.from_images(images or {"a.png": BLACK}, TINY, annotator="me")


def points(ax) -> dict[str, PathCollection]:
    return {c.get_gid(): c for c in ax.collections if isinstance(c, PathCollection)}


def edges(ax) -> LineCollection:
    (found,) = (c for c in ax.collections if isinstance(c, LineCollection))
    assert found.get_gid() == "edges"
    return found


def hexes(colors) -> list[str]:
    return [to_hex(color) for color in colors]


def outline(marker: str) -> MplPath:
    style = MarkerStyle(marker)
    return style.get_path().transformed(style.get_transform())


# --- plot_image ---------------------------------------------------------------------------------


def test_image_and_points_share_image_pixels():
    ds = tiny_dataset()
    ds.add_instance(ds.images[0], keypoints=[(10.25, 20.5, 2), (30, 5, 2), (0, 0, 0)])
    ax = plot_image(ds.images[0])
    (picture,) = ax.get_images()
    assert picture.get_extent() == [0, 60, 40, 0]
    assert picture.origin == "upper"
    np.testing.assert_array_equal(picture.get_array(), BLACK)
    assert ax.get_xlim() == (0, 60)
    assert ax.get_ylim() == (40, 0)
    assert ax.get_aspect() == 1
    assert ax.get_xlabel() == "x (px)"
    np.testing.assert_array_equal(
        points(ax)["keypoints-unpaired-visible"].get_offsets()[0], (10.25, 20.5)
    )


def test_side_and_visibility_are_told_by_marker():
    ds = tiny_dataset()
    ds.add_instance(ds.images[0], keypoints=[(1, 2, 2), (3, 4, 1), (5, 6, 2)])
    ds.add_instance(ds.images[0], keypoints=[(11, 12, 1), (13, 14, 2), (float("nan"),) * 2 + (0,)])
    found = points(plot_image(ds.images[0]))
    expected = {
        "keypoints-unpaired-visible": ("o", [(1, 2)], "#102030"),
        "keypoints-unpaired-occluded": ("o", [(11, 12)], "#102030"),
        "keypoints-left-visible": ("s", [(13, 14)], "#405060"),
        "keypoints-left-occluded": ("s", [(3, 4)], "#405060"),
        "keypoints-right-visible": ("D", [(5, 6)], "#708090"),
    }
    assert found.keys() == expected.keys()
    for gid, (marker, xy, color) in expected.items():
        np.testing.assert_array_equal(found[gid].get_offsets(), xy)
        np.testing.assert_array_equal(found[gid].get_paths()[0].vertices, outline(marker).vertices)
        if gid.endswith("occluded"):
            assert len(found[gid].get_facecolors()) == 0, "hollow"
            assert hexes(found[gid].get_edgecolors()) == [color]
        else:
            assert hexes(found[gid].get_facecolors()) == [color]


def test_edges_join_labeled_keypoints_in_the_color_of_the_instance():
    ds = tiny_dataset()
    ds.add_instance(ds.images[0], keypoints=[(1, 2, 2), (3, 4, 1), (0, 0, 0)])
    ds.add_instance(ds.images[0], keypoints=[(11, 12, 2), (13, 14, 2), (15, 16, 2)])
    lines = edges(plot_image(ds.images[0]))
    np.testing.assert_array_equal(
        lines.get_segments(), [[(1, 2), (3, 4)], [(11, 12), (13, 14)], [(11, 12), (15, 16)]]
    )
    first, second = INSTANCE_COLORS[:2]
    assert hexes(lines.get_colors()) == [first, second, second]


@pytest.mark.parametrize("background", [0, 255], ids=["black", "white"])
def test_every_mark_shows_on_dark_and_on_light(background):
    # White and black are the worst colours a schema can ask for.
    schema = Schema("x", ["a", "b"], [(1, 2)], colors=["#ffffff", "#ffffff"])
    pixels = np.full((40, 60, 3), background, np.uint8)
    ds = Dataset.from_images({"a.png": pixels}, schema, annotator="me")
    ds.add_instance(ds.images[0], keypoints=[(15, 20, 2), (45, 20, 1)])
    ax = plot_image(ds.images[0], edge_kw={"color": "#ffffff"})
    ax.figure.canvas.draw()
    seen = np.asarray(ax.figure.canvas.buffer_rgba())[..., :3].astype(int)
    for x in (15, 30, 45):
        column, row = ax.transData.transform((x, 20)).round().astype(int)
        row = seen.shape[0] - row
        around = seen[row - 9 : row + 10, column - 9 : column + 10].sum(axis=-1) / 3
        assert np.abs(around - background).max() > 120


def test_what_is_no_image_or_instance_of_a_dataset_is_refused():
    with pytest.raises(TypeError, match=r"image = 'a.png': expected .* such as ds.images\[0\]"):
        plot_image("a.png")
    with pytest.raises(TypeError, match=r"instance = 3: expected .* such as ds.instances\[0\]"):
        plot_instance(3)
    assert plt.get_fignums() == []


def test_an_image_without_instances_is_just_the_image():
    ax = plot_image(tiny_dataset().images[0])
    assert len(ax.get_images()) == 1
    assert len(ax.collections) == 0


def test_keywords_go_to_the_artists_and_win():
    ds = tiny_dataset()
    ds.add_instance(ds.images[0], keypoints=[(1, 2, 2), (3, 4, 1), (5, 6, 2)])
    ax = plot_image(
        ds.images[0],
        keypoint_kw={"s": 99, "color": "#ff0000", "zorder": 7},
        edge_kw={"lw": 5, "colors": "#00ff00", "linestyles": "dashed"},
    )
    found = points(ax)
    for collection in found.values():
        assert collection.get_sizes().tolist() == [99]
        assert collection.get_zorder() == 7
    assert hexes(found["keypoints-right-visible"].get_facecolors()) == ["#ff0000"]
    assert hexes(found["keypoints-left-occluded"].get_edgecolors()) == ["#ff0000"]
    assert len(found["keypoints-left-occluded"].get_facecolors()) == 0
    assert set(hexes(edges(ax).get_colors())) == {"#00ff00"}
    assert edges(ax).get_linewidth()[0] == 5
    assert edges(ax).get_linestyle()[0][1] is not None


def test_a_given_axes_is_used_and_no_other_is_touched():
    _, (ax, current) = plt.subplots(1, 2)
    plt.sca(current)
    image = tiny_dataset().images[0]
    assert plot_image(image, ax=ax) is ax
    assert not current.get_images()
    new = plot_image(image)
    assert new.figure is not ax.figure
    assert not current.get_images()


def test_global_settings_do_not_turn_the_image_over():
    ds = tiny_dataset()
    with mpl.rc_context({"image.origin": "lower", "image.aspect": "auto"}):
        ax = plot_image(ds.images[0])
    assert ax.get_images()[0].origin == "upper"
    assert ax.get_ylim() == (40, 0)
    assert ax.get_aspect() == 1


def test_an_unreadable_image_leaves_axes_and_points_and_a_note(tmp_path):
    path = tmp_path / "torn.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:600])
    ds = Dataset.from_images([path], TINY, annotator="me")
    ds.add_instance(ds.images[0], keypoints=[(10, 20, 2), (30, 5, 2), (0, 0, 0)])
    ax = plot_image(ds.images[0])
    assert not ax.get_images()
    assert ax.get_xlim() == (0, 60)
    assert ax.get_ylim() == (40, 0)
    (note,) = ax.texts
    assert "torn.png" in note.get_text()
    assert len(edges(ax).get_segments()) == 1


def test_an_image_of_unknown_size_has_room_for_its_points(tmp_path):
    path = tmp_path / "gone.png"
    Image.fromarray(BLACK).save(path)
    ds = Dataset.from_images([path], TINY, annotator="me")
    path.unlink()
    ds.add_instance(ds.images[0], keypoints=[(200, 100, 2), (30, 5, 2), (0, 0, 0)])
    ax = plot_image(ds.images[0])
    assert ax.get_xlim()[1] >= 200
    assert ax.get_ylim()[0] >= 100
    assert len(ax.texts) == 1


# --- plot_instance ------------------------------------------------------------------------------


def test_instance_is_drawn_with_a_margin_around_it():
    ds = tiny_dataset()
    ds.add_instance(ds.images[0], keypoints=[(1, 2, 2), (3, 4, 2), (5, 6, 2)])
    chosen = ds.add_instance(ds.images[0], keypoints=[(20, 10, 2), (30, 15, 2), (0, 0, 0)])
    ax = plot_instance(chosen, margin=0.5)
    # The longer side is 10 px, half of it is added on every side.
    assert ax.get_xlim() == (15, 35)
    assert ax.get_ylim() == (20, 5)
    assert len(edges(ax).get_segments()) == 1, "the other instance is not drawn"
    assert hexes(edges(ax).get_colors()) == [INSTANCE_COLORS[1]], "its colour in the image"


def test_the_crop_lies_where_it_belongs():
    pixels = np.arange(40 * 60, dtype=np.uint16).reshape(40, 60)
    pixels = np.stack([pixels % 251, pixels // 60, pixels % 60], axis=-1).astype(np.uint8)
    ds = tiny_dataset(**{"a.png": pixels})
    chosen = ds.add_instance(ds.images[0], keypoints=[(20.5, 10.5, 2), (58, 15, 2), (0, 0, 0)])
    (picture,) = plot_instance(chosen, margin=0.1).get_images()
    x0, x1, y1, y0 = (int(value) for value in picture.get_extent())
    assert x1 == 60, "clipped to the image"
    np.testing.assert_array_equal(picture.get_array(), pixels[y0:y1, x0:x1])


def test_an_empty_instance_shows_the_whole_image():
    ds = tiny_dataset()
    ax = plot_instance(ds.add_instance(ds.images[0]))
    assert ax.get_xlim() == (0, 60)
    assert ax.get_ylim() == (40, 0)


def test_a_single_point_without_margin_still_has_an_area():
    ds = tiny_dataset()
    chosen = ds.add_instance(ds.images[0], keypoints=[(20, 10, 2), (0, 0, 0), (0, 0, 0)])
    ax = plot_instance(chosen, margin=0)
    assert ax.get_xlim()[0] < 20 < ax.get_xlim()[1]


@pytest.mark.parametrize("margin", [-0.1, float("nan"), float("inf")])
def test_a_senseless_margin_is_refused(margin):
    ds = tiny_dataset()
    chosen = ds.add_instance(ds.images[0])
    with pytest.raises(ValueError, match="margin"):
        plot_instance(chosen, margin=margin)


# --- plot_schema --------------------------------------------------------------------------------


def labels(ax) -> dict[str, Annotation]:
    """By name, without the number before it."""
    return {text.get_text().partition(" ")[2]: text for text in ax.texts}


def numbers(ax) -> Labels:
    (found,) = [artist for artist in ax.artists if artist.get_gid() == "numbers"]
    return found


@pytest.mark.parametrize("name", schemas.names())
def test_schema_shows_every_edge_keypoint_and_name(name):
    schema = schemas.get(name)
    ax = schema.plot()
    layout = schema.layout
    if len(schema.edges):
        np.testing.assert_array_equal(edges(ax).get_segments(), layout[schema.edges])
    offsets = np.concatenate([c.get_offsets() for c in points(ax).values()])
    assert sorted(map(tuple, offsets)) == sorted(map(tuple, layout))
    bottom, top = ax.get_ylim()
    assert bottom > top, "y down"
    if schema.n_keypoints > 60:
        placed = zip(numbers(ax).get_texts(), numbers(ax).get_offsets(), strict=True)
        assert {text: tuple(xy) for text, xy in placed} == {
            str(k): tuple(xy) for k, xy in enumerate(layout, 1)
        }
        return
    found = labels(ax)
    assert sorted(found) == sorted(schema.keypoints)
    for keypoint, label in found.items():
        assert label.xy == tuple(layout[schema.index(keypoint)]), "the line leads to its point"


PAPER = (3.5, 3.5)


@pytest.mark.parametrize(
    ("name", "size"),
    [("coco17", size) for size in [(4, 3), (9, 9), (2.5, 5)]]
    + [(name, PAPER) for name in schemas.names()]
    + [(name, (6, 6)) for name in ("coco_wholebody133", "face98_wflw", "vehicle24_apollocar3d")],
)
def test_names_cover_neither_one_another_nor_the_figure(name, size):
    schema = schemas.get(name)
    fig, ax = plt.subplots(figsize=size)
    plot_schema(schema, ax=ax)
    fig.canvas.draw()
    texts = [
        super(Annotation, text).get_window_extent()
        if isinstance(text, Annotation)
        else text.get_window_extent()
        for text in ax.texts
    ]
    assert texts
    for i, one in enumerate(texts):
        assert not any(one.overlaps(other) for other in texts[:i])
        assert one.x0 >= fig.bbox.x0
        assert one.x1 <= fig.bbox.x1
    spots = ax.transData.transform(schema.layout)
    assert not any(one.contains(x, y) for one in texts for x, y in spots)
    assert all(ax.bbox.contains(x, y) for x, y in spots), "axes clip marks"


@pytest.mark.parametrize("size", [PAPER, (6, 6)])
@pytest.mark.parametrize("name", ["coco_wholebody133", "face68_300w", "face98_wflw"])
def test_numbers_do_not_cover_one_another(name, size):
    schema = schemas.get(name)
    fig, ax = plt.subplots(figsize=size)
    plot_schema(schema, ax=ax)
    fig.canvas.draw()
    boxes, is_shown = numbers(ax).places(fig.dpi / 72)
    n_hidden = int((~is_shown).sum())
    assert (f"({n_hidden} of" in ax.get_title()) == (n_hidden > 0)
    shown = [Bbox.from_extents(*box) for box in boxes[is_shown]]
    assert len(shown) > (0.5 if name == "coco_wholebody133" else 0.95) * schema.n_keypoints
    for i, one in enumerate(shown):
        assert not any(one.overlaps(other) for other in shown[:i])


def test_numbers_are_explained_by_the_parts():
    ax = plot_schema(schemas.get("face98_wflw"))
    lines = [text.get_text() for text in ax.texts]
    assert lines[0] == "1–33 jaw"
    assert lines[-2:] == ["97 right pupil", "98 left pupil"]
    own = Schema("own", [f"k{i}" for i in range(70)], parts={"second": (41, 70), "a_b": (1, 40)})
    assert [text.get_text() for text in plot_schema(own).texts] == ["1–40 a b", "41–70 second"]
    names = [text.get_text() for text in plot_schema(own, numbers=False).texts]
    assert sorted(names) == sorted(own.keypoints)


def test_contours_of_a_face_are_drawn_where_its_skeleton_lacks_them():
    face = schemas.get("face68_300w")
    contours = np.array(schemas.contours(face.name)) - 1
    drawn = np.array([line.get_xydata() for line in plot_schema(face).lines])
    np.testing.assert_array_equal(drawn, face.layout[contours])
    with_edges = Schema("face", face.keypoints, schemas.contours(face.name))
    assert not plot_schema(with_edges).lines


def test_a_schema_without_layout_gets_one_from_its_edges():
    schema = Schema("chain", ["a", "b", "c"], [(1, 2), (2, 3)])
    xy = schema_layout(schema)
    np.testing.assert_array_equal(xy, schema_layout(schema))
    assert (np.diff(xy[:, 1]) > 0.2).all()
    np.testing.assert_array_equal(edges(plot_schema(schema)).get_segments(), xy[schema.edges])


@pytest.mark.parametrize("n_keypoints", [1, 2, 200, 3000])
def test_any_number_of_keypoints_can_be_drawn(n_keypoints):
    schema = Schema("x", [f"k{i}" for i in range(n_keypoints)])
    ax = plot_schema(schema)
    ax.figure.canvas.draw()
    assert sum(len(c.get_offsets()) for c in points(ax).values()) == n_keypoints
    assert len(ax.texts) == (n_keypoints if n_keypoints <= 200 else 0)


@pytest.mark.parametrize(
    "name", ["$\\frac{1}$", "$x", "a_b^c", "\\input{x}", "x" * 10_000, "a\nb\x00c", "عين", "👁"]
)
def test_names_are_drawn_as_they_are_and_never_read_as_mathematics(name):
    schema = Schema(name, [name, "b"], [(1, 2)])
    _, ax = plt.subplots()
    with mpl.rc_context({"text.usetex": True}):
        plot_schema(schema, ax=ax)
    for text in (*ax.texts, ax.title):
        assert not text.get_parse_math()
        assert not text.get_usetex()
        assert len(text.get_text()) <= 28
        assert "\n" not in text.get_text()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph|.*missing from")
        ax.figure.canvas.draw()


def test_a_file_name_is_never_read_as_mathematics():
    ds = tiny_dataset(**{"$\\frac{1}$.png": BLACK})
    ax = plot_image(ds.images[0])
    assert ax.get_title() == "$\\frac{1}$.png"
    assert not ax.title.get_parse_math()
    ax.figure.canvas.draw()
