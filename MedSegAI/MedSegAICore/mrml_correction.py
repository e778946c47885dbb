"""The correction of a draft: a copy that a person edits, which knows its draft and where that came from.

The draft is never changed: only its display is switched. A correction refers to its draft by a node reference, so
that a scene restores the pair; if the draft is removed, the correction stays and its provenance still tells.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from typing import Any

import numpy as np

from MedSegAICore.errors import InputError
from MedSegAICore.image import LabelMap
from MedSegAICore.mrml import (
    PROVENANCE,
    grid_from_volume,
    label_map_from_segmentation,
    place_beside,
    provenance_of,
    reference_grid,
    with_voxels,
)

DRAFT = "MedSegAI.Draft"  # role of the reference from a correction to its draft
COLOR_TABLE = "labelmapConversionColorTableNode"  # Slicer's role of the label values that an export uses
OUTLINE = "MedSegAI.DraftOutline"  # attribute of the display node that shows a draft over its correction
OUTLINE_COLOR = (0.0, 1.0, 1.0)
OUTLINE_WIDTH = 1
NOTICE = "Research use only. Corrected by a person."  # in place of that of the draft, which nobody had reviewed


def start_correction(draftNode, name: str | None = None):
    """A new segmentation node to edit, equal to ``draftNode``, which is hidden and stays as it is.

    Segments keep id, name, color, terminology, status, tags, layers (so overlap) and visibility; the node gets the same
    parent transform, reference volume and place in the subject hierarchy. Surfaces are left out, because they would be
    computed again after every stroke; a draft that has only surfaces is converted to voxels. The provenance is that of
    the draft and says in ``correction`` that a person began to edit it, when, and the SHA-256 of the draft.

    Raises InputError if the node is no segmentation, has no segments or cannot be converted; GeometryError if there is
    no grid for its voxels.
    """
    if draftNode is None or not draftNode.IsA("vtkMRMLSegmentationNode"):
        raise InputError("Choose the segmentation to correct.")
    if not draftNode.GetSegmentation().GetNumberOfSegments():
        raise InputError(f"The segmentation {draftNode.GetName()!r} has no segments to correct.")
    segmentation, digest = _copy(draftNode), hash_of(label_map_from_segmentation(draftNode, allowCropping=True))
    scene = draftNode.GetScene()
    node = scene.AddNewNodeByClass(
        "vtkMRMLSegmentationNode", scene.GenerateUniqueName(name or f"{draftNode.GetName()} corrected")
    )
    modifying = node.StartModify()
    try:
        node.SetAndObserveSegmentation(segmentation)
        for role in (node.GetReferenceImageGeometryReferenceRole(), COLOR_TABLE):
            node.SetNodeReferenceID(role, draftNode.GetNodeReferenceID(role))
        node.SetNodeReferenceID(DRAFT, draftNode.GetID())
        for attribute in draftNode.GetAttributeNames():
            node.SetAttribute(attribute, draftNode.GetAttribute(attribute))
        _add_to_provenance(node, draft_sha256=digest, started_utc=_now())
        place_beside(node, draftNode)
        node.CreateDefaultDisplayNodes()
        draftNode.CreateDefaultDisplayNodes()
        node.GetDisplayNode().CopyContent(draftNode.GetDisplayNode())
        node.GetDisplayNode().SetVisibility(True)
    finally:
        node.EndModify(modifying)
    draftNode.SetDisplayVisibility(False)
    return node


def draft_of(node):
    """The draft that this segmentation corrects, if it is one and the draft is still in the scene."""
    return node.GetNodeReference(DRAFT) if node is not None else None


def corrections_of(draftNode) -> list:
    """The corrections of a draft that are in the scene, the oldest first."""
    import slicer

    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode", draftNode.GetScene())
    return [node for node in nodes if draft_of(node) is draftNode]


def is_draft(node) -> bool:
    """Whether a model made this segmentation and it is not a correction: whether to correct a copy of it."""
    return not _is_correction(node) and any("model" in provenance for provenance in _provenances(node))


def finish_correction(node):
    """Mark the segments as completed, except those that were flagged, and write the time into the provenance."""
    logic = _status_logic()
    _change_status(node, {logic.NotStarted: logic.Completed, logic.InProgress: logic.Completed})
    if _is_correction(node):
        _add_to_provenance(node, finished_utc=_now())


def resume_correction(node):
    """Show the node and hide its draft; completed segments of a correction are in progress again."""
    if _is_correction(node):
        logic = _status_logic()
        _change_status(node, {logic.Completed: logic.InProgress})
    node.CreateDefaultDisplayNodes()
    node.SetDisplayVisibility(True)
    if draft_of(node) is not None:
        draft_of(node).SetDisplayVisibility(False)


def new_segmentation(volumeNode):
    """A segmentation node with one empty segment, to be drawn on a volume from nothing.

    Raises InputError if the volume holds no voxels.
    """
    grid_from_volume(volumeNode)
    scene = volumeNode.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{volumeNode.GetName()} segmentation")
    set_volume_of(node, volumeNode)
    node.GetSegmentation().AddEmptySegment()
    node.CreateDefaultDisplayNodes()
    return node


def volume_of(node):
    """The volume on which a segmentation is drawn: the one it refers to, if that is still in the scene."""
    return node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())


def set_volume_of(node, volumeNode):
    """Say on which volume a segmentation is drawn. Only one without a segment is put on its voxels and moved to it.

    Raises InputError if the volume holds no voxels.
    """
    grid_from_volume(volumeNode)
    if node.GetSegmentation().GetNumberOfSegments():
        node.SetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole(), volumeNode.GetID())
        return
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    place_beside(node, volumeNode)


def segments_overlap(node) -> bool:
    """Whether a voxel belongs to several segments of the node."""
    import slicer

    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    if node.GetSegmentation().GetNumberOfLayers(binary) < 2:
        return False
    return len(label_map_from_segmentation(node, allowCropping=True).layers) > 1


def show_draft(node, visible: bool):
    """Show the outlines of the draft over its correction in one thin color, or hide them.

    A display node of its own does it: neither the colors of the segments nor how the draft looks by itself change.
    """
    draft = draft_of(node)
    outline = _outline(draft) if draft is not None else None
    if draft is None or (outline is None and not visible):
        return
    if outline is None:
        outline = draft.GetScene().AddNewNodeByClass("vtkMRMLSegmentationDisplayNode", f"{draft.GetName()} outline")
        draft.AddAndObserveDisplayNodeID(outline.GetID())
    modifying = outline.StartModify()
    outline.CopyContent(draft.GetDisplayNode())  # attributes too
    outline.SetAttribute(OUTLINE, "1")
    outline.SetVisibility2DFill(False)
    outline.SetVisibility2DOutline(True)
    outline.SetOpacity2DOutline(1.0)
    outline.SetVisibility3D(False)
    outline.SetSliceIntersectionThickness(OUTLINE_WIDTH)
    for identifier in draft.GetSegmentation().GetSegmentIDs():
        outline.SetSegmentVisibility2DOutline(identifier, True)
        outline.SetSegmentOpacity2DOutline(identifier, 1.0)
        outline.SetSegmentOverrideColor(identifier, *OUTLINE_COLOR)
    outline.SetVisibility(visible)
    outline.EndModify(modifying)


def is_draft_shown(node) -> bool:
    """Whether ``show_draft`` shows the outlines of the draft."""
    outline = _outline(draft_of(node)) if draft_of(node) is not None else None
    return outline is not None and bool(outline.GetVisibility())


def hash_of(labelMap: LabelMap) -> str:
    """SHA-256 of ids, label values, layers, grid (to a micrometer) and voxels: equal if nothing was edited."""
    labels = [(label.id, label.value, label.layer) for label in labelMap.labels]
    text = f"{labels} {labelMap.grid.shape} {(np.round(labelMap.grid.ijk_to_ras, 3) + 0.0).tolist()}"
    digest = hashlib.sha256(text.encode())
    for layer in labelMap.layers:
        digest.update(np.ascontiguousarray(layer, dtype="<u2"))
    return digest.hexdigest()


def _copy(draftNode):
    """The segmentation inside the node, with voxels and nothing else."""
    import slicer

    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    segmentation = slicer.vtkSegmentation()
    segmentation.DeepCopy(with_voxels(draftNode, reference_grid(draftNode)))
    segmentation.SetSourceRepresentationName(binary)
    names = []
    segmentation.GetContainedRepresentationNames(names)
    for name in names:
        if name != binary:
            segmentation.RemoveRepresentation(name)
    return segmentation


def _is_correction(node) -> bool:
    """Also after a model was run into it, which the provenance of the node then tells of, but not that of segments."""
    return any("correction" in provenance for provenance in _provenances(node))


def _provenances(node) -> list[dict[str, Any]]:
    """Of the node and of its segments."""
    return [json.loads(text) for text in (node.GetAttribute(PROVENANCE), *_tags(node).values()) if text]


def _add_to_provenance(node, **facts):
    """Write facts about the correction into the provenance of the node and of every segment that has one."""

    def with_facts(provenance: dict[str, Any]) -> str:
        provenance["correction"] = {**provenance.get("correction", {}), **facts}
        if "notice" in provenance and "finished_utc" in facts:
            provenance["notice"] = NOTICE
        return json.dumps(provenance, sort_keys=True)

    node.SetAttribute(PROVENANCE, with_facts(provenance_of(node)))
    for identifier, text in _tags(node).items():
        # "|" separates tags in .seg.nrrd; this is the same JSON without it.
        node.GetSegmentation().GetSegment(identifier).SetTag(
            PROVENANCE, with_facts(json.loads(text)).replace("|", "\\u007c")
        )


def _tags(node) -> dict[str, str]:
    """The provenance of the segments that have one, by their ids."""
    import vtk

    tags = {}
    for identifier in node.GetSegmentation().GetSegmentIDs():
        value = vtk.reference("")
        if node.GetSegmentation().GetSegment(identifier).GetTag(PROVENANCE, value):
            tags[identifier] = str(value)
    return tags


def _change_status(node, changes: dict[int, int]):
    logic, segmentation = _status_logic(), node.GetSegmentation()
    for identifier in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(identifier)
        status = logic.GetSegmentStatus(segment)
        logic.SetSegmentStatus(segment, changes.get(status, status))


def _status_logic():
    import slicer

    return slicer.vtkSlicerSegmentationsModuleLogic


def _outline(draftNode):
    """The display node that ``show_draft`` made, if there is one."""
    displays = [draftNode.GetNthDisplayNode(number) for number in range(draftNode.GetNumberOfDisplayNodes())]
    return next((display for display in displays if display is not None and display.GetAttribute(OUTLINE)), None)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
