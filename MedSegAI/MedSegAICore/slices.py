"""Which of many parallel slices show something: a segment's voxels, or the most uncertainty.

Slices are what a slice view shows one after the other: planes with a common normal and a constant step. They may be
oblique to the voxels, and the voxels may be bent by a non-linear transform.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# A plane that touches two voxels belongs to the one that begins there, in spite of rounding.
TOLERANCE_STEPS = 1e-6


@dataclass(frozen=True)
class Slices:
    """Parallel planes in world coordinates (RAS, mm), numbered from the one that is shown now.

    ``normal``: unit vector (3). ``offset_mm``: where slice 0 lies along it. ``step_mm``: from one slice to the next.
    """

    normal: np.ndarray
    offset_mm: float
    step_mm: float

    def offset_of(self, number: int) -> float:
        """Where a slice lies along the normal, in mm."""
        return self.offset_mm + number * self.step_mm

    def position_of(self, distances_mm: np.ndarray) -> np.ndarray:
        """Distances along the normal in steps from slice 0."""
        return (distances_mm - self.offset_mm) / self.step_mm


def slices_through(mask_kji: np.ndarray, ijk_to_world: np.ndarray, slices: Slices) -> np.ndarray:
    """The numbers, in ascending order, of the slices that cut a voxel of the mask: those in which it can be seen.

    ``mask_kji``: bool (K, J, I). ``ijk_to_world``: 4x4. A voxel is the whole box around its center. Exact for every
    orientation; the time depends on the number of rows, not of voxels.
    """
    axes = slices.normal @ ijk_to_world[:3, :3]
    first, last = (distances_along(voxels, mask_kji.shape, ijk_to_world, slices) for voxels in _row_ends(mask_kji))
    half = np.abs(axes).sum() / 2
    return _numbers_between(np.minimum(first, last) - half, np.maximum(first, last) + half, slices)


def slices_through_bent(
    mask_kji: np.ndarray, to_world: Callable[[np.ndarray], np.ndarray], slices: Slices
) -> np.ndarray:
    """``slices_through`` where a non-linear transform bends the voxels; each is taken as what its corners span.

    ``to_world``: voxel coordinates IJK (N, 3) to world coordinates (N, 3).
    """
    # A plane that cuts a body cuts its surface too, so the voxels inside need not be transformed.
    voxels = np.argwhere(_surface(mask_kji))
    if not len(voxels):
        return np.zeros(0, int)
    corners = (voxels[:, None] + np.array(list(np.ndindex(2, 2, 2)))).reshape(-1, 3)
    lattice = np.array(mask_kji.shape) + 1
    unique, inverse = np.unique(np.ravel_multi_index(corners.T, lattice), return_inverse=True)
    points = np.stack(np.unravel_index(unique, lattice)[::-1], 1) - 0.5
    distances = (to_world(points) @ slices.normal)[inverse.ravel()].reshape(-1, 8)
    return _numbers_between(distances.min(1), distances.max(1), slices)


def ranked_slices(distances_mm: np.ndarray, values: np.ndarray, slices: Slices, apart: int) -> list[int]:
    """Slice numbers by the sum of the values in them, largest first, each at least ``apart`` from all before it.

    ``distances_mm``: of the voxels' centers along the normal (N). ``values``: theirs (N), all above 0. A voxel counts
    for the slice that its center is nearest to.
    """
    if not len(values):
        return []
    numbers = np.floor(slices.position_of(distances_mm) + 0.5 + TOLERANCE_STEPS).astype(int)
    lowest = numbers.min()
    sums = np.bincount(numbers - lowest, weights=values)
    free, ranked = sums > 0, []
    for index in np.argsort(-sums, kind="stable"):
        if free[index]:
            ranked.append(int(index + lowest))
            free[max(0, index - apart + 1) : index + apart] = False
    return ranked


def distances_along(voxels: np.ndarray, shape_kji, ijk_to_world: np.ndarray, slices: Slices) -> np.ndarray:
    """Where the centers of voxels, given by flat indices into (K, J, I), lie along the normal, in mm."""
    k, j, i = np.unravel_index(voxels, shape_kji)
    along_i, along_j, along_k = slices.normal @ ijk_to_world[:3, :3]
    return along_i * i + along_j * j + along_k * k + slices.normal @ ijk_to_world[:3, 3]


def _row_ends(mask_kji: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices of the first and of the last voxel of every row of neighbors along I.

    What lies between them is cut by the same planes or by planes between: neighbors touch.
    """
    before = np.zeros_like(mask_kji)
    before[..., 1:] = mask_kji[..., :-1]
    after = np.zeros_like(mask_kji)
    after[..., :-1] = mask_kji[..., 1:]
    return np.flatnonzero(mask_kji & ~before), np.flatnonzero(mask_kji & ~after)


def _surface(mask_kji: np.ndarray) -> np.ndarray:
    """The voxels of the mask that have a face outside of it."""
    inside = np.zeros_like(mask_kji)
    core = mask_kji[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for shift in (slice(0, -2), slice(2, None)):
            core &= mask_kji[tuple(shift if other == axis else slice(1, -1) for other in range(3))]
    inside[1:-1, 1:-1, 1:-1] = core
    return mask_kji & ~inside


def _numbers_between(low: np.ndarray, high: np.ndarray, slices: Slices) -> np.ndarray:
    """The slices that lie in one of the intervals [low, high)."""
    if not len(low):
        return np.zeros(0, int)
    first = np.ceil(slices.position_of(low) - TOLERANCE_STEPS).astype(int)
    stop = np.ceil(slices.position_of(high) - TOLERANCE_STEPS).astype(int)
    lowest, length = first.min(), int(stop.max() - first.min()) + 1
    begun = np.bincount(first - lowest, minlength=length) - np.bincount(stop - lowest, minlength=length)
    return np.flatnonzero(np.cumsum(begun) > 0) + lowest
