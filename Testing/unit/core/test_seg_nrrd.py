"""Segmentation files: everything about the segments survives, in our reading and in that of other programs."""

import json
import os

import numpy as np
import pytest
import SimpleITK as sitk

from MedSegAICore.errors import InputError, OutputError
from MedSegAICore.files import from_itk, read_label_map, read_metadata, write_segmentation
from MedSegAICore.grid import Grid
from MedSegAICore.image import Label, LabelMap

HIPPOCAMPUS = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^5926005^Hippocampus~SCT^7771000^Left~Anatomic codes - DICOM master list~^^~^^"
)
SHAPE = (5, 6, 7)


def oblique_grid(seed=0, shear=0.0) -> Grid:
    direction, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    matrix = Grid.from_lps(SHAPE, (12.3, -45.6, 78.9), (0.7, 1.1, 3.2), direction.ravel()).ijk_to_ras.copy()
    matrix[:3, 2] += shear * matrix[:3, 1]
    return Grid(SHAPE, matrix)


def segments(grid=None, dtype=np.uint8) -> LabelMap:
    """Four segments with everything that a file must keep: one is empty, one overlaps the first."""
    layers = np.zeros((2, *SHAPE), dtype)
    layers[0, 1:4, 2:5, 1:3] = 1
    layers[0, 1:4, 2:5, 3:6] = 44
    layers[1, 2:5, 1:5, 2:6] = 1
    labels = (
        Label(1, "anterior", "Anterior 海馬 ü", (1 / 3, 0.2, 0.9), HIPPOCAMPUS),
        Label(44, "posterior", 'Posterior, \\ back: "x" | y', (0, 1, 0.5)),
        Label(7, "empty", "Empty", (1, 0, 0)),
        Label(1, "over", "Over", (0, 0, 1), HIPPOCAMPUS, 1, (("Segmentation.Status", "inprogress"), ("note", "a|b:c"))),
    )
    return LabelMap(layers, grid or oblique_grid(), labels)


def assert_equal(one: LabelMap, other: LabelMap):
    assert one.labels == other.labels
    assert one.array.dtype == other.array.dtype
    np.testing.assert_array_equal(one.array, other.array)
    assert one.grid.matches(other.grid)


@pytest.mark.parametrize("shear", [0, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_names_ids_colors_terminology_tags_layers_and_geometry_survive(tmp_path, seed, shear):
    label_map = segments(oblique_grid(seed, shear))
    write_segmentation(tmp_path / "a.seg.nrrd", label_map)
    again = read_label_map(tmp_path / "a.seg.nrrd")
    assert_equal(again, label_map)
    np.testing.assert_allclose(again.grid.ijk_to_ras, label_map.grid.ijk_to_ras, atol=1e-12)


def test_a_single_layer_is_a_plain_3d_file(tmp_path):
    layers = segments()
    flat = LabelMap(layers.array[0], layers.grid, layers.labels[:3])
    write_segmentation(tmp_path / "a.seg.nrrd", flat)
    assert_equal(read_label_map(tmp_path / "a.seg.nrrd"), flat)
    array, grid = from_itk(sitk.ReadImage(str(tmp_path / "a.seg.nrrd")))
    np.testing.assert_array_equal(array[0], flat.array)
    assert grid.matches(flat.grid)


def test_layers_are_read_by_simpleitk_as_components(tmp_path):
    write_segmentation(tmp_path / "a.seg.nrrd", segments())
    array, grid = from_itk(sitk.ReadImage(str(tmp_path / "a.seg.nrrd")))
    np.testing.assert_array_equal(array, segments().array)
    assert grid.matches(segments().grid)


def test_the_fields_library_slicerio_reads_the_segments(tmp_path):
    slicerio = pytest.importorskip("slicerio")
    label_map = segments()
    write_segmentation(tmp_path / "a.seg.nrrd", label_map)
    found = slicerio.read_segmentation(str(tmp_path / "a.seg.nrrd"))
    np.testing.assert_allclose(found["ijkToLPS"], np.diag([-1, -1, 1, 1]) @ label_map.grid.ijk_to_ras, atol=1e-12)
    for segment, label in zip(found["segments"], label_map.labels, strict=True):
        assert (segment["id"], segment["labelValue"], segment["layer"]) == (label.id, label.value, label.layer)
        mask = found["voxels"][label.layer] == label.value  # layer, I, J, K
        np.testing.assert_array_equal(mask.transpose(2, 1, 0), label_map.mask(label))
    assert found["segments"][0]["terminology"]["type"] == ["SCT", "5926005", "Hippocampus"]


@pytest.mark.parametrize(("dtype", "stored"), [("uint16", "uint8"), ("uint32", "uint8"), ("uint64", "uint8")])
def test_values_are_stored_in_the_smallest_type_that_holds_them(tmp_path, dtype, stored):
    write_segmentation(tmp_path / "a.seg.nrrd", segments(dtype=dtype))
    assert read_label_map(tmp_path / "a.seg.nrrd").array.dtype == stored


def test_label_values_beyond_255_survive(tmp_path):
    array = np.zeros(SHAPE, np.uint32)
    array[0, 0, 0], array[1, 1, 1] = 70000, 300
    label_map = LabelMap(array, oblique_grid(), (Label(70000, "a", "A"), Label(300, "b", "B")))
    write_segmentation(tmp_path / "a.seg.nrrd", label_map)
    assert_equal(read_label_map(tmp_path / "a.seg.nrrd"), label_map)


def test_a_segmentation_without_segments_is_a_file_too(tmp_path):
    empty = LabelMap(np.zeros(SHAPE, np.uint8), oblique_grid(), ())
    write_segmentation(tmp_path / "a.seg.nrrd", empty)
    assert_equal(read_label_map(tmp_path / "a.seg.nrrd"), empty)


def test_metadata_survives_with_every_character(tmp_path):
    metadata = {
        "MedSegAI.Provenance": json.dumps({"path": "C:\\data|x\n", "name": "é海", "n": 1}, ensure_ascii=False),
        "Comment": "two\nlines | a \\ backslash: and more",
    }
    write_segmentation(tmp_path / "a.seg.nrrd", segments(), metadata)
    assert read_metadata(tmp_path / "a.seg.nrrd") == metadata
    assert read_label_map(tmp_path / "a.seg.nrrd").labels == segments().labels


def test_metadata_that_slicer_kept_only_as_tags_is_found(tmp_path):
    metadata = {"MedSegAI.Provenance": '{"a": "b|c"}'}
    write_segmentation(tmp_path / "a.seg.nrrd", segments(), metadata)
    data = (tmp_path / "a.seg.nrrd").read_bytes()
    field = b'MedSegAI.Provenance:={"a": "b|c"}\n'
    assert field in data
    (tmp_path / "b.seg.nrrd").write_bytes(data.replace(field, b""))
    assert read_metadata(tmp_path / "b.seg.nrrd")["MedSegAI.Provenance"] == metadata["MedSegAI.Provenance"]


@pytest.mark.parametrize("key", ["", "a:=b", "a:b", "a|b", "a\nb", "Segment0_Name", "Segmentation_Extent", "ITK_x"])
def test_a_metadata_key_that_would_break_the_file_is_refused(tmp_path, key):
    with pytest.raises(OutputError, match="metadata key"):
        write_segmentation(tmp_path / "a.seg.nrrd", segments(), {key: "value"})
    assert os.listdir(tmp_path) == []


def test_a_segmentation_is_not_written_under_another_suffix(tmp_path):
    for name in ("a.nrrd", "a.nii.gz"):
        with pytest.raises(OutputError, match=r"must end with \.seg\.nrrd"):
            write_segmentation(tmp_path / name, segments())


def test_the_same_segmentation_gives_the_same_bytes(tmp_path):
    for name in ("a.seg.nrrd", "b.seg.nrrd"):
        write_segmentation(tmp_path / name, segments(), {"x": "y"})
    assert (tmp_path / "a.seg.nrrd").read_bytes() == (tmp_path / "b.seg.nrrd").read_bytes()


def with_fields(tmp_path, fields: str, layers=1, type="unsigned char"):
    """A segmentation file with these header lines and zeros as voxels."""
    axes = "space directions: {}(1,0,0) (0,1,0) (0,0,1)\nkinds: {}domain domain domain\n"
    several = layers > 1
    header = (
        f"NRRD0004\ntype: {type}\ndimension: {3 + several}\nspace: left-posterior-superior\nendian: little\n"
        f"sizes: {f'{layers} ' * several}2 2 2\n{axes.format('none ' * several, 'list ' * several)}"
        f"encoding: raw\nspace origin: (0,0,0)\n{fields}\n\n"
    )
    path = tmp_path / "made.seg.nrrd"
    path.write_bytes(header.encode() + bytes(layers * 8 * np.dtype(np.int16 if type == "short" else np.uint8).itemsize))
    return path


def test_a_file_of_an_old_slicer_has_one_layer_per_segment_and_value_one(tmp_path):
    path = with_fields(tmp_path, "Segment0_ID:=a\nSegment0_Name:=A\nSegment1_ID:=b\nSegment1_Name:=B", layers=2)
    found = [(label.id, label.name, label.value, label.layer) for label in read_label_map(path).labels]
    assert found == [("a", "A", 1, 0), ("b", "B", 1, 1)]


def test_signed_voxels_become_unsigned(tmp_path):
    fields = "Segment0_ID:=a\nSegment0_LabelValue:=3\nSegment0_Layer:=0"
    assert read_label_map(with_fields(tmp_path, fields, type="short")).array.dtype == np.uint8


def test_segments_are_kept_in_the_order_of_their_numbers(tmp_path):
    fields = "\n".join(
        f"Segment{index}_ID:=s{index}\nSegment{index}_LabelValue:={index + 1}\nSegment{index}_Layer:=0"
        for index in (10, 9, 2, 0, 1, 3, 4, 5, 6, 7, 8)
    )
    assert [label.id for label in read_label_map(with_fields(tmp_path, fields)).labels] == [f"s{n}" for n in range(11)]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("Segment0_ID:=a\nSegment0_LabelValue:=one\nSegment0_Layer:=0", "not a number"),
        ("Segment0_ID:=a\nSegment0_Color:=1 1\nSegment0_LabelValue:=1\nSegment0_Layer:=0", "not a number"),
        ("Segment0_ID:=a\nSegment0_LabelValue:=1\nSegment0_Layer:=5", "layer 5"),
        ("Segment0_ID:=a\nSegment0_LabelValue:=0\nSegment0_Layer:=0", "value 0"),
        ("Segment0_ID:=a\nSegment0_Layer:=0\nSegment1_ID:=a\nSegment1_LabelValue:=2", "id of its own"),
    ],
)
def test_a_damaged_segment_is_refused_with_the_file_name(tmp_path, fields, words):
    with pytest.raises(InputError, match=rf"made\.seg\.nrrd.*{words}"):
        read_label_map(with_fields(tmp_path, fields))


def test_a_name_in_latin_1_is_read_and_can_be_written_again(tmp_path):
    path = with_fields(tmp_path, "Segment0_ID:=a\nSegment0_Name:=XXXX\nSegment0_LabelValue:=1\nSegment0_Layer:=0")
    path.write_bytes(path.read_bytes().replace(b"XXXX", "Größ".encode("latin-1")))
    label_map = read_label_map(path)
    assert label_map.labels[0].name == "Größ"
    write_segmentation(tmp_path / "b.seg.nrrd", label_map)
    assert read_label_map(tmp_path / "b.seg.nrrd").labels == label_map.labels


def test_real_overlapping_segments_survive(tmp_path, shared_data):
    parts = [read_label_map(shared_data(f"dicom_seg/partial_overlaps-{n}.nrrd")) for n in (1, 2, 3)]
    layers = np.stack([part.array for part in parts])
    labels = [
        Label(label.value, f"{layer}-{label.id}", label.name, label.color, layer=layer)
        for layer, part in enumerate(parts)
        for label in part.labels
    ]
    label_map = LabelMap(layers, parts[0].grid, tuple(labels))
    write_segmentation(tmp_path / "a.seg.nrrd", label_map)
    assert_equal(read_label_map(tmp_path / "a.seg.nrrd"), label_map)
