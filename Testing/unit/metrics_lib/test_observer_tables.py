"""Tables of several observers over cases: rows, figures over cases, reliability of volumes."""

import csv
import io
import json
import math

import numpy as np
import pytest

from fixtures_observer_boxes import CI_GEN, DICE, N_VOXELS, VOXEL_ML, columns_map, observers
from MedSegAICore.image import Label, LabelMap
from MedSegAIMetricsLib.observer_comparison import compare_observers
from MedSegAIMetricsLib.observer_tables import (
    agreement_rows,
    cohort_lines,
    pair_rows,
    reliability_rows,
    rows_text,
    tables_of,
    volume_rows,
    without_nan,
)


def case(**columns):
    """The agreement of observers who filled these columns."""
    return compare_observers({name: columns_map(*own) for name, own in columns.items()}).agreement


def reliability_of(cases, of=("volume_ml", "voxels, union+10mm")):
    rows = [row for row in reliability_rows(cases) if row["of"] in of]
    return {(row["measure"], row["observer_1"], row["observer_2"]): row for row in rows}


def test_rows_have_keys_first_numbers_then_region_and_reason():
    cases = {"one": compare_observers(observers()).agreement}
    pairs = pair_rows(cases)
    assert [(row["case"], row["observer_1"], row["observer_2"], row["segment"]) for row in pairs] == [
        ("one", *pair, "Box") for pair in DICE
    ]
    assert list(pairs[0])[:4] == ["case", "segment", "observer_1", "observer_2"]
    assert list(pairs[0])[-2:] == ["region", "reason"]
    (row,) = agreement_rows(cases)
    assert (row["case"], row["segment"], row["observers"], row["region"]) == ("one", "Box", 3, "union+10mm")
    assert row["ci_gen"] == pytest.approx(CI_GEN)
    volumes = volume_rows(cases)
    assert {row["observer"]: row["volume_ml"] for row in volumes} == pytest.approx(
        {name: n * VOXEL_ML for name, n in N_VOXELS.items()}
    )
    assert {(row["inferior_limit_mm"], row["superior_limit_mm"], row["length_mm"]) for row in volumes} == {(3, 11, 8)}


def test_an_empty_mask_and_a_missing_segment_say_which_they_are():
    nothing = LabelMap(np.zeros_like(columns_map(2, 8).array), columns_map(2, 8).grid, ())
    maps = {"A": columns_map(2, 8), "B": columns_map(0, 0), "C": nothing}
    found = {"one": compare_observers(maps).agreement}
    assert [(row["volume_ml"] > 0, row["reason"]) for row in volume_rows(found)] == [
        (True, ""),
        (False, "the mask is empty"),
        (False, "has no such segment, which counts as empty"),
    ]
    empty = next(row for row in pair_rows(found) if (row["observer_1"], row["observer_2"]) == ("B", "C"))
    assert math.isnan(empty["dice"])
    assert "both masks are empty" in empty["reason"]


def test_reliability_of_two_observers_one_of_whom_is_always_larger_follows_from_the_mean_squares():
    # Volumes in columns of 24 voxels: case 1: 6 and 8, case 2: 8 and 10. MSR = (8 - 6)², MSC = 2², MSE = 0.
    cases = {"one": case(A=(2, 8), B=(2, 10)), "two": case(A=(2, 10), B=(2, 12))}
    rows = reliability_of(cases)
    assert rows["icc_c1", "", ""]["value"] == pytest.approx(1)
    assert rows["icc_a1", "", ""]["value"] == pytest.approx(0.5)  # MSR / (MSR + 2 MSC / 2)
    column = 24 * VOXEL_ML
    assert rows["observer_bias", "A", ""]["value"] == pytest.approx(-column)
    assert rows["observer_bias", "B", ""]["value"] == pytest.approx(column)
    assert rows["bias", "A", "B"]["value"] == pytest.approx(2 * column)
    assert rows["limit_low", "A", "B"]["value"] == pytest.approx(2 * column)  # all differences are equal
    # sO² + sE² = (MSC - 0) / 2 = 2 columns²; half width 1.96 sqrt(1 / 2) sqrt(2 columns²)
    assert rows["loam", "", ""]["value"] == pytest.approx(1.959963984540054 * column)
    assert rows["reproducibility_coefficient", "", ""]["value"] == pytest.approx(1.959963984540054 * 2 * column)
    assert rows["icc_a1", "", ""]["n"] == 2
    assert (rows["loam", "", ""]["unit"], rows["icc_a1", "", ""]["unit"]) == ("ml", "")
    pooled = rows["krippendorff_alpha", "", ""]
    assert pooled["of"] == "voxels, union+10mm"
    assert pooled["low"] <= pooled["value"] <= pooled["high"]


def test_logarithms_of_volumes_have_no_unit_and_leave_empty_masks_out():
    cases = {"one": case(A=(2, 4), B=(2, 6)), "two": case(A=(2, 6), B=(2, 10)), "three": case(A=(2, 6), B=(0, 0))}
    rows = reliability_of(cases, "log(volume_ml)")
    assert rows["bias", "A", "B"]["value"] == pytest.approx(math.log(2))  # B is twice as large in both cases
    assert (rows["bias", "A", "B"]["n"], rows["bias", "A", "B"]["left_out"], rows["bias", "A", "B"]["unit"]) == (
        2,
        1,
        "",
    )
    assert reliability_of(cases)["bias", "A", "B"]["n"] == 3


def test_a_case_without_one_of_the_observers_is_left_out_of_reliability_and_counted():
    cases = {
        "one": case(A=(2, 8), B=(2, 10), C=(2, 8)),
        "two": case(A=(2, 10), B=(2, 12), C=(2, 9)),
        "three": case(A=(2, 10), B=(2, 11)),
    }
    rows = reliability_of(cases)
    assert (rows["icc_a1", "", ""]["n"], rows["icc_a1", "", ""]["left_out"]) == (2, 1)
    assert (rows["bias", "A", "B"]["n"], rows["bias", "A", "C"]["n"]) == (3, 2)


def test_figures_over_cases_take_the_mean_of_the_pairs_of_each_case_first():
    cases = {"one": compare_observers(observers()).agreement, "two": case(A=(2, 8), B=(2, 8))}
    lines = {(line.of, line.measure.name): line.figures for line in cohort_lines(cases)}
    of_one = sum(DICE.values()) / 3
    assert lines["pairs", "dice"].mean == pytest.approx((of_one + 1) / 2)  # not (sum of four Dice) / 4
    assert lines["pairs", "dice"].n == 2
    assert lines["all observers", "ci_gen"].mean == pytest.approx((CI_GEN + 1) / 2)
    low, high = lines["all observers", "ci_gen"].ci_low, lines["all observers", "ci_gen"].ci_high
    assert (low, high) == pytest.approx((CI_GEN, 1))  # a quarter of the draws has only the one, or only the other
    directed = {"sensitivity", "volume_difference_ml", "hd_over_mm", "fp"}
    assert not directed & {name for of, name in lines if of == "pairs"}


def test_segments_of_one_name_are_told_apart_by_their_ids():
    labels = (Label(1, "l1", "Lesion"), Label(2, "l2", "Lesion"))
    array = columns_map(2, 5).array + columns_map(7, 10, label=Label(2, "x", "x")).array
    one = LabelMap(array, columns_map(2, 5).grid, labels)
    rows = agreement_rows({"one": compare_observers({"A": one, "B": one}).agreement})
    assert [row["segment"] for row in rows] == ["Lesion (l1)", "Lesion (l2)"]


def test_tables_are_the_same_text_every_time_and_json_has_none_for_what_does_not_exist():
    def made():
        cases = {"one": compare_observers(observers()).agreement, "two": case(A=(2, 8), B=(0, 0))}
        return tables_of(cases, {"three": "it cannot be read"})

    texts = [{name: rows_text(rows) for name, rows in made().items()} for _ in range(2)]
    assert texts[0] == texts[1]
    assert list(texts[0]) == ["pairs", "agreement", "volumes", "reliability", "summary"]
    rows = list(csv.DictReader(io.StringIO(texts[0]["agreement"])))
    assert [row["case"] for row in rows] == ["one", "two", "three"]
    assert (rows[2]["ci_gen"], rows[2]["reason"]) == ("", "it cannot be read")
    plain = without_nan(made())
    json.dumps(plain, allow_nan=False)
    two = next(row for row in plain["agreement"] if row["case"] == "two")
    assert two["volume_ratio"] is None
    assert "volume_ratio: a mask is empty" in two["reason"]
    assert tables_of({}) == {}
