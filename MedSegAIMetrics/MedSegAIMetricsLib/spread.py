"""Signed distances to the surfaces of all observers, from the voxels near which their mean can change its sign."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MedSegAIMetricsLib.observer_masks import ObserverMasks
from MedSegAIMetricsLib.surface.signed import signed_distances_at

SAME_LEVEL = 1e-5  # of the smallest voxel edge; mean distances that are nearer to 0 are 0


@dataclass(frozen=True, eq=False)
class Spread:
    """Signed distances in mm, negative inside, from voxel centers to the surfaces of those observers who drew one.

    ``observers``: all of them. ``drawn``: which of all observers they are, counted from
    0. ``shape``: of the box, one voxel larger on each side. ``voxels``: (n,) flat positions in that shape: all voxels
    that some but not all marked, and every neighbor of one on the other side of a face. ``distances_mm``: (n observers,
    n voxels) float32.
    """

    observers: ObserverMasks
    drawn: tuple[int, ...]
    shape: tuple[int, int, int]
    voxels: np.ndarray
    distances_mm: np.ndarray

    @classmethod
    def of(cls, observers: ObserverMasks, surface: np.ndarray | None = None) -> Spread:
        """Of the observers who drew something.

        ``surface``: boolean (K, J, I) of the observers' box; then ``voxels`` are those on both sides of its faces.
        Raises ValueError if nobody drew anything.
        """
        drawn = tuple(number for number, size in enumerate(observers.sizes) if size)
        if not drawn:
            raise ValueError("nobody drew anything")
        masks = [np.pad(observers.masks[number], 1) for number in drawn]
        if surface is None:
            some, every = np.logical_or.reduce(masks), np.logical_and.reduce(masks)
        else:
            some = every = np.pad(surface, 1)
        near = np.flatnonzero(_grown(some) & _grown(~every))
        distances = np.empty((len(masks), len(near)), np.float32)
        for row, mask in zip(distances, masks, strict=True):
            row[:] = signed_distances_at(mask, near, observers.spacing_mm)
        return cls(observers, drawn, masks[0].shape, near, distances)

    def mean_level(self) -> np.ndarray:
        """The mean signed distance in mm over the observers who drew; float32 (K, J, I) of ``shape``.

        It is exactly 0 where it is 0 but for rounding. Where all observers agree on a voxel and its neighbors, it is
        only a bound of the right sign: the smallest voxel edge.
        """
        edge = min(self.observers.spacing_mm)
        all_inside = np.pad(np.logical_and.reduce([self.observers.masks[number] for number in self.drawn]), 1)
        level = np.where(all_inside, np.float32(-edge), np.float32(edge))
        mean = self.distances_mm.mean(0, dtype=np.float64)
        mean[np.abs(mean) <= SAME_LEVEL * edge] = 0
        level.reshape(-1)[self.voxels] = mean
        return level


def _grown(mask: np.ndarray) -> np.ndarray:
    grown = mask.copy()
    for axis in range(3):
        low, high = ([slice(None)] * 3 for _ in range(2))
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        grown[tuple(low)] |= mask[tuple(high)]
        grown[tuple(high)] |= mask[tuple(low)]
    return grown
