"""The entropy of several answers together, against entropies worked out by hand."""

import math

import pytest
import torch

from MedSegAILib.inference.tiling import stream_logits
from MedSegAILib.inference.uncertainty import Entropy


class Answering(torch.nn.Module):
    """Gives every voxel the same logits."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, batch):
        return self.logits.reshape(1, -1, *[1] * (batch.ndim - 2)).expand(len(batch), -1, *batch.shape[2:]).clone()


class Leftmost(torch.nn.Module):
    """Sure of class 1 in the first half of the last axis and of class 0 in the second, wherever the tile lies."""

    def forward(self, batch):
        sign = torch.ones(batch.shape[-1])
        sign[: len(sign) // 2] = -1
        one = (sign * 20).expand(batch[:, :1].shape)
        return torch.cat([one, -one], dim=1)


def of(*answers, regions=False):
    entropy = Entropy(regions)
    for answer in answers:
        entropy.add(torch.tensor(answer).reshape(1, -1, 1, 1, 1))
    return float(entropy.take(slices=False))


def test_of_one_answer():
    assert of([0.0, 0.0, 0.0, 0.0]) == pytest.approx(1)  # nothing is known
    assert of([50.0, 0.0, 0.0]) == pytest.approx(0, abs=1e-6)  # all is known
    p = [0.5, 0.25, 0.25]
    assert of([math.log(x) for x in p]) == pytest.approx(1.5 / math.log2(3))  # 1.5 bits of log2(3)


def test_answers_that_contradict_each_other_are_as_uncertain_as_no_answer():
    assert of([50.0, 0.0], [0.0, 50.0]) == pytest.approx(1)
    assert of([50.0, 0.0], [50.0, 0.0]) == pytest.approx(0, abs=1e-6)
    # three of four for the first class: the entropy of (3/4, 1/4) is 0.811 bits
    assert of(*[[50.0, 0.0]] * 3, [0.0, 50.0]) == pytest.approx(0.8112781, abs=1e-5)


def test_of_regions_the_most_uncertain_one_counts():
    assert of([50.0, 0.0], regions=True) == pytest.approx(1)
    assert of([50.0, -50.0], regions=True) == pytest.approx(0, abs=1e-6)
    assert of([50.0, math.log(1 / 3)], regions=True) == pytest.approx(0.8112781, abs=1e-5)


def rows(networks, shape, tile, **options):
    array = torch.zeros(1, *shape)
    parts = stream_logits(
        networks, array, tile, outputs=2, device=torch.device("cpu"), entropy=Entropy(False), **options
    )
    return torch.cat([sums.float() / weights for _, sums, weights in parts], dim=1)


def test_networks_that_disagree_are_uncertain_and_their_logits_stay_what_they_were():
    several = rows([Answering(9.0, 0.0), Answering(0.0, 9.0)], (10, 8, 8), (4, 4, 4))
    assert several.shape == (3, 10, 8, 8)
    assert several[2].numpy() == pytest.approx(1, abs=2e-3)
    assert several[:2].numpy() == pytest.approx(4.5, abs=1e-2)
    assert rows([Answering(9.0, 0.0)] * 2, (10, 8, 8), (4, 4, 4))[2].numpy() == pytest.approx(0, abs=2e-3)


@pytest.mark.parametrize(("tile", "axis"), [((4, 4, 8), 2), ((4, 8), 1)])
def test_mirrored_answers_count_as_answers(tile, axis):
    # Mirrored along the last axis the network takes the other half for class 1: nothing is certain.
    assert rows([Leftmost()], (4, 4, 8), tile)[2].numpy() == pytest.approx(0, abs=1e-3)
    assert rows([Leftmost()], (4, 4, 8), tile, mirror_axes=(axis,))[2].numpy() == pytest.approx(1, abs=2e-3)
