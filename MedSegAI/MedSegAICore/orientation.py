"""Turning an array so that its axes run in named patient directions, without changing a voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MedSegAICore.errors import GeometryError
from MedSegAICore.grid import Grid

OPPOSITE = dict(zip("LRPAIS", "RLAPSI", strict=True))


@dataclass(frozen=True)
class Turn:
    """A permutation and flips of KJI axes. ``axes[n]`` is the old axis that becomes axis n; ``flips`` are new axes."""

    axes: tuple[int, int, int]
    flips: tuple[int, ...]

    @classmethod
    def between(cls, orientation: str, wanted: str) -> Turn:
        """The turn from one orientation code (I, J, K; see Grid.orientation) to another, e.g. ``"LPS"`` to ``"RAS"``.

        Raises GeometryError if a code does not name each patient axis once.
        """
        for code in (orientation, wanted):
            if len(code) != 3 or {min(letter, OPPOSITE.get(letter, "?")) for letter in code} != {"A", "I", "L"}:
                raise GeometryError(f"{code!r} is not an orientation; expected three letters such as RAS or LPS.")
        source, target = orientation[::-1], wanted[::-1]  # codes are IJK, arrays KJI
        axes, flips = [], []
        for new, letter in enumerate(target):
            old = next(axis for axis, own in enumerate(source) if own in (letter, OPPOSITE[letter]))
            axes.append(old)
            if source[old] != letter:
                flips.append(new)
        return cls(tuple(axes), tuple(flips))

    def array(self, array: np.ndarray) -> np.ndarray:
        """Turn the last three axes of an array; a view."""
        lead = array.ndim - 3
        turned = array.transpose(*range(lead), *(lead + axis for axis in self.axes))
        return np.flip(turned, [lead + axis for axis in self.flips]) if self.flips else turned

    def grid(self, grid: Grid) -> Grid:
        """The grid of a turned array: the same places in the patient."""
        shape = tuple(grid.shape[axis] for axis in self.axes)
        # Old IJK of a new IJK: per new axis one old axis, with its direction and, where flipped, its far end.
        old_of_new = np.zeros((4, 4))
        old_of_new[3, 3] = 1
        for new, old in enumerate(self.axes):
            sign = -1 if new in self.flips else 1
            old_of_new[2 - old, 2 - new] = sign
            if sign < 0:
                old_of_new[2 - old, 3] = grid.shape[old] - 1
        return Grid(shape, grid.ijk_to_ras @ old_of_new)

    @property
    def inverse(self) -> Turn:
        axes = tuple(int(axis) for axis in np.argsort(self.axes))
        return Turn(axes, tuple(sorted(self.axes[new] for new in self.flips)))
