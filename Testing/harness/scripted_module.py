"""What Slicer makes of a scripted module: its entry in ``slicer.modules`` and the Qt widget around its panel."""

from __future__ import annotations

import sys

import slicer
from PySide6 import QtCore, QtWidgets

from harness.widgets import MRML_WIDGETS

qSlicerWidget = next(cls for cls in MRML_WIDGETS if cls.__name__ == "qSlicerWidget")


class qSlicerScriptedLoadableModule(QtCore.QObject):
    """``slicer.modules.medsegai``, which is also the ``parent`` of the module's Python object."""

    def __init__(self, name: str, path: str):
        super().__init__()
        self.name, self.path, self.icon, self._panel = name, path, None, None

    @property
    def parent(self):
        return self

    def widgetRepresentation(self):
        """The panel; it is made when it is first asked for."""
        if self._panel is None:
            self._panel = self.createNewWidgetRepresentation()
        return self._panel

    def createNewWidgetRepresentation(self):
        panel = qSlicerScriptedLoadableModuleWidget()
        panel._module = self
        panel.reload()
        return panel


class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """The Qt widget around a panel. It calls the methods of the panel's Python object."""

    _is_cpp = True
    isEntered = QtCore.Property(bool, lambda self: self._entered)
    moduleName = QtCore.Property(str, lambda self: self._module.name)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._module, self._widget, self._entered = None, None, False
        QtWidgets.QVBoxLayout(self)
        self.setMRMLScene(slicer.mrmlScene)

    def self(self):
        """The panel's Python object."""
        return self._widget

    def module(self):
        return self._module

    def reload(self):
        """Make a new Python object from the class as it is now, and set it up. Slicer does not enter it once more."""
        name = self._module.name + "Widget"
        self._widget = getattr(sys.modules[self._module.name], name)(self)
        setattr(slicer.modules, name, self._widget)
        self._widget.setup()

    def enter(self):
        self._entered = True
        self._widget.enter()

    def exit(self):
        self._entered = False
        self._widget.exit()
