"""Volume nodes in, a segmentation node out: the geometry, the provenance, and what happens when it goes wrong."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import fixtures_scene
from fixtures_scene import GRIDS, bspline_transform, grid_transform, linear_transform, make_grid, make_volume, rotation
from MedSegAICore import mrml
from MedSegAICore.errors import Cancelled, GeometryError, InputError, ModelError, OutputError, ProtocolError
from MedSegAICore.files import read_label_map, read_metadata
from MedSegAICore.mrml_images import matrix_from_array
from MedSegAICore.mrml_roi import box_of_roi
from MedSegAILib.logic import SegmentationLogic

scene = fixtures_scene.scene

SHAPE = (16, 24, 20)  # two tiles of the model
TILT = np.block([[rotation(10, 20, -30), np.array([[4], [5], [-6]])], [np.zeros((1, 3)), np.ones((1, 1))]])


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    from fixtures_models import make_model_folder

    return make_model_folder(tmp_path_factory.mktemp("models") / "random", "3d", mirror_axes=(1, 2))


@pytest.fixture(scope="module")
def logic():
    return SegmentationLogic()


def _volume(scene, grid=None, seed=0, name="case"):
    grid = grid or make_grid(SHAPE)
    noise = np.random.default_rng(seed).normal(size=grid.shape)
    blurred = sum(np.roll(noise, shift, axis) for axis in range(3) for shift in (-1, 0, 1))
    return make_volume(scene, blurred.astype(np.float32), grid, name)


def _array(node, volume) -> np.ndarray:
    return mrml.label_map_from_segmentation(node, volume).array


# ---- a region of interest ------------------------------------------------------------------------------------------

BOX = (slice(2, 14), slice(5, 21), slice(3, 17))


def _region(scene, grid, box=BOX, parent=None):
    """An ROI whose faces are those of the box's voxels, in the axes of the grid, under a transform or none."""
    node = scene.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    start, stop = (np.array([getattr(part, end) for part in box[::-1]], float) for end in ("start", "stop"))
    matrix = np.eye(4)
    matrix[:3, :3] = grid.ijk_to_ras[:3, :3] / grid.spacing_ijk
    if np.linalg.det(matrix[:3, :3]) < 0:
        matrix[:3, 0] *= -1  # a box is the same mirrored, and Slicer's ROI has no mirrored axes
    matrix[:3, 3] = grid.ijk_to_ras_points([(start + stop - 1) / 2])[0]
    node.SetSize(*((stop - start) * grid.spacing_ijk))
    node.SetAndObserveObjectToNodeMatrix(matrix_from_array(matrix))
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_region_is_the_box_of_voxels_whose_centers_lie_in_it(scene, grid):
    volume = make_volume(scene, np.zeros(GRIDS[grid].shape, np.float32), GRIDS[grid])
    box = (slice(2, 7), slice(1, 9), slice(3, 8))
    assert box_of_roi(_region(scene, GRIDS[grid], box), volume) == box


def test_transforms_of_region_and_volume_are_honored(scene):
    volume = _volume(scene)
    parent = linear_transform(scene, TILT)
    volume.SetAndObserveTransformNodeID(parent.GetID())
    assert box_of_roi(_region(scene, make_grid(SHAPE), parent=parent), volume) == BOX
    volume.SetAndObserveTransformNodeID(grid_transform(scene, amplitude_mm=2.0).GetID())
    bent = box_of_roi(_region(scene, make_grid(SHAPE)), volume)
    assert all(abs(a.start - b.start) <= 4 and abs(a.stop - b.stop) <= 4 for a, b in zip(bent, BOX, strict=True))


def test_a_region_gives_what_the_cropped_volume_gives_at_its_place(scene, logic, model_path):
    grid = make_grid(SHAPE, rotation(12, -7, 33), (0.9, 1.0, 1.1), (5, -6, 7))
    volume = _volume(scene, grid)
    array = scene.util.arrayFromVolume(volume)
    part = make_volume(scene, array[BOX].copy(), grid.crop([s.start for s in BOX], [s.stop - s.start for s in BOX]))
    found = logic.segment(volume, model_path, roiNode=_region(scene, grid))
    labels = _array(found, volume)
    assert np.array_equal(labels[BOX], _array(logic.segment(part, model_path), part))
    outside = np.ones(SHAPE, bool)
    outside[BOX] = False
    assert not labels[outside].any()
    assert logic.provenance(found)["region_kji"] == [[2, 14], [5, 21], [3, 17]]
    assert "region_kji" not in logic.provenance(logic.segment(volume, model_path))


def test_a_region_that_cannot_be_used_is_refused_before_anything_runs(scene, logic, model_path):
    volume = _volume(scene)
    far = _region(scene, make_grid(SHAPE, origin_ras=(500, 0, 0)))
    with pytest.raises(InputError, match="'region' holds no voxel of the volume 'case'"):
        logic.segment(volume, model_path, roiNode=far)
    new = scene.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "new")
    with pytest.raises(InputError, match="'new' has no size yet"):
        logic.segment(volume, model_path, roiNode=new)
    with pytest.raises(InputError, match="markups ROI"):
        logic.segment(volume, model_path, roiNode=volume)


# ---- the result ----------------------------------------------------------------------------------------------------


def test_the_segmentation_has_the_models_segments_and_both_are_found(scene, logic, model_path):
    volume = _volume(scene)
    node = logic.segment(volume, model_path)
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    assert ids == ["front", "back"]
    assert segmentation.GetSegment("front").GetName() == "Front part"
    assert segmentation.GetSegment("front").GetColor() == pytest.approx((0.9, 0.3, 0.2))
    assert segmentation.GetSegment("front").GetTerminology().split("~")[2] == "SCT^85151006^Front"
    assert set(np.unique(_array(node, volume))) == {0, 1, 2}


PARENTS = {
    "linear": lambda scene: linear_transform(scene, TILT),
    "grid": grid_transform,
    "bspline": bspline_transform,
}


@pytest.mark.parametrize("parent", PARENTS.values(), ids=PARENTS)
def test_a_parent_transform_changes_no_voxel_and_is_shared(scene, logic, model_path, parent):
    plain, moved = _volume(scene), _volume(scene)
    moved.SetAndObserveTransformNodeID(parent(scene).GetID())
    expected, result = logic.segment(plain, model_path), logic.segment(moved, model_path)
    np.testing.assert_array_equal(_array(result, moved), _array(expected, plain))
    assert result.GetParentTransformNode() is moved.GetParentTransformNode()
    assert moved.GetParentTransformNode() is not None  # not hardened


@pytest.mark.parametrize("name", ["LPS", "flipped", "oblique", "oblique anisotropic"])
def test_the_segmentation_lies_on_its_volume(scene, logic, model_path, name):
    grid = make_grid(SHAPE, GRIDS[name].ijk_to_ras[:3, :3] / GRIDS[name].spacing_ijk, (0.9, 1.1, 1.3), (-40, 7, 21))
    volume = _volume(scene, grid)
    node = logic.segment(volume, model_path)
    assert mrml.reference_grid(node).matches(grid)
    for identifier in ("front", "back"):  # as Slicer exports it onto the volume
        exported = scene.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume)
        value = mrml.label_map_from_segmentation(node, volume).label(identifier).value
        np.testing.assert_array_equal(exported > 0, _array(node, volume) == value)
        assert exported.any()


def test_several_volumes_are_the_channels_of_one_image(scene, logic, tmp_path):
    from fixtures_models import make_model_folder

    model = make_model_folder(tmp_path / "two", channels=2)
    first, second = _volume(scene, seed=0), _volume(scene, seed=1)
    both = logic.segment([first, second], model)
    swapped = logic.segment([second, first], model)
    assert (_array(both, first) != _array(swapped, first)).any()


def test_volumes_in_ml_are_voxels_times_voxel_volume(scene, logic, model_path):
    volume = _volume(scene, make_grid(SHAPE, spacing_ijk=(0.9, 1.1, 1.3)))
    node = logic.segment(volume, model_path)
    counts = np.bincount(_array(node, volume).ravel(), minlength=3)
    expected = {"front": counts[1] * 0.9 * 1.1 * 1.3 / 1000, "back": counts[2] * 0.9 * 1.1 * 1.3 / 1000}
    assert logic.volumesMl(node) == pytest.approx(expected)


def test_it_is_the_segmentation_that_files_give(scene, logic, model_path, tmp_path):
    from MedSegAICore.files import read_image
    from MedSegAILib.inference.prediction import segment_image
    from MedSegAILib.models.folder import ModelFolder

    volume = _volume(scene, make_grid(SHAPE, rotation(3, 4, 5), (1.1, 0.9, 1.2)))
    scene.util.saveNode(volume, str(tmp_path / "case.nrrd"))
    options = {"device": "cpu", "quality": "best"}
    from_file = segment_image(read_image(tmp_path / "case.nrrd"), ModelFolder.open(model_path), **options)
    from_node = logic.segment(volume, model_path, **options)
    np.testing.assert_array_equal(_array(from_node, volume), from_file.label_map.array)


def test_the_provenance_says_which_model_made_it(scene, logic, model_path):
    node = logic.segment(_volume(scene), model_path, device="cpu", mirroring=True)
    provenance = logic.provenance(node)
    assert provenance["model"]["id"] == "random"
    assert len(provenance["model"]["sha256"]) == 64
    assert provenance["run"]["device"].startswith("cpu")
    assert provenance["run"]["mirror_axes"] == [1, 2]
    assert logic.provenance(scene.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")) == {}


def test_a_saved_segmentation_reads_back_with_its_provenance(scene, logic, model_path, tmp_path):
    volume = _volume(scene)
    node = logic.segment(volume, model_path)
    node.GetDisplayNode().SetSegmentVisibility("front", False)
    path = logic.saveSegmentation(node, tmp_path / "case.seg.nrrd")
    read = read_label_map(path)
    np.testing.assert_array_equal(read.array, _array(node, volume))
    assert [label.id for label in read.labels] == ["front", "back"]
    assert '"id": "random"' in read_metadata(path)[mrml.PROVENANCE]
    with pytest.raises(OutputError):
        logic.saveSegmentation(node, tmp_path / "missing" / "case.seg.nrrd")


# ---- what is already there -----------------------------------------------------------------------------------------


def test_an_output_segmentation_keeps_what_an_annotator_drew(scene, logic, model_path):
    volume = _volume(scene)
    node = scene.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.GetSegmentation().AddEmptySegment("front", "Drawn by hand")
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[3:6, 3:6, 3:6] = 1
    scene.util.updateSegmentBinaryLabelmapFromArray(drawn, node, "front", volume)
    assert logic.segment(volume, model_path, outputSegmentationNode=node) is node
    np.testing.assert_array_equal(scene.util.arrayFromSegmentBinaryLabelmap(node, "front", volume), drawn)
    assert node.GetSegmentation().GetNumberOfSegments() == 3
    assert node.GetName() == "mine"


def test_an_output_under_another_transform_is_refused_before_the_run(scene, logic, model_path):
    volume = _volume(scene)
    node = logic.segment(volume, model_path)
    volume.SetAndObserveTransformNodeID(linear_transform(scene, TILT).GetID())
    with pytest.raises(GeometryError, match="already holds segments"):
        logic.segment(volume, model_path, outputSegmentationNode=node, progress=_must_not_run)


def _must_not_run(fraction, message):
    raise AssertionError("the network ran")


# ---- what goes wrong -----------------------------------------------------------------------------------------------


def test_cancelling_leaves_the_scene_as_it_was(scene, logic, model_path):
    volume = _volume(scene)
    nodes = scene.mrmlScene.GetNumberOfNodes()
    with pytest.raises(Cancelled):
        logic.segment(volume, model_path, cancelled=lambda: True)
    assert scene.mrmlScene.GetNumberOfNodes() == nodes


def test_progress_grows_to_one(scene, logic, model_path):
    fractions = []
    logic.segment(_volume(scene), model_path, progress=lambda fraction, message: fractions.append(fraction))
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


@pytest.mark.parametrize("what", ["volume", "output", "scene"])
def test_a_node_that_vanishes_during_the_run_is_an_error_that_names_it(scene, logic, model_path, what):
    volume = _volume(scene, name="vanishing" if what != "output" else "case")
    output = scene.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "vanishing")

    def interfere(fraction, message):
        if what == "scene":
            scene.mrmlScene.Clear(0)
        else:
            node = volume if what == "volume" else output
            if scene.mrmlScene.IsNodePresent(node):
                scene.mrmlScene.RemoveNode(node)

    with pytest.raises(InputError, match="'vanishing' was removed from the scene"):
        logic.segment(volume, model_path, outputSegmentationNode=output, progress=interfere)


def test_a_volume_that_is_moved_during_the_run_is_an_error_and_under_a_transform_the_result_follows(
    scene, logic, model_path
):
    volume = _volume(scene, name="moving")
    parent = scene.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node = logic.segment(volume, model_path, progress=lambda *_: volume.SetAndObserveTransformNodeID(parent.GetID()))
    assert node.GetParentTransformNode() is parent
    before = scene.mrmlScene.GetNumberOfNodes()
    with pytest.raises(InputError, match="'moving' was moved, resampled or cropped while it was being segmented"):
        logic.segment(volume, model_path, outputSegmentationNode=node, progress=lambda *_: volume.SetOrigin(1, 2, 3))
    assert scene.mrmlScene.GetNumberOfNodes() == before
    assert node.GetSegmentation().GetNumberOfSegments() == 2


def test_a_volume_that_the_card_does_not_expect_is_warned_about_or_refused(scene, logic, tmp_path, caplog):
    from fixtures_models import make_model_folder

    near_one = [[0.9, 1.1]] * 3
    model = make_model_folder(tmp_path / "strict", card={"input": {"modality": ["MR"], "spacing_mm": near_one}})
    volume = _volume(scene, make_grid(SHAPE, spacing_ijk=(1, 1, 1.5)), name="thick")
    with caplog.at_level(logging.WARNING):
        node = logic.segment(volume, model)
    assert any("1.5 mm" in warning for warning in logic.warnings(node))
    assert f"{volume.GetID()}: The spacing is 1 x 1 x 1.5 mm" in caplog.text
    assert "thick" not in caplog.text  # it may be a patient's name
    with pytest.raises(ProtocolError, match=r"is 1 x 1 x 1\.5 mm"):
        logic.segment(volume, model, strict=True)


def test_no_volume_or_an_empty_one_is_refused(scene, logic, model_path):
    with pytest.raises(InputError, match="No volume is chosen"):
        logic.segment(None, model_path)
    constant = make_volume(scene, np.zeros(SHAPE), make_grid(SHAPE))
    with pytest.raises(InputError, match="empty"):
        logic.segment(constant, model_path)


def test_an_unknown_model_is_refused(scene, logic):
    with pytest.raises(ModelError):
        logic.segment(_volume(scene), "no-such-model")


def test_the_networks_stay_loaded_until_settings_or_the_model_change(scene, model_path, tmp_path):
    from fixtures_models import make_model_folder

    logic = SegmentationLogic()
    volume = _volume(scene)
    logic.segment(volume, model_path)
    first = logic._warm.predictor
    logic.segment(volume, model_path)
    assert logic._warm.predictor is first
    logic.segment(volume, model_path, mirroring=True)
    assert logic._warm.predictor is not first
    other = make_model_folder(tmp_path / "other", seed=5)
    assert (_array(logic.segment(volume, other), volume) != _array(logic.segment(volume, model_path), volume)).any()
