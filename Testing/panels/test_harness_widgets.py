"""The stand-ins for Slicer's widgets behave as Slicer's do, on the real scene."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures_scene import make_grid, make_volume

SHAPE = (16, 24, 20)


@pytest.fixture
def volume(medsegai):
    import slicer

    return make_volume(slicer, np.zeros(SHAPE, np.float32), make_grid(SHAPE), "case")


def add_segmentation(volume, *names):
    """A segmentation on the volume's grid with empty segments."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "draft")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name in names:
        node.GetSegmentation().AddEmptySegment(name, name)
    return node


def texts(combo) -> list[str]:
    inner = combo._combo
    return [inner.itemText(n) for n in range(inner.count) if inner.itemText(n)]


@pytest.fixture
def selector(medsegai):
    import slicer

    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo.setMRMLScene(slicer.mrmlScene)
    return combo


def test_a_node_selector_lists_nodes_and_what_can_be_done(volume, selector):
    selector.renameEnabled = selector.noneEnabled = True
    assert texts(selector) == [
        "None", "case", "Rename current Volume", "Create new Volume", "Delete current Volume",
    ]  # fmt: skip


def test_a_renamed_node_is_shown_with_its_new_name_and_announced_again(volume, selector):
    changes = []
    selector.currentNodeChanged.connect(changes.append)
    volume.SetName("other")
    assert selector._combo.currentText == "other"
    assert selector.currentNode() is volume
    assert changes == [volume]
    volume.SetAttribute("some", "thing")
    assert changes == [volume]


def test_a_node_selector_with_an_attribute_lists_only_such_nodes(volume, selector):
    selector.addAttribute("vtkMRMLScalarVolumeNode", "MedSegAI.Map", "entropy")
    assert selector.nodeCount() == 0
    volume.SetAttribute("MedSegAI.Map", "entropy")
    assert selector.nodeCount() == 1
    assert selector.addNode().GetAttribute("MedSegAI.Map") == "entropy"


def test_a_removed_node_gives_way_to_the_next_one_and_the_last_one_to_the_one_before(volume, selector):
    """As a QComboBox does, and so does Slicer, even where None may be chosen."""
    import slicer

    selector.noneEnabled = True
    second, third = (make_volume(slicer, np.zeros(SHAPE, np.float32), make_grid(SHAPE), name) for name in "bc")
    seen = []
    selector.setCurrentNode(second)
    selector.currentNodeChanged.connect(seen.append)
    slicer.mrmlScene.RemoveNode(second)
    slicer.mrmlScene.RemoveNode(third)
    slicer.mrmlScene.RemoveNode(volume)
    assert seen == [third, volume, None]


def test_a_selector_without_a_scene_is_disabled_and_remembers_what_it_was_asked_for(volume):
    import slicer

    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo.noneEnabled = True
    combo.setCurrentNode(volume)
    assert not combo.enabled
    assert combo.currentNode() is None
    combo.setMRMLScene(slicer.mrmlScene)
    assert combo.enabled
    assert combo.currentNode() is volume


def test_the_segments_table_shows_and_hides_segments(volume):
    import slicer

    node = add_segmentation(volume, "front", "back")
    view = slicer.qMRMLSegmentsTableView()
    view.setMRMLScene(slicer.mrmlScene)
    view.setSegmentationNode(node)
    assert view.displayedSegmentIDs() == ("front", "back")
    view.tableWidget().clicked.emit(view.model().index(1, 0))
    assert [node.GetDisplayNode().GetSegmentVisibility(one) for one in ("front", "back")] == [True, False]
    node.GetSegmentation().GetSegment("back").SetName("posterior")
    assert view.model().item(1, 3).text() == "posterior"
    chosen = []
    view.selectionChanged.connect(lambda *_: chosen.append(view.selectedSegmentIDs()))
    view.setSelectedSegmentIDs(["back"])
    assert chosen == [("back",)]


def test_the_table_view_shows_titles_units_and_descriptions(medsegai):
    import slicer
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "results")
    column = vtk.vtkDoubleArray()
    column.SetName("hd95_mm")
    column.InsertNextValue(2.5)
    node.AddColumn(column)
    node.SetColumnTitle("hd95_mm", "HD 95")
    node.SetColumnUnitLabel("hd95_mm", "mm")
    node.SetColumnDescription("hd95_mm", "The 95th percentile.")
    view = slicer.qMRMLTableView()
    view.setMRMLScene(slicer.mrmlScene)
    view.setMRMLTableNode(node)
    model = view.sortFilterProxyModel()
    assert [model.index(row, 0).data() for row in range(model.rowCount())] == ["hd95_mm", "2.5"]
    node.SetUseColumnTitleAsColumnHeader(True)
    assert [model.index(row, 0).data() for row in range(model.rowCount())] == ["2.5"]
    assert view.tableModel().horizontalHeaderItem(0).text() == "HD 95 [mm]"
    assert "The 95th percentile." in view.tableModel().horizontalHeaderItem(0).toolTip()


def test_the_segment_selector_chooses_the_first_segment(volume):
    import slicer

    node = add_segmentation(volume, "front", "back")
    selector = slicer.qMRMLSegmentSelectorWidget()
    seen = []
    selector.currentSegmentChanged.connect(seen.append)
    selector.setMRMLScene(slicer.mrmlScene)
    assert (selector.currentNode(), selector.currentSegmentID()) == (node, "front")
    selector.setCurrentSegmentID("back")
    node.GetSegmentation().RemoveSegment("back")
    assert seen == ["front", "back", "front"]


@pytest.fixture
def editor(volume):
    import slicer

    widget = slicer.qMRMLSegmentEditorWidget()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    widget.setMRMLSegmentEditorNode(node)
    widget.setMRMLScene(slicer.mrmlScene)
    widget.setSegmentationNode(add_segmentation(volume, "front", "back"))
    widget.setSourceVolumeNode(volume)
    return widget


def voxels(widget, segment_id: str) -> int:
    import slicer

    node = widget.segmentationNode()
    return int(slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, widget.sourceVolumeNode()).sum())


def center_of(volume) -> np.ndarray:
    bounds = np.zeros(6)
    volume.GetRASBounds(bounds)
    return bounds.reshape(3, 2).mean(axis=1)


def test_the_editor_chooses_the_reference_volume_and_the_first_segment(editor, volume):
    assert editor.sourceVolumeNode() is volume
    assert editor.currentSegmentID() == "front"
    assert editor.mrmlSegmentEditorNode().GetSelectedSegmentID() == "front"


def test_strokes_are_undone_and_redone(editor, volume):
    from harness.segment_editor import paint

    editor.setMaximumNumberOfUndoStates(20)
    paint(editor, center_of(volume), 3.0)
    first = voxels(editor, "front")
    paint(editor, center_of(volume), 5.0)
    second = voxels(editor, "front")
    assert 0 < first < second
    editor.undo()
    assert voxels(editor, "front") == first
    editor.undo()
    assert voxels(editor, "front") == 0
    editor.redo()
    assert voxels(editor, "front") == first


def test_a_stroke_takes_voxels_from_other_segments_unless_overlap_is_allowed(editor, volume):
    from harness.segment_editor import paint

    paint(editor, center_of(volume), 5.0)
    before = voxels(editor, "front")
    editor.setCurrentSegmentID("back")
    editor.mrmlSegmentEditorNode().SetOverwriteMode(editor.mrmlSegmentEditorNode().OverwriteNone)
    paint(editor, center_of(volume), 3.0)
    assert voxels(editor, "front") == before
    editor.mrmlSegmentEditorNode().SetOverwriteMode(editor.mrmlSegmentEditorNode().OverwriteAllSegments)
    paint(editor, center_of(volume), 3.0)
    assert voxels(editor, "front") == before - voxels(editor, "back")


def test_erasing_takes_voxels_away(editor, volume):
    from harness.segment_editor import paint

    paint(editor, center_of(volume), 5.0)
    whole = voxels(editor, "front")
    paint(editor, center_of(volume), 3.0, erase=True)
    assert 0 < voxels(editor, "front") < whole


def test_a_mask_keeps_strokes_inside_a_segment(editor, volume):
    import slicer

    from harness.segment_editor import paint

    paint(editor, center_of(volume), 3.0)
    inside = voxels(editor, "front")
    editor.setCurrentSegmentID("back")
    node = editor.mrmlSegmentEditorNode()
    node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    node.SetMaskSegmentID("front")
    node.SetOverwriteMode(node.OverwriteNone)
    paint(editor, center_of(volume), 6.0)
    assert voxels(editor, "back") == inside


def test_effects_are_chosen_by_name_and_kept_in_the_editor_node(editor):
    editor.setEffectNameOrder(["Paint", "Erase"])
    editor.unorderedEffectsVisible = False
    assert editor.effectCount() == 2
    editor.setActiveEffectByName("Erase")
    assert editor.activeEffect().name == "Erase"
    editor.activeEffect().setParameter("BrushSphere", 1)
    assert editor.mrmlSegmentEditorNode().GetAttribute("Erase.BrushSphere") == "1"
    editor.setSegmentationNode(None)
    assert editor.activeEffect() is None


def test_keys_choose_effects_and_segments_and_undo_until_they_are_uninstalled(editor, volume):
    import slicer
    from PySide6 import QtCore
    from PySide6.QtTest import QTest

    from harness.segment_editor import paint
    from harness.views import open_views

    with open_views():
        window = slicer.util.mainWindow()
        window.show()
        window.activateWindow()
        QTest.qWaitForWindowActive(window, 5000)
        editor.setEffectNameOrder(["Erase", "Paint"])
        paint(editor, center_of(volume), 3.0)
        editor.installKeyboardShortcuts(window)
        QTest.keyClick(window, QtCore.Qt.Key_1)
        assert editor.activeEffect().name == "Erase"
        QTest.keyClick(window, QtCore.Qt.Key_Escape)
        assert editor.activeEffect() is None
        QTest.keyClick(window, QtCore.Qt.Key_W)
        assert editor.currentSegmentID() == "back"
        QTest.keyClick(window, QtCore.Qt.Key_Z)
        assert voxels(editor, "front") == 0
        editor.uninstallKeyboardShortcuts()
        QTest.keyClick(window, QtCore.Qt.Key_2)
        assert editor.activeEffect() is None


def test_a_read_only_editor_has_no_effects(editor):
    editor.setReadOnly(True)
    assert not any(button.isEnabled() for button in editor._parts._buttons.values())
    editor.setReadOnly(False)
    assert all(button.isEnabled() for button in editor._parts._buttons.values())


def test_the_source_volume_is_shown_in_the_slice_views(volume):
    import slicer

    from harness.views import open_views

    with open_views() as layout_manager:
        widget = slicer.qMRMLSegmentEditorWidget()
        widget.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
        widget.setMRMLScene(slicer.mrmlScene)
        widget.setSegmentationNode(add_segmentation(volume, "front"))
        composite = layout_manager.sliceWidget("Red").mrmlSliceCompositeNode()
        assert composite.GetBackgroundVolumeID() == volume.GetID()


def test_a_stroke_lies_where_it_is_in_the_world_under_a_transform(volume):
    """A segmentation and its volume that are moved by 100 mm are painted 100 mm away."""
    import slicer

    from fixtures_scene import linear_transform
    from harness.segment_editor import paint

    moved = np.eye(4)
    moved[0, 3] = 100
    transform = linear_transform(slicer, moved)
    node = add_segmentation(volume, "front")
    for one in (volume, node):
        one.SetAndObserveTransformNodeID(transform.GetID())
    widget = slicer.qMRMLSegmentEditorWidget()
    widget.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    widget.setMRMLScene(slicer.mrmlScene)
    widget.setSegmentationNode(node)
    paint(widget, (106.0, 11.0, 7.0), 0.5)  # the grid's voxels are 1 mm wide and begin at 0
    found = slicer.util.arrayFromSegmentBinaryLabelmap(node, "front", volume)
    assert [place.tolist() for place in np.argwhere(found)] == [[7, 11, 6]]


def test_the_editor_survives_the_closing_of_the_scene(editor):
    import slicer

    slicer.mrmlScene.Clear(0)
    assert editor.segmentationNode() is None
    editor.updateWidgetFromMRML()
