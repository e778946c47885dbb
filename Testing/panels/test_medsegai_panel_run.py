"""Running a model from the panel of MedSegAI: Apply, progress, results, warnings, errors, Cancel."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fixtures_segmentation_panel as fixtures
from fixtures_scene import linear_transform, make_grid, make_volume
from fixtures_segmentation_panel import SHAPE, apply, section, segments, wait_until_done
from harness.event_loop import wait_until

models, widget, volume, slow = fixtures.models, fixtures.widget, fixtures.volume, fixtures.slow


def test_apply_writes_a_segmentation_and_chooses_it_as_the_result(volume, widget):
    import slicer

    apply(widget)
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert node.GetName() == "case segmentation"
    assert widget._parameterNode.resultSegmentation is node
    assert segments(node) == ["front", "back"]
    ui = section(widget).ui
    assert ui.statusLabel.text.startswith("Done: case segmentation. Review it before you use it.")
    assert ui.applyButton.enabled
    assert not ui.cancelButton.enabled
    assert ui.progressBar.isHidden()
    assert ui.copyErrorButton.isHidden()


def test_the_result_is_that_of_the_logic_with_the_same_choices(volume, widget, models):
    import slicer

    ui, parameters = section(widget).ui, widget._parameterNode
    ui.qualityComboBox.setCurrentIndex(ui.qualityComboBox.findData("best"))  # the same voxels every time
    ui.deviceComboBox.setCurrentIndex(ui.deviceComboBox.findData("cpu"))
    ui.modelComboBox.setCurrentIndex(1)
    apply(widget)
    expected = widget.logic.segment(volume, models[1], device="cpu", quality="best")
    arrays = [
        slicer.util.arrayFromSegmentBinaryLabelmap(node, "front", volume)
        for node in (parameters.resultSegmentation, expected)
    ]
    assert arrays[0].any()
    np.testing.assert_array_equal(*arrays)
    run = widget.logic.provenance(parameters.resultSegmentation)
    assert (run["model"]["id"], run["run"]["quality"]) == ("other", "best")
    assert run["run"]["mirror_axes"] == [0, 1, 2]  # best mirrors by itself


@pytest.mark.parametrize(("name", "kind"), [("probabilities", "probabilityNodes"), ("uncertainty", "uncertaintyNode")])
def test_maps_are_made_if_they_are_wanted(volume, widget, name, kind):
    getattr(section(widget).ui, f"{name}CheckBox").checked = False
    apply(widget)
    assert not getattr(widget.logic, kind)(widget._parameterNode.resultSegmentation)
    getattr(section(widget).ui, f"{name}CheckBox").checked = True
    apply(widget)
    assert getattr(widget.logic, kind)(widget._parameterNode.resultSegmentation)


def test_a_region_is_segmented_alone(volume, widget):
    ui = section(widget).ui
    region = ui.roiSelector.addNode()
    assert region.GetSize() == pytest.approx(SHAPE[::-1])  # around the volume, of 1 mm voxels
    assert region.GetDisplayNode().GetVisibility()
    region.SetSize(10, 10, 10)
    apply(widget)
    box = widget.logic.provenance(widget._parameterNode.resultSegmentation)["region_kji"]
    assert [stop - start for start, stop in box] == [10, 10, 10]
    ui.roiSelector.setCurrentNode(None)
    apply(widget)
    assert "region_kji" not in widget.logic.provenance(widget._parameterNode.resultSegmentation)


def test_a_chosen_output_gets_the_segments_beside_those_it_has(volume, widget):
    output = section(widget).ui.outputSelector.addNode()
    apply(widget)
    assert segments(output) == ["front", "back"]
    widget.sections[0].update()
    hint = section(widget).ui.outputHintLabel
    assert hint.text == "2 segments will be added to the 2 that are there. None of these is changed."
    apply(widget)
    assert segments(output)[:2] == ["front", "back"]
    assert len(segments(output)) == 4


def test_warnings_are_shown(volume, widget, tmp_path, medsegai, monkeypatch):
    from fixtures_models import make_model_folder
    from MedSegAILib.models.folder import ModelFolder

    thick = make_model_folder(tmp_path / "thick", card={"input": {"spacing_mm": [[3, 4]] * 3}, "id": "hippocampus"})
    monkeypatch.setattr(medsegai.MedSegAILogic, "listModels", lambda self: [ModelFolder.open(thick)])
    section(widget)._models.list()
    assert "⚠ The spacing is 1 x 1 x 1 mm" in section(widget).ui.protocolLabel.text
    apply(widget)
    assert "Warning: The spacing is 1 x 1 x 1 mm" in section(widget).ui.statusLabel.text
    section(widget).ui.strictCheckBox.checked = True
    apply(widget)
    assert section(widget).ui.statusLabel.text.startswith("The volume is not what the model was made for.")


def test_an_error_is_shown_in_the_panel_and_nothing_is_written(widget, medsegai):
    import slicer

    widget._parameterNode.inputVolume = make_volume(slicer, np.zeros(SHAPE), make_grid(SHAPE), "black")
    apply(widget)
    ui = section(widget).ui
    assert "the volume is empty" in ui.statusLabel.text
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert ui.applyButton.enabled
    assert "the volume is empty" in ui.logTextEdit.plainText


def test_the_error_is_copied_with_versions_and_model_and_without_the_volumes_name(widget, medsegai):
    import qt
    import slicer

    node = make_volume(slicer, np.zeros(SHAPE), make_grid(SHAPE), "Doe^John")
    widget._parameterNode.inputVolume = node
    apply(widget)
    slicer.mrmlScene.RemoveNode(node)
    ui = section(widget).ui
    ui.logTextEdit.appendPlainText("about Doe^John")
    assert not ui.copyErrorButton.isHidden()
    ui.copyErrorButton.click()
    text = qt.QApplication.clipboard().text()
    assert "Error: Channel MR0 is 0 everywhere: the volume is empty." in text
    assert "Model: hippocampus 1.0.0" in text
    assert "torch " in text
    assert "Doe" not in text


def test_the_log_of_a_closed_scene_holds_no_name(volume, widget):
    import qt
    import slicer

    widget._parameterNode.inputVolume.SetName("Doe^John")
    ui = section(widget).ui
    ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(widget._parameterNode.inputVolume)  # before the event loop could see the run's end
    wait_until_done(widget)
    assert "'Doe^John' was removed" in ui.statusLabel.text
    slicer.mrmlScene.Clear(0)
    ui.copyLogButton.click()
    assert "Doe" not in qt.QApplication.clipboard().text()


def test_a_filled_output_under_another_transform_is_explained(volume, widget):
    import slicer

    output = section(widget).ui.outputSelector.addNode()
    apply(widget)
    volume.SetAndObserveTransformNodeID(linear_transform(slicer, np.diag([2.0, 1, 1, 1])).GetID())
    ui = section(widget).ui
    ui.applyButton.click()  # before the panel has looked again
    assert "already holds segments" in ui.statusLabel.text
    wait_until(lambda: not ui.applyButton.enabled)
    assert "already holds segments" in ui.applyButton.toolTip
    assert "already holds segments" in ui.protocolLabel.text
    assert len(segments(output)) == 2


def test_progress_tells_stage_tiles_and_time_left(volume, widget, slow):
    texts, values = [], []
    ui = section(widget).ui

    def look():
        texts.append(ui.statusLabel.text)
        values.append(ui.progressBar.value)
        return " left" in ui.statusLabel.text

    slow(widget)
    ui.applyButton.click()
    wait_until_done(widget, look)
    assert "Starting…" in texts
    assert re.fullmatch(r"Tile \d+ of \d+, about \d+ (s|min) left", texts[-1])
    assert values == sorted(values)
    assert 0 < values[-1] < ui.progressBar.maximum


def test_cancel_stops_the_run_and_writes_nothing(volume, widget, slow):
    import slicer

    ui = section(widget).ui
    slow(widget)
    ui.applyButton.click()
    fixtures.wait_for_a_tile(widget)
    ui.cancelButton.click()
    assert ui.statusLabel.text == "Canceling…"
    wait_until_done(widget)
    assert ui.statusLabel.text == "Cancelled: nothing was written."
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert ui.applyButton.enabled
    assert not ui.cancelButton.enabled
    assert ui.copyErrorButton.isHidden()


def test_while_it_runs_only_cancel_can_be_pressed(volume, widget, slow):
    ui = section(widget).ui
    slow(widget)
    ui.applyButton.click()
    names = ("inputsCollapsibleButton", "outputsCollapsibleButton", "advancedCollapsibleButton", "applyButton")
    assert [getattr(ui, name).enabled for name in names] == [False] * 4
    assert ui.applyButton.toolTip == "A run is under way."
    assert ui.cancelButton.enabled
    assert not ui.progressBar.isHidden()
    ui.cancelButton.click()
    wait_until_done(widget)
    assert all(getattr(ui, name).enabled for name in names)
