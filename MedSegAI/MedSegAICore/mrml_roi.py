"""A markups ROI as a box of voxels of a volume."""

from __future__ import annotations

import numpy as np

from MedSegAICore.boxes import outer_corners_ijk
from MedSegAICore.errors import InputError
from MedSegAICore.mrml import grid_from_volume
from MedSegAICore.mrml_images import array_from_matrix, matrix_from_array, transformed
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


def fit_roi(roiNode, volumeNode):
    """Place an ROI around all voxels of a volume where Slicer shows it, and make it visible.

    It is turned as the volume is. Where a parent transform shears or bends the volume, no box is, and the ROI is
    upright.

    Raises InputError if the volume holds no voxels.
    """
    import slicer
    import vtk

    grid = grid_from_volume(volumeNode)
    corners = outer_corners_ijk([slice(0, n) for n in grid.shape])
    to_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(volumeNode.GetParentTransformNode(), None, to_world)
    edges = np.array(list(np.ndindex(9, 9, 9))) / 8 * (corners.max(0) - corners.min(0)) + corners.min(0)
    points = transformed(grid.ijk_to_ras_points(edges), to_world)
    axes = _axes(to_world, grid)
    inside = points @ axes  # in the coordinates of the box
    low, high = inside.min(0), inside.max(0)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, axes @ ((low + high) / 2)
    modifying = roiNode.StartModify()
    try:
        roiNode.SetAndObserveTransformNodeID(None)
        roiNode.SetAndObserveObjectToNodeMatrix(matrix_from_array(matrix))
        roiNode.SetSize(*(high - low))
        roiNode.CreateDefaultDisplayNodes()
        roiNode.GetDisplayNode().SetVisibility(True)
        roiNode.GetDisplayNode().SetFillVisibility(False)  # it would tint the whole image
    finally:
        roiNode.EndModify(modifying)


def _axes(to_world, grid) -> np.ndarray:
    """The directions (columns) of the grid's axes in the world, right-handed; those of the world if they are bent."""
    import slicer
    import vtk

    linear = vtk.vtkTransform()
    if not slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(to_world, linear):
        return np.eye(3)
    axes = array_from_matrix(linear.GetMatrix())[:3, :3] @ grid.ijk_to_ras[:3, :3]
    axes /= np.linalg.norm(axes, axis=0)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        return np.eye(3)
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    return axes
