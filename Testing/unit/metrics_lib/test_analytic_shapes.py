"""Distances between boxes, voxels, plates and spheres, against what is true of the continuous shapes."""

import math

import numpy as np
import pytest

from fixtures_shapes import (
    ANISOTROPIC,
    ISOTROPIC,
    Pair,
    Truth,
    apart_box_truth,
    box,
    box_percentiles,
    boxes_truth,
    concentric_truth,
    moved_sphere_truth,
    shifted_box_truth,
    sphere,
    sphere_ml,
)
from MedSegAIMetricsLib import compare

# Shape of the image, spacing, and the voxels of the reference and of the test: from (included) and to (excluded).
BOXES = {
    "shifted in x": ((30, 80, 80), ANISOTROPIC, ((8, 20, 20), (18, 60, 60)), ((8, 20, 25), (18, 60, 65))),
    "shifted in z": ((30, 80, 80), ANISOTROPIC, ((8, 20, 20), (18, 60, 60)), ((10, 20, 20), (20, 60, 60))),
    "nested isotropic": ((60, 60, 60), ISOTROPIC, ((10, 10, 10), (50, 50, 50)), ((15, 15, 15), (45, 45, 45))),
    "nested anisotropic": ((30, 80, 80), ANISOTROPIC, ((5, 10, 10), (25, 70, 70)), ((7, 20, 20), (23, 60, 60))),
    "touching the border": ((16, 48, 48), ANISOTROPIC, ((0, 0, 0), (10, 30, 30)), ((0, 0, 4), (10, 30, 34))),
    "filling the image": ((16, 48, 48), ANISOTROPIC, ((0, 0, 0), (16, 48, 48)), ((2, 4, 4), (14, 44, 44))),
}
# Size in mm, axis and shift in mm of the boxes above that are moved copies.
MOVED = {
    "shifted in x": ((30, 28, 28), 2, 3.5),
    "shifted in z": ((30, 28, 28), 0, 6.0),
    "touching the border": ((30, 21, 21), 2, 2.8),
}
# Gaps in mm between the faces of the boxes above that are nested.
NESTED = {"nested isotropic": (5, 5, 5), "nested anisotropic": (6, 7, 7), "filling the image": (6, 2.8, 2.8)}


def pair_of_boxes(name: str) -> Pair:
    shape, spacing, reference, test = BOXES[name]
    return Pair(box(shape, *reference), box(shape, *test), spacing)


def corners_mm(name: str) -> list:
    _, spacing, *boxes = BOXES[name]
    return [tuple(np.multiply(corner, spacing) for corner in corners) for corners in boxes]


def truth_of_boxes(name: str) -> Truth:
    return shifted_box_truth(*MOVED[name]) if name in MOVED else boxes_truth(*corners_mm(name))


def measured(pair: Pair, surface: str = "face", **options) -> dict[str, float]:
    found = compare(pair.reference, pair.test, pair.spacing_mm, measures=["surface"], surface=surface, **options)[1]
    return {name.replace(f"_{surface}", ""): value for name, value in found.items()}


@pytest.mark.parametrize("name", MOVED)
def test_the_quadrature_that_others_rely_on_agrees_with_the_closed_form_of_moved_boxes(name):
    closed, summed = shifted_box_truth(*MOVED[name]), boxes_truth(*corners_mm(name))
    assert summed.hd == pytest.approx(closed.hd, abs=1e-12)
    assert summed.assd == pytest.approx(closed.assd, rel=1e-4)
    assert summed.nsd == pytest.approx(closed.nsd, abs=3e-3)


@pytest.mark.parametrize("name", NESTED)
def test_nested_boxes_are_as_far_apart_as_their_corners(name):
    assert boxes_truth(*corners_mm(name)).hd == pytest.approx(math.hypot(*NESTED[name]))


@pytest.mark.parametrize("name", BOXES)
def test_the_face_surface_of_boxes_has_the_exact_hausdorff_distance(name):
    found, truth = measured(pair_of_boxes(name)), truth_of_boxes(name)
    assert found["hd_mm"] == pytest.approx(truth.hd, abs=1e-9)


@pytest.mark.parametrize("name", BOXES)
def test_the_face_surface_of_boxes_has_the_mean_distance_within_half_a_percent(name):
    found, truth = measured(pair_of_boxes(name)), truth_of_boxes(name)
    assert found["assd_mm"] == pytest.approx(truth.assd, rel=0.005)


@pytest.mark.parametrize("name", BOXES)
def test_the_face_surface_of_boxes_has_the_surface_dice_within_one_point(name):
    found, truth = measured(pair_of_boxes(name)), truth_of_boxes(name)
    assert found["nsd_2mm"] == pytest.approx(truth.nsd, abs=0.01)


@pytest.mark.parametrize("name", BOXES)
def test_the_95th_percentile_is_no_further_off_than_the_samples_are_apart(name):
    # Every point of a face is at most a quarter of a voxel from its sample along both edges of the face, and a distance
    # changes by no more than the way one moves. 0.05 mm is left for the quadrature.
    pair = pair_of_boxes(name)
    patch = math.hypot(*sorted(pair.spacing_mm)[1:]) / 4
    truth = box_percentiles(*corners_mm(name), 95)
    assert measured(pair)["hd95_maxdir_mm"] == pytest.approx(max(truth), abs=patch + 0.05)


@pytest.mark.parametrize("surface", ["face", "surfel", "voxelcenter"])
@pytest.mark.parametrize("name", MOVED)
def test_all_of_a_moved_box_lies_within_a_tolerance_that_equals_the_shift(name, surface):
    shift = MOVED[name][2]  # 5 x 0.7, 2 x 3 and 4 x 0.7 mm, which a computer rounds
    found = measured(pair_of_boxes(name), surface, tolerances_mm=(shift, 0.99 * shift))
    assert found[f"nsd_{shift:g}mm"] == 1
    assert found[f"nsd_{0.99 * shift:g}mm"] < 1


def test_moving_a_box_is_as_much_too_large_on_one_side_as_too_small_on_the_other():
    found = measured(pair_of_boxes("shifted in x"))
    half = shifted_box_truth(*MOVED["shifted in x"]).assd / 2
    assert found["signed_mean_mm"] == pytest.approx(0, abs=1e-12)
    assert found["over_mean_mm"] == pytest.approx(half, rel=0.005)
    assert found["under_mean_mm"] == pytest.approx(half, rel=0.005)
    assert found["hd_over_mm"] == found["hd_under_mm"] == pytest.approx(3.5, abs=1e-9)


@pytest.mark.parametrize("name", NESTED)
def test_a_test_box_inside_the_reference_falls_short_everywhere(name):
    found = measured(pair_of_boxes(name))
    assert (found["over_mean_mm"], found["hd_over_mm"]) == (0, 0)
    assert found["signed_mean_mm"] == -found["assd_mm"] == -found["under_mean_mm"]
    assert found["hd_under_mm"] == found["hd_mm"]


@pytest.mark.parametrize("surface", ["face", "surfel", "voxelcenter"])
@pytest.mark.parametrize("name", ["shifted in x", "filling the image"])
def test_identical_masks_are_at_no_distance(name, surface):
    mask = pair_of_boxes(name).reference
    found = measured(Pair(mask, mask.copy(), ANISOTROPIC), surface)
    assert all(found.pop(f"nsd_{tolerance}mm") == 1 for tolerance in (1, 2, 3))
    assert set(found.values()) == {0}


def test_identical_spheres_are_at_no_distance_on_the_smooth_surface():
    mask = sphere((20, 60, 60), ANISOTROPIC, (30, 21, 21), 15)
    found = measured(Pair(mask, mask.copy(), ANISOTROPIC), "smooth")
    assert all(found.pop(f"nsd_{tolerance}mm") == 1 for tolerance in (1, 2, 3))
    assert max(map(abs, found.values())) < 1e-5  # rounding of the vertices, which are 32-bit


def single_voxels() -> Pair:
    return Pair(box((9, 9, 9), (3, 4, 4), (4, 5, 5)), box((9, 9, 9), (5, 4, 4), (6, 5, 5)), ANISOTROPIC)


def thin_plates() -> Pair:
    shape = (12, 60, 60)
    return Pair(box(shape, (4, 10, 10), (5, 50, 50)), box(shape, (6, 10, 10), (7, 50, 50)), ANISOTROPIC)


# Both are 3 mm thick and two slices, 6 mm, apart.
THIN = {"single voxels": (single_voxels, (3, 0.7, 0.7)), "thin plates": (thin_plates, (3, 28, 28))}


@pytest.mark.parametrize("name", THIN)
def test_voxels_and_plates_have_faces_at_their_true_distances(name):
    make, size = THIN[name]
    found = measured(make(), tolerances_mm=(2, 4))
    assert found["hd_mm"] == pytest.approx(6, abs=1e-9)
    # From 3 mm at the near face to 6 mm at the far one; half of both surfaces' area, if the sides are thin, is near.
    assert found["assd_mm"] == pytest.approx(apart_box_truth(size, 0, 6).assd) == pytest.approx(4.5)
    assert found["nsd_2mm"] == 0
    # Samples along the sides are at 3, 4.5 and 6 mm and stand for 1/4, 1/2 and 1/4 of the height; the truth is 1/3.
    sides = 2 * (size[1] + size[2]) * size[0] / (2 * (size[0] * (size[1] + size[2]) + size[1] * size[2]))
    assert found["nsd_4mm"] == pytest.approx(apart_box_truth(size, 0, 6, 4).nsd - sides * (1 / 3 - 1 / 4), abs=1e-9)


@pytest.mark.parametrize("name", THIN)
def test_voxels_and_plates_have_no_smooth_surface_and_the_reason_says_so(name):
    pair = THIN[name][0]()
    found = compare(pair.reference, pair.test, pair.spacing_mm, measures=["surface"], surface="smooth")
    assert all(math.isnan(value) for value in found[1].values())
    assert set(found.reasons[1].values()) == {"the mask is too small or thin for a smooth surface"}
    assert set(found.reasons[1]) == set(found[1])


def moved_spheres(shape, spacing, center, radius, axis, shift) -> tuple[Pair, Truth]:
    moved = [c + shift * (axis == own) for own, c in enumerate(center)]
    pair = Pair(sphere(shape, spacing, center, radius), sphere(shape, spacing, moved, radius), spacing)
    return pair, moved_sphere_truth(radius, shift)


def concentric_spheres() -> tuple[Pair, Truth]:
    shape, center = (32, 120, 120), (48, 42, 42)
    pair = Pair(sphere(shape, ANISOTROPIC, center, 40), sphere(shape, ANISOTROPIC, center, 36), ANISOTROPIC)
    return pair, concentric_truth(40, 36)


SPHERES = {
    "moved in x by 5 mm": lambda: moved_spheres((20, 76, 84), ANISOTROPIC, (30, 26.6, 26.6), 25, 2, 5),
    "moved in z by 6 mm": lambda: moved_spheres((22, 76, 76), ANISOTROPIC, (30, 26.6, 26.6), 25, 0, 6),
    "isotropic": lambda: moved_spheres((64, 64, 70), ISOTROPIC, (32, 32, 32), 30, 2, 5),
    "concentric": concentric_spheres,
}


@pytest.fixture(scope="module", params=SPHERES)
def smooth_spheres(request):
    pair, truth = SPHERES[request.param]()
    return request.param, measured(pair, "smooth"), truth


def test_the_smooth_surface_of_spheres_has_the_mean_distance_within_one_and_a_half_percent(smooth_spheres):
    _, found, truth = smooth_spheres
    assert found["assd_mm"] == pytest.approx(truth.assd, rel=0.015)


def test_the_smooth_surface_of_spheres_has_the_surface_dice_within_one_point(smooth_spheres):
    _, found, truth = smooth_spheres
    assert found["nsd_2mm"] == pytest.approx(truth.nsd, abs=0.01)


def test_the_smooth_surface_of_spheres_tells_too_small_from_moved(smooth_spheres):
    name, found, truth = smooth_spheres
    signed = -truth.assd if name == "concentric" else 0  # the inner sphere is the test
    assert found["signed_mean_mm"] == pytest.approx(signed, abs=0.015 * truth.assd)


def test_the_volume_of_a_sphere_of_many_voxels_is_that_of_the_sphere():
    pair, _ = concentric_spheres()
    found = compare(pair.reference, pair.test, pair.spacing_mm, measures=["volume"])[1]
    assert found["volume_reference_ml"] == pytest.approx(sphere_ml(40), rel=0.005)
    assert found["volume_test_ml"] == pytest.approx(sphere_ml(36), rel=0.005)
    assert found["center_distance_mm"] == pytest.approx(0, abs=1e-9)
