"""Nodes to arrays and back: exact voxels for every geometry and every parent transform."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fixtures_scene
from fixtures_scene import GRIDS, bspline_transform, grid_transform, linear_transform, make_grid, make_volume, rotation
from MedSegAICore import mrml
from MedSegAICore.errors import GeometryError, InputError
from MedSegAICore.image import Image, Label, LabelMap

scene = fixtures_scene.scene

SHAPE = (9, 10, 11)
SHIFT = [[1, 0, 0, 3], [0, 1, 0, -2], [0, 0, 1, 4], [0, 0, 0, 1]]
TILT = np.block([[rotation(10, 20, -30), np.array([[4], [5], [-6]])], [np.zeros((1, 3)), np.ones((1, 1))]])
TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
    "SCT^5366008^Hippocampus~^^~Anatomic codes - DICOM master list~^^~^^"
)
PARENTS = {
    "no transform": lambda slicer: None,
    "translation": lambda slicer: linear_transform(slicer, SHIFT),
    "rotation": lambda slicer: linear_transform(slicer, TILT),
    "grid": grid_transform,
    "bspline": bspline_transform,
    "grid under rotation": lambda slicer: _under(grid_transform(slicer), linear_transform(slicer, TILT)),
}


def _under(node, parent):
    node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def _labels(grid, seed=0) -> LabelMap:
    """Two segments of random voxels, away from the first and last slices."""
    array = np.zeros(grid.shape, np.uint8)
    array[2:-1, 1:-2, 3:-1] = np.random.default_rng(seed).integers(0, 3, array[2:-1, 1:-2, 3:-1].shape)
    labels = (
        Label(1, "anterior", "Anterior hippocampus", (0.9, 0.2, 0.1), TERMINOLOGY),
        Label(2, "posterior", "Posterior hippocampus", (0.1, 0.6, 0.3)),
    )
    return LabelMap(array, grid, labels)


def _volume(scene, grid, parent=None, name="volume"):
    volume = make_volume(scene, np.arange(np.prod(grid.shape), dtype=np.int16).reshape(grid.shape), grid, name)
    if parent is not None:
        _under(volume, parent)
    return volume


# ---- volumes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_an_image_has_the_voxels_and_the_grid_of_its_volume(scene, grid):
    volume = _volume(scene, grid)
    image = mrml.image_from_volume(volume)
    np.testing.assert_array_equal(image.array[0], scene.util.arrayFromVolume(volume))
    np.testing.assert_allclose(image.grid.ijk_to_ras, grid.ijk_to_ras, atol=1e-10)


def test_a_parent_transform_does_not_change_the_image(scene):
    volume = _volume(scene, GRIDS["oblique"], linear_transform(scene, TILT))
    assert mrml.image_from_volume(volume).grid.matches(GRIDS["oblique"])


def test_an_image_survives_its_volume(scene):
    volume = _volume(scene, GRIDS["LPS"])
    image = mrml.image_from_volume(volume)
    scene.mrmlScene.RemoveNode(volume)
    assert image.array[0, 0, 0, 5] == 5


def test_the_components_of_a_vector_volume_become_channels(scene):
    array = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3)).astype(np.uint8)
    volume = scene.util.addVolumeFromArray(array, nodeClassName="vtkMRMLVectorVolumeNode")
    image = mrml.image_from_volume(volume)
    np.testing.assert_array_equal(image.array, np.moveaxis(array, -1, 0))


def test_a_single_slice_is_an_image_one_voxel_deep(scene):
    volume = _volume(scene, make_grid((1, 10, 11)))
    assert mrml.image_from_volume(volume).array.shape == (1, 1, 10, 11)


def test_a_volume_without_voxels_is_refused_by_name(scene):
    node = scene.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "hollow")
    with pytest.raises(InputError, match="'hollow' holds no voxels"):
        mrml.image_from_volume(node)


def test_no_volume_is_refused(scene):
    with pytest.raises(InputError, match="No volume is chosen"):
        mrml.image_from_volume(None)


def test_a_sequence_is_refused_with_a_hint(scene):
    node = scene.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    with pytest.raises(InputError, match="current frame"):
        mrml.image_from_volume(node)


def test_the_file_name_is_kept_without_its_folder(scene, tmp_path):
    scene.util.saveNode(_volume(scene, GRIDS["LPS"]), str(tmp_path / "case.nrrd"))
    assert mrml.image_from_volume(scene.util.loadVolume(tmp_path / "case.nrrd")).meta["source"] == "case.nrrd"


def test_a_dicom_series_brings_its_modality_and_description(scene):
    volume = _volume(scene, GRIDS["LPS"], name="4: T1 SE")
    hierarchy = scene.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrmlScene)
    hierarchy.SetItemAttribute(hierarchy.GetItemByDataNode(volume), "DICOM.Modality", "MR")
    assert mrml.image_from_volume(volume).meta == {"modality": "MR", "series_description": "T1 SE"}


@pytest.mark.parametrize("channels", [1, 2])
def test_an_image_written_to_a_volume_reads_back(scene, channels):
    array = np.random.default_rng(0).normal(size=(channels, *SHAPE)).astype(np.float32)
    source = _volume(scene, GRIDS["oblique"], grid_transform(scene))
    node = mrml.volume_node_from_image(Image(array, GRIDS["oblique"]), "probability", source)
    back = mrml.image_from_volume(node)
    np.testing.assert_array_equal(back.array, array)
    assert back.grid.matches(GRIDS["oblique"])
    assert node.GetParentTransformNode() is source.GetParentTransformNode()


# ---- segmentations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parent", PARENTS.values(), ids=PARENTS)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_segmentation_lies_on_its_volume_voxel_for_voxel(scene, grid, parent):
    volume = _volume(scene, grid, parent(scene))
    labels = _labels(grid)
    node = mrml.segmentation_from_label_map(labels, volume)
    assert node.GetParentTransformNode() is volume.GetParentTransformNode()
    for label in labels.labels:  # Slicer's own export, which honors both parents
        array = scene.util.arrayFromSegmentBinaryLabelmap(node, label.id, volume)
        np.testing.assert_array_equal(array > 0, labels.mask(label))
    back = mrml.label_map_from_segmentation(node, volume)
    np.testing.assert_array_equal(back.array, labels.array)
    assert back.labels == labels.labels
    assert back.grid.matches(grid)


def test_a_transform_put_on_the_volume_later_takes_nothing_from_the_segments(scene):
    volume = _volume(scene, GRIDS["oblique"])
    labels = _labels(GRIDS["oblique"])
    node = mrml.segmentation_from_label_map(labels, volume)
    transform = bspline_transform(scene)
    _under(volume, transform)
    _under(node, transform)
    np.testing.assert_array_equal(mrml.label_map_from_segmentation(node, volume).array, labels.array)


def test_a_shifted_segmentation_is_read_shifted(scene):
    volume = _volume(scene, GRIDS["axis-aligned"])
    node = mrml.segmentation_from_label_map(_labels(GRIDS["axis-aligned"]), volume)
    expected = np.zeros(SHAPE, np.uint8)
    source = _labels(GRIDS["axis-aligned"]).array
    expected[4:, :-2, 3:] = source[:-4, 2:, :-3]  # 3 mm along i, -2 along j, 4 along k
    _under(node, linear_transform(scene, SHIFT))
    np.testing.assert_array_equal(mrml.label_map_from_segmentation(node, volume, allowCropping=True).array, expected)
    with pytest.raises(GeometryError, match="voxels of the segmentation 'volume segmentation' lie outside"):
        mrml.label_map_from_segmentation(node, volume)


def test_a_rotated_segmentation_is_read_like_slicer_exports_it(scene):
    grid = make_grid((30, 30, 30), origin_ras=(-15, -15, -15))
    volume = _volume(scene, grid)
    array = np.zeros(grid.shape, np.uint8)
    array[10:20, 12:18, 8:22] = 1
    node = mrml.segmentation_from_label_map(LabelMap(array, grid, (Label(1, "box", "Box"),)), volume)
    for parent in (linear_transform(scene, TILT), grid_transform(scene)):
        _under(node, parent)
        expected = scene.util.arrayFromSegmentBinaryLabelmap(node, "box", volume)
        read = mrml.label_map_from_segmentation(node, volume)
        assert 700 < read.array.sum() < 1000  # of 840
        np.testing.assert_array_equal(read.array, expected)


def test_a_segmentation_on_a_flipped_grid_is_read_exactly(scene):
    labels = _labels(GRIDS["axis-aligned"])
    node = mrml.segmentation_from_label_map(labels, _volume(scene, GRIDS["axis-aligned"]))
    flipped = _volume(scene, make_grid(SHAPE, np.diag([-1.0, -1.0, 1.0]), origin_ras=(10, 9, 0)))
    np.testing.assert_array_equal(mrml.label_map_from_segmentation(node, flipped).array, labels.array[:, ::-1, ::-1])


def test_overlap_is_kept_as_layers(scene):
    grid = GRIDS["oblique"]
    array = np.zeros((2, *SHAPE), np.uint8)
    array[0, 2:6, 2:6, 2:6] = 1
    array[1, 4:8, 4:8, 4:8] = 1
    array[1, 1, 1, 1] = 2
    red = (1.0, 0.0, 0.0)
    labels = (Label(1, "a", "A", red), Label(1, "b", "B", red, layer=1), Label(2, "c", "C", red, layer=1))
    volume = _volume(scene, grid)
    node = mrml.segmentation_from_label_map(LabelMap(array, grid, labels), volume)
    assert node.GetSegmentation().GetNumberOfLayers() == 2
    back = mrml.label_map_from_segmentation(node, volume)
    np.testing.assert_array_equal(back.array, array)
    assert back.labels == labels


def test_segments_in_layers_of_their_own_share_one_if_they_do_not_overlap(scene):
    volume = _volume(scene, GRIDS["LPS"])
    node = scene.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for number in range(3):  # Slicer gives each its own layer with the value 1
        array = np.zeros(SHAPE, np.uint8)
        array[number * 2 + 1] = 1
        identifier = node.GetSegmentation().AddEmptySegment(f"s{number}")
        scene.util.updateSegmentBinaryLabelmapFromArray(array, node, identifier, volume)
    labels = mrml.label_map_from_segmentation(node)
    assert labels.array.shape == SHAPE
    assert [(label.id, label.value) for label in labels.labels] == [("s0", 1), ("s1", 2), ("s2", 3)]
    assert [int(labels.array[k, 0, 0]) for k in (1, 3, 5)] == [1, 2, 3]


def test_hidden_segments_are_read_too(scene):
    volume = _volume(scene, GRIDS["LPS"])
    labels = _labels(GRIDS["LPS"])
    node = mrml.segmentation_from_label_map(labels, volume)
    node.GetDisplayNode().SetSegmentVisibility("anterior", False)
    node.GetDisplayNode().SetVisibility(False)
    np.testing.assert_array_equal(mrml.label_map_from_segmentation(node, volume).array, labels.array)


def test_empty_segments_are_kept(scene):
    volume = _volume(scene, GRIDS["LPS"])
    empty = LabelMap(np.zeros(SHAPE, np.uint8), GRIDS["LPS"], (Label(3, "nothing", "Nothing"),))
    node = mrml.segmentation_from_label_map(empty, volume)
    node.GetSegmentation().AddEmptySegment("added in the editor")
    back = mrml.label_map_from_segmentation(node, volume)
    assert [label.id for label in back.labels] == ["nothing", "added in the editor"]
    assert not back.array.any()


def test_more_than_255_labels_are_kept(scene):
    grid = make_grid((1, 20, 20))
    array = np.arange(400, dtype=np.uint16).reshape(1, 20, 20)
    labels = tuple(Label(n, f"s{n}", f"S {n}") for n in range(1, 400))
    node = mrml.segmentation_from_label_map(LabelMap(array, grid, labels))
    np.testing.assert_array_equal(mrml.label_map_from_segmentation(node).array, array)


def test_label_values_beyond_what_slicer_stores_are_refused_and_no_node_is_made(scene):
    labels = LabelMap(np.zeros(SHAPE, np.uint32), GRIDS["LPS"], (Label(70000, "a", "A"),))
    with pytest.raises(InputError, match="65535"):
        mrml.segmentation_from_label_map(labels)
    assert scene.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_existing_segments_stay_and_new_ones_get_unique_ids(scene):
    volume = _volume(scene, GRIDS["LPS"])
    first, second = _labels(GRIDS["LPS"], seed=0), _labels(GRIDS["LPS"], seed=1)
    node = mrml.segmentation_from_label_map(first, volume)
    assert mrml.segmentation_from_label_map(second, volume, node=node) is node
    back = mrml.label_map_from_segmentation(node, volume)
    assert [label.id for label in back.labels][:2] == ["anterior", "posterior"]
    assert len(back.labels) == 4
    for label, before in zip(back.labels, [*first.labels, *second.labels], strict=True):
        source = first if label in back.labels[:2] else second
        np.testing.assert_array_equal(back.mask(label), source.mask(before))


def test_replacing_takes_the_place_of_segments_with_the_same_id_only(scene):
    volume = _volume(scene, GRIDS["LPS"])
    node = mrml.segmentation_from_label_map(_labels(GRIDS["LPS"], seed=0), volume)
    before = mrml.label_map_from_segmentation(node, volume)
    array = np.zeros(SHAPE, np.uint8)
    array[4] = 1
    new = LabelMap(array, GRIDS["LPS"], (Label(1, "anterior", "New"),))
    mrml.segmentation_from_label_map(new, volume, node=node, replace=True)
    after = mrml.label_map_from_segmentation(node, volume)
    assert [label.name for label in after.labels] == ["New", "Posterior hippocampus"]
    np.testing.assert_array_equal(after.mask(after.label("anterior")), array == 1)
    np.testing.assert_array_equal(after.mask(after.label("posterior")), before.mask(before.label("posterior")))


def test_a_filled_output_under_another_transform_is_refused(scene):
    node = mrml.segmentation_from_label_map(_labels(GRIDS["LPS"]), _volume(scene, GRIDS["LPS"]))
    moved = _volume(scene, GRIDS["LPS"], linear_transform(scene, SHIFT))
    with pytest.raises(GeometryError, match="already holds segments"):
        mrml.segmentation_from_label_map(_labels(GRIDS["LPS"]), moved, node=node)
    assert node.GetParentTransformNode() is None
    assert node.GetSegmentation().GetNumberOfSegments() == 2


def test_labels_on_another_grid_than_the_volume_are_refused(scene):
    with pytest.raises(GeometryError, match="Resample"):
        mrml.segmentation_from_label_map(_labels(GRIDS["LPS"]), _volume(scene, GRIDS["oblique"]))
    assert scene.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_the_volume_becomes_reference_and_neighbor_in_the_study(scene):
    volume = _volume(scene, GRIDS["oblique"])
    hierarchy = scene.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    node = mrml.segmentation_from_label_map(_labels(GRIDS["oblique"]), volume)
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume
    assert mrml.reference_grid(node).matches(GRIDS["oblique"])
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_provenance_is_on_the_node_and_on_its_segments_and_survives_a_file(scene, tmp_path):
    provenance = {"model": "hippocampus", "created": "2026-11-21T04:43:04Z", "odd": "a|b:c", "software": {"torch": "2"}}
    node = mrml.segmentation_from_label_map(_labels(GRIDS["LPS"]), _volume(scene, GRIDS["LPS"]), provenance=provenance)
    assert json.loads(node.GetAttribute(mrml.PROVENANCE)) == provenance
    scene.util.saveNode(node, str(tmp_path / "s.seg.nrrd"))
    loaded = mrml.label_map_from_segmentation(scene.util.loadSegmentation(tmp_path / "s.seg.nrrd"))
    tags = dict(loaded.label("anterior").tags)
    assert loaded.label("anterior").terminology == TERMINOLOGY
    assert json.loads(tags[mrml.PROVENANCE]) == provenance
    assert tags[mrml.STATUS_TAG] == "inprogress"


def test_the_status_of_a_segment_is_kept(scene):
    labels = LabelMap(
        np.ones(SHAPE, np.uint8), GRIDS["LPS"], (Label(1, "a", "A", tags=((mrml.STATUS_TAG, "flagged"),)),)
    )
    node = mrml.segmentation_from_label_map(labels, provenance={})
    logic = scene.vtkSlicerSegmentationsModuleLogic
    assert logic.GetSegmentStatus(node.GetSegmentation().GetSegment("a")) == logic.Flagged
    assert dict(mrml.label_map_from_segmentation(node).labels[0].tags)[mrml.STATUS_TAG] == "flagged"


def test_a_segmentation_of_surfaces_is_read_and_left_as_it_is(scene):
    import vtk

    volume = _volume(scene, make_grid((40, 40, 40), origin_ras=(-20, -20, -20)))
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(10)
    sphere.SetThetaResolution(60)
    sphere.SetPhiResolution(60)
    sphere.Update()
    node = scene.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.SetSourceRepresentationToClosedSurface()
    node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "Ball", [1, 0, 0], "ball")
    labels = mrml.label_map_from_segmentation(node, volume)
    assert labels.volumes_ml()["ball"] == pytest.approx(4 / 3 * np.pi, rel=0.02)
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")


def test_nothing_is_left_in_the_scene_and_the_input_is_not_changed(scene):
    volume = _volume(scene, GRIDS["oblique"], grid_transform(scene))
    node = mrml.segmentation_from_label_map(_labels(GRIDS["oblique"]), volume)
    nodes, modified = scene.mrmlScene.GetNumberOfNodes(), node.GetSegmentation().GetMTime()
    mrml.label_map_from_segmentation(node, _volume(scene, GRIDS["oblique"]), allowCropping=True)
    assert scene.mrmlScene.GetNumberOfNodes() == nodes + 2  # the second volume and its display node
    assert node.GetSegmentation().GetMTime() == modified


def test_something_that_is_not_a_segmentation_is_refused(scene):
    with pytest.raises(InputError, match="A segmentation is needed"):
        mrml.label_map_from_segmentation(_volume(scene, GRIDS["LPS"]))


def test_a_segmentation_without_any_grid_asks_for_a_reference(scene):
    node = scene.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "bare")
    with pytest.raises(GeometryError, match="'bare' has no reference geometry"):
        mrml.label_map_from_segmentation(node)
