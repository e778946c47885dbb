"""DICOM folders: which series they hold, what is wrong with them, and volumes equal to SimpleITK's and pydicom's."""

import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from fixtures_dicom import AXIAL, SECRETS, write_enhanced, write_segmentation_object, write_series
from MedSegAICore.dicom import find_series, read_series
from MedSegAICore.errors import InputError
from MedSegAICore.files import from_itk, read_image, read_label_map

TURN = np.reshape(sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.5).GetMatrix(), (3, 3))
OBLIQUE = tuple(np.round(TURN.T[:2].ravel(), 9))
SAGITTAL = (0, 1, 0, 0, 0, -1)


def voxels(dtype="int16", count=6) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 200, (count, 4, 5)).astype(dtype)


def only(folder):
    (series,) = find_series(folder)
    return series


def simpleitk_volume(series):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in series.files])
    return from_itk(reader.Execute())


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE, SAGITTAL])
def test_a_volume_equals_what_was_written_and_what_simpleitk_reads(tmp_path, orientation):
    write_series(tmp_path, voxels(), orientation=orientation, origin=(10, -20, 30))
    image = read_image(tmp_path)
    np.testing.assert_array_equal(image.array[0], voxels())
    assert image.grid.spacing_kji == pytest.approx((3, 0.8, 0.5))
    np.testing.assert_allclose(image.grid.ijk_to_ras[:3, 3], [-10, 20, 30], atol=1e-6)
    array, grid = simpleitk_volume(only(tmp_path))
    np.testing.assert_array_equal(image.array, array)
    assert image.grid.matches(grid)


def test_slices_that_run_against_the_normal_are_turned_around(tmp_path):
    write_series(tmp_path, voxels(), step=(0, 0, -3), origin=(0, 0, 100))
    image = read_image(tmp_path)
    np.testing.assert_array_equal(image.array[0], voxels()[::-1])
    assert image.grid.ijk_to_ras[2].tolist() == [0, 0, 3, 85]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_stored_values_without_rescale_keep_their_type(tmp_path, dtype):
    write_series(tmp_path, voxels(dtype))
    assert read_image(tmp_path).array.dtype == dtype


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"), [(1, -1024, "int16"), (300, 0, "int32"), (0.5, -3, "float32"), (2.5, 0, "float32")]
)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_slope_and_intercept_are_applied_as_simpleitk_does(tmp_path, slope, intercept, dtype, modality):
    write_series(tmp_path, voxels(), modality=modality, RescaleSlope=slope, RescaleIntercept=intercept)
    image = read_image(tmp_path)
    assert image.array.dtype == dtype
    np.testing.assert_allclose(image.array[0], voxels("float64") * slope + intercept)
    np.testing.assert_allclose(image.array, simpleitk_volume(only(tmp_path))[0])


@pytest.mark.parametrize(("signed", "expected"), [(0, [4095, 1, 564, 0]), (1, [-1, 1, 564, 0])])
def test_bits_beyond_those_that_are_stored_are_ignored_and_the_sign_is_extended(tmp_path, signed, expected):
    def twelve_bits(_, dataset):
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, signed

    write_series(tmp_path, np.full((2, 3, 4), [0x0FFF, 0xF001, 0x1234, 0x8000], np.uint16), each=twelve_bits)
    image = read_image(tmp_path)
    assert image.array[0, 0, 0].tolist() == expected
    np.testing.assert_array_equal(image.array, simpleitk_volume(only(tmp_path))[0])


def test_every_slice_gets_its_own_slope(tmp_path):
    """PET and Philips MR scale each slice by itself; the first slice's type must not cut off the others' fractions."""

    def scale(index, dataset):
        dataset.RescaleSlope, dataset.RescaleIntercept = 1 + index / 4, 0

    write_series(tmp_path, voxels(), each=scale)
    factors = 1 + np.arange(6)[:, None, None] / 4
    np.testing.assert_allclose(read_image(tmp_path).array[0], voxels() * factors)


def test_meta_has_the_acquisition_and_nothing_about_the_patient(tmp_path):
    write_series(
        tmp_path / "scan",
        voxels(),
        SeriesDescription="T1 Schädel",
        SeriesNumber=7,
        ProtocolName="Brain",
        BodyPartExamined="HEAD",
        MagneticFieldStrength=1.5,
        EchoTime=9.5,
        AccessionNumber="A-0815",
        InstitutionName="Somewhere",
        ReferringPhysicianName="Roe^Richard",
    )
    meta = read_image(tmp_path / "scan").meta
    assert meta == {
        "source": "scan",
        "modality": "MR",
        "series_description": "T1 Schädel",
        "series_number": 7,
        "protocol": "Brain",
        "body_part": "HEAD",
        "field_strength_t": 1.5,
        "echo_time_ms": 9.5,
        "slice_thickness_mm": 3.0,
        "warnings": (),
    }
    assert not any(secret in str(meta) for secret in SECRETS.values())


def test_the_series_of_a_study_are_found_in_subfolders_and_ordered_by_number(tmp_path):
    write_series(tmp_path / "b" / "deep", voxels(), SeriesNumber=2, SeriesDescription="T2")
    write_series(tmp_path / "a", voxels(count=3), SeriesNumber=10, SeriesDescription="FLAIR", modality="MR")
    write_segmentation_object(tmp_path / "seg" / "1.dcm")
    (tmp_path / "notes.txt").write_text("not DICOM")
    found = find_series(tmp_path)
    assert [(s.number, s.description, s.modality, s.shape_kji) for s in found] == [
        (2, "T2", "MR", (6, 4, 5)),
        (10, "FLAIR", "MR", (3, 4, 5)),
        (None, "Liver", "SEG", None),
    ]
    assert found[0].spacing_kji == pytest.approx((3, 0.8, 0.5))
    assert "DICOM SEG" in found[2].unusable
    with pytest.raises(InputError, match="cannot be read as an image"):
        read_series(found[2])


def test_two_series_in_one_folder_are_told_apart_by_their_uid(tmp_path):
    for number in (1, 2):
        write_series(tmp_path, voxels() + np.int16(number), SeriesNumber=number, name=f"{number}-{{}}.dcm")
    images = [read_series(series) for series in find_series(tmp_path)]
    assert [image.array[0, 0, 0, 0] - voxels()[0, 0, 0] for image in images] == [1, 2]


def test_a_folder_with_several_image_series_lists_them_and_guesses_nothing(tmp_path):
    write_series(tmp_path / "a", voxels(), SeriesNumber=1, SeriesDescription="T1")
    write_series(tmp_path / "b", voxels(), SeriesNumber=2, SeriesDescription="T2")
    with pytest.raises(InputError, match="holds 2 image series; choose one") as error:
        read_image(tmp_path)
    assert "1  T1  MR  6 x 4 x 5 voxels" in str(error.value)


def test_a_folder_with_only_a_segmentation_object_says_so(tmp_path):
    write_segmentation_object(tmp_path / "1.dcm")
    with pytest.raises(InputError, match=r"no DICOM series that can be used.*\n.*DICOM SEG"):
        read_image(tmp_path)


def test_one_file_stands_for_its_series(tmp_path):
    paths = write_series(tmp_path, voxels(), SeriesNumber=1)
    write_series(tmp_path, voxels(count=3), SeriesNumber=2, name="other-{}.dcm")
    np.testing.assert_array_equal(read_image(paths[2]).array[0], voxels())


def test_a_list_of_files_is_a_series(tmp_path):
    paths = write_series(tmp_path, voxels())
    write_series(tmp_path, voxels(count=3), name="other-{}.dcm")
    np.testing.assert_array_equal(read_image(paths).array[0], voxels())


def test_files_need_no_suffix(tmp_path):
    write_series(tmp_path, voxels(), name="IM{}")
    np.testing.assert_array_equal(read_image(tmp_path).array[0], voxels())


# Geometry that is not regular


def positions(*heights):
    return [(0, 0, height) for height in heights]


def test_missing_slices_are_counted_and_located(tmp_path):
    write_series(tmp_path, voxels(), positions=positions(0, 3, 6, 15, 18, 21))
    series = only(tmp_path)
    assert series.unusable == "about 2 slice(s) are missing (usual distance 3 mm, largest 9 mm after slice 3 of 6)"
    with pytest.raises(InputError, match="slice\\(s\\) are missing"):
        read_image(tmp_path)


def test_changing_distances_are_refused(tmp_path):
    write_series(tmp_path, voxels(), positions=positions(0, 3, 6, 9, 13, 17))
    assert "not evenly spaced (distances from 3 to 4 mm)" in only(tmp_path).unusable


def test_slightly_uneven_distances_are_read_with_a_warning(tmp_path):
    write_series(tmp_path, voxels(), positions=positions(0, 3, 6.1, 9, 12, 15))
    image = read_image(tmp_path)
    assert "up to 0.1 mm away" in image.meta["warnings"][0]
    assert image.grid.spacing_kji[0] == pytest.approx(3)


def test_rounded_positions_are_no_reason_to_warn(tmp_path):
    write_series(tmp_path, voxels(), positions=positions(0, 0.66, 1.33, 2.0, 2.66, 3.33), spacing=(0.667, 1, 1))
    assert only(tmp_path).problems == ()


def test_a_gantry_tilt_gives_the_sheared_grid_that_the_positions_describe(tmp_path):
    tilt = np.tan(np.radians(15)) * 3
    write_series(tmp_path, voxels(), step=(0, tilt, 3), modality="CT")
    image = read_image(tmp_path)
    assert "tilted by 15.0 degrees" in image.meta["warnings"][0]
    np.testing.assert_allclose(image.grid.ijk_to_ras_points([(0, 0, 5)]), [[0, -5 * tilt, 15]], atol=1e-6)


def test_slices_that_are_shifted_sideways_are_refused(tmp_path):
    write_series(tmp_path, voxels(), positions=[(0, 5 * (k == 3), 3 * k) for k in range(6)])
    assert "not evenly spaced" in only(tmp_path).unusable


def test_a_single_slice_has_its_thickness_as_spacing(tmp_path):
    write_series(tmp_path, voxels(count=1), orientation=SAGITTAL)
    image = read_image(tmp_path)
    assert image.array.shape == (1, 1, 4, 5)
    assert image.grid.spacing_kji == pytest.approx((3, 0.8, 0.5))
    assert image.meta["source"] == "000.dcm"


def test_an_image_without_a_place_in_the_patient_is_a_2d_image_with_a_warning(tmp_path):
    def unlocated(_, dataset):
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient

    write_series(tmp_path, voxels(count=1), each=unlocated)
    image = read_image(tmp_path)
    assert image.grid.spacing_kji == pytest.approx((1, 0.8, 0.5))
    assert "no position and orientation" in image.meta["warnings"][0]


def test_several_images_without_a_place_are_no_volume(tmp_path):
    def unlocated(_, dataset):
        del dataset.ImagePositionPatient

    write_series(tmp_path, voxels(), each=unlocated)
    assert "no position" in only(tmp_path).unusable


# Series that hold more than one volume


def test_a_series_with_zero_spacing_does_not_hide_the_others(tmp_path):
    write_series(tmp_path / "a", voxels(), PixelSpacing=[0, 0], SeriesNumber=1)
    write_series(tmp_path / "b", voxels(), SeriesNumber=2)
    bad, good = find_series(tmp_path)
    assert "singular" in bad.unusable
    assert not good.unusable


def test_a_series_with_three_orientations_gives_three_parts(tmp_path):
    uid = pydicom.uid.generate_uid()
    for index, orientation in enumerate((AXIAL, SAGITTAL, OBLIQUE)):
        write_series(
            tmp_path, voxels(count=2), orientation=orientation, name=f"{index}-{{}}.dcm", SeriesInstanceUID=uid
        )
    found = find_series(tmp_path)
    assert [series.part for series in found] == ["part 1 of 3", "part 2 of 3", "part 3 of 3"]
    assert {series.uid for series in found} == {uid}
    assert {series.grid.orientation for series in found} == {"LPS", "PIR"}


@pytest.mark.parametrize(
    ("tag", "values"),
    [
        ("EchoTime", (10.0, 90.0)),
        ("TemporalPositionIdentifier", (1, 2)),
        ("AcquisitionNumber", (3, 4)),
        ("ImageType", ("ORIGINAL\\PRIMARY\\M", "ORIGINAL\\PRIMARY\\P")),
    ],
)
def test_echoes_and_time_points_of_one_series_become_volumes_of_their_own(tmp_path, tag, values):
    uid = pydicom.uid.generate_uid()
    for value in values:
        array = voxels() * np.int16(values.index(value) + 1)
        write_series(tmp_path, array, name=f"{value}-{{}}", **{tag: value, "SeriesInstanceUID": uid})
    first, second = find_series(tmp_path)
    assert (first.part, second.part) == tuple(f"{tag} {value}" for value in values)
    np.testing.assert_array_equal(read_series(second).array, 2 * read_series(first).array)


@pytest.mark.parametrize("numbering", ["volume after volume", "place by place"])
def test_volumes_of_one_series_that_only_their_numbers_tell_apart_are_separated(tmp_path, numbering):
    """A time that differs from slice to slice must not make a volume of every slice."""
    uid = pydicom.uid.generate_uid()
    for volume in (0, 1):

        def number(index, dataset, volume=volume):
            dataset.InstanceNumber = index + 6 * volume if numbering == "volume after volume" else 2 * index + volume
            dataset.ContentTime = f"1200{dataset.InstanceNumber:02d}"

        array = voxels() * np.int16(volume + 1)
        write_series(tmp_path, array, name=f"{volume}-{{}}", each=number, SeriesInstanceUID=uid)
    first, second = find_series(tmp_path)
    assert (first.part, second.part) == ("volume 1 of 2", "volume 2 of 2")
    np.testing.assert_array_equal(read_series(first).array[0], voxels())
    np.testing.assert_array_equal(read_series(second).array[0], 2 * voxels())


def test_slices_at_one_place_that_nothing_tells_apart_are_refused(tmp_path):
    write_series(tmp_path, voxels(), positions=positions(0, 3, 6, 6, 9, 12))
    assert "same place" in only(tmp_path).unusable


def test_a_file_that_is_there_twice_counts_once(tmp_path):
    paths = write_series(tmp_path, voxels())
    shutil.copy(paths[2], tmp_path / "copy of 2.dcm")
    np.testing.assert_array_equal(read_image(tmp_path).array[0], voxels())


# Damage


def test_a_slice_with_missing_pixels_is_named(tmp_path):
    path = write_series(tmp_path, voxels())[3]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=rf"{path.name} is damaged or truncated"):
        read_image(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 50, bytes(500)])
def test_a_file_with_a_damaged_header_is_reported_with_the_series_beside_it(tmp_path, content):
    write_series(tmp_path, voxels())
    (tmp_path / "broken.dcm").write_bytes(bytes(128) + b"DICM" + content)
    image = read_image(tmp_path)
    assert image.meta["warnings"] == ("1 file(s) beside it are damaged and were left out: broken.dcm.",)


def test_a_slice_without_its_size_is_left_out_and_reported(tmp_path):
    def forget_rows(index, dataset):
        if index == 5:
            del dataset.Rows

    write_series(tmp_path, voxels(), each=forget_rows)
    image = read_image(tmp_path)
    np.testing.assert_array_equal(image.array[0], voxels()[:5])
    assert "1 file(s) beside it are damaged" in image.meta["warnings"][0]


def test_a_damaged_file_is_named_when_it_is_the_one_that_was_asked_for(tmp_path):
    write_series(tmp_path, voxels())
    (tmp_path / "broken.dcm").write_bytes(bytes(128) + b"DICM" + bytes(500))
    with pytest.raises(InputError, match=r"broken\.dcm is a DICOM file with a damaged header"):
        read_image(tmp_path / "broken.dcm")


def test_colors_are_refused(tmp_path):
    def color(_, dataset):
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.PixelData = bytes(3 * 4 * 5)

    write_series(tmp_path, voxels("uint8", 1), each=color)
    with pytest.raises(InputError, match="colors"):
        read_image(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="no file or folder"):
        find_series(tmp_path / "missing")


# Other encodings


@pytest.mark.parametrize("compressor", ["JPEG2000", "JPEG"])
def test_lossless_compression_gives_the_same_voxels(tmp_path, compressor):
    """GDCM decodes them, so no optional package of pydicom is needed."""
    plain = tmp_path / "plain"
    write_series(plain, np.tile(voxels("uint16", 3), (1, 16, 16)))  # GDCM's encoder crashes on tiny images
    (tmp_path / "packed").mkdir()
    for file in plain.iterdir():
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO"), writer.KeepOriginalImageUIDOn()
        writer.SetUseCompression(True), writer.SetCompressor(compressor)
        writer.SetFileName(str(tmp_path / "packed" / file.name))
        writer.Execute(sitk.ReadImage(str(file)))
    assert pydicom.dcmread(tmp_path / "packed" / "000.dcm").file_meta.TransferSyntaxUID.is_compressed
    packed, unpacked = read_image(tmp_path / "packed"), read_image(plain)
    np.testing.assert_array_equal(packed.array, unpacked.array)
    assert packed.grid.matches(unpacked.grid)


def test_an_enhanced_object_is_one_volume_with_a_slope_per_frame(tmp_path):
    slopes = [1.0, 2.0, 0.5, 1.0, 1.0, 4.0]
    path = write_enhanced(tmp_path / "enhanced.dcm", voxels("uint16"), slopes=slopes)
    image = read_image(path)
    np.testing.assert_allclose(image.array[0], voxels("uint16") * np.array(slopes)[:, None, None])
    assert image.grid.matches(from_itk(sitk.ReadImage(str(path)))[1])
    assert image.grid.ijk_to_ras[:3, 3].tolist() == [-1, -2, 0]


def test_the_time_points_of_an_enhanced_object_become_volumes_of_their_own(tmp_path):
    write_enhanced(tmp_path / "enhanced.dcm", voxels("uint16"), times=2)
    first, second = find_series(tmp_path)
    assert (first.part, second.part) == ("TemporalPositionIdentifier 1", "TemporalPositionIdentifier 2")
    np.testing.assert_array_equal(read_series(first).array[0], voxels("uint16")[:3])
    np.testing.assert_array_equal(read_series(second).array[0], voxels("uint16")[3:])


# Real studies


def test_a_mask_that_came_as_a_dicom_image_series_is_read_as_labels(shared_data):
    folder = next(shared_data("dicom_brain_tumour/timepoint_1").glob("*MaskTumor*"))
    found = read_label_map(folder)
    assert [label.id for label in found.labels] == ["Segment_1"]
    assert found.array.shape == (22, 320, 280)


def test_the_hippocampus_study_has_five_series_and_the_crop_among_them(shared_data):
    found = find_series(shared_data("dicom_hippocrop_study"))
    assert [(series.description, series.shape_kji) for series in found] == [
        ("T1post", (22, 320, 280)),
        ("T1pre_reg", (22, 320, 280)),
        ("FLAIR_reg", (22, 320, 280)),
        ("T2_reg", (22, 320, 280)),
        ("HippoCrop", (40, 50, 34)),
    ]
    assert found[-1].spacing_kji == (1, 1, 1)
    assert all(series.spacing_kji == pytest.approx((6.5, 0.6875, 0.6875), abs=1e-3) for series in found[:4])
    assert not any(series.unusable or series.problems for series in found)


@pytest.mark.parametrize("folder", ["dicom_hippocrop_study", "dicom_brain_tumour/timepoint_2", "dicom_seg/ct-3slice"])
def test_real_series_equal_simpleitk_and_pydicom(shared_data, folder):
    for series in find_series(shared_data(folder)):
        image = read_series(series)
        array, grid = simpleitk_volume(series)
        np.testing.assert_array_equal(image.array, array)
        assert image.grid.matches(grid)
        middle = pydicom.dcmread(series.files[1])
        stored = middle.pixel_array * float(middle.get("RescaleSlope", 1)) + float(middle.get("RescaleIntercept", 0))
        np.testing.assert_array_equal(image.array[0, 1], stored)


def test_a_real_segmentation_object_is_listed_but_not_usable(shared_data):
    found = {series.description: series for series in find_series(shared_data("dicom_seg"))}
    assert "DICOM SEG" in found["Liver Segmentation"].unusable
