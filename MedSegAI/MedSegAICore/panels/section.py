"""A part of a module's panel: the widgets of one .ui file, and how they follow the scene's parameter node."""

from __future__ import annotations

import slicer
import vtk
from slicer.util import VTKObservationMixin


class Section(VTKObservationMixin):
    """Base class. A section connects widgets with the logic and computes nothing.

    Sections of one panel do not know each other: what one of them chooses or makes, the others find in the parameter
    node. ``path``: the .ui file, whose outermost widget is a qMRMLWidget. ``logic``: the module's logic.
    """

    def __init__(self, path: str, logic):
        VTKObservationMixin.__init__(self)
        self.widget = slicer.util.loadUI(path)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.logic = logic
        self._selectors = [one for one in vars(self.ui).values() if one.className() == "qMRMLNodeComboBox"]
        self.parameterNode = None
        self._guiTag = None
        # Before Slicer's selectors hear of it, which observe with a lower priority and take the neighbor instead.
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAboutToBeRemovedEvent, self._onNodeLeaves)

    def setParameterNode(self, parameterNode):
        """Show these choices; None while the panel is not seen or the scene is closed."""
        if self.parameterNode is not None:
            self.parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self.parameterNode, vtk.vtkCommand.ModifiedEvent, self._onModified)
        self.parameterNode = parameterNode
        if parameterNode is not None:
            self._guiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self._onModified)
        self.update()

    def _onModified(self, *_event):
        # The nodes that come with a scene are chosen before they have their content; EndImport updates once more.
        if not slicer.mrmlScene.IsImporting():
            self.update()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeLeaves(self, _caller, _event, node):
        """What was chosen and is deleted is chosen no more: nobody has chosen the node beside it in the list."""
        if self.parameterNode is None:
            return
        for selector in self._selectors:
            if selector.noneEnabled and selector.currentNode() is node:
                selector.setCurrentNode(None)

    def update(self):
        """Make the widgets show what the parameter node says; it may be None."""

    def enter(self):
        """The user has come to this module; ``setParameterNode`` follows."""

    def exit(self):
        """The user goes to another module: let go of shortcuts and views. A run goes on."""

    def closeScene(self):
        """The scene is about to be closed: stop what works on it, and forget its nodes."""

    def cleanup(self):
        """The module is reloaded or the application ends: leave no timer, process, shortcut or observer behind."""
