"""Distances between the surfaces of two masks."""

from MedSegAIMetricsLib.surface.distances import SURFACES, Directed, surface_distances
from MedSegAIMetricsLib.surface.smooth import NotSmooth
from MedSegAIMetricsLib.surface.summary import summarize

__all__ = ["SURFACES", "Directed", "NotSmooth", "summarize", "surface_distances"]
