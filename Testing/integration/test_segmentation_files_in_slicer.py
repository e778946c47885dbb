"""Segmentation files that we write, loaded and saved again by 3D Slicer's own storage node."""

import json

import numpy as np
import pytest

from MedSegAICore.files import read_label_map, read_metadata, write_image, write_label_nifti, write_segmentation
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, Label, LabelMap

slicer = pytest.importorskip("slicer")
vtk = pytest.importorskip("vtk")

LEFT_HIPPOCAMPUS = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^5926005^Hippocampus~SCT^7771000^Left~Anatomic codes - DICOM master list~^^~^^"
)
SHAPE = (5, 6, 7)
PROVENANCE = {"MedSegAI.Provenance": json.dumps({"model": "a|b", "path": "C:\\x\n", "name": "é海"}, ensure_ascii=False)}


def grid(seed: int, shear: float = 0.0) -> Grid:
    direction, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    matrix = Grid.from_lps(SHAPE, (12.3, -45.6, 78.9), (0.7, 1.1, 3.2), direction.ravel()).ijk_to_ras.copy()
    matrix[:3, 2] += shear * matrix[:3, 1]
    return Grid(SHAPE, matrix)


def segments(seed=0, shear=0.0) -> LabelMap:
    layers = np.zeros((2, *SHAPE), np.uint8)
    layers[0, 1:4, 2:5, 1:3] = 1
    layers[0, 1:4, 2:5, 3:6] = 44
    layers[1, 2:5, 1:5, 2:6] = 1
    labels = (
        Label(7, "empty", "Empty", (1, 0, 0), LEFT_HIPPOCAMPUS),  # first in its layer: must not hide the others
        Label(1, "anterior", "Anterior 海馬 ü", (0.25, 0.2, 0.9), LEFT_HIPPOCAMPUS),
        Label(44, "posterior", 'Posterior, \\ back: "x" | y', (0, 1, 0.5), LEFT_HIPPOCAMPUS),
        Label(1, "over", "Over", (0, 0, 1), LEFT_HIPPOCAMPUS, 1, (("Segmentation.Status", "flagged"),)),
    )
    return LabelMap(layers, grid(seed, shear), labels)


def loaded(path):
    """Segmentation node and storage node of a file, in a scene of their own."""
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    node.SetAndObserveStorageNodeID(storage.GetID())
    assert storage.ReadData(node)
    return scene, node, storage


def tag(segment, key: str) -> str:
    value = vtk.reference("")
    assert segment.GetTag(key, value)
    return str(value)


@pytest.mark.parametrize("shear", [0, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_slicer_loads_every_segment_with_all_that_belongs_to_it(tmp_path, seed, shear):
    from vtk.util.numpy_support import vtk_to_numpy

    label_map = segments(seed, shear)
    write_segmentation(tmp_path / "a.seg.nrrd", label_map, PROVENANCE)
    _scene, node, _ = loaded(tmp_path / "a.seg.nrrd")
    segmentation = node.GetSegmentation()
    assert [segmentation.GetNthSegmentID(n) for n in range(4)] == [label.id for label in label_map.labels]
    for label in label_map.labels:
        segment = segmentation.GetSegment(label.id)
        assert segment.GetName() == label.name
        assert segment.GetColor() == pytest.approx(label.color)
        assert tag(segment, "TerminologyEntry") == label.terminology
        assert json.loads(tag(segment, "MedSegAI.Provenance")) == json.loads(PROVENANCE["MedSegAI.Provenance"])
        image = segment.GetRepresentation("Binary labelmap")
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        np.testing.assert_allclose(
            np.reshape([matrix.GetElement(r, c) for r in range(4) for c in range(4)], (4, 4)),
            label_map.grid.ijk_to_ras,
            atol=1e-9,
        )
        voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
        np.testing.assert_array_equal(voxels == segment.GetLabelValue(), label_map.mask(label))
    assert tag(segmentation.GetSegment("over"), "Segmentation.Status") == "flagged"


def test_a_file_that_slicer_saved_again_keeps_segments_geometry_and_provenance(tmp_path):
    label_map = segments()
    write_segmentation(tmp_path / "a.seg.nrrd", label_map, PROVENANCE)
    _scene, node, storage = loaded(tmp_path / "a.seg.nrrd")
    storage.SetFileName(str(tmp_path / "b.seg.nrrd"))
    assert storage.WriteData(node)
    again = read_label_map(tmp_path / "b.seg.nrrd")
    assert again.grid.matches(label_map.grid)  # not cropped to the segments
    for label in label_map.labels:
        found = again.label(label.id)
        assert (found.name, found.terminology) == (label.name, label.terminology)
        assert found.color == pytest.approx(label.color)
        np.testing.assert_array_equal(again.mask(found), label_map.mask(label))
    assert dict(again.label("over").tags)["Segmentation.Status"] == "flagged"
    assert json.loads(read_metadata(tmp_path / "b.seg.nrrd")["MedSegAI.Provenance"]) == json.loads(
        PROVENANCE["MedSegAI.Provenance"]
    )


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize("seed", range(3))
def test_slicer_loads_images_that_we_write_in_place(tmp_path, seed, suffix):
    from vtk.util.numpy_support import vtk_to_numpy

    array = np.arange(210, dtype=np.int16).reshape(1, *SHAPE)
    write_image(tmp_path / f"a{suffix}", Image(array, grid(seed)))
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(tmp_path / f"a{suffix}"))
    assert storage.ReadData(node)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    found = np.reshape([matrix.GetElement(r, c) for r in range(4) for c in range(4)], (4, 4))
    voxels = vtk_to_numpy(node.GetImageData().GetPointData().GetScalars()).reshape(SHAPE)
    assert Grid(SHAPE, found).matches(grid(seed))
    np.testing.assert_array_equal(voxels, array[0])


def test_slicer_loads_our_nifti_labels_as_segments(tmp_path):
    flat = LabelMap(segments().array[0], grid(1), segments().labels[:3])
    write_label_nifti(tmp_path / "a.nii.gz", flat)
    _scene, node, _ = loaded(tmp_path / "a.nii.gz")
    segmentation = node.GetSegmentation()
    values = [segmentation.GetNthSegment(n).GetLabelValue() for n in range(segmentation.GetNumberOfSegments())]
    assert values == [1, 44]
