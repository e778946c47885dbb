"""The time that a run will still take."""

import pytest

from MedSegAILib.worker.remaining import RemainingTime


def test_after_a_quarter_three_times_as_long_is_left():
    remaining = RemainingTime()
    assert remaining.seconds(0.0, 100.0) is None
    assert remaining.seconds(0.25, 110.0) == pytest.approx(30.0)
    assert remaining.seconds(1.0, 140.0) == 0.0


def test_the_clock_starts_with_the_first_tile():
    remaining = RemainingTime()
    remaining.seconds(0.2, 100.0)  # a slow first tile, on a device that had to be prepared
    assert remaining.seconds(0.6, 104.0) == pytest.approx(4.0)


@pytest.mark.parametrize(("fraction", "now"), [(0.005, 120.0), (0.5, 100.2), (0.0, 200.0)])
def test_nothing_is_guessed_from_too_little(fraction, now):
    remaining = RemainingTime()
    remaining.seconds(0.0, 100.0)
    assert remaining.seconds(fraction, now) is None
