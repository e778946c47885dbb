"""Entry point of ``medsegai``: reads the arguments, runs a sub-command, and turns errors into one line and a status."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from MedSegAICore import VERSION
from MedSegAICore.errors import Cancelled, MedSegAIError
from MedSegAILib.commands import compare, demo, doctor, export_dicom, models, observers, segment, study, train
from MedSegAILib.commands.status import CANCELLED, DONE, SOME_FAILED, USAGE

SUBCOMMANDS = (segment, compare, observers, export_dicom, models, train, study, doctor, demo)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="medsegai",
        description="Segment volumes with U-Nets, compare segmentations, train and manage models, run annotation "
        "studies. Research use only.",
        epilog=f"Exit status: 0 done, {SOME_FAILED} some cases failed, {USAGE} wrong usage, {CANCELLED} Ctrl-C.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for subcommand in SUBCOMMANDS:
        subcommand.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``medsegai`` with these arguments (by default the process's) and return its exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        parsed = make_parser().parse_args(arguments)
    except SystemExit as stop:  # argparse has printed what was wrong, or the help
        return int(stop.code or 0)
    try:
        return parsed.run(parsed)
    except (KeyboardInterrupt, Cancelled) as stop:
        print(f"\nmedsegai: {stop}" if str(stop) else "\nmedsegai: Stopped.", file=sys.stderr)
        return CANCELLED
    except BrokenPipeError:  # whoever reads our output, such as head, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except MedSegAIError as error:
        print(f"medsegai: {error}", file=sys.stderr)
        return getattr(parsed, "status_of_error", USAGE)
