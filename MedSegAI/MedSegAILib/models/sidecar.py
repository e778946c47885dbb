"""A TorchScript or ONNX network with a sidecar: a JSON file that says how a volume is prepared and what the answer is.

The sidecar of ``brain.onnx`` is ``brain.json``; its JSON schema is ``Resources/Models/sidecar.schema.json``. Volumes
are prepared as those of an nnU-Net model are.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSegAICore.errors import ModelError
from MedSegAICore.image import Image, Label
from MedSegAICore.resources import resource
from MedSegAILib.inference.export import Outputs
from MedSegAILib.inference.postprocessing import Postprocessing
from MedSegAILib.inference.preprocessing import Placement, preprocess
from MedSegAILib.inference.tiling import Tiling
from MedSegAILib.models.card import ModelCard
from MedSegAILib.models.checksums import check_sums, files_sha256
from MedSegAILib.models.dataset import identifiers
from MedSegAILib.models.foreign_networks import CheckedNetwork, OnnxNetwork, onnx_warnings, try_networks
from MedSegAILib.models.model import Model, spread_colors
from MedSegAILib.models.onnx_file import external_files
from MedSegAILib.models.plans import NORMALIZATIONS, SPLINE, Configuration, Resampling
from MedSegAILib.models.schema import check, damaged, read_json
from MedSegAILib.models.torchscript import load_torchscript

if TYPE_CHECKING:
    import torch

SCHEMA_NAME = "sidecar.schema.json"
ONNX, TORCHSCRIPT = "ONNX", "TorchScript"
FORMATS = {".onnx": ONNX, ".ts": TORCHSCRIPT, ".pt": TORCHSCRIPT}
CT = "CTNormalization"
# Schemes that are nnU-Net's clipping and scaling with numbers of their own, and what each of them needs.
NEEDED = {
    CT: ("percentile_00_5", "percentile_99_5", "mean", "std"),
    "FixedMeanStd": ("mean", "std"),
    "IntensityRange": ("from", "to"),
}
SCHEMES = (*NORMALIZATIONS, "FixedMeanStd", "IntensityRange")
UNLIMITED = 3e38  # clips nothing that float32 can hold
# By axis order and number of the patch's axes: which of the volume's axes K, J, I becomes each of the network's.
# A network that sees single slices gets them one after the other, so K stays first.
TRANSPOSES = {("KJI", 3): (0, 1, 2), ("IJK", 3): (2, 1, 0), ("KJI", 2): (0, 1, 2), ("IJK", 2): (0, 2, 1)}


@dataclass(frozen=True)
class SidecarModel(Model):
    """A network's file with what its sidecar says, checked; nothing of the weights is loaded yet.

    >>> model = SidecarModel.open("brain.onnx")
    """

    path: Path
    description: Mapping[str, Any]
    configuration: Configuration
    card: ModelCard | None
    folds: tuple[str, ...] = ("0",)

    @classmethod
    def open(cls, path: Path | str) -> SidecarModel:
        """Raises ModelError if the sidecar is missing, incomplete or contradicts itself."""
        path = Path(path)
        sidecar = path.with_suffix(".json")
        if not sidecar.is_file():
            raise ModelError(
                f"{path.name} has no sidecar: expected {sidecar.name} beside it, which says spacing, orientation, "
                f"normalization, patch and labels as Resources/Models/{SCHEMA_NAME} describes."
            )
        description = read_json(sidecar)
        check(description, _schema(), sidecar.name)
        card = ModelCard.from_dict(description["card"]) if "card" in description else None
        model = cls(path, description, _configuration(description, sidecar.name), card)
        model._check_labels()
        return model

    def _check_labels(self) -> None:
        name, labels = self._sidecar.name, self.labels
        for what, used in (("value", [label.value for label in labels]), ("id", [label.id for label in labels])):
            if len(set(used)) < len(used):
                raise damaged(name, f"labels have the {what}s {used}, expected each {what} once")
        activation, kind = self.description["output"]["activation"], self.description["output"]["kind"]
        if (activation, kind) in (("softmax", "regions"), ("softmax", "overlapping"), ("sigmoid", "labels")):
            fault = f"output is {activation} of {kind}, expected softmax of labels or sigmoid of regions"
            raise damaged(name, fault)
        for value in self.postprocessing.values:
            if value not in [label.value for label in labels]:
                raise damaged(name, f"postprocessing is for label {value}, which is not one of labels")

    @property
    def _sidecar(self) -> Path:
        return self.path.with_suffix(".json")

    @property
    def _id_without_card(self) -> str:
        return self.path.stem

    @property
    def version(self) -> str:
        return self.card.version if self.card else str(self.description.get("version", "unknown"))

    @property
    def title(self) -> str:
        return self.card.title if self.card else str(self.description.get("title", self.id))

    @property
    def format(self) -> str:
        return FORMATS[self.path.suffix.lower()]

    @property
    def configuration_name(self) -> str:
        return self.path.name

    @property
    def channel_names(self) -> tuple[str, ...]:
        return tuple(channel["name"] for channel in self.description["channels"])

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        entries = self.description["labels"]
        ids = identifiers([entry["name"] for entry in entries])
        layered = self.outputs.overlapping
        return tuple(
            Label(
                entry["value"], entry.get("id", id), entry["name"], tuple(entry.get("color", color)),
                entry.get("terminology", ""), layer=number if layered else 0,
            )
            for number, (entry, id, color) in enumerate(zip(entries, ids, spread_colors(len(ids)), strict=True))
        )  # fmt: skip

    @cached_property
    def outputs(self) -> Outputs:
        values, kind = tuple(entry["value"] for entry in self.description["labels"]), self.description["output"]["kind"]
        if kind == "labels":
            return Outputs((0, *values), regions=False)
        return Outputs(values, regions=True, overlapping=kind == "overlapping")

    @cached_property
    def postprocessing(self) -> Postprocessing:
        of_card = self.card.postprocessing if self.card else {}
        return Postprocessing.declared(of_card or self.description.get("postprocessing", {}))

    @property
    def tile(self) -> tuple[int, ...]:
        return self.configuration.patch_size

    @property
    def tiling(self) -> Tiling:
        # nnU-Net's weights are so small in a tile's corners that only large logits survive their rounding there.
        return Tiling(self.description.get("tile_overlap"), blending="centered gaussian")

    @property
    def spacing(self) -> tuple[float, ...]:
        return self.configuration.spacing

    @property
    def orientation(self) -> str | None:
        return self.description.get("orientation")

    @cached_property
    def weight_files(self) -> tuple[Path, ...]:
        return (self.path, *(external_files(self.path) if self.format == ONNX else ()))

    @property
    def description_files(self) -> tuple[Path, ...]:
        return (self._sidecar,)

    @cached_property
    def checksum(self) -> str:
        return files_sha256([*self.description_files, *self.weight_files], self.path.parent)

    @property
    def declared_sums(self) -> Mapping[str, str]:
        declared = self.description.get("weights_sha256")
        return {self.path.name: declared} if declared else super().declared_sums

    def copy_to(self, folder: Path) -> None:
        for file in (self._sidecar, *self.weight_files):
            target = folder / file.relative_to(self.path.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)

    def warnings(self, device: torch.device) -> list[str]:
        return onnx_warnings(device) if self.format == ONNX else []

    def check_weights(self) -> None:
        try_networks(self)

    def prepare(self, image: Image, *, body_only: bool = False) -> tuple[torch.Tensor, Placement]:
        return preprocess(image, self.configuration, body_only=body_only)

    def load_networks(
        self, device: torch.device | str, folds: Sequence[str] | None = None
    ) -> tuple[list[CheckedNetwork], tuple[int, ...]]:
        """The network, and the axes it may be mirrored along. The sum of its file is checked first.

        Raises ModelError if the file was changed or does not fit; DependencyError without onnxruntime.
        """
        import torch

        self.check_folds(folds)
        check_sums(self.id, self.path.parent, self.declared_sums)
        if self.format == ONNX:
            network = OnnxNetwork(self.path, torch.device(device), len(self.channel_names), self.tile)
        else:
            network = load_torchscript(self.path, device)
        activation = self.description["output"]["activation"]
        checked = CheckedNetwork(network, self.path.name, len(self.outputs.values), activation)
        return [checked], tuple(sorted(set(self.description.get("mirror_axes", ()))))


@cache
def _schema() -> dict[str, Any]:
    return read_json(resource("Models", SCHEMA_NAME))


def _configuration(description: Mapping[str, Any], file: str) -> Configuration:
    """What nnU-Net's plan of such a network would say."""
    patch, spacing = tuple(description["patch_size"]), tuple(float(s) for s in description["spacing_mm"])
    if len(spacing) != len(patch):
        raise damaged(file, f"spacing_mm is {spacing}, expected {len(patch)} numbers as patch_size has")
    outside = [axis for axis in description.get("mirror_axes", ()) if axis >= len(patch)]
    if outside:
        raise damaged(file, f"mirror_axes has axis {outside[0]}, expected axes of patch_size, from 0")
    channels = [channel["normalization"] for channel in description["channels"]]
    schemes, intensities = [], {}
    for number, entry in enumerate(channels):
        scheme, numbers = _normalization(entry, f"channels[{number}].normalization", file)
        schemes.append(scheme)
        intensities[str(number)] = numbers
    forward = TRANSPOSES[description.get("axis_order", "KJI"), len(patch)]
    return Configuration(
        name=file,
        patch_size=patch,
        spacing=spacing,
        normalizations=tuple(schemes),
        use_mask_for_norm=tuple(bool(entry.get("nonzero_only")) for entry in channels),
        data_resampling=Resampling(SPLINE, description.get("resampling_order", 3), 0, None),
        labels_resampling=Resampling(SPLINE, 1, 0, None),
        logits_resampling=Resampling(SPLINE, 1, 0, None),
        architecture={},
        intensities=intensities,
        transpose_forward=forward,
        transpose_backward=forward,  # each of them undoes itself
        reader="",
        crop_to_nonzero=bool(description.get("crop_to_nonzero")),
    )


def _normalization(entry: Mapping[str, Any], place: str, file: str) -> tuple[str, dict[str, float]]:
    """A scheme of nnU-Net, and the numbers for its CTNormalization: clip, subtract the mean, divide by std."""
    scheme = entry["scheme"]
    if scheme not in SCHEMES:
        raise damaged(file, f"{place}.scheme is {scheme!r}, expected one of {', '.join(SCHEMES)}")
    missing = [name for name in NEEDED.get(scheme, ()) if name not in entry]
    if missing:
        raise damaged(file, f"{place}.{missing[0]} is missing, which {scheme} needs")
    if scheme == "FixedMeanStd":
        low, high, mean, std = -UNLIMITED, UNLIMITED, entry["mean"], entry["std"]
    elif scheme == "IntensityRange":
        (low, high), (new_low, new_high) = entry["from"], entry["to"]
        if low >= high or new_low >= new_high:
            raise damaged(file, f"{place} goes from {entry['from']} to {entry['to']}, expected [smaller, larger]")
        std = (high - low) / (new_high - new_low)
        mean = low - new_low * std
    elif scheme == CT:
        low, high, mean, std = (entry[name] for name in NEEDED[CT])
    else:
        return scheme, {}
    return CT, {"percentile_00_5": low, "percentile_99_5": high, "mean": mean, "std": std}
