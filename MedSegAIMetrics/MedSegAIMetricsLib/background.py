"""Compare two label maps in a child process, a little at a time for who asks: a window stays responsive meanwhile.

The two sides share a folder: the parent writes the voxels and what is wanted, the child its progress and its answer.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedSegAICore.errors import MedSegAIError, WorkerError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.python_process import apart, find_python, kill_tree
from MedSegAIMetricsLib.comparison import LabelMeasures, Settings
from MedSegAIMetricsLib.label_maps import measure_segments
from MedSegAIMetricsLib.matching import Match

MODULE = "MedSegAIMetricsLib.background"
FOLDERS = (Path(__file__).resolve().parents[1], Path(sys.modules["MedSegAICore"].__file__).resolve().parents[1])
PART_BYTES = 8 * 2**20  # what is written at a time
NICENESS = 5
REQUEST, ANSWER, PROGRESS, PRINTED = "request", "answer", "progress", "printed"


@dataclass(frozen=True)
class _Voxels:
    """A label map whose array is in a file of the shared folder."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    grid: Grid
    labels: tuple[Label, ...]

    def read(self, folder: Path) -> LabelMap:
        array = np.fromfile(folder / self.file, self.dtype).reshape(self.shape)
        return LabelMap(array, self.grid, self.labels)


def measure_in_child(
    reference: LabelMap, test: LabelMap, matches: list[Match], settings: Settings
) -> Iterator[tuple[float, str]]:
    """Generator that yields (fraction, segment name) often, without waiting; it returns what ``measure_segments`` does.

    ``close()`` ends the child at once. Raises what ``measure_segments`` raises; WorkerError if the child cannot be
    started or ends too early.
    """
    folder = Path(tempfile.mkdtemp(prefix="medsegai_comparison_"))
    process = None
    try:
        sides = []
        for name, label_map in (("reference", reference), ("test", test)):
            sides.append((yield from _write(folder, name, label_map)))
        (folder / REQUEST).write_bytes(pickle.dumps((*sides, matches, settings)))
        process = _start(folder)
        while process.poll() is None:
            yield _last_progress(folder)
        return _answer(folder, process.returncode)
    finally:
        if process is not None:
            _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _write(folder: Path, name: str, label_map: LabelMap) -> Iterator[tuple[float, str]]:
    array = label_map.array
    planes = array.reshape(-1, *array.shape[-2:])
    step = max(1, PART_BYTES // max(1, planes[0].nbytes))
    with open(folder / name, "wb") as file:
        for first in range(0, len(planes), step):
            file.write(np.ascontiguousarray(planes[first : first + step]).data)
            yield 0.0, ""
    return _Voxels(name, array.dtype.str, array.shape, label_map.grid, label_map.labels)


def _start(folder: Path) -> subprocess.Popen:
    path = os.pathsep.join([*map(str, FOLDERS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8:backslashreplace"}
    with open(folder / PRINTED, "wb") as printed:
        try:
            return subprocess.Popen(
                [find_python(), "-m", MODULE, str(folder)],
                stdin=subprocess.PIPE, stdout=printed, stderr=printed, env=environment, cwd=folder.parent, **apart(),
            )  # fmt: skip
        except OSError as error:
            raise WorkerError(f"The process that compares cannot be started: {error.strerror or error}.") from error


def _end(process: subprocess.Popen):
    if process.poll() is None:
        kill_tree(process)
    process.wait()
    with suppress(OSError):
        process.stdin.close()


def _last_progress(folder: Path) -> tuple[float, str]:
    with suppress(OSError, ValueError, IndexError):  # nothing is written yet
        fraction, name = (folder / PROGRESS).read_text(encoding="utf-8").split("\n")[-2].split("\t", 1)
        return float(fraction), name
    return 0.0, ""


def _answer(folder: Path, status: int) -> dict[str, LabelMeasures]:
    if not (folder / ANSWER).is_file():
        lines = (folder / PRINTED).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = f": {lines[-1]}" if lines else ""
        raise WorkerError(f"The process that compares ended with status {status}{last}. Compare again.")
    answer = pickle.loads((folder / ANSWER).read_bytes())
    if isinstance(answer, Exception):
        raise answer
    return answer


# ---- in the child --------------------------------------------------------------------------------------------------


def main(folder: Path):
    """Read the request of a folder, and write progress and answer."""
    if hasattr(os, "nice"):  # the window goes first; on Windows the parent says it when it starts this process
        with suppress(OSError):
            os.nice(NICENESS)
    threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()
    reference, test, matches, settings = pickle.loads((folder / REQUEST).read_bytes())
    with open(folder / PROGRESS, "w", encoding="utf-8", newline="\n") as file:

        def progress(fraction: float, name: str):
            file.write(f"{fraction}\t{' '.join(name.split())}\n")
            file.flush()

        try:
            answer = measure_segments(reference.read(folder), test.read(folder), matches, settings, progress)
        except MedSegAIError as error:
            answer = error
    unfinished = folder / (ANSWER + ".part")
    unfinished.write_bytes(pickle.dumps(answer))
    os.replace(unfinished, folder / ANSWER)


def _end_with_parent(folder: Path):
    """Standard input ends when the parent does, even if that is killed: nobody waits for an answer then."""
    while os.read(0, 1):  # not through sys.stdin, whose lock Python would wait for at its end
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
