"""How far a yes-or-no decision about a whole case can be trusted: sensitivity, predictive values, likelihood ratios.

Only for decisions about cases (patients, lesions) against a truth that was found independently, such as histology.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedSegAICore.errors import InputError


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval; all NaN where there is none, and then ``reason`` says why."""

    value: float
    low: float
    high: float
    reason: str = ""


def case_decisions(
    truth: Sequence[bool], decision: Sequence[bool], pretest_probability: float | None = None, confidence: float = 0.95
) -> dict[str, Estimate | int]:
    """Diagnostic accuracy of one decision per case.

    ``truth``, ``decision``: one bool for each case, positive or not. ``pretest_probability``: of the patients that the
    decision will be made for; None takes the share of positive cases here, which is only right if they are a random
    sample of these patients.

    Returns the counts ``tp fp fn tn`` and, each with an interval: ``sensitivity``, ``specificity`` and, from the
    sample, ``ppv``, ``npv`` (Wilson, J Am Stat Assoc 1927;22:209-212); ``lr_positive``, ``lr_negative`` (Simel et al.,
    J Clin Epidemiol 1991;44:763-770); ``posttest_positive``, ``posttest_negative``, the probability of the truth after
    a positive and a negative decision (Bayes; the interval is that of the likelihood ratio).

    Raises InputError for voxels instead of cases, unequal lengths, or values that are not yes or no.
    """
    truth, decision = _cases(truth, "truth"), _cases(decision, "decision")
    if len(truth) != len(decision):
        raise InputError(f"There are {len(truth)} truths but {len(decision)} decisions; each case needs one of both.")
    if pretest_probability is not None and not 0 < pretest_probability < 1:
        raise InputError(f"A pretest probability lies between 0 and 1, but it is {pretest_probability}.")
    if not 0 < confidence < 1:
        raise InputError(f"A confidence lies between 0 and 1, such as 0.95, but it is {confidence}.")
    tp, fn = int(np.sum(truth & decision)), int(np.sum(truth & ~decision))
    fp, tn = int(np.sum(~truth & decision)), int(np.sum(~truth & ~decision))
    prevalence = pretest_probability if pretest_probability is not None else float(truth.mean())
    positive = _likelihood_ratio(tp, fp, tp + fn, fp + tn, confidence)
    negative = _likelihood_ratio(fn, tn, tp + fn, fp + tn, confidence)
    return {
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "sensitivity": _proportion(tp, tp + fn, confidence, "no case is positive"),
        "specificity": _proportion(tn, tn + fp, confidence, "no case is negative"),
        "ppv": _proportion(tp, tp + fp, confidence, "no decision is positive"),
        "npv": _proportion(tn, tn + fn, confidence, "no decision is negative"),
        "lr_positive": positive,
        "lr_negative": negative,
        "posttest_positive": _posttest(positive, prevalence),
        "posttest_negative": _posttest(negative, prevalence),
    }


def _cases(values: Sequence[bool], name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(
            f"Likelihood ratios and predictive values are for one decision per case, but the {name} has shape "
            f"{array.shape}, as voxels have. Voxels of one image are no independent cases: the ratio would mostly tell "
            "how much background was counted, and its interval would be far too narrow. Decide once for each case."
        )
    if not len(array):
        raise InputError(f"There is no case: the {name} is empty.")
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        raise InputError(f"The {name} must be yes or no (True or False, 1 or 0) for every case.")
    return array.astype(bool)


def _proportion(hits: int, n: int, confidence: float, reason: str) -> Estimate:
    if not n:
        return Estimate(math.nan, math.nan, math.nan, reason)
    from scipy.stats import binomtest  # most of the time to import this library, which each comparison starts with

    interval = binomtest(hits, n).proportion_ci(confidence, method="wilson")
    return Estimate(hits / n, float(interval.low), float(interval.high))


def _likelihood_ratio(in_positive: int, in_negative: int, positive: int, negative: int, confidence: float) -> Estimate:
    """How much more often a decision is made in positive than in negative cases: a ratio of two proportions."""
    if not positive or not negative:
        reason = "no case is positive" if not positive else "no case is negative"
        return Estimate(math.nan, math.nan, math.nan, reason)
    if not in_positive and not in_negative:
        return Estimate(math.nan, math.nan, math.nan, "the decision was never made")
    from scipy.stats.contingency import relative_risk

    ratio = relative_risk(in_positive, positive, in_negative, negative)
    interval = ratio.confidence_interval(confidence)
    reason = ""
    if not in_positive or not in_negative:
        kind = "positive" if not in_positive else "negative"
        reason = f"the decision was never made in a {kind} case, so the ratio has no interval"
    return Estimate(float(ratio.relative_risk), float(interval.low), float(interval.high), reason)


def _posttest(ratio: Estimate, pretest: float) -> Estimate:
    if not 0 < pretest < 1:
        return Estimate(math.nan, math.nan, math.nan, "all cases are alike")
    odds = pretest / (1 - pretest)
    posterior = [_probability(odds * value) for value in (ratio.value, ratio.low, ratio.high)]
    return Estimate(*posterior, ratio.reason)


def _probability(odds: float) -> float:
    return 1.0 if math.isinf(odds) else odds / (1 + odds)
