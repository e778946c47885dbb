"""What our DICOM SEG and RTSTRUCT files have in common: who made them, by which algorithm, how they are saved."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from MedSegAICore.atomic import atomic_path
from MedSegAICore.errors import InputError
from MedSegAICore.image import LabelMap

if TYPE_CHECKING:
    from MedSegAICore.dicom_identity import Deidentifier

MANUFACTURER = PRODUCT = "MedSegAI"
ALGORITHM_TYPES = ("AUTOMATIC", "SEMIAUTOMATIC", "MANUAL")
NOTICE = "Research use only"
UTF8 = "ISO_IR 192"


@dataclass(frozen=True)
class Algorithm:
    """How segments were made (PS3.3 C.8.20.2.3).

    ``type``: AUTOMATIC (a draft nobody touched), SEMIAUTOMATIC (a corrected draft) or MANUAL. ``name``, ``version``:
    of the model; MANUAL needs none. ``sha256``: of its weights. Raises InputError if the type is another, or the name
    is missing.
    """

    type: str
    name: str = ""
    version: str = ""
    sha256: str = ""

    def __post_init__(self):
        if self.type not in ALGORITHM_TYPES:
            raise InputError(
                f"The algorithm type {self.type!r} does not exist; choose of {', '.join(ALGORITHM_TYPES)}."
            )
        if self.type != "MANUAL" and not self.name:
            raise InputError(f"DICOM wants the name of the algorithm that made {self.type} segments. Give its name.")


def check_segments(label_map: LabelMap) -> None:
    """Raises InputError if there is nothing to write."""
    if not label_map.labels:
        raise InputError("The segmentation has no segments, so there is nothing to write as DICOM.")
    if len(label_map.labels) > 65535:
        raise InputError(f"DICOM numbers segments up to 65535, but there are {len(label_map.labels)}.")


def short(text: str, length: int = 64) -> str:
    """Text that fits an attribute (LO has 64 characters) and holds no backslash, which separates values."""
    return text.replace("\\", "/").strip()[:length].strip()


def save(dataset, path: str | os.PathLike, deidentifier: Deidentifier | None = None) -> None:
    """Write a dataset as a DICOM file, whole or not at all; marked by what took the patient out of it, if anything did.

    Raises OutputError if it cannot be written.
    """
    if deidentifier is not None:
        deidentifier.mark(dataset)
    with atomic_path(Path(path)) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
