"""The panel of MedSegAIMetrics, clicked through on the harness: a run, what may happen meanwhile, and the module."""

from __future__ import annotations

import os
import subprocess
import sys
import typing
import unittest
from types import SimpleNamespace

import numpy as np
import pytest

import fixtures_metrics_panel as fixtures
from fixtures_metrics_panel import REPOSITORY, entries, rows, segmentation, slicer, table_nodes
from MedSegAICore.errors import Cancelled

metrics, panel, both = fixtures.metrics, fixtures.panel, fixtures.both
label_volume, labels, reference, shifted = (
    fixtures.label_volume, fixtures.labels, fixtures.reference, fixtures.shifted,
)  # fmt: skip


def started(panel, until_measuring=True):
    """Press Apply, and let the run get as far as its child process."""
    panel.ui.applyButton.click()
    assert panel.running
    if until_measuring:
        panel.wait(until=lambda: panel.comparison.run._run.message)
        assert panel.running
    return panel


WHEN = pytest.mark.parametrize("until_measuring", [False, True])


@WHEN
def test_cancel_stops_the_run_and_writes_nothing(both, until_measuring):
    started(both, until_measuring)
    both.ui.cancelButton.click()
    assert both.ui.statusLabel.text == "Cancelled: nothing was written."
    assert (both.running, table_nodes()) == (False, [])
    assert both.ui.resultsCollapsibleButton.isHidden()
    assert (both.ui.applyButton.enabled, both.ui.cancelButton.enabled) == (True, False)
    both.comparison.run.cancel()  # a second click that was already waiting
    assert both.ui.statusLabel.text == "Cancelled: nothing was written."
    both.compare()
    assert len(rows(both)) == 2


def test_while_it_runs_apply_says_so_and_a_second_click_starts_nothing(both):
    started(both)
    run = both.comparison.run._run
    assert not both.ui.applyButton.enabled
    assert both.ui.applyButton.toolTip == "A comparison is running. Wait for it, or cancel it."
    assert both.ui.cancelButton.enabled
    assert not both.ui.progressBar.isHidden()
    assert both.ui.statusLabel.text.startswith("Comparing ")
    both.comparison.onApplyButton()
    assert both.comparison.run._run is run
    both.wait()
    assert len(table_nodes()) == 1
    assert both.ui.progressBar.isHidden()
    assert both.ui.applyButton.enabled


def test_the_window_lives_while_a_large_volume_is_compared(panel):
    """256 x 256 x 160 voxels: no more than 50 ms at a time, but while the voxels of a node are copied; of this program,
    that is, as other programs run beside the tests."""
    from harness.event_loop import Watch, wait_until
    from MedSegAICore.grid import Grid
    from MedSegAICore.image import Label, LabelMap
    from MedSegAICore.mrml import segmentation_from_label_map

    grid = Grid((160, 256, 256), np.eye(4))
    names = [Label(value, f"part_{value}", f"Part {value}") for value in range(1, 13)]
    sides = []
    for shift in (0, 2):
        array = np.zeros(grid.shape, np.uint8)
        for label in names:
            start = 12 * label.value
            array[start - 10 : start, 20:230, 20 + shift : 230 + shift] = label.value
        sides.append(segmentation_from_label_map(LabelMap(array, grid, names)))
    panel.ui.referenceSelector.setCurrentNode(sides[0])
    panel.ui.testSelector.setCurrentNode(sides[1])
    with Watch() as watch:
        panel.ui.applyButton.click()
        wait_until(lambda: not panel.running, 120)
    assert rows(panel)[11][:2] == ["Part 12", f"{208 / 210:.3f}"]
    assert all(gap.cpu_ms <= (300 if gap.ran("label_map_in_world") else 50) for gap in watch.gaps), watch.report()


def test_choices_may_change_while_it_runs(both, reference):
    started(both)
    both.ui.testSelector.setCurrentNode(None)
    both.ui.tolerancesLineEdit.text = "wrong"
    reference.GetSegmentation().RemoveAllSegments()
    both.wait()
    assert both.ui.statusLabel.text == "Done: shifted compared with reference."
    assert len(rows(both)) == 2
    assert both.ui.tolerancesLineEdit.text == "wrong"


def test_deleting_the_nodes_during_the_run_is_survived(both, reference, shifted):
    started(both)
    for node in (reference, shifted):
        slicer.mrmlScene.RemoveNode(node)
    both.wait()
    assert len(rows(both)) == 2
    assert not both.ui.applyButton.enabled


def test_a_node_that_is_deleted_before_it_was_read_is_an_error(both, shifted):
    started(both, until_measuring=False)
    both.comparison.run._onTick()  # the first tick of the timer
    slicer.mrmlScene.RemoveNode(shifted)
    both.wait()
    assert both.ui.statusLabel.text == "The test 'shifted' was deleted before it could be compared."
    assert table_nodes() == []


@WHEN
def test_closing_the_scene_during_the_run_is_survived(both, until_measuring):
    started(both, until_measuring)
    slicer.mrmlScene.Clear(0)
    assert (both.running, table_nodes(), both.ui.statusLabel.text) == (False, [], "")
    assert both.ui.applyButton.toolTip == "Choose the reference."
    assert not both.ui.cancelButton.enabled


def test_leaving_the_module_lets_the_run_go_on(both):
    started(both)
    both.widget.exit()
    both.wait()
    assert len(table_nodes()) == 1
    both.widget.enter()
    assert len(rows(both)) == 2
    assert both.chosen.resultTable is table_nodes()[0]


def test_reloading_the_module_ends_the_run(both, open_panel, metrics):
    started(both)
    run = both.comparison.run._run
    both.widget.cleanup()
    with pytest.raises(Cancelled):
        run.advance()
    slicer.app.processEvents()
    again = fixtures.Panel(open_panel(metrics))
    assert again.ui.applyButton.enabled  # the choices are in the scene
    again.compare()
    assert len(rows(again)) == 2


def test_an_unforeseen_error_is_said_and_not_swallowed(both, monkeypatch):
    from harness import application

    def fail(*_arguments, **_settings):
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(both.widget.logic, "createTable", fail)
    both.compare()
    assert both.ui.statusLabel.text.startswith("The comparison failed for a reason we did not foresee.")
    assert both.ui.applyButton.enabled
    assert [type(error) for error in application.failures] == [ZeroDivisionError]
    application.failures.clear()


def test_overlapping_hidden_and_locked_segments_are_compared(both, label_volume, labels):
    from MedSegAICore.image import Label, LabelMap
    from MedSegAICore.mrml import grid_from_volume, segmentation_from_label_map

    array = np.stack([labels == 1, labels > 0]).astype(np.uint8)  # the second holds the first
    names = [Label(1, "anterior", "Anterior"), Label(1, "whole", "Whole", layer=1)]
    grid = grid_from_volume(label_volume)
    nodes = [segmentation_from_label_map(LabelMap(array, grid, names), name=name) for name in ("one", "two")]
    nodes[1].GetDisplayNode().SetSegmentVisibility("whole", False)
    nodes[1].GetSegmentation().GetSegment("anterior").SetTag("Segmentation.Status", "completed")
    both.ui.referenceSelector.setCurrentNode(nodes[0])
    both.ui.testSelector.setCurrentNode(nodes[1])
    both.compare()
    assert [row[:2] for row in rows(both)] == [["Anterior", "1.000"], ["Whole", "1.000"]]
    assert not nodes[1].GetDisplayNode().GetSegmentVisibility("whole")


def test_a_deleted_node_is_no_longer_chosen(both, reference, shifted):
    slicer.mrmlScene.RemoveNode(shifted)
    assert both.ui.testSelector.currentNode() is None  # and not the one before it, which Slicer's selectors take
    assert both.ui.applyButton.toolTip == "Choose the test."
    for node in (reference, *slicer.util.getNodesByClass("vtkMRMLLabelMapVolumeNode")):
        slicer.mrmlScene.RemoveNode(node)
    assert (both.ui.applyButton.enabled, both.ui.applyButton.toolTip) == (False, "Choose the reference.")
    assert entries(both.ui.testSegmentComboBox) == ["(all matching segments)"]


def test_closing_the_scene_forgets_the_result(both):
    both.compare()
    both.ui.tolerancesLineEdit.text = "5"
    both.ui.allMeasuresCheckBox.checked = True
    slicer.mrmlScene.Clear(0)
    assert both.ui.resultsTable.rowCount == 0
    assert both.ui.resultsCollapsibleButton.isHidden()
    assert both.ui.statusLabel.text == ""
    assert both.ui.tolerancesLineEdit.text == "1, 2, 3"
    assert not both.ui.allMeasuresCheckBox.checked


def test_an_error_of_the_logic_is_one_sentence_in_the_panel(both, label_volume, labels, reference):
    other = segmentation(label_volume, labels, "other", ids=("first", "second"))
    for node, identifier in ((reference, "anterior"), (reference, "posterior"), (other, "first")):
        node.GetSegmentation().GetSegment(identifier).SetName("Lesion")
    both.ui.testSelector.setCurrentNode(other)
    both.compare()
    assert both.ui.statusLabel.text.startswith("The name 'Lesion' occurs more than once in the reference")
    assert table_nodes() == []
    assert both.ui.applyButton.enabled


def test_cleaning_up_leaves_no_observer_behind(both, reference):
    both.widget.cleanup()
    observers = [both.widget, both.comparison, both.result, both.comparison.lists]
    assert [one.Observations for one in observers] == [[]] * 4


def test_every_parameter_has_a_widget_or_is_set_by_the_panel(panel):
    bound = {w.property("SlicerParameterName") for w in vars(panel.ui).values()} - {None}
    own = {*panel.comparison._combos, *panel.comparison._edits, "resultTable"}
    assert bound | own == set(panel.chosen.allParameters)
    assert not bound & own


def test_the_choices_of_the_panel_are_those_of_the_parameter_node_and_the_library(panel):
    from MedSegAIMetricsLib.measures import GROUPS, SURFACE_TITLES

    def choices(name):
        return typing.get_args(panel.chosen.dataType(name))[1].choices

    for name in ("surface", "region", "grid"):
        combo = panel.comparison._combos[name]
        assert [combo.itemData(index) for index in range(combo.count)] == choices(name)
    assert choices("surface") == list(SURFACE_TITLES)
    assert {f"measure{group.capitalize()}" for group in GROUPS} <= set(panel.chosen.allParameters)


def test_the_modules_own_tests_pass(metrics, panel, monkeypatch):
    """With the panel, as in Slicer's ctest; a test that is skipped is told apart."""
    representation = SimpleNamespace(self=lambda: panel.widget)
    monkeypatch.setattr(slicer.modules.medsegaimetrics, "widgetRepresentation", lambda: representation, raising=False)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(metrics.MedSegAIMetricsTest).run(result)
    assert (result.errors, result.failures, result.skipped) == ([], [], [])
    assert result.testsRun == 3


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
