"""Exact signed distances from voxel centers to the voxel-face surface of a mask, only where they are wanted.

From a voxel inside, the surface is as near as the nearest box of a voxel outside, and the other way round. Most voxels
that are asked about lie near the surface, so it is enough to look at their neighbors in order of that distance. The
others are left to a k-d tree of the corners, edge midpoints and face centers of all faces: from a voxel center the
nearest point of a face is one of them.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from MedSegAIMetricsLib.surface.lattice import AXES, Frame, lattice_surface, make_tree

LOOKS = 1000  # neighbors that are looked at, where a question to the tree costs about as much
FIRST_BLOCK, LAST_BLOCK = 8, 128  # looks made in one go, at first and later
CHUNK = 1 << 15  # looks made at once, so that what they need stays in the processor's second cache
FACE_KINDS = range(7)


def signed_distances_at(mask: np.ndarray, voxels: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Distances in mm of voxel centers to the surface of a mask, negative inside; float32 (n,).

    ``mask``: boolean (K, J, I), not empty; what lies outside the array is outside the mask. ``voxels``: (n,) flat
    positions in the array. ``spacing_mm``: KJI. Raises ValueError for an empty mask.
    """
    if not mask.any():
        raise ValueError("an empty mask has no surface")
    spacing_mm = tuple(float(s) for s in spacing_mm)
    looks, distances = _looks(spacing_mm)
    margin = np.abs(looks).max(0)
    padded = np.zeros([n + 2 * m for n, m in zip(mask.shape, margin, strict=True)], np.uint8)
    padded[tuple(slice(m, m + n) for m, n in zip(margin, mask.shape, strict=True))] = mask
    strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    flat, offsets = padded.reshape(-1), looks @ strides
    places = np.unravel_index(voxels, mask.shape)
    at = sum((place + m) * stride for place, m, stride in zip(places, margin, strides, strict=True))
    inside = flat[at]
    found, away = _nearest_look(flat, at, inside, offsets)
    result = distances[found]
    if len(away):
        result[away] = _from_tree(mask, np.stack([place[away] for place in places], 1), spacing_mm)
    np.negative(result, out=result, where=inside > 0)
    return result


def _nearest_look(flat: np.ndarray, at: np.ndarray, inside: np.ndarray, offsets: np.ndarray) -> tuple:
    """For each position the first look that finds the other side (else 0), and which positions found nothing."""
    found = np.zeros(len(at), np.int32)
    away = np.arange(len(at))
    first, block = 0, FIRST_BLOCK
    while len(away) and first < len(offsets):
        last = min(first + block, len(offsets))
        missed, rows = [], max(1, CHUNK // (last - first))
        for start in range(0, len(away), rows):
            part = away[start : start + rows]
            other = flat.take(at[part, None] + offsets[first:last]) != inside[part, None]
            look = other.argmax(1)
            hit = other[np.arange(len(part)), look]
            found[part[hit]] = first + look[hit]
            missed.append(part[~hit])
        away = np.concatenate(missed)
        first, block = last, min(2 * block, LAST_BLOCK)
    return found, away


@functools.lru_cache(16)
def _looks(spacing_mm: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (n, 3) to neighbors, and the distance of each one's box from the voxel's center; nearest first."""
    reach = (2 * LOOKS * math.prod(spacing_mm) * 3 / (4 * math.pi)) ** (1 / 3)  # a ball of twice as many voxels
    axes = [np.arange(-n, n + 1) for n in (max(1, int(reach / s)) for s in spacing_mm)]
    steps = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    gaps = np.maximum(np.abs(steps) - 0.5, 0) * np.array(spacing_mm)
    distances = np.sqrt((gaps**2).sum(1))
    # Beyond the nearest box that is not in the list, the list has gaps.
    complete = min((len(axis) // 2 + 0.5) * s for axis, s in zip(axes, spacing_mm, strict=True))
    order = np.argsort(distances, kind="stable")[1 : LOOKS + 1]
    order = order[distances[order] <= complete]
    return steps[order], distances[order].astype(np.float32)


def _from_tree(mask: np.ndarray, voxels: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    surface = lattice_surface(mask, Frame(mask.shape, (1, 1, 1)))
    samples = []
    for kind in FACE_KINDS:
        corners = surface.coordinates(surface.corners[surface.samples(kind)])
        samples.append(corners + [0.5 if kind & axis else 0.0 for axis in AXES])
    tree = make_tree(np.concatenate(samples), spacing_mm)
    return tree.query((voxels + 0.5) * np.array(spacing_mm))[0]
