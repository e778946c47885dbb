"""Sequence nodes: the volumes of their frames, and a sequence of segmentations beside one of volumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from MedSegAICore.errors import InputError
from MedSegAICore.image import Image, LabelMap
from MedSegAICore.mrml import image_from_volume, segmentation_from_label_map

ERROR = "MedSegAI.Error"  # attribute of the segmentation of a frame that failed: why


def frames_of(sequenceNode) -> list[tuple[str, Callable[[], Image]]]:
    """Index value of every frame, and a function that gives its voxels; it raises InputError if it has none.

    Raises InputError if the node is no sequence of volumes, or is empty.
    """
    if sequenceNode is None or not sequenceNode.IsA("vtkMRMLSequenceNode"):
        what = "nothing" if sequenceNode is None else f"{sequenceNode.GetName()!r}, a {sequenceNode.GetClassName()},"
        raise InputError(f"A sequence of volumes is needed, but {what} was given.")
    count = sequenceNode.GetNumberOfDataNodes()
    if not count:
        raise InputError(f"The sequence {sequenceNode.GetName()!r} is empty. Load or record its frames first.")
    first = sequenceNode.GetNthDataNode(0)
    if first is None or not first.IsA("vtkMRMLVolumeNode"):
        kind = sequenceNode.GetDataNodeClassName()
        raise InputError(f"The sequence {sequenceNode.GetName()!r} holds nodes of class {kind}, not volumes.")
    return [
        (sequenceNode.GetNthIndexValue(n), lambda n=n: image_from_volume(sequenceNode.GetNthDataNode(n)))
        for n in range(count)
    ]


def segmentation_sequence(
    sequenceNode, frames: Sequence[tuple[str, LabelMap | None, Mapping[str, Any], str]], name: str | None = None
):
    """A new sequence of segmentations with the index of a sequence of volumes, shown by the same browser.

    ``frames``: index value, label map, provenance and error of each. A frame with an error gets a segmentation
    without segments, which is not the same as segments without voxels, and the error as an attribute (ERROR).
    A browser is made if none shows the volumes yet. The shown segmentation is put under the transform of the shown
    volume.
    """
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name or f"{sequenceNode.GetName()} segmentation")
    node.SetIndexName(sequenceNode.GetIndexName())
    node.SetIndexUnit(sequenceNode.GetIndexUnit())
    node.SetIndexType(sequenceNode.GetIndexType())
    node.SetNumericIndexValueTolerance(sequenceNode.GetNumericIndexValueTolerance())
    for value, label_map, provenance, error in frames:
        frame, scene = slicer.vtkMRMLSegmentationNode(), slicer.vtkMRMLScene()
        frame.SetName(node.GetName())
        scene.AddNode(frame)  # a scene of its own: in the user's it would be seen coming and going
        if label_map is not None:
            segmentation_from_label_map(label_map, node=frame, provenance=provenance)
        if error:
            frame.SetAttribute(ERROR, error)
        node.SetDataNodeAtValue(frame, value)
    _show(sequenceNode, node)
    return node


def frame_errors(sequenceNode) -> dict[str, str]:
    """Index value and error of the frames of a sequence of segmentations that failed."""
    nodes = {
        sequenceNode.GetNthIndexValue(n): sequenceNode.GetNthDataNode(n)
        for n in range(sequenceNode.GetNumberOfDataNodes())
    }
    return {value: node.GetAttribute(ERROR) for value, node in nodes.items() if node and node.GetAttribute(ERROR)}


def _show(sequenceNode, node):
    import slicer

    browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")
    browser = next((b for b in browsers if b.IsSynchronizedSequenceNode(sequenceNode, True)), None)
    if browser is None:
        name = f"{sequenceNode.GetName()} browser"
        browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", name)
        browser.SetAndObserveMasterSequenceNodeID(sequenceNode.GetID())
    browser.AddSynchronizedSequenceNode(node)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    volume, segmentation = browser.GetProxyNode(sequenceNode), browser.GetProxyNode(node)
    if volume is not None and segmentation is not None:
        segmentation.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
