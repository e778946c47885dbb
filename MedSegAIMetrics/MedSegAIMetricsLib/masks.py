"""From two arrays to one pair of masks for each label, cropped to what they fill."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from MedSegAICore.boxes import filled_box, joint_box
from MedSegAICore.errors import GeometryError, InputError

MAX_LABEL = 65535


@dataclass(frozen=True)
class MaskPair:
    """The two masks of one label.

    ``reference``, ``test``: boolean (K, J, I), cropped to the box that holds both; empty arrays if both masks are.
    ``start``: the box's first voxel in the image, KJI. ``image_shape``: of the whole image. ``spacing_mm``: KJI.
    """

    label: int
    reference: np.ndarray
    test: np.ndarray
    start: tuple[int, int, int]
    image_shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    @property
    def n_reference(self) -> int:
        return int(self.profiles[0][0].sum())

    @property
    def n_test(self) -> int:
        return int(self.profiles[1][0].sum())

    @cached_property
    def profiles(self) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]:
        """For reference and test, the number of voxels in each plane across K, J and I."""
        return tuple(_profiles(mask) for mask in (self.reference, self.test))

    @cached_property
    def n_both(self) -> int:
        """Voxels in both masks; plane by plane, so that no third mask is made."""
        return sum(int(np.count_nonzero(a & b)) for a, b in zip(self.reference, self.test, strict=True))

    @property
    def voxel_ml(self) -> float:
        return math.prod(self.spacing_mm) / 1000

    @property
    def empty(self) -> str:
        """Which mask is empty: "", "both", "reference" or "test"."""
        if self.n_reference and self.n_test:
            return ""
        return "test" if self.n_reference else "reference" if self.n_test else "both"


def _profiles(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    planes = np.array([np.count_nonzero(plane) for plane in mask], np.int64)
    columns = np.zeros(mask.shape[1:], np.uint32)
    for first in range(0, len(mask), 255):  # as many ones fit into a byte, and bytes are added fastest
        columns += np.add.reduce(mask[first : first + 255].view(np.uint8), axis=0, dtype=np.uint8)
    return planes, columns.sum(1, dtype=np.int64), columns.sum(0, dtype=np.int64)


def mask_pairs(
    reference: np.ndarray, test: np.ndarray, spacing_mm: Sequence[float], labels: Sequence[int] | None = None
) -> Iterator[MaskPair]:
    """One pair for each label, made when it is asked for.

    ``reference``, ``test``: bool or integer arrays (K, J, I) of one shape; True is label 1. ``labels``: None means all
    values but 0 that occur in either.

    Raises InputError for arrays that are no label maps; GeometryError for shapes that differ or a spacing that is not
    three positive numbers. Both before the first pair.
    """
    reference, test = check_array(reference, "reference"), check_array(test, "test")
    if reference.shape != test.shape:
        raise GeometryError(
            f"The reference has shape {reference.shape} but the test {test.shape}. Arrays must lie on one grid: "
            "resample one of them, or compare label maps, which know where they lie."
        )
    spacing = check_spacing(spacing_mm)
    return _pairs(reference, test, spacing, None if labels is None else check_labels(labels))


def _pairs(reference, test, spacing, labels) -> Iterator[MaskPair]:
    sides = LocatedLabels.of(reference), LocatedLabels.of(test)
    for label in sorted(sides[0].boxes | sides[1].boxes) if labels is None else labels:
        yield pair_of(label, (sides[0], label), (sides[1], label), spacing)


@dataclass(frozen=True)
class LocatedLabels:
    """A label map and the box that each of its labels fills. ``array``: bool or integers, (K, J, I)."""

    array: np.ndarray
    boxes: dict[int, tuple[slice, slice, slice]]

    @classmethod
    def of(cls, array: np.ndarray) -> LocatedLabels:
        outer = filled_box(array)
        inside = array[outer]
        if not inside.size:
            return cls(array, {})
        highest = int(inside.max())
        if highest == 1 and array.dtype.itemsize == 1:
            array = array.view(bool)  # so that no copy is needed for its mask
        if array.dtype == bool or np.count_nonzero(inside) == np.count_nonzero(inside == highest):
            return cls(array, {highest: outer})
        found = enumerate(ndimage.find_objects(inside), start=1)
        return cls(array, {label: _shifted(box, outer) for label, box in found if box is not None})

    def mask(self, label: int, box: tuple[slice, slice, slice]) -> np.ndarray:
        """The label's mask in a box; empty if the label does not occur."""
        if label not in self.boxes:
            return np.zeros([s.stop - s.start for s in box], bool)
        return self.array[box] if self.array.dtype == bool and label == 1 else self.array[box] == label


def pair_of(
    label: int, reference: tuple[LocatedLabels, int], test: tuple[LocatedLabels, int], spacing_mm: tuple
) -> MaskPair:
    """The pair of a label of one map and a label of another on the same grid; a label that does not occur is empty."""
    box = joint_box(side.boxes[value] for side, value in (reference, test) if value in side.boxes)
    masks = [side.mask(value, box) for side, value in (reference, test)]
    return MaskPair(label, *masks, tuple(s.start for s in box), reference[0].array.shape, spacing_mm)


def check_array(array: np.ndarray, name: str) -> np.ndarray:
    """The array if it is a mask or label map. Raises InputError with one sentence if not."""
    array = np.asarray(array)
    if array.dtype.kind == "f":
        raise InputError(_float_problem(array, name))
    if array.dtype.kind not in "biu":
        raise InputError(f"The {name} must be a bool or integer array, but its type is {array.dtype}.")
    if array.ndim != 3:
        advice = "Take one channel or time point." if array.ndim > 3 else "Add an axis to a single slice: array[None]."
        raise InputError(f"The {name} must have three axes (K, J, I), but its shape is {array.shape}. {advice}")
    if 0 in array.shape:
        raise InputError(f"The {name} holds no voxels: its shape is {array.shape}.")
    if array.dtype.kind != "b" and (array.dtype.itemsize > 2 or array.dtype.kind == "i"):
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > MAX_LABEL:
            raise InputError(
                f"Label values must lie between 0 and {MAX_LABEL}, but those of the {name} go from {low} to {high}. "
                "Is it an image instead of a label map?"
            )
    return array


def _float_problem(array: np.ndarray, name: str) -> str:
    if not np.isfinite(array).all():
        return f"The {name} holds NaN or infinity. A mask must be a bool or integer array: replace these values first."
    if (array != np.rint(array)).any():
        return (
            f"The {name} holds values such as {array[array != np.rint(array)][0]:.3g}, which is neither inside nor "
            "outside. Apply a threshold to probabilities first: array > 0.5."
        )
    return f"The {name} is {array.dtype}, but labels are integers. Convert it: array.astype(numpy.uint8)."


def check_spacing(spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    """Three positive numbers. Raises GeometryError if they are not."""
    spacing = tuple(float(s) for s in np.ravel(spacing_mm))
    if len(spacing) != 3 or not all(0 < s < math.inf for s in spacing):
        raise GeometryError(
            f"The spacing must be three positive numbers of millimeters in the order of the axes (K, J, I), but it is "
            f"{spacing}."
        )
    return spacing


def check_labels(labels: Sequence[int]) -> list[int]:
    """The labels without repetition. Raises InputError for one that cannot occur."""
    for label in labels:
        if not isinstance(label, (int, float, np.number)) or not 1 <= label <= MAX_LABEL or label != int(label):
            raise InputError(
                f"A label is a whole number from 1 to {MAX_LABEL} (0 is background), but one is {label!r}."
            )
    return list(dict.fromkeys(int(label) for label in labels))


def _shifted(box: tuple, outer: tuple) -> tuple[slice, slice, slice]:
    return tuple(slice(o.start + b.start, o.start + b.stop) for b, o in zip(box, outer, strict=True))
