"""The parent's end of a worker: give it an image, follow its progress, get the Result, or cancel.

>>> worker = Worker()
>>> result = worker.segment(image, "hippocampus", device="cpu")     # waits
>>> run = worker.begin(image, "hippocampus", device="cpu")          # does not wait: for a window
>>> run.poll(), run.done                                            # from a timer
>>> worker.close()
"""

from __future__ import annotations

import itertools
import logging
import os
import queue
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSegAICore import errors
from MedSegAICore.errors import Cancelled, MedSegAIError, WorkerError
from MedSegAICore.image import Image
from MedSegAICore.python_process import find_python
from MedSegAILib.models.opening import address_of
from MedSegAILib.worker.exchange import MAY_MAP, plan, unpack, write
from MedSegAILib.worker.messages import FOLDER_PREFIX
from MedSegAILib.worker.process import WorkerProcess

if TYPE_CHECKING:
    from MedSegAICore.channels import Unaligned
    from MedSegAICore.registration import Registration
    from MedSegAILib.inference.result import Result
    from MedSegAILib.models.model import Model

logger = logging.getLogger(__name__)

SECONDS_TO_START = 60.0  # until the first message; importing torch comes after it
SECONDS_TO_CANCEL = 0.5  # until a worker that does not answer is killed
SECONDS_TO_DIE = 5.0  # until a killed one is waited for
SECONDS_OF_WRITING = 0.01  # in one call of poll: a window stays quick
SECONDS_TO_QUIT = 0.5
SECONDS_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True)
class Progress:
    """News of a run. ``stage``: load, prepare or network; ``fraction`` (0 to 1) is of the network's tiles."""

    fraction: float
    stage: str
    message: str


class Worker:
    """A child process that keeps the last model loaded and segments one volume after the other.

    ``python``: the interpreter; by default PythonSlicer in Slicer and this program's own elsewhere.
    The process is started by the first run, or ahead of it by ``start``; if it dies, the next run starts another one.
    It ends with ``close``, with this object, and by itself when this program is gone.
    """

    def __init__(self, python: str | os.PathLike | None = None):
        self._python = python
        self._held = _Held()
        self._run: Run | None = None
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        weakref.finalize(self, self._held.release)  # also at exit

    @property
    def pid(self) -> int | None:
        """The id of the process, None if there is none."""
        process = self._held.process
        return process.pid if process is not None and process.alive else None

    def start(self):
        """Start the process if it does not run, without waiting until it can be used.

        Raises WorkerError if it cannot be started.
        """
        if self.pid is None and self._run is None:  # a run whose process has just ended is yet to tell so
            self._held.release()
            self._held.process = WorkerProcess(self._python or find_python())

    @property
    def device(self) -> str | None:
        """What the device "auto" is in the process, for people; None until it has said so."""
        if self._run is None:
            self._take_idle()
        return self._held.process.device if self._held.process is not None else None

    def _take_idle(self):
        """Read what the process said while no run did."""
        with suppress(queue.Empty):
            while self._held.process is not None:
                message = self._held.process.received.get(timeout=0.001)
                if message is None:
                    self._held.release()
                else:
                    _take_news(self._held.process, message)

    def begin(self, image: Image | Unaligned, model: Model | str | Path, **options: Any) -> Run:
        """Start to segment a volume and return at once.

        ``image``: of several volumes that are yet to be aligned, the process does that too; see ``Run.alignment``.
        ``model``: a Model, its path, or an id of the library. ``options``: those of Predictor and of
        Predictor.segment (device, mirroring, probabilities, strict, …), without its callbacks.
        The volume is handed over by the first calls of the run's ``poll``, a part with each.
        Raises ModelError if there is no such model; WorkerError if the worker is busy or cannot be started.
        """
        model = _opened(model)
        with self._lock:
            if self._run is not None:
                self._run.poll()
            if self._run is not None:
                raise WorkerError(
                    "The worker is busy with another volume. Wait until it is done, or cancel it, and try again."
                )
            self.start()
            self._run = Run(self, self._held, next(self._ids))
        self._run._send(image, model, options)
        return self._run

    def segment(
        self,
        image: Image,
        model: Model | str | Path,
        *,
        progress: Callable[[float, str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        **options: Any,
    ) -> Result:
        """Segment a volume and wait for the result: what ``Predictor.segment`` gives in this process.

        ``progress(fraction, message)`` and ``cancelled()`` are called on this thread; canceling takes less than a
        second, also in the middle of a tile.
        Raises what ``begin`` and ``Predictor.segment`` raise, and WorkerError if the process ends or fails.
        """
        run = self.begin(image, model, **options)
        try:
            while not run.done:
                for news in run.poll(SECONDS_BETWEEN_LOOKS):
                    if progress:
                        progress(news.fraction, news.message)
                if cancelled and cancelled():
                    run.cancel()
            return run.result()
        finally:
            run.abandon()  # after Ctrl-C, or an exception in progress()

    def close(self):
        """End the process, and a run that is under way. The worker can be used again afterwards."""
        if self._run is not None:
            self._run.abandon()
        self._held.quit()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_):
        self.close()


class Run:
    """A volume that is being segmented; made by ``Worker.begin``.

    A window calls ``poll`` from a timer until ``done``, then ``result``. To be used from one thread.
    """

    def __init__(self, worker: Worker, held: _Held, id: int):
        self._worker, self._held, self._id = worker, held, id
        self._process = held.process
        self._started, self._kill_at, self._killed = time.monotonic(), None, False
        self._writing: Iterator[None] | None = None  # of the volume, until the worker has it
        self._volume: Any = None  # as the message "segment" describes it
        self._result: Result | None = None
        # Of volumes that the process aligned: the registrations, and warnings about them.
        self.alignment: tuple[tuple[Registration | None, ...], tuple[str, ...]] | None = None
        self._error: MedSegAIError | None = None

    @property
    def done(self) -> bool:
        """Whether ``result`` returns or raises at once."""
        return self._result is not None or self._error is not None

    def poll(self, seconds: float = 0.002) -> list[Progress]:
        """What is new since the last call; waits for news no longer than ``seconds``.

        The default is not 0, as Slicer's Python runs other threads, which read the messages, only while this one waits.
        """
        news: list[Progress] = []
        self._write()
        with suppress(queue.Empty):
            while not self.done:
                message = self._process.received.get(timeout=0 if news else self._patience(seconds))
                self._take(message, news)
        self._check_time()
        return news

    def cancel(self):
        """Ask the worker to stop, and return at once. ``poll`` kills it if it does not answer within half a second.

        The run ends with Cancelled, even if its result was just about to come.
        """
        if self._writing is not None and not self.done:
            self._end(Cancelled())  # the worker may be loading the model, which does no harm
        elif not self.done and self._kill_at is None:
            self._kill_at = time.monotonic() + SECONDS_TO_CANCEL
            self._process.send("cancel", self._id)

    def result(self) -> Result:
        """Wait until the run is done, and return its result.

        Raises what ``Predictor.segment`` raises, Cancelled, and WorkerError if the process ended or failed.
        """
        while not self.done:
            self.poll(SECONDS_BETWEEN_LOOKS)
        if self._error is not None:
            raise self._error
        return self._result

    def abandon(self):
        """Cancel, and wait until the worker has stopped or is killed: less than a second."""
        self.cancel()
        while not self.done:
            self.poll(SECONDS_BETWEEN_LOOKS)

    def _send(self, image: Image | Unaligned, model: Model, options: dict[str, Any]):
        """The worker loads the model while the volume is written; both are done when ``segment`` arrives."""
        try:
            folder = self._held.make_folder()
            self._volume, files = plan(image, folder)
            self._writing = write(files)
            self._process.send("load", self._id, model=address_of(model), options=options, folder=str(folder))
        except OSError as error:
            self._end(_not_handed(error))
            raise self._error from error
        except BaseException:
            self._end(Cancelled())
            raise

    def _write(self):
        """Write on for a moment; the worker is told when it is done."""
        stop = time.monotonic() + SECONDS_OF_WRITING
        try:
            while self._writing is not None and time.monotonic() < stop:
                if next(self._writing, self) is self:
                    self._process.send("segment", self._id, image=self._volume)
                    self._writing = self._volume = None
        except OSError as error:
            self._end(_not_handed(error))

    def _patience(self, seconds: float) -> float:
        if self._writing is not None:
            return 0.0
        return seconds if self._kill_at is None else max(0.0, min(seconds, self._kill_at - time.monotonic()))

    def _take(self, message: dict[str, Any] | None, news: list[Progress]):
        if message is None:
            self._end(Cancelled() if self._kill_at is not None else self._death(), ended=True)
        elif _take_news(self._process, message):
            pass
        elif message["type"] == "error" and message["id"] in (None, self._id):
            self._end(_error_of(message), ended=message["id"] is None)
        elif message["id"] != self._id:
            pass  # the answer to a run that was given up
        elif message["type"] == "progress":
            news.append(Progress(message["fraction"], message["stage"], message["message"]))
        elif message["type"] == "result":
            self._receive(message)

    def _receive(self, message: dict[str, Any]):
        if self._kill_at is not None:
            self._end(Cancelled())
            return
        try:
            self.alignment = unpack(message.get("alignment"), self._held.folder, mapped=False)
            self._result = unpack(message["result"], self._held.folder, mapped=MAY_MAP)
        except Exception as error:
            logger.exception("The worker's result cannot be read.")
            reason = "there is not enough main memory" if isinstance(error, MemoryError) else error
            self._end(WorkerError(f"The worker's result cannot be read: {reason}. Nothing was written; try again."))
        else:
            self._end(None)

    def _check_time(self):
        if self.done:
            return
        now = time.monotonic()
        if self._kill_at is not None and now >= self._kill_at:
            if self._killed:
                self._end(Cancelled(), ended=True)
            else:  # the end of its messages tells when it is gone: to free its memory can take a while
                self._process.end()
                self._killed, self._kill_at = True, now + SECONDS_TO_DIE
        elif not self._process.ready and now - self._started > SECONDS_TO_START:
            text = (
                f"The worker process said nothing for {SECONDS_TO_START:g} seconds after it was started with "
                f"{self._process.executable}. Check that this is a Python interpreter."
            )
            self._end(WorkerError(text), ended=True)

    def _death(self) -> WorkerError:
        how = self._process.last_words()
        if not self._process.ready:
            return WorkerError(
                f"The worker process could not start with {self._process.executable}; it ended with {how}. Check that "
                "this Python interpreter works and has what MedSegAI needs."
            )
        return WorkerError(
            f"The worker process ended before its result was there, with {how}. Nothing was written. If main memory "
            "ran out, crop the volume; the next run starts a new process."
        )

    def _end(self, error: MedSegAIError | None, ended: bool = False):
        """``ended``: the process is gone, or must go."""
        self._error, self._writing, self._volume = error, None, None
        if ended:
            self._held.release()
        self._held.delete_folder()
        self._worker._run = None


class _Held:
    """What must not outlive a worker: its process and the folder of its current run."""

    def __init__(self):
        self.process: WorkerProcess | None = None
        self.folder: Path | None = None
        self._owner = os.getpid()

    def make_folder(self) -> Path:
        """A new private folder (mode 0700) for the arrays of one run."""
        self.folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        return self.folder

    def delete_folder(self):
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def quit(self):
        """Let the process end by itself, or kill it."""
        if self.process is not None and self.process.alive:
            self.process.send("quit")
            deadline = time.monotonic() + SECONDS_TO_QUIT
            while self.process.alive and time.monotonic() < deadline:
                time.sleep(0.005)
        self.release()

    def release(self):
        if os.getpid() != self._owner:
            return  # a copy of this program made by fork, whose end is not ours
        if self.process is not None:
            self.process.kill()
            self.process = None
        self.delete_folder()


def _opened(model: Model | str | Path) -> Model:
    from MedSegAILib.models.library import ModelLibrary

    return ModelLibrary().find(model) if isinstance(model, (str, Path)) else model


def _take_news(process: WorkerProcess, message: dict[str, Any]) -> bool:
    """Note what a message says about the process itself; whether it does."""
    if message["type"] == "ready":
        process.ready = True
    elif message["type"] == "device":
        process.device = message["name"]
    else:
        return False
    return True


def _not_handed(error: OSError) -> WorkerError:
    return WorkerError(
        f"The volume cannot be handed to the worker process: {error.strerror or error} ({tempfile.gettempdir()}). "
        "Free some space there, or set TMPDIR to another folder."
    )


def _error_of(message: dict[str, Any]) -> MedSegAIError:
    """The error that the worker met, of the same class."""
    if message.get("traceback"):
        logger.error("The worker process failed:\n%s", message["traceback"])
        text = message["message"].rstrip(".")
        return WorkerError(f"The worker process failed. {text}. Please report this with the log.")
    cls = getattr(errors, message["error"], None)
    known = isinstance(cls, type) and issubclass(cls, MedSegAIError)
    return (cls if known else WorkerError)(message["message"])
