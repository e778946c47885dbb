"""Slicer's Segment Editor as a part of our panel: made when it is needed, and active only while it is seen."""

from __future__ import annotations

import slicer

TAG = "MedSegAI"  # the editor node is not that of the module Segment Editor, whose choices stay as they are
UNDO_STATES = 20
# Names of Slicer's effects, those for correcting first; the keys 1 to 0 choose them in this order.
EFFECTS = (
    *("Paint", "Erase", "Draw", "Scissors", "Smoothing", "Islands", "Margin", "Level tracing"),
    *("Threshold", "Fill between slices", "Grow from seeds", "Hollow", "Logical operators"),
)


class CorrectionEditor:
    """Edits one segmentation node at a time; ``container`` gets the widget when the first one is opened."""

    def __init__(self, container):
        self.widget, self._container = None, container
        self._node, self._active = None, False

    def open(self, segmentationNode, volumeNode, allowOverlap: bool):
        """Begin to edit this node, or go on with it: then the user's choices of effects and masks stay."""
        if self.widget is None:
            self._makeWidget()
        editorNode = _editorNode()
        isOther = editorNode.GetSegmentationNode() is not segmentationNode
        self._node = segmentationNode
        # In this order: what the widget chooses when it gets the scene is kept in the node.
        self.widget.setMRMLSegmentEditorNode(editorNode)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.widget.setSegmentationNode(segmentationNode)
        self.widget.setSourceVolumeNode(volumeNode)
        if isOther:
            # Where segments exclude each other, a stroke takes voxels from its neighbors, hidden ones too.
            mode = editorNode.OverwriteNone if allowOverlap else editorNode.OverwriteAllSegments
            editorNode.SetOverwriteMode(mode)
            editorNode.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
            editorNode.SetSourceVolumeIntensityMask(False)
        self.widget.saveStateForUndo()

    def close(self):
        """Let go of the node; what was drawn is in it."""
        self.setActive(False)
        self._node = None
        if self.widget is not None:
            self.widget.setSegmentationNode(None)
            self.widget.updateWidgetFromMRML()  # it may have shown another node meanwhile, see below

    def setActive(self, active: bool):
        """Listen to views and keys, or leave them alone: another module or a folded section must not edit."""
        active = active and self._node is not None
        if active == self._active:
            return
        self._active = active
        if active:
            self.widget.setupViewObservations()
            if slicer.util.mainWindow() is not None:  # Qt warns of each key that belongs to no window
                self.widget.installKeyboardShortcuts(slicer.util.mainWindow())
            self.widget.updateWidgetFromMRML()
        else:
            self.setEffect("")
            self.widget.uninstallKeyboardShortcuts()
            self.widget.removeViewObservations()

    @property
    def segmentId(self) -> str:
        """The segment that is edited; empty if none is chosen."""
        return self.widget.currentSegmentID() if self._node is not None else ""

    @property
    def effect(self) -> str:
        """The name of the active effect; empty if none is active."""
        effect = self.widget.activeEffect() if self._node is not None else None
        return effect.name if effect is not None else ""

    def setEffect(self, name: str):
        """Activate an effect, or none."""
        self.widget.setActiveEffectByName(name) if name else self.widget.setActiveEffect(None)

    def saveStateForUndo(self):
        """Call it before anything else than the editor changes the segmentation."""
        self.widget.saveStateForUndo()

    def _makeWidget(self):
        self.widget = slicer.qMRMLSegmentEditorWidget()
        self.widget.setMaximumNumberOfUndoStates(UNDO_STATES)
        self.widget.setSegmentationNodeSelectorVisible(False)
        self.widget.setSourceVolumeNodeSelectorVisible(False)
        self.widget.setSwitchToSegmentationsButtonVisible(False)
        self.widget.setEffectNameOrder(list(EFFECTS))
        self.widget.segmentationNodeChanged.connect(lambda *_: self._onSegmentationNodeChanged())
        self._container.layout().addWidget(self.widget)

    def _onSegmentationNodeChanged(self):
        # Its hidden selector takes another segmentation, perhaps the draft, when ours is removed from the scene.
        editorNode = self.widget.mrmlSegmentEditorNode()
        node = editorNode.GetSegmentationNode() if editorNode is not None else None
        if node is not None and node is not self._node:
            self.widget.setSegmentationNode(None)


def _editorNode():
    """The scene's editor node of this panel."""
    node = slicer.mrmlScene.GetSingletonNode(TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.vtkMRMLSegmentEditorNode()
        node.SetSingletonTag(TAG)
        node = slicer.mrmlScene.AddNode(node)
    return node
