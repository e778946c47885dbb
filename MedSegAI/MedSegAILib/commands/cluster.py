"""Spreading independent pieces of work over worker processes with Dask, on this computer or on an existing cluster.

It knows nothing of what the work is. ``Cluster.run`` takes a function, the items to call it with, and a setup that
makes what the function needs besides, once in each worker process.

Every worker has one item at a time, and the client decides which. So a worker with many threads does not hold items
that another one could begin, and if a worker dies, exactly one item can be to blame.
"""

from __future__ import annotations

import argparse
import logging
import os
import pickle
import re
import sys
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSegAICore.errors import ClusterError, DependencyError, MedSegAIError
from MedSegAILib.commands.cluster_tasks import SetupFailed, perform, release, versions
from MedSegAILib.commands.terminal import say as say_on_terminal

if TYPE_CHECKING:
    from distributed import Client, Future

ADDRESS = re.compile(r"(?:(?:tcp|tls|ws|wss)://)?[^/\s]+:\d+")
TRIES = 3  # how many workers an item may bring down
ANSWER_S = 20.0  # for a scheduler to answer, and for what a worker returned to arrive
WORKERS_S = 60.0  # to wait for a worker when there is none
POLL_S = 0.5  # how often to look for workers that came or went while nothing is finished

# For the workers of this computer, which store nothing that could be moved to the disk. One that pauses may never go
# on, as PyTorch keeps memory; one that exceeds its share is ended, before the system ends anything else.
_MEMORY = {f"distributed.worker.memory.{what}": False for what in ("target", "spill", "pause")}
_IGNORE_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"  # a terminal sends it to all processes


def add_arguments(parser: argparse.ArgumentParser):
    """The flags ``--workers`` and ``--scheduler``, of which one may be given."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--workers", type=_count, metavar="N", help="work on so many cases at once, each in a process "
                       "of its own with its share of the cores (default: one after the other)")  # fmt: skip
    place.add_argument("--scheduler", metavar="ADDRESS", help="work on a Dask cluster, for example tcp://host:8786; "
                       "its workers need this version of MedSegAI and must see inputs, outputs and model under "
                       "the same paths (a shared file system)")  # fmt: skip


def is_wanted(arguments: argparse.Namespace) -> bool:
    return arguments.workers is not None or arguments.scheduler is not None


def path_for_workers(path: Path | None, arguments: argparse.Namespace) -> Path | None:
    """As it is for processes of this computer, which have the same working folder; else the full path."""
    return path.absolute() if path and arguments.scheduler else path


def plain(arguments: argparse.Namespace, **changed: Any) -> argparse.Namespace:
    """The arguments that pickle, some of them changed."""
    values = {name: value for name, value in vars(arguments).items() if not callable(value)}
    return argparse.Namespace(**{**values, **changed})


@contextmanager
def connected(arguments: argparse.Namespace) -> Iterator[Cluster]:
    """The cluster that the arguments ask for; one of this computer ends with the block, an existing one goes on.

    Raises DependencyError without dask.distributed, ClusterError if there is no scheduler at the address.
    """
    try:
        import distributed
    except ImportError as error:
        raise DependencyError(
            "dask.distributed is not installed, which --workers and --scheduler need. Run: pip install distributed"
        ) from error
    with _quiet(), _local_scheduler(arguments.workers) as local, _client(distributed, local, arguments) as client:
        where = f"{arguments.workers} processes of this computer" if local else f"the cluster at {arguments.scheduler}"
        yield Cluster(client, where)


@dataclass(frozen=True)
class Outcome:
    """What became of the item of this index: the function's answer, or a sentence that says why there is none."""

    index: int
    value: Any = None
    problem: str = ""


class Cluster:
    """Workers that can be given work. ``where``: how to call them in messages."""

    def __init__(self, client: Client, where: str):
        self.client, self.where = client, where

    def run(
        self,
        function: Callable[[Any, Any], Any],
        items: Sequence[Any],
        setup: Callable[[], Any],
        *,
        packages: Sequence[str] = (),
        say: Callable[[str], None] = say_on_terminal,
    ) -> Iterator[Outcome]:
        """``function(setup(), item)`` for every item, an outcome for each as they come.

        All three must pickle. ``packages``: Python packages that every worker must have in the version that is here.
        ``say`` is told which workers are not used or have ended.
        An item whose worker dies is given to another one; after TRIES workers it is given up. What the function
        raises is the problem of that item. A worker whose setup raises is not used; the run ends with that error when
        no worker is left that could be. Ending the iteration cancels what is not finished.
        Raises ClusterError if workers do not have the same versions as this process, or none or no scheduler is left.
        """
        run = _Run(self, function, items, setup, packages, say)
        try:
            yield from run.outcomes()
        except OSError as error:  # of the connection: what reads and writes files runs elsewhere
            raise ClusterError(
                f"The connection to {self.where} was lost ({error}). Finished cases are kept: see whether the "
                "scheduler runs, and give the same command again."
            ) from error
        finally:
            run.stop()


class _Run:
    """One call of ``Cluster.run``: which worker has which item, and which are still to do."""

    def __init__(self, cluster: Cluster, function, items, setup, packages: Sequence[str], say: Callable[[str], None]):
        self.id = uuid.uuid4().hex
        self.cluster, self.client = cluster, cluster.client
        self.packages, self.say = packages, say
        self.payloads = [pickle.dumps((function, item, setup)) for item in items]
        self.waiting = deque(range(len(items)))
        self.tries: Counter[int] = Counter()
        self.begun: dict[Future, tuple[str, int]] = {}
        self.usable: set[str] = set()
        self.refused: dict[str, MedSegAIError] = {}
        self.changed = threading.Event()  # a task has ended
        self.last_seen = time.monotonic()  # when there was a worker that could be used

    def outcomes(self) -> Iterator[Outcome]:
        self._check_scheduler()
        while self.waiting or self.begun:
            present = set(self.client.nthreads())
            self._admit(present)
            yield from self._take_back(present)
            self._hand_out(present)
            self._check_that_it_goes_on(present)
            for future in self._finished():
                yield from self._outcome(future)

    def stop(self):
        """Cancel what is not finished, and let the workers forget what they keep for this run."""
        from distributed.comm import CommClosedError

        with suppress(OSError, CommClosedError, RuntimeError):
            if self.client.status == "running":
                self.client.cancel(list(self.begun), force=True)
                self.client.run(release, self.id, workers=list(self.usable), on_error="ignore")

    def _check_scheduler(self):
        """The scheduler looks into what it passes on, and needs our modules for it."""
        try:
            answer = self.client.run_on_scheduler(versions, ())
        except OSError:
            raise
        except Exception as error:
            answer = error
        if problem := _difference(versions(()), answer):
            raise ClusterError(f"The scheduler {problem} Install the same version there.")

    def _admit(self, present: set[str]):
        """Look at workers that are new. Those that are there at the beginning must all fit."""
        new = sorted(present - self.usable - self.refused.keys())
        if not new:
            return
        first = not (self.usable or self.refused)
        here = versions(self.packages)
        answers = self.client.run(versions, self.packages, workers=new, on_error="return")
        for worker in new:
            answer = answers.get(worker, OSError())
            if isinstance(answer, OSError):  # it is gone again
                continue
            if problem := _difference(here, answer):
                error = ClusterError(f"The worker {worker} {problem} Install the same version on every worker.")
                if first:
                    raise error
                self._refuse(worker, error)
            else:
                self.usable.add(worker)

    def _refuse(self, worker: str, error: MedSegAIError):
        self.usable.discard(worker)
        self.refused[worker] = error
        self.say(f"The worker {worker} is not used: {error}")

    def _take_back(self, present: set[str]) -> Iterator[Outcome]:
        """What the workers had that are gone."""
        for worker in self.usable - present:
            self.usable.discard(worker)
        for future, (worker, index) in list(self.begun.items()):
            if worker in present or future.status in ("finished", "error"):
                continue
            del self.begun[future]
            self.client.cancel([future], force=True)
            self.tries[index] += 1
            if self.tries[index] >= TRIES:
                yield Outcome(index, problem=_given_up(TRIES))
            else:
                self.say(f"The worker {worker} has ended; what it worked on is done again.")
                self.waiting.append(index)  # behind the others, which may be harmless

    def _hand_out(self, present: set[str]):
        busy = {worker for worker, _ in self.begun.values()}
        for worker in sorted((self.usable & present) - busy):
            if not self.waiting:
                return
            index = self.waiting.popleft()
            key = f"medsegai-{self.id}-{index}-{self.tries[index]}-{uuid.uuid4().hex[:8]}"
            future = self.client.submit(
                perform, self.payloads[index], self.id, key=key, workers=[worker], allow_other_workers=False, pure=False
            )
            future.add_done_callback(lambda _: self.changed.set())
            self.begun[future] = worker, index

    def _check_that_it_goes_on(self, present: set[str]):
        if self.begun or not self.waiting:
            self.last_seen = time.monotonic()
        elif present and present <= self.refused.keys():
            raise next(iter(self.refused.values()))
        elif time.monotonic() - self.last_seen > WORKERS_S:
            raise ClusterError(
                f"There is no worker on {self.cluster.where}, {len(self.waiting)} of {len(self.payloads)} cases are to "
                "be done. Start workers, and give the same command again."
            )

    def _finished(self) -> list[Future]:
        """Tasks that have ended, after waiting for one for a moment."""
        self.changed.wait(POLL_S)
        self.changed.clear()
        return [future for future in self.begun if future.status not in ("pending", "lost")]

    def _outcome(self, future: Future) -> Iterator[Outcome]:
        from distributed import KilledWorker, TimeoutError

        worker, index = self.begun[future]
        if future.status == "cancelled":
            raise OSError("the scheduler has dropped a task")
        try:
            value = future.result(timeout=ANSWER_S)
        except TimeoutError:  # the worker died between the end of the task and here
            return
        except KilledWorker:  # the scheduler counts too, if a worker comes back under the same address
            value = Outcome(index, problem=_given_up(self.tries[index] + 1))
        except MedSegAIError as error:
            value = Outcome(index, problem=str(error))
        except Exception as error:
            value = Outcome(index, problem=f"Unexpected {type(error).__name__}: {error}. Please report this.")
        else:
            if isinstance(value, SetupFailed):
                error = value.error if isinstance(value.error, MedSegAIError) else ClusterError(f"{value.error}.")
                self._refuse(worker, error)
                self.waiting.appendleft(index)
                value = None
            else:
                value = Outcome(index, value)
        del self.begun[future]
        if value is not None:
            yield value


def _difference(here: dict[str, str], there: dict[str, str] | Exception) -> str:
    """A sentence about what a worker lacks, or nothing."""
    if isinstance(there, Exception):
        return f"cannot load MedSegAI: {there}."
    for name, version in here.items():
        if there.get(name, "") != version:
            found = f"has {name} {there[name]}" if there.get(name) else f"lacks {name}"
            return f"{found}, but this computer has {version}." if version else f"{found}, and this computer lacks it."
    return ""


def _given_up(times: int) -> str:
    return (
        f"The worker processes that had this case ended without an answer, {times} times. Most likely it needs more "
        "memory than a worker has: take fewer workers, workers with more memory, or crop the volume."
    )


@contextmanager
def _local_scheduler(workers: int | None):
    """A scheduler in this process with so many worker processes, or nothing."""
    if not workers:
        yield None
        return
    import dask
    from dask.system import CPU_COUNT
    from distributed import LocalCluster
    from distributed.system import MEMORY_LIMIT

    if "python" not in Path(sys.executable or "").name.lower():
        raise ClusterError(
            "--workers starts Python processes, but this program is no Python (Slicer is not). Run medsegai outside "
            "Slicer, or start a cluster with `dask scheduler` and `dask worker`, and name it with --scheduler."
        )
    before = dict(os.environ)
    try:
        with dask.config.set(_MEMORY):
            cluster = LocalCluster(
                n_workers=workers, threads_per_worker=max(1, CPU_COUNT // workers), processes=True, host="127.0.0.1",
                memory_limit=MEMORY_LIMIT // workers, dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
                preload=[_IGNORE_CTRL_C],
            )  # fmt: skip
    except (OSError, RuntimeError, TimeoutError) as error:
        _restore_environment(before)
        raise ClusterError(
            f"{workers} worker processes could not be started: {str(error).rstrip('.')}. Try fewer."
        ) from error
    try:
        yield cluster
    finally:
        cluster.close(timeout=ANSWER_S)
        _restore_environment(before)


def _restore_environment(before: dict[str, str]):
    """Dask sets OMP_NUM_THREADS=1 and more for its workers in this process too, which would slow what it runs next."""
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@contextmanager
def _client(distributed, local, arguments: argparse.Namespace) -> Iterator[Client]:
    try:
        if not local and not ADDRESS.fullmatch(arguments.scheduler):
            raise ValueError("it is not an address")
        client = distributed.Client(local or arguments.scheduler, timeout=ANSWER_S, set_as_default=False)
    except (OSError, ValueError, RuntimeError, distributed.TimeoutError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClusterError(
            f"No Dask scheduler answers at {arguments.scheduler!r} ({reason}). Expected an address such as "
            "tcp://host:8786, as `dask scheduler` prints it."
        ) from error
    try:
        yield client
    finally:
        client.close(timeout=ANSWER_S)


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask's log lines about workers that come and go are no business of the user, who is told in our words."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed.")]
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in ("distributed", *names)}
    for logger, level in loggers.items():
        if level or logger.name == "distributed":  # the others do as the one above them
            logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in loggers.items():
            logger.setLevel(level)


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected how many processes, 1 or more, got {text!r}")
    return number
