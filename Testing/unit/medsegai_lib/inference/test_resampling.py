"""Resampling by matrices equals an independent implementation of the same splines."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from MedSegAILib.inference import resampling
from MedSegAILib.inference.resampling import new_shape, resize, resize_matrix, separate_axis

ARRAY = np.random.default_rng(0).normal(size=(2, 7, 9, 11)).astype(np.float32)


def by_scipy(channel, shape, order):
    """What skimage.transform.resize(mode="edge", anti_aliasing=False) calls, with its clipping."""
    zoom = [new / old for new, old in zip(shape, channel.shape, strict=True)]
    result = ndimage.zoom(channel.astype(float), zoom, order=order, mode="nearest", grid_mode=True)
    return result.clip(channel.min(), channel.max())


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("shape", [(7, 9, 11), (14, 13, 5), (3, 20, 11), (1, 1, 1)])
def test_every_order_equals_scipys_zoom(order, shape):
    ours = resize(torch.from_numpy(ARRAY), shape, order)
    for channel, expected in zip(ours, ARRAY, strict=True):
        assert np.allclose(channel, by_scipy(expected, shape, order), atol=2e-5)


def test_a_separate_axis_takes_the_nearest_slice_and_the_others_are_cubic():
    ours = resize(torch.from_numpy(ARRAY), (14, 13, 5), 3, separate_axis=0, separate_order=0)
    for channel, expected in zip(ours, ARRAY, strict=True):
        slices = np.stack([by_scipy(plane, (13, 5), 3) for plane in expected])
        assert np.allclose(channel, slices.repeat(2, axis=0), atol=2e-5)


def test_a_constant_stays_constant():
    assert torch.allclose(resize(torch.full((1, 5, 6, 7), 3.5), (9, 4, 11), 3), torch.tensor(3.5))


@pytest.mark.parametrize(
    ("spacing", "new_spacing", "forced", "axis"),
    [
        ((1, 1, 1), (1, 1, 1), None, None),
        ((5, 1, 1), (1, 1, 1), None, 0),
        ((1, 1, 1), (1, 4, 1), None, 1),
        ((3, 1, 1), (1, 1, 1), None, None),  # only beyond a ratio of 3
        ((5, 5, 1), (1, 1, 1), None, None),  # two coarse axes: no single plane
        ((5, 1, 1), (1, 1, 1), False, None),
        ((2, 1, 1), (1, 1, 1), True, 0),
    ],
)
def test_the_coarse_axis_is_kept_apart_by_nnunets_rule(spacing, new_spacing, forced, axis):
    assert separate_axis(spacing, new_spacing, forced) == axis


def test_new_shape_is_rounded():
    assert new_shape((10, 10, 10), (1, 1, 1), (2, 3, 0.8)) == (5, 3, 12)


@pytest.mark.parametrize("separate", [None, 0, 1, 2])
def test_slabs_change_nothing(monkeypatch, separate):
    torch.manual_seed(0)
    array = torch.randn(2, 9, 8, 7)
    whole = resize(array, (12, 5, 11), 3, separate_axis=separate, separate_order=1)
    monkeypatch.setattr(resampling, "SLAB_VOXELS", 1)  # a plane at a time
    assert torch.allclose(resize(array, (12, 5, 11), 3, separate_axis=separate, separate_order=1), whole, atol=1e-6)


def test_a_matrix_has_no_denormal_numbers_and_its_rows_still_add_up_to_one():
    matrix = resize_matrix(300, 170, 3)
    assert np.abs(matrix[matrix != 0]).min() >= 1e-9
    assert matrix.sum(1) == pytest.approx(1, abs=2e-6)
