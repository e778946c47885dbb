"""Segments on another grid: every voxel gets the label at its center, and nothing is cut."""

import numpy as np
import pytest

from MedSegAICore.grid import Grid
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.resampling import extended_to_hold, resample_label_map

OBLIQUE = np.array([[0.9, -0.3, 0.1, 5], [0.35, 1.1, 0.0, -7], [-0.2, 0.1, 2.0, 3], [0, 0, 0, 1]])


def label_map(matrix=OBLIQUE, shape=(12, 14, 16)):
    array = np.zeros((2, *shape), np.uint8)
    array[0, 3:8, 4:11, 5:12] = 3
    array[1, 5:9, 2:6, 7:15] = 1
    return LabelMap(array, Grid(shape, matrix), [Label(3, "a", "A"), Label(1, "b", "B", layer=1)])


def test_the_same_grid_gives_the_same_object():
    one = label_map()
    assert resample_label_map(one, Grid(one.grid.shape, OBLIQUE.copy())) is one


def test_a_flipped_grid_gives_the_flipped_array():
    one = label_map()
    flip = np.eye(4)
    flip[0, 0], flip[0, 3] = -1, one.grid.shape[2] - 1
    turned = resample_label_map(one, Grid(one.grid.shape, OBLIQUE @ flip))
    assert np.array_equal(turned.array, one.array[..., ::-1])
    assert turned.labels == one.labels


def test_a_finer_grid_repeats_voxels():
    one = label_map()
    finer = OBLIQUE @ np.diag([0.5, 1, 1, 1])
    finer[:3, 3] -= OBLIQUE[:3, 0] / 4  # the first of two half voxels begins where the whole one does
    halves = resample_label_map(one, Grid((12, 14, 32), finer))
    assert np.array_equal(halves.array, one.array.repeat(2, axis=-1))


def test_an_arbitrary_grid_agrees_with_looking_each_center_up():
    one = label_map()
    rng = np.random.default_rng(3)
    matrix = np.eye(4)
    matrix[:3, :3] = rng.normal(size=(3, 3)) + np.diag([1.5, 1.5, 1.5])
    matrix[:3, 3] = OBLIQUE[:3, 3] + [2, 3, 4]
    grid = Grid((9, 10, 11), matrix)
    found = resample_label_map(one, grid).array
    for k, j, i in rng.integers((0, 0, 0), grid.shape, (300, 3)):
        at = np.rint(one.grid.ras_to_ijk_points(grid.ijk_to_ras_points([[i, j, k]]))[0][::-1]).astype(int)
        inside = (at >= 0).all() and (at < one.grid.shape).all()
        assert (found[:, k, j, i] == (one.array[:, at[0], at[1], at[2]] if inside else 0)).all()


def test_a_grid_is_extended_only_where_segments_reach_beyond():
    one = label_map(np.eye(4))  # fills K 3..8, J 2..10, I 5..14 of both layers
    grid = Grid((7, 14, 12), np.eye(4)).crop((0, 0, 2), (7, 14, 10))  # I from 2 to 11, K to 6
    held = extended_to_hold(grid, one)
    assert held.shape == (9, 14, 13)
    assert held.ijk_to_ras[:3, 3] == pytest.approx([2, 0, 0])
    assert np.count_nonzero(resample_label_map(one, held).array) == np.count_nonzero(one.array)
    assert extended_to_hold(one.grid, one) is one.grid
    nothing = LabelMap(np.zeros((3, 3, 3), np.uint8), Grid((3, 3, 3), np.eye(4)), [])
    assert extended_to_hold(Grid((2, 2, 2), np.eye(4)), nothing).shape == (2, 2, 2)
