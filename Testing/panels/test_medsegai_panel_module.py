"""The module MedSegAI around its panel: PyTorch, the parameters, sample data, its own tests."""

from __future__ import annotations

import json

import pytest

import fixtures_segmentation_panel as fixtures
from fixtures_segmentation_panel import section

models, widget, volume = fixtures.models, fixtures.widget, fixtures.volume


# ---- PyTorch -------------------------------------------------------------------------------------------------------


class _PyTorchUtils:
    """The PyTorch extension's module, with the signature of its installTorch."""

    def __init__(self, result):
        self.result, self.questions = result, 0

    def PyTorchUtilsLogic(self):
        return self

    def installTorch(
        self,
        askConfirmation=False,
        forceComputationBackend=None,
        torchVersionRequirement=None,
        torchvisionVersionRequirement=None,
    ):
        self.questions += askConfirmation
        return self.result


def test_torch_that_is_there_is_not_asked_for(medsegai):
    from MedSegAILib.panels.pytorch import ensureTorch

    ensureTorch()


@pytest.mark.parametrize(("result", "message"), [(None, "PyTorch was not installed"), ("torch", "")])
def test_missing_torch_is_installed_through_its_extension_after_one_question(
    volume, widget, monkeypatch, no_torch, result, message
):
    import sys

    extension = _PyTorchUtils(result)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
    section(widget).ui.applyButton.click()
    assert extension.questions == 1
    if message:
        assert message in section(widget).ui.statusLabel.text
        assert not section(widget)._run.running
    else:
        fixtures.wait_until_done(widget)
        assert section(widget).ui.statusLabel.text.startswith("Done")


def test_without_the_pytorch_extension_the_panel_says_what_to_install(volume, widget, monkeypatch, no_torch):
    import sys

    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    section(widget).ui.applyButton.click()
    assert "Install the extension PyTorch" in section(widget).ui.statusLabel.text
    assert section(widget).ui.applyButton.enabled


def test_without_a_connection_one_sentence_says_so(volume, widget, monkeypatch, no_torch):
    import sys

    extension = _PyTorchUtils(None)
    monkeypatch.setattr(extension, "installTorch", lambda **_: (_ for _ in ()).throw(OSError("no route to host")))
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
    section(widget).ui.applyButton.click()
    expected = "PyTorch could not be installed: no route to host. Check that this computer is connected to the internet"
    assert section(widget).ui.statusLabel.text.startswith(expected)


RUN_WITHOUT_TORCH = """
import sys
from pathlib import Path
from harness import application
application.install()
import numpy as np
from fixtures_scene import make_grid
from fixtures_segmentation_panel import apply, section
from MedSegAILib.models.folder import ModelFolder
import slicer
module = application.load_module(Path(sys.argv[1]))
model = ModelFolder.open(sys.argv[2])
module.MedSegAILogic.listModels = lambda self: [model]
slicer.util.addVolumeFromArray(np.random.default_rng(0).normal(size=(16, 24, 20)).astype(np.float32), name="case")
widget, panel = application.open_panel(module)
section(widget)._models.showCard()
apply(widget)
print(section(widget).ui.statusLabel.text)
print([name for name in ("torch", "SimpleITK") if name in sys.modules])
application.close_panel(widget, panel)
"""


def test_the_windows_process_never_imports_torch(models):
    """It would stand still for seconds, and the memory of PyTorch would be taken twice."""
    import os
    import subprocess
    import sys
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(str(root / folder) for folder in ("MedSegAI", "MedSegAIMetrics", "Testing"))
    process = subprocess.run(
        [sys.executable, "-c", RUN_WITHOUT_TORCH, str(root / "MedSegAI" / "MedSegAI.py"), str(models[0].path)],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    lines = process.stdout.strip().splitlines()
    assert lines[-2].startswith("Done"), lines
    assert lines[-1] == "[]"


@pytest.fixture
def no_torch(monkeypatch):
    """PyTorch is not installed, as far as the window's process can see."""
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest))


# ---- the module ----------------------------------------------------------------------------------------------------


SET_BY_THE_PANEL = {
    "modelId",
    "quality",
    "registration",
    "resultSegmentation",
    "correctedSegmentation",
    "overlayVolume",
    "overlayOpacity",
}


def test_every_parameter_has_a_widget_or_is_set_by_the_panel(widget):
    widgets = [w for one in widget.sections for w in vars(one.ui).values()]
    bound = {w.property("SlicerParameterName") for w in widgets} - {None}
    assert set(widget._parameterNode.allParameters) <= bound | SET_BY_THE_PANEL


def test_after_reload_the_panel_is_entered_as_slicer_does_not_do_it(widget, monkeypatch):
    from MedSegAILib.panels.correction_section import CorrectionSection

    entered, enter = [], CorrectionSection.enter
    monkeypatch.setattr(CorrectionSection, "enter", lambda self: (entered.append(self), enter(self)))
    widget.cleanup()
    widget.setup()  # Reload does it with a new object of the same panel
    assert entered == [widget.sections[2]]
    assert widget.sections[2].parameterNode is not None


def test_the_icon_is_an_image(medsegai):
    import qt

    folder = medsegai.SAMPLE_DATA.parent / "Icons"
    assert qt.QImage(str(folder / "MedSegAI.png")).width() == 128
    assert "<svg" in (folder / "MedSegAI.svg").read_text()


def test_bundled_volumes_are_offered_as_sample_data(medsegai, tmp_path, monkeypatch):
    import sys
    from types import SimpleNamespace
    from urllib.request import urlopen

    import slicer

    (tmp_path / "hippocampus_1.nii.gz").write_bytes(b"image")
    listing = {"samples": [{"image": "hippocampus_1.nii.gz", "label": "hippocampus_1_label.nii.gz"}]}
    (tmp_path / "samples.json").write_text(json.dumps(listing))
    offered = []
    logic = SimpleNamespace(registerCustomSampleDataSource=lambda **source: offered.append(source))
    monkeypatch.setitem(sys.modules, "SampleData", SimpleNamespace(SampleDataLogic=logic))
    monkeypatch.setattr(medsegai, "SAMPLE_DATA", tmp_path)
    assert medsegai.registerSampleData in slicer.app.startupFunctions
    medsegai.registerSampleData()
    (source,) = offered
    assert source["nodeNames"] == "hippocampus_1"
    assert source["fileNames"] == "hippocampus_1.nii.gz"
    with urlopen(source["uris"]) as file:
        assert file.read() == b"image"
    digest = slicer.util.computeChecksum("SHA256", str(tmp_path / "hippocampus_1.nii.gz"))
    assert source["checksums"] == f"SHA256:{digest}"


def test_the_modules_own_tests_pass(medsegai):
    medsegai.MedSegAITest().runTest()


def test_nothing_heavy_is_imported_when_the_module_is_loaded():
    import subprocess
    import sys
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    code = (
        "import sys, pathlib; from harness import application; application.install();"
        f"application.load_module(pathlib.Path({str(root / 'MedSegAI' / 'MedSegAI.py')!r}));"
        "print([m for m in ('torch', 'scipy', 'SimpleITK', 'pandas') if m in sys.modules])"
    )
    import os

    path = os.pathsep.join([str(root / "MedSegAI"), str(root / "Testing")])
    process = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"


# ---- the harness is as strict as Slicer ----------------------------------------------------------------------------


def test_an_unknown_attribute_of_a_widget_is_an_error(widget):
    with pytest.raises(AttributeError, match="tooltip"):
        section(widget).ui.applyButton.tooltip = "a typo of toolTip"
    with pytest.raises(AttributeError):
        section(widget).ui.inputSelector.noneEnable = True


def test_an_exception_in_a_slot_is_caught_by_the_tests(widget, volume):
    from harness import application

    section(widget).ui.cancelButton.clicked.connect(lambda: 1 / 0)
    section(widget).ui.cancelButton.enabled = True
    section(widget).ui.cancelButton.click()
    assert [type(error) for error in application.failures] == [ZeroDivisionError]
    application.failures.clear()


def test_a_ui_file_with_an_unknown_widget_is_refused(medsegai, tmp_path):
    import slicer

    path = tmp_path / "x.ui"
    path.write_text('<ui version="4.0"><class>x</class><widget class="qMRMLNoSuchWidget" name="x"/></ui>')
    with pytest.raises(RuntimeError, match="qMRMLNoSuchWidget"):
        slicer.util.loadUI(str(path))
