"""Several volumes, regions, registrations and sequences through the logic: what reaches the model and the scene."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fixtures_scene
from fixtures_models import make_model_folder
from fixtures_registration import errors_mm, head, motion
from fixtures_scene import bspline_transform, grid_transform, linear_transform, make_grid, make_volume, rotation
from MedSegAICore import mrml
from MedSegAICore.errors import Cancelled, GeometryError, InputError
from MedSegAICore.files import read_image, write_image
from MedSegAICore.mrml_channels import REGISTRATION, channels_from_volumes
from MedSegAICore.mrml_images import matrix_from_array
from MedSegAICore.mrml_roi import box_of_roi
from MedSegAICore.roi import read_region
from MedSegAILib.logic import SegmentationLogic

scene = fixtures_scene.scene
RULES = [{"name": "MR0", "series_descriptions": ["t1"]}, {"name": "MR1", "series_descriptions": ["flair"]}]
GRID = make_grid((16, 24, 20))


@pytest.fixture(scope="module")
def logic():
    return SegmentationLogic()


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return make_model_folder(tmp_path_factory.mktemp("models") / "one")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return make_model_folder(
        tmp_path_factory.mktemp("models") / "two", channels=2, card={"input": {"modality": ["MR"], "channels": RULES}}
    )


def volume(scene, grid=GRID, seed=0, name="T1"):
    noise = np.random.default_rng(seed).normal(size=grid.shape)
    blurred = sum(np.roll(noise, shift, axis) for axis in range(3) for shift in (-1, 0, 1))
    return make_volume(scene, (blurred + 10).astype(np.float32), grid, name)


def labels(node, volume):
    return mrml.label_map_from_segmentation(node, volume).array


# ---- channels ------------------------------------------------------------------------------------------------------


def test_a_volume_on_another_grid_is_segmented_like_its_resampled_copy(scene, logic, two):
    first = volume(scene)
    other = volume(scene, make_grid((20, 15, 22), rotation(10, 20, -5), (1.3, 1.5, 1.2), (-6, 1, 2)), 1, "FLAIR")
    parent = bspline_transform(scene)
    first.SetAndObserveTransformNodeID(parent.GetID())
    found = logic.segment([first, other], two)
    resampled = channels_from_volumes([first, other], ("MR0", "MR1")).image.array[1]
    copy = make_volume(scene, resampled, GRID, "copy")
    copy.SetAndObserveTransformNodeID(parent.GetID())
    np.testing.assert_array_equal(labels(found, first), labels(logic.segment([first, copy], two), first))
    assert found.GetParentTransformNode() is parent
    facts = logic.provenance(found)["channels"]
    assert [fact["channel"] for fact in facts] == ["MR0", "MR1"]
    assert facts[1]["resampled"]
    assert any("MR1 does not cover" in warning for warning in logic.warnings(found))
    assert "FLAIR" not in found.GetAttribute(mrml.PROVENANCE)  # a node's name can be a patient's


def test_a_dict_names_the_channels(scene, logic, two):
    first, second = volume(scene), volume(scene, seed=1)
    listed = logic.segment([first, second], two)
    named = logic.segment({"MR1": second, "MR0": first}, two)
    np.testing.assert_array_equal(labels(named, first), labels(listed, first))
    with pytest.raises(InputError, match="has the channels MR0, MR1, but volumes were given for MR0, T2"):
        logic.segment({"MR0": first, "T2": second}, two)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_volumes_is_refused(scene, logic, two, count):
    nodes = [volume(scene, seed=seed) for seed in range(count)]
    expected = rf"needs 2 channel\(s\) \(MR0, MR1\), but {count} volume" if count else "No volume is chosen"
    with pytest.raises(InputError, match=expected):
        logic.segment(nodes, two)


def test_volumes_apart_are_refused_and_nothing_is_written(scene, logic, two):
    first, far = volume(scene), volume(scene, make_grid((16, 24, 20), origin_ras=(100, 0, 0)))
    nodes = scene.mrmlScene.GetNumberOfNodes()
    with pytest.raises(GeometryError, match="MR1 and MR0 do not overlap in space"):
        logic.segment([first, far], two)
    assert scene.mrmlScene.GetNumberOfNodes() == nodes


def test_volumes_are_matched_by_their_names_or_descriptions(scene, logic, two):
    flair, first = volume(scene, name="7: FLAIR axial"), volume(scene, name="some volume")
    hierarchy = scene.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrmlScene)
    first.SetName("4: T1 pre")
    hierarchy.SetItemAttribute(hierarchy.GetItemByDataNode(first), "DICOM.Modality", "MR")
    assignment = logic.matchChannels([flair, first], two)
    assert assignment.complete
    assert assignment.volumes == [first, flair]
    assert assignment.matches[0].reason == "only it fits, by its description 'T1 pre'"
    lacking = logic.matchChannels([first], two)
    assert [match.status for match in lacking.matches] == ["matched", "missing"]


# ---- registration --------------------------------------------------------------------------------------------------


def test_a_registration_is_kept_as_a_node_with_its_quality(scene, logic, two):
    grid = make_grid((24, 40, 34), np.diag([-1.0, -1, 1]), (5.0, 5.0, 6.5), (83, 97, -75))
    step = motion((3, -4, 5), (6, -5, 4))
    first = make_volume(scene, head("T1", grid).array[0], grid, "first")
    other = make_volume(scene, head("T2", grid, step).array[0], grid, "other")
    node = logic.segment([first, other], two, registration="rigid")
    transform = scene.mrmlScene.GetNodeByID(node.GetNodeReferenceID(REGISTRATION))
    assert transform.GetName() == "other to first"
    assert other.GetParentTransformNode() is None
    to_parent = scene.util.arrayFromTransformMatrix(transform)
    assert errors_mm(to_parent, np.linalg.inv(step), grid).max() < 4
    quality = logic.provenance(node)["channels"][1]["registration"]
    assert quality == json.loads(transform.GetAttribute(REGISTRATION))
    assert quality["mutual_information_after"] > quality["mutual_information_before"]
    assert quality["max_displacement_mm"] > quality["mean_displacement_mm"] > 3


def test_a_registration_that_makes_no_sense_is_refused(scene, logic, one, two):
    nodes = [volume(scene), volume(scene, seed=1)]
    with pytest.raises(InputError, match="'elastic' is not known; choose one of rigid, affine"):
        logic.segment(nodes, two, registration="elastic")
    with pytest.raises(InputError, match="only one volume"):
        logic.segment(nodes[0], one, registration="rigid")


def test_a_cancelled_registration_leaves_no_node(scene, logic, two):
    nodes = [volume(scene), volume(scene, seed=1)]
    count = scene.mrmlScene.GetNumberOfNodes()
    with pytest.raises(Cancelled):
        logic.segment(nodes, two, registration="rigid", cancelled=lambda: True)
    assert scene.mrmlScene.GetNumberOfNodes() == count


# ---- region of interest --------------------------------------------------------------------------------------------


def region(scene, center, size, turn=(0, 0, 0)):
    node = scene.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(*turn), center
    node.SetSize(*size)
    node.SetAndObserveObjectToNodeMatrix(matrix_from_array(matrix))
    return node


def test_a_region_restricts_all_channels(scene, logic, two):
    first, other = volume(scene), volume(scene, make_grid((20, 30, 25), origin_ras=(-2.5, -2.5, -2)), 1)
    found = logic.segment([first, other], two, roiNode=region(scene, (9, 11, 8), (11, 15, 9)))
    box = (slice(4, 13), slice(4, 19), slice(4, 15))
    image = channels_from_volumes([first, other], ("MR0", "MR1")).image.crop(box)
    parts = [make_volume(scene, channel, image.grid) for channel in image.array]
    np.testing.assert_array_equal(labels(found, first)[box], labels(logic.segment(parts, two), parts[0]))
    assert logic.provenance(found)["region_kji"] == [[4, 13], [4, 19], [4, 15]]


def test_what_slicer_saves_is_the_box_that_the_node_is(scene, tmp_path):
    target = make_volume(scene, np.zeros(GRID.shape, np.float32), GRID)
    node = region(scene, (9, 11, 8), (7, 12, 9), (20, -30, 40))
    scene.util.saveNode(node, str(tmp_path / "region.mrk.json"))
    from_file = read_region(tmp_path / "region.mrk.json")
    assert from_file.box(GRID, "v") == box_of_roi(node, target)
    node.SetAndObserveTransformNodeID(linear_transform(scene, motion((0, 0, 0), (3, -2, 1))).GetID())
    shifted = [(part.start, part.stop) for part in box_of_roi(node, target)]
    plain = [(part.start, part.stop) for part in from_file.box(GRID, "v")]
    for (a, b), (c, d), shift, size in zip(shifted, plain, (1, -2, 3), GRID.shape, strict=True):
        assert (a, b) == (max(c + shift, 0), min(d + shift, size)) or c == 0 or d == size


def test_a_region_under_a_bent_transform_is_the_box_that_slicer_draws(scene):
    target = make_volume(scene, np.zeros((40, 40, 40), np.float32), make_grid((40, 40, 40), origin_ras=(-20, -20, -20)))
    node = region(scene, (1, 2, 3), (12, 10, 14))
    node.SetAndObserveTransformNodeID(grid_transform(scene, amplitude_mm=6.0).GetID())
    corners = []
    matrix = scene.util.arrayFromVTKMatrix(node.GetObjectToWorldMatrix())
    for ends in np.ndindex(2, 2, 2):
        corners.append((matrix @ [*((np.array(ends) - 0.5) * node.GetSize()), 1])[:3] + 20)
    low, high = np.ceil(np.min(corners, 0)).astype(int), np.floor(np.max(corners, 0)).astype(int)
    drawn = tuple(slice(a, b + 1) for a, b in zip(low[::-1], high[::-1], strict=True))
    assert box_of_roi(node, target) == drawn
    assert not np.allclose(matrix[:3, 3], (1, 2, 3))


def test_an_inside_out_region_is_refused(scene, logic, one):
    node = region(scene, (9, 11, 8), (7, 12, 9))
    node.SetInsideOut(True)
    with pytest.raises(InputError, match="inside out"):
        logic.segment(volume(scene), one, roiNode=node)
    flat = region(scene, (9, 11, 8), (7, 0, 9))
    with pytest.raises(InputError, match="no size yet"):
        logic.segment(volume(scene), one, roiNode=flat)


# ---- sequences -----------------------------------------------------------------------------------------------------


def sequence(scene, frames, bad=()):
    node = scene.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    node.SetIndexName("trigger time")
    node.SetIndexUnit("ms")
    for number in range(frames):
        frame = volume(scene, seed=number, name=f"frame {number}")
        if number in bad:
            scene.util.arrayFromVolume(frame)[3, 4, 5] = np.nan
        node.SetDataNodeAtValue(frame, str(number * 40.5))
        scene.mrmlScene.RemoveNode(frame)
    return node


def test_every_frame_of_a_sequence_gets_its_segmentation(scene, logic, one):
    cine = sequence(scene, 3)
    fractions = []
    result = logic.segmentSequence(cine, one, progress=lambda fraction, message: fractions.append(fraction))
    assert result.GetClassName() == "vtkMRMLSequenceNode"
    assert [result.GetNthIndexValue(n) for n in range(3)] == ["0.0", "40.5", "81.0"]
    assert (result.GetIndexName(), result.GetIndexUnit()) == ("trigger time", "ms")
    for number in range(3):
        alone = volume(scene, seed=number)
        np.testing.assert_array_equal(
            mrml.label_map_from_segmentation(result.GetNthDataNode(number)).array,
            labels(logic.segment(alone, one), alone),
        )
        assert logic.provenance(result.GetNthDataNode(number))["model"]["id"] == "random"
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert logic.frameErrors(result) == {}


def test_the_browser_shows_volume_and_segmentation_together(scene, logic, one):
    cine = sequence(scene, 2)
    result = logic.segmentSequence(cine, one)
    (browser,) = scene.util.getNodesByClass("vtkMRMLSequenceBrowserNode")
    assert browser.GetMasterSequenceNode() is cine
    browser.SetSelectedItemNumber(1)
    scene.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    shown, segmentation = browser.GetProxyNode(cine), browser.GetProxyNode(result)
    np.testing.assert_array_equal(
        labels(segmentation, shown), mrml.label_map_from_segmentation(result.GetNthDataNode(1)).array
    )
    again = logic.segmentSequence(cine, one)
    assert len(scene.util.getNodesByClass("vtkMRMLSequenceBrowserNode")) == 1
    assert browser.IsSynchronizedSequenceNode(again, True)


def test_a_bad_frame_is_told_and_stops_no_other(scene, logic, one):
    result = logic.segmentSequence(sequence(scene, 3, bad=(1,)), one)
    assert list(logic.frameErrors(result)) == ["40.5"]
    assert "NaN" in logic.frameErrors(result)["40.5"]
    counts = [result.GetNthDataNode(n).GetSegmentation().GetNumberOfSegments() for n in range(3)]
    assert counts == [2, 0, 2]


def test_a_sequence_that_cannot_be_used_is_refused(scene, logic, one, two):
    cine = sequence(scene, 2, bad=(0, 1))
    with pytest.raises(InputError, match="None of the 2 frames could be segmented"):
        logic.segmentSequence(cine, one)
    with pytest.raises(InputError, match="sequence of volumes is needed, but 'T1'"):
        logic.segmentSequence(volume(scene), one)
    empty = scene.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "empty")
    with pytest.raises(InputError, match="'empty' is empty"):
        logic.segmentSequence(empty, one)
    calls = []

    def cancelled():
        calls.append(1)
        return len(calls) > 4

    with pytest.raises(Cancelled):
        logic.segmentSequence(sequence(scene, 2), one, cancelled=cancelled)
    assert not scene.util.getNodesByClass("vtkMRMLSequenceBrowserNode")
    assert not scene.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert len(scene.util.getNodesByClass("vtkMRMLSequenceNode")) == 3  # those of this test


# ---- files give the same -------------------------------------------------------------------------------------------


def test_files_and_nodes_on_different_grids_give_the_same_voxels(scene, logic, two, tmp_path):
    from MedSegAICore.files import read_label_map
    from MedSegAILib.commands import main

    first, other = volume(scene), volume(scene, make_grid((20, 30, 25), rotation(5, 5, 5), origin_ras=(-2, -2, -2)), 1)
    (tmp_path / "in").mkdir()
    for number, node in enumerate((first, other)):
        write_image(tmp_path / f"in/case_{number:04d}.nii.gz", mrml.image_from_volume(node))
    scene.util.saveNode(region(scene, (9, 11, 8), (11, 15, 9)), str(tmp_path / "region.mrk.json"))
    arguments = ["segment", str(tmp_path / "in"), "--model", str(two), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--device", "cpu", "--roi", str(tmp_path / "region.mrk.json")]) == 0
    found = logic.segment([first, other], two, roiNode=scene.util.getNode("region"))
    np.testing.assert_array_equal(read_label_map(tmp_path / "out/case.seg.nrrd").array, labels(found, first))
    record = json.loads((tmp_path / "out/case.json").read_text())
    assert record["provenance"]["region_kji"] == [[4, 13], [4, 19], [4, 15]]
    assert record["provenance"]["channels"][1]["resampled"]
    assert read_image(tmp_path / "in/case_0000.nii.gz").grid.matches(GRID)
