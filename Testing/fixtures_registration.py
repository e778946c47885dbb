"""Heads for tests of registration: a drawn one in two contrasts, and known motions."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from fixtures_scene import rotation
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image

# Scalp, skull, brain, ventricles, lesion: (center, radii in mm), later ones inside earlier ones.
ELLIPSOIDS = (
    ((0, 0, 0), (75, 95, 80)), ((0, 0, 0), (69, 88, 74)), ((0, 0, 0), (64, 83, 69)), ((12, 8, 10), (8, 28, 14)),
    ((-12, 6, 10), (8, 26, 13)), ((28, -35, 22), (13, 10, 12)), ((-30, 30, -15), (9, 14, 8)),
)  # fmt: skip
CONTRASTS = {"T1": (300, 30, 180, 60, 60, 120, 220), "T2": (150, 20, 110, 260, 260, 230, 60)}


def motion(degrees=(0, 0, 0), shift=(0, 0, 0)) -> np.ndarray:
    """A rigid 4x4 matrix: turned about the origin, then shifted in mm."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(*degrees), shift
    return matrix


def head(contrast: str, grid: Grid, moved: np.ndarray | None = None) -> Image:
    """The drawn head, sampled on a grid; ``moved`` (4x4) is where the patient went before, in RAS mm."""
    kji = np.indices(grid.shape).reshape(3, -1).T
    points = grid.ijk_to_ras_points(kji[:, ::-1])
    if moved is not None:
        back = np.linalg.inv(moved)
        points = points @ back[:3, :3].T + back[:3, 3]
    values = np.zeros(len(points), np.float32)
    for (center, radii), value in zip(ELLIPSOIDS, CONTRASTS[contrast], strict=True):
        values[(((points - center) / radii) ** 2).sum(1) <= 1] = value
    noise = np.random.default_rng(len(contrast) + ord(contrast[1])).normal(0, 6, grid.shape)
    blurred = ndimage.gaussian_filter(values.reshape(grid.shape), 0.6)
    return Image(np.abs(blurred + noise).astype(np.float32)[None], grid, {"modality": "MR"})


def errors_mm(matrix: np.ndarray, expected: np.ndarray, grid: Grid) -> np.ndarray:
    """Distances between where two matrices take the corners of a grid."""
    corners = np.c_[grid.corners_ras(), np.ones(8)]
    return np.linalg.norm((corners @ (matrix - expected).T)[:, :3], axis=1)
