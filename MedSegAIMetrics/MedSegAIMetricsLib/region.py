"""In which voxels true negatives are counted."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from MedSegAICore.errors import InputError
from MedSegAIMetricsLib.masks import MaskPair


@dataclass(frozen=True)
class Region:
    """``margin_mm``: None for the whole image, else how far the box of both masks is grown, at least, on each side."""

    margin_mm: float | None = None

    @classmethod
    def parse(cls, text: str) -> Region:
        """From ``image`` or, for example, ``union+10mm``. Raises InputError for anything else."""
        if text == "image":
            return cls()
        match = re.fullmatch(r"union\+(\d+(?:\.\d+)?)mm", text)
        if not match:
            raise InputError(f"A region is 'image' or, for example, 'union+10mm', but it is {text!r}.")
        return cls(float(match[1]))

    def __str__(self) -> str:
        return "image" if self.margin_mm is None else f"union+{self.margin_mm:g}mm"

    def voxels(self, pair: MaskPair) -> int:
        """How many voxels the region has: of the image, or of the grown box as far as it lies in the image."""
        if self.margin_mm is not None and not pair.reference.size:
            return 0
        return self.voxels_around(pair.start, pair.reference.shape, pair.image_shape, pair.spacing_mm)

    def voxels_around(
        self, start: Sequence[int], shape: Sequence[int], image_shape: Sequence[int], spacing_mm: Sequence[float]
    ) -> int:
        """The same for the box (``start``, ``shape``) that any number of masks fill; all KJI, the box not empty."""
        if self.margin_mm is None:
            return math.prod(image_shape)
        extents = []
        for first, n, whole, spacing in zip(start, shape, image_shape, spacing_mm, strict=True):
            grow = math.ceil(self.margin_mm / spacing - 1e-9)
            extents.append(min(whole, first + n + grow) - max(0, first - grow))
        return math.prod(extents)
