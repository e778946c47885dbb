"""A trained model on disk: an nnU-Net v2 trained-model folder, with a model card beside it where there is one."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSegAICore.errors import ModelError
from MedSegAICore.image import Image, Label
from MedSegAILib.inference.cascade import with_earlier_labels
from MedSegAILib.inference.export import Outputs
from MedSegAILib.inference.postprocessing import Postprocessing
from MedSegAILib.inference.preprocessing import Placement, preprocess
from MedSegAILib.models import card as model_card
from MedSegAILib.models.architecture import Architecture, as_trained, build_network
from MedSegAILib.models.card import ModelCard
from MedSegAILib.models.checkpoint import load_checkpoint
from MedSegAILib.models.checksums import check_sums, file_sha256
from MedSegAILib.models.dataset import (
    foreground_values,
    identifiers,
    names_by_value,
    read_channels,
    read_labels,
    read_outputs,
)  # fmt: skip
from MedSegAILib.models.model import Model, spread_colors
from MedSegAILib.models.plans import Configuration
from MedSegAILib.models.results import (
    CHECKPOINTS,
    POSTPROCESSING_FILE,
    configuration_name,
    folds_of,
    previous_folder,
    read_postprocessing,
    trained_folder,
)  # fmt: skip
from MedSegAILib.models.schema import check, damaged, read_json

if TYPE_CHECKING:
    import numpy as np
    import torch

STANDARD_TRAINER = "nnUNetTrainer"  # builds the network of the plan; another one may build any other


@dataclass(frozen=True)
class ModelFolder(Model):
    """An opened model; nothing of its weights is loaded yet.

    ``folds``: those that are averaged by default, which leaves out the one trained on all cases if there are others.

    >>> model = ModelFolder.open("Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres")
    >>> networks, mirror_axes = model.load_networks("cpu")
    """

    path: Path
    dataset: Mapping[str, Any]
    configuration: Configuration
    folds: tuple[str, ...]
    card: ModelCard | None

    @classmethod
    def open(cls, path: Path | str, configuration: str | None = None) -> ModelFolder:
        """Open a trained-model folder, or a folder that contains exactly one (of ``configuration``, where given).

        Raises ModelError if it is none, is incomplete, contradicts itself, or asks for what is not supported.
        """
        path = trained_folder(Path(path), configuration)
        plans, dataset = read_json(path / "plans.json"), read_json(path / "dataset.json")
        folds = folds_of(path)
        if not folds:
            raise ModelError(f"The model folder {path} has no fold with {' or '.join(CHECKPOINTS)}; it is incomplete.")
        name = configuration or configuration_name(path, plans, folds[0])
        card = path / model_card.FILE_NAME
        model = cls(
            path,
            dataset,
            Configuration.from_plans(plans, name),
            tuple(fold for fold in folds if fold != "all") or folds,
            ModelCard.read(card) if card.is_file() else None,
        )
        for rule in model.card.input.channels if model.card else ():
            if rule.name not in model.channel_names:
                wanted = ", ".join(model.channel_names)
                raise damaged(model_card.FILE_NAME, f"input.channels has a rule for {rule.name!r}, expected {wanted}")
        _ = model.channel_names, model.labels, model.postprocessing, model.previous  # reading them is checking them
        return model

    @property
    def _id_without_card(self) -> str:
        """The name of the data set folder or of the folder itself."""
        parent = self.path.parent.name
        return parent if re.match(r"Dataset\d{3}_", parent) else self.path.name

    @property
    def format(self) -> str:
        return "nnU-Net v2"

    @property
    def configuration_name(self) -> str:
        return self.configuration.name

    @property
    def tile(self) -> tuple[int, ...]:
        return self.configuration.patch_size

    @property
    def tile_multiple(self) -> tuple[int, ...]:
        return Architecture.read(self.configuration.architecture).multiple

    @property
    def spacing(self) -> tuple[float, ...]:
        return self.configuration.spacing

    @property
    def orientation(self) -> str | None:
        return self.configuration.orientation

    @cached_property
    def previous(self) -> ModelFolder | None:
        """In a cascade the stage before this one, which lies beside it. Raises ModelError if it does not fit."""
        stage = self.configuration.previous_stage
        if stage is None:
            return None
        previous = ModelFolder.open(previous_folder(self.path, stage), stage)
        for what, own, other in (
            ("labels", read_labels(self.dataset), read_labels(previous.dataset)),
            ("channels", len(self.channel_names), len(previous.channel_names)),
        ):
            if own != other:
                raise ModelError(
                    f"The cascade {self.path.name} has the {what} {own}, but {previous.path.name} before it has "
                    f"{other}. Copy both folders again from the same model."
                )
        return previous

    @cached_property
    def channel_names(self) -> tuple[str, ...]:
        return read_channels(self.dataset, expected=len(self.configuration.normalizations))

    @cached_property
    def outputs(self) -> Outputs:
        """What the network's channels mean."""
        return read_outputs(self.dataset)

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        """The segments, from the card, else from ``dataset.json`` with colors spread over the color circle.

        For regions a segment holds what its class writes last, e.g. the tumor's rim without its core.
        """
        values = [value for value in self.outputs.values if value]
        if self.card and self.card.structures:
            described = {label.value: label for label in self.card.structures}
            missing = [value for value in values if value not in described]
            if missing:
                fault = f"structures has no structure for label {missing[0]}, expected one for each of {values}"
                raise damaged(model_card.FILE_NAME, fault)
            return tuple(described[value] for value in values)
        names = names_by_value(self.dataset, self.outputs)
        ids = identifiers([names[value] for value in values])
        return tuple(
            Label(value, id, names[value], color)
            for value, id, color in zip(values, ids, spread_colors(len(values)), strict=True)
        )

    @cached_property
    def postprocessing(self) -> Postprocessing:
        """As the card declares; else from nnU-Net's ``postprocessing.json``; else nothing."""
        if self.card and self.card.postprocessing:
            return self.checked(Postprocessing.declared(self.card.postprocessing), model_card.FILE_NAME)
        files = [
            self.path / POSTPROCESSING_FILE,
            *sorted(self.path.glob(f"crossval_results_folds_*/{POSTPROCESSING_FILE}")),
        ]
        for file in files:
            if file.is_file():
                return self.checked(read_postprocessing(file), POSTPROCESSING_FILE)
        return Postprocessing()

    def checked(self, steps: Postprocessing, file: str) -> Postprocessing:
        """A step for a label that does not exist would do nothing, and nobody would see that it is missing."""
        known = foreground_values(self.dataset)
        for value in steps.values:
            if value not in known:
                raise damaged(file, f"its postprocessing is for label {value}, expected labels of {list(known)}")
        return steps

    def checkpoint_path(self, fold: str) -> Path:
        """The checkpoint of a fold. Raises ModelError if the fold does not exist."""
        found = folds_of(self.path)
        for name in CHECKPOINTS if fold in found else ():
            path = self.path / f"fold_{fold}" / name
            if path.is_file():
                return path
        raise ModelError(f"The model {self.id} has no fold {fold!r}; it has: {', '.join(found)}.")

    def checksums(self, folds: Sequence[str] | None = None) -> dict[str, str]:
        """SHA-256 of every checkpoint, by path relative to the folder."""
        paths = [self.checkpoint_path(fold) for fold in folds or self.folds]
        return {path.relative_to(self.path).as_posix(): file_sha256(path) for path in paths}

    @property
    def weight_files(self) -> tuple[Path, ...]:
        own = tuple(self.checkpoint_path(fold) for fold in self.folds)
        return own + (self.previous.weight_files if self.previous else ())

    @property
    def description_files(self) -> tuple[Path, ...]:
        return tuple(file for stage in self.stages for file in sorted(stage.path.glob("*.json")))

    @property
    def root(self) -> Path:
        return self.path.parent if self.previous else self.path

    @property
    def stages(self) -> list[ModelFolder]:
        """This model and, in a cascade, those before it."""
        return [*(self.previous.stages if self.previous else ()), self]

    def copy_to(self, folder: Path) -> None:
        for stage in self.stages:
            shutil.copytree(stage.path, folder / stage.path.name if self.previous else folder)

    def check_weights(self) -> None:
        for stage in self.stages:
            stage.load_networks("cpu")

    @cached_property
    def checksum(self) -> str:
        """One SHA-256 for the model: over the plan, the checkpoints of all folds, and the stage before it."""
        parts = {"plans.json": file_sha256(self.path / "plans.json"), **self.checksums()}
        if self.previous:
            parts["previous_stage"] = self.previous.checksum
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def verify(self, folds: Sequence[str] | None = None):
        """Compare the checkpoints with the card's sums. Raises ModelError that names the file which differs.

        If the card has sums at all, it must have one for each of ``folds`` (all by default).
        """
        sums = self.declared_sums
        names = [self.checkpoint_path(fold).relative_to(self.path).as_posix() for fold in folds or self.folds]
        unlisted = [name for name in names if sums and name not in sums]
        if unlisted:
            raise ModelError(
                f"{unlisted[0]} of model {self.id} may be of another model: the card does not list its SHA-256. "
                "Remove the file, or add its sum to weights_sha256 of the card."
            )
        check_sums(self.id, self.path, sums)

    def prepare(
        self, image: Image, *, body_only: bool = False, earlier: np.ndarray | None = None
    ) -> tuple[torch.Tensor, Placement]:
        array, placement = preprocess(image, self.configuration, body_only=body_only)
        if earlier is not None:
            values, resampling = foreground_values(self.dataset), self.configuration.labels_resampling
            array = with_earlier_labels(array, placement, image, earlier, values, resampling)
        return array, placement

    def load_networks(
        self, device: torch.device | str, folds: Sequence[str] | None = None
    ) -> tuple[list[torch.nn.Module], tuple[int, ...]]:
        """The networks of the folds (all by default), ready to predict, and the axes they may be mirrored along.

        Sums are checked first. Raises ModelError if a checkpoint does not fit its plan.
        """
        self.verify(folds)
        networks, axes = [], set(range(self.configuration.dimensions))
        for fold in folds or self.folds:
            path = self.checkpoint_path(fold)
            checkpoint = load_checkpoint(path)
            weights = checkpoint["network_weights"]
            architecture = as_trained(self.configuration.architecture, weights)
            channels = len(self.channel_names) + len(foreground_values(self.dataset) if self.previous else ())
            network = build_network(architecture, channels, len(self.outputs.values))
            _load_weights(
                network, weights, f"{path.name} of fold {fold}", str(checkpoint.get("trainer_name", STANDARD_TRAINER))
            )
            allowed = {"type": ["array", "null"], "items": {"type": "integer"}}
            check(checkpoint.get("inference_allowed_mirroring_axes"), allowed, path.name, "the mirroring axes")
            axes &= set(checkpoint.get("inference_allowed_mirroring_axes") or ())
            networks.append(network.to(device).eval())
        return networks, tuple(sorted(axes))


def _load_weights(network: torch.nn.Module, weights: Mapping[str, torch.Tensor], what: str, trainer: str) -> None:
    import torch

    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        if trainer != STANDARD_TRAINER:
            reason += (
                f". They were trained by {trainer}, which seems to build a network of its own; use the program that "
                "the model was made for."
            )
        raise ModelError(f"The weights in {what} do not fit plans.json: {reason}") from error
    for name, tensor in network.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ModelError(
                f"The weights in {what} are damaged: {name} holds NaN or infinite numbers. Copy the model again, or "
                "ask its author for another checkpoint."
            )
