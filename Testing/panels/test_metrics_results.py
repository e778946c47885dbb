"""The panel of MedSegAIMetrics, clicked through on the harness: the numbers, and what can be done with them."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

import fixtures_metrics_panel as fixtures
from fixtures_metrics_panel import dice, headers, rows, segmentation, slicer, table_nodes

metrics, panel, both, compared = fixtures.metrics, fixtures.panel, fixtures.both, fixtures.compared
label_volume, labels, reference, shifted = (
    fixtures.label_volume, fixtures.labels, fixtures.reference, fixtures.shifted,
)  # fmt: skip


def test_apply_shows_a_row_for_each_segment_and_writes_the_table(both, labels):
    both.compare()
    moved = np.roll(labels, 1, axis=2)
    expected = [dice(labels == value, moved == value) for value in (1, 2)]
    assert headers(both) == ["Segment", "Dice", "HD95\nmm", "ASSD\nmm", "NSD\n1 mm"]
    shown = rows(both)
    assert [row[:2] for row in shown] == [["Anterior", f"{expected[0]:.3f}"], ["Posterior", f"{expected[1]:.3f}"]]
    assert [row[2] for row in shown] == ["1.00", "1.00"]  # every face moved by 0 or 1 mm
    (table,) = table_nodes()
    columns = table.GetTable()
    assert [columns.GetColumnByName("dice").GetValue(row) for row in (0, 1)] == pytest.approx(expected)
    assert table.GetName() == "shifted vs reference"
    assert both.ui.statusLabel.text == "Done: shifted compared with reference."
    assert both.ui.notesLabel.text == "Same id: Anterior, Posterior."
    assert not both.ui.resultsCollapsibleButton.isHidden()
    assert both.ui.applyButton.enabled


def test_headers_and_undefined_values_explain_themselves(both, label_volume, labels):
    only_front = segmentation(label_volume, np.where(labels == 1, labels, 0), "front", ids=("anterior",))
    both.ui.testSelector.setCurrentNode(only_front)
    both.compare()
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
    both.compare()
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
    both.compare()
    expected = dice(labels == 1, np.roll(labels, shift, axis=2) == 2)
    assert [row[:2] for row in rows(both)] == [["Anterior", f"{expected:.3f}"]]
    assert both.ui.notesLabel.text == "Chosen: Anterior with Posterior."


def test_a_label_map_on_another_grid_is_compared_and_the_note_says_so(both, label_volume):
    spacing = np.array(label_volume.GetSpacing())
    label_volume.SetSpacing(*(spacing * 1.1))
    both.ui.testSelector.setCurrentNode(label_volume)
    both.ui.referenceSegmentComboBox.setCurrentIndex(1)
    both.ui.testSegmentComboBox.setCurrentIndex(1)
    both.compare()
    assert len(rows(both)) == 1
    assert "The test 'expert' was resampled by nearest neighbor" in both.ui.notesLabel.text


def test_the_columns_are_of_what_was_measured(both):
    both.ui.surfaceComboBox.setCurrentIndex(2)
    both.ui.percentilesLineEdit.text = "90, 95"
    both.compare()
    assert headers(both)[2] == "HD90\nmm"
    assert "voxel" in both.ui.resultsTable.horizontalHeaderItem(2).toolTip()
    (table,) = table_nodes()
    assert table.GetColumnIndex("hd95_voxelcenter_maxdir_mm") > 0
    for group in ("Counts", "Overlap", "Volume", "Surface", "Lesions"):
        getattr(both.ui, f"measure{group}CheckBox").checked = group == "Lesions"
    both.compare()
    assert headers(both)[1:3] == ["Lesions in the\nreference", "Lesions in the\ntest"]
    assert rows(both)[0][1:3] == ["1", "1"]


@pytest.fixture
def layout_manager(monkeypatch, medsegai):
    manager = _LayoutManager()
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: manager)
    return manager


class _LayoutManager:
    """Slicer's, as far as the panel uses it."""

    layout = 3

    def setLayout(self, layout):
        self.layout = layout

    def resetThreeDViews(self):
        self.reset = True


def test_show_table_opens_slicers_table_view(compared, layout_manager):
    compared.ui.showTableButton.click()
    (table,) = table_nodes()
    assert layout_manager.layout == slicer.modules.tables.logic().GetLayoutWithTable(3) != 3
    assert slicer.app.applicationLogic().GetSelectionNode().GetActiveTableID() == table.GetID()
    assert compared.ui.messageLabel.text == "All measures are in the table shifted vs reference."


def test_plot_draws_the_column_that_is_selected_once(both, layout_manager):
    def shown():
        both.ui.plotButton.click()
        return slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID()

    both.compare()
    chart_ids = [shown()]
    both.ui.resultsTable.setCurrentCell(1, 3)
    chart_ids += [shown(), shown()]
    titles = [slicer.mrmlScene.GetNodeByID(identifier).GetTitle() for identifier in chart_ids]
    assert titles == ["Dice", "Average symmetric surface distance", "Average symmetric surface distance"]
    assert len(slicer.util.getNodesByClass("vtkMRMLPlotChartNode")) == 2


def test_errors_as_segments_are_of_the_selected_row(both, labels):
    both.compare()
    both.ui.resultsTable.selectRow(1)
    both.ui.errorSegmentsButton.click()
    node = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[-1]
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    assert ids == ["posterior_tp", "posterior_fp", "posterior_fn"]
    assert both.ui.messageLabel.text == "Created the segmentation Errors of shifted."


def test_color_by_distance_makes_a_model_and_says_why_it_cannot(both, label_volume, labels, layout_manager):
    both.compare()
    both.ui.distanceModelButton.click()
    (model,) = slicer.util.getNodesByClass("vtkMRMLModelNode")
    assert model.GetName() == "Anterior distance to shifted"
    assert layout_manager.reset
    front = segmentation(label_volume, np.where(labels == 1, labels, 0), "front", ids=("anterior",))
    both.ui.testSelector.setCurrentNode(front)
    both.compare()
    both.ui.resultsTable.selectRow(1)
    both.ui.distanceModelButton.click()
    assert both.ui.messageLabel.text == "The test of 'posterior' is empty: there is no surface to measure to."


def test_the_csv_has_all_measures_and_an_error_is_shown(both, tmp_path, monkeypatch):
    import qt

    answers = [str(tmp_path / "result"), "", str(tmp_path / "result.csv" / "x.csv")]
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *_: answers.pop(0))  # one string, as in PythonQt
    both.compare()
    both.ui.saveCsvButton.click()
    assert both.ui.messageLabel.text == f"Saved: {tmp_path / 'result.csv'}"
    with open(tmp_path / "result.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["segment"] for line in lines] == ["Anterior", "Posterior"]
    assert f"{float(lines[0]['dice']):.3f}" == rows(both)[0][1]
    both.ui.saveCsvButton.click()  # nothing is chosen
    assert both.ui.messageLabel.text == ""
    both.ui.saveCsvButton.click()
    assert "x.csv" in both.ui.messageLabel.text
    assert not both.ui.messageLabel.text.startswith("Saved")


def test_copy_puts_the_csv_with_all_facts_on_the_clipboard(compared):
    import qt

    qt.QApplication.clipboard().setText("before")
    compared.ui.copyCsvButton.click()
    (table,) = table_nodes()
    lines = list(csv.DictReader(io.StringIO(qt.QApplication.clipboard().text())))
    assert [line["segment"] for line in lines] == ["Anterior", "Posterior"]
    dices = [table.GetTable().GetColumnByName("dice").GetValue(row) for row in (0, 1)]
    assert [float(line["dice"]) for line in lines] == dices  # to the last digit
    assert (lines[0]["region"], lines[0]["matched"]) == ("image", "'Anterior' with 'Anterior' (same id).")
    assert compared.ui.messageLabel.text.startswith("Copied: ")


def test_all_measures_are_shown_on_request(compared):
    assert len(headers(compared)) == 5
    compared.ui.resultsTable.selectRow(1)
    compared.ui.allMeasuresCheckBox.checked = True
    (table,) = table_nodes()
    assert len(headers(compared)) == table.GetTable().GetNumberOfColumns() - 3  # region, matched, reason
    assert "Volume of the\nreference\nml" in headers(compared)
    assert compared.ui.resultsTable.currentRow() == 1
    row = dict(zip(headers(compared), rows(compared)[0], strict=True))
    columns = table.GetTable()
    assert row["True positives\nvoxels"] == f"{columns.GetColumnByName('tp').GetValue(0):.0f}"
    compared.ui.allMeasuresCheckBox.checked = False
    assert len(headers(compared)) == 5


# ---- the worst slice -----------------------------------------------------------------------------------------------


@pytest.fixture
def views(metrics):
    """The three slice views of Slicer."""
    nodes = []
    for name, orientation in (("Red", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal")):
        nodes.append(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode", name))
        nodes[-1].SetOrientation(orientation)
    return nodes


def test_worst_slice_moves_the_views_to_where_the_selected_segment_differs_most(both, labels, label_volume, views):
    moved = np.where(labels == 1, labels, 0)
    moved[10:12] = labels[10:12]  # the posterior part is missing but in two slices
    both.ui.testSelector.setCurrentNode(segmentation(label_volume, moved, "half"))
    both.compare()
    both.ui.resultsTable.selectRow(1)
    both.ui.worstSliceButton.click()
    differing = ((labels == 2) != (moved == 2)).sum(axis=(1, 2))
    origin, spacing = np.array(label_volume.GetOrigin()), np.array(label_volume.GetSpacing())
    wanted = origin[2] + differing.argmax() * spacing[2]
    assert views[0].GetSliceOffset() == pytest.approx(wanted)
    area = differing.max() * spacing[0] * spacing[1]
    assert both.ui.messageLabel.text.startswith(
        f"The views show where most of Posterior differs: Red {area:.3g} mm², Green "
    )


def test_worst_slice_says_that_nothing_differs_or_that_there_is_no_view(both, reference):
    both.ui.testSelector.setCurrentNode(reference)
    both.ui.referenceSegmentComboBox.setCurrentIndex(1)
    both.ui.testSegmentComboBox.setCurrentIndex(2)
    both.compare()
    both.ui.worstSliceButton.click()
    assert both.ui.messageLabel.text == "There is no slice view to move."


def test_worst_slice_of_equal_segments(both, label_volume, labels, views):
    both.ui.testSelector.setCurrentNode(segmentation(label_volume, labels, "copy"))
    both.compare()
    both.ui.worstSliceButton.click()
    assert both.ui.messageLabel.text == (
        "Reference and test of Anterior are equal. The views show where it is largest."
    )


@pytest.mark.parametrize("button", ["worstSliceButton", "errorSegmentsButton", "distanceModelButton"])
def test_what_needs_voxels_says_if_they_are_gone_or_changed(compared, reference, shifted, views, button):
    slicer.util.arrayFromSegmentInternalBinaryLabelmap(shifted, "anterior")[0, 0, 0] ^= 1
    getattr(compared.ui, button).click()
    assert compared.ui.messageLabel.text == ("The segment 'Anterior' has changed since it was compared. Compare again.")
    slicer.mrmlScene.RemoveNode(shifted)
    getattr(compared.ui, button).click()
    assert compared.ui.messageLabel.text == (
        "The test 'shifted' is not in the scene any more. Load it, and compare again."
    )
    assert len(rows(compared)) == 2


# ---- the history ---------------------------------------------------------------------------------------------------


def history(panel):
    combo = panel.ui.historyComboBox
    return [combo.itemText(index) for index in range(combo.count)]


def test_every_run_adds_a_comparison_and_the_newest_is_shown(compared, monkeypatch):
    first = table_nodes()[0]
    first.SetAttribute("MedSegAI.ComparisonTime", "2026-01-02T03:04:05Z")
    compared.ui.measureVolumeCheckBox.checked = False
    compared.compare()
    assert len(table_nodes()) == 2
    assert history(compared)[1] == "2026-01-02 03:04 UTC: shifted vs reference"
    assert compared.ui.historyComboBox.currentIndex == 0
    assert compared.chosen.resultTable is table_nodes()[1]
    compared.ui.historyComboBox.setCurrentIndex(1)
    assert compared.chosen.resultTable is first
    compared.ui.allMeasuresCheckBox.checked = True
    assert "Volume\ndifference\nml" in headers(compared)
    first.SetName("final")
    assert history(compared)[1].endswith(" UTC: final")


def test_a_deleted_comparison_is_no_longer_shown(compared):
    compared.ui.testSegmentComboBox.setCurrentIndex(1)
    compared.ui.referenceSegmentComboBox.setCurrentIndex(1)
    compared.compare()
    assert len(rows(compared)) == 1
    slicer.mrmlScene.RemoveNode(compared.chosen.resultTable)
    assert len(rows(compared)) == 2
    assert len(history(compared)) == 1
    slicer.mrmlScene.RemoveNode(table_nodes()[0])
    assert compared.ui.resultsCollapsibleButton.isHidden()
    assert rows(compared) == []


def test_the_settings_of_a_comparison_are_chosen_again(compared, reference, shifted):
    ui, chosen = compared.ui, compared.chosen
    ui.referenceSegmentComboBox.setCurrentIndex(1)
    ui.testSegmentComboBox.setCurrentIndex(2)
    ui.percentilesLineEdit.text = "90, 99.5"
    ui.regionComboBox.setCurrentIndex(1)
    ui.marginSpinBox.value = 25.0
    ui.surfaceComboBox.setCurrentIndex(2)
    ui.measureCountsCheckBox.checked = False
    compared.compare()
    ui.historyComboBox.setCurrentIndex(1)
    ui.useAgainButton.click()
    assert (chosen.referenceSegmentId, chosen.testSegmentId, chosen.percentiles) == ("", "", "95")
    assert (chosen.region, chosen.surface, chosen.measureCounts) == ("image", "face", True)
    ui.referenceSelector.setCurrentNode(None)
    ui.historyComboBox.setCurrentIndex(0)
    ui.useAgainButton.click()
    assert (chosen.referenceNode, chosen.testNode) == (reference, shifted)
    assert (chosen.referenceSegmentId, chosen.testSegmentId) == ("anterior", "posterior")
    assert (ui.percentilesLineEdit.text, ui.marginSpinBox.value) == ("90, 99.5", 25.0)
    assert (chosen.region, chosen.surface, chosen.measureCounts) == ("union", "voxelcenter", False)
    assert ui.applyButton.enabled


def test_a_saved_and_loaded_scene_shows_its_comparisons_again(compared, tmp_path, views, label_volume, labels):
    front = segmentation(label_volume, np.where(labels == 1, labels, 0), "front", ids=("anterior",))
    compared.ui.testSelector.setCurrentNode(front)
    compared.compare()
    shown, titles = rows(compared), history(compared)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert compared.ui.resultsCollapsibleButton.isHidden()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert rows(compared) == shown
    assert history(compared) == titles
    assert compared.ui.resultsTable.item(1, 2).text() == "–"
    assert compared.ui.resultsTable.item(1, 2).toolTip() == "the test is empty"
    assert compared.ui.notesLabel.text == "Same id: Anterior.\nOnly in the reference: Posterior."
    compared.ui.resultsTable.selectRow(1)
    compared.ui.worstSliceButton.click()
    assert compared.ui.messageLabel.text.startswith("The views show where most of Posterior differs: Red ")


def test_a_plot_is_never_that_of_another_scene(compared, tmp_path):
    """IDs begin anew in each scene: the chart of that ID may show something else."""
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    compared.ui.plotButton.click()
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", "mine")
    compared.ui.plotButton.click()
    assert "mine" not in compared.ui.messageLabel.text
    assert compared.ui.messageLabel.text.startswith("Plotted: Dice")


def test_numbers_cannot_be_overtyped_in_a_table_view(compared):
    table = compared.chosen.resultTable
    assert table.GetLocked()
    logic = compared.widget.logic
    logic.createTable(logic.readTable(table), tableNode=table)  # it can be written again
    assert table.GetLocked()


def test_no_name_of_a_node_reaches_the_log(compared, reference, caplog):
    reference.SetName("DOE^JANE")
    slicer.mrmlScene.RemoveNode(reference)
    compared.ui.worstSliceButton.click()
    assert "not in the scene any more" in compared.ui.messageLabel.text
    assert caplog.records
    assert "DOE" not in caplog.text
    assert "'reference'" not in caplog.text


def test_other_tables_and_damaged_ones_do_no_harm(compared):
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "mine")
    assert len(history(compared)) == 1
    table = compared.chosen.resultTable
    table.SetAttribute("MedSegAI.Comparison", "{}")
    assert compared.ui.notesLabel.text.startswith("This table does not hold a comparison that this version")
    assert rows(compared) == []
    assert not compared.ui.worstSliceButton.enabled
