"""Opening a checkpoint without running code from it."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

from MedSegAICore.errors import ModelError

# Written by torch.nn.DataParallel and torch.compile around the names that the network itself uses.
WRAPPER_PREFIXES = ("_orig_mod.", "module.")
# How torch's messages name what a checkpoint may not hold, e.g. "GLOBAL posix.system".
REFUSED_GLOBAL = re.compile(r"GLOBAL (\S+?)\.?\s")
# What torch.load raises on files with changed bytes.
DAMAGED_PICKLE = (
    OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, TypeError, AssertionError,
)  # fmt: skip


def load_checkpoint(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint of nnU-Net v2 or of our trainer to the CPU; weights' names without wrapper prefixes.

    A checkpoint is a pickle, and a pickle can run anything. Only tensors, containers and numpy scalars (which
    nnU-Net's log holds) are allowed; anything else is refused before it runs.
    Raises ModelError if the file is missing, damaged, unsafe or not such a checkpoint.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise ModelError(f"The checkpoint {path} does not exist; the model folder is incomplete.")
    try:
        with torch.serialization.safe_globals(_harmless_globals()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = REFUSED_GLOBAL.search(str(error))
        if refused is None:
            raise ModelError(_damaged(path)) from error
        raise ModelError(
            f"The checkpoint {path.name} was refused and nothing of it was run: besides weights it holds "
            f"{refused[1]}. Ask its author for a checkpoint with weights only."
        ) from error
    except DAMAGED_PICKLE as error:
        raise ModelError(_damaged(path)) from error
    weights = content.get("network_weights") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ModelError(f"{path.name} has no 'network_weights', so it is not a checkpoint of nnU-Net v2.")
    return {**content, "network_weights": {_bare(str(name)): tensor for name, tensor in weights.items()}}


def _harmless_globals() -> list:
    import numpy as np

    scalars = [np.dtype, *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_))]
    core = np._core if hasattr(np, "_core") else np.core
    reconstruct = core.multiarray.scalar
    # The same function under the module name that numpy 1 and numpy 2 write.
    return [*scalars, (reconstruct, "numpy.core.multiarray.scalar"), (reconstruct, "numpy._core.multiarray.scalar")]


def _damaged(path: Path) -> str:
    return (
        f"The checkpoint {path.name} ({path.stat().st_size} bytes) is damaged or not a PyTorch file. "
        "Copy or download the model again."
    )


def _bare(name: str) -> str:
    for prefix in WRAPPER_PREFIXES:
        name = name.removeprefix(prefix)
    return name
