"""The first section of the panel: choose a reference, a test and what to measure, and compare."""

from __future__ import annotations

from slicer.i18n import tr as _

from MedSegAICore.errors import InputError
from MedSegAICore.panels.section import Section
from MedSegAIMetricsLib.panels.run_control import RunControl
from MedSegAIMetricsLib.panels.segment_lists import SegmentLists

# The values of the entries of combo boxes, whose texts are in the .ui file.
CHOICES = {
    "surface": ("face", "surfel", "voxelcenter", "smooth"),
    "region": ("image", "union"),
    "grid": ("reference", "test"),
}


class ComparisonSection(Section):
    """Connects the widgets of Comparison.ui with the logic. It computes nothing."""

    def __init__(self, path, logic):
        super().__init__(path, logic)
        ui = self.ui
        self.lists = SegmentLists(
            {"reference": ui.referenceSegmentComboBox, "test": ui.testSegmentComboBox}, logic, self.update
        )
        self.run = RunControl(ui, logic, self._onRunChanged, self._showResult)
        self._combos = {
            "referenceSegmentId": ui.referenceSegmentComboBox,
            "testSegmentId": ui.testSegmentComboBox,
            "surface": ui.surfaceComboBox,
            "region": ui.regionComboBox,
            "grid": ui.gridComboBox,
        }
        self._edits = {"percentiles": ui.percentilesLineEdit, "tolerancesMm": ui.tolerancesLineEdit}
        for parameter, values in CHOICES.items():
            for index, value in enumerate(values):
                self._combos[parameter].setItemData(index, value)
        for parameter, combo in self._combos.items():
            self._connect(combo.currentIndexChanged, parameter, lambda box=combo: box.itemData(box.currentIndex))
        for parameter, edit in self._edits.items():
            self._connect(edit.textChanged, parameter, lambda line=edit: line.text)
        ui.applyButton.clicked.connect(self.onApplyButton)
        ui.cancelButton.clicked.connect(self.run.cancel)

    def _connect(self, signal, parameter: str, read):
        """Keep what the user chooses in a widget that the parameter node does not know."""

        def onChanged(*_value):
            if self.parameterNode is not None and read() not in (None, getattr(self.parameterNode, parameter)):
                setattr(self.parameterNode, parameter, read())

        signal.connect(onChanged)

    def closeScene(self):
        self.run.stop()
        self.lists.follow(None)

    def cleanup(self):
        self.run.stop()
        self.lists.follow(None)

    def update(self):
        """Follow the parameter node: what is chosen, and whether and why not Apply can be pressed."""
        chosen = self.parameterNode
        self.lists.follow(chosen)
        if chosen is None:
            return
        for parameter, combo in self._combos.items():
            combo.setCurrentIndex(combo.findData(getattr(chosen, parameter)))
        for parameter, edit in self._edits.items():
            if edit.text != getattr(chosen, parameter):  # setting the text moves the cursor
                edit.text = getattr(chosen, parameter)
        for widget in (self.ui.percentilesLineEdit, self.ui.tolerancesLineEdit, self.ui.surfaceComboBox):
            widget.enabled = chosen.measureSurface
        self.ui.marginSpinBox.enabled = chosen.region == "union"
        self._updateApply()

    def _updateApply(self):
        wrong = self._wrongSettings()
        self.ui.settingsMessageLabel.text = wrong
        self.ui.settingsMessageLabel.visible = bool(wrong)
        reason = self._reasonNotToApply() or wrong
        self.ui.applyButton.enabled = not reason
        self.ui.applyButton.toolTip = reason or _("Compare the test with the reference.")

    def _wrongSettings(self) -> str:
        try:
            self.logic.settings(self.parameterNode)
        except InputError as error:
            return str(error)
        return ""

    def _reasonNotToApply(self) -> str:
        chosen = self.parameterNode
        if self.run.running:
            return _("A comparison is running. Wait for it, or cancel it.")
        if chosen.referenceNode is None:
            return _("Choose the reference.")
        if chosen.testNode is None:
            return _("Choose the test.")
        for side, node in (("reference", chosen.referenceNode), ("test", chosen.testNode)):
            if not self.lists.segments(side):
                return _("{name} has no segments.").format(name=node.GetName())
        if bool(chosen.referenceSegmentId) != bool(chosen.testSegmentId):
            return _("Choose a segment on both sides, or on none.")
        if chosen.referenceNode is chosen.testNode and chosen.referenceSegmentId == chosen.testSegmentId:
            return _("Reference and test are the same. Choose another test, or two segments.")
        return ""

    def onApplyButton(self):
        """Begin to compare; the nodes are read in the first steps, so that they may change or vanish later."""
        chosen = self.parameterNode
        if self.run.running or chosen is None:
            return
        self.run.start(
            lambda: self.logic.startComparison(
                chosen.referenceNode,
                chosen.testNode,
                referenceSegmentId=chosen.referenceSegmentId or None,
                testSegmentId=chosen.testSegmentId or None,
                **self.logic.settings(chosen),
            )
        )

    def _onRunChanged(self):
        """A run began or ended."""
        if self.parameterNode is not None:
            self._updateApply()

    def _showResult(self, comparison) -> str:
        """Write a table and choose it, whether this panel is seen or not. Returns what to say."""
        table = self.logic.createTable(comparison)
        self.logic.getParameterNode().resultTable = table
        reference, test = comparison.names
        return _("Done: {test} compared with {reference}.").format(test=test, reference=reference)
