"""A MONAI bundle, run by this program's engine and without running the bundle's code.

Its networks and transforms are MONAI's, out of lists of those known; its inferer says how tiles lie. The format is that
of https://docs.monai.io/en/stable/mb_specification.html; what ``monai.bundle`` itself would make of the configuration
could run anything, so it is not used.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSegAICore.errors import ModelError
from MedSegAICore.image import Image, Label
from MedSegAILib.inference.export import Outputs
from MedSegAILib.inference.postprocessing import Postprocessing
from MedSegAILib.inference.separable_placement import SeparablePlacement
from MedSegAILib.inference.tiling import Tiling
from MedSegAILib.models import card as model_card
from MedSegAILib.models.bundle_config import BundleConfig, Component, is_below
from MedSegAILib.models.bundle_networks import build_network, load_weights, network_name
from MedSegAILib.models.bundle_postprocessing import Answer, lambdas, read_answer
from MedSegAILib.models.bundle_transforms import Preparation
from MedSegAILib.models.card import ModelCard
from MedSegAILib.models.checksums import check_sums, files_sha256
from MedSegAILib.models.dataset import identifiers
from MedSegAILib.models.foreign_networks import CheckedNetwork, try_networks
from MedSegAILib.models.model import Model, spread_colors
from MedSegAILib.models.schema import check, damaged, read_json
from MedSegAILib.models.torchscript import load_torchscript

if TYPE_CHECKING:
    import torch

METADATA = "metadata.json"
CONFIGURATIONS = ("inference.json", "inference.yaml", "inference.yml")
SCRIPTED = "models/model.ts"
WHOLE = "SimpleInferer"
SLICES = "SliceInferer"
INFERERS = ("SlidingWindowInferer", "SlidingWindowInfererAdapt", SLICES, WHOLE)
BLENDINGS = {"constant": "constant", "gaussian": "centered gaussian"}
PADDINGS = ("constant", "replicate")
SIGMA_SCALE = 0.125  # of the tile; MONAI's default
CHANNELS = {
    "required": ["num_channels"],
    "properties": {
        "num_channels": {"type": "integer", "minimum": 1, "maximum": 4096},
        "channel_def": {"type": ["object", "null"], "additionalProperties": {"type": "string"}},
        "label_def": {"type": ["object", "null"], "additionalProperties": {"type": "string"}},
        "spatial_shape": {"type": "array"},
    },
    "type": "object",
}
NAMED = {"type": "object", "additionalProperties": CHANNELS}
METADATA_SCHEMA = {
    "required": ["network_data_format"],
    "properties": {
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {"inputs": NAMED, "outputs": NAMED},
        }
    },
}


def is_bundle(folder: Path) -> bool:
    return (folder / "configs" / METADATA).is_file() or _configuration_file(folder) is not None


@dataclass(frozen=True)
class MonaiBundle(Model):
    """An opened bundle: what its files say, checked; nothing of the weights is loaded and nothing imported yet.

    ``network``: its ``network_def``, or None if it is run as TorchScript. ``tile``: 0 where the network sees the
    whole of an axis and the bundle names no number.

    >>> model = MonaiBundle.open("spleen_ct_segmentation")
    """

    path: Path
    metadata: Mapping[str, Any]
    configuration_file: Path
    network: Component | None
    weights: Path
    preparation: Preparation
    answer: Answer
    roi: tuple[int, ...]
    bundle_tiling: Tiling
    card: ModelCard | None
    folds: tuple[str, ...] = ("0",)

    @classmethod
    def open(cls, path: Path | str) -> MonaiBundle:
        """Raises ModelError if files are missing or damaged, or the bundle wants what is not supported."""
        path = Path(path)
        file = _configuration_file(path)
        if file is None or not (path / "configs" / METADATA).is_file():
            raise ModelError(
                f"The bundle {path.name} is incomplete: expected configs/{METADATA} and one of "
                f"{', '.join(f'configs/{name}' for name in CONFIGURATIONS)}."
            )
        metadata = read_json(path / "configs" / METADATA)
        check(metadata, METADATA_SCHEMA, METADATA)
        config = BundleConfig(path, file)
        network, weights = _network(config, path)
        inferer, tiling = _inferer(config)
        roi = _roi(inferer)
        names = _channel_names(_one(metadata, "outputs", "pred"), "output")
        answer = read_answer(config.get("postprocessing"), lambdas(config), names)
        first_axis = inferer.arguments.get("spatial_dim", 0) if inferer.name == SLICES else None
        if first_axis not in (None, 0, 1, 2):
            raise ModelError(f"The bundle's {SLICES} has the spatial_dim {first_axis!r}, expected 0, 1 or 2.")
        preparation = Preparation.read(config.get("preprocessing"), answer.nearest, first_axis)
        card = path / model_card.FILE_NAME
        card = ModelCard.read(card) if card.is_file() else None
        bundle = cls(path, metadata, file, network, weights, preparation, answer, roi, tiling, card)
        _ = bundle.labels, bundle.channel_names, bundle.postprocessing  # reading them is checking them
        return bundle

    @property
    def _id_without_card(self) -> str:
        return self.path.resolve().name

    @property
    def version(self) -> str:
        return self.card.version if self.card else str(self.metadata.get("version", "unknown"))

    @property
    def title(self) -> str:
        return self.card.title if self.card else str(self.metadata.get("name") or self.id)

    @property
    def format(self) -> str:
        return "MONAI bundle"

    @property
    def configuration_name(self) -> str:
        return self.network.name if self.network else self.weights.name

    @cached_property
    def channel_names(self) -> tuple[str, ...]:
        return _channel_names(_one(self.metadata, "inputs", "image"), "channel")

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        """From the card, else from ``metadata.json`` with colors spread over the color circle."""
        outputs, names = self.outputs, _channel_names(_one(self.metadata, "outputs", "pred"), "output")
        named = [
            (value, names[channel])
            for value, channel in zip(outputs.values, self.answer.channels, strict=True)
            if value
        ]
        described = {label.value: label for label in self.card.structures} if self.card else {}
        missing = [value for value, _ in named if described and value not in described]
        if missing:
            fault = f"structures has no structure for label {missing[0]}, expected one for each of {outputs.values}"
            raise damaged(model_card.FILE_NAME, fault)
        ids, colors = identifiers([name for _, name in named]), spread_colors(len(named))
        made = []
        for number, ((value, name), id, color) in enumerate(zip(named, ids, colors, strict=True)):
            label = described.get(value) or Label(value, id, name, color)
            layer = number if outputs.overlapping else 0
            made.append(Label(value, label.id, label.name, label.color, label.terminology, layer))
        return tuple(made)

    @property
    def outputs(self) -> Outputs:
        return self.answer.outputs

    @cached_property
    def postprocessing(self) -> Postprocessing:
        """As the card declares; else as the bundle does."""
        if not self.card or not self.card.postprocessing:
            return self.answer.postprocessing
        steps = Postprocessing.declared(self.card.postprocessing)
        for value in steps.values:
            if value not in self.outputs.values:
                fault = f"its postprocessing is for label {value}, expected labels of {self.outputs.values}"
                raise damaged(model_card.FILE_NAME, fault)
        return steps

    @property
    def tile(self) -> tuple[int, ...]:
        return self.roi

    @property
    def tiling(self) -> Tiling:
        return self.bundle_tiling

    @property
    def spacing(self) -> tuple[float, ...]:
        """Along I, J and K, in which order MONAI prepares arrays; () if volumes keep theirs."""
        return self.preparation.spacing

    @property
    def orientation(self) -> str | None:
        return None  # the bundle's own transforms turn the volume

    @property
    def weight_files(self) -> tuple[Path, ...]:
        return (self.weights,)

    @property
    def description_files(self) -> tuple[Path, ...]:
        """Everything in ``configs``, as files there can include each other, and the card."""
        configs = (file for file in (self.path / "configs").rglob("*") if file.suffix in (".json", ".yaml", ".yml"))
        card = self.path / model_card.FILE_NAME
        return (*sorted(configs), *([card] if self.card else []))

    @cached_property
    def checksum(self) -> str:
        return files_sha256([*self.description_files, self.weights], self.path)

    def copy_to(self, folder: Path) -> None:
        shutil.copytree(self.path, folder, dirs_exist_ok=True)

    def check_weights(self) -> None:
        """Also makes the transforms, and lets the network look at one tile if the bundle says how large that is."""
        self.preparation.check()
        if all(self.roi):
            try_networks(self)
        else:
            self.load_networks("cpu")

    @property
    def network_outputs(self) -> int:
        return _one(self.metadata, "outputs", "pred")["num_channels"]

    @property
    def activation(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        return self.answer.activate if self.answer.changes_logits(self.network_outputs) else None

    def prepare(self, image: Image, *, body_only: bool = False) -> tuple[torch.Tensor, SeparablePlacement]:
        """The prepared array has MONAI's axis order: I, J, K (for single slices: their axis first).

        The air around the body stays, as the bundle's own transforms say what is cut off.
        """
        return self.preparation.run(image)

    def load_networks(
        self, device: torch.device | str, folds: Sequence[str] | None = None
    ) -> tuple[list[CheckedNetwork], tuple[int, ...]]:
        """The network; it is never mirrored, as a bundle does not say whether it may be.

        Raises ModelError if the weights are missing, changed, unsafe or do not fit; DependencyError without MONAI.
        """
        self.check_folds(folds)
        check_sums(self.id, self.path, self.declared_sums)
        if self.network is None:
            network = load_torchscript(self.weights, device)
        else:
            network = build_network(self.network)
            load_weights(network, self.weights)
            network = network.to(device).eval()
        return [CheckedNetwork(network, self.configuration_name, self.network_outputs)], ()


def _configuration_file(folder: Path) -> Path | None:
    files = (folder / "configs" / name for name in CONFIGURATIONS)
    return next((file for file in files if file.is_file()), None)


def _network(config: BundleConfig, root: Path) -> tuple[Component | None, Path]:
    """The network and its weights; TorchScript if the network itself is not known here."""
    try:
        component = config.get("network_def")
        network_name(component)
    except ModelError:
        if (root / SCRIPTED).is_file():
            return None, root / SCRIPTED
        raise
    loaders = config.components("CheckpointLoader")
    path = config.resolve(loaders[0]["load_path"]) if loaders and "load_path" in loaders[0] else "models/model.pt"
    weights = root / str(path)
    if not is_below(root, weights):
        raise ModelError(f"The bundle wants its weights from {path!r}, outside its own folder, and was refused.")
    return component, weights


def _inferer(config: BundleConfig) -> tuple[Component, Tiling]:
    inferer = config.get("inferer", Component(WHOLE))
    if not isinstance(inferer, Component) or not inferer.is_monai or inferer.name not in INFERERS:
        wanted = inferer.target if isinstance(inferer, Component) else inferer
        raise ModelError(
            f"The bundle wants the inferer {wanted}, which is not supported; supported are {', '.join(INFERERS)}."
        )
    overlap = inferer.arguments.get("overlap", 0.25)
    blending = str(inferer.arguments.get("mode", "constant")).lower()
    padding = str(inferer.arguments.get("padding_mode", PADDINGS[0])).lower()
    overlap = max(overlap) if isinstance(overlap, list | tuple) and overlap else overlap
    valid = isinstance(overlap, int | float) and 0 <= overlap < 1 and blending in BLENDINGS and padding in PADDINGS
    sigma_scale = inferer.arguments.get("sigma_scale", SIGMA_SCALE)
    if not valid or inferer.arguments.get("cval", 0) != 0 or sigma_scale != SIGMA_SCALE:
        raise ModelError(
            f"The bundle's {inferer.name} has the overlap {overlap!r}, mode {blending!r}, padding_mode {padding!r}, "
            f"cval {inferer.arguments.get('cval', 0)} and sigma_scale {sigma_scale}; supported are an overlap from 0 "
            f"to below 1, the modes {' and '.join(BLENDINGS)}, the padding modes {' and '.join(PADDINGS)} with cval 0, "
            f"and the sigma_scale {SIGMA_SCALE}."
        )
    return inferer, Tiling(float(overlap), False, BLENDINGS[blending], padding)


def _roi(inferer: Component) -> tuple[int, ...]:
    """What the network sees at once; 0 for the whole of an axis."""
    if inferer.name == WHOLE:
        return (0, 0, 0)
    roi = inferer.arguments.get("roi_size")
    wanted = 2 if inferer.name == SLICES else 3
    if isinstance(roi, int):
        roi = [roi] * wanted
    numbers = [0 if n is None else n for n in roi] if isinstance(roi, list | tuple) else []
    if len(numbers) != wanted or not all(isinstance(n, int) and n <= 4096 for n in numbers):
        raise ModelError(f"The bundle's {inferer.name} has the roi_size {roi}, expected {wanted} whole numbers.")
    return tuple(max(0, n) for n in numbers)


def _one(metadata: Mapping[str, Any], side: str, usual: str) -> Mapping[str, Any]:
    """The entry for the network's input or output. Raises ModelError if there are several."""
    entries = metadata["network_data_format"][side]
    if usual in entries:
        return entries[usual]
    if len(entries) == 1:
        return next(iter(entries.values()))
    fault = f"network_data_format.{side} has {', '.join(entries) or 'nothing'}, expected {usual!r}"
    raise damaged(METADATA, fault)


def _channel_names(entry: Mapping[str, Any], what: str) -> tuple[str, ...]:
    """Names of the channels in their order; a number where the bundle has no name."""
    names = entry.get("channel_def") or entry.get("label_def") or {}
    return tuple(str(names.get(str(n)) or f"{what} {n}") for n in range(entry["num_channels"]))
