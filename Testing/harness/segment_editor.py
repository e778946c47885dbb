"""A stand-in for qMRMLSegmentEditorWidget on Slicer's own editor logic: parameters, masks and undo history are real.

Only the effects, which are Qt code in Slicer, are not there: ``paint`` changes a segment as a stroke of Paint or Erase
would.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from harness.mrml_widgets import qMRMLNodeComboBox, qMRMLWidget
from harness.tables import qMRMLSegmentsTableView
from harness.widget_parts import Observers, declared, with_setters

EFFECTS = (
    "Paint", "Draw", "Erase", "Level tracing", "Grow from seeds", "Fill between slices", "Threshold", "Margin",
    "Hollow", "Smoothing", "Scissors", "Islands", "Logical operators", "Mask volume",
)  # fmt: skip
WHOLE_SEGMENTATION = {"Grow from seeds", "Fill between slices"}
MASK_MODES = (
    ("Everywhere", "EditAllowedEverywhere"), ("Inside all segments", "EditAllowedInsideAllSegments"),
    ("Inside all visible segments", "EditAllowedInsideVisibleSegments"),
    ("Outside all segments", "EditAllowedOutsideAllSegments"),
    ("Outside all visible segments", "EditAllowedOutsideVisibleSegments"),
)  # fmt: skip
OVERWRITE_MODES = (
    ("Overwrite all", "OverwriteAllSegments"), ("Overwrite visible", "OverwriteVisibleSegments"),
    ("Allow overlap", "OverwriteNone"),
)  # fmt: skip


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


@with_setters(
    "segmentationNodeSelectorVisible", "sourceVolumeNodeSelectorVisible", "maskingSectionVisible",
    "specifyGeometryButtonVisible", "show3DButtonVisible", "addRemoveSegmentButtonsVisible",
    "switchToSegmentationsButtonVisible", "undoEnabled", "readOnly", "effectButtonStyle", "effectColumnCount",
    "autoShowSourceVolumeNode", "jumpToSelectedSegmentEnabled", "maximumNumberOfUndoStates",
)  # fmt: skip
class qMRMLSegmentEditorWidget(qMRMLWidget):
    _is_cpp = True
    currentSegmentIDChanged = Signal(str)
    segmentationNodeChanged = Signal(object)
    sourceVolumeNodeChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._node, self._segmentation, self._source, self._segment = None, None, None, ""
        self._observers, self._scene_observers, self._shown = Observers(), Observers(), Observers()
        self._effects = [qSlicerSegmentEditorAbstractEffect(name, self) for name in EFFECTS]
        self._last_effect, self._order, self._shortcuts, self._updating = None, [], [], False
        self._interaction, self._views_observed = None, False
        self._parts = _Parts(self)
        self._history = Observers()
        event = slicer.vtkSlicerSegmentEditorLogic.SegmentationHistoryChangedEvent
        self._history.add(self._logic, [event], self._update_undo)
        self.updateEffectList()
        self.updateWidgetFromMRML()

    # Nodes

    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        super().setMRMLScene(scene)
        self._logic.SetMRMLScene(scene)
        self._parts.segmentations.setMRMLScene(scene)
        self._parts.volumes.setMRMLScene(scene)
        self._scene_observers.clear()
        if scene is not None:
            self._scene_observers.add(scene, [scene.EndCloseEvent, scene.EndBatchProcessEvent], self._scene_changed)
        self.updateWidgetFromMRML()

    def setMRMLSegmentEditorNode(self, node):
        if node is self._node:
            return
        self._observers.replace(node, [vtk.vtkCommand.ModifiedEvent], self.updateWidgetFromMRML)
        self._node = node
        self._logic.SetSegmentEditorNode(node)
        if node is not None:
            self.updateWidgetFromMRML()

    def mrmlSegmentEditorNode(self):
        return self._node

    def setSegmentationNode(self, node):
        if self._logic.GetSegmentationNode() is not node:
            self._logic.SetSegmentationNode(node)
            self.setActiveEffect(None)

    def setSegmentationNodeID(self, nodeID):
        self.setSegmentationNode(self._scene.GetNodeByID(nodeID) if nodeID else None)

    def segmentationNode(self):
        return self._parts.segmentations.currentNode()

    def segmentationNodeID(self) -> str:
        return self._parts.segmentations.currentNodeID

    def setSourceVolumeNode(self, node):
        self._logic.SetSourceVolumeNode(node)

    def setSourceVolumeNodeID(self, nodeID):
        self.setSourceVolumeNode(self._scene.GetNodeByID(nodeID) if nodeID else None)

    def sourceVolumeNode(self):
        return self._logic.GetSourceVolumeNode()

    def sourceVolumeNodeID(self) -> str:
        node = self.sourceVolumeNode()
        return node.GetID() if node else ""

    def segmentationNodeSelectorAddAttribute(self, nodeType, attributeName, attributeValue=None):
        self._parts.segmentations.addAttribute(nodeType, attributeName, attributeValue)

    def sourceVolumeNodeSelectorAddAttribute(self, nodeType, attributeName, attributeValue=None):
        self._parts.volumes.addAttribute(nodeType, attributeName, attributeValue)

    def interactionNode(self):
        return self._interaction

    def setInteractionNode(self, node):
        self._interaction = node

    # Segments

    def currentSegmentID(self) -> str:
        return (self._node.GetSelectedSegmentID() or "") if self._node else ""

    def setCurrentSegmentID(self, segmentID):
        if self._node is not None:
            self._node.SetSelectedSegmentID(segmentID)

    def selectPreviousSegment(self):
        self.selectSegmentAtOffset(-1)

    def selectNextSegment(self):
        self.selectSegmentAtOffset(1)

    def selectSegmentAtOffset(self, offset: int):
        self._logic.SelectSegmentAtOffset(offset, True)

    def jumpSlices(self):
        self._parts.table.jumpSlices()

    # Effects

    def availableEffectNames(self) -> tuple:
        return tuple(effect.objectName() for effect in self._effects)

    def effectCount(self) -> int:
        return len(self._ordered_effects())

    def effectByIndex(self, index: int):
        ordered = [None, *self._ordered_effects()]
        return ordered[index] if 0 <= index < len(ordered) else None

    def effectByName(self, name):
        return next((effect for effect in self._effects if effect.objectName() == name), None)

    def effectNameOrder(self) -> tuple:
        return tuple(self._order)

    def setEffectNameOrder(self, effectNames):
        self._order = list(effectNames)
        self.updateEffectList()

    def activeEffect(self):
        return self.effectByName(self._node.GetActiveEffectName()) if self._node else None

    def setActiveEffect(self, effect):
        self.setActiveEffectByName(effect.objectName() if effect is not None else "")

    def setActiveEffectByName(self, effectName):
        if self._node is None:
            return
        before = self.activeEffect()
        if before is not None and before.objectName() != effectName:
            self._last_effect = before
        self._node.SetActiveEffectName(effectName or "")

    def updateEffectList(self):
        if self.__dict__.get("_parts") is not None:
            self._parts.arrange_effects([None, *self._ordered_effects()], self.effectColumnCount)

    def _ordered_effects(self) -> list:
        chosen = [self.effectByName(name) for name in self._order if self.effectByName(name)]
        rest = [effect for effect in self._effects if effect not in chosen]
        return chosen + (rest if self.unorderedEffectsVisible else [])

    # History

    def saveStateForUndo(self):
        self._logic.SaveStateForUndo()

    def undo(self):
        self._logic.Undo()

    def redo(self):
        self._logic.Redo()

    def _update_undo(self):
        self._parts.undo.setEnabled(self._logic.CanUndo())
        self._parts.redo.setEnabled(self._logic.CanRedo())

    # Views and keys

    def setupViewObservations(self):
        self._views_observed = True

    def removeViewObservations(self):
        self._views_observed = False

    def installKeyboardShortcuts(self, parent=None):
        self.uninstallKeyboardShortcuts()
        parent = parent or slicer.util.mainWindow()
        if parent is None:
            return
        keys = [(str(number % 10), lambda number=number: self._toggle_effect(number)) for number in range(1, 11)]
        keys += [(f"Shift+{n % 10}", lambda n=n: self._toggle_effect(n + 10)) for n in range(1, 11)]
        keys += [("Esc", lambda: self.setActiveEffect(None)), ("Space", self._toggle_last_effect)]
        keys += [("Z", self.undo), ("Ctrl+Z", self.undo), ("Y", self.redo), ("Ctrl+Shift+Z", self.redo)]
        for before, after in (("Q", "W"), ("/", "*"), (",", "."), (">", "<")):
            keys += [(before, self.selectPreviousSegment), (after, self.selectNextSegment)]
        keys += [("I", self.toggleSourceVolumeIntensityMaskEnabled)]
        for key, function in keys:
            shortcut = QtGui.QShortcut(QtGui.QKeySequence(key), parent)
            shortcut.activated.connect(function)
            self._shortcuts.append(shortcut)

    def uninstallKeyboardShortcuts(self):
        for shortcut in self._shortcuts:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []

    def _toggle_effect(self, number: int):
        effect = self.effectByIndex(number)
        if not self.readOnly:
            self.setActiveEffect(None if effect is self.activeEffect() else effect)

    def _toggle_last_effect(self):
        if not self.readOnly:
            self.setActiveEffect(None if self.activeEffect() else self._last_effect)

    def toggleSourceVolumeIntensityMaskEnabled(self):
        self._logic.ToggleSourceVolumeIntensityMask()

    def showSourceVolumeInSliceViewers(self, forceShowInBackground=False, fitSlice=False):
        layout_manager = slicer.app.layoutManager()
        volume = self.sourceVolumeNode()
        if layout_manager is None or volume is None:
            return
        logics = layout_manager.mrmlSliceLogics()
        for logic in map(logics.GetItemAsObject, range(logics.GetNumberOfItems())):
            composite = logic.GetSliceCompositeNode()
            shown = (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID())
            if forceShowInBackground or volume.GetID() not in shown:
                composite.SetBackgroundVolumeID(volume.GetID())
                composite.SetForegroundVolumeID(None)
                composite.SetLabelVolumeID(None)
            if fitSlice:
                logic.FitSliceToBackground(True)

    def hideLabelLayer(self):
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            composite.SetLabelVolumeID(None)

    def rotateSliceViewsToSegmentation(self):
        layout_manager = slicer.app.layoutManager()
        for name in layout_manager.sliceViewNames() if layout_manager else ():
            layout_manager.sliceWidget(name).mrmlSliceNode().RotateToVolumePlane(self.sourceVolumeNode())

    # From the nodes to the widgets

    def _scene_changed(self):
        if self._scene is None or self._scene.IsBatchProcessing():
            return
        if self._node is not None and self._node.GetScene() is self._scene:
            self.setSegmentationNode(self._parts.segmentations.currentNode())
            self.setSourceVolumeNode(self._parts.volumes.currentNode())
        self.updateWidgetFromMRML()

    def updateWidgetFromMRML(self):
        if self.__dict__.get("_parts") is None or self._updating:
            return
        self._updating = True
        try:
            if self._node is not None:
                self._update_segmentation()
                self._update_source()
                self._update_segment()
            self._parts.update(self._node, self.activeEffect(), self.readOnly)
            self._update_undo()
        finally:
            self._updating = False

    def _update_segmentation(self):
        node = self._logic.GetSegmentationNode()
        self._parts.segmentations.blockSignals(True)
        self._parts.segmentations.setCurrentNode(node)
        self._parts.segmentations.blockSignals(False)
        if node is self._segmentation:
            return
        self._segmentation = node
        kind = slicer.vtkSegmentation
        self._shown.replace(node, [kind.SegmentAdded, kind.SegmentRemoved], self.updateWidgetFromMRML)
        self._parts.table.setSegmentationNode(node)
        if node is not None:
            role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
            self._logic.SetSourceVolumeNode(node.GetNodeReference(role))
            node.CreateDefaultDisplayNodes()
            if node.GetSegmentation().GetNumberOfSegments():
                self._node.SetSelectedSegmentID(node.GetSegmentation().GetNthSegmentID(0))
            self.hideLabelLayer()
        self.segmentationNodeChanged.emit(node)

    def _update_source(self):
        node = self._logic.GetSourceVolumeNode()
        self._parts.volumes.blockSignals(True)
        self._parts.volumes.setCurrentNode(node)
        self._parts.volumes.blockSignals(False)
        if node is not self._source:
            self._source = node
            if node is not None and self.autoShowSourceVolumeNode:
                self.showSourceVolumeInSliceViewers()
            self.sourceVolumeNodeChanged.emit(node)

    def _update_segment(self):
        segment_id = self.currentSegmentID()
        table = self._parts.table
        table.blockSignals(True)
        table.setSelectedSegmentIDs([segment_id] if segment_id else [])
        table.blockSignals(False)
        if segment_id != self._segment:
            self._segment = segment_id
            self.currentSegmentIDChanged.emit(segment_id)

    def _show_parts(self):
        if self.__dict__.get("_parts") is not None:
            self._parts.show(self)
            self.updateWidgetFromMRML()

    def _set_jumping(self):
        self._parts.table.jumpToSelectedSegmentEnabled = self.jumpToSelectedSegmentEnabled

    segmentationNodeSelectorVisible = declared(bool, "segmentationNodeSelectorVisible", True, "_show_parts")
    sourceVolumeNodeSelectorVisible = declared(bool, "sourceVolumeNodeSelectorVisible", True, "_show_parts")
    maskingSectionVisible = declared(bool, "maskingSectionVisible", True, "_show_parts")
    specifyGeometryButtonVisible = declared(bool, "specifyGeometryButtonVisible", True, "_show_parts")
    show3DButtonVisible = declared(bool, "show3DButtonVisible", True, "_show_parts")
    addRemoveSegmentButtonsVisible = declared(bool, "addRemoveSegmentButtonsVisible", True, "_show_parts")
    switchToSegmentationsButtonVisible = declared(bool, "switchToSegmentationsButtonVisible", True, "_show_parts")
    undoEnabled = declared(bool, "undoEnabled", True, "_show_parts")
    readOnly = declared(bool, "readOnly", False, "_show_parts")
    unorderedEffectsVisible = declared(bool, "unorderedEffectsVisible", True, "updateEffectList")
    effectColumnCount = declared(int, "effectColumnCount", 2, "updateEffectList")
    effectButtonStyle = declared(int, "effectButtonStyle", 2, "_show_parts")
    autoShowSourceVolumeNode = declared(bool, "autoShowSourceVolumeNode", True)
    jumpToSelectedSegmentEnabled = declared(bool, "jumpToSelectedSegmentEnabled", False, "_set_jumping")
    defaultTerminologyEntry = declared(str, "defaultTerminologyEntry", "")
    defaultTerminologyEntrySettingsKey = declared(str, "defaultTerminologyEntrySettingsKey", "")
    maximumNumberOfUndoStates = Property(
        int,
        lambda self: self._logic.GetMaximumNumberOfUndoStates(),
        lambda self, value: self._logic.SetMaximumNumberOfUndoStates(value),
    )


class _Parts:
    """The widgets inside, in Slicer's order: nodes, segments, effects and undo, masking."""

    def __init__(self, editor):
        self._editor = editor
        layout = QtWidgets.QVBoxLayout(editor)
        layout.setContentsMargins(0, 0, 0, 0)
        self._add_nodes(layout)
        self._add_segments(layout)
        self._add_effects(layout)
        self._add_masking(layout)

    def _add_nodes(self, layout):
        form = QtWidgets.QFormLayout()
        self.segmentations, self.volumes = qMRMLNodeComboBox(), qMRMLNodeComboBox()
        self.segmentations.nodeTypes = ["vtkMRMLSegmentationNode"]
        self.segmentations.renameEnabled = True
        self.volumes.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        for selector in (self.segmentations, self.volumes):
            selector.noneEnabled = True
            selector.sizeAdjustPolicy = 2
        self.volumes.addEnabled = self.volumes.removeEnabled = False
        self.segmentations.currentNodeChanged.connect(self._segmentation_chosen)
        self.volumes.currentNodeChanged.connect(self._volume_chosen)
        self._segmentation_label, self._volume_label = (
            QtWidgets.QLabel("Segmentation:"),
            QtWidgets.QLabel("Source volume:"),
        )
        form.addRow(self._segmentation_label, self.segmentations)
        form.addRow(self._volume_label, self.volumes)
        layout.addLayout(form)

    def _add_segments(self, layout):
        row = QtWidgets.QHBoxLayout()
        self.add, self.remove = QtWidgets.QPushButton("Add"), QtWidgets.QPushButton("Remove")
        self.show3d, self.switch = QtWidgets.QPushButton("Show 3D"), QtWidgets.QToolButton()
        self.show3d.setCheckable(True)
        self.switch.setText("Segmentations...")
        for button in (self.add, self.remove, self.show3d, self.switch):
            row.addWidget(button)
        self.add.clicked.connect(self._add_segment)
        self.remove.clicked.connect(self._remove_segment)
        self.show3d.toggled.connect(lambda on: self._editor._logic.ToggleSegmentationSurfaceRepresentation(on))
        layout.addLayout(row)
        self.table = qMRMLSegmentsTableView()
        self.table.selectionMode = 1
        self.table.opacityColumnVisible = False
        self.table.setMinimumHeight(120)
        self.table.selectionChanged.connect(self._segment_chosen)
        self.table.segmentAboutToBeModified.connect(lambda _: self._editor.saveStateForUndo())
        layout.addWidget(self.table)

    def _add_effects(self, layout):
        row = QtWidgets.QHBoxLayout()
        self._effects_box, self._undo_box = QtWidgets.QGroupBox("Effects"), QtWidgets.QGroupBox("Undo/Redo")
        self._grid = QtWidgets.QGridLayout(self._effects_box)
        self._group = QtWidgets.QButtonGroup(self._effects_box)
        self._buttons = {effect: self._effect_button(effect) for effect in (None, *self._editor._effects)}
        undo_layout = QtWidgets.QHBoxLayout(self._undo_box)
        self.undo, self.redo = QtWidgets.QToolButton(), QtWidgets.QToolButton()
        for button, text, slot in ((self.undo, "Undo", self._editor.undo), (self.redo, "Redo", self._editor.redo)):
            button.setText(text)
            button.clicked.connect(slot)
            undo_layout.addWidget(button)
        row.addWidget(self._effects_box)
        layout.addLayout(row)
        layout.addWidget(self._undo_box)

    def _effect_button(self, effect):
        button = QtWidgets.QToolButton(self._effects_box)
        button.setText(effect.objectName() if effect else "None")
        button.setObjectName(effect.objectName() if effect else "NULL")
        button.setCheckable(True)
        button.setSizePolicy(QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Preferred)
        button.clicked.connect(lambda: self._editor.setActiveEffect(effect))
        self._group.addButton(button)
        return button

    def arrange_effects(self, effects, columns: int):
        for button in self._buttons.values():
            self._grid.removeWidget(button)
            button.hide()
        for number, effect in enumerate(effects):
            self._grid.addWidget(self._buttons[effect], number // columns, number % columns)
            self._buttons[effect].show()

    def _add_masking(self, layout):
        self._masking = QtWidgets.QGroupBox("Masking")
        form = QtWidgets.QFormLayout(self._masking)
        self.mask, self.overwrite = QtWidgets.QComboBox(), QtWidgets.QComboBox()
        for text, mode in MASK_MODES:
            self.mask.addItem(text, int(getattr(slicer.vtkMRMLSegmentationNode, mode)))
        for text, mode in OVERWRITE_MODES:
            self.overwrite.addItem(text, int(getattr(slicer.vtkMRMLSegmentEditorNode, mode)))
        self.range = QtWidgets.QCheckBox("Editable intensity range")
        form.addRow("Editable area:", self.mask)
        form.addRow(self.range)
        form.addRow("Modify other segments:", self.overwrite)
        self.mask.activated.connect(lambda _: self._editor._node.SetMaskMode(self.mask.currentData))
        self.overwrite.activated.connect(lambda _: self._editor._node.SetOverwriteMode(self.overwrite.currentData))
        self.range.clicked.connect(lambda on: self._editor._node.SetSourceVolumeIntensityMask(on))
        layout.addWidget(self._masking)

    def _segmentation_chosen(self, node):
        if self._editor._node is not None and not self._editor._scene.IsBatchProcessing():
            self._editor.setSegmentationNode(node)

    def _volume_chosen(self, node):
        if self._editor._node is not None and not self._editor._scene.IsBatchProcessing():
            self._editor.setSourceVolumeNode(node)

    def _segment_chosen(self, *_):
        chosen = self.table.selectedSegmentIDs()
        if self._editor._node is not None:
            self._editor._node.SetSelectedSegmentID(chosen[0] if chosen else None)

    def _add_segment(self):
        self._editor.saveStateForUndo()
        self._editor._logic.AddEmptySegment()

    def _remove_segment(self):
        self._editor.saveStateForUndo()
        self._editor._logic.RemoveSelectedSegment()

    def show(self, editor):
        for label, selector, visible in (
            (self._segmentation_label, self.segmentations, editor.segmentationNodeSelectorVisible),
            (self._volume_label, self.volumes, editor.sourceVolumeNodeSelectorVisible),
        ):
            label.setVisible(visible)
            selector.setVisible(visible)
        self.add.setVisible(editor.addRemoveSegmentButtonsVisible)
        self.remove.setVisible(editor.addRemoveSegmentButtonsVisible)
        self.show3d.setVisible(editor.show3DButtonVisible)
        self.switch.setVisible(editor.switchToSegmentationsButtonVisible)
        self._undo_box.setVisible(editor.undoEnabled)
        self.table.readOnly = editor.readOnly

    def update(self, node, effect, read_only: bool):
        segmentation = node.GetSegmentationNode() if node else None
        ready = node is not None and node.GetSourceVolumeNode() is not None and not read_only
        self.add.setEnabled(segmentation is not None and not read_only)
        self.remove.setEnabled(segmentation is not None and not read_only and bool(node.GetSelectedSegmentID()))
        self.switch.setEnabled(segmentation is not None)
        self._effects_box.setEnabled(ready)
        chosen = bool(node and node.GetSelectedSegmentID())
        for one, button in self._buttons.items():
            button.setEnabled(ready and (one is None or chosen or not one.perSegment))
            button.setChecked(one is effect)
        self._masking.setVisible(self._editor.maskingSectionVisible and effect is not None)
        if node is not None:
            self.mask.setCurrentIndex(self.mask.findData(int(node.GetMaskMode())))
            self.overwrite.setCurrentIndex(self.overwrite.findData(int(node.GetOverwriteMode())))
            self.range.setChecked(bool(node.GetSourceVolumeIntensityMask()))


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
    scalars = vtk.util.numpy_support.vtk_to_numpy(modifier.GetPointData().GetScalars())
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
