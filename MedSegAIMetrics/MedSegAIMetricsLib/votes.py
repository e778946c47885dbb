"""How many observers called each voxel foreground: the counts that all agreement of masks follows from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedSegAICore.boxes import filled_box, joint_box
from MedSegAICore.errors import GeometryError, InputError
from MedSegAIMetricsLib.masks import MaskPair, check_array, check_spacing
from MedSegAIMetricsLib.region import Region


@dataclass(frozen=True)
class Votes:
    """The counts of k observers' masks of one case.

    ``histogram`` (k + 1,): how many voxels of the region have 0, 1, … k votes. ``common`` (k, k): how many voxels two
    observers share; on the diagonal how many each has. ``voxel_ml``: volume of a voxel. ``region``: the rule by which
    background was counted, as written in tables. All counts are exact.
    """

    histogram: np.ndarray
    common: np.ndarray
    voxel_ml: float
    region: str

    @property
    def k(self) -> int:
        """How many observers."""
        return len(self.common)

    @property
    def n(self) -> int:
        """How many voxels the region has."""
        return int(self.histogram.sum())

    @property
    def sizes(self) -> np.ndarray:
        """How many voxels each observer's mask has."""
        return np.diagonal(self.common)

    @property
    def volumes_ml(self) -> list[float]:
        """Of each observer's mask."""
        return [float(size * self.voxel_ml) for size in self.sizes]


DEFAULT_REGION = "union+10mm"


def count_votes(masks: Sequence[np.ndarray], spacing_mm: Sequence[float], region: str = DEFAULT_REGION) -> Votes:
    """Count the votes of at least two observers.

    ``masks``: bool arrays (K, J, I) on one grid, one for each observer who annotated the case; who did not annotate it
    is left out, who found nothing gives an empty mask. ``spacing_mm``: in the order of the axes, K, J, I.
    ``region``: ``image``, or the box of all masks and a margin: ``union+10mm``, as in ``compare``.

    Raises InputError for fewer than two masks or arrays that are no masks, GeometryError for shapes that differ.
    """
    masks = [_checked(mask, number) for number, mask in enumerate(masks, start=1)]
    if len(masks) < 2:
        raise InputError(f"Agreement needs the masks of at least two observers, but there are {len(masks)}.")
    shape = masks[0].shape
    for number, mask in enumerate(masks, start=1):
        if mask.shape != shape:
            raise GeometryError(
                f"Mask 1 has shape {shape} but mask {number} {mask.shape}. The masks must lie on one grid: resample "
                "them first."
            )
    box = joint_box(map(filled_box, masks))
    start = tuple(part.start for part in box)
    return votes_in_box([mask[box] for mask in masks], start, shape, check_spacing(spacing_mm), region)


def votes_in_box(
    masks: Sequence[np.ndarray],
    start: tuple[int, int, int],
    image_shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    region: str = DEFAULT_REGION,
) -> Votes:
    """``count_votes`` of masks that are cropped to the box that holds all of them.

    ``start``: the box's first voxel in the image, ``image_shape``: of the whole image, both KJI. Nothing is checked.
    """
    rule = Region.parse(region)
    histogram, common = _counts(masks)
    # The region only looks at the box of a pair, and that of all masks is the box of each of them here.
    box = MaskPair(1, masks[0], masks[0], start, image_shape, spacing_mm)
    histogram[0] += rule.voxels(box) - masks[0].size
    return Votes(histogram, common, math.prod(spacing_mm) / 1000, str(rule))


def _checked(mask: np.ndarray, number: int) -> np.ndarray:
    mask = check_array(mask, f"mask {number}")
    if mask.dtype != bool and mask.max() > 1:
        raise InputError(
            f"Mask {number} holds the label {mask.max()}. Votes are counted for one segment: give the mask of one "
            "label, label_map == value."
        )
    return mask.astype(bool, copy=False)


def _counts(masks: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Histogram and common voxels, a plane at a time, so that no copy of a volume is made."""
    k = len(masks)
    histogram, common = np.zeros(k + 1, np.int64), np.zeros((k, k), np.int64)
    for planes in zip(*masks, strict=True):
        votes = np.zeros(planes[0].shape, np.uint8 if k < 256 else np.uint16)
        for i, plane in enumerate(planes):
            votes += plane
            common[i, i] += np.count_nonzero(plane)
            for j in range(i):
                common[i, j] += np.count_nonzero(plane & planes[j])
        histogram += np.bincount(votes.ravel(), minlength=k + 1)
    return histogram, np.maximum(common, common.T)
