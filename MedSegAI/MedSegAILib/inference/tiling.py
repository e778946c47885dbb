"""Sending a volume through a network in overlapping tiles, as nnU-Net does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from MedSegAICore.errors import Cancelled, ModelError
from MedSegAILib.inference.allocator import kept_memory
from MedSegAILib.inference.forward import answer

if TYPE_CHECKING:
    import torch

    from MedSegAILib.inference.uncertainty import Entropy

OVERLAP_STEP = 0.5  # tiles advance by half their size
GAUSSIAN_SIGMA = 1 / 8  # of the tile
GAUSSIAN_PEAK = 10.0
SLICES_AT_ONCE = 8  # 2D networks see that many slices in one batch
# Answers of a row after which freed memory is kept. The first ones also allocate what stays (a convolution's reordered
# weights, …); amid the freed memory that would break it into pieces too small for the next answer: 230 MB more for 25
# classes. What is kept breaks up slowly too, so it is given back now and then.
WARM_UP, KEPT_FOR = 2, 8
ADDED_AT_ONCE = 2**18  # logits: small enough to stay in the cache of a core between conversion and sum
HALF_LIMIT = 65504 / 2  # largest number in half precision, with room for the rounding of sums


@dataclass(frozen=True)
class Tiling:
    """How a model wants tiles to cover a volume. The defaults are nnU-Net's.

    ``overlap``: of neighboring tiles, a fraction of the tile; None leaves it to the quality. ``evenly``: tiles are
    spread evenly; else they advance by the same distance, and the last one ends where the volume ends (as MONAI does).
    ``blending``: ``gaussian`` (nnU-Net) and ``centered gaussian`` (MONAI) trust a tile's center most, ``constant`` all
    of it the same. ``padding``: what is around a volume smaller than a tile, a mode of torch's pad (``constant`` are
    zeros).
    """

    overlap: float | None = None
    evenly: bool = True
    blending: str = "gaussian"
    padding: str = "constant"

    def step(self, wanted: float) -> float:
        """How far tiles advance, in tiles, where a quality wants ``wanted``: only one that saves tiles is followed."""
        if self.overlap is None:
            return wanted
        return max(1 - self.overlap, wanted) if wanted > OVERLAP_STEP else 1 - self.overlap

    def starts(self, extent: Sequence[int], tile: Sequence[int], step: float) -> list[list[int]]:
        """First voxels of the tiles, which advance by ``step`` tiles, along each axis."""
        if self.evenly:
            return tile_starts(extent, tile, step)
        starts = []
        for size, width in zip(extent, tile, strict=True):
            last = size - width
            starts.append([*range(0, last, max(1, int(width * step))), last])
        return starts

    def weights(self, tile: tuple[int, ...]) -> np.ndarray:
        """(*tile) float16: how much each voxel of a tile counts."""
        if self.blending == "gaussian":
            return gaussian_weights(tile)
        return centered_gaussian_weights(tile) if self.blending == "centered gaussian" else np.ones(tile, np.float16)


NNUNET_TILING = Tiling()


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


def centered_gaussian_weights(tile: Sequence[int]) -> np.ndarray:
    """(*tile) float16 weights as MONAI has them: symmetric, 1 in the middle, and at least a thousandth."""
    weights = np.ones(tile)
    for axis, width in enumerate(tile):
        distances = np.arange(width) - (width - 1) / 2
        along = np.exp(-(distances**2) / (2 * (GAUSSIAN_SIGMA * width) ** 2))
        weights *= along.reshape([-1 if n == axis else 1 for n in range(len(tile))])
    return weights.clip(max(1e-3, weights.min())).astype(np.float16)


def predict_logits(
    networks: Sequence[torch.nn.Module], array: torch.Tensor, tile: Sequence[int], **options
) -> torch.Tensor:
    """Mean logits (outputs, K, J, I) float32 of all networks over a whole volume: ``stream_logits``, put together."""
    import torch

    finished = stream_logits(networks, array, tile, **options)
    return torch.cat([sums.float() / weights for _, sums, weights in finished], dim=1)


def stream_logits(
    networks: Sequence[torch.nn.Module],
    array: torch.Tensor,
    tile: Sequence[int],
    *,
    outputs: int,
    device: torch.device,
    step: float = OVERLAP_STEP,
    precision: str | None = None,
    mirror_axes: Sequence[int] = (),
    tiling: Tiling = NNUNET_TILING,
    entropy: Entropy | None = None,
    sums_device: torch.device | None = None,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Mean logits of all networks over a prepared volume (channels, K, J, I), as soon as no later tile changes them.

    ``tile``: three extents, or two for a network that sees single slices (J, I).
    ``step``: how far tiles advance, in tiles. ``precision``: float32, float16 or bfloat16, in which the network's
    convolutions are computed; None takes float16 on CUDA and float32 elsewhere.
    ``mirror_axes``: axes of the tile along which predictions of mirrored tiles are averaged too.
    ``tiling``: how tiles lie and count, and what surrounds a volume that is smaller than one.
    ``entropy``: adds one more channel, how uncertain the networks and their mirrored answers are together.
    ``sums_device``: where the tiles are added up, if not on the networks' device.
    ``progress(fraction, message)`` is called after every tile; if ``cancelled()`` is true, Cancelled is raised.
    Yields (first row along K, sums (outputs, rows, J, I), weights (rows, J, I) float32) on the device, row after row
    without gaps; the logits are the sums divided by the weights. Most are never needed as such: the largest of a voxel
    is the largest sum. Both are views that the next step overwrites. Only as many rows as a tile is deep are held at
    any time, never the logits of the whole volume.
    Raises ModelError if a network answers with what is not a number.
    """
    tile = tuple(int(n) for n in tile)
    padded, inner = _pad(array, tile if len(tile) == 3 else (1, *tile), tiling.padding)
    starts = tiling.starts(padded.shape[-len(tile) :], tile, step)
    if len(tile) == 2:
        starts.insert(0, list(range(0, padded.shape[1], SLICES_AT_ONCE)))
    extent = tile if len(tile) == 3 else (SLICES_AT_ONCE, *tile)
    channels, weights = outputs + (entropy is not None), tiling.weights(tile)
    sums = _RollingSum(channels, padded.shape[1:], extent[0], weights, len(networks), sums_device or device)
    done, count = 0, len(networks) * math.prod(map(len, starts))
    for row in starts[0]:
        yield from _inside(sums.finish(row), inner)
        before = done
        with ExitStack() as kept:
            for start in product([row], *starts[1:]):
                stops = (min(s + n, size) for s, n, size in zip(start, extent, padded.shape[1:], strict=True))
                place = tuple(map(slice, start, stops))
                piece = padded[(slice(None), *place)].to(device)
                sums.weigh(place)
                for network in networks:
                    if cancelled and cancelled():
                        raise Cancelled
                    if (done - before) % KEPT_FOR == WARM_UP:
                        kept.close()
                        kept.enter_context(kept_memory())
                    logits = answer(network, piece, len(tile) == 2, mirror_axes, precision, entropy)
                    sums.add(place, logits.to(sums_device or device))
                    del logits  # so that it is not held beside the next
                    done += 1
                    if progress:
                        progress(done / count, f"tile {done} of {count}")
                if entropy is not None:
                    sums.add(place, entropy.take(len(tile) == 2).to(sums_device or device), times=len(networks))
    yield from _inside(sums.finish(padded.shape[1]), inner)


class _RollingSum:
    """Weighted sums of logits for the rows that tiles can still change; the window moves along the first axis.

    Half precision, as in nnU-Net: half the memory. A logit is rounded once, and a sum with every addition, each time by
    at most 2^-11 of its amount; only in a tile's far corners, where the weights are smallest, and where no other tile
    overlaps, are logits as coarse as whole numbers. Where half precision could overflow, float32 is used.
    """

    def __init__(self, outputs: int, shape: Sequence[int], depth: int, weights: np.ndarray, networks: int, device):
        import torch

        self._first, self._networks = 0, networks
        self._largest = self._most_weight = 0.0
        weights = torch.from_numpy(weights).to(device)
        self._weights = weights.expand(-1 if weights.ndim == 3 else depth, *weights.shape[-2:])
        window = (min(depth, shape[0]), *shape[1:])
        self._sum = torch.zeros((outputs, *window), device=device, dtype=torch.half)
        self._norm = torch.zeros(window, device=device)

    def weigh(self, place: Sequence[slice]):
        """Count the weights of a tile, before the networks' logits are added."""
        part = self._norm[self._part(place)]
        part += self._weights[: len(part)]
        self._most_weight = max(self._most_weight, float(part.max()))

    def add(self, place: Sequence[slice], logits: torch.Tensor, times: int = 0):
        """Add the logits (outputs, K, J, I) of one network for one tile.

        ``times``: 0 for logits; else they are one value that stands for so many networks, and go to the last channel.
        """
        import torch

        self._largest = max(self._largest, _largest(logits))
        if self._sum.element_size() == 2 and self._largest * self._most_weight * self._networks > HALF_LIMIT:
            self._sum = self._sum.float()
        part = self._sum[(slice(-1, None) if times else slice(len(logits)), *self._part(place))]
        weights = self._weights[: part.shape[1]].to(part.dtype)
        with torch.inference_mode():
            if part.device.type != "cpu":  # a few large steps keep a GPU busy
                part.addcmul_(logits.to(part.dtype), weights, value=times or 1)
                return
            # A mixed sum (half += float) is slower than conversion and sum together, a sum of what left the cache too.
            rows = max(1, ADDED_AT_ONCE // weights[0].numel())
            for target, channel in zip(part, logits, strict=True):
                for row in range(0, len(weights), rows):
                    piece = slice(row, row + rows)
                    target[piece].addcmul_(channel[piece].to(part.dtype), weights[piece], value=times or 1)

    def finish(self, row: int) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Yield the sums and weights of all rows before ``row``, and move the window there."""
        count = row - self._first
        if count:
            yield self._first, self._sum[:, :count], self._norm[:count] * self._networks
        self._first = row
        left = self._norm.shape[0] - count
        for n in range(left):  # row by row: source and target overlap, and a copy would double the memory
            self._sum[:, n] = self._sum[:, n + count]
            self._norm[n] = self._norm[n + count]
        self._sum[:, max(left, 0) :] = 0
        self._norm[max(left, 0) :] = 0

    def _part(self, place: Sequence[slice]) -> tuple[slice, ...]:
        rows = slice(place[0].start - self._first, place[0].stop - self._first)
        return (rows, *place[1:])


def _inside(
    finished: Iterator[tuple[int, torch.Tensor, torch.Tensor]], inner: tuple[slice, ...]
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Rows and their columns without the padding."""
    for first, sums, weights in finished:
        low, high = max(first, inner[0].start), min(first + len(weights), inner[0].stop)
        if low < high:
            part = (slice(low - first, high - first), *inner[1:])
            yield low - inner[0].start, sums[(slice(None), *part)], weights[part]


def _largest(logits: torch.Tensor) -> float:
    """The largest amount of a tile's logits. Raises ModelError if one is not a number: it would become background."""
    low, high = logits.aminmax()
    largest = max(-float(low), float(high))
    if not math.isfinite(largest):
        raise ModelError(
            f"The model's answer is not a number ({largest}): its weights are damaged, or too large for the precision "
            f"of {logits.device.type}. Copy the model again, or choose the device cpu."
        )
    return largest


def padded_shape(shape: Sequence[int], tile: Sequence[int]) -> tuple[int, ...]:
    """Extents (K, J, I) of a volume that was padded to at least one tile, of which a 2D network's is one slice deep."""
    tile = tile if len(tile) == 3 else (1, *tile)
    return tuple(max(size, width) for size, width in zip(shape, tile, strict=True))


def _pad(array: torch.Tensor, tile: Sequence[int], mode: str) -> tuple[torch.Tensor, tuple[slice, ...]]:
    """Pad, centered, to at least one tile; also where the volume lies in the result."""
    import torch

    missing = [max(0, width - size) for size, width in zip(array.shape[1:], tile, strict=True)]
    before = [n // 2 for n in missing]
    inner = tuple(slice(b, b + size) for b, size in zip(before, array.shape[1:], strict=True))
    if not any(missing):
        return array, inner
    sides = [side for b, n in reversed(list(zip(before, missing, strict=True))) for side in (b, n - b)]
    return torch.nn.functional.pad(array[None], sides, mode=mode)[0], inner
