"""``medsegai export``: a segmentation file, for example a corrected one, as DICOM SEG and RTSTRUCT."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from MedSegAICore.dicom_writing import ALGORITHM_TYPES
from MedSegAICore.errors import InputError, OutputError
from MedSegAICore.files import read_label_map, read_metadata
from MedSegAICore.mrml import PROVENANCE
from MedSegAILib.commands.dicom_output import add_arguments, deidentifier_of
from MedSegAILib.commands.status import DONE
from MedSegAILib.commands.terminal import say
from MedSegAILib.dicom_export import algorithm_of, export_dicom, rtstruct_path, series_of_segmentation


def add_parser(subparsers):
    parser = subparsers.add_parser(
        "export",
        help="write a segmentation as DICOM SEG and RTSTRUCT",
        description="Write a segmentation (.seg.nrrd, NIfTI, ...), for example a corrected one, as DICOM SEG that "
        "refers to the series it was made on. Nothing is resampled: the segments must lie on the series' voxels.",
    )
    parser.add_argument("segmentation", type=Path, metavar="SEGMENTATION", help="file with the segments")
    parser.add_argument("--source", required=True, type=Path, metavar="FOLDER", help="DICOM series that was segmented")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.dcm", help="the DICOM SEG to write")
    parser.add_argument("--algorithm-type", choices=ALGORITHM_TYPES, help="made by a model, by a model and a person, "
                        "or by a person (default: SEMIAUTOMATIC if the file names a model)")  # fmt: skip
    parser.add_argument("--algorithm-name", default="", metavar="NAME", help="if the file does not name the model")
    parser.add_argument("--algorithm-version", default="", metavar="TEXT", help="version of --algorithm-name")
    parser.add_argument("--description", default="", metavar="TEXT", help="description of the new series")
    add_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Raises MedSegAIError if anything is wrong; then nothing was written."""
    output = arguments.output
    if output.suffix.lower() != ".dcm":
        raise OutputError(f"A DICOM file must end with .dcm, but the path is {output}. Change the name.")
    contours = rtstruct_path(output) if arguments.rtstruct else None
    for path in (output, contours):
        if path is not None and path.exists() and not arguments.overwrite:
            raise OutputError(f"{path} exists. Choose another name, or replace it with --overwrite.")
    deidentifier = deidentifier_of(arguments)
    label_map = read_label_map(arguments.segmentation)
    algorithm = algorithm_of(
        _provenance(arguments.segmentation), arguments.algorithm_type, arguments.algorithm_name,
        arguments.algorithm_version,
    )  # fmt: skip
    series = series_of_segmentation(label_map, arguments.source)
    export_dicom(
        label_map, series, algorithm, seg=output, rtstruct=contours, deidentifier=deidentifier,
        description=arguments.description,
    )  # fmt: skip
    say(f"{len(label_map.labels)} segment(s), {algorithm.type}, on series {series}: {output}")
    if contours is not None:
        say(f"Contours: {contours}")
    return DONE


def _provenance(path: Path) -> dict:
    """What the file says about the run that made it; {} if it says nothing."""
    try:
        provenance = json.loads(read_metadata(path).get(PROVENANCE) or "{}")
        return provenance if isinstance(provenance, dict) else {}
    except ValueError as error:
        raise InputError(f"{path} has a damaged provenance ({error}). Give --algorithm-type and -name.") from error
