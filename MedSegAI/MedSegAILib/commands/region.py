"""``--roi``: only the voxels of a region are shown to the model, and the result goes back to its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from MedSegAICore.image import Image
from MedSegAICore.roi import Region
from MedSegAILib.commands.record import MAPS

if TYPE_CHECKING:
    from MedSegAILib.inference.prediction import Result


def restrict(image: Image, region: Region | None, name: str) -> tuple[Image, Callable[[Result], Result]]:
    """The part of a volume in a region, and how a result for it becomes one for the whole volume.

    ``name``: of the case, for messages. None for a region takes the whole volume.
    Raises InputError if the region holds no voxel of the volume.
    """
    if region is None:
        return image, lambda result: result
    box = region.box(image.grid, name)

    def place(result: Result) -> Result:
        maps = {kind: _placed(getattr(result, kind), image, box) for kind in MAPS}
        provenance = {**result.provenance, "region_kji": [[part.start, part.stop] for part in box]}
        label_map = result.label_map.placed_in(image.grid, box)
        return replace(result, label_map=label_map, provenance=provenance, **maps)

    return image.crop(box), place


def _placed(part: Image | None, image: Image, box: tuple[slice, slice, slice]) -> Image | None:
    """A map of the box on the grid of the whole volume, 0 outside."""
    if part is None:
        return None
    whole = np.zeros((part.channels, *image.grid.shape), part.array.dtype)
    whole[(slice(None), *box)] = part.array
    return Image(whole, image.grid, part.meta)
