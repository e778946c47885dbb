"""A trained model on disk: an nnU-Net v2 trained-model folder, with a model card beside it where there is one."""

from __future__ import annotations

import colorsys
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSegAICore.errors import ModelError
from MedSegAICore.image import Label
from MedSegAILib.inference.export import Outputs
from MedSegAILib.inference.postprocessing import Postprocessing
from MedSegAILib.models import card as model_card
from MedSegAILib.models.architecture import build_network
from MedSegAILib.models.card import ModelCard
from MedSegAILib.models.checkpoint import load_checkpoint
from MedSegAILib.models.plans import Configuration

if TYPE_CHECKING:
    import torch

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
# nnU-Net's preference among configurations of one data set, for a folder that holds several.
CONFIGURATION_ORDER = ("3d_fullres", "3d_lowres", "2d")


@dataclass(frozen=True)
class ModelFolder:
    """An opened model; nothing of its weights is loaded yet.

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
        """Open a trained-model folder, or a folder that contains exactly one.

        Raises ModelError if it is none, is incomplete, or asks for what is not supported.
        """
        path = _trained_folder(Path(path))
        plans, dataset = _read_json(path / "plans.json"), _read_json(path / "dataset.json")
        folds = tuple(
            sorted(f.name[5:] for f in path.glob("fold_*") if any((f / name).is_file() for name in CHECKPOINTS))
        )
        if not folds:
            raise ModelError(f"The model folder {path} has no fold with {' or '.join(CHECKPOINTS)}; it is incomplete.")
        name = configuration or _configuration_name(path, plans, folds[0])
        card = path / model_card.FILE_NAME
        return cls(
            path,
            dataset,
            Configuration.from_plans(plans, name),
            folds,
            ModelCard.read(card) if card.is_file() else None,
        )

    @property
    def id(self) -> str:
        """The card's id, else the name of the data set folder or of the folder itself."""
        if self.card:
            return self.card.id
        parent = self.path.parent.name
        return parent if re.match(r"Dataset\d{3}_", parent) else self.path.name

    @property
    def version(self) -> str:
        return self.card.version if self.card else "unknown"

    @property
    def title(self) -> str:
        return self.card.title if self.card else self.id

    @cached_property
    def channel_names(self) -> tuple[str, ...]:
        names = self.dataset.get("channel_names") or self.dataset.get("modality") or {}
        return tuple(str(names[key]) for key in sorted(names, key=int))

    @cached_property
    def outputs(self) -> Outputs:
        """What the network's channels mean. Raises ModelError if ``dataset.json`` contradicts itself."""
        labels = {n: v for n, v in self.dataset["labels"].items() if n != "ignore"}
        if any(isinstance(value, list | tuple) and len(value) > 1 for value in labels.values()):
            order = self.dataset.get("regions_class_order")
            regions = [name for name in labels if name != "background"]
            if not order or len(order) != len(regions):
                raise ModelError(f"dataset.json has {len(regions)} regions but regions_class_order {order}.")
            return Outputs(tuple(int(value) for value in order), regions=True)
        values = sorted(int(v[0] if isinstance(v, list | tuple) else v) for v in labels.values())
        if values != list(range(len(values))):
            raise ModelError(f"dataset.json has label values {values}; expected 0, 1, 2 … without gaps.")
        return Outputs(tuple(values), regions=False)

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
                raise ModelError(f"The model card describes no structure for label {missing[0]}.")
            return tuple(described[value] for value in values)
        names = self._names_by_value()
        return tuple(
            Label(value, _identifier(names[value]), names[value], colorsys.hsv_to_rgb(n / len(values), 0.55, 0.9))
            for n, value in enumerate(values)
        )

    def _names_by_value(self) -> dict[int, str]:
        names = {}
        regions = [
            (name, value) for name, value in self.dataset["labels"].items() if name not in ("background", "ignore")
        ]
        for number, (name, value) in enumerate(regions):
            names[
                self.outputs.values[number]
                if self.outputs.regions
                else int(value if isinstance(value, int) else value[0])
            ] = name
        return names

    @property
    def postprocessing(self) -> Postprocessing:
        """As the card declares; else from nnU-Net's ``postprocessing.json``; else nothing."""
        if self.card and self.card.postprocessing:
            declared = self.card.postprocessing
            return Postprocessing(
                tuple(tuple(group) for group in declared.get("largest_component", ())),
                tuple(declared.get("fill_holes", ())),
            )
        files = [
            self.path / "postprocessing.json",
            *sorted(self.path.glob("crossval_results_folds_*/postprocessing.json")),
        ]
        for file in files:
            if file.is_file():
                return _nnunet_postprocessing(_read_json(file))
        return Postprocessing()

    def checkpoint_path(self, fold: str) -> Path:
        """The checkpoint of a fold. Raises ModelError if the fold does not exist."""
        for name in CHECKPOINTS:
            path = self.path / f"fold_{fold}" / name
            if path.is_file():
                return path
        raise ModelError(f"The model {self.id} has no fold {fold!r}; it has: {', '.join(self.folds)}.")

    def checksums(self, folds: Sequence[str] | None = None) -> dict[str, str]:
        """SHA-256 of every checkpoint, by path relative to the folder."""
        paths = [self.checkpoint_path(fold) for fold in folds or self.folds]
        return {path.relative_to(self.path).as_posix(): _sha256(path) for path in paths}

    @cached_property
    def checksum(self) -> str:
        """One SHA-256 for the model: over the plan and the checkpoints of all folds."""
        parts = {"plans.json": _sha256(self.path / "plans.json"), **self.checksums()}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def verify(self):
        """Compare the checkpoints with the card's sums. Raises ModelError that names the file which differs."""
        for name, expected in (self.card.weights_sha256 if self.card else {}).items():
            path = self.path / name
            if not path.is_file():
                raise ModelError(f"The model {self.id} lacks {name}, which its card lists. Copy the model again.")
            found = _sha256(path)
            if found != expected:
                raise ModelError(
                    f"{name} of model {self.id} was changed or damaged: its SHA-256 is {found[:12]}…, but the card "
                    f"says {expected[:12]}…. Copy the model again."
                )

    def load_networks(
        self, device: torch.device | str, folds: Sequence[str] | None = None
    ) -> tuple[list[torch.nn.Module], tuple[int, ...]]:
        """The networks of the folds (all by default), ready to predict, and the axes they may be mirrored along.

        Sums are checked first. Raises ModelError if a checkpoint does not fit its plan.
        """
        self.verify()
        networks, axes = [], set(range(self.configuration.dimensions))
        for fold in folds or self.folds:
            path = self.checkpoint_path(fold)
            checkpoint = load_checkpoint(path)
            outputs = len(self.outputs.values)
            network = build_network(self.configuration.architecture, len(self.channel_names), outputs)
            try:
                network.load_state_dict(checkpoint["network_weights"])
            except RuntimeError as error:
                reason = str(error).strip().splitlines()[-1].strip()
                raise ModelError(
                    f"The weights in {path.name} of fold {fold} do not fit plans.json: {reason}"
                ) from error
            axes &= set(checkpoint.get("inference_allowed_mirroring_axes") or ())
            networks.append(network.to(device).eval())
        return networks, tuple(sorted(axes))


def _trained_folder(path: Path) -> Path:
    if not path.is_dir():
        raise ModelError(f"There is no model folder {path}.")
    if (path / "plans.json").is_file() and (path / "dataset.json").is_file():
        return path
    inside = sorted(file.parent for file in path.glob("**/plans.json") if (file.parent / "dataset.json").is_file())
    inside = [folder for folder in inside if any(folder.glob("fold_*"))]
    for configuration in CONFIGURATION_ORDER:
        chosen = [folder for folder in inside if folder.name.endswith(f"__{configuration}")]
        if len(chosen) == 1 and len(inside) > 1:
            return chosen[0]
    if len(inside) == 1:
        return inside[0]
    found = f"it contains {len(inside)} such folders; name one of them" if inside else "nothing like it is inside"
    raise ModelError(
        f"{path} is not a trained model: expected dataset.json, plans.json and fold_0/checkpoint_final.pth, "
        f"but {found}."
    )


def _configuration_name(path: Path, plans: Mapping[str, Any], fold: str) -> str:
    """From the folder's name (Trainer__Plans__configuration), the only configuration, or the checkpoint."""
    configurations = list(plans.get("configurations", {}))
    by_name = path.name.rpartition("__")[2]
    if by_name in configurations:
        return by_name
    if len(configurations) == 1:
        return configurations[0]
    for name in CHECKPOINTS:
        checkpoint = path / f"fold_{fold}" / name
        if checkpoint.is_file():
            return str(load_checkpoint(checkpoint).get("init_args", {}).get("configuration", ""))
    return ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name} of the model in {path.parent} cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path.name} of the model in {path.parent} is not a JSON object.")
    return content


def _nnunet_postprocessing(content: Mapping[str, Any]) -> Postprocessing:
    """nnU-Net lists functions with arguments; it has one function only."""
    groups = []
    for name, kwargs in zip(
        content.get("postprocessing_fns", ()), content.get("postprocessing_kwargs", ()), strict=False
    ):
        if "remove_all_but_largest_component" not in str(name):
            raise ModelError(f"postprocessing.json asks for {name!r}, which is not supported.")
        targets = kwargs.get("labels_or_regions", ())
        targets = targets if isinstance(targets, list) else [targets]
        groups += [tuple(target) if isinstance(target, list) else (int(target),) for target in targets]
    return Postprocessing(tuple(groups))


def _identifier(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_").lower() or "segment"


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
