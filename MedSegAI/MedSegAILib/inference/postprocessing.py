"""What a model declares to be done with its labels: keep the largest component, fill holes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Postprocessing:
    """``largest_component``: groups of label values; of each group's union only the largest component stays.
    ``fill_holes``: label values whose enclosed background becomes that label.
    """

    largest_component: tuple[tuple[int, ...], ...] = ()
    fill_holes: tuple[int, ...] = ()

    @classmethod
    def declared(cls, entry: Mapping[str, Any]) -> Postprocessing:
        """From the entry ``postprocessing`` of a model card or a sidecar."""
        groups = tuple(tuple(group) for group in entry.get("largest_component", ()))
        return cls(groups, tuple(entry.get("fill_holes", ())))

    @property
    def values(self) -> tuple[int, ...]:
        """The labels that are changed."""
        return (*self.fill_holes, *(value for group in self.largest_component for value in group))

    def apply(self, labels: np.ndarray) -> np.ndarray:
        """A changed copy of the label array (K, J, I), or of the layers (layers, K, J, I)."""
        if labels.ndim == 4:
            return np.stack([self.apply(layer) for layer in labels])
        labels = labels.copy()
        for values in self.largest_component:
            keep_largest_component(labels, values)
        for value in self.fill_holes:
            fill_holes(labels, value)
        return labels


def keep_largest_component(labels: np.ndarray, values: Sequence[int]):
    """Set to 0 what does not belong to the largest component of the union of ``values``.

    Voxels are connected by faces, edges or corners, as in nnU-Net. Of components of equal size the first stays.
    """
    mask = np.isin(labels, values)
    components, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if count > 1:
        sizes = np.bincount(components.ravel())
        sizes[0] = 0
        labels[mask & (components != sizes.argmax())] = 0


def fill_holes(labels: np.ndarray, value: int):
    """Give background voxels that one label encloses (face-connected, in 3D) that label; other labels stay."""
    filled = ndimage.binary_fill_holes(labels == value)
    labels[filled & (labels == 0)] = value
