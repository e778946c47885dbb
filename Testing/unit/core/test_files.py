"""Reading and writing files by type, and the sentence for every kind of bad input."""

import contextlib
import json
import os

import numpy as np
import pytest
import SimpleITK as sitk

from MedSegAICore.errors import InputError, OutputError
from MedSegAICore.files import (
    from_itk,
    read_image,
    read_label_map,
    write_image,
    write_json,
    write_label_nifti,
    write_segmentation,
)
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, Label, LabelMap

SHAPE = (3, 4, 5)
OBLIQUE = Grid.from_lps(SHAPE, (1, -2, 3), (0.7, 1.1, 3.2), sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 2).GetMatrix())


def voxels(dtype="int16", channels=1) -> np.ndarray:
    return np.arange(channels * 60).reshape(channels, *SHAPE).astype(dtype)


def itk_image(array=None) -> sitk.Image:
    image = sitk.GetImageFromArray(voxels()[0] if array is None else array)
    origin, spacing, direction = OBLIQUE.to_lps()
    image.SetOrigin(origin), image.SetSpacing(spacing), image.SetDirection(direction)
    return image


def two_layers(overlapping: bool, second_value: int = 2) -> LabelMap:
    layers = np.zeros((2, *SHAPE), np.uint8)
    layers[0, 0] = 1
    layers[1, 0 if overlapping else 1] = second_value
    return LabelMap(layers, OBLIQUE, (Label(1, "a", "A"), Label(second_value, "b", "B", layer=1)))


# Images


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd", ".nii", ".nii.gz", ".NII.GZ", ".Nrrd"])
def test_every_format_gives_the_same_voxels_and_grid(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    sitk.WriteImage(itk_image(), str(tmp_path / path.name.lower()))  # SimpleITK writes lower-case suffixes only
    (tmp_path / path.name.lower()).rename(path)
    image = read_image(path)
    np.testing.assert_array_equal(image.array, voxels())
    assert image.grid.matches(OBLIQUE)
    assert image.meta == {"source": path.name, "warnings": ()}


@pytest.mark.parametrize("channels", [1, 3])
def test_a_written_nrrd_image_is_read_by_simpleitk_as_it_was(tmp_path, channels):
    array = voxels("float32", channels)
    write_image(tmp_path / "image.nrrd", Image(array, OBLIQUE))
    read, grid = from_itk(sitk.ReadImage(str(tmp_path / "image.nrrd")))
    np.testing.assert_array_equal(read, array)
    assert grid.matches(OBLIQUE)
    assert read_image(tmp_path / "image.nrrd").channels == channels


def test_an_nrrd_file_in_ras_lies_where_one_in_lps_lies(tmp_path):
    header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 5 4 3\nencoding: raw\n"
    header += "space: {}\nspace directions: {}\nspace origin: {}\n\n"
    for name, words in {
        "ras": ("right-anterior-superior", "(-2,0,0) (0,0,3) (0,1,0)", "(-10,20,30)"),
        "lps": ("left-posterior-superior", "(2,0,0) (0,0,3) (0,-1,0)", "(10,-20,30)"),
    }.items():
        (tmp_path / f"{name}.nrrd").write_bytes(header.format(*words).encode() + bytes(60))
    ras, lps = (read_image(tmp_path / f"{name}.nrrd").grid for name in ("ras", "lps"))
    assert ras.matches(lps)
    np.testing.assert_array_equal(ras.ijk_to_ras[:3, 3], [-10, 20, 30])


def test_a_sheared_nrrd_keeps_its_grid(tmp_path):
    matrix = OBLIQUE.ijk_to_ras.copy()
    matrix[:3, 2] += [0.3, 0.2, 0]
    write_image(tmp_path / "image.nrrd", Image(voxels(), Grid(SHAPE, matrix)))
    assert read_image(tmp_path / "image.nrrd").grid.matches(Grid(SHAPE, matrix))


def test_a_2d_nrrd_has_one_slice(tmp_path):
    flat = sitk.GetImageFromArray(voxels()[0, 0])
    flat.SetSpacing((0.5, 0.8)), flat.SetOrigin((3, 4))
    sitk.WriteImage(flat, str(tmp_path / "flat.nrrd"))
    image = read_image(tmp_path / "flat.nrrd")
    assert image.array.shape == (1, 1, 4, 5)
    assert image.grid.ijk_to_ras.tolist() == [[-0.5, 0, 0, -3], [0, -0.8, 0, -4], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_a_4d_metaimage_gives_channels(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(voxels(channels=2), isVector=False), str(tmp_path / "series.mha"))
    np.testing.assert_array_equal(read_image(tmp_path / "series.mha").array, voxels(channels=2))


def test_paths_may_be_long_and_hold_spaces_and_any_letters(tmp_path):
    folder = tmp_path / "Schädel MR (海馬)" / ("d" * 120)
    folder.mkdir(parents=True)
    for suffix in (".nii.gz", ".nrrd"):
        write_image(folder / f"Bild № 1{suffix}", Image(voxels(), OBLIQUE))
        image = read_image(folder / f"Bild № 1{suffix}")
        np.testing.assert_array_equal(image.array, voxels())
        assert image.meta["source"] == f"Bild № 1{suffix}"


def test_an_unknown_suffix_is_refused_before_anything_is_written(tmp_path):
    for name in ("image.png", "image", "image.mhd"):
        with pytest.raises(OutputError, match=r"\.nii\.gz, \.nii or \.nrrd"):
            write_image(tmp_path / name, Image(voxels(), OBLIQUE))
    assert os.listdir(tmp_path) == []


# Bad input


def bad_file(tmp_path, name: str, content: bytes):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_a_missing_file_is_named(tmp_path):
    for read in (read_image, read_label_map):
        with pytest.raises(InputError, match=r"There is no file or folder .*missing\.nii\.gz"):
            read(tmp_path / "missing.nii.gz")


@pytest.mark.parametrize("name", ["notes.nii.gz", "notes.nii", "notes.nrrd", "notes.seg.nrrd", "notes.mha"])
@pytest.mark.parametrize("content", [b"These are my notes.\n" * 50, b"\0" * 1000])
def test_a_file_that_is_no_image_is_refused(tmp_path, name, content):
    path = bad_file(tmp_path, name, content)
    for read in (read_image, read_label_map):
        with pytest.raises(InputError, match=name) as error:
            read(path)
        assert "Check what the file holds" in str(error.value) or "again" in str(error.value)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha", "a.dcm"])
def test_an_empty_file_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"empty \(0 bytes\)"):
        read_image(bad_file(tmp_path, name, b""))


@pytest.mark.parametrize("name", ["image.png", "image.txt", "image", "image.zip"])
def test_a_file_of_another_type_is_refused_with_the_types_that_are_known(tmp_path, name):
    with pytest.raises(InputError, match=r"unknown type.*\.nii\.gz"):
        read_image(bad_file(tmp_path, name, b"something"))


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_truncated_file_is_refused(tmp_path, suffix, compressed):
    path = tmp_path / f"image{suffix}"
    noise = np.random.default_rng(0).integers(0, 999, (20, 20, 20)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(path), compressed)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match="damaged or truncated"):
        read_image(path)


def test_a_folder_without_dicom_is_refused(tmp_path):
    bad_file(tmp_path, "readme.txt", b"text")
    with pytest.raises(InputError, match="holds no DICOM files"):
        read_image(tmp_path)


def test_complex_values_are_refused(tmp_path):
    sitk.WriteImage(sitk.Cast(itk_image(), sitk.sitkComplexFloat32), str(tmp_path / "image.nrrd"))
    with pytest.raises(InputError, match="complex"):
        read_image(tmp_path / "image.nrrd")


def test_colors_are_refused(tmp_path):
    header = "NRRD0004\ntype: uint8\ndimension: 4\nsizes: 3 5 4 3\nencoding: raw\n"
    header += "kinds: RGB-color space space space\n\n"
    with pytest.raises(InputError, match="colors"):
        read_image(bad_file(tmp_path, "image.nrrd", header.encode() + bytes(180)))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.seg.nrrd", "a.mha"])
def test_damage_anywhere_gives_our_sentence_and_never_another_exception(tmp_path, name):
    array = voxels("uint8")
    if name == "a.mha":
        sitk.WriteImage(itk_image(array[0]), str(tmp_path / name))
    elif name == "a.seg.nrrd":
        write_segmentation(tmp_path / name, LabelMap(array[0], OBLIQUE, (Label(1, "a", "A"), Label(2, "b", "B"))))
    else:
        write_image(tmp_path / name, Image(array, OBLIQUE))
    good, random = (tmp_path / name).read_bytes(), np.random.default_rng(3)
    for _ in range(60):
        bad = bytearray(good)
        for position in random.integers(0, min(len(bad), 600), 2):
            bad[position] = random.integers(0, 256)
        (tmp_path / name).write_bytes(bad[: random.integers(len(bad) // 2, len(bad) + 1)])
        for read in (read_image, read_label_map):
            with contextlib.suppress(InputError):
                read(tmp_path / name)


# Label maps


def test_a_plain_label_file_gives_a_label_for_every_value_that_occurs(tmp_path):
    array = np.zeros(SHAPE, np.int16)
    array[0, 0, 0], array[1, 1, 1] = 300, 7
    sitk.WriteImage(itk_image(array), str(tmp_path / "labels.nii.gz"))
    found = read_label_map(tmp_path / "labels.nii.gz")
    assert [(label.value, label.id, label.name) for label in found.labels] == [
        (7, "Segment_7", "Segment_7"),
        (300, "Segment_300", "Segment_300"),
    ]
    assert found.array.dtype == np.uint16
    np.testing.assert_array_equal(found.array, array)
    assert found.labels[0].color != found.labels[1].color


def test_whole_numbers_stored_as_floats_are_labels(tmp_path):
    array = (voxels("float64")[0] % 3).copy()
    sitk.WriteImage(itk_image(array), str(tmp_path / "labels.nrrd"))
    found = read_label_map(tmp_path / "labels.nrrd")
    assert found.array.dtype == np.uint8
    np.testing.assert_array_equal(found.array, array)


def test_a_label_file_without_any_label_is_an_empty_label_map(tmp_path):
    sitk.WriteImage(itk_image(np.zeros(SHAPE, np.uint8)), str(tmp_path / "labels.nii"))
    assert read_label_map(tmp_path / "labels.nii").labels == ()


@pytest.mark.parametrize(
    ("values", "word"), [(0.5, "fractions"), (np.nan, "NaN"), (np.inf, "infinite"), (-1, "negative number -1")]
)
def test_an_image_that_is_no_label_map_is_refused(tmp_path, values, word):
    sitk.WriteImage(itk_image(np.full(SHAPE, values, np.float32)), str(tmp_path / "image.nii"))
    with pytest.raises(InputError, match=word):
        read_label_map(tmp_path / "image.nii")


def test_several_channels_without_segments_are_no_label_map(tmp_path):
    write_image(tmp_path / "image.nrrd", Image(voxels("uint8", 3), OBLIQUE))
    with pytest.raises(InputError, match="3 channels"):
        read_label_map(tmp_path / "image.nrrd")


def test_labels_written_as_nifti_are_read_by_simpleitk_as_they_were(tmp_path):
    array = voxels("uint16")[0] * 10
    write_label_nifti(tmp_path / "labels.nii.gz", LabelMap(array, OBLIQUE, (Label(590, "a", "A"),)))
    read, grid = from_itk(sitk.ReadImage(str(tmp_path / "labels.nii.gz")))
    np.testing.assert_array_equal(read[0], array)
    assert grid.matches(OBLIQUE)


def test_layers_that_do_not_overlap_are_merged_into_one_nifti(tmp_path):
    label_map = two_layers(overlapping=False)
    write_label_nifti(tmp_path / "labels.nii.gz", label_map)
    np.testing.assert_array_equal(read_label_map(tmp_path / "labels.nii.gz").array, label_map.layers.max(axis=0))


@pytest.mark.parametrize(
    ("label_map", "words"),
    [(two_layers(overlapping=True), "segments overlap"), (two_layers(False, second_value=1), "share a value")],
)
def test_overlap_in_nifti_is_refused_and_seg_nrrd_proposed(tmp_path, label_map, words):
    with pytest.raises(OutputError, match=rf"{words}.*\.seg\.nrrd"):
        write_label_nifti(tmp_path / "labels.nii.gz", label_map)
    assert os.listdir(tmp_path) == []


# JSON


def test_json_is_readable_utf8_with_a_final_line_break(tmp_path):
    write_json(tmp_path / "a.json", {"name": "海馬", "volumes_ml": [1.5]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "海馬" in text
    assert text.endswith("}\n")
    assert json.loads(text) == {"name": "海馬", "volumes_ml": [1.5]}


def test_json_that_would_not_be_json_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"dice": float("nan")})
    assert os.listdir(tmp_path) == []
