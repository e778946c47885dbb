"""The boundary voxels of a mask, as medpy, MONAI and most other tools take them for its surface."""

from __future__ import annotations

import numpy as np

from MedSegAIMetricsLib.surface.lattice import SLAB_BYTES, Frame, LatticeSurface, cells_of


def boundary_voxels(mask: np.ndarray, frame: Frame) -> LatticeSurface:
    """Voxels of a boolean mask (K, J, I) with a face neighbor outside it, or outside the array, as lattice points.

    Every voxel center takes the place of the lattice corner of its cell; there are no other kinds of samples.
    """
    cells = cells_of(mask, frame)
    (k0, j0, i0), (nk, nj, ni) = frame.margin, frame.shape
    block = cells[k0 - 1 : k0 + nk + 1, j0 - 1 : j0 + nj + 1, i0 - 1 : i0 + ni + 1]
    found = []
    planes = max(1, SLAB_BYTES // ((nj + 2) * (ni + 2)))
    for first in range(0, nk, planes):
        slab = block[first : first + planes + 2]
        center = slab[1:-1, 1:-1, 1:-1]
        deep = slab[:-2, 1:-1, 1:-1] & slab[2:, 1:-1, 1:-1] & slab[1:-1, :-2, 1:-1]
        deep &= slab[1:-1, 2:, 1:-1] & slab[1:-1, 1:-1, :-2] & slab[1:-1, 1:-1, 2:]
        k, j, i = np.nonzero(center > deep)
        found.append(np.stack([k + first + k0, j + j0, i + i0]))
    positions = np.array(frame.strides) @ np.concatenate(found, axis=1)
    corner = np.ones(len(positions), np.uint8)
    return LatticeSurface(frame, mask, positions, corner, np.zeros_like(corner))
