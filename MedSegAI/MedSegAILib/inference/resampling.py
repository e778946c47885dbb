"""Resampling between voxel grids of one physical extent, as nnU-Net does it, but as small matrix products.

nnU-Net resizes with ``skimage.transform.resize(order, mode="edge", anti_aliasing=False)``. That operation is linear and
separable: along each axis it is one dense matrix, built here once per pair of lengths and applied by BLAS or on the
GPU. The result equals skimage's to rounding, at a fraction of its time and memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    import torch

ANISOTROPY = 3.0  # nnU-Net's threshold for treating the coarse axis apart
NEGLIGIBLE = 1e-9  # weight: all of a row that are less add up to less than the rounding of float32
SLAB_VOXELS = 2**21  # that are normalized and resampled at a time


@lru_cache(maxsize=64)
def resize_matrix(length: int, new_length: int, order: int) -> np.ndarray:
    """(new_length, length) float32: the operator of a resize along one axis, borders repeated."""
    if order == 0:
        positions = (np.arange(new_length) + 0.5) * length / new_length - 0.5
        nearest = np.clip(np.floor(positions + 0.5), 0, length - 1).astype(int)
        return np.eye(length, dtype=np.float32)[nearest]
    identity = np.eye(length)
    if length == 1:
        return np.ones((new_length, 1), np.float32)
    positions = (np.arange(new_length) + 0.5) * length / new_length - 0.5
    columns = [ndimage.map_coordinates(column, positions[None], order=order, mode="nearest") for column in identity]
    matrix = np.stack(columns, axis=1).astype(np.float32)
    # A spline's weights decay without end, into denormal numbers that make products several times slower.
    matrix[np.abs(matrix) < NEGLIGIBLE] = 0
    return matrix


def resize(
    array: torch.Tensor, shape: Sequence[int], order: int, *, separate_axis: int | None = None, separate_order: int = 0
) -> torch.Tensor:
    """Resize (channels, K, J, I) to (channels, *shape) with splines of ``order``.

    ``separate_axis`` is resampled by itself with ``separate_order``, after the others.
    As skimage does, values are clipped to the range that a channel (with a separate axis: a slice) had before.
    """
    import torch

    front = separate_axis or 0
    resized = []
    for channel in array:
        moved = channel.movedim(front, 0)
        target = [shape[front], *(size for axis, size in enumerate(shape) if axis != front)]
        resized.append(
            resize_planes(
                lambda start, stop, moved=moved: moved[start:stop], moved.shape, target, order,
                None if separate_axis is None else separate_order,
            ).movedim(0, front)
        )  # fmt: skip
    return torch.stack(resized)


def resize_planes(
    read: Callable[[int, int], torch.Tensor],
    shape: Sequence[int],
    new_shape: Sequence[int],
    order: int,
    first_order: int | None = None,
) -> torch.Tensor:
    """Resize a volume (K, J, I) of which ``read(start, stop)`` gives some planes (float32) to ``new_shape``.

    Only a few of its planes are held at a time. ``first_order``: if K is to be resampled by itself, with which order.
    Values are clipped to the range that the volume (with ``first_order``: a plane) had before.
    """
    import torch

    step, result, lows, highs = max(1, SLAB_VOXELS // (shape[1] * shape[2])), None, [], []
    for start in range(0, shape[0], step):
        slab = read(start, min(start + step, shape[0]))
        lows.append(slab.amin((1, 2), keepdim=True))
        highs.append(slab.amax((1, 2), keepdim=True))
        slab = _resize_in_plane(slab, new_shape[1:], order)
        if result is None:
            result = slab.new_empty((shape[0], *new_shape[1:]))
        result[start : start + len(slab)] = slab if first_order is None else slab.clamp(lows[-1], highs[-1])
    if new_shape[0] != shape[0]:
        matrix = _matrix(shape[0], new_shape[0], order if first_order is None else first_order, result)
        result = (matrix @ result.flatten(1)).unflatten(1, tuple(new_shape[1:]))
    return result if first_order is not None else result.clamp_(torch.cat(lows).min(), torch.cat(highs).max())


def _resize_in_plane(planes: torch.Tensor, shape: Sequence[int], order: int) -> torch.Tensor:
    # The axis that shrinks most goes first, so that the intermediate array stays small.
    for axis in sorted((0, 1), key=lambda axis: shape[axis] / planes.shape[axis + 1]):
        length = planes.shape[axis + 1]
        if length != shape[axis]:
            matrix = _matrix(length, shape[axis], order, planes)
            planes = matrix @ planes if axis == 0 else planes @ matrix.T
    return planes


def _matrix(length: int, new_length: int, order: int, like: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.from_numpy(resize_matrix(length, int(new_length), order)).to(like.device, like.dtype)


def separate_axis(
    spacing: Sequence[float], new_spacing: Sequence[float], forced: bool | None = None, anisotropy: float = ANISOTROPY
) -> int | None:
    """The coarse axis that nnU-Net resamples apart from the others, if there is one and only one.

    ``forced``: the plan's ``force_separate_z``; None decides by the anisotropy of the old, then of the new spacing.
    """
    if forced is False:
        return None
    if forced or max(spacing) / min(spacing) > anisotropy:
        candidates = spacing
    elif max(new_spacing) / min(new_spacing) > anisotropy:
        candidates = new_spacing
    else:
        return None
    coarse = np.flatnonzero(np.asarray(candidates) == max(candidates))
    # Three equal spacings, or two coarse axes: there is no single plane to keep apart.
    return int(coarse[0]) if len(coarse) == 1 else None


def new_shape(shape: Sequence[int], spacing: Sequence[float], new_spacing: Sequence[float]) -> tuple[int, ...]:
    """Voxels at the new spacing, rounded as nnU-Net does."""
    return tuple(round(s / n * extent) for s, n, extent in zip(spacing, new_spacing, shape, strict=True))


@dataclass(frozen=True, eq=False)
class AxisMap:
    """The way from one grid to another along one axis: a (new, old) matrix, or None where they are the same.

    ``low``, ``high``: per new voxel, which old voxels it is made of (``high`` is the first after); both ascend.
    """

    matrix: np.ndarray | None
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of_matrix(cls, matrix: np.ndarray) -> AxisMap:
        used = matrix != 0
        low, high = used.argmax(1), matrix.shape[1] - used[:, ::-1].argmax(1)
        return cls(matrix, np.minimum.accumulate(low[::-1])[::-1], np.maximum.accumulate(high))

    @classmethod
    def same(cls, length: int) -> AxisMap:
        return cls(None, np.arange(length), np.arange(1, length + 1))

    @property
    def length(self) -> int:
        """Voxels of the new grid."""
        return len(self.low)

    @property
    def averages(self) -> bool:
        """Whether new values lie between the old ones that they are made of, as those of linear interpolation do."""
        return self.matrix is None or bool((self.matrix >= 0).all())

    def inputs(self, start: int, stop: int) -> tuple[int, int]:
        """Which old voxels the new voxels from ``start`` to ``stop`` are made of."""
        return int(self.low[start]), int(self.high[stop - 1])

    def apply(self, block: torch.Tensor, dim: int, place: slice) -> torch.Tensor:
        """The new voxels ``place`` along ``dim`` of a block that holds exactly their inputs."""
        import torch

        if self.matrix is None:
            return block
        part = self.matrix[place, slice(*self.inputs(place.start, place.stop))]
        matrix = torch.from_numpy(part).to(block.device, block.dtype)
        if dim == block.ndim - 1:
            return block @ matrix.T
        flat = block.reshape(*block.shape[: dim + 1], -1)
        return (matrix @ flat).reshape(*block.shape[:dim], len(matrix), *block.shape[dim + 1 :])
