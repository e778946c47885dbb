"""Small TorchScript and ONNX networks with sidecars, whose answers can be derived by hand."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

# The network looks at the voxel that follows along its first axis: logits are 0 for the background, and for the
# segment that voxel's normalized intensity less one half.
THRESHOLD = 0.5
SIDECAR: dict[str, Any] = {
    "schema_version": 1,
    "spacing_mm": [1.0, 1.0, 1.0],
    "patch_size": [4, 6, 8],
    "channels": [{"name": "MR", "normalization": {"scheme": "IntensityRange", "from": [0, 10], "to": [0, 1]}}],
    "labels": [{"value": 1, "name": "Bright part"}],
    "output": {"activation": "logits", "kind": "labels"},
}


class Following(torch.nn.Module):
    def __init__(self, activation: str = "logits"):
        super().__init__()
        self.activation, self.threshold = activation, THRESHOLD

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        following = torch.cat([batch[:, :, 1:], batch[:, :, -1:]], dim=2)[:, :1] - self.threshold
        if self.activation == "sigmoid":
            return torch.sigmoid(following)
        logits = torch.cat([torch.zeros_like(following), following], dim=1)
        return torch.softmax(logits, dim=1) if self.activation == "softmax" else logits


class TwoRegions(torch.nn.Module):
    """Voxels above a quarter, and above three quarters."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.cat([batch - 0.25, batch - 0.75], dim=1)


def make_torchscript(path: Path | str, network: torch.nn.Module | None = None, **changes: Any) -> Path:
    """Write ``path`` and its sidecar; ``changes`` replace entries of the sidecar (None leaves one out)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network or Following()), str(path))
    write_sidecar(path, **changes)
    return path


def make_onnx(
    path: Path | str, *, shape: tuple = ("n", 1, "k", "j", "i"), opset: int = 17, weights_file: str = "", **changes: Any
) -> Path:
    """As ``make_torchscript``; ``shape``: of the network's input. ``weights_file``: where it says its weights are."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    dimensions = len(shape) - 2
    kernel = np.zeros((2, 1, 3, *[1] * (dimensions - 1)), np.float32)
    kernel[1, 0, 2] = 1  # the voxel that follows
    weights, bias = (numpy_helper.from_array(np.asarray(array, np.float32), name)
                     for array, name in ((kernel, "weights"), ([0, -THRESHOLD], "bias")))  # fmt: skip
    pads = [1, *[0] * (dimensions - 1)]
    convolution = helper.make_node("Conv", ["image", "weights", "bias"], ["answer"], pads=pads * 2)
    graph = helper.make_graph(
        [convolution], "following",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [shape[0], 2, *shape[2:]])],
        [weights, bias],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    if weights_file:
        tensor = model.graph.initializer[0]
        (path.parent / weights_file).write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.append(onnx.StringStringEntryProto(key="location", value=weights_file))
    path.write_bytes(model.SerializeToString())
    write_sidecar(path, **changes)
    return path


def write_sidecar(path: Path, **changes: Any) -> None:
    content = {name: value for name, value in {**SIDECAR, **changes}.items() if value is not None}
    path.with_suffix(".json").write_text(json.dumps(content))
