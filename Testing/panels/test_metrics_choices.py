"""The panel of MedSegAIMetrics, clicked through on the harness: what is compared and measured."""

from __future__ import annotations

import pytest

import fixtures_metrics_panel as fixtures
from fixtures_metrics_panel import entries, headers, slicer

metrics, panel, both = fixtures.metrics, fixtures.panel, fixtures.both
label_volume, labels, reference, shifted = (
    fixtures.label_volume, fixtures.labels, fixtures.reference, fixtures.shifted,
)  # fmt: skip


def test_apply_is_off_until_both_nodes_are_chosen_and_says_why(panel, reference, shifted):
    ui = panel.ui
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
    assert both.chosen.referenceSegmentId == "anterior"
    reference.GetSegmentation().RemoveSegment("anterior")
    assert entries(combo) == ["(all matching segments)", "Posterior"]
    assert both.chosen.referenceSegmentId == ""
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
    chosen, button = both.chosen, both.ui.applyButton
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
    both.compare()
    assert headers(both) == ["Segment", "Dice"]


def test_choices_reach_the_parameter_node_and_come_back(both):
    ui, parameters = both.ui, both.chosen
    ui.surfaceComboBox.setCurrentIndex(2)
    ui.gridComboBox.setCurrentIndex(1)
    assert not ui.marginSpinBox.enabled
    ui.regionComboBox.setCurrentIndex(1)
    ui.marginSpinBox.value = 25.0
    ui.tolerancesLineEdit.text = "0.5 2"
    ui.measureLesionsCheckBox.checked = True
    assert ui.marginSpinBox.enabled
    assert (parameters.surface, parameters.grid, parameters.region) == ("voxelcenter", "test", "union")
    assert both.widget.logic.settings(parameters) == {
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
    both.widget.initializeParameterNode()
    ui = both.ui
    assert ui.referenceSelector.currentNode().GetName() == "reference"
    assert (ui.referenceSegmentComboBox.currentText, ui.testSegmentComboBox.currentText) == ("Posterior", "Anterior")
    assert ui.percentilesLineEdit.text == "90"
    assert ui.applyButton.enabled


def test_long_names_do_not_make_the_panel_wider_than_slicers(both, reference, shifted):
    """Slicer's module panel is about 400 pixels wide; what needs more gets a scroll bar."""
    reference.SetName("R" * 60)
    shifted.SetName("a name of sixty letters and blanks that somebody has given it")
    both.compare()
    both.ui.allMeasuresCheckBox.checked = True
    both.ui.settingsCollapsibleButton.collapsed = False
    assert "R" * 60 in both.ui.statusLabel.text
    assert both.widget.parent.minimumSizeHint().width() <= 400
