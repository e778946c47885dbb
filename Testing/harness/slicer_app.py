"""``slicer.app`` with a Qt application, and its module manager."""

from __future__ import annotations

import platform

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Signal


class qSlicerApplication(QtCore.QObject):
    """What panels use of ``slicer.app``. What it lacks itself is asked of MedSegAICore's application, then of Qt's.

    ``ended`` lists calls of quit(), exit() and restart(), which do nothing else.
    """

    startupCompleted = Signal()
    aboutToQuit = Signal()
    mrmlSceneChanged = Signal(object)

    applicationName = "Slicer"
    mainApplicationName = "Slicer"

    def __init__(self, core):
        super().__init__()
        self._core, self._modules = core, qSlicerModuleManager(core.moduleManager())
        self.startupFunctions, self.ended = [], []
        self.os, self.arch = platform.system().lower(), platform.machine()

    def __getattr__(self, name: str):
        if name.startswith("_"):
            raise AttributeError(name)
        for other in (self._core, QtWidgets.QApplication.instance()):
            if hasattr(other, name):
                return getattr(other, name)
        raise AttributeError(f"slicer.app has no attribute {name!r}")

    def connect(self, signal: str, function):
        """Remembers who waits for the start, besides connecting."""
        from harness import signals

        if signal.startswith("startupCompleted"):
            self.startupFunctions.append(function)
        return signals.connect_by_name(self, signal, function)

    def moduleManager(self):
        return self._modules

    def testingEnabled(self) -> bool:
        return False

    def processEvents(self, *_):
        QtWidgets.QApplication.processEvents()

    def topLevelWidgets(self):
        return QtWidgets.QApplication.topLevelWidgets()

    def settings(self):
        import qt

        return qt.QSettings()

    userSettings = revisionUserSettings = settings

    def translate(self, context: str, text: str) -> str:
        return text

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"https://slicer.readthedocs.io/en/latest/user_guide/modules/{name.lower()}.html"

    def pythonConsole(self):
        return None

    def quit(self):
        self.ended.append("quit")

    def exit(self, status: int = 0):
        self.ended.append(f"exit({status})")

    def restart(self, *_):
        self.ended.append("restart")


class qSlicerModuleManager(QtCore.QObject):
    """Tells panels that their module goes."""

    moduleLoaded = Signal(str)
    moduleAboutToBeUnloaded = Signal(str)
    moduleUnloaded = Signal(str)

    def __init__(self, core):
        super().__init__()
        self._core = core

    def module(self, name: str):
        return self._core.module(name)

    def modulesNames(self) -> list[str]:
        return self._core.modulesNames()

    loadedModuleNames = modulesNames

    def factoryManager(self):
        return self
