"""Figures over cases: center, spread, and how sure the mean is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BOOTSTRAP_SAMPLES = 10_000


@dataclass(frozen=True)
class Figures:
    """Of the values that exist. ``undefined``: how many do not. All NaN if none exists; ``sd`` is NaN for one value."""

    n: int
    undefined: int
    mean: float
    ci_low: float
    ci_high: float
    sd: float
    median: float
    q1: float
    q3: float
    minimum: float
    maximum: float


def figures(values: Sequence[float]) -> Figures:
    """Mean with a 95 % bootstrap interval, standard deviation (n - 1), quartiles (linear interpolation), extremes."""
    values = np.asarray(values, float)
    defined = values[np.isfinite(values)]
    undefined = len(values) - len(defined)
    if not len(defined):
        return Figures(0, undefined, *(math.nan,) * 9)
    low, high = bootstrap_interval(defined)
    q1, median, q3 = np.percentile(defined, [25, 50, 75])
    sd = defined.std(ddof=1) if len(defined) > 1 else math.nan
    numbers = (defined.mean(), low, high, sd, median, q1, q3, defined.min(), defined.max())
    return Figures(len(defined), undefined, *(float(number) for number in numbers))


def bootstrap_interval(values: Sequence[float], samples: int = BOOTSTRAP_SAMPLES, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean over cases (Efron & Tibshirani 1993, chapter 13).

    NaN for fewer than two values: one case says nothing about the spread over cases.
    """
    values = np.asarray(values, float)
    if len(values) < 2:
        return math.nan, math.nan
    generator = np.random.default_rng(seed)
    means = np.empty(samples)
    step = max(1, 1_000_000 // len(values))  # keeps the memory small for thousands of cases
    for first in range(0, samples, step):
        draws = generator.integers(len(values), size=(min(step, samples - first), len(values)))
        means[first : first + step] = values[draws].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
