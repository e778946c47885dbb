"""Measures that compare segments; needs nothing that Slicer does not bundle."""

from MedSegAIMetricsLib.clinical import case_decisions
from MedSegAIMetricsLib.comparison import Comparison, compare
from MedSegAIMetricsLib.label_maps import SegmentComparison, compare_label_maps

__all__ = ["Comparison", "SegmentComparison", "case_decisions", "compare", "compare_label_maps"]
