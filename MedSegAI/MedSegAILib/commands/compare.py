"""``medsegai compare``: two label maps or two folders of them, measures as table, CSV, JSON and HTML report out."""

from __future__ import annotations

import argparse
import json
import math
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSegAICore import VERSION
from MedSegAICore.errors import InputError
from MedSegAICore.files import atomic_path
from MedSegAILib.commands import cluster
from MedSegAILib.commands.status import DONE, SOME_FAILED
from MedSegAILib.commands.terminal import ProgressLine, say
from MedSegAILib.commands.worst_pictures import PICTURES, WorstPictures

# Not at the top: in Slicer's developer mode the metrics package is not on the path yet when this module loads.
if TYPE_CHECKING:
    from MedSegAIMetricsLib.cohort import CaseFiles
    from MedSegAIMetricsLib.label_maps import SegmentComparison
    from MedSegAIMetricsLib.measures import Measure
    from MedSegAIMetricsLib.tables import Row

SURFACES = ("face", "surfel", "voxelcenter", "smooth")
IN_SUBGROUPS = ("dice", "hd95", "nsd")
SHOWN = ("dice", "hd", "assd", "nsd", "volume_difference_percent", "lesion_f1")  # first parts of names on the terminal


def add_parser(subparsers):
    parser = subparsers.add_parser(
        "compare",
        help="compare segmentations with their references",
        description="Compare two label maps (.seg.nrrd, NIfTI, NRRD, ...), or the files of two folders by case name. "
        "Prints a summary, the worst cases first; a case without a test counts as a failure and is never dropped.",
    )
    parser.add_argument("reference", type=Path, metavar="REFERENCE", help="file or folder of reference segmentations")
    parser.add_argument("test", type=Path, metavar="TEST", help="file or folder of segmentations to judge")
    parser.add_argument("--measures", type=name_list, metavar="NAME,...", help="measures or groups: counts, overlap, "
                        "volume, surface, lesions (default: all but those on request)")  # fmt: skip
    parser.add_argument(
        "--percentile", type=number_list, default=(95,), metavar="P,...", help="of the Hausdorff distance"
    )
    parser.add_argument(
        "--tolerance-mm", type=number_list, default=(1, 2, 3), metavar="MM,...", help="of the surface Dice"
    )
    parser.add_argument("--surface", choices=SURFACES, default=SURFACES[0], help="where distances are taken: voxel "
                        "faces, as surface-distance, medpy and MONAI, smoothed (default: %(default)s)")  # fmt: skip
    parser.add_argument("--region", default="image", help="where true negatives are counted: image, or for example "
                        "union+10mm (default: %(default)s)")  # fmt: skip
    parser.add_argument("--grid", choices=("reference", "test"), default="reference", help="on whose voxels to measure")
    parser.add_argument("--labels", type=label_names, metavar="VALUE=NAME,...", help="names of the labels of files "
                        "that have none; these are compared in every case, also where both are empty")  # fmt: skip
    parser.add_argument("--subgroups", type=Path, metavar="FILE.csv", help="a line per case: its name, then age, sex, "
                        "scanner, site, split ...")  # fmt: skip
    parser.add_argument("--images", type=Path, metavar="PATH", help="file or folder of the images, for the pictures")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all rows, and the summary to FILE_summary.csv")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report in one file")
    parser.add_argument("--json", action="store_true", help="print one JSON list of all rows to standard output")
    cluster.add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Raises MedSegAIError if the inputs or settings cannot be used at all."""
    from MedSegAIMetricsLib.tables import COMPARED

    worst = WorstPictures(measures_of(arguments), arguments.images, say) if arguments.html else None
    rows = _compare(arguments, worst)
    _write(arguments, rows, worst)
    if arguments.json:
        print(json.dumps([_json_row(row) for row in rows], indent=2), flush=True)
    else:
        _print_summary(rows, measures_of(arguments))
    failed = {row.case: row for row in rows if row.status != COMPARED}
    for row in failed.values():
        say(f"{row.case}: {row.status}: {row.reason.rstrip('.')}.")
    for note in dict.fromkeys(row.matched for row in rows if "resampled" in row.matched):
        say(note)
    return SOME_FAILED if failed else DONE


def _compare(arguments: argparse.Namespace, worst: WorstPictures | None) -> list[Row]:
    from MedSegAILib.commands.compare_cluster import compare_on_cluster
    from MedSegAIMetricsLib.cohort import compare_files, match_files, read_subgroups

    cases = match_files(arguments.reference, arguments.test)
    groups = read_subgroups(arguments.subgroups) if arguments.subgroups else None
    if groups is not None and not groups.keys() & {files.case for files in cases}:
        raise InputError(
            f"{arguments.subgroups} names no case that is compared: it has {next(iter(groups))!r}, the files "
            f"{cases[0].case!r}. Its first column must hold the names of the cases."
        )
    if cluster.is_wanted(arguments):
        return compare_on_cluster(cases, arguments, groups, worst)
    with ProgressLine(f"comparing {len(cases)} case(s)") as progress:

        def done(files: CaseFiles, rows: list[Row], comparison: SegmentComparison | None):
            number = cases.index(files)
            progress((number + 1) / len(cases), files.case)
            if worst is not None and comparison is not None:
                worst.add(number, files.case, rows, comparison)

        return compare_files(
            cases, settings_of(arguments), grid=arguments.grid, labels=arguments.labels, groups=groups, done=done
        )


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of ``compare_label_maps``."""
    return {
        "measures": arguments.measures,
        "percentiles": arguments.percentile,
        "tolerances_mm": arguments.tolerance_mm,
        "surface": arguments.surface,
        "region": arguments.region,
    }


def measures_of(arguments: argparse.Namespace) -> tuple[Measure, ...]:
    """Raises InputError for wrong settings."""
    from MedSegAIMetricsLib.comparison import Settings

    return Settings.of(**settings_of(arguments)).measures


def _write(arguments: argparse.Namespace, rows: list[Row], worst: WorstPictures | None):
    from MedSegAIMetricsLib.report import html_report
    from MedSegAIMetricsLib.tables import rows_csv, summarize, summarize_subgroups, summary_csv

    measures = measures_of(arguments)
    if arguments.csv:
        lines = summarize(rows, measures) + [
            line for own in summarize_subgroups(rows, measures).values() for line in own
        ]
        summary = arguments.csv.with_name(f"{arguments.csv.stem}_summary.csv")
        _write_text(arguments.csv, rows_csv(rows, measures))
        _write_text(summary, summary_csv(lines))
    if arguments.html:
        facts = [
            ("Reference", arguments.reference.name),
            ("Test", arguments.test.name),
            ("Surface", arguments.surface),
            ("Region of true negatives", arguments.region),
            ("Measured on the grid of the", arguments.grid),
            ("Subgroups", arguments.subgroups.name if arguments.subgroups else "none"),
            ("MedSegAI", VERSION),
            ("Date (UTC)", datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M")),
        ]
        title = f"{arguments.test.name} compared with {arguments.reference.name}"
        _write_text(arguments.html, html_report(title, facts, rows, measures, worst.pictures))


def _write_text(path: Path, text: str):
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _print_summary(rows: list[Row], measures: tuple[Measure, ...]):
    from MedSegAIMetricsLib.tables import summarize, summarize_subgroups

    shown = [m for m in measures if m.name.startswith(SHOWN) and m.better]
    shown = shown if shown else list(measures)
    print(f"{len({row.case for row in rows})} case(s), {len(rows)} row(s). Research use only.")
    print_lines(summarize(rows, shown))
    few = [m for m in shown if m.name.startswith(IN_SUBGROUPS)]
    tolerances = [m for m in few if m.parameter == "tolerance_mm"]
    few = [m for m in few if m not in tolerances[1:]]
    for column, lines in summarize_subgroups(rows, few or shown[:1]).items():
        print(f"\nBy {column}:")
        print_lines(lines)
    _print_worst(rows, measures)


def print_lines(lines):
    print(f"{'':<34}{'n':>5}{'mean':>9}{'95 % interval':>20}{'SD':>9}{'median':>9}{'quartiles':>20}{'undef.':>8}")
    previous = None
    for line in lines:
        group = f"{line.subgroup}, " if line.subgroup else ""
        if (heading := f"{group}{line.segment or '(no segment)'}") != previous:
            print(heading)
            previous = heading
        f = line.figures
        print(
            f"  {line.measure.name:<32}{f.n:>5}{text_of(f.mean):>9}{_range(f.ci_low, f.ci_high):>20}{text_of(f.sd):>9}"
            f"{text_of(f.median):>9}{_range(f.q1, f.q3):>20}{f.undefined:>8}"
        )


def _print_worst(rows: list[Row], measures: tuple[Measure, ...]):
    from MedSegAIMetricsLib.tables import ranking_measure, worst_first

    if len(rows) < 2 or (measure := ranking_measure(measures)) is None:
        return
    print(f"\nWorst first by {measure.name}:")
    for row in worst_first(rows, measure)[:PICTURES]:
        reason = f"  {row.reason}" if row.reason else ""
        print(f"  {row.case:<32}{row.segment:<24}{text_of(row.values.get(measure.name, math.nan)):>9}{reason}")


def text_of(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"


def _range(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{text_of(low)} to {text_of(high)}"


def _json_row(row: Row) -> dict[str, Any]:
    """JSON has no NaN: what does not exist is null, and ``reason`` says why."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.as_dict().items()}


def name_list(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def number_list(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected numbers such as 1,2,3, got {text!r}") from error


def label_names(text: str) -> dict[int, str]:
    try:
        return {int(value): name.strip() for value, name in (part.split("=", 1) for part in text.split(","))}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected 1=anterior,2=posterior, got {text!r}") from error
