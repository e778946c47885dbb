"""Where the patient is in a volume: most of many volumes is air, in which there is nothing to segment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from MedSegAICore.boxes import filled_box

LOOK_MM = 4.0  # the size at which a volume is looked at
MARGIN_MM = 20.0  # of air that the network still sees around the body
SMALLEST = 0.01  # share of the largest piece below which a piece is noise
WORTHWHILE = 0.8  # share of the volume above which the box is not worth a cut
BINS = 256


def body_box(channels: Sequence[np.ndarray], spacing: Sequence[float]) -> tuple[slice, slice, slice]:
    """The box (K, J, I) that holds the body, with a margin, of channels of intensities (K, J, I); ``spacing`` in mm.

    The body is what is brighter than halfway between the air and Otsu's threshold (IEEE Trans Syst Man Cybern 9:62,
    1979) in any channel, without small pieces. The whole volume if the box would not be much smaller.
    """
    steps = tuple(max(1, round(LOOK_MM / s)) for s in spacing)
    shape = channels[0].shape
    whole = tuple(slice(0, size) for size in shape)
    bright = np.zeros([-(-size // step) for size, step in zip(shape, steps, strict=True)], bool)
    for channel in channels:
        small = _block_means(channel, steps)
        bright |= small > _threshold(small)
    pieces, count = ndimage.label(bright)
    if not count:
        return whole
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    box = filled_box((sizes >= SMALLEST * sizes.max())[pieces])
    margins = [int(np.ceil(MARGIN_MM / s)) for s in spacing]
    box = tuple(
        slice(max(0, part.start * step - margin), min(size, part.stop * step + margin))
        for part, step, margin, size in zip(box, steps, margins, shape, strict=True)
    )
    kept = np.prod([part.stop - part.start for part in box]) / np.prod(shape)
    return box if kept < WORTHWHILE else whole


def _block_means(channel: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    """Means of blocks of ``steps`` voxels; those at the end may be smaller."""
    for axis, step in enumerate(steps):
        starts = np.arange(0, channel.shape[axis], step)
        sums = np.add.reduceat(channel, starts, axis=axis, dtype=np.float32)
        widths = np.diff([*starts, channel.shape[axis]]).astype(np.float32)
        channel = sums / np.expand_dims(widths, tuple(other for other in range(3) if other != axis))
    return channel


def _threshold(values: np.ndarray) -> float:
    """Halfway between the median of what Otsu's threshold calls dark and that threshold."""
    # A few voxels that outshine all others, as many MR volumes have them, would push the threshold up.
    values = values.clip(*np.percentile(values, (1, 99)))
    if values.min() == values.max():
        return float(values.flat[0])
    counts, edges = np.histogram(values, BINS)
    centers = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centers)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    otsu = edges[1 + int(np.nanargmax(between))]
    dark = float(np.median(values[values <= otsu]))
    return dark + (otsu - dark) / 2
