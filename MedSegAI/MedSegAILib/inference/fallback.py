"""What is tried, one after the other, when memory runs out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SMALLEST_EXTENT = 32  # voxels; a network that sees less than this along an axis does not know where it is
# How torch, which has an exception of its own for CUDA only, says that memory ran out.
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


@dataclass(frozen=True)
class Attempt:
    """Where networks run and tiles are added up, and how large tiles are. ``change``: what is new, for people."""

    device: torch.device
    sums_device: torch.device
    tile: tuple[int, ...]
    change: str = ""


def attempts(device: torch.device, tile: Sequence[int], multiple: Sequence[int] | None) -> Iterator[Attempt]:
    """From what needs most memory to what needs least.

    ``multiple``: what the extents of a tile must be multiples of; None if the model takes tiles of one size only.
    """
    import torch

    cpu, whole = torch.device("cpu"), tuple(tile)
    yield Attempt(device, device, whole)
    if device.type != "cpu":
        yield Attempt(device, cpu, whole, "tiles are added up in main memory")
    smaller = whole
    while multiple is not None and (halved := _halved(smaller, multiple)):
        smaller = halved
        yield Attempt(
            device, cpu, smaller, f"tiles of {' x '.join(map(str, smaller))} voxels, which changes the result"
        )
    if device.type != "cpu":
        yield Attempt(cpu, cpu, whole, "it runs on the CPU, which is slow")


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there is not enough memory."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(phrase in text for phrase in OUT_OF_MEMORY)
    )


def _halved(tile: Sequence[int], multiple: Sequence[int]) -> tuple[int, ...] | None:
    """The tile with its longest axis halved, or None if that would be too short."""
    axis = max(range(len(tile)), key=lambda n: tile[n])
    extent = tile[axis] // 2 // multiple[axis] * multiple[axis]
    return (*tile[:axis], extent, *tile[axis + 1 :]) if extent >= SMALLEST_EXTENT else None
