"""STAPLE: the mask that explains best what all observers drew, with how well each of them knew it.

The expectation maximization of Warfield, Zou & Wells, IEEE TMI 2004;23:903-921, as ITK's STAPLEImageFilter has it. It
sees of a voxel only who marked it, so it runs on the numbers of voxels with each pattern instead of on voxels: the
result is the same, in milliseconds, and the region may be as large as one likes. How large it is matters: more
background makes every observer more specific, and the estimate larger. So the region is part of the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedSegAICore.errors import InputError
from MedSegAIMetricsLib.observer_masks import ObserverMasks
from MedSegAIMetricsLib.votes import DEFAULT_REGION

START = 0.99999  # sensitivity and specificity at first, as in ITK
TOLERANCE = 1e-12  # the estimate has converged if no sensitivity or specificity changes by more
MAX_ITERATIONS = 10_000
UNSTABLE = 0.01  # a part of the volume; regions that change it by more are reported


@dataclass(frozen=True)
class StapleEstimate:
    """What STAPLE estimates.

    ``probability``: for each pattern of ``ObserverMasks.patterns`` that occurs, that such a voxel belongs to the
    segment. ``sensitivity``, ``specificity``: one for each observer; NaN where the estimate has no voxel inside, or
    none outside. ``prior``: probability of a voxel before anyone looked. ``region``: as text. ``iterations``,
    ``converged``: of the expectation maximization. ``notes``: sentences about what makes the estimate doubtful.
    """

    probability: dict[int, float]
    sensitivity: tuple[float, ...]
    specificity: tuple[float, ...]
    prior: float
    region: str
    iterations: int
    converged: bool
    notes: tuple[str, ...]


def staple(
    observers: ObserverMasks,
    region: str = DEFAULT_REGION,
    prior: float | None = None,
    max_iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> StapleEstimate:
    """The estimate on a region: by default the box of all masks grown by 10 mm, as far as it lies in the image.

    ``prior``: None takes the mean share of the region that observers marked. If every mask is empty, or all fill the
    region, there is nothing to estimate: the result is what they agree on.

    Raises InputError for a prior that is not between 0 and 1, or fewer than one iteration.
    """
    if prior is not None and not 0 < prior < 1:
        raise InputError(f"The prior is a probability between 0 and 1, but it is {prior!r}.")
    if max_iterations < 1 or not tolerance >= 0:
        raise InputError(f"STAPLE needs an iteration and a tolerance, but got {max_iterations} and {tolerance}.")
    n_outside = observers.region_voxels(region) - math.prod(observers.shape)
    em = _Maximization.of(observers, n_outside, prior)
    em.run(max_iterations, tolerance)
    others = _other_regions(observers, n_outside, prior, max_iterations, tolerance)
    return StapleEstimate(
        probability=dict(zip(em.patterns, map(float, em.weights), strict=True)),
        sensitivity=tuple(map(float, em.sensitivity)),
        specificity=tuple(map(float, em.specificity)),
        prior=em.prior,
        region=region,
        iterations=em.iterations,
        converged=em.converged,
        notes=tuple(_doubts(em, others, max_iterations)),
    )


class _Maximization:
    """Expectation maximization on patterns: ``marked`` (patterns, observers) and how many voxels have each pattern."""

    def __init__(self, patterns: Sequence[int], marked: np.ndarray, counts: np.ndarray, prior: float | None):
        self.patterns, self.marked, self.counts = patterns, marked, counts
        shares = counts @ marked / max(1, counts.sum())
        self.prior = float(shares.mean()) if prior is None else prior
        # The average observer's share is 0 or 1 only if everyone agrees on everything.
        self.trivial = bool(shares.mean() in (0, 1))
        self.sensitivity = np.full(marked.shape[1], START)
        self.specificity = np.full(marked.shape[1], START)
        self.weights = marked.mean(1)
        self.iterations, self.converged = 0, self.trivial

    @classmethod
    def of(cls, observers: ObserverMasks, n_outside: int, prior: float | None) -> _Maximization:
        counts = dict(observers.pattern_counts)
        counts[0] = counts.get(0, 0) + n_outside
        patterns = sorted(pattern for pattern, n in counts.items() if n)
        bits = np.arange(len(observers))
        marked = (np.array(patterns, np.int64).reshape(-1, 1) >> bits) & 1 > 0
        return cls(patterns, marked, np.array([counts[p] for p in patterns], float), prior)

    def run(self, max_iterations: int, tolerance: float):
        if self.trivial:
            self._maximize()
            return
        while self.iterations < max_iterations and not self.converged:
            before = self.sensitivity, self.specificity
            self._expect()
            self._maximize()
            self.iterations += 1
            changes = np.abs([self.sensitivity - before[0], self.specificity - before[1]])
            # NaN: the estimate is empty, or all of the region, and nothing can change any more.
            self.converged = not (changes > tolerance).any()

    def _expect(self):
        with np.errstate(divide="ignore"):
            inside = np.where(self.marked, np.log(self.sensitivity), np.log1p(-self.sensitivity)).sum(1)
            outside = np.where(self.marked, np.log1p(-self.specificity), np.log(self.specificity)).sum(1)
        with np.errstate(over="ignore", invalid="ignore"):
            odds_against = np.exp(outside - inside) * (1 - self.prior) / self.prior
        # A pattern that nobody could draw any more has no odds: it is judged by the prior.
        self.weights = np.where(np.isnan(odds_against), self.prior, 1 / (1 + odds_against))

    def _maximize(self):
        inside, outside = self.counts * self.weights, self.counts * (1 - self.weights)
        with np.errstate(invalid="ignore"):
            self.sensitivity = np.minimum(inside @ self.marked / inside.sum(), 1)
            self.specificity = np.minimum(outside @ ~self.marked / outside.sum(), 1)

    @property
    def n_inside(self) -> float:
        return float(self.counts[self.weights > 0.5].sum())


def _other_regions(observers, n_outside, prior, max_iterations, tolerance) -> dict[str, float]:
    """How many voxels the estimate would have if the region were the box of all masks, or the whole image."""
    sizes = {"union+0mm": 0, "image": math.prod(observers.image_shape) - math.prod(observers.shape)}
    found = {}
    for name, n in sizes.items():
        if n != n_outside:
            em = _Maximization.of(observers, n, prior)
            em.run(max_iterations, tolerance)
            found[name] = em.n_inside
    return found


def _doubts(em: _Maximization, others: dict[str, float], max_iterations: int) -> list[str]:
    if em.trivial:
        return []
    notes = []
    if len(em.sensitivity) < 3:
        notes.append("Two observers do not determine STAPLE's estimate: it follows from the prior and the start.")
    if not em.converged:
        notes.append(f"STAPLE had not converged after {max_iterations} iterations.")
    if em.patterns[0] == 0 and em.weights[0] >= 0.5:
        notes.append("STAPLE takes voxels that nobody marked for the segment; the consensus leaves them out.")
    for number, sum_ in enumerate(em.sensitivity + em.specificity, start=1):
        if math.isnan(sum_):
            notes.append("STAPLE's estimate is empty or fills the region, so that it says nothing of the observers.")
            break
        if sum_ <= 1:
            notes.append(f"STAPLE holds that observer {number} did no better than chance; look at that mask.")
    changed = [
        f"{n:.0f} in the region {name}" for name, n in others.items() if abs(n - em.n_inside) > UNSTABLE * em.n_inside
    ]
    if changed:
        notes.append(
            f"STAPLE's estimate depends on the region: it has {em.n_inside:.0f} voxels here, {', '.join(changed)}."
        )
    return notes
