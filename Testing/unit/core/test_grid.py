"""Where voxels lie: checked against hand-made numbers and against SimpleITK's geometry."""

import numpy as np
import pytest
import SimpleITK as sitk

from MedSegAICore.errors import GeometryError
from MedSegAICore.grid import Grid

QUARTER_TURN_LPS = [0, -1, 0, 1, 0, 0, 0, 0, 1]  # I grows toward P, J toward R


def rotation(seed: int) -> np.ndarray:
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return matrix


def oblique_grid(seed: int, shape=(5, 6, 7), spacing=(0.7, 1.1, 3.2)) -> Grid:
    return Grid.from_lps(shape, (12.3, -45.6, 78.9), spacing, rotation(seed).ravel())


def itk_image_of(grid: Grid) -> sitk.Image:
    image = sitk.Image([*grid.shape[::-1]], sitk.sitkUInt8)
    origin, spacing, direction = grid.to_lps()
    image.SetOrigin(origin), image.SetSpacing(spacing), image.SetDirection(direction)
    return image


@pytest.mark.parametrize("seed", range(6))  # proper and improper rotations both occur
def test_voxel_positions_are_those_of_simpleitk(seed):
    grid = oblique_grid(seed)
    image = itk_image_of(grid)
    for index in [(0, 0, 0), (6, 5, 4), (3, 0, 2)]:
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(grid.ijk_to_ras_points([index])[0], [-x, -y, z], atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_ras_to_ijk_is_the_inverse_of_ijk_to_ras(seed):
    grid = oblique_grid(seed)
    points = np.random.default_rng(seed).uniform(-3, 9, (20, 3))
    np.testing.assert_allclose(grid.ras_to_ijk_points(grid.ijk_to_ras_points(points)), points, atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_origin_spacing_and_direction_in_lps_give_the_same_grid_back(seed):
    grid = oblique_grid(seed)
    again = Grid.from_lps(grid.shape, *grid.to_lps())
    np.testing.assert_allclose(again.ijk_to_ras, grid.ijk_to_ras, atol=1e-12)


def test_an_lps_grid_has_its_first_two_axes_negative_in_ras():
    grid = Grid.from_lps((2, 3, 4), (10, 20, 30), (1, 2, 3), np.eye(3).ravel())
    np.testing.assert_array_equal(grid.ijk_to_ras, [[-1, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])
    assert grid.orientation == "LPS"


def test_spacing_is_given_in_the_order_of_the_matrix_and_of_the_array():
    grid = Grid.from_lps((2, 3, 4), (0, 0, 0), (0.5, 1, 2), QUARTER_TURN_LPS)
    assert grid.spacing_ijk == (0.5, 1, 2)
    assert grid.spacing_kji == (2, 1, 0.5)


@pytest.mark.parametrize(
    ("columns_ras", "code"),
    [
        (np.diag([1, 1, 1]), "RAS"),
        (np.diag([-1, -1, 1]), "LPS"),
        (np.diag([-1, 1, 1]), "LAS"),
        (np.diag([1, -1, -1]), "RPI"),
        ([[0, 0, 1], [1, 0, 0], [0, -1, 0]], "AIR"),  # I to anterior, J to inferior, K to right: sagittal slices
    ],
)
def test_orientation_names_the_direction_in_which_each_axis_grows(columns_ras, code):
    matrix = np.eye(4)
    matrix[:3, :3] = columns_ras
    assert Grid((2, 2, 2), matrix).orientation == code


@pytest.mark.parametrize("seed", range(40))
def test_orientation_never_names_a_patient_axis_twice(seed):
    code = oblique_grid(seed).orientation
    assert sorted({"L": "R", "P": "A", "I": "S"}.get(letter, letter) for letter in code) == ["A", "R", "S"]


def test_orientation_of_simpleitk_agrees_for_moderately_oblique_grids():
    turn = sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.25).GetMatrix()
    grid = Grid.from_lps((2, 3, 4), (0, 0, 0), (1, 2, 3), turn)
    # SimpleITK names axes by where they come to, as we do, since version 2.
    assert sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(turn) == grid.orientation


def test_volume_of_a_voxel_is_the_product_of_the_spacings():
    assert oblique_grid(1).voxel_volume_ml == pytest.approx(0.7 * 1.1 * 3.2 / 1000)


def test_volume_of_a_sheared_voxel_is_base_times_height():
    matrix = np.array([[1, 0, 2, 0], [0, 1, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]])  # slices shifted by 2 mm each
    assert Grid((2, 2, 2), matrix).voxel_volume_ml == pytest.approx(0.003)


def test_corners_are_the_centers_of_the_outermost_voxels():
    grid = Grid((3, 2, 5), np.diag([2.0, 1, 10, 1]))
    assert sorted(map(tuple, grid.corners_ras())) == sorted(
        (x, y, z) for x in (0.0, 8.0) for y in (0.0, 1.0) for z in (0.0, 20.0)
    )


def test_a_crop_keeps_its_voxels_in_place():
    grid = oblique_grid(2)
    part = grid.crop((1, 2, 3), (3, 2, 4))
    np.testing.assert_allclose(part.ijk_to_ras_points([(0, 1, 2)]), grid.ijk_to_ras_points([(3, 3, 3)]), atol=1e-9)
    assert part.shape == (3, 2, 4)


def test_a_crop_with_a_negative_start_extends_the_grid_beyond_its_first_voxel():
    grid = Grid((4, 4, 4), np.diag([2.0, 3, 5, 1]))
    larger = grid.crop((-1, -2, -3), (6, 8, 10))
    np.testing.assert_array_equal(larger.ijk_to_ras[:3, 3], [-6, -6, -5])
    np.testing.assert_allclose(larger.ijk_to_ras_points([(3, 2, 1)]), [[0, 0, 0]])


def test_grids_match_within_a_thousandth_of_a_voxel_and_not_beyond():
    grid = oblique_grid(3)
    for shift, same in [(0.0006, True), (0.0008, False)]:  # mm; the smallest spacing is 0.7 mm
        moved = grid.ijk_to_ras.copy()
        moved[0, 3] += shift
        assert grid.matches(Grid(grid.shape, moved)) is same


def test_a_rotation_that_moves_only_the_far_corner_is_noticed():
    grid = Grid((1, 1, 500), np.eye(4))
    turned = np.eye(4)
    turned[1, 0] = 1e-5  # 5 micrometers after 500 voxels
    assert not Grid((1, 1, 500), turned).matches(grid)


def test_grids_of_different_shape_or_flipped_axes_do_not_match():
    grid = Grid((4, 4, 4), np.eye(4))
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = 3  # same box, first axis reversed
    assert not grid.matches(Grid((4, 4, 5), np.eye(4)))
    assert not grid.matches(Grid((4, 4, 4), flipped))


@pytest.mark.parametrize(
    ("shape", "matrix"),
    [
        ((4, 4), np.eye(4)),
        ((0, 4, 4), np.eye(4)),
        ((4, 4, 4), np.diag([1.0, 1, 0, 1])),
        ((4, 4, 4), np.diag([1.0, 1, np.nan, 1])),
        ((4, 4, 4), [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        ((4, 4, 4), np.diag([1.0, 1, 1, 2])),
        ((4, 4, 4), np.eye(3)),
    ],
)
def test_an_unusable_geometry_is_refused(shape, matrix):
    with pytest.raises(GeometryError):
        Grid(shape, matrix)


def test_micrometer_voxels_are_not_mistaken_for_a_singular_matrix():
    assert Grid((4, 4, 4), np.diag([1e-5, 1e-5, 1e-5, 1])).spacing_ijk == pytest.approx((1e-5, 1e-5, 1e-5))


def test_the_matrix_cannot_be_changed_from_outside():
    source = np.eye(4)
    grid = Grid((2, 2, 2), source)
    source[0, 0] = 5
    assert grid.ijk_to_ras[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        grid.ijk_to_ras[0, 0] = 5
