"""The second stage of a cascade sees, beside the volume, the labels that an earlier stage gave it, one channel each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from MedSegAICore.image import Image
from MedSegAILib.inference.preprocessing import Placement
from MedSegAILib.inference.resampling import resize, separate_axis
from MedSegAILib.models.plans import KEEP, LINEAR, Resampling

if TYPE_CHECKING:
    import torch

OUTSIDE = -1  # nnU-Net's label of what lies outside the nonzero region; it takes part in resampling, but has no channel


def with_earlier_labels(
    array: torch.Tensor,
    placement: Placement,
    image: Image,
    labels: np.ndarray,
    values: Sequence[int],
    resampling: Resampling,
) -> torch.Tensor:
    """The prepared volume (channels, *prepared) with a channel of zeros and ones behind it for each of ``values``.

    ``labels`` (K, J, I) lie on the image's grid and become what nnU-Net's preprocessor makes of a segmentation:
    transposed, cropped with the volume, resampled label by label.
    """
    import torch

    forward = placement.transpose_forward
    nonzero = (image.array != 0).any(0).transpose(forward)[placement.crop]
    cropped = labels.transpose(forward)[placement.crop].astype(np.int32)
    cropped[(cropped == 0) & ~ndimage.binary_fill_holes(nonzero)] = OUTSIDE
    prepared = resample_labels(torch.from_numpy(cropped), placement, resampling)
    return torch.cat([array, *((prepared == value)[None].to(array.dtype) for value in values)])


def resample_labels(labels: torch.Tensor, placement: Placement, resampling: Resampling) -> torch.Tensor:
    """Labels on the cropped grid, brought to the prepared one as nnU-Net's ``resampling_fn_seg`` does."""
    spacing, new_spacing, shape = placement.spacing, placement.new_spacing, placement.prepared
    if tuple(labels.shape) == tuple(shape) or resampling.kind == KEEP:
        return labels
    apart = separate_axis(spacing, new_spacing, resampling.force_separate_z, resampling.anisotropy)
    if apart is None:
        return _resized(labels, shape, resampling)
    plane = tuple(
        old if axis == apart else new for axis, (old, new) in enumerate(zip(labels.shape, shape, strict=True))
    )
    labels = _resized(labels, plane, resampling, apart)
    if resampling.order_z == 0:
        return resize(labels[None].float(), shape, 0)[0].to(labels.dtype)
    by_half = resampling.by_half or resampling.kind != LINEAR
    return _resized(labels, shape, Resampling(resampling.kind, resampling.order_z, 0, False, by_half=by_half))


def _resized(labels: torch.Tensor, shape: Sequence[int], how: Resampling, apart: int | None = None) -> torch.Tensor:
    """Every label's mask is resized by itself; the largest share wins, of equal ones the nearest voxel's label."""
    import torch

    nearest = resize(labels[None].float(), shape, 0)[0].to(labels.dtype)
    result, best = torch.zeros_like(nearest), torch.full(nearest.shape, -1.0)
    for value in labels.unique().tolist():
        share = _share((labels == value).float(), shape, how, apart)
        if how.by_half:
            result[share > 0.5] = value
            continue
        wins = (share > best) | ((share == best) & (nearest == value) & (how.kind != LINEAR))
        result[wins] = value
        best = torch.maximum(best, share)
    return result


def _share(mask: torch.Tensor, shape: Sequence[int], how: Resampling, apart: int | None) -> torch.Tensor:
    """How much of every new voxel is of a label. Ties are common, so plans for torch get torch's own rounding."""
    import torch

    if how.kind != LINEAR:
        return resize(mask[None], shape, how.order, separate_axis=apart)[0]
    planes = mask[None] if apart is None else mask.movedim(apart, 0)
    mode = "trilinear" if apart is None else "bilinear"
    extent = [size for axis, size in enumerate(shape) if axis != apart]
    share = torch.nn.functional.interpolate(planes[None] * (1 if how.by_half else 1000), extent, mode=mode)[0]
    share = share if how.by_half else share.half().float()  # as nnU-Net compares them
    return share[0] if apart is None else share.movedim(0, apart)
