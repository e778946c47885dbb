"""The first section of the panel: choose a volume and a model, and run it."""

from __future__ import annotations

import logging

import slicer
from slicer.i18n import tr as _

from MedSegAICore.errors import Cancelled, MedSegAIError
from MedSegAICore.panels.section import Section
from MedSegAILib.panels.pytorch import ensureTorch


class SegmentationSection(Section):
    """Connects the widgets of Segmentation.ui with the logic. It computes nothing."""

    def __init__(self, path, logic):
        super().__init__(path, logic)
        ui = self.ui
        self._running = self._cancelled = False
        self._models = {}
        ui.modelComboBox.currentIndexChanged.connect(self.onModelChosen)
        ui.applyButton.clicked.connect(self.onApplyButton)
        ui.cancelButton.clicked.connect(self.onCancelButton)
        self._setRunning(False)

    def setParameterNode(self, parameterNode):
        if parameterNode is not None and parameterNode.inputVolume is None:
            parameterNode.inputVolume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        super().setParameterNode(parameterNode)
        if parameterNode is not None:
            self.fillModels()
            self.update()

    def closeScene(self):
        self._cancelled = True
        self.ui.statusLabel.text = ""

    def cleanup(self):
        self._cancelled = True

    def fillModels(self):
        """List the models of the library again and choose the one of the parameter node."""
        combo = self.ui.modelComboBox
        self._models = {model.id: model for model in self.logic.listModels()}
        combo.blockSignals(True)
        combo.clear()
        for identifier, model in self._models.items():
            combo.addItem(model.title, identifier)
        combo.setCurrentIndex(combo.findData(self.parameterNode.modelId))
        combo.blockSignals(False)

    def update(self):
        """Follow the parameter node: the model's description, and whether and why not Apply can be pressed."""
        if self.parameterNode is None:
            return
        combo = self.ui.modelComboBox
        combo.setCurrentIndex(combo.findData(self.parameterNode.modelId))
        model = self._models.get(self.parameterNode.modelId)
        self.ui.modelLabel.text = model.card.intended_use if model and model.card else ""
        reason = self._reasonNotToApply(model)
        self.ui.applyButton.enabled = not reason and not self._running
        self.ui.applyButton.toolTip = reason or _("Run the model on the volume.")

    def _reasonNotToApply(self, model) -> str:
        if self.parameterNode.inputVolume is None:
            return _("Choose the volume to segment.")
        if model is None:
            return _("Choose a model.")
        return ""

    def onModelChosen(self, *_index):
        index = self.ui.modelComboBox.currentIndex  # Qt 5 passes the text or the index, depending on the overload
        if self.parameterNode is not None and index >= 0:
            self.parameterNode.modelId = self.ui.modelComboBox.itemData(index)

    def onCancelButton(self):
        self._cancelled = True
        self.ui.cancelButton.enabled = False
        self.ui.statusLabel.text = _("Canceling…")

    def onApplyButton(self):
        """Run the model. Errors that a user can mend are shown in the panel; nothing is written then."""
        if self._running or self.parameterNode is None:
            return
        self._setRunning(True)
        try:
            ensureTorch()
            self._showResult(self._segment())
        except Cancelled as error:
            self.ui.statusLabel.text = str(error)
        except MedSegAIError as error:
            logging.error(str(error))
            self.ui.statusLabel.text = str(error)
        except Exception:
            self.ui.statusLabel.text = _("The segmentation failed for a reason we did not foresee. See the error log.")
            raise
        finally:
            self._setRunning(False)

    def _segment(self):
        chosen = self.parameterNode
        return self.logic.segment(
            chosen.inputVolume,
            self._models[chosen.modelId],
            outputSegmentationNode=chosen.outputSegmentation,
            device=chosen.device,
            mirroring=chosen.mirroring,
            strict=chosen.strict,
            progress=self._onProgress,
            cancelled=lambda: self._cancelled,
        )

    def _onProgress(self, fraction, message):
        """Let the window live between tiles. Everything may happen in here: the scene may even be closed."""
        self.ui.progressBar.value = round(fraction * self.ui.progressBar.maximum)
        if not self._cancelled:
            self.ui.statusLabel.text = message
        slicer.app.processEvents()

    def _setRunning(self, running):
        self._running, self._cancelled = running, False
        ui = self.ui
        for section in (ui.inputsCollapsibleButton, ui.outputsCollapsibleButton, ui.advancedCollapsibleButton):
            section.enabled = not running
        self.ui.cancelButton.enabled = running
        self.ui.progressBar.visible = running
        self.ui.progressBar.value = 0
        if running:
            self.ui.applyButton.enabled = False
            self.ui.statusLabel.text = _("Preparing…")
            slicer.app.processEvents()
        else:
            self.update()

    def _showResult(self, segmentationNode):
        if self.parameterNode is not None:
            self.parameterNode.resultSegmentation = segmentationNode
        warnings = self.logic.warnings(segmentationNode)
        done = _("Done: {name}. Review it before you use it.").format(name=segmentationNode.GetName())
        self.ui.statusLabel.text = "\n".join([done, *(_("Warning: {text}").format(text=text) for text in warnings)])
