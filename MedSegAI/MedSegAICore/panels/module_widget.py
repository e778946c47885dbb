"""What Slicer calls of a module's panel, the same for both modules: its sections do the rest."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin


class ModuleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Stacks sections and keeps them connected with the scene's parameter node.

    Subclasses say which logic and which sections in ``makeLogic`` and ``makeSections``.
    """

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.sections = []
        self._parameterNode = None

    def makeLogic(self):
        raise NotImplementedError

    def makeSections(self) -> list:
        """The sections from the top."""
        raise NotImplementedError

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = self.makeLogic()
        self.sections = self.makeSections()
        for section in self.sections:
            section.widget.layout().setContentsMargins(0, 0, 0, 0)  # the panel around them has margins
            self.layout.addWidget(section.widget)
        self.layout.addWidget(_notice())
        self.layout.addStretch(1)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEnd)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEnd)
        if self.parent.isEntered:  # Slicer's Reload does not enter the module again
            self.enter()
        else:
            self.initializeParameterNode()

    def enter(self):
        for section in self.sections:
            section.enter()
        self.initializeParameterNode()

    def exit(self):
        for section in self.sections:
            section.exit()
        self.setParameterNode(None)

    def cleanup(self):
        for section in self.sections:
            section.cleanup()
        self.setParameterNode(None)
        for section in self.sections:
            section.removeObservers()
        self.removeObservers()

    def onSceneStartClose(self, caller, event):
        for section in self.sections:
            section.closeScene()
        self.setParameterNode(None)

    def onSceneEnd(self, caller, event):
        """A scene was closed or imported: its parameter node is another one, or has other values."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Use the scene's parameter node; it is made if there is none."""
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode):
        self._parameterNode = parameterNode
        for section in self.sections:
            section.setParameterNode(parameterNode)


def _notice():
    label = qt.QLabel(_("Research use only: not for diagnosis or treatment."))
    label.wordWrap = True
    label.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Preferred)  # a long text must not widen the panel
    return label
