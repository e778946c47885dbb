"""Where voxels lie: shape in KJI order and the matrix from voxel IJK to patient RAS millimeters.

The only place where axis orders (IJK of matrices and files, KJI of numpy arrays) and frames (RAS of Slicer and NIfTI,
LPS of ITK, NRRD and DICOM) are converted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedSegAICore.errors import GeometryError

# Two grids are the same if no corner voxel is farther apart than this fraction of the smallest spacing. Files store
# spacing and direction as text or float32, so an exact comparison would tell equal grids apart.
TOLERANCE_VOXELS = 1e-3

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # its own inverse


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid of voxels in patient space.

    ``shape``: numbers of voxels in KJI order (slowest first, like a numpy array).
    ``ijk_to_ras``: 4x4 matrix from voxel index IJK to the voxel center's RAS coordinates in millimeters.

    Raises GeometryError if the matrix is not finite, not affine or singular, or an extent is smaller than 1.
    """

    shape: tuple[int, int, int]
    ijk_to_ras: np.ndarray

    def __post_init__(self):
        shape = tuple(int(n) for n in self.shape)
        matrix = np.array(self.ijk_to_ras, dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(f"A grid needs three extents of at least 1 voxel (KJI), but got {tuple(self.shape)}.")
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], [0, 0, 0, 1]):
            raise GeometryError(f"IJK-to-RAS must be a finite affine 4x4 matrix, but it is {matrix.tolist()}.")
        scales = np.linalg.norm(matrix[:3, :3], axis=0)
        if scales.min() == 0 or abs(np.linalg.det(matrix[:3, :3] / scales)) < 1e-6:
            raise GeometryError(
                f"IJK-to-RAS is singular (a spacing is zero or two axes are parallel): {matrix.tolist()}."
            )
        matrix.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "ijk_to_ras", matrix)

    @classmethod
    def from_lps(
        cls,
        shape: Sequence[int],
        origin_lps: Sequence[float],
        spacing_ijk: Sequence[float],
        direction_lps: Sequence[float],
    ) -> Grid:
        """The grid that ITK describes: origin and direction cosines (3x3, row-major) in LPS, spacing in IJK order."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(direction_lps, (3, 3)) @ np.diag(spacing_ijk)
        matrix[:3, 3] = origin_lps
        return cls(tuple(shape), LPS_FROM_RAS @ matrix)

    def to_lps(self) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
        """Origin (LPS), spacing (IJK) and direction cosines (3x3 row-major, LPS) as ITK wants them."""
        matrix = LPS_FROM_RAS @ self.ijk_to_ras
        spacing = np.array(self.spacing_ijk)
        return tuple(matrix[:3, 3]), tuple(spacing), tuple((matrix[:3, :3] / spacing).ravel())

    @property
    def spacing_ijk(self) -> tuple[float, float, float]:
        """Distance between voxel centers in mm along I, J and K."""
        return tuple(float(n) for n in np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0))

    @property
    def spacing_kji(self) -> tuple[float, float, float]:
        """Distance between voxel centers in mm along K, J and I: the order of ``shape``."""
        return self.spacing_ijk[::-1]

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in milliliters; right for sheared grids too."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3]))) / 1000.0

    @property
    def orientation(self) -> str:
        """The patient directions toward which I, J and K grow, e.g. ``"LPS"`` or ``"RAS"`` (nearest axis)."""
        cosines = self.ijk_to_ras[:3, :3] / np.array(self.spacing_ijk)
        letters, free = [""] * 3, {0, 1, 2}
        # Most aligned axis first, so that an oblique grid never names one patient axis twice.
        for column in np.argsort(-np.abs(cosines).max(axis=0)):
            row = max(free, key=lambda r: abs(cosines[r, column]))
            free.remove(row)
            letters[column] = ("LR", "PA", "IS")[row][int(cosines[row, column] > 0)]
        return "".join(letters)

    def ijk_to_ras_points(self, points_ijk: np.ndarray) -> np.ndarray:
        """RAS millimeters (N, 3) of voxel coordinates (N, 3) in IJK order."""
        return np.atleast_2d(points_ijk) @ self.ijk_to_ras[:3, :3].T + self.ijk_to_ras[:3, 3]

    def ras_to_ijk_points(self, points_ras: np.ndarray) -> np.ndarray:
        """Continuous voxel coordinates (N, 3) in IJK order of RAS millimeters (N, 3)."""
        return (np.atleast_2d(points_ras) - self.ijk_to_ras[:3, 3]) @ np.linalg.inv(self.ijk_to_ras[:3, :3]).T

    def center_ras(self) -> np.ndarray:
        """RAS position (3,) of the middle of the grid."""
        return self.ijk_to_ras_points([(np.array(self.shape[::-1]) - 1) / 2])[0]

    def corners_ras(self) -> np.ndarray:
        """RAS positions (8, 3) of the eight corner voxels' centers."""
        last = np.array(self.shape[::-1]) - 1
        indices = np.array([[i, j, k] for k in (0, 1) for j in (0, 1) for i in (0, 1)])
        return self.ijk_to_ras_points(indices * last)

    def matches(self, other: Grid) -> bool:
        """Whether both grids have the same voxels at the same places (within TOLERANCE_VOXELS)."""
        if self.shape != other.shape:
            return False
        tolerance = TOLERANCE_VOXELS * min(self.spacing_ijk)
        return bool(np.abs(self.corners_ras() - other.corners_ras()).max() <= tolerance)

    def crop(self, start_kji: Sequence[int], shape_kji: Sequence[int]) -> Grid:
        """The grid of ``array[start : start + shape]``; a negative start extends the grid."""
        matrix = self.ijk_to_ras.copy()
        matrix[:3, 3] = self.ijk_to_ras_points([tuple(start_kji)[::-1]])[0]
        return Grid(tuple(shape_kji), matrix)

    def offset_of(self, other: Grid) -> np.ndarray | None:
        """Where the first voxel (KJI) of another grid lies in this one, or in its continuation.

        None if the other grid's voxels are not voxels of this one (within TOLERANCE_VOXELS).
        """
        corners = other.corners_ras()
        shifts = self.ras_to_ijk_points(corners) - other.ras_to_ijk_points(corners)
        offset = np.round(shifts[0])
        return offset[::-1].astype(int) if np.abs(shifts - offset).max() <= TOLERANCE_VOXELS else None

    def extended_to(self, points_ras: np.ndarray) -> Grid:
        """The same grid with voxels added on those sides where points (N, 3) lie in none of its voxels."""
        indices = self.ras_to_ijk_points(points_ras)[:, ::-1]
        # A point on the face between two voxels needs only the nearer one.
        first = np.floor(indices.min(0) + 0.5 + TOLERANCE_VOXELS).astype(int)
        last = np.ceil(indices.max(0) - 0.5 - TOLERANCE_VOXELS).astype(int)
        first, last = np.minimum(first, 0), np.maximum(last, np.array(self.shape) - 1)
        return self if (last - first + 1 == self.shape).all() else self.crop(first, last - first + 1)

    def __repr__(self) -> str:
        spacing = " x ".join(f"{s:.3g}" for s in self.spacing_kji)
        return f"Grid({' x '.join(map(str, self.shape))} voxels KJI, {spacing} mm, {self.orientation})"
