"""The options of ``medsegai`` that write DICOM, and what they ask for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSegAICore.errors import InputError
from MedSegAICore.image import LabelMap
from MedSegAILib.commands.cases import Case

if TYPE_CHECKING:
    from MedSegAICore.dicom import DicomSeries
    from MedSegAICore.dicom_identity import Deidentifier


def add_arguments(parser: argparse.ArgumentParser):
    """The options that every command has that writes DICOM."""
    parser.add_argument("--rtstruct", action="store_true", help="also write contours: <name>_rtstruct.dcm")
    parser.add_argument(
        "--deidentify", action="store_true", help="leave the patient out of the DICOM files and replace all UIDs"
    )
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="with --deidentify: a secret that makes replaced UIDs and "
        "pseudonyms the same in every run (default: a new one each run)"
    )  # fmt: skip


def deidentifier_of(arguments: argparse.Namespace) -> Deidentifier | None:
    """Raises InputError if the key file cannot be used, or is given without --deidentify."""
    from MedSegAICore.dicom_identity import Deidentifier

    if arguments.key_file is None:
        return Deidentifier() if arguments.deidentify else None
    if not arguments.deidentify:
        raise InputError("--key-file is for --deidentify. Add that, or leave it out.")
    try:
        key = arguments.key_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The key file {arguments.key_file} cannot be read as text: {error}.") from error
    if len(key) < 16:
        raise InputError(
            f"The key in {arguments.key_file} has {len(key)} characters; give at least 16 that are random."
        )
    return Deidentifier(key)


@dataclass(frozen=True)
class DicomOutput:
    """Which DICOM files ``medsegai segment`` writes for each case."""

    seg: bool
    rtstruct: bool
    deidentifier: Deidentifier | None
    description: str

    @classmethod
    def of(cls, arguments: argparse.Namespace, description: str) -> DicomOutput:
        """Raises DependencyError if highdicom is needed and missing, before hours of work; InputError as above."""
        if arguments.deidentify and not (arguments.dicom_seg or arguments.rtstruct):
            raise InputError("--deidentify is about DICOM files. Add --dicom-seg or --rtstruct, or leave it out.")
        if arguments.dicom_seg:
            from MedSegAICore.dicom_seg_write import require_highdicom

            require_highdicom()
        return cls(arguments.dicom_seg, arguments.rtstruct, deidentifier_of(arguments), description)

    @property
    def request(self) -> list[Any]:
        """What of a finished case's fingerprint depends on these options."""
        return [self.seg, self.rtstruct, self.deidentifier is not None] if self.seg or self.rtstruct else []

    def paths(self, output: Path) -> list[Path]:
        """The files of the case whose other results begin like ``output``."""
        from MedSegAILib.dicom_export import rtstruct_path

        return [output] * self.seg + [rtstruct_path(output)] * self.rtstruct

    def series_of(self, case: Case) -> DicomSeries | None:
        """The series a case was read from; None if no DICOM is wanted. Raises InputError if it was not DICOM."""
        if not (self.seg or self.rtstruct):
            return None
        series = case.series()
        if series is None:
            raise InputError(
                f"{case.name} is no DICOM series, but DICOM SEG and RTSTRUCT refer to one. Give the DICOM folder, or "
                "leave --dicom-seg and --rtstruct out."
            )
        from MedSegAICore.dicom_source import open_source

        open_source(series)  # what is wrong with it is said before the network runs
        return series

    def writers(
        self, paths: list[Path], label_map: LabelMap, series: DicomSeries | None, provenance: Mapping[str, Any]
    ) -> dict[Path, Callable[[Path], None]]:
        """For each file a function that writes it to a path."""
        from MedSegAILib.dicom_export import algorithm_of, export_dicom

        algorithm = algorithm_of(provenance, "AUTOMATIC")
        kinds = ["seg"] * self.seg + ["rtstruct"] * self.rtstruct

        def writer(kind: str) -> Callable[[Path], None]:
            options = {"deidentifier": self.deidentifier, "description": self.description}
            return lambda path: export_dicom(label_map, series, algorithm, **{kind: path}, **options)

        return {path: writer(kind) for path, kind in zip(paths, kinds, strict=True)}
