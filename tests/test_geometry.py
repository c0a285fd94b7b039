from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpwidget import geometry, schemas

NAN = math.nan
coordinate = st.floats(-1e5, 1e5)
scale = st.floats(1e-3, 1e3)
viewport = st.tuples(scale, coordinate, coordinate)


# --- boxes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        pytest.param([(1, 2, 2), (4, 8, 1)], (1, 2, 3, 6), id="extent of visible and occluded"),
        pytest.param([(1, 2, 2), (4, 8, 0)], (0.5, 1.5, 1, 1), id="unlabeled with a location"),
        pytest.param([(1, 2, 2), (NAN, NAN, 0), (3, 3, 2)], (1, 2, 2, 1), id="NaN is left out"),
        pytest.param([(NAN, NAN, 0)], (NAN,) * 4, id="none labeled"),
        pytest.param([(5, 5, 2), (5.5, 9, 2)], (4.75, 5, 1, 4), id="too narrow: about its middle"),
        pytest.param([(0, 3, 2)], (0, 2.5, 1, 1), id="back into the image at the left"),
        pytest.param([(20, 10, 2)], (19, 9, 1, 1), id="back into the image at the corner"),
        pytest.param([(-5, 4, 2), (30, 40, 2)], (0, 4, 20, 6), id="clipped"),
        pytest.param([(40, 50, 2), (60, 70, 2)], (19, 9, 1, 1), id="wholly outside"),
    ],
)
def test_bbox_of_keypoints(points, expected):
    box = geometry.bbox_from_keypoints(points, 20, 10)
    np.testing.assert_array_equal(box, expected)


def test_bbox_without_image_is_not_clipped():
    points = [(-5.0, 4.0, 2), (30.0, 40.0, 2)]
    np.testing.assert_array_equal(geometry.bbox_from_keypoints(points), (-5, 4, 35, 36))
    np.testing.assert_array_equal(geometry.bbox_from_keypoints([(3, 3, 1)]), (2.5, 2.5, 1, 1))


def test_bbox_of_many_instances_keeps_the_leading_shape():
    points = np.full((2, 3, 5, 3), NAN)
    points[1, 2] = [[k, 2 * k, 2] for k in range(5)]
    boxes = geometry.bbox_from_keypoints(points)
    assert boxes.shape == (2, 3, 4)
    np.testing.assert_array_equal(boxes[1, 2], (0, 0, 4, 8))
    assert np.isnan(boxes).sum() == 5 * 4
    assert geometry.bbox_from_keypoints(np.empty((0, 17, 3))).shape == (0, 4)
    assert np.isnan(geometry.bbox_from_keypoints(np.empty((2, 0, 3)))).all()


def test_bbox_of_the_wrong_shape_says_which():
    with pytest.raises(ValueError, match=r"\(17, 2\), expected \(\.\.\., n_keypoints, 3\)"):
        geometry.bbox_from_keypoints(np.zeros((17, 2)))


@given(
    st.lists(st.tuples(coordinate, coordinate, st.sampled_from([0, 1, 2])), min_size=1),
    st.integers(1, 5000),
    st.integers(1, 5000),
)
def test_bbox_lies_in_the_image_and_is_a_pixel_large(points, width, height):
    x, y, w, h = geometry.bbox_from_keypoints(points, width, height)
    if any(v for _, _, v in points):
        assert x >= 0
        assert y >= 0
        assert w >= 1
        assert h >= 1
        assert x + w <= width * (1 + 1e-12)
        assert y + h <= height * (1 + 1e-12)
    else:
        assert math.isnan(x)


# --- viewport -----------------------------------------------------------------------------------


def test_image_to_canvas_scales_then_moves():
    xy = geometry.image_to_canvas([(0, 0), (10, 20)], (2.0, 100.0, -5.0))
    np.testing.assert_array_equal(xy, [(100, -5), (120, 35)])


@given(st.tuples(coordinate, coordinate), viewport)
def test_canvas_to_image_gives_back_the_point(xy, view):
    back = geometry.canvas_to_image(geometry.image_to_canvas(xy, view), view)
    # The offset costs digits: canvas positions reach 1e8, image pixels per canvas pixel 1e3.
    tolerance = 1e-12 * (abs(view[1]) + abs(view[2]) + 1e5 * view[0]) / view[0] + 1e-9
    np.testing.assert_allclose(back, xy, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("sizes", "margin", "expected"),
    [
        ((100, 50, 200, 200), 0, (2.0, 0.0, 50.0)),
        ((50, 100, 200, 200), 0, (2.0, 50.0, 0.0)),
        ((100, 100, 220, 240), 10, (2.0, 10.0, 20.0)),
    ],
)
def test_fit_shows_the_whole_image_centred(sizes, margin, expected):
    assert geometry.fit_viewport(*sizes, margin=margin) == expected


@pytest.mark.parametrize(
    ("sizes", "margin", "message"),
    [((0, 5, 10, 10), 0, "image is 0 x 5"), ((5, 5, 10, 10), 5, "leaves no room")],
)
def test_fit_without_room_is_refused(sizes, margin, message):
    with pytest.raises(ValueError, match=message):
        geometry.fit_viewport(*sizes, margin=margin)


@given(viewport, st.floats(0.1, 10), st.tuples(coordinate, coordinate))
def test_zoom_keeps_the_image_point_under_the_cursor(view, factor, point):
    before = geometry.canvas_to_image(point, view)
    after = geometry.canvas_to_image(point, geometry.zoom_about(view, factor, point))
    tolerance = 1e-11 * (abs(np.array(point)).max() + abs(view[1]) + abs(view[2])) / view[0]
    np.testing.assert_allclose(after, before, rtol=0, atol=tolerance / factor + tolerance + 1e-9)


@pytest.mark.parametrize("factor", [0, -1, NAN, math.inf])
def test_zoom_by_a_senseless_factor_is_refused(factor):
    with pytest.raises(ValueError, match="factor"):
        geometry.zoom_about((1.0, 0.0, 0.0), factor, (0, 0))


# --- clipping and hit test ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        pytest.param((1, 1, 9, 9), (1, 1, 9, 9), id="inside"),
        pytest.param((-5, 5, 15, 5), (0, 5, 10, 5), id="across, level"),
        pytest.param((5, -5, 5, 5), (5, 0, 5, 5), id="one end, upright"),
        pytest.param((-5, 0, 5, 10), (0, 5, 5, 10), id="slanted"),
        pytest.param((-5, 4, 5, 14), (0, 9, 1, 10), id="cuts a corner"),
        pytest.param((-5, 6, 5, 16), None, id="passes a corner"),
        pytest.param((-1, 2, -1, 8), None, id="beside"),
        pytest.param((0, -3, 0, 3), (0, 0, 0, 3), id="on the border"),
        pytest.param((3, 3, 3, 3), (3, 3, 3, 3), id="a point inside"),
        pytest.param((11, 3, 11, 3), None, id="a point outside"),
        pytest.param((NAN, 3, 4, 4), None, id="NaN"),
    ],
)
def test_segments_are_clipped_to_the_rectangle(segment, expected):
    start, end, is_inside = geometry.clip_segments([segment[:2]], [segment[2:]], (0, 0, 10, 10))
    assert is_inside.tolist() == [expected is not None]
    if expected is None:
        assert np.isnan(start).all()
        assert np.isnan(end).all()
    else:
        np.testing.assert_allclose([*start[0], *end[0]], expected, atol=1e-12)


def test_no_segments_give_none():
    start, end, is_inside = geometry.clip_segments(np.empty((0, 2)), [], (0, 0, 1, 1))
    assert start.shape == end.shape == (0, 2)
    assert is_inside.shape == (0,)


@given(st.tuples(coordinate, coordinate, coordinate, coordinate))
def test_clipping_agrees_with_points_along_the_segment(segment):
    start, end = np.array(segment[:2]), np.array(segment[2:])
    rect = (-2e4, -3e4, 5e4, 4e4)
    along = start + np.linspace(0, 1, 201)[:, None] * (end - start)
    touches = ((along > rect[:2]) & (along < rect[2:])).all(axis=1).any()
    first, last, is_inside = geometry.clip_segments(start[None], end[None], rect)
    if touches:
        assert is_inside[0]
    if is_inside[0]:
        both = np.concatenate([first, last])
        assert (both >= np.array(rect[:2]) - 1e-6).all()
        assert (both <= np.array(rect[2:]) + 1e-6).all()


def test_nearest_keypoint_within_the_radius():
    points = [(0, 0, 2), (3, 4, 1), (6, 8, 0), (NAN, NAN, 0)]
    assert geometry.nearest_keypoint(points, (0, 1), 1) == 0
    assert geometry.nearest_keypoint(points, (0, 1), 0.99) is None
    assert geometry.nearest_keypoint(points, (3, 3), 10) == 1
    assert geometry.nearest_keypoint(points, (6, 8), 1) is None, "unlabeled is not hit"
    assert geometry.nearest_keypoint(np.array(points)[:, :2], (6, 8), 1) == 2
    assert geometry.nearest_keypoint([(NAN, NAN, 0)], (0, 0), 1e9) is None
    assert geometry.nearest_keypoint(np.empty((0, 3)), (0, 0), 1) is None


def test_of_keypoints_at_one_place_the_one_on_top_is_hit():
    assert geometry.nearest_keypoint([(1, 1, 2), (1, 1, 2), (5, 5, 2)], (1, 1), 1) == 1


# --- layout -------------------------------------------------------------------------------------


def crossings(xy: np.ndarray, edges: np.ndarray) -> int:
    def turn(a, b, c):
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    count = 0
    for i, (a, b) in enumerate(edges):
        for c, d in edges[:i]:
            if len({a, b, c, d}) == 4:
                p, q, r, s = xy[[a, b, c, d]]
                count += turn(p, q, r) * turn(p, q, s) < 0 and turn(r, s, p) * turn(r, s, q) < 0
    return count


def test_layout_of_a_person_is_an_upright_figure():
    schema = schemas.get("coco17")
    xy = geometry.layout_skeleton(17, schema.edges, schema.sides)
    assert (xy >= 0).all()
    assert (xy <= 1).all()
    assert crossings(xy, schema.edges) == 0
    apart = np.linalg.norm(xy[:, None] - xy[None], axis=-1) + np.eye(17)
    assert apart.min() > 0.03
    y = dict(zip(schema.keypoints, xy[:, 1], strict=True))
    assert y["nose"] < y["left_shoulder"] < y["left_hip"] < y["left_knee"] < y["left_ankle"]
    x = dict(zip(schema.keypoints, xy[:, 0], strict=True))
    assert x["left_hip"] > x["right_hip"], "it faces the reader"
    np.testing.assert_array_equal(xy, geometry.layout_skeleton(17, schema.edges, schema.sides))


def test_layout_of_a_chain_is_nearly_straight():
    xy = geometry.layout_skeleton(5, [(0, 1), (1, 2), (2, 3), (3, 4)])
    length = np.linalg.norm(np.diff(xy, axis=0), axis=1)
    np.testing.assert_allclose(length, length.mean(), rtol=0.05)
    assert np.linalg.norm(xy[4] - xy[0]) > 0.97 * length.sum()
    assert (np.diff(xy[:, 1]) > 0).all(), "first keypoint on top"


@pytest.mark.parametrize(
    ("n_keypoints", "edges"),
    [
        pytest.param(1, [], id="one"),
        pytest.param(2, [(0, 1)], id="two"),
        pytest.param(68, [], id="no edges"),
        pytest.param(6, [(0, 1), (2, 3), (4, 5)], id="three parts"),
        pytest.param(6, [(0, i) for i in range(1, 6)], id="star: leaves that nothing tells apart"),
        pytest.param(5, [(0, 1), (0, 1), (1, 0)], id="repeated edge and loose keypoints"),
        pytest.param(5000, [(i, i + 1) for i in range(4999)], id="very many"),
    ],
)
def test_layout_separates_all_keypoints_inside_the_unit_square(n_keypoints, edges):
    xy = geometry.layout_skeleton(n_keypoints, edges)
    assert xy.shape == (n_keypoints, 2)
    assert np.isfinite(xy).all()
    assert (xy >= 0).all()
    assert (xy <= 1).all()
    rounded = {(round(float(x), 4), round(float(y), 4)) for x, y in xy}
    assert len(rounded) == n_keypoints


# --- alignment ------------------------------------------------------------------------------------


def turned(xy, angle, scale, shift):
    c, s = math.cos(angle), math.sin(angle)
    return scale * xy @ np.array([[c, s], [-s, c]]) + shift


def test_similar_poses_are_laid_on_the_reference():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(7, 2))
    poses = np.stack(
        [turned(reference, *rng.uniform(0.1, 6, 2), rng.normal(size=2) * 50) for _ in range(20)]
    )
    poses[rng.random(poses.shape[:2]) < 0.3] = np.nan
    aligned = geometry.align_poses(poses, reference, rotation=True)
    is_there = np.isfinite(poses)
    expected = np.broadcast_to(reference, poses.shape)
    np.testing.assert_allclose(aligned[is_there], expected[is_there], atol=1e-10)
    assert np.isnan(aligned[~is_there]).all()


def test_rotation_is_that_of_scipy():
    scipy_linalg = pytest.importorskip("scipy.linalg")
    rng = np.random.default_rng(1)
    reference = rng.normal(size=(6, 2))
    pose = turned(reference, 0.8, 3, (5, 6)) + rng.normal(0, 0.1, (6, 2))
    here, there = pose - pose.mean(axis=0), reference - reference.mean(axis=0)
    rotation, _ = scipy_linalg.orthogonal_procrustes(here, there)
    assert np.linalg.det(rotation) > 0, "no mirror image in this example"
    expected = here @ rotation * np.linalg.norm(there) / np.linalg.norm(here)
    aligned = geometry.align_poses(pose[None], reference, rotation=True)[0]
    np.testing.assert_allclose(aligned, expected + reference.mean(axis=0), atol=1e-12)


def test_without_rotation_only_place_and_size_change():
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)
    tilted = turned(square, math.pi / 4, 10, (3, 4))
    aligned = geometry.align_poses(tilted[None], square)[0]
    # Still on its corner: half the diagonal, sqrt(1/2), from the middle in x and y.
    np.testing.assert_allclose(np.ptp(aligned, axis=0), [2**0.5, 2**0.5])
    np.testing.assert_allclose(aligned.mean(axis=0), (0.5, 0.5))


def test_a_mirror_image_is_not_mirrored_back():
    shape = np.array([(0, 0), (4, 0), (0, 3), (1, 7)], float)
    aligned = geometry.align_poses((shape * (-1, 1))[None], shape, rotation=True)[0]
    assert np.abs(aligned - shape).max() > 1


@pytest.mark.parametrize(
    "pose",
    [
        pytest.param([(5, 5), (np.nan, np.nan), (np.nan, np.nan)], id="one point"),
        pytest.param([(5, 5), (5, 5), (5, 5)], id="one place"),
        pytest.param([(np.nan, np.nan)] * 3, id="nothing"),
    ],
)
def test_a_pose_without_size_cannot_be_aligned(pose):
    reference = [(0, 0), (4, 0), (0, 3)]
    assert np.isnan(geometry.align_poses([pose], reference)).all()
    assert np.isnan(geometry.mean_pose([pose])).all()
    # Nor does it spoil the mean of the others.
    mean = geometry.mean_pose([pose, reference, np.multiply(reference, 7) + 3])
    np.testing.assert_allclose(mean, geometry.mean_pose([reference]), atol=1e-12)


def test_halves_have_the_mean_of_the_whole():
    whole = np.array([(0, 0), (4, 0), (0, 3), (6, 9), (-2, 5)], float)
    upper, lower = whole * 3 + 20, whole * 0.5 - 8
    upper[3:] = np.nan
    lower[:2] = np.nan
    mean = geometry.mean_pose([upper, lower, whole])
    np.testing.assert_allclose(mean, geometry.mean_pose([whole]), atol=1e-9)
    assert np.mean((mean**2).sum(axis=1)) == pytest.approx(1)
    np.testing.assert_allclose(mean.mean(axis=0), 0, atol=1e-12)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"reference has shape \(2, 2\), expected \(3, 2\)"):
        geometry.align_poses(np.zeros((1, 3, 2)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"poses have shape \(3, 2\), expected"):
        geometry.mean_pose(np.zeros((3, 2)))


# --- the mean in a box ----------------------------------------------------------------------------


def test_mean_in_a_box_is_that_of_the_places_in_each_ones_own_box():
    # By hand. Box (10, 10) to (30, 50): the third keypoint is in the middle of its lower side.
    # Box (0, 0) to (4, 2): it is a quarter from the left, in the middle of its height.
    keypoints = [
        [(10, 10, 2), (30, 50, 1), (20, 50, 2), (0, 0, 0)],
        [(0, 0, 2), (4, 2, 2), (1, 1, 2), (np.nan, np.nan, 0)],
    ]
    pose, n = geometry.mean_in_box(keypoints, least=2)
    assert n == 2
    np.testing.assert_allclose(pose, [(0, 0), (1, 1), (0.375, 0.75), (np.nan, np.nan)])


def test_mean_in_a_box_leaves_out_who_has_half_of_the_keypoints_or_fewer():
    whole = [(0, 0, 2), (10, 10, 2), (5, 0, 2), (0, 5, 2)]
    half = [(0, 0, 2), (10, 10, 2), (0, 0, 0), (0, 0, 0)]
    most = [(0, 0, 2), (10, 10, 2), (0, 10, 2), (0, 0, 0)]
    pose, n = geometry.mean_in_box([whole, half, most], least=2)
    assert n == 2
    np.testing.assert_allclose(pose, [(0, 0), (1, 1), (0.25, 0.5), (0, 0.5)])
    assert geometry.mean_in_box([whole, half, most], least=3) == (None, 2)
    assert geometry.mean_in_box([whole] * 4) == (None, 4)  # five by default
    assert geometry.mean_in_box([whole] * 5)[1] == 5
    assert geometry.mean_in_box(np.empty((0, 4, 3)), least=0) == (None, 0)


def test_a_pose_without_width_is_in_the_middle_of_its_box():
    # bbox_from_keypoints makes a side of 0 one of 1 px around it.
    pose, _ = geometry.mean_in_box([[(7, 2, 2), (7, 12, 2)]], least=1)
    np.testing.assert_allclose(pose, [(0.5, 0), (0.5, 1)])


def test_mean_in_a_box_says_nothing_of_places_beyond_what_a_float_can_tell():
    pose, n = geometry.mean_in_box([[(-1e308, 0, 2), (1e308, 10, 2)]], least=1)
    assert n == 1
    assert not np.isinf(pose).any()
    np.testing.assert_allclose(pose[:, 1], [0, 1])


def test_mean_in_a_box_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"keypoints have shape \(4, 3\), expected \(n, n_keyp"):
        geometry.mean_in_box(np.zeros((4, 3)))
