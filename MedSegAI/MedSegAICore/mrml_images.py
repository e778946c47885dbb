"""Slicer's oriented images (the voxels inside a segmentation node) to arrays on a grid, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from MedSegAICore.errors import GeometryError
from MedSegAICore.grid import TOLERANCE_VOXELS, Grid
from MedSegAICore.image import Label, LabelMap


def oriented_image(grid: Grid, array: np.ndarray | None = None, start_kji: Sequence[int] = (0, 0, 0)):
    """A vtkOrientedImageData with the geometry of ``grid``.

    ``array``: uint8 or uint16 (K, J, I), the part of the grid that begins at ``start_kji``; it is copied. Without it,
    only the geometry of the whole grid is set.
    """
    import slicer
    from vtk.util.numpy_support import numpy_to_vtk

    shape = grid.shape if array is None else array.shape
    image = slicer.vtkOrientedImageData()
    image.SetExtent([int(n) for k in (2, 1, 0) for n in (start_kji[k], start_kji[k] + shape[k] - 1)])
    image.SetImageToWorldMatrix(matrix_from_array(grid.ijk_to_ras))
    if array is not None:
        scalars = numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True)
        scalars.SetName("ImageScalars")
        image.GetPointData().SetScalars(scalars)
    return image


def grid_of_oriented_image(image) -> Grid:
    """The grid of the voxels that the image holds. Its extent must not be empty."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    shape = image.GetDimensions()[::-1]
    return Grid(shape, array_from_matrix(matrix)).crop(image.GetExtent()[4::-2], shape)


def array_of_oriented_image(image) -> np.ndarray:
    """The voxels (K, J, I) as a view, valid as long as the image."""
    from vtk.util.numpy_support import vtk_to_numpy

    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def resample_labels(image, values: Sequence[int], grid: Grid, transform=None) -> tuple[np.ndarray, int]:
    """The labels of an oriented image on another grid, by nearest neighbor.

    ``values``: the label values that count; everything else becomes 0.
    ``transform``: vtkGeneralTransform from the image's frame to the grid's; None if the frame is the same.

    Returns the array (K, J, I), a copy, and how many labeled voxels of the image lie outside the grid.
    """
    if image is None or 0 in image.GetDimensions() or image.GetPointData().GetScalars() is None:
        return np.zeros(grid.shape, np.uint16), 0
    image, transform = _fold_linear(image, transform)
    source = grid_of_oriented_image(image)
    labels = only_values(array_of_oriented_image(image), values)
    offset = None if transform is not None else grid.offset_of(source)
    if offset is None:
        return only_values(_nearest(image, grid, transform), values), _count_outside(labels, source, grid, transform)
    if labels.shape == grid.shape and not offset.any():
        return labels, 0
    placed = np.zeros(grid.shape, np.uint16)
    return placed, _paste(labels, placed, offset)


def only_values(array: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """A copy of labels (K, J, I) as uint16 in which everything but these values is 0."""
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:
        return np.where(np.isin(array, values), array, 0).astype(np.uint16)
    table = np.zeros(np.iinfo(array.dtype).max + 1, np.uint16)
    known = [value for value in values if value < len(table)]
    table[known] = known
    return _looked_up(table, array)


def _looked_up(table: np.ndarray, array: np.ndarray) -> np.ndarray:
    """``table[array]``, three times faster: planes stay in the processor's cache. ``array``: indices of the table."""
    result = np.empty(array.shape, table.dtype)
    for plane, out in zip(array, result, strict=True):
        table.take(plane, out=out, mode="clip")
    return result


def _fold_linear(image, transform):
    """Fold a linear transform into the image's matrix, so that grids which agree are found to agree."""
    import slicer
    import vtk

    linear = vtk.vtkTransform()
    if transform is None or not slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(transform, linear):
        return image, transform
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    vtk.vtkMatrix4x4.Multiply4x4(linear.GetMatrix(), matrix, matrix)
    moved = slicer.vtkOrientedImageData()
    moved.ShallowCopy(image)
    moved.SetImageToWorldMatrix(matrix)
    return moved, None


def _paste(labels: np.ndarray, placed: np.ndarray, offset: np.ndarray) -> int:
    begin = np.maximum(offset, 0)
    end = np.minimum(offset + labels.shape, placed.shape)
    inside = tuple(slice(b, max(b, e)) for b, e in zip(begin, end, strict=True))
    part = labels[tuple(slice(b - o, max(b, e) - o) for b, e, o in zip(begin, end, offset, strict=True))]
    placed[inside] = part
    return int(np.count_nonzero(labels) - np.count_nonzero(part))


def _count_outside(labels: np.ndarray, source: Grid, target: Grid, transform) -> int:
    """Number of labeled voxels whose centers lie outside the outermost voxels of the target."""
    points = source.ijk_to_ras_points(np.argwhere(labels)[:, ::-1])
    if transform is not None:
        points = transformed(points, transform)
    indices = target.ras_to_ijk_points(points)
    last = np.array(target.shape[::-1]) - 0.5 + TOLERANCE_VOXELS
    return int(((indices < -0.5 - TOLERANCE_VOXELS) | (indices > last)).any(axis=1).sum())


def transformed(points: np.ndarray, transform) -> np.ndarray:
    """Points (N, 3) through a VTK transform."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    before, after = vtk.vtkPoints(), vtk.vtkPoints()
    for container in (before, after):
        container.SetDataTypeToDouble()
    before.SetData(numpy_to_vtk(np.ascontiguousarray(points, np.float64), deep=True))
    transform.TransformPoints(before, after)
    return vtk_to_numpy(after.GetData()).copy()


def _nearest(image, grid: Grid, transform) -> np.ndarray:
    import slicer

    resampled = slicer.vtkOrientedImageData()
    if not slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, oriented_image(grid), resampled, False, False, transform, 0
    ):
        raise GeometryError(f"Slicer could not resample a segment to {grid}.")
    return array_of_oriented_image(resampled)


class LayerPacker:
    """Puts the segments of several label arrays into as few layers as overlap allows."""

    def __init__(self, grid: Grid):
        self._grid = grid
        self._layers: list[np.ndarray] = []
        self._labels: list[Label] = []

    def add(self, array: np.ndarray, labels: Sequence[Label]):
        """Add an array (K, J, I) with its labels, which do not overlap each other. The packer may keep the array."""
        if not self._layers and array.dtype == np.uint16:  # every label keeps its value
            self._layers.append(array)
            self._labels += [dataclasses.replace(label, layer=0) for label in labels]
            return
        layers = enumerate(self._layers)
        number = next((n for n, layer in layers if not ((array > 0) & (layer > 0)).any()), len(self._layers))
        if number == len(self._layers):
            self._layers.append(np.zeros(self._grid.shape, np.uint16))
        taken = {label.value for label in self._labels if label.layer == number}
        new_values = np.zeros(int(array.max(initial=0)) + 1, np.uint16)
        for label in sorted(labels, key=lambda label: label.value in taken):  # those that keep their value come first
            value = label.value if label.value not in taken else next(v for v in range(1, 65536) if v not in taken)
            taken.add(value)
            if label.value < len(new_values):
                new_values[label.value] = value
            self._labels.append(dataclasses.replace(label, value=value, layer=number))
        self._layers[number] |= _looked_up(new_values, array)

    def label_map(self, order: Sequence[str]) -> LabelMap:
        """The label map, its labels in the order of these ids."""
        array = np.stack(self._layers) if len(self._layers) > 1 else np.zeros(self._grid.shape, np.uint16)
        if len(self._layers) == 1:
            array = self._layers[0]
        if array.max(initial=0) <= 255 and max((label.value for label in self._labels), default=0) <= 255:
            array = array.astype(np.uint8)
        return LabelMap(array, self._grid, sorted(self._labels, key=lambda label: order.index(label.id)))


def matrix_from_array(array: np.ndarray):
    """A vtkMatrix4x4 from a 4x4 array."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, np.float64).ravel().tolist())
    return matrix


def array_from_matrix(matrix) -> np.ndarray:
    """A 4x4 array from a vtkMatrix4x4."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
