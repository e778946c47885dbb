"""NIfTI files: voxels and geometry as SimpleITK (and so 3D Slicer) reads them, and damage that ITK does not notice."""

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from MedSegAICore.errors import GeometryError, InputError
from MedSegAICore.files import from_itk, read_image, write_image
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image

SHAPE = (3, 4, 5)
# Offsets of NIfTI-1 header fields.
DIM, DATATYPE, BITPIX, PIXDIM, VOX_OFFSET, SLOPE, INTERCEPT, UNITS = 40, 70, 72, 76, 108, 112, 116, 123
QFORM_CODE, SFORM_CODE, QUATERNION, SROW = 252, 254, 256, 280


def oblique_grid(seed: int, shape=SHAPE) -> Grid:
    direction, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return Grid.from_lps(shape, (12.3, -45.6, 78.9), (0.7, 1.1, 3.2), direction.ravel())


def voxels(dtype="int16", channels=1) -> np.ndarray:
    return np.arange(channels * 60).reshape(channels, *SHAPE).astype(dtype)


def written(path, seed=0, array=None, **patches):
    """A NIfTI file of ours, uncompressed, with header fields overwritten: offset=(format, values…)."""
    write_image(path, Image(voxels() if array is None else array, oblique_grid(seed)))
    data = bytearray(path.read_bytes())
    for offset, (layout, *values) in patches.items():
        struct.pack_into("<" + layout, data, int(offset[1:]), *values)
    path.write_bytes(data)
    return path


def assert_like_itk(path):
    """Our reading equals SimpleITK's; returns it."""
    image = read_image(path)
    array, grid = from_itk(sitk.ReadImage(str(path)))
    np.testing.assert_array_equal(image.array, array)
    assert image.grid.matches(grid), f"{image.grid.ijk_to_ras} differs from {grid.ijk_to_ras}"
    return image


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("seed", range(6))  # left- and right-handed axes both occur
def test_what_we_write_is_what_simpleitk_reads(tmp_path, seed, suffix):
    path = tmp_path / f"image{suffix}"
    image = Image(voxels(), oblique_grid(seed))
    write_image(path, image)
    again = assert_like_itk(path)
    np.testing.assert_array_equal(again.array, image.array)
    assert again.grid.matches(image.grid)
    assert again.meta == {"source": path.name, "warnings": ()}


@pytest.mark.parametrize("seed", range(6))
def test_what_simpleitk_writes_is_read_as_it_was(tmp_path, seed):
    grid = oblique_grid(seed)
    image = sitk.GetImageFromArray(voxels("float32")[0])
    origin, spacing, direction = grid.to_lps()
    image.SetOrigin(origin), image.SetSpacing(spacing), image.SetDirection(direction)
    sitk.WriteImage(image, str(tmp_path / "image.nii.gz"))
    assert assert_like_itk(tmp_path / "image.nii.gz").grid.matches(grid)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
)
def test_every_real_type_keeps_its_values_and_type(tmp_path, dtype):
    path = written(tmp_path / "image.nii", array=voxels(dtype))
    image = assert_like_itk(path)
    assert image.array.dtype == dtype


def test_half_precision_and_booleans_are_written_as_the_next_type_that_the_format_has(tmp_path):
    for dtype, stored in [("float16", "float32"), ("bool", "uint8")]:
        array = voxels() % 2
        write_image(tmp_path / "image.nii", Image(array.astype(dtype), oblique_grid(0)))
        image = read_image(tmp_path / "image.nii")
        assert image.array.dtype == stored
        np.testing.assert_array_equal(image.array, array)


def test_big_endian_files_are_read(tmp_path):
    path = written(tmp_path / "image.nii")
    head = path.read_bytes()[:352]
    order = [("i", 0), ("8h", DIM), ("h", DATATYPE), ("h", BITPIX), ("8f", PIXDIM), ("3f", VOX_OFFSET)]
    order += [("2h", QFORM_CODE), ("6f", QUATERNION), ("12f", SROW)]
    swapped = bytearray(head)
    for layout, offset in order:
        struct.pack_into(">" + layout, swapped, offset, *struct.unpack_from("<" + layout, head, offset))
    path.write_bytes(bytes(swapped) + voxels(">i2").tobytes())
    image = assert_like_itk(path)
    np.testing.assert_array_equal(image.array, voxels())
    assert image.array.dtype.isnative


def test_time_points_become_channels(tmp_path):
    array = voxels(channels=3)
    written(tmp_path / "image.nii", array=array)
    np.testing.assert_array_equal(assert_like_itk(tmp_path / "image.nii").array, array)


def test_vector_components_become_channels(tmp_path):
    array = voxels("float32", channels=3)
    sitk.WriteImage(sitk.GetImageFromArray(np.moveaxis(array, 0, -1), isVector=True), str(tmp_path / "vector.nii.gz"))
    np.testing.assert_array_equal(assert_like_itk(tmp_path / "vector.nii.gz").array, array)


def test_a_2d_image_has_one_slice(tmp_path):
    image = sitk.GetImageFromArray(np.arange(20, dtype=np.int16).reshape(4, 5))
    image.SetSpacing((0.5, 0.8)), image.SetOrigin((3, 4))
    sitk.WriteImage(image, str(tmp_path / "flat.nii"))
    read = read_image(tmp_path / "flat.nii")
    assert read.array.shape == (1, 1, 4, 5)
    assert read.grid.spacing_ijk[:2] == pytest.approx((0.5, 0.8))
    np.testing.assert_allclose(read.grid.ijk_to_ras_points([(0, 0, 0), (1, 1, 0)])[:, :2], [[-3, -4], [-3.5, -4.8]])


def test_scale_factors_are_applied(tmp_path):
    path = written(tmp_path / "image.nii", _112=("2f", 0.5, -3.0))
    image = assert_like_itk(path)
    np.testing.assert_array_equal(image.array, voxels() * 0.5 - 3)


@pytest.mark.parametrize("factors", [(0.0, 5.0), (float("nan"), float("nan")), (1.0, 0.0)])
def test_scale_factors_that_mean_nothing_are_ignored(tmp_path, factors):
    path = written(tmp_path / "image.nii", _112=("2f", *factors))
    np.testing.assert_array_equal(read_image(path).array, voxels())


@pytest.mark.parametrize(("code", "factor"), [(1, 1000.0), (3, 0.001), (0, 1.0)])
def test_units_are_converted_to_millimeters(tmp_path, code, factor):
    path = written(tmp_path / "image.nii", _123=("B", code))
    grid, expected = read_image(path).grid, oblique_grid(0).ijk_to_ras.copy()
    expected[:3] *= factor
    assert grid.matches(Grid(SHAPE, expected))


@pytest.mark.parametrize("code", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_a_file_with_only_a_qform_or_only_an_sform_lies_where_itk_says(tmp_path, seed, code):
    only_qform = written(tmp_path / "qform.nii", seed, _252=("2h", code, 0))
    only_sform = written(tmp_path / "sform.nii", seed, _252=("2h", 0, code))
    for path in (only_qform, only_sform):
        image = assert_like_itk(path)
        assert image.grid.matches(oblique_grid(seed))
        assert image.meta["warnings"] == ()


@pytest.mark.parametrize(("code", "used"), [(1, "sform"), (2, "qform")])
def test_when_sform_and_qform_disagree_the_one_that_slicer_uses_is_used_and_said(tmp_path, code, used):
    other = oblique_grid(5).ijk_to_ras[:3].ravel()
    path = written(tmp_path / "image.nii", 4, _252=("2h", 1, code), _280=("12f", *other))
    (warning,) = assert_like_itk(path).meta["warnings"]
    assert f"the {used} was used" in warning
    assert "disagree by up to" in warning


def test_a_spacing_that_contradicts_the_sform_is_used_as_slicer_does_and_said(tmp_path):
    path = written(tmp_path / "image.nii", _76=("4f", 1, 0.7, 1.1, 4.0), _252=("2h", 0, 1))
    image = assert_like_itk(path)
    assert image.grid.spacing_kji[0] == pytest.approx(4.0)
    assert "contradicts itself" in image.meta["warnings"][0]


def test_a_file_without_any_orientation_is_read_like_itk_with_a_warning(tmp_path):
    path = written(tmp_path / "image.nii", _252=("2h", 0, 0))
    image = assert_like_itk(path)
    assert image.grid.orientation == "LPS"
    assert "left and right may be swapped" in image.meta["warnings"][0]


def sheared_grid() -> Grid:
    matrix = oblique_grid(3).ijk_to_ras.copy()
    matrix[:3, 2] += 0.4 * matrix[:3, 1]
    return Grid(SHAPE, matrix)


def test_a_sheared_grid_which_itk_refuses_is_read_and_written_exactly(tmp_path):
    write_image(tmp_path / "image.nii.gz", Image(voxels(), sheared_grid()))
    image = read_image(tmp_path / "image.nii.gz")
    assert image.grid.matches(sheared_grid())
    assert "not perpendicular" in image.meta["warnings"][0]
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(tmp_path / "image.nii.gz"))


def test_a_sheared_sform_with_a_qform_falls_back_to_the_qform_like_itk(tmp_path):
    path = written(tmp_path / "image.nii", 3, _280=("12f", *sheared_grid().ijk_to_ras[:3].ravel()))
    image = assert_like_itk(path)
    assert image.grid.matches(oblique_grid(3))
    assert "qform was used" in image.meta["warnings"][0]


def test_an_sform_without_inverse_is_refused_with_its_numbers(tmp_path):
    path = written(tmp_path / "image.nii", _252=("2h", 0, 1), _280=("12f", *[0.0] * 12))
    with pytest.raises(GeometryError, match="not invertible"):
        read_image(path)


def test_the_offset_of_the_voxels_is_respected(tmp_path):
    path = written(tmp_path / "image.nii")
    data = bytearray(path.read_bytes())
    struct.pack_into("<f", data, VOX_OFFSET, 352 + 64)  # a header extension
    path.write_bytes(bytes(data[:352]) + bytes(64) + bytes(data[352:]))
    np.testing.assert_array_equal(assert_like_itk(path).array, voxels())


def test_version_2_files_are_read_although_itk_cannot(tmp_path):
    matrix = oblique_grid(2).ijk_to_ras
    head = bytearray(544)
    struct.pack_into("<i4s", head, 0, 540, b"n+2\0")
    struct.pack_into("<2h8q", head, 12, 4, 16, 3, *SHAPE[::-1], 1, 1, 1, 1)
    struct.pack_into("<8d", head, 104, 1, *oblique_grid(2).spacing_ijk, 1, 1, 1, 1)
    struct.pack_into("<q2d", head, 168, 544, 1.0, 0.0)
    struct.pack_into("<2i", head, 344, 0, 1)
    struct.pack_into("<12d", head, 400, *matrix[:3].ravel())
    struct.pack_into("<i", head, 500, 2)
    (tmp_path / "image.nii").write_bytes(bytes(head) + voxels().tobytes())
    image = read_image(tmp_path / "image.nii")
    np.testing.assert_array_equal(image.array, voxels())
    np.testing.assert_allclose(image.grid.ijk_to_ras, matrix, rtol=1e-12)


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_truncated_gzip_file_is_refused_where_itk_fills_with_zeros(tmp_path, kept):
    path = tmp_path / "image.nii.gz"
    noise = np.random.default_rng(0).integers(0, 999, (1, 20, 20, 20)).astype(np.int16)
    write_image(path, Image(noise, Grid((20, 20, 20), np.eye(4))))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(InputError, match="truncated"):
        read_image(path)


def test_a_truncated_plain_file_is_refused(tmp_path):
    path = written(tmp_path / "image.nii")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="10 are missing"):
        read_image(path)


def test_a_gzip_file_with_a_flipped_bit_is_refused(tmp_path):
    path = tmp_path / "image.nii.gz"
    write_image(path, Image(voxels(), oblique_grid(0)))
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # within the checksum
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        read_image(path)


def test_gzip_data_under_a_plain_name_and_plain_data_under_a_gz_name_are_read(tmp_path):
    plain = written(tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii").write_bytes(gzip.compress(plain))
    (tmp_path / "c.nii.gz").write_bytes(plain)
    for name in ("b.nii", "c.nii.gz"):
        np.testing.assert_array_equal(read_image(tmp_path / name).array, voxels())


@pytest.mark.parametrize(("code", "word"), [(128, "RGB"), (32, "complex"), (1792, "complex"), (1, "1-bit")])
def test_colors_and_complex_values_are_refused(tmp_path, code, word):
    with pytest.raises(InputError, match=word):
        read_image(written(tmp_path / "image.nii", _70=("h", code)))


@pytest.mark.parametrize("dim", [(0, 5, 4, 3), (3, -5, 4, 3), (9, 5, 4, 3), (3, 32767, 32767, 32767)])
def test_a_header_with_impossible_dimensions_is_refused_without_asking_for_the_memory(tmp_path, dim):
    with pytest.raises(InputError, match="damaged NIfTI header|truncated"):
        read_image(written(tmp_path / "image.nii", _40=("4h", *dim)))


@pytest.mark.parametrize("content", [b"hello, this is no image\n" * 40, b"\x1f\x8b not gzip", gzip.compress(b"text")])
def test_another_file_named_like_nifti_is_refused(tmp_path, content):
    (tmp_path / "image.nii.gz").write_bytes(content)
    with pytest.raises(InputError, match="is not a NIfTI image|damaged"):
        read_image(tmp_path / "image.nii.gz")


def test_nan_and_infinity_are_kept(tmp_path):
    array = voxels("float32")
    array[0, 0, 0, :3] = [np.nan, np.inf, -np.inf]
    write_image(tmp_path / "image.nii.gz", Image(array, oblique_grid(0)))
    np.testing.assert_array_equal(read_image(tmp_path / "image.nii.gz").array, array)


def test_the_same_image_gives_the_same_bytes_whatever_its_name_and_time(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_image(tmp_path / name, Image(voxels(), oblique_grid(0)))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_real_volumes_are_read_exactly_as_simpleitk_reads_them(shared_data):
    folder = shared_data("hippocampus/images")
    for path in [*sorted(folder.glob("*.nii.gz"))[::20], *sorted(shared_data("organs").glob("*.nii.gz"))]:
        image = assert_like_itk(path)
        assert image.meta["warnings"] == ()
