"""How many observers it takes to see how much observers differ."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedSegAICore.errors import InputError
from MedSegAIMetricsLib.observer_masks import ObserverMasks
from MedSegAIMetricsLib.statistics import bootstrap_interval

MOST_SETS = 200  # of observers that are looked at one by one, for the extremes


@dataclass(frozen=True)
class Captured:
    """What ``n_observers`` of all observers show of the disagreement of all: shares of the volume that is disputed.

    ``mean``: over all sets of so many observers, exactly. ``lowest``, ``highest``: of the ``n_sets`` sets that were
    looked at, which are ``all_sets`` or a random choice. All NaN if nothing is disputed.
    """

    n_observers: int
    mean: float
    lowest: float
    highest: float
    n_sets: int
    all_sets: bool


def variability_captured(observers: ObserverMasks, seed: int = 0) -> tuple[Captured, ...]:
    """For 2, 3, … N of N observers, the share of the disputed volume that such a part of them disputes.

    Disputed are the voxels that some but not all marked. After Joskowicz et al., Eur Radiol 2019;29:1391-1399, who
    found 37, 53 and 72 % for two, three and five of eleven radiologists. The mean has a closed form: of a voxel with m
    votes, k observers agree in C(m, k) + C(N - m, k) of C(N, k) sets.
    """
    n = len(observers)
    patterns, counts = _disputed(observers)
    votes = np.array([pattern.bit_count() for pattern in patterns], int)
    generator = np.random.default_rng(seed)
    rows = []
    for k in range(2, n + 1):
        sets, all_sets = _sets(n, k, generator)
        if not len(patterns):
            rows.append(Captured(k, math.nan, math.nan, math.nan, len(sets), all_sets))
            continue
        agreeing = np.array([math.comb(m, k) + math.comb(n - m, k) for m in votes]) / math.comb(n, k)
        shares = [_share(chosen, patterns, counts) for chosen in sets]
        mean = float(counts @ (1 - agreeing) / counts.sum())
        rows.append(Captured(k, mean, min(shares), max(shares), len(sets), all_sets))
    return tuple(rows)


@dataclass(frozen=True)
class CapturedOverCases:
    """``mean``: of the cases' means, with a 95 % bootstrap interval over cases. ``n_cases``: in which something is
    disputed; the others, ``left_out``, say nothing."""

    n_observers: int
    mean: float
    ci_low: float
    ci_high: float
    n_cases: int
    left_out: int


def captured_over_cases(cases: Sequence[Sequence[Captured]]) -> tuple[CapturedOverCases, ...]:
    """The curve of a study from those of its cases, which must have the same number of observers.

    Raises InputError if there are no cases or their numbers of observers differ.
    """
    if not len(cases) or len({len(case) for case in cases}) > 1:
        raise InputError(
            "The variability captured is averaged over cases with the same number of observers, but they have "
            f"{sorted({len(case) + 1 for case in cases}) or 'no cases'}. Take those cases that all observers did."
        )
    rows = []
    for same_number in zip(*cases, strict=True):
        means = np.array([captured.mean for captured in same_number])
        defined = means[np.isfinite(means)]
        mean = float(defined.mean()) if len(defined) else math.nan
        rows.append(
            CapturedOverCases(
                same_number[0].n_observers,
                mean,
                *bootstrap_interval(defined),
                len(defined),
                len(means) - len(defined),
            )
        )
    return tuple(rows)


def _disputed(observers: ObserverMasks) -> tuple[list[int], np.ndarray]:
    everyone = (1 << len(observers)) - 1
    found = {pattern: n for pattern, n in observers.pattern_counts.items() if pattern not in (0, everyone)}
    return list(found), np.array(list(found.values()), float)


def _sets(n: int, k: int, generator: np.random.Generator) -> tuple[list[int], bool]:
    """Sets of k of n observers, as bits: all, or as many random ones as are looked at; and whether it is all."""
    if math.comb(n, k) <= MOST_SETS:
        return [sum(1 << i for i in chosen) for chosen in itertools.combinations(range(n), k)], True
    chosen: set[int] = set()
    while len(chosen) < MOST_SETS:
        chosen.add(sum(1 << int(i) for i in generator.choice(n, k, replace=False)))
    return sorted(chosen), False


def _share(chosen: int, patterns: list[int], counts: np.ndarray) -> float:
    disputed = [pattern & chosen not in (0, chosen) for pattern in patterns]
    return float(counts[disputed].sum() / counts.sum())
