"""The rows and the sizes of a segmentation's segments."""

import numpy as np
import pytest

import fixtures_scene
from fixtures_scene import GRIDS, grid_transform, make_grid, make_volume
from MedSegAICore import mrml
from MedSegAICore.errors import InputError, MedSegAIError
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.mrml_segments import SegmentRow, segment_rows, segment_sizes

scene = fixtures_scene.scene

RED, GREEN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def two_boxes(grid, overlap=False):
    """24 and 60 voxels, and an empty segment."""
    array = np.zeros((2 if overlap else 1, *grid.shape), np.uint8)
    array[0, 1:3, 2:5, 3:7] = 1
    array[-1, 2 if overlap else 4 : 5 if overlap else 7, 2:6, 3:8] = 2
    labels = [Label(1, "a", "A", RED), Label(2, "b", "B", GREEN, layer=int(overlap)), Label(3, "c", "C")]
    return LabelMap(array if overlap else array[0], grid, labels)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("overlap", [False, True])
def test_sizes_are_counted_voxels_times_their_volume(scene, name, overlap):
    grid = GRIDS[name]
    volume = make_volume(scene, np.zeros(grid.shape, np.int16), grid)
    volume.SetAndObserveTransformNodeID(grid_transform(scene).GetID())
    label_map = two_boxes(grid, overlap)
    sizes = segment_sizes(mrml.segmentation_from_label_map(label_map, volume))
    assert {identifier: size.voxels for identifier, size in sizes.items()} == {"a": 24, "b": 60, "c": 0}
    spacing = np.linalg.norm(grid.ijk_to_ras[:3, :3], axis=0)
    assert sizes["b"].volume_ml == pytest.approx(60 * spacing.prod() / 1000)
    assert {identifier: size.volume_ml for identifier, size in sizes.items()} == pytest.approx(label_map.volumes_ml())


def test_many_segments_of_one_layer_are_told_apart(scene):
    array = np.repeat(np.arange(60, dtype=np.uint8).reshape(3, 4, 5), 2, axis=2)  # each value twice
    labels = [Label(value, f"s{value}", f"S{value}") for value in range(1, 61)]  # and 60 not at all
    sizes = segment_sizes(mrml.segmentation_from_label_map(LabelMap(array, make_grid((3, 4, 10)), labels)))
    assert [size.voxels for size in sizes.values()] == [2] * 59 + [0]


def test_what_was_painted_is_counted(scene):
    grid = make_grid((6, 7, 8))
    node = mrml.segmentation_from_label_map(two_boxes(make_grid((9, 10, 11))))
    painted = np.zeros(grid.shape, np.uint8)
    painted[:2, :3, :4] = 1
    scene.util.updateSegmentBinaryLabelmapFromArray(painted, node, "b", make_volume(scene, painted, grid))
    assert segment_sizes(node)["b"].voxels == 24


def test_segments_drawn_finer_than_the_volume_are_counted_as_they_are(scene):
    """Nothing is resampled to the reference geometry."""
    coarse = make_volume(scene, np.zeros((9, 10, 11)), make_grid((9, 10, 11)))
    node = mrml.segmentation_from_label_map(two_boxes(make_grid((9, 10, 11), spacing_ijk=(0.5, 0.5, 0.5))))
    node.SetReferenceImageGeometryParameterFromVolumeNode(coarse)
    assert segment_sizes(node)["a"].volume_ml == pytest.approx(24 * 0.125 / 1000)


def test_a_surface_is_as_large_as_its_voxels(scene):
    import vtk

    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(10)
    sphere.SetThetaResolution(60)
    sphere.SetPhiResolution(60)
    sphere.Update()
    node = scene.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball", RED, "ball")
    volume = make_volume(scene, np.zeros((30, 30, 30)), make_grid((30, 30, 30), origin_ras=(-15, -15, -15)))
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    assert segment_sizes(node)["ball"].volume_ml == pytest.approx(4 / 3 * np.pi * 1000 / 1000, rel=0.03)
    assert node.GetSegmentation().GetSourceRepresentationName() == "Closed surface"


def test_without_segments_there_are_no_sizes(scene):
    node = scene.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert segment_sizes(node) == {}
    node.GetSegmentation().AddEmptySegment("new")
    assert segment_sizes(node)["new"].voxels == 0


def test_other_nodes_are_refused(scene):
    for node in (None, scene.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "surface")):
        with pytest.raises(InputError, match="A segmentation is needed"):
            segment_sizes(node)
    assert issubclass(InputError, MedSegAIError)


def test_rows_have_what_a_list_shows(scene):
    node = mrml.segmentation_from_label_map(two_boxes(make_grid((9, 10, 11))), provenance={"model": {"id": "m"}})
    node.GetDisplayNode().SetSegmentVisibility("b", False)
    node.GetSegmentation().GetSegment("c").SetTag(mrml.STATUS_TAG, "completed")
    rows = segment_rows(node)
    assert rows[:2] == [
        SegmentRow("a", "A", RED, True, "inprogress"), SegmentRow("b", "B", GREEN, False, "inprogress"),
    ]  # fmt: skip
    assert (rows[2].name, rows[2].status) == ("C", "completed")
