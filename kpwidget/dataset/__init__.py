"""`Dataset`, `ImageInfo`, `Instance`: hold, look up, edit and validate keypoints.

``core`` has the dataset, ``views`` what it is looked at through, ``table`` the columns underneath,
``values`` the checks of what callers give, ``image_files`` the search for images and ``findings``
what validation and comparison find; ``passes`` has second opinions, ``decisions`` what was said of
findings. The history of edits is `kpwidget.history`.
"""

from kpwidget.dataset.core import Dataset, FileLayout, FileStat, ImageState, PointFields
from kpwidget.dataset.decisions import Decision, Decisions
from kpwidget.dataset.findings import Problem
from kpwidget.dataset.image_files import ImageData, ImageRoots, find_images
from kpwidget.dataset.passes import Opinion, Passes, PassReport
from kpwidget.dataset.table import Bbox, InstanceRecord, Point
from kpwidget.dataset.views import (
    ImageInfo,
    ImageList,
    Instance,
    InstanceList,
    Selection,
    Status,
)
from kpwidget.history import ANY, Change, PrimitiveChange, Step, Transaction, UndoError

__all__ = [
    "ANY",
    "Bbox",
    "Change",
    "Dataset",
    "Decision",
    "Decisions",
    "FileLayout",
    "FileStat",
    "ImageData",
    "ImageInfo",
    "ImageList",
    "ImageRoots",
    "ImageState",
    "Instance",
    "InstanceList",
    "InstanceRecord",
    "Opinion",
    "PassReport",
    "Passes",
    "Point",
    "PointFields",
    "PrimitiveChange",
    "Problem",
    "Selection",
    "Status",
    "Step",
    "Transaction",
    "UndoError",
    "find_images",
]
