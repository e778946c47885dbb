"""Where on the surface of a consensus observers differ, and by how many millimeters: a colored model."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from MedSegAICore.boxes import filled_box
from MedSegAICore.errors import GeometryError, InputError
from MedSegAICore.grid import Grid
from MedSegAIMetricsLib.consensus import Consensus, consensus
from MedSegAIMetricsLib.label_maps import check_axes
from MedSegAIMetricsLib.observer_masks import ObserverMasks
from MedSegAIMetricsLib.spread import Spread
from MedSegAIMetricsLib.surface.signed import signed_distances_at
from MedSegAIMetricsLib.surface.smooth import NotSmooth, distances_to_mesh, smooth_mesh
from MedSegAIMetricsLib.surface.summary import weighted_percentile

SD, MEAN, RANGE = "sd_mm", "mean_mm", "range_mm"
OBSERVER = "observer_{number}_mm"
DISTANCES = ("smooth", "face")
MOST_SMOOTHED = 16 * 2**20  # voxels of a mask's box; smoothing takes 64 bytes of memory for each


@dataclass(frozen=True)
class VariabilitySummary:
    """Over the surface, every vertex weighted by the area that it stands for.

    ``sd_mm``: the root of the mean squared local standard deviation, the "3-D SD" of Brouwer et al., Radiat Oncol
    2012;7:32. ``sd_mean_mm``, ``sd_median_mm``, ``sd_p95_mm``, ``sd_max_mm``: of the local standard deviations.
    ``range_mean_mm``, ``range_max_mm``: of the local ranges. ``most_variable_ras``: where the standard deviation is
    largest. ``bias_mm``: for each observer the mean signed distance from the consensus, positive beyond it; NaN for one
    who marked nothing. ``area_mm2``: of the surface. ``distances``: to which surfaces, ``smooth`` or ``face``.
    ``notes``: sentences.
    """

    sd_mm: float
    sd_mean_mm: float
    sd_median_mm: float
    sd_p95_mm: float
    sd_max_mm: float
    range_mean_mm: float
    range_max_mm: float
    most_variable_ras: tuple[float, float, float]
    bias_mm: tuple[float, ...]
    area_mm2: float
    distances: str
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class LocalVariability:
    """``mesh``: vtkPolyData of triangles in RAS mm with point arrays in mm: ``sd_mm`` (active; n - 1 in the
    denominator), ``mean_mm``, ``range_mm``, and ``observer_1_mm`` … for all who drew: signed distances from the
    consensus to the observer's surface, positive where the observer reaches beyond it."""

    mesh: object
    summary: VariabilitySummary


def local_variability(
    observers: ObserverMasks, grid: Grid, surface: Consensus | None = None, distances: str = "smooth"
) -> LocalVariability:
    """How the observers' surfaces lie around that of a consensus.

    ``grid``: of the image that the masks come from. ``surface``: a consensus of the same observers; None takes the mean
    of their shapes. ``distances``: ``smooth``, between smoothed surfaces of the masks, right within a few percent for
    anatomy; ``face``, to the faces of the observers' voxels, exact for boxes, but where slices are thick the stairs of
    a round surface come up to a sixth too near. A mask that is too thin to be smoothed, or fills too large a box (far
    specks), takes all to ``face``, and a note says so. Observers who marked nothing have no surface; they are left out,
    and a note says so.

    Raises InputError if fewer than two observers drew anything, the consensus is empty or of others, or there are no
    such distances; GeometryError if the grid is another one or its axes are not at right angles.
    """
    _check(observers, grid, surface, distances)
    absent = sum(size == 0 for size in observers.sizes)
    notes = [f"{absent} of {len(observers)} observers marked nothing and are left out."] if absent else []
    try:
        found = (_between_smooth_surfaces if distances == "smooth" else _to_faces)(observers, surface)
    except NotSmooth as problem:
        notes.append(f"Distances are to the faces of voxels: {problem}")
        found, distances = _to_faces(observers, surface), "face"
    points, offsets = grid.ijk_to_ras_points(found.vertices_kji[:, ::-1] + observers.start[::-1]), found.offsets_mm
    drawn = (number for number, size in enumerate(observers.sizes) if size)
    arrays = {
        SD: offsets.std(0, ddof=1),
        MEAN: offsets.mean(0),
        RANGE: np.ptp(offsets, axis=0),
        **{OBSERVER.format(number=n + 1): row for n, row in zip(drawn, offsets, strict=True)},
    }
    summary = _summary(points, found.triangles, arrays, len(observers), distances, notes)
    return LocalVariability(_mesh(points, found.triangles, arrays), summary)


def _check(observers: ObserverMasks, grid: Grid, surface: Consensus | None, distances: str):
    if distances not in DISTANCES:
        raise InputError(f"Distances are {' or '.join(DISTANCES)}, but the setting is {distances!r}.")
    if grid.shape != observers.image_shape or not np.allclose(grid.spacing_kji, observers.spacing_mm, rtol=1e-4):
        raise GeometryError(
            f"The masks come from an image of {observers.image_shape} voxels of {observers.spacing_mm} mm, but the "
            f"grid is {grid}. Give the grid of that image."
        )
    check_axes(grid)
    drawn = sum(size > 0 for size in observers.sizes)
    if drawn < 2:
        raise InputError(f"Local variability takes two observers who drew something, but there are {drawn}.")
    if surface is not None and surface.observers is not observers:
        raise InputError("The consensus is not of these observers: make it from the same ObserverMasks.")
    if surface is not None and not surface.mask.any():
        raise InputError("The consensus is empty, so it has no surface. Choose another method or rule for ties.")


@dataclass(frozen=True, eq=False)
class _Offsets:
    """``vertices_kji``: (n, 3) in voxels from the center of the box's first. ``triangles``: (m, 3). ``offsets_mm``:
    (observers who drew, n), positive where the observer reaches beyond."""

    vertices_kji: np.ndarray
    triangles: np.ndarray
    offsets_mm: np.ndarray


def _between_smooth_surfaces(observers: ObserverMasks, surface: Consensus | None) -> _Offsets:
    drawn = tuple(own for own, size in zip(observers.masks, observers.sizes, strict=True) if size)
    mask = (
        surface.mask if surface is not None else consensus(replace(observers, masks=drawn), "shape", "foreground").mask
    )
    if not mask.any():
        raise _too_far_apart()
    boxes = [filled_box(own) for own in (mask, *drawn)]
    largest = max(math.prod(part.stop - part.start for part in box) for box in boxes)
    if largest > MOST_SMOOTHED:
        raise NotSmooth(f"a mask fills a box of {largest} voxels, too many to be smoothed; remove far specks.")
    spacing_ijk = np.array(observers.spacing_mm[::-1])
    starts_mm = [[part.start for part in box[::-1]] * spacing_ijk for box in boxes]
    own_mm, triangles = _parts(smooth_mesh(mask[boxes[0]], observers.spacing_mm))
    points_mm = own_mm + starts_mm[0]
    offsets = np.empty((len(drawn), len(points_mm)))
    for row, own, box, start_mm in zip(offsets, drawn, boxes[1:], starts_mm[1:], strict=True):
        row[:] = -distances_to_mesh(smooth_mesh(own[box], observers.spacing_mm), points_mm - start_mm)
    return _Offsets((points_mm / spacing_ijk)[:, ::-1], triangles, offsets)


def _to_faces(observers: ObserverMasks, surface: Consensus | None) -> _Offsets:
    spread = Spread.of(observers, surface.mask if surface is not None else None)
    level = spread.mean_level() if surface is None else _level_of(surface.mask, spread)
    vertices, triangles = _zero_level(level)
    if not len(triangles):
        raise _too_far_apart()
    return _Offsets(vertices - 1, triangles, -_at_vertices(spread, vertices))


def _too_far_apart() -> InputError:
    return InputError("The observers drew too far apart: their mean shape is empty and has no surface.")


def _level_of(mask: np.ndarray, spread: Spread) -> np.ndarray:
    padded = np.pad(mask, 1)
    edge = np.float32(min(spread.observers.spacing_mm))
    level = np.where(padded, -edge, edge)
    level.reshape(-1)[spread.voxels] = signed_distances_at(padded, spread.voxels, spread.observers.spacing_mm)
    return level


def _zero_level(level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (n, 3) in voxel coordinates KJI, each on an edge between two voxel centers, and triangles (n, 3)."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    image = vtk.vtkImageData()
    image.SetDimensions(level.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(level.ravel()))
    contour = vtk.vtkFlyingEdges3D()
    contour.SetInputData(image)
    contour.SetValue(0, 0.0)
    contour.ComputeNormalsOff()
    contour.ComputeScalarsOff()
    contour.Update()
    points, triangles = _parts(contour.GetOutput())
    return points[:, ::-1], triangles


def _parts(mesh) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) and triangles (m, 3) of vtkPolyData."""
    from vtk.util.numpy_support import vtk_to_numpy

    if not mesh.GetNumberOfPolys():
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    corners = vtk_to_numpy(mesh.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    return vtk_to_numpy(mesh.GetPoints().GetData()).astype(float), corners.astype(np.int64)


def _at_vertices(spread: Spread, vertices_kji: np.ndarray) -> np.ndarray:
    """(observers, vertices): signed distances, linear between the two voxel centers around each vertex."""
    low = np.floor(vertices_kji).astype(np.int64)
    high = np.ceil(vertices_kji).astype(np.int64)
    part = (vertices_kji - low).sum(1)  # two of three coordinates are whole numbers
    ends = [spread.distances_mm[:, np.searchsorted(spread.voxels, _flat(end, spread.shape))] for end in (low, high)]
    return ends[0] * (1 - part) + ends[1] * part


def _flat(indices: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    return np.ravel_multi_index(tuple(indices.T), shape)


def _mesh(points: np.ndarray, triangles: np.ndarray, arrays: dict[str, np.ndarray]):
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray

    mesh = vtk.vtkPolyData()
    vertices, cells = vtk.vtkPoints(), vtk.vtkCellArray()
    vertices.SetData(numpy_to_vtk(points.astype(np.float32), deep=True))
    cells.SetData(3, numpy_to_vtkIdTypeArray(np.ascontiguousarray(triangles.ravel()), deep=True))
    mesh.SetPoints(vertices)
    mesh.SetPolys(cells)
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputData(mesh)
    normals.SplittingOff()
    normals.AutoOrientNormalsOn()
    normals.Update()
    mesh = normals.GetOutput()
    for name, values in arrays.items():
        scalars = numpy_to_vtk(values.astype(np.float32), deep=True)
        scalars.SetName(name)
        mesh.GetPointData().AddArray(scalars)
    mesh.GetPointData().SetActiveScalars(SD)
    return mesh


def _summary(
    points: np.ndarray, triangles: np.ndarray, arrays: dict, n_observers: int, distances: str, notes: list[str]
) -> VariabilitySummary:
    weights = _vertex_areas(points, triangles)
    share = weights / weights.sum()
    sd, extent = arrays[SD], arrays[RANGE]
    names = (OBSERVER.format(number=number + 1) for number in range(n_observers))
    return VariabilitySummary(
        sd_mm=math.sqrt(share @ sd**2),
        sd_mean_mm=float(share @ sd),
        sd_median_mm=weighted_percentile(sd, weights, 50),
        sd_p95_mm=weighted_percentile(sd, weights, 95),
        sd_max_mm=float(sd.max()),
        range_mean_mm=float(share @ extent),
        range_max_mm=float(extent.max()),
        most_variable_ras=tuple(float(x) for x in points[sd.argmax()]),
        bias_mm=tuple(float(share @ arrays[name]) if name in arrays else math.nan for name in names),
        area_mm2=float(weights.sum()),
        distances=distances,
        notes=tuple(notes),
    )


def _vertex_areas(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """A third of the area of each triangle goes to each of its corners."""
    a, b, c = points[triangles].transpose(1, 0, 2)
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    return np.bincount(triangles.ravel(), np.repeat(areas / 3, 3), len(points))
