"""Several label maps of one image: what is said of them together, their consensus and their maps."""

import dataclasses
import json
import math

import numpy as np
import pytest

from fixtures_observer_boxes import (
    CI_ALL,
    CI_GEN,
    DICE,
    ENTROPY_OF_A_THIRD,
    GRID,
    N_VOXELS,
    VOXEL_ML,
    columns_map,
    fleiss_kappa,
    observers,
)
from MedSegAICore.errors import Cancelled, InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Label, LabelMap
from MedSegAIMetricsLib.observer_comparison import check_methods, compare_observers


def values_of(found, key="box"):
    return {value.name: value.value for value in found.agreement.segments[key].values}


def test_three_boxes_have_the_conformity_kappa_and_volumes_that_follow_from_their_votes():
    found = compare_observers(observers(), ["dice"], region="image", name="case 1")
    values = values_of(found)
    assert values["ci_gen"] == pytest.approx(CI_GEN, abs=1e-12)
    assert values["ci_all"] == pytest.approx(CI_ALL, abs=1e-12)
    assert values["dice_pairs"] == pytest.approx(sum(DICE.values()) / 3, abs=1e-12)
    assert values["fleiss_kappa"] == pytest.approx(fleiss_kappa(12 * 14 * 16), abs=1e-12)
    assert values["volume_mean_ml"] == pytest.approx(160 * VOXEL_ML)
    assert values["common_ml"] == pytest.approx(120 * VOXEL_ML)
    segment = found.agreement.segments["box"]
    assert segment.votes.volumes_ml == pytest.approx([n * VOXEL_ML for n in N_VOXELS.values()])
    assert segment.limits_mm == ((3, 11),) * 3  # planes 2 to 5 of 2 mm, centers at 4 to 10 mm
    assert {(pair.observer_1, pair.observer_2): pair.values["dice"] for pair in found.agreement.pairs} == DICE
    assert (found.name, found.region, found.agreement.notes) == ("case 1", "image", ())


def test_the_region_is_the_box_of_all_masks_and_a_margin_unless_another_one_is_named():
    # The box: 4 x 6 x 8; 2 mm more on each side are 1, 2 and 2.5 voxels, of which I has only two on the left.
    found = compare_observers(observers(), ["dice"], region="union+2mm")
    region = (4 + 2) * (6 + 4) * (8 + 2 + 3)
    assert found.agreement.segments["box"].votes.n == region
    assert values_of(found)["fleiss_kappa"] == pytest.approx(fleiss_kappa(region), abs=1e-12)


def test_the_majority_has_the_voxels_of_two_and_its_provenance_says_so():
    found = compare_observers(observers(), ["dice"])
    consensus = found.consensus()
    expected = columns_map(2, 9).array
    np.testing.assert_array_equal(consensus.label_map.array, expected)
    assert [label.id for label in consensus.label_map.labels] == ["box"]
    facts = found.provenance(consensus, "majority")
    assert facts["consensus"]["method"] == "majority"
    assert facts["consensus"]["observers"] == ["A", "B", "C"]
    assert "region" not in facts["consensus"]  # a majority depends on no region
    assert set(facts["software"]) == {"medsegai", "numpy", "scipy"}
    assert json.dumps(facts) == json.dumps(compare_observers(observers()).provenance(consensus, "majority"))


def test_staple_looks_at_the_region_of_the_comparison_and_records_it():
    for region in ("image", "union+4mm"):
        found = compare_observers(observers(), ["dice"], region=region)
        consensus = found.consensus("staple")
        assert consensus.segments["box"].staple.region == region
        assert found.provenance(consensus, "staple")["consensus"]["region"] == region


def test_maps_have_the_share_of_votes_and_their_entropy_on_the_whole_grid():
    maps = compare_observers(observers(), ["dice"]).vote_maps("box")
    assert maps.probability.array.shape == (1, *GRID.shape)
    column = maps.probability.array[0, 3, 4]
    np.testing.assert_allclose(column[:11], [0, 0, 2 / 3, 1, 1, 1, 1, 1, 2 / 3, 1 / 3, 0], atol=1e-6)
    entropy = maps.entropy.array[0, 3, 4]
    np.testing.assert_allclose(entropy[[2, 8, 9]], ENTROPY_OF_A_THIRD, atol=1e-6)
    assert np.count_nonzero(maps.entropy.array) == 72
    assert maps.entropy.grid.matches(GRID)
    with pytest.raises(InputError, match="no segment 'liver'; the segments are \\['box'\\]"):
        compare_observers(observers(), ["dice"]).vote_maps("liver")


def test_an_observer_without_the_segment_votes_against_it_and_is_named():
    maps = observers() | {"D": LabelMap(np.zeros(GRID.shape, np.uint8), GRID, ())}
    found = compare_observers(maps, ["dice"])
    # D shares nothing: the three pairs with D have no voxel in common, and each encompasses the other's mask.
    common, encompassing = 48 + 3 * 120, 24 * 2 + 48 * 3 + 120 * 3 + sum(N_VOXELS.values())
    assert values_of(found)["ci_gen"] == pytest.approx(common / encompassing)
    assert found.agreement.notes == ("D has no segment 'Box'; it counts as empty.",)
    alone = compare_observers({"A": maps["A"], "D": maps["D"]}, ["dice"])  # A found something, D nothing
    assert values_of(alone)["ci_gen"] == 0
    majority = found.consensus("majority").label_map
    assert np.count_nonzero(majority.array) == 120  # of four observers only three are more than half


def test_overlapping_and_empty_segments_are_kept_each_by_itself():
    first, second = Label(1, "a", "First"), Label(1, "b", "Second", layer=1)
    both = np.stack([columns_map(2, 8).array, columns_map(5, 11).array])
    empty = Label(2, "c", "Absent")
    one = LabelMap(both, GRID, (first, second, empty))
    found = compare_observers({"A": one, "B": one, "C": one}, ["dice"])
    assert list(found.agreement.segments) == ["a", "b", "c"]
    consensus = found.consensus("majority").label_map
    assert consensus.volumes_ml() == pytest.approx({"a": 144 * VOXEL_ML, "b": 144 * VOXEL_ML, "c": 0})
    assert math.isnan(values_of(found, "c")["ci_gen"])
    assert [np.count_nonzero(found.vote_maps(key).probability.array == 1) for key in "abc"] == [144, 144, 0]


def test_segments_with_other_ids_and_values_match_by_name_in_the_consensus_too():
    maps = observers()
    maps["B"] = columns_map(3, 9, label=Label(7, "Segment_1", "box"))
    found = compare_observers(maps, ["dice"])
    assert values_of(found)["ci_gen"] == pytest.approx(CI_GEN)
    np.testing.assert_array_equal(found.consensus().label_map.array, columns_map(2, 9).array)


def test_another_grid_is_resampled_to_the_first_and_said():
    matrix = GRID.ijk_to_ras @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, -0.25], [0, 0, 0, 1]])
    fine = Grid((24, 14, 16), matrix)
    maps = observers()
    maps["B"] = LabelMap(maps["B"].array.repeat(2, axis=0), fine, maps["B"].labels)
    found = compare_observers(maps, ["dice"])
    assert values_of(found)["ci_gen"] == pytest.approx(CI_GEN)
    (note,) = found.agreement.notes
    assert note.startswith("The segmentation of B was resampled by nearest neighbor from Grid(24 x 14 x 16")


def test_observers_who_drew_different_things_have_nothing_to_agree_about():
    maps = {"A": columns_map(2, 8, label=Label(1, "liver", "Liver")),
            "B": columns_map(2, 8, label=Label(1, "spleen", "Spleen"))}  # fmt: skip
    with pytest.raises(InputError, match="no segment in common: A has Liver; B has Spleen"):
        compare_observers(maps)
    nothing = LabelMap(np.zeros(GRID.shape, np.uint8), GRID, ())
    with pytest.raises(InputError, match=r"None of the observers \(A, B\) has a segment"):
        compare_observers({"A": nothing, "B": nothing})
    with pytest.raises(InputError, match="at least two observers"):
        compare_observers({"A": columns_map(2, 8)})
    with pytest.raises(InputError, match="majority, staple, shape, but the method is 'vote'"):
        check_methods(["majority", "vote"])


def test_it_can_be_cancelled():
    with pytest.raises(Cancelled):
        compare_observers(observers(), cancelled=lambda: True)


@pytest.mark.parametrize("method", ["majority", "staple", "shape"])
def test_of_equal_masks_every_consensus_is_the_mask(method):
    own = columns_map(2, 8)
    consensus = compare_observers({"A": own, "B": own, "C": own}, ["dice"]).consensus(method)
    np.testing.assert_array_equal(consensus.label_map.array, own.array)
    assert dataclasses.replace(consensus.label_map.labels[0], color=own.labels[0].color) == own.labels[0]
