"""Attributes of C++ objects as strict as in PythonQt: none that the class does not have, none overwritten.

This holds for every object of Qt and for every stand-in, also for those that Qt itself makes (the header of a table). A
class that a panel derives from a Qt class is Python's: its objects take any attribute, as in PythonQt.
"""

from __future__ import annotations

import sys

from PySide6 import QtCore

from harness import qt_names


class Strict:
    """Marks a class of the harness that stands for a C++ class; it sets ``_is_cpp = True``."""


def stands_for_cpp(cls: type) -> bool:
    """Whether objects of the class look like C++ objects to a panel."""
    return cls.__module__.startswith("PySide6.") or cls.__dict__.get("_is_cpp", False)


def make_strict(classes):
    """Give these classes of PySide6 the strict attributes, and hide what only one version of Qt has."""
    QtCore.QObject.__getattr__ = _child_or_dynamic_property
    for cls in classes:
        if issubclass(cls, QtCore.QObject):
            cls.__setattr__, cls.__delattr__ = _set_attribute, _delete_attribute
        for name in qt_names.ONLY_IN_QT6.get(cls.__name__, ()):
            setattr(cls, name, _Hidden(name, getattr(cls, name)))


def is_harness(depth: int = 2) -> bool:
    """Whether the function that many calls up is the harness's own."""
    return sys._getframe(depth).f_globals.get("__name__", "").startswith("harness.")


def _set_attribute(self, name: str, value):
    cls = type(self)
    declared = next((base.__dict__[name] for base in cls.__mro__ if name in base.__dict__), None)
    if isinstance(declared, QtCore.Property) and declared.fset is not None:
        declared.fset(self, value)
    elif hasattr(type(declared), "__set__"):
        declared.__set__(self, value)
    elif not stands_for_cpp(cls) or (name.startswith("_") and is_harness()) or _is_kept(name, value):
        self.__dict__[name] = value
    elif declared is None and name not in _dynamic_properties(self):
        raise AttributeError(f"{cls.__name__} has no property {name!r} (PythonQt refuses new attributes)")
    elif declared is None:
        self.setProperty(name, value)
    else:
        raise AttributeError(f"{cls.__name__}.{name} cannot be overwritten (PythonQt refuses it)")


def _delete_attribute(self, name: str):
    if name not in self.__dict__:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted")
    del self.__dict__[name]


def _is_kept(name: str, value) -> bool:
    """Whether PySide6 itself sets it: a signal when it is first used, and a child under its name."""
    is_child = isinstance(value, QtCore.QObject) and value.property("objectName") == name
    return is_child or isinstance(value, QtCore.SignalInstance)


def _dynamic_properties(instance) -> list[str]:
    try:
        return [bytes(name.data()).decode() for name in instance.dynamicPropertyNames()]
    except RuntimeError:  # its constructor has not run, or Qt has deleted it
        return []


def _child_or_dynamic_property(self, name: str):
    if not name.startswith("_"):
        if name in _dynamic_properties(self):
            return self.property(name)
        child = next((one for one in _children(self) if one.property("objectName") == name), None)
        if child is not None:
            return child
    raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")


def _children(instance) -> list:
    try:
        return instance.children()
    except RuntimeError:
        return []


class _Hidden:
    """A member that a class has in Qt 6 only: Slicer may be built with Qt 5.15. The harness itself may use it."""

    def __init__(self, name: str, member):
        self._name, self._member = name, member

    def __get__(self, instance, owner=None):
        if is_harness():
            return self._member.__get__(instance, owner)
        raise AttributeError(f"{owner.__name__}.{self._name} does not exist in Qt 5.15, which Slicer may be built with")
