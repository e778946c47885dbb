"""Sending a volume through a network in overlapping tiles, as nnU-Net does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from MedSegAICore.errors import Cancelled, ModelError

if TYPE_CHECKING:
    import torch

OVERLAP_STEP = 0.5  # tiles advance by half their size
GAUSSIAN_SIGMA = 1 / 8  # of the tile
GAUSSIAN_PEAK = 10.0
SLICES_AT_ONCE = 8  # 2D networks see that many slices in one batch
HALF_LIMIT = 65504 / 2  # largest number in half precision, with room for the rounding of sums


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
    """(*tile) float16 weights that trust a tile's center more than its border; nowhere zero."""
    point = np.zeros(tile)
    point[tuple(n // 2 for n in tile)] = 1
    weights = ndimage.gaussian_filter(point, [n * GAUSSIAN_SIGMA for n in tile], order=0, mode="constant", cval=0)
    weights *= GAUSSIAN_PEAK / weights.max()
    weights = weights.astype(np.float16)
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
    Raises ModelError if a network answers with what is not a number.
    """
    import torch

    tile = tuple(int(n) for n in tile)
    padded, inner = _pad(array, tile if len(tile) == 3 else (1, *tile))
    places = _places(padded.shape[1:], tile)
    total, count = None, len(places) * len(networks)
    for number, network in enumerate(networks):

        def report(done: int, number: int = number):
            if cancelled and cancelled():
                raise Cancelled
            if progress and done:
                place = number * len(places) + done
                progress(place / count, f"tile {place} of {count}")

        logits = _slide(network, padded, tile, places, outputs, device, mirror_axes, report)
        total = logits if total is None else total.to(torch.promote_types(total.dtype, logits.dtype)).add_(logits)
    return (total / len(networks))[(slice(None), *inner)].float()


def _places(shape: Sequence[int], tile: Sequence[int]) -> list[tuple[slice, ...]]:
    """The part of the volume (K, J, I) that each step sees; for a 2D tile a stack of slices."""
    starts = tile_starts(shape[-len(tile) :], tile)
    if len(tile) == 2:
        starts.insert(0, list(range(0, shape[0], SLICES_AT_ONCE)))
    extent = tile if len(tile) == 3 else (SLICES_AT_ONCE, *tile)
    return [tuple(slice(s, s + n) for s, n in zip(start, extent, strict=True)) for start in product(*starts)]


def _slide(network, padded, tile, places, outputs, device, mirror_axes, report) -> torch.Tensor:
    """Logits (outputs, K, J, I) of one network, in half precision as long as they fit.

    Half precision as in nnU-Net: half the memory, and the same rounding, so that the same model gives the same labels.
    Its relative error is 2^-11 per addition; only in a tile's far corners, where the weights are smallest, and where no
    other tile overlaps, are logits as coarse as whole numbers.
    """
    import torch

    weights = torch.from_numpy(gaussian_weights(tile)).to(device)
    total = torch.zeros((outputs, *padded.shape[1:]), device=device, dtype=torch.half)
    norm = torch.zeros(padded.shape[1:], device=device, dtype=torch.half)
    largest = 0.0
    report(0)
    for number, place in enumerate(places, start=1):
        part = (slice(None), *place)
        piece = padded[part].to(device)
        # Slices of a 2D network are the batch; a 3D tile is a batch of one.
        batch = piece.transpose(0, 1) if len(tile) == 2 else piece.unsqueeze(0)
        with torch.inference_mode(), torch.autocast(device.type, enabled=device.type == "cuda"):
            logits = _mirrored(network, batch, mirror_axes)
        largest = max(largest, _largest(logits))
        norm[place] += weights
        if total.dtype == torch.half and largest * float(norm[place].max()) > HALF_LIMIT:
            total, norm = total.float(), norm.float()
        total[part] += (logits.transpose(0, 1) if len(tile) == 2 else logits[0]) * weights
        report(number)
    return total.div_(norm)


def _largest(logits: torch.Tensor) -> float:
    """The largest amount of a tile's logits. Raises ModelError if one is not a number: it would become background."""
    largest = float(logits.abs().max())
    if not math.isfinite(largest):
        raise ModelError(
            f"The model's answer is not a number ({largest}): its weights are damaged, or too large for the precision "
            f"of {logits.device.type}. Copy the model again, or choose the device cpu."
        )
    return largest


def _mirrored(network: torch.nn.Module, batch: torch.Tensor, mirror_axes: Sequence[int]) -> torch.Tensor:
    """Float32 logits, averaged over all combinations of mirrored axes."""
    flips = [[axis + 2 for axis in axes] for n in range(len(mirror_axes) + 1) for axes in combinations(mirror_axes, n)]
    logits = network(batch).float()
    for axes in flips[1:]:
        logits += network(batch.flip(axes)).flip(axes).float()
    return logits / len(flips)


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
