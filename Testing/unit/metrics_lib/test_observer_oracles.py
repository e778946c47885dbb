"""Agreement of several observers against krippendorff, statsmodels, pingouin, irrCAC and brute force.

Their numbers are stored in Testing/oracle/references, with Testing/oracle/agreement_references.py, which made them.
"""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from fixtures_observers import GRADES, SPACING_KJI, synthetic_cases
from MedSegAICore.files import read_label_map
from MedSegAIMetricsLib.agreement import (
    cohen_kappas,
    conformity,
    count_votes,
    pooled_agreement,
    rating_agreement,
    voxel_agreement,
)
from MedSegAIMetricsLib.limits import bland_altman, limits_with_the_mean, observer_biases, repeatability
from MedSegAIMetricsLib.observer_pairs import compare_pairs
from MedSegAIMetricsLib.observer_volumes import craniocaudal_limits, volume_spread
from MedSegAIMetricsLib.observers import Observers
from MedSegAIMetricsLib.reliability import intraclass_correlations

REFERENCES = Path(__file__).resolve().parents[2] / "oracle" / "references"
SYNTHETIC = json.loads((REFERENCES / "observers_synthetic.json").read_text(encoding="utf-8"))
LIDC = json.loads((REFERENCES / "lidc_observers.json").read_text(encoding="utf-8"))
CLOSE = {"rel": 1e-6, "abs": 1e-9}
NODULES = [f"nodule_{number:02d}" for number in range(1, 25)]


def by_name(found):
    return {value.name: value for value in found}


@pytest.fixture(scope="module")
def nodule(shared_data):
    """A function from the name of a nodule to the observers of it, each read once."""
    read: dict[str, Observers] = {}

    def find(name: str) -> Observers:
        if name not in read:
            folder = shared_data("lidc_observers") / name
            read[name] = Observers.of({f"r{n}": read_label_map(folder / f"observer_{n}.nrrd") for n in range(1, 5)})
        return read[name]

    return find


def check_case(votes, expected):
    found = by_name(conformity(votes) + voxel_agreement(votes) + volume_spread(votes))
    checked = expected.keys() & found.keys()
    assert len(checked) == 15
    for name in checked:
        assert found[name].value == pytest.approx(expected[name], **CLOSE), name
    assert votes.volumes_ml == pytest.approx(expected["volumes_ml"], **CLOSE)
    kappas = cohen_kappas(votes)[np.triu_indices(votes.k, 1)]
    assert kappas[~np.isnan(kappas)] == pytest.approx(expected["cohen_kappas"], **CLOSE)


def check_values(table, expected):
    found = by_name([*intraclass_correlations(table), *limits_with_the_mean(table), *repeatability(table)])
    found |= by_name(bland_altman(table[:, 0], table[:, 1]))
    assert expected.keys() - found.keys() == {"observer_biases"}
    assert all(math.isnan(found[name].value) for name in found.keys() - expected.keys())  # such as a CV of logarithms
    pairs = [(found[name], expected[name]) for name in found.keys() & expected.keys()]
    pairs += zip(observer_biases(table), expected["observer_biases"], strict=True)
    for value, numbers in pairs:
        own = (value.value, value.low, value.high)[: len(numbers)]
        assert own == pytest.approx(numbers, **CLOSE), value.name


@pytest.mark.parametrize("number", range(1, 5))
def test_masks_of_a_made_up_case(number):
    check_case(count_votes(synthetic_cases()[number - 1], SPACING_KJI), SYNTHETIC["cases"][f"case_{number}"])


def test_volumes_of_made_up_cases():
    votes = [count_votes(masks, SPACING_KJI) for masks in synthetic_cases()[:3]]
    check_values(np.array([own.volumes_ml for own in votes]), SYNTHETIC["volumes"])


def test_pooled_voxels_of_made_up_cases():
    found = by_name(pooled_agreement([count_votes(masks, SPACING_KJI) for masks in synthetic_cases()], samples=20))
    for name, expected in SYNTHETIC["pooled"].items():
        assert found[name].value == pytest.approx(expected, **CLOSE)


def test_grades_with_missing_ones():
    found = by_name(rating_agreement(GRADES, samples=20))
    whole = by_name(rating_agreement([row for row in GRADES if None not in row], samples=20))
    for name, expected in SYNTHETIC["grades"].items():
        own = whole[name.removesuffix("_of_complete")] if name.endswith("_of_complete") else found[name]
        assert own.value == pytest.approx(expected, **CLOSE), name


@pytest.mark.parametrize("name", NODULES)
def test_masks_of_a_nodule_by_four_radiologists(name, nodule):
    observers = nodule(name)
    expected = LIDC["cases"][name]
    [segment] = observers.segments
    check_case(observers.votes(segment), expected)
    check_case(count_votes(observers.masks(segment), observers.grid.spacing_kji), expected)
    for mask, limits in zip(observers.masks(segment), expected["craniocaudal_mm"], strict=True):
        assert craniocaudal_limits(mask, observers.grid) == pytest.approx(limits, abs=1e-6)


def test_volumes_of_all_nodules(nodule):
    table = np.array([nodule(name).votes(nodule(name).segments[0]).volumes_ml for name in NODULES])
    check_values(table, LIDC["volumes"])
    check_values(np.log(table), LIDC["log_volumes"])


def test_pooled_voxels_of_all_nodules(nodule):
    found = by_name(pooled_agreement([nodule(name).votes(nodule(name).segments[0]) for name in NODULES], samples=200))
    for name, expected in LIDC["pooled"].items():
        assert found[name].value == pytest.approx(expected, **CLOSE)
        assert found[name].low < expected < found[name].high


@pytest.mark.parametrize("name", NODULES)
def test_pairs_of_a_nodule(name, nodule):
    """Distances against surface-distance; Dice also against the vote counts' mean of pairs."""
    expected = LIDC["cases"][name]
    rows = compare_pairs(nodule(name), list(expected["pairs"][0]))
    names = [(row.observer_1, row.observer_2) for row in rows]
    assert names == list(itertools.combinations(("r1", "r2", "r3", "r4"), 2))
    for row, numbers in zip(rows, expected["pairs"], strict=True):
        assert dict(row.values) == pytest.approx(numbers, **CLOSE)
    assert math.fsum(row.values["dice"] for row in rows) / 6 == pytest.approx(expected["dice_pairs"], **CLOSE)
