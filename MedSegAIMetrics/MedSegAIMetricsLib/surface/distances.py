"""Distances between the surfaces of two masks, in both directions, with the area that each one stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from MedSegAIMetricsLib.surface.areas import face_areas, marching_cubes_areas
from MedSegAIMetricsLib.surface.centers import boundary_voxels
from MedSegAIMetricsLib.surface.lattice import INSIDE, Frame, LatticeSurface, lattice_surface
from MedSegAIMetricsLib.surface.nearest import Nearest, nearest_between, nearest_to_corners, search_margin
from MedSegAIMetricsLib.surface.smooth import smooth_distances


@dataclass(frozen=True)
class Directed:
    """From the samples of one surface to the other surface.

    ``distances_mm``: (n,), at least 0. ``areas_mm2``: (n,), what each sample stands for, or ones for voxel centers.
    Weighted samples that lie on the other surface are put together to one that stands for the area of all.
    ``signs``: (n,) int8, +1 where the test mask reaches beyond the reference, -1 where it falls short, 0 at distance 0.
    """

    distances_mm: np.ndarray
    areas_mm2: np.ndarray
    signs: np.ndarray


def surface_distances(reference: np.ndarray, test: np.ndarray, spacing_mm: tuple, surface: str) -> tuple:
    """Directed distances from reference to test and back.

    ``reference``, ``test``: boolean masks (K, J, I) of one shape, neither empty. ``spacing_mm``: KJI.
    ``surface``: a key of ``SURFACES``. Raises NotSmooth if it is ``smooth`` and a mask is too thin for it.
    """
    return SURFACES[surface](reference, test, tuple(float(s) for s in spacing_mm))


def _face_distances(reference: np.ndarray, test: np.ndarray, spacing_mm: tuple) -> tuple[Directed, Directed]:
    surfaces = _lattice(lattice_surface, reference, test, spacing_mm)
    return tuple(_directed_faces(*way, spacing_mm) for way in _both_ways(*surfaces))


def _directed_faces(query: LatticeSurface, target: LatticeSurface, beyond: int, spacing_mm: tuple) -> Directed:
    parts = [
        _directed(query, target, nearest, face_areas(spacing_mm)[nearest.kind], beyond)
        for nearest in _all_kinds(query, target, spacing_mm)
    ]
    return Directed(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _all_kinds(query: LatticeSurface, target: LatticeSurface, spacing_mm: tuple) -> Iterator[Nearest]:
    """Corners, edge midpoints and face centers, each from what is known of its ends; nothing is kept for long."""
    k, j, i = range(3)
    corners = nearest_to_corners(query, target, spacing_mm)
    yield corners
    yield nearest_between(query, target, corners, k, spacing_mm)
    along_j = nearest_between(query, target, corners, j, spacing_mm)
    yield along_j
    yield nearest_between(query, target, along_j, k, spacing_mm)
    del along_j
    along_i = nearest_between(query, target, corners, i, spacing_mm)
    yield along_i
    del corners
    yield nearest_between(query, target, along_i, j, spacing_mm)
    yield nearest_between(query, target, along_i, k, spacing_mm)


def _surfel_distances(reference: np.ndarray, test: np.ndarray, spacing_mm: tuple) -> tuple[Directed, Directed]:
    surfaces = _lattice(lattice_surface, reference, test, spacing_mm)
    return _corner_distances(surfaces, spacing_mm, marching_cubes_areas(spacing_mm))


def _center_distances(reference: np.ndarray, test: np.ndarray, spacing_mm: tuple) -> tuple[Directed, Directed]:
    return _corner_distances(_lattice(boundary_voxels, reference, test, spacing_mm), spacing_mm, None)


def _smooth_distances(reference: np.ndarray, test: np.ndarray, spacing_mm: tuple) -> tuple[Directed, ...]:
    return tuple(Directed(*parts) for parts in smooth_distances(reference, test, spacing_mm))


def _lattice(make: Callable, reference: np.ndarray, test: np.ndarray, spacing_mm: tuple) -> list[LatticeSurface]:
    frame = Frame(reference.shape, search_margin(spacing_mm))
    surfaces = []
    for mask in (reference, test):
        surfaces.append(make(mask, frame))
        surfaces[0].forget_large_cells()  # the way there needs those of the test only
    return surfaces


def _both_ways(reference: LatticeSurface, test: LatticeSurface) -> Iterator[tuple[LatticeSurface, LatticeSurface, int]]:
    """Query, target, and the sign of a query sample inside the target: from the reference to the test, and back."""
    yield reference, test, 1
    test.forget_large_cells()
    yield test, reference, -1


def _corner_distances(surfaces: list[LatticeSurface], spacing_mm: tuple, areas: np.ndarray | None) -> tuple:
    return tuple(
        Directed(*_directed(query, target, nearest_to_corners(query, target, spacing_mm), areas, beyond))
        for query, target, beyond in _both_ways(*surfaces)
    )


def _directed(
    query: LatticeSurface, target: LatticeSurface, nearest: Nearest, areas: np.ndarray | None, beyond: int
) -> tuple:
    """Distances, areas and signs of the samples of one kind; without areas each sample stands for itself."""
    samples = query.samples(nearest.kind)
    distances = nearest.distances[samples]
    if areas is not None:
        total = areas[query.codes[samples]].sum()
        away = np.flatnonzero(distances)
        samples, distances = samples[away], distances[away]
    # Off the target's surface all voxels around a sample lie on the same side of it.
    inside = (target.cells.reshape(-1)[query.corners[samples]] & INSIDE) != 0
    signs = np.where(inside, np.int8(beyond), np.int8(-beyond))
    if areas is None:
        signs[distances == 0] = 0
        return distances, np.ones(len(distances)), signs
    own = areas[query.codes[samples]]
    return np.append(distances, 0.0), np.append(own, max(0.0, total - own.sum())), np.append(signs, np.int8(0))


SURFACES: dict[str, Callable] = {
    "face": _face_distances,
    "surfel": _surfel_distances,
    "voxelcenter": _center_distances,
    "smooth": _smooth_distances,
}
