"""The AI against the observers' spread, on matrices whose means are worked out by hand, and on radiologists."""

import itertools
import math

import numpy as np
import pytest

from MedSegAICore.errors import InputError
from MedSegAICore.files import read_label_map
from MedSegAIMetricsLib.interchangeability import CaseAgreement, agreement_difference, williams_index

NAN = math.nan


def case(ai, pairs) -> CaseAgreement:
    """``pairs``: of observers 1-2, 1-3, 2-3."""
    a, b, c = pairs
    return CaseAgreement(np.array(ai), np.array([[1, a, b], [a, 1, c], [b, c, 1]], float))


# Means of the AI: 0.6, 0.9, 0.6; of the observers: 0.8, 0.9, 0.7.
THREE = [
    case((0.5, 0.6, 0.7), (0.7, 0.8, 0.9)),
    case((0.9, 0.9, 0.9), (0.9, 0.9, 0.9)),
    case((0.4, 0.6, 0.8), (0.7, 0.7, 0.7)),
]


def test_difference_is_the_mean_over_cases_of_ai_less_observers():
    found = agreement_difference(THREE)
    assert found.per_case == pytest.approx((-0.2, 0, -0.1))
    assert (found.value, found.ai_mean, found.observers_mean) == pytest.approx((-0.1, 0.7, 0.8))
    assert (found.n_cases, found.left_out) == (3, 0)
    assert -0.2 <= found.ci_low < -0.1 < found.ci_high <= 1e-12


def test_interval_of_the_difference_agrees_with_the_normal_theory_of_the_mean():
    rng = np.random.default_rng(2)
    cases = [case(rng.normal(0.8, 0.03, 3), rng.normal(0.82, 0.03, 3)) for _ in range(400)]
    found = agreement_difference(cases)
    half_width = 1.96 * np.std(found.per_case, ddof=1) / 20
    assert found.ci_low == pytest.approx(found.value - half_width, abs=3e-4)
    assert found.ci_high == pytest.approx(found.value + half_width, abs=3e-4)


def test_interchangeable_is_an_ai_whose_interval_stays_above_the_margin():
    found = agreement_difference(THREE)
    assert found.interchangeable_within(0.25)
    assert not found.interchangeable_within(0.1)
    with pytest.raises(InputError, match="positive"):
        found.interchangeable_within(0)


def test_williams_index_is_the_ratio_of_the_two_means():
    assert williams_index(THREE).value == pytest.approx(0.7 / 0.8)


def test_williams_index_of_one_case_is_that_of_its_definition():
    """(N - 2) times the AI's sum over twice that of the others, with N observers and the AI among them."""
    (one,) = [THREE[0]]
    total_of_pairs = 0.7 + 0.8 + 0.9
    n = 4  # three observers and the AI
    assert williams_index([one]).value == pytest.approx((n - 2) * (0.5 + 0.6 + 0.7) / (2 * total_of_pairs))


def test_jackknife_interval_by_hand():
    """Without each case in turn the index is (0.9 + 0.6)/(0.9 + 0.7), 1.2/1.5 and 1.5/1.7."""
    without = np.array([1.5 / 1.6, 1.2 / 1.5, 1.5 / 1.7])
    error = math.sqrt(2 / 3 * ((without - without.mean()) ** 2).sum())
    found = williams_index(THREE)
    student = 4.302652729911275  # 97.5 % quantile of t with two degrees of freedom, from tables
    assert found.jackknife_low == pytest.approx(0.875 - student * error)
    assert found.jackknife_high == pytest.approx(0.875 + student * error)
    assert 0.75 <= found.bootstrap_low <= 0.875 <= found.bootstrap_high <= 1


def test_jackknife_and_bootstrap_agree_on_many_cases():
    rng = np.random.default_rng(3)
    found = williams_index([case(rng.normal(0.8, 0.05, 3), rng.normal(0.82, 0.05, 3)) for _ in range(300)])
    assert found.jackknife_low == pytest.approx(found.bootstrap_low, abs=1e-3)
    assert found.jackknife_high == pytest.approx(found.bootstrap_high, abs=1e-3)


def test_agreement_that_is_not_defined_is_left_out():
    partly = case((0.5, NAN, 0.7), (0.7, NAN, 0.9))
    no_pair = case((0.5, 0.6, 0.7), (NAN, NAN, NAN))
    found = agreement_difference([partly, no_pair])
    assert found.per_case[0] == pytest.approx(0.6 - 0.8)
    assert math.isnan(found.per_case[1])
    assert (found.value, found.n_cases, found.left_out) == (pytest.approx(-0.2), 1, 1)
    assert williams_index([partly, no_pair]).left_out == 1
    nothing = agreement_difference([no_pair])
    assert math.isnan(nothing.value)
    assert not nothing.interchangeable_within(0.5)
    assert math.isnan(williams_index([no_pair]).value)


def test_one_case_has_no_interval():
    difference, index = agreement_difference(THREE[:1]), williams_index(THREE[:1])
    assert all(map(math.isnan, (difference.ci_low, difference.ci_high, index.jackknife_low, index.bootstrap_high)))


def test_observers_who_never_agree_have_no_index():
    assert math.isnan(williams_index([case((0.1, 0.1, 0.1), (0, 0, 0))] * 3).value)


def test_the_same_seed_gives_the_same_interval():
    assert agreement_difference(THREE, seed=4) == agreement_difference(THREE, seed=4)


def test_a_radiologist_in_the_place_of_the_ai_is_within_the_spread_of_the_others(shared_data):
    cases = []
    for folder in sorted(shared_data("lidc_observers").glob("nodule_*")):
        masks = [read_label_map(folder / f"observer_{n}.nrrd").array > 0 for n in range(1, 5)]
        dice = np.eye(4)
        for i, j in itertools.combinations(range(4), 2):
            both = np.count_nonzero(masks[i] & masks[j])
            dice[i, j] = dice[j, i] = 2 * both / (masks[i].sum() + masks[j].sum())
        cases.append(CaseAgreement(dice[3, :3], dice[:3, :3]))
    found, index = agreement_difference(cases), williams_index(cases)
    assert found.n_cases == 24
    expected = [c.ai.mean() - (c.observers.sum() - 3) / 6 for c in cases]
    assert found.value == pytest.approx(np.mean(expected))
    assert found.interchangeable_within(0.1)
    assert index.jackknife_low < index.value < index.jackknife_high
    assert index.value == pytest.approx(1 + found.value / found.observers_mean)


@pytest.mark.parametrize(
    ("ai", "observers", "message"),
    [
        ([0.5], [[1.0]], "N >= 2"),
        ([0.5, 0.5], np.eye(3), "shapes"),
        ([0.5, 0.5], [[1, 0.4], [0.5, 1]], "symmetric"),
    ],
)
def test_matrices_that_do_not_fit_are_refused(ai, observers, message):
    with pytest.raises(InputError, match=message):
        CaseAgreement(ai, observers)


def test_no_cases_are_refused():
    with pytest.raises(InputError, match="no cases"):
        williams_index([])
