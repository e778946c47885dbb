"""Is the AI within the observers' spread: does it agree with them as well as they agree with each other?

Both answers need observers who did not see the AI's draft: whoever corrects a draft agrees with it, and with everyone
else who corrected it. So only masks drawn from scratch count here. No reference standard is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from MedSegAICore.errors import InputError
from MedSegAIMetricsLib.statistics import BOOTSTRAP_SAMPLES

CONFIDENCE = 0.95
SAME = 1e-9  # a matrix whose halves differ by less is symmetric


@dataclass(frozen=True, eq=False)
class CaseAgreement:
    """Agreement in one case, such as Dice; larger is better, NaN where it is not defined.

    ``ai``: (N,) of the AI with each of N observers. ``observers``: (N, N) of the observers with each other, symmetric;
    the diagonal does not count. Raises InputError if the shapes do not fit, there are fewer than two observers, or the
    matrix is not symmetric.
    """

    ai: np.ndarray
    observers: np.ndarray

    def __post_init__(self):
        ai, observers = np.asarray(self.ai, float), np.asarray(self.observers, float)
        if ai.ndim != 1 or len(ai) < 2 or observers.shape != (len(ai), len(ai)):
            raise InputError(
                "A case needs the AI's agreement with each of N >= 2 observers, (N,), and theirs with each other, "
                f"(N, N), but the shapes are {ai.shape} and {observers.shape}."
            )
        if not np.allclose(observers, observers.T, rtol=0, atol=SAME, equal_nan=True):
            raise InputError("Agreement of two observers has no direction, but the matrix of a case is not symmetric.")
        object.__setattr__(self, "ai", ai)
        object.__setattr__(self, "observers", observers)

    @property
    def ai_mean(self) -> float:
        """Of the AI with the observers, over what is defined; NaN if nothing is."""
        return _mean(self.ai)

    @property
    def observers_mean(self) -> float:
        """Of all pairs of observers, over what is defined; NaN if nothing is."""
        return _mean(self.observers[np.triu_indices(len(self.ai), 1)])


@dataclass(frozen=True)
class AgreementDifference:
    """How much better the AI agrees with observers than they do with each other; negative if it agrees less.

    ``value``: mean over cases. ``ci_low``, ``ci_high``: 95 % percentile bootstrap over cases, NaN for one case.
    ``ai_mean``, ``observers_mean``: what it is the difference of. ``per_case``: in order, NaN for a case that has one
    of the two not. ``left_out``: how many such cases there are; ``n_cases``: how many count.
    """

    value: float
    ci_low: float
    ci_high: float
    ai_mean: float
    observers_mean: float
    per_case: tuple[float, ...]
    n_cases: int
    left_out: int

    def interchangeable_within(self, delta: float) -> bool:
        """Whether the AI is worse than an observer by less than ``delta``, with 95 % confidence.

        ``delta`` is chosen before anyone has seen results. Raises InputError if it is not a positive number.
        """
        if not 0 < delta < math.inf:
            raise InputError(f"The largest difference that does not matter is a positive number, but it is {delta!r}.")
        return self.ci_low > -delta


def agreement_difference(
    cases: Sequence[CaseAgreement], samples: int = BOOTSTRAP_SAMPLES, seed: int = 0
) -> AgreementDifference:
    """Mean over cases of (AI with observers - observers with each other), each the mean of a case's pairs.

    The question of FDA's SegAgree (Hu et al., J Med Imaging 2025;12:055003), with a bootstrap over cases for the
    interval. Raises InputError if there are no cases.
    """
    means, defined = _case_means(cases)
    differences = means[:, 0] - means[:, 1]
    low, high = _bootstrap(means[defined], lambda mean: mean[..., 0] - mean[..., 1], samples, seed)
    return AgreementDifference(
        _mean(differences),
        low,
        high,
        _mean(means[defined, 0]),
        _mean(means[defined, 1]),
        tuple(map(float, differences)),
        int(defined.sum()),
        int((~defined).sum()),
    )


@dataclass(frozen=True)
class WilliamsIndex:
    """``value``: above 1 if the AI agrees better with the observers than they do with each other; NaN if they never
    agree. ``jackknife_low``, ``jackknife_high``: 95 % interval from leaving out one case at a time; ``bootstrap_low``,
    ``bootstrap_high``: from the percentile bootstrap over cases. Both NaN for one case. ``n_cases``: that count;
    ``left_out``: cases in which one of the two is not defined."""

    value: float
    jackknife_low: float
    jackknife_high: float
    bootstrap_low: float
    bootstrap_high: float
    n_cases: int
    left_out: int


def williams_index(cases: Sequence[CaseAgreement], samples: int = BOOTSTRAP_SAMPLES, seed: int = 0) -> WilliamsIndex:
    """Mean agreement of the AI with the observers over that of the observers with each other.

    Williams, Biometrics 1976;32:619-627; for segmentations Bouix et al., NeuroImage 2007;36:1207-1224. Both means are
    over the pairs of a case, then over cases, so that every case counts the same. The jackknife's standard error is
    that of Efron & Tibshirani 1993, chapter 11, with Student's t. Raises InputError if there are no cases.
    """
    means, defined = _case_means(cases)
    means = means[defined]
    n = len(means)
    value = float(_ratio(means.mean(0))) if n else math.nan
    half_width = math.nan
    if n > 1:
        without_one = _ratio((means.sum(0) - means) / (n - 1))
        error = math.sqrt((n - 1) / n * ((without_one - without_one.mean()) ** 2).sum())
        half_width = float(special.stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * error
    low, high = _bootstrap(means, _ratio, samples, seed)
    return WilliamsIndex(value, value - half_width, value + half_width, low, high, n, int((~defined).sum()))


def _case_means(cases: Sequence[CaseAgreement]) -> tuple[np.ndarray, np.ndarray]:
    """(cases, 2): the AI's mean and the observers'; and which cases have both."""
    if not len(cases):
        raise InputError("There are no cases. Give the agreement of at least one.")
    means = np.array([(case.ai_mean, case.observers_mean) for case in cases])
    return means, np.isfinite(means).all(1)


def _ratio(means: np.ndarray) -> np.ndarray:
    return np.divide(means[..., 0], means[..., 1], out=np.full(means.shape[:-1], np.nan), where=means[..., 1] != 0)


def _bootstrap(means: np.ndarray, statistic: Callable, samples: int, seed: int) -> tuple[float, float]:
    """95 % percentile interval of a statistic of the mean row, with whole cases drawn; NaN for fewer than two."""
    n = len(means)
    if n < 2:
        return math.nan, math.nan
    generator = np.random.default_rng(seed)
    found = np.empty(samples)
    step = max(1, 1_000_000 // n)  # keeps the memory small for thousands of cases
    for first in range(0, samples, step):
        draws = generator.integers(n, size=(min(step, samples - first), n))
        found[first : first + step] = statistic(means[draws].mean(1))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.nanpercentile(found, [tail, 100 - tail]) if np.isfinite(found).any() else (math.nan, math.nan)
    return float(low), float(high)


def _mean(values: np.ndarray) -> float:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else math.nan
