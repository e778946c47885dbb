"""The mean of several models' probabilities on the volume's grid, in blocks; then its labels.

nnU-Net averages softmax or sigmoid probabilities of configurations (while folds of one configuration are averaged as
logits). It writes them to disk, every class of the whole native grid in float32. Here every member's logits stay on its
own grid in half precision, and on the native grid only one block exists at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from MedSegAICore.errors import Cancelled
from MedSegAILib.inference.export import Outputs, largest, paint_regions
from MedSegAILib.inference.preprocessing import Placement
from MedSegAILib.inference.tiling import HALF_LIMIT
from MedSegAILib.inference.uncertainty import entropy

if TYPE_CHECKING:
    import torch

BLOCK = (16, 32, 32)  # native voxels (K, J, I): few enough that the members are certain of most blocks
# A logit that is so much smaller than another one's adds at most e^-16 = 1.1e-7 to a sum of probabilities: about the
# least that float32 can tell from 1, and a thousandth of what half precision does to a logit of 1.
NEGLIGIBLE = 16.0


class Kept:
    """All logits of one member on the grid of its network, in half precision in main memory."""

    def __init__(self, placement: Placement, outputs: Outputs):
        import torch

        self.placement = placement
        self._axes, self._regions = placement.axes, outputs.regions
        self._prunes = all(axis.averages for axis in placement.axes)
        self._logits = torch.zeros((len(outputs.values), *placement.prepared), dtype=torch.half)

    def add(self, first: int, sums: torch.Tensor, weights: torch.Tensor | None = None):
        """Take rows (outputs, rows, J, I) from row ``first`` on; divided by ``weights`` (rows, J, I), where given."""
        for row in range(sums.shape[1]):  # in float32, many at once would take more memory than they do here
            logits = sums[:, row].float()
            logits = (logits if weights is None else logits / weights[row]).cpu()
            if self._logits.element_size() == 2 and float(logits.abs().max()) > HALF_LIMIT:
                self._logits = self._logits.float()
            self._logits[:, first + row] = logits

    @property
    def box(self) -> tuple[slice, ...]:
        """Where the cropped volume lies in the whole one, in the volume's own axes (K, J, I)."""
        return tuple(self.placement.crop[axis] for axis in self.placement.transpose_backward)

    def block(self, place: Sequence[slice], device: torch.device) -> tuple[list[int], torch.Tensor]:
        """Probabilities (channels, K, J, I) of a block of the volume, and which channels they are.

        Channels whose probability is negligible everywhere in the block are left out. Outside the cropped volume all is
        background, or no region.
        """
        import torch

        inside = [slice(max(p.start, b.start), min(p.stop, b.stop)) for p, b in zip(place, self.box, strict=True)]
        channels, part = [], None
        if all(p.start < p.stop for p in inside):
            channels, part = self._inside(inside, device)
            if inside == list(place):
                return channels, part
        outside = [] if self._regions else [0]
        whole = torch.zeros((len({*outside, *channels}), *(p.stop - p.start for p in place)), device=device)
        whole[: len(outside)] = 1
        target = [slice(p.start - q.start, p.stop - q.start) for p, q in zip(inside, place, strict=True)]
        if part is not None:
            whole[(slice(0, len(outside)), *target)] = 0
            whole[(slice(len(whole) - len(channels), None), *target)] = part
        return sorted({*outside, *channels}), whole

    def certain(self, place: Sequence[slice]) -> list[int] | None:
        """The channel that is the largest in all of a block, or the regions that are all of it; None if unsure.

        Linear interpolation keeps the order of two channels, so a look at the network's voxels is enough.
        """
        if not self._prunes or any(p.start < b.start or p.stop > b.stop for p, b in zip(place, self.box, strict=True)):
            return None
        flat = self._inputs(self._own(place)).flatten(1)
        if self._regions:
            positive = flat > 0
            some, every = positive.any(1), positive.all(1)
            return every.nonzero().flatten().tolist() if bool((some == every).all()) else None
        first = int(flat[:, 0].argmax())
        return [first] if bool((flat[first] >= flat.amax(0)).all()) else None

    def _own(self, place: Sequence[slice]) -> list[slice]:
        """A block of the volume in the prepared volume's axes, from its crop on."""
        forward, start = self.placement.transpose_forward, self.placement.start
        return [slice(place[axis].start - a, place[axis].stop - a) for axis, a in zip(forward, start, strict=True)]

    def _inputs(self, own: Sequence[slice]) -> torch.Tensor:
        """The logits of which a block is made."""
        inputs = (slice(*axis.inputs(p.start, p.stop)) for axis, p in zip(self._axes, own, strict=True))
        return self._logits[(slice(None), *inputs)]

    def _inside(self, place: Sequence[slice], device: torch.device) -> tuple[list[int], torch.Tensor]:
        """As ``block``, of a part of the volume that is within the cropped one."""
        import torch

        own = self._own(place)
        logits = self._inputs(own)
        channels = self._channels(logits) if self._prunes else list(range(len(logits)))
        if len(channels) <= (not self._regions):  # one class for sure, or no region
            return channels, torch.ones((len(channels), *(p.stop - p.start for p in place)), device=device)
        logits = logits[channels].to(device).float()
        for axis in (2, 1, 0):
            logits = self._axes[axis].apply(logits, axis + 1, own[axis])
        probabilities = logits.sigmoid() if self._regions else logits.softmax(0)
        return channels, probabilities.permute(0, *(axis + 1 for axis in self.placement.transpose_backward))

    def _channels(self, logits: torch.Tensor) -> list[int]:
        flat = logits.flatten(1).float()
        least = 0.0 if self._regions else float(flat.amin(1).max())
        return (flat.amax(1) > least - NEGLIGIBLE).nonzero().flatten().tolist()


class Mean:
    """Labels and probabilities of an ensemble; ``members`` saw the same volume, each in its own spacing and axes.

    The uncertainty is the entropy of the probabilities whose largest decides: how much the members disagree or are
    unsure, but not how much the folds and mirrored answers within a member do.
    """

    def __init__(
        self,
        members: Sequence[Kept],
        outputs: Outputs,
        device: torch.device,
        probabilities: bool = False,
        uncertainty: bool = False,
        cancelled: Callable[[], bool] | None = None,
    ):
        self._members, self._outputs, self._device = members, outputs, device
        place = members[0].placement
        shape = tuple(place.shape[axis] for axis in place.transpose_backward)
        self._labels = np.zeros(shape, outputs.dtype)
        self._probabilities = np.zeros((outputs.segments, *shape), np.float32) if probabilities else None
        self._uncertainty = np.zeros(shape, np.float32) if uncertainty else None
        self._compute(cancelled)

    def labels(self) -> np.ndarray:
        """Label values (K, J, I) of the volume, 0 where no member looked."""
        return self._labels

    def probabilities(self) -> np.ndarray | None:
        """Probabilities (segments, K, J, I) float32, 0 where no member looked; None if they were not asked for."""
        return self._probabilities

    def uncertainty(self) -> np.ndarray | None:
        """Uncertainty (1, K, J, I) float32, 0 where no member looked; None if it was not asked for."""
        return self._uncertainty[None] if self._uncertainty is not None else None

    def _compute(self, cancelled: Callable[[], bool] | None):
        boxes = list(zip(*(member.box for member in self._members), strict=True))
        first, last = (min(p.start for p in parts) for parts in boxes), [max(p.stop for p in parts) for parts in boxes]
        for corner in product(*(range(a, b, n) for a, b, n in zip(first, last, BLOCK, strict=True))):
            if cancelled and cancelled():
                raise Cancelled
            stops = (min(a + n, end) for a, n, end in zip(corner, BLOCK, last, strict=True))
            self._compute_block(tuple(map(slice, corner, stops)))

    def _compute_block(self, place: tuple[slice, ...]):
        if self._probabilities is None and self._uncertainty is None:
            answers = [member.certain(place) for member in self._members]
            if answers[0] is not None and all(answer == answers[0] for answer in answers):
                # What is the largest, or above one half, for every member is so for their mean.
                self._labels[place] = self._outputs.values[answers[0][-1]] if answers[0] else 0
                return
        blocks = [member.block(place, self._device) for member in self._members]
        channels = sorted({channel for own, _ in blocks for channel in own})
        mean = blocks[0][1].new_zeros((len(channels), *blocks[0][1].shape[1:]))
        for own, probabilities in blocks:
            for channel, values in zip(own, probabilities, strict=True):
                mean[channels.index(channel)] += values
        mean /= len(blocks)
        values = [self._outputs.values[channel] for channel in channels]
        labels = paint_regions(mean - 0.5, values) if self._outputs.regions else largest(mean, values)
        self._labels[place] = labels.cpu().numpy()
        if self._uncertainty is not None:
            value = entropy(mean[None], self._outputs.regions, len(self._outputs.values))
            self._uncertainty[place] = value[0, 0].cpu().numpy()
        if self._probabilities is not None:
            for channel, probability in zip(channels, mean.cpu().numpy(), strict=True):
                segment = channel - (not self._outputs.regions)
                if segment >= 0:
                    self._probabilities[(segment, *place)] = probability
