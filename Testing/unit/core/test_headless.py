"""The Slicer-like process: what slicer.util and logic code use of the application works on slicer-core."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import fixtures_scene
from fixtures_scene import GRIDS, linear_transform, make_volume
from MedSegAICore import headless
from MedSegAICore.errors import DependencyError

scene = fixtures_scene.scene


def test_starting_twice_gives_the_same_scene(scene):
    before = scene.mrmlScene
    assert headless.start() is scene
    assert scene.mrmlScene is before


def test_a_running_application_is_left_untouched(monkeypatch):
    pytest.importorskip("slicer")
    import slicer

    headless.start()
    application, scene = object(), object()
    monkeypatch.setattr(slicer, "app", application)
    monkeypatch.setattr(slicer, "mrmlScene", scene)
    assert headless.start().app is application
    assert slicer.mrmlScene is scene


def test_without_slicer_core_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "slicer", None)
    with pytest.raises(DependencyError, match=r"medsegai\[headless\]"):
        headless.start()


def test_starting_and_reading_prints_nothing_on_stderr(tmp_path):
    pytest.importorskip("slicer")
    code = (
        "from MedSegAICore import headless; slicer = headless.start(); import numpy as np;"
        "n = slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.int16));"
        f"slicer.util.saveNode(n, r'{tmp_path / 'v.nrrd'}'); slicer.util.loadVolume(r'{tmp_path / 'v.nrrd'}')"
    )
    folder = headless.__file__.rsplit("MedSegAICore", 1)[0]
    process = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": folder, "PATH": ""}, capture_output=True, text=True, check=True
    )
    assert process.stderr == ""


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_saved_volume_loads_with_the_same_voxels_and_geometry(scene, tmp_path, suffix):
    array = np.arange(9 * 10 * 11, dtype=np.int16).reshape(9, 10, 11)
    volume = make_volume(scene, array, GRIDS["oblique"])
    assert scene.util.saveNode(volume, str(tmp_path / f"case{suffix}"))
    loaded = scene.util.loadVolume(tmp_path / f"case{suffix}")
    np.testing.assert_array_equal(scene.util.arrayFromVolume(loaded), array)
    from MedSegAICore.mrml import grid_from_volume

    assert loaded.GetName() == "case"
    assert grid_from_volume(loaded).matches(GRIDS["oblique"])


def test_a_missing_file_raises_with_its_path(scene, tmp_path):
    with pytest.raises(RuntimeError, match=r"missing\.nii\.gz"):
        scene.util.loadVolume(tmp_path / "missing.nii.gz")


def test_an_option_of_one_load_does_not_reach_the_next(scene, tmp_path):
    volume = make_volume(scene, np.ones((3, 4, 5), np.int16), GRIDS["axis-aligned"].crop((0, 0, 0), (3, 4, 5)))
    scene.util.saveNode(volume, str(tmp_path / "v.nrrd"))
    assert scene.util.loadLabelVolume(tmp_path / "v.nrrd").IsA("vtkMRMLLabelMapVolumeNode")
    assert not scene.util.loadVolume(tmp_path / "v.nrrd").IsA("vtkMRMLLabelMapVolumeNode")


def test_a_scene_bundle_brings_volume_and_transform_back(scene, tmp_path):
    volume = make_volume(scene, np.ones((9, 10, 11), np.int16), GRIDS["LPS"], name="kept")
    volume.SetAndObserveTransformNodeID(linear_transform(scene, np.eye(4)).GetID())
    assert scene.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.mrmlScene.Clear(0)
    scene.util.loadScene(str(tmp_path / "scene.mrb"))
    assert scene.util.getNode("kept").GetParentTransformNode().GetName() == "linear"


def test_volumes_have_a_color_node_and_a_place_in_the_subject_hierarchy(scene):
    volume = make_volume(scene, np.ones((9, 10, 11), np.int16), GRIDS["LPS"])
    hierarchy = scene.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrmlScene)
    assert volume.GetDisplayNode().GetColorNode() is not None
    assert hierarchy.GetItemByDataNode(volume) > 0
    scene.mrmlScene.RemoveNode(volume)
    assert hierarchy.GetNumberOfItems() == 0


def test_modules_are_found_by_name(scene):
    assert scene.util.getModule("Segmentations").logic().IsA("vtkSlicerSegmentationsModuleLogic")
    assert "Volumes" in scene.util.moduleNames()
