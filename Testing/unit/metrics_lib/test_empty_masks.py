"""What every measure is if one mask or both are empty or fill the image, and the reason that is given."""

import math

import numpy as np
import pytest

from MedSegAIMetricsLib import compare
from MedSegAIMetricsLib.measures import SURFACE_TITLES, select

UNIT = (1.0, 1.0, 1.0)
NAN = math.nan
DISTANCES = [m.name for m in select(["surface", "hd_pooled_mm", "hd_meandir_mm"]) if m.parameter != "tolerance_mm"]
NSD = ["nsd_1mm", "nsd_2mm", "nsd_3mm"]
BOTH, REFERENCE, TEST = "both masks are empty", "the reference is empty", "the test is empty"

# An image of 4 x 5 x 5 = 100 voxels of 1 mm³; the mask that is not empty has 10. Measure: value, and the reason if any.
BOTH_EMPTY = {
    **dict.fromkeys(["dice", "jaccard", "fbeta_2", "boundary_iou_1mm", "volume_similarity", *NSD], (1, BOTH)),
    **dict.fromkeys(["lesion_f1", "lesion_dice_all"], (1, BOTH)),
    **dict.fromkeys(["center_distance_mm", *DISTANCES], (0, BOTH)),
    **dict.fromkeys(["sensitivity", "precision", "balanced_accuracy", "kappa", "mcc"], (NAN, BOTH)),
    **dict.fromkeys(["volume_difference_percent", "lesion_sensitivity", "lesion_precision"], (NAN, BOTH)),
    "lesion_dice_matched": (NAN, BOTH),
    **dict.fromkeys(["specificity", "npv", "accuracy"], (1, None)),
    **dict.fromkeys(["tp", "fp", "fn", "volume_reference_ml", "volume_test_ml", "volume_difference_ml"], (0, None)),
    "tn": (100, None),
}
REFERENCE_EMPTY = {
    **dict.fromkeys(["dice", "jaccard", "fbeta_2", "boundary_iou_1mm", "volume_similarity", *NSD], (0, REFERENCE)),
    **dict.fromkeys(["lesion_f1", "lesion_dice_all"], (0, REFERENCE)),
    **dict.fromkeys(["center_distance_mm", *DISTANCES], (NAN, REFERENCE)),
    **dict.fromkeys(["sensitivity", "balanced_accuracy", "mcc", "volume_difference_percent"], (NAN, REFERENCE)),
    **dict.fromkeys(["lesion_sensitivity", "lesion_dice_matched"], (NAN, REFERENCE)),
    **dict.fromkeys(["precision", "kappa", "lesion_precision", "tp", "fn", "volume_reference_ml"], (0, None)),
    **dict.fromkeys(["specificity", "accuracy"], (0.9, None)),
    "npv": (1, None),
    "fp": (10, None),
    "tn": (90, None),
    **dict.fromkeys(["volume_test_ml", "volume_difference_ml"], (0.01, None)),
}
TEST_EMPTY = {
    **{name: (value, TEST) for name, (value, reason) in REFERENCE_EMPTY.items() if reason == REFERENCE},
    "precision": (NAN, TEST),
    "lesion_precision": (NAN, TEST),
    "mcc": (NAN, TEST),
    "balanced_accuracy": (0.5, None),
    **dict.fromkeys(["sensitivity", "kappa", "lesion_sensitivity", "tp", "fp", "volume_test_ml"], (0, None)),
    **dict.fromkeys(["npv", "accuracy"], (0.9, None)),
    "specificity": (1, None),
    "fn": (10, None),
    "tn": (90, None),
    "volume_reference_ml": (0.01, None),
    "volume_difference_ml": (-0.01, None),
    "volume_difference_percent": (-100, None),
}
EMPTY = {"both": BOTH_EMPTY, "reference": REFERENCE_EMPTY, "test": TEST_EMPTY}


def ten_voxels() -> np.ndarray:
    mask = np.zeros((4, 5, 5), bool)
    mask[1, 1:3, :] = True
    return mask


@pytest.mark.parametrize(("which", "name"), [(which, name) for which, table in EMPTY.items() for name in table])
def test_an_empty_mask_gives_the_stated_value_and_reason(which, name):
    reference, test = ten_voxels(), ten_voxels()
    if which in ("both", "reference"):
        reference[:] = False
    if which in ("both", "test"):
        test[:] = False
    found = compare(reference, test, UNIT, labels=[1], measures=[name])
    expected, reason = EMPTY[which][name]
    assert found[1][name] == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert found.reasons[1].get(name) == reason


@pytest.mark.parametrize("surface", SURFACE_TITLES)
def test_distances_from_an_empty_mask_do_not_exist_on_any_surface(surface):
    found = compare(ten_voxels(), ~ten_voxels() & False, UNIT, measures=["hd", "nsd_2mm"], surface=surface)
    distance, share = found[1].values()
    assert math.isnan(distance)
    assert share == 0
    assert set(found.reasons[1].values()) == {TEST}


def test_a_reference_that_fills_the_region_has_no_specificity():
    full, half = np.ones((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    half[0] = True
    found = compare(full, half, UNIT, measures=["overlap"])
    assert found[1]["sensitivity"] == 0.5
    undefined = {name for name, value in found[1].items() if math.isnan(value)}
    assert undefined == {"specificity", "balanced_accuracy", "mcc"}
    assert found.reasons[1]["specificity"] == "the reference fills the region"
    assert set(found.reasons[1]) == undefined


@pytest.mark.parametrize("which", EMPTY)
def test_the_table_of_empty_masks_names_every_measure_that_is_computed(which):
    computed = {measure.name for measure in select(["counts", "overlap", "volume", "surface"])}
    assert computed <= set(EMPTY[which])


def test_the_region_around_two_empty_masks_holds_nothing():
    empty = np.zeros((4, 5, 5), bool)
    found = compare(empty, empty, UNIT, labels=[1], measures=["tn", "specificity", "accuracy"], region="union+10mm")
    assert found[1].pop("tn") == 0
    assert all(math.isnan(value) for value in found[1].values())
    assert found.reasons[1] == {"specificity": BOTH, "accuracy": BOTH}
