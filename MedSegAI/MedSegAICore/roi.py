"""A region of interest: a box in space, turned or not, of 3D Slicer's markups; and the voxels of a volume in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MedSegAICore.errors import InputError
from MedSegAICore.grid import LPS_FROM_RAS, TOLERANCE_VOXELS, Grid

SAMPLES = 9  # points along each edge: a non-linear transform bends the box


@dataclass(frozen=True)
class Region:
    """A box: ``size`` in mm along its own axes, about the origin of ``to_ras`` (4x4, from its axes to RAS mm).

    ``inside_out``: whether it means everything but the box, as Slicer can say.
    Raises InputError if it has no size or is inside out: a volume cannot be restricted to that.
    """

    name: str
    to_ras: np.ndarray
    size: tuple[float, float, float]
    inside_out: bool = False

    def __post_init__(self):
        size = np.asarray(self.size, float)
        if size.shape != (3,) or not np.isfinite(size).all() or not (size > 0).all():
            shown = " x ".join(f"{n:g}" for n in size.ravel())
            raise InputError(
                f"The region {self.name!r} has no size yet ({shown} mm). Place it in the slice views of Slicer."
            )
        matrix = np.asarray(self.to_ras, float)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-6:
            raise InputError(f"The region {self.name!r} is flat or has no place: its matrix is {matrix.tolist()}.")
        if self.inside_out:
            raise InputError(
                f"The region {self.name!r} is inside out: it means everything but its box. Switch that off in Slicer."
            )

    def box(
        self, grid: Grid, volume: str, from_world: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> tuple[slice, slice, slice]:
        """The voxels of a grid whose centers lie in the region, as slices KJI.

        A region that is turned against the grid is taken as the smallest upright box of voxels that holds it; one that
        reaches beyond the grid is cut. ``volume``: its name, for messages. ``from_world``: maps points (N, 3) from the
        region's frame to the grid's, RAS mm; None if they are one.

        Raises InputError if it holds no voxel of the grid.
        """
        unit = np.array(list(np.ndindex(SAMPLES, SAMPLES, SAMPLES))) / (SAMPLES - 1) - 0.5
        points = (unit * self.size) @ self.to_ras[:3, :3].T + self.to_ras[:3, 3]
        indices = grid.ras_to_ijk_points(points if from_world is None else from_world(points))[:, ::-1]
        first = np.ceil(indices.min(0) - TOLERANCE_VOXELS).astype(int).clip(0)
        stop = np.minimum(np.floor(indices.max(0) + TOLERANCE_VOXELS).astype(int) + 1, grid.shape)
        if (stop <= first).any():
            raise InputError(
                f"The region {self.name!r} holds no voxel of the volume {volume!r}. Move it onto the volume."
            )
        return tuple(slice(int(a), int(b)) for a, b in zip(first, stop, strict=True))


def read_region(path: str | Path) -> Region:
    """The region in a markups file of 3D Slicer (``.mrk.json``), in LPS or RAS.

    Raises InputError if the file cannot be read, holds no or several regions, or the region cannot be used.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        markups = [entry for entry in content["markups"] if entry.get("type") == "ROI"]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}. Check the path.") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is not a markups file of 3D Slicer (.mrk.json). Save the ROI in Slicer.") from error
    if len(markups) != 1:
        raise InputError(f"{path} holds {len(markups)} regions (markups of type ROI), but exactly one is needed.")
    try:
        return _region(markups[0], path.name.removesuffix(".json").removesuffix(".mrk"))
    except (ValueError, TypeError, KeyError) as error:
        problem = f"no {error}" if isinstance(error, KeyError) else error
        raise InputError(f"The region in {path} is damaged ({problem}). Save it in Slicer again.") from error


def _region(entry: dict[str, Any], name: str) -> Region:
    system = entry.get("coordinateSystem", "LPS")
    if system not in ("LPS", "RAS"):
        raise ValueError(f"coordinateSystem is {system!r}, expected LPS or RAS")
    units = entry.get("coordinateUnits", "mm")
    if (units[0] if isinstance(units, list) and units else units) != "mm":
        raise ValueError(f"coordinateUnits is {units!r}, expected mm")
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(np.array(entry.get("orientation", np.eye(3)), float), (3, 3))  # axes are columns
    matrix[:3, 3] = np.array(entry["center"], float)
    inside_out = entry.get("insideOut", False)
    if not isinstance(inside_out, bool):
        raise ValueError(f"insideOut is {inside_out!r}, expected true or false")
    to_ras = LPS_FROM_RAS @ matrix if system == "LPS" else matrix
    return Region(name, to_ras, tuple(float(n) for n in entry["size"]), inside_out)
