"""nnU-Net's preparation of a volume: transpose, crop to nonzero, normalize, resample; and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from MedSegAICore.errors import InputError
from MedSegAICore.image import Image
from MedSegAILib.inference.body import body_box
from MedSegAILib.inference.resampling import AxisMap, new_shape, resize, resize_matrix, separate_axis
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
    nonzero = (array != 0).any(0)
    box = ndimage.find_objects(nonzero.astype(np.uint8))
    if not box:
        raise InputError("The volume is zero everywhere: there is nothing to segment.")
    crop = box[0] if configuration.crop_to_nonzero else tuple(slice(0, extent) for extent in nonzero.shape)
    array = np.array(array[(slice(None), *crop)], np.float32, order="C")  # a copy: it is normalized in place
    inside = None
    if any(configuration.use_mask_for_norm):
        # nnU-Net fills holes of the whole mask, which the crop contains.
        inside = ndimage.binary_fill_holes(nonzero[crop])
    for channel in range(len(array)):
        array[channel] = _normalize(array[channel], channel, configuration, inside)
    if body_only:
        body = body_box(array, spacing)
        array = np.ascontiguousarray(array[(slice(None), *body)])
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
        nonzero.shape, tuple(part.start for part in crop), cropped, prepared, spacing, new_spacing,
        forward, configuration.transpose_backward, configuration.logits_resampling,
    )  # fmt: skip
    return resample(torch.from_numpy(array), prepared, spacing, new_spacing, resampling), placement


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


def resample(array: torch.Tensor, shape, spacing, new_spacing, resampling: Resampling) -> torch.Tensor:
    """Resample (channels, *spatial) to ``shape`` as the plan says."""
    if tuple(array.shape[1:]) == tuple(shape):
        return array
    axis = separate_axis(spacing, new_spacing, resampling.force_separate_z, resampling.anisotropy)
    return resize(array, shape, resampling.order, separate_axis=axis, separate_order=resampling.order_z)


def _normalize(channel: np.ndarray, number: int, configuration: Configuration, inside: np.ndarray | None) -> np.ndarray:
    """One channel by its scheme; the formulas are those of nnunetv2's default_normalization_schemes."""
    scheme = configuration.normalizations[number]
    if scheme == "ZScoreNormalization":
        if not configuration.use_mask_for_norm[number]:
            return (channel - channel.mean()) / max(channel.std(), 1e-8)
        values = channel[inside]
        return np.where(inside, (channel - values.mean()) / max(values.std(), 1e-8), channel)
    if scheme == "CTNormalization":
        known: Mapping[str, float] = configuration.intensities[str(number)]
        clipped = channel.clip(known["percentile_00_5"], known["percentile_99_5"])
        return (clipped - known["mean"]) / max(known["std"], 1e-8)
    if scheme == "RescaleTo01Normalization":
        shifted = channel - channel.min()
        return shifted / max(shifted.max(), 1e-8)
    return channel / 255.0 if scheme == "RGBTo01Normalization" else channel
