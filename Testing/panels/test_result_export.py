"""Export from the result section: a format, a folder, a button, and one sentence about what came of it."""

from __future__ import annotations

import html
import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

import fixtures_result
from fixtures_dicom import write_series
from fixtures_result import SAMPLES, settle
from fixtures_scene import make_volume

widget, section, hippocampus, chosen = (
    fixtures_result.widget, fixtures_result.section, fixtures_result.hippocampus, fixtures_result.chosen,
)  # fmt: skip

SLICER, NIFTI, DICOM = range(3)


@pytest.fixture
def folder(chosen, tmp_path):
    """An empty folder, chosen in the panel."""
    path = tmp_path / "out"
    path.mkdir()
    chosen.ui.folderButton.directory = str(path)
    return path


def said(section):
    """What the section says about the export, as it is read."""
    label = section.ui.exportLabel
    return "" if label.isHidden() else html.unescape(re.sub("<[^>]*>", "", label.text)).replace("\u200b", "")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def cursor():
    import qt

    return qt.QApplication.overrideCursor()


def test_a_click_writes_a_segmentation_and_says_where(chosen, folder):
    from MedSegAICore.files import read_label_map

    chosen.ui.exportButton.click()
    path = folder / "hippocampus_303 segmentation.seg.nrrd"
    assert said(chosen) == f"Written: {path}. Show folder"
    assert [label.name for label in read_label_map(path).labels] == ["Anterior", "Posterior"]
    chosen.ui.exportButton.click()
    assert names(folder) == ["hippocampus_303 segmentation.seg.nrrd", "hippocampus_303 segmentation_2.seg.nrrd"]
    assert cursor() is None


def test_nifti_is_the_label_map_voxel_for_voxel_with_its_labels_beside(chosen, folder):
    chosen.ui.formatComboBox.setCurrentIndex(NIFTI)
    chosen.ui.exportButton.click()
    assert names(folder) == ["hippocampus_303 segmentation.json", "hippocampus_303 segmentation.nii.gz"]
    written = sitk.ReadImage(str(folder / "hippocampus_303 segmentation.nii.gz"))
    expected = sitk.ReadImage(str(SAMPLES / "hippocampus_303_label.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), sitk.GetArrayFromImage(expected))
    assert written.GetOrigin() == pytest.approx(expected.GetOrigin())
    assert written.GetDirection() == pytest.approx(expected.GetDirection())
    content = json.loads((folder / "hippocampus_303 segmentation.json").read_text())
    assert [segment["name"] for segment in content["segments"]] == ["Anterior", "Posterior"]
    assert said(chosen).endswith(".nii.gz + hippocampus_303 segmentation.json. Show folder")


def test_overlap_is_refused_for_nifti_in_a_sentence(chosen, hippocampus, folder):
    import slicer

    array = np.ones(slicer.util.getNode("hippocampus_303").GetImageData().GetDimensions()[::-1], np.uint8)
    hippocampus.GetSegmentation().AddEmptySegment("all", "All")
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, hippocampus, "all", slicer.util.getNode("hippocampus_303"))
    chosen.ui.formatComboBox.setCurrentIndex(NIFTI)
    chosen.ui.exportButton.click()
    assert said(chosen).startswith("The segments of 'hippocampus_303 segmentation' overlap, but NIfTI has one value")
    assert names(folder) == []
    chosen.ui.formatComboBox.setCurrentIndex(SLICER)
    assert said(chosen) == ""


def test_a_link_shows_the_folder(chosen, folder, monkeypatch):
    import qt

    opened = []
    services = SimpleNamespace(openUrl=lambda url: opened.append(url.toLocalFile()))
    monkeypatch.setattr(qt, "QDesktopServices", services)
    chosen.ui.exportButton.click()
    chosen.ui.exportLabel.linkActivated.emit("folder")
    assert opened == [str(folder)]


def test_what_goes_wrong_is_said_and_the_section_stays_usable(chosen, folder):
    folder.rmdir()
    chosen.ui.exportButton.click()
    assert said(chosen) == f"There is no folder {folder}. Choose another one, or make it first."
    assert cursor() is None
    folder.mkdir()
    chosen.ui.exportButton.click()
    assert said(chosen).startswith("Written")


def test_an_error_that_nobody_foresaw_is_not_hidden(chosen, folder, monkeypatch):
    from harness import application

    monkeypatch.setattr(type(chosen.logic), "exportSegmentation", lambda *a, **k: 1 / 0)
    chosen.ui.exportButton.click()
    assert said(chosen) == "The export failed for a reason we did not foresee. See the error log."
    assert cursor() is None
    assert [type(error) for error in application.failures] == [ZeroDivisionError]
    application.failures.clear()


def test_a_name_with_signs_of_html_is_said_as_it_is(chosen, hippocampus, folder):
    hippocampus.SetName("a & b")
    chosen.ui.exportButton.click()
    assert said(chosen) == f"Written: {folder}/a & b.seg.nrrd. Show folder"
    assert "&amp;" in chosen.ui.exportLabel.text


def test_what_was_said_goes_with_the_segmentation(chosen, hippocampus, folder):
    chosen.ui.exportButton.click()
    hippocampus.GetSegmentation().GetSegment("anterior").SetName("Head")
    settle()
    assert said(chosen).startswith("Written")
    chosen.ui.segmentationSelector.setCurrentNode(fixtures_result.segmentation_of_the_sample())
    assert said(chosen) == ""


def test_without_segments_the_button_says_why_it_is_off(chosen, hippocampus):
    hippocampus.GetSegmentation().RemoveAllSegments()
    settle()
    assert not chosen.ui.exportButton.enabled
    assert chosen.ui.exportButton.toolTip == said(chosen) == "There are no segments to export."


def test_format_and_folder_are_remembered_for_the_next_session(chosen, folder, open_panel):
    chosen.ui.formatComboBox.setCurrentIndex(DICOM)
    chosen.ui.rtstructCheckBox.checked = True
    chosen.ui.deidentifyCheckBox.checked = True
    ui = open_panel().sections[1].ui
    assert (ui.folderButton.directory, ui.formatComboBox.currentIndex) == (str(folder), DICOM)
    assert (ui.rtstructCheckBox.checked, ui.deidentifyCheckBox.checked) == (True, True)


def test_a_long_folder_is_shown_by_its_end(chosen, tmp_path):
    path = tmp_path / ("a long name of a study " * 3).strip() / "round 1"
    path.mkdir(parents=True)
    chosen.ui.folderButton.directory = str(path)
    assert chosen.ui.folderButton.text.startswith("…")
    assert chosen.ui.folderButton.text.endswith("/round 1")
    assert str(path) in chosen.ui.folderButton.toolTip


# ---- DICOM ---------------------------------------------------------------------------------------------------------


def choose_from_dicom(section, source, tmp_path, monkeypatch):
    """Choose a segmentation of a volume as Slicer's DICOM module loads it, the format DICOM, and a folder to write to.

    Returns the database: the file of each instance UID.
    """
    import slicer

    from MedSegAICore import mrml
    from MedSegAICore.dicom import find_series, only_image_series
    from MedSegAICore.image import Label, LabelMap
    from MedSegAICore.mrml_dicom import INSTANCES

    series = only_image_series(find_series(source), source)
    files = {part.uid: str(part.file) for part in series.slices}
    # Slicer's database is a part of the application; this stands in for the one method that is asked.
    database = SimpleNamespace(isOpen=True, fileForInstance=lambda uid: files.get(uid, ""))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    volume = make_volume(slicer, np.zeros(series.grid.shape, np.int16), series.grid, "5: T1")
    volume.SetAttribute(INSTANCES, " ".join(files))
    array = np.zeros(series.grid.shape, np.uint8)
    array[1:4, 2:6, 3:8] = 1
    labels = LabelMap(array, series.grid, (Label(1, "a", "A", (1, 0, 0)),))
    node = mrml.segmentation_from_label_map(labels, volume, provenance={"model": {"id": "m", "version": "2"}})
    section.ui.segmentationSelector.setCurrentNode(node)
    section.ui.formatComboBox.setCurrentIndex(DICOM)
    (tmp_path / "out").mkdir()
    section.ui.folderButton.directory = str(tmp_path / "out")
    return files


@pytest.fixture
def from_dicom(section, tmp_path, monkeypatch):
    write_series(tmp_path / "dicom", np.zeros((8, 10, 9), np.int16))
    return choose_from_dicom(section, tmp_path / "dicom", tmp_path, monkeypatch)


def test_only_dicom_has_the_boxes_of_dicom(chosen):
    ui = chosen.ui
    boxes = (ui.dicomLabel, ui.rtstructCheckBox, ui.deidentifyCheckBox)
    assert [box.isHidden() for box in boxes] == [True] * 3
    ui.formatComboBox.setCurrentIndex(DICOM)
    assert [box.isHidden() for box in boxes] == [False] * 3


def test_what_is_not_from_dicom_says_so_before_a_click(chosen):
    chosen.ui.formatComboBox.setCurrentIndex(DICOM)
    sentence = (
        "DICOM SEG refers to the images that were segmented, but 'hippocampus_303' was not loaded from DICOM. Load "
        "them with the DICOM module, or choose another format."
    )
    assert not chosen.ui.exportButton.enabled
    assert chosen.ui.exportButton.toolTip == said(chosen) == sentence
    chosen.ui.formatComboBox.setCurrentIndex(SLICER)
    assert chosen.ui.exportButton.enabled
    assert said(chosen) == ""


def test_dicom_seg_and_contours_are_written_and_the_patient_left_out(from_dicom, section, tmp_path):
    pytest.importorskip("highdicom")
    import pydicom

    from MedSegAICore.files import read_label_map

    section.ui.rtstructCheckBox.checked = True
    section.ui.exportButton.click()
    assert names(tmp_path / "out") == ["5_ T1 segmentation.dcm", "5_ T1 segmentation_rtstruct.dcm"]
    path = tmp_path / "out" / "5_ T1 segmentation.dcm"
    assert read_label_map(path).array.sum() == 3 * 4 * 5
    assert pydicom.dcmread(path).PatientName == "Doe^Jane"
    section.ui.rtstructCheckBox.checked = False
    section.ui.deidentifyCheckBox.checked = True
    section.ui.exportButton.click()
    assert b"Jane" not in (tmp_path / "out" / "5_ T1 segmentation_2.dcm").read_bytes()
    assert len(names(tmp_path / "out")) == 3


def test_a_real_series_gets_its_segmentation_back_on_its_voxels(section, shared_data, tmp_path, monkeypatch):
    pytest.importorskip("highdicom")
    from MedSegAICore.files import read_image, read_label_map

    source = shared_data("dicom_hippocrop_study/11_HCropVolume")
    choose_from_dicom(section, source, tmp_path, monkeypatch)
    section.ui.exportButton.click()
    found = read_label_map(tmp_path / "out" / "5_ T1 segmentation.dcm")
    assert found.grid.matches(read_image(source).grid)
    assert found.array[1:4, 2:6, 3:8].all()
    assert found.array.sum() == 3 * 4 * 5


def test_dicom_files_that_are_gone_are_said(from_dicom, section, tmp_path):
    pytest.importorskip("highdicom")
    from_dicom.popitem()
    section.ui.exportButton.click()
    assert said(section).startswith("1 of the 8 DICOM files of '5: T1' are not in Slicer's DICOM database any more.")
    assert names(tmp_path / "out") == []


def test_highdicom_is_asked_for_at_export_and_not_before(from_dicom, section, tmp_path, monkeypatch):
    import slicer

    asked = []
    packaging = SimpleNamespace(pip_check=lambda requirement: False, pip_ensure=lambda *a, **k: asked.append(a))
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: object())
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False, raising=False)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, *a, **k: asked.append(text))
    section.ui.formatComboBox.setCurrentIndex(SLICER)
    section.ui.formatComboBox.setCurrentIndex(DICOM)
    assert asked == []
    section.ui.exportButton.click()
    assert asked == [
        "Writing DICOM SEG needs the Python package highdicom. It is downloaded and installed into Slicer now."
    ]
    assert said(section).startswith("Writing DICOM SEG needs the Python package highdicom, which was not installed.")
    assert names(tmp_path / "out") == []
    assert cursor() is None


def test_a_scene_closed_while_highdicom_is_installed_ends_the_export(from_dicom, section, tmp_path, monkeypatch):
    import slicer

    from MedSegAILib.panels import export_controls

    monkeypatch.setattr(export_controls, "ensure", lambda *_: slicer.mrmlScene.Clear(0))
    section.ui.exportButton.click()
    assert said(section) == "Another segmentation or format was chosen meanwhile. Nothing was written."
    assert names(tmp_path / "out") == []
