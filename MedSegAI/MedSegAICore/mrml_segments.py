"""What a list of a segmentation node's segments shows: names and colors, which are cheap, and how large they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedSegAICore.errors import InputError
from MedSegAICore.mrml import STATUS_TAG, reference_grid, segment_layers, with_voxels
from MedSegAICore.mrml_images import array_of_oriented_image, grid_of_oriented_image

FEW = 24  # labels; so many passes over the voxels take as long as one that counts all values


@dataclass(frozen=True)
class SegmentRow:
    """``color``: as the slice views show it, RGB from 0 to 1. ``visible``: whether it is shown at all.

    ``status``: Slicer's Segmentation.Status, empty if it has none.
    """

    id: str
    name: str
    color: tuple[float, float, float]
    visible: bool
    status: str = ""


@dataclass(frozen=True)
class SegmentSize:
    """How many voxels a segment has, and the volume of one of them in ml."""

    voxels: int
    voxel_ml: float

    @property
    def volume_ml(self) -> float:
        return self.voxels * self.voxel_ml


def segment_rows(segmentationNode) -> list[SegmentRow]:
    """All segments in their order, hidden ones too. No voxel is looked at."""
    import vtk

    segmentation, display = segmentationNode.GetSegmentation(), segmentationNode.GetDisplayNode()
    rows = []
    for number in range(segmentation.GetNumberOfSegments()):
        identifier = segmentation.GetNthSegmentID(number)
        segment, status = segmentation.GetSegment(identifier), vtk.reference("")
        segment.GetTag(STATUS_TAG, status)
        color = display.GetSegmentColor(identifier) if display else segment.GetColor()
        visible = display.GetSegmentVisibility(identifier) if display else True
        rows.append(
            SegmentRow(identifier, segment.GetName(), tuple(color[n] for n in range(3)), bool(visible), str(status))
        )
    return rows


def segment_sizes(segmentationNode) -> dict[str, SegmentSize]:
    """The size of every segment by its id, hidden ones too: its own voxels, without parent transforms.

    Voxels are counted where they are, nothing is copied or resampled; overlapping segments are counted in full.
    Raises InputError if the node is no segmentation; GeometryError if it holds surfaces only, and nothing says how
    large a voxel is.
    """
    if segmentationNode is None or not segmentationNode.IsA("vtkMRMLSegmentationNode"):
        what = "nothing" if segmentationNode is None else repr(segmentationNode.GetName())
        raise InputError(f"A segmentation is needed, but {what} was given.")
    segmentation = segmentationNode.GetSegmentation()
    if not _has_voxels(segmentation):
        segmentation = with_voxels(segmentationNode, reference_grid(segmentationNode))
    sizes = {}
    for image, labels in segment_layers(segmentation):
        if image is None or 0 in image.GetDimensions() or image.GetPointData().GetScalars() is None:
            sizes.update((label.id, SegmentSize(0, 0.0)) for label in labels)
            continue
        voxel_ml = float(grid_of_oriented_image(image).voxel_volume_ml)
        counts = _counts(array_of_oriented_image(image), [label.value for label in labels])
        sizes.update((label.id, SegmentSize(counts[label.value], voxel_ml)) for label in labels)
    return {identifier: sizes[identifier] for identifier in segmentation.GetSegmentIDs() if identifier in sizes}


def _has_voxels(segmentation) -> bool:
    import slicer

    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    return segmentation.GetNumberOfSegments() == 0 or segmentation.ContainsRepresentation(binary)


def _counts(array: np.ndarray, values: Sequence[int]) -> dict[int, int]:
    """How many voxels have each of these values."""
    if len(values) <= FEW or array.dtype.kind != "u":
        return {value: int(np.count_nonzero(array == value)) for value in values}
    counts = np.zeros(np.iinfo(array.dtype).max + 1, np.int64)
    for plane in array:  # bincount makes 8 bytes of each voxel
        part = np.bincount(plane.ravel())
        counts[: len(part)] += part
    return {value: int(counts[value]) for value in values}
