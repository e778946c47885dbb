"""The plane of a view in which two masks differ most, on boxes whose cross-sections are known."""

import numpy as np
import pytest

from fixtures_scene import GRIDS, make_grid, rotation
from MedSegAICore.errors import InputError
from MedSegAIMetricsLib.worst_plane import worst_planes

AXES = np.eye(3)


def box(shape, *places):
    mask = np.zeros(shape, bool)
    for start, stop in places:
        mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


def test_along_the_axes_it_is_the_slice_with_most_wrong_voxels():
    grid = make_grid((20, 24, 28), spacing_ijk=(0.8, 1.0, 2.0))
    reference = box(grid.shape, ((4, 5, 6), (12, 15, 18)))
    test = reference | box(grid.shape, ((7, 15, 6), (8, 19, 16)))  # in slice 7, 4 rows of 10 voxels too many
    test &= ~box(grid.shape, ((4, 5, 6), (12, 6, 7)))  # and an edge of 8 slices too short
    along_i, along_j, along_k = worst_planes(reference, test, grid, AXES)
    assert along_k.point_ras[2] == 7 * 2.0
    assert along_k.area_mm2 == pytest.approx((40 + 1) * 0.8 * 1.0)
    assert along_j.point_ras[1] == 15 * 1.0  # the four rows are equally bad: the first
    assert along_j.area_mm2 == pytest.approx(10 * 0.8 * 2.0)
    assert along_i.point_ras[0] == pytest.approx(6 * 0.8)  # the column of the edge: 8 voxels, and 4 of the rows
    assert along_i.area_mm2 == pytest.approx((8 + 4) * 1.0 * 2.0)


@pytest.mark.parametrize("name", GRIDS)
def test_it_does_not_depend_on_how_the_grid_lies(name):
    grid = GRIDS[name]
    reference = box(grid.shape, ((1, 1, 1), (8, 8, 8)))
    test = reference & ~box(grid.shape, ((6, 2, 3), (7, 5, 8)))
    (plane,) = worst_planes(reference, test, grid, [grid.ijk_to_ras[:3, 2] * -3])
    center = grid.ras_to_ijk_points([plane.point_ras])[0]
    assert center == pytest.approx([5, 3, 6])  # the voxel in the middle of 5 x 3, in slice 6
    assert plane.area_mm2 == pytest.approx(15 * grid.spacing_ijk[0] * grid.spacing_ijk[1])


def test_of_a_cube_the_largest_oblique_section_is_the_one_through_its_edges():
    grid = make_grid((16, 16, 16), rotation(10, 20, 30))
    cube = box(grid.shape, ((3, 3, 3), (13, 13, 13)))
    diagonal = grid.ijk_to_ras[:3, :3] @ [1.0, 1.0, 0.0]
    (plane,) = worst_planes(cube, np.zeros_like(cube), grid, [diagonal])
    assert plane.area_mm2 == pytest.approx(10 * 10 * np.sqrt(2), rel=0.02)
    i, j, _k = grid.ras_to_ijk_points([plane.point_ras])[0]
    assert i + j == pytest.approx(15)


def test_equal_masks_have_no_difference_and_the_plane_with_most_of_them():
    grid = make_grid((8, 8, 8))
    mask = box(grid.shape, ((2, 2, 2), (6, 4, 4)), ((5, 2, 2), (6, 7, 7)))
    (plane,) = worst_planes(mask, mask, grid, [AXES[2]])
    assert (plane.point_ras, plane.area_mm2) == ((4, 4, 5), 0)


def test_two_empty_masks_are_refused():
    empty = np.zeros((4, 4, 4), bool)
    with pytest.raises(InputError, match="nothing to look at"):
        worst_planes(empty, empty, make_grid((4, 4, 4)), AXES)
