"""The worker's end: takes requests from standard input, keeps the last model loaded, answers on standard output."""

from __future__ import annotations

import inspect
import os
import queue
import shutil
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from MedSegAICore.channels import Unaligned
from MedSegAICore.errors import Cancelled, DeviceError, MedSegAIError, OutputError, WorkerError
from MedSegAICore.image import Image
from MedSegAILib.worker import messages
from MedSegAILib.worker.parent import wait_until_gone

TRIES_TO_DELETE = 50
NICENESS = 5  # the window that waits for a result stays quick although all cores compute


def main() -> NoReturn:
    """``sys.argv[1]``: the id of the process to serve; its direct parent may be a launcher."""
    parent = int(sys.argv[1]) if len(sys.argv) > 1 else os.getppid()
    if hasattr(os, "nice"):  # on Windows the parent says it when it starts this process
        with suppress(OSError):
            os.nice(NICENESS)
    Child(Channel(), parent).serve()


class Channel:
    """Standard input and output, for messages alone.

    Whatever a library prints, also from C, goes to standard error; what it reads is empty.
    """

    def __init__(self):
        self._input, self._output = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        self._lock = threading.Lock()
        self._output.write(b"\n")  # ends what was printed before, for example by a sitecustomize

    def send(self, type: str, id: int | None = None, **content: Any):
        """Raises OSError if nobody listens any more."""
        line = messages.encode(type, id, **content)
        with self._lock:
            self._output.write(line)
            self._output.flush()

    def lines(self):
        """The lines that come in, until the parent closes its end."""
        return iter(self._input.readline, b"")


class Child:
    """Serves one parent. The thread of ``serve`` computes, a second one listens, a third one watches the parent."""

    def __init__(self, channel: Channel, parent: int):
        self._channel, self._parent = channel, parent
        self._requests: queue.Queue = queue.Queue()
        self._cancelled: set[int] = set()
        self._folder: Path | None = None  # of the current request
        self._predictor, self._request, self._warm = None, None, None

    def serve(self) -> NoReturn:
        """Answer requests until the parent asks to quit or is gone."""
        self._send("ready", pid=os.getpid())
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()
        self._import()
        while True:
            message = self._requests.get()
            handle = {"load": self._load, "segment": self._segment}.get(message["type"], self._refuse)
            try:
                handle(message)
            except Exception as error:
                self._answer_error(message["id"], error)
                del error  # its traceback holds the volume

    def _listen(self):
        """Requests wait for their turn; to cancel and to quit do not."""
        for line in self._channel.lines():
            try:
                message = messages.decode(line)
            except WorkerError as error:
                self._answer_error(None, error)
                continue
            if message["type"] == "quit":
                break
            if message["type"] == "cancel":
                self._cancelled.add(message["id"])
            else:
                if message["type"] == "load":
                    self._folder = Path(message["folder"])
                self._requests.put(message)
        self._leave()

    def _watch(self):
        # The end of standard input says the same, unless a process that the parent forked holds it open.
        wait_until_gone(self._parent)
        self._leave()

    def _leave(self) -> NoReturn:
        """End at once, whatever is being computed, and leave no file behind that the parent cannot delete any more."""
        folder = self._folder
        for _ in range(TRIES_TO_DELETE):  # the other thread may just be writing a file
            if folder is None or not folder.name.startswith(messages.FOLDER_PREFIX) or not folder.exists():
                break
            shutil.rmtree(folder, ignore_errors=True)
            time.sleep(0.01)
        os._exit(0)

    def _import(self):
        """Import what takes seconds before the first request does; without it the process is of no use."""
        try:
            from MedSegAILib.inference.devices import choose_device, describe_device, require_torch
            from MedSegAILib.inference.prediction import Predictor
            from MedSegAILib.inference.warm import WarmPredictor

            require_torch()
            keywords = inspect.signature(Predictor).parameters.values()
            self._of_predictor = {parameter.name for parameter in keywords} - {"model"}
            self._warm = WarmPredictor()
            self._send("device", name=describe_device(choose_device("auto")))
        except Exception as error:
            self._answer_error(None, error)
            sys.stderr.flush()
            self._leave()

    def _load(self, message: dict[str, Any]):
        """Open the model of a request. Its volume, which the parent is writing meanwhile, comes with ``segment``."""
        from MedSegAILib.models.opening import open_address

        self._request, self._predictor = None, None
        self._progress(message["id"], 0.0, "load", "loading the model")
        model = open_address(message["model"])
        options = {name: value for name, value in message["options"].items() if name in self._of_predictor}
        self._predictor = self._warm.get(model, **options)
        self._request = message

    def _segment(self, message: dict[str, Any]):
        """Segment the volume of the request that was loaded last; one that failed to load was answered already."""
        from MedSegAILib.worker.exchange import MAY_MAP, pack, unpack

        if self._request is None or self._request["id"] != message["id"]:
            return
        id, folder = message["id"], Path(self._request["folder"])
        rest = {name: value for name, value in self._request["options"].items() if name not in self._of_predictor}
        self._stop_if_cancelled(id)
        self._progress(id, 0.0, "prepare", "preparing the volume")
        image, alignment = self._aligned(id, unpack(message["image"], folder, mapped=MAY_MAP))
        result = self._predictor.segment(
            image, **rest,
            progress=lambda fraction, text: self._progress(id, fraction, "network", text),
            cancelled=lambda: id in self._cancelled,
        )  # fmt: skip
        self._stop_if_cancelled(id)
        try:
            packed, alignment = pack(result, folder), pack(alignment, folder)
        except OSError as error:
            raise OutputError(
                f"The result cannot be written to the temporary folder {folder}: {error.strerror or error}. Free some "
                "space there."
            ) from error
        self._send("result", id, result=packed, alignment=alignment)

    def _aligned(self, id: int, volume: Image | Unaligned) -> tuple[Image, tuple | None]:
        """One image; of several volumes also how they were aligned, and warnings about it."""
        if not isinstance(volume, Unaligned):
            return volume, None
        aligned = volume.align(lambda text: self._progress(id, 0.0, "align", text), lambda: id in self._cancelled)
        return aligned.image, (aligned.registrations, tuple(aligned.image.meta["warnings"]))

    def _refuse(self, message: dict[str, Any]):
        raise WorkerError(f"The worker was asked for {message['type']!r}, expected load, segment, cancel or quit.")

    def _stop_if_cancelled(self, id: int):
        if id in self._cancelled:
            raise Cancelled

    def _progress(self, id: int, fraction: float, stage: str, text: str):
        self._send("progress", id, fraction=float(fraction), stage=stage, message=text)

    def _answer_error(self, id: int | None, error: Exception):
        text, trace = str(error), None
        if isinstance(error, MemoryError):
            error = DeviceError()
            text = "There is not enough main memory for this volume. Crop it, or use a machine with more memory."
        elif not isinstance(error, MedSegAIError):
            text, trace = f"Unexpected {type(error).__name__}: {text}", traceback.format_exc()
        self._send("error", id, error=type(error).__name__, message=text, traceback=trace)

    def _send(self, type: str, id: int | None = None, **content: Any):
        try:
            self._channel.send(type, id, **content)
        except OSError:  # nobody listens
            self._leave()
