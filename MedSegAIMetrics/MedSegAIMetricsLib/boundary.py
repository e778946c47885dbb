"""Boundary IoU: the Jaccard of the outer shells of two masks."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MedSegAIMetricsLib.masks import MaskPair
from MedSegAIMetricsLib.overlap import ratio


def boundary_iou(pair: MaskPair, distances_mm: list[float]) -> list[float]:
    """One value for each distance (Cheng et al., CVPR 2021); NaN if no voxel of either mask is as near to its surface.

    The shell of a mask are its voxels whose center lies within the distance of the center of a voxel outside the mask;
    what lies outside the image is outside the mask.
    """
    depths = [_depth(mask, pair.spacing_mm) for mask in (pair.reference, pair.test)]
    values = []
    for distance in distances_mm:
        shells = [(depth > 0) & (depth <= distance * (1 + 1e-6)) for depth in depths]
        common = np.count_nonzero(shells[0] & shells[1])
        values.append(ratio(common, np.count_nonzero(shells[0] | shells[1])))
    return values


def _depth(mask: np.ndarray, spacing_mm: tuple) -> np.ndarray:
    padded = np.pad(mask, 1)
    return ndimage.distance_transform_edt(padded, sampling=spacing_mm)[1:-1, 1:-1, 1:-1].astype(np.float32)
