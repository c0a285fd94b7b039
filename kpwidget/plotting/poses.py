"""`plot_pose_space`: poses on each other, aligned by `kpwidget.geometry.align_poses`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection

from kpwidget.geometry import align_poses, mean_pose
from kpwidget.plotting.marks import NEUTRAL, draw_edges, draw_keypoints, draw_points, new_axes
from kpwidget.plotting.rows import Data, keypoints_of, of_category, rows_of
from kpwidget.plotting.text import PLAIN, set_title
from kpwidget.schema import Category, Visibility
from kpwidget.words import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_pose_space"]

_MAX_POSES = 1000


def plot_pose_space(
    data: Data,
    *,
    rotation: bool = False,
    category: str | int | Category | None = None,
    limit: int = _MAX_POSES,
    ax: Axes | None = None,
    keypoint_kw: Mapping[str, Any] | None = None,
    edge_kw: Mapping[str, Any] | None = None,
    pose_kw: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw all poses of a category on each other, aligned, with their mean on top.

    Parameters
    ----------
    data : Dataset, Selection, ImageInfo, Instance, or sequence of ImageInfo or of Instance
    rotation : bool, default False
        Whether poses are turned as well as moved and scaled; see `kpwidget.geometry.align_poses`.
    category : str, int or Category, optional
        May be left out if the instances are of one category, or of several with the same keypoints.
    limit : int, default 1000
        Most poses drawn, spread evenly over all of them; the mean is that of all.
    ax : matplotlib.axes.Axes, optional
        By default a new figure's.
    keypoint_kw, edge_kw : mapping, optional
        For the mean pose, as for `plot_image`.
    pose_kw : mapping, optional
        For the edges of the poses (`matplotlib.collections.LineCollection`).

    Returns
    -------
    matplotlib.axes.Axes
        In units of the size of a pose (root mean square distance of its keypoints from their
        centre), y down. The artists' ``gid`` is ``poses``, ``points``, and as for `plot_image`.

    Raises
    ------
    ValueError
        If `limit` is below 1, or the category is not clear.
    """
    if isinstance(limit, bool) or limit != int(limit) or limit < 1:
        raise ValueError(f"limit = {limit!r}: expected a whole number of at least 1")
    found = rows_of(data)
    chosen = of_category(found, category)
    schema = chosen.schema
    poses = keypoints_of(found.dataset, chosen)[..., :2]
    mean = mean_pose(poses, rotation=rotation)
    aligned = align_poses(poses, mean, rotation=rotation)
    aligned = aligned[np.isfinite(aligned).any(axis=(1, 2))]
    n_all = len(aligned)
    if ax is None:
        ax = new_axes(4.6, 5.2)
    ax.set_aspect("equal")
    ax.set_xlabel("x (pose sizes)")
    ax.set_ylabel("y (pose sizes)")
    ax.invert_yaxis()
    title = f"{chosen.name}: {count(n_all, 'pose')}"
    if n_all < len(chosen.rows):
        title += f"\n({len(chosen.rows) - n_all:,} with fewer than two keypoints left out)"
    if n_all == 0:
        set_title(ax, title, 9)
        ax.text(
            0.5, 0.5, "no pose to show", transform=ax.transAxes, ha="center", va="center", **PLAIN
        )
        return ax
    if n_all > limit:
        aligned = aligned[np.linspace(0, n_all - 1, int(limit)).round().astype(int)]
        title += f"\n{len(aligned):,} of them drawn"
    set_title(ax, title, 9)
    opacity = float(np.clip(6 / len(aligned) ** 0.8, 0.02, 0.5))
    segments = aligned[:, schema.edges].reshape(-1, 2, 2)
    segments = segments[np.isfinite(segments).all(axis=(1, 2))]
    lines = LineCollection(list(segments))
    style = {"color": NEUTRAL, "alpha": opacity, "linewidth": 0.7, "zorder": 1, "gid": "poses"}
    lines.set(**style | dict(pose_kw or {}))
    ax.add_collection(lines, autolim=False)
    which, k = np.nonzero(np.isfinite(aligned[..., 0]))
    points = draw_points(ax, aligned[which, k], [schema.colors[i] for i in k.tolist()], "o", 5.0)
    points.set(alpha=min(1.0, 3 * opacity), zorder=1.5, gid="points")
    is_known = np.isfinite(mean[:, 0])
    edges = schema.edges[is_known[schema.edges].all(axis=1)]
    draw_edges(ax, mean[edges], ["#ffffff"] * len(edges), edge_kw)
    kept = np.flatnonzero(is_known).tolist()
    draw_keypoints(
        ax,
        mean[kept],
        np.full(len(kept), int(Visibility.VISIBLE)),
        [schema.sides[i] for i in kept],
        [schema.colors[i] for i in kept],
        keypoint_kw,
    )
    # A few poses that share little with the mean reach far: they may leave the picture.
    reach = np.nanpercentile(np.abs(aligned), 99.5, axis=(0, 1)) * 1.12
    ax.set_xlim(-reach[0], reach[0])
    ax.set_ylim(reach[1], -reach[1])
    return ax
