"""Time and memory of segmenting one volume, stage by stage, beside nnU-Net's own predictor and MONAI. Linux only.

    python Testing/benchmarks/inference.py --data DATA [--peers-python PYTHON] [--cases hippocampus head ct25 ct118]
        [--threads 2] [--device cpu|cuda] [--clock wall|cpu] [--memory-limit-gb N] [--cache FOLDER]

``PYTHON`` is an interpreter with nnunetv2 and monai (see Testing/oracle/README.md; monai with --no-deps too); without
it only our rows are printed. All programs get the same weights, volume and number of threads, and do not mirror; each
runs in a process of its own, after imports and the loading of the model, which are not counted. Memory is the peak
over what was held before the volume was read. *Outside* is everything but the network. A *floor* row is the network
alone on the tiles that nnU-Net sends; *medsegai* does what nnU-Net does, *standard* is our default quality. A program
that would need more memory than the limit is not run, or is ended. The networks of the CT cases are not trained (see
inference_cases.py): what standard costs in agreement is to be read from the other two.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
for folder in ("MedSegAI", "MedSegAIMetrics"):
    sys.path.insert(0, str(REPOSITORY / folder))

from inference_cases import CASES, CT_SHAPE, Case
from inference_programs import PROGRAMS, STAGES

CHILD = Path(__file__).with_name("inference_programs.py")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
PEERS = ("nnunet", "monai")
GB = 1e9


def prepared(name: str, data: Path, cache: Path) -> Path:
    """The folder of a case, made if it is not in the cache yet."""
    folder = cache / name
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            CASES[name].make(data, Path(temporary))
            shutil.copytree(temporary, folder)
    return folder


def nnunet_bytes(case: Case) -> float:
    """What nnU-Net holds at its peak on the CT: all logits in half precision on the plan's grid, as double precision
    (its resampling converts them at once), and in half precision on the volume's grid."""
    coarse = 200 * 273 * 273
    fine = CT_SHAPE[0] * CT_SHAPE[1] * CT_SHAPE[2]
    return case.classes * (2 * coarse + 8 * coarse + 2 * fine)


def monai_bytes(case: Case) -> float:
    """All logits in single precision on both grids, and once more in double precision (``Invertd``)."""
    coarse = 200 * 273 * 273
    fine = CT_SHAPE[0] * CT_SHAPE[1] * CT_SHAPE[2]
    return case.classes * (4 * coarse + (4 + 8) * fine)


def run(program: str, folder: Path, output: Path, arguments: argparse.Namespace) -> dict:
    """Costs of one program on one case, or {"failed": why}."""
    python = arguments.peers_python if program in PEERS else sys.executable
    environment = {**os.environ, **dict.fromkeys(THREADS, str(arguments.threads))}
    command = [python, str(CHILD), program, str(folder / "model"), str(folder / "image.nii.gz"), str(output)]
    command += ["--threads", str(arguments.threads), "--device", arguments.device]
    command += ["--memory-limit", str(int(arguments.memory_limit_gb * GB))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def labels(path: Path):
    """The array (K, J, I) that a program wrote."""
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def agreement(outputs: dict[str, Path], program: str) -> str:
    """Share of voxels with nnU-Net's label, and mean Dice over the segments that it found."""
    if program == "nnunet" or "nnunet" not in outputs or program not in outputs:
        return f"{'–':>11}{'–':>9}"
    ours, theirs = labels(outputs[program]), labels(outputs["nnunet"])
    size = int(max(ours.max(), theirs.max())) + 1
    found, expected, both = (np.bincount(a.ravel(), minlength=size) for a in (ours, theirs, ours[ours == theirs]))
    present = np.flatnonzero(expected[1:]) + 1
    dice = np.mean(2 * both[present] / (found[present] + expected[present]))
    return f"{both.sum() / ours.size:>11.6f}{dice:>9.4f}"


def row(program: str, result: dict, clock: str, same: str) -> str:
    if "failed" in result:
        return f"  {program:<10}{result['failed']}"
    stages = result[clock]
    total = sum(stages.values())
    cells = [f"{stages.get(stage, 0):>11.2f}" for stage in STAGES]
    cells += [f"{total:>10.2f}", f"{total - stages['network']:>10.2f}", f"{result['peak_mib']:>10.0f}"]
    if "gpu_mib" in result:
        cells.append(f"{result['gpu_mib']:>10.0f}")
    return f"  {program:<10}" + "".join(cells) + same


def ratios(results: dict[str, dict], clock: str) -> list[str]:
    """How many times ours fits into a peer's time outside the network, into its whole time and its memory."""
    lines, ours = [], results["medsegai"]
    for peer in PEERS:
        theirs = results.get(peer, {})
        if clock not in theirs or clock not in ours:
            continue
        whole = [sum(costs[clock].values()) for costs in (theirs, ours)]
        outside = [total - costs[clock]["network"] for total, costs in zip(whole, (theirs, ours), strict=True)]
        shares = {"outside the network": outside, "in all": whole, "memory": [theirs["peak_mib"], ours["peak_mib"]]}
        texts = [f"{what} {first / second:.2f}" for what, (first, second) in shares.items()]
        lines.append(f"  {peer} / medsegai: " + ", ".join(texts))
    return lines


def compare(name: str, arguments: argparse.Namespace):
    """Run and print one case."""
    case, folder = CASES[name], prepared(name, arguments.data, arguments.cache)
    print(f"{case.title}; {arguments.threads} thread(s), {arguments.device}, {arguments.clock} seconds")
    header = "".join(f"{stage:>11}" for stage in STAGES) + "".join(f"{c:>10}" for c in ("all", "outside", "peak MiB"))
    print(
        f"  {'program':<10}{header}"
        + (f"{'GPU MiB':>10}" if arguments.device != "cpu" else "")
        + f"{'as nnU-Net':>11}{'Dice':>9}"
    )
    results, outputs = {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        for program in arguments.programs:
            if program in PEERS and not arguments.peers_python:
                continue
            needed = {"nnunet": nnunet_bytes, "monai": monai_bytes}.get(program, lambda case: 0)(case)
            if name.startswith("ct") and needed > arguments.memory_limit_gb * GB:
                print(f"  {program:<10}not run: its logits alone would take {needed / GB:.1f} GB", flush=True)
                continue
            output = Path(temporary) / program / "labels.nii.gz"
            output.parent.mkdir()
            results[program] = run(program, folder, output, arguments)
            if output.exists():
                outputs[program] = output
            print(row(program, results[program], arguments.clock, agreement(outputs, program)), flush=True)
    if "medsegai" in results:
        print("\n".join(ratios(results, arguments.clock)), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with hippocampus/images and organs")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    # nnU-Net first: the others are compared with its labels.
    programs = ["nnunet", "medsegai", "standard", "monai", "floor"]
    parser.add_argument("--programs", nargs="+", choices=list(PROGRAMS), default=programs)
    parser.add_argument("--peers-python", help="interpreter with nnunetv2 and monai")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu is less noisy on a shared machine"
    )
    parser.add_argument("--memory-limit-gb", type=float, default=16.0, help="of a program's data")
    cache = Path(tempfile.gettempdir()) / "medsegai_inference_benchmark"
    parser.add_argument("--cache", type=Path, default=cache, help="where volumes and models are kept")
    arguments = parser.parse_args()
    for name in arguments.cases:
        compare(name, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
