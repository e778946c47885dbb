"""What happens to a study when its application is killed, or several write at once; a program, and used by the tests.

    python Testing/benchmarks/study_safety.py crash --repeats 20      kill -9 before every step of a save
    python Testing/benchmarks/study_safety.py random --repeats 200    kill -9 at any time
    python Testing/benchmarks/study_safety.py together --seconds 60   four processes on one study folder

Each prints one line of JSON with what it counted; ``failures`` must be empty. POSIX only: it forks and kills.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

for _folder in ("MedSegAI", "MedSegAIMetrics", "Testing"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / _folder))

import numpy as np

from fixtures_study import drawing, make_study
from MedSegAICore.errors import MedSegAIError
from MedSegAILib.study import Desk, check
from MedSegAILib.study.events import merged, read_log
from MedSegAILib.study.versions import VersionName, read_version

BEFORE, AUTOSAVED, SAVED, SUBMITTED = range(4)  # the seeds of the drawings, in the order in which they are saved


# Thousands of forced writes take minutes on a disk; what is tested is the order of the steps, which memory keeps too.
_PLACE = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Stage:
    """A fresh copy of a study in which one version was saved before."""

    def __init__(self, template: Path, folder: Path):
        shutil.copytree(template, folder)
        self.outbox, self.study = folder / "outbox", folder / "share/study"
        self.seat = self.study / "annotators/r01"

    def desk(self) -> Desk:
        return Desk(self.seat, self.outbox)


def make_template(folder: Path) -> Path:
    make_study(folder, cases=2)
    with Desk(folder / "share/study/annotators/r01", folder / "outbox") as desk:
        task = desk.items()[0].task
        desk.save(task, drawing(desk.grid(task), BEFORE))
    return folder


def work(stage: Stage, done) -> None:
    """A run of the application; ``done`` is told the drawing that is safe from now on."""
    with stage.desk() as desk:
        task = desk.items()[0].task
        desk.autosave(task, drawing(desk.grid(task), AUTOSAVED))
        done(AUTOSAVED)
        desk.save(task, drawing(desk.grid(task), SAVED))
        done(SAVED)
        desk.submit(task, drawing(desk.grid(task), SUBMITTED))
        done(SUBMITTED)


def run_and_kill(stage: Stage, kill_at: int | None, after_s: float | None) -> tuple[int, str | None, bool]:
    """Last safe drawing, the step before which the process was killed, and whether it came to its end."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        if kill_at is not None:
            kill_before_step(kill_at, writer, (str(stage.study), str(stage.outbox)))
        try:
            work(stage, lambda seed: os.write(writer, f"done {seed}\n".encode()))
            os.write(writer, b"end\n")
        except BaseException as error:
            os.write(writer, f"step raised {error!r}\n".encode())
        os._exit(0)
    os.close(writer)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(process, signal.SIGKILL)
    with open(reader, encoding="utf-8") as lines:
        said = lines.read().splitlines()
    os.waitpid(process, 0)
    safe = max([int(line.split()[1]) for line in said if line.startswith("done")], default=BEFORE)
    return safe, next((line for line in said if line.startswith("step")), None), "end" in said


def kill_before_step(number: int, writer: int, folders: tuple[str, ...]) -> None:
    """Kill this process before its n-th change of a file in these folders: open, write, fsync, rename, delete."""
    steps = 0

    def step(what: str) -> None:
        nonlocal steps
        steps += 1
        if steps == number:
            os.write(writer, f"step {number}: {what}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple) -> None:
        changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
        if event == "open" and isinstance(arguments[2], int):
            changes = bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND))
        if changes and str(arguments[0]).startswith(folders):
            step(f"{event} {Path(str(arguments[0])).name}")

    def profile(_frame, event: str, function) -> None:
        if event == "c_call" and function.__name__ in ("write", "sendfile"):
            step("write")  # the file is open, and empty or half-written

    force = os.fsync
    os.fsync = lambda descriptor: (step("fsync"), force(descriptor))[1]
    sys.addaudithook(hook)
    sys.setprofile(profile)


def problems_after(stage: Stage, safe: int) -> list[str]:
    """What of an annotator's work is lost, half-written or unreadable after a crash."""
    problems = []
    for path in [p for root in (stage.seat, stage.outbox) for p in root.rglob("*.jsonl")]:
        problems += [f"{path.name}: {problem}" for problem in read_log(path).problems]
    with stage.desk() as desk:
        task = desk.items()[0].task
        grid = desk.grid(task)
        for path in stage.seat.glob("*/*.seg.nrrd"):
            if VersionName.parse(path.name):
                read_version(path, grid)
        found = [seed for seed in range(4) if _same(desk.latest(task)[0], drawing(grid, seed))]
        if not found or found[0] < safe:
            problems.append(f"drawing {safe} was safe, but {found} is resumed")
        if safe == SUBMITTED and desk.items()[0].state.state != "submitted":
            problems.append("the submission is lost")
    problems += [str(finding) for finding in check(stage.study) if not finding.harmless]
    return problems + [
        f"left in the outbox: {path.name}"
        for path in stage.outbox.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    ]


def _same(label_map, other) -> bool:
    return all(
        np.array_equal(label_map.mask(a), other.mask(b)) for a, b in zip(label_map.labels, other.labels, strict=True)
    )


def crash(repeats: int) -> dict:
    """Kill before every step, ``repeats`` times each, until the run comes to its end."""
    failures, kills, steps = [], 0, []
    with tempfile.TemporaryDirectory(dir=_PLACE) as name:
        template = make_template(Path(name) / "template")
        number, ended = 0, False
        while not ended:
            number += 1
            for repeat in range(repeats):
                stage = Stage(template, Path(name) / "stage")
                safe, step, ended = run_and_kill(stage, number, None)
                failures += [f"{step}, repeat {repeat}: {problem}" for problem in _guarded(stage, safe)]
                shutil.rmtree(Path(name) / "stage")
                if ended:
                    break
                kills += 1
            steps += [step] if step else []
    return {"steps": len(steps), "kills": kills, "failures": failures, "kinds": sorted({s.split()[2] for s in steps})}


def at_random(repeats: int, seed: int = 0) -> dict:
    """Kill at random times within the time that a run needs."""
    generator, failures, reached = random.Random(seed), [], []
    with tempfile.TemporaryDirectory(dir=_PLACE) as name:
        template = make_template(Path(name) / "template")
        begin = time.monotonic()
        run_and_kill(Stage(template, Path(name) / "whole"), None, None)
        whole_s = time.monotonic() - begin
        for repeat in range(repeats):
            stage = Stage(template, Path(name) / "stage")
            safe, _, _ = run_and_kill(stage, None, generator.uniform(0, whole_s))
            failures += [f"repeat {repeat}: {problem}" for problem in _guarded(stage, safe)]
            reached.append(safe)
            shutil.rmtree(Path(name) / "stage")
    return {"kills": repeats, "reached": [reached.count(seed) for seed in range(4)], "failures": failures}


def _guarded(stage: Stage, safe: int) -> list[str]:
    try:
        return problems_after(stage, safe)
    except (MedSegAIError, OSError) as error:
        return [repr(error)]


def together(seconds: float, processes: int = 4) -> dict:
    """Several runs of the application on one folder: two for each of two annotators, one outbox for each annotator."""
    with tempfile.TemporaryDirectory(dir=_PLACE) as name:
        study = make_study(Path(name) / "stage", cases=2)
        children = []
        for number in range(processes):
            reader, writer = os.pipe()
            if (process := os.fork()) == 0:
                annotator = f"r0{number % 2 + 1}"
                count = _write_for(seconds, study.folder / "annotators" / annotator, Path(name) / annotator, number)
                os.write(writer, json.dumps(count).encode())
                os._exit(0)
            os.close(writer)
            children.append((process, reader))
        written = []
        for process, reader in children:
            with open(reader, encoding="utf-8") as lines:
                written.append(json.loads(lines.read() or "{}"))
            os.waitpid(process, 0)
        events = [
            e for a in ("r01", "r02") for e in merged(study.logs(a)) if e["event"] in ("activity", "version_saved")
        ]
        versions = len(list((study.folder / "annotators").glob("*/versions/*.seg.nrrd")))
        failures = [str(finding) for finding in check(study.folder) if not finding.harmless]
    expected = sum(w.get("events", 0) for w in written), sum(w.get("versions", 0) for w in written)
    named = len({event["file"] for event in events if "file" in event})
    there = len([event for event in events if not event.get("recovered")])
    if (there, versions, named) != (*expected, expected[1]) or not all(written):
        failures.append(f"{expected} events and versions were written, {there} and {versions} are there")
    return {"processes": processes, "events": there, "versions": versions, "failures": failures}


def _write_for(seconds: float, seat: Path, outbox: Path, number: int) -> dict:
    events = versions = 0
    end = time.monotonic() + seconds
    with Desk(seat, outbox) as desk:
        task = desk.items()[0].task
        while time.monotonic() < end:
            for _ in range(10):
                desk.record("activity", task=task, kind="active", start=0.0, end=5.0)
            desk.save(task, drawing(desk.grid(task), 72 * number + versions))
            events, versions = events + 11, versions + 1
    return {"events": events, "versions": versions}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("crash", "random", "together"))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    if arguments.what == "together":
        result = together(arguments.seconds)
    else:
        result = (crash if arguments.what == "crash" else at_random)(arguments.repeats)
    print(json.dumps(result))
    return int(bool(result["failures"]))


if __name__ == "__main__":
    sys.exit(main())
