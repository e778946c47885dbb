"""Read and write NIfTI files (versions 1 and 2, one file, plain or gzip) with the geometry that 3D Slicer sees.

ITK reads a truncated NIfTI file without complaint and fills the rest with zeros, refuses files whose axes are not
exactly perpendicular, cannot read version 2 and cannot report a full disk. A segmentation of a silently emptied
volume is the worst failure this software could have, so this format is read and written here.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedSegAICore.errors import GeometryError, InputError
from MedSegAICore.grid import Grid

_DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_CODES = {np.dtype(name): code for code, name in _DTYPES.items()}
_UNSUPPORTED = {
    1: "1-bit values",
    32: "complex values",
    1792: "complex values",
    2048: "complex values",
    128: "RGB colors",
    2304: "RGBA colors",
    1536: "128-bit values",
}
_MILLIMETERS = {1: 1000.0, 2: 1.0, 3: 0.001}  # of a meter, millimeter, micrometer; 0 (unknown) means millimeter
_ORTHONORMAL = 1e-4  # ITK's tolerance for normalized axes; beyond it the sform has shear
_HIGHEST_COMPRESSION = 1100  # deflate reaches 1032 to 1
_SCANNER = 1  # code of a transform to the scanner's coordinates


@dataclass(frozen=True)
class Header:
    """What a NIfTI header says: ``shape`` in IJK… order, the sform and qform as 4x4 matrices to RAS mm or None."""

    order: str
    shape: tuple[int, ...]
    datatype: int
    spacing: tuple[float, float, float]
    offset: int
    slope: float
    intercept: float
    sform: np.ndarray | None
    qform: np.ndarray | None
    sform_code: int

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.order + _DTYPES[self.datatype])


def read_nifti(path: Path) -> tuple[np.ndarray, Grid, tuple[str, ...]]:
    """Array (channels, K, J, I), grid and warnings of a NIfTI file.

    Further dimensions (time, vector components) become channels; a 2-D image has K = 1. The scale factors of the
    header are applied.

    Raises InputError if the file is damaged, truncated or holds colors or complex values; GeometryError if its
    geometry is not usable.
    """
    with open(path, "rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path, "rb") if zipped else open(path, "rb") as file:
            header = _parse(file.read(540), path)
            file.seek(max(header.offset, 348))  # some writers leave it at zero
            data, missing = _filled(file, header, path.stat().st_size)
            file.read(1)  # the end of a gzip stream verifies its checksum
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path} is truncated or damaged: its gzip stream cannot be read to the end. Copy or export it again."
        ) from error
    if missing:
        raise InputError(
            f"{path} is truncated: of {math.prod(header.shape) * header.dtype.itemsize} bytes of voxels that its "
            f"header announces, {missing} are missing. Copy or export it again."
        )
    grid, warnings = _grid(header, path)
    return _voxels(data, header, grid.shape), grid, warnings


def _filled(file, header: Header, file_size: int) -> tuple[np.ndarray, int]:
    """All voxels in file order, and the number of bytes that the file lacks."""
    expected = math.prod(header.shape) * header.dtype.itemsize
    if expected > file_size * _HIGHEST_COMPRESSION:  # a damaged header must not ask for terabytes of memory
        return np.empty(0, header.dtype), expected - file_size
    data = np.empty(math.prod(header.shape), header.dtype)
    free = memoryview(data.view(np.uint8))
    while len(free) and (count := file.readinto(free)):
        free = free[count:]
    return data, len(free)


def _parse(head: bytes, path: Path) -> Header:
    for order in "<>":
        size = struct.unpack(order + "i", head[:4])[0] if len(head) >= 4 else 0
        if size == 348 and len(head) >= 348 and head[344:347] == b"n+1":
            return _check(_parse_version_1(head, order), path)
        if size == 540 and len(head) >= 540 and head[4:7] == b"n+2":
            return _check(_parse_version_2(head, order), path)
    if head[344:347] == b"ni1":
        raise InputError(f"{path} holds only the header of a NIfTI pair (.hdr/.img). Convert it to one .nii.gz file.")
    raise InputError(f"{path} is not a NIfTI image, although it is named like one. Check what the file holds.")


def _parse_version_1(head: bytes, order: str) -> Header:
    dim = struct.unpack_from(order + "8h", head, 40)
    datatype = struct.unpack_from(order + "h", head, 70)[0]
    pixdim = struct.unpack_from(order + "8f", head, 76)
    offset, slope, intercept = struct.unpack_from(order + "3f", head, 108)
    codes = struct.unpack_from(order + "2h", head, 252)
    quaternion = struct.unpack_from(order + "6f", head, 256)
    rows = struct.unpack_from(order + "12f", head, 280)
    return _header(order, dim, datatype, pixdim, offset, slope, intercept, codes, quaternion, rows, head[123])


def _parse_version_2(head: bytes, order: str) -> Header:
    datatype = struct.unpack_from(order + "h", head, 12)[0]
    dim = struct.unpack_from(order + "8q", head, 16)
    pixdim = struct.unpack_from(order + "8d", head, 104)
    offset = struct.unpack_from(order + "q", head, 168)[0]
    slope, intercept = struct.unpack_from(order + "2d", head, 176)
    codes = struct.unpack_from(order + "2i", head, 344)
    quaternion = struct.unpack_from(order + "6d", head, 352)
    rows = struct.unpack_from(order + "12d", head, 400)
    units = struct.unpack_from(order + "i", head, 500)[0]
    return _header(order, dim, datatype, pixdim, offset, slope, intercept, codes, quaternion, rows, units)


def _header(order, dim, datatype, pixdim, offset, slope, intercept, codes, quaternion, rows, units) -> Header:
    scale = _MILLIMETERS.get(units & 7, 1.0)
    extents = dim[1 : 1 + dim[0]] if 1 <= dim[0] <= 7 else ()
    shape = tuple(max(extent, 1) if axis else extent for axis, extent in enumerate(extents))
    spacing = tuple(abs(s) * scale if s and math.isfinite(s) else 1.0 for s in pixdim[1:4])
    sform = qform = None
    if codes[1] > 0:
        sform = np.vstack([np.reshape(rows, (3, 4)) * scale, [0, 0, 0, 1]])
    if codes[0] > 0:
        qform = _matrix_of_quaternion(quaternion, spacing, -1.0 if pixdim[0] < 0 else 1.0, scale)
    start = int(offset) if math.isfinite(offset) else -1
    return Header(order, shape, datatype, spacing, start, slope, intercept, sform, qform, max(codes[1], 0))


def _matrix_of_quaternion(quaternion, spacing, handedness: float, scale: float) -> np.ndarray:
    """IJK to RAS of a qform (NIfTI-1 standard, method 2): quaternion b, c, d and offset."""
    b, c, d = quaternion[:3]
    a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation / np.linalg.norm(rotation, axis=0) * (np.array(spacing) * [1, 1, handedness])
    matrix[:3, 3] = np.array(quaternion[3:]) * scale
    return matrix


def _check(header: Header, path: Path) -> Header:
    if header.datatype in _UNSUPPORTED:
        raise InputError(
            f"{path} holds {_UNSUPPORTED[header.datatype]}, but one real number per voxel is needed. "
            "Convert it to a scalar image."
        )
    if header.datatype not in _DTYPES or not header.shape or min(header.shape) < 1 or not 0 <= header.offset < 2**40:
        raise InputError(
            f"{path} has a damaged NIfTI header (datatype {header.datatype}, dimensions {header.shape}). "
            "Copy or export it again."
        )
    return header


def _voxels(data: np.ndarray, header: Header, shape_kji: tuple[int, int, int]) -> np.ndarray:
    array = data.astype(data.dtype.newbyteorder("="), copy=False).reshape(-1, *shape_kji)
    slope, intercept = header.slope, header.intercept
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0 or (slope, intercept) == (1, 0):
        return array
    scaled = np.float64 if array.dtype.itemsize > 2 and array.dtype != np.float32 else np.float32
    return array.astype(scaled) * scaled(slope) + scaled(intercept)


def _grid(header: Header, path: Path) -> tuple[Grid, tuple[str, ...]]:
    """The grid as ITK, and with it 3D Slicer, understands sform, qform and spacing; what is odd becomes a warning."""
    shape = (*header.shape[:3], 1, 1)[:3]
    sform, qform = header.sform, header.qform
    flat = len(header.shape) < 3 or shape[2] == 1
    if sform is not None:
        sform = _completed(sform, flat)
    warnings = []
    if sform is None and qform is None:
        matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.diag([*header.spacing, 1.0])
        warnings.append(
            f"{path.name} says nothing about its orientation (no sform, no qform): left and right may be swapped."
        )
    elif sform is None:
        matrix = qform
    elif not np.isfinite(sform).all() or np.linalg.det(sform[:3, :3]) == 0:
        if qform is None:
            raise GeometryError(
                f"{path} has an unusable geometry: its sform is {sform[:3].tolist()}, which is not invertible. "
                "Export it again from the original images."
            )
        matrix = qform
    else:
        matrix, warnings = _choose(header, sform, qform, path)
    return Grid(shape[::-1], matrix), tuple(warnings)


def _completed(sform: np.ndarray, flat: bool) -> np.ndarray:
    """A 2-D image may leave the slice axis at zero; it then gets the perpendicular direction and 1 mm."""
    if flat and not sform[:3, 2].any():
        sform = sform.copy()
        normal = np.cross(sform[:3, 0], sform[:3, 1])
        sform[:3, 2] = normal / (np.linalg.norm(normal) or 1.0)
    return sform


def _choose(header: Header, sform: np.ndarray, qform: np.ndarray | None, path: Path) -> tuple[np.ndarray, list[str]]:
    scales = np.linalg.norm(sform[:3, :3], axis=0)
    axes = sform[:3, :3] / scales
    if np.abs(axes.T @ axes - np.eye(3)).max() > _ORTHONORMAL:
        if qform is None:
            return sform, [f"The axes of {path.name} are not perpendicular (its sform has shear); this is kept."]
        return qform, [f"The axes of the sform of {path.name} are not perpendicular; its qform was used instead."]
    # ITK takes the directions from the sform, but the spacing always from pixdim.
    spaced = sform.copy()
    spaced[:3, :3] = axes * header.spacing
    warnings = []
    if np.abs(scales - header.spacing).max() > 1e-3:
        warnings.append(
            f"{path.name} contradicts itself: spacing {tuple(round(s, 4) for s in header.spacing)} mm in the header "
            f"but {tuple(round(float(s), 4) for s in scales)} mm in its sform; the header's spacing was used."
        )
    if qform is None:
        return spaced, warnings
    last = np.array([*(np.array((*header.shape[:3], 1, 1)[:3]) - 1), 1.0])
    apart = max(np.abs(sform[:3, 3] - qform[:3, 3]).max(), np.abs((spaced - qform)[:3] @ last).max())
    same = np.allclose(sform, qform, atol=1e-4)
    prefer_sform = header.sform_code == _SCANNER or same
    if apart > 0.01 * min(header.spacing):
        warnings.append(
            f"The sform and qform of {path.name} disagree by up to {apart:.3g} mm; "
            f"the {'sform' if prefer_sform else 'qform'} was used."
        )
    return (spaced if prefer_sform else qform), warnings


def write_nifti(path: Path, array: np.ndarray, grid: Grid, *, intent: int = 0, level: int = 1) -> None:
    """Write (channels, K, J, I) as NIfTI-1, gzip if ``path`` ends with ``.gz``; several channels become dimension 4.

    ``intent``: NIfTI intent code (1002 for labels). The same input gives the same bytes.
    """
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    head = _pack(array, grid, intent)
    with open(path, "wb") as file:
        if not str(path).lower().endswith(".gz"):
            file.write(head)
            file.write(array.data)
            return
        # GzipFile would put the temporary file's name and the time into the header.
        stream = zlib.compressobj(level, zlib.DEFLATED, 31)
        file.write(stream.compress(head))
        for channel in array:
            file.writelines(stream.compress(slab.data) for slab in channel)
        file.write(stream.flush())


def _pack(array: np.ndarray, grid: Grid, intent: int) -> bytes:
    channels, extents = array.shape[0], grid.shape[::-1]
    matrix = grid.ijk_to_ras
    spacing = np.array(grid.spacing_ijk)
    axes = matrix[:3, :3] / spacing
    perpendicular = np.abs(axes.T @ axes - np.eye(3)).max() <= _ORTHONORMAL
    handedness = -1.0 if np.linalg.det(axes) < 0 else 1.0
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    head[38] = ord("r")
    struct.pack_into("<8h", head, 40, 4 if channels > 1 else 3, *extents, channels, 1, 1, 1)
    struct.pack_into("<h", head, 68, intent)
    struct.pack_into("<2h", head, 70, _CODES[array.dtype.newbyteorder("=")], array.dtype.itemsize * 8)
    struct.pack_into("<8f", head, 76, handedness, *spacing, 1.0, 1.0, 1.0, 1.0)
    struct.pack_into("<3f", head, 108, 352.0, 1.0, 0.0)
    head[123] = 2  # millimeters
    # The qform cannot express shear, so a sheared grid has only the sform.
    struct.pack_into("<2h", head, 252, _SCANNER if perpendicular else 0, _SCANNER)
    struct.pack_into("<6f", head, 256, *_quaternion(axes * [1, 1, handedness]), *matrix[:3, 3])
    struct.pack_into("<12f", head, 280, *matrix[:3].ravel())
    head[344:348] = b"n+1\0"
    return bytes(head)


def _quaternion(rotation: np.ndarray) -> tuple[float, float, float]:
    """Components b, c, d (with a >= 0) of a rotation matrix, stable for every angle.

    The quaternion is the eigenvector of the largest eigenvalue of a symmetric matrix (Bar-Itzhack, J Guid Control
    Dyn 2000;23:1085).
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    symmetric = [
        [xx - yy - zz, yx + xy, zx + xz, zy - yz],
        [yx + xy, yy - xx - zz, zy + yz, xz - zx],
        [zx + xz, zy + yz, zz - xx - yy, yx - xy],
        [zy - yz, xz - zx, yx - xy, xx + yy + zz],
    ]
    b, c, d, a = np.linalg.eigh(symmetric)[1][:, -1]
    return (b, c, d) if a >= 0 else (-b, -c, -d)
