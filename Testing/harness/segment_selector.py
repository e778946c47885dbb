"""A stand-in for qMRMLSegmentSelectorWidget: choose a segmentation, and one of its segments."""

from __future__ import annotations

from PySide6 import QtWidgets
from PySide6.QtCore import Signal

from harness.mrml_widgets import qMRMLNodeComboBox, qMRMLWidget
from harness.widget_parts import Observers, declared


class qMRMLSegmentSelectorWidget(qMRMLWidget):
    """The first segment is chosen when a segmentation is, unless the one that was chosen is in it too."""

    _is_cpp = True
    currentNodeChanged = Signal(object)
    currentSegmentChanged = Signal(str)
    segmentSelectionChanged = Signal("QStringList")
    nodeAboutToBeEdited = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._segment, self._observers = "", Observers()
        layout = QtWidgets.QBoxLayout(QtWidgets.QBoxLayout.TopToBottom, self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._nodes, self._segments = qMRMLNodeComboBox(), QtWidgets.QComboBox()
        self._nodes.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._nodes.addEnabled = self._nodes.removeEnabled = False
        self._message = QtWidgets.QLabel()
        for widget in (self._nodes, self._segments, self._message):
            layout.addWidget(widget)
        self._nodes.currentNodeChanged.connect(self._on_node)
        self._segments.currentIndexChanged.connect(self._on_segment)
        self._populate()

    def setMRMLScene(self, scene):
        super().setMRMLScene(scene)
        self._nodes.setMRMLScene(scene)

    def currentNode(self):
        return self._nodes.currentNode()

    def currentNodeID(self) -> str:
        return self._nodes.currentNodeID

    def setCurrentNode(self, node):
        self._nodes.setCurrentNode(node)

    def setCurrentNodeID(self, nodeID):
        self._nodes.setCurrentNodeID(nodeID)

    def currentSegmentID(self) -> str:
        return self._segment

    def setCurrentSegmentID(self, segmentID):
        index = self._segments.findData(segmentID)
        if index >= 0:
            self._segments.setCurrentIndex(index)

    def segmentIDs(self) -> tuple:
        node = self.currentNode()
        return tuple(node.GetSegmentation().GetSegmentIDs()) if node else ()

    def _on_node(self, node):
        import slicer

        events = (slicer.vtkSegmentation.SegmentAdded, slicer.vtkSegmentation.SegmentRemoved)
        events += (slicer.vtkSegmentation.SegmentModified,)
        self._observers.replace(node, events, self._populate)
        self._populate()
        self.currentNodeChanged.emit(node)

    def _populate(self):
        ids = self.segmentIDs()
        self._segments.blockSignals(True)
        self._segments.clear()
        if self.noneEnabled:
            self._segments.addItem("None", "")
        for segment_id in ids:
            self._segments.addItem(self.currentNode().GetSegmentation().GetSegment(segment_id).GetName(), segment_id)
        self._segments.setCurrentIndex(-1)
        known = self._segments.findData(self._segment) if self._segment in ids else 0 if self.noneEnabled else -1
        if self._segment in ids or (self.noneEnabled and not self._segment):
            self._segments.setCurrentIndex(known)
        self._segments.blockSignals(False)
        self._segments.setVisible(bool(ids))
        self._message.setVisible(not ids)
        self._message.setText("No segments in segmentation" if self.currentNode() else "No node is selected")
        if ids and self._segments.currentIndex < 0:
            self._segments.setCurrentIndex(1 if self.noneEnabled else 0)

    def _on_segment(self, index: int):
        self._segment = self._segments.itemData(index) or ""
        self.currentSegmentChanged.emit(self._segment)

    def _arrange(self):
        directions = QtWidgets.QBoxLayout.LeftToRight, QtWidgets.QBoxLayout.TopToBottom
        self.layout().setDirection(directions[0] if self.horizontalLayout else directions[1])

    def _enable(self):
        self._nodes.noneEnabled = self.noneEnabled
        self._populate()

    def _show_nodes(self):
        self._nodes.setVisible(self.segmentationNodeSelectorVisible)

    noneEnabled = declared(bool, "noneEnabled", False, "_enable")
    editEnabled = declared(bool, "editEnabled", False)
    horizontalLayout = declared(bool, "horizontalLayout", False, "_arrange")
    segmentationNodeSelectorVisible = declared(bool, "segmentationNodeSelectorVisible", True, "_show_nodes")
    selectNodeUponCreation = declared(bool, "selectNodeUponCreation", True)
