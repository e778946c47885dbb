"""The result section, used as an annotator does: the segments, where they came from, how they are displayed."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

import fixtures_result
from fixtures_result import SAMPLES, add_maps_to, segmentation_of_the_sample, settle, shown, wait
from MedSegAICore.mrml import STATUS_TAG

widget, section, hippocampus, chosen = (
    fixtures_result.widget, fixtures_result.section, fixtures_result.hippocampus, fixtures_result.chosen,
)  # fmt: skip


def expected_ml(value):
    """By SimpleITK."""
    image = sitk.ReadImage(str(SAMPLES / "hippocampus_303_label.nii.gz"))
    return int((sitk.GetArrayFromImage(image) == value).sum()) * float(np.prod(image.GetSpacing())) / 1000


# ---- the table -----------------------------------------------------------------------------------------------------


def test_without_a_segmentation_one_sentence_says_what_to_do(section):
    ui = section.ui
    assert ui.sizesLabel.text == "Run a model, or choose a segmentation."
    assert not ui.sizesLabel.isHidden()
    assert ui.partsWidget.isHidden()
    # One hidden widget leaves no gap; hidden rows of a form layout leave one each.
    for name in ("resultsTable", "sliceStyleComboBox", "exportButton", "provenanceLabel", "overlaySlider"):
        assert ui.partsWidget.isAncestorOf(getattr(ui, name))


def test_the_segments_are_listed_with_their_volumes_and_colors(chosen):
    import qt

    table = chosen.ui.resultsTable
    assert table.horizontalHeaderItem(1).text() == "Volume (ml)"
    assert shown(chosen) == [
        ("Anterior", True, f"{expected_ml(1):.2f}"), ("Posterior", True, f"{expected_ml(2):.2f}"),
    ]  # fmt: skip
    assert qt.QColor(table.item(0, 0).data(qt.Qt.DecorationRole)).name() == "#ff0000"
    count = round(expected_ml(1) * 1000)  # voxels of 1 mm³
    assert table.item(0, 1).toolTip() == f"{count:,} voxels of 1 mm³ each.".replace(",", "\u2009")
    assert not chosen.ui.partsWidget.isHidden()
    assert chosen.ui.sizesLabel.isHidden()


def test_the_segmentation_of_a_run_is_shown(section, widget, hippocampus):
    widget._parameterNode.resultSegmentation = hippocampus
    assert section.ui.segmentationSelector.currentNode() is hippocampus
    assert len(shown(section)) == 2


def test_an_empty_segment_has_no_volume_and_a_tiny_one_some(chosen, hippocampus):
    import slicer

    segmentation = hippocampus.GetSegmentation()
    segmentation.AddEmptySegment("none", "Nothing yet")
    segmentation.AddEmptySegment("tiny", "Lesion")
    volume = slicer.util.getNode("hippocampus_303")
    spot = np.zeros(volume.GetImageData().GetDimensions()[::-1], np.uint8)
    spot[0, 0, :4] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(spot, hippocampus, "tiny", volume)
    wait(lambda: [row[2] for row in shown(chosen)[2:]] == ["0.00", "0.00400"])
    assert chosen.ui.resultsTable.item(2, 1).toolTip() == "This segment is empty."


def test_ticks_show_and_hide_segments_and_follow_them(chosen, hippocampus):
    import qt

    display, table = hippocampus.GetDisplayNode(), chosen.ui.resultsTable
    table.item(0, 0).setCheckState(qt.Qt.Unchecked)
    assert (display.GetSegmentVisibility("anterior"), display.GetSegmentVisibility("posterior")) == (False, True)
    display.SetSegmentVisibility("anterior", True)
    display.SetSegmentVisibility("posterior", False)
    settle()
    assert [row[1] for row in shown(chosen)] == [True, False]


def test_names_colors_and_order_follow_the_segmentation(chosen, hippocampus):
    import qt

    segmentation = hippocampus.GetSegmentation()
    segmentation.GetSegment("anterior").SetName("Head")
    segmentation.GetSegment("posterior").SetColor(0, 0, 1)
    settle()
    assert [row[0] for row in shown(chosen)] == ["Head", "Posterior"]
    assert qt.QColor(chosen.ui.resultsTable.item(1, 0).data(qt.Qt.DecorationRole)).name() == "#0000ff"
    segmentation.SetSegmentIndex("posterior", 0)
    wait(lambda: [row[2] for row in shown(chosen)] == [f"{expected_ml(2):.2f}", f"{expected_ml(1):.2f}"])
    segmentation.RemoveSegment("anterior")
    wait(lambda: shown(chosen) == [("Posterior", True, f"{expected_ml(2):.2f}")])


def test_strokes_are_counted_when_the_user_pauses_and_not_before(chosen, hippocampus, monkeypatch):
    import slicer

    from MedSegAILib.panels import result_section

    counted = []
    sizes = type(chosen.logic).segmentSizes
    monkeypatch.setattr(type(chosen.logic), "segmentSizes", lambda *a: counted.append(1) or sizes(*a))
    monkeypatch.setattr(result_section, "PAUSE_MS", 1000)
    volume = slicer.util.getNode("hippocampus_303")
    painted = np.zeros(volume.GetImageData().GetDimensions()[::-1], np.uint8)
    for stroke in range(1, 21):
        painted[:stroke, :10, :10] = 1
        slicer.util.updateSegmentBinaryLabelmapFromArray(painted, hippocampus, "anterior", volume)
        slicer.app.processEvents()
    assert counted == []
    assert shown(chosen)[0][2] == f"{expected_ml(1):.2f}"
    wait(lambda: shown(chosen)[0][2] == "2.00")
    assert counted == [1]


def test_a_deleted_segmentation_leaves_the_section_as_it_was_before(chosen, hippocampus):
    import slicer

    slicer.mrmlScene.RemoveNode(hippocampus)
    settle()
    assert chosen.ui.sizesLabel.text == "Run a model, or choose a segmentation."
    assert chosen.ui.partsWidget.isHidden()
    assert shown(chosen) == []


def test_a_segmentation_without_geometry_is_said_in_a_sentence(section):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "new")
    section.ui.segmentationSelector.setCurrentNode(node)
    assert section.ui.sizesLabel.text == "There are no segments."
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.GetSegmentation().AddEmptySegment("a", "A")
    wait(lambda: "has no reference geometry" in section.ui.sizesLabel.text)
    assert shown(section) == [("A", True, "")]


def test_nothing_is_followed_after_the_panel_is_left(chosen, hippocampus, widget):
    widget.exit()
    hippocampus.GetSegmentation().GetSegment("anterior").SetName("Head")
    settle()
    assert shown(chosen) == []
    widget.enter()
    assert [row[0] for row in shown(chosen)] == ["Head", "Posterior"]


def test_a_scene_closed_while_a_stroke_waits_to_be_counted(chosen, hippocampus):
    import slicer

    hippocampus.GetSegmentation().AddEmptySegment("new")
    slicer.mrmlScene.Clear(0)
    settle()
    assert chosen.ui.partsWidget.isHidden()


# ---- where it came from --------------------------------------------------------------------------------------------


def test_the_origin_and_the_warnings_are_said(chosen, medsegai, monkeypatch):
    title = chosen.logic.modelTitle("hippocampus")
    assert chosen.ui.provenanceLabel.text == (
        f"{title} 1.0.0, standard, CPU, 2026-11-21 10:20 UTC. Draft: not reviewed."
    )
    assert chosen.ui.warningsLabel.text == "Warning: The spacing is 3 mm."


@pytest.mark.parametrize(
    ("device", "text"),
    [("cpu (8 threads)", "CPU"), ("cuda (NVIDIA H100, 80 GiB)", "NVIDIA H100"), ("mps (arm)", "MPS"), ("cuda", "CUDA")],
)
def test_the_device_is_named_as_people_know_it(section, medsegai, device, text):
    node = segmentation_of_the_sample({"model": {"id": "gone", "version": 2}, "run": {"device": device}})
    section.ui.segmentationSelector.setCurrentNode(node)
    assert section.ui.provenanceLabel.text == f"gone 2, {text}. Draft: not reviewed."


def test_the_review_is_told_from_the_status_of_the_segments(chosen, hippocampus):
    segmentation = hippocampus.GetSegmentation()
    segmentation.GetSegment("anterior").SetTag(STATUS_TAG, "completed")
    settle()
    assert chosen.ui.provenanceLabel.text.endswith("UTC. Draft: 1 of 2 segments reviewed.")
    segmentation.GetSegment("posterior").SetTag(STATUS_TAG, "completed")
    settle()
    assert chosen.ui.provenanceLabel.text.endswith("UTC. Reviewed.")


def test_a_model_that_is_gone_is_named_by_its_id_and_what_is_not_known_left_out(section, medsegai):
    node = segmentation_of_the_sample({"model": {"id": "gone"}, "time_utc": "some time"})
    section.ui.segmentationSelector.setCurrentNode(node)
    assert section.ui.provenanceLabel.text == "gone. Draft: not reviewed."


def test_a_segmentation_made_by_hand_has_no_origin(section, medsegai):
    section.ui.segmentationSelector.setCurrentNode(segmentation_of_the_sample(None))
    assert section.ui.provenanceLabel.isHidden()
    assert section.ui.warningsLabel.isHidden()


# ---- display -------------------------------------------------------------------------------------------------------


def test_outline_and_fill_are_chosen_and_follow_the_display_node(chosen, hippocampus):
    combo, display = chosen.ui.sliceStyleComboBox, hippocampus.GetDisplayNode()
    assert combo.currentText == "Outline and fill"
    combo.setCurrentIndex(combo.findText("Outline"))
    assert (display.GetVisibility2DFill(), display.GetVisibility2DOutline()) == (0, 1)
    display.SetVisibility2DFill(True)
    display.SetVisibility2DOutline(False)
    settle()
    assert combo.currentText == "Fill"
    display.SetVisibility(False)
    settle()
    assert combo.currentIndex == -1


def test_the_opacity_slider(chosen, hippocampus):
    chosen.ui.opacitySlider.value = 35
    assert hippocampus.GetDisplayNode().GetOpacity() == 0.35
    hippocampus.GetDisplayNode().SetOpacity(0.8)
    settle()
    assert chosen.ui.opacitySlider.value == 80


def test_surfaces_are_made_only_when_they_are_wanted(chosen, hippocampus):
    segmentation, box = hippocampus.GetSegmentation(), chosen.ui.surfacesCheckBox
    assert not box.checked
    assert not segmentation.ContainsRepresentation("Closed surface")
    box.click()
    surface = segmentation.GetSegment("anterior").GetRepresentation("Closed surface")
    assert surface.GetNumberOfPoints() > 100
    assert hippocampus.GetDisplayNode().GetVisibility3D()
    box.click()
    assert not segmentation.ContainsRepresentation("Closed surface")
    hippocampus.CreateClosedSurfaceRepresentation()
    hippocampus.GetDisplayNode().SetVisibility3D(True)
    settle()
    assert box.checked


# ---- overlays ------------------------------------------------------------------------------------------------------


@pytest.fixture
def views(medsegai):
    """The composite nodes of two slice views; there is no layout manager."""
    import slicer

    nodes = []
    for name in ("ResultRed", "ResultGreen"):
        node = slicer.vtkMRMLSliceCompositeNode()
        node.SetSingletonTag(name)
        node.SetLayoutName(name)
        nodes.append(slicer.mrmlScene.AddNode(node))
    yield nodes
    for node in nodes:
        slicer.mrmlScene.RemoveNode(node)


def entries(combo):
    return [combo.itemText(number) for number in range(combo.count)]


def test_without_maps_the_overlay_says_how_to_get_them(chosen):
    combo = chosen.ui.overlayComboBox
    assert entries(combo) == ["None"]
    assert not combo.enabled
    assert "tick Uncertainty or Probabilities under Advanced" in combo.toolTip
    assert chosen.ui.overlaySlider.isHidden()


def test_a_map_is_laid_over_all_views_and_taken_away(chosen, hippocampus, views, widget):
    import slicer

    below = slicer.util.getNode("hippocampus_303")
    views[0].SetForegroundVolumeID(below.GetID())
    views[0].SetForegroundOpacity(0.25)
    unsure, _anterior, posterior = add_maps_to(hippocampus)
    settle()
    combo = chosen.ui.overlayComboBox
    assert entries(combo) == ["None", "Uncertainty", "Probability of Anterior", "Probability of Posterior"]
    combo.setCurrentIndex(1)
    assert [view.GetForegroundVolumeID() for view in views] == [unsure.GetID()] * 2
    assert widget._parameterNode.overlayVolume is unsure
    chosen.ui.overlaySlider.value = 70
    assert [view.GetForegroundOpacity() for view in views] == [0.7, 0.7]
    combo.setCurrentIndex(3)
    assert [view.GetForegroundVolumeID() for view in views] == [posterior.GetID()] * 2
    combo.setCurrentIndex(0)
    assert [view.GetForegroundVolumeID() for view in views] == [below.GetID(), None]
    assert views[0].GetForegroundOpacity() == 0.25


def test_a_foreground_that_the_user_put_there_meanwhile_is_left_alone(chosen, hippocampus, views, widget):
    import slicer

    add_maps_to(hippocampus)
    settle()
    chosen.ui.overlayComboBox.setCurrentIndex(1)
    own = slicer.util.getNode("hippocampus_303").GetID()
    views[0].SetForegroundVolumeID(own)
    hippocampus.SetName("other name")
    settle()
    widget.exit()
    widget.enter()
    assert views[0].GetForegroundVolumeID() == own
    chosen.ui.overlayComboBox.setCurrentIndex(0)
    assert [view.GetForegroundVolumeID() for view in views] == [own, None]


def test_views_of_another_layout_show_the_overlay_too(chosen, hippocampus, views):
    import slicer

    unsure, *_ = add_maps_to(hippocampus)
    settle()
    chosen.ui.overlayComboBox.setCurrentIndex(1)
    views[0].SetForegroundVolumeID(None)
    new = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    settle()
    assert [view.GetForegroundVolumeID() for view in (*views, new)] == [None, unsure.GetID(), unsure.GetID()]
    assert new.GetForegroundOpacity() == 0.5
    chosen.ui.overlayComboBox.setCurrentIndex(0)
    assert new.GetForegroundVolumeID() is None


@pytest.mark.parametrize("what", ["another segmentation", "the map is deleted", "a new run", "the scene is closed"])
def test_the_overlay_goes_when_it_is_no_longer_of_what_is_shown(chosen, hippocampus, views, widget, what):
    import slicer

    unsure, *_ = add_maps_to(hippocampus)
    settle()
    chosen.ui.overlayComboBox.setCurrentIndex(1)
    if what == "another segmentation":
        chosen.ui.segmentationSelector.setCurrentNode(segmentation_of_the_sample())
    elif what == "the map is deleted":
        slicer.mrmlScene.RemoveNode(unsure)
    elif what == "a new run":
        add_maps_to(hippocampus)
    else:
        slicer.mrmlScene.Clear(0)
    settle()
    assert [view.GetForegroundVolumeID() for view in views] == [None, None]
    assert widget._parameterNode.overlayVolume is None
    assert [view.GetAttribute("MedSegAI.ForegroundOpacityBefore") for view in views] == [None, None]


# ---- the scene -----------------------------------------------------------------------------------------------------


def test_a_saved_scene_brings_everything_back(chosen, hippocampus, views, widget, tmp_path):
    import slicer

    add_maps_to(hippocampus)
    settle()
    ui = chosen.ui
    ui.overlayComboBox.setCurrentIndex(2)
    ui.overlaySlider.value = 70
    ui.sliceStyleComboBox.setCurrentIndex(ui.sliceStyleComboBox.findText("Outline"))
    ui.opacitySlider.value = 60
    ui.surfacesCheckBox.click()
    rows, origin = shown(chosen), ui.provenanceLabel.text
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    settle()
    assert ui.partsWidget.isHidden()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    widget.initializeParameterNode()
    settle()
    assert ui.segmentationSelector.currentNode().GetName() == "hippocampus_303 segmentation"
    assert (shown(chosen), ui.provenanceLabel.text) == (rows, origin)
    assert (ui.sliceStyleComboBox.currentText, ui.opacitySlider.value) == ("Outline", 60)
    assert ui.surfacesCheckBox.checked
    assert (ui.overlayComboBox.currentText, ui.overlaySlider.value) == ("Probability of Anterior", 70)
    anterior = slicer.util.getNode("Anterior probability")
    assert [view.GetForegroundVolumeID() for view in views] == [anterior.GetID()] * 2
    ui.overlayComboBox.setCurrentIndex(0)
    assert [view.GetForegroundVolumeID() for view in views] == [None, None]


def test_every_control_has_a_tool_tip(chosen):
    import qt

    kinds = (qt.QComboBox, qt.QSlider, qt.QCheckBox, qt.QPushButton, qt.QTableWidget)
    controls = [control for control in vars(chosen.ui).values() if isinstance(control, kinds)]
    assert len(controls) >= 10
    assert [control.objectName() for control in controls if not control.toolTip] == []


@pytest.mark.parametrize("style", ["light", "dark"])
@pytest.mark.parametrize("state", ["empty", "of a run", "failed export", "many segments"])
def test_nothing_is_cut_at_the_width_of_the_module_panel(section, hippocampus, tmp_path, style, state):
    from harness import application, picture

    ui = section.ui
    application.set_style(style)
    try:
        if state != "empty":
            ui.segmentationSelector.setCurrentNode(hippocampus)
            add_maps_to(hippocampus)
            settle()
            ui.overlayComboBox.setCurrentIndex(2)
        if state == "failed export":
            ui.folderButton.directory = str(tmp_path / "a folder that is gone" / ("a_long_name_without_blanks" * 4))
            ui.exportButton.click()
        if state == "many segments":
            for number in range(30):
                hippocampus.GetSegmentation().AddEmptySegment(f"s{number}", f"Structure {number}")
            ui.formatComboBox.setCurrentIndex(2)
            settle()
        assert picture.save(section, tmp_path / "section.png", width=400) == []
    finally:
        application.set_style("light")
