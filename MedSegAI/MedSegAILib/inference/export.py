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
BLOCK_ROWS, BLOCK_COLUMNS = 16, 64


@dataclass(frozen=True)
class Outputs:
    """What the channels of the logits mean.

    ``values``: label values; for labels the one of each channel (background first), for regions the one that each
    region writes, in the order of writing. ``regions``: whether channels are overlapping regions.
    ``overlapping``: regions are kept apart, each in a layer of its own, instead of written one over the other.
    ``probability_offset``: None if channels are logits. A number if they are probabilities minus this number, which is
    0 for labels, and for regions the probability above which a voxel belongs to one.
    """

    values: tuple[int, ...]
    regions: bool
    overlapping: bool = False
    probability_offset: float | None = None

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """Of an array that holds the values."""
        return np.uint8 if max(self.values) < 256 else np.uint16

    @property
    def segments(self) -> int:
        """How many there are; the background is none."""
        return len(self.values) - (not self.regions)

    def probabilities(self, channels: torch.Tensor) -> torch.Tensor:
        """Of the segments, (segments, K, J, I), from what the network's channels became on the volume's grid."""
        if self.probability_offset is not None:
            channels = channels + self.probability_offset
            return channels if self.regions else channels[1:]
        return channels.sigmoid() if self.regions else channels.softmax(0)[1:]


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
    somewhere in it. That changes no label: the largest of several logits is at least any mean of them, and linear
    interpolation keeps the order of two channels. So a class that nowhere exceeds the mean of those classes that win at
    some voxel of the network's grid wins nowhere between the voxels either.

    ``probabilities``, ``uncertainty``: keep these too; for the latter the rows have a last channel with it.
    """

    def __init__(self, placement: Placement, outputs: Outputs, probabilities: bool = False, uncertainty: bool = False):
        self._placement, self._outputs = placement, outputs
        self._axes = placement.axes
        self._prunes = all(axis.averages for axis in placement.axes)
        layers = (len(outputs.values),) if outputs.overlapping else ()
        self._labels = np.zeros((*layers, *placement.cropped), outputs.dtype)
        self._probabilities = np.zeros((outputs.segments, *placement.cropped), np.float32) if probabilities else None
        self._uncertainty = np.zeros(placement.cropped, np.float32) if uncertainty else None
        self._waiting: list[_Rows] = []
        self._done = 0  # native rows that are finished

    def add(self, first: int, sums: torch.Tensor, weights: torch.Tensor | None = None):
        """Take rows of the network's grid, beginning with row ``first``, in ascending order and without gaps.

        ``sums`` (outputs, rows, J, I): the logits, multiplied by ``weights`` (rows, J, I) if they are given. Neither is
        read after the return, unless another call may need it: that part is copied.
        """
        self._waiting.append(_Rows(first, sums, weights))
        rows, there = self._axes[0], first + sums.shape[1]
        ready = int(np.searchsorted(rows.high, there, side="right"))
        for start in range(self._done, ready, BLOCK_ROWS):
            self._export(start, min(start + BLOCK_ROWS, ready))
        self._done = ready
        needed = int(rows.low[ready]) if ready < rows.length else there
        last = self._waiting.pop()
        self._waiting = [kept for old in self._waiting if (kept := old.between(needed, there))]
        if kept := last.between(needed, there):
            self._waiting.append(kept.copy())

    def labels(self) -> np.ndarray:
        """Label values (K, J, I) of the volume, 0 outside the cropped region, once all rows were added.

        Of overlapping regions (regions, K, J, I).
        """
        return self._placement.restore(self._labels)

    def probabilities(self) -> np.ndarray | None:
        """Probabilities (segments, K, J, I) float32, 0 outside the cropped region; None if they were not asked for."""
        return self._placement.restore(self._probabilities) if self._probabilities is not None else None

    def uncertainty(self) -> np.ndarray | None:
        """Uncertainty (1, K, J, I) float32, 0 outside the cropped region; None if it was not asked for."""
        return self._placement.restore(self._uncertainty[None]) if self._uncertainty is not None else None

    def _export(self, start: int, stop: int):
        rows, columns, others = self._axes
        slab = [part for kept in self._waiting if (part := kept.between(*rows.inputs(start, stop)))]
        for j in range(0, columns.length, BLOCK_COLUMNS):
            j_stop = min(j + BLOCK_COLUMNS, columns.length)
            for i in range(0, others.length, BLOCK_COLUMNS):
                i_stop = min(i + BLOCK_COLUMNS, others.length)
                inputs = (slice(*columns.inputs(j, j_stop)), slice(*others.inputs(i, i_stop)))
                place = (slice(start, stop), slice(j, j_stop), slice(i, i_stop))
                self._export_block(_Rows.block(slab, inputs), place)

    def _export_block(self, block: _Rows, place: tuple[slice, slice, slice]):
        values = self._outputs.values
        if self._uncertainty is not None:
            unsure = self._interpolate(block.only([-1]), place)[0]
            self._uncertainty[place] = unsure.clamp(0, 1).cpu().numpy()  # sums in half precision are rounded
            block = block.only(slice(-1))
        if self._probabilities is None and self._prunes and not self._outputs.overlapping:
            possible = _positive(block.sums) if self._outputs.regions else _possible(block.sums)
            values = [values[channel] for channel in possible]
            if len(possible) == (not self._outputs.regions):  # one label, or no region
                self._labels[place] = values[0] if values else 0
                return
            block = block.only(possible)
        logits = self._interpolate(block, place)
        if self._outputs.overlapping:
            for layer, channel, value in zip(self._labels, logits, values, strict=True):
                layer[place] = paint_regions(channel[None], [value]).cpu().numpy()
        else:
            labels = (paint_regions if self._outputs.regions else largest)(logits, values)
            self._labels[place] = labels.cpu().numpy()
        if self._probabilities is not None:
            self._probabilities[(slice(None), *place)] = self._outputs.probabilities(logits).cpu().numpy()

    def _interpolate(self, block: _Rows, place: tuple[slice, slice, slice]) -> torch.Tensor:
        logits = block.logits()
        for axis in (2, 1, 0):
            logits = self._axes[axis].apply(logits, axis + 1, place[axis])
        return logits


@dataclass(frozen=True)
class _Rows:
    """Rows of the network's grid from row ``first`` on: sums of logits (outputs, rows, J, I) and their weights."""

    first: int
    sums: torch.Tensor
    weights: torch.Tensor | None

    def between(self, low: int, high: int) -> _Rows | None:
        """Those of the rows from ``low`` to before ``high`` that are here; a view."""
        low, high = max(low, self.first), min(high, self.first + self.sums.shape[1])
        if low >= high:
            return None
        part = slice(low - self.first, high - self.first)
        return _Rows(low, self.sums[:, part], None if self.weights is None else self.weights[part])

    def copy(self) -> _Rows:
        return _Rows(self.first, self.sums.clone(), None if self.weights is None else self.weights.clone())

    @classmethod
    def block(cls, parts: Sequence[_Rows], columns: tuple[slice, slice]) -> _Rows:
        """A block of rows that follow each other, in one piece of memory."""
        import torch

        sums = torch.cat([part.sums[(slice(None), slice(None), *columns)] for part in parts], dim=1)
        if parts[0].weights is None:
            return cls(parts[0].first, sums, None)
        return cls(parts[0].first, sums, torch.cat([part.weights[(slice(None), *columns)] for part in parts]))

    def only(self, channels: Sequence[int] | slice) -> _Rows:
        return _Rows(self.first, self.sums[channels], self.weights)

    def logits(self) -> torch.Tensor:
        logits = self.sums.float()
        return logits if self.weights is None else logits / self.weights


def _possible(block: torch.Tensor) -> list[int]:
    """The channels of (channels, K, J, I) that can be the largest somewhere in or between the voxels, ascending."""
    flat = block.flatten(1)
    # A difference has the right sign in any precision; a comparison would take five times as long.
    wins = (flat - flat.amax(0)).amax(1) == 0
    winners = wins.nonzero().flatten()
    if 1 < len(winners) < len(flat):
        mean = flat[winners].float().mean(0)
        bound = mean - mean.abs() * 2**-10 - 2**-24  # so that it is not above the mean after rounding to half precision
        wins |= (flat - bound.to(flat.dtype)).amax(1) > 0
        winners = wins.nonzero().flatten()
    return winners.tolist()


def _positive(block: torch.Tensor) -> list[int]:
    """The regions that are present somewhere: their logit is above 0."""
    return (block.flatten(1).amax(1) > 0).nonzero().flatten().tolist()


def largest(block: torch.Tensor, values: Sequence[int]) -> torch.Tensor:
    """The value of the largest channel; a running maximum is several times faster than argmax over channels."""
    import torch

    best = block[0].clone()
    labels = torch.full(best.shape, values[0], dtype=_dtype(values), device=block.device)
    for channel, value in zip(block[1:], values[1:], strict=True):
        labels.masked_fill_(channel > best, value)
        torch.maximum(best, channel, out=best)
    return labels


def paint_regions(block: torch.Tensor, values: Sequence[int]) -> torch.Tensor:
    """Regions (channels above 0) written one over the other; a probability above 0.5 is a logit above 0."""
    import torch

    labels = torch.zeros(block.shape[1:], dtype=_dtype(values), device=block.device)
    for channel, value in zip(block, values, strict=True):
        labels.masked_fill_(channel > 0, value)
    return labels


def _dtype(values: Sequence[int]) -> torch.dtype:
    import torch

    return torch.uint8 if max(values, default=0) < 256 else torch.int32
