"""Which other files an ONNX file wants, found without the package onnx.

Weights beyond 2 GB are stored beside the ONNX file, which names the place as text: a stranger's file could name any
file of this computer. ONNX files are protocol buffers (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from MedSegAICore.errors import ModelError

# Message -> number of a field -> message in it, for all ways from a model to its tensors.
MESSAGES = {
    "Model": {7: "Graph", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
    "Entry": {},
}
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # how protocol buffers store a field
DEEPEST = 50  # graphs in attributes of nodes in graphs …


def external_files(path: Path) -> tuple[Path, ...]:
    """The files with weights that an ONNX file wants beside it.

    Raises ModelError if the file is damaged, or wants a file that is missing or outside its own folder.
    """
    try:
        entries = dict.fromkeys(_entries(memoryview(path.read_bytes()), "Model", 0))
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error.strerror}. Copy the model again.") from error
    except (LookupError, ValueError) as error:
        raise ModelError(f"{path.name} is damaged or not an ONNX file. Copy the model again.") from error
    folder, files = path.parent.resolve(), []
    for name in (value for key, value in entries if key == "location"):
        file = path.parent / name
        if folder not in file.resolve().parents:
            raise ModelError(
                f"{path.name} wants weights from {name!r}, outside its own folder, and was refused. Ask its author for "
                "a file with its weights in it or beside it."
            )
        if not file.is_file():
            raise ModelError(f"{path.name} wants its weights from {name!r}, which is missing. Copy it too.")
        files.append(file)
    return tuple(sorted(files))


def _entries(data: memoryview, message: str, depth: int) -> Iterator[tuple[str, str]]:
    """The (key, value) pairs of all tensors that are stored elsewhere."""
    if depth > DEEPEST:
        raise ValueError("too many graphs in each other")
    pair = {}
    for number, content in _fields(data):
        if message == "Entry" and isinstance(content, memoryview):
            pair[number] = str(content, "utf-8")
        elif (inner := MESSAGES[message].get(number)) and isinstance(content, memoryview):
            yield from _entries(content, inner, depth + 1)
    if message == "Entry":
        yield pair.get(1, ""), pair.get(2, "")


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """(number, content) of the fields of one message."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == VARINT:
            content, place = _varint(data, place)
        else:
            length, place = _varint(data, place) if kind == LENGTH else ({FIXED64: 8, FIXED32: 4}[kind], place)
            if place + length > len(data):
                raise ValueError("the file ends too early")
            content, place = data[place : place + length], place + length
        yield tag >> 3, content


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
