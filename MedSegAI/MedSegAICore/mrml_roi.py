"""A markups ROI as a box of voxels of a volume."""

from __future__ import annotations

from MedSegAICore.errors import InputError
from MedSegAICore.mrml import grid_from_volume
from MedSegAICore.mrml_images import array_from_matrix, transformed
from MedSegAICore.roi import Region


def box_of_roi(roiNode, volumeNode) -> tuple[slice, slice, slice]:
    """The voxels of a volume whose centers lie in a region of interest, as slices KJI; see ``Region.box``.

    The parent transforms of both nodes are honored, also non-linear ones: of the ROI as Slicer draws it, which stays a
    box, of the volume by bending the box.

    Raises InputError if the node is no ROI, has no size, is inside out, or holds no voxel of the volume.
    """
    import slicer
    import vtk

    if roiNode is None or not roiNode.IsA("vtkMRMLMarkupsROINode"):
        what = "nothing" if roiNode is None else f"{roiNode.GetName()!r}, a {roiNode.GetClassName()},"
        raise InputError(f"A region of interest (markups ROI) is needed, but {what} was given.")
    matrix = array_from_matrix(roiNode.GetObjectToWorldMatrix())
    region = Region(roiNode.GetName(), matrix, tuple(roiNode.GetSize()), bool(roiNode.GetInsideOut()))
    from_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, volumeNode.GetParentTransformNode(), from_world)
    return region.box(
        grid_from_volume(volumeNode), volumeNode.GetName(), lambda points: transformed(points, from_world)
    )
