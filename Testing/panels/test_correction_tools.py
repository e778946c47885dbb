"""The keys and buttons of the correction: where they lead, what they show, and that they are given back."""

from __future__ import annotations

import numpy as np
import pytest

import fixtures_correction
from fixtures_correction import GRID, begin, press, ras, window_keys
from MedSegAICore.image import Image
from MedSegAICore.mrml_maps import add_maps

views, widget = fixtures_correction.views, fixtures_correction.widget
section, draft = fixtures_correction.section, fixtures_correction.draft


def _red(views):
    return views.sliceWidget("Red").mrmlSliceNode()


def _align(views, name="Red"):
    node = views.sliceWidget(name).mrmlSliceNode()
    import slicer

    node.RotateToVolumePlane(slicer.util.getNode("case"))
    node.JumpSliceByCentering(*ras(2, 2, 2))
    return node


def test_keys_go_to_the_slices_with_the_segment(views, widget, section, draft):
    """Planes K = 4 to 8 hold the segment, the view shows K = 2; the volume lies oblique in the world."""
    begin(widget, section, draft)
    red = _align(views)
    up = red.GetSliceToRAS().MultiplyPoint((0, 0, 1, 0))[:3]
    key, other = ("D", "S") if np.dot(up, GRID.ijk_to_ras[:3, 2]) > 0 else ("S", "D")
    start = red.GetSliceOffset()
    offsets = []
    for _ in range(6):
        press(key)
        offsets.append(abs(red.GetSliceOffset() - start))
    assert offsets == pytest.approx([4, 6, 8, 10, 12, 12], abs=0.01)
    assert section.ui.messageLabel.text == "There is no further slice with Left in this direction."
    press(other)
    assert abs(red.GetSliceOffset() - start) == pytest.approx(10, abs=0.01)
    assert section.ui.messageLabel.text == ""


def test_keys_move_the_view_under_the_mouse(views, widget, section, draft):
    import slicer

    begin(widget, section, draft)
    green, red = _align(views, "Green"), _align(views)
    crosshair = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCursorPositionXYZ([5.0, 5.0, 0.0], green)
    before = (green.GetSliceOffset(), red.GetSliceOffset())
    press("S")
    press("D")
    press("D")
    slicer.mrmlScene.RemoveNode(crosshair)
    assert green.GetSliceOffset() != before[0]
    assert red.GetSliceOffset() == before[1]


def test_buttons_do_what_the_keys_do_and_say_which(views, widget, section, draft):
    begin(widget, section, draft)
    red = _align(views)
    start = red.GetSliceOffset()
    section.ui.nextButton.click()
    section.ui.previousButton.click()
    assert red.GetSliceOffset() != start
    for button, key in (("previous", "S"), ("next", "D"), ("outline", "O"), ("draft", "C")):
        assert f"({key})" in getattr(section.ui, f"{button}Button").toolTip
        assert f"<b>{key}" in section.ui.shortcutsLabel.text or f", {key}</b>" in section.ui.shortcutsLabel.text


def test_uncertain_slices_come_in_turn_where_the_model_said_so(views, widget, section, draft):
    begin(widget, section, draft)
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
        press("U")
        distances.append(abs(red.GetSliceOffset() - start))
    assert distances == pytest.approx([14, 2, 14], abs=0.01)
    assert "(U)" in section.ui.uncertainButton.toolTip


def test_outline_and_draft_are_toggled_by_keys_and_colors_stay(views, widget, section, draft):
    node = begin(widget, section, draft)
    display = node.GetDisplayNode()
    press("O")
    assert display.GetVisibility2DOutline()
    assert not display.GetVisibility2DFill()
    assert section.ui.outlineButton.checked
    press("O")
    assert display.GetVisibility2DFill()
    assert not section.ui.outlineButton.checked
    press("C")
    outline = draft.GetNthDisplayNode(1)
    assert outline.GetVisibility()
    assert not outline.GetVisibility2DFill()
    assert section.ui.draftButton.checked
    press("C")
    assert not outline.GetVisibility()
    assert draft.GetSegmentation().GetSegment("left").GetColor() == (1.0, 0.0, 0.0)


def test_e_erases_while_it_is_held(views, widget, section, draft):
    import qt
    import slicer
    from PySide6 import QtCore, QtGui, QtTest

    begin(widget, section, draft)
    section._editor.setEffect("Paint")
    window = slicer.util.mainWindow()
    press("E", release=False)
    assert section._editor.effect == "Erase"
    repeated = QtGui.QKeyEvent(QtCore.QEvent.KeyRelease, qt.Qt.Key_E, QtCore.Qt.NoModifier, "e", True)
    qt.QApplication.sendEvent(window, repeated)
    assert section._editor.effect == "Erase"
    QtTest.QTest.keyRelease(window, qt.Qt.Key_E)
    assert section._editor.effect == "Paint"
    section._editor.setEffect("")
    press("E")
    assert section._editor.effect == ""


def test_letting_go_of_e_during_a_stroke_ends_erasing_after_the_stroke(views, widget, section, draft, monkeypatch):
    import qt
    import slicer
    from PySide6 import QtTest

    from harness.event_loop import wait_until

    begin(widget, section, draft)
    section._editor.setEffect("Paint")
    window = slicer.util.mainWindow()
    press("E", release=False)
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

    node = begin(widget, section, draft)
    field = qt.QLineEdit(slicer.util.mainWindow())
    press("A")
    field.show()
    field.setFocus()
    QtTest.QTest.keyClicks(field, "code")
    assert field.text == "code"
    assert node.GetDisplayNode().GetVisibility2DFill()
    assert section._editor.effect == ""


def test_keys_and_views_are_let_go_when_the_module_is_left_or_the_section_folded(views, widget, section, draft):
    assert window_keys() == []
    begin(widget, section, draft)
    ours = {"S", "D", "E", "O", "C", "U"}
    assert ours | {"Q", "W", "Z", "1"} <= set(window_keys())
    section._editor.setEffect("Paint")
    widget.exit()
    assert window_keys() == []
    assert section._editor.effect == ""
    assert not section._editor.widget._views_observed
    widget.enter()
    assert ours <= set(window_keys())
    section.ui.correctionCollapsibleButton.collapsed = True
    assert window_keys() == []
    section.ui.correctionCollapsibleButton.collapsed = False
    assert ours <= set(window_keys())
    section.ui.doneButton.click()
    assert window_keys() == []


def test_our_keys_are_none_of_the_editor_s(views, widget, section, draft):
    begin(widget, section, draft)
    assert len(window_keys()) == len(set(window_keys())) > 30
