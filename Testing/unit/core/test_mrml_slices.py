"""Slice views that go to a segment's voxels and to uncertain slices: oblique, under transforms, after edits."""

from __future__ import annotations

import numpy as np
import pytest

import fixtures_scene
from fixtures_scene import GRIDS, bspline_transform, linear_transform, make_grid, make_volume, rotation
from MedSegAICore import mrml
from MedSegAICore.image import Image, Label, LabelMap
from MedSegAICore.mrml_images import array_of_oriented_image, matrix_from_array, transformed
from MedSegAICore.mrml_maps import add_maps
from MedSegAICore.mrml_slices import SliceNavigator, slice_node_in_use
from MedSegAICore.mrml_world import to_world

empty_scene = fixtures_scene.scene


@pytest.fixture
def scene(empty_scene):
    """An empty scene; slice nodes are singletons, which clearing leaves in it."""
    yield empty_scene
    while (node := empty_scene.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceNode")) is not None:
        empty_scene.mrmlScene.RemoveNode(node)


def _slice_node(slicer, name="Red", rotated=None):
    node = slicer.vtkMRMLSliceNode()
    node.SetName(name)
    node.SetLayoutName(name)
    node.SetSingletonTag(name)
    node = slicer.mrmlScene.AddNode(node)
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) if rotated is None else rotated
    node.GetSliceToRAS().DeepCopy(matrix_from_array(matrix))
    node.UpdateMatrices()
    return node


def _segmentation(slicer, array, grid):
    labels = tuple(Label(int(value), f"s{value}", f"S{value}") for value in np.unique(array) if value)
    volume = make_volume(slicer, np.zeros(grid.shape, np.int16), grid)
    return mrml.segmentation_from_label_map(LabelMap(array, grid, labels), volume), volume


def _walk(navigator, node, segment, view, direction):
    offsets = []
    while navigator.go_to_segment(node, segment, view, direction):
        offsets.append(round(view.GetSliceOffset(), 6))
        assert len(offsets) < 100
    return offsets


def test_next_and_previous_go_to_the_slices_with_voxels(scene):
    grid = make_grid((12, 10, 11), spacing_ijk=(1, 1, 2.5), origin_ras=(0, 0, -10))
    array = np.zeros(grid.shape, np.uint8)
    array[3:5], array[8], array[6] = 1, 1, 2
    node, _ = _segmentation(scene, array, grid)
    view, navigator = _slice_node(scene), SliceNavigator()
    view.SetSliceOffset(-10.0)
    assert _walk(navigator, node, "s1", view, 1) == [-2.5, 0.0, 10.0]
    assert _walk(navigator, node, "s1", view, -1) == [0.0, -2.5]
    assert navigator.go_to_segment(node, "s2", view, 1)
    assert view.GetSliceOffset() == pytest.approx(5.0)


def test_a_segment_that_does_not_exist_or_is_empty_moves_nothing(scene):
    grid = make_grid((5, 6, 7))
    array = np.zeros(grid.shape, np.uint8)
    array[2, 2, 2] = 1
    node, _ = _segmentation(scene, array, grid)
    node.GetSegmentation().AddEmptySegment("empty")
    view = _slice_node(scene)
    view.SetSliceOffset(4.0)
    for segment in ("empty", "nothing", ""):
        assert not SliceNavigator().go_to_segment(node, segment, view, 1)
    assert view.GetSliceOffset() == pytest.approx(4.0)


@pytest.mark.parametrize("name", ["oblique anisotropic", "flipped", "sagittal"])
def test_oblique_views_of_moved_volumes_go_where_voxels_are(scene, name):
    """Every slice the view comes to cuts a voxel, and none was left out: compared with all corners of all voxels."""
    grid, array = GRIDS[name], np.zeros(GRIDS[name].shape, np.uint8)
    array[2:4, 3:5, 4:7], array[7, 8, 9] = 1, 1
    node, volume = _segmentation(scene, array, grid)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(15, 25, -35), (4, -8, 15)
    parent = linear_transform(scene, matrix)
    for one in (node, volume):
        one.SetAndObserveTransformNodeID(parent.GetID())
    normal = rotation(-10, 50, 5)[:, 2]
    view = _slice_node(scene, rotated=rotation(-10, 50, 5))
    start = (matrix[:3, :3] @ grid.center_ras() + matrix[:3, 3]) @ normal
    view.SetSliceOffset(start)
    corners = (np.argwhere(array)[:, None, ::-1] + np.array(list(np.ndindex(2, 2, 2))) - 0.5).reshape(-1, 3)
    positions = grid.ijk_to_ras_points(corners) @ matrix[:3, :3].T + matrix[:3, 3]
    distances = (positions @ normal).reshape(-1, 8)
    axes = matrix[:3, :3] @ grid.ijk_to_ras[:3, :3]
    step = abs(normal @ axes[:, np.abs(np.linalg.inv(axes) @ normal).argmax()])
    offsets = start + step * np.arange(-100, 101)
    expected = [o for o in offsets if ((distances.min(1) < o) & (o < distances.max(1))).any()]
    navigator = SliceNavigator()
    upward = _walk(navigator, node, "s1", view, 1)
    np.testing.assert_allclose(upward, [o for o in expected if o > start + 1e-6], atol=1e-5)
    _walk(navigator, node, "s1", view, -1)
    assert view.GetSliceOffset() == pytest.approx(expected[0], abs=1e-5)


def test_a_bent_segment_is_found_where_the_bspline_puts_it(scene):
    grid = make_grid((9, 10, 11), spacing_ijk=(2, 2, 2), origin_ras=(-10, -10, -10))
    array = np.zeros(grid.shape, np.uint8)
    array[4, 5, 3:8] = 1
    node, _ = _segmentation(scene, array, grid)
    node.SetAndObserveTransformNodeID(bspline_transform(scene, amplitude_mm=8.0).GetID())
    view = _slice_node(scene)
    view.SetSliceOffset(-40.0)
    transform, _ = to_world(node)
    corners = (np.argwhere(array)[:, None, ::-1] + np.array(list(np.ndindex(2, 2, 2))) - 0.5).reshape(-1, 3)
    heights = transformed(grid.ijk_to_ras_points(corners), transform)[:, 2]
    expected = [o for o in np.arange(-40, 41, 2.0) if heights.min() < o < heights.max()]
    assert _walk(SliceNavigator(), node, "s1", view, 1) == expected
    assert abs(heights.mean() + 2.0) > 0.5  # the transform does move it


def test_an_edit_and_an_undo_are_seen(scene):
    grid = make_grid((12, 10, 11))
    array = np.zeros(grid.shape, np.uint8)
    array[3] = 1
    node, _ = _segmentation(scene, array, grid)
    view, navigator = _slice_node(scene), SliceNavigator()
    view.SetSliceOffset(0.0)
    assert _walk(navigator, node, "s1", view, 1) == [3.0]
    history = scene.vtkSegmentationHistory()
    history.SetSegmentation(node.GetSegmentation())
    history.SaveState()
    box = scene.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation("s1", box)
    box.SetExtent(0, 10, 0, 9, 3, 7)
    box.AllocateScalars(3, 1)
    array_of_oriented_image(box)[:] = 1
    scene.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(box, node, "s1")
    view.SetSliceOffset(0.0)
    assert _walk(navigator, node, "s1", view, 1) == [3.0, 4.0, 5.0, 6.0, 7.0]
    history.RestorePreviousState()
    view.SetSliceOffset(0.0)
    assert _walk(navigator, node, "s1", view, 1) == [3.0]


def test_a_moved_parent_transform_is_seen(scene):
    grid = make_grid((12, 10, 11))
    array = np.zeros(grid.shape, np.uint8)
    array[3] = 1
    node, _ = _segmentation(scene, array, grid)
    parent = linear_transform(scene, np.eye(4))
    node.SetAndObserveTransformNodeID(parent.GetID())
    view, navigator = _slice_node(scene), SliceNavigator()
    view.SetSliceOffset(0.0)
    assert _walk(navigator, node, "s1", view, 1) == [3.0]
    moved = np.eye(4)
    moved[2, 3] = 4.0
    parent.SetMatrixTransformToParent(matrix_from_array(moved))
    assert _walk(navigator, node, "s1", view, 1) == [7.0]


def test_a_prescribed_slice_spacing_is_the_step(scene):
    grid = make_grid((12, 10, 11))
    array = np.zeros(grid.shape, np.uint8)
    array[4:9] = 1
    node, _ = _segmentation(scene, array, grid)
    view = _slice_node(scene)
    view.SetSliceSpacingModeToPrescribed()
    view.SetPrescribedSliceSpacing(1.0, 1.0, 3.0)
    view.SetSliceOffset(0.0)
    assert _walk(SliceNavigator(), node, "s1", view, 1) == [6.0]


def test_the_most_uncertain_slices_come_one_after_the_other(scene):
    """Sums of the planes: 6 has the most, 7 lies beside it, then 1; the faint plane 11 is not shown and left out."""
    grid = make_grid((12, 10, 11), spacing_ijk=(1, 1, 2.0), origin_ras=(0, 0, 100.0))
    values = np.zeros(grid.shape, np.float32)
    values[6, :5], values[7, :4], values[1, 0], values[11] = 0.9, 0.9, 0.5, 0.01
    node, volume = _segmentation(scene, (values > 0.8).astype(np.uint8), grid)
    (map_node,) = add_maps(node, volume, "uncertainty", Image(values[None], grid), ["uncertainty"])
    view, navigator = _slice_node(scene), SliceNavigator()
    view.SetSliceOffset(100.7)
    offsets = []
    for _ in range(3):
        assert navigator.go_to_uncertain(map_node, view)
        offsets.append(view.GetSliceOffset())
    assert offsets == pytest.approx([112.0, 102.0, 112.0])


def test_uncertain_slices_of_an_oblique_view_under_a_transform(scene):
    """A single uncertain voxel: the view comes to within half a step of its center in world coordinates."""
    grid = GRIDS["oblique anisotropic"]
    values = np.zeros(grid.shape, np.float32)
    values[6, 7, 2] = 1.0
    node, volume = _segmentation(scene, (values > 0.8).astype(np.uint8), grid)
    (map_node,) = add_maps(node, volume, "uncertainty", Image(values[None], grid), ["uncertainty"])
    for parent in (linear_transform(scene, np.diag([-1.0, 1, 1, 1])), bspline_transform(scene)):
        map_node.SetAndObserveTransformNodeID(parent.GetID())
        view = _slice_node(scene, rotated=rotation(30, 20, 10))
        assert SliceNavigator().go_to_uncertain(map_node, view)
        transform, matrix = to_world(map_node)
        center = grid.ijk_to_ras_points([[2, 7, 6]])
        world = matrix[:3, :3] @ center[0] if transform is None else transformed(center, transform)[0]
        assert abs(world @ rotation(30, 20, 10)[:, 2] - view.GetSliceOffset()) < 1.5


def test_a_map_without_uncertainty_moves_nothing(scene):
    grid = make_grid((4, 5, 6))
    volume = make_volume(scene, np.zeros(grid.shape, np.float32), grid)
    assert not SliceNavigator().go_to_uncertain(volume, _slice_node(scene))


def test_the_view_under_the_mouse_is_used_else_the_red_one(scene):
    assert slice_node_in_use(scene.mrmlScene) is None
    green = _slice_node(scene, "Green")
    assert slice_node_in_use(scene.mrmlScene) is green
    red = _slice_node(scene, "Red")
    crosshair = scene.mrmlScene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    assert slice_node_in_use(scene.mrmlScene) is red
    crosshair.SetCursorPositionXYZ([1.0, 2.0, 0.0], green)
    assert slice_node_in_use(scene.mrmlScene) is green
    crosshair.SetCursorPositionInvalid()
    assert slice_node_in_use(scene.mrmlScene) is red
