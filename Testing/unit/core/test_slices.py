"""Which slices show voxels, for slices along and across the voxels' axes, and for bent voxels."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures_scene import GRIDS, make_grid, rotation
from MedSegAICore.slices import Slices, ranked_slices, slices_through, slices_through_bent

AXIAL = np.array([0.0, 0.0, 1.0])


def _box(shape, box):
    mask = np.zeros(shape, bool)
    mask[box] = True
    return mask


def test_axial_slices_through_a_box_are_those_of_its_planes():
    """Planes K = 3 to 5 of a volume with 2 mm planes; the view shows K = 1, two slices below."""
    grid = make_grid((9, 10, 11), spacing_ijk=(1, 1, 2.0))
    mask = _box(grid.shape, np.s_[3:6, 2:4, 5:9])
    assert slices_through(mask, grid.ijk_to_ras, Slices(AXIAL, 2.0, 2.0)).tolist() == [2, 3, 4]


def test_a_gap_in_the_segment_is_a_gap_in_the_slices():
    grid = make_grid((9, 10, 11))
    mask = _box(grid.shape, np.s_[1:2, 2:4, 5:9]) | _box(grid.shape, np.s_[6:8, 7:8, 0:1])
    assert slices_through(mask, grid.ijk_to_ras, Slices(AXIAL, 3.0, 1.0)).tolist() == [-2, 3, 4]


def test_a_view_between_two_planes_of_voxels_keeps_its_phase():
    """Slices at 0.3 mm, 1.3 mm, …: a voxel from 2.5 to 3.5 mm is cut at 3.3 mm only."""
    grid = make_grid((9, 10, 11))
    mask = _box(grid.shape, np.s_[3:4, 2:3, 2:3])
    assert slices_through(mask, grid.ijk_to_ras, Slices(AXIAL, 0.3, 1.0)).tolist() == [3]


def test_a_plane_on_the_border_of_two_voxels_shows_one_of_them():
    grid = make_grid((9, 10, 11))
    lower, upper = (_box(grid.shape, np.s_[k : k + 1, 2:3, 2:3]) for k in (3, 4))
    slices = Slices(AXIAL, 0.5, 1.0)
    assert slices_through(lower, grid.ijk_to_ras, slices).tolist() == [2]
    assert slices_through(upper, grid.ijk_to_ras, slices).tolist() == [3]


def test_a_plane_at_45_degrees_sees_a_voxel_as_thick_as_its_diagonal():
    """A 1 mm voxel at the origin reaches 0.7071 mm along (1, 0, 1): planes every 0.5 mm cut it at -0.5, 0 and 0.5."""
    mask = _box((1, 1, 1), np.s_[:])
    slices = Slices(np.array([1.0, 0.0, 1.0]) / np.sqrt(2), 0.0, 0.5)
    assert slices_through(mask, np.eye(4), slices).tolist() == [-1, 0, 1]


def test_an_empty_segment_has_no_slices():
    mask = np.zeros((3, 4, 5), bool)
    assert slices_through(mask, np.eye(4), Slices(AXIAL, 0.0, 1.0)).tolist() == []
    assert slices_through_bent(mask, lambda points: points, Slices(AXIAL, 0.0, 1.0)).tolist() == []


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("angles", [(0, 0, 0), (90, 0, 0), (17, -23, 40)])
def test_slices_agree_with_looking_at_every_voxel(name, angles):
    """Every voxel on its own, by the distances of its eight corners; also through the function for bent voxels."""
    grid, random = GRIDS[name], np.random.default_rng(5)
    mask = random.random(grid.shape) > 0.93
    slices = Slices(rotation(*angles)[:, 2], 1.37, 0.9)
    expected = set()
    for kji in np.argwhere(mask):
        corners = kji[::-1] + np.array(list(np.ndindex(2, 2, 2))) - 0.5
        positions = (grid.ijk_to_ras_points(corners) @ slices.normal - 1.37) / 0.9
        expected |= set(range(int(np.ceil(positions.min())), int(np.ceil(positions.max()))))
    assert slices_through(mask, grid.ijk_to_ras, slices).tolist() == sorted(expected)
    assert slices_through_bent(mask, grid.ijk_to_ras_points, slices).tolist() == sorted(expected)


def test_a_body_is_cut_where_its_surface_is_cut():
    """Leaving out the voxels inside changes nothing."""
    grid = make_grid((12, 12, 12), rotation(20, 30, 40))
    mask = _box(grid.shape, np.s_[2:10, 3:11, 1:9])
    slices = Slices(np.array([0.6, 0.0, 0.8]), 0.2, 0.7)
    bent = slices_through_bent(mask, grid.ijk_to_ras_points, slices)
    assert bent.tolist() == slices_through(mask, grid.ijk_to_ras, slices).tolist()
    assert len(bent) > 10


def test_bent_voxels_are_found_where_the_transform_puts_them():
    """x is squared: the voxel from 2.5 to 3.5 mm lies from 6.25 to 12.25 mm."""
    mask = _box((1, 1, 5), np.s_[:, :, 3:4])
    slices = Slices(np.array([1.0, 0.0, 0.0]), 0.0, 1.0)
    bent = slices_through_bent(mask, lambda points: points * [1, 0, 0] * points, slices)
    assert bent.tolist() == list(range(7, 13))


def test_slices_are_ranked_by_the_sum_of_their_values():
    distances = np.array([0.0, 0.0, 1.0, 4.0, 9.0])
    values = np.array([0.4, 0.4, 0.7, 0.5, 0.9])
    ranked = ranked_slices(distances, values, Slices(AXIAL, 0.0, 1.0), apart=1)
    assert ranked == [9, 0, 1, 4]


def test_ranked_slices_are_apart():
    """Slice 1 lies beside slice 0, which has more; at 3 apart slice 2 is left out as well, at 2 it is not."""
    distances, values = np.array([0.0, 1.0, 2.0, 7.0]), np.array([0.9, 0.8, 0.7, 0.1])
    assert ranked_slices(distances, values, Slices(AXIAL, 0.0, 1.0), apart=3) == [0, 7]
    assert ranked_slices(distances, values, Slices(AXIAL, 0.0, 1.0), apart=2) == [0, 2, 7]
    assert ranked_slices(distances[:0], values[:0], Slices(AXIAL, 0.0, 1.0), apart=2) == []
