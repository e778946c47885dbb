"""The panel of MedSegAIMetrics, clicked through on the harness: choices, Apply and the table of results."""

from __future__ import annotations

import numpy as np
import pytest

import fixtures_metrics_panel as panel
from fixtures_metrics_panel import dice, entries, headers, rows, segmentation, slicer

metrics, widget, both = panel.metrics, panel.widget, panel.both
label_volume, labels, reference, shifted = panel.label_volume, panel.labels, panel.reference, panel.shifted


# ---- choices -------------------------------------------------------------------------------------------------------


def test_apply_is_off_until_both_nodes_are_chosen_and_says_why(widget, reference, shifted):
    ui = widget.ui
    assert (ui.applyButton.enabled, ui.applyButton.toolTip) == (False, "Choose the reference.")
    ui.referenceSelector.setCurrentNode(reference)
    assert (ui.applyButton.enabled, ui.applyButton.toolTip) == (False, "Choose the test.")
    ui.testSelector.setCurrentNode(shifted)
    assert ui.applyButton.enabled
    assert ui.resultsCollapsibleButton.isHidden()


def test_segments_are_listed_and_follow_the_node(both, reference):
    combo = both.ui.referenceSegmentComboBox
    assert entries(combo) == ["(all matching segments)", "Anterior", "Posterior"]
    reference.GetSegmentation().GetSegment("anterior").SetName("Head")
    assert entries(combo) == ["(all matching segments)", "Head", "Posterior"]
    combo.setCurrentIndex(1)
    assert both._parameterNode.referenceSegmentId == "anterior"
    reference.GetSegmentation().RemoveSegment("anterior")
    assert entries(combo) == ["(all matching segments)", "Posterior"]
    assert both._parameterNode.referenceSegmentId == ""
    assert combo.currentIndex == 0


def test_label_maps_and_models_list_their_segments_as_the_logic_finds_them(metrics, label_volume, reference):
    logic = metrics.MedSegAIMetricsLogic()
    model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "surface")
    colors = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode")
    colors.SetTypeToUser()
    colors.SetNumberOfColors(3)
    colors.SetColor(1, "head", 1, 0, 0, 1)
    assert logic.listSegments(None) == []
    assert logic.listSegments(model) == [("surface", "surface")]
    assert logic.listSegments(label_volume) == [("Segment_1", "Segment_1"), ("Segment_2", "Segment_2")]
    label_volume.GetDisplayNode().SetAndObserveColorNodeID(colors.GetID())
    listed = logic.listSegments(label_volume)
    matches = logic.compare(label_volume, reference).matches.values()
    assert listed == [(match.reference.id, match.reference.name) for match in matches if match.reference]
    assert listed[0] == ("Segment_1", "head")


def test_what_cannot_be_compared_turns_apply_off_and_says_why(both, shifted):
    chosen, button = both._parameterNode, both.ui.applyButton
    chosen.referenceSegmentId = "anterior"
    assert (button.enabled, button.toolTip) == (False, "Choose a segment on both sides, or on none.")
    chosen.testNode, chosen.testSegmentId = chosen.referenceNode, "anterior"
    assert button.toolTip == "Reference and test are the same. Choose another test, or two segments."
    chosen.testNode = shifted
    shifted.GetSegmentation().RemoveAllSegments()
    assert button.toolTip == "shifted has no segments."


def test_without_any_measure_apply_is_off(both):
    _measure_only(both, ())
    assert both.ui.applyButton.toolTip == "Choose at least one group of measures."


def _measure_only(widget, groups):
    for group in ("Counts", "Overlap", "Volume", "Surface", "Lesions"):
        getattr(widget.ui, f"measure{group}CheckBox").checked = group in groups


@pytest.mark.parametrize(
    ("field", "text", "sentence"),
    [
        ("tolerances", "1, two", "Tolerances must be numbers of mm such as 1, 2, 3, but there is '1, two'."),
        ("tolerances", "-1", "A tolerance must be a number of millimeters of at least 0, but it is -1.0."),
        ("percentiles", "0", "A percentile must be above 0 and at most 100, but it is 0.0."),
    ],
)
def test_a_wrong_number_is_said_at_once_and_mended(both, field, text, sentence):
    ui = both.ui
    edit = getattr(ui, f"{field}LineEdit")
    edit.text = text
    assert ui.settingsMessageLabel.text == sentence
    assert (ui.applyButton.enabled, ui.applyButton.toolTip) == (False, sentence)
    edit.text = "90; 99.5"
    assert ui.settingsMessageLabel.text == ""
    assert ui.applyButton.enabled


def test_distance_settings_are_off_without_surface_measures(both):
    both.ui.tolerancesLineEdit.text = "wrong"
    both.ui.measureSurfaceCheckBox.checked = False
    assert both.ui.applyButton.enabled
    assert not both.ui.tolerancesLineEdit.enabled
    both.ui.applyButton.click()
    assert headers(both) == ["Segment", "Dice"]


def test_choices_reach_the_parameter_node_and_come_back(both):
    ui, parameters = both.ui, both._parameterNode
    ui.surfaceComboBox.setCurrentIndex(2)
    ui.gridComboBox.setCurrentIndex(1)
    assert not ui.marginSpinBox.enabled
    ui.regionComboBox.setCurrentIndex(1)
    ui.marginSpinBox.value = 25.0
    ui.tolerancesLineEdit.text = "0.5 2"
    ui.measureLesionsCheckBox.checked = True
    assert ui.marginSpinBox.enabled
    assert (parameters.surface, parameters.grid, parameters.region) == ("voxelcenter", "test", "union")
    assert both.logic.settings(parameters) == {
        "measures": ["counts", "overlap", "volume", "surface", "lesions"],
        "percentiles": [95.0],
        "tolerances_mm": [0.5, 2.0],
        "surface": "voxelcenter",
        "region": "union+25mm",
        "grid": "test",
    }
    parameters.surface, parameters.tolerancesMm = "smooth", "7"
    assert (ui.surfaceComboBox.currentText, ui.tolerancesLineEdit.text) == ("Smoothed", "7")


def test_choices_are_saved_with_the_scene(both, tmp_path):
    both.ui.referenceSegmentComboBox.setCurrentIndex(2)
    both.ui.testSegmentComboBox.setCurrentIndex(1)
    both.ui.percentilesLineEdit.text = "90"
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    both.initializeParameterNode()
    ui = both.ui
    assert ui.referenceSelector.currentNode().GetName() == "reference"
    assert (ui.referenceSegmentComboBox.currentText, ui.testSegmentComboBox.currentText) == ("Posterior", "Anterior")
    assert ui.percentilesLineEdit.text == "90"
    assert ui.applyButton.enabled


# ---- the result ----------------------------------------------------------------------------------------------------


def test_apply_shows_a_row_for_each_segment_and_writes_the_table(both, labels):
    both.ui.applyButton.click()
    moved = np.roll(labels, 1, axis=2)
    expected = [dice(labels == value, moved == value) for value in (1, 2)]
    assert headers(both) == ["Segment", "Dice", "HD95\nmm", "ASSD\nmm", "NSD\n1 mm"]
    shown = rows(both)
    assert [row[:2] for row in shown] == [["Anterior", f"{expected[0]:.3f}"], ["Posterior", f"{expected[1]:.3f}"]]
    assert [row[2] for row in shown] == ["1.00", "1.00"]  # every face moved by 0 or 1 mm
    (table,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    columns = table.GetTable()
    assert [columns.GetColumnByName("dice").GetValue(row) for row in (0, 1)] == pytest.approx(expected)
    assert table.GetName() == "shifted vs reference"
    assert both.ui.statusLabel.text == (
        "Done: shifted compared with reference. All measures are in the table shifted vs reference."
    )
    assert both.ui.notesLabel.text == "Same id: Anterior, Posterior."
    assert not both.ui.resultsCollapsibleButton.isHidden()
    assert both.ui.applyButton.enabled


def test_headers_and_undefined_values_explain_themselves(both, label_volume, labels):
    only_front = segmentation(label_volume, np.where(labels == 1, labels, 0), "front", ids=("anterior",))
    both.ui.testSelector.setCurrentNode(only_front)
    both.ui.applyButton.click()
    table = both.ui.resultsTable
    assert (
        table.horizontalHeaderItem(3)
        .toolTip()
        .startswith(
            "Average symmetric surface distance (mm): mean distance over the area of both surfaces together. Heimann"
        )
    )
    assert rows(both) == [
        ["Anterior", "1.000", "0.00", "0.00", "1.000"],
        ["Posterior", "0.000", "–", "–", "0.000"],
    ]
    assert table.item(1, 2).toolTip() == "the test is empty"
    assert table.item(0, 0).toolTip() == "'Anterior' with 'Anterior' (same id)"
    assert both.ui.notesLabel.text == "Same id: Anterior.\nOnly in the reference: Posterior."


def test_a_click_on_a_header_sorts_and_undefined_values_stay_last(both, label_volume, labels):
    extra = labels.copy()
    extra[:3, :3, :3] = 3
    ids = ("anterior", "posterior", "cyst")
    both.ui.referenceSelector.setCurrentNode(segmentation(label_volume, extra, "with cyst", ids))
    both.ui.applyButton.click()
    header = both.ui.resultsTable.horizontalHeader()
    _click_header(header, 2)
    ascending = [row[2] for row in rows(both)]
    assert ascending[-1] == "–"
    assert ascending[:2] == sorted(ascending[:2], key=float)
    _click_header(header, 2)
    assert [row[2] for row in rows(both)] == [*ascending[1::-1], "–"]
    _click_header(header, 0)
    assert [row[0] for row in rows(both)] == ["Anterior", "cyst", "Posterior"]


def _click_header(header, column):
    from PySide6 import QtCore, QtTest

    point = QtCore.QPoint(header.sectionViewportPosition(column) + header.sectionSize(column) // 2, 5)
    QtTest.QTest.mouseClick(header.viewport(), QtCore.Qt.LeftButton, QtCore.Qt.NoModifier, point)


@pytest.mark.parametrize("shift", [0, 1])
def test_one_chosen_pair_is_compared_even_of_one_node(both, labels, reference, shift):
    both.ui.testSelector.setCurrentNode(both.ui.testSelector.currentNode() if shift else reference)
    both.ui.referenceSegmentComboBox.setCurrentIndex(1)
    both.ui.testSegmentComboBox.setCurrentIndex(2)
    both.ui.applyButton.click()
    expected = dice(labels == 1, np.roll(labels, shift, axis=2) == 2)
    assert [row[:2] for row in rows(both)] == [["Anterior", f"{expected:.3f}"]]
    assert both.ui.notesLabel.text == "Chosen: Anterior with Posterior."


def test_a_label_map_on_another_grid_is_compared_and_the_note_says_so(both, label_volume):
    spacing = np.array(label_volume.GetSpacing())
    label_volume.SetSpacing(*(spacing * 1.1))
    both.ui.testSelector.setCurrentNode(label_volume)
    both.ui.referenceSegmentComboBox.setCurrentIndex(1)
    both.ui.testSegmentComboBox.setCurrentIndex(1)
    both.ui.applyButton.click()
    assert len(rows(both)) == 1
    assert "The test 'expert' was resampled by nearest neighbor" in both.ui.notesLabel.text


def test_the_columns_are_of_what_was_measured(both):
    both.ui.surfaceComboBox.setCurrentIndex(2)
    both.ui.percentilesLineEdit.text = "90, 95"
    both.ui.applyButton.click()
    assert headers(both)[2] == "HD90\nmm"
    assert "voxel" in both.ui.resultsTable.horizontalHeaderItem(2).toolTip()
    (table,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    assert table.GetColumnIndex("hd95_voxelcenter_maxdir_mm") > 0
    _measure_only(both, ["Lesions"])
    both.ui.applyButton.click()
    assert headers(both)[1:3] == ["Lesions\nin the reference", "Lesions\nin the test"]
    assert rows(both)[0][1:3] == ["1", "1"]


def test_a_chosen_table_is_written_again(both):
    output = both.ui.outputSelector.addNode()
    both.ui.applyButton.click()
    both.ui.applyButton.click()
    assert slicer.util.getNodesByClass("vtkMRMLTableNode") == [output]
    assert output.GetNumberOfRows() == 2
