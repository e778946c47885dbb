"""Figures over cases, against numbers worked out by hand and against theory."""

import math

import numpy as np
import pytest

from MedSegAIMetricsLib.statistics import bootstrap_interval, figures


def test_figures_of_five_values_and_one_that_does_not_exist():
    found = figures([3.0, 1.0, math.nan, 5.0, 2.0, 4.0])
    assert (found.n, found.undefined) == (5, 1)
    assert (found.mean, found.median, found.q1, found.q3) == (3, 3, 2, 4)
    assert found.sd == pytest.approx(math.sqrt(2.5))
    assert (found.minimum, found.maximum) == (1, 5)


def test_nothing_can_be_said_of_no_value_and_no_interval_of_one():
    assert figures([math.nan]).undefined == 1
    assert math.isnan(figures([math.nan]).mean)
    one = figures([2.0])
    assert (one.mean, one.median) == (2, 2)
    assert math.isnan(one.sd)
    assert math.isnan(one.ci_low)


def test_bootstrap_interval_agrees_with_the_normal_theory_of_the_mean():
    values = np.random.default_rng(1).normal(0.9, 0.03, 400)
    low, high = bootstrap_interval(values)
    half_width = 1.96 * values.std(ddof=1) / math.sqrt(400)
    assert low == pytest.approx(values.mean() - half_width, abs=3e-4)
    assert high == pytest.approx(values.mean() + half_width, abs=3e-4)
