"""Small MONAI bundles with random weights, and MONAI's own run of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch

UNET = {
    "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [4, 8], "strides": [2],
    "num_res_units": 1, "norm": "instance",
}  # fmt: skip
PREPROCESSING: list[dict[str, Any]] = [
    {"_target_": "LoadImaged", "keys": "@image_key"},
    {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
    {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"},
    {"_target_": "Spacingd", "keys": "@image_key", "pixdim": "@pixdim", "mode": "bilinear"},
    {"_target_": "NormalizeIntensityd", "keys": "@image_key", "nonzero": True},
    {"_target_": "EnsureTyped", "keys": "@image_key"},
]
POSTPROCESSING: list[dict[str, Any]] = [
    {"_target_": "Activationsd", "keys": "pred", "softmax": True},
    {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "@image_key",
     "nearest_interp": False, "to_tensor": True},
    {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
]  # fmt: skip
INFERER = {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "sw_batch_size": 2, "overlap": 0.5}
CHECKPOINT_LOADER = {
    "_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'",
    "load_dict": {"model": "@network"},
}  # fmt: skip


def make_bundle(
    path: Path | str,
    *,
    network: dict[str, Any] | None = None,
    preprocessing: list[dict[str, Any]] | None = None,
    postprocessing: list[dict[str, Any]] | None = None,
    inferer: dict[str, Any] | None = None,
    entries: dict[str, Any] | None = None,
    names: tuple[str, ...] = ("background", "front", "back"),
    channels: tuple[str, ...] = ("image",),
    seed: int = 0,
) -> Path:
    """Write a bundle's folder and return its path. ``entries``: more of inference.json."""
    path = Path(path)
    network = copy.deepcopy(network or UNET)
    inference = {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "image_key": "image",
        "pixdim": [1.5, 1.5, 2.0],
        "dataset_dir": "/data",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": preprocessing or PREPROCESSING},
        "inferer": inferer or INFERER,
        "postprocessing": {"_target_": "Compose", "transforms": postprocessing or POSTPROCESSING},
        "checkpointloader": CHECKPOINT_LOADER,
        **(entries or {}),
    }
    metadata = {
        "version": "0.1.0", "monai_version": "1.6.1", "name": "Tiny bundle",
        "network_data_format": {
            "inputs": {"image": _data_format(channels)}, "outputs": {"pred": _data_format(names)},
        },
    }  # fmt: skip
    (path / "configs").mkdir(parents=True)
    (path / "models").mkdir()
    (path / "configs/inference.json").write_text(json.dumps(inference, indent=2))
    (path / "configs/metadata.json").write_text(json.dumps(metadata, indent=2))
    torch.save(_decided(network, seed).state_dict(), path / "models/model.pt")
    return path


def change_inference(path: Path, **entries: Any) -> Path:
    """Replace entries of a bundle's inference.json."""
    file = path / "configs/inference.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))
    return path


def run_with_monai(path: Path, volume: Path) -> Any:
    """Labels (channels, I, J, K) on the volume's grid as MONAI's own parser, transforms and inferer make them."""
    from monai.bundle import ConfigParser
    from monai.data import MetaTensor

    parser = ConfigParser()
    parser.read_config(path / "configs/inference.json")
    parser["bundle_root"] = str(path)
    parser["device"] = "cpu"
    parser.parse()
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(path / "models/model.pt", weights_only=True))
    data = parser.get_parsed_content("preprocessing")({"image": str(volume)})
    with torch.no_grad():
        answer = parser.get_parsed_content("inferer")(data["image"][None], lambda x: _first(network(x)))
    data["pred"] = MetaTensor(answer[0].as_tensor(), affine=data["image"].affine, meta=data["image"].meta)
    return parser.get_parsed_content("postprocessing")(data)["pred"].numpy()


def _first(answer: Any) -> torch.Tensor:
    return answer[0] if isinstance(answer, list | tuple) else answer


def _data_format(names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "image", "num_channels": len(names), "spatial_shape": [16, 16, 16],
        "channel_def": {str(number): name for number, name in enumerate(names)},
    }  # fmt: skip


def _decided(definition: dict[str, Any], seed: int) -> torch.nn.Module:
    """The network with random weights; its answers differ clearly between channels."""
    import monai.networks.nets

    torch.manual_seed(seed)
    arguments = {key: value for key, value in definition.items() if not key.startswith("_")}
    network = getattr(monai.networks.nets, definition["_target_"])(**arguments)
    example = torch.nn.functional.avg_pool3d(torch.randn(1, 1, 48, 48, 48), 3)
    example = example[:, :, :, :, 0] if arguments.get("spatial_dims") == 2 else example
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
        answer = _first(network.eval()(example / example.std()))
        heads = [p for name, p in network.named_parameters() if name.endswith("bias") and len(p) == answer.shape[1]]
        if heads:  # no channel is the largest everywhere
            heads[-1] -= answer.mean(dim=[0, *range(2, answer.ndim)])
    return network
