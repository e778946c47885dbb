"""Colors in CIELab: against published values, against highdicom, and there and back."""

import numpy as np
import pytest

from MedSegAICore.cielab import lab_from_rgb, rgb_from_lab


def test_red_has_the_published_lab_values():
    # sRGB red is L* 53.24, a* 80.09, b* 67.20 under D65 (IEC 61966-2-1 with CIE 15).
    stored = np.array(lab_from_rgb((1, 0, 0))) / 65535 * (100, 255, 255) - (0, 128, 128)
    np.testing.assert_allclose(stored, (53.24, 80.09, 67.20), atol=0.03)


def test_black_and_white_are_the_ends_of_the_scale():
    assert lab_from_rgb((0, 0, 0))[0] == 0
    assert lab_from_rgb((1, 1, 1))[0] == 65535
    np.testing.assert_allclose(lab_from_rgb((1, 1, 1))[1:], 128 / 255 * 65535, atol=10)


def test_colors_survive_to_better_than_an_eighth_bit():
    for color in np.random.default_rng(0).random((200, 3)):
        np.testing.assert_allclose(rgb_from_lab(lab_from_rgb(color)), color, atol=1 / 512)


def test_the_numbers_are_those_of_highdicom():
    highdicom = pytest.importorskip("highdicom")
    for color in [(240, 125, 92), (0, 151, 206), (128, 174, 128), (1, 2, 3)]:
        theirs = highdicom.color.CIELabColor.from_rgb(*color).value
        np.testing.assert_allclose(lab_from_rgb(np.array(color) / 255), theirs, atol=20)


def test_a_color_that_screens_cannot_show_is_clipped():
    color = rgb_from_lab([65535, 0, 0])
    assert all(0 <= channel <= 1 for channel in color)
