"""Small nnU-Net v2 model folders with random weights, made with torch and our own networks alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from MedSegAILib.models.architecture import build_network
from MedSegAILib.models.folder import ModelFolder

LABELS = {"background": 0, "front": 1, "back": 2}


def make_model_folder(
    path: Path | str,
    kind: str = "3d",
    *,
    seed: int = 0,
    card: bool | dict[str, Any] = True,
    channels: int = 1,
    folds: int = 1,
    mirror_axes: tuple[int, ...] = (0, 1, 2),
    spacing: tuple[float, ...] | None = None,
    patch: tuple[int, ...] | None = None,
    configuration: str | None = None,
    previous: str | None = None,
) -> Path:
    """Write a model folder and return its path.

    ``kind``: ``3d``, ``2d``, ``residual``, ``anisotropic`` (coarse first axis) or ``regions``.
    ``patch``: a large one makes a slow tile, a small one many tiles.
    ``configuration``: its name, if not ``2d`` or ``3d_fullres``. ``previous``: the stage of a cascade before this one.
    ``card``: True writes a complete card with the checkpoints' sums, a dict changes its entries, False leaves it out.
    """
    path = Path(path)
    plans, dataset = _plans(kind, channels, spacing, patch), _dataset(kind, channels)
    if configuration:
        [plan] = plans["configurations"].values()
        plans["configurations"] = {configuration: {**plan, "previous_stage": previous}}
    path.mkdir(parents=True, exist_ok=True)
    (path / "plans.json").write_text(json.dumps(plans))
    (path / "dataset.json").write_text(json.dumps(dataset))
    configuration, plan = next(iter(plans["configurations"].items()))
    outputs = len(dataset["labels"]) - (kind == "regions")
    for fold in range(folds):
        torch.manual_seed(seed + fold)
        network = build_network(plan["architecture"], channels + (2 if previous else 0), outputs)
        # Freshly made heads answer almost the same for every class; larger weights make segments of some size.
        for head in network.decoder.seg_layers:
            torch.nn.init.normal_(head.weight, std=1.0)
        (path / f"fold_{fold}").mkdir(exist_ok=True)
        torch.save(
            {
                "network_weights": network.state_dict(),
                "trainer_name": "nnUNetTrainer",
                "init_args": {"plans": plans, "configuration": configuration, "fold": fold, "dataset_json": dataset},
                "inference_allowed_mirroring_axes": mirror_axes[: len(plan["patch_size"])],
            },
            path / f"fold_{fold}" / "checkpoint_final.pth",
        )
    if card is not False:
        content = {**_card(), **(card if isinstance(card, dict) else {})}
        content["weights_sha256"] = ModelFolder.open(path).checksums()
        (path / "model_card.json").write_text(json.dumps(content))
    return path


def _dataset(kind: str, channels: int) -> dict[str, Any]:
    dataset = {
        "channel_names": {str(number): f"MR{number}" for number in range(channels)},
        "labels": {"background": 0, "whole": [1, 2], "back": [2]} if kind == "regions" else LABELS,
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    return {**dataset, "regions_class_order": [1, 2]} if kind == "regions" else dataset


def _plans(
    kind: str, channels: int, spacing: tuple[float, ...] | None, patch: tuple[int, ...] | None
) -> dict[str, Any]:
    dimensions = 2 if kind == "2d" else 3
    spacing = spacing or {"2d": (1.0, 1.0), "anisotropic": (5.0, 1.0, 1.0)}.get(kind, (1.0, 1.0, 1.0))
    patch = patch or {"2d": (32, 32), "anisotropic": (8, 32, 32)}.get(kind, (16, 24, 16))
    strides = [[1] * dimensions, [2] * dimensions]
    kernels = [[3] * dimensions, [3] * dimensions]
    if kind == "anisotropic":
        strides, kernels = [[1, 1, 1], [1, 2, 2]], [[1, 3, 3], [3, 3, 3]]
    name = "ResidualEncoderUNet" if kind == "residual" else "PlainConvUNet"
    counts = {"n_blocks_per_stage": [1, 2]} if kind == "residual" else {"n_conv_per_stage": [2, 2]}

    def resampling(use: str, order: int) -> dict[str, Any]:
        return {
            f"resampling_fn_{use}": "resample_data_or_seg_to_shape",
            f"resampling_fn_{use}_kwargs": {"is_seg": False, "order": order, "order_z": 0, "force_separate_z": None},
        }

    configuration = {
        "patch_size": patch,
        "spacing": spacing,
        "batch_size": 2,
        "normalization_schemes": ["ZScoreNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
        **resampling("data", 3),
        **resampling("probabilities", 1),
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
            "arch_kwargs": {
                "n_stages": 2,
                "features_per_stage": [6, 12],
                "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
                "kernel_sizes": kernels,
                "strides": strides,
                **counts,
                "n_conv_per_stage_decoder": [1],
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
                "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "nonlin"],
        },
        "batch_dice": True,
    }
    return {
        "dataset_name": "Dataset999_Random",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"2d" if dimensions == 2 else "3d_fullres": configuration},
    }


def _card() -> dict[str, Any]:
    def structure(label: int, id: str, name: str, color: list[float], code: str) -> dict[str, Any]:
        terminology = f"Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~{code}~^^~Anatomic codes - DICOM master list~^^~^^"  # noqa: E501
        return {"label": label, "id": id, "name": name, "color": color, "terminology": terminology}

    return {
        "schema_version": 1,
        "id": "random",
        "title": "Random weights",
        "version": "1.0.0",
        "license": "Apache-2.0",
        "intended_use": "Tests of the program. The weights are random.",
        "not_for": ["Anything else."],
        "limitations": ["Knows nothing."],
        "input": {"modality": ["MR"], "protocol": "any"},
        "structures": [
            structure(1, "front", "Front part", [0.9, 0.3, 0.2], "SCT^85151006^Front"),
            structure(2, "back", "Back part", [0.2, 0.6, 0.9], "SCT^85151007^Back"),
        ],
        "training": {"cases": 0, "source": "none", "labeling": "none"},
        "performance": [],
    }
