"""The way back from a grid that several steps of a preparation made, when each of them keeps the axes apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from MedSegAICore.errors import ModelError
from MedSegAILib.inference.resampling import AxisMap

TOLERANCE_VOXELS = 0.01  # by which a voxel may be off at the far end of the volume


@dataclass(frozen=True)
class SeparablePlacement:
    """Where a prepared array lies in its volume; what Placement is for nnU-Net's preparation.

    ``matrices``: one for each axis of the prepared array, (voxels of the volume, voxels of the prepared array); a row
    is zero where the volume's voxel was cut off. ``native``: which axis K, J or I (0, 1, 2) of the volume each is.
    """

    matrices: tuple[np.ndarray, ...]
    native: tuple[int, ...]
    crop: tuple[slice, ...] = field(init=False)
    axes: tuple[AxisMap, ...] = field(init=False)

    def __post_init__(self):
        kept = [np.flatnonzero(matrix.any(1)) for matrix in self.matrices]
        crop = tuple(slice(int(rows[0]), int(rows[-1]) + 1) for rows in kept)
        maps = []
        for matrix, part in zip(self.matrices, crop, strict=True):
            matrix = matrix[part].astype(np.float32)
            same = matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix)))
            maps.append(AxisMap.same(len(matrix)) if same else AxisMap.of_matrix(matrix))
        object.__setattr__(self, "crop", crop)
        object.__setattr__(self, "axes", tuple(maps))

    @property
    def cropped(self) -> tuple[int, ...]:
        """Voxels along each axis of the part of the volume that was not cut off, in the order of the prepared array."""
        return tuple(axis.length for axis in self.axes)

    def restore(self, cropped: np.ndarray, fill: float = 0) -> np.ndarray:
        """Put a (..., *cropped) array back into the volume, in the volume's own axis order (…, K, J, I)."""
        lead = cropped.ndim - 3
        full = np.full((*cropped.shape[:lead], *(len(matrix) for matrix in self.matrices)), fill, cropped.dtype)
        full[(..., *self.crop)] = cropped
        return full.transpose(*range(lead), *(lead + self.native.index(axis) for axis in range(3)))


@dataclass(frozen=True)
class WayBack:
    """From the grid that a preparation has reached so far back to the volume, step after step.

    ``matrices``, ``axes``: for each axis of the volume (I, J, K) a matrix (voxels of the volume, voxels of the grid)
    and which of the grid's axes it leads from.
    """

    matrices: tuple[np.ndarray, ...]
    axes: tuple[int, ...] = (0, 1, 2)

    @classmethod
    def start(cls, shape_ijk: Sequence[int]) -> WayBack:
        return cls(tuple(np.eye(extent) for extent in shape_ijk))

    def then(
        self, before: Grid3, after: Grid3, name: str, *, interpolates: bool, nearest: bool = False, border: bool = True
    ) -> WayBack:
        """The way back after one more step, from the grid ``before`` it to the grid ``after`` it.

        ``interpolates``: the step resampled, so its inverse interpolates too, linearly or taking the ``nearest`` voxel,
        and outside the grid repeats its ``border`` or goes on with zeros. Other steps only cut, pad, turn and flip.
        Raises ModelError that names the step if it mixes axes.
        """
        if before == after:
            return self
        to_after = np.linalg.inv(after.affine) @ before.affine  # voxel indices before the step to those after it
        matrices, axes = [], []
        for old, matrix in zip(self.axes, self.matrices, strict=True):
            new = int(np.abs(to_after[:3, old]).argmax())
            others = np.delete(to_after[:3, old], new)
            if np.abs(others).max() * before.shape[old] > TOLERANCE_VOXELS:
                raise ModelError(
                    f"The bundle's {name} turns the volume by an angle, so what the network finds cannot be brought "
                    "back along the volume's axes. Leave it out of the bundle's configuration."
                )
            positions = to_after[new, old] * np.arange(before.shape[old]) + to_after[new, 3]
            matrices.append(matrix @ _interpolation(positions, after.shape[new], interpolates, nearest, border))
            axes.append(new)
        return replace(self, matrices=tuple(matrices), axes=tuple(axes))

    def placement(self, order: Sequence[int] = (0, 1, 2)) -> SeparablePlacement:
        """``order``: which of the grid's axes each axis of the prepared array is."""
        sources = [self.axes.index(axis) for axis in order]
        return SeparablePlacement(tuple(self.matrices[n] for n in sources), tuple(2 - n for n in sources))


@dataclass(frozen=True, eq=False)
class Grid3:
    """A grid as MONAI has it: shape and affine (4, 4) of the axes I, J, K."""

    shape: tuple[int, ...]
    affine: np.ndarray

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid3) and self.shape == other.shape and np.array_equal(self.affine, other.affine)


def _interpolation(positions: np.ndarray, length: int, interpolates: bool, nearest: bool, border: bool) -> np.ndarray:
    """(len(positions), length): how much each voxel counts at each position; nothing where there is no voxel."""
    if nearest or not interpolates:
        positions = np.rint(positions)
    if interpolates and border:
        positions = positions.clip(0, length - 1)
    matrix = np.zeros((len(positions), length))
    # So that rounding errors in affines do not make a second voxel count a little.
    whole = np.abs(positions - np.rint(positions)) < 1e-6
    positions = np.where(whole, np.rint(positions), positions)
    lower = np.floor(positions).astype(int)
    for voxel, weight in ((lower, 1 - (positions - lower)), (lower + 1, positions - lower)):
        inside = (voxel >= 0) & (voxel < length) & (weight > 0)
        matrix[np.flatnonzero(inside), voxel[inside]] = weight[inside]
    return matrix
