"""Colors as DICOM stores them: CIELab in three unsigned 16-bit numbers (PS3.3 C.10.7.1.1).

The conversion is that of dcmqi, highdicom and pixelmed: sRGB with its white point D65 (IEC 61966-2-1), so that colors
survive from one program to another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_XYZ_FROM_RGB = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.95047, 1.0, 1.08883])
_LIMIT = 6 / 29  # below it, the cube root of CIE 1976 is replaced by a line


def lab_from_rgb(color: Sequence[float]) -> list[int]:
    """``RecommendedDisplayCIELabValue`` of red, green, blue in 0..1."""
    rgb = np.clip(np.asarray(color, float), 0, 1)
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    ratio = _XYZ_FROM_RGB @ linear / _WHITE
    x, y, z = np.where(ratio > _LIMIT**3, np.cbrt(ratio), ratio / (3 * _LIMIT**2) + 4 / 29)
    lightness, a, b = 116 * y - 16, 500 * (x - y), 200 * (y - z)
    scaled = np.array([lightness / 100, (a + 128) / 255, (b + 128) / 255]) * 65535
    return [int(number) for number in np.clip(np.rint(scaled), 0, 65535)]


def rgb_from_lab(stored: Sequence[int]) -> tuple[float, float, float]:
    """Red, green, blue in 0..1 of a ``RecommendedDisplayCIELabValue``; what sRGB cannot show is clipped."""
    lightness, a, b = np.asarray(stored, float) / 65535 * (100, 255, 255) - (0, 128, 128)
    y = (lightness + 16) / 116
    roots = np.array([y + a / 500, y, y - b / 200])
    ratio = np.where(roots > _LIMIT, roots**3, 3 * _LIMIT**2 * (roots - 4 / 29))
    linear = np.clip(np.linalg.solve(_XYZ_FROM_RGB, ratio * _WHITE), 0, 1)
    rgb = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return tuple(round(float(c), 4) for c in np.clip(rgb, 0, 1))
