"""Three named qualities: what is given up for time, and what a run then does on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from MedSegAICore.errors import InputError
from MedSegAILib.inference.devices import full_precision, reduced_precision

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Quality:
    """``step``: how far tiles advance, in tiles. ``mirroring``: average over mirrored copies, where the model was
    trained for it. ``reduced_precision``: compute in 16 bits where this machine is faster so. ``body_only``: leave out
    the air around the body.
    """

    name: str
    step: float
    mirroring: bool
    reduced_precision: bool
    body_only: bool


# best does what nnU-Net does by default; standard is the same but for what changes few voxels (measured by
# Testing/benchmarks/inference.py); fast trades accuracy where tiles meet for a third of the tiles.
QUALITIES = {
    quality.name: quality
    for quality in (
        Quality("fast", step=0.75, mirroring=False, reduced_precision=True, body_only=True),
        Quality("standard", step=0.5, mirroring=False, reduced_precision=True, body_only=True),
        Quality("best", step=0.5, mirroring=True, reduced_precision=False, body_only=False),
    )
}
STANDARD = "standard"


@dataclass(frozen=True)
class Settings:
    """How a model is run: a quality, made definite for one model and one device."""

    quality: str
    step: float
    precision: str
    mirror_axes: tuple[int, ...]
    body_only: bool

    @classmethod
    def of(
        cls, quality: str, device: torch.device, allowed_axes: Sequence[int], mirroring: bool | None = None
    ) -> Settings:
        """``allowed_axes``: along which the model may be mirrored. ``mirroring`` overrides the quality's.

        Raises InputError if there is no such quality.
        """
        if quality not in QUALITIES:
            raise InputError(f"There is no quality {quality!r}; choose {', '.join(QUALITIES)}.")
        chosen = QUALITIES[quality]
        mirrored = chosen.mirroring if mirroring is None else mirroring
        return cls(
            quality,
            chosen.step,
            reduced_precision(device) if chosen.reduced_precision else full_precision(device),
            tuple(allowed_axes) if mirrored else (),
            chosen.body_only,
        )

    @property
    def passes(self) -> int:
        """How often a network sees a tile."""
        return 2 ** len(self.mirror_axes)

    def __str__(self) -> str:
        mirrored = f"mirrored {self.passes} ways" if self.mirror_axes else "not mirrored"
        around = ", without the air around the body" if self.body_only else ""
        return f"quality {self.quality}: tiles overlap by {1 - self.step:.0%}, {self.precision}, {mirrored}{around}"
