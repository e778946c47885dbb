"""When memory runs out a run goes on with less, and says so. No GPU is here: a hook stands in for its small memory."""

import numpy as np
import pytest
import torch

from fixtures_models import make_model_folder
from MedSegAICore.errors import DeviceError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image
from MedSegAILib.inference.fallback import attempts, ran_out_of_memory
from MedSegAILib.inference.prediction import Predictor
from MedSegAILib.models.folder import ModelFolder

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def steps(device, tile, multiple):
    return [(a.device.type, a.sums_device.type, a.tile) for a in attempts(device, tile, multiple)]


def test_a_gpu_gives_way_step_by_step_and_the_cpu_comes_last():
    assert steps(CUDA, (128, 64, 96), (16, 16, 16)) == [
        ("cuda", "cuda", (128, 64, 96)),
        ("cuda", "cpu", (128, 64, 96)),
        ("cuda", "cpu", (64, 64, 96)),
        ("cuda", "cpu", (64, 64, 48)),
        ("cuda", "cpu", (32, 64, 48)),
        ("cuda", "cpu", (32, 32, 48)),
        ("cpu", "cpu", (128, 64, 96)),
    ]


def test_tiles_stay_multiples_of_the_strides_and_of_one_size_where_the_model_wants_that():
    assert steps(CPU, (80, 80), (32, 32)) == [
        ("cpu", "cpu", (80, 80)), ("cpu", "cpu", (32, 80)), ("cpu", "cpu", (32, 32))
    ]  # fmt: skip
    assert [a.tile for a in attempts(CUDA, (96, 96, 96), None)] == [(96, 96, 96)] * 3


def test_what_counts_as_too_little_memory():
    assert ran_out_of_memory(MemoryError())
    assert ran_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert ran_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert not ran_out_of_memory(RuntimeError("expected scalar type Half but found Float"))
    assert not ran_out_of_memory(ValueError("out of memory"))


@pytest.fixture
def image():
    array = np.random.default_rng(0).normal(100, 20, (1, 80, 80, 80)).astype(np.float32)
    return Image(array, Grid((80, 80, 80), np.eye(4)))


def large_tiles(path):
    """A model whose tile can be halved."""
    folder = make_model_folder(path, card=False)
    plans = (folder / "plans.json").read_text().replace("[16, 24, 16]", "[64, 64, 32]")
    (folder / "plans.json").write_text(plans)
    return ModelFolder.open(folder)


def limit(predictor, voxels):
    """Networks that have not enough memory for more voxels than this; returns the shapes that they were shown."""
    shown = []

    def refuse(_, inputs):
        shown.append(tuple(inputs[0].shape[2:]))
        if inputs[0][0, 0].numel() > voxels:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")

    for network in predictor.networks:
        network.register_forward_pre_hook(refuse)
    return shown


def test_a_run_goes_on_with_smaller_tiles_and_says_so(tmp_path, image):
    predictor = Predictor(large_tiles(tmp_path / "m"), "cpu", quality="best", mirroring=False)
    shown = limit(predictor, 40_000)
    result = predictor.segment(image)
    assert shown[0] == (64, 64, 32)
    assert shown[1] == (32, 64, 32)  # which has 65 536 voxels
    assert set(shown[2:]) == {(32, 32, 32)}
    assert result.provenance["run"]["tile"] == [32, 32, 32]
    said = [text for text in result.warnings if "not enough memory" in text]
    assert len(said) == 2
    assert "tiles of 32 x 64 x 32 voxels" in said[0]
    assert "tiles of 32 x 32 x 32 voxels" in said[1]
    predictor.networks[0]._forward_pre_hooks.clear()
    again = predictor.segment(image)  # the next volume begins with whole tiles again
    assert again.provenance["run"]["tile"] == [64, 64, 32]
    assert not [text for text in again.warnings if "memory" in text]


def test_if_nothing_fits_the_error_says_how_large_the_volume_is(tmp_path, image):
    predictor = Predictor(large_tiles(tmp_path / "m"), "cpu")
    limit(predictor, 0)
    with pytest.raises(DeviceError, match=r"not enough memory for this volume, 80 x 80 x 80 voxels"):
        predictor.segment(image)
