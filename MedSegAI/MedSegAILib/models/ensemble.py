"""Several nnU-Net v2 models of one data set, usually its configurations, whose probabilities are averaged."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from MedSegAICore.errors import ModelError
from MedSegAICore.image import Image, Label
from MedSegAILib.inference.export import Outputs
from MedSegAILib.inference.postprocessing import Postprocessing
from MedSegAILib.models.card import ModelCard
from MedSegAILib.models.folder import ModelFolder
from MedSegAILib.models.model import Model
from MedSegAILib.models.results import (
    dataset_folder,
    is_trained_folder,
    read_best,
    read_postprocessing,
    trained_folder,
    write_best,
)

if TYPE_CHECKING:
    import numpy as np
    import torch

    from MedSegAILib.inference.preprocessing import Placement


def open_nnunet(path: Path | str, configurations: Sequence[str] = ()) -> ModelFolder | Ensemble:
    """Open a trained-model folder, or what a Dataset folder holds: of several models the best, or those asked for.

    ``configurations``: names such as ``2d``; several make an ensemble. Without them the Dataset folder's
    ``inference_information.json`` decides, which may name an ensemble too; else the full resolution is preferred.
    Raises ModelError if there is no such model, or it is incomplete or not supported.
    """
    path = Path(path)
    if len(set(configurations)) < len(configurations):
        raise ModelError(f"The configurations are {', '.join(configurations)}; name each of them once.")
    if configurations:
        models = [_of_configuration(path, name) for name in configurations]
        return models[0] if len(models) == 1 else Ensemble.of(models)
    best = None if is_trained_folder(path) else read_best(path := dataset_folder(path))
    if best is None:
        return ModelFolder.open(path)
    models = [ModelFolder.open(folder) for folder in best.folders]
    if len(models) == 1:
        return models[0]
    if best.postprocessing is None:
        return Ensemble.of(models)
    if best.postprocessing.is_file():
        steps = models[0].checked(read_postprocessing(best.postprocessing), best.postprocessing.name)
        return Ensemble.of(models, steps)
    missing = best.postprocessing.relative_to(path).as_posix()
    warning = (
        f"The ensemble's postprocessing, {missing}, is missing in its folder; its labels are as the networks gave them."
    )
    return Ensemble.of(models, notes=(warning,))


def _of_configuration(path: Path, name: str) -> ModelFolder:
    model = ModelFolder.open(trained_folder(path, name))
    if model.configuration_name != name:
        raise ModelError(
            f"There is no configuration {name!r} in {path}, only {model.configuration_name}. Name another one, or a "
            "Dataset folder that holds it."
        )
    return model


@dataclass(frozen=True)
class Ensemble(Model):
    """Models that are run one after the other; the mean of their probabilities decides.

    >>> Ensemble.of(["Dataset004/nnUNetTrainer__nnUNetPlans__2d", "Dataset004/nnUNetTrainer__nnUNetPlans__3d_fullres"])
    """

    members: tuple[ModelFolder, ...]
    steps: Postprocessing = field(default_factory=Postprocessing)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        members: Sequence[ModelFolder | Path | str],
        postprocessing: Postprocessing | None = None,
        notes: tuple[str, ...] = (),
    ) -> Ensemble:
        """Opened models, or their folders; ``notes`` are sentences for whoever uses the results.

        Raises ModelError if the members do not take or give the same.
        """
        models = tuple(m if isinstance(m, ModelFolder) else ModelFolder.open(m) for m in members)
        if len(models) < 2:
            raise ModelError(f"An ensemble has at least two members, not {len(models)}.")
        first = models[0]
        for other in models[1:]:
            for what in ("channel_names", "outputs", "orientation"):
                own, found = getattr(first, what), getattr(other, what)
                if own != found:
                    raise ModelError(
                        f"{first.path.name} and {other.path.name} cannot be averaged: their "
                        f"{what.replace('_', ' ')} are {own} and {found}."
                    )
        return cls(models, postprocessing or Postprocessing(), notes)

    @property
    def postprocessing(self) -> Postprocessing:
        return self.steps

    @property
    def path(self) -> Path:
        """The folder in which all members are."""
        return Path(os.path.commonpath([member.path.resolve() for member in self.members]))

    @property
    def card(self) -> ModelCard | None:
        return None

    @property
    def folds(self) -> tuple[str, ...]:
        """Every fold that a member averages."""
        return tuple(dict.fromkeys(fold for member in self.members for fold in member.folds))

    @property
    def _id_without_card(self) -> str:
        return "+".join(dict.fromkeys(member.id for member in self.members))

    @property
    def format(self) -> str:
        return f"{self.members[0].format}, ensemble of {len(self.members)}"

    @property
    def configuration_name(self) -> str:
        return " + ".join(member.configuration_name for member in self.members)

    @property
    def channel_names(self) -> tuple[str, ...]:
        return self.members[0].channel_names

    @property
    def labels(self) -> tuple[Label, ...]:
        return self.members[0].labels

    @property
    def outputs(self) -> Outputs:
        return self.members[0].outputs

    @property
    def _largest(self) -> ModelFolder:
        """The member that sees most at once: a 3D one, if there is one."""
        return max(self.members, key=lambda member: len(member.tile))

    @property
    def tile(self) -> tuple[int, ...]:
        return self._largest.tile

    @property
    def spacing(self) -> tuple[float, ...]:
        return self._largest.spacing

    @property
    def orientation(self) -> str | None:
        return self.members[0].orientation

    def warnings(self, device: torch.device) -> list[str]:
        return list(self.notes)

    @property
    def weight_files(self) -> tuple[Path, ...]:
        return tuple(file for member in self.members for file in member.weight_files)

    @property
    def description_files(self) -> tuple[Path, ...]:
        return tuple(file for member in self.members for file in member.description_files)

    def copy_to(self, folder: Path) -> None:
        """Also writes which folders belong together and what is done in the end, so that the copy opens as this."""
        for path in dict.fromkeys(stage.path for member in self.members for stage in member.stages):
            shutil.copytree(path, folder / path.name)
        write_best(folder, [member.path.name for member in self.members], self.steps)

    def check_weights(self) -> None:
        for member in self.members:
            member.check_weights()

    @cached_property
    def checksum(self) -> str:
        """One SHA-256 over those of the members, in their order, and the postprocessing."""
        parts = [*(member.checksum for member in self.members), repr(self.postprocessing)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def prepare(
        self, image: Image, *, body_only: bool = False, earlier: np.ndarray | None = None
    ) -> tuple[torch.Tensor, Placement]:
        raise NotImplementedError("Each member of an ensemble prepares the volume in its own way.")

    def load_networks(
        self, device: torch.device | str, folds: Sequence[str] | None = None
    ) -> tuple[list[torch.nn.Module], tuple[int, ...]]:
        raise NotImplementedError("An ensemble has no networks but those of its members.")
