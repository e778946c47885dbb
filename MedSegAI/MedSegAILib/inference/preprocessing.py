"""nnU-Net's preparation of a volume: transpose, crop to nonzero, normalize, resample; and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from MedSegAICore.errors import InputError
from MedSegAICore.image import Image
from MedSegAILib.inference.body import body_box
from MedSegAILib.inference.normalization import Normalization
from MedSegAILib.inference.resampling import AxisMap, new_shape, resize, resize_matrix, resize_planes, separate_axis
from MedSegAILib.models.plans import KEEP, Configuration, Resampling

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Placement:
    """Where a prepared array lies in its volume, in the plan's (transposed) axis order.

    ``shape``: of the transposed volume. ``start``: first voxel of the crop. ``cropped``: its shape.
    ``prepared``: its shape after resampling. ``spacing``, ``new_spacing``: mm before and after resampling.
    ``logits_resampling``: how what the network answers on the prepared grid gets back to the cropped one.
    """

    shape: tuple[int, int, int]
    start: tuple[int, int, int]
    cropped: tuple[int, int, int]
    prepared: tuple[int, int, int]
    spacing: tuple[float, float, float]
    new_spacing: tuple[float, float, float]
    transpose_forward: tuple[int, ...]
    transpose_backward: tuple[int, ...]
    logits_resampling: Resampling

    @cached_property
    def axes(self) -> tuple[AxisMap, ...]:
        """The way back from the prepared to the cropped grid along each axis."""
        how = self.logits_resampling
        apart = separate_axis(self.new_spacing, self.spacing, how.force_separate_z, how.anisotropy)
        return tuple(
            AxisMap.same(new)
            if old == new or how.kind == KEEP
            else AxisMap.of_matrix(resize_matrix(old, new, how.order_z if axis == apart else how.order))
            for axis, (old, new) in enumerate(zip(self.prepared, self.cropped, strict=True))
        )

    @property
    def crop(self) -> tuple[slice, ...]:
        return tuple(slice(a, a + n) for a, n in zip(self.start, self.cropped, strict=True))

    def restore(self, cropped: np.ndarray, fill: float = 0) -> np.ndarray:
        """Put a (..., *cropped) array back into the volume, in the volume's own axis order (…, K, J, I)."""
        lead = cropped.ndim - 3
        full = np.full((*cropped.shape[:lead], *self.shape), fill, cropped.dtype)
        full[(..., *self.crop)] = cropped
        return full.transpose(*range(lead), *(lead + axis for axis in self.transpose_backward))


def preprocess(
    image: Image, configuration: Configuration, *, body_only: bool = False
) -> tuple[torch.Tensor, Placement]:
    """Prepare a volume for the network: float32 (channels, *prepared) on the CPU, and how to get back.

    ``body_only``: after normalization, cut off the air around the body.
    Raises InputError if the volume is zero everywhere.
    """
    import torch

    forward = configuration.transpose_forward
    array = image.array.transpose(0, *(axis + 1 for axis in forward))
    spacing = tuple(image.grid.spacing_kji[axis] for axis in forward)
    crop = _nonzero_box(array)
    if crop is None:
        raise InputError("The volume is zero everywhere: there is nothing to segment.")
    if not configuration.crop_to_nonzero:
        crop = tuple(slice(0, extent) for extent in array.shape[1:])
    shape, array = array.shape[1:], array[(slice(None), *crop)]
    inside = None
    if any(configuration.use_mask_for_norm):
        # nnU-Net fills holes of the whole mask, which the crop contains.
        inside = ndimage.binary_fill_holes((array != 0).any(0))
    normalizations = [Normalization.of(channel, n, configuration, inside) for n, channel in enumerate(array)]
    if body_only:
        clipped = [normalization.clip(channel) for normalization, channel in zip(normalizations, array, strict=True)]
        body = body_box(clipped, spacing)
        array, normalizations = array[(slice(None), *body)], [n.crop(body) for n in normalizations]
        crop = tuple(slice(c.start + b.start, c.start + b.stop) for c, b in zip(crop, body, strict=True))
    # A 2D plan names the in-plane spacing only: slices stay where they are.
    new_spacing = (spacing[0], *configuration.spacing) if configuration.dimensions == 2 else configuration.spacing
    resampling = configuration.data_resampling
    cropped = array.shape[1:]
    prepared = cropped if resampling.kind == KEEP else new_shape(cropped, spacing, new_spacing)
    if min(prepared) < 1:
        raise InputError(
            f"The volume is too thin for this model: {cropped} voxels of {spacing} mm become {prepared} at "
            f"{new_spacing} mm."
        )
    placement = Placement(
        shape, tuple(part.start for part in crop), cropped, prepared, spacing, new_spacing,
        forward, configuration.transpose_backward, configuration.logits_resampling,
    )  # fmt: skip
    apart = separate_axis(spacing, new_spacing, resampling.force_separate_z, resampling.anisotropy)
    result = torch.empty((len(array), *prepared))
    for target, channel, normalization in zip(result, array, normalizations, strict=True):
        target.copy_(_prepare(channel, normalization, prepared, apart, resampling))
    return result, placement


def _nonzero_box(array: np.ndarray) -> tuple[slice, slice, slice] | None:
    """The smallest box (K, J, I) with everything that is not 0 in any channel (channels, K, J, I)."""
    planes, filled = [], np.zeros(array.shape[2:], bool)
    for k in range(array.shape[1]):
        mask = array[0, k] != 0
        for channel in array[1:]:
            mask |= channel[k] != 0
        planes.append(mask.any())
        filled |= mask
    occupied = [np.flatnonzero(planes), np.flatnonzero(filled.any(1)), np.flatnonzero(filled.any(0))]
    return tuple(slice(int(o[0]), int(o[-1]) + 1) for o in occupied) if len(occupied[0]) else None


def _prepare(
    channel: np.ndarray,
    normalization: Normalization,
    shape: Sequence[int],
    apart: int | None,
    resampling: Resampling,
) -> torch.Tensor:
    """Normalize and resample a channel (K, J, I) to ``shape``; ``apart`` is the axis that has an order of its own."""
    import torch

    front = apart or 0
    moved, normalization = np.moveaxis(channel, front, 0), normalization.along(front)
    resized = resize_planes(
        lambda start, stop: normalization.planes(moved, start, stop), moved.shape,
        [shape[front], *(size for axis, size in enumerate(shape) if axis != front)],
        resampling.order, None if apart is None else resampling.order_z,
    )  # fmt: skip
    return torch.movedim(resized, 0, front)


def prepare_labels(labels: np.ndarray, placement: Placement, values: tuple[int, ...]) -> np.ndarray:
    """Bring a label array (K, J, I) to the prepared grid: linear per label, the largest wins (nnU-Net, order 1)."""
    import torch

    cropped = labels.transpose(placement.transpose_forward)[placement.crop]
    if placement.cropped == placement.prepared:
        return np.ascontiguousarray(cropped)
    masks = torch.from_numpy(np.stack([cropped == value for value in values]).astype(np.float32))
    axis = separate_axis(placement.spacing, placement.new_spacing)
    resized = resize(masks, placement.prepared, 1, separate_axis=axis)
    return np.asarray(values, labels.dtype)[resized.argmax(0).numpy()]
