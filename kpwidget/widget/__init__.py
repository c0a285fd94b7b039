"""Widgets for the notebook."""

from .annotator import Annotator

__all__ = ["Annotator"]
