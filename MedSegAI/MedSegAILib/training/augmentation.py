"""Random changes of training patches: space (image and label together) and intensity (image only).

The recipe is nnU-Net's (Isensee et al. 2021, supplementary note 4), with rotation and elastic deformation done in
millimeters, so that anisotropic voxels are not sheared. Works on CPU and GPU alike; all randomness comes from one
seeded ``numpy.random.Generator``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

# Beyond this ratio of spacings a rotation out of the plane would mix far-away slices: rotate in plane only.
IN_PLANE_ANISOTROPY = 3.0


@dataclass(frozen=True)
class Augmentation:
    """Probabilities and ranges; every probability is for one patch.

    ``rotation_degrees``: largest angle about each axis. ``scaling``: range of the zoom factor.
    ``elastic_mm``: largest standard deviation of the displacement of control points. Zero probability: never.
    """

    rotation: float = 0.4
    rotation_degrees: float = 25.0
    scaling: float = 0.4
    scaling_range: tuple[float, float] = (0.75, 1.3)
    elastic: float = 0.3
    elastic_mm: float = 2.0
    elastic_knots_mm: float = 16.0
    mirror_axes: tuple[int, ...] = ()
    noise: float = 0.15
    noise_variance: float = 0.1
    blur: float = 0.15
    blur_sigma: tuple[float, float] = (0.5, 1.0)
    brightness: float = 0.2
    brightness_range: tuple[float, float] = (0.75, 1.25)
    contrast: float = 0.2
    contrast_range: tuple[float, float] = (0.75, 1.25)
    low_resolution: float = 0.15
    low_resolution_zoom: tuple[float, float] = (0.5, 1.0)
    gamma: float = 0.3
    gamma_inverted: float = 0.1
    gamma_range: tuple[float, float] = (0.7, 1.5)

    @classmethod
    def named(cls, name: str, mirror_axes: Sequence[int] = ()) -> Augmentation:
        """``full``: about nnU-Net's. ``mild``: for short runs. ``strong``: for few cases. ``none``: mirroring only."""
        full = cls(mirror_axes=tuple(mirror_axes))
        if name == "strong":
            return replace(
                full, rotation=0.8, rotation_degrees=30.0, scaling=0.8, scaling_range=(0.7, 1.4), elastic=0.7,
                elastic_mm=3.0, noise=0.25, blur=0.25, brightness=0.3, contrast=0.3, low_resolution=0.25, gamma=0.4,
                gamma_inverted=0.15,
            )  # fmt: skip
        if name == "mild":
            return replace(
                full, rotation=0.3, rotation_degrees=12.0, scaling=0.3, scaling_range=(0.87, 1.15), elastic=0.0,
                noise=0.1, blur=0.1, low_resolution=0.0, gamma=0.2, gamma_inverted=0.0, gamma_range=(0.8, 1.25),
            )  # fmt: skip
        if name == "none":
            return cls(
                rotation=0, scaling=0, elastic=0, mirror_axes=tuple(mirror_axes), noise=0, blur=0, brightness=0,
                contrast=0, low_resolution=0, gamma=0, gamma_inverted=0,
            )  # fmt: skip
        return full


def sample_patch(
    image: torch.Tensor,
    target: torch.Tensor,
    center: Sequence[float],
    patch_size: Sequence[int],
    spacing: Sequence[float],
    augmentation: Augmentation,
    random: np.random.Generator,
    *,
    regions: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut an augmented patch out of a volume.

    ``image``: (channels, K, J, I) float. ``target``: (classes, K, J, I) float, one-hot, or multi-hot for regions.
    ``center``: voxel (KJI, may be fractional) that becomes the patch's center. ``spacing``: mm, KJI.
    Returns image (channels, *patch_size) and target (classes, *patch_size). The target is interpolated linearly per
    class and the largest class wins, which moves borders by less than nearest neighbor would.
    Outside the volume the image is 0, as nnU-Net pads, and the target is background.
    """
    coordinates, moved = _coordinates(center, patch_size, spacing, augmentation, random)
    image_patch, target_patch = _sample(image, coordinates), _sample(target, coordinates)
    if regions:
        target_patch = (target_patch >= 0.5).to(target.dtype)
    else:
        target_patch[0] += 1 - target_patch.sum(0)
        if moved:
            winner = target_patch.argmax(0, keepdim=True)
            target_patch = target_patch.new_zeros(target_patch.shape).scatter_(0, winner, 1.0)
    for axis in augmentation.mirror_axes:
        if random.random() < 0.5:
            image_patch, target_patch = image_patch.flip(axis + 1), target_patch.flip(axis + 1)
    return change_intensities(image_patch, augmentation, random), target_patch


def _coordinates(center, patch_size, spacing, augmentation: Augmentation, random):
    """Source voxel coordinates (*patch_size, 3) in KJI order of every voxel of the patch, and whether they moved."""
    axes = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in patch_size]
    offsets_mm = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) * np.float32(spacing)
    moved = False
    if random.random() < augmentation.elastic:
        offsets_mm = offsets_mm + _elastic(patch_size, spacing, augmentation, random)
        moved = True
    matrix = np.eye(3, dtype=np.float32)
    if random.random() < augmentation.rotation:
        matrix = _rotation(patch_size, spacing, augmentation.rotation_degrees, random) @ matrix
    if random.random() < augmentation.scaling:
        low, high = augmentation.scaling_range
        matrix = matrix / np.exp(random.uniform(np.log(low), np.log(high)))
    if not np.array_equal(matrix, np.eye(3)):
        offsets_mm = offsets_mm @ matrix.T.astype(np.float32)
        moved = True
    if not moved:
        # Whole voxels only: an unmoved patch must not be blurred by interpolation.
        center = [round(c - (n - 1) / 2) + (n - 1) / 2 for c, n in zip(center, patch_size, strict=True)]
    return offsets_mm / np.float32(spacing) + np.float32(center), moved


def _rotation(patch_size, spacing, degrees: float, random) -> np.ndarray:
    """A random rotation; only about the coarse axis if the voxels are very anisotropic or the patch is one slice."""
    angles = np.radians(random.uniform(-degrees, degrees, 3))
    coarse = int(np.argmax(spacing))
    flat = [axis for axis, n in enumerate(patch_size) if n == 1]
    if flat or max(spacing) / min(spacing) > IN_PLANE_ANISOTROPY:
        keep = flat[0] if flat else coarse
        angles = np.where(np.arange(3) == keep, angles, 0)
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def _elastic(patch_size, spacing, augmentation: Augmentation, random) -> np.ndarray:
    """A smooth random displacement in mm (*patch_size, 3): random control points, cubic-like interpolation."""
    import torch

    extent = np.array(patch_size) * spacing
    knots = np.maximum(np.round(extent / augmentation.elastic_knots_mm).astype(int) + 1, 2)
    knots[np.array(patch_size) == 1] = 1
    strength = random.uniform(0, augmentation.elastic_mm)
    control = random.normal(0, strength, (1, 3, *knots)).astype(np.float32)
    if max(spacing) / min(spacing) > IN_PLANE_ANISOTROPY:
        control[:, int(np.argmax(spacing))] = 0
    control[:, [axis for axis, n in enumerate(patch_size) if n == 1]] = 0
    field = torch.nn.functional.interpolate(
        torch.from_numpy(control), tuple(patch_size), mode="trilinear", align_corners=True
    )
    return field[0].permute(1, 2, 3, 0).numpy()


def _sample(volume: torch.Tensor, coordinates: np.ndarray) -> torch.Tensor:
    """Linear interpolation of (C, K, J, I) at voxel coordinates; zero outside."""
    import torch

    size = np.array(volume.shape[1:], dtype=np.float32)
    normalized = (2 * coordinates + 1) / size - 1
    grid = torch.from_numpy(np.ascontiguousarray(normalized[..., ::-1], dtype=np.float32)).to(volume.device)
    return torch.nn.functional.grid_sample(
        volume.unsqueeze(0), grid.unsqueeze(0), mode="bilinear", padding_mode="zeros", align_corners=False
    )[0]


def change_intensities(image: torch.Tensor, augmentation: Augmentation, random: np.random.Generator) -> torch.Tensor:
    """Noise, blur, brightness, contrast, low resolution and gamma, each with its probability; (C, K, J, I)."""
    import torch

    if random.random() < augmentation.noise:
        deviation = float(np.sqrt(random.uniform(0, augmentation.noise_variance)))
        noise = random.standard_normal(image.shape, dtype=np.float32)
        image = image + deviation * torch.from_numpy(noise).to(image.device)
    if random.random() < augmentation.blur:
        image = _blur(image, random.uniform(*augmentation.blur_sigma))
    if random.random() < augmentation.brightness:
        image = image * random.uniform(*augmentation.brightness_range)
    if random.random() < augmentation.contrast:
        mean = image.mean((1, 2, 3), keepdim=True)
        low, high = image.amin((1, 2, 3), keepdim=True), image.amax((1, 2, 3), keepdim=True)
        image = ((image - mean) * random.uniform(*augmentation.contrast_range) + mean).clamp(low, high)
    if random.random() < augmentation.low_resolution:
        image = _lower_resolution(image, random.uniform(*augmentation.low_resolution_zoom))
    if random.random() < augmentation.gamma_inverted:
        image = -_gamma(-image, random.uniform(*augmentation.gamma_range))
    if random.random() < augmentation.gamma:
        image = _gamma(image, random.uniform(*augmentation.gamma_range))
    return image


def _blur(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """Separable Gaussian with replicated borders."""
    import torch

    radius = int(np.ceil(3 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=image.device) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(image.dtype)
    result = image.unsqueeze(1)
    for axis in range(3):
        if image.shape[axis + 1] > 1:
            shape, pad = [1, 1, 1, 1, 1], [0] * 6
            shape[axis + 2] = -1
            pad[4 - 2 * axis] = pad[5 - 2 * axis] = radius
            result = torch.nn.functional.conv3d(
                torch.nn.functional.pad(result, pad, mode="replicate"), kernel.view(shape)
            )
    return result.squeeze(1)


def _lower_resolution(image: torch.Tensor, zoom: float) -> torch.Tensor:
    """Nearest-neighbor downsampling and linear upsampling: what a coarser scan would have shown."""
    from torch.nn.functional import interpolate

    size = image.shape[1:]
    small = tuple(max(1, round(n * zoom)) for n in size)
    coarse = interpolate(image.unsqueeze(0), small, mode="nearest-exact")
    return interpolate(coarse, size, mode="trilinear", align_corners=False)[0]


def _gamma(image: torch.Tensor, gamma: float) -> torch.Tensor:
    """Power law on the range of each channel, with mean and standard deviation restored afterwards."""
    axes = (1, 2, 3)
    low = image.amin(axes, keepdim=True)
    span = (image.amax(axes, keepdim=True) - low).clamp_min(1e-7)
    mean, deviation = image.mean(axes, keepdim=True), image.std(axes, keepdim=True)
    changed = ((image - low) / span) ** gamma * span + low
    return (changed - changed.mean(axes, keepdim=True)) / changed.std(axes, keepdim=True).clamp_min(
        1e-7
    ) * deviation + mean
