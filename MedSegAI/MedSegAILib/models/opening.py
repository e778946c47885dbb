"""Opening a model whatever it is stored as: the content of a folder or file says which format it is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MedSegAICore.errors import ModelError
from MedSegAILib.inference.postprocessing import Postprocessing
from MedSegAILib.models.bundle import MonaiBundle, is_bundle
from MedSegAILib.models.ensemble import Ensemble, open_nnunet
from MedSegAILib.models.folder import ModelFolder
from MedSegAILib.models.model import Model
from MedSegAILib.models.sidecar import FORMATS, SidecarModel


def open_model(path: Path | str, configurations: Sequence[str] = ()) -> Model:
    """A trained-model or Dataset folder of nnU-Net v2, a MONAI bundle's folder, TorchScript or ONNX files with sidecar.

    Also a folder that contains exactly one of them. Nothing of the weights is loaded yet.
    ``configurations``: of an nnU-Net model that has several, see ``open_nnunet``; the other formats have one.
    Raises ModelError if it is none, is incomplete, or asks for what is not supported.
    """
    path = Path(path)
    if path.is_file():
        return _open_file(path)
    bundles = [folder for folder in _folders(path) if is_bundle(folder)]
    if len(bundles) == 1:
        return MonaiBundle.open(bundles[0])
    if len(bundles) > 1:
        names = ", ".join(folder.name for folder in bundles)
        raise ModelError(f"{path} holds several MONAI bundles ({names}); give one of these folders.")
    if path.is_dir() and not any(path.rglob("plans.json")):
        networks = [file for file in _networks(path) if file.with_suffix(".json").is_file()]
        if len(networks) == 1:
            return SidecarModel.open(networks[0])
        if len(networks) > 1:
            names = ", ".join(file.name for file in networks)
            raise ModelError(f"{path} holds several networks ({names}); give one of these files.")
        if alone := _networks(path):
            return SidecarModel.open(alone[0])  # says what its sidecar is for
    return open_nnunet(path, configurations)


def address_of(model: Model) -> dict[str, Any]:
    """What another process must know to open the same model, as JSON."""
    if isinstance(model, Ensemble):
        members = [address_of(member) for member in model.members]
        return {"members": members, "largest_component": model.steps.largest_component, "notes": model.notes}
    configurations = [model.configuration_name] if isinstance(model, ModelFolder) else []
    return {"path": os.path.abspath(model.path), "configurations": configurations}


def open_address(address: Mapping[str, Any]) -> Model:
    """The model that ``address_of`` describes. Raises ModelError as ``open_model``."""
    if "members" not in address:
        return open_model(address["path"], address["configurations"])
    steps = Postprocessing(tuple(tuple(group) for group in address["largest_component"]))
    return Ensemble.of([open_address(member) for member in address["members"]], steps, tuple(address["notes"]))


def _open_file(path: Path) -> Model:
    if path.suffix.lower() in FORMATS:
        return SidecarModel.open(path)
    if path.suffix.lower() == ".zip":
        raise ModelError(f"{path.name} is an archive. Add it to your models first: medsegai models add {path.name}")
    if path.suffix.lower() == ".json":
        networks = [file for suffix in FORMATS if (file := path.with_suffix(suffix)).is_file()]
        if networks:
            return SidecarModel.open(networks[0])
    raise ModelError(
        f"{path.name} is no model: expected a folder of nnU-Net v2, a MONAI bundle, or a file ending in "
        f"{', '.join(FORMATS)} with its sidecar."
    )


def _folders(path: Path) -> list[Path]:
    """The folder and those directly in it, as a zip holds a bundle under its name."""
    if not path.is_dir():
        return []
    return [path, *sorted(inner for inner in path.iterdir() if inner.is_dir())]


def _networks(path: Path) -> list[Path]:
    return sorted(file for folder in _folders(path) for file in folder.iterdir() if file.suffix.lower() in FORMATS)
