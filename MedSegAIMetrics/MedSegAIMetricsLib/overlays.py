"""A picture of where a test differs from its reference: outlines of both on the slice with most wrong voxels."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MedSegAICore.grid import Grid

REFERENCE_COLOR, TEST_COLOR = (0, 158, 255), (255, 140, 0)
BACKGROUND = 28
MARGIN = 0.25  # of the larger side of what is shown
LINE = 2  # pixels
OPPOSITE = {"L": "R", "P": "A", "I": "S"}


def overlay_png(
    reference: np.ndarray,
    test: np.ndarray,
    grid: Grid,
    image: np.ndarray | None = None,
    size: int = 420,
) -> tuple[bytes, str]:
    """A square PNG of a slice across K, and a sentence that says which, and where the picture's left and top are.

    ``reference``, ``test``: boolean masks (K, J, I) on ``grid``, not both empty. ``image``: intensities on the grid,
    shown in gray behind the outlines: blue is the reference, orange the test. As in radiology, the patient's right is
    on the left, and anterior (or superior) at the top.
    Raises ValueError if both masks are empty.
    """
    if not reference.any() and not test.any():
        raise ValueError("there is nothing to show")
    index = _worst_slice(reference, test)
    planes = [reference[index], test[index]]
    # The letters are where J and I grow to; a picture's rows should grow to P or I, its columns to L or P.
    along_j, along_i = grid.orientation[1], grid.orientation[0]
    rows, columns = _sampling(planes[0] | planes[1], grid.spacing_kji[1:], size)
    rows, columns = (rows if along_j in "PIL" else rows[::-1]), (columns if along_i in "LPI" else columns[::-1])
    canvas = np.full((size, size, 3), BACKGROUND, np.uint8)
    if image is not None:
        canvas[:] = _gray(image[index], rows, columns)[..., None]
    for plane, color in zip(planes, (REFERENCE_COLOR, TEST_COLOR), strict=True):
        canvas[_outline(_nearest(plane, rows, columns))] = color
    wrong = int(np.count_nonzero(planes[0] != planes[1]))
    left, top = (OPPOSITE[letter] if letter in "LPI" else letter for letter in (along_i, along_j))
    caption = f"Slice {index}, left is {left}, top is {top}, {wrong} wrong pixels; blue: reference, orange: test."
    return png_bytes(canvas), caption


def _worst_slice(reference: np.ndarray, test: np.ndarray) -> int:
    """The slice with most wrong voxels, else with most voxels."""
    wrong = reference != test
    return int((wrong if wrong.any() else reference).sum(axis=(1, 2)).argmax())


def _sampling(shown: np.ndarray, pixel_mm: tuple[float, float], size: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row and column of the picture the (fractional) row and column of the slice: a square in mm."""
    extents = []
    for axis in range(2):
        filled = np.flatnonzero(shown.any(axis=1 - axis))
        extents.append(((filled[0] - 0.5) * pixel_mm[axis], (filled[-1] + 0.5) * pixel_mm[axis]))
    side = max(high - low for low, high in extents) * (1 + 2 * MARGIN)
    steps = (np.arange(size) + 0.5) / size * side - side / 2
    return tuple((sum(extent) / 2 + steps) / pixel for extent, pixel in zip(extents, pixel_mm, strict=True))


def _nearest(plane: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    r, c = np.rint(rows).astype(int), np.rint(columns).astype(int)
    inside = ((r >= 0) & (r < plane.shape[0]))[:, None] & ((c >= 0) & (c < plane.shape[1]))
    return plane[np.clip(r, 0, plane.shape[0] - 1)][:, np.clip(c, 0, plane.shape[1] - 1)] & inside


def _gray(plane: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    sampled = ndimage.map_coordinates(
        plane.astype(np.float32), np.meshgrid(rows, columns, indexing="ij"), order=1, cval=np.nan
    )
    known = sampled[np.isfinite(sampled)]
    low, high = np.percentile(known, [1, 99]) if known.size else (0, 1)
    scaled = (np.nan_to_num(sampled, nan=low) - low) / max(high - low, 1e-6)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def _outline(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask, iterations=LINE, border_value=0)


def png_bytes(canvas: np.ndarray) -> bytes:
    """A PNG file's bytes of an RGB picture (rows, columns, 3) uint8."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    image = vtk.vtkImageData()
    image.SetDimensions(canvas.shape[1], canvas.shape[0], 1)
    rows = np.ascontiguousarray(canvas[::-1]).reshape(-1, 3)  # VTK's first row is the lowest
    image.GetPointData().SetScalars(numpy_to_vtk(rows, deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetInputData(image)
    writer.WriteToMemoryOn()
    writer.Write()
    return vtk_to_numpy(writer.GetResult()).tobytes()
