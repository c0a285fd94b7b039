"""Plots of what is in a dataset: the numbers they draw, worked by hand, and how they draw them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection, PathCollection, PolyCollection

import kpwidget as kp
from kpwidget.dataset import Dataset
from kpwidget.plotting.heatmap import density_of
from kpwidget.plotting.skeleton import schema_layout
from kpwidget.plotting.statistics import counts_of, sizes_of, visibility_of
from kpwidget.plotting.trajectory import tracks_of
from kpwidget.schema import Category, Schema

PAIR = Schema("pair", ["nose", "tail"], [(1, 2)], colors=["#ff0000", "#00ff00"])
NAN = float("nan")


def made(*images, schema=PAIR, size=(60, 40)) -> Dataset:
    """Dataset of images with the keypoints of their instances."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    if not images:
        return Dataset(schema, annotator="me")
    pictures = {f"{i}.png": pixels for i in range(len(images))}
    ds = Dataset.from_images(pictures, schema, annotator="me")
    for i, instances in enumerate(images):
        for keypoints in instances:
            ds.add_instance(i, keypoints=keypoints)
    return ds


def collection(ax, gid):
    (found,) = (c for c in ax.collections if c.get_gid() == gid)
    return found


def bars(ax, gid) -> np.ndarray:
    """(left, right, bottom, top) of each bar."""
    found = collection(ax, gid)
    assert isinstance(found, PolyCollection)
    return np.array(
        [
            (*np.sort(path.vertices[:, 0])[[0, -1]], *np.sort(path.vertices[:, 1])[[0, -1]])
            for path in found.get_paths()
        ]
    )


# --- visibility -----------------------------------------------------------------------------------

SOME = made(
    [[(1, 2, 2), (3, 4, 1)], [(5, 6, 2), (0, 0, 0)]], [[(7, 8, 1), (9, 9, 2)]], [[(0, 0, 0)] * 2]
)


def test_visibility_counts_instances_with_any_keypoint():
    assert visibility_of(SOME)[""].tolist() == [[0, 1, 2], [1, 1, 1]]
    assert visibility_of(SOME.images[1])[""].tolist() == [[0, 1, 0], [0, 0, 1]]


def test_visibility_is_drawn_as_shares_that_add_up():
    ax = kp.plot_visibility(SOME)
    np.testing.assert_allclose(bars(ax, "visible")[:, :2], [(0, 200 / 3), (0, 100 / 3)])
    np.testing.assert_allclose(bars(ax, "occluded")[:, :2], [(200 / 3, 100), (100 / 3, 200 / 3)])
    np.testing.assert_allclose(bars(ax, "unlabeled")[:, :2], [(100, 100), (200 / 3, 100)])
    assert collection(ax, "occluded").get_hatch()
    assert not collection(ax, "visible").get_hatch()
    assert [text.get_text() for text in ax.get_yticklabels()] == ["nose", "tail"]
    assert ax.get_xlabel() == "share of instances (%)"
    assert ax.get_title() == "pair: 3 labeled instances\n(1 without keypoints left out)"


def test_visibility_of_each_annotator():
    ds = made([[(1, 2, 2), (3, 4, 1)]])
    ds.annotator = "Bob $x$"
    ds.add_instance(0, keypoints=[(1, 2, 1), (0, 0, 0)])
    found = visibility_of(ds, by="annotator")
    assert {name: counts.tolist() for name, counts in found.items()} == {
        "Bob $x$": [[0, 1, 0], [1, 0, 0]],
        "me": [[0, 0, 1], [0, 1, 0]],
    }
    ax = kp.plot_visibility(ds, by="annotator")
    assert len(bars(ax, "visible")) == 4
    (names,) = (a for a in ax.artists if a.get_gid() == "annotators")
    assert names.get_texts() == ["Bob $x$", "me"] * 2
    ax.figure.canvas.draw()


def test_that_no_annotator_is_known_is_said(tmp_path):
    path = tmp_path / "labels.json"
    record = {
        "images": [{"id": 1, "file_name": "0.png", "width": 60, "height": 40}],
        "categories": [{"id": 1, "name": "p", "keypoints": ["a"], "skeleton": []}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [1, 2, 2], "bbox": [1, 1, 2, 2],
             "num_keypoints": 1, "iscrowd": 0, "area": 4}
        ],
    }  # fmt: skip
    path.write_text(json.dumps(record))
    ax = kp.plot_visibility(kp.read(path), by="annotator")
    assert "nobody is known to have labeled them" in ax.get_title()


def test_categories_of_the_same_keypoints_are_counted_together():
    pixels = np.zeros((40, 60, 3), np.uint8)
    lone = Schema("lone", ["nose"])
    species = [Category(i, PAIR, name) for i, name in enumerate(["lynx", "wolf", "hare"])]
    ds = Dataset.from_images({"0.png": pixels}, [*species, Category(3, lone, "dot")])
    ds.add_instance(0, "wolf", keypoints=[(1, 2, 2), (3, 4, 1)])
    ds.add_instance(0, "lynx", keypoints=[(5, 6, 2), (0, 0, 0)])
    ds.add_instance(0, "wolf", keypoints=[(7, 8, 1), (9, 9, 2)])
    # nose: 1 occluded, 2 visible; tail: 1 unlabeled, 1 occluded, 1 visible
    assert visibility_of(ds)[""].tolist() == [[0, 1, 2], [1, 1, 1]]
    assert visibility_of(ds, category="lynx")[""].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert kp.plot_visibility(ds).get_title() == "2 categories: 3 labeled instances"
    assert density_of(ds, "nose").counts.sum() == 3
    assert kp.plot_pose_space(ds).get_title().startswith("2 categories: 2 poses")
    ds.add_instance(0, "dot", keypoints=[(1, 1, 2)])
    with pytest.raises(ValueError, match="say which category"):
        visibility_of(ds)


def test_another_grouping_is_refused():
    with pytest.raises(ValueError, match="by = 'image': expected None or 'annotator'"):
        kp.plot_visibility(SOME, by="image")


# --- counts and sizes -----------------------------------------------------------------------------


def test_counts_of_images_keypoints_and_categories(tiny_dataset):
    keys, counts = counts_of(SOME, "images")
    assert (keys, counts.tolist()) == ([0, 1, 2], [0, 2, 1])
    keys, counts = counts_of(SOME, "keypoints")
    assert (keys, counts.tolist()) == ([0, 1, 2], [1, 1, 2])
    tiny_dataset.add_instance("b.png", "bolt")
    keys, counts = counts_of(tiny_dataset)
    assert (keys, counts.tolist()) == (["bolt", "animal"], [2, 1])
    # Images of a selection only, without those that it leaves out.
    keys, counts = counts_of(SOME.images[:1], "images")
    assert (keys, counts.tolist()) == ([0, 1, 2], [0, 0, 1])


def test_counts_are_drawn_as_bars():
    ax = kp.plot_counts(SOME, of="keypoints")
    np.testing.assert_allclose(
        bars(ax, "bars"), [(-0.4, 0.4, 0, 1), (0.6, 1.4, 0, 1), (1.6, 2.4, 0, 2)]
    )
    assert ax.get_xlabel() == "labeled keypoints of the instance"
    ax = kp.plot_counts(SOME)
    np.testing.assert_allclose(bars(ax, "bars")[:, :2], [(0, 4)])


def test_many_categories_are_put_together():
    categories = [Category(i + 1, PAIR, f"c{i:02}") for i in range(60)]
    ds = Dataset.from_images({"a.png": np.zeros((9, 9, 3), np.uint8)}, categories, annotator="me")
    for i, category in enumerate(categories):
        for _ in range(1 + (i == 7)):
            ds.add_instance(0, category)
    ax = kp.plot_counts(ds)
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names[0] == "c07"
    assert names[-1] == "21 more categories"
    assert bars(ax, "bars")[:, 1].tolist() == [2] + [1] * 38 + [21]


def test_sizes_are_those_of_boxes_and_areas():
    ds = made([[(10, 10, 2), (30, 20, 2)], [(0, 0, 0)] * 2])
    ds.add_instance(0, bbox=(1, 2, 9, 4))
    boxes, roots = sizes_of(ds)
    np.testing.assert_array_equal(boxes, [(20, 10), (NAN, NAN), (9, 4)])
    np.testing.assert_allclose(roots, [200**0.5, NAN, 6])
    ax = kp.plot_sizes(ds)
    np.testing.assert_array_equal(collection(ax, "sizes").get_offsets(), [(20, 10), (9, 4)])
    assert ax.get_title() == "2 instances (1 without a size left out)"
    assert "(px)" in ax.get_xlabel()
    ax = kp.plot_sizes(ds, of="area")
    found = bars(ax, "bars")
    assert found[:, 3].sum() == 2
    for root in (6, 200**0.5):
        assert found[(found[:, 0] <= root) & (root < found[:, 1]), 3].tolist() == [1]


def test_categories_are_told_by_shape_as_well(tiny_dataset):
    ax = kp.plot_sizes(tiny_dataset)
    first, second = (c for c in ax.collections if c.get_gid() == "sizes")
    assert len(first.get_paths()[0].vertices) != len(second.get_paths()[0].vertices)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["animal", "bolt"]


# --- heatmap --------------------------------------------------------------------------------------


def test_density_of_images_of_one_size_is_in_pixels():
    ds = made([[(0, 0, 2), (59.9, 39.9, 2)]], [[(30, 20, 1), (70, 5, 2)]])
    density = density_of(ds, bins=6)
    assert density.unit == "px"
    assert density.extent == (0, 60, 40, 0)
    expected = np.zeros((4, 6), int)
    expected[0, 0] = expected[3, 5] = expected[2, 3] = 1
    np.testing.assert_array_equal(density.counts, expected)
    assert (density.n_outside, density.n_unknown) == (1, 0)
    ax = kp.plot_heatmap(ds, bins=6)
    (picture,) = ax.get_images()
    np.testing.assert_array_equal(picture.get_array(), expected)
    assert picture.get_extent() == [0, 60, 40, 0]
    assert ax.get_ylim() == (40, 0), "y down"
    assert ax.get_xlabel() == "x (px)"
    assert "(not shown: 1 outside)" in ax.get_title()


def test_density_of_one_keypoint():
    ds = made([[(1, 1, 2), (31, 21, 2)], [(0, 0, 0), (31, 21, 1)]])
    assert density_of(ds, "nose", bins=6).counts.sum() == 1
    assert density_of(ds, 1, bins=6).counts[2, 3] == 2
    assert kp.plot_heatmap(ds, ["tail"]).get_title() == "tail: 2 in 2 instances"


def test_density_of_images_of_several_sizes_is_in_fractions():
    pictures = {"a.png": np.zeros((40, 60, 3), np.uint8), "b.png": np.zeros((80, 20, 3), np.uint8)}
    ds = Dataset.from_images(pictures, PAIR, annotator="me")
    ds.add_instance(0, keypoints=[(45, 10, 2), (0, 0, 0)])
    ds.add_instance(1, keypoints=[(15, 20, 2), (0, 0, 0)])
    density = density_of(ds, bins=4)
    assert density.unit == "image"
    rows, columns = np.nonzero(density.counts)
    assert density.counts.max() == 2
    assert columns.tolist() == [3 * density.counts.shape[1] // 4]
    assert rows.tolist() == [density.counts.shape[0] // 4]


def test_density_in_the_box_of_the_instance():
    ds = made([])
    ds.add_instance(0, keypoints=[(10, 20, 2), (30, 40, 2)], bbox=(10, 20, 20, 20))
    density = density_of(ds, frame="instance", bins=6)
    # A quarter beyond on every side: 6 cells of a quarter, the corners of the bbox at 1 and 5.
    expected = np.zeros((6, 6), int)
    expected[1, 1] = expected[5, 5] = 1
    np.testing.assert_array_equal(density.counts, expected)
    assert density.extent == (-0.25, 1.25, 1.25, -0.25)


def test_an_unknown_keypoint_is_refused_with_its_neighbours():
    with pytest.raises(KeyError, match="no keypoint 'noze'; did you mean 'nose'"):
        kp.plot_heatmap(SOME, "noze")
    with pytest.raises(KeyError, match="no keypoint 'noze'; did you mean 'nose'"):
        kp.plot_trajectory(SOME, ["noze"])
    with pytest.raises(ValueError, match="frame = 'box'"):
        kp.plot_heatmap(SOME, frame="box")
    with pytest.raises(ValueError, match="bins = 0"):
        kp.plot_heatmap(SOME, bins=0)


# --- mean pose and pose space ---------------------------------------------------------------------

TRIANGLE = Schema("triangle", ["a", "b", "c"], [(1, 2), (2, 3)])
SHAPE = np.array([(0, 0), (4, 0), (0, 3)], float)


def triangles() -> Dataset:
    poses = [SHAPE * scale + shift for scale, shift in ((1, (1, 2)), (2, (30, 5)), (5, (7, 9)))]
    return made([np.column_stack([pose, [2, 2, 2]]) for pose in poses], schema=TRIANGLE)


def test_poses_of_one_shape_fall_together():
    ax = kp.plot_pose_space(triangles())
    segments = np.array(collection(ax, "poses").get_segments()).reshape(3, 2, 2, 2)
    np.testing.assert_allclose(segments, segments[[0, 0, 0]], atol=1e-12)
    centred = SHAPE - SHAPE.mean(axis=0)
    expected = centred / np.sqrt((centred**2).sum(axis=1).mean())
    np.testing.assert_allclose(segments[0, 0], expected[:2], atol=1e-12)
    mean = collection(ax, "edges").get_segments()
    np.testing.assert_allclose(mean[0], expected[:2], atol=1e-12)
    bottom, top = ax.get_ylim()
    assert bottom > top
    assert ax.get_aspect() == 1


def test_poses_without_two_keypoints_are_left_out_and_counted():
    ds = triangles()
    ds.add_instance(0, keypoints=[(1, 1, 2), (0, 0, 0), (0, 0, 0)])
    ax = kp.plot_pose_space(ds, limit=2)
    assert "3 poses" in ax.get_title()
    assert "(1 with fewer than two keypoints left out)" in ax.get_title()
    assert "2 of them drawn" in ax.get_title()
    assert len(collection(ax, "poses").get_segments()) == 4


def test_no_pose_is_said():
    ax = kp.plot_pose_space(made([[(0, 0, 0)] * 2]))
    assert ax.texts[0].get_text() == "no pose to show"
    ax.figure.canvas.draw()


def test_schema_is_drawn_in_the_mean_pose_of_a_dataset():
    xy = schema_layout(TRIANGLE, triangles())
    # As long as wide as the triangle, in the unit square with a margin of 0.08.
    np.testing.assert_allclose(xy - xy[0], SHAPE * 0.84 / 4, atol=1e-9)
    ax = kp.plot_schema(TRIANGLE, layout=triangles())
    np.testing.assert_allclose(collection(ax, "edges").get_segments(), xy[TRIANGLE.edges])


def test_schema_is_drawn_in_a_layout_given():
    xy = schema_layout(TRIANGLE, SHAPE * 100)
    np.testing.assert_allclose(xy - xy[0], SHAPE * 0.84 / 4, atol=1e-9)
    with pytest.raises(ValueError, match=r"layout has shape \(2, 2\), expected \(3, 2\)"):
        kp.plot_schema(TRIANGLE, layout=SHAPE[:2])
    with pytest.raises(ValueError, match="layout = 'mean': expected 'auto', an array or a dataset"):
        kp.plot_schema(TRIANGLE, layout="mean")
    with pytest.raises(ValueError, match="no instance with two labeled keypoints"):
        kp.plot_schema(TRIANGLE, layout=SOME)


def test_a_keypoint_nobody_labeled_still_has_a_place():
    ds = made([[(0, 0, 2), (4, 0, 2), (0, 0, 0)]], schema=TRIANGLE)
    assert np.isfinite(schema_layout(TRIANGLE, ds)).all()


def test_schema_says_which_marker_is_which_side_and_numbers_its_keypoints():
    ax = kp.plot_schema(kp.schemas.get("coco17"))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "left",
        "right",
        "unpaired",
    ]
    assert "1 nose" in [text.get_text() for text in ax.texts]
    assert kp.plot_schema(PAIR).get_legend() is None
    ax = kp.plot_schema(kp.schemas.get("coco17"), numbers=False)
    assert "nose" in [text.get_text() for text in ax.texts]


def test_names_without_room_are_left_out_and_that_is_said():
    for schema in (
        kp.schemas.get("coco_wholebody133"),
        kp.Schema("x", [f"k{i}" for i in range(99)]),
    ):
        _, ax = plt.subplots(figsize=(3, 0.7))
        kp.plot_schema(schema, ax=ax)
        assert not ax.texts
        assert f"{schema.n_keypoints} keypoints, names left out" in ax.get_title()


# --- trajectories ---------------------------------------------------------------------------------


def moving(gap=()) -> Dataset:
    return made(
        *[
            [] if i in gap else [[(i, 10, 2), (20 + i, 30, 2 if i != 1 else 0)]]
            for i in range(6)
        ]
    )  # fmt: skip


def test_trajectory_is_interrupted_where_nothing_is_labeled():
    ax = kp.plot_trajectory(moving(gap={3}))
    nose, after, tail = collection(ax, "x").get_segments()
    np.testing.assert_array_equal(nose, [(0, 0), (1, 1), (2, 2)])
    np.testing.assert_array_equal(after, [(4, 4), (5, 5)])
    np.testing.assert_array_equal(tail, [(4, 24), (5, 25)])
    assert collection(ax, "x").get_linestyle() != collection(ax, "y").get_linestyle()
    # The tail at frames 0 and 2 has no neighbour: it is seen by its marker alone.
    ends = [c.get_offsets().tolist() for c in ax.collections if c.get_gid() == "ends"]
    assert sorted(ends[0]) == [[0, 20], [2, 2], [2, 22], [5, 5], [5, 25]]
    assert sorted(ends[1]) == [[0, 30], [2, 10], [2, 30], [5, 10], [5, 30]]
    assert "px" in ax.get_ylabel()
    assert ax.get_title() == "1 track in 6 images"


def test_trajectory_as_a_path_through_the_image():
    ax = kp.plot_trajectory(moving(), "nose", of="path")
    (path,) = collection(ax, "path").get_segments()
    np.testing.assert_array_equal(path, [(i, 10) for i in range(6)])
    np.testing.assert_array_equal(collection(ax, "starts").get_offsets(), [(0, 10)])
    assert ax.get_xlim() == (0, 60)
    assert ax.get_ylim() == (40, 0)
    assert ax.get_aspect() == 1


def posetrack(tmp_path, ids) -> Dataset:
    record = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 60, "height": 40} for i in (1, 2)
        ],
        "categories": [{"id": 1, "name": "p", "keypoints": ["a"], "skeleton": []}],
        "annotations": [
            {"id": i + 1, "image_id": i // 2 + 1, "category_id": 1, "keypoints": [i, i, 2],
             "num_keypoints": 1, "bbox": [0, 0, 1, 1], "area": 1, "iscrowd": 0,
             **({} if identity is None else {"track_id": identity})}
            for i, identity in enumerate(ids)
        ],
    }  # fmt: skip
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(record))
    return kp.read(path)


def test_tracks_are_told_by_track_id(tmp_path):
    tracks = tracks_of(posetrack(tmp_path, [7, 8, 8, 7]))
    assert [track.name for track in tracks] == ["7", "8"]
    assert [track.points[:, 0, 0].tolist() for track in tracks] == [[0, 3], [1, 2]]
    assert [track.frames.tolist() for track in tracks] == [[0, 1], [0, 1]]


def test_tracks_that_cannot_be_told_are_refused(tmp_path):
    with pytest.raises(ValueError, match="4 of 4 instances have no track_id, and image '1.png'"):
        kp.plot_trajectory(posetrack(tmp_path, [None] * 4))
    with pytest.raises(ValueError, match="track '7' has two instances in image '2.png'"):
        kp.plot_trajectory(posetrack(tmp_path, [7, 8, 7, 7]))


# --- all of them ----------------------------------------------------------------------------------

ALL = {
    "counts": kp.plot_counts,
    "counts of images": lambda data, ax=None: kp.plot_counts(data, of="images", ax=ax),
    "counts of keypoints": lambda data, ax=None: kp.plot_counts(data, of="keypoints", ax=ax),
    "grid": kp.plot_grid,
    "heatmap": kp.plot_heatmap,
    "heatmap of boxes": lambda data, ax=None: kp.plot_heatmap(data, frame="instance", ax=ax),
    "pose space": kp.plot_pose_space,
    "sizes": kp.plot_sizes,
    "areas": lambda data, ax=None: kp.plot_sizes(data, of="area", ax=ax),
    "trajectory": kp.plot_trajectory,
    "path": lambda data, ax=None: kp.plot_trajectory(data, of="path", ax=ax),
    "visibility": kp.plot_visibility,
    "visibility of people": lambda data, ax=None: kp.plot_visibility(data, by="annotator", ax=ax),
}


@pytest.mark.parametrize("plot", ALL.values(), ids=ALL)
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(made(), id="no images"),
        pytest.param(made([], []), id="no instances"),
        pytest.param(made([[(0, 0, 0)] * 2]), id="no keypoints"),
        pytest.param(made([[(5, 5, 2), (0, 0, 0)]]), id="one point"),
    ],
)
def test_little_or_nothing_still_gives_a_picture(plot, data):
    plot(data).figure.canvas.draw()


@pytest.mark.parametrize("plot", ALL.values(), ids=ALL)
def test_only_the_axes_given_are_drawn_on(plot):
    _, (ax, current) = plt.subplots(1, 2)
    plt.sca(current)
    before = dict(plt.rcParams)
    assert plot(moving(), ax=ax) is ax
    made_here = plot(moving())
    assert made_here.figure is not ax.figure
    assert not current.has_data()
    assert dict(plt.rcParams) == before


def test_keywords_go_to_the_artists():
    ds = moving()
    ax = kp.plot_pose_space(ds, pose_kw={"linewidth": 3}, edge_kw={"color": "#123456"})
    assert collection(ax, "poses").get_linewidth()[0] == 3
    assert np.allclose(collection(ax, "edges").get_color()[0][:3], np.array([18, 52, 86]) / 255)
    assert collection(kp.plot_counts(ds, bar_kw={"alpha": 0.5}), "bars").get_alpha() == 0.5
    (picture,) = kp.plot_heatmap(ds, image_kw={"cmap": "gray"}).get_images()
    assert picture.get_cmap().name == "gray"
    lines = collection(kp.plot_trajectory(ds, line_kw={"linewidth": 4}), "x")
    assert isinstance(lines, LineCollection)
    assert lines.get_linewidth()[0] == 4
    points = collection(kp.plot_sizes(ds, point_kw={"alpha": 1}), "sizes")
    assert isinstance(points, PathCollection)
    assert points.get_alpha() == 1


@pytest.mark.parametrize("plot", ALL.values(), ids=ALL)
def test_a_selection_is_looked_at_once(plot):
    ds, seen = moving(), []
    plot(ds.select(where=lambda instance: not seen.append(instance.uid)))
    # The images of a selection are those of its instances: one look for each of the two.
    assert len(seen) == 2 * len(ds.instances)


def test_what_nobody_labeled_is_hollow_in_a_mean_pose_and_said():
    ds = made([[(0, 0, 2), (4, 0, 2), (0, 0, 0)]], schema=TRIANGLE)
    ax = kp.plot_schema(TRIANGLE, layout=ds)
    assert "hollow: 1 never labeled" in ax.get_title()
    assert [a.get_gid() for a in ax.collections if "occluded" in str(a.get_gid())] != []
    whole = made([[(0, 0, 2), (4, 0, 2), (2, 3, 2)]], schema=TRIANGLE)
    assert "hollow" not in kp.plot_schema(TRIANGLE, layout=whole).get_title()
