"""Loads a scripted module and its panel outside Slicer: ``install()`` once, then ``load_module(path)``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

from harness import pythonqt  # first: it sets the environment that PySide6 reads
from harness.event_loop import Watch, run_for, wait_until

__all__ = ["Watch", "close_panel", "failures", "install", "load_module", "open_panel", "run_for", "wait_until"]


class _Failures(list):
    """Exceptions that were raised in slots and observers, where Qt and VTK swallow them."""

    def __call__(self, kind, error, traceback):
        self.append(error)
        sys.__excepthook__(kind, error, traceback)


failures = _Failures()


def install():
    """Make ``qt``, ``ctk`` and Slicer's Python modules importable. Returns the QApplication."""
    import slicer
    from PySide6 import QtWidgets

    from MedSegAICore import headless

    application = QtWidgets.QApplication.instance()
    if application is not None:
        return application
    headless.start()
    application = QtWidgets.QApplication([])
    from harness import parameters, scripted, widgets

    sys.modules["qt"], sys.modules["ctk"] = pythonqt.make_qt(), widgets.make_ctk()
    for cls in widgets.MRML_WIDGETS:
        setattr(slicer, cls.__name__, cls)
    modules = {
        "ScriptedLoadableModule": scripted.make_module(),
        "parameterNodeWrapper": parameters.make_module(),
        "i18n": scripted.make_i18n(),
    }
    for name, module in modules.items():
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    slicer.app.startupFunctions = []
    slicer.app.connect = lambda signal, function: slicer.app.startupFunctions.append(function)
    slicer.app.topLevelWidgets = application.topLevelWidgets
    slicer.app.processEvents = lambda *_: application.processEvents()
    sys.excepthook = failures
    return application


def load_module(path: Path):
    """Import a scripted module's file and construct its module class, as Slicer does at start-up."""
    import slicer

    name = path.stem
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    parent = SimpleNamespace(path=str(path), icon=None)
    setattr(slicer.modules, name.lower(), SimpleNamespace(name=name, path=str(path), parent=parent))
    getattr(module, name)(parent)
    return module


def close_panel(widget, panel):
    """Close a panel as Slicer does when a module is unloaded. Its C++ selectors let go of the scene by themselves."""
    import slicer
    from PySide6 import QtCore

    widget.cleanup()
    for selector in panel.findChildren(slicer.qMRMLNodeComboBox):
        selector.setMRMLScene(None)
    panel.deleteLater()
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)


def open_panel(module):
    """The module's widget object and the Qt widget that holds its panel, set up and entered as in Slicer."""
    import qt
    import slicer

    panel = slicer.qSlicerWidget()
    qt.QVBoxLayout(panel)
    panel.setMRMLScene(slicer.mrmlScene)
    widget = getattr(module, module.__name__ + "Widget")(panel)
    widget.setup()
    panel.isEntered = True
    widget.enter()
    return widget, panel
