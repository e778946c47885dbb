"""The module ``qt`` of Slicer on PySide6: properties are attributes, and mistakes are errors as in PythonQt.

PythonQt, which Slicer uses, reads and sets a Qt property as an attribute (``label.text = "a"``) beside its methods, and
refuses attributes that a C++ object does not have. PySide6 does neither; a typo would pass unseen. ``strictness`` does
the attributes, ``signals`` the connections, ``dialogs`` what waits for a user, ``qt_names`` says what is offered.
"""

from __future__ import annotations

import ctypes
import os
import sys
import types

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ["PYSIDE6_OPTION_PYTHON_ENUM"] = "0x1e"  # enums are integers, as in PythonQt; read when PySide6 is imported

from PySide6 import QtCore, QtGui, QtWidgets

from harness import dialogs, qt_names, settings, signals
from harness.strictness import Strict, is_harness, make_strict

__all__ = ["QtCore", "Strict", "make_qt"]

if sys.version_info < (3, 12):
    # PySide6 6.12 gives back one reference to None too many with every method that returns nothing. Newer Pythons do
    # not count these references; older ones end with "deallocating None" after some ten thousand calls.
    for singleton in (None, True, False):
        ctypes.c_ssize_t.from_address(id(singleton)).value += 1 << 40

# Virtual methods, which PySide6 looks up by name when Qt calls them: they must stay methods. PythonQt has attributes.
KEPT_METHODS = {
    ("QWidget", "sizeHint"), ("QWidget", "minimumSizeHint"), ("QProgressBar", "text"),
    ("QAbstractAnimation", "duration"), ("QVariantAnimation", "duration"), ("QPauseAnimation", "duration"),
    ("QAnimationGroup", "duration"),
}  # fmt: skip
# Attributes for panels, as in PythonQt, but methods for the harness's own code.
METHODS_FOR_THE_HARNESS = {"objectName", "sizePolicy"}
# isinstance() and findChildren() need the real base classes.
KEPT_CLASSES = {"QObject", "QWidget", "QFrame", "QLayout", "QBoxLayout"}


class _Property:
    """A declared Qt property as an attribute of instances; the class itself still gives the method of that name."""

    def __init__(self, name: str, type_name: str, method):
        self._name, self._is_list, self._method = name, type_name == "QStringList", method

    def __get__(self, instance, owner=None):
        if instance is None:
            return self._method
        if self._name in METHODS_FOR_THE_HARNESS and is_harness():
            return self._method.__get__(instance, owner)
        value = instance.property(self._name)
        return tuple(value) if self._is_list else value  # PythonQt makes tuples of lists of strings

    def __set__(self, instance, value):
        if not instance.setProperty(self._name, value):
            raise AttributeError(f"{type(instance).__name__}.{self._name} cannot be set to {value!r}")


def make_qt() -> types.ModuleType:
    """Build the module ``qt``; PySide6's classes are changed to behave as in PythonQt."""
    everything = {name: getattr(module, name) for module in (QtCore, QtGui, QtWidgets) for name in dir(module)}
    classes = [value for value in everything.values() if isinstance(value, type)]
    objects = [cls for cls in classes if issubclass(cls, QtCore.QObject)]
    for cls in objects:
        _declare_properties(cls)
    QtCore.QObject.name = property(lambda self: self.property("objectName"), QtCore.QObject.setObjectName)
    QtCore.QObject.className = lambda self: type(self).__name__
    QtCore.QObject.delete = QtCore.QObject.deleteLater
    make_strict(classes)
    signals.install()
    qt = types.ModuleType("qt")
    for name, value in everything.items():
        if qt_names.is_offered(name):
            setattr(qt, name, _cpp_class(name, value))
    from harness.ui_loader import UiLoader

    qt.QUiLoader = UiLoader
    dialogs.install(qt)
    settings.install(qt)
    return qt


def _declare_properties(cls):
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        name, type_name = meta.property(index).name(), meta.property(index).typeName()
        if (cls.__name__, name) not in KEPT_METHODS:
            setattr(cls, name, _Property(name, type_name, getattr(cls, name, None)))


def _cpp_class(name: str, value):
    """A subclass of a concrete widget or object class that is constructed as in PythonQt; anything else as it is."""
    is_object = isinstance(value, type) and issubclass(value, QtCore.QObject)
    if not is_object or name in KEPT_CLASSES or "Abstract" in name or name.endswith("Application"):
        return value

    def construct(self, *arguments, **names):
        if names:
            raise TypeError(f"PythonQt does not know arguments by name: {name}({', '.join(names)})")
        value.__init__(self, *arguments)

    try:
        return type(value)(name, (Strict, value), {"_is_cpp": True, "__init__": construct})
    except TypeError:  # PySide6 does not let some classes be derived from
        return value
