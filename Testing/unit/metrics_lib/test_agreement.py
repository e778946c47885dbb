"""Agreement of several observers' masks and ratings, against numbers worked out by hand."""

import math

import numpy as np
import pytest

from MedSegAICore.errors import GeometryError, InputError
from MedSegAIMetricsLib.agreement import (
    cohen_kappas,
    conformity,
    count_votes,
    pooled_agreement,
    rating_agreement,
    voxel_agreement,
)

UNIT = (1.0, 1.0, 1.0)


def line(*voxels, n=8):
    """A mask of one row of voxels."""
    mask = np.zeros((1, 1, n), bool)
    mask[0, 0, list(voxels)] = True
    return mask


THREE = (line(0, 1, 2, 3), line(1, 2, 3, 4), line(2, 3))  # votes: 1 2 3 3 1 0 0 0


def by_name(found):
    return {value.name: value for value in found}


def test_the_votes_of_three_observers_are_counted_with_the_background_of_the_region():
    votes = count_votes(THREE, UNIT, "image")
    assert votes.histogram.tolist() == [3, 2, 1, 2]
    assert votes.common.tolist() == [[4, 3, 2], [3, 4, 2], [2, 2, 2]]
    assert (votes.k, votes.n, votes.region) == (3, 8, "image")
    assert votes.volumes_ml == pytest.approx([0.004, 0.004, 0.002])
    grown = count_votes(THREE, UNIT, "union+1mm")  # voxels 0 to 5, clipped at the image's edge
    assert grown.histogram.tolist() == [1, 2, 1, 2]
    assert grown.region == "union+1mm"


def test_conformity_indices_of_three_observers():
    found = by_name(conformity(count_votes(THREE, UNIT)))
    assert found["ci_gen"].value == pytest.approx(7 / 13)  # (3 + 2 + 2) / (5 + 4 + 4)
    assert found["ci_pairs"].value == pytest.approx((3 / 5 + 2 / 4 + 2 / 4) / 3)
    assert found["ci_all"].value == pytest.approx(2 / 5)
    assert found["dice_pairs"].value == pytest.approx((6 / 8 + 4 / 6 + 4 / 6) / 3)
    assert found["ci_gen"].measure.source.startswith("Kouwenhoven")


def test_the_generalized_index_does_not_know_the_number_of_observers_but_the_conformity_level_does():
    """All orders of the same disagreement: observer i misses voxel i of ten."""
    levels, generalized = [], []
    for k in (2, 3, 5, 8):
        masks = [line(*(v for v in range(10) if v != i), n=10) for i in range(k)]
        found = by_name(conformity(count_votes(masks, UNIT)))
        levels.append(found["ci_all"].value)
        generalized.append(found["ci_gen"].value)
    assert levels == pytest.approx([0.8, 0.7, 0.5, 0.2])
    assert generalized == pytest.approx([0.8] * 4)


def test_agreement_corrected_for_chance_of_three_observers():
    votes = count_votes(THREE, UNIT, "image")
    found = by_name(voxel_agreement(votes))
    assert found["percent_agreement"].value == pytest.approx(75)  # (3 + 2/3 + 1/3 + 2) / 8
    assert found["prevalence"].value == pytest.approx(10 / 24)
    assert found["fleiss_kappa"].value == pytest.approx(17 / 35)  # pe = (25 + 49) / 144
    assert found["gwet_ac1"].value == pytest.approx(19 / 37)  # pe = 70 / 144
    assert found["krippendorff_alpha"].value == pytest.approx(71 / 140)  # 1 - 1/4 * 144/70 * 23/24
    kappas = cohen_kappas(votes)
    assert kappas[0, 1] == kappas[1, 0] == pytest.approx(0.5)  # po 3/4, pe 1/2
    assert np.isnan(np.diagonal(kappas)).all()
    assert found["light_kappa"].value == pytest.approx(0.5)
    assert all(value.n == 8 and value.k == 3 and value.measure.region for value in found.values())


def test_kappa_and_ac1_grow_with_the_background_that_is_counted_but_conformity_does_not():
    masks = [np.zeros((1, 40, 40), bool) for _ in range(3)]
    for shift, mask in enumerate(masks):
        mask[0, 18:22, 18 + shift : 22 + shift] = True
    near, far = (count_votes(masks, UNIT, region) for region in ("union+1mm", "image"))
    for name in ("fleiss_kappa", "gwet_ac1", "krippendorff_alpha", "light_kappa"):
        assert by_name(voxel_agreement(far))[name].value > by_name(voxel_agreement(near))[name].value + 0.05
    assert [v.value for v in conformity(near)] == [v.value for v in conformity(far)]


def test_perfect_agreement_is_one_everywhere():
    votes = count_votes([line(2, 3)] * 4, UNIT, "image")
    found = by_name(conformity(votes) + voxel_agreement(votes))
    assert found.pop("prevalence").value == pytest.approx(0.25)
    assert found.pop("percent_agreement").value == 100
    assert {value.value for value in found.values()} == {1.0}


def test_masks_that_are_all_empty_have_no_overlap_and_no_kappa_but_a_reason():
    votes = count_votes([line()] * 3, UNIT, "image")
    for value in conformity(votes):
        assert math.isnan(value.value)
        assert value.reason == "all masks are empty"
    found = by_name(voxel_agreement(votes))
    assert found["percent_agreement"].value == 100
    for name in ("fleiss_kappa", "krippendorff_alpha", "light_kappa"):
        assert math.isnan(found[name].value)
        assert "by chance" in found[name].reason
    nowhere = by_name(voxel_agreement(count_votes([line()] * 2, UNIT)))  # the box of nothing has no voxels
    assert math.isnan(nowhere["percent_agreement"].value)
    assert "no voxels" in nowhere["percent_agreement"].reason


def test_a_pair_of_empty_masks_is_left_out_and_counted_not_taken_as_perfect():
    found = by_name(conformity(count_votes([line(0, 1), line(), line()], UNIT)))
    assert found["dice_pairs"].value == 0  # two pairs of 0; the third does not count
    assert found["dice_pairs"].left_out == 1
    assert found["ci_gen"].value == 0
    light = by_name(voxel_agreement(count_votes([line(0, 1), line(), line()], UNIT, "image")))["light_kappa"]
    assert light.value == 0
    assert "1 have no kappa" in light.reason


def test_counts_do_not_overflow_for_hundreds_of_observers():
    votes = count_votes([line(0)] * 300, UNIT, "image")
    assert votes.histogram[300] == 1
    assert by_name(conformity(votes))["ci_gen"].value == 1


def test_masks_may_be_integers_and_views_but_not_label_maps_or_of_other_shapes():
    mask = np.zeros((4, 4, 8), np.uint8)
    mask[1:3, 1:3, 2:6] = 1
    votes = count_votes([mask[:, :, ::2], mask[:, :, ::2] > 0], (1, 1, 2), "image")
    assert votes.sizes.tolist() == [8, 8]
    with pytest.raises(InputError, match="label 2"):
        count_votes([mask * 2, mask], UNIT)
    with pytest.raises(GeometryError, match="mask 2"):
        count_votes([mask, mask[1:]], UNIT)
    with pytest.raises(InputError, match="at least two observers"):
        count_votes([mask], UNIT)
    with pytest.raises(InputError, match="region"):
        count_votes([mask, mask], UNIT, "everywhere")


def test_ratings_by_hand_with_one_missing():
    """Three subjects, three observers; the second lacks a rating, the third has but one and cannot agree with any."""
    found = by_name(rating_agreement([["a", "a", "b"], ["b", "b", None], ["a", math.nan, None]], samples=10))
    assert found["percent_agreement"].value == pytest.approx(100 * (1 / 3 + 1) / 2)
    # Coincidences: subject 1 disagrees in 4 of 6 ordered pairs / 2 = 2; of a: 2, of b: 3; expected 2 * 2 * 3 / 4 = 3.
    assert found["krippendorff_alpha"].value == pytest.approx(1 - 2 / 3)
    # Shares by subject: a 2/3, 0, 1 -> 5/9; pe = 2 * 5/9 * 4/9 = 40/81.
    assert found["gwet_ac1"].value == pytest.approx((2 / 3 - 40 / 81) / (41 / 81))
    assert math.isnan(found["fleiss_kappa"].value)
    assert "not every subject" in found["fleiss_kappa"].reason
    assert (found["gwet_ac1"].n, found["gwet_ac1"].left_out, found["gwet_ac1"].k) == (2, 1, 3)


def test_a_class_that_nobody_chose_counts_for_ac1_only():
    """po = 1/2; shares 3/4 and 1/4: pe = 2 * 3/16 of two classes, half of that if a third could be chosen."""
    two, three = (by_name(rating_agreement([[1, 1], [1, 2]], classes, samples=5)) for classes in ([1, 2], [1, 2, 3]))
    assert two["gwet_ac1"].value == pytest.approx((1 / 2 - 3 / 8) / (5 / 8))
    assert three["gwet_ac1"].value == pytest.approx((1 / 2 - 3 / 16) / (13 / 16))
    assert two["prevalence"].value == 1 / 4
    for name in ("fleiss_kappa", "krippendorff_alpha", "light_kappa", "percent_agreement"):
        assert two[name].value == three[name].value
    with pytest.raises(InputError, match="2, but the classes are 1, 3"):
        rating_agreement([[1, 1], [1, 2]], [1, 3])


def test_ratings_that_cannot_be_used_are_refused_and_missing_ones_explained():
    with pytest.raises(InputError, match="at least one subject"):
        rating_agreement([[1, 2], [1]])
    nothing = rating_agreement([[None, math.nan]])
    assert all(math.isnan(value.value) and value.reason == "there is no rating" for value in nothing)
    alone = by_name(rating_agreement([[1, None], [None, 2]], samples=5))
    assert alone["krippendorff_alpha"].reason == "no subject was rated by two observers"


def test_pooled_agreement_draws_cases_and_says_so():
    cases = [count_votes(THREE, UNIT, "image"), count_votes([line(1, 2)] * 3, UNIT, "image")]
    found = by_name(pooled_agreement(cases, samples=300))
    assert found["percent_agreement"].value == pytest.approx((75 + 100) / 2)
    assert (found["percent_agreement"].low, found["percent_agreement"].high) == pytest.approx((75, 100))
    assert found["percent_agreement"].n == 2
    again = by_name(pooled_agreement(cases, samples=300))
    assert again["gwet_ac1"] == found["gwet_ac1"]  # the same on every run
    alike = by_name(pooled_agreement([cases[0]] * 5, samples=50))["fleiss_kappa"]
    assert (alike.low, alike.value, alike.high) == pytest.approx((17 / 35,) * 3)


def test_the_interval_of_pooled_agreement_agrees_with_the_normal_theory_of_the_mean():
    """For cases of equal size the percentage over all voxels is the mean of the cases' percentages."""
    cases = [count_votes([line(n=40), line(*range(n), n=40)], UNIT, "image") for n in range(40)]
    percentages = 100 - 100 * np.arange(40) / 40
    found = by_name(pooled_agreement(cases))["percent_agreement"]
    half = 1.96 * percentages.std(ddof=1) / math.sqrt(40)
    assert found.value == pytest.approx(percentages.mean())
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.08 * half)


def test_pooled_agreement_of_one_case_has_no_interval_and_regions_are_not_mixed():
    one = by_name(pooled_agreement([count_votes(THREE, UNIT, "image")]))["gwet_ac1"]
    assert math.isnan(one.low)
    assert "no interval" in one.reason
    with pytest.raises(InputError, match="image, union"):
        pooled_agreement([count_votes(THREE, UNIT, "image"), count_votes(THREE, UNIT)])


def test_an_observer_may_be_missing_in_some_pooled_cases():
    cases = [count_votes(THREE, UNIT, "image"), count_votes(THREE[:2], UNIT, "image")]
    found = by_name(pooled_agreement(cases, samples=20))
    # A voxel with 1 or 2 of 3 votes has (1·2 + 2·1) / 2 = 2 disagreeing coincidences, one with 1 of 2 votes has 2.
    foreground, total = 10 + 8, 24 + 16
    expected = 2 * foreground * (total - foreground) / (total - 1)
    assert found["krippendorff_alpha"].value == pytest.approx(1 - (3 * 2 + 2 * 2) / expected)
    assert math.isnan(found["fleiss_kappa"].value)
