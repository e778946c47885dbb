"""Three observers' masks of four made-up cases, the same on every machine; numpy only, so that oracles can use it."""

import numpy as np

SPACING_KJI = (2.5, 0.9, 0.8)
SHAPE = (14, 30, 34)
# For each case and observer the center (KJI, voxels) and the radius (mm) of a ball.
BALLS = (
    (((7, 15, 16), 7.0), ((7, 16, 16), 7.5), ((6, 15, 17), 6.5)),
    (((6, 12, 20), 9.0), ((6, 12, 21), 8.0), ((7, 13, 20), 10.0)),
    (((8, 18, 12), 5.0), ((8, 18, 12), 5.0), ((8, 18, 12), 6.0)),
    (((7, 14, 17), 8.0), ((6, 16, 14), 8.5), ((7, 14, 17), 0.0)),  # the third found nothing
)
# A grade of ten subjects by four observers, with some missing.
GRADES = (
    (1, 1, 1, 1),
    (2, 2, 3, 2),
    (3, 3, 3, None),
    (3, 3, 3, 3),
    (2, 2, 2, 2),
    (1, 2, 3, None),
    (None, None, 4, 4),
    (1, 1, 2, 1),
    (2, 2, 2, 2),
    (None, 3, None, None),
)


def ball(center, radius_mm):
    """Mask (K, J, I) of the voxels whose centers lie nearer than the radius."""
    distance_2 = sum(
        ((np.arange(n) - c) * s).reshape([-1 if axis == own else 1 for axis in range(3)]) ** 2
        for own, (n, c, s) in enumerate(zip(SHAPE, center, SPACING_KJI, strict=True))
    )
    return distance_2 < radius_mm**2


def synthetic_cases():
    """For each case the masks of the three observers."""
    return [[ball(*own) for own in case] for case in BALLS]
