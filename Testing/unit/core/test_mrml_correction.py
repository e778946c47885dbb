"""Corrections of drafts: what a copy keeps, that the draft stays as it is, what changed, and putting it back."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fixtures_scene
from fixtures_scene import GRIDS, bspline_transform, make_grid, make_volume
from MedSegAICore import mrml
from MedSegAICore.errors import InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.mrml_changes import changes_since_draft, reset_to_draft
from MedSegAICore.mrml_correction import (
    OUTLINE_COLOR,
    corrections_of,
    draft_of,
    finish_correction,
    hash_of,
    is_draft,
    is_draft_shown,
    new_segmentation,
    resume_correction,
    segments_overlap,
    set_volume_of,
    show_draft,
    start_correction,
    volume_of,
)
from MedSegAICore.mrml_images import oriented_image

scene = fixtures_scene.scene
BINARY, SURFACE = "Binary labelmap", "Closed surface"
PROVENANCE = {"model": {"id": "hippocampus", "sha256": "abc"}, "note": "a|b", "notice": "Not reviewed by a human."}


@pytest.fixture
def make_draft(scene):
    """A function from a label array, of one or several layers, to a draft that a model made."""

    def make(array, grid: Grid, provenance=PROVENANCE, overlap: bool = False):
        labels = [Label(1, "left", "Left", (1.0, 0.0, 0.0)), Label(2, "right", "Right", (0.0, 1.0, 0.0))]
        if overlap:
            labels.append(Label(1, "whole", "Whole", (0.0, 0.0, 1.0), layer=1))
        volume = make_volume(scene, np.zeros(grid.shape, np.int16), grid, "case")
        return mrml.segmentation_from_label_map(LabelMap(array, grid, labels), volume, provenance=provenance)

    return make


def _halves(grid):
    array = np.zeros(grid.shape, np.uint8)
    array[2:6, 2:8, 2:5], array[2:6, 2:8, 5:8] = 1, 2
    return array


def _set(slicer, node, segment, mask, grid, overwrite=()):
    image = oriented_image(grid, mask.astype(np.uint8))
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
        image, node, segment, 0, image.GetExtent(), False, list(overwrite)
    )


def _mask(node, segment):
    label_map = mrml.label_map_from_segmentation(node)
    return label_map.mask(next(label for label in label_map.labels if label.id == segment))


def _everything(node):
    """What must not change in a draft: voxels, labels with tags, attributes."""
    label_map = mrml.label_map_from_segmentation(node)
    attributes = {name: node.GetAttribute(name) for name in node.GetAttributeNames()}
    return hash_of(label_map), label_map.labels, attributes, node.GetName(), node.GetTransformNodeID()


@pytest.mark.parametrize("name", ["axis-aligned", "oblique anisotropic"])
def test_a_correction_equals_its_draft_and_the_draft_stays(scene, make_draft, name):
    import vtk

    grid = GRIDS[name]
    array = np.stack([_halves(grid), (_halves(grid) > 0).astype(np.uint8)])
    draft = make_draft(array, grid, overlap=True)
    parent = bspline_transform(scene)
    draft.SetAndObserveTransformNodeID(parent.GetID())
    draft.GetDisplayNode().SetSegmentVisibility("right", False)
    draft.GetSegmentation().GetSegment("left").SetTag("Some.Tag", "kept")
    left = draft.GetSegmentation().GetSegment("left")
    left.SetTag(left.GetTerminologyEntryTagName(), "Context~SCT^1^a~SCT^2^b~^^~Other~^^~^^")
    before = _everything(draft)
    node = start_correction(draft)
    copied, original = (mrml.label_map_from_segmentation(one) for one in (node, draft))
    np.testing.assert_array_equal(copied.array, original.array)
    assert [(a.id, a.name, a.color, a.terminology, a.layer) for a in copied.labels] == [
        (b.id, b.name, b.color, b.terminology, b.layer) for b in original.labels
    ]
    assert node.GetSegmentation().GetNumberOfLayers(BINARY) == 2
    assert node.GetSegmentation().GetSegment("left").GetTag("Some.Tag", value := vtk.reference(""))
    assert value == "kept"
    assert node.GetName() == f"{draft.GetName()} corrected"
    assert node.GetParentTransformNode() is parent
    role = node.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is draft.GetNodeReference(role) is not None
    assert mrml.reference_grid(node).matches(grid)
    assert not node.GetDisplayNode().GetSegmentVisibility("right")
    assert node.GetDisplayNode().GetSegmentVisibility("left")
    assert _everything(draft) == before
    assert draft.GetScene() is scene.mrmlScene


def test_editing_the_correction_does_not_reach_the_draft(scene, make_draft):
    grid = make_grid((9, 10, 11))
    draft = make_draft(_halves(grid), grid)
    before = _everything(draft)
    node = start_correction(draft)
    _set(scene, node, "left", np.ones(grid.shape, bool), grid, ["right"])
    node.GetSegmentation().GetSegment("right").SetName("other")
    assert _everything(draft) == before
    assert not _mask(node, "right").any()


def test_the_draft_is_hidden_and_the_correction_is_seen(make_draft):
    grid = make_grid((9, 10, 11))
    draft = make_draft(_halves(grid), grid)
    node = start_correction(draft)
    assert (draft.GetDisplayVisibility(), node.GetDisplayVisibility()) == (0, 1)


def test_the_provenance_says_what_was_corrected_and_when(make_draft):
    grid = make_grid((9, 10, 11))
    draft = make_draft(_halves(grid), grid)
    node = start_correction(draft)
    provenance = json.loads(node.GetAttribute(mrml.PROVENANCE))
    assert provenance["model"] == PROVENANCE["model"]
    assert provenance["correction"]["draft_sha256"] == hash_of(mrml.label_map_from_segmentation(draft))
    assert provenance["correction"]["started_utc"].endswith("+00:00")
    (label, _) = mrml.label_map_from_segmentation(node).labels
    tag = dict(label.tags)[mrml.PROVENANCE]
    assert json.loads(tag) == provenance
    assert "|" not in tag  # it would end the tag in a .seg.nrrd file
    assert draft.GetName() not in node.GetAttribute(mrml.PROVENANCE)  # names can be those of patients


def test_a_correction_knows_its_draft_and_a_draft_its_corrections(scene, make_draft):
    grid = make_grid((9, 10, 11))
    draft = make_draft(_halves(grid), grid)
    first, second = start_correction(draft), start_correction(draft)
    assert draft_of(first) is draft_of(second) is draft
    assert corrections_of(draft) == [first, second]
    assert first.GetName() != second.GetName()
    assert (is_draft(draft), is_draft(first)) == (True, False)
    assert draft_of(draft) is None
    assert draft_of(None) is None
    scene.mrmlScene.RemoveNode(draft)
    assert draft_of(first) is None
    assert changes_since_draft(first) == {}


def test_what_a_person_made_is_no_draft(scene, make_draft):
    grid = make_grid((9, 10, 11))
    assert not is_draft(make_draft(_halves(grid), grid, provenance=None))
    loaded = make_draft(_halves(grid), grid)
    loaded.RemoveAttribute(mrml.PROVENANCE)  # a .seg.nrrd file keeps the tags of the segments only
    assert is_draft(loaded)
    copy = start_correction(loaded)
    copy.RemoveAttribute(mrml.PROVENANCE)
    assert not is_draft(copy)


def test_a_draft_of_surfaces_is_corrected_as_voxels(make_draft):
    grid = make_grid((20, 20, 20))
    array = np.zeros(grid.shape, np.uint8)
    array[5:15, 4:16, 6:12] = 1
    draft = make_draft(array, grid)
    draft.CreateClosedSurfaceRepresentation()
    draft.SetSourceRepresentationToClosedSurface()
    draft.GetSegmentation().RemoveRepresentation(BINARY)
    node = start_correction(draft)
    assert node.GetSegmentation().GetSourceRepresentationName() == BINARY
    assert not node.GetSegmentation().ContainsRepresentation(SURFACE)
    assert 0.8 * 720 < _mask(node, "left").sum() < 1.2 * 1200
    assert not draft.GetSegmentation().ContainsRepresentation(BINARY)


def test_surfaces_are_left_out_of_the_correction(make_draft):
    grid = make_grid((9, 10, 11))
    draft = make_draft(_halves(grid), grid)
    draft.CreateClosedSurfaceRepresentation()
    node = start_correction(draft)
    assert not node.GetSegmentation().ContainsRepresentation(SURFACE)
    assert draft.GetSegmentation().ContainsRepresentation(SURFACE)


def test_nothing_and_empty_segmentations_cannot_be_corrected(scene):
    with pytest.raises(InputError, match="Choose the segmentation"):
        start_correction(None)
    empty = scene.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    with pytest.raises(InputError, match="'empty' has no segments"):
        start_correction(empty)
    assert scene.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_a_new_segmentation_lies_on_its_volume_and_has_a_segment_to_draw(scene):
    grid = GRIDS["oblique anisotropic"]
    volume = make_volume(scene, np.zeros(grid.shape, np.int16), grid, "case")
    volume.SetAndObserveTransformNodeID(bspline_transform(scene).GetID())
    node = new_segmentation(volume)
    assert volume_of(node) is volume
    assert node.GetParentTransformNode() is volume.GetParentTransformNode()
    assert mrml.reference_grid(node).matches(grid)
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    assert not is_draft(node)
    with pytest.raises(InputError, match="No volume"):
        new_segmentation(None)


def test_segments_keep_their_voxels_and_place_when_they_are_given_another_volume(scene, make_draft):
    grid = make_grid((9, 10, 11))
    draft = make_draft(_halves(grid), grid)
    other = make_volume(scene, np.zeros((4, 5, 6), np.int16), make_grid((4, 5, 6), spacing_ijk=(3, 3, 3)), "other")
    other.SetAndObserveTransformNodeID(bspline_transform(scene).GetID())
    before = _everything(draft)
    set_volume_of(draft, other)
    assert volume_of(draft) is other
    assert _everything(draft) == before
    assert mrml.reference_grid(draft).matches(grid)


def test_overlap_is_seen_in_the_voxels_not_in_the_layers(make_draft):
    grid = make_grid((9, 10, 11))
    halves = _halves(grid)
    assert not segments_overlap(make_draft(halves, grid))
    apart = np.stack([halves, np.zeros_like(halves)])
    apart[1, 8, 9, 10] = 1
    assert not segments_overlap(make_draft(apart, grid, overlap=True))
    apart[1, 3, 3, 3] = 1
    assert segments_overlap(make_draft(apart, grid, overlap=True))


def test_the_draft_is_shown_as_an_outline_without_a_change_of_its_own_display(make_draft):
    grid = make_grid((9, 10, 11))
    draft = make_draft(_halves(grid), grid)
    own = draft.GetDisplayNode()
    node = start_correction(draft)
    before = tuple(own.GetSegmentOverrideColor("left"))
    show_draft(node, True)
    show_draft(node, True)
    assert is_draft_shown(node)
    assert draft.GetNumberOfDisplayNodes() == 2
    outline = draft.GetNthDisplayNode(1)
    assert outline.GetVisibility()
    assert not outline.GetVisibility2DFill()
    assert outline.GetVisibility2DOutline()
    assert tuple(outline.GetSegmentOverrideColor("right")) == OUTLINE_COLOR
    assert draft.GetSegmentation().GetSegment("right").GetColor() == (0.0, 1.0, 0.0)
    assert not own.GetVisibility()
    assert own.GetVisibility2DFill()
    assert tuple(own.GetSegmentOverrideColor("left")) == before
    show_draft(node, False)
    assert not is_draft_shown(node)
    draft.GetScene().RemoveNode(draft)
    show_draft(node, True)
    assert not is_draft_shown(node)


def test_done_completes_all_but_flagged_segments_and_going_on_opens_them(scene, make_draft):
    grid = make_grid((9, 10, 11))
    draft = make_draft(_halves(grid), grid)
    node = start_correction(draft)
    logic, segmentation = scene.vtkSlicerSegmentationsModuleLogic, node.GetSegmentation()
    logic.SetSegmentStatus(segmentation.GetSegment("right"), logic.Flagged)
    finish_correction(node)
    status = [logic.GetSegmentStatus(segmentation.GetSegment(one)) for one in ("left", "right")]
    assert status == [logic.Completed, logic.Flagged]
    provenance = json.loads(node.GetAttribute(mrml.PROVENANCE))
    assert "finished_utc" in provenance["correction"]
    assert provenance["notice"] == "Research use only. Corrected by a person."
    assert json.loads(draft.GetAttribute(mrml.PROVENANCE)) == PROVENANCE
    draft.SetDisplayVisibility(True)
    resume_correction(node)
    status = [logic.GetSegmentStatus(segmentation.GetSegment(one)) for one in ("left", "right")]
    assert status == [logic.InProgress, logic.Flagged]
    assert (draft.GetDisplayVisibility(), node.GetDisplayVisibility()) == (0, 1)
    assert dict(mrml.label_map_from_segmentation(draft).labels[0].tags)[mrml.STATUS_TAG] == "inprogress"


# ---- what changed ----------------------------------------------------------------------------------------------------


def test_without_an_edit_nothing_changed(make_draft):
    grid = GRIDS["oblique anisotropic"]
    node = start_correction(make_draft(_halves(grid), grid))
    assert {one: (c.added, c.removed) for one, c in changes_since_draft(node).items()} == {
        "left": (0, 0),
        "right": (0, 0),
    }


def test_added_and_removed_voxels_are_counted_for_each_segment(scene, make_draft):
    """Left gets the plane K = 6 (18 voxels) and, of right, the column I = 5 (24); it loses its column I = 2 (24)."""
    grid = make_grid((9, 10, 11), spacing_ijk=(0.5, 0.5, 2.0))
    node = start_correction(make_draft(_halves(grid), grid))
    left = _halves(grid) == 1
    left[6, 2:8, 2:5] = True
    left[2:6, 2:8, 5] = True
    left[2:6, 2:8, 2] = False
    _set(scene, node, "left", left, grid, ["right"])
    changes = changes_since_draft(node)
    assert (changes["left"].added, changes["left"].removed) == (18 + 24, 24)
    assert (changes["right"].added, changes["right"].removed) == (0, 24)
    total = changes["left"] + changes["right"]
    assert (total.added, total.removed) == (42, 48)
    assert total.added_ml == pytest.approx(42 * 0.5 / 1000)
    assert total.removed_ml == pytest.approx(48 * 0.5 / 1000)


def test_changes_of_overlapping_segments_are_counted_although_layers_move(scene, make_draft):
    """Painting left over right without overwriting moves left into another layer."""
    grid = make_grid((9, 10, 11))
    halves = _halves(grid)
    draft = make_draft(np.stack([halves, (halves > 0).astype(np.uint8)]), grid, overlap=True)
    node = start_correction(draft)
    left = (halves == 1) | (halves == 2)
    _set(scene, node, "left", left, grid)
    changes = changes_since_draft(node)
    assert {one: (c.added, c.removed) for one, c in changes.items()} == {
        "left": (72, 0),
        "right": (0, 0),
        "whole": (0, 0),
    }


def test_new_and_removed_segments_count_as_a_whole(scene, make_draft):
    grid = make_grid((9, 10, 11))
    node = start_correction(make_draft(_halves(grid), grid))
    node.GetSegmentation().RemoveSegment("right")
    node.GetSegmentation().AddEmptySegment("new")
    extra = np.zeros(grid.shape, bool)
    extra[0, 0, :3] = True
    _set(scene, node, "new", extra, grid)
    changes = changes_since_draft(node)
    assert {one: (c.added, c.removed) for one, c in changes.items()} == {
        "left": (0, 0),
        "new": (3, 0),
        "right": (0, 72),
    }


def test_changes_are_counted_on_finer_voxels_too(scene, make_draft):
    """Halving the voxels' size changes nothing by itself; 8 of the small voxels are 1 mm3."""
    grid = make_grid((9, 10, 11))
    node = start_correction(make_draft(_halves(grid), grid))
    fine = make_grid((18, 20, 22), spacing_ijk=(0.5, 0.5, 0.5), origin_ras=(-0.25, -0.25, -0.25))
    converter = scene.vtkSegmentationConverter
    node.GetSegmentation().SetConversionParameter(
        converter.GetReferenceImageGeometryParameterName(), converter.SerializeImageGeometry(oriented_image(fine))
    )
    masks = {
        one: np.kron(_halves(grid) == value, np.ones((2, 2, 2), bool)) for one, value in (("left", 1), ("right", 2))
    }
    masks["left"][:2, :2, :2] = True
    for one, mask in masks.items():
        node.GetSegmentation().GetSegment(one).RemoveAllRepresentations()
        node.GetSegmentation().GetSegment(one).AddRepresentation(BINARY, oriented_image(fine, mask.astype(np.uint8)))
        node.GetSegmentation().GetSegment(one).SetLabelValue(1)
    changes = changes_since_draft(node)
    assert {one: (c.added, c.removed) for one, c in changes.items()} == {"left": (8, 0), "right": (0, 0)}
    assert changes["left"].added_ml == pytest.approx(0.001)


# ---- back to the draft -----------------------------------------------------------------------------------------------


def test_a_reset_segment_is_the_draft_s_and_its_neighbors_get_back_what_was_theirs(scene, make_draft):
    grid = GRIDS["oblique anisotropic"]
    draft = make_draft(_halves(grid), grid)
    node = start_correction(draft)
    left = np.zeros(grid.shape, bool)
    left[3:5, 3:9, 3:9] = True  # takes from right and from the background, and loses voxels
    _set(scene, node, "left", left, grid, ["right"])
    right = _mask(node, "right")
    right[2, 2:8, 2:5] = True  # what left lost, right took
    _set(scene, node, "right", right, grid, ["left"])
    reset_to_draft(node, "left")
    np.testing.assert_array_equal(_mask(node, "left"), _mask(draft, "left"))
    np.testing.assert_array_equal(_mask(node, "right"), _mask(draft, "right"))
    assert not segments_overlap(node)


def test_edits_of_other_segments_survive_a_reset(scene, make_draft):
    grid = make_grid((9, 10, 11))
    draft = make_draft(_halves(grid), grid)
    node = start_correction(draft)
    right = _halves(grid) == 2
    right[8, 9, 9] = True
    _set(scene, node, "right", right, grid, ["left"])
    _set(scene, node, "left", np.zeros(grid.shape, bool), grid)
    reset_to_draft(node, "left")
    np.testing.assert_array_equal(_mask(node, "left"), _mask(draft, "left"))
    np.testing.assert_array_equal(_mask(node, "right"), right)


def test_a_reset_overlapping_segment_leaves_the_others_alone(scene, make_draft):
    grid = make_grid((9, 10, 11))
    halves = _halves(grid)
    draft = make_draft(np.stack([halves, (halves > 0).astype(np.uint8)]), grid, overlap=True)
    node = start_correction(draft)
    _set(scene, node, "whole", np.ones(grid.shape, bool), grid)
    _set(scene, node, "right", halves > 0, grid)
    reset_to_draft(node, "whole")
    np.testing.assert_array_equal(_mask(node, "whole"), halves > 0)
    np.testing.assert_array_equal(_mask(node, "right"), halves > 0)
    np.testing.assert_array_equal(_mask(node, "left"), halves == 1)


def test_a_reset_can_be_undone(scene, make_draft):
    grid = make_grid((9, 10, 11))
    node = start_correction(make_draft(_halves(grid), grid))
    edited = np.zeros(grid.shape, bool)
    edited[3:5, 3:9, 3:9] = True
    _set(scene, node, "left", edited, grid, ["right"])
    right = _mask(node, "right")
    history = scene.vtkSegmentationHistory()
    history.SetSegmentation(node.GetSegmentation())
    history.SaveState()
    reset_to_draft(node, "left")
    assert history.RestorePreviousState()
    np.testing.assert_array_equal(_mask(node, "left"), edited)
    np.testing.assert_array_equal(_mask(node, "right"), right)


def test_what_cannot_be_reset_says_why(scene, make_draft):
    grid = make_grid((9, 10, 11))
    draft = make_draft(_halves(grid), grid)
    node = start_correction(draft)
    node.GetSegmentation().AddEmptySegment("new")
    with pytest.raises(InputError, match="does not have this segment"):
        reset_to_draft(node, "new")
    node.GetSegmentation().RemoveSegment("left")
    with pytest.raises(InputError, match="not have this segment any more"):
        reset_to_draft(node, "left")
    scene.mrmlScene.RemoveNode(draft)
    with pytest.raises(InputError, match="not in the scene any more"):
        reset_to_draft(node, "right")
