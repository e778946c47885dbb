"""Segments of several volumes in one segmentation: none is cropped, resampled or kept from being saved."""

from __future__ import annotations

import numpy as np
import pytest

import fixtures_scene
from fixtures_scene import GRIDS, LPS, make_grid, make_volume, rotation
from MedSegAICore import mrml
from MedSegAICore.errors import GeometryError
from MedSegAICore.files import read_label_map
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.mrml_changes import changes_since_draft, reset_to_draft
from MedSegAICore.mrml_correction import start_correction
from MedSegAICore.mrml_images import oriented_image
from MedSegAILib.logic import SegmentationLogic

scene = fixtures_scene.scene
WHOLE = make_grid((12, 13, 14), rotation(12, -7, 33) @ LPS, (0.7, 0.9, 3.0), (5, -6, 7))
PAIRS = {
    "the same": (WHOLE, WHOLE),
    "a crop is added": (WHOLE, WHOLE.crop((2, 3, 4), (6, 6, 6))),
    "the whole is added to a crop": (WHOLE.crop((2, 3, 4), (6, 6, 6)), WHOLE),
    "both reach beyond": (WHOLE, WHOLE.crop((5, 6, 7), (12, 13, 14))),
    "side by side": (WHOLE.crop((0, 0, 0), (3, 13, 14)), WHOLE.crop((7, 0, 0), (3, 13, 14))),
}
OTHER_VOXELS = {
    "spacing": make_grid((24, 13, 14), rotation(12, -7, 33) @ LPS, (0.7, 0.9, 1.5), (5, -6, 7)),
    "directions": GRIDS["axis-aligned"],
    "half a voxel": make_grid((12, 13, 14), rotation(12, -7, 33) @ LPS, (0.7, 0.9, 3.0), (5.35, -6, 7)),
}


def _random(grid, ids, seed):
    array = np.random.default_rng(seed).integers(0, len(ids) + 1, grid.shape).astype(np.uint8)
    return LabelMap(array, grid, tuple(Label(value, one, one) for value, one in enumerate(ids, 1)))


def _volume(scene, grid, name):
    return make_volume(scene, np.zeros(grid.shape, np.int16), grid, name)


def _points(label_map, ids):
    """The places of the voxels (N, 3) of each segment in mm, rounded to 0.01 and sorted."""
    points = {}
    for name, own in ids.items():
        indices = np.argwhere(label_map.mask(label_map.label(own)))[:, ::-1]
        places = np.round(label_map.grid.ijk_to_ras_points(indices), 2) + 0.0
        points[name] = places[np.lexsort(places.T)]
    return points


@pytest.mark.parametrize("case", PAIRS)
def test_segments_of_two_volumes_in_one_node_are_saved_whole(scene, tmp_path, case):
    """Read here, in our file, and in Slicer's own file: every voxel of both sets is where it was."""
    first, second = PAIRS[case]
    old, new = _random(first, ["a", "b"], 0), _random(second, ["a", "c"], 1)
    node = mrml.segmentation_from_label_map(old, _volume(scene, first, "first"))
    mrml.segmentation_from_label_map(new, _volume(scene, second, "second"), node=node)
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["a", "b", "a_1", "c"]
    expected = {
        **_points(old, {"a": "a", "b": "b"}),
        **_points(new, {"a_1": "a", "c": "c"}),
    }
    SegmentationLogic().saveSegmentation(node, tmp_path / "ours.seg.nrrd")
    assert scene.util.saveNode(node, str(tmp_path / "slicers.seg.nrrd"))
    found = [mrml.label_map_from_segmentation(node)]
    for name in ("ours", "slicers"):
        found.append(read_label_map(tmp_path / f"{name}.seg.nrrd"))
        loaded = scene.util.loadSegmentation(str(tmp_path / f"{name}.seg.nrrd"))
        found.append(mrml.label_map_from_segmentation(loaded))
    for label_map in found:
        points = _points(label_map, {one: one for one in expected})
        for name in expected:
            np.testing.assert_allclose(points[name], expected[name], atol=0.011, err_msg=name)


def test_the_reference_volume_is_the_one_that_holds_all(scene):
    small, whole = _volume(scene, PAIRS["a crop is added"][1], "small"), _volume(scene, WHOLE, "whole")
    maps = {volume: _random(mrml.grid_from_volume(volume), ["a"], 0) for volume in (small, whole)}
    for order in ((small, whole), (whole, small)):
        node = mrml.segmentation_from_label_map(maps[order[0]], order[0])
        mrml.segmentation_from_label_map(maps[order[1]], order[1], node=node)
        assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is whole
        assert mrml.reference_grid(node).matches(WHOLE)


@pytest.mark.parametrize("case", OTHER_VOXELS)
def test_segments_on_other_voxels_are_refused_before_anything_is_written(scene, case):
    node = mrml.segmentation_from_label_map(_random(WHOLE, ["a"], 0), _volume(scene, WHOLE, "first"), name="mine")
    other = _volume(scene, OTHER_VOXELS[case], "other")
    with pytest.raises(GeometryError, match="'mine' already holds segments on other voxels"):
        SegmentationLogic().checkOutput(node, other)
    with pytest.raises(GeometryError, match="Choose a new output segmentation"):
        mrml.segmentation_from_label_map(_random(OTHER_VOXELS[case], ["b"], 0), other, node=node)
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["a"]
    assert mrml.reference_grid(node).matches(WHOLE)


def test_segments_without_voxels_do_not_stand_in_the_way(scene):
    node = mrml.segmentation_from_label_map(
        LabelMap(np.zeros(WHOLE.shape, np.uint8), WHOLE, (Label(1, "empty", "empty"),)), _volume(scene, WHOLE, "first")
    )
    other = _volume(scene, OTHER_VOXELS["spacing"], "other")
    mrml.segmentation_from_label_map(_random(OTHER_VOXELS["spacing"], ["b"], 0), other, node=node)
    assert mrml.reference_grid(node).matches(OTHER_VOXELS["spacing"])
    assert list(mrml.label_map_from_segmentation(node).volumes_ml()) == ["empty", "b"]


def _put_on(scene, node, grid):
    """What the Segment Editor does when another geometry is chosen, or a script does."""
    converter = scene.vtkSegmentationConverter
    node.GetSegmentation().SetConversionParameter(
        converter.GetReferenceImageGeometryParameterName(), converter.SerializeImageGeometry(oriented_image(grid))
    )


@pytest.mark.parametrize("geometry", [PAIRS["a crop is added"][1], *OTHER_VOXELS.values()])
def test_a_geometry_chosen_later_takes_nothing_from_the_segments(scene, tmp_path, geometry):
    old = _random(WHOLE, ["a", "b"], 0)
    node = mrml.segmentation_from_label_map(old, _volume(scene, WHOLE, "first"))
    _put_on(scene, node, geometry)
    SegmentationLogic().saveSegmentation(node, tmp_path / "case.seg.nrrd")
    points = _points(read_label_map(tmp_path / "case.seg.nrrd"), {"a": "a", "b": "b"})
    for name, expected in _points(old, {"a": "a", "b": "b"}).items():
        np.testing.assert_allclose(points[name], expected, atol=0.011)


def test_a_correction_on_a_smaller_geometry_counts_and_resets_outside_of_it(scene):
    draft = mrml.segmentation_from_label_map(_random(WHOLE, ["a", "b"], 0), _volume(scene, WHOLE, "first"))
    node = start_correction(draft)
    before = mrml.label_map_from_segmentation(draft)
    logic, empty = scene.vtkSlicerSegmentationsModuleLogic, oriented_image(WHOLE, np.zeros(WHOLE.shape, np.uint8))
    logic.SetBinaryLabelmapToSegment(empty, node, "a", logic.MODE_REPLACE, empty.GetExtent(), False, [])
    _put_on(scene, node, PAIRS["a crop is added"][1])
    changes = changes_since_draft(node)
    assert (changes["a"].added, changes["a"].removed) == (0, int(before.mask(before.label("a")).sum()))
    reset_to_draft(node, "a")
    assert changes_since_draft(node)["a"].removed == 0
    after = mrml.label_map_from_segmentation(node)
    for name in ("a", "b"):
        np.testing.assert_array_equal(after.mask(after.label(name)), before.mask(before.label(name)))
