"""Volumes of two masks and how they differ."""

from __future__ import annotations

import math

import numpy as np

from MedSegAIMetricsLib.masks import MaskPair
from MedSegAIMetricsLib.overlap import ratio


def volume_measures(pair: MaskPair) -> dict[str, float]:
    """All measures of the group ``volume``; NaN where they do not exist."""
    reference, test = pair.n_reference * pair.voxel_ml, pair.n_test * pair.voxel_ml
    return {
        "volume_reference_ml": reference,
        "volume_test_ml": test,
        "volume_difference_ml": test - reference,
        "volume_difference_percent": 100 * ratio(pair.n_test - pair.n_reference, pair.n_reference),
        "volume_similarity": 1 - ratio(abs(pair.n_test - pair.n_reference), pair.n_test + pair.n_reference),
        "center_distance_mm": math.nan if pair.empty else _center_distance(pair),
    }


def _center_distance(pair: MaskPair) -> float:
    shift = np.subtract(_center(pair.profiles[1]), _center(pair.profiles[0]))
    return float(np.linalg.norm(shift * pair.spacing_mm))


def _center(profiles: tuple[np.ndarray, ...]) -> list[float]:
    """Mean voxel index (K, J, I) from the numbers of voxels in each plane."""
    return [float(profile @ np.arange(len(profile)) / profile.sum()) for profile in profiles]
