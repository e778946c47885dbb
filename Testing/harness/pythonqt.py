"""The module ``qt`` of Slicer on PySide6: properties are attributes, unknown attributes and failing slots are errors.

PythonQt, which Slicer uses, reads and sets a Qt property as an attribute (``label.text = "a"``) beside its methods, and
refuses attributes that a C++ object does not have. PySide6 does neither; a typo would pass unseen.
"""

from __future__ import annotations

import ctypes
import os
import sys
import types
import xml.etree.ElementTree as ElementTree

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ["PYSIDE6_OPTION_PYTHON_ENUM"] = "0x1e"  # enums are integers, as in PythonQt; read when PySide6 is imported

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

if sys.version_info < (3, 12):
    # PySide6 6.12 gives back one reference to None too many with every method that returns nothing. Newer Pythons do
    # not count these references; older ones end with "deallocating None" after some ten thousand calls.
    for singleton in (None, True, False):
        ctypes.c_ssize_t.from_address(id(singleton)).value += 1 << 40

# Properties of which Slicer code uses the method of the same name.
KEPT_METHODS = {"sizeHint", "minimumSizeHint", "sizePolicy", "objectName"}
# isinstance() and findChildren() need the real base classes.
KEPT_CLASSES = {"QObject", "QWidget", "QFrame", "QLayout", "QBoxLayout"}


class _Property:
    """A declared Qt property as an attribute of instances; the class itself still gives the method of that name."""

    def __init__(self, name: str, method):
        self._name, self._method = name, method

    def __get__(self, instance, owner=None):
        return self._method if instance is None else instance.property(self._name)

    def __set__(self, instance, value):
        if not instance.setProperty(self._name, value):
            raise TypeError(f"{type(instance).__name__}.{self._name} cannot be set to {value!r}")


class Strict:
    """For a class that stands for a C++ class: no attributes beyond those that the class declares.

    A child may become an attribute under its name; the .ui loader does that, and PythonQt offers it.
    """

    def __setattr__(self, name: str, value):
        is_new = not name.startswith("_") and not hasattr(type(self), name)
        is_child = isinstance(value, QtCore.QObject) and value.objectName() == name
        if is_new and not is_child and type(self).__dict__.get("_is_cpp", False):
            raise AttributeError(f"{type(self).__name__} has no property {name!r} (PythonQt refuses new attributes)")
        super().__setattr__(name, value)


def make_qt() -> types.ModuleType:
    """Build the module ``qt``; PySide6's classes are given their properties as attributes."""
    classes = {name: getattr(module, name) for module in (QtCore, QtGui, QtWidgets) for name in dir(module)}
    classes = {name: value for name, value in classes.items() if not name.startswith("_")}
    for value in classes.values():
        if isinstance(value, type) and issubclass(value, QtCore.QObject):
            _declare_properties(value)
    QtCore.QObject.name = property(lambda self: self.objectName(), lambda self, name: self.setObjectName(name))
    QtCore.QObject.className = lambda self: type(self).__name__
    qt = types.ModuleType("qt")
    for name, value in classes.items():
        setattr(qt, name, _cpp_class(name, value))
    qt.QUiLoader = UiLoader
    return qt


def _declare_properties(cls):
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        name = meta.property(index).name()
        if name not in KEPT_METHODS:
            setattr(cls, name, _Property(name, getattr(cls, name, None)))


def _cpp_class(name: str, value):
    """A strict subclass of a concrete widget or object class; anything else as it is."""
    is_object = isinstance(value, type) and issubclass(value, QtCore.QObject)
    if not is_object or name in KEPT_CLASSES or "Abstract" in name or name.endswith("Application"):
        return value
    try:
        return type(value)(name, (Strict, value), {"_is_cpp": True})
    except TypeError:  # PySide6 does not let some classes be derived from
        return value


class UiLoader(QtUiTools.QUiLoader):
    """Makes the harness's classes for the names in a .ui file, and its connections by name.

    An unknown class, sender, receiver, signal or slot is an error, as a forgotten connection is a bug in Slicer.
    """

    def createWidget(self, className, parent=None, name=""):
        import slicer

        places = (sys.modules["ctk"], slicer, sys.modules["qt"])
        cls = next((getattr(p, className) for p in places if isinstance(getattr(p, className, None), type)), None)
        if cls is None:
            raise RuntimeError(f"The .ui file uses {className}, which the harness does not have.")
        widget = cls(parent)
        widget.setObjectName(name)
        return widget

    def load(self, file, parent=None):
        root = ElementTree.fromstring(bytes(file.readAll()))
        connections = root.find("connections")
        if connections is not None:
            root.remove(connections)
        data = QtCore.QBuffer()
        data.setData(ElementTree.tostring(root))
        data.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(data, parent)
        for connection in connections if connections is not None else ():
            sender, signal, receiver, slot = (
                connection.findtext(key) for key in ("sender", "signal", "receiver", "slot")
            )
            getattr(_named(widget, sender), signal.split("(")[0]).connect(
                getattr(_named(widget, receiver), slot.split("(")[0])
            )
        return widget


def _named(widget, name: str):
    found = widget if widget.objectName() == name else widget.findChild(QtCore.QObject, name)
    if found is None:
        raise RuntimeError(f"A connection in the .ui file names {name}, which is not in it.")
    return found
