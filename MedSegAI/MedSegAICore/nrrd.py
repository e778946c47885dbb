"""Write NRRD files with any header field, any geometry and UTF-8 text.

pynrrd (and slicerio on top of it) refuses names that are not ASCII, and ITK's writer reports a full disk as an
unknown error and marks layers as vector components; the format is simple enough to write exactly.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from MedSegAICore.grid import Grid

_TYPES = {
    "u1": "unsigned char",
    "i1": "signed char",
    "u2": "unsigned short",
    "i2": "short",
    "u4": "unsigned int",
    "i4": "int",
    "u8": "unsigned long long int",
    "i8": "long long int",
    "f4": "float",
    "f8": "double",
}


def write_nrrd(
    path: Path, array: np.ndarray, grid: Grid, fields: Mapping[str, str], *, kind: str = "list", level: int = 1
) -> None:
    """Write (channels, K, J, I) with header ``fields`` (key:=value); one channel makes a plain 3-D file.

    ``kind``: what the channels are to NRRD, ``list`` or ``vector``. The same input gives the same bytes.
    """
    with open(path, "wb") as file:
        file.write(_header(array, grid, fields, kind).encode("utf-8"))
        stream = zlib.compressobj(level, zlib.DEFLATED, 31)
        little = array.dtype.newbyteorder("<")
        for k in range(grid.shape[0]):
            slab = np.ascontiguousarray(np.moveaxis(array[:, k], 0, -1), little)
            file.write(stream.compress(slab.data))
        file.write(stream.flush())


def _header(array: np.ndarray, grid: Grid, fields: Mapping[str, str], kind: str) -> str:
    origin, spacing, direction = grid.to_lps()
    axes = (np.reshape(direction, (3, 3)) * spacing).T
    several = array.shape[0] > 1
    lines = [
        "NRRD0004",
        "# Complete NRRD file format specification at:",
        "# http://teem.sourceforge.net/nrrd/format.html",
        f"type: {_TYPES[array.dtype.str[1:]]}",
        f"dimension: {3 + several}",
        "space: left-posterior-superior",
        "sizes: " + " ".join(map(str, [array.shape[0]] * several + list(grid.shape[::-1]))),
        "space directions: " + " ".join(["none"] * several + [_vector(axis) for axis in axes]),
        "kinds: " + " ".join([kind] * several + ["domain"] * 3),
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(origin)}",
    ]
    lines += [f"{key}:={_escaped(value)}" for key, value in fields.items()]
    return "\n".join(lines) + "\n\n"


def _vector(values) -> str:
    return "(" + ",".join(repr(float(value) + 0.0) for value in values) + ")"  # + 0.0 turns -0.0 into 0.0


def _escaped(value: str) -> str:
    """NRRD's own escapes: a value is one line, and readers turn these back."""
    return value.replace("\\", "\\\\").replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\\n")
