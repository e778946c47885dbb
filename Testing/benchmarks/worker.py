"""What the worker process costs: time to the first tile, time to cancel, memory and open files over many runs.

    python Testing/benchmarks/worker.py [--runs 50] [--threads 2]

Runs the bundled model on a bundled volume, and for the times to cancel a model with random weights, whose tiles take
seconds each, and one with thousands of quick tiles. Reads /proc, so it needs Linux.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
for folder in ("MedSegAI", "MedSegAIMetrics", "Testing"):
    sys.path.insert(0, str(REPOSITORY / folder))


def timed_run(worker, image, model, whole: bool = True) -> dict[str, float]:
    """Seconds from the call until the worker has the volume, the first tile is done, and the result is there.

    ``whole``: wait for the result, else cancel after the first tile.
    """
    started = time.perf_counter()
    run, times = worker.begin(image, model, device="cpu"), {"call returns": time.perf_counter() - started}
    names = {"prepare": "volume there", "network": "first tile done"}
    while not run.done:
        for news in run.poll():
            if news.stage in names:
                times.setdefault(names[news.stage], time.perf_counter() - started)
        if not whole and len(times) == 3:
            run.abandon()
            return times
    run.result()
    return {**times, "result": time.perf_counter() - started}


def time_to_cancel(worker, image, model, ready, **options) -> tuple[float, bool, bool]:
    """Seconds from cancel() to the end of the run; whether the process and the folder of the run are gone."""
    run = worker.begin(image, model, device="cpu", **options)
    ready(run)
    pid, folder, started = worker.pid, worker._held.folder, time.perf_counter()
    run.abandon()
    seconds = time.perf_counter() - started
    return seconds, not Path(f"/proc/{pid}").exists(), not folder.exists()


def hand_over() -> tuple[float, float, float]:
    """Seconds to write a 512 x 512 x 200 float32 volume for the worker, to read it there, and to read the labels."""
    import numpy as np

    from MedSegAILib.worker.exchange import pack, unpack

    volume = np.random.default_rng(0).random((1, 200, 512, 512), np.float32)
    labels = (volume[0] * 20).astype(np.uint8)
    with tempfile.TemporaryDirectory() as name:
        pack(volume[:, :1], Path(name))  # imports what it needs
        times = [time.perf_counter()]
        packed = pack(volume, Path(name))
        times.append(time.perf_counter())
        float(unpack(packed, Path(name), mapped=True).max())
        times.append(time.perf_counter())
        float(volume.max())  # what reading the same in this process's memory takes
        times.append(time.perf_counter())
        unpack(pack(labels, Path(name)), Path(name), mapped=False)
        times.append(time.perf_counter())
    write, read, here, back = np.diff(times)
    return write, read - here, back


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(arguments.threads)

    from fixtures_models import make_model_folder
    from fixtures_worker import MANY_TILES, SLOW_TILES, open_files, resident_mib, wait_until_in_a_tile
    from MedSegAICore.files import read_image
    from MedSegAICore.resources import resource
    from MedSegAILib.worker.client import Worker

    image = read_image(resource("SampleData") / "hippocampus_303.nii.gz")
    print(f"hippocampus {image.grid.shape}, {arguments.threads} threads; seconds from the call")
    with tempfile.TemporaryDirectory() as models, Worker() as worker:
        many = make_model_folder(Path(models) / "many", patch=(8, 8, 8))
        slow = make_model_folder(Path(models) / "slow", patch=(96, 96, 96))
        # A tile says when it is done; one of the quick model takes milliseconds, so it is done when it starts.
        for name, model in (("bundled model", "hippocampus"), ("model with tiles of milliseconds", many)):
            for number in (1, 2, 3):
                times = timed_run(worker, image, model, whole=model != many)
                print(f"  {name}, run {number}: " + ", ".join(f"{what} {n:.3f}" for what, n in times.items()))
        after_tile = time_to_cancel(worker, MANY_TILES, many, lambda run: time.sleep(1.0))
        in_tile = time_to_cancel(worker, SLOW_TILES, slow, wait_until_in_a_tile, quality="best")
        for what, (seconds, process, folder) in (("between tiles", after_tile), ("in a tile", in_tile)):
            print(f"  cancel {what}: {seconds:.3f} s, process gone: {process}, its files gone: {folder}")
        times = timed_run(worker, image, "hippocampus")
        print(f"  the run after it, in a new process: first tile done {times['first tile done']:.3f}")

        for number in range(arguments.runs + 1):
            if number in (0, 5, arguments.runs):
                pids = {"parent": os.getpid(), "worker": worker.pid}
                state = (f"{who} {resident_mib(pid):.0f} MiB, {open_files(pid)} files" for who, pid in pids.items())
                print(f"  after {number} more runs: {'; '.join(state)}")
            worker.segment(image, "hippocampus", device="cpu", probabilities=True)
        left = len(list(Path(tempfile.gettempdir()).glob("medsegai-worker-*")))
        print(f"  temporary folders left: {left}")
    write, read, back = hand_over()
    print(f"200 MiB volume: written in {write:.2f} s, read by the worker in {read:.2f} s; labels back in {back:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
