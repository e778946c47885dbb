"""The panel of MedSegAI, clicked through on the harness: choices, Apply, Cancel, errors, closing the scene."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fixtures_scene import linear_transform, make_grid, make_volume

SHAPE = (16, 24, 20)  # two tiles of the model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    from fixtures_models import make_model_folder
    from MedSegAILib.models.folder import ModelFolder

    folder = tmp_path_factory.mktemp("models")
    first = make_model_folder(folder / "first", card={"id": "hippocampus", "title": "Random hippocampus"})
    second = make_model_folder(folder / "second", card={"id": "other", "title": "Other"}, seed=3)
    return [ModelFolder.open(first), ModelFolder.open(second)]


@pytest.fixture
def widget(open_panel, models, medsegai, monkeypatch):
    monkeypatch.setattr(medsegai.MedSegAILogic, "listModels", lambda self: models)
    return open_panel()


@pytest.fixture
def volume(medsegai):
    import slicer

    noise = np.random.default_rng(0).normal(size=SHAPE)
    return make_volume(slicer, (noise + np.roll(noise, 1, 0)).astype(np.float32), make_grid(SHAPE), "case")


def test_without_a_volume_apply_is_off_and_says_why(widget):
    assert not widget.sections[0].ui.applyButton.enabled
    assert widget.sections[0].ui.applyButton.toolTip == "Choose the volume to segment."


def test_the_first_volume_is_chosen_when_the_panel_opens(volume, widget):
    assert widget.sections[0].ui.inputSelector.currentNode() is volume
    assert widget.sections[0].ui.applyButton.enabled


def test_the_models_are_listed_with_what_they_are_for(widget):
    combo = widget.sections[0].ui.modelComboBox
    assert [combo.itemText(n) for n in range(combo.count)] == ["Random hippocampus", "Other"]
    assert combo.currentText == "Random hippocampus"
    assert widget.sections[0].ui.modelLabel.text == "Tests of the program. The weights are random."


def test_a_library_without_models_turns_apply_off(volume, open_panel, medsegai, monkeypatch):
    monkeypatch.setattr(medsegai.MedSegAILogic, "listModels", lambda self: [])
    widget = open_panel()
    assert not widget.sections[0].ui.applyButton.enabled
    assert widget.sections[0].ui.applyButton.toolTip == "Choose a model."


def test_choices_go_to_the_parameter_node_and_come_back(volume, widget):
    ui, parameters = widget.sections[0].ui, widget._parameterNode
    ui.modelComboBox.setCurrentIndex(1)
    ui.deviceComboBox.setCurrentIndex(3)
    ui.mirroringCheckBox.checked = True
    assert (parameters.modelId, parameters.device, parameters.mirroring) == ("other", "cpu", True)
    parameters.modelId = "hippocampus"
    parameters.mirroring = False
    assert ui.modelComboBox.currentIndex == 0
    assert not ui.mirroringCheckBox.checked


def test_apply_writes_a_segmentation_and_shows_the_volumes(volume, widget):
    import slicer

    widget.sections[0].ui.applyButton.click()
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert [node.GetName() for node in nodes] == ["case segmentation"]
    table = widget.sections[1].ui.resultsTable
    assert [table.item(row, 0).text() for row in range(table.rowCount)] == ["Front part", "Back part"]
    front_ml = widget.logic.volumesMl(nodes[0])["front"]
    assert table.item(0, 1).text().endswith(" ml")
    assert float(table.item(0, 1).text()[:-3]) == pytest.approx(front_ml, 1e-2)
    assert widget.sections[0].ui.statusLabel.text.startswith("Done: case segmentation. Review it before you use it.")
    assert widget.sections[0].ui.applyButton.enabled
    assert not widget.sections[0].ui.cancelButton.enabled


def test_a_chosen_output_gets_the_segments(volume, widget):
    output = widget.sections[0].ui.outputSelector.addNode()
    widget.sections[0].ui.applyButton.click()
    assert output.GetSegmentation().GetNumberOfSegments() == 2


def test_warnings_are_shown(volume, widget, models, tmp_path, medsegai, monkeypatch):
    from fixtures_models import make_model_folder
    from MedSegAILib.models.folder import ModelFolder

    thick = make_model_folder(tmp_path / "thick", card={"input": {"spacing_mm": [[3, 4]] * 3}, "id": "hippocampus"})
    monkeypatch.setattr(medsegai.MedSegAILogic, "listModels", lambda self: [ModelFolder.open(thick)])
    widget.sections[0].fillModels()
    widget.sections[0].ui.applyButton.click()
    assert "Warning: The spacing is 1 x 1 x 1 mm" in widget.sections[0].ui.statusLabel.text


def test_an_error_is_shown_in_the_panel_and_nothing_is_written(widget, medsegai):
    import slicer

    widget._parameterNode.inputVolume = make_volume(slicer, np.zeros(SHAPE), make_grid(SHAPE), "black")
    widget.sections[0].ui.applyButton.click()
    assert "the volume is empty" in widget.sections[0].ui.statusLabel.text
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert widget.sections[0].ui.applyButton.enabled


def test_a_filled_output_under_another_transform_is_explained(volume, widget):
    import slicer

    output = widget.sections[0].ui.outputSelector.addNode()
    widget.sections[0].ui.applyButton.click()
    volume.SetAndObserveTransformNodeID(linear_transform(slicer, np.diag([2.0, 1, 1, 1])).GetID())
    widget.sections[0].ui.applyButton.click()
    assert "already holds segments" in widget.sections[0].ui.statusLabel.text
    assert output.GetSegmentation().GetNumberOfSegments() == 2


def _during_the_run(widget, action):
    """Do something while tiles are computed, as a click or a timer in processEvents would."""
    progress = widget.sections[0]._onProgress
    calls = []

    def interfered(fraction, message):
        progress(fraction, message)
        if not calls:
            calls.append(fraction)
            action()

    widget.sections[0]._onProgress = interfered
    widget.sections[0].ui.applyButton.click()
    assert calls


def test_cancel_stops_the_run_and_writes_nothing(volume, widget):
    import slicer

    _during_the_run(widget, lambda: widget.sections[0].ui.cancelButton.click())
    assert widget.sections[0].ui.statusLabel.text == "Cancelled: nothing was written."
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert widget.sections[0].ui.applyButton.enabled
    assert not widget.sections[0].ui.cancelButton.enabled


def test_while_it_runs_only_cancel_can_be_pressed(volume, widget):
    states = []
    names = ("inputsCollapsibleButton", "outputsCollapsibleButton", "advancedCollapsibleButton", "applyButton")

    def look():
        states.extend(getattr(widget.sections[0].ui, name).enabled for name in names)
        states.append(widget.sections[0].ui.cancelButton.enabled)
        widget.sections[0].onApplyButton()  # a second click that was already waiting must not start a second run

    _during_the_run(widget, look)
    assert states == [False, False, False, False, True]


def test_closing_the_scene_during_the_run_is_survived(volume, widget):
    import slicer

    _during_the_run(widget, lambda: slicer.mrmlScene.Clear(0))
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert not widget.sections[0].ui.applyButton.enabled  # no volume any more


def test_leaving_the_panel_during_the_run_lets_it_finish(volume, widget):
    import slicer

    _during_the_run(widget, widget.exit)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    widget.enter()
    assert widget.sections[0].ui.applyButton.enabled


def test_closing_the_scene_resets_the_choices(volume, widget):
    import slicer

    widget.sections[0].ui.applyButton.click()
    widget._parameterNode.mirroring = True
    slicer.mrmlScene.Clear(0)
    assert widget.sections[0].ui.inputSelector.currentNode() is None
    assert not widget.sections[0].ui.mirroringCheckBox.checked
    assert widget.sections[1].ui.resultsTable.rowCount == 0


def test_choices_are_saved_with_the_scene(volume, widget, tmp_path):
    import slicer

    widget._parameterNode.device = "cpu"
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    widget.initializeParameterNode()
    assert widget._parameterNode.device == "cpu"
    assert widget._parameterNode.inputVolume.GetName() == "case"


def test_reloading_leaves_no_observer_behind(volume, open_panel, widget):
    import slicer

    before = slicer.mrmlScene.HasObserver(slicer.mrmlScene.StartCloseEvent)
    assert before
    widget.cleanup()
    assert widget.Observations == []
    widget.setup()  # what Reload does with a new object; the old one's cleanup must not disturb it
    assert widget.sections[0].ui.applyButton.enabled


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
    medsegai, volume, widget, monkeypatch, result, message
):
    import sys

    extension = _PyTorchUtils(result)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
    monkeypatch.setattr(widget.logic, "segment", lambda *_, **__: pytest.fail("the model ran"), raising=False)
    if result is None:
        widget.sections[0].ui.applyButton.click()
        assert message in widget.sections[0].ui.statusLabel.text
    else:
        from MedSegAILib.panels.pytorch import ensureTorch

        ensureTorch()
    assert extension.questions == 1


def test_without_the_pytorch_extension_the_panel_says_what_to_install(medsegai, volume, widget, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    widget.sections[0].ui.applyButton.click()
    assert "Install the extension PyTorch" in widget.sections[0].ui.statusLabel.text


# ---- the module ----------------------------------------------------------------------------------------------------


def test_every_parameter_has_a_widget_or_is_set_by_the_panel(widget):
    bound = {w.property("SlicerParameterName") for w in vars(widget.sections[0].ui).values()} - {None}
    assert bound | {"modelId"} == set(widget._parameterNode._parameters)


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
        widget.sections[0].ui.applyButton.tooltip = "a typo of toolTip"
    with pytest.raises(AttributeError):
        widget.sections[0].ui.inputSelector.noneEnable = True


def test_an_exception_in_a_slot_is_caught_by_the_tests(widget, volume):
    from harness import application

    widget.sections[0].ui.cancelButton.clicked.connect(lambda: 1 / 0)
    widget.sections[0].ui.cancelButton.enabled = True
    widget.sections[0].ui.cancelButton.click()
    assert [type(error) for error in application.failures] == [ZeroDivisionError]
    application.failures.clear()


def test_a_ui_file_with_an_unknown_widget_is_refused(medsegai, tmp_path):
    import slicer

    path = tmp_path / "x.ui"
    path.write_text('<ui version="4.0"><class>x</class><widget class="qMRMLNoSuchWidget" name="x"/></ui>')
    with pytest.raises(RuntimeError, match="qMRMLNoSuchWidget"):
        slicer.util.loadUI(str(path))
