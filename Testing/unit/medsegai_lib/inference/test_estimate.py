"""Numbers of tiles and bytes, worked out by hand."""

import numpy as np
import pytest
import torch

from fixtures_models import make_model_folder
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image
from MedSegAILib.inference.estimate import Estimate, estimate_part, measure_tile, tile_count
from MedSegAILib.inference.prediction import Predictor
from MedSegAILib.inference.quality import Settings
from MedSegAILib.models.folder import ModelFolder

CPU = torch.device("cpu")
SETTINGS = Settings("standard", 0.5, "float32", (), False)


def network(calls=None):
    """16 hidden channels, 3 outputs."""
    layers = torch.nn.Sequential(torch.nn.Conv3d(2, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(16, 3, 1))
    if calls is not None:
        layers.register_forward_pre_hook(lambda *_: calls.append(1))
    return layers.eval()


@pytest.mark.parametrize(
    ("shape", "tile", "step", "count"),
    [
        ((200, 273, 273), (128, 128, 128), 0.5, 3 * 4 * 4),  # ceil(72/64) + 1 = 3, ceil(145/64) + 1 = 4
        ((160, 256, 256), (128, 128, 128), 0.5, 2 * 3 * 3),
        ((160, 256, 256), (128, 128, 128), 0.75, 2 * 3 * 3),  # ceil(128/96) + 1 = 3
        ((35, 51, 35), (40, 56, 40), 0.5, 1),
        ((20, 100, 64), (64, 64), 0.5, 3 * 3),  # 20 slices are three stacks of eight; ceil(36/32) + 1 = 3
    ],
)
def test_how_many_tiles(shape, tile, step, count):
    assert tile_count(shape, tile, step) == count


def test_bytes_of_one_tile():
    """Hidden: 16 x 8 x 8 x 8 floats, eight times; answer: 3 x 8 x 8 x 8 floats, twice (as it comes, and as float32)."""
    _, memory = measure_tile(network(), 2, (8, 8, 8), SETTINGS, CPU)
    assert memory == 8 * 16 * 8**3 * 4 + 2 * 3 * 8**3 * 4


def test_bytes_of_a_run():
    found = estimate_part([network(), network()], (2, 20, 16, 12), 10_000, 3, (8, 8, 8), SETTINGS, CPU)
    tile = 8 * 16 * 8**3 * 4 + 2 * 3 * 8**3 * 4
    sums = 2 * (3 + 1) * 8 * 16 * 12  # half precision, rows of one tile, and the weights
    volume = 4 * (2 * 10_000 + 2 * 20 * 16 * 12) + 10_000
    assert found.memory == tile + sums + volume
    assert found.passes == 2 * (4 * 3 * 2)
    assert found.device_memory == 0


def test_time_is_that_of_the_measured_tile_with_its_mirrored_copies():
    calls = []
    mirrored = Settings("best", 0.5, "float32", (0, 1, 2), False)
    found = estimate_part([network(calls)], (2, 8, 8, 8), 512, 3, (8, 8, 8), mirrored, CPU)
    assert len(calls) == 16  # tried twice, as the first time also prepares
    assert found.passes == 1


def test_runs_one_after_the_other():
    first, second = Estimate(10, 2.0, 3 * 2**30, 5), Estimate(20, 4.0, 2**30, 7)
    assert first + second == Estimate(30, 6.0, 3 * 2**30, 7)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Estimate(48, 530.0, 17 * 2**28), "48 tiles, about 9 min, 4.2 GiB of memory"),
        (Estimate(1, 0.1, 2**20), "1 tiles, about 1 s, 1 MiB of memory"),
        (Estimate(9, 9000, 2**30, 2**31), "9 tiles, about 2.5 h, 1.0 GiB of memory, 2.0 GiB on the graphics card"),
    ],
)
def test_for_people(value, text):
    assert str(value) == text.replace("1 tiles", "1 tile")


def test_a_predictor_counts_the_tiles_that_it_will_send(tmp_path):
    array = np.random.default_rng(0).normal(100, 20, (1, 30, 40, 50)).astype(np.float32)
    image = Image(array, Grid((30, 40, 50), np.diag([-1.0, 1.3, 1.1, 1.0])))
    predictor = Predictor(ModelFolder.open(make_model_folder(tmp_path / "m", folds=2)), "cpu")
    expected = predictor.estimate(image)
    said = []
    predictor.segment(image, progress=lambda fraction, message: said.append(message))
    assert said[-1] == f"tile {expected.passes} of {expected.passes}"
    assert expected.memory > array.nbytes
    assert expected.seconds > 0
