"""How far observers' values differ, in the values' own unit: limits of agreement, repeatability, reproducibility.

>>> bias, low, high = bland_altman(volumes_of_first, volumes_of_second)
>>> [loam, *_] = limits_with_the_mean(volumes_ml)  # (cases, observers)

Errors of volumes usually grow with the volume. Then give the logarithms of the volumes: a limit ``x`` of logarithms
means a factor ``exp(x)``, see ``percent_of_log``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from MedSegAICore.errors import InputError
from MedSegAIMetricsLib.observer_measures import ONE_CASE, ObserverValue, undefined
from MedSegAIMetricsLib.reliability import CONFIDENCE, TOO_FEW, TwoWay, check_confidence, checked_table
from MedSegAIMetricsLib.statistics import bootstrap_interval

Z = 1.959963984540054  # 95 of 100 values of a normal distribution lie within
TOO_FEW_PAIRS = "fewer than two cases have a value of both observers"


def bland_altman(
    first: Sequence[float], second: Sequence[float], confidence: float = CONFIDENCE
) -> tuple[ObserverValue, ObserverValue, ObserverValue]:
    """``bias``, ``limit_low`` and ``limit_high`` of two observers, each with its confidence interval.

    ``first``, ``second``: a value for each case, NaN where missing; such cases are left out, and counted. Differences
    are second - first, with test - reference in mind. The intervals are those of Bland & Altman 1999, section 2.
    Raises InputError for unequal lengths.
    """
    from scipy.stats import t  # most of the time to import this library, which each comparison starts with

    check_confidence(confidence)
    if len(first) != len(second):
        raise InputError(f"The first observer has {len(first)} values but the second {len(second)}; give NaN for none.")
    values = checked_table(np.column_stack([first, second]))
    differences = values[:, 1] - values[:, 0]
    differences = differences[~np.isnan(differences)]
    n, left_out = len(differences), len(values) - len(differences)
    names = ("bias", "limit_low", "limit_high")
    if n < 2:
        return tuple(undefined(name, TOO_FEW_PAIRS, n, 2, left_out) for name in names)
    mean, sd = float(differences.mean()), float(differences.std(ddof=1))
    quantile = float(t.ppf(1 - (1 - confidence) / 2, n - 1))
    of_mean, of_limit = (quantile * sd * math.sqrt(x) for x in (1 / n, 1 / n + Z**2 / (2 * (n - 1))))
    found = (mean, of_mean), (mean - Z * sd, of_limit), (mean + Z * sd, of_limit)
    return tuple(
        ObserverValue(name, value, value - half, value + half, n, 2, left_out)
        for name, (value, half) in zip(names, found, strict=True)
    )


def limits_with_the_mean(table: Sequence[Sequence[float]], confidence: float = CONFIDENCE) -> list[ObserverValue]:
    """``loam``, ``sd_observers``, ``sd_residual``, ``sem`` and ``reproducibility_coefficient`` of k observers.

    ``table``: (n, k), as for ``intraclass_correlations``; cases without all values are left out. ``loam`` is the half
    width: an observer's value lies within ± of the mean of all (Jones et al. 2011; Christensen et al. 2020). Observers
    are taken as a sample of those who could have done it. Intervals are those of Graybill & Wang, J Am Stat Assoc
    1980;75:869-873, for a sum of mean squares; with few observers they are wide upward, as they should be.
    """
    check_confidence(confidence)
    anova = TwoWay.of(table)
    if anova is None:
        values = checked_table(table)
        n, k = int((~np.isnan(values).any(1)).sum()), values.shape[1]
        return [undefined(name, TOO_FEW, n, k, len(values) - n) for name in _COMPONENTS]
    n, k = anova.n, anova.k
    between = (anova.columns - anova.error) / n
    total = anova.columns / n + anova.error * (n - 1) / n  # = between + error, also where between is negative
    low, high = _interval_of_total(anova, confidence)
    deviation = Z * math.sqrt((k - 1) / k)

    def scaled(name: str, factor: float) -> ObserverValue:
        numbers = (factor * math.sqrt(x) for x in (total, low, high))
        return ObserverValue(name, *numbers, n, k, anova.left_out)

    negative = "the estimate of the variance is negative; 0 by convention" if between < 0 else ""
    return [
        scaled("loam", deviation),
        ObserverValue("sd_observers", math.sqrt(max(between, 0.0)), n=n, k=k, left_out=anova.left_out, reason=negative),
        ObserverValue(
            "sd_residual",
            math.sqrt(anova.error),
            *_sd_interval(anova.error, (n - 1) * (k - 1), confidence),
            n,
            k,
            anova.left_out,
        ),
        scaled("sem", 1.0),
        scaled("reproducibility_coefficient", Z * math.sqrt(2)),
    ]


_COMPONENTS = ("loam", "sd_observers", "sd_residual", "sem", "reproducibility_coefficient")


def observer_biases(table: Sequence[Sequence[float]], confidence: float = CONFIDENCE) -> list[ObserverValue]:
    """``observer_bias`` of each observer, in the order of the columns, with the t-interval of the mean over cases.

    ``table``: (n, k), as for ``intraclass_correlations``; only cases with all values are used, so that the biases add
    up to 0.
    """
    from scipy.stats import t  # see bland_altman

    check_confidence(confidence)
    values = checked_table(table)
    whole = values[~np.isnan(values).any(1)]
    (n, k), left_out = whole.shape, len(values) - len(whole)
    if not n:
        return [undefined("observer_bias", "no case has a value of every observer", 0, k, left_out)] * k
    deviations = whole - whole.mean(1, keepdims=True)
    means = deviations.mean(0)
    if n < 2:
        return [ObserverValue("observer_bias", float(m), n=n, k=k, left_out=left_out, reason=ONE_CASE) for m in means]
    halves = float(t.ppf(1 - (1 - confidence) / 2, n - 1)) * deviations.std(0, ddof=1) / math.sqrt(n)
    return [
        ObserverValue("observer_bias", float(m), float(m - half), float(m + half), n, k, left_out)
        for m, half in zip(means, halves, strict=True)
    ]


def mean_absolute_difference(table: Sequence[Sequence[float]]) -> ObserverValue:
    """``mean_absolute_difference`` of two observers of a case, with a 95 % bootstrap interval over cases.

    ``table``: (n, k), NaN where missing: every pair of values that a case has is used, first averaged within the case.
    Assumes nothing about the distribution. Cases with fewer than two values are left out, and counted.
    """
    values = checked_table(table)
    found = []
    for row in values:
        own = row[~np.isnan(row)]
        if len(own) > 1:
            found.append(float(np.abs(own[:, None] - own).sum()) / (len(own) * (len(own) - 1)))
    n, k, left_out, name = len(found), values.shape[1], len(values) - len(found), "mean_absolute_difference"
    if not n:
        return undefined(name, "no case has the values of two observers", 0, k, left_out)
    low, high = bootstrap_interval(found)
    reason = ONE_CASE if n < 2 else ""
    return ObserverValue(name, float(np.mean(found)), low, high, n, k, left_out, reason)


def repeatability(repeats: Sequence[Sequence[float]], confidence: float = CONFIDENCE) -> list[ObserverValue]:
    """``within_subject_sd``, ``repeatability_coefficient`` and ``within_subject_cv_percent`` of repeated values.

    ``repeats``: (n, m), a row for each case that one observer did several times (for several observers, a row for each
    observer and case), NaN where there was no repeat. Rows with fewer than two values are left out, and counted; ``k``
    is the largest number of repeats. The interval is that of a variance (chi-square; Raunig et al. 2015); the
    coefficient of variation has none and needs positive means.
    """
    check_confidence(confidence)
    values = checked_table(repeats)
    rows = [row[~np.isnan(row)] for row in values]
    rows = [row for row in rows if len(row) > 1]
    n, k, left_out = len(rows), values.shape[1], len(values) - len(rows)
    if not n:
        reason = "no case has two repeats"
        names = ("within_subject_sd", "repeatability_coefficient", "within_subject_cv_percent")
        return [undefined(name, reason, 0, k, left_out) for name in names]
    freedom = sum(len(row) - 1 for row in rows)
    pooled = sum(float(((row - row.mean()) ** 2).sum()) for row in rows) / freedom
    low, high = _sd_interval(pooled, freedom, confidence)
    sd, factor = math.sqrt(pooled), Z * math.sqrt(2)
    if min(row.mean() for row in rows) > 0:
        relative = float(np.mean([row.var(ddof=1) / row.mean() ** 2 for row in rows]))
        variation = ObserverValue("within_subject_cv_percent", 100 * math.sqrt(relative), n=n, k=k, left_out=left_out)
    else:
        reason = "a case's mean is not positive, so its relative spread has no meaning"
        variation = undefined("within_subject_cv_percent", reason, n, k, left_out)
    return [
        ObserverValue("within_subject_sd", sd, low, high, n, k, left_out),
        ObserverValue("repeatability_coefficient", factor * sd, factor * low, factor * high, n, k, left_out),
        variation,
    ]


def percent_of_log(value: float) -> float:
    """What a difference of natural logarithms means in percent: 100 (exp(x) - 1). NaN stays NaN."""
    return 100 * math.expm1(value)


def _sd_interval(variance: float, freedom: int, confidence: float) -> tuple[float, float]:
    """The confidence interval of a standard deviation of normal values."""
    from scipy.stats import chi2  # see bland_altman

    tail = (1 - confidence) / 2
    return tuple(math.sqrt(variance * freedom / chi2.ppf(level, freedom)) for level in (1 - tail, tail))


def _interval_of_total(a: TwoWay, confidence: float) -> tuple[float, float]:
    """The interval of MSC / n + MSE (n - 1) / n, after Graybill & Wang."""
    from scipy.stats import chi2  # see bland_altman

    tail, below, above, total = (1 - confidence) / 2, 0.0, 0.0, 0.0
    for part, freedom in (
        (a.columns / a.n, a.k - 1),
        (a.error * (a.n - 1) / a.n, (a.n - 1) * (a.k - 1)),
    ):
        total += part
        below += (part * (1 - freedom / chi2.ppf(1 - tail, freedom))) ** 2
        above += (part * (freedom / chi2.ppf(tail, freedom) - 1)) ** 2
    return max(total - math.sqrt(below), 0.0), total + math.sqrt(above)
