"""The section in which a draft is corrected."""

from __future__ import annotations

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from MedSegAICore.errors import MedSegAIError
from MedSegAICore.panels.section import Section
from MedSegAILib.panels.correction_choice import CorrectionChoice
from MedSegAILib.panels.correction_editor import CorrectionEditor
from MedSegAILib.panels.correction_tools import CorrectionTools

STATUS_MS = 5000  # how long the status bar shows a sentence
PAUSE_MS = 500  # between two counts of what changed, so that strokes do not wait for them


class CorrectionSection(Section):
    """Connects the widgets of Correction.ui with the segmentation that is edited, if one is.

    Which one it is says ``correctedSegmentation`` of the parameter node. Leaving the module, folding the section and
    closing the scene only let go of views and keys: nothing is done to nodes.
    """

    def __init__(self, path, logic):
        super().__init__(path, logic)
        ui = self.ui
        self._node, self._entered = None, False
        self._choice = CorrectionChoice(ui, logic)
        self._editor = CorrectionEditor(ui.editorWidget)
        self._tools = CorrectionTools(ui, logic, self._editor, self._say)
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._tools.showChanges)
        ui.correctButton.clicked.connect(self.onCorrect)
        ui.doneButton.clicked.connect(self.onDone)
        ui.volumeSelector.currentNodeChanged.connect(lambda *_: self._showChoice())
        ui.correctionCollapsibleButton.contentsCollapsed.connect(lambda *_: self._setActive())
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self._onNodeRemoved)
        self._say("")
        self._open(None)

    def enter(self):
        self._entered = True

    def exit(self):
        self._entered = False

    def closeScene(self):
        self._open(None)
        self._say("")

    def cleanup(self):
        self._entered = False
        self._open(None)

    def update(self):
        """Follow the parameter node; without one, keep what is open but leave views and keys alone."""
        if self.parameterNode is not None:
            node = self.parameterNode.correctedSegmentation
            if node is not self._node:
                self._open(node)
            self._showChoice()
        self._setActive()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeLeaves(self, caller, event, node):
        """The editor lets go of a node before it is gone: else its hidden selector takes another one for a moment."""
        if node is self._node:
            self._editor.close()
        super()._onNodeLeaves(caller, event, node)

    def onCorrect(self):
        """Open a copy of the draft, the segmentation itself if a person made it, or an empty one."""
        parameters, volume = self.parameterNode, self.ui.volumeSelector.currentNode()
        if parameters is None:
            return
        self._say("")
        try:
            chosen = parameters.resultSegmentation or self.logic.newSegmentation(volume)
            node = self.logic.openCorrection(chosen, volume)
        except MedSegAIError as error:
            self._say(str(error))
            return
        parameters.correctedSegmentation = node
        parameters.resultSegmentation = node

    def onDone(self):
        """Mark the segments as completed and show the correction as the result."""
        parameters, node = self.parameterNode, self._node
        if parameters is None or node is None:
            return
        self._setActive(False)
        self.logic.finishCorrection(node)
        parameters.correctedSegmentation = None
        parameters.resultSegmentation = node
        self._say(_("Done: {name}.").format(name=node.GetName()))

    def _open(self, node):
        """Edit this node; None edits nothing."""
        self._timer.stop()
        for observed in self._observed():
            self.removeObserver(*observed)
        self._node = None
        self._editor.close()
        if node is not None:
            self._editor.open(node, self.logic.volumeOf(node), self.logic.segmentsOverlap(node))
            self._node = node
            for observed in self._observed():
                self.addObserver(*observed)
            self.ui.correctionCollapsibleButton.collapsed = False
        self.ui.choiceWidget.visible = node is None
        self.ui.editingWidget.visible = node is not None
        self._tools.setNode(node)
        self._tools.update()
        self._tools.showChanges()

    def _observed(self) -> list[tuple]:
        """What is observed of the edited node: subject, event and callback."""
        if self._node is None:
            return []
        segments = slicer.vtkSegmentation
        edits = (segments.SourceRepresentationModified, segments.SegmentAdded, segments.SegmentRemoved)
        shown = (vtk.vtkCommand.ModifiedEvent, self._node.DisplayModifiedEvent)
        return [
            *((self._node, event, self._onEdited) for event in edits),
            *((self._node, event, self._onShown) for event in shown),
        ]

    def _setActive(self, *_event):
        """Use views and keys only while the user sees the editor."""
        seen = self._entered and self.parameterNode is not None and not self.ui.correctionCollapsibleButton.collapsed
        active = seen and self._node is not None
        self._editor.setActive(active)
        self._tools.setActive(active)

    def _showChoice(self):
        if self.parameterNode is not None and self._node is None:
            self._choice.update(self.parameterNode)

    def _onEdited(self, *_event):
        if not self._timer.active:  # while strokes follow each other, it is counted now and then
            self._timer.start()

    def _onShown(self, *_event):
        """It was renamed, or is displayed in another way, perhaps from the section above."""
        self._tools.update()

    def _onNodeRemoved(self, *_event):
        """The edited node, its draft or the volume may be the one."""
        if self._node is not None and not slicer.mrmlScene.IsNodePresent(self._node):
            name = self._node.GetName()
            self._open(None)
            self._say(_("{name} was removed from the scene.").format(name=name))
        self._tools.update()
        self._showChoice()

    def _say(self, text: str):
        """Show a sentence here and, for users who look at the views, in the window's status bar."""
        self.ui.messageLabel.text = text
        self.ui.messageLabel.visible = bool(text)
        if text:
            slicer.util.showStatusMessage(text, STATUS_MS)
