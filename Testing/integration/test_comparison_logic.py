"""Comparing nodes of a scene: which segments, on which voxels, under which transforms, and what comes of it."""

import csv
import json
import math

import numpy as np
import pytest

import fixtures_scene
from fixtures_scene import GRIDS, bspline_transform, grid_transform, linear_transform, make_grid, make_volume, rotation
from MedSegAICore.errors import Cancelled, GeometryError, InputError
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.mrml import label_map_from_segmentation, segmentation_from_label_map
from MedSegAIMetricsLib import compare
from MedSegAIMetricsLib.logic import ATTRIBUTE, ComparisonLogic

scene = fixtures_scene.scene
logic = ComparisonLogic()
GRID = make_grid((20, 24, 28), spacing_ijk=(0.8, 1.0, 2.0))


def boxes(*places, grid=GRID, ids=("a", "b"), one_layer=True):
    """A label map with a box for each place (start and stop, KJI)."""
    array = np.zeros((1 if one_layer else len(places), *grid.shape), np.uint8)
    labels = []
    for number, (start, stop) in enumerate(places):
        layer, value = (0, number + 1) if one_layer else (number, 1)
        array[(layer, *(slice(a, b) for a, b in zip(start, stop, strict=True)))] = value
        labels.append(Label(value, ids[number], ids[number].upper(), layer=layer))
    return LabelMap(array, grid, labels)


FIRST = ((4, 5, 6), (12, 15, 18))
SECOND = ((14, 5, 6), (18, 12, 20))
MOVED = ((5, 6, 8), (13, 16, 20))


def expected(reference, test, spacing=GRID.spacing_kji):
    """What the arrays give: the measures themselves are tested elsewhere."""
    return compare(reference, test, spacing, [1])[1]


def mask(place, shape=GRID.shape):
    array = np.zeros(shape, bool)
    array[tuple(slice(a, b) for a, b in zip(*place, strict=True))] = True
    return array


@pytest.mark.parametrize("one_layer", [True, False])
def test_two_segments_of_one_segmentation_in_one_or_two_layers(scene, one_layer):
    node = segmentation_from_label_map(boxes(FIRST, SECOND, one_layer=one_layer))
    found = logic.compare(node, node, referenceSegmentId="a", testSegmentId="b")
    assert found["a"] == expected(mask(FIRST), mask(SECOND))
    assert str(found.matches["a"]) == "'A' with 'B' (chosen)"


def test_overlapping_segments_are_compared_each_by_itself(scene):
    node = segmentation_from_label_map(boxes(FIRST, MOVED, one_layer=False))
    assert logic.compare(node, node, referenceSegmentId="a", testSegmentId="b")["a"] == expected(
        mask(FIRST), mask(MOVED)
    )
    both = logic.compare(node, node)
    assert [both[key]["dice"] for key in ("a", "b")] == [1, 1]


def test_hidden_segments_are_included(scene):
    reference = segmentation_from_label_map(boxes(FIRST, SECOND))
    test = segmentation_from_label_map(boxes(MOVED, SECOND))
    for node in (reference, test):
        node.GetDisplayNode().SetSegmentVisibility("a", False)
        node.GetDisplayNode().SetVisibility(False)
    found = logic.compare(reference, test)
    assert list(found) == ["a", "b"]
    assert found["a"] == expected(mask(FIRST), mask(MOVED))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_measures_do_not_depend_on_how_the_grid_lies(scene, grid):
    own = GRIDS[grid]
    places = ((1, 1, 2), (6, 7, 8)), ((2, 2, 2), (7, 8, 9))
    reference, test = (segmentation_from_label_map(boxes(place, grid=own)) for place in places)
    found = logic.compare(reference, test)
    wanted = expected(*(mask(place, own.shape) for place in places), own.spacing_kji)
    assert {name: pytest.approx(value, rel=1e-9, nan_ok=True) for name, value in wanted.items()} == found["a"]
    assert found.notes == []


def test_a_rigid_transform_of_both_changes_nothing_and_of_one_moves_it(scene):
    reference = segmentation_from_label_map(boxes(FIRST))
    test = segmentation_from_label_map(boxes(FIRST))
    move = np.eye(4)
    move[:3, :3] = rotation(20, -10, 30)
    move[:3, 3] = [5, 6, 7]
    parent = linear_transform(scene, move)
    for node in (reference, test):
        node.SetAndObserveTransformNodeID(parent.GetID())
    assert logic.compare(reference, test)["a"]["dice"] == 1
    assert logic.compare(reference, test).notes == []
    # One voxel along I, in the frame of the volume: a shift of 0.8 mm.
    shift = np.eye(4)
    shift[0, 3] = 0.8
    reference.SetAndObserveTransformNodeID(None)
    test.SetAndObserveTransformNodeID(linear_transform(scene, shift).GetID())
    found = logic.compare(reference, test)
    start, stop = FIRST
    shifted = mask(((*start[:2], start[2] + 1), (*stop[:2], stop[2] + 1)))
    assert {k: pytest.approx(v, rel=1e-6, abs=1e-9) for k, v in expected(mask(FIRST), shifted).items()} == found["a"]


def test_a_scaling_transform_changes_volumes_and_distances(scene):
    reference, test = (segmentation_from_label_map(boxes(place)) for place in (FIRST, MOVED))
    parent = linear_transform(scene, np.diag([2.0, 2.0, 2.0, 1]))
    plain = logic.compare(reference, test)["a"]
    for node in (reference, test):
        node.SetAndObserveTransformNodeID(parent.GetID())
    scaled = logic.compare(reference, test)["a"]
    assert scaled["dice"] == plain["dice"]
    assert scaled["volume_reference_ml"] == pytest.approx(8 * plain["volume_reference_ml"])
    assert scaled["hd_mm"] == pytest.approx(2 * plain["hd_mm"])


@pytest.mark.parametrize("make", [grid_transform, bspline_transform])
def test_a_shared_non_linear_transform_bends_both_alike(scene, make):
    reference, test = (segmentation_from_label_map(boxes(place)) for place in (FIRST, MOVED))
    parent = make(scene)
    for node in (reference, test):
        node.SetAndObserveTransformNodeID(parent.GetID())
    found = logic.compare(reference, test)
    wanted = expected(mask(FIRST), mask(MOVED))
    # A few millimeters over 20 mm: overlap stays nearly the same, voxels are resampled once each.
    assert found["a"]["dice"] == pytest.approx(wanted["dice"], abs=0.05)
    assert found["a"]["volume_reference_ml"] == pytest.approx(wanted["volume_reference_ml"], rel=0.25)
    assert len(found.notes) == 2
    assert all("resampled" in note for note in found.notes)


def test_a_non_linear_transform_of_one_is_undone_by_its_inverse_of_the_other(scene):
    place = segmentation_from_label_map(boxes(FIRST))
    bent = segmentation_from_label_map(boxes(FIRST))
    parent = grid_transform(scene)
    bent.SetAndObserveTransformNodeID(parent.GetID())
    moved = logic.compare(place, bent)["a"]
    assert 0.3 < moved["dice"] < 0.97  # the transform really moves it
    place.SetAndObserveTransformNodeID(parent.GetID())
    assert logic.compare(place, bent)["a"]["dice"] == 1


def test_different_spacing_is_resampled_to_the_grid_that_is_named_and_said(scene):
    fine = make_grid((40, 24, 28), spacing_ijk=(0.8, 1.0, 1.0), origin_ras=(0, 0, -0.5))
    start, stop = FIRST
    halves = ((2 * start[0], *start[1:]), (2 * stop[0], *stop[1:]))
    reference = segmentation_from_label_map(boxes(FIRST))
    test = segmentation_from_label_map(boxes(halves, grid=fine))
    for grid, title, spacing in (("reference", "test", 2.0), ("test", "reference", 1.0)):
        found = logic.compare(reference, test, grid=grid)
        assert found["a"]["dice"] == 1
        assert found.grid.spacing_kji[0] == pytest.approx(spacing)
        assert len(found.notes) == 1
        assert found.notes[0].startswith(f"The {title} 'Segmentation")
    volume = make_volume(scene, np.zeros(fine.shape, np.int16), fine)
    assert logic.compare(reference, test, grid=volume).grid.spacing_kji[0] == pytest.approx(1)


def test_a_segment_that_reaches_beyond_the_reference_grid_is_not_cut(scene):
    small = GRID.crop((0, 0, 0), (12, 16, 19))
    reference = segmentation_from_label_map(boxes(FIRST, grid=small))
    test = segmentation_from_label_map(boxes(MOVED))
    found = logic.compare(reference, test)
    wanted = expected(mask(FIRST), mask(MOVED))
    assert found["a"]["volume_test_ml"] == pytest.approx(wanted["volume_test_ml"])
    assert found["a"]["hd_mm"] == pytest.approx(wanted["hd_mm"])
    assert len(found.notes) == 1  # the same voxels, only more of them
    assert found.notes[0].startswith("The grid was extended from Grid(12 x 16 x 19 voxels")


def test_one_empty_segment_gives_nan_with_a_reason(scene):
    reference = segmentation_from_label_map(boxes(FIRST))
    test = segmentation_from_label_map(boxes(((0, 0, 0), (0, 0, 0))))
    found = logic.compare(reference, test)
    assert found["a"]["dice"] == 0
    assert math.isnan(found["a"]["hd_mm"])
    assert found.reasons["a"]["hd_mm"] == "the test is empty"


def test_a_segment_of_one_node_only_is_compared_with_nothing_and_an_id_of_one_node_only_is_refused(scene):
    reference = segmentation_from_label_map(boxes(FIRST, SECOND))
    test = segmentation_from_label_map(boxes(MOVED))
    found = logic.compare(reference, test)
    assert str(found.matches["b"]) == "'B' is only in the reference"
    assert found["b"]["dice"] == 0
    with pytest.raises(InputError, match="no segment 'b'"):
        logic.compare(reference, test, referenceSegmentId="b", testSegmentId="b")
    with pytest.raises(InputError, match="choose one of the reference and one of the test"):
        logic.compare(reference, test, referenceSegmentId="b")


def test_label_map_volumes_and_models_are_compared_like_segmentations(scene):
    array = mask(MOVED).astype(np.int16)
    volume = scene.util.addVolumeFromArray(array, name="labels", nodeClassName="vtkMRMLLabelMapVolumeNode")
    volume.SetIJKToRASMatrix(fixtures_scene.matrix_from_array(GRID.ijk_to_ras))
    reference = segmentation_from_label_map(boxes(FIRST))
    found = logic.compare(reference, volume)
    assert found["a"] == expected(mask(FIRST), mask(MOVED))
    # The same box as a surface, whose corners are those of the voxels.
    import vtk

    cube = vtk.vtkCubeSource()
    (k0, j0, i0), (k1, j1, i1) = MOVED
    (x0, y0, z0), (x1, y1, z1) = GRID.ijk_to_ras_points(
        [[i0 - 0.5, j0 - 0.5, k0 - 0.5], [i1 - 0.5, j1 - 0.5, k1 - 0.5]]
    )
    cube.SetBounds(x0, x1, y0, y1, z0, z1)
    triangles = vtk.vtkTriangleFilter()
    triangles.SetInputConnection(cube.GetOutputPort())
    triangles.Update()
    model = scene.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "A")
    model.SetAndObservePolyData(triangles.GetOutput())
    assert logic.compare(reference, model)["a"]["dice"] == pytest.approx(
        expected(mask(FIRST), mask(MOVED))["dice"], abs=0.02
    )
    with pytest.raises(InputError, match="Two models"):
        logic.compare(model, model)


def test_surfaces_of_a_segmentation_are_compared_without_changing_it(scene):
    reference, test = (segmentation_from_label_map(boxes(place)) for place in (FIRST, MOVED))
    for node in (reference, test):
        node.CreateClosedSurfaceRepresentation()
    converter = scene.vtkSegmentationConverter
    test.GetSegmentation().SetSourceRepresentationName(converter.GetSegmentationClosedSurfaceRepresentationName())
    test.GetSegmentation().RemoveRepresentation(converter.GetSegmentationBinaryLabelmapRepresentationName())
    found = logic.compare(reference, test)
    assert found["a"]["dice"] == pytest.approx(expected(mask(FIRST), mask(MOVED))["dice"], abs=0.08)
    assert not test.GetSegmentation().ContainsRepresentation(
        converter.GetSegmentationBinaryLabelmapRepresentationName()
    )


def test_nothing_is_added_to_the_scene_and_nodes_stay_as_they_are(scene):
    reference, test = (segmentation_from_label_map(boxes(place)) for place in (FIRST, MOVED))
    test.SetAndObserveTransformNodeID(grid_transform(scene).GetID())
    before = scene.mrmlScene.GetNumberOfNodes(), label_map_from_segmentation(test).array.copy()
    logic.compare(reference, test)
    assert scene.mrmlScene.GetNumberOfNodes() == before[0]
    assert np.array_equal(label_map_from_segmentation(test).array, before[1])


def test_wrong_nodes_are_refused_with_a_sentence(scene):
    reference = segmentation_from_label_map(boxes(FIRST))
    text = scene.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", "words")
    with pytest.raises(InputError, match="'words' is a vtkMRMLTextNode"):
        logic.compare(reference, text)
    with pytest.raises(InputError, match="missing"):
        logic.compare(reference, None)
    with pytest.raises(InputError, match="'reference', 'test' or a volume node"):
        logic.compare(reference, reference, grid="both")
    empty = scene.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    with pytest.raises(GeometryError, match="'empty'"):
        logic.compare(empty, reference)
    with pytest.raises(Cancelled):
        logic.compare(reference, reference, cancelled=lambda: True)


def test_the_table_is_typed_and_says_unit_definition_and_reason(scene, tmp_path):
    reference = segmentation_from_label_map(boxes(FIRST, SECOND), name="truth")
    test = segmentation_from_label_map(boxes(MOVED), name="draft")
    comparison = logic.compare(reference, test, region="union+10mm")
    table = logic.createTable(comparison)
    assert table.GetName() == "draft vs truth"
    assert table.GetTable().GetColumnByName("dice").GetClassName() == "vtkDoubleArray"
    assert table.GetTable().GetColumnByName("dice").GetValue(0) == comparison["a"]["dice"]
    assert math.isnan(table.GetTable().GetColumnByName("hd_mm").GetValue(1))
    assert table.GetTable().GetColumnByName("reason").GetValue(1) == "the test is empty"
    assert table.GetTable().GetColumnByName("region").GetValue(0) == "union+10mm"
    assert table.GetColumnUnitLabel("hd_mm") == "mm"
    assert "2 TP" in table.GetColumnDescription("dice")
    assert json.loads(table.GetAttribute(ATTRIBUTE))["reference"] == "truth"
    logic.writeCsv(comparison, tmp_path / "x.csv", case="case 1")
    with open(tmp_path / "x.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:4] == ["case", "label", "segment", "tp"]
    assert float(rows[0]["dice"]) == comparison["a"]["dice"]
    assert (rows[1]["case"], rows[1]["segment"], rows[1]["hd_mm"]) == ("case 1", "B", "")
    chart = logic.createPlot(table, "hd95_maxdir_mm")
    assert chart.GetNthPlotSeriesNode(0).GetYColumnName() == "hd95_maxdir_mm"
    with pytest.raises(InputError, match="no column 'x'"):
        logic.createPlot(table, "x")


def test_error_segments_hold_what_agrees_what_is_too_much_and_what_is_missing(scene):
    reference, test = (segmentation_from_label_map(boxes(place)) for place in (FIRST, MOVED))
    comparison = logic.compare(reference, test)
    errors = label_map_from_segmentation(logic.createErrorSegments(comparison))
    sizes = [int(errors.mask(label).sum()) for label in errors.labels]
    assert [label.name for label in errors.labels] == ["A TP", "A FP", "A FN"]
    assert sizes == [comparison["a"][name] for name in ("tp", "fp", "fn")]


def test_the_distance_volume_and_the_colored_model_show_a_shift_of_known_size(scene):
    # Two slabs through the whole grid, one three slices of 2 mm thicker at the top.
    low, high = ((4, 0, 0), (10, 24, 28)), ((4, 0, 0), (13, 24, 28))
    reference, test = (segmentation_from_label_map(boxes(place)) for place in (low, high))
    comparison = logic.compare(reference, test)
    volume = logic.createDistanceVolume(comparison, "a")
    array = scene.util.arrayFromVolume(volume)
    first = round(fixtures_scene.np.array(volume.GetOrigin())[2] / 2.0)
    column = array[:, 12, 14]
    assert column[9 - first] == -1  # the center of the last slice inside lies half a slice below the surface
    assert column[12 - first] == 5
    model = logic.createDistanceModel(comparison, "a")
    points = scene.util.arrayFromModelPoints(model)
    values = scene.util.arrayFromModelPointData(model, "signed_distance_mm")
    middle = np.abs(points[:, :2] - GRID.ijk_to_ras_points([[14, 12, 0]])[0, :2]).max(1) < 5
    assert values[middle & (points[:, 2] > 18)] == pytest.approx(6, abs=0.6)
    assert values[middle & (points[:, 2] < 8)] == pytest.approx(0, abs=0.6)
    assert model.GetDisplayNode().GetScalarVisibility()
    with pytest.raises(InputError, match="no segment 'z'"):
        logic.createDistanceModel(comparison, "z")


def test_equal_masks_are_white_all_over_and_an_empty_one_has_no_surface(scene):
    reference = segmentation_from_label_map(boxes(FIRST))
    model = logic.createDistanceModel(logic.compare(reference, reference), "a")
    assert np.abs(scene.util.arrayFromModelPointData(model, "signed_distance_mm")).max() == 0
    empty = segmentation_from_label_map(boxes(((0, 0, 0), (0, 0, 0))))
    for pair, title in (((reference, empty), "test"), ((empty, reference), "reference")):
        with pytest.raises(InputError, match=f"The {title} of 'a' is empty"):
            logic.createDistanceModel(logic.compare(*pair), "a")
