"""Python processes that are started for long work: found, kept apart, and ended with everything they started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from MedSegAICore.errors import WorkerError


def find_python() -> str:
    """The interpreter for a worker: this one, in the Slicer application PythonSlicer.

    Raises WorkerError if there is none.
    """
    if sys.executable and Path(sys.executable).name.lower().startswith("python"):
        return sys.executable
    # Slicer's PATH holds the folder of PythonSlicer, and it lies beside the application.
    beside = os.path.dirname(sys.executable or "")
    found = shutil.which("PythonSlicer") or shutil.which("PythonSlicer", path=beside or None)
    if not found:
        raise WorkerError(
            f"There is no PythonSlicer on the PATH or beside {sys.executable or 'the application'}, so the worker "
            "process cannot be started. Repair the installation of Slicer, or give the path of a Python interpreter."
        )
    return found


def apart() -> dict[str, Any]:
    """Arguments of Popen: in a group of processes of its own, which can be ended as a whole and which Ctrl-C does not
    reach; no window."""
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
        return {"creationflags": flags | subprocess.BELOW_NORMAL_PRIORITY_CLASS}
    return {"start_new_session": True}


def kill_tree(process: subprocess.Popen):
    """PythonSlicer is a launcher: to end it alone would leave the interpreter running."""
    if sys.platform == "win32":
        with suppress(OSError):
            subprocess.run(
                ["taskkill", "/T", "/F", "/PID", str(process.pid)],
                creationflags=subprocess.CREATE_NO_WINDOW, capture_output=True, check=False,
            )  # fmt: skip
        process.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
