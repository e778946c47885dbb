"""What the self-tests of both modules share: they run in Slicer (Reload and Test, ctest) and in this repository."""

from __future__ import annotations

import time
import unittest

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest


class ModuleTest(ScriptedLoadableModuleTest):
    """Base class: an empty scene, the module's panel, and waiting for it."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run every test; what Slicer's Test button calls."""
        names = unittest.defaultTestLoader.getTestCaseNames(type(self))
        result = unittest.TextTestRunner().run(unittest.TestSuite(map(type(self), names)))
        if not result.wasSuccessful():
            raise AssertionError(result)

    def panelOf(self, moduleName: str):
        """The widget object of a module's panel, in the window if there is one."""
        module = getattr(slicer.modules, moduleName.lower(), None)
        if not hasattr(module, "widgetRepresentation"):
            self.skipTest("Panels exist in the Slicer application only")
        if slicer.util.mainWindow() is not None:
            slicer.util.selectModule(moduleName)
        widget = module.widgetRepresentation().self()
        widget.initializeParameterNode()  # without a window nobody enters the module
        return widget

    def waitUntil(self, condition, what: str, seconds: float = 300.0):
        """Let the window live until ``condition()`` is true; a failure after so many seconds."""
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(0.01)
        assert condition(), f"waited {seconds:g} s in vain for {what}"
