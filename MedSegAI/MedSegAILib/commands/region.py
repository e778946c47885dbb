"""``--roi``: only the voxels of a region are shown to the model, and the result goes back to its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from MedSegAICore.image import Image
from MedSegAICore.roi import Region

if TYPE_CHECKING:
    from MedSegAILib.inference.result import Result


def restrict(image: Image, region: Region | None, name: str) -> tuple[Image, Callable[[Result], Result]]:
    """The part of a volume in a region, and how a result for it becomes one for the whole volume.

    ``name``: of the case, for messages. None for a region takes the whole volume.
    Raises InputError if the region holds no voxel of the volume.
    """
    if region is None:
        return image, lambda result: result
    box = region.box(image.grid, name)

    return image.crop(box), lambda result: result.placed_in(image.grid, box)
