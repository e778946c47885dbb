"""Networks from TorchScript, ONNX and MONAI in the one form that tiles are sent through.

Each is called with a tile (batch, channels, *tile) and answers logits (batch, outputs, *tile).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MedSegAICore.errors import DependencyError, ModelError
from MedSegAILib.inference.fallback import ran_out_of_memory
from MedSegAILib.models.onnx_file import external_files

if TYPE_CHECKING:
    import torch

    from MedSegAILib.models.model import Model

SMALLEST = 1e-7  # probability: its logit is finite, and far from every decision
# Of onnxruntime, by the type of device; the first that is installed runs the network.
PROVIDERS = {"cuda": ("CUDAExecutionProvider", "DmlExecutionProvider"), "mps": ("CoreMLExecutionProvider",), "cpu": ()}
CPU_PROVIDER = "CPUExecutionProvider"
OUT_OF_MEMORY = ("failed to allocate memory", "bad allocation", "bad_alloc", "out of memory")  # onnxruntime's words
ONNX_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class CheckedNetwork:
    """A network of which nothing is known, whose answers are looked at before they are used.

    ``network``: from (batch, channels, *tile) to (batch, outputs, *tile), or a list or tuple that begins with that.
    ``activation``: ``softmax`` or ``sigmoid`` if it answers probabilities, from which logits are made here.
    """

    def __init__(self, network: Callable, name: str, outputs: int, activation: str = "logits"):
        self._network, self._name, self._outputs, self._activation = network, name, outputs, activation

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Raises ModelError if the network cannot take the batch, or its answer does not fit."""
        try:
            answer = self._network(batch)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            if ran_out_of_memory(error):
                raise
            reason = str(error).strip().splitlines()[-1]
            raise ModelError(
                f"The network {self._name} cannot take a tile of shape {tuple(batch.shape)} (batch, channels, "
                f"extents): {reason}. Correct the patch size or the channels in the model's description."
            ) from error
        while isinstance(answer, list | tuple) and answer:
            answer = answer[0]
        expected = (len(batch), self._outputs, *batch.shape[2:])
        found = tuple(getattr(answer, "shape", ()))
        if found != expected:
            raise ModelError(
                f"The network {self._name} answers {found or type(answer).__name__}, but the model's description says "
                f"{expected} (batch, outputs, extents). Correct the labels or the patch size in it."
            )
        return self._logits(answer.float())

    def to(self, device: torch.device) -> CheckedNetwork:
        """Move the network in place, where it can be moved."""
        if hasattr(self._network, "to"):
            self._network.to(device)
        return self

    def modules(self) -> Iterator[torch.nn.Module]:
        """Its layers, where they can be looked at; none of TorchScript and ONNX."""
        import torch

        eager = isinstance(self._network, torch.nn.Module) and not isinstance(self._network, torch.jit.ScriptModule)
        return self._network.modules() if eager else iter(())

    def _logits(self, answer: torch.Tensor) -> torch.Tensor:
        if self._activation == "softmax":
            return answer.clamp_min(SMALLEST).log()
        return answer.logit(SMALLEST) if self._activation == "sigmoid" else answer


class OnnxNetwork:
    """A network in an ONNX file, run by onnxruntime, which copies tiles to its device and answers back.

    Raises ModelError if the file is damaged or does not fit; DependencyError without onnxruntime.
    """

    def __init__(self, path: Path, device: torch.device, channels: int, tile: Sequence[int]):
        runtime = require_onnxruntime()
        self._name = path.name
        external_files(path)  # before anything is read that the file may name
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors only: its warnings are about graph optimization
        providers = [*_providers(device, runtime)[:1], CPU_PROVIDER]
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime's exceptions have no common class but this
            raise ModelError(
                f"{path.name} cannot be run by onnxruntime {runtime.__version__}: {_short(error)}. Copy it again, or "
                "export it with an older opset or install a newer onnxruntime."
            ) from error
        self._check_input(channels, tile)

    def _check_input(self, channels: int, tile: Sequence[int]) -> None:
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in ONNX_TYPES:
            found = ", ".join(f"{entry.name} {entry.type}" for entry in inputs)
            raise ModelError(f"{self._name} has the inputs {found}, expected one of floating-point numbers.")
        shape, expected = inputs[0].shape, (None, channels, *tile)
        fits = len(shape) == len(expected) and all(
            wanted is None or not isinstance(found, int) or found == wanted
            for found, wanted in zip(shape, expected, strict=True)
        )
        if not fits:
            what = " x ".join(map(str, shape))
            wanted = " x ".join(map(str, ("batch", *expected[1:])))
            raise ModelError(
                f"The input of {self._name} is {what} ({max(0, len(shape) - 2)}D), but its sidecar describes {wanted} "
                f"({len(tile)}D): batch, channels, patch. Correct channels and patch_size in the sidecar, or export "
                "the network again."
            )
        self._input, self._one_by_one = inputs[0], isinstance(shape[0], int)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        import torch

        array = batch.cpu().numpy().astype(ONNX_TYPES[self._input.type], copy=False)
        pieces = np.split(array, len(array)) if self._one_by_one else [array]
        try:
            answers = [self._session.run(None, {self._input.name: piece})[0] for piece in pieces]
        except Exception as error:  # as above
            no_memory = any(phrase in str(error).lower() for phrase in OUT_OF_MEMORY)
            raise (MemoryError if no_memory else RuntimeError)(_short(error)) from error
        return torch.from_numpy(np.concatenate(answers)).to(batch.device)


def try_networks(model: Model) -> None:
    """Load the networks of a model and show each of them one tile of zeros: nothing else tells what they take.

    Raises ModelError if one does not fit the model's description.
    """
    import torch

    networks, _ = model.load_networks("cpu")
    with torch.inference_mode():
        for network in networks:
            network(torch.zeros(1, len(model.channel_names), *model.tile))


def require_onnxruntime() -> Any:
    """Import onnxruntime. Raises DependencyError that says how to get it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(
            "The model is an ONNX file, and the package onnxruntime, which runs such files, is not installed. Run: pip "
            "install onnxruntime (with an NVIDIA GPU: onnxruntime-gpu; on Windows with any other: onnxruntime-directml)"
        ) from error
    return onnxruntime


def onnx_warnings(device: torch.device) -> list[str]:
    """Says so if the network will run on the CPU although another device was chosen."""
    runtime = require_onnxruntime()
    if device.type == "cpu" or _providers(device, runtime):
        return []
    return [
        f"onnxruntime {runtime.__version__} cannot use {device} here, so the network runs on the CPU. For an NVIDIA "
        "GPU install onnxruntime-gpu in its place."
    ]


def _providers(device: torch.device, runtime: Any) -> list:
    available = runtime.get_available_providers()
    options = {"device_id": str(device.index or 0)} if device.type == "cuda" else {}
    return [(name, options) for name in PROVIDERS[device.type] if name in available]


def _short(error: Exception) -> str:
    """What onnxruntime says, without its codes and the places in its source."""
    text = " ".join(str(error).split())
    return text.rpartition(") ")[2].rstrip(".")[-300:] or type(error).__name__
