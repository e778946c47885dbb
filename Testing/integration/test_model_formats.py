"""MONAI bundles, TorchScript and ONNX networks as a user runs them: `medsegai segment`, and volume nodes in a scene."""

import json

import numpy as np
import pytest

import fixtures_scene
from fixtures_scene import make_grid, make_volume, rotation
from fixtures_sidecars import make_onnx, make_torchscript
from MedSegAICore import mrml
from MedSegAICore.files import read_image, read_label_map, write_image
from MedSegAICore.image import Image
from MedSegAILib.commands import main

scene = fixtures_scene.scene

# Anterior, left and inferior first, tilted, with thick slices.
GRID = make_grid((9, 26, 30), rotation(20, -15, 5) @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, -1.0]]), (0.9, 1.1, 3.0))


def torchscript(folder):
    return make_torchscript(folder / "bright.ts", spacing_mm=[2.9, 1.1, 0.9], orientation="RAS")


def onnx(folder):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    return make_onnx(folder / "bright.onnx", spacing_mm=[2.9, 1.1, 0.9], orientation="RAS")


def bundle(folder):
    pytest.importorskip("monai")
    from fixtures_bundles import make_bundle

    return make_bundle(folder / "tiny")


@pytest.fixture(scope="module", params=[torchscript, onnx, bundle], ids=lambda make: make.__name__)
def model(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("model"))


def array():
    noise = np.random.default_rng(0).normal(5, 4, GRID.shape)
    return sum(np.roll(noise, shift, axis) for axis in range(3) for shift in (-1, 0, 1)).astype(np.float32) / 9


def segment(model, volume, output, *options):
    return main(["segment", str(volume), "--model", str(model), "--output", str(output), "--device", "cpu", *options])


@pytest.fixture
def volume(tmp_path):
    write_image(tmp_path / "case.nii.gz", Image(array()[None], GRID))
    return tmp_path / "case.nii.gz"


def test_the_command_writes_a_segmentation_on_the_grid_of_the_volume_with_its_provenance(model, volume, tmp_path):
    assert segment(model, volume, tmp_path / "out", "--probabilities") == 0
    labels = read_label_map(tmp_path / "out/case.seg.nrrd")
    assert labels.grid.matches(read_image(volume).grid)
    assert sum(labels.volumes_ml().values()) > 0
    record = json.loads((tmp_path / "out/case.json").read_text())
    described = record["provenance"]["model"]
    assert described["id"] == ("tiny" if model.name == "tiny" else "bright")
    assert len(described["sha256"]) == 64
    assert read_image(tmp_path / "out/case_probabilities.nrrd").channels == len(labels.labels)


def test_a_node_gets_the_voxels_that_the_command_writes(scene, model, volume, tmp_path):
    from MedSegAILib.logic import SegmentationLogic

    segment(model, volume, tmp_path / "out")
    expected = read_label_map(tmp_path / "out/case.seg.nrrd")
    node = make_volume(scene, array(), read_image(volume).grid, "case")
    logic = SegmentationLogic()
    result = logic.segment(node, model, device="cpu")
    found = mrml.label_map_from_segmentation(result, node)
    assert np.array_equal(found.array, expected.array)
    assert logic.segment(node, model, device="cpu") is not None  # with the networks that are loaded
    assert logic.provenance(result)["model"]["sha256"] == logic._model(model).checksum


def test_a_changed_configuration_runs_again_and_a_finished_case_does_not(model, volume, tmp_path, capsys):
    for expected in ("done", "skipped"):
        segment(model, volume, tmp_path / "out", "--json")
        assert json.loads(capsys.readouterr().out)[0]["status"] == expected
    file = model / "configs/inference.json" if model.is_dir() else model.with_suffix(".json")
    before = file.read_text()
    try:
        file.write_text(before + "\n")
        segment(model, volume, tmp_path / "out", "--json")
    finally:
        file.write_text(before)
    assert json.loads(capsys.readouterr().out)[0]["status"] == "done"


@pytest.mark.parametrize("options", [["--folds", "1"]])
def test_a_fold_that_does_not_exist_is_named(model, volume, tmp_path, capsys, options):
    assert segment(model, volume, tmp_path / "out", *options) != 0
    assert "has no fold '1'" in capsys.readouterr().err


def test_overlapping_regions_of_a_bundle_are_segments_that_overlap(volume, tmp_path, scene):
    pytest.importorskip("monai")
    from fixtures_bundles import POSTPROCESSING, make_bundle
    from MedSegAILib.logic import SegmentationLogic

    steps = [
        {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
        POSTPROCESSING[1],
        {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
    ]
    path = make_bundle(tmp_path / "regions", postprocessing=steps, names=("core", "whole", "rim"))
    assert segment(path, volume, tmp_path / "out") == 0
    written = read_label_map(tmp_path / "out/case.seg.nrrd")
    node = make_volume(scene, array(), read_image(volume).grid, "case")
    shown = mrml.label_map_from_segmentation(SegmentationLogic().segment(node, path, device="cpu"), node)
    masks = [written.mask(label) for label in written.labels]
    assert sum(masks).max() > 1
    assert [label.name for label in written.labels] == ["core", "whole", "rim"]
    for label, mask in zip(shown.labels, masks, strict=True):
        assert np.mean(shown.mask(label) == mask) > 0.999


@pytest.fixture(scope="module")
def worker():
    from MedSegAILib.worker.client import Worker

    with Worker() as worker:
        yield worker


def test_a_worker_process_gives_the_same_voxels(worker, model, volume):
    from MedSegAILib.inference.prediction import segment_image
    from MedSegAILib.models.opening import open_model

    found = worker.segment(read_image(volume), model, device="cpu", quality="best")
    expected = segment_image(read_image(volume), open_model(model), device="cpu", quality="best")
    assert np.array_equal(found.label_map.array, expected.label_map.array)
    assert found.label_map.labels == expected.label_map.labels
    assert found.provenance["model"] == expected.provenance["model"]


def test_a_worker_process_gives_overlapping_segments(worker, volume, tmp_path):
    from fixtures_sidecars import TwoRegions
    from MedSegAILib.inference.prediction import segment_image
    from MedSegAILib.models.opening import open_model

    path = make_torchscript(
        tmp_path / "two.ts",
        TwoRegions(),
        labels=[{"value": 3, "name": "Low"}, {"value": 1, "name": "High"}],
        output={"activation": "logits", "kind": "overlapping"},
    )
    found = worker.segment(read_image(volume), path, device="cpu").label_map
    expected = segment_image(read_image(volume), open_model(path), device="cpu").label_map
    assert found.labels == expected.labels
    assert np.array_equal(found.array, expected.array)
