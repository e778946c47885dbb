"""Asking a network about one tile."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from MedSegAILib.inference.uncertainty import Entropy


def answer(
    network: torch.nn.Module,
    piece: torch.Tensor,
    slices: bool,
    mirror_axes: Sequence[int],
    precision: str | None = None,
    entropy: Entropy | None = None,
) -> torch.Tensor:
    """Logits (outputs, K, J, I) float32 of one network for one tile (channels, K, J, I).

    ``slices``: the network is 2D and sees each slice of the tile. For the others see ``stream_logits``.
    """
    import torch

    # Slices of a 2D network are the batch; a 3D tile is a batch of one.
    batch = piece.transpose(0, 1) if slices else piece.unsqueeze(0)
    kind = piece.device.type
    precision = precision or ("float16" if kind == "cuda" else "float32")
    with torch.inference_mode(), _computing_in(precision, kind):
        logits = _mirrored(network, batch, mirror_axes, entropy)
    return logits.transpose(0, 1) if slices else logits[0]


def _computing_in(precision: str, device_type: str):
    import torch

    if precision == "float32":
        return nullcontext()
    return torch.autocast(device_type, dtype=getattr(torch, precision))


def _mirrored(
    network: torch.nn.Module, batch: torch.Tensor, mirror_axes: Sequence[int], entropy: Entropy | None
) -> torch.Tensor:
    """Float32 logits, averaged over all combinations of mirrored axes."""
    flips = [[axis + 2 for axis in axes] for n in range(len(mirror_axes) + 1) for axes in combinations(mirror_axes, n)]
    logits = None
    for axes in flips:
        answer = network(batch.flip(axes)).flip(axes).float() if axes else network(batch).float()
        if entropy is not None:
            entropy.add(answer)
        logits = answer if logits is None else logits.add_(answer)
    return logits.div_(len(flips)) if len(flips) > 1 else logits
