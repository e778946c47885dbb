"""Loads a scripted module and its panel outside Slicer: ``install()`` once, then ``load_module(path)``.

The tests use this module; the others are behind it:
``failures`` (exceptions that Qt and VTK swallow), ``answers`` (to dialogs), ``wait_until`` and ``Watch`` (the event
loop), ``set_style`` ("light", "dark"), ``open_panel``, ``reload_panel``, ``close_panel``.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from harness import failures as _failures
from harness import (
    packaging_tools,
    pythonqt,  # first: it sets the environment that PySide6 reads
)
from harness.dialogs import answers
from harness.event_loop import Watch, run_for, wait_until
from harness.failures import failures
from harness.style import set_style

__all__ = [
    "Watch", "answers", "close_panel", "failures", "forget", "install", "load_module", "open_panel", "reload_panel",
    "run_for", "set_style", "wait_until",
]  # fmt: skip


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
    sys.modules["qt"] = pythonqt.make_qt()
    from harness import dialogs, scripted_module, slicer_app, slicer_python, widgets

    sys.modules["ctk"] = widgets.make_ctk()
    own = (scripted_module.qSlicerScriptedLoadableModule, scripted_module.qSlicerScriptedLoadableModuleWidget)
    for cls in (*widgets.MRML_WIDGETS, *own):
        setattr(slicer, cls.__name__, cls)
    slicer.app = slicer_app.qSlicerApplication(slicer.app)
    dialogs.install_in_slicer_util(slicer.util)
    slicer_python.install()
    _failures.install()
    return application


def forget():
    """Before a test: no failure, no answer, no setting, no request to install of an earlier one."""
    from harness import settings

    failures.clear()
    answers.clear()
    packaging_tools.clear()
    settings.clear()


def load_module(path: Path):
    """Import a scripted module's file and construct its module class, as Slicer does at start-up."""
    import slicer

    name = path.stem
    module = _import_file(name, path)
    entry = slicer.qSlicerScriptedLoadableModule(name, str(path))
    setattr(slicer.modules, name.lower(), entry)
    getattr(module, name)(entry)
    return module


def _import_file(name: str, path: Path):
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


def open_panel(module):
    """The module's widget object and the Qt widget that holds its panel, set up and entered as in Slicer."""
    import slicer

    entry = getattr(slicer.modules, module.__name__.lower())
    panel = entry.createNewWidgetRepresentation()
    entry._panel = panel
    panel.enter()
    return panel.self(), panel


def reload_panel(panel):
    """Press Reload: the module's file is read again, its panel cleaned up and made anew. Returns the new widget object.

    Only the module's own file is read again, as in Slicer; what it imports stays.
    """
    import slicer

    slicer.util.reloadScriptedModule(panel.moduleName)
    return panel.self()


def close_panel(widget, panel):
    """Close a panel as Slicer does when a module is unloaded. Its C++ selectors let go of the scene by themselves."""
    import slicer
    from PySide6 import QtCore

    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(panel.moduleName)
    for selector in panel.findChildren(slicer.qMRMLNodeComboBox):
        selector.setMRMLScene(None)
    panel.deleteLater()
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
    panel.module()._panel = None
