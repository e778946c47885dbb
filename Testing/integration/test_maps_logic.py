"""Probabilities, uncertainty and the estimate, from the logic and in the worker process."""

from __future__ import annotations

import numpy as np
import pytest

import fixtures_scene
from fixtures_models import make_model_folder
from fixtures_scene import linear_transform, make_grid, make_volume, rotation
from MedSegAICore import mrml
from MedSegAICore.mrml_roi import box_of_roi
from MedSegAILib.logic import SegmentationLogic

scene = fixtures_scene.scene

SHAPE = (18, 26, 22)
TILT = np.block([[rotation(10, 20, -30), np.array([[4], [5], [-6]])], [np.zeros((1, 3)), np.ones((1, 1))]])


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return make_model_folder(tmp_path_factory.mktemp("models") / "random", folds=2)


@pytest.fixture
def volume(scene):
    noise = np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)
    volume = make_volume(scene, noise, make_grid(SHAPE, rotation(20, -10, 5)), "case")
    volume.SetAndObserveTransformNodeID(linear_transform(scene, TILT).GetID())
    return volume


def _values(slicer, node) -> np.ndarray:
    return slicer.util.arrayFromVolume(node)


def _check(scene, logic, segmentation, volume):
    probabilities, unsure = logic.probabilityNodes(segmentation), logic.uncertaintyNode(segmentation)
    assert [node.GetName() for node in probabilities] == ["Front part probability", "Back part probability"]
    for node in (*probabilities, unsure):
        assert mrml.grid_from_volume(node).matches(mrml.grid_from_volume(volume))
        assert node.GetParentTransformNode() is volume.GetParentTransformNode()
        assert 0 <= _values(scene, node).min() <= _values(scene, node).max() <= 1
    segments = np.stack([_values(scene, node) for node in probabilities])
    likeliest = np.concatenate([1 - segments.sum(0, keepdims=True), segments]).argmax(0)
    labels = mrml.label_map_from_segmentation(segmentation, volume).array
    assert (likeliest == labels).mean() > 0.99  # ties of coarse sums in the corners apart
    assert _values(scene, unsure).std() > 0


def test_in_this_process(scene, volume, model_path):
    logic = SegmentationLogic()
    segmentation = logic.segment(volume, model_path, device="cpu", quality="best", probabilities=True, uncertainty=True)
    _check(scene, logic, segmentation, volume)


def test_in_the_worker_process(scene, volume, model_path):
    logic = SegmentationLogic()
    try:
        run = logic.startSegmentation(
            volume, model_path, device="cpu", quality="best", probabilities=True, uncertainty=True
        )
        _check(scene, logic, run.result(), volume)
    finally:
        logic.closeWorker()


def test_maps_of_a_region_lie_in_the_whole_volume(scene, volume, model_path):
    logic = SegmentationLogic()
    region = scene.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    region.SetSize(12, 14, 10)
    region.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    center = mrml.grid_from_volume(volume).ijk_to_ras_points([[n / 2 for n in SHAPE[::-1]]])[0]
    region.SetCenter(*center)
    segmentation = logic.segment(volume, model_path, roiNode=region, device="cpu", uncertainty=True)
    values = _values(scene, logic.uncertaintyNode(segmentation))
    box = box_of_roi(region, volume)
    assert values[box].max() > 0
    outside = np.ones(SHAPE, bool)
    outside[box] = False
    assert not values[outside].any()
    assert logic.probabilityNodes(segmentation) == []


def test_nothing_is_added_unasked(scene, volume, model_path):
    logic = SegmentationLogic()
    before = scene.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")
    segmentation = logic.segment(volume, model_path, device="cpu")
    assert scene.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == before
    assert logic.uncertaintyNode(segmentation) is None


def test_the_estimate_is_made_without_touching_the_scene(scene, volume, model_path):
    logic = SegmentationLogic()
    before = scene.mrmlScene.GetNumberOfNodes()
    estimate = logic.estimate(volume, model_path, device="cpu", quality="best", mirroring=False)
    assert estimate.passes == 2 * 2 * 2 * 2  # two folds; (18, 26, 22) voxels in tiles of (16, 24, 16)
    assert "16 tiles, about" in str(estimate)
    assert scene.mrmlScene.GetNumberOfNodes() == before
