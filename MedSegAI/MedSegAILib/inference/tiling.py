"""Sending a volume through a network in overlapping tiles, as nnU-Net does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from MedSegAICore.errors import Cancelled

if TYPE_CHECKING:
    import torch

OVERLAP_STEP = 0.5  # tiles advance by half their size
GAUSSIAN_SIGMA = 1 / 8  # of the tile
GAUSSIAN_PEAK = 10.0
SLICES_AT_ONCE = 8  # 2D networks see that many slices in one batch


def tile_starts(extent: Sequence[int], tile: Sequence[int], step: float = OVERLAP_STEP) -> list[list[int]]:
    """First voxels of the tiles along each axis: evenly spaced, at most ``step`` tiles apart, the whole covered."""
    starts = []
    for size, width in zip(extent, tile, strict=True):
        count = int(np.ceil((size - width) / (width * step))) + 1
        distance = (size - width) / max(count - 1, 1)
        starts.append([int(np.round(distance * number)) for number in range(count)])
    return starts


@lru_cache(maxsize=4)
def gaussian_weights(tile: tuple[int, ...]) -> np.ndarray:
    """(*tile) float32 weights that trust a tile's center more than its border; nowhere zero."""
    point = np.zeros(tile)
    point[tuple(n // 2 for n in tile)] = 1
    weights = ndimage.gaussian_filter(point, [n * GAUSSIAN_SIGMA for n in tile], order=0, mode="constant", cval=0)
    weights *= GAUSSIAN_PEAK / weights.max()
    weights = weights.astype(np.float32)
    weights[weights == 0] = weights[weights > 0].min()
    return weights


def predict_logits(
    networks: Sequence[torch.nn.Module],
    array: torch.Tensor,
    tile: Sequence[int],
    *,
    outputs: int,
    device: torch.device,
    mirror_axes: Sequence[int] = (),
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> torch.Tensor:
    """Mean logits (outputs, K, J, I) float32 of all networks over a prepared volume (channels, K, J, I).

    ``tile``: three extents, or two for a network that sees single slices (J, I).
    ``mirror_axes``: axes of the tile along which predictions of mirrored tiles are averaged too.
    ``progress(fraction, message)`` is called after every tile; if ``cancelled()`` is true, Cancelled is raised.
    """
    import torch

    flat = len(tile) == 2
    tile = tuple(int(n) for n in tile)
    padded, inner = _pad(array, (1, *tile) if flat else tile)
    starts = tile_starts(padded.shape[-len(tile) :], tile)
    if flat:
        starts.insert(0, list(range(0, padded.shape[1], SLICES_AT_ONCE)))
    weights = torch.from_numpy(gaussian_weights(tile)).to(device)
    total = torch.zeros((outputs, *padded.shape[1:]), device=device)
    norm = torch.zeros(padded.shape[1:], device=device)
    places = list(product(*starts))
    with torch.inference_mode(), torch.autocast(device.type, enabled=device.type == "cuda"):
        for number, (k, j, i) in enumerate(places):
            if cancelled and cancelled():
                raise Cancelled
            depth = SLICES_AT_ONCE if flat else tile[0]
            part = (slice(k, k + depth), slice(j, j + tile[-2]), slice(i, i + tile[-1]))
            piece = padded[(slice(None), *part)].to(device)
            # Slices of a 2D network are the batch; a 3D tile is a batch of one.
            batch = piece.transpose(0, 1) if flat else piece.unsqueeze(0)
            logits = _mean_logits(networks, batch, mirror_axes)
            total[(slice(None), *part)] += (logits.transpose(0, 1) if flat else logits[0]) * weights
            norm[part] += weights
            if progress:
                progress((number + 1) / len(places), f"tile {number + 1} of {len(places)}")
    total /= norm
    return total[(slice(None), *inner)]


def _pad(array: torch.Tensor, tile: Sequence[int]) -> tuple[torch.Tensor, tuple[slice, ...]]:
    """Pad with zeros, centered, to at least one tile; also where the volume lies in the result."""
    import torch

    missing = [max(0, width - size) for size, width in zip(array.shape[1:], tile, strict=True)]
    before = [n // 2 for n in missing]
    inner = tuple(slice(b, b + size) for b, size in zip(before, array.shape[1:], strict=True))
    if not any(missing):
        return array, inner
    sides = [side for b, n in reversed(list(zip(before, missing, strict=True))) for side in (b, n - b)]
    return torch.nn.functional.pad(array, sides), inner


def _mean_logits(networks: Sequence[torch.nn.Module], batch: torch.Tensor, mirror_axes: Sequence[int]) -> torch.Tensor:
    """Float32 logits averaged over networks and mirrored copies."""
    flips = [[axis + 2 for axis in axes] for n in range(len(mirror_axes) + 1) for axes in combinations(mirror_axes, n)]
    total = 0
    for network in networks:
        for axes in flips:
            total = total + network(batch.flip(axes)).flip(axes).float()
    return total / (len(networks) * len(flips))
