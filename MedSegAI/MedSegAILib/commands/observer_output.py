"""Where the results of ``medsegai observers`` go: tables, consensus segmentations and maps, each complete or absent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSegAICore.errors import OutputError
from MedSegAICore.file_names import safe_name
from MedSegAICore.files import atomic_path, write_image, write_json, write_segmentation
from MedSegAICore.mrml import PROVENANCE

if TYPE_CHECKING:
    from MedSegAIMetricsLib.observer_comparison import ObserverComparison

CONSENSUS, MAPS = "consensus", "maps"  # folders inside the one for the results
KINDS = ("probability", "entropy")


@dataclass(frozen=True)
class ObserverOutput:
    """``folder``: for all results; is created with the first of them. ``overwrite``: replace a consensus that differs
    from the one of this run, which somebody may have edited. Tables and maps are always replaced."""

    folder: Path
    overwrite: bool = False

    def write_case(self, found: ObserverComparison, methods: Sequence[str], maps: bool) -> list[str]:
        """Write a consensus by each method, and the maps of each segment if they are wanted.

        Returns sentences about what makes a consensus doubtful. Raises OutputError.
        """
        notes = [note for method in methods for note in self._write_consensus(found, method)]
        if maps:
            self._write_maps(found)
        return notes

    def write_tables(self, tables: Mapping[str, list[dict[str, Any]]], record: Mapping[str, Any]):
        """Write ``<name>.csv`` for each table, and ``observers.json``: how they were made. Raises OutputError."""
        from MedSegAIMetricsLib.observer_files import RECORD
        from MedSegAIMetricsLib.observer_tables import rows_text

        _make(self.folder)
        write_json(self.folder / RECORD, record)
        for name, rows in tables.items():
            if rows:
                with atomic_path(self.folder / f"{name}.csv") as temporary:
                    temporary.write_text(rows_text(rows), encoding="utf-8", newline="\n")

    def _write_consensus(self, found: ObserverComparison, method: str) -> list[str]:
        from MedSegAIMetricsLib.observer_comparison import consensus_notes

        consensus = found.consensus(method)
        _make(self.folder / CONSENSUS)
        path = self.folder / CONSENSUS / f"{safe_name(found.name, 'case')}_{method}.seg.nrrd"
        metadata = {PROVENANCE: json.dumps(found.provenance(consensus, method), sort_keys=True)}
        with atomic_path(path) as temporary:
            write_segmentation(temporary, consensus.label_map, metadata)
            # The same observers give the same bytes, so anything else is of other observers or was edited.
            if not self.overwrite and path.exists() and path.read_bytes() != temporary.read_bytes():
                raise OutputError(
                    f"{path.name} exists and is not what these observers give; it may be somebody's work and is not "
                    "overwritten. Move it away, choose another output folder, or replace it with --overwrite."
                )
        return [f"{method}: {note}" for note in consensus_notes(consensus)]

    def _write_maps(self, found: ObserverComparison):
        folder = self.folder / MAPS
        _make(folder)
        taken: set[str] = set()
        for key, segment in found.agreement.segments.items():
            stem = _free(f"{found.name}_{segment.segment.name}", taken)
            maps = found.vote_maps(key)
            for kind in KINDS:
                write_image(folder / f"{stem}_{kind}.nrrd", getattr(maps, kind))


def _free(text: str, taken: set[str]) -> str:
    """A name of a file that none of this case has yet, also where upper and lower case are the same."""
    name, number = safe_name(text, "segment"), 2
    stem = name
    while stem.lower() in taken:
        stem, number = f"{name}_{number}", number + 1
    taken.add(stem.lower())
    return stem


def _make(folder: Path):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made: {error.strerror or error}. Choose another.") from error
