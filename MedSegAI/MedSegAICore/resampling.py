"""Segments on another grid, in plain arrays; ``mrml_images`` does the same for nodes, through transforms."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import ndimage

from MedSegAICore.boxes import filled_box, outer_corners_ijk
from MedSegAICore.grid import Grid
from MedSegAICore.image import LabelMap


def resample_label_map(label_map: LabelMap, grid: Grid) -> LabelMap:
    """The segments on another grid, by nearest neighbor: a voxel gets the label in which its center lies.

    Right for every affine grid, sheared ones too. What lies outside ``grid`` is lost; see ``extended_to_hold``.
    """
    if label_map.grid.matches(grid):
        return label_map
    # From voxel KJI of the new grid to voxel KJI of the old one.
    matrix = np.linalg.inv(label_map.grid.ijk_to_ras) @ grid.ijk_to_ras
    linear, offset = matrix[:3, :3][::-1, ::-1], matrix[:3, 3][::-1]
    layers = np.stack(
        [
            ndimage.affine_transform(layer, linear, offset, grid.shape, order=0, mode="grid-constant")
            for layer in label_map.layers
        ]
    )
    return dataclasses.replace(label_map, array=layers if label_map.array.ndim == 4 else layers[0], grid=grid)


def extended_to_hold(grid: Grid, label_map: LabelMap) -> Grid:
    """The grid, with voxels added on those sides where segments of ``label_map`` reach beyond it."""
    box = filled_box(label_map.layers.any(axis=0))
    if not box[0].stop:
        return grid
    return grid.extended_to(label_map.grid.ijk_to_ras_points(outer_corners_ijk(box)))
