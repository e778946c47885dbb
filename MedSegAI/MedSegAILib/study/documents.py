"""The JSON documents of a study: canonical text, checksums, and writing that a crash or a lost share cannot spoil."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from MedSegAICore.atomic import atomic_path
from MedSegAICore.errors import InputError, OutputError

SCHEMA = 1

_BLOCK = 1 << 20


def canonical(data: Any) -> bytes:
    """JSON with one spelling for the same data: sorted keys, no spaces, UTF-8. NaN raises ValueError."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")


def checksum(data: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of ``data``."""
    return hashlib.sha256(canonical(data)).hexdigest()


def file_checksum(path: Path) -> str:
    """SHA-256 (hex) of a file. Raises InputError if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}. Check that the folder is there."
        ) from error
    return digest.hexdigest()


def sealed(data: dict) -> dict:
    """The document with a checksum of itself in ``sha256``."""
    body = {key: value for key, value in data.items() if key != "sha256"}
    return {**body, "sha256": checksum(body)}


def write_document(path: Path, data: dict, *, replace: bool = False) -> None:
    """Write a sealed document; complete and on the disk, or not at all.

    Raises OutputError if it cannot be written or, unless ``replace``, is there already.
    """
    if path.exists() and not replace:
        raise OutputError(f"{path} exists and is never replaced. Choose another folder, or keep what is there.")
    text = json.dumps(sealed(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    force_folder(path.parent)


def read_document(path: Path) -> dict:
    """A sealed document. Raises InputError if it is missing, not JSON, of a later schema, or was altered."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}. Check that the study folder is there."
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is not a JSON document ({error}). Restore it from a copy.") from error
    if not isinstance(data, dict) or "sha256" not in data:
        raise InputError(f"{path} is not a document of a study: it has no checksum. Restore it from a copy.")
    if sealed(data)["sha256"] != data["sha256"]:
        raise InputError(f"{path} was altered: its checksum does not fit its content. Restore it from a copy.")
    if data.get("schema", SCHEMA) != SCHEMA:
        raise InputError(
            f"{path} has schema {data['schema']!r}, but this version of MedSegAI knows schema {SCHEMA}. Update it."
        )
    return data


def make_folder(path: Path) -> None:
    """Make a folder whose parent exists. Raises OutputError: a lost share must not come back as an empty folder."""
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {path} cannot be made: {error.strerror or error}. Check its parent.") from error


def force_folder(folder: Path) -> None:
    """Force a rename in this folder to the disk, where the system can (Windows has no such call)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
