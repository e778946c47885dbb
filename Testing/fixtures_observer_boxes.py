"""Three observers who drew boxes of the same cross-section: everything about them can be derived by hand.

The grid has voxels of 2.0 x 1.0 x 0.8 mm (KJI), 0.0016 ml. All boxes fill planes 2 to 5 and rows 3 to 8, 24 voxels in
each column I. Observer A fills columns 2 to 7, B 3 to 8, C 2 to 9. So column 2 has the votes of A and C, columns 3 to 7
those of all, column 8 those of B and C, and column 9 that of C: 24 voxels with one vote, 48 with two, 120 with three.
"""

import math

import numpy as np

from MedSegAICore.grid import Grid
from MedSegAICore.image import Label, LabelMap

GRID = Grid((12, 14, 16), np.diag([0.8, 1.0, 2.0, 1.0]))
VOXEL_ML = 0.0016
COLUMNS = {"A": (2, 8), "B": (3, 9), "C": (2, 10)}
N_VOXELS = {"A": 144, "B": 144, "C": 192}
CI_GEN = (48 + 3 * 120) / (24 * 2 + 48 * 3 + 120 * 3)  # pairs in common / pairs of which at least one marked the voxel
CI_ALL = 120 / 192
DICE = {("A", "B"): 2 * 120 / 288, ("A", "C"): 2 * 144 / 336, ("B", "C"): 2 * 144 / 336}
ENTROPY_OF_A_THIRD = -(1 / 3) * math.log2(1 / 3) - (2 / 3) * math.log2(2 / 3)


def fleiss_kappa(n_region: int) -> float:
    """Over a region of so many voxels: three observers agree on 0 or 3 votes, else in one of their three pairs."""
    observed = (n_region - 72 + 72 / 3) / n_region
    share = (24 + 2 * 48 + 3 * 120) / (3 * n_region)
    expected = share**2 + (1 - share) ** 2
    return (observed - expected) / (1 - expected)


def columns_map(first: int, stop: int, grid: Grid = GRID, label: Label | None = None) -> LabelMap:
    """A box of columns I from ``first`` to before ``stop``; none of them gives an empty segment."""
    label = label or Label(1, "box", "Box")
    array = np.zeros(grid.shape, np.uint8)
    array[2:6, 3:9, first:stop] = label.value
    return LabelMap(array, grid, (label,))


def observers() -> dict[str, LabelMap]:
    """The label maps of A, B and C."""
    return {name: columns_map(*columns) for name, columns in COLUMNS.items()}
