"""``medsegai study``: make an annotation study, add cases, assign them, see how far it is, and check its folder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from MedSegAICore.errors import InputError, MedSegAIError
from MedSegAICore.files import read_label_map
from MedSegAILib.commands.status import DONE, SOME_FAILED
from MedSegAILib.study import Study, StudyDefinition, check
from MedSegAILib.study.definition import ARMS, DESIGNS
from MedSegAILib.study.states import STATES

_PRIVATE = "folder outside the study that only you can open: names and file names are kept there"


def add_parser(subparsers):
    parser = subparsers.add_parser("study", help="annotation studies: create, add cases, assign, status, check")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_init(actions)
    adding = actions.add_parser("add-cases", help="copy images into the study under codes, without patient data")
    adding.add_argument("study", type=Path, metavar="STUDY")
    adding.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="image file or folder of a DICOM series")
    adding.add_argument("--private", type=Path, required=True, metavar="DIR", help=_PRIVATE)
    adding.add_argument("--reference", action="store_true", help="leave files where they are; annotators see the paths")
    adding.set_defaults(run=run_add_cases)
    assign = actions.add_parser("assign", help="decide who annotates which case when, and freeze it")
    assign.add_argument("study", type=Path, metavar="STUDY")
    assign.add_argument("names", nargs="+", metavar="NAME", help="of the annotators; in the study they are r01, r02, …")
    assign.add_argument("--private", type=Path, required=True, metavar="DIR", help=_PRIVATE)
    assign.set_defaults(run=run_assign)
    status = actions.add_parser("status", help="how many tasks of each annotator and case are in which state")
    checking = actions.add_parser("check", help="find and explain what does not fit together; nothing is repaired")
    for action, run in ((status, run_status), (checking, run_check)):
        action.add_argument("study", type=Path, metavar="STUDY")
        action.add_argument("--json", action="store_true", help="print JSON")
        action.set_defaults(run=run)


def _add_init(actions):
    init = actions.add_parser("init", help="make a study folder")
    init.add_argument("study", type=Path, metavar="STUDY", help="new or empty folder, on the share of the annotators")
    init.add_argument("--title", required=True)
    init.add_argument(
        "--segments", type=Path, required=True, metavar="FILE",
        help="a segmentation (.seg.nrrd) whose segments are to be annotated, or JSON: [{id, name, color, terminology, "
        "allow_empty, tolerance_mm}, …]",
    )  # fmt: skip
    default = {
        field: getattr(StudyDefinition, field) for field in ("design", "washout_days", "repeats", "shams", "seed")
    }
    init.add_argument("--arms", default=",".join(ARMS), metavar="ARM,…", help="default: %(default)s")
    init.add_argument("--design", choices=DESIGNS, default=default["design"], help="default: %(default)s")
    init.add_argument(
        "--washout-days", type=float, default=default["washout_days"], metavar="N",
        help="between the periods in which an annotator meets the same case; default: %(default)s",
    )  # fmt: skip
    init.add_argument(
        "--repeats", type=float, default=default["repeats"], metavar="FRACTION", help="hidden, of the cases"
    )
    init.add_argument("--shams", type=float, default=default["shams"], metavar="FRACTION", help="of the draft tasks")
    init.add_argument("--seed", type=int, default=default["seed"], help="of the assignment; default: %(default)s")
    init.add_argument(
        "--threshold", action="append", default=[], metavar="NAME=NUMBER", help="of the analysis: idle_s=30"
    )
    init.set_defaults(run=run_init)


def run_init(arguments: argparse.Namespace) -> int:
    """Raises InputError or OutputError."""
    definition = StudyDefinition.from_dict({
        "title": arguments.title,
        "segments": _segments(arguments.segments),
        "arms": [arm.strip() for arm in arguments.arms.split(",")],
        "design": arguments.design,
        "washout_days": arguments.washout_days,
        "repeats": arguments.repeats,
        "shams": arguments.shams,
        "seed": arguments.seed,
        "thresholds": dict(map(_threshold, arguments.threshold)),
    })  # fmt: skip
    study = Study.create(arguments.study, definition)
    names = ", ".join(segment.name for segment in definition.segments)
    print(f"Made the study {study.id} in {study.folder} with the segments {names}. Next: medsegai study add-cases")
    return DONE


def _segments(path: Path) -> list[dict]:
    """From a segmentation, or from JSON. Raises InputError if the file is neither."""
    if path.suffix.lower() != ".json":
        return [
            {"id": label.id, "name": label.name, "color": list(label.color), "terminology": label.terminology}
            for label in read_label_map(path).labels
        ]
    try:
        segments = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}. Give a JSON list of segments.") from error
    return segments


def _threshold(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise InputError(f"A threshold is NAME=NUMBER, for example idle_s=30, not {text!r}.") from error


def run_add_cases(arguments: argparse.Namespace) -> int:
    """One bad image does not stop the others. Raises InputError if the study or the private folder cannot be used."""
    study = Study.open(arguments.study)
    study.add_cases([], private=arguments.private)
    failed = 0
    for image in arguments.images:
        try:
            (code,) = study.add_cases([image], private=arguments.private, copy=not arguments.reference)
            print(f"{code}  {image}")
        except MedSegAIError as error:
            failed += 1
            print(f"failed     {error}")
    print(f"{len(arguments.images) - failed} of {len(arguments.images)} added; the study has {len(study.cases)} cases.")
    return SOME_FAILED if failed else DONE


def run_assign(arguments: argparse.Namespace) -> int:
    """Raises InputError or OutputError."""
    study = Study.open(arguments.study)
    tasks = study.assign(arguments.names, private=arguments.private)
    annotators = sorted({task.annotator for task in tasks})
    print(
        f"Assigned {len(tasks)} tasks to {', '.join(annotators)}; it is frozen now. "
        f"Who they are is in {arguments.private / 'annotators.csv'}."
    )
    return DONE


def run_status(arguments: argparse.Namespace) -> int:
    """Raises InputError if a document of the study is missing or altered."""
    status = Study.open(arguments.study).status()
    if arguments.json:
        print(json.dumps(status, indent=2))
        return DONE
    for kind, counts in status.items():
        used = [state for state in STATES if any(count[state] for count in counts.values())]
        rows = [[code, *(str(count[state]) for state in used)] for code, count in sorted(counts.items())]
        print(_table([[kind, *used], *rows]))
    return DONE


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"


def run_check(arguments: argparse.Namespace) -> int:
    """The exit status is 1 if there is a finding that is not harmless. Raises InputError without ``study.json``."""
    findings = check(arguments.study)
    if arguments.json:
        entries = [{"path": f.path, "sentence": f.sentence, "harmless": f.harmless} for f in findings]
        print(json.dumps(entries, indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            print(f"{'note' if finding.harmless else 'WRONG'}  {finding}")
        wrong = sum(not finding.harmless for finding in findings)
        print(f"{wrong} findings, {len(findings) - wrong} harmless notes." if findings else "Everything fits together.")
    return SOME_FAILED if any(not finding.harmless for finding in findings) else DONE
