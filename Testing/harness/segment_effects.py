"""Segment Editor effects: their names and parameters, and what a stroke of Paint or Erase does to a segment.

The effects themselves are Qt code of Slicer. ``paint`` has their result, by Slicer's own editor logic.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from PySide6 import QtCore
from PySide6.QtCore import Property
from vtk.util.numpy_support import vtk_to_numpy

EFFECTS = (
    "Paint", "Draw", "Erase", "Level tracing", "Grow from seeds", "Fill between slices", "Threshold", "Margin",
    "Hollow", "Smoothing", "Scissors", "Islands", "Logical operators", "Mask volume",
)  # fmt: skip
WHOLE_SEGMENTATION = {"Grow from seeds", "Fill between slices"}


class qSlicerSegmentEditorAbstractEffect(QtCore.QObject):
    """An effect with its parameters in the editor node, as Slicer keeps them. It does nothing with the mouse."""

    def __init__(self, name: str, widget):
        super().__init__(widget)
        self.setObjectName(name)
        self._widget = widget

    title = Property(str, lambda self: self.objectName())
    perSegment = Property(bool, lambda self: self.objectName() not in WHOLE_SEGMENTATION)

    def parameterSetNode(self):
        return self._widget.mrmlSegmentEditorNode()

    def parameterDefined(self, name) -> bool:
        return self.parameterSetNode().GetAttribute(f"{self.objectName()}.{name}") is not None

    def parameter(self, name) -> str:
        node = self.parameterSetNode()
        return node.GetAttribute(f"{self.objectName()}.{name}") or node.GetAttribute(name) or ""

    def integerParameter(self, name) -> int:
        return int(float(self.parameter(name) or 0))

    def doubleParameter(self, name) -> float:
        return float(self.parameter(name) or 0)

    def setParameter(self, name, value):
        self.parameterSetNode().SetAttribute(f"{self.objectName()}.{name}", str(value))

    def setCommonParameter(self, name, value):
        self.parameterSetNode().SetAttribute(name, str(value))

    def saveStateForUndo(self):
        self._widget.saveStateForUndo()

    def active(self) -> bool:
        return self._widget.activeEffect() is self


def paint(widget, ras, radius_mm: float, erase: bool = False) -> None:
    """Do what a click with Paint (or Erase) and a sphere brush does to the selected segment.

    ``ras``: the center in the world, ``radius_mm``: the brush. The state before it can be undone; masks and overwriting
    are those of the editor node, applied by Slicer's own logic.
    """
    logic, node = widget._logic, widget.mrmlSegmentEditorNode()
    if node is None or not widget.currentSegmentID():
        raise RuntimeError("There is no selected segment to paint on.")
    widget.saveStateForUndo()
    logic.UpdateReferenceGeometryImage()
    logic.ResetModifierLabelmapToDefault()
    modifier = logic.GetModifierLabelmap()
    inside = _sphere(modifier, widget.segmentationNode(), np.asarray(ras, float), radius_mm)
    scalars = vtk_to_numpy(modifier.GetPointData().GetScalars())
    scalars[:] = inside.ravel()
    modifier.Modified()
    kind = slicer.vtkSlicerSegmentEditorLogic
    mode = kind.ModificationModeRemove if erase else kind.ModificationModeAdd
    logic.UpdateMaskLabelmap()
    logic.UpdateAlignedSourceVolume()
    logic.ModifySegmentByLabelmap(widget.segmentationNode(), widget.currentSegmentID(), modifier, mode, False, False)


def _sphere(image, segmentation, ras: np.ndarray, radius_mm: float) -> np.ndarray:
    """Where the voxels (K, J, I) of an oriented image lie within a sphere in the world."""
    to_world = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(to_world)
    matrix = slicer.util.arrayFromVTKMatrix(to_world)
    low_i, high_i, low_j, high_j, low_k, high_k = image.GetExtent()
    k, j, i = np.mgrid[low_k : high_k + 1, low_j : high_j + 1, low_i : high_i + 1]
    points = np.stack([i, j, k], axis=-1) @ matrix[:3, :3].T + matrix[:3, 3]
    transform = segmentation.GetParentTransformNode()
    if transform is not None:
        from MedSegAICore.mrml_images import transformed

        world = vtk.vtkGeneralTransform()
        transform.GetTransformToWorld(world)
        points = transformed(points.reshape(-1, 3), world).reshape(points.shape)
    return np.linalg.norm(points - ras, axis=-1) <= radius_mm
