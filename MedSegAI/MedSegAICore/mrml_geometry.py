"""On which voxels a segmentation node lies: its reference geometry, and the grid that holds all its segments.

Slicer keeps every layer of segments on voxels of its own, but saves all layers on one grid, to which it resamples those
that do not fit. So we never add segments on other voxels, and read a segmentation on a grid that takes nothing away.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from MedSegAICore.boxes import filled_box
from MedSegAICore.errors import GeometryError
from MedSegAICore.grid import Grid
from MedSegAICore.mrml_images import array_of_oriented_image, grid_of_oriented_image


def reference_grid(segmentationNode) -> Grid:
    """The segmentation's reference geometry, else the smallest grid that holds all its segments; in its own frame.

    Raises GeometryError if there is neither.
    """
    import slicer
    import vtk

    segmentation, converter = segmentationNode.GetSegmentation(), slicer.vtkSegmentationConverter
    geometry = segmentation.GetConversionParameter(converter.GetReferenceImageGeometryParameterName())
    if not geometry:
        ids = vtk.vtkStringArray()
        segmentation.GetSegmentIDs(ids)
        geometry = segmentation.DetermineCommonLabelmapGeometry(segmentation.EXTENT_UNION_OF_SEGMENTS, ids)
    image = slicer.vtkOrientedImageData()
    if not geometry or not converter.DeserializeImageGeometry(geometry, image, False) or 0 in image.GetDimensions():
        raise GeometryError(
            f"The segmentation {segmentationNode.GetName()!r} has no reference geometry and no voxels. Give a "
            "reference volume."
        )
    return grid_of_oriented_image(image)


def full_grid(segmentationNode) -> Grid:
    """The reference geometry, extended to hold all segments; in the node's frame.

    If the segments lie on other voxels than the reference geometry, the grid has their voxels. Only where they differ
    among themselves it has those of the reference geometry. Raises what ``reference_grid`` raises.
    """
    reference = reference_grid(segmentationNode)
    filled = list(_filled_grids(segmentationNode.GetSegmentation(), reference))
    fits = [grid for grid in (reference, *filled[:1]) if all(grid.offset_of(own) is not None for own in filled)]
    grid = fits[0] if fits else reference
    return _extended(grid, [*filled, reference] if grid is not reference else filled)


def grid_to_add(segmentationNode, grid: Grid) -> Grid | None:
    """The reference geometry that a segmentation needs to hold its segments and new ones on ``grid``.

    None if its segments lie on other voxels than ``grid``, so that no grid could hold both.
    """
    segmentation = segmentationNode.GetSegmentation()
    filled = list(_filled_grids(segmentation, grid))
    if not filled:
        return grid
    if any(grid.offset_of(own) is None for own in filled):
        return None
    reference = reference_grid(segmentationNode)
    first = reference if reference.offset_of(grid) is not None else grid
    return _extended(first, [grid, *filled])


def _extended(grid: Grid, others: list[Grid]) -> Grid:
    for other in others:
        grid = grid.extended_to(other.corners_ras())
    return grid


def _filled_grids(segmentation, known: Grid) -> Iterator[Grid]:
    """The grids of all layers with voxels; of layers that reach beyond ``known`` only the part that is filled."""
    import slicer

    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    if not segmentation.GetNumberOfSegments() or not segmentation.ContainsRepresentation(binary):
        return
    for number in range(segmentation.GetNumberOfLayers(binary)):
        image = segmentation.GetLayerDataObject(number, binary)
        if image is None or 0 in image.GetDimensions() or image.GetPointData().GetScalars() is None:
            continue
        own = grid_of_oriented_image(image)
        offset = known.offset_of(own)
        if offset is not None and (offset >= 0).all() and (offset + own.shape <= np.array(known.shape)).all():
            yield own
            continue
        box = filled_box(array_of_oriented_image(image))
        if box[0].stop:
            yield own.crop([part.start for part in box], [part.stop - part.start for part in box])
