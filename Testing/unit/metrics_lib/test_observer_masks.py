"""Who marked what, and how undecided that leaves a voxel, on bars whose votes are seen at a glance."""

import math

import numpy as np
import pytest

from fixtures_shapes import box
from MedSegAICore.errors import GeometryError, InputError
from MedSegAIMetricsLib.observer_masks import ObserverMasks, entropy_map, probability_map, uncertainty
from MedSegAIMetricsLib.votes import count_votes

SPACING = (2.0, 0.5, 1.0)  # a voxel has 0.001 ml
SHAPE = (6, 8, 10)


def bar(length: int) -> np.ndarray:
    """Voxels 1 to ``length`` along I in the middle of the image."""
    return box(SHAPE, (3, 4, 1), (4, 5, 1 + length))


def bars(*lengths: int) -> ObserverMasks:
    return ObserverMasks.of([bar(length) for length in lengths], SPACING)


def test_masks_are_cropped_to_the_box_of_all_and_put_back_in_place():
    observers = bars(2, 5, 3)
    assert (observers.start, observers.shape, observers.sizes) == ((3, 4, 1), (1, 1, 5), (2, 5, 3))
    assert (observers.on_image(observers.masks[1]) == bar(5)).all()


def test_votes_and_patterns_say_how_many_and_who():
    observers = bars(2, 5, 3)
    assert observers.votes.ravel().tolist() == [3, 3, 2, 1, 1]
    assert observers.patterns.ravel().tolist() == [0b111, 0b111, 0b110, 0b010, 0b010]
    assert observers.pattern_counts == {0b111: 2, 0b110: 1, 0b010: 2}


def test_patterns_of_many_observers_are_counted_as_those_of_few():
    few, many = bars(2, 5, 3), bars(2, 5, 3, *[4] * 17)
    assert many.patterns.dtype == np.uint32
    fours = sum(1 << n for n in range(3, 20))
    assert many.pattern_counts == {0b111 + fours: 2, 0b110 + fours: 1, 0b010 + fours: 1, 0b010: 1}
    assert few.patterns.dtype == np.uint8


def test_probability_and_entropy_are_those_of_the_share_of_votes():
    observers = bars(4, 3, 2, 1)
    assert probability_map(observers).ravel().tolist() == [1, 0.75, 0.5, 0.25]
    quarter = -0.25 * math.log2(0.25) - 0.75 * math.log2(0.75)
    assert entropy_map(observers).ravel() == pytest.approx([0, quarter, 1, quarter])


def test_undecided_volume_is_the_sum_of_the_entropy_and_its_mean_depends_on_the_region():
    votes = [count_votes([bar(n) for n in (4, 3, 2, 1)], SPACING, region) for region in ("union+0mm", "image")]
    quarter = -0.25 * math.log2(0.25) - 0.75 * math.log2(0.75)
    near, image = map(uncertainty, votes)
    assert near.entropy_ml == image.entropy_ml == pytest.approx(0.001 * (1 + 2 * quarter))
    assert near.disputed_ml == image.disputed_ml == pytest.approx(0.003)
    assert near.mean_entropy_bits == pytest.approx((1 + 2 * quarter) / 4)
    assert image.mean_entropy_bits == pytest.approx((1 + 2 * quarter) / (6 * 8 * 10))
    assert image.region == "image"


def test_masks_that_are_all_empty_leave_nothing_undecided():
    observers = bars(0, 0)
    assert observers.shape == (0, 0, 0)
    assert not observers.on_image(probability_map(observers)).any()
    found = uncertainty(count_votes([bar(0), bar(0)], SPACING))
    assert (found.entropy_ml, found.disputed_ml) == (0, 0)
    assert math.isnan(found.mean_entropy_bits)


def test_without_one_observer_the_box_is_that_of_the_others():
    others = bars(2, 5, 3).without(1)
    assert (others.start, others.shape, others.sizes) == ((3, 4, 1), (1, 1, 3), (2, 3))


def test_masks_of_0_and_1_are_masks():
    observers = ObserverMasks.of([bar(2).astype(np.uint8), bar(3).astype(np.int64)], SPACING)
    assert observers.sizes == (2, 3)


@pytest.mark.parametrize(
    ("masks", "spacing_mm", "error", "message"),
    [
        ([bar(2)], SPACING, InputError, "there are 1"),
        ([], SPACING, InputError, "there are 0"),
        ([bar(2)] * 33, SPACING, InputError, "there are 33"),
        ([bar(2), bar(2)[1:]], SPACING, GeometryError, "different shapes"),
        ([bar(2), bar(2) * np.uint8(3)], SPACING, InputError, "observer 2 holds the value 3"),
        ([bar(2), bar(2) * 0.5], SPACING, InputError, "observer 2"),
        ([bar(2), bar(2)], (1, 0, 1), GeometryError, "spacing"),
    ],
)
def test_what_are_no_masks_of_observers_is_refused(masks, spacing_mm, error, message):
    with pytest.raises(error, match=message):
        ObserverMasks.of(masks, spacing_mm)


def test_of_two_observers_none_can_be_left_out():
    with pytest.raises(InputError, match="at least three"):
        bars(1, 2).without(0)
