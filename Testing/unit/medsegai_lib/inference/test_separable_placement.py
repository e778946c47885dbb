"""The way back from a prepared grid, worked out by hand for one axis at a time."""

import numpy as np
import pytest
import torch

from MedSegAICore.errors import ModelError
from MedSegAILib.inference.export import Outputs, to_labels
from MedSegAILib.inference.separable_placement import Grid3, WayBack

NATIVE = Grid3((4, 5, 6), np.diag([2.0, 1.0, 1.0, 1.0]))


def moved(shape, spacing, origin):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return Grid3(shape, affine)


def test_resampling_is_undone_by_linear_interpolation_that_repeats_the_border():
    # 4 voxels of 2 mm at 0, 2, 4, 6 mm; 3 voxels of 1.5 mm from 1 mm on: 1, 2.5, 4 mm.
    grid = moved((3, 5, 6), (1.5, 1.0, 1.0), (1.0, 0, 0))
    placement = WayBack.start(NATIVE.shape).then(NATIVE, grid, "Spacingd", interpolates=True).placement()
    expected = [[1, 0, 0], [1 / 3, 2 / 3, 0], [0, 0, 1], [0, 0, 1]]
    assert np.allclose(placement.matrices[0], expected)
    assert placement.axes[1].matrix is None
    assert (placement.native, placement.cropped) == ((2, 1, 0), (4, 5, 6))


def test_the_nearest_voxel_and_zeros_beyond_the_border():
    grid = moved((3, 5, 6), (1.5, 1.0, 1.0), (1.0, 0, 0))
    nearest = WayBack.start(NATIVE.shape).then(NATIVE, grid, "Spacingd", interpolates=True, nearest=True)
    assert np.array_equal(nearest.matrices[0], [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    zeros = WayBack.start(NATIVE.shape).then(NATIVE, grid, "Spacingd", interpolates=True, border=False)
    assert np.allclose(zeros.matrices[0], [[1 / 3, 0, 0], [1 / 3, 2 / 3, 0], [0, 0, 1], [0, 0, 0]])


def test_what_was_cut_off_is_empty_and_what_was_added_is_forgotten():
    grid = moved((2, 5, 9), (2.0, 1.0, 1.0), (2.0, 0, -1.0))  # voxels 1 and 2 along I; one more before K, two behind
    placement = WayBack.start(NATIVE.shape).then(NATIVE, grid, "CropForegroundd", interpolates=False).placement()
    assert placement.cropped == (2, 5, 6)
    assert placement.crop[0] == slice(1, 3)
    logits = torch.zeros(2, 2, 5, 9)
    logits[1, :, :, 1:7] = 1
    labels = to_labels(logits, placement, Outputs((0, 1), regions=False))
    expected = np.zeros((6, 5, 4))
    expected[:, :, 1:3] = 1
    assert np.array_equal(labels, expected)


def test_turned_and_flipped_axes_come_back_in_their_places():
    affine = np.zeros((4, 4))
    affine[0, 1], affine[1, 0], affine[2, 2], affine[3, 3] = -2.0, 1.0, 1.0, 1.0  # I flipped becomes the second axis
    affine[0, 3] = 6.0
    grid = Grid3((5, 4, 6), affine)
    placement = WayBack.start(NATIVE.shape).then(NATIVE, grid, "Orientationd", interpolates=False).placement()
    volume = np.random.default_rng(0).integers(0, 2, NATIVE.shape)
    turned = np.flip(volume.transpose(1, 0, 2), 1).copy()
    logits = torch.from_numpy(np.stack([1 - turned, turned]).astype(np.float32))
    assert np.array_equal(to_labels(logits, placement, Outputs((0, 1), regions=False)), volume.transpose(2, 1, 0))


def test_steps_add_up():
    crop = moved((2, 5, 6), (2.0, 1.0, 1.0), (2.0, 0, 0))
    finer = moved((3, 5, 6), (1.0, 1.0, 1.0), (2.0, 0, 0))
    back = WayBack.start(NATIVE.shape).then(NATIVE, crop, "CropForegroundd", interpolates=False)
    back = back.then(crop, finer, "Spacingd", interpolates=True)
    assert np.array_equal(back.matrices[0], [[0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]])


def test_a_step_that_turns_by_an_angle_is_refused():
    affine = np.eye(4)
    affine[:2, :2] = [[0.9, -0.4], [0.4, 0.9]]
    with pytest.raises(ModelError, match="Rotated turns the volume by an angle"):
        WayBack.start(NATIVE.shape).then(NATIVE, Grid3((4, 5, 6), affine), "Rotated", interpolates=True)
