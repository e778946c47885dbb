"""Tiles cover the volume, and put it together again as it was."""

import itertools

import numpy as np
import pytest
import torch

from MedSegAICore.errors import Cancelled, ModelError
from MedSegAILib.inference.tiling import Tiling, gaussian_weights, predict_logits, tile_starts

CPU = torch.device("cpu")


class Echo(torch.nn.Module):
    """Answers with its input and its negative."""

    def forward(self, x):
        return torch.cat([x, -x], dim=1)


@pytest.mark.parametrize(("size", "width"), [(8, 8), (9, 8), (16, 8), (23, 8), (41, 8)])
def test_tiles_cover_every_voxel_and_never_leave_the_volume(size, width):
    (starts,) = tile_starts((size,), (width,))
    covered = {voxel for start in starts for voxel in range(start, start + width)}
    assert covered == set(range(size))
    assert all(b - a <= width / 2 + 1 for a, b in itertools.pairwise(starts))


def test_steps_of_a_known_case():
    assert tile_starts((110,), (64,)) == [[0, 23, 46]]  # nnU-Net's own example: step 0.5 leaves 46 for two steps


def test_weights_peak_at_the_center_and_vanish_nowhere():
    weights = gaussian_weights((16, 24, 8))
    assert np.unravel_index(weights.argmax(), weights.shape) == (8, 12, 4)
    assert weights.max() == 10
    assert weights.min() > 0
    # One sigma (an eighth of the tile) off the center: exp(-1/2)
    assert weights[10, 12, 4] == pytest.approx(10 * np.exp(-0.5), rel=2e-3)


@pytest.mark.parametrize("shape", [(20, 30, 25), (5, 7, 6), (16, 16, 16)])
@pytest.mark.parametrize("tile", [(16, 16, 16), (16, 16)])
@pytest.mark.parametrize("mirror_axes", [(), (0, 1)])
def test_a_network_that_echoes_gives_the_volume_back(shape, tile, mirror_axes):
    # Whole numbers: in the far corners the weights are so small that half precision keeps nothing finer.
    torch.manual_seed(0)
    array = torch.randint(-4, 5, (1, *shape)).float()
    logits = predict_logits([Echo()], array, tile, outputs=2, device=CPU, mirror_axes=mirror_axes)
    assert torch.allclose(logits, torch.cat([array, -array]), atol=2e-2)  # a few roundings of 2^-11 of 4


def test_folds_are_averaged():
    class Constant(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, x):
            return torch.full_like(x, self.value)

    logits = predict_logits([Constant(1.0), Constant(4.0)], torch.zeros(1, 9, 9, 9), (8, 8, 8), outputs=1, device=CPU)
    assert torch.allclose(logits, torch.tensor(2.5), atol=2e-2)  # the sum is kept in half precision


def test_progress_rises_to_one_over_all_folds():
    seen = []
    predict_logits(
        [Echo(), Echo()], torch.zeros(1, 20, 9, 9), (16, 16, 16), outputs=2, device=CPU,
        progress=lambda fraction, message: seen.append((fraction, message)),
    )  # fmt: skip
    assert [fraction for fraction, _ in seen] == [0.25, 0.5, 0.75, 1.0]
    assert seen[-1][1] == "tile 4 of 4"


def test_cancel_stops_before_the_next_tile():
    tiles = []

    class Counting(Echo):
        def forward(self, x):
            tiles.append(1)
            return super().forward(x)

    with pytest.raises(Cancelled):
        predict_logits(
            [Counting()],
            torch.zeros(1, 40, 9, 9),
            (16, 16, 16),
            outputs=2,
            device=CPU,
            cancelled=lambda: len(tiles) == 2,
        )
    assert len(tiles) == 2


class Loud(torch.nn.Module):
    """Answers with its input times a factor, as one output."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


@pytest.mark.parametrize("networks", [[1e6], [1e6, 1.0], [1.0, 1e6]])
@pytest.mark.parametrize("shape", [(16, 16, 16), (17, 17, 17)])  # 17: eight tiles lie almost on each other
def test_logits_too_large_for_half_precision_are_kept(networks, shape):
    array = torch.ones(1, *shape)
    logits = predict_logits([Loud(f) for f in networks], array, (16, 16, 16), outputs=1, device=CPU)
    assert torch.allclose(logits, torch.tensor(sum(networks) / len(networks)), rtol=1e-3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_answer_that_is_no_number_is_an_error_and_not_background(value):
    with pytest.raises(ModelError, match="not a number"):
        predict_logits([Loud(value)], torch.ones(1, 16, 16, 16), (16, 16, 16), outputs=1, device=CPU)


def test_tiles_that_advance_by_the_same_distance_end_where_the_volume_ends():
    assert Tiling(evenly=False).starts((16, 17, 18), (16, 8, 8), 0.75) == [[0], [0, 6, 9], [0, 6, 10]]
    assert Tiling(evenly=False).starts((30,), (10,), 1 - 0.3) == [[0, 7, 14, 20]]


def test_a_model_s_own_overlap_holds_unless_a_quality_saves_tiles():
    assert [Tiling().step(wanted) for wanted in (0.5, 0.75)] == [0.5, 0.75]
    assert [Tiling(overlap=0.75).step(wanted) for wanted in (0.5, 0.75)] == [0.25, 0.75]
    assert [Tiling(overlap=0.0).step(wanted) for wanted in (0.5, 0.75)] == [1.0, 1.0]


def test_weights_that_are_centered_are_symmetric_and_at_least_a_thousandth():
    weights = Tiling(blending="centered gaussian").weights((8, 5, 64))
    assert weights.shape == (8, 5, 64)
    assert np.array_equal(weights, weights[::-1, ::-1, ::-1])
    assert weights.max() == pytest.approx(np.exp(-0.5 * (0.5**2 + (0.5 / 8) ** 2)), abs=1e-3)
    assert weights.min() == np.float16(1e-3)
    assert (Tiling(blending="constant").weights((2, 3)) == 1).all()


def test_a_volume_smaller_than_a_tile_can_be_continued_by_its_border():
    array = torch.tensor([1.0, 2.0]).reshape(1, 1, 1, 2)
    seen = []

    def network(batch):
        seen.append(batch.clone())
        return batch.clone()

    predict_logits([network], array, (1, 1, 4), outputs=1, device=CPU, tiling=Tiling(padding="replicate"))
    assert seen[0].flatten().tolist() == [1, 1, 2, 2]
