"""Write segments as contours: a DICOM RT Structure Set (PS3.3 A.19) on the slices of the source series."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import numpy as np

from MedSegAICore import VERSION
from MedSegAICore.dicom_identity import new_uid
from MedSegAICore.dicom_source import PATIENT_AND_STUDY, SourceSeries, numbered_on_grid
from MedSegAICore.dicom_writing import (
    MANUFACTURER,
    NOTICE,
    PRODUCT,
    UTF8,
    Algorithm,
    check_segments,
    save,
    short,
)
from MedSegAICore.grid import LPS_FROM_RAS, Grid
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.outlines import outlines
from MedSegAICore.terminology import Code, Terms

_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management: what the sequence still asks for
_DECIMALS = 4  # of millimeters; decimal strings have 16 characters


def write_rtstruct(
    path: str | os.PathLike,
    label_map: LabelMap,
    source: SourceSeries,
    algorithm: Algorithm,
    *,
    by_segment: Mapping[str, Algorithm] | None = None,
    description: str = "",
    seed: str | None = None,
    time: datetime | None = None,
) -> None:
    """Write an RT Structure Set with a closed planar contour for each piece of each segment on each slice.

    Contours run along the edges of the voxels, so a program that takes the voxels whose centers they enclose gets the
    same voxels back, and areas are exact. Holes are joined to the outer contour by a keyhole. An empty segment becomes
    a structure without contours. Parameters as for ``write_dicom_seg``.

    Raises InputError without segments; GeometryError if they do not lie on the series; OutputError if the file cannot
    be written.
    """
    from scipy.ndimage import find_objects

    check_segments(label_map)
    layers = numbered_on_grid(label_map, source.grid)
    time = time or datetime.now()
    dataset = _structure_set(source, description, seed, time)
    sequences: tuple[list, list, list] = ([], [], [])
    boxes = [find_objects(layer, len(label_map.labels)) for layer in layers]  # tracing looks at every voxel it is given
    for number, label in enumerate(label_map.labels, start=1):
        box = boxes[label.layer][number - 1]
        contours = list(_contours(layers[label.layer], number, box, source)) if box else []
        made = (by_segment or {}).get(label.id, algorithm)
        for sequence, item in zip(sequences, _structure(number, label, contours, source, made), strict=True):
            sequence.append(item)
    dataset.StructureSetROISequence, dataset.ROIContourSequence, dataset.RTROIObservationsSequence = sequences
    save(dataset, path, source.deidentifier)


def _item(**attributes):
    from pydicom.dataset import Dataset

    item = Dataset()
    for name, value in attributes.items():
        setattr(item, name, value)
    return item


def _structure_set(source: SourceSeries, description: str, seed: str | None, time: datetime):
    """The data set without its structures: patient, study, series, equipment and the images that are referred to."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    first, date, clock = source.headers[0], time.strftime("%Y%m%d"), time.strftime("%H%M%S")
    dataset = _item(
        SpecificCharacterSet=UTF8,
        SOPClassUID=_CLASS,
        SOPInstanceUID=new_uid(seed, "structure set"),
        InstanceCreationDate=date,
        InstanceCreationTime=clock,
        Modality="RTSTRUCT",
        Manufacturer=MANUFACTURER,
        ManufacturerModelName=PRODUCT,
        SoftwareVersions=VERSION,
        SeriesInstanceUID=new_uid(seed, "structure series"),
        SeriesNumber=source.series_number + 1,
        SeriesDescription=short(description or "Structures"),
        OperatorsName="",
        InstanceNumber=1,
        StudyInstanceUID=first.StudyInstanceUID,
        FrameOfReferenceUID=first.FrameOfReferenceUID,
        PositionReferenceIndicator=str(first.get("PositionReferenceIndicator") or ""),
        StructureSetLabel="SEGMENTATION",
        StructureSetName=short(description or "Structures"),
        StructureSetDescription=NOTICE,
        StructureSetDate=date,
        StructureSetTime=clock,
        ApprovalStatus="UNAPPROVED",
    )
    for name in PATIENT_AND_STUDY:
        dataset[name] = first[name]
    dataset.ReferencedFrameOfReferenceSequence = [_referenced_frame(source)]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = _CLASS
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _referenced_frame(source: SourceSeries):
    first = source.headers[0]
    images = [_image(source, plane) for plane in range(len(source.planes))]
    series = _item(SeriesInstanceUID=first.SeriesInstanceUID, ContourImageSequence=images)
    study = _item(
        ReferencedSOPClassUID=_STUDY_CLASS,
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _image(source: SourceSeries, plane: int):
    index, frame = source.planes[plane]
    header = source.headers[index]
    item = _item(ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID)
    if source.is_multiframe:
        item.ReferencedFrameNumber = frame + 1
    return item


# ---- structures ----------------------------------------------------------------------------------------------------


def _structure(number: int, label: Label, contours: list, source: SourceSeries, algorithm: Algorithm) -> tuple:
    """The entries of one segment in the sequences of structures, of contours and of observations."""
    definition = _item(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=source.headers[0].FrameOfReferenceUID,
        ROIName=short(label.name) or f"Segment {number}",
        ROIGenerationAlgorithm=algorithm.type,
    )
    if algorithm.name:
        definition.ROIGenerationDescription = short(f"{algorithm.name} {algorithm.version}")
        if algorithm.sha256:
            definition.ROIDescription = f"weights_sha256={algorithm.sha256}"
    drawing = _item(ROIDisplayColor=[round(c * 255) for c in label.color], ReferencedROINumber=number)
    if contours:
        drawing.ContourSequence = contours
    observation = _item(
        ObservationNumber=number,
        ReferencedROINumber=number,
        ROIObservationLabel=short(label.name, 16),
        RTROIInterpretedType="",
        ROIInterpreter="",
        RTROIIdentificationCodeSequence=[_code(Terms.parse(label.terminology).type)],
    )
    return definition, drawing, observation


def _code(code: Code):
    name = "CodeValue" if len(code.value) <= 16 else "LongCodeValue"
    item = _item(CodingSchemeDesignator=short(code.scheme, 16), CodeMeaning=short(code.meaning) or code.value)
    setattr(item, name, code.value)
    return item


def _contours(layer: np.ndarray, number: int, box: tuple[slice, slice, slice], source: SourceSeries) -> Iterator:
    corner = [part.start for part in box]
    for plane, numbers in enumerate(layer[box], start=corner[0]):
        for polygon in outlines(numbers == number):
            points = contour_points(polygon + corner[1:], plane, source.grid)
            yield _item(
                ContourImageSequence=[_image(source, plane)],
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points),
                ContourData=_decimal_strings(points),
            )


def contour_points(polygon: np.ndarray, plane: int, grid: Grid) -> np.ndarray:
    """LPS millimeters (N, 3) of corners (N, 2) that ``outlines`` gave for a slice: half a voxel before its center."""
    indices = np.column_stack([polygon[:, 1] - 0.5, polygon[:, 0] - 0.5, np.full(len(polygon), plane)])
    return grid.ijk_to_ras_points(indices) @ LPS_FROM_RAS[:3, :3].T


def _decimal_strings(points: np.ndarray) -> Sequence[str]:
    return [f"{number:.{_DECIMALS}f}".rstrip("0").rstrip(".") for number in (points.ravel() + 0.0).tolist()]
