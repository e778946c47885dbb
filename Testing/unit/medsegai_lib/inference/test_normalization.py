"""Planes are normalized one after the other as a whole volume would be."""

import math

import numpy as np
import pytest

from MedSegAILib.inference.normalization import Normalization, _mean_and_deviation

CT = np.array([-3024, -1000, 40, 3000], np.int16).reshape(1, 2, 2)


def test_mean_and_deviation_of_large_numbers_are_exact():
    # In single precision the sum of so many squares would lose the deviation.
    values = np.full((4, 10, 10), 1e6, np.float32)
    values[:2] += 1
    assert _mean_and_deviation(values, None) == pytest.approx((1e6 + 0.5, 0.5), rel=1e-12)
    inside = np.zeros(values.shape, bool)
    inside[1:3, 0] = True
    assert _mean_and_deviation(values, inside) == pytest.approx((1e6 + 0.5, 0.5), rel=1e-12)


def test_planes_are_copies_and_the_volume_stays_as_it_was():
    volume = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    normalized = Normalization(shift=1, scale=2).planes(volume, 1, 2)
    assert normalized.ravel().tolist() == [1.5, 2, 2.5, 3]
    assert volume.ravel().tolist() == list(range(8))


def test_clipping_keeps_the_type_of_whole_numbers():
    clipped = Normalization(low=-1004.5, high=1588.5).clip(CT)
    assert clipped.dtype == np.int16
    assert clipped.ravel().tolist() == [-1005, -1000, 40, 1589]
    assert Normalization(low=-10.0, high=300.0).clip(np.array([0, 255], np.uint8)).tolist() == [0, 255]
    assert Normalization().clip(CT) is CT
    assert math.isinf(Normalization().low)
