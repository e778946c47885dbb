"""The annotator's desk: the only view of a study that an annotator's application opens.

It reads the annotator's own folder and the images in its work list, and writes to the outbox, from which everything is
delivered to the annotator's own folder. It never opens the assignment, the cases or anybody else's folder, so what it
shows cannot tell arms, repeats, names or other observers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MedSegAICore import VERSION as PROGRAM_VERSION
from MedSegAICore.errors import InputError
from MedSegAICore.files import read_image, read_label_map
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, LabelMap
from MedSegAILib.study.definition import SegmentDefinition, labels_of, segment_of
from MedSegAILib.study.documents import file_checksum, read_document
from MedSegAILib.study.events import LOG_SUFFIX, EventLog, Log, merged, read_log, seconds_of
from MedSegAILib.study.outbox import INBOX, LOGS, Delivery, Outbox, listed
from MedSegAILib.study.states import ASSIGNED, IN_PROGRESS, RETURNED, TaskState, fold
from MedSegAILib.study.versions import (
    AUTOSAVE,
    FOLDERS,
    SUFFIX,
    VERSION,
    VersionName,
    grid_of,
    read_sidecar,
    read_version,
    require_grid,
    sidecar_of,
    write_version,
)

WORKLIST = "worklist.json"
AUTOSAVES_KEPT = 2  # for a task; the older ones go when a newer one is complete

_OPEN = (ASSIGNED, IN_PROGRESS, RETURNED)


@dataclass(frozen=True)
class WorkItem:
    """A task as its annotator sees it. ``number`` of ``count``; ``available_at``: UTC seconds from which it may be
    opened, None if an earlier period is not finished."""

    task: str
    number: int
    count: int
    period: int
    state: TaskState
    available_at: float | None

    @property
    def is_open(self) -> bool:
        """Whether there is something left to do."""
        return self.state.state in _OPEN

    def may_open(self, now: float) -> bool:
        """Whether the break after the period before is over."""
        return self.available_at is not None and self.available_at <= now


@dataclass(frozen=True)
class Saved:
    """A version or autosave, its sidecar, and whether the study folder has it already."""

    file: str
    record: Mapping[str, Any]
    delivery: Delivery


class Desk:
    """One run of the application at an annotator's desk.

    >>> with Desk(study / "annotators/r02", outbox) as desk:  # doctest: +SKIP
    ...     item = desk.next_item()
    ...     desk.open_task(item.task)
    ...     desk.submit(item.task, corrected, certainty=4)
    """

    def __init__(self, folder: Path, outbox: Path, **facts: Any):
        """``folder``: of the annotator in the study. ``outbox``: on this computer, any number of studies and
        annotators in one. ``facts``: for the log's first
        line, e.g. ``screen``, ``input_device``.

        Raises InputError if the work list is missing or altered; OutputError if the outbox cannot be written.
        """
        self.folder = Path(folder)
        self._worklist = read_document(self.folder / WORKLIST)
        self._tasks = {task["task"]: task for task in self._worklist["tasks"]}
        # Of its own, or what one annotator left at a computer would be delivered to the next one's folder.
        self._outbox = Outbox(Path(outbox) / self._worklist["study"] / self.annotator, self.folder)
        self._logs: dict[Path, tuple[int, Log]] = {}
        self._decisions: dict[str, dict[str, Any]] = {}
        self._log: EventLog | None = None
        self._outbox.deliver()  # what an earlier run left, so that it can be resumed
        events = self.events()
        turn = max((event["turn"] for event in events if event["event"] == "run_started"), default=-1) + 1
        self._log = EventLog(
            self._outbox.folder / LOGS, self._worklist["study"], self.annotator, turn,
            worklist_sha256=self._worklist["sha256"], program=PROGRAM_VERSION, **facts,
        )  # fmt: skip
        self._adopt_unnamed(events)
        self.deliver()

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_exception) -> None:
        self.close()

    @property
    def annotator(self) -> str:
        """The annotator's code."""
        return self._worklist["annotator"]

    @property
    def title(self) -> str:
        """Of the study."""
        return self._worklist["title"]

    @property
    def segments(self) -> tuple[SegmentDefinition, ...]:
        """What is to be annotated."""
        return tuple(segment_of(segment) for segment in self._worklist["segments"])

    def items(self) -> list[WorkItem]:
        """All tasks in their order, with their states."""
        states = self.states()
        return [
            WorkItem(
                code, task["number"], len(self._tasks), task["period"],
                states.get(code, TaskState()), self._available_at(task["period"], states),
            )
            for code, task in self._tasks.items()
        ]  # fmt: skip

    def next_item(self, now: float | None = None) -> WorkItem | None:
        """The first task that is open and may be opened at ``now`` (UTC seconds); None if there is none."""
        now = time.time() if now is None else now
        return next((item for item in self.items() if item.is_open and item.may_open(now)), None)

    def _available_at(self, period: int, states: Mapping[str, TaskState]) -> float | None:
        """A period begins when the washout is over since the last submission of the periods before."""
        before = [states.get(code, TaskState()) for code, task in self._tasks.items() if task["period"] < period]
        if any(state.submitted_at is None for state in before):
            return None
        last = max((seconds_of(state.submitted_at) for state in before), default=float("-inf"))
        return last + self._worklist["washout_days"] * 86400

    def events(self) -> list[dict[str, Any]]:
        """All events of this annotator, here and in the study folder, in their order.

        What was read once is remembered: a share that goes away must not change what is done and what comes next.
        """
        for path in [*listed(self.folder / LOGS), *self._outbox.waiting_files(LOGS)]:
            if path.suffix != LOG_SUFFIX or (self._log and path.name == self._log.path.name):
                continue  # the own one grows with every event, and is known
            with suppress(OSError, InputError):  # went away since it was listed
                size = path.stat().st_size
                if path not in self._logs or self._logs[path][0] != size:  # a log only grows
                    self._logs[path] = (size, read_log(path))
        own = [self._log.read()] if self._log else []
        return merged([*(log for _, log in self._logs.values()), *own])

    def states(self) -> dict[str, TaskState]:
        """The states of the tasks that were begun, by task code.

        A decision that cannot be read, or was altered, is left out, which ``check`` explains: it must not keep an
        annotator from saving.
        """
        for path in listed(self.folder / INBOX):
            if path.name not in self._decisions:
                with suppress(InputError):
                    self._decisions[path.name] = read_document(path)
        return fold(self.events(), self._decisions.values())

    def open_task(self, task: str) -> None:
        """Say in the log that the annotator sees this task now. Raises InputError if it may not be opened yet."""
        item = next(item for item in self.items() if item.task == self._require(task)["task"])
        if not item.may_open(time.time()):
            raise InputError(
                f"Task {item.number} of {item.count} cannot be opened yet: the break after the tasks before it is not "
                "over. Finish those, and come back when the break has passed."
            )
        self.record("task_opened", task=task)

    def record(self, event: str, **fields: Any) -> None:
        """Write an event to the log, e.g. ``activity``; it is delivered with the next save or ``deliver``.

        Raises OutputError if this computer's disk cannot take it; InputError for a task of somebody else.
        """
        if "task" in fields:
            self._require(fields["task"])
        self._log.append(event, **fields)

    def grid(self, task: str) -> Grid:
        """The grid of the task's image, as it was recorded."""
        return grid_of(self._require(task)["grid"])

    def image(self, task: str) -> Image:
        """The task's image. Raises InputError if it is missing or altered."""
        entry = self._require(task)
        path = self.image_path(task)
        if file_checksum(path) != entry["image_sha256"]:
            raise InputError(f"{path} was altered since the study began. Ask the coordinator to restore it.")
        return read_image(path)

    def image_path(self, task: str) -> Path:
        """Where the task's image lies."""
        return self.folder.parents[1] / self._require(task)["image"]

    def empty(self, task: str) -> LabelMap:
        """The study's segments, all empty, on the grid of the task's image."""
        grid = self.grid(task)
        return LabelMap(np.zeros(grid.shape, np.uint8), grid, labels_of(self.segments))

    def start(self, task: str) -> LabelMap:
        """What the annotator begins with: the segmentation to correct, if the task has one, else empty segments.

        Raises InputError if it should be there and is not; GeometryError if it lies on another grid.
        """
        entry = self._require(task)
        if not entry["start"]:
            return self.empty(task)
        path = self.folder / entry["start"]
        if not path.exists():
            raise InputError(f"The segmentation to begin task {task} with is not there yet. Ask the coordinator.")
        require_grid(label_map := read_label_map(path), self.grid(task), path.name)
        return label_map

    def latest(self, task: str) -> tuple[LabelMap, Mapping[str, Any]] | None:
        """Segments and sidecar of what was saved last for a task, autosaves too; None if nothing was.

        Raises InputError if that file is missing or was altered, GeometryError if it lies on another grid.
        """
        self._require(task)
        named = [event for event in self.events() if event.get("task") == task and "file" in event]
        if not named:
            return None
        return read_version(self._path_of(named[-1]["file"]), self.grid(task))

    def version(self, file: str) -> tuple[LabelMap, Mapping[str, Any]]:
        """Segments and sidecar of a version by its file name. Raises as ``latest``."""
        name = VersionName.parse(file)
        if name is None:
            raise InputError(f"{file!r} is not the name of a version.")
        return read_version(self._path_of(file), self.grid(name.task))

    def autosave(self, task: str, label_map: LabelMap, **facts: Any) -> Saved:
        """Keep the work of this moment; of the autosaves before, only the last stays. Raises as ``save``."""
        saved = self._store(task, AUTOSAVE, label_map, "autosaved", facts)
        self._forget_autosaves(task)
        return saved

    def save(self, task: str, label_map: LabelMap, **facts: Any) -> Saved:
        """Keep a version for good. ``facts``: for the sidecar, e.g. ``base`` (file name of the version that was
        corrected) and ``activity``, a list of ``[start_s, end_s, kind]``.

        Raises GeometryError if the segments do not lie on the image's grid; OutputError if this computer's disk
        cannot take them. A study folder that is gone is no error: the file waits (see ``Saved.delivery``).
        """
        return self._store(task, VERSION, label_map, "version_saved", facts)

    def submit(
        self, task: str, label_map: LabelMap, *, certainty: int | None = None, flags: Sequence[str] = (),
        comment: str = "", **facts: Any,
    ) -> Saved:  # fmt: skip
        """Save a version and hand it in. Raises InputError if a segment is missing, or empty and may not be; else as
        ``save``."""
        self._require_complete(label_map)
        if certainty is not None and certainty not in range(1, 6):
            raise InputError(f"The certainty is a whole number from 1 (guess) to 5 (certain), not {certainty!r}.")
        saved = self.save(task, label_map, **facts)
        self.record("submitted", task=task, version=saved.file, certainty=certainty, flags=list(flags), comment=comment)
        return Saved(saved.file, saved.record, self.deliver())

    def _require_complete(self, label_map: LabelMap) -> None:
        volumes = label_map.volumes_ml()
        for segment in self.segments:
            if segment.id not in volumes:
                raise InputError(f"The segment {segment.name!r} is missing. Add it again, empty if it is not there.")
            if volumes[segment.id] == 0 and not segment.allow_empty:
                raise InputError(f"The segment {segment.name!r} is empty, but this study expects it in every image.")

    def _store(self, task: str, kind: str, label_map: LabelMap, event: str, facts: Mapping[str, Any]) -> Saved:
        require_grid(label_map, self.grid(task), "The segmentation")
        state = self.states().get(task, TaskState())
        record = {
            "schema": 1, "study": self._worklist["study"], "annotator": self.annotator, "run": self._log.run,
            "worklist_sha256": self._worklist["sha256"], "program": PROGRAM_VERSION,
            "post_submission": state.submitted_at is not None and state.state not in _OPEN, **facts,
        }  # fmt: skip
        number = max((name.number for name in self._names(task, kind)), default=0) + 1
        name, sidecar = write_version(self._outbox.folder, task, kind, number, label_map, record)
        self._log.append(event, task=task, file=str(name), sha256=sidecar["file_sha256"])
        return Saved(str(name), sidecar, self.deliver())

    def _names(self, task: str, kind: str) -> list[VersionName]:
        """Of the files that are there, or that the log says were."""
        files = {path.name for path in self._files(kind)} | {
            event["file"] for event in self.events() if "file" in event
        }
        names = filter(None, map(VersionName.parse, files))
        return [name for name in names if (name.task, name.kind) == (task, kind)]

    def _files(self, kind: str) -> list[Path]:
        return [*listed(self.folder / FOLDERS[kind]), *self._outbox.waiting_files(FOLDERS[kind])]

    def _path_of(self, file: str) -> Path:
        for path in self._files(VersionName.parse(file).kind):
            if path.name == file:
                return path
        raise InputError(f"The file {file} is missing in the study folder and on this computer. Ask the coordinator.")

    def _forget_autosaves(self, task: str) -> None:
        for there in (self._outbox.folder / FOLDERS[AUTOSAVE], self.folder / FOLDERS[AUTOSAVE]):
            with suppress(OSError):  # the share is gone; the next autosave tries again
                names = filter(None, (VersionName.parse(path.name) for path in there.iterdir()))
                own = sorted((name for name in names if name.task == task), key=lambda name: name.number)
                for name in own[:-AUTOSAVES_KEPT]:
                    path = there / str(name)
                    path.unlink(missing_ok=True)
                    sidecar_of(path).unlink(missing_ok=True)

    def _adopt_unnamed(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Name in the log what a run saved completely before it crashed, so that it is resumed and counted."""
        known = {event["file"] for event in events if "file" in event}
        for kind, event in ((VERSION, "version_saved"), (AUTOSAVE, "autosaved")):
            found = {path.name: path for path in self._files(kind) if path.name.endswith(SUFFIX)}
            names = [name for name in map(VersionName.parse, found) if name and str(name) not in known]
            for name in sorted(names, key=lambda name: name.number):
                try:
                    record = read_sidecar(found[str(name)])
                except InputError:
                    continue  # ``check`` explains it
                self._log.append(event, task=name.task, file=str(name), sha256=record["file_sha256"], recovered=True)

    def deliver(self) -> Delivery:
        """Bring what waits on this computer to the study folder; never raises for a study folder that is gone."""
        return self._outbox.deliver(self._log.path)

    def close(self) -> Delivery:
        """End this run of the application."""
        self._log.append("run_ended")
        return self._outbox.close()

    def _require(self, task: str) -> Mapping[str, Any]:
        if task not in self._tasks:
            raise InputError(f"The task {task!r} is not in the work list of {self.annotator}.")
        return self._tasks[task]
