"""Reliability and limits of agreement of observers' values, against published and hand-derived numbers."""

import math

import numpy as np
import pytest

from MedSegAICore.errors import InputError
from MedSegAIMetricsLib.limits import (
    bland_altman,
    limits_with_the_mean,
    mean_absolute_difference,
    observer_biases,
    percent_of_log,
    repeatability,
)
from MedSegAIMetricsLib.reliability import TwoWay, intraclass_correlations

NAN = math.nan
# Shrout & Fleiss, Psychol Bull 1979;86:420-428, tables 2 to 4: six targets, four judges.
SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def by_name(found):
    return {value.name: value for value in found}


def test_the_example_of_shrout_and_fleiss():
    anova = TwoWay.of(SHROUT_FLEISS)
    assert (round(anova.rows, 2), round(anova.columns, 2), round(anova.error, 2)) == (11.24, 32.49, 1.02)
    found = by_name(intraclass_correlations(SHROUT_FLEISS))
    assert [round(found[name].value, 2) for name in ("icc_a1", "icc_c1", "icc_ak", "icc_ck")] == [
        0.29,
        0.71,
        0.62,
        0.91,
    ]
    assert all(value.n == 6 and value.k == 4 and value.low < value.value < value.high for value in found.values())


def test_a_constant_difference_lowers_agreement_but_not_consistency():
    """Cases 1, 2, 3; the second observer adds 1: MSR = 2, MSC = 1.5, MSE = 0."""
    found = by_name(intraclass_correlations([[1, 2], [2, 3], [3, 4]]))
    assert found["icc_c1"].value == found["icc_ck"].value == 1
    assert found["icc_a1"].value == pytest.approx(2 / (2 + 2 * 1.5 / 3))
    assert found["icc_ak"].value == pytest.approx(2 / (2 + 1.5 / 3))


def test_cases_without_a_value_of_every_observer_are_left_out_and_counted():
    holes = [[1, NAN, 2, 3], *SHROUT_FLEISS, [NAN] * 4]
    for function in (intraclass_correlations, limits_with_the_mean, observer_biases):
        for value, whole in zip(function(holes), function(SHROUT_FLEISS), strict=True):
            assert (value.n, value.left_out) == (6, 2)
            assert (value.value, value.low) == pytest.approx((whole.value, whole.low), nan_ok=True)


def test_what_cannot_be_estimated_is_nan_with_a_reason_and_never_infinite():
    tables = ([[1, 2]], [[1, 2], [NAN, 3]], [[5, 5], [5, 5]], [[0.1, 0.1, 0.1]] * 3, [[1, 2], [1, 2]], [[1, 2], [2, 1]])
    for table in tables:
        for value in [*intraclass_correlations(table), *limits_with_the_mean(table), *repeatability(table)]:
            assert not any(math.isinf(x) for x in (value.value, value.low, value.high))
            assert value.reason or not math.isnan(value.value)
    assert "no variance" in intraclass_correlations([[0.1, 0.1, 0.1]] * 3)[0].reason
    assert "fewer than two cases" in limits_with_the_mean([[1, 2]])[0].reason


def test_bland_altman_by_hand():
    """Differences 1, 2, 0: mean 1, SD 1; the 97.5th percentile of t with 2 degrees of freedom is 4.302653."""
    bias, low, high = bland_altman([1, 2, 3, NAN], [2, 4, 3, 9])
    assert (bias.value, bias.n, bias.left_out) == (1, 3, 1)
    assert bias.high - bias.value == pytest.approx(4.302653 / math.sqrt(3), abs=1e-6)
    assert (low.value, high.value) == pytest.approx((1 - 1.959964, 1 + 1.959964), abs=1e-6)
    half = 4.302653 * math.sqrt(1 / 3 + 1.959964**2 / 4)
    assert (low.low, low.high) == pytest.approx((low.value - half, low.value + half), abs=1e-5)
    assert "both observers" in bland_altman([1, NAN], [NAN, 2])[0].reason
    with pytest.raises(InputError, match="2 values but the second 1"):
        bland_altman([1, 2], [1])


def test_limits_with_the_mean_by_hand():
    """All values lie 1 from the mean of their case: MSC = 4, MSE = 0, so the observers' variance is 4 / 2."""
    found = by_name(limits_with_the_mean([[1, 3], [2, 4]]))
    assert found["loam"].value == pytest.approx(1.959964, abs=1e-6)
    assert found["sd_observers"].value == found["sem"].value == pytest.approx(math.sqrt(2))
    assert found["sd_residual"].value == 0
    assert found["reproducibility_coefficient"].value == pytest.approx(2 * 1.959964, abs=1e-5)
    assert [value.value for value in observer_biases([[1, 3], [2, 4]])] == [-1, 1]


def test_a_negative_variance_of_observers_is_zero_by_convention_and_says_so():
    found = by_name(limits_with_the_mean([[1, 2], [2, 1]]))  # MSC = 0, MSE = 1
    assert found["sd_observers"].value == 0
    assert "negative" in found["sd_observers"].reason
    assert found["loam"].value == pytest.approx(1.959964 * 0.5, abs=1e-6)  # half of 1, 0.5 from the mean


def test_the_interval_of_the_limits_holds_the_truth_in_95_of_100_studies():
    generator = np.random.default_rng(5)
    n, k, studies = 12, 4, 1500
    truth = 1.959964 * math.sqrt((k - 1) / k * (0.5**2 + 1.0**2))
    inside = 0
    for _ in range(studies):
        table = generator.normal(0, 3, (n, 1)) + generator.normal(0, 0.5, k) + generator.normal(0, 1, (n, k))
        loam = limits_with_the_mean(table)[0]
        inside += loam.low <= truth <= loam.high
    assert 0.935 < inside / studies < 0.975


def test_mean_absolute_difference_by_hand_uses_every_pair_that_there_is():
    """Cases 1: |1-2|, |1-4|, |2-4| -> 2; 2: 5; 3: alone."""
    found = mean_absolute_difference([[1, 2, 4], [5, NAN, 10], [NAN, NAN, 1]])
    assert (found.value, found.n, found.k, found.left_out) == (3.5, 2, 3, 1)
    assert (found.low, found.high) == (2, 5)
    assert "no interval" in mean_absolute_difference([[1, 2]]).reason
    assert "two observers" in mean_absolute_difference([[1, NAN]]).reason


def test_repeatability_by_hand_with_unequal_numbers_of_repeats():
    """Sums of squares 2 and 8 with 1 and 2 degrees of freedom; chi-square with 3: 0.215795 and 9.348404."""
    sd, coefficient, variation = repeatability([[1, 3, NAN], [2, 4, 6], [5, NAN, NAN]])
    assert sd.value == pytest.approx(math.sqrt(10 / 3))
    assert (sd.low, sd.high) == pytest.approx((math.sqrt(10 / 9.348404), math.sqrt(10 / 0.215795)), abs=1e-5)
    assert coefficient.value == pytest.approx(2.771808 * sd.value, abs=1e-5)
    assert variation.value == pytest.approx(100 * math.sqrt((2 / 4 + 4 / 16) / 2))
    assert (sd.n, sd.k, sd.left_out) == (2, 3, 1)
    assert "not positive" in repeatability([[-1, 1]])[2].reason
    assert repeatability([[1, NAN]])[0].reason == "no case has two repeats"


def test_a_limit_of_logarithms_is_a_percentage():
    volumes = np.array([[10.0, 11.0], [20.0, 22.0], [40.0, 44.0]])
    bias = bland_altman(*np.log(volumes).T)[0]
    assert percent_of_log(bias.value) == pytest.approx(10)
    assert math.isnan(percent_of_log(NAN))


@pytest.mark.parametrize(
    ("table", "problem"),
    [([[1], [2]], "at least two"), ([1, 2], "shape"), ([[1, math.inf]], "infinity"), ([[1, "x"]], "number, or NaN")],
)
def test_bad_tables_are_refused(table, problem):
    for function in (intraclass_correlations, limits_with_the_mean, observer_biases, repeatability):
        with pytest.raises(InputError, match=problem):
            function(table)


def test_a_confidence_must_be_one():
    with pytest.raises(InputError, match="1.5"):
        intraclass_correlations(SHROUT_FLEISS, confidence=1.5)
    wide, narrow = (intraclass_correlations(SHROUT_FLEISS, c)[0] for c in (0.99, 0.8))
    assert wide.low < narrow.low < narrow.high < wide.high
