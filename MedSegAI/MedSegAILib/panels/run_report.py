"""What the panel says about a run: the line below the buttons, the progress bar, and the log in Details."""

from __future__ import annotations

import logging
import time

import qt
import slicer
from slicer.i18n import tr as _

from MedSegAICore.text import format_duration
from MedSegAILib.error_report import error_report, without_names
from MedSegAILib.worker.remaining import RemainingTime

NETWORK = "network"  # the stage that has tiles


class RunReport:
    """``ui``: the widgets of Segmentation.ui. The log is kept until the scene is closed."""

    def __init__(self, ui):
        self._ui = ui
        self._model, self._names, self._error = None, [], ""
        self._remaining, self._stage = RemainingTime(), ""
        ui.copyErrorButton.clicked.connect(self._copyError)
        ui.copyLogButton.clicked.connect(self._copyLog)
        self.idle()

    def idle(self):
        """Nothing runs, and nothing is said."""
        self._ui.progressBar.visible = self._ui.copyErrorButton.visible = False
        self.say("")

    def begin(self, model, nodes):
        """``nodes``: of this run; their names stay out of what is copied, now and later."""
        self._model = model
        self._names += [node.GetName() for node in nodes if node is not None]
        self._remaining, self._stage = RemainingTime(), ""
        self.idle()
        self._ui.progressBar.value = 0
        self._ui.progressBar.visible = True
        self.say(_("Starting…"))
        self.log(_("Started the model {title}.").format(title=model.title))

    def news(self, progress):
        """Show a piece of news of the worker."""
        self._ui.progressBar.value = round(progress.fraction * self._ui.progressBar.maximum)
        stages = {"load": _("Loading the model…"), "prepare": _("Preparing the volume…"), NETWORK: _("Segmenting…")}
        if progress.stage != self._stage:
            self._stage = progress.stage
            self.log(stages.get(progress.stage, progress.message))
        if progress.stage != NETWORK:
            self._ui.statusLabel.text = stages.get(progress.stage, progress.message)
        elif progress.fraction >= 1:
            self._ui.statusLabel.text = _("Finishing…")
        else:
            seconds = self._remaining.seconds(progress.fraction, time.monotonic())
            tiles = progress.message[:1].upper() + progress.message[1:]
            left = _("{tiles}, about {time} left").format(tiles=tiles, time=format_duration(seconds or 0))
            self._ui.statusLabel.text = tiles if seconds is None else left

    def end(self, text, warnings=(), failed=False):
        """Show how a run ended. ``failed``: offer to copy the error."""
        self._ui.progressBar.visible = False
        self._ui.copyErrorButton.visible = failed
        self._error = text if failed else ""
        self.say("\n".join([text, *(_("Warning: {text}").format(text=warning) for warning in warnings)]))
        for line in (text, *warnings):
            self.log(line)

    def say(self, text):
        """Show a sentence below the buttons."""
        self._ui.statusLabel.text = text
        self._ui.statusLabel.visible = bool(text)

    def log(self, text):
        """A line in Details."""
        self._ui.logTextEdit.appendPlainText(f"{time.strftime('%H:%M:%S')}  {text}")

    def forget(self):
        """The scene is closed: what was said of its volumes is of no use any more."""
        self._ui.logTextEdit.clear()
        self._names, self._error = [], ""

    def logError(self, error):
        """Into the application's log, which may be sent to others."""
        logging.error("%s: %s", type(error).__name__, without_names(str(error), self._names))

    def _copyError(self):
        self._copy(self._error)

    def _copyLog(self):
        self._copy(self._error or _("none"))

    def _copy(self, error):
        application = f"{slicer.app.applicationName} {slicer.app.applicationVersion}"
        text = error_report(error, self._ui.logTextEdit.plainText, self._model, self._names, application)
        qt.QApplication.clipboard().setText(text)
