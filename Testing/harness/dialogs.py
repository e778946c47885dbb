"""What would wait for a user does not wait: a test answers it beforehand, or fails.

>>> answers.give("Overwrite", True)              # slicer.util.confirmOkCancelDisplay("Overwrite it?") returns True
>>> answers.give("Save", str(path))              # qt.QFileDialog.getSaveFileName(None, "Save as") returns the path
>>> answers.give("Model", lambda dialog: dialog.accept())   # called while the dialog's exec_() runs
>>> answers.asked                                # all that was asked: kind and text
"""

from __future__ import annotations

from dataclasses import dataclass

from PySide6 import QtCore, QtGui, QtWidgets

from harness.failures import failures
from harness.strictness import is_harness


@dataclass(frozen=True)
class Asked:
    """A question or message that a user would have seen."""

    kind: str
    text: str


class Answers:
    """The answers that a test has prepared, and what was asked."""

    def __init__(self):
        self.asked: list[Asked] = []
        self._prepared: list[tuple[str, object]] = []

    def give(self, text: str, answer=None):
        """Prepare the answer to the next dialog whose title or text contains ``text``."""
        self._prepared.append((text, answer))

    def clear(self):
        self.asked.clear()
        self._prepared.clear()

    def ask(self, kind: str, text: str, otherwise=None):
        """The prepared answer; without one, ``otherwise`` and a failure."""
        self.asked.append(Asked(kind, text))
        for index, (part, answer) in enumerate(self._prepared):
            if part in text:
                del self._prepared[index]
                return answer
        failures.add(f"{kind} would wait for a user, and the test has no answer: {text!r}")
        return otherwise


answers = Answers()


def install(qt):
    """Replace the modal functions of the module ``qt``."""
    for cls in (QtWidgets.QDialog, QtWidgets.QMenu):
        cls.exec = cls.exec_ = _exec(cls.exec)
    files = {"getOpenFileName": "", "getSaveFileName": "", "getExistingDirectory": "", "getOpenFileNames": ()}
    for name, cancelled in files.items():  # PythonQt gives the path alone, where PySide6 gives it with the filter
        setattr(qt.QFileDialog, name, _static(f"QFileDialog.{name}", cancelled))
    for name in ("getText", "getMultiLineText", "getItem", "getInt", "getDouble"):
        setattr(qt.QInputDialog, name, _static(f"QInputDialog.{name}", "" if name[3:] not in ("Int", "Double") else 0))
    for name in ("question", "information", "warning", "critical", "about"):
        setattr(qt.QMessageBox, name, _static(f"QMessageBox.{name}", 0))
    qt.QColorDialog.getColor = _static("QColorDialog.getColor", QtGui.QColor())


def install_in_slicer_util(util):
    """Replace the functions of slicer.util that show a message; their arguments stay Slicer's."""
    for name in ("infoDisplay", "warningDisplay", "errorDisplay", "messageBox"):
        setattr(util, name, _display(name, None))
    for name in ("confirmOkCancelDisplay", "confirmYesNoDisplay", "confirmRetryCloseDisplay"):
        setattr(util, name, _display(name, False))
    util.delayDisplay = lambda message, autoCloseMsec=1000, parent=None, **_: answers.asked.append(
        Asked("delayDisplay", message)
    )


def _display(name: str, otherwise):
    def display(text, windowTitle=None, parent=None, standardButtons=None, **_):
        return answers.ask(f"slicer.util.{name}", text, otherwise)

    return display


def _static(name: str, cancelled):
    def ask(*arguments):
        return answers.ask(name, " ".join(one for one in arguments if isinstance(one, str)), cancelled)

    return staticmethod(ask)


def _exec(original):
    def execute(self, *arguments):
        if is_harness():
            return original(self, *arguments)
        answer = answers.ask(f"{type(self).__name__}.exec", _texts(self), 0)
        if not callable(answer):
            return answer

        def respond():
            try:
                answer(self)
            finally:
                if self.isVisible():
                    failures.add(f"The test's answer left the dialog open: {_texts(self)!r}")
                    self.close()

        QtCore.QTimer.singleShot(0, respond)
        return original(self)

    return execute


def _texts(dialog) -> str:
    """The dialog's title and text."""
    texts = [dialog.property(name) for name in ("windowTitle", "title", "text", "informativeText")]
    return " ".join(text for text in texts if text)
