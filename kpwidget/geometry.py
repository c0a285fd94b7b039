"""Pure array functions: boxes of keypoints, image to canvas and back, hit test, clipping, layout.

A **viewport** is ``(scale, tx, ty)``: the image point (x, y) lies at
``(tx + scale * x, ty + scale * y)`` on the canvas. `scale` is in canvas pixels per image pixel,
`tx` and `ty` in canvas pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Viewport",
    "align_poses",
    "bbox_from_keypoints",
    "canvas_to_image",
    "clip_segments",
    "edge_length_ratios",
    "fit_unit",
    "fit_viewport",
    "image_to_canvas",
    "layout_skeleton",
    "mean_in_box",
    "mean_pose",
    "nearest_keypoint",
    "zoom_about",
]

Viewport = tuple[float, float, float]
"""``(scale, tx, ty)``: canvas = t + scale * image."""

# Above this, distances between all pairs (cubic to compute) would take more than a second.
_MAX_SPRINGS = 400


def bbox_from_keypoints(
    keypoints: ArrayLike, width: ArrayLike | None = None, height: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Smallest box around the labeled keypoints of each instance.

    Parameters
    ----------
    keypoints : array_like of shape (..., n_keypoints, 3)
        (x, y, visibility), x and y in image pixels. A keypoint counts if its visibility is above
        0 and both coordinates are finite.
    width, height : float or array_like of shape (...), optional
        Size of the image in pixels; the box is clipped to it. Infinite where it is not known.

    Returns
    -------
    ndarray of shape (..., 4)
        (x, y, width, height) in image pixels. Each side is at least 1 px long: a shorter one
        grows about its middle, then moves back into the image. NaN where no keypoint is labeled.

    Raises
    ------
    ValueError
        If the shape does not end in 3.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    if points.ndim < 2 or points.shape[-1] != 3:
        raise ValueError(f"keypoints have shape {points.shape}, expected (..., n_keypoints, 3)")
    xy = points[..., :2]
    is_labeled = (points[..., 2] > 0) & np.isfinite(xy).all(axis=-1)
    low = np.where(is_labeled[..., None], xy, np.inf).min(axis=-2, initial=np.inf)
    high = np.where(is_labeled[..., None], xy, -np.inf).max(axis=-2, initial=-np.inf)
    sides = (np.inf if side is None else side for side in (width, height))
    limit = np.stack(np.broadcast_arrays(*sides), axis=-1).astype(np.float64)
    lowest = np.where(np.isfinite(limit), 0.0, -np.inf)
    has_any = np.asarray(is_labeled.any(axis=-1))[..., None]
    low = np.where(has_any, np.clip(low, lowest, limit), np.nan)
    high = np.where(has_any, np.clip(high, lowest, limit), np.nan)
    size = high - low
    is_short = size < 1
    start = np.where(is_short, (low + high - 1) / 2, low)
    start = np.where(is_short, np.maximum(np.minimum(start, limit - 1), lowest), start)
    return np.concatenate([start, np.where(is_short, 1.0, size)], axis=-1)


def image_to_canvas(xy: ArrayLike, viewport: Viewport) -> NDArray[np.float64]:
    """Canvas positions of image points.

    Parameters
    ----------
    xy : array_like of shape (..., 2)
        In image pixels. NaN stays NaN.
    viewport : tuple of float
        ``(scale, tx, ty)``.

    Returns
    -------
    ndarray of shape (..., 2)
        In canvas pixels.
    """
    scale, tx, ty = viewport
    return np.asarray(xy, dtype=np.float64) * scale + (tx, ty)


def canvas_to_image(xy_canvas: ArrayLike, viewport: Viewport) -> NDArray[np.float64]:
    """Image points at canvas positions: the inverse of `image_to_canvas`.

    Parameters
    ----------
    xy_canvas : array_like of shape (..., 2)
        In canvas pixels.
    viewport : tuple of float
        ``(scale, tx, ty)``.

    Returns
    -------
    ndarray of shape (..., 2)
        In image pixels, not rounded.
    """
    scale, tx, ty = viewport
    moved: NDArray[np.float64] = np.asarray(xy_canvas, dtype=np.float64) - (tx, ty)
    return moved / scale


def fit_viewport(
    image_width: float,
    image_height: float,
    canvas_width: float,
    canvas_height: float,
    margin: float = 0.0,
) -> Viewport:
    """Viewport that shows the whole image, centred and as large as possible.

    Parameters
    ----------
    image_width, image_height : float
        In image pixels, above 0.
    canvas_width, canvas_height : float
        In canvas pixels.
    margin : float, default 0
        Left free on every side, in canvas pixels.

    Returns
    -------
    tuple of float
        ``(scale, tx, ty)``.

    Raises
    ------
    ValueError
        If the image has no extent, or the margin leaves no room.
    """
    room = (canvas_width - 2 * margin, canvas_height - 2 * margin)
    if not (image_width > 0 and image_height > 0):
        raise ValueError(
            f"the image is {image_width} x {image_height} px, expected both sides above 0"
        )
    if not (room[0] > 0 and room[1] > 0):
        raise ValueError(
            f"a canvas of {canvas_width} x {canvas_height} px less a margin of {margin} px on "
            "every side leaves no room for the image"
        )
    scale = min(room[0] / image_width, room[1] / image_height)
    return (
        scale,
        (canvas_width - scale * image_width) / 2,
        (canvas_height - scale * image_height) / 2,
    )


def zoom_about(viewport: Viewport, factor: float, point: Sequence[float]) -> Viewport:
    """Viewport zoomed by `factor`, with the image point under `point` staying where it is.

    Parameters
    ----------
    viewport : tuple of float
        ``(scale, tx, ty)``.
    factor : float
        Above 1 to zoom in, below 1 to zoom out.
    point : pair of float
        (x, y) in canvas pixels.

    Returns
    -------
    tuple of float
        ``(scale, tx, ty)``.

    Raises
    ------
    ValueError
        If `factor` is not a finite number above 0.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"factor = {factor}: expected a finite number above 0")
    scale, tx, ty = viewport
    x, y = point
    return scale * factor, x - (x - tx) * factor, y - (y - ty) * factor


def clip_segments(
    xy0: ArrayLike, xy1: ArrayLike, rect: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Part of each line segment inside a rectangle.

    Parameters
    ----------
    xy0, xy1 : array_like of shape (n, 2)
        Ends of the segments, in any one space. NaN for a segment that does not exist.
    rect : sequence of 4 float
        (x0, y0, x1, y1), corners in the same space.

    Returns
    -------
    xy0, xy1 : ndarray of shape (n, 2)
        Ends of the part inside; NaN where there is none.
    is_inside : ndarray of bool, shape (n,)
        Whether any of the segment is inside, the border included. False for NaN.

    Notes
    -----
    Liang and Barsky, "A new concept and method for line clipping", ACM Transactions on Graphics
    3 (1984) 1-22.
    """
    start = np.asarray(xy0, dtype=np.float64).reshape(-1, 2)
    end = np.asarray(xy1, dtype=np.float64).reshape(-1, 2)
    low, high = np.asarray(rect[:2], dtype=np.float64), np.asarray(rect[2:], dtype=np.float64)
    is_inside = np.isfinite(start).all(axis=1) & np.isfinite(end).all(axis=1)
    step = end - start
    # A border that is out of reach of a tiny step is at infinity, as for a step of 0.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        to_low, to_high = (low - start) / step, (high - start) / step
    # A segment parallel to a border never crosses it: it is between the two or wholly outside.
    is_parallel = step == 0
    is_between = (start >= low) & (start <= high)
    enter = np.where(is_parallel, -np.inf, np.minimum(to_low, to_high)).max(axis=1)
    leave = np.where(is_parallel, np.inf, np.maximum(to_low, to_high)).min(axis=1)
    enter, leave = np.maximum(enter, 0.0), np.minimum(leave, 1.0)
    is_inside &= (enter <= leave) & (is_between | ~is_parallel).all(axis=1)
    # Where nothing is cut off the ends are copied: start + 1.0 * (end - start) may differ from end.
    first = np.where((enter > 0)[:, None], start + enter[:, None] * step, start)
    last = np.where((leave < 1)[:, None], start + leave[:, None] * step, end)
    first[~is_inside] = np.nan
    last[~is_inside] = np.nan
    return first, last, is_inside


def nearest_keypoint(keypoints: ArrayLike, xy: Sequence[float], radius: float) -> int | None:
    """Index of the keypoint nearest to a point, if it is near enough.

    Parameters
    ----------
    keypoints : array_like of shape (n_keypoints, 2) or (n_keypoints, 3)
        (x, y) or (x, y, visibility). NaN, or visibility 0, for a keypoint without a location.
    xy : pair of float
        The point, in the same space.
    radius : float
        Largest distance, in the same unit; itself included.

    Returns
    -------
    int or None
        Of equally near ones the last, which is painted on top.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    if points.size == 0:
        return None
    distance = np.hypot(points[:, 0] - xy[0], points[:, 1] - xy[1])
    if points.shape[1] > 2:
        distance = np.where(points[:, 2] > 0, distance, np.nan)
    distance = np.where(np.isfinite(distance), distance, np.inf)
    nearest = len(distance) - 1 - int(np.argmin(distance[::-1]))
    return nearest if distance[nearest] <= radius else None


def align_poses(
    poses: ArrayLike, reference: ArrayLike, *, rotation: bool = False
) -> NDArray[np.float64]:
    """Poses moved, scaled and perhaps turned onto a reference pose.

    Parameters
    ----------
    poses : array_like of shape (n, n_keypoints, 2)
        (x, y) in any unit; NaN for a keypoint without a location.
    reference : array_like of shape (n_keypoints, 2)
        In any other unit; NaN where there is none.
    rotation : bool, default False
        Whether poses are turned as well. They are never mirrored.

    Returns
    -------
    ndarray of shape (n, n_keypoints, 2)
        In the unit of the reference. NaN where a keypoint has no location, and for a whole pose
        that shares fewer than two places with the reference.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    Of the keypoints that a pose has in common with the reference, the centroids are laid on each
    other; the scale is the ratio of the centroid sizes (the root of the sum of squared distances
    from the centroid); the angle is that of the least squared distance, which for points
    z = x + iy is the argument of sum(conj(z) w) [1]_.

    References
    ----------
    .. [1] Dryden and Mardia, "Statistical Shape Analysis", 1998, chapters 2 and 3.
    """
    xy, target = _checked_poses(poses), np.asarray(reference, dtype=np.float64)
    if target.shape != xy.shape[1:]:
        raise ValueError(
            f"the reference has shape {target.shape}, expected {xy.shape[1:]} as each pose"
        )
    aligned = _aligned(_complex(xy), _complex(target), rotation)
    return np.stack([aligned.real, aligned.imag], axis=-1)


def mean_pose(
    poses: ArrayLike, *, rotation: bool = False, n_steps: int = 20
) -> NDArray[np.float64]:
    """Mean shape of poses that differ in place, size and perhaps direction.

    Parameters
    ----------
    poses : array_like of shape (n, n_keypoints, 2)
        (x, y) in any unit; NaN for a keypoint without a location.
    rotation : bool, default False
        Whether they differ in direction as well.
    n_steps : int, default 20
        Most rounds of aligning and averaging; it ends when nothing moves any more.

    Returns
    -------
    ndarray of shape (n_keypoints, 2)
        Centred on (0, 0) with a mean squared distance of 1 from it. NaN for a keypoint that no
        usable pose has; all NaN if none has two keypoints at different places.

    References
    ----------
    .. [1] Gower, "Generalized Procrustes analysis", Psychometrika 40 (1975) 33-51.
    """
    z = _complex(_checked_poses(poses))
    mean = np.full(z.shape[1], np.nan + 0j)
    if len(z):
        # From the most complete pose: a mean of poses of which some are halves has no shape.
        for i in np.argsort(-np.isfinite(z).sum(axis=1), kind="stable").tolist():
            mean = _unit_size(z[i])
            if np.isfinite(mean).any():
                break
    for _ in range(n_steps):
        aligned = _aligned(z, mean, rotation)
        n = np.isfinite(aligned).sum(axis=0)
        total = np.where(np.isfinite(aligned), aligned, 0).sum(axis=0)
        following = _unit_size(np.where(n > 0, total / np.maximum(n, 1), np.nan))
        step = np.abs(following - mean)
        is_known = np.isfinite(mean)
        mean = following
        if (is_known == np.isfinite(mean)).all() and not (step[is_known] > 1e-9).any():
            break
    is_known = np.isfinite(mean)
    return np.stack([np.where(is_known, part, np.nan) for part in (mean.real, mean.imag)], axis=-1)


def mean_in_box(keypoints: ArrayLike, *, least: int = 5) -> tuple[NDArray[np.float64] | None, int]:
    """Mean place of each keypoint in the box of its instance, if there are enough instances.

    Unlike `mean_pose` it tells where in a drawn box a keypoint will be, each side of the box for
    itself. As places vary, few of the means lie on the border.

    Parameters
    ----------
    keypoints : array_like of shape (n, n_keypoints, 3)
        (x, y, visibility), x and y in image pixels. A keypoint counts if its visibility is above
        0 and both coordinates are finite; an instance if more than half of its keypoints do: the
        box of a few says little about the others.
    least : int, default 5
        The fewest instances that make a mean.

    Returns
    -------
    pose : ndarray of shape (n_keypoints, 2), or None
        (x, y) from (0, 0), the top left of `bbox_from_keypoints`, to (1, 1), its bottom right. NaN
        for a keypoint that is labeled in none of the instances, or beyond what a float can tell.
        None if they are too few.
    n : int
        How many instances count.

    Raises
    ------
    ValueError
        If the shape is another.

    Examples
    --------
    >>> low = [(10, 10, 2), (30, 10, 2), (20, 50, 2)]
    >>> bent = [(0, 0, 2), (10, 0, 2), (10, 10, 2)]
    >>> pose, n = mean_in_box([low, bent], least=2)
    >>> pose.tolist(), n
    ([[0.0, 0.0], [1.0, 0.0], [0.75, 1.0]], 2)
    """
    points = np.asarray(keypoints, dtype=np.float64)
    if points.ndim != 3 or points.shape[-1] != 3:
        raise ValueError(f"keypoints have shape {points.shape}, expected (n, n_keypoints, 3)")
    is_labeled = (points[..., 2] > 0) & np.isfinite(points[..., :2]).all(axis=-1)
    counts = is_labeled.sum(axis=1) > points.shape[1] / 2
    n = int(counts.sum())
    if n < max(least, 1):
        return None, n
    points, is_labeled = points[counts], is_labeled[counts][..., None]
    # Coordinates near the largest float have a box of infinite size, and no place in it.
    with np.errstate(over="ignore", invalid="ignore"):
        box = bbox_from_keypoints(points)[:, None]
        places = np.where(is_labeled, (points[..., :2] - box[..., :2]) / box[..., 2:], 0.0)
    n_labeled = is_labeled.sum(axis=0)
    pose = np.where(n_labeled, places.sum(axis=0) / np.maximum(n_labeled, 1), np.nan)
    return pose, n


def _checked_poses(poses: ArrayLike) -> NDArray[np.float64]:
    xy = np.asarray(poses, dtype=np.float64)
    if xy.ndim != 3 or xy.shape[-1] != 2:
        raise ValueError(f"poses have shape {xy.shape}, expected (n, n_keypoints, 2)")
    return xy


def _complex(xy: NDArray[np.float64]) -> NDArray[np.complex128]:
    z: NDArray[np.complex128] = xy[..., 0] + 1j * xy[..., 1]
    return z


def _aligned(
    z: NDArray[np.complex128], target: NDArray[np.complex128], rotation: bool
) -> NDArray[np.complex128]:
    is_common = np.isfinite(z) & np.isfinite(target)
    n = np.maximum(is_common.sum(axis=1, keepdims=True), 1)
    from_ = np.where(is_common, z, 0).sum(axis=1, keepdims=True) / n
    to = np.where(is_common, target, 0).sum(axis=1, keepdims=True) / n
    here, there = np.where(is_common, z - from_, 0), np.where(is_common, target - to, 0)
    size = np.sqrt((np.abs(here) ** 2).sum(axis=1, keepdims=True))
    wanted = np.sqrt((np.abs(there) ** 2).sum(axis=1, keepdims=True))
    # Points at one place have a size that is nothing but rounding.
    is_usable = (size > 1e-12 * (1 + np.abs(from_))) & (wanted > 1e-12)
    factor = wanted / np.where(is_usable, size, np.nan) + 0j
    if rotation:
        turn = (np.conj(here) * there).sum(axis=1, keepdims=True)
        factor *= np.where(np.abs(turn) > 0, turn / np.maximum(np.abs(turn), 1e-300), 1)
    moved: NDArray[np.complex128] = to + factor * (z - from_)
    return moved


def _unit_size(z: NDArray[np.complex128]) -> NDArray[np.complex128]:
    known = z[np.isfinite(z)]
    if not len(known):
        return z
    centred = z - known.mean()
    size = math.sqrt(float(np.mean(np.abs(known - known.mean()) ** 2)))
    return centred / size if size > 1e-12 * (1 + abs(known.mean())) else np.full_like(z, np.nan)


def layout_skeleton(
    n_keypoints: int, edges: ArrayLike, sides: Sequence[str | None] | None = None
) -> NDArray[np.float64]:
    """Figure of a skeleton of which only the edges are known.

    Every edge would like to be one unit long and every other pair of keypoints as far apart as
    the path between them; stress majorization finds the best compromise. The result is
    turned upright with the first keypoint in the upper half. Without edges, or with very many
    keypoints, they stand in rows in reading order.

    Parameters
    ----------
    n_keypoints : int
        Number of keypoints.
    edges : array_like of int, shape (n_edges, 2)
        0-based.
    sides : sequence of 'left', 'right' or None, optional
        The figure faces the reader: its left side is put on the right.

    Returns
    -------
    ndarray of shape (n_keypoints, 2)
        (x, y) in [0, 1], y down, aspect ratio kept. The same for the same input.

    References
    ----------
    .. [1] Gansner, Koren, North, "Graph drawing by stress majorization", Graph Drawing 2004.
    """
    pairs = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    if n_keypoints < 3 or len(pairs) == 0 or n_keypoints > _MAX_SPRINGS:
        n_columns = max(1, math.ceil(math.sqrt(n_keypoints)))
        place = np.arange(n_keypoints)
        return fit_unit(np.stack([place % n_columns, place // n_columns], axis=1).astype(float))
    side = np.zeros(n_keypoints)
    if sides is not None:
        side[:] = [{"left": 1.0, "right": -1.0}.get(name or "", 0.0) for name in sides]
    distance = _path_lengths(n_keypoints, pairs)
    start = _scale_classically(distance)
    if side.any():
        # Several pairs of limbs each find their way to the left and right if they start there.
        start[:, 0] = 0.1 * start[:, 0] + side * (1 + np.abs(start[:, 0]))
    xy = _majorize(start, distance)
    xy -= xy.mean(axis=0)
    across = side @ xy
    if float(np.hypot(*across)) > 1e-6:
        # Right to left lies level, which makes the figure as upright as its names say.
        direction = across / np.hypot(*across)
        axes = np.array([[direction[0], -direction[1]], [direction[1], direction[0]]])
    else:
        _, axes = np.linalg.eigh(xy.T @ xy)  # ascending: the long axis is the last, y
    xy = xy @ axes
    if xy[0, 1] > 0:
        xy[:, 1] *= -1
    return fit_unit(xy)


def _path_lengths(n_keypoints: int, edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Edges on the shortest path between each two keypoints (Floyd and Warshall)."""
    length = np.full((n_keypoints, n_keypoints), np.inf)
    length[edges[:, 0], edges[:, 1]] = length[edges[:, 1], edges[:, 0]] = 1.0
    np.fill_diagonal(length, 0.0)
    for via in range(n_keypoints):
        np.minimum(length, length[:, via, None] + length[None, via, :], out=length)
    # Parts that no edge joins stand a little apart.
    longest = length[np.isfinite(length)].max()
    return np.where(np.isfinite(length), length, 0.6 * longest + 1.0)


def _scale_classically(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Torgerson's classical scaling, (n, 2): where the majorization starts."""
    squared = distance**2
    centred = squared - squared.mean(axis=0) - squared.mean(axis=1)[:, None] + squared.mean()
    values, vectors = np.linalg.eigh(-centred / 2)
    vectors = vectors[:, -2:]
    sign = np.sign(vectors[np.abs(vectors).argmax(axis=0), [0, 1]])
    xy: NDArray[np.float64] = vectors * sign * np.sqrt(np.maximum(values[-2:], 1e-9))
    # Keypoints that nothing tells apart would start, and for ever stay, at one place.
    turn = 2.399963 * np.arange(len(xy))  # golden angle: no two the same
    return xy + 0.05 * np.stack([np.cos(turn), np.sin(turn)], axis=1)


def _majorize(
    xy: NDArray[np.float64], distance: NDArray[np.float64], n_steps: int = 200
) -> NDArray[np.float64]:
    """Places whose distances fit `distance`, each pair weighing distance**-2, (n, 2)."""
    off = ~np.eye(len(xy), dtype=bool)
    weight = np.zeros_like(distance)
    weight[off] = distance[off] ** -2.0
    inverse = np.linalg.pinv(np.diag(weight.sum(axis=1)) - weight)
    for _ in range(n_steps):
        apart = np.hypot(*(xy[:, None, :] - xy[None, :, :]).transpose(2, 0, 1))
        pull = np.zeros_like(distance)
        pull[off] = -weight[off] * distance[off] / np.maximum(apart[off], 1e-9)
        np.fill_diagonal(pull, -pull.sum(axis=1))
        xy = inverse @ pull @ xy
    return xy


def fit_unit(xy: NDArray[np.float64], margin: float = 0.08) -> NDArray[np.float64]:
    """Points moved and scaled into [margin, 1 - margin] squared, centred.

    Parameters
    ----------
    xy : ndarray of shape (n, 2)
    margin : float, default 0.08

    Returns
    -------
    ndarray of shape (n, 2)
        Proportions are kept: the longer side fills the room.
    """
    low, high = xy.min(axis=0), xy.max(axis=0)
    extent = float((high - low).max()) or 1.0
    fitted: NDArray[np.float64] = 0.5 + (xy - (low + high) / 2) * ((1 - 2 * margin) / extent)
    return fitted


def edge_length_ratios(
    keypoints: NDArray[np.float64], edges: NDArray[np.int64], places: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How long the edges of each instance are with its keypoints in another order.

    Parameters
    ----------
    keypoints : ndarray of shape (n_instances, n_keypoints, 3)
        (x, y, visibility) in image pixels. Visibility 0 is unlabeled.
    edges : ndarray of shape (n_edges, 2)
        0-based.
    places : ndarray of shape (n_keypoints,)
        For each keypoint the one that is taken for it in the other order.

    Returns
    -------
    ndarray of shape (n_instances,)
        Length of the edges in the other order divided by their length now, of those edges that
        join other points and whose ends are labeled in both. NaN where there are none, or they
        have no length.
    """
    edges = np.asarray(edges, np.int64).reshape(-1, 2)
    # An edge that joins the same two points in both orders tells nothing.
    differs = (np.sort(places[edges], axis=1) != np.sort(edges, axis=1)).any(axis=1)
    now, then = edges[differs], places[edges[differs]]
    is_labeled = keypoints[..., 2] > 0
    counts = (is_labeled[:, now] & is_labeled[:, then]).all(axis=2)

    def length(ends: NDArray[np.int64]) -> NDArray[np.float64]:
        apart = keypoints[:, ends[:, 0], :2] - keypoints[:, ends[:, 1], :2]
        total: NDArray[np.float64] = np.where(counts, np.hypot(*np.moveaxis(apart, 2, 0)), 0.0)
        return np.asarray(total.sum(axis=1))

    own = length(now)
    ratios: NDArray[np.float64] = np.full(len(keypoints), np.nan)
    np.divide(length(then), own, out=ratios, where=own > 0)
    return ratios
