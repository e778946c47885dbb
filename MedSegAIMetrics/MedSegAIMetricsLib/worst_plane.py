"""The plane, of all that are parallel to a view, in which two masks differ most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedSegAICore.errors import InputError
from MedSegAICore.grid import Grid

BINS_PER_VOXEL = 32  # how finely places between voxel centers are looked at, where a view is oblique to the voxels


@dataclass(frozen=True)
class WorstPlane:
    """``point_ras``: a voxel's center on the plane, in the middle of what differs there, in mm.

    ``area_mm2``: how much differs, for a view oblique to the voxels within two percent; 0 if the masks are equal, and
    then the plane is the one with most of them.
    """

    point_ras: tuple[float, float, float]
    area_mm2: float


def worst_planes(
    reference: np.ndarray, test: np.ndarray, grid: Grid, normals: Sequence[Sequence[float]]
) -> list[WorstPlane]:
    """For each normal, the plane that cuts the largest area of voxels that are in one of the masks only.

    Planes go through the centers of such voxels. For a view along an axis of the grid, that is the slice with most
    wrong voxels, as in the report's pictures. ``reference``, ``test``: boolean (K, J, I) on ``grid``, not both empty.
    ``normals``: in RAS, of any length. Raises InputError if both masks are empty.
    """
    wrong = reference ^ test
    equal = not wrong.any()
    if equal:
        wrong = reference
    points = grid.ijk_to_ras_points(np.argwhere(wrong)[:, ::-1])
    if not len(points):
        raise InputError("Both masks are empty: there is nothing to look at.")
    planes = [_worst(points, grid, np.asarray(normal, float)) for normal in normals]
    return [WorstPlane(point, 0.0) for point, _area in planes] if equal else [WorstPlane(*plane) for plane in planes]


def _worst(points: np.ndarray, grid: Grid, normal: np.ndarray) -> tuple[tuple, float]:
    normal = normal / np.linalg.norm(normal)
    offsets = points @ normal
    edges = np.abs(normal @ grid.ijk_to_ras[:3, :3])  # how far a voxel reaches along the normal, for each of its edges
    step = edges.max() / BINS_PER_VOXEL
    bins = np.rint((offsets - offsets.min()) / step).astype(np.int64)
    areas = np.convolve(np.bincount(bins), _section(edges, step)) * grid.voxel_volume_ml * 1000
    centers = areas[bins + _section(edges, step).size // 2]
    worst = bins == bins[centers >= centers.max() * (1 - 1e-9)].min()
    on_plane = points[worst]
    nearest = ((on_plane - on_plane.mean(0)) ** 2).sum(1).argmin()
    return tuple(float(x) for x in on_plane[nearest]), float(centers.max())


def _section(edges: np.ndarray, step: float) -> np.ndarray:
    """The area of a voxel's cross-section, per volume, at multiples of ``step`` from its center; their number is odd.

    The density of a box's projection on a line is the convolution of those of its three edges, each uniform.
    """
    density = np.ones(1) / step
    for edge in edges:
        half = int(np.ceil(edge / step / 2))
        reach = np.clip(edge / step / 2 - np.arange(-half, half + 1) + 0.5, 0, 1)
        uniform = np.minimum(reach, reach[::-1])
        density = np.convolve(density, uniform / uniform.sum())
    return density
