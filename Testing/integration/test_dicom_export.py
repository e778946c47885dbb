"""DICOM SEG and RTSTRUCT as a user gets them: ``segment --dicom-seg``, ``export``, ``compare`` and the logic."""

import json
import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

import fixtures_scene
from fixtures_dicom import SECRETS, write_seg, write_series
from fixtures_models import make_model_folder
from fixtures_scene import make_volume
from MedSegAICore import mrml
from MedSegAICore.dicom import find_series, only_image_series
from MedSegAICore.errors import GeometryError, InputError
from MedSegAICore.files import read_label_map, read_metadata, write_segmentation
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.mrml_dicom import INSTANCES
from MedSegAILib.commands import main
from MedSegAILib.logic import SegmentationLogic

pytest.importorskip("highdicom")

scene = fixtures_scene.scene

SHAPE = (16, 20, 18)
OBLIQUE = (0.8, 0.6, 0, -0.6, 0.8, 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model_folder(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study with one image series, oblique."""
    folder = tmp_path_factory.mktemp("data") / "study"
    noise = np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.int16)
    write_series(folder / "images", noise, orientation=OBLIQUE, spacing=(1, 1, 1), StudyInstanceUID="1.2.3.4")
    return folder


def segment(model, output, *arguments):
    arguments = ["segment", *arguments, "--model", model, "--output", output, "--device", "cpu", "--json"]
    return main([str(argument) for argument in arguments])


def export(*arguments):
    return main(["export", *map(str, arguments)])


def same_segments(one, other):
    assert [label.id for label in one.labels] == [label.id for label in other.labels]
    return all(np.array_equal(one.mask(a), other.mask(b)) for a, b in zip(one.labels, other.labels, strict=True))


@pytest.fixture(scope="module")
def draft(model, study, tmp_path_factory):
    output = tmp_path_factory.mktemp("out")
    assert segment(model, output, study, "--dicom-seg", "--rtstruct") == 0
    return output


# ---- segment -------------------------------------------------------------------------------------------------------


def test_a_dicom_study_gives_seg_and_contours_beside_the_segmentation(draft, model):
    assert sorted(path.name for path in draft.iterdir()) == [
        "study.dcm", "study.json", "study.seg.nrrd", "study_rtstruct.dcm",
    ]  # fmt: skip
    expected, found = read_label_map(draft / "study.seg.nrrd"), read_label_map(draft / "study.dcm")
    assert found.array.any()
    assert found.grid.matches(expected.grid)
    assert same_segments(found, expected)
    dataset = pydicom.dcmread(draft / "study.dcm")
    (algorithm,) = dataset.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    provenance = json.loads((draft / "study.json").read_text())["provenance"]
    assert dataset.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    assert algorithm.AlgorithmParameters == f"weights_sha256={provenance['model']['sha256']}"
    assert dataset.StudyInstanceUID == "1.2.3.4"
    assert pydicom.dcmread(draft / "study_rtstruct.dcm").Modality == "RTSTRUCT"


def test_a_finished_case_is_skipped_until_a_dicom_file_is_missing(model, study, tmp_path, capsys):
    for arguments, status in (((), "done"), (("--dicom-seg",), "done"), (("--dicom-seg",), "skipped")):
        assert segment(model, tmp_path, study, *arguments) == 0
        assert json.loads(capsys.readouterr().out)[0]["status"] == status
    (tmp_path / "study.dcm").unlink()
    assert segment(model, tmp_path, study, "--dicom-seg") == 0
    assert (tmp_path / "study.dcm").exists()


def test_a_dicom_file_that_we_did_not_write_is_not_replaced(model, study, tmp_path, capsys):
    (tmp_path / "study.dcm").write_text("somebody's")
    assert segment(model, tmp_path, study, "--dicom-seg") == 1
    assert "study.dcm exists and has no record" in json.loads(capsys.readouterr().out)[0]["error"]
    assert [path.name for path in tmp_path.iterdir()] == ["study.dcm"]
    assert (tmp_path / "study.dcm").read_text() == "somebody's"


def test_input_that_is_not_dicom_fails_with_one_sentence_and_the_others_run(model, study, tmp_path, capsys):
    sitk.WriteImage(sitk.GetImageFromArray(np.ones(SHAPE, np.float32)), str(tmp_path / "head.nii.gz"))
    assert segment(model, tmp_path / "out", tmp_path / "head.nii.gz", study, "--dicom-seg") == 1
    head, other = json.loads(capsys.readouterr().out)
    assert head["error"].startswith("head is no DICOM series, but DICOM SEG and RTSTRUCT refer to one.")
    assert other["status"] == "done"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["study.dcm", "study.json", "study.seg.nrrd"]


def test_one_file_of_a_series_will_do(model, study, tmp_path):
    file = sorted((study / "images").iterdir())[0]
    assert segment(model, tmp_path, file, "--rtstruct") == 0
    assert (tmp_path / f"{file.stem}_rtstruct.dcm").exists()


def test_deidentified_files_hold_no_patient(model, study, tmp_path, capsys):
    assert segment(model, tmp_path, study, "--dicom-seg", "--rtstruct", "--deidentify") == 0
    for name in ("study.dcm", "study_rtstruct.dcm"):
        content = (tmp_path / name).read_bytes()
        assert not [text for text in (*SECRETS.values(), "1.2.3.4") if text.encode() in content]
    assert segment(model, tmp_path, study, "--deidentify") == 2
    assert "Add --dicom-seg or --rtstruct" in capsys.readouterr().err


def test_all_workers_replace_an_identity_in_the_same_way(model, study, tmp_path):
    pytest.importorskip("distributed")
    for name in ("one", "two"):
        noise = np.random.default_rng(1).integers(0, 200, SHAPE).astype(np.int16)
        write_series(tmp_path / "in" / name, noise, SeriesDescription=name, spacing=(1, 1, 1))
    arguments, environment = ["--dicom-seg", "--deidentify", "--workers", "2"], dict(os.environ)
    assert segment(model, tmp_path / "out", tmp_path / "in/one", tmp_path / "in/two", *arguments) == 0
    one, two = (pydicom.dcmread(tmp_path / f"out/{name}.dcm") for name in ("one", "two"))
    assert one.PatientID == two.PatientID != SECRETS["PatientID"]
    assert dict(os.environ) == environment  # Dask's settings for its workers do not slow what this process runs next


def test_without_highdicom_nothing_is_begun(model, study, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    assert segment(model, tmp_path / "out", study, "--dicom-seg") == 2
    assert "pip install highdicom" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# ---- export --------------------------------------------------------------------------------------------------------


def test_a_corrected_segmentation_is_exported_as_semiautomatic(draft, study, tmp_path):
    label_map = read_label_map(draft / "study.seg.nrrd")
    label_map.array[3:6, 4:9, 5:11] = label_map.labels[0].value
    corrected = tmp_path / "corrected.seg.nrrd"
    write_segmentation(corrected, label_map, read_metadata(draft / "study.seg.nrrd"))
    assert export(corrected, "--source", study, "--output", tmp_path / "a.dcm", "--rtstruct") == 0
    assert same_segments(read_label_map(tmp_path / "a.dcm"), label_map)
    (algorithm,) = pydicom.dcmread(tmp_path / "a.dcm").SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == "random"
    kinds = {item.SegmentAlgorithmType for item in pydicom.dcmread(tmp_path / "a.dcm").SegmentSequence}
    assert kinds == {"SEMIAUTOMATIC"}
    assert (tmp_path / "a_rtstruct.dcm").exists()


def test_a_file_that_says_nothing_about_its_making_asks_for_the_type(study, tmp_path, capsys):
    series = only_image_series(find_series(study), study)
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, LabelMap(np.ones(SHAPE, np.uint8), series.grid, [Label(1, "a", "a")]))
    arguments = [path, "--source", study, "--output", tmp_path / "a.dcm"]
    assert export(*arguments) == 2
    assert "Give its algorithm type" in capsys.readouterr().err
    assert export(*arguments, "--algorithm-type", "AUTOMATIC") == 2
    assert "Give its name" in capsys.readouterr().err
    assert not (tmp_path / "a.dcm").exists()
    assert export(*arguments, "--algorithm-type", "MANUAL") == 0
    assert pydicom.dcmread(tmp_path / "a.dcm").SegmentSequence[0].SegmentAlgorithmType == "MANUAL"
    assert export(*arguments, "--algorithm-type", "MANUAL") == 2
    assert "a.dcm exists" in capsys.readouterr().err
    assert export(*arguments, "--algorithm-type", "AUTOMATIC", "--algorithm-name", "theirs", "--overwrite") == 0
    assert pydicom.dcmread(tmp_path / "a.dcm").SegmentSequence[0].SegmentAlgorithmName == "theirs"


def test_of_several_series_the_one_is_taken_on_which_the_segments_lie(draft, study, tmp_path, capsys):
    folder = tmp_path / "study"
    (tmp_path / "copy").mkdir()
    for file in (study / "images").iterdir():
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "images" / file.name).write_bytes(file.read_bytes())
    write_series(folder / "other", np.zeros((4, 5, 6), np.int16))
    arguments = [draft / "study.seg.nrrd", "--source", folder, "--output", tmp_path / "a.dcm"]
    assert export(*arguments) == 0
    write_series(folder / "twin", np.zeros(SHAPE, np.int16), orientation=OBLIQUE, spacing=(1, 1, 1))
    assert export(*arguments, "--overwrite") == 2
    assert "fit 2 series" in capsys.readouterr().err
    arguments[2] = folder / "other"
    assert export(*arguments, "--overwrite") == 2
    assert "their voxels do not coincide" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "message"), [("nowhere", "no file or folder"), ("empty", "holds no DICOM image series")]
)
def test_a_source_without_images_is_an_error(draft, tmp_path, capsys, source, message):
    (tmp_path / "empty").mkdir()
    status = export(draft / "study.seg.nrrd", "--source", tmp_path / source, "--output", tmp_path / "a.dcm")
    assert status == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a.dcm").exists()


def test_one_key_makes_the_files_of_two_runs_agree(draft, study, tmp_path, capsys):
    key = tmp_path / "key.txt"
    key.write_text("0123456789abcdef")
    arguments = [draft / "study.seg.nrrd", "--source", study, "--deidentify", "--key-file", key, "--output"]
    assert export(*arguments, tmp_path / "a.dcm") == export(*arguments, tmp_path / "b.dcm") == 0
    one, other = pydicom.dcmread(tmp_path / "a.dcm"), pydicom.dcmread(tmp_path / "b.dcm")
    assert one.StudyInstanceUID == other.StudyInstanceUID != "1.2.3.4"
    key.write_text("short")
    assert export(*arguments, tmp_path / "c.dcm") == 2
    assert "has 5 characters" in capsys.readouterr().err


# ---- compare -------------------------------------------------------------------------------------------------------


def test_dicom_segmentations_are_compared_file_by_file_and_folder_by_folder(draft, tmp_path, capsys):
    arguments = ["--measures", "overlap", "--json"]
    assert main(["compare", str(draft / "study.seg.nrrd"), str(draft / "study.dcm"), *arguments]) == 0
    assert {row["dice"] for row in json.loads(capsys.readouterr().out)} == {1.0}
    for name in ("reference", "test"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "case.dcm").write_bytes((draft / "study.dcm").read_bytes())
        (folder / "contours.dcm").write_bytes((draft / "study_rtstruct.dcm").read_bytes())
    (tmp_path / "test/other.dcm").write_bytes((draft / "study.dcm").read_bytes()[:3000])
    assert main(["compare", str(tmp_path / "reference"), str(tmp_path / "test"), *arguments]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert {row["case"] for row in rows} == {"case", "other"}
    assert {row["dice"] for row in rows if row["case"] == "case"} == {1.0}


# ---- logic ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def nodes(scene, study):
    """A volume as Slicer's DICOM module loads it, under a transform, and a segmentation on it."""
    series = only_image_series(find_series(study), study)
    volume = make_volume(scene, np.zeros(SHAPE, np.int16), series.grid, "Doe^Jane")
    transform = scene.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    volume.SetAttribute(INSTANCES, " ".join(part.uid for part in series.slices))
    array = np.zeros((2, *SHAPE), np.uint8)
    array[0, 2:9, 3:12, 4:10] = array[1, 5:12, 8:15, 6:14] = 1
    labels = [Label(1, "a", "A", (1, 0, 0)), Label(1, "b", "B", (0, 1, 0), layer=1)]
    label_map = LabelMap(array, series.grid, labels)
    node = mrml.segmentation_from_label_map(label_map, volume, provenance={"model": {"id": "m", "version": "2"}})
    return volume, node, label_map, series


def test_the_logic_writes_what_the_segmentation_holds(nodes, study, tmp_path):
    volume, node, label_map, _ = nodes
    logic = SegmentationLogic()
    path = logic.exportDicomSeg(node, volume, tmp_path / "a.dcm", sourceFolder=study, rtstruct=True)
    assert same_segments(read_label_map(path), label_map)
    dataset = pydicom.dcmread(path)
    assert dataset.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"  # nobody has corrected it
    assert dataset.SeriesDescription == "m"  # not the node's name, which may be the patient's
    assert (tmp_path / "a_rtstruct.dcm").exists()
    logic.exportDicomSeg(node, volume, tmp_path / "b.dcm", sourceFolder=study, deidentify=True, algorithmType="MANUAL")
    assert b"Jane" not in (tmp_path / "b.dcm").read_bytes()


def test_in_slicer_the_files_are_those_of_its_database(nodes, tmp_path, scene, monkeypatch):
    volume, node, label_map, series = nodes
    logic = SegmentationLogic()
    with pytest.raises(InputError, match="no DICOM database"):
        logic.exportDicomSeg(node, volume, tmp_path / "a.dcm")
    files = {part.uid: str(part.file) for part in series.slices}
    # Slicer's database is a part of the application; this stands in for the one method that is asked.
    database = SimpleNamespace(isOpen=True, fileForInstance=lambda uid: files.get(uid, ""))
    monkeypatch.setattr(scene, "dicomDatabase", database, raising=False)
    logic.exportDicomSeg(node, volume, tmp_path / "a.dcm")
    assert same_segments(read_label_map(tmp_path / "a.dcm"), label_map)
    files.popitem()
    with pytest.raises(InputError, match="1 of the 16 DICOM files"):
        logic.exportDicomSeg(node, volume, tmp_path / "b.dcm")


def test_a_volume_that_is_not_from_dicom_or_lies_elsewhere_is_refused(nodes, study, tmp_path, scene):
    volume, node, label_map, _ = nodes
    volume.RemoveAttribute(INSTANCES)
    with pytest.raises(InputError, match="was not loaded from DICOM"):
        SegmentationLogic().exportDicomSeg(node, volume, tmp_path / "a.dcm")
    moved = replace(label_map, grid=label_map.grid.crop((0.5, 0, 0), SHAPE))
    other = make_volume(scene, np.zeros(SHAPE, np.int16), moved.grid, "moved")
    segmentation = mrml.segmentation_from_label_map(moved, other, provenance={"model": {"id": "m"}})
    with pytest.raises(GeometryError, match="their voxels do not coincide"):
        SegmentationLogic().exportDicomSeg(segmentation, other, tmp_path / "a.dcm", sourceFolder=study)
    assert not list(tmp_path.iterdir())


def test_overlapping_segments_of_a_dicom_seg_become_nodes_without_loss(scene, shared_data):
    label_map = read_label_map(shared_data("dicom_seg/partial_overlaps.dcm"))
    node = mrml.segmentation_from_label_map(label_map)
    assert node.GetSegmentation().GetNumberOfSegments() == 5
    back = mrml.label_map_from_segmentation(node)
    assert back.grid.matches(label_map.grid)
    assert same_segments(back, label_map)
    for before, after in zip(label_map.labels, back.labels, strict=True):
        assert (after.name, after.terminology) == (before.name, before.terminology)


def test_a_dicom_segmentation_is_refused_as_a_volume_to_segment(model, tmp_path, capsys):
    path = write_seg(tmp_path / "in/a.dcm", [(1, (0, 0, 0), np.ones((4, 5)))])
    assert segment(model, tmp_path / "out", path) == 1
    assert "a segmentation (DICOM SEG)" in json.loads(capsys.readouterr().out)[0]["error"]
