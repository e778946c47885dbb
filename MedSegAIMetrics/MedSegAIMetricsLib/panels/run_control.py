"""Apply, Cancel, progress and messages of one run at a time; the window lives on meanwhile."""

from __future__ import annotations

import logging

import qt
from slicer.i18n import tr as _

from MedSegAICore.errors import Cancelled, MedSegAIError

TICK_MS = 20  # between two steps of a run


class RunControl:
    """Advances a ComparisonRun at each tick of a timer, and shows how far it is.

    ``changed``: called when a run began or ended. ``finished``: is given the result, and returns what to say.
    """

    def __init__(self, ui, logic, changed, finished):
        self._ui, self._logic, self._changed, self._finished = ui, logic, changed, finished
        self._run = None
        self._timer = qt.QTimer()
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._onTick)
        self._show(False)
        self.say("")

    @property
    def running(self) -> bool:
        return self._run is not None

    def say(self, text: str):
        self._ui.statusLabel.text = text
        self._ui.statusLabel.visible = bool(text)

    def start(self, begin):
        """``begin``: a function that gives a ComparisonRun."""
        with self._errorsShown():
            self._run = begin()
            self.say(_("Reading the segments…"))
            self._show(True)
            self._timer.start()
            self._changed()

    def cancel(self):
        """What the button does; nothing if there is no run, or it was canceled before."""
        if self.running:
            self.stop()
            self.say(str(Cancelled()))

    def stop(self):
        """End a run without a word: the scene is closed, or the module goes."""
        run, self._run = self._run, None
        self._timer.stop()
        if run is not None:
            run.cancel()
        self._show(False)
        self.say("")
        self._changed()

    def _onTick(self):
        if self._run is None:  # a tick that was under way when the run was stopped
            return
        with self._errorsShown():
            if not self._run.advance():
                self._showProgress()
                return
            result = self._run.result
            self.stop()
            self.say(self._finished(result))

    def _showProgress(self):
        bar = self._ui.progressBar
        bar.value = round(self._run.fraction * bar.maximum)
        if self._run.message:
            self.say(_("Comparing {name}…").format(name=self._run.message))

    def _show(self, running: bool):
        self._ui.cancelButton.enabled = running
        self._ui.progressBar.visible = running
        self._ui.progressBar.value = 0

    def _errorsShown(self):
        return _ErrorsShown(self)


class _ErrorsShown:
    """Ends the run when something fails, and says why in one sentence; what nobody foresaw is raised, too."""

    def __init__(self, control: RunControl):
        self._control = control

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _traceback) -> bool:
        if error is None:
            return False
        self._control.stop()
        if not isinstance(error, MedSegAIError):
            self._control.say(_("The comparison failed for a reason we did not foresee. See the error log."))
            return False
        logging.error("The comparison failed: %s.", type(error).__name__)  # the sentence may hold a name
        self._control.say(str(error))
        return True
