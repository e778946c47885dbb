"""The correction section as an annotator uses it: open a draft, paint, undo, finish, come back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import fixtures_correction
from fixtures_correction import (
    GRID,
    PROVENANCE,
    begin,
    is_editing,
    make_draft,
    paint,
    ras,
    voxels,
    wait_for_counting,
    window_keys,
)
from fixtures_scene import bspline_transform, make_grid, make_volume
from MedSegAICore import mrml
from MedSegAICore.files import read_image, read_label_map, read_metadata
from MedSegAICore.image import Label
from MedSegAICore.mrml_correction import corrections_of, draft_of, hash_of

views, widget = fixtures_correction.views, fixtures_correction.widget
section, draft = fixtures_correction.section, fixtures_correction.draft


SAMPLES = Path(__file__).resolve().parents[2] / "MedSegAI" / "Resources" / "SampleData"


# ---- beginning -------------------------------------------------------------------------------------------------------


def test_the_draft_stays_and_its_copy_is_opened_in_slicer_s_editor(widget, section, draft):
    before = hash_of(mrml.label_map_from_segmentation(draft))
    widget._parameterNode.resultSegmentation = draft
    assert not is_editing(section)
    assert section.ui.correctButton.text == "Correct"
    assert section.ui.choiceLabel.text.startswith("A copy of case segmentation is edited.")
    node = begin(widget, section, draft)
    assert draft_of(node) is draft
    assert widget._parameterNode.resultSegmentation is node
    editor = section._editor.widget
    assert editor.segmentationNode() is node
    assert editor.sourceVolumeNode().GetName() == "case"
    assert editor.currentSegmentID() == "left"
    assert not editor.segmentationNodeSelectorVisible
    assert not editor.sourceVolumeNodeSelectorVisible
    assert editor.effectByIndex(1).name == "Paint"
    assert is_editing(section)
    paint(section, ras(12, 8, 6), 4.0)
    assert hash_of(mrml.label_map_from_segmentation(draft)) == before


def test_the_node_of_the_module_segment_editor_is_left_alone(widget, section, draft):
    import slicer

    own = slicer.vtkMRMLSegmentEditorNode()
    own.SetSingletonTag("SegmentEditor")
    own = slicer.mrmlScene.AddNode(own)
    own.SetOverwriteMode(own.OverwriteNone)
    begin(widget, section, draft)
    assert own.GetSegmentationNode() is None
    assert section._editor.widget.mrmlSegmentEditorNode() is not own


def test_a_stroke_takes_voxels_from_a_neighbor_where_segments_exclude_each_other(widget, section, draft):
    node = begin(widget, section, draft)
    node.GetDisplayNode().SetSegmentVisibility("right", False)
    before = voxels(node)
    paint(section, ras(12, 8, 6), 1.2)
    after = voxels(node)
    assert after["left"] > before["left"]
    assert after["left"] + after["right"] == before["left"] + before["right"]


def test_a_stroke_leaves_other_segments_where_the_draft_overlaps(widget, section):
    array = np.zeros((2, *GRID.shape), np.uint8)
    array[0, 4:9, 4:14, 4:16], array[1, 4:9, 4:14, 8:12] = 1, 1
    draft = make_draft(array, GRID, [Label(1, "organ", "Organ"), Label(1, "tumor", "Tumor", layer=1)])
    node = begin(widget, section, draft)
    before = voxels(node)
    section._editor.widget.setCurrentSegmentID("tumor")
    paint(section, ras(5, 8, 6), 1.2)
    after = voxels(node)
    assert after["tumor"] > before["tumor"]
    assert after["organ"] == before["organ"]


def test_undo_works_from_the_first_stroke(widget, section, draft):
    node = begin(widget, section, draft)
    before = voxels(node)
    paint(section, ras(12, 8, 6), 3.0)
    assert voxels(node) != before
    section._editor.widget.undo()
    assert voxels(node) == before
    assert not section._editor.widget._logic.CanUndo()
    section._editor.widget.redo()
    assert voxels(node) != before


def test_the_user_s_choice_of_overwriting_stays_for_the_same_segmentation(widget, section, draft):
    begin(widget, section, draft)
    editor_node = section._editor.widget.mrmlSegmentEditorNode()
    assert editor_node.GetOverwriteMode() == editor_node.OverwriteAllSegments
    editor_node.SetOverwriteMode(editor_node.OverwriteVisibleSegments)
    widget.exit()
    widget.enter()
    assert editor_node.GetOverwriteMode() == editor_node.OverwriteVisibleSegments


def test_what_a_person_drew_is_edited_itself(widget, section):
    array = np.zeros(GRID.shape, np.uint8)
    array[4:9, 4:14, 4:10] = 1
    manual = make_draft(array, GRID, [Label(1, "left", "Left")], provenance=None)
    assert begin(widget, section, manual) is manual
    assert section.ui.changesLabel.isHidden()
    assert not section.ui.draftButton.enabled
    assert not section.ui.resetButton.enabled
    paint(section, ras(12, 8, 6), 3.0)
    assert section.ui.nameLabel.text == manual.GetName()


def test_a_new_segmentation_can_be_drawn_on_a_volume(widget, section):
    import slicer

    assert not section.ui.correctButton.enabled
    assert section.ui.correctButton.toolTip == "Choose the volume to draw on."
    volume = make_volume(slicer, np.zeros(GRID.shape, np.int16), GRID, "plain")
    volume.SetAndObserveTransformNodeID(bspline_transform(slicer).GetID())
    section.ui.volumeSelector.setCurrentNode(volume)
    assert section.ui.correctButton.text == "Draw a new segmentation"
    section.ui.correctButton.click()
    node = widget._parameterNode.correctedSegmentation
    assert node.GetParentTransformNode() is volume.GetParentTransformNode()
    assert mrml.reference_grid(node).matches(GRID)
    paint(section, ras(12, 8, 6), 3.0)
    assert next(iter(voxels(node).values())) > 10


def test_a_segmentation_without_a_volume_asks_for_one_and_keeps_its_voxels(widget, section, draft):
    import slicer

    volume = draft.GetNodeReference(draft.GetReferenceImageGeometryReferenceRole())
    slicer.mrmlScene.RemoveNode(volume)
    widget._parameterNode.resultSegmentation = draft
    assert not section.ui.volumeSelector.isHidden()
    finer = make_volume(slicer, np.zeros((30, 30, 30), np.int16), make_grid((30, 30, 30)), "other")
    section.ui.volumeSelector.setCurrentNode(finer)
    section.ui.correctButton.click()
    node = widget._parameterNode.correctedSegmentation
    assert section._editor.widget.sourceVolumeNode() is finer
    assert mrml.reference_grid(node).matches(GRID)
    assert voxels(node) == voxels(draft)


def test_an_empty_draft_is_refused_in_a_sentence(widget, section):
    import slicer

    volume = make_volume(slicer, np.zeros(GRID.shape, np.int16), GRID, "case")
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing found")
    empty.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    empty.SetAttribute(mrml.PROVENANCE, json.dumps(PROVENANCE))
    begin(widget, section, empty)
    assert section.ui.messageLabel.text == "The segmentation 'nothing found' has no segments to correct."
    assert widget._parameterNode.correctedSegmentation is None


# ---- what changed ----------------------------------------------------------------------------------------------------


def test_what_changed_is_counted_when_strokes_pause(widget, section, draft):
    begin(widget, section, draft)
    assert section.ui.changesLabel.text == "Unchanged since the draft."
    paint(section, ras(6, 8, 6), 1.2, erase=True)  # a voxel and its neighbors in the plane: the planes are 2 mm apart
    assert section.ui.changesLabel.text == "Unchanged since the draft."
    wait_for_counting(section)
    assert section.ui.changesLabel.text == "Changed: +0 / −5 voxels (+0 / −0.01 ml) since the draft."
    assert "Left: +0 / −5" in section.ui.changesLabel.toolTip


def test_a_segment_is_put_back_to_the_draft_and_that_can_be_undone(widget, section, draft):
    node = begin(widget, section, draft)
    paint(section, ras(10, 8, 6), 4.0)
    edited = voxels(node)
    section.ui.resetButton.click()
    assert voxels(node) == voxels(draft)
    wait_for_counting(section)
    assert section.ui.changesLabel.text == "Unchanged since the draft."
    section._editor.widget.undo()
    assert voxels(node) == edited


def test_a_segment_that_the_draft_lacks_cannot_be_put_back(widget, section, draft):
    node = begin(widget, section, draft)
    identifier = node.GetSegmentation().AddEmptySegment("new")
    section._editor.widget.setCurrentSegmentID(identifier)
    section.ui.resetButton.click()
    assert "does not have this segment" in section.ui.messageLabel.text


def test_the_draft_deleted_while_editing_leaves_the_correction(widget, section, draft):
    import slicer

    node = begin(widget, section, draft)
    paint(section, ras(12, 8, 6), 3.0)
    edited = voxels(node)
    slicer.mrmlScene.RemoveNode(draft)
    assert not section.ui.resetButton.enabled
    assert not section.ui.draftButton.enabled
    assert section.ui.changesLabel.isHidden()
    paint(section, ras(6, 8, 6), 1.2, erase=True)
    assert voxels(node) != edited
    section.ui.doneButton.click()
    assert widget._parameterNode.resultSegmentation is node


def test_the_correction_deleted_while_editing_does_not_open_the_draft(widget, section, draft):
    import slicer

    node = begin(widget, section, draft)
    name, edited = node.GetName(), []
    section._editor.widget.segmentationNodeChanged.connect(edited.append)
    slicer.mrmlScene.RemoveNode(node)
    assert edited == [None]
    assert section.ui.messageLabel.text == f"{name} was removed from the scene."
    assert not is_editing(section)
    assert section._editor.widget.mrmlSegmentEditorNode().GetSegmentationNode() is None
    assert section._editor.effect == ""
    section._editor.widget.setSegmentationNode(draft)  # as its hidden selector may do, which lists all segmentations
    assert section._editor.widget.mrmlSegmentEditorNode().GetSegmentationNode() is None
    again = begin(widget, section, draft)
    assert again is not node
    assert draft_of(again) is draft


# ---- ending and coming back ------------------------------------------------------------------------------------------


def test_done_completes_the_segments_and_shows_the_correction_as_the_result(widget, section, draft):
    import slicer

    node = begin(widget, section, draft)
    paint(section, ras(12, 8, 6), 3.0)
    edited = voxels(node)
    widget._parameterNode.resultSegmentation = draft  # the user looks at the draft's volumes meanwhile
    section.ui.doneButton.click()
    parameters, logic = widget._parameterNode, slicer.vtkSlicerSegmentationsModuleLogic
    assert parameters.correctedSegmentation is None
    assert parameters.resultSegmentation is node
    assert logic.GetSegmentStatus(node.GetSegmentation().GetSegment("left")) == logic.Completed
    assert draft.GetDisplayVisibility() == 0
    assert voxels(node) == edited
    assert section._editor.widget.mrmlSegmentEditorNode().GetSegmentationNode() is None
    assert section.ui.correctButton.text == "Go on correcting"
    section.ui.correctButton.click()
    assert parameters.correctedSegmentation is node
    assert logic.GetSegmentStatus(node.GetSegmentation().GetSegment("left")) == logic.InProgress
    assert section.ui.changesLabel.text != "Unchanged since the draft."


def test_correcting_a_draft_again_goes_on_with_its_correction(widget, section, draft):
    node = begin(widget, section, draft)
    section.ui.doneButton.click()
    assert begin(widget, section, draft) is node
    assert corrections_of(draft) == [node]


def test_leaving_and_coming_back_keeps_the_work_and_the_undo(widget, section, draft):
    node = begin(widget, section, draft)
    before = voxels(node)
    paint(section, ras(12, 8, 6), 3.0)
    edited = voxels(node)
    widget.exit()
    assert voxels(node) == edited
    widget.enter()
    assert widget._parameterNode.correctedSegmentation is node
    assert is_editing(section)
    section._editor.widget.undo()
    assert voxels(node) == before


def test_a_saved_scene_brings_the_correction_and_its_draft_back(widget, section, draft, tmp_path):
    import slicer

    node = begin(widget, section, draft)
    paint(section, ras(12, 8, 6), 3.0)
    edited, name = voxels(node), node.GetName()
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert not is_editing(section)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    restored = widget._parameterNode.correctedSegmentation
    assert restored.GetName() == name
    assert voxels(restored) == edited
    assert draft_of(restored).GetName() == "case segmentation"
    assert section._editor.widget.segmentationNode() is restored
    assert section.ui.changesLabel.text.startswith("Changed: +")
    paint(section, ras(6, 8, 6), 1.2, erase=True)
    assert voxels(restored) != edited


def test_closing_the_scene_while_editing_is_safe(widget, section, draft):
    import slicer

    begin(widget, section, draft)
    section._editor.setEffect("Paint")
    slicer.mrmlScene.Clear(0)
    assert not is_editing(section)
    assert widget._parameterNode.correctedSegmentation is None
    array = np.zeros(GRID.shape, np.uint8)
    array[4:9, 4:14, 4:10] = 1
    node = begin(widget, section, make_draft(array, GRID, [Label(1, "left", "Left")]))
    before = voxels(node)
    paint(section, ras(12, 8, 6), 3.0)
    assert voxels(node) != before


def test_reloading_the_module_lets_go_of_everything_and_loses_nothing(views, widget, section, draft, open_panel):
    node = begin(widget, section, draft)
    paint(section, ras(12, 8, 6), 3.0)
    edited = voxels(node)
    widget.cleanup()
    assert window_keys() == []
    assert not section._timer.active
    again = open_panel()
    assert again._parameterNode.correctedSegmentation is node
    assert voxels(node) == edited
    assert is_editing(again.sections[2])


def test_the_volume_deleted_while_editing_is_safe(widget, section, draft):
    import slicer

    node = begin(widget, section, draft)
    before = voxels(node)
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("case"))
    assert voxels(node) == before
    section.ui.nextButton.click()
    section.ui.doneButton.click()
    assert widget._parameterNode.resultSegmentation is node


def test_hidden_flagged_and_completed_segments_of_the_bundled_sample_survive_a_correction(widget, section, tmp_path):
    """Real data from draft to exported file."""
    import slicer

    from MedSegAICore.mrml import segmentation_from_label_map, volume_node_from_image

    image = read_image(SAMPLES / "hippocampus_303.nii.gz")
    reference = read_label_map(SAMPLES / "hippocampus_303_label.nii.gz")
    volume = volume_node_from_image(image, "hippocampus_303")
    draft = segmentation_from_label_map(reference, volume, provenance=PROVENANCE)
    first, second = draft.GetSegmentation().GetSegmentIDs()
    draft.GetDisplayNode().SetSegmentVisibility(second, False)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(draft.GetSegmentation().GetSegment(second), logic.Flagged)
    before = voxels(draft)
    node = begin(widget, section, draft)
    center = reference.grid.ijk_to_ras_points(np.argwhere(reference.mask(reference.labels[0]))[:, ::-1]).mean(0)
    paint(section, center, 3.0, erase=True)
    section.ui.doneButton.click()
    path = widget.logic.saveSegmentation(node, tmp_path / "corrected.seg.nrrd")
    written = read_label_map(path)
    assert [label.id for label in written.labels] == [first, second]
    counts = {label.id: int(written.mask(label).sum()) for label in written.labels}
    assert counts[second] == before[second]
    assert 0 < before[first] - counts[first] <= 123  # voxels of 1 mm in a sphere of 3 mm
    assert [dict(label.tags)[mrml.STATUS_TAG] for label in written.labels] == ["completed", "flagged"]
    assert "finished_utc" in json.loads(read_metadata(path)[mrml.PROVENANCE])["correction"]
