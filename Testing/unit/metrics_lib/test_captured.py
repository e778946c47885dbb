"""What fewer observers show of the disagreement of all: by hand, and by looking at every set."""

import itertools
import math

import numpy as np
import pytest

from fixtures_shapes import box
from MedSegAICore.errors import InputError
from MedSegAICore.files import read_label_map
from MedSegAIMetricsLib.captured import captured_over_cases, variability_captured
from MedSegAIMetricsLib.observer_masks import ObserverMasks

SHAPE = (4, 5, 30)


def bars(*ends: int) -> ObserverMasks:
    """Voxels 2 to just before ``end`` along I."""
    return ObserverMasks.of([box(SHAPE, (1, 1, 2), (3, 4, end)) for end in ends], (1, 1, 1))


def test_pairs_of_three_observers_by_hand():
    """Ends 10, 12 and 18: six of eight planes are disputed by 2-3, all by 1-3, two by 1-2."""
    pairs, all_three = variability_captured(bars(10, 12, 18))
    assert (pairs.n_observers, pairs.n_sets, pairs.all_sets) == (2, 3, True)
    assert (pairs.mean, pairs.lowest, pairs.highest) == pytest.approx(((6 + 8 + 2) / 3 / 8, 2 / 8, 1))
    assert (all_three.n_observers, all_three.mean, all_three.lowest) == (3, 1, 1)


def by_looking_at_every_set(masks: list[np.ndarray]) -> dict[int, tuple[float, float, float]]:
    disputed = np.count_nonzero(np.logical_or.reduce(masks) & ~np.logical_and.reduce(masks))
    found = {}
    for k in range(2, len(masks) + 1):
        shares = [
            np.count_nonzero(np.logical_or.reduce(chosen) & ~np.logical_and.reduce(chosen)) / disputed
            for chosen in itertools.combinations(masks, k)
        ]
        found[k] = np.mean(shares), min(shares), max(shares)
    return found


def test_the_closed_form_is_the_mean_over_all_sets():
    masks = [np.random.default_rng(n).random((6, 7, 8)) < 0.2 + 0.1 * n for n in range(6)]
    expected = by_looking_at_every_set(masks)
    for row in variability_captured(ObserverMasks.of(masks, (1, 1, 1))):
        assert (row.mean, row.lowest, row.highest) == pytest.approx(expected[row.n_observers])


@pytest.mark.parametrize("case", ["nodule_02", "nodule_07", "nodule_24"])
def test_of_radiologists_too(shared_data, case):
    maps = [read_label_map(shared_data(f"lidc_observers/{case}") / f"observer_{n}.nrrd") for n in range(1, 5)]
    masks = [label_map.array > 0 for label_map in maps]
    expected = by_looking_at_every_set(masks)
    for row in variability_captured(ObserverMasks.of(masks, maps[0].grid.spacing_kji)):
        assert (row.mean, row.lowest, row.highest) == pytest.approx(expected[row.n_observers])


def test_of_very_many_sets_a_choice_is_looked_at_but_the_mean_is_that_of_all():
    observers = bars(*range(5, 17))
    row = next(row for row in variability_captured(observers) if row.n_observers == 6)
    assert (row.n_sets, row.all_sets) == (200, False)
    # Of 11 disputed planes the one before end e is disputed unless all chosen ends are at most, or above it.
    mean = np.mean([1 - (math.comb(m, 6) + math.comb(12 - m, 6)) / math.comb(12, 6) for m in range(1, 12)])
    assert row.mean == pytest.approx(mean)
    assert row.lowest < row.mean < row.highest
    assert variability_captured(observers) == variability_captured(observers)


def test_where_nothing_is_disputed_nothing_is_captured():
    assert all(math.isnan(row.mean) for row in variability_captured(bars(10, 10, 10)))


def test_the_curve_of_a_study_is_the_mean_of_its_cases():
    cases = [variability_captured(bars(*ends)) for ends in ((10, 12, 18), (10, 10, 14), (9, 9, 9))]
    pairs, three = captured_over_cases(cases)
    assert pairs.mean == pytest.approx((2 / 3 + 2 / 3) / 2)  # of 10, 10, 14 two pairs of three dispute all of it
    assert (pairs.n_cases, pairs.left_out, three.mean) == (2, 1, 1)
    assert pairs.ci_low == pytest.approx(pairs.ci_high)


def test_cases_with_different_numbers_of_observers_have_no_common_curve():
    with pytest.raises(InputError, match=r"\[2, 3\]"):
        captured_over_cases([variability_captured(bars(10, 12)), variability_captured(bars(10, 12, 18))])
    with pytest.raises(InputError, match="no cases"):
        captured_over_cases([])
