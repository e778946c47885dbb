"""How a segmentation is shown is kept in its display node."""

import numpy as np
import pytest

import fixtures_scene
from fixtures_scene import make_grid
from MedSegAICore import mrml, mrml_display
from MedSegAICore.image import Label, LabelMap

scene = fixtures_scene.scene

CLOSED = "Closed surface"


@pytest.fixture
def node(scene):
    array = np.zeros((9, 10, 11), np.uint8)
    array[2:7, 2:8, 2:9] = 1
    return mrml.segmentation_from_label_map(LabelMap(array, make_grid(array.shape), (Label(1, "a", "A"),)))


@pytest.mark.parametrize(("style", "fill", "outline"), [("outline", 0, 1), ("fill", 1, 0), ("both", 1, 1)])
def test_the_style_of_slice_views(node, style, fill, outline):
    display = node.GetDisplayNode()
    display.SetVisibility2D(False)
    assert mrml_display.slice_style(node) == ""
    mrml_display.set_slice_style(node, style)
    assert (display.GetVisibility2DFill(), display.GetVisibility2DOutline()) == (fill, outline)
    assert display.GetVisibility2D()
    assert mrml_display.slice_style(node) == style


def test_a_hidden_segmentation_has_no_style(node):
    node.GetDisplayNode().SetVisibility(False)
    assert mrml_display.slice_style(node) == ""
    assert not mrml_display.surfaces_shown(node)


def test_surfaces_are_made_when_they_are_wanted_and_go_with_it(node):
    segmentation = node.GetSegmentation()
    assert not mrml_display.surfaces_shown(node)
    mrml_display.show_surfaces(node, True)
    assert mrml_display.surfaces_shown(node)
    surface = segmentation.GetSegment("a").GetRepresentation(CLOSED)
    assert surface.GetBounds() == pytest.approx([1.5, 8.5, 1.5, 7.5, 1.5, 6.5], abs=0.5)  # smoothed
    mrml_display.show_surfaces(node, False)
    assert not mrml_display.surfaces_shown(node)
    assert not segmentation.ContainsRepresentation(CLOSED)
    assert not node.GetDisplayNode().GetVisibility3D()


def test_surfaces_that_are_all_there_is_are_only_hidden(node):
    segmentation = node.GetSegmentation()
    mrml_display.show_surfaces(node, True)
    segmentation.SetSourceRepresentationName(CLOSED)
    mrml_display.show_surfaces(node, False)
    assert segmentation.ContainsRepresentation(CLOSED)
    assert not mrml_display.surfaces_shown(node)


def test_views_draw_again_after_a_failure(node, scene, monkeypatch):
    paused = []
    monkeypatch.setattr(scene.app, "pauseRender", lambda: paused.append(1), raising=False)
    monkeypatch.setattr(scene.app, "resumeRender", paused.pop, raising=False)
    monkeypatch.setattr(mrml_display, "_display", lambda node: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mrml_display.show_surfaces(node, True)
    assert paused == []


def test_opacity_and_visibility_of_one_segment(node):
    mrml_display.set_opacity(node, 0.25)
    mrml_display.set_segment_visible(node, "a", False)
    display = node.GetDisplayNode()
    assert mrml_display.opacity(node) == display.GetOpacity() == 0.25
    assert not display.GetSegmentVisibility("a")
