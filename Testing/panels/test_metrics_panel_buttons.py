"""The panel of MedSegAIMetrics: the buttons of the result, Cancel, nodes and scenes that vanish, errors."""

from __future__ import annotations

import csv
import os
import subprocess
import sys

import numpy as np
import pytest

import fixtures_metrics_panel as panel
from fixtures_metrics_panel import REPOSITORY, entries, rows, segmentation, slicer

metrics, widget, both = panel.metrics, panel.widget, panel.both
label_volume, labels, reference, shifted = panel.label_volume, panel.labels, panel.reference, panel.shifted


# ---- the buttons of the result -------------------------------------------------------------------------------------


class _LayoutManager:
    """Slicer's, as far as the panel uses it."""

    layout = 3

    def setLayout(self, layout):
        self.layout = layout

    def resetThreeDViews(self):
        self.reset = True


@pytest.fixture
def layout_manager(monkeypatch, medsegai):
    manager = _LayoutManager()
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: manager)
    return manager


def test_show_table_opens_slicers_table_view_and_writes_a_deleted_table_again(both, layout_manager):
    both.ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(slicer.util.getNodesByClass("vtkMRMLTableNode")[0])
    both.ui.showTableButton.click()
    (table,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    assert layout_manager.layout == slicer.modules.tables.logic().GetLayoutWithTable(3) != 3
    assert slicer.app.applicationLogic().GetSelectionNode().GetActiveTableID() == table.GetID()


def test_plot_draws_the_column_that_is_selected_once(both, layout_manager):
    def shown():
        both.ui.plotButton.click()
        return slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID()

    both.ui.applyButton.click()
    chart_ids = [shown()]
    both.ui.resultsTable.setCurrentCell(1, 3)
    chart_ids += [shown(), shown()]
    titles = [slicer.mrmlScene.GetNodeByID(identifier).GetTitle() for identifier in chart_ids]
    assert titles == ["Dice", "Average symmetric surface distance", "Average symmetric surface distance"]
    assert len(slicer.util.getNodesByClass("vtkMRMLPlotChartNode")) == 2


def test_errors_as_segments_are_of_the_selected_row(both, labels):
    both.ui.applyButton.click()
    both.ui.resultsTable.selectRow(1)
    both.ui.errorSegmentsButton.click()
    node = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[-1]
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    assert ids == ["posterior_tp", "posterior_fp", "posterior_fn"]
    assert both.ui.statusLabel.text == "Created the segmentation Errors of shifted."


def test_color_by_distance_makes_a_model_and_says_why_it_cannot(both, label_volume, labels, layout_manager):
    both.ui.applyButton.click()
    both.ui.distanceModelButton.click()
    (model,) = slicer.util.getNodesByClass("vtkMRMLModelNode")
    assert model.GetName() == "Anterior distance to shifted"
    assert layout_manager.reset
    front = segmentation(label_volume, np.where(labels == 1, labels, 0), "front", ids=("anterior",))
    both.ui.testSelector.setCurrentNode(front)
    both.ui.applyButton.click()
    both.ui.resultsTable.selectRow(1)
    both.ui.distanceModelButton.click()
    assert both.ui.statusLabel.text == "The test of 'posterior' is empty: there is no surface to measure to."


def test_the_csv_has_all_measures_and_an_error_is_shown(both, tmp_path, monkeypatch):
    import qt

    answers = [str(tmp_path / "result"), "", str(tmp_path / "result.csv" / "x.csv")]
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *_: answers.pop(0))  # one string, as in PythonQt
    both.ui.applyButton.click()
    both.ui.saveCsvButton.click()
    assert both.ui.statusLabel.text == f"Saved: {tmp_path / 'result.csv'}"
    with open(tmp_path / "result.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["segment"] for line in lines] == ["Anterior", "Posterior"]
    assert f"{float(lines[0]['dice']):.3f}" == rows(both)[0][1]
    both.ui.saveCsvButton.click()  # nothing is chosen
    assert both.ui.statusLabel.text.startswith("Saved")
    both.ui.saveCsvButton.click()
    assert "x.csv" in both.ui.statusLabel.text
    assert not both.ui.statusLabel.text.startswith("Saved")


# ---- the run -------------------------------------------------------------------------------------------------------


def _during_the_run(widget, action, segment=0):
    """Do something between segments, as a click or a timer in processEvents would."""
    progress, calls = widget.panel._onProgress, []

    def interfered(fraction, message):
        progress(fraction, message)
        calls.append(message)
        if len(calls) == segment + 1:
            action()

    widget.panel._onProgress = interfered
    widget.ui.applyButton.click()
    assert len(calls) > segment


@pytest.mark.parametrize("segment", [0, 1])
def test_cancel_stops_the_run_and_writes_nothing(both, segment):
    _during_the_run(both, lambda: both.ui.cancelButton.click(), segment)
    assert both.ui.statusLabel.text == "Cancelled: the comparison was not finished."
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0
    assert both.ui.resultsCollapsibleButton.isHidden()
    assert both.ui.applyButton.enabled
    assert not both.ui.cancelButton.enabled


def test_while_it_runs_only_cancel_can_be_pressed(both):
    states = []
    sections = [f"{name}CollapsibleButton" for name in ("inputs", "outputs", "settings", "results")]

    def look():
        states.extend(getattr(both.ui, name).enabled for name in [*sections, "applyButton"])
        states.append(both.ui.cancelButton.enabled)
        both.panel.onApplyButton()  # a second click that was already waiting must not start a second run

    _during_the_run(both, look)
    assert states == [False] * 5 + [True]


def test_deleting_the_nodes_during_the_run_is_survived(both, reference, shifted):
    _during_the_run(both, lambda: [slicer.mrmlScene.RemoveNode(node) for node in (reference, shifted)])
    assert len(rows(both)) == 2
    assert both.ui.applyButton.toolTip == "Choose the reference."


def test_a_deleted_node_is_no_longer_chosen(both, shifted):
    slicer.mrmlScene.RemoveNode(shifted)
    assert both.ui.testSelector.currentNode() is None
    assert (both.ui.applyButton.enabled, both.ui.applyButton.toolTip) == (False, "Choose the test.")
    assert entries(both.ui.testSegmentComboBox) == ["(all matching segments)"]


@pytest.mark.parametrize("segment", [0, 1])
def test_closing_the_scene_during_the_run_is_survived(both, segment):
    _during_the_run(both, lambda: slicer.mrmlScene.Clear(0), segment)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0
    assert both.ui.applyButton.toolTip == "Choose the reference."


def test_closing_the_scene_forgets_the_result(both):
    both.ui.applyButton.click()
    both.ui.tolerancesLineEdit.text = "5"
    slicer.mrmlScene.Clear(0)
    assert both.ui.resultsTable.rowCount == 0
    assert both.ui.resultsCollapsibleButton.isHidden()
    assert both.ui.statusLabel.text == ""
    assert both.ui.tolerancesLineEdit.text == "1, 2, 3"
    assert both.panel._result._comparison is None


def test_an_error_of_the_logic_is_one_sentence_in_the_panel(both, label_volume, labels, reference):
    other = segmentation(label_volume, labels, "other", ids=("first", "second"))
    for node, identifier in ((reference, "anterior"), (reference, "posterior"), (other, "first")):
        node.GetSegmentation().GetSegment(identifier).SetName("Lesion")
    both.ui.testSelector.setCurrentNode(other)
    both.ui.applyButton.click()
    assert both.ui.statusLabel.text.startswith("The name 'Lesion' occurs more than once in the reference")
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0
    assert both.ui.applyButton.enabled


def test_cleaning_up_leaves_no_observer_behind(both, reference):
    both.cleanup()
    assert both.Observations == []
    assert both.panel.Observations == []


# ---- the module ----------------------------------------------------------------------------------------------------


def test_every_parameter_has_a_widget_or_is_set_by_the_panel(widget):
    bound = {w.property("SlicerParameterName") for w in vars(widget.ui).values()} - {None}
    own = {*widget.panel._combos, *widget.panel._edits}
    assert bound | own == set(widget._parameterNode._parameters)
    assert not bound & own


def test_the_choices_of_the_panel_are_those_of_the_parameter_node_and_the_library(widget):
    from MedSegAIMetricsLib.measures import GROUPS, SURFACE_TITLES

    parameters = widget._parameterNode._parameters
    for name in ("surface", "region", "grid"):
        combo = widget.panel._combos[name]
        assert [combo.itemData(index) for index in range(combo.count)] == parameters[name].choices
    assert parameters["surface"].choices == list(SURFACE_TITLES)
    assert {f"measure{group.capitalize()}" for group in GROUPS} <= set(parameters)


def test_the_modules_own_tests_pass(metrics):
    metrics.MedSegAIMetricsTest().runTest()


MISSING_CORE = """
import pathlib, sys
from harness import application
application.install()
class NoCore:
    def find_spec(name, path=None, target=None):
        if name == "MedSegAICore":
            raise ModuleNotFoundError("No module named 'MedSegAICore'", name=name)
for name in [name for name in sys.modules if name.startswith("MedSegAI")]:
    del sys.modules[name]
sys.meta_path.insert(0, NoCore)
application.load_module(pathlib.Path(sys.argv[1]))
"""


def test_without_the_other_modules_folder_one_sentence_says_what_to_add():
    folders = [REPOSITORY / folder for folder in ("MedSegAI", "MedSegAIMetrics", "Testing")]
    process = subprocess.run(
        [sys.executable, "-c", MISSING_CORE, str(folders[1] / "MedSegAIMetrics.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        capture_output=True,
        text=True,
    )
    last = process.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: MedSegAIMetrics needs the folder MedSegAI that lies beside its own: add it")
    assert "No module named" not in process.stderr
