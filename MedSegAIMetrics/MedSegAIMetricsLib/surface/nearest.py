"""Distances from every sample of one lattice surface to the nearest point of another.

The nearest point of a grid-aligned rectangle to a corner of the grid is again a corner, and to an edge midpoint or face
center it is again a sample. So it is enough to look at samples of the other surface, in order of their distance: the
first that is found is the nearest, and its distance is the exact one to the voxel-face surface. Corners that a few
thousand looks do not settle are left to a k-d tree. Edge midpoints and face centers learn from their two neighbors
where it pays to look, which is nearly always one place or none.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from MedSegAIMetricsLib.surface.lattice import AXES, CORNER, LatticeSurface, make_tree

REACH_CORNERS = 4000  # as many corners as this lie within the reach of a search
FIRST_BLOCK, LAST_BLOCK = 8, 256  # looks made in one go, at first and later
CHUNK = 1 << 15  # looks made at once, so that what they need stays in the processor's second cache

# Rough costs in nanoseconds, to decide when a k-d tree is cheaper than looking further; results do not depend on them.
LOOK_NS, TREE_BUILD_NS, TREE_QUERY_NS = 3, 100, 5000
COARSE = 64  # every so many corners are enough to say how far the nearest one is at most

BEYOND_AT_ONCE = 1024  # samples beyond the reach that are searched at once, to bound the memory

ROUNDING = 1e-9  # relative; distances that differ by less are the same

_NONE = np.zeros(0, np.intp)


def reach_mm(spacing_mm: Sequence[float]) -> float:
    """How far a search looks: the radius of the sphere that holds ``REACH_CORNERS`` lattice corners."""
    return (REACH_CORNERS * math.prod(spacing_mm) * 3 / (4 * math.pi)) ** (1 / 3)


def search_margin(spacing_mm: Sequence[float]) -> tuple[int, int, int]:
    """The margin, in lattice cells, that a frame needs for a search."""
    return tuple(int(reach_mm(spacing_mm) / s) + 1 for s in spacing_mm)


@dataclass(frozen=True)
class Nearest:
    """What is nearest to the samples of one kind, one entry for each corner of the query surface.

    Only entries of cells that have a sample of the kind mean something. ``distances``: (n,) in mm. ``steps``: (3, n),
    how many lattice cells lie between the sample's cell and that of the nearest point, KJI. ``kinds``: (n,), which
    kind of sample the nearest point is.
    """

    kind: int
    distances: np.ndarray
    steps: np.ndarray
    kinds: np.ndarray

    @classmethod
    def on_target(cls, kind: int, n: int) -> Nearest:
        """As if every sample were on the target itself."""
        return cls(kind, np.zeros(n), np.zeros((3, n), np.int16), np.full(n, kind, np.uint8))


def nearest_to_corners(query: LatticeSurface, target: LatticeSurface, spacing_mm: tuple) -> Nearest:
    """The nearest points of ``target`` to every corner of ``query``; both on one frame, spacing KJI. Exact."""
    nearest = Nearest.on_target(CORNER, len(query.corners))
    distances, steps = nearest.distances, nearest.steps
    flat = target.cells.reshape(-1)
    away = np.flatnonzero((flat[query.corners] & 1) == 0)
    looks = _looks(spacing_mm, CORNER)
    offsets = looks.steps @ np.array(target.frame.strides)
    first, block = 1, FIRST_BLOCK  # look 0 is at the corner itself
    while len(away):
        last = min(first + block, looks.count)
        tree_ns = len(target.corners) * TREE_BUILD_NS + len(away) * TREE_QUERY_NS
        if first == last or len(away) * (last - first) * LOOK_NS > tree_ns:
            distances[away], steps[:, away] = _tree_search(query, target, away, spacing_mm)
            break
        found = np.empty(len(away), np.intp)
        for part in _chunks(len(away), last - first):
            seen = flat.take(query.corners[away[part], None] + offsets[first:last], mode="wrap") & 1
            look = seen.argmax(1)
            found[part] = np.where(seen[np.arange(len(seen)), look], first + look, -1)
        hit = found >= 0
        distances[away[hit]], steps[:, away[hit]] = looks.distances[found[hit]], looks.steps[found[hit]].T
        away = away[~hit]
        first, block = last, min(2 * block, LAST_BLOCK)
    return nearest


def nearest_between(
    query: LatticeSurface, target: LatticeSurface, ends: Nearest, axis: int, spacing_mm: tuple
) -> Nearest:
    """The nearest points to the samples halfway along ``axis`` between the samples that ``ends`` tells of. Exact."""
    kind = ends.kind | AXES[axis]
    samples = query.samples(kind)
    nearest = Nearest.on_target(kind, len(query.corners))
    flat = target.cells.reshape(-1)
    samples = samples[(flat[query.corners[samples]] & np.uint8(1 << kind)) == 0]  # the others lie on the target
    low, high = samples, query.following(samples, axis)
    best, steps, kinds = _best_known(query, target, ends, (low, high), axis, spacing_mm[axis])
    bound = _lower_bound(ends.distances[low], ends.distances[high], spacing_mm[axis] / 2)
    open_ = np.flatnonzero(best > bound * (1 + 2 * ROUNDING))
    looks = _looks(spacing_mm, kind)
    found, settled, beyond = _look_between(query, target, looks, samples, open_, bound, best)
    best[settled], steps[:, settled], kinds[settled] = looks.distances[found], looks.steps[found].T, looks.kinds[found]
    for first in range(0, len(beyond), BEYOND_AT_ONCE):
        far = beyond[first : first + BEYOND_AT_ONCE]
        nearer = _search_beyond(query, target, kind, samples[far], best[far], spacing_mm)
        best[far[nearer.rows]], steps[:, far[nearer.rows]] = nearer.distances, nearer.steps
        kinds[far[nearer.rows]] = nearer.kinds
    nearest.distances[samples], nearest.steps[:, samples], nearest.kinds[samples] = best, steps, kinds
    return nearest


def _lower_bound(one: np.ndarray, other: np.ndarray, half: float) -> np.ndarray:
    """How near the nearest point can be halfway between two ends, given their distances; ``half`` is that way to each.

    Either the nearest point lies halfway along the axis too: then its neighbors are as near to the ends. Or it lies
    ``half`` or more to one side, and the end on that side is nearer by this much. And the square of the distance to any
    set, less the square of the way along a line, is concave: it is at least the mean of the ends in the middle.
    """
    squares = one**2, other**2
    bound = np.minimum(np.maximum(*squares), np.minimum(*squares) + half**2)
    return np.sqrt(np.maximum(bound, (squares[0] + squares[1]) / 2 - half**2)) * (1 - ROUNDING)


def _best_known(query, target, ends: Nearest, at: tuple[np.ndarray, np.ndarray], axis: int, spacing: float) -> tuple:
    """The nearest of the points that are nearest to the two ends and of what lies halfway next to them."""
    flat, strides = target.cells.reshape(-1), np.array(target.frame.strides)
    squares, steps, kinds = [], [], []
    for end, (corners, side) in enumerate(zip(at, (-1, 1), strict=True)):
        own, kind = ends.steps[:, corners], ends.kinds[corners]
        cell = query.corners[corners] + strides @ own - end * strides[axis]
        halfway = (own[axis] == 0) & (flat[cell] & (np.uint8(1) << (kind | AXES[axis])) != 0)
        squares.append(ends.distances[corners] ** 2 + np.where(halfway, 0, (0.25 + side * own[axis]) * spacing**2))
        if end:
            own[axis] += ~halfway
        steps.append(own)
        kinds.append(kind | (halfway * np.uint8(AXES[axis])))
    first = squares[0] <= squares[1]
    return np.sqrt(np.minimum(*squares)), np.where(first, *steps), np.where(first, *kinds)


def _look_between(query, target, looks, samples, open_, bound, best) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Look from ``bound`` to what is ``best`` so far.

    Returns what was found nearer, for which samples, and the samples for which the reach was too short to tell.
    """
    flat, offsets = target.cells.reshape(-1), looks.steps @ np.array(target.frame.strides)
    first = np.searchsorted(looks.distances, bound[open_])
    block, found, settled, beyond = FIRST_BLOCK, [_NONE], [_NONE], [_NONE]
    while True:
        beyond.append(open_[first >= looks.count])
        worth = looks.distances[np.minimum(first, looks.count)] < best[open_] * (1 - ROUNDING)
        open_, first = open_[worth], first[worth]
        if not len(open_):
            return np.concatenate(found), np.concatenate(settled), np.concatenate(beyond)
        hits = np.empty(len(open_), np.intp)
        for part in _chunks(len(open_), block):
            index = np.minimum(first[part, None] + np.arange(block), looks.count)
            at = query.corners[samples[open_[part]], None] + offsets[index]
            seen = (flat.take(at, mode="wrap") & looks.bits[index]) != 0
            row, nearest = np.arange(len(seen)), seen.argmax(1)
            hits[part] = np.where(seen[row, nearest], index[row, nearest], looks.count)
        nearer = looks.distances[hits] < best[open_]
        found.append(hits[nearer])
        settled.append(open_[nearer])
        missed = hits == looks.count
        open_, first = open_[missed], first[missed] + block
        block = min(2 * block, LAST_BLOCK)


class _Nearer(NamedTuple):
    """Points found nearer than known: for which rows, how far, and where."""

    rows: np.ndarray
    distances: np.ndarray
    steps: np.ndarray
    kinds: np.ndarray


def _search_beyond(query, target, kind: int, samples: np.ndarray, best: np.ndarray, spacing_mm: tuple) -> _Nearer:
    """What is nearer than ``best``, for samples further away than looks reach.

    Every point of the target's surface that is as near as ``best`` has a corner at most half a face's diagonal
    further. Such corners are few, as nothing is nearer than the nearest point.
    """
    spacing, half = np.array(spacing_mm), np.array([0.5 if kind & axis else 0 for axis in AXES])
    at = query.coordinates(query.corners[samples])
    radius = np.sqrt(best**2 + ((half * spacing) ** 2).sum()) * (1 + ROUNDING)
    tree = target.tree(spacing_mm)
    candidates = tree.query_ball_point((at + half) * spacing, radius)
    row = np.repeat(np.arange(len(samples)), [len(c) for c in candidates])
    corner = np.rint(tree.data[np.concatenate([_NONE, *candidates]).astype(np.intp)] / spacing).astype(int)
    steps = corner - at[row]
    squares = ((steps - half) * spacing) ** 2
    bits = target.cells.reshape(-1)[(corner + target.frame.margin) @ np.array(target.frame.strides)]
    lands = [np.array([bool(other & axis) for axis in AXES]) for other in range(7)]
    distances = np.full((7, len(row)), np.inf)
    for other in (other for other in range(7) if other & kind == other):
        there = ((bits >> np.uint8(other)) & 1 > 0) & (steps[:, lands[other]] == 0).all(1)
        distances[other, there] = np.sqrt(squares[there][:, ~lands[other]].sum(1))
    nearest = distances.argmin(0)
    distances = distances.min(0)
    order = np.lexsort((distances, row))
    order = order[np.unique(row[order], return_index=True)[1]]  # the nearest candidate of each row
    order = order[distances[order] < best[row[order]]]
    return _Nearer(row[order], distances[order], steps[order].T, nearest[order].astype(np.uint8))


@dataclass(frozen=True)
class _Looks:
    """Where to look from a sample of one kind, nearest first; one more entry at the end that finds nothing."""

    distances: np.ndarray
    steps: np.ndarray  # (n, 3) lattice cells, KJI
    kinds: np.ndarray  # the kind of sample that can lie there

    @functools.cached_property
    def bits(self) -> np.ndarray:
        """The kinds as bits; none for the last entry."""
        return np.append(np.uint8(1) << self.kinds[:-1], np.uint8(0))

    @property
    def count(self) -> int:
        return len(self.distances) - 1


@functools.lru_cache(64)
def _looks(spacing_mm: tuple[float, float, float], kind: int) -> _Looks:
    reach = reach_mm(spacing_mm)
    odd = np.array([bool(kind & axis) for axis in AXES])
    halves = []  # per axis, offsets in half voxels: from corner to corner, or from halfway to halfway or to a corner
    for is_odd, s in zip(odd, spacing_mm, strict=True):
        n = int(reach / s) + 1
        even = 2 * np.arange(-n, n + 1)
        halves.append(np.sort(np.append(even[:-1] + 1, 0)) if is_odd else even)
    offsets = np.stack(np.meshgrid(*halves, indexing="ij"), -1).reshape(-1, 3)
    distances = np.sqrt(((offsets * np.array(spacing_mm) / 2) ** 2).sum(1))
    within = np.flatnonzero(distances <= reach)
    order = within[np.argsort(distances[within], kind="stable")]
    offsets, stays_half = offsets[order], (offsets[order] == 0) & odd
    kinds = (stays_half @ np.array(AXES)).astype(np.uint8)
    steps = (offsets + (odd & ~stays_half)) // 2
    return _Looks(np.append(distances[order], np.inf), np.append(steps, [[0, 0, 0]], 0), np.append(kinds, np.uint8(0)))


def _tree_search(query: LatticeSurface, target: LatticeSurface, corners: np.ndarray, spacing_mm: tuple) -> tuple:
    """Distances and steps from some corners of ``query`` to the nearest corners of ``target``, by a k-d tree."""
    ours = query.coordinates(query.corners[corners])
    coarse = cKDTree(target.coordinates(target.corners[::COARSE]) * np.array(spacing_mm))
    furthest = np.ceil(coarse.query(ours * np.array(spacing_mm))[0].max() / spacing_mm)
    theirs = target.corners_within(ours.min(0) - furthest, ours.max(0) + furthest)
    distances, nearest = make_tree(theirs, spacing_mm).query(ours * np.array(spacing_mm))
    return distances, (theirs[nearest] - ours).T


def _chunks(rows: int, width: int) -> Iterator[slice]:
    step = max(1, CHUNK // width)
    return (slice(first, first + step) for first in range(0, rows, step))
