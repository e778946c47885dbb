"""From logits on the network's grid to labels or probabilities on the volume's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from MedSegAILib.inference.preprocessing import Placement

if TYPE_CHECKING:
    import torch

# Native voxels of a block: small enough that few classes can win in it, large enough for fast matrix products.
BLOCK_ROWS, BLOCK_COLUMNS = 24, 96


@dataclass(frozen=True)
class Outputs:
    """What the channels of the logits mean.

    ``values``: label values; for labels the one of each channel (background first), for regions the one that each
    region writes, in the order of writing. ``regions``: whether channels are overlapping regions.
    """

    values: tuple[int, ...]
    regions: bool


def to_labels(logits: torch.Tensor, placement: Placement, outputs: Outputs) -> np.ndarray:
    """Label values (K, J, I) of the volume, uint8 (uint16 if a value needs it); 0 outside the cropped region."""
    export = Export(placement, outputs)
    export.add(0, logits)
    return export.labels()


def to_probabilities(logits: torch.Tensor, placement: Placement, outputs: Outputs) -> np.ndarray:
    """Probabilities float32 (segments, K, J, I): softmax without background, or sigmoid per region."""
    export = Export(placement, outputs, probabilities=True)
    export.add(0, logits)
    return export.probabilities()


class Export:
    """Turns rows of logits into labels on the volume's grid as soon as they are there, and forgets them.

    Logits on the native grid exist for one small block at a time, and of the classes only for those that can win
    somewhere in it: linear interpolation stays between the extremes of what it interpolates, so a class whose maximum
    is below another one's minimum cannot. Both change no label.

    ``probabilities``, ``uncertainty``: keep these too; for the latter the rows have a last channel with it.
    """

    def __init__(self, placement: Placement, outputs: Outputs, probabilities: bool = False, uncertainty: bool = False):
        self._placement, self._outputs = placement, outputs
        self._axes = placement.axes
        self._prunes = all(axis.averages for axis in placement.axes)
        self._labels = np.zeros(placement.cropped, np.uint8 if max(outputs.values) < 256 else np.uint16)
        count = len(outputs.values) - (not outputs.regions)
        self._probabilities = np.zeros((count, *placement.cropped), np.float32) if probabilities else None
        self._uncertainty = np.zeros(placement.cropped, np.float32) if uncertainty else None
        self._waiting: torch.Tensor | None = None
        self._first = self._done = 0  # of the waiting rows; native rows that are finished

    def add(self, first: int, logits: torch.Tensor):
        """Take rows (outputs, rows, J, I) of the network's grid, beginning with row ``first``, in ascending order."""
        import torch

        if self._waiting is None:
            self._waiting, self._first = logits, first
        else:
            self._waiting = torch.cat([self._waiting, logits], dim=1)
        rows = self._axes[0]
        there = self._first + self._waiting.shape[1]
        ready = int(np.searchsorted(rows.high, there, side="right"))
        for start in range(self._done, ready, BLOCK_ROWS):
            self._export(start, min(start + BLOCK_ROWS, ready))
        self._done = ready
        needed = min(there, int(rows.low[ready])) if ready < rows.length else there
        self._waiting = self._waiting[:, needed - self._first :].clone()
        self._first = needed

    def labels(self) -> np.ndarray:
        """Label values (K, J, I) of the volume, 0 outside the cropped region, once all rows were added."""
        return self._placement.restore(self._labels)

    def probabilities(self) -> np.ndarray | None:
        """Probabilities (segments, K, J, I) float32, 0 outside the cropped region; None if they were not asked for."""
        return self._placement.restore(self._probabilities) if self._probabilities is not None else None

    def uncertainty(self) -> np.ndarray | None:
        """Uncertainty (1, K, J, I) float32, 0 outside the cropped region; None if it was not asked for."""
        return self._placement.restore(self._uncertainty[None]) if self._uncertainty is not None else None

    def _export(self, start: int, stop: int):
        rows, columns, others = self._axes
        low, high = rows.inputs(start, stop)
        part = self._waiting[:, low - self._first : high - self._first]
        for j in range(0, columns.length, BLOCK_COLUMNS):
            j_stop = min(j + BLOCK_COLUMNS, columns.length)
            for i in range(0, others.length, BLOCK_COLUMNS):
                i_stop = min(i + BLOCK_COLUMNS, others.length)
                block = part[:, :, slice(*columns.inputs(j, j_stop)), slice(*others.inputs(i, i_stop))]
                self._export_block(block, (slice(start, stop), slice(j, j_stop), slice(i, i_stop)))

    def _export_block(self, block: torch.Tensor, place: tuple[slice, slice, slice]):
        values = self._outputs.values
        if self._uncertainty is not None:
            self._uncertainty[place] = self._interpolate(block[-1:], place)[0].cpu().numpy()
            block = block[:-1]
        if self._probabilities is None and self._prunes:
            possible = self._possible(block)
            values = [values[channel] for channel in possible]
            if len(possible) == (not self._outputs.regions):  # one label, or no region
                self._labels[place] = values[0] if values else 0
                return
            block = block[possible]
        block = self._interpolate(block, place)
        labels = (_paint_regions if self._outputs.regions else _largest)(block, values)
        self._labels[place] = labels.cpu().numpy()
        if self._probabilities is not None:
            probabilities = block.sigmoid() if self._outputs.regions else block.softmax(0)[1:]
            self._probabilities[(slice(None), *place)] = probabilities.cpu().numpy()

    def _interpolate(self, block: torch.Tensor, place: tuple[slice, slice, slice]) -> torch.Tensor:
        block = block.float()
        for axis in (2, 1, 0):
            block = self._axes[axis].apply(block, axis + 1, place[axis])
        return block

    def _possible(self, block: torch.Tensor) -> list[int]:
        """The channels that can matter somewhere in the block, ascending."""
        flat = block.flatten(1)
        highest = flat.amax(1)
        matter = highest > 0 if self._outputs.regions else highest >= flat.amin(1).max()
        return matter.nonzero().flatten().tolist()


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
