"""``medsegai segment``: volumes in, one segmentation file and one record per case out."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSegAICore.errors import Cancelled, InputError, MedSegAIError, OutputError
from MedSegAICore.image import Image
from MedSegAICore.registration import KINDS
from MedSegAICore.roi import read_region
from MedSegAICore.text import format_volume
from MedSegAILib.commands import cluster
from MedSegAILib.commands.cases import Case, find_cases
from MedSegAILib.commands.dicom_output import DicomOutput, add_arguments
from MedSegAILib.commands.record import CaseFiles
from MedSegAILib.commands.region import restrict
from MedSegAILib.commands.status import DONE, SOME_FAILED
from MedSegAILib.commands.terminal import ProgressLine, say
from MedSegAILib.inference.quality import QUALITIES, STANDARD

if TYPE_CHECKING:
    from MedSegAILib.inference.prediction import Predictor
    from MedSegAILib.models.model import Model

FORMATS = ("seg.nrrd", "nii.gz")


@dataclass(frozen=True)
class Report:
    """What became of one case: an entry of what ``--json`` prints."""

    case: str
    status: str  # done, skipped, failed or estimated
    output: str | None = None
    volumes_ml: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        entry = dict(vars(self))
        return entry if self.error else {name: value for name, value in entry.items() if name != "error"}


def add_parser(subparsers):
    parser = subparsers.add_parser(
        "segment",
        help="segment volumes with a model",
        description="Segment every case of the inputs. Writes OUTPUT/<case>.seg.nrrd and OUTPUT/<case>.json (volumes, "
        "warnings, provenance). Finished cases are skipped, a case that fails does not stop the others, and a result "
        "that somebody changed is never overwritten.",
    )
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT", help="image file, DICOM folder, or folder of either"
    )
    parser.add_argument("--model", required=True, metavar="ID_OR_PATH", help="see: medsegai models list")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for the results; is created")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1, mps or cpu (default: %(default)s)")
    parser.add_argument("--configurations", nargs="+", default=(), metavar="NAME", help="which of the model's "
                        "configurations, such as 2d and 3d_fullres; several are averaged")  # fmt: skip
    parser.add_argument("--folds", nargs="+", metavar="N", help="folds to average (default: all of the model)")
    parser.add_argument("--quality", choices=tuple(QUALITIES), default=STANDARD, help="how much accuracy is given up "
                        "for time: best is what nnU-Net does (default: %(default)s)")  # fmt: skip
    parser.add_argument(
        "--mirroring", action=argparse.BooleanOptionalAction, help="average over mirrored copies where the model "
        "allows it, or not (default: as the quality says)"
    )  # fmt: skip
    parser.add_argument("--roi", type=Path, metavar="FILE", help="markups ROI (.mrk.json): show only this to the model")
    parser.add_argument(
        "--register", choices=KINDS, help="bring a case's other channels onto the first (writes .tfm files)"
    )
    parser.add_argument("--probabilities", action="store_true", help="also write <case>_probabilities.nrrd")
    parser.add_argument("--uncertainty", action="store_true", help="also write <case>_uncertainty.nrrd: the entropy, 0 "
                        "to 1, of the folds' and mirrored answers together")  # fmt: skip
    parser.add_argument("--dicom-seg", action="store_true", help="also write a DICOM SEG, <case>.dcm, for DICOM input")
    add_arguments(parser)
    parser.add_argument("--strict", action="store_true", help="refuse volumes that differ from the model card")
    parser.add_argument("--overwrite", action="store_true", help="segment finished cases again")
    parser.add_argument("--estimate", action="store_true", help="only say how long each case would take and how much "
                        "memory it would need")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON list of all cases to standard output")
    cluster.add_arguments(parser)
    parser.set_defaults(run=run)


def parse(options: Sequence[str]) -> argparse.Namespace:
    """The arguments of this command, for another one that uses it."""
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return parser.parse_args(["segment", *options])


def run(arguments: argparse.Namespace) -> int:
    """Raises MedSegAIError if the model, the device or the output folder cannot be used at all."""
    if arguments.output is None and not arguments.estimate:
        raise InputError("There is no folder for the results. Name one with --output DIR.")
    reports = estimate_cases(arguments) if arguments.estimate else run_cases(arguments)
    failed = sum(report.status == "failed" for report in reports)
    if failed:
        others = "" if arguments.estimate else f"; the others are in {arguments.output}"
        print(f"medsegai: {failed} of {len(reports)} cases failed{others}.", file=sys.stderr)
    return SOME_FAILED if failed else DONE


def run_cases(arguments: argparse.Namespace) -> list[Report]:
    """Segment every case, with a line for each on standard error."""
    from MedSegAILib.commands.segment_cluster import on_cluster
    from MedSegAILib.models.library import ModelLibrary

    model = ModelLibrary().find(arguments.model, arguments.configurations)
    dicom = DicomOutput.of(arguments, model.title)
    region = read_region(arguments.roi) if arguments.roi else None
    arguments = argparse.Namespace(**vars(arguments), dicom=dicom, region=region)  # all workers need the same ones
    reports: dict[int, Report] = {}
    with (on_cluster if cluster.is_wanted(arguments) else _here)(model, arguments) as work:
        cases = find_cases(arguments.inputs, model.channel_names, model.card, say, arguments.register)
        _make_folder(arguments.output)
        try:
            with closing(work(cases)) as finished:
                for number, report in finished:
                    reports[number] = report
                    say(_line(report, number, len(cases)))
        finally:
            # Also after Ctrl-C: what was finished is worth knowing.
            if arguments.json:
                print(json.dumps([reports[number].to_dict() for number in sorted(reports)], indent=2), flush=True)
    return [reports[number] for number in sorted(reports)]


def estimate_cases(arguments: argparse.Namespace) -> list[Report]:
    """Say what each case would cost on this computer; nothing is written."""
    from MedSegAILib.models.library import ModelLibrary

    model = ModelLibrary().find(arguments.model, arguments.configurations)
    region = read_region(arguments.roi) if arguments.roi else None
    predictor = make_predictor(model, arguments)
    say(describe(predictor))
    reports = []
    for case in find_cases(arguments.inputs, model.channel_names, model.card, say, arguments.register):
        try:
            shown, _ = restrict(case.read(say), region, case.name)
            print(f"{case.name}: {predictor.estimate(shown)}", flush=True)
            reports.append(Report(case.name, "estimated"))
        except MedSegAIError as error:
            say(f"{case.name}: FAILED. {error}")
            reports.append(Report(case.name, "failed", error=str(error)))
    return reports


@contextmanager
def _here(model: Model, arguments: argparse.Namespace) -> Iterator[Callable[[Sequence[Case]], Iterator]]:
    """A function that segments cases in this process, and gives the number and the report of each."""
    predictor = make_predictor(model, arguments)

    def work(cases: Sequence[Case]) -> Iterator[tuple[int, Report]]:
        say(describe(predictor))
        for number, case in enumerate(cases, start=1):
            with ProgressLine(f"[{number}/{len(cases)}] {case.name}") as progress:
                report = run_case(case, predictor, arguments, progress=progress)
            yield number, report

    yield work


def make_predictor(model: Model, arguments: argparse.Namespace) -> Predictor:
    """The model, loaded as the arguments want it. Raises ModelError or DeviceError."""
    from MedSegAILib.inference.prediction import Predictor

    return Predictor(
        model, arguments.device, quality=arguments.quality, mirroring=arguments.mirroring, folds=arguments.folds
    )


def describe(predictor: Predictor) -> str:
    """A sentence about what runs where and how."""
    from MedSegAILib.inference.devices import describe_device

    return f"{predictor.model.title} on {describe_device(predictor.device)}, {predictor.settings}."


def run_case(
    case: Case,
    predictor: Predictor,
    arguments: argparse.Namespace,
    *,
    say: Callable[[str], None] = say,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    staging: Path | None = None,
) -> Report:
    """Segment one case and write its files. Raises Cancelled only: what else goes wrong is in the report."""
    started = time.perf_counter()
    files = CaseFiles(arguments.output, case.name, arguments.format, staging)
    try:
        image = case.read(say)
        shown, place = restrict(image, arguments.region, case.name)
        request = _fingerprint(image, shown, predictor, arguments)
        series, others = arguments.dicom.series_of(case), arguments.dicom.paths(files.folder / f"{case.name}.dcm")
        if not arguments.overwrite and (found := files.finished(request, others)) is not None:
            return Report(case.name, "skipped", str(files.output), found["volumes_ml"], warnings=found["warnings"])
        files.check_may_write(others)
        if files.output.exists() and not arguments.overwrite:
            say(f"{case.name}: the result of an earlier run, with another input or other settings, is replaced.")
        result = predictor.segment(
            shown,
            probabilities=arguments.probabilities,
            uncertainty=arguments.uncertainty,
            strict=arguments.strict,
            progress=progress,
            cancelled=cancelled,
        )
        result = place(result)
        warnings = [*image.meta.get("warnings", ()), *result.warnings]
        writers = arguments.dicom.writers(others, result.label_map, series, result.provenance)
        files.write(result, request, warnings, writers)
    except Cancelled:
        raise
    except MedSegAIError as error:
        return Report(case.name, "failed", seconds=_since(started), error=str(error))
    except MemoryError:
        reason = "There is not enough main memory for this volume. Crop it, or use a machine with more memory."
        return Report(case.name, "failed", seconds=_since(started), error=reason)
    except Exception as error:  # a mistake of ours must not cost the rest of a night's batch
        reason = f"Unexpected {type(error).__name__}: {error}. Please report this."
        return Report(case.name, "failed", seconds=_since(started), error=reason)
    return Report(case.name, "done", str(files.output), result.label_map.volumes_ml(), _since(started), warnings)


def _fingerprint(image: Image, shown: Image, predictor: Predictor, arguments: argparse.Namespace) -> str:
    """What the result depends on; a finished case with another fingerprint is segmented again."""
    from MedSegAILib.inference.provenance import geometry_hash, voxels_hash

    parts = [
        voxels_hash(image), geometry_hash(image), geometry_hash(shown), predictor.model.checksum, predictor.folds,
        [dataclasses.asdict(part.settings) for part in predictor.parts], arguments.probabilities, arguments.uncertainty,
        *arguments.dicom.request,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _make_folder(folder: Path):
    """Also tries whether files can be made there, before hours of work are spent on results that cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        what = "written to" if folder.is_dir() else "made"
        raise OutputError(
            f"The output folder {folder} cannot be {what}: {error.strerror}. Choose another one with --output."
        ) from error


def _line(report: Report, number: int, count: int) -> str:
    head = f"[{number}/{count}] {report.case}:"
    if report.status == "failed":
        return f"{head} FAILED. {report.error}"
    volumes = ", ".join(f"{id} {format_volume(volume)}" for id, volume in report.volumes_ml.items())
    took = "already done" if report.status == "skipped" else f"{report.seconds:.1f} s"
    warnings = "".join(f"\n    warning: {warning}" for warning in report.warnings)
    return f"{head} {volumes} ({took}){warnings}"


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
