"""Signed distances from voxel centers to voxel faces, against every box of every voxel and scipy's transform."""

import numpy as np
import pytest
from scipy import ndimage

from fixtures_shapes import box
from MedSegAIMetricsLib.surface.signed import signed_distances_at

SPACINGS = [(1.0, 1.0, 1.0), (2.5, 0.8, 0.8), (0.7, 3.0, 1.0)]


def by_brute_force(mask: np.ndarray, spacing_mm) -> np.ndarray:
    padded = np.pad(mask, 1)
    inside, outside = np.argwhere(padded), np.argwhere(~padded)
    found = []
    for voxel in np.argwhere(np.ones_like(mask)) + 1:
        is_inside = padded[tuple(voxel)]
        gaps = np.maximum(np.abs((outside if is_inside else inside) - voxel) - 0.5, 0) * spacing_mm
        found.append(np.sqrt((gaps**2).sum(1)).min() * (-1 if is_inside else 1))
    return np.array(found)


@pytest.mark.parametrize("spacing_mm", SPACINGS)
@pytest.mark.parametrize("density", [0.5, 0.02, 0.0005])
def test_signed_distances_are_those_to_the_nearest_voxel_of_the_other_side(spacing_mm, density):
    mask = np.random.default_rng(0).random((9, 17, 23)) < density
    mask[4, 5, 6] = True  # so that the sparsest is not empty; most voxels are then left to the tree
    found = signed_distances_at(mask, np.arange(mask.size), spacing_mm)
    np.testing.assert_allclose(found, by_brute_force(mask, spacing_mm), atol=2e-6)


def test_distances_across_the_faces_of_a_slab_are_scipys_less_half_a_voxel():
    slab = np.zeros((30, 5, 5), bool)
    slab[10:20] = True
    big = np.pad(slab, ((0, 0), (60, 60), (60, 60)), mode="edge")  # so that the sides are farther than the faces
    inside = ndimage.distance_transform_edt(big, (2.5, 1, 1))
    outside = ndimage.distance_transform_edt(~big, (2.5, 1, 1))
    expected = np.where(big, -(inside - 1.25), outside - 1.25)[:, 62, 62]
    voxels = np.ravel_multi_index((np.arange(30), 62, 62), big.shape)
    np.testing.assert_allclose(signed_distances_at(big, voxels, (2.5, 1, 1)), expected, atol=1e-5)


def test_outside_of_the_array_is_outside_of_the_mask():
    assert signed_distances_at(np.ones((3, 3, 3), bool), np.array([13]), (2.0, 1.0, 1.0)) == pytest.approx([-1.5])


def test_an_empty_mask_has_no_distances():
    with pytest.raises(ValueError, match="no surface"):
        signed_distances_at(box((3, 3, 3), (0, 0, 0), (0, 0, 0)), np.array([0]), (1, 1, 1))
