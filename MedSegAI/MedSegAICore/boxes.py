"""Boxes of voxels: what an array fills, and where a box ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


def filled_box(array: np.ndarray) -> tuple[slice, slice, slice]:
    """The smallest box (K, J, I) that holds everything that is not 0; empty slices if there is nothing.

    One pass, a plane at a time. ``array``: bool or unsigned, or integers that are not negative.
    """
    filled = np.zeros(array.shape[1:], bool)
    planes = []
    for plane in array:
        # numpy's ``any`` is several times slower than these.
        occupied = np.count_nonzero(plane) if plane.dtype == bool else plane.max()
        planes.append(bool(occupied))
        if occupied:
            np.logical_or(filled, plane, out=filled)
    occupied = [np.flatnonzero(planes), np.flatnonzero(filled.any(1)), np.flatnonzero(filled.any(0))]
    return tuple(slice(int(o[0]), int(o[-1]) + 1) if len(o) else slice(0, 0) for o in occupied)


def joint_box(boxes: Iterable[Sequence[slice]]) -> tuple[slice, slice, slice]:
    """The smallest box (K, J, I) that holds all boxes; empty ones do not count, and empty slices if all are."""
    filled = [box for box in boxes if box[0].stop > box[0].start]
    if not filled:
        return (slice(0, 0),) * 3
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*filled, strict=True))


def outer_corners_ijk(box: Sequence[slice]) -> np.ndarray:
    """The eight corners (8, 3) of a box of voxels (K, J, I), in voxel coordinates IJK: half a voxel outside centers."""
    limits = [(part.start - 0.5, part.stop - 0.5) for part in reversed(box)]
    return np.array([[limits[axis][end] for axis, end in enumerate(ends)] for ends in np.ndindex(2, 2, 2)])
