"""How reliable observers' values are, such as volumes: intraclass correlation of a table of cases x observers.

>>> {found.name: (found.value, found.low, found.high) for found in intraclass_correlations(volumes_ml)}

An intraclass correlation (ICC) depends on how different the cases are: always give an absolute measure beside it, as
in ``limits.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedSegAICore.errors import InputError
from MedSegAIMetricsLib.observer_measures import ObserverValue, undefined

CONFIDENCE = 0.95
TOO_FEW = "fewer than two cases have a value of every observer"
ROUNDING = 1e-13  # of the largest value: a smaller spread comes from rounding
NO_SPREAD = "all values are equal, so there is no variance to share"


@dataclass(frozen=True)
class TwoWay:
    """The two-way analysis of variance of n cases x k observers without replication.

    ``rows``, ``columns``, ``error``: mean squares between cases (MSR), between observers (MSC) and of the residual
    (MSE). ``left_out``: cases that lack a value of an observer and so could not be used.
    """

    n: int
    k: int
    rows: float
    columns: float
    error: float
    left_out: int = 0

    @classmethod
    def of(cls, table: Sequence[Sequence[float]]) -> TwoWay | None:
        """Of the cases that have all values; None for fewer than two of them. Raises InputError for a bad table."""
        values = checked_table(table)
        whole = values[~np.isnan(values).any(1)]
        (n, k), left_out = whole.shape, len(values) - len(whole)
        if n < 2:
            return None
        mean, by_case, by_observer = whole.mean(), whole.mean(1), whole.mean(0)
        residual = whole - by_case[:, None] - by_observer + mean
        rows = k * float(((by_case - mean) ** 2).sum()) / (n - 1)
        columns = n * float(((by_observer - mean) ** 2).sum()) / (k - 1)
        error = float((residual**2).sum()) / ((n - 1) * (k - 1))
        rounding = (ROUNDING * float(np.abs(whole).max())) ** 2
        return cls(n, k, *(square if square > rounding else 0.0 for square in (rows, columns, error)), left_out)


def checked_table(table: Sequence[Sequence[float]]) -> np.ndarray:
    """The table as floats (n, k), n >= 1 and k >= 2, NaN where a value is missing. Raises InputError if it is none."""
    try:
        values = np.array(table, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"A table needs a number, or NaN, for each case and observer: {error}.") from error
    if values.ndim != 2 or values.shape[1] < 2 or not len(values):
        raise InputError(
            f"A table has a row for each case and a column for each of at least two observers, but its shape is "
            f"{values.shape}."
        )
    if np.isinf(values).any():
        raise InputError("A table of values holds infinity. Give NaN for what is missing.")
    return values


def intraclass_correlations(table: Sequence[Sequence[float]], confidence: float = CONFIDENCE) -> list[ObserverValue]:
    """``icc_a1``, ``icc_ak``, ``icc_c1`` and ``icc_ck`` with their confidence intervals.

    ``table``: (n, k), a row for each case, a column for each observer, NaN where missing: a case without all values is
    left out, and counted. A (absolute agreement) counts an observer who is always larger as disagreement, C
    (consistency) does not; 1 is for one observer, k for the mean of all k. McGraw & Wong 1996, two-way models, tables 4
    and 7. Raises InputError for a bad table or confidence.
    """
    check_confidence(confidence)
    anova = TwoWay.of(table)
    if anova is None:
        values = checked_table(table)
        n, k = int((~np.isnan(values).any(1)).sum()), values.shape[1]
        return [undefined(name, TOO_FEW, n, k, len(values) - n) for name in ("icc_a1", "icc_ak", "icc_c1", "icc_ck")]
    return [*_absolute(anova, confidence), *_consistency(anova, confidence)]


def _absolute(a: TwoWay, confidence: float) -> list[ObserverValue]:
    between = a.k * (a.columns - a.error) / a.n
    single = _share(a.rows - a.error, a.rows + (a.k - 1) * a.error + between)
    mean = _share(a.rows - a.error, a.rows + (a.columns - a.error) / a.n)
    low, high = _absolute_interval(a, single, confidence)
    return [
        _icc("icc_a1", single, low, high, a),
        _icc("icc_ak", mean, _of_mean(low, a.k), _of_mean(high, a.k), a),
    ]


def _absolute_interval(a: TwoWay, single: float, confidence: float) -> tuple[float, float]:
    from scipy.stats import f  # most of the time to import this library, which each comparison starts with

    n, k = a.n, a.k
    if math.isnan(single) or single >= 1:
        return single, single
    # The degrees of freedom of the denominator, after Satterthwaite.
    weight_columns = k * single / (n * (1 - single))
    weight_error = 1 + k * single * (n - 1) / (n * (1 - single))
    parts = weight_columns * a.columns, weight_error * a.error
    spread = parts[0] ** 2 / (k - 1) + parts[1] ** 2 / ((n - 1) * (k - 1))
    freedom = sum(parts) ** 2 / spread if spread else math.nan
    if not freedom > 0:
        return math.nan, math.nan
    level = 1 - (1 - confidence) / 2
    lower, upper = f.ppf(level, n - 1, freedom), f.ppf(level, freedom, n - 1)
    other = k * a.columns + (k * n - k - n) * a.error
    low = _share(n * (a.rows - lower * a.error), lower * other + n * a.rows)
    return low, _share(n * (upper * a.rows - a.error), other + n * upper * a.rows)


def _consistency(a: TwoWay, confidence: float) -> list[ObserverValue]:
    from scipy.stats import f  # see above

    n, k = a.n, a.k
    single = _share(a.rows - a.error, a.rows + (k - 1) * a.error)
    mean = _share(a.rows - a.error, a.rows)
    if not a.error:
        low = high = single
    else:
        level, freedom = 1 - (1 - confidence) / 2, (n - 1) * (k - 1)
        observed = a.rows / a.error
        lower = observed / f.ppf(level, n - 1, freedom)
        upper = observed * f.ppf(level, freedom, n - 1)
        low, high = (lower - 1) / (lower + k - 1), (upper - 1) / (upper + k - 1)
    return [_icc("icc_c1", single, low, high, a), _icc("icc_ck", mean, _of_mean(low, k), _of_mean(high, k), a)]


def _icc(name: str, value: float, low: float, high: float, a: TwoWay) -> ObserverValue:
    if math.isnan(value):
        return undefined(name, NO_SPREAD, a.n, a.k, a.left_out)
    reason = "the interval does not exist for these mean squares" if math.isnan(low) or math.isnan(high) else ""
    return ObserverValue(name, float(value), float(low), float(high), a.n, a.k, a.left_out, reason)


def _of_mean(single: float, k: int) -> float:
    """The reliability of the mean of k from that of one (Spearman-Brown); it carries intervals over exactly."""
    return _share(k * single, 1 + (k - 1) * single)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def check_confidence(confidence: float):
    """Raises InputError if it is no confidence."""
    if not 0 < confidence < 1:
        raise InputError(f"A confidence lies between 0 and 1, such as 0.95, but it is {confidence}.")
