"""Boxes and spheres as masks, with what is true of the continuous shapes; boxes fill their voxels exactly.

Axes are K, J, I and lengths are in mm everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ANISOTROPIC = (3.0, 0.7, 0.7)
ISOTROPIC = (1.0, 1.0, 1.0)
Corners = tuple[Sequence[float], Sequence[float]]  # the first corner of a box and the one opposite


@dataclass(frozen=True)
class Truth:
    """What is true of two continuous surfaces; ``nsd`` at the tolerance that was asked for."""

    hd: float
    assd: float
    nsd: float


@dataclass(frozen=True)
class Pair:
    """Two masks on one grid."""

    reference: np.ndarray
    test: np.ndarray
    spacing_mm: tuple[float, float, float]


def box(shape: Sequence[int], first: Sequence[int], end: Sequence[int]) -> np.ndarray:
    """A mask of the voxels from ``first`` to just before ``end``."""
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(first, end, strict=True))] = True
    return mask


def sphere(shape: Sequence[int], spacing_mm: Sequence[float], center_mm: Sequence[float], radius_mm: float):
    """A mask of the voxels whose center is at most a radius away; coordinates begin at the first voxel's corner."""
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    squares = [((axis + 0.5) * s - c) ** 2 for axis, s, c in zip(axes, spacing_mm, center_mm, strict=True)]
    return sum(squares) <= radius_mm**2


def shifted_box_truth(size_mm: Sequence[float], axis: int, shift_mm: float, tolerance_mm: float = 2.0) -> Truth:
    """A box and its copy, moved along one axis by less than half of every edge and more than the tolerance.

    Say a x b x c, moved by t along a. From the first surface to the second: the face that is left behind is t away all
    over. The opposite face lies inside the copy: its points are min(t, u) away, where u is the distance to the rim of
    the b x c face; the integral over levels s < t of (b - 2s)(c - 2s) is t b c - (b + c) t² + 4/3 t³. The four sides
    stick out by t: distances run from 0 to t there, which gives 2 (b + c) t² / 2, and they coincide elsewhere. The sum
    is 2 t b c + 4/3 t³. The other direction is the same, mirrored.
    """
    a, t, tau = size_mm[axis], shift_mm, tolerance_mm
    b, c = (size_mm[other] for other in range(3) if other != axis)
    assert tau < t <= min(a, b, c) / 2
    area = 2 * (a * b + b * c + c * a)
    rim = b * c - (b - 2 * tau) * (c - 2 * tau)
    near_sides = 2 * (b + c) * (a - t + tau)
    return Truth(t, (2 * t * b * c + 4 / 3 * t**3) / area, (rim + near_sides) / area)


def apart_box_truth(size_mm: Sequence[float], axis: int, shift_mm: float, tolerance_mm: float = 2.0) -> Truth:
    """A box and its copy, moved along one axis by more than the edge: the mean is that of t - x over 0 < x < a.

    The near face is t - a away, the far one t, and distances along the sides run linearly between them.
    """
    a, t, tau = size_mm[axis], shift_mm, tolerance_mm
    b, c = (size_mm[other] for other in range(3) if other != axis)
    assert t > a
    near = max(0.0, tau - (t - a))
    assert near < a
    within = (b * c if near else 0.0) + 2 * (b + c) * near
    return Truth(t, t - a / 2, within / (2 * (a * b + b * c + c * a)))


def boxes_truth(reference: Corners, test: Corners, tolerance_mm: float = 2.0, n: int = 300) -> Truth:
    """Any two boxes, by the midpoint rule with n x n points on every face; the corners are looked at for the HD."""
    directed = [_box_to_box(*pair, n) for pair in ((reference, test), (test, reference))]
    total = sum(areas.sum() for _, areas in directed)
    return Truth(
        max(distances.max() for distances, _ in directed),
        sum(distances @ areas for distances, areas in directed) / total,
        sum(areas[distances <= tolerance_mm].sum() for distances, areas in directed) / total,
    )


def box_percentiles(reference: Corners, test: Corners, percentile: float, n: int = 300) -> list[float]:
    """Of both directions, the distance within which this percentage of the area lies; by the midpoint rule."""
    found = []
    for pair in ((reference, test), (test, reference)):
        distances, areas = _box_to_box(*pair, n)
        order = np.argsort(distances)
        at = np.searchsorted(np.cumsum(areas[order]), percentile / 100 * areas.sum())
        found.append(float(distances[order[min(at, len(order) - 1)]]))
    return found


def _box_to_box(query: Corners, target: Corners, n: int) -> tuple[np.ndarray, np.ndarray]:
    """From points on the first box's faces to the second one's surface, and the area of each point; corners have 0."""
    low, high = (np.asarray(corner, float) for corner in query)
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), -1).reshape(-1, 3)
    points, areas = [corners], [np.zeros(8)]
    middle = (np.arange(n) + 0.5) / n
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        grid = np.meshgrid(*(low[o] + (high[o] - low[o]) * middle for o in others), indexing="ij")
        for side in (low, high):
            face = np.full((n * n, 3), side[axis])
            face[:, others] = np.stack(grid, -1).reshape(-1, 2)
            points.append(face)
            areas.append(np.full(n * n, np.prod((high - low)[others]) / n**2))
    points = np.concatenate(points)
    low, high = (np.asarray(corner, float) for corner in target)
    outside = np.linalg.norm(np.maximum(np.maximum(low - points, points - high), 0), axis=1)
    inside = np.minimum(points - low, high - points).min(axis=1)  # to the nearest face
    return np.where(outside > 0, outside, np.abs(inside)), np.concatenate(areas)


def moved_sphere_truth(radius_mm: float, shift_mm: float, tolerance_mm: float = 2.0) -> Truth:
    """A sphere and its copy, moved by d, less than the radius r and more than the tolerance.

    A point at height r u lies ρ = sqrt(r² + d² + 2 r d u) from the other center, so |ρ - r| from its surface, and u is
    uniform on -1..1 (Archimedes). With u du = ρ dρ / (r d) the mean is 1 / (2 r d) times the integral of |s| (s + r)
    over -d < s < d, which is d / 2. Within τ are the u between the two solutions of ρ = r ± τ.
    """
    r, d, tau = radius_mm, shift_mm, tolerance_mm
    assert tau < d < r
    low, high = (((r + side * tau) ** 2 - r**2 - d**2) / (2 * r * d) for side in (-1, 1))
    return Truth(d, d / 2, (min(high, 1) - max(low, -1)) / 2)


def concentric_truth(one_mm: float, other_mm: float, tolerance_mm: float = 2.0) -> Truth:
    """Two spheres about one center are the difference of their radii apart, everywhere."""
    gap = abs(one_mm - other_mm)
    return Truth(gap, gap, float(gap <= tolerance_mm))


def sphere_ml(radius_mm: float) -> float:
    return 4 / 3 * math.pi * radius_mm**3 / 1000
