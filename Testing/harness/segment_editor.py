"""A stand-in for qMRMLSegmentEditorWidget on Slicer's own editor logic: parameters, masks and undo history are real.

Only the effects, which are Qt code in Slicer, are not there; see segment_effects.py.
"""

from __future__ import annotations

import slicer
import vtk
from PySide6 import QtGui
from PySide6.QtCore import Property, Signal

from harness.mrml_widgets import qMRMLWidget
from harness.segment_editor_parts import EditorParts
from harness.segment_effects import EFFECTS, paint, qSlicerSegmentEditorAbstractEffect
from harness.widget_parts import Observers, declared, with_setters

__all__ = ["paint", "qMRMLSegmentEditorWidget", "qSlicerSegmentEditorAbstractEffect"]


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
        self._parts = EditorParts(self)
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
