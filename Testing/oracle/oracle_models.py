"""Small nnU-Net v2 model folders with random weights, made by nnU-Net's own network classes, and volumes for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

CT = {
    "median": 40.0,
    "min": -500.0,
    "max": 900.0,
    "mean": 50.0,
    "std": 120.0,
    "percentile_00_5": -300.0,
    "percentile_99_5": 400.0,
}
LABELS = {"background": 0, "one": 1, "two": 2, "three": 3}


def make_kinds() -> dict[str, dict]:
    """What each kind of model changes of the plain one; see ``make_folder``."""
    anisotropic = {
        "spacing": [4.5, 1.1, 1.1], "patch_size": [8, 40, 40],
        "strides": [[1, 1, 1], [1, 2, 2]], "kernel_sizes": [[1, 3, 3], [3, 3, 3]],
    }  # fmt: skip
    regions = {"labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "rim": 3}, "order": [1, 2, 3]}
    return {
        "plain": {},
        "mirrored": {"mirroring": True},
        "two_folds": {"folds": [0, 1]},
        "residual": {"network": "ResidualEncoderUNet"},
        "2d": {"dimensions": 2, "spacing": [1.3, 1.3], "patch_size": [40, 40]},
        "anisotropic": anisotropic,
        "regions": regions,
        "two_channels_masked": {"channels": 2, "masked": True},
        "ct": {"normalization": "CTNormalization", "image": "ct"},
        "ct_coarse": {"normalization": "CTNormalization", "image": "ct", "spacing": [3.0, 2.5, 2.5]},
        "old_plans": {"old": True},
        "transposed": {"transpose": [1, 0, 2], **anisotropic},
        "torch_resampling": {"resampler": "resample_torch_fornnunet"},
        "reoriented": {"reader": "NibabelIOWithReorient"},
        "batch_norm": {"trainer": "nnUNetTrainerBN"},
        "residual_decoder": {"network": "ResidualUNet"},
        "deep_residual": {  # as ResEnc M, L and XL: strides and blocks of the planners, features small
            "network": "ResidualEncoderUNet",
            "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]],
            "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
            "counts": [1, 3, 4, 6],
            "mirroring": True,
        },
        "2d_transposed": {
            "dimensions": 2,
            "spacing": [1.3, 1.2],
            "patch_size": [32, 32],
            "transpose": [2, 0, 1],
            "image": "ct",
        },
        "torch_separate_z": {"resampler": "resample_torch_fornnunet", "transpose": [2, 0, 1], **anisotropic},
        "no_resampling": {"resampler": "no_resampling_hack"},
        "all_cases": {"folds": ["all"]},
        "not_mirrored": {"mirror_axes": None, "mirroring": True},
        "ignore": {"labels": {**LABELS, "ignore": 4}},
        "regions_ignore": {**regions, "labels": {**regions["labels"], "ignore": 4}, "order": ["1", "3", "2"]},
        "unscaled": {"normalization": "NoNormalization", "scale": 1 / 60},
        "rescaled": {"normalization": "RescaleTo01Normalization", "masked": True},
        "as_rgb": {"normalization": "RGBTo01Normalization"},
        **make_combinations(regions, anisotropic),
    }


def make_combinations(regions: dict, anisotropic: dict) -> dict[str, dict]:
    """Cascades and ensembles: ``parts`` are run one after the other, each beside what the kind has for all."""
    low = {"configuration": "3d_lowres", "spacing": [2.1, 1.8, 1.9], "patch_size": [16, 16, 16]}
    high = {"configuration": "3d_cascade_fullres", "previous": "3d_lowres"}
    flat = {"dimensions": 2, "spacing": [1.3, 1.2], "patch_size": [32, 32], "transpose": [2, 0, 1]}
    return {
        "cascade": {"parts": [{**low, "folds": [0, 1]}, high], "mirroring": True},
        "cascade_regions": {
            **regions,
            "masked": True,
            "channels": 2,
            "resampler": "resample_torch_fornnunet",
            "parts": [low, {**high, "transpose": [1, 2, 0], "spacing": [0.8, 1.4, 1.1]}],
        },
        "cascade_anisotropic": {"parts": [low, {**high, **anisotropic}]},
        "cascade_by_half": {
            "resampler": "resample_torch_fornnunet",
            "parts": [low, {**high, "spacing": [0.8, 1.4, 1.1], "by_half": True}],
        },
        "ensemble": {"parts": [flat, {**low, "configuration": "3d_fullres"}], "keep_largest": [[1], [2, 3]]},
        "ensemble_regions": {**regions, "masked": True, "parts": [{}, {**low, **anisotropic}], "mirroring": True},
        "ensemble_with_cascade": {"parts": [low, high, flat], "ensemble": [1, 2]},
    }


def make_model(path: Path, kind: dict) -> Path:
    """Write a trained-model folder, or for several parts a Dataset folder of them."""
    if "parts" not in kind:
        return make_folder(path, kind)
    names = [folder.name for folder in part_folders(path, kind)]
    for name, part in zip(names, kind["parts"], strict=True):
        make_folder(path / name, {**kind, **part})
    if members := ensemble_members(kind):
        name = "___".join(["ensemble", *(names[n] for n in members), "0"])
        keys = ("trainer", "plans_identifier", "configuration")
        chosen = [dict(zip(keys, names[n].split("__"), strict=True)) for n in members]
        best = {
            "selected_model_or_models": chosen,
            "postprocessing_file": f"/results/ensembles/{name}/postprocessing.pkl",
        }
        (path / "inference_information.json").write_text(json.dumps({"best_model_or_ensemble": best}))
        groups = kind.get("keep_largest", [])
        steps = {
            "postprocessing_fns": ["remove_all_but_largest_component_from_segmentation"] * len(groups),
            "postprocessing_kwargs": [{"labels_or_regions": group} for group in groups],
        }
        (path / "ensembles" / name).mkdir(parents=True)
        (path / "ensembles" / name / "postprocessing.json").write_text(json.dumps(steps))
    return path


def part_folders(path: Path, kind: dict) -> list[Path]:
    return [path / f"nnUNetTrainer__nnUNetPlans__{configuration_of(part)}" for part in kind["parts"]]


def configuration_of(kind: dict) -> str:
    return kind.get("configuration", "2d" if kind.get("dimensions") == 2 else "3d_fullres")


def ensemble_members(kind: dict) -> list[int]:
    """Which parts are averaged; none if they are the stages of a cascade."""
    cascade = any("previous" in part for part in kind["parts"])
    return kind.get("ensemble", [] if cascade else list(range(len(kind["parts"]))))


def make_folder(path: Path, kind: dict) -> Path:
    """Write a trained-model folder with random weights; heads are enlarged so that every class wins somewhere."""
    dimensions, channels = kind.get("dimensions", 3), kind.get("channels", 1)
    plans, dataset = make_plans(kind, dimensions, channels), make_dataset(kind, channels)
    configuration = next(iter(plans["configurations"]))
    entry = plans["configurations"][configuration]
    # Old plans have no such entry: they mean the plain network.
    architecture = entry.get("architecture") or make_plans({}, 3, 1)["configurations"]["3d_fullres"]["architecture"]
    outputs = len(set(dataset["labels"]) - {"ignore"}) - ("order" in kind)
    inputs = channels + (3 if "previous" in kind else 0)
    path.mkdir(parents=True)
    kwargs = dict(architecture["arch_kwargs"])
    if kind.get("trainer") == "nnUNetTrainerBN":  # which changes the network, but not the plan
        kwargs |= {"norm_op": f"torch.nn.modules.batchnorm.BatchNorm{dimensions}d"}
    for number, fold in enumerate(kind.get("folds", [0])):
        torch.manual_seed(number)
        network = get_network_from_plans(
            architecture["network_class_name"], kwargs, architecture["_kw_requires_import"],
            inputs, outputs, deep_supervision=True,
        )  # fmt: skip
        # Labels as random weights see them would magnify every voxel in which the first stages differ.
        next(network.encoder.parameters()).data[:, channels:] *= 0.05
        balance(network, torch.randn(4, inputs, *entry["patch_size"]) * kind.get("scale", 1))
        (path / f"fold_{fold}").mkdir()
        checkpoint = {
            "network_weights": network.state_dict(), "trainer_name": kind.get("trainer", "nnUNetTrainer"),
            "init_args": {"plans": plans, "configuration": configuration, "fold": fold, "dataset_json": dataset},
            "inference_allowed_mirroring_axes": kind.get("mirror_axes", tuple(range(dimensions))),
        }  # fmt: skip
        torch.save(checkpoint, path / f"fold_{fold}" / "checkpoint_final.pth")
    (path / "plans.json").write_text(json.dumps(plans))
    (path / "dataset.json").write_text(json.dumps(dataset))
    return path


@torch.no_grad()
def balance(network: torch.nn.Module, example: torch.Tensor):
    """Enlarge and center the last layer, so that every class wins somewhere."""
    for _ in range(20):  # the means and variances of BatchNorm, where there is one
        network(example)
    network.eval()
    head = network.decoder.seg_layers[-1]
    head.weight.normal_(std=1)
    head.bias.zero_()
    logits = network(example)[0]
    head.bias -= logits.transpose(0, 1).flatten(1).quantile(0.6, dim=1)


def make_dataset(kind: dict, channels: int) -> dict:
    name = "CT" if kind.get("normalization") == "CTNormalization" else "MRI"
    dataset = {
        "channel_names": {str(number): name for number in range(channels)}, "labels": kind.get("labels", LABELS),
        "numTraining": 1, "file_ending": ".nii.gz",
    }  # fmt: skip
    return {**dataset, "regions_class_order": kind["order"]} if "order" in kind else dataset


def make_plans(kind: dict, dimensions: int, channels: int) -> dict:
    strides = kind.get("strides", [[1] * dimensions, [2] * dimensions])
    kernels = kind.get("kernel_sizes", [[3] * dimensions] * 2)
    transpose = kind.get("transpose", [0, 1, 2])
    configuration = {
        "data_identifier": "x", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": kind.get("patch_size", [24, 32, 24]), "spacing": kind.get("spacing", [1.2, 1.0, 1.1]),
        "median_image_size_in_voxels": [40] * dimensions,
        "normalization_schemes": [kind.get("normalization", "ZScoreNormalization")] * channels,
        "use_mask_for_norm": [bool(kind.get("masked"))] * channels, "batch_dice": True,
    }  # fmt: skip
    for use, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        resampler = kind.get("resampler", "resample_data_or_seg_to_shape")
        settings = {"is_seg": use == "seg", "force_separate_z": None}
        if resampler == "resample_data_or_seg_to_shape":
            settings |= {"order": order, "order_z": 0}
        elif resampler == "no_resampling_hack":
            settings = {}
        elif kind.get("by_half"):
            settings |= {"memefficient_seg_resampling": True}
        configuration |= {f"resampling_fn_{use}": resampler, f"resampling_fn_{use}_kwargs": settings}
    network, counts = kind.get("network", "PlainConvUNet"), kind.get("counts", [2, 2])
    if "previous" in kind:
        configuration["previous_stage"] = kind["previous"]
    if kind.get("old"):
        configuration |= {
            "UNet_class_name": network, "UNet_base_num_features": 6, "unet_max_num_features": 320,
            "n_conv_per_stage_encoder": counts, "n_conv_per_stage_decoder": [2],
            "pool_op_kernel_sizes": strides, "conv_kernel_sizes": kernels, "num_pool_per_axis": [1] * dimensions,
        }  # fmt: skip
    else:
        count_key = "n_conv_per_stage" if network == "PlainConvUNet" else "n_blocks_per_stage"
        configuration["architecture"] = {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{network}",
            "arch_kwargs": {
                "n_stages": len(strides), "features_per_stage": [6, 12, 12, 12][: len(strides)],
                "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
                "kernel_sizes": kernels, "strides": strides, count_key: counts,
                "n_conv_per_stage_decoder": [2, 1, 1][: len(strides) - 1],
                "conv_bias": True, "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
                "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }  # fmt: skip
    return {
        "dataset_name": "Dataset999_Oracle", "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0], "original_median_shape_after_transp": [40, 40, 40],
        "image_reader_writer": kind.get("reader", "SimpleITKIO"), "transpose_forward": transpose,
        "transpose_backward": [int(axis) for axis in np.argsort(transpose)], "experiment_planner_used": "x",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(number): CT for number in range(channels)},
        "configurations": {configuration_of(kind): configuration},
    }  # fmt: skip


def make_images(data: Path, kind: dict, folder: Path) -> list[Path]:
    """One file per channel: a hippocampus crop, or a piece of a CT, with spacing and orientation as they are."""
    folder.mkdir()
    if kind.get("image") == "ct":
        image = sitk.ReadImage(str(data / "organs/example_ct_sm.nii.gz"))
        image = image[30:74, 20:70, 4:28]
    else:
        image = sitk.ReadImage(str(data / "hippocampus/images/hippocampus_001.nii.gz"), sitk.sitkFloat32)
        image = sitk.Cast(sitk.RescaleIntensity(image, 0, 250), sitk.sitkUInt8)[2:32, 6:46, 3:31]
    files = []
    for channel in range(kind.get("channels", 1)):
        pixels = sitk.GetArrayFromImage(image)
        pixels = pixels if channel == 0 else 255 - pixels
        if kind.get("masked"):
            pixels[:, :6], pixels[:4], pixels[10:12, 20:24, 14:18] = 0, 0, 0
        copy = sitk.GetImageFromArray(pixels)
        copy.CopyInformation(image)
        files.append(folder / f"case_{channel:04d}.nii.gz")
        sitk.WriteImage(copy, str(files[-1]))
    return files
