"""Read and write images, label maps and segmentations as files.

Reading keeps the voxels as they are stored and the geometry exactly; writing is atomic, and the same input gives the
same bytes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from MedSegAICore.atomic import atomic_path, suffix_of
from MedSegAICore.errors import InputError, OutputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, LabelMap
from MedSegAICore.nifti import read_nifti, write_nifti
from MedSegAICore.nrrd import write_nrrd
from MedSegAICore.seg_nrrd import labels_of, metadata_of, plain_labels, segmentation_fields

__all__ = [
    "atomic_path",
    "read_image",
    "read_label_map",
    "read_metadata",
    "write_image",
    "write_json",
    "write_label_nifti",
    "write_segmentation",
]

NIFTI_SUFFIXES = (".nii", ".nii.gz")
ITK_SUFFIXES = (".nrrd", ".seg.nrrd", ".nhdr", ".mha", ".mhd")
IMAGE_SUFFIXES = (*NIFTI_SUFFIXES, *ITK_SUFFIXES)

_LABEL_INTENT = 1002  # NIFTI_INTENT_LABEL
_COLOR_KINDS = ("RGB-color", "RGBA-color", "HSV-color", "XYZ-color")
# Measured on 512 x 512 x 200 voxels. Labels: level 3 is as fast as 1 with two thirds of the size; zlib's default 6
# takes three times as long. CT: noise does not compress, so level 6 takes three times as long for 2 % of the size.
_LABEL_LEVEL = 3
_IMAGE_LEVEL = 1


def read_image(path: str | os.PathLike | Sequence[str | os.PathLike]) -> Image:
    """Read an image: NIfTI, NRRD, MetaImage, or DICOM (a folder with one image series, one of its files, or a list).

    A 2-D image has K = 1; time points and vector components become channels. ``meta`` has ``source`` (the file or
    folder name), ``warnings`` (a tuple of sentences), and for DICOM ``modality``, ``series_description`` and other
    facts about the acquisition; never facts about the patient.

    Raises InputError if the file is missing, damaged, of another kind, holds colors or complex values, or if a DICOM
    folder holds no or several image series; GeometryError if the geometry is not usable.
    """
    if not isinstance(path, (str, os.PathLike)):
        return _read_dicom(list(path))
    path = Path(path)
    with _system_errors_named(path):
        if _is_dicom(path):
            return _read_dicom(path)
        array, grid, _, warnings = _read_file(path)
    return Image(array, grid, {"source": path.name, "warnings": warnings})


def read_label_map(path: str | os.PathLike) -> LabelMap:
    """Read segments: a ``.seg.nrrd`` of 3D Slicer, a DICOM SEG (the file, or a folder that holds one; see
    ``read_dicom_seg``), or any image of whole numbers, DICOM too (a label per value).

    Raises InputError if the file cannot be read or holds fractions or negative numbers; GeometryError if the geometry
    is not usable.
    """
    path = Path(path)
    fields: dict[str, str] = {}
    with _system_errors_named(path):
        if _is_dicom(path):
            if (segmentation := _dicom_seg_at(path)) is not None:
                from MedSegAICore.dicom_seg import read_dicom_seg

                return read_dicom_seg(segmentation)
            image = _read_dicom(path)
            array, grid = image.array, image.grid
        else:
            array, grid, fields, _ = _read_file(path)
    array = _as_labels(array, path)
    try:
        labels = labels_of(fields)
        if not labels:
            if array.shape[0] > 1:
                raise InputError(f"it has {array.shape[0]} channels and says nothing about segments")
            labels = plain_labels(array)
        return LabelMap(array if array.shape[0] > 1 else array[0], grid, labels)
    except InputError as error:
        raise InputError(f"{path} is not a usable segmentation: {error}") from error


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """The custom fields of a segmentation file: what ``write_segmentation`` got as ``metadata``.

    After 3D Slicer saved the file again they survive only as segment tags, from which they are taken then.
    Raises InputError if the file cannot be read.
    """
    path = Path(path)
    if suffix_of(path) not in ITK_SUFFIXES:
        return {}
    _require_file(path)
    fields = _itk_fields(_itk_reader(path))
    tags = {key: value for label in labels_of(fields) for key, value in label.tags}
    return metadata_of(fields) or {k: v for k, v in tags.items() if not k.startswith("Segmentation.")}


def write_segmentation(path: str | os.PathLike, label_map: LabelMap, metadata: Mapping[str, str] | None = None) -> None:
    """Write ``.seg.nrrd`` as 3D Slicer does: names, ids, colors, terminology, tags and overlap are kept.

    ``metadata``: further texts, for example the provenance as JSON; ``read_metadata`` gives them back.
    Raises OutputError if the file cannot be written.
    """
    path = Path(path)
    if suffix_of(path) != ".seg.nrrd":
        raise OutputError(f"A segmentation file must end with .seg.nrrd, but the path is {path}. Change the name.")
    fields = segmentation_fields(label_map, metadata or {})
    with atomic_path(path) as temporary:
        write_nrrd(temporary, _compact(label_map.layers), label_map.grid, fields, level=_LABEL_LEVEL)


def write_label_nifti(path: str | os.PathLike, label_map: LabelMap) -> None:
    """Write one value per voxel as ``.nii.gz`` or ``.nii``; names, ids and colors are not stored in this format.

    Raises OutputError if segments overlap or share a value, or if the file cannot be written.
    """
    path = Path(path)
    if suffix_of(path) not in NIFTI_SUFFIXES:
        raise OutputError(f"A NIfTI file must end with .nii.gz or .nii, but the path is {path}. Change the name.")
    array = _compact(_flattened(label_map, path)[None])
    with atomic_path(path) as temporary:
        write_nifti(temporary, array, label_map.grid, intent=_LABEL_INTENT, level=_LABEL_LEVEL)


def write_image(path: str | os.PathLike, image: Image) -> None:
    """Write NIfTI (``.nii.gz``, ``.nii``) or NRRD (``.nrrd``); several channels become a fourth dimension.

    Nothing of ``image.meta`` is stored. Raises OutputError if the suffix is another or the file cannot be written.
    """
    path, suffix = Path(path), suffix_of(path)
    array = image.array
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:  # neither format has it
        array = array.astype(np.float32)
    if suffix not in (*NIFTI_SUFFIXES, ".nrrd"):
        raise OutputError(f"An image is written as .nii.gz, .nii or .nrrd, but the path is {path}. Change the name.")
    with atomic_path(path) as temporary:
        if suffix == ".nrrd":
            write_nrrd(temporary, array, image.grid, {}, kind="vector", level=_IMAGE_LEVEL)
        else:
            write_nifti(temporary, array, image.grid, level=_IMAGE_LEVEL)


def write_json(path: str | os.PathLike, data: Any) -> None:
    """Write ``data`` as readable JSON in UTF-8. Raises OutputError if it cannot be written.

    NaN and infinity, which JSON does not have, raise ValueError.
    """
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def _system_errors_named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = error.strerror or error
        raise InputError(f"{path} cannot be read: {problem}. Check the path and its permissions.") from error


def _read_file(path: Path) -> tuple[np.ndarray, Grid, dict[str, str], tuple[str, ...]]:
    """Array (channels, K, J, I), grid, header fields and warnings of a single file."""
    _require_file(path)
    suffix = suffix_of(path)
    if suffix in NIFTI_SUFFIXES:
        array, grid, warnings = read_nifti(path)
        return array, grid, {}, warnings
    if suffix not in ITK_SUFFIXES:
        raise InputError(
            f"{path} is of an unknown type ({suffix or 'no suffix'}); expected are {', '.join(IMAGE_SUFFIXES)} "
            "or DICOM. Convert it or choose another file."
        )
    return (*_read_itk(path), ())


def _require_file(path: Path) -> None:
    if not path.exists():
        raise InputError(f"There is no file or folder {path}. Check the spelling of the path.")
    if not path.is_file():
        raise InputError(f"{path} is a folder, but a file is needed.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes). Copy or export it again.")


def _is_dicom(path: Path) -> bool:
    """Whether this is a folder, which can only hold DICOM, or a DICOM file."""
    if not path.exists():
        raise InputError(f"There is no file or folder {path}. Check the spelling of the path.")
    if path.is_dir():
        return True
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _read_dicom(source: Path | list) -> Image:
    from MedSegAICore.dicom import find_series, only_image_series, read_series

    return read_series(only_image_series(find_series(source), source))


def _dicom_seg_at(path: Path) -> Path | None:
    """The DICOM SEG file that this is, or the only one in this folder; None if there is none."""
    from MedSegAICore.dicom import find_series
    from MedSegAICore.dicom_seg import is_segmentation

    if path.is_file():
        return path if is_segmentation(path) else None
    found = sorted(file for series in find_series(path) if series.modality == "SEG" for file in series.files)
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:5]) + (", ..." if len(found) > 5 else "")
        raise InputError(f"{path} holds {len(found)} DICOM SEG files ({names}). Give one of the files.")
    return found[0] if found else None


def _itk_reader(path: Path):
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _itk_error(path, error) from error
    return reader


def _itk_error(path: Path, error: RuntimeError) -> InputError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return InputError(
        f"{path} is not a {suffix_of(path)} image, or it is damaged or truncated ({lines[-1] if lines else error}). "
        "Check what the file holds, or copy or export it again."
    )


def _read_itk(path: Path) -> tuple[np.ndarray, Grid, dict[str, str]]:
    import SimpleITK as sitk

    reader = _itk_reader(path)
    fields = _itk_fields(reader)
    if reader.GetPixelIDValue() in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        raise InputError(f"{path} holds complex values, but real numbers are needed. Convert it, e.g. to magnitudes.")
    if fields.get("NRRD_kinds[pixel]") in _COLOR_KINDS:
        raise InputError(f"{path} holds colors, but one number per voxel is needed. Convert it to gray values.")
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _itk_error(path, error) from error
    return (*from_itk(image), fields)


def _itk_fields(reader) -> dict[str, str]:
    """The header fields as text; SimpleITK hands bytes that are not UTF-8 over as surrogates."""
    keys = [key for key in reader.GetMetaDataKeys() if not re.search("[\ud800-\udfff]", key)]
    return {key: _repaired(reader.GetMetaData(key)) for key in keys}


def _repaired(text: str) -> str:
    """Text that older programs wrote in Latin-1."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("latin-1")
    return text


def from_itk(image) -> tuple[np.ndarray, Grid]:
    """Array (channels, K, J, I) and grid of a SimpleITK image of two to four dimensions."""
    import SimpleITK as sitk

    array, dimension = sitk.GetArrayFromImage(image), image.GetDimension()
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)  # (components, [T,] [K,] J, I)
    if dimension == 2:
        array = array[..., None, :, :]
    shape = array.shape[-3:]
    array = np.ascontiguousarray(array.reshape(-1, *shape))
    direction = np.eye(3)
    size = min(dimension, 3)
    direction[:size, :size] = np.reshape(image.GetDirection(), (dimension, dimension))[:size, :size]
    origin, spacing = [0.0] * 3, [1.0] * 3
    origin[:size], spacing[:size] = image.GetOrigin()[:size], image.GetSpacing()[:size]
    return array, Grid.from_lps(shape, origin, spacing, direction.ravel())


def _as_labels(array: np.ndarray, path: Path) -> np.ndarray:
    """The same numbers as unsigned integers."""
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and np.array_equal(array, np.rint(array))):
        raise InputError(
            f"{path} is not a label map: it holds fractions, NaN or infinite values. Give the file with the labels."
        )
    if array.dtype.kind == "u":
        return array
    low = array.min()
    if low < 0:
        raise InputError(f"{path} is not a label map: it holds the negative number {low:g}. Labels start at 0.")
    return array.astype(np.min_scalar_type(int(array.max())))


def _flattened(label_map: LabelMap, path: Path) -> np.ndarray:
    """All layers in one (K, J, I), which is possible if no segments overlap and no two share a value."""
    layers = label_map.layers
    if len(layers) == 1:
        return layers[0]
    values = [label.value for label in label_map.labels]
    occupied = np.count_nonzero(layers, axis=0)
    if occupied.max(initial=0) > 1 or len(set(values)) < len(values):
        problem = "segments overlap" if occupied.max(initial=0) > 1 else "segments of different layers share a value"
        raise OutputError(
            f"{path} cannot hold this segmentation: {problem}, but NIfTI has one value per voxel. "
            "Write a .seg.nrrd file instead."
        )
    return layers.max(axis=0)


def _compact(layers: np.ndarray) -> np.ndarray:
    """The layers in the smallest unsigned type that holds them."""
    if layers.dtype.itemsize == 1:
        return layers
    return layers.astype(np.min_scalar_type(int(layers.max(initial=0))), copy=False)
