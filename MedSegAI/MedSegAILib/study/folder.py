"""The study folder as its coordinator sees it: create, add cases, assign, hand out drafts, decide, status, check."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from MedSegAICore.errors import InputError, OutputError
from MedSegAICore.files import write_segmentation
from MedSegAICore.image import LabelMap
from MedSegAILib.study.assignment import Task, plan_tasks
from MedSegAILib.study.cases import CASES, IMAGES, add_cases, read_cases
from MedSegAILib.study.definition import StudyDefinition
from MedSegAILib.study.desk import WORKLIST
from MedSegAILib.study.documents import (
    SCHEMA,
    checksum,
    file_checksum,
    make_folder,
    read_document,
    sealed,
    write_document,
)
from MedSegAILib.study.events import LOG_SUFFIX, Log, merged, read_log, utc_text
from MedSegAILib.study.outbox import INBOX, LOGS, OWN_FOLDERS
from MedSegAILib.study.private_key import PrivateKey
from MedSegAILib.study.states import ASSIGNED, DECISIONS, TaskState, fold
from MedSegAILib.study.versions import (
    FOLDERS,
    VERSION,
    VersionName,
    grid_of,
    read_version,
    require_grid,
    without_provenance,
)

STUDY, ASSIGNMENTS = "study.json", "assignments.json"
ANNOTATORS, DRAFTS, REVIEWS, STARTS = "annotators", "drafts", "reviews", "starts"


class Study:
    """A study folder, for the coordinator; annotators use ``Desk``.

    >>> study = Study.create(folder, definition)  # doctest: +SKIP
    >>> study.add_cases(images, private=key_folder)  # doctest: +SKIP
    >>> study.assign(["A. Miller", "B. Jones"], private=key_folder)  # doctest: +SKIP
    """

    def __init__(self, folder: Path, document: Mapping[str, Any]):
        self.folder = folder
        self.id: str = document["id"]
        self.definition = StudyDefinition.from_dict(document["definition"])

    @classmethod
    def create(cls, folder: Path, definition: StudyDefinition) -> Study:
        """Make a study folder. Raises OutputError if it holds files already or cannot be written."""
        folder = Path(folder)
        if folder.is_dir() and any(path.is_file() for path in folder.rglob("*")):
            raise OutputError(f"{folder} holds files already. Choose a new or empty folder for the study.")
        for name in ("", CASES, IMAGES, ANNOTATORS, DRAFTS, REVIEWS):
            make_folder(folder / name)
        id = uuid.uuid4().hex[:12]
        document = {"schema": SCHEMA, "id": id, "created": utc_text(), "definition": definition.as_dict()}
        write_document(folder / STUDY, document)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Study:
        """Raises InputError if this is no study folder, or its definition was altered."""
        folder = Path(folder)
        if not (folder / STUDY).is_file():
            raise InputError(f"{folder} is not a study: there is no {STUDY}. Create it, or choose the right folder.")
        return cls(folder, read_document(folder / STUDY))

    @property
    def cases(self) -> dict[str, dict]:
        """The case documents by case code: image, checksum, grid."""
        return read_cases(self.folder)

    @property
    def is_assigned(self) -> bool:
        """Whether the assignment is frozen."""
        return (self.folder / ASSIGNMENTS).exists()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The frozen assignment. Raises InputError if there is none yet, or it was altered."""
        if not self.is_assigned:
            raise InputError(f"The cases of {self.folder} are not assigned yet. Assign them to annotators first.")
        return tuple(Task(**task) for task in read_document(self.folder / ASSIGNMENTS)["tasks"])

    def add_cases(self, images: Sequence[Path], *, private: Path, copy: bool = True) -> list[str]:
        """Add one case per image (file or DICOM folder) and return the case codes.

        Voxels and geometry are copied, no header. ``copy=False`` leaves a file where it is; annotators then see its
        path. ``private``: folder outside the study, whose ``cases.csv`` says which code is which image.

        Raises InputError if an image cannot be read, is in the study already, or cases are assigned already.
        """
        if self.is_assigned:
            raise InputError(f"The assignment of {self.folder} is frozen, so no case can be added. Start a new study.")
        return add_cases(self.folder, images, PrivateKey(private, self.folder), copy=copy)

    def assign(self, names: Sequence[str], *, private: Path) -> tuple[Task, ...]:
        """Decide by the seed who annotates which case when, freeze it, and write every annotator's work list.

        ``names``: of the annotators, which go to ``annotators.csv`` in ``private`` and nowhere else.
        Raises InputError if it is frozen already, or there are no cases or names.
        """
        if self.is_assigned:
            raise InputError(f"The assignment of {self.folder} is frozen and cannot be changed. Start a new study.")
        cases = self.cases
        codes = PrivateKey(private, self.folder).codes_of(names)
        tasks = plan_tasks(self.definition, codes, sorted(cases))
        for code in codes:
            own = [task for task in tasks if task.annotator == code]
            folder = self.folder / ANNOTATORS / code
            for name in ("", *OWN_FOLDERS, INBOX, STARTS):
                make_folder(folder / name)
            write_document(folder / WORKLIST, self.work_list(code, own, cases), replace=True)  # not frozen yet
        document = {
            "schema": SCHEMA,
            "study": self.id,
            "frozen": utc_text(),
            "study_sha256": read_document(self.folder / STUDY)["sha256"],
            "cases_sha256": {code: case["sha256"] for code, case in cases.items()},
            "tasks": [asdict(task) for task in tasks],
        }
        write_document(self.folder / ASSIGNMENTS, document)
        return tasks

    def work_list(self, annotator: str, tasks: Sequence[Task], cases: Mapping[str, dict]) -> dict[str, Any]:
        """What an annotator may know of the assignment: no arm, repeat, sham or case code."""
        return sealed({
            "schema": SCHEMA,
            "study": self.id,
            "title": self.definition.title,
            "annotator": annotator,
            "washout_days": self.definition.washout_days,
            "segments": self.definition.as_dict()["segments"],
            "tasks": [
                {
                    "task": task.code,
                    "number": task.order,
                    "period": task.period,
                    "start": f"{STARTS}/{task.code}.seg.nrrd" if task.arm == "draft" else None,
                    **{key: cases[task.case][key] for key in ("image", "image_sha256", "grid")},
                }
                for task in tasks
            ],
        })  # fmt: skip

    def give_start(self, task: str, label_map: LabelMap, source: Mapping[str, Any]) -> Path:
        """Hand out the segmentation that a task of the draft arm begins with; its path.

        ``source``: where it comes from (model, provenance), kept in ``drafts/``, which no annotator's desk opens.
        Raises InputError if the task is of another arm or lacks a segment; GeometryError if it lies on another grid
        than the image; OutputError if the task has one already.
        """
        entry = self._task(task)
        if entry.arm != "draft":
            raise InputError(f"Task {task} begins with nothing: it is of the arm {entry.arm!r}. Give it no draft.")
        require_grid(label_map, grid_of(self.cases[entry.case]["grid"]), "The draft")
        missing = {s.id for s in self.definition.segments} - {label.id for label in label_map.labels}
        if missing:
            raise InputError(f"The draft of task {task} lacks the segment {min(missing)!r}. Add it, empty if need be.")
        path = self.folder / ANNOTATORS / entry.annotator / STARTS / f"{task}.seg.nrrd"
        if (self.folder / DRAFTS / f"{task}.json").exists():  # written last: without it, handing out was interrupted
            raise OutputError(f"Task {task} has a draft already, which is never replaced.")
        write_segmentation(path, without_provenance(label_map))
        record = {"schema": SCHEMA, "task": task, "sham": entry.sham, "start_sha256": file_checksum(path)}
        write_document(self.folder / DRAFTS / f"{task}.json", {**record, "source": dict(source)})
        return path

    def decide(self, task: str, decision: str, *, reviewer: str, comment: str = "") -> None:
        """Return, accept or adjudicate the version of a task that was submitted last.

        The decision with the reviewer's code stays in ``reviews/``; the annotator gets it without the code.
        Raises InputError if there is nothing to decide or the decision is none of ``states.DECISIONS``.
        """
        entry = self._task(task)
        if decision not in DECISIONS:
            raise InputError(f"A decision is {', '.join(DECISIONS)}, not {decision!r}.")
        if not (reviewer.isalnum() and reviewer.isascii()):
            raise InputError(f"A reviewer is named by a code of letters and digits, such as v01, not {reviewer!r}.")
        state = self.states(entry.annotator).get(task, TaskState())
        if state.version is None:
            raise InputError(f"Task {task} was not submitted yet, so there is nothing to decide.")
        number = 1 + max((d["number"] for d in self.decisions(entry.annotator)), default=0)
        notice = {
            "schema": SCHEMA,
            "task": task,
            "version": state.version,
            "decision": decision,
            "comment": comment,
            "number": number,
        }
        name = f"{task}__{number:04d}__{checksum(notice)[:8]}.json"
        make_folder(self.folder / REVIEWS / reviewer)
        record = {**notice, "reviewer": reviewer, "annotator": entry.annotator, "t": utc_text()}
        review = self.folder / REVIEWS / reviewer / name
        if not review.exists():  # else delivering the same decision was interrupted
            write_document(review, record)
        write_document(self.folder / ANNOTATORS / entry.annotator / INBOX / name, notice)

    def logs(self, annotator: str) -> list[Log]:
        """The logs of an annotator as they are; see ``events.read_log``."""
        folder = self.folder / ANNOTATORS / annotator / LOGS
        return [read_log(path) for path in sorted(folder.glob(f"*{LOG_SUFFIX}"))]

    def events(self, annotator: str) -> list[dict[str, Any]]:
        """All events of an annotator in their order."""
        return merged(self.logs(annotator))

    def decisions(self, annotator: str) -> list[dict[str, Any]]:
        """What reviewers decided about an annotator's versions."""
        return [read_document(path) for path in sorted((self.folder / ANNOTATORS / annotator / INBOX).glob("*.json"))]

    def states(self, annotator: str) -> dict[str, TaskState]:
        """The states of the tasks that an annotator has begun, by task code."""
        return fold(self.events(annotator), self.decisions(annotator))

    def version_path(self, file: str) -> Path:
        """Where a version lies. Raises InputError if the name is not one of this study's."""
        name = VersionName.parse(file)
        if name is None or name.kind != VERSION:
            raise InputError(f"{file!r} is not the name of a version.")
        return self.folder / ANNOTATORS / self._task(name.task).annotator / FOLDERS[VERSION] / file

    def version(self, file: str) -> tuple[LabelMap, dict[str, Any]]:
        """Segments and sidecar of a version. Raises InputError if it is missing, altered or not of this study;
        GeometryError if it does not lie on exactly the grid of its case."""
        path = self.version_path(file)
        return read_version(path, grid_of(self.cases[self._task(VersionName.parse(file).task).case]["grid"]))

    def status(self) -> dict[str, dict[str, Counter]]:
        """How many tasks are in which state: ``{"annotators": {code: Counter}, "cases": {code: Counter}}``."""
        counts: dict[str, dict[str, Counter]] = {"annotators": {}, "cases": {code: Counter() for code in self.cases}}
        tasks = self.tasks if self.is_assigned else ()
        states = {annotator: self.states(annotator) for annotator in {task.annotator for task in tasks}}
        for task in tasks:
            state = states[task.annotator].get(task.code, TaskState(ASSIGNED)).state
            counts["annotators"].setdefault(task.annotator, Counter())[state] += 1
            counts["cases"][task.case][state] += 1
        return counts

    def _task(self, code: str) -> Task:
        for task in self.tasks:
            if task.code == code:
                return task
        raise InputError(f"There is no task {code!r} in {self.folder}.")
