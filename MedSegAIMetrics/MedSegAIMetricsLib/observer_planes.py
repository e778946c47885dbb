"""Plane by plane from feet to head: who drew there, and how far they agree.

Long structures such as the cord are often outlined alike in every slice, but to different ends: then the conformity
of the whole is low, and that of the common planes is high.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedSegAICore.grid import Grid
from MedSegAIMetricsLib.agreement import pair_sums
from MedSegAIMetricsLib.observer_measures import ObserverValue, undefined


@dataclass(frozen=True)
class PlaneAgreement:
    """One plane in which at least one observer drew.

    ``index``: along the axis of the grid that is nearest to superior. ``s_mm``: S of the plane's middle in the world.
    ``drawn``: for each observer whether there is a voxel. ``histogram``: voxels with 1 … k votes, after a 0 for the
    background, which the conformity index does not need.
    """

    index: int
    s_mm: float
    drawn: tuple[bool, ...]
    histogram: tuple[int, ...]

    @property
    def ci_gen(self) -> float:
        """The generalized conformity index of this plane; 0 if only one observer drew here."""
        common, encompassing = pair_sums(np.array(self.histogram))
        return common / encompassing


def agreement_by_plane(masks: Sequence[np.ndarray], grid: Grid) -> list[PlaneAgreement]:
    """The planes in which somebody drew, from inferior to superior.

    ``masks``: bool (K, J, I) of at least two observers, all on ``grid``. Planes lie across the axis of the grid that is
    nearest to superior; on an oblique grid they are not level, and ``s_mm`` is that of their middle.
    """
    along = grid.ijk_to_ras[2, :3][::-1]  # of K, J and I
    axis = int(np.abs(along).argmax())
    middle = (np.array(grid.shape) - 1) / 2
    found = []
    for index in range(grid.shape[axis]):
        planes = [mask[(slice(None),) * axis + (index,)] for mask in masks]
        drawn = tuple(bool(plane.any()) for plane in planes)
        if not any(drawn):
            continue
        votes = np.zeros(planes[0].shape, np.uint16)
        for plane in planes:
            votes += plane
        histogram = np.bincount(votes.ravel(), minlength=len(masks) + 1)
        middle[axis] = index
        s_mm = float(along @ middle + grid.ijk_to_ras[2, 3])
        found.append(PlaneAgreement(index, s_mm, drawn, (0, *(int(count) for count in histogram[1:]))))
    return sorted(found, key=lambda plane: plane.s_mm)


def common_planes(planes: Sequence[PlaneAgreement]) -> ObserverValue:
    """``ci_gen_common_planes`` of one case, from ``agreement_by_plane``.

    ``n`` is the number of planes in which every observer drew, ``left_out`` that of those in which only some did.
    """
    common = [plane for plane in planes if all(plane.drawn)]
    k, left_out = len(planes[0].drawn) if planes else 0, len(planes) - len(common)
    name = "ci_gen_common_planes"
    if not common:
        reason = "all masks are empty" if not planes else "there is no plane in which every observer drew"
        return undefined(name, reason, 0, k, left_out)
    sums = np.sum([pair_sums(np.array(plane.histogram)) for plane in common], axis=0)
    value = float(sums[0] / sums[1])
    return ObserverValue(name, value, n=len(common), k=k, left_out=left_out)
