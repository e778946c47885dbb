"""An opened correction section with a draft, and what a user does in it: begin, paint, press keys.

Use in a test file: ``section = fixtures_correction.section`` and the same for the other fixtures.
"""

from __future__ import annotations

import numpy as np
import pytest

from fixtures_scene import make_grid, make_volume, rotation
from MedSegAICore import mrml
from MedSegAICore.image import Label, LabelMap

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
    return make_draft(array, GRID, [Label(1, "left", "Left", (1, 0, 0)), Label(2, "right", "Right", (0, 1, 0))])


def make_draft(array, grid, labels, provenance=PROVENANCE):
    """A segmentation of a volume named case, by a model unless ``provenance`` is None."""
    import slicer

    volume = make_volume(slicer, np.zeros(grid.shape, np.int16), grid, "case")
    return mrml.segmentation_from_label_map(LabelMap(array, grid, labels), volume, provenance=provenance)


def is_editing(section):
    """Whether the editor is shown and the choice is not; exactly one of them is."""
    assert section.ui.editingWidget.isHidden() != section.ui.choiceWidget.isHidden()
    return not section.ui.editingWidget.isHidden()


def begin(widget, section, draft):
    """Choose a segmentation and press the button; returns what is edited then."""
    widget._parameterNode.resultSegmentation = draft
    section.ui.correctButton.click()
    return widget._parameterNode.correctedSegmentation


def voxels(node):
    """The number of voxels of each segment."""
    label_map = mrml.label_map_from_segmentation(node)
    return {label.id: int(label_map.mask(label).sum()) for label in label_map.labels}


def ras(i, j, k, grid=GRID):
    """Where a voxel lies."""
    return grid.ijk_to_ras_points([[i, j, k]])[0]


def paint(section, center, radius_mm, erase=False):
    """A stroke at a place in the world."""
    from harness import segment_editor

    segment_editor.paint(section._editor.widget, center, radius_mm, erase)


def press(key, release=True):
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


def wait_for_counting(section):
    """Until the pause after the last stroke is over."""
    from harness.event_loop import wait_until

    wait_until(lambda: not section._timer.active)


def window_keys():
    """The keys that the main window listens to."""
    import slicer
    from PySide6 import QtGui

    found = slicer.util.mainWindow().findChildren(QtGui.QShortcut)
    return [one.key.toString() for one in found if one.enabled]
