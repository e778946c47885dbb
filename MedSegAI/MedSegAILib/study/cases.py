"""The cases of a study: an image under a code that says nothing about the patient, its checksum and its grid."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from MedSegAICore.errors import InputError
from MedSegAICore.files import IMAGE_SUFFIXES, read_image, write_image
from MedSegAICore.image import Image
from MedSegAILib.study.documents import SCHEMA, file_checksum, read_document, write_document
from MedSegAILib.study.private_key import PrivateKey
from MedSegAILib.study.versions import grid_record

CASES, IMAGES = "cases", "images"


def read_cases(folder: Path) -> dict[str, dict]:
    """The case documents of a study folder, by case code. Raises InputError if one was altered."""
    return {path.stem: read_document(path) for path in sorted((folder / CASES).glob("*.json"))}


def add_cases(folder: Path, sources: Sequence[Path], key: PrivateKey, *, copy: bool = True) -> list[str]:
    """Add images to a study folder; their codes in the order of ``sources``. See ``Study.add_cases``."""
    known = {record["image_sha256"]: code for code, record in read_cases(folder).items()}
    return [_add_case(folder, Path(source), key, copy, known) for source in sources]


def _add_case(folder: Path, source: Path, key: PrivateKey, copy: bool, known: dict[str, str]) -> str:
    image = read_image(source)
    code = _new_code(folder)
    path = _copied(folder, code, image) if copy else _referenced(source)
    sha256 = file_checksum(path)
    if sha256 in known:
        if copy:
            path.unlink()
        raise InputError(f"{source} is the image of case {known[sha256]} already. A study has every image once.")
    key.add_case(code, source)  # before the case, so that there is never a case that nobody can trace
    record = {
        "schema": SCHEMA,
        "case": code,
        "image": Path(os.path.relpath(path, folder)).as_posix() if path.is_relative_to(folder) else str(path),
        "image_sha256": sha256,
        "grid": grid_record(image.grid),
        "channels": image.channels,
    }
    write_document(folder / CASES / f"{code}.json", record)
    known[sha256] = code
    return code


def _new_code(folder: Path) -> str:
    while (folder / CASES / f"{(code := 'c' + secrets.token_hex(4))}.json").exists():
        continue
    return code


def _copied(folder: Path, code: str, image: Image) -> Path:
    """Voxels and geometry alone: headers of NIfTI, NRRD and DICOM may name the patient."""
    path = folder / IMAGES / f"{code}.nrrd"
    write_image(path, image)
    return path


def _referenced(source: Path) -> Path:
    if not source.is_file() or not source.name.lower().endswith(IMAGE_SUFFIXES):
        raise InputError(
            f"{source} cannot be referenced: DICOM holds the patient's name, and a study takes one file per case. "
            "Let the study copy it."
        )
    return source.resolve()
