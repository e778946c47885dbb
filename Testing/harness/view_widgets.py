"""Stand-ins for Slicer's view widgets: slices and 3D, each a bar above what Slicer's displayable managers draw."""

from __future__ import annotations

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property

from harness.mrml_widgets import qMRMLWidget
from harness.pythonqt import Strict
from harness.view_rendering import SliceRendering, ThreeDRendering
from harness.widget_parts import Observers

VIEW_SIZE = (400, 300)  # pixels; fields of view are fitted to it until the view has a size


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

    def _close(self):
        self._controller._observers.clear()
        self._view._close()

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

    def _close(self):
        self._view._close()


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


def stack_with_bar(view_widget, node, view):
    """The view below a bar that has only its letter and color."""
    controller = QtWidgets.QWidget(view_widget)
    _bar(controller, node.GetLayoutLabel() or "1", node.GetLayoutColor(), QtWidgets.QLabel(node.GetName()))
    _stack(view_widget, controller, view)


def _stack(view_widget, controller, view):
    layout = QtWidgets.QVBoxLayout(view_widget)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    layout.addWidget(controller)
    layout.addWidget(view, 1)
