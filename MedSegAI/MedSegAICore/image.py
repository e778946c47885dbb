"""An array with its grid: Image for intensities, LabelMap and Label for segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from MedSegAICore.errors import GeometryError, InputError
from MedSegAICore.grid import Grid


@dataclass(frozen=True, eq=False)
class Image:
    """Intensities on a grid.

    ``array``: (channels, K, J, I), any real dtype.
    ``meta``: facts about the acquisition that a model card can ask for (``modality``, ``series_description``, …) and
    where the image came from (``source``); never a patient's name.

    Raises GeometryError if the array does not fit the grid.
    """

    array: np.ndarray
    grid: Grid
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if self.array.ndim != 4 or self.array.shape[1:] != self.grid.shape:
            raise GeometryError(
                f"An image needs an array (channels, {', '.join(map(str, self.grid.shape))}) for its grid, "
                f"but the array is {self.array.shape}."
            )

    @property
    def channels(self) -> int:
        return self.array.shape[0]

    def crop(self, box: tuple[slice, slice, slice]) -> Image:
        """The part in a box of voxels (KJI), as a copy with its own grid."""
        grid = self.grid.crop([part.start for part in box], [part.stop - part.start for part in box])
        return Image(self.array[(slice(None), *box)].copy(), grid, dict(self.meta))

    def placed_in(self, grid: Grid, box: tuple[slice, slice, slice]) -> Image:
        """The same intensities on a larger grid, of which this one is the box (KJI); 0 outside."""
        array = np.zeros((self.channels, *grid.shape), self.array.dtype)
        array[(slice(None), *box)] = self.array
        return Image(array, grid, dict(self.meta))


@dataclass(frozen=True)
class Label:
    """One segment of a label map.

    ``value``: the positive integer that marks it in its layer. ``layer``: index of the layer that holds it.
    ``id``: stable and machine-readable. ``name``: for people. ``color``: red, green, blue in 0..1.
    ``terminology``: Slicer's seven-part string with SNOMED CT codes, or empty. ``tags``: Slicer's other segment tags
    as (key, value) pairs, for example ``("Segmentation.Status", "inprogress")``.
    """

    value: int
    id: str
    name: str
    color: tuple[float, float, float] = (0.5, 0.5, 0.5)
    terminology: str = ""
    layer: int = 0
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Segments on a grid.

    ``array``: unsigned integers, (K, J, I), or (layers, K, J, I) if segments overlap.
    ``labels``: one Label per segment; ids are unique, and so is (layer, value). A segment may be empty.

    Raises GeometryError if the array does not fit the grid; InputError if labels contradict each other or the array.
    """

    array: np.ndarray
    grid: Grid
    labels: tuple[Label, ...]

    def __post_init__(self):
        object.__setattr__(self, "labels", tuple(self.labels))
        if self.array.ndim not in (3, 4) or self.array.shape[-3:] != self.grid.shape:
            raise GeometryError(
                f"A label map needs an array of shape {self.grid.shape} for its grid, optionally with a leading "
                f"layer axis, but the array is {self.array.shape}."
            )
        if self.array.dtype.kind != "u":
            raise InputError(f"A label map holds unsigned integers, but the array is {self.array.dtype}.")
        self._check_labels()

    def _check_labels(self):
        ids = [label.id for label in self.labels]
        places = [(label.layer, label.value) for label in self.labels]
        if len(set(ids)) != len(ids):
            raise InputError(f"Every segment needs an id of its own, but the ids are {ids}.")
        if len(set(places)) != len(places):
            raise InputError(f"Two segments share a layer and a value: {sorted(places)}.")
        for label in self.labels:
            if not (1 <= label.value <= np.iinfo(self.array.dtype).max and 0 <= label.layer < len(self.layers)):
                raise InputError(
                    f"Segment {label.id!r} has value {label.value} in layer {label.layer}, but this label map has "
                    f"{len(self.layers)} layer(s) of {self.array.dtype} and values start at 1."
                )

    @property
    def layers(self) -> np.ndarray:
        """The array as (layers, K, J, I); a view."""
        return self.array if self.array.ndim == 4 else self.array[None]

    def mask(self, label: Label) -> np.ndarray:
        """Boolean mask (K, J, I) of one segment."""
        return self.layers[label.layer] == label.value

    def label(self, id: str) -> Label:
        """The label with this id. Raises InputError if there is none."""
        for label in self.labels:
            if label.id == id:
                return label
        raise InputError(f"There is no segment {id!r}; the segments are {[label.id for label in self.labels]}.")

    def placed_in(self, grid: Grid, box: tuple[slice, slice, slice]) -> LabelMap:
        """The same segments on a larger grid, of which this one is the box (KJI); empty outside."""
        array = np.zeros((*self.array.shape[:-3], *grid.shape), self.array.dtype)
        array[(..., *box)] = self.array
        return LabelMap(array, grid, self.labels)

    def volumes_ml(self) -> dict[str, float]:
        """Volume of every segment in milliliters (voxel count times voxel volume), by segment id."""
        highest = max((label.value for label in self.labels), default=0)
        counts = np.zeros((len(self.layers), highest + 1), np.int64)
        for count, layer in zip(counts, self.layers, strict=True):
            for plane in layer:  # bincount makes 8 bytes of each voxel, so a plane at a time
                if plane.dtype.itemsize > 2:  # and it counts up to the highest value, which may be billions
                    plane = np.minimum(plane, highest + 1)
                count += np.bincount(plane.ravel(), minlength=highest + 1)[: highest + 1]
        return {label.id: float(counts[label.layer, label.value] * self.grid.voxel_volume_ml) for label in self.labels}


def stack_channels(images: Sequence[Image]) -> Image:
    """One image with the channels of all, which must lie on one grid. Raises GeometryError if they do not."""
    first = images[0]
    for number, image in enumerate(images[1:], start=2):
        if not image.grid.matches(first.grid):
            raise GeometryError(
                f"Channel {number} lies on {image.grid}, but channel 1 on {first.grid}; resample it to channel 1 first."
            )
    return Image(np.concatenate([image.array for image in images]), first.grid, dict(first.meta))
