"""From logits on the network's grid to labels or probabilities on the volume's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from MedSegAILib.inference.preprocessing import Placement
from MedSegAILib.inference.resampling import resize_matrix, separate_axis
from MedSegAILib.models.plans import KEEP, Resampling

if TYPE_CHECKING:
    import torch

BLOCK_BYTES = 256 * 2**20  # logits on the native grid exist for one block of slices at a time


@dataclass(frozen=True)
class Outputs:
    """What the channels of the logits mean.

    ``values``: label values; for labels the one of each channel (background first), for regions the one that each
    region writes, in the order of writing. ``regions``: whether channels are overlapping regions.
    """

    values: tuple[int, ...]
    regions: bool


def to_labels(logits: torch.Tensor, placement: Placement, resampling: Resampling, outputs: Outputs) -> np.ndarray:
    """Label values (K, J, I) of the volume, uint8 (uint16 if a value needs it); 0 outside the cropped region."""
    cropped = np.empty(placement.cropped, np.uint8 if max(outputs.values) < 256 else np.uint16)
    for rows, block in _native_blocks(logits, placement, resampling):
        cropped[rows] = (_paint_regions if outputs.regions else _largest)(block, outputs.values).cpu().numpy()
    return placement.restore(cropped)


def to_probabilities(
    logits: torch.Tensor, placement: Placement, resampling: Resampling, outputs: Outputs
) -> np.ndarray:
    """Probabilities float32 (segments, K, J, I): softmax without background, or sigmoid per region."""
    count = logits.shape[0] - (not outputs.regions)
    cropped = np.empty((count, *placement.cropped), np.float32)
    for rows, block in _native_blocks(logits, placement, resampling):
        probabilities = block.sigmoid() if outputs.regions else block.softmax(0)[1:]
        cropped[:, rows] = probabilities.cpu().numpy()
    return placement.restore(cropped)


def _native_blocks(logits: torch.Tensor, placement: Placement, resampling: Resampling):
    """Yield (slice of rows, logits (C, rows, J, I)) on the cropped native grid, block by block along the first axis.

    Interpolation is linear (or the plan's order) along each axis, so a block needs its own rows of one matrix only.
    """
    shape = placement.cropped
    rows_at_once = max(1, BLOCK_BYTES // (4 * logits.shape[0] * shape[1] * shape[2]))
    matrices = [_matrix(axis, placement, resampling, logits) if resampling.kind != KEEP else None for axis in range(3)]
    for start in range(0, shape[0], rows_at_once):
        rows = slice(start, min(start + rows_at_once, shape[0]))
        if matrices[0] is None:
            block = logits[:, rows]
        else:
            flat = logits.reshape(*logits.shape[:2], -1)
            block = (matrices[0][rows] @ flat).reshape(logits.shape[0], -1, *logits.shape[2:])
        if matrices[1] is not None:
            block = matrices[1] @ block
        if matrices[2] is not None:
            block = block @ matrices[2].T
        yield rows, block


def _matrix(axis: int, placement: Placement, resampling: Resampling, like: torch.Tensor) -> torch.Tensor | None:
    import torch

    old, new = placement.prepared[axis], placement.cropped[axis]
    if old == new:
        return None
    apart = separate_axis(placement.new_spacing, placement.spacing, resampling.force_separate_z)
    order = resampling.order_z if axis == apart else resampling.order
    return torch.from_numpy(resize_matrix(old, new, order)).to(like.device, like.dtype)


def _largest(block: torch.Tensor, values: Sequence[int]) -> torch.Tensor:
    """The value of the largest channel; a running maximum is several times faster than argmax over channels."""
    import torch

    best = block[0].clone()
    labels = torch.full(best.shape, values[0], dtype=torch.int32, device=block.device)
    for channel, value in zip(block[1:], values[1:], strict=True):
        labels.masked_fill_(channel > best, value)
        torch.maximum(best, channel, out=best)
    return labels


def _paint_regions(block: torch.Tensor, values: Sequence[int]) -> torch.Tensor:
    """Regions written one over the other; a probability above 0.5 is a logit above 0."""
    import torch

    labels = torch.zeros(block.shape[1:], dtype=torch.int32, device=block.device)
    for channel, value in zip(block, values, strict=True):
        labels.masked_fill_(channel > 0, value)
    return labels
