"""What runs in the worker processes of a Dask cluster: one piece of work at a time, with a state that stays warm."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from MedSegAICore import VERSION
from MedSegAICore.errors import Cancelled, MedSegAIError

MOST_STATES = 2  # of two clients at a time; what a client that died has left is dropped for the next one

# A worker may have many threads, for the tasks of others. What is done here needs the whole process: the device, and as
# many of PyTorch's threads as the worker has.
_one_at_a_time = threading.Lock()
_states: dict[str, Any] = {}


@dataclass(frozen=True)
class SetupFailed:
    """The answer of a worker that cannot do anything for this run, and why."""

    error: MedSegAIError | str


def perform(payload: bytes, run: str) -> Any:
    """Unpickle a function, an item and a setup, and return ``function(setup(), item)``.

    ``setup`` is called once for each run in each process. The client pickles by itself: Dask would look for keys and
    futures in the arguments, and the scheduler would have to be able to unpickle them.
    """
    with _one_at_a_time:
        if cancelled():
            raise Cancelled
        try:
            function, item, setup = pickle.loads(payload)
            if run not in _states:
                for oldest in list(_states)[: len(_states) + 1 - MOST_STATES]:
                    del _states[oldest]
                _states[run] = setup()
        except MedSegAIError as error:
            return SetupFailed(error)
        except Exception as error:
            return SetupFailed(f"{type(error).__name__}: {error}")
        return function(_states[run], item)


def release(run: str):
    """Forget the state of a run, such as a model on the graphics card."""
    _states.pop(run, None)


def cancelled() -> bool:
    """Whether nobody waits any more for the task that this thread works on."""
    from distributed import get_worker

    try:
        worker = get_worker()
        task = worker.state.tasks.get(worker.get_current_task())
    except (ValueError, AttributeError):  # not on a worker
        return False
    return task is None or task.state in ("cancelled", "released", "forgotten")


def threads() -> int:
    """How many threads the worker has that this runs on: its share of the machine's cores."""
    from distributed import get_worker

    return get_worker().state.nthreads


def not_seen(path: Path) -> str:
    """A sentence about a file that the client sees and this worker does not."""
    from distributed import get_worker

    return (
        f"The worker {get_worker().address} does not see {path}. Put the files on a file system that this computer and "
        "all workers share, and give that path."
    )


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of this program and of packages that results depend on, without the kind of build (``+cpu``)."""
    found = {"MedSegAI": VERSION}
    for package in packages:
        try:
            found[package] = metadata.version(package).partition("+")[0]
        except metadata.PackageNotFoundError:
            found[package] = ""
    return found
