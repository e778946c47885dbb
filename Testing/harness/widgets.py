"""Small real widgets in place of Slicer's: ctkCollapsibleButton, qMRMLWidget, qMRMLNodeComboBox, on the real scene.

They offer what Slicer's offer to Python (properties, signals, public slots) and nothing else that panels could lean on.
"""

from __future__ import annotations

import types

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from harness.pythonqt import Strict


def _property(kind, name: str, default, changed: str = ""):
    """A Qt property kept in a Python attribute; the method ``changed`` is called when it is set."""

    def read(self):
        return self.__dict__.get("_" + name, default)

    def write(self, value):
        self.__dict__["_" + name] = value
        if changed:
            getattr(self, changed)()

    return Property(kind, read, write)


class ctkCollapsibleButton(Strict, QtWidgets.QWidget):
    _is_cpp = True
    contentsCollapsed = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setContentsMargins(4, 26, 4, 4)
        self._header = QtWidgets.QToolButton(self)
        self._header.setToolButtonStyle(QtCore.Qt.ToolButtonTextBesideIcon)
        self._header.clicked.connect(self._toggle)
        self._refresh()

    def _toggle(self):
        self.collapsed = not self.collapsed

    def _refresh(self):
        self._header.setText(self.text)
        self._header.setArrowType(QtCore.Qt.RightArrow if self.collapsed else QtCore.Qt.DownArrow)
        self.setMaximumHeight(26 if self.collapsed else 16777215)
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget) and child is not self._header:
                child.setVisible(not self.collapsed)
        self.contentsCollapsed.emit(bool(self.collapsed))

    def resizeEvent(self, event):
        self._header.setGeometry(0, 0, event.size().width(), 22)

    def childEvent(self, event):
        if self.collapsed and event.added() and isinstance(event.child(), QtWidgets.QWidget):
            event.child().setVisible(event.child() is self.__dict__.get("_header"))
        super().childEvent(event)

    text = _property(str, "text", "", "_refresh")
    collapsed = _property(bool, "collapsed", False, "_refresh")


class qMRMLWidget(Strict, QtWidgets.QWidget):
    _is_cpp = True
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene):
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self._scene


class qSlicerWidget(qMRMLWidget):
    """What Slicer makes as the parent of a module's panel."""

    _is_cpp = True
    isEntered = False


class qMRMLNodeComboBox(Strict, QtWidgets.QWidget):
    """Lists the nodes of the scene that Slicer's would list, with the entries None and Create new."""

    _is_cpp = True
    currentNodeChanged = Signal(object)
    nodeAddedByUser = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._id, self._tags = None, "", []
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo = QtWidgets.QComboBox()
        self._combo.activated.connect(self._activated)
        layout.addWidget(self._combo)

    def setMRMLScene(self, scene):
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene = scene
        events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent) if scene else ()
        self._tags = [scene.AddObserver(event, lambda *_: self._refresh()) for event in events]
        self._refresh()

    def mrmlScene(self):
        return self._scene

    def currentNode(self):
        return self._scene.GetNodeByID(self._id) if self._scene and self._id else None

    def setCurrentNode(self, node):
        self._select(node.GetID() if node else "")

    def addNode(self):
        node = self._scene.AddNewNodeByClass(self.nodeTypes[0], self.baseName)
        self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def nodeCount(self):
        return len(self._nodes())

    def _nodes(self):
        nodes = [self._scene.GetNthNode(n) for n in range(self._scene.GetNumberOfNodes())] if self._scene else []
        return [node for node in nodes if self._lists(node) and not node.GetHideFromEditors()]

    def _lists(self, node) -> bool:
        return any(node.IsA(t) if self.showChildNodeTypes else node.GetClassName() == t for t in self.nodeTypes)

    def _refresh(self):
        if not self.__dict__.get("_scene"):
            return
        nodes = self._nodes()
        self._combo.blockSignals(True)
        self._combo.clear()
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay, "")
        for node in nodes:
            self._combo.addItem(node.GetName(), node.GetID())
        if self.addEnabled:
            self._combo.addItem("Create new " + (self.baseName or self.nodeTypes[0]), "!create")
        self._combo.blockSignals(False)
        ids = [node.GetID() for node in nodes]
        keep_none = self.noneEnabled or not ids
        self._select(self._id if self._id in ids else "" if keep_none else ids[0])

    def _select(self, node_id: str):
        changed, self._id = node_id != self._id, node_id
        self._combo.setCurrentIndex(self._combo.findData(node_id))
        if changed:
            self.currentNodeChanged.emit(self.currentNode())

    def _activated(self, index: int):
        data = self._combo.itemData(index)
        self.addNode() if data == "!create" else self._select(data)

    nodeTypes = _property("QStringList", "nodeTypes", [], "_refresh")
    showChildNodeTypes = _property(bool, "showChildNodeTypes", True, "_refresh")
    noneEnabled = _property(bool, "noneEnabled", False, "_refresh")
    noneDisplay = _property(str, "noneDisplay", "None", "_refresh")
    addEnabled = _property(bool, "addEnabled", True, "_refresh")
    removeEnabled = _property(bool, "removeEnabled", True)
    renameEnabled = _property(bool, "renameEnabled", False)
    baseName = _property(str, "baseName", "")


def make_ctk() -> types.ModuleType:
    ctk = types.ModuleType("ctk")
    ctk.ctkCollapsibleButton = ctkCollapsibleButton
    return ctk


MRML_WIDGETS = (qMRMLWidget, qSlicerWidget, qMRMLNodeComboBox)
