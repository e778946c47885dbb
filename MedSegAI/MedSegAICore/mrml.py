"""Nodes of a Slicer scene to Image and LabelMap, and back.

Every function works in the frame of the volume itself and leaves parent transforms alone: a result is put under the
same parent transform as its volume, so it lies on it exactly, whether that transform is linear or not. Nothing is
hardened, no temporary node enters the scene, and arrays are copies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from MedSegAICore.boxes import filled_box
from MedSegAICore.errors import GeometryError, InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, Label, LabelMap
from MedSegAICore.mrml_geometry import full_grid, grid_to_add, reference_grid  # noqa: F401
from MedSegAICore.mrml_images import (
    LayerPacker,
    array_from_matrix,
    matrix_from_array,
    oriented_image,
    resample_labels,
)

PROVENANCE = "MedSegAI.Provenance"  # attribute of the node and tag of every segment: the JSON of one run
STATUS_TAG = "Segmentation.Status"  # Slicer's: notstarted, inprogress, completed, flagged

# Slicer's Python interface cannot list the tags of a segment, so these are the ones that are read.
TAGS = (STATUS_TAG, PROVENANCE)


# ---- volumes -------------------------------------------------------------------------------------------------------


def grid_from_volume(volumeNode) -> Grid:
    """The grid of a volume node in its own frame, without its parent transforms.

    Raises InputError if the node is not a volume or holds no voxels.
    """
    import vtk

    if volumeNode is None:
        raise InputError("No volume is chosen. Load or choose a volume first.")
    if not volumeNode.IsA("vtkMRMLVolumeNode"):
        hint = " Choose the volume that shows its current frame." if volumeNode.IsA("vtkMRMLSequenceNode") else ""
        raise InputError(f"{volumeNode.GetName()!r} is a {volumeNode.GetClassName()}, not a volume.{hint}")
    data = volumeNode.GetImageData()
    if data is None or data.GetPointData().GetScalars() is None or 0 in data.GetDimensions():
        raise InputError(f"The volume {volumeNode.GetName()!r} holds no voxels. Load its image first.")
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return Grid(data.GetDimensions()[::-1], array_from_matrix(matrix))


def image_from_volume(volumeNode) -> Image:
    """The voxels of a volume node in its own frame; ``mrml_channels`` puts several together.

    A vector volume gives one channel per component. ``meta`` is that of ``meta_of_volume``.

    Raises InputError if there is no volume or no voxels.
    """
    import slicer

    grid = grid_from_volume(volumeNode)
    array = np.array(slicer.util.arrayFromVolume(volumeNode))  # a copy: the node's own array dies with the node
    array = np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None]
    return Image(array, grid, meta_of_volume(volumeNode))


def meta_of_volume(node) -> dict[str, Any]:
    """The file name (``source``) of a volume, and ``modality`` and ``series_description`` of a DICOM series."""
    import slicer

    storage = node.GetStorageNode()
    meta = {"source": re.split(r"[\\/]", storage.GetFileName())[-1]} if storage and storage.GetFileName() else {}
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene()) if node.GetScene() else None
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    modality = hierarchy.GetItemAttribute(item, "DICOM.Modality") if item else ""
    if modality:
        meta["modality"] = modality
        meta["series_description"] = re.sub(r"^\d+: ", "", node.GetName())  # Slicer names "<number>: <description>"
    return meta


def volume_node_from_image(image: Image, name: str = "Volume", volumeNode=None, show=None):
    """A new scalar volume node (a vector volume for several channels) with this image.

    ``volumeNode``: the volume that the image was computed from; the new one is put under the same parent transform and
    beside it in the subject hierarchy. ``show(displayNode)`` is called before there are voxels: a display that has its
    window and level need not look for them, which takes longer than anything else here.
    """
    import slicer

    several = image.channels > 1
    kind = "vtkMRMLVectorVolumeNode" if several else "vtkMRMLScalarVolumeNode"
    node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
    if show is not None:
        node.CreateDefaultDisplayNodes()
        show(node.GetDisplayNode())
    node.SetAndObserveImageData(_image_data(image.array))
    node.SetIJKToRASMatrix(matrix_from_array(image.grid.ijk_to_ras))
    node.CreateDefaultDisplayNodes()
    if volumeNode is not None:
        place_beside(node, volumeNode)
    return node


def _image_data(array: np.ndarray):
    """A vtkImageData with a copy of an array (channels, K, J, I). Slicer's ``updateVolumeFromArray`` takes 5 times as
    long, as the volume's display follows every step of it."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    values = np.ascontiguousarray(np.moveaxis(array, 0, -1)).reshape(-1, len(array))
    scalars = numpy_to_vtk(values, deep=True)
    scalars.SetName("ImageScalars")
    data = vtk.vtkImageData()
    data.SetDimensions(array.shape[:0:-1])
    data.GetPointData().SetScalars(scalars)
    return data


# ---- writing a segmentation ----------------------------------------------------------------------------------------


def segmentation_from_label_map(
    labelMap: LabelMap,
    volumeNode=None,
    name: str | None = None,
    node=None,
    provenance: Mapping[str, Any] | None = None,
    replace: bool = False,
):
    """Write a label map into a segmentation node: a new one, or ``node``.

    Ids, names, colors, terminology and overlap are kept; every layer becomes one shared label map, cropped to its
    content. With ``volumeNode`` (whose grid it must have) the node gets the same parent transform, that volume as
    reference geometry, and a place beside it in the subject hierarchy. Segments that ``node`` already holds stay: a
    new segment whose id is taken gets a unique one, unless ``replace`` says that it takes the old one's place; the
    reference geometry is extended to hold them and the new ones.
    ``provenance``: kept as JSON in an attribute of the node and a tag of every new segment, whose status becomes "in
    progress", because a draft waits for its review; what the node said before is kept in ``earlier``. A label in
    (0.5, 0.5, 0.5), Slicer's mark for "none", gets a color.

    Raises GeometryError if the grid is not that of ``volumeNode``, or ``node`` holds segments under another transform
    or on other voxels; InputError if ``node`` is no segmentation or stores surfaces, or a label value is too large.
    """
    import slicer

    if volumeNode is not None and not labelMap.grid.matches(grid_from_volume(volumeNode)):
        raise GeometryError(
            f"The segments lie on {labelMap.grid}, but the volume {volumeNode.GetName()!r} on "
            f"{grid_from_volume(volumeNode)}. Resample them to the volume first."
        )
    if any(label.value > 65535 for label in labelMap.labels):
        raise InputError("Slicer's segments can have label values up to 65535, but one has a larger value.")
    if node is None:
        default = f"{volumeNode.GetName()} segmentation" if volumeNode is not None else "Segmentation"
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name or default)
    elif name:
        node.SetName(name)
    check_target(node, volumeNode, labelMap.grid)
    modifying = node.StartModify()
    try:
        if node.GetSegmentation().GetNumberOfSegments() == 0:
            node.SetSourceRepresentationToBinaryLabelmap()
        node.CreateDefaultDisplayNodes()
        _set_reference_geometry(node, labelMap.grid, volumeNode)
        if volumeNode is not None:
            place_beside(node, volumeNode)
        tags = {}
        if provenance is not None:
            text = json.dumps(provenance, sort_keys=True, default=str)
            node.SetAttribute(PROVENANCE, _with_earlier(text, node))
            # "|" separates tags in .seg.nrrd; this is the same JSON without it.
            tags = {STATUS_TAG: "inprogress", PROVENANCE: text.replace("|", "\\u007c")}
        _add_layers(node.GetSegmentation(), labelMap, tags, replace)
    finally:
        node.EndModify(modifying)
    return node


def provenance_of(node) -> dict[str, Any]:
    """What a segmentation node says of the last run into it; {} if nothing.

    Slicer does not load attributes of nodes from a .seg.nrrd, but tags of segments; then it is what the newest says.
    """
    text = node.GetAttribute(PROVENANCE)
    if text:
        return json.loads(text)
    segmentation = node.GetSegmentation()
    tags = [dict(_tags(segmentation.GetSegment(one))) for one in segmentation.GetSegmentIDs()]
    found = [json.loads(own[PROVENANCE]) for own in tags if PROVENANCE in own]
    return max(found, key=lambda own: str(own.get("time_utc", "")), default={})


def _with_earlier(text: str, node) -> str:
    """The provenance of a run, with that of earlier ones, from which segments are in the node, in ``earlier``."""
    last = provenance_of(node) if node.GetSegmentation().GetNumberOfSegments() else {}
    if not last:
        return text
    earlier = [*last.pop("earlier", []), last]
    return json.dumps({**json.loads(text), "earlier": earlier}, sort_keys=True)


def check_target(node, volumeNode, grid: Grid | None = None):
    """Raise InputError or GeometryError if segments of ``volumeNode`` cannot be added to this node.

    ``grid``: their voxels; None takes the volume's.
    """
    import slicer

    if not node.IsA("vtkMRMLSegmentationNode"):
        raise InputError(f"The output must be a segmentation, but {node.GetName()!r} is a {node.GetClassName()}.")
    segmentation = node.GetSegmentation()
    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    if segmentation.GetNumberOfSegments() == 0:
        return
    if segmentation.GetSourceRepresentationName() != binary:
        raise InputError(
            f"The segmentation {node.GetName()!r} stores its segments as {segmentation.GetSourceRepresentationName()}, "
            "but voxels are to be added. Choose a new output segmentation."
        )
    if volumeNode is not None and node.GetParentTransformNode() is not volumeNode.GetParentTransformNode():
        raise GeometryError(
            f"The segmentation {node.GetName()!r} already holds segments and is under another transform "
            f"({_transform_name(node)}) than the volume {volumeNode.GetName()!r} ({_transform_name(volumeNode)}): "
            "moving it would displace them. Choose a new output segmentation."
        )
    grid = grid if grid is not None else grid_from_volume(volumeNode)
    if grid_to_add(node, grid) is None:
        raise GeometryError(
            f"The segmentation {node.GetName()!r} already holds segments on other voxels than {grid}. One segmentation "
            "can be saved on one grid only, so they would be resampled. Choose a new output segmentation."
        )


def _set_reference_geometry(node, grid: Grid, volumeNode):
    import slicer

    whole, role = grid_to_add(node, grid), node.GetReferenceImageGeometryReferenceRole()
    if volumeNode is not None and whole.matches(grid):
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)  # geometry, and the reference to the volume
        return
    if volumeNode is not None and node.GetNodeReference(role) is None:
        node.SetNodeReferenceID(role, volumeNode.GetID())
    converter = slicer.vtkSegmentationConverter
    geometry = converter.SerializeImageGeometry(oriented_image(whole))
    node.GetSegmentation().SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), geometry)


def place_beside(node, volumeNode):
    """Give a node the parent transform and the parent in the subject hierarchy (study, folder) of another one.

    DICOM export needs the study.
    """
    import slicer

    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volumeNode.GetScene())
    volumeItem = hierarchy.GetItemByDataNode(volumeNode) if hierarchy else 0
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    if item and volumeItem:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(volumeItem))


def _add_layers(segmentation, labelMap: LabelMap, tags: Mapping[str, str], replace: bool):
    import slicer

    dtype = np.uint8 if all(label.value <= 255 for label in labelMap.labels) else np.uint16
    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    layers = {label.layer: None for label in labelMap.labels}
    for number in layers:
        box = filled_box(labelMap.layers[number])
        if not box[0].stop:
            box = (slice(0, 1),) * 3  # Slicer wants a voxel where there is nothing
        cropped = labelMap.layers[number][box]
        layers[number] = oriented_image(labelMap.grid, cropped.astype(dtype), [part.start for part in box])
    for label in labelMap.labels:
        segment = slicer.vtkSegment()
        segment.SetName(label.name)
        segment.SetColor(*label.color)
        if label.terminology:
            segment.SetTag(segment.GetTerminologyEntryTagName(), label.terminology)
        for tag, value in {**tags, **dict(label.tags)}.items():
            segment.SetTag(tag, value)
        segment.AddRepresentation(binary, layers[label.layer])
        segment.SetLabelValue(label.value)
        _add_segment(segmentation, segment, label.id, replace)


def _add_segment(segmentation, segment, identifier: str, replace: bool):
    before = ""
    if replace and segmentation.GetSegment(identifier):
        following = segmentation.GetSegmentIndex(identifier) + 1
        before = segmentation.GetNthSegmentID(following) if following < segmentation.GetNumberOfSegments() else ""
        segmentation.RemoveSegment(identifier)
    unique = segmentation.GenerateUniqueSegmentID(identifier)
    if not segmentation.AddSegment(segment, unique, before):
        raise InputError(f"Slicer refused to add the segment {identifier!r}.")


# ---- reading a segmentation ----------------------------------------------------------------------------------------


def label_map_from_segmentation(segmentationNode, referenceVolume=None, allowCropping: bool = False) -> LabelMap:
    """All segments of a segmentation node, hidden ones too, on one explicit grid.

    The grid is that of ``referenceVolume`` in its own frame, else the segmentation's ``full_grid``, on which nothing is
    lost. Voxels are copied where the grids agree and taken by nearest neighbor where they do not; parent transforms of
    both nodes are honored. Segments that do not overlap share a layer; overlapping ones get layers of their own. A
    segment keeps its label value unless another one of its layer has it already.

    Raises InputError if the node is not a segmentation; GeometryError if there is no grid to put the segments on, or a
    segment lies partly outside it and ``allowCropping`` is not set.
    """
    if segmentationNode is None or not segmentationNode.IsA("vtkMRMLSegmentationNode"):
        what = "nothing" if segmentationNode is None else repr(segmentationNode.GetName())
        raise InputError(f"A segmentation is needed, but {what} was given.")
    grid = grid_from_volume(referenceVolume) if referenceVolume is not None else full_grid(segmentationNode)
    transform = _transform_between(segmentationNode, referenceVolume) if referenceVolume is not None else None
    segmentation = with_voxels(segmentationNode, grid)
    packer = LayerPacker(grid)
    for image, labels in segment_layers(segmentation):
        placed, lost = resample_labels(image, [label.value for label in labels], grid, transform)
        if lost and not allowCropping:
            raise GeometryError(
                f"{lost} voxels of the segmentation {segmentationNode.GetName()!r} lie outside {grid}. Choose a "
                "reference volume that contains all segments."
            )
        packer.add(placed, labels)
    return packer.label_map([segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())])


def _transform_between(node, reference):
    """The transform from one node's frame to another's, or None if they share their parent transform."""
    import slicer
    import vtk

    source, target = node.GetParentTransformNode(), reference.GetParentTransformNode()
    if source is target:
        return None
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, transform)
    return transform


def with_voxels(segmentationNode, grid: Grid):
    """The node's segmentation, or a copy converted to voxels if it holds only surfaces."""
    import slicer

    segmentation, converter = segmentationNode.GetSegmentation(), slicer.vtkSegmentationConverter
    binary = converter.GetSegmentationBinaryLabelmapRepresentationName()
    if segmentation.GetNumberOfSegments() == 0 or segmentation.ContainsRepresentation(binary):
        return segmentation
    copy = slicer.vtkSegmentation()
    copy.DeepCopy(segmentation)
    geometry = converter.SerializeImageGeometry(oriented_image(grid))
    copy.SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), geometry)
    if not copy.CreateRepresentation(binary):
        raise InputError(f"Slicer could not convert the surfaces of {segmentationNode.GetName()!r} to voxels.")
    return copy


def segment_layers(segmentation):
    """The shared label maps of a segmentation, each with its labels."""
    import slicer

    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    unspecified = slicer.vtkSegment().GetTerminology()  # what Slicer gives to segments without terminology: "Tissue"
    for number in range(segmentation.GetNumberOfLayers(binary)):
        labels = []
        for identifier in segmentation.GetSegmentIDsForLayer(number, binary):
            segment = segmentation.GetSegment(identifier)
            terminology = segment.GetTerminology()
            labels.append(
                Label(
                    value=segment.GetLabelValue(),
                    id=identifier,
                    name=segment.GetName(),
                    color=tuple(segment.GetColor()),
                    terminology="" if terminology == unspecified else terminology,
                    tags=_tags(segment),
                )
            )
        yield segmentation.GetLayerDataObject(number, binary), labels


def _tags(segment) -> tuple[tuple[str, str], ...]:
    import vtk

    tags = []
    for tag in TAGS:
        value = vtk.reference("")
        if segment.GetTag(tag, value) and str(value):
            tags.append((tag, str(value)))
    return tuple(tags)


def _transform_name(node) -> str:
    parent = node.GetParentTransformNode()
    return repr(parent.GetName()) if parent is not None else "no transform"
