"""Normalizing intensities as nnU-Net does, a few planes at a time, so that no second copy of a volume is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from MedSegAILib.models.plans import Configuration

if TYPE_CHECKING:
    import torch

LEAST_DIVISOR = 1e-8  # nnU-Net's, for volumes that are the same everywhere


@dataclass(frozen=True)
class Normalization:
    """Clip to ``low`` … ``high``, subtract ``shift``, divide by ``scale``; outside of ``inside`` (K, J, I) nothing.

    The formulas are those of nnunetv2's default_normalization_schemes.
    """

    shift: float = 0.0
    scale: float = 1.0
    low: float = -math.inf
    high: float = math.inf
    inside: np.ndarray | None = None

    @classmethod
    def of(
        cls, channel: np.ndarray, number: int, configuration: Configuration, inside: np.ndarray | None
    ) -> Normalization:
        """That of a channel (K, J, I) by its scheme; ``inside``: what is not background, for plans that ask for it."""
        scheme = configuration.normalizations[number]
        if scheme == "ZScoreNormalization":
            inside = inside if configuration.use_mask_for_norm[number] else None
            mean, deviation = _mean_and_deviation(channel, inside)
            return cls(mean, max(deviation, LEAST_DIVISOR), inside=inside)
        if scheme == "CTNormalization":
            known = configuration.intensities[str(number)]
            scale = max(known["std"], LEAST_DIVISOR)
            return cls(known["mean"], scale, known["percentile_00_5"], known["percentile_99_5"])
        if scheme == "RescaleTo01Normalization":
            low = float(channel.min())
            return cls(low, max(float(channel.max()) - low, LEAST_DIVISOR))
        return cls(scale=255.0) if scheme == "RGBTo01Normalization" else cls()

    def planes(self, channel: np.ndarray, start: int, stop: int) -> torch.Tensor:
        """The normalized planes (K, J, I) from ``start`` to ``stop`` of the channel, float32."""
        import torch

        planes = torch.from_numpy(np.array(channel[start:stop], np.float32, order="C"))
        normalized = planes if self.inside is None else planes.clone()
        if math.isfinite(self.low) or math.isfinite(self.high):
            normalized.clamp_(self.low, self.high)
        normalized.sub_(self.shift).div_(self.scale)
        if self.inside is None:
            return normalized
        return torch.where(torch.from_numpy(np.ascontiguousarray(self.inside[start:stop])), normalized, planes)

    def clip(self, channel: np.ndarray) -> np.ndarray:
        """The channel (K, J, I) with what is too low or too high replaced, in its own type and scale."""
        low, high = self.low, self.high
        if low == -math.inf and high == math.inf:
            return channel
        if channel.dtype.kind in "iu":
            limits = np.iinfo(channel.dtype)
            low, high = (min(max(value, limits.min), limits.max) for value in (math.floor(low), math.ceil(high)))
        return channel.clip(low, high)

    def crop(self, box: tuple[slice, slice, slice]) -> Normalization:
        """The same for a box of the channel."""
        return replace(self, inside=None if self.inside is None else self.inside[box])

    def along(self, axis: int) -> Normalization:
        """The same for channels whose ``axis`` was moved to the front."""
        return replace(self, inside=None if self.inside is None else np.moveaxis(self.inside, axis, 0))


def _mean_and_deviation(channel: np.ndarray, inside: np.ndarray | None) -> tuple[float, float]:
    """Mean and population deviation, summed in double precision plane by plane."""
    count = channel.size if inside is None else int(np.count_nonzero(inside))
    mean = sum(float(plane.sum()) for plane in _values(channel, inside)) / count
    squares = 0.0
    for values in _values(channel, inside):
        values -= mean
        squares += float(np.dot(values.ravel(), values.ravel()))
    return mean, math.sqrt(squares / count)


def _values(channel: np.ndarray, inside: np.ndarray | None):
    """The planes as copies in double precision; of a mask the values inside."""
    for number, plane in enumerate(channel):
        yield (plane if inside is None else plane[inside[number]]).astype(np.float64)
