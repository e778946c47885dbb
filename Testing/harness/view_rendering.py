"""Draws a view of the scene into a QImage, by Slicer's own displayable managers, without a window on the screen."""

from __future__ import annotations

import slicer
import vtk
from PySide6 import QtGui

from MedSegAICore.headless_stage import _capture, _image_actor, _window_and_renderer

SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager", "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager", "vtkMRMLRulerDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager", "vtkMRMLCrosshairDisplayableManager",
)  # fmt: skip
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager", "vtkMRMLViewDisplayableManager", "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D", "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLVolumeRenderingDisplayableManager", "vtkMRMLOrientationMarkerDisplayableManager",
)  # fmt: skip


_registered = []  # factory and name of the displayable managers that were registered here


def release_managers():
    """Let the factories, which belong to the process, be as they were before views were drawn."""
    for factory, name in _registered:
        factory.UnRegisterDisplayableManager(name)
    _registered.clear()


class _Rendering:
    """A render window that nobody sees, with the displayable managers of one view node."""

    def __init__(self, node, factory, managers, changed):
        """``changed``: called when a manager wants the view drawn again."""
        self._window, self._renderer = _window_and_renderer((100, 100))
        self._prepare()
        factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        for name in managers:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
                _registered.append((factory, name))
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self._renderer)
        self._group.Initialize(factory, self._renderer)
        self._group.SetMRMLDisplayableNode(node)
        self._group.AddObserver(vtk.vtkCommand.UpdateEvent, lambda *_: changed())

    def _prepare(self):
        """Add what lies below the props of the managers."""

    def close(self):
        self._group.RemoveAllObservers()
        self._group.SetMRMLDisplayableNode(None)

    def _image(self) -> QtGui.QImage:
        pixels = _capture(self._window)
        height, width, _ = pixels.shape
        return QtGui.QImage(pixels.tobytes(), width, height, 3 * width, QtGui.QImage.Format_RGB888).copy()


class SliceRendering(_Rendering):
    def __init__(self, logic, changed):
        self._logic = logic
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        super().__init__(logic.GetSliceNode(), factory, SLICE_MANAGERS, changed)

    def _prepare(self):
        self._renderer.GetActiveCamera().ParallelProjectionOn()
        self._mapper = _image_actor(self._renderer)

    def image(self, width: int, height: int) -> QtGui.QImage:
        self._window.SetSize(width, height)
        self._logic.UpdatePipeline()
        connection = self._logic.GetImageDataConnection()
        self._mapper.SetInputConnection(connection)
        actors = self._renderer.GetActors2D()
        actors.InitTraversal()
        for _ in range(actors.GetNumberOfItems()):
            actor = actors.GetNextActor2D()
            if actor.GetMapper() is self._mapper:
                actor.SetVisibility(connection is not None)
        return self._image()


class ThreeDRendering(_Rendering):
    def __init__(self, node, changed):
        self._node = node
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        super().__init__(node, factory, THREE_D_MANAGERS, changed)

    def image(self, width: int, height: int) -> QtGui.QImage:
        self._window.SetSize(width, height)
        self._renderer.ResetCameraClippingRange()
        return self._image()

    def _bounds(self):
        """Of what is shown, without the box and the letters around it."""
        box, letters = self._node.GetBoxVisible(), self._node.GetAxisLabelsVisible()
        self._node.SetBoxVisible(False)
        self._node.SetAxisLabelsVisible(False)
        bounds = self._renderer.ComputeVisiblePropBounds()
        self._node.SetBoxVisible(box)
        self._node.SetAxisLabelsVisible(letters)
        return bounds if vtk.vtkMath.AreBoundsInitialized(bounds) else None

    def camera_node(self):
        return self._group.GetDisplayableManagerByClassName("vtkMRMLCameraDisplayableManager").GetCameraNode()

    def reset_focal_point(self):
        bounds = self._bounds()
        if bounds:
            self._renderer.GetActiveCamera().SetFocalPoint(*((bounds[2 * n] + bounds[2 * n + 1]) / 2 for n in range(3)))

    def reset_camera(self):
        bounds = self._bounds()
        if bounds:
            self._renderer.ResetCamera(bounds)
