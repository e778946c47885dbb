"""Adding a model in a process of its own: to check its weights PyTorch is loaded, which would freeze a window."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from MedSegAICore.errors import ModelError, WorkerError
from MedSegAICore.python_process import apart, find_python, kill_tree
from MedSegAILib.worker.process import SOURCE, environment

PREFIX = "medsegai: "  # of the sentence that the command prints when it fails
SECONDS_TO_END = 5.0


class Adding:
    """``medsegai models add SOURCE``. Ask ``done`` from a timer, then call ``finish``; or ``cancel``.

    Raises WorkerError if the process cannot be started.
    """

    def __init__(self, source: Path | str, python: str | os.PathLike | None = None):
        self.source = Path(source)
        command = [os.fspath(python or find_python()), "-m", "MedSegAILib.commands", "models", "add", str(self.source)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=environment(), cwd=SOURCE, text=True, encoding="utf-8", errors="replace", **apart(),
            )  # fmt: skip
        except OSError as error:
            raise WorkerError(f"{command[0]} cannot be started: {error.strerror or error}.") from error

    @property
    def done(self) -> bool:
        return self._process.poll() is not None

    def finish(self) -> str:
        """Wait for the end; returns what the command printed. Raises ModelError with its reason if it failed."""
        printed, complaints = self._process.communicate()
        if self._process.returncode == 0:
            return printed.strip()
        lines = [line for line in complaints.splitlines() if line.strip()]
        reasons = [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)] or lines[-1:]
        reason = reasons[-1] if reasons else f"the process ended with status {self._process.returncode}."
        raise ModelError(f"{self.source.name} was not added: {reason}")

    def cancel(self):
        """End the process. What it had copied lies in a hidden folder, which is no model."""
        if not self.done:
            kill_tree(self._process)
        with suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=SECONDS_TO_END)
