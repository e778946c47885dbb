"""A markups ROI as a box of voxels of a volume."""

from __future__ import annotations

import numpy as np

from MedSegAICore.errors import InputError
from MedSegAICore.grid import TOLERANCE_VOXELS
from MedSegAICore.mrml import grid_from_volume
from MedSegAICore.mrml_images import array_from_matrix, transformed

SAMPLES = 9  # points along each edge: a non-linear transform bends the box


def box_of_roi(roiNode, volumeNode) -> tuple[slice, slice, slice]:
    """The voxels of a volume whose centers lie in a region of interest, as slices KJI.

    A box that is turned against the volume is taken as the smallest upright one that holds it. The parent transforms of
    both nodes are honored, also a non-linear one of the volume.

    Raises InputError if the node is no ROI, has no size, or holds no voxel of the volume.
    """
    import slicer
    import vtk

    if roiNode is None or not roiNode.IsA("vtkMRMLMarkupsROINode"):
        what = "nothing" if roiNode is None else f"{roiNode.GetName()!r}, a {roiNode.GetClassName()},"
        raise InputError(f"A region of interest (markups ROI) is needed, but {what} was given.")
    size = np.array(roiNode.GetSize())
    if not (size > 0).all():
        raise InputError(f"The region {roiNode.GetName()!r} has no size yet. Place it in the slice views.")
    grid = grid_from_volume(volumeNode)
    unit = np.array(list(np.ndindex(SAMPLES, SAMPLES, SAMPLES))) / (SAMPLES - 1) - 0.5
    matrix = array_from_matrix(roiNode.GetObjectToWorldMatrix())
    world = (unit * size) @ matrix[:3, :3].T + matrix[:3, 3]
    from_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, volumeNode.GetParentTransformNode(), from_world)
    indices = grid.ras_to_ijk_points(transformed(world, from_world))[:, ::-1]
    first = np.ceil(indices.min(0) - TOLERANCE_VOXELS).astype(int).clip(0)
    stop = np.minimum(np.floor(indices.max(0) + TOLERANCE_VOXELS).astype(int) + 1, grid.shape)
    if (stop <= first).any():
        raise InputError(
            f"The region {roiNode.GetName()!r} holds no voxel of the volume {volumeNode.GetName()!r}. Move it onto the "
            "volume."
        )
    return tuple(slice(int(a), int(b)) for a, b in zip(first, stop, strict=True))
