"""Where two segments differ: signed distances to a surface, as a map and on a mesh."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MedSegAIMetricsLib.surface.smooth import NotSmooth, smooth_mesh

SCALARS = "signed_distance_mm"


def signed_distance_map(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Distance in mm of every voxel center to the voxel-face surface of a mask (K, J, I), negative inside; float32.

    The nearest voxel is found by its center, so the distance to its box can be too large: brute force found up to 0.32
    of a voxel. ``surface.signed`` is exact, and slower.
    Raises ValueError for an empty mask.
    """
    if not mask.any():
        raise ValueError("an empty mask has no surface")
    padded = np.pad(mask, 1)
    inside = _distance_to_others(padded, spacing_mm)
    outside = _distance_to_others(~padded, spacing_mm)
    return np.where(padded, -inside, outside)[1:-1, 1:-1, 1:-1]


def _distance_to_others(mask: np.ndarray, spacing_mm: tuple) -> np.ndarray:
    """From each voxel of the mask to the box of the nearest voxel outside it; float32, 0 outside the mask."""
    nearest = ndimage.distance_transform_edt(mask, spacing_mm, return_distances=False, return_indices=True)
    squares = np.zeros(mask.shape, np.float32)
    for axis, spacing in enumerate(spacing_mm):
        own = np.arange(mask.shape[axis], dtype=np.int32).reshape([-1 if a == axis else 1 for a in range(3)])
        gap = np.maximum(np.abs(nearest[axis] - own).astype(np.float32) - np.float32(0.5), 0) * np.float32(spacing)
        squares += gap * gap
    return np.sqrt(squares, out=squares)


def surface_mesh(mask: np.ndarray, ijk_to_ras: np.ndarray, spacing_mm: tuple[float, float, float]):
    """A closed surface of a mask (K, J, I), for looking at: vtkPolyData in RAS mm; smooth where the mask allows it."""
    import vtk

    millimeters_to_ras = np.asarray(ijk_to_ras, float) @ np.diag([*(1 / s for s in spacing_mm[::-1]), 1])
    place = vtk.vtkTransform()
    place.SetMatrix(millimeters_to_ras.ravel().tolist())
    world = vtk.vtkTransformPolyDataFilter()
    world.SetTransform(place)
    try:
        world.SetInputData(smooth_mesh(mask, spacing_mm))
    except NotSmooth:
        world.SetInputData(_voxel_mesh(mask, spacing_mm))
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputConnection(world.GetOutputPort())
    normals.SplittingOff()
    normals.AutoOrientNormalsOn()
    normals.Update()
    return normals.GetOutput()


def _voxel_mesh(mask: np.ndarray, spacing_mm: tuple):
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    padded = np.pad(mask, 1).astype(np.uint8)
    image = vtk.vtkImageData()
    image.SetDimensions(padded.shape[::-1])
    image.SetSpacing(spacing_mm[::-1])
    image.SetOrigin([-s for s in spacing_mm[::-1]])
    image.GetPointData().SetScalars(numpy_to_vtk(padded.ravel(), deep=True))
    contour = vtk.vtkFlyingEdges3D()
    contour.SetInputData(image)
    contour.SetValue(0, 0.5)
    contour.Update()
    return contour.GetOutput()


def color_by_distance(mesh, distances: np.ndarray, ras_to_ijk: np.ndarray) -> np.ndarray:
    """Give every point of a mesh (RAS mm) the value of a map (K, J, I) there, by trilinear interpolation.

    The values become the mesh's active point scalars, named ``signed_distance_mm``; they are also returned.
    """
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    points = vtk_to_numpy(mesh.GetPoints().GetData()).astype(float)
    indices = points @ ras_to_ijk[:3, :3].T + ras_to_ijk[:3, 3]
    values = ndimage.map_coordinates(distances, indices.T[::-1], order=1, mode="nearest").astype(np.float32)
    scalars = numpy_to_vtk(values, deep=True)
    scalars.SetName(SCALARS)
    mesh.GetPointData().SetScalars(scalars)
    return values
