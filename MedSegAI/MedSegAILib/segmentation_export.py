"""From a segmentation node to files in a folder, for people: named after the node, and no file is ever replaced."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from MedSegAICore import mrml
from MedSegAICore.errors import InputError, OutputError
from MedSegAICore.file_names import reserved, safe_name
from MedSegAICore.files import write_json, write_label_nifti
from MedSegAICore.image import LabelMap
from MedSegAICore.mrml_dicom import is_from_dicom

FORMATS = ("seg.nrrd", "nii.gz", "dcm")


def export_segmentation(
    logic, segmentationNode, folder, format: str, rtstruct: bool = False, deidentify: bool = False
) -> list[Path]:
    """See ``SegmentationLogic.exportSegmentation``, whose ``logic`` does the writing."""
    if format not in FORMATS:
        raise InputError(f"The format {format!r} does not exist; choose of {', '.join(FORMATS)}.")
    if segmentationNode.GetSegmentation().GetNumberOfSegments() == 0:
        raise InputError(
            f"The segmentation {segmentationNode.GetName()!r} has no segments, so there is nothing to write."
        )
    if format == "dcm" and (reason := dicom_problem(segmentationNode)):
        raise InputError(reason)
    endings = {
        "seg.nrrd": [".seg.nrrd"],
        "nii.gz": [".nii.gz", ".json"],
        "dcm": [".dcm", *(["_rtstruct.dcm"] if rtstruct else [])],
    }[format]
    with reserved(Path(folder), safe_name(segmentationNode.GetName() or ""), endings) as paths:
        if format == "seg.nrrd":
            logic.saveSegmentation(segmentationNode, paths[0])
        elif format == "nii.gz":
            _write_nifti(logic, segmentationNode, *paths)
        else:
            _write_dicom(logic, segmentationNode, paths[0], rtstruct=rtstruct, deidentify=deidentify)
    return paths


def reference_volume(segmentationNode):
    """The volume node that the segments were drawn or computed on, as the segmentation knows it; or None."""
    return segmentationNode.GetNodeReference(segmentationNode.GetReferenceImageGeometryReferenceRole())


def dicom_problem(segmentationNode) -> str:
    """A sentence that says why the segmentation cannot be written as DICOM; empty if it can."""
    volume = reference_volume(segmentationNode)
    if volume is None:
        return (
            f"DICOM SEG refers to the images that were segmented, but {segmentationNode.GetName()!r} does not say "
            "which volume they are. Choose its source volume in the Segment Editor, or another format."
        )
    if not is_from_dicom(volume):
        return (
            f"DICOM SEG refers to the images that were segmented, but {volume.GetName()!r} was not loaded from DICOM. "
            "Load them with the DICOM module, or choose another format."
        )
    return ""


def describe_segments(label_map: LabelMap) -> list[dict[str, Any]]:
    """What a file of label values cannot say of its segments."""
    volumes = label_map.volumes_ml()
    return [
        {"id": label.id, "name": label.name, "label": label.value, "volume_ml": volumes[label.id]}
        for label in label_map.labels
    ]


def _write_nifti(logic, segmentationNode, path: Path, sidecar: Path):
    label_map = mrml.label_map_from_segmentation(segmentationNode)
    if len(label_map.layers) > 1:
        raise OutputError(
            f"The segments of {segmentationNode.GetName()!r} overlap, but NIfTI has one value per voxel, so parts of "
            "them would be lost. Nothing was written. Choose .seg.nrrd."
        )
    provenance = logic.provenance(segmentationNode)
    write_label_nifti(path, label_map)
    write_json(sidecar, _sidecar(path.name, label_map, provenance))


def _sidecar(name: str, label_map: LabelMap, provenance: Mapping[str, Any]) -> dict[str, Any]:
    facts = {key: value for key, value in provenance.items() if key != "warnings"}
    return {
        "output": name,
        "segments": describe_segments(label_map),
        "warnings": list(provenance.get("warnings", ())),
        "provenance": facts,
    }


def _write_dicom(logic, segmentationNode, path: Path, **options):
    made_by_model = bool(logic.provenance(segmentationNode).get("model"))
    logic.exportDicomSeg(
        segmentationNode,
        reference_volume(segmentationNode),
        path,
        algorithmType=None if made_by_model else "MANUAL",
        **options,
    )
