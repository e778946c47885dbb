"""In which state a task is: never stored, always derived from the events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ASSIGNED, IN_PROGRESS, SUBMITTED, RETURNED = "assigned", "in progress", "submitted", "returned"
ACCEPTED, ADJUDICATED = "accepted", "adjudicated"
STATES = (ASSIGNED, IN_PROGRESS, SUBMITTED, RETURNED, ACCEPTED, ADJUDICATED)
DECISIONS = (RETURNED, ACCEPTED, ADJUDICATED)

BEGUN = ("task_opened", "autosaved", "version_saved")


@dataclass(frozen=True)
class TaskState:
    """Where a task stands. ``version``: the file name of the version that counts, once it is submitted."""

    state: str = ASSIGNED
    version: str | None = None
    submitted_at: str | None = None  # UTC
    comment: str = ""  # of the reviewer who returned it


def fold(events: Iterable[Mapping[str, Any]], decisions: Iterable[Mapping[str, Any]]) -> dict[str, TaskState]:
    """The states of an annotator's tasks, by task code; a task without events is not in it.

    ``events`` in the order of ``merged``. ``decisions`` of reviewers name the version that they are about, so a task
    that was submitted again waits for the next decision, whatever the clocks say.
    """
    decided: dict[tuple[str, str], Mapping[str, Any]] = {}
    for decision in sorted(decisions, key=lambda decision: (decision["number"], decision["sha256"])):
        decided[decision["task"], decision["version"]] = decision
    states: dict[str, TaskState] = {}
    for event in events:
        task = event.get("task")
        if task is None:
            continue
        before = states.get(task, TaskState())
        if event["event"] == "submitted":
            decision = decided.get((task, event["version"]))
            state = decision["decision"] if decision else SUBMITTED
            comment = decision["comment"] if decision else ""
            states[task] = TaskState(state, event["version"], event["t"], comment)
        elif event["event"] in BEGUN and before.state in (ASSIGNED, RETURNED):
            # What an annotator draws after submitting does not take the submission back.
            states[task] = TaskState(IN_PROGRESS, before.version, before.submitted_at, before.comment)
    return states
