"""Where a model is unsure: what tells an annotator where to look."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Entropy:
    """How uncertain several answers for one tile are together: the entropy of their mean probabilities, 0 to 1.

    The predictive entropy of an ensemble (Lakshminarayanan et al., NeurIPS 2017; its use to find segmentation errors:
    Mehrtash et al., IEEE Trans Med Imaging 39:3868, 2020). Exclusive classes: Shannon's entropy of the mean softmax,
    divided by the logarithm of their number. ``regions``: the largest entropy in bits of a region's mean sigmoid.
    """

    def __init__(self, regions: bool):
        self._regions, self._sum, self._count = regions, None, 0

    def add(self, logits: torch.Tensor):
        """Take one answer, logits (batch, outputs, *spatial)."""
        probabilities = logits.sigmoid() if self._regions else logits.softmax(1)
        self._sum = probabilities if self._sum is None else self._sum.add_(probabilities)
        self._count += 1

    def take(self, slices: bool) -> torch.Tensor:
        """The entropy (1, K, J, I) of all answers since the last call; ``slices``: the batch is K."""
        import torch

        with torch.inference_mode():
            mean = self._sum.div_(self._count)
            value = entropy(mean, self._regions, mean.shape[1])
        self._sum, self._count = None, 0
        return value.transpose(0, 1) if slices else value[0]


def entropy(mean: torch.Tensor, regions: bool, outputs: int) -> torch.Tensor:
    """Of mean probabilities (batch, channels, *spatial): (batch, 1, *spatial), 0 to 1; see ``Entropy``.

    ``outputs``: how many classes there are; those whose probability is 0 may be left out.
    """
    import torch

    if not regions:
        return torch.special.entr(mean).sum(1, keepdim=True) / math.log(max(2, outputs))
    if mean.shape[1] == 0:
        return mean.sum(1, keepdim=True)
    return (torch.special.entr(mean) + torch.special.entr(1 - mean)).amax(1, keepdim=True) / math.log(2)
