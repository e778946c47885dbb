"""The correction section as an annotator uses it: open a draft, paint, look around by keys, undo, finish, come back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fixtures_scene import bspline_transform, make_grid, make_volume, rotation
from MedSegAICore import mrml
from MedSegAICore.files import read_image, read_label_map, read_metadata
from MedSegAICore.image import Image, Label, LabelMap
from MedSegAICore.mrml_correction import corrections_of, draft_of, hash_of
from MedSegAICore.mrml_maps import add_maps

SAMPLES = Path(__file__).resolve().parents[2] / "MedSegAI" / "Resources" / "SampleData"
PROVENANCE = {"model": {"id": "hippocampus", "sha256": "abc"}}
GRID = make_grid((16, 20, 24), rotation(10, 20, 30), (1.0, 1.0, 2.0), (-10, 5, 30))


@pytest.fixture
def views(medsegai):
    """A main window with the views of the four-up layout."""
    from harness import views

    with views.open_views() as layout_manager:
        yield layout_manager


@pytest.fixture
def widget(views, open_panel):
    return open_panel()


@pytest.fixture
def section(widget):
    section = widget.sections[2]
    section.ui.correctionCollapsibleButton.collapsed = False
    return section


@pytest.fixture
def draft(medsegai):
    """Two touching boxes that a model found in an oblique volume."""
    array = np.zeros(GRID.shape, np.uint8)
    array[4:9, 4:14, 4:10], array[4:9, 4:14, 10:16] = 1, 2
    return _draft(array, GRID, [Label(1, "left", "Left", (1, 0, 0)), Label(2, "right", "Right", (0, 1, 0))])


def _draft(array, grid, labels, provenance=PROVENANCE):
    import slicer

    volume = make_volume(slicer, np.zeros(grid.shape, np.int16), grid, "case")
    return mrml.segmentation_from_label_map(LabelMap(array, grid, labels), volume, provenance=provenance)


def _is_editing(section):
    """Whether the editor is shown and the choice is not; exactly one of them is."""
    assert section.ui.editingWidget.isHidden() != section.ui.choiceWidget.isHidden()
    return not section.ui.editingWidget.isHidden()


def _begin(widget, section, draft):
    widget._parameterNode.resultSegmentation = draft
    section.ui.correctButton.click()
    return widget._parameterNode.correctedSegmentation


def _voxels(node):
    label_map = mrml.label_map_from_segmentation(node)
    return {label.id: int(label_map.mask(label).sum()) for label in label_map.labels}


def _ras(i, j, k, grid=GRID):
    return grid.ijk_to_ras_points([[i, j, k]])[0]


def _paint(section, ras, radius_mm, erase=False):
    from harness.segment_editor import paint

    paint(section._editor.widget, ras, radius_mm, erase)


def _press(key, release=True):
    """Type a letter in the main window, as a user does who works in a view."""
    import qt
    import slicer
    from PySide6 import QtTest

    window = slicer.util.mainWindow()
    window.activateWindow()
    window.show()
    QtTest.QTest.qWaitForWindowActive(window)
    if release:
        QtTest.QTest.keyClick(window, getattr(qt.Qt, f"Key_{key}"))
    else:
        QtTest.QTest.keyPress(window, getattr(qt.Qt, f"Key_{key}"))


def _wait_for_counting(section):
    from harness.event_loop import wait_until

    wait_until(lambda: not section._timer.active)


# ---- beginning -------------------------------------------------------------------------------------------------------


def test_the_draft_stays_and_its_copy_is_opened_in_slicer_s_editor(widget, section, draft):
    before = hash_of(mrml.label_map_from_segmentation(draft))
    widget._parameterNode.resultSegmentation = draft
    assert not _is_editing(section)
    assert section.ui.correctButton.text == "Correct"
    assert section.ui.choiceLabel.text.startswith("A copy of case segmentation is edited.")
    node = _begin(widget, section, draft)
    assert draft_of(node) is draft
    assert widget._parameterNode.resultSegmentation is node
    editor = section._editor.widget
    assert editor.segmentationNode() is node
    assert editor.sourceVolumeNode().GetName() == "case"
    assert editor.currentSegmentID() == "left"
    assert not editor.segmentationNodeSelectorVisible
    assert not editor.sourceVolumeNodeSelectorVisible
    assert editor.effectByIndex(1).name == "Paint"
    assert _is_editing(section)
    _paint(section, _ras(12, 8, 6), 4.0)
    assert hash_of(mrml.label_map_from_segmentation(draft)) == before


def test_the_node_of_the_module_segment_editor_is_left_alone(widget, section, draft):
    import slicer

    own = slicer.vtkMRMLSegmentEditorNode()
    own.SetSingletonTag("SegmentEditor")
    own = slicer.mrmlScene.AddNode(own)
    own.SetOverwriteMode(own.OverwriteNone)
    _begin(widget, section, draft)
    assert own.GetSegmentationNode() is None
    assert section._editor.widget.mrmlSegmentEditorNode() is not own


def test_a_stroke_takes_voxels_from_a_neighbor_where_segments_exclude_each_other(widget, section, draft):
    node = _begin(widget, section, draft)
    node.GetDisplayNode().SetSegmentVisibility("right", False)
    before = _voxels(node)
    _paint(section, _ras(12, 8, 6), 1.2)
    after = _voxels(node)
    assert after["left"] > before["left"]
    assert after["left"] + after["right"] == before["left"] + before["right"]


def test_a_stroke_leaves_other_segments_where_the_draft_overlaps(widget, section):
    array = np.zeros((2, *GRID.shape), np.uint8)
    array[0, 4:9, 4:14, 4:16], array[1, 4:9, 4:14, 8:12] = 1, 1
    draft = _draft(array, GRID, [Label(1, "organ", "Organ"), Label(1, "tumor", "Tumor", layer=1)])
    node = _begin(widget, section, draft)
    before = _voxels(node)
    section._editor.widget.setCurrentSegmentID("tumor")
    _paint(section, _ras(5, 8, 6), 1.2)
    after = _voxels(node)
    assert after["tumor"] > before["tumor"]
    assert after["organ"] == before["organ"]


def test_undo_works_from_the_first_stroke(widget, section, draft):
    node = _begin(widget, section, draft)
    before = _voxels(node)
    _paint(section, _ras(12, 8, 6), 3.0)
    assert _voxels(node) != before
    section._editor.widget.undo()
    assert _voxels(node) == before
    assert not section._editor.widget._logic.CanUndo()
    section._editor.widget.redo()
    assert _voxels(node) != before


def test_the_user_s_choice_of_overwriting_stays_for_the_same_segmentation(widget, section, draft):
    _begin(widget, section, draft)
    editor_node = section._editor.widget.mrmlSegmentEditorNode()
    assert editor_node.GetOverwriteMode() == editor_node.OverwriteAllSegments
    editor_node.SetOverwriteMode(editor_node.OverwriteVisibleSegments)
    widget.exit()
    widget.enter()
    assert editor_node.GetOverwriteMode() == editor_node.OverwriteVisibleSegments


def test_what_a_person_drew_is_edited_itself(widget, section):
    array = np.zeros(GRID.shape, np.uint8)
    array[4:9, 4:14, 4:10] = 1
    manual = _draft(array, GRID, [Label(1, "left", "Left")], provenance=None)
    assert _begin(widget, section, manual) is manual
    assert section.ui.changesLabel.isHidden()
    assert not section.ui.draftButton.enabled
    assert not section.ui.resetButton.enabled
    _paint(section, _ras(12, 8, 6), 3.0)
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
    _paint(section, _ras(12, 8, 6), 3.0)
    assert next(iter(_voxels(node).values())) > 10


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
    assert _voxels(node) == _voxels(draft)


def test_an_empty_draft_is_refused_in_a_sentence(widget, section):
    import slicer

    volume = make_volume(slicer, np.zeros(GRID.shape, np.int16), GRID, "case")
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing found")
    empty.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    empty.SetAttribute(mrml.PROVENANCE, json.dumps(PROVENANCE))
    _begin(widget, section, empty)
    assert section.ui.messageLabel.text == "The segmentation 'nothing found' has no segments to correct."
    assert widget._parameterNode.correctedSegmentation is None


# ---- what changed ----------------------------------------------------------------------------------------------------


def test_what_changed_is_counted_when_strokes_pause(widget, section, draft):
    _begin(widget, section, draft)
    assert section.ui.changesLabel.text == "Unchanged since the draft."
    _paint(section, _ras(6, 8, 6), 1.2, erase=True)  # a voxel and its neighbors in the plane: the planes are 2 mm apart
    assert section.ui.changesLabel.text == "Unchanged since the draft."
    _wait_for_counting(section)
    assert section.ui.changesLabel.text == "Changed: +0 / −5 voxels (+0 / −0.01 ml) since the draft."
    assert "Left: +0 / −5" in section.ui.changesLabel.toolTip


def test_a_segment_is_put_back_to_the_draft_and_that_can_be_undone(widget, section, draft):
    node = _begin(widget, section, draft)
    _paint(section, _ras(10, 8, 6), 4.0)
    edited = _voxels(node)
    section.ui.resetButton.click()
    assert _voxels(node) == _voxels(draft)
    _wait_for_counting(section)
    assert section.ui.changesLabel.text == "Unchanged since the draft."
    section._editor.widget.undo()
    assert _voxels(node) == edited


def test_a_segment_that_the_draft_lacks_cannot_be_put_back(widget, section, draft):
    node = _begin(widget, section, draft)
    identifier = node.GetSegmentation().AddEmptySegment("new")
    section._editor.widget.setCurrentSegmentID(identifier)
    section.ui.resetButton.click()
    assert "does not have this segment" in section.ui.messageLabel.text


def test_the_draft_deleted_while_editing_leaves_the_correction(widget, section, draft):
    import slicer

    node = _begin(widget, section, draft)
    _paint(section, _ras(12, 8, 6), 3.0)
    edited = _voxels(node)
    slicer.mrmlScene.RemoveNode(draft)
    assert not section.ui.resetButton.enabled
    assert not section.ui.draftButton.enabled
    assert section.ui.changesLabel.isHidden()
    _paint(section, _ras(6, 8, 6), 1.2, erase=True)
    assert _voxels(node) != edited
    section.ui.doneButton.click()
    assert widget._parameterNode.resultSegmentation is node


def test_the_correction_deleted_while_editing_does_not_open_the_draft(widget, section, draft):
    import slicer

    node = _begin(widget, section, draft)
    name = node.GetName()
    slicer.mrmlScene.RemoveNode(node)
    assert section.ui.messageLabel.text == f"{name} was removed from the scene."
    assert not _is_editing(section)
    assert section._editor.widget.mrmlSegmentEditorNode().GetSegmentationNode() is None
    assert section._editor.effect == ""
    again = _begin(widget, section, draft)
    assert again is not node
    assert draft_of(again) is draft


# ---- keys and buttons ------------------------------------------------------------------------------------------------


def _red(views):
    return views.sliceWidget("Red").mrmlSliceNode()


def _align(views, name="Red"):
    node = views.sliceWidget(name).mrmlSliceNode()
    import slicer

    node.RotateToVolumePlane(slicer.util.getNode("case"))
    node.JumpSliceByCentering(*_ras(2, 2, 2))
    return node


def test_keys_go_to_the_slices_with_the_segment(views, widget, section, draft):
    """Planes K = 4 to 8 hold the segment, the view shows K = 2; the volume lies oblique in the world."""
    _begin(widget, section, draft)
    red = _align(views)
    up = red.GetSliceToRAS().MultiplyPoint((0, 0, 1, 0))[:3]
    key, other = ("D", "S") if np.dot(up, GRID.ijk_to_ras[:3, 2]) > 0 else ("S", "D")
    start = red.GetSliceOffset()
    offsets = []
    for _ in range(6):
        _press(key)
        offsets.append(abs(red.GetSliceOffset() - start))
    assert offsets == pytest.approx([4, 6, 8, 10, 12, 12], abs=0.01)
    assert section.ui.messageLabel.text == "There is no further slice with Left in this direction."
    _press(other)
    assert abs(red.GetSliceOffset() - start) == pytest.approx(10, abs=0.01)
    assert section.ui.messageLabel.text == ""


def test_keys_move_the_view_under_the_mouse(views, widget, section, draft):
    import slicer

    _begin(widget, section, draft)
    green, red = _align(views, "Green"), _align(views)
    crosshair = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCursorPositionXYZ([5.0, 5.0, 0.0], green)
    before = (green.GetSliceOffset(), red.GetSliceOffset())
    _press("S")
    _press("D")
    _press("D")
    slicer.mrmlScene.RemoveNode(crosshair)
    assert green.GetSliceOffset() != before[0]
    assert red.GetSliceOffset() == before[1]


def test_buttons_do_what_the_keys_do_and_say_which(views, widget, section, draft):
    _begin(widget, section, draft)
    red = _align(views)
    start = red.GetSliceOffset()
    section.ui.nextButton.click()
    section.ui.previousButton.click()
    assert red.GetSliceOffset() != start
    for button, key in (("previous", "S"), ("next", "D"), ("outline", "O"), ("draft", "C")):
        assert f"({key})" in getattr(section.ui, f"{button}Button").toolTip
        assert f"<b>{key}" in section.ui.shortcutsLabel.text or f", {key}</b>" in section.ui.shortcutsLabel.text


def test_uncertain_slices_come_in_turn_where_the_model_said_so(views, widget, section, draft):
    _begin(widget, section, draft)
    assert not section.ui.uncertainButton.enabled
    assert "without uncertainty" in section.ui.uncertainButton.toolTip
    values = np.zeros(GRID.shape, np.float32)
    values[9, :6], values[3, :2] = 0.9, 0.9
    volume = draft.GetNodeReference(draft.GetReferenceImageGeometryReferenceRole())
    add_maps(draft, volume, "uncertainty", Image(values[None], GRID), ["uncertainty"])
    section._tools.update()
    red = _align(views)
    start = red.GetSliceOffset()
    distances = []
    for _ in range(3):
        _press("U")
        distances.append(abs(red.GetSliceOffset() - start))
    assert distances == pytest.approx([14, 2, 14], abs=0.01)
    assert "(U)" in section.ui.uncertainButton.toolTip


def test_outline_and_draft_are_toggled_by_keys_and_colors_stay(views, widget, section, draft):
    node = _begin(widget, section, draft)
    display = node.GetDisplayNode()
    _press("O")
    assert display.GetVisibility2DOutline()
    assert not display.GetVisibility2DFill()
    assert section.ui.outlineButton.checked
    _press("O")
    assert display.GetVisibility2DFill()
    assert not section.ui.outlineButton.checked
    _press("C")
    outline = draft.GetNthDisplayNode(1)
    assert outline.GetVisibility()
    assert not outline.GetVisibility2DFill()
    assert section.ui.draftButton.checked
    _press("C")
    assert not outline.GetVisibility()
    assert draft.GetSegmentation().GetSegment("left").GetColor() == (1.0, 0.0, 0.0)


def test_e_erases_while_it_is_held(views, widget, section, draft):
    import qt
    import slicer
    from PySide6 import QtCore, QtGui, QtTest

    _begin(widget, section, draft)
    section._editor.setEffect("Paint")
    window = slicer.util.mainWindow()
    _press("E", release=False)
    assert section._editor.effect == "Erase"
    repeated = QtGui.QKeyEvent(QtCore.QEvent.KeyRelease, qt.Qt.Key_E, QtCore.Qt.NoModifier, "e", True)
    qt.QApplication.sendEvent(window, repeated)
    assert section._editor.effect == "Erase"
    QtTest.QTest.keyRelease(window, qt.Qt.Key_E)
    assert section._editor.effect == "Paint"
    section._editor.setEffect("")
    _press("E")
    assert section._editor.effect == ""


def test_letting_go_of_e_during_a_stroke_ends_erasing_after_the_stroke(views, widget, section, draft, monkeypatch):
    import qt
    import slicer
    from PySide6 import QtTest

    from harness.event_loop import wait_until

    _begin(widget, section, draft)
    section._editor.setEffect("Paint")
    window = slicer.util.mainWindow()
    _press("E", release=False)
    monkeypatch.setattr(qt.QApplication, "mouseButtons", staticmethod(lambda: qt.Qt.LeftButton))
    QtTest.QTest.keyRelease(window, qt.Qt.Key_E)
    assert section._editor.effect == "Erase"
    monkeypatch.undo()
    QtTest.QTest.mouseRelease(window, qt.Qt.LeftButton)
    wait_until(lambda: section._editor.effect == "Paint")


def test_letters_typed_into_a_text_field_are_no_shortcuts(views, widget, section, draft):
    import qt
    import slicer
    from PySide6 import QtTest

    node = _begin(widget, section, draft)
    field = qt.QLineEdit(slicer.util.mainWindow())
    _press("A")
    field.show()
    field.setFocus()
    QtTest.QTest.keyClicks(field, "code")
    assert field.text == "code"
    assert node.GetDisplayNode().GetVisibility2DFill()
    assert section._editor.effect == ""


def _keys():
    """The keys that the main window listens to."""
    import slicer
    from PySide6 import QtGui

    found = slicer.util.mainWindow().findChildren(QtGui.QShortcut)
    return [one.key.toString() for one in found if one.enabled]


def test_keys_and_views_are_let_go_when_the_module_is_left_or_the_section_folded(views, widget, section, draft):
    assert _keys() == []
    _begin(widget, section, draft)
    ours = {"S", "D", "E", "O", "C", "U"}
    assert ours | {"Q", "W", "Z", "1"} <= set(_keys())
    section._editor.setEffect("Paint")
    widget.exit()
    assert _keys() == []
    assert section._editor.effect == ""
    assert not section._editor.widget._views_observed
    widget.enter()
    assert ours <= set(_keys())
    section.ui.correctionCollapsibleButton.collapsed = True
    assert _keys() == []
    section.ui.correctionCollapsibleButton.collapsed = False
    assert ours <= set(_keys())
    section.ui.doneButton.click()
    assert _keys() == []


def test_our_keys_are_none_of_the_editor_s(views, widget, section, draft):
    _begin(widget, section, draft)
    assert len(_keys()) == len(set(_keys())) > 30


# ---- ending and coming back ------------------------------------------------------------------------------------------


def test_done_completes_the_segments_and_shows_the_correction_as_the_result(widget, section, draft):
    import slicer

    node = _begin(widget, section, draft)
    _paint(section, _ras(12, 8, 6), 3.0)
    edited = _voxels(node)
    widget._parameterNode.resultSegmentation = draft  # the user looks at the draft's volumes meanwhile
    section.ui.doneButton.click()
    parameters, logic = widget._parameterNode, slicer.vtkSlicerSegmentationsModuleLogic
    assert parameters.correctedSegmentation is None
    assert parameters.resultSegmentation is node
    assert logic.GetSegmentStatus(node.GetSegmentation().GetSegment("left")) == logic.Completed
    assert draft.GetDisplayVisibility() == 0
    assert _voxels(node) == edited
    assert section.ui.correctButton.text == "Go on correcting"
    section.ui.correctButton.click()
    assert parameters.correctedSegmentation is node
    assert logic.GetSegmentStatus(node.GetSegmentation().GetSegment("left")) == logic.InProgress
    assert section.ui.changesLabel.text != "Unchanged since the draft."


def test_correcting_a_draft_again_goes_on_with_its_correction(widget, section, draft):
    node = _begin(widget, section, draft)
    section.ui.doneButton.click()
    assert _begin(widget, section, draft) is node
    assert corrections_of(draft) == [node]


def test_leaving_and_coming_back_keeps_the_work_and_the_undo(widget, section, draft):
    node = _begin(widget, section, draft)
    before = _voxels(node)
    _paint(section, _ras(12, 8, 6), 3.0)
    edited = _voxels(node)
    widget.exit()
    assert _voxels(node) == edited
    widget.enter()
    assert widget._parameterNode.correctedSegmentation is node
    assert _is_editing(section)
    section._editor.widget.undo()
    assert _voxels(node) == before


def test_a_saved_scene_brings_the_correction_and_its_draft_back(widget, section, draft, tmp_path):
    import slicer

    node = _begin(widget, section, draft)
    _paint(section, _ras(12, 8, 6), 3.0)
    edited, name = _voxels(node), node.GetName()
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert not _is_editing(section)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    restored = widget._parameterNode.correctedSegmentation
    assert restored.GetName() == name
    assert _voxels(restored) == edited
    assert draft_of(restored).GetName() == "case segmentation"
    assert section._editor.widget.segmentationNode() is restored
    assert section.ui.changesLabel.text.startswith("Changed: +")
    _paint(section, _ras(6, 8, 6), 1.2, erase=True)
    assert _voxels(restored) != edited


def test_closing_the_scene_while_editing_is_safe(widget, section, draft):
    import slicer

    _begin(widget, section, draft)
    section._editor.setEffect("Paint")
    slicer.mrmlScene.Clear(0)
    assert not _is_editing(section)
    assert widget._parameterNode.correctedSegmentation is None
    array = np.zeros(GRID.shape, np.uint8)
    array[4:9, 4:14, 4:10] = 1
    node = _begin(widget, section, _draft(array, GRID, [Label(1, "left", "Left")]))
    before = _voxels(node)
    _paint(section, _ras(12, 8, 6), 3.0)
    assert _voxels(node) != before


def test_reloading_the_module_lets_go_of_everything_and_loses_nothing(views, widget, section, draft, open_panel):
    node = _begin(widget, section, draft)
    _paint(section, _ras(12, 8, 6), 3.0)
    edited = _voxels(node)
    widget.cleanup()
    assert _keys() == []
    assert not section._timer.active
    again = open_panel()
    assert again._parameterNode.correctedSegmentation is node
    assert _voxels(node) == edited
    assert _is_editing(again.sections[2])


def test_the_volume_deleted_while_editing_is_safe(widget, section, draft):
    import slicer

    node = _begin(widget, section, draft)
    before = _voxels(node)
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("case"))
    assert _voxels(node) == before
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
    before = _voxels(draft)
    node = _begin(widget, section, draft)
    center = reference.grid.ijk_to_ras_points(np.argwhere(reference.mask(reference.labels[0]))[:, ::-1]).mean(0)
    _paint(section, center, 3.0, erase=True)
    section.ui.doneButton.click()
    path = widget.logic.saveSegmentation(node, tmp_path / "corrected.seg.nrrd")
    written = read_label_map(path)
    assert [label.id for label in written.labels] == [first, second]
    counts = {label.id: int(written.mask(label).sum()) for label in written.labels}
    assert counts[second] == before[second]
    assert 0 < before[first] - counts[first] <= 123  # voxels of 1 mm in a sphere of 3 mm
    assert [dict(label.tags)[mrml.STATUS_TAG] for label in written.labels] == ["completed", "flagged"]
    assert "finished_utc" in json.loads(read_metadata(path)[mrml.PROVENANCE])["correction"]
