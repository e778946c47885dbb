"""The views beside a panel: Slicer's layout manager with real slice and view nodes and their logics.

``slicer.app.layoutManager()`` gives None, as in Slicer without a window, until ``open_views`` is called.
"""

from __future__ import annotations

import contextlib

import slicer
import vtk
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from harness.node_views import qMRMLPlotWidget, qMRMLTableWidget
from harness.pythonqt import Strict
from harness.view_rendering import release_managers
from harness.view_widgets import qMRMLSliceWidget, qMRMLThreeDWidget
from harness.widget_parts import Observers

_closed_logics = []  # see qSlicerLayoutManager._close


class qSlicerLayoutManager(Strict, QtCore.QObject):
    """Gives the views of the current layout; slice views keep their names when the layout changes."""

    _is_cpp = True
    layoutChanged = Signal(int)

    def __init__(self):
        super().__init__()
        self._layout_logic = slicer.vtkMRMLLayoutLogic()
        self._layout_logic.SetMRMLScene(slicer.mrmlScene)
        self._slices, self._three_d, self._tables, self._plots = {}, [], [], []
        self._observers, self._shown_nodes = Observers(), []
        layout_node = self._layout_logic.GetLayoutNode()
        self._observers.add(layout_node, [vtk.vtkCommand.ModifiedEvent], self._follow)
        self._observers.add(slicer.mrmlScene, [slicer.vtkMRMLScene.EndBatchProcessEvent], self._follow)
        self._arrangement, self._viewport = None, QtWidgets.QWidget()
        grid = QtWidgets.QGridLayout(self._viewport)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(2)
        self.setLayout(layout_node.SlicerLayoutFourUpView)
        self._follow()

    def layoutLogic(self):
        return self._layout_logic

    def mrmlScene(self):
        return slicer.mrmlScene

    def setLayout(self, layout):
        self._layout_logic.GetLayoutNode().SetViewArrangement(layout)

    def sliceViewNames(self) -> tuple:
        return tuple(self._slices)

    def sliceWidget(self, name):
        return self._slices.get(name)

    def threeDWidget(self, index):
        return self._three_d[index] if 0 <= index < len(self._three_d) else None

    def tableWidget(self, index):
        return self._tables[index] if 0 <= index < len(self._tables) else None

    def plotWidget(self, index):
        return self._plots[index] if 0 <= index < len(self._plots) else None

    def viewWidget(self, node):
        return next((one for one in self._widgets() if one._view_node() is node), None)

    def mrmlSliceLogics(self):
        return slicer.app.applicationLogic().GetSliceLogics()

    def mrmlViewLogics(self):
        return slicer.app.applicationLogic().GetViewLogics()

    def activeMRMLThreeDViewNode(self):
        return self._three_d[0].mrmlViewNode() if self._three_d else None

    def resetSliceViews(self):
        for widget in self._slices.values():
            widget.sliceLogic().FitSliceToAll(True)

    def resetThreeDViews(self):
        for widget in self._three_d:
            widget.threeDView().resetFocalPoint()

    def setRenderPaused(self, pause):
        pass

    def pauseRender(self):
        pass

    def resumeRender(self):
        pass

    def _follow(self):
        """Make widgets for the view nodes of the layout that have none yet, and show those of the layout."""
        arrangement = self._layout_logic.GetLayoutNode().GetViewArrangement()
        if slicer.mrmlScene.IsBatchProcessing():
            return
        nodes = self._layout_logic.GetViewNodes()
        nodes = [nodes.GetItemAsObject(number) for number in range(nodes.GetNumberOfItems())]
        if arrangement == self._arrangement and nodes == self._shown_nodes:
            return
        for node in nodes:
            if self.viewWidget(node) is None:
                self._add(node)
        self._shown_nodes = nodes
        self._arrange([self.viewWidget(node) for node in nodes if self.viewWidget(node) is not None])
        if arrangement != self._arrangement:
            self._arrangement = arrangement
            self.layoutChanged.emit(arrangement)

    def _add(self, node):
        if node.IsA("vtkMRMLSliceNode"):
            widget = self._slices[node.GetLayoutName()] = qMRMLSliceWidget(node)
            self.mrmlSliceLogics().AddItem(widget.sliceLogic())
        elif node.IsA("vtkMRMLViewNode"):
            self._three_d.append(qMRMLThreeDWidget(node))
            self.mrmlViewLogics().AddItem(self._three_d[-1].viewLogic())
        elif node.IsA("vtkMRMLTableViewNode"):
            self._tables.append(qMRMLTableWidget(node))
        elif node.IsA("vtkMRMLPlotViewNode"):
            self._plots.append(qMRMLPlotWidget(node))

    def _widgets(self) -> list:
        return [*self._slices.values(), *self._three_d, *self._tables, *self._plots]

    def _arrange(self, widgets):
        """Put these views side by side, as many in a row as there are rows; the last one takes what is left."""
        grid, columns = self._viewport.layout(), max(1, round(len(widgets) ** 0.5))
        for widget in self._widgets():
            grid.removeWidget(widget)
            widget.setParent(self._viewport)
            widget.hide()
        for number, widget in enumerate(widgets):
            is_last = number == len(widgets) - 1
            span = columns - number % columns if is_last else 1
            grid.addWidget(widget, number // columns, number % columns, 1, span)
            widget.show()

    def _close(self):
        """Let the application and the scene forget the views.

        The logics go first, and stay alive without a scene: one that is destroyed with its nodes leaves ruins behind.
        """
        self._observers.clear()
        for logics in (self.mrmlSliceLogics(), self.mrmlViewLogics()):
            logics.RemoveAllItems()
        nodes = [node for widget in self._slices.values() for node in _nodes_of_slice(widget.sliceLogic())]
        nodes += [widget.threeDView().cameraNode() for widget in self._three_d]
        nodes += [widget._view_node() for widget in self._widgets()] + [self._layout_logic.GetLayoutNode()]
        for widget in self._widgets():
            widget._close()
        release_managers()
        for logic in (self._layout_logic, *(one._logic for one in (*self._slices.values(), *self._three_d))):
            logic.SetMRMLScene(None)
            _closed_logics.append(logic)
        for node in nodes:
            if node is not None and node.GetScene() is not None:
                slicer.mrmlScene.RemoveNode(node)

    layout = Property(int, lambda self: self._layout_logic.GetLayoutNode().GetViewArrangement(), setLayout)
    threeDViewCount = Property(int, lambda self: len(self._three_d))
    tableViewCount = Property(int, lambda self: len(self._tables))
    plotViewCount = Property(int, lambda self: len(self._plots))


def _nodes_of_slice(logic) -> list:
    return [
        logic.GetSliceModelNode(), logic.GetSliceModelDisplayNode(), logic.GetSliceModelTransformNode(),
        logic.GetSliceCompositeNode(),
    ]  # fmt: skip


class qSlicerMainWindow(Strict, QtWidgets.QMainWindow):
    """The window that ``slicer.util.mainWindow()`` finds."""

    _is_cpp = True

    def __init__(self):
        super().__init__()
        self.setObjectName("qSlicerMainWindow")


@contextlib.contextmanager
def open_views():
    """In the block, Slicer has a main window and a layout manager, which is given; after it, no node of them is left.

    >>> with open_views() as layout_manager:
    ...     layout_manager.sliceWidget("Red").sliceLogic().GetSliceOffset()
    """
    manager, window = qSlicerLayoutManager(), qSlicerMainWindow()
    window.setCentralWidget(manager._viewport)
    slicer.app.layoutManager = lambda: manager
    slicer.app.mainWindow = lambda: window
    try:
        yield manager
    finally:
        del slicer.app.layoutManager, slicer.app.mainWindow
        manager._close()
        window.deleteLater()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
