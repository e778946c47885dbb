"""The part of ``check`` about what an annotator's application wrote: logs, versions, autosaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from MedSegAICore.errors import InputError
from MedSegAILib.study.assignment import Task
from MedSegAILib.study.documents import file_checksum
from MedSegAILib.study.events import LOG_SUFFIX, Log, seconds_of
from MedSegAILib.study.folder import ANNOTATORS, Study
from MedSegAILib.study.outbox import LOGS
from MedSegAILib.study.versions import AUTOSAVE, FOLDERS, SUFFIX, VERSION, VersionName, read_sidecar, sidecar_of

Report = Callable[..., None]


def check_annotator(
    study: Study, annotator: str, tasks: Sequence[Task], cases: dict[str, dict], report: Report
) -> None:
    """Report what does not fit in an annotator's folder: ``report(path, sentence, harmless=False)``."""
    folder = study.folder / ANNOTATORS / annotator
    case_of = {task.code: cases.get(task.case) for task in tasks}
    logs = study.logs(annotator)
    _check_logs(study, annotator, logs, set(case_of), report)
    named = {event["file"]: event["sha256"] for log in logs for event in log.events if "file" in event}
    submitted = {event["version"] for log in logs for event in log.events if event["event"] == "submitted"}
    found = {kind: _check_files(folder / FOLDERS[kind], kind, case_of, named, report) for kind in FOLDERS}
    for file in sorted(set(named) | submitted):
        name = VersionName.parse(file)
        if name is None or (name.kind == VERSION and name not in found[VERSION]):
            report(folder / FOLDERS[VERSION] / file, "The log names this version, but the file is missing.")
    newest_named = {}
    for name in filter(None, map(VersionName.parse, named)):
        if name.kind == AUTOSAVE and name.number >= newest_named.get(name.task, name).number:
            newest_named[name.task] = name
    for name in newest_named.values():  # the older ones are deleted on purpose
        if name not in found[AUTOSAVE]:
            report(folder / name.place, "The log names this autosave as the last one, but the file is missing.")
    numbers = Counter((name.task, name.number) for name in found[VERSION])
    for (task, number), count in numbers.items():
        if count > 1:
            sentence = f"There are {count} versions {number} of task {task}: two runs saved at the same time."
            report(folder / FOLDERS[VERSION], sentence, True)


def _check_logs(study: Study, annotator: str, logs: Sequence[Log], tasks: set[str], report: Report) -> None:
    runs: dict[str, Path] = {}
    for log in logs:
        for problem in log.problems:
            report(log.path, f"The log is broken: {problem}. The intact lines are used; restore it from a copy.")
        if log.torn:
            report(log.path, "The last line is incomplete: the application or the delivery was interrupted.", True)
        for problem in log.clock_problems:
            report(log.path, f"{problem[0].upper()}{problem[1:]}; the order of events does not depend on it.", True)
        _check_header(study, annotator, log, runs, report)
        for event in log.events:
            if event.get("task") is not None and event["task"] not in tasks:
                report(
                    log.path, f"Event {event['seq']} names the task {event['task']!r}, which is not this annotator's."
                )
    ended = sorted((log for log in logs if log.header), key=lambda log: (log.header["turn"], log.header["run"]))
    for before, after in pairwise(ended):
        earlier = before.header["turn"] < after.header["turn"]
        if earlier and seconds_of(after.header["t"]) < seconds_of(before.events[-1]["t"]):
            sentence = "This run began before the one before it ended: the clock was set back, or two ran at once."
            report(after.path, sentence, True)
    for path in (study.folder / ANNOTATORS / annotator / LOGS).iterdir():
        if path.suffix != LOG_SUFFIX and not path.name.startswith("."):
            report(path, "This is not a log. Move it elsewhere.")


def _check_header(study: Study, annotator: str, log: Log, runs: dict[str, Path], report: Report) -> None:
    header = log.header
    if not header:
        report(log.path, "The log has no first line that says whose it is.", not log.events and not log.problems)
        return
    if (header["study"], header["annotator"]) != (study.id, annotator):
        whose = f"{header['annotator']} in study {header['study']}"
        report(log.path, f"This is the log of {whose}, not of {annotator} in study {study.id}. Move it there.")
    if header["run"] in runs:
        report(log.path, f"This log is a copy of {runs[header['run']].name}; its events are counted once.")
    runs[header["run"]] = log.path


def _check_files(
    folder: Path, kind: str, case_of: dict[str, dict | None], named: dict[str, str], report: Report
) -> set[VersionName]:
    """Check versions or autosaves; the names of those that are there."""
    found = set()
    paths = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")] if folder.is_dir() else []
    for path in paths:
        if path.name.endswith(".json"):
            if not path.with_name(path.name[: -len(".json")] + SUFFIX).exists():
                report(path, "A sidecar without its segmentation: the save was interrupted before it counted.", True)
            continue
        name = VersionName.parse(path.name)
        if name is None or name.kind != kind:
            report(path, "This is not a file of the study. Move it elsewhere.")
            continue
        found.add(name)
        _check_version(path, name, case_of, named, report)
    return found


def _check_version(
    path: Path, name: VersionName, case_of: dict[str, dict | None], named: dict[str, str], report: Report
) -> None:
    if name.task not in case_of:
        report(path, f"Task {name.task!r} is not one of this annotator.")
        return
    if path.name not in named:
        report(path, "No event names this file: a crash, or its log is missing. The next run takes it into its log.")
    if not sidecar_of(path).exists():
        report(path, "The sidecar is missing. Restore it from a copy.")
        return
    try:
        record = read_sidecar(path)
    except InputError as error:
        report(sidecar_of(path), str(error))
        return
    sha256 = file_checksum(path)
    if sha256 != record["file_sha256"] or sha256 != named.get(path.name, sha256):
        report(path, "The file was altered after it was saved. Restore it from a copy.")
    case = case_of[name.task]
    if case is not None and record["grid"] != case["grid"]:
        report(path, "The version was saved on another grid than its image's.")
