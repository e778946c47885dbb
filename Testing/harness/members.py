"""Which members Slicer's C++ classes show to Python: read from members.json, which holds names and no code."""

from __future__ import annotations

import functools
import json
from pathlib import Path


@functools.cache
def _classes() -> dict[str, dict]:
    return json.loads((Path(__file__).parent / "members.json").read_text(encoding="utf-8"))


def is_known(class_name: str) -> bool:
    return bool(class_name) and class_name in _classes()


def _own_and_inherited(class_name: str):
    """What the class and those of its base classes that are Slicer's or CTK's declare."""
    while is_known(class_name):
        yield _classes()[class_name]
        class_name = _classes()[class_name]["inherits"]


def qt_base(class_name: str) -> str:
    """The nearest base class that is Qt's."""
    while is_known(class_name):
        class_name = _classes()[class_name]["inherits"]
    return class_name


def signals(class_name: str) -> set[str]:
    """The signals with the types of their arguments, as ``currentNodeChanged(vtkMRMLNode*)``."""
    return {signal for one in _own_and_inherited(class_name) for signal in one.get("signals", ())}


def methods(class_name: str) -> set[str]:
    """The names of public slots, invokable methods and decorators."""
    return {name for one in _own_and_inherited(class_name) for name in one.get("methods", ())}


def properties(class_name: str) -> set[str]:
    return {name for one in _own_and_inherited(class_name) for name in one.get("properties", ())}


def names(class_name: str) -> set[str]:
    """All names that a class of Slicer or CTK adds to those of its Qt base class."""
    enums = {name for one in _own_and_inherited(class_name) for name in one.get("enums", ())}
    return enums | methods(class_name) | properties(class_name) | {one.split("(")[0] for one in signals(class_name)}


def invented(cls: type) -> list[str]:
    """The public members of a stand-in that neither the real class nor its Qt base class shows."""
    from PySide6 import QtCore, QtGui, QtWidgets

    base_name = qt_base(cls.__name__)
    base = next((getattr(one, base_name) for one in (QtWidgets, QtGui, QtCore) if hasattr(one, base_name)), None)
    known = names(cls.__name__) | set(dir(base or QtWidgets.QWidget))
    return sorted(name for name in dir(cls) if not name.startswith("_") and name not in known)
