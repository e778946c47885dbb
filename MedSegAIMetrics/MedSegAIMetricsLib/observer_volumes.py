"""How much, and how far up and down, several observers drew in one case."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from MedSegAICore.boxes import filled_box
from MedSegAICore.grid import Grid
from MedSegAIMetricsLib.observer_measures import ObserverValue, undefined
from MedSegAIMetricsLib.votes import Votes

ONE_EMPTY = "a mask is empty"
ALL_EMPTY = "all masks are empty"


def volume_spread(votes: Votes) -> list[ObserverValue]:
    """The volumes of one case: mean, SD, coefficient of variation, ratio, common and encompassing volume.

    An empty mask has the volume 0; a ratio to it does not exist. ``n`` is 1, ``k`` the number of observers.
    """
    volumes, k = np.array(votes.volumes_ml), votes.k
    mean, sd = float(volumes.mean()), float(volumes.std(ddof=1))
    common, encompassing = (float(count * votes.voxel_ml) for count in (votes.histogram[k], votes.histogram[1:].sum()))
    smallest = float(volumes.min())
    return [
        ObserverValue("volume_mean_ml", mean, n=1, k=k),
        ObserverValue("volume_sd_ml", sd, n=1, k=k),
        ObserverValue("volume_cv_percent", 100 * sd / mean, n=1, k=k)
        if mean
        else undefined("volume_cv_percent", ALL_EMPTY, 1, k),
        ObserverValue("volume_ratio", float(volumes.max()) / smallest, n=1, k=k)
        if smallest
        else undefined("volume_ratio", ONE_EMPTY, 1, k),
        ObserverValue("common_ml", common, n=1, k=k),
        ObserverValue("encompassing_ml", encompassing, n=1, k=k),
    ]


def craniocaudal_limits(mask: np.ndarray, grid: Grid) -> tuple[float, float]:
    """How far a mask reaches down and up: the smallest and the largest S of its voxels' corners, in mm of the world.

    ``mask``: bool (K, J, I) on ``grid``, which may be oblique or flipped. Returns (inferior, superior); NaN for an
    empty mask.
    """
    box = filled_box(mask)
    inside = mask[box]
    if not inside.size:
        return math.nan, math.nan
    along_i, along_j, along_k, offset = (float(x) for x in grid.ijk_to_ras[2])
    half = (abs(along_i) + abs(along_j) + abs(along_k)) / 2
    if not along_i and not along_j:  # slices are level, as they mostly are: the box says it all
        ends = sorted(along_k * k + offset for k in (box[0].start, box[0].stop - 1))
        return ends[0] - half, ends[1] + half
    lines = inside.any(axis=2)
    first = inside.argmax(axis=2)
    last = inside.shape[2] - 1 - inside[:, :, ::-1].argmax(axis=2)
    k, j = np.ogrid[: inside.shape[0], : inside.shape[1]]
    of_line = along_k * (k + box[0].start) + along_j * (j + box[1].start) + offset
    ends = [(of_line + along_i * (i + box[2].start))[lines] for i in (first, last)]
    return float(min(end.min() for end in ends)) - half, float(max(end.max() for end in ends)) + half


def extent_spread(limits: Sequence[tuple[float, float]]) -> list[ObserverValue]:
    """How far the observers agree where a structure begins and ends: mean, SD and range of both limits and the length.

    ``limits``: of each observer, as ``craniocaudal_limits`` gives them. Who found nothing (NaN) is left out, and
    counted in ``left_out``; ``k`` is the number of the others, ``n`` is 1.
    """
    drawn = np.array([pair for pair in limits if not math.isnan(pair[0])], float).reshape(-1, 2)
    left_out = len(limits) - len(drawn)
    inferior, superior = drawn.T
    return [
        *_spread("superior_limit", superior, left_out, True),
        *_spread("inferior_limit", inferior, left_out, True),
        *_spread("length", superior - inferior, left_out, False),
    ]


def _spread(stem: str, values: np.ndarray, left_out: int, with_range: bool) -> list[ObserverValue]:
    k = len(values)
    names = [f"{stem}_{what}_mm" for what in ("mean", "sd", *(["range"] if with_range else []))]
    if not k:
        return [undefined(name, ALL_EMPTY, 1, 0, left_out) for name in names]
    mean = ObserverValue(names[0], float(values.mean()), n=1, k=k, left_out=left_out)
    if k < 2:
        return [mean, *(undefined(name, "only one observer drew it", 1, k, left_out) for name in names[1:])]
    numbers = (float(values.std(ddof=1)), float(np.ptp(values)))
    spread = (ObserverValue(name, x, n=1, k=k, left_out=left_out) for name, x in zip(names[1:], numbers, strict=False))
    return [mean, *spread]
