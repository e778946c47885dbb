"""A Dask cluster of this machine made of real processes, and work for its workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
LONG = 600  # seconds; on a loaded machine processes that import PyTorch take long
SOURCES = [REPOSITORY / "MedSegAI", REPOSITORY / "MedSegAIMetrics", REPOSITORY / "Testing"]


def environment(**changed: str) -> dict[str, str]:
    """For a process that finds our sources and computes with one thread."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, SOURCES)), "OMP_NUM_THREADS": "1", **changed}


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true answer of ``condition``."""
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        if answer := condition():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"waited {LONG} s in vain for {what}")


class DaskProcesses:
    """A scheduler and workers. ``workers``: by address; each is one process, and nothing starts it anew."""

    def __init__(self, folder: Path, **changed: str):
        self.folder, self.processes, self.workers = folder, [], {}
        self.address = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", **changed)[1]

    def add_worker(self, *arguments: str, **changed: str) -> str:
        """Start a worker and return its address. ``changed``: environment variables."""
        process, address = self._start(
            "worker", self.address, "--no-nanny", "--nthreads", "1", "--no-dashboard", *arguments, **changed
        )
        self.workers[address] = process
        return address

    def kill(self, worker: str):
        self.workers[worker].kill()
        self.workers[worker].wait()

    def stop(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()

    def _start(self, kind: str, *arguments: str, **changed: str) -> tuple[subprocess.Popen, str]:
        log = self.folder / f"{kind}_{len(self.processes)}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", kind, *arguments], stdout=file, stderr=file, env=environment(**changed),
                cwd=self.folder,
            )  # fmt: skip
        self.processes.append(process)
        mark = "Scheduler at:" if kind == "scheduler" else "Registered to:"

        def address() -> str | None:
            lines = log.read_text().splitlines()
            assert process.poll() is None, f"the {kind} ended: {lines}"
            if not any(mark in line for line in lines):
                return None
            mine = "Scheduler at:" if kind == "scheduler" else "Start worker at:"
            return next("tcp://" + line.partition("tcp://")[2].strip() for line in lines if mine in line)

        return process, until(address, f"the {kind} to start")


@contextmanager
def dask_processes(folder: Path, **changed: str) -> Iterator[DaskProcesses]:
    """``changed``: environment variables of the scheduler."""
    cluster = DaskProcesses(folder, **changed)
    try:
        yield cluster
    finally:
        cluster.stop()


class Setup:
    """What a run of the tests needs: ``values`` decide how the worker of a name behaves."""

    def __init__(self, **values: Any):
        self.values = values

    def __call__(self) -> Mapping[str, Any]:
        from MedSegAICore.errors import DeviceError

        if os.environ.get("WORKER_NAME") in self.values.get("refused_by", ()):
            raise DeviceError("There is no such device here.")
        counted = Path(self.values["folder"]) / f"setup_{os.getpid()}"
        with counted.open("a") as file:
            file.write("x")
        return self.values


def square(_ready: Mapping[str, Any], number: int) -> tuple[int, int]:
    return os.getpid(), number**2


def die_at_two(ready: Mapping[str, Any], number: int) -> int:
    if number == 2:
        with (Path(ready["folder"]) / "deaths").open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail_at_two(_ready: Mapping[str, Any], number: int) -> int:
    from MedSegAICore.errors import InputError

    if number == 2:
        raise InputError("Two is not allowed.")
    return 1 // (number - 3)


def wait_for_file(ready: Mapping[str, Any], number: int) -> int:
    """Ends when the file is there, or when nobody waits any more; then it says so."""
    from MedSegAILib.commands import cluster_tasks

    folder = Path(ready["folder"])
    (folder / f"began_{number}").touch()
    while not (folder / "go").exists():
        if cluster_tasks.cancelled():
            (folder / f"cancelled_{number}").touch()
            break
        time.sleep(0.05)
    return number


def wait_unless_negative(ready: Mapping[str, Any], number: int) -> int:
    return wait_for_file(ready, number) if number >= 0 else number


def most_at_once(ready: Mapping[str, Any], number: int) -> int:
    """How many of these ran in this process at the same time."""
    global _running
    _running += 1
    most = _running
    time.sleep(0.05)
    most = max(most, _running)
    _running -= 1
    return most


_running = 0
