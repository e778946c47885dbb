"""Time and peak memory of what is computed of several observers' masks, beside SimpleITK. Linux only.

    python Testing/benchmarks/observers.py [--observers 5] [--stray]

The image has 200 x 512 x 512 voxels of 2.5 x 0.8 x 0.8 mm, the segment is the size of a liver: spheres of 75 to 85 mm
(1.3 million voxels), moved by a few mm. ``--stray`` gives the first two observers a voxel in opposite corners of the
image, so that nothing can be cropped. Peak memory is that over what is held before each call, masks included in
"held"; times are of one call.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent, HERE.parents[1] / "MedSegAI", HERE.parents[1] / "MedSegAIMetrics"):
    sys.path.insert(0, str(folder))

from metrics import memory, reset_peak

from fixtures_shapes import sphere
from MedSegAICore.grid import Grid
from MedSegAIMetricsLib.captured import variability_captured
from MedSegAIMetricsLib.consensus import METHODS, consensus, leave_one_out
from MedSegAIMetricsLib.observer_masks import ObserverMasks, entropy_map
from MedSegAIMetricsLib.variability import local_variability

SHAPE, SPACING_MM = (200, 512, 512), (2.5, 0.8, 0.8)
MIB = 2**20


def masks_of(n: int, stray: bool) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    masks = []
    for radius in np.linspace(75, 85, n):
        center = (250, 205, 205) + rng.normal(0, 1, 3)
        masks.append(sphere(SHAPE, SPACING_MM, center, radius))
    if stray:
        masks[0][0, 0, 0] = masks[1][-1, -1, -1] = True
    return masks


def simpleitk_staple(observers: ObserverMasks):
    import SimpleITK as sitk

    images = [sitk.GetImageFromArray(np.ascontiguousarray(mask).view(np.uint8)) for mask in observers.masks]
    return sitk.STAPLEImageFilter().Execute(images)


def row(title: str, call: Callable):
    held = reset_peak()
    started, cpu_started = time.perf_counter(), time.process_time()
    call()
    cpu, wall = time.process_time() - cpu_started, time.perf_counter() - started
    print(f"{title:<34}{cpu:>10.2f}{wall:>10.2f}{(memory('VmHWM') - held) / MIB:>10.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observers", type=int, default=5)
    parser.add_argument("--stray", action="store_true")
    arguments = parser.parse_args()
    masks = masks_of(arguments.observers, arguments.stray)
    grid = Grid(SHAPE, np.diag([*SPACING_MM[::-1], 1]))
    reset_peak()
    print(f"{len(masks)} observers, {' x '.join(map(str, SHAPE))} voxels; held: {memory('VmRSS') / MIB:.0f} MiB")

    print(f"{'':<34}{'CPU s':>10}{'wall s':>10}{'peak MiB':>10}")

    def fresh() -> ObserverMasks:
        return ObserverMasks.of(masks, SPACING_MM)  # nothing is left from the row before

    consensus(ObserverMasks.of([mask[::20, ::20, ::20] for mask in masks], SPACING_MM), "shape")  # imports
    row("crop to the box of all", fresh)
    for method in METHODS:
        row(f"consensus: {method}", lambda method=method: consensus(fresh(), method))
    row("leave-one-out: majority", lambda: [c.volume_ml for c in leave_one_out(fresh())])
    row("entropy map", lambda: entropy_map(fresh()))
    row("variability captured", lambda: variability_captured(fresh()))
    for distances in ("face", "smooth"):
        row(f"local variability: {distances}", lambda d=distances: local_variability(fresh(), grid, distances=d))
    row("SimpleITK STAPLE in the same box", lambda: simpleitk_staple(fresh()))


if __name__ == "__main__":
    main()
