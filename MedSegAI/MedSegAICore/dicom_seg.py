"""Read the segments of a DICOM Segmentation object (PS3.3 A.51 and A.90): BINARY, FRACTIONAL and LABELMAP."""

from __future__ import annotations

import logging
import os
import re
import warnings as python_warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from MedSegAICore.cielab import rgb_from_lab
from MedSegAICore.dicom_stack import Slice, slices_of, sparse_stack
from MedSegAICore.errors import DependencyError, GeometryError, InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.seg_nrrd import distinct_color
from MedSegAICore.terminology import TISSUE, Code, Terms

logger = logging.getLogger(__name__)

SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
THRESHOLD_TAG = "DICOM.Threshold"  # on segments that came from fractions: what was counted as inside


@dataclass(frozen=True)
class _Frame:
    """One stored frame: its number in the file, its plane in the grid and, but for label maps, its segment."""

    index: int
    plane: int
    segment: int | None


def read_dicom_seg(path: str | os.PathLike) -> LabelMap:
    """All segments of a DICOM SEG file: names, colors, codes and overlap; the label value is the segment number.

    The grid is that of the file itself and reaches from its first to its last frame: empty slices that were left out
    at the ends are not known. ``Label.id`` is the tracking id where the file has one. Codes are kept as they are,
    those of the retired scheme SRT too.
    FRACTIONAL: a voxel belongs to a segment from half of the maximum on, of probability as of occupancy. If the file
    holds anything between 0 and the maximum, a warning is logged and each label has the tag ``DICOM.Threshold``.

    Raises InputError if the file is damaged, describes no segments or holds several frames of a segment at one place;
    GeometryError if its frames form no regular grid; DependencyError if pydicom is missing.
    """
    path = Path(path)
    dataset = _open(path)
    kind = str(dataset.get("SegmentationType", ""))
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise InputError(f"{path} is a DICOM SEG of the unknown type {kind!r}; BINARY, FRACTIONAL and LABELMAP exist.")
    labels = _labels(dataset, path)
    try:
        slices = list(slices_of(path, dataset))
        grid, planes = sparse_stack(slices, _declared_spacing(dataset))
    except GeometryError as error:
        raise GeometryError(f"{path} is a DICOM SEG that cannot be read: {error}.") from error
    except (AttributeError, ValueError, TypeError, IndexError) as error:
        raise _damaged(path, error) from error
    frames = _frames(dataset, slices, planes, kind, path)
    if kind == "LABELMAP":
        return _label_map(dataset, grid, frames, labels, path)
    return _packed(dataset, grid, frames, labels, path)


def is_segmentation(path: str | os.PathLike) -> bool:
    """Whether a file is a DICOM SEG object, by its SOP class. Raises InputError if its header cannot be read."""
    try:
        header = _pydicom().dcmread(path, specific_tags=["SOPClassUID", "Modality"], stop_before_pixels=True)
        # Objects of old writers, and damaged ones, still say what they are in one of the two.
        return str(header.get("SOPClassUID", "")) in SEGMENTATION_CLASSES or header.get("Modality") == "SEG"
    except DependencyError:
        raise
    except Exception as error:
        raise _damaged(Path(path), error) from error


def _pydicom():
    from MedSegAICore.dicom import _pydicom as pydicom

    return pydicom()


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is damaged or truncated ({error}). Copy or export it again.")


def _open(path: Path):
    pydicom = _pydicom()
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
        frames = int(dataset.get("NumberOfFrames") or 0)
        complete = frames and dataset.get("Rows") and dataset.get("Columns") and "PixelData" in dataset
    except Exception as error:
        raise _damaged(path, error) from error
    if not dataset.get("SegmentSequence"):
        raise InputError(f"{path} is a DICOM SEG without segments. Export it again, or choose another file.")
    if not complete:
        raise _damaged(path, ValueError("it has no frames or no pixel data"))
    return dataset


def _declared_spacing(dataset) -> float | None:
    for holder in (dataset.get("SharedFunctionalGroupsSequence"), dataset.get("PerFrameFunctionalGroupsSequence")):
        measures = holder[0].get("PixelMeasuresSequence") if holder else None
        if measures and measures[0].get("SpacingBetweenSlices"):
            return abs(float(measures[0].SpacingBetweenSlices))
    return None


# ---- segments ------------------------------------------------------------------------------------------------------


def _labels(dataset, path: Path) -> dict[int, Label]:
    """The labels by segment number, in the order of the file."""
    labels: dict[int, Label] = {}
    taken: set[str] = set()
    for item in dataset.SegmentSequence:
        try:
            number = int(item.SegmentNumber)
            label = _label(item, number)
        except (AttributeError, ValueError, TypeError) as error:
            raise _damaged(path, error) from error
        if number in labels:
            raise InputError(f"{path} describes segment {number} twice. Export it again.")
        identifier = f"Segment_{number}" if label.id in taken else label.id
        taken.add(identifier)
        labels[number] = replace(label, id=identifier)
    return labels


def _label(item, number: int) -> Label:
    name = str(item.get("SegmentLabel") or "").strip() or f"Segment_{number}"
    stored = item.get("RecommendedDisplayCIELabValue")
    color = rgb_from_lab([int(c) for c in stored]) if stored is not None and len(stored) == 3 else None
    identifier = str(item.get("TrackingID") or "").strip() or f"Segment_{number}"
    return Label(number, identifier, name, color or distinct_color(number), str(_terms(item)))


def _terms(item) -> Terms:
    kind = _first(item, "SegmentedPropertyTypeCodeSequence")
    region = _first(item, "AnatomicRegionSequence")
    return Terms(
        _code(_first(item, "SegmentedPropertyCategoryCodeSequence")) or TISSUE,
        _code(kind) or TISSUE,
        _code(_first(kind, "SegmentedPropertyTypeModifierCodeSequence")),
        _code(region),
        _code(_first(region, "AnatomicRegionModifierSequence")),
    )


def _first(holder, sequence: str):
    items = holder.get(sequence) if holder is not None else None
    return items[0] if items else None


def _code(item) -> Code | None:
    if item is None:
        return None
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue")
    return (
        Code(str(item.get("CodingSchemeDesignator", "")), str(value), str(item.get("CodeMeaning", "")))
        if value
        else None
    )


# ---- voxels --------------------------------------------------------------------------------------------------------


def _frames(dataset, slices: Sequence[Slice], planes: Sequence[int], kind: str, path: Path) -> list[_Frame]:
    if len(slices) != int(dataset.NumberOfFrames):
        raise _damaged(path, ValueError(f"it has {dataset.NumberOfFrames} frames, but describes {len(slices)}"))
    shared = _first(dataset, "SharedFunctionalGroupsSequence")
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or [None] * len(slices)
    described = {int(item.SegmentNumber) for item in dataset.SegmentSequence}
    frames = []
    for index, (group, plane) in enumerate(zip(groups, planes, strict=True)):
        segment = None
        if kind != "LABELMAP":
            item = _first(group, "SegmentIdentificationSequence") or _first(shared, "SegmentIdentificationSequence")
            segment = int(item.ReferencedSegmentNumber) if item is not None else -1
            if segment not in described:
                raise _damaged(path, ValueError(f"frame {index + 1} belongs to no segment that it describes"))
        frames.append(_Frame(index, plane, segment))
    if len({(frame.segment, frame.plane) for frame in frames}) < len(frames):
        raise InputError(
            f"{path} holds several frames of one segment at the same place, such as time points. Export one of them."
        )
    return frames


def _decoded(dataset, path: Path):
    """The frames (J, I) one after the other."""
    from pydicom.pixels import iter_pixels

    if dataset.BitsAllocated == 1 and not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        yield from _unpacked(dataset, path)
        return
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")
            yield from iter_pixels(dataset)
    except Exception as error:  # whatever a decoder raises, about damage or about a compression that it does not know
        raise InputError(
            f"{path} cannot be decoded: it is damaged or truncated, or its compression "
            f"{dataset.file_meta.TransferSyntaxUID.name} is not supported here ({_sentence(error)})."
        ) from error


def _unpacked(dataset, path: Path):
    """Frames of single bits: they follow each other without padding, so one may begin within a byte (PS3.5 8.1.1).

    pydicom 3.0 decodes such frames wrongly if they are asked for one by one, and all at once take eight times the
    memory.
    """
    shape = (int(dataset.Rows), int(dataset.Columns))
    size, count = shape[0] * shape[1], int(dataset.NumberOfFrames)
    stored = np.frombuffer(dataset.PixelData, np.uint8)
    if len(stored) * 8 < size * count:
        raise _damaged(
            path, ValueError(f"{count} frames need {-(-size * count // 8)} bytes, but {len(stored)} are there")
        )
    for first in range(0, size * count, size):
        bits = np.unpackbits(stored[first // 8 : (first + size + 7) // 8], bitorder="little")
        yield bits[first % 8 : first % 8 + size].reshape(shape)


def _sentence(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip().rstrip(".")[:200]


def _packed(dataset, grid: Grid, frames: Sequence[_Frame], labels: Mapping[int, Label], path: Path) -> LabelMap:
    """BINARY and FRACTIONAL: every segment in the first layer where it overlaps none of those before it."""
    inside: dict[int, list[tuple[int, np.ndarray]]] = {number: [] for number in labels}
    fractional = dataset.SegmentationType == "FRACTIONAL"
    full = int(dataset.get("MaximumFractionalValue") or 255) if fractional else 1
    between = False
    for frame, values in zip(frames, _decoded(dataset, path), strict=True):
        between = between or bool(fractional and ((values > 0) & (values < full)).any())
        voxels = np.flatnonzero(values * 2.0 >= full if fractional else values != 0).astype(np.int32)
        inside[frame.segment].append((frame.plane, voxels))
    dtype = np.uint8 if max(labels) <= 255 else np.uint16
    layers: list[np.ndarray] = []
    placed = []
    for number, label in labels.items():
        layer = _free_layer(layers, inside[number])
        if layer == len(layers):
            layers.append(np.zeros((grid.shape[0], grid.shape[1] * grid.shape[2]), dtype))
        for plane, voxels in inside[number]:
            layers[layer][plane, voxels] = number
        placed.append(replace(label, layer=layer))
    if between:
        rule = f"at least half of the {str(dataset.get('SegmentationFractionalType', 'fraction')).lower()}"
        logger.warning("%s holds fractions; a voxel belongs to a segment from half of the maximum on.", path.name)
        placed = [replace(label, tags=((THRESHOLD_TAG, rule),)) for label in placed]
    array = np.stack(layers).reshape(-1, *grid.shape)
    return LabelMap(array if len(array) > 1 else array[0], grid, tuple(placed))


def _free_layer(layers: Sequence[np.ndarray], voxels_by_plane: Sequence[tuple[int, np.ndarray]]) -> int:
    """The first layer that holds nothing where these voxels are, or the number of a new one."""
    for number, layer in enumerate(layers):
        if not any(layer[plane, voxels].any() for plane, voxels in voxels_by_plane):
            return number
    return len(layers)


def _label_map(dataset, grid: Grid, frames: Sequence[_Frame], labels: Mapping[int, Label], path: Path) -> LabelMap:
    """LABELMAP (PS3.3 A.90): the voxels are segment numbers; the background is the padding value, 0 if not given."""
    background = int(dataset.get("PixelPaddingValue") or 0)
    labels = {number: label for number, label in labels.items() if number != background}
    if not labels:
        raise InputError(f"{path} is a DICOM SEG that describes only its background. Choose another file.")
    highest = max(*labels, background)
    free = next(value for value in range(1, 65536) if value not in labels)  # for a segment with the number 0
    values = np.zeros(65536, np.uint16)
    values[list(labels)] = [number or free for number in labels]
    known = np.zeros(65536, bool)
    known[[*labels, background, 0]] = True
    array = np.zeros(grid.shape, np.uint8 if max(highest, free if 0 in labels else 0) <= 255 else np.uint16)
    for frame, stored in zip(frames, _decoded(dataset, path), strict=True):
        if not known[stored].all():
            raise InputError(f"{path} holds the value {stored[~known[stored]][0]}, which is none of its segments.")
        array[frame.plane] = values[stored]
    return LabelMap(array, grid, tuple(replace(label, value=label.value or free) for label in labels.values()))
