"""An empty Slicer scene for a test, and makers of volumes and transforms with known geometry.

Use in a test file: ``scene = fixtures_scene.scene``, then the fixture ``scene``.
"""

from __future__ import annotations

import numpy as np
import pytest

from MedSegAICore.grid import Grid
from MedSegAICore.mrml_images import matrix_from_array

RAS = np.eye(3)
LPS = np.diag([-1.0, -1.0, 1.0])


@pytest.fixture
def scene():
    """The slicer package with an empty scene; skips if slicer-core is not installed."""
    pytest.importorskip("slicer")
    from MedSegAICore import headless

    slicer = headless.start()
    slicer.mrmlScene.Clear(0)
    yield slicer
    slicer.mrmlScene.Clear(0)


def rotation(degrees_x: float, degrees_y: float, degrees_z: float) -> np.ndarray:
    """Rotation matrix (3x3): about x first, then y, then z."""
    x, y, z = np.radians([degrees_x, degrees_y, degrees_z])
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def make_grid(shape_kji, directions=RAS, spacing_ijk=(1.0, 1.0, 1.0), origin_ras=(0.0, 0.0, 0.0)) -> Grid:
    """A grid from direction cosines (columns: where I, J and K point in RAS)."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(directions) @ np.diag(spacing_ijk)
    matrix[:3, 3] = origin_ras
    return Grid(shape_kji, matrix)


GRIDS = {
    "axis-aligned": make_grid((9, 10, 11)),
    "LPS": make_grid((9, 10, 11), LPS, origin_ras=(30, 40, -5)),
    "flipped": make_grid((9, 10, 11), np.diag([1.0, -1.0, -1.0]), origin_ras=(-3, 12, 8)),
    "sagittal": make_grid((9, 10, 11), [[0, 0, 1], [1, 0, 0], [0, 1, 0]], (1.0, 1.5, 2.0)),
    "oblique": make_grid((9, 10, 11), rotation(12, -7, 33), origin_ras=(5, -6, 7)),
    "anisotropic": make_grid((9, 10, 11), LPS, (0.7, 0.9, 5.0)),
    "oblique anisotropic": make_grid((9, 10, 11), rotation(-25, 40, 5) @ LPS, (0.7, 0.9, 3.0), (-80, 20, 33)),
}


def make_volume(slicer, array_kji, grid: Grid, name: str = "volume"):
    """A scalar volume node with this array and geometry."""
    node = slicer.util.addVolumeFromArray(np.asarray(array_kji), name=name)
    node.SetIJKToRASMatrix(matrix_from_array(grid.ijk_to_ras))
    return node


def linear_transform(slicer, matrix):
    """A transform node with a 4x4 matrix that maps to its parent's frame."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "linear")
    node.SetMatrixTransformToParent(matrix_from_array(matrix))
    return node


def grid_transform(slicer, seed: int = 1, amplitude_mm: float = 4.0):
    """A transform node that displaces smoothly by up to a few millimeters, from a 20 mm grid about the origin."""
    image = _displacements(seed, amplitude_mm)
    transform = slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(image)
    transform.SetInterpolationModeToCubic()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "grid")
    node.SetAndObserveTransformToParent(transform)
    return node


def bspline_transform(slicer, seed: int = 2, amplitude_mm: float = 4.0):
    """A B-spline transform node with random coefficients on a 20 mm grid about the origin."""
    transform = slicer.vtkOrientedBSplineTransform()
    transform.SetCoefficientData(_displacements(seed, amplitude_mm))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "bspline")
    node.SetAndObserveTransformToParent(transform)
    return node


def _displacements(seed: int, amplitude_mm: float):
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    image = vtk.vtkImageData()
    image.SetDimensions(14, 14, 14)
    image.SetOrigin(-130, -130, -130)
    image.SetSpacing(20, 20, 20)
    image.AllocateScalars(vtk.VTK_DOUBLE, 3)
    values = vtk_to_numpy(image.GetPointData().GetScalars())
    values[:] = np.random.default_rng(seed).uniform(-amplitude_mm, amplitude_mm, values.shape)
    return image
