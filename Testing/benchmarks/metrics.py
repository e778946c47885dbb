"""Time and memory of comparing segmentations, beside the tools that researchers use for it. Linux only.

    python Testing/benchmarks/metrics.py --data DATA [--peers-python PYTHON] [--cache FOLDER] [--only NAME,...]

``PYTHON`` is an interpreter with numpy, scipy, SimpleITK, vtk, surface-distance, monai, medpy and mikan-rs; without it
only our rows are printed. Every row is a process with one thread. Reading, imports and a first call on a tiny pair are
not counted. CPU and wall seconds are those of the quickest call; memory is the peak over what was held before it.
Measures are means over labels and pairs: they differ since the tools define surfaces and HD95 differently.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    "RAYON_NUM_THREADS",
    "VTK_SMP_MAX_THREADS",
)
COLUMNS = ("CPU s", "wall s", "peak MiB", "CPU ratio", "Dice", "HD mm", "HD95 mm", "ASSD mm", "NSD 2 mm")


def repeats(seconds: float) -> int:
    """How many calls are timed if the first takes so long."""
    return 5 if seconds < 2 else 2 if seconds < 20 else 1


def reset_peak() -> int:
    """Let the kernel count the peak memory anew; returns the bytes held now."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # freed memory that the allocator keeps would hide what a call takes
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) * 1024


def means(found: list[dict]) -> dict[str, float]:
    """Mean of every measure over the labels of all pairs; missing where a tool does not offer it."""
    rows = [values for labels in found for values in labels.values()]
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def measure(case_name: str, peer_name: str, data: Path, cache: Path, limit: int) -> dict:
    """Time one tool on one case in this process, which SIGALRM ends if a call takes more than ``limit`` seconds."""
    from metrics_cases import load, tiny
    from metrics_peers import OURS, PEERS

    peer = {**OURS, **PEERS}[peer_name]
    case, small = load(case_name, data, cache), tiny()
    inputs = [peer.prepare(pair) for pair in case.pairs]
    peer.measure(peer.prepare(small.pairs[0]), small.labels)
    held = reset_peak()
    costs = []
    while not costs or len(costs) < repeats(costs[0][1]):
        signal.alarm(limit)
        started, cpu_started = time.perf_counter(), time.process_time()
        found = [peer.measure(item, case.labels) for item in inputs]
        costs.append((time.process_time() - cpu_started, time.perf_counter() - started))
        signal.alarm(0)
    cpu, wall = min(costs)
    found = [{str(label): {k: float(v) for k, v in row.items()} for label, row in item.items()} for item in found]
    return {
        "cpu_s": cpu,
        "wall_s": wall,
        "calls": len(costs),
        "peak_mib": (memory("VmHWM") - held) / 2**20,
        "means": means(found),
        "values": found,
    }


def run_child(python: str, case: str, peer: str, arguments: argparse.Namespace) -> dict:
    """Measure in a process of its own. The answer is {"failed": why} if it does not come through."""
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    command = [python, __file__, "--data", str(arguments.data), "--cache", str(arguments.cache)]
    command += ["--limit", str(arguments.limit), "--child", case, peer]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode == -signal.SIGALRM:
        return {"failed": f"> {arguments.limit} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def row(peer: str, result: dict, ours: dict | None) -> str:
    if "failed" in result:
        return f"{peer:<18}{result['failed']}"
    ratio = result["cpu_s"] / ours["cpu_s"] if ours and "cpu_s" in ours else math.nan
    values = [result["means"].get(name, math.nan) for name in ("dice", "hd", "hd95", "assd", "nsd")]
    cells = [f"{result['cpu_s']:>10.4f}{result['wall_s']:>10.4f}{result['peak_mib']:>10.0f}", f"{ratio:>10.2f}"]
    cells += [f"{value:>10.4f}" for value in values]
    return f"{peer:<18}" + "".join(cells).replace("nan", "  –")


def main() -> int:
    from metrics_cases import NAMES
    from metrics_peers import OURS, PEERS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with spleen_ct and hippocampus")
    parser.add_argument("--cases", default=",".join(NAMES))
    parser.add_argument("--only", help="names of rows: " + ", ".join([*OURS, *PEERS]))
    parser.add_argument("--python", default=sys.executable, help="interpreter of our rows")
    parser.add_argument("--peers-python", help="interpreter of the other rows")
    parser.add_argument("--cache", type=Path, help="folder that keeps the written cases")
    parser.add_argument("--limit", type=int, default=240, help="seconds after which a call is given up")
    parser.add_argument("--json", type=Path, help="file for all results with all digits")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(*arguments.child, arguments.data, arguments.cache, arguments.limit)))
        return 0

    rows = dict.fromkeys(OURS, arguments.python)
    if arguments.peers_python:
        rows.update(dict.fromkeys(PEERS, arguments.peers_python))
    if arguments.only:
        rows = {name: rows[name] for name in arguments.only.split(",")}
    results: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as temporary:
        arguments.cache = arguments.cache or Path(temporary)
        for case in arguments.cases.split(","):
            print(f"\n{case:<18}" + "".join(f"{column:>10}" for column in COLUMNS), flush=True)
            results[case] = {}
            for peer, python in rows.items():
                results[case][peer] = run_child(python, case, peer, arguments)
                print(row(peer, results[case][peer], results[case].get("ours-face")), flush=True)
                if arguments.json:
                    arguments.json.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
