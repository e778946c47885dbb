"""What running a model gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, LabelMap

MAPS = ("probabilities", "uncertainty")  # attributes of a Result that are images or None


@dataclass(frozen=True)
class Result:
    """A segmentation and how it came about.

    ``label_map``, ``probabilities`` (one channel per segment, or None) and ``uncertainty`` (one channel, 0 to 1: see
    ``Entropy``, or None) lie on the input's grid. ``warnings`` are sentences for the user; ``provenance`` is a
    JSON-able record; ``seconds`` is the time of this call.
    """

    label_map: LabelMap
    probabilities: Image | None
    uncertainty: Image | None
    provenance: dict[str, Any]
    warnings: list[str]
    seconds: float

    def placed_in(self, grid: Grid, box: tuple[slice, slice, slice]) -> Result:
        """The result for a volume of which only a box of voxels (KJI) was shown to the model; empty outside."""
        maps = {kind: image and image.placed_in(grid, box) for kind in MAPS for image in [getattr(self, kind)]}
        provenance = {**self.provenance, "region_kji": [[part.start, part.stop] for part in box]}
        return replace(self, label_map=self.label_map.placed_in(grid, box), provenance=provenance, **maps)
