"""``medsegai observers``: several people's segmentations of the same images; agreement, consensus and maps out."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSegAICore import VERSION
from MedSegAICore.errors import InputError
from MedSegAILib.commands.compare import (
    SURFACES,
    label_names,
    name_list,
    number_list,
    print_lines,
    text_of,
)
from MedSegAILib.commands.observer_output import ObserverOutput
from MedSegAILib.commands.status import DONE, SOME_FAILED
from MedSegAILib.commands.terminal import ProgressLine, say

# Not at the top: in Slicer's developer mode the metrics package is not on the path yet when this module loads.
if TYPE_CHECKING:
    from MedSegAIMetricsLib.observer_comparison import ObserverAgreement
    from MedSegAIMetricsLib.observer_files import ObserverFiles

SHOWN = {  # first parts of names
    "all observers": ("ci_gen", "fleiss_kappa", "krippendorff_alpha", "gwet_ac1", "volume_cv_percent"),
    "pairs": ("dice", "hd", "assd", "nsd"),
}
SHOWN_RELIABILITY = ("icc_a1", "icc_c1", "loam", "reproducibility_coefficient")
WORST = 6
RANKED_BY = "ci_gen"


@dataclass
class Cohort:
    """What became of the cases. ``failed``: why a case could not be compared; ``unwritten``: why one that could has no
    consensus or maps; ``notes``: sentences to be said. All by case."""

    cases: dict[str, ObserverAgreement] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    unwritten: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)


def add_parser(subparsers):
    parser = subparsers.add_parser(
        "observers",
        help="agreement, consensus and maps of several people's segmentations",
        description="Compare two or more segmentations of each case, every pair and all together. A case is a folder "
        "with one segmentation file of each observer (.seg.nrrd, NIfTI, NRRD, DICOM SEG); the file names are the "
        "observers' codes, the same in all cases. A folder of case folders, or the files of one case, will do too. "
        "Leave the AI's draft out: what observers took over from it would count as agreement.",
    )
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="CASE_FOLDER", help="folder of a case, or all files of one case"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="write pairs.csv, agreement.csv, volumes.csv, "
                        "reliability.csv and summary.csv into this folder; is created")  # fmt: skip
    parser.add_argument("--consensus", type=name_list, default=(), metavar="METHOD,...", help="also write "
                        "consensus/<case>_<method>.seg.nrrd: majority, staple, shape")  # fmt: skip
    parser.add_argument("--maps", action="store_true", help="also write maps/<case>_<segment>_probability.nrrd (share "
                        "of observers) and ..._entropy.nrrd (in bits)")  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace a consensus that differs from the new one")
    parser.add_argument("--measures", type=name_list, metavar="NAME,...", help="of the pairs: measures or groups, "
                        "as for compare (default: all but those on request)")  # fmt: skip
    parser.add_argument("--percentile", type=number_list, default=(95,), metavar="P,...", help="of the Hausdorff "
                        "distance")  # fmt: skip
    parser.add_argument("--tolerance-mm", type=number_list, default=(1, 2, 3), metavar="MM,...", help="of the "
                        "surface Dice")  # fmt: skip
    parser.add_argument("--surface", choices=SURFACES, default=SURFACES[0], help="where distances are taken, as for "
                        "compare (default: %(default)s)")  # fmt: skip
    parser.add_argument("--region", help="where background is counted: image, or the box of the masks and a margin "
                        "(default: union+10mm)")  # fmt: skip
    parser.add_argument("--labels", type=label_names, metavar="VALUE=NAME,...", help="names of the labels of files "
                        "that have none; an observer who lacks one found nothing")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print all tables as one JSON object to standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Raises MedSegAIError if the inputs or settings cannot be used at all."""
    from MedSegAIMetricsLib.observer_files import find_observer_files
    from MedSegAIMetricsLib.observer_tables import tables_of, without_nan

    settings = _settings(arguments)
    found = find_observer_files(arguments.inputs)
    output = _output(arguments, found)
    cohort = _compare(found, arguments, settings, output)
    tables = tables_of(cohort.cases, cohort.failed)
    if output is not None and tables:
        output.write_tables(tables, _record(cohort, settings))
    if arguments.json:
        print(json.dumps({**without_nan(tables), "failed": cohort.failed | cohort.unwritten}, indent=2), flush=True)
    elif cohort.cases:
        _print_summary(cohort, tables)
    for case, notes in cohort.notes.items():
        for note in notes:
            say(f"{case}: {note}")
    for problem, cases in (("failed", cohort.failed), ("not written", cohort.unwritten)):
        for case, reason in cases.items():
            say(f"{case}: {problem}: {reason.rstrip('.')}.")
    return SOME_FAILED if cohort.failed or cohort.unwritten else DONE


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of ``compare_observers``. Raises InputError for wrong ones: no matter of one case."""
    from MedSegAIMetricsLib.comparison import Settings
    from MedSegAIMetricsLib.observer_comparison import DEFAULT_REGION, check_methods

    settings = {
        "measures": arguments.measures,
        "percentiles": arguments.percentile,
        "tolerances_mm": arguments.tolerance_mm,
        "surface": arguments.surface,
        "region": arguments.region or DEFAULT_REGION,
    }
    Settings.of(**settings)
    check_methods(arguments.consensus)
    return settings


def _output(arguments: argparse.Namespace, found: list[ObserverFiles]) -> ObserverOutput | None:
    if arguments.output is None:
        if arguments.consensus or arguments.maps:
            raise InputError("There is no folder for the consensus and the maps. Name one with --output DIR.")
        return None
    folder = arguments.output.resolve()
    inputs = {path.resolve() for path in arguments.inputs}
    inputs |= {path.resolve().parent for files in found for path in files.files.values()}
    if folder in inputs:
        raise InputError(
            f"{arguments.output} holds the segmentations of observers. Choose another folder for the results, so that "
            "they are not taken for segmentations later."
        )
    return ObserverOutput(arguments.output, arguments.overwrite)


def _compare(found: list[ObserverFiles], arguments, settings: dict[str, Any], output: ObserverOutput | None) -> Cohort:
    from MedSegAIMetricsLib.cohort import sentence_of

    cohort = Cohort()
    with ProgressLine(f"comparing observers of {len(found)} case(s)") as progress:
        for number, files in enumerate(found):

            def of_case(fraction: float, _: str, number: int = number, name: str = files.case):
                progress((number + fraction) / len(found), name)

            try:
                comparison = files.compare(arguments.labels, {**settings, "progress": of_case})
                cohort.cases[files.case] = comparison.agreement
                cohort.notes[files.case] = list(comparison.agreement.notes)
                if output is not None:
                    cohort.notes[files.case] += output.write_case(comparison, arguments.consensus, arguments.maps)
            except Exception as error:  # one bad case never stops a batch
                problems = cohort.unwritten if files.case in cohort.cases else cohort.failed
                problems[files.case] = sentence_of(error)
    return cohort


def _record(cohort: Cohort, settings: dict[str, Any]) -> dict[str, Any]:
    """How the tables were made, without a time, so that the same input gives the same bytes."""
    import numpy
    import scipy

    return {
        "cases": {case: {"observers": list(own.observers), "notes": cohort.notes[case]} for case, own in
                  cohort.cases.items()},
        "failed": cohort.failed,
        "not_written": cohort.unwritten,
        "settings": {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()},
        "software": {"medsegai": VERSION, "numpy": numpy.__version__, "scipy": scipy.__version__},
        "notice": "Research use only.",
    }  # fmt: skip


def _print_summary(cohort: Cohort, tables: dict[str, list[dict[str, Any]]]):
    from MedSegAIMetricsLib.observer_tables import cohort_lines
    from MedSegAIMetricsLib.tables import SummaryLine

    observers = dict.fromkeys(name for case in cohort.cases.values() for name in case.observers)
    region = tables["agreement"][0]["region"]
    print(f"{len(cohort.cases)} case(s), {len(observers)} observers: {', '.join(observers)}. Research use only.")
    print(f"Background is counted in the region {region}.\n")
    shown = [
        SummaryLine(line.segment, line.measure, line.figures, line.of)
        for line in cohort_lines(cohort.cases)
        if line.measure.name.startswith(SHOWN[line.of])
    ]
    print_lines(shown)
    if len(cohort.cases) > 1:
        _print_reliability(tables["reliability"])
        _print_worst(tables["agreement"])


def _print_reliability(rows: list[dict[str, Any]]):
    print(f"\n{'Volumes over all cases':<34}{'n':>5}{'value':>9}{'95 % interval':>20}")
    segment = None
    for row in rows:
        if row["measure"] not in SHOWN_RELIABILITY or row["of"] != "volume_ml":
            continue
        if row["segment"] != segment:
            segment = row["segment"]
            print(segment)
        value, low, high = (text_of(row[key]) for key in ("value", "low", "high"))
        interval = "-" if low == "-" else f"{low} to {high}"
        unit = f" {row['unit']}" if row["unit"] else ""
        print(f"  {row['measure']:<32}{row['n']:>5}{value:>9}{interval:>20}{unit}")


def _print_worst(rows: list[dict[str, Any]]):
    """Where observers agree least; segments that nobody drew come last."""
    compared = [row for row in rows if RANKED_BY in row]
    worst = sorted(compared, key=lambda row: (math.isnan(row[RANKED_BY]), row[RANKED_BY]))[:WORST]
    print(f"\nLeast agreement first by {RANKED_BY}:")
    for row in worst:
        print(f"  {row['case']:<32}{row['segment']:<24}{text_of(row[RANKED_BY]):>9}")
