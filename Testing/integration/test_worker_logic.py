"""Volume nodes in, a segmentation node out, computed by a worker process while the scene may change."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fixtures_scene
import fixtures_worker
from fixtures_models import make_model_folder
from fixtures_scene import bspline_transform, make_grid, make_volume, rotation
from fixtures_worker import EXACT, MANY_TILES, MIRRORED
from MedSegAICore import channels, mrml
from MedSegAICore.errors import Cancelled, GeometryError, InputError, ModelError, WorkerError
from MedSegAICore.mrml_channels import REGISTRATION
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


# ---- several volumes -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_channels(tmp_path_factory):
    return make_model_folder(tmp_path_factory.mktemp("models") / "two", channels=2)


def _pair(scene):
    """A volume with a blob, and another one of another grid that shows it a little beside."""
    k, j, i = np.indices((30, 34, 32))
    blob = np.exp(-((k - 14) ** 2 + (j - 18) ** 2 / 2 + (i - 15) ** 2 / 1.5) / 40) * 900 + (k * j) % 7
    first = make_volume(scene, blob.astype(np.int16), make_grid(blob.shape, rotation(12, -7, 33)), "first")
    grid = make_grid((15, 34, 32), rotation(12, -7, 33), (1, 1, 2.0), (1.5, -1.0, 0.5))
    return first, make_volume(scene, blob[::2].astype(np.int16), grid, "second")


@pytest.mark.parametrize("registration", [None, "rigid"])
def test_several_volumes_are_aligned_in_the_worker_as_here(scene, logic, two_channels, registration, monkeypatch):
    nodes = _pair(scene)
    region = scene.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    logic.fitRoi(region, nodes[0])
    region.SetSize(24, 26, 22)
    options = {"roiNode": region, "registration": registration}
    expected = logic.segment(list(nodes), two_channels, **options, **EXACT)
    monkeypatch.setattr(channels, "align_channels", lambda *_: pytest.fail("it was aligned in this process"))
    run = logic.startSegmentation(list(nodes), two_channels, **options, **EXACT)
    stages = {news.stage for news in _finish(run)}
    node = run.result()
    assert _array(node, nodes[0]).tobytes() == _array(expected, nodes[0]).tobytes()
    assert {**logic.provenance(node), "time_utc": 0} == {**logic.provenance(expected), "time_utc": 0}
    assert logic.warnings(node)  # the second volume does not cover the first
    transforms = [one.GetNthNodeReference(REGISTRATION, 0) for one in (expected, node)]
    assert ("align" in stages) == (registration is not None) == (transforms[0] is not None)
    if registration:
        facts = [json.loads(one.GetAttribute(REGISTRATION)) for one in transforms]
        assert facts[0] == facts[1]  # the matrix too
        assert transforms[0].GetName() != transforms[1].GetName()


def test_volumes_that_do_not_overlap_are_told_by_the_worker(scene, logic, two_channels):
    first, second = _pair(scene)
    second.SetOrigin(900, 0, 0)
    run = logic.startSegmentation([first, second], two_channels, **EXACT)
    with pytest.raises(GeometryError, match="MR1 and MR0 do not overlap in space"):
        run.result()


def test_a_volume_under_a_bent_transform_is_aligned_here(scene, logic, two_channels):
    first, second = _pair(scene)
    second.SetAndObserveTransformNodeID(bspline_transform(scene).GetID())
    node = logic.startSegmentation([first, second], two_channels, **EXACT).result()
    expected = logic.segment([first, second], two_channels, **EXACT)
    assert _array(node, first).tobytes() == _array(expected, first).tobytes()
    assert logic.warnings(node) == logic.warnings(expected)
