"""A comparison that stays in the scene: read back from its table, its slices found in the views, run in steps."""

import math
import time

import numpy as np
import pytest

import fixtures_scene
from fixtures_scene import GRIDS, bspline_transform, grid_transform, linear_transform, make_grid, rotation
from MedSegAICore.errors import Cancelled, InputError
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.mrml import segmentation_from_label_map
from MedSegAICore.mrml_images import array_from_matrix, matrix_from_array
from MedSegAIMetricsLib.logic import ATTRIBUTE, ComparisonLogic

scene = fixtures_scene.scene
logic = ComparisonLogic()
GRID = make_grid((20, 24, 28), spacing_ijk=(0.8, 1.0, 2.0))
BODY, LOW = ((4, 5, 6), (12, 15, 18)), ((1, 1, 1), (3, 3, 3))
BUMP = ((7, 15, 6), (8, 19, 16))  # 4 rows of 10 voxels beside the body, in slice 7 only


def segments(name, *places, grid=GRID, names=('A "one"\ttwo', "B;c:d")):
    """A segmentation node: a segment for each list of boxes (start and stop, KJI), each in a layer of its own."""
    array = np.zeros((len(places), *grid.shape), np.uint8)
    for layer, boxes in enumerate(places):
        for start, stop in boxes:
            array[(layer, *(slice(a, b) for a, b in zip(start, stop, strict=True)))] = 1
    labels = [Label(1, "ab"[n], names[n], (0.1, 0.2, 0.7), layer=n) for n in range(len(places))]
    return segmentation_from_label_map(LabelMap(array, grid, labels), name=name)


@pytest.fixture
def pair(scene):
    return segments("truth", [BODY], [LOW]), segments("draft", [BODY, BUMP], [])


def saved_and_loaded(scene, tmp_path):
    scene.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.mrmlScene.Clear(0)
    scene.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "here before")  # so that ids differ
    scene.util.loadScene(str(tmp_path / "scene.mrb"))
    return logic.listTables()


def same(one, other):
    return one.keys() == other.keys() and all(
        one[key] == other[key] or (math.isnan(one[key]) and math.isnan(other[key])) for key in one
    )


# ---- read back -----------------------------------------------------------------------------------------------------


def test_a_table_gives_back_everything_after_the_scene_was_saved_and_loaded(scene, pair, tmp_path):
    comparison = logic.compare(*pair, percentiles=[90, 95], surface="voxelcenter", region="union+10mm")
    logic.createTable(comparison)
    masks = comparison.masks("a")
    (table,) = saved_and_loaded(scene, tmp_path)
    found = logic.readTable(table)
    assert list(found) == ["a", "b"]
    for key in found:
        assert same(found[key], comparison[key])  # to the last digit
        assert found.reasons[key] == comparison.reasons[key]
        assert found.matches[key].reference == comparison.matches[key].reference
    assert found.measures == comparison.measures
    assert found.matches["a"].label.name == 'A "one"\ttwo'
    assert (found.names, found.region, found.time) == (("truth", "draft"), "union+10mm", comparison.time)
    assert found.request == comparison.request
    assert found.request["percentiles"] == [90, 95]
    assert found.grid.matches(comparison.grid)
    assert logic.csvText(found) == logic.csvText(comparison)
    assert all(np.array_equal(one, other) for one, other in zip(found.masks("a"), masks, strict=True))
    assert logic.createErrorSegments(found, ["a"]).GetName() == "Errors of draft"


def test_masks_that_are_gone_or_changed_are_refused_in_a_sentence(scene, pair):
    reference, test = pair
    table = logic.createTable(logic.compare(reference, test))
    found = logic.readTable(table)
    assert [mask.sum() for mask in found.masks("a")] == [8 * 10 * 12, 8 * 10 * 12 + 40]
    array = scene.util.arrayFromSegmentInternalBinaryLabelmap(test, "a")
    array[0, 0, 0] = 1 - array[0, 0, 0]  # as painting one voxel does
    with pytest.raises(InputError, match="has changed since it was compared. Compare again"):
        found.masks("a")
    array[0, 0, 0] = 1 - array[0, 0, 0]
    assert found.masks("a")[1].sum() == 1000
    shift = np.eye(4)
    shift[0, 3] = 0.8
    test.SetAndObserveTransformNodeID(linear_transform(scene, shift).GetID())
    with pytest.raises(InputError, match="has changed"):
        found.masks("a")
    test.SetAndObserveTransformNodeID(None)
    test.GetSegmentation().RemoveSegment("a")
    with pytest.raises(InputError, match=r"The test has changed .* no segment 'a'.* Compare again"):
        found.masks("a")
    scene.mrmlScene.RemoveNode(reference)
    with pytest.raises(InputError, match="The reference 'truth' is not in the scene any more"):
        found.masks("a")


def test_masks_of_label_maps_models_and_transformed_nodes_are_found_again(scene):
    other = GRIDS["oblique anisotropic"]
    box = ((1, 1, 2), (6, 7, 8))
    node = segments("bent", [box], grid=other)
    node.SetAndObserveTransformNodeID(bspline_transform(scene).GetID())
    labels = scene.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    array = np.zeros(other.shape, np.int16)
    array[2:5, 3:7, 4:9] = 3
    scene.util.updateVolumeFromArray(labels, array)
    labels.SetIJKToRASMatrix(matrix_from_array(other.ijk_to_ras))
    node.CreateClosedSurfaceRepresentation()
    model = scene.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "surface")
    model.SetAndObservePolyData(node.GetClosedSurfaceInternalRepresentation("a"))
    chosen = {"referenceSegmentId": "a", "grid": "test"}
    for test, identifier in ((labels, "Segment_3"), (model, "surface")):
        grid = "test" if test is labels else "reference"
        comparison = logic.compare(node, test, **{**chosen, "grid": grid}, testSegmentId=identifier)
        found = logic.readTable(logic.createTable(comparison))
        assert all(np.array_equal(*two) for two in zip(found.masks("a"), comparison.masks("a"), strict=True))
        assert comparison.masks("a")[1].any()


def test_other_tables_are_not_comparisons(scene, pair):
    table = scene.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "mine")
    with pytest.raises(InputError, match="'mine' holds no comparison"):
        logic.readTable(table)
    assert logic.listTables() == []
    for text in ("{}", "[", '{"time": 3, "measures": 4, "segments": 5}', "null"):
        table.SetAttribute(ATTRIBUTE, text)
        with pytest.raises(InputError, match="does not hold a comparison that this version"):
            logic.readTable(table)
        assert logic.listTables() == [table]


def test_tables_are_listed_newest_first(scene, pair):
    tables = []
    for second in (2, 3, 1, 3):
        comparison = logic.compare(*pair, measures=["dice"])
        comparison.time = f"2026-01-01T00:00:0{second}Z"
        tables.append(logic.createTable(comparison))
    assert logic.listTables() == [tables[3], tables[1], tables[0], tables[2]]


# ---- the worst slices ----------------------------------------------------------------------------------------------


def view(scene, name, slice_to_ras=None, field_of_view=(500, 500, 1)):
    node = scene.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode", name)
    node.SetFieldOfView(*field_of_view)
    if slice_to_ras is None:
        node.SetOrientationToAxial()
    else:
        node.GetSliceToRAS().DeepCopy(matrix_from_array(slice_to_ras))
        node.UpdateMatrices()
    return node


def offset_of(node):
    """How far the plane of a view lies along its normal."""
    matrix = array_from_matrix(node.GetSliceToRAS())
    return matrix[:3, 3] @ matrix[:3, 2]


def test_each_view_goes_to_the_slice_where_most_differs_along_its_own_normal(scene, pair):
    axial, sagittal = view(scene, "Red"), view(scene, "Yellow")
    sagittal.SetOrientation("Sagittal")
    found = logic.showWorstSlices(logic.compare(*pair, measures=["dice"]), "a")
    assert offset_of(axial) == pytest.approx(7 * 2.0)
    assert found["Red"].area_mm2 == pytest.approx(40 * 0.8 * 1.0)
    normal = array_from_matrix(sagittal.GetSliceToRAS())[:3, 2]
    assert abs(normal[0]) == 1
    # The ten columns of the bump are equally bad; the first along the normal is taken.
    assert abs(offset_of(sagittal)) == pytest.approx((6 if normal[0] > 0 else 15) * 0.8)
    assert found["Yellow"].area_mm2 == pytest.approx(4 * 1.0 * 2.0)


@pytest.mark.parametrize("name", GRIDS)
def test_views_find_the_slice_of_oblique_flipped_and_transformed_nodes(scene, name):
    grid, bump = GRIDS[name], ((6, 2, 3), (7, 5, 8))
    reference, test = (
        segments("r", [((1, 1, 1), (6, 8, 8))], grid=grid),
        segments("t", [((1, 1, 1), (6, 8, 8)), bump], grid=grid),
    )
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = rotation(20, -10, 30), (5, 6, 7)
    parent = linear_transform(scene, move)
    for node in (reference, test):
        node.SetAndObserveTransformNodeID(parent.GetID())
    place = (move @ np.append(grid.ijk_to_ras_points([[5, 3, 6]])[0], 1))[:3]  # the middle of the bump
    along = np.eye(4)
    axes = move[:3, :3] @ grid.ijk_to_ras[:3, :3] / np.array(grid.spacing_ijk)
    along[:3, :3] = axes * [1, 1, np.sign(np.linalg.det(axes))]
    axial = view(scene, "along", along)
    logic.showWorstSlices(logic.compare(reference, test, measures=["dice"]), "a")
    normal = array_from_matrix(axial.GetSliceToRAS())[:3, 2]
    assert offset_of(axial) == pytest.approx(place @ normal)
    assert np.allclose(normal, along[:3, 2])  # turned nothing


@pytest.mark.parametrize("make", [grid_transform, bspline_transform])
def test_under_a_bending_transform_the_slice_is_where_the_difference_is_bent_to(scene, make):
    import vtk

    grid = make_grid((40, 40, 40))
    reference, test = (
        segments("r", [((5, 5, 5), (20, 30, 30))], grid=grid),
        segments("t", [((5, 5, 5), (20, 30, 30)), ((33, 10, 10), (35, 25, 25))], grid=grid),
    )
    transform = make(scene)
    for node in (reference, test):
        node.SetAndObserveTransformNodeID(transform.GetID())
    general = vtk.vtkGeneralTransform()
    transform.GetTransformToWorld(general)
    place = general.TransformPoint([17, 17, 33.5])
    axial = view(scene, "Red")
    logic.showWorstSlices(logic.compare(reference, test, measures=["dice"]), "a")
    assert offset_of(axial) == pytest.approx(place[2], abs=2.5)  # the bump is two voxels thick, and bent


def test_a_view_is_only_moved_sideways_if_it_would_not_show_the_place(scene, pair):
    near, far = view(scene, "near", field_of_view=(60, 60, 1)), view(scene, "far", field_of_view=(4, 4, 1))
    logic.showWorstSlices(logic.compare(*pair, measures=["dice"]), "a")
    center = [array_from_matrix(node.GetSliceToRAS())[:3, 3] for node in (near, far)]
    assert center[0] == pytest.approx([0, 0, 14])
    assert center[1] == pytest.approx([10 * 0.8, 16, 14], abs=0.9)  # a voxel in the middle of the bump


def test_the_worst_slice_is_found_after_loading_the_scene(scene, pair, tmp_path):
    logic.createTable(logic.compare(*pair))
    (table,) = saved_and_loaded(scene, tmp_path)
    axial = view(scene, "Red")
    assert logic.showWorstSlices(logic.readTable(table), "a")["Red"].area_mm2 == pytest.approx(32)
    assert offset_of(axial) == pytest.approx(14)


def test_without_a_difference_or_a_segment_it_says_so(scene):
    node = segments("same", [BODY], [])
    axial = view(scene, "Red")
    comparison = logic.compare(node, node)
    assert logic.showWorstSlices(comparison, "a")["Red"].area_mm2 == 0
    assert offset_of(axial) == pytest.approx(4 * 2.0)
    with pytest.raises(InputError, match="Both masks are empty"):
        logic.showWorstSlices(comparison, "b")
    with pytest.raises(InputError, match="no segment 'z'"):
        logic.showWorstSlices(comparison, "z")


# ---- a run ---------------------------------------------------------------------------------------------------------


def run_to_end(run):
    while not run.advance():
        time.sleep(0.005)
    return run.result


def test_a_run_gives_what_a_comparison_gives(scene, pair):
    wanted = logic.compare(*pair, percentiles=[90])
    found = run_to_end(logic.startComparison(*pair, percentiles=[90]))
    assert list(found) == list(wanted)
    assert all(same(found[key], wanted[key]) for key in wanted)
    assert (found.names, found.node_ids, found.request, found.notes) == (
        wanted.names, wanted.node_ids, wanted.request, wanted.notes,
    )  # fmt: skip
    assert logic.readTable(logic.createTable(found)).masks("a")[0].sum() == 960


def test_a_run_does_not_need_its_nodes_once_they_are_read(scene, pair):
    run = logic.startComparison(*pair)
    while not run.message and not run.advance():
        time.sleep(0.005)
    scene.mrmlScene.Clear(0)
    found = run_to_end(run)
    assert found["a"]["tp"] == 960
    table = logic.createTable(found)
    with pytest.raises(InputError, match="not in the scene any more"):
        logic.readTable(table).masks("a")


def test_a_node_that_is_deleted_before_it_is_read_is_named(scene, pair):
    run = logic.startComparison(*pair)
    run.advance()
    scene.mrmlScene.RemoveNode(pair[1])
    with pytest.raises(InputError, match="The test 'draft' was deleted before"):
        run_to_end(run)


def test_wrong_choices_are_refused_before_or_in_the_run(scene, pair):
    with pytest.raises(InputError, match="choose one of the reference"):
        logic.startComparison(*pair, referenceSegmentId="a")
    with pytest.raises(InputError, match="no measure 'x'"):
        logic.startComparison(*pair, measures=["x"])
    run = logic.startComparison(*pair, referenceSegmentId="a", testSegmentId="z")
    with pytest.raises(InputError, match="no segment 'z'"):
        run_to_end(run)
    with pytest.raises(Cancelled):
        run.advance()
