"""Segments and intensities on another grid, in plain arrays; for segments of nodes see ``mrml_images``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from MedSegAICore.boxes import filled_box, outer_corners_ijk
from MedSegAICore.grid import TOLERANCE_VOXELS, Grid
from MedSegAICore.image import Image, LabelMap


def resample_label_map(label_map: LabelMap, grid: Grid) -> LabelMap:
    """The segments on another grid, by nearest neighbor: a voxel gets the label in which its center lies.

    Right for every affine grid, sheared ones too. What lies outside ``grid`` is lost; see ``extended_to_hold``.
    """
    from scipy import ndimage  # takes a while to import, and Slicer imports this file when it starts

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


def resample_image(
    image: Image, grid: Grid, from_grid: Callable[[np.ndarray], np.ndarray] | None = None
) -> tuple[Image, np.ndarray]:
    """The image on another grid, and which voxels (K, J, I) of it the image covers: their centers lie in its voxels.

    Linear interpolation, as ITK does it: up to half a voxel outside the outermost centers their values go on. Beyond,
    every channel gets its ``outside_value``. The very same array is returned if the grids are the same, else float32.
    ``from_grid``: maps points (N, 3) from the frame of ``grid`` to the image's, both RAS mm; None if they are one.
    """
    if from_grid is None and image.grid.matches(grid):
        return Image(image.array, grid, dict(image.meta)), np.ones(grid.shape, bool)
    sample = _through(image, grid, from_grid) if from_grid is not None else _straight(image, grid)
    covered = _covered(image.grid, grid, from_grid)
    channels = []
    for channel in image.array:
        values = sample(channel)
        values[~covered] = outside_value(channel)
        channels.append(values)
    return Image(np.stack(channels), grid, dict(image.meta)), covered


def outside_value(channel: np.ndarray) -> float:
    """What a volume (K, J, I) shows where there is nothing: 0 if most of its faces are 0, else its minimum.

    That is air in CT (about -1000) and in MR (0 or noise above it), and the cut-out surroundings of a skull-stripped
    brain, which are 0 even if z-scores make the brain negative. nnU-Net crops to what is not 0, so 0 must stay 0.
    """
    faces = np.concatenate([channel[index].ravel() for axis in range(3) for index in _two_ends(axis)])
    return 0.0 if np.count_nonzero(faces == 0) * 2 > faces.size else float(channel.min())


def _two_ends(axis: int):
    return [(slice(None),) * axis + (end,) for end in (0, -1)]


def to_itk(array: np.ndarray, grid: Grid):
    """A SimpleITK image of an array (K, J, I) on its grid."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    origin, spacing, direction = grid.to_lps()
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    return image


def _straight(image: Image, grid: Grid) -> Callable[[np.ndarray], np.ndarray]:
    """Samples a channel of the image, in ITK's threads."""
    import SimpleITK as sitk

    origin, spacing, direction = grid.to_lps()

    def sample(channel: np.ndarray) -> np.ndarray:
        moving = to_itk(np.asarray(channel, np.float32), image.grid)
        size = [int(n) for n in grid.shape[::-1]]
        # The extrapolation is for voxels on the very border, of which ITK and _covered may think differently.
        resampled = sitk.Resample(
            moving, size, sitk.Transform(), sitk.sitkLinear, origin, spacing, direction,
            useNearestNeighborExtrapolator=True,
        )  # fmt: skip
        return sitk.GetArrayFromImage(resampled)

    return sample


def _through(image: Image, grid: Grid, from_grid) -> Callable[[np.ndarray], np.ndarray]:
    """Samples a channel of the image at bent places, which are computed once."""
    from scipy import ndimage

    places = np.stack([_places(image.grid, grid, from_grid, k) for k in range(grid.shape[0])], axis=1)

    def sample(channel: np.ndarray) -> np.ndarray:
        return ndimage.map_coordinates(np.asarray(channel, np.float32), places, order=1, mode="nearest")

    return sample


def _covered(own: Grid, grid: Grid, from_grid) -> np.ndarray:
    limits = np.array(own.shape).reshape(3, 1, 1) - 0.5 + TOLERANCE_VOXELS
    covered = np.empty(grid.shape, bool)
    for k in range(grid.shape[0]):
        places = _places(own, grid, from_grid, k)
        covered[k] = ((places >= -0.5 - TOLERANCE_VOXELS) & (places <= limits)).all(axis=0)
    return covered


def _places(own: Grid, grid: Grid, from_grid, k: int) -> np.ndarray:
    """Voxel coordinates KJI (3, J, I) in one's own grid of the voxels of a plane of another grid."""
    j, i = np.arange(grid.shape[1])[:, None], np.arange(grid.shape[2])

    def mapped(matrix: np.ndarray) -> np.ndarray:
        return np.stack([row[0] * i + row[1] * j + (row[2] * k + row[3]) for row in matrix[:3]])

    if from_grid is None:
        return mapped(np.linalg.inv(own.ijk_to_ras) @ grid.ijk_to_ras)[::-1]
    points = from_grid(mapped(grid.ijk_to_ras).reshape(3, -1).T)
    return own.ras_to_ijk_points(points)[:, ::-1].T.reshape(3, *grid.shape[1:])
