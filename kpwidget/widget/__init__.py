"""Widgets for the notebook."""

from .annotator import Annotator
from .viewer import Viewer

__all__ = ["Annotator", "Viewer"]
