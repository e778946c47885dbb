"""The first section of the panel: choose volumes and a model, and run it."""

from __future__ import annotations

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from MedSegAICore.errors import Cancelled, MedSegAIError
from MedSegAICore.panels.section import Section
from MedSegAILib.panels.channel_rows import ChannelRows
from MedSegAILib.panels.choices import choose, chosen, devices, fillChoices, qualities, registrations
from MedSegAILib.panels.model_controls import ModelControls
from MedSegAILib.panels.pytorch import ensureTorch, isTorchInstalled
from MedSegAILib.panels.run_control import RunControl
from MedSegAILib.panels.run_report import RunReport

DEVICE_SETTING = "MedSegAI/Device"
MS_UNTIL_CHECKED = 100  # after the last change of a volume or region, which come in dozens while one is dragged
MS_BETWEEN_LOOKS = 500  # for the name of the device


class SegmentationSection(Section):
    """Connects the widgets of Segmentation.ui with the logic. It computes nothing."""

    def __init__(self, path, logic):
        super().__init__(path, logic)
        ui = self.ui
        self._target = None  # the parameter node that the current run belongs to
        self._isClosing = False
        self._observed = []
        self._run = RunControl(logic, self._onNews, self._onEnd)
        self._report = RunReport(ui)
        self._channels = ChannelRows(ui, lambda: self.parameterNode, self._onNodeModified)
        self._models = ModelControls(ui, self.widget, logic, self._onModelChosen, self.update, self._report.say)
        self._fillChoices()
        self._checkTimer, self._deviceTimer = qt.QTimer(), qt.QTimer()
        self._checkTimer.setSingleShot(True)
        self._checkTimer.setInterval(MS_UNTIL_CHECKED)
        self._checkTimer.timeout.connect(self.update)
        self._deviceTimer.setInterval(MS_BETWEEN_LOOKS)
        self._deviceTimer.timeout.connect(self._showDevice)
        ui.applyButton.clicked.connect(self.onApplyButton)
        ui.cancelButton.clicked.connect(self.onCancelButton)
        ui.matchButton.clicked.connect(self.onMatchButton)
        ui.roiSelector.nodeAddedByUser.connect(self._onRoiAdded)
        self.update()

    def _fillChoices(self):
        ui = self.ui
        fillChoices(ui.qualityComboBox, qualities())
        fillChoices(ui.registrationComboBox, registrations())
        fillChoices(ui.deviceComboBox, devices(None))
        choose(ui.deviceComboBox, qt.QSettings().value(DEVICE_SETTING, "auto"))
        ui.qualityComboBox.currentIndexChanged.connect(lambda *_index: self._onChoice("quality", ui.qualityComboBox))
        ui.registrationComboBox.currentIndexChanged.connect(
            lambda *_index: self._onChoice("registration", ui.registrationComboBox)
        )
        ui.deviceComboBox.currentIndexChanged.connect(self._onDeviceChosen)

    # ---- what Slicer calls -----------------------------------------------------------------------------------------

    def setParameterNode(self, parameterNode):
        if parameterNode is not None and parameterNode.inputVolume is None:
            parameterNode.inputVolume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        super().setParameterNode(parameterNode)
        if parameterNode is not None:
            self._models.list()

    def enter(self):
        if isTorchInstalled():
            try:
                self.logic.prepareWorker()
            except MedSegAIError as error:
                self._report.log(str(error))
            self._deviceTimer.start()

    def exit(self):
        self._deviceTimer.stop()

    def closeScene(self):
        self._isClosing = self._run.running
        self._run.cancel()
        if not self._run.running:
            self._report.idle()
        self._report.forget()

    def cleanup(self):
        self._checkTimer.stop()
        self._deviceTimer.stop()
        self._run.close()
        self._models.close()
        self.logic.closeWorker()

    # ---- showing ---------------------------------------------------------------------------------------------------

    def update(self):
        """Follow the parameter node: what is chosen, whether it fits, whether and why not Apply can be pressed."""
        if self.parameterNode is None:
            self._checkTimer.stop()
            self._observe([])
            self.ui.applyButton.enabled = False
            return
        chosenNode = self.parameterNode
        model = self._models.show(chosenNode.modelId)
        self._channels.show(model)
        choose(self.ui.qualityComboBox, chosenNode.quality)
        choose(self.ui.registrationComboBox, chosenNode.registration)
        nodes = self._channels.nodes(model) if model is not None else []
        self._observe([*nodes, chosenNode.roi, chosenNode.outputSegmentation])
        reason = self._reasonNotToApply(model, nodes) or self._check(model, nodes)
        self._showOutput(model)
        running = self._run.running
        for name in ("inputs", "outputs", "advanced"):
            getattr(self.ui, f"{name}CollapsibleButton").enabled = not running
        self.ui.cancelButton.enabled = running
        self.ui.applyButton.enabled = not reason and not running
        ready = _("A run is under way.") if running else _("Run the model on the volume.")
        self.ui.applyButton.toolTip = reason or ready

    def _reasonNotToApply(self, model, nodes) -> str:
        """Why Apply is off; the line about the protocol is emptied, as there is nothing to check."""
        reason = ""
        if self.parameterNode.inputVolume is None:
            reason = _("Choose the volume to segment.")
        elif model is None:
            missing = _("The model {id} of this scene is not in your library: add it, or choose another one.")
            known = self.ui.modelComboBox.count and self.parameterNode.modelId
            reason = missing.format(id=self.parameterNode.modelId) if known else _("Choose a model.")
        elif None in nodes:
            reason = _("Choose the volume for {channel}.").format(channel=model.channel_names[nodes.index(None)])
        if reason:
            self._showProtocol([reason] if model is None else [])
        return reason

    def _check(self, model, nodes) -> str:
        """Show what differs from the model's protocol; returns why it cannot run at all."""
        try:
            self._showProtocol(self.logic.checkProtocol(nodes, model, roiNode=self.parameterNode.roi))
            self.logic.checkOutput(self.parameterNode.outputSegmentation, nodes[0])
        except MedSegAIError as error:
            self._showProtocol([str(error)])
            return str(error)
        return ""

    def _showProtocol(self, sentences):
        self.ui.protocolLabel.text = "\n".join(f"⚠ {sentence}" for sentence in sentences)
        self.ui.protocolLabel.visible = bool(sentences)

    def _showOutput(self, model):
        """Say what Apply will do with the chosen segmentation."""
        output = self.parameterNode.outputSegmentation
        present = output.GetSegmentation().GetNumberOfSegments() if output is not None else 0
        text = ""
        if present and model is not None:
            text = _("{new} segments will be added to the {present} that are there. None of these is changed.")
        self.ui.outputHintLabel.text = text.format(new=len(model.labels), present=present) if text else ""
        self.ui.outputHintLabel.visible = bool(text)

    def _showDevice(self):
        name = self.logic.deviceName()
        if name is not None:
            self._deviceTimer.stop()
            shown = chosen(self.ui.deviceComboBox)
            fillChoices(self.ui.deviceComboBox, devices(name))
            choose(self.ui.deviceComboBox, shown)

    def _observe(self, nodes):
        """Check again when a chosen node changes: its voxels, its place, the region's handles."""
        nodes = [node for node in nodes if node is not None]
        if nodes == self._observed:
            return
        events = (
            vtk.vtkCommand.ModifiedEvent,
            slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
            slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
            slicer.vtkMRMLMarkupsNode.PointModifiedEvent,
        )
        for node in self._observed:
            for event in events:
                self.removeObserver(node, event, self._onNodeModified)
        self._observed = list(dict.fromkeys(nodes))
        for node in self._observed:
            for event in events:
                self.addObserver(node, event, self._onNodeModified)

    # ---- what the user does ----------------------------------------------------------------------------------------

    def _onNodeModified(self, *_event):
        if self.parameterNode is not None:
            self._checkTimer.start()

    def _onModelChosen(self, modelId):
        if self.parameterNode is not None:
            self.parameterNode.modelId = modelId

    def _onChoice(self, parameter, comboBox):
        if self.parameterNode is not None and chosen(comboBox) is not None:
            setattr(self.parameterNode, parameter, chosen(comboBox))

    def _onDeviceChosen(self, *_index):
        qt.QSettings().setValue(DEVICE_SETTING, chosen(self.ui.deviceComboBox))

    def _onRoiAdded(self, node):
        if self.parameterNode is not None and self.parameterNode.inputVolume is not None:
            self.logic.fitRoi(node, self.parameterNode.inputVolume)
            self.update()

    def onMatchButton(self):
        """Suggest which volume of the scene is which channel."""
        volumes = [
            node
            for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            if not node.IsA("vtkMRMLLabelMapVolumeNode") and not node.GetHideFromEditors()
        ]
        try:
            self._channels.suggest(self.logic.matchChannels(volumes, self._models.show(self.parameterNode.modelId)))
        except MedSegAIError as error:
            self._report.say(str(error))
        self.update()

    def onApplyButton(self):
        """Start the run. Errors that a user can mend are shown in the panel; nothing is written then."""
        if self._run.running or self.parameterNode is None:
            return
        try:
            ensureTorch()
            if self.parameterNode is not None:  # the scene could be closed while PyTorch was installed
                self._start()
        except Exception as error:
            self._onEnd(None, error)
        self.update()

    def _start(self):
        parameters = self.parameterNode
        model = self._models.show(parameters.modelId)
        nodes = self._channels.nodes(model)
        several = len(nodes) > 1 and parameters.registration != "none"
        self._report.begin(model, [*nodes, parameters.roi, parameters.outputSegmentation])
        self._target, self._isClosing = parameters, False
        self._run.start(
            nodes,
            model,
            roiNode=parameters.roi,
            registration=parameters.registration if several else None,
            outputSegmentationNode=parameters.outputSegmentation,
            device=chosen(self.ui.deviceComboBox) or "auto",
            quality=parameters.quality,
            mirroring=True if parameters.mirroring else None,
            strict=parameters.strict,
            probabilities=parameters.probabilities,
            uncertainty=parameters.uncertainty,
        )

    def onCancelButton(self):
        if self._run.running:
            self._run.cancel()
            self.ui.cancelButton.enabled = False
            self._report.say(_("Canceling…"))

    # ---- what the run tells ----------------------------------------------------------------------------------------

    def _onNews(self, progress):
        if self.ui.cancelButton.enabled:
            self._report.news(progress)

    def _onEnd(self, node, error):
        """The run is over, whatever has become of the panel, its nodes and the scene meanwhile."""
        target, self._target = self._target, None
        if node is not None:
            if slicer.mrmlScene.IsNodePresent(target.parameterNode):
                target.resultSegmentation = node
            done = _("Done: {name}. Review it before you use it.").format(name=node.GetName())
            self._report.end(done, self.logic.warnings(node))
        elif self._isClosing:
            self._report.idle()
        elif isinstance(error, Cancelled):
            self._report.end(str(error))
        else:
            self._showError(error)
        self._isClosing = False
        self.update()
        if error is not None and not isinstance(error, MedSegAIError):
            raise error  # Slicer's error log gets the traceback

    def _showError(self, error):
        self._report.logError(error)
        if isinstance(error, MedSegAIError):
            self._report.end(str(error), failed=True)
            self._models.list()  # its folder may be gone
            return
        text = _("The segmentation failed for a reason we did not foresee: {reason}. See the error log.")
        self._report.end(text.format(reason=f"{type(error).__name__}: {error}".rstrip(".")), failed=True)
