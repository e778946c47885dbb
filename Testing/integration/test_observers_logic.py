"""Several observers' nodes of a scene: under any transform, hidden, overlapping; tables, consensus and maps of them."""

import numpy as np
import pytest

import fixtures_scene
from fixtures_observer_boxes import CI_GEN, DICE, ENTROPY_OF_A_THIRD, GRID, N_VOXELS, VOXEL_ML, columns_map, observers
from fixtures_scene import GRIDS, bspline_transform, linear_transform, make_grid, make_volume, rotation
from MedSegAICore.errors import InputError
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.mrml import label_map_from_segmentation, provenance_of, segmentation_from_label_map
from MedSegAICore.mrml_images import matrix_from_array
from MedSegAICore.mrml_world import label_map_in_world, world_grid
from MedSegAIMetricsLib.logic import ComparisonLogic

scene = fixtures_scene.scene
logic = ComparisonLogic()


def nodes_of(label_maps):
    return [segmentation_from_label_map(label_map, name=name) for name, label_map in label_maps.items()]


def ci_gen(result, key="box"):
    return result.agreement.segments[key].value("ci_gen").value


def moved(rotation_3x3, translation):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation_3x3, translation
    return matrix


def columns_of(table):
    return [table.GetTable().GetColumnName(n) for n in range(table.GetNumberOfColumns())]


def test_three_nodes_give_the_numbers_of_the_boxes_and_no_node_is_added_or_changed(scene):
    nodes = nodes_of(observers())
    before = scene.mrmlScene.GetNumberOfNodes()
    result = logic.compareObservers(nodes, measures=["dice"])
    assert scene.mrmlScene.GetNumberOfNodes() == before
    assert ci_gen(result) == pytest.approx(CI_GEN, abs=1e-12)
    assert result.agreement.observers == ("A", "B", "C")
    assert {(p.observer_1, p.observer_2): p.values["dice"] for p in result.agreement.pairs} == pytest.approx(DICE)
    assert result.agreement.notes == ()


@pytest.mark.parametrize("hidden", [False, True])
def test_hidden_segments_and_segmentations_take_part(scene, hidden):
    nodes = nodes_of(observers())
    for node in nodes:
        node.GetDisplayNode().SetSegmentVisibility("box", not hidden)
        node.GetDisplayNode().SetVisibility(not hidden)
    assert ci_gen(logic.compareObservers(nodes, measures=["dice"])) == pytest.approx(CI_GEN)


def test_overlapping_and_empty_segments_are_kept_in_the_consensus(scene):
    labels = (Label(1, "a", "First"), Label(1, "b", "Second", layer=1), Label(2, "c", "Absent"))
    both = LabelMap(np.stack([columns_map(2, 8).array, columns_map(5, 11).array]), GRID, labels)
    result = logic.compareObservers(nodes_of({"A": both, "B": both}), measures=["dice"])
    found = label_map_from_segmentation(logic.createConsensus(result))
    expected = {"a": 144 * VOXEL_ML, "b": 144 * VOXEL_ML, "c": 0}
    assert found.volumes_ml() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["oblique anisotropic", "flipped", "sagittal"])
def test_observers_under_one_linear_transform_agree_as_without_it_and_the_consensus_lies_where_they_do(scene, name):
    grid = make_grid(GRID.shape, GRIDS[name].ijk_to_ras[:3, :3], origin_ras=(11, -7, 5))
    parent = linear_transform(scene, moved(rotation(10, 20, -30), (5, -40, 12)))
    nodes = nodes_of({key: LabelMap(own.array, grid, own.labels) for key, own in observers().items()})
    for node in nodes:
        node.SetAndObserveTransformNodeID(parent.GetID())
    result = logic.compareObservers(nodes, measures=["dice"])
    assert ci_gen(result) == pytest.approx(CI_GEN)
    consensus = logic.createConsensus(result)
    assert consensus.GetParentTransformNode() is None
    in_world, resampled = label_map_in_world(consensus, world_grid(nodes[0]))
    assert not resampled
    np.testing.assert_array_equal(in_world.array, columns_map(2, 9).array)
    probability, _ = logic.createVoteMaps(result)["box"]
    assert world_grid(probability).matches(world_grid(nodes[0]))


def test_one_observer_moved_by_a_transform_is_compared_where_it_is_in_the_world(scene):
    nodes = nodes_of({"A": columns_map(2, 8), "B": columns_map(2, 8)})
    nodes[1].SetAndObserveTransformNodeID(linear_transform(scene, moved(np.eye(3), (0.8 * 3, 0, 0))).GetID())
    result = logic.compareObservers(nodes, measures=["dice"])
    assert ci_gen(result) == pytest.approx(3 / 9)  # three of six columns lie in both
    assert not any("resampled" in note for note in result.agreement.notes)  # it was moved by whole voxels


def test_a_bent_observer_is_resampled_and_said(scene):
    nodes = nodes_of({"A": columns_map(2, 8), "B": columns_map(2, 8)})
    for node in nodes:
        node.SetAndObserveTransformNodeID(bspline_transform(scene).GetID())
    result = logic.compareObservers(nodes, measures=["dice"])
    assert ci_gen(result) == 1
    assert any("'B' was resampled by nearest neighbor" in note for note in result.agreement.notes)


def test_label_map_volumes_and_models_are_observers_too(scene):
    (first,) = nodes_of({"A": columns_map(2, 8, label=Label(1, "Segment_1", "Segment_1"))})
    volume = scene.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "B")
    volume.SetIJKToRASMatrix(matrix_from_array(GRID.ijk_to_ras))
    scene.util.updateVolumeFromArray(volume, columns_map(3, 9).array)
    result = logic.compareObservers([first, volume], measures=["dice"])
    (pair,) = result.agreement.pairs
    assert (pair.observer_1, pair.observer_2, pair.values["dice"]) == ("A", "B", pytest.approx(DICE["A", "B"]))
    models = [box_model(scene, name, *columns) for name, columns in (("box", (2, 8)), ("other", (3, 9)))]
    with pytest.raises(InputError, match="Models have no voxels to be compared on"):
        logic.compareObservers(models)


def box_model(scene, name, first, stop):
    """A closed surface around the voxels of ``columns_map``."""
    import vtk

    cube = vtk.vtkCubeSource()
    cube.SetBounds((first - 0.5) * 0.8, (stop - 0.5) * 0.8, 2.5, 8.5, 3, 11)
    cube.Update()
    model = scene.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", name)
    model.SetAndObservePolyData(cube.GetOutput())
    return model


def test_a_model_is_compared_on_the_voxels_of_the_first_segmentation(scene):
    box = box_model(scene, "Box", 2, 8)
    (second,) = nodes_of({"B": columns_map(3, 9)})
    result = logic.compareObservers([box, second], measures=["dice"])
    assert result.agreement.observers == ("Box", "B")
    assert result.agreement.pairs[0].values["dice"] == pytest.approx(DICE["A", "B"])
    assert result.observers.grid.matches(GRID)


def test_a_segment_that_reaches_beyond_the_first_grid_is_not_cut(scene):
    larger = make_grid((12, 14, 30), spacing_ijk=(0.8, 1.0, 2.0))
    nodes = nodes_of({"A": columns_map(2, 8), "B": columns_map(2, 8), "C": columns_map(2, 26, grid=larger)})
    result = logic.compareObservers(nodes, measures=["dice"])
    assert result.agreement.segments["box"].votes.volumes_ml == pytest.approx(
        [144 * VOXEL_ML, 144 * VOXEL_ML, 576 * VOXEL_ML]
    )
    (note,) = result.agreement.notes
    assert note.startswith("The grid was extended")
    volume = make_volume(scene, np.zeros((12, 14, 40)), make_grid((12, 14, 40), spacing_ijk=(0.8, 1.0, 2.0)))
    on_volume = logic.compareObservers(nodes, measures=["dice"], grid=volume)
    assert on_volume.agreement.notes == ()
    assert on_volume.observers.grid.shape == (12, 14, 40)


def test_tables_have_typed_columns_with_titles_units_and_definitions(scene):
    nodes = nodes_of(observers())
    result = logic.compareObservers(nodes, measures=["dice", "hd95"])
    agreement = logic.createObserversTable(result)
    assert agreement.GetName() == "Observers, agreement: A, B, C"
    assert columns_of(agreement)[:3] == ["segment", "observers", "ci_gen"]
    assert agreement.GetTable().GetValueByName(0, "ci_gen").ToDouble() == pytest.approx(CI_GEN)
    assert agreement.GetTable().GetColumnByName("ci_gen").GetDataTypeAsString() == "double"
    assert agreement.GetColumnTitle("ci_gen") == "Generalized conformity index"
    assert "Kouwenhoven" in agreement.GetColumnDescription("ci_gen")
    assert agreement.GetColumnUnitLabel("volume_mean_ml") == "ml"
    assert agreement.GetTable().GetValueByName(0, "region").ToString() == "union+10mm"
    assert agreement.GetLocked()
    ids = [agreement.GetNthNodeReferenceID("observer", n) for n in range(3)]
    assert ids == [node.GetID() for node in nodes]
    pairs = logic.createObserversTable(result, "pairs")
    assert columns_of(pairs) == ["segment", "observer_1", "observer_2", "dice", "hd95_maxdir_mm", "region", "reason"]
    assert pairs.GetNumberOfRows() == 3
    volumes = logic.createObserversTable(result, "volumes", name="Volumes")
    assert volumes.GetName() == "Volumes"
    found = [volumes.GetTable().GetValueByName(row, "volume_ml").ToDouble() for row in range(3)]
    assert found == pytest.approx([n * VOXEL_ML for n in N_VOXELS.values()])
    with pytest.raises(InputError, match="agreement, pairs, volumes, but the kind is 'other'"):
        logic.createObserversTable(result, "other")


def test_a_consensus_says_how_and_of_whom_it_was_made(scene):
    nodes = nodes_of(observers())
    result = logic.compareObservers(nodes, measures=["dice"])
    for method, voxels in (("majority", 168), ("shape", 168)):
        consensus = logic.createConsensus(result, method)
        assert label_map_from_segmentation(consensus).volumes_ml() == pytest.approx({"box": voxels * VOXEL_ML})
        facts = provenance_of(consensus)["consensus"]
        assert (facts["method"], facts["observers"]) == (method, ["A", "B", "C"])
        assert consensus.GetNumberOfNodeReferences("observer") == 3
    assert provenance_of(logic.createConsensus(result, "staple"))["consensus"]["region"] == "union+10mm"
    before = scene.mrmlScene.GetNumberOfNodes()
    with pytest.raises(InputError, match="but the method is 'vote'"):
        logic.createConsensus(result, "vote")
    assert scene.mrmlScene.GetNumberOfNodes() == before


def test_maps_are_volumes_laid_over_the_image(scene):
    result = logic.compareObservers(nodes_of(observers()), measures=["dice"])
    maps = logic.createVoteMaps(result)
    assert list(maps) == ["box"]
    probability, entropy = maps["box"]
    assert (probability.GetName(), entropy.GetName()) == ("Box probability", "Box entropy")
    np.testing.assert_allclose(scene.util.arrayFromVolume(probability)[3, 4, [2, 5, 9]], [2 / 3, 1, 1 / 3], atol=1e-6)
    np.testing.assert_allclose(scene.util.arrayFromVolume(entropy)[3, 4, 9], ENTROPY_OF_A_THIRD, atol=1e-6)
    before = scene.mrmlScene.GetNumberOfNodes()
    with pytest.raises(InputError, match="no segment 'liver'"):
        logic.createVoteMaps(result, ["box", "liver"])
    assert scene.mrmlScene.GetNumberOfNodes() == before


def test_a_result_outlives_its_nodes(scene):
    nodes = nodes_of(observers())
    result = logic.compareObservers(nodes, measures=["dice"])
    for node in nodes:
        scene.mrmlScene.RemoveNode(node)
    assert logic.createObserversTable(result).GetNumberOfNodeReferences("observer") == 0
    assert label_map_from_segmentation(logic.createConsensus(result)).volumes_ml()["box"] > 0


def test_an_observer_without_segments_found_nothing_and_nodes_of_one_name_are_told_apart(scene):
    nodes = nodes_of({"A": columns_map(2, 8), "B": columns_map(2, 8)})
    nodes.append(scene.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "A"))
    result = logic.compareObservers(nodes, measures=["dice"])
    assert result.agreement.observers == ("A", "B", "A (2)")
    assert result.agreement.segments["box"].votes.volumes_ml == pytest.approx([144 * VOXEL_ML] * 2 + [0])
    assert result.agreement.notes == ("A (2) has no segment 'Box'; it counts as empty.",)


def test_what_cannot_be_compared_is_one_sentence(scene):
    first, second = nodes_of({"A": columns_map(2, 8), "B": columns_map(2, 8, label=Label(1, "o", "Other"))})
    for nodes, sentence in (
        ([first], "at least two observers, but there are 1"),
        ([first, None], "One of the observers' nodes is missing"),
        ([first, first], "'A' is given twice"),
        ([first, second], "no segment in common: A has Box; B has Other"),
    ):
        with pytest.raises(InputError, match=sentence):
            logic.compareObservers(nodes)
