"""The DICOM series that a segmentation was made on: its headers in slice order, and its segments slice by slice."""

from __future__ import annotations

import copy
import warnings as python_warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedSegAICore.dicom import DicomSeries
from MedSegAICore.dicom_identity import Deidentifier
from MedSegAICore.errors import GeometryError, InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import LabelMap
from MedSegAICore.orientation import Turn

# What DICOM wants to be present (type 2), even if it is empty.
PATIENT_AND_STUDY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_SEXES = ("M", "F", "O")


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """``headers``: pydicom datasets without voxels, one a file. ``planes``: (header, frame in its file) of each K.

    ``deidentifier``: what took the patient out of the headers and must mark what is written, or None.
    """

    grid: Grid
    headers: tuple
    planes: tuple[tuple[int, int], ...]
    deidentifier: Deidentifier | None = None

    @property
    def is_multiframe(self) -> bool:
        return len(self.headers) == 1 and int(self.headers[0].get("NumberOfFrames") or 1) > 1

    @property
    def series_number(self) -> int:
        """A number for a series derived from this one."""
        return 1000 + max(0, int(self.headers[0].get("SeriesNumber") or 0)) % 1_000_000


def open_source(series: DicomSeries, deidentifier: Deidentifier | None = None) -> SourceSeries:
    """Read the headers of a series again, whole, or without what identifies the patient.

    Raises InputError if the series is no image, has no place in a patient, or a file is gone or damaged.
    """
    if series.unusable:
        raise InputError(f"Series {series} is no image, so a segmentation cannot refer to it. Choose another series.")
    if any(part.position is None or part.axes is None for part in series.slices):
        raise InputError(f"Series {series} has no position in the patient, which DICOM segmentations need.")
    files = list(dict.fromkeys(part.file for part in series.slices))
    headers = [_header(file) for file in files]
    _check(series, headers)
    planes = tuple((files.index(part.file), part.frame) for part in series.slices)
    _straighten(headers)
    if deidentifier is not None:
        headers = [deidentifier.header(header) for header in headers]
    for header in headers:
        _complete(header)
    return SourceSeries(series.grid, tuple(headers), planes, deidentifier)


def _header(file: Path):
    import pydicom

    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")  # values that break the standard in tags that we only hand on
            header = pydicom.dcmread(file, stop_before_pixels=True)
            header.decode()  # texts become independent of the source's character set
            return header
    except FileNotFoundError as error:
        raise InputError(f"The source image {file} is gone. Give the folder of the DICOM series.") from error
    except Exception as error:
        raise InputError(f"{file} is damaged or truncated ({error}). Copy or export the series again.") from error


def _check(series: DicomSeries, headers: Sequence) -> None:
    for name in ("SOPInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        if not all(header.get(name) for header in headers):
            raise InputError(f"Series {series} has images without {name}, so a segmentation cannot refer to them.")
    if len({str(header.FrameOfReferenceUID) for header in headers}) > 1:
        raise InputError(f"The images of series {series} have different frames of reference. Choose another series.")
    several = [header for header in headers if int(header.get("NumberOfFrames") or 1) > 1]
    if several and (len(headers) > 1 or int(several[0].NumberOfFrames) != len(series.slices)):
        raise InputError(
            f"Series {series} is a part of a multi-frame file, or of several, to which we cannot write a segmentation. "
            "Export it as one file a slice."
        )


def _straighten(headers: Sequence) -> None:
    """Rounded orientations and spacings that differ in their last digits count as those of the first slice."""
    if len(headers) == 1:
        return
    for header in headers[1:]:
        for name in ("ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
            if name in headers[0]:
                header[name] = copy.copy(headers[0][name])


def _complete(header) -> None:
    for name in PATIENT_AND_STUDY:
        try:
            missing = header.get(name) is None
        except Exception:  # pydicom converts values when they are asked for
            missing = True
        if missing:
            setattr(header, name, "")
    if header.PatientSex not in _SEXES:
        header.PatientSex = ""


# ---- segments on the slices ----------------------------------------------------------------------------------------


def on_grid(label_map: LabelMap, grid: Grid) -> np.ndarray:
    """The layers (L, K, J, I) on another grid with the same voxels: turned, cropped or enlarged, never resampled.

    Raises GeometryError if the voxels of the two grids do not coincide, or segments lie outside ``grid``.
    """
    apart = GeometryError(
        f"The segments lie on {label_map.grid}, but the DICOM series on {grid}, and their voxels do not coincide. "
        "Choose the series that was segmented, or resample the segments to it first."
    )
    # How the label map's voxel axes run along those of the series: a permutation with signs, if voxels coincide.
    axes = (np.linalg.inv(grid.ijk_to_ras[:3, :3]) @ label_map.grid.ijk_to_ras[:3, :3])[::-1, ::-1]
    rounded = np.rint(axes)
    if not (np.abs(rounded).sum(0) == 1).all() or not (np.abs(rounded).sum(1) == 1).all():
        raise apart
    turn = Turn(
        tuple(int(axis) for axis in np.abs(rounded).argmax(1)),
        tuple(int(axis) for axis in np.flatnonzero(rounded.sum(1) < 0)),
    )
    turned, turned_grid = turn.array(label_map.layers), turn.grid(label_map.grid)
    offset = grid.offset_of(turned_grid)
    if offset is None:
        raise apart
    inside = tuple(
        slice(max(0, -start), max(0, min(extent, whole - start)))
        for start, extent, whole in zip(offset.tolist(), turned_grid.shape, grid.shape, strict=True)
    )
    kept = turned[(slice(None), *inside)]
    lost = _count(turned) - _count(kept)
    if lost:
        raise GeometryError(
            f"{lost} voxels of the segments lie outside the DICOM series ({grid}). Choose the series that was "
            "segmented, or cut the segments to it first."
        )
    layers = np.zeros((len(turned), *grid.shape), turned.dtype)
    place = tuple(
        slice(part.start + start, part.start + start + extent)
        for part, start, extent in zip(inside, offset.tolist(), kept.shape[1:], strict=True)
    )
    layers[(slice(None), *place)] = kept
    return layers


def numbered_on_grid(label_map: LabelMap, grid: Grid) -> np.ndarray:
    """As ``on_grid``, with the segments' numbers from 1 on, in the order of the labels, instead of their values."""
    layers = on_grid(label_map, grid)
    result = np.zeros(layers.shape, np.uint8 if len(label_map.labels) < 256 else np.uint16)
    for index, (layer, numbers) in enumerate(zip(layers, result, strict=True)):
        own = {label.value: n for n, label in enumerate(label_map.labels, start=1) if label.layer == index}
        if layer.dtype.itemsize > 2:  # a table of values up to billions would be large
            for value, number in own.items():
                numbers[layer == value] = number
            continue
        table = np.zeros(np.iinfo(layer.dtype).max + 1, result.dtype)
        table[list(own)] = list(own.values())
        for plane, out in zip(layer, numbers, strict=True):  # indexing makes 8 bytes of each voxel
            out[:] = table[plane]
    return result


def _count(layers: np.ndarray) -> int:
    return sum(int(np.count_nonzero(layer)) for layer in layers)
