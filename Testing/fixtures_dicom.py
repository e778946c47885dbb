"""Make small DICOM series for tests: classic objects, one file a slice, and enhanced multi-frame objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

AXIAL = (1, 0, 0, 0, 1, 0)
SECRETS = {"PatientName": "Doe^Jane", "PatientID": "ID-4711", "PatientBirthDate": "19700101"}


def write_series(
    folder: Path,
    array: np.ndarray,
    *,
    orientation=AXIAL,
    origin=(0.0, 0.0, 0.0),
    step=None,
    spacing=(3.0, 0.8, 0.5),
    positions=None,
    modality="MR",
    each=None,
    name="{:03d}.dcm",
    **tags,
) -> list[Path]:
    """Write (K, J, I) integers, one file a slice, in shuffled file order.

    ``spacing``: KJI mm. ``step``: from slice to slice in LPS mm (default: along the normal). ``positions``: instead
    of origin and step. ``each(index, dataset)``: changes a slice before it is written. ``tags``: for all slices.
    """
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(orientation[:3], orientation[3:])
    step = normal * spacing[0] if step is None else np.asarray(step, float)
    if positions is None:
        positions = [np.asarray(origin) + index * step for index in range(len(array))]
    series = tags.pop("SeriesInstanceUID", generate_uid())
    order = np.random.default_rng(0).permutation(len(array))
    paths = []
    for number, index in enumerate(order):
        dataset = _dataset(array[index], modality, series)
        dataset.ImageOrientationPatient = [float(value) for value in orientation]
        dataset.ImagePositionPatient = [round(float(value), 9) for value in positions[index]]
        dataset.PixelSpacing = [float(spacing[1]), float(spacing[2])]
        dataset.SliceThickness = float(spacing[0])
        dataset.InstanceNumber = int(index) + 1
        for tag, value in tags.items():
            setattr(dataset, tag, value)
        if each:
            each(int(index), dataset)
        path = folder / name.format(number)
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _dataset(pixels: np.ndarray, modality: str, series: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.SeriesInstanceUID, dataset.Modality = series, modality
    dataset.StudyInstanceUID = dataset.FrameOfReferenceUID = "1.2.3"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for tag, value in SECRETS.items():
        setattr(dataset, tag, value)
    _set_pixels(dataset, pixels)
    return dataset


def _set_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()


def write_enhanced(path: Path, array: np.ndarray, *, spacing=(3.0, 0.8, 0.5), slopes=None, times=1) -> Path:
    """Write (times * K, J, I) integers as one enhanced MR object with axial frames; ``slopes``: one per frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = _dataset(array, "MR", generate_uid())
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    dataset.NumberOfFrames = len(array)
    shared = Dataset()
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=[float(value) for value in AXIAL])]
    measures = _item(PixelSpacing=[spacing[1], spacing[2]], SliceThickness=spacing[0])
    shared.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    depth = len(array) // times
    for index in range(len(array)):
        frame = Dataset()
        frame.PlanePositionSequence = [_item(ImagePositionPatient=[1.0, 2.0, (index % depth) * spacing[0]])]
        frame.FrameContentSequence = [_item(TemporalPositionIndex=index // depth + 1)]
        slope = 1.0 if slopes is None else slopes[index]
        frame.PixelValueTransformationSequence = [
            _item(RescaleSlope=slope, RescaleIntercept=0.0, RescaleType="US"),
        ]
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _item(**tags) -> Dataset:
    dataset = Dataset()
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    return dataset


def write_segmentation_object(path: Path) -> Path:
    """Write the header of a DICOM SEG object: enough to be listed, too little to be read."""
    dataset = _dataset(np.zeros((4, 4), np.uint8), "SEG", generate_uid())
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.SegmentationStorage
    dataset.SeriesDescription = "Liver"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_seg(
    path: Path,
    frames,
    *,
    kind="BINARY",
    segments=None,
    orientation=AXIAL,
    spacing_ji=(0.8, 0.5),
    between=None,
    thickness=3.0,
    maximum=255,
    padding=None,
) -> Path:
    """Write a DICOM SEG as the standard says, by pydicom alone.

    ``frames``: (segment number, position in LPS mm, array (J, I)) in file order; LABELMAP ignores the number.
    ``segments``: number to a dict of further tags of its description; by default the numbers of the frames.
    ``between``: SpacingBetweenSlices, left out if None. ``maximum``: of FRACTIONAL. ``padding``: of LABELMAP.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.stack([np.asarray(array) for _, _, array in frames])
    stored = pixels.astype(np.uint16 if kind == "LABELMAP" and pixels.max() > 255 else np.uint8)
    dataset = _dataset(stored, "SEG", generate_uid())
    storage = "1.2.840.10008.5.1.4.1.1.66.7" if kind == "LABELMAP" else pydicom.uid.SegmentationStorage
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = storage
    dataset.NumberOfFrames, dataset.SegmentationType = len(frames), kind
    if kind == "BINARY":
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 1, 0
        data = np.packbits(stored.ravel(), bitorder="little").tobytes()
        dataset.PixelData = data + b"\0" * (len(data) % 2)
    if kind == "FRACTIONAL":
        dataset.SegmentationFractionalType, dataset.MaximumFractionalValue = "PROBABILITY", maximum
    if padding is not None:
        dataset.PixelPaddingValue = padding
    segments = {number: {} for number, _, _ in frames} if segments is None else segments
    dataset.SegmentSequence = [_segment(number, tags) for number, tags in segments.items()]
    measures = _item(PixelSpacing=list(spacing_ji), SliceThickness=thickness)
    if between is not None:
        measures.SpacingBetweenSlices = between
    shared = _item(PixelMeasuresSequence=[measures])
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=[float(value) for value in orientation])]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for number, position, _ in frames:
        frame = _item(PlanePositionSequence=[_item(ImagePositionPatient=[round(float(v), 9) for v in position])])
        if kind != "LABELMAP":
            frame.SegmentIdentificationSequence = [_item(ReferencedSegmentNumber=number)]
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _segment(number: int, tags: dict) -> Dataset:
    described = {
        "SegmentNumber": number,
        "SegmentLabel": f"segment {number}",
        "SegmentAlgorithmType": "MANUAL",
        "SegmentedPropertyCategoryCodeSequence": [code("SCT", "123037004", "Anatomical Structure")],
        "SegmentedPropertyTypeCodeSequence": [code("SCT", "10200004", "Liver")],
    }
    return _item(**{**described, **tags})


def code(scheme: str, value: str, meaning: str, **tags) -> Dataset:
    """An item of a code sequence."""
    return _item(CodingSchemeDesignator=scheme, CodeValue=value, CodeMeaning=meaning, **tags)
