"""What can be chosen for a training run, with defaults that need no tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from MedSegAICore.errors import TrainingError

LOSSES = ("dice_ce", "dice", "generalized_dice", "ce", "focal")
OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("poly", "cosine")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
AUGMENTATIONS = ("full", "strong", "mild", "none")
DEFAULT_LEARNING_RATES = {"sgd": 1e-2, "adamw": 1e-3}


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that one training run depends on, besides its data and plan.

    ``iterations`` and ``minutes`` bound the run, whichever ends first; the learning rate decays to zero at that end.
    ``learning_rate``: None takes the optimizer's default. ``schedule``: ``poly`` is nnU-Net's (1 - progress) ** 0.9.
    ``class_weights``: for cross-entropy and focal loss, one per class (background first), or None.
    ``mirror_axes``: spatial axes (0 = first of the plan's axes) that augmentation may flip and inference may mirror.
    Leave it empty when left and right, or front and back, mean something.
    ``ema_decay``: decay of the exponential moving average of the weights, which is what validation and the final
    checkpoint use; 0 switches it off.
    ``precision``: ``auto`` times a step in float32 and in bfloat16 on a CPU; on a GPU it takes what is fast there.

    Raises TrainingError if a value is not usable.
    """

    iterations: int = 250_000
    minutes: float | None = None
    batch_size: int | None = None
    loss: str = "dice_ce"
    class_weights: Sequence[float] | None = None
    optimizer: str = "sgd"
    learning_rate: float | None = None
    weight_decay: float = 3e-5
    schedule: str = "poly"
    warmup_iterations: int = 100
    gradient_clip: float = 12.0
    ema_decay: float = 0.999
    augmentation: str = "full"
    mirror_axes: Sequence[int] = ()
    foreground_fraction: float = 0.33
    precision: str = "auto"
    device: str = "auto"
    threads: int | None = None
    validate_every_minutes: float = 5.0
    seed: int = 0

    def __post_init__(self):
        self._one_of("loss", LOSSES)
        self._one_of("optimizer", OPTIMIZERS)
        self._one_of("schedule", SCHEDULES)
        self._one_of("precision", PRECISIONS)
        self._one_of("augmentation", AUGMENTATIONS)
        self._in_range("iterations", 1, float("inf"))
        self._in_range("minutes", 1e-3, float("inf"))
        self._in_range("batch_size", 1, 4096)
        self._in_range("learning_rate", 1e-9, 10)
        self._in_range("weight_decay", 0, 1)
        self._in_range("ema_decay", 0, 0.999999)
        self._in_range("foreground_fraction", 0, 1)
        self._in_range("validate_every_minutes", 1e-3, float("inf"))
        if any(axis not in (0, 1, 2) for axis in self.mirror_axes):
            raise TrainingError(f"mirror_axes is {tuple(self.mirror_axes)}, but the axes are 0, 1 and 2.")

    def _one_of(self, name: str, allowed: Sequence[str]):
        if getattr(self, name) not in allowed:
            raise TrainingError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(allowed)}.")

    def _in_range(self, name: str, low: float, high: float):
        value = getattr(self, name)
        if value is not None and not low <= value <= high:
            raise TrainingError(f"{name} is {value}, but it must be between {low} and {high}.")

    @property
    def initial_learning_rate(self) -> float:
        return self.learning_rate or DEFAULT_LEARNING_RATES[self.optimizer]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingSettings:
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})
