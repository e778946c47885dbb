"""The model card: what a model is for, what it was trained on, how good it is, and what it expects of a volume.

The fields are those that users and regulators ask for (Mitchell et al., FAT* 2019); the file is ``model_card.json``,
its JSON schema ``Resources/Models/model_card.schema.json``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from MedSegAICore.errors import GeometryError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, Label
from MedSegAICore.orientation import Turn
from MedSegAICore.resources import resource
from MedSegAILib.models.schema import check, damaged, read_json

FILE_NAME = "model_card.json"
SCHEMA_NAME = "model_card.schema.json"
PATIENT_AXES = ("right-left", "anterior-posterior", "inferior-superior")
REQUIRED_TEXTS = ("id", "title", "version", "license", "intended_use")


@dataclass(frozen=True)
class ExpectedChannel:
    """By what the volume of a channel is known: DICOM modality codes, and patterns for its series description.

    ``name``: that of the channel in ``dataset.json``. The patterns are regular expressions, any case.
    """

    name: str
    modality: tuple[str, ...] = ()
    series_descriptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExpectedInput:
    """What a volume should look like. Ranges are (smallest, largest) in mm along the patient axes (PATIENT_AXES).

    ``orientation``: the code that voxels are turned to before the network sees them; None leaves them as stored.
    ``series_descriptions``: regular expressions, one of which fits the DICOM series that the model is for.
    ``channels``: rules for the volumes of a model of several channels.
    """

    modality: tuple[str, ...] = ()
    protocol: str = ""
    spacing_mm: tuple[tuple[float, float], ...] = ()
    extent_mm: tuple[tuple[float, float], ...] = ()
    orientation: str | None = None
    series_descriptions: tuple[str, ...] = ()
    channels: tuple[ExpectedChannel, ...] = ()


@dataclass(frozen=True)
class Difference:
    """Something about a volume, as it was found and as the card expects it."""

    what: str
    found: str
    expected: str


@dataclass(frozen=True)
class Performance:
    """One measured figure. ``cases`` says on which cases; ``ci95`` is the 95 % interval of the mean over them."""

    structure: str
    measure: str
    value: float
    ci95: tuple[float, float]
    n: int
    cases: str


@dataclass(frozen=True)
class ModelCard:
    """What ``model_card.json`` says; see the module's docstring."""

    id: str
    title: str
    version: str
    license: str
    intended_use: str
    not_for: tuple[str, ...] = ()
    limitations: tuple[str, ...] = ()
    input: ExpectedInput = field(default_factory=ExpectedInput)
    structures: tuple[Label, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    performance: tuple[Performance, ...] = ()
    postprocessing: Mapping[str, Any] = field(default_factory=dict)
    weights_sha256: Mapping[str, str] = field(default_factory=dict)
    citation: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path | str) -> ModelCard:
        """Raises ModelError that names the field which is missing or wrong."""
        return cls.from_dict(read_json(Path(path)))

    @classmethod
    def from_dict(cls, content: Any) -> ModelCard:
        """Build a card from the content of ``model_card.json``. Raises ModelError as ``read``."""
        check(content, _schema(), FILE_NAME)
        structures = tuple(_structure(entry) for entry in content.get("structures", ()))
        for what, used in (("id", [s.id for s in structures]), ("label", [s.value for s in structures])):
            if len(set(used)) < len(used):
                raise damaged(FILE_NAME, f"structures have the {what}s {used}, expected each {what} once")
        return cls(
            **{name: content[name] for name in REQUIRED_TEXTS},
            not_for=tuple(content.get("not_for", ())),
            limitations=tuple(content.get("limitations", ())),
            input=_expected_input(content.get("input", {})),
            structures=structures,
            training=content.get("training", {}),
            performance=tuple(_performance(entry) for entry in content.get("performance", ())),
            postprocessing=content.get("postprocessing", {}),
            weights_sha256=content.get("weights_sha256", {}),
            citation=tuple(content.get("citation", ())),
        )

    def check(self, image: Image) -> list[str]:
        """Sentences that name what of the image differs from what the model was made for; empty if nothing does."""
        return self.sentences(image.grid, str(image.meta.get("modality") or ""))

    def sentences(self, grid: Grid, modality: str = "") -> list[str]:
        """``differences`` for people."""
        differences = self.differences(grid, modality)
        return [f"The {d.what} is {d.found}, but {self.title} is for {d.expected}." for d in differences]

    def differences(self, grid: Grid, modality: str = "") -> list[Difference]:
        """What of a volume differs, before its voxels are read; an unknown modality (empty) is not held against it."""
        expected, found = self.input, []
        if expected.modality and modality and modality not in expected.modality:
            found.append(Difference("modality", modality, " or ".join(expected.modality)))
        spacing = _along_patient_axes(grid, grid.spacing_ijk)
        extent = [s * n for s, n in zip(spacing, _along_patient_axes(grid, grid.shape[::-1]), strict=True)]
        for what, values, ranges in (
            ("spacing", spacing, expected.spacing_mm), ("extent", extent, expected.extent_mm),
        ):  # fmt: skip
            if ranges and not all(low <= value <= high for value, (low, high) in zip(values, ranges, strict=True)):
                wanted = " x ".join(f"{low:g}-{high:g}" for low, high in ranges)
                axes = " x ".join(PATIENT_AXES)
                found.append(Difference(what, " x ".join(f"{v:.3g}" for v in values) + " mm", f"{wanted} mm ({axes})"))
        return found


def _along_patient_axes(grid: Grid, values_ijk: Sequence[float]) -> list[float]:
    """Values of the axes I, J, K in the order of PATIENT_AXES."""
    axis_of = {letter: axis for axis, letters in enumerate(("LR", "PA", "IS")) for letter in letters}
    by_axis = {axis_of[letter]: float(v) for letter, v in zip(grid.orientation, values_ijk, strict=True)}
    return [by_axis[axis] for axis in range(3)]


@cache
def _schema() -> dict[str, Any]:
    return read_json(resource("Models", SCHEMA_NAME))


def _expected_input(entry: Mapping[str, Any]) -> ExpectedInput:
    ranges = {name: tuple((float(a), float(b)) for a, b in entry.get(name, ())) for name in ("spacing_mm", "extent_mm")}
    for name, values in ranges.items():
        if any(low > high for low, high in values):
            raise damaged(FILE_NAME, f"input.{name} is {entry[name]}, expected ranges [smallest, largest]")
    _check_patterns(entry, "input")
    channels = entry.get("channels", ())
    for number, channel in enumerate(channels):
        _check_patterns(channel, f"input.channels[{number}]")
    names = [channel["name"] for channel in channels]
    if len(set(names)) < len(names):
        raise damaged(FILE_NAME, f"input.channels have the names {names}, expected each name once")
    if orientation := entry.get("orientation"):
        try:
            Turn.between(orientation, orientation)
        except GeometryError as error:
            fault = f"input.orientation is {orientation!r}, expected three directions such as RAS"
            raise damaged(FILE_NAME, fault) from error
    return ExpectedInput(
        modality=tuple(entry.get("modality", ())),
        protocol=entry.get("protocol", ""),
        orientation=entry.get("orientation"),
        series_descriptions=tuple(entry.get("series_descriptions", ())),
        channels=tuple(
            ExpectedChannel(
                channel["name"], tuple(channel.get("modality", ())), tuple(channel.get("series_descriptions", ()))
            )
            for channel in channels
        ),
        **ranges,
    )


def _check_patterns(entry: Mapping[str, Any], where: str):
    for pattern in entry.get("series_descriptions", ()):
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            fault = f"{where}.series_descriptions holds {pattern!r}, expected a regular expression ({error})"
            raise damaged(FILE_NAME, fault) from error


def _structure(entry: Mapping[str, Any]) -> Label:
    return Label(
        value=int(entry["label"]),
        id=entry["id"],
        name=entry["name"],
        color=tuple(float(c) for c in entry.get("color", (0.5, 0.5, 0.5))),
        terminology=entry.get("terminology", ""),
    )


def _performance(entry: Mapping[str, Any]) -> Performance:
    low, high = entry["ci95"]
    return Performance(
        structure=entry["structure"], measure=entry["measure"], value=float(entry["value"]),
        ci95=(float(low), float(high)), n=int(entry["n"]), cases=entry["cases"],
    )  # fmt: skip
