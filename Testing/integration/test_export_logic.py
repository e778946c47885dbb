"""``exportSegmentation``: files in a folder, named after the node, complete or not there, and never replaced."""

import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import fixtures_scene
from fixtures_dicom import write_series
from fixtures_scene import GRIDS, grid_transform, make_volume
from MedSegAICore import mrml
from MedSegAICore.dicom import find_series, only_image_series
from MedSegAICore.errors import InputError, OutputError
from MedSegAICore.files import read_label_map, read_metadata
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.mrml_dicom import INSTANCES
from MedSegAILib.logic import SegmentationLogic

scene = fixtures_scene.scene

PROVENANCE = {"model": {"id": "m", "version": "2"}, "time_utc": "2026-11-21T10:20:00+00:00", "warnings": ["It is odd."]}


def two_boxes(grid, overlap=False):
    array = np.zeros((2, *grid.shape), np.uint8)
    array[0, 1:4, 2:6, 3:8] = 3
    array[1, 3 if overlap else 5 : 7, 2:6, 3:8] = 5
    labels = [Label(3, "a", "A", (1, 0, 0)), Label(5, "b", "B", (0, 1, 0), layer=1)]
    return LabelMap(array, grid, labels)


@pytest.fixture
def node(scene):
    """Two segments on an oblique volume under a non-linear transform; the second one is hidden."""
    return on_a_volume(scene)


def on_a_volume(scene, overlap=False, provenance=PROVENANCE):
    grid = GRIDS["oblique anisotropic"]
    volume = make_volume(scene, np.zeros(grid.shape, np.int16), grid, "case")
    volume.SetAndObserveTransformNodeID(grid_transform(scene).GetID())
    node = mrml.segmentation_from_label_map(two_boxes(grid, overlap), volume, provenance=provenance)
    node.GetDisplayNode().SetSegmentVisibility("b", False)
    return node


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_segmentation_file_has_everything(node, tmp_path):
    (path,) = SegmentationLogic().exportSegmentation(node, tmp_path)
    assert path == tmp_path / "case segmentation.seg.nrrd"
    found, expected = read_label_map(path), two_boxes(GRIDS["oblique anisotropic"])
    assert found.grid.matches(expected.grid)
    for one, other in zip(found.labels, expected.labels, strict=True):
        assert (one.id, one.name, one.color) == (other.id, other.name, other.color)
        np.testing.assert_array_equal(found.mask(one), expected.mask(other))
    assert json.loads(read_metadata(path)[mrml.PROVENANCE]) == PROVENANCE
    assert names(tmp_path) == [path.name]


def test_nifti_has_its_labels_beside_it(node, tmp_path):
    path, sidecar = SegmentationLogic().exportSegmentation(node, tmp_path, "nii.gz")
    found, expected = read_label_map(path), two_boxes(GRIDS["oblique anisotropic"])
    np.testing.assert_array_equal(found.array, expected.array.max(axis=0))
    assert found.grid.matches(expected.grid)
    content = json.loads(sidecar.read_text())
    assert [(one["label"], one["id"], one["name"]) for one in content["segments"]] == [(3, "a", "A"), (5, "b", "B")]
    voxel_ml = 0.7 * 0.9 * 3 / 1000
    assert [one["volume_ml"] for one in content["segments"]] == pytest.approx([60 * voxel_ml, 40 * voxel_ml])
    assert content["provenance"]["model"] == {"id": "m", "version": "2"}
    assert (content["output"], content["warnings"]) == (path.name, ["It is odd."])
    assert names(tmp_path) == ["case segmentation.json", "case segmentation.nii.gz"]


def test_nifti_is_refused_if_segments_overlap(scene, tmp_path):
    with pytest.raises(OutputError, match=r"overlap, but NIfTI has one value per voxel.*Choose .seg.nrrd"):
        SegmentationLogic().exportSegmentation(on_a_volume(scene, overlap=True), tmp_path, "nii.gz")
    assert names(tmp_path) == []
    (path,) = SegmentationLogic().exportSegmentation(on_a_volume(scene, overlap=True), tmp_path)
    assert [read_label_map(path).mask(label).sum() for label in read_label_map(path).labels] == [60, 80]


def test_nothing_is_ever_replaced(node, tmp_path):
    logic = SegmentationLogic()
    first = logic.exportSegmentation(node, tmp_path)[0]
    content = first.read_bytes()
    node.GetSegmentation().RemoveSegment("a")
    assert logic.exportSegmentation(node, tmp_path)[0].name == "case segmentation_2.seg.nrrd"
    assert logic.exportSegmentation(node, tmp_path)[0].name == "case segmentation_3.seg.nrrd"
    assert first.read_bytes() == content
    (tmp_path / "case segmentation.json").write_text("theirs")
    paths = logic.exportSegmentation(node, tmp_path, "nii.gz")
    assert [path.name for path in paths] == ["case segmentation_2.nii.gz", "case segmentation_2.json"]
    assert (tmp_path / "case segmentation.json").read_text() == "theirs"


def test_a_name_that_is_no_file_name_is_made_one(node, tmp_path):
    node.SetName("../5: T1/axial")
    (path,) = SegmentationLogic().exportSegmentation(node, tmp_path)
    assert path == tmp_path / "5_ T1_axial.seg.nrrd"


def test_what_cannot_be_written_is_one_sentence_and_leaves_nothing(node, scene, tmp_path, monkeypatch):
    logic, empty = SegmentationLogic(), scene.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing")
    with pytest.raises(OutputError, match="There is no folder"):
        logic.exportSegmentation(node, tmp_path / "gone")
    with pytest.raises(InputError, match="'nothing' has no segments"):
        logic.exportSegmentation(empty, tmp_path)
    with pytest.raises(InputError, match=r"'stl' does not exist; choose of seg.nrrd, nii.gz, dcm"):
        logic.exportSegmentation(node, tmp_path, "stl")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for format in ("seg.nrrd", "nii.gz"):
        with pytest.raises(OutputError, match="the disk is full"):
            logic.exportSegmentation(node, tmp_path, format)
    assert names(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="an administrator may write anywhere")
def test_a_read_only_folder_is_one_sentence(node, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Nothing can be written into"):
            SegmentationLogic().exportSegmentation(node, tmp_path)
    finally:
        tmp_path.chmod(0o700)


# ---- DICOM ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def from_dicom(scene, tmp_path, monkeypatch):
    """A function that makes a segmentation of a volume as Slicer's DICOM module loads it, with its database."""
    shape = (8, 10, 9)
    write_series(tmp_path / "dicom", np.zeros(shape, np.int16), orientation=(0.8, 0.6, 0, -0.6, 0.8, 0))
    series = only_image_series(find_series(tmp_path / "dicom"), tmp_path)
    files = {part.uid: str(part.file) for part in series.slices}
    # Slicer's database is a part of the application; this stands in for the one method that is asked.
    database = SimpleNamespace(isOpen=True, fileForInstance=lambda uid: files.get(uid, ""))
    monkeypatch.setattr(scene, "dicomDatabase", database, raising=False)

    def make(provenance=PROVENANCE):
        volume = make_volume(scene, np.zeros(shape, np.int16), series.grid, "5: T1")
        volume.SetAttribute(INSTANCES, " ".join(files))
        return mrml.segmentation_from_label_map(two_boxes(series.grid, overlap=True), volume, provenance=provenance)

    return make


def _algorithms(path):
    """Type and name of the algorithm of every segment of a DICOM SEG."""
    import pydicom

    found = []
    for segment in pydicom.dcmread(path).SegmentSequence:
        (own,) = segment.get("SegmentationAlgorithmIdentificationSequence") or [None]
        found.append((segment.SegmentAlgorithmType, own.AlgorithmName if own else segment.get("SegmentAlgorithmName")))
    return found


def test_dicom_tells_of_each_segment_which_model_made_it_and_whether_a_person_went_over_it(from_dicom, tmp_path):
    """A draft is AUTOMATIC, what was corrected or judged SEMIAUTOMATIC; runs of two models are told apart."""
    pytest.importorskip("highdicom")
    import pydicom

    (tmp_path / "out").mkdir()
    logic, draft = SegmentationLogic(), from_dicom()
    model = PROVENANCE["model"]["id"]
    node = logic.startCorrection(draft)
    volume = logic.volumeOf(node)
    mrml.segmentation_from_label_map(
        two_boxes(mrml.grid_from_volume(volume)), volume, node=node, provenance={"model": {"id": "second"}}
    )
    paths = logic.exportSegmentation(node, tmp_path / "out", "dcm", rtstruct=True)
    expected = [("SEMIAUTOMATIC", model)] * 2 + [("AUTOMATIC", "second")] * 2
    assert _algorithms(paths[0]) == expected
    contours = pydicom.dcmread(paths[1]).StructureSetROISequence
    assert [(one.ROIGenerationAlgorithm, one.ROIGenerationDescription.split()[0]) for one in contours] == expected
    logic.finishCorrection(node)
    (path,) = logic.exportSegmentation(node, tmp_path / "out", "dcm")
    assert _algorithms(path) == [("SEMIAUTOMATIC", model)] * 2 + [("SEMIAUTOMATIC", "second")] * 2
    draft.GetSegmentation().GetNthSegment(0).SetTag(mrml.STATUS_TAG, "completed")
    (path,) = logic.exportSegmentation(draft, tmp_path / "out", "dcm")
    assert _algorithms(path) == [("SEMIAUTOMATIC", model), ("AUTOMATIC", model)]


def test_a_draft_loaded_from_its_file_still_says_which_model_made_it(from_dicom, scene, tmp_path):
    """Slicer does not load the attribute of the node; a draft must not become the work of a person so."""
    pytest.importorskip("highdicom")
    (tmp_path / "out").mkdir()
    logic, draft = SegmentationLogic(), from_dicom()
    for save in (lambda path: logic.saveSegmentation(draft, path), lambda path: scene.util.saveNode(draft, str(path))):
        save(tmp_path / "draft.seg.nrrd")
        loaded = scene.util.loadSegmentation(str(tmp_path / "draft.seg.nrrd"))
        assert logic.provenance(loaded) == logic.provenance(draft) != {}
        loaded.SetNodeReferenceID(loaded.GetReferenceImageGeometryReferenceRole(), logic.volumeOf(draft).GetID())
        (path,) = logic.exportSegmentation(loaded, tmp_path / "out", "dcm")
        assert _algorithms(path) == [("AUTOMATIC", PROVENANCE["model"]["id"])] * 2
        node = logic.openCorrection(loaded)
        assert node is not loaded
        assert logic.provenance(node)["model"] == PROVENANCE["model"]


def test_dicom_refers_to_the_volume_that_the_segmentation_names(from_dicom, tmp_path):
    pytest.importorskip("highdicom")
    (tmp_path / "out").mkdir()
    logic, node = SegmentationLogic(), from_dicom()
    assert logic.dicomProblem(node) == ""
    paths = logic.exportSegmentation(node, tmp_path / "out", "dcm", rtstruct=True)
    assert [path.name for path in paths] == ["5_ T1 segmentation.dcm", "5_ T1 segmentation_rtstruct.dcm"]
    found = read_label_map(paths[0])
    assert [found.mask(label).sum() for label in found.labels] == [60, 80]
    assert _algorithms(paths[0])[0][0] == "AUTOMATIC"
    (path,) = logic.exportSegmentation(node, tmp_path / "out", "dcm", deidentify=True)
    assert path.name == "5_ T1 segmentation_2.dcm"
    assert b"Jane" in paths[0].read_bytes()
    assert b"Jane" not in path.read_bytes()


def test_what_was_drawn_by_hand_is_manual_in_dicom(from_dicom, tmp_path):
    pytest.importorskip("highdicom")
    import pydicom

    (tmp_path / "out").mkdir()
    (path,) = SegmentationLogic().exportSegmentation(from_dicom(provenance=None), tmp_path / "out", "dcm")
    assert pydicom.dcmread(path).SegmentSequence[0].SegmentAlgorithmType == "MANUAL"


def test_without_dicom_images_the_reason_is_said_before(node, scene, tmp_path):
    logic = SegmentationLogic()
    assert "'case' was not loaded from DICOM" in logic.dicomProblem(node)
    with pytest.raises(InputError, match="'case' was not loaded from DICOM"):
        logic.exportSegmentation(node, tmp_path, "dcm")
    scene.mrmlScene.RemoveNode(scene.util.getNode("case"))
    assert "does not say which volume" in logic.dicomProblem(node)
    assert names(tmp_path) == []


def test_a_failed_dicom_export_leaves_nothing(from_dicom, tmp_path, monkeypatch):
    from MedSegAICore.errors import DependencyError

    (tmp_path / "out").mkdir()
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(DependencyError, match="highdicom"):
        SegmentationLogic().exportSegmentation(from_dicom(), tmp_path / "out", "dcm", rtstruct=True)
    assert names(tmp_path / "out") == []
