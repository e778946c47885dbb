"""Reading DICOM SEG: every type, any order of frames, what is missing, and files that are no good."""

import logging
import os
import subprocess
import sys

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from fixtures_dicom import AXIAL, code, write_seg, write_segmentation_object, write_series
from MedSegAICore.dicom_seg import THRESHOLD_TAG
from MedSegAICore.errors import GeometryError, InputError
from MedSegAICore.files import read_label_map

SHAPE = (5, 7)  # 35 bits: a frame begins within a byte


def masks(count, seed=0):
    return np.random.default_rng(seed).random((count, *SHAPE)) < 0.4


def at(k, step=(0, 0, 3), origin=(10, -20, 30)):
    return np.add(origin, np.multiply(k, step))


# ---- real files ----------------------------------------------------------------------------------------------------


def test_five_overlapping_segments_come_in_without_loss(shared_data):
    label_map = read_label_map(shared_data("dicom_seg/partial_overlaps.dcm"))
    assert [label.name for label in label_map.labels] == ["GREEN", "ORANGE", "PURPLE", "LIGHT_BLUE", "DARK_BLUE"]
    found = {}
    for number in (1, 2, 3):  # what dcmqi wrote: groups of segments that do not overlap, with the segment numbers
        image = sitk.ReadImage(str(shared_data(f"dicom_seg/partial_overlaps-{number}.nrrd")))
        array = sitk.GetArrayFromImage(image)
        found.update({int(value): array == value for value in np.unique(array) if value})
    assert sorted(found) == [1, 2, 3, 4, 5]
    for label in label_map.labels:
        assert np.array_equal(label_map.mask(label), found[label.value]), label.name
    origin, spacing, direction = label_map.grid.to_lps()
    np.testing.assert_allclose(origin, image.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(spacing, image.GetSpacing(), atol=1e-6)
    np.testing.assert_allclose(direction, image.GetDirection(), atol=1e-6)
    # 128, 174, 128 is Slicer's color of tissue.
    np.testing.assert_allclose(np.array(label_map.labels[0].color) * 255, (128, 174, 128), atol=0.5)
    assert "SCT^51114001^Artery" in label_map.labels[1].terminology


def test_a_liver_is_the_same_as_its_nrrd(shared_data):
    label_map = read_label_map(shared_data("dicom_seg/liver.dcm"))
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(shared_data("dicom_seg/liver_seg.nrrd"))))
    assert array.any()
    assert np.array_equal(label_map.array > 0, array > 0)
    assert "~SRT^T-62000^Liver~" in label_map.labels[0].terminology


# ---- frames --------------------------------------------------------------------------------------------------------


def test_frames_may_come_in_any_order_with_gaps(tmp_path):
    m = masks(4)
    frames = [(2, at(4), m[0]), (1, at(1), m[1]), (2, at(0), m[2]), (1, at(4), m[3])]
    label_map = read_label_map(write_seg(tmp_path / "a.dcm", frames, between=3))
    assert label_map.grid.shape == (5, *SHAPE)
    assert label_map.grid.spacing_kji == pytest.approx((3, 0.8, 0.5))
    np.testing.assert_allclose(label_map.grid.to_lps()[0], (10, -20, 30))
    expected = np.zeros((2, 5, *SHAPE), bool)
    expected[1, 4], expected[0, 1], expected[1, 0], expected[0, 4] = m
    for label in label_map.labels:
        assert np.array_equal(label_map.mask(label), expected[label.value - 1])


def test_frames_that_go_down_are_put_in_the_order_of_the_slice_normal(tmp_path):
    m = masks(3)
    label_map = read_label_map(write_seg(tmp_path / "a.dcm", [(1, at(-k), m[k]) for k in range(3)]))
    assert np.array_equal(label_map.array > 0, m[::-1])
    np.testing.assert_allclose(label_map.grid.to_lps()[0], (10, -20, 24))


def test_an_oblique_anisotropic_grid_with_tilted_slices_is_kept(tmp_path):
    cos, sin = np.cos(0.4), np.sin(0.4)
    orientation, step = (cos, sin, 0, -sin, cos, 0), (0.3, 0.5, 4)
    m = masks(3)
    path = write_seg(tmp_path / "a.dcm", [(1, at(k, step), m[k]) for k in range(3)], orientation=orientation)
    grid = read_label_map(path).grid
    expected = [np.array([cos, sin, 0]) * 0.5, np.array([-sin, cos, 0]) * 0.8, np.array(step)]
    np.testing.assert_allclose((grid.ijk_to_ras[:3, :3] * [[-1], [-1], [1]]).T, expected, atol=1e-8)


def test_the_distance_of_slices_is_found_where_the_file_does_not_declare_it(tmp_path):
    m = masks(3)
    frames = [(1, at(k), m[n]) for n, k in enumerate((0, 1, 5))]
    assert read_label_map(write_seg(tmp_path / "a.dcm", frames)).grid.shape[0] == 6
    # Gaps of two and three: only the slice thickness, 3 mm, explains both.
    frames = [(1, at(k), m[n]) for n, k in enumerate((0, 2, 5))]
    assert read_label_map(write_seg(tmp_path / "b.dcm", frames)).grid.shape[0] == 6
    with pytest.raises(GeometryError, match="not evenly spaced"):
        read_label_map(write_seg(tmp_path / "c.dcm", frames, thickness=4.1))


def test_one_slice_has_the_declared_thickness(tmp_path):
    grid = read_label_map(write_seg(tmp_path / "a.dcm", [(1, at(0), masks(1)[0])], thickness=2.5)).grid
    assert grid.shape == (1, *SHAPE)
    assert grid.spacing_kji[0] == pytest.approx(2.5)


def test_segments_that_overlap_get_layers_and_the_others_share_one(tmp_path):
    left, right = np.zeros((2, *SHAPE), bool)
    left[:, :3], right[:, 3:] = True, True
    both = np.ones(SHAPE, bool)
    label_map = read_label_map(write_seg(tmp_path / "a.dcm", [(1, at(0), left), (2, at(0), both), (3, at(0), right)]))
    assert [label.layer for label in label_map.labels] == [0, 1, 0]
    for label, mask in zip(label_map.labels, (left, both, right), strict=True):
        assert np.array_equal(label_map.mask(label)[0], mask)


def test_a_segment_without_frames_is_there_and_empty(tmp_path):
    path = write_seg(tmp_path / "a.dcm", [(2, at(0), masks(1)[0])], segments={1: {}, 2: {}})
    label_map = read_label_map(path)
    assert [label.value for label in label_map.labels] == [1, 2]
    assert not label_map.mask(label_map.labels[0]).any()


# ---- descriptions --------------------------------------------------------------------------------------------------


def test_codes_with_modifiers_names_and_ids(tmp_path):
    kind = code("SCT", "64033007", "Kidney", SegmentedPropertyTypeModifierCodeSequence=[code("SCT", "7771000", "Left")])
    region = code("SCT", "818983003", "Abdomen", AnatomicRegionModifierSequence=[code("SCT", "24028007", "Right")])
    tags = {
        "SegmentLabel": "左腎",
        "TrackingID": "kidney_left",
        "SegmentedPropertyTypeCodeSequence": [kind],
        "AnatomicRegionSequence": [region],
    }
    path = write_seg(
        tmp_path / "a.dcm", [(1, at(0), masks(1)[0])], segments={1: tags, 2: {"TrackingID": "kidney_left"}}
    )
    first, second = read_label_map(path).labels
    assert (first.id, first.name, second.id) == ("kidney_left", "左腎", "Segment_2")
    assert first.terminology.split("~") == [
        "Segmentation category and type - DICOM master list",
        "SCT^123037004^Anatomical Structure",
        "SCT^64033007^Kidney",
        "SCT^7771000^Left",
        "Anatomic codes - DICOM master list",
        "SCT^818983003^Abdomen",
        "SCT^24028007^Right",
    ]


# ---- fractions and label maps --------------------------------------------------------------------------------------


def test_fractions_count_from_half_on_and_say_so(tmp_path, caplog):
    values = np.array([[0, 99, 100, 200]])
    with caplog.at_level(logging.WARNING):
        path = write_seg(tmp_path / "a.dcm", [(1, at(0), values)], kind="FRACTIONAL", maximum=200)
        label_map = read_label_map(path)
    assert label_map.array[0].tolist() == [[0, 0, 1, 1]]
    assert dict(label_map.labels[0].tags)[THRESHOLD_TAG] == "at least half of the probability"
    assert "from half of the maximum on" in caplog.text


def test_fractions_that_are_all_or_nothing_are_read_without_a_word(tmp_path, caplog):
    values = np.array([[0, 255, 255, 0]])
    label_map = read_label_map(write_seg(tmp_path / "a.dcm", [(1, at(0), values)], kind="FRACTIONAL"))
    assert label_map.array[0].tolist() == [[0, 1, 1, 0]]
    assert label_map.labels[0].tags == ()
    assert caplog.text == ""


def test_a_label_map_holds_its_segment_numbers(tmp_path):
    values = np.array([[0, 1, 300], [300, 0, 2]])
    path = write_seg(tmp_path / "a.dcm", [(0, at(0), values)], kind="LABELMAP", segments={1: {}, 2: {}, 300: {}})
    label_map = read_label_map(path)
    assert label_map.array[0].tolist() == values.tolist()
    assert [label.value for label in label_map.labels] == [1, 2, 300]


def test_a_label_map_may_call_its_background_by_another_number(tmp_path):
    values = np.array([[7, 0, 2]])
    segments = {7: {"SegmentLabel": "background"}, 0: {"SegmentLabel": "zero"}, 2: {}}
    path = write_seg(tmp_path / "a.dcm", [(0, at(0), values)], kind="LABELMAP", segments=segments, padding=7)
    label_map = read_label_map(path)
    assert {label.name: int(label_map.mask(label).sum()) for label in label_map.labels} == {"zero": 1, "segment 2": 1}
    assert label_map.array[0].tolist() == [[0, 1, 2]]


def test_a_label_map_with_a_value_that_is_no_segment_is_refused(tmp_path):
    path = write_seg(tmp_path / "a.dcm", [(0, at(0), [[0, 1, 5]])], kind="LABELMAP", segments={1: {}})
    with pytest.raises(InputError, match="holds the value 5, which is none of its segments"):
        read_label_map(path)


# ---- what is no good -----------------------------------------------------------------------------------------------


def test_a_file_without_segments_is_refused(tmp_path):
    with pytest.raises(InputError, match="without segments"):
        read_label_map(write_segmentation_object(tmp_path / "a.dcm"))


def test_a_truncated_file_is_refused(tmp_path):
    path = write_seg(tmp_path / "a.dcm", [(1, at(k), m) for k, m in enumerate(masks(20))])
    whole = path.read_bytes()
    for length in (600, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"a\.dcm is (damaged or truncated|a DICOM SEG without)"):
            read_label_map(path)


def test_two_frames_of_a_segment_at_one_place_are_refused(tmp_path):
    m = masks(2)
    with pytest.raises(InputError, match="several frames of one segment at the same place"):
        read_label_map(write_seg(tmp_path / "a.dcm", [(1, at(0), m[0]), (1, at(0), m[1])]))


def test_a_frame_of_no_described_segment_is_refused(tmp_path):
    with pytest.raises(InputError, match="frame 1 belongs to no segment"):
        read_label_map(write_seg(tmp_path / "a.dcm", [(3, at(0), masks(1)[0])], segments={1: {}}))


def test_a_segment_that_is_described_twice_is_refused(tmp_path):
    path = write_seg(tmp_path / "a.dcm", [(1, at(0), masks(1)[0])])
    dataset = pydicom.dcmread(path)
    dataset.SegmentSequence.append(dataset.SegmentSequence[0])
    dataset.save_as(path)
    with pytest.raises(InputError, match="describes segment 1 twice"):
        read_label_map(path)


def test_frames_beside_the_grid_are_refused(tmp_path):
    m = masks(3)
    places = [at(0), at(1) + (4, 0, 0), at(2)]
    with pytest.raises(GeometryError, match="away from an even spacing"):
        read_label_map(write_seg(tmp_path / "a.dcm", [(1, p, mask) for p, mask in zip(places, m, strict=True)]))


def test_a_folder_with_one_segmentation_is_read_and_one_with_several_is_not(tmp_path):
    write_series(tmp_path / "study/images", np.zeros((3, *SHAPE), np.int16), orientation=AXIAL)
    write_seg(tmp_path / "study/seg/a.dcm", [(1, at(0), masks(1)[0])])
    assert read_label_map(tmp_path / "study").labels[0].name == "segment 1"
    write_seg(tmp_path / "study/seg/b.dcm", [(1, at(0), masks(1)[0])])
    with pytest.raises(InputError, match=r"holds 2 DICOM SEG files \(a.dcm, b.dcm\)"):
        read_label_map(tmp_path / "study")


def test_a_compression_that_cannot_be_decoded_is_named(tmp_path):
    path = write_seg(tmp_path / "a.dcm", [(1, at(0), masks(1)[0])])
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLSLossless
    dataset.PixelData = pydicom.encaps.encapsulate([b"no jpeg!"])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    with pytest.raises(InputError, match="JPEG-LS"):
        read_label_map(path)


def test_compressed_and_deflated_frames_are_read(tmp_path):
    m = masks(2)
    path = write_seg(tmp_path / "a.dcm", [(1, at(k), m[k] * 255) for k in range(2)], kind="FRACTIONAL")
    for syntax in (pydicom.uid.RLELossless, pydicom.uid.DeflatedExplicitVRLittleEndian):
        dataset = pydicom.dcmread(path)
        if syntax.is_encapsulated:
            dataset.compress(syntax)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(tmp_path / "b.dcm")
        assert np.array_equal(read_label_map(tmp_path / "b.dcm").array > 0, m)


def test_reading_does_not_need_highdicom(tmp_path):
    path = write_seg(tmp_path / "a.dcm", [(1, at(0), masks(1)[0])])
    program = (
        "import sys; sys.modules['highdicom'] = None\n"
        "from MedSegAICore.files import read_label_map; print(len(read_label_map(sys.argv[1]).labels))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, path]
    assert subprocess.run(command, capture_output=True, text=True, env=environment).stdout.strip() == "1"
