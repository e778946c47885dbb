"""Where a segmentation came from: written on every one that this program makes."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from MedSegAICore import VERSION
from MedSegAICore.image import Image

if TYPE_CHECKING:
    from MedSegAILib.models.model import Model

PACKAGES = ("torch", "numpy", "scipy", "SimpleITK")


def describe_run(image: Image, model: Model, run: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON-able record of one segmentation.

    ``run``: device, precision, tile, folds and mirroring as used. Names no person: the input is known by the SHA-256 of
    its voxels and of its geometry. Of several volumes ``channels`` says how each came
    onto the grid of the first.
    """
    return {
        "model": {"id": model.id, "version": model.version, "sha256": model.checksum},
        "software": dict(software_versions()),
        "run": dict(run),
        "input": {
            "voxels_sha256": voxels_hash(image),
            "geometry_sha256": geometry_hash(image),
            "shape_kji": list(image.grid.shape),
            "spacing_kji_mm": [round(s, 6) for s in image.grid.spacing_kji],
            "orientation": image.grid.orientation,
            "channels": image.channels,
        },
        **({"channels": list(image.meta["channels"])} if "channels" in image.meta else {}),
        "time_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "notice": "Research use only. Not reviewed by a human.",
    }


def voxels_hash(image: Image) -> str:
    """SHA-256 of the voxels' values, whatever type or byte order they are stored in (as float32)."""
    return hashlib.sha256(np.ascontiguousarray(image.array, dtype="<f4")).hexdigest()


def geometry_hash(image: Image) -> str:
    """SHA-256 of shape and IJK-to-RAS matrix, rounded to a micrometer so that file formats do not change it."""
    text = f"{image.grid.shape} {np.round(image.grid.ijk_to_ras, 3).tolist()}"
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def software_versions() -> dict[str, str]:
    """Versions of this program, Python and the packages that results depend on; what is not installed is left out."""
    versions = {"medsegai": VERSION, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
