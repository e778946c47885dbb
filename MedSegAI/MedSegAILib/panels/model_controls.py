"""The list of models, with a card one click away, and a menu to add and remove models."""

from __future__ import annotations

from pathlib import Path

import qt
from slicer.i18n import tr as _

from MedSegAICore.errors import MedSegAIError
from MedSegAILib.models.card_text import card_html
from MedSegAILib.panels.choices import choose, chosen

FOLDER_SETTING = "MedSegAI/ModelFolder"  # where the user looked for a model last
MS_BETWEEN_LOOKS = 200


class ModelControls:
    """``onChosen(modelId)`` and ``onListed()`` are called when the user chose a model, or the list changed.

    ``say(text)``: shows a sentence about what was added or removed.
    """

    def __init__(self, ui, widget, logic, onChosen, onListed, say):
        self._ui, self._widget, self._logic = ui, widget, logic
        self._onChosen, self._onListed, self._say = onChosen, onListed, say
        self._tip = ui.modelComboBox.toolTip
        self._models, self._dialog, self._adding, self._known = {}, None, None, set()
        self._timer = qt.QTimer()
        self._timer.setInterval(MS_BETWEEN_LOOKS)
        self._timer.timeout.connect(self._look)
        ui.modelComboBox.currentIndexChanged.connect(self._onIndex)
        ui.cardToolButton.clicked.connect(self.showCard)
        self._addMenu()

    def _addMenu(self):
        self._menu = qt.QMenu(self._ui.modelsToolButton)
        self._actions = {}
        for name, text, slot in (
            ("folder", _("Add a model folder…"), self._addFolder),
            ("file", _("Add a model file or zip…"), self._addFile),
            ("remove", _("Remove this model…"), self._remove),
            ("reload", _("Reload the list"), self.list),
        ):
            self._actions[name] = self._menu.addAction(text)
            self._actions[name].triggered.connect(lambda *_checked, slot=slot: slot())
        self._menu.aboutToShow.connect(self._updateMenu)
        self._ui.modelsToolButton.setMenu(self._menu)

    def list(self):
        """Read the library again."""
        self._models = {model.id: model for model in self._logic.listModels()}
        combo = self._ui.modelComboBox
        shown = chosen(combo)
        blocked = combo.blockSignals(True)
        combo.clear()
        for number, (identifier, model) in enumerate(self._models.items()):
            combo.addItem(model.title, identifier)
            combo.setItemData(number, model.card.intended_use if model.card else "", qt.Qt.ToolTipRole)
        combo.blockSignals(blocked)
        choose(combo, shown)
        self._onListed()

    def show(self, modelId):
        """Show which model is chosen; returns it, or None if the library does not have it."""
        choose(self._ui.modelComboBox, modelId)
        model = self._models.get(modelId)
        self._ui.cardToolButton.enabled = model is not None
        text = model.card.intended_use if model is not None and model.card is not None else ""
        self._ui.modelComboBox.toolTip = text or self._tip
        return model

    def showCard(self):
        """Show the card beside everything else; the panel can be used meanwhile."""
        model = self._models.get(chosen(self._ui.modelComboBox))
        if model is None:
            return
        self._closeCard()
        self._dialog = qt.QDialog(self._widget)
        self._dialog.setWindowTitle(model.title)
        self._dialog.setModal(False)
        browser = qt.QTextBrowser()
        browser.setHtml(card_html(model, _))
        qt.QVBoxLayout(self._dialog).addWidget(browser)
        self._dialog.resize(520, 640)
        self._dialog.show()

    def close(self):
        """Leave no window, timer or process behind."""
        self._timer.stop()
        self._closeCard()
        if self._adding is not None:
            self._adding.cancel()
            self._adding = None

    def _closeCard(self):
        if self._dialog is not None:
            self._dialog.close()
            self._dialog.deleteLater()
            self._dialog = None

    def _onIndex(self, *_index):  # Qt 5 passes the text or the index, depending on the overload
        if chosen(self._ui.modelComboBox) is not None:
            self._onChosen(chosen(self._ui.modelComboBox))

    def _updateMenu(self):
        model = self._models.get(chosen(self._ui.modelComboBox))
        self._actions["remove"].enabled = model is not None and not self._logic.isBundled(model)
        for name in ("folder", "file"):
            self._actions[name].enabled = self._adding is None

    def _addFolder(self):
        title = _("Folder of the model")
        self._add(qt.QFileDialog.getExistingDirectory(self._widget, title, self._lastFolder()))

    def _addFile(self):
        title, kinds = _("File of the model"), _("Models (*.zip *.onnx *.ts *.pt)")
        self._add(qt.QFileDialog.getOpenFileName(self._widget, title, self._lastFolder(), kinds))

    def _lastFolder(self):
        return qt.QSettings().value(FOLDER_SETTING, str(Path.home()))

    def _add(self, path):
        if not path or self._adding is not None:
            return
        qt.QSettings().setValue(FOLDER_SETTING, str(Path(path).parent))
        self._known = set(self._models)
        try:
            self._adding = self._logic.startAddingModel(path)
        except MedSegAIError as error:
            self._say(str(error))
            return
        self._say(_("Adding {name}: its weights are checked…").format(name=Path(path).name))
        self._timer.start()

    def _look(self):
        if self._adding is None or not self._adding.done:
            return
        self._timer.stop()
        adding, self._adding = self._adding, None
        try:
            adding.finish()
        except MedSegAIError as error:
            self._say(str(error))
            return
        self.list()
        for identifier in self._models:
            if identifier not in self._known:
                self._say(_("Added the model {title}.").format(title=self._models[identifier].title))
                self._onChosen(identifier)

    def _remove(self):
        model = self._models.get(chosen(self._ui.modelComboBox))
        if model is None:
            return
        question = _("Delete the model {title} from your models? Its files in {folder} are deleted.").format(
            title=model.title, folder=model.root
        )
        buttons = qt.QMessageBox.Yes | qt.QMessageBox.No
        answer = qt.QMessageBox.question(self._widget, _("Remove model"), question, buttons, qt.QMessageBox.No)
        if answer != qt.QMessageBox.Yes:
            return
        try:
            self._logic.removeModel(model)
            self._say(_("Removed the model {title}.").format(title=model.title))
        except (MedSegAIError, OSError) as error:
            self._say(str(error))
        self.list()
