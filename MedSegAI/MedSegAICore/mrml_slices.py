"""Moves a slice view to where there is something to see: the voxels of a segment, or the model's uncertainty.

Everything is in world coordinates: the view may be oblique, and parent transforms, linear or not, are honored. Only the
slice node that is moved is changed.
"""

from __future__ import annotations

import numpy as np

from MedSegAICore.grid import Grid
from MedSegAICore.mrml import grid_from_volume, reference_grid
from MedSegAICore.mrml_images import array_of_oriented_image, grid_of_oriented_image, transformed
from MedSegAICore.mrml_maps import TRANSPARENT_BELOW
from MedSegAICore.mrml_world import to_world
from MedSegAICore.slices import Slices, distances_along, ranked_slices, slices_through, slices_through_bent

RED = "vtkMRMLSliceNodeRed"
APART = 3  # slices between the places that are shown one after the other; neighbors look alike


def slice_node_in_use(scene):
    """The slice view under the mouse, else the Red one, else the first of the scene; None if there is none."""
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    under_mouse = crosshair.GetCursorPositionXYZ([0.0, 0.0, 0.0]) if crosshair is not None else None
    return under_mouse or scene.GetNodeByID(RED) or scene.GetFirstNodeByClass("vtkMRMLSliceNode")


class SliceNavigator:
    """Goes to the next slice of interest. What it computed is kept until the segment, map or orientation changes."""

    def __init__(self):
        self._key, self._slices, self._numbers = None, None, np.zeros(0, int)
        self._uncertain_key, self._uncertain, self._next = None, [], 0

    def go_to_segment(self, segmentationNode, segmentId: str, sliceNode, direction: int) -> bool:
        """Show the next slice in which the segment has voxels: upward if ``direction`` is 1, downward if it is -1.

        Returns whether there is one. The step is that of the view's arrow keys, or that of its voxels.
        """
        image, value = _labels_of(segmentationNode, segmentId)
        if image is None:
            return False
        self._find_slices(segmentationNode, image, value, slices_of(sliceNode, _grid_in_world(segmentationNode)))
        here = self._slices.position_of(sliceNode.GetSliceOffset())
        if direction > 0:
            further = self._numbers[self._numbers > here + 0.01]
        else:
            further = self._numbers[self._numbers < here - 0.01]
        if not len(further):
            return False
        move_to(sliceNode, self._slices.offset_of(further[0] if direction > 0 else further[-1]))
        return True

    def go_to_uncertain(self, mapNode, sliceNode) -> bool:
        """Show the slice with the largest sum of uncertainty; then, with each call, the next one at some distance.

        ``mapNode``: a volume with values from 0 to 1. What the overlay does not show does not count. After the last
        slice the first one comes again. Returns whether there is any.
        """
        slices = _through_voxel_centers(mapNode, slices_of(sliceNode, _grid_in_world(mapNode)))
        key = _key(mapNode, mapNode.GetImageData(), slices)
        if key != self._uncertain_key:
            self._uncertain_key, self._next = key, 0
            numbers = ranked_slices(*_uncertain_voxels(mapNode, slices), slices, APART)
            self._uncertain = [slices.offset_of(number) for number in numbers]
        if not self._uncertain:
            return False
        move_to(sliceNode, self._uncertain[self._next])
        self._next = (self._next + 1) % len(self._uncertain)
        return True

    def _find_slices(self, node, image, value: int, slices: Slices):
        """Keep the numbers of the slices that show the segment, unless they are known from the last time."""
        key = (value, *_key(node, image, slices))
        if self._key == key and _is_whole(self._slices.position_of(slices.offset_mm)):
            return
        mask, own = array_of_oriented_image(image) == value, grid_of_oriented_image(image)
        transform, matrix = to_world(node)
        if transform is None:
            self._numbers = slices_through(mask, matrix @ own.ijk_to_ras, slices)
        else:
            self._numbers = slices_through_bent(
                mask, lambda ijk: transformed(own.ijk_to_ras_points(ijk), transform), slices
            )
        self._key, self._slices = key, slices


def slices_of(sliceNode, grid: Grid) -> Slices:
    """The slices through which the view steps, from the one it shows.

    ``grid``: in world coordinates; without a prescribed spacing the step is that of its voxels along the axis that is
    closest to the view's, as Slicer's arrow keys do it.
    """
    matrix = sliceNode.GetSliceToRAS()
    normal = np.array([matrix.GetElement(row, 2) for row in range(3)])
    normal /= np.linalg.norm(normal)
    if sliceNode.GetSliceSpacingMode() == sliceNode.PrescribedSliceSpacingMode:
        step = sliceNode.GetPrescribedSliceSpacing()[2]
    else:
        axes = grid.ijk_to_ras[:3, :3]
        closest = np.abs(np.linalg.solve(axes, normal)).argmax()
        step = abs(normal @ axes[:, closest])
    return Slices(normal, sliceNode.GetSliceOffset(), float(step))


def move_to(sliceNode, offset_mm: float):
    """Show the slice at this offset, in linked views too."""
    sliceNode.SetInteractionFlags(sliceNode.SliceToRASFlag)
    sliceNode.InteractingOn()
    try:
        sliceNode.SetSliceOffset(float(offset_mm))
    finally:
        sliceNode.InteractingOff()
        sliceNode.SetInteractionFlags(0)


def _labels_of(segmentationNode, segmentId: str) -> tuple:
    """The label map in which the segment lies, and its value there; (None, 0) if it has no voxels."""
    import slicer

    segment = segmentationNode.GetSegmentation().GetSegment(segmentId) if segmentId else None
    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    image = segment.GetRepresentation(binary) if segment is not None else None
    if image is None or 0 in image.GetDimensions() or image.GetPointData().GetScalars() is None:
        return None, 0
    return image, segment.GetLabelValue()


def _grid_in_world(node) -> Grid:
    """The node's own grid where a linear transform puts it; a non-linear one changes no step, as in Slicer."""
    own = reference_grid(node) if node.IsA("vtkMRMLSegmentationNode") else grid_from_volume(node)
    _transform, matrix = to_world(node)
    return Grid(own.shape, matrix @ own.ijk_to_ras)


def _key(node, image, slices: Slices) -> tuple:
    """Differs as soon as the voxels, the transform or the orientation differ: VTK gives no modified time twice."""
    parent = node.GetParentTransformNode()
    placed = (parent.GetID(), parent.GetTransformToWorldMTime()) if parent is not None else ()
    return (image.GetMTime(), node.GetID(), *placed, slices.normal.round(9).tobytes(), round(slices.step_mm, 9))


def _is_whole(number: float) -> bool:
    return abs(number - round(number)) < 1e-3


def _through_voxel_centers(volumeNode, slices: Slices) -> Slices:
    """The same slices, moved so that one of them goes through the center of the first voxel."""
    center = _grid_in_world(volumeNode).ijk_to_ras[:3, 3]
    return Slices(slices.normal, float(slices.normal @ center), slices.step_mm)


def _uncertain_voxels(mapNode, slices: Slices) -> tuple[np.ndarray, np.ndarray]:
    """Distances along the normal, and values, of the voxels that the overlay shows."""
    values = array_of_oriented_image(mapNode.GetImageData())
    shown = np.flatnonzero(values >= TRANSPARENT_BELOW)
    transform, _matrix = to_world(mapNode)
    if transform is None:
        distances = distances_along(shown, values.shape, _grid_in_world(mapNode).ijk_to_ras, slices)
    else:
        ijk = np.stack(np.unravel_index(shown, values.shape)[::-1], 1)
        distances = transformed(grid_from_volume(mapNode).ijk_to_ras_points(ijk), transform) @ slices.normal
    return distances, values.ravel()[shown].astype(np.float64)
