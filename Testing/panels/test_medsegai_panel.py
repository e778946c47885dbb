"""The panel of MedSegAI on the harness: what can be chosen, what is said about it, models, scenes."""

from __future__ import annotations

import numpy as np
import pytest

import fixtures_segmentation_panel as fixtures
from fixtures_scene import make_grid, make_volume
from fixtures_segmentation_panel import SHAPE, apply, pick, section
from harness.event_loop import wait_until

models, widget, volume = fixtures.models, fixtures.widget, fixtures.volume
CHECK_BOXES = ("mirroring", "strict", "probabilities", "uncertainty")


def test_without_a_volume_apply_is_off_and_says_why(widget):
    assert not section(widget).ui.applyButton.enabled
    assert section(widget).ui.applyButton.toolTip == "Choose the volume to segment."


def test_what_is_deleted_is_chosen_no_more_and_no_other_node_instead(volume, widget):
    import slicer

    ui, chosen = section(widget).ui, widget._parameterNode
    make_volume(slicer, np.zeros(SHAPE, np.float32), make_grid(SHAPE), "beside")
    for kind in ("vtkMRMLSegmentationNode", "vtkMRMLMarkupsROINode"):
        for name in ("beside", "mine"):
            slicer.mrmlScene.AddNewNodeByClass(kind, name)
    for selector, parameter in ((ui.outputSelector, "outputSegmentation"), (ui.roiSelector, "roi")):
        selector.setCurrentNode(next(node for node in selector_nodes(selector) if node.GetName() == "mine"))
        slicer.mrmlScene.RemoveNode(selector.currentNode())
        assert selector.currentNode() is None
        assert getattr(chosen, parameter) is None
    ui.inputSelector.setCurrentNode(volume)
    slicer.mrmlScene.RemoveNode(volume)
    assert ui.inputSelector.currentNode() is None
    assert chosen.inputVolume is None
    assert ui.applyButton.toolTip == "Choose the volume to segment."


def selector_nodes(selector):
    return [selector.nodeFromIndex(number) for number in range(selector.nodeCount())]


def test_the_first_volume_is_chosen_when_the_panel_opens(volume, widget):
    assert section(widget).ui.inputSelector.currentNode() is volume
    assert section(widget).ui.applyButton.enabled


def test_the_models_are_listed_with_what_they_are_for(widget):
    combo = section(widget).ui.modelComboBox
    assert [combo.itemText(n) for n in range(combo.count)] == ["Random hippocampus", "Other", "Many tiles"]
    assert combo.currentText == "Random hippocampus"
    assert combo.toolTip == "Tests of the program. The weights are random."


def test_a_library_without_models_turns_apply_off(volume, open_panel, medsegai, monkeypatch):
    monkeypatch.setattr(medsegai.MedSegAILogic, "listModels", lambda self: [])
    widget = open_panel()
    assert not section(widget).ui.applyButton.enabled
    assert section(widget).ui.applyButton.toolTip == "Choose a model."


def test_choices_go_to_the_parameter_node_and_come_back(volume, widget):
    ui, parameters = section(widget).ui, widget._parameterNode
    ui.modelComboBox.setCurrentIndex(1)
    ui.qualityComboBox.setCurrentIndex(2)
    for name in CHECK_BOXES:
        box = getattr(ui, f"{name}CheckBox")
        box.checked = not box.checked
    assert (parameters.modelId, parameters.quality) == ("other", "best")
    assert [getattr(parameters, name) for name in CHECK_BOXES] == [True, True, True, False]
    parameters.modelId, parameters.quality, parameters.mirroring = "hippocampus", "fast", False
    assert (ui.modelComboBox.currentIndex, ui.qualityComboBox.currentText) == (0, "Fast")
    assert not ui.mirroringCheckBox.checked


def test_the_device_is_the_users_and_not_the_scenes(volume, widget, open_panel):
    import slicer

    combo = section(widget).ui.deviceComboBox
    assert combo.currentText == "Automatic"
    combo.setCurrentIndex(combo.findData("cpu"))
    slicer.mrmlScene.Clear(0)
    assert combo.currentText == "Processor (CPU)"
    assert section(open_panel()).ui.deviceComboBox.currentText == "Processor (CPU)"


def test_the_worker_tells_what_automatic_is(own_worker, volume, widget):
    combo = section(widget).ui.deviceComboBox
    wait_until(lambda: "(" in combo.currentText, fixtures.PATIENCE_SECONDS)
    assert combo.currentText == f"Automatic: {widget.logic.deviceName()}"
    assert combo.itemData(combo.currentIndex) == "auto"


def test_every_control_has_a_tool_tip(widget):
    import slicer

    controls = ("QPushButton", "QToolButton", "QComboBox", "QCheckBox", "qMRMLNodeComboBox", "QPlainTextEdit")
    for name, control in vars(section(widget).ui).items():
        if control.className() in controls and not name.startswith("qt_"):
            assert control.toolTip, name
    assert slicer.mrmlScene is not None


# ---- what is said before a run -------------------------------------------------------------------------------------


def test_what_differs_from_the_models_protocol_is_said_when_the_volume_changes(volume, widget, card_model):
    ui = section(widget).ui
    card_model({"input": {"spacing_mm": [[0.8, 1.2]] * 3, "protocol": "T1-weighted MR, 1 mm"}})
    assert ui.inputHintLabel.text == "T1-weighted MR, 1 mm"
    assert ui.protocolLabel.isHidden()
    volume.SetSpacing(1, 1, 3)
    wait_until(lambda: not ui.protocolLabel.isHidden())
    assert ui.protocolLabel.text.startswith("⚠ The spacing is 1 x 1 x 3 mm, but Random hippocampus is for 0.8-1.2")
    assert ui.applyButton.enabled  # a warning
    volume.SetSpacing(1, 1, 1)
    wait_until(ui.protocolLabel.isHidden)


def test_a_region_beside_the_volume_turns_apply_off_until_it_is_moved_back(volume, widget):
    ui = section(widget).ui
    region = ui.roiSelector.addNode()
    assert ui.applyButton.enabled
    region.SetCenter(500, 0, 0)
    wait_until(lambda: not ui.applyButton.enabled)
    assert "holds no voxel of the volume 'case'. Move it onto the volume." in ui.protocolLabel.text
    assert ui.applyButton.toolTip in ui.protocolLabel.text
    region.SetCenter(10, 12, 8)
    wait_until(lambda: ui.applyButton.enabled)


def test_what_will_be_added_to_an_output_is_said(volume, widget):
    from fixtures_metrics_panel import segmentation

    ui = section(widget).ui
    assert ui.outputHintLabel.isHidden()
    array = np.zeros(SHAPE, np.uint8)
    array[2, 2, 2], array[3, 3, 3], array[4, 4, 4] = 1, 2, 3
    ui.outputSelector.setCurrentNode(segmentation(volume, array, "mine", ("a", "b", "c")))
    assert ui.outputHintLabel.text == "2 segments will be added to the 3 that are there. None of these is changed."


def test_a_scenes_model_that_is_not_there_is_named(volume, widget):
    widget._parameterNode.modelId = "liver"
    ui = section(widget).ui
    assert not ui.applyButton.enabled
    assert ui.applyButton.toolTip.startswith("The model liver of this scene is not in your library")
    assert "liver" in ui.protocolLabel.text


@pytest.fixture
def card_model(widget, tmp_path, medsegai, monkeypatch):
    """A function that puts another card on the only model of the library."""
    from fixtures_models import make_model_folder
    from MedSegAILib.models.folder import ModelFolder

    def put(card, **options):
        content = {"id": "hippocampus", "title": "Random hippocampus", **card}
        model = ModelFolder.open(make_model_folder(tmp_path / str(options) / "model", card=content, **options))
        monkeypatch.setattr(medsegai.MedSegAILogic, "listModels", lambda self: [model])
        section(widget)._models.list()

    return put


# ---- several volumes -----------------------------------------------------------------------------------------------

CHANNELS = {"input": {"channels": [
    {"name": "MR0", "modality": ["MR"], "series_descriptions": ["t1"]},
    {"name": "MR1", "modality": ["MR"], "series_descriptions": ["t2", "flair"]},
]}}  # fmt: skip


def test_each_channel_has_a_row_and_apply_waits_for_all(volume, widget, card_model):
    import slicer

    ui = section(widget).ui
    assert ui.matchButton.isHidden()
    card_model(CHANNELS, channels=2)
    assert not ui.matchButton.isHidden()
    assert not ui.registrationComboBox.isHidden()
    assert ui.inputLabel.text == "MR0:"
    ((_label, selector, hint),) = section(widget)._channels._rows
    assert hint.text == "MR"
    assert ui.applyButton.toolTip == "Choose the volume for MR1."
    second = make_volume(slicer, np.random.default_rng(2).normal(size=SHAPE), make_grid(SHAPE), "second")
    pick(selector, volume)
    assert "The volume 'case' is chosen for several channels." in ui.protocolLabel.text
    pick(selector, second)
    assert ui.applyButton.enabled
    apply(widget)
    channels = widget.logic.provenance(widget._parameterNode.resultSegmentation)["channels"]
    assert [channel["channel"] for channel in channels] == ["MR0", "MR1"]
    slicer.mrmlScene.RemoveNode(second)
    wait_until(lambda: ui.applyButton.toolTip == "Choose the volume for MR1.")
    assert selector.currentNode() is None  # and not the volume that Slicer's selector took instead
    card_model({})
    assert ui.inputLabel.text == "Volume:"
    assert selector.isHidden()
    assert ui.matchButton.isHidden()


def test_match_suggests_what_is_clear_and_says_what_is_not(medsegai, widget, card_model):
    import slicer

    for name in ("study T2", "study T1", "study FLAIR"):
        make_volume(slicer, np.random.default_rng(2).normal(size=SHAPE), make_grid(SHAPE), name)
    card_model(CHANNELS, channels=2)
    ui = section(widget).ui
    ui.matchButton.click()
    ((_label, selector, hint),) = section(widget)._channels._rows
    assert ui.inputSelector.currentNode().GetName() == "study T1"
    assert ui.inputHintLabel.text == "✓ the only one that fits"
    assert "'study T1'" in ui.inputHintLabel.toolTip
    assert selector.currentNode() is None
    assert hint.text == "? 2 volumes fit: study T2, study FLAIR"
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("study FLAIR"))
    ui.matchButton.click()
    assert selector.currentNode().GetName() == "study T2"
    assert ui.applyButton.enabled


# ---- models --------------------------------------------------------------------------------------------------------


def test_the_card_is_a_window_that_does_not_block(widget):
    import qt

    section(widget).ui.cardToolButton.click()
    dialog = section(widget)._models._dialog
    assert dialog.visible
    assert not dialog.modal
    text = dialog.findChildren(qt.QTextBrowser)[0].toPlainText()
    assert "Tests of the program. The weights are random." in text
    assert "Knows nothing." in text


def test_a_models_folder_is_added_and_removed(volume, open_panel, medsegai, tmp_path, monkeypatch):
    import qt

    from fixtures_models import make_model_folder

    monkeypatch.setenv("MEDSEGAI_MODELS", str(tmp_path / "user"))
    new = make_model_folder(tmp_path / "new", card={"id": "new", "title": "New model"})
    widget = open_panel()
    ui, controls = section(widget).ui, section(widget)._models
    bundled = ui.modelComboBox.count
    answers = [str(tmp_path / "nothing"), str(new)]
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: answers.pop(0))
    controls._actions["folder"].trigger()
    wait_until(lambda: "was not added" in ui.statusLabel.text, fixtures.PATIENCE_SECONDS)
    controls._actions["folder"].trigger()
    assert ui.statusLabel.text == "Adding new: its weights are checked…"
    wait_until(lambda: ui.modelComboBox.count > bundled, fixtures.PATIENCE_SECONDS)
    assert ui.statusLabel.text == "Added the model New model."
    assert widget._parameterNode.modelId == "new"
    assert ui.applyButton.enabled
    monkeypatch.setattr(qt.QMessageBox, "question", lambda *_: qt.QMessageBox.Yes)
    controls._updateMenu()
    assert controls._actions["remove"].enabled
    controls._actions["remove"].trigger()
    assert ui.modelComboBox.count == bundled
    assert not (tmp_path / "user" / "new").exists()
    assert not ui.applyButton.enabled


def test_a_bundled_model_cannot_be_removed(open_panel, medsegai):
    widget = open_panel()
    controls = section(widget)._models
    controls._updateMenu()
    assert not controls._actions["remove"].enabled


# ---- the scene -----------------------------------------------------------------------------------------------------


def test_closing_the_scene_resets_the_choices(volume, widget):
    import slicer

    apply(widget)
    widget._parameterNode.mirroring = True
    slicer.mrmlScene.Clear(0)
    ui = section(widget).ui
    assert ui.inputSelector.currentNode() is None
    assert not ui.mirroringCheckBox.checked
    assert ui.statusLabel.text == ""
    assert ui.logTextEdit.plainText == ""


def test_every_choice_is_saved_with_the_scene(volume, widget, tmp_path, card_model):
    import slicer

    card_model(CHANNELS, channels=2)
    ui = section(widget).ui
    second = make_volume(slicer, np.random.default_rng(2).normal(size=SHAPE), make_grid(SHAPE), "second")
    pick(section(widget)._channels._rows[0][1], second)
    ui.roiSelector.addNode().SetName("here")
    ui.outputSelector.addNode().SetName("mine")
    ui.qualityComboBox.setCurrentIndex(0)
    ui.registrationComboBox.setCurrentIndex(1)
    for name in CHECK_BOXES:
        box = getattr(ui, f"{name}CheckBox")
        box.checked = not box.checked
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    widget.initializeParameterNode()
    parameters = widget._parameterNode
    assert (parameters.modelId, parameters.quality, parameters.registration) == ("hippocampus", "fast", "rigid")
    assert [getattr(parameters, name) for name in CHECK_BOXES] == [True, True, True, False]
    nodes = [ui.inputSelector.currentNode(), section(widget)._channels._rows[0][1].currentNode()]
    nodes += [ui.roiSelector.currentNode(), ui.outputSelector.currentNode()]
    assert [node.GetName() for node in nodes] == ["case", "second", "here", "mine"]
    assert ui.applyButton.enabled


def test_reloading_leaves_no_observer_behind(volume, open_panel, widget):
    before = section(widget).Observations
    assert before
    widget.cleanup()
    assert widget.Observations == []
    assert section(widget).Observations == []
    widget.setup()  # what Reload does with a new object; the old one's cleanup must not disturb it
    assert section(widget).ui.applyButton.enabled
