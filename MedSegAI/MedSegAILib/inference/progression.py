"""One progress from 0 to 1 over several predictors that run one after the other, each by its share of the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from MedSegAICore.image import Image
from MedSegAILib.models.model import Model


class Part(Protocol):
    """What runs: a stage of a cascade, a member of an ensemble, or a model by itself."""

    model: Model
    networks: Sequence


class Progression:
    """``of(part)`` is the callback for that part of the run; None where nobody wants to know.

    ``cancelled`` goes with it: whether the run is to be stopped, whatever part of it runs.
    The work of a part is taken as the voxels that its networks see: those of the image, at the part's spacing.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        image: Image,
        progress: Callable[[float, str], None] | None,
        cancelled: Callable[[], bool] | None,
    ):
        self._progress, self.cancelled = progress, cancelled
        self._parts = list(parts)
        work = np.array([len(part.networks) * _voxels(image, part.model) for part in parts], float)
        self._ends = (work.cumsum() / work.sum()).tolist()

    def of(self, part: Part) -> Callable[[float, str], None] | None:
        if self._progress is None or len(self._parts) == 1:
            return self._progress
        number = next(n for n, own in enumerate(self._parts) if own is part)
        start, end = ([0.0, *self._ends][number], self._ends[number])

        def report(fraction: float, message: str):
            self._progress(start + fraction * (end - start), f"{part.model.configuration_name}: {message}")

        return report


def _voxels(image: Image, model: Model) -> float:
    """Of the prepared volume, about: of a 2D model, whose slices stay where they are, in the image's own planes."""
    spacing = np.sort(image.grid.spacing_kji)[: len(model.spacing)]
    return float(np.prod(image.grid.shape) * np.prod(spacing) / np.prod(model.spacing))
