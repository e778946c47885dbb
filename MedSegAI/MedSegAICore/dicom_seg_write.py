"""Write segments as a DICOM Segmentation object (BINARY) that refers to the images they were drawn on."""

from __future__ import annotations

import os
import warnings as python_warnings
from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np

from MedSegAICore import VERSION
from MedSegAICore.cielab import lab_from_rgb
from MedSegAICore.dicom_identity import new_uid
from MedSegAICore.dicom_source import SourceSeries, numbered_on_grid
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
from MedSegAICore.errors import DependencyError, InputError
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.terminology import Code, Terms


def write_dicom_seg(
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
    """Write a BINARY DICOM SEG: overlapping segments, names, colors, codes and ids are kept.

    The segments must lie on the voxels of ``source`` (turned or cropped ones are put in their place). A segment's id
    becomes its tracking id; a segment without codes is SCT 85756007 "Tissue", as in Slicer. ``description``: of the
    new series. Empty slices are left out, except the first and the last, so that every reader finds the whole grid.
    Segments in several layers take a byte of memory per voxel and segment while they are written.
    ``by_segment``: by segment id, how those were made to which ``algorithm`` does not apply.
    ``seed``, ``time``: the same give the same bytes; without them UIDs are new and the time is now.

    Raises DependencyError if highdicom is missing; InputError without segments; GeometryError if they do not lie on
    the series; OutputError if the file cannot be written.
    """
    require_highdicom()
    check_segments(label_map)
    pixels = _frames_of_file(_pixels(numbered_on_grid(label_map, source.grid), label_map.labels), source)
    marked = _mark_ends(pixels, source, len(label_map.labels))
    time = time or datetime.now()
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")  # about names and texts of the source, which we only hand on
            made = [(by_segment or {}).get(label.id, algorithm) for label in label_map.labels]
            descriptions = _descriptions(label_map.labels, made, seed)
            dataset = _segmentation(pixels, descriptions, source, description, seed, time)
    except (ValueError, TypeError, AttributeError, KeyError) as error:  # highdicom checks what it copies
        raise InputError(
            f"The headers of the DICOM series cannot be used for a segmentation ({type(error).__name__}: {error})."
        ) from error
    _finish(dataset, seed, time)
    _clear_marks(dataset, marked, len(label_map.labels))
    save(dataset, path, source.deidentifier)


def _segmentation(pixels, descriptions, source, description, seed, time):
    import highdicom

    return highdicom.seg.Segmentation(
        source_images=list(source.headers),
        pixel_array=pixels,
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=new_uid(seed, "series"),
        series_number=source.series_number,
        sop_instance_uid=new_uid(seed, "instance"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=PRODUCT,
        software_versions=VERSION,
        device_serial_number="0",  # it must not be empty
        content_label="SEGMENTATION",
        content_description=NOTICE,
        series_description=short(description or "Segmentation"),
        specific_character_set=UTF8,
        content_date=time.date(),
        content_time=time.time(),
    )


def require_highdicom():
    """The module highdicom. Raises DependencyError if it is not installed."""
    try:
        import highdicom
    except ImportError as error:
        raise DependencyError(
            "Writing DICOM SEG needs the Python package highdicom. Install it: pip install highdicom"
        ) from error
    return highdicom


# ---- segments ------------------------------------------------------------------------------------------------------


def _descriptions(labels: Sequence[Label], algorithms: Sequence[Algorithm], seed: str | None) -> list:
    made = zip(labels, algorithms, strict=True)
    return [_description(number, label, algorithm, seed) for number, (label, algorithm) in enumerate(made, start=1)]


def _description(number: int, label: Label, algorithm: Algorithm, seed: str | None):
    import highdicom

    terms = Terms.parse(label.terminology)
    description = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=short(label.name) or f"Segment {number}",
        segmented_property_category=_concept(terms.category),
        segmented_property_type=_concept(terms.type),
        algorithm_type=algorithm.type,
        algorithm_identification=_identification(algorithm) if algorithm.type != "MANUAL" else None,
        tracking_uid=new_uid(seed, f"segment {label.id}"),
        tracking_id=label.id,
        anatomic_regions=[_concept(terms.region)] if terms.region else None,
    )
    description.RecommendedDisplayCIELabValue = lab_from_rgb(label.color)
    if terms.type_modifier:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [_concept(terms.type_modifier)]
    if terms.region_modifier:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [_concept(terms.region_modifier)]
    return description


def _concept(code: Code):
    import highdicom

    return highdicom.sr.CodedConcept(code.value, short(code.scheme, 16), short(code.meaning) or code.value)


def _identification(algorithm: Algorithm):
    import highdicom
    from pydicom.sr.codedict import codes

    return highdicom.AlgorithmIdentificationSequence(
        name=short(algorithm.name),
        family=codes.cid7162.ArtificialIntelligence,
        version=short(algorithm.version) or "unknown",
        source=MANUFACTURER,
        parameters={"weights_sha256": algorithm.sha256} if algorithm.sha256 else None,
    )


# ---- voxels --------------------------------------------------------------------------------------------------------


def _pixels(layers: np.ndarray, labels: Sequence[Label]) -> np.ndarray:
    """Segment numbers (K, J, I), or if there are several layers a mask for each segment (K, J, I, segments)."""
    if len(layers) == 1:
        return layers[0]
    return np.stack([layers[label.layer] == number for number, label in enumerate(labels, start=1)], axis=-1)


def _frames_of_file(pixels: np.ndarray, source: SourceSeries) -> np.ndarray:
    """Planes in the order of the source's images: of K, but in a multi-frame file that of its frames."""
    if not source.is_multiframe:
        return pixels
    return pixels[np.argsort([frame for _, frame in source.planes])]


def _mark_ends(pixels: np.ndarray, source: SourceSeries, segments: int) -> list[int]:
    """Put the last voxel of an empty first and last plane into the last segment, or highdicom would leave them out.

    Returns the planes, in the order of ``pixels``. ``_clear_marks`` takes the voxels out again. It is the last segment,
    because GDCM, which Slicer and ITK read with, loses the last bits of a file whose voxels do not fill its last byte.
    """
    order = [frame for _, frame in source.planes] if source.is_multiframe else list(range(len(pixels)))
    marked = [plane for plane in {order[0], order[-1]} if not pixels[plane].any()]
    for plane in marked:
        pixels[plane].reshape(-1)[-1] = segments if pixels.ndim == 3 else True
    return marked


def _clear_marks(dataset, planes: Sequence[int], segments: int) -> None:
    """Clear the last bit of the frames that ``_mark_ends`` filled."""
    if not planes:
        return
    data = bytearray(dataset.PixelData)
    shared = dataset.SharedFunctionalGroupsSequence[0].get("SegmentIdentificationSequence")
    cleared = 0
    for index, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        segment = (shared or group.SegmentIdentificationSequence)[0].ReferencedSegmentNumber
        if segment == segments and _plane_of(group, dataset) in planes:
            bit = (index + 1) * dataset.Rows * dataset.Columns - 1  # frames follow each other without padding
            data[bit // 8] &= ~(1 << bit % 8) & 0xFF
            cleared += 1
    assert cleared == len(planes), "a mark was left in the voxels"
    dataset.PixelData = bytes(data)


def _plane_of(group, dataset) -> int:
    """Which source image a frame was made on, by its reference."""
    reference = group.DerivationImageSequence[0].SourceImageSequence[0]
    if "ReferencedFrameNumber" in reference:
        return int(reference.ReferencedFrameNumber) - 1
    uids = [
        str(item.ReferencedSOPInstanceUID) for item in dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    ]
    return uids.index(str(reference.ReferencedSOPInstanceUID))


def _finish(dataset, seed: str | None, time: datetime) -> None:
    """What highdicom decides by itself: its own UID of the dimensions, and the time of creation."""
    organization = new_uid(seed, "dimensions")
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = time.strftime("%Y%m%d"), time.strftime("%H%M%S")
    dataset.ContentTime = dataset.InstanceCreationTime
    dataset.SeriesDate, dataset.SeriesTime = dataset.InstanceCreationDate, dataset.InstanceCreationTime
    for item in dataset.get("ContributingEquipmentSequence", ()):
        if item.get("ManufacturerModelName") == "highdicom":  # the other one is the scanner
            item.ContributionDateTime = time.strftime("%Y%m%d%H%M%S")
