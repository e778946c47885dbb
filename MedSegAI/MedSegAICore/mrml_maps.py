"""Maps that come with a segmentation, such as probabilities and uncertainty, as volume nodes to lay over the image."""

from __future__ import annotations

from MedSegAICore.image import Image
from MedSegAICore.mrml import volume_node_from_image

COLORS = "vtkMRMLColorTableNodeIron"  # one of Slicer's own: black, red, yellow, white
TRANSPARENT_BELOW = 0.05  # of the range 0 to 1, so that the image shows where there is nothing to see
ROLE = "MedSegAI.{kind}"  # of the reference from the segmentation to its maps


def add_maps(segmentationNode, volumeNode, kind: str, image: Image, names: list[str]) -> list:
    """A volume node for each channel of ``image``, with values from 0 to 1 and named as ``names`` say.

    They are put beside ``volumeNode``, under its parent transform, and are referred to by the segmentation, where they
    take the place of maps of the same kind that belonged to an earlier run.
    """
    role = ROLE.format(kind=kind)
    segmentationNode.RemoveNodeReferenceIDs(role)
    nodes = []
    for channel, name in zip(image.array, names, strict=True):
        node = volume_node_from_image(Image(channel[None], image.grid), name, volumeNode, show_as_overlay)
        segmentationNode.AddNodeReferenceID(role, node.GetID())
        nodes.append(node)
    return nodes


def maps_of(segmentationNode, kind: str) -> list:
    """The volume nodes that ``add_maps`` made and that still exist, in the order of the channels."""
    role = ROLE.format(kind=kind)
    count = segmentationNode.GetNumberOfNodeReferences(role)
    nodes = [segmentationNode.GetNthNodeReference(role, number) for number in range(count)]
    return [node for node in nodes if node is not None]


def show_as_overlay(display):
    """Show values from 0 to 1 as colors over an image, which is seen where they are near 0."""
    display.SetAndObserveColorNodeID(COLORS)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.AutoThresholdOff()
    display.SetThreshold(TRANSPARENT_BELOW, 1.0)
    display.ApplyThresholdOn()
