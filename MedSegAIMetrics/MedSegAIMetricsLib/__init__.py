"""Measures that compare segments; needs nothing that Slicer does not bundle."""

from MedSegAIMetricsLib.comparison import Comparison, compare

__all__ = ["Comparison", "compare"]
