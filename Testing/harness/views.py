"""The views beside a panel: Slicer's layout manager with real slice and view nodes and their logics.

``slicer.app.layoutManager()`` gives None, as in Slicer without a window, until ``open_views`` is called.
"""

from __future__ import annotations

import contextlib

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from harness.mrml_widgets import qMRMLWidget
from harness.pythonqt import Strict
from harness.view_rendering import SliceRendering, ThreeDRendering, release_managers
from harness.widget_parts import Observers

VIEW_SIZE = (400, 300)  # pixels; fields of view are fitted to it
_closed_logics = []


class qMRMLSliceControllerWidget(qMRMLWidget):
    """The bar above a slice view: its letter and color, and a slider for the slice."""

    _is_cpp = True

    def __init__(self, view_widget):
        super().__init__(view_widget)
        self._view_widget, self._observers = view_widget, Observers()
        node = view_widget.mrmlSliceNode()
        self._slider, _ = _bar(
            self, node.GetLayoutLabel(), node.GetLayoutColor(), QtWidgets.QSlider(QtCore.Qt.Horizontal)
        )
        self._text = QtWidgets.QLabel()
        self.layout().addWidget(self._text)
        self._slider.valueChanged.connect(lambda value: self.setSliceOffsetValue(value / 10))
        self._observers.add(view_widget.sliceLogic(), [vtk.vtkCommand.ModifiedEvent], self._show)
        self._observers.add(node, [vtk.vtkCommand.ModifiedEvent], self._show)
        self._show()

    def _show(self):
        logic = self.sliceLogic()
        if logic.GetMRMLScene() is None or logic.GetMRMLScene().IsBatchProcessing():
            return
        bounds, offset = [0.0] * 6, logic.GetSliceOffset()
        logic.GetLowestVolumeSliceBounds(bounds)
        self._slider.blockSignals(True)
        if bounds[4] <= bounds[5]:
            self._slider.setRange(round(10 * bounds[4]), round(10 * bounds[5]))
        self._slider.setValue(round(10 * offset))
        self._slider.blockSignals(False)
        side = {"Axial": "SI", "Coronal": "AP", "Sagittal": "LR"}.get(self.mrmlSliceNode().GetOrientation(), "  ")
        self._text.setText(f"{side[int(offset < 0)]}: {abs(offset):.1f} mm")
        self._view_widget.sliceView().scheduleRender()

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


class _View(Strict, QtWidgets.QWidget):
    """Where a view is drawn. The first drawing makes the renderer, so views that are never seen cost nothing."""

    def __init__(self, view_widget):
        super().__init__(view_widget)
        self._view_widget, self._rendering = view_widget, None
        self.setMinimumSize(60, 60)
        self.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Expanding)

    def setMRMLScene(self, scene):
        pass

    def scheduleRender(self):
        if shiboken6.isValid(self):
            self.update()

    def forceRender(self):
        self.repaint()

    def paintEvent(self, event):
        if self._rendering is None:
            self._rendering = self._make_rendering()
        painter = QtGui.QPainter(self)
        painter.drawImage(self.rect, self._rendering.image(max(self.rect.width(), 8), max(self.rect.height(), 8)))
        painter.end()

    def _close(self):
        if self._rendering is not None:
            self._rendering.close()
            self._rendering = None


class qMRMLSliceView(_View):
    _is_cpp = True

    def _make_rendering(self):
        return SliceRendering(self._view_widget.sliceLogic(), self.scheduleRender)

    def resizeEvent(self, event):
        self._view_widget.sliceLogic().ResizeSliceNode(max(event.size().width(), 8), max(event.size().height(), 8))

    def mrmlSliceNode(self):
        return self._view_widget.mrmlSliceNode()

    def convertXYZToRAS(self, xyz) -> tuple:
        return tuple(self.mrmlSliceNode().GetXYToRAS().MultiplyPoint((*xyz, 1.0))[:3])

    def convertRASToXYZ(self, ras) -> tuple:
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.mrmlSliceNode().GetXYToRAS(), inverse)
        return tuple(inverse.MultiplyPoint((*ras, 1.0))[:3])


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
        self._view = qMRMLSliceView(self)
        self._controller = qMRMLSliceControllerWidget(self)
        _stack(self, self._controller, self._view)

    def sliceLogic(self):
        return self._logic

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    _view_node = mrmlSliceNode

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


class qMRMLThreeDView(_View):
    _is_cpp = True

    def __init__(self, view_widget):
        super().__init__(view_widget)
        self._waiting = []  # what to do with the camera when there is one

    def _make_rendering(self):
        rendering = ThreeDRendering(self.mrmlViewNode(), self.scheduleRender)
        for name in self._waiting:
            getattr(rendering, name)()
        return rendering

    def mrmlViewNode(self):
        return self._view_widget.mrmlViewNode()

    def cameraNode(self):
        """None until the view is drawn."""
        return self._rendering.camera_node() if self._rendering is not None else None

    def resetFocalPoint(self):
        self._move_camera("reset_focal_point")

    def resetCamera(self, resetRotation=True, resetTranslation=True, resetDistance=True):
        self._move_camera("reset_camera")

    def _move_camera(self, name: str):
        if self._rendering is None:
            self._waiting.append(name)
        else:
            getattr(self._rendering, name)()
            self.scheduleRender()


class qMRMLThreeDViewControllerWidget(qMRMLWidget):
    """The bar above a 3D view."""

    _is_cpp = True

    def __init__(self, view_widget):
        super().__init__(view_widget)
        self._view_widget = view_widget
        node = view_widget.mrmlViewNode()
        _bar(self, node.GetLayoutLabel() or "1", node.GetLayoutColor(), QtWidgets.QLabel())

    def mrmlThreeDViewNode(self):
        return self._view_widget.mrmlViewNode()

    def resetFocalPoint(self):
        self._view_widget.threeDView().resetFocalPoint()


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
        self._controller = qMRMLThreeDViewControllerWidget(self)
        _stack(self, self._controller, self._view)

    def mrmlViewNode(self):
        return self._node

    _view_node = mrmlViewNode

    def viewLogic(self):
        return self._logic

    def threeDView(self):
        return self._view

    def threeDController(self):
        return self._controller


def _bar(controller, letter: str, color, widget):
    layout = QtWidgets.QHBoxLayout(controller)
    layout.setContentsMargins(0, 0, 6, 0)
    label = QtWidgets.QLabel(letter)
    label.setAlignment(QtCore.Qt.AlignCenter)
    label.setFixedWidth(24)
    red, green, blue = (round(255 * part) for part in color)
    label.setStyleSheet(f"background: rgb({red}, {green}, {blue}); color: black")
    controller.setFixedHeight(22)
    layout.addWidget(label)
    layout.addWidget(widget, 1)
    return widget, label


def _stack(view_widget, controller, view):
    layout = QtWidgets.QVBoxLayout(view_widget)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    layout.addWidget(controller)
    layout.addWidget(view, 1)


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

    def viewWidget(self, node):
        widgets = [*self._slices.values(), *self._three_d]
        return next((one for one in widgets if one._view_node() is node), None)

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
        if arrangement == self._arrangement or slicer.mrmlScene.IsBatchProcessing():
            return
        nodes = self._layout_logic.GetViewNodes()
        for node in map(nodes.GetItemAsObject, range(nodes.GetNumberOfItems())):
            if node.IsA("vtkMRMLSliceNode") and node.GetLayoutName() not in self._slices:
                widget = self._slices[node.GetLayoutName()] = qMRMLSliceWidget(node)
                self.mrmlSliceLogics().AddItem(widget.sliceLogic())
            elif node.IsA("vtkMRMLViewNode") and node not in [one.mrmlViewNode() for one in self._three_d]:
                self._three_d.append(qMRMLThreeDWidget(node))
                self.mrmlViewLogics().AddItem(self._three_d[-1].viewLogic())
        self._arrangement = arrangement
        self._arrange()
        self.layoutChanged.emit(arrangement)

    def _arrange(self):
        """Put the views of the layout side by side, two in a row; the others are hidden."""
        nodes = self._layout_logic.GetViewNodes()
        widgets = [self.viewWidget(nodes.GetItemAsObject(n)) for n in range(nodes.GetNumberOfItems())]
        widgets = [widget for widget in widgets if widget is not None]
        grid = self._viewport.layout()
        for widget in (*self._slices.values(), *self._three_d):
            grid.removeWidget(widget)
            widget.setParent(self._viewport)
            widget.hide()
        for number, widget in enumerate(widgets):
            grid.addWidget(widget, number // 2, number % 2)
            widget.show()

    def _close(self):
        """Let the application and the scene forget the views.

        The logics go first, and stay alive without a scene: one that is destroyed with its nodes leaves ruins behind.
        """
        self._observers.clear()
        for widget in self._slices.values():
            widget.sliceController()._observers.clear()
        for logics in (self.mrmlSliceLogics(), self.mrmlViewLogics()):
            logics.RemoveAllItems()
        nodes = []
        for widget in self._slices.values():
            logic = widget.sliceLogic()
            nodes += [logic.GetSliceModelNode(), logic.GetSliceModelDisplayNode(), logic.GetSliceModelTransformNode()]
            nodes += [logic.GetSliceCompositeNode(), logic.GetSliceNode()]
        nodes += [widget.threeDView().cameraNode() for widget in self._three_d]
        nodes += [widget.mrmlViewNode() for widget in self._three_d] + [self._layout_logic.GetLayoutNode()]
        for widget in (*self._slices.values(), *self._three_d):
            widget._view._close()
        release_managers()
        for logic in (self._layout_logic, *(one._logic for one in (*self._slices.values(), *self._three_d))):
            logic.SetMRMLScene(None)
            _closed_logics.append(logic)
        for node in nodes:
            if node is not None and node.GetScene() is not None:
                slicer.mrmlScene.RemoveNode(node)

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
