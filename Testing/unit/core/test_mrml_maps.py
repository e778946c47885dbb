"""Probabilities and uncertainty as volume nodes that belong to a segmentation."""

from __future__ import annotations

import numpy as np
import pytest

import fixtures_scene
from fixtures_scene import GRIDS, bspline_transform, make_volume
from MedSegAICore import mrml
from MedSegAICore.image import Image, Label, LabelMap
from MedSegAICore.mrml_maps import add_maps, maps_of

scene = fixtures_scene.scene


@pytest.fixture(params=list(GRIDS))
def nodes(scene, request):
    """A volume under a non-linear transform, its segmentation, and two maps on its grid."""
    grid = GRIDS[request.param]
    volume = make_volume(scene, np.ones(grid.shape, np.int16), grid, "volume")
    volume.SetAndObserveTransformNodeID(bspline_transform(scene).GetID())
    label_map = LabelMap(np.ones(grid.shape, np.uint8), grid, (Label(1, "all", "All"),))
    maps = np.random.default_rng(0).random((2, *grid.shape), np.float32)
    return volume, mrml.segmentation_from_label_map(label_map, volume), Image(maps, grid)


def test_maps_lie_on_the_volume_and_hide_what_is_near_zero(scene, nodes):
    volume, segmentation, image = nodes
    made = add_maps(segmentation, volume, "probability", image, ["front", "back"])
    assert [node.GetName() for node in made] == ["front", "back"]
    for node, channel in zip(made, image.array, strict=True):
        assert np.array_equal(scene.util.arrayFromVolume(node), channel)
        assert mrml.grid_from_volume(node).matches(mrml.grid_from_volume(volume))
        assert node.GetParentTransformNode() is volume.GetParentTransformNode()
        display = node.GetDisplayNode()
        assert display.GetColorNode() is not None
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 1)
        assert display.GetApplyThreshold()
        assert display.GetLowerThreshold() == 0.05


def test_the_segmentation_knows_its_maps_as_long_as_they_exist(scene, nodes):
    volume, segmentation, image = nodes
    first, second = add_maps(segmentation, volume, "probability", image, ["front", "back"])
    one = Image(image.array[:1], image.grid)
    (unsure,) = add_maps(segmentation, volume, "uncertainty", one, ["unsure"])
    assert maps_of(segmentation, "probability") == [first, second]
    assert maps_of(segmentation, "uncertainty") == [unsure]
    scene.mrmlScene.RemoveNode(first)
    assert maps_of(segmentation, "probability") == [second]
    (again,) = add_maps(segmentation, volume, "uncertainty", one, ["unsure"])
    assert maps_of(segmentation, "uncertainty") == [again]
    assert scene.mrmlScene.IsNodePresent(unsure)  # somebody may still look at it
