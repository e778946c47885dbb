"""Our predictor beside nnU-Net's own, on the same model folders and volumes: the labels must be equal.

    python compare_with_nnunet.py --data DATA [--kinds plain residual …] [--write-references FOLDER]
    python compare_with_nnunet.py --model FOLDER --image FILE

Needs an interpreter with nnunetv2 (README.md). The folders of the first form have random weights, made by nnU-Net's own
network classes; DATA is a folder with ``organs/example_ct_sm.nii.gz`` and ``hippocampus/images``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ.setdefault(variable, tempfile.gettempdir())  # nnU-Net complains at import without them
for folder in ("MedSegAI", "MedSegAIMetrics"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / folder))

import numpy as np
import SimpleITK as sitk
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from MedSegAICore.files import read_image
from MedSegAICore.image import stack_channels
from MedSegAILib.inference.prediction import Predictor
from MedSegAILib.models.folder import ModelFolder

REQUIRED_AGREEMENT = 0.999
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
    return {
        "plain": {},
        "mirrored": {"mirroring": True},
        "two_folds": {"folds": 2},
        "residual": {"network": "ResidualEncoderUNet"},
        "2d": {"dimensions": 2, "spacing": [1.3, 1.3], "patch_size": [40, 40]},
        "anisotropic": anisotropic,
        "regions": {"labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "rim": 3}, "order": [1, 2, 3]},
        "two_channels_masked": {"channels": 2, "masked": True},
        "ct": {"normalization": "CTNormalization", "image": "ct"},
        "ct_coarse": {"normalization": "CTNormalization", "image": "ct", "spacing": [3.0, 2.5, 2.5]},
        "old_plans": {"old": True},
        "transposed": {"transpose": [1, 0, 2], **anisotropic},
        "torch_resampling": {"resampler": "resample_torch_fornnunet"},
        "reoriented": {"reader": "NibabelIOWithReorient"},
    }


def make_folder(path: Path, kind: dict) -> Path:
    """Write a trained-model folder with random weights; heads are enlarged so that every class wins somewhere."""
    dimensions, channels = kind.get("dimensions", 3), kind.get("channels", 1)
    plans, dataset = make_plans(kind, dimensions, channels), make_dataset(kind, channels)
    configuration = next(iter(plans["configurations"]))
    entry = plans["configurations"][configuration]
    # Old plans have no such entry: they mean the plain network.
    architecture = entry.get("architecture") or make_plans({}, 3, 1)["configurations"]["3d_fullres"]["architecture"]
    outputs = len(dataset["labels"]) - ("order" in kind)
    path.mkdir(parents=True)
    for fold in range(kind.get("folds", 1)):
        torch.manual_seed(fold)
        network = get_network_from_plans(
            architecture["network_class_name"], architecture["arch_kwargs"], architecture["_kw_requires_import"],
            channels, outputs, deep_supervision=True,
        )  # fmt: skip
        balance(network, torch.randn(4, channels, *entry["patch_size"]))
        (path / f"fold_{fold}").mkdir()
        checkpoint = {
            "network_weights": network.state_dict(), "trainer_name": "nnUNetTrainer",
            "init_args": {"plans": plans, "configuration": configuration, "fold": fold, "dataset_json": dataset},
            "inference_allowed_mirroring_axes": tuple(range(dimensions)),
        }  # fmt: skip
        torch.save(checkpoint, path / f"fold_{fold}" / "checkpoint_final.pth")
    (path / "plans.json").write_text(json.dumps(plans))
    (path / "dataset.json").write_text(json.dumps(dataset))
    return path


@torch.no_grad()
def balance(network: torch.nn.Module, example: torch.Tensor):
    """Enlarge and center the last layer, so that every class wins somewhere."""
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
        configuration |= {f"resampling_fn_{use}": resampler, f"resampling_fn_{use}_kwargs": settings}
    network, counts = kind.get("network", "PlainConvUNet"), [2, 2]
    if kind.get("old"):
        configuration |= {
            "UNet_class_name": network, "UNet_base_num_features": 6, "unet_max_num_features": 320,
            "n_conv_per_stage_encoder": counts, "n_conv_per_stage_decoder": [2],
            "pool_op_kernel_sizes": strides, "conv_kernel_sizes": kernels, "num_pool_per_axis": [1] * dimensions,
        }  # fmt: skip
    else:
        count_key = "n_blocks_per_stage" if network == "ResidualEncoderUNet" else "n_conv_per_stage"
        configuration["architecture"] = {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{network}",
            "arch_kwargs": {
                "n_stages": 2, "features_per_stage": [6, 12], "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
                "kernel_sizes": kernels, "strides": strides, count_key: counts, "n_conv_per_stage_decoder": [2],
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
        "configurations": {"2d" if dimensions == 2 else "3d_fullres": configuration},
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


def predict_with_nnunet(model: Path, images: list[Path], mirroring: bool) -> np.ndarray:
    predictor = nnUNetPredictor(use_mirroring=mirroring, device=torch.device("cpu"), allow_tqdm=False)
    folds = tuple(int(folder.name[5:]) for folder in sorted(model.glob("fold_*")))
    predictor.initialize_from_trained_model_folder(str(model), use_folds=folds, checkpoint_name="checkpoint_final.pth")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "case"
        predictor.predict_from_files_sequential([[str(i) for i in images]], [str(output)], save_probabilities=False)
        return sitk.GetArrayFromImage(sitk.ReadImage(f"{output}.nii.gz"))


def compare(model: Path, images: list[Path], mirroring: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Labels of nnU-Net and ours. ``load_state_dict`` is strict in both programs, so the weights fit both ways."""
    theirs = predict_with_nnunet(model, images, mirroring)
    predictor = Predictor(ModelFolder.open(model), "cpu", quality="best", mirroring=mirroring)
    return theirs, predictor.segment(stack_channels([read_image(image) for image in images])).label_map.array


def report(name: str, theirs: np.ndarray, ours: np.ndarray) -> bool:
    agreement = float((theirs == ours).mean())
    shares = " ".join(f"{(theirs == value).mean():.2f}" for value in range(int(theirs.max()) + 1))
    print(f"{name:<22}{theirs.size:>9}{agreement:>12.6f}   {shares}", flush=True)
    return agreement >= REQUIRED_AGREEMENT


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--kinds", nargs="+", choices=list(make_kinds()), default=list(make_kinds()))
    parser.add_argument("--write-references", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--image", type=Path, nargs="+")
    arguments = parser.parse_args()
    print(f"{'model':<22}{'voxels':>9}{'agreement':>12}   shares of the labels")
    if arguments.model:
        return 0 if report(arguments.model.name, *compare(arguments.model, arguments.image)) else 1
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.kinds:
            kind, folder = make_kinds()[name], Path(temporary) / name
            folder.mkdir()
            model, images = make_folder(folder / "model", kind), make_images(arguments.data, kind, folder / "images")
            theirs, ours = compare(model, images, kind.get("mirroring", False))
            good &= report(name, theirs, ours)
            if arguments.write_references:
                target = arguments.write_references / name
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(folder, target)
                np.savez_compressed(target / "nnunet.npz", labels=theirs, mirroring=kind.get("mirroring", False))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
