"""What a user sees of the correction while nothing is edited: what would be, on which volume, and the button."""

from __future__ import annotations

from slicer.i18n import tr as _


class CorrectionChoice:
    """Shows what the button does with the chosen segmentation."""

    def __init__(self, ui, logic):
        self._ui, self._logic = ui, logic

    def update(self, parameterNode):
        """Follow the segmentation under Result. A volume is asked for only where none is known."""
        ui, node = self._ui, parameterNode.resultSegmentation
        asks = node is None or self._logic.volumeOf(node) is None
        ui.volumeLabel.visible = ui.volumeSelector.visible = asks
        if asks and ui.volumeSelector.currentNode() is None and parameterNode.inputVolume is not None:
            ui.volumeSelector.setCurrentNode(parameterNode.inputVolume)
        ui.choiceLabel.text, ui.correctButton.text, tip = self._texts(node)
        ready = not asks or ui.volumeSelector.currentNode() is not None
        ui.correctButton.enabled = ready
        ui.correctButton.toolTip = tip if ready else _("Choose the volume to draw on.")

    def _texts(self, node) -> tuple[str, str, str]:
        """The sentence above the button, its text and its tool tip."""
        correct, goOn = _("Correct"), _("Go on correcting")
        edit = _("Open the segmentation in the editor.")
        if node is None:
            text = _("Run a model or choose a segmentation above, or draw a new one.")
            return text, _("Draw a new segmentation"), _("Make a segmentation with one empty segment, and open it.")
        name = node.GetName()
        if self._logic.isDraft(node):
            corrections = self._logic.correctionsOf(node)
            if corrections:
                text = _("{name} is being corrected as {correction}.")
                return text.format(name=name, correction=corrections[-1].GetName()), goOn, edit
            text = _("A copy of {name} is edited. The draft itself stays as it is.")
            return text.format(name=name), correct, _("Copy the draft and open the copy in the editor.")
        if self._logic.draftOf(node) is not None:
            return _("{name} is a correction.").format(name=name), goOn, edit
        return _("{name} itself is edited.").format(name=name), correct, edit
