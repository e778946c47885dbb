"""SHA-256 of a model's files, and what is said if one differs from what was declared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from MedSegAICore.errors import ModelError


def file_sha256(path: Path) -> str:
    """Raises ModelError if the file cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    except OSError as error:
        raise ModelError(f"{path.name} of the model cannot be read: {error.strerror}. Copy the model again.") from error
    return digest.hexdigest()


def files_sha256(files: Sequence[Path], root: Path) -> str:
    """One SHA-256 over several files and their places below a folder."""
    parts = {path.relative_to(root).as_posix(): file_sha256(path) for path in files}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def check_sums(model_id: str, root: Path, declared: Mapping[str, str]) -> None:
    """Compare files below ``root`` with their declared sums. Raises ModelError that names the file which differs."""
    for name, expected in declared.items():
        path = root / name
        if not path.is_file():
            raise ModelError(f"The model {model_id} lacks {name}, which its card lists. Copy the model again.")
        found = file_sha256(path)
        if found != expected:
            raise ModelError(
                f"{name} of model {model_id} was changed or damaged: its SHA-256 is {found[:12]}…, but "
                f"{expected[:12]}… is declared. Copy the model again."
            )
