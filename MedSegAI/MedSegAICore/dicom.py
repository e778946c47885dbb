"""Find the image series in a folder of DICOM files and read one of them as a volume."""

from __future__ import annotations

import os
import warnings as python_warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from MedSegAICore.dicom_stack import Slice, Stack, slices_of, split_into_stacks
from MedSegAICore.errors import DependencyError, InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image

# Objects with voxels or without that are not intensities to segment.
_NOT_IMAGES = {
    "SEG": "a segmentation (DICOM SEG)",
    "RTSTRUCT": "a set of contours (RT structure set)",
    "RTDOSE": "a dose distribution (RT dose)",
    "RTPLAN": "a treatment plan (RT plan)",
    "SR": "a structured report",
    "KO": "a key object selection",
    "PR": "a presentation state",
    "REG": "a registration",
    "DOC": "a document",
}
# What meta says about the acquisition. Nothing here identifies a patient.
_FACTS = {
    "modality": "Modality",
    "series_description": "SeriesDescription",
    "series_number": "SeriesNumber",
    "protocol": "ProtocolName",
    "body_part": "BodyPartExamined",
    "manufacturer": "Manufacturer",
    "scanner": "ManufacturerModelName",
    "field_strength_t": "MagneticFieldStrength",
    "sequence": "SequenceName",
    "echo_time_ms": "EchoTime",
    "repetition_time_ms": "RepetitionTime",
    "inversion_time_ms": "InversionTime",
    "flip_angle_deg": "FlipAngle",
    "tube_voltage_kv": "KVP",
    "kernel": "ConvolutionKernel",
    "contrast_agent": "ContrastBolusAgent",
    "slice_thickness_mm": "SliceThickness",
}
_TAGS = (
    *_FACTS.values(),
    *(
        "SOPClassUID",
        "SOPInstanceUID",
        "SeriesInstanceUID",
        "StudyInstanceUID",
        "InstanceNumber",
        "ImageType",
        "NumberOfFrames",
    ),
    *("Rows", "Columns", "SamplesPerPixel", "PixelSpacing", "ImagerPixelSpacing", "SpacingBetweenSlices"),
    *("ImageOrientationPatient", "ImagePositionPatient", "AcquisitionNumber", "AcquisitionTime", "ContentTime"),
    *("EchoNumbers", "TemporalPositionIdentifier", "TriggerTime", "DiffusionBValue"),
    *("RescaleSlope", "RescaleIntercept"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)


@dataclass(frozen=True)
class DicomSeries:
    """One volume that a folder of DICOM files holds; a series with several orientations or echoes gives several.

    ``uid``, ``study``: SeriesInstanceUID and StudyInstanceUID. ``files``: without repetition, in slice order.
    ``part``: what tells apart the volumes of one series, or empty. ``problems``: what is odd about it, as sentences.
    ``unusable``: why it cannot be read as an image, or empty; ``grid`` is then None. ``facts``: about the acquisition,
    as in ``Image.meta``.
    """

    uid: str
    files: tuple[Path, ...]
    facts: Mapping[str, Any]
    grid: Grid | None = None
    part: str = ""
    problems: tuple[str, ...] = ()
    unusable: str = ""
    slices: tuple[Slice, ...] = field(default=(), repr=False)
    study: str = ""

    @property
    def number(self) -> int | None:
        return self.facts.get("series_number")

    @property
    def modality(self) -> str:
        return self.facts.get("modality", "")

    @property
    def description(self) -> str:
        return self.facts.get("series_description", "")

    @property
    def shape_kji(self) -> tuple[int, int, int] | None:
        return self.grid.shape if self.grid else None

    @property
    def spacing_kji(self) -> tuple[float, float, float] | None:
        return self.grid.spacing_kji if self.grid else None

    def __str__(self) -> str:
        """One line for a list: number, description, modality, size, and why it cannot be used."""
        size = repr(self.grid)[5:-1] if self.grid else f"{len(self.files)} file(s)"
        words = [
            "-" if self.number is None else str(self.number),
            self.description or "(no description)",
            self.part and f"[{self.part}]",
            self.modality,
            size,
            self.unusable and f"not usable: {self.unusable}",
        ]
        return "  ".join(word for word in words if word)


def find_series(source: str | os.PathLike | Sequence[str | os.PathLike]) -> list[DicomSeries]:
    """The volumes in a folder (with its subfolders), in a list of files, or around one DICOM file.

    Only headers are read. Objects that are not images are listed too, with the reason in ``unusable``. The order is
    by series number, description and UID.

    Raises InputError if the path does not exist; DependencyError if pydicom is not installed.
    """
    groups: dict[tuple[str, str], list] = defaultdict(list)
    damaged: dict[Path, list[str]] = defaultdict(list)
    for path in _files(source):
        header = _header(path, damaged)
        if header is not None:
            groups[str(header.get("StudyInstanceUID", "")), str(header.SeriesInstanceUID)].append((path, header))
    found = [
        replace(series, study=study)
        for (study, uid), files in groups.items()
        for series in _series(uid, files, damaged)
    ]
    return sorted(found, key=lambda s: (s.number is None, s.number or 0, s.description, s.uid, s.part))


def only_image_series(found: Sequence[DicomSeries], source) -> DicomSeries:
    """The one usable series of ``found``, or of one file the one that holds it.

    Raises InputError, which lists what was found, if there is none or more than one.
    """
    name = source if isinstance(source, (str, os.PathLike)) else f"the list of {len(source)} files"
    if not found:
        raise InputError(f"{name} holds no DICOM files. Give a DICOM folder, or a NIfTI, NRRD or MetaImage file.")
    if isinstance(source, (str, os.PathLike)) and Path(source).is_file():
        found = [series for series in found if Path(source) in series.files]
        if not found:
            raise InputError(f"{name} is a DICOM file with a damaged header. Copy or export it again.")
    usable = [series for series in found if not series.unusable]
    if len(usable) == 1:
        return usable[0]
    listed = "".join(f"\n  {series}" for series in found)
    if usable:
        raise InputError(
            f"{name} holds {len(usable)} image series; choose one and give its folder or its files:{listed}"
        )
    raise InputError(f"{name} holds no DICOM series that can be used as an image:{listed}")


def read_series(series: DicomSeries) -> Image:
    """The volume of a series: (1, K, J, I) with rescale slope and intercept applied, K along the slice normal.

    Raises InputError if the series is unusable or a file is damaged.
    """
    if series.unusable:
        raise InputError(f"Series {series} cannot be read as an image. Choose another series.")
    frames: list[np.ndarray] = [None] * len(series.slices)
    places: dict[Path, list[int]] = defaultdict(list)
    for index, part in enumerate(series.slices):
        places[part.file].append(index)
    for file, indices in places.items():
        stored = _frames(file)
        for index in indices:
            frames[index] = stored(series.slices[index])
    array = np.stack([frame.astype(np.result_type(*frames), copy=False) for frame in frames])[None]
    source = series.files[0].parent.name if len(series.files) > 1 else series.files[0].name
    return Image(array, series.grid, {"source": source, **series.facts, "warnings": series.problems})


def _files(source) -> Iterator[Path]:
    if not isinstance(source, (str, os.PathLike)):
        yield from map(Path, source)
        return
    path = Path(source)
    if not path.exists():
        raise InputError(f"There is no file or folder {path}. Check the spelling of the path.")
    if path.is_file():
        yield from sorted(other for other in path.parent.iterdir() if other.is_file())
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names))


def _pydicom():
    try:
        import pydicom
    except ImportError as error:
        raise DependencyError("Reading DICOM needs the Python package pydicom. Install it: pip install pydicom") from (
            error
        )
    return pydicom


def _header(path: Path, damaged: dict[Path, list[str]]):
    """The header of a DICOM file without pixels; None for other files. What is damaged is noted by folder."""
    pydicom = _pydicom()
    try:
        with open(path, "rb") as file:
            if file.read(132)[128:] != b"DICM":
                return None
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")  # about values that break the standard in tags that we do not use
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
            _forget_invalid_values(header)
    except Exception:
        header = {}
    if header.get("SeriesInstanceUID"):
        return header
    if path.name.upper() != "DICOMDIR":  # the directory of a DICOM disc belongs to no series
        damaged[path.parent].append(path.name)
    return None


def _forget_invalid_values(header) -> None:
    """pydicom converts values when they are asked for; one that breaks the standard must not surprise us later."""
    for tag in list(header.keys()):
        try:
            header[tag]
        except Exception:
            del header[tag]


def _series(uid: str, files: list, damaged: dict[Path, list[str]]) -> list[DicomSeries]:
    """The volumes of the files of one SeriesInstanceUID."""
    first = files[0][1]
    facts = {name: value for name, tag in _FACTS.items() if (value := _plain(first, tag)) not in (None, "")}
    paths = tuple(path for path, _ in files)
    unusable = _why_not_an_image(first)
    if unusable:
        return [DicomSeries(uid, paths, facts, unusable=unusable)]
    slices: list[Slice] = []
    for path, header in files:
        try:
            slices.extend(slices_of(path, header))
        except (ValueError, TypeError, AttributeError):  # a required number is missing or no number
            damaged[path.parent].append(path.name)
    broken = sorted({name for folder in {path.parent for path in paths} for name in damaged.get(folder, ())})
    problems = ()
    if broken:
        problems = (f"{len(broken)} file(s) beside it are damaged and were left out: {', '.join(broken[:5])}.",)
    if not slices:
        return [DicomSeries(uid, paths, facts, problems=problems, unusable="its files are damaged")]
    return [_of_stack(uid, facts, stack, problems) for stack in split_into_stacks(slices)]


def _of_stack(uid: str, facts: Mapping[str, Any], stack: Stack, problems: tuple[str, ...]) -> DicomSeries:
    files = tuple(dict.fromkeys(part.file for part in stack.slices))
    return DicomSeries(
        uid, files, facts, stack.grid, stack.part, problems + stack.problems, stack.unusable, tuple(stack.slices)
    )


def _why_not_an_image(header) -> str:
    modality = _plain(header, "Modality")
    if modality in _NOT_IMAGES:
        return f"it is {_NOT_IMAGES[modality]}, not an image"
    if not header.get("Rows") or not header.get("Columns"):
        return "it has no voxels"
    if (_plain(header, "SamplesPerPixel") or 1) > 1:
        return "it holds colors, but one number per voxel is needed"
    return ""


def _plain(header, tag: str):
    """The value of a tag as str, int or float (a list joined by ``\\``), or None if missing or invalid."""
    value = header.get(tag)
    if value is None or isinstance(value, (int, float)):
        return None if value is None else float(value) if isinstance(value, float) else int(value)
    if isinstance(value, str):
        return str(value).strip()
    try:
        return "\\".join(map(str, value))
    except TypeError:
        return str(value)


def _frames(file: Path):
    """A function from a slice of this file to its voxels (J, I), rescaled."""
    pydicom = _pydicom()
    try:
        dataset = pydicom.dcmread(file)
        if dataset.file_meta.TransferSyntaxUID.is_compressed:
            return _compressed_frames(file)
        stored = dataset.pixel_array
    except Exception as error:  # pydicom raises AttributeError, ValueError, … depending on where the damage is
        raise InputError(f"{file} is damaged or truncated ({error}). Copy or export the series again.") from error
    stored = stored.reshape(-1, *stored.shape[-2:])
    return lambda part: _rescaled(stored[part.frame], part.slope, part.intercept)


def _compressed_frames(file: Path):
    """GDCM decodes what pydicom needs optional packages for; it applies slope and intercept itself."""
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
    array = array.reshape(-1, *array.shape[-2:])
    return lambda part: array[part.frame]


def _rescaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    if (slope, intercept) == (1, 0):
        return stored
    if slope.is_integer() and intercept.is_integer():
        values = stored.astype(np.int64) * int(slope) + int(intercept)
        fits = values.min() >= -32768 and values.max() <= 32767
        return values.astype(np.int16 if fits else np.int32)
    return (stored.astype(np.float64) * slope + intercept).astype(np.float32)
