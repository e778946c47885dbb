"""Find what does not fit together in a study folder, and explain it; nothing is repaired."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from MedSegAICore.errors import InputError
from MedSegAILib.study.assignment import Task
from MedSegAILib.study.cases import CASES, IMAGES
from MedSegAILib.study.check_annotator import check_annotator
from MedSegAILib.study.desk import WORKLIST
from MedSegAILib.study.documents import file_checksum, read_document
from MedSegAILib.study.folder import ANNOTATORS, ASSIGNMENTS, DRAFTS, REVIEWS, STARTS, STUDY, Study
from MedSegAILib.study.outbox import INBOX

_LEFTOVERS = (".part-", ".medsegai-")


@dataclass(frozen=True)
class Finding:
    """Something that does not fit. ``path``: relative to the study folder. ``harmless``: explained by an interrupted
    save or a clock that was set; no work is lost or in doubt."""

    path: str
    sentence: str
    harmless: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.sentence}"


def check(folder: Path) -> list[Finding]:
    """All findings in a study folder, sorted by path. Raises InputError if there is no usable ``study.json``."""
    study = Study.open(folder)
    findings: list[Finding] = []

    def report(path: Path, sentence: str, harmless: bool = False) -> None:
        findings.append(Finding(path.relative_to(study.folder).as_posix(), sentence, harmless))

    _check_names(study.folder, report)
    cases = dict(_readable(study.folder / CASES, report))
    _check_images(study.folder, cases, report)
    tasks = _check_assignment(study, cases, report)
    for annotator in sorted({task.annotator for task in tasks}):
        own = [task for task in tasks if task.annotator == annotator]
        _check_work_list(study, annotator, own, cases, report)
        check_annotator(study, annotator, own, cases, report)
    _check_drafts(study.folder, tasks, report)
    _check_reviews(study.folder, report)
    return sorted(findings, key=lambda finding: (finding.path, finding.sentence))


Report = Callable[..., None]


def _readable(folder: Path, report: Report) -> Iterator[tuple[str, dict]]:
    """The documents in a folder that can be read, by name without suffix; a finding for each other."""
    for path in sorted(folder.glob("*.json")):
        try:
            yield path.stem, read_document(path)
        except InputError as error:
            report(path, str(error))


def _check_names(folder: Path, report: Report) -> None:
    """Files that no part of the program makes, and what interrupted writing left."""
    known = {STUDY, ASSIGNMENTS, CASES, IMAGES, ANNOTATORS, DRAFTS, REVIEWS}
    for path in folder.rglob("*"):
        if path.is_file() and path.name.startswith(_LEFTOVERS):
            report(path, "A save was interrupted here. Nothing that was complete is lost; delete the file.", True)
        elif path.parent == folder and path.name not in known and not path.name.startswith("."):
            report(path, "This does not belong to the study. Move it elsewhere.")


def _check_images(folder: Path, cases: dict[str, dict], report: Report) -> None:
    known = set()
    for record in cases.values():
        path = folder / record["image"]
        known.add(path)
        where = path if path.is_relative_to(folder) else folder / CASES / f"{record['case']}.json"
        try:
            if file_checksum(path) != record["image_sha256"]:
                report(where, "The image was altered since it was added. Restore it from a copy.")
        except InputError:
            report(where, f"The image of case {record['case']} is missing. Restore it from a copy.")
    for path in sorted((folder / IMAGES).iterdir()) if (folder / IMAGES).is_dir() else ():
        if path not in known and not path.name.startswith("."):
            report(path, "This image belongs to no case: adding it was interrupted, or its case is missing.")


def _check_assignment(study: Study, cases: dict[str, dict], report: Report) -> tuple[Task, ...]:
    path = study.folder / ASSIGNMENTS
    if not path.exists():
        if any((study.folder / ANNOTATORS).glob("*/*/*")):
            report(path, "The assignment is missing, but annotators have worked. Restore it from a copy.")
        return ()
    try:
        document = read_document(path)
    except InputError as error:
        report(path, str(error))
        return ()
    if document["study"] != study.id:
        report(path, f"This is the assignment of study {document['study']}, not of {study.id}.")
    if document["study_sha256"] != read_document(study.folder / STUDY)["sha256"]:
        report(study.folder / STUDY, "The definition was changed after the assignment was frozen.")
    for code, sha256 in document["cases_sha256"].items():
        if code not in cases:
            report(study.folder / CASES / f"{code}.json", "The case is assigned, but its document is missing.")
        elif cases[code]["sha256"] != sha256:
            report(study.folder / CASES / f"{code}.json", "The case was changed after the assignment was frozen.")
    for code in sorted(set(cases) - set(document["cases_sha256"])):
        report(study.folder / CASES / f"{code}.json", "The case was added after the assignment was frozen.")
    known = {task["annotator"] for task in document["tasks"]}
    for folder in sorted((study.folder / ANNOTATORS).iterdir()):
        if folder.name not in known and not folder.name.startswith("."):
            report(folder, "This annotator is not in the assignment.")
    return tuple(Task(**task) for task in document["tasks"])


def _check_work_list(study: Study, annotator: str, tasks: list[Task], cases: dict[str, dict], report: Report) -> None:
    path = study.folder / ANNOTATORS / annotator / WORKLIST
    try:
        document = read_document(path)
    except InputError as error:
        report(path, str(error))
        return
    if not {task.case for task in tasks} <= set(cases):
        return  # said elsewhere
    if document["sha256"] != study.work_list(annotator, tasks, cases)["sha256"]:
        report(path, "The work list is not what the assignment says. Restore it from a copy.")


def _check_drafts(folder: Path, tasks: tuple[Task, ...], report: Report) -> None:
    of_code = {task.code: task for task in tasks}
    known = set()
    for code, record in _readable(folder / DRAFTS, report):
        if code not in of_code:
            report(folder / DRAFTS / f"{code}.json", "There is no such task in the assignment.")
            continue
        path = folder / ANNOTATORS / of_code[code].annotator / STARTS / f"{code}.seg.nrrd"
        known.add(path)
        if not path.exists():
            report(path, "The draft is missing. Restore it from a copy.")
        elif file_checksum(path) != record["start_sha256"]:
            report(path, "The draft was altered since it was handed out. Restore it from a copy.")
    for path in sorted((folder / ANNOTATORS).glob(f"*/{STARTS}/*")):
        if path not in known and not path.name.startswith("."):
            report(path, f"Nothing in {DRAFTS} says where this draft comes from: handing it out was interrupted.")


def _check_reviews(folder: Path, report: Report) -> None:
    decided = {}
    for path in sorted((folder / REVIEWS).glob("*/*.json")):
        try:
            record = read_document(path)
        except InputError as error:
            report(path, str(error))
            continue
        decided[path.name] = record
        if not (folder / ANNOTATORS / record["annotator"] / INBOX / path.name).exists():
            report(path, "The annotator did not get this decision: delivering it was interrupted. Decide again.")
    for path in sorted((folder / ANNOTATORS).glob(f"*/{INBOX}/*.json")):
        if path.name not in decided:
            report(path, "No reviewer made this decision, or the review is missing.")
        else:
            try:
                notice = read_document(path)
            except InputError as error:
                report(path, str(error))
                continue
            if any(notice[key] != decided[path.name][key] for key in notice if key != "sha256"):
                report(path, "The notice is not what the reviewer decided.")
