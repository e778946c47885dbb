"""Lesion-wise detection, against lesions that are drawn and counted by hand; a slice is drawn with letters."""

import math

import numpy as np
import pytest

from MedSegAIMetricsLib import compare

UNIT = (1.0, 1.0, 1.0)


def drawn(*slices: list[str]) -> np.ndarray:
    """A mask from pictures, one for each slice, a text for each row; whatever is no dot is inside."""
    return np.array([[[letter != "." for letter in row] for row in rows] for rows in slices])


def lesions(reference: np.ndarray, test: np.ndarray, **options) -> dict[str, float]:
    return compare(reference, test, UNIT, labels=[1], measures=["lesions"], **options)[1]


def counts(found: dict[str, float]) -> tuple:
    return tuple(found[f"lesion_{name}"] for name in ("tp", "fp", "fn"))


def test_one_found_one_missed_and_two_found_wrongly():
    reference = drawn(["aaaa....", "........", ".....bb."])
    test = drawn(["..cccc..", "........", "x......y"])
    found = lesions(reference, test)
    # a and c have 2 voxels in common: Dice 2 x 2 / (4 + 4). b, x and y have no partner; y touches b at no corner.
    assert (found["lesions_reference"], found["lesions_test"]) == (2, 3)
    assert counts(found) == (1, 2, 1)
    assert found["lesion_sensitivity"] == 1 / 2
    assert found["lesion_precision"] == 1 / 3
    assert found["lesion_f1"] == 2 / (2 + 2 + 1)
    assert found["lesion_dice_matched"] == 0.5
    assert found["lesion_dice_all"] == 0.5 / 4


def test_one_test_lesion_over_two_of_the_reference_finds_only_the_one_it_fits_better():
    reference = drawn(["aaaa.bbb"])
    test = drawn([".ccccccc"])
    found = lesions(reference, test)
    # With a: 3 in common, Jaccard 3 / 8. With b: 3 in common, Jaccard 3 / 7, Dice 6 / 10.
    assert counts(found) == (1, 0, 1)
    assert found["lesion_dice_matched"] == 6 / 10
    assert found["lesion_dice_all"] == 6 / 10 / 2


def test_one_reference_lesion_in_pieces_is_found_once():
    found = lesions(drawn(["aaaaaaa"]), drawn(["bbb.ccc"]))
    assert counts(found) == (1, 1, 0)
    assert found["lesion_dice_matched"] == 6 / 10


# a has 31 voxels and b 10; c covers 10 of a, and d 20 of a, what is between a and b, and b. Jaccard: a and d
# 20 / (31 + 31 - 20) = 0.476, a and c 10 / 31 = 0.323, b and d 10 / 31 = 0.323.
OVERLAPPING = drawn(["a" * 31 + "." + "b" * 10]), drawn(["c" * 10 + "." + "d" * 31])


def test_matches_are_chosen_so_that_the_sum_of_their_jaccard_is_largest():
    found = lesions(*OVERLAPPING)  # 0.323 + 0.323 > 0.476: both are found, though a fits d better
    assert counts(found) == (2, 0, 0)
    assert found["lesion_dice_matched"] == pytest.approx(2 * 10 / (31 + 10))


def test_pairs_below_the_threshold_do_not_compete_with_one_above_it():
    found = lesions(*OVERLAPPING, lesion_threshold=0.4)
    assert counts(found) == (1, 1, 1)  # a and d
    assert found["lesion_dice_matched"] == pytest.approx(2 * 20 / (31 + 31))


def test_voxels_that_share_only_a_corner_are_one_lesion():
    reference = drawn(["a..", "...", "..."], ["...", ".a.", "..."], ["...", "...", "..a"])
    assert lesions(reference, reference)["lesions_reference"] == 1
    apart = drawn(["a..", "...", "..."], ["...", "...", "..."], ["...", "...", "..a"])
    assert lesions(apart, apart)["lesions_reference"] == 2


@pytest.mark.parametrize(("threshold", "expected"), [(0, (1, 0, 0)), (0.24, (1, 0, 0)), (0.25, (0, 1, 1))])
def test_lesions_match_only_if_their_jaccard_exceeds_the_threshold(threshold, expected):
    found = lesions(drawn(["aaaaa..."]), drawn(["...bbbbb"]), lesion_threshold=threshold)  # Jaccard 2 / 8
    assert counts(found) == expected
    assert found["lesion_dice_all"] == (0.4 if expected[0] else 0)
    assert math.isnan(found["lesion_dice_matched"]) != bool(expected[0])


def test_lesions_that_touch_but_do_not_overlap_do_not_match():
    assert counts(lesions(drawn(["aaa..."]), drawn(["...bbb"]))) == (0, 1, 1)


def test_without_a_match_there_is_no_dice_of_matched_lesions_and_the_reason_says_so():
    found = compare(drawn(["aaa..."]), drawn(["...bbb"]), UNIT, measures=["lesions"])
    assert math.isnan(found[1]["lesion_dice_matched"])
    assert found[1]["lesion_f1"] == found[1]["lesion_dice_all"] == 0
    assert found.reasons[1] == {"lesion_dice_matched": "no lesion to count"}


def test_no_lesion_and_none_found_is_right_but_has_no_sensitivity():
    empty = drawn(["....."])
    found = lesions(empty, empty)
    assert (found["lesion_f1"], found["lesion_dice_all"]) == (1, 1)
    assert (found["lesions_reference"], found["lesions_test"], *counts(found)) == (0, 0, 0, 0, 0)
    assert math.isnan(found["lesion_sensitivity"])
    assert math.isnan(found["lesion_precision"])


def test_lesions_found_where_there_are_none_are_all_wrong():
    found = lesions(drawn(["......"]), drawn(["a.b.cc"]))
    assert counts(found) == (0, 3, 0)
    assert (found["lesion_precision"], found["lesion_f1"], found["lesion_dice_all"]) == (0, 0, 0)
    assert math.isnan(found["lesion_sensitivity"])


def test_lesions_of_each_label_are_counted_alone():
    reference, test = np.zeros((2, 1, 1, 8), np.uint8)
    reference[0, 0] = [1, 1, 2, 2, 0, 1, 0, 2]
    test[0, 0] = [1, 1, 1, 2, 0, 0, 0, 2]
    found = compare(reference, test, UNIT, measures=["lesions"])
    assert counts(found[1]) == (1, 0, 1)
    assert counts(found[2]) == (2, 0, 0)


def test_many_lesions_in_other_order_are_all_found():
    reference = np.zeros((1, 1, 600), bool)
    reference[0, 0, ::3] = True
    assert counts(lesions(reference, reference)) == (200, 0, 0)
    assert counts(lesions(reference, np.roll(reference, 3 * 50))) == (200, 0, 0)
    assert counts(lesions(reference, np.roll(reference, 1))) == (0, 200, 200)
