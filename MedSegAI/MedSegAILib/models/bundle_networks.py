"""The network of a MONAI bundle: a class of MONAI out of a list, with the bundle's weights."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSegAICore.errors import DependencyError, ModelError
from MedSegAILib.models.bundle_config import Component
from MedSegAILib.models.bundle_transforms import require_monai
from MedSegAILib.models.checkpoint import DAMAGED_PICKLE, REFUSED_GLOBAL, WRAPPER_PREFIXES

if TYPE_CHECKING:
    import torch

NETWORKS = (
    "UNet", "BasicUNet", "AttentionUnet", "HighResNet", "SegResNet", "SegResNetVAE", "SegResNetDS", "DynUNet", "VNet",
    "UNETR", "SwinUNETR", "FlexibleUNet",
)  # fmt: skip
# Other names of the same classes.
ALIASES = {
    "Unet": "UNet", "unet": "UNet", "BasicUnet": "BasicUNet", "Basicunet": "BasicUNet", "basicunet": "BasicUNet",
    "DynUnet": "DynUNet", "Dynunet": "DynUNet",
}  # fmt: skip
# Arguments of older versions that described the input only; a network that does not know them any more is the same.
OLD_ARGUMENTS = {"SwinUNETR": ("img_size",), "UNETR": ("pos_embed",)}
# Where programs put the weights in a checkpoint.
WEIGHTS_KEYS = ("model", "state_dict", "network", "network_weights", "model_state_dict")


def network_name(component: Any) -> str:
    """MONAI's class for a bundle's ``network_def``. Raises ModelError that names a network which is not known."""
    if not isinstance(component, Component):
        raise ModelError(
            f"The bundle's network_def is {component!r}, expected a network with a _target_, one of "
            f"{', '.join(NETWORKS)}."
        )
    name = ALIASES.get(component.name, component.name)
    if not component.is_monai or name not in NETWORKS:
        origin = "is not supported" if component.is_monai else "is code of its own that is not run here"
        raise ModelError(
            f"The bundle's network is {component.target}, which {origin}; supported are {', '.join(NETWORKS)}, and any "
            "network that is stored as models/model.ts (TorchScript)."
        )
    for key, value in component.arguments.items():
        if isinstance(value, Component) or callable(value):
            raise ModelError(f"The bundle's {name} wants code as its {key}, which is not run here.")
    return name


def build_network(component: Component) -> torch.nn.Module:
    """The network with fresh weights.

    Raises ModelError if its arguments do not fit the MONAI that is installed; DependencyError if a package is missing.
    """
    name = network_name(component)
    made = getattr(require_monai().networks.nets, name)
    arguments = dict(component.arguments)
    for old in OLD_ARGUMENTS.get(name, ()):
        if old not in inspect.signature(made).parameters:
            arguments.pop(old, None)
    if "pretrained" in arguments:
        arguments["pretrained"] = False  # would be fetched from the internet, and the bundle has weights of its own
    try:
        return made(**arguments)
    except Exception as error:  # MONAI checks arguments in many ways
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if type(error).__name__ == "OptionalImportError" or isinstance(error, ImportError):
            raise DependencyError(f"The bundle's {name} needs a package that is not installed: {text}") from error
        version = require_monai().__version__
        raise ModelError(
            f"The bundle's network {name} cannot be made by MONAI {version} with its arguments: {text}. Install the "
            "version of MONAI that the bundle's metadata.json names."
        ) from error


def load_weights(network: torch.nn.Module, file: Path) -> None:
    """Read weights from a checkpoint without running code from it.

    Raises ModelError if the file is missing, damaged, unsafe, or does not fit the network.
    """
    import torch

    if not file.is_file():
        raise ModelError(f"The bundle lacks {file.name}, the weights of its network. Copy the bundle again.")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = REFUSED_GLOBAL.search(str(error))
        held = f"besides weights it holds {refused[1]}" if refused else "it is damaged or holds more than weights"
        raise ModelError(
            f"{file.name} was refused and nothing of it was run: {held}. Ask its author for a file with weights only."
        ) from error
    except DAMAGED_PICKLE as error:
        raise ModelError(f"{file.name} is damaged or not a PyTorch file. Copy the bundle again.") from error
    try:
        network.load_state_dict(_bare(_weights(content, file)))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ModelError(f"The weights in {file.name} do not fit the bundle's network_def: {reason}") from error
    for name, tensor in network.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{file.name} is damaged: {name} holds NaN or infinite numbers. Copy the bundle again.")


def _weights(content: Any, file: Path) -> Mapping[str, torch.Tensor]:
    import torch

    for key in (None, *WEIGHTS_KEYS):
        found = content if key is None else content.get(key) if isinstance(content, dict) else None
        if isinstance(found, dict) and found and all(isinstance(value, torch.Tensor) for value in found.values()):
            return found
    raise ModelError(f"{file.name} holds no weights of a network that could be found in it. Copy the bundle again.")


def _bare(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    bare = {}
    for name, tensor in weights.items():
        for prefix in WRAPPER_PREFIXES:
            name = name.removeprefix(prefix)
        bare[name] = tensor
    return bare
