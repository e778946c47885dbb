"""Writing DICOM SEG: geometry, what it says about segments and algorithm, references, and what is refused.

That other programs read the same voxels is in ``Testing/integration/test_dicom_seg_readers.py``.
"""

import os
import sys
from dataclasses import replace
from datetime import datetime

import numpy as np
import pydicom
import pytest

from fixtures_dicom import AXIAL, SECRETS, write_enhanced, write_series
from MedSegAICore.dicom import find_series, only_image_series
from MedSegAICore.dicom_seg_write import write_dicom_seg
from MedSegAICore.dicom_source import on_grid, open_source
from MedSegAICore.dicom_writing import Algorithm
from MedSegAICore.errors import DependencyError, GeometryError, InputError, OutputError
from MedSegAICore.files import read_label_map
from MedSegAICore.grid import Grid
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.orientation import Turn

pytest.importorskip("highdicom")

SHAPE = (5, 6, 7)
MODEL = Algorithm("AUTOMATIC", "hippocampus", "1.0.0", "ab" * 32)
KIDNEY = (
    "list~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~SCT^7771000^Left"
    "~codes~SCT^818983003^Abdomen~SCT^24028007^Right"
)
COS, SIN = float(np.cos(0.4)), float(np.sin(0.4))
SERIES = {
    "axial": {},
    "oblique, anisotropic": {"orientation": (COS, 0, SIN, 0, 1, 0), "spacing": (5, 0.7, 0.9), "origin": (-80, 33, 7.5)},
    "sagittal": {"orientation": (0, 1, 0, 0, 0, -1)},
    "tilted gantry": {"step": (0, 0.8, 3)},
    "descending positions": {"step": (0, 0, -3)},
}


def series_in(folder, shape=SHAPE, **options):
    files = write_series(folder, np.zeros(shape, np.int16), **options)
    return only_image_series(find_series(files), files)


def segments(grid, seed=0):
    """Three segments without overlap, one of them empty, in values that are not 1, 2, 3."""
    array = np.random.default_rng(seed).choice(np.array([0, 4, 9], np.uint8), grid.shape)
    labels = [
        Label(9, "left_kidney", "Left kidney", (0.9, 0.2, 0.1), KIDNEY),
        Label(4, "rest", "残り", (0.1, 0.5, 0.7)),
        Label(5, "none", "Nothing there"),
    ]
    return LabelMap(array, grid, labels)


def written(path, label_map, series, algorithm=MODEL, **options):
    write_dicom_seg(path, label_map, open_source(series), algorithm, **options)
    return pydicom.dcmread(path), read_label_map(path)


def same_segments(one, other):
    assert [label.id for label in one.labels] == [label.id for label in other.labels]
    return all(np.array_equal(one.mask(a), other.mask(b)) for a, b in zip(one.labels, other.labels, strict=True))


# ---- geometry ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", SERIES.values(), ids=SERIES.keys())
def test_voxels_and_grid_are_those_of_the_series(tmp_path, options):
    series = series_in(tmp_path / "s", **options)
    label_map = segments(series.grid)
    dataset, read = written(tmp_path / "a.dcm", label_map, series)
    assert read.grid.matches(series.grid)
    assert same_segments(read, label_map)
    # Every frame refers to the image at its place, all of which are in the list of references.
    positions = {}
    for file in series.files:
        header = pydicom.dcmread(file)
        positions[header.SOPInstanceUID] = list(header.ImagePositionPatient)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        (image,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert list(frame.PlanePositionSequence[0].ImagePositionPatient) == positions[image.ReferencedSOPInstanceUID]
    listed = dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {item.ReferencedSOPInstanceUID for item in listed} == set(positions)
    assert dataset.ReferencedSeriesSequence[0].SeriesInstanceUID == series.uid


def test_a_multi_frame_source_is_referred_to_frame_by_frame(tmp_path):
    file = write_enhanced(tmp_path / "s/a.dcm", np.zeros(SHAPE, np.int16))
    enhanced = pydicom.dcmread(file)
    enhanced.PerFrameFunctionalGroupsSequence = list(enhanced.PerFrameFunctionalGroupsSequence)[::-1]  # from above
    for frame in enhanced.PerFrameFunctionalGroupsSequence:
        frame.FrameContentSequence[0].TemporalPositionIndex = 1
    enhanced.save_as(file)
    series = only_image_series(find_series(file), file)
    label_map = segments(series.grid)
    label_map.array[0] = label_map.array[-1] = 0
    dataset, read = written(tmp_path / "a.dcm", label_map, series)
    assert read.grid.matches(series.grid)
    assert same_segments(read, label_map)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        (image,) = frame.DerivationImageSequence[0].SourceImageSequence
        height = frame.PlanePositionSequence[0].ImagePositionPatient[2]
        assert image.ReferencedFrameNumber == SHAPE[0] - height / 3


def test_a_part_of_a_multi_frame_file_is_refused(tmp_path):
    file = write_enhanced(tmp_path / "s/a.dcm", np.zeros((10, 6, 7), np.int16), times=2)
    part = find_series(file)[0]
    with pytest.raises(InputError, match="part of a multi-frame file"):
        open_source(part)


@pytest.mark.parametrize("orientation", ["RAS", "PIR", "ASL", "LPS"])
def test_a_label_map_with_turned_axes_is_turned_back(tmp_path, orientation):
    series = series_in(tmp_path / "s", spacing=(3, 3, 3), orientation=SERIES["oblique, anisotropic"]["orientation"])
    label_map = segments(series.grid)
    turn = Turn.between(series.grid.orientation, orientation)
    turned = LabelMap(np.ascontiguousarray(turn.array(label_map.array)), turn.grid(series.grid), label_map.labels)
    _, read = written(tmp_path / "a.dcm", turned, series)
    assert read.grid.matches(series.grid)
    assert same_segments(read, label_map)


def test_a_crop_is_put_in_its_place_and_empty_margins_are_cut(tmp_path):
    series = series_in(tmp_path / "s")
    crop = segments(series.grid.crop((1, 2, 3), (3, 3, 3)))
    _, read = written(tmp_path / "a.dcm", crop, series)
    assert same_segments(read, crop.placed_in(series.grid, (slice(1, 4), slice(2, 5), slice(3, 6))))
    larger = segments(series.grid).placed_in(
        series.grid.crop((-1, -2, 0), (8, 9, 7)), (slice(1, 6), slice(2, 8), slice(0, 7))
    )
    assert np.array_equal(on_grid(larger, series.grid)[0], segments(series.grid).array)


def test_voxels_outside_the_series_are_not_lost_silently(tmp_path):
    series = series_in(tmp_path / "s")
    array = np.zeros((5, 6, 8), np.uint8)
    array[2, 1:4, 7] = 1
    label_map = LabelMap(array, series.grid.crop((0, 0, 0), array.shape), [Label(1, "a", "a")])
    with pytest.raises(GeometryError, match="3 voxels of the segments lie outside the DICOM series"):
        on_grid(label_map, series.grid)


@pytest.mark.parametrize(
    "change", [np.diag([1.1, 1, 1, 1.0]), np.array([[1, 0, 0, 0.2], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])]
)
def test_segments_on_other_voxels_are_refused(tmp_path, change):
    series = series_in(tmp_path / "s")
    label_map = segments(Grid(SHAPE, series.grid.ijk_to_ras @ change))
    with pytest.raises(GeometryError, match="their voxels do not coincide"):
        write_dicom_seg(tmp_path / "a.dcm", label_map, open_source(series), MODEL)
    assert not (tmp_path / "a.dcm").exists()


# ---- voxels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("layers", [False, True])
def test_empty_slices_at_the_ends_are_kept_and_those_between_are_not(tmp_path, count, layers):
    series = series_in(tmp_path / "s", (7, 3, 5))
    array = np.zeros((count, 7, 3, 5), np.uint8)
    array[0, 2, 1, 1] = array[-1, 4, 2, 2] = 1
    labels = [Label(1, f"s{n}", f"s{n}", layer=n) for n in range(count)]
    label_map = LabelMap(array, series.grid, labels)
    if not layers:
        flat = array[0].copy()
        flat[array[-1] > 0] = count
        label_map = LabelMap(flat, series.grid, [Label(n + 1, f"s{n}", f"s{n}") for n in range(count)])
    dataset, read = written(tmp_path / "a.dcm", label_map, series)
    assert dataset.NumberOfFrames == 4  # two with voxels, and the first and the last
    assert read.grid.matches(series.grid)
    assert same_segments(read, label_map)


def test_a_segmentation_of_nothing_but_names_is_written(tmp_path):
    series = series_in(tmp_path / "s")
    label_map = LabelMap(np.zeros(SHAPE, np.uint8), series.grid, [Label(1, "a", "a"), Label(2, "b", "b")])
    _, read = written(tmp_path / "a.dcm", label_map, series)
    assert read.grid.matches(series.grid)
    assert not read.array.any()


def test_label_values_of_any_size_become_segment_numbers(tmp_path):
    series = series_in(tmp_path / "s")
    array = np.random.default_rng(0).choice(np.array([0, 3, 70_000, 4_000_000_000, 5], np.uint32), SHAPE)
    values = (4_000_000_000, 3, 70_000)  # 5 is no segment
    label_map = LabelMap(array, series.grid, [Label(value, str(value), str(value)) for value in values])
    _, read = written(tmp_path / "a.dcm", label_map, series)
    assert same_segments(read, label_map)


# ---- descriptions --------------------------------------------------------------------------------------------------


def test_names_ids_colors_and_codes_come_back(tmp_path):
    series = series_in(tmp_path / "s")
    label_map = segments(series.grid)
    dataset, read = written(tmp_path / "a.dcm", label_map, series)
    for before, after in zip(label_map.labels, read.labels, strict=True):
        assert (after.id, after.name) == (before.id, before.name)
        np.testing.assert_allclose(after.color, before.color, atol=1 / 512)
    parts = read.labels[0].terminology.split("~")
    assert [parts[n] for n in (1, 2, 3, 5, 6)] == [KIDNEY.split("~")[n] for n in (1, 2, 3, 5, 6)]
    assert read.labels[1].terminology == ""
    kind = dataset.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0]  # what DICOM demands is the default
    assert (kind.CodingSchemeDesignator, kind.CodeValue, kind.CodeMeaning) == ("SCT", "85756007", "Tissue")


def test_the_algorithm_is_named_with_version_and_checksum(tmp_path):
    series = series_in(tmp_path / "s")
    dataset, _ = written(tmp_path / "a.dcm", segments(series.grid), series)
    for segment in dataset.SegmentSequence:
        assert (segment.SegmentAlgorithmType, segment.SegmentAlgorithmName) == ("AUTOMATIC", "hippocampus")
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("hippocampus", "1.0.0")
        assert algorithm.AlgorithmParameters == "weights_sha256=" + "ab" * 32
        assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    dataset, _ = written(tmp_path / "b.dcm", segments(series.grid), series, Algorithm("MANUAL"))
    assert dataset.SegmentSequence[0].SegmentAlgorithmType == "MANUAL"
    assert "SegmentAlgorithmName" not in dataset.SegmentSequence[0]


def test_an_algorithm_needs_a_type_that_exists_and_a_name():
    with pytest.raises(InputError, match="'automatic' does not exist; choose of AUTOMATIC"):
        Algorithm("automatic", "x")
    with pytest.raises(InputError, match="name of the algorithm"):
        Algorithm("SEMIAUTOMATIC")


def test_the_patient_and_the_study_are_those_of_the_source(tmp_path):
    def latin(index, dataset):
        dataset.SpecificCharacterSet, dataset.PatientName, dataset.PatientSex = "ISO_IR 100", "Müller^Zoë", "W"

    series = series_in(tmp_path / "s", each=latin)
    dataset, _ = written(tmp_path / "a.dcm", segments(series.grid), series)
    assert str(dataset.PatientName) == "Müller^Zoë"
    assert dataset.PatientID == SECRETS["PatientID"]
    assert (dataset.StudyInstanceUID, dataset.FrameOfReferenceUID) == ("1.2.3", "1.2.3")
    assert dataset.PatientSex == ""  # "W" is no value of DICOM
    assert dataset.SegmentSequence[1].SegmentLabel == "残り"


def test_the_same_seed_and_time_give_the_same_bytes_and_others_new_uids(tmp_path):
    series = series_in(tmp_path / "s")
    time = datetime(2026, 1, 2, 3, 4, 5)
    for name in ("a", "b"):
        written(tmp_path / f"{name}.dcm", segments(series.grid), series, seed="x", time=time)
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    uids = {written(tmp_path / "c.dcm", segments(series.grid), series)[0].SOPInstanceUID for _ in range(3)}
    assert len(uids) == 3


# ---- what is no good -----------------------------------------------------------------------------------------------


def test_no_segments_is_an_error_and_leaves_no_file(tmp_path):
    series = series_in(tmp_path / "s")
    with pytest.raises(InputError, match="has no segments"):
        write_dicom_seg(
            tmp_path / "a.dcm", LabelMap(np.zeros(SHAPE, np.uint8), series.grid, ()), open_source(series), MODEL
        )
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_source_whose_files_are_gone_is_an_error(tmp_path):
    series = series_in(tmp_path / "s")
    series.files[2].unlink()
    with pytest.raises(InputError, match="is gone"):
        open_source(series)


@pytest.mark.parametrize("name", ["FrameOfReferenceUID", "SOPInstanceUID"])
def test_a_source_without_the_uids_that_are_referred_to_is_an_error(tmp_path, name):
    series = series_in(tmp_path / "s")
    dataset = pydicom.dcmread(series.files[1])
    delattr(dataset, name)
    dataset.save_as(series.files[1])
    with pytest.raises(InputError, match=f"images without {name}"):
        open_source(series)


def test_images_without_a_place_in_the_patient_are_refused(tmp_path):
    def remove(index, dataset):
        del dataset.ImagePositionPatient

    series = series_in(tmp_path / "s", (1, 6, 7), each=remove)
    with pytest.raises(InputError, match="no position in the patient"):
        open_source(series)


def test_orientations_that_differ_in_the_last_digit_are_one(tmp_path):
    def jitter(index, dataset):
        dataset.ImageOrientationPatient = [*AXIAL[:5], 1e-5 * index]

    series = series_in(tmp_path / "s", each=jitter)
    _, read = written(tmp_path / "a.dcm", segments(series.grid), series)
    assert same_segments(read, segments(series.grid))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_an_error(tmp_path):
    series = series_in(tmp_path / "s")
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="permission is missing"):
        written(tmp_path / "out/a.dcm", segments(series.grid), series)


def test_a_missing_folder_is_an_error_and_an_old_file_survives_a_failure(tmp_path):
    series = series_in(tmp_path / "s")
    with pytest.raises(OutputError, match="folder does not exist"):
        written(tmp_path / "out/a.dcm", segments(series.grid), series)
    path = tmp_path / "a.dcm"
    path.write_text("old")
    label_map = segments(series.grid)
    shifted = replace(label_map, grid=series.grid.crop((0.5, 0, 0), SHAPE))
    with pytest.raises(GeometryError):
        written(path, shifted, series)
    assert path.read_text() == "old"


def test_without_highdicom_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    series = series_in(tmp_path / "s")
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(DependencyError, match="pip install highdicom"):
        write_dicom_seg(tmp_path / "a.dcm", segments(series.grid), open_source(series), MODEL)
