"""How long a run will take and how much memory it needs: from the plan, and from one tile that is measured."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from MedSegAICore.text import format_duration
from MedSegAILib.inference.tiling import SLICES_AT_ONCE, answer, padded_shape, tile_starts

if TYPE_CHECKING:
    import torch

    from MedSegAILib.inference.quality import Settings

HALF, SINGLE = 2, 4  # bytes of a number
PATIENCE = 5.0  # seconds; a tile that took longer is not tried again
# What a U-Net on a CPU needs at once, in sizes of its largest hidden result: measured from 6.8 to 8.2 for plain,
# residual and 2D networks in float32 and bfloat16 (torch 2.13), libraries' workspaces included.
HIDDEN_RESULTS = 8


@dataclass(frozen=True)
class Estimate:
    """``passes``: how often networks are asked. ``seconds``: of that alone. ``memory``: bytes of main memory beside
    what the process and the loaded volume take. ``device_memory``: bytes on the graphics card, 0 without one.
    """

    passes: int
    seconds: float
    memory: int
    device_memory: int = 0

    def __add__(self, other: Estimate) -> Estimate:
        """Of two runs one after the other: times add up, and of the memories the larger one is needed."""
        return Estimate(
            self.passes + other.passes,
            self.seconds + other.seconds,
            max(self.memory, other.memory),
            max(self.device_memory, other.device_memory),
        )

    def __str__(self) -> str:
        on_card = f", {_gigabytes(self.device_memory)} on the graphics card" if self.device_memory else ""
        tiles = "1 tile" if self.passes == 1 else f"{self.passes} tiles"
        return f"{tiles}, about {format_duration(self.seconds)}, {_gigabytes(self.memory)} of memory{on_card}"


def estimate_part(
    networks: Sequence[torch.nn.Module],
    shape: Sequence[int],
    native_voxels: int,
    outputs: int,
    tile: Sequence[int],
    settings: Settings,
    device: torch.device,
) -> Estimate:
    """Of the networks of one configuration, of which the first one is tried with an empty tile.

    ``shape``: (channels, K, J, I) that the networks will see. ``native_voxels``: of the volume, per channel.
    """
    passes = len(networks) * tile_count(shape[1:], tile, settings.step)
    seconds, tile_memory = measure_tile(networks[0], shape[0], tile, settings, device)
    prepared, padded = math.prod(shape), math.prod(padded_shape(shape[1:], tile))
    # The normalized volume, the prepared one and, where tiles stick out, a padded copy; the labels.
    memory = SINGLE * (shape[0] * native_voxels + prepared + shape[0] * padded * (padded > math.prod(shape[1:])))
    memory += native_voxels
    sums = HALF * (outputs + 1) * padded // padded_shape(shape[1:], tile)[0] * _depth(shape[1:], tile)
    if device.type == "cpu":
        return Estimate(passes, passes * seconds, memory + sums + tile_memory)
    return Estimate(passes, passes * seconds, memory, sums + tile_memory)


def tile_count(shape: Sequence[int], tile: Sequence[int], step: float) -> int:
    """How many tiles a prepared volume (K, J, I) is sent in; a 2D network's tile is a stack of slices."""
    size = padded_shape(shape, tile)
    count = math.prod(map(len, tile_starts(size[-len(tile) :], tile, step)))
    return count if len(tile) == 3 else count * -(-size[0] // SLICES_AT_ONCE)


def measure_tile(
    network: torch.nn.Module, channels: int, tile: Sequence[int], settings: Settings, device: torch.device
) -> tuple[float, int]:
    """Seconds of one tile with all its mirrored copies, and the bytes that it needs on the device."""
    import torch

    piece = torch.zeros(channels, *(tile if len(tile) == 3 else (SLICES_AT_ONCE, *tile)), device=device)

    def run() -> torch.Tensor:
        return answer(network, piece, len(tile) == 2, settings.mirror_axes, settings.precision, None)

    if device.type != "cuda":
        with _HiddenSizes(network) as sizes:
            seconds, logits = _timed(run)
        if seconds < PATIENCE:  # the first one also prepares, which can take longer than the tile
            seconds, _ = _timed(run)
        return seconds, HIDDEN_RESULTS * sizes.largest + 2 * SINGLE * logits.numel()
    run()  # the first one prepares
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before, started = torch.cuda.memory_allocated(device), time.perf_counter()
    run()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started, torch.cuda.max_memory_allocated(device) - before


def _timed(function: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    started = time.perf_counter()
    answered = function()
    return time.perf_counter() - started, answered


class _HiddenSizes:
    """The bytes of the largest result of a network's layers while this ``with`` block runs, but for the last one's."""

    def __init__(self, network: torch.nn.Module):
        self._layers = [module for module in network.modules() if not any(True for _ in module.children())]
        self._sizes: list[int] = []

    def __enter__(self) -> _HiddenSizes:
        self._handles = [layer.register_forward_hook(self._note) for layer in self._layers]
        return self

    def __exit__(self, *_):
        for handle in self._handles:
            handle.remove()

    @property
    def largest(self) -> int:
        return max(self._sizes[:-1], default=0)

    def _note(self, _layer, _inputs, output):
        if hasattr(output, "numel"):
            self._sizes.append(output.numel() * output.element_size())


def _depth(shape: Sequence[int], tile: Sequence[int]) -> int:
    """Rows whose sums are held at once."""
    return min(tile[0] if len(tile) == 3 else SLICES_AT_ONCE, padded_shape(shape, tile)[0])


def _gigabytes(number: int) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 / 10 else f"{max(1, round(number / 2**20))} MiB"
