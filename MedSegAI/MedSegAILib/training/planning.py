"""From a data set to a plan: spacing, normalization, patch size, network depth and batch size.

The rules are nnU-Net's (Isensee et al., Nat Methods 18:203 (2021), and its ExperimentPlanner), the result is a
``plans.json`` that nnU-Net v2 reads. Instead of estimating GPU memory, the size of the patch is bounded in voxels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MedSegAICore.errors import TrainingError
from MedSegAICore.image import Image

ANISOTROPY = 3.0  # spacing ratio from which an axis counts as coarse
MIN_FEATURE_MAP = 4  # no axis is pooled below this many voxels
MAX_FEATURES = {2: 512, 3: 320}
# nnU-Net's plans for 8 GB: 128 x 128 x 128 at 32 features, or about 512 x 512 in 2D.
MAX_PATCH_VOXELS = {2: 512 * 512, 3: 128**3}
MAX_BATCH_FRACTION = 0.05  # of all voxels of the data set that one batch may see
REFERENCE_BATCH = {2: 12, 3: 2}
NONZERO_FRACTION_FOR_MASK = 0.75
INTENSITY_SAMPLES = 10_000
# nnU-Net's names: volumes as they are stored, or turned to RAS first.
READER, REORIENTING_READER = "SimpleITKIO", "SimpleITKIOWithReorient"


@dataclass(frozen=True)
class Fingerprint:
    """What planning needs to know of one case: shape and spacing after cropping to nonzero (KJI, mm)."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    nonzero_fraction: float
    foreground: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, image: Image, labels: np.ndarray, random: np.random.Generator) -> Fingerprint:
        """Measure one case; keeps a sample of each channel's intensities inside the foreground."""
        nonzero = np.argwhere((image.array != 0).any(0))
        shape = tuple(np.ptp(nonzero, axis=0) + 1) if len(nonzero) else image.grid.shape
        inside = labels > 0
        samples = []
        for channel in image.array:
            values = channel[inside].astype(np.float64)
            samples.append(values if len(values) <= INTENSITY_SAMPLES else random.choice(values, INTENSITY_SAMPLES))
        fraction = float(np.prod(shape) / np.prod(image.grid.shape))
        return cls(tuple(int(n) for n in shape), image.grid.spacing_kji, fraction, tuple(samples))


def make_plans(
    name: str,
    fingerprints: Sequence[Fingerprint],
    description: Mapping[str, Any],
    *,
    dimensions: int = 3,
    patch_size: Sequence[int] | None = None,
    batch_size: int | None = None,
    base_features: int = 32,
    max_patch_voxels: int | None = None,
    residual: bool = False,
    convolutions: tuple[int, int] = (2, 2),
    reader: str = READER,
) -> dict[str, Any]:
    """The plan as nnU-Net v2 writes it (``plans.json``), with one configuration, ``3d_fullres`` or ``2d``.

    ``patch_size`` (voxels of the target spacing, KJI; 2D: JI) and ``batch_size`` override the rules.
    ``max_patch_voxels`` bounds the patch: a smaller one trains on a CPU. ``convolutions``: per stage of the encoder and
    of the decoder; ignored by a residual encoder, whose stages have 1, 3, 4, 6, 6 … blocks. ``reader``: nnU-Net's name
    of how images are read, READER or REORIENTING_READER.
    Raises TrainingError if there is no case or the patch is too small for the network.
    """
    if not fingerprints:
        raise TrainingError("A data set without cases cannot be planned.")
    spacing = target_spacing(fingerprints)
    shapes = np.array([np.round(np.array(f.shape) * f.spacing / spacing) for f in fingerprints])
    median_shape = np.median(shapes, axis=0)
    active_spacing, active_shape = (spacing[1:], median_shape[1:]) if dimensions == 2 else (spacing, median_shape)
    wanted = patch_size or initial_patch(active_shape, active_spacing, max_patch_voxels or MAX_PATCH_VOXELS[dimensions])
    if len(wanted) != dimensions:
        raise TrainingError(f"The patch is {tuple(wanted)}, but a {dimensions}D plan needs {dimensions} extents.")
    strides, kernels, patch = plan_pooling(wanted, active_spacing)
    stages = len(strides)
    batch = batch_size or plan_batch(patch, shapes, dimensions, max_patch_voxels)
    configuration = {
        "data_identifier": f"MedSegAIPlans_{'2d' if dimensions == 2 else '3d_fullres'}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": int(batch),
        "patch_size": [int(n) for n in patch],
        "median_image_size_in_voxels": [float(n) for n in active_shape],
        "spacing": [float(s) for s in active_spacing],
        "normalization_schemes": [_normalization(n) for n in description["channel_names"].values()],
        "use_mask_for_norm": _use_mask(fingerprints, description),
        **_resampling(),
        "architecture": _architecture(dimensions, strides, kernels, base_features, residual, convolutions, stages),
        "batch_dice": True,
    }
    return {
        "dataset_name": name,
        "plans_name": "MedSegAIPlans",
        "original_median_spacing_after_transp": [
            float(s) for s in np.median([f.spacing for f in fingerprints], axis=0)
        ],
        "original_median_shape_after_transp": [int(n) for n in np.median([f.shape for f in fingerprints], axis=0)],
        "image_reader_writer": reader,
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "MedSegAI",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": _intensities(fingerprints),
        "configurations": {"2d" if dimensions == 2 else "3d_fullres": configuration},
    }


def target_spacing(fingerprints: Sequence[Fingerprint]) -> np.ndarray:
    """Median spacing; for a data set with one coarse axis the finest 10 % along it, which keeps its detail."""
    spacings = np.array([f.spacing for f in fingerprints])
    shapes = np.array([f.shape for f in fingerprints])
    target, size = np.median(spacings, axis=0), np.median(shapes, axis=0)
    coarse = int(np.argmax(target))
    others = [axis for axis in range(len(target)) if axis != coarse]
    if target[coarse] > ANISOTROPY * max(target[others]) and size[coarse] * ANISOTROPY < min(size[others]):
        target[coarse] = max(np.percentile(spacings[:, coarse], 10), max(target[others]) + 1e-5)
    return target


def initial_patch(shape: Sequence[float], spacing: Sequence[float], max_voxels: int) -> np.ndarray:
    """A patch that is isotropic in mm, no larger than the median case and than ``max_voxels``."""
    shape, spacing = np.array(shape, float), np.array(spacing, float)
    patch = np.minimum(shape, 1 / spacing * (max_voxels * np.prod(spacing)) ** (1 / len(shape)))
    # What one axis does not need, the others may use.
    for _ in range(10):
        free = patch < shape
        room = max_voxels / np.prod(patch)
        if room <= 1 or not free.any():
            break
        patch = np.where(free, np.minimum(shape, patch * room ** (1 / free.sum())), patch)
    return np.maximum(np.floor(patch), 1).astype(int)


def plan_pooling(patch: Sequence[int], spacing: Sequence[float]):
    """Strides and kernels per stage, and the patch rounded up to what the strides divide.

    An axis is pooled while its feature map stays at least MIN_FEATURE_MAP and its spacing is within a factor 2 of the
    finest: coarse axes wait until the others caught up, and until then are not convolved across.
    """
    patch, spacing = np.array(patch, int), np.array(spacing, float)
    size, current = patch.astype(float), spacing.copy()
    strides, kernels = [[1] * len(patch)], []
    while True:
        poolable = size >= 2 * MIN_FEATURE_MAP
        if not poolable.any():
            break
        pool = poolable & (current / current[poolable].min() < 2)
        kernels.append([3 if c / current.min() < 2 else 1 for c in current])
        strides.append([2 if p else 1 for p in pool])
        size, current = np.where(pool, np.ceil(size / 2), size), np.where(pool, current * 2, current)
    kernels.append([3] * len(patch))
    divisor = np.prod(strides, axis=0)
    return strides, kernels, [int(n) for n in np.ceil(patch / divisor).astype(int) * divisor]


def plan_batch(patch, shapes: np.ndarray, dimensions: int, max_patch_voxels: int | None) -> int:
    """As many patches as fit the memory of the reference plan, at most 5 % of the data set, at least 2."""
    budget = REFERENCE_BATCH[dimensions] * (max_patch_voxels or MAX_PATCH_VOXELS[dimensions])
    dataset_voxels = float(np.prod(shapes, axis=1).sum())
    by_data = MAX_BATCH_FRACTION * dataset_voxels / np.prod(patch)
    return int(max(2, min(budget / np.prod(patch), by_data)))


def _normalization(channel_name: str) -> str:
    """nnU-Net's choice by channel name: CT is on an absolute scale, everything else is not."""
    return {"ct": "CTNormalization", "nonorm": "NoNormalization", "rescale_to_0_1": "RescaleTo01Normalization"}.get(
        str(channel_name).lower(), "ZScoreNormalization"
    )


def _use_mask(fingerprints: Sequence[Fingerprint], description: Mapping[str, Any]) -> list[bool]:
    """Z-score inside the nonzero region where cropping to it removed much (brain-extracted images)."""
    cropped = float(np.median([f.nonzero_fraction for f in fingerprints])) < NONZERO_FRACTION_FOR_MASK
    return [cropped and _normalization(n) == "ZScoreNormalization" for n in description["channel_names"].values()]


def _intensities(fingerprints: Sequence[Fingerprint]) -> dict[str, dict[str, float]]:
    properties = {}
    for channel in range(len(fingerprints[0].foreground)):
        values = np.concatenate([f.foreground[channel] for f in fingerprints])
        values = values if len(values) else np.zeros(1)
        properties[str(channel)] = {
            "max": float(values.max()),
            "mean": float(values.mean()),
            "median": float(np.median(values)),
            "min": float(values.min()),
            "percentile_00_5": float(np.percentile(values, 0.5)),
            "percentile_99_5": float(np.percentile(values, 99.5)),
            "std": float(values.std()),
        }
    return properties


def _resampling() -> dict[str, Any]:
    def entry(kind: str, is_seg: bool, order: int) -> dict[str, Any]:
        return {
            f"resampling_fn_{kind}": "resample_data_or_seg_to_shape",
            f"resampling_fn_{kind}_kwargs": {"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": None},
        }

    return {**entry("data", False, 3), **entry("seg", True, 1), **entry("probabilities", False, 1)}


def _architecture(dimensions, strides, kernels, base_features, residual, convolutions, stages) -> dict[str, Any]:
    features = [min(base_features * 2**stage, MAX_FEATURES[dimensions]) for stage in range(stages)]
    kwargs: dict[str, Any] = {
        "n_stages": stages,
        "features_per_stage": features,
        "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
        "kernel_sizes": kernels,
        "strides": strides,
        "n_conv_per_stage_decoder": [convolutions[1]] * (stages - 1),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    if residual:
        kwargs["n_blocks_per_stage"] = [1, 3, 4, *[6] * stages][:stages]
        kwargs["n_conv_per_stage_decoder"] = [1] * (stages - 1)
    else:
        kwargs["n_conv_per_stage"] = [convolutions[0]] * stages
    network = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{network}",
        "arch_kwargs": kwargs,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
