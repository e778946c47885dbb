"""A map over the slice views: it lies where the image lies, and leaves as it came."""

from types import SimpleNamespace

import numpy as np
import pytest

import fixtures_scene
from fixtures_scene import GRIDS, bspline_transform, grid_transform, linear_transform, make_grid, make_volume, rotation
from MedSegAICore import mrml
from MedSegAICore.image import Image, Label, LabelMap
from MedSegAICore.mrml_maps import add_maps
from MedSegAICore.mrml_overlay import hide_overlay, overlays, show_overlay

scene = fixtures_scene.scene

TILT = np.block([[rotation(10, 20, -30), np.array([[4], [5], [-6]])], [np.zeros((1, 3)), np.ones((1, 1))]])


@pytest.fixture
def views(scene):
    """The composite nodes of three slice views, with a layout as in the application."""
    nodes = []
    for name in ("Red", "Green", "Yellow"):
        node = scene.vtkMRMLSliceCompositeNode()
        node.SetSingletonTag(name)
        node.SetLayoutName(name)
        nodes.append(scene.mrmlScene.AddNode(node))
    yield nodes
    for node in nodes:
        scene.mrmlScene.RemoveNode(node)


def a_map(slicer, volume, values=None):
    """A volume node as the uncertainty is, beside ``volume``."""
    grid = mrml.grid_from_volume(volume)
    array = np.random.default_rng(0).random(grid.shape).astype(np.float32) if values is None else values
    labels = LabelMap(np.ones(grid.shape, np.uint8), grid, (Label(1, "a", "A"),))
    segmentation = mrml.segmentation_from_label_map(labels, volume)
    return add_maps(segmentation, volume, "uncertainty", Image(array[None], grid), ["unsure"])[0]


def foregrounds(views):
    return [(view.GetForegroundVolumeID(), view.GetForegroundOpacity()) for view in views]


def test_all_views_show_it_and_get_back_what_they_had(scene, views):
    volume = make_volume(scene, np.zeros((4, 5, 6)), make_grid((4, 5, 6)))
    other = make_volume(scene, np.zeros((4, 5, 6)), make_grid((4, 5, 6)), "other")
    unsure, sure = a_map(scene, volume), a_map(scene, volume)
    for view in views:
        view.SetBackgroundVolumeID(volume.GetID())
    views[0].SetForegroundVolumeID(other.GetID())
    views[0].SetForegroundOpacity(0.3)
    before = foregrounds(views)
    show_overlay(unsure, 0.6)
    assert foregrounds(views) == [(unsure.GetID(), 0.6)] * 3
    show_overlay(sure, 0.8)
    assert foregrounds(views) == [(sure.GetID(), 0.8)] * 3
    assert overlays(scene.mrmlScene) == {sure}
    hide_overlay(scene.mrmlScene)
    assert foregrounds(views) == before == [(other.GetID(), 0.3), (None, 0.0), (None, 0.0)]
    assert [view.GetBackgroundVolumeID() for view in views] == [volume.GetID()] * 3
    assert overlays(scene.mrmlScene) == set()
    views[1].SetForegroundVolumeID(other.GetID())
    hide_overlay(scene.mrmlScene)
    assert views[1].GetForegroundVolumeID() == other.GetID()


def test_what_the_user_put_there_meanwhile_stays(scene, views):
    volume = make_volume(scene, np.zeros((4, 5, 6)), make_grid((4, 5, 6)))
    show_overlay(a_map(scene, volume), 0.6)
    views[0].SetForegroundVolumeID(volume.GetID())
    views[0].SetForegroundOpacity(0.9)
    views[1].SetForegroundVolumeID(None)
    views[1].SetForegroundOpacity(0.7)
    hide_overlay(scene.mrmlScene)
    assert foregrounds(views) == [(volume.GetID(), 0.9), (None, 0.7), (None, 0.0)]


def test_a_deleted_map_leaves_what_was_there(scene, views):
    volume = make_volume(scene, np.zeros((4, 5, 6)), make_grid((4, 5, 6)))
    unsure = a_map(scene, volume)
    views[0].SetForegroundVolumeID(volume.GetID())
    views[0].SetForegroundOpacity(0.2)
    show_overlay(unsure, 0.6)
    scene.mrmlScene.RemoveNode(unsure)
    hide_overlay(scene.mrmlScene)
    assert foregrounds(views) == [(volume.GetID(), 0.2), (None, 0.0), (None, 0.0)]


def test_without_views_nothing_happens(scene):
    volume = make_volume(scene, np.zeros((4, 5, 6)), make_grid((4, 5, 6)))
    show_overlay(a_map(scene, volume), 0.6)
    hide_overlay(scene.mrmlScene)


def test_a_saved_scene_gives_back_what_was_there_before(scene, views, tmp_path):
    volume = make_volume(scene, np.zeros((4, 5, 6)), make_grid((4, 5, 6)), "image")
    views[0].SetForegroundVolumeID(volume.GetID())
    views[0].SetForegroundOpacity(0.2)
    show_overlay(a_map(scene, volume), 0.6)
    scene.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.mrmlScene.Clear(0)
    scene.util.loadScene(str(tmp_path / "scene.mrb"))
    (shown,) = overlays(scene.mrmlScene)
    assert (shown.GetName(), foregrounds(views)) == ("unsure", [(shown.GetID(), 0.6)] * 3)
    hide_overlay(scene.mrmlScene)
    assert foregrounds(views) == [(scene.util.getNode("image").GetID(), 0.2), (None, 0.0), (None, 0.0)]


def test_the_legend_comes_and_goes(scene, views, monkeypatch):
    logic = scene.vtkSlicerColorLogic()
    monkeypatch.setattr(scene.modules, "colors", SimpleNamespace(logic=lambda: logic))
    if not scene.mrmlScene.IsNodeClassRegistered("vtkMRMLColorLegendDisplayNode"):
        scene.mrmlScene.RegisterNodeClass(scene.vtkMRMLColorLegendDisplayNode())
    unsure = a_map(scene, make_volume(scene, np.zeros((4, 5, 6)), make_grid((4, 5, 6))))
    show_overlay(unsure, 0.6)
    legend = scene.vtkSlicerColorLogic.GetColorLegendDisplayNode(unsure)
    assert (legend.GetTitleText(), legend.GetVisibility()) == ("unsure", 1)
    hide_overlay(scene.mrmlScene)
    assert not legend.GetVisibility()


@pytest.mark.parametrize("name", ["flipped", "oblique anisotropic"])
@pytest.mark.parametrize("kind", ["none", "linear", "grid", "bspline"])
def test_the_map_lies_on_the_image_voxel_for_voxel(scene, name, kind):
    """Slicer's own slice logic cuts both; image and map have the same values, so both cuts must be the same."""
    from vtk.util.numpy_support import vtk_to_numpy

    grid = GRIDS[name]
    values = np.random.default_rng(1).random(grid.shape).astype(np.float32)
    volume = make_volume(scene, values, grid)
    makers = {"linear": lambda: linear_transform(scene, TILT), "grid": lambda: grid_transform(scene),
              "bspline": lambda: bspline_transform(scene)}  # fmt: skip
    if kind != "none":
        volume.SetAndObserveTransformNodeID(makers[kind]().GetID())
    unsure = a_map(scene, volume, values)
    logic = scene.vtkMRMLSliceLogic()
    logic.SetMRMLScene(scene.mrmlScene)
    slice_node = logic.AddSliceNode("Test")
    composite = logic.GetSliceCompositeNode()
    composite.SetBackgroundVolumeID(volume.GetID())
    show_overlay(unsure, 0.5)
    bounds = np.zeros(6)
    volume.GetRASBounds(bounds)
    center = (bounds[::2] + bounds[1::2]) / 2
    slice_node.SetSliceToRASByNTP(0, 0, 1, -1, 0, 0, *center, 0)
    slice_node.SetFieldOfView(20, 20, 1)
    slice_node.SetDimensions(40, 40, 1)
    slice_node.UpdateMatrices()
    cuts = []
    for layer in (logic.GetBackgroundLayer(), logic.GetForegroundLayer()):
        reslice = layer.GetReslice()
        reslice.Update()
        cuts.append(vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars()).copy())
    assert (cuts[0] > 0).sum() > 200
    np.testing.assert_array_equal(*cuts)
    scene.mrmlScene.RemoveNode(composite)
    scene.mrmlScene.RemoveNode(slice_node)
