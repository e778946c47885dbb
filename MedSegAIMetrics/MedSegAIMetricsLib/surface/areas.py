"""The area in mm² that each sample of a surface stands for."""

from __future__ import annotations

import functools

import numpy as np

from MedSegAIMetricsLib.surface.lattice import AXES, CORNER, voxels_of_code


@functools.lru_cache(64)
def face_areas(spacing_mm: tuple[float, float, float]) -> dict[int, np.ndarray]:
    """Per kind of sample, the area for each of the 256 codes of the cell's corner; spacing in KJI order.

    Every voxel face is cut into four equal parts, and each part's area is shared by its four corners (the trapezoidal
    rule with steps of half a voxel). The areas of a face's nine samples add up to the area of the face.
    """
    v = voxels_of_code()
    area = np.prod(spacing_mm) / np.array(spacing_mm)
    changes = [np.abs(np.diff(v, axis=1 + axis)) for axis in range(3)]  # a change along an axis is a face across it
    tables = {CORNER: sum(changes[axis].sum((1, 2, 3)) * area[axis] / 16 for axis in range(3))}
    for axis, others in ((0, (1, 2)), (1, (0, 2)), (2, (0, 1))):
        around_edge = np.take(v, [1], axis=1 + axis)  # the four voxels around the edge that begins at the corner
        faces = [np.abs(np.diff(around_edge, axis=1 + other)).sum((1, 2, 3)) * area[other] for other in others]
        tables[AXES[axis]] = sum(faces) / 8
        tables[7 - AXES[axis]] = np.full(256, area[axis] / 4)  # the face across the axis
    return tables


@functools.lru_cache(64)
def marching_cubes_areas(spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The area of the marching-cubes surface (Lorensen & Cline 1987) around a corner, for each of the 256 codes.

    Vertices lie at half of each edge between two voxel centers. Codes with more than four voxels inside have the area
    of their complement. These are the surface elements ("surfels") of google-deepmind/surface-distance.
    """
    scale = np.prod(spacing_mm) / np.array(spacing_mm)
    return np.array([np.linalg.norm(normals * scale, axis=1).sum() for normals in _marching_cubes_normals()])


@functools.lru_cache(1)
def _marching_cubes_normals() -> list[np.ndarray]:
    """For each code the triangles' area vectors (n, 3), KJI, on voxels of size 1, as VTK's case table has them."""
    import vtk  # here: nothing else of this file needs it
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    normals = []
    for code, voxels in enumerate(voxels_of_code()):
        if voxels.sum() > 4:
            normals.append(normals[255 - code] if 255 - code < code else None)
            continue
        image = vtk.vtkImageData()
        image.SetDimensions(2, 2, 2)
        image.GetPointData().SetScalars(numpy_to_vtk(voxels.ravel().astype(float), deep=True))
        contour = vtk.vtkMarchingCubes()
        contour.SetInputData(image)
        contour.SetValue(0, 0.5)
        contour.ComputeNormalsOff()
        contour.Update()
        mesh = contour.GetOutput()
        if not mesh.GetNumberOfPolys():
            normals.append(np.zeros((0, 3)))
            continue
        points = vtk_to_numpy(mesh.GetPoints().GetData()).astype(float)
        a, b, c = points[vtk_to_numpy(mesh.GetPolys().GetConnectivityArray()).reshape(-1, 3)].transpose(1, 0, 2)
        normals.append(np.cross(b - a, c - a)[:, ::-1] / 2)
    return [n if n is not None else normals[255 - code] for code, n in enumerate(normals)]
