"""Volume nodes as the channels of one image, through all their parent transforms, and registrations as nodes.

Everything is done in the frame of the first volume. Volumes are not moved and nothing is hardened.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from MedSegAICore.channels import Aligned, Channel, Unaligned, name_channels
from MedSegAICore.grid import Grid
from MedSegAICore.mrml import image_from_volume
from MedSegAICore.mrml_images import array_from_matrix, matrix_from_array, transformed
from MedSegAICore.registration import Registration

REGISTRATION = "MedSegAI.Registration"  # attribute of a transform node: how it was found and how well it fits


def channels_from_volumes(
    volumeNodes: Sequence,
    names: Sequence[str],
    registration: str | None = None,
    say: Callable[[str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Aligned:
    """The volumes on the voxels of the first one, as the channels of one image; see ``align_channels``.

    Parent transforms of all volumes are honored, linear or not, also different ones. ``names``: of the channels, for
    messages. A vector volume gives one channel per component. A registration's matrix goes from the moving volume's own
    frame to the first one's, without their parent transforms.

    Raises InputError (nothing chosen, no voxels, other channels than names, no overlap, registration impossible) and
    Cancelled.
    """
    return unaligned_volumes(volumeNodes, names, registration).align(say, cancelled)


def unaligned_volumes(
    volumeNodes: Sequence, names: Sequence[str], registration: str | None = None, box: Sequence[slice] | None = None
) -> Unaligned:
    """Copies of the volumes, for ``channels_from_volumes`` to be done later, also in another process.

    ``box``: the voxels of the first volume (KJI) to keep in the end.
    Raises InputError (nothing chosen, no voxels, other channels than names).
    """
    channels = name_channels([image_from_volume(node) for node in volumeNodes], names)
    between = [_between(node, volumeNodes[0]) for node in volumeNodes]
    placed = tuple(_placed(channel, *way) for channel, way in zip(channels, between, strict=True))
    ends = tuple((part.start, part.stop) for part in box) if box is not None else None
    return Unaligned(placed, tuple(matrix for matrix, _ in between), registration, ends)


def keep_registrations(registrations: Sequence[Registration | None], volumeNodes: Sequence, segmentationNode):
    """Keep every registration as a transform node that the segmentation refers to (in the role REGISTRATION)."""
    for number, found in enumerate(registrations):
        if found is not None:
            node = transform_node_from_registration(found, volumeNodes[number], volumeNodes[0])
            segmentationNode.AddNodeReferenceID(REGISTRATION, node.GetID())


def transform_node_from_registration(found: Registration, moving, first):
    """A linear transform node under which the moving volume lies on the first one.

    It stands under the first volume's parent transform and takes the place of the moving volume's own: it holds both.
    The volume itself is not put under it. The node's attribute says how well the two fit.
    """
    import slicer

    name = slicer.mrmlScene.GenerateUniqueName(f"{moving.GetName()} to {first.GetName()}")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(matrix_from_array(found.matrix))
    node.SetAndObserveTransformNodeID(first.GetTransformNodeID())
    node.SetAttribute(REGISTRATION, json.dumps(found.to_dict()))
    return node


def _placed(channel: Channel, matrix, bent) -> Channel:
    """The channel with its place in the frame of the first volume."""
    if bent is not None:
        return replace(channel, from_first=lambda points: transformed(points, bent))
    grid = Grid(channel.image.grid.shape, matrix @ channel.image.grid.ijk_to_ras)
    return replace(channel, image=replace(channel.image, grid=grid))


def _between(node, first):
    """The matrix from a volume's frame to the first one's, or (None, transform from the first one's to its own)."""
    import slicer
    import vtk

    own, target = node.GetParentTransformNode(), first.GetParentTransformNode()
    if own is target:
        return np.eye(4), None
    there, back, linear = vtk.vtkGeneralTransform(), vtk.vtkGeneralTransform(), vtk.vtkTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(own, target, there)
    if slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(there, linear):
        return array_from_matrix(linear.GetMatrix()), None
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(target, own, back)
    return None, back
