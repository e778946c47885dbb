"""Surface measures from the distances of both directions."""

from __future__ import annotations

import numpy as np

from MedSegAIMetricsLib.measures import Measure
from MedSegAIMetricsLib.surface.distances import Directed

BINS = 4096
SAME_DISTANCE = 1e-9  # relative; a distance of 3 x 0.7 mm lies within a tolerance of 2.1 mm


def summarize(directed: tuple[Directed, Directed], measures: list[Measure], unweighted: bool) -> dict[str, float]:
    """The values of surface measures by name.

    ``directed``: reference to test, and back. ``unweighted``: percentiles are those of numpy (linear interpolation
    between order statistics), which tools use that give all voxel centers the same weight.
    """
    means = _means(directed)
    values = {}
    for measure in measures:
        stem = measure.name if not measure.surface else measure.name.replace(f"_{measure.surface}", "")
        if measure.parameter == "tolerance_mm":
            values[measure.name] = _within(directed, measure.value)
        elif measure.parameter == "percentile":
            values[measure.name] = _percentile(directed, measure.value, stem.split("_")[1], unweighted)
        else:
            values[measure.name] = means[stem]
    return values


def _means(directed: tuple[Directed, Directed]) -> dict[str, float]:
    areas = [d.areas_mm2.sum() for d in directed]
    own = [d.distances_mm @ d.areas_mm2 for d in directed]
    # Signs are -1, 0 and 1, and 0 only where the distance is 0.
    signed = sum((d.distances_mm * d.signs) @ d.areas_mm2 for d in directed)
    over, under = (max(0.0, sum(own) + sign * signed) / 2 / sum(areas) for sign in (1, -1))
    mean = [total / area for total, area in zip(own, areas, strict=True)]
    return {
        "hd_mm": float(max(d.distances_mm.max() for d in directed)),
        "assd_mm": float(sum(own) / sum(areas)),
        "masd_mm": float(sum(mean) / 2),
        "asd_reference_to_test_mm": float(mean[0]),
        "asd_test_to_reference_mm": float(mean[1]),
        "signed_mean_mm": float(over - under),
        "over_mean_mm": float(over),
        "under_mean_mm": float(under),
        "hd_over_mm": float(max(d.distances_mm.max(where=d.signs > 0, initial=0) for d in directed)),
        "hd_under_mm": float(max(d.distances_mm.max(where=d.signs < 0, initial=0) for d in directed)),
    }


def _within(directed: tuple[Directed, Directed], tolerance_mm: float) -> float:
    limit = tolerance_mm * (1 + SAME_DISTANCE)
    within = sum(d.areas_mm2[d.distances_mm <= limit].sum() for d in directed)
    return float(within / sum(d.areas_mm2.sum() for d in directed))


def _percentile(directed: tuple[Directed, Directed], percentile: float, convention: str, unweighted: bool) -> float:
    def of(distances: np.ndarray, areas: np.ndarray) -> float:
        if unweighted:
            return float(np.percentile(distances, percentile))
        return weighted_percentile(distances, areas, percentile)

    if convention == "pooled":
        both = zip(*((d.distances_mm, d.areas_mm2) for d in directed), strict=True)
        return of(*(np.concatenate(arrays) for arrays in both))
    each = [of(d.distances_mm, d.areas_mm2) for d in directed]
    return max(each) if convention == "maxdir" else sum(each) / 2


def weighted_percentile(distances: np.ndarray, areas: np.ndarray, percentile: float) -> float:
    """The smallest distance within which ``percentile`` percent of the area lies.

    The definition of surface-distance (Nikolov et al. 2021). A histogram finds the bin; only that bin is sorted.
    """
    wanted = areas.sum() * percentile / 100
    largest = distances.max()
    if largest == 0:
        return 0.0
    bins = np.minimum((distances * (BINS / largest)).astype(np.int64), BINS - 1)
    cumulated = np.cumsum(np.bincount(bins, areas, BINS))
    chosen = min(int(np.searchsorted(cumulated, wanted)), BINS - 1)
    inside = np.flatnonzero(bins == chosen)
    if not len(inside):
        return float(largest)
    order = inside[np.argsort(distances[inside], kind="stable")]
    before = cumulated[chosen - 1] if chosen else 0.0
    at = np.searchsorted(before + np.cumsum(areas[order]), wanted * (1 - 1e-12))
    return float(distances[order[min(int(at), len(order) - 1)]])
