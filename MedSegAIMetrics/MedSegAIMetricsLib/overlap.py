"""Overlap measures from the numbers of voxels that two masks have in common, of their own, and not at all."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Confusion:
    """Numbers of voxels: true positive, false positive, false negative and true negative."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def n(self) -> int:
        return self.tp + self.fp + self.fn + self.tn


def ratio(numerator: float, denominator: float) -> float:
    """The quotient, NaN if the denominator is 0."""
    return numerator / denominator if denominator else math.nan


def _kappa(c: Confusion) -> float:
    n = c.n
    if not n:
        return math.nan
    observed = (c.tp + c.tn) / n
    expected = ((c.tp + c.fp) * (c.tp + c.fn) + (c.fn + c.tn) * (c.fp + c.tn)) / n**2
    return ratio(observed - expected, 1 - expected)


def _mcc(c: Confusion) -> float:
    product = (c.tp + c.fp) * (c.tp + c.fn) * (c.tn + c.fp) * (c.tn + c.fn)  # Python's integers do not overflow
    return ratio(c.tp * c.tn - c.fp * c.fn, math.sqrt(product))


FORMULAS: dict[str, Callable[[Confusion], float]] = {
    "tp": lambda c: c.tp,
    "fp": lambda c: c.fp,
    "fn": lambda c: c.fn,
    "tn": lambda c: c.tn,
    "dice": lambda c: ratio(2 * c.tp, 2 * c.tp + c.fp + c.fn),
    "jaccard": lambda c: ratio(c.tp, c.tp + c.fp + c.fn),
    "sensitivity": lambda c: ratio(c.tp, c.tp + c.fn),
    "specificity": lambda c: ratio(c.tn, c.tn + c.fp),
    "precision": lambda c: ratio(c.tp, c.tp + c.fp),
    "npv": lambda c: ratio(c.tn, c.tn + c.fn),
    "accuracy": lambda c: ratio(c.tp + c.tn, c.n),
    "balanced_accuracy": lambda c: (ratio(c.tp, c.tp + c.fn) + ratio(c.tn, c.tn + c.fp)) / 2,
    "kappa": _kappa,
    "mcc": _mcc,
}

# Why a formula has no value: what its denominator counts is not there.
UNDEFINED = {
    "sensitivity": "the reference is empty",
    "specificity": "the reference fills the region",
    "precision": "the test is empty",
    "npv": "the test fills the region",
    "balanced_accuracy": "the reference is empty or fills the region",
    "kappa": "both masks are empty or fill the region, so agreement by chance is certain",
    "mcc": "a mask is empty or fills the region",
}


def f_beta(c: Confusion, beta: float) -> float:
    """F-beta: sensitivity counts ``beta`` times as much as precision."""
    weight = beta**2
    return ratio((1 + weight) * c.tp, (1 + weight) * c.tp + weight * c.fn + c.fp)
