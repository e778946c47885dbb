"""Images and results on their way between two processes: arrays as files to be mapped, everything else as JSON.

Files in a private temporary folder, not shared memory: they are as fast (the operating system keeps them in memory),
work the same on every system, may be larger than the 64 MB that containers give to ``/dev/shm``, and a full disk is an
error that can be reported instead of a crash. Nothing but deleting the folder is needed to clean up, also by the other
process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MedSegAICore.channels import Channel, Unaligned
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, Label, LabelMap
from MedSegAICore.registration import Registration

KIND = "$"  # the key that marks what JSON has no notation for
SMALL_VALUES = 64  # a matrix is not worth a file
PIECE_BYTES = 2**20  # written at once: about a millisecond
# Windows deletes no file that is mapped: a process whose partner is gone could not remove the arrays.
MAY_MAP = os.name != "nt"

Files = list[tuple[Path, np.ndarray]]


def pack(value: Any, folder: Path) -> Any:
    """The JSON-able form of an Image, Result or plain value; its arrays are written into the folder, one file each.

    Raises OSError if a file cannot be written; TypeError for an object that is not known here.
    """
    packed, files = plan(value, folder)
    for _ in write(files):
        pass
    return packed


def plan(value: Any, folder: Path) -> tuple[Any, Files]:
    """What ``pack`` returns, with nothing written yet: ``write`` takes the files. Raises TypeError as ``pack``."""
    files: Files = []
    return _plan(value, folder, sum(1 for _ in folder.iterdir()), files), files


def write(files: Files) -> Iterator[None]:
    """Write the files of ``plan``, a piece with each step, so that a window can do something else in between.

    Raises OSError.
    """
    for path, array in files:
        with open(path, "xb") as file:
            for piece in _pieces(array):
                file.write(np.ascontiguousarray(piece).data)
                yield


def _plan(value: Any, folder: Path, taken: int, files: Files) -> Any:
    def inner(part: Any) -> Any:
        return _plan(part, folder, taken, files)

    if value is None or isinstance(value, (bool, int, float, str)):
        return value.item() if isinstance(value, np.generic) else value  # numpy's float64 is a float
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        place: dict[str, Any] = {"values": value.tolist()} if value.size <= SMALL_VALUES else {}
        if not place:
            place["file"] = f"{taken + len(files)}.raw"
            files.append((folder / place["file"], value))
        return {KIND: "array", "dtype": _plain_type(value).str, "shape": list(value.shape), **place}
    if isinstance(value, list):
        return [inner(part) for part in value]
    if isinstance(value, tuple):
        return {KIND: "tuple", "items": [inner(part) for part in value]}
    if isinstance(value, dict):
        return {KIND: "dict", "items": [[inner(key), inner(part)] for key, part in value.items()]}
    if is_dataclass(value) and type(value).__name__ in _classes():
        return {
            KIND: type(value).__name__,
            **{field.name: inner(getattr(value, field.name)) for field in fields(value)},
        }
    raise TypeError(f"A {type(value).__name__} cannot be sent to another process.")


def unpack(value: Any, folder: Path, *, mapped: bool) -> Any:
    """What ``pack`` was given. ``mapped``: arrays are mapped, copied page by page where they are written to; otherwise
    they are read, and the files may be deleted at once."""
    if isinstance(value, list):
        return [unpack(part, folder, mapped=mapped) for part in value]
    if not isinstance(value, dict):
        return value
    kind = value[KIND]
    if kind == "array":
        return _array(value, folder, mapped)
    if kind == "tuple":
        return tuple(unpack(part, folder, mapped=mapped) for part in value["items"])
    if kind == "dict":
        return {unpack(k, folder, mapped=mapped): unpack(v, folder, mapped=mapped) for k, v in value["items"]}
    content = {name: unpack(part, folder, mapped=mapped) for name, part in value.items() if name != KIND}
    return _classes()[kind](**content)


def _classes() -> dict[str, type]:
    from MedSegAILib.inference.result import Result

    return {cls.__name__: cls for cls in (Channel, Grid, Image, Label, LabelMap, Registration, Result, Unaligned)}


def _plain_type(array: np.ndarray) -> np.dtype:
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"An array of {array.dtype} cannot be sent to another process.")
    return array.dtype


def _pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    """Parts of an array that follow each other in its file."""
    if array.ndim <= 1 or array.nbytes <= PIECE_BYTES:
        yield array
    else:
        for part in array:
            yield from _pieces(part)


def _array(value: dict[str, Any], folder: Path, mapped: bool) -> np.ndarray:
    dtype, shape = np.dtype(value["dtype"]), tuple(value["shape"])
    if "values" in value:
        return np.array(value["values"], dtype).reshape(shape)
    if mapped:
        return np.asarray(np.memmap(folder / value["file"], dtype, mode="c", shape=shape))
    return np.fromfile(folder / value["file"], dtype).reshape(shape)
