"""What may happen while a run of the panel is under way, each time with the real worker: the panel stays usable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fixtures_segmentation_panel as fixtures
from fixtures_scene import make_grid, make_volume
from fixtures_segmentation_panel import SHAPE, apply, section, segments, wait_for_a_tile, wait_until_done
from fixtures_worker import exists, wait_for
from harness.event_loop import wait_until
from MedSegAILib.worker.messages import FOLDER_PREFIX

models, widget, volume, slow = fixtures.models, fixtures.widget, fixtures.volume, fixtures.slow

needs_signals = pytest.mark.skipif(os.name == "nt", reason="signals")


def _start(widget, slow):
    slow(widget)
    section(widget).ui.applyButton.click()
    wait_for_a_tile(widget)


def _runs_again(widget, volume):
    """The panel is usable: the next run gives a segmentation."""
    ui = section(widget).ui
    assert not section(widget)._run.running
    assert not ui.cancelButton.enabled
    assert ui.progressBar.isHidden()
    widget._parameterNode.inputVolume = volume
    widget._parameterNode.modelId = "hippocampus"
    widget._parameterNode.outputSegmentation = None
    apply(widget)
    assert ui.statusLabel.text.startswith("Done")
    assert segments(widget._parameterNode.resultSegmentation) == ["front", "back"]


def _segmentations():
    import slicer

    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


# ---- nodes and scenes that vanish ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["volume", "output"])
def test_a_node_deleted_during_the_run_is_one_sentence(volume, widget, slow, kind):
    import slicer

    slow(widget)
    output = section(widget).ui.outputSelector.addNode()
    output.SetName("mine")
    node = output if kind == "output" else widget._parameterNode.inputVolume
    name = node.GetName()
    widget._parameterNode.inputVolume = volume if kind == "output" else node
    widget._parameterNode.modelId = "hippocampus"  # is done soon
    section(widget).ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(node)
    wait_until_done(widget)
    expected = f"'{name}' was removed from the scene while it was being segmented. Nothing was written."
    assert section(widget).ui.statusLabel.text == expected
    assert all(segments(node) == [] for node in _segmentations())
    _runs_again(widget, volume)


def test_a_region_deleted_during_the_run_has_been_used(volume, widget):
    import slicer

    region = section(widget).ui.roiSelector.addNode()
    region.SetSize(10, 10, 10)
    wait_until(lambda: section(widget).ui.applyButton.enabled)
    section(widget).ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(region)
    wait_until_done(widget)
    assert "region_kji" in widget.logic.provenance(widget._parameterNode.resultSegmentation)
    assert section(widget).ui.roiSelector.currentNode() is None
    _runs_again(widget, volume)


def test_closing_the_scene_during_the_run_cancels_it_without_a_word(widget, slow):
    import slicer

    _start(widget, slow)
    slicer.mrmlScene.Clear(0)
    assert not section(widget).ui.applyButton.enabled
    wait_until_done(widget)
    ui = section(widget).ui
    assert _segmentations() == []
    assert ui.statusLabel.text == ""
    assert ui.logTextEdit.plainText == ""
    assert ui.applyButton.toolTip == "Choose the volume to segment."
    new = make_volume(slicer, np.random.default_rng(0).normal(size=SHAPE), make_grid(SHAPE), "new")
    _runs_again(widget, new)


def test_a_scene_opened_during_the_run_gets_nothing_of_it(volume, widget, slow, tmp_path):
    import slicer

    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    _start(widget, slow)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    wait_until_done(widget)
    assert _segmentations() == []
    _runs_again(widget, slicer.util.getNode("case"))


# ---- impatient hands -----------------------------------------------------------------------------------------------


def test_apply_twice_runs_once(volume, widget):
    ui = section(widget).ui
    ui.applyButton.click()
    ui.applyButton.click()
    section(widget).onApplyButton()  # a click that was already waiting
    wait_until_done(widget)
    assert len(_segmentations()) == 1
    _runs_again(widget, volume)


def test_cancel_twice_is_cancelled_once(volume, widget, slow):
    _start(widget, slow)
    section(widget).ui.cancelButton.click()
    section(widget).onCancelButton()
    wait_until_done(widget)
    assert section(widget).ui.statusLabel.text == "Cancelled: nothing was written."
    section(widget).onCancelButton()
    assert section(widget).ui.statusLabel.text == "Cancelled: nothing was written."
    assert section(widget).ui.logTextEdit.plainText.count("Cancelled") == 1
    _runs_again(widget, volume)


def test_cancel_right_after_apply(volume, widget):
    ui = section(widget).ui
    ui.applyButton.click()
    ui.cancelButton.click()
    wait_until_done(widget)
    assert ui.statusLabel.text == "Cancelled: nothing was written."
    assert _segmentations() == []
    _runs_again(widget, volume)


@needs_signals
def test_cancel_of_a_worker_that_does_not_listen(volume, widget, slow, warm_worker):
    _start(widget, slow)
    pid = warm_worker.pid
    os.kill(pid, signal.SIGSTOP)  # as deaf as in a tile that does not end
    section(widget).ui.cancelButton.click()
    wait_until_done(widget)
    assert section(widget).ui.statusLabel.text == "Cancelled: nothing was written."
    assert not exists(pid)
    _runs_again(widget, volume)


# ---- the worker, its memory and its model --------------------------------------------------------------------------


@needs_signals
def test_a_killed_worker_is_one_sentence_and_the_next_run_works(volume, widget, slow, warm_worker):
    _start(widget, slow)
    os.kill(warm_worker.pid, signal.SIGKILL)
    wait_until_done(widget)
    text = section(widget).ui.statusLabel.text
    assert text.startswith("The worker process ended before its result was there, with signal SIGKILL")
    assert text.endswith("the next run starts a new process.")
    assert "\n" not in text
    assert not section(widget).ui.copyErrorButton.isHidden()
    _runs_again(widget, volume)
    assert section(widget).ui.copyErrorButton.isHidden()


def test_out_of_memory_in_the_worker_is_one_sentence(volume, widget, slow, own_worker):
    resource = pytest.importorskip("resource", reason="needs a limit for memory")
    if not hasattr(resource, "prlimit"):
        pytest.skip("needs prlimit")
    apply(widget)  # the worker has all that it needs for small volumes
    pid = widget.logic.worker().pid
    used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.prlimit(pid, resource.RLIMIT_AS, (used + 24 * 2**20, resource.RLIM_INFINITY))
    import slicer

    large = np.random.default_rng(0).integers(0, 500, (200, 200, 200), np.int16)
    widget._parameterNode.inputVolume = make_volume(slicer, large, make_grid(large.shape), "large")
    apply(widget)
    text = section(widget).ui.statusLabel.text
    assert "memory" in text
    assert "\n" not in text
    assert len(_segmentations()) == 1
    resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    _runs_again(widget, volume)


def test_a_models_folder_that_vanished_is_one_sentence_and_the_list_forgets_it(
    volume, open_panel, tmp_path, monkeypatch
):
    import shutil

    from fixtures_models import make_model_folder

    monkeypatch.setenv("MEDSEGAI_MODELS", str(tmp_path))
    make_model_folder(tmp_path / "gone", card={"id": "gone", "title": "Gone"})
    make_model_folder(tmp_path / "left", card={"id": "left", "title": "Left"})
    widget = open_panel()
    ui = section(widget).ui
    widget._parameterNode.modelId = "gone"
    assert ui.applyButton.enabled
    shutil.rmtree(tmp_path / "gone")
    apply(widget)
    assert "gone" in ui.statusLabel.text
    assert "\n" not in ui.statusLabel.text
    assert _segmentations() == []
    assert ui.modelComboBox.findText("Gone") < 0
    assert not ui.applyButton.enabled
    ui.modelComboBox.setCurrentIndex(ui.modelComboBox.findText("Left"))
    apply(widget)
    assert ui.statusLabel.text.startswith("Done")


# ---- segmentations that somebody worked on -------------------------------------------------------------------------


def _worked_on(grid):
    """A segmentation on this grid, of at least 12 voxels, with overlapping, hidden and locked segments; its labels."""
    from MedSegAICore.image import Label, LabelMap
    from MedSegAICore.mrml import segmentation_from_label_map

    layers = np.zeros((2, *grid.shape), np.uint8)
    layers[0, 2:8, 2:8, 2:8], layers[0, 9, 9, 9], layers[1, 4:10, 4:9, 4:12] = 1, 2, 1
    labels = tuple(Label(v, id, id, layer=n) for v, id, n in ((1, "seen", 0), (2, "locked", 0), (1, "hidden", 1)))
    node = segmentation_from_label_map(LabelMap(layers, grid, labels), name="mine")
    node.GetDisplayNode().SetSegmentVisibility("hidden", False)
    node.GetSegmentation().GetSegment("locked").SetTag("MyTool.Locked", "1")
    return node, {label.id: layers[label.layer] == label.value for label in labels}


def test_nothing_of_an_output_around_the_volume_is_lost(volume, widget):
    """Segments that reach beyond the volume, on the same voxels, stay as they are and can be saved."""
    from MedSegAICore.mrml import grid_from_volume, label_map_from_segmentation

    inner = grid_from_volume(volume)
    around = inner.crop((-3, -4, -5), [n + 10 for n in inner.shape])
    node, masks = _worked_on(around)
    widget._parameterNode.outputSegmentation = node
    apply(widget)
    assert segments(node) == ["seen", "locked", "hidden", "front", "back"]
    assert not node.GetDisplayNode().GetSegmentVisibility("hidden")
    found = label_map_from_segmentation(node)
    assert found.grid.matches(around)
    for identifier, mask in masks.items():
        np.testing.assert_array_equal(found.mask(found.label(identifier)), mask, identifier)
    _runs_again(widget, volume)


def test_an_output_on_other_voxels_turns_apply_off_and_says_why(volume, widget):
    """They could not be saved together without resampling one of them."""
    from MedSegAICore.grid import Grid
    from MedSegAICore.mrml import label_map_from_segmentation

    node, masks = _worked_on(
        Grid((12, 10, 14), np.array([[1.5, 0, 0, -3], [0, 1.2, 0.3, 2], [0, -0.2, 2, 1], [0, 0, 0, 1.0]]))
    )
    widget._parameterNode.outputSegmentation = node
    ui = widget.sections[0].ui
    assert not ui.applyButton.enabled
    assert "'mine' already holds segments on other voxels" in ui.protocolLabel.text
    assert "Choose a new output segmentation" in ui.applyButton.toolTip
    found = label_map_from_segmentation(node)
    for identifier, mask in masks.items():
        np.testing.assert_array_equal(found.mask(found.label(identifier)), mask, identifier)
    widget._parameterNode.outputSegmentation = None
    _runs_again(widget, volume)


# ---- leaving -------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_while_the_user_is_in_another_module(volume, widget):
    section(widget).ui.applyButton.click()
    widget.parent.exit()
    wait_until_done(widget)
    assert len(_segmentations()) == 1
    widget.parent.enter()
    assert widget._parameterNode.resultSegmentation is _segmentations()[0]
    assert section(widget).ui.statusLabel.text.startswith("Done")
    _runs_again(widget, volume)


def test_coming_back_during_a_run_shows_that_it_runs(volume, widget, slow):
    _start(widget, slow)
    widget.parent.exit()
    widget.parent.enter()
    ui = section(widget).ui
    assert not ui.applyButton.enabled
    assert ui.cancelButton.enabled
    ui.cancelButton.click()
    wait_until_done(widget)
    _runs_again(widget, volume)


def test_reloading_the_module_during_a_run_leaves_nothing_behind(
    volume, open_panel, models, own_worker, medsegai, monkeypatch, slow, tmp_path
):
    import tempfile

    monkeypatch.setattr(medsegai.MedSegAILogic, "listModels", lambda self: models)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    widget = open_panel()
    _start(widget, slow)
    pid = widget.logic.worker().pid
    assert list(tmp_path.glob(f"{FOLDER_PREFIX}*"))
    widget.cleanup()
    assert wait_for(lambda: not exists(pid))
    assert not list(tmp_path.glob(f"{FOLDER_PREFIX}*"))
    assert _segmentations() == []
    _runs_again(open_panel(), volume)


EXIT_DURING_A_RUN = """
import sys
from pathlib import Path
import numpy as np
from harness import application
application.install()
import qt, slicer
from fixtures_segmentation_panel import choose_long_run, section, wait_for_a_tile
from MedSegAILib.models.folder import ModelFolder
module = application.load_module(Path(sys.argv[1]))
many = ModelFolder.open(sys.argv[2])
module.MedSegAILogic.listModels = lambda self: [many]
widget, panel = application.open_panel(module)
choose_long_run(widget)
section(widget).ui.applyButton.click()
wait_for_a_tile(widget)
print("worker", widget.logic.worker().pid, flush=True)
if sys.argv[3] == "tidy":
    application.close_panel(widget, panel)
"""


@pytest.mark.parametrize("how", ["tidy", "abrupt"])
def test_the_applications_end_during_a_run_leaves_nothing_behind(models, tmp_path, how):
    """``tidy``: Slicer calls cleanup of every module; ``abrupt``: it ends without."""
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(str(root / folder) for folder in ("MedSegAI", "MedSegAIMetrics", "Testing"))
    module = root / "MedSegAI" / "MedSegAI.py"
    process = subprocess.run(
        [sys.executable, "-c", EXIT_DURING_A_RUN, str(module), str(models[2].path), how],
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    (line,) = [line for line in process.stdout.splitlines() if line.startswith("worker")]
    pid = int(line.split()[1])
    assert wait_for(lambda: not exists(pid))
    assert wait_for(lambda: not list(tmp_path.glob(f"{FOLDER_PREFIX}*")))
