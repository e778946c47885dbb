"""What the stand-ins for Slicer's widgets are made of: declared properties, and observers that end with the widget."""

from __future__ import annotations

import weakref

import shiboken6
import vtk
from PySide6.QtCore import Property


def declared(kind, name: str, default, changed: str = "", signal: str = ""):
    """A Qt property kept in a Python attribute.

    The method ``changed`` is called and the signal ``signal`` emitted when it gets another value. Lists are given as
    tuples, as PythonQt does.
    """
    is_list = kind == "QStringList"

    def read(self):
        value = self.__dict__.get("_" + name, default)
        return tuple(value) if is_list else value

    def write(self, value):
        if is_list:
            value = [value] if isinstance(value, str) else list(value)
        elif isinstance(value, int) and kind is float:
            value = float(value)
        same = "_" + name in self.__dict__ and self.__dict__["_" + name] == value
        self.__dict__["_" + name] = value
        if changed and not same:
            getattr(self, changed)()
        if signal and not same:
            getattr(self, signal).emit(value)

    return Property(kind, read, write)


def with_setters(*names: str):
    """Class decorator: the properties whose setter is a slot of the real class too (``setReadOnly(True)``)."""

    def decorate(cls):
        for name in names:

            def setter(self, value, _name=name):
                setattr(self, _name, value)

            setattr(cls, "set" + name[0].upper() + name[1:], setter)
        return cls

    return decorate


class Observers:
    """Observers on VTK objects that call methods of a widget, as long as the widget exists."""

    def __init__(self):
        self._tags: list[tuple] = []

    def add(self, subject, events, method, with_node: bool = False, priority: float = 0.0):
        """``method`` is a bound method without arguments; or with one, the node that the event is about."""
        reference = weakref.WeakMethod(method)

        def call(_subject, _event, *node):
            alive = reference()
            if alive is not None and shiboken6.isValid(alive.__self__):
                alive(*node)

        if with_node:
            call.CallDataType = vtk.VTK_OBJECT
        for event in events:
            self._tags.append((subject, subject.AddObserver(event, call, priority)))

    def replace(self, subject, events, method):
        """Let go of everything and observe ``subject``, which may be None."""
        self.clear()
        if subject is not None:
            self.add(subject, events, method)

    def clear(self):
        for subject, tag in self._tags:
            subject.RemoveObserver(tag)
        self._tags = []
