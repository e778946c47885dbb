"""Time and memory of segmenting a folder of volumes, beside nnU-Net's own predictor in the same run.

    python Testing/benchmarks/segment_folder.py IMAGES [--cases 50] [--model hippocampus] [--nnunet-python PYTHON]

Both programs get the same volumes, model folder and number of threads, without mirroring. ``PYTHON`` is an interpreter
with nnunetv2 (see Testing/oracle/README.md); without it only our column is printed. Reads no clock inside the programs:
start-up is the wall time of a run with one case less one case's time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PEER = Path(__file__).with_name("nnunet_peer.py")


@dataclass(frozen=True)
class Cost:
    """Wall seconds of a whole process and its peak resident memory in MiB."""

    seconds: float
    memory_mib: float


def measure(command: list[str], environment: dict[str, str]) -> Cost:
    """Run a process to its end. Raises CalledProcessError with its output if it fails."""
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if status:
            output.seek(0)
            raise subprocess.CalledProcessError(status, command, output.read().decode(errors="replace")[-2000:])
    return Cost(seconds, usage.ru_maxrss / 1024)


def stage(images: list[Path], folder: Path) -> Path:
    """Copies under nnU-Net's names (case_0000.nii.gz), which both programs read."""
    folder.mkdir(parents=True)
    for image in images:
        shutil.copy(image, folder / image.name.replace(".nii.gz", "_0000.nii.gz"))
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of .nii.gz volumes")
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--model", default="hippocampus")
    parser.add_argument("--nnunet-python", help="interpreter with nnunetv2")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    images = sorted(arguments.images.glob("*.nii.gz"))[: arguments.cases]

    sys.path.insert(0, str(REPOSITORY / "MedSegAI"))
    from MedSegAILib.models.library import ModelLibrary

    model = ModelLibrary().find(arguments.model)
    threads = {name: str(arguments.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = {**os.environ, **threads, "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "MedSegAI"),
                   str(REPOSITORY / "MedSegAIMetrics")])}  # fmt: skip
    programs = {
        "medsegai": lambda source, target: [
            sys.executable, "-m", "MedSegAILib.commands", "segment", str(source), "--model", str(model.path),
            "--output", str(target), "--format", "nii.gz", "--device", "cpu",
        ]
    }  # fmt: skip
    if arguments.nnunet_python:
        programs["nnunetv2"] = lambda source, target: [
            arguments.nnunet_python, str(PEER), str(source), str(model.path), str(target),
        ]  # fmt: skip
    rows = {}
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        one, all_cases = stage(images[:1], base / "one"), stage(images, base / "all")
        for name, command in programs.items():
            single = measure(command(one, base / f"{name}_one"), environment)
            many = measure(command(all_cases, base / f"{name}_all"), environment)
            per_case = (many.seconds - single.seconds) / (len(images) - 1)
            rows[name] = (single.seconds - per_case, per_case, many.memory_mib)
    print(f"{len(images)} volumes, {arguments.threads} threads, model {model.id} with {len(model.folds)} fold(s)")
    print(f"{'program':<12}{'start-up s':>12}{'s per case':>12}{'peak MiB':>10}{'time ratio':>12}{'memory ratio':>14}")
    for name, (start, per_case, memory) in rows.items():
        ratios = (per_case / rows["medsegai"][1], memory / rows["medsegai"][2])
        print(f"{name:<12}{start:>12.2f}{per_case:>12.3f}{memory:>10.0f}{ratios[0]:>12.2f}{ratios[1]:>14.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
