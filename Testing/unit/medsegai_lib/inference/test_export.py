"""From logits to labels and probabilities, block by block or at once."""

import numpy as np
import pytest
import torch

from MedSegAILib.inference import export
from MedSegAILib.inference.export import Export, Outputs, to_labels, to_probabilities
from MedSegAILib.inference.postprocessing import Postprocessing
from MedSegAILib.inference.preprocessing import Placement
from MedSegAILib.inference.resampling import resize
from MedSegAILib.models.plans import SPLINE, Resampling

LINEAR = Resampling(SPLINE, 1, 0, None)


def placement(cropped, prepared, spacing=(1, 1, 1), start=(0, 0, 0), shape=None, resampling=LINEAR):
    new_spacing = tuple(s * n / m for s, n, m in zip(spacing, cropped, prepared, strict=True))
    axes = (0, 1, 2)
    return Placement(shape or cropped, start, cropped, prepared, spacing, new_spacing, axes, axes, resampling)


def test_labels_are_the_largest_logit_on_the_native_grid():
    torch.manual_seed(0)
    logits = torch.randn(4, 6, 7, 8)
    place = placement((9, 10, 11), (6, 7, 8))
    expected = resize(logits, (9, 10, 11), 1).argmax(0).numpy()
    assert np.array_equal(to_labels(logits, place, Outputs((0, 1, 2, 3), False)), expected)


@pytest.mark.parametrize(
    ("prepared", "cropped"), [((6, 7, 8), (9, 10, 11)), ((9, 10, 11), (6, 7, 8)), ((5, 5, 5),) * 2]
)
@pytest.mark.parametrize("resampling", [LINEAR, Resampling(SPLINE, 3, 0, None), Resampling(SPLINE, 1, 0, True)])
@pytest.mark.parametrize("regions", [False, True])
def test_blocks_slabs_and_left_out_classes_change_nothing(monkeypatch, prepared, cropped, resampling, regions):
    torch.manual_seed(0)
    logits, place = torch.randn(6, *prepared) * 3, placement(cropped, prepared, (4, 1, 1), resampling=resampling)
    logits[2, 2:] -= 5  # so that some classes cannot win in some blocks
    outputs = Outputs((1, 2, 3, 4, 5, 6), True) if regions else Outputs((0, 1, 2, 3, 4, 5), False)
    whole = Export(place, outputs, probabilities=True)  # with probabilities no class is left out
    whole.add(0, logits)
    monkeypatch.setattr(export, "BLOCK_ROWS", 2)
    monkeypatch.setattr(export, "BLOCK_COLUMNS", 3)
    for slab in (1, 3, prepared[0]):
        parts = [Export(place, outputs, probabilities) for probabilities in (False, True)]
        for part in parts:
            for first in range(0, prepared[0], slab):
                part.add(first, logits[:, first : first + slab])
            assert np.array_equal(part.labels(), whole.labels())
        assert parts[1].probabilities() == pytest.approx(whole.probabilities(), abs=1e-6)


def test_a_class_that_wins_only_between_voxels_is_not_left_out():
    # Three native voxels per network voxel: the middle one lies halfway, where the first two classes are 0.
    logits = torch.tensor([[-10.0, 10.0], [10.0, -10.0], [1.0, 1.0], [-1.0, -1.0]]).reshape(4, 1, 1, 2)
    assert export._possible(logits) == [0, 1, 2]  # the mean of the winners is 0
    assert export._possible(logits.half()) == [0, 1, 2]
    labels = to_labels(logits, placement((1, 1, 3), (1, 1, 2)), Outputs((0, 1, 2, 3), False))
    assert labels.ravel().tolist() == [1, 2, 0]


def test_one_winner_leaves_all_others_out():
    logits = torch.tensor([[3.0, 0.5], [2.0, -9.0], [2.5, 0.25]]).reshape(3, 1, 1, 2)
    assert export._possible(logits) == [0]


def test_weighted_sums_are_divided_before_they_are_interpolated():
    logits, weights = torch.tensor([[1.0, -1.0], [-2.0, 4.0]]).reshape(2, 1, 1, 2), torch.tensor([[[1.0, 8.0]]])
    place, outputs = placement((1, 1, 4), (1, 1, 2)), Outputs((0, 1), False)
    expected = to_labels(logits, place, outputs)
    taken = Export(place, outputs)
    taken.add(0, (logits * weights).half(), weights)
    # At a quarter and three quarters of the way: (0.5, -0.5) and (-0.5, 2.5)
    assert expected.ravel().tolist() == taken.labels().ravel().tolist() == [0, 0, 1, 1]


def test_probabilities_agree_with_the_labels_and_leave_room_for_background():
    torch.manual_seed(1)
    logits, place = torch.randn(3, 4, 5, 6), placement((4, 5, 6), (4, 5, 6))
    probabilities = to_probabilities(logits, place, Outputs((0, 1, 2), False))
    background = 1 - probabilities.sum(0)
    labels = to_labels(logits, place, Outputs((0, 1, 2), False))
    assert np.array_equal(np.concatenate([background[None], probabilities]).argmax(0), labels)


def test_regions_are_painted_in_their_order():
    logits = torch.tensor([[1.0, 1.0, -1.0, -1.0], [-1.0, 1.0, 1.0, -1.0]]).reshape(2, 4, 1, 1)
    place = placement((4, 1, 1), (4, 1, 1))
    assert to_labels(logits, place, Outputs((5, 7), True)).ravel().tolist() == [5, 7, 7, 0]
    probabilities = to_probabilities(logits, place, Outputs((5, 7), True))
    assert probabilities[0].ravel() == pytest.approx(1 / (1 + np.exp([-1, -1, 1, 1])))


def test_outside_the_crop_is_background():
    logits = torch.stack([torch.zeros(2, 2, 2), torch.ones(2, 2, 2)])
    place = placement((2, 2, 2), (2, 2, 2), start=(1, 0, 2), shape=(4, 3, 5))
    labels = to_labels(logits, place, Outputs((0, 1), False))
    assert labels.sum() == 8
    assert labels[1:3, 0:2, 2:4].all()


def test_values_beyond_255_need_two_bytes():
    place = placement((1, 1, 1), (1, 1, 1))
    labels = to_labels(torch.tensor([1.0]).reshape(1, 1, 1, 1), place, Outputs((300,), True))
    assert labels.dtype == np.uint16
    assert labels.item() == 300


def test_the_largest_component_of_a_union_stays():
    labels = np.zeros((1, 1, 9), np.uint8)
    labels[0, 0] = [1, 1, 2, 0, 1, 0, 2, 2, 0]
    assert Postprocessing(largest_component=((1, 2),)).apply(labels)[0, 0].tolist() == [1, 1, 2, 0, 0, 0, 0, 0, 0]
    assert Postprocessing(largest_component=((1,), (2,))).apply(labels)[0, 0].tolist() == [1, 1, 0, 0, 0, 0, 2, 2, 0]


def test_components_that_touch_by_a_corner_are_one():
    labels = np.zeros((2, 2, 2), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = 1
    assert Postprocessing(largest_component=((1,),)).apply(labels).sum() == 2


def test_holes_are_filled_but_no_other_label_is_eaten():
    labels = np.ones((5, 5, 5), np.uint8)
    labels[2, 2, 2], labels[2, 2, 3] = 0, 2
    filled = Postprocessing(fill_holes=(1,)).apply(labels)
    assert filled[2, 2, 2] == 1
    assert filled[2, 2, 3] == 2
    assert labels[2, 2, 2] == 0  # the input is not changed


def test_overlapping_regions_are_kept_in_layers_of_their_own():
    torch.manual_seed(0)
    logits, place = torch.randn(3, 6, 7, 8), placement((9, 10, 11), (6, 7, 8))
    expected = resize(logits, (9, 10, 11), 1).numpy() > 0
    labels = to_labels(logits, place, Outputs((4, 1, 2), True, overlapping=True))
    assert np.array_equal(labels, expected * np.array([4, 1, 2]).reshape(3, 1, 1, 1))
    steps = Postprocessing(largest_component=((4,),))
    assert np.array_equal(steps.apply(labels)[1:], labels[1:])
    assert np.array_equal(steps.apply(labels)[0], steps.apply(labels[0]))


@pytest.mark.parametrize("regions", [False, True])
def test_channels_that_are_probabilities_already_are_interpolated_as_such(regions):
    torch.manual_seed(0)
    place = placement((9, 10, 11), (6, 7, 8))
    channels = torch.randn(3, 6, 7, 8)
    probabilities = channels.sigmoid() if regions else channels.softmax(0)
    expected = resize(probabilities, (9, 10, 11), 1).numpy()
    offset = 0.4 if regions else 0.0
    outputs = Outputs((1, 2, 3) if regions else (0, 1, 2), regions, overlapping=regions, probability_offset=offset)
    labels = to_labels(probabilities - offset, place, outputs)
    if regions:
        assert np.array_equal(labels > 0, expected > 0.4)
    else:
        assert np.array_equal(labels, expected.argmax(0))
    maps = to_probabilities(probabilities - offset, place, outputs)
    assert maps == pytest.approx(expected if regions else expected[1:], abs=1e-5)
