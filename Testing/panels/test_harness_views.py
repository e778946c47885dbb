"""The layout manager of the harness: real view nodes and logics, found where Slicer has them."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures_scene import make_grid, make_volume

SHAPE = (16, 24, 20)


@pytest.fixture
def layout(medsegai):
    from harness.views import open_views

    with open_views() as manager:
        yield manager


@pytest.fixture
def volume(medsegai):
    import slicer

    return make_volume(slicer, np.zeros(SHAPE, np.float32), make_grid(SHAPE), "case")


def test_without_views_there_is_no_layout_manager_and_no_window(medsegai):
    import slicer

    from harness.views import open_views

    assert slicer.app.layoutManager() is None
    assert slicer.util.mainWindow() is None
    with open_views() as manager:
        assert slicer.app.layoutManager() is manager
        assert slicer.util.mainWindow() is not None
    assert slicer.app.layoutManager() is None
    assert slicer.util.mainWindow() is None
    assert slicer.app.applicationLogic().GetSliceLogics().GetNumberOfItems() == 0


def test_the_four_up_layout_has_three_slice_views_and_a_3d_view(layout):
    assert layout.sliceViewNames() == ("Red", "Green", "Yellow")
    assert layout.threeDViewCount == 1
    assert layout.threeDWidget(0).mrmlViewNode().GetID() == "vtkMRMLViewNode1"
    assert [layout.sliceWidget(name).mrmlSliceNode().GetOrientation() for name in layout.sliceViewNames()] == [
        "Axial", "Coronal", "Sagittal",
    ]  # fmt: skip


def test_slicer_util_shows_a_volume_in_all_slice_views(layout, volume):
    import slicer

    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    composites = [layout.sliceWidget(name).mrmlSliceCompositeNode() for name in layout.sliceViewNames()]
    assert [composite.GetBackgroundVolumeID() for composite in composites] == [volume.GetID()] * 3
    bounds = np.zeros(6)
    volume.GetRASBounds(bounds)
    assert bounds[4] <= layout.sliceWidget("Red").sliceLogic().GetSliceOffset() <= bounds[5]


def test_a_slice_view_goes_to_an_offset_and_to_a_position(layout, volume):
    import slicer

    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    layout.sliceWidget("Red").sliceController().setSliceOffsetValue(5.0)
    assert layout.sliceWidget("Red").mrmlSliceNode().GetSliceOffset() == pytest.approx(5.0)
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, 1.0, 2.0, 3.0)
    offsets = {name: layout.sliceWidget(name).mrmlSliceNode().GetSliceOffset() for name in layout.sliceViewNames()}
    # the normal of Slicer's sagittal view points to the patient's left
    assert offsets == {"Red": pytest.approx(3), "Green": pytest.approx(2), "Yellow": pytest.approx(-1)}


def test_views_outlive_the_closing_of_the_scene(layout, volume):
    import slicer

    slicer.util.setSliceViewerLayers(background=volume)
    slicer.mrmlScene.Clear(0)
    widget = layout.sliceWidget("Red")
    assert slicer.mrmlScene.GetNodeByID(widget.mrmlSliceNode().GetID()) is widget.mrmlSliceNode()
    assert not widget.mrmlSliceCompositeNode().GetBackgroundVolumeID()
    assert layout.threeDViewCount == 1


def test_another_layout_is_chosen(layout):
    import slicer

    seen = []
    layout.layoutChanged.connect(seen.append)
    layout.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    assert layout.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    assert seen == [slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView]
