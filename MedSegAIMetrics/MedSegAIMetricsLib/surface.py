"""Distances between the surfaces of two masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def hausdorff_percentile_voxelcenter_maxdir_mm(
    reference: np.ndarray, test: np.ndarray, spacing_mm: Sequence[float], percentile: float = 95
) -> float:
    """Hausdorff distance at a percentile between boundary voxels: the larger of the two directed percentiles, in mm.

    ``reference``, ``test``: boolean masks of one shape. ``spacing_mm``: in the order of the axes.
    Boundary voxels are those of the mask with a face neighbor outside it (also outside the image); distances go
    between voxel centers. These are the conventions of MONAI's ``compute_hausdorff_distance``.
    Two empty masks: 0. Exactly one empty: NaN, as there is no surface to measure to.
    """
    if not reference.any() and not test.any():
        return 0.0
    if not reference.any() or not test.any():
        return float("nan")
    box = ndimage.find_objects((reference | test).astype(np.uint8))[0]
    boundaries = [_boundary(mask[box]) for mask in (reference, test)]
    directed = [
        np.percentile(ndimage.distance_transform_edt(~target, sampling=spacing_mm)[source], percentile)
        for source, target in (boundaries, boundaries[::-1])
    ]
    return float(max(directed))


def _boundary(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask, border_value=0)
