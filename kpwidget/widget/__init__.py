"""Widgets for the notebook."""

from .annotator import Annotator
from .comparison import Comparison, compare
from .designer import SchemaDesigner
from .viewer import Viewer

__all__ = ["Annotator", "Comparison", "SchemaDesigner", "Viewer", "compare"]
