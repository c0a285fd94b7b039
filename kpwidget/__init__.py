"""Label keypoints and look at keypoint annotations in Jupyter notebooks.

The public names are listed in ``__all__``. Each is imported when it is first used, so that
``import kpwidget`` costs no more than the widget libraries it stands on, and nothing that draws
or reads tables is loaded by someone who does neither.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from kpwidget._version import __version__

if TYPE_CHECKING:
    from kpwidget import metrics, quality, samples, schemas
    from kpwidget.dataset import Dataset as Dataset
    from kpwidget.dataset import ImageInfo as ImageInfo
    from kpwidget.dataset import Instance as Instance
    from kpwidget.formats import LossError as LossError
    from kpwidget.formats import read as read
    from kpwidget.formats import write as write
    from kpwidget.formats.roundtrip import roundtrip as roundtrip
    from kpwidget.images import ImageError as ImageError
    from kpwidget.plotting import plot_agreement as plot_agreement
    from kpwidget.plotting import plot_counts as plot_counts
    from kpwidget.plotting import plot_coverage as plot_coverage
    from kpwidget.plotting import plot_drift as plot_drift
    from kpwidget.plotting import plot_findings as plot_findings
    from kpwidget.plotting import plot_grid as plot_grid
    from kpwidget.plotting import plot_heatmap as plot_heatmap
    from kpwidget.plotting import plot_image as plot_image
    from kpwidget.plotting import plot_instance as plot_instance
    from kpwidget.plotting import plot_jitter as plot_jitter
    from kpwidget.plotting import plot_pose_space as plot_pose_space
    from kpwidget.plotting import plot_schema as plot_schema
    from kpwidget.plotting import plot_sigmas as plot_sigmas
    from kpwidget.plotting import plot_sizes as plot_sizes
    from kpwidget.plotting import plot_trajectory as plot_trajectory
    from kpwidget.plotting import plot_visibility as plot_visibility
    from kpwidget.reports import report as report
    from kpwidget.schema import Category as Category
    from kpwidget.schema import FormatError as FormatError
    from kpwidget.schema import Schema as Schema
    from kpwidget.schema import Visibility as Visibility
    from kpwidget.store import ConflictError as ConflictError
    from kpwidget.store import open as open
    from kpwidget.widget import Annotator as Annotator
    from kpwidget.widget import SchemaDesigner as SchemaDesigner
    from kpwidget.widget import Viewer as Viewer
    from kpwidget.widget import compare as compare

_MODULE_OF = {
    "Annotator": "kpwidget.widget",
    "Category": "kpwidget.schema",
    "ConflictError": "kpwidget.store",
    "Dataset": "kpwidget.dataset",
    "FormatError": "kpwidget.schema",
    "ImageError": "kpwidget.images",
    "ImageInfo": "kpwidget.dataset",
    "Instance": "kpwidget.dataset",
    "LossError": "kpwidget.formats",
    "Schema": "kpwidget.schema",
    "SchemaDesigner": "kpwidget.widget",
    "Viewer": "kpwidget.widget",
    "Visibility": "kpwidget.schema",
    "compare": "kpwidget.widget",
    "open": "kpwidget.store",
    "plot_agreement": "kpwidget.plotting",
    "plot_counts": "kpwidget.plotting",
    "plot_coverage": "kpwidget.plotting",
    "plot_drift": "kpwidget.plotting",
    "plot_findings": "kpwidget.plotting",
    "plot_grid": "kpwidget.plotting",
    "plot_heatmap": "kpwidget.plotting",
    "plot_image": "kpwidget.plotting",
    "plot_instance": "kpwidget.plotting",
    "plot_jitter": "kpwidget.plotting",
    "plot_pose_space": "kpwidget.plotting",
    "plot_schema": "kpwidget.plotting",
    "plot_sigmas": "kpwidget.plotting",
    "plot_sizes": "kpwidget.plotting",
    "plot_trajectory": "kpwidget.plotting",
    "plot_visibility": "kpwidget.plotting",
    "read": "kpwidget.formats",
    "report": "kpwidget.reports",
    "roundtrip": "kpwidget.formats.roundtrip",
    "write": "kpwidget.formats",
}
_MODULES = ("metrics", "quality", "samples", "schemas")

__all__ = [
    "Annotator",
    "Category",
    "ConflictError",
    "Dataset",
    "FormatError",
    "ImageError",
    "ImageInfo",
    "Instance",
    "LossError",
    "Schema",
    "SchemaDesigner",
    "Viewer",
    "Visibility",
    "__version__",
    "compare",
    "metrics",
    "open",
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
    "quality",
    "read",
    "report",
    "roundtrip",
    "samples",
    "schemas",
    "write",
]


if not TYPE_CHECKING:  # a type checker would then accept any name

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return importlib.import_module(f"kpwidget.{name}")
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'kpwidget' has no attribute {name!r}")
        value = getattr(importlib.import_module(_MODULE_OF[name]), name)
        globals()[name] = value  # the next look-up does not come here
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
