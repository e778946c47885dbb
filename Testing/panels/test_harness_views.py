"""The layout manager of the harness: real view nodes and logics, found where Slicer has them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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

    def nodes():
        every = map(slicer.mrmlScene.GetNthNode, range(slicer.mrmlScene.GetNumberOfNodes()))
        return {node.GetID() for node in every if not node.IsA("vtkMRMLSubjectHierarchyNode")}

    assert slicer.app.layoutManager() is None
    assert slicer.util.mainWindow() is None
    before = nodes()
    with open_views() as manager:
        drawn(manager.threeDWidget(0).threeDView())
        assert slicer.app.layoutManager() is manager
        assert slicer.util.mainWindow() is not None
    assert slicer.app.layoutManager() is None
    assert slicer.util.mainWindow() is None
    assert slicer.app.applicationLogic().GetSliceLogics().GetNumberOfItems() == 0
    assert nodes() == before


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


def drawn(widget) -> np.ndarray:
    """The colors (height, width, 3) that a widget shows."""
    from PySide6 import QtGui

    image = widget.grab().toImage().convertToFormat(QtGui.QImage.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3)


@pytest.fixture
def shown(layout):
    """The four views on a window of 800 x 600 pixels."""
    import slicer

    from harness.picture import lay_out

    window = slicer.util.mainWindow()
    lay_out(window, 800)
    window.resize(800, 600)
    return layout


@pytest.fixture
def half_bright(medsegai):
    """A volume whose patient-left half is black and whose right half is white, shown as it is."""
    import slicer

    array = np.zeros(SHAPE, np.float32)
    array[:, :, SHAPE[2] // 2 :] = 100  # the grid's I axis points to R
    node = make_volume(slicer, array, make_grid(SHAPE), "halves")
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(0, 100)
    return node


def test_the_right_of_the_patient_is_drawn_at_the_left(shown, half_bright):
    import slicer

    slicer.util.setSliceViewerLayers(background=half_bright, fit=True)
    picture = drawn(shown.sliceWidget("Red").sliceView())
    height, width, _ = picture.shape
    assert picture[height // 2, width // 2 - 40].tolist() == [255, 255, 255]
    assert picture[height // 2, width // 2 + 40].tolist() == [0, 0, 0]


def test_segments_are_drawn_in_slices_and_in_3d(shown, half_bright):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(half_bright)
    node.GetSegmentation().AddEmptySegment("red", "red", (1.0, 0.0, 0.0))
    mask = np.zeros(SHAPE, np.uint8)
    mask[4:12, 6:18, 5:15] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "red", half_bright)
    node.CreateClosedSurfaceRepresentation()
    node.GetDisplayNode().SetOpacity2DFill(1.0)
    slicer.util.setSliceViewerLayers(background=half_bright, fit=True)
    shown.threeDWidget(0).threeDView().resetCamera()
    for view in (shown.sliceWidget("Red").sliceView(), shown.threeDWidget(0).threeDView()):
        red, green, blue = drawn(view).astype(int).transpose(2, 0, 1)
        assert ((red > 120) & (green < 60) & (blue < 60)).mean() > 0.05


def test_the_overview_of_a_result_is_drawn_while_views_are_open(shown, half_bright, tmp_path):
    """Both use the displayable managers of the process."""
    import slicer

    from MedSegAICore.headless_views import save_overview_png

    test_segments_are_drawn_in_slices_and_in_3d(shown, half_bright)
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    save_overview_png(tmp_path / "overview.png", half_bright, node)
    assert (tmp_path / "overview.png").stat().st_size > 10000
    assert drawn(shown.sliceWidget("Red").sliceView()).max() == 255


def test_the_module_harness_writes_a_picture_of_a_panel_beside_the_views(tmp_path):
    """In a process of its own, as it is used; the script drives the panel before the picture."""
    from PySide6 import QtGui

    root = Path(__file__).resolve().parents[2]
    data = root / "MedSegAI" / "Resources" / "SampleData"
    script = tmp_path / "script.py"
    script.write_text(
        "wait(lambda: slicer.util.getNodesByClass('vtkMRMLScalarVolumeNode'))\n"
        "print('sections', len(widget.sections))\n"
    )
    command = [sys.executable, "-m", "harness", "MedSegAI", "--volume", data / "hippocampus_303.nii.gz"]
    command += ["--script", script, "--screenshot", tmp_path / "out.png", "--width", "400"]
    done = subprocess.run(command, cwd=root / "Testing", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "sections" in done.stdout
    image = QtGui.QImage(str(tmp_path / "out.png"))
    assert (image.width(), image.height()) == (1280, 800)


def test_tables_and_plots_get_views_of_their_own(shown):
    import slicer
    import vtk

    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "results")
    column = vtk.vtkDoubleArray()
    column.SetName("dice")
    for value in (0.5, 0.9):
        column.InsertNextValue(value)
    table.AddColumn(column)
    shown.setLayout(slicer.modules.tables.logic().GetLayoutWithTable(shown.layout))
    slicer.app.applicationLogic().GetSelectionNode().SetActiveTableID(table.GetID())
    slicer.app.applicationLogic().PropagateTableSelection()
    assert shown.tableViewCount == 1
    assert shown.tableWidget(0).tableView().mrmlTableNode() is table

    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "dice")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetYColumnName("dice")
    series.SetPlotType(series.PlotTypeBar)
    series.SetColor(1, 0, 0)
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", "chart")
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    slicer.modules.plots.logic().ShowChartInLayout(chart)
    assert shown.plotViewCount == 1
    red, green, _blue = drawn(shown.plotWidget(0).plotView()).astype(int).transpose(2, 0, 1)
    assert ((red > 200) & (green < 50)).mean() > 0.1


def test_a_saved_scene_comes_back_into_the_same_views(shown, half_bright, tmp_path):
    import slicer

    slicer.util.setSliceViewerLayers(background=half_bright, fit=True)
    shown.sliceWidget("Red").sliceController().setSliceOffsetValue(6.0)
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(path)
    assert shown.sliceViewNames() == ("Red", "Green", "Yellow")
    assert shown.sliceWidget("Red").mrmlSliceNode().GetSliceOffset() == pytest.approx(6.0)
    picture = drawn(shown.sliceWidget("Red").sliceView())
    assert picture[picture.shape[0] // 2, picture.shape[1] // 2 - 40].tolist() == [255, 255, 255]


def test_views_offer_nothing_that_slicers_views_hide(medsegai):
    from harness import members, node_views, view_widgets, views

    modules = (views, view_widgets, node_views)
    classes = {cls for module in modules for cls in vars(module).values() if isinstance(cls, type)}
    shown = {cls.__name__: members.invented(cls) for cls in classes if cls.__module__ in [m.__name__ for m in modules]}
    shown = {name: names for name, names in shown.items() if not name.startswith("_")}
    assert "qSlicerLayoutManager" in shown
    assert {name: names for name, names in shown.items() if names} == {}
