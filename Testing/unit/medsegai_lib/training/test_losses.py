"""Every loss against values worked out by hand."""

import math

import pytest
import torch

from MedSegAICore.errors import TrainingError
from MedSegAILib.training.losses import deep_supervision_weights, deeply_supervised, make_loss


def logits_of(probabilities):
    """(1, C, 1, 1, N) logits whose softmax is ``probabilities`` (C, N)."""
    return torch.tensor(probabilities, dtype=torch.float64).log()[None, :, None, None, :]


def one_hot(classes, count):
    labels = torch.tensor(classes)
    return torch.nn.functional.one_hot(labels, count).double().movedim(-1, 0)[None, :, None, None, :]


# Four voxels, two classes: foreground probability and truth.
PROBABILITIES = [[0.75, 0.5, 0.5, 0.25], [0.25, 0.5, 0.5, 0.75]]
TRUTH = [0, 0, 1, 1]


def test_soft_dice_of_the_foreground():
    # intersection 0.5 + 0.75, predicted 2, true 2: Dice 2.5 / 4
    loss = make_loss("dice")(logits_of(PROBABILITIES), one_hot(TRUTH, 2))
    assert float(loss) == pytest.approx(1 - 2.5 / 4, abs=1e-5)


def test_cross_entropy_is_the_mean_negative_log_of_the_true_class():
    loss = make_loss("ce")(logits_of(PROBABILITIES), one_hot(TRUTH, 2))
    assert float(loss) == pytest.approx(-(2 * math.log(0.75) + 2 * math.log(0.5)) / 4)


def test_weighted_cross_entropy_equals_torchs():
    logits, weights = logits_of(PROBABILITIES), [1.0, 3.0]
    ours = make_loss("ce", class_weights=weights)(logits, one_hot(TRUTH, 2))
    theirs = torch.nn.functional.cross_entropy(
        logits, torch.tensor(TRUTH)[None, None, None], weight=torch.tensor(weights, dtype=torch.float64)
    )
    assert float(ours) == pytest.approx(float(theirs))


def test_focal_loss_scales_each_voxel_by_its_squared_error():
    loss = make_loss("focal")(logits_of(PROBABILITIES), one_hot(TRUTH, 2))
    assert float(loss) == pytest.approx(-(2 * 0.25**2 * math.log(0.75) + 2 * 0.5**2 * math.log(0.5)) / 4)


def test_generalized_dice_weighs_classes_by_inverse_squared_volume():
    # class volumes 3 and 1: weights 1/9 and 1. All voxels predicted 0.5/0.5.
    loss = make_loss("generalized_dice")(logits_of([[0.5] * 4, [0.5] * 4]), one_hot([0, 0, 0, 1], 2))
    numerator = 2 * (1.5 / 9 + 0.5)
    denominator = (3 + 2) / 9 + (1 + 2)
    assert float(loss) == pytest.approx(1 - numerator / denominator)


def test_dice_ce_is_the_sum_of_both():
    arguments = logits_of(PROBABILITIES), one_hot(TRUTH, 2)
    total = float(make_loss("dice_ce")(*arguments))
    assert total == pytest.approx(float(make_loss("dice")(*arguments)) + float(make_loss("ce")(*arguments)))


@pytest.mark.parametrize("name", ["dice", "ce", "focal", "generalized_dice", "dice_ce"])
def test_ignored_voxels_change_nothing(name):
    loss = make_loss(name)
    mask = torch.ones(1, 1, 1, 1, 6, dtype=torch.float64)
    mask[..., 4:] = 0
    wrong = [[*PROBABILITIES[0], 0.01, 0.01], [*PROBABILITIES[1], 0.99, 0.99]]
    masked = loss(logits_of(wrong), one_hot([*TRUTH, 0, 0], 2), mask)
    assert float(masked) == pytest.approx(float(loss(logits_of(PROBABILITIES), one_hot(TRUTH, 2))), abs=1e-6)


@pytest.mark.parametrize("name", ["dice", "ce", "focal", "generalized_dice", "dice_ce"])
@pytest.mark.parametrize("regions", [False, True])
def test_a_perfect_prediction_costs_almost_nothing(name, regions):
    target = one_hot(TRUTH, 2)
    assert float(make_loss(name, regions=regions)((target - 0.5) * 100, target)) == pytest.approx(0, abs=1e-4)


def test_batch_dice_pools_the_batch_before_the_ratio():
    # First item has no foreground but a false positive; second is perfect.
    target = torch.cat([one_hot([0, 0], 2), one_hot([1, 1], 2)])
    logits = torch.cat([(one_hot([0, 1], 2) - 0.5) * 100, (one_hot([1, 1], 2) - 0.5) * 100])
    assert float(make_loss("dice", batch_dice=True)(logits, target)) == pytest.approx(1 - 4 / 5, abs=1e-4)
    assert float(make_loss("dice")(logits, target)) == pytest.approx(0.5, abs=1e-4)


def test_deep_supervision_halves_weights_and_drops_the_coarsest():
    assert deep_supervision_weights(4) == pytest.approx([4 / 7, 2 / 7, 1 / 7, 0])
    assert deep_supervision_weights(1) == [1]


def test_deep_supervision_compares_each_resolution_with_a_resized_target():
    target = one_hot([0, 0, 1, 1], 2)
    good, bad = (target - 0.5) * 100, (0.5 - target[..., ::2]) * 100
    loss = deeply_supervised(make_loss("dice"))
    assert float(loss([good, -bad, bad[..., :1]], target)) == pytest.approx(0, abs=1e-4)
    assert float(loss([good, bad, bad[..., :1]], target)) == pytest.approx(1 / 3, abs=1e-4)


def test_wrong_number_of_class_weights_is_refused_with_both_numbers():
    with pytest.raises(TrainingError, match="3 class weights.*2 outputs"):
        make_loss("ce", class_weights=[1, 1, 1])(logits_of(PROBABILITIES), one_hot(TRUTH, 2))


def test_unknown_loss_is_refused_by_name():
    with pytest.raises(TrainingError, match="'hinge'.*dice_ce"):
        make_loss("hinge")
