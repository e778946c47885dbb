"""Closed outlines of a mask along the edges of its pixels, so that they hold exactly the pixels of the mask."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

# Directions of a step from corner to corner, clockwise on the screen: right, down, left, up.
_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """One closed polygon for each piece of a 2-D mask (J, I): corners (N, 2) as J, I, the first not repeated.

    A corner at (0, 0) is the outer corner of the first pixel, whose center lies at (0.5, 0.5). Pixels are of one piece
    if they share an edge. The outer edge runs clockwise (on a screen, J down). A hole is joined to its piece by a
    channel of no width, there and back ("keyhole", PS3.3 C.8.8.6.3), which no test of points against polygons notices.
    """
    from scipy.ndimage import find_objects, label

    pieces, count = label(mask)
    result = []
    for number, box in enumerate(find_objects(pieces, count), start=1):
        start = np.array([part.start for part in box])
        result.append(np.array(_without_straight(_joined(list(_loops(pieces[box] == number))))) + start)
    return result


def _loops(piece: np.ndarray) -> Iterator[list[tuple[int, int]]]:
    """Every edge loop of one piece, corner by corner; the piece lies on the right hand, holes run the other way."""
    padded = np.pad(piece, 1)
    inside = padded[1:-1, 1:-1]
    borders = (
        (inside & ~padded[:-2, 1:-1], (0, 0)),  # upper edge, to the right
        (inside & ~padded[1:-1, 2:], (0, 1)),  # right edge, down
        (inside & ~padded[2:, 1:-1], (1, 1)),  # lower edge, to the left
        (inside & ~padded[1:-1, :-2], (1, 0)),  # left edge, up
    )
    leaving: dict[tuple[int, int], list[int]] = defaultdict(list)  # directions of the edges that begin at a corner
    for direction, (border, corner) in enumerate(borders):
        for j, i in zip(*(axis.tolist() for axis in np.nonzero(border)), strict=True):
            leaving[j + corner[0], i + corner[1]].append(direction)
    for start in list(leaving):
        while leaving[start]:
            yield _walk(leaving, start)


def _walk(leaving: dict[tuple[int, int], list[int]], start: tuple[int, int]) -> list[tuple[int, int]]:
    """One loop from a corner back to it; its edges are taken out of ``leaving``."""
    first = direction = leaving[start].pop()
    corner, loop = start, []
    while True:
        loop.append(corner)
        corner = (corner[0] + _STEPS[direction][0], corner[1] + _STEPS[direction][1])
        choices = [*leaving[corner], *([first] if corner == start else [])]
        # Where two pixels touch at a corner only, a right turn stays with the same pixel.
        direction = min(choices, key=lambda choice: (direction + 1 - choice) % 4)
        if corner == start and direction == first:
            return loop
        leaving[corner].remove(direction)


def _joined(loops: list[list[tuple[int, int]]]) -> list[tuple[int, int]]:
    """The outer loop with all holes, each joined by a channel from its leftmost corner to the left."""
    outer, *holes = sorted(loops, key=lambda loop: min(i for _, i in loop))
    for hole in holes:  # from left to right, so what lies left of a hole is joined already
        begin = min(range(len(hole)), key=lambda n: (hole[n][1], hole[n][0]))
        j, i = hole[begin]
        meet = max(
            (n for n, corner in enumerate(outer) if corner[0] == j and corner[1] <= i), key=lambda n: outer[n][1]
        )
        outer = [*outer[: meet + 1], *hole[begin:], *hole[: begin + 1], *outer[meet:]]
    return outer


def _without_straight(loop: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Without corners at which the outline goes straight on; one where it turns back is kept."""
    corners = np.array(loop)
    steps = np.sign(np.roll(corners, -1, axis=0) - corners)
    return corners[(steps != np.roll(steps, 1, axis=0)).any(1)].tolist()
