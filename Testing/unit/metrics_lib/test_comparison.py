"""The one call that compares label maps: counts, labels, layouts of arrays, regions and signs."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from MedSegAIMetricsLib import compare
from MedSegAIMetricsLib.measures import SURFACE_TITLES

UNIT = (1.0, 1.0, 1.0)


def label_maps(n_labels: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Patches of labels, and the same moved by a voxel with speckles and without the last label."""
    generator = np.random.default_rng(7)
    patches = generator.permutation(np.resize(np.arange(n_labels + 1), 6 * 7 * 8)).reshape(6, 7, 8)
    reference = patches.repeat(4, 0).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    test = np.roll(reference, (1, 0, 1), (0, 1, 2))
    test[generator.random(test.shape) < 0.02] = 3
    test[test == n_labels] = 0
    return reference, test


def test_counts_of_24_labels_are_those_of_simpleitk():
    reference, test = label_maps()
    images = [sitk.GetImageFromArray(array) for array in (reference, test, np.where(reference == test, reference, 0))]
    counted = []
    for image in images:
        statistics = sitk.LabelShapeStatisticsImageFilter()
        statistics.Execute(image)
        counted.append({label: statistics.GetNumberOfPixels(label) for label in statistics.GetLabels()})
    found = compare(reference, test, UNIT, measures=["counts"])
    assert list(found) == list(range(1, 25))
    for label, values in found.items():
        in_reference, in_test, in_both = (counts.get(label, 0) for counts in counted)
        assert values["tp"] == in_both
        assert values["fp"] == in_test - in_both
        assert values["fn"] == in_reference - in_both
        assert values["tn"] == reference.size - in_reference - in_test + in_both


def test_overlap_of_24_labels_is_that_of_simpleitk():
    reference, test = label_maps()
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*map(sitk.GetImageFromArray, (test, reference)))  # "source" is the test, "target" the truth
    found = compare(reference, test, UNIT, measures=["overlap"])
    for label in range(1, 24):
        values = found[label]
        assert values["dice"] == pytest.approx(overlap.GetDiceCoefficient(label), abs=1e-12)
        assert values["jaccard"] == pytest.approx(overlap.GetJaccardCoefficient(label), abs=1e-12)
        assert values["sensitivity"] == pytest.approx(1 - overlap.GetFalseNegativeError(label), abs=1e-12)
        assert values["specificity"] == pytest.approx(1 - overlap.GetFalsePositiveError(label), abs=1e-12)
        assert values["precision"] == pytest.approx(1 - overlap.GetFalseDiscoveryRate(label), abs=1e-12)


def test_nothing_to_compare_gives_no_label():
    empty = np.zeros((3, 3, 3), np.uint8)
    assert compare(empty, empty, UNIT) == {}


def random_masks() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    return tuple(ndimage.gaussian_filter(generator.standard_normal((9, 12, 14)), 1.5) > 0.05 for _ in range(2))


ALL = ["counts", "overlap", "volume", "surface", "lesions", "boundary_iou_2mm", "hd95_surfel_maxdir_mm"]
SPACING = (2.0, 0.8, 0.9)
TEST, REFERENCE, BOTH = "the test is empty", "the reference is empty", "both masks are empty"
INTEGERS = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", ">u2", ">i4"]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_every_integer_type_gives_what_bool_gives(dtype):
    reference, test = random_masks()
    expected = compare(reference, test, SPACING, measures=ALL)
    assert compare(reference.astype(dtype), test.astype(dtype), SPACING, measures=ALL) == expected
    assert compare(reference, test.astype(dtype), SPACING, measures=ALL) == expected


@pytest.mark.parametrize("dtype", INTEGERS)
def test_every_integer_type_gives_the_same_for_label_maps(dtype):
    reference, test = label_maps(5)
    expected = compare(reference, test, SPACING, measures=["counts", "volume"])
    assert compare(reference.astype(dtype), test.astype(dtype), SPACING, measures=["counts", "volume"]) == expected


def with_gaps(array: np.ndarray) -> np.ndarray:
    wide = np.ones([2 * n for n in array.shape], array.dtype)
    wide[::2, ::2, ::2] = array
    return wide[::2, ::2, ::2]


LAYOUTS = {
    "non-contiguous": with_gaps,
    "in Fortran's order": np.asfortranarray,
    "with negative strides": lambda array: np.ascontiguousarray(array[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
    "with axes exchanged": lambda array: np.ascontiguousarray(array.transpose(2, 0, 1)).transpose(1, 2, 0),
    "nested lists": np.ndarray.tolist,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("surface", ["face", "voxelcenter"])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32])
def test_the_layout_of_an_array_does_not_matter(layout, surface, dtype):
    reference, test = (mask.astype(dtype) for mask in random_masks())
    expected = compare(reference, test, SPACING, measures=ALL, surface=surface)
    arranged = [LAYOUTS[layout](array) for array in (reference, test)]
    assert compare(*arranged, SPACING, measures=ALL, surface=surface) == expected


@pytest.mark.parametrize("surface", SURFACE_TITLES)
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32])
def test_the_input_is_not_changed(surface, dtype):
    arrays = [mask.astype(dtype) for mask in random_masks()]
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    compare(*arrays, SPACING, measures=ALL, surface=surface)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_labels_that_occur_in_either_array_are_compared():
    reference, test = np.zeros((2, 1, 1, 4), np.uint8)
    reference[0, 0], test[0, 0] = [0, 7, 7, 2], [0, 7, 5, 5]
    found = compare(reference, test, UNIT, measures=["dice", "tp"])
    assert found == {2: {"dice": 0, "tp": 0}, 5: {"dice": 0, "tp": 0}, 7: {"dice": 2 / 3, "tp": 1}}
    assert (found.reasons[2], found.reasons[5]) == ({"dice": TEST}, {"dice": REFERENCE})


def test_only_labels_that_are_given_are_compared_also_those_that_do_not_occur():
    reference, test = np.zeros((2, 1, 1, 4), np.uint8)
    reference[0, 0], test[0, 0] = [0, 7, 7, 2], [0, 7, 5, 5]
    found = compare(reference, test, UNIT, labels=[9, 7, 9], measures=["dice"])
    assert dict(found) == {9: {"dice": 1}, 7: {"dice": 2 / 3}}
    assert list(found) == [9, 7]
    assert found.reasons[9] == {"dice": BOTH}


def test_each_label_of_a_map_gives_what_its_mask_gives():
    reference, test = label_maps(4)
    found = compare(reference, test, SPACING, measures=ALL)
    for label, values in found.items():
        own = compare(reference == label, test == label, SPACING, labels=[1], measures=ALL)[1]
        assert values == pytest.approx(own, rel=1e-12, nan_ok=True)


# Of an image of 100 voxels: tp, fp, fn, and what follows by the formulas of the textbooks.
TWO_BY_TWO = {
    "a usual table, tn = 65": (
        (20, 10, 5),
        {
            "dice": 40 / 55,
            "jaccard": 20 / 35,
            "sensitivity": 20 / 25,
            "specificity": 65 / 75,
            "precision": 20 / 30,
            "npv": 65 / 70,
            "accuracy": 85 / 100,
            "balanced_accuracy": (4 / 5 + 13 / 15) / 2,
            "kappa": (0.85 - 0.6) / (1 - 0.6),  # by chance: 0.30 x 0.25 + 0.70 x 0.75 = 0.6
            "mcc": (20 * 65 - 10 * 5) / math.sqrt(30 * 25 * 75 * 70),
            "fbeta_0.5": 1.25 * 20 / (1.25 * 20 + 0.25 * 5 + 10),
            "fbeta_1": 40 / 55,
            "fbeta_2": 5 * 20 / (5 * 20 + 4 * 5 + 10),
        },
    ),
    "never the same, tn = 0": (
        (0, 60, 40),
        {
            **dict.fromkeys(["dice", "jaccard", "sensitivity", "specificity", "precision", "npv", "fbeta_2"], 0),
            "accuracy": 0,
            "balanced_accuracy": 0,
            "kappa": (0 - 0.48) / (1 - 0.48),  # by chance: 0.6 x 0.4 + 0.4 x 0.6
            "mcc": -1,
        },
    ),
    "always the same, tn = 70": (
        (30, 0, 0),
        dict.fromkeys(["dice", "specificity", "npv", "accuracy", "balanced_accuracy", "kappa", "mcc", "fbeta_0.5"], 1),
    ),
    "as good as chance, tn = 54": (
        (6, 24, 16),  # 6 / 22 = 24 / 88, were it not for one voxel more of either kind
        {"kappa": (0.60 - 0.612) / (1 - 0.612), "mcc": (6 * 54 - 24 * 16) / math.sqrt(30 * 22 * 78 * 70)},
    ),
}


@pytest.mark.parametrize("name", TWO_BY_TWO)
def test_overlap_measures_follow_from_a_two_by_two_table(name):
    (tp, fp, fn), expected = TWO_BY_TWO[name]
    flat = np.zeros((2, 100), bool)
    flat[0, : tp + fn] = True
    flat[1, fn : fn + tp + fp] = True
    reference, test = flat.reshape(2, 4, 5, 5)
    found = compare(reference, test, UNIT, measures=list(expected))[1]
    assert found == pytest.approx(expected, abs=1e-12)


def two_boxes_near_the_border() -> tuple[np.ndarray, np.ndarray]:
    """One slice, rows 3-5 and 4-6, columns 16-18; 6 voxels in common, 3 of each alone, 12 in the box of both."""
    reference, test = np.zeros((2, 5, 20, 20), bool)
    reference[2, 3:6, 16:19] = True
    test[2, 4:7, 16:19] = True
    return reference, test


@pytest.mark.parametrize(
    ("region", "voxels"),
    [
        ("image", 5 * 20 * 20),
        ("union+10mm", 5 * 12 * 9),  # 2 slices and 5 voxels: slices 0-4, rows 0-11 (not from -2), columns 11-19
        ("union+3mm", 3 * 8 * 6),  # parts of voxels count whole: slices 1-3, rows 1-8, columns 14-19 (not to 20)
        ("union+2.0mm", 3 * 6 * 5),  # slices 1-3, rows 2-7, columns 15-19
        ("union+0mm", 1 * 4 * 3),
    ],
)
def test_true_negatives_are_counted_in_the_region(region, voxels):
    measures = ["counts", "specificity", "accuracy"]
    found = compare(*two_boxes_near_the_border(), (5, 2, 2), measures=measures, region=region)
    tn = voxels - 12
    assert found[1] == {
        "tp": 6,
        "fp": 3,
        "fn": 3,
        "tn": tn,
        "specificity": tn / (tn + 3),
        "accuracy": (tn + 6) / voxels,
    }
    assert found.region == region.replace("2.0", "2")


def test_a_margin_of_three_voxels_is_not_four_by_rounding():
    mask = np.zeros((1, 1, 20), bool)
    mask[0, 0, 10] = True
    assert 3 * 0.7 < 2.1 or 2.1 / 0.7 > 3  # what a computer makes of it
    assert compare(mask, mask, (5, 5, 0.7), measures=["tn"], region="union+2.1mm")[1]["tn"] == 6


def test_the_region_changes_nothing_but_what_rests_on_true_negatives():
    masks = two_boxes_near_the_border()
    image, box = (compare(*masks, (5, 2, 2), measures=ALL, region=region) for region in ("image", "union+10mm"))
    differing = {name for name, value in image[1].items() if box[1][name] != value}
    assert differing == {"tn", "specificity", "npv", "accuracy", "balanced_accuracy", "kappa", "mcc"}
    assert differing == {measure.name for measure in image.measures if measure.region}


def test_volumes_and_centers_of_two_boxes():
    reference, test = np.zeros((2, 10, 10, 10), np.uint8)
    reference[2:5, 1:5, 0:5] = 4  # 60 voxels of 1 mm³
    test[3:6, 1:6, 0:5] = 4  # 75
    found = compare(reference, test, (5, 0.5, 0.4), measures=["volume"])[4]
    assert found == pytest.approx(
        {
            "volume_reference_ml": 0.060,
            "volume_test_ml": 0.075,
            "volume_difference_ml": 0.015,
            "volume_difference_percent": 25,
            "volume_similarity": 1 - 15 / 135,
            "center_distance_mm": math.hypot(1 * 5, 0.5 * 0.5),  # a slice and half a row
        }
    )


def test_the_center_of_mass_of_an_l_is_off_its_corner():
    reference, test = np.zeros((2, 1, 2, 2), bool)
    reference[0] = [[True, True], [True, False]]  # mean row and column 1/3
    test[0, 0, 0] = True
    found = compare(reference, test, (1, 3, 6), measures=["center_distance_mm"])[1]
    assert found["center_distance_mm"] == pytest.approx(math.hypot(3 / 3, 6 / 3))


def signed(surface: str, reference: np.ndarray, test: np.ndarray) -> dict[str, float]:
    found = compare(reference, test, SPACING, measures=["surface"], surface=surface)[1]
    return {name.replace(f"_{surface}", ""): value for name, value in found.items()}


@pytest.mark.parametrize("surface", SURFACE_TITLES)
def test_over_and_under_segmentation_add_up_to_the_mean_distance_and_differ_by_the_signed_mean(surface):
    generator = np.random.default_rng(5)
    masks = [ndimage.gaussian_filter(generator.standard_normal((20, 24, 26)), 4) > -0.005 for _ in range(2)]
    found = signed(surface, *masks)
    assert min(found["over_mean_mm"], found["under_mean_mm"]) > 0
    assert found["over_mean_mm"] + found["under_mean_mm"] == pytest.approx(found["assd_mm"], rel=1e-12)
    assert found["over_mean_mm"] - found["under_mean_mm"] == pytest.approx(found["signed_mean_mm"], rel=1e-12)
    assert max(found["hd_over_mm"], found["hd_under_mm"]) == found["hd_mm"]
    exchanged = signed(surface, *masks[::-1])
    assert exchanged["signed_mean_mm"] == pytest.approx(-found["signed_mean_mm"], rel=1e-12)
    assert exchanged["hd_over_mm"] == found["hd_under_mm"]


@pytest.mark.parametrize("surface", SURFACE_TITLES)
def test_a_dilated_test_is_too_large_and_an_eroded_one_too_small(surface):
    mask = np.zeros((16, 30, 30), bool)
    mask[4:12, 6:24, 6:24] = True
    large = signed(surface, mask, ndimage.binary_dilation(mask, iterations=2))
    small = signed(surface, mask, ndimage.binary_erosion(mask, np.ones((3, 3, 3))))
    assert small["signed_mean_mm"] < -0.5 < 0.5 < large["signed_mean_mm"]
    assert large["signed_mean_mm"] == pytest.approx(large["assd_mm"], rel=0.01)
    assert small["signed_mean_mm"] == pytest.approx(-small["assd_mm"], rel=0.01)
    assert large["hd_over_mm"] == large["hd_mm"]
    assert small["hd_under_mm"] == small["hd_mm"]


def test_percentiles_and_tolerances_in_one_call_are_those_of_separate_calls():
    masks = random_masks()
    percentiles, tolerances = (50, 75, 95, 99.5, 100), (0, 0.5, 1, 2.5)
    measures = ["hd_maxdir_mm", "hd_pooled_mm", "hd_meandir_mm", "nsd", "boundary_iou"]
    options = {"percentiles": percentiles, "tolerances_mm": tolerances, "betas": (0.5, 1, 3)}
    together = compare(*masks, SPACING, measures=[*measures, "fbeta"], **options)[1]
    apart = {}
    for percentile in percentiles:
        apart |= compare(*masks, SPACING, measures=measures[:3], percentiles=[percentile])[1]
    for tolerance in tolerances:
        apart |= compare(*masks, SPACING, measures=measures[3:], tolerances_mm=[tolerance])[1]
    for beta in (0.5, 1, 3):
        apart |= compare(*masks, SPACING, measures=["fbeta"], betas=[beta])[1]
    assert together == pytest.approx(apart, nan_ok=True)
    assert len(together) == 3 * 5 + 2 * 4 + 3
    assert together["hd100_maxdir_mm"] == compare(*masks, SPACING, measures=["hd"])[1]["hd_mm"]


@pytest.mark.parametrize(("axis", "distance"), [(0, 7), (1, 2), (2, 0.5)])
@pytest.mark.parametrize("surface", ["face", "surfel", "voxelcenter"])
def test_the_spacing_is_that_of_the_axes_k_j_i(axis, distance, surface):
    reference = np.zeros((4, 4, 4), bool)
    reference[1, 1, 1] = True
    test = np.roll(reference, 1, axis)
    found = compare(reference, test, (7, 2, 0.5), measures=["hd", "center_distance_mm"], surface=surface)[1]
    assert list(found.values()) == pytest.approx([distance, distance])
