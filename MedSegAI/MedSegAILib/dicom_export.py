"""From a segmentation and the DICOM series that it was made on to DICOM SEG and RTSTRUCT files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MedSegAICore.dicom import DicomSeries, find_series
from MedSegAICore.dicom_identity import Deidentifier
from MedSegAICore.dicom_source import on_grid, open_source
from MedSegAICore.dicom_writing import ALGORITHM_TYPES, Algorithm
from MedSegAICore.errors import GeometryError, InputError
from MedSegAICore.image import LabelMap
from MedSegAICore.mrml import PROVENANCE, STATUS_TAG


def export_dicom(
    label_map: LabelMap,
    series: DicomSeries,
    algorithm: Algorithm,
    *,
    by_segment: Mapping[str, Algorithm] | None = None,
    seg: str | os.PathLike | None = None,
    rtstruct: str | os.PathLike | None = None,
    deidentifier: Deidentifier | None = None,
    description: str = "",
) -> None:
    """Write a DICOM SEG to ``seg`` and an RT structure set to ``rtstruct``, each if a path is given.

    ``by_segment``: by segment id, how those were made to which ``algorithm`` does not apply.
    ``description``: of the new series; by default the algorithm's name, as names of nodes and files may be a person's.
    Raises what ``open_source``, ``write_dicom_seg`` and ``write_rtstruct`` raise.
    """
    from MedSegAICore.dicom_rtstruct import write_rtstruct
    from MedSegAICore.dicom_seg_write import write_dicom_seg

    source = open_source(series, deidentifier)
    for path, write in ((seg, write_dicom_seg), (rtstruct, write_rtstruct)):
        if path is not None:
            write(path, label_map, source, algorithm, by_segment=by_segment, description=description or algorithm.name)


def rtstruct_path(path: Path) -> Path:
    """Where the contours of ``case.dcm`` go: ``case_rtstruct.dcm``."""
    return path.with_name(f"{path.stem}_rtstruct.dcm")


def algorithm_of(
    provenance: Mapping[str, Any], type: str | None = None, name: str = "", version: str = ""
) -> Algorithm:
    """How segments were made: the model of their provenance, or what is given instead.

    ``type`` None means SEMIAUTOMATIC (a draft that a person went over) if there is a provenance.
    Raises InputError if nothing is known, or the type is none of ALGORITHM_TYPES.
    """
    model = provenance.get("model") or {}
    if type is None:
        if not model:
            raise InputError(
                "The segmentation does not say how it was made. Give its algorithm type (--algorithm-type): "
                f"{', '.join(ALGORITHM_TYPES)}."
            )
        type = "SEMIAUTOMATIC"
    if name or type == "MANUAL":
        return Algorithm(type, name, version)
    return Algorithm(type, str(model.get("id", "")), str(model.get("version", "")), str(model.get("sha256", "")))


def algorithms_of_segments(
    label_map: LabelMap,
) -> dict[str, Algorithm]:
    """By segment id, how those were made that say of themselves which model made them.

    AUTOMATIC, unless they are in a correction or somebody has set their status; then SEMIAUTOMATIC.
    """
    found = {}
    for label in label_map.labels:
        tags = dict(label.tags)
        own = json.loads(tags.get(PROVENANCE) or "{}")
        if own.get("model"):
            untouched = "correction" not in own and tags.get(STATUS_TAG, "") in ("", "notstarted", "inprogress")
            found[label.id] = algorithm_of(own, "AUTOMATIC" if untouched else "SEMIAUTOMATIC")
    return found


def series_of_segmentation(label_map: LabelMap, source: str | os.PathLike | Sequence[str | os.PathLike]) -> DicomSeries:
    """The one image series of a folder, or of a list of files, on whose voxels the segments lie.

    Raises InputError if there is no DICOM image series or several fit; GeometryError if none fits.
    """
    name = source if isinstance(source, (str, os.PathLike)) else f"the list of {len(source)} files"
    found = find_series(source)
    usable = [series for series in found if not series.unusable]
    if not usable:
        listed = "".join(f"\n  {series}" for series in found)
        raise InputError(
            f"{name} holds no DICOM image series, but DICOM SEG and RTSTRUCT refer to the images that were segmented. "
            f"Give the folder of that series.{listed}"
        )
    fitting, reasons = [], []
    for series in usable:
        try:
            on_grid(label_map, series.grid)
            fitting.append(series)
        except GeometryError as error:
            reasons.append(str(error))
    if len(fitting) == 1:
        return fitting[0]
    if len(usable) == 1:
        raise GeometryError(reasons[0])
    listed = "".join(f"\n  {series}" for series in fitting or usable)
    if fitting:
        raise InputError(f"The segments fit {len(fitting)} series of {name}; give the folder of one of them:{listed}")
    raise GeometryError(f"The segments, on {label_map.grid}, lie on no series of {name}:{listed}")
