"""Pictures of datasets, images, instances and schemas on matplotlib Axes.

Drawn as in the widget: edges in the colour of the instance, keypoints in the colours of the
schema; the left side as squares, the right as diamonds, unpaired keypoints as circles; occluded
ones hollow; all with a dark rim, so that they show on light and on dark.
"""

from __future__ import annotations

from kpwidget.plotting.agreement import plot_agreement, plot_sigmas
from kpwidget.plotting.grid import plot_findings, plot_grid
from kpwidget.plotting.heatmap import plot_heatmap
from kpwidget.plotting.image import plot_image, plot_instance
from kpwidget.plotting.poses import plot_pose_space
from kpwidget.plotting.quality import plot_coverage, plot_drift, plot_jitter
from kpwidget.plotting.skeleton import plot_schema, schema_layout
from kpwidget.plotting.statistics import plot_counts, plot_sizes, plot_visibility
from kpwidget.plotting.trajectory import plot_trajectory

__all__ = [
    "plot_agreement",
    "plot_counts",
    "plot_coverage",
    "plot_drift",
    "plot_findings",
    "plot_grid",
    "plot_heatmap",
    "plot_image",
    "plot_instance",
    "plot_jitter",
    "plot_pose_space",
    "plot_schema",
    "plot_sigmas",
    "plot_sizes",
    "plot_trajectory",
    "plot_visibility",
    "schema_layout",
]
