"""Widgets for the notebook."""

from .annotator import Annotator
from .comparison import Comparison, compare
from .viewer import Viewer

__all__ = ["Annotator", "Comparison", "Viewer", "compare"]
