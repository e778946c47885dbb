"""The surface of a mask as sample points on a lattice: the corners, edge midpoints and centers of its voxel faces."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

# A sample belongs to a lattice cell, named by its lower corner, and to one of seven kinds. The kind is the set of axes
# along which the sample lies halfway between two corners: none for the corner itself, one for an edge midpoint, two for
# a face center. As a number: 4 for axis K, 2 for axis J, 1 for axis I.
AXES = (4, 2, 1)
CORNER = 0

# What one byte of a lattice holds: bit `kind` where a sample of that kind lies on the surface, and this one where the
# voxel above the cell's corner belongs to the mask.
INSIDE = np.uint8(128)

TREE_LEAF = 64  # faster than scipy's 16 for points of surfaces that are far apart
KEPT_BYTES = 24 * 2**20  # cells of a surface that are larger than this are not kept for the way back
SLAB_BYTES = 1 << 18  # a slab of the lattice and what is made of it stay in the processor's second cache


@dataclass(frozen=True)
class Frame:
    """The lattice that two masks of one shape share, with a margin so that a search never leaves it.

    ``shape``: of the masks, KJI. ``margin``: lattice cells added before and after, KJI, each at least 1.
    """

    shape: tuple[int, int, int]
    margin: tuple[int, int, int]

    @functools.cached_property
    def cells(self) -> tuple[int, int, int]:
        return tuple(n + 1 + 2 * m for n, m in zip(self.shape, self.margin, strict=True))

    @functools.cached_property
    def strides(self) -> tuple[int, int, int]:
        return self.cells[1] * self.cells[2], self.cells[2], 1


@dataclass(frozen=True)
class LatticeSurface:
    """The voxel-face surface of a mask.

    ``corners``: flat positions of the surface's corners in the frame's cells, ascending. ``kinds``: which kinds of
    samples the cell of each corner has, as bits. ``codes``: which of the eight voxels around each corner are inside,
    the first (lowest K, J, I) in the highest bit.
    """

    frame: Frame
    mask: np.ndarray
    corners: np.ndarray
    kinds: np.ndarray
    codes: np.ndarray

    @functools.cached_property
    def cells(self) -> np.ndarray:
        """One byte for each lattice cell of the frame, see ``INSIDE``."""
        cells = cells_of(self.mask, self.frame)
        cells.reshape(-1)[self.corners] |= self.kinds
        return cells

    def forget_large_cells(self):
        """Free the cells, if they are large; they are made again when they are needed."""
        if math.prod(self.frame.cells) > KEPT_BYTES:
            self.__dict__.pop("cells", None)

    def samples(self, kind: int) -> np.ndarray:
        """Which of the corners are those of a cell that has a sample of this kind: positions in ``corners``."""
        if kind == CORNER:
            return np.arange(len(self.corners))
        return np.flatnonzero(self.kinds & np.uint8(1 << kind))

    def following(self, positions: np.ndarray, axis: int) -> np.ndarray:
        """The next corners along an axis: positions in ``corners`` of those that end the edges at ``positions``."""
        return positions + 1 if axis == 2 else self._following[axis][positions]

    def corners_within(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """The surface's corners in a box of cell indices, both ends included: (n, 3), KJI, as ``coordinates``."""
        planes = (np.array([first[0], last[0] + 1]) + self.frame.margin[0]) * self.frame.strides[0]
        near = self.corners[slice(*np.searchsorted(self.corners, planes))]
        in_plane = near % self.frame.strides[0]
        j, i = in_plane // self.frame.strides[1] - self.frame.margin[1], in_plane % self.frame.strides[1]
        i -= self.frame.margin[2]
        return self.coordinates(near[(j >= first[1]) & (j <= last[1]) & (i >= first[2]) & (i <= last[2])])

    def tree(self, spacing_mm: tuple[float, float, float]) -> cKDTree:
        """A k-d tree of all corners in mm from the mask's first corner; made once."""
        if spacing_mm not in self._trees:
            self._trees[spacing_mm] = make_tree(self.coordinates(self.corners), spacing_mm)
        return self._trees[spacing_mm]

    @functools.cached_property
    def _trees(self) -> dict:
        return {}

    @functools.cached_property
    def _following(self) -> list[np.ndarray]:
        return [np.searchsorted(self.corners, self.corners + self.frame.strides[axis]) for axis in (0, 1)]

    def coordinates(self, positions: np.ndarray) -> np.ndarray:
        """Flat positions of the lattice as (n, 3) cell indices, KJI, counted from the mask's first corner."""
        return np.stack(np.unravel_index(positions, self.frame.cells), 1) - self.frame.margin


def make_tree(coordinates: np.ndarray, spacing_mm: tuple[float, float, float]) -> cKDTree:
    """A k-d tree of lattice points (n, 3), quick to make and to ask for far points."""
    return cKDTree(coordinates * np.array(spacing_mm), leafsize=TREE_LEAF, balanced_tree=False, compact_nodes=False)


def lattice_surface(mask: np.ndarray, frame: Frame) -> LatticeSurface:
    """The surface between a boolean mask (K, J, I) and everything else; what lies outside the array is outside."""
    cells = cells_of(mask, frame)
    corners = _surface_corners(cells, frame)
    flat = cells.reshape(-1)
    codes = np.zeros(len(corners), np.uint8)
    for bit, step in enumerate(itertools.product((-1, 0), repeat=3)):
        offset = int(np.dot(step, frame.strides))
        codes |= flat.take(corners + offset, mode="wrap") >> np.uint8(bit)
    surface = LatticeSurface(frame, mask, corners, _KINDS_OF_CODE[codes], codes)
    flat[corners] |= surface.kinds
    surface.__dict__["cells"] = cells  # what the property would make
    return surface


def cells_of(mask: np.ndarray, frame: Frame) -> np.ndarray:
    """The cells of a frame with nothing but the voxels of a boolean mask (K, J, I) in them."""
    cells = np.zeros(frame.cells, np.uint8)
    inner = tuple(slice(m, m + n) for m, n in zip(frame.margin, frame.shape, strict=True))
    np.multiply(mask.view(np.uint8), INSIDE, out=cells[inner])
    return cells


def _surface_corners(cells: np.ndarray, frame: Frame) -> np.ndarray:
    """Corners whose eight voxels are not all alike: there "any" and "all", taken axis by axis, differ."""
    (k0, j0, i0), (nk, nj, ni) = frame.margin, frame.shape
    block = cells[k0 - 1 : k0 + nk + 1, j0 - 1 : j0 + nj + 1, i0 - 1 : i0 + ni + 1]
    planes = max(1, SLAB_BYTES // ((nj + 2) * (ni + 2)))
    found = []
    for first in range(0, nk + 1, planes):
        slab = block[first : first + planes + 1]
        some, every = slab[:-1] | slab[1:], slab[:-1] & slab[1:]
        some, every = some[:, :-1] | some[:, 1:], every[:, :-1] & every[:, 1:]
        some, every = some[:, :, :-1] | some[:, :, 1:], every[:, :, :-1] & every[:, :, 1:]
        mixed = np.flatnonzero(some != every)
        k, rest = np.divmod(mixed, (nj + 1) * (ni + 1))
        j, i = np.divmod(rest, ni + 1)
        stride_k, stride_j, _ = frame.strides
        found.append((k + first + k0) * stride_k + (j + j0) * stride_j + (i + i0))
    return np.concatenate(found)


def voxels_of_code() -> np.ndarray:
    """(256, 2, 2, 2) of 0 and 1: the voxels around a corner, axes K, J, I, for each code."""
    return np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).reshape(256, 2, 2, 2).astype(np.int8)


def _kinds_of_code() -> np.ndarray:
    """For each code, the kinds of samples that the cell above the corner has on the surface, as bits."""
    v = voxels_of_code()

    def mixed(voxels: np.ndarray) -> np.ndarray:
        voxels = voxels.reshape(256, -1)
        return voxels.min(1) != voxels.max(1)

    around = {
        CORNER: v,
        4: v[:, 1],
        2: v[:, :, 1],
        1: v[:, :, :, 1],
        3: v[:, :, 1, 1],
        5: v[:, 1, :, 1],
        6: v[:, 1, 1, :],
    }
    return sum((mixed(voxels) << kind for kind, voxels in around.items()), np.zeros(256, np.int64)).astype(np.uint8)


_KINDS_OF_CODE = _kinds_of_code()
