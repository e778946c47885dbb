"""What we write without the patient: no text of the source is left, and UIDs agree among our files only."""

import numpy as np
import pydicom
import pytest

from fixtures_dicom import write_series
from MedSegAICore.dicom import find_series, only_image_series
from MedSegAICore.dicom_identity import Deidentifier, new_uid
from MedSegAICore.dicom_rtstruct import write_rtstruct
from MedSegAICore.dicom_seg_write import write_dicom_seg
from MedSegAICore.dicom_source import open_source
from MedSegAICore.dicom_writing import Algorithm
from MedSegAICore.files import read_label_map
from MedSegAICore.image import Label, LabelMap

pytest.importorskip("highdicom")

# Texts of the source, each of which says who or when it was.
TELLING = {
    "PatientName": "Doe^Jane",
    "PatientID": "ID-4711",
    "PatientBirthDate": "19700101",
    "PatientSex": "F",
    "PatientAge": "056Y",
    "PatientWeight": "71.5",
    "PatientComments": "a friend of ours",
    "OtherPatientNames": "Roe^Jane",
    "AccessionNumber": "ACC-0815",
    "StudyID": "STUDY-9",
    "StudyDate": "20240229",
    "SeriesDate": "20240228",
    "StudyTime": "102030",
    "StudyDescription": "follow-up of Jane",
    "SeriesDescription": "T1 of Jane",
    "ReferringPhysicianName": "House^Gregory",
    "InstitutionName": "Princeton-Plainsboro",
    "InstitutionAddress": "Main Street 1",
    "StationName": "MR-BASEMENT",
    "DeviceSerialNumber": "SN-123456",
    "Manufacturer": "Scanner Company",
    "OperatorsName": "Opera^Tor",
    "StudyInstanceUID": "1.2.3.44444",
    "SeriesInstanceUID": "1.2.3.55555",
    "FrameOfReferenceUID": "1.2.3.66666",
}


def private(index, dataset):
    block = dataset.private_block(0x0009, "ACME", create=True)
    block.add_new(1, "LO", "Jane was here")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.77777.{index}"


@pytest.fixture
def series(tmp_path):
    files = write_series(tmp_path / "s", np.zeros((4, 5, 6), np.int16), each=private, **TELLING)
    return only_image_series(find_series(files), files)


def write_both(folder, series, deidentifier):
    folder.mkdir()
    source = open_source(series, deidentifier)
    label_map = LabelMap(np.ones(series.grid.shape, np.uint8), series.grid, [Label(1, "a", "Segment")])
    for name, write in (("seg", write_dicom_seg), ("rtstruct", write_rtstruct)):
        write(folder / f"{name}.dcm", label_map, source, Algorithm("AUTOMATIC", "model", "1"))
    return [pydicom.dcmread(folder / f"{name}.dcm") for name in ("seg", "rtstruct")]


def test_the_files_hold_nothing_of_the_source_but_its_geometry(tmp_path, series):
    write_both(tmp_path / "with", series, None)
    write_both(tmp_path / "out", series, Deidentifier())
    found = set()
    for name in ("seg", "rtstruct"):
        identified, anonymous = ((tmp_path / folder / f"{name}.dcm").read_bytes() for folder in ("with", "out"))
        for text in (*TELLING.values(), "1.2.3.77777", "Jane"):
            if len(text) > 1:
                found |= {text} if text.encode() in identified else set()
                assert text.encode() not in anonymous, text
    assert {"Doe^Jane", "ID-4711", "1.2.3.44444", "1.2.3.77777"} <= found  # the test can fail


def test_the_rule_is_named_and_dates_are_gone(tmp_path, series):
    for dataset in write_both(tmp_path / "out", series, Deidentifier()):
        assert dataset.PatientIdentityRemoved == "YES"
        (rule,) = dataset.DeidentificationMethodCodeSequence
        assert (rule.CodeValue, rule.CodingSchemeDesignator) == ("113100", "DCM")
        assert dataset.LongitudinalTemporalInformationModified == "REMOVED"
        dates = [element.value for element in dataset.iterall() if element.VR in ("DA", "DT")]
        assert all(value in ("", "19000101") for value in dates)
        assert dataset.PatientID.startswith("ANON-")
        assert dataset.PatientSex == dataset.PatientBirthDate == ""


def test_the_files_of_one_key_refer_to_one_study_and_others_to_others(tmp_path, series):
    key = "a long and random secret"
    seg, contours = write_both(tmp_path / "one", series, Deidentifier(key))
    again, _ = write_both(tmp_path / "two", series, Deidentifier(key))
    other, _ = write_both(tmp_path / "three", series, Deidentifier())
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert seg[name] == contours[name] == again[name]
        assert seg[name] != other[name]
    study = contours.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    images = study.RTReferencedSeriesSequence[0].ContourImageSequence
    listed = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {item.ReferencedSOPInstanceUID for item in images} == {item.ReferencedSOPInstanceUID for item in listed}
    assert len(images) == 4


def test_voxels_and_grid_stay(tmp_path, series):
    write_both(tmp_path / "out", series, Deidentifier())
    read = read_label_map(tmp_path / "out/seg.dcm")
    assert read.grid.matches(series.grid)
    assert read.array.all()


def test_uids_are_valid_and_new_unless_a_seed_is_given():
    for uid in (new_uid(), new_uid("seed", "series"), Deidentifier("x" * 20).uid("1.2.3")):
        assert pydicom.uid.UID(uid).is_valid
        assert uid.startswith("2.25.")
    assert new_uid() != new_uid()
    assert new_uid("seed", "series") == new_uid("seed", "series") != new_uid("seed", "instance")
