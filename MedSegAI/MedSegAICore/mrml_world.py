"""Segments of nodes in world coordinates, where nodes under different transforms can be compared.

``mrml`` works in the frame of one volume and leaves transforms alone; here every parent transform, linear or not, is
applied. Nothing is hardened, no temporary node enters the scene, and arrays are copies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from MedSegAICore.boxes import filled_box, outer_corners_ijk
from MedSegAICore.errors import GeometryError, InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.mrml import grid_from_volume, reference_grid, segment_layers, with_voxels
from MedSegAICore.mrml_images import (
    LayerPacker,
    array_from_matrix,
    array_of_oriented_image,
    grid_of_oriented_image,
    only_values,
    oriented_image,
    resample_labels,
    transformed,
)
from MedSegAICore.seg_nrrd import plain_labels


def world_grid(node) -> Grid:
    """The grid of a volume or the reference geometry of a segmentation, in world coordinates.

    Under a non-linear transform it is a grid with the node's axes at the node's center, with its spacing there, that
    holds the whole bent volume. Raises InputError for other nodes; GeometryError if there is no grid.
    """
    own = reference_grid(node) if node.IsA("vtkMRMLSegmentationNode") else grid_from_volume(node)
    transform, matrix = to_world(node)
    if transform is None:
        return Grid(own.shape, matrix @ own.ijk_to_ras)
    center = own.center_ras()[None]
    ends = transformed(np.concatenate([center, center + np.array(own.ijk_to_ras[:3, :3].T)]), transform)
    axes, _ = np.linalg.qr((ends[1:] - ends[0]).T)
    steps = axes.T @ (ends[1:] - ends[0]).T
    spacing = np.abs(np.diag(steps))
    straight = np.eye(4)
    straight[:3, :3] = axes * np.sign(np.diag(steps)) * spacing
    straight[:3, 3] = ends[0]
    faces = np.array([i for i in np.ndindex(9, 9, 9) if {0, 8} & set(i)]) / 8 * (np.array(own.shape[::-1]) - 1)
    return _grid_around(Grid((1, 1, 1), straight), transformed(own.ijk_to_ras_points(faces), transform))


def label_map_in_world(node, grid: Grid, segmentIds: Sequence[str] | None = None) -> tuple[LabelMap, bool]:
    """The segments of a segmentation, label map volume or model on a grid in world coordinates, extended to hold them.

    Hidden segments are included and overlapping ones kept apart. ``segmentIds``: only these, in this order.
    Returns the label map, on the grid itself if no segment reaches beyond it, and whether voxels were resampled (by
    nearest neighbor) instead of copied.

    Raises InputError if the node holds no segments or not the named ones; GeometryError if there is no grid.
    """
    layers = list(_layers_of(node, grid, segmentIds))
    transform, matrix = to_world(node)
    for image, labels in layers:
        grid = _extended(grid, image, [label.value for label in labels], transform, matrix)
    packer, resampled = LayerPacker(grid), False
    for image, labels in layers:
        through = transform if transform is not None else _linear(matrix)
        placed, _lost = resample_labels(image, [label.value for label in labels], grid, through)
        packer.add(placed, labels)
        if transform is not None:
            resampled = True
        elif image is not None and 0 not in image.GetDimensions():
            own = grid_of_oriented_image(image)
            resampled |= grid.offset_of(Grid(own.shape, matrix @ own.ijk_to_ras)) is None
    order = segmentIds or [label.id for _, labels in layers for label in labels]
    return packer.label_map(list(order)), resampled


def _layers_of(node, grid: Grid, segmentIds: Sequence[str] | None) -> Iterator[tuple]:
    """Oriented images in the node's frame, each with the labels in it that are wanted."""
    if node is None:
        raise InputError("A segmentation, label map or model is needed, but nothing was given.")
    if node.IsA("vtkMRMLSegmentationNode"):
        layers = list(_segmentation_layers(node, grid))
    elif node.IsA("vtkMRMLLabelMapVolumeNode"):
        layers = [_label_volume(node)]
    elif node.IsA("vtkMRMLModelNode"):
        layers = [_model(node, grid)]
    else:
        raise InputError(
            f"{node.GetName()!r} is a {node.GetClassName()}; only segmentations, label map volumes and models have "
            "segments that can be compared."
        )
    known = [label.id for _, labels in layers for label in labels]
    for identifier in segmentIds or ():
        if identifier not in known:
            raise InputError(f"{node.GetName()!r} has no segment {identifier!r}; its segments are {known}.")
    for image, labels in layers:
        wanted = [label for label in labels if segmentIds is None or label.id in segmentIds]
        if wanted:
            yield image, wanted


def _segmentation_layers(node, grid: Grid) -> Iterator[tuple]:
    import slicer

    segmentation = node.GetSegmentation()
    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    has_voxels = segmentation.ContainsRepresentation(binary) or not segmentation.GetNumberOfSegments()
    yield from segment_layers(with_voxels(node, grid if has_voxels else _own_grid(node, grid)))


def _own_grid(node, grid: Grid) -> Grid:
    """For surfaces: voxels as fine as those of ``grid`` around them, in the node's frame."""
    transform, matrix = to_world(node)
    if transform is not None:
        return reference_grid(node)
    bounds = [0.0] * 6
    node.GetBounds(bounds)
    return _grid_around(Grid((1, 1, 1), np.linalg.inv(matrix) @ grid.ijk_to_ras), _corners(bounds))


def _label_volume(node) -> tuple:
    import slicer

    grid, array = grid_from_volume(node), np.array(slicer.util.arrayFromVolume(node))
    if array.min() < 0 or array.max() > 65535:
        raise InputError(f"{node.GetName()!r} has label values from {array.min()} to {array.max()}, not 0 to 65535.")
    array = array.astype(np.uint16)
    return oriented_image(grid, array), labels_of_label_volume(node, array)


def labels_of_label_volume(node, array: np.ndarray) -> list[Label]:
    """A label for each value of a label map volume, whose voxels (K, J, I) are given as uint16."""
    colors = node.GetDisplayNode().GetColorNode() if node.GetDisplayNode() else None
    labels = []
    for label in plain_labels(array[None]):
        # Names of Slicer's own tables ("jake", "tissue") are examples and say nothing about this volume.
        own = colors is not None and not colors.GetSingletonTag()
        name = colors.GetColorName(label.value) if own else ""
        labels.append(dataclasses.replace(label, name=name if name not in ("", "(none)") else label.name))
    return labels


def _model(node, grid: Grid) -> tuple:
    """A closed surface as voxels of ``grid``'s size, in the model's frame."""
    import slicer

    mesh = node.GetPolyData()
    if mesh is None or not mesh.GetNumberOfPolys():
        raise InputError(f"The model {node.GetName()!r} has no surface.")
    converter = slicer.vtkSegmentationConverter
    transform, matrix = to_world(node)
    inverse = np.linalg.inv(matrix) if transform is None else np.eye(4)
    own = _grid_around(Grid((1, 1, 1), inverse @ grid.ijk_to_ras), _corners(mesh.GetBounds()))
    segmentation, segment = slicer.vtkSegmentation(), slicer.vtkSegment()
    segmentation.SetSourceRepresentationName(converter.GetSegmentationClosedSurfaceRepresentationName())
    segment.SetName(node.GetName())
    segment.AddRepresentation(converter.GetSegmentationClosedSurfaceRepresentationName(), mesh)
    segmentation.AddSegment(segment, node.GetName())
    geometry = converter.SerializeImageGeometry(oriented_image(own))
    segmentation.SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), geometry)
    if not segmentation.CreateRepresentation(converter.GetSegmentationBinaryLabelmapRepresentationName()):
        raise InputError(f"Slicer could not convert the model {node.GetName()!r} to voxels. Is its surface closed?")
    ((image, _labels),) = segment_layers(segmentation)
    return image, [Label(1, node.GetName(), node.GetName())]


def to_world(node):
    """(non-linear transform or None, linear 4x4 matrix) from the node's frame to the world."""
    import slicer
    import vtk

    parent, linear, general = node.GetParentTransformNode(), vtk.vtkTransform(), vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(parent, None, general)
    if slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(general, linear):
        return None, array_from_matrix(linear.GetMatrix())
    return general, np.eye(4)


def _linear(matrix: np.ndarray):
    import vtk

    transform = vtk.vtkGeneralTransform()
    transform.Concatenate(matrix.ravel().tolist())
    return transform


def _extended(grid: Grid, image, values: Sequence[int], transform, matrix: np.ndarray) -> Grid:
    """The grid with voxels added where labels of the image reach beyond it."""
    if image is None or 0 in image.GetDimensions() or image.GetPointData().GetScalars() is None:
        return grid
    own = grid_of_oriented_image(image)
    if transform is None:
        whole = _moved(own.ijk_to_ras_points(outer_corners_ijk([slice(0, n) for n in own.shape])), matrix)
        if grid.extended_to(whole) is grid:
            return grid  # wherever the labels are
    inside = only_values(array_of_oriented_image(image), values)
    box = filled_box(inside)
    if not box[0].stop:
        return grid
    if transform is not None:
        return grid.extended_to(transformed(own.ijk_to_ras_points(np.argwhere(inside)[:, ::-1]), transform))
    return grid.extended_to(_moved(own.ijk_to_ras_points(outer_corners_ijk(box)), matrix))


def _moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _grid_around(grid: Grid, points: np.ndarray) -> Grid:
    """A grid with the axes and voxels of ``grid`` that holds all points (N, 3) with a voxel to spare."""
    indices = grid.ras_to_ijk_points(points)[:, ::-1]
    first = np.floor(indices.min(0)).astype(int) - 1
    return grid.crop(first, np.ceil(indices.max(0)).astype(int) + 2 - first)


def _corners(bounds: Sequence[float]) -> np.ndarray:
    if not np.isfinite(bounds).all() or bounds[0] > bounds[1]:
        raise GeometryError("The surface is empty, so there is nothing to compare.")
    low, high = np.array(bounds[::2]), np.array(bounds[1::2])
    return np.array([np.where(bits, high, low) for bits in np.ndindex(2, 2, 2)])
