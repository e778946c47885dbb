"""Export of the segmentation: a format, a folder and a button, without any dialog."""

from __future__ import annotations

import html
import logging
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from MedSegAICore.errors import InputError, MedSegAIError
from MedSegAILib.panels.busy import busyCursor
from MedSegAILib.panels.dependencies import ensure

FOLDER, FORMAT = "MedSegAI/exportFolder", "MedSegAI/exportFormat"  # what people choose once is remembered for them
RTSTRUCT, DEIDENTIFY = "MedSegAI/exportRtstruct", "MedSegAI/exportDeidentify"
LONGEST = 26  # characters of a path that are shown
_BREAK = "\u200b"  # a line may break here; paths have no blanks


class ExportControls:
    """Connects the widgets with the logic, and says in one sentence what was written or why nothing was."""

    def __init__(self, ui, logic):
        self._ui, self._logic, self._node = ui, logic, None
        self._reason = self._folder = ""
        texts = {
            "seg.nrrd": _("Slicer (.seg.nrrd)"),
            "nii.gz": _("NIfTI (.nii.gz)"),
            "dcm": _("DICOM SEG (.dcm)"),
        }
        for format, text in texts.items():
            ui.formatComboBox.addItem(text, format)
        setting = slicer.util.settingsValue
        ui.formatComboBox.setCurrentIndex(max(0, ui.formatComboBox.findData(setting(FORMAT, "seg.nrrd"))))
        ui.folderButton.directory = setting(FOLDER, str(Path.home()))
        self._showFolder()
        ui.rtstructCheckBox.checked = setting(RTSTRUCT, False, converter=slicer.util.toBool)
        ui.deidentifyCheckBox.checked = setting(DEIDENTIFY, False, converter=slicer.util.toBool)
        ui.formatComboBox.currentIndexChanged.connect(self._onFormat)
        ui.folderButton.directoryChanged.connect(self._onFolder)
        ui.rtstructCheckBox.toggled.connect(lambda checked: qt.QSettings().setValue(RTSTRUCT, checked))
        ui.deidentifyCheckBox.toggled.connect(lambda checked: qt.QSettings().setValue(DEIDENTIFY, checked))
        ui.exportButton.clicked.connect(self._onExport)
        ui.exportLabel.linkActivated.connect(self._onLink)

    def update(self, node):
        """Say whether and why not this segmentation can be exported; it may be None."""
        if node is not self._node:
            self._forget()
        self._node = node
        if node is None:
            return
        ui, dicom = self._ui, self._format() == "dcm"
        for widget in (ui.dicomLabel, ui.rtstructCheckBox, ui.deidentifyCheckBox):
            widget.visible = dicom
        before, self._reason = self._reason, self._reasonNotToExport()
        ui.exportButton.enabled = not self._reason
        ui.exportButton.toolTip = self._reason or _("Write the segmentation into the folder. No file is ever replaced.")
        if self._reason != before:  # else what the last export said stays
            self._say(self._reason)

    def _reasonNotToExport(self) -> str:
        if self._node.GetSegmentation().GetNumberOfSegments() == 0:
            return _("There are no segments to export.")
        return self._logic.dicomProblem(self._node) if self._format() == "dcm" else ""

    def _format(self) -> str:
        return self._ui.formatComboBox.itemData(self._ui.formatComboBox.currentIndex)

    def _onFormat(self, *_index):
        qt.QSettings().setValue(FORMAT, self._format())
        self._forget()
        self.update(self._node)

    def _onFolder(self, *_path):
        qt.QSettings().setValue(FOLDER, self._ui.folderButton.directory)
        self._showFolder()

    def _showFolder(self):
        """The end of the path, which tells folders apart, and the whole of it in the tool tip."""
        path = self._ui.folderButton.directory
        self._ui.folderButton.text = path if len(path) <= LONGEST else "…" + path[1 - LONGEST :]
        self._ui.folderButton.toolTip = _("{path}: where exported files go. It is remembered.").format(path=path)

    def _onExport(self):
        if self._node is None:
            return
        self._say("")
        try:
            if self._format() == "dcm":
                self._ensureHighdicom()
            with busyCursor():
                paths = self._logic.exportSegmentation(
                    self._node,
                    self._ui.folderButton.directory,
                    self._format(),
                    rtstruct=self._ui.rtstructCheckBox.checked,
                    deidentify=self._ui.deidentifyCheckBox.checked,
                )
        except MedSegAIError as error:
            logging.error("The export failed: %s.", type(error).__name__)  # the sentence may hold a name
            self._say(str(error))
        except Exception:
            self._say(_("The export failed for a reason we did not foresee. See the error log."))
            raise
        else:
            self._showWritten(paths)

    def _ensureHighdicom(self):
        """A question and a download take a while, in which the window lives."""
        asked = self._node, self._format()
        ensure("highdicom", _("Writing DICOM SEG"))
        if asked != (self._node, self._format()):
            raise InputError(_("Another segmentation or format was chosen meanwhile. Nothing was written."))

    def _showWritten(self, paths):
        names = " + ".join([str(paths[0]), *(path.name for path in paths[1:])])
        self._say(_("Written: {files}.").format(files=names), str(paths[0].parent))

    def _onLink(self, *_link):
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._folder))

    def _forget(self):
        """What was said was about another segmentation or format."""
        self._reason = ""
        self._say("")

    def _say(self, sentence: str, folder: str = ""):
        """``folder``: offered to be opened."""
        text = html.escape(sentence)
        for sign in "/\\_":
            text = text.replace(sign, sign + _BREAK)
        if folder:
            text += ' <a href="folder">{}</a>'.format(_("Show folder"))
        self._folder = folder
        self._ui.exportLabel.text = text
        self._ui.exportLabel.visible = bool(text)
