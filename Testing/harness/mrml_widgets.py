"""Stand-ins for qMRMLWidget, qMRMLNodeComboBox and their like, on the real scene."""

from __future__ import annotations

import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from harness.ctk_widgets import ctkSliderWidget
from harness.pythonqt import Strict
from harness.widget_parts import Observers, declared


class _SceneWidget(Strict, QtWidgets.QWidget):
    """What both of Slicer's kinds of widgets with a scene are; only one of them shows its scene to Python."""

    _is_cpp = True
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qMRMLWidget(_SceneWidget):
    _is_cpp = True

    def mrmlScene(self):
        return self._scene


class qSlicerWidget(_SceneWidget):
    """What Slicer makes as the parent of a module's panel."""

    _is_cpp = True


class qMRMLSliderWidget(ctkSliderWidget):
    """A slider whose unit is the one that the scene says for a quantity; here it is not asked."""

    _is_cpp = True

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene):
        self._scene = scene

    def mrmlScene(self):
        return self._scene

    quantity = declared(str, "quantity", "")


class qMRMLNodeComboBox(Strict, QtWidgets.QWidget):
    """Lists the nodes that Slicer's would list, with the entries to make none, create, rename and delete.

    While the scene is loaded or closed nothing is updated, as in Slicer; after that once.
    """

    _is_cpp = True
    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    currentNodeRenamed = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    nodeAboutToBeEdited = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._id, self._wanted = None, "", None
        self._attributes, self._labels, self._actions = {}, {}, []
        self._scene_observers, self._node_observers, self._listed = Observers(), Observers(), []
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Fixed)
        self._combo = QtWidgets.QComboBox()
        self._combo.activated.connect(self._activated)
        layout.addWidget(self._combo)
        self.setEnabled(False)

    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        self._scene_observers.clear()
        self._scene = scene
        if scene is not None:
            self._scene_observers.add(scene, [scene.NodeAddedEvent, scene.EndBatchProcessEvent], self._scene_changed)
            # With this priority Slicer's list of nodes observes: after everybody else.
            leaving = [scene.NodeAboutToBeRemovedEvent]
            self._scene_observers.add(scene, leaving, self._node_leaves, with_node=True, priority=-10.0)
        self.setEnabled(scene is not None)
        wanted, self._wanted = self._wanted, None
        self._refresh()
        if scene is not None and wanted is not None:
            self._select(wanted)

    def mrmlScene(self):
        return self._scene

    def currentNode(self):
        return self._scene.GetNodeByID(self._id) if self._scene and self._id else None

    def setCurrentNode(self, node):
        self._ask_for((node.GetID() or "") if node is not None else "")

    def setCurrentNodeID(self, nodeID):
        self._ask_for(nodeID or "")

    def setCurrentNodeIndex(self, index: int):
        self.setCurrentNode(self.nodeFromIndex(index))

    def nodeFromIndex(self, index: int):
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def nodeCount(self) -> int:
        return len(self._nodes())

    def addAttribute(self, nodeType, attributeName, attributeValue=None):
        """List only nodes with this attribute; new nodes get it."""
        self._attributes[nodeType, attributeName] = attributeValue
        self._refresh()

    def removeAttribute(self, nodeType, attributeName):
        self._attributes.pop((nodeType, attributeName), None)
        self._refresh()

    def addMenuAction(self, action):
        self._actions.append(action)
        self._refresh()

    def setNodeTypeLabel(self, label, nodeType):
        self._labels[nodeType] = label
        self._refresh()

    def nodeTypeLabel(self, nodeType) -> str:
        known = self._scene.GetTypeDisplayNameByClassName(nodeType) if self._scene else ""
        return self._labels.get(nodeType) or known or "node"

    def addNode(self, nodeType=None):
        nodeType = nodeType or (self.nodeTypes[0] if self.nodeTypes else None)
        if nodeType not in self.nodeTypes:
            return None
        name = self.baseName or self._scene.GetTagByClassName(nodeType)
        node = self._scene.CreateNodeByClass(nodeType)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(name))
        for (_, attribute), value in self._attributes.items():
            node.SetAttribute(attribute, "" if value is None else str(value))
        node = self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self):
        self._scene.RemoveNode(self.currentNode())

    def editCurrentNode(self):
        self.nodeAboutToBeEdited.emit(self.currentNode())

    def renameCurrentNode(self):
        node = self.currentNode()
        if node is None:
            return
        title = f"Rename {self.nodeTypeLabel(node.GetClassName())}"
        name, accepted = QtWidgets.QInputDialog.getText(self, title, "New name:", text=node.GetName())
        if accepted and name:
            node.SetName(name)
            self.currentNodeRenamed.emit(name)

    def _ask_for(self, node_id: str):
        if self._scene is None:
            self._wanted = node_id
        else:
            self._select(node_id)

    def _nodes(self) -> list:
        if self._scene is None or not self.nodeTypes:
            return []
        return [
            node for node in map(self._scene.GetNthNode, range(self._scene.GetNumberOfNodes())) if self._lists(node)
        ]

    def _lists(self, node) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        is_type = any(node.IsA(t) if self.showChildNodeTypes else node.GetClassName() == t for t in self.nodeTypes)
        if not is_type or any(node.IsA(t) for t in self.hideChildNodeTypes):
            return False
        return all(
            node.GetAttribute(name) is not None if value is None else node.GetAttribute(name) == str(value)
            for (node_type, name), value in self._attributes.items()
            if node.IsA(node_type)
        )

    def _scene_changed(self):
        if not self._scene.IsBatchProcessing():
            self._refresh()

    def _node_leaves(self, node):
        """As in Slicer, a node goes from the list while it is still in the scene."""
        if not self._scene.IsBatchProcessing() and node.GetID() in [one for one, _ in self._listed]:
            self.nodeAboutToBeRemoved.emit(node)
            self._refresh(without=node)

    def _node_changed(self):
        """Some node was modified: it may have another name, or be hidden.

        A current node that was renamed is announced as changed, since Slicer goes by the text that is shown.
        """
        if self._scene is None or self._scene.IsBatchProcessing():
            return
        before = dict(self._listed)
        if [(node.GetID(), node.GetName()) for node in self._nodes()] != self._listed:
            current = self._id
            self._refresh()
            if self._id and self._id == current and before.get(current) != dict(self._listed)[current]:
                self._announce()

    def _refresh(self, without=None):
        if self.__dict__.get("_combo") is None:
            return
        nodes = [node for node in self._nodes() if node is not without]
        listed = [(node.GetID(), node.GetName()) for node in nodes]
        before, self._listed = self._listed, listed
        self._observe()
        self._fill(listed)
        ids, old_ids = [one for one, _ in listed], [one for one, _ in before]
        self._select(self._id if self._id in ids else self._instead_of(self._id, old_ids, ids))
        for node in nodes:
            if before and node.GetID() not in old_ids:
                self.nodeAdded.emit(node)

    def _observe(self):
        self._node_observers.clear()
        if self._scene is None or not self.nodeTypes:
            return
        every = [self._scene.GetNthNode(n) for n in range(self._scene.GetNumberOfNodes())]
        for node in [one for one in every if any(one.IsA(t) for t in self.nodeTypes)]:
            self._node_observers.add(node, [vtk.vtkCommand.ModifiedEvent], self._node_changed)

    def _instead_of(self, node_id: str, old_ids: list[str], ids: list[str]) -> str:
        """What is chosen when the current node has gone: the entry that comes into its place, or the last node.

        In a list that was empty, the first node is chosen unless there may be none.
        """
        if node_id in old_ids:
            after = [one for one in old_ids[old_ids.index(node_id) :] if one in ids]
            return after[0] if after else ids[-1] if ids else ""
        return "" if self.noneEnabled or not ids else ids[0]

    def _fill(self, listed):
        combo, font = self._combo, QtGui.QFont(self.font)
        combo.blockSignals(True)
        combo.clear()
        if self.noneEnabled:
            combo.addItem(self.noneDisplay, "")
        for node_id, name in listed:
            combo.addItem(name, node_id)
        extra = self._extra_items()
        if extra:
            combo.insertSeparator(combo.count)
        font.setItalic(True)
        for text, data in extra:
            combo.addItem(text, data)
            combo.setItemData(combo.count - 1, font, QtCore.Qt.FontRole)
        label = self.nodeTypeLabel(self.nodeTypes[0]) if self.nodeTypes else "node"
        combo.setPlaceholderText(f"Select a {label}")
        combo.setCurrentIndex(combo.findData(self._id))
        combo.blockSignals(False)

    def _extra_items(self) -> list[tuple[str, str]]:
        if self._scene is None:
            return []
        one = self.nodeTypeLabel(self.nodeTypes[0] if len(self.nodeTypes) == 1 else "")
        items = [(f"Rename current {one}", "!rename")] if self.renameEnabled else []
        items += [(f"Edit current {one}", "!edit")] if self.editEnabled else []
        if self.addEnabled:
            items += [(f"Create new {self.nodeTypeLabel(t)}", f"!create/{t}") for t in self.nodeTypes]
        items += [(f"Delete current {one}", "!delete")] if self.removeEnabled else []
        return items + [(action.text, f"!action/{number}") for number, action in enumerate(self._actions)]

    def _select(self, node_id: str):
        if node_id and node_id not in [one for one, _ in self._listed]:
            node_id = ""  # as in Slicer: a node that is not listed cannot be chosen
        changed, self._id = node_id != self._id, node_id
        self._combo.setCurrentIndex(self._combo.findData(node_id))
        if changed:
            self._announce()

    def _announce(self):
        self.currentNodeChanged.emit(self.currentNode())
        self.currentNodeIDChanged.emit(self._id)

    def _activated(self, index: int):
        """The user picked an entry."""
        command, _, argument = (self._combo.itemData(index) or "").partition("/")
        if not command.startswith("!"):
            self._select(command)
            self.nodeActivated.emit(self.currentNode())
            return
        self._combo.setCurrentIndex(self._combo.findData(self._id))
        if command == "!create":
            node = self.addNode(argument)
            self.setCurrentNode(node)
            self.nodeAddedByUser.emit(node)  # Slicer tells it twice: addNode does so, too
        elif command == "!action":
            self._actions[int(argument)].trigger()
        elif self.currentNode() is not None:
            {"!rename": self.renameCurrentNode, "!edit": self.editCurrentNode, "!delete": self.removeCurrentNode}[
                command
            ]()

    def _adjust(self):
        self._combo.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy(self.sizeAdjustPolicy))

    nodeTypes = declared("QStringList", "nodeTypes", [], "_refresh")
    hideChildNodeTypes = declared("QStringList", "hideChildNodeTypes", [], "_refresh")
    showChildNodeTypes = declared(bool, "showChildNodeTypes", True, "_refresh")
    showHidden = declared(bool, "showHidden", False, "_refresh")
    noneEnabled = declared(bool, "noneEnabled", False, "_refresh")
    noneDisplay = declared(str, "noneDisplay", "None", "_refresh")
    addEnabled = declared(bool, "addEnabled", True, "_refresh")
    removeEnabled = declared(bool, "removeEnabled", True, "_refresh")
    renameEnabled = declared(bool, "renameEnabled", False, "_refresh")
    editEnabled = declared(bool, "editEnabled", False, "_refresh")
    selectNodeUponCreation = declared(bool, "selectNodeUponCreation", True)
    baseName = declared(str, "baseName", "")
    interactionNodeSingletonTag = declared(str, "interactionNodeSingletonTag", "Singleton")
    sizeAdjustPolicy = declared(int, "sizeAdjustPolicy", 1, "_adjust")
    currentNodeID = Property(str, lambda self: self._id, setCurrentNodeID)
