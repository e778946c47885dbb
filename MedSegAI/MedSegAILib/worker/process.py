"""The worker as an operating system process: found, started, listened to, and ended with everything it started."""

from __future__ import annotations

import importlib.util
import logging
import os
import queue
import signal
import subprocess
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from MedSegAICore.errors import WorkerError
from MedSegAICore.python_process import apart, kill_tree
from MedSegAILib.worker import messages

logger = logging.getLogger(__name__)

MODULE = "MedSegAILib.worker"
SOURCE = Path(__file__).resolve().parents[2]  # the folder that holds MedSegAILib and MedSegAICore
LAST_LINES = 200  # of what the worker printed; a report of a crash has so many
SECONDS_TO_END = 5.0  # after it was killed; only a process in an uninterruptible system call needs longer
SECONDS_TO_DRAIN = 0.3  # for its last words, which a process that it left behind could keep from ending


class WorkerProcess:
    """A started worker. ``received`` is the queue of its messages (dict); None at the end says that it has ended.

    ``executable``: a Python interpreter or PythonSlicer. Raises WorkerError if it cannot be started.
    """

    def __init__(self, executable: str | os.PathLike):
        self.executable = os.fspath(executable)
        self.received: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.ready = False  # set by who reads ``received``
        self.device: str | None = None  # likewise: what the device "auto" is there
        self._printed: deque[str] = deque(maxlen=LAST_LINES)
        try:
            self._process = subprocess.Popen(
                [self.executable, "-m", MODULE, str(os.getpid())],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=environment(), cwd=SOURCE, **apart(),
            )  # fmt: skip
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise WorkerError(
                f"The worker process cannot be started with {self.executable}: {reason}. Give the path of a Python "
                "interpreter; in Slicer that is PythonSlicer."
            ) from error
        self._threads = [
            threading.Thread(target=target, args=arguments, daemon=True)
            for target, arguments in (
                (_read_messages, (self._process.stdout, self.received, self._printed)),
                (_read_lines, (self._process.stderr, self._printed)),
            )
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, type: str, id: int | None = None, **content: Any):
        """Send a message. A worker that has just ended does not get it; ``received`` tells of its end."""
        line = messages.encode(type, id, **content)
        with suppress(OSError, ValueError):
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def end(self):
        """Ask the system to end the process and all that it started, without waiting until it has."""
        if self._process.poll() is None:
            kill_tree(self._process)

    def kill(self):
        """End the process and all that it started; it does not exist any more afterwards."""
        self.end()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(SECONDS_TO_END)
        with suppress(OSError):
            self._process.stdin.close()
        for thread in self._threads:
            thread.join(SECONDS_TO_DRAIN)

    def last_words(self) -> str:
        """How it ended, for the sentence of an error: its status and what it printed last. The rest is logged."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(SECONDS_TO_END)
        for thread in self._threads:
            thread.join(SECONDS_TO_DRAIN)
        status = self._process.returncode
        how = f"status {status}" if status is None or status >= 0 else f"signal {_signal_name(-status)}"
        printed = [line for line in self._printed if line.strip()]
        if printed:
            logger.error("The worker process ended with %s. It printed:\n%s", how, "\n".join(printed))
        # Python's report of a crash begins with the reason; a list of loaded libraries ends it.
        reasons = [line for line in printed if line.startswith("Fatal Python error")] or printed
        return f"{how}: {reasons[-1].strip()}" if reasons else how


def environment() -> dict[str, str]:
    """This program's environment, with the folders of our packages on Python's path."""
    folders = [str(SOURCE)]
    metrics = importlib.util.find_spec("MedSegAIMetricsLib")
    if metrics is not None and metrics.origin:
        folders.append(str(Path(metrics.origin).resolve().parents[1]))
    if os.environ.get("PYTHONPATH"):
        folders.append(os.environ["PYTHONPATH"])
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(folders),
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        "PYTHONFAULTHANDLER": "1",  # a crash in a library says where
    }


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _read_messages(stream, received: queue.Queue, printed: deque):
    """Messages into the queue; what a library printed before the worker took standard output over, to the rest."""
    with stream:
        for line in stream:
            try:
                received.put(messages.decode(line))
            except WorkerError as error:
                if line.strip():
                    printed.append(line.decode(errors="replace").rstrip())
                    logger.debug("%s", error)
    received.put(None)


def _read_lines(stream, printed: deque):
    with stream:
        for line in stream:
            printed.append(line.decode(errors="replace").rstrip())
            logger.debug("%s", printed[-1])
