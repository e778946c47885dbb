"""Outlines of masks: they hold exactly the pixels, by two rules of what is inside a polygon."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label

from MedSegAICore.outlines import outlines


def filled(polygons, shape):
    """How many polygons hold each pixel's center; even-odd and nonzero winding must agree."""
    j, i = np.mgrid[: shape[0], : shape[1]] + 0.5
    held = np.zeros(shape, int)
    for polygon in polygons:
        crossings, winding = np.zeros(shape, int), np.zeros(shape, int)
        for (j0, i0), (j1, i1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            assert (j0 == j1) != (i0 == i1), "an outline runs along pixel edges"
            crossed = (j > min(j0, j1)) & (j < max(j0, j1)) & (i < i0)
            crossings += crossed
            winding += crossed * int(np.sign(j1 - j0))
        assert np.array_equal(crossings % 2 == 1, winding != 0)
        held += crossings % 2
    return held


def area(polygon):
    j, i = polygon.T
    return 0.5 * float(np.sum(i * np.roll(j, -1) - np.roll(i, -1) * j))  # positive: clockwise with J down


@pytest.mark.parametrize("sigma", [0, 0.6, 1, 2])
def test_random_masks_come_back_pixel_for_pixel(sigma):
    random = np.random.default_rng(int(sigma * 10))
    for _ in range(20):
        mask = gaussian_filter(random.normal(size=(23, 31)), sigma) > 0
        polygons = outlines(mask)
        assert np.array_equal(filled(polygons, mask.shape), mask)
        assert sum(map(area, polygons)) == mask.sum()
        assert len(polygons) == label(mask)[1]


def test_a_pixel_is_a_square_that_runs_clockwise():
    mask = np.zeros((3, 4), bool)
    mask[1, 2] = True
    (square,) = outlines(mask)
    assert square.tolist() == [[1, 2], [1, 3], [2, 3], [2, 2]]


def test_pixels_that_touch_at_a_corner_are_pieces_of_their_own():
    assert len(outlines(np.eye(3, dtype=bool))) == 3


def test_holes_are_joined_by_a_channel_and_only_corners_are_kept():
    mask = np.ones((9, 9), bool)
    mask[3:6, 3:6] = False
    (ring,) = outlines(mask)
    # 4 outer corners, 4 of the hole, and twice the outer end of the channel, which goes on along the hole's edge.
    assert len(ring) == 4 + 4 + 2
    assert area(ring) == 81 - 9
    assert np.array_equal(filled([ring], mask.shape), mask)


def test_holes_beside_and_within_each_other_come_back():
    mask = np.ones((11, 15), bool)
    mask[2:9, 2:9] = False
    mask[4:7, 4:7] = True  # an island in the hole
    mask[5, 5] = False
    mask[5, 11] = mask[6, 12] = mask[3, 12] = False
    polygons = outlines(mask)
    assert len(polygons) == 2
    assert np.array_equal(filled(polygons, mask.shape), mask)


def test_nothing_has_no_outline():
    assert outlines(np.zeros((4, 5), bool)) == []
