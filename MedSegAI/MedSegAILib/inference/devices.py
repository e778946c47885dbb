"""Where a network runs: CUDA, Apple's MPS or the CPU."""

from __future__ import annotations

import platform
import time
from functools import cache
from typing import TYPE_CHECKING

from MedSegAICore.errors import DependencyError, DeviceError

if TYPE_CHECKING:
    import torch


def require_torch():
    """Import torch. Raises DependencyError that says how to get it."""
    try:
        import torch
    except ImportError as error:
        raise DependencyError(
            "PyTorch is not installed. In Slicer install the PyTorch extension; elsewhere run: pip install torch"
        ) from error
    return torch


def choose_device(name: str = "auto") -> torch.device:
    """The device of this name; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises DeviceError if the name is unknown or the device does not exist here.
    """
    torch = require_torch()
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, ValueError) as error:
        raise DeviceError(f"There is no device {name!r}; choose auto, cuda, cuda:1, mps or cpu.") from error
    if device.type not in ("cuda", "mps", "cpu"):
        raise DeviceError(f"The device is {name!r}; choose auto, cuda, cuda:1, mps or cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"Device {name} was asked for, but PyTorch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
            "device(s) here. Choose auto or cpu, or install the CUDA build of PyTorch."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("Device mps was asked for, but it exists on Apple computers only. Choose auto or cpu.")
    return device


def full_precision(device: torch.device) -> str:
    """The precision in which nnU-Net computes on such a device."""
    return "float16" if device.type == "cuda" else "float32"


def reduced_precision(device: torch.device) -> str:
    """The fastest precision that is good enough for labels; on a CPU bfloat16, where the processor is fast with it."""
    return "bfloat16" if device.type == "cpu" and _is_fast_with_bfloat16() else full_precision(device)


@cache
def _is_fast_with_bfloat16() -> bool:
    """Whether the processor has instructions for it (then it is several times faster; without them it is slower).

    Timing a layer instead would choose now this and now that on a busy machine, and results would not be repeatable.
    """
    torch = require_torch()
    # Private, but the only place where torch says it; a torch without them computes in float32.
    checks = [getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")]
    return any(check is not None and check() for check in checks)


def describe_device(device: torch.device) -> str:
    """For people and provenance: the device's type and product name."""
    torch = require_torch()
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"cuda ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"
    if device.type == "mps":
        return f"mps ({platform.processor() or platform.machine()})"
    return f"cpu ({torch.get_num_threads()} threads)"


def try_convolution(device: torch.device) -> float:
    """Run one small 3D convolution; returns its seconds. Raises DeviceError with the reason if it cannot."""
    torch = require_torch()
    try:
        started = time.perf_counter()
        network = torch.nn.Conv3d(1, 8, 3, padding=1).to(device)
        with torch.inference_mode():
            total = float(network(torch.ones(1, 1, 16, 16, 16, device=device)).sum())
        if total != total:
            raise DeviceError(f"A convolution on {device} gave NaN. Update the driver or choose cpu.")
        return time.perf_counter() - started
    except RuntimeError as error:
        raise DeviceError(f"{device} cannot run a convolution: {error}. Choose cpu.") from error
