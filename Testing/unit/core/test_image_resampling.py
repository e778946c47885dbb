"""Intensities on another grid: beside SimpleITK, and beside looking every voxel up by hand."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from fixtures_scene import GRIDS, make_grid, rotation
from MedSegAICore.grid import LPS_FROM_RAS, TOLERANCE_VOXELS, Grid
from MedSegAICore.image import Image
from MedSegAICore.resampling import outside_value, resample_image


def smooth(shape, seed=0, channels=1):
    noise = np.random.default_rng(seed).normal(100, 30, (channels, *shape))
    return ndimage.gaussian_filter(noise, (0, 1, 1, 1)).astype(np.float32)


def by_hand(array, own, grid, bend=lambda points: points, tolerance=TOLERANCE_VOXELS):
    """Values and coverage at every voxel of ``grid``, one matrix after the other."""
    kji = np.indices(grid.shape).reshape(3, -1).T
    ras = (grid.ijk_to_ras @ np.c_[kji[:, ::-1], np.ones(len(kji))].T)[:3].T
    ijk = (np.linalg.inv(own.ijk_to_ras) @ np.c_[bend(ras), np.ones(len(ras))].T)[:3]
    values = ndimage.map_coordinates(array, ijk[::-1], order=1, mode="nearest").reshape(grid.shape)
    size = np.array(own.shape[::-1])[:, None]
    return values, ((ijk >= -0.5 - tolerance) & (ijk <= size - 0.5 + tolerance)).all(0).reshape(grid.shape)


@pytest.mark.parametrize("name", GRIDS)
def test_it_is_what_simpleitk_and_a_look_up_give(name):
    own, target = GRIDS[name], make_grid((12, 9, 10), rotation(4, 9, -21), (0.9, 1.3, 2.1), (3, -2, 1))
    center = GRIDS[name].ijk_to_ras_points([[5.1, 4.6, 4.2]])[0] - target.ijk_to_ras_points([[4.5, 4, 5.5]])[0]
    matrix = target.ijk_to_ras.copy()
    matrix[:3, 3] += center
    target = Grid(target.shape, matrix)
    array = smooth(own.shape)
    found, covered = resample_image(Image(array, own), target)
    values, expected = by_hand(array[0], own, target)
    assert np.array_equal(covered, expected)
    assert 0.03 < covered.mean() < 1
    assert (found.array[0][~covered] == array.min()).all()
    _, inside = by_hand(array[0], own, target, tolerance=-TOLERANCE_VOXELS)
    sure = inside == covered  # on the very border the last digit decides
    assert sure.mean() > 0.99
    np.testing.assert_allclose(found.array[0][inside], values[inside], rtol=1e-4)

    moving, reference = (
        sitk.GetImageFromArray(array[0]),
        sitk.Image([int(n) for n in target.shape[::-1]], sitk.sitkFloat32),
    )
    for image, grid in ((moving, own), (reference, target)):
        lps = LPS_FROM_RAS @ grid.ijk_to_ras
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetSpacing(np.linalg.norm(lps[:3, :3], axis=0).tolist())
        image.SetDirection((lps[:3, :3] / np.linalg.norm(lps[:3, :3], axis=0)).ravel().tolist())
    theirs = sitk.GetArrayFromImage(
        sitk.Resample(moving, reference, sitk.Transform(), sitk.sitkLinear, float(array.min()))
    )
    np.testing.assert_allclose(found.array[0][sure], theirs[sure], rtol=1e-4)


def test_a_bent_frame_is_followed():
    own, target = GRIDS["oblique anisotropic"], GRIDS["oblique anisotropic"].crop((1, 1, 1), (7, 8, 9))

    def bend(points):
        return points + 2 * np.sin(points[:, ::-1] / 7)

    array = smooth(own.shape, channels=2)
    found, covered = resample_image(Image(array, own), target, bend)
    assert 0.3 < covered.mean() < 1
    for channel, result in zip(array, found.array, strict=True):
        values, expected = by_hand(channel, own, target, bend)
        assert np.array_equal(covered, expected)
        np.testing.assert_allclose(result[covered], values[covered], rtol=1e-4)
        assert (result[~covered] == channel.min()).all()


def test_a_sheared_grid_is_resampled_too():
    shear = np.eye(4)
    shear[0, 1], shear[2, 0] = 0.3, -0.2
    own, target = Grid((9, 10, 11), shear), Grid((8, 8, 8), np.diag([1.1, 0.9, 0.8, 1.0]))
    array = smooth(own.shape)
    found, covered = resample_image(Image(array, own), target)
    values, expected = by_hand(array[0], own, target)
    assert np.array_equal(covered, expected)
    np.testing.assert_allclose(found.array[0][covered], values[covered], rtol=1e-4)


def test_voxels_on_the_same_grid_are_not_touched():
    array = np.arange(990, dtype=np.int16).reshape(1, 9, 10, 11)
    found, covered = resample_image(Image(array, GRIDS["LPS"], {"modality": "MR"}), GRIDS["LPS"])
    assert found.array is array
    assert covered.all()
    assert found.meta == {"modality": "MR"}


def test_outside_is_air_in_ct_and_zero_around_a_brain_without_skull():
    ct = np.full((8, 8, 8), -1000, np.int16)
    ct[2:6, 2:6] = 40
    assert outside_value(ct) == -1000
    z_scores = np.zeros((8, 8, 8), np.float32)
    z_scores[2:6, 2:6, 2:6] = np.random.default_rng(0).normal(size=(4, 4, 4))
    assert z_scores.min() < 0
    assert outside_value(z_scores) == 0
    assert outside_value(np.full((3, 3, 3), 7)) == 7
