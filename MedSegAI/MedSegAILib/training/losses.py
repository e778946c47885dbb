"""Losses for segmentation, with deep supervision; every one works for labels (softmax) and regions (sigmoid).

Shapes: logits (B, C, *spatial); target (B, C, *spatial), one-hot for labels, multi-hot for regions; mask
(B, 1, *spatial) is 1 where a voxel counts (0 under the ignore label), or None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from MedSegAICore.errors import TrainingError

if TYPE_CHECKING:
    import torch

Loss = Callable[..., "torch.Tensor"]


def make_loss(
    name: str, *, regions: bool = False, batch_dice: bool = False, class_weights: Sequence[float] | None = None
) -> Loss:
    """The loss of this name as a function ``(logits, target, mask=None) -> scalar``.

    Raises TrainingError for an unknown name.
    """
    choices: dict[str, Loss] = {
        "dice": lambda x, y, m=None: soft_dice_loss(x, y, m, regions=regions, batch_dice=batch_dice),
        "generalized_dice": lambda x, y, m=None: generalized_dice_loss(x, y, m, regions=regions),
        "ce": lambda x, y, m=None: cross_entropy(x, y, m, regions=regions, class_weights=class_weights),
        "focal": lambda x, y, m=None: focal_loss(x, y, m, regions=regions, class_weights=class_weights),
    }
    choices["dice_ce"] = lambda x, y, m=None: choices["dice"](x, y, m) + choices["ce"](x, y, m)
    if name not in choices:
        raise TrainingError(f"The loss is {name!r}; choose one of {', '.join(choices)}.")
    return choices[name]


def deep_supervision_weights(count: int) -> list[float]:
    """nnU-Net's weights of the resolutions, finest first: halved at each, none for the coarsest, sum 1."""
    weights = [0.5**level for level in range(count)]
    if count > 1:
        weights[-1] = 0.0
    return [weight / sum(weights) for weight in weights]


def deeply_supervised(loss: Loss) -> Loss:
    """Apply ``loss`` to every resolution of a list of logits, with the target resized to each (nearest)."""

    def total(outputs, target, mask=None):
        from torch.nn.functional import interpolate

        result = 0.0
        for weight, logits in zip(deep_supervision_weights(len(outputs)), outputs, strict=True):
            if weight:
                size = logits.shape[2:]
                same = size == target.shape[2:]
                small = target if same else interpolate(target, size, mode="nearest")
                small_mask = mask if mask is None or same else interpolate(mask, size, mode="nearest")
                result = result + weight * loss(logits, small, small_mask)
        return result

    return total


def soft_dice_loss(logits, target, mask=None, *, regions: bool, batch_dice: bool, smooth: float = 1e-5):
    """One minus the mean soft Dice of the foreground classes (Milletari et al., 3DV 2016, as nnU-Net uses it).

    ``batch_dice`` sums over the batch before the ratio: steadier when a patch often lacks a class.
    """
    probabilities, target = _foreground(_probabilities(logits, regions), target, regions)
    intersection, predicted, true = _sums(probabilities, target, mask)
    if batch_dice:
        intersection, predicted, true = intersection.sum(0), predicted.sum(0), true.sum(0)
    return 1 - ((2 * intersection + smooth) / (predicted + true + smooth).clamp_min(1e-8)).mean()


def generalized_dice_loss(logits, target, mask=None, *, regions: bool):
    """One minus the generalized Dice: classes weighted by 1 / volume squared (Sudre et al., DLMIA 2017)."""
    probabilities = _probabilities(logits, regions)
    intersection, predicted, true = _sums(probabilities, target, mask)
    # A class that is absent has no volume to weigh by: it gets the largest weight of the present ones, as in MONAI.
    weights = true.clamp_min(1).pow(-2) * (true > 0)
    weights = weights.where(true > 0, weights.amax(1, keepdim=True).expand_as(weights))
    numerator = 2 * (weights * intersection).sum(1)
    return 1 - (numerator / (weights * (predicted + true)).sum(1).clamp_min(1e-8)).mean()


def cross_entropy(logits, target, mask=None, *, regions: bool, class_weights=None):
    """Cross-entropy over the counted voxels, binary per region for regions; optionally weighted per class."""
    return _mean_over_voxels(_voxel_cross_entropy(logits, target, regions), target, mask, regions, class_weights)


def focal_loss(logits, target, mask=None, *, regions: bool, class_weights=None, gamma: float = 2.0):
    """Cross-entropy scaled by (1 - p) ** gamma, so that easy voxels count less (Lin et al., ICCV 2017)."""
    entropy = _voxel_cross_entropy(logits, target, regions)
    return _mean_over_voxels((1 - (-entropy).exp()) ** gamma * entropy, target, mask, regions, class_weights)


def _probabilities(logits, regions: bool):
    return logits.sigmoid() if regions else logits.softmax(1)


def _foreground(probabilities, target, regions: bool):
    """Regions are all foreground; of labels the first is background."""
    return (probabilities, target) if regions else (probabilities[:, 1:], target[:, 1:])


def _sums(probabilities, target, mask):
    """Intersection, predicted and true volume, each (B, C)."""
    if mask is not None:
        probabilities, target = probabilities * mask, target * mask
    axes = tuple(range(2, probabilities.ndim))
    return (probabilities * target).sum(axes), probabilities.sum(axes), target.sum(axes)


def _voxel_cross_entropy(logits, target, regions: bool):
    """(B, C, *spatial) for regions, (B, 1, *spatial) for labels."""
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

    if regions:
        return binary_cross_entropy_with_logits(logits, target, reduction="none")
    return cross_entropy(logits, target.argmax(1), reduction="none").unsqueeze(1)


def _mean_over_voxels(values, target, mask, regions: bool, class_weights):
    weights = values.new_ones(()) if mask is None else mask
    if class_weights is not None:
        per_class = values.new_tensor(class_weights).view(1, -1, *[1] * (values.ndim - 2))
        if per_class.shape[1] != target.shape[1]:
            raise TrainingError(
                f"There are {per_class.shape[1]} class weights, but the model has {target.shape[1]} outputs."
            )
        weights = weights * (per_class if regions else (target * per_class).sum(1, keepdim=True))
    weights = weights.expand_as(values)
    return (values * weights).sum() / weights.sum().clamp_min(1e-8)
