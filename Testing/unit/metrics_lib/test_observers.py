"""Several observers' label maps: matched, on one grid, compared in pairs, their volumes and limits."""

import math

import numpy as np
import pytest

from MedSegAICore.errors import Cancelled, GeometryError, InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Label, LabelMap
from MedSegAIMetricsLib import compare
from MedSegAIMetricsLib.agreement import conformity, count_votes, voxel_agreement
from MedSegAIMetricsLib.observer_measures import OBSERVER_GROUPS, OBSERVER_MEASURES, observer_measure
from MedSegAIMetricsLib.observer_pairs import compare_pairs
from MedSegAIMetricsLib.observer_planes import agreement_by_plane, common_planes
from MedSegAIMetricsLib.observer_summary import over_cases, pairs_over_cases
from MedSegAIMetricsLib.observer_volumes import craniocaudal_limits, extent_spread, volume_spread
from MedSegAIMetricsLib.observers import Observers

SPACING = np.diag([1.0, 1.0, 2.0, 1.0])


def label_map(boxes, matrix=SPACING, shape=(8, 12, 12)):
    """Segments as boxes: name -> ((k, j, i) of the first voxel, of the one behind the last)."""
    array = np.zeros(shape, np.uint8)
    labels = []
    for value, (name, (first, end)) in enumerate(boxes.items(), start=1):
        array[tuple(slice(a, b) for a, b in zip(first, end, strict=True))] = value
        labels.append(Label(value, f"id_{name}", name))
    return LabelMap(array, Grid(shape, matrix), tuple(labels))


LIVER_1, LIVER_2 = ((1, 1, 1), (5, 5, 5)), ((1, 1, 2), (5, 5, 6))
SPLEEN = ((1, 8, 8), (3, 11, 11))


def by_name(found):
    return {value.name: value for value in found}


def test_segments_are_matched_over_all_observers_whatever_their_values_and_order():
    observers = Observers.of(
        {
            "r1": label_map({"liver": LIVER_1}),
            "r2": label_map({"spleen": SPLEEN, "liver": LIVER_2}),
            "r3": label_map({"spleen": SPLEEN}),
        }
    )
    assert [segment.name for segment in observers.segments] == ["liver", "spleen"]
    liver, spleen = observers.segments
    assert [label.value if label else None for label in liver.labels] == [1, 2, None]
    assert [label.value if label else None for label in spleen.labels] == [None, 1, 1]
    assert observers.notes == (
        "r3 has no segment 'liver'; it counts as empty.",
        "r1 has no segment 'spleen'; it counts as empty.",
    )
    votes = observers.votes(liver, "image")
    assert votes.sizes.tolist() == [64, 64, 0]
    assert votes.n == 8 * 12 * 12
    assert votes.voxel_ml == 0.002


def test_segments_with_the_same_generic_id_but_other_names_stay_apart():
    array = np.zeros((2, 2, 2), np.uint8)
    array[0] = 1
    grid = Grid(array.shape, np.eye(4))
    maps = {
        "r1": LabelMap(array, grid, (Label(1, "Segment_1", "liver"),)),
        "r2": LabelMap(array, grid, (Label(1, "Segment_1", "spleen"),)),
        "r3": LabelMap(array, grid, (Label(1, "Segment_1", "spleen"),)),
    }
    segments = Observers.of(maps).segments
    assert [(segment.id, segment.name) for segment in segments] == [("Segment_1", "liver"), ("Segment_1_2", "spleen")]
    assert [label is None for label in segments[1].labels] == [True, False, False]


def test_votes_from_cropped_masks_equal_those_from_whole_masks():
    observers = Observers.of({"r1": label_map({"liver": LIVER_1}), "r2": label_map({"liver": LIVER_2})})
    [segment] = observers.segments
    for region in ("image", "union+0mm", "union+3mm", "union+100mm"):
        cropped = observers.votes(segment, region)
        whole = count_votes(observers.masks(segment), observers.grid.spacing_kji, region)
        assert (cropped.histogram == whole.histogram).all()
        assert (cropped.common == whole.common).all()


def test_overlapping_segments_are_kept():
    array = np.zeros((2, 4, 4, 4), np.uint8)
    array[0, :, :, :3] = 1
    array[1, :, :, 2:] = 1
    own = LabelMap(array, Grid((4, 4, 4), np.eye(4)), (Label(1, "a", "a"), Label(1, "b", "b", layer=1)))
    observers = Observers.of({"r1": own, "r2": own})
    assert [observers.votes(segment).sizes.tolist() for segment in observers.segments] == [[48, 48], [32, 32]]


def test_another_grid_is_resampled_and_extended_and_said_so():
    shifted = SPACING.copy()
    shifted[0, 3] = -4.0  # four voxels to the left
    maps = {
        "r1": label_map({"liver": LIVER_1}),
        "r2": label_map({"liver": ((1, 1, 0), (5, 5, 9))}, shifted),
        "r3": label_map({"liver": LIVER_1}, np.diag([0.5, 0.5, 1.0, 1.0])),
    }
    observers = Observers.of(maps)
    [segment] = observers.segments
    assert observers.grid.shape == (8, 12, 16)
    assert observers.votes(segment).sizes.tolist()[:2] == [64, 4 * 4 * 9]
    assert "extended" in observers.notes[0]
    assert observers.notes[1].startswith("The segmentation of r3 was resampled")
    sheared = SPACING.copy()
    sheared[0, 1] = 0.3
    with pytest.raises(GeometryError, match="right angles"):
        Observers.of(maps, Grid((8, 12, 12), sheared))


def test_one_observer_is_not_enough():
    with pytest.raises(InputError, match="at least two observers, but there is r1"):
        Observers.of({"r1": label_map({"liver": LIVER_1})})


def test_every_pair_of_observers_is_compared_as_compare_would():
    maps = {f"r{n}": label_map({"liver": box}) for n, box in enumerate((LIVER_1, LIVER_2, SPLEEN), start=1)}
    observers = Observers.of(maps)
    rows = compare_pairs(observers, region="image")
    assert [(row.observer_1, row.observer_2) for row in rows] == [("r1", "r2"), ("r1", "r3"), ("r2", "r3")]
    for row in rows:
        one, other = (maps[name].array for name in (row.observer_1, row.observer_2))
        assert row.values == compare(one, other, observers.grid.spacing_kji)[1]
    assert rows[0].values["dice"] == 0.75  # 3 of 4 columns in common
    assert rows[0].values["hd_mm"] == 1.0
    columns = list(rows[0].as_dict())
    assert columns[:4] == ["observer_1", "observer_2", "segment", "tp"]
    assert columns[-2:] == ["region", "reason"]


def test_two_empty_masks_are_no_perfect_pair_and_one_is_a_disagreement():
    maps = {
        "r1": label_map({"liver": LIVER_1}),
        "r2": label_map({}),
        "r3": label_map({"liver": ((0, 0, 0), (0, 0, 0))}),
    }
    first, second, third = compare_pairs(Observers.of(maps), ["dice", "hd95"])
    assert (first.values["dice"], second.values["dice"]) == (0, 0)
    assert math.isnan(first.values["hd95_maxdir_mm"])
    assert first.reason == "the test is empty"
    assert third.both_empty
    assert all(math.isnan(value) for value in third.values.values())
    assert "nothing to agree about" in third.reason


def test_the_comparison_of_pairs_tells_how_far_it_is_and_can_be_cancelled():
    observers = Observers.of({f"r{n}": label_map({"liver": LIVER_1}) for n in range(3)})
    told = []
    compare_pairs(observers, ["dice"], progress=lambda fraction, text: told.append((round(fraction, 2), text)))
    assert told == [(0, "liver: r0, r1"), (0.33, "liver: r0, r2"), (0.67, "liver: r1, r2")]
    with pytest.raises(Cancelled):
        compare_pairs(observers, ["dice"], cancelled=lambda: True)


def test_spread_of_volumes_by_hand():
    """2, 4 and 6 voxels of 1 mm³: mean 4, SD 2."""
    masks = [np.arange(8).reshape(1, 1, 8) < n for n in (2, 4, 6)]
    found = {name: value.value for name, value in by_name(volume_spread(count_votes(masks, (1, 1, 1)))).items()}
    assert found == pytest.approx(
        {
            "volume_mean_ml": 0.004,
            "volume_sd_ml": 0.002,
            "volume_cv_percent": 50,
            "volume_ratio": 3,
            "common_ml": 0.002,
            "encompassing_ml": 0.006,
        }
    )


def test_volumes_of_empty_masks_have_no_ratio():
    masks = [np.zeros((1, 1, 4), bool), np.ones((1, 1, 4), bool)]
    assert by_name(volume_spread(count_votes(masks, (1, 1, 1))))["volume_ratio"].reason == "a mask is empty"
    nothing = by_name(volume_spread(count_votes(masks[:1] * 2, (1, 1, 1))))
    assert math.isnan(nothing["volume_cv_percent"].value)
    assert nothing["volume_mean_ml"].value == 0


def rotated(degrees):
    """About the left-right axis, with spacing 1, 1, 2 mm and an origin."""
    angle = math.radians(degrees)
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    matrix[:3, 3] = (5, 6, 7)
    return matrix @ SPACING


@pytest.mark.parametrize("matrix", [SPACING, np.diag([-1.0, -1, -2, 1]), rotated(30), rotated(-75)[:, [2, 0, 1, 3]]])
def test_craniocaudal_limits_are_those_of_all_corners(matrix):
    generator = np.random.default_rng(3)
    mask = np.zeros((6, 7, 8), bool)
    mask[2:5, 3:, 4:] = generator.random((3, 4, 4)) < 0.2
    corners = np.argwhere(mask)[:, None, ::-1] + np.array(list(np.ndindex(2, 2, 2))) - 0.5
    s = corners @ matrix[2, :3] + matrix[2, 3]
    assert craniocaudal_limits(mask, Grid(mask.shape, matrix)) == pytest.approx((s.min(), s.max()))
    assert all(math.isnan(x) for x in craniocaudal_limits(mask & False, Grid(mask.shape, matrix)))


def test_spread_of_craniocaudal_limits_by_hand():
    found = by_name(extent_spread([(0, 10), (2, 12), (math.nan, math.nan), (4, 14)]))
    assert found["superior_limit_mean_mm"].value == 12
    assert found["superior_limit_sd_mm"].value == 2
    assert found["inferior_limit_range_mm"].value == 4
    assert (found["length_mean_mm"].value, found["length_sd_mm"].value) == (10, 0)
    assert (found["length_sd_mm"].k, found["length_sd_mm"].left_out) == (3, 1)
    one = by_name(extent_spread([(0, 10), (math.nan, math.nan)]))
    assert one["length_mean_mm"].value == 10
    assert one["length_sd_mm"].reason == "only one observer drew it"
    assert by_name(extent_spread([(math.nan, math.nan)] * 2))["length_mean_mm"].reason == "all masks are empty"


def test_every_measure_says_what_it_is_and_every_value_is_registered_and_within_its_range():
    names = [measure.name for measure in OBSERVER_MEASURES]
    assert len(set(names)) == len(names)
    assert all(measure.definition and measure.source and measure.title for measure in OBSERVER_MEASURES)
    assert OBSERVER_GROUPS == ("overlap", "agreement", "volume", "extent", "reliability", "limits")
    generator = np.random.default_rng(0)
    masks = [generator.random((4, 5, 6)) < share for share in (0, 0.2, 0.9)]
    votes = count_votes(masks, (1, 2, 3))
    for value in conformity(votes) + voxel_agreement(votes) + volume_spread(votes):
        low, high = value.measure.range
        assert math.isnan(value.value) or low <= value.value <= high
        assert value.reason or not math.isnan(value.value)
    assert "region" in observer_measure("gwet_ac1").description
    with pytest.raises(InputError, match="'kapa'"):
        observer_measure("kapa")


def cords(matrix, axis=0):
    """Two columns of 2 x 2 voxels, the same in every plane: planes 1 to 6 and 3 to 8 of ten."""
    masks = [np.zeros((10, 10, 10), bool) for _ in range(2)]
    for mask, first in zip(masks, (1, 3), strict=True):
        np.moveaxis(mask, axis, 0)[first : first + 6, 4:6, 4:6] = True
    return masks, Grid((10, 10, 10), matrix)


def test_a_cord_drawn_to_different_ends_agrees_where_both_drew():
    masks, grid = cords(SPACING)
    planes = agreement_by_plane(masks, grid)
    assert [plane.index for plane in planes] == list(range(1, 9))
    assert [plane.s_mm for plane in planes] == [2.0 * index for index in range(1, 9)]
    assert [plane.ci_gen for plane in planes] == [0, 0, 1, 1, 1, 1, 0, 0]
    found = common_planes(planes)
    assert (found.value, found.n, found.left_out, found.k) == (1, 4, 4, 2)
    assert by_name(conformity(count_votes(masks, grid.spacing_kji)))["ci_gen"].value == 4 / 8


def test_planes_follow_the_patient_not_the_array():
    """Columns of the array run from superior to inferior here; J points down."""
    matrix = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -2, 0, 30], [0, 0, 0, 1]])
    masks, grid = cords(matrix, axis=1)
    planes = agreement_by_plane(masks, grid)
    assert [plane.index for plane in planes] == list(range(8, 0, -1))
    assert [plane.s_mm for plane in planes] == [30.0 - 2 * index for index in range(8, 0, -1)]
    assert common_planes(planes).value == 1


def test_without_a_common_plane_there_is_no_index_but_a_reason():
    masks, grid = cords(SPACING)
    masks[1][:7] = False
    assert common_planes(agreement_by_plane(masks, grid)).reason == "there is no plane in which every observer drew"
    assert common_planes(agreement_by_plane([mask & False for mask in masks], grid)).reason == "all masks are empty"


def test_figures_over_cases_leave_out_and_explain_cases_without_a_value():
    full, half, none = (np.arange(4).reshape(1, 1, 4) < n for n in (4, 2, 0))
    cases = [conformity(count_votes(pair, (1, 1, 1))) for pair in ((full, full), (full, half), (none, none))]
    [generalized, *_] = over_cases(cases)
    assert generalized.measure.name == "ci_gen"
    assert (generalized.figures.n, generalized.figures.undefined) == (2, 1)
    assert generalized.figures.mean == 0.75
    assert generalized.reasons == ("all masks are empty",)


def test_a_pair_of_empty_masks_is_left_out_of_the_mean_of_its_case():
    nothing = ((0, 0, 0), (0, 0, 0))
    boxes = {"r1": LIVER_1, "r2": nothing, "r3": nothing}
    observers = Observers.of({name: label_map({"liver": box}) for name, box in boxes.items()})
    found = pairs_over_cases([compare_pairs(observers, ["dice", "hd95"])])
    assert (found["liver"]["dice"].mean, found["liver"]["dice"].n) == (0, 1)
    assert found["liver"]["hd95_maxdir_mm"].undefined == 1


def test_pairs_are_averaged_within_a_case_before_cases_are():
    first = Observers.of({"r1": label_map({"liver": LIVER_1}), "r2": label_map({"liver": LIVER_2})})
    alike = Observers.of({f"r{n}": label_map({"liver": LIVER_1}) for n in range(4)})
    empty = Observers.of({f"r{n}": label_map({"liver": ((0, 0, 0), (0, 0, 0))}) for n in range(2)})
    found = pairs_over_cases([compare_pairs(own, ["dice", "hd95"]) for own in (first, alike, empty)])
    assert found["liver"]["dice"].mean == (0.75 + 1) / 2  # not (0.75 + 6) / 7
    assert (found["liver"]["dice"].n, found["liver"]["dice"].undefined) == (2, 1)
