"""The model card: what a model is for, what it was trained on, how good it is, and what it expects of a volume.

The fields are those that users and regulators ask for (Mitchell et al., FAT* 2019); the file is ``model_card.json``,
its JSON schema ``Resources/Models/model_card.schema.json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from MedSegAICore.errors import GeometryError, ModelError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, Label
from MedSegAICore.orientation import Turn

FILE_NAME = "model_card.json"
PATIENT_AXES = ("right-left", "anterior-posterior", "inferior-superior")
REQUIRED_TEXTS = ("id", "title", "version", "license", "intended_use")


@dataclass(frozen=True)
class ExpectedInput:
    """What a volume should look like. Ranges are (smallest, largest) in mm along the patient axes (PATIENT_AXES).

    ``orientation``: the code that voxels are turned to before the network sees them; None leaves them as stored.
    ``series_descriptions``: regular expressions, one of which fits the DICOM series that the model is for.
    """

    modality: tuple[str, ...] = ()
    protocol: str = ""
    spacing_mm: tuple[tuple[float, float], ...] = ()
    extent_mm: tuple[tuple[float, float], ...] = ()
    orientation: str | None = None
    series_descriptions: tuple[str, ...] = ()


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
        path = Path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"The model card {path} cannot be read: {error}.") from error
        return cls.from_dict(content)

    @classmethod
    def from_dict(cls, content: Any) -> ModelCard:
        """Build a card from the content of ``model_card.json``. Raises ModelError as ``read``."""
        if not isinstance(content, dict):
            raise ModelError("The model card is not a JSON object.")
        for name in REQUIRED_TEXTS:
            if not isinstance(content.get(name), str) or not content[name].strip():
                raise ModelError(f"The model card lacks the text {name!r}; every card must say it.")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", content["id"]):
            raise ModelError(
                f"The model card's id is {content['id']!r}; use letters, digits, dots, hyphens and underscores."
            )
        try:
            return cls(
                **{name: content[name] for name in REQUIRED_TEXTS},
                not_for=_texts(content, "not_for"),
                limitations=_texts(content, "limitations"),
                input=_expected_input(content.get("input", {})),
                structures=tuple(_structure(entry) for entry in content.get("structures", ())),
                training=dict(content.get("training", {})),
                performance=tuple(_performance(entry) for entry in content.get("performance", ())),
                postprocessing=dict(content.get("postprocessing", {})),
                weights_sha256=dict(content.get("weights_sha256", {})),
                citation=_texts(content, "citation"),
            )
        except (KeyError, TypeError, ValueError, AttributeError, re.error, GeometryError) as error:
            raise ModelError(f"The model card of {content['id']} is damaged: {error!r}.") from error

    def check(self, image: Image) -> list[str]:
        """Sentences that name what of the image differs from what the model was made for; empty if nothing does."""
        differences = self.differences(image.grid, str(image.meta.get("modality") or ""))
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


def _texts(content: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = content.get(name, ())
    return (value,) if isinstance(value, str) else tuple(str(text) for text in value)


def _expected_input(entry: Mapping[str, Any]) -> ExpectedInput:
    def ranges(name: str) -> tuple[tuple[float, float], ...]:
        values = tuple((float(low), float(high)) for low, high in entry.get(name, ()))
        if len(values) not in (0, 3) or any(low > high for low, high in values):
            raise ValueError(f"{name} needs three ranges [smallest, largest], not {entry.get(name)}")
        return values

    for pattern in _texts(entry, "series_descriptions"):
        re.compile(pattern)
    if orientation := entry.get("orientation"):
        Turn.between(orientation, orientation)
    return ExpectedInput(
        modality=_texts(entry, "modality"),
        protocol=str(entry.get("protocol", "")),
        spacing_mm=ranges("spacing_mm"),
        extent_mm=ranges("extent_mm"),
        orientation=entry.get("orientation"),
        series_descriptions=_texts(entry, "series_descriptions"),
    )


def _structure(entry: Mapping[str, Any]) -> Label:
    return Label(
        value=int(entry["label"]),
        id=str(entry["id"]),
        name=str(entry["name"]),
        color=tuple(float(c) for c in entry.get("color", (0.5, 0.5, 0.5))),
        terminology=str(entry.get("terminology", "")),
    )


def _performance(entry: Mapping[str, Any]) -> Performance:
    low, high = entry["ci95"]
    return Performance(
        structure=str(entry["structure"]), measure=str(entry["measure"]), value=float(entry["value"]),
        ci95=(float(low), float(high)), n=int(entry["n"]), cases=str(entry["cases"]),
    )  # fmt: skip
