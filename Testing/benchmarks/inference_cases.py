"""The volumes and model folders of inference.py; needs MedSegAI on the path. Everything is seeded and made once.

The hippocampus cases use a fold of the bundled model. There is no free trained model for a large CT, so that network is
made, not trained: random convolutions whose last layer is the nearest of as many cluster centers as there are classes
(k-means of the network's own features on the volume). Its segments are connected, of the size of organs, and have
margins between them, as trained ones; random heads have none, and their labels would change with every rounding.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from MedSegAICore.files import read_image
from MedSegAILib.inference.preprocessing import preprocess
from MedSegAILib.models.folder import ModelFolder
from MedSegAILib.models.library import ModelLibrary

CELL = (36, 50, 36)  # of the mosaic, KJI: the median size of the hippocampus crops
HEAD = (160, 256, 256)
CT_SHAPE, CT_SPACING, CT_NOISE_HU = (200, 512, 512), (1.5, 0.8, 0.8), 12.0
CT_INTENSITIES = {
    "percentile_00_5": -1004.0, "percentile_99_5": 1588.0, "mean": -50.0, "std": 503.0,
    "min": -1024.0, "max": 3000.0, "median": 0.0,
}  # fmt: skip
CT_FEATURES = (8, 8, 8)
FINEST_SHARE = 0.3  # of the full resolution, beside means over 4 and 16 voxels
SAMPLES = 4096  # feature vectors of a tile for the centers
MARGIN = 8.0  # median distance in logits between a voxel's largest class and the second, unless
LARGEST = 100.0  # a logit would become larger than those of trained networks


@dataclass(frozen=True)
class Case:
    """``make(data, folder)`` writes model/ and image.nii.gz into ``folder``; ``classes`` counts the background."""

    title: str
    classes: int
    make: Callable[[Path, Path], None]


def make_hippocampus(data: Path, folder: Path):
    _bundled_fold(folder / "model")
    shutil.copy(sorted((data / "hippocampus/images").glob("*.nii.gz"))[0], folder / "image.nii.gz")


def make_head(data: Path, folder: Path):
    """A mosaic of crops, each brought to the same mean and deviation."""
    _bundled_fold(folder / "model")
    mosaic = np.zeros(HEAD, np.int16)
    corners = np.stack(np.meshgrid(*(range(0, n, c) for n, c in zip(HEAD, CELL, strict=True)), indexing="ij"), -1)
    files = sorted((data / "hippocampus/images").glob("*.nii.gz"))
    for number, (k, j, i) in enumerate(corners.reshape(-1, 3)):
        crop = sitk.GetArrayFromImage(sitk.ReadImage(str(files[number % len(files)]), sitk.sitkFloat32))
        crop = np.clip(crop, *np.percentile(crop, [0.5, 99.5]))
        crop = 1000 + 200 * (crop - crop.mean()) / crop.std()
        missing = [max(0, c - n) for c, n in zip(CELL, crop.shape, strict=True)]
        cell = np.pad(crop, [(n // 2, n - n // 2) for n in missing], mode="edge")
        target = mosaic[k : k + CELL[0], j : j + CELL[1], i : i + CELL[2]]
        starts = [(n - t) // 2 for n, t in zip(cell.shape, target.shape, strict=True)]
        target[...] = cell[tuple(slice(s, s + t) for s, t in zip(starts, target.shape, strict=True))]
    sitk.WriteImage(sitk.GetImageFromArray(mosaic), str(folder / "image.nii.gz"), True)


def make_ct(classes: int) -> Callable[[Path, Path], None]:
    def make(data: Path, folder: Path):
        _write_ct(data / "organs/example_ct.nii.gz", folder / "image.nii.gz")
        _write_ct_model(classes, folder)

    return make


CASES = {
    "hippocampus": Case("hippocampus crop, bundled model", 3, make_hippocampus),
    "head": Case("head 256x256x160, bundled model in many tiles", 3, make_head),
    "ct25": Case("CT 512x512x200, 25 classes", 25, make_ct(25)),
    "ct118": Case("CT 512x512x200, 118 classes", 118, make_ct(118)),
}


def _bundled_fold(target: Path):
    """One fold of the bundled model, without its card: nnU-Net would not do the postprocessing that it declares."""
    source = ModelLibrary().find("hippocampus").path
    (target / "fold_0").mkdir(parents=True)
    for name in ("plans.json", "dataset.json", "fold_0/checkpoint_final.pth"):
        shutil.copy(source / name, target / name)


def _write_ct(source: Path, target: Path):
    """The real CT in the field of view of a scanner, with air around it and noise of its own in every voxel."""
    grid = sitk.Image([CT_SHAPE[2], CT_SHAPE[1], CT_SHAPE[0]], sitk.sitkInt16)
    grid.SetSpacing(CT_SPACING[::-1])
    image = sitk.ReadImage(str(source), sitk.sitkFloat32)
    grid.SetDirection(image.GetDirection())
    center = [image.TransformContinuousIndexToPhysicalPoint([n / 2 for n in image.GetSize()])]
    offset = np.subtract(center[0], grid.TransformContinuousIndexToPhysicalPoint([n / 2 for n in grid.GetSize()]))
    grid.SetOrigin(offset.tolist())
    ct = sitk.GetArrayFromImage(sitk.Resample(image, grid, sitk.Transform(), sitk.sitkBSpline, -1000.0))
    ct += np.random.default_rng(0).normal(0, CT_NOISE_HU, ct.shape).astype(np.float32)
    result = sitk.GetImageFromArray(np.clip(ct, -1024, 3071).round().astype(np.int16))
    result.CopyInformation(grid)
    sitk.WriteImage(result, str(target), True)


def _write_ct_model(classes: int, folder: Path):
    model = folder / "model"
    (model / "fold_0").mkdir(parents=True)
    plans, dataset = _ct_plans(), _ct_dataset(classes)
    (model / "plans.json").write_text(json.dumps(plans))
    (model / "dataset.json").write_text(json.dumps(dataset))
    checkpoint = {
        "trainer_name": "nnUNetTrainer", "inference_allowed_mirroring_axes": None,
        "init_args": {"plans": plans, "configuration": "3d_fullres", "fold": 0, "dataset_json": dataset},
    }  # fmt: skip
    path = model / "fold_0/checkpoint_final.pth"
    network = _ct_network(classes)
    torch.save({**checkpoint, "network_weights": network.state_dict()}, path)
    opened = ModelFolder.open(model)
    array, _ = preprocess(read_image(folder / "image.nii.gz"), opened.configuration)
    _fit_head(network, array, opened.configuration.patch_size, classes)
    torch.save({**checkpoint, "network_weights": network.state_dict()}, path)


def _ct_network(classes: int) -> torch.nn.Module:
    """Random mixtures of means over three scales: weights differ between features, but not within a kernel."""
    from MedSegAILib.models.architecture import build_network

    torch.manual_seed(0)
    network = build_network(_ct_plans()["configurations"]["3d_fullres"]["architecture"], 1, classes)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim == 5:
                weight.copy_(torch.randn(*weight.shape[:2], 1, 1, 1).expand_as(weight))
            elif name.endswith("norm.bias"):  # where the features bend
                weight.normal_()
        network.decoder.stages[-1].convs[0].conv.weight[:, CT_FEATURES[0] :] *= FINEST_SHARE
    return network.eval()


@torch.inference_mode()
def _fit_head(network: torch.nn.Module, array: torch.Tensor, patch: tuple[int, ...], classes: int):
    """Make the last layer tell which of the centers is nearest: logit = scale * (center . x - |center|^2 / 2)."""
    features = []
    handle = network.decoder.stages[-1].register_forward_hook(lambda module, given, found: features.append(found[0]))
    generator, vectors = torch.Generator().manual_seed(0), []
    corners = [[0, (n - p) // 2] for n, p in zip(array.shape[1:], patch, strict=True)]
    for k, j, i in ((a, b, c) for a in corners[0] for b in corners[1] for c in corners[2]):
        network(array[None, :, k : k + patch[0], j : j + patch[1], i : i + patch[2]])
        flat = features.pop().flatten(1).T
        vectors.append(flat[torch.randint(len(flat), (SAMPLES,), generator=generator)])
    handle.remove()
    vectors = torch.cat(vectors)
    origin = vectors.mean(0)  # what all classes have in common changes no label, but large logits lose digits
    centers = _centers(vectors - origin, classes, generator)
    logits = (vectors - origin) @ centers.T - centers.square().sum(1) / 2
    best = logits.topk(2, dim=1).values
    scale = min(MARGIN / (best[:, 0] - best[:, 1]).median(), LARGEST / logits.abs().max())
    head = network.decoder.seg_layers[-1]
    head.weight.copy_((scale * centers)[:, :, None, None, None])
    head.bias.copy_(-scale * (centers @ origin + centers.square().sum(1) / 2))


def _centers(vectors: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """k-means (Lloyd 1982), begun with vectors far from each other, which gives few neighbors that are nearly equal."""
    centers = vectors[torch.randint(len(vectors), (1,), generator=generator)]
    for _ in range(count - 1):
        nearest = torch.cdist(vectors, centers).amin(1)
        centers = torch.cat([centers, vectors[nearest.argmax()][None]])
    for _ in range(20):
        nearest = torch.cdist(vectors, centers).argmin(1)
        sums = torch.zeros_like(centers).index_add_(0, nearest, vectors)
        counts = nearest.bincount(minlength=count)[:, None]
        centers = torch.where(counts > 0, sums / counts.clamp(min=1), centers)
    return centers


def _ct_dataset(classes: int) -> dict:
    labels = {"background": 0, **{f"organ_{value}": value for value in range(1, classes)}}
    return {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}


def _ct_plans() -> dict:
    resampling = {}
    for use, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        resampling[f"resampling_fn_{use}"] = "resample_data_or_seg_to_shape"
        settings = {"is_seg": use == "seg", "order": order, "order_z": 0, "force_separate_z": None}
        resampling[f"resampling_fn_{use}_kwargs"] = settings
    stages = len(CT_FEATURES)
    configuration = {
        "data_identifier": "x", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": [128] * 3, "spacing": [1.5] * 3, "median_image_size_in_voxels": [200, 273, 273],
        "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False], "batch_dice": True, **resampling,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": stages, "features_per_stage": list(CT_FEATURES), "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[3] * 3] * stages, "strides": [[1] * 3] + [[4] * 3] * (stages - 1),
                "n_conv_per_stage": [1] * stages, "n_conv_per_stage_decoder": [1] * (stages - 1), "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }  # fmt: skip
    return {
        "dataset_name": "Dataset998_Benchmark", "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.5] * 3, "original_median_shape_after_transp": [200, 273, 273],
        "image_reader_writer": "SimpleITKIO", "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "x", "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": CT_INTENSITIES},
        "configurations": {"3d_fullres": configuration},
    }  # fmt: skip
