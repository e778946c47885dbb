"""The harness's application: nothing waits for a user, nothing is installed, settings are its own, Reload works."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def application(medsegai):
    from harness import application

    application.forget()
    yield application
    application.answers.clear()


@pytest.fixture
def qt():
    import qt

    return qt


def failures(application) -> list[str]:
    """The texts of the failures, which are forgotten."""
    texts = [str(error) for error in application.failures]
    application.failures.clear()
    return texts


# ---- dialogs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["infoDisplay", "warningDisplay", "errorDisplay", "confirmOkCancelDisplay", "confirmYesNoDisplay"]
)
def test_a_message_that_no_test_expects_fails_and_does_not_wait(application, name):
    import slicer

    assert not getattr(slicer.util, name)("Overwrite the segments?")
    (text,) = failures(application)
    assert "Overwrite the segments?" in text


def test_an_answer_is_given_once(application):
    import slicer

    application.answers.give("Overwrite", True)
    assert slicer.util.confirmOkCancelDisplay("Overwrite the segments?") is True
    assert slicer.util.confirmOkCancelDisplay("Overwrite the segments?") is False
    assert len(failures(application)) == 1
    assert [asked.kind for asked in application.answers.asked] == ["slicer.util.confirmOkCancelDisplay"] * 2


def test_file_dialogs_give_a_path_alone_as_in_pythonqt(application, qt):
    application.answers.give("Save as", "/data/a.nii.gz")
    application.answers.give("Open", ("/data/a.nii.gz",))
    assert qt.QFileDialog.getSaveFileName(None, "Save as", "/data", "NIfTI (*.nii.gz)") == "/data/a.nii.gz"
    assert qt.QFileDialog.getOpenFileNames(None, "Open") == ("/data/a.nii.gz",)
    assert qt.QFileDialog.getExistingDirectory(None, "Choose a folder") == ""
    assert len(failures(application)) == 1


def test_a_dialog_is_answered_while_it_runs(application, qt):
    def accept(dialog):
        assert dialog.visible
        dialog.accept()

    dialog = qt.QDialog()
    dialog.windowTitle = "Model card"
    application.answers.give("Model card", accept)
    assert dialog.exec_() == qt.QDialog.Accepted
    application.answers.give("Model card", lambda dialog: None)
    dialog.exec_()
    assert "left the dialog open" in failures(application)[0]
    assert qt.QMessageBox(qt.QMessageBox.Question, "Model card", "Really?").exec_() == 0
    assert "Model card Really?" in failures(application)[0]


# ---- settings ------------------------------------------------------------------------------------------------------


def test_settings_are_read_as_the_next_session_reads_them(qt):
    import slicer

    settings = qt.QSettings()
    settings.setValue("MedSegAI/Mirroring", True)
    settings.setValue("MedSegAI/Folders", ["a", "b"])
    assert qt.QSettings().value("MedSegAI/Mirroring") == "true"
    assert qt.QSettings().value("MedSegAI/Folders") == ("a", "b")
    assert slicer.util.settingsValue("MedSegAI/Mirroring", False, converter=slicer.util.toBool) is True
    assert slicer.app.userSettings().value("MedSegAI/Missing", "x") == "x"


def test_settings_are_forgotten_before_the_next_test(application, qt):
    qt.QSettings().setValue("MedSegAI/Device", "cpu")
    application.forget()
    assert not qt.QSettings().contains("MedSegAI/Device")


def test_settings_are_not_those_of_the_user(qt):
    from pathlib import Path

    assert not Path(qt.QSettings().fileName()).is_relative_to(Path.home() / ".config")


# ---- installing packages -------------------------------------------------------------------------------------------


def test_what_is_asked_to_be_installed_is_recorded(application):
    import slicer

    from harness import packaging_tools

    slicer.util.pip_install("torch>=2.4 numpy")
    (request,) = packaging_tools.requests
    assert request.requirements == ("torch>=2.4", "numpy")
    packaging_tools.outcome = RuntimeError("no network")
    with pytest.raises(RuntimeError, match="no network"):
        slicer.packaging.pip_install(["torch"])


def test_missing_packages_are_installed_after_one_question(application):
    import slicer

    from harness import packaging_tools

    assert slicer.packaging.pip_check(["numpy>=1.0"])
    assert not slicer.packaging.pip_check("numpy<1.0")
    assert slicer.packaging.pip_ensure("numpy>=1.0") is None
    assert not packaging_tools.requests
    application.answers.give("no-such-package", True)
    slicer.packaging.pip_ensure(["numpy", "no-such-package>=2"], requester="MedSegAI")
    (request,) = packaging_tools.requests
    assert request.requirements == ("no-such-package>=2",)
    application.answers.give("no-such-package", False)
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure("no-such-package")


# ---- slicer.app ----------------------------------------------------------------------------------------------------


def test_the_application_tells_of_its_start_and_end(medsegai):
    import slicer

    calls = []
    slicer.app.connect("startupCompleted()", lambda: calls.append("started"))
    slicer.app.aboutToQuit.connect(lambda: calls.append("ends"))
    slicer.app.startupFunctions.pop()
    slicer.app.aboutToQuit.emit()
    slicer.app.quit()
    assert calls == ["ends"]
    assert slicer.app.ended.pop() == "quit"
    assert slicer.util.mainWindow() is None
    assert not slicer.app.testingEnabled()
    assert slicer.app.clipboard() is not None
    assert slicer.util.getModule("volumes") is not None


def test_dark_and_light_style(application, qt):
    application.set_style("dark")
    dark = qt.QLabel().palette.color(qt.QPalette.Window).lightness()
    application.set_style("light")
    light = qt.QLabel().palette.color(qt.QPalette.Window).lightness()
    assert dark < 80 < 200 < light
    with pytest.raises(ValueError):
        application.set_style("sepia")


# ---- a scripted module ---------------------------------------------------------------------------------------------

MODULE = """
from slicer.ScriptedLoadableModule import *

LOG = []
TITLE = "{title}"


class Tiny(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = TITLE


class TinyWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        import qt

        ScriptedLoadableModuleWidget.setup(self)
        self.logic = TinyLogic()
        self.label = qt.QLabel(TITLE)
        self.layout.addWidget(self.label)
        LOG.append(("setup", self.parent.isEntered))

    def enter(self):
        LOG.append(("enter", self.parent.isEntered))

    def exit(self):
        LOG.append(("exit", self.parent.isEntered))

    def cleanup(self):
        LOG.append("cleanup")


class TinyLogic(ScriptedLoadableModuleLogic):
    pass


class TinyTest(ScriptedLoadableModuleTest):
    def setUp(self):
        LOG.append("setUp")

    def runTest(self):
        self.setUp()
        self.test_tiny()

    def test_tiny(self):
        LOG.append("test")
"""


@pytest.fixture
def tiny(application, tmp_path):
    path = tmp_path / "Tiny.py"
    path.write_text(MODULE.format(title="first"))
    return application.load_module(path)


def test_a_panel_is_entered_left_and_cleaned_up_as_in_slicer(application, tiny):
    widget, panel = application.open_panel(tiny)
    panel.exit()
    application.close_panel(widget, panel)
    assert tiny.LOG == [("setup", False), ("enter", True), ("exit", False), "cleanup"]


def test_reload_reads_the_file_again_and_makes_the_panel_anew(application, tiny):
    import slicer

    widget, panel = application.open_panel(tiny)
    path = slicer.util.modulePath("Tiny")
    with open(path, "w", encoding="utf-8") as file:
        file.write(MODULE.format(title="the second"))
    again = application.reload_panel(panel)
    assert tiny.LOG[-1] == "cleanup"
    assert again is not widget
    assert again.label.text == "the second"
    assert not widget.label.visible
    assert slicer.modules.TinyWidget is again
    assert slicer.util.getModuleLogic("Tiny") is again.logic
    log = type(again).setup.__globals__["LOG"]
    assert log == [("setup", True)]  # Slicer does not call enter() again
    application.close_panel(again, panel)
    assert log[-1] == "cleanup"
    assert len(tiny.LOG) == 3  # the old panel is not cleaned up twice


def test_the_modules_entry_is_what_slicer_shows(application, tiny, tmp_path):
    import slicer

    assert slicer.util.getModule("Tiny").title == "first"
    assert slicer.modules.tiny.path == str(tmp_path / "Tiny.py")
    slicer.selfTests["Tiny"]()
    assert tiny.LOG == ["setUp", "test"]


def test_a_parameter_node_is_one_of_its_module(application, tiny):
    import slicer

    logic = tiny.TinyLogic()
    node = logic.getParameterNode()
    assert node is logic.getParameterNode()
    assert (node.GetAttribute("ModuleName"), node.GetSingletonTag()) == ("Tiny", "Tiny")
    slicer.mrmlScene.Clear(0)
    assert logic.getParameterNode().GetAttribute("ModuleName") == "Tiny"
    logic.isSingletonParameterNode = False
    assert logic.getAllParameterNodes() == [logic.getParameterNode()]


def test_a_folder_that_is_no_slicer_is_said(monkeypatch, tmp_path):
    from harness import slicer_python

    monkeypatch.setenv("SLICER_PYTHON_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="bin/Python"):
        slicer_python.folder()
