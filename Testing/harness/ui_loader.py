"""Loads .ui files as Slicer does: with the harness's classes, dynamic properties, and connections by name."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtUiTools

from harness import members, signals


class UiLoader(QtUiTools.QUiLoader):
    """Makes the harness's classes for the names in a .ui file, and its connections by name.

    An unknown class, property, sender, receiver, signal or slot is an error, as a forgotten connection is a bug in
    Slicer.
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
        _check_properties(root)
        connections = root.find("connections")
        if connections is not None:
            root.remove(connections)
        data = QtCore.QBuffer()
        data.setData(ElementTree.tostring(root))
        data.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(data, parent)
        for connection in connections if connections is not None else ():
            _connect(widget, *(connection.findtext(key) for key in ("sender", "signal", "receiver", "slot")))
        return widget


def _check_properties(root):
    """Designer's properties are set silently if the class lacks them: then they would be dynamic ones of no effect."""
    for widget in root.iter("widget"):
        class_name = widget.get("class")
        if not members.is_known(class_name):
            continue
        known = members.properties(class_name) | _qt_properties(members.qt_base(class_name))
        for one in widget.findall("property"):
            if one.get("name") not in known and one.get("stdset") != "0":
                raise RuntimeError(
                    f"The .ui file sets {class_name}.{one.get('name')}, a property that it does not have."
                )


def _qt_properties(class_name: str) -> set[str]:
    meta = getattr(sys.modules["qt"], class_name).staticMetaObject
    return {meta.property(index).name() for index in range(meta.propertyCount())}


def _connect(widget, sender: str, signal: str, receiver: str, slot: str):
    source, target = _named(widget, sender), _named(widget, receiver)
    signals.check(source, signal)
    name, known = slot.split("(")[0], members.methods(type(target).__name__)
    if members.is_known(type(target).__name__) and name not in known and not _has_qt_slot(target, slot):
        raise RuntimeError(f"A connection in the .ui file names {receiver}'s slot {slot}, which it does not have.")
    getattr(source, signal.split("(")[0]).connect(getattr(target, name))


def _has_qt_slot(target, slot: str) -> bool:
    return target.metaObject().indexOfSlot(bytes(QtCore.QMetaObject.normalizedSignature(slot).data()).decode()) >= 0


def _named(widget, name: str):
    found = widget if widget.objectName() == name else widget.findChild(QtCore.QObject, name)
    if found is None:
        raise RuntimeError(f"A connection in the .ui file names {name}, which is not in it.")
    return found
