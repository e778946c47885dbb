"""The masks of several observers on one grid: who marked what, how many did, and how sure that makes a voxel.

Only observers vote. The AI's draft is no observer: agreement that a draft creates would count as accuracy, so callers
never pass it, nor a consensus.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from MedSegAICore.boxes import filled_box, joint_box
from MedSegAICore.errors import GeometryError, InputError
from MedSegAIMetricsLib.masks import check_array, check_spacing
from MedSegAIMetricsLib.observers import Observers, ObserverSegment
from MedSegAIMetricsLib.region import Region
from MedSegAIMetricsLib.votes import Votes

MOST_OBSERVERS = 32  # as many bits has the widest pattern
DENSE_BITS = 16  # patterns of up to so many observers are counted in a table


@dataclass(frozen=True, eq=False)
class ObserverMasks:
    """The masks of N observers, cropped to the box that holds all of them.

    ``masks``: N boolean arrays (K, J, I) of the box; views where possible. An observer who marked nothing has an empty
    mask, which is a vote against every voxel. ``start``: the box's first voxel in the image, KJI. ``image_shape``: of
    the whole image. ``spacing_mm``: KJI. Make one with ``of`` or ``of_segment``.

    Raises InputError for fewer than 2 or more than 32 observers.
    """

    masks: tuple[np.ndarray, ...]
    start: tuple[int, int, int]
    image_shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    def __post_init__(self):
        if not 2 <= len(self.masks) <= MOST_OBSERVERS:
            raise InputError(
                f"Two to {MOST_OBSERVERS} observers can be compared, but there are {len(self.masks)}. Give one mask "
                "for each observer, without the AI's draft."
            )

    @classmethod
    def of(cls, masks: Sequence[np.ndarray], spacing_mm: Sequence[float]) -> ObserverMasks:
        """From one mask (K, J, I) for each observer, bool or of 0 and 1, all on one grid; never the draft's.

        Raises InputError for arrays that are no masks; GeometryError for shapes that differ or a spacing that is not
        three positive numbers.
        """
        masks = [_as_mask(mask, number) for number, mask in enumerate(masks, start=1)]
        if len({mask.shape for mask in masks}) > 1:
            raise GeometryError(
                f"The observers' masks have different shapes, {sorted({mask.shape for mask in masks})}. They must lie "
                "on one grid: resample them to the image that was segmented."
            )
        box = joint_box(map(filled_box, masks))
        start, image_shape = tuple(part.start for part in box), masks[0].shape if masks else (0, 0, 0)
        return cls(tuple(mask[box] for mask in masks), start, image_shape, check_spacing(spacing_mm))

    @classmethod
    def of_segment(cls, observers: Observers, segment: ObserverSegment) -> ObserverMasks:
        """Of one segment of label maps."""
        start = tuple(part.start for part in observers.box(segment))
        masks = tuple(observers.cropped_masks(segment))
        return cls(masks, start, observers.grid.shape, observers.grid.spacing_kji)

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the box, KJI; zeros if every mask is empty."""
        return self.masks[0].shape

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """Where the box lies in the image (K, J, I)."""
        return tuple(slice(first, first + n) for first, n in zip(self.start, self.shape, strict=True))

    @property
    def voxel_ml(self) -> float:
        return math.prod(self.spacing_mm) / 1000

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """How many voxels each observer marked."""
        return tuple(int(np.count_nonzero(mask)) for mask in self.masks)

    @cached_property
    def patterns(self) -> np.ndarray:
        """Who marked each voxel of the box: bit n is set where observer n did; unsigned integers."""
        kind = np.uint8 if len(self) <= 8 else np.uint16 if len(self) <= 16 else np.uint32
        patterns = np.zeros(self.shape, kind)
        for number, mask in enumerate(self.masks):
            for plane, marked in zip(patterns, mask, strict=True):  # so that no copies of the whole box are made
                plane |= marked.astype(kind) << kind(number)
        return patterns

    @cached_property
    def pattern_counts(self) -> dict[int, int]:
        """How often each pattern occurs in the box. All that overlap, agreement and STAPLE need to know of voxels."""
        if len(self) > DENSE_BITS:
            found, counts = np.unique(self.patterns, return_counts=True)
            return {int(pattern): int(n) for pattern, n in zip(found, counts, strict=True)}
        total = np.zeros(1 << len(self), np.int64)
        for plane in self.patterns:  # bincount makes 8 bytes of each voxel
            total += np.bincount(plane.ravel(), minlength=len(total))
        return {int(pattern): int(total[pattern]) for pattern in np.flatnonzero(total)}

    @cached_property
    def votes(self) -> np.ndarray:
        """How many observers marked each voxel of the box; uint8."""
        votes = np.zeros(self.shape, np.uint8)
        for mask in self.masks:
            votes += mask.view(np.uint8)
        return votes

    def region_voxels(self, region: str) -> int:
        """How many voxels a region has, see ``Region``; 0 if every mask is empty and the region is not the image."""
        region = Region.parse(region)
        if not any(self.shape) and region.margin_mm is not None:
            return 0
        return region.voxels_around(self.start, self.shape, self.image_shape, self.spacing_mm)

    def without(self, observer: int) -> ObserverMasks:
        """The masks of all others, in the box that those fill. Raises InputError if fewer than two would be left."""
        if len(self) < 3:
            raise InputError("Leaving one observer out takes at least three observers, but there are two.")
        others = [mask for number, mask in enumerate(self.masks) if number != observer]
        box = joint_box(map(filled_box, others))
        start = tuple(first + part.start for first, part in zip(self.start, box, strict=True))
        return ObserverMasks(tuple(mask[box] for mask in others), start, self.image_shape, self.spacing_mm)

    def on_image(self, values: np.ndarray) -> np.ndarray:
        """An array of the box as one of the whole image (K, J, I), 0 or False outside the box."""
        array = np.zeros(self.image_shape, values.dtype)
        array[self.box] = values
        return array


def probability_map(observers: ObserverMasks) -> np.ndarray:
    """The share of observers who marked each voxel of the box; float32 (K, J, I), 0 outside the box."""
    return observers.votes * np.float32(1 / len(observers))


def entropy_map(observers: ObserverMasks) -> np.ndarray:
    """How undecided the observers are in each voxel of the box, in bits: 0 if they agree, 1 if half of them marked it.

    -p log2 p - (1 - p) log2(1 - p) with p from ``probability_map`` (Shannon 1948); float32 (K, J, I), 0 outside.
    """
    return _entropy_of_votes(len(observers)).astype(np.float32)[observers.votes]


@dataclass(frozen=True)
class Uncertainty:
    """How undecided observers are, over a region.

    ``entropy_ml``: the entropy of all voxels, each times its volume, in bit · ml: the volume that is undecided if all
    of it were so by one bit. ``disputed_ml``: the volume that some but not all marked. Neither depends on the region.
    ``mean_entropy_bits``: of the voxels of the region; NaN if it has none. ``region``: as text, see ``Region``.
    """

    entropy_ml: float
    disputed_ml: float
    mean_entropy_bits: float
    region: str


def uncertainty(votes: Votes) -> Uncertainty:
    """The sums of the entropy map and the volume that is disputed, from the votes that were counted in a region."""
    bits = float(votes.histogram @ _entropy_of_votes(votes.k))
    disputed = int(votes.histogram[1:-1].sum())
    mean = bits / votes.n if votes.n else math.nan
    return Uncertainty(bits * votes.voxel_ml, disputed * votes.voxel_ml, mean, votes.region)


def _entropy_of_votes(n_observers: int) -> np.ndarray:
    share = np.arange(n_observers + 1) / n_observers
    inner = share[1:-1]
    bits = np.zeros(n_observers + 1)
    bits[1:-1] = -inner * np.log2(inner) - (1 - inner) * np.log2(1 - inner)
    return bits


def _as_mask(mask: np.ndarray, number: int) -> np.ndarray:
    mask = check_array(mask, f"mask of observer {number}")
    if mask.dtype == bool:
        return mask
    if mask.max() > 1:
        raise InputError(
            f"The mask of observer {number} holds the value {int(mask.max())}, but a mask holds 0 and 1. Choose one "
            "label: array == label."
        )
    return mask.view(bool) if mask.dtype.itemsize == 1 else mask.astype(bool)
