"""The views beside a panel: Slicer's layout manager with real slice and view nodes and their logics.

``slicer.app.layoutManager()`` gives None, as in Slicer without a window, until ``open_views`` is called.
"""

from __future__ import annotations

import contextlib

import slicer
import vtk
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from harness.mrml_widgets import qMRMLWidget
from harness.pythonqt import Strict
from harness.widget_parts import Observers

VIEW_SIZE = (400, 300)  # pixels; fields of view are fitted to it
_closed_logics = []


class qMRMLSliceControllerWidget(qMRMLWidget):
    """The bar above a slice view."""

    _is_cpp = True

    def __init__(self, view_widget):
        super().__init__(view_widget)
        self._view_widget = view_widget

    def sliceLogic(self):
        return self._view_widget.sliceLogic()

    def mrmlSliceNode(self):
        return self._view_widget.mrmlSliceNode()

    def mrmlSliceCompositeNode(self):
        return self._view_widget.mrmlSliceCompositeNode()

    def fitSliceToBackground(self):
        self._view_widget.fitSliceToBackground()

    def setSliceOffsetValue(self, offset):
        self.sliceLogic().StartSliceOffsetInteraction()
        self.sliceLogic().SetSliceOffset(offset)
        self.sliceLogic().EndSliceOffsetInteraction()

    trackSliceOffsetValue = setSliceOffsetValue

    def setSliceVisible(self, visible):
        self.mrmlSliceNode().SetSliceVisible(visible)

    def setSliceLink(self, linked):
        self.mrmlSliceCompositeNode().SetLinkedControl(linked)

    def rotateSliceToLowestVolumeAxes(self):
        self.sliceLogic().RotateSliceToLowestVolumeAxes()

    def setSliceOrientation(self, orientation):
        self.mrmlSliceNode().SetOrientation(orientation)


class qMRMLSliceView(qMRMLWidget):
    """Where a slice is drawn."""

    _is_cpp = True

    def __init__(self, view_widget):
        super().__init__(view_widget)
        self._view_widget = view_widget

    def mrmlSliceNode(self):
        return self._view_widget.mrmlSliceNode()

    def convertXYZToRAS(self, xyz) -> tuple:
        return tuple(self.mrmlSliceNode().GetXYToRAS().MultiplyPoint((*xyz, 1.0))[:3])

    def convertRASToXYZ(self, ras) -> tuple:
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.mrmlSliceNode().GetXYToRAS(), inverse)
        return tuple(inverse.MultiplyPoint((*ras, 1.0))[:3])

    def scheduleRender(self):
        pass

    forceRender = scheduleRender


class qMRMLSliceWidget(qMRMLWidget):
    """One slice view with its bar, on a real slice logic."""

    _is_cpp = True

    def __init__(self, node):
        super().__init__()
        self.setMRMLScene(slicer.mrmlScene)
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._logic.SetSliceNode(node)
        self._logic.ResizeSliceNode(*VIEW_SIZE)
        self._controller, self._view = qMRMLSliceControllerWidget(self), qMRMLSliceView(self)

    def sliceLogic(self):
        return self._logic

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    def sliceController(self):
        return self._controller

    def sliceView(self):
        return self._view

    def fitSliceToBackground(self):
        self._logic.FitSliceToBackground(False)

    sliceViewName = Property(str, lambda self: self.mrmlSliceNode().GetLayoutName())
    sliceOrientation = Property(str, lambda self: self.mrmlSliceNode().GetOrientation())


class qMRMLThreeDView(qMRMLWidget):
    """Where surfaces and volumes are drawn."""

    _is_cpp = True

    def __init__(self, view_widget):
        super().__init__(view_widget)
        self._view_widget = view_widget

    def mrmlViewNode(self):
        return self._view_widget.mrmlViewNode()

    def cameraNode(self):
        return slicer.modules.cameras.logic().GetViewActiveCameraNode(self.mrmlViewNode())

    def resetFocalPoint(self):
        pass

    def resetCamera(self, resetRotation=True, resetTranslation=True, resetDistance=True):
        pass

    def scheduleRender(self):
        pass

    forceRender = scheduleRender


class qMRMLThreeDWidget(qMRMLWidget):
    """One 3D view."""

    _is_cpp = True

    def __init__(self, node):
        super().__init__()
        self.setMRMLScene(slicer.mrmlScene)
        self._logic = slicer.vtkMRMLViewLogic()
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._node, self._view = node, qMRMLThreeDView(self)

    def mrmlViewNode(self):
        return self._node

    def viewLogic(self):
        return self._logic

    def threeDView(self):
        return self._view


class qSlicerLayoutManager(Strict, QtCore.QObject):
    """Gives the views of the current layout; slice views keep their names when the layout changes."""

    _is_cpp = True
    layoutChanged = Signal(int)

    def __init__(self):
        super().__init__()
        self._layout_logic = slicer.vtkMRMLLayoutLogic()
        self._layout_logic.SetMRMLScene(slicer.mrmlScene)
        self._slices, self._three_d, self._observers = {}, [], Observers()
        layout_node = self._layout_logic.GetLayoutNode()
        self._observers.add(layout_node, [vtk.vtkCommand.ModifiedEvent], self._follow)
        self._arrangement = None
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

    def viewWidget(self, node):
        widgets = [*self._slices.values(), *self._three_d]
        return next((one for one in widgets if getattr(one, "mrmlSliceNode", one.mrmlViewNode)() is node), None)

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
        """Make widgets for the view nodes of the layout that have none yet."""
        arrangement = self._layout_logic.GetLayoutNode().GetViewArrangement()
        nodes = self._layout_logic.GetViewNodes()
        for node in map(nodes.GetItemAsObject, range(nodes.GetNumberOfItems())):
            if node.IsA("vtkMRMLSliceNode") and node.GetLayoutName() not in self._slices:
                widget = self._slices[node.GetLayoutName()] = qMRMLSliceWidget(node)
                self.mrmlSliceLogics().AddItem(widget.sliceLogic())
            elif node.IsA("vtkMRMLViewNode") and node not in [one.mrmlViewNode() for one in self._three_d]:
                self._three_d.append(qMRMLThreeDWidget(node))
                self.mrmlViewLogics().AddItem(self._three_d[-1].viewLogic())
        if arrangement != self._arrangement:
            self._arrangement = arrangement
            self.layoutChanged.emit(arrangement)

    def _close(self):
        """Let the application and the scene forget the views.

        The logics go first, and stay alive without a scene: one that is destroyed with its nodes leaves ruins behind.
        """
        self._observers.clear()
        for logics in (self.mrmlSliceLogics(), self.mrmlViewLogics()):
            logics.RemoveAllItems()
        nodes = []
        for widget in self._slices.values():
            logic = widget.sliceLogic()
            nodes += [logic.GetSliceModelNode(), logic.GetSliceModelDisplayNode(), logic.GetSliceModelTransformNode()]
            nodes += [logic.GetSliceCompositeNode(), logic.GetSliceNode()]
        nodes += [widget.mrmlViewNode() for widget in self._three_d] + [self._layout_logic.GetLayoutNode()]
        for logic in (self._layout_logic, *(one._logic for one in (*self._slices.values(), *self._three_d))):
            logic.SetMRMLScene(None)
            _closed_logics.append(logic)
        for node in nodes:
            if node is not None and node.GetScene() is not None:
                slicer.mrmlScene.RemoveNode(node)
        for widget in (*self._slices.values(), *self._three_d):
            widget.deleteLater()

    layout = Property(int, lambda self: self._layout_logic.GetLayoutNode().GetViewArrangement(), setLayout)
    threeDViewCount = Property(int, lambda self: len(self._three_d))
    tableViewCount = Property(int, lambda self: 0)
    plotViewCount = Property(int, lambda self: 0)


class qSlicerMainWindow(Strict, QtWidgets.QMainWindow):
    """The window that ``slicer.util.mainWindow()`` finds."""

    _is_cpp = True
    objectName = "qSlicerMainWindow"  # slicer.util compares it as an attribute


@contextlib.contextmanager
def open_views():
    """In the block, Slicer has a main window and a layout manager, which is given; after it, no node of them is left.

    >>> with open_views() as layout_manager:
    ...     layout_manager.sliceWidget("Red").sliceLogic().GetSliceOffset()
    """
    manager, window = qSlicerLayoutManager(), qSlicerMainWindow()
    slicer.app.layoutManager = lambda: manager
    slicer.app.mainWindow = lambda: window
    try:
        yield manager
    finally:
        del slicer.app.layoutManager, slicer.app.mainWindow
        manager._close()
        window.deleteLater()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
