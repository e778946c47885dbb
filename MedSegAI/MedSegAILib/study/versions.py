"""Versions of an annotation: immutable ``.seg.nrrd`` files with a sidecar, named after their content.

``<task>__v003__1a2b3c4d.seg.nrrd``: task code, number, and the first 8 digits of the file's SHA-256, so two writers
never meet in a name. Autosaves are the same with ``s`` for ``v``. The sidecar is in place before the file: a file that
is there is complete, and a sidecar alone is what an interrupted save leaves.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from MedSegAICore.errors import GeometryError, InputError, OutputError
from MedSegAICore.files import read_label_map, write_segmentation
from MedSegAICore.grid import Grid
from MedSegAICore.image import LabelMap
from MedSegAILib.study.documents import checksum, file_checksum, force_folder, read_document, write_document

SUFFIX = ".seg.nrrd"
VERSION, AUTOSAVE = "v", "s"
FOLDERS = {VERSION: "versions", AUTOSAVE: "autosave"}

_NAME = re.compile(r"(?P<task>t[0-9a-f]{10})__(?P<kind>[vs])(?P<number>\d{3,})__(?P<hash>[0-9a-f]{8})\.seg\.nrrd")


@dataclass(frozen=True)
class VersionName:
    """The parts of a version's file name."""

    task: str
    kind: str
    number: int
    hash: str

    @classmethod
    def parse(cls, name: str) -> VersionName | None:
        """None if this is not the name of a version."""
        match = _NAME.fullmatch(name)
        return cls(match["task"], match["kind"], int(match["number"]), match["hash"]) if match else None

    def __str__(self) -> str:
        return f"{self.task}__{self.kind}{self.number:03d}__{self.hash}{SUFFIX}"

    @property
    def place(self) -> str:
        """Folder and file name below the annotator's folder."""
        return f"{FOLDERS[self.kind]}/{self}"


def sidecar_of(path: Path) -> Path:
    """Where the sidecar of a version lies."""
    return path.with_name(path.name[: -len(SUFFIX)] + ".json")


def grid_record(grid: Grid) -> dict[str, Any]:
    """A grid as JSON: ``shape`` (KJI), ``ijk_to_ras`` (4x4, mm)."""
    return {"shape": list(grid.shape), "ijk_to_ras": grid.ijk_to_ras.tolist()}


def grid_of(record: Mapping[str, Any]) -> Grid:
    """The grid of ``grid_record``. Raises GeometryError if it is not usable."""
    return Grid(tuple(record["shape"]), np.array(record["ijk_to_ras"]))


def require_grid(label_map: LabelMap, grid: Grid, what: str) -> None:
    """Raises GeometryError unless the segments lie on this grid."""
    if not label_map.grid.matches(grid):
        raise GeometryError(
            f"{what} lies on {label_map.grid}, but its image on {grid}. "
            "A version is kept on the grid of its image only: export the segments to that grid."
        )


def write_version(
    folder: Path, task: str, kind: str, number: int, label_map: LabelMap, facts: Mapping[str, Any]
) -> tuple[VersionName, dict[str, Any]]:
    """Write a version and its sidecar below an annotator's ``folder``, and read it back before it gets its name.

    ``facts``: what the sidecar says beside what it must; ``run`` has to be among them. Returns name and sidecar.
    Raises OutputError if it cannot be written, or does not read back as it was; nothing is then left under the name of
    a version.
    """
    place = folder / FOLDERS[kind]
    temporary = place / f".part-{uuid.uuid4().hex[:12]}{SUFFIX}"
    cleaned = without_provenance(label_map)
    try:
        # With the run in it, two runs that draw the same at once do not write the same name with two sidecars.
        write_segmentation(temporary, cleaned, {"MedSegAI.Task": task, "MedSegAI.Run": facts["run"]})
        _require_same(temporary, cleaned)
        sha256 = file_checksum(temporary)
        name = VersionName(task, kind, number, sha256[:8])
        record = {
            **facts,
            "file": str(name),
            "file_sha256": sha256,
            "task": task,
            "number": number,
            "grid": grid_record(label_map.grid),
            "grid_sha256": checksum(grid_record(label_map.grid)),
            "segments": [label.id for label in label_map.labels],
            "volumes_ml": label_map.volumes_ml(),
        }
        path = place / str(name)
        if not path.exists():
            write_document(sidecar_of(path), record, replace=True)  # an interrupted save may have left one
            os.replace(temporary, path)
            force_folder(place)
        return name, record
    except OSError as error:
        raise OutputError(f"A version cannot be saved in {place}: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def without_provenance(label_map: LabelMap) -> LabelMap:
    """The same segments without the tags that a model left: they would tell a reviewer where the draft came from."""
    labels = [
        replace(label, tags=tuple((key, value) for key, value in label.tags if not key.startswith("MedSegAI")))
        for label in label_map.labels
    ]
    return LabelMap(label_map.array, label_map.grid, tuple(labels))


def _require_same(path: Path, label_map: LabelMap) -> None:
    again = read_label_map(path)
    same = again.grid.matches(label_map.grid) and _places(again) == _places(label_map)
    if not same or not all(np.array_equal(again.mask(label), label_map.mask(label)) for label in label_map.labels):
        raise OutputError(
            f"{path.parent} did not keep a version as it was written: check the disk. The segments are still open."
        )


def _places(label_map: LabelMap) -> list[tuple[str, int, int]]:
    return [(label.id, label.layer, label.value) for label in label_map.labels]


def read_version(path: Path, grid: Grid) -> tuple[LabelMap, dict[str, Any]]:
    """Segments and sidecar of a version. Raises InputError if it was altered or is not complete, GeometryError if it
    does not lie on ``grid``, the grid of its image."""
    record = read_sidecar(path)
    if file_checksum(path) != record["file_sha256"]:
        raise InputError(f"{path} was altered: its content does not fit its sidecar. Take another version of the task.")
    require_grid(label_map := read_label_map(path), grid, path.name)
    return label_map, record


def read_sidecar(path: Path) -> dict[str, Any]:
    """The sidecar of a version. Raises InputError if it is missing, altered, or of another version."""
    record = read_document(sidecar_of(path))
    name = VersionName.parse(path.name)
    if name is None or record.get("file") != path.name or not str(record.get("file_sha256")).startswith(name.hash):
        raise InputError(f"{sidecar_of(path)} is not the sidecar of {path.name}. Restore it from a copy.")
    return record
