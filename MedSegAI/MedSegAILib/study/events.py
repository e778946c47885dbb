"""Append-only logs: one file per annotator and run of the application, each line with a checksum chained to the last.

A line is ``{"seq", "prev", "t", "mono", "event", …, "sum"}``: ``t`` is UTC, ``mono`` are seconds of a clock that nobody
can set back, ``sum`` is the SHA-256 of the line without it, ``prev`` the ``sum`` of the line before. The first line
names study, annotator and run, and ``turn``: how many runs were known before it. Runs are ordered by it, not by ``t``.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from MedSegAICore.errors import InputError, OutputError
from MedSegAILib.study.documents import canonical, checksum

VERSION = 1
LOG_SUFFIX = ".jsonl"
RESERVED = ("seq", "prev", "t", "mono", "event", "sum")

# Clocks drift and are corrected by fractions of a second; more than this between two lines was set by someone.
CLOCK_TOLERANCE_S = 2.0


def utc_text(seconds: float | None = None) -> str:
    """UTC with milliseconds, e.g. ``2026-11-21T19:30:00.000Z``; by default now."""
    moment = datetime.fromtimestamp(time.time() if seconds is None else seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_of(text: str) -> float:
    """Seconds since 1970 of ``utc_text``."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@dataclass(frozen=True)
class Log:
    """A log as it was read: the lines whose checksum is right, and a sentence for everything that is not."""

    path: Path
    events: tuple[dict[str, Any], ...]
    problems: tuple[str, ...]
    torn: bool = False  # the last line is incomplete, which a crash explains
    clock_problems: tuple[str, ...] = field(default=())

    @property
    def header(self) -> dict[str, Any]:
        """The first line; empty if it is missing."""
        return self.events[0] if self.events and self.events[0]["event"] == "run_started" else {}


class EventLog:
    """The log that this run of the application writes. Nobody else writes this file."""

    def __init__(self, folder: Path, study: str, annotator: str, turn: int, **facts: Any):
        """Makes the file and writes its first line. Raises OutputError if that is not possible."""
        self.run = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}_{uuid.uuid4().hex[:8]}"
        self.path = folder / f"{self.run}{LOG_SUFFIX}"
        self._seq, self._prev, self._size = 0, "", 0
        self._events: list[dict[str, Any]] = []
        self.append("run_started", version=VERSION, study=study, annotator=annotator, run=self.run, turn=turn, **facts)

    def append(self, event: str, **fields: Any) -> dict[str, Any]:
        """Write an event and force it to the disk; the line as it is read again.

        Raises OutputError if it could not be written; the log is then as it was before.
        """
        if taken := [name for name in RESERVED if name in fields]:
            raise ValueError(f"{taken[0]!r} is written by the log itself")
        record = {"seq": self._seq, "prev": self._prev, "t": utc_text(), "mono": round(time.monotonic(), 3)}
        record |= {"event": event, **fields}
        record["sum"] = checksum(record)
        line = canonical(record) + b"\n"
        try:
            self._write(line)
        except OSError as error:
            raise OutputError(
                f"The log {self.path} cannot be written: {error.strerror or error}. Free some space or check the "
                "folder; nothing that was saved before is lost."
            ) from error
        self._seq, self._prev, self._size = self._seq + 1, record["sum"], self._size + len(line)
        self._events.append(record)
        return record

    def read(self) -> Log:
        """What was written so far, without reading the file."""
        return Log(self.path, tuple(self._events), ())

    def _write(self, line: bytes) -> None:
        with open(self.path, "ab" if self._seq else "xb", buffering=0) as file:
            try:
                if file.write(line) != len(line):
                    raise OSError("the disk is full")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(self._size)  # a full disk takes a part of a line; the next line must not follow it
                raise


def read_log(path: Path) -> Log:
    """Everything of a log that is intact. Raises InputError only if the file cannot be read at all."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"The log {path} cannot be read: {error.strerror or error}. Check the folder.") from error
    *lines, rest = content.split(b"\n")
    events: list[dict[str, Any]] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if (record := _intact(line)) is None:
            problems.append(f"line {number} is damaged: its checksum does not fit")
            continue
        last_seq, last_sum = (events[-1]["seq"], events[-1]["sum"]) if events else (-1, "")
        if record["seq"] != last_seq + 1 or record["prev"] != last_sum:
            problems.append(f"line {number} does not follow the line before it: lines are missing, moved or repeated")
        events.append(record)
    return Log(path, tuple(events), tuple(problems), bool(rest), tuple(_clock_problems(events)))


def _intact(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or not {"seq", "prev", "t", "mono", "event", "sum"} <= set(record):
        return None
    body = {key: value for key, value in record.items() if key != "sum"}
    return record if checksum(body) == record["sum"] else None


def _clock_problems(events: Iterable[Mapping[str, Any]]):
    """Where the clock of the computer and the one that cannot be set disagree."""
    before = None
    for event in events:
        shift = seconds_of(event["t"]) - event["mono"]
        if before is not None and abs(shift - before) > CLOCK_TOLERANCE_S:
            direction = "back" if shift < before else "forward"
            yield f"the clock was set {direction} by {abs(shift - before):.0f} s before event {event['seq']}"
        before = shift


def merged(logs: Iterable[Log]) -> list[dict[str, Any]]:
    """The events of several logs of an annotator in the order of runs, each with its ``run``; no event twice.

    The order is by turn and sequence number, so a clock that was set changes nothing.
    """
    ordered = []
    for log in logs:
        run, turn = log.header.get("run", log.path.stem), log.header.get("turn", 0)
        ordered += [((turn, run, event["seq"]), {**event, "run": run}) for event in log.events]
    ordered.sort(key=lambda pair: pair[0])
    seen: set[str] = set()
    return [event for _, event in ordered if not (event["sum"] in seen or seen.add(event["sum"]))]
