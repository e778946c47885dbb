"""Volume nodes in, a segmentation node out, computed by a worker process while the scene may change."""

from __future__ import annotations

import numpy as np
import pytest

import fixtures_scene
import fixtures_worker
from fixtures_scene import bspline_transform, make_grid, make_volume, rotation
from fixtures_worker import EXACT, MANY_TILES, MIRRORED
from MedSegAICore import mrml
from MedSegAICore.errors import Cancelled, InputError, ModelError, WorkerError
from MedSegAILib.logic import SegmentationLogic

scene, quick, many_tiles = fixtures_scene.scene, fixtures_worker.quick, fixtures_worker.many_tiles

SHAPE = (16, 24, 20)


@pytest.fixture(scope="module")
def logic():
    logic = SegmentationLogic()
    yield logic
    logic.closeWorker()


def _volume(scene, name="case"):
    noise = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    return make_volume(scene, noise, make_grid(SHAPE, rotation(12, -7, 33), (0.9, 1.0, 1.1), (5, -6, 7)), name)


def _array(node, volume) -> np.ndarray:
    return mrml.label_map_from_segmentation(node, volume).array


def _finish(run):
    news = []
    while not run.done:
        news += run.poll()
    return news


def test_the_node_is_the_one_that_segment_makes_in_this_process(scene, logic, quick):
    volume = _volume(scene)
    volume.SetAndObserveTransformNodeID(bspline_transform(scene).GetID())
    run = logic.startSegmentation(volume, quick, **MIRRORED)
    news = _finish(run)
    node, expected = run.result(), logic.segment(volume, quick, **MIRRORED)
    assert _array(node, volume).tobytes() == _array(expected, volume).tobytes()
    assert node.GetParentTransformNode() is volume.GetParentTransformNode()
    assert mrml.reference_grid(node).matches(mrml.grid_from_volume(volume))
    assert {**logic.provenance(node), "time_utc": 0} == {**logic.provenance(expected), "time_utc": 0}
    assert news[-1].fraction == 1.0
    nodes = scene.mrmlScene.GetNumberOfNodes()
    assert run.result() is node  # and no second one
    assert scene.mrmlScene.GetNumberOfNodes() == nodes


def test_a_region_and_an_output_node_are_honored(scene, logic, quick):
    volume = _volume(scene)
    region = scene.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    region.SetSize(13, 13, 11)
    center = mrml.grid_from_volume(volume).ijk_to_ras_points([(10, 12, 8)])[0]
    region.SetCenter(*center)
    output = scene.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    run = logic.startSegmentation(volume, quick, roiNode=region, outputSegmentationNode=output, **EXACT)
    assert run.result() is output
    expected = logic.segment(volume, quick, roiNode=region, **EXACT)
    assert _array(output, volume).tobytes() == _array(expected, volume).tobytes()
    assert logic.provenance(output)["region_kji"] == logic.provenance(expected)["region_kji"]


@pytest.mark.parametrize("what", ["volume", "output", "scene"])
def test_a_node_that_vanishes_during_the_run_is_an_error_that_names_it(scene, logic, quick, what):
    volume = _volume(scene, "vanishing" if what != "output" else "case")
    output = scene.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "vanishing")
    run = logic.startSegmentation(volume, quick, outputSegmentationNode=output, **EXACT)
    if what == "scene":
        scene.mrmlScene.Clear(0)
    else:
        scene.mrmlScene.RemoveNode(volume if what == "volume" else output)
    nodes = scene.mrmlScene.GetNumberOfNodes()
    for _ in range(2):
        with pytest.raises(InputError, match="'vanishing' was removed from the scene"):
            run.result()
    assert scene.mrmlScene.GetNumberOfNodes() == nodes


def test_cancelling_leaves_the_scene_as_it_was(scene, logic, many_tiles, quick):
    volume = make_volume(scene, MANY_TILES.array[0], make_grid(MANY_TILES.grid.shape))
    nodes = scene.mrmlScene.GetNumberOfNodes()
    run = logic.startSegmentation(volume, many_tiles, **EXACT)
    with pytest.raises(WorkerError, match="busy"):
        logic.startSegmentation(volume, quick, **EXACT)
    run.cancel()
    _finish(run)
    with pytest.raises(Cancelled):
        run.result()
    assert scene.mrmlScene.GetNumberOfNodes() == nodes


def test_what_is_wrong_with_nodes_and_models_is_said_before_anything_is_started(scene, quick):
    logic = SegmentationLogic()
    with pytest.raises(InputError, match="No volume is chosen"):
        logic.startSegmentation(None, quick)
    with pytest.raises(ModelError, match="There is no model 'no-such-model'"):
        logic.startSegmentation(_volume(scene), "no-such-model")
    assert logic.worker().pid is None
    logic.closeWorker()
