"""Decisions about cases, against a table that is worked out by hand and intervals by the formulas of the papers."""

import math

import numpy as np
import pytest

from MedSegAICore.errors import InputError
from MedSegAIMetricsLib.clinical import Estimate, case_decisions

Z = 1.959963984540054  # 97.5 % of the normal distribution


def decided(tp: int, fp: int, fn: int, tn: int) -> tuple[list[bool], list[bool]]:
    """Truth and decision of as many cases."""
    truth = [True] * tp + [False] * fp + [True] * fn + [False] * tn
    decision = [True] * (tp + fp) + [False] * (fn + tn)
    return truth, decision


def wilson(hits: int, n: int, z: float = Z) -> tuple[float, float]:
    """Wilson, J Am Stat Assoc 1927;22:209-212: the proportions p with (hits / n - p)² = z² p (1 - p) / n."""
    share = hits / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half


def simel(hits: int, positive: int, false: int, negative: int, z: float = Z) -> tuple[float, float]:
    """Simel et al., J Clin Epidemiol 1991;44:763-770: the logarithm of the ratio is about normal."""
    error = math.sqrt(1 / hits - 1 / positive + 1 / false - 1 / negative)
    ratio = (hits / positive) / (false / negative)
    return ratio * math.exp(-z * error), ratio * math.exp(z * error)


def assert_estimate(found: Estimate, value: float, interval: tuple[float, float]):
    assert (found.value, found.low, found.high) == pytest.approx((value, *interval), rel=1e-9)
    assert found.reason == ""


# 40 positive cases, 36 of them found; 60 negative ones, 6 of them called positive.
TABLE = {"tp": 36, "fp": 6, "fn": 4, "tn": 54}


@pytest.fixture(scope="module")
def found():
    return case_decisions(*decided(**TABLE))


def test_the_two_by_two_table(found):
    assert {name: found[name] for name in TABLE} == TABLE


def test_proportions_have_wilson_intervals(found):
    assert_estimate(found["sensitivity"], 0.9, wilson(36, 40))
    assert_estimate(found["specificity"], 0.9, wilson(54, 60))
    assert_estimate(found["ppv"], 36 / 42, wilson(36, 42))
    assert_estimate(found["npv"], 54 / 58, wilson(54, 58))


def test_likelihood_ratios_have_the_intervals_of_ratios(found):
    assert_estimate(found["lr_positive"], 0.9 / 0.1, simel(36, 40, 6, 60))
    assert_estimate(found["lr_negative"], 0.1 / 0.9, simel(4, 40, 54, 60))


def test_probabilities_after_the_decision_follow_from_the_sample_when_no_other_is_given(found):
    # Odds of 40 / 60 times 9 are 6, times 1/9 are 2/27: the predictive values of the sample.
    assert found["posttest_positive"].value == pytest.approx(6 / 7) == found["ppv"].value
    assert found["posttest_negative"].value == pytest.approx(2 / 29) == 1 - found["npv"].value


def test_probabilities_after_the_decision_for_patients_of_another_prevalence():
    found = case_decisions(*decided(**TABLE), pretest_probability=0.1)
    # Odds of 1 to 9 become 1 to 1, and 1 to 81.
    low, high = (odds / (1 + odds) for odds in (ratio / 9 for ratio in simel(36, 40, 6, 60)))
    assert_estimate(found["posttest_positive"], 0.5, (low, high))
    assert found["posttest_negative"].value == pytest.approx(1 / 82)
    assert found["ppv"].value == pytest.approx(36 / 42)  # of the sample, as it is


def test_intervals_of_another_confidence_are_narrower():
    found = case_decisions(*decided(**TABLE), confidence=0.9)
    z = 1.6448536269514722
    assert_estimate(found["sensitivity"], 0.9, wilson(36, 40, z))
    assert_estimate(found["lr_positive"], 9, simel(36, 40, 6, 60, z))


def test_a_share_of_one_has_an_interval_that_does_not_end_there():
    found = case_decisions(*decided(10, 2, 0, 8))
    low, high = wilson(10, 10)
    assert low == pytest.approx(10 / (10 + Z**2))
    assert_estimate(found["sensitivity"], 1, (low, high))
    assert found["lr_negative"].value == 0
    assert found["posttest_negative"].value == 0


def test_a_decision_that_is_never_wrongly_positive_has_an_infinite_ratio_and_a_reason():
    found = case_decisions(*decided(8, 0, 2, 10))
    assert found["lr_positive"].value == math.inf
    assert found["lr_positive"].reason == "the decision was never made in a negative case, so the ratio has no interval"
    assert found["posttest_positive"].value == 1


@pytest.mark.parametrize("table", [(10, 2, 0, 8), (8, 0, 2, 10), (10, 0, 0, 10), (0, 3, 5, 4), (5, 3, 0, 0)])
def test_a_number_that_does_not_exist_never_comes_without_a_reason(table):
    for name, estimate in case_decisions(*decided(*table)).items():
        if isinstance(estimate, Estimate) and any(map(math.isnan, (estimate.value, estimate.low, estimate.high))):
            assert estimate.reason, name


# What is not there, which estimates then do not exist, and why.
MISSING = {
    "positive cases": ((0, 3, 0, 7), {"sensitivity", "lr_positive", "lr_negative"}, "no case is positive"),
    "negative cases": ((6, 0, 4, 0), {"specificity", "lr_positive", "lr_negative"}, "no case is negative"),
    "positive decisions": ((0, 0, 4, 6), {"ppv"}, "no decision is positive"),
    "negative decisions": ((4, 6, 0, 0), {"npv"}, "no decision is negative"),
}


@pytest.mark.parametrize("which", MISSING)
def test_what_does_not_exist_is_nan_with_a_reason(which):
    table, names, reason = MISSING[which]
    found = case_decisions(*decided(*table))
    for name in names:
        assert all(math.isnan(number) for number in (found[name].value, found[name].low, found[name].high))
        assert found[name].reason == reason


def test_a_decision_that_is_never_made_has_no_likelihood_ratio():
    found = case_decisions(*decided(0, 0, 4, 6))
    assert math.isnan(found["lr_positive"].value)
    assert found["lr_positive"].reason == "the decision was never made"
    assert math.isnan(found["posttest_positive"].value)
    assert found["lr_negative"].value == 1  # 4 / 4 against 6 / 6: the decision says nothing


def test_numbers_0_and_1_are_decisions_too():
    truth, decision = decided(**TABLE)
    assert case_decisions(np.array(truth, int), np.array(decision, float)) == case_decisions(truth, decision)


def test_voxels_are_refused_and_the_message_says_why():
    voxels = np.zeros((3, 4, 5), bool)
    with pytest.raises(InputError, match=r"\(3, 4, 5\).*Decide once for each case"):
        case_decisions(voxels, voxels)


# Arguments that are no decisions about cases, and what the message says.
REFUSED = {
    "unequal lengths": (([True, False], [True]), {}, "2 truths but 1 decisions"),
    "no case": (([], []), {}, "no case"),
    "probabilities": (([True, False], [0.7, 0.1]), {}, "yes or no"),
    "NaN": (([True, False], [1, math.nan]), {}, "yes or no"),
    "texts": ((["yes", "no"], [True, False]), {}, "yes or no"),
    "a pretest probability in percent": (([True, False], [True, False]), {"pretest_probability": 30}, "30"),
    "a pretest probability of 0": (([True, False], [True, False]), {"pretest_probability": 0}, "it is 0"),
    "a confidence in percent": (([True, False], [True, False]), {"confidence": 95}, "95"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_decision_about_cases_is_refused(what):
    arguments, options, part = REFUSED[what]
    with pytest.raises(InputError) as caught:
        case_decisions(*arguments, **options)
    assert part in str(caught.value)
