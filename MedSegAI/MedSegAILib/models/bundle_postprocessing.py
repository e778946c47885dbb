"""What a MONAI bundle does with its network's answer, as the engine does it: what is interpolated, and what decides.

The order of a bundle's transforms matters: probabilities that are brought to the volume's grid before the largest is
taken give other borders than logits, and labels can be brought back by the nearest voxel only.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MedSegAICore.errors import ModelError
from MedSegAILib.inference.export import Outputs
from MedSegAILib.inference.postprocessing import Postprocessing
from MedSegAILib.models.bundle_config import Component
from MedSegAILib.models.bundle_expressions import parse
from MedSegAILib.models.bundle_transforms import check_supported, transforms_of

if TYPE_CHECKING:
    import torch

# They change how an answer is stored or where it is written, not what it is.
WITHOUT_EFFECT = (
    "EnsureTyped", "ToTensord", "ToDeviced", "ToNumpyd", "CastToTyped", "SqueezeDimd", "DeleteItemsd", "SaveImaged",
    "Identityd",
)  # fmt: skip
SUPPORTED = (
    "Activationsd", "AsDiscreted", "Invertd", "KeepLargestConnectedComponentd", "FillHolesd", "Lambdad",
    *WITHOUT_EFFECT,
)  # fmt: skip
BACKGROUND = "background"


@dataclass(frozen=True)
class Answer:
    """From the network's logits to segments.

    ``activation``: None, ``softmax`` or ``sigmoid``; ``activated_first``: before the way back to the volume's grid.
    ``nearest``: whether the way back takes the nearest voxel. ``channels``: those of the network's that are used, in
    the order of ``outputs``. ``threshold``: of regions, the number above which a voxel belongs to one.
    """

    activation: str | None
    activated_first: bool
    nearest: bool
    channels: tuple[int, ...]
    threshold: float
    outputs: Outputs
    postprocessing: Postprocessing

    def changes_logits(self, count: int) -> bool:
        """Whether ``activate`` does anything to so many channels."""
        activates = self.activated_first and self.activation is not None
        return activates or self.channels != tuple(range(count)) or bool(self.threshold)

    def activate(self, logits: torch.Tensor) -> torch.Tensor:
        """What is brought to the volume's grid, from means of logits (outputs, rows, J, I)."""
        if self.activated_first and self.activation == "softmax":
            logits = logits.softmax(0)
        elif self.activated_first and self.activation == "sigmoid":
            logits = logits.sigmoid()
        if self.channels != tuple(range(len(logits))):
            logits = logits[list(self.channels)]
        return logits - self.threshold if self.threshold else logits


def read_answer(entry: Any, written: Any, names: Sequence[str]) -> Answer:
    """``entry``: the bundle's ``postprocessing``, resolved; ``written``: its transforms as they are written there.

    ``names``: what the network's channels are. Raises ModelError that names what is not supported.
    """
    steps = _Steps(names)
    for component in transforms_of(entry):
        name = check_supported(component, SUPPORTED, "postprocessing")
        if name not in WITHOUT_EFFECT:
            getattr(steps, f"read_{name}")(component.arguments)
    steps.painted = _painting(written)
    return steps.answer()


class _Steps:
    """What was read of a bundle's postprocessing so far."""

    def __init__(self, names: Sequence[str]):
        self.names = names
        self.activation: str | None = None
        self.decision: str | None = None
        self.threshold = 0.5
        self.activated_first: bool | None = None
        self.nearest = False
        self.painted: list[tuple[int, int]] | None = None
        self.largest: list[Mapping[str, Any]] = []
        self.holes: list[Any] = []

    def read_Activationsd(self, arguments: Mapping[str, Any]) -> None:
        softmax, sigmoid = bool(arguments.get("softmax")), bool(arguments.get("sigmoid"))
        if arguments.get("other") is not None or softmax == sigmoid:
            raise ModelError(f"The bundle's Activationsd is {dict(arguments)}, expected softmax or sigmoid.")
        self.activation = "softmax" if softmax else "sigmoid"

    def read_AsDiscreted(self, arguments: Mapping[str, Any]) -> None:
        if arguments.get("argmax") in (True, [True]):
            self.decision = "argmax"
        elif isinstance(arguments.get("threshold"), int | float):
            self.decision, self.threshold = "threshold", float(arguments["threshold"])
        elif arguments.get("rounding") == "torchrounding":
            self.decision, self.threshold = "threshold", 0.5
        elif self.decision is None:
            raise ModelError(f"The bundle's AsDiscreted is {dict(arguments)}, expected argmax or a threshold.")

    def read_Invertd(self, arguments: Mapping[str, Any]) -> None:
        self.activated_first = self.activation is not None
        # Labels have nothing between them, also where a bundle asks for it.
        self.nearest = self.decision is not None or arguments.get("nearest_interp", True) in (True, [True])

    def read_KeepLargestConnectedComponentd(self, arguments: Mapping[str, Any]) -> None:
        if arguments.get("connectivity") not in (None, 3) or arguments.get("num_components", 1) != 1:
            raise ModelError(
                f"The bundle's KeepLargestConnectedComponentd is {dict(arguments)}; supported are one component, and "
                "neighbors by faces, edges and corners (connectivity 3)."
            )
        self.largest.append(arguments)

    def read_FillHolesd(self, arguments: Mapping[str, Any]) -> None:
        if arguments.get("connectivity") != 1:
            raise ModelError(
                f"The bundle's FillHolesd has the connectivity {arguments.get('connectivity')}; supported is 1, with "
                "which a hole is what no path over faces leads out of."
            )
        self.holes.append(arguments.get("applied_labels"))

    def read_Lambdad(self, arguments: Mapping[str, Any]) -> None:
        """Read from how it is written, see ``_painting``."""

    def answer(self) -> Answer:
        decision = self.decision or ("threshold" if self.activation == "sigmoid" or len(self.names) == 1 else "argmax")
        activated_first = self.activated_first if self.activated_first is not None else self.activation is not None
        if decision == "argmax" and (len(self.names) < 2 or self.painted):
            raise ModelError(
                f"The bundle takes the largest of {len(self.names)} channel(s), expected two or more, or a threshold."
            )
        if decision == "threshold" and self.activation == "softmax":
            raise ModelError("The bundle compares softmax probabilities with a threshold; supported is argmax of them.")
        outputs, channels = self._outputs(decision)
        threshold = self._threshold(decision, activated_first)
        if activated_first and self.activation:
            offset = threshold if outputs.regions else 0.0
            outputs = Outputs(outputs.values, outputs.regions, outputs.overlapping, offset)
        return Answer(
            self.activation, activated_first, self.nearest, channels, threshold, outputs,
            self._postprocessing(outputs.values),
        )  # fmt: skip

    def _threshold(self, decision: str, activated_first: bool) -> float:
        """To compare with what is interpolated."""
        import math

        if decision == "argmax":
            return 0.0
        if self.activation == "sigmoid" and not activated_first:
            if not 0 < self.threshold < 1:
                raise ModelError(f"The bundle's threshold is {self.threshold}, expected a number between 0 and 1.")
            return math.log(self.threshold / (1 - self.threshold))
        if self.activation is None and self.decision is None:
            return 0.0
        return self.threshold

    def _outputs(self, decision: str) -> tuple[Outputs, tuple[int, ...]]:
        """What is made, and of which of the network's channels."""
        if decision == "argmax":
            return Outputs(tuple(range(len(self.names))), regions=False), tuple(range(len(self.names)))
        if self.painted:
            if max(channel for channel, _ in self.painted) >= len(self.names):
                raise ModelError(f"The bundle's Lambdad takes channels that do not exist; there are {len(self.names)}.")
            channels, values = zip(*self.painted, strict=True)
            return Outputs(tuple(values), regions=True), tuple(channels)
        channels = tuple(n for n, name in enumerate(self.names) if name.lower() != BACKGROUND)
        if not channels:
            raise ModelError("The bundle's metadata.json calls its only output channel background.")
        return Outputs(tuple(n + 1 for n in channels), regions=True, overlapping=len(channels) > 1), channels

    def _postprocessing(self, values: Sequence[int]) -> Postprocessing:
        def wanted(labels: Any) -> tuple[int, ...]:
            labels = labels if isinstance(labels, list | tuple) else [labels] if labels is not None else values
            return tuple(int(value) for value in labels if value in values and value)

        groups = []
        for arguments in self.largest:
            labels = wanted(arguments.get("applied_labels"))
            groups += [(value,) for value in labels] if arguments.get("independent", True) else [labels]
        return Postprocessing(tuple(groups), tuple(value for labels in self.holes for value in wanted(labels)))


def _painting(written: Any) -> list[tuple[int, int]] | None:
    """(channel, value) in the order of writing, from the idiom that makes labels of regions; None without one.

    ``Lambdad`` with ``$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, … 0))``: the first region
    that holds a voxel decides, which is to write the last one first. It is read, not run.
    """
    painted = None
    for component in written:
        text = component.get("func")
        tree = parse(text) if isinstance(text, str) and text.startswith("$") else None
        painted = _cases(tree) if isinstance(tree, ast.Lambda) else None
        if painted is None:
            raise ModelError(
                f"The bundle wants the transform Lambdad with {text!r}, which is not run here because it could do "
                "anything; supported is torch.where over the channels, which makes labels of regions."
            )
    return painted


def _cases(tree: ast.Lambda) -> list[tuple[int, int]] | None:
    cases, node = [], tree.body
    parameter = tree.args.args[0].arg if len(tree.args.args) == 1 else None
    while isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.where" and len(node.args) == 3:
        condition, value, node = node.args
        place = (
            isinstance(condition, ast.Compare)
            and isinstance(condition.left, ast.Subscript)
            and ast.unparse(condition.left.value) == parameter
            and ast.unparse(condition)[len(ast.unparse(condition.left)) :].replace(" ", "") in (">0", ">0.5", "==1")
        )
        channel = ast.unparse(condition.left.slice).strip("[]") if place else ""
        if not channel.isdecimal() or not isinstance(value, ast.Constant) or not isinstance(value.value, int):
            return None
        cases.append((int(channel), value.value))
    ends_with_background = isinstance(node, ast.Constant) and node.value == 0
    values = {value for _, value in cases}
    valid = cases and ends_with_background and min(values) > 0 and len(values) == len(cases)
    return cases[::-1] if valid else None


def lambdas(config: Any) -> list[Component]:
    """The Lambdad of a bundle's postprocessing as they are written."""
    return [entry for name in ("Lambdad", "LambdaD", "LambdaDict") for entry in config.components(name)]
