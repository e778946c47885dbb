"""One row for each volume that a model takes: what it is called, which one is chosen, what the model expects of it."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from MedSegAILib.models.card_text import channel_hint

ROLE = "channelVolume{number}"  # of the parameter node's references to the volumes after the first one
FIRST_ROW = 3  # of the form layout, below the first volume and its hint


class ChannelRows:
    """The first row is that of the .ui file and of ``inputVolume``; the others are made when a model needs them.

    ``ui``: the widgets of Segmentation.ui. ``parameterNode()``: the current one, or None. ``onChanged()``: is called
    when a selector shows something else than was chosen, so that the rows are shown again.
    """

    def __init__(self, ui, parameterNode, onChanged):
        self._ui, self._parameterNode, self._onChanged = ui, parameterNode, onChanged
        self._form = ui.inputsWidget.layout()
        self._rows = []
        self._model = None
        self._reasons = {}  # by channel, of the last suggestion: text and tool tip

    def show(self, model):
        """Show as many rows as the model has channels, with what is chosen."""
        if model is not self._model:
            self._model, self._reasons = model, {}
        names = model.channel_names if model is not None else ("",)
        while len(self._rows) < len(names) - 1:
            self._addRow()
        several = len(names) > 1
        self._ui.inputLabel.text = names[0] + ":" if several else _("Volume:")
        for widget in (self._ui.registrationLabel, self._ui.registrationComboBox, self._ui.matchButton):
            widget.visible = several
        self._hint(self._ui.inputHintLabel, 0)
        for number, (label, selector, hint) in enumerate(self._rows, start=1):
            used = number < len(names)
            for widget in (label, selector):
                widget.visible = used
            hint.visible = False
            if used:
                label.text = names[number] + ":"
                selector.setCurrentNode(self._node(number))
                self._hint(hint, number)

    def nodes(self, model) -> list:
        """The chosen volumes in the order of the channels; None where none is chosen."""
        others = range(1, len(model.channel_names))
        return [self._parameterNode().inputVolume, *(self._node(number) for number in others)]

    def suggest(self, assignment):
        """Show which volume is which channel; those that are not clear stay as they are, and their rows say why."""
        for number, match in enumerate(assignment.matches):
            clear = match.volume is not None
            short = _("✓ the only one that fits") if clear else f"? {match.reason}"
            self._reasons[match.channel] = short, match.reason
            if clear:
                self._choose(number, match.volume)

    def _node(self, number):
        return self._parameterNode().parameterNode.GetNodeReference(ROLE.format(number=number))

    def _choose(self, number, node):
        if number == 0:
            self._parameterNode().inputVolume = node
        else:
            identifier = node.GetID() if node is not None else None
            self._parameterNode().parameterNode.SetNodeReferenceID(ROLE.format(number=number), identifier)

    def _hint(self, label, number):
        name = self._model.channel_names[number] if self._model is not None else ""
        text = channel_hint(self._model, number) if self._model is not None else ""
        label.text, label.toolTip = self._reasons.get(name) or (text, _("What the model expects of this volume."))
        label.visible = bool(label.text)

    def _addRow(self):
        number = len(self._rows) + 1
        label, hint = qt.QLabel(), qt.QLabel()
        hint.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Preferred)
        hint.wordWrap, hint.textFormat = True, qt.Qt.PlainText
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.showChildNodeTypes = selector.addEnabled = selector.removeEnabled = False
        selector.noneEnabled, selector.noneDisplay = True, _("Choose a volume")
        selector.toolTip = _("The volume of this channel. It is resampled to the first volume.")
        selector.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)  # long names do not widen the panel
        selector.setMRMLScene(slicer.mrmlScene)
        # When the shown node is deleted, the selector takes its neighbor; a channel must not get another volume so.
        selector.nodeActivated.connect(lambda *_node: self._onChosen(number, selector))
        selector.currentNodeChanged.connect(lambda *_node: self._onChanged())
        row = FIRST_ROW + 2 * (number - 1)
        self._form.insertRow(row, label, selector)
        self._form.insertRow(row + 1, "", hint)
        self._rows.append((label, selector, hint))

    def _onChosen(self, number, selector):
        if self._parameterNode() is not None and self._node(number) is not selector.currentNode():
            self._choose(number, selector.currentNode())
